//! Scans: every row of a shard in (user, item) order, in batches.
//!
//! The profile of sorting in SQL was the lookup of the item of every rating and the sorter. The ratings of a
//! user are read in the order of the table, an item's id is looked up once for each batch, and the rows of a
//! user are sorted here.

use recstore_core::{
    EventId, ItemId, Rating, RatingRow, RatingValue, Result, ScanOptions, TimeRange, Timestamp, UserId,
};
use rusqlite::{CachedStatement, Connection, Row, params};

use crate::checksum;
use crate::entities::{Identity, hash_code, identity_sql};
use crate::error::{SqlResult, damaged};
use crate::numbers::NumberMap;
use crate::ratings::{GET, find, stored};

const USERS_OF_SHARD: &str = concat!(
    "SELECT ",
    identity_sql!("e"),
    " FROM entities e INDEXED BY entities_by_key
      WHERE ns = ?1 AND kind = 0 AND key > ?2 AND hash BETWEEN ?3 AND ?4 ORDER BY key"
);
const ITEM: &str = concat!("SELECT ", identity_sql!("e"), " FROM entities e WHERE id = ?1");
/// A user's ratings lie together in the table. The plus keeps SQLite from the index by time, which has it look
/// up every row by itself.
const ROWS_OF_USER: &str =
    "SELECT user, item, value, rated_at, first_rated_at, event_id, checksum FROM ratings
    WHERE ns = ?1 AND user = ?2 AND +rated_at >= ?3 AND +rated_at < ?4";
/// The same by way of the index, which pays where few of a user's ratings are asked for.
const ROWS_OF_USER_IN_TIME: &str = "SELECT user, item, value, rated_at, first_rated_at, event_id, checksum
    FROM ratings INDEXED BY ratings_by_user_time
    WHERE ns = ?1 AND user = ?2 AND rated_at >= ?3 AND rated_at < ?4";

/// A row of `ratings`, users and items by number.
#[derive(Clone)]
pub(crate) struct StoredRating {
    pub(crate) user: i64,
    pub(crate) item: i64,
    pub(crate) value: Option<RatingValue>,
    pub(crate) rated_at: Timestamp,
    pub(crate) first_rated_at: Timestamp,
    event_id: [u8; 16],
}

/// Reads `user, item, value, rated_at, first_rated_at, event_id, checksum` of a namespace's rating, each once:
/// this is done for every rating there is.
///
/// # Errors
/// `Corrupt` if it is not the row that was stored.
pub(crate) fn read_rating(row: &Row<'_>, ns: i64) -> Result<StoredRating> {
    let integer = |column| row.get::<_, i64>(column).sql();
    let (user, item, value) = (integer(0)?, integer(1)?, row.get::<_, Option<i64>>(2).sql()?);
    let (rated_at, first_rated_at, event_id) = (integer(3)?, integer(4)?, row.get(5).sql()?);
    let checksum = checksum::of_rating(ns, user, item, value, rated_at, first_rated_at, &event_id);
    if checksum != integer(6)? {
        return Err(damaged("a stored rating is damaged"));
    }
    Ok(StoredRating {
        user,
        item,
        value: value.map(RatingValue::from_micros).transpose().map_err(stored)?,
        rated_at: Timestamp::from_millis(rated_at).map_err(stored)?,
        first_rated_at: Timestamp::from_millis(first_rated_at).map_err(stored)?,
        event_id,
    })
}

impl StoredRating {
    fn named(self, user: UserId, item: ItemId) -> RatingRow {
        let event_id = EventId::from_u128(u128::from_be_bytes(self.event_id));
        let rating = Rating::from_parts(user, item, self.value, self.rated_at, Some(event_id));
        RatingRow { rating, first_rated_at: self.first_rated_at }
    }
}

/// Where a scan stands: in the rows of this user, those of these items are still to come.
///
/// All are named by id: between two batches they may be erased, and their numbers given to others.
#[derive(Debug, Clone)]
pub(crate) struct ScanCursor {
    user: UserId,
    items: std::vec::IntoIter<ItemId>,
}

