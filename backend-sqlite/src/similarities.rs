//! The similarity store: releases of neighbour lists.

use async_trait::async_trait;
use recstore_core::{
    EntityKey, EntityKind, ErasureKey, Error, ErrorKind, Found, GetOptions, ItemId, Lookup, Measure,
    Namespace, Neighbour, NeighbourAnswer, NeighbourList, NeighbourRequest, Origin, Popular, PruneOptions,
    PutOptions, ReleaseId, ReleaseInfo, ReleaseSpec, ReleaseState, Result, SimilarityOptions,
    SimilarityStore, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStorage;
use crate::checksum::{self, checksum_sql};
use crate::entities::{Asked, Entities, Identity, count, identity_sql, kind_code, number_sql};
use crate::error::{SqlResult, damaged};
use crate::keys::Keys;
use crate::parameters::count_renaming;
use crate::readers::Reader;
use crate::writer::Session;

/// Columns of the releases of a namespace, whether one is the current one of its kind, and whether it is intact.
const RELEASES: &str = concat!(
    "SELECT id, name, kind, measure, k, min_common, shrinkage, created_at, sealed, promotion, lists, neighbours,
    promotion = (SELECT max(c.promotion) FROM releases c WHERE c.ns = r.ns AND c.kind = r.kind), checksum = ",
    checksum_sql!(releases),
    " FROM releases r WHERE ns = ?1 ORDER BY name DESC"
);
const COUNT_RELEASES: &str =
    concat!("SELECT checksum = ", checksum_sql!(namespaces), ", releases FROM namespaces WHERE id = ?1");
const INSERT_RELEASE: &str =
    "INSERT INTO releases (ns, name, kind, measure, k, min_common, shrinkage, created_at, checksum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)";
/// To follow every change of a release.
const SEAL_RELEASE: &str =
    concat!("UPDATE releases SET checksum = ", checksum_sql!(releases), " WHERE id = ?1");
pub(crate) const LIST: &str = "SELECT release, entity, neighbours, checksum FROM neighbour_lists
    WHERE release = ?1 AND entity = ?2";
const LIST_OF_KEY: &str = concat!(
    "SELECT l.release, l.entity, l.neighbours, l.checksum, ",
    number_sql!("e"),
    " FROM entities e CROSS JOIN neighbour_lists l
     WHERE l.release = ?1 AND e.ns = ?2 AND e.kind = ?3 AND e.key = ?4 AND l.entity = e.id"
);
const PUT_LIST: &str = "INSERT INTO neighbour_lists (release, entity, neighbours, checksum)
    VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET neighbours = excluded.neighbours, checksum = excluded.checksum";
const POPULAR: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(popular),
    ", entity, ratings FROM popular WHERE release = ?1 ORDER BY rank"
);
const HIDDEN: &str = concat!(
    "SELECT ",
    identity_sql!("e"),
    " FROM entities e WHERE ns = ?1 AND kind = 1 AND hidden = 1 ORDER BY key"
);

/// A neighbour as it is stored: entity `i64`, similarity `f64`, common raters `u32`, little-endian.
pub(crate) const NEIGHBOUR_BYTES: usize = 20;

#[async_trait]
impl SimilarityStore for SqliteStorage {
    async fn begin_release(&self, spec: ReleaseSpec) -> Result<ReleaseId> {
        self.admit(None)?;
        spec.options.validate()?;
        let (namespace, now) = (self.namespace_name().clone(), self.context().clock.now());
        self.write(1, None, move |session| begin(session, &namespace, spec, now)).await
    }

