//! Where what is said of a user or an item comes from: which bronze objects have events of it, which silver files its
//! rows, which DynamoDB items serve it and from which generation. Only reads, and no more than it is allowed to.

use std::collections::HashSet;

use futures::TryStreamExt;
use recstore_core::{Entity, EntityKind, FeatureName, Rating, RatingRow, RatingStats, Result, Timestamp};
use serde::Serialize;

use super::manifest::Manifest;
use crate::backend::AwsStorage;
use crate::lake::bronze::reader::{BronzeObject, BronzeReader};
use crate::lake::commit::{CommitDocument, TableFiles};
use crate::lake::head::{State, Tombstone, TombstoneKey};
use crate::lake::silver::keys::{FileKey, SilverTable};
use crate::online::calls::Usage;
use crate::online::keys;
use crate::online::versioned::{Generation, Pinned, Versioned, feature_table};

/// Lines decoded at a time.
const BATCH_LINES: usize = 16_384;

/// How far back bronze is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainOptions {
    /// The most objects that are read, the newest generations first.
    pub max_objects: usize,
    /// The most generations whose manifests are read.
    pub max_generations: u64,
}

impl Default for ExplainOptions {
    /// 200 objects, 1,000 generations.
    fn default() -> ExplainOptions {
        ExplainOptions { max_objects: 200, max_generations: 1_000 }
    }
}

/// Where what is said of an entity comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// User or item.
    pub kind: EntityKind,
    /// Its id.
    pub id: String,
    /// The committed generation; 0 before the first.
    pub generation: u64,
    /// Every event acknowledged before this time is in it.
    pub as_of: Option<Timestamp>,
    /// The last erasure, and until when events of the entity are barred by it.
    pub erased: Option<Tombstone>,
    /// Its events, as far as they were looked for.
    pub bronze: BronzeTrace,
    /// Where its rows are in the committed generation.
    pub silver: Vec<SilverPlace>,
    /// The items that serve its features.
    pub online: Vec<ServedItem>,
}

/// Where events of an entity are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BronzeTrace {
    /// Objects with events of it, the newest generations first; those that wait for a run before all.
    pub objects: Vec<BronzePlace>,
    /// How many objects were read for this.
    pub searched: u64,
    /// The oldest generation whose objects were all read; `None` if there is none.
    pub back_to: Option<u64>,
    /// Whether every object was read: nothing older is left out.
    pub complete: bool,
}

/// Events of an entity in one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BronzePlace {
    /// The object, as its name within the lake.
    pub object: String,
    /// The generation that took it in; `None` if it waits for a run.
    pub generation: Option<u64>,
    /// How many of its events are of the entity.
    pub events: u64,
    /// The earliest event time of these.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}

/// Where an entity's rows are in one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SilverPlace {
    /// The table.
    pub table: String,
    /// The bucket that its id belongs to.
    pub bucket: u32,
    /// The file of this bucket; `None` if no entity of the bucket has a row.
    pub file: Option<String>,
    /// The generation that wrote the file last.
    pub generation: Option<u64>,
    /// How many rows of it are the entity's; `None` where they were not counted, in custom groups.
    pub rows: Option<u64>,
}

/// An item of DynamoDB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServedItem {
    /// The table's full name.
    pub table: String,
    /// The partition key.
    pub partition: String,
    /// The sort key.
    pub sort: String,
    /// Whether there is such an item.
    pub found: bool,
    /// The generation that it was written by; `None` for rows of custom groups, which are visible at once.
    pub generation: Option<u64>,
    /// The generation before, which readers see that still hold on to it.
    pub previous: Option<u64>,
    /// How many ratings it says the entity has, to readers of the committed generation; `None` if it says none.
    pub ratings: Option<u64>,
}

impl AwsStorage {
    /// Where what is said of an entity comes from. Custom groups are looked at as far as tables and items go, not in
    /// bronze.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of both services.
    pub async fn explain(&self, entity: &Entity, options: ExplainOptions) -> Result<Explanation> {
        let state = self.snapshot(None).await?.state;
        let key = TombstoneKey(self.shared.context.erasure_key.tombstone(entity));
        Ok(Explanation {
            kind: entity.kind,
            id: entity.key.as_str().to_owned(),
            generation: state.generation,
            as_of: state.as_of,
            erased: state.tombstones.get(&key).copied(),
            bronze: self.trace(&state, entity, options).await?,
            silver: self.silver_places(&state, entity).await?,
            online: self.served(&state, entity).await?,
        })
    }

    async fn trace(&self, state: &State, entity: &Entity, options: ExplainOptions) -> Result<BronzeTrace> {
        let mut trace = BronzeTrace::default();
        let waiting = self.new_objects::<Rating>(&state.commit.cursors).await?;
        if !self.search(&mut trace, waiting.objects, None, entity, options).await? {
            return Ok(trace);
        }
        let oldest = state.generation.saturating_sub(options.max_generations);
        for generation in (oldest + 1..=state.generation).rev() {
            let inputs = self.manifest(generation).await?.map(|Manifest { inputs, .. }| inputs);
            if !self.search(&mut trace, inputs.unwrap_or_default(), Some(generation), entity, options).await?
            {
                return Ok(trace);
            }
            trace.back_to = Some(generation);
        }
        trace.complete = oldest == 0;
        Ok(trace)
    }

