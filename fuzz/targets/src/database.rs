//! A file that is said to be a database.
//!
//! Bytes that begin as an SQLite file does are one. Others are changes to a small database of today's schema,
//! three bytes for each (offset, little-endian, and the new byte): nearly all whole files that a fuzzer makes
//! are refused at the first look, what passes it is near a valid one.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use futures::TryStreamExt;
use recstore::sqlite::{Parameters, SqliteConfig, SqliteStorage, schema_info, validate};
use recstore::{
    Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, FeatureName, FeatureRequest, FeatureStore,
    GetOptions, HistoryOptions, Namespace, NeighbourRequest, Rating, RatingRow, RatingStore, RatingStoreExt,
    Result, ScanOptions, SimilarityStore, Storage, Timestamp, UserId,
};
use recstore_test_faults::{Random, Workload, context, memory_folder};
use rusqlite::Connection;

use crate::Answer;

const MAGIC: &[u8] = b"SQLite format 3\0";
const FILE: &str = "source.db";
/// Longer than any call takes on the small files that are tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes as a database, or as changes to one.
pub fn database(data: &[u8]) -> Answer {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    let bytes = if data.starts_with(MAGIC) { data.to_vec() } else { changed(data) };
    fs::write(&path, bytes).expect("a file in memory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let outcome = tokio::time::timeout(PATIENCE, look(&path)).await.expect("no call hangs");
        match outcome {
            Ok(()) => Answer::Taken,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}");
                Answer::Refused
            }
        }
    })
}

/// A small database of today's schema, with something in every table, in pages of 512 bytes: nearly every byte
/// of it means something.
pub fn base_database() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.and_then(|runtime| runtime.block_on(make_base())).expect("a database can be made")
    })
}

async fn make_base() -> std::io::Result<Vec<u8>> {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    let workload = Workload::random(&mut Random::new(3), 24).await.expect("the oracle takes it");
    let store = open(&path, false).await.expect("a new store");
    for step in &workload.steps {
        step.apply(&store).await.expect("the store takes it");
    }
    store.close().await.expect("it closes");
    let connection = Connection::open(&path).expect("the file opens");
    connection.query_row("PRAGMA journal_mode = delete", [], |_| Ok(())).expect("no log");
    connection.execute_batch("PRAGMA page_size = 512; VACUUM").expect("small pages");
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).expect("a log");
    connection.close().expect("it closes");
    fs::read(path)
}

fn changed(changes: &[u8]) -> Vec<u8> {
    let mut bytes = base_database().to_vec();
    let length = bytes.len();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        bytes[at % length] = change[2];
    }
    bytes
}

/// Opens as large files are opened, which are not looked through before: so reads meet what is damaged.
/// [`validate`] is what looks through them.
async fn open(path: &Path, read_only: bool) -> Result<SqliteStorage> {
    let config = SqliteConfig {
        read_only,
        verify_bytes: 0,
        readers: 1,
        cache_bytes: 256 << 10,
        busy_timeout: Duration::from_millis(200),
        ..SqliteConfig::new(path)
    };
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Adopt).await
}

/// Everything that works on a file. What is looked at first must not keep what follows from being tried.
async fn look(path: &Path) -> Result<()> {
    let outcomes =
        [schema_info(path).map(drop), validate(path).map(drop), read(path).await, write(path).await];
    outcomes.into_iter().collect()
}

async fn read(path: &Path) -> Result<()> {
    let store = open(path, true).await?;
    let outcome = read_all(&store).await;
    store.close().await?;
    outcome
}

async fn read_all(store: &SqliteStorage) -> Result<()> {
    let health = store.health().await?;
    let options = ScanOptions::default().with_withdrawn(true);
    let rows: Vec<RatingRow> = store.scan_ratings(options).try_collect::<Vec<_>>().await?.concat();
    let mut keys: Vec<EntityKey> = Vec::new();
    for row in &rows {
        let (user, item) = (row.rating.user(), row.rating.item());
        store.user_history(user, HistoryOptions::default().with_limit(3)).await?;
        store.item_history(item, HistoryOptions::default().with_limit(3)).await?;
        store.get_rating(user, item).await?;
        keys.extend([user.clone().into(), item.clone().into()]);
    }
    keys.sort();
    keys.dedup();
    features(store, &keys).await?;
    for kind in [EntityKind::User, EntityKind::Item] {
        for release in store.releases(kind).await? {
            let request = NeighbourRequest::new(kind, keys.clone()).with_release(release.id);
            store.get_neighbours(request).await?;
        }
        store.get_neighbours(NeighbourRequest::new(kind, keys.clone())).await?;
        store.get_popular(kind, 5, GetOptions::default()).await?;
    }
    store.hidden_items().await?;
    store.count_ratings(GetOptions::default()).await?;
    store.stats(GetOptions::default()).await?;
    store.fingerprint(GetOptions::default()).await?;
    assert!(!health.checks.is_empty());
    Ok(())
}

async fn features(store: &SqliteStorage, keys: &[EntityKey]) -> Result<()> {
    let mut groups: Vec<FeatureName> = store.groups().await?.into_iter().map(|schema| schema.name).collect();
    groups.extend(["user_ratings", "item_ratings"].map(|name| FeatureName::new(name).expect("a name")));
    for group in groups {
        let batch = store.get_features(FeatureRequest::new(group, keys.to_vec())).await?;
        assert_eq!(batch.len(), keys.len(), "an answer for each key");
    }
    Ok(())
}

/// What a service does with a file that it believes in.
async fn write(path: &Path) -> Result<()> {
    let store = open(path, false).await?;
    let outcome = write_all(&store).await;
    store.close().await?;
    outcome
}

async fn write_all(store: &SqliteStorage) -> Result<()> {
    let user = UserId::new("user-1")?;
    let time = Timestamp::from_seconds(1_700_000_000)?;
    for item in ["item-1", "item-2", "new"] {
        store.put_rating(Rating::new(user.clone(), item.parse()?, 3.5, time)?).await?;
    }
    store.rebuild_features().await?;
    store.erase(&Entity::new(EntityKind::User, user.into()), EraseOptions::default()).await?;
    Ok(())
}
