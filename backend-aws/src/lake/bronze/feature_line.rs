//! One row of a custom group as one line of JSON, and back.
//!
//! ```json
//! {"group":"profile","id":"1","event_time":"2009-12-14T02:52:24.000Z","values":{"age":31,"score":0.5,"tags":["a"]}}
//! ```
//!
//! A line tells the type of each value, so that it is read without the group's schema:
//!
//! | type | form |
//! | --- | --- |
//! | integer | a number without point and exponent |
//! | float | a number with a point or an exponent: the fewest digits that read back |
//! | bool | `true`, `false` |
//! | text | text |
//! | timestamp | `{"time":"2009-12-14T02:52:24.000Z"}` |
//! | vector | a list of at least one number, each exactly an `f32` |
//! | text list | a list of texts, or an empty one |
//!
//! Columns without a value are left out; `"values":null` is a deletion. The reader is as strict as that of
//! [events](super::line), and what a line says besides, whether there is such a group with such columns, is decided
//! when it is taken in.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write;

use recstore_core::features::{MAX_BATCH_ROWS, MAX_COLUMNS};
use recstore_core::{EntityKey, Error, FeatureName, FeatureRow, FeatureValue, RowContent, Timestamp};

use super::line::{BadLine, Line, LineField, SHARE_BYTES, Scanner, invalid, line_text, refused, set};
use crate::lake::calendar::{parse_time, time_text};
use crate::lake::keys::Topic;

/// The longest line of a row that is read, in bytes, without its end. The longest that is written has about half of it:
/// a row has at most 350 KB, and no byte of it becomes more than six of a line.
pub const MAX_FEATURE_LINE_BYTES: usize = 4 << 20;
/// The key of a time among values.
const TIME: &str = "time";

/// A row of a custom group, as it was put.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureLine {
    /// The group.
    pub group: FeatureName,
    /// The row.
    pub row: FeatureRow,
}

impl Line for FeatureLine {
    const TOPIC: Topic = Topic::Features;
    const BATCH: &'static str = "rows";

    fn check_batch(batch: &[FeatureLine]) -> recstore_core::Result<()> {
        if batch.len() <= MAX_BATCH_ROWS {
            return Ok(());
        }
        Err(Error::invalid(
            Self::BATCH,
            format!("{} rows in one batch, at most {MAX_BATCH_ROWS}", batch.len()),
        ))
    }

