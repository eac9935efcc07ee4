//! Which releases there are, where they stand, and which objects they consist of. A document that the head names.

use std::collections::BTreeMap;

use recstore_core::{ReleaseId, ReleaseSpec, Timestamp};
use serde::{Deserialize, Serialize};

use crate::lake::documents::DocumentRef;

/// The releases of a namespace, of both kinds, by name.
pub type Catalogue = BTreeMap<ReleaseId, Release>;

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What it was begun with.
    pub spec: ReleaseSpec,
    /// When it was begun.
    pub created_at: Timestamp,
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
    Sealed {
        /// One more with every erasure that took something out.
        revision: u32,
        /// All lists.
        lists: DocumentRef,
        /// The popularity list.
        popular: DocumentRef,
        /// How many entities have a list.
        list_count: u64,
        /// How many neighbours the lists have together.
        neighbour_count: u64,
    },
}

impl Release {
    /// Whether it takes lists.
    pub fn is_building(&self) -> bool {
        matches!(self.content, Content::Building { .. })
    }
}
