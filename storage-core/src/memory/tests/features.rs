use std::time::Duration;

use super::*;
use crate::{
    ColumnType, ErrorKind, FeatureBatch, FeatureName, FeatureRequest, FeatureRow, FeatureStore,
    FeatureStoreExt, FeatureValue, GroupSchema, RebuildReport, RowStatus,
};

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn schema() -> GroupSchema {
    GroupSchema::new(name("profile"), EntityKind::User)
        .with_column(name("age"), ColumnType::Integer)
        .with_column(name("city"), ColumnType::Text)
}

fn row(age: i64, seconds: i64) -> FeatureRow {
    FeatureRow::new(key(1), at(seconds)).with(name("age"), FeatureValue::Integer(age))
}

async fn store_with_group() -> MemoryStorage {
    let store = store();
    store.register_group(schema()).await.unwrap();
    store
}

async fn put_row(store: &MemoryStorage, row: FeatureRow) -> Outcome {
    store.put_feature_row(&name("profile"), row).await.unwrap()
}

async fn profile(store: &MemoryStorage) -> FeatureBatch {
    store.features_of(name("profile"), key(1)).await.unwrap()
}

fn float(batch: &FeatureBatch, column: &str) -> f64 {
    match batch.value(0, column) {
        Some(FeatureValue::Float(value)) => value,
        other => panic!("{column} is {other:?}"),
    }
}

#[tokio::test]
async fn times_are_of_all_events_and_values_of_current_ratings_only() {
    let store = store();
    put(&store, vec![rating(1, 1, 4.0, 50), rating(1, 1, 1.0, 10), rating(1, 2, 2.0, 30)]).await;
    put(&store, vec![withdrawal(1, 2, 90)]).await;
    let user = store.user_features(&1.into()).await.unwrap();
    assert_eq!(user.value(0, "rating_count"), Some(FeatureValue::Integer(1)));
    assert_eq!((float(&user, "rating_min"), float(&user, "rating_max")), (4.0, 4.0));
    assert_eq!(user.value(0, "first_rated_at"), Some(FeatureValue::Timestamp(at(10))));
    assert_eq!(user.value(0, "last_rated_at"), Some(FeatureValue::Timestamp(at(90))));
    let withdrawn = store.item_features(&2.into()).await.unwrap();
    assert_eq!(withdrawn.status, [RowStatus::Missing]);
    assert_eq!(store.item_features(&3.into()).await.unwrap().status, [RowStatus::Missing]);
}

#[tokio::test]
async fn extremes_are_exact_for_any_number_of_distinct_values() {
    let store = store();
    put(&store, (0..200).map(|item| rating(1, item, item as f64, 1)).collect()).await;
    put(&store, vec![withdrawal(1, 0, 2), rating(1, 199, 5.5, 2)]).await;
    let user = store.user_features(&1.into()).await.unwrap();
    assert_eq!((float(&user, "rating_min"), float(&user, "rating_max")), (1.0, 198.0));
}

#[tokio::test]
async fn built_in_rows_are_never_too_old() {
    let (store, clock) = store_at(100);
    put_one(&store, rating(1, 1, 4.0, 50)).await;
    clock.set(at(100 * DAY));
    let request = FeatureRequest::of_users([1.into()]).with_max_age(Duration::ZERO);
    assert!(store.get_features(request).await.unwrap().status[0].is_found());
}

#[tokio::test]
async fn the_greatest_event_time_and_content_hash_wins_in_either_order() {
    let mut winners = Vec::new();
    for ages in [[1, 2], [2, 1]] {
        let store = store_with_group().await;
        assert_eq!(put_row(&store, row(ages[0], 10)).await, Outcome::Applied);
        assert_ne!(put_row(&store, row(ages[1], 10)).await, Outcome::Duplicate);
        assert_eq!(put_row(&store, row(9, 9)).await, Outcome::Stale);
        winners.push(profile(&store).await.value(0, "age"));
    }
    assert!(winners[0].is_some());
    assert_eq!(winners[0], winners[1]);
}

#[tokio::test]
async fn a_put_replaces_the_whole_row_and_an_equal_one_is_a_duplicate() {
    let store = store_with_group().await;
    let city = row(30, 10).with(name("city"), FeatureValue::Text("Köln".to_owned()));
    assert_eq!(put_row(&store, city.clone()).await, Outcome::Applied);
    assert_eq!(put_row(&store, city).await, Outcome::Duplicate);
    assert_eq!(put_row(&store, row(31, 11)).await, Outcome::Applied);
    let batch = profile(&store).await;
    assert_eq!(batch.value(0, "age"), Some(FeatureValue::Integer(31)));
    assert_eq!(batch.value(0, "city"), None);
}

