//! Namespaces never see each other: the same ids in two of them, through every call.

use recstore_core::{
    ColumnType, EntityKind, ErrorKind, Fingerprints, GetOptions, GroupSchema, Namespace, NeighbourRequest,
    Outcome, PruneOptions, PutOptions, ScanOptions,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{at, item, keys, list, name, popular, rating, user, value, withdrawal};
use EntityKind::Item;

/// Names that are prefixes of each other or differ by what a key may separate with.
const NAMES: [&str; 6] = ["a", "a-", "a-b", "a_b", "ab", "0"];

/// The same ids in every namespace, with contents that differ by `mark`.
async fn fill(space: &Space, mark: u32) {
    let stars = f64::from(mark);
    space
        .put([
            rating("u", "i", stars, at(1)),
            rating("u", "b/i", stars + 1.0, at(2)),
            rating("b/u", "i", stars + 2.0, at(3)),
            withdrawal("v", "i", at(4 + i64::from(mark))),
        ])
        .await;
    space.register(&profile()).await;
    space.put_rows("profile", vec![aged("u", at(1), mark.into()), aged("v", at(1), 0)]).await;
    let neighbour = format!("n{mark}");
    let lists = [list("i", &[(neighbour.as_str(), 0.5 + stars), ("j", 0.25)])];
    space.promoted(Item, &lists, popular(&[(neighbour.as_str(), 1), ("j", mark.into())])).await;
    space.hide_items(vec![item(&format!("h{mark}"))]).await.unwrap();
}

/// Everything that can be read, as text.
async fn everything(space: &Space) -> String {
    let mut seen = vec![
        format!("{:?}", space.rows().await),
        format!("{:?}", space.row("u", "i").await),
        format!("{:?}", space.user_rows("u").await),
        format!("{:?}", space.item_rows("i").await),
        format!("{:?}", space.count_ratings(GetOptions::default()).await.unwrap()),
        format!("{:?}", space.groups().await.unwrap()),
        format!("{:?}", space.releases(Item).await.unwrap()),
        format!("{:?}", space.neighbours(Item, &["i", "j"]).await),
        format!("{:?}", space.popular_ids(Item).await),
        format!("{:?}", space.hidden_items().await.unwrap()),
        format!("{:?}", space.prints().await),
    ];
    for group in ["user_ratings", "item_ratings", "profile"] {
        for id in ["u", "v", "i", "b/u", "b/i"] {
            seen.push(format!("{:?}", space.feature_row(group, id).await));
        }
    }
    let stats = space.stats(GetOptions::default()).await.unwrap();
    let counts = (stats.ratings, stats.users, stats.items, stats.feature_rows, stats.releases);
    seen.push(format!("{counts:?} {} {}", stats.hidden_items, stats.tombstones));
    seen.join("\n")
}

pub(super) async fn a_handle_says_its_namespace(h: &Harness) {
    let space = h.space();
    let own = space.namespace().clone();
    assert_eq!(*h.other("other").namespace(), Namespace::new("other").unwrap());
    space.put([rating("u", "i", 1.0, at(1))]).await;
    let same = h.other(own.as_str());
    assert_eq!(same.rows().await, space.rows().await, "handles of one namespace see the same");
    same.put([rating("u", "j", 1.0, at(1))]).await;
    assert_eq!(space.rows().await.len(), 2);
}

pub(super) async fn a_new_namespace_is_empty(h: &Harness) {
    fill(&h.space(), 1).await;
    let space = h.other("new");
    assert_eq!(space.prints().await, Fingerprints::default());
    assert!(space.rows().await.is_empty());
    assert_eq!(space.groups().await.unwrap().len(), 2);
    assert!(space.releases(Item).await.unwrap().is_empty());
    assert!(space.hidden_items().await.unwrap().is_empty());
    assert_eq!(space.feature_row("user_ratings", "u").await, None);
    assert_eq!(space.neighbour_ids(Item, "i").await, None);
}

pub(super) async fn the_same_ids_in_many_namespaces_are_different_things(h: &Harness) {
    for (mark, namespace) in NAMES.into_iter().enumerate() {
        fill(&h.other(namespace), mark as u32 + 1).await;
    }
    for (mark, namespace) in NAMES.into_iter().enumerate() {
        let (space, mark) = (h.other(namespace), mark as u32 + 1);
        let alone = h.other(&format!("alone-{mark}"));
        fill(&alone, mark).await;
        assert_eq!(everything(&space).await, everything(&alone).await, "{namespace}");
        space.assert_features_fit(h.context().prior).await;
        assert_eq!(space.row("u", "i").await.unwrap().rating.value(), Some(value(mark.into())));
        let age = space.feature("profile", "u", "age").await;
        assert_eq!(age, Some(recstore_core::FeatureValue::Integer(mark.into())));
        let (neighbour, hidden) = (format!("n{mark}"), format!("h{mark}"));
        assert_eq!(space.popular_ids(Item).await, [neighbour.as_str(), "j"]);
        assert_eq!(space.neighbour_ids(Item, "i").await.unwrap(), [neighbour.as_str(), "j"]);
        assert_eq!(space.hidden_items().await.unwrap(), [item(&hidden)]);
    }
}

/// Does `work` in one namespace and holds that the others are as they were.
async fn only_one_changes(h: &Harness, work: impl AsyncFnOnce(&Space)) {
    let (space, others) = (h.other("a"), ["a-b", "b"].map(|other| h.other(other)));
    for (mark, other) in [&space, &others[0], &others[1]].into_iter().enumerate() {
        fill(other, mark as u32 + 1).await;
    }
    let before = [everything(&others[0]).await, everything(&others[1]).await];
    let own = everything(&space).await;
    work(&space).await;
    assert_ne!(everything(&space).await, own, "the work does something");
    assert_eq!([everything(&others[0]).await, everything(&others[1]).await], before);
}

pub(super) async fn ratings_of_one_namespace_change_no_other(h: &Harness) {
    only_one_changes(h, async |space| {
        space.put([rating("u", "i", 9.0, at(100)), withdrawal("b/u", "i", at(100))]).await;
        space.rebuild_features().await.unwrap();
    })
    .await;
}

pub(super) async fn feature_groups_of_one_namespace_change_no_other(h: &Harness) {
    only_one_changes(h, async |space| {
        space.register(&profile().with_column(name("height"), ColumnType::Float)).await;
        let other = GroupSchema::new(name("other"), Item).with_column(name("x"), ColumnType::Bool);
        space.register(&other).await;
        space.put_rows("profile", vec![aged("u", at(9), 99), aged("w", at(9), 1)]).await;
    })
    .await;
}

pub(super) async fn erasing_in_one_namespace_changes_no_other(h: &Harness) {
    only_one_changes(h, async |space| {
        space.erase_user("u").await;
        space.erase_item("i").await;
        space.erase_item("j").await;
    })
    .await;
    let replay = [rating("u", "x", 1.0, at(1))];
    h.other("a").put_expecting(replay.clone(), &[Outcome::Erased]).await;
    h.other("b").put_expecting(replay, &[Outcome::Applied]).await;
}

pub(super) async fn hiding_in_one_namespace_changes_no_other(h: &Harness) {
    only_one_changes(h, async |space| {
        space.hide_items(vec![item("j"), item("n1"), item("n2")]).await.unwrap();
        space.unhide_items(vec![item("h1"), item("h2"), item("h3")]).await.unwrap();
    })
    .await;
}

pub(super) async fn releases_of_one_namespace_change_no_other(h: &Harness) {
    only_one_changes(h, async |space| {
        space.promoted(Item, &[list("i", &[("new", 0.9)])], Vec::new()).await;
        space.rollback_release(Item).await.unwrap();
        space.sealed(Item, &[], Vec::new()).await;
        space.prune_releases(Item, PruneOptions { keep: 1, ..PruneOptions::default() }).await.unwrap();
    })
    .await;
}

pub(super) async fn a_release_of_another_namespace_is_not_found(h: &Harness) {
    let (space, other) = (h.other("a"), h.other("b"));
    let release = space.begin(Item, &[list("i", &[("j", 0.5)])]).await;
    let lists = vec![list("i", &[("k", 0.5)])];
    let put = other.put_neighbours(&release, lists, PutOptions::default()).await.unwrap_err();
    let seal = other.seal_release(&release, Vec::new()).await.unwrap_err();
    space.seal_release(&release, Vec::new()).await.unwrap();
    let promote = other.promote_release(&release).await.unwrap_err();
    let request = NeighbourRequest::new(Item, keys(&["i"])).with_release(release.clone());
    let get = other.get_neighbours(request).await.unwrap_err();
    for error in [put, seal, promote, get] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    space.promote_release(&release).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "i").await.unwrap(), ["j"]);
}

pub(super) async fn a_page_token_reaches_no_other_namespace(h: &Harness) {
    let (space, other) = (h.other("a"), h.other("b"));
    let events = |mark: i64| {
        (0..6).map(move |index| rating("u", &format!("{mark}-{index}"), 1.0, at(index * 10 + mark)))
    };
    space.put(events(1)).await;
    other.put(events(2)).await;
    let options = super::words::everything().with_limit(2);
    let first = space.user_history(&user("u"), options.clone()).await.unwrap();
    let page = other.user_history(&user("u"), options.with_token(first.next)).await.unwrap();
    assert!(page.rows.iter().all(|row| row.rating.item().as_str().starts_with("2-")), "{page:?}");
    let rows = other.scan(ScanOptions::default().with_batch_rows(1)).await;
    assert!(rows.len() == 6 && rows.iter().all(|row| row.rating.item().as_str().starts_with("2-")));
}
