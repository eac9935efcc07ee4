//! Parquet out and in, common to all tables.
//!
//! Out: the same rows give the same bytes. Batches and row groups are cut by the rows alone, and nothing of the writer's
//! time or machine is in the file. In: row group by row group, so that memory is bounded by what a group may hold;
//! whatever the bytes are, the answer is rows or an error that names the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use recstore_core::{Error, ErrorKind, Result, Timestamp};

use crate::lake::bronze::object::corrupt;

/// Rows that are written, and read, at a time.
pub(super) const BATCH_ROWS: usize = 8192;
/// A batch with rows of variable size ends with the row that makes it this large.
pub(super) const BATCH_BYTES: usize = 8 << 20;
/// The most rows of a row group.
const GROUP_ROWS: usize = 32 * BATCH_ROWS;
/// A row group ends with the batch that makes it this large.
const GROUP_BYTES: usize = 4 * BATCH_BYTES;
/// Fixed, so that equal rows have equal bytes; written as tools expect a program and its version.
const CREATED_BY: &str = "recstore version 1";

/// The type of times: what Delta calls `timestamp`.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A time as it is stored.
pub(super) fn micros(time: Timestamp) -> i64 {
    // At most the year 9999, which leaves room.
    time.as_millis() * 1000
}

/// The time of a stored value; `None` if none is stored like this.
pub(super) fn from_micros(micros: i64) -> Option<Timestamp> {
    (micros % 1000 == 0).then(|| Timestamp::from_millis(micros / 1000).ok())?
}

/// A column that always has a value.
pub(super) fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// A column that may have none.
pub(super) fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// A defect: rows that this program gave to an encoder.
pub(super) fn internal(message: &str) -> Error {
    Error::new(ErrorKind::Internal, message)
}

/// A file that is being written.
pub(super) struct Output {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    group_rows: usize,
    group_bytes: usize,
}

impl Output {
    /// A file of these columns, its rows sorted by the first `sorted_by` of them.
    ///
    /// Columns of opaque bytes, which are no good for comparing and hardly repeat, have neither statistics nor
    /// dictionary. Times hardly repeat either: a dictionary that overflows took time, and made files larger.
    ///
    /// # Errors
    /// `Internal` if the schema cannot be written.
    pub(super) fn new(schema: SchemaRef, sorted_by: usize) -> Result<Output> {
        let sorted = |column| SortingColumn { column_idx: column, descending: false, nulls_first: false };
        let mut properties = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_sorting_columns(Some((0..sorted_by as i32).map(sorted).collect()));
        for path in schema.fields().iter().filter_map(|field| opaque(field)) {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
        for time in schema.fields().iter().filter(|field| *field.data_type() == time_type()) {
            properties =
                properties.set_column_dictionary_enabled(ColumnPath::from(time.name().as_str()), false);
        }
        let options = ArrowWriterOptions::new()
            .with_properties(properties.build())
            // Readers take the file as any other tool's: its Parquet types say everything.
            .with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options).map_err(failed)?;
        Ok(Output { schema, writer, group_rows: 0, group_bytes: 0 })
    }

    /// Appends a batch, which counts as `bytes` bytes.
    ///
    /// # Errors
    /// `Internal` if the columns are not those of the schema, or cannot be written.
    pub(super) fn write(&mut self, columns: Vec<ArrayRef>, bytes: usize) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|cause| internal("the columns are not those of the table").because(cause))?;
        self.writer.write(&batch).map_err(failed)?;
        self.group_rows += batch.num_rows();
        self.group_bytes += bytes;
        if self.group_rows >= GROUP_ROWS || self.group_bytes >= GROUP_BYTES {
            self.writer.flush().map_err(failed)?;
            (self.group_rows, self.group_bytes) = (0, 0);
        }
        Ok(())
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub(super) fn finish(self) -> Result<Bytes> {
        self.writer.into_inner().map(Bytes::from).map_err(failed)
    }
}

