//! From a committed generation and new events to the files of the next one. Nothing names them yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use recstore_core::{
    BayesianPrior, Entity, EntityKey, EntityKind, ErasureKey, Error, FeatureName, GroupSchema, Namespace,
    Rating, RatingStats, Result, StoreContext,
};
use serde::{Deserialize, Serialize};

use super::custom;
use super::entry::{Entry, PairChange};
use super::merge::{Changed, Gathered, Merged, joined};
use super::quarantine::UNNUMBERED;
use super::route::{Parts, Routed, RoutedBucket, custom_entry};
use super::statistics::{statistics_from, statistics_of};
use super::tables::{SilverTables, encoded_features, rating_encoder};
use crate::config::PipelineConfig;
use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::bronze::feature_line::FeatureLine;
use crate::lake::bronze::reader::{BronzeLines, BronzeObject, BronzeReader, RejectedLine};
use crate::lake::commit::{CommitDocument, TableFile};
use crate::lake::head::{TombstoneKey, Tombstones, is_barred};
use crate::lake::offload::offload;
use crate::lake::silver::buckets::Buckets;
use crate::lake::silver::file::EncodedFile;
use crate::lake::silver::ratings::RatingDecoder;
use crate::lake::store::LakeStore;

/// Lines decoded at a time.
const BATCH_LINES: usize = 16_384;
/// The most bad lines that are kept; the rest is counted.
const MOST_KEPT: usize = 10_000;

/// A bad line and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantinedLine {
    /// The object.
    pub(crate) object: String,
    /// The number, within its epoch, that the event would have; [`UNNUMBERED`] where it is not known.
    pub(crate) number: u64,
    /// Why it is no event.
    pub(crate) reason: String,
    /// How the line begins.
    pub(crate) text: String,
}

impl QuarantinedLine {
    fn new(object: String, line: RejectedLine) -> QuarantinedLine {
        let RejectedLine { number, reason, text } = line;
        QuarantinedLine { object, number, reason: reason.to_string(), text }
    }
}

/// What was seen and done on the way to a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ComputeReport {
    /// Lines read.
    pub events: u64,
    /// Of these, lines that are no events.
    pub rejected: u64,
    /// Of these, events that an erasure bars.
    pub barred: u64,
    /// Buckets of users that were merged.
    pub user_buckets: u64,
    /// Buckets of items that were merged.
    pub item_buckets: u64,
    /// Pairs whose row changed.
    pub changed_pairs: u64,
    /// Statistics that are others now, of users and items.
    pub changed_features: u64,
    /// Lines of custom groups read.
    pub feature_lines: u64,
    /// Rows of custom groups that are others now.
    pub changed_rows: u64,
}

/// A computation's result.
#[derive(Debug)]
pub(crate) struct Computed {
    /// The files.
    pub(crate) commit: CommitDocument,
    /// The first bad lines.
    pub(crate) rejected: Vec<QuarantinedLine>,
    pub(crate) report: ComputeReport,
}

/// How long the parts of a computation took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    /// New lines were read and brought to the buckets of their users.
    pub route: Duration,
    /// Buckets of users were merged and stored.
    pub users: Duration,
    /// Buckets of items were.
    pub items: Duration,
}

/// Computes the first generation of everything that is in bronze, and neither claims nor publishes it: the part of a
/// run that can be measured without tables to serve from.
///
/// # Errors
/// As [`Pipeline::run`](super::run::Pipeline::run).
#[doc(hidden)]
pub async fn first_generation(
    store: LakeStore,
    namespace: Namespace,
    config: &PipelineConfig,
    context: &StoreContext,
) -> Result<(ComputeReport, Phases)> {
    let ratings = BronzeReader::new(store.clone(), namespace.clone());
    let features = BronzeReader::of_topic(store.clone(), namespace.clone());
    let inputs = Inputs {
        ratings: ratings.list(&BronzeCursors::default(), None).await?.objects,
        features: features.list(&BronzeCursors::default(), None).await?.objects,
    };
    let base = CommitDocument::default();
    let compute = Compute {
        base: &base,
        tables: &SilverTables::new(store, namespace),
        config,
        prior: context.prior,
        erasure_key: &context.erasure_key,
        readers: &Readers { ratings, features },
        generation: 1,
    };
    let (computed, phases) = compute.timed(inputs, &Arc::default(), &Groups::default()).await?;
    Ok((computed.report, phases))
}

