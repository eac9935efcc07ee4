//! Durable ingest: the store beside bare rusqlite, in the same run.
//!
//! - `bare`: prepared inserts into one table with the store's key and indexes, ids already integers, WAL,
//!   `synchronous=FULL`, the same cache and checkpoints, 10,000 rows a transaction. No features, no checks of old rows.
//! - `batched`: `put_ratings` of 10,000 events, features kept.
//! - `singles`: 256 concurrent callers, each awaiting one event at a time.
//!
//! Prints the ratios after the figures. `RECSTORE_BENCH_EVENTS` sets the number of events (1,000,000).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use recstore_core::{
    Namespace, PutOptions, Rating, RatingStore, RatingStoreExt, RatingValue, Storage, StoreContext,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_testkit::synthetic::SyntheticOptions;
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;

const BATCH: usize = 10_000;
const WRITERS: usize = 256;

fn events() -> Vec<Rating> {
    let ratings =
        std::env::var("RECSTORE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let options = SyntheticOptions { users: 10_000, items: 50_000, ratings, seed: 7 };
    options.ratings().expect("valid options").collect()
}

/// What the bare table takes: the same rows with the ids numbered beforehand.
struct BareRow {
    user: i64,
    item: i64,
    value: Option<i64>,
    rated_at: i64,
    event_id: [u8; 16],
}

fn bare_rows(events: &[Rating]) -> Vec<BareRow> {
    let mut numbers: HashMap<String, i64> = HashMap::new();
    let mut number = |id: String| {
        let next = numbers.len() as i64 + 1;
        *numbers.entry(id).or_insert(next)
    };
    events
        .iter()
        .map(|event| BareRow {
            user: number(format!("u{}", event.user())),
            item: number(format!("i{}", event.item())),
            value: event.value().map(RatingValue::micros),
            rated_at: event.rated_at().as_millis(),
            event_id: event.event_id().as_u128().to_be_bytes(),
        })
        .collect()
}

fn bare_ingest(path: &Path, rows: &[BareRow]) -> Duration {
    let mut connection = Connection::open(path).expect("open");
    connection
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA cache_size = -32768;
             PRAGMA wal_autocheckpoint = 16384;
             CREATE TABLE ratings (
                 ns INTEGER NOT NULL, user INTEGER NOT NULL, item INTEGER NOT NULL, value INTEGER,
                 rated_at INTEGER NOT NULL, first_rated_at INTEGER NOT NULL, event_id BLOB NOT NULL,
                 PRIMARY KEY (ns, user, item)
             ) STRICT, WITHOUT ROWID;
             CREATE INDEX by_user ON ratings (ns, user, rated_at);
             CREATE INDEX by_item ON ratings (ns, item, rated_at);",
        )
        .expect("schema");
    let begun = Instant::now();
    for batch in rows.chunks(BATCH) {
        let transaction = connection.transaction().expect("begin");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO ratings VALUES (1, ?1, ?2, ?3, ?4, ?4, ?5)")
                .expect("insert");
            for row in batch {
                insert
                    .execute(params![row.user, row.item, row.value, row.rated_at, &row.event_id[..]])
                    .expect("insert");
            }
        }
        transaction.commit().expect("commit");
    }
    begun.elapsed()
}

fn open(runtime: &Runtime, path: &Path) -> SqliteStorage {
    let opened = SqliteStorage::open(
        SqliteConfig::new(path),
        Namespace::default(),
        StoreContext::default(),
        Parameters::Keep,
    );
    runtime.block_on(opened).expect("open")
}

fn batched_ingest(runtime: &Runtime, path: &Path, events: &[Rating]) -> Duration {
    let store = open(runtime, path);
    let batches: Vec<Vec<Rating>> = events.chunks(BATCH).map(<[Rating]>::to_vec).collect();
    let begun = Instant::now();
    runtime.block_on(async {
        for batch in batches {
            store.put_ratings(batch, PutOptions::default()).await.expect("put");
        }
    });
    begun.elapsed()
}

/// The time, and how many events shared a sync.
fn single_ingest(runtime: &Runtime, path: &Path, events: &[Rating]) -> (Duration, f64) {
    let store = Arc::new(open(runtime, path));
    let shares: Vec<Vec<Rating>> =
        (0..WRITERS).map(|first| events.iter().skip(first).step_by(WRITERS).cloned().collect()).collect();
    let begun = Instant::now();
    runtime.block_on(async {
        let writers = shares.into_iter().map(|share| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for event in share {
                    store.put_rating(event).await.expect("put");
                }
            })
        });
        futures::future::try_join_all(writers).await.expect("join");
    });
    let taken = begun.elapsed();
    let stats = runtime.block_on(store.stats(Default::default())).expect("stats");
    let commits = stats.backend.iter().find(|(name, _)| *name == "commits").map_or(0, |&(_, count)| count);
    (taken, events.len() as f64 / commits as f64)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let events = events();
    let singles = &events[..events.len().min(200_000)];
    let rows = bare_rows(&events);
    let mut best: HashMap<&str, f64> = HashMap::new();
    let mut shared_sync = f64::INFINITY;
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("ingest");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(1));
    let mut measure = |name: &'static str, count: usize, run: &mut dyn FnMut(&Path) -> Duration| {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let folder = tempfile::tempdir().expect("folder");
                    let taken = run(&folder.path().join("bench.db"));
                    let rate = count as f64 / taken.as_secs_f64();
                    let known = best.entry(name).or_insert(rate);
                    *known = known.max(rate);
                    total += taken;
                }
                total
            });
        });
    };
    measure("bare", rows.len(), &mut |path| bare_ingest(path, &rows));
    measure("batched", events.len(), &mut |path| batched_ingest(&runtime, path, &events));
    measure("singles", singles.len(), &mut |path| {
        let (taken, together) = single_ingest(&runtime, path, singles);
        shared_sync = shared_sync.min(together);
        taken
    });
    group.finish();
    criterion.final_summary();
    let rate = |name: &str| best.get(name).copied().unwrap_or(f64::NAN);
    println!(
        "best rates, events/s: bare {:.0}, batched {:.0}, singles {:.0}",
        rate("bare"),
        rate("batched"),
        rate("singles")
    );
    println!("batched / bare:    {:.2} (at least 0.5)", rate("batched") / rate("bare"));
    println!("singles / batched: {:.2} (at least 0.3)", rate("singles") / rate("batched"));
    println!("singles: {shared_sync:.0} events a sync (at least 50)");
}
