//! Rows for the tests of this module.

use crate::{ItemId, Rating, RatingRow, Timestamp, UserId};

fn current(rating: Rating) -> RatingRow {
    RatingRow { first_rated_at: rating.rated_at(), rating }
}

/// A row of this pair and value.
pub(crate) fn row(user: &str, item: &str, value: f64) -> RatingRow {
    let (user, item) = (UserId::new(user).unwrap(), ItemId::new(item).unwrap());
    current(Rating::new(user, item, value, Timestamp::MIN).unwrap())
}

/// The row of a pair whose rating was withdrawn.
pub(crate) fn withdrawn(user: &str, item: &str) -> RatingRow {
    let (user, item) = (UserId::new(user).unwrap(), ItemId::new(item).unwrap());
    current(Rating::withdrawal(user, item, Timestamp::MIN))
}

/// Pseudo-random numbers (splitmix64), the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }
}
