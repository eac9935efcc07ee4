//! Times as producers write them: seconds, milliseconds or RFC 3339.

use clap::ValueEnum;
use recstore::{Error, Result, Timestamp};

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Whole seconds since 1970 (UTC)
    S,
    /// Whole milliseconds since 1970 (UTC)
    Ms,
    /// Text such as 2024-01-15T10:30:00Z
    Rfc3339,
    /// RFC 3339 where it is no number, seconds below 100,000,000,000, milliseconds from there on
    Auto,
}

/// From here on a number is milliseconds: as seconds it would be after the year 5138, as milliseconds it is
/// March 1973.
const FIRST_MILLIS: u64 = 100_000_000_000;
/// The largest whole number up to which `f64` holds every one.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

impl TimeUnit {
    /// The time that `text` means.
    ///
    /// # Errors
    /// `Invalid` (field `timestamp`) if it is none, or outside of the years 1970 to 9999.
    pub fn parse(self, text: &str) -> Result<Timestamp> {
        if text.is_empty() {
            return Err(Error::invalid("timestamp", "is empty"));
        }
        match (self, whole_number(text)) {
            (TimeUnit::Rfc3339, _) | (TimeUnit::Auto, None) => Timestamp::parse(text),
            (unit, Some(number)) => unit.of_number(number),
            (TimeUnit::S | TimeUnit::Ms, None) => {
                let shown = super::row::cut(text);
                Err(Error::invalid("timestamp", format!("{shown:?} is not a whole number")))
            }
        }
    }

    /// The time that a whole number means.
    ///
    /// # Errors
    /// `Invalid` (field `timestamp`) outside of the years 1970 to 9999, and where text is expected.
    pub fn of_number(self, number: i64) -> Result<Timestamp> {
        match self {
            TimeUnit::S => Timestamp::from_seconds(number),
            TimeUnit::Ms => Timestamp::from_millis(number),
            TimeUnit::Auto if number.unsigned_abs() < FIRST_MILLIS => Timestamp::from_seconds(number),
            TimeUnit::Auto => Timestamp::from_millis(number),
            TimeUnit::Rfc3339 => {
                Err(Error::invalid("timestamp", format!("{number} is a number, RFC 3339 is expected")))
            }
        }
    }
}

/// Reads a whole number; `1260759144.0`, as data frames write it, is one.
fn whole_number(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| whole(text.parse().ok()?))
}

/// The number as an integer, if it is one.
pub(crate) fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= MAX_EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_told_by_the_size_of_the_number() {
        for (text, millis) in [
            ("1260759144", 1_260_759_144_000),
            ("1260759144.0", 1_260_759_144_000),
            ("1260759144123", 1_260_759_144_123),
            ("2009-12-14T02:52:24Z", 1_260_759_144_000),
            ("99999999999", 99_999_999_999_000),
            ("100000000000", 100_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(TimeUnit::Auto.parse(text).unwrap().as_millis(), millis, "{text}");
        }
    }

    #[test]
    fn a_unit_that_is_given_holds() {
        assert_eq!(TimeUnit::Ms.parse("5").unwrap().as_millis(), 5);
        assert_eq!(TimeUnit::S.parse("5").unwrap().as_millis(), 5000);
        assert!(TimeUnit::S.parse("2009-12-14T02:52:24Z").is_err());
        assert!(TimeUnit::Rfc3339.parse("5").is_err());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "-1", "1.5", "abc", "1900-01-01T00:00:00Z", "9999999999999999", "nan", "2009-12-14"]
        {
            assert!(TimeUnit::Auto.parse(text).is_err(), "{text:?}");
        }
    }
}
