//! Who was erased since a release was begun, and so must not be in it.

use std::sync::Arc;

use recstore_core::{EntityKey, EntityKind, ErasureKey, NeighbourList, Popular, Timestamp};

use crate::lake::head::{TombstoneKey, Tombstones};

/// The entities of one kind that were erased at or after a time.
#[derive(Debug, Clone)]
pub(crate) struct Erased {
    tombstones: Arc<Tombstones>,
    key: ErasureKey,
    kind: EntityKind,
    since: Timestamp,
    /// Whether there is anyone: hashing every id costs something.
    anyone: bool,
}

impl Erased {
    /// Those erased at or after `since`; `newest` is when the last erasure was.
    pub(crate) fn since(
        since: Timestamp,
        kind: EntityKind,
        key: &ErasureKey,
        tombstones: &Arc<Tombstones>,
        newest: Option<Timestamp>,
    ) -> Erased {
        let anyone = newest.is_some_and(|newest| newest >= since);
        Erased { tombstones: Arc::clone(tombstones), key: key.clone(), kind, since, anyone }
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, id: &EntityKey) -> bool {
        self.anyone && {
            let hash = TombstoneKey(self.key.tombstone_of(self.kind, id.as_str()));
            self.tombstones.get(&hash).is_some_and(|tombstone| tombstone.erased_at >= self.since)
        }
    }

    /// What is left of a list.
    pub(crate) fn filter(&self, mut list: NeighbourList) -> Option<NeighbourList> {
        if self.contains(&list.id) {
            return None;
        }
        if self.anyone {
            list.neighbours.retain(|neighbour| !self.contains(&neighbour.id));
        }
        Some(list)
    }

    /// What is left of a popularity list.
    pub(crate) fn filter_popular(&self, mut popular: Vec<Popular>) -> Vec<Popular> {
        popular.retain(|popular| !self.contains(&popular.id));
        popular
    }
}

/// When the last erasure was.
pub(crate) fn newest_erasure(tombstones: &Tombstones) -> Option<Timestamp> {
    tombstones.values().map(|tombstone| tombstone.erased_at).max()
}

/// The one that an erasure is about, known by the keyed hash of its id: whoever goes on with an erasure that another
/// began knows no more.
#[derive(Debug, Clone)]
pub(crate) struct ErasedOne {
    /// User or item.
    pub(crate) kind: EntityKind,
    /// The keyed hash of its id.
    pub(crate) hash: TombstoneKey,
    /// The key of the hash.
    pub(crate) key: ErasureKey,
}

impl ErasedOne {
    /// Whether this is its id.
    pub(crate) fn is(&self, id: &str) -> bool {
        self.key.tombstone_of(self.kind, id) == self.hash.0
    }
}
