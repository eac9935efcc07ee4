//! The subtle points, told one by one; `recstore-testkit` holds the whole contract.

mod backend;
mod features;
mod ratings;
mod similarities;

use std::sync::Arc;

use crate::{
    EntityKind, EventId, ManualClock, Measure, MemoryStorage, Namespace, Neighbour, NeighbourList, Outcome,
    Popular, PutOptions, PutReceipt, Rating, RatingStore, ReleaseId, ReleaseSpec, SimilarityOptions,
    SimilarityStore, StoreContext, Timestamp,
};

const DAY: i64 = 24 * 60 * 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

/// An empty store and its clock, which stands at `seconds`.
fn store_at(seconds: i64) -> (MemoryStorage, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(at(seconds)));
    let context = StoreContext { clock: clock.clone(), ..StoreContext::default() };
    (MemoryStorage::new(Namespace::default(), context), clock)
}

fn store() -> MemoryStorage {
    store_at(1000).0
}

fn rating(user: u64, item: u64, value: f64, seconds: i64) -> Rating {
    Rating::new(user.into(), item.into(), value, at(seconds)).unwrap()
}

fn with_id(rating: Rating, id: u128) -> Rating {
    rating.with_event_id(EventId::from_u128(id))
}

fn withdrawal(user: u64, item: u64, seconds: i64) -> Rating {
    Rating::withdrawal(user.into(), item.into(), at(seconds))
}

async fn put(store: &MemoryStorage, events: Vec<Rating>) -> PutReceipt {
    store.put_ratings(events, PutOptions::default()).await.unwrap()
}

async fn put_one(store: &MemoryStorage, event: Rating) -> Outcome {
    put(store, vec![event]).await.outcomes[0]
}

fn spec(kind: EntityKind) -> ReleaseSpec {
    ReleaseSpec { kind, options: SimilarityOptions { measure: Measure::Cosine, ..Default::default() } }
}

/// A list of (id, similarity), each with one common rater.
fn list(id: u64, neighbours: &[(u64, f64)]) -> NeighbourList {
    let neighbour = |&(id, similarity): &(u64, f64)| Neighbour { id: key(id), similarity, common: 1 };
    NeighbourList { id: key(id), neighbours: neighbours.iter().map(neighbour).collect() }
}

fn key(id: u64) -> crate::EntityKey {
    crate::ItemId::from(id).into()
}

fn popular(id: u64, ratings: u64) -> Popular {
    Popular { id: key(id), ratings }
}

/// A promoted release of items with these lists.
async fn release(store: &MemoryStorage, lists: Vec<NeighbourList>) -> ReleaseId {
    let id = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    store.put_neighbours(&id, lists, PutOptions::default()).await.unwrap();
    store.seal_release(&id, vec![popular(1, 9), popular(2, 8)]).await.unwrap();
    store.promote_release(&id).await.unwrap();
    id
}
