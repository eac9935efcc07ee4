//! A quantity together with how it came about, so that the formula that is printed is the one that was computed.

use std::cmp::{max, min};

use crate::failure::Done;
use crate::output::Count;

use super::prices::{GB, too_large};

/// A count and its formula. Counts that are too large stay the largest, and are refused when they are priced.
#[derive(Debug, Clone)]
pub(super) struct Amount {
    count: u128,
    how: String,
    is_sum: bool,
}

impl Amount {
    /// Some of something.
    pub(super) fn of(count: u64, what: &str) -> Amount {
        Amount { count: count.into(), how: format!("{} {what}", Count(count)), is_sum: false }
    }

    /// So much for each of these.
    pub(super) fn times(self, factor: u64, what: &str) -> Amount {
        let count = self.count.saturating_mul(factor.into());
        Amount { count, how: format!("{} × {} {what}", self.factor(), Count(factor)), is_sum: false }
    }

    /// So many units of DynamoDB for each of these.
    pub(super) fn units(self, units: u64) -> Amount {
        self.times(units, if units == 1 { "unit" } else { "units" })
    }

    /// This share of them, rounded up.
    pub(super) fn percent(self, percent: u64) -> Amount {
        let count = self.count.saturating_mul(percent.into()).div_ceil(100);
        Amount { count, how: format!("{} × {percent} %", self.factor()), is_sum: false }
    }

    /// In groups of so many, the last one not full. There must not be groups of none.
    pub(super) fn over(self, divisor: u64, what: &str) -> Amount {
        let count = self.count.div_ceil(u128::from(divisor.max(1)));
        Amount { count, how: format!("{} ÷ {} {what}", self.factor(), Count(divisor)), is_sum: false }
    }

    /// Both.
    pub(super) fn plus(self, other: Amount) -> Amount {
        let count = self.count.saturating_add(other.count);
        Amount { count, how: format!("{} + {}", self.how, other.how), is_sum: true }
    }

    /// The smaller of both.
    pub(super) fn at_most(self, other: Amount) -> Amount {
        let count = min(self.count, other.count);
        Amount {
            count,
            how: format!("the smaller of {} and {}", self.factor(), other.factor()),
            is_sum: true,
        }
    }

    /// The greater of both.
    pub(super) fn at_least(self, other: Amount) -> Amount {
        let count = max(self.count, other.count);
        Amount {
            count,
            how: format!("the greater of {} and {}", self.factor(), other.factor()),
            is_sum: true,
        }
    }

    /// The count.
    ///
    /// # Errors
    /// If it is more than can be counted.
    pub(super) fn count(&self) -> Done<u64> {
        u64::try_from(self.count).map_err(|_| too_large())
    }

    /// The formula.
    pub(super) fn how(&self) -> &str {
        &self.how
    }

    /// The formula as it stands in a product.
    fn factor(&self) -> String {
        if self.is_sum { format!("({})", self.how) } else { self.how.clone() }
    }
}

/// Bytes as GB with three decimals, rounded: `9.313`.
pub(super) fn gigabytes(bytes: u64) -> String {
    let thousandths = (u128::from(bytes) * 1000 + u128::from(GB / 2)) / u128::from(GB);
    let whole = u64::try_from(thousandths / 1000).unwrap_or(u64::MAX);
    format!("{}.{:03}", Count(whole), thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_what_was_computed() {
        let rows = Amount::of(100, "users").plus(Amount::of(50, "items"));
        let amount = rows.clone().times(30, "runs").percent(50);
        // (100 + 50) × 30 × 50 % = 2,250
        assert_eq!(
            (amount.count().unwrap(), amount.how()),
            (2250, "(100 users + 50 items) × 30 runs × 50 %")
        );
        // 7 in groups of 2 are 4 groups.
        assert_eq!(Amount::of(7, "keys").over(2, "keys").count().unwrap(), 4);
        let smaller = Amount::of(7, "a").at_most(Amount::of(5, "b").times(1, "c"));
        assert_eq!((smaller.count().unwrap(), smaller.how()), (5, "the smaller of 7 a and 5 b × 1 c"));
        assert_eq!(Amount::of(7, "a").at_least(Amount::of(5, "b")).count().unwrap(), 7);
        assert_eq!(Amount::of(1, "a").percent(1).count().unwrap(), 1);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let mut amount = Amount::of(u64::MAX, "a").times(2, "b");
        assert!(amount.count().is_err());
        for _ in 0..3 {
            amount = amount.times(u64::MAX, "c");
        }
        assert!(amount.count().is_err());
    }

    #[test]
    fn gigabytes_are_binary_and_rounded() {
        assert_eq!(gigabytes(10 * GB), "10.000");
        // 10^10 / 2^30 = 9.3132…
        assert_eq!(gigabytes(10_000_000_000), "9.313");
        assert_eq!(gigabytes(GB / 2000), "0.000");
        assert_eq!(gigabytes(GB / 2000 + 1), "0.001");
    }
}
