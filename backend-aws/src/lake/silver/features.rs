//! Rows of `user_features` and `item_features`: the statistics of each user or item.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `id` | text | |
//! | `rating_count`, `rating_mean`, … | integer, float, time | the columns of the built-in group, for other tools |
//! | `state` | bytes | [`RatingStats::encode`], which alone is read |
//!
//! An entity whose ratings are all withdrawn keeps a row: its times are state. The columns of its group are null.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Float64Builder, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use recstore_core::{BayesianPrior, EntityKey, EntityKind, RatingStats, Result};

use crate::lake::silver::file::EncodedFile;
use crate::lake::silver::parquet_io::{
    BATCH_BYTES, BATCH_ROWS, Input, Output, column, internal, micros, optional, refused, required, time_type,
    wrong,
};

const ID: &str = "id";
const STATE: &str = "state";
const COUNT: &str = "rating_count";
const MEAN: &str = "rating_mean";
const STD: &str = "rating_std";
const MIN: &str = "rating_min";
const MAX: &str = "rating_max";
const FIRST: &str = "first_rated_at";
const LAST: &str = "last_rated_at";
const BAYESIAN_MEAN: &str = "bayesian_mean";

/// The columns of the table of users or items.
pub fn feature_columns(kind: EntityKind) -> SchemaRef {
    let mut fields = vec![required(ID, DataType::Utf8), optional(COUNT, DataType::Int64)];
    fields.extend([MEAN, STD, MIN, MAX].map(|name| optional(name, DataType::Float64)));
    fields.extend([FIRST, LAST].map(|name| optional(name, time_type())));
    if kind == EntityKind::Item {
        fields.push(optional(BAYESIAN_MEAN, DataType::Float64));
    }
    fields.push(required(STATE, DataType::Binary));
    Arc::new(Schema::new(fields))
}

/// Writes one file of statistics. After an error it is of no use.
pub struct FeatureEncoder {
    kind: EntityKind,
    prior: BayesianPrior,
    output: Output,
    rows: u64,
    live: u64,
    last: Option<EntityKey>,
    pending: usize,
    pending_bytes: usize,
    state: Vec<u8>,
    ids: StringBuilder,
    counts: Int64Builder,
    /// Mean, deviation, smallest, largest and Bayesian mean.
    floats: [Float64Builder; 5],
    /// First and last.
    times: [TimestampMicrosecondBuilder; 2],
    states: BinaryBuilder,
}

impl FeatureEncoder {
    /// A file without rows yet; `prior` damps `bayesian_mean`.
    ///
    /// # Errors
    /// `Internal` if the file cannot be begun.
    pub fn new(kind: EntityKind, prior: BayesianPrior) -> Result<FeatureEncoder> {
        let times = || TimestampMicrosecondBuilder::with_capacity(BATCH_ROWS).with_timezone("UTC");
        Ok(FeatureEncoder {
            kind,
            prior,
            output: Output::new(feature_columns(kind), 1)?,
            rows: 0,
            live: 0,
            last: None,
            pending: 0,
            pending_bytes: 0,
            state: Vec::new(),
            ids: StringBuilder::new(),
            counts: Int64Builder::with_capacity(BATCH_ROWS),
            floats: std::array::from_fn(|_| Float64Builder::with_capacity(BATCH_ROWS)),
            times: [times(), times()],
            states: BinaryBuilder::new(),
        })
    }

    /// Appends the statistics of an entity, which comes after all before it.
    ///
    /// # Errors
    /// `Internal` for an entity out of order, and if the rows cannot be written.
    pub fn push(&mut self, id: &EntityKey, stats: &RatingStats) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| last >= id) {
            return Err(internal("statistics are not in the order of their ids"));
        }
        self.last = Some(id.clone());
        self.ids.append_value(id.as_str());
        let features = stats.finish(self.prior);
        // More ratings than an i64 counts are more than a state can hold.
        self.counts.append_option(features.map(|features| features.count as i64));
        let extremes = features.and_then(|features| features.extremes);
        let floats = [
            features.map(|features| features.mean),
            features.map(|features| features.std),
            extremes.map(|(min, _)| min),
            extremes.map(|(_, max)| max),
            features.map(|features| features.bayesian_mean),
        ];
        for (column, value) in self.floats.iter_mut().zip(floats) {
            column.append_option(value);
        }
        let times = [
            features.map(|features| micros(features.first_rated_at)),
            features.map(|features| micros(features.last_rated_at)),
        ];
        for (column, value) in self.times.iter_mut().zip(times) {
            column.append_option(value);
        }
        self.state.clear();
        stats.encode(&mut self.state);
        self.states.append_value(&self.state);
        self.rows += 1;
        self.live += u64::from(features.is_some());
        self.pending += 1;
        self.pending_bytes += id.as_str().len() + self.state.len();
        let full = self.pending == BATCH_ROWS || self.pending_bytes >= BATCH_BYTES;
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.ids.finish()), Arc::new(self.counts.finish())];
        let mut floats = self.floats.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        columns.extend(floats.by_ref().take(4));
        columns.extend(self.times.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        // Finished in any case, so that the next batch begins anew.
        let bayesian_mean = floats.next();
        columns.extend(bayesian_mean.filter(|_| self.kind == EntityKind::Item));
        columns.push(Arc::new(self.states.finish()));
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

/// Reads one file of statistics: batches in the order of the ids; nothing after an error.
pub struct FeatureDecoder {
    input: Input,
    last: Option<EntityKey>,
}

impl FeatureDecoder {
    /// Opens the file called `name`, whose bytes were checked.
    ///
    /// # Errors
    /// `Corrupt`, which names the file, if it is no file of statistics.
    pub fn open(name: &str, bytes: Bytes) -> Result<FeatureDecoder> {
        let columns = Schema::new(vec![required(ID, DataType::Utf8), required(STATE, DataType::Binary)]);
        Ok(FeatureDecoder { input: Input::open(name, bytes, &columns)?, last: None })
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<(EntityKey, RatingStats)>> {
        let name = self.input.name();
        let ids: &StringArray = column(batch, name, ID)?;
        let states: &BinaryArray = column(batch, name, STATE)?;
        let mut rows = Vec::with_capacity(batch.num_rows());
        for at in 0..batch.num_rows() {
            let id = EntityKey::new(ids.value(at)).map_err(|cause| refused(name, ID, cause))?;
            if self.last.as_ref().is_some_and(|last| *last >= id) {
                return Err(wrong(name, ID, "rows are not in the order of their ids"));
            }
            let stats =
                RatingStats::decode(states.value(at)).map_err(|cause| cause.in_field(STATE).on(name))?;
            self.last = Some(id.clone());
            rows.push((id, stats));
        }
        Ok(rows)
    }
}

impl Iterator for FeatureDecoder {
    type Item = Result<Vec<(EntityKey, RatingStats)>>;

    fn next(&mut self) -> Option<Result<Vec<(EntityKey, RatingStats)>>> {
        let rows = self.input.next_batch()?.and_then(|batch| self.rows(&batch));
        if rows.is_err() {
            self.input.end();
        }
        Some(rows)
    }
}
