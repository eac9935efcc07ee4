//! Fingerprints: equal for equal content, different after any single change.

use recstore_core::{
    ColumnType, EntityKey, EntityKind, FeatureName, FeatureRow, FeatureValue, FingerprintBuilder,
    Fingerprints, GroupSchema, PruneOptions, PutOptions, RatingStats,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{
    at, entity_of, fold, item, key, list, name, neighbour, permutations, popular, rating, rating_with_id,
    withdrawal, withdrawal_with_id,
};
use EntityKind::{Item, User};

/// Some of everything.
async fn content(space: &Space) {
    space
        .put([
            rating_with_id("u", "i", 4.0, at(10), 7),
            rating_with_id("u", "j", 2.0, at(20), 8),
            rating_with_id("v", "i", 3.0, at(30), 9),
            withdrawal_with_id("v", "j", at(40), 10),
        ])
        .await;
    space.register(&profile()).await;
    let row = aged("u", at(5), 30).with(name("city"), FeatureValue::Text("Bern".to_owned()));
    space.put_rows("profile", vec![row, FeatureRow::deleted(key("v"), at(6))]).await;
    let lists = [list("i", &[("j", 0.5), ("k", 0.25)]), list("j", &[])];
    space.promoted(Item, &lists, popular(&[("i", 2)])).await;
    space.promoted(User, &[list("u", &[("v", 0.75)])], Vec::new()).await;
    space.hide_items(vec![item("k")]).await.unwrap();
}

pub(super) async fn an_empty_namespace_has_the_fingerprints_of_nothing(h: &Harness) {
    assert_eq!(h.space().prints().await, Fingerprints::default());
}

pub(super) async fn equal_content_built_in_another_order_has_equal_fingerprints(h: &Harness) {
    let (straight, winding) = (h.other("straight"), h.other("winding"));
    content(&straight).await;
    h.move_clock(77_000);
    winding.hide_items(vec![item("k"), item("x")]).await.unwrap();
    winding.promoted(Item, &[list("z", &[("y", 0.1)])], popular(&[("z", 2)])).await;
    winding.put([withdrawal_with_id("v", "j", at(40), 10), rating_with_id("u", "j", 2.0, at(20), 8)]).await;
    // Losers that are earlier in nothing.
    winding.put([rating("u", "j", 5.0, at(20)).with_event_id(recstore_core::EventId::from_u128(3))]).await;
    winding.put([rating_with_id("v", "i", 3.0, at(30), 9)]).await;
    winding.put([rating_with_id("u", "i", 4.0, at(10), 7), rating_with_id("u", "i", 4.0, at(10), 7)]).await;
    let narrow = GroupSchema { columns: profile().columns[..2].to_vec(), ..profile() };
    winding.register(&narrow).await;
    winding.register(&profile()).await;
    winding.put_rows("profile", vec![aged("v", at(5), 1), aged("u", at(4), 1)]).await;
    winding.put_rows("profile", vec![FeatureRow::deleted(key("v"), at(6))]).await;
    let row = aged("u", at(5), 30).with(name("city"), FeatureValue::Text("Bern".to_owned()));
    winding.put_rows("profile", vec![row]).await;
    let release = winding.begin(Item, &[list("j", &[("i", 0.3)])]).await;
    let reordered = vec![list("i", &[("k", 0.25), ("j", 0.5)]), list("j", &[])];
    winding.put_neighbours(&release, reordered, PutOptions::default()).await.unwrap();
    winding.seal_release(&release, Vec::new()).await.unwrap();
    winding.promote_release(&release).await.unwrap();
    winding.promoted(User, &[list("u", &[("v", 0.75)])], popular(&[("u", 3)])).await;
    winding.unhide_items(vec![item("x")]).await.unwrap();
    assert_eq!(winding.prints().await, straight.prints().await);
}

pub(super) async fn every_order_of_the_same_events_gives_the_same_fingerprints(h: &Harness) {
    let events = [
        rating_with_id("u", "i", 4.0, at(10), 7),
        rating_with_id("u", "i", 5.0, at(10), 8),
        withdrawal_with_id("u", "i", at(5), 9),
        rating_with_id("v", "i", 1.0, at(10), 7),
    ];
    let mut all = Vec::new();
    for (index, order) in permutations(4).into_iter().enumerate() {
        let space = h.other(&format!("order-{index}"));
        let (first, rest) = order.split_at(index % 4);
        for part in [first, rest] {
            space.put(part.iter().map(|&position| events[position].clone())).await;
        }
        all.push(space.prints().await);
    }
    assert!(all.iter().all(|prints| *prints == all[0]), "{all:?}");
}

pub(super) async fn fingerprints_are_those_of_the_documented_encoding(h: &Harness) {
    let space = h.space();
    content(&space).await;
    let mut builder = FingerprintBuilder::new();
    let rows = space.rows().await;
    rows.iter().for_each(|row| builder.rating(row));
    for kind in [User, Item] {
        let mut ids: Vec<EntityKey> = rows.iter().map(|row| entity_of(kind, row)).collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let mut stats = RatingStats::default();
            for row in rows.iter().filter(|row| entity_of(kind, row) == id) {
                // So few values are all counted.
                let _none = stats.apply(None, row.rating.value());
                stats.observe(row.first_rated_at, row.rating.rated_at());
            }
            if let Some(features) = stats.finish(h.context().prior) {
                builder.rating_features(kind, &id, &features);
            }
        }
    }
    let schema = profile();
    builder.group(&schema);
    let encode = |content| recstore_core::features::encode_row(&schema, content).unwrap();
    let row = aged("u", at(5), 30).with(name("city"), FeatureValue::Text("Bern".to_owned()));
    builder.feature_row(&schema, &key("u"), at(5), &encode(&row.content));
    builder.feature_row(&schema, &key("v"), at(6), &encode(&recstore_core::RowContent::Deleted));
    builder.neighbours(Item, &key("i"), &[neighbour("j", 0.5, 3), neighbour("k", 0.25, 3)]);
    builder.neighbours(Item, &key("j"), &[]);
    builder.neighbours(User, &key("u"), &[neighbour("v", 0.75, 3)]);
    builder.hidden(&item("k"));
    assert_eq!(space.prints().await, builder.finish());
}

