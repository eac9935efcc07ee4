//! Recommendations for one user, the history and the neighbours read from the database at each call.
//!
//! - `users`: users at random.
//! - `heavy`: the users with the most ratings among them, for whom most is read.
//!
//! Prints the median and the 99th percentile of the latency. `RECSTORE_BENCH_EVENTS` sets the number of ratings
//! (1,000,000). `RECSTORE_BENCH_STORE` names a database that has a release already, to be measured instead.

#![allow(clippy::expect_used, reason = "a benchmark that cannot run shall end")]
#![allow(missing_docs, reason = "a program")]

#[path = "support/store.rs"]
mod store;
#[allow(dead_code, reason = "shared with other benchmarks")]
mod support;

use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt;
use recstore_core::{
    BuildOptions, PutOptions, RatingStore, RecommendOptions, ScanOptions, ShardRange, UserId, build_release,
    recommend,
};
use recstore_sqlite::SqliteStorage;
use store::open;
use tokio::runtime::Runtime;

const CALLS: usize = 5_000;
const HEAVY: usize = 50;

async fn fill(store: &SqliteStorage) {
    for batch in support::events(10_000, 20_000, 1_000_000).chunks(10_000) {
        store.put_ratings(batch.to_vec(), PutOptions::default()).await.expect("the batch is stored");
    }
    let report = build_release(store, &BuildOptions::default()).await.expect("a release");
    assert!(report.promoted, "{:?}", report.checks);
}

/// The users of some shards, those with the most ratings first.
async fn users(store: &SqliteStorage) -> Vec<UserId> {
    let mut ratings: HashMap<UserId, usize> = HashMap::new();
    for shard in ShardRange::split(16).expect("shards").into_iter().take(2) {
        let mut scan = store.scan_ratings(ScanOptions::default().with_shard(shard));
        while let Some(batch) = scan.next().await {
            for row in batch.expect("a batch") {
                *ratings.entry(row.rating.user().clone()).or_default() += 1;
            }
        }
    }
    let mut users: Vec<(usize, UserId)> = ratings.into_iter().map(|(user, count)| (count, user)).collect();
    users.sort_unstable_by(|left, right| right.cmp(left));
    println!("{} users, the heaviest with {} ratings", users.len(), users.first().map_or(0, |user| user.0));
    users.into_iter().map(|(_, user)| user).collect()
}

fn measure(runtime: &Runtime, store: &SqliteStorage, name: &str, users: &[UserId]) {
    let mut taken: Vec<Duration> = (0..CALLS)
        .map(|call| {
            // A fixed walk that visits the users in no order.
            let user = &users[call.wrapping_mul(7919) % users.len()];
            let begun = Instant::now();
            let found = runtime.block_on(recommend(store, user, RecommendOptions::default()));
            black_box(found.expect("recommendations"));
            begun.elapsed()
        })
        .collect();
    taken.sort_unstable();
    let percentile = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)];
    println!(
        "{name:<6} p50 {:>10.1?}  p99 {:>10.1?}  max {:>10.1?}",
        percentile(50),
        percentile(99),
        taken[taken.len() - 1]
    );
}

fn main() {
    let runtime = store::runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let given = std::env::var_os("RECSTORE_BENCH_STORE").map(PathBuf::from);
    let store = open(&runtime, given.as_deref().unwrap_or(&folder.path().join("recommend.db")));
    if given.is_none() {
        runtime.block_on(fill(&store));
    }
    let users = runtime.block_on(users(&store));
    measure(&runtime, &store, "users", &users);
    measure(&runtime, &store, "heavy", &users[..HEAVY.min(users.len())]);
}
