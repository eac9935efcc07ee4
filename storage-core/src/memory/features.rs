//! The feature store: built-in groups folded from the ratings at every read, custom groups as they were put.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::MemoryStorage;
use super::state::{Group, State, StoredRow};
use crate::features::{
    BuiltIn, ContentHash, check_batch_rows, decode_row, encode_row, item_ratings_schema, user_ratings_schema,
};
use crate::{
    BatchBuilder, Cost, Durability, EntityKey, EntityKind, Error, ErrorKind, FeatureBatch, FeatureName,
    FeatureRequest, FeatureRow, FeatureStore, GroupSchema, Origin, Outcome, PutOptions, PutReceipt,
    RebuildReport, Result, RowContent, RowStatus, Timestamp,
};

#[async_trait]
impl FeatureStore for MemoryStorage {
    async fn register_group(&self, schema: GroupSchema) -> Result<GroupSchema> {
        self.write(None, |state| {
            schema.validate_custom()?;
            if let Some(group) = state.groups.get_mut(&schema.name) {
                group.schema = group.schema.evolve(&schema)?;
                return Ok(group.schema.clone());
            }
            let schema = GroupSchema { version: 1, ..schema };
            let group = Group { schema: schema.clone(), rows: BTreeMap::new() };
            state.groups.insert(schema.name.clone(), group);
            Ok(schema)
        })
    }

    async fn groups(&self) -> Result<Vec<GroupSchema>> {
        self.read(None, |state| {
            let custom = state.groups.values().map(|group| group.schema.clone());
            Ok([user_ratings_schema(), item_ratings_schema()].into_iter().chain(custom).collect())
        })
    }

    async fn put_features(
        &self,
        group: &FeatureName,
        rows: Vec<FeatureRow>,
        options: PutOptions,
    ) -> Result<PutReceipt> {
        self.write(options.deadline, |state| {
            let (schema, now) = (custom_schema(state, group)?, self.now());
            check_batch_rows(&rows)?;
            let mut checked = Vec::with_capacity(rows.len());
            for (index, row) in rows.into_iter().enumerate() {
                let stored = self.stored(&schema, &row, now);
                let stored = stored.map_err(|error| error.in_field(format_args!("rows[{index}]")))?;
                let id = row.id.as_str();
                let barred = state.is_barred(&self.context.erasure_key, schema.entity, id, row.event_time);
                checked.push((row.id, stored, barred));
            }
            let group = group_mut(state, group)?;
            let put = |(id, row, barred)| if barred { Outcome::Erased } else { apply(group, id, row) };
            let outcomes = checked.into_iter().map(put).collect();
            Ok(PutReceipt {
                outcomes,
                conflicts: Vec::new(),
                durability: Durability::Memory,
                cost: Cost::default(),
            })
        })
    }

    async fn get_features(&self, request: FeatureRequest) -> Result<FeatureBatch> {
        self.read(request.deadline, |state| match BuiltIn::of(&request.group, self.context.prior) {
            Some(built_in) => read_built_in(state, built_in, &request, self.now()),
            None => read_custom(find_group(state, &request.group)?, &request, self.now()),
        })
    }

    async fn rebuild_features(&self) -> Result<RebuildReport> {
        self.read(None, |state| {
            let count = |kind| state.rated(kind).len() as u64;
            let (users, items) = (count(EntityKind::User), count(EntityKind::Item));
            // Every read computes anew, so nothing can have been stored differently.
            Ok(RebuildReport { users, items, changed: 0 })
        })
    }
}

impl MemoryStorage {
    /// Checks a row and makes its stored form.
    fn stored(&self, schema: &GroupSchema, row: &FeatureRow, now: Timestamp) -> Result<StoredRow> {
        self.context.limits.check_time("event_time", row.event_time, now)?;
        let encoded = encode_row(schema, &row.content)?;
        Ok(StoredRow {
            event_time: row.event_time,
            hash: ContentHash::of(&encoded),
            deleted: row.content == RowContent::Deleted,
            encoded,
        })
    }
}

fn custom_schema(state: &State, name: &FeatureName) -> Result<GroupSchema> {
    if GroupSchema::is_built_in(name) {
        let text = "is a built-in group, its rows come from the ratings";
        return Err(Error::invalid("group", text).on(format!("feature group {name}")));
    }
    Ok(find_group(state, name)?.schema.clone())
}

fn find_group<'a>(state: &'a State, name: &FeatureName) -> Result<&'a Group> {
    state.groups.get(name).ok_or_else(|| unknown_group(name))
}

fn group_mut<'a>(state: &'a mut State, name: &FeatureName) -> Result<&'a mut Group> {
    state.groups.get_mut(name).ok_or_else(|| unknown_group(name))
}

fn unknown_group(name: &FeatureName) -> Error {
    Error::new(ErrorKind::NotFound, "no such feature group").on(format!("feature group {name}"))
}

/// The last-writer-wins rule of custom rows: the greatest (event time, content hash) stays.
fn apply(group: &mut Group, id: EntityKey, new: StoredRow) -> Outcome {
    let order = |row: &StoredRow| (row.event_time, row.hash);
    match group.rows.get(&id).map(|old| order(&new).cmp(&order(old))) {
        Some(Ordering::Less) => Outcome::Stale,
        Some(Ordering::Equal) => Outcome::Duplicate,
        Some(Ordering::Greater) | None => {
            group.rows.insert(id, new);
            Outcome::Applied
        }
    }
}

fn builder(schema: &GroupSchema, request: &FeatureRequest) -> Result<BatchBuilder> {
    let projection = schema.projection(request.columns.as_deref())?;
    Ok(BatchBuilder::new(schema, &projection, request.ids.len()))
}

fn read_built_in(
    state: &State,
    built_in: BuiltIn,
    request: &FeatureRequest,
    now: Timestamp,
) -> Result<FeatureBatch> {
    let mut batch = builder(built_in.schema(), request)?;
    for id in &request.ids {
        let stats = state.stats_of(built_in.entity, id);
        // Computed now, so it is never too old.
        let status = RowStatus::Found { as_of: now, origin: Origin::Live };
        built_in.push(&mut batch, id.clone(), Some(&stats), status);
    }
    Ok(batch.finish())
}

fn read_custom(group: &Group, request: &FeatureRequest, now: Timestamp) -> Result<FeatureBatch> {
    let mut batch = builder(&group.schema, request)?;
    for id in &request.ids {
        let row = group.rows.get(id).filter(|row| !row.deleted);
        let status = status(row, request.max_age, now);
        let shown = row.filter(|_| status.is_found());
        batch.push_row(id.clone(), status);
        if let Some(row) = shown {
            decode_row(&group.schema, &row.encoded, |position, value| batch.set(position, value))?;
        }
    }
    Ok(batch.finish())
}

fn status(row: Option<&StoredRow>, max_age: Option<Duration>, now: Timestamp) -> RowStatus {
    match row.map(|row| row.event_time) {
        None => RowStatus::Missing,
        Some(as_of) if max_age.is_some_and(|max_age| now.since(as_of) > max_age) => {
            RowStatus::TooOld { as_of }
        }
        Some(as_of) => RowStatus::Found { as_of, origin: Origin::Stored },
    }
}
