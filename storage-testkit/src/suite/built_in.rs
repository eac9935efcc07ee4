//! The built-in feature groups: exact, kept with the ratings, one row for each entity with a rating.

use recstore_core::features::{item_ratings_schema, user_ratings_schema};
use recstore_core::{
    EntityKind, ErrorKind, FeatureName, FeatureRequest, FeatureRow, FeatureStoreExt, FeatureValue,
    GroupSchema, Origin, PutOptions, Rating, RowStatus,
};

use super::harness::Harness;
use super::space::Space;
use super::words::{after_now, at, fold, item, key, keys, name, rating, row_values, user, withdrawal};

const USERS: &str = "user_ratings";
const ITEMS: &str = "item_ratings";

fn float(number: f64) -> Option<FeatureValue> {
    Some(FeatureValue::Float(number))
}

async fn count_of(space: &Space, id: &str) -> Option<FeatureValue> {
    space.feature(USERS, id, "rating_count").await
}

pub(super) async fn built_in_columns_are_the_textbook_ones(h: &Harness) {
    let space = h.space();
    let stars = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    let rate = |(index, &stars): (usize, &f64)| {
        let id = index.to_string();
        let at = at(index as i64);
        [rating("u", &id, stars, at), rating(&id, "i", stars, at)]
    };
    space.put(stars.iter().enumerate().flat_map(rate)).await;
    let mut expected = vec![
        Some(FeatureValue::Integer(8)),
        float(5.0),
        float(2.0),
        float(2.0),
        float(9.0),
        Some(FeatureValue::Timestamp(at(0))),
        Some(FeatureValue::Timestamp(at(7))),
    ];
    assert_eq!(space.feature_row(USERS, "u").await, Some(expected.clone()));
    // Ten ratings of value 3 come to the eight of mean 5.
    expected.push(float(70.0 / 18.0));
    assert_eq!(space.feature_row(ITEMS, "i").await, Some(expected));
}

pub(super) async fn built_in_schemas_are_listed_first(h: &Harness) {
    let space = h.space();
    assert_eq!(space.groups().await.unwrap(), [user_ratings_schema(), item_ratings_schema()]);
    let batch = space.features(ITEMS, &[]).await;
    let columns: Vec<&str> = batch.columns.iter().map(|column| column.name.as_str()).collect();
    let schema = item_ratings_schema();
    let expected: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, expected);
}

pub(super) async fn features_follow_replaced_and_withdrawn_ratings(h: &Harness) {
    let space = h.space();
    let prior = h.context().prior;
    let steps: [&[Rating]; 6] = [
        &[rating("u", "i", 1.0, at(1)), rating("u", "j", 5.0, at(2)), rating("v", "i", 3.0, at(3))],
        &[rating("u", "i", 4.5, at(4))],
        &[withdrawal("u", "j", at(5))],
        &[rating("u", "j", 2.0, at(2))],
        &[rating("u", "j", 2.5, at(6)), withdrawal("v", "i", at(6)), rating("v", "j", -7.0, at(6))],
        &[rating("u", "i", 4.5, at(4)), rating("w", "i", 0.000001, at(0))],
    ];
    let mut events: Vec<Rating> = Vec::new();
    for step in steps {
        space.put(step.iter().cloned()).await;
        events.extend_from_slice(step);
        space.assert_rows(&fold(&events), prior).await;
    }
}

pub(super) async fn an_entity_without_a_current_rating_has_no_row_and_keeps_its_times(h: &Harness) {
    let space = h.space();
    space.put([withdrawal("u", "i", at(5))]).await;
    assert_eq!(space.feature_row(USERS, "u").await, None);
    assert_eq!(space.feature_row(ITEMS, "i").await, None);
    space.put([rating("u", "j", 4.0, at(10)), withdrawal("u", "j", at(20))]).await;
    assert_eq!(space.feature_row(USERS, "u").await, None);
    space.put([rating("u", "k", 3.0, at(7))]).await;
    let time = async |column| space.feature(USERS, "u", column).await;
    assert_eq!(time("first_rated_at").await, Some(FeatureValue::Timestamp(at(5))));
    assert_eq!(time("last_rated_at").await, Some(FeatureValue::Timestamp(at(20))));
    assert_eq!(count_of(&space, "u").await, Some(FeatureValue::Integer(1)));
}

