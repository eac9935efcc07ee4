//! The feature store: built-in groups from the entities' statistics, custom groups from rows of their own.

use async_trait::async_trait;
use recstore_core::features::{BuiltIn, ContentHash, check_batch_rows, decode_row, encode_row};
use recstore_core::{
    BatchBuilder, ColumnSpec, ColumnType, Cost, Durability, EntityKey, EntityKind, Error, ErrorKind,
    FeatureBatch, FeatureName, FeatureRequest, FeatureRow, FeatureStore, GroupSchema, Namespace, Origin,
    Outcome, PutOptions, PutReceipt, RebuildReport, Result, RowStatus, StoreContext, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStorage;
use crate::checksum::{self, checksum_sql};
use crate::entities::{Asked, STATS_OF_KEY, kind_code, number_sql};
use crate::error::{SqlResult, damaged};
use crate::ratings::stored;
use crate::writer::Session;
use crate::{parameters, rebuild};

const ROW: &str = concat!(
    "SELECT r.grp, r.entity, r.event_time, r.content_hash, r.content, r.checksum, ",
    number_sql!("e"),
    " FROM entities e CROSS JOIN feature_rows r
     WHERE e.ns = ?2 AND e.kind = ?3 AND e.key = ?4 AND r.grp = ?1 AND r.entity = e.id"
);
const CURRENT: &str = "SELECT grp, entity, event_time, content_hash, content, checksum
    FROM feature_rows WHERE grp = ?1 AND entity = ?2";
const UPSERT: &str = "INSERT INTO feature_rows (grp, entity, event_time, content_hash, content, checksum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (entity, grp) DO UPDATE SET
    event_time = excluded.event_time, content_hash = excluded.content_hash, content = excluded.content,
    checksum = excluded.checksum";
const SELECT_GROUP: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(feature_groups),
    ", id, kind, version, columns FROM feature_groups WHERE ns = ?1 AND name = ?2"
);
const SELECT_COLUMNS: &str = concat!(
    "SELECT checksum = ",
    checksum_sql!(feature_columns),
    ", position, name, type, dim FROM feature_columns WHERE grp = ?1 ORDER BY position"
);

#[async_trait]
impl FeatureStore for SqliteStorage {
    async fn register_group(&self, schema: GroupSchema) -> Result<GroupSchema> {
        self.admit(None)?;
        schema.validate_custom()?;
        let namespace = self.namespace_name().clone();
        self.write(1, None, move |session| register(session, &namespace, &schema)).await
    }

    async fn groups(&self) -> Result<Vec<GroupSchema>> {
        let built_in = [FeatureName::USER_RATINGS, FeatureName::ITEM_RATINGS];
        let prior = self.context().prior;
        let mut groups: Vec<GroupSchema> = built_in
            .iter()
            .filter_map(|name| BuiltIn::of(name, prior))
            .map(|group| group.schema().clone())
            .collect();
        let custom = self
            .read(None, |connection, ns| ns.map_or(Ok(Vec::new()), |ns| all_groups(connection, ns)))
            .await?;
        groups.extend(custom.into_iter().map(|(_, schema)| schema));
        Ok(groups)
    }

    async fn put_features(
        &self,
        group: &FeatureName,
        rows: Vec<FeatureRow>,
        options: PutOptions,
    ) -> Result<PutReceipt> {
        self.admit(options.deadline)?;
        if GroupSchema::is_built_in(group) {
            let text = "is a built-in group, a view of the ratings that is never written by hand";
            return Err(Error::invalid("group", text).on(format!("feature group {group}")));
        }
        let (context, now) = (self.context().clone(), self.context().clock.now());
        let (namespace, group, weight) = (self.namespace_name().clone(), group.clone(), rows.len());
        let put = move |session: &mut Session| put(session, &namespace, &context, now, &group, &rows);
        let outcomes = self.write(weight, options.deadline, put).await?;
        Ok(PutReceipt {
            outcomes,
            conflicts: Vec::new(),
            durability: Durability::LocalDisk,
            cost: Cost::default(),
        })
    }

