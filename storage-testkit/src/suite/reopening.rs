//! What outlives the handle: everything that was acknowledged.

use recstore_core::{BayesianPrior, EntityKind, GetOptions, Outcome, PutOptions, ReleaseState, StoreContext};

use super::cancellation::{MOST_POLLS, PAUSES, left_after};
use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{at, fold, item, list, name, popular, rating, withdrawal};
use EntityKind::Item;
use Outcome::{Applied, Duplicate, Erased, Stale};

async fn content(space: &Space) {
    let wide = (0..70).map(|index| rating("wide", &index.to_string(), index.into(), at(index.into())));
    let others = [rating("u", "i", 4.0, at(10)), rating("u", "i", 1.0, at(5)), withdrawal("v", "i", at(7))];
    space.put(wide.chain(others)).await;
    space.register(&profile()).await;
    space.register(&profile().with_column(name("height"), recstore_core::ColumnType::Float)).await;
    space.put_rows("profile", vec![aged("u", at(5), 30)]).await;
    space.promoted(Item, &[list("i", &[("j", 0.5), ("k", 0.25)])], popular(&[("j", 2), ("k", 1)])).await;
    space.promoted(Item, &[list("i", &[("k", 0.5)])], popular(&[("k", 1)])).await;
    space.hide_items(vec![item("hidden")]).await.unwrap();
    space.erase_user("erased").await;
}

pub(super) async fn a_reopened_store_holds_what_was_acknowledged(h: &Harness) {
    let space = h.space();
    content(&space).await;
    let other = h.other("other");
    other.put([rating("u", "i", 5.0, at(1))]).await;
    let (rows, prints) = (space.rows().await, space.prints().await);
    let (groups, releases) = (space.groups().await.unwrap(), space.releases(Item).await.unwrap());
    let stats = space.stats(GetOptions::default()).await.unwrap();
    let others = other.prints().await;
    let again = h.reopen().await;
    assert_eq!((again.rows().await, again.prints().await), (rows, prints));
    assert_eq!((again.groups().await.unwrap(), again.releases(Item).await.unwrap()), (groups, releases));
    assert_eq!(again.hidden_items().await.unwrap(), [item("hidden")]);
    let found = again.stats(GetOptions::default()).await.unwrap();
    assert_eq!(
        (found.ratings, found.tombstones, found.users),
        (stats.ratings, stats.tombstones, stats.users)
    );
    let other = Space::new(again.with_namespace(other.namespace().clone()));
    assert_eq!(other.prints().await, others);
    again.assert_features_fit(h.context().prior).await;
}

pub(super) async fn a_reopened_store_goes_on_where_it_was_closed(h: &Harness) {
    content(&h.space()).await;
    let space = h.reopen().await;
    let events = [
        rating("u", "i", 4.0, at(10)),
        rating("u", "i", 1.0, at(5)),
        rating("erased", "i", 1.0, at(5)),
        withdrawal("wide", "69", at(99)),
    ];
    space.put_expecting(events, &[Duplicate, Stale, Erased, Applied]).await;
    space.put_rows_expecting("profile", vec![aged("u", at(4), 1)], &[Stale]).await;
    space.assert_features_fit(h.context().prior).await;
    assert_eq!(space.neighbour_ids(Item, "i").await.unwrap(), ["k"]);
    let back = space.rollback_release(Item).await.unwrap();
    assert_eq!(back.state, ReleaseState::Current);
    assert_eq!(space.neighbour_ids(Item, "i").await.unwrap(), ["j", "k"]);
    assert_eq!(space.popular_ids(Item).await, ["j", "k"]);
    let newer = space.begin(Item, &[]).await;
    assert!(space.releases(Item).await.unwrap()[1..].iter().all(|info| info.id < newer));
}

pub(super) async fn a_release_being_built_can_be_finished_after_reopening(h: &Harness) {
    let release = h.space().begin(Item, &[list("a", &[("b", 0.5)])]).await;
    let space = h.reopen().await;
    space.put_neighbours(&release, vec![list("b", &[("a", 0.5)])], PutOptions::default()).await.unwrap();
    space.seal_release(&release, Vec::new()).await.unwrap();
    space.promote_release(&release).await.unwrap();
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!(space.neighbour_ids(Item, "b").await.unwrap(), ["a"]);
}

pub(super) async fn a_rebuild_takes_over_a_changed_prior(h: &Harness) {
    content(&h.space()).await;
    let prior = BayesianPrior::new(-2.0, 100).unwrap();
    let space = h.reopen_with(StoreContext { prior, ..h.context().clone() }).await;
    space.rebuild_features().await.unwrap();
    space.assert_features_fit(prior).await;
    assert_eq!(space.rebuild_features().await.unwrap().changed, 0);
}

pub(super) async fn a_close_dropped_at_any_poll_loses_nothing(h: &Harness) {
    let mut events = Vec::new();
    for polls in 0..MOST_POLLS {
        let space = h.reopen().await;
        let event = rating("u", &polls.to_string(), 1.0, at(1));
        space.put([event.clone()]).await;
        events.push(event);
        let ended = left_after(polls, PAUSES[polls % PAUSES.len()], space.close()).await;
        if let Some(result) = &ended {
            assert!(result.is_ok(), "{result:?}");
        }
        space.close().await.unwrap();
        if ended.is_some() {
            break;
        }
    }
    let space = h.reopen().await;
    space.assert_rows(&fold(&events), h.context().prior).await;
}
