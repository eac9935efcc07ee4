//! The maps of one namespace, and the questions that more than one store asks them.

use std::collections::{BTreeMap, BTreeSet};

use crate::features::ContentHash;
use crate::{
    Entity, EntityKey, EntityKind, ErasureKey, FeatureName, GroupSchema, ItemId, Neighbour, Popular,
    RatingRow, RatingStats, ReleaseId, ReleaseInfo, ReleaseSpec, ReleaseState, Timestamp, UserId,
};

/// Everything that one namespace holds.
#[derive(Default)]
pub(super) struct State {
    /// The rows of every user, by item. No map is empty.
    pub(super) rows: BTreeMap<UserId, BTreeMap<ItemId, RatingRow>>,
    /// Who has a row of an item: the index of `rows` by item. No set is empty.
    pub(super) raters: BTreeMap<ItemId, BTreeSet<UserId>>,
    /// Custom groups.
    pub(super) groups: BTreeMap<FeatureName, Group>,
    /// Releases of both kinds.
    pub(super) releases: BTreeMap<ReleaseId, Release>,
    /// Items that no read of neighbours or popular items shows.
    pub(super) hidden: BTreeSet<ItemId>,
    /// What is left of erased entities, by keyed hash.
    pub(super) tombstones: BTreeMap<[u8; 16], Tombstone>,
}

/// A custom group.
pub(super) struct Group {
    pub(super) schema: GroupSchema,
    pub(super) rows: BTreeMap<EntityKey, StoredRow>,
}

/// The winning row of an entity in a custom group; a deletion is a row.
pub(super) struct StoredRow {
    pub(super) event_time: Timestamp,
    pub(super) hash: ContentHash,
    pub(super) deleted: bool,
    pub(super) encoded: Vec<u8>,
}

/// A release with its lists.
pub(super) struct Release {
    pub(super) spec: ReleaseSpec,
    pub(super) created_at: Timestamp,
    pub(super) sealed: bool,
    pub(super) promotion: Option<u64>,
    pub(super) lists: BTreeMap<EntityKey, Vec<Neighbour>>,
    pub(super) popular: Vec<Popular>,
}

/// What an erasure leaves.
#[derive(Clone, Copy)]
pub(super) struct Tombstone {
    /// The last erasure.
    pub(super) erased_at: Timestamp,
    /// Events up to this time stay out.
    pub(super) barred_until: Timestamp,
}

impl State {
    /// Every rating row, in (user, item) order.
    pub(super) fn all_rows(&self) -> impl Iterator<Item = &RatingRow> {
        self.rows.values().flat_map(BTreeMap::values)
    }

    /// One user's rows.
    pub(super) fn rows_of_user(&self, user: &UserId) -> impl Iterator<Item = &RatingRow> {
        self.rows.get(user).into_iter().flat_map(BTreeMap::values)
    }

    /// One item's rows.
    pub(super) fn rows_of_item(&self, item: &ItemId) -> impl Iterator<Item = &RatingRow> {
        let raters = self.raters.get(item).into_iter().flatten();
        raters.filter_map(|user| self.rows.get(user)?.get(item))
    }

    /// The statistics of one entity, folded from its rows.
    pub(super) fn stats_of(&self, kind: EntityKind, id: &EntityKey) -> RatingStats {
        match kind {
            EntityKind::User => fold(self.rows_of_user(&id.clone().into())),
            EntityKind::Item => fold(self.rows_of_item(&id.clone().into())),
        }
    }

    /// Every entity of a kind with a rating row, in order of id.
    pub(super) fn rated(&self, kind: EntityKind) -> Vec<EntityKey> {
        match kind {
            EntityKind::User => self.rows.keys().cloned().map(EntityKey::from).collect(),
            EntityKind::Item => self.raters.keys().cloned().map(EntityKey::from).collect(),
        }
    }

