//! Text ids to small integers, and the statistics of users and items between load and flush.
//!
//! A transaction loads each user and item it touches once, changes the statistics in memory, and writes each
//! back once before it commits. What was loaded stays for the next transactions, as long as no other
//! connection has written (`PRAGMA data_version`): most events of a busy service need no read at all.

use std::collections::HashMap;

use recstore_core::extractor::Overflow;
use recstore_core::model::stable_hash;
use recstore_core::{
    EntityKey, EntityKind, ErasureKey, Namespace, RatingStats, RatingValue, Result, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use crate::bugs::{Bug, seeded};
use crate::checksum::{self, checksum_sql};
use crate::error::{SqlResult, damaged};
use crate::parameters;
use crate::ratings::stored;

/// What an [`Identity`] is read from; `$of` is the name of `entities` in the statement.
macro_rules! identity_sql {
    ($of:literal) => {
        concat!(
            $of,
            ".id, ",
            $of,
            ".ns, ",
            $of,
            ".kind, ",
            $of,
            ".key, ",
            $of,
            ".hash, ",
            $of,
            ".hidden, ",
            $of,
            ".checksum"
        )
    };
}
pub(crate) use identity_sql;

/// What [`Asked::number`] reads; `$of` is the name of `entities` in the statement.
macro_rules! number_sql {
    ($of:literal) => {
        concat!($of, ".id, ", $of, ".hash, ", $of, ".hidden, ", $of, ".checksum")
    };
}
pub(crate) use number_sql;

const NUMBER: &str =
    concat!("SELECT ", number_sql!("e"), " FROM entities e WHERE ns = ?1 AND kind = ?2 AND key = ?3");
/// The number with the statistics, by key.
pub(crate) const STATS_OF_KEY: &str = concat!(
    "SELECT ",
    number_sql!("e"),
    ", rating_count, rating_stats, stats_checksum FROM entities e WHERE ns = ?1 AND kind = ?2 AND key = ?3"
);
const INSERT_ENTITY: &str =
    "INSERT INTO entities (id, ns, kind, key, hash, checksum, rating_count, rating_stats, stats_checksum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const UPDATE_STATS: &str =
    "UPDATE entities SET rating_count = ?2, rating_stats = ?3, stats_checksum = ?4 WHERE id = ?1";
const UPDATE_HIDDEN: &str = "UPDATE entities SET hidden = ?2, checksum = ?3 WHERE id = ?1";
const SELECT_TOMBSTONE: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(tombstones),
    ", erased_at, barred_until FROM tombstones WHERE ns = ?1 AND kind = ?2 AND hash = ?3"
);
const INSERT_NAMESPACE: &str =
    "INSERT INTO namespaces (id, name, checksum) SELECT id, ?1, checksum_of('namespaces', id, ?1, 0, 0, 0)
    FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM namespaces)";
const SELECT_NAMESPACE: &str =
    concat!("SELECT checksum = ", checksum_sql!(namespaces), ", id FROM namespaces WHERE name = ?1");
/// Rows that are changed as they are must be intact, else they would become so.
const UPDATE_COUNTS: &str = concat!(
    "UPDATE namespaces SET ratings = ratings + ?2, withdrawn = withdrawn + ?3, releases = releases + ?4,
        checksum = checksum_of('namespaces', id, name, ratings + ?2, withdrawn + ?3, releases + ?4)
    WHERE id = ?1 AND checksum = ",
    checksum_sql!(namespaces)
);
const ADD_VALUE: &str = concat!(
    "INSERT INTO value_counts (entity, value, count, checksum)
    VALUES (?1, ?2, ?3, checksum_of('value_counts', ?1, ?2, ?3)) ON CONFLICT DO UPDATE SET
    count = count + excluded.count,
    checksum = checksum_of('value_counts', entity, value, count + excluded.count)
    WHERE checksum = ",
    checksum_sql!(value_counts)
);
const TAKE_VALUE: &str = concat!(
    "UPDATE value_counts SET count = count - 1, checksum = checksum_of('value_counts', entity, value, count - 1)
    WHERE entity = ?1 AND value = ?2 AND checksum = ",
    checksum_sql!(value_counts)
);
const DROP_VALUE: &str = "DELETE FROM value_counts WHERE entity = ?1 AND value = ?2 AND count <= 0";
const SMALLEST_VALUE: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(value_counts),
    ", value FROM value_counts WHERE entity = ?1 ORDER BY value LIMIT 1"
);
const LARGEST_VALUE: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(value_counts),
    ", value FROM value_counts WHERE entity = ?1 ORDER BY value DESC LIMIT 1"
);