    async fn put_neighbours(
        &self,
        release: &ReleaseId,
        mut lists: Vec<NeighbourList>,
        options: PutOptions,
    ) -> Result<()> {
        self.admit(options.deadline)?;
        for (index, list) in lists.iter_mut().enumerate() {
            list.validate().map_err(|error| error.in_field(format_args!("lists[{index}]")))?;
            list.neighbours
                .sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.id.cmp(&b.id)));
        }
        let target = self.target(release);
        self.write(lists.len(), options.deadline, move |session| put_lists(session, &target, &lists)).await
    }

    async fn seal_release(&self, release: &ReleaseId, popular: Vec<Popular>) -> Result<ReleaseInfo> {
        let target = self.target(release);
        self.write(1, None, move |session| seal(session, &target, &popular)).await
    }

    async fn promote_release(&self, release: &ReleaseId) -> Result<ReleaseInfo> {
        let target = self.target(release);
        self.write(1, None, move |session| promote(session, &target)).await
    }

    async fn rollback_release(&self, kind: EntityKind) -> Result<ReleaseInfo> {
        let namespace = self.namespace_name().clone();
        self.write(1, None, move |session| roll_back(session, &namespace, kind)).await
    }

    async fn prune_releases(&self, kind: EntityKind, options: PruneOptions) -> Result<Vec<ReleaseId>> {
        let (namespace, now) = (self.namespace_name().clone(), self.context().clock.now());
        self.write(1, None, move |session| prune(session, &namespace, kind, options, now)).await
    }

    async fn releases(&self, kind: EntityKind) -> Result<Vec<ReleaseInfo>> {
        self.read(None, move |connection, ns| {
            let releases = ns.map_or(Ok(Vec::new()), |ns| releases(connection, ns, kind))?;
            Ok(releases.into_iter().map(|release| release.info).collect())
        })
        .await
    }

    async fn get_neighbours(&self, request: NeighbourRequest) -> Result<NeighbourAnswer> {
        self.read_rows(request.ids.len(), request.deadline, move |reader, ns| get_lists(reader, ns, &request))
            .await
    }

    async fn get_popular(&self, kind: EntityKind, limit: usize, options: GetOptions) -> Result<Vec<Popular>> {
        self.read_rows(limit, options.deadline, move |reader, ns| {
            let current = ns.map_or(Ok(None), |ns| current(reader, ns, kind))?;
            current.map_or(Ok(Vec::new()), |release| popular(reader, &release, limit))
        })
        .await
    }

    async fn hide_items(&self, items: Vec<ItemId>) -> Result<()> {
        self.set_hidden(items, true).await
    }

    async fn unhide_items(&self, items: Vec<ItemId>) -> Result<()> {
        self.set_hidden(items, false).await
    }

    async fn hidden_items(&self) -> Result<Vec<ItemId>> {
        self.read_all(None, |reader, ns| hidden(reader, ns)).await
    }
}

/// Which release of which namespace a write is about.
struct Target {
    namespace: Namespace,
    release: ReleaseId,
    erasure_key: ErasureKey,
}

/// A release with its number.
pub(crate) struct Release {
    pub(crate) id: i64,
    pub(crate) info: ReleaseInfo,
}

impl SqliteStorage {
    fn target(&self, release: &ReleaseId) -> Target {
        Target {
            namespace: self.namespace_name().clone(),
            release: release.clone(),
            erasure_key: self.context().erasure_key.clone(),
        }
    }

    async fn set_hidden(&self, items: Vec<ItemId>, hidden: bool) -> Result<()> {
        let (namespace, erasure_key) = (self.namespace_name().clone(), self.context().erasure_key.clone());
        self.write(items.len(), None, move |session| {
            let Session { connection, entities } = session;
            let ns = entities.namespace(connection, &namespace)?;
            let mut slots = Vec::with_capacity(items.len());
            for item in &items {
                let slot =
                    entities.load(connection, &erasure_key, ns, EntityKind::Item, item.clone().into())?;
                entities.keep(slot);
                slots.push(slot);
            }
            entities.flush(connection)?;
            count_renaming(connection)?;
            slots.into_iter().try_for_each(|slot| entities.set_hidden(connection, slot, hidden))
        })
        .await
    }
}

fn not_found(release: &ReleaseId) -> Error {
    Error::new(ErrorKind::NotFound, "no such release").on(format!("release {release}"))
}

