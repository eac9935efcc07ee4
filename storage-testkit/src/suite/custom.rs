//! Custom feature groups: schemas that only grow, whole rows, newest event time wins.

use std::time::Duration;

use recstore_core::features::{
    ContentHash, MAX_BATCH_ROWS, MAX_COLUMNS, MAX_ROW_BYTES, MAX_VECTOR_DIM, encode_row,
};
use recstore_core::{
    ColumnType, EntityKind, ErrorKind, FeatureName, FeatureRequest, FeatureRow, FeatureValue, GroupSchema,
    Origin, Outcome, PutOptions, RowContent, RowStatus, Timestamp,
};

use super::harness::Harness;
use super::space::Space;
use super::words::{after_now, at, hostile_ids, key, keys, name, now, permutations, row_values};
use Outcome::{Applied, Duplicate, Stale};

/// A group of users with a column of every type.
pub(super) fn profile() -> GroupSchema {
    GroupSchema::new(name("profile"), EntityKind::User)
        .with_column(name("age"), ColumnType::Integer)
        .with_column(name("score"), ColumnType::Float)
        .with_column(name("active"), ColumnType::Bool)
        .with_column(name("city"), ColumnType::Text)
        .with_column(name("since"), ColumnType::Timestamp)
        .with_column(name("embedding"), ColumnType::Vector(3))
        .with_column(name("tags"), ColumnType::TextList)
}

/// A row that says only this age.
pub(super) fn aged(id: &str, event_time: Timestamp, age: i64) -> FeatureRow {
    FeatureRow::new(key(id), event_time).with(name("age"), FeatureValue::Integer(age))
}

async fn age_of(space: &Space, id: &str) -> Option<FeatureValue> {
    space.feature("profile", id, "age").await
}

fn integer(number: i64) -> Option<FeatureValue> {
    Some(FeatureValue::Integer(number))
}

