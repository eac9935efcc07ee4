//! The mergeable, invertible state behind the built-in features.

use crate::{RatingValue, Timestamp};

/// The most distinct values counted one by one; beyond, only the extremes are kept.
pub const MAX_DISTINCT_VALUES: usize = 64;

/// Exact statistics of the current ratings of one user or one item.
///
/// Sums are in micro-units. With |value| ≤ 10^12 micro-units the sum of squares of n ratings is at most
/// n × 10^24, which an `i128` holds for n up to 1.7 × 10^14.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RatingStats {
    pub(super) count: u64,
    pub(super) sum: i128,
    pub(super) sum_squares: i128,
    pub(super) distinct: Distinct,
    pub(super) times: Option<(Timestamp, Timestamp)>,
}

/// What is known of the distinct values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Distinct {
    /// Every value with its count, ascending by value; counts are above zero.
    Counted(Vec<(i64, u64)>),
    /// There were more than [`MAX_DISTINCT_VALUES`]; the smallest and largest, if known.
    Overflowed(Option<(i64, i64)>),
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct::Counted(Vec::new())
    }
}

/// What [`RatingStats::apply`] could not keep by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Overflow {
    /// Everything is kept.
    None,
    /// The distinct values have just become too many: these are their counts, the change included. From now
    /// on the caller counts them, if it wants exact extremes.
    Began(Vec<(RatingValue, u64)>),
    /// The change took away a copy of the smallest or largest value: unless another copy is left, the caller
    /// has to find the extremes and give them to [`RatingStats::set_extremes`].
    ExtremeRemoved,
}

impl RatingStats {
    /// The number of current ratings; withdrawn ones do not count.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Replaces the value of one pair: `None` is no rating (new pair, or withdrawn).
    pub fn apply(&mut self, old: Option<RatingValue>, new: Option<RatingValue>) -> Overflow {
        if old == new {
            return Overflow::None;
        }
        if let Some(old) = old {
            let micros = i128::from(old.micros());
            self.count = self.count.saturating_sub(1);
            self.sum -= micros;
            self.sum_squares -= micros * micros;
        }
        if let Some(new) = new {
            let micros = i128::from(new.micros());
            self.count += 1;
            self.sum += micros;
            self.sum_squares += micros * micros;
        }
        self.distinct.replace(old.map(RatingValue::micros), new.map(RatingValue::micros))
    }

    /// Adds `count` ratings of one value, as [`apply`](Self::apply) does one by one.
    pub fn add(&mut self, value: RatingValue, count: u64) -> Overflow {
        if count == 0 {
            return Overflow::None;
        }
        let (micros, many) = (i128::from(value.micros()), i128::from(count));
        self.count += count;
        self.sum += micros * many;
        self.sum_squares += micros * micros * many;
        self.distinct.add(value.micros(), count)
    }

    /// Takes note of event times; the earliest and the latest are kept for ever.
    pub fn observe(&mut self, earliest: Timestamp, latest: Timestamp) {
        self.times = Some(match self.times {
            Some((first, last)) => (first.min(earliest), last.max(latest)),
            None => (earliest, latest),
        });
    }

    /// Sets the event times anew, after an erasure took events away.
    pub fn set_times(&mut self, times: Option<(Timestamp, Timestamp)>) {
        self.times = times;
    }

