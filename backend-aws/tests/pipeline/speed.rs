//! A full run and a day after it, measured; ignored unless asked for.

use std::sync::Arc;

use object_store::memory::InMemory;
use recstore_aws::AwsStorage;
use recstore_aws::pipeline::{RunOptions, RunReport};
use recstore_core::{GetOptions, PutOptions, Rating, RatingStore, Storage, StoreContext};
use recstore_testkit::synthetic::SyntheticOptions;

use crate::fake::from_env;
use crate::support::World;

/// Events put in one call, and so lying in one object.
const BATCH: usize = 50_000;

async fn put(store: &AwsStorage, events: &[Rating]) {
    for batch in events.chunks(BATCH) {
        store.put_ratings(batch.to_vec(), PutOptions::default()).await.unwrap();
    }
}

/// Reads and writes of objects so far.
async fn requests(store: &AwsStorage) -> [u64; 4] {
    let figures = store.stats(GetOptions::default()).await.unwrap().backend;
    let of = |name| figures.iter().find(|(found, _)| *found == name).unwrap().1;
    ["s3_puts", "s3_gets", "s3_bytes_put", "s3_bytes_got"].map(of)
}

async fn run(store: &AwsStorage, what: &str) -> RunReport {
    let before = requests(store).await;
    let report = store.pipeline().run(RunOptions::default()).await.unwrap();
    let after = requests(store).await;
    let [puts, gets, bytes_put, bytes_got] = std::array::from_fn(|at| after[at] - before[at]);
    let (computed, published) = (&report.computed, &report.published);
    println!(
        "{what}: {:.2} s, of it {:.2} s to compute; {} events in {} objects; puts {puts} ({bytes_put} bytes), gets {gets} \
         ({bytes_got} bytes); {} items of ratings, {} of features in {} requests; {} pairs changed",
        report.seconds,
        report.compute_seconds,
        computed.events,
        report.objects,
        published.rating_items,
        published.feature_items,
        published.requests,
        computed.changed_pairs,
    );
    report
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run with --release --ignored --nocapture"]
async fn a_day_of_one_percent_new_events_after_a_full_run() {
    let count = from_env("RECSTORE_BENCH_EVENTS", 200_000);
    let world = World { buckets: 16, ..World::new(Arc::new(InMemory::new())) };
    let store = world.process_in(1, StoreContext::default());
    let options = SyntheticOptions { ratings: count + count / 100, ..SyntheticOptions::default() };
    let events: Vec<Rating> = options.ratings().unwrap().collect();
    let (full, day) = events.split_at(count as usize);
    put(&store, full).await;
    let full = run(&store, "full").await;
    put(&store, day).await;
    let day = run(&store, "day").await;
    println!("a day takes {:.2} of the full run", day.seconds / full.seconds);
    assert_eq!(day.computed.events, count / 100, "each object is read once, and no old one");
    assert!(day.published.rating_items <= 5 * day.computed.changed_pairs, "rows of changed pairs only");
}