pub(super) async fn declaring_a_group_again_is_answered_as_it_is(h: &Harness) {
    let space = h.space();
    let first = space.register(&profile()).await;
    assert_eq!(first, profile());
    let prints = space.prints().await;
    let other_version = GroupSchema { version: 9, ..profile() };
    assert_eq!(space.register(&other_version).await, first, "the version asked is ignored");
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn added_columns_make_the_next_version(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let wider = profile().with_column(name("height"), ColumnType::Float);
    let second = space.register(&wider).await;
    assert_eq!(second, GroupSchema { version: 2, ..wider.clone() });
    assert_eq!(space.register(&wider).await, second);
    let widest =
        wider.clone().with_column(name("a"), ColumnType::Bool).with_column(name("b"), ColumnType::Bool);
    let third = space.register(&widest).await;
    assert_eq!(third, GroupSchema { version: 3, ..widest });
    // A program with an older schema finds its columns in place.
    assert_eq!(space.register(&profile()).await, third);
    assert_eq!(space.groups().await.unwrap()[2..], [third]);
}

pub(super) async fn columns_are_never_taken_away_moved_or_retyped(h: &Harness) {
    let space = h.space();
    let stored = space.register(&profile()).await;
    let prints = space.prints().await;
    let change = |change: &dyn Fn(&mut GroupSchema)| {
        let mut schema = profile();
        change(&mut schema);
        schema
    };
    let wrong = [
        change(&|schema| schema.columns[1].column_type = ColumnType::Integer),
        change(&|schema| schema.columns[5].column_type = ColumnType::Vector(4)),
        change(&|schema| schema.columns.swap(0, 1)),
        change(&|schema| schema.columns[0].name = name("years")),
        change(&|schema| drop(schema.columns.remove(3))),
        change(&|schema| {
            schema.columns.remove(0);
            *schema = schema.clone().with_column(name("height"), ColumnType::Float);
        }),
        change(&|schema| schema.entity = EntityKind::Item),
    ];
    for schema in wrong {
        let error = space.register_group(schema.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{schema:?}");
        assert_eq!(space.groups().await.unwrap()[2..], *std::slice::from_ref(&stored));
    }
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn schemas_out_of_limits_are_refused(h: &Harness) {
    let space = h.space();
    let group = || GroupSchema::new(name("group"), EntityKind::User);
    let many = (0..=MAX_COLUMNS)
        .fold(group(), |schema, index| schema.with_column(name(&format!("c{index}")), ColumnType::Bool));
    let wrong = [
        group(),
        many,
        group().with_column(name("a"), ColumnType::Bool).with_column(name("a"), ColumnType::Bool),
        group().with_column(name("a"), ColumnType::Vector(0)),
        group().with_column(name("a"), ColumnType::Vector(MAX_VECTOR_DIM + 1)),
    ];
    for schema in wrong {
        let error = space.register_group(schema).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(space.groups().await.unwrap().len(), 2);
}

pub(super) async fn groups_are_listed_by_name(h: &Harness) {
    let space = h.space();
    for group in ["zeta", "alpha", "a_b", "ab", "a1"] {
        let schema = GroupSchema::new(name(group), EntityKind::Item).with_column(name("x"), ColumnType::Bool);
        space.register(&schema).await;
    }
    let groups = space.groups().await.unwrap();
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["user_ratings", "item_ratings", "a1", "a_b", "ab", "alpha", "zeta"]);
}

pub(super) async fn every_column_type_comes_back_as_it_was_put(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let text = |text: &str| FeatureValue::Text(text.to_owned());
    let list = |texts: &[&str]| FeatureValue::TextList(texts.iter().map(|&text| text.to_owned()).collect());
    let samples = [
        [
            FeatureValue::Integer(i64::MIN),
            FeatureValue::Float(f64::MAX),
            FeatureValue::Bool(true),
            text("Zürich; \0 '\"\n"),
            FeatureValue::Timestamp(Timestamp::MIN),
            FeatureValue::Vector(vec![f32::MIN_POSITIVE, -1.5, f32::MAX]),
            list(&["", "摄影", "a,b", ""]),
        ],
        [
            FeatureValue::Integer(i64::MAX),
            FeatureValue::Float(5e-324),
            FeatureValue::Bool(false),
            text(""),
            FeatureValue::Timestamp(Timestamp::MAX),
            FeatureValue::Vector(vec![0.1, 0.2, 0.3]),
            list(&[]),
        ],
        [
            FeatureValue::Integer(0),
            FeatureValue::Float(0.1 + 0.2),
            FeatureValue::Bool(false),
            text(&"é".repeat(5_000)),
            FeatureValue::Timestamp(now()),
            FeatureValue::Vector(vec![0.0; 3]),
            list(&["x"]),
        ],
    ];
    let columns: Vec<FeatureName> = profile().columns.into_iter().map(|column| column.name).collect();
    let row = |index: usize| {
        let values = columns.iter().cloned().zip(samples[index].clone()).rev().collect();
        FeatureRow { id: key(&index.to_string()), event_time: at(1), content: RowContent::Values(values) }
    };
    space.put_rows_expecting("profile", vec![row(0), row(1), row(2)], &[Applied; 3]).await;
    let batch = space.features("profile", &["2", "0", "1", "0"]).await;
    for (position, index) in [2, 0, 1, 0].into_iter().enumerate() {
        let expected: Vec<Option<FeatureValue>> = samples[index].clone().into_iter().map(Some).collect();
        assert_eq!(row_values(&batch, position), Some(expected));
        assert_eq!(batch.status[position], RowStatus::Found { as_of: at(1), origin: Origin::Stored });
    }
}

pub(super) async fn a_put_replaces_the_whole_row_and_omitted_columns_are_null(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let full = aged("u", at(1), 30).with(name("city"), FeatureValue::Text("Bern".to_owned()));
    space.put_rows("profile", vec![full]).await;
    space.put_rows("profile", vec![aged("u", at(2), 31)]).await;
    let row = space.feature_row("profile", "u").await.unwrap();
    assert_eq!(row, [integer(31), None, None, None, None, None, None]);
    space.put_rows("profile", vec![FeatureRow::new(key("u"), at(3))]).await;
    assert_eq!(space.feature_row("profile", "u").await, Some(vec![None; 7]), "all null is not missing");
}

pub(super) async fn a_newer_event_time_wins_and_an_older_row_is_stale(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    space.put_rows_expecting("profile", vec![aged("u", at(10), 30)], &[Applied]).await;
    space.put_rows_expecting("profile", vec![aged("u", at(9), 29)], &[Stale]).await;
    assert_eq!(age_of(&space, "u").await, integer(30));
    space.put_rows_expecting("profile", vec![aged("u", at(11), 31)], &[Applied]).await;
    space.put_rows_expecting("profile", vec![aged("u", at(11), 31)], &[Duplicate]).await;
    space.put_rows_expecting("profile", vec![aged("u", at(10), 30)], &[Stale]).await;
    assert_eq!(age_of(&space, "u").await, integer(31));
}

/// Rows of one id and time: several values, none, and a deletion.
fn rivals(id: &str) -> Vec<FeatureRow> {
    vec![
        aged(id, at(5), 1),
        aged(id, at(5), 2),
        FeatureRow::deleted(key(id), at(5)),
        FeatureRow::new(key(id), at(5)),
        aged(id, at(4), 9),
    ]
}

pub(super) async fn of_equal_times_the_greater_content_hash_wins_in_every_order(h: &Harness) {
    let space = h.space();
    let schema = space.register(&profile()).await;
    let orders = permutations(5);
    for step in 0..5 {
        let rows = orders
            .iter()
            .enumerate()
            .map(|(index, order)| rivals(&format!("put{index}")).swap_remove(order[step]));
        space.put_rows("profile", rows.collect()).await;
    }
    let batch = orders.iter().enumerate().flat_map(|(index, order)| {
        let rows = rivals(&format!("batch{index}"));
        order.iter().map(move |&position| rows[position].clone()).collect::<Vec<_>>()
    });
    space.put_rows("profile", batch.collect()).await;
    let hash = |row: &FeatureRow| ContentHash::of(&encode_row(&schema, &row.content).unwrap());
    let winner = rivals("any").into_iter().max_by_key(|row| (row.event_time, hash(row))).unwrap();
    let expected = match &winner.content {
        RowContent::Deleted => None,
        RowContent::Values(values) => Some(values.first().map(|(_, value)| value.clone())),
    };
    for index in 0..orders.len() {
        for id in [format!("put{index}"), format!("batch{index}")] {
            let row = space.feature_row("profile", &id).await.map(|row| row[0].clone());
            assert_eq!(row, expected, "{id}");
        }
    }
}

pub(super) async fn a_deletion_is_a_row_that_wins_or_loses_by_time(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let deleted = |seconds| FeatureRow::deleted(key("u"), at(seconds));
    space.put_rows_expecting("profile", vec![deleted(5)], &[Applied]).await;
    space.put_rows_expecting("profile", vec![aged("u", at(4), 1)], &[Stale]).await;
    assert_eq!(space.features("profile", &["u"]).await.status, [RowStatus::Missing]);
    space.put_rows_expecting("profile", vec![aged("u", at(6), 2)], &[Applied]).await;
    space.put_rows_expecting("profile", vec![deleted(5)], &[Stale]).await;
    assert_eq!(age_of(&space, "u").await, integer(2));
    space.put_rows_expecting("profile", vec![deleted(7)], &[Applied]).await;
    space.put_rows_expecting("profile", vec![deleted(7)], &[Duplicate]).await;
    space.put_rows_expecting("profile", vec![aged("u", at(6), 2)], &[Stale]).await;
    assert_eq!(space.features("profile", &["u"]).await.status, [RowStatus::Missing]);
}

pub(super) async fn custom_outcomes_are_told_in_the_order_given(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let rows = vec![
        aged("u", at(2), 2),
        aged("v", at(1), 1),
        aged("u", at(1), 1),
        aged("u", at(2), 2),
        aged("u", at(3), 3),
    ];
    space.put_rows_expecting("profile", rows, &[Applied, Applied, Stale, Duplicate, Applied]).await;
    assert_eq!(age_of(&space, "u").await, integer(3));
}

pub(super) async fn the_same_custom_rows_again_change_nothing(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let rows = || vec![aged("u", at(2), 2), aged("v", at(1), 1), FeatureRow::deleted(key("w"), at(3))];
    space.put_rows("profile", rows()).await;
    let prints = space.prints().await;
    space.put_rows_expecting("profile", rows(), &[Duplicate; 3]).await;
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn minus_zero_is_zero(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let row = |zero: f64| {
        let vector = FeatureValue::Vector(vec![zero as f32, 1.0, zero as f32]);
        FeatureRow::new(key("u"), at(1))
            .with(name("score"), FeatureValue::Float(zero))
            .with(name("embedding"), vector)
    };
    space.put_rows_expecting("profile", vec![row(-0.0)], &[Applied]).await;
    space.put_rows_expecting("profile", vec![row(0.0)], &[Duplicate]).await;
    let Some(FeatureValue::Float(zero)) = space.feature("profile", "u", "score").await else {
        panic!("no score")
    };
    assert!(zero.is_sign_positive());
}

pub(super) async fn a_column_added_later_reads_null_in_older_rows(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    space.put_rows("profile", vec![aged("old", at(1), 1)]).await;
    space.register(&profile().with_column(name("height"), ColumnType::Float)).await;
    let tall = aged("new", at(1), 1).with(name("height"), FeatureValue::Float(1.9));
    space.put_rows("profile", vec![tall]).await;
    let batch = space.features("profile", &["old", "new"]).await;
    assert_eq!(batch.value(0, "age"), integer(1));
    assert_eq!(batch.value(0, "height"), None);
    assert_eq!(batch.value(1, "height"), Some(FeatureValue::Float(1.9)));
}

pub(super) async fn custom_columns_come_as_projected(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let tags = FeatureValue::TextList(vec!["a".to_owned()]);
    let row = aged("u", at(1), 30).with(name("tags"), tags.clone());
    space.put_rows("profile", vec![row]).await;
    let columns = ["tags", "city", "age", "tags"].map(name).to_vec();
    let request = FeatureRequest::new(name("profile"), keys(&["v", "u"])).with_columns(columns.clone());
    let batch = space.get_features(request).await.unwrap();
    let names: Vec<FeatureName> = batch.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, columns);
    assert_eq!(row_values(&batch, 1), Some(vec![Some(tags.clone()), None, integer(30), Some(tags)]));
    assert_eq!(row_values(&batch, 0), None);
    let request = FeatureRequest::new(name("profile"), keys(&["u"])).with_columns(vec![name("nope")]);
    let error = space.get_features(request).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("columns")));
}

pub(super) async fn custom_rows_come_in_the_order_asked_and_missing_ones_are_missing(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    space.put_rows("profile", vec![aged("a", at(1), 1), aged("b", at(1), 2)]).await;
    let batch = space.features("profile", &["b", "nobody", "a", "b"]).await;
    let ages: Vec<Option<FeatureValue>> = (0..4).map(|row| batch.value(row, "age")).collect();
    assert_eq!(ages, [integer(2), None, integer(1), integer(2)]);
    assert_eq!(batch.status[1], RowStatus::Missing);
    assert!(space.features("profile", &[]).await.is_empty());
    space.put_rows_expecting("profile", Vec::new(), &[]).await;
}

pub(super) async fn an_unknown_group_is_not_found(h: &Harness) {
    let space = h.space();
    let rows = vec![aged("u", at(1), 1)];
    let error = space.put_features(&name("nope"), rows, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let nothing = space.put_features(&name("nope"), Vec::new(), PutOptions::default()).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound, "also without rows");
    let error = space.get_features(FeatureRequest::new(name("nope"), keys(&["u"]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

pub(super) async fn a_wrong_value_names_row_and_column_and_refuses_the_whole_batch(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    space.put_rows("profile", vec![aged("u", at(1), 1)]).await;
    let prints = space.prints().await;
    let wrong = [
        ("age", FeatureValue::Float(1.0)),
        ("age", FeatureValue::Timestamp(at(1))),
        ("since", FeatureValue::Integer(1)),
        ("score", FeatureValue::Integer(1)),
        ("score", FeatureValue::Float(f64::NAN)),
        ("score", FeatureValue::Float(f64::NEG_INFINITY)),
        ("active", FeatureValue::Text("true".to_owned())),
        ("city", FeatureValue::TextList(vec![])),
        ("tags", FeatureValue::Text("a".to_owned())),
        ("embedding", FeatureValue::Vector(vec![1.0, 2.0])),
        ("embedding", FeatureValue::Vector(vec![1.0, 2.0, 3.0, 4.0])),
        ("embedding", FeatureValue::Vector(vec![1.0, f32::NAN, 3.0])),
        ("nope", FeatureValue::Integer(1)),
    ];
    for (column, value) in wrong {
        let bad = FeatureRow::new(key("v"), at(2)).with(name(column), value.clone());
        let rows = vec![aged("u", at(2), 2), bad, aged("w", at(2), 2)];
        let error = space.put_features(&name("profile"), rows, PutOptions::default()).await.unwrap_err();
        let field = format!("rows[1].{column}");
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field.as_str())), "{value:?}");
        assert_eq!(space.prints().await, prints);
    }
    let twice = aged("u", at(2), 2).with(name("age"), FeatureValue::Integer(3));
    let error = space.put_features(&name("profile"), vec![twice], PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("rows[0].age")));
    let wrong = |id: &str| FeatureRow::new(key(id), at(2)).with(name("age"), FeatureValue::Bool(true));
    let rows = vec![aged("u", at(2), 2), wrong("v"), wrong("w")];
    let error = space.put_features(&name("profile"), rows, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.field(), Some("rows[1].age"), "the first wrong row is named");
    assert_eq!(age_of(&space, "u").await, integer(1));
}

pub(super) async fn a_row_at_the_size_limit_is_kept_and_a_larger_one_refused(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    // A byte of form, a position of two and a length of four stand before the text.
    let row = |length: usize| {
        FeatureRow::new(key("u"), at(1)).with(name("city"), FeatureValue::Text("x".repeat(length)))
    };
    let fits = MAX_ROW_BYTES - 7;
    let rows = vec![aged("v", at(1), 1), row(fits + 1)];
    let error = space.put_features(&name("profile"), rows, PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("rows[1].row")));
    assert_eq!(age_of(&space, "v").await, None);
    space.put_rows_expecting("profile", vec![row(fits)], &[Applied]).await;
    let kept = space.feature("profile", "u", "city").await;
    assert_eq!(kept, Some(FeatureValue::Text("x".repeat(fits))));
}

