//! Erasing one user or item from everything, and the tombstone it leaves.

use std::time::Duration;

use recstore_core::{
    Entity, EntityKey, EntityKind, EraseReport, ErasureKey, Namespace, RatingRow, RatingValue, Result,
    StoreContext, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::checksum::{self, checksum_sql};
use crate::entities::{Asked, Entities, Identity, identity_sql, kind_code};
use crate::error::{SqlResult, damaged};
use crate::parameters::count_renaming;
use crate::ratings::{stored, verified_row};
use crate::similarities::{LIST, NEIGHBOUR_BYTES, count_lists, entity_of, releases, verified_list};
use crate::writer::Session;

/// Ratings taken away at a time, to bound memory.
const CHUNK: i64 = 10_000;

/// Where the clock went back, an earlier erasure keeps its times, and the erasure is not before the begin of a
/// release that is being built: its lists may still name the entity.
const PUT_TOMBSTONE: &str = "INSERT INTO tombstones (ns, kind, hash, erased_at, barred_until, checksum)
    VALUES (?1, ?2, ?3,
        max(?4, coalesce((SELECT max(created_at) FROM releases WHERE ns = ?1 AND sealed = 0), 0)), ?5, 0) ON CONFLICT DO UPDATE SET
    erased_at = max(erased_at, excluded.erased_at), barred_until = max(barred_until, excluded.barred_until)
    RETURNING barred_until";
const SEAL_TOMBSTONE: &str = concat!(
    "UPDATE tombstones SET checksum = ",
    checksum_sql!(tombstones),
    " WHERE ns = ?1 AND kind = ?2 AND hash = ?3"
);
const SELECT_TOMBSTONE: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(tombstones),
    ", barred_until FROM tombstones WHERE ns = ?1 AND kind = ?2 AND hash = ?3"
);

/// A rating as [`verified_row`] reads it, and the identity of the other side.
macro_rules! ratings_sql {
    ($from:literal, $other:literal, $own:literal) => {
        concat!(
            "SELECT r.value, r.rated_at, r.first_rated_at, r.event_id, r.ns, r.user, r.item, r.checksum, ",
            identity_sql!("e"),
            " FROM ratings r ",
            $from,
            " CROSS JOIN entities e ON e.id = r.",
            $other,
            " WHERE r.ns = ?1 AND r.",
            $own,
            " = ?2 LIMIT ?3"
        )
    };
}

/// The SQL that differs between users and items. Left alone, the planner would rather read a namespace's
/// whole primary key than go through the index by item, hence `INDEXED BY`.
struct Side {
    ratings: &'static str,
    delete: &'static str,
    times_of_other: &'static str,
    count: &'static str,
}

