//! What calls take of services that charge for them: requests, bytes, units of capacity.
//!
//! Stores of this machine charge nothing, and every figure of theirs is zero. Prices are not known here: they change, and
//! differ by region. Requests are counted as the service charges them: each attempt by itself, those that failed included.

use std::ops::{AddAssign, Range};

use serde::Serialize;

/// What a call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Of an object store (S3).
    pub objects: ObjectCost,
    /// Of a store of tables (DynamoDB).
    pub tables: TableCost,
}

/// What was asked of an object store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ObjectCost {
    /// Puts.
    pub puts: u64,
    /// Reads of objects.
    pub gets: u64,
    /// Reads of the metadata of objects.
    pub heads: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Deletions.
    pub deletes: u64,
    /// Bytes of the objects put, as they are stored; repeated puts count again.
    pub bytes_put: u64,
    /// Bytes of the objects read, as they are stored.
    pub bytes_got: u64,
}

/// What was asked of a store of tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct TableCost {
    /// Reads of up to a hundred items.
    pub batch_gets: u64,
    /// Writes of up to 25 items.
    pub batch_writes: u64,
    /// Puts of one item by condition.
    pub puts: u64,
    /// Pages of queries.
    pub queries: u64,
    /// Units of reading, as the service tells them: one for each 4 KB of an item that is read consistently.
    pub read_units: f64,
    /// Units of writing, as the service tells them: one for each KB of an item. Of a put that its condition refused the
    /// service charges units and tells none: these are not in it.
    pub write_units: f64,
    /// Bytes of the items read, as the service counts them.
    pub bytes_read: u64,
    /// Bytes of the items written.
    pub bytes_written: u64,
}

impl Cost {
    /// Whether nothing was asked of any service.
    pub fn is_nothing(&self) -> bool {
        *self == Cost::default()
    }
}

impl ObjectCost {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.puts + self.gets + self.heads + self.lists + self.deletes
    }

    /// The part of it that falls to `part` of 0 to `whole`. Parts that cover the whole without overlap add up to it, in
    /// each figure: what cannot be divided falls to one of them. For backends.
    #[must_use]
    pub fn share(&self, part: Range<u64>, whole: u64) -> ObjectCost {
        let up_to = |figure: u64, place: u64| match whole {
            0 => 0,
            // At most `figure`, for no place is beyond the whole.
            _ => (u128::from(figure) * u128::from(place.min(whole)) / u128::from(whole)) as u64,
        };
        let of = |figure: u64| up_to(figure, part.end).saturating_sub(up_to(figure, part.start));
        ObjectCost {
            puts: of(self.puts),
            gets: of(self.gets),
            heads: of(self.heads),
            lists: of(self.lists),
            deletes: of(self.deletes),
            bytes_put: of(self.bytes_put),
            bytes_got: of(self.bytes_got),
        }
    }
}

impl TableCost {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.batch_gets + self.batch_writes + self.puts + self.queries
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.objects += other.objects;
        self.tables += other.tables;
    }
}

impl AddAssign for ObjectCost {
    fn add_assign(&mut self, other: ObjectCost) {
        self.puts += other.puts;
        self.gets += other.gets;
        self.heads += other.heads;
        self.lists += other.lists;
        self.deletes += other.deletes;
        self.bytes_put += other.bytes_put;
        self.bytes_got += other.bytes_got;
    }
}

impl AddAssign for TableCost {
    fn add_assign(&mut self, other: TableCost) {
        self.batch_gets += other.batch_gets;
        self.batch_writes += other.batch_writes;
        self.puts += other.puts;
        self.queries += other.queries;
        self.read_units += other.read_units;
        self.write_units += other.write_units;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: ObjectCost =
        ObjectCost { puts: 1, gets: 2, heads: 3, lists: 5, deletes: 0, bytes_put: 1_000_003, bytes_got: 7 };

    #[test]
    fn shares_add_up_to_the_whole_in_each_figure() {
        for borders in [vec![0, 10], vec![0, 3, 3, 10], vec![0, 1, 2, 9, 10], (0..=10).collect()] {
            let mut sum = ObjectCost::default();
            for pair in borders.windows(2) {
                sum += WHOLE.share(pair[0]..pair[1], 10);
            }
            assert_eq!(sum, WHOLE, "{borders:?}");
        }
    }

    #[test]
    fn a_share_grows_with_its_part_and_nothing_has_none() {
        assert_eq!(WHOLE.share(0..5, 10).bytes_put, 500_001);
        assert_eq!(WHOLE.share(0..10, 10), WHOLE);
        assert_eq!(WHOLE.share(4..4, 10), ObjectCost::default());
        assert_eq!(WHOLE.share(0..0, 0), ObjectCost::default());
        let most = ObjectCost { bytes_put: u64::MAX, ..ObjectCost::default() };
        assert_eq!(most.share(0..u64::MAX, u64::MAX), most);
    }

    #[test]
    fn requests_are_all_operations_and_a_cost_of_nothing_is_nothing() {
        assert_eq!(WHOLE.requests(), 11);
        let mut cost = Cost::default();
        assert!(cost.is_nothing());
        let tables = TableCost { batch_gets: 1, queries: 2, read_units: 0.5, ..TableCost::default() };
        cost += Cost { objects: WHOLE, tables };
        cost += Cost { objects: WHOLE, tables };
        assert_eq!((cost.objects.requests(), cost.tables.requests(), cost.tables.read_units), (22, 6, 1.0));
        assert!(!cost.is_nothing());
    }
}
