//! A store that wraps another one runs the suite like any backend.

mod faulty;

use std::sync::Arc;

use faulty::Fault;
use recstore_core::{Storage, StoreContext};

async fn open(context: StoreContext) -> (Arc<dyn Storage>, ()) {
    (faulty::open(Fault::None, context), ())
}

recstore_testkit::conformance!(open);
