//! Files that are not what they should be: foreign, newer, empty, missing, cut off, with flipped bytes or with
//! the log of another database. Each gives a typed error or the right answer, and never a panic or a hang;
//! what is refused is left as it was.
//!
//! What this cannot give: SQLite's pages carry no checksums, so a flipped byte within a value is another
//! value, and no read sees it. The test of flipped bytes counts what finds them: opening, reading, `validate`,
//! or a rebuild that finds features which are not those of the ratings. It prints the shares, and asserts that
//! what is told is told by a kind that fits, and that no changed value of a rating escapes both `validate` and
//! a rebuild. Of 6,000 flips beyond the first page 45 % hit nothing that is read, 21 % are told by opening or
//! reading, 23 % by `validate`, 3 % by a rebuild; 8 % (event times and ids, neighbours) are found by nothing.
//!
//! The log has checksums, but its end is not known: a flip in it ends it there, which is an earlier state of
//! the store, whole.
//!
//! `RECSTORE_FLIPS` sets how many bytes are flipped beyond those of the first page, `RECSTORE_SEED` which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use recstore_core::{
    Error, ErrorKind, FeatureStore, Fingerprints, GetOptions, HistoryOptions, ItemId, Namespace, PutOptions,
    Rating, RatingRow, RatingStore, RatingStoreExt, RatingValue, Result, ScanOptions, Storage, Timestamp,
    UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, schema_info, validate};
