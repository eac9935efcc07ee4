//! The stored form of [`RatingStats`], version 1.
//!
//! ```text
//! form           u8       1
//! flags          u8       1 = overflowed, 2 = extremes known, 4 = times known
//! count          varint
//! sum            varint   zigzag
//! sum of squares varint
//! first, last    varint   milliseconds, the second as a difference; only with flag 4
//! extremes       varint   zigzag, two of them; only with flag 2
//! distinct       varint   number, then (zigzag value or difference to the one before, count); unless flag 1
//! ```
//!
//! A varint has seven bits a byte, lowest first, the high bit set on all but the last. An item of a
//! star-rated catalogue takes about 50 bytes.

use super::RatingStats;
use super::stats::Distinct;
use crate::{Error, ErrorKind, RatingValue, Result, Timestamp};

const FORM: u8 = 1;
/// More ratings than an entity can have, whose squares still add up in an `i128`.
const MAX_COUNT: u64 = 1 << 46;
const OVERFLOWED: u8 = 1;
const EXTREMES: u8 = 2;
const TIMES: u8 = 4;

impl RatingStats {
    /// Appends the stored form to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut flags = 0;
        if self.times.is_some() {
            flags |= TIMES;
        }
        match &self.distinct {
            Distinct::Counted(_) => {}
            Distinct::Overflowed(None) => flags |= OVERFLOWED,
            Distinct::Overflowed(Some(_)) => flags |= OVERFLOWED | EXTREMES,
        }
        bytes.extend_from_slice(&[FORM, flags]);
        put(bytes, u128::from(self.count));
        put(bytes, zigzag(self.sum));
        put(bytes, self.sum_squares.unsigned_abs());
        if let Some((first, last)) = self.times {
            put(bytes, zigzag(first.as_millis().into()));
            put(bytes, zigzag((last.as_millis() - first.as_millis()).into()));
        }
        match &self.distinct {
            Distinct::Overflowed(extremes) => {
                for value in extremes.iter().flat_map(|&(min, max)| [min, max]) {
                    put(bytes, zigzag(value.into()));
                }
            }
            Distinct::Counted(counts) => {
                put(bytes, counts.len() as u128);
                let mut before = 0;
                for &(value, count) in counts {
                    put(bytes, zigzag(i128::from(value) - before));
                    put(bytes, u128::from(count));
                    before = value.into();
                }
            }
        }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not one, `SchemaVersion` if the form is newer.
    pub fn decode(bytes: &[u8]) -> Result<RatingStats> {
        match bytes.first() {
            Some(&form) if form > FORM => Err(Error::new(
                ErrorKind::SchemaVersion,
                format!("rating statistics of form {form}, this program reads up to {FORM}; upgrade it"),
            )),
            _ => decode(bytes)
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, "stored rating statistics are damaged")),
        }
    }
}

fn decode(bytes: &[u8]) -> Option<RatingStats> {
    let (&[FORM, flags], mut rest) = bytes.split_first_chunk::<2>()? else { return None };
    let rest = &mut rest;
    let count = u64::try_from(take(rest)?).ok()?;
    let sum = unzigzag(take(rest)?);
    let sum_squares = i128::try_from(take(rest)?).ok()?;
    let mut times = None;
    if flags & TIMES != 0 {
        let first = take_i64(rest)?;
        let last = first.checked_add(take_i64(rest)?)?;
        times = Some((Timestamp::from_millis(first).ok()?, Timestamp::from_millis(last).ok()?));
    }
    let distinct = match (flags & OVERFLOWED != 0, flags & EXTREMES != 0) {
        (true, true) => Distinct::Overflowed(Some((take_i64(rest)?, take_i64(rest)?))),
        (true, false) => Distinct::Overflowed(None),
        (false, _) => Distinct::Counted(take_counts(rest)?),
    };
    let stats = RatingStats { count, sum, sum_squares, distinct, times };
    (rest.is_empty() && is_possible(&stats)).then_some(stats)
}

