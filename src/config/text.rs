//! Values from and to the text a human writes: `30s`, `8MiB`, `auto`.
//!
//! Errors name no field, the caller knows the key.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Serialize, Serializer};

use recstore_core::{Error, ErrorKind, Result};

/// What stands for "let the program choose".
const AUTO: &str = "auto";
/// What stands for a span of time without an end.
const FOREVER: &str = "forever";

/// A value that is not what it should be.
pub(super) fn wrong(value: &str, should_be: impl Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{value:?} is not {should_be}"))
}

pub(super) fn boolean(value: &str) -> Result<bool> {
    value.parse().map_err(|_| wrong(value, "true or false"))
}

pub(super) fn whole<T: FromStr>(value: &str) -> Result<T> {
    value.parse().map_err(|_| wrong(value, "a whole number in range"))
}

pub(super) fn whole_or_auto(value: &str) -> Result<Option<usize>> {
    if value == AUTO {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| wrong(value, "a whole number or auto"))
}

pub(super) fn number(value: &str) -> Result<f64> {
    let number: f64 = value.parse().map_err(|_| wrong(value, "a number"))?;
    if number.is_finite() { Ok(number) } else { Err(wrong(value, "a finite number")) }
}

/// Bytes, with or without a unit: `16MiB`, `1.5GB`, `65536`.
pub(super) fn size(value: &str) -> Result<u64> {
    let size = value.parse::<ByteSize>().map_err(|_| wrong(value, "a size such as 16MiB"))?;
    Ok(size.as_u64())
}

/// A span of time with its unit: `30s`, `24h`, `1h 30m`, `500ms`, `30d`. A day is 24 hours.
pub(super) fn duration(value: &str) -> Result<Duration> {
    let should_be = || wrong(value, "a duration such as 30s, 500ms, 24h or 30d");
    let span: Span = value.parse().map_err(|_| should_be())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| should_be())?;
    Duration::try_from(length).map_err(|_| should_be())
}

/// A span of time, or without an end.
pub(super) fn duration_or_forever(value: &str) -> Result<Option<Duration>> {
    if value == FOREVER {
        return Ok(None);
    }
    let or_forever = |_| wrong(value, "forever or a duration such as 365d");
    duration(value).map(Some).map_err(or_forever)
}

pub(super) fn serialize_size<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    // Only a whole number of units reads back as the same number of bytes.
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = UNITS.iter().find(|(shift, _)| *bytes > 0 && bytes.is_multiple_of(1 << shift));
    match whole {
        Some((shift, unit)) => serializer.collect_str(&format_args!("{}{unit}", bytes >> shift)),
        None => serializer.collect_str(&format_args!("{bytes}B")),
    }
}

pub(super) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match SignedDuration::try_from(*duration) {
        Ok(duration) => serializer.collect_str(&format_args!("{duration:#}")),
        Err(_) => serializer.collect_str(&format_args!("{}s", duration.as_secs())),
    }
}

pub(super) fn serialize_or_forever<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_str(FOREVER),
    }
}

pub(super) fn serialize_or_auto<S: Serializer>(
    value: &Option<usize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(AUTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_units_a_human_would_write() {
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(size("1.5KiB").unwrap(), 1536);
        assert_eq!(size("65536").unwrap(), 65536);
        assert_eq!(duration("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(duration("1d 12h").unwrap(), Duration::from_secs(129_600));
        for text in ["", "30", "-5s", "soon", "1 fortnight", "1mo", "forever"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert_eq!(duration_or_forever("forever").unwrap(), None);
        assert_eq!(duration_or_forever("2d").unwrap(), Some(Duration::from_secs(172_800)));
        assert!(duration_or_forever("never").is_err());
        for text in ["", "-1", "8 apples", "NaN", "MiB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(number("3.5").unwrap(), 3.5);
        for text in ["NaN", "inf", "three"] {
            assert!(number(text).is_err(), "{text:?}");
        }
    }
}
