//! Tests of the log: its bytes, and that `deltalake` reads every version of a table.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaTableBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use recstore_core::{ColumnType, ErrorKind, FeatureName, Rating, RatingRow, Timestamp};
use url::Url;

use super::*;
use crate::lake::silver::custom::custom_columns;
use crate::lake::silver::file::EncodedFile;
use crate::lake::silver::ratings::{RatingOrder, rating_columns};
use crate::lake::silver::tests::{custom_rows, encode_custom, encode_ratings, group};

const TIME: i64 = 1_700_000_000_000;

fn table(name: &str) -> TableKey {
    format!("silver/v1/shop/{name}").parse().unwrap()
}

fn file(table: &TableKey, bucket: u32, generation: u64, text: &'static str) -> DataFile {
    let encoded = EncodedFile { bytes: Bytes::from_static(text.as_bytes()), rows: 3, live: 2 };
    DataFile::new(table, bucket, generation, &encoded)
}

fn commit<'a>(
    table: &'a TableKey,
    version: u64,
    added: &'a [DataFile],
    removed: &'a [DataFile],
) -> DeltaCommit<'a> {
    DeltaCommit {
        table,
        version,
        generation: version + 5,
        time: Timestamp::from_millis(TIME).unwrap(),
        columns: (version == 0).then(|| rating_columns(RatingOrder::ByUser)),
        added,
        removed,
    }
}

fn text(commit: &DeltaCommit<'_>) -> String {
    String::from_utf8(commit.bytes().unwrap().to_vec()).unwrap()
}

/// Golden text: whoever runs a generation again must write the same bytes.
#[test]
fn the_entries_are_fixed_text() {
    let table = table("ratings");
    let (old, new) = (file(&table, 7, 5, "old"), file(&table, 7, 6, "new"));
    let first = commit(&table, 0, std::slice::from_ref(&old), &[]);
    assert_eq!(first.name(), "silver/v1/shop/ratings/_delta_log/00000000000000000000.json");
    assert_eq!(text(&first), include_str!("golden/create.json").trim_end());
    let second = commit(&table, 1, std::slice::from_ref(&new), std::slice::from_ref(&old));
    assert_eq!(second.name(), "silver/v1/shop/ratings/_delta_log/00000000000000000001.json");
    assert_eq!(text(&second), include_str!("golden/write.json").trim_end());
}

#[test]
fn the_order_of_files_does_not_matter() {
    let table = table("ratings");
    let mut files: Vec<DataFile> = (0..9).map(|bucket| file(&table, bucket, 5, "some")).collect();
    let mut others: Vec<DataFile> = (0..9).map(|bucket| file(&table, bucket, 4, "other")).collect();
    let bytes = commit(&table, 1, &files, &others).bytes().unwrap();
    files.reverse();
    others.rotate_left(4);
    assert_eq!(commit(&table, 1, &files, &others).bytes().unwrap(), bytes);
}

#[test]
fn tables_have_an_identity_of_their_own_that_stays() {
    let id = table_id(&table("ratings"));
    assert_eq!(id, table_id(&table("ratings")));
    assert_ne!(id, table_id(&table("ratings_by_item")));
    assert_ne!(id, table_id(&"silver/v1/shop2/ratings".parse().unwrap()));
    assert_eq!((id.len(), &id[14..15]), (36, "8"));
}

#[test]
fn an_entry_that_would_be_wrong_is_not_written() {
    let (ratings, items) = (table("ratings"), table("ratings_by_item"));
    let foreign = [file(&items, 7, 5, "some")];
    let without = DeltaCommit { columns: None, ..commit(&ratings, 0, &[], &[]) };
    let beyond = DeltaCommit { generation: u64::MAX, ..commit(&ratings, 1, &[], &[]) };
    for wrong in [commit(&ratings, 1, &foreign, &[]), commit(&ratings, 1, &[], &foreign), without, beyond] {
        assert_eq!(wrong.bytes().unwrap_err().kind(), ErrorKind::Internal);
    }
}

/// Puts the bytes of a file, as the pipeline does before it commits.
async fn put(
    store: &InMemory,
    table: &TableKey,
    bucket: u32,
    generation: u64,
    encoded: &EncodedFile,
) -> DataFile {
    let file = DataFile::new(table, bucket, generation, encoded);
    store.put(&Path::from(file.name.as_str()), encoded.bytes.clone().into()).await.unwrap();
    file
}

