//! Rows of `features_<group>`: those of a custom group.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `id` | text | |
//! | `event_time` | time | |
//! | `deleted` | bool | whether the row is a deletion |
//! | `row` | bytes | the encoded row, by core's codec, which alone says its values |
//! | one for each column of the group | its type, nullable | for other tools |
//!
//! A group's column that has one of these names, or that of the partition, is called `_<name>` here; no column of a group
//! begins like this.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Float32Builder, Float64Builder,
    Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use recstore_core::features::{ValueRef, decode_row};
use recstore_core::{ColumnSpec, ColumnType, EntityKey, GroupSchema, Result, Timestamp};

use crate::lake::silver::delta::BUCKET;
use crate::lake::silver::file::EncodedFile;
use crate::lake::silver::parquet_io::{
    BATCH_BYTES, BATCH_ROWS, Input, Output, column, internal, micros, optional, refused, required, time,
    time_type, wrong,
};

const ID: &str = "id";
const EVENT_TIME: &str = "event_time";
const DELETED: &str = "deleted";
const ROW: &str = "row";

/// The current row of an entity in a custom group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRow {
    /// Whose row.
    pub id: EntityKey,
    /// When it was true.
    pub event_time: Timestamp,
    /// What it says, as [`encode_row`](recstore_core::features::encode_row) writes it.
    pub row: Vec<u8>,
}

/// The columns of the table of a group.
pub fn custom_columns(group: &GroupSchema) -> SchemaRef {
    let typed =
        group.columns.iter().map(|column| optional(&column_name(column), data_type(column.column_type)));
    Arc::new(Schema::new(fixed_columns().into_iter().chain(typed).collect::<Vec<_>>()))
}

fn fixed_columns() -> [Field; 4] {
    [
        required(ID, DataType::Utf8),
        required(EVENT_TIME, time_type()),
        required(DELETED, DataType::Boolean),
        required(ROW, DataType::Binary),
    ]
}

fn column_name(column: &ColumnSpec) -> String {
    let name = column.name.as_str();
    let taken = [ID, EVENT_TIME, DELETED, ROW, BUCKET].contains(&name);
    if taken { format!("_{name}") } else { name.to_owned() }
}

fn data_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Integer => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Text => DataType::Utf8,
        ColumnType::Timestamp => time_type(),
        ColumnType::Vector(_) => DataType::List(Arc::new(element(DataType::Float32))),
        ColumnType::TextList => DataType::List(Arc::new(element(DataType::Utf8))),
    }
}

/// What lists consist of, by the name that Parquet gives it.
fn element(data_type: DataType) -> Field {
    required("element", data_type)
}

/// The values of one column of the group.
enum TypedColumn {
    Integer(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Vector(ListBuilder<Float32Builder>),
    TextList(ListBuilder<StringBuilder>),
}

impl TypedColumn {
    fn new(column_type: ColumnType) -> TypedColumn {
        match column_type {
            ColumnType::Integer => TypedColumn::Integer(Int64Builder::new()),
            ColumnType::Float => TypedColumn::Float(Float64Builder::new()),
            ColumnType::Bool => TypedColumn::Bool(BooleanBuilder::new()),
            ColumnType::Text => TypedColumn::Text(StringBuilder::new()),
            ColumnType::Timestamp => {
                TypedColumn::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            ColumnType::Vector(_) => TypedColumn::Vector(
                ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32)),
            ),
            ColumnType::TextList => TypedColumn::TextList(
                ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            ),
        }
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        match self {
            TypedColumn::Integer(column) => column.len(),
            TypedColumn::Float(column) => column.len(),
            TypedColumn::Bool(column) => column.len(),
            TypedColumn::Text(column) => column.len(),
            TypedColumn::Timestamp(column) => column.len(),
            TypedColumn::Vector(column) => column.len(),
            TypedColumn::TextList(column) => column.len(),
        }
    }

    /// Appends a value, which the codec has checked to be of the column's type.
    fn append(&mut self, value: ValueRef<'_>) {
        match (self, value) {
            (TypedColumn::Integer(column), ValueRef::Integer(value)) => column.append_value(value),
            (TypedColumn::Float(column), ValueRef::Float(value)) => column.append_value(value),
            (TypedColumn::Bool(column), ValueRef::Bool(value)) => column.append_value(value),
            (TypedColumn::Text(column), ValueRef::Text(value)) => column.append_value(value),
            (TypedColumn::Timestamp(column), ValueRef::Timestamp(value)) => {
                column.append_value(micros(value))
            }
            (TypedColumn::Vector(column), ValueRef::Vector(vector)) => {
                vector.iter().for_each(|value| column.values().append_value(value));
                column.append(true);
            }
            (TypedColumn::TextList(column), ValueRef::TextList(texts)) => {
                texts.iter().for_each(|text| column.values().append_value(text));
                column.append(true);
            }
            (column, _) => column.append_null(),
        }
    }

    fn append_null(&mut self) {
        match self {
            TypedColumn::Integer(column) => column.append_null(),
            TypedColumn::Float(column) => column.append_null(),
            TypedColumn::Bool(column) => column.append_null(),
            TypedColumn::Text(column) => column.append_null(),
            TypedColumn::Timestamp(column) => column.append_null(),
            TypedColumn::Vector(column) => column.append_null(),
            TypedColumn::TextList(column) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            TypedColumn::Integer(column) => Arc::new(column.finish()),
            TypedColumn::Float(column) => Arc::new(column.finish()),
            TypedColumn::Bool(column) => Arc::new(column.finish()),
            TypedColumn::Text(column) => Arc::new(column.finish()),
            TypedColumn::Timestamp(column) => Arc::new(column.finish()),
            TypedColumn::Vector(column) => Arc::new(column.finish()),
            TypedColumn::TextList(column) => Arc::new(column.finish()),
        }
    }
}

