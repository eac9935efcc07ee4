//! The bundle: figures, health, deadlines, closing.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use recstore_core::{
    Deadline, Entity, EntityKind, EraseOptions, Error, ErrorKind, FeatureRequest, FeatureRow, GetOptions,
    HistoryOptions, NeighbourRequest, PruneOptions, PutOptions, ScanOptions,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{at, item, key, keys, list, name, popular, rating, spec, user, withdrawal};
use EntityKind::{Item, User};

pub(super) async fn a_store_that_works_is_healthy(h: &Harness) {
    let space = h.space();
    let before = space.prints().await;
    let health = space.health().await.unwrap();
    assert!(health.ok, "{health:?}");
    assert!(!health.checks.is_empty() && health.checks.iter().all(|check| check.ok), "{health:?}");
    space.refresh().await.unwrap();
    assert_eq!(space.prints().await, before, "looking changes nothing");
}

pub(super) async fn figures_count_what_the_namespace_holds(h: &Harness) {
    let space = h.space();
    let stats = async || {
        let stats = space.stats(GetOptions::default()).await.unwrap();
        (
            (stats.ratings.ratings, stats.ratings.withdrawn, stats.users, stats.items),
            (stats.feature_rows, stats.releases, stats.hidden_items, stats.tombstones),
        )
    };
    assert_eq!(stats().await, ((0, 0, 0, 0), (0, 0, 0, 0)));
    space
        .put([rating("u", "i", 1.0, at(1)), rating("u", "j", 1.0, at(1)), withdrawal("v", "k", at(1))])
        .await;
    assert_eq!(stats().await, ((2, 1, 1, 2), (0, 0, 0, 0)));
    space.put([withdrawal("u", "j", at(2)), rating("v", "k", 1.0, at(2))]).await;
    assert_eq!(stats().await, ((2, 1, 2, 2), (0, 0, 0, 0)));
    space.register(&profile()).await;
    let deleted = FeatureRow::deleted(key("w"), at(1));
    space.put_rows("profile", vec![aged("u", at(1), 1), aged("x", at(1), 1), deleted]).await;
    space.sealed(Item, &[], Vec::new()).await;
    space.begin(User, &[]).await;
    space.hide_items(vec![item("i"), item("z")]).await.unwrap();
    assert_eq!(stats().await, ((2, 1, 2, 2), (2, 2, 2, 0)));
    space.erase_user("u").await;
    space.erase_item("unknown").await;
    assert_eq!(stats().await, ((1, 0, 1, 1), (1, 2, 2, 2)));
}

/// Every call of a store that can fail, as its result.
async fn every_call(space: &Space) -> Vec<(&'static str, Result<(), Error>)> {
    let release = recstore_core::ReleaseId::from_text("item-0");
    let options = PutOptions::default();
    let rows = || vec![aged("u", at(9), 1)];
    let lists = || vec![list("a", &[("b", 0.5)])];
    vec![
        ("put_ratings", space.put_ratings(vec![rating("u", "i", 1.0, at(9))], options).await.map(drop)),
        ("get_ratings", space.get_ratings(&[(user("u"), item("i"))], GetOptions::default()).await.map(drop)),
        ("user_history", space.user_history(&user("u"), HistoryOptions::default()).await.map(drop)),
        ("item_history", space.item_history(&item("i"), HistoryOptions::default()).await.map(drop)),
        ("scan_ratings", space.scan_ratings(ScanOptions::default()).try_collect::<Vec<_>>().await.map(drop)),
        ("count_ratings", space.count_ratings(GetOptions::default()).await.map(drop)),
        ("register_group", space.register_group(profile()).await.map(drop)),
        ("groups", space.groups().await.map(drop)),
        ("put_features", space.put_features(&name("profile"), rows(), options).await.map(drop)),
        ("get_features", space.get_features(FeatureRequest::of_users([user("u")])).await.map(drop)),
        ("rebuild_features", space.rebuild_features().await.map(drop)),
        ("begin_release", space.begin_release(spec(Item)).await.map(drop)),
        ("put_neighbours", space.put_neighbours(&release, lists(), options).await),
        ("seal_release", space.seal_release(&release, Vec::new()).await.map(drop)),
        ("promote_release", space.promote_release(&release).await.map(drop)),
        ("rollback_release", space.rollback_release(Item).await.map(drop)),
        ("prune_releases", space.prune_releases(Item, PruneOptions::default()).await.map(drop)),
        ("releases", space.releases(Item).await.map(drop)),
        ("get_neighbours", space.get_neighbours(NeighbourRequest::of_items([item("a")])).await.map(drop)),
        ("get_popular", space.get_popular(Item, 1, GetOptions::default()).await.map(drop)),
        ("hide_items", space.hide_items(vec![item("a")]).await),
        ("unhide_items", space.unhide_items(vec![item("a")]).await),
        ("hidden_items", space.hidden_items().await.map(drop)),
        ("health", space.health().await.map(drop)),
        ("stats", space.stats(GetOptions::default()).await.map(drop)),
        ("fingerprint", space.fingerprint(GetOptions::default()).await.map(drop)),
        ("erase", space.erase(&Entity::from(user("u")), EraseOptions::default()).await.map(drop)),
        ("refresh", space.refresh().await),
    ]
}

