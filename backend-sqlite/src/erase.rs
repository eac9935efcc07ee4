//! Erasing one user or item from everything, and the tombstone it leaves.

use std::time::Duration;

use recstore_core::{
    Entity, EntityKey, EntityKind, EraseReport, ErasureKey, Namespace, RatingValue, Result, StoreContext,
    Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::entities::{Entities, key, kind_code};
use crate::error::{SqlResult, damaged};
use crate::ratings::stored;
use crate::similarities::{NEIGHBOUR_BYTES, entity_of, releases};
use crate::writer::Session;

/// Ratings taken away at a time, to bound memory.
const CHUNK: i64 = 10_000;

/// Where the clock went back, an earlier erasure keeps its times, and the erasure is not before the begin of a
/// release that is being built: its lists may still name the entity.
const PUT_TOMBSTONE: &str = "INSERT INTO tombstones (ns, kind, hash, erased_at, barred_until)
    VALUES (?1, ?2, ?3,
        max(?4, coalesce((SELECT max(created_at) FROM releases WHERE ns = ?1 AND sealed = 0), 0)), ?5) ON CONFLICT DO UPDATE SET
    erased_at = max(erased_at, excluded.erased_at), barred_until = max(barred_until, excluded.barred_until)
    RETURNING barred_until";

/// The SQL that differs between users and items. Left alone, the planner would rather read a namespace's
/// whole primary key than go through the index by item, hence `INDEXED BY`.
struct Side {
    ratings: &'static str,
    delete: &'static str,
    times_of_other: &'static str,
    count: &'static str,
}

const USER: Side = Side {
    ratings: "SELECT r.item, e.key, r.value, r.rated_at, r.first_rated_at FROM ratings r
        CROSS JOIN entities e ON e.id = r.item WHERE r.ns = ?1 AND r.user = ?2 LIMIT ?3",
    delete: "DELETE FROM ratings WHERE ns = ?1 AND user = ?2 AND item = ?3",
    times_of_other: "SELECT min(first_rated_at), max(rated_at) FROM ratings INDEXED BY ratings_by_item_time
        WHERE ns = ?1 AND item = ?2",
    count: "SELECT count(*) FROM ratings WHERE ns = ?1 AND user = ?2",
};
const ITEM: Side = Side {
    ratings: "SELECT r.user, e.key, r.value, r.rated_at, r.first_rated_at
        FROM ratings r INDEXED BY ratings_by_item_time CROSS JOIN entities e ON e.id = r.user WHERE r.ns = ?1 AND r.item = ?2 LIMIT ?3",
    delete: "DELETE FROM ratings WHERE ns = ?1 AND item = ?2 AND user = ?3",
    times_of_other: "SELECT min(first_rated_at), max(rated_at) FROM ratings WHERE ns = ?1 AND user = ?2",
    count: "SELECT count(*) FROM ratings INDEXED BY ratings_by_item_time WHERE ns = ?1 AND item = ?2",
};

/// What shall be erased, and when it was asked.
pub(crate) struct Erasure {
    namespace: Namespace,
    entity: Entity,
    erasure_key: ErasureKey,
    now: Timestamp,
    skew: Duration,
}

/// A rating that goes, seen from the other side.
struct Gone {
    other: i64,
    key: EntityKey,
    value: Option<RatingValue>,
    rated_at: Timestamp,
    first_rated_at: Timestamp,
}

impl Erasure {
    pub(crate) fn new(context: &StoreContext, namespace: Namespace, entity: Entity) -> Erasure {
        Erasure {
            namespace,
            entity,
            erasure_key: context.erasure_key.clone(),
            now: context.clock.now(),
            skew: context.limits.max_future_skew,
        }
    }

    fn side(&self) -> &'static Side {
        match self.entity.kind {
            EntityKind::User => &USER,
            EntityKind::Item => &ITEM,
        }
    }

    /// Counts what would be erased.
    pub(crate) fn count(&self, connection: &Connection, ns: Option<i64>) -> Result<EraseReport> {
        let mut report = self.empty_report(self.now.saturating_add(self.skew));
        let Some(ns) = ns else { return Ok(report) };
        let select = "SELECT barred_until FROM tombstones WHERE ns = ?1 AND kind = ?2 AND hash = ?3";
        let hash = self.erasure_key.tombstone(&self.entity);
        let barred: Option<i64> = connection
            .query_row(select, params![ns, kind_code(self.entity.kind), &hash[..]], |row| row.get(0))
            .optional()
            .sql()?;
        if let Some(millis) = barred {
            report.barred_until = report.barred_until.max(Timestamp::from_millis(millis).map_err(stored)?);
        }
        let Some(id) = self.number(connection, ns)? else { return Ok(report) };
        let count = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<u64> {
            let count: i64 = connection.query_row(sql, values, |row| row.get(0)).sql()?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        report.ratings = count(self.side().count, &[&ns, &id])?;
        report.feature_rows = count("SELECT count(*) FROM feature_rows WHERE entity = ?1", &[&id])?;
        for release in releases(connection, ns, self.entity.kind)? {
            let own = "SELECT count(*) FROM neighbour_lists WHERE release = ?1 AND entity = ?2";
            report.neighbour_lists += count(own, &[&release.id, &id])?;
            report.neighbour_entries += lists_naming(connection, release.id, id)?.len() as u64;
        }
        Ok(report)
    }

    /// Erases everything and leaves the tombstone.
    pub(crate) fn run(&self, session: &mut Session) -> Result<EraseReport> {
        let Session { connection, entities } = session;
        let ns = entities.namespace(connection, &self.namespace)?;
        // What follows reads and writes rows that the group may have changed in memory.
        entities.flush(connection)?;
        let mut report = self.empty_report(self.put_tombstone(connection, ns)?);
        if let Some(id) = self.number(connection, ns)? {
            report.ratings = self.erase_ratings(connection, entities, ns, id)?;
            let erased = connection.execute("DELETE FROM feature_rows WHERE entity = ?1", [id]).sql()?;
            report.feature_rows = erased as u64;
            self.erase_neighbours(connection, ns, id, &mut report)?;
            for sql in ["DELETE FROM value_counts WHERE entity = ?1", "DELETE FROM entities WHERE id = ?1"] {
                connection.execute(sql, [id]).sql()?;
            }
        }
        // The numbers and the tombstones it knows are no longer right.
        entities.clear();
        Ok(report)
    }

    fn empty_report(&self, barred_until: Timestamp) -> EraseReport {
        EraseReport { ratings: 0, feature_rows: 0, neighbour_lists: 0, neighbour_entries: 0, barred_until }
    }

    fn number(&self, connection: &Connection, ns: i64) -> Result<Option<i64>> {
        let select = "SELECT id FROM entities WHERE ns = ?1 AND kind = ?2 AND key = ?3";
        let values = params![ns, kind_code(self.entity.kind), self.entity.key.as_str()];
        connection.query_row(select, values, |row| row.get(0)).optional().sql()
    }

    fn put_tombstone(&self, connection: &Connection, ns: i64) -> Result<Timestamp> {
        let hash = self.erasure_key.tombstone(&self.entity);
        let until = self.now.saturating_add(self.skew);
        let values =
            params![ns, kind_code(self.entity.kind), &hash[..], self.now.as_millis(), until.as_millis()];
        let millis = connection.query_row(PUT_TOMBSTONE, values, |row| row.get(0)).sql()?;
        Timestamp::from_millis(millis).map_err(stored)
    }

    /// Takes the ratings away, from the statistics of the other side too, as if they had never been.
    fn erase_ratings(
        &self,
        connection: &Connection,
        entities: &mut Entities,
        ns: i64,
        id: i64,
    ) -> Result<u64> {
        let mut erased = 0;
        loop {
            let chunk = self.chunk(connection, ns, id)?;
            for gone in &chunk {
                connection.prepare_cached(self.side().delete).sql()?.execute([ns, id, gone.other]).sql()?;
                self.take_from_other(connection, entities, ns, gone)?;
            }
            erased += chunk.len() as u64;
            entities.flush(connection)?;
            entities.end();
            if chunk.is_empty() {
                return Ok(erased);
            }
        }
    }

    fn chunk(&self, connection: &Connection, ns: i64, id: i64) -> Result<Vec<Gone>> {
        let mut select = connection.prepare_cached(self.side().ratings).sql()?;
        let mut rows = select.query([ns, id, CHUNK]).sql()?;
        let mut chunk = Vec::new();
        while let Some(row) = rows.next().sql()? {
            let value: Option<i64> = row.get(2).sql()?;
            chunk.push(Gone {
                other: row.get(0).sql()?,
                key: key(row, 1)?,
                value: value.map(RatingValue::from_micros).transpose().map_err(stored)?,
                rated_at: Timestamp::from_millis(row.get(3).sql()?).map_err(stored)?,
                first_rated_at: Timestamp::from_millis(row.get(4).sql()?).map_err(stored)?,
            });
        }
        Ok(chunk)
    }

    fn take_from_other(
        &self,
        connection: &Connection,
        entities: &mut Entities,
        ns: i64,
        gone: &Gone,
    ) -> Result<()> {
        let kind = self.entity.kind.other();
        let slot = entities.load(connection, &self.erasure_key, ns, kind, gone.key.clone())?;
        entities.replace(connection, slot, gone.value, None)?;
        let counts = if gone.value.is_some() { (-1, 0) } else { (0, -1) };
        entities.count(ns, counts.0, counts.1);
        // Only where the erased pair was the first or the last are the other pairs read.
        let at_edge = |(first, last)| first == gone.first_rated_at || last == gone.rated_at;
        if entities.stats(slot).times().is_some_and(at_edge) {
            let mut select = connection.prepare_cached(self.side().times_of_other).sql()?;
            let (first, last): (Option<i64>, Option<i64>) =
                select.query_row([ns, gone.other], |row| Ok((row.get(0)?, row.get(1)?))).sql()?;
            let times = match first.zip(last) {
                Some((first, last)) => Some((
                    Timestamp::from_millis(first).map_err(stored)?,
                    Timestamp::from_millis(last).map_err(stored)?,
                )),
                None => None,
            };
            entities.set_times(slot, times);
        }
        Ok(())
    }

    fn erase_neighbours(
        &self,
        connection: &Connection,
        ns: i64,
        id: i64,
        report: &mut EraseReport,
    ) -> Result<()> {
        let mut update = connection
            .prepare_cached("UPDATE neighbour_lists SET neighbours = ?3 WHERE release = ?1 AND entity = ?2")
            .sql()?;
        let mut select = connection
            .prepare_cached("SELECT neighbours FROM neighbour_lists WHERE release = ?1 AND entity = ?2")
            .sql()?;
        for release in releases(connection, ns, self.entity.kind)? {
            let own: Option<Vec<u8>> =
                select.query_row([release.id, id], |row| row.get(0)).optional().sql()?;
            let delete = "DELETE FROM neighbour_lists WHERE release = ?1 AND entity = ?2";
            connection.execute(delete, [release.id, id]).sql()?;
            let naming = lists_naming(connection, release.id, id)?;
            for owner in &naming {
                let list: Vec<u8> = select.query_row([release.id, *owner], |row| row.get(0)).sql()?;
                let kept = list.chunks_exact(NEIGHBOUR_BYTES).filter(|entry| entity_of(entry) != id);
                update
                    .execute(params![release.id, owner, kept.flatten().copied().collect::<Vec<u8>>()])
                    .sql()?;
            }
            connection
                .execute("DELETE FROM popular WHERE release = ?1 AND entity = ?2", [release.id, id])
                .sql()?;
            let own_neighbours = own.as_ref().map_or(0, |list| list.len() / NEIGHBOUR_BYTES);
            let (lists, neighbours) = (i64::from(own.is_some()), (own_neighbours + naming.len()) as i64);
            let update_counts =
                "UPDATE releases SET lists = lists - ?2, neighbours = neighbours - ?3 WHERE id = ?1";
            connection.execute(update_counts, [release.id, lists, neighbours]).sql()?;
            report.neighbour_lists += lists as u64;
            report.neighbour_entries += naming.len() as u64;
        }
        Ok(())
    }
}

/// The owners of lists that name an entity. Erasures are rare: all lists of the release are read, and no
/// index by neighbour is kept for them.
fn lists_naming(connection: &Connection, release: i64, entity: i64) -> Result<Vec<i64>> {
    let mut select = connection
        .prepare_cached("SELECT entity, neighbours FROM neighbour_lists WHERE release = ?1 AND entity <> ?2")
        .sql()?;
    let mut rows = select.query([release, entity]).sql()?;
    let mut owners = Vec::new();
    while let Some(row) = rows.next().sql()? {
        let list = row.get_ref(1).sql()?.as_blob().map_err(|_| damaged("a neighbour list is damaged"))?;
        if list.chunks_exact(NEIGHBOUR_BYTES).any(|entry| entity_of(entry) == entity) {
            owners.push(row.get(0).sql()?);
        }
    }
    Ok(owners)
}
