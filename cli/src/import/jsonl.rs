//! JSON lines: one object for each event.
//!
//! `{"user":"1","item":"31","value":2.5,"rated_at":"2009-12-14T02:52:24Z","event_id":"…"}`; `rating` and
//! `timestamp` are other names of `value` and `rated_at`, a null value is a withdrawal, other keys are
//! passed over. A key that stands twice is refused: readers differ in which of the two they take.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io;

use recstore::{EventId, Rating, RatingValue, Timestamp};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::csv::check_text;
use super::lines::{Line, Lines};
use super::row::{self, Problem, Rejection, RowChecker};
use super::time::{TimeUnit, whole};

/// Reads events from lines of JSON.
#[derive(Debug)]
pub(crate) struct JsonRows {
    unit: TimeUnit,
    line: Line,
}

impl JsonRows {
    pub(crate) fn new(unit: TimeUnit) -> JsonRows {
        JsonRows { unit, line: Line::default() }
    }

    /// The next event or bad row; `None` at the end. Blank lines are passed over.
    pub(crate) fn next(
        &mut self,
        lines: &mut Lines,
        checker: &RowChecker,
    ) -> io::Result<Option<Result<Rating, Rejection>>> {
        while lines.next_into(&mut self.line)? {
            if self.line.bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let row = self.event(checker);
            return Ok(Some(
                row.map_err(|problem| Rejection::new(self.line.number, &self.line.bytes, problem)),
            ));
        }
        Ok(None)
    }

    fn event(&self, checker: &RowChecker) -> Result<Rating, Problem> {
        let text = check_text(&self.line)?;
        let raw: RawEvent = serde_json::from_str(text).map_err(|error| Problem::of_line(one_line(&error)))?;
        let user = row::user(&id("user", raw.user)?)?;
        let item = row::item(&id("item", raw.item)?)?;
        checker.event(user, item, value(raw.value)?, time(raw.time, self.unit)?, event_id(raw.event_id)?)
    }
}

/// The parser's message; its line is always 1 here and would mislead.
fn one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => format!("{message} (column {})", error.column()),
        None => text,
    }
}

/// The parts of an event as they were written.
#[derive(Debug, Default)]
struct RawEvent<'a> {
    user: Option<Scalar<'a>>,
    item: Option<Scalar<'a>>,
    value: Option<Scalar<'a>>,
    time: Option<Scalar<'a>>,
    event_id: Option<Scalar<'a>>,
}

impl<'de> Deserialize<'de> for RawEvent<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawEvent<'de>, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawEvent<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with user, item, value and rated_at")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEvent<'de>, A::Error> {
                let mut event = RawEvent::default();
                let mut others = HashSet::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    let slot = match key.as_ref() {
                        "user" => &mut event.user,
                        "item" => &mut event.item,
                        "value" | "rating" => &mut event.value,
                        "rated_at" | "timestamp" => &mut event.time,
                        "event_id" => &mut event.event_id,
                        other => {
                            if !others.insert(other.to_owned()) {
                                return Err(A::Error::custom(format!("the key {other:?} stands twice")));
                            }
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.is_some() {
                        return Err(A::Error::custom(format!(
                            "the key {key:?} stands twice, or under two names"
                        )));
                    }
                    *slot = Some(map.next_value()?);
                }
                Ok(event)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A JSON value that has no parts.
#[derive(Debug)]
enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i128),
    Number(f64),
    Other(&'static str),
}

impl Scalar<'_> {
    /// What was written, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Text(_) => "text",
            Scalar::Integer(_) | Scalar::Number(_) => "a number",
            Scalar::Other(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar<'de>, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Other("true or false"))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Integer(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Integer(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other("a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other("an object"))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

fn id<'a>(field: &str, scalar: Option<Scalar<'a>>) -> Result<Cow<'a, str>, Problem> {
    match scalar {
        Some(Scalar::Text(text)) => Ok(text),
        Some(Scalar::Integer(number)) => Ok(Cow::Owned(number.to_string())),
        Some(other) => Err(Problem::new(field, format!("is {}, an id is text or an integer", other.kind()))),
        None => Err(Problem::new(field, "is missing")),
    }
}

fn value(scalar: Option<Scalar<'_>>) -> Result<Option<RatingValue>, Problem> {
    match scalar {
        Some(Scalar::Null) => Ok(None),
        Some(Scalar::Number(number)) => row::number_value(number).map(Some),
        Some(Scalar::Integer(number)) => row::number_value(number as f64).map(Some),
        Some(other) => {
            Err(Problem::new("value", format!("is {}, a rating is a number or null", other.kind())))
        }
        None => Err(Problem::new("value", "is missing; a withdrawal says null")),
    }
}