async fn log(store: &InMemory, commit: DeltaCommit<'_>) {
    store.put(&Path::from(commit.name()), commit.bytes().unwrap().into()).await.unwrap();
}

/// The files and the columns of a version as `deltalake` sees them.
async fn read(store: &Arc<InMemory>, table: &TableKey, version: u64) -> (BTreeSet<String>, Vec<String>) {
    let prefix: &str = &table.to_string();
    let within = object_store::prefix::PrefixStore::new(store.clone() as Arc<dyn ObjectStore>, prefix);
    let url = Url::parse("memory:///").unwrap();
    let read = DeltaTableBuilder::from_url(url.clone())
        .unwrap()
        .with_storage_backend(Arc::new(within), url)
        .with_version(version)
        .load()
        .await
        .unwrap();
    assert_eq!(read.version(), Some(version));
    let snapshot = read.snapshot().unwrap();
    let fields: Vec<String> = snapshot.schema().fields().map(|field| field.name().clone()).collect();
    let files = snapshot.log_data();
    let names = files.iter().map(|file| format!("{table}/{}", file.path())).collect();
    (names, fields)
}

fn names(files: &[&DataFile]) -> BTreeSet<String> {
    files.iter().map(|file| file.name.clone()).collect()
}

fn ratings(seconds: &[i64]) -> EncodedFile {
    let row = |&seconds: &i64| {
        let at = Timestamp::from_seconds(seconds).unwrap();
        RatingRow {
            rating: Rating::new(1.into(), (seconds as u64).into(), 3.5, at).unwrap(),
            first_rated_at: at,
        }
    };
    encode_ratings(&seconds.iter().map(row).collect::<Vec<_>>(), RatingOrder::ByUser, 10)
}

#[tokio::test]
async fn deltalake_finds_the_files_of_every_version() {
    let (store, table) = (Arc::new(InMemory::new()), table("ratings"));
    let a = put(&store, &table, 0, 5, &ratings(&[1, 2])).await;
    let b = put(&store, &table, 3, 5, &ratings(&[3])).await;
    let c = put(&store, &table, 3, 6, &ratings(&[3, 4])).await;
    let d = put(&store, &table, 12, 7, &ratings(&[5])).await;
    log(&store, commit(&table, 0, &[a.clone(), b.clone()], &[])).await;
    log(&store, commit(&table, 1, std::slice::from_ref(&c), std::slice::from_ref(&b))).await;
    log(&store, commit(&table, 2, std::slice::from_ref(&d), std::slice::from_ref(&a))).await;
    let columns =
        ["user", "item", "value", "value_micros", "rated_at", "first_rated_at", "event_id", "bucket"];
    for (version, files) in [(0, names(&[&a, &b])), (1, names(&[&a, &c])), (2, names(&[&c, &d]))] {
        let (found, fields) = read(&store, &table, version).await;
        assert_eq!((found, fields), (files, columns.map(str::to_owned).to_vec()), "version {version}");
    }
}

#[tokio::test]
async fn deltalake_finds_the_columns_that_a_group_has_got_since() {
    let (store, table) = (Arc::new(InMemory::new()), table("features_profile"));
    let evolved = group().with_column(FeatureName::new("more").unwrap(), ColumnType::Text);
    let rows = custom_rows(7, 5);
    let a = put(&store, &table, 0, 5, &encode_custom(&rows, &group())).await;
    let b = put(&store, &table, 1, 6, &encode_custom(&rows, &evolved)).await;
    let first = commit(&table, 0, std::slice::from_ref(&a), &[]);
    log(&store, DeltaCommit { columns: Some(custom_columns(&group())), ..first }).await;
    let second = commit(&table, 1, std::slice::from_ref(&b), &[]);
    log(&store, DeltaCommit { columns: Some(custom_columns(&evolved)), ..second }).await;
    let (files, before) = read(&store, &table, 0).await;
    assert_eq!(files, names(&[&a]));
    let (files, after) = read(&store, &table, 1).await;
    assert_eq!(files, names(&[&a, &b]));
    let added: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(added, ["more"]);
}
