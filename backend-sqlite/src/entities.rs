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
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{SqlResult, damaged};
use crate::ratings::stored;

const SELECT_ENTITY: &str = "SELECT id, rating_stats FROM entities WHERE ns = ?1 AND kind = ?2 AND key = ?3";
const INSERT_ENTITY: &str = "INSERT INTO entities (id, ns, kind, key, hash, rating_count, rating_stats)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const UPDATE_STATS: &str = "UPDATE entities SET rating_count = ?2, rating_stats = ?3 WHERE id = ?1";
const SELECT_TOMBSTONE: &str =
    "SELECT erased_at, barred_until FROM tombstones WHERE ns = ?1 AND kind = ?2 AND hash = ?3";
const UPDATE_COUNTS: &str =
    "UPDATE namespaces SET ratings = ratings + ?2, withdrawn = withdrawn + ?3 WHERE id = ?1";
const ADD_VALUE: &str = "INSERT INTO value_counts (entity, value, count) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET count = count + excluded.count";
const TAKE_VALUE: &str = "UPDATE value_counts SET count = count - 1 WHERE entity = ?1 AND value = ?2";
const DROP_VALUE: &str = "DELETE FROM value_counts WHERE entity = ?1 AND value = ?2 AND count <= 0";
const EXTREME_VALUES: &str = "SELECT (SELECT min(value) FROM value_counts WHERE entity = ?1),
    (SELECT max(value) FROM value_counts WHERE entity = ?1)";

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
        if self.data_version != Some(version) {
            self.clear();
            self.data_version = Some(version);
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
        let insert = "INSERT INTO namespaces (name) VALUES (?1) ON CONFLICT DO NOTHING";
        connection.execute(insert, [namespace.as_str()]).sql()?;
        let select = "SELECT id FROM namespaces WHERE name = ?1";
        let id = connection.query_row(select, [namespace.as_str()], |row| row.get(0)).sql()?;
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
        let found = connection
            .prepare_cached(SELECT_ENTITY)
            .and_then(|mut select| {
                let row =
                    |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, decode_stats(row.get_ref(1)?)));
                select.query_row(params![ns, kind_code(kind), key.as_str()], row).optional()
            })
            .sql()?;
        let tombstone = self.tombstone(connection, erasure_key, ns, kind, key)?;
        let (id, stats, stored) = match found {
            Some((id, stats)) => (id, stats?, true),
            None => (self.take_id(connection)?, RatingStats::default(), false),
        };
        let slot = Slot(self.loaded.len());
        self.loaded.push(Loaded { id, ns, kind, key: key.clone(), stats, tombstone, stored, changed: false });
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

    /// Takes note of event times of the entity.
    pub(crate) fn observe(&mut self, slot: Slot, earliest: Timestamp, latest: Timestamp) {
        self.mark(slot);
        self.loaded[slot.0].stats.observe(earliest, latest);
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
            let (count, stats) = stored_stats(&loaded.stats, &mut buffer);
            if loaded.stored {
                update.execute(params![loaded.id, count, stats]).sql()?;
            } else {
                let (kind, hash) = (kind_code(loaded.kind), hash_code(stable_hash(loaded.key.as_str())));
                insert
                    .execute(params![loaded.id, loaded.ns, kind, loaded.key.as_str(), hash, count, stats])
                    .sql()?;
            }
            loaded.stored = true;
            loaded.changed = false;
        }
        for (ns, (ratings, withdrawn)) in self.counts.drain() {
            let mut update = connection.prepare_cached(UPDATE_COUNTS).sql()?;
            update.execute(params![ns, ratings, withdrawn]).sql()?;
        }
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
        let found: Option<(i64, i64)> = select
            .query_row(params![ns, kind_code(kind), &hash[..]], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .sql()?;
        let Some((erased_at, barred_until)) = found else { return Ok(None) };
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
        for sql in [TAKE_VALUE, DROP_VALUE] {
            connection.prepare_cached(sql).sql()?.execute(params![entity, old.micros()]).sql()?;
        }
    }
    Ok(())
}

/// Counts `count` more copies of a value of an entity.
pub(crate) fn add_value(connection: &Connection, entity: i64, value: RatingValue, count: u64) -> Result<()> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    connection.prepare_cached(ADD_VALUE).sql()?.execute(params![entity, value.micros(), count]).sql()?;
    Ok(())
}

/// The smallest and largest value of an overflowed entity: two steps into an index.
fn extreme_values(connection: &Connection, entity: i64) -> Result<Option<(RatingValue, RatingValue)>> {
    let mut select = connection.prepare_cached(EXTREME_VALUES).sql()?;
    let (min, max): (Option<i64>, Option<i64>) =
        select.query_row([entity], |row| Ok((row.get(0)?, row.get(1)?))).sql()?;
    match min.zip(max) {
        Some((min, max)) => {
            let value = |micros| RatingValue::from_micros(micros).map_err(stored);
            Ok(Some((value(min)?, value(max)?)))
        }
        None => Ok(None),
    }
}
