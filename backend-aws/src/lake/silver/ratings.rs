//! Rows of `ratings` and `ratings_by_item`: the same columns in two orders.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `user`, `item` | text | |
//! | `value` | float | for other tools; null if the rating is withdrawn |
//! | `value_micros` | integer | the value in micro-units; null if the rating is withdrawn |
//! | `rated_at`, `first_rated_at` | time | of the current event, and the earliest ever of the pair |
//! | `event_id` | 16 bytes | big-endian |

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, BinaryArray, BinaryBuilder, Float64Builder, Int64Array, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use recstore_core::{EventId, ItemId, Rating, RatingRow, RatingValue, Result, Timestamp, UserId};

use crate::lake::silver::file::EncodedFile;
use crate::lake::silver::parquet_io::{
    BATCH_ROWS, Input, Output, column, internal, micros, optional, refused, required, time, time_type, wrong,
};

const USER: &str = "user";
const ITEM: &str = "item";
const VALUE: &str = "value";
const VALUE_MICROS: &str = "value_micros";
const RATED_AT: &str = "rated_at";
const FIRST_RATED_AT: &str = "first_rated_at";
const EVENT_ID: &str = "event_id";

/// The order of a file's rows, by the bytes of the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatingOrder {
    /// By user, then item: `ratings`.
    ByUser,
    /// By item, then user: `ratings_by_item`.
    ByItem,
}

impl RatingOrder {
    /// The ids of a row as they are compared.
    fn key<'r>(self, user: &'r str, item: &'r str) -> (&'r str, &'r str) {
        match self {
            RatingOrder::ByUser => (user, item),
            RatingOrder::ByItem => (item, user),
        }
    }
}

/// The columns of both tables; the ids that decide the order come first.
pub fn rating_columns(order: RatingOrder) -> SchemaRef {
    let ids = match order {
        RatingOrder::ByUser => [USER, ITEM],
        RatingOrder::ByItem => [ITEM, USER],
    };
    let ids = ids.map(|name| required(name, DataType::Utf8));
    let others = [
        optional(VALUE, DataType::Float64),
        optional(VALUE_MICROS, DataType::Int64),
        required(RATED_AT, time_type()),
        required(FIRST_RATED_AT, time_type()),
        required(EVENT_ID, DataType::Binary),
    ];
    Arc::new(Schema::new(ids.into_iter().chain(others).collect::<Vec<_>>()))
}

/// What a row says of its pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairState {
    /// The value of the current event; `None` if it withdrew the rating.
    pub value: Option<RatingValue>,
    /// When it was.
    pub rated_at: Timestamp,
    /// The earliest event time ever of the pair.
    pub first_rated_at: Timestamp,
    /// The identity of the current event.
    pub event_id: EventId,
}

impl PairState {
    /// As [`Rating::order`]: of two events of a pair the greater wins.
    pub fn order(&self) -> (Timestamp, EventId, bool, Option<RatingValue>) {
        (self.rated_at, self.event_id, self.value.is_none(), self.value)
    }
}

/// A rating row with borrowed ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRow<'a> {
    /// Who rated.
    pub user: &'a str,
    /// What was rated.
    pub item: &'a str,
    /// What is known of the pair.
    pub state: PairState,
}

impl<'a> From<&'a RatingRow> for PairRow<'a> {
    fn from(row: &'a RatingRow) -> PairRow<'a> {
        let RatingRow { rating, first_rated_at } = row;
        let state = PairState {
            value: rating.value(),
            rated_at: rating.rated_at(),
            first_rated_at: *first_rated_at,
            event_id: rating.event_id(),
        };
        PairRow { user: rating.user().as_str(), item: rating.item().as_str(), state }
    }
}

/// Writes one file of rating rows. After an error it is of no use.
pub struct RatingEncoder {
    order: RatingOrder,
    output: Output,
    rows: u64,
    live: u64,
    last: LastPair,
    pending: usize,
    users: StringBuilder,
    items: StringBuilder,
    values: Float64Builder,
    value_micros: Int64Builder,
    rated_at: TimestampMicrosecondBuilder,
    first_rated_at: TimestampMicrosecondBuilder,
    event_ids: BinaryBuilder,
}