pub(super) async fn events_that_lost_still_count_for_the_first_time(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 4.0, at(10))]).await;
    space.put([rating("u", "i", 1.0, at(3))]).await;
    let row = space.feature_row(USERS, "u").await.unwrap();
    assert_eq!(row[1], float(4.0));
    assert_eq!(row[5], Some(FeatureValue::Timestamp(at(3))));
    assert_eq!(row[6], Some(FeatureValue::Timestamp(at(10))));
}

pub(super) async fn extremes_stay_exact_past_64_distinct_values(h: &Harness) {
    let space = h.space();
    let prior = h.context().prior;
    let mut events: Vec<Rating> = Vec::new();
    let extremes = async || {
        let row = space.feature_row(USERS, "u").await.unwrap();
        (row[3].clone(), row[4].clone())
    };
    // 70 values, the smallest and the largest twice; the same for an item.
    let what = |index: i64| format!("i{index}");
    for index in -35..35 {
        events.push(rating("u", &what(index), index as f64, at(1)));
        events.push(rating(&what(index), "x", index as f64, at(1)));
    }
    events.extend([rating("u", "low", -35.0, at(1)), rating("u", "high", 34.0, at(1))]);
    space.put(events.clone()).await;
    assert_eq!(extremes().await, (float(-35.0), float(34.0)));
    let changes: [(&[Rating], f64, f64); 6] = [
        (&[withdrawal("u", "low", at(2)), rating("u", "high", 0.0, at(2))], -35.0, 34.0),
        (&[withdrawal("u", "i-35", at(2))], -34.0, 34.0),
        (&[rating("u", "i34", 1.0, at(2)), withdrawal("i34", "x", at(2))], -34.0, 33.0),
        (&[rating("u", "i-34", 100.0, at(2)), rating("i-35", "x", 3.0, at(2))], -33.0, 100.0),
        (&[rating("u", "i-34", -100.0, at(3))], -100.0, 33.0),
        (&[rating("u", "i5", 50.0, at(2)), rating("u", "i-34", 50.0, at(4))], -33.0, 50.0),
    ];
    for (change, low, high) in changes {
        space.put(change.iter().cloned()).await;
        events.extend_from_slice(change);
        assert_eq!(extremes().await, (float(low), float(high)), "after {change:?}");
        space.assert_rows(&fold(&events), prior).await;
    }
    // Everything taken away, then a new start.
    let all = (-35..35).map(what).chain(["low".to_owned(), "high".to_owned()]);
    space.put(all.map(|what| withdrawal("u", &what, at(9)))).await;
    assert_eq!(space.feature_row(USERS, "u").await, None);
    space.put([rating("u", "new", 3.0, at(9))]).await;
    assert_eq!(extremes().await, (float(3.0), float(3.0)));
    space.assert_features_fit(prior).await;
}

pub(super) async fn a_batch_that_passes_64_distinct_values_at_once_is_exact(h: &Harness) {
    let space = h.space();
    let rate = |index: i64| rating("u", &index.to_string(), (index * 37 % 200) as f64, at(index));
    let withdraw = |index: i64| withdrawal("u", &index.to_string(), at(1_000 + index));
    let events: Vec<Rating> = (0..200).map(rate).chain((0..150).map(withdraw)).collect();
    space.put(events.clone()).await;
    space.assert_rows(&fold(&events), h.context().prior).await;
}

pub(super) async fn built_in_rows_come_in_the_order_asked_and_missing_ones_are_missing(h: &Harness) {
    let space = h.space();
    space
        .put([rating("a", "x", 1.0, at(1)), rating("b", "x", 2.0, at(1)), rating("b", "y", 3.0, at(1))])
        .await;
    let asked = ["b", "x", "a", "b", "nobody", "a"];
    let batch = space.features(USERS, &asked).await;
    let counts: Vec<Option<FeatureValue>> = (0..6).map(|row| batch.value(row, "rating_count")).collect();
    let count = |count| Some(FeatureValue::Integer(count));
    assert_eq!(counts, [count(2), None, count(1), count(2), None, count(1)]);
    for row in [1, 4] {
        assert_eq!(batch.status[row], RowStatus::Missing);
        let nothing = batch.columns.iter().all(|column| column.value(row).is_none());
        assert!(nothing, "nothing is zero by default");
    }
    assert!(space.features(USERS, &[]).await.is_empty());
}