fn begin(
    session: &mut Session,
    namespace: &Namespace,
    spec: ReleaseSpec,
    now: Timestamp,
) -> Result<ReleaseId> {
    let Session { connection, entities } = session;
    let ns = entities.namespace(connection, namespace)?;
    let id = free_id(connection, ns, spec.kind, now)?;
    let SimilarityOptions { measure, k, min_common, shrinkage } = spec.options;
    let (kind, created_at) = (kind_code(spec.kind), now.as_millis());
    let values =
        params![ns, id.as_str(), kind, measure.as_str(), k as i64, min_common, shrinkage, created_at];
    connection.execute(INSERT_RELEASE, values).sql()?;
    connection.prepare_cached(SEAL_RELEASE).sql()?.execute([connection.last_insert_rowid()]).sql()?;
    count(connection, ns, 0, 0, 1)?;
    Ok(id)
}

/// Changes columns of a release, which was held against its checksum before.
pub(crate) fn change_release(connection: &Connection, id: i64, changes: &str) -> Result<()> {
    let mut change = connection.prepare(&format!("UPDATE releases SET {changes} WHERE id = ?1")).sql()?;
    change.execute([id]).sql()?;
    connection.prepare_cached(SEAL_RELEASE).sql()?.execute([id]).sql()?;
    Ok(())
}

/// The first name after those of the same millisecond, so that newer releases sort after older ones.
fn free_id(connection: &Connection, ns: i64, kind: EntityKind, now: Timestamp) -> Result<ReleaseId> {
    let select = "SELECT max(name) FROM releases WHERE ns = ?1 AND kind = ?2 AND created_at = ?3";
    let newest: Option<String> = connection
        .query_row(select, params![ns, kind_code(kind), now.as_millis()], |row| row.get(0))
        .sql()?;
    let mut ordinal = 0;
    loop {
        let id = ReleaseId::new(kind, now, ordinal);
        if newest.as_deref().is_none_or(|newest| id.as_str() > newest) {
            return Ok(id);
        }
        ordinal += 1;
    }
}

fn release_of(row: &Row<'_>) -> Result<Release> {
    checksum::hold(row.get(13).sql()?, "a release")?;
    let kind = if row.get::<_, i64>(2).sql()? == 0 { EntityKind::User } else { EntityKind::Item };
    let measure: String = row.get(3).sql()?;
    let sealed: bool = row.get(8).sql()?;
    let current: Option<bool> = row.get(12).sql()?;
    let unsigned = |column: usize| -> Result<u64> {
        u64::try_from(row.get::<_, i64>(column).sql()?).map_err(|_| damaged("a release is damaged"))
    };
    let options = SimilarityOptions {
        measure: measure
            .parse::<Measure>()
            .map_err(|cause| damaged("a release is damaged").because(cause))?,
        k: unsigned(4)? as usize,
        min_common: row.get(5).sql()?,
        shrinkage: row.get(6).sql()?,
    };
    let info = ReleaseInfo {
        id: ReleaseId::from_text(row.get::<_, String>(1).sql()?),
        spec: ReleaseSpec { kind, options },
        state: match (sealed, current) {
            (false, _) => ReleaseState::Building,
            (true, Some(true)) => ReleaseState::Current,
            (true, _) => ReleaseState::Sealed,
        },
        created_at: Timestamp::from_millis(row.get(7).sql()?).map_err(|_| damaged("a release is damaged"))?,
        promotion: row.get::<_, Option<i64>>(9).sql()?.map(|_| unsigned(9)).transpose()?,
        lists: unsigned(10)?,
        neighbours: unsigned(11)?,
    };
    Ok(Release { id: row.get(0).sql()?, info })
}

fn release(connection: &Connection, ns: i64, name: &ReleaseId) -> Result<Option<Release>> {
    Ok(all_releases(connection, ns)?.into_iter().find(|release| release.info.id == *name))
}

/// Every release of a kind, newest first.
pub(crate) fn releases(connection: &Connection, ns: i64, kind: EntityKind) -> Result<Vec<Release>> {
    let mut releases = all_releases(connection, ns)?;
    releases.retain(|release| release.info.spec.kind == kind);
    Ok(releases)
}

