//! How many requests were made, of which operation, of what size.

use crate::Side;
use serde::{Deserialize, Serialize};

/// The requests of one operation on one bucket or table, as a proxy saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The server.
    pub side: Side,
    /// The operation as AWS names it.
    pub operation: String,
    /// The bucket; the table, or the tables in alphabetical order with commas between. Empty where there is none.
    pub place: String,
    /// How many requests came.
    pub requests: u64,
    /// How many reached the server; a request that is doubled counts twice.
    pub forwarded: u64,
    /// On how many a rule acted.
    pub faults: u64,
    /// Bytes of the bodies of the requests that came.
    pub request_bytes: u64,
    /// Bytes of the bodies of the server's answers.
    pub response_bytes: u64,
}

/// What a proxy counted: a row for each operation and place, in the order of side, operation and place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts(pub Vec<Count>);

impl Counts {
    /// The rows of one server.
    #[must_use]
    pub fn side(&self, side: Side) -> Self {
        self.filtered(|count| count.side == side)
    }

    /// The rows of one operation.
    #[must_use]
    pub fn operation(&self, operation: &str) -> Self {
        self.filtered(|count| count.operation == operation)
    }

    /// The rows of the buckets and tables whose names begin so.
    #[must_use]
    pub fn within(&self, place_prefix: &str) -> Self {
        self.filtered(|count| count.place.starts_with(place_prefix))
    }

    fn filtered(&self, keep: impl Fn(&Count) -> bool) -> Self {
        Self(self.0.iter().filter(|count| keep(count)).cloned().collect())
    }

    /// What was counted since `earlier`. Rows without a request since then are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = |now: &Count| {
            let same = |then: &&Count| {
                (then.side, &then.operation, &then.place) == (now.side, &now.operation, &now.place)
            };
            let then = earlier.0.iter().find(same);
            let before = |figure: fn(&Count) -> u64| then.map_or(0, figure);
            Count {
                requests: now.requests.saturating_sub(before(|count| count.requests)),
                forwarded: now.forwarded.saturating_sub(before(|count| count.forwarded)),
                faults: now.faults.saturating_sub(before(|count| count.faults)),
                request_bytes: now.request_bytes.saturating_sub(before(|count| count.request_bytes)),
                response_bytes: now.response_bytes.saturating_sub(before(|count| count.response_bytes)),
                ..now.clone()
            }
        };
        Self(self.0.iter().map(since).filter(|count| count.requests > 0).collect())
    }

    /// Requests in all rows.
    pub fn requests(&self) -> u64 {
        self.0.iter().map(|count| count.requests).sum()
    }

    /// Requests in all rows that reached the server.
    pub fn forwarded(&self) -> u64 {
        self.0.iter().map(|count| count.forwarded).sum()
    }

    /// Requests in all rows on which a rule acted.
    pub fn faults(&self) -> u64 {
        self.0.iter().map(|count| count.faults).sum()
    }

    /// Bytes sent in the bodies of requests.
    pub fn request_bytes(&self) -> u64 {
        self.0.iter().map(|count| count.request_bytes).sum()
    }

    /// Bytes of the bodies of the server's answers.
    pub fn response_bytes(&self) -> u64 {
        self.0.iter().map(|count| count.response_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(operation: &str, requests: u64) -> Count {
        Count {
            side: Side::S3,
            operation: operation.to_owned(),
            place: "bucket-a".to_owned(),
            requests,
            forwarded: requests,
            faults: 0,
            request_bytes: 10 * requests,
            response_bytes: 0,
        }
    }

    #[test]
    fn since_leaves_what_came_later() {
        let earlier = Counts(vec![count("GetObject", 2), count("PutObject", 3)]);
        let now = Counts(vec![count("GetObject", 2), count("HeadObject", 1), count("PutObject", 7)]);
        assert_eq!(now.since(&earlier), Counts(vec![count("HeadObject", 1), count("PutObject", 4)]));
        assert_eq!(now.operation("PutObject").since(&earlier).request_bytes(), 40);
    }

    #[test]
    fn rows_are_chosen_by_side_operation_and_place() {
        let counts = Counts(vec![count("GetObject", 2), count("PutObject", 3)]);
        assert_eq!(counts.side(Side::S3).requests(), 5);
        assert_eq!(counts.side(Side::DynamoDb).requests(), 0);
        assert_eq!(counts.operation("PutObject").requests(), 3);
        assert_eq!((counts.within("bucket").requests(), counts.within("other").requests()), (5, 0));
    }
}
