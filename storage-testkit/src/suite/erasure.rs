//! Erasure: one user or item out of everything, and kept out.

use futures::{StreamExt, TryStreamExt};
use recstore_core::{
    ColumnType, Entity, EntityKind, EraseOptions, FeatureRow, GetOptions, GroupSchema, Outcome, PutOptions,
    Rating, RatingRow, ScanOptions, Timestamp,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{
    after_now, at, everything, fold, hostile_ids, item, key, list, name, now, popular, rating,
    rating_with_id, user, values, withdrawal,
};
use EntityKind::{Item, User};
use Outcome::{Applied, Erased, Stale};

/// Ratings of `gone` and of others, as user and as item, replaced and withdrawn ones among them.
fn events() -> Vec<Rating> {
    let mut events = vec![
        rating("gone", "a", 1.0, at(1)),
        rating("gone", "a", 2.0, at(90)),
        withdrawal("gone", "b", at(95)),
        rating("gone", "c", 3.0, at(3)),
        rating("x", "a", 4.0, at(40)),
        rating("x", "gone", 5.0, at(2)),
        rating("y", "gone", -1.0, at(99)),
        withdrawal("y", "a", at(50)),
        rating("gone!", "a", 4.5, at(41)),
        rating("x", "gone!", 4.5, at(42)),
    ];
    // Enough values of `a` and of `x` that their extremes have to be looked up.
    events.extend((0..70).map(|index| rating(&format!("u{index}"), "a", f64::from(index) + 10.0, at(20))));
    events.extend((0..70).map(|index| rating("x", &format!("i{index}"), f64::from(index) + 10.0, at(20))));
    events.push(rating("gone", "x-only", 1_000.0, at(1)));
    events
}

fn without(kind: EntityKind, id: &str) -> Vec<RatingRow> {
    let stays = |event: &&Rating| match kind {
        User => event.user().as_str() != id,
        Item => event.item().as_str() != id,
    };
    fold(events().iter().filter(stays))
}

fn items_group() -> GroupSchema {
    GroupSchema::new(name("item_profile"), Item).with_column(name("age"), ColumnType::Integer)
}

async fn groups(space: &Space) {
    space.register(&profile()).await;
    space.register(&items_group()).await;
    for group in ["profile", "item_profile"] {
        space.put_rows(group, vec![aged("gone", at(5), 1), aged("x", at(5), 2)]).await;
    }
}

pub(super) async fn an_erased_user_is_gone_from_ratings_and_features(h: &Harness) {
    let space = h.space();
    space.put(events()).await;
    groups(&space).await;
    let report = space.erase_user("gone").await;
    assert_eq!((report.ratings, report.feature_rows), (4, 1));
    assert!(space.user_rows("gone").await.is_empty());
    assert_eq!(space.row("gone", "a").await, None);
    assert_eq!(space.feature_row("user_ratings", "gone").await, None);
    assert_eq!(space.feature_row("profile", "gone").await, None);
    space.assert_rows(&without(User, "gone"), h.context().prior).await;
    assert_eq!(space.item_rows("gone").await.len(), 2, "the item of the same id stays");
    assert!(space.feature_row("item_profile", "gone").await.is_some());
    assert!(space.feature_row("profile", "x").await.is_some());
}

pub(super) async fn an_erased_item_is_gone_from_ratings_and_features(h: &Harness) {
    let space = h.space();
    space.put(events()).await;
    groups(&space).await;
    let report = space.erase_item("gone").await;
    assert_eq!((report.ratings, report.feature_rows), (2, 1));
    assert!(space.item_rows("gone").await.is_empty());
    assert_eq!(space.feature_row("item_ratings", "gone").await, None);
    assert_eq!(space.feature_row("item_profile", "gone").await, None);
    space.assert_rows(&without(Item, "gone"), h.context().prior).await;
    assert_eq!(space.user_rows("gone").await.len(), 4, "the user of the same id stays");
    assert!(space.feature_row("profile", "gone").await.is_some());
}

pub(super) async fn statistics_of_the_others_are_as_if_its_ratings_had_never_been(h: &Harness) {
    let (erased, never) = (h.other("erased"), h.other("never"));
    erased.put(events()).await;
    erased.erase_user("gone").await;
    never.put(events().into_iter().filter(|event| event.user().as_str() != "gone")).await;
    assert_eq!(erased.prints().await.features, never.prints().await.features);
    assert_eq!(erased.rows().await, never.rows().await);
    // The extremes, which only the erased user had, and the times.
    for column in ["rating_min", "rating_max", "first_rated_at", "last_rated_at", "rating_std"] {
        let of = async |space: &Space| space.feature("item_ratings", "a", column).await;
        assert_eq!(of(&erased).await, of(&never).await, "{column}");
    }
    // And they stay exact afterwards.
    for space in [&erased, &never] {
        space.put([withdrawal("u0", "a", at(200)), rating("u69", "a", 0.5, at(201))]).await;
        space.assert_features_fit(h.context().prior).await;
    }
    assert_eq!(erased.prints().await.features, never.prints().await.features);
}

pub(super) async fn older_events_replayed_do_not_bring_an_erased_user_back(h: &Harness) {
    let space = h.space();
    space.put(events()).await;
    space.erase_user("gone").await;
    let prints = space.prints().await;
    let receipt = space.put(events()).await;
    for (event, outcome) in events().iter().zip(receipt.outcomes) {
        let erased = event.user().as_str() == "gone";
        let told = outcome == Erased;
        assert!(told == erased || (!told && !space.capabilities().ordered_at_put), "{event:?}: {outcome:?}");
    }
    assert_eq!(space.prints().await, prints);
    space.assert_rows(&without(User, "gone"), h.context().prior).await;
}

pub(super) async fn older_events_replayed_do_not_bring_an_erased_item_back(h: &Harness) {
    let space = h.space();
    space.put(events()).await;
    space.erase_item("gone").await;
    let prints = space.prints().await;
    let receipt = space.put(events()).await;
    for (event, outcome) in events().iter().zip(receipt.outcomes) {
        let erased = event.item().as_str() == "gone";
        let told = outcome == Erased;
        assert!(told == erased || (!told && !space.capabilities().ordered_at_put), "{event:?}: {outcome:?}");
    }
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn events_too_far_ahead_are_refused_also_of_erased_entities(h: &Harness) {
    let space = h.space();
    space.erase_user("gone").await;
    let events = vec![rating("gone", "a", 1.0, at(1)), rating("gone", "a", 1.0, just_after(bar(h)))];
    let error = space.put_ratings(events, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.field(), Some("events[1].rated_at"));
}

pub(super) async fn conflicts_within_a_batch_are_listed_also_of_erased_entities(h: &Harness) {
    let space = h.space();
    space.erase_user("gone").await;
    let batch = [
        rating_with_id("gone", "a", 1.0, at(1), 7),
        rating_with_id("x", "a", 1.0, at(1), 7),
        rating_with_id("gone", "a", 2.0, at(1), 7),
    ];
    let receipt = space.put_expecting(batch, &[Erased, Applied, Erased]).await;
    if space.capabilities().ordered_at_put {
        assert_eq!(receipt.conflicts, [0, 2]);
    }
}

/// The last time that an erasure at the clock's first time bars.
fn bar(h: &Harness) -> Timestamp {
    now().saturating_add(h.context().limits.max_future_skew)
}

fn just_after(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() + 1).unwrap()
}

pub(super) async fn events_after_the_bar_are_accepted_again(h: &Harness) {
    let space = h.space();
    space.put([rating("gone", "a", 1.0, at(1))]).await;
    let report = space.erase_user("gone").await;
    assert_eq!(report.barred_until, bar(h));
    space.put_expecting([rating("gone", "a", 2.0, bar(h))], &[Erased]).await;
    space.put_expecting([withdrawal("gone", "a", bar(h))], &[Erased]).await;
    h.move_clock(1);
    let back = rating("gone", "a", 3.0, just_after(bar(h)));
    let other = rating("other", "a", 4.0, at(2));
    let batch = [rating("gone", "b", 2.0, bar(h)), back.clone(), other.clone()];
    space.put_expecting(batch, &[Erased, Applied, Applied]).await;
    space.assert_rows(&fold([&back, &other]), h.context().prior).await;
    let first = space.row("gone", "a").await.unwrap().first_rated_at;
    assert_eq!(first, just_after(bar(h)), "times from before are forgotten");
}

pub(super) async fn custom_rows_up_to_the_bar_stay_out(h: &Harness) {
    let space = h.space();
    groups(&space).await;
    space.erase_user("gone").await;
    let deleted = FeatureRow::deleted(key("gone"), at(6));
    let rows = vec![aged("gone", bar(h), 2), deleted, aged("x", at(4), 2), aged("y", at(4), 2)];
    space.put_rows_expecting("profile", rows, &[Erased, Erased, Stale, Applied]).await;
    assert_eq!(space.feature_row("profile", "gone").await, None);
    space.put_rows_expecting("item_profile", vec![aged("gone", at(6), 2)], &[Applied]).await;
    h.move_clock(1);
    space.put_rows_expecting("profile", vec![aged("gone", just_after(bar(h)), 3)], &[Applied]).await;
}

/// The lists and ranks of two promoted releases, a sealed and a building one; `gone` is in all of them.
async fn releases(space: &Space, kind: EntityKind) -> Vec<recstore_core::ReleaseId> {
    let lists = [
        list("gone", &[("a", 0.9), ("b", 0.8)]),
        list("a", &[("gone", 0.9), ("b", 0.5)]),
        list("b", &[("a", 0.5)]),
        list("c", &[("gone", 0.1)]),
    ];
    let ranks = || popular(&[("a", 3), ("gone", 2), ("b", 1)]);
    vec![
        space.promoted(kind, &lists, ranks()).await,
        space.promoted(kind, &lists, ranks()).await,
        space.sealed(kind, &lists, ranks()).await,
        space.begin(kind, &lists).await,
    ]
}

async fn assert_gone_from(space: &Space, kind: EntityKind, release: &recstore_core::ReleaseId) {
    let answer = space.neighbours_in(kind, release, &["gone", "a", "b", "c"]).await;
    let ids = |list: Vec<recstore_core::Neighbour>| {
        list.into_iter().map(|neighbour| neighbour.id.to_string()).collect::<Vec<_>>()
    };
    let found: Vec<Option<Vec<String>>> =
        values(answer.lists).into_iter().map(|list| list.map(ids)).collect();
    let expected = [None, Some(vec!["b".to_owned()]), Some(vec!["a".to_owned()]), Some(Vec::new())];
    assert_eq!(found, expected, "{release}");
}

pub(super) async fn an_erased_item_is_gone_from_every_release(h: &Harness) {
    gone_from_every_release(h, Item).await;
}

pub(super) async fn an_erased_user_is_gone_from_every_release(h: &Harness) {
    gone_from_every_release(h, User).await;
}

async fn gone_from_every_release(h: &Harness, kind: EntityKind) {
    let space = h.space();
    let all = releases(&space, kind).await;
    let others = releases(&space, kind.other()).await;
    let report = space.erase(&Entity::new(kind, key("gone")), EraseOptions::default()).await.unwrap();
    assert_eq!((report.neighbour_lists, report.neighbour_entries), (4, 8));
    space.seal_release(&all[3], popular(&[("gone", 5), ("a", 3)])).await.unwrap();
    for release in &all {
        assert_gone_from(&space, kind, release).await;
    }
    assert_eq!(space.popular_ids(kind).await, ["a", "b"]);
    space.promote_release(&all[2]).await.unwrap();
    assert_eq!(space.popular_ids(kind).await, ["a", "b"]);
    space.promote_release(&all[3]).await.unwrap();
    assert_eq!(space.popular_ids(kind).await, ["a"], "also a list of ranks given later");
    assert_eq!(space.neighbour_ids(kind.other(), "gone").await.unwrap(), ["a", "b"]);
    assert_eq!(space.popular_ids(kind.other()).await, ["a", "gone", "b"]);
    let counted = space.releases(kind).await.unwrap();
    assert!(counted.iter().all(|info| (info.lists, info.neighbours) == (3, 2)), "{counted:?}");
    let counted = space.releases(kind.other()).await.unwrap();
    assert!(counted.iter().all(|info| (info.lists, info.neighbours) == (4, 6)), "{counted:?}");
    assert_eq!(counted.len(), others.len());
}

pub(super) async fn lists_put_later_into_a_release_begun_before_the_erasure_leave_it_out(h: &Harness) {
    let space = h.space();
    let before = space.begin(Item, &[]).await;
    h.move_clock(1_000);
    space.erase_item("gone").await;
    h.move_clock(2_000);
    let lists = vec![list("gone", &[("a", 0.9)]), list("a", &[("gone", 0.9), ("b", 0.5)])];
    space.put_neighbours(&before, lists.clone(), PutOptions::default()).await.unwrap();
    let sealed = space.seal_release(&before, popular(&[("gone", 2), ("a", 1)])).await.unwrap();
    assert_eq!((sealed.lists, sealed.neighbours), (1, 1));
    space.promote_release(&before).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "gone").await, None);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!(space.popular_ids(Item).await, ["a"]);
    // One that is begun after the erasure was computed without the old ratings: it may know the item anew.
    space.promoted(Item, &lists, popular(&[("gone", 2), ("a", 1)])).await;
    assert_eq!(space.neighbour_ids(Item, "gone").await.unwrap(), ["a"]);
    assert_eq!(space.popular_ids(Item).await, ["gone", "a"]);
}