/// Who a user or item is, as its row says, which was held against its checksum.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) key: EntityKey,
    pub(crate) hidden: bool,
}

impl Identity {
    /// Reads the columns of [`identity_sql`], which begin at `first`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn of(row: &Row<'_>, first: usize) -> Result<Identity> {
        let (id, hidden): (i64, bool) = (row.get(first).sql()?, row.get(first + 5).sql()?);
        let text = row.get_ref(first + 3).sql()?.as_str().map_err(|_| damaged("a stored id is damaged"))?;
        let checksum = checksum::of_entity(
            id,
            row.get(first + 1).sql()?,
            row.get(first + 2).sql()?,
            text,
            row.get(first + 4).sql()?,
            hidden,
        );
        checksum::hold(checksum == row.get::<_, i64>(first + 6).sql()?, "the id of a user or item")?;
        Ok(Identity { id, key: key(row, first + 3)?, hidden })
    }
}

/// A user or item that is looked up by its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    ns: i64,
    kind: i64,
    key: &'a str,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(ns: i64, kind: EntityKind, key: &'a str) -> Asked<'a> {
        Asked { ns, kind: kind_code(kind), key }
    }

    /// The number in a row of [`number_sql`], whose columns begin at `first`. The checksum is that of the key that was
    /// asked for: where a damaged index leads to another's row, it differs.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn number(&self, row: &Row<'_>, first: usize) -> Result<i64> {
        let (id, hash): (i64, i64) = (row.get(first).sql()?, row.get(first + 1).sql()?);
        let checksum = checksum::of_entity(id, self.ns, self.kind, self.key, hash, row.get(first + 2).sql()?);
        checksum::hold(checksum == row.get::<_, i64>(first + 3).sql()?, "the row that an id leads to")?;
        Ok(id)
    }

    /// Looks the number up.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn find(&self, connection: &Connection) -> Result<Option<i64>> {
        let mut select = connection.prepare_cached(NUMBER).sql()?;
        let values = params![self.ns, self.kind, self.key];
        select.query_row(values, |row| Ok(self.number(row, 0))).optional().sql()?.transpose()
    }

    /// Looks number and statistics up, by [`STATS_OF_KEY`]; or what is wrong with the row.
    pub(crate) fn stats(&self, select: &mut Statement<'_>) -> Result<Option<Result<(i64, RatingStats)>>> {
        let found = |row: &Row<'_>| {
            let id = self.number(row, 0)?;
            Ok((id, verified_stats(row, id, 4)?))
        };
        let values = params![self.ns, self.kind, self.key];
        select.query_row(values, |row| Ok(found(row))).optional().sql()
    }
}

/// Reads `rating_count, rating_stats, stats_checksum`, which begin at `first`, of the entity with this number.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn verified_stats(row: &Row<'_>, id: i64, first: usize) -> Result<RatingStats> {
    let stats = row.get_ref(first + 1).sql()?;
    let bytes = stats.as_blob_or_null().map_err(|_| damaged("rating statistics of another type"))?;
    let checksum = checksum::of_stats(id, row.get(first).sql()?, bytes);
    checksum::hold(checksum == row.get::<_, i64>(first + 2).sql()?, "the statistics of a user or item")?;
    decode_stats(stats)
}