    /// What an earlier erasure left of an entity.
    pub(super) fn tombstone(&self, key: &ErasureKey, kind: EntityKind, id: &str) -> Option<Tombstone> {
        if self.tombstones.is_empty() {
            return None;
        }
        self.tombstones.get(&key.tombstone_of(kind, id)).copied()
    }

    /// Whether an erasure bars events of this entity and time.
    pub(super) fn is_barred(&self, key: &ErasureKey, kind: EntityKind, id: &str, time: Timestamp) -> bool {
        self.tombstone(key, kind, id).is_some_and(|tombstone| time <= tombstone.barred_until)
    }

    /// Whether an entity was erased since a release was begun, and so must not get into it any more.
    pub(super) fn erased_since(
        &self,
        key: &ErasureKey,
        kind: EntityKind,
        id: &EntityKey,
        created_at: Timestamp,
    ) -> bool {
        self.tombstone(key, kind, id.as_str()).is_some_and(|tombstone| tombstone.erased_at >= created_at)
    }

    /// Whether reads of neighbours and popular entities leave this one out.
    pub(super) fn is_hidden(&self, kind: EntityKind, id: &EntityKey) -> bool {
        kind == EntityKind::Item && self.hidden.contains(&ItemId::from(id.clone()))
    }

    /// Every release of a kind, newest first.
    pub(super) fn releases_of(&self, kind: EntityKind) -> impl Iterator<Item = (&ReleaseId, &Release)> {
        self.releases.iter().rev().filter(move |(_, release)| release.spec.kind == kind)
    }

    /// The current release of a kind: the one with the greatest promotion.
    pub(super) fn current(&self, kind: EntityKind) -> Option<(&ReleaseId, &Release)> {
        self.releases_of(kind)
            .filter(|(_, release)| release.promotion.is_some())
            .max_by_key(|(_, release)| release.promotion)
    }

    /// What is told of a release.
    pub(super) fn info(&self, id: &ReleaseId, release: &Release) -> ReleaseInfo {
        let is_current = self.current(release.spec.kind).is_some_and(|(current, _)| current == id);
        let state = match (release.sealed, is_current) {
            (false, _) => ReleaseState::Building,
            (true, false) => ReleaseState::Sealed,
            (true, true) => ReleaseState::Current,
        };
        ReleaseInfo {
            id: id.clone(),
            spec: release.spec,
            state,
            created_at: release.created_at,
            promotion: release.promotion,
            lists: release.lists.len() as u64,
            neighbours: release.lists.values().map(|list| list.len() as u64).sum(),
        }
    }

    /// Takes the rating rows of an entity out of both maps.
    pub(super) fn remove_ratings(&mut self, entity: &Entity) {
        let pairs: Vec<(UserId, ItemId)> = match entity.kind {
            EntityKind::User => pairs(self.rows_of_user(&entity.key.clone().into())),
            EntityKind::Item => pairs(self.rows_of_item(&entity.key.clone().into())),
        };
        for (user, item) in &pairs {
            if let Some(items) = self.rows.get_mut(user) {
                items.remove(item);
            }
            if let Some(raters) = self.raters.get_mut(item) {
                raters.remove(user);
            }
        }
        self.rows.retain(|_, items| !items.is_empty());
        self.raters.retain(|_, raters| !raters.is_empty());
    }
}

/// Statistics of rows: values of ratings that stand, times of withdrawn ones too.
fn fold<'a>(rows: impl Iterator<Item = &'a RatingRow>) -> RatingStats {
    let mut stats = RatingStats::default();
    for row in rows {
        // Values are only added here, never taken away: the extremes stay known without help.
        let _known = stats.apply(None, row.rating.value());
        stats.observe(row.first_rated_at, row.rating.rated_at());
    }
    stats
}

fn pairs<'a>(rows: impl Iterator<Item = &'a RatingRow>) -> Vec<(UserId, ItemId)> {
    rows.map(|row| (row.rating.user().clone(), row.rating.item().clone())).collect()
}
