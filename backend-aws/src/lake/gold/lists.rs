//! Neighbour lists as a Parquet file, which other tools read as it is.
//!
//! | column | type | what it is |
//! | --- | --- | --- |
//! | `id` | text | whose neighbour |
//! | `rank` | 32-bit integer | its place in the list, from 1; 0 in the one row of an empty list |
//! | `neighbour` | text | who it is; null in the row of an empty list, as the two below |
//! | `similarity` | 64-bit float | how alike, after shrinkage |
//! | `common` | 64-bit integer | how many raters the two have in common |
//!
//! Rows are sorted by id (by its bytes), then rank. The same lists give the same bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Float64Builder, Int32Array, Int32Builder, Int64Array, Int64Builder,
    RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use recstore_core::{EntityKey, Error, ErrorKind, Neighbour, NeighbourList, Result};

use crate::lake::bronze::object::corrupt;

/// The key of the form's version in the file's metadata.
const FORM: &str = "recstore.neighbour_lists";
const VERSION: &str = "1";
/// Rows in memory before they are written.
const BATCH_ROWS: usize = 1 << 14;
const ROW_GROUP_ROWS: usize = 1 << 20;
const LEVEL: i32 = 3;

/// How much lists hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many entities have a list.
    pub lists: u64,
    /// How many neighbours the lists have together.
    pub neighbours: u64,
}

impl Counts {
    /// Adds a list with so many neighbours.
    pub fn add(&mut self, neighbours: usize) {
        self.lists += 1;
        self.neighbours += neighbours as u64;
    }
}

/// The order in which every list is kept: the most similar first, ties by id. Similarities are finite.
pub fn sort(neighbours: &mut [Neighbour]) {
    neighbours.sort_by(|left, right| {
        right.similarity.total_cmp(&left.similarity).then_with(|| left.id.cmp(&right.id))
    });
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("neighbour", DataType::Utf8, true),
        Field::new("similarity", DataType::Float64, true),
        Field::new("common", DataType::Int64, true),
    ]))
}

fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "a file of neighbour lists cannot be written").because(cause)
}

/// Writes lists, which come in order of id.
#[derive(Debug)]
pub struct ListsWriter {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    rows: Rows,
    last: Option<EntityKey>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Rows {
    id: StringBuilder,
    rank: Int32Builder,
    neighbour: StringBuilder,
    similarity: Float64Builder,
    common: Int64Builder,
}

impl Rows {
    fn push(&mut self, id: &EntityKey, rank: i32, neighbour: Option<&Neighbour>) {
        self.id.append_value(id.as_str());
        self.rank.append_value(rank);
        self.neighbour.append_option(neighbour.map(|neighbour| neighbour.id.as_str()));
        self.similarity.append_option(neighbour.map(|neighbour| neighbour.similarity));
        self.common.append_option(neighbour.map(|neighbour| i64::from(neighbour.common)));
    }

    fn len(&self) -> usize {
        self.rank.values_slice().len()
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.rank.finish()),
            Arc::new(self.neighbour.finish()),
            Arc::new(self.similarity.finish()),
            Arc::new(self.common.finish()),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

impl ListsWriter {
    /// An empty file.
    ///
    /// # Errors
    /// `Internal`.
    pub fn new() -> Result<ListsWriter> {
        let level = ZstdLevel::try_new(LEVEL).map_err(internal)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by("recstore".to_owned())
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_key_value_metadata(Some(vec![KeyValue::new(FORM.to_owned(), VERSION.to_owned())]))
            .build();
        let schema = schema();
        let writer =
            ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties)).map_err(internal)?;
        Ok(ListsWriter { writer, schema, rows: Rows::default(), last: None, counts: Counts::default() })
    }