/// What computing needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compute<'a> {
    pub(crate) base: &'a CommitDocument,
    pub(crate) tables: &'a SilverTables,
    pub(crate) config: &'a PipelineConfig,
    pub(crate) prior: BayesianPrior,
    pub(crate) erasure_key: &'a ErasureKey,
    /// Where new lines come from.
    pub(crate) readers: &'a Readers,
    /// The generation that is made.
    pub(crate) generation: u64,
}

/// Custom groups by name.
pub(crate) type Groups = BTreeMap<FeatureName, GroupSchema>;

/// The readers of both topics.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    pub(crate) ratings: BronzeReader,
    pub(crate) features: BronzeReader<FeatureLine>,
}

/// The objects that are new, of both topics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    pub(crate) ratings: Vec<BronzeObject>,
    pub(crate) features: Vec<BronzeObject>,
}

/// The state of one computation.
struct Work<'a> {
    compute: Compute<'a>,
    commit: CommitDocument,
    buckets: Buckets,
    to_users: Arc<Sink>,
    report: ComputeReport,
    phases: Phases,
}

impl<'a> Compute<'a> {
    fn begin(self) -> Result<Work<'a>> {
        let mut commit = self.base.clone();
        let buckets = match commit.buckets {
            Some(buckets) => buckets,
            None => Buckets::new(self.config.buckets)?,
        };
        commit.buckets = Some(buckets);
        let to_users = Arc::new(Sink::new(buckets, self.config));
        Ok(Work {
            compute: self,
            commit,
            buckets,
            to_users,
            report: ComputeReport::default(),
            phases: Phases::default(),
        })
    }

    /// The next generation after new events.
    ///
    /// # Errors
    /// `Corrupt` for what was not stored like this; those of the object store; `Full` and `Unavailable` for
    /// temporary files.
    pub(crate) async fn events(
        self,
        inputs: Inputs,
        tombstones: &Arc<Tombstones>,
        groups: &Groups,
    ) -> Result<Computed> {
        Ok(self.timed(inputs, tombstones, groups).await?.0)
    }

    /// As [`events`](Self::events), with how long its parts took.
    async fn timed(
        self,
        inputs: Inputs,
        tombstones: &Arc<Tombstones>,
        groups: &Groups,
    ) -> Result<(Computed, Phases)> {
        let begun = Instant::now();
        let mut work = self.begin()?;
        let mut rejected = Vec::new();
        let Inputs { ratings, features } = inputs;
        work.route(ratings, tombstones, &mut rejected).await?;
        work.phases.route = begun.elapsed();
        work.custom(features, tombstones, groups, &mut rejected).await?;
        work.finish(rejected).await
    }

    /// The next generation without an entity.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub(crate) async fn without(self, entity: &Entity, groups: &Groups) -> Result<Computed> {
        let mut work = self.begin()?;
        let pairs = self.pairs_of(entity).await?;
        for (user, item) in &pairs {
            let entry = Entry { user: user.as_str(), item: item.as_str(), change: PairChange::Delete };
            work.to_users.routed().push(work.buckets.of(entry.user), &entry)?;
        }
        for group in groups.values().filter(|group| group.entity == entity.kind) {
            let bucket = work.buckets.of(entity.key.as_str());
            let table = self.base.custom.get(&group.name);
            let mut rows = self.tables.custom_of(group, table, bucket).await?;
            let before = rows.len();
            rows.retain(|(id, _)| *id != entity.key);
            if rows.len() != before {
                work.store_custom(group, bucket, rows).await?;
            }
        }
        Ok(work.finish(Vec::new()).await?.0)
    }

    /// In how many custom groups an entity has a row.
    pub(crate) async fn rows_of(self, entity: &Entity, groups: &Groups) -> Result<u64> {
        let Some(buckets) = self.base.buckets else { return Ok(0) };
        let mut found = 0;
        for group in groups.values().filter(|group| group.entity == entity.kind) {
            let table = self.base.custom.get(&group.name);
            let rows = self.tables.custom_of(group, table, buckets.of(entity.key.as_str())).await?;
            found += u64::from(rows.iter().any(|(id, _)| *id == entity.key));
        }
        Ok(found)
    }

    /// The pairs of an entity.
    pub(crate) async fn pairs_of(self, entity: &Entity) -> Result<Vec<(EntityKey, EntityKey)>> {
        let Some(buckets) = self.base.buckets else { return Ok(Vec::new()) };
        let (table, bucket) = (self.base.rating_table(entity.kind), buckets.of(entity.key.as_str()));
        let rows = self.tables.ratings_of(entity.kind, table, bucket).await?;
        let of_entity = rows.iter().filter(|row| match entity.kind {
            EntityKind::User => row.rating.user().as_str() == entity.key.as_str(),
            EntityKind::Item => row.rating.item().as_str() == entity.key.as_str(),
        });
        Ok(of_entity
            .map(|row| (row.rating.user().clone().into(), row.rating.item().clone().into()))
            .collect())
    }

    /// The same ratings with statistics computed anew.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub(crate) async fn rebuilt(self) -> Result<Computed> {
        let base = self.base;
        let mut work = self.begin()?;
        for kind in [EntityKind::User, EntityKind::Item] {
            let table = base.rating_table(kind);
            let stored = base.feature_table(kind).buckets.keys();
            let buckets: BTreeSet<u32> = table.buckets.keys().chain(stored).copied().collect();
            let prior = self.prior;
            let rebuilt = stream::iter(buckets).map(|bucket| async move {
                let rows = self.tables.open_ratings_of(kind, table, bucket).await?;
                let old = statistics_of(self.tables, kind, base, bucket).await?;
                let rebuilt = offload(true, move || {
                    let statistics = statistics_from(kind, rows)?;
                    let changed = changed_stats(&old, &statistics);
                    Ok::<_, Error>((encoded_features(kind, prior, &statistics)?, changed))
                });
                let (encoded, changed) = rebuilt.await??;
                let file = self.tables.store_features(kind, self.generation, bucket, encoded).await?;
                Ok::<_, Error>((bucket, file, changed))
            });
            let rebuilt: Vec<_> = rebuilt.buffer_unordered(self.parallel()).try_collect().await?;
            for (bucket, file, changed) in rebuilt {
                work.report.changed_features += changed;
                set(&mut work.commit.feature_table_mut(kind).buckets, bucket, file);
            }
        }
        work.commit.count_versions(base);
        Ok(Computed { commit: work.commit, rejected: Vec::new(), report: work.report })
    }

    fn parallel(&self) -> usize {
        self.config.parallel.max(1)
    }

    /// Merges one bucket: the new files, and the changes.
    async fn bucket(
        self,
        of: EntityKind,
        bucket: u32,
        routed: RoutedBucket,
        sink: Option<Arc<Sink>>,
    ) -> Result<MergedBucket> {
        let old = self.tables.open_ratings_of(of, self.base.rating_table(of), bucket).await?;
        let prior = self.prior;
        let merged = offload(true, move || merged(of, old, routed, sink.as_deref(), prior));
        let Encoded { files, changed_pairs, changed_features } = merged.await??;
        let files = match files {
            Some((ratings, features)) => Some((
                self.tables.store_ratings(of, self.generation, bucket, ratings).await?,
                self.tables.store_features(of, self.generation, bucket, features).await?,
            )),
            None => None,
        };
        Ok(MergedBucket { bucket, files, changed_pairs, changed_features })
    }
}