    async fn get_features(&self, request: FeatureRequest) -> Result<FeatureBatch> {
        let context = self.context();
        let (now, prior) = (context.clock.now(), context.prior);
        self.read_rows(request.ids.len(), request.deadline, move |connection, ns| {
            match BuiltIn::of(&request.group, prior) {
                Some(group) => get_built_in(connection, ns, group, request, now),
                None => get_custom(connection, ns, request, now),
            }
        })
        .await
    }

    async fn rebuild_features(&self) -> Result<RebuildReport> {
        let (namespace, prior) = (self.namespace_name().clone(), self.context().prior);
        let config = self.config().clone();
        // As heavy as the whole queue: there is room only once every earlier call is done, and for no other
        // until this one is. So it is alone in its transaction.
        self.write(usize::MAX, None, move |session| {
            let report = rebuild::rebuild(session, &config, &namespace, prior)?;
            parameters::record_prior(&session.connection, prior)?;
            Ok(report)
        })
        .await
    }
}

fn unknown_group(group: &FeatureName) -> Error {
    Error::new(ErrorKind::NotFound, "no such feature group, declare it first")
        .on(format!("feature group {group}"))
}

fn register(session: &mut Session, namespace: &Namespace, wanted: &GroupSchema) -> Result<GroupSchema> {
    let Session { connection, entities } = session;
    let ns = entities.namespace(connection, namespace)?;
    let found = group(connection, ns, &wanted.name)?;
    let (id, schema) = match &found {
        Some((id, stored)) => (*id, stored.evolve(wanted)?),
        None => (add_group(connection, ns, wanted)?, GroupSchema { version: 1, ..wanted.clone() }),
    };
    let known = found.map_or(0, |(_, stored)| stored.columns.len());
    let mut insert = connection
        .prepare(
            "INSERT INTO feature_columns (grp, position, name, type, dim, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, checksum_of('feature_columns', ?1, ?2, ?3, ?4, ?5))",
        )
        .sql()?;
    for (position, column) in schema.columns.iter().enumerate().skip(known) {
        let (name, dim) = type_code(column.column_type);
        insert.execute(params![id, position as i64, column.name.as_str(), name, dim]).sql()?;
    }
    let update = "UPDATE feature_groups SET version = ?2, columns = ?3,
        checksum = checksum_of('feature_groups', id, ns, name, kind, ?2, ?3) WHERE id = ?1";
    connection.execute(update, params![id, schema.version, schema.columns.len() as i64]).sql()?;
    Ok(schema)
}

fn add_group(connection: &Connection, ns: i64, schema: &GroupSchema) -> Result<i64> {
    let insert = "INSERT INTO feature_groups (id, ns, name, kind, version, columns, checksum)
        SELECT id, ?1, ?2, ?3, 1, 0, checksum_of('feature_groups', id, ?1, ?2, ?3, 1, 0)
        FROM (SELECT coalesce(max(id), 0) + 1 AS id FROM feature_groups)";
    connection.execute(insert, params![ns, schema.name.as_str(), kind_code(schema.entity)]).sql()?;
    Ok(connection.last_insert_rowid())
}

/// Column types as they are stored.
fn type_code(column_type: ColumnType) -> (&'static str, u32) {
    match column_type {
        ColumnType::Integer => ("integer", 0),
        ColumnType::Float => ("float", 0),
        ColumnType::Bool => ("bool", 0),
        ColumnType::Text => ("text", 0),
        ColumnType::Timestamp => ("timestamp", 0),
        ColumnType::Vector(dim) => ("vector", dim),
        ColumnType::TextList => ("text_list", 0),
    }
}

fn type_of(code: &str, dim: u32) -> Result<ColumnType> {
    Ok(match code {
        "integer" => ColumnType::Integer,
        "float" => ColumnType::Float,
        "bool" => ColumnType::Bool,
        "text" => ColumnType::Text,
        "timestamp" => ColumnType::Timestamp,
        "vector" => ColumnType::Vector(dim),
        "text_list" => ColumnType::TextList,
        other => return Err(damaged(format!("a feature column has the unknown type {other:?}"))),
    })
}

