//! A store and a runtime, as a service has them.

use std::path::Path;

use recstore_core::{Namespace, StoreContext};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use tokio::runtime::Runtime;

/// A runtime of as many threads as cores.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A store in a new file.
pub(crate) fn open(runtime: &Runtime, path: &Path) -> SqliteStorage {
    let (config, context) = (SqliteConfig::new(path), StoreContext::default());
    let opened = SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep);
    runtime.block_on(opened).expect("the store opens")
}
