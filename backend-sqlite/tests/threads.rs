//! How the threads treat many callers at once.

#![allow(clippy::expect_used, reason = "helpers of tests, in which a failure is a panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use recstore_core::{
    Deadline, ErrorKind, FeatureStoreExt, GetOptions, ItemId, Namespace, PutOptions, Rating, RatingStore,
    RatingStoreExt, Result, Storage, StoreContext, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::{Disk, memory_folder};

fn rating(user: &str, item: &str, seconds: i64) -> Rating {
    let at = Timestamp::from_seconds(seconds).expect("a time");
    let (user, item) = (UserId::new(user).expect("an id"), ItemId::new(item).expect("an id"));
    Rating::new(user, item, 1.0, at).expect("a rating")
}

async fn open(path: &Path, change: impl FnOnce(&mut SqliteConfig)) -> Result<SqliteStorage> {
    let mut config = SqliteConfig { readers: 2, ..SqliteConfig::new(path) };
    change(&mut config);
    SqliteStorage::open(config, Namespace::default(), StoreContext::default(), Parameters::Keep).await
}

#[tokio::test]
async fn callers_that_wait_for_another_process_wait_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("busy.db");
    let wait = Duration::from_millis(500);
    let store = open(&path, |config| config.busy_timeout = wait).await.expect("the store opens");
    let other = rusqlite::Connection::open(&path).expect("a connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let started = Instant::now();
    let puts = join_all((0..20).map(|user| store.put_rating(rating(&user.to_string(), "i", 1)))).await;
    // The first alone, then all that came meanwhile.
    assert!(started.elapsed() < 6 * wait, "{:?}", started.elapsed());
    assert!(puts.iter().all(|put| put.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy)));
    other.execute_batch("COMMIT").expect("the lock is let go");
    store.put_rating(rating("0", "i", 1)).await.expect("the lock is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_read_does_not_wait_behind_a_long_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder.path().join("long.db"), |_| ()).await.expect("the store opens");
    let users: Vec<String> = (0..400).map(|user| user.to_string()).collect();
    let ratings = users.iter().flat_map(|user| (0..100).map(|item| rating(user, &item.to_string(), 1)));
    store.put_ratings(ratings.collect(), PutOptions::default()).await.expect("ratings");
    let user = UserId::from(1);
    // The thread that takes the long read could take the short ones along, more than once.
    for _ in 0..2 {
        let long = async {
            store.fingerprint(GetOptions::default()).await.expect("a fingerprint");
            Instant::now()
        };
        let short = join_all((0..20).map(|_| store.user_features(&user)));
        let (long_ended, short_ended) = futures::join!(long, async {
            short.await.iter().for_each(|read| assert!(read.is_ok()));
            Instant::now()
        });
        assert!(short_ended < long_ended, "the short reads waited");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_deadline_has_passed_is_given_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("late.db");
    let store = open(&path, |config| config.readers = 1).await.expect("the store opens");
    let ratings = (0..400).flat_map(|user| (0..100).map(move |item| (user.to_string(), item.to_string())));
    let ratings = ratings.map(|(user, item)| rating(&user, &item, 1));
    store.put_ratings(ratings.collect(), PutOptions::default()).await.expect("ratings");
    let begun = Instant::now();
    store.fingerprint(GetOptions::default()).await.expect("a fingerprint");
    let whole = begun.elapsed();
    let begun = Instant::now();
    let options = GetOptions::default().with_deadline(Deadline::after(whole / 20));
    let error = store.fingerprint(options).await.expect_err("the deadline is far too near");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    // The only reader is free again long before the fingerprint could have been finished.
    store.user_features(&UserId::from(1)).await.expect("a row");
    assert!(begun.elapsed() < whole / 2, "{:?} of {whole:?}", begun.elapsed());
}

#[tokio::test]
async fn the_wal_stays_bounded_while_readers_overlap_without_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("wal.db");
    let store = open(&path, |config| config.wal_bytes = 256 << 10).await.expect("the store opens");
    store.put_rating(rating("0", "i", 1)).await.expect("a rating");
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let readers = std::thread::spawn(move || {
        // Whenever one of the two ends its read, the other has begun.
        let readers = [(); 2].map(|()| rusqlite::Connection::open(&path).expect("a connection"));
        for turn in 0.. {
            let (one, other) = (&readers[turn % 2], &readers[(turn + 1) % 2]);
            one.execute_batch("BEGIN; SELECT count(*) FROM ratings").expect("a read");
            std::thread::sleep(Duration::from_millis(5));
            if !other.is_autocommit() {
                other.execute_batch("COMMIT").expect("the end of a read");
            }
            if stop.load(Ordering::SeqCst) {
                return;
            }
        }
    });
    let mut largest = 0;
    for batch in 0..400 {
        let put = |user: i64| rating(&user.to_string(), &(batch % 7).to_string(), batch + 2);
        store.put_ratings((0..100).map(put).collect(), PutOptions::default()).await.expect("ratings");
        let wal = std::fs::metadata(folder.path().join("wal.db-wal")).expect("the WAL");
        largest = largest.max(wal.len());
    }
    done.store(true, Ordering::SeqCst);
    readers.join().expect("the readers end");
    // About twice as much is written.
    assert!(largest < 12 << 20, "{largest} bytes");
}

