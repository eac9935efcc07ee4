//! Exact money: prices in millionths of a millionth of a currency unit, sums in millionths, no floats.

use std::fmt::{self, Display};

use serde::{Serialize, Serializer};

use crate::output::Count;

/// Parts of a currency unit in the smallest part of a price.
const PRICE_PARTS: u64 = 1_000_000_000_000;
/// Decimals of a price, of which [`PRICE_PARTS`] are made.
const PRICE_DECIMALS: usize = 12;
/// The smallest parts of a price in a millionth of a currency unit.
const PARTS_IN_MICRO: u128 = 1_000_000;
/// The highest price, so that no product of it overflows.
const MAX_PRICE: u64 = 1_000_000;

/// Millionths of a currency unit. A number in JSON, a decimal for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(super) struct Micros(pub(super) u64);

impl Micros {
    /// The sum, `None` if it is too large.
    pub(super) fn sum(parts: impl IntoIterator<Item = Micros>) -> Option<Micros> {
        parts.into_iter().try_fold(0, |sum: u64, part| sum.checked_add(part.0)).map(Micros)
    }

    /// Rounded to whole units of the currency, halves up.
    pub(super) fn whole(self) -> u64 {
        self.0 / 1_000_000 + u64::from(self.0 % 1_000_000 >= 500_000)
    }

    /// All six decimals, those that say nothing as spaces: in a column the points stand under each other.
    pub(super) fn column(self) -> String {
        let text = self.to_string();
        let decimals = text.len() - text.find('.').map_or(text.len(), |point| point + 1);
        text + &" ".repeat(6 - decimals)
    }
}

/// Two decimals, and more where they say something: `5.40`, `0.000288`.
impl Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.0 % 1_000_000);
        let shown = decimals.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", Count(self.0 / 1_000_000), &decimals[..shown])
    }
}

/// A price as it was written, and as a number of the smallest parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    text: String,
    parts: u64,
}

impl Price {
    /// Reads a decimal such as `0.0004`.
    pub(super) fn parse(text: &str) -> Result<Price, String> {
        if text.starts_with('-') {
            return Err(format!("{text} is negative"));
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) {
            return Err(format!("{text:?} is not a decimal number such as 0.0004"));
        }
        if decimals.len() > PRICE_DECIMALS {
            return Err(format!("{text} has more than {PRICE_DECIMALS} decimals"));
        }
        let too_high = || format!("{text} is above {MAX_PRICE}");
        let whole: u64 = whole.parse().map_err(|_| too_high())?;
        let decimals: u64 = format!("{decimals:0<PRICE_DECIMALS$}").parse().map_err(|_| too_high())?;
        if whole > MAX_PRICE || (whole == MAX_PRICE && decimals > 0) {
            return Err(too_high());
        }
        Ok(Price { text: text.to_owned(), parts: whole * PRICE_PARTS + decimals })
    }

    /// What a quantity costs if `per` of it have this price, rounded to the next millionth, halves up; `None` if
    /// that is too large.
    pub(super) fn of(&self, quantity: u64, per: u128) -> Option<Micros> {
        let parts = u128::from(quantity) * u128::from(self.parts);
        let one = per.checked_mul(PARTS_IN_MICRO)?;
        let micros = parts / one + u128::from(parts % one >= one.div_ceil(2));
        u64::try_from(micros).ok().map(Micros)
    }
}

impl Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_with_two_decimals_or_as_many_as_it_takes() {
        for (micros, text) in [
            (0, "0.00"),
            (5_400_000, "5.40"),
            (288, "0.000288"),
            (1_234_567_100_000, "1,234,567.10"),
            (10_000_000, "10.00"),
            (1_500, "0.0015"),
        ] {
            assert_eq!(Micros(micros).to_string(), text);
        }
        assert_eq!(Micros(5_400_000).column(), "5.40    ");
        assert_eq!(Micros(288).column(), "0.000288");
    }

    #[test]
    fn whole_units_are_rounded_halves_up() {
        let cases = [(0, 0), (499_999, 0), (500_000, 1), (9_880_000, 10), (7_880_000, 8)];
        for (micros, whole) in cases {
            assert_eq!(Micros(micros).whole(), whole);
        }
    }

    #[test]
    fn a_price_times_a_quantity_is_rounded_once_halves_up() {
        let of =
            |price: &str, quantity, per| Price::parse(price).unwrap().of(quantity, per).map(|cost| cost.0);
        // 1,000,000 × 0.005 / 1,000 = 5
        assert_eq!(of("0.005", 1_000_000, 1_000), Some(5_000_000));
        // One GET is 0.4 millionths, two are 0.8, five are 2.
        assert_eq!(of("0.0004", 1, 1_000), Some(0));
        assert_eq!(of("0.0004", 2, 1_000), Some(1));
        assert_eq!(of("0.0004", 5, 1_000), Some(2));
        // 0.0000005 is half a millionth.
        assert_eq!(of("0.0000005", 1, 1), Some(1));
        assert_eq!(of("0.0000005", 3, 1), Some(2));
        // A third of a millionth goes down, two thirds go up: `per` is odd.
        assert_eq!(of("0.000001", 1, 3), Some(0));
        assert_eq!(of("0.000001", 2, 3), Some(1));
        assert_eq!(of("1000000", u64::MAX, 1), None);
        assert_eq!(of("0", u64::MAX, 1), Some(0));
    }

    #[test]
    fn what_is_no_decimal_is_no_price() {
        for text in
            ["-1", "-0.5", "", ".", "1.", ".5", "NaN", ".nan", "inf", ".inf", "1e3", "+1", "1,5", "0x10"]
        {
            assert!(Price::parse(text).is_err(), "{text:?}");
        }
        assert!(Price::parse("0.0000000000001").unwrap_err().contains("decimals"));
        assert!(Price::parse("1000000.1").unwrap_err().contains("above"));
        assert!(Price::parse("99999999999999999999").unwrap_err().contains("above"));
    }

    #[test]
    fn sums_that_are_too_large_are_none() {
        assert_eq!(Micros::sum([Micros(1), Micros(2)]), Some(Micros(3)));
        assert_eq!(Micros::sum([Micros(u64::MAX), Micros(1)]), None);
    }
}