/// The next batch, and where the one after it begins; `None` if this was the last.
pub(crate) fn scan_batch(
    connection: &Connection,
    ns: i64,
    options: ScanOptions,
    cursor: Option<ScanCursor>,
) -> Result<(Vec<RatingRow>, Option<ScanCursor>)> {
    let mut batch = ScanBatch::new(connection, ns, options)?;
    let mut after = String::new();
    if let Some(mut cursor) = cursor {
        batch.add_rest(&mut cursor)?;
        if batch.is_full() {
            return Ok((batch.rows, Some(cursor)));
        }
        after.push_str(cursor.user.as_str());
    }
    let hashes = options.shard.hashes();
    let mut users = connection.prepare_cached(USERS_OF_SHARD).sql()?;
    let mut users =
        users.query(params![ns, &after, hash_code(*hashes.start()), hash_code(*hashes.end())]).sql()?;
    while let Some(row) = users.next().sql()? {
        let found = Identity::of(row, 0)?;
        let user = UserId::from(found.key);
        let items = batch.add_user(found.id, &user)?.into_iter();
        if batch.is_full() {
            return Ok((batch.rows, Some(ScanCursor { user, items })));
        }
    }
    Ok((batch.rows, None))
}

struct ScanBatch<'a> {
    connection: &'a Connection,
    ns: i64,
    options: ScanOptions,
    rows: Vec<RatingRow>,
    rows_of_user: CachedStatement<'a>,
    item: CachedStatement<'a>,
    /// Items of this batch by number: the numbers hold within its transaction.
    items: NumberMap<ItemId>,
    /// The rows of the user at hand, for sorting.
    of_user: Vec<(ItemId, StoredRating)>,
}

impl<'a> ScanBatch<'a> {
    fn new(connection: &'a Connection, ns: i64, options: ScanOptions) -> Result<ScanBatch<'a>> {
        let rows_of_user = if options.time == TimeRange::ALL { ROWS_OF_USER } else { ROWS_OF_USER_IN_TIME };
        Ok(ScanBatch {
            connection,
            ns,
            options,
            rows: Vec::new(),
            rows_of_user: connection.prepare_cached(rows_of_user).sql()?,
            item: connection.prepare_cached(ITEM).sql()?,
            items: NumberMap::default(),
            of_user: Vec::new(),
        })
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.options.batch_rows
    }

    /// Adds the user's rows, as many as there is room for; returns the items of the others. They are sorted
    /// once: a history costs its length, however small the batches.
    fn add_user(&mut self, user_id: i64, user: &UserId) -> Result<Vec<ItemId>> {
        let time = self.options.time.millis();
        let mut found = self.rows_of_user.query(params![self.ns, user_id, time.start, time.end]).sql()?;
        while let Some(row) = found.next().sql()? {
            let row =
                read_rating(row, self.ns).map_err(|error| error.on(format!("a rating of user {user}")))?;
            if !self.options.withdrawn && row.value.is_none() {
                continue;
            }
            let item = match self.items.get(&row.item) {
                Some(item) => item.clone(),
                None => {
                    let item = item_of(&mut self.item, row.item)?;
                    self.items.insert(row.item, item.clone());
                    item
                }
            };
            self.of_user.push((item, row));
        }
        drop(found);
        self.of_user.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        let room = self.options.batch_rows.saturating_sub(self.rows.len()).min(self.of_user.len());
        let rest = self.of_user.split_off(room);
        self.rows.extend(self.of_user.drain(..).map(|(item, row)| row.named(user.clone(), item)));
        Ok(rest.into_iter().map(|(item, _)| item).collect())
    }

    /// Adds rows that an earlier batch had no room for, as they are now.
    fn add_rest(&mut self, cursor: &mut ScanCursor) -> Result<()> {
        let mut select = self.connection.prepare_cached(GET).sql()?;
        while !self.is_full() {
            let Some(item) = cursor.items.next() else { return Ok(()) };
            let row = find(&mut select, self.ns, &cursor.user, &item)?.transpose()?;
            let options = self.options;
            self.rows.extend(row.filter(|row| {
                options.time.contains(row.rating.rated_at())
                    && (options.withdrawn || !row.rating.is_withdrawn())
            }));
        }
        Ok(())
    }
}

fn item_of(select: &mut CachedStatement<'_>, item: i64) -> Result<ItemId> {
    let mut found = select.query([item]).sql()?;
    let row = found.next().sql()?.ok_or_else(|| damaged("a rating is of an item that does not exist"))?;
    Ok(ItemId::from(Identity::of(row, 0)?.key))
}
