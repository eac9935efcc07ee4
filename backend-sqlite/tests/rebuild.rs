//! Features computed anew from the ratings, by several threads and beside other writes.

#![allow(clippy::expect_used, reason = "helpers of tests, in which a failure is a panic")]

use std::path::Path;

use futures::future::join_all;
use recstore_core::{
    ErrorKind, FeatureStore, FeatureStoreExt, GetOptions, Namespace, PutOptions, Rating, RatingStore,
    Storage, StoreContext, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use rusqlite::Connection;

fn rating(user: u64, item: u64, value: f64) -> Rating {
    let at = Timestamp::from_seconds((user * 1000 + item) as i64).expect("a time");
    Rating::new(user.into(), item.into(), value, at).expect("a rating")
}

async fn open(path: &Path) -> SqliteStorage {
    let (config, context) = (SqliteConfig::new(path), StoreContext::default());
    SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep)
        .await
        .expect("the store opens")
}

async fn put(store: &SqliteStorage, ratings: impl IntoIterator<Item = Rating>) {
    store.put_ratings(ratings.into_iter().collect(), PutOptions::default()).await.expect("ratings");
}

/// Stars of most items; of some, and of some users, more distinct values than the statistics hold.
fn ratings() -> impl Iterator<Item = Rating> {
    (0..300).flat_map(|user| {
        (0..40).filter(move |item| (user * 7 + item * 3) % 5 > 0).map(move |item| {
            let fine = item == 11 || user == 13;
            let value =
                if fine { (user * 40 + item) as f64 / 8.0 } else { ((user + item) % 10) as f64 / 2.0 };
            rating(user, item, value)
        })
    })
}

/// What is stored of statistics and counts of values.
fn stored(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).expect("a connection");
    let text = |sql: &str| -> Vec<String> {
        let mut select = connection.prepare(sql).expect("a statement");
        let rows = select.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    let mut all = text(
        "SELECT concat_ws(' ', id, rating_count, hex(rating_stats), stats_checksum) FROM entities ORDER BY id",
    );
    all.extend(text(
        "SELECT concat_ws(' ', entity, value, count, checksum) FROM value_counts ORDER BY entity, value",
    ));
    all.extend(text("SELECT concat_ws(' ', id, ratings, withdrawn, checksum) FROM namespaces ORDER BY id"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_stores_what_the_writes_have_stored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rebuilt.db");
    let store = open(&path).await;
    put(&store, ratings()).await;
    let withdrawn = Timestamp::from_seconds(1_000_000).expect("a time");
    put(&store, (0..20).map(|user| Rating::withdrawal(user.into(), 3.into(), withdrawn))).await;
    let before = stored(&path);
    assert!(before.len() > 300 + 40 + 2 * 65, "there are counts of values");
    let report = store.rebuild_features().await.expect("a rebuild");
    assert_eq!((report.users, report.items, report.changed), (300, 40, 0));
    assert_eq!(stored(&path), before);
    for damage in [
        "UPDATE entities SET rating_stats = NULL, rating_count = 0",
        "UPDATE entities SET rating_stats = x'00'",
        "UPDATE entities SET stats_checksum = 0",
        "DELETE FROM value_counts",
        "UPDATE value_counts SET count = count + 1",
        "UPDATE value_counts SET checksum = 0",
        "INSERT INTO value_counts SELECT id, 5, 1, 0 FROM entities WHERE kind = 1 ON CONFLICT DO NOTHING",
    ] {
        let connection = Connection::open(&path).expect("a connection");
        connection.execute_batch(damage).expect("damage");
        drop(connection);
        let report = store.rebuild_features().await.expect("a rebuild");
        assert_eq!(report.changed, if damage.contains("UPDATE entities") { 340 } else { 0 }, "{damage}");
        assert!(stored(&path) == before, "{damage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_queued_together_with_writes_counts_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder.path().join("queued.db")).await;
    for round in 0..20_u64 {
        let write = |number: u64| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, [rating(number % 7, round * 100 + number, 3.0)]).await })
        };
        let mut writes: Vec<_> = (0..40).map(write).collect();
        let rebuilding = store.clone();
        let rebuild =
            tokio::spawn(async move { rebuilding.rebuild_features().await.map(|report| report.changed) });
        writes.extend((40..80).map(write));
        let rebuilt = rebuild.await.expect("no panic").expect("a rebuild");
        assert!(join_all(writes).await.into_iter().all(|write| write.is_ok()));
        assert_eq!(rebuilt, 0, "round {round}");
        assert_eq!(store.rebuild_features().await.expect("a rebuild").changed, 0, "round {round}");
    }
    let counts = store.count_ratings(GetOptions::default()).await.expect("counts");
    assert_eq!(counts.ratings, 20 * 80);
    let batch = store.user_features(&UserId::from(0)).await.expect("features");
    assert!(batch.status[0].is_found());
}

#[tokio::test]
async fn a_rebuild_does_not_count_what_is_damaged() {
    for damage in [
        "UPDATE ratings SET value = 5000000 WHERE user = (SELECT id FROM entities WHERE kind = 0 AND key = '1')",
        "UPDATE ratings SET user = user + 1000 WHERE user = (SELECT max(user) FROM ratings)",
        "DELETE FROM entities WHERE kind = 0 AND key = '1'",
        "DELETE FROM entities WHERE kind = 1 AND key = '1'",
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("damaged.db");
        let store = open(&path).await;
        put(&store, (0..9).map(|number| rating(number % 3, number / 3, number as f64))).await;
        Connection::open(&path).and_then(|connection| connection.execute_batch(damage)).expect("damage");
        let before = stored(&path);
        let error = store.rebuild_features().await.expect_err(damage);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}");
        assert_eq!(stored(&path), before, "{damage}");
        store.close().await.expect("closed");
    }
}