/// Whether there can be ratings of which these are the statistics: nothing computed from them overflows.
fn is_possible(stats: &RatingStats) -> bool {
    const LARGEST: i128 = RatingValue::MAX_MICROS as i128;
    let is_value = |micros: i64| RatingValue::from_micros(micros).is_ok();
    let distinct = match &stats.distinct {
        Distinct::Overflowed(extremes) => {
            extremes.is_none_or(|(min, max)| min <= max && is_value(min) && is_value(max))
        }
        Distinct::Counted(counts) => {
            let total: u128 = counts.iter().map(|&(_, count)| u128::from(count)).sum();
            total == u128::from(stats.count)
                && counts.iter().all(|&(value, count)| count > 0 && is_value(value))
                && counts.is_sorted_by(|left, right| left.0 < right.0)
        }
    };
    let count = i128::from(stats.count);
    distinct
        && stats.count <= MAX_COUNT
        && stats.sum.unsigned_abs() <= (count * LARGEST).unsigned_abs()
        && (0..=count * LARGEST * LARGEST).contains(&stats.sum_squares)
        && stats.times.is_none_or(|(first, last)| first <= last)
}

fn take_counts(rest: &mut &[u8]) -> Option<Vec<(i64, u64)>> {
    let length = usize::try_from(take(rest)?).ok().filter(|&length| length <= super::MAX_DISTINCT_VALUES)?;
    let mut counts = Vec::with_capacity(length);
    let mut value: i64 = 0;
    for _ in 0..length {
        value = value.checked_add(take_i64(rest)?)?;
        counts.push((value, u64::try_from(take(rest)?).ok()?));
    }
    Some(counts)
}

fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    i64::try_from(unzigzag(take(rest)?)).ok()
}

fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)) as u128
}

fn unzigzag(value: u128) -> i128 {
    (value >> 1) as i128 ^ -((value & 1) as i128)
}

