//! The commit document of a generation: which immutable files make up the silver tables.

use std::collections::BTreeMap;

use recstore_core::{EntityKind, FeatureName};
use serde::{Deserialize, Serialize};

use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::documents::DocumentRef;
use crate::lake::silver::buckets::Buckets;

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
    /// How many columns of its own the table of a custom group had when it was written last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns: usize,
    /// The file of each bucket that has rows.
    pub buckets: BTreeMap<u32, TableFile>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
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
    /// How many buckets each table has; `None` before the first generation.
    pub buckets: Option<Buckets>,
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

impl CommitDocument {
    /// The rating rows by user, or by item.
    pub fn rating_table(&self, of: EntityKind) -> &TableFiles {
        match of {
            EntityKind::User => &self.ratings,
            EntityKind::Item => &self.ratings_by_item,
        }
    }

    pub(crate) fn rating_table_mut(&mut self, of: EntityKind) -> &mut TableFiles {
        match of {
            EntityKind::User => &mut self.ratings,
            EntityKind::Item => &mut self.ratings_by_item,
        }
    }

    /// The statistics of a kind.
    pub fn feature_table(&self, of: EntityKind) -> &TableFiles {
        match of {
            EntityKind::User => &self.user_features,
            EntityKind::Item => &self.item_features,
        }
    }

    pub(crate) fn feature_table_mut(&mut self, of: EntityKind) -> &mut TableFiles {
        match of {
            EntityKind::User => &mut self.user_features,
            EntityKind::Item => &mut self.item_features,
        }
    }

    /// Gives every table whose files differ from `base` its next version.
    pub(crate) fn count_versions(&mut self, base: &CommitDocument) {
        let count = |table: &mut TableFiles, base: Option<&TableFiles>| {
            let (files, versions) = base.map_or((None, 0), |base| (Some(&base.buckets), base.versions));
            let same = files.map_or(table.buckets.is_empty(), |files| *files == table.buckets);
            table.versions = if same { versions } else { versions + 1 };
        };
        count(&mut self.ratings, Some(&base.ratings));
        count(&mut self.ratings_by_item, Some(&base.ratings_by_item));
        count(&mut self.user_features, Some(&base.user_features));
        count(&mut self.item_features, Some(&base.item_features));
        for (group, table) in &mut self.custom {
            count(table, base.custom.get(group));
        }
    }
}
