//! Reading everything once for the content hashes.

use std::collections::HashMap;

use recstore_core::{
    BayesianPrior, EntityKind, FingerprintBuilder, Fingerprints, GroupSchema, ItemId, Result, Timestamp,
    UserId,
};
use rusqlite::{Connection, params};

use crate::entities::{decode_stats, key, kind_code};
use crate::error::{SqlResult, damaged};
use crate::features::all_groups;
use crate::ratings::{row_of, stored};
use crate::similarities::{Keys, current, hidden};

/// The fingerprints of a namespace; the connection is within a read transaction, so all from one state.
pub(crate) fn fingerprint(connection: &Connection, ns: i64, prior: BayesianPrior) -> Result<Fingerprints> {
    let mut builder = FingerprintBuilder::new();
    add_ratings(connection, ns, &mut builder)?;
    add_tombstones(connection, ns, &mut builder)?;
    for kind in [EntityKind::User, EntityKind::Item] {
        add_rating_features(connection, ns, kind, prior, &mut builder)?;
        add_neighbours(connection, ns, kind, &mut builder)?;
    }
    add_custom_features(connection, ns, &mut builder)?;
    for item in hidden(connection, Some(ns))? {
        builder.hidden(&item);
    }
    Ok(builder.finish())
}

fn add_ratings(connection: &Connection, ns: i64, builder: &mut FingerprintBuilder) -> Result<()> {
    let sql = "SELECT r.value, r.rated_at, r.first_rated_at, r.event_id, u.key, i.key FROM ratings r
        JOIN entities u ON u.id = r.user JOIN entities i ON i.id = r.item WHERE r.ns = ?1";
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query([ns]).sql()?;
    while let Some(row) = rows.next().sql()? {
        builder.rating(&row_of(row, UserId::from(key(row, 4)?), ItemId::from(key(row, 5)?))?);
    }
    Ok(())
}

fn add_tombstones(connection: &Connection, ns: i64, builder: &mut FingerprintBuilder) -> Result<()> {
    let sql = "SELECT hash, erased_at, barred_until FROM tombstones WHERE ns = ?1";
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query([ns]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let hash: [u8; 16] = row.get(0).sql()?;
        let time = |column: usize| Timestamp::from_millis(row.get(column).sql()?).map_err(stored);
        builder.tombstone(&hash, time(1)?, time(2)?);
    }
    Ok(())
}

fn add_rating_features(
    connection: &Connection,
    ns: i64,
    kind: EntityKind,
    prior: BayesianPrior,
    builder: &mut FingerprintBuilder,
) -> Result<()> {
    let sql = "SELECT key, rating_stats FROM entities WHERE ns = ?1 AND kind = ?2 AND rating_count > 0";
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query(params![ns, kind_code(kind)]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let stats = decode_stats(row.get_ref(1).sql()?)?;
        if let Some(features) = stats.finish(prior) {
            builder.rating_features(kind, &key(row, 0)?, &features);
        }
    }
    Ok(())
}

/// One pass over the rows of the namespace, whatever the number of groups: there is no index by group.
fn add_custom_features(connection: &Connection, ns: i64, builder: &mut FingerprintBuilder) -> Result<()> {
    let groups: HashMap<i64, GroupSchema> = all_groups(connection, ns)?.into_iter().collect();
    if groups.is_empty() {
        return Ok(());
    }
    groups.values().for_each(|schema| builder.group(schema));
    let sql = "SELECT r.grp, e.key, r.event_time, r.content FROM entities e
        CROSS JOIN feature_rows r ON r.entity = e.id WHERE e.ns = ?1";
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query([ns]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let schema = groups.get(&row.get(0).sql()?).ok_or_else(|| damaged("a feature row has no group"))?;
        let event_time = Timestamp::from_millis(row.get(2).sql()?).map_err(stored)?;
        let content = row.get_ref(3).sql()?.as_blob().map_err(|_| damaged("a feature row is damaged"))?;
        builder.feature_row(schema, &key(row, 1)?, event_time, content);
    }
    Ok(())
}

fn add_neighbours(
    connection: &Connection,
    ns: i64,
    kind: EntityKind,
    builder: &mut FingerprintBuilder,
) -> Result<()> {
    let Some(release) = current(connection, ns, kind)? else { return Ok(()) };
    let sql = "SELECT e.key, l.neighbours FROM neighbour_lists l JOIN entities e ON e.id = l.entity
        WHERE l.release = ?1";
    let mut select = connection.prepare(sql).sql()?;
    let mut keys = Keys::new(connection, kind)?;
    let mut rows = select.query([release.id]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let list = row.get_ref(1).sql()?.as_blob().map_err(|_| damaged("a neighbour list is damaged"))?;
        builder.neighbours(kind, &key(row, 0)?, &keys.all(list)?);
    }
    Ok(())
}
