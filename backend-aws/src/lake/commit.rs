//! The commit document of a generation: which immutable files make up the silver tables.

use std::collections::BTreeMap;

use recstore_core::FeatureName;
use serde::{Deserialize, Serialize};

use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::documents::DocumentRef;

/// One data file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFile {
    /// The object.
    #[serde(flatten)]
    pub object: DocumentRef,
    /// Its rows.
    pub rows: u64,
    /// Those of them that stand: ratings that are not withdrawn, entities with a rating, rows that are not deleted.
    pub live: u64,
}

/// The files of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFiles {
    /// The number of the table's next version for other tools.
    pub versions: u64,
    /// The file of each bucket that has rows.
    pub buckets: BTreeMap<u32, TableFile>,
}

impl TableFiles {
    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.buckets.values().map(|file| file.rows).sum()
    }

    /// Rows that stand, of all files.
    pub fn live(&self) -> u64 {
        self.buckets.values().map(|file| file.live).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.buckets.values().map(|file| file.object.bytes).sum()
    }
}

/// What a generation consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitDocument {
    /// Rating rows by user.
    pub ratings: TableFiles,
    /// The same rows by item.
    pub ratings_by_item: TableFiles,
    /// Statistics of users.
    pub user_features: TableFiles,
    /// Statistics of items.
    pub item_features: TableFiles,
    /// Rows of custom groups.
    pub custom: BTreeMap<FeatureName, TableFiles>,
    /// How far the rating events are taken in.
    pub cursors: BronzeCursors,
    /// How far the rows of custom groups are taken in.
    pub feature_cursors: BronzeCursors,
}
