//! One random script of operations on memory, SQLite and AWS: the same content to the bit, and the same neighbours.
//!
//! `RECSTORE_PROPTEST_CASES` says how many scripts, `RECSTORE_PROPTEST_STEPS` of how many steps, `RECSTORE_PROPTEST_SEED` where
//! to begin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use object_store::memory::InMemory;
use recstore_core::{
    BuildOptions, EntityKind, Fingerprints, GetOptions, ManualClock, Namespace, NeighbourRequest,
    ScanOptions, Storage, StoreContext, Timestamp, build_release,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_testkit::model::{Model, ModelOptions};
use tokio::runtime::Builder;

#[path = "online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "pipeline/support.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use support::{NOON, World};

/// A clock that stands still, and what opens a store with it.
fn context() -> (StoreContext, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOON).unwrap()));
    (StoreContext { clock: clock.clone(), ..StoreContext::default() }, clock)
}

/// What one store has of a namespace, and the neighbours that it then builds.
#[derive(Debug, PartialEq)]
struct Content {
    fingerprints: Fingerprints,
    /// Of each item, in order.
    neighbours: Vec<String>,
}

async fn content(store: &dyn Storage, namespace: &str) -> Content {
    let store = store.with_namespace(Namespace::new(namespace).unwrap());
    store.refresh().await.unwrap();
    let fingerprints = store.fingerprint(GetOptions::default()).await.unwrap();
    // Of few ratings it may fail a check: then it is not promoted, anywhere.
    let _report = build_release(&*store, &BuildOptions::default()).await.unwrap();
    let rows = futures::TryStreamExt::try_collect::<Vec<_>>(store.scan_ratings(ScanOptions::default()));
    let mut items: Vec<_> =
        rows.await.unwrap().concat().iter().map(|row| row.rating.item().clone().into()).collect();
    items.sort();
    items.dedup();
    let answer = store.get_neighbours(NeighbourRequest::new(EntityKind::Item, items)).await.unwrap();
    // A float is shown with as many digits as tell it from every other.
    let neighbours = answer.lists.iter().map(|list| format!("{list:?}")).collect();
    Content { fingerprints, neighbours }
}

/// Runs a script beside the memory backend, and tells what is there after it.
async fn after(
    store: Arc<dyn Storage>,
    context: StoreContext,
    clock: Arc<ManualClock>,
    options: ModelOptions,
) -> Vec<Content> {
    Model::new(store.clone(), context, clock).run(options).await.unwrap_or_else(|text| panic!("{text}"));
    // The namespaces of the first script of a model.
    vec![content(&*store, "model-1").await, content(&*store, "model-1-").await]
}

#[test]
fn one_script_leaves_the_same_in_memory_sqlite_and_aws() {
    let all = ModelOptions::from_env(12).unwrap();
    println!("RECSTORE_PROPTEST_SEED={} RECSTORE_PROPTEST_CASES={}", all.seed, all.cases);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut neighbours = 0;
    for case in 0..all.cases {
        let options = ModelOptions { cases: 1, seed: all.seed.wrapping_add(case), ..all };
        runtime.block_on(async {
            let (of_memory, clock) = context();
            let memory = Arc::new(recstore_core::MemoryStorage::new(Namespace::default(), of_memory.clone()));
            let expected = after(memory, of_memory, clock, options).await;

            let (of_sqlite, clock) = context();
            let folder = tempfile::tempdir().unwrap();
            let config = SqliteConfig::new(folder.path().join("parity.db"));
            let opened =
                SqliteStorage::open(config, Namespace::default(), of_sqlite.clone(), Parameters::Keep).await;
            let sqlite = after(Arc::new(opened.unwrap()), of_sqlite, clock, options).await;
            assert_eq!(sqlite, expected, "sqlite, RECSTORE_PROPTEST_SEED={}", options.seed);

            let (of_aws, clock) = context();
            let world = World { max_entity_drop: 1.0, ..World::new(Arc::new(InMemory::new())) };
            let aws = Arc::new(world.process_in(1, of_aws.clone()));
            let aws = after(aws, of_aws, clock, options).await;
            assert_eq!(aws, expected, "aws, RECSTORE_PROPTEST_SEED={}", options.seed);
            neighbours += expected
                .iter()
                .flat_map(|content| &content.neighbours)
                .filter(|list| list.contains("similarity"))
                .count();
        });
    }
    assert!(neighbours > 0, "no script has left any neighbours");
}