    fn share(&self) -> usize {
        let RowContent::Values(values) = &self.row.content else { return 1 };
        let bytes: usize = values.iter().map(|(name, value)| name.as_str().len() + about_bytes(value)).sum();
        1 + bytes / SHARE_BYTES
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"group\":");
        put_text(self.group.as_str(), out);
        out.extend_from_slice(b",\"id\":");
        put_text(self.row.id.as_str(), out);
        out.extend_from_slice(b",\"event_time\":");
        put_time(self.row.event_time, out);
        out.extend_from_slice(b",\"values\":");
        match &self.row.content {
            RowContent::Deleted => out.extend_from_slice(b"null"),
            RowContent::Values(values) => {
                let member = |(name, value): &(FeatureName, FeatureValue), out: &mut Vec<u8>| {
                    put_text(name.as_str(), out);
                    out.push(b':');
                    put_value(value, out);
                };
                put_many(b"{}", values, member, out);
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn decode(line: &[u8]) -> Result<FeatureLine, BadLine> {
        let text = line_text(line, MAX_FEATURE_LINE_BYTES)?;
        let parts = row(&mut Scanner { text, at: 0 })?;
        let missing = |field| BadLine::Missing { field };
        let id = parts.id.ok_or(missing(LineField::Id))?;
        let event_time = parts.event_time.ok_or(missing(LineField::EventTime))?;
        let content = parts.content.ok_or(missing(LineField::Values))?;
        let group = parts.group.ok_or(missing(LineField::Group))?;
        Ok(FeatureLine { group, row: FeatureRow { id, event_time, content } })
    }
}

/// About the bytes that a value takes in a line.
fn about_bytes(value: &FeatureValue) -> usize {
    const NUMBER: usize = 20;
    match value {
        FeatureValue::Text(text) => text.len(),
        FeatureValue::TextList(texts) => texts.iter().map(|text| text.len() + 3).sum(),
        FeatureValue::Vector(values) => values.len() * NUMBER,
        _ => NUMBER,
    }
}

fn put_value(value: &FeatureValue, out: &mut Vec<u8>) {
    match value {
        // Writing to memory does not fail.
        FeatureValue::Integer(value) => drop(write!(out, "{value}")),
        FeatureValue::Float(value) => put_float(*value, out),
        FeatureValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        FeatureValue::Text(text) => put_text(text, out),
        FeatureValue::Timestamp(time) => {
            out.extend_from_slice(b"{\"time\":");
            put_time(*time, out);
            out.push(b'}');
        }
        FeatureValue::Vector(values) => {
            put_many(b"[]", values, |value, out| put_float(f64::from(*value), out), out)
        }
        FeatureValue::TextList(texts) => put_many(b"[]", texts, |text, out| put_text(text, out), out),
    }
}

/// `values` between brackets, with commas.
fn put_many<T>(brackets: &[u8; 2], values: &[T], put: impl Fn(&T, &mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(brackets[0]);
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(value, out);
    }
    out.push(brackets[1]);
}

/// The fewest digits that read back, always with a point or an exponent; −0 is 0, as in the stored row.
fn put_float(value: f64, out: &mut Vec<u8>) {
    drop(write!(out, "{:?}", value + 0.0));
}

fn put_time(time: Timestamp, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&time_text(time));
    out.push(b'"');
}

/// Text between quotes; what JSON wants escaped is, and nothing else.
fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            control => drop(write!(out, "\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[derive(Default)]
struct Parts {
    group: Option<FeatureName>,
    id: Option<EntityKey>,
    event_time: Option<Timestamp>,
    content: Option<RowContent>,
}

fn field_of(key: &str) -> Option<LineField> {
    [LineField::Group, LineField::Id, LineField::EventTime, LineField::Values]
        .into_iter()
        .find(|field| field.as_str() == key)
}

fn row(scanner: &mut Scanner<'_>) -> Result<Parts, BadLine> {
    let mut parts = Parts::default();
    members(scanner, |scanner, key, at| {
        let field = field_of(&key).ok_or(BadLine::UnknownKey { at })?;
        match field {
            LineField::Group => {
                let group = FeatureName::new(scanner.string_of(field)?);
                set(&mut parts.group, field, group.map_err(|error| refused(field, &error))?)
            }
            LineField::Id => {
                let id = EntityKey::new(scanner.string_of(field)?);
                set(&mut parts.id, field, id.map_err(|error| refused(field, &error))?)
            }
            LineField::EventTime => {
                let time = time(scanner, field)?;
                set(&mut parts.event_time, field, time)
            }
            _ => {
                let content = content(scanner)?;
                set(&mut parts.content, field, content)
            }
        }
    })?;
    scanner.skip_space();
    if scanner.at == scanner.text.len() { Ok(parts) } else { Err(BadLine::Trailing { at: scanner.at }) }
}

/// Reads an object: `member` is called after each key, with its place, and reads the value.
fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&mut Scanner<'a>, Cow<'a, str>, usize) -> Result<(), BadLine>,
) -> Result<(), BadLine> {
    scanner.expect(b'{', "an object")?;
    if scanner.take(b'}') {
        return Ok(());
    }
    loop {
        scanner.skip_space();
        let at = scanner.at;
        let key = scanner.string("a key")?;
        scanner.expect(b':', "':'")?;
        scanner.skip_space();
        member(scanner, key, at)?;
        if scanner.take(b'}') {
            return Ok(());
        }
        scanner.expect(b',', "',' or '}'")?;
    }
}

fn time(scanner: &mut Scanner<'_>, field: LineField) -> Result<Timestamp, BadLine> {
    parse_time(scanner.string_of(field)?.as_bytes())
        .ok_or_else(|| invalid(field, "is no time such as 2009-12-14T02:52:24.000Z"))
}

fn content(scanner: &mut Scanner<'_>) -> Result<RowContent, BadLine> {
    if scanner.peek() != Some(b'{') {
        let is_null = token(scanner) == "null";
        return is_null.then_some(RowContent::Deleted).ok_or_else(|| wrong("is no object and not null"));
    }
    let (mut values, mut names) = (Vec::new(), HashSet::new());
    members(scanner, |scanner, key, _| {
        let column = FeatureName::new(&key).map_err(|error| refused(LineField::Values, &error))?;
        if values.len() == MAX_COLUMNS {
            return Err(wrong("has more columns than a group has"));
        }
        if !names.insert(column.clone()) {
            return Err(wrong(format!("column {column}: stands twice")));
        }
        values.push((column, value(scanner)?));
        Ok(())
    })?;
    Ok(RowContent::Values(values))
}

fn value(scanner: &mut Scanner<'_>) -> Result<FeatureValue, BadLine> {
    match scanner.peek() {
        Some(b'"') => Ok(FeatureValue::Text(scanner.string("text")?.into_owned())),
        Some(b'[') => list(scanner),
        Some(b'{') => {
            let mut found = None;
            members(scanner, |scanner, key, _| {
                if key != TIME || found.is_some() {
                    return Err(wrong("a value is an object of something else than one time"));
                }
                found = Some(time(scanner, LineField::Values)?);
                Ok(())
            })?;
            found.map(FeatureValue::Timestamp).ok_or_else(|| wrong("a value is an object without a time"))
        }
        _ => match token(scanner) {
            "true" => Ok(FeatureValue::Bool(true)),
            "false" => Ok(FeatureValue::Bool(false)),
            "null" => Err(wrong("a value is null, such columns are left out")),
            number => match form_of(number) {
                Some(NumberForm::Whole) => number
                    .parse()
                    .map(FeatureValue::Integer)
                    .map_err(|_| wrong("an integer is beyond 64 bits")),
                Some(NumberForm::Real) => float(number).map(FeatureValue::Float),
                None => Err(BadLine::Syntax { at: scanner.at - number.len(), expected: "a value" }),
            },
        },
    }
}

fn list(scanner: &mut Scanner<'_>) -> Result<FeatureValue, BadLine> {
    scanner.expect(b'[', "a list")?;
    if scanner.take(b']') {
        return Ok(FeatureValue::TextList(Vec::new()));
    }
    scanner.skip_space();
    if scanner.peek() == Some(b'"') {
        return elements(scanner, |scanner| Ok(scanner.string("text")?.into_owned()))
            .map(FeatureValue::TextList);
    }
    let number = |scanner: &mut Scanner<'_>| {
        if matches!(scanner.peek(), Some(b'[' | b'{')) {
            return Err(BadLine::Nested { at: scanner.at });
        }
        let number = token(scanner);
        if form_of(number).is_none() {
            return Err(BadLine::Syntax { at: scanner.at - number.len(), expected: "a number" });
        }
        let value = float(number)?;
        let narrow = value as f32;
        if f64::from(narrow) != value {
            return Err(wrong("a number of a vector is not exactly one of 32 bits"));
        }
        Ok(narrow)
    };
    elements(scanner, number).map(FeatureValue::Vector)
}

