//! Time: UTC milliseconds since 1970, and the clock that says what is now.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::fmt::temporal::Pieces;
use jiff::{SignedDuration, civil};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// A point in time: UTC milliseconds since 1970-01-01T00:00:00Z, up to the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(0);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// A time from UTC milliseconds.
    ///
    /// # Errors
    /// `Invalid` before 1970 or after 9999.
    pub fn from_millis(millis: i64) -> Result<Timestamp> {
        if (Self::MIN.0..=Self::MAX.0).contains(&millis) {
            return Ok(Timestamp(millis));
        }
        Err(Error::invalid("timestamp", format!("{millis} ms is not between the years 1970 and 9999")))
    }

    /// A time from UTC seconds.
    ///
    /// # Errors
    /// `Invalid` before 1970 or after 9999.
    pub fn from_seconds(seconds: i64) -> Result<Timestamp> {
        seconds.checked_mul(1000).and_then(|millis| Timestamp::from_millis(millis).ok()).ok_or_else(|| {
            Error::invalid("timestamp", format!("{seconds} s is not between the years 1970 and 9999"))
        })
    }

    /// A time from RFC 3339 text such as `2024-01-15T10:30:00Z`, cut to milliseconds.
    ///
    /// # Errors
    /// `Invalid` if the text is not RFC 3339 or the time is out of range.
    pub fn parse(text: &str) -> Result<Timestamp> {
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Timestamp::from_millis(time.as_millisecond()),
            Err(cause) => last_hours(text).ok_or_else(|| {
                Error::invalid("timestamp", format!("{text:?} is not RFC 3339")).because(cause)
            }),
        }
    }

    /// UTC milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This time plus `duration`, or the year 9999 where that is earlier.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC: `2024-01-15T10:30:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(SignedDuration::from_millis(self.0)) {
            Ok(time) => write!(f, "{time}Z"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// The begin of 1970, as a date and a time of day.
const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// A time in the last hours of the year 9999, where jiff's own times have ended: they leave room for every offset.
fn last_hours(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?).duration_since(EPOCH);
    let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    let millis = i64::try_from(local.checked_sub(offset)?.as_millis()).ok()?;
    let is_late = millis > jiff::Timestamp::MAX.as_millisecond();
    is_late.then(|| Timestamp::from_millis(millis).ok()).flatten()
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Timestamp, D::Error> {
        Timestamp::from_millis(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Says what time it is. An argument, so that tests and replays decide.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).min(Timestamp::MAX.0))
    }
}

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> ManualClock {
        ManualClock(AtomicI64::new(now.0))
    }

    /// Moves the clock to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The instant by which a call shall have ended.
///
/// A read that is late fails with `DeadlineExceeded`. A write that had not begun fails with
/// `DeadlineExceeded` and stores nothing; one that had begun fails with `OutcomeUnknown`.
/// Waiting with a deadline needs a Tokio runtime with time enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `timeout` from now; one that is too long to be counted is a hundred years.
    pub fn after(timeout: Duration) -> Deadline {
        const HUNDRED_YEARS: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let now = Instant::now();
        Deadline(now.checked_add(timeout).unwrap_or_else(|| now + HUNDRED_YEARS))
    }

    /// The deadline at `instant`.
    pub fn at(instant: Instant) -> Deadline {
        Deadline(instant)
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        Instant::now() >= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_outside_1970_to_9999_are_refused() {
        assert!(Timestamp::from_millis(-1).is_err());
        assert!(Timestamp::from_seconds(i64::MAX).is_err());
        assert!(Timestamp::parse("1900-01-01T00:00:00Z").is_err());
        assert_eq!(Timestamp::from_seconds(1).unwrap().as_millis(), 1000);
    }

    #[test]
    fn a_deadline_after_any_time_has_not_passed() {
        assert!(!Deadline::after(Duration::MAX).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }

    #[test]
    fn it_prints_as_rfc_3339() {
        assert_eq!(Timestamp::from_seconds(1_260_759_108).unwrap().to_string(), "2009-12-14T02:51:48Z");
        assert_eq!(Timestamp::parse("2009-12-14T02:51:48Z").unwrap().as_millis(), 1_260_759_108_000);
    }

    #[test]
    fn the_last_hours_of_9999_read_back_as_any_others() {
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        for before_the_end in (0..200_000_000).step_by(99_991) {
            let time = Timestamp::from_millis(Timestamp::MAX.as_millis() - before_the_end).unwrap();
            assert_eq!(Timestamp::parse(&time.to_string()).unwrap(), time);
        }
        let text = "9999-12-31T21:30:00-02:00";
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), "9999-12-31T23:30:00Z");
        for wrong in
            ["9999-12-31T23:30:00-01:00", "9999-12-31T23:30:00", "9999-12-31", "10000-01-01T00:00:00Z"]
        {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
        }
    }
}
