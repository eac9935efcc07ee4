//! Feature groups: a name, an entity kind and typed columns; declared, versioned, additive only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{EntityKind, Error, ErrorKind, Result};

/// The most columns in a group.
pub const MAX_COLUMNS: usize = 1000;
/// The longest vector.
pub const MAX_VECTOR_DIM: u32 = 16_384;

/// The name of a group or a column: `[a-z][a-z0-9_]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureName(SmolStr);

impl FeatureName {
    /// The built-in group of users' rating statistics.
    pub const USER_RATINGS: FeatureName = FeatureName(SmolStr::new_static("user_ratings"));
    /// The built-in group of items' rating statistics.
    pub const ITEM_RATINGS: FeatureName = FeatureName(SmolStr::new_static("item_ratings"));

    /// Checks `name` and makes a name of it.
    ///
    /// # Errors
    /// `Invalid` if it is not `[a-z][a-z0-9_]{0,63}`.
    pub fn new(name: impl AsRef<str>) -> Result<FeatureName> {
        let name = name.as_ref();
        let letter = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if letter && rest && name.len() <= 64 {
            return Ok(FeatureName(SmolStr::new(name)));
        }
        Err(Error::invalid(
            "name",
            format!("{name:?} is no feature name: 1 to 64 of a-z, 0-9 and '_', starting with a letter"),
        ))
    }

    pub(crate) const fn of_built_in(name: &'static str) -> FeatureName {
        FeatureName(SmolStr::new_static(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FeatureName {
    type Err = Error;

    fn from_str(name: &str) -> Result<FeatureName> {
        FeatureName::new(name)
    }
}

impl TryFrom<String> for FeatureName {
    type Error = Error;

    fn try_from(name: String) -> Result<FeatureName> {
        FeatureName::new(name)
    }
}

impl From<FeatureName> for String {
    fn from(name: FeatureName) -> String {
        name.0.into()
    }
}

impl fmt::Display for FeatureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// `i64`.
    Integer,
    /// Finite `f64`.
    Float,
    /// `true` or `false`.
    Bool,
    /// UTF-8 text.
    Text,
    /// UTC milliseconds.
    Timestamp,
    /// Finite `f32` values, always this many.
    Vector(u32),
    /// A list of UTF-8 texts.
    TextList,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Integer => f.write_str("integer"),
            ColumnType::Float => f.write_str("float"),
            ColumnType::Bool => f.write_str("bool"),
            ColumnType::Text => f.write_str("text"),
            ColumnType::Timestamp => f.write_str("timestamp"),
            ColumnType::Vector(dim) => write!(f, "vector({dim})"),
            ColumnType::TextList => f.write_str("text list"),
        }
    }
}

/// One column of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Its name, unique within the group.
    pub name: FeatureName,
    /// Its type.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
}

/// A group of columns of one entity kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSchema {
    /// The group's name, unique within a namespace.
    pub name: FeatureName,
    /// Whether its rows are about users or items.
    pub entity: EntityKind,
    /// 1 when first declared, one more whenever columns are added. Ignored by `register_group`.
    pub version: u32,
    /// The columns; their positions never change.
    pub columns: Vec<ColumnSpec>,
}

impl GroupSchema {
    /// A group without columns.
    pub fn new(name: FeatureName, entity: EntityKind) -> GroupSchema {
        GroupSchema { name, entity, version: 1, columns: Vec::new() }
    }

    /// Adds a column at the end.
    #[must_use]
    pub fn with_column(mut self, name: FeatureName, column_type: ColumnType) -> GroupSchema {
        self.columns.push(ColumnSpec { name, column_type });
        self
    }

    /// The position of a column.
    pub fn position(&self, name: &FeatureName) -> Option<usize> {
        self.columns.iter().position(|column| column.name == *name)
    }

    /// The positions of `columns` in the order asked, or of all.
    ///
    /// # Errors
    /// `Invalid` (field `columns`) for a name the group does not have.
    pub fn projection(&self, columns: Option<&[FeatureName]>) -> Result<Vec<usize>> {
        let Some(columns) = columns else {
            return Ok((0..self.columns.len()).collect());
        };
        let position = |name: &FeatureName| {
            self.position(name).ok_or_else(|| {
                let known: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
                Error::invalid("columns", format!("no column {name}, there are: {}", known.join(", ")))
                    .on(format!("feature group {}", self.name))
            })
        };
        columns.iter().map(position).collect()
    }

    /// Whether the name belongs to a built-in group.
    pub fn is_built_in(name: &FeatureName) -> bool {
        *name == FeatureName::USER_RATINGS || *name == FeatureName::ITEM_RATINGS
    }

    /// Checks that a custom group may be declared like this. For backends.
    ///
    /// # Errors
    /// `Invalid` for a built-in name, no columns or too many, a repeated name, a vector length out of range.
    pub fn validate_custom(&self) -> Result<()> {
        let object = || format!("feature group {}", self.name);
        if GroupSchema::is_built_in(&self.name) {
            return Err(Error::invalid("name", "is the name of a built-in group").on(object()));
        }
        if self.columns.is_empty() || self.columns.len() > MAX_COLUMNS {
            let count = self.columns.len();
            return Err(Error::invalid(
                "columns",
                format!("{count} columns, a group has 1 to {MAX_COLUMNS}"),
            )
            .on(object()));
        }
        let mut names = std::collections::HashSet::new();
        for column in &self.columns {
            if !names.insert(&column.name) {
                return Err(
                    Error::invalid(format!("columns.{}", column.name), "is declared twice").on(object())
                );
            }
            if let ColumnType::Vector(dim) = column.column_type
                && !(1..=MAX_VECTOR_DIM).contains(&dim)
            {
                let text = format!("a vector has 1 to {MAX_VECTOR_DIM} values, not {dim}");
                return Err(Error::invalid(format!("columns.{}", column.name), text).on(object()));
            }
        }
        Ok(())
    }

    /// The schema to store when `wanted` is declared over `self`: unchanged, or the next version. For backends.
    ///
    /// # Errors
    /// `Conflict` if `wanted` drops, moves or retypes a column or has another entity kind.
    pub fn evolve(&self, wanted: &GroupSchema) -> Result<GroupSchema> {
        let kept = wanted.columns.len() >= self.columns.len() && wanted.columns.starts_with(&self.columns);
        // A program with an older schema finds its columns in place: nothing to do.
        if self.entity == wanted.entity && self.columns.starts_with(&wanted.columns) {
            return Ok(self.clone());
        }
        if self.entity == wanted.entity && kept {
            return Ok(GroupSchema { version: self.version + 1, ..wanted.clone() });
        }
        let text = format!(
            "version {} is stored and only takes columns added at its end; declare a group of another name",
            self.version
        );
        Err(Error::new(ErrorKind::Conflict, text).on(format!("feature group {}", self.name)))
    }
}