    /// Adds a list, sorted as [`sort`] does.
    ///
    /// # Errors
    /// `Internal` if its id does not come after the last one.
    pub fn push(&mut self, id: &EntityKey, neighbours: &[Neighbour]) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| last >= id) {
            return Err(Error::new(ErrorKind::Internal, "neighbour lists do not come in order of id"));
        }
        if neighbours.is_empty() {
            self.rows.push(id, 0, None);
        }
        for (rank, neighbour) in (1..).zip(neighbours) {
            self.rows.push(id, rank, Some(neighbour));
        }
        self.counts.add(neighbours.len());
        self.last = Some(id.clone());
        if self.rows.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let batch = self.rows.finish(&self.schema).map_err(internal)?;
        self.writer.write(&batch).map_err(internal)
    }

    /// The file, and how much it holds.
    ///
    /// # Errors
    /// `Internal`.
    pub fn finish(mut self) -> Result<(Bytes, Counts)> {
        self.flush()?;
        let bytes = self.writer.into_inner().map_err(internal)?;
        Ok((Bytes::from(bytes), self.counts))
    }
}

/// The file of lists in order of id.
///
/// # Errors
/// As [`ListsWriter`].
pub fn encode<'a>(
    lists: impl IntoIterator<Item = (&'a EntityKey, &'a [Neighbour])>,
) -> Result<(Bytes, Counts)> {
    let mut writer = ListsWriter::new()?;
    lists.into_iter().try_for_each(|(id, neighbours)| writer.push(id, neighbours))?;
    writer.finish()
}

/// Reads a file list by list, in order of id. Memory: the file, and a batch of its rows.
///
/// After an error nothing more comes.
pub struct ListsReader {
    name: String,
    batches: ParquetRecordBatchReader,
    columns: Option<Columns>,
    /// The first row of the next list.
    ahead: Option<Row>,
    last: Option<EntityKey>,
    ended: bool,
}

/// A batch that is being read.
struct Columns {
    id: StringArray,
    rank: Int32Array,
    neighbour: StringArray,
    similarity: Float64Array,
    common: Int64Array,
    next: usize,
}

struct Row {
    id: EntityKey,
    rank: i32,
    neighbour: Option<Neighbour>,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Option<Columns> {
        fn column<T: Array + Clone + 'static>(batch: &RecordBatch, index: usize) -> Option<T> {
            batch.columns().get(index)?.as_any().downcast_ref::<T>().cloned()
        }
        Some(Columns {
            id: column(batch, 0)?,
            rank: column(batch, 1)?,
            neighbour: column(batch, 2)?,
            similarity: column(batch, 3)?,
            common: column(batch, 4)?,
            next: 0,
        })
    }

    /// The next row, if the batch has one; `Some(None)` if it is not what is ever written.
    fn take(&mut self) -> Option<Option<Row>> {
        let at = self.next;
        self.next += 1;
        (at < self.rank.len()).then(|| self.row(at))
    }

    fn row(&self, at: usize) -> Option<Row> {
        let id = EntityKey::new(self.id.value(at)).ok()?;
        let rank = self.rank.value(at);
        let nulls = [self.neighbour.is_null(at), self.similarity.is_null(at), self.common.is_null(at)];
        let neighbour = match nulls {
            [true, true, true] => None,
            [false, false, false] => Some(Neighbour {
                id: EntityKey::new(self.neighbour.value(at)).ok()?,
                similarity: self.similarity.value(at),
                common: u32::try_from(self.common.value(at)).ok()?,
            }),
            _ => return None,
        };
        ((rank == 0) == neighbour.is_none()).then_some(Row { id, rank, neighbour })
    }
}