impl RatingEncoder {
    /// A file without rows yet.
    ///
    /// # Errors
    /// `Internal` if the file cannot be begun.
    pub fn new(order: RatingOrder) -> Result<RatingEncoder> {
        let times = || TimestampMicrosecondBuilder::with_capacity(BATCH_ROWS).with_timezone("UTC");
        Ok(RatingEncoder {
            order,
            output: Output::new(rating_columns(order), 2)?,
            rows: 0,
            live: 0,
            last: LastPair::default(),
            pending: 0,
            users: StringBuilder::new(),
            items: StringBuilder::new(),
            values: Float64Builder::with_capacity(BATCH_ROWS),
            value_micros: Int64Builder::with_capacity(BATCH_ROWS),
            rated_at: times(),
            first_rated_at: times(),
            event_ids: BinaryBuilder::new(),
        })
    }

    /// Appends rows, which come after all before them and each other in the file's order.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn extend<'r>(&mut self, rows: impl IntoIterator<Item = PairRow<'r>>) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.push(&row))
    }

    /// Appends a row, which comes after all before it in the file's order.
    ///
    /// # Errors
    /// `Internal` for a row out of order, and if the rows cannot be written.
    pub fn push(&mut self, row: &PairRow<'_>) -> Result<()> {
        let PairRow { user, item, state } = *row;
        if !self.last.advance(self.order.key(user, item)) {
            return Err(internal("rating rows are not in the order of their file"));
        }
        if state.first_rated_at > state.rated_at {
            return Err(internal("a pair was first rated after its rating"));
        }
        self.users.append_value(user);
        self.items.append_value(item);
        self.values.append_option(state.value.map(RatingValue::as_f64));
        self.value_micros.append_option(state.value.map(RatingValue::micros));
        self.rated_at.append_value(micros(state.rated_at));
        self.first_rated_at.append_value(micros(state.first_rated_at));
        self.event_ids.append_value(state.event_id.as_u128().to_be_bytes());
        self.live += u64::from(state.value.is_some());
        self.rows += 1;
        self.pending += 1;
        if self.pending == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let (users, items) = (Arc::new(self.users.finish()), Arc::new(self.items.finish()));
        let (first, second) = match self.order {
            RatingOrder::ByUser => (users, items),
            RatingOrder::ByItem => (items, users),
        };
        self.pending = 0;
        // Rows are small: only their number ends a row group.
        self.output.write(
            vec![
                first,
                second,
                Arc::new(self.values.finish()),
                Arc::new(self.value_micros.finish()),
                Arc::new(self.rated_at.finish()),
                Arc::new(self.first_rated_at.finish()),
                Arc::new(self.event_ids.finish()),
            ],
            0,
        )
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

/// The ids of the row before, as they are compared.
#[derive(Debug, Default)]
struct LastPair {
    first: String,
    second: String,
}

impl LastPair {
    /// Goes on to the next row; whether it comes after the one before. No id is empty, so that any is the first.
    fn advance(&mut self, (first, second): (&str, &str)) -> bool {
        let order = self.first.as_str().cmp(first);
        if order.then_with(|| self.second.as_str().cmp(second)) != Ordering::Less {
            return false;
        }
        if order != Ordering::Equal {
            set(&mut self.first, first);
        }
        set(&mut self.second, second);
        true
    }
}

fn set(text: &mut String, to: &str) {
    text.clear();
    text.push_str(to);
}

/// Reads one file of rating rows: batches of rows in the file's order; nothing after an error.
pub struct RatingDecoder {
    order: RatingOrder,
    input: Input,
    last: LastPair,
    known: Known,
}

/// Ids that were checked. An id that repeats is not checked again.
#[derive(Debug, Default)]
struct Known {
    user: Option<UserId>,
    item: Option<ItemId>,
}

impl Known {
    fn check(&mut self, name: &str, user: &str, item: &str) -> Result<()> {
        if self.user.as_ref().is_none_or(|known| known.as_str() != user) {
            self.user = Some(UserId::new(user).map_err(|cause| refused(name, USER, cause))?);
        }
        if self.item.as_ref().is_none_or(|known| known.as_str() != item) {
            self.item = Some(ItemId::new(item).map_err(|cause| refused(name, ITEM, cause))?);
        }
        Ok(())
    }
}

impl RatingDecoder {
    /// Opens the file called `name`, whose bytes were checked.
    ///
    /// # Errors
    /// `Corrupt`, which names the file, if it is no file of rating rows.
    pub fn open(name: &str, bytes: Bytes, order: RatingOrder) -> Result<RatingDecoder> {
        let columns = rating_columns(order);
        let read = columns.fields().iter().filter(|field| field.name() != VALUE).cloned();
        let input = Input::open(name, bytes, &Schema::new(read.collect::<Vec<_>>()))?;
        Ok(RatingDecoder { order, input, last: LastPair::default(), known: Known::default() })
    }

    /// Gives every row that is left to `take`.
    ///
    /// # Errors
    /// `Corrupt`, which names the file, if its rows are none or not in order; those of `take`.
    pub fn each(mut self, mut take: impl FnMut(&PairRow<'_>) -> Result<()>) -> Result<()> {
        while let Some(batch) = self.input.next_batch() {
            self.rows(&batch?, |row, _| take(row))?;
        }
        Ok(())
    }

    fn rows(
        &mut self,
        batch: &RecordBatch,
        mut take: impl FnMut(&PairRow<'_>, &Known) -> Result<()>,
    ) -> Result<()> {
        let name = self.input.name();
        let users: &StringArray = column(batch, name, USER)?;
        let items: &StringArray = column(batch, name, ITEM)?;
        let values: &Int64Array = column(batch, name, VALUE_MICROS)?;
        let rated_at: &TimestampMicrosecondArray = column(batch, name, RATED_AT)?;
        let first_rated_at: &TimestampMicrosecondArray = column(batch, name, FIRST_RATED_AT)?;
        let event_ids: &BinaryArray = column(batch, name, EVENT_ID)?;
        for at in 0..batch.num_rows() {
            let (user, item) = (users.value(at), items.value(at));
            self.known.check(name, user, item)?;
            if !self.last.advance(self.order.key(user, item)) {
                let first = match self.order {
                    RatingOrder::ByUser => USER,
                    RatingOrder::ByItem => ITEM,
                };
                return Err(wrong(name, first, "rows are not in the order of the file"));
            }
            let value = values.is_valid(at).then(|| RatingValue::from_micros(values.value(at)));
            let value = value.transpose().map_err(|cause| refused(name, VALUE_MICROS, cause))?;
            let event_id = event_ids.value(at).try_into();
            let event_id = event_id.map_err(|_| wrong(name, EVENT_ID, "is not 16 bytes"))?;
            let event_id = EventId::from_u128(u128::from_be_bytes(event_id));
            let rated_at = time(name, RATED_AT, rated_at.value(at))?;
            let first_rated_at = time(name, FIRST_RATED_AT, first_rated_at.value(at))?;
            if first_rated_at > rated_at {
                return Err(wrong(name, FIRST_RATED_AT, "is after the rating"));
            }
            let state = PairState { value, rated_at, first_rated_at, event_id };
            take(&PairRow { user, item, state }, &self.known)?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<RatingRow>> {
        let mut rows = Vec::with_capacity(batch.num_rows());
        self.rows(batch, |PairRow { state, .. }, known| {
            // Both are known of every row that is taken.
            if let (Some(user), Some(item)) = (known.user.clone(), known.item.clone()) {
                let PairState { value, rated_at, first_rated_at, event_id } = *state;
                let rating = Rating::from_parts(user, item, value, rated_at, Some(event_id));
                rows.push(RatingRow { rating, first_rated_at });
            }
            Ok(())
        })?;
        Ok(rows)
    }
}

impl Iterator for RatingDecoder {
    type Item = Result<Vec<RatingRow>>;

    fn next(&mut self) -> Option<Result<Vec<RatingRow>>> {
        let rows = self.input.next_batch()?.and_then(|batch| self.batch(&batch));
        if rows.is_err() {
            self.input.end();
        }
        Some(rows)
    }
}