/// What is known of a bucket: its rows, and what is to be done to them.
fn gathered(of: EntityKind, old: Option<(RatingDecoder, u64)>, routed: RoutedBucket) -> Result<Gathered> {
    let mut gathered = Gathered::of_file(of, old, routed.records())?;
    routed.read(|rest| Entry::decode(rest).map(|entry| gathered.entry(&entry)))?;
    Ok(gathered)
}

/// Merges one bucket; what changed goes to `sink`.
fn merged(
    of: EntityKind,
    old: Option<(RatingDecoder, u64)>,
    routed: RoutedBucket,
    sink: Option<&Sink>,
    prior: BayesianPrior,
) -> Result<Encoded> {
    let sorted = gathered(of, old, routed)?.sorted();
    let mut told = sink.map(|sink| {
        let to: Vec<u32> = sorted.others().map(|id| sink.buckets.of(id)).collect();
        (sink, to, Parts::new(sink.buckets.count()))
    });
    let mut ratings = rating_encoder(of)?;
    let merged = sorted.merged(
        |row| ratings.push(row),
        |Changed { entry, other }| {
            if let Some((sink, to, parts)) = &mut told
                && parts.push(to[*other], entry)
            {
                sink.routed().append(parts)?;
            }
            Ok(())
        },
    )?;
    if let Some((sink, _, parts)) = &mut told {
        sink.routed().append(parts)?;
    }
    let Merged { statistics, changed_pairs, changed_features } = merged;
    let files = match changed_pairs {
        0 => None,
        _ => Some((ratings.finish()?, encoded_features(of, prior, &statistics)?)),
    };
    Ok(Encoded { files, changed_pairs, changed_features })
}

