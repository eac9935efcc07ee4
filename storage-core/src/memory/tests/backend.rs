use std::time::{Duration, Instant};

use super::*;
use crate::{
    ColumnType, Deadline, Entity, EraseOptions, ErrorKind, FeatureName, FeatureRow, FeatureStore,
    FeatureStoreExt, Fingerprints, GetOptions, GroupSchema, ItemId, NeighbourRequest, RatingStoreExt,
    RowStatus, Storage, UserId,
};

async fn fingerprint(store: &MemoryStorage) -> Fingerprints {
    store.fingerprint(GetOptions::default()).await.unwrap()
}

async fn erase(store: &MemoryStorage, entity: impl Into<Entity>) -> crate::EraseReport {
    store.erase(&entity.into(), EraseOptions::default()).await.unwrap()
}

#[tokio::test]
async fn an_erased_item_is_gone_from_everything_and_counted() {
    let store = store();
    let tags = FeatureName::new("tags").unwrap();
    let schema = GroupSchema::new(tags.clone(), EntityKind::Item)
        .with_column(FeatureName::new("tag").unwrap(), ColumnType::Text);
    store.register_group(schema).await.unwrap();
    store.put_feature_row(&tags, FeatureRow::deleted(key(1), at(5))).await.unwrap();
    put(&store, vec![rating(1, 1, 5.0, 5), rating(2, 1, 1.0, 5), rating(2, 9, 3.0, 5)]).await;
    release(&store, vec![list(1, &[(2, 0.5)]), list(2, &[(1, 0.5), (3, 0.4)]), list(3, &[(1, 0.5)])]).await;
    release(&store, vec![list(2, &[(1, 0.5)])]).await;
    store.hide_items(vec![1.into()]).await.unwrap();
    let before = fingerprint(&store).await;

    let dry = store.erase(&ItemId::from(1).into(), EraseOptions::dry_run()).await.unwrap();
    assert_eq!(fingerprint(&store).await, before);
    let report = erase(&store, ItemId::from(1)).await;
    assert_eq!(report, dry);
    assert_eq!((report.ratings, report.feature_rows), (2, 1));
    assert_eq!((report.neighbour_lists, report.neighbour_entries), (1, 3));
    assert_eq!(report.barred_until, at(1000 + DAY));

    let stats = store.stats(GetOptions::default()).await.unwrap();
    assert_eq!((stats.ratings.ratings, stats.users, stats.items), (1, 1, 1));
    assert_eq!((stats.hidden_items, stats.tombstones, stats.releases), (0, 1, 2));
    assert_eq!(store.user_features(&1.into()).await.unwrap().status, [RowStatus::Missing]);
    let lists: Vec<_> = store
        .releases(EntityKind::Item)
        .await
        .unwrap()
        .iter()
        .map(|info| (info.lists, info.neighbours))
        .collect();
    assert_eq!(lists, [(1, 0), (2, 1)]);
    assert_eq!(store.get_popular(EntityKind::Item, 9, GetOptions::default()).await.unwrap(), [popular(2, 8)]);
}

#[tokio::test]
async fn a_replay_does_not_bring_an_erased_user_back_and_later_events_do() {
    let (store, clock) = store_at(1000);
    let tags = FeatureName::new("tags").unwrap();
    let schema = GroupSchema::new(tags.clone(), EntityKind::User)
        .with_column(FeatureName::new("tag").unwrap(), ColumnType::Text);
    store.register_group(schema).await.unwrap();
    let events = vec![rating(1, 1, 5.0, 5), rating(2, 1, 1.0, 5)];
    put(&store, events.clone()).await;
    erase(&store, UserId::from(1)).await;
    let erased = fingerprint(&store).await;
    assert_eq!(put(&store, events).await.outcomes, [Outcome::Erased, Outcome::Duplicate]);
    assert_eq!(put_one(&store, rating(1, 1, 5.0, 1000 + DAY)).await, Outcome::Erased);
    let feature = |seconds| FeatureRow::new(key(1), at(seconds));
    assert_eq!(store.put_feature_row(&tags, feature(1000 + DAY)).await.unwrap(), Outcome::Erased);
    assert_eq!(fingerprint(&store).await, erased);
    // An item of the same id is another entity.
    assert_eq!(put_one(&store, rating(3, 1, 5.0, 5)).await, Outcome::Applied);
    clock.set(at(1001));
    assert_eq!(put_one(&store, rating(1, 1, 5.0, 1001 + DAY)).await, Outcome::Applied);
    assert_eq!(store.put_feature_row(&tags, feature(1001 + DAY)).await.unwrap(), Outcome::Applied);
}

