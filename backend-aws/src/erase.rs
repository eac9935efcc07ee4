//! Erasure: an entity out of all tables, custom rows and releases, and the tombstone that keeps it out.
//!
//! The commit point is that of a generation: tables, releases and tombstone change in one step.

use recstore_core::{Entity, EraseReport, Result, Timestamp};

use crate::backend::AwsStorage;
use crate::lake::gold::erased::ErasedOne;
use crate::lake::head::{State, Tombstone, TombstoneKey};
use crate::pipeline::run::RunOptions;

impl AwsStorage {
    /// What an erasure would take away now, of everything that was acknowledged before.
    pub(crate) async fn count_for_erasure(&self, entity: &Entity) -> Result<EraseReport> {
        let pipeline = self.pipeline();
        let _report = pipeline.run(RunOptions::default()).await?;
        let snapshot = self.space.heads.read(None).await?;
        let hash = TombstoneKey(self.shared.context.erasure_key.tombstone(entity));
        let erased = ErasedOne { kind: entity.kind, hash, key: self.shared.context.erasure_key.clone() };
        let purged = self.purge_releases(&snapshot.state, &erased, true, None).await?;
        Ok(EraseReport {
            ratings: pipeline.count_rows(&snapshot, entity).await?,
            feature_rows: pipeline.count_custom(&snapshot, entity).await?,
            neighbour_lists: purged.neighbour_lists,
            neighbour_entries: purged.neighbour_entries,
            barred_until: self.new_tombstone(&snapshot.state, entity).barred_until,
        })
    }

    /// Takes an entity out of everything.
    pub(crate) async fn erase_everywhere(&self, entity: &Entity) -> Result<()> {
        let tombstone = |state: &State| self.new_tombstone(state, entity);
        let committed = self.pipeline().erase(entity, &tombstone).await?;
        self.space.pins.forget().await;
        self.bar_custom_rows(entity, &committed.state).await?;
        self.try_to_clear_retired(&committed).await;
        Ok(())
    }

    /// Takes away rows of custom groups that were put meanwhile, and bars older ones that are still on their way.
    async fn bar_custom_rows(&self, entity: &Entity, state: &State) -> Result<()> {
        let key = TombstoneKey(self.shared.context.erasure_key.tombstone(entity));
        let Some(tombstone) = state.tombstones.get(&key) else { return Ok(()) };
        for group in state.groups.values().filter(|group| group.entity == entity.kind) {
            let (namespace, bar) = (&self.space.namespace, tombstone.barred_until);
            let online = &self.shared.online;
            online.mark_erased(namespace, entity.kind, &group.name, &entity.key, bar, None).await?;
        }
        Ok(())
    }

    /// What an erasure leaves. Where the clock went back, an earlier erasure keeps its times, and the erasure is not
    /// before the begin of a release that is being built: its lists may still name the entity.
    fn new_tombstone(&self, state: &State, entity: &Entity) -> Tombstone {
        let key = TombstoneKey(self.shared.context.erasure_key.tombstone(entity));
        let now = self.shared.context.clock.now();
        let barred_until = now.saturating_add(self.shared.context.limits.max_future_skew);
        let building = state.releases.releases.values().filter(|release| release.is_building());
        let erased_at = building.map(|release| release.created_at).fold(now, Timestamp::max);
        match state.tombstones.get(&key) {
            Some(old) => Tombstone {
                erased_at: old.erased_at.max(erased_at),
                barred_until: old.barred_until.max(barred_until),
            },
            None => Tombstone { erased_at, barred_until },
        }
    }
}
