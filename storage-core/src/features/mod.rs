//! The feature store: typed columns per user and per item.
//!
//! - `schema`: groups of columns, declared, versioned, additive only.
//! - `value`: one row as the caller writes it.
//! - `batch`: many rows as the caller reads them, columnar.
//! - `codec`: the stored form of a custom row, and its content hash.
//! - `builtin`: the groups `user_ratings` and `item_ratings`, filled from the rating statistics.

mod batch;
mod builtin;
mod codec;
mod schema;
mod value;

use async_trait::async_trait;

pub use batch::{BatchBuilder, Cell, ColumnData, FeatureBatch, FeatureColumn, RowStatus, TextColumn};
pub use builtin::{BuiltIn, item_ratings_schema, user_ratings_schema};
pub use codec::{ContentHash, MAX_ROW_BYTES, TextListRef, ValueRef, VectorRef, decode_row, encode_row};
pub use schema::{ColumnSpec, ColumnType, FeatureName, GroupSchema, MAX_COLUMNS, MAX_VECTOR_DIM};
pub use value::{FeatureRow, FeatureValue, RowContent};

use crate::{Deadline, EntityKey, Error, PutOptions, PutReceipt, Result};

/// The largest number of rows in one [`FeatureStore::put_features`] call.
pub const MAX_BATCH_ROWS: usize = 100_000;

/// Checks the number of rows of a batch. For backends.
///
/// # Errors
/// `Invalid` (field `rows`) beyond [`MAX_BATCH_ROWS`].
pub fn check_batch_rows(rows: &[FeatureRow]) -> Result<()> {
    if rows.len() <= MAX_BATCH_ROWS {
        return Ok(());
    }
    Err(Error::invalid("rows", format!("{} rows in one batch, at most {MAX_BATCH_ROWS}", rows.len())))
}

/// What to read: ids × columns of one group.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct FeatureRequest {
    /// The group.
    pub group: FeatureName,
    /// Whose rows, answered in this order; repeated ids are answered each time.
    pub ids: Vec<EntityKey>,
    /// Which columns, in this order; `None` for all, in the schema's order.
    pub columns: Option<Vec<FeatureName>>,
    /// Rows older than this are answered as [`RowStatus::TooOld`]: by `as_of` for built-in groups, by event
    /// time for custom ones. `None` for any age.
    pub max_age: Option<std::time::Duration>,
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl FeatureRequest {
    /// All columns of `ids` in `group`.
    pub fn new(group: FeatureName, ids: Vec<EntityKey>) -> FeatureRequest {
        FeatureRequest { group, ids, columns: None, max_age: None, deadline: None }
    }

    /// All columns of `ids` in the built-in group `user_ratings`.
    pub fn of_users(ids: impl IntoIterator<Item = crate::UserId>) -> FeatureRequest {
        FeatureRequest::new(FeatureName::USER_RATINGS, ids.into_iter().map(EntityKey::from).collect())
    }

    /// All columns of `ids` in the built-in group `item_ratings`.
    pub fn of_items(ids: impl IntoIterator<Item = crate::ItemId>) -> FeatureRequest {
        FeatureRequest::new(FeatureName::ITEM_RATINGS, ids.into_iter().map(EntityKey::from).collect())
    }

    /// Reads only these columns.
    pub fn with_columns(mut self, columns: Vec<FeatureName>) -> FeatureRequest {
        self.columns = Some(columns);
        self
    }

    /// Answers older rows as too old.
    pub fn with_max_age(mut self, max_age: std::time::Duration) -> FeatureRequest {
        self.max_age = Some(max_age);
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> FeatureRequest {
        self.deadline = Some(deadline);
        self
    }
}

/// What a rebuild of the built-in features did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RebuildReport {
    /// Users whose statistics were computed: all with a rating row, withdrawn ones included.
    pub users: u64,
    /// Items whose statistics were computed: all with a rating row, withdrawn ones included.
    pub items: u64,
    /// How many of both were stored differently before; zero unless something was wrong.
    pub changed: u64,
}

/// Features: groups of typed columns per user or item.
///
/// The built-in groups `user_ratings` and `item_ratings` are views of the ratings and are never written by
/// hand. Custom groups hold whole rows: the greatest (event time, content hash) wins, a deletion is a row.
#[async_trait]
pub trait FeatureStore: Send + Sync {
    /// Declares a custom group, or adds columns to it.
    ///
    /// Idempotent: the schema stored already is answered as it is. A schema that begins with the stored
    /// columns and adds more becomes the next version. Returns what is stored now.
    ///
    /// # Errors
    /// `Invalid` for built-in names and schemas out of limits; `Conflict` if stored columns are missing,
    /// moved or of another type, or the entity kind differs.
    async fn register_group(&self, schema: GroupSchema) -> Result<GroupSchema>;

    /// Every group, the built-in ones first, then by name.
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`, `Closed`.
    async fn groups(&self) -> Result<Vec<GroupSchema>>;

    /// Stores whole rows of a custom group: omitted columns are null, an older row is `Stale`.
    ///
    /// Atomic, idempotent and order-free as [`put_ratings`](crate::RatingStore::put_ratings): per id the row
    /// with the greatest (event time, content hash) wins. Empty input is `Ok`. Rows of erased entities up to
    /// the erasure's bar have the outcome `Erased`. The receipt lists no conflicts.
    /// A store without fresh reads shows the rows one by one; after the next `refresh()` all are there.
    ///
    /// # Errors
    /// `NotFound` for an unknown group, also if there are no rows; `Invalid` (field `group`) for a built-in
    /// group; `Invalid` (field `rows[i].<column>`) for an unknown or repeated column, a value of another
    /// type, a vector of another length or a number that is not finite, (`rows[i].event_time`) for an event
    /// time too far ahead, (`rows[i].row`) for a row over [`MAX_ROW_BYTES`], (`rows`) for more than
    /// [`MAX_BATCH_ROWS`] rows; as [`put_ratings`](crate::RatingStore::put_ratings). The first wrong row is
    /// named.
    async fn put_features(
        &self,
        group: &FeatureName,
        rows: Vec<FeatureRow>,
        options: PutOptions,
    ) -> Result<PutReceipt>;

    /// Reads ids × columns as a columnar batch, ids in the order asked.
    ///
    /// Each id is found (with `as_of` and origin), missing, too old or failed; nothing is zero by default.
    /// An entity without a current rating has no row in a built-in group, and a deleted row is missing, of
    /// whatever age. A value is null where none was put, and in columns added after the row. Empty input
    /// gives a batch without rows.
    ///
    /// # Errors
    /// `NotFound` for an unknown group; `Invalid` (field `columns`) for an unknown column.
    async fn get_features(&self, request: FeatureRequest) -> Result<FeatureBatch>;

    /// Computes the built-in features anew from the ratings and stores them, in one atomic step.
    ///
    /// Ratings are the facts, features the view: this is how changed parameters (the Bayesian prior) are
    /// taken over.
    ///
    /// # Errors
    /// As [`put_ratings`](crate::RatingStore::put_ratings).
    async fn rebuild_features(&self) -> Result<RebuildReport>;
}