fn put(bytes: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(rest: &mut &[u8]) -> Option<u128> {
    let mut value: u128 = 0;
    for shift in (0..126).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BayesianPrior;

    fn samples() -> Vec<RatingStats> {
        let mut counted = RatingStats::default();
        let mut overflowed = RatingStats::default();
        for number in -5..=5 {
            let _ = counted.apply(None, RatingValue::new(f64::from(number) * 199_999.9).ok());
        }
        counted.observe(Timestamp::from_millis(5).unwrap(), Timestamp::MAX);
        for number in 0..100 {
            let _ = overflowed.apply(None, RatingValue::new(f64::from(number)).ok());
        }
        let mut unknown = overflowed.clone();
        unknown.set_extremes(None);
        vec![RatingStats::default(), counted, overflowed, unknown]
    }

    #[test]
    fn nothing_computed_from_damaged_bytes_overflows() {
        let of = |count: u64, sum: i128, squares: u128| {
            let mut bytes = vec![FORM, OVERFLOWED | TIMES];
            put(&mut bytes, count.into());
            put(&mut bytes, zigzag(sum));
            put(&mut bytes, squares);
            bytes.extend([0, 0]);
            bytes
        };
        assert!(RatingStats::decode(&of(2, 3, 5)).is_ok());
        for damaged in [of(u64::MAX, 0, 0), of(1, 1 << 120, 0), of(1, 0, 1 << 120), of(0, 1, 1)] {
            assert_eq!(RatingStats::decode(&damaged).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        for sample in samples() {
            let mut bytes = Vec::new();
            sample.encode(&mut bytes);
            for at in 0..bytes.len() {
                for byte in 0..=u8::MAX {
                    let mut damaged = bytes.clone();
                    damaged[at] = byte;
                    let Ok(mut stats) = RatingStats::decode(&damaged) else { continue };
                    let _ = stats.apply(None, RatingValue::new(-1_000_000.0).ok());
                    stats.merge(&sample);
                    let _ = stats.finish(BayesianPrior::default());
                }
            }
        }
    }

    /// The form of `count` ratings, and after it what the flags say follows.
    fn form(flags: u8, count: u64, sum: i128, squares: u128, rest: &[i128]) -> Vec<u8> {
        let mut bytes = vec![FORM, flags];
        put(&mut bytes, count.into());
        put(&mut bytes, zigzag(sum));
        put(&mut bytes, squares);
        for &number in rest {
            put(&mut bytes, zigzag(number));
        }
        bytes
    }

    fn kind(bytes: &[u8]) -> Option<ErrorKind> {
        RatingStats::decode(bytes).err().map(|error| error.kind())
    }

    #[test]
    fn statistics_that_no_ratings_have_are_refused() {
        const LARGEST: i128 = RatingValue::MAX_MICROS as i128;
        let squares = 2 * (LARGEST * LARGEST) as u128;
        let extremes = |min, max| form(OVERFLOWED | EXTREMES, 2, 0, 0, &[min, max]);
        let counted = |count, pairs: &[(i128, u128)]| {
            let mut bytes = form(0, count, 0, 0, &[]);
            put(&mut bytes, pairs.len() as u128);
            for &(step, count) in pairs {
                put(&mut bytes, zigzag(step));
                put(&mut bytes, count);
            }
            bytes
        };
        for right in [
            form(OVERFLOWED, 2, 2 * LARGEST, squares, &[]),
            form(OVERFLOWED, 2, -2 * LARGEST, squares, &[]),
            extremes(-LARGEST, LARGEST),
            extremes(3, 3),
            counted(4, &[(-LARGEST, 1), (2 * LARGEST, 3)]),
        ] {
            assert_eq!(kind(&right), None, "{right:?}");
        }
        for wrong in [
            form(OVERFLOWED, 2, 2 * LARGEST + 1, 0, &[]),
            form(OVERFLOWED, 2, 0, squares + 1, &[]),
            extremes(5, 3),
            extremes(-LARGEST - 1, 0),
            extremes(0, LARGEST + 1),
            counted(4, &[(0, 1), (1, 2)]),
            counted(3, &[(0, 3), (1, 0)]),
            counted(4, &[(0, 1), (LARGEST + 1, 3)]),
            counted(4, &[(5, 1), (0, 3)]),
            counted(4, &[(5, 1), (-1, 3)]),
        ] {
            assert_eq!(kind(&wrong), Some(ErrorKind::Corrupt), "{wrong:?}");
        }
    }

    #[test]
    fn the_stored_form_comes_back_as_it_was() {
        for stats in samples() {
            let mut bytes = Vec::new();
            stats.encode(&mut bytes);
            assert_eq!(RatingStats::decode(&bytes).unwrap(), stats);
            for length in 0..bytes.len() {
                assert!(RatingStats::decode(&bytes[..length]).is_err());
            }
        }
    }

    #[test]
    fn a_newer_form_asks_for_a_newer_program() {
        assert_eq!(kind(&[FORM + 1, 0, 0]), Some(ErrorKind::SchemaVersion));
        assert_eq!(kind(&[FORM - 1, 0, 0]), Some(ErrorKind::Corrupt));
        assert_eq!(kind(&[]), Some(ErrorKind::Corrupt));
    }

    /// A kept sample of form 1: later versions must read it.
    #[test]
    fn form_1_stays_readable() {
        let mut stats = RatingStats::default();
        let _ = stats.apply(None, RatingValue::new(2.5).ok());
        stats.observe(Timestamp::from_millis(1000).unwrap(), Timestamp::from_millis(3000).unwrap());
        let mut bytes = Vec::new();
        stats.encode(&mut bytes);
        let sample: Vec<u8> = SAMPLE.to_vec();
        assert_eq!(bytes, sample);
        assert_eq!(RatingStats::decode(&sample).unwrap(), stats);
    }

    const SAMPLE: &[u8] = &[
        1, 4, 1, 192, 150, 177, 2, 128, 200, 158, 136, 243, 181, 1, 208, 15, 160, 31, 1, 192, 150, 177, 2, 1,
    ];
}
