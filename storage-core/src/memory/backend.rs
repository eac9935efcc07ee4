//! The bundle: erasure, fingerprints, figures, closing.

use std::sync::Arc;

use async_trait::async_trait;

use super::state::{State, Tombstone};
use super::{MemoryStorage, poisoned, ratings};
use crate::{
    BayesianPrior, Capabilities, Entity, EntityKind, EraseOptions, EraseReport, FingerprintBuilder,
    Fingerprints, GetOptions, Health, HealthCheck, ItemId, Namespace, Result, Stats, Storage, Timestamp,
};

#[async_trait]
impl Storage for MemoryStorage {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Arc<dyn Storage> {
        Arc::new(MemoryStorage { namespace, ..self.clone() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::local("memory", false)
    }

    async fn health(&self) -> Result<Health> {
        let well = |name: &str| HealthCheck {
            name: name.to_owned(),
            ok: true,
            detail: "in memory, lost when the process ends".to_owned(),
        };
        self.read(None, |_| Ok(Health::of(vec![well("read"), well("write")])))
    }

    async fn stats(&self, options: GetOptions) -> Result<Stats> {
        self.read(options.deadline, |state| Ok(stats(state)))
    }

    async fn fingerprint(&self, options: GetOptions) -> Result<Fingerprints> {
        self.read(options.deadline, |state| Ok(fingerprint(state, self.context.prior)))
    }

    async fn erase(&self, entity: &Entity, options: EraseOptions) -> Result<EraseReport> {
        self.write(options.deadline, |state| {
            let hash = self.context.erasure_key.tombstone(entity);
            let tombstone = self.new_tombstone(state, &hash);
            let report = count(state, entity, tombstone.barred_until);
            if !options.dry_run {
                remove(state, entity);
                state.tombstones.insert(hash, tombstone);
            }
            Ok(report)
        })
    }

    async fn refresh(&self) -> Result<()> {
        self.read(None, |_| Ok(()))
    }

    async fn close(&self) -> Result<()> {
        *self.shared.write().map_err(poisoned)? = None;
        Ok(())
    }
}

impl MemoryStorage {
    /// What an erasure leaves. Where the clock went back, an earlier erasure keeps its times, and the erasure
    /// is not before the begin of a release that is being built: its lists may still name the entity.
    fn new_tombstone(&self, state: &State, hash: &[u8; 16]) -> Tombstone {
        let now = self.now();
        let barred_until = now.saturating_add(self.context.limits.max_future_skew);
        let building = state.releases.values().filter(|release| !release.sealed);
        let erased_at = building.map(|release| release.created_at).fold(now, Timestamp::max);
        match state.tombstones.get(hash) {
            Some(old) => Tombstone {
                erased_at: old.erased_at.max(erased_at),
                barred_until: old.barred_until.max(barred_until),
            },
            None => Tombstone { erased_at, barred_until },
        }
    }
}

fn stats(state: &State) -> Stats {
    let rated = |kind| {
        let with_rating = state.rated(kind).into_iter().filter(|id| state.stats_of(kind, id).count() > 0);
        with_rating.count() as u64
    };
    let custom_rows = state.groups.values().flat_map(|group| group.rows.values());
    Stats {
        ratings: ratings::counts(state),
        users: rated(EntityKind::User),
        items: rated(EntityKind::Item),
        feature_rows: custom_rows.filter(|row| !row.deleted).count() as u64,
        releases: state.releases.len() as u64,
        hidden_items: state.hidden.len() as u64,
        tombstones: state.tombstones.len() as u64,
        backend: Vec::new(),
    }
}

fn fingerprint(state: &State, prior: BayesianPrior) -> Fingerprints {
    let mut builder = FingerprintBuilder::new();
    state.all_rows().for_each(|row| builder.rating(row));
    for (hash, tombstone) in &state.tombstones {
        builder.tombstone(hash, tombstone.erased_at, tombstone.barred_until);
    }
    for kind in [EntityKind::User, EntityKind::Item] {
        for id in state.rated(kind) {
            if let Some(features) = state.stats_of(kind, &id).finish(prior) {
                builder.rating_features(kind, &id, &features);
            }
        }
        for (id, list) in state.current(kind).into_iter().flat_map(|(_, release)| &release.lists) {
            builder.neighbours(kind, id, list);
        }
    }
    for group in state.groups.values() {
        builder.group(&group.schema);
        for (id, row) in &group.rows {
            builder.feature_row(&group.schema, id, row.event_time, &row.encoded);
        }
    }
    state.hidden.iter().for_each(|item| builder.hidden(item));
    builder.finish()
}

/// What there is of an entity.
fn count(state: &State, entity: &Entity, barred_until: Timestamp) -> EraseReport {
    let Entity { kind, key } = entity;
    let ratings = match kind {
        EntityKind::User => state.rows_of_user(&key.clone().into()).count(),
        EntityKind::Item => state.rows_of_item(&key.clone().into()).count(),
    };
    let groups = state.groups.values().filter(|group| group.schema.entity == *kind);
    let releases = || state.releases_of(*kind).map(|(_, release)| release);
    let entries = releases().flat_map(|release| release.lists.values().flatten());
    EraseReport {
        ratings: ratings as u64,
        feature_rows: groups.filter(|group| group.rows.contains_key(key)).count() as u64,
        neighbour_lists: releases().filter(|release| release.lists.contains_key(key)).count() as u64,
        neighbour_entries: entries.filter(|neighbour| neighbour.id == *key).count() as u64,
        barred_until,
    }
}

/// Takes an entity out of everything.
fn remove(state: &mut State, entity: &Entity) {
    let Entity { kind, key } = entity;
    state.remove_ratings(entity);
    for group in state.groups.values_mut().filter(|group| group.schema.entity == *kind) {
        group.rows.remove(key);
    }
    for release in state.releases.values_mut().filter(|release| release.spec.kind == *kind) {
        release.lists.remove(key);
        release.lists.values_mut().for_each(|list| list.retain(|neighbour| neighbour.id != *key));
        release.popular.retain(|popular| popular.id != *key);
    }
    if *kind == EntityKind::Item {
        state.hidden.remove(&ItemId::from(key.clone()));
    }
}
