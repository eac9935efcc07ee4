//! Scans: every row of a shard in (user, item) order, in batches.

use recstore_core::{ItemId, RatingRow, Result, ScanOptions, UserId};
use rusqlite::{Connection, params};

use crate::entities::{hash_code, key};
use crate::error::SqlResult;
use crate::ratings::{GET, find, row_of};

const USERS_OF_SHARD: &str = "SELECT id, key FROM entities
    WHERE ns = ?1 AND kind = 0 AND key > ?2 AND hash BETWEEN ?3 AND ?4 ORDER BY key";
const ROWS_OF_USER: &str = "SELECT r.value, r.rated_at, r.first_rated_at, r.event_id, e.key
    FROM ratings r CROSS JOIN entities e ON e.id = r.item
    WHERE r.ns = ?1 AND r.user = ?2 AND r.rated_at >= ?3 AND r.rated_at < ?4
      AND (?5 OR r.value IS NOT NULL)
    ORDER BY e.key";

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
    let mut batch = ScanBatch { connection, ns, options, rows: Vec::new() };
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
        let user_id: i64 = row.get(0).sql()?;
        let user = UserId::from(key(row, 1)?);
        let items = batch.add_user(user_id, &user)?.into_iter();
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
}

impl ScanBatch<'_> {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.options.batch_rows
    }

    /// Adds the user's rows, as many as there is room for; returns the items of the others. They are sorted
    /// once: a history costs its length, however small the batches.
    fn add_user(&mut self, user_id: i64, user: &UserId) -> Result<Vec<ItemId>> {
        let time = self.options.time.millis();
        let mut select = self.connection.prepare_cached(ROWS_OF_USER).sql()?;
        let mut found =
            select.query(params![self.ns, user_id, time.start, time.end, self.options.withdrawn]).sql()?;
        let mut rest = Vec::new();
        while let Some(row) = found.next().sql()? {
            let item = ItemId::from(key(row, 4)?);
            if self.is_full() {
                rest.push(item);
            } else {
                self.rows.push(row_of(row, user.clone(), item)?);
            }
        }
        Ok(rest)
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
