//! One event as one line of JSON, and back.
//!
//! ```json
//! {"user":"1","item":"31","value":2.5,"rated_at":"2009-12-14T02:52:24.000Z","event_id":"06a8a7714c9e131eaa8adf9dd07ce1c0"}
//! ```
//!
//! The names are those of the command line's JSON lines. The value is the exact decimal of its micro-units, with a
//! point, so that tools that guess types from the first rows take it for a real number; null is a withdrawal.
//!
//! The reader is strict, because lines may come back damaged or from elsewhere: each key exactly once, no other key,
//! no nesting (so depth is no matter), no number that is not exact, nothing after the object. It allocates nothing
//! but the ids.

use std::borrow::Cow;
use std::fmt;

use recstore_core::ratings::check_batch_size;
use recstore_core::{Error, EventId, ItemId, Rating, RatingValue, UserId};
use serde::Serialize;

use crate::lake::calendar::{TIME_BYTES, parse_time, time_text};
use crate::lake::keys::Topic;

/// The longest line that is read, in bytes, without its end. None that is written comes near it.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Digits after the point.
const DECIMALS: usize = 6;
/// Digits of an event's identity.
const HEX_DIGITS: usize = 32;
/// Digits before the point of the largest value.
const WHOLE_DIGITS: usize = 7;

/// The bytes of a usual line of ratings, by which the room of a writer's queue is counted.
pub const SHARE_BYTES: usize = 150;

/// What a line of a topic says.
pub trait Line: Sized + Send + 'static {
    /// Whose lines.
    const TOPIC: Topic;
    /// The name of a batch in errors.
    const BATCH: &'static str;

    /// Checks the number of events of a batch.
    ///
    /// # Errors
    /// `Invalid` (field [`BATCH`](Self::BATCH)).
    fn check_batch(batch: &[Self]) -> recstore_core::Result<()>;

    /// How much room it takes in a queue, in lines of [`SHARE_BYTES`]; at least 1.
    fn share(&self) -> usize;

    /// Appends it as a line, with its end, to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a line, given without its end.
    ///
    /// # Errors
    /// Why it is none of this topic.
    fn decode(line: &[u8]) -> Result<Self, BadLine>;
}

impl Line for Rating {
    const TOPIC: Topic = Topic::Ratings;
    const BATCH: &'static str = "events";

    fn check_batch(batch: &[Rating]) -> recstore_core::Result<()> {
        check_batch_size(batch)
    }

    fn share(&self) -> usize {
        1
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode_line(self, out);
    }

    fn decode(line: &[u8]) -> Result<Rating, BadLine> {
        decode_line(line)
    }
}

/// A key of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineField {
    /// Who rated.
    User,
    /// What was rated.
    Item,
    /// The value, or null.
    Value,
    /// The time of the event.
    RatedAt,
    /// The identity of the event.
    EventId,
    /// The group of a row.
    Group,
    /// Whose row it is.
    Id,
    /// When the row was true.
    EventTime,
    /// The row's values by column, or null.
    Values,
}

impl LineField {
    /// The key as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            LineField::User => "user",
            LineField::Item => "item",
            LineField::Value => "value",
            LineField::RatedAt => "rated_at",
            LineField::EventId => "event_id",
            LineField::Group => "group",
            LineField::Id => "id",
            LineField::EventTime => "event_time",
            LineField::Values => "values",
        }
    }

    fn of(key: &str) -> Option<LineField> {
        match key {
            "user" => Some(LineField::User),
            "item" => Some(LineField::Item),
            "value" => Some(LineField::Value),
            "rated_at" => Some(LineField::RatedAt),
            "event_id" => Some(LineField::EventId),
            _ => None,
        }
    }
}

