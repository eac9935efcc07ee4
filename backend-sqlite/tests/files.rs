//! What happens to the file itself: files of other programs, files that two open at once, erased bytes.

#![allow(clippy::expect_used, reason = "helpers of tests, in which a failure is a panic")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use recstore_core::{
    EraseOptions, ErasureKey, ErrorKind, GetOptions, Namespace, PutOptions, Rating, RatingStore, Result,
    Storage, StoreContext, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, migrate, schema_info};

async fn open(path: &Path) -> Result<SqliteStorage> {
    let config = SqliteConfig { readers: 1, ..SqliteConfig::new(path) };
    SqliteStorage::open(config, Namespace::default(), StoreContext::default(), Parameters::Keep).await
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("theirs.db");
    let theirs = rusqlite::Connection::open(&path).expect("a database");
    theirs.execute_batch("CREATE TABLE notes (text); INSERT INTO notes VALUES ('mine')").expect("a table");
    drop(theirs);
    let before = std::fs::read(&path).expect("the file");
    assert_eq!(open(&path).await.map(drop).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(migrate(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(std::fs::read(&path).expect("the file") == before, "the file was changed");
}

#[tokio::test]
async fn a_damaged_header_is_told_by_its_kind_for_reading_only_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    open(&path).await.expect("the store opens").close().await.expect("it closes");
    let bytes = std::fs::read(&path).expect("the file");
    for at in 16..100 {
        let mut damaged = bytes.clone();
        damaged[at] = 0x92;
        std::fs::write(&path, damaged).expect("the file is written");
        let config = SqliteConfig { readers: 1, read_only: true, ..SqliteConfig::new(&path) };
        let context = StoreContext::default();
        let opened = SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep).await;
        if let Err(error) = opened {
            assert_ne!(error.kind(), ErrorKind::Internal, "byte {at}: {error:?}");
        }
    }
}

#[test]
fn a_file_that_is_being_migrated_is_never_taken_for_another_programs() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new.db");
        std::fs::File::create(&path).expect("an empty file");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                migrate(&path).expect("the migration runs");
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                match schema_info(&path) {
                    Ok(info) => assert!(info.found <= info.supported),
                    Err(error) => assert_ne!(error.kind(), ErrorKind::Corrupt, "{error}"),
                }
            }
        });
    }
}

#[tokio::test]
async fn nothing_of_an_erased_user_stays_in_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("erased.db");
    let store = open(&path).await.expect("the store opens");
    let users: Vec<UserId> =
        (0..50).map(|user| UserId::new(format!("very-secret-user-{user}")).expect("an id")).collect();
    let at = Timestamp::from_seconds(1).expect("a time");
    let ratings = users.iter().flat_map(|user| {
        (0..40).map(|item| Rating::new(user.clone(), item.into(), 1.0, at).expect("a rating"))
    });
    store.put_ratings(ratings.collect(), PutOptions::default()).await.expect("ratings");
    for user in users {
        store.erase(&user.into(), EraseOptions::default()).await.expect("an erasure");
    }
    store.close().await.expect("the store closes");
    let bytes = std::fs::read(&path).expect("the file");
    assert!(!bytes.windows(11).any(|bytes| bytes == b"secret-user"), "an erased id is in the file");
    assert!(!folder.path().join("erased.db-wal").exists());
}

#[tokio::test]
async fn a_batch_that_meets_damage_is_refused_whole_as_damage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("damaged.db");
    let store = open(&path).await.expect("the store opens");
    let rating = |item: u64, value: f64, seconds: i64| {
        let at = Timestamp::from_seconds(seconds).expect("a time");
        Rating::new(1.into(), item.into(), value, at).expect("a rating")
    };
    // So many different values that their counts are a table.
    let ratings = (0..100).map(|item| rating(item, item as f64, 1)).collect();
    store.put_ratings(ratings, PutOptions::default()).await.expect("ratings");
    let other = rusqlite::Connection::open(&path).expect("a connection");
    other
        .execute_batch("UPDATE value_counts SET value = value + (1 << 60) WHERE value > 98500000")
        .expect("damage");
    // The second takes the smallest value away, so that the extremes are looked up.
    let batch = vec![rating(200, 50.0, 1), rating(0, 50.0, 2)];
    let error = store.put_ratings(batch, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(store.count_ratings(GetOptions::default()).await.expect("counts").ratings, 100);
}

#[test]
fn of_two_that_create_a_file_with_other_parameters_one_is_refused() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new.db");
        migrate_new(&path);
        let both = std::sync::Barrier::new(2);
        let opens = |secret: &[u8]| {
            let erasure_key = ErasureKey::from_secret(secret);
            let context = StoreContext { erasure_key, ..StoreContext::default() };
            let config = SqliteConfig { readers: 1, ..SqliteConfig::new(&path) };
            both.wait();
            let open = SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep);
            futures::executor::block_on(open).is_ok()
        };
        let opened = std::thread::scope(|scope| {
            let one = scope.spawn(|| opens(b"one"));
            [opens(b"other"), one.join().expect("the thread ends")]
        });
        assert_eq!(opened.iter().filter(|&&opened| opened).count(), 1);
    }
}

/// A file with tables and without parameters.
fn migrate_new(path: &Path) {
    std::fs::File::create(path).expect("an empty file");
    migrate(path).expect("the migration runs");
}

/// Readers of one header must not take its fields from several moments.
#[test]
fn many_that_create_one_file_at_once_all_open_it() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        let folder = recstore_test_faults::memory_folder();
        let path = folder.path().join("ratings.db");
        std::thread::scope(|scope| {
            let open = |delay: u64| {
                let path = &path;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(delay * 150));
                    futures::executor::block_on(open(path)).map(drop)
                })
            };
            let all: Vec<_> = (0..8).map(open).collect();
            all.into_iter().for_each(|one| one.join().expect("no panic").expect("a store"));
        });
    }
}
