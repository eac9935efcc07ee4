use std::time::Duration;

use super::*;
use crate::{
    EraseOptions, ErrorKind, GetOptions, ItemId, Lookup, NeighbourRequest, PruneOptions, ReleaseState,
    SimilarityStoreExt, Storage,
};

async fn neighbours(store: &MemoryStorage, item: u64) -> Option<Vec<u64>> {
    let list = store.neighbours_of(&item.into(), usize::MAX).await.unwrap()?;
    Some(list.iter().map(|neighbour| neighbour.id.as_str().parse().unwrap()).collect())
}

async fn current(store: &MemoryStorage) -> Option<ReleaseId> {
    store.get_neighbours(NeighbourRequest::of_items([])).await.unwrap().release
}

#[tokio::test]
async fn lists_are_kept_the_most_similar_first_ties_by_id() {
    let store = store();
    release(&store, vec![list(1, &[(9, 0.5), (3, 0.25), (10, 0.5), (4, 0.75)]), list(2, &[])]).await;
    assert_eq!(neighbours(&store, 1).await, Some(vec![4, 10, 9, 3]));
    assert_eq!(neighbours(&store, 2).await, Some(vec![]));
    assert_eq!(neighbours(&store, 3).await, None);
}

#[tokio::test]
async fn a_wrong_list_refuses_the_whole_put_and_is_named() {
    let store = store();
    let id = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    let wrong = [
        (list(1, &[(2, 0.5), (2, 0.4)]), "lists[1].neighbours[1].id"),
        (list(1, &[(1, 0.5)]), "lists[1].neighbours[0].id"),
        (list(1, &[(2, 0.0)]), "lists[1].neighbours[0].similarity"),
        (list(1, &[(2, f64::NAN)]), "lists[1].neighbours[0].similarity"),
    ];
    for (wrong, field) in wrong {
        let lists = vec![list(5, &[(6, 0.5)]), wrong];
        let error = store.put_neighbours(&id, lists, PutOptions::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)));
    }
    assert_eq!(store.seal_release(&id, vec![]).await.unwrap().lists, 0);
}