pub(super) async fn an_erasure_under_a_clock_that_went_back_leaves_it_out_too(h: &Harness) {
    let space = h.space();
    h.move_clock(10_000);
    let before = space.begin(Item, &[]).await;
    h.move_clock(0);
    space.erase_item("gone").await;
    let lists = vec![list("gone", &[("a", 0.9)]), list("a", &[("gone", 0.9), ("b", 0.5)])];
    space.put_neighbours(&before, lists, PutOptions::default()).await.unwrap();
    space.seal_release(&before, popular(&[("gone", 2), ("a", 1)])).await.unwrap();
    space.promote_release(&before).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "gone").await, None);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!(space.popular_ids(Item).await, ["a"]);
}

pub(super) async fn an_erasure_in_the_millisecond_of_the_begin_leaves_it_out_too(h: &Harness) {
    let space = h.space();
    space.erase_item("gone").await;
    let release = space.begin(Item, &[list("gone", &[("a", 0.9)]), list("a", &[("gone", 0.9)])]).await;
    let sealed = space.seal_release(&release, popular(&[("gone", 2), ("a", 1)])).await.unwrap();
    assert_eq!((sealed.lists, sealed.neighbours), (1, 0));
    space.promote_release(&release).await.unwrap();
    assert_eq!(space.popular_ids(Item).await, ["a"]);
}

