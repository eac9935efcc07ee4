//! Very many random scripts on SQLite files, each compared with the memory oracle.
//!
//! `RECSTORE_PROPTEST_CASES=50000` runs the long tier, about ten minutes on two cores; the other variables of
//! [`recstore_testkit::model`] hold too.

#![allow(clippy::expect_used, reason = "helpers of tests, in which a failure is a panic")]

use std::sync::Arc;

use recstore_core::{Namespace, Storage, StoreContext};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::memory_folder;
use recstore_testkit::model::{ModelOptions, run_on_threads};
use tempfile::TempDir;

/// Scripts of 100 steps in the quick tier.
const SCRIPTS: u64 = 3_000;

async fn open(context: StoreContext) -> (Arc<dyn Storage>, TempDir) {
    // What is compared does not depend on the medium: memory spares the disk its syncs.
    let folder = memory_folder();
    let config = SqliteConfig { readers: 1, ..SqliteConfig::new(folder.path().join("model.db")) };
    let opened = SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep).await;
    (Arc::new(opened.expect("the store opens")), folder)
}

#[test]
fn very_many_random_scripts_agree_with_the_memory_oracle() {
    let options = ModelOptions::from_env(SCRIPTS).expect("numbers in the environment");
    let began = std::time::Instant::now();
    let result = run_on_threads(options, 2, open);
    println!("{options:?} in {:.1} s", began.elapsed().as_secs_f64());
    if let Err(difference) = result {
        panic!("{difference}");
    }
}