const USER: Side = Side {
    ratings: ratings_sql!("", "item", "user"),
    delete: "DELETE FROM ratings WHERE ns = ?1 AND user = ?2 AND item = ?3",
    times_of_other: concat!(
        "SELECT min(first_rated_at), max(rated_at), min(checksum = ",
        checksum_sql!(ratings),
        ") FROM ratings INDEXED BY ratings_by_item_time WHERE ns = ?1 AND item = ?2"
    ),
    count: "SELECT count(*) FROM ratings WHERE ns = ?1 AND user = ?2",
};
const ITEM: Side = Side {
    ratings: ratings_sql!("INDEXED BY ratings_by_item_time", "user", "item"),
    delete: "DELETE FROM ratings WHERE ns = ?1 AND item = ?2 AND user = ?3",
    times_of_other: concat!(
        "SELECT min(first_rated_at), max(rated_at), min(checksum = ",
        checksum_sql!(ratings),
        ") FROM ratings WHERE ns = ?1 AND user = ?2"
    ),
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
        if let Some(barred_until) = self.barred_until(connection, ns)? {
            report.barred_until = report.barred_until.max(barred_until);
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
            count_renaming(connection)?;
        }
        // The numbers and the tombstones it knows are no longer right.
        entities.clear();
        Ok(report)
    }

    fn empty_report(&self, barred_until: Timestamp) -> EraseReport {
        EraseReport { ratings: 0, feature_rows: 0, neighbour_lists: 0, neighbour_entries: 0, barred_until }
    }

    fn number(&self, connection: &Connection, ns: i64) -> Result<Option<i64>> {
        Asked::new(ns, self.entity.kind, self.entity.key.as_str()).find(connection)
    }

    /// Until when an earlier erasure bars events.
    fn barred_until(&self, connection: &Connection, ns: i64) -> Result<Option<Timestamp>> {
        let hash = self.erasure_key.tombstone(&self.entity);
        let values = params![ns, kind_code(self.entity.kind), &hash[..]];
        let found: Option<(bool, i64)> = connection
            .query_row(SELECT_TOMBSTONE, values, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .sql()?;
        let Some((intact, millis)) = found else { return Ok(None) };
        checksum::hold(intact, "a tombstone")?;
        Timestamp::from_millis(millis).map(Some).map_err(stored)
    }

    fn put_tombstone(&self, connection: &Connection, ns: i64) -> Result<Timestamp> {
        self.barred_until(connection, ns)?;
        let hash = self.erasure_key.tombstone(&self.entity);
        let until = self.now.saturating_add(self.skew);
        let values =
            params![ns, kind_code(self.entity.kind), &hash[..], self.now.as_millis(), until.as_millis()];
        let millis = connection.query_row(PUT_TOMBSTONE, values, |row| row.get(0)).sql()?;
        connection.execute(SEAL_TOMBSTONE, params![ns, kind_code(self.entity.kind), &hash[..]]).sql()?;
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
                return self.none_left(connection, ns, id).map(|()| erased);
            }
        }
    }

    /// A rating whose other side has no row is not seen by [`chunk`](Self::chunk), and must not stay.
    fn none_left(&self, connection: &Connection, ns: i64, id: i64) -> Result<()> {
        let left: i64 = connection.query_row(self.side().count, [ns, id], |row| row.get(0)).sql()?;
        if left == 0 {
            return Ok(());
        }
        Err(damaged(format!("{left} ratings are of users or items that have no row, nothing was erased")))
    }

    fn chunk(&self, connection: &Connection, ns: i64, id: i64) -> Result<Vec<Gone>> {
        let mut select = connection.prepare_cached(self.side().ratings).sql()?;
        let mut rows = select.query([ns, id, CHUNK]).sql()?;
        let mut chunk = Vec::new();
        while let Some(row) = rows.next().sql()? {
            let Identity { id: other, key, .. } = Identity::of(row, 8)?;
            let (user, item) = match self.entity.kind {
                EntityKind::User => (self.entity.key.clone(), key.clone()),
                EntityKind::Item => (key.clone(), self.entity.key.clone()),
            };
            let RatingRow { rating, first_rated_at } = verified_row(row, user.into(), item.into())?;
            let (value, rated_at) = (rating.value(), rating.rated_at());
            chunk.push(Gone { other, key, value, rated_at, first_rated_at });
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
            let (first, last, intact): (Option<i64>, Option<i64>, Option<bool>) = select
                .query_row([ns, gone.other], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .sql()?;
            checksum::hold(intact != Some(false), "a rating")?;
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
        let update =
            "UPDATE neighbour_lists SET neighbours = ?3, checksum = ?4 WHERE release = ?1 AND entity = ?2";
        let mut update = connection.prepare_cached(update).sql()?;
        let mut select = connection.prepare_cached(LIST).sql()?;
        let mut list_of = |release: i64, owner: i64| {
            let list = |row: &Row<'_>| Ok(verified_list(row).map(<[u8]>::to_vec));
            select.query_row([release, owner], list).optional().sql()?.transpose()
        };
        for release in releases(connection, ns, self.entity.kind)? {
            let own = list_of(release.id, id)?;
            let delete = "DELETE FROM neighbour_lists WHERE release = ?1 AND entity = ?2";
            connection.execute(delete, [release.id, id]).sql()?;
            let naming = lists_naming(connection, release.id, id)?;
            for owner in &naming {
                let list = list_of(release.id, *owner)?.unwrap_or_default();
                let kept = list.chunks_exact(NEIGHBOUR_BYTES).filter(|entry| entity_of(entry) != id);
                let kept = kept.flatten().copied().collect::<Vec<u8>>();
                let checksum = checksum::of_neighbours(release.id, *owner, &kept);
                update.execute(params![release.id, owner, kept, checksum]).sql()?;
            }
            connection
                .execute("DELETE FROM popular WHERE release = ?1 AND entity = ?2", [release.id, id])
                .sql()?;
            let own_neighbours = own.as_ref().map_or(0, |list| list.len() / NEIGHBOUR_BYTES);
            let (lists, neighbours) = (i64::from(own.is_some()), (own_neighbours + naming.len()) as i64);
            count_lists(connection, release.id, -lists, -neighbours)?;
            report.neighbour_lists += lists as u64;
            report.neighbour_entries += naming.len() as u64;
        }
        Ok(())
    }
}

/// The owners of lists that name an entity. Erasures are rare: all lists of the release are read, and no
/// index by neighbour is kept for them.
fn lists_naming(connection: &Connection, release: i64, entity: i64) -> Result<Vec<i64>> {
    let select = "SELECT release, entity, neighbours, checksum FROM neighbour_lists WHERE release = ?1 AND entity <> ?2";
    let mut select = connection.prepare_cached(select).sql()?;
    let mut rows = select.query([release, entity]).sql()?;
    let mut owners = Vec::new();
    while let Some(row) = rows.next().sql()? {
        let list = verified_list(row)?;
        if list.chunks_exact(NEIGHBOUR_BYTES).any(|entry| entity_of(entry) == entity) {
            owners.push(row.get(1).sql()?);
        }
    }
    Ok(owners)
}