    /// Looks through objects, the newest first; whether all of them were.
    async fn search(
        &self,
        trace: &mut BronzeTrace,
        objects: Vec<BronzeObject>,
        generation: Option<u64>,
        entity: &Entity,
        options: ExplainOptions,
    ) -> Result<bool> {
        let room = options.max_objects.saturating_sub(usize::try_from(trace.searched).unwrap_or(usize::MAX));
        let all = objects.len() <= room;
        let chosen: Vec<BronzeObject> = objects.into_iter().rev().take(room).collect();
        trace.searched += chosen.len() as u64;
        let reader = BronzeReader::new(self.shared.lake.clone(), self.space.namespace.clone());
        let mut batches = reader.read(chosen, BATCH_LINES, None);
        while let Some(batch) = batches.try_next().await? {
            let times = batch.events.iter().filter(|event| is_of(event, entity)).map(Rating::rated_at);
            let (Some(first), Some(last)) = (times.clone().min(), times.clone().max()) else { continue };
            let (object, events) = (batch.key.to_string(), times.count() as u64);
            match trace.objects.last_mut().filter(|place| place.object == object) {
                Some(place) => {
                    place.events += events;
                    (place.first, place.last) = (place.first.min(first), place.last.max(last));
                }
                None => trace.objects.push(BronzePlace { object, generation, events, first, last }),
            }
        }
        Ok(all)
    }

    async fn silver_places(&self, state: &State, entity: &Entity) -> Result<Vec<SilverPlace>> {
        let commit = &state.commit;
        let Some(buckets) = commit.buckets else { return Ok(Vec::new()) };
        let (kind, bucket, tables) = (entity.kind, buckets.of(entity.key.as_str()), self.tables());
        let rows = tables.ratings_of(kind, commit.rating_table(kind), bucket).await?;
        let of_entity = |row: &&RatingRow| is_of(&row.rating, entity);
        let ratings = rows.iter().filter(of_entity).count() as u64;
        let statistics = tables.features_of(commit.feature_table(kind), bucket).await?;
        let known = statistics.iter().filter(|(id, _)| *id == entity.key).count() as u64;
        let rating_table = match kind {
            EntityKind::User => SilverTable::Ratings,
            EntityKind::Item => SilverTable::RatingsByItem,
        };
        let mut places = vec![
            place(&rating_table, commit.rating_table(kind), bucket, Some(ratings))?,
            place(&SilverTable::features_of(kind), commit.feature_table(kind), bucket, Some(known))?,
        ];
        for (group, files) in custom_of(state, commit, kind) {
            places.push(place(&SilverTable::Custom(group.clone()), files, bucket, None)?);
        }
        Ok(places)
    }

    async fn served(&self, state: &State, entity: &Entity) -> Result<Vec<ServedItem>> {
        let mut usage = Usage::default();
        let groups = state.groups.values().filter(|group| group.entity == entity.kind);
        let groups: HashSet<&FeatureName> = groups.map(|group| &group.name).collect();
        let mut served = vec![self.served_statistics(state, entity, &mut usage).await?];
        let table = feature_table(entity.kind);
        for group in groups {
            let key = keys::feature(&self.space.namespace, entity.key.as_str(), group)?;
            let found = self.shared.online.get_one(table, &key, None, &mut usage).await?.is_some();
            let (partition, sort) = key.into_parts();
            let table = self.shared.online.names().of(table).to_owned();
            served.push(ServedItem {
                table,
                partition,
                sort,
                found,
                generation: None,
                previous: None,
                ratings: None,
            });
        }
        served[1..].sort_unstable_by(|one, other| one.sort.cmp(&other.sort));
        Ok(served)
    }

    async fn served_statistics(
        &self,
        state: &State,
        entity: &Entity,
        usage: &mut Usage,
    ) -> Result<ServedItem> {
        let group = match entity.kind {
            EntityKind::User => FeatureName::USER_RATINGS,
            EntityKind::Item => FeatureName::ITEM_RATINGS,
        };
        let table = feature_table(entity.kind);
        let key = keys::feature(&self.space.namespace, entity.key.as_str(), &group)?;
        let item = self.shared.online.get_one(table, &key, None, usage).await?;
        let versions = item.map(|item| Versioned::<RatingStats>::from_item(table, item)).transpose()?;
        let versions = versions.map(|(_, versions)| versions);
        let (partition, sort) = key.into_parts();
        let before = versions.as_ref().and_then(|versions| versions.previous.as_ref());
        Ok(ServedItem {
            table: self.shared.online.names().of(table).to_owned(),
            partition,
            sort,
            found: versions.is_some(),
            generation: versions.as_ref().map(|versions| versions.newest.generation.0),
            previous: before.map(|before| before.generation.0),
            ratings: versions.and_then(|versions| match versions.at(Generation(state.generation)) {
                Pinned::At(row) => row.map(|stats| stats.count()),
                Pinned::TooOld => None,
            }),
        })
    }
}

fn is_of(event: &Rating, entity: &Entity) -> bool {
    match entity.kind {
        EntityKind::User => event.user().as_str() == entity.key.as_str(),
        EntityKind::Item => event.item().as_str() == entity.key.as_str(),
    }
}

/// The custom groups of a kind that have files.
fn custom_of<'c>(
    state: &'c State,
    commit: &'c CommitDocument,
    kind: EntityKind,
) -> impl Iterator<Item = (&'c FeatureName, &'c TableFiles)> {
    let of_kind = move |name: &FeatureName| state.groups.get(name).is_some_and(|group| group.entity == kind);
    commit.custom.iter().filter(move |(name, _)| of_kind(name))
}

fn place(table: &SilverTable, files: &TableFiles, bucket: u32, rows: Option<u64>) -> Result<SilverPlace> {
    let file = files.buckets.get(&bucket).map(|file| file.object.name.clone());
    let key: Option<FileKey> = file.as_deref().map(str::parse).transpose()?;
    let generation = key.map(|key| key.generation);
    Ok(SilverPlace { table: table.to_string(), bucket, file, generation, rows })
}
