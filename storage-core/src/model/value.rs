//! Rating values are kept exactly, as whole micro-units.

use std::fmt;

use crate::{Error, Result};

/// A rating value: a number within ±1,000,000, kept to six decimals as an integer of micro-units.
///
/// Rounding rule, the only one: `micros = round(value × 1,000,000)`, the product in `f64`, ties away from
/// zero. −0 is 0. Sums of values are sums of integers, hence exact and independent of their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RatingValue(i64);

impl RatingValue {
    /// Micro-units in one unit.
    pub const MICROS_PER_UNIT: i64 = 1_000_000;
    /// The largest value, in micro-units: 1,000,000 units.
    pub const MAX_MICROS: i64 = 1_000_000 * Self::MICROS_PER_UNIT;

    /// A value from a finite number within ±1,000,000.
    ///
    /// # Errors
    /// `Invalid` for NaN, infinity and anything beyond ±1,000,000.
    pub fn new(value: f64) -> Result<RatingValue> {
        if !value.is_finite() {
            return Err(Error::invalid("value", format!("{value} is not a finite number")));
        }
        if value.abs() > 1_000_000.0 {
            return Err(Error::invalid("value", format!("{value} is beyond ±1,000,000")));
        }
        // At most 10^12, which f64 holds exactly.
        Ok(RatingValue((value * Self::MICROS_PER_UNIT as f64).round() as i64))
    }

    /// A value from micro-units.
    ///
    /// # Errors
    /// `Invalid` beyond ±1,000,000 units.
    pub fn from_micros(micros: i64) -> Result<RatingValue> {
        if micros.unsigned_abs() <= Self::MAX_MICROS.unsigned_abs() {
            return Ok(RatingValue(micros));
        }
        Err(Error::invalid("value", format!("{micros} micro-units is beyond ±1,000,000 units")))
    }

    /// The value in micro-units.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The value as a number.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / Self::MICROS_PER_UNIT as f64
    }
}

impl fmt::Display for RatingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_decimals_are_exact() {
        for (value, micros) in
            [(2.55, 2_550_000), (-0.0, 0), (0.1, 100_000), (0.000_000_5, 1), (-0.000_000_5, -1)]
        {
            assert_eq!(RatingValue::new(value).unwrap().micros(), micros, "{value}");
        }
        assert_eq!(RatingValue::new(3.5).unwrap().as_f64(), 3.5);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1_000_000.5, -1e300] {
            assert_eq!(RatingValue::new(value).unwrap_err().field(), Some("value"), "{value}");
        }
    }
}
