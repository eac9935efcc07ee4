//! Many rows as the caller reads them: columnar, typed, with a status per row and a state per cell.

use crate::features::codec::ValueRef;
use crate::{ColumnType, EntityKey, ErrorKind, FeatureName, FeatureValue, GroupSchema, Origin, Timestamp};

/// What is known of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowStatus {
    /// The row is there; `as_of` is the time up to which it is complete (built-in) or its event time (custom).
    Found {
        /// Every event acknowledged before is in the row.
        as_of: Timestamp,
        /// Where the row comes from.
        origin: Origin,
    },
    /// There is no such row.
    Missing,
    /// The row is there but older than `max_age`; its values are withheld.
    TooOld {
        /// How old it is.
        as_of: Timestamp,
    },
    /// The store could not tell; this is never the same as missing.
    Failed {
        /// What the caller can do about it.
        kind: ErrorKind,
        /// What happened.
        reason: String,
    },
}

impl RowStatus {
    /// Whether the row's values can be read.
    pub fn is_found(&self) -> bool {
        matches!(self, RowStatus::Found { .. })
    }

    /// `found`, `missing`, `too_old` or `failed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            RowStatus::Found { .. } => "found",
            RowStatus::Missing => "missing",
            RowStatus::TooOld { .. } => "too_old",
            RowStatus::Failed { .. } => "failed",
        }
    }
}

/// What is known of one cell of a found row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cell {
    /// No value.
    Null,
    /// The value stands in the column's data.
    Valid,
    /// The value cannot be told without the entity's whole history, which this backend does not read.
    NeedsHistory,
}

/// Texts end to end, with the offset at which each ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextColumn {
    text: String,
    ends: Vec<usize>,
}

impl TextColumn {
    /// The number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text at `index`; `None` past the end.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Appends to the last text.
    fn extend_last(&mut self, text: &str) {
        self.text.push_str(text);
        if let Some(end) = self.ends.last_mut() {
            *end = self.text.len();
        }
    }
}

/// The values of one column, a slot for every row; slots whose cell is not [`Cell::Valid`] mean nothing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ColumnData {
    /// [`ColumnType::Integer`].
    Integer(Vec<i64>),
    /// [`ColumnType::Float`].
    Float(Vec<f64>),
    /// [`ColumnType::Bool`].
    Bool(Vec<bool>),
    /// [`ColumnType::Text`].
    Text(TextColumn),
    /// [`ColumnType::Timestamp`].
    Timestamp(Vec<Timestamp>),
    /// [`ColumnType::Vector`]: `dim` values for every row, end to end.
    Vector {
        /// Values of one row.
        dim: usize,
        /// All rows' values.
        values: Vec<f32>,
    },
    /// [`ColumnType::TextList`]: all rows' texts, and the index at which each row's texts end.
    TextList {
        /// All rows' texts.
        texts: TextColumn,
        /// Where each row ends.
        ends: Vec<usize>,
    },
}

impl ColumnData {
    fn new(column_type: ColumnType, rows: usize) -> ColumnData {
        match column_type {
            ColumnType::Integer => ColumnData::Integer(Vec::with_capacity(rows)),
            ColumnType::Float => ColumnData::Float(Vec::with_capacity(rows)),
            ColumnType::Bool => ColumnData::Bool(Vec::with_capacity(rows)),
            ColumnType::Text => ColumnData::Text(TextColumn::default()),
            ColumnType::Timestamp => ColumnData::Timestamp(Vec::with_capacity(rows)),
            ColumnType::Vector(dim) => {
                ColumnData::Vector { dim: dim as usize, values: Vec::with_capacity(rows * dim as usize) }
            }
            ColumnType::TextList => {
                ColumnData::TextList { texts: TextColumn::default(), ends: Vec::with_capacity(rows) }
            }
        }
    }

    fn push_slot(&mut self) {
        match self {
            ColumnData::Integer(values) => values.push(0),
            ColumnData::Float(values) => values.push(0.0),
            ColumnData::Bool(values) => values.push(false),
            ColumnData::Text(texts) => texts.push(""),
            ColumnData::Timestamp(values) => values.push(Timestamp::MIN),
            ColumnData::Vector { dim, values } => values.resize(values.len() + *dim, 0.0),
            ColumnData::TextList { texts, ends } => ends.push(texts.len()),
        }
    }

    /// Writes the last slot; `false` if the value has another type.
    fn set_last(&mut self, value: ValueRef<'_>) -> bool {
        match (self, value) {
            (ColumnData::Integer(slots), ValueRef::Integer(value)) => set_last(slots, value),
            (ColumnData::Float(slots), ValueRef::Float(value)) => set_last(slots, value),
            (ColumnData::Bool(slots), ValueRef::Bool(value)) => set_last(slots, value),
            (ColumnData::Timestamp(slots), ValueRef::Timestamp(value)) => set_last(slots, value),
            (ColumnData::Text(texts), ValueRef::Text(value)) => {
                texts.extend_last(value);
                true
            }
            (ColumnData::Vector { dim, values }, ValueRef::Vector(vector)) if vector.len() == *dim => {
                let start = values.len() - *dim;
                values[start..].iter_mut().zip(vector.iter()).for_each(|(slot, value)| *slot = value);
                true
            }
            (ColumnData::TextList { texts, ends }, ValueRef::TextList(list)) => {
                list.iter().for_each(|text| texts.push(text));
                set_last(ends, texts.len())
            }
            _ => false,
        }
    }
}

