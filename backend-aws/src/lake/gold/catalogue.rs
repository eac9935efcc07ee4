//! Which releases there are, where they stand, and which objects they consist of. A document that the head names.

use std::collections::BTreeMap;

use recstore_core::{EntityKind, ReleaseId, ReleaseInfo, ReleaseSpec, ReleaseState, Timestamp};
use serde::{Deserialize, Serialize};

use crate::lake::documents::DocumentRef;
use crate::lake::gold::lists::Counts;

/// The releases of a namespace, of both kinds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// By name.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// What no reader is led to any more, and may still be in the tables.
    pub retired: Vec<Publication>,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What it was begun with.
    pub spec: ReleaseSpec,
    /// When it was begun.
    pub created_at: Timestamp,
    /// The revision of the head that began it. Names can come again after pruning, this never does.
    pub begun: u64,
    /// The greatest is that of the current release; `None` if it was never promoted or was rolled back.
    pub promotion: Option<u64>,
    /// What it holds.
    pub content: Content,
}

/// What a release holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// It takes lists: the parts so far, each of which replaces lists of earlier ones.
    Building {
        /// Lists, in the order they were put.
        parts: Vec<DocumentRef>,
    },
    /// It is immutable; only an erasure makes another revision of it.
    Sealed(Sealed),
}

/// A sealed release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// One more with every erasure that took something out.
    pub revision: u32,
    /// All lists.
    pub lists: DocumentRef,
    /// The popularity list.
    pub popular: DocumentRef,
    /// How many entities have a list.
    pub list_count: u64,
    /// How many neighbours the lists have together.
    pub neighbour_count: u64,
}

impl Sealed {
    /// How much it holds.
    pub fn counts(&self) -> Counts {
        Counts { lists: self.list_count, neighbours: self.neighbour_count }
    }
}

/// One revision of a release as it stands in the tables. What has this name never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Neighbours among users or among items.
    pub kind: EntityKind,
    /// The name that the lists stand under.
    pub name: ReleaseId,
    /// The lists.
    pub lists: DocumentRef,
}

impl Release {
    /// What it holds, if it is sealed.
    pub fn sealed(&self) -> Option<&Sealed> {
        match &self.content {
            Content::Sealed(sealed) => Some(sealed),
            Content::Building { .. } => None,
        }
    }

    /// How these lists stand in the tables. The name tells the release, its life, the revision and the content:
    /// whoever publishes under it publishes the same.
    pub fn publication(&self, id: &ReleaseId, revision: u32, lists: &DocumentRef) -> Publication {
        let name = format!("{id}.{}.r{revision}-{}", self.begun, lists.digest.short());
        Publication { kind: self.spec.kind, name: ReleaseId::from_text(name), lists: lists.clone() }
    }

    /// What readers of it get; `None` while it is being built.
    pub fn published(&self, id: &ReleaseId) -> Option<Publication> {
        self.sealed().map(|sealed| self.publication(id, sealed.revision, &sealed.lists))
    }
}

impl Catalogue {
    /// How many releases there are.
    pub fn len(&self) -> usize {
        self.releases.len()
    }

    /// Whether there is no release.
    pub fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    /// Every release of a kind, newest first.
    pub fn of(&self, kind: EntityKind) -> impl Iterator<Item = (&ReleaseId, &Release)> {
        self.releases.iter().rev().filter(move |(_, release)| release.spec.kind == kind)
    }

    /// The current release of a kind: the one with the greatest promotion.
    pub fn current(&self, kind: EntityKind) -> Option<(&ReleaseId, &Release)> {
        self.of(kind)
            .filter(|(_, release)| release.promotion.is_some())
            .max_by_key(|(_, release)| release.promotion)
    }

    /// The first name after those of the same millisecond, so that newer releases sort after older ones.
    pub fn free_id(&self, kind: EntityKind, created_at: Timestamp) -> ReleaseId {
        let newest = self.of(kind).find(|(_, release)| release.created_at == created_at);
        let mut ordinal = 0;
        loop {
            let id = ReleaseId::new(kind, created_at, ordinal);
            if newest.is_none_or(|(newest, _)| id > *newest) {
                return id;
            }
            ordinal += 1;
        }
    }

    /// What is told of a release that holds this much.
    pub fn info(&self, id: &ReleaseId, release: &Release, counts: Counts) -> ReleaseInfo {
        let is_current = self.current(release.spec.kind).is_some_and(|(current, _)| current == id);
        let state = match (release.sealed(), is_current) {
            (None, _) => ReleaseState::Building,
            (Some(_), false) => ReleaseState::Sealed,
            (Some(_), true) => ReleaseState::Current,
        };
        ReleaseInfo {
            id: id.clone(),
            spec: release.spec,
            state,
            created_at: release.created_at,
            promotion: release.promotion,
            lists: counts.lists,
            neighbours: counts.neighbours,
        }
    }
}

impl Release {
    /// Whether it takes lists.
    pub fn is_building(&self) -> bool {
        matches!(self.content, Content::Building { .. })
    }
}
