//! The stored form of a custom row, version 1, the same in every backend.
//!
//! A row is a byte of form, then its non-null columns by ascending position:
//!
//! ```text
//! form      u8    0 = deleted (nothing follows), 1 = values
//! position  u16   little-endian, position in the schema
//! length    u32   little-endian, bytes of the value
//! value           integer, timestamp: i64; float: f64; bool: u8; text: UTF-8;
//!                 vector: f32 × dim; text list: (u32 length, UTF-8)…; all little-endian
//! ```
//!
//! −0 is written as 0, so equal rows have equal bytes. The length before each value lets a reader of few
//! columns pass over the others.

use crate::{
    ColumnType, Error, ErrorKind, FeatureName, FeatureValue, GroupSchema, Result, RowContent, Timestamp,
};

/// The largest encoded row, in every mode: 350 KB, which leaves room in DynamoDB's 400 KB items.
pub const MAX_ROW_BYTES: usize = 350 * 1024;

const FORM_DELETED: u8 = 0;
const FORM_VALUES: u8 = 1;
const CONTENT_CONTEXT: &str = "recstore 2026 feature row content v1";

/// Decides between rows of one event time: the greater wins. 128 bits of BLAKE3 of the encoded row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// The hash of an encoded row.
    pub fn of(encoded: &[u8]) -> ContentHash {
        let mut hasher = blake3::Hasher::new_derive_key(CONTENT_CONTEXT);
        hasher.update(encoded);
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        ContentHash(bytes)
    }
}

/// A value within an encoded row, not copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// A time.
    Timestamp(Timestamp),
    /// A vector.
    Vector(VectorRef<'a>),
    /// A list of texts.
    TextList(TextListRef<'a>),
}

/// An encoded vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorRef<'a>(&'a [u8]);

impl VectorRef<'_> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = f32> + '_ {
        self.0.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

/// An encoded list of texts, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextListRef<'a>(&'a [u8]);

impl<'a> TextListRef<'a> {
    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + '_ {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (text, after) = split_text(rest)?;
            rest = after;
            Some(text)
        })
    }
}

/// The first text of an encoded list and what follows it.
fn split_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Checks a row against its group and encodes it.
///
/// # Errors
/// `Invalid` with the column as field: an unknown or repeated column, another type, a number that is not
/// finite, a vector of another length; field `row` if the encoded row is over [`MAX_ROW_BYTES`].
pub fn encode_row(schema: &GroupSchema, content: &RowContent) -> Result<Vec<u8>> {
    let RowContent::Values(values) = content else {
        return Ok(vec![FORM_DELETED]);
    };
    let mut by_position: Vec<(usize, &FeatureValue)> = Vec::with_capacity(values.len());
    for (name, value) in values {
        by_position.push((position_of(schema, name)?, value));
    }
    by_position.sort_by_key(|&(position, _)| position);
    if let Some(pair) = by_position.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::invalid(schema.columns[pair[0].0].name.as_str(), "is given twice in one row"));
    }
    let mut bytes = vec![FORM_VALUES];
    for (position, value) in by_position {
        let column = &schema.columns[position];
        bytes.extend_from_slice(&(position as u16).to_le_bytes());
        let length_at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        encode_value(&mut bytes, column.column_type, value)
            .map_err(|message| Error::invalid(column.name.as_str(), message))?;
        let length = bytes.len() - length_at - 4;
        if bytes.len() > MAX_ROW_BYTES {
            return Err(Error::invalid("row", format!("is over {MAX_ROW_BYTES} bytes when encoded")));
        }
        bytes[length_at..length_at + 4].copy_from_slice(&(length as u32).to_le_bytes());
    }
    Ok(bytes)
}

fn position_of(schema: &GroupSchema, name: &FeatureName) -> Result<usize> {
    schema.position(name).ok_or_else(|| {
        let known: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        Error::invalid(name.as_str(), format!("is no column of the group, there are: {}", known.join(", ")))
            .on(format!("feature group {}", schema.name))
    })
}

