//! The model-based property test as one more behaviour.

use std::sync::Arc;

use super::harness::Harness;
use crate::model::{Model, ModelOptions};

/// Scripts on every backend; see [`run_on_threads`](crate::model::run_on_threads) for very many.
const SCRIPTS: u64 = 64;

pub(super) async fn random_scripts_agree_with_the_memory_oracle(h: &Harness) {
    let options = ModelOptions::from_env(SCRIPTS).unwrap();
    let mut model = Model::new(Arc::clone(h.storage()), h.context().clone(), h.shared_clock());
    if let Err(difference) = model.run(options).await {
        panic!("{difference}");
    }
}
