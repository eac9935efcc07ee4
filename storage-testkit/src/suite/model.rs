//! The model-based property test as one more behaviour.

use std::sync::Arc;

use super::harness::Harness;
use crate::model::{Model, ModelOptions};

pub(super) async fn random_scripts_agree_with_the_memory_oracle(h: &Harness) {
    let options = ModelOptions::from_env().unwrap();
    let mut model = Model::new(Arc::clone(h.storage()), h.context().clone(), h.shared_clock());
    if let Err(difference) = model.run(options).await {
        panic!("{difference}");
    }
}
