//! A full run of the pipeline, and the run of a day with one new event for each hundred, on the servers of the tests.
//!
//! `RECSTORE_BENCH_EVENTS` says how many events the full run has (200,000). What a day takes beside the full run is the
//! figure; it fails above a third, or if a run reads anything twice or publishes more than what changed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails by panicking, and prints")]

#[path = "../tests/http/place.rs"]
mod place;

use recstore_aws::AwsStorage;
use recstore_aws::config::PipelineConfig;
use recstore_aws::pipeline::{RunOptions, RunReport};
use recstore_core::{PutOptions, Rating, RatingStore, StoreContext};
use recstore_testkit::synthetic::SyntheticOptions;

/// Events put in one call, and so lying in one object.
const BATCH: usize = 50_000;
const BUCKETS: u32 = 16;

async fn put(store: &AwsStorage, events: &[Rating]) {
    for batch in events.chunks(BATCH) {
        store.put_ratings(batch.to_vec(), PutOptions::default()).await.unwrap();
    }
}

async fn run(store: &AwsStorage, what: &str, events: &[Rating]) -> RunReport {
    put(store, events).await;
    let report = store.pipeline().run(RunOptions::default()).await.unwrap();
    let (computed, published, s3, tables) =
        (&report.computed, &report.published, &report.cost.objects, &report.cost.tables);
    println!(
        "{what}: {:.2} s, of it {:.2} s until the claim; {} events in {} objects; {} pairs and {} features changed\n  \
         S3: {} GET and HEAD ({} bytes), {} PUT ({} bytes), {} LIST; DynamoDB: {} requests, {} items of ratings, {} of \
         features, {} bytes written, {} write units",
        report.seconds,
        report.compute_seconds,
        computed.events,
        report.objects,
        computed.changed_pairs,
        computed.changed_features,
        s3.gets + s3.heads,
        s3.bytes_got,
        s3.puts,
        s3.bytes_put,
        s3.lists,
        tables.requests(),
        published.rating_items,
        published.feature_items,
        tables.bytes_written,
        tables.write_units,
    );
    assert_eq!(computed.events, events.len() as u64, "every new object is read once, and no old one");
    // A pair, and its places in two histories, old and new.
    assert!(published.rating_items <= 5 * computed.changed_pairs, "rows of changed pairs only");
    assert_eq!(published.feature_items, computed.changed_features, "features of changed entities only");
    report
}

#[tokio::main]
async fn main() {
    let events = std::env::var("RECSTORE_BENCH_EVENTS").map_or(200_000, |text| text.parse().unwrap());
    let (context, pipeline) =
        (StoreContext::default(), PipelineConfig { buckets: BUCKETS, ..PipelineConfig::default() });
    let store = place::process(&place::made(&context, pipeline).await, context).await;
    let options = SyntheticOptions { ratings: events + events / 100, ..SyntheticOptions::default() };
    let all: Vec<Rating> = options.ratings().unwrap().collect();
    let (full, day) = all.split_at(events as usize);
    let full = run(&store, "full run", full).await;
    let day = run(&store, "a day", day).await;
    let share = day.seconds / full.seconds;
    println!("a day takes {share:.3} of the full run");
    assert!(share <= 1.0 / 3.0, "{share:.3}");
}