pub(super) async fn an_erased_item_is_not_listed_as_hidden(h: &Harness) {
    let space = h.space();
    space.hide_items(vec![item("gone"), item("stays")]).await.unwrap();
    space.erase_user("stays").await;
    space.erase_item("gone").await;
    assert_eq!(space.hidden_items().await.unwrap(), [item("stays")]);
}

pub(super) async fn erasing_twice_takes_nothing_more(h: &Harness) {
    let space = h.space();
    space.put(events()).await;
    groups(&space).await;
    space.erase_user("gone").await;
    let prints = space.prints().await;
    let again = space.erase_user("gone").await;
    assert_eq!((again.ratings, again.feature_rows, again.barred_until), (0, 0, bar(h)));
    assert_eq!(space.prints().await, prints);
    assert_eq!(space.stats(GetOptions::default()).await.unwrap().tombstones, 1);
}

pub(super) async fn erasing_again_later_moves_the_bar(h: &Harness) {
    let space = h.space();
    space.erase_user("gone").await;
    h.move_clock(5_000);
    let moved = after_now(5_000).saturating_add(h.context().limits.max_future_skew);
    assert_eq!(space.erase_user("gone").await.barred_until, moved);
    space.put_expecting([rating("gone", "a", 1.0, moved)], &[Erased]).await;
    // A clock that went back takes no bar away.
    h.move_clock(0);
    assert_eq!(space.erase_user("gone").await.barred_until, moved);
    h.move_clock(5_000);
    space.put_expecting([rating("gone", "a", 1.0, moved)], &[Erased]).await;
    assert_eq!(space.stats(GetOptions::default()).await.unwrap().tombstones, 1);
}

