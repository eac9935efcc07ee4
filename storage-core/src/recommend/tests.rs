//! Recommendations on the memory backend.

use std::sync::Arc;

use super::*;
use crate::{
    EntityKey, ManualClock, MemoryStorage, Namespace, Neighbour, NeighbourList, Popular, PutOptions, Rating,
    ReleaseSpec, SimilarityOptions, Storage, StoreContext, Timestamp,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn rating(user: u64, item: u64, value: f64, seconds: i64) -> Rating {
    Rating::new(user.into(), item.into(), value, at(seconds)).unwrap()
}

async fn put(store: &MemoryStorage, ratings: Vec<Rating>) {
    store.put_ratings(ratings, PutOptions::default()).await.unwrap();
}

fn key(id: u64) -> EntityKey {
    ItemId::from(id).into()
}

/// A store whose current release has these lists of (item, similarity) and popular items. User 100 has rated
/// items 1 to 99 with 4, so that each has a `bayesian_mean`.
async fn store(lists: &[(u64, &[(u64, f64)])], popular: &[u64]) -> MemoryStorage {
    let clock = Arc::new(ManualClock::new(at(10_000)));
    let store = MemoryStorage::new(Namespace::default(), StoreContext { clock, ..StoreContext::default() });
    put(&store, (1..100).map(|item| rating(100, item, 4.0, 1)).collect()).await;
    let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
    let release = store.begin_release(spec).await.unwrap();
    let neighbour = |&(id, similarity): &(u64, f64)| Neighbour { id: key(id), similarity, common: 1 };
    let list = |&(id, neighbours): &(u64, &[(u64, f64)])| NeighbourList {
        id: key(id),
        neighbours: neighbours.iter().map(neighbour).collect(),
    };
    let lists = lists.iter().map(list).collect();
    store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    let popular = popular.iter().map(|&id| Popular { id: key(id), ratings: 1 }).collect();
    store.seal_release(&release, popular).await.unwrap();
    store.promote_release(&release).await.unwrap();
    store
}

async fn recommended(store: &MemoryStorage, user: u64, options: RecommendOptions) -> Vec<Recommendation> {
    recommend(store, &user.into(), options).await.unwrap()
}

fn ids(recommendations: &[Recommendation]) -> Vec<&str> {
    recommendations.iter().map(|recommendation| recommendation.id.as_str()).collect()
}

const BAYESIAN_MEAN_OF_ONE_FOUR: f64 = (10.0 * 3.0 + 4.0) / 11.0;

#[tokio::test]
async fn scores_are_the_damped_deviations_of_similar_items() {
    let store = store(&[(1, &[(3, 0.5), (4, 0.8)]), (2, &[(3, 0.25)])], &[]).await;
    put(&store, vec![rating(7, 1, 5.0, 10), rating(7, 2, 2.0, 11)]).await;
    let found = recommended(&store, 7, RecommendOptions::default()).await;
    assert_eq!(ids(&found), ["4", "3"]);
    assert_eq!(found[0].score, 3.5 + 0.8 * 1.5 / 1.8);
    assert_eq!(found[1].score, 3.5 + (0.5 * 1.5 - 0.25 * 1.5) / 1.75);
    let undamped = recommended(&store, 7, RecommendOptions::default().with_damping(0.0)).await;
    assert_eq!(undamped[0].score, 5.0);
    assert!(found.iter().all(|recommendation| recommendation.origin == RecommendationOrigin::Personal));
}

#[tokio::test]
async fn equal_scores_are_ordered_by_similarity_and_then_by_id() {
    let store = store(&[(1, &[(30, 0.5), (4, 0.5), (5, 0.75)])], &[]).await;
    put(&store, vec![rating(7, 1, 3.0, 10)]).await;
    let found = recommended(&store, 7, RecommendOptions::default()).await;
    assert_eq!(ids(&found), ["5", "30", "4"]);
    assert!(found.iter().all(|recommendation| recommendation.score == 3.0));
}

#[tokio::test]
async fn seen_and_hidden_items_are_left_out_and_withdrawn_ones_come_back() {
    let store = store(&[(1, &[(2, 0.9), (3, 0.8), (4, 0.7)])], &[2, 3, 4, 5]).await;
    put(&store, vec![rating(7, 1, 5.0, 10), rating(7, 2, 4.0, 11)]).await;
    store.hide_items(vec![3.into()]).await.unwrap();
    assert_eq!(ids(&recommended(&store, 7, RecommendOptions::default()).await), ["4", "5"]);
    put(&store, vec![Rating::withdrawal(7.into(), 2.into(), at(12))]).await;
    assert_eq!(ids(&recommended(&store, 7, RecommendOptions::default()).await), ["2", "4", "5"]);
}

#[tokio::test]
async fn items_rated_before_the_history_used_are_seen_too() {
    let many: Vec<(u64, f64)> = (2..99).map(|item| (item, 1.0 / item as f64)).collect();
    let store = store(&[(1, &many)], &[2, 3, 98, 99, 1]).await;
    put(&store, (2..98).map(|item| rating(7, item, 5.0, 10)).collect()).await;
    put(&store, vec![rating(7, 1, 5.0, 11)]).await;
    let options = RecommendOptions::default().with_history(1).with_k(2);
    let found = recommended(&store, 7, options).await;
    assert_eq!(ids(&found), ["98", "99"]);
    let origins: Vec<_> = found.iter().map(|recommendation| recommendation.origin).collect();
    assert_eq!(origins, [RecommendationOrigin::Personal, RecommendationOrigin::Popular]);
}

#[tokio::test]
async fn only_the_newest_ratings_are_used() {
    let store = store(&[(1, &[(3, 0.5)]), (2, &[(4, 0.5)])], &[]).await;
    put(&store, vec![rating(7, 1, 5.0, 10), rating(7, 2, 5.0, 11)]).await;
    let found = recommended(&store, 7, RecommendOptions::default().with_history(1)).await;
    assert_eq!(ids(&found), ["4"]);
}

#[tokio::test]
async fn a_user_without_ratings_gets_popular_items_with_their_expected_rating() {
    let store = store(&[], &[9, 200, 8, 7]).await;
    store.hide_items(vec![9.into()]).await.unwrap();
    let found = recommended(&store, 1, RecommendOptions::default().with_k(2)).await;
    // Item 200 was popular in the release and has no rating any more.
    assert_eq!(ids(&found), ["8", "7"]);
    for recommendation in found {
        assert_eq!(recommendation.origin, RecommendationOrigin::Popular);
        assert_eq!(recommendation.score, BAYESIAN_MEAN_OF_ONE_FOUR);
    }
}

#[tokio::test]
async fn popular_items_fill_up_behind_personal_ones_without_repeating_them() {
    let store = store(&[(1, &[(2, 0.5)])], &[1, 2, 3, 4]).await;
    put(&store, vec![rating(7, 1, 1.0, 10)]).await;
    let found = recommended(&store, 7, RecommendOptions::default().with_k(3)).await;
    assert_eq!(ids(&found), ["2", "3", "4"]);
    assert_eq!((found[0].score, found[1].score), (1.0, BAYESIAN_MEAN_OF_ONE_FOUR));
}

#[tokio::test]
async fn popular_items_are_looked_for_until_there_are_enough() {
    let popular: Vec<u64> = (1..100).collect();
    let store = store(&[], &popular).await;
    put(&store, (1..98).map(|item| rating(7, item, 3.0, 10)).collect()).await;
    let options = RecommendOptions::default().with_history(5).with_k(2);
    assert_eq!(ids(&recommended(&store, 7, options).await), ["98", "99"]);
}

#[tokio::test]
async fn without_a_release_nothing_is_recommended() {
    let store = MemoryStorage::new(Namespace::default(), StoreContext::default());
    put(&store, vec![rating(7, 1, 5.0, 10)]).await;
    assert_eq!(recommended(&store, 7, RecommendOptions::default()).await, []);
}

#[tokio::test]
async fn options_out_of_range_are_named() {
    let store = MemoryStorage::new(Namespace::default(), StoreContext::default());
    for (options, field) in [
        (RecommendOptions::default().with_k(0), "k"),
        (RecommendOptions::default().with_history(10_001), "history"),
        (RecommendOptions::default().with_damping(f64::NAN), "damping"),
    ] {
        assert_eq!(recommend(&store, &7.into(), options).await.unwrap_err().field(), Some(field));
    }
}

#[tokio::test]
async fn it_runs_as_a_task_on_any_storage() {
    let storage: Arc<dyn Storage> = Arc::new(store(&[], &[5]).await);
    let task = async move { recommend(storage.as_ref(), &7.into(), RecommendOptions::default()).await };
    assert_eq!(ids(&tokio::spawn(task).await.unwrap().unwrap()), ["5"]);
}