impl fmt::Display for LineField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a line is no event. Positions are in bytes from the line's begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum BadLine {
    /// It has no bytes.
    Empty,
    /// It is longer than any line of its topic.
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest.
        most: usize,
    },
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It is not UTF-8.
    NotUtf8 {
        /// Where the first bad byte is.
        at: usize,
    },
    /// It is no JSON object of this form.
    Syntax {
        /// Where.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A value is a list or an object.
    Nested {
        /// Where it begins.
        at: usize,
    },
    /// It has a key that no event has.
    UnknownKey {
        /// Where the key begins.
        at: usize,
    },
    /// A key stands twice; readers differ in which of the two they take.
    DuplicateKey {
        /// Which key.
        field: LineField,
    },
    /// A key is missing.
    Missing {
        /// Which key.
        field: LineField,
    },
    /// A value is not what an event may have.
    Invalid {
        /// Of which key.
        field: LineField,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
    /// Something stands after the object.
    Trailing {
        /// Where.
        at: usize,
    },
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadLine::Empty => f.write_str("is empty"),
            BadLine::TooLong { bytes, most } => write!(f, "has {bytes} bytes, at most {most}"),
            BadLine::ByteOrderMark => f.write_str("begins with a byte order mark"),
            BadLine::NotUtf8 { at } => write!(f, "is not UTF-8 at byte {at}"),
            BadLine::Syntax { at, expected } => write!(f, "expected {expected} at byte {at}"),
            BadLine::Nested { at } => write!(f, "a list or an object at byte {at}, events have none"),
            BadLine::UnknownKey { at } => write!(f, "unknown key at byte {at}"),
            BadLine::DuplicateKey { field } => write!(f, "{field}: stands twice"),
            BadLine::Missing { field } => write!(f, "{field}: is missing"),
            BadLine::Invalid { field, problem } => write!(f, "{field}: {problem}"),
            BadLine::Trailing { at } => write!(f, "has more after the object, from byte {at}"),
        }
    }
}

impl std::error::Error for BadLine {}

/// Appends `event` as a line, with its end, to `out`.
pub fn encode_line(event: &Rating, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"user\":\"");
    put_escaped(event.user().as_str(), out);
    out.extend_from_slice(b"\",\"item\":\"");
    put_escaped(event.item().as_str(), out);
    out.extend_from_slice(b"\",\"value\":");
    match event.value() {
        Some(value) => put_decimal(value.micros(), out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"rated_at\":\"");
    out.extend_from_slice(&time_text(event.rated_at()));
    out.extend_from_slice(b"\",\"event_id\":\"");
    put_hex(event.event_id().as_u128(), out);
    out.extend_from_slice(b"\"}\n");
}

