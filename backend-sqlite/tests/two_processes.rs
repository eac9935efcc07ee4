//! Several handles and processes write one file at once, to the same pairs: the content is the fold of all
//! events, features are those of the ratings, and nobody gets an error but, with no time to wait, `Busy`.
//!
//! Each handle keeps users and items in memory and must forget them when another has written; that is what
//! overlapping pairs are for. The test runs itself once more for each further process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::path::Path;
use std::time::Duration;

use recstore_core::{
    Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, FeatureStore, Fingerprints, GetOptions, ItemId,
    MemoryStorage, Namespace, Neighbour, NeighbourList, NeighbourRequest, PutOptions, Rating, RatingStore,
    ReleaseSpec, SimilarityOptions, SimilarityStore, Storage, Timestamp,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, validate};
use recstore_test_faults::{Process, Random, context, memory_folder};

const FILE: &str = "ratings.db";
const WRITERS: u64 = 3;
const BATCHES: usize = 200;
/// The processes wait for this file, so that they write at the same time.
const GO: &str = "go";
/// Tells a further process which writer it is and where the file lies.
const CHILD: &str = "RECSTORE_WRITER_CHILD";

/// The batches of a writer: all writers share 64 pairs, and more values than the statistics hold.
fn batches(writer: u64) -> Vec<Vec<Rating>> {
    let mut random = Random::new(writer);
    let mut event = || {
        let (user, item) = (random.below(8) as u64, random.below(8) as u64);
        let time = Timestamp::from_millis(1_700_000_000_000 + random.below(100_000) as i64).unwrap();
        match random.one_in(6) {
            true => Rating::withdrawal(user.into(), item.into(), time),
            false => Rating::new(user.into(), item.into(), random.below(500) as f64 / 10.0, time).unwrap(),
        }
    };
    (0..BATCHES).map(|_| (0..10).map(|_| event()).collect()).collect()
}

async fn open(folder: &Path, busy_timeout: Duration) -> SqliteStorage {
    let config = SqliteConfig {
        readers: 1,
        busy_timeout,
        wal_bytes: 64 << 10,
        ..SqliteConfig::new(folder.join(FILE))
    };
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await.unwrap()
}

