//! From a committed generation and new events to the files of the next one. Nothing names them yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use recstore_core::{
    BayesianPrior, Entity, EntityKey, EntityKind, ErasureKey, FeatureName, GroupSchema, Namespace,
    RatingStats, Result, StoreContext,
};
use serde::{Deserialize, Serialize};

use super::custom;
use super::merge::{Entry, changes, joined, merge, statistics};
use super::route::{Routed, RoutedBucket};
use super::tables::SilverTables;
use crate::config::PipelineConfig;
use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::bronze::feature_line::FeatureLine;
use crate::lake::bronze::reader::{BronzeObject, BronzeReader, RejectedLine};
use crate::lake::commit::{CommitDocument, TableFile};
use crate::lake::head::{TombstoneKey, Tombstones, is_barred};
use crate::lake::offload::offload;
use crate::lake::silver::buckets::Buckets;
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
    /// The number, within its epoch, that the event would have.
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
    let nothing = (Tombstones::default(), Groups::default());
    let (computed, phases) = compute.timed(&base, inputs, &nothing.0, &nothing.1).await?;
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
    to_users: Routed<Entry>,
    report: ComputeReport,
    phases: Phases,
}

impl<'a> Compute<'a> {
    fn begin(self, base: &CommitDocument) -> Result<Work<'a>> {
        let mut commit = base.clone();
        let buckets = match commit.buckets {
            Some(buckets) => buckets,
            None => Buckets::new(self.config.buckets)?,
        };
        commit.buckets = Some(buckets);
        let to_users = Routed::new(buckets.count(), self.config.memory_bytes);
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
        base: &CommitDocument,
        inputs: Inputs,
        tombstones: &Tombstones,
        groups: &Groups,
    ) -> Result<Computed> {
        Ok(self.timed(base, inputs, tombstones, groups).await?.0)
    }

    /// As [`events`](Self::events), with how long its parts took.
    async fn timed(
        self,
        base: &CommitDocument,
        inputs: Inputs,
        tombstones: &Tombstones,
        groups: &Groups,
    ) -> Result<(Computed, Phases)> {
        let begun = Instant::now();
        let mut work = self.begin(base)?;
        let mut rejected = Vec::new();
        let Inputs { ratings, features } = inputs;
        let mut batches = self.readers.ratings.read(ratings, BATCH_LINES, None);
        while let Some(batch) = batches.try_next().await? {
            work.report.events += (batch.events.len() + batch.rejected.len()) as u64;
            work.report.rejected += batch.rejected.len() as u64;
            let room = MOST_KEPT.saturating_sub(rejected.len());
            let kept = batch.rejected.into_iter().take(room);
            rejected.extend(kept.map(|line| QuarantinedLine::new(batch.key.to_string(), line)));
            for event in batch.events {
                if is_barred(tombstones, self.erasure_key, &event) {
                    work.report.barred += 1;
                    continue;
                }
                let bucket = work.buckets.of(event.user().as_str());
                work.to_users.push(bucket, &Entry::Event(event))?;
            }
        }
        drop(batches);
        work.phases.route = begun.elapsed();
        work.custom(features, tombstones, groups, &mut rejected).await?;
        work.finish(rejected).await
    }

    /// The next generation without an entity.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub(crate) async fn without(
        self,
        base: &CommitDocument,
        entity: &Entity,
        groups: &Groups,
    ) -> Result<Computed> {
        let mut work = self.begin(base)?;
        let pairs = self.pairs_of(base, entity).await?;
        for (user, item) in &pairs {
            let bucket = work.buckets.of(user.as_str());
            work.to_users.push(bucket, &Entry::Delete(user.clone(), item.clone()))?;
        }
        for group in groups.values().filter(|group| group.entity == entity.kind) {
            let bucket = work.buckets.of(entity.key.as_str());
            let table = base.custom.get(&group.name);
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
    pub(crate) async fn rows_of(
        self,
        base: &CommitDocument,
        entity: &Entity,
        groups: &Groups,
    ) -> Result<u64> {
        let Some(buckets) = base.buckets else { return Ok(0) };
        let mut found = 0;
        for group in groups.values().filter(|group| group.entity == entity.kind) {
            let table = base.custom.get(&group.name);
            let rows = self.tables.custom_of(group, table, buckets.of(entity.key.as_str())).await?;
            found += u64::from(rows.iter().any(|(id, _)| *id == entity.key));
        }
        Ok(found)
    }

    /// The pairs of an entity.
    pub(crate) async fn pairs_of(
        self,
        base: &CommitDocument,
        entity: &Entity,
    ) -> Result<Vec<(EntityKey, EntityKey)>> {
        let Some(buckets) = base.buckets else { return Ok(Vec::new()) };
        let bucket = buckets.of(entity.key.as_str());
        let Some(file) = base.rating_table(entity.kind).buckets.get(&bucket) else { return Ok(Vec::new()) };
        let rows = self.tables.ratings(entity.kind, file).await?;
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
    pub(crate) async fn rebuilt(self, base: &CommitDocument) -> Result<Computed> {
        let mut work = self.begin(base)?;
        for kind in [EntityKind::User, EntityKind::Item] {
            let files: BTreeMap<u32, TableFile> = base.rating_table(kind).buckets.clone();
            let stored = base.feature_table(kind).buckets.keys().copied();
            let buckets: BTreeSet<u32> = files.keys().copied().chain(stored).collect();
            let rebuilt = stream::iter(buckets.into_iter().map(|bucket| {
                let (rows, stored) = (files.get(&bucket), base.feature_table(kind).buckets.get(&bucket));
                async move {
                    let rows = match rows {
                        Some(file) => self.tables.ratings(kind, file).await?,
                        None => Vec::new(),
                    };
                    let stats = offload(true, move || statistics(kind, &rows)).await?;
                    let old = match stored {
                        Some(file) => self.tables.features(file).await?,
                        None => Vec::new(),
                    };
                    let changed = changed_stats(&old, &stats);
                    let file = self.store_features(kind, bucket, stats).await?;
                    Ok::<_, recstore_core::Error>((bucket, file, changed))
                }
            }));
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

    async fn store_features(
        &self,
        kind: EntityKind,
        bucket: u32,
        stats: Vec<(EntityKey, RatingStats)>,
    ) -> Result<Option<TableFile>> {
        self.tables.store_features(kind, self.generation, bucket, self.prior, stats).await
    }

    /// Merges one bucket: the new files, and the changes.
    async fn bucket(
        self,
        base: &CommitDocument,
        of: EntityKind,
        bucket: u32,
        routed: RoutedBucket<Entry>,
        sink: Option<&Sink>,
    ) -> Result<Merged> {
        let old = match base.rating_table(of).buckets.get(&bucket) {
            Some(file) => self.tables.ratings(of, file).await?,
            None => Vec::new(),
        };
        let merged = offload(true, move || {
            let entries = routed.read()?;
            let new = merge(of, old.clone(), entries);
            Ok::<_, recstore_core::Error>((old, new))
        });
        let (old, new) = merged.await??;
        let (mut changed_pairs, mut changed_features) = (0, 0);
        for (before, after) in changes(of, &old, &new) {
            changed_pairs += 1;
            let entry = match (before, after) {
                (_, Some(row)) => Entry::Row(row.clone()),
                (Some(row), None) => {
                    Entry::Delete(row.rating.user().clone().into(), row.rating.item().clone().into())
                }
                (None, None) => continue,
            };
            if let Some(sink) = sink {
                let mut routed = sink.routed.lock().unwrap_or_else(PoisonError::into_inner);
                routed.push(sink.buckets.of(entry.pair().1), &entry)?;
            }
        }
        if changed_pairs == 0 {
            return Ok(Merged { bucket, files: None, changed_pairs, changed_features });
        }
        let (new, stats, changed) = offload(true, move || {
            let (before, after) = (statistics(of, &old), statistics(of, &new));
            let changed = changed_stats(&before, &after);
            (new, after, changed)
        })
        .await?;
        changed_features += changed;
        let ratings = self.tables.store_ratings(of, self.generation, bucket, new).await?;
        let features = self.store_features(of, bucket, stats).await?;
        Ok(Merged { bucket, files: Some((ratings, features)), changed_pairs, changed_features })
    }
}

/// Where changes of users' buckets go: to those of their items.
struct Sink {
    buckets: Buckets,
    routed: Mutex<Routed<Entry>>,
}

/// What became of one bucket.
struct Merged {
    bucket: u32,
    /// The files of ratings and statistics, `None` where there are no rows; nothing if nothing changed.
    files: Option<(Option<TableFile>, Option<TableFile>)>,
    changed_pairs: u64,
    changed_features: u64,
}

impl Work<'_> {
    /// Takes new rows of custom groups in.
    async fn custom(
        &mut self,
        inputs: Vec<BronzeObject>,
        tombstones: &Tombstones,
        groups: &Groups,
        rejected: &mut Vec<QuarantinedLine>,
    ) -> Result<()> {
        let compute = self.compute;
        let mut routed: BTreeMap<FeatureName, Routed<custom::Entry>> = BTreeMap::new();
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
                        let new = || Routed::new(self.buckets.count(), compute.config.memory_bytes);
                        routed.entry(group.name.clone()).or_insert_with(new).push(bucket, &entry)?;
                    }
                    Err(unfit) => {
                        let (number, reason) = (0, unfit.to_string());
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
            let touched: Vec<u32> = routed.touched().map(|(bucket, _)| bucket).collect();
            for bucket in touched {
                self.fold(group, bucket, routed.take(bucket)?, tombstones).await?;
            }
        }
        Ok(())
    }

    /// Folds new rows into one bucket of a custom group.
    async fn fold(
        &mut self,
        group: &GroupSchema,
        bucket: u32,
        routed: RoutedBucket<custom::Entry>,
        tombstones: &Tombstones,
    ) -> Result<()> {
        let table = self.commit.custom.get(&group.name);
        let old = self.compute.tables.custom_of(group, table, bucket).await?;
        let (kind, key) = (group.entity, self.compute.erasure_key.clone());
        let tombstones = tombstones.clone();
        let folded = offload(true, move || {
            let new = routed.read()?;
            let is_barred = |id: &EntityKey, time| {
                let tombstone = tombstones.get(&TombstoneKey(key.tombstone_of(kind, id.as_str())));
                tombstone.is_some_and(|tombstone| time <= tombstone.barred_until)
            };
            Ok::<_, recstore_core::Error>(custom::fold(old, new, is_barred))
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
        let base = self.compute.base.clone();
        let to_users = std::mem::replace(&mut self.to_users, Routed::new(0, 0));
        let routed = Mutex::new(Routed::new(self.buckets.count(), self.compute.config.memory_bytes));
        let to_items = Sink { buckets: self.buckets, routed };
        let begun = Instant::now();
        self.report.user_buckets = self.merge(&base, EntityKind::User, to_users, Some(&to_items)).await?;
        self.phases.users = begun.elapsed();
        let to_items = to_items.routed.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.report.item_buckets = self.merge(&base, EntityKind::Item, to_items, None).await?;
        self.phases.items = begun.elapsed() - self.phases.users;
        self.commit.count_versions(&base);
        Ok((Computed { commit: self.commit, rejected, report: self.report }, self.phases))
    }

    /// Merges every touched bucket of one side; returns how many there were.
    async fn merge(
        &mut self,
        base: &CommitDocument,
        of: EntityKind,
        mut routed: Routed<Entry>,
        sink: Option<&Sink>,
    ) -> Result<u64> {
        let compute = self.compute;
        let touched: Vec<u32> = routed.touched().map(|(bucket, _)| bucket).collect();
        let count = touched.len() as u64;
        let taken: Vec<(u32, RoutedBucket<Entry>)> =
            touched.into_iter().map(|bucket| Ok((bucket, routed.take(bucket)?))).collect::<Result<_>>()?;
        let merged = stream::iter(taken)
            .map(|(bucket, routed)| compute.bucket(base, of, bucket, routed, sink))
            .buffer_unordered(compute.parallel());
        futures::pin_mut!(merged);
        while let Some(merged) = merged.try_next().await? {
            let Merged { bucket, files, changed_pairs, changed_features } = merged;
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