/// A group with its number.
fn group(connection: &Connection, ns: i64, name: &FeatureName) -> Result<Option<(i64, GroupSchema)>> {
    let mut select = connection.prepare_cached(SELECT_GROUP).sql()?;
    let found: Option<(bool, i64, i64, u32, i64)> = select
        .query_row(params![ns, name.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()
        .sql()?;
    let Some((intact, id, kind, version, count)) = found else { return Ok(None) };
    checksum::hold(intact, "a feature group")?;
    let entity = if kind == 0 { EntityKind::User } else { EntityKind::Item };
    let mut select = connection.prepare_cached(SELECT_COLUMNS).sql()?;
    let mut columns = Vec::new();
    let mut rows = select.query([id]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let (intact, position): (bool, i64) = (row.get(0).sql()?, row.get(1).sql()?);
        checksum::hold(intact && position == columns.len() as i64, "a column of a feature group")?;
        let (name, code, dim): (String, String, u32) =
            (row.get(2).sql()?, row.get(3).sql()?, row.get(4).sql()?);
        let name = FeatureName::new(name)
            .map_err(|cause| damaged("a stored column name is damaged").because(cause))?;
        columns.push(ColumnSpec { name, column_type: type_of(&code, dim)? });
    }
    checksum::hold(columns.len() as i64 == count, "the columns of a feature group")?;
    Ok(Some((id, GroupSchema { name: name.clone(), entity, version, columns })))
}

/// Every custom group of a namespace, by name.
pub(crate) fn all_groups(connection: &Connection, ns: i64) -> Result<Vec<(i64, GroupSchema)>> {
    let mut select =
        connection.prepare_cached("SELECT name FROM feature_groups WHERE ns = ?1 ORDER BY name").sql()?;
    let names: Vec<String> =
        select.query_map([ns], |row| row.get(0)).sql()?.collect::<rusqlite::Result<_>>().sql()?;
    let mut groups = Vec::with_capacity(names.len());
    for name in names {
        let name = FeatureName::new(name)
            .map_err(|cause| damaged("a stored group name is damaged").because(cause))?;
        groups.extend(group(connection, ns, &name)?);
    }
    Ok(groups)
}

fn put(
    session: &mut Session,
    namespace: &Namespace,
    context: &StoreContext,
    now: Timestamp,
    name: &FeatureName,
    rows: &[FeatureRow],
) -> Result<Vec<Outcome>> {
    let Session { connection, entities } = session;
    let ns = entities.namespace(connection, namespace)?;
    let (grp, schema) = group(connection, ns, name)?.ok_or_else(|| unknown_group(name))?;
    check_batch_rows(rows)?;
    // All rows are checked before the first is written.
    let mut encoded = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let checked = context.limits.check_time("event_time", row.event_time, now);
        let bytes = checked.and_then(|()| encode_row(&schema, &row.content));
        encoded.push(bytes.map_err(|error| error.in_field(format_args!("rows[{index}]")))?);
    }
    let mut outcomes = Vec::with_capacity(rows.len());
    for (row, content) in rows.iter().zip(&encoded) {
        let slot = entities.load(connection, &context.erasure_key, ns, schema.entity, row.id.clone())?;
        if entities.is_barred(slot, row.event_time) {
            outcomes.push(Outcome::Erased);
            continue;
        }
        let entity = entities.keep(slot);
        outcomes.push(put_row(connection, grp, entity, row.event_time, content)?);
    }
    Ok(outcomes)
}

fn put_row(
    connection: &Connection,
    grp: i64,
    entity: i64,
    event_time: Timestamp,
    content: &[u8],
) -> Result<Outcome> {
    let hash = ContentHash::of(content);
    let mut select = connection.prepare_cached(CURRENT).sql()?;
    let current = select
        .query_row([grp, entity], |row| Ok(StoredRow::of(row).map(|row| (row.event_time, row.content_hash))))
        .optional()
        .sql()?
        .transpose()?;
    let new = (event_time.as_millis(), hash.0);
    match current {
        Some(current) if current == new => return Ok(Outcome::Duplicate),
        Some(current) if current > new => return Ok(Outcome::Stale),
        _ => {}
    }
    let mut upsert = connection.prepare_cached(UPSERT).sql()?;
    let checksum = checksum::of_feature_row(grp, entity, new.0, &new.1, content);
    upsert.execute(params![grp, entity, new.0, &new.1[..], content, checksum]).sql()?;
    Ok(Outcome::Applied)
}

/// A row of a custom group, which was held against its checksum.
pub(crate) struct StoredRow<'a> {
    pub(crate) grp: i64,
    pub(crate) event_time: i64,
    content_hash: [u8; 16],
    pub(crate) content: &'a [u8],
}