/// Every release, newest first. There are few, and damage to one may make another the current one: all are held
/// against their checksums, and their number against that of the namespace, whichever is asked for.
fn all_releases(connection: &Connection, ns: i64) -> Result<Vec<Release>> {
    let mut select = connection.prepare_cached(RELEASES).sql()?;
    let mut rows = select.query([ns]).sql()?;
    let mut releases = Vec::new();
    while let Some(row) = rows.next().sql()? {
        releases.push(release_of(row)?);
    }
    let mut select = connection.prepare_cached(COUNT_RELEASES).sql()?;
    let (intact, count): (bool, i64) = select.query_row([ns], |row| Ok((row.get(0)?, row.get(1)?))).sql()?;
    checksum::hold(intact && releases.len() as i64 == count, "the number of releases")?;
    Ok(releases)
}

/// The current release of a kind.
pub(crate) fn current(connection: &Connection, ns: i64, kind: EntityKind) -> Result<Option<Release>> {
    let is_current =
        |release: &Release| release.info.spec.kind == kind && release.info.state == ReleaseState::Current;
    Ok(all_releases(connection, ns)?.into_iter().find(is_current))
}

fn find(connection: &Connection, entities: &mut Entities, target: &Target) -> Result<(i64, Release)> {
    let ns = entities.namespace(connection, &target.namespace)?;
    let release = release(connection, ns, &target.release)?.ok_or_else(|| not_found(&target.release))?;
    Ok((ns, release))
}

fn put_lists(session: &mut Session, target: &Target, lists: &[NeighbourList]) -> Result<()> {
    let Session { connection, entities } = session;
    let connection: &Connection = connection;
    let (ns, release) = find(connection, entities, target)?;
    if release.info.state != ReleaseState::Building {
        let text = "the release is sealed, begin another";
        return Err(Error::new(ErrorKind::Conflict, text).on(format!("release {}", target.release)));
    }
    let (kind, created_at) = (release.info.spec.kind, release.info.created_at);
    let mut select = connection.prepare_cached(LIST).sql()?;
    let mut put = connection.prepare_cached(PUT_LIST).sql()?;
    let (mut added_lists, mut added_neighbours) = (0_i64, 0_i64);
    let mut buffer = Vec::new();
    for list in lists {
        let owner = entities.load(connection, &target.erasure_key, ns, kind, list.id.clone())?;
        if entities.is_erased_since(owner, created_at) {
            continue;
        }
        let owner = entities.keep(owner);
        buffer.clear();
        for neighbour in &list.neighbours {
            let slot = entities.load(connection, &target.erasure_key, ns, kind, neighbour.id.clone())?;
            if !entities.is_erased_since(slot, created_at) {
                encode_neighbour(&mut buffer, entities.keep(slot), neighbour);
            }
        }
        let replaced = select
            .query_row([release.id, owner], |row| Ok(verified_list(row).map(count_of)))
            .optional()
            .sql()?
            .transpose()?;
        let checksum = checksum::of_neighbours(release.id, owner, &buffer);
        put.execute(params![release.id, owner, &buffer, checksum]).sql()?;
        added_lists += i64::from(replaced.is_none());
        added_neighbours += count_of(&buffer) - replaced.unwrap_or(0);
    }
    count_lists(connection, release.id, added_lists, added_neighbours)
}

/// Counts lists and neighbours that a release has got (negative: lost).
pub(crate) fn count_lists(connection: &Connection, release: i64, lists: i64, neighbours: i64) -> Result<()> {
    let changes = format!("lists = lists + {lists}, neighbours = neighbours + {neighbours}");
    change_release(connection, release, &changes)
}

/// The list in a row of `release, entity, neighbours, checksum`.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn verified_list<'a>(row: &'a Row<'_>) -> Result<&'a [u8]> {
    let list = row.get_ref(2).sql()?.as_blob().map_err(|_| damaged("a neighbour list is damaged"))?;
    let checksum = checksum::of_neighbours(row.get(0).sql()?, row.get(1).sql()?, list);
    checksum::hold(checksum == row.get::<_, i64>(3).sql()?, "a neighbour list")?;
    Ok(list)
}

