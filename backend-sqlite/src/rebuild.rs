//! Computing the built-in features anew from the ratings.

use std::collections::BTreeMap;

use recstore_core::extractor::Overflow;
use recstore_core::{
    BayesianPrior, EntityKind, Namespace, RatingStats, RatingValue, RebuildReport, Result, Timestamp,
};
use rusqlite::{Connection, Row, params};

use crate::checksum::checksum_sql;
use crate::entities::{add_value, decode_stats, kind_code, store_stats};
use crate::error::SqlResult;
use crate::ratings::stored;
use crate::writer::Session;

/// Ratings in the order of one side, read through an index rather than sorted.
fn ratings_by(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::User => {
            "SELECT user, value, rated_at, first_rated_at FROM ratings WHERE ns = ?1 ORDER BY user"
        }
        EntityKind::Item => {
            "SELECT item, value, rated_at, first_rated_at FROM ratings INDEXED BY ratings_by_item_time
             WHERE ns = ?1 ORDER BY item"
        }
    }
}

fn without_ratings(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::User => {
            "UPDATE entities SET rating_count = 0, rating_stats = NULL,
                stats_checksum = checksum_of('stats', id, 0, NULL)
             WHERE ns = ?1 AND kind = ?2 AND rating_stats IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.ns = ?1 AND r.user = entities.id)"
        }
        EntityKind::Item => {
            "UPDATE entities SET rating_count = 0, rating_stats = NULL,
                stats_checksum = checksum_of('stats', id, 0, NULL)
             WHERE ns = ?1 AND kind = ?2 AND rating_stats IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM ratings r INDEXED BY ratings_by_item_time
                               WHERE r.ns = ?1 AND r.item = entities.id)"
        }
    }
}

/// Folds all ratings of a namespace, one entity at a time.
pub(crate) fn rebuild(
    session: &mut Session,
    namespace: &Namespace,
    prior: BayesianPrior,
) -> Result<RebuildReport> {
    let Session { connection, entities } = session;
    let ns = entities.namespace(connection, namespace)?;
    entities.flush(connection)?;
    let mut report = RebuildReport::default();
    report.users = rebuild_kind(connection, ns, EntityKind::User, prior, &mut report.changed)?;
    report.items = rebuild_kind(connection, ns, EntityKind::Item, prior, &mut report.changed)?;
    let counts = "UPDATE namespaces SET
        ratings = (SELECT count(value) FROM ratings WHERE ns = ?1),
        withdrawn = (SELECT count(*) - count(value) FROM ratings WHERE ns = ?1) WHERE id = ?1";
    connection.execute(counts, [ns]).sql()?;
    let seal = concat!("UPDATE namespaces SET checksum = ", checksum_sql!(namespaces), " WHERE id = ?1");
    connection.execute(seal, [ns]).sql()?;
    entities.clear();
    Ok(report)
}

fn rebuild_kind(
    connection: &Connection,
    ns: i64,
    kind: EntityKind,
    prior: BayesianPrior,
    changed: &mut u64,
) -> Result<u64> {
    let mut select = connection.prepare(ratings_by(kind)).sql()?;
    let mut rows = select.query([ns]).sql()?;
    let mut computed = 0;
    let mut fold: Option<Fold> = None;
    while let Some(row) = rows.next().sql()? {
        let entity = row.get(0).sql()?;
        if fold.as_ref().is_none_or(|fold| fold.entity != entity) {
            computed += 1;
            if let Some(done) = fold.replace(Fold::new(entity)) {
                *changed += u64::from(done.store(connection, prior)?);
            }
        }
        if let Some(fold) = &mut fold {
            fold.add(row)?;
        }
    }
    if let Some(done) = fold {
        *changed += u64::from(done.store(connection, prior)?);
    }
    *changed += connection.execute(without_ratings(kind), params![ns, kind_code(kind)]).sql()? as u64;
    Ok(computed)
}

/// The statistics of one entity while its ratings go by.
struct Fold {
    entity: i64,
    stats: RatingStats,
    /// Counts of distinct values, once there are more than the statistics hold.
    counts: BTreeMap<RatingValue, u64>,
}

impl Fold {
    fn new(entity: i64) -> Fold {
        Fold { entity, stats: RatingStats::default(), counts: BTreeMap::new() }
    }

    fn add(&mut self, row: &Row<'_>) -> Result<()> {
        let micros: Option<i64> = row.get(1).sql()?;
        let value = micros.map(RatingValue::from_micros).transpose().map_err(stored)?;
        let last = Timestamp::from_millis(row.get(2).sql()?).map_err(stored)?;
        let first = Timestamp::from_millis(row.get(3).sql()?).map_err(stored)?;
        if let Some(value) = value.filter(|_| self.stats.is_overflowed()) {
            *self.counts.entry(value).or_default() += 1;
        }
        if let Overflow::Began(counts) = self.stats.apply(None, value) {
            self.counts = counts.into_iter().collect();
        }
        self.stats.observe(first, last);
        Ok(())
    }

    /// Writes the statistics; whether the features that were stored differ.
    fn store(self, connection: &Connection, prior: BayesianPrior) -> Result<bool> {
        let mut select =
            connection.prepare_cached("SELECT rating_stats FROM entities WHERE id = ?1").sql()?;
        let before = select.query_row([self.entity], |row| Ok(decode_stats(row.get_ref(0)?))).sql()?;
        // Damaged statistics are what a rebuild is for.
        let differs = before.map_or(true, |before| before.finish(prior) != self.stats.finish(prior));
        let mut buffer = Vec::new();
        store_stats(connection, self.entity, &self.stats, &mut buffer)?;
        connection
            .prepare_cached("DELETE FROM value_counts WHERE entity = ?1")
            .sql()?
            .execute([self.entity])
            .sql()?;
        for (value, count) in self.counts {
            add_value(connection, self.entity, value, count)?;
        }
        Ok(differs)
    }
}