/// Which fingerprints a change must show in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shows {
    ratings: bool,
    features: bool,
    similarities: bool,
}

fn differences(before: Fingerprints, after: Fingerprints) -> Shows {
    Shows {
        ratings: before.ratings != after.ratings,
        features: before.features != after.features,
        similarities: before.similarities != after.similarities,
    }
}

const RATINGS: Shows = Shows { ratings: true, features: false, similarities: false };
const BOTH: Shows = Shows { ratings: true, features: true, similarities: false };
const FEATURES: Shows = Shows { ratings: false, features: true, similarities: false };
const SIMILARITIES: Shows = Shows { ratings: false, features: false, similarities: true };

/// Makes each change in a namespace of its own and holds where it shows, and that no two changes look alike.
async fn each_change_shows(h: &Harness, count: usize, change: impl AsyncFn(&Space, usize) -> Shows) {
    let mut seen = Vec::new();
    for index in 0..count {
        let space = h.other(&format!("change-{index}"));
        content(&space).await;
        let before = space.prints().await;
        let shows = change(&space, index).await;
        let after = space.prints().await;
        assert_eq!(differences(before, after), shows, "change {index}");
        assert!(!seen.contains(&after), "change {index} looks like another one");
        seen.extend([before, after]);
        seen.dedup();
    }
}

pub(super) async fn any_change_of_a_rating_shows(h: &Harness) {
    let changes = [
        (rating_with_id("w", "x", 4.0, at(10), 7), BOTH),
        (rating_with_id("u", "i", 4.000001, at(11), 7), BOTH),
        // Only the time of the pair, within those of user and item.
        (rating_with_id("u", "i", 4.0, at(11), 7), RATINGS),
        // Only the event id: a duplicate under another name.
        (rating_with_id("u", "j", 2.0, at(20), 11), RATINGS),
        // Only the earliest time of the pair, and of user and item with it.
        (rating_with_id("u", "i", 4.0, at(9), 1), BOTH),
        // Only the earliest time of the pair, and of the item; the user's is earlier.
        (
            rating_with_id("u", "j", 2.0, at(19), 1),
            Shows { ratings: true, features: true, similarities: false },
        ),
        (withdrawal_with_id("u", "i", at(10), 8), BOTH),
        (withdrawal_with_id("v", "j", at(41), 10), BOTH),
        (withdrawal_with_id("v", "i", at(31), 12), BOTH),
    ];
    each_change_shows(h, changes.len(), async |space, index| {
        space.put([changes[index].0.clone()]).await;
        changes[index].1
    })
    .await;
}