#[tokio::test]
async fn the_wal_grows_under_one_long_reader_is_told_and_shrinks_when_it_leaves() {
    let folder = recstore_test_faults::memory_folder();
    let path = folder.path().join("wal.db");
    let change = |config: &mut SqliteConfig| {
        config.wal_bytes = 64 << 10;
        config.busy_timeout = Duration::from_millis(50);
    };
    let store = open(&path, change).await.expect("the store opens");
    let put = async |batch: i64| {
        let put = |user: i64| rating(&user.to_string(), &(batch % 7).to_string(), batch + 2);
        store.put_ratings((0..100).map(put).collect(), PutOptions::default()).await.expect("ratings");
    };
    let told = async || {
        let stats = store.stats(GetOptions::default()).await.expect("figures");
        stats
            .backend
            .iter()
            .find(|(name, _)| *name == "wal_bytes")
            .map(|(_, bytes)| *bytes)
            .expect("a figure")
    };
    put(0).await;
    let reader = rusqlite::Connection::open(&path).expect("a connection");
    let count = || reader.query_row("SELECT count(*) FROM ratings", [], |row| row.get::<_, i64>(0));
    reader.execute_batch("BEGIN").expect("a read");
    assert_eq!(count(), Ok(100));
    for batch in 1..60 {
        put(batch).await;
    }
    // Nothing that the reader could still need was taken from it.
    assert_eq!(count(), Ok(100));
    let grown = told().await;
    assert!(grown > 8 * (64 << 10), "{grown} bytes");
    assert_eq!(grown, std::fs::metadata(folder.path().join("wal.db-wal")).expect("the WAL").len());
    reader.execute_batch("COMMIT").expect("the end of a read");
    for batch in 60..120 {
        put(batch).await;
    }
    let shrunk = told().await;
    assert!(shrunk <= 5 * (64 << 10), "{shrunk} bytes after {grown}");
    assert_eq!(store.count_ratings(GetOptions::default()).await.expect("counts").ratings, 700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_close_is_answered_when_everything_is_stored_as_well() {
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    let store = open(&folder.path().join("ratings.db"), |_| {}).await.expect("a store that works");
    disk.slow_down(Duration::from_millis(200));
    let put = tokio::spawn({
        let store = store.clone();
        async move { store.put_ratings(vec![rating("u", "i", 0)], PutOptions::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.close().await.expect("a store that works");
    assert!(put.is_finished(), "closed before a write that was queued is done");
    put.await.expect("no panic").expect("it is stored");
    first.await.expect("no panic").expect("it is closed");
}