impl std::fmt::Debug for ListsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListsReader")
            .field("name", &self.name)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl ListsReader {
    /// Reads `file`, which errors call `name`.
    ///
    /// # Errors
    /// `Corrupt` if it is no such file, `SchemaVersion` if a newer program wrote it.
    pub fn new(file: Bytes, name: &str) -> Result<ListsReader> {
        let damaged = |cause| corrupt("a file of neighbour lists is damaged").on(name).because(cause);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let metadata = builder.metadata().file_metadata().key_value_metadata();
        let mut entries = metadata.into_iter().flatten();
        let form = entries.find(|entry| entry.key == FORM).and_then(|entry| entry.value.as_deref());
        if form != Some(VERSION) {
            let text = format!("the file has form {}, this program reads {VERSION}", form.unwrap_or("none"));
            return Err(Error::new(ErrorKind::SchemaVersion, text).on(name));
        }
        let types = |schema: &Schema| -> Vec<(String, DataType)> {
            let fields = schema.fields().iter();
            fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        if types(builder.schema()) != types(&schema()) {
            return Err(corrupt("a file of neighbour lists has other columns").on(name));
        }
        let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(damaged)?;
        let name = name.to_owned();
        Ok(ListsReader { name, batches, columns: None, ahead: None, last: None, ended: false })
    }

    fn damaged(&self, what: &str) -> Error {
        corrupt(format!("a file of neighbour lists is damaged: {what}")).on(self.name.clone())
    }

    fn row(&mut self) -> Result<Option<Row>> {
        if let Some(row) = self.ahead.take() {
            return Ok(Some(row));
        }
        loop {
            if let Some(row) = self.columns.as_mut().and_then(Columns::take) {
                return row.map(Some).ok_or_else(|| self.damaged("a row is none of a list"));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch.map_err(|cause| self.damaged("it cannot be read").because(cause))?;
            self.columns = Some(Columns::of(&batch).ok_or_else(|| self.damaged("it has other columns"))?);
        }
    }

    fn list(&mut self) -> Result<Option<NeighbourList>> {
        let Some(first) = self.row()? else { return Ok(None) };
        if self.last.as_ref().is_some_and(|last| *last >= first.id) {
            return Err(self.damaged("lists are not in order of id"));
        }
        let (id, rank) = (first.id, first.rank);
        self.last = Some(id.clone());
        let mut neighbours: Vec<Neighbour> = first.neighbour.into_iter().collect();
        let mut ranks = rank == neighbours.len() as i32;
        while let Some(row) = self.row()? {
            if row.id != id {
                self.ahead = Some(row);
                break;
            }
            neighbours.extend(row.neighbour);
            // After an empty list, or of another place.
            ranks &= rank == 1 && row.rank == neighbours.len() as i32;
        }
        let before = |left: &Neighbour, right: &Neighbour| {
            right.similarity.total_cmp(&left.similarity).then_with(|| left.id.cmp(&right.id)).is_lt()
        };
        if !ranks || !neighbours.is_sorted_by(before) {
            return Err(self.damaged("a list is not in order"));
        }
        let list = NeighbourList { id, neighbours };
        list.validate().map_err(|cause| self.damaged("a list is none").because(cause))?;
        Ok(Some(list))
    }
}

impl Iterator for ListsReader {
    type Item = Result<NeighbourList>;

    fn next(&mut self) -> Option<Result<NeighbourList>> {
        if self.ended {
            return None;
        }
        let list = self.list().transpose();
        self.ended = !matches!(list, Some(Ok(_)));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::seeds::{self, Random};

    fn key(id: &str) -> EntityKey {
        EntityKey::new(id).unwrap()
    }

    fn list(id: &str, neighbours: &[(&str, f64, u32)]) -> NeighbourList {
        let neighbour =
            |&(id, similarity, common): &(&str, f64, u32)| Neighbour { id: key(id), similarity, common };
        NeighbourList { id: key(id), neighbours: neighbours.iter().map(neighbour).collect() }
    }

    fn file(lists: &[NeighbourList]) -> (Bytes, Counts) {
        encode(lists.iter().map(|list| (&list.id, list.neighbours.as_slice()))).unwrap()
    }

    fn read(file: Bytes) -> Result<Vec<NeighbourList>> {
        ListsReader::new(file, "the file")?.collect()
    }

    #[test]
    fn lists_come_back_as_they_were_empty_ones_and_the_last_bit_included() {
        let lists = [
            list(
                "A",
                &[("B", f64::MAX, u32::MAX), ("C", 0.1 + 0.2, 1), ("D", 0.1 + 0.2, 2), ("E", 5e-324, 3)],
            ),
            list("a", &[]),
            list("b", &[("a", 1.0 / 3.0, 0)]),
            list("ä", &[]),
        ];
        let (bytes, counts) = file(&lists);
        assert_eq!(counts, Counts { lists: 4, neighbours: 5 });
        assert_eq!(read(bytes.clone()).unwrap(), lists);
        assert_eq!(file(&lists).0, bytes, "the same lists, the same bytes");
        assert!(read(file(&[]).0).unwrap().is_empty());
    }

    #[test]
    fn lists_of_any_length_come_back_across_batches() {
        let seed = seeds::from_env("RECSTORE_SEED", 11);
        println!("RECSTORE_SEED={seed}");
        let mut random = Random::new(seed);
        let lists: Vec<NeighbourList> = (0..400)
            .map(|id| {
                let length = random.below(200) * random.below(2);
                let mut neighbours: Vec<Neighbour> = (0..length)
                    .map(|other| Neighbour {
                        id: key(&format!("n{other}")),
                        similarity: (1 + random.below(50)) as f64 / 50.0,
                        common: random.bits() as u32,
                    })
                    .collect();
                sort(&mut neighbours);
                NeighbourList { id: key(&format!("{id:05}")), neighbours }
            })
            .collect();
        assert!(lists.iter().map(|list| list.neighbours.len()).sum::<usize>() > BATCH_ROWS);
        assert_eq!(read(file(&lists).0).unwrap(), lists);
    }

    #[test]
    fn lists_that_come_out_of_order_are_not_written() {
        for ids in [["b", "a"], ["a", "a"]] {
            let mut writer = ListsWriter::new().unwrap();
            writer.push(&key(ids[0]), &[]).unwrap();
            assert_eq!(writer.push(&key(ids[1]), &[]).unwrap_err().kind(), ErrorKind::Internal);
        }
    }

    /// Id, rank, and neighbour with similarity and common raters.
    type RawRow = (&'static str, i32, Option<(&'static str, f64, i64)>);

    /// A file of rows as they are given, right or wrong.
    fn rows(rows: &[RawRow]) -> Bytes {
        let mut writer = ListsWriter::new().unwrap();
        for (id, rank, neighbour) in rows {
            writer.rows.id.append_value(id);
            writer.rows.rank.append_value(*rank);
            writer.rows.neighbour.append_option(neighbour.map(|(id, _, _)| id));
            writer.rows.similarity.append_option(neighbour.map(|(_, similarity, _)| similarity));
            writer.rows.common.append_option(neighbour.map(|(_, _, common)| common));
        }
        writer.finish().unwrap().0
    }

    #[test]
    fn what_is_never_written_is_corrupt() {
        let (b, c) = (Some(("b", 0.9, 3)), Some(("c", 0.8, 3)));
        assert_eq!(read(rows(&[("a", 1, b), ("a", 2, c), ("b", 0, None)])).unwrap().len(), 2);
        let wrong: [&[RawRow]; 16] = [
            &[("a", 0, b)],
            &[("a", 1, None)],
            &[("a", 2, b)],
            &[("a", 1, b), ("a", 3, c)],
            &[("a", 1, c), ("a", 2, b)],
            &[("a", 0, None), ("a", 1, b)],
            &[("a", 0, None), ("a", 0, None)],
            &[("a", 1, b), ("a", 0, None)],
            &[("b", 0, None), ("a", 0, None)],
            &[("a", 1, b), ("b", 0, None), ("a", 1, b)],
            &[("a", 1, b), ("a", 2, b)],
            &[("a", 1, Some(("a", 0.9, 1)))],
            &[("a", 1, Some(("b", f64::NAN, 1)))],
            &[("a", 1, Some(("b", 0.0, 1)))],
            &[("a", 1, Some(("b", 0.5, -1)))],
            &[("", 0, None)],
        ];
        for rows_of in wrong {
            let error = read(rows(rows_of)).unwrap_err();
            assert_eq!((error.kind(), error.object()), (ErrorKind::Corrupt, Some("the file")), "{rows_of:?}");
        }
    }

    #[test]
    fn a_file_of_another_form_is_told() {
        let other = |form: Option<&str>, schema: Schema| {
            let metadata = form.map(|form| vec![KeyValue::new(FORM.to_owned(), form.to_owned())]);
            let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
            let writer = ArrowWriter::try_new(Vec::new(), Arc::new(schema), Some(properties)).unwrap();
            read(Bytes::from(writer.into_inner().unwrap())).unwrap_err().kind()
        };
        assert_eq!(other(None, (*schema()).clone()), ErrorKind::SchemaVersion);
        assert_eq!(other(Some("2"), (*schema()).clone()), ErrorKind::SchemaVersion);
        let one = Schema::new(vec![Field::new("id", DataType::Utf8, false)]);
        assert_eq!(other(Some(VERSION), one), ErrorKind::Corrupt);
        assert_eq!(read(Bytes::from_static(b"no parquet")).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
