//! Where what is said of a user or an item comes from: which bronze objects have events of it, which silver files its
//! rows, which DynamoDB items serve it and from which generation. Only reads, and no more than it is allowed to.

use futures::TryStreamExt;
use recstore_core::{Entity, EntityKind, FeatureName, Rating, RatingRow, RatingStats, Result, Timestamp};
use serde::Serialize;

use crate::backend::AwsStorage;
use crate::lake::bronze::feature_line::FeatureLine;
use crate::lake::bronze::line::Line;
use crate::lake::bronze::reader::{BronzeObject, BronzeReader};
use crate::lake::commit::{CommitDocument, TableFiles};
use crate::lake::head::{State, Tombstone, TombstoneKey};
use crate::lake::silver::keys::{FileKey, SilverTable};
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
    /// The lines of custom groups that its rows were put with, as far as they were looked for. Which item they went to,
    /// and which of them stands there, say the items of the same group.
    pub bronze_features: BronzeTrace,
    /// Where its rows are in the committed generation.
    pub silver: Vec<SilverPlace>,
    /// The items that serve its features.
    pub online: Vec<ServedItem>,
}

/// Where lines of an entity are, in one topic of bronze.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BronzeTrace {
    /// Objects with lines of it, the newest generations first; those that wait for a run before all.
    pub objects: Vec<BronzePlace>,
    /// How many objects were read for this.
    pub searched: u64,
    /// The oldest generation whose objects were all read; `None` if there is none.
    pub back_to: Option<u64>,
    /// Whether every object was read: nothing older is left out.
    pub complete: bool,
}

/// Lines of an entity, of one group where they are rows, in one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BronzePlace {
    /// The object, as its name within the lake.
    pub object: String,
    /// The generation that took it in; `None` if it waits for a run.
    pub generation: Option<u64>,
    /// The custom group of the rows; `None` of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<FeatureName>,
    /// How many of its lines these are.
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
    /// The group whose row it is.
    pub group: FeatureName,
    /// Whether there is such a row; the mark that an erasure leaves is none.
    pub found: bool,
    /// The event time of the row of a custom group: the line in bronze that has it made the row.
    pub event_time: Option<Timestamp>,
    /// The generation that it was written by; `None` for rows of custom groups, which are visible at once.
    pub generation: Option<u64>,
    /// The generation before, which readers see that still hold on to it.
    pub previous: Option<u64>,
    /// How many ratings it says the entity has, to readers of the committed generation; `None` if it says none.
    pub ratings: Option<u64>,
}

impl AwsStorage {
    /// Where what is said of an entity comes from.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of both services.
    pub async fn explain(&self, entity: &Entity, options: ExplainOptions) -> Result<Explanation> {
        let state = self.snapshot(None).await?.state;
        let key = TombstoneKey(self.shared.context.erasure_key.tombstone(entity));
        let (bronze, bronze_features) = self.traces(&state, entity, options).await?;
        Ok(Explanation {
            kind: entity.kind,
            id: entity.key.as_str().to_owned(),
            generation: state.generation,
            as_of: state.as_of,
            erased: state.tombstones.get(&key).copied(),
            bronze,
            bronze_features,
            silver: self.silver_places(&state, entity).await?,
            online: self.served(&state, entity).await?,
        })
    }

    /// Looks through both topics, from what waits for a run back through the generations.
    async fn traces(
        &self,
        state: &State,
        entity: &Entity,
        options: ExplainOptions,
    ) -> Result<(BronzeTrace, BronzeTrace)> {
        let mut ratings = Search::new(self, options, |event: &Rating| {
            is_of(event, entity).then(|| (None, event.rated_at()))
        });
        let mut rows = Search::new(self, options, |FeatureLine { group, row }: &FeatureLine| {
            let of_kind = state.groups.get(group).is_some_and(|schema| schema.entity == entity.kind);
            (of_kind && row.id == entity.key).then(|| (Some(group.clone()), row.event_time))
        });
        ratings.look_through(self.new_objects::<Rating>(&state.commit.cursors).await?.objects, None).await?;
        let waiting = self.new_objects::<FeatureLine>(&state.commit.feature_cursors).await?;
        rows.look_through(waiting.objects, None).await?;
        let oldest = state.generation.saturating_sub(options.max_generations);
        for generation in (oldest + 1..=state.generation).rev() {
            if ratings.is_over && rows.is_over {
                break;
            }
            let manifest = self.manifest(generation).await?;
            let (events, lines) =
                manifest.map(|manifest| (manifest.inputs, manifest.feature_inputs)).unwrap_or_default();
            ratings.look_through(events, Some(generation)).await?;
            rows.look_through(lines, Some(generation)).await?;
        }
        Ok((ratings.end(oldest), rows.end(oldest)))
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
        let mut served = vec![self.served_statistics(state, entity).await?];
        let table = feature_table(entity.kind);
        let (online, namespace) = (&self.shared.online, &self.space.namespace);
        for group in state.groups.values().filter(|group| group.entity == entity.kind) {
            let key = keys::feature(namespace, entity.key.as_str(), &group.name)?;
            let ids = [entity.key.clone()];
            let mut rows = online.get_custom(namespace, entity.kind, &group.name, &ids, None).await?;
            let row = rows.remove(&entity.key).transpose()?.flatten();
            let (partition, sort) = key.into_parts();
            served.push(ServedItem {
                table: online.names().of(table).to_owned(),
                partition,
                sort,
                group: group.name.clone(),
                found: row.is_some(),
                event_time: row.map(|row| row.event_time),
                generation: None,
                previous: None,
                ratings: None,
            });
        }
        served[1..].sort_unstable_by(|one, other| one.sort.cmp(&other.sort));
        Ok(served)
    }