fn opaque(field: &Field) -> Option<ColumnPath> {
    match field.data_type() {
        DataType::Binary => Some(ColumnPath::from(field.name().as_str())),
        DataType::List(element) if *element.data_type() == DataType::Float32 => {
            Some(ColumnPath::from(vec![field.name().clone(), "list".to_owned(), element.name().clone()]))
        }
        _ => None,
    }
}

fn failed(cause: parquet::errors::ParquetError) -> Error {
    internal("a table file cannot be written").because(cause)
}

/// A file that is being read, batch by batch.
pub(super) struct Input {
    name: String,
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
    /// The row group to read after this one.
    next_group: usize,
    reader: Option<ParquetRecordBatchReader>,
}

impl Input {
    /// Opens the file called `name` to read `columns` of it; others are passed over.
    ///
    /// # Errors
    /// `Corrupt`, which names the file, if it is none or lacks a column.
    pub(super) fn open(name: &str, bytes: Bytes, columns: &Schema) -> Result<Input> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(name, || ArrowReaderMetadata::load(&bytes, options))?;
        let mut roots = Vec::with_capacity(columns.fields().len());
        for wanted in columns.fields() {
            let found = metadata.schema().index_of(wanted.name()).ok();
            let found = found.filter(|&index| metadata.schema().field(index) == wanted.as_ref());
            roots.push(found.ok_or_else(|| wrong(name, wanted.name(), "is missing or of another type"))?);
        }
        let columns = ProjectionMask::roots(metadata.parquet_schema(), roots);
        Ok(Input { name: name.to_owned(), bytes, metadata, columns, next_group: 0, reader: None })
    }

    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn open_group(&self, group: usize) -> Result<ParquetRecordBatchReader> {
        guarded(&self.name, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
                .with_projection(self.columns.clone())
                .with_row_groups(vec![group])
                .with_batch_size(BATCH_ROWS)
                .build()
        })
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                let batch = guarded(&self.name, || reader.next().transpose())?;
                if batch.is_some() {
                    return Ok(batch);
                }
                self.reader = None;
            }
            if self.next_group == self.metadata.metadata().num_row_groups() {
                return Ok(None);
            }
            self.reader = Some(self.open_group(self.next_group)?);
            self.next_group += 1;
        }
    }

    /// The next batch; after an error there is none.
    pub(super) fn next_batch(&mut self) -> Option<Result<RecordBatch>> {
        let batch = self.read();
        if batch.is_err() {
            self.end();
        }
        batch.transpose()
    }

    /// Gives up what is left.
    pub(super) fn end(&mut self) {
        self.reader = None;
        self.next_group = self.metadata.metadata().num_row_groups();
    }
}

/// What `read` gives. The decoder is not proven against damage: should it panic, the file is damaged.
fn guarded<T, E: std::error::Error + Send + Sync + 'static>(
    name: &str,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(corrupt("the file cannot be read").on(name).because(cause)),
        Err(_) => Err(corrupt("the file cannot be read").on(name)),
    }
}

/// A column whose values no encoder writes.
pub(super) fn wrong(name: &str, column: &str, message: impl Into<String>) -> Error {
    corrupt(message).in_field(column).on(name)
}

/// A value of a column that the model refuses.
pub(super) fn refused(name: &str, column: &str, cause: Error) -> Error {
    corrupt(cause.message().to_owned()).in_field(column).on(name).because(cause)
}

/// A column of a batch by its name and type.
///
/// # Errors
/// `Corrupt`, which names file and column, if it is not there or of another type.
pub(super) fn column<'b, A: Array + 'static>(
    batch: &'b RecordBatch,
    name: &str,
    column: &str,
) -> Result<&'b A> {
    let found: Option<&Arc<dyn Array>> = batch.column_by_name(column);
    found
        .and_then(|array| array.as_any().downcast_ref())
        .ok_or_else(|| wrong(name, column, "is missing or of another type"))
}

/// A stored time of a column that always has one.
pub(super) fn time(name: &str, column: &str, micros: i64) -> Result<Timestamp> {
    from_micros(micros).ok_or_else(|| wrong(name, column, format!("{micros} µs is no time that is stored")))
}