use recstore_test_faults::{Random, Workload, context, from_env, memory_folder};
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
async fn a_file_beside_the_log_of_a_deleted_one_is_a_new_store() {
    let folder = memory_folder();
    fs::write(folder.path().join(format!("{FILE}-wal")), live(3).await.wal).unwrap();
    let store = open(&folder.path().join(FILE)).await.unwrap();
    assert_eq!(store.fingerprint(GetOptions::default()).await.unwrap(), Fingerprints::default());
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

/// Everything that can be read.
async fn read_all(store: &SqliteStorage) -> Result<(Fingerprints, Vec<RatingRow>)> {
    let options = ScanOptions::default().with_withdrawn(true);
    let rows: Vec<Vec<RatingRow>> = store.scan_ratings(options).try_collect().await?;
    let rows = rows.concat();
    for row in &rows {
        store.user_history(row.rating.user(), HistoryOptions::default()).await?;
    }
    store.groups().await?;
    store.stats(GetOptions::default()).await?;
    Ok((store.fingerprint(GetOptions::default()).await?, rows))
}

/// What came of a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// The right answers.
    Nothing,
    /// An error of this kind at opening.
    ByOpening(&'static str),
    /// An error of this kind at a read.
    ByReading(&'static str),
    /// Other answers, but `validate` finds it.
    ByValidating,
    /// Other answers, but rebuilding features finds some that are not those of the ratings.
    ByRebuilding,
    /// Another value of a rating, and nothing finds it.
    ValueByNothing,
    /// Another time or event id of a rating, and nothing finds it.
    RatingByNothing,
    /// Other answers about something else, and nothing finds it.
    OtherByNothing,
}

/// Opens what is at `path` and reads everything, within a time that no call needs.
async fn look(path: &Path, right: &(Fingerprints, Vec<RatingRow>)) -> Found {
    let look = async {
        let store = match open(path).await {
            Ok(store) => store,
            Err(error) => {
                if error.kind() == ErrorKind::Internal {
                    println!("OPEN {error:?}");
                }
                return Found::ByOpening(error.kind().as_str());
            }
        };
        let found = match read_all(&store).await {
            Ok(found) if found == *right => return Found::Nothing,
            Ok(found) => found,
            Err(error) => {
                if error.kind() == ErrorKind::Internal {
                    println!("READ {error:?}");
                }
                return Found::ByReading(error.kind().as_str());
            }
        };
        if !validate(path).is_ok_and(|validation| validation.ok) {
            return Found::ByValidating;
        }
        match store.rebuild_features().await {
            Ok(report) if report.changed > 0 => Found::ByRebuilding,
            Err(_) => Found::ByRebuilding,
            Ok(_) if values(&found.1) != values(&right.1) => Found::ValueByNothing,
            Ok(_) if found.1 != right.1 => Found::RatingByNothing,
            Ok(_) => Found::OtherByNothing,
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.expect("no call hangs")
}

/// Who rated what how.
fn values(rows: &[RatingRow]) -> Vec<(&UserId, &ItemId, Option<RatingValue>)> {
    rows.iter().map(|row| (row.rating.user(), row.rating.item(), row.rating.value())).collect()
}

fn tally(found: impl IntoIterator<Item = Found>) -> BTreeMap<Found, usize> {
    let mut tally = BTreeMap::new();
    found.into_iter().for_each(|found| *tally.entry(found).or_default() += 1);
    tally
}

/// The kinds by which damage may be told.
fn check_kinds(tally: &BTreeMap<Found, usize>) {
    for found in tally.keys() {
        if let Found::ByOpening(kind) | Found::ByReading(kind) = found {
            // Flips in the header make a file of another version, or of a version of SQLite that may only
            // be read; flips in the parameters make other parameters.
            let kinds = ["corrupt", "schema_version", "read_only", "invalid"];
            assert!(kinds.contains(kind), "{found:?}");
        }
    }
}

async fn right(bytes: &[u8]) -> (Fingerprints, Vec<RatingRow>) {
    let (_folder, path) = folder_with(bytes);
    read_all(&open(&path).await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_refused() {
    let (bytes, _) = fixture(4).await;
    let right = right(&bytes).await;
    let mut random = Random::new(from_env("RECSTORE_SEED", 20_260));
    let pages = (1..bytes.len() / 4096).map(|page| page * 4096);
    let within = (0..60).map(|_| 1 + random.below(bytes.len() - 1)).collect::<Vec<_>>();
    let mut found = Vec::new();
    for length in pages.chain(within).chain([1, 15, 16, 17, 99, 100, 101, 511, 512]) {
        let (_folder, path) = folder_with(&bytes[..length]);
        found.push(look(&path, &right).await);
    }
    let tally = tally(found);
    println!("{} lengths: {tally:?}", tally.values().sum::<usize>());
    assert!(tally.keys().all(|found| matches!(found, Found::ByOpening("corrupt"))), "{tally:?}");
}

/// The same content in pages of 512 bytes, where nearly every byte means something.
fn with_small_pages(bytes: &[u8]) -> Vec<u8> {
    let (_folder, path) = folder_with(bytes);
    let connection = Connection::open(&path).unwrap();
    connection.query_row("PRAGMA journal_mode = delete", [], |_| Ok(())).unwrap();
    connection.execute_batch("PRAGMA page_size = 512; VACUUM").unwrap();
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    fs::read(&path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_told_by_its_kind_or_changes_a_value_and_nothing_else() {
    let bytes = with_small_pages(&fixture(5).await.0);
    let right = right(&bytes).await;
    let mut random = Random::new(from_env("RECSTORE_SEED", 20_260));
    let sample = from_env("RECSTORE_FLIPS", 600);
    let others = (0..sample).map(|_| 512 + random.below(bytes.len() - 512));
    let flips: Vec<(usize, u8)> = (0..512).chain(others).map(|at| (at, 1 << (at * 7 % 8))).collect();
    let look_at = |flips: Vec<(usize, u8)>| {
        let (mut bytes, right) = (bytes.clone(), right.clone());
        tokio::spawn(async move {
            let mut found = Vec::new();
            for (at, mask) in flips {
                bytes[at] ^= mask;
                let (_folder, path) = folder_with(&bytes);
                bytes[at] ^= mask;
                found.push(look(&path, &right).await);
            }
            found
        })
    };
    let halves: Vec<_> = flips.chunks(flips.len().div_ceil(2)).map(|half| look_at(half.to_vec())).collect();
    let mut found = Vec::new();
    for half in halves {
        found.extend(half.await.unwrap());
    }
    let (first_page, others) = found.split_at(512);
    let (first_page, others) = (tally(first_page.to_vec()), tally(others.to_vec()));
    println!("{} bytes\nfirst page: {first_page:?}\nothers: {others:?}", bytes.len());
    check_kinds(&first_page);
    check_kinds(&others);
    assert!(!others.contains_key(&Found::ValueByNothing), "{others:?}");
    assert!(others.contains_key(&Found::ByOpening("corrupt")), "{others:?}");
}

#[tokio::test]
async fn a_flipped_byte_in_the_log_ends_it_at_an_earlier_state() {
    let Live { main, wal, workload } = live(6).await;
    let mut random = Random::new(from_env("RECSTORE_SEED", 20_260));
    let (mut earlier, mut refused) = (0, 0);
    for number in 0..150 {
        let (folder, path) = folder_with(&main);
        let mut wal = wal.clone();
        let at = if number < 32 { number } else { random.below(wal.len()) };
        wal[at] ^= 1 << random.below(8);
        fs::write(folder.path().join(format!("{FILE}-wal")), wal).unwrap();
        match open(&path).await {
            Ok(store) => {
                let found = store.fingerprint(GetOptions::default()).await.unwrap();
                assert!(workload.states[STEPS / 2..].contains(&found), "byte {at}: no state of the store");
                earlier += usize::from(found != *workload.states.last().unwrap());
                assert!(validate(&path).unwrap().ok);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error:?}");
                refused += 1;
            }
        }
    }
    println!("150 flips in a log of {} bytes: {earlier} earlier states, {refused} refused", wal.len());
    assert!(earlier > 0);
}

#[tokio::test]
async fn the_log_of_another_database_is_no_reason_to_panic() {
    let (mut refused, mut own, mut other, mut mixed) = (0, 0, 0, 0);
    for seed in 10..30 {
        let (one, another) = (live(seed).await, live(seed + 100).await);
        let (folder, path) = folder_with(&one.main);
        fs::write(folder.path().join(format!("{FILE}-wal")), &another.wal).unwrap();
        let Ok(store) = open(&path).await else {
            refused += 1;
            continue;
        };
        match read_all(&store).await {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                refused += 1;
            }
            Ok((found, _)) if one.workload.states.contains(&found) => own += 1,
            Ok((found, _)) if another.workload.states.contains(&found) => other += 1,
            Ok(_) if !validate(&path).unwrap().ok => refused += 1,
            Ok(_) => mixed += 1,
        }
    }
    println!("the log of another store: {refused} refused, {own} own, {other} the other's, {mixed} mixed");
}