#[tokio::test]
async fn a_list_given_again_replaces_the_first_until_the_release_is_sealed() {
    let store = store();
    let id = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    let options = PutOptions::default();
    store.put_neighbours(&id, vec![list(1, &[(2, 0.5), (3, 0.5)])], options).await.unwrap();
    store.put_neighbours(&id, vec![list(1, &[(4, 0.5)])], options).await.unwrap();
    let info = store.seal_release(&id, vec![popular(1, 1)]).await.unwrap();
    assert_eq!((info.lists, info.neighbours, info.state), (1, 1, ReleaseState::Sealed));
    assert_eq!(store.seal_release(&id, vec![]).await.unwrap(), info);
    let error = store.put_neighbours(&id, vec![], options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    store.promote_release(&id).await.unwrap();
    assert_eq!(store.popular_items(5).await.unwrap(), [popular(1, 1)]);
}

#[tokio::test]
async fn a_release_that_is_being_built_cannot_be_read_or_promoted() {
    let store = store();
    let id = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    let request = NeighbourRequest::of_items([1.into()]);
    let answer = store.get_neighbours(request.clone()).await.unwrap();
    assert!(answer.release.is_none() && matches!(answer.lists[..], [Lookup::Missing]));
    let named = store.get_neighbours(request.clone().with_release(id.clone())).await.unwrap_err();
    assert_eq!(named.kind(), ErrorKind::NotFound);
    assert_eq!(store.promote_release(&id).await.unwrap_err().kind(), ErrorKind::Conflict);
    store.seal_release(&id, vec![]).await.unwrap();
    let answer = store.get_neighbours(request.with_release(id.clone())).await.unwrap();
    assert_eq!(answer.release, Some(id.clone()));
    let of_users = NeighbourRequest::new(EntityKind::User, vec![]).with_release(id);
    assert_eq!(store.get_neighbours(of_users).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_rollback_makes_the_one_before_current_and_stops_at_the_first() {
    let store = store();
    let first = release(&store, vec![list(1, &[(2, 0.5)])]).await;
    let second = release(&store, vec![list(1, &[(3, 0.5)])]).await;
    let third = release(&store, vec![]).await;
    assert!(first < second && second < third);
    assert_eq!(store.rollback_release(EntityKind::Item).await.unwrap().id, second);
    assert_eq!(neighbours(&store, 1).await, Some(vec![3]));
    let infos = store.releases(EntityKind::Item).await.unwrap();
    let seen: Vec<_> = infos.into_iter().map(|info| (info.id, info.promotion)).collect();
    assert_eq!(seen, [(third.clone(), None), (second, Some(2)), (first.clone(), Some(1))]);
    store.rollback_release(EntityKind::Item).await.unwrap();
    let error = store.rollback_release(EntityKind::Item).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(current(&store).await, Some(first));
    assert_eq!(store.promote_release(&third).await.unwrap().promotion, Some(2));
    assert_eq!(store.promote_release(&third).await.unwrap().promotion, Some(2));
}

#[tokio::test]
async fn prune_keeps_the_current_one_and_the_newest_others() {
    let (store, clock) = store_at(1000);
    let mut ids = Vec::new();
    for seconds in 0..4 {
        clock.set(at(1000 + seconds));
        ids.push(release(&store, vec![]).await);
    }
    store.promote_release(&ids[0]).await.unwrap();
    let abandoned = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    clock.set(at(1004));
    let building = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    let of_users = store.begin_release(spec(EntityKind::User)).await.unwrap();
    clock.set(at(1014));
    let options = PruneOptions { keep: 1, abandoned_after: Duration::from_secs(10) };
    let removed = store.prune_releases(EntityKind::Item, options).await.unwrap();
    assert_eq!(removed, [abandoned, ids[2].clone(), ids[1].clone()]);
    let left: Vec<_> =
        store.releases(EntityKind::Item).await.unwrap().into_iter().map(|info| info.id).collect();
    assert_eq!(left, [building, ids[3].clone(), ids[0].clone()]);
    assert_eq!(store.releases(EntityKind::User).await.unwrap()[0].id, of_users);
    assert_eq!(current(&store).await, Some(ids[0].clone()));
}

#[tokio::test]
async fn hidden_items_are_left_out_before_the_limit_counts() {
    let store = store();
    release(&store, vec![list(1, &[(2, 0.9), (3, 0.8), (4, 0.7)])]).await;
    store.hide_items(vec![2.into(), 1.into(), 2.into()]).await.unwrap();
    let two = store.neighbours_of(&1.into(), 2).await.unwrap().unwrap();
    assert_eq!(two.iter().map(|neighbour| neighbour.id.as_str()).collect::<Vec<_>>(), ["3", "4"]);
    assert!(store.popular_items(5).await.unwrap().is_empty());
    assert_eq!(store.hidden_items().await.unwrap(), [ItemId::from(1), ItemId::from(2)]);
    store.unhide_items(vec![2.into(), 77.into()]).await.unwrap();
    assert_eq!(neighbours(&store, 1).await, Some(vec![2, 3, 4]));
}

#[tokio::test]
async fn users_with_a_hidden_items_id_are_shown() {
    let store = store();
    let id = store.begin_release(spec(EntityKind::User)).await.unwrap();
    store.put_neighbours(&id, vec![list(1, &[(2, 0.9)])], PutOptions::default()).await.unwrap();
    store.seal_release(&id, vec![popular(2, 1)]).await.unwrap();
    store.promote_release(&id).await.unwrap();
    store.hide_items(vec![2.into()]).await.unwrap();
    let answer = store.get_neighbours(NeighbourRequest::new(EntityKind::User, vec![key(1)])).await.unwrap();
    assert_eq!(answer.lists[0].found().map(Vec::len), Some(1));
    let users = store.get_popular(EntityKind::User, 9, GetOptions::default()).await.unwrap();
    assert_eq!(users, [popular(2, 1)]);
}

#[tokio::test]
async fn what_was_erased_since_a_release_was_begun_does_not_get_into_it() {
    let (store, clock) = store_at(1000);
    let id = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    store.erase(&ItemId::from(2).into(), EraseOptions::default()).await.unwrap();
    let lists = || vec![list(1, &[(2, 0.9), (3, 0.8)]), list(2, &[(1, 0.9)])];
    store.put_neighbours(&id, lists(), PutOptions::default()).await.unwrap();
    store.seal_release(&id, vec![popular(2, 9), popular(1, 8)]).await.unwrap();
    store.promote_release(&id).await.unwrap();
    assert_eq!((neighbours(&store, 1).await, neighbours(&store, 2).await), (Some(vec![3]), None));
    assert_eq!(store.popular_items(9).await.unwrap(), [popular(1, 8)]);
    // A release begun later is built from what came after the erasure.
    clock.set(at(1001));
    release(&store, lists()).await;
    assert_eq!(neighbours(&store, 1).await, Some(vec![2, 3]));
}
