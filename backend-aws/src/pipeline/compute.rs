//! From a committed generation and new events to the files of the next one. Nothing names them yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt, TryStreamExt};
use recstore_core::{BayesianPrior, Entity, EntityKey, EntityKind, ErasureKey, RatingStats, Result};
use serde::{Deserialize, Serialize};

use super::merge::{Entry, changes, joined, merge, statistics};
use super::route::{Routed, RoutedBucket};
use super::tables::SilverTables;
use crate::config::PipelineConfig;
use crate::lake::bronze::reader::{BronzeObject, BronzeReader, RejectedLine};
use crate::lake::commit::{CommitDocument, TableFile};
use crate::lake::head::{Tombstones, is_barred};
use crate::lake::offload::offload;
use crate::lake::silver::buckets::Buckets;

/// Lines decoded at a time.
const BATCH_LINES: usize = 16_384;
/// The most bad lines that are kept; the rest is counted.
const MOST_KEPT: usize = 10_000;

/// A bad line and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedLine {
    /// The object.
    pub object: String,
    /// The number, within its epoch, that the event would have.
    pub number: u64,
    /// Why it is no event.
    pub reason: String,
    /// How the line begins.
    pub text: String,
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

/// What computing needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compute<'a> {
    pub(crate) tables: &'a SilverTables,
    pub(crate) config: &'a PipelineConfig,
    pub(crate) prior: BayesianPrior,
    pub(crate) erasure_key: &'a ErasureKey,
    /// The generation that is made.
    pub(crate) generation: u64,
}

/// The state of one computation.
struct Work<'a> {
    compute: Compute<'a>,
    commit: CommitDocument,
    buckets: Buckets,
    to_users: Routed,
    report: ComputeReport,
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
        Ok(Work { compute: self, commit, buckets, to_users, report: ComputeReport::default() })
    }

    /// The next generation after new events.
    ///
    /// # Errors
    /// `Corrupt` for what was not stored like this; those of the object store; `Full` and `Unavailable` for
    /// temporary files.
    pub(crate) async fn events(
        self,
        base: &CommitDocument,
        reader: &BronzeReader,
        inputs: Vec<BronzeObject>,
        tombstones: &Tombstones,
    ) -> Result<Computed> {
        let mut work = self.begin(base)?;
        let mut rejected = Vec::new();
        let mut batches = reader.read(inputs, BATCH_LINES, None);
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
        work.finish(rejected).await
    }

    /// The next generation without an entity.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub(crate) async fn without(self, base: &CommitDocument, entity: &Entity) -> Result<Computed> {
        let mut work = self.begin(base)?;
        let pairs = self.pairs_of(base, entity).await?;
        for (user, item) in &pairs {
            let bucket = work.buckets.of(user.as_str());
            work.to_users.push(bucket, &Entry::Delete(user.clone(), item.clone()))?;
        }
        work.finish(Vec::new()).await
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
        routed: RoutedBucket,
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
    routed: Mutex<Routed>,
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
    /// Merges what was routed to users, and what changed there into the items' tables.
    async fn finish(mut self, rejected: Vec<QuarantinedLine>) -> Result<Computed> {
        let base = self.commit.clone();
        let to_users = std::mem::replace(&mut self.to_users, Routed::new(0, 0));
        let routed = Mutex::new(Routed::new(self.buckets.count(), self.compute.config.memory_bytes));
        let to_items = Sink { buckets: self.buckets, routed };
        self.report.user_buckets = self.merge(&base, EntityKind::User, to_users, Some(&to_items)).await?;
        let to_items = to_items.routed.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.report.item_buckets = self.merge(&base, EntityKind::Item, to_items, None).await?;
        self.commit.count_versions(&base);
        Ok(Computed { commit: self.commit, rejected, report: self.report })
    }

    /// Merges every touched bucket of one side; returns how many there were.
    async fn merge(
        &mut self,
        base: &CommitDocument,
        of: EntityKind,
        mut routed: Routed,
        sink: Option<&Sink>,
    ) -> Result<u64> {
        let compute = self.compute;
        let touched: Vec<u32> = routed.touched().map(|(bucket, _)| bucket).collect();
        let count = touched.len() as u64;
        let taken: Vec<(u32, RoutedBucket)> =
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
