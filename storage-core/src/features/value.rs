//! One row of a custom group, as the caller writes it.

use crate::{EntityKey, FeatureName, Timestamp};

/// A typed value. Null is the absence of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureValue {
    /// For [`ColumnType::Integer`](crate::ColumnType::Integer).
    Integer(i64),
    /// For [`ColumnType::Float`](crate::ColumnType::Float); finite.
    Float(f64),
    /// For [`ColumnType::Bool`](crate::ColumnType::Bool).
    Bool(bool),
    /// For [`ColumnType::Text`](crate::ColumnType::Text).
    Text(String),
    /// For [`ColumnType::Timestamp`](crate::ColumnType::Timestamp).
    Timestamp(Timestamp),
    /// For [`ColumnType::Vector`](crate::ColumnType::Vector); finite, of the declared length.
    Vector(Vec<f32>),
    /// For [`ColumnType::TextList`](crate::ColumnType::TextList).
    TextList(Vec<String>),
}

impl FeatureValue {
    /// The name of its type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            FeatureValue::Integer(_) => "integer",
            FeatureValue::Float(_) => "float",
            FeatureValue::Bool(_) => "bool",
            FeatureValue::Text(_) => "text",
            FeatureValue::Timestamp(_) => "timestamp",
            FeatureValue::Vector(_) => "vector",
            FeatureValue::TextList(_) => "text list",
        }
    }
}

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub enum RowContent {
    /// The row's values; columns that are not named are null.
    Values(Vec<(FeatureName, FeatureValue)>),
    /// The row is deleted. A deletion wins or loses by event time like any other row.
    Deleted,
}

/// A whole row of a custom group.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// Whose row it is.
    pub id: EntityKey,
    /// When it was true; the greatest (event time, content hash) wins.
    pub event_time: Timestamp,
    /// What it says.
    pub content: RowContent,
}

impl FeatureRow {
    /// A row without values yet: every column null.
    pub fn new(id: EntityKey, event_time: Timestamp) -> FeatureRow {
        FeatureRow { id, event_time, content: RowContent::Values(Vec::new()) }
    }

    /// The deletion of a row.
    pub fn deleted(id: EntityKey, event_time: Timestamp) -> FeatureRow {
        FeatureRow { id, event_time, content: RowContent::Deleted }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, column: FeatureName, value: FeatureValue) -> FeatureRow {
        match &mut self.content {
            RowContent::Values(values) => values.push((column, value)),
            RowContent::Deleted => self.content = RowContent::Values(vec![(column, value)]),
        }
        self
    }
}