fn encode_value(bytes: &mut Vec<u8>, column_type: ColumnType, value: &FeatureValue) -> Result<(), String> {
    match (column_type, value) {
        (ColumnType::Integer, FeatureValue::Integer(value)) => bytes.extend_from_slice(&value.to_le_bytes()),
        (ColumnType::Float, FeatureValue::Float(value)) if !value.is_finite() => {
            return Err(format!("{value} is not a finite number"));
        }
        // Adding 0 makes 0 of -0 and changes nothing else.
        (ColumnType::Float, FeatureValue::Float(value)) => {
            bytes.extend_from_slice(&(value + 0.0).to_le_bytes())
        }
        (ColumnType::Bool, FeatureValue::Bool(value)) => bytes.push(u8::from(*value)),
        (ColumnType::Text, FeatureValue::Text(value)) => bytes.extend_from_slice(value.as_bytes()),
        (ColumnType::Timestamp, FeatureValue::Timestamp(value)) => {
            bytes.extend_from_slice(&value.as_millis().to_le_bytes());
        }
        (ColumnType::Vector(dim), FeatureValue::Vector(values)) => {
            if values.len() != dim as usize {
                return Err(format!("has {} values, the column holds vectors of {dim}", values.len()));
            }
            for (index, value) in values.iter().enumerate() {
                if !value.is_finite() {
                    return Err(format!("value {index} of the vector, {value}, is not a finite number"));
                }
                bytes.extend_from_slice(&(value + 0.0).to_le_bytes());
            }
        }
        (ColumnType::TextList, FeatureValue::TextList(texts)) => {
            for text in texts {
                bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        (column_type, value) => {
            return Err(format!("is a {}, the column holds {column_type}", value.type_name()));
        }
    }
    Ok(())
}

/// Reads an encoded row: calls `visit` for each value with its position, ascending. `false` if the row is deleted.
///
/// # Errors
/// `Corrupt` if the bytes are not what [`encode_row`] makes of a row of this schema; values before the wrong one
/// have been visited then.
pub fn decode_row<'a>(
    schema: &GroupSchema,
    bytes: &'a [u8],
    mut visit: impl FnMut(usize, ValueRef<'a>),
) -> Result<bool> {
    let corrupt = || {
        let text = "the stored row is not one of this group";
        Error::new(ErrorKind::Corrupt, text).on(format!("feature group {}", schema.name))
    };
    let mut rest = match bytes.split_first() {
        Some((&FORM_DELETED, [])) => return Ok(false),
        Some((&FORM_VALUES, rest)) if bytes.len() <= MAX_ROW_BYTES => rest,
        _ => return Err(corrupt()),
    };
    let mut first_free = 0;
    while !rest.is_empty() {
        let (position, after) = rest.split_first_chunk::<2>().ok_or_else(corrupt)?;
        let (length, after) = after.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let (value, after) =
            after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(corrupt)?;
        let position = usize::from(u16::from_le_bytes(*position));
        let column = schema.columns.get(position).filter(|_| position >= first_free).ok_or_else(corrupt)?;
        first_free = position + 1;
        visit(position, decode_value(column.column_type, value).ok_or_else(corrupt)?);
        rest = after;
    }
    Ok(true)
}

fn decode_value(column_type: ColumnType, bytes: &[u8]) -> Option<ValueRef<'_>> {
    let integer = || bytes.try_into().ok().map(i64::from_le_bytes);
    Some(match column_type {
        ColumnType::Integer => ValueRef::Integer(integer()?),
        ColumnType::Float => {
            let value = f64::from_le_bytes(bytes.try_into().ok()?);
            ValueRef::Float(Some(value).filter(|value| value.is_finite() && !is_negative_zero(*value))?)
        }
        ColumnType::Bool => match bytes {
            [0] => ValueRef::Bool(false),
            [1] => ValueRef::Bool(true),
            _ => return None,
        },
        ColumnType::Text => ValueRef::Text(std::str::from_utf8(bytes).ok()?),
        ColumnType::Timestamp => ValueRef::Timestamp(Timestamp::from_millis(integer()?).ok()?),
        ColumnType::Vector(dim) => {
            let vector = VectorRef(bytes);
            let written = |value: f32| value.is_finite() & !is_negative_zero(value.into());
            // Without an early end, which lets the compiler look at several values at once.
            let all_written = vector.iter().fold(true, |all, value| all & written(value));
            ValueRef::Vector(Some(vector).filter(|_| bytes.len() == dim as usize * 4 && all_written)?)
        }
        ColumnType::TextList => {
            let mut rest = bytes;
            while !rest.is_empty() {
                rest = split_text(rest)?.1;
            }
            ValueRef::TextList(TextListRef(bytes))
        }
    })
}

/// −0 is never written: it equals 0, and equal rows have equal bytes.
fn is_negative_zero(value: f64) -> bool {
    value == 0.0 && value.is_sign_negative()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntityKind;

    fn name(text: &str) -> FeatureName {
        FeatureName::new(text).unwrap()
    }

    fn schema() -> GroupSchema {
        GroupSchema::new(name("profile"), EntityKind::User)
            .with_column(name("age"), ColumnType::Integer)
            .with_column(name("score"), ColumnType::Float)
            .with_column(name("embedding"), ColumnType::Vector(3))
            .with_column(name("tags"), ColumnType::TextList)
    }

    fn all_values() -> Vec<(FeatureName, FeatureValue)> {
        vec![
            (name("tags"), FeatureValue::TextList(vec![String::new(), "摄影".to_owned()])),
            (name("age"), FeatureValue::Integer(i64::MIN)),
            (name("score"), FeatureValue::Float(-0.0)),
            (name("embedding"), FeatureValue::Vector(vec![1.0, -2.5, 0.0])),
        ]
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        let bytes = encode_row(&schema(), &RowContent::Values(all_values())).unwrap();
        let mut seen = Vec::new();
        assert!(decode_row(&schema(), &bytes, |position, value| seen.push((position, value))).unwrap());
        assert_eq!(seen[0], (0, ValueRef::Integer(i64::MIN)));
        assert_eq!(seen[1], (1, ValueRef::Float(0.0)));
        let ValueRef::Vector(vector) = seen[2].1 else { panic!("no vector: {seen:?}") };
        assert_eq!(vector.iter().collect::<Vec<_>>(), [1.0, -2.5, 0.0]);
        assert_eq!((vector.len(), vector.is_empty(), VectorRef(&[]).is_empty()), (3, false, true));
        let ValueRef::TextList(texts) = seen[3].1 else { panic!("no list: {seen:?}") };
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["", "摄影"]);
        assert!(
            !decode_row(&schema(), &encode_row(&schema(), &RowContent::Deleted).unwrap(), |_, _| ()).unwrap()
        );
    }

    #[test]
    fn every_cut_of_a_row_is_refused_or_a_shorter_row_never_a_panic() {
        let bytes = encode_row(&schema(), &RowContent::Values(all_values())).unwrap();
        for length in 0..bytes.len() {
            let mut values = 0;
            let result = decode_row(&schema(), &bytes[..length], |_, _| values += 1);
            assert!(result.is_err() || values < 4);
        }
    }

    /// The form of one value.
    fn stored(position: u16, value: &[u8]) -> Vec<u8> {
        [&position.to_le_bytes()[..], &(value.len() as u32).to_le_bytes(), value].concat()
    }

    #[test]
    fn a_row_that_is_never_written_is_refused() {
        let float = |value: f64| stored(1, &value.to_le_bytes());
        let vector = |value: f32| stored(2, &[[0; 4], value.to_le_bytes(), [0; 4]].concat());
        let age = stored(0, &5_i64.to_le_bytes());
        let read = |values: &[u8]| decode_row(&schema(), &[&[FORM_VALUES], values].concat(), |_, _| ());
        for right in [float(2.5), vector(-1.0), [age.clone(), float(0.0)].concat(), Vec::new()] {
            assert!(read(&right).unwrap());
        }
        for wrong in [
            float(f64::NAN),
            float(f64::INFINITY),
            float(-0.0),
            vector(f32::NAN),
            vector(f32::NEG_INFINITY),
            vector(-0.0),
            [float(2.5), age.clone()].concat(),
            [age.clone(), age].concat(),
            stored(2, &[0; 8]),
            stored(3, &[1, 0, 0, 0]),
            stored(4, &[]),
            stored(3, &[0; MAX_ROW_BYTES]),
        ] {
            assert_eq!(read(&wrong).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn wrong_values_name_the_column() {
        let wrong = [
            ("score", FeatureValue::Float(f64::NAN)),
            ("age", FeatureValue::Float(1.0)),
            ("embedding", FeatureValue::Vector(vec![1.0])),
            ("embedding", FeatureValue::Vector(vec![1.0, f32::INFINITY, 0.0])),
        ];
        for (column, value) in wrong {
            let error = encode_row(&schema(), &RowContent::Values(vec![(name(column), value)])).unwrap_err();
            assert_eq!(error.field(), Some(column));
        }
        let unknown = RowContent::Values(vec![(name("nope"), FeatureValue::Bool(true))]);
        assert_eq!(encode_row(&schema(), &unknown).unwrap_err().field(), Some("nope"));
        let twice = RowContent::Values([all_values(), all_values()].concat());
        assert!(encode_row(&schema(), &twice).is_err());
    }

    #[test]
    fn a_row_over_the_limit_is_refused() {
        assert_eq!(MAX_ROW_BYTES, 358_400);
        // The form, the column with its length, the length of the text.
        let longest = MAX_ROW_BYTES - 1 - 6 - 4;
        let row = |length| {
            let tags = FeatureValue::TextList(vec!["x".repeat(length)]);
            encode_row(&schema(), &RowContent::Values(vec![(name("tags"), tags)]))
        };
        let encoded = row(longest).unwrap();
        assert!(decode_row(&schema(), &encoded, |_, _| ()).unwrap());
        assert_eq!(row(longest + 1).unwrap_err().field(), Some("row"));
    }
}
