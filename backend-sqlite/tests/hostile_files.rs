//! Files that are not what they should be: foreign, newer, empty, missing, or with the log of
//! another database. Each gives a typed error or the right answer, and never a panic or a hang;
//! what is refused is left as it was.
//!
//! Damage to files that are ours is in `damage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recstore_core::{
    Entity, EntityKind, EraseOptions, Error, ErrorKind, FeatureStore, GetOptions, Namespace, PutOptions,
    Rating, RatingStore, RatingStoreExt, Result, Storage, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, schema_info, validate};
use recstore_test_faults::{Random, Workload, context, memory_folder};
use rusqlite::Connection;
use tempfile::TempDir;

const FILE: &str = "ratings.db";
const STEPS: usize = 30;

fn config(path: &Path) -> SqliteConfig {
    SqliteConfig { readers: 1, busy_timeout: Duration::from_millis(200), ..SqliteConfig::new(path) }
}

async fn open_with(config: SqliteConfig) -> Result<SqliteStorage> {
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await
}

async fn open(path: &Path) -> Result<SqliteStorage> {
    open_with(config(path)).await
}

fn rating(user: u64, item: u64) -> Rating {
    Rating::new(user.into(), item.into(), 3.5, Timestamp::from_seconds(1_700_000_000).unwrap()).unwrap()
}

/// Every file of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// A closed store with a workload in it, as bytes.
async fn fixture(seed: u64) -> (Vec<u8>, Workload) {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    let workload = Workload::random(&mut Random::new(seed), STEPS).await.unwrap();
    let store = open(&path).await.unwrap();
    for step in &workload.steps {
        step.apply(&store).await.unwrap();
    }
    store.close().await.unwrap();
    (fs::read(path).unwrap(), workload)
}