impl<'a> StoredRow<'a> {
    /// Reads `grp, entity, event_time, content_hash, content, checksum`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn of(row: &'a Row<'_>) -> Result<StoredRow<'a>> {
        let content =
            row.get_ref(4).sql()?.as_blob().map_err(|_| damaged("a stored feature row is damaged"))?;
        let (grp, event_time): (i64, i64) = (row.get(0).sql()?, row.get(2).sql()?);
        let content_hash: [u8; 16] = row.get(3).sql()?;
        let checksum = checksum::of_feature_row(grp, row.get(1).sql()?, event_time, &content_hash, content);
        checksum::hold(checksum == row.get::<_, i64>(5).sql()?, "a feature row")?;
        Ok(StoredRow { grp, event_time, content_hash, content })
    }
}

/// Statistics are as fresh as the ratings: `as_of` is now, and no age is too old.
fn get_built_in(
    connection: &Connection,
    ns: Option<i64>,
    group: BuiltIn,
    request: FeatureRequest,
    now: Timestamp,
) -> Result<FeatureBatch> {
    let schema = group.schema();
    let projection = schema.projection(request.columns.as_deref())?;
    let mut batch = BatchBuilder::new(schema, &projection, request.ids.len());
    let mut select = connection.prepare_cached(STATS_OF_KEY).sql()?;
    for id in request.ids {
        let stats = match ns {
            Some(ns) => Asked::new(ns, group.entity, id.as_str()).stats(&mut select)?.transpose(),
            None => Ok(None),
        };
        let stats = stats.map(|found| found.map(|(_, stats)| stats));
        match stats {
            Ok(stats) => group.push(
                &mut batch,
                id,
                stats.as_ref(),
                RowStatus::Found { as_of: now, origin: Origin::Live },
            ),
            Err(error) => batch.push_row(id, failed(&error)),
        }
    }
    Ok(batch.finish())
}

fn failed(error: &Error) -> RowStatus {
    RowStatus::Failed { kind: error.kind(), reason: error.to_string() }
}

fn get_custom(
    connection: &Connection,
    ns: Option<i64>,
    request: FeatureRequest,
    now: Timestamp,
) -> Result<FeatureBatch> {
    let unknown = || unknown_group(&request.group);
    let ns = ns.ok_or_else(unknown)?;
    let (grp, schema) = group(connection, ns, &request.group)?.ok_or_else(unknown)?;
    let projection = schema.projection(request.columns.as_deref())?;
    let mut batch = BatchBuilder::new(&schema, &projection, request.ids.len());
    let mut select = connection.prepare_cached(ROW).sql()?;
    for id in request.ids {
        let mut rows = select.query(params![grp, ns, kind_code(schema.entity), id.as_str()]).sql()?;
        let Some(row) = rows.next().sql()? else {
            batch.push_row(id, RowStatus::Missing);
            continue;
        };
        let found = Asked::new(ns, schema.entity, id.as_str()).number(row, 6).and_then(|_| {
            let found = StoredRow::of(row)?;
            Ok((Timestamp::from_millis(found.event_time).map_err(stored)?, found.content))
        });
        match found {
            Ok((as_of, content)) => {
                let too_old = request.max_age.is_some_and(|max_age| now.since(as_of) > max_age);
                push_custom(&mut batch, &schema, id, content, as_of, too_old);
            }
            Err(error) => batch.push_row(id, failed(&error)),
        }
    }
    Ok(batch.finish())
}

fn push_custom(
    batch: &mut BatchBuilder,
    schema: &GroupSchema,
    id: EntityKey,
    content: &[u8],
    as_of: Timestamp,
    too_old: bool,
) {
    let mut values = Vec::new();
    match decode_row(schema, content, |position, value| values.push((position, value))) {
        Ok(false) => batch.push_row(id, RowStatus::Missing),
        Ok(true) if too_old => batch.push_row(id, RowStatus::TooOld { as_of }),
        Ok(true) => {
            batch.push_row(id, RowStatus::Found { as_of, origin: Origin::Stored });
            values.into_iter().for_each(|(position, value)| batch.set(position, value));
        }
        Err(error) => batch.push_row(id, failed(&error)),
    }
}