/// Ids have no control characters, so that only two characters need an escape.
pub(super) fn put_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Micro-units as a decimal with a point and no superfluous digits.
fn put_decimal(micros: i64, out: &mut Vec<u8>) {
    if micros < 0 {
        out.push(b'-');
    }
    let mut text = *b"0000000.000000";
    let mut rest = micros.unsigned_abs();
    for digit in text.iter_mut().rev().filter(|byte| **byte != b'.') {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let begin = text[..WHOLE_DIGITS - 1].iter().take_while(|byte| **byte == b'0').count();
    let zeros = text[WHOLE_DIGITS + 2..].iter().rev().take_while(|byte| **byte == b'0').count();
    out.extend_from_slice(&text[begin..text.len() - zeros]);
}

fn put_hex(bits: u128, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bits.to_be_bytes() {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The event of a line, given without its end.
///
/// # Errors
/// Why it is none.
pub fn decode_line(line: &[u8]) -> Result<Rating, BadLine> {
    if let Some(event) = as_written(line) {
        return Ok(event);
    }
    scanned(line)
}

/// The event of a line in whatever form an event may have.
fn scanned(line: &[u8]) -> Result<Rating, BadLine> {
    let text = line_text(line, MAX_LINE_BYTES)?;
    let parts = Scanner { text, at: 0 }.object()?;
    let missing = |field| BadLine::Missing { field };
    Ok(Rating::from_parts(
        parts.user.ok_or(missing(LineField::User))?,
        parts.item.ok_or(missing(LineField::Item))?,
        parts.value.ok_or(missing(LineField::Value))?,
        parts.rated_at.ok_or(missing(LineField::RatedAt))?,
        Some(parts.event_id.ok_or(missing(LineField::EventId))?),
    ))
}

/// The event of a line that is just as [`encode_line`] writes one whose ids need no escape, which most lines are: this takes
/// a third of the time. Anything else is left to the [`Scanner`], which alone says what is wrong with it.
fn as_written(line: &[u8]) -> Option<Rating> {
    let (user, rest) = plain_text(line.strip_prefix(b"{\"user\":\"")?)?;
    let (item, rest) = plain_text(rest.strip_prefix(b",\"item\":\"")?)?;
    let rest = rest.strip_prefix(b",\"value\":")?;
    let (value, rest) = rest.split_at(rest.iter().position(|byte| *byte == b',')?);
    let value = if value == b"null" { None } else { Some(decimal(value).ok()?) };
    let (rated_at, rest) = rest.strip_prefix(b",\"rated_at\":\"")?.split_at_checked(TIME_BYTES)?;
    let (event_id, rest) = rest.strip_prefix(b"\",\"event_id\":\"")?.split_at_checked(HEX_DIGITS)?;
    if rest != b"\"}" {
        return None;
    }
    let (user, item) = (UserId::new(user).ok()?, ItemId::new(item).ok()?);
    Some(Rating::from_parts(user, item, value, parse_time(rated_at)?, Some(parse_hex(event_id)?)))
}

/// The text up to the next quote, and what stands behind that; `None` if there is an escape, or no text.
fn plain_text(rest: &[u8]) -> Option<(&str, &[u8])> {
    let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (text, rest) = rest.split_at(length);
    Some((std::str::from_utf8(text).ok()?, rest.strip_prefix(b"\"")?))
}

/// The text of a line of at most `most` bytes.
pub(super) fn line_text(line: &[u8], most: usize) -> Result<&str, BadLine> {
    if line.is_empty() {
        return Err(BadLine::Empty);
    }
    if line.len() > most {
        return Err(BadLine::TooLong { bytes: line.len(), most });
    }
    if line.starts_with(BYTE_ORDER_MARK) {
        return Err(BadLine::ByteOrderMark);
    }
    std::str::from_utf8(line).map_err(|error| BadLine::NotUtf8 { at: error.valid_up_to() })
}

#[derive(Default)]
struct Parts {
    user: Option<UserId>,
    item: Option<ItemId>,
    value: Option<Option<RatingValue>>,
    rated_at: Option<recstore_core::Timestamp>,
    event_id: Option<EventId>,
}

/// Goes through one line from left to right.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    fn object(&mut self) -> Result<Parts, BadLine> {
        let mut parts = Parts::default();
        self.expect(b'{', "an object")?;
        if !self.take(b'}') {
            loop {
                self.member(&mut parts)?;
                if self.take(b'}') {
                    break;
                }
                self.expect(b',', "',' or '}'")?;
            }
        }
        self.skip_space();
        if self.at == self.text.len() { Ok(parts) } else { Err(BadLine::Trailing { at: self.at }) }
    }

    fn member(&mut self, parts: &mut Parts) -> Result<(), BadLine> {
        self.skip_space();
        let at = self.at;
        let key = self.string("a key")?;
        let field = LineField::of(&key).ok_or(BadLine::UnknownKey { at })?;
        self.expect(b':', "':'")?;
        self.skip_space();
        if matches!(self.peek(), Some(b'{' | b'[')) {
            return Err(BadLine::Nested { at: self.at });
        }
        match field {
            LineField::User => {
                let user = UserId::new(self.string_of(field)?).map_err(|error| refused(field, &error))?;
                set(&mut parts.user, field, user)
            }
            LineField::Item => {
                let item = ItemId::new(self.string_of(field)?).map_err(|error| refused(field, &error))?;
                set(&mut parts.item, field, item)
            }
            LineField::Value => {
                let value = self.value()?;
                set(&mut parts.value, field, value)
            }
            LineField::RatedAt => {
                let time = parse_time(self.string_of(field)?.as_bytes());
                set(
                    &mut parts.rated_at,
                    field,
                    time.ok_or_else(|| invalid(field, "is no time such as 2009-12-14T02:52:24.000Z"))?,
                )
            }
            LineField::EventId => {
                let id = parse_hex(self.string_of(field)?.as_bytes());
                set(
                    &mut parts.event_id,
                    field,
                    id.ok_or_else(|| invalid(field, "is not 32 hexadecimal digits"))?,
                )
            }
            // Keys of other topics.
            LineField::Group | LineField::Id | LineField::EventTime | LineField::Values => {
                Err(BadLine::UnknownKey { at })
            }
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), BadLine> {
        if self.take(byte) { Ok(()) } else { Err(BadLine::Syntax { at: self.at, expected }) }
    }

    pub(super) fn string_of(&mut self, field: LineField) -> Result<Cow<'a, str>, BadLine> {
        if self.peek() == Some(b'"') { self.string("text") } else { Err(invalid(field, "is not text")) }
    }

    /// A string; borrowed where it has no escape.
    pub(super) fn string(&mut self, expected: &'static str) -> Result<Cow<'a, str>, BadLine> {
        self.expect(b'"', expected)?;
        let run = self.run()?;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(run));
        }
        let mut text = run.to_owned();
        while !self.take_quote() {
            text.push(self.escaped()?);
            text.push_str(self.run()?);
        }
        Ok(Cow::Owned(text))
    }

    fn take_quote(&mut self) -> bool {
        let found = self.peek() == Some(b'"');
        self.at += usize::from(found);
        found
    }

    /// What stands before the next quote or escape.
    fn run(&mut self) -> Result<&'a str, BadLine> {
        let rest = &self.text.as_bytes()[self.at..];
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let length = rest.iter().position(special).unwrap_or(rest.len());
        let run = &self.text[self.at..self.at + length];
        self.at += length;
        match self.peek() {
            Some(b'"' | b'\\') => Ok(run),
            _ => Err(BadLine::Syntax { at: self.at, expected: "the end of a text" }),
        }
    }

    /// One escaped character, from its backslash on.
    fn escaped(&mut self) -> Result<char, BadLine> {
        let wrong = BadLine::Syntax { at: self.at, expected: "an escape" };
        self.at += 1;
        let code = self.peek().ok_or(wrong.clone())?;
        self.at += 1;
        match code {
            b'"' | b'\\' | b'/' => Ok(char::from(code)),
            b'b' => Ok('\u{8}'),
            b'f' => Ok('\u{c}'),
            b'n' => Ok('\n'),
            b'r' => Ok('\r'),
            b't' => Ok('\t'),
            b'u' => {
                let first = self.four_digits().ok_or(wrong.clone())?;
                let units = if (0xd800..0xdc00).contains(&first) {
                    let paired = self.text.as_bytes()[self.at..].starts_with(b"\\u");
                    self.at += 2 * usize::from(paired);
                    [first, self.four_digits().filter(|_| paired).ok_or(wrong.clone())?]
                } else {
                    [first, 0]
                };
                // A lone unit is followed by a zero, which is a character of its own that is not asked for.
                char::decode_utf16(units).next().and_then(|unit| unit.ok()).ok_or(wrong)
            }
            _ => Err(wrong),
        }
    }

    fn four_digits(&mut self) -> Option<u16> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        let number = digits
            .iter()
            .try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)? as u16))?;
        self.at += 4;
        Some(number)
    }

    /// A decimal of at most six places, or null.
    fn value(&mut self) -> Result<Option<RatingValue>, BadLine> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t'));
        let token = &rest[..length.unwrap_or(rest.len())];
        self.at += token.len();
        if token == b"null" {
            return Ok(None);
        }
        decimal(token).map(Some)
    }
}

