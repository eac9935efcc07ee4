//! Point reads of feature rows: the store's async trait beside bare prepared `SELECT`s, in the same run.
//!
//! - `one`: a read alone, its median latency.
//! - `concurrent`: 64 tasks that each await one read at a time, beside as many threads that each hold a
//!   connection and a prepared `SELECT` of the same row.
//! - `thousand`: 1,000 ids in one call, beside 1,000 runs of one prepared `SELECT`.
//!
//! Prints the ratios after the figures. `RECSTORE_BENCH_EVENTS` sets the number of ratings (500,000).

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use recstore_core::{
    EntityKey, FeatureName, FeatureRequest, FeatureStore, Namespace, PutOptions, Rating, RatingStore,
    StoreContext, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_testkit::synthetic::SyntheticOptions;
use rusqlite::{Connection, OpenFlags};

const TASKS: usize = 64;
const READS_PER_TASK: usize = 2_000;
const USERS: u64 = 10_000;
const SELECT: &str = "SELECT rating_stats FROM entities WHERE ns = 1 AND kind = 0 AND key = ?1";

fn filled(path: &Path, runtime: &tokio::runtime::Runtime) -> SqliteStorage {
    let ratings =
        std::env::var("RECSTORE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(500_000);
    let options = SyntheticOptions { users: USERS, items: 50_000, ratings, seed: 7 };
    let events: Vec<Rating> = options.ratings().expect("valid options").collect();
    runtime.block_on(async {
        let config = SqliteConfig::new(path);
        let store =
            SqliteStorage::open(config, Namespace::default(), StoreContext::default(), Parameters::Keep)
                .await
                .expect("open");
        for batch in events.chunks(10_000) {
            store.put_ratings(batch.to_vec(), PutOptions::default()).await.expect("put");
        }
        store
    })
}

fn bare(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).expect("open");
    connection.execute_batch("PRAGMA cache_size = -32768; PRAGMA query_only = on").expect("pragmas");
    connection
}

/// A fixed walk over the users that visits them in no order.
fn user(step: usize) -> UserId {
    UserId::from((step as u64).wrapping_mul(7919) % USERS + 1)
}

async fn read(store: &SqliteStorage, step: usize) {
    let batch = store.get_features(FeatureRequest::of_users([user(step)])).await.expect("read");
    black_box(batch);
}

fn bare_read(select: &mut rusqlite::CachedStatement<'_>, step: usize) {
    let found: Option<Vec<u8>> = select.query_row([user(step).as_str()], |row| row.get(0)).expect("read");
    black_box(found);
}

fn concurrent(runtime: &tokio::runtime::Runtime, store: &Arc<SqliteStorage>) -> Duration {
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks = (0..TASKS).map(|task| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for step in 0..READS_PER_TASK {
                    read(&store, task * READS_PER_TASK + step).await;
                }
            })
        });
        futures::future::try_join_all(tasks).await.expect("join");
    });
    begun.elapsed()
}

/// Connections are opened and statements prepared before the clock starts.
fn bare_concurrent(path: &Path) -> Duration {
    let barrier = std::sync::Barrier::new(TASKS + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..TASKS)
            .map(|task| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let connection = bare(path);
                    let mut select = connection.prepare_cached(SELECT).expect("prepare");
                    bare_read(&mut select, task);
                    barrier.wait();
                    for step in 0..READS_PER_TASK {
                        bare_read(&mut select, task * READS_PER_TASK + step);
                    }
                })
            })
            .collect();
        barrier.wait();
        let begun = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().expect("join"));
        begun.elapsed()
    })
}

/// The median of many single reads, in microseconds.
fn median_alone(runtime: &tokio::runtime::Runtime, store: &SqliteStorage) -> f64 {
    runtime.block_on(async {
        let mut times = Vec::with_capacity(20_000);
        for step in 0..20_000 {
            let begun = Instant::now();
            read(store, step).await;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    })
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("bench.db");
    let store = Arc::new(filled(&path, &runtime));
    let connection = bare(&path);
    let mut best: HashMap<&str, f64> = HashMap::new();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("reads");
    group.sample_size(20).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(4));
    let mut measure = |name: &'static str, count: usize, run: &mut dyn FnMut() -> Duration| {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let taken = run();
                    let rate = count as f64 / taken.as_secs_f64();
                    let known = best.entry(name).or_insert(rate);
                    *known = known.max(rate);
                    total += taken;
                }
                total
            });
        });
    };
    let mut select = connection.prepare_cached(SELECT).expect("prepare");
    let timed = |run: &mut dyn FnMut()| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    let mut step = 0;
    measure("one/bare", 1, &mut || {
        step += 1;
        timed(&mut || bare_read(&mut select, step))
    });
    measure("one/store", 1, &mut || {
        step += 1;
        timed(&mut || runtime.block_on(read(&store, step)))
    });
    measure("concurrent/bare", TASKS * READS_PER_TASK, &mut || bare_concurrent(&path));
    measure("concurrent/store", TASKS * READS_PER_TASK, &mut || concurrent(&runtime, &store));
    measure("thousand/bare", 1_000, &mut || {
        timed(&mut || (0..1_000).for_each(|step| bare_read(&mut select, step)))
    });
    measure("thousand/store", 1_000, &mut || {
        let ids: Vec<EntityKey> = (0..1_000).map(|step| user(step).into()).collect();
        let request = FeatureRequest::new(FeatureName::USER_RATINGS, ids);
        timed(&mut || drop(black_box(runtime.block_on(store.get_features(request.clone())).expect("read"))))
    });
    group.finish();
    criterion.final_summary();
    let rate = |name: &str| best.get(name).copied().unwrap_or(f64::NAN);
    println!("one alone: median {:.1} µs (at most 30)", median_alone(&runtime, &store));
    println!(
        "concurrent, store / bare: {:.2} of the rate (at least 0.5)",
        rate("concurrent/store") / rate("concurrent/bare")
    );
    println!(
        "1,000 ids, store / bare:  {:.2} of the time (at most 2)",
        rate("thousand/bare") / rate("thousand/store")
    );
}
