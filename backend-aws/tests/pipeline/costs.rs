//! What is counted of requests, bytes and units: in receipts and reports, by work, by the process, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use object_store::memory::InMemory;
use recstore_aws::pipeline::{RunOptions, RunOutcome};
use recstore_aws::{AwsStorage, metered};
use recstore_core::{
    BuildOptions, ColumnType, Cost, EntityKind, EraseOptions, FeatureName, FeatureRow, FeatureStore,
    FeatureValue, GetOptions, GroupSchema, HistoryOptions, PutOptions, Rating, RatingStore, RatingValue,
    Storage, Timestamp, UserId, build_release,
};

use crate::fake::Random;
use crate::support::{NOON, World, event};

fn world() -> World {
    World::new(Arc::new(InMemory::new()))
}

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

/// The figures of a process, by name.
async fn figures(store: &AwsStorage) -> BTreeMap<String, u64> {
    let stats = store.stats(GetOptions::default()).await.unwrap();
    stats.backend.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// A cost in the same figures.
fn as_figures(cost: &Cost) -> BTreeMap<String, u64> {
    let (objects, tables) = (cost.objects, cost.tables);
    [
        ("s3_puts", objects.puts),
        ("s3_gets", objects.gets),
        ("s3_heads", objects.heads),
        ("s3_lists", objects.lists),
        ("s3_deletes", objects.deletes),
        ("s3_bytes_put", objects.bytes_put),
        ("s3_bytes_got", objects.bytes_got),
        ("dynamodb_batch_gets", tables.batch_gets),
        ("dynamodb_batch_writes", tables.batch_writes),
        ("dynamodb_puts", tables.puts),
        ("dynamodb_queries", tables.queries),
        ("dynamodb_read_half_units", (tables.read_units * 2.0) as u64),
        ("dynamodb_write_half_units", (tables.write_units * 2.0) as u64),
        ("dynamodb_bytes_read", tables.bytes_read),
        ("dynamodb_bytes_written", tables.bytes_written),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_owned(), count))
    .collect()
}

/// Puts, a run, reads: everything that it took, as receipts and reports say it.
async fn work(store: &AwsStorage) -> Cost {
    let mut random = Random::new(7);
    let mut spent = Cost::default();
    let schema =
        GroupSchema::new(name("profile"), EntityKind::User).with_column(name("age"), ColumnType::Integer);
    let (registered, declared) = metered(store.register_group(schema)).await;
    registered.unwrap();
    spent += declared;
    let events = (0..50).map(|_| event(&mut random, 5, 5)).collect();
    let ratings = store.put_ratings(events, PutOptions::default()).await.unwrap();
    assert_eq!(
        (ratings.cost.objects.puts, ratings.cost.tables.requests()),
        (3, 0),
        "a claim, twice, and an object"
    );
    spent += ratings.cost;
    let row = |user: u64| {
        let at = Timestamp::from_millis(NOON - 500).unwrap();
        FeatureRow::new(UserId::from(user).into(), at).with(name("age"), FeatureValue::Integer(30))
    };
    let (profile, rows) = (name("profile"), vec![row(1), row(2)]);
    let features = store.put_features(&profile, rows, PutOptions::default()).await.unwrap();
    assert_eq!((features.cost.objects.puts, features.cost.objects.gets > 0), (3, true), "and the head");
    assert!(features.cost.tables.puts == 2 && features.cost.tables.write_units >= 2.0, "{:?}", features.cost);
    spent += features.cost;
    let report = store.pipeline().run(RunOptions::default()).await.unwrap();
    assert_eq!(report.outcome, RunOutcome::Committed);
    assert!(report.cost.objects.bytes_got >= ratings.cost.objects.bytes_put, "it read the events");
    let (published, tables) = (report.published, report.cost.tables);
    let items = published.rating_items + published.feature_items;
    assert!(published.rating_items > 0 && published.feature_items > 0, "{published:?}");
    assert!(tables.puts >= items && tables.write_units >= items as f64, "{published:?} {tables:?}");
    spent += report.cost;
    let (history, read) = metered(store.user_history(&UserId::from(1), HistoryOptions::default())).await;
    assert!(!history.unwrap().rows.is_empty() && read.tables.queries == 1 && read.tables.bytes_read > 0);
    spent += read;
    spent
}

#[tokio::test(start_paused = true)]
async fn what_receipts_and_reports_tell_adds_up_to_the_figures_of_the_process() {
    let world = world();
    let store = world.process(1);
    let spent = work(&store).await;
    let (figures, asked) = metered(figures(&store)).await;
    let mut spent = spent;
    spent += asked;
    assert_eq!(figures, as_figures(&spent));
    assert!(figures["dynamodb_write_half_units"] > 0 && figures["s3_lists"] > 0, "{figures:?}");
}