pub(super) async fn erasing_an_unknown_entity_leaves_a_tombstone(h: &Harness) {
    let space = h.space();
    let prints = space.prints().await;
    let report = space.erase_user("gone").await;
    let counts = (report.ratings, report.feature_rows, report.neighbour_lists, report.neighbour_entries);
    assert_eq!(counts, (0, 0, 0, 0));
    assert_ne!(space.prints().await.ratings, prints.ratings, "a tombstone is state");
    assert_eq!(space.stats(GetOptions::default()).await.unwrap().tombstones, 1);
    let events = [rating("gone", "a", 1.0, at(1)), rating("a", "gone", 1.0, at(1))];
    space.put_expecting(events, &[Erased, Applied]).await;
}

pub(super) async fn a_dry_run_counts_and_changes_nothing(h: &Harness) {
    let space = h.space();
    space.put(events()).await;
    groups(&space).await;
    releases(&space, User).await;
    let (rows, prints) = (space.rows().await, space.prints().await);
    let gone = Entity::from(user("gone"));
    let dry = space.erase(&gone, EraseOptions::dry_run()).await.unwrap();
    assert_eq!(space.rows().await, rows);
    assert_eq!(space.prints().await, prints);
    assert_eq!(space.stats(GetOptions::default()).await.unwrap().tombstones, 0);
    space.put_expecting([rating("gone", "new", 1.0, at(1))], &[Applied]).await;
    space.put([rating("other", "new", 1.0, at(1))]).await;
    let done = space.erase(&gone, EraseOptions::default()).await.unwrap();
    assert_eq!(done, recstore_core::EraseReport { ratings: dry.ratings + 1, ..dry });
}

