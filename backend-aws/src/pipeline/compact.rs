//! Checkpoints of the tables' logs, so that other tools need not read every entry from the first on.
//!
//! A checkpoint only adds to what is there, and says what the log says; the readers of this crate look at neither. Once
//! there is one that every version that is kept can be read from, a [vacuum](super::vacuum) deletes what is older.

use std::sync::Arc;

use deltalake::protocol::checkpoints::create_checkpoint;
use deltalake::{DeltaTableBuilder, DeltaTableError};
use object_store::prefix::PrefixStore;
use recstore_core::{Error, ErrorKind, Result};
use serde::Serialize;
use url::Url;

use super::retained::{listed, tables};
use super::run::Pipeline;
use crate::lake::silver::keys::{CheckpointKey, TableKey, silver_folder};

/// What a compaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompactReport {
    /// The committed generation.
    pub generation: u64,
    /// The checkpoints that were written, by their names within the lake.
    pub checkpoints: Vec<String>,
}

impl Pipeline {
    /// Writes a checkpoint of each table at the oldest generation that is kept, and one at the committed one, where
    /// there is none. Idempotent; runs and readers may go on meanwhile.
    ///
    /// # Errors
    /// `Unavailable` if a log cannot be read or a checkpoint cannot be written: requests are not repeated here, the same
    /// call is; otherwise as [`vacuum`](Self::vacuum).
    pub async fn compact(&self) -> Result<CompactReport> {
        let (namespace, retained) = (self.heads().namespace(), self.retained().await?);
        let objects = listed(self.heads().store(), &silver_folder(namespace)).await?;
        let mut checkpoints = Vec::new();
        for commit in [&retained.oldest_commit, &retained.snapshot.state.commit] {
            for (table, files) in tables(commit, namespace) {
                let Some(version) = files.versions.checked_sub(1) else { continue };
                let name = CheckpointKey { table: table.clone(), version }.to_string();
                let is_there = objects.binary_search_by(|object| object.name.cmp(&name)).is_ok();
                if is_there || checkpoints.contains(&name) {
                    continue;
                }
                self.checkpoint(&table, version).await.map_err(|cause| {
                    let text = "a table's log cannot be read, or its checkpoint not be written; try again";
                    Error::new(ErrorKind::Unavailable, text).on(name.clone()).because(cause)
                })?;
                checkpoints.push(name);
            }
        }
        checkpoints.sort_unstable();
        Ok(CompactReport { generation: retained.newest(), checkpoints })
    }

    async fn checkpoint(&self, table: &TableKey, version: u64) -> deltalake::DeltaResult<()> {
        let store = self.heads().store();
        let within = PrefixStore::new(store.bucket(), store.full(table));
        let url = Url::parse("memory:///")
            .map_err(|cause| DeltaTableError::InvalidTableLocation(cause.to_string()))?;
        let table = DeltaTableBuilder::from_url(url.clone())?
            .with_storage_backend(Arc::new(within), url)
            .with_version(version)
            .load()
            .await?;
        create_checkpoint(&table, None).await
    }
}
