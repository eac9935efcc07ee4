//! Reading everything once for the content hashes.

use std::collections::HashMap;

use recstore_core::{
    BayesianPrior, EntityKind, FingerprintBuilder, Fingerprints, GroupSchema, RatingCounts, Result, Timestamp,
};
use rusqlite::{Connection, params};

use crate::checksum::{self, checksum_sql};
use crate::entities::{Identity, identity_sql, kind_code, verified_stats};
use crate::error::{SqlResult, damaged};
use crate::features::{StoredRow, all_groups};
use crate::keys::Keys;
use crate::ratings::{count, stored, verified_row};
use crate::readers::Reader;
use crate::similarities::{current, hidden, verified_list};

/// The fingerprints of a namespace; the reader is within a transaction, so all from one state.
pub(crate) fn fingerprint(reader: &Reader, ns: i64, prior: BayesianPrior) -> Result<Fingerprints> {
    let mut builder = FingerprintBuilder::new();
    add_ratings(reader, ns, &mut builder)?;
    add_tombstones(reader, ns, &mut builder)?;
    for kind in [EntityKind::User, EntityKind::Item] {
        add_rating_features(reader, ns, kind, prior, &mut builder)?;
        add_neighbours(reader, ns, kind, &mut builder)?;
    }
    add_custom_features(reader, ns, &mut builder)?;
    for item in hidden(reader, Some(ns))? {
        builder.hidden(&item);
    }
    Ok(builder.finish())
}

fn add_ratings(connection: &Connection, ns: i64, builder: &mut FingerprintBuilder) -> Result<()> {
    let sql = concat!(
        "SELECT r.value, r.rated_at, r.first_rated_at, r.event_id, r.ns, r.user, r.item, r.checksum, ",
        identity_sql!("u"),
        ", ",
        identity_sql!("i"),
        " FROM ratings r LEFT JOIN entities u ON u.id = r.user LEFT JOIN entities i ON i.id = r.item
         WHERE r.ns = ?1"
    );
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query([ns]).sql()?;
    let mut seen = RatingCounts::default();
    while let Some(row) = rows.next().sql()? {
        let (user, item) = (Identity::of(row, 8)?.key, Identity::of(row, 15)?.key);
        let row = verified_row(row, user.into(), item.into())?;
        builder.rating(&row);
        *if row.rating.is_withdrawn() { &mut seen.withdrawn } else { &mut seen.ratings } += 1;
    }
    // Rows that damage has made unreachable must not be left out of a proof.
    checksum::hold(seen == count(connection, ns)?, "the number of ratings")
}

fn add_tombstones(connection: &Connection, ns: i64, builder: &mut FingerprintBuilder) -> Result<()> {
    let sql = concat!(
        "SELECT hash, erased_at, barred_until, checksum = ",
        checksum_sql!(tombstones),
        " FROM tombstones WHERE ns = ?1"
    );
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query([ns]).sql()?;
    while let Some(row) = rows.next().sql()? {
        checksum::hold(row.get(3).sql()?, "a tombstone")?;
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
    let sql = concat!(
        "SELECT ",
        identity_sql!("e"),
        ", rating_count, rating_stats, stats_checksum FROM entities e WHERE ns = ?1 AND kind = ?2"
    );
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query(params![ns, kind_code(kind)]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let Identity { id, key, .. } = Identity::of(row, 0)?;
        if let Some(features) = verified_stats(row, id, 7)?.finish(prior) {
            builder.rating_features(kind, &key, &features);
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
    let sql = concat!(
        "SELECT r.grp, r.entity, r.event_time, r.content_hash, r.content, r.checksum, ",
        identity_sql!("e"),
        " FROM entities e CROSS JOIN feature_rows r ON r.entity = e.id WHERE e.ns = ?1"
    );
    let mut select = connection.prepare(sql).sql()?;
    let mut rows = select.query([ns]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let found = StoredRow::of(row)?;
        let schema = groups.get(&found.grp).ok_or_else(|| damaged("a feature row has no group"))?;
        let event_time = Timestamp::from_millis(found.event_time).map_err(stored)?;
        builder.feature_row(schema, &Identity::of(row, 6)?.key, event_time, found.content);
    }
    Ok(())
}

fn add_neighbours(
    reader: &Reader,
    ns: i64,
    kind: EntityKind,
    builder: &mut FingerprintBuilder,
) -> Result<()> {
    let Some(release) = current(reader, ns, kind)? else { return Ok(()) };
    let sql = concat!(
        "SELECT l.release, l.entity, l.neighbours, l.checksum, ",
        identity_sql!("e"),
        " FROM neighbour_lists l LEFT JOIN entities e ON e.id = l.entity WHERE l.release = ?1"
    );
    let mut select = reader.prepare(sql).sql()?;
    let mut keys = Keys::new(reader, kind)?;
    let mut rows = select.query([release.id]).sql()?;
    while let Some(row) = rows.next().sql()? {
        builder.neighbours(kind, &Identity::of(row, 4)?.key, &keys.all(verified_list(row)?)?);
    }
    Ok(())
}
