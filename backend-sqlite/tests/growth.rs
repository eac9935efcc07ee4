//! The cost of an event does not grow with the history of its user and its item.
//!
//! One user and one item get 100,000 ratings each, then further events are put for both: new ratings,
//! replaced and withdrawn ones, and those that take away the smallest or largest value. What they cost is
//! counted by SQLite: instructions of its virtual machine, steps of full scans, and pages read and written
//! with a cache that is far smaller than the file. The same events on a short history are the yardstick. Star
//! values stay within the statistics that are kept with the user; more than 64 distinct values need the index.
//!
//! That the counters would see it is shown by a call that has to look at every rating.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use recstore_core::{
    EraseOptions, GetOptions, ItemId, Namespace, PutOptions, Rating, RatingStore, RatingStoreExt, Storage,
    Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::{Disk, Steps, context, memory_folder};

const LONG: u64 = 100_000;
const SHORT: u64 = 200;

/// Gives the value of the rating of this number.
type Values = fn(u64) -> f64;

fn stars(number: u64) -> f64 {
    (1 + number % 10) as f64 / 2.0
}

/// Every value is another one; the smallest and the largest are single.
fn distinct(number: u64) -> f64 {
    number as f64 / 1000.0
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_690_000_000 + seconds).unwrap()
}

fn user(number: u64) -> UserId {
    UserId::new(format!("user-{number}")).unwrap()
}

fn item(number: u64) -> ItemId {
    ItemId::new(format!("item-{number}")).unwrap()
}

/// The ratings of user 0 and of item 0, each with `length` others.
fn history(length: u64, values: Values) -> Vec<Rating> {
    (1..=length)
        .flat_map(|number| {
            let time = at(number as i64);
            [
                Rating::new(user(0), item(number), values(number), time).unwrap(),
                Rating::new(user(number), item(0), values(number), time).unwrap(),
            ]
        })
        .collect()
}

/// Events for user 0 and item 0 after a history, with their names.
fn events(length: u64, values: Values) -> Vec<(&'static str, Rating)> {
    let late = at(10_000_000);
    let of_both = |name, number: u64, value: Option<f64>| {
        let rating = |user: UserId, item: ItemId| match value {
            Some(value) => Rating::new(user, item, value, late).unwrap(),
            None => Rating::withdrawal(user, item, late),
        };
        [(name, rating(user(0), item(number))), (name, rating(user(number), item(0)))]
    };
    [
        of_both("a new rating", length + 7, Some(values(5))),
        of_both("a replaced rating", length / 2, Some(values(6))),
        of_both("a withdrawn rating", length / 3, None),
        of_both("the smallest withdrawn", 1, None),
        of_both("the largest replaced", length, Some(values(7))),
    ]
    .concat()
}

/// What one event costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cost {
    steps: Steps,
    reads: u64,
    writes: u64,
}

/// 16 pages of cache, and after opening no knowledge of users and items: everything must be read again.
const SMALL_CACHE: u64 = 64 << 10;

async fn open(folder: &std::path::Path, cache_bytes: u64) -> SqliteStorage {
    // Without checkpoints, for they are no cost of one event.
    let config = SqliteConfig {
        readers: 1,
        cache_bytes,
        wal_bytes: 1 << 30,
        ..SqliteConfig::new(folder.join("ratings.db"))
    };
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await.unwrap()
}

/// The cost of each event after a history of this length.
async fn costs(length: u64, values: Values) -> Vec<(&'static str, Cost)> {
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    let store = open(folder.path(), 32 << 20).await;
    for batch in history(length, values).chunks(50_000) {
        store.put_ratings(batch.to_vec(), PutOptions::default()).await.unwrap();
    }
    store.close().await.unwrap();
    let mut costs = Vec::new();
    for (name, event) in events(length, values) {
        let store = open(folder.path(), SMALL_CACHE).await;
        let (steps, before) = (Steps::now(), disk.figures());
        store.put_rating(event).await.unwrap();
        let (steps, after) = (Steps::now().since(steps), disk.figures());
        costs.push((
            name,
            Cost { steps, reads: after.reads - before.reads, writes: after.writes - before.writes },
        ));
        store.close().await.unwrap();
    }
    let store = open(folder.path(), SMALL_CACHE).await;
    let counts = store.count_ratings(GetOptions::default()).await.unwrap();
    assert_eq!(counts.withdrawn, 4);
    let before = Steps::now();
    let report = store.erase(&user(0).into(), EraseOptions::dry_run()).await.unwrap();
    assert!(report.ratings > length && Steps::now().since(before).machine > length, "the counter is blind");
    store.close().await.unwrap();
    costs
}

/// One test alone in this file, for the counters are those of the whole process.
#[tokio::test]
async fn an_event_costs_the_same_after_a_hundred_thousand_others() {
    Steps::count_from_now();
    for (what, values) in [("stars", stars as Values), ("distinct values", distinct)] {
        let (short, long) = (costs(SHORT, values).await, costs(LONG, values).await);
        for ((name, short), (_, long)) in short.into_iter().zip(long) {
            println!("{what}, {name}: {short:?} after {SHORT}, {long:?} after {LONG}");
            assert!(short.steps.machine > 20, "the counter does not count");
            assert_eq!(long.steps, short.steps, "{what}, {name}");
            // A longer history is a deeper tree, nothing else.
            assert!(long.reads <= short.reads + 40, "{what}, {name}: pages read");
            assert!(long.writes <= short.writes + 20, "{what}, {name}: pages written");
        }
    }
}