pub(super) async fn a_projection_gives_the_columns_asked_in_that_order(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 4.0, at(1))]).await;
    let columns = ["rating_max", "rating_count", "bayesian_mean", "rating_max"].map(name).to_vec();
    let request = FeatureRequest::of_items([item("i"), item("j")]).with_columns(columns.clone());
    let batch = space.get_features(request).await.unwrap();
    let names: Vec<FeatureName> = batch.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, columns);
    let expected = vec![float(4.0), Some(FeatureValue::Integer(1)), float(34.0 / 11.0), float(4.0)];
    assert_eq!(row_values(&batch, 0), Some(expected));
    assert_eq!(batch.status[1], RowStatus::Missing);
    let none = FeatureRequest::of_items([item("i")]).with_columns(Vec::new());
    let batch = space.get_features(none).await.unwrap();
    assert!(batch.columns.is_empty() && batch.status[0].is_found());
}

pub(super) async fn an_unknown_column_of_a_built_in_group_is_refused(h: &Harness) {
    let space = h.space();
    let request = FeatureRequest::of_users([user("u")]).with_columns(vec![name("bayesian_mean")]);
    let error = space.get_features(request).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("columns")));
}

pub(super) async fn built_in_groups_are_never_written_by_hand(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 4.0, at(1))]).await;
    let prints = space.prints().await;
    for group in [FeatureName::USER_RATINGS, FeatureName::ITEM_RATINGS] {
        let row = FeatureRow::new(key("u"), at(2)).with(name("rating_count"), FeatureValue::Integer(9));
        let error = space.put_features(&group, vec![row], PutOptions::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("group")));
        for entity in [EntityKind::User, EntityKind::Item] {
            let schema = GroupSchema::new(group.clone(), entity)
                .with_column(name("x"), recstore_core::ColumnType::Bool);
            assert_eq!(space.register_group(schema).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn a_built_in_row_says_how_fresh_it_is(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 4.0, at(1))]).await;
    h.move_clock(5_000);
    let status = space.user_features(&user("u")).await.unwrap().status.remove(0);
    let RowStatus::Found { as_of, origin } = status else { panic!("not found: {status:?}") };
    if space.capabilities().fresh_reads {
        assert_eq!((as_of, origin), (after_now(5_000), Origin::Live));
        // However old its events are, a row that is computed now is not old.
        let young = FeatureRequest::of_users([user("u")]).with_max_age(std::time::Duration::ZERO);
        assert!(space.get_features(young).await.unwrap().status[0].is_found());
    } else {
        assert_eq!((as_of, origin), (after_now(0), Origin::Published));
        let request =
            |age| FeatureRequest::of_users([user("u")]).with_max_age(std::time::Duration::from_millis(age));
        assert!(space.get_features(request(5_000)).await.unwrap().status[0].is_found());
        let status = space.get_features(request(4_999)).await.unwrap().status.remove(0);
        assert_eq!(status, RowStatus::TooOld { as_of: after_now(0) });
    }
}

pub(super) async fn a_rebuild_changes_nothing(h: &Harness) {
    let space = h.space();
    assert_eq!(space.rebuild_features().await.unwrap().changed, 0);
    let wide = (0..80).map(|index| rating("u", &index.to_string(), index as f64, at(index)));
    let narrow = [withdrawal("u", "0", at(99)), rating("v", "i", 2.0, at(4)), rating("v", "i", 1.0, at(3))];
    space.put(wide.chain(narrow)).await;
    space.erase_item("79").await;
    let prints = space.prints().await;
    let report = space.rebuild_features().await.unwrap();
    assert_eq!(report.changed, 0);
    // All with a row, withdrawn ones included: `u` and `v`, and what they rated but for the erased item.
    assert_eq!((report.users, report.items), (2, 80));
    assert_eq!(space.prints().await, prints);
    space.assert_features_fit(h.context().prior).await;
    space.put([withdrawal("u", "78", at(100))]).await;
    space.assert_features_fit(h.context().prior).await;
}

pub(super) async fn many_built_in_rows_are_read_in_one_call(h: &Harness) {
    let space = h.space();
    let events = (0..2_500_u64).map(|of| Rating::new(of.into(), 1.into(), (of % 5) as f64, at(1)).unwrap());
    space.put(events).await;
    let ids: Vec<String> = (0..3_000).rev().map(|id: u32| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let batch = space.features(USERS, &ids).await;
    assert_eq!(batch.ids, keys(&ids));
    for (row, id) in ids.iter().enumerate() {
        let id: u64 = id.parse().unwrap();
        let mean = (id < 2_500).then_some(FeatureValue::Float((id % 5) as f64));
        assert_eq!(batch.value(row, "rating_mean"), mean, "user {id}");
    }
}