/// Puts the batches of a writer, and looks at the store between them; how often it was told `Busy`.
async fn write(store: &SqliteStorage, writer: u64) -> u64 {
    let mut busy = 0;
    for batch in batches(writer) {
        loop {
            match store.put_ratings(batch.clone(), PutOptions::default()).await {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Busy => busy += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        let counts = store.count_ratings(GetOptions::default()).await.unwrap();
        assert!(counts.ratings + counts.withdrawn <= 64);
    }
    busy
}

/// What the store must hold after these writers.
async fn expected(writers: impl Iterator<Item = u64>) -> Fingerprints {
    let oracle = MemoryStorage::new(Namespace::default(), context());
    for batch in writers.flat_map(batches) {
        oracle.put_ratings(batch, PutOptions::default()).await.unwrap();
    }
    oracle.fingerprint(GetOptions::default()).await.unwrap()
}

async fn check(folder: &Path, writers: impl Iterator<Item = u64>) {
    let store = open(folder, Duration::from_secs(5)).await;
    assert_eq!(store.fingerprint(GetOptions::default()).await.unwrap(), expected(writers).await);
    let validation = validate(&folder.join(FILE)).unwrap();
    assert!(validation.ok, "{:?}", validation.problems);
    assert_eq!(store.rebuild_features().await.unwrap().changed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_handles_on_one_file_fold_to_the_same_content() {
    let folder = memory_folder();
    let (one, other) = (
        open(folder.path(), Duration::from_secs(5)).await,
        open(folder.path(), Duration::from_secs(5)).await,
    );
    let (of_one, of_other) = tokio::join!(write(&one, 1), write(&other, 2));
    assert_eq!((of_one, of_other), (0, 0), "busy, with five seconds to wait");
    let found = one.fingerprint(GetOptions::default()).await.unwrap();
    assert_eq!(found, other.fingerprint(GetOptions::default()).await.unwrap());
    one.close().await.unwrap();
    other.close().await.unwrap();
    check(folder.path(), 1..=2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_time_to_wait_a_held_lock_is_busy_and_stores_nothing() {
    let folder = memory_folder();
    let store = open(folder.path(), Duration::ZERO).await;
    let other = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = batches(1).remove(0);
    let error = store.put_ratings(batch.clone(), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(store.fingerprint(GetOptions::default()).await.unwrap(), Fingerprints::default());
    other.execute_batch("COMMIT").unwrap();
    store.put_ratings(batch, PutOptions::default()).await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn be_a_writer(instruction: &str) {
    let (writer, folder) = instruction.split_once(' ').unwrap();
    let store = open(Path::new(folder), Duration::from_secs(5)).await;
    println!("\nready");
    while !Path::new(folder).join(GO).exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let busy = write(&store, writer.parse().unwrap()).await;
    assert_eq!(busy, 0, "busy, with five seconds to wait");
    store.close().await.unwrap();
}

#[test]
fn processes_that_write_one_file_fold_to_the_same_content() {
    if let Ok(instruction) = std::env::var(CHILD) {
        return be_a_writer(&instruction);
    }
    let folder = memory_folder();
    let name = "processes_that_write_one_file_fold_to_the_same_content";
    // All of them create the file, at once.
    let start = |writer: u64| Process::run(name, CHILD, format!("{writer} {}", folder.path().display()));
    let mut others: Vec<Process> = (1..=WRITERS).map(start).collect();
    others.iter_mut().for_each(|other| other.wait_for("ready"));
    std::fs::write(folder.path().join(GO), "").unwrap();
    for other in others {
        let (passed, lines) = other.end();
        assert!(passed, "{lines:?}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(folder.path(), 1..=WRITERS));
}

/// Promotes a release in which the item `a` has these neighbours.
async fn promote(store: &SqliteStorage, neighbours: &[&str]) {
    let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
    let release = store.begin_release(spec).await.unwrap();
    let key = |id: &str| EntityKey::new(id).unwrap();
    let neighbour = |id: &&str| Neighbour { id: key(id), similarity: 0.5, common: 2 };
    let list = NeighbourList { id: key("a"), neighbours: neighbours.iter().map(neighbour).collect() };
    store.put_neighbours(&release, vec![list], PutOptions::default()).await.unwrap();
    store.seal_release(&release, Vec::new()).await.unwrap();
    store.promote_release(&release).await.unwrap();
}

async fn neighbours_of_a(store: &SqliteStorage) -> Vec<String> {
    let request = NeighbourRequest::of_items([ItemId::new("a").unwrap()]);
    let list = store.get_neighbours(request).await.unwrap().lists.remove(0).into_result().unwrap().unwrap();
    list.into_iter().map(|neighbour| neighbour.id.to_string()).collect()
}

#[tokio::test]
async fn neighbours_that_another_handle_hides_shows_or_erases_are_so_at_the_next_read() {
    let folder = memory_folder();
    let (one, other) = (
        open(folder.path(), Duration::from_secs(5)).await,
        open(folder.path(), Duration::from_secs(5)).await,
    );
    promote(&other, &["b", "c", "d"]).await;
    assert_eq!(neighbours_of_a(&one).await, ["b", "c", "d"]);
    let b = vec![ItemId::new("b").unwrap()];
    other.hide_items(b.clone()).await.unwrap();
    assert_eq!(neighbours_of_a(&one).await, ["c", "d"]);
    other.unhide_items(b).await.unwrap();
    assert_eq!(neighbours_of_a(&one).await, ["b", "c", "d"]);
    // The number of the one that came last is given away again.
    let numbers = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    let number_of = |key: &str| -> i64 {
        numbers.query_row("SELECT id FROM entities WHERE key = ?1", [key], |row| row.get(0)).unwrap()
    };
    let of_d = number_of("d");
    let d = Entity { kind: EntityKind::Item, key: EntityKey::new("d").unwrap() };
    other.erase(&d, EraseOptions::default()).await.unwrap();
    assert_eq!(neighbours_of_a(&one).await, ["b", "c"]);
    promote(&other, &["b", "e"]).await;
    assert_eq!(number_of("e"), of_d);
    assert_eq!(neighbours_of_a(&one).await, ["b", "e"]);
}