/// The elements of a list that has at least one, up to and with its end.
fn elements<'a, T>(
    scanner: &mut Scanner<'a>,
    element: impl Fn(&mut Scanner<'a>) -> Result<T, BadLine>,
) -> Result<Vec<T>, BadLine> {
    let mut elements = Vec::new();
    loop {
        scanner.skip_space();
        elements.push(element(scanner)?);
        if scanner.take(b']') {
            return Ok(elements);
        }
        scanner.expect(b',', "',' or ']'")?;
    }
}

/// Takes what stands before the next separator.
fn token<'a>(scanner: &mut Scanner<'a>) -> &'a str {
    let rest = &scanner.text[scanner.at..];
    let length = rest.bytes().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t'));
    let token = &rest[..length.unwrap_or(rest.len())];
    scanner.at += token.len();
    token
}

enum NumberForm {
    Whole,
    Real,
}

/// What kind of number of JSON a text is.
fn form_of(text: &str) -> Option<NumberForm> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (decimal, exponent) = match text.split_once(['e', 'E']) {
        Some((decimal, exponent)) => (decimal, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match decimal.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (decimal, None),
    };
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent_digits = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    let well_formed = digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent_digits.is_none_or(digits);
    let real = fraction.is_some() || exponent.is_some();
    well_formed.then_some(if real { NumberForm::Real } else { NumberForm::Whole })
}

fn float(number: &str) -> Result<f64, BadLine> {
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite());
    // Adding 0 makes 0 of −0, as when it is written.
    value.map(|value| value + 0.0).ok_or_else(|| wrong("a number is not finite"))
}

fn wrong(problem: impl Into<Cow<'static, str>>) -> BadLine {
    BadLine::Invalid { field: LineField::Values, problem: problem.into() }
}

#[cfg(test)]
#[path = "feature_line_tests.rs"]
mod tests;