#[tokio::test]
async fn a_deletion_is_a_row_that_reads_as_missing() {
    let store = store_with_group().await;
    put_row(&store, row(30, 10)).await;
    assert_eq!(put_row(&store, FeatureRow::deleted(key(1), at(20))).await, Outcome::Applied);
    assert_eq!(profile(&store).await.status, [RowStatus::Missing]);
    assert_eq!(put_row(&store, row(31, 15)).await, Outcome::Stale);
    assert_eq!(put_row(&store, row(32, 21)).await, Outcome::Applied);
    assert!(profile(&store).await.status[0].is_found());
}

#[tokio::test]
async fn a_column_added_later_is_null_in_older_rows() {
    let store = store_with_group().await;
    put_row(&store, row(30, 10)).await;
    let wider = schema().with_column(name("score"), ColumnType::Float);
    assert_eq!(store.register_group(wider.clone()).await.unwrap().version, 2);
    assert_eq!(store.register_group(schema()).await.unwrap().version, 2);
    let batch = profile(&store).await;
    assert_eq!((batch.columns.len(), batch.value(0, "score")), (3, None));
    assert_eq!(batch.value(0, "age"), Some(FeatureValue::Integer(30)));
    let other = GroupSchema::new(name("profile"), EntityKind::Item);
    let other = other.with_column(name("age"), ColumnType::Integer);
    assert_eq!(store.register_group(other).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn max_age_is_of_the_event_time_and_withholds_the_values() {
    let store = store_with_group().await;
    put_row(&store, row(30, 990)).await;
    let request = FeatureRequest::new(name("profile"), vec![key(1), key(2)]);
    let just = store.get_features(request.clone().with_max_age(Duration::from_secs(10))).await.unwrap();
    assert!(just.status[0].is_found());
    let old = store.get_features(request.with_max_age(Duration::from_millis(9_999))).await.unwrap();
    assert_eq!(old.status, [RowStatus::TooOld { as_of: at(990) }, RowStatus::Missing]);
    assert_eq!(old.value(0, "age"), None);
}

#[tokio::test]
async fn one_wrong_row_refuses_the_whole_put_and_is_named() {
    let store = store_with_group().await;
    let group = name("profile");
    let wrong = [
        (row(1, 1000 + DAY + 1), "rows[1].event_time"),
        (row(1, 10).with(name("nope"), FeatureValue::Bool(true)), "rows[1].nope"),
        (row(1, 10).with(name("city"), FeatureValue::Integer(1)), "rows[1].city"),
        (row(1, 10).with(name("age"), FeatureValue::Integer(2)), "rows[1].age"),
    ];
    for (wrong, field) in wrong {
        let error =
            store.put_features(&group, vec![row(30, 10), wrong], PutOptions::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)));
    }
    assert_eq!(profile(&store).await.status, [RowStatus::Missing]);
}

#[tokio::test]
async fn unknown_groups_are_not_found_and_built_in_ones_take_no_rows() {
    let store = store();
    let error = store.put_feature_row(&name("nope"), row(1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = store.put_feature_row(&FeatureName::USER_RATINGS, row(1, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("group")));
    let error = store.features_of(name("nope"), key(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let request = FeatureRequest::of_users([1.into()]).with_columns(vec![name("nope")]);
    assert_eq!(store.get_features(request).await.unwrap_err().field(), Some("columns"));
}

#[tokio::test]
async fn ids_and_columns_come_in_the_order_asked() {
    let store = store();
    put(&store, vec![rating(1, 1, 1.0, 1), rating(2, 1, 2.0, 1)]).await;
    let request = FeatureRequest::of_users([2.into(), 9.into(), 1.into(), 2.into()]).with_columns(vec![
        name("rating_mean"),
        name("rating_count"),
        name("rating_mean"),
    ]);
    let batch = store.get_features(request).await.unwrap();
    let means: Vec<_> = (0..4).map(|index| batch.columns[2].value(index)).collect();
    let mean = |value| Some(FeatureValue::Float(value));
    assert_eq!(means, [mean(2.0), None, mean(1.0), mean(2.0)]);
    assert_eq!(batch.columns[1].name, name("rating_count"));
}

#[tokio::test]
async fn a_rebuild_finds_nothing_to_change() {
    let store = store();
    put(&store, vec![rating(1, 1, 1.0, 1), rating(1, 2, 2.0, 1), withdrawal(2, 2, 1)]).await;
    assert_eq!(store.rebuild_features().await.unwrap(), RebuildReport { users: 2, items: 2, changed: 0 });
}