    /// The earliest and latest event time ever, of replaced and withdrawn ratings included.
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        self.times
    }

    /// Whether the distinct values are no longer counted here.
    pub fn is_overflowed(&self) -> bool {
        matches!(self.distinct, Distinct::Overflowed(_))
    }

    /// The smallest and largest value; `None` without ratings, or if they are not known.
    pub fn extremes(&self) -> Option<(RatingValue, RatingValue)> {
        if self.count == 0 {
            return None;
        }
        let (min, max) = match &self.distinct {
            Distinct::Counted(counts) => (counts.first()?.0, counts.last()?.0),
            Distinct::Overflowed(extremes) => (*extremes)?,
        };
        Some((RatingValue::from_micros(min).ok()?, RatingValue::from_micros(max).ok()?))
    }

    /// Tells an overflowed state its extremes; `None` if there are no ratings or they cannot be found.
    pub fn set_extremes(&mut self, extremes: Option<(RatingValue, RatingValue)>) {
        if let Distinct::Overflowed(known) = &mut self.distinct {
            *known = extremes.map(|(min, max)| (min.micros(), max.micros()));
        }
    }

    /// Joins the statistics of other pairs of the same entity.
    pub fn merge(&mut self, other: &RatingStats) {
        if let Some((first, last)) = other.times {
            self.observe(first, last);
        }
        let (empty, other_empty) = (self.count == 0, other.count == 0);
        self.count += other.count;
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.distinct.merge(empty, &other.distinct, other_empty);
    }
}

impl Distinct {
    fn replace(&mut self, old: Option<i64>, new: Option<i64>) -> Overflow {
        match self {
            Distinct::Counted(counts) => {
                if let Some(old) = old {
                    remove(counts, old);
                }
                if let Some(new) = new {
                    add(counts, new, 1);
                }
                self.overflow_if_full()
            }
            Distinct::Overflowed(extremes) => {
                let removed =
                    old.is_some_and(|old| extremes.is_none_or(|(min, max)| old == min || old == max));
                if let (Some(new), Some((min, max))) = (new, extremes.as_mut()) {
                    *min = new.min(*min);
                    *max = new.max(*max);
                }
                // Unknown extremes (an entity emptied earlier) are found by the caller too.
                if removed || extremes.is_none() { Overflow::ExtremeRemoved } else { Overflow::None }
            }
        }
    }

    fn add(&mut self, value: i64, count: u64) -> Overflow {
        match self {
            Distinct::Counted(counts) => {
                add(counts, value, count);
                self.overflow_if_full()
            }
            Distinct::Overflowed(_) => self.replace(None, Some(value)),
        }
    }

    fn overflow_if_full(&mut self) -> Overflow {
        let Distinct::Counted(counts) = self else { return Overflow::None };
        if counts.len() <= MAX_DISTINCT_VALUES {
            return Overflow::None;
        }
        let counts = std::mem::take(counts);
        *self = Distinct::Overflowed(extremes_of(&counts));
        let value =
            |(micros, count): (i64, u64)| RatingValue::from_micros(micros).ok().map(|value| (value, count));
        Overflow::Began(counts.into_iter().filter_map(value).collect())
    }

    fn merge(&mut self, empty: bool, other: &Distinct, other_empty: bool) {
        if let (Distinct::Counted(counts), Distinct::Counted(others)) = (&mut *self, other) {
            for &(micros, count) in others {
                add(counts, micros, count);
            }
            let _extremes_are_kept = self.overflow_if_full();
            return;
        }
        let joined = match (self.extremes(), other.extremes()) {
            (Some((min, max)), Some((other_min, other_max))) => {
                Some((min.min(other_min), max.max(other_max)))
            }
            (own, None) if other_empty => own,
            (None, others) if empty => others,
            _ => None,
        };
        *self = Distinct::Overflowed(joined);
    }

    fn extremes(&self) -> Option<(i64, i64)> {
        match self {
            Distinct::Counted(counts) => extremes_of(counts),
            Distinct::Overflowed(extremes) => *extremes,
        }
    }
}

fn extremes_of(counts: &[(i64, u64)]) -> Option<(i64, i64)> {
    Some((counts.first()?.0, counts.last()?.0))
}

fn add(counts: &mut Vec<(i64, u64)>, micros: i64, count: u64) {
    match counts.binary_search_by_key(&micros, |&(value, _)| value) {
        Ok(at) => counts[at].1 += count,
        Err(at) => counts.insert(at, (micros, count)),
    }
}