pub(super) async fn more_rows_than_the_limit_are_refused_and_nothing_is_stored(h: &Harness) {
    let space = h.space();
    space.register_group(profile()).await.unwrap();
    let rows = vec![aged("u", at(1), 1); MAX_BATCH_ROWS + 1];
    let error = space.put_features(&name("profile"), rows, PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("rows")));
    assert_eq!(age_of(&space, "u").await, None);
}

pub(super) async fn custom_rows_too_far_ahead_are_refused_until_the_clock_has_moved(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let limit = now().saturating_add(h.context().limits.max_future_skew);
    let ahead = Timestamp::from_millis(limit.as_millis() + 1).unwrap();
    let rows = vec![aged("u", at(1), 1), aged("v", ahead, 2)];
    let error = space.put_features(&name("profile"), rows.clone(), PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("rows[1].event_time")));
    assert_eq!(age_of(&space, "u").await, None);
    space.put_rows_expecting("profile", vec![aged("w", limit, 3)], &[Applied]).await;
    h.move_clock(1);
    space.put_rows_expecting("profile", rows, &[Applied, Applied]).await;
}

pub(super) async fn rows_older_than_the_age_asked_are_too_old_and_withheld(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let rows = vec![
        aged("old", after_now(-10_001), 1),
        aged("limit", after_now(-10_000), 2),
        aged("new", after_now(5), 3),
    ];
    space.put_rows("profile", rows).await;
    let request = FeatureRequest::new(name("profile"), keys(&["old", "limit", "new", "nobody"]))
        .with_max_age(Duration::from_secs(10));
    let batch = space.get_features(request.clone()).await.unwrap();
    let found = |as_of| RowStatus::Found { as_of, origin: Origin::Stored };
    let expected = [
        RowStatus::TooOld { as_of: after_now(-10_001) },
        found(after_now(-10_000)),
        found(after_now(5)),
        RowStatus::Missing,
    ];
    assert_eq!(batch.status, expected);
    let ages: Vec<Option<FeatureValue>> = (0..4).map(|row| batch.value(row, "age")).collect();
    assert_eq!(ages, [None, integer(2), integer(3), None]);
    h.move_clock(1);
    space.put_rows("profile", vec![FeatureRow::deleted(key("old"), after_now(-10_000))]).await;
    let batch = space.get_features(request).await.unwrap();
    assert_eq!(batch.status[0], RowStatus::Missing, "a deleted row is missing, of whatever age");
    assert_eq!(batch.status[1], RowStatus::TooOld { as_of: after_now(-10_000) });
    assert!(space.features("profile", &["limit"]).await.status[0].is_found(), "any age unless asked");
}

