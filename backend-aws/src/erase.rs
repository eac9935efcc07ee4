//! Erasure: an entity out of all tables, custom rows and releases, and the tombstone that keeps it out.
//!
//! The commit point is the generation with the tombstone: from then on no read shows the entity, whatever is still
//! to be cleaned up, and the same call again goes on with that.

use recstore_core::{Entity, EraseReport, Result, Timestamp};

use crate::backend::AwsStorage;
use crate::lake::head::{Snapshot, State, Tombstone, TombstoneKey};
use crate::pipeline::run::RunOptions;
use crate::similarities::publish::with_releases;

impl AwsStorage {
    /// What an erasure would take away now, of everything that was acknowledged before.
    pub(crate) async fn count_for_erasure(&self, entity: &Entity) -> Result<EraseReport> {
        let pipeline = self.pipeline();
        let _report = pipeline.run(RunOptions::default()).await?;
        let snapshot = self.space.heads.read(None).await?;
        let purged = self.purge_releases(&snapshot.state, entity, true, None).await?;
        Ok(EraseReport {
            ratings: pipeline.count_rows(&snapshot, entity).await?,
            feature_rows: 0,
            neighbour_lists: purged.neighbour_lists,
            neighbour_entries: purged.neighbour_entries,
            barred_until: self.new_tombstone(&snapshot.state, entity).barred_until,
        })
    }

    /// Takes an entity out of everything.
    pub(crate) async fn erase_everywhere(&self, entity: &Entity) -> Result<()> {
        let tombstone = |state: &State| self.new_tombstone(state, entity);
        self.pipeline().erase(entity, &tombstone).await?;
        self.space.pins.forget().await;
        let committed = self.space.heads.read(None).await?;
        // The tombstone is committed: readers leave the entity out of every release as soon as they hear of it.
        self.tell_readers(&committed).await?;
        let purge = |snapshot: Snapshot| async move {
            let state = &snapshot.state;
            let purged = self.purge_releases(state, entity, false, None).await?;
            let mut next = with_releases(state, (*purged.releases).clone());
            if let recstore_core::EntityKind::Item = entity.kind {
                let item = recstore_core::ItemId::from(entity.key.clone());
                if next.hidden.contains(&item) {
                    std::sync::Arc::make_mut(&mut next.hidden).remove(&item);
                }
            }
            let changed = next != *state;
            Ok((changed.then_some(next), ()))
        };
        let (committed, ()) = self.space.heads.change(None, purge).await?;
        self.tell_readers(&committed).await?;
        self.try_to_clear_retired(&committed).await;
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
