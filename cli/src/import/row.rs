//! From the text of a row to a checked event, or to the reason why it is none.

use recstore::{Clock, Error, EventId, IngestLimits, ItemId, Rating, RatingValue, Result, Timestamp, UserId};
use serde::Serialize;

use super::time::TimeUnit;

/// The most characters of a bad row that are shown.
const SHOWN_CHARACTERS: usize = 200;

/// A row that is no event: where it stands, what is wrong, and how it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The line, from 1.
    pub line: u64,
    /// The part that is wrong: `user`, `item`, `value`, `rated_at`, `event_id`, or `line` for the whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// The beginning of the line.
    pub text: String,
}

impl Rejection {
    pub(crate) fn new(line: u64, text: &[u8], problem: Problem) -> Rejection {
        let text = String::from_utf8_lossy(text);
        Rejection {
            line,
            field: problem.field,
            reason: problem.reason,
            text: text.chars().take(SHOWN_CHARACTERS).collect(),
        }
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) field: String,
    pub(crate) reason: String,
}

impl Problem {
    pub(crate) fn new(field: &str, reason: impl Into<String>) -> Problem {
        Problem { field: field.to_owned(), reason: reason.into() }
    }

    pub(crate) fn of_line(reason: impl Into<String>) -> Problem {
        Problem::new("line", reason)
    }
}

/// The problem that a check of core names; `field` is the column's name where core has another.
fn problem(field: &'static str) -> impl Fn(Error) -> Problem {
    move |error| Problem::new(field, error.message())
}

/// Makes checked events of rows: everything that a store could refuse is refused here, row by row, so that
/// one bad row never fails a batch.
#[derive(Debug)]
pub(crate) struct RowChecker {
    pub(crate) limits: IngestLimits,
    pub(crate) clock: std::sync::Arc<dyn Clock>,
}

impl RowChecker {
    /// The event that these checked parts make, unless it is too far ahead of the clock.
    pub(crate) fn event(
        &self,
        user: UserId,
        item: ItemId,
        value: Option<RatingValue>,
        rated_at: Timestamp,
        event_id: Option<EventId>,
    ) -> Result<Rating, Problem> {
        self.limits.check_time("rated_at", rated_at, self.clock.now()).map_err(problem("rated_at"))?;
        Ok(Rating::from_parts(user, item, value, rated_at, event_id))
    }
}

pub(crate) fn user(text: &str) -> Result<UserId, Problem> {
    UserId::new(text).map_err(problem("user"))
}

pub(crate) fn item(text: &str) -> Result<ItemId, Problem> {
    ItemId::new(text).map_err(problem("item"))
}

/// A value from text; spaces around a number mean nothing.
pub(crate) fn value(text: &str) -> Result<RatingValue, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Problem::new("value", "is empty"));
    }
    let number: f64 =
        text.parse().map_err(|_| Problem::new("value", format!("{:?} is not a number", cut(text))))?;
    number_value(number)
}

pub(crate) fn number_value(number: f64) -> Result<RatingValue, Problem> {
    RatingValue::new(number).map_err(problem("value"))
}

pub(crate) fn time(text: &str, unit: TimeUnit) -> Result<Timestamp, Problem> {
    unit.parse(text.trim()).map_err(problem("rated_at"))
}

pub(crate) fn number_time(number: i64, unit: TimeUnit) -> Result<Timestamp, Problem> {
    unit.of_number(number).map_err(problem("rated_at"))
}

/// The identity that a producer gave: a UUID or 32 hexadecimal digits as they are, any other text as a name.
pub(crate) fn event_id(text: &str) -> EventId {
    text.parse().unwrap_or_else(|_| EventId::from_name(text))
}

/// The beginning of a text, to show it.
pub(crate) fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_none_say_why() {
        for (text, reason) in [
            ("", "is empty"),
            ("abc", "\"abc\" is not a number"),
            ("4,5", "\"4,5\" is not a number"),
            ("NaN", "NaN is not a finite number"),
            ("inf", "inf is not a finite number"),
            ("-Infinity", "-inf is not a finite number"),
            ("1e999", "inf is not a finite number"),
            ("1000001", "1000001 is beyond ±1,000,000"),
        ] {
            assert_eq!(value(text), Err(Problem::new("value", reason)), "{text:?}");
        }
        assert_eq!(value(" 4.5 ").map(|value| value.as_f64()), Ok(4.5));
    }

    #[test]
    fn uuids_are_ids_and_other_texts_are_names() {
        assert_eq!(
            event_id("67e55044-10b1-426f-9247-bb680e5fe0c8").to_string(),
            "67e5504410b1426f9247bb680e5fe0c8"
        );
        assert_eq!(event_id("ratings/0/42"), EventId::from_name("ratings/0/42"));
    }

    #[test]
    fn a_rejection_shows_only_the_beginning_of_the_row() {
        let text = "é".repeat(1000);
        let rejection = Rejection::new(7, text.as_bytes(), Problem::of_line("is too long"));
        assert_eq!(rejection.text.chars().count(), SHOWN_CHARACTERS);
    }
}
