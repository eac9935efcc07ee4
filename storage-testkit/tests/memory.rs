//! The memory backend, the oracle of the others, keeps to the contract itself.

use std::sync::Arc;

use recstore_core::{MemoryStorage, Namespace, Storage, StoreContext};

async fn open(context: StoreContext) -> (Arc<dyn Storage>, ()) {
    (Arc::new(MemoryStorage::new(Namespace::default(), context)), ())
}

recstore_testkit::conformance!(open);