pub(super) async fn after_closing_every_call_on_every_handle_is_closed(h: &Harness) {
    let (space, other) = (h.space(), h.other("other"));
    space.put([rating("u", "i", 1.0, at(1))]).await;
    space.close().await.unwrap();
    space.close().await.unwrap();
    other.close().await.unwrap();
    for handle in [&space, &other, &h.other("third")] {
        for (call, result) in every_call(handle).await {
            let kind = result.err().map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::Closed), "{call} in {}", handle.namespace());
        }
    }
}

pub(super) async fn a_scan_ends_after_its_first_error(h: &Harness) {
    let space = h.space();
    space.put((0..9).map(|index| rating(&format!("u{index}"), "i", 1.0, at(1)))).await;
    let mut scan = space.scan_ratings(ScanOptions::default().with_batch_rows(2));
    assert_eq!(scan.next().await.unwrap().unwrap().len(), 2);
    space.close().await.unwrap();
    // What was read ahead may still come; an error, if there is one, comes once and last.
    let rest: Vec<_> = scan.collect().await;
    let errors = rest.iter().filter(|batch| batch.is_err()).count();
    assert!(errors == 0 || (errors == 1 && rest.last().is_some_and(Result::is_err)), "{rest:?}");
    let closed: Vec<_> = space.scan_ratings(ScanOptions::default()).collect().await;
    assert!(closed.len() == 1 && closed[0].is_err(), "{closed:?}");
}

fn passed() -> Deadline {
    Deadline::at(Instant::now())
}

pub(super) async fn a_write_whose_deadline_passed_fails_and_stores_nothing(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 1.0, at(1))]).await;
    space.register(&profile()).await;
    let release = space.begin(Item, &[list("a", &[("b", 0.5)])]).await;
    let prints = space.prints().await;
    let late = || PutOptions::default().with_deadline(passed());
    let errors = [
        space.put_ratings(vec![rating("u", "j", 1.0, at(1))], late()).await.unwrap_err(),
        space.put_features(&name("profile"), vec![aged("u", at(1), 1)], late()).await.unwrap_err(),
        space.put_neighbours(&release, vec![list("c", &[("b", 0.5)])], late()).await.unwrap_err(),
        space
            .erase(&user("u").into(), EraseOptions { deadline: Some(passed()), ..EraseOptions::default() })
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    }
    assert_eq!(space.prints().await, prints);
    assert_eq!(space.seal_release(&release, Vec::new()).await.unwrap().lists, 1);
}

pub(super) async fn a_read_whose_deadline_passed_fails(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 1.0, at(1))]).await;
    let late = || GetOptions::default().with_deadline(passed());
    let history = || HistoryOptions::default().with_deadline(passed());
    let results = [
        space.get_ratings(&[(user("u"), item("i"))], late()).await.map(drop),
        space.user_history(&user("u"), history()).await.map(drop),
        space.item_history(&item("i"), history()).await.map(drop),
        space.count_ratings(late()).await.map(drop),
        space.get_features(FeatureRequest::of_users([user("u")]).with_deadline(passed())).await.map(drop),
        space
            .get_neighbours(NeighbourRequest::new(Item, keys(&["a"])).with_deadline(passed()))
            .await
            .map(drop),
        space.get_popular(Item, 1, late()).await.map(drop),
        space.stats(late()).await.map(drop),
        space.fingerprint(late()).await.map(drop),
    ];
    for (index, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::DeadlineExceeded, "read {index}");
    }
}

pub(super) async fn a_deadline_far_ahead_changes_nothing(h: &Harness) {
    let space = h.space();
    let deadline = Deadline::after(Duration::from_secs(600));
    let put = PutOptions::default().with_deadline(deadline);
    space.put_ratings(vec![rating("u", "i", 1.0, at(1))], put).await.unwrap();
    space.register(&profile()).await;
    space.put_features(&name("profile"), vec![aged("u", at(1), 1)], put).await.unwrap();
    space.settle().await;
    let get = GetOptions::default().with_deadline(deadline);
    assert_eq!(space.count_ratings(get).await.unwrap().ratings, 1);
    assert_eq!(space.stats(get).await.unwrap().feature_rows, 1);
    let options = HistoryOptions::default().with_deadline(deadline);
    assert_eq!(space.user_history(&user("u"), options).await.unwrap().rows.len(), 1);
}

pub(super) async fn the_debug_text_of_a_store_holds_no_key(h: &Harness) {
    let space = h.space();
    space.put([rating("secret-user", "secret-item", 1.0, at(1))]).await;
    space.promoted(Item, &[list("secret-item", &[])], popular(&[("secret-item", 1)])).await;
    let text = format!("{:?}", h.storage());
    assert!(!text.contains("secret"), "{text}");
}