/// Writes the statistics of an entity.
pub(crate) fn store_stats(
    connection: &Connection,
    id: i64,
    stats: &RatingStats,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let (count, stats) = stored_stats(stats, buffer);
    let values = params![id, count, stats, checksum::of_stats(id, count, stats)];
    connection.prepare_cached(UPDATE_STATS).sql()?.execute(values).sql()?;
    Ok(())
}

/// Adds to the counts of a namespace.
pub(crate) fn count(
    connection: &Connection,
    ns: i64,
    ratings: i64,
    withdrawn: i64,
    releases: i64,
) -> Result<()> {
    let mut update = connection.prepare_cached(UPDATE_COUNTS).sql()?;
    let updated = update.execute([ns, ratings, withdrawn, releases]).sql()?;
    checksum::hold(updated == 1, "the row of a namespace")
}

/// The number of a namespace, if anything was stored in it.
pub(crate) fn namespace_number(connection: &Connection, namespace: &Namespace) -> Result<Option<i64>> {
    let mut select = connection.prepare_cached(SELECT_NAMESPACE).sql()?;
    let found: Option<(bool, i64)> =
        select.query_row([namespace.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
    let Some((intact, id)) = found else { return Ok(None) };
    checksum::hold(intact, "the row of a namespace")?;
    Ok(Some(id))
}

/// The kind as it is stored.
pub(crate) fn kind_code(kind: EntityKind) -> i64 {
    match kind {
        EntityKind::User => 0,
        EntityKind::Item => 1,
    }
}

/// A hash as it is stored: SQLite's integers are signed, flipping the sign bit keeps the order.
pub(crate) fn hash_code(hash: u64) -> i64 {
    (hash ^ (1 << 63)) as i64
}

/// A loaded user or item; valid until the group's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// What an erasure left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tombstone {
    erased_at: Timestamp,
    barred_until: Timestamp,
}

#[derive(Debug)]
struct Loaded {
    id: i64,
    ns: i64,
    kind: EntityKind,
    key: EntityKey,
    stats: RatingStats,
    tombstone: Option<Tombstone>,
    /// Whether the row exists in the file.
    stored: bool,
    /// Whether the row must be written.
    changed: bool,
}

impl Loaded {
    fn hash(&self) -> i64 {
        hash_code(stable_hash(self.key.as_str()))
    }
}

/// The users and items that the writer knows.
#[derive(Debug)]
pub(crate) struct Entities {
    capacity: usize,
    namespaces: HashMap<Namespace, i64>,
    slots: HashMap<(i64, EntityKind, EntityKey), Slot>,
    loaded: Vec<Loaded>,
    changed: Vec<Slot>,
    counts: HashMap<i64, (i64, i64)>,
    next_id: Option<i64>,
    has_tombstones: Option<bool>,
    data_version: Option<i64>,
}

impl Entities {
    /// Knows nothing yet; forgets all when it knows more than `capacity`.
    pub(crate) fn new(capacity: usize) -> Entities {
        Entities {
            capacity,
            namespaces: HashMap::new(),
            slots: HashMap::new(),
            loaded: Vec::new(),
            changed: Vec::new(),
            counts: HashMap::new(),
            next_id: None,
            has_tombstones: None,
            data_version: None,
        }
    }

    /// Forgets everything, changes that were not flushed included.
    pub(crate) fn clear(&mut self) {
        *self = Entities::new(self.capacity);
    }

    /// Whether nothing is waiting to be written.
    pub(crate) fn is_clean(&self) -> bool {
        self.changed.is_empty() && self.counts.is_empty()
    }

    /// To be called when a write transaction has begun: forgets what another connection may have changed.
    pub(crate) fn begin(&mut self, connection: &Connection) -> Result<()> {
        let version = connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .sql()?;
        if self.data_version != Some(version) && !seeded(Bug::OverlooksOtherWriters) {
            self.clear();
            self.data_version = Some(version);
            // The first transaction of many a log, which then says whose it is.
            parameters::touch(connection)?;
        }
        Ok(())
    }

    /// To be called when the transaction is committed: keeps memory bounded.
    pub(crate) fn end(&mut self) {
        if self.loaded.len() > self.capacity {
            let version = self.data_version;
            self.clear();
            self.data_version = version;
        }
    }

    /// The number of a namespace, which is added if it is new.
    pub(crate) fn namespace(&mut self, connection: &Connection, namespace: &Namespace) -> Result<i64> {
        if let Some(&id) = self.namespaces.get(namespace) {
            return Ok(id);
        }
        let id = match namespace_number(connection, namespace)? {
            Some(id) => id,
            None => {
                connection.execute(INSERT_NAMESPACE, [namespace.as_str()]).sql()?;
                connection.last_insert_rowid()
            }
        };
        self.namespaces.insert(namespace.clone(), id);
        Ok(id)
    }

    /// Loads a user or item; one that is unknown gets a number, and a row only if it is changed.
    pub(crate) fn load(
        &mut self,
        connection: &Connection,
        erasure_key: &ErasureKey,
        ns: i64,
        kind: EntityKind,
        key: EntityKey,
    ) -> Result<Slot> {
        let known = (ns, kind, key);
        if let Some(&slot) = self.slots.get(&known) {
            return Ok(slot);
        }
        let key = &known.2;
        let mut select = connection.prepare_cached(STATS_OF_KEY).sql()?;
        let found = Asked::new(ns, kind, key.as_str()).stats(&mut select)?.transpose()?;
        let tombstone = self.tombstone(connection, erasure_key, ns, kind, key)?;
        let (id, stats, stored) = match found {
            Some((id, stats)) => (id, stats, true),
            None => (self.take_id(connection)?, RatingStats::default(), false),
        };
        let slot = Slot(self.loaded.len());
        let key = key.clone();
        self.loaded.push(Loaded { id, ns, kind, key, stats, tombstone, stored, changed: false });
        self.slots.insert(known, slot);
        Ok(slot)
    }

    /// The number of a loaded entity.
    pub(crate) fn id(&self, slot: Slot) -> i64 {
        self.loaded[slot.0].id
    }

    /// Whether events of this time are barred by an erasure.
    pub(crate) fn is_barred(&self, slot: Slot, time: Timestamp) -> bool {
        self.loaded[slot.0].tombstone.is_some_and(|tombstone| time <= tombstone.barred_until)
    }

    /// Whether the entity was erased at this time or later.
    pub(crate) fn is_erased_since(&self, slot: Slot, time: Timestamp) -> bool {
        self.loaded[slot.0].tombstone.is_some_and(|tombstone| time <= tombstone.erased_at)
    }

    /// Makes sure that the entity has a row after the next flush, and returns its number.
    pub(crate) fn keep(&mut self, slot: Slot) -> i64 {
        if !self.loaded[slot.0].stored {
            self.mark(slot);
        }
        self.id(slot)
    }

    /// Replaces a rating of the entity in its statistics.
    pub(crate) fn replace(
        &mut self,
        connection: &Connection,
        slot: Slot,
        old: Option<RatingValue>,
        new: Option<RatingValue>,
    ) -> Result<()> {
        self.mark(slot);
        let loaded = &mut self.loaded[slot.0];
        if old == new {
            return Ok(());
        }
        if loaded.stats.is_overflowed() {
            count_values(connection, loaded.id, old, new)?;
        }
        match loaded.stats.apply(old, new) {
            Overflow::None => {}
            Overflow::Began(counts) => {
                for (value, count) in counts {
                    add_value(connection, loaded.id, value, count)?;
                }
            }
            Overflow::ExtremeRemoved => loaded.stats.set_extremes(extreme_values(connection, loaded.id)?),
        }
        Ok(())
    }

    /// Takes note of the time of an event of the entity.
    pub(crate) fn observe(&mut self, slot: Slot, time: Timestamp) {
        self.mark(slot);
        self.loaded[slot.0].stats.observe(time, time);
    }

    /// The statistics of a loaded entity.
    pub(crate) fn stats(&self, slot: Slot) -> &RatingStats {
        &self.loaded[slot.0].stats
    }

    /// Sets the event times of a loaded entity anew.
    pub(crate) fn set_times(&mut self, slot: Slot, times: Option<(Timestamp, Timestamp)>) {
        self.mark(slot);
        self.loaded[slot.0].stats.set_times(times);
    }

    /// Counts pairs that came to be rated or withdrawn (negative: ceased to be).
    pub(crate) fn count(&mut self, ns: i64, ratings: i64, withdrawn: i64) {
        let counts = self.counts.entry(ns).or_default();
        counts.0 += ratings;
        counts.1 += withdrawn;
    }

    /// Writes everything that changed.
    pub(crate) fn flush(&mut self, connection: &Connection) -> Result<()> {
        let mut insert = connection.prepare_cached(INSERT_ENTITY).sql()?;
        let mut update = connection.prepare_cached(UPDATE_STATS).sql()?;
        let mut buffer = Vec::with_capacity(256);
        for slot in self.changed.drain(..) {
            let loaded = &mut self.loaded[slot.0];
            if loaded.stored && seeded(Bug::KeepsStatisticsBack) {
                continue;
            }
            let (count, stats) = stored_stats(&loaded.stats, &mut buffer);
            let stats_checksum = checksum::of_stats(loaded.id, count, stats);
            if loaded.stored {
                update.execute(params![loaded.id, count, stats, stats_checksum]).sql()?;
            } else {
                let (id, ns, kind, key) = (loaded.id, loaded.ns, kind_code(loaded.kind), loaded.key.as_str());
                let hash = loaded.hash();
                let checksum = checksum::of_entity(id, ns, kind, key, hash, false);
                let values = params![id, ns, kind, key, hash, checksum, count, stats, stats_checksum];
                insert.execute(values).sql()?;
            }
            loaded.stored = true;
            loaded.changed = false;
        }
        for (ns, (ratings, withdrawn)) in self.counts.drain() {
            count(connection, ns, ratings, withdrawn, 0)?;
        }
        Ok(())
    }

    /// Hides an entity that has a row, or shows it again.
    pub(crate) fn set_hidden(&mut self, connection: &Connection, slot: Slot, hidden: bool) -> Result<()> {
        let loaded = &mut self.loaded[slot.0];
        let (kind, key) = (kind_code(loaded.kind), loaded.key.as_str());
        let checksum = checksum::of_entity(loaded.id, loaded.ns, kind, key, loaded.hash(), hidden);
        let mut update = connection.prepare_cached(UPDATE_HIDDEN).sql()?;
        update.execute(params![loaded.id, hidden, checksum]).sql()?;
        Ok(())
    }

    fn mark(&mut self, slot: Slot) {
        let loaded = &mut self.loaded[slot.0];
        if !loaded.changed {
            loaded.changed = true;
            self.changed.push(slot);
        }
    }

    fn take_id(&mut self, connection: &Connection) -> Result<i64> {
        let id = match self.next_id {
            Some(id) => id,
            None => {
                let select = "SELECT coalesce(max(id), 0) + 1 FROM entities";
                connection.query_row(select, [], |row| row.get(0)).sql()?
            }
        };
        self.next_id = Some(id + 1);
        Ok(id)
    }

    /// Most files have no tombstone at all, which is asked once.
    fn tombstone(
        &mut self,
        connection: &Connection,
        erasure_key: &ErasureKey,
        ns: i64,
        kind: EntityKind,
        key: &EntityKey,
    ) -> Result<Option<Tombstone>> {
        let any = match self.has_tombstones {
            Some(any) => any,
            None => {
                let select = "SELECT EXISTS (SELECT 1 FROM tombstones)";
                connection.query_row(select, [], |row| row.get(0)).sql()?
            }
        };
        self.has_tombstones = Some(any);
        if !any {
            return Ok(None);
        }
        let hash = erasure_key.tombstone_of(kind, key.as_str());
        let mut select = connection.prepare_cached(SELECT_TOMBSTONE).sql()?;
        let found: Option<(bool, i64, i64)> = select
            .query_row(params![ns, kind_code(kind), &hash[..]], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .sql()?;
        let Some((intact, erased_at, barred_until)) = found else { return Ok(None) };
        checksum::hold(intact, "a tombstone")?;
        let time = |millis| Timestamp::from_millis(millis).map_err(|_| damaged("a tombstone is damaged"));
        Ok(Some(Tombstone { erased_at: time(erased_at)?, barred_until: time(barred_until)? }))
    }
}

/// Statistics as they are stored; `None` of an entity that never had a rating.
pub(crate) fn stored_stats<'a>(stats: &RatingStats, buffer: &'a mut Vec<u8>) -> (i64, Option<&'a [u8]>) {
    buffer.clear();
    if stats.times().is_none() {
        return (0, None);
    }
    stats.encode(buffer);
    // Counts are at most 1.7 × 10^14.
    (stats.count() as i64, Some(buffer.as_slice()))
}

/// Reads an id.
pub(crate) fn key(row: &Row<'_>, column: usize) -> Result<EntityKey> {
    let text = row.get_ref(column).sql()?.as_str().map_err(|_| damaged("a stored id is damaged"))?;
    EntityKey::new(text).map_err(|cause| damaged("a stored id is damaged").because(cause))
}

/// Reads a `rating_stats` column.
pub(crate) fn decode_stats(value: rusqlite::types::ValueRef<'_>) -> Result<RatingStats> {
    match value.as_blob_or_null() {
        Ok(None) => Ok(RatingStats::default()),
        Ok(Some(bytes)) => RatingStats::decode(bytes),
        Err(_) => Err(damaged("rating statistics of another type")),
    }
}

fn count_values(
    connection: &Connection,
    entity: i64,
    old: Option<RatingValue>,
    new: Option<RatingValue>,
) -> Result<()> {
    if let Some(new) = new {
        add_value(connection, entity, new, 1)?;
    }
    if let Some(old) = old {
        let values = params![entity, old.micros()];
        let taken = connection.prepare_cached(TAKE_VALUE).sql()?.execute(values).sql()?;
        checksum::hold(taken == 1, "the counts of values")?;
        connection.prepare_cached(DROP_VALUE).sql()?.execute(values).sql()?;
    }
    Ok(())
}

/// Counts `count` more copies of a value of an entity.
pub(crate) fn add_value(connection: &Connection, entity: i64, value: RatingValue, count: u64) -> Result<()> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let values = params![entity, value.micros(), count];
    let added = connection.prepare_cached(ADD_VALUE).sql()?.execute(values).sql()?;
    checksum::hold(added == 1, "the counts of values")
}

/// The smallest and largest value of an overflowed entity: two steps into an index.
fn extreme_values(connection: &Connection, entity: i64) -> Result<Option<(RatingValue, RatingValue)>> {
    let extreme = |sql: &str| -> Result<Option<RatingValue>> {
        let mut select = connection.prepare_cached(sql).sql()?;
        let found: Option<(bool, i64)> =
            select.query_row([entity], |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
        let Some((intact, micros)) = found else { return Ok(None) };
        checksum::hold(intact, "the counts of values")?;
        RatingValue::from_micros(micros).map(Some).map_err(stored)
    };
    Ok(extreme(SMALLEST_VALUE)?.zip(extreme(LARGEST_VALUE)?))
}