fn set_last<T>(slots: &mut [T], value: T) -> bool {
    match slots.last_mut() {
        Some(slot) => {
            *slot = value;
            true
        }
        None => false,
    }
}

/// A column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureColumn {
    /// The column's name.
    pub name: FeatureName,
    /// What is known of each row's cell.
    pub cells: Vec<Cell>,
    /// The values.
    pub data: ColumnData,
}

impl FeatureColumn {
    /// The value of a row as a typed value of its own; `None` if the cell is not valid.
    ///
    /// For display and tests; hot paths read [`data`](Self::data).
    pub fn value(&self, row: usize) -> Option<FeatureValue> {
        if self.cells.get(row) != Some(&Cell::Valid) {
            return None;
        }
        Some(match &self.data {
            ColumnData::Integer(values) => FeatureValue::Integer(values[row]),
            ColumnData::Float(values) => FeatureValue::Float(values[row]),
            ColumnData::Bool(values) => FeatureValue::Bool(values[row]),
            ColumnData::Text(texts) => FeatureValue::Text(texts.get(row)?.to_owned()),
            ColumnData::Timestamp(values) => FeatureValue::Timestamp(values[row]),
            ColumnData::Vector { dim, values } => {
                FeatureValue::Vector(values[row * dim..(row + 1) * dim].to_vec())
            }
            ColumnData::TextList { texts, ends } => {
                let start = if row == 0 { 0 } else { ends[row - 1] };
                let list = (start..ends[row]).filter_map(|index| texts.get(index).map(str::to_owned));
                FeatureValue::TextList(list.collect())
            }
        })
    }
}

/// The answer to a [`FeatureRequest`](crate::FeatureRequest): a row for each id asked, in that order.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureBatch {
    /// The ids asked.
    pub ids: Vec<EntityKey>,
    /// What is known of each row.
    pub status: Vec<RowStatus>,
    /// The columns asked; in rows that were not found every cell is null.
    pub columns: Vec<FeatureColumn>,
}

impl FeatureBatch {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&FeatureColumn> {
        self.columns.iter().find(|column| column.name.as_str() == name)
    }

    /// One value; `None` if there is no such column, row or value.
    pub fn value(&self, row: usize, column: &str) -> Option<FeatureValue> {
        self.column(column)?.value(row)
    }
}

/// Builds a [`FeatureBatch`] row by row. For backends.
#[derive(Debug)]
pub struct BatchBuilder {
    batch: FeatureBatch,
    /// For each position of the schema, the last column of the batch that shows it.
    shown: Vec<Option<usize>>,
    /// For each column of the batch, the one before it that shows the same position.
    also: Vec<Option<usize>>,
}

impl BatchBuilder {
    /// A builder for these columns (positions in the schema) and about this many rows.
    pub fn new(schema: &GroupSchema, projection: &[usize], rows: usize) -> BatchBuilder {
        let mut shown = vec![None; schema.columns.len()];
        let also = projection
            .iter()
            .enumerate()
            .map(|(column, &position)| shown[position].replace(column))
            .collect();
        let column = |&position: &usize| FeatureColumn {
            name: schema.columns[position].name.clone(),
            cells: Vec::with_capacity(rows),
            data: ColumnData::new(schema.columns[position].column_type, rows),
        };
        let columns = projection.iter().map(column).collect();
        let batch = FeatureBatch { ids: Vec::with_capacity(rows), status: Vec::with_capacity(rows), columns };
        BatchBuilder { batch, shown, also }
    }

    /// Adds a row; its cells are null until they are set.
    pub fn push_row(&mut self, id: EntityKey, status: RowStatus) {
        self.batch.ids.push(id);
        self.batch.status.push(status);
        for column in &mut self.batch.columns {
            column.cells.push(Cell::Null);
            column.data.push_slot();
        }
    }

    /// Sets a cell of the last row, by position in the schema; columns that are not shown are passed over.
    pub fn set(&mut self, position: usize, value: ValueRef<'_>) {
        let mut next = self.shown.get(position).copied().flatten();
        while let Some(column) = next {
            let shown = &mut self.batch.columns[column];
            if shown.data.set_last(value) {
                set_last(&mut shown.cells, Cell::Valid);
            }
            next = self.also[column];
        }
    }

    /// Marks a cell of the last row as one that needs the whole history.
    pub fn set_needs_history(&mut self, position: usize) {
        let mut next = self.shown.get(position).copied().flatten();
        while let Some(column) = next {
            set_last(&mut self.batch.columns[column].cells, Cell::NeedsHistory);
            next = self.also[column];
        }
    }

    /// The finished batch.
    pub fn finish(self) -> FeatureBatch {
        self.batch
    }
}
