//! Durable ingest: the store beside bare rusqlite, in the same run.
//!
//! - `bare`: prepared inserts into one table with the store's key and indexes, ids already integers, WAL,
//!   `synchronous=FULL`, the same cache and checkpoints, 10,000 rows a transaction. No features, no checks of
//!   old rows.
//! - `batched`: `put_ratings` of 10,000 events, features kept.
//! - `singles`: 256 concurrent callers, each awaiting one event at a time (the first 200,000 events).
//!
//! `RECSTORE_BENCH_EVENTS` sets the number of events (1,000,000).

#![allow(clippy::expect_used, reason = "a benchmark that cannot run shall end")]
#![allow(missing_docs, reason = "a program")]

#[path = "support/store.rs"]
mod store;
mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use recstore_core::{PutOptions, Rating, RatingStore, RatingStoreExt, RatingValue, Storage};
use rusqlite::{Connection, params};
use store::open;
use support::{Bench, timed};
use tokio::runtime::Runtime;

const BATCH: usize = 10_000;
const WRITERS: usize = 256;
const SINGLES: usize = 200_000;

/// What the bare table takes: the same rows with the ids numbered beforehand.
struct BareRow {
    user: i64,
    item: i64,
    value: Option<i64>,
    rated_at: i64,
    event_id: [u8; 16],
}

fn bare_rows(events: &[Rating]) -> Vec<BareRow> {
    let (mut users, mut items) = (HashMap::new(), HashMap::new());
    let number = |numbers: &mut HashMap<String, i64>, id: &str| {
        let next = numbers.len() as i64 + 1;
        *numbers.entry(id.to_owned()).or_insert(next)
    };
    let row = |event: &Rating| BareRow {
        user: number(&mut users, event.user().as_str()),
        item: number(&mut items, event.item().as_str()),
        value: event.value().map(RatingValue::micros),
        rated_at: event.rated_at().as_millis(),
        event_id: event.event_id().as_u128().to_be_bytes(),
    };
    events.iter().map(row).collect()
}

fn bare_ingest(path: &Path, rows: &[BareRow]) -> Duration {
    let mut connection = Connection::open(path).expect("the file opens");
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
        .expect("the table is made");
    timed(|| {
        for batch in rows.chunks(BATCH) {
            let transaction = connection.transaction().expect("it begins");
            insert(&transaction, batch).expect("rows are inserted");
            transaction.commit().expect("it is committed");
        }
    })
}

fn insert(connection: &Connection, batch: &[BareRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO ratings VALUES (1, ?1, ?2, ?3, ?4, ?4, ?5)")?;
    for row in batch {
        insert.execute(params![row.user, row.item, row.value, row.rated_at, &row.event_id[..]])?;
    }
    Ok(())
}

fn batched_ingest(runtime: &Runtime, path: &Path, events: &[Rating]) -> Duration {
    let store = open(runtime, path);
    let batches: Vec<Vec<Rating>> = events.chunks(BATCH).map(<[Rating]>::to_vec).collect();
    timed(|| {
        runtime.block_on(async {
            for batch in batches {
                store.put_ratings(batch, PutOptions::default()).await.expect("the batch is stored");
            }
        });
    })
}

/// The time, and how many events shared a transaction, which is one sync of the WAL.
fn single_ingest(runtime: &Runtime, path: &Path, events: &[Rating]) -> (Duration, f64) {
    let store = Arc::new(open(runtime, path));
    let share = |first| events.iter().skip(first).step_by(WRITERS).cloned().collect();
    let shares: Vec<Vec<Rating>> = (0..WRITERS).map(share).collect();
    let begun = Instant::now();
    runtime.block_on(async {
        let writers = shares.into_iter().map(|share| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for event in share {
                    store.put_rating(event).await.expect("the event is stored");
                }
            })
        });
        futures::future::try_join_all(writers).await.expect("writers end");
    });
    let taken = begun.elapsed();
    let stats = runtime.block_on(store.stats(Default::default())).expect("the store counts");
    let commits = stats.backend.iter().find(|(name, _)| *name == "commits").map_or(0, |&(_, count)| count);
    (taken, events.len() as f64 / commits as f64)
}

/// Runs on a file of its own, which goes afterwards.
fn in_new_file(run: impl FnOnce(PathBuf) -> Duration) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path().join("bench.db"))
}

fn main() {
    let runtime = store::runtime();
    let events = support::events(10_000, 50_000, 1_000_000);
    let singles = &events[..events.len().min(SINGLES)];
    let rows = bare_rows(&events);
    let mut together = f64::INFINITY;
    let mut bench = Bench::new("ingest", 10);
    bench.measure("bare", rows.len(), || in_new_file(|path| bare_ingest(&path, &rows)));
    bench.measure("batched", events.len(), || in_new_file(|path| batched_ingest(&runtime, &path, &events)));
    bench.measure("singles", singles.len(), || {
        in_new_file(|path| {
            let (taken, events_a_sync) = single_ingest(&runtime, &path, singles);
            together = together.min(events_a_sync);
            taken
        })
    });
    let (bare, batched, alone) = (bench.rate("bare"), bench.rate("batched"), bench.rate("singles"));
    println!("events a second: bare {bare:.0}, batched {batched:.0}, singles {alone:.0}");
    println!("batched / bare:    {:.2} (goal: at least 0.5)", batched / bare);
    println!("singles / batched: {:.2} (goal: at least 0.3)", alone / batched);
    println!("singles a sync:    {together:.0} at the least (goal: at least 50)");
}