pub(super) async fn custom_rows_of_hostile_ids_are_never_confused(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    let ids = hostile_ids();
    let rows = ids.iter().enumerate().map(|(index, id)| aged(id, at(1), index as i64));
    space.put_rows("profile", rows.collect()).await;
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let batch = space.features("profile", &ids).await;
    for (row, id) in ids.iter().enumerate() {
        assert_eq!(batch.value(row, "age"), integer(row as i64), "{id:?}");
    }
}

pub(super) async fn rows_of_two_groups_are_never_confused(h: &Harness) {
    let space = h.space();
    let group = |group: &str, entity| {
        GroupSchema::new(name(group), entity).with_column(name("age"), ColumnType::Integer)
    };
    let groups = [("a", EntityKind::User), ("a_b", EntityKind::User), ("ab", EntityKind::Item)];
    for (index, (text, entity)) in groups.into_iter().enumerate() {
        space.register(&group(text, entity)).await;
        space.put_rows(text, vec![aged("u", at(1), index as i64), aged("b_u", at(1), 7)]).await;
    }
    space.put_rows("a", vec![FeatureRow::deleted(key("b_u"), at(2))]).await;
    for (index, (text, _)) in groups.into_iter().enumerate() {
        assert_eq!(space.feature(text, "u", "age").await, integer(index as i64));
        assert_eq!(space.feature(text, "b_u", "age").await.is_some(), text != "a");
    }
}

pub(super) async fn a_group_of_a_thousand_columns_and_long_vectors_is_kept(h: &Harness) {
    let space = h.space();
    let column = |index: usize| name(&format!("c{index}"));
    let wide = (0..MAX_COLUMNS - 1)
        .fold(GroupSchema::new(name("wide"), EntityKind::Item), |schema, index| {
            schema.with_column(column(index), ColumnType::Integer)
        })
        .with_column(name("vector"), ColumnType::Vector(MAX_VECTOR_DIM));
    space.register(&wide).await;
    let vector: Vec<f32> = (0..MAX_VECTOR_DIM).map(|index| index as f32 / 7.0).collect();
    let row = (0..MAX_COLUMNS - 1).fold(FeatureRow::new(key("i"), at(1)), |row, index| {
        row.with(column(index), FeatureValue::Integer(index as i64))
    });
    let row = row.with(name("vector"), FeatureValue::Vector(vector.clone()));
    space.put_rows("wide", vec![row]).await;
    let batch = space.features("wide", &["i"]).await;
    assert_eq!(batch.value(0, "c998"), integer(998));
    assert_eq!(batch.value(0, "vector"), Some(FeatureValue::Vector(vector)));
}
