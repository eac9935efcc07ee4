//! Point reads of feature rows: the store's async trait beside bare prepared `SELECT`s, in the same run.
//!
//! - `one`: a read alone, its median latency.
//! - `concurrent`: 64 tasks that each await one read at a time, beside as many threads that each hold a
//!   connection and a prepared `SELECT` of the same row.
//! - `thousand`: 1,000 ids in one call, beside 1,000 runs of one prepared `SELECT`.
//!
//! Prints the ratios after the figures. `RECSTORE_BENCH_EVENTS` sets the number of ratings (500,000).

#![allow(clippy::expect_used, reason = "a benchmark that cannot run shall end")]
#![allow(missing_docs, reason = "a program")]

#[path = "support/store.rs"]
mod store;
mod support;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recstore_core::{
    EntityKey, FeatureName, FeatureRequest, FeatureStore, PutOptions, Rating, RatingStore, UserId,
};
use recstore_sqlite::SqliteStorage;
use rusqlite::{Connection, OpenFlags};
use store::open;
use support::{Bench, timed};
use tokio::runtime::Runtime;

const TASKS: usize = 64;
const READS_PER_TASK: usize = 2_000;
const USERS: u64 = 10_000;
const SELECT: &str = "SELECT rating_stats FROM entities WHERE ns = 1 AND kind = 0 AND key = ?1";

fn filled(path: &Path, runtime: &Runtime) -> SqliteStorage {
    let events: Vec<Rating> = support::events(USERS, 50_000, 500_000);
    let store = open(runtime, path);
    runtime.block_on(async {
        for batch in events.chunks(10_000) {
            store.put_ratings(batch.to_vec(), PutOptions::default()).await.expect("the batch is stored");
        }
    });
    store
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

fn concurrent(runtime: &Runtime, store: &Arc<SqliteStorage>) -> Duration {
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
fn median_alone(runtime: &Runtime, store: &SqliteStorage) -> f64 {
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
    let runtime = store::runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.db");
    let store = Arc::new(filled(&path, &runtime));
    let connection = bare(&path);
    let mut select = connection.prepare_cached(SELECT).expect("prepare");
    let mut step = 0;
    let mut next = || {
        step += 1;
        step
    };
    let mut bench = Bench::new("reads", 20);
    bench.measure("one/bare", 1, || timed(|| bare_read(&mut select, next())));
    bench.measure("one/store", 1, || timed(|| runtime.block_on(read(&store, next()))));
    bench.measure("concurrent/bare", TASKS * READS_PER_TASK, || bare_concurrent(&path));
    bench.measure("concurrent/store", TASKS * READS_PER_TASK, || concurrent(&runtime, &store));
    bench.measure("thousand/bare", 1_000, || {
        timed(|| (0..1_000).for_each(|step| bare_read(&mut select, step)))
    });
    let ids: Vec<EntityKey> = (0..1_000).map(|step| user(step).into()).collect();
    bench.measure("thousand/store", 1_000, || {
        let request = FeatureRequest::new(FeatureName::USER_RATINGS, ids.clone());
        timed(|| drop(black_box(runtime.block_on(store.get_features(request)).expect("read"))))
    });
    println!(
        "one alone:                {:.1} µs at the median (goal: at most 30)",
        median_alone(&runtime, &store)
    );
    let concurrent = bench.rate("concurrent/store") / bench.rate("concurrent/bare");
    println!("concurrent, store / bare: {concurrent:.2} of the rate (goal: at least 0.5)");
    let thousand = bench.rate("thousand/bare") / bench.rate("thousand/store");
    println!("1,000 ids, store / bare:  {thousand:.2} of the time (goal: at most 2)");
}