/// Nothing of a call is done where its work is not metered, in a task of its own.
#[tokio::test(start_paused = true)]
async fn calls_without_a_receipt_are_metered_whole() {
    let world = world();
    let store = world.process(1);
    let mut spent = work(&store).await;
    let (built, build) = metered(build_release(&store, &BuildOptions::default())).await;
    assert!(
        built.unwrap().entities > 0 && build.objects.puts > 0 && build.tables.bytes_written > 0,
        "{build:?}"
    );
    let user = UserId::from(1).into();
    let (erased, erasure) = metered(store.erase(&user, EraseOptions::default())).await;
    assert!(erased.unwrap().ratings > 0 && erasure.objects.puts > 0 && erasure.tables.write_units > 0.0);
    let (print, scan) = metered(store.fingerprint(GetOptions::default())).await;
    assert!(print.is_ok() && scan.objects.bytes_got > 0 && scan.objects.puts == 0, "{scan:?}");
    let (filled, filling) = metered(store.pipeline().rebuild_online()).await;
    assert!(filled.unwrap().unchanged > 0 && filling.tables.batch_gets > 0 && filling.objects.gets > 0);
    let (figures, asked) = metered(figures(&store)).await;
    for cost in [build, erasure, scan, filling, asked] {
        spent += cost;
    }
    assert_eq!(figures, as_figures(&spent));
}

#[tokio::test(start_paused = true)]
async fn a_run_with_nothing_new_says_what_looking_took() {
    let world = world();
    let store = world.process(1);
    let report = store.pipeline().run(RunOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.cost.objects.puts), (RunOutcome::NothingNew, 0));
    assert!(report.cost.objects.lists > 0, "{:?}", report.cost);
    assert_eq!((report.cost.tables.write_units, report.cost.objects.bytes_put), (0.0, 0));
}

/// Keeps counters by name and label.
#[derive(Debug, Default)]
struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Kept {
    fn counts(&self) -> BTreeMap<String, u64> {
        let kept = self.0.lock().unwrap();
        kept.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Counter::from_arc(self.0.lock().unwrap().entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_metrics_of_the_program_count_the_same() {
    let kept = Kept::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let spent = metrics::with_local_recorder(&kept, || {
        runtime.unwrap().block_on(async { work(&world().process(1)).await })
    });
    let names = [
        ("recstore_s3_requests_total{operation=put}", "s3_puts"),
        ("recstore_s3_requests_total{operation=get}", "s3_gets"),
        ("recstore_s3_requests_total{operation=list}", "s3_lists"),
        ("recstore_s3_bytes_total{direction=put}", "s3_bytes_put"),
        ("recstore_s3_bytes_total{direction=got}", "s3_bytes_got"),
        ("recstore_dynamodb_requests_total{operation=batch_get}", "dynamodb_batch_gets"),
        ("recstore_dynamodb_requests_total{operation=put}", "dynamodb_puts"),
        ("recstore_dynamodb_requests_total{operation=query}", "dynamodb_queries"),
        ("recstore_dynamodb_half_units_total{kind=read}", "dynamodb_read_half_units"),
        ("recstore_dynamodb_half_units_total{kind=write}", "dynamodb_write_half_units"),
        ("recstore_dynamodb_bytes_total{direction=read}", "dynamodb_bytes_read"),
        ("recstore_dynamodb_bytes_total{direction=written}", "dynamodb_bytes_written"),
    ];
    let (counts, figures) = (kept.counts(), as_figures(&spent));
    for (counter, figure) in names {
        assert_eq!(counts.get(counter), figures.get(figure), "{counter} in {counts:?}");
        assert!(figures[figure] > 0, "{figure}");
    }
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    assert_eq!(sum(&counts), sum(&figures), "no other counter: {counts:?}");
}

/// Ratings of all users, so that every bucket is touched.
fn of_everybody(day: i64, object: i64) -> Vec<Rating> {
    let at = Timestamp::from_millis(NOON - 100_000 + day * 10_000 + object).unwrap();
    let value = RatingValue::new(1.0 + day as f64).unwrap();
    (0..200_u64)
        .map(|user| Rating::from_parts(user.into(), (user * 7 % 200).into(), Some(value), at, None))
        .collect()
}

/// What `recstore cost` calculates with.
#[tokio::test(start_paused = true)]
async fn the_requests_of_a_run_follow_from_its_buckets_and_objects() {
    for (buckets, objects) in [(1, 1), (1, 3), (2, 1), (4, 3), (8, 1)] {
        let world = World { buckets, ..world() };
        let store = world.process(1);
        let tables = 4;
        for day in 0..3 {
            for object in 0..objects {
                let events = of_everybody(day, object);
                store.put_ratings(events, PutOptions::default()).await.unwrap();
            }
            // Each run is a process, as a scheduler starts it.
            let runner = world.process(10 + day as u128);
            let cost = runner.pipeline().run(RunOptions::default()).await.unwrap().cost.objects;
            let (buckets, objects) = (u64::from(buckets), objects as u64);
            let shown = format!("{buckets} buckets, {objects} objects, day {day}: {cost:?}");
            // Files and log entries; the commit document twice, the manifest, the head.
            assert_eq!(cost.puts, tables * (buckets + 1) + 4, "{shown}");
            let of_tables = if day == 0 { 3 * buckets + 8 } else { 8 * buckets + 8 };
            assert_eq!(cost.gets + cost.heads, of_tables + objects, "{shown}");
            // Writers of both topics, the epochs of the one writer, the objects of the one epoch.
            assert_eq!((cost.lists, cost.deletes), (4, 0), "{shown}");
        }
        let nothing = store.pipeline().run(RunOptions::default()).await.unwrap().cost;
        let objects = nothing.objects;
        assert_eq!((objects.puts, objects.gets, objects.heads, objects.lists), (0, 3, 0, 4));
        assert_eq!((nothing.tables.requests(), nothing.tables.write_units), (3, 0.0));
    }
}