/// Writes one file of a group's rows. After an error it is of no use.
pub struct CustomEncoder {
    group: GroupSchema,
    output: Output,
    rows: u64,
    live: u64,
    last: Option<EntityKey>,
    pending: usize,
    pending_bytes: usize,
    ids: StringBuilder,
    event_times: TimestampMicrosecondBuilder,
    deleted: BooleanBuilder,
    encoded: BinaryBuilder,
    typed: Vec<TypedColumn>,
}

impl CustomEncoder {
    /// A file without rows yet.
    ///
    /// # Errors
    /// `Internal` if the file cannot be begun.
    pub fn new(group: &GroupSchema) -> Result<CustomEncoder> {
        Ok(CustomEncoder {
            output: Output::new(custom_columns(group), 1)?,
            rows: 0,
            live: 0,
            last: None,
            pending: 0,
            pending_bytes: 0,
            ids: StringBuilder::new(),
            event_times: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            deleted: BooleanBuilder::new(),
            encoded: BinaryBuilder::new(),
            typed: group.columns.iter().map(|column| TypedColumn::new(column.column_type)).collect(),
            group: group.clone(),
        })
    }

    /// Appends the row of an entity, which comes after all before it.
    ///
    /// # Errors
    /// `Internal` for an entity out of order, and if the rows cannot be written; `Corrupt` if the row is not one of this
    /// group.
    pub fn push(&mut self, row: &CustomRow) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| *last >= row.id) {
            return Err(internal("rows of a group are not in the order of their ids"));
        }
        let typed = &mut self.typed;
        let live = decode_row(&self.group, &row.row, |position, value| typed[position].append(value))?;
        self.last = Some(row.id.clone());
        self.ids.append_value(row.id.as_str());
        self.event_times.append_value(micros(row.event_time));
        self.deleted.append_value(!live);
        self.encoded.append_value(&row.row);
        self.rows += 1;
        self.live += u64::from(live);
        self.pending += 1;
        for column in self.typed.iter_mut().filter(|column| column.len() < self.pending) {
            column.append_null();
        }
        self.pending_bytes += row.id.as_str().len() + row.row.len();
        let full = self.pending == BATCH_ROWS || self.pending_bytes >= BATCH_BYTES;
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.event_times.finish()),
            Arc::new(self.deleted.finish()),
            Arc::new(self.encoded.finish()),
        ];
        columns.extend(self.typed.iter_mut().map(TypedColumn::finish));
        self.pending = 0;
        self.output.write(columns, std::mem::take(&mut self.pending_bytes))
    }

    /// The finished file.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub fn finish(mut self) -> Result<EncodedFile> {
        if self.pending > 0 {
            self.flush()?;
        }
        Ok(EncodedFile { bytes: self.output.finish()?, rows: self.rows, live: self.live })
    }
}

/// Reads one file of a group's rows: batches in the order of the ids; nothing after an error.
pub struct CustomDecoder {
    group: GroupSchema,
    input: Input,
    last: Option<EntityKey>,
}

impl CustomDecoder {
    /// Opens the file called `name`, whose bytes were checked; `group` may have columns that the file does not have yet.
    ///
    /// # Errors
    /// `Corrupt`, which names the file, if it is no file of a group's rows.
    pub fn open(name: &str, bytes: Bytes, group: &GroupSchema) -> Result<CustomDecoder> {
        let columns = Schema::new(fixed_columns().to_vec());
        Ok(CustomDecoder { group: group.clone(), input: Input::open(name, bytes, &columns)?, last: None })
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<CustomRow>> {
        let name = self.input.name();
        let ids: &StringArray = column(batch, name, ID)?;
        let event_times: &TimestampMicrosecondArray = column(batch, name, EVENT_TIME)?;
        let deleted: &BooleanArray = column(batch, name, DELETED)?;
        let encoded: &BinaryArray = column(batch, name, ROW)?;
        let mut rows = Vec::with_capacity(batch.num_rows());
        for at in 0..batch.num_rows() {
            let id = EntityKey::new(ids.value(at)).map_err(|cause| refused(name, ID, cause))?;
            if self.last.as_ref().is_some_and(|last| *last >= id) {
                return Err(wrong(name, ID, "rows are not in the order of their ids"));
            }
            let row = encoded.value(at);
            let live = decode_row(&self.group, row, |_, _| ()).map_err(|cause| refused(name, ROW, cause))?;
            if live == deleted.value(at) {
                return Err(wrong(name, DELETED, "is not what the row says"));
            }
            let event_time = time(name, EVENT_TIME, event_times.value(at))?;
            self.last = Some(id.clone());
            rows.push(CustomRow { id, event_time, row: row.to_vec() });
        }
        Ok(rows)
    }
}

impl Iterator for CustomDecoder {
    type Item = Result<Vec<CustomRow>>;

    fn next(&mut self) -> Option<Result<Vec<CustomRow>>> {
        let rows = self.input.next_batch()?.and_then(|batch| self.rows(&batch));
        if rows.is_err() {
            self.input.end();
        }
        Some(rows)
    }
}
