//! The conformance suite over HTTP: a bucket and tables of its own for each behaviour. Those with very many cases run by
//! `--include-ignored`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "http/place.rs"]
mod place;

use std::sync::Arc;

use recstore_aws::config::{AwsConfig, PipelineConfig};
use recstore_core::{Storage, StoreContext};

async fn open(context: StoreContext) -> (Arc<dyn Storage>, AwsConfig) {
    let pipeline = PipelineConfig { buckets: 1, max_entity_drop: 1.0, ..PipelineConfig::default() };
    let config = place::made(&context, pipeline).await;
    (Arc::new(place::process(&config, context).await), config)
}

/// Another process on the same bucket and tables.
async fn reopen(context: StoreContext, config: Arc<AwsConfig>) -> Arc<dyn Storage> {
    Arc::new(place::process(&config, context).await)
}

recstore_testkit::conformance!(open, reopen: reopen, exhaustive: "twenty minutes over HTTP: -- --include-ignored");
