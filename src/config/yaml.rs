//! A YAML text to (key, text, position), without judging the values.
//!
//! Scalars are read as text, whatever they look like; which type they are is the key's to say.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use recstore_core::{Error, ErrorKind};

use super::keys;

/// A place in the text, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    line: u64,
    column: u64,
}

impl From<Location> for Position {
    fn from(location: Location) -> Position {
        Position { line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value of the file.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) at: Position,
}

/// Every value, in the order of the file.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, (Error, Position)> {
    // Snippets would show neighbouring lines, and secrets in them.
    let options = serde_saphyr::options! { with_snippet: false, reject_unsupported_tags: true };
    let mut found = Found::default();
    let root = Section { path: "", found: &mut found };
    let read = |yaml: serde_saphyr::Deserializer<'_, '_>| root.deserialize(yaml);
    match serde_saphyr::with_deserializer_from_str_with_options(text, options, read) {
        Ok(()) => Ok(found.entries),
        Err(cause) => Err(found.unknown.unwrap_or_else(|| refused(cause, found.reading))),
    }
}

/// The parser's error as one of ours; `reading` is the key whose value was being read.
fn refused(cause: serde_saphyr::Error, reading: String) -> (Error, Position) {
    let at = cause.location().map_or(Position { line: 1, column: 1 }, Position::from);
    let text = match reading.as_str() {
        "" => "is not the YAML of a configuration",
        key if keys::is_section(key) => "is a section, keys stand under it",
        _ => "needs one value",
    };
    let error = match reading.is_empty() {
        true => Error::new(ErrorKind::Invalid, text),
        false => Error::invalid(reading, text),
    };
    (error.because(cause), at)
}

/// What was found so far.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    /// A key that is none. The parser's own error cannot carry it.
    unknown: Option<(Error, Position)>,
    /// The key whose value is being read.
    reading: String,
}

/// The keys under one name, or at the top.
struct Section<'a> {
    path: &'a str,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<(), D::Error> {
        yaml.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of keys")
    }

    /// A section whose keys are all commented out.
    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, yaml: D) -> Result<(), D::Error> {
        yaml.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            let key = match self.path {
                "" => name.value,
                section => format!("{section}.{}", name.value),
            };
            self.found.reading.clone_from(&key);
            if keys::is_section(&key) {
                map.next_value_seed(Section { path: &key, found: &mut *self.found })?;
            } else if let Err(error) = keys::find(&key) {
                self.found.unknown = Some((error, name.referenced.into()));
                return Err(serde::de::Error::custom("unknown key"));
            } else {
                let value = map.next_value::<Spanned<String>>()?;
                self.found.entries.push(Entry { key, value: value.value, at: value.referenced.into() });
            }
            self.found.reading.clear();
        }
        Ok(())
    }
}