fn remove(counts: &mut Vec<(i64, u64)>, micros: i64) {
    if let Ok(at) = counts.binary_search_by_key(&micros, |&(value, _)| value) {
        counts[at].1 -= 1;
        if counts[at].1 == 0 {
            counts.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: f64) -> Option<RatingValue> {
        RatingValue::new(number).ok()
    }

    fn of(values: &[f64]) -> RatingStats {
        let mut stats = RatingStats::default();
        for &number in values {
            let _ = stats.apply(None, value(number));
        }
        stats
    }

    #[test]
    fn replacing_and_removing_is_as_if_it_had_never_been() {
        let mut stats = of(&[1.0, 5.0, 3.0]);
        assert_eq!(stats.apply(value(5.0), value(2.0)), Overflow::None);
        assert_eq!(stats.apply(value(1.0), None), Overflow::None);
        assert_eq!(stats, of(&[2.0, 3.0]));
    }

    #[test]
    fn adding_many_of_a_value_is_adding_each() {
        for distinct in [3, 64, 65, 80] {
            let mut many = RatingStats::default();
            let mut each = RatingStats::default();
            for number in (0..distinct).map(|number| f64::from(number * 7 % 100) - 40.0) {
                let value = RatingValue::new(number).unwrap();
                let _ = many.add(value, 3);
                for _ in 0..3 {
                    let _ = each.apply(None, Some(value));
                }
            }
            assert_eq!(many.add(RatingValue::new(0.5).unwrap(), 0), Overflow::None);
            assert_eq!(many, each, "{distinct} values");
        }
    }

    #[test]
    fn merging_two_halves_is_the_whole() {
        let mut left = of(&[1.0, 5.0]);
        left.merge(&of(&[3.0, 5.0]));
        assert_eq!(left, of(&[5.0, 3.0, 5.0, 1.0]));
    }

    #[test]
    fn past_64_values_the_extremes_are_kept_until_one_is_taken() {
        let mut stats = of(&(0..64).map(f64::from).collect::<Vec<_>>());
        assert!(!stats.is_overflowed());
        let Overflow::Began(counts) = stats.apply(None, value(64.0)) else { panic!("no overflow") };
        assert_eq!(counts.len(), 65);
        assert_eq!(stats.extremes(), value(0.0).zip(value(64.0)));
        assert_eq!(stats.apply(value(5.0), value(70.0)), Overflow::None);
        assert_eq!(stats.extremes(), value(0.0).zip(value(70.0)));
        assert_eq!(stats.apply(value(0.0), value(6.0)), Overflow::ExtremeRemoved);
        stats.set_extremes(value(1.0).zip(value(70.0)));
        assert_eq!(stats.extremes(), value(1.0).zip(value(70.0)));
    }

    #[test]
    fn merging_overflowed_halves_keeps_the_extremes() {
        let mut low = of(&(0..40).map(f64::from).collect::<Vec<_>>());
        let high = of(&(40..140).map(f64::from).collect::<Vec<_>>());
        low.merge(&high);
        assert_eq!(low.extremes(), value(0.0).zip(value(139.0)));
        low.merge(&RatingStats::default());
        assert_eq!(low.extremes(), value(0.0).zip(value(139.0)));
    }

    #[test]
    fn merging_keeps_no_extremes_that_are_not_known_of_both_halves() {
        let known = of(&(0..100).map(f64::from).collect::<Vec<_>>());
        let mut unknown = known.clone();
        unknown.set_extremes(None);
        for (mut left, right) in [(known.clone(), &unknown), (unknown.clone(), &known)] {
            left.merge(right);
            assert_eq!((left.count(), left.extremes()), (200, None));
        }
        let mut empty = RatingStats::default();
        empty.merge(&known);
        assert_eq!(empty.extremes(), value(0.0).zip(value(99.0)));
    }
}