#[tokio::test]
async fn a_second_erasure_never_shortens_the_bar() {
    let (store, clock) = store_at(1000);
    assert_eq!(erase(&store, UserId::from(1)).await.barred_until, at(1000 + DAY));
    clock.set(at(500));
    let before = fingerprint(&store).await;
    assert_eq!(erase(&store, UserId::from(1)).await.barred_until, at(1000 + DAY));
    assert_eq!(fingerprint(&store).await, before);
}

#[tokio::test]
async fn erasing_is_as_if_the_ratings_had_never_been() {
    let (with, without) = (store(), store());
    put(&without, vec![rating(2, 1, 1.0, 5)]).await;
    put(&with, vec![rating(1, 1, 5.0, 2), rating(2, 1, 1.0, 5), rating(1, 7, 5.0, 900)]).await;
    erase(&with, UserId::from(1)).await;
    erase(&without, UserId::from(1)).await;
    assert_eq!(fingerprint(&with).await, fingerprint(&without).await);
}

#[tokio::test]
async fn any_single_change_changes_the_fingerprint_of_its_store_only() {
    let store = store();
    let empty = fingerprint(&store).await;
    assert_eq!(empty, Fingerprints::default());
    put_one(&store, rating(1, 1, 5.0, 5)).await;
    let rated = fingerprint(&store).await;
    assert!(rated.ratings != empty.ratings && rated.features != empty.features);
    assert_eq!(put_one(&store, rating(1, 1, 1.0, 4)).await, Outcome::Stale);
    let earlier = fingerprint(&store).await;
    assert!(earlier.ratings != rated.ratings && earlier.features != rated.features);
    assert_eq!(earlier.similarities, empty.similarities);
    store.hide_items(vec![4.into()]).await.unwrap();
    let hidden = fingerprint(&store).await;
    assert_ne!(hidden.similarities, earlier.similarities);
    release(&store, vec![list(1, &[(2, 0.5)])]).await;
    let released = fingerprint(&store).await;
    assert_ne!(released.similarities, hidden.similarities);
    release(&store, vec![list(1, &[(2, 0.5)])]).await;
    assert_eq!(fingerprint(&store).await, released, "release ids are not content");
    assert_eq!((released.ratings, released.features), (earlier.ratings, earlier.features));
}

#[tokio::test]
async fn namespaces_and_clones_share_the_store_and_namespaces_see_only_their_own() {
    let store = store();
    let other = store.with_namespace(Namespace::new("other").unwrap());
    put_one(&store, rating(1, 1, 5.0, 5)).await;
    assert!(other.get_rating(&1.into(), &1.into()).await.unwrap().is_none());
    assert!(store.clone().get_rating(&1.into(), &1.into()).await.unwrap().is_some());
    assert!(
        other.with_namespace(Namespace::default()).get_rating(&1.into(), &1.into()).await.unwrap().is_some()
    );
    erase(&store, UserId::from(1)).await;
    assert_eq!(other.put_rating(rating(1, 1, 5.0, 5)).await.unwrap(), Outcome::Applied);
}

#[tokio::test]
async fn closing_closes_every_handle() {
    let store = store();
    let other = store.with_namespace(Namespace::new("other").unwrap());
    assert!(other.health().await.unwrap().ok);
    store.close().await.unwrap();
    other.close().await.unwrap();
    assert_eq!(other.health().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
    let error = store.put_ratings(vec![], PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(store.hidden_items().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_deadline_that_has_passed_stores_nothing() {
    let store = store();
    let passed = Deadline::at(Instant::now());
    let put_options = PutOptions::default().with_deadline(passed);
    let error = store.put_ratings(vec![rating(1, 1, 5.0, 5)], put_options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    let request = NeighbourRequest::of_items([]).with_deadline(passed);
    assert_eq!(store.get_neighbours(request).await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(store.count_ratings(GetOptions::default()).await.unwrap().ratings, 0);
    let ample = PutOptions::default().with_deadline(Deadline::after(Duration::from_secs(60)));
    assert!(store.put_ratings(vec![rating(1, 1, 5.0, 5)], ample).await.is_ok());
}