pub(super) async fn erasing_one_of_hostile_ids_takes_only_that_one(h: &Harness) {
    let space = h.space();
    let ids = hostile_ids();
    let mut events: Vec<Rating> = Vec::new();
    for id in &ids {
        events.extend([rating(id, "i", 1.0, at(1)), rating("u", id, 2.0, at(2))]);
    }
    space.put(events.clone()).await;
    for id in ids.iter().step_by(5) {
        space.erase_user(id).await;
        space.erase_item(id).await;
        events.retain(|event| event.user().as_str() != id && event.item().as_str() != id);
    }
    space.assert_rows(&fold(&events), h.context().prior).await;
}

pub(super) async fn an_erased_users_history_and_scan_are_empty_for_every_filter(h: &Harness) {
    let space = h.space();
    space.put([rating("gone", "a", 1.0, at(1)), withdrawal("gone", "b", at(2))]).await;
    space.erase_user("gone").await;
    assert!(space.user_history(&user("gone"), everything()).await.unwrap().rows.is_empty());
    for what in ["a", "b"] {
        assert!(space.item_rows(what).await.is_empty());
    }
    assert!(space.rows().await.is_empty());
    let counts = space.count_ratings(GetOptions::default()).await.unwrap();
    assert_eq!((counts.ratings, counts.withdrawn), (0, 0));
}

pub(super) async fn a_scan_under_way_gives_no_row_of_a_user_erased_meanwhile(h: &Harness) {
    let space = h.space();
    let rows_of = |id: &str| ["a", "b", "c"].map(|what| rating(id, what, 1.0, at(1)));
    space.put([rows_of("z"), rows_of("gone")].concat()).await;
    let mut scan = space.scan_ratings(ScanOptions::default().with_batch_rows(1));
    let first = scan.next().await.unwrap().unwrap();
    assert_eq!(first[0].rating, rows_of("gone")[0]);
    space.erase_user("gone").await;
    // A store that numbers its users may give the number that is free to the next one.
    space.put(rows_of("new")).await;
    let rest: Vec<Vec<RatingRow>> = scan.try_collect().await.unwrap();
    // A scan may be of the moment of its begin, but for what was erased.
    let (new, old) = (fold(&rows_of("new")), fold(&rows_of("z")));
    let rest = rest.concat();
    let found_new = rest.len().saturating_sub(old.len());
    assert!(found_new == 0 || found_new == new.len(), "{rest:?}");
    assert_eq!(rest, [&new[..found_new], &old[..]].concat());
}
