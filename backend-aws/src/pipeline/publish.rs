//! What differs between two generations: rows to DynamoDB, files to the tables' logs.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use recstore_core::{EntityKey, EntityKind, GroupSchema, Outcome, RatingStats, Result};
use serde::Serialize;

use super::compute::Groups;
use super::manifest::{Manifest, Purpose};
use super::merge::{changes, joined};
use super::statistics::statistics_of;
use super::tables::SilverTables;
use crate::lake::commit::{CommitDocument, TableFiles};
use crate::lake::offload::offload;
use crate::online::Online;
use crate::online::ratings::RatingChange;
use crate::online::versioned::Generation;

/// Rows handed to the tables at a time.
const ROWS_AT_ONCE: usize = 1000;

/// What a publication did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PublishReport {
    /// Items of ratings that were written: the pair, and its places in two histories.
    pub rating_items: u64,
    /// Items of statistics that were written.
    pub feature_items: u64,
    /// Rows of custom groups that were missing.
    pub custom_items: u64,
    /// Items that were there already, from another run of the same generation.
    pub unchanged: u64,
}

impl PublishReport {
    fn add(&mut self, other: PublishReport) {
        self.rating_items += other.rating_items;
        self.feature_items += other.feature_items;
        self.custom_items += other.custom_items;
        self.unchanged += other.unchanged;
    }
}

/// Publishes a generation.
pub(crate) struct Publisher<'a> {
    pub(crate) tables: &'a SilverTables,
    pub(crate) online: &'a Online,
    pub(crate) groups: &'a Groups,
    pub(crate) parallel: usize,
}

impl Publisher<'_> {
    /// Publishes what differs from `base`. Idempotent, by any number of runs at once.
    ///
    /// # Errors
    /// Those of both services; `Corrupt`; `Conflict` if the generation was published with other rows.
    pub(crate) async fn publish(
        &self,
        base: &CommitDocument,
        next: &CommitDocument,
        manifest: &Manifest,
    ) -> Result<PublishReport> {
        self.tables.log(base, next, self.groups, manifest).await?;
        self.rows(base, next, manifest).await
    }

    /// Publishes the rows that differ from `base`. Idempotent, by any number of runs at once.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) async fn rows(
        &self,
        base: &CommitDocument,
        next: &CommitDocument,
        manifest: &Manifest,
    ) -> Result<PublishReport> {
        let generation = Generation(manifest.generation);
        let mut report = PublishReport::default();
        for group in self.groups.values() {
            let tables = (base.custom.get(&group.name), next.custom.get(&group.name));
            let none = TableFiles::default();
            let buckets = differing(tables.0.unwrap_or(&none), tables.1.unwrap_or(&none));
            for bucket in buckets {
                report.add(self.custom(group, tables, bucket, manifest).await?);
            }
        }
        let users = differing(&base.ratings, &next.ratings);
        let ratings = stream::iter(users).map(|bucket| self.ratings(base, next, bucket, generation));
        report.add(sum(ratings.buffer_unordered(self.parallel.max(1))).await?);
        for kind in [EntityKind::User, EntityKind::Item] {
            let buckets = differing(base.feature_table(kind), next.feature_table(kind));
            let features =
                stream::iter(buckets).map(|bucket| self.features(kind, base, next, bucket, generation));
            report.add(sum(features.buffer_unordered(self.parallel.max(1))).await?);
        }
        Ok(report)
    }

    /// Rows of a custom group, each of which is put where it is newer: most are there already.
    async fn custom(
        &self,
        group: &GroupSchema,
        (base, next): (Option<&TableFiles>, Option<&TableFiles>),
        bucket: u32,
        manifest: &Manifest,
    ) -> Result<PublishReport> {
        let old = self.tables.custom_of(group, base, bucket).await?;
        let new = self.tables.custom_of(group, next, bucket).await?;
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for (old, new) in joined(&old, &new, |left, right| left.0.cmp(&right.0)) {
            match (old, new) {
                (old, Some(new)) if old != Some(new) => put.push(new.clone()),
                (Some(old), None) => gone.push((old.0.clone(), old.1.event_time)),
                _ => {}
            }
        }
        let (namespace, kind) = (self.tables.namespace(), group.entity);
        let mut report = PublishReport::default();
        for part in put.chunks(ROWS_AT_ONCE) {
            let rows = part.to_vec();
            let put = self.online.put_custom(namespace, kind, &group.name, rows, None).await?;
            for outcome in put {
                match outcome? {
                    Outcome::Applied => report.custom_items += 1,
                    _ => report.unchanged += 1,
                }
            }
        }
        for (id, event_time) in gone {
            let bar = match &manifest.purpose {
                Purpose::Erasure { tombstone, .. } => tombstone.barred_until.max(event_time),
                _ => event_time,
            };
            self.online.mark_erased(namespace, kind, &group.name, &id, bar, None).await?;
            report.custom_items += 1;
        }
        Ok(report)
    }

    async fn ratings(
        &self,
        base: &CommitDocument,
        next: &CommitDocument,
        bucket: u32,
        generation: Generation,
    ) -> Result<PublishReport> {
        let old = self.tables.ratings_of(EntityKind::User, &base.ratings, bucket).await?;
        let new = self.tables.ratings_of(EntityKind::User, &next.ratings, bucket).await?;
        let mut differ = changes(EntityKind::User, &old, &new)
            .map(|(old, new)| RatingChange { old: old.cloned(), new: new.cloned() });
        let mut report = PublishReport::default();
        loop {
            let part: Vec<RatingChange> = differ.by_ref().take(ROWS_AT_ONCE).collect();
            if part.is_empty() {
                break;
            }
            let published =
                self.online.publish_ratings(self.tables.namespace(), generation, &part, None).await?;
            report.rating_items += published.written;
            report.unchanged += published.unchanged;
        }
        Ok(report)
    }

    async fn features(
        &self,
        kind: EntityKind,
        base: &CommitDocument,
        next: &CommitDocument,
        bucket: u32,
        generation: Generation,
    ) -> Result<PublishReport> {
        let old = statistics_of(self.tables, kind, base, bucket).await?;
        let new = statistics_of(self.tables, kind, next, bucket).await?;
        let differ: Vec<(EntityKey, Option<RatingStats>)> = offload(true, move || {
            joined(&old, &new, |left, right| left.0.cmp(&right.0))
                .filter(|(old, new)| old != new)
                .filter_map(|(old, new)| {
                    let (id, _) = new.or(old)?;
                    Some((id.clone(), new.map(|(_, stats)| stats.clone())))
                })
                .collect()
        })
        .await?;
        let mut report = PublishReport::default();
        for part in differ.chunks(ROWS_AT_ONCE) {
            let (namespace, part) = (self.tables.namespace(), part.to_vec());
            let published = self.online.publish_stats(namespace, kind, generation, part, None).await?;
            report.feature_items += published.written;
            report.unchanged += published.unchanged;
        }
        Ok(report)
    }
}

/// The buckets whose file is another.
fn differing(base: &TableFiles, next: &TableFiles) -> Vec<u32> {
    let buckets: BTreeSet<u32> = base.buckets.keys().chain(next.buckets.keys()).copied().collect();
    buckets.into_iter().filter(|bucket| base.buckets.get(bucket) != next.buckets.get(bucket)).collect()
}

async fn sum(reports: impl stream::Stream<Item = Result<PublishReport>>) -> Result<PublishReport> {
    reports
        .try_fold(PublishReport::default(), |mut total, report| async move {
            total.add(report);
            Ok(total)
        })
        .await
}