    async fn served_statistics(&self, state: &State, entity: &Entity) -> Result<ServedItem> {
        let group = match entity.kind {
            EntityKind::User => FeatureName::USER_RATINGS,
            EntityKind::Item => FeatureName::ITEM_RATINGS,
        };
        let table = feature_table(entity.kind);
        let key = keys::feature(&self.space.namespace, entity.key.as_str(), &group)?;
        let item = self.shared.online.get_one(table, &key, None).await?;
        let versions = item.map(|item| Versioned::<RatingStats>::from_item(table, item)).transpose()?;
        let versions = versions.map(|(_, versions)| versions);
        let (partition, sort) = key.into_parts();
        let before = versions.as_ref().and_then(|versions| versions.previous.as_ref());
        Ok(ServedItem {
            table: self.shared.online.names().of(table).to_owned(),
            partition,
            sort,
            group,
            found: versions.is_some(),
            event_time: None,
            generation: versions.as_ref().map(|versions| versions.newest.generation.0),
            previous: before.map(|before| before.generation.0),
            ratings: versions.and_then(|versions| match versions.at(Generation(state.generation)) {
                Pinned::At(row) => row.map(|stats| stats.count()),
                Pinned::TooOld => None,
            }),
        })
    }
}

/// A search of one topic, from the newest objects back.
struct Search<L, F> {
    reader: BronzeReader<L>,
    max_objects: usize,
    /// The group of a line and its time, if it is of the entity.
    of: F,
    trace: BronzeTrace,
    /// Whether no more objects may be read.
    is_over: bool,
}

impl<L: Line, F: Fn(&L) -> Option<(Option<FeatureName>, Timestamp)>> Search<L, F> {
    fn new(storage: &AwsStorage, options: ExplainOptions, of: F) -> Search<L, F> {
        let (lake, namespace) = (storage.shared.lake.clone(), storage.space.namespace.clone());
        let reader = BronzeReader::of_topic(lake, namespace);
        let (max_objects, trace) = (options.max_objects, BronzeTrace::default());
        Search { reader, max_objects, of, trace, is_over: false }
    }

    /// Looks through the objects of a generation, the newest first, as far as it may.
    async fn look_through(&mut self, objects: Vec<BronzeObject>, generation: Option<u64>) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        let searched = usize::try_from(self.trace.searched).unwrap_or(usize::MAX);
        let room = self.max_objects.saturating_sub(searched);
        self.is_over = objects.len() > room;
        let chosen: Vec<BronzeObject> = objects.into_iter().rev().take(room).collect();
        self.trace.searched += chosen.len() as u64;
        let mut batches = self.reader.read(chosen, BATCH_LINES, None);
        while let Some(batch) = batches.try_next().await? {
            let object = batch.key.to_string();
            for (group, time) in batch.events.iter().filter_map(&self.of) {
                self.trace.add(&object, generation, group, time);
            }
        }
        if !self.is_over {
            self.trace.back_to = generation;
        }
        Ok(())
    }

    /// What was found, once everything after the generation `oldest` was looked through or it was over before.
    fn end(mut self, oldest: u64) -> BronzeTrace {
        self.trace.complete = !self.is_over && oldest == 0;
        self.trace
    }
}

impl BronzeTrace {
    /// Adds a line of the entity.
    fn add(&mut self, object: &str, generation: Option<u64>, group: Option<FeatureName>, time: Timestamp) {
        // Objects come one after the other, with few groups in each.
        let mut of_object = self.objects.iter_mut().rev().take_while(|place| place.object == object);
        match of_object.find(|place| place.group == group) {
            Some(place) => {
                place.events += 1;
                (place.first, place.last) = (place.first.min(time), place.last.max(time));
            }
            None => {
                let (object, events, first, last) = (object.to_owned(), 1, time, time);
                self.objects.push(BronzePlace { object, generation, group, events, first, last });
            }
        }
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