fn time(scalar: Option<Scalar<'_>>, unit: TimeUnit) -> Result<Timestamp, Problem> {
    let number = match scalar {
        Some(Scalar::Text(text)) => return row::time(&text, unit),
        Some(Scalar::Integer(number)) => i64::try_from(number).ok(),
        Some(Scalar::Number(number)) => whole(number),
        Some(other) => {
            let text = format!("is {}, a time is a whole number or RFC 3339", other.kind());
            return Err(Problem::new("rated_at", text));
        }
        None => return Err(Problem::new("rated_at", "is missing")),
    };
    let number = number.ok_or_else(|| Problem::new("rated_at", "is not a whole number in range"))?;
    row::number_time(number, unit)
}

fn event_id(scalar: Option<Scalar<'_>>) -> Result<Option<EventId>, Problem> {
    match scalar {
        None | Some(Scalar::Null) => Ok(None),
        Some(Scalar::Text(text)) if text.is_empty() => Err(Problem::new("event_id", "is empty")),
        Some(Scalar::Text(text)) => Ok(Some(row::event_id(&text))),
        Some(Scalar::Integer(number)) => Ok(Some(row::event_id(&number.to_string()))),
        Some(other) => {
            Err(Problem::new("event_id", format!("is {}, an event id is text or an integer", other.kind())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use recstore::{IngestLimits, SystemClock};

    use super::*;

    fn read(line: &str) -> Result<Rating, (String, String)> {
        let mut lines = Lines::new(Box::new(io::Cursor::new(line.to_owned().into_bytes())));
        let checker = RowChecker { limits: IngestLimits::default(), clock: Arc::new(SystemClock) };
        let row = JsonRows::new(TimeUnit::Auto).next(&mut lines, &checker).unwrap().unwrap();
        row.map_err(|bad| (bad.field, bad.reason))
    }

    #[test]
    fn ids_are_text_or_integers_and_null_withdraws() {
        let row = read(r#"{"user":1,"item":"31","value":2.5,"rated_at":1260759144,"x":[{}]}"#).unwrap();
        assert_eq!((row.user().as_str(), row.item().as_str()), ("1", "31"));
        assert_eq!(row.rated_at().as_millis(), 1_260_759_144_000);
        let row = read(r#"{"user":1,"item":2,"rating":null,"timestamp":"2009-12-14T02:52:24Z"}"#).unwrap();
        assert!(row.is_withdrawn());
        let row = read(r#"{"user":1,"item":2,"value":1,"rated_at":5,"event_id":"ratings/0/42"}"#).unwrap();
        assert_eq!(row.event_id(), EventId::from_name("ratings/0/42"));
    }

    #[test]
    fn every_bad_line_names_its_field() {
        for (line, field, reason) in [
            ("[1,2]", "line", "expected an object"),
            ("{\"user\":1", "line", "EOF while parsing"),
            (r#"{"user":1,"item":2,"value":NaN,"rated_at":5}"#, "line", "expected value"),
            (r#"{"user":1,"item":2,"value":1e999,"rated_at":5}"#, "line", "number out of range"),
            (r#"{"user":1,"user":2,"item":2,"value":1,"rated_at":5}"#, "line", "stands twice"),
            (r#"{"user":1,"item":2,"value":1,"rating":1,"rated_at":5}"#, "line", "under two names"),
            (r#"{"user":1,"item":2,"value":1,"rated_at":5,"x":1,"x":1}"#, "line", "\"x\" stands twice"),
            (r#"{"item":2,"value":1,"rated_at":5}"#, "user", "is missing"),
            (r#"{"user":1.5,"item":2,"value":1,"rated_at":5}"#, "user", "is a number, an id is"),
            (r#"{"user":1,"item":"","value":1,"rated_at":5}"#, "item", "is empty"),
            (r#"{"user":1,"item":"a\u0000","value":1,"rated_at":5}"#, "item", "control character"),
            (r#"{"user":1,"item":2,"rated_at":5}"#, "value", "is missing"),
            (r#"{"user":1,"item":2,"value":"5","rated_at":5}"#, "value", "is text"),
            (r#"{"user":1,"item":2,"value":1000001,"rated_at":5}"#, "value", "beyond"),
            (r#"{"user":1,"item":2,"value":1}"#, "rated_at", "is missing"),
            (r#"{"user":1,"item":2,"value":1,"rated_at":-5}"#, "rated_at", "between the years"),
            (r#"{"user":1,"item":2,"value":1,"rated_at":"1900-01-01T00:00:00Z"}"#, "rated_at", "between"),
            (r#"{"user":1,"item":2,"value":1,"rated_at":"9000-01-01T00:00:00Z"}"#, "rated_at", "ahead"),
            (r#"{"user":1,"item":2,"value":1,"rated_at":1.5}"#, "rated_at", "whole number"),
            (r#"{"user":1,"item":2,"value":1,"rated_at":5,"event_id":""}"#, "event_id", "is empty"),
        ] {
            let (found, text) = read(line).unwrap_err();
            assert_eq!(found, field, "{line}");
            assert!(text.contains(reason), "{line}: {text}");
        }
    }
}
