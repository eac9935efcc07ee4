//! Days and times of the proleptic Gregorian calendar as fixed-width text, without allocation.
//!
//! The conversions are Howard Hinnant's `days_from_civil` and `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>), for the years 1970 to 9999.

use std::fmt;
use std::str::FromStr;

use recstore_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

const MILLIS_PER_DAY: i64 = 86_400_000;
/// The length of `2009-12-14`.
const DAY_BYTES: usize = 10;
/// The length of `2009-12-14T02:52:24.000Z`.
pub(crate) const TIME_BYTES: usize = 24;

/// A day in UTC, from 1970-01-01 to 9999-12-31; prints as `2009-12-14`, so that text order is time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(u32);

impl Day {
    /// The day that `time` lies in.
    pub fn of(time: Timestamp) -> Day {
        Day((time.as_millis() / MILLIS_PER_DAY) as u32)
    }

    /// When the day after it begins; for the last day there is, its last millisecond.
    pub fn end(self) -> Timestamp {
        Timestamp::from_millis((i64::from(self.0) + 1) * MILLIS_PER_DAY).unwrap_or(Timestamp::MAX)
    }

    fn digits(self) -> [u8; DAY_BYTES] {
        let (year, month, day) = civil(self.0);
        let mut text = *b"0000-00-00";
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], day);
        text
    }

    fn from_digits(text: &[u8]) -> Option<Day> {
        let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text else { return None };
        let (year, month, day) = (number(&[y0, y1, y2, y3])?, number(&[m0, m1])?, number(&[d0, d1])?);
        if year < 1970 || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let days = days(year, month, day);
        // A day that the month does not have is another one's number.
        (civil(days) == (year, month, day)).then_some(Day(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Day> {
        Day::from_digits(text.as_bytes())
            .ok_or_else(|| Error::invalid("day", format!("{text:?} is no day such as 2009-12-14")))
    }
}

impl TryFrom<String> for Day {
    type Error = Error;

    fn try_from(text: String) -> Result<Day> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.to_string()
    }
}

/// `time` as RFC 3339 with milliseconds, in UTC: `2009-12-14T02:52:24.000Z`.
pub(crate) fn time_text(time: Timestamp) -> [u8; TIME_BYTES] {
    let of_day = (time.as_millis() % MILLIS_PER_DAY) as u32;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    text[..DAY_BYTES].copy_from_slice(&Day::of(time).digits());
    put_digits(&mut text[11..13], of_day / 3_600_000);
    put_digits(&mut text[14..16], of_day / 60_000 % 60);
    put_digits(&mut text[17..19], of_day / 1000 % 60);
    put_digits(&mut text[20..23], of_day % 1000);
    text
}

/// The time that [`time_text`] wrote; the fraction may be missing, nothing else is taken.
pub(crate) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let (day, rest) = text.split_at_checked(DAY_BYTES)?;
    let [b'T', h0, h1, b':', m0, m1, b':', s0, s1, fraction @ .., b'Z'] = rest else { return None };
    let (hour, minute, second) = (number(&[*h0, *h1])?, number(&[*m0, *m1])?, number(&[*s0, *s1])?);
    let millis = match fraction {
        [] => 0,
        [b'.', digits @ ..] if digits.len() == 3 => number(digits)?,
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let of_day = ((hour * 60 + minute) * 60 + second) * 1000 + millis;
    let day = Day::from_digits(day)?;
    Timestamp::from_millis(i64::from(day.0) * MILLIS_PER_DAY + i64::from(of_day)).ok()
}

fn put_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(days: u32) -> (u32, u32, u32) {
    // Days from 0000-03-01, in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

/// The inverse of [`civil`], for years from 1970 on.
fn days(year: u32, month: u32, day: u32) -> u32 {
    let year = year - u32::from(month <= 2);
    let year_of_era = year % 400;
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year / 400 * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_up_to_9999_reads_back_and_text_order_is_time_order() {
        let last = Day::of(Timestamp::MAX);
        let mut earlier = String::new();
        for number in 0..=last.0 {
            let text = Day(number).to_string();
            assert_eq!(text.as_bytes(), Day(number).digits());
            assert_eq!(text.parse::<Day>().unwrap(), Day(number));
            assert!(earlier < text);
            earlier = text;
        }
        assert_eq!((Day(0).to_string(), earlier), ("1970-01-01".into(), "9999-12-31".into()));
    }

    #[test]
    fn a_day_ends_where_the_next_one_begins() {
        let day: Day = "2024-02-28".parse().unwrap();
        assert_eq!(day.end(), Timestamp::parse("2024-02-29T00:00:00Z").unwrap());
        assert_eq!(Day::of(Timestamp::MAX).end(), Timestamp::MAX);
    }

    #[test]
    fn times_are_those_of_the_core() {
        let mut millis = 0;
        while millis <= Timestamp::MAX.as_millis() {
            let time = Timestamp::from_millis(millis).unwrap();
            let text = time_text(time);
            assert_eq!(Timestamp::parse(std::str::from_utf8(&text).unwrap()).unwrap(), time);
            assert_eq!(parse_time(&text), Some(time));
            millis += 9_876_543_210;
        }
        assert_eq!(&time_text(Timestamp::MAX), b"9999-12-31T23:59:59.999Z");
        assert_eq!(parse_time(b"2009-12-14T02:52:24Z").unwrap().as_millis(), 1_260_759_144_000);
    }

    #[test]
    fn what_is_no_day_or_time_is_refused() {
        for text in ["", "2023-02-29", "2023-00-01", "2023-13-01", "2023-01-00", "1969-12-31", "+023-01-01"] {
            assert!(text.parse::<Day>().is_err(), "{text:?}");
        }
        for text in [
            "2009-12-14",
            "2009-12-14T24:00:00Z",
            "2009-12-14T02:60:00Z",
            "2009-12-14T02:52:60Z",
            "2009-12-14T02:52:24.00Z",
            "2009-12-14T02:52:24.0000Z",
            "2009-12-14t02:52:24z",
            "2009-12-14T02:52:24+00:00",
            "2009-12-14T02:52:24.000Z ",
            "2009-02-29T02:52:24Z",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text:?}");
        }
    }
}
