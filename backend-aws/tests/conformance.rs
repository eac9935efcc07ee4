//! The AWS backend keeps to the contract: the whole conformance suite, each behaviour a test, on a bucket and
//! tables in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use object_store::memory::InMemory;
use recstore_aws::AwsStorage;
use recstore_core::{Storage, StoreContext};

#[path = "online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "pipeline/support.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use support::World;

async fn open(context: StoreContext) -> (Arc<dyn Storage>, World) {
    // Behaviours do not depend on the number of buckets; tests of the pipeline vary it.
    let world = World { buckets: 1, max_entity_drop: 1.0, ..World::new(Arc::new(InMemory::new())) };
    (Arc::new(process(&world, 1, context)), world)
}

/// Another process on the same bucket and tables.
async fn reopen(context: StoreContext, world: Arc<World>) -> Arc<dyn Storage> {
    Arc::new(process(&world, 2, context))
}

fn process(world: &World, number: u128, context: StoreContext) -> AwsStorage {
    world.process_in(number, context)
}

recstore_testkit::conformance!(open, reopen: reopen);