/// A decimal of at most six places.
fn decimal(token: &[u8]) -> Result<RatingValue, BadLine> {
    let field = LineField::Value;
    let (negative, token) = match token {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (whole, decimals) = match token.iter().position(|byte| *byte == b'.') {
        Some(point) => (&token[..point], Some(&token[point + 1..])),
        None => (token, None),
    };
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !digits(whole) || (whole.len() > 1 && whole[0] == b'0') || decimals.is_some_and(|text| !digits(text)) {
        return Err(invalid(field, "is no plain decimal number and not null"));
    }
    let decimals = decimals.unwrap_or_default();
    if decimals.len() > DECIMALS {
        return Err(invalid(field, "has more than six decimals"));
    }
    if whole.len() > WHOLE_DIGITS {
        return Err(invalid(field, "is beyond ±1,000,000"));
    }
    let zeros = std::iter::repeat_n(&b'0', DECIMALS - decimals.len());
    let micros = whole.iter().chain(decimals).chain(zeros);
    let micros = micros.fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    RatingValue::from_micros(if negative { -micros } else { micros }).map_err(|error| refused(field, &error))
}

pub(super) fn set<T>(slot: &mut Option<T>, field: LineField, value: T) -> Result<(), BadLine> {
    if slot.is_some() {
        return Err(BadLine::DuplicateKey { field });
    }
    *slot = Some(value);
    Ok(())
}

pub(super) fn invalid(field: LineField, problem: &'static str) -> BadLine {
    BadLine::Invalid { field, problem: Cow::Borrowed(problem) }
}

pub(super) fn refused(field: LineField, error: &Error) -> BadLine {
    BadLine::Invalid { field, problem: Cow::Owned(error.message().to_owned()) }
}

/// Exactly what is written: 32 digits, in lower case.
fn parse_hex(digits: &[u8]) -> Option<EventId> {
    if digits.len() != HEX_DIGITS {
        return None;
    }
    let bits = digits.iter().try_fold(0_u128, |bits, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(bits << 4 | u128::from(nibble))
    })?;
    Some(EventId::from_u128(bits))
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