/// Where entries go that many threads have for the buckets of one side.
#[derive(Debug)]
struct Sink {
    buckets: Buckets,
    routed: Mutex<Routed>,
}

impl Sink {
    fn new(buckets: Buckets, config: &PipelineConfig) -> Sink {
        // Users' buckets are emptied while those of items fill.
        Sink { buckets, routed: Mutex::new(Routed::new(buckets.count(), config.memory_bytes / 2)) }
    }

    fn routed(&self) -> MutexGuard<'_, Routed> {
        self.routed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything out that has come so far.
    fn take(&self) -> Vec<(u32, RoutedBucket)> {
        let mut routed = self.routed();
        let touched: Vec<u32> = routed.touched().collect();
        touched.into_iter().map(|bucket| (bucket, routed.take(bucket))).collect()
    }
}

/// One bucket merged.
struct Encoded {
    /// The files of ratings and statistics; nothing if nothing changed.
    files: Option<(EncodedFile, EncodedFile)>,
    changed_pairs: u64,
    changed_features: u64,
}

/// What routing said of one object.
#[derive(Debug, Default)]
struct RoutedObject {
    events: u64,
    barred: u64,
    rejected: u64,
    /// The first of these.
    kept: Vec<QuarantinedLine>,
}

/// Brings the events of an object to the buckets of their users.
fn route_object(
    lines: BronzeLines,
    sink: &Sink,
    is_barred: impl Fn(&Rating) -> bool,
) -> Result<RoutedObject> {
    let (mut object, name) = (RoutedObject::default(), lines.key().to_string());
    let mut parts = Parts::new(sink.buckets.count());
    for line in lines {
        object.events += 1;
        match line {
            Ok(event) if is_barred(&event) => object.barred += 1,
            Ok(event) => {
                if parts.push(sink.buckets.of(event.user().as_str()), &Entry::event(&event)) {
                    sink.routed().append(&mut parts)?;
                }
            }
            Err(line) => {
                object.rejected += 1;
                if object.kept.len() < MOST_KEPT {
                    object.kept.push(QuarantinedLine::new(name.clone(), line));
                }
            }
        }
    }
    sink.routed().append(&mut parts)?;
    Ok(object)
}

