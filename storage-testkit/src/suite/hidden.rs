//! Hidden items: out of every read, at once, until they are unhidden.

use recstore_core::{EntityKind, GetOptions, NeighbourRequest};

use super::harness::Harness;
use super::words::{hostile_ids, item, keys, list, popular, values};
use EntityKind::{Item, User};

pub(super) async fn hidden_items_never_come_back_from_a_read(h: &Harness) {
    let space = h.space();
    let lists = [list("a", &[("b", 0.9), ("c", 0.8), ("d", 0.7)]), list("c", &[("a", 0.8), ("b", 0.1)])];
    let ranks = popular(&[("c", 9), ("b", 8), ("a", 7)]);
    let first = space.promoted(Item, &lists, ranks.clone()).await;
    space.hide_items(vec![item("b"), item("unknown")]).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["c", "d"]);
    assert_eq!(space.neighbour_ids(Item, "c").await.unwrap(), ["a"]);
    assert_eq!(space.popular_ids(Item).await, ["c", "a"]);
    let named = values(space.neighbours_in(Item, &first, &["a"]).await.lists);
    assert_eq!(named[0].as_ref().unwrap().len(), 2);
    // Whatever a later release says.
    space.promoted(Item, &lists, ranks).await;
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["c", "d"]);
    assert_eq!(space.popular_ids(Item).await, ["c", "a"]);
}

pub(super) async fn limits_are_counted_after_hidden_items_are_left_out(h: &Harness) {
    let space = h.space();
    let lists = [list("a", &[("b", 0.9), ("c", 0.8), ("d", 0.7), ("e", 0.6)])];
    space.promoted(Item, &lists, popular(&[("b", 9), ("c", 8), ("d", 7), ("e", 6)])).await;
    space.hide_items(vec![item("b"), item("d")]).await.unwrap();
    let request = NeighbourRequest::new(Item, keys(&["a"])).with_limit(2);
    let found = values(space.get_neighbours(request).await.unwrap().lists).remove(0).unwrap();
    assert_eq!(found.iter().map(|neighbour| neighbour.id.as_str()).collect::<Vec<_>>(), ["c", "e"]);
    let found = space.get_popular(Item, 2, GetOptions::default()).await.unwrap();
    assert_eq!(found, popular(&[("c", 8), ("e", 6)]));
}

pub(super) async fn a_hidden_items_own_list_can_be_read(h: &Harness) {
    let space = h.space();
    space.promoted(Item, &[list("a", &[("b", 0.9)]), list("b", &[("a", 0.9)])], Vec::new()).await;
    space.hide_items(vec![item("a")]).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!(space.neighbour_ids(Item, "b").await, Some(Vec::new()), "found, without neighbours");
}

pub(super) async fn unhidden_items_are_shown_again(h: &Harness) {
    let space = h.space();
    space.promoted(Item, &[list("a", &[("b", 0.9), ("c", 0.8)])], popular(&[("b", 1), ("c", 1)])).await;
    let prints = space.prints().await;
    space.hide_items(vec![item("b"), item("c")]).await.unwrap();
    space.unhide_items(vec![item("b"), item("never hidden")]).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!(space.popular_ids(Item).await, ["b"]);
    space.unhide_items(vec![item("c")]).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b", "c"]);
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn hiding_twice_and_nothing_is_ok(h: &Harness) {
    let space = h.space();
    space.hide_items(vec![item("a"), item("a"), item("b")]).await.unwrap();
    let prints = space.prints().await;
    space.hide_items(vec![item("a")]).await.unwrap();
    space.hide_items(Vec::new()).await.unwrap();
    space.unhide_items(Vec::new()).await.unwrap();
    assert_eq!(space.prints().await, prints);
    assert_eq!(space.hidden_items().await.unwrap(), [item("a"), item("b")]);
    space.unhide_items(vec![item("a"), item("a")]).await.unwrap();
    space.unhide_items(vec![item("a")]).await.unwrap();
    assert_eq!(space.hidden_items().await.unwrap(), [item("b")]);
}

pub(super) async fn hidden_items_are_listed_in_order_of_id(h: &Harness) {
    let space = h.space();
    assert!(space.hidden_items().await.unwrap().is_empty());
    let mut items: Vec<_> = hostile_ids().iter().map(|id| item(id)).collect();
    items.rotate_left(17);
    space.hide_items(items.clone()).await.unwrap();
    items.sort();
    assert_eq!(space.hidden_items().await.unwrap(), items);
}

pub(super) async fn hiding_an_item_hides_no_user_of_the_same_id(h: &Harness) {
    let space = h.space();
    space.promoted(User, &[list("1", &[("2", 0.9)])], popular(&[("2", 1)])).await;
    space.hide_items(vec![item("2")]).await.unwrap();
    assert_eq!(space.neighbour_ids(User, "1").await.unwrap(), ["2"]);
    assert_eq!(space.popular_ids(User).await, ["2"]);
}