pub(super) async fn any_change_of_a_custom_row_or_schema_shows(h: &Harness) {
    let base = || aged("u", at(5), 30).with(name("city"), FeatureValue::Text("Bern".to_owned()));
    let rows = [
        FeatureRow { event_time: at(7), ..base() },
        FeatureRow { event_time: at(7), ..aged("u", at(7), 31) },
        FeatureRow { event_time: at(7), id: key("w"), ..base() },
        FeatureRow::deleted(key("u"), at(7)),
        FeatureRow::deleted(key("v"), at(7)),
        FeatureRow::deleted(key("w"), at(7)),
        FeatureRow::new(key("u"), at(7)),
        FeatureRow { event_time: at(7), ..base() }.with(name("active"), FeatureValue::Bool(false)),
        FeatureRow { event_time: at(7), ..aged("u", at(7), 30) }
            .with(name("tags"), FeatureValue::TextList(vec!["Bern".to_owned()])),
    ];
    each_change_shows(h, rows.len(), async |space, index| {
        space.put_rows("profile", vec![rows[index].clone()]).await;
        FEATURES
    })
    .await;
    let groups = [
        profile().with_column(name("height"), ColumnType::Float),
        profile().with_column(name("height"), ColumnType::Integer),
        profile().with_column(name("size"), ColumnType::Float),
        GroupSchema { name: name("other"), ..profile() },
        GroupSchema { name: name("other"), entity: Item, ..profile() },
    ];
    let mut seen = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let space = h.other(&format!("group-{index}"));
        content(&space).await;
        let before = space.prints().await;
        space.register(group).await;
        let after = space.prints().await;
        assert_eq!(differences(before, after), FEATURES, "{group:?}");
        assert!(!seen.contains(&after.features), "{group:?}");
        seen.push(after.features);
    }
}

pub(super) async fn any_change_of_a_current_list_or_hidden_item_shows(h: &Harness) {
    let lists = |i: &[(&str, f64)]| vec![list("i", i), list("j", &[])];
    let mut common = lists(&[("j", 0.5), ("k", 0.25)]);
    common[0].neighbours[0].common += 1;
    let releases = [
        lists(&[("j", 0.5), ("k", 0.250_000_000_000_000_06)]),
        lists(&[("k", 0.5), ("j", 0.25)]),
        lists(&[("j", 0.5)]),
        lists(&[("j", 0.5), ("k", 0.25), ("l", 0.1)]),
        common,
        vec![list("i", &[("j", 0.5), ("k", 0.25)])],
        vec![list("i", &[("j", 0.5), ("k", 0.25)]), list("x", &[])],
        Vec::new(),
    ];
    each_change_shows(h, releases.len() + 3, async |space, index| {
        match releases.get(index) {
            Some(lists) => drop(space.promoted(Item, lists, popular(&[("i", 2)])).await),
            None if index == releases.len() => space.hide_items(vec![item("j")]).await.unwrap(),
            None if index == releases.len() + 1 => space.unhide_items(vec![item("k")]).await.unwrap(),
            // The lists of items, as lists of users.
            None => {
                space.promoted(User, &lists(&[("j", 0.5), ("k", 0.25)]), Vec::new()).await;
            }
        }
        SIMILARITIES
    })
    .await;
}

pub(super) async fn a_tombstone_shows(h: &Harness) {
    let unknown = async |space: &Space, index: usize| {
        match index {
            0 => space.erase_user("nobody").await,
            1 => space.erase_item("nobody").await,
            _ => {
                h.move_clock(1);
                let report = space.erase_user("nobody").await;
                h.move_clock(0);
                report
            }
        };
        RATINGS
    };
    each_change_shows(h, 3, unknown).await;
}

pub(super) async fn what_readers_do_not_see_is_not_hashed(h: &Harness) {
    let space = h.space();
    content(&space).await;
    let before = space.prints().await;
    // The same lists in another release, at another time; one that is sealed, one that is being built.
    h.move_clock(5_000);
    let lists = [list("i", &[("j", 0.5), ("k", 0.25)]), list("j", &[])];
    space.promoted(Item, &lists, popular(&[("j", 9)])).await;
    space.sealed(Item, &[list("other", &[("x", 0.5)])], Vec::new()).await;
    space.begin(User, &[list("other", &[("x", 0.5)])]).await;
    assert_eq!(space.prints().await, before);
    space.prune_releases(Item, PruneOptions { keep: 0, ..PruneOptions::default() }).await.unwrap();
    assert_eq!(space.prints().await, before);
    space.rebuild_features().await.unwrap();
    assert_eq!(space.prints().await, before);
}

pub(super) async fn an_entity_without_a_rating_has_no_fingerprint_of_features(h: &Harness) {
    let space = h.space();
    space.put([withdrawal("u", "i", at(1))]).await;
    let prints = space.prints().await;
    assert_eq!(prints.features, Fingerprints::default().features);
    assert_ne!(prints.ratings, Fingerprints::default().ratings);
    let batch = space.features(FeatureName::USER_RATINGS.as_str(), &["u"]).await;
    assert!(!batch.status[0].is_found());
    assert_eq!(space.rows().await, fold(&[withdrawal("u", "i", at(1))]));
}
