//! Derived columns, from one function for every mode.

use serde::{Deserialize, Serialize};

use super::RatingStats;
use crate::{Error, RatingValue, Result, Timestamp};

const MICROS: f64 = RatingValue::MICROS_PER_UNIT as f64;

/// The prior that damps `bayesian_mean`: as if every item had `weight` more ratings of value `mean`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BayesianPrior {
    mean_micros: i64,
    weight: u32,
}

impl BayesianPrior {
    /// A prior of this mean and weight; weight 0 makes the Bayesian mean the plain mean.
    ///
    /// # Errors
    /// `Invalid` if the mean is no rating value.
    pub fn new(mean: f64, weight: u32) -> Result<BayesianPrior> {
        let mean_micros =
            RatingValue::new(mean).map_err(|error| Error::invalid("mean", error.message()))?.micros();
        Ok(BayesianPrior { mean_micros, weight })
    }

    /// The prior's mean.
    pub fn mean(&self) -> f64 {
        self.mean_micros as f64 / MICROS
    }

    /// The number of ratings it stands for.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl Default for BayesianPrior {
    /// Ten ratings of value 3.
    fn default() -> BayesianPrior {
        BayesianPrior { mean_micros: 3 * RatingValue::MICROS_PER_UNIT, weight: 10 }
    }
}

/// The columns of the built-in groups, of an entity with at least one rating.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatingFeatures {
    /// `rating_count`: current ratings.
    pub count: u64,
    /// `rating_mean`.
    pub mean: f64,
    /// `rating_std`: of the population, divided by n.
    pub std: f64,
    /// `rating_min` and `rating_max`; `None` if the state does not know them (see [`RatingStats::extremes`]).
    pub extremes: Option<(f64, f64)>,
    /// `first_rated_at`: of every event ever put for the entity.
    pub first_rated_at: Timestamp,
    /// `last_rated_at`: of every event ever put for the entity.
    pub last_rated_at: Timestamp,
    /// `bayesian_mean`: (weight × prior mean + sum) / (weight + n).
    pub bayesian_mean: f64,
}

impl RatingStats {
    /// Derives the columns; `None` without a current rating.
    ///
    /// The variance is computed without overflow and without cancellation of large sums, in integers as far
    /// as they go: with q, r = divmod(sum, n) and S = sumsq − q·(sum + r), which is Σ(x − q)²,
    /// variance = S/n − (r/n)². Only S, r and n are converted to `f64`, in that order.
    pub fn finish(&self, prior: BayesianPrior) -> Option<RatingFeatures> {
        let (first_rated_at, last_rated_at) = self.times?;
        if self.count == 0 {
            return None;
        }
        let n = i128::from(self.count);
        let (quotient, remainder) = (self.sum.div_euclid(n), self.sum.rem_euclid(n));
        let centred = self.sum_squares - quotient * (self.sum + remainder);
        let shift = remainder as f64 / n as f64;
        let variance = (centred as f64 / n as f64 - shift * shift).max(0.0);
        let damped_sum = i128::from(prior.mean_micros) * i128::from(prior.weight) + self.sum;
        let damped_count = i128::from(prior.weight) + n;
        Some(RatingFeatures {
            count: self.count,
            mean: self.sum as f64 / n as f64 / MICROS,
            std: variance.sqrt() / MICROS,
            extremes: self.extremes().map(|(min, max)| (min.as_f64(), max.as_f64())),
            first_rated_at,
            last_rated_at,
            bayesian_mean: damped_sum as f64 / damped_count as f64 / MICROS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> RatingFeatures {
        let mut stats = RatingStats::default();
        for &number in values {
            let _ = stats.apply(None, RatingValue::new(number).ok());
        }
        stats.observe(Timestamp::MIN, Timestamp::MAX);
        stats.finish(BayesianPrior::default()).unwrap()
    }

    #[test]
    fn mean_and_standard_deviation_are_the_textbook_ones() {
        let features = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((features.mean, features.std), (5.0, 2.0));
        assert_eq!(features.bayesian_mean, (30.0 + 40.0) / 18.0);
    }

    #[test]
    fn large_equal_values_have_no_deviation() {
        let features = of(&[999_999.999_999; 1000]);
        assert_eq!(features.std, 0.0);
        assert_eq!(of(&[-1_000_000.0, 1_000_000.0]).std, 1_000_000.0);
    }

    /// Where the mean lies between two micro-units, the part that integers cannot hold decides.
    #[test]
    fn deviations_of_less_than_a_micro_unit_are_kept() {
        let std = of(&[3e-6, 4e-6, 4e-6]).std;
        let textbook = (2.0_f64 / 9.0).sqrt() * 1e-6;
        assert!((std / textbook - 1.0).abs() < 1e-12, "{std} is not {textbook}");
    }

    #[test]
    fn a_prior_says_what_it_was_made_of() {
        let prior = BayesianPrior::new(3.5, 7).unwrap();
        assert_eq!((prior.mean(), prior.weight()), (3.5, 7));
        assert_eq!(BayesianPrior::new(f64::NAN, 7).unwrap_err().field(), Some("mean"));
    }

    #[test]
    fn without_ratings_there_is_no_row() {
        let mut stats = RatingStats::default();
        stats.observe(Timestamp::MIN, Timestamp::MAX);
        assert_eq!(stats.finish(BayesianPrior::default()), None);
    }
}