fn folder_with(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Opening and the calls that work on files must all refuse, with this kind, and change nothing.
async fn is_refused(folder: &TempDir, kind: ErrorKind) {
    let path = folder.path().join(FILE);
    let before = files(folder.path());
    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.object(), Some(path.display().to_string().as_str()), "{error:?}");
    let read_only = SqliteConfig { read_only: true, ..config(&path) };
    assert_eq!(open_with(read_only).await.unwrap_err().kind(), kind);
    assert_eq!(validate(&path).err().map(|error| error.kind()).unwrap_or(ErrorKind::Corrupt), kind);
    let mut after = files(folder.path());
    // A connection that only reads cannot take SQLite's own index of the log away again.
    after.retain(|name, bytes| !(name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty()));
    assert!(after == before, "a file that was refused was changed");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let short = b"userId,movieId\n".to_vec();
    let long = b"userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n".repeat(400);
    let almost = [b"SQLite format 2\0".to_vec(), vec![0; 4096]].concat();
    for bytes in [short, long, almost, vec![0; 8192], b"SQLite format 3\0".to_vec()] {
        let (folder, _) = folder_with(&bytes);
        is_refused(&folder, ErrorKind::Corrupt).await;
    }
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_alone() {
    for sql in [
        "CREATE TABLE ratings (user, item)",
        "PRAGMA user_version = 1; CREATE TABLE parameters (name, value)",
        "PRAGMA application_id = 252006674; PRAGMA user_version = 1; CREATE TABLE t (x)",
    ] {
        let folder = memory_folder();
        let connection = Connection::open(folder.path().join(FILE)).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        is_refused(&folder, ErrorKind::Corrupt).await;
    }
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let (bytes, _) = fixture(1).await;
    let (folder, path) = folder_with(&bytes);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 7").unwrap();
    connection.close().unwrap();
    is_refused(&folder, ErrorKind::SchemaVersion).await;
    let info = schema_info(&path).unwrap();
    assert_eq!((info.found, info.current), (7, false));
}

#[tokio::test]
async fn a_database_whose_tables_were_changed_is_refused() {
    let (bytes, _) = fixture(1).await;
    for sql in [
        "ALTER TABLE ratings ADD COLUMN note TEXT",
        "DROP INDEX ratings_by_item_time",
        "CREATE TRIGGER t AFTER INSERT ON ratings BEGIN DELETE FROM entities; END",
    ] {
        let (_folder, path) = folder_with(&bytes);
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        assert_eq!(open(&path).await.unwrap_err().kind(), ErrorKind::Corrupt, "{sql}");
        assert!(!validate(&path).unwrap().ok, "{sql}");
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_store_but_not_for_reading_only() {
    let (_folder, path) = folder_with(b"");
    let read_only = SqliteConfig { read_only: true, ..config(&path) };
    assert_eq!(open_with(read_only).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(schema_info(&path).unwrap().found, 0);
    let store = open(&path).await.unwrap();
    store.put_rating(rating(1, 1)).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named_and_nothing_is_made_in_its_place() {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    let kind = |config| async { open_with(config).await.unwrap_err().kind() };
    assert_eq!(kind(SqliteConfig { create: false, ..config(&path) }).await, ErrorKind::NotFound);
    assert_eq!(kind(SqliteConfig { read_only: true, ..config(&path) }).await, ErrorKind::NotFound);
    assert_eq!(kind(config(&folder.path().join("no/such.db"))).await, ErrorKind::NotFound);
    assert_eq!(validate(&path).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(files(folder.path()).is_empty());
    let error = open(folder.path()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("database.path")));
}

#[tokio::test]
async fn a_store_that_is_opened_for_reading_only_reads_and_refuses_writes() {
    let (bytes, workload) = fixture(2).await;
    let (folder, path) = folder_with(&bytes);
    let store = open_with(SqliteConfig { read_only: true, ..config(&path) }).await.unwrap();
    let found = store.fingerprint(GetOptions::default()).await.unwrap();
    assert_eq!(found, *workload.states.last().unwrap());
    let read_only = |error: Error| assert_eq!(error.kind(), ErrorKind::ReadOnly);
    read_only(store.put_ratings(vec![rating(1, 1)], PutOptions::default()).await.unwrap_err());
    read_only(store.rebuild_features().await.unwrap_err());
    read_only(store.erase(&UserId::from(1).into(), Default::default()).await.unwrap_err());
    for step in &workload.steps {
        read_only(step.apply(&store).await.unwrap_err());
    }
    assert!(store.health().await.unwrap().ok, "reads are all that it is for");
    store.close().await.unwrap();
    assert!(fs::read(folder.path().join(FILE)).unwrap() == bytes, "reading changed the file");
}

#[tokio::test]
async fn a_log_without_its_database_is_refused_and_left_alone() {
    let wal = live(3).await.wal;
    for empty_file in [false, true] {
        let folder = memory_folder();
        let path = folder.path().join(FILE);
        if empty_file {
            fs::write(&path, b"").unwrap();
        }
        fs::write(folder.path().join(format!("{FILE}-wal")), &wal).unwrap();
        let before = files(folder.path());
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(files(folder.path()) == before, "what was refused was changed");
    }
}

/// A store as a killed process leaves it: the file, and a log that is not brought into it yet.
struct Live {
    main: Vec<u8>,
    wal: Vec<u8>,
    workload: Workload,
}

async fn live(seed: u64) -> Live {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    let workload = Workload::random(&mut Random::new(seed), STEPS).await.unwrap();
    let store = open(&path).await.unwrap();
    for (number, step) in workload.steps.iter().enumerate() {
        if number == STEPS / 2 {
            store.close().await.unwrap();
            break;
        }
        step.apply(&store).await.unwrap();
    }
    let store = open(&path).await.unwrap();
    for step in &workload.steps[STEPS / 2..] {
        step.apply(&store).await.unwrap();
    }
    let mut files = files(folder.path());
    let mut take = |name: &str| files.remove(name).unwrap();
    Live { main: take(FILE), wal: take(&format!("{FILE}-wal")), workload }
}

#[tokio::test]
async fn the_log_of_another_database_is_refused_or_changes_nothing() {
    let (mut refused, mut own) = (0, 0);
    for seed in 10..30 {
        let (one, another) = (live(seed).await, live(seed + 100).await);
        let (folder, path) = folder_with(&one.main);
        fs::write(folder.path().join(format!("{FILE}-wal")), &another.wal).unwrap();
        match open(&path).await {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                refused += 1;
            }
            Ok(store) => {
                let found = store.fingerprint(GetOptions::default()).await.unwrap();
                assert!(one.workload.states.contains(&found), "seed {seed}: the content of another");
                own += 1;
            }
        }
    }
    println!("the log of another store: {refused} refused, {own} own");
}

/// Ratings of 50 users and 8 items.
async fn filled(path: &Path) -> SqliteStorage {
    let store = open_with(SqliteConfig { verify_bytes: 0, ..config(path) }).await.unwrap();
    let ratings = (0..400).map(|number| rating(number % 50, number % 8)).collect();
    store.put_ratings(ratings, PutOptions::default()).await.unwrap();
    store
}

/// What is left when the disk has lost every later write of the first page.
#[tokio::test]
async fn a_store_with_the_first_page_of_a_new_file_is_refused_and_not_made_anew() {
    let folder = memory_folder();
    let (path, new) = (folder.path().join(FILE), folder.path().join("new.db"));
    let connection = Connection::open(&new).unwrap();
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    let first = fs::read(&new).unwrap();
    filled(&path).await.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[..first.len()].copy_from_slice(&first);
    for verify_bytes in [0, 2 << 20] {
        fs::write(&path, &bytes).unwrap();
        let error = open_with(SqliteConfig { verify_bytes, ..config(&path) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(fs::read(&path).unwrap() == bytes, "what was refused was changed");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_damaged_log_is_told_through_a_symbolic_link_too() {
    let Live { main, wal, .. } = live(3).await;
    let folder = memory_folder();
    let (path, link) = (folder.path().join("real.db"), folder.path().join("link.db"));
    let mut damaged = wal.clone();
    damaged[32 + 24 + 100] ^= 1;
    std::os::unix::fs::symlink(&path, &link).unwrap();
    fs::write(&path, &main).unwrap();
    fs::write(folder.path().join("real.db-wal"), &damaged).unwrap();
    assert_eq!(open(&link).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(validate(&link).unwrap_err().kind(), ErrorKind::Corrupt);
    fs::write(folder.path().join("real.db-wal"), &wal).unwrap();
    let figures = open(&link).await.unwrap().stats(GetOptions::default()).await.unwrap().backend;
    assert!(figures.iter().any(|(name, figure)| *name == "wal_bytes" && *figure > 0), "{figures:?}");
}

/// In a file that is too large to be checked when it is opened.
#[tokio::test]
async fn ratings_of_a_user_or_item_whose_row_is_lost_are_in_no_proof_and_no_erasure_without_a_word() {
    for (kind, key) in [(0, "3"), (1, "3")] {
        let folder = memory_folder();
        let path = folder.path().join(FILE);
        let store = filled(&path).await;
        let sql = Connection::open(&path).unwrap();
        let deleted = sql.execute("DELETE FROM entities WHERE kind = ?1 AND key = ?2", (kind, key)).unwrap();
        assert_eq!(deleted, 1);
        let corrupt = |error: Error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        corrupt(store.fingerprint(GetOptions::default()).await.unwrap_err());
        if kind == 1 {
            let ratings = || -> i64 {
                let of_user = "SELECT count(*) FROM ratings WHERE user =
                    (SELECT id FROM entities WHERE kind = 0 AND key = '11')";
                sql.query_row(of_user, [], |row| row.get(0)).unwrap()
            };
            let before = ratings();
            let user = Entity { kind: EntityKind::User, key: UserId::from(11).into() };
            corrupt(store.erase(&user, EraseOptions::default()).await.unwrap_err());
            assert_eq!(ratings(), before);
        }
    }
}