fn count_of(list: &[u8]) -> i64 {
    (list.len() / NEIGHBOUR_BYTES) as i64
}

fn encode_neighbour(buffer: &mut Vec<u8>, id: i64, neighbour: &Neighbour) {
    buffer.extend_from_slice(&id.to_le_bytes());
    buffer.extend_from_slice(&neighbour.similarity.to_le_bytes());
    buffer.extend_from_slice(&neighbour.common.to_le_bytes());
}

/// The number of the entity that a stored neighbour names.
pub(crate) fn entity_of(neighbour: &[u8]) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&neighbour[..8]);
    i64::from_le_bytes(bytes)
}

pub(crate) fn decode_neighbour(bytes: &[u8], id: EntityKey) -> Neighbour {
    let mut similarity = [0; 8];
    similarity.copy_from_slice(&bytes[8..16]);
    let mut common = [0; 4];
    common.copy_from_slice(&bytes[16..20]);
    Neighbour { id, similarity: f64::from_le_bytes(similarity), common: u32::from_le_bytes(common) }
}

fn seal(session: &mut Session, target: &Target, popular: &[Popular]) -> Result<ReleaseInfo> {
    let Session { connection, entities } = session;
    let (ns, release) = find(connection, entities, target)?;
    if release.info.state != ReleaseState::Building {
        return Ok(release.info);
    }
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO popular (release, rank, entity, ratings, checksum)
             VALUES (?1, ?2, ?3, ?4, checksum_of('popular', ?1, ?2, ?3, ?4))",
        )
        .sql()?;
    for (rank, entry) in popular.iter().enumerate() {
        let kind = release.info.spec.kind;
        let slot = entities.load(connection, &target.erasure_key, ns, kind, entry.id.clone())?;
        if !entities.is_erased_since(slot, release.info.created_at) {
            let ratings = i64::try_from(entry.ratings).unwrap_or(i64::MAX);
            insert.execute(params![release.id, rank as i64, entities.keep(slot), ratings]).sql()?;
        }
    }
    change_release(connection, release.id, "sealed = 1")?;
    Ok(find(connection, entities, target)?.1.info)
}

fn promote(session: &mut Session, target: &Target) -> Result<ReleaseInfo> {
    let Session { connection, entities } = session;
    let (_, release) = find(connection, entities, target)?;
    match release.info.state {
        ReleaseState::Current => return Ok(release.info),
        ReleaseState::Sealed => {}
        ReleaseState::Building => {
            let text = "the release is still being built, seal it first";
            return Err(Error::new(ErrorKind::Conflict, text).on(format!("release {}", target.release)));
        }
    }
    let next = "promotion =
        (SELECT coalesce(max(c.promotion), 0) + 1 FROM releases c WHERE c.ns = releases.ns AND c.kind = releases.kind)";
    change_release(connection, release.id, next)?;
    Ok(find(connection, entities, target)?.1.info)
}

fn roll_back(session: &mut Session, namespace: &Namespace, kind: EntityKind) -> Result<ReleaseInfo> {
    let Session { connection, entities } = session;
    let ns = entities.namespace(connection, namespace)?;
    let nothing =
        || Error::new(ErrorKind::NotFound, format!("no earlier promoted release of {kind}s to go back to"));
    let promoted = "SELECT count(*) FROM releases WHERE ns = ?1 AND kind = ?2 AND promotion IS NOT NULL";
    let count: i64 = connection.query_row(promoted, params![ns, kind_code(kind)], |row| row.get(0)).sql()?;
    if count < 2 {
        return Err(nothing());
    }
    let bad = current(connection, ns, kind)?.ok_or_else(nothing)?;
    change_release(connection, bad.id, "promotion = NULL")?;
    Ok(current(connection, ns, kind)?.ok_or_else(nothing)?.info)
}

