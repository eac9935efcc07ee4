//! The SQLite backend keeps to the contract: the whole conformance suite, each behaviour a test.

#![allow(clippy::expect_used, reason = "helpers of tests, in which a failure is a panic")]

use std::sync::Arc;

use recstore_core::{Namespace, Storage, StoreContext};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::memory_folder;
use tempfile::TempDir;

async fn open_in(folder: &TempDir, context: StoreContext, parameters: Parameters) -> Arc<dyn Storage> {
    let config = SqliteConfig { readers: 2, ..SqliteConfig::new(folder.path().join("suite.db")) };
    let opened = SqliteStorage::open(config, Namespace::default(), context, parameters).await;
    Arc::new(opened.expect("the store opens"))
}

/// What the suite asks does not depend on the medium: memory spares the disk its syncs.
async fn open(context: StoreContext) -> (Arc<dyn Storage>, TempDir) {
    let folder = memory_folder();
    (open_in(&folder, context, Parameters::Keep).await, folder)
}

/// The suite reopens with another prior too, and rebuilds then.
async fn reopen(context: StoreContext, folder: Arc<TempDir>) -> Arc<dyn Storage> {
    open_in(&folder, context, Parameters::Adopt).await
}

recstore_testkit::conformance!(open, reopen: reopen);