/// What became of one bucket.
struct MergedBucket {
    bucket: u32,
    /// The files of ratings and statistics, `None` where there are no rows; nothing if nothing changed.
    files: Option<(Option<TableFile>, Option<TableFile>)>,
    changed_pairs: u64,
    changed_features: u64,
}

impl Work<'_> {
    /// Reads new events and brings them to the buckets of their users, several objects at a time.
    async fn route(
        &mut self,
        inputs: Vec<BronzeObject>,
        tombstones: &Arc<Tombstones>,
        rejected: &mut Vec<QuarantinedLine>,
    ) -> Result<()> {
        let compute = self.compute;
        let key = compute.erasure_key;
        let objects = stream::iter(inputs).map(|object| {
            let (sink, tombstones, key) = (self.to_users.clone(), tombstones.clone(), key.clone());
            let work = move |lines| route_object(lines, &sink, |event| is_barred(&tombstones, &key, event));
            compute.readers.ratings.read_object(object, None, work)
        });
        let mut objects = objects.buffered(compute.parallel());
        while let Some(object) = objects.try_next().await? {
            let RoutedObject { events, barred, rejected: bad, kept } = object?;
            self.report.events += events;
            self.report.barred += barred;
            self.report.rejected += bad;
            let room = MOST_KEPT.saturating_sub(rejected.len());
            rejected.extend(kept.into_iter().take(room));
        }
        Ok(())
    }

    /// Takes new rows of custom groups in.
    async fn custom(
        &mut self,
        inputs: Vec<BronzeObject>,
        tombstones: &Arc<Tombstones>,
        groups: &Groups,
        rejected: &mut Vec<QuarantinedLine>,
    ) -> Result<()> {
        let compute = self.compute;
        let mut routed: BTreeMap<FeatureName, Routed> = BTreeMap::new();
        // The events of ratings have the other half.
        let budget = compute.config.memory_bytes / 2 / groups.len().max(1);
        let mut batches = compute.readers.features.read(inputs, BATCH_LINES, None);
        while let Some(batch) = batches.try_next().await? {
            let object = batch.key.to_string();
            self.report.feature_lines += (batch.events.len() + batch.rejected.len()) as u64;
            let mut refused: Vec<QuarantinedLine> =
                batch.rejected.into_iter().map(|line| QuarantinedLine::new(object.clone(), line)).collect();
            for line in batch.events {
                let text = format!("{} of {} at {}", line.group, line.row.id, line.row.event_time);
                match custom::fit(groups, line) {
                    Ok((group, entry)) => {
                        let bucket = self.buckets.of(entry.0.as_str());
                        let new = || Routed::new(self.buckets.count(), budget);
                        routed.entry(group.name.clone()).or_insert_with(new).push(bucket, &entry)?;
                    }
                    Err(unfit) => {
                        let (number, reason) = (UNNUMBERED, unfit.to_string());
                        refused.push(QuarantinedLine { object: object.clone(), number, reason, text });
                    }
                }
            }
            self.report.rejected += refused.len() as u64;
            let room = MOST_KEPT.saturating_sub(rejected.len());
            rejected.extend(refused.into_iter().take(room));
        }
        for (name, mut routed) in routed {
            let Some(group) = groups.get(&name) else { continue };
            let touched: Vec<u32> = routed.touched().collect();
            for bucket in touched {
                self.fold(group, bucket, routed.take(bucket), tombstones).await?;
            }
        }
        Ok(())
    }

    /// Folds new rows into one bucket of a custom group.
    async fn fold(
        &mut self,
        group: &GroupSchema,
        bucket: u32,
        routed: RoutedBucket,
        tombstones: &Arc<Tombstones>,
    ) -> Result<()> {
        let table = self.commit.custom.get(&group.name);
        let old = self.compute.tables.custom_of(group, table, bucket).await?;
        let (kind, key) = (group.entity, self.compute.erasure_key.clone());
        let tombstones = tombstones.clone();
        let folded = offload(true, move || {
            let mut new = Vec::new();
            routed.read(|rest| {
                new.push(custom_entry(rest)?);
                Some(Ok(()))
            })?;
            let is_barred = |id: &EntityKey, time| {
                let tombstone = tombstones.get(&TombstoneKey(key.tombstone_of(kind, id.as_str())));
                tombstone.is_some_and(|tombstone| time <= tombstone.barred_until)
            };
            Ok::<_, Error>(custom::fold(old, new, is_barred))
        });
        let folded = folded.await??;
        self.report.barred += folded.barred;
        self.report.changed_rows += folded.changed.len() as u64;
        if folded.changed.is_empty() && folded.erased.is_empty() {
            return Ok(());
        }
        self.store_custom(group, bucket, folded.rows).await
    }

    async fn store_custom(
        &mut self,
        group: &GroupSchema,
        bucket: u32,
        rows: Vec<custom::Entry>,
    ) -> Result<()> {
        let compute = self.compute;
        let file = compute.tables.store_custom(group, compute.generation, bucket, rows).await?;
        let table = self.commit.custom.entry(group.name.clone()).or_default();
        table.columns = group.columns.len();
        set(&mut table.buckets, bucket, file);
        Ok(())
    }

    /// Merges what was routed to users, and what changed there into the items' tables.
    async fn finish(mut self, rejected: Vec<QuarantinedLine>) -> Result<(Computed, Phases)> {
        let begun = Instant::now();
        let to_items = Arc::new(Sink::new(self.buckets, self.compute.config));
        let to_users = self.to_users.take();
        self.report.user_buckets = self.merge(EntityKind::User, to_users, Some(&to_items)).await?;
        self.phases.users = begun.elapsed();
        self.report.item_buckets = self.merge(EntityKind::Item, to_items.take(), None).await?;
        self.phases.items = begun.elapsed() - self.phases.users;
        self.commit.count_versions(self.compute.base);
        Ok((Computed { commit: self.commit, rejected, report: self.report }, self.phases))
    }

    /// Merges every touched bucket of one side; returns how many there were.
    async fn merge(
        &mut self,
        of: EntityKind,
        routed: Vec<(u32, RoutedBucket)>,
        sink: Option<&Arc<Sink>>,
    ) -> Result<u64> {
        let (compute, count) = (self.compute, routed.len() as u64);
        let merged = stream::iter(routed)
            .map(|(bucket, routed)| compute.bucket(of, bucket, routed, sink.cloned()))
            .buffer_unordered(compute.parallel());
        futures::pin_mut!(merged);
        while let Some(merged) = merged.try_next().await? {
            let MergedBucket { bucket, files, changed_pairs, changed_features } = merged;
            if of == EntityKind::User {
                self.report.changed_pairs += changed_pairs;
            }
            self.report.changed_features += changed_features;
            if let Some((ratings, features)) = files {
                set(&mut self.commit.rating_table_mut(of).buckets, bucket, ratings);
                set(&mut self.commit.feature_table_mut(of).buckets, bucket, features);
            }
        }
        Ok(count)
    }
}

fn set(files: &mut BTreeMap<u32, TableFile>, bucket: u32, file: Option<TableFile>) {
    match file {
        Some(file) => files.insert(bucket, file),
        None => files.remove(&bucket),
    };
}

fn changed_stats(old: &[(EntityKey, RatingStats)], new: &[(EntityKey, RatingStats)]) -> u64 {
    joined(old, new, |left, right| left.0.cmp(&right.0)).filter(|(old, new)| old != new).count() as u64
}