fn prune(
    session: &mut Session,
    namespace: &Namespace,
    kind: EntityKind,
    options: PruneOptions,
    now: Timestamp,
) -> Result<Vec<ReleaseId>> {
    let Session { connection, entities } = session;
    let ns = entities.namespace(connection, namespace)?;
    let mut removed = Vec::new();
    let mut kept = 0;
    for release in releases(connection, ns, kind)? {
        let remove = match release.info.state {
            ReleaseState::Current => false,
            ReleaseState::Building => now.since(release.info.created_at) > options.abandoned_after,
            ReleaseState::Sealed => {
                kept += 1;
                kept > options.keep
            }
        };
        if remove {
            for sql in [
                "DELETE FROM neighbour_lists WHERE release = ?1",
                "DELETE FROM popular WHERE release = ?1",
                "DELETE FROM releases WHERE id = ?1",
            ] {
                connection.execute(sql, [release.id]).sql()?;
            }
            count(connection, ns, 0, 0, -1)?;
            removed.push(release.info.id);
        }
    }
    Ok(removed)
}

fn get_lists(reader: &Reader, ns: Option<i64>, request: &NeighbourRequest) -> Result<NeighbourAnswer> {
    let connection: &Connection = reader;
    let found = match (ns, &request.release) {
        (None, None) => None,
        (None, Some(name)) => return Err(not_found(name)),
        (Some(ns), None) => current(connection, ns, request.kind)?,
        (Some(ns), Some(name)) => {
            let readable = |release: &Release| {
                release.info.state != ReleaseState::Building && release.info.spec.kind == request.kind
            };
            Some(release(connection, ns, name)?.filter(readable).ok_or_else(|| not_found(name))?)
        }
    };
    let (Some(ns), Some(release)) = (ns, found) else {
        return Ok(NeighbourAnswer {
            release: None,
            lists: request.ids.iter().map(|_| Lookup::Missing).collect(),
        });
    };
    let mut select = connection.prepare_cached(LIST_OF_KEY).sql()?;
    let mut keys = Keys::new(reader, request.kind)?;
    let mut lists = Vec::with_capacity(request.ids.len());
    for id in &request.ids {
        let values = params![release.id, ns, kind_code(request.kind), id.as_str()];
        let mut rows = select.query(values).sql()?;
        let Some(row) = rows.next().sql()? else {
            lists.push(Lookup::Missing);
            continue;
        };
        let list = Asked::new(ns, request.kind, id.as_str())
            .number(row, 4)
            .and_then(|_| verified_list(row))
            .and_then(|list| keys.visible(list, request.limit));
        lists.push(match list {
            Ok(value) => {
                Lookup::Found(Found { value, as_of: release.info.created_at, origin: Origin::Stored })
            }
            Err(error) => Lookup::Failed(error.on(format!("neighbours of {id}"))),
        });
    }
    Ok(NeighbourAnswer { release: Some(release.info.id), lists })
}

fn popular(reader: &Reader, release: &Release, limit: usize) -> Result<Vec<Popular>> {
    let mut select = reader.prepare_cached(POPULAR).sql()?;
    let mut keys = Keys::new(reader, release.info.spec.kind)?;
    let mut rows = select.query([release.id]).sql()?;
    let mut popular = Vec::new();
    while popular.len() < limit {
        let Some(row) = rows.next().sql()? else { break };
        checksum::hold(row.get(0).sql()?, "an entry of a popularity list")?;
        let (entity, ratings): (i64, i64) = (row.get(1).sql()?, row.get(2).sql()?);
        let (id, hidden) = keys.key(entity)?;
        if !hidden {
            popular.push(Popular { id, ratings: u64::try_from(ratings).unwrap_or(0) });
        }
    }
    Ok(popular)
}

/// Hidden items in order of id.
pub(crate) fn hidden(connection: &Connection, ns: Option<i64>) -> Result<Vec<ItemId>> {
    let mut select = connection.prepare_cached(HIDDEN).sql()?;
    let mut rows = select.query([ns]).sql()?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().sql()? {
        items.push(Identity::of(row, 0)?.key.into());
    }
    Ok(items)
}
