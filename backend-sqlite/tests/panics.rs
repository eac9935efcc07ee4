//! A clock that panics, at the n-th time it is asked, in every call: the caller's task ends, the store goes on.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests, in which a failure is a panic")]

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use recstore_core::{
    Clock, ColumnType, Entity, EntityKey, EntityKind, EraseOptions, FeatureName, FeatureRequest, FeatureRow,
    FeatureValue, Fingerprints, GetOptions, GroupSchema, ItemId, Namespace, Neighbour, NeighbourList,
    NeighbourRequest, PruneOptions, PutOptions, Rating, RatingStoreExt, ReleaseSpec, Result,
    SimilarityOptions, Storage, StoreContext, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::memory_folder;

const NOW: i64 = 1_704_067_200;

/// Panics when it has been asked so many times more; never while that is negative.
#[derive(Debug)]
struct Fuse(AtomicI64);

impl Clock for Fuse {
    fn now(&self) -> Timestamp {
        assert_ne!(self.0.fetch_sub(1, Ordering::SeqCst), 0, "seeded: the clock");
        Timestamp::from_seconds(NOW).expect("a time")
    }
}

fn group() -> FeatureName {
    FeatureName::new("profile").expect("a name")
}

fn rating(user: u64, item: u64) -> Rating {
    Rating::new(user.into(), item.into(), 3.0, Timestamp::from_seconds(NOW - 9).expect("a time"))
        .expect("a rating")
}

async fn prepare(store: &dyn Storage) -> Result<()> {
    let options = PutOptions::default();
    store.put_ratings((1..9).map(|item| rating(1, item)).collect(), options).await?;
    let column = FeatureName::new("age")?;
    store
        .register_group(GroupSchema::new(group(), EntityKind::User).with_column(column, ColumnType::Integer))
        .await?;
    release(store).await
}

/// Begins, fills, seals and promotes a release.
async fn release(store: &dyn Storage) -> Result<()> {
    let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
    let id = store.begin_release(spec).await?;
    let neighbours = vec![Neighbour { id: EntityKey::from(ItemId::from(2)), similarity: 0.5, common: 2 }];
    let lists = vec![NeighbourList { id: ItemId::from(1).into(), neighbours }];
    store.put_neighbours(&id, lists, PutOptions::default()).await?;
    store.seal_release(&id, Vec::new()).await?;
    store.promote_release(&id).await.map(drop)
}

type Call = for<'a> fn(&'a dyn Storage) -> BoxFuture<'a, Result<()>>;

/// Every call that may ask the clock, and what else it does.
const CALLS: [(&str, Call); 9] = [
    ("put_ratings", |store| {
        Box::pin(async {
            store.put_ratings(vec![rating(1, 50), rating(2, 50)], PutOptions::default()).await.map(drop)
        })
    }),
    ("put_features", |store| {
        Box::pin(async {
            let time = Timestamp::from_seconds(NOW - 1)?;
            let row = FeatureRow::new(UserId::from(1).into(), time);
            let row = row.with(FeatureName::new("age")?, FeatureValue::Integer(30));
            store.put_features(&group(), vec![row], PutOptions::default()).await.map(drop)
        })
    }),
    ("release", |store| Box::pin(release(store))),
    ("prune", |store| {
        Box::pin(async { store.prune_releases(EntityKind::Item, PruneOptions::default()).await.map(drop) })
    }),
    ("erase", |store| {
        Box::pin(async {
            store.erase(&Entity::from(UserId::from(1)), EraseOptions::default()).await.map(drop)
        })
    }),
    ("rebuild", |store| Box::pin(async { store.rebuild_features().await.map(drop) })),
    ("get_ratings", |store| {
        Box::pin(async {
            store.get_ratings(&[(UserId::from(1), ItemId::from(1))], GetOptions::default()).await.map(drop)
        })
    }),
    ("get_features", |store| {
        Box::pin(async { store.get_features(FeatureRequest::of_users([UserId::from(1)])).await.map(drop) })
    }),
    ("get_neighbours", |store| {
        Box::pin(async {
            store.get_neighbours(NeighbourRequest::of_items([ItemId::from(1)])).await.map(drop)
        })
    }),
];

async fn prints(store: &dyn Storage) -> Fingerprints {
    store.fingerprint(GetOptions::default()).await.expect("fingerprints")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_panics_in_any_call_leaves_it_done_or_not_done_and_the_store_goes_on() {
    let folder = memory_folder();
    let fuse = Arc::new(Fuse(AtomicI64::new(-1)));
    let context = StoreContext { clock: Arc::<Fuse>::clone(&fuse), ..StoreContext::default() };
    let config = SqliteConfig { readers: 1, ..SqliteConfig::new(folder.path().join("clock.db")) };
    let store = SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep).await;
    let store = store.expect("the store opens");
    let mut panics = 0;
    for (name, call) in CALLS {
        let space = |suffix: &str| {
            store.with_namespace(
                Namespace::new(format!("{}-{suffix}", name.replace('_', "-"))).expect("a name"),
            )
        };
        let expected = space("expected");
        prepare(&*expected).await.expect("prepared");
        let before = prints(&*expected).await;
        call(&*expected).await.expect("the call works");
        let after = prints(&*expected).await;
        for nth in 0.. {
            let store = space(&nth.to_string());
            prepare(&*store).await.expect("prepared");
            fuse.0.store(nth, Ordering::SeqCst);
            let ended = AssertUnwindSafe(call(&*store)).catch_unwind().await;
            fuse.0.store(-1, Ordering::SeqCst);
            let seen = prints(&*store).await;
            assert!(seen == before || seen == after, "{name} is half done after a panic at {nth}");
            call(&*store).await.expect("the same call again");
            assert_eq!(prints(&*store).await, after, "{name} again");
            assert_eq!(store.rebuild_features().await.expect("a rebuild").changed, 0, "{name}");
            store.put_rating(rating(7, 7)).await.expect("the store goes on");
            match ended {
                Err(_) => panics += 1,
                Ok(result) => {
                    result.expect("a call that did not panic works");
                    break;
                }
            }
        }
    }
    assert!(panics >= 6, "{panics} calls panicked");
    store.close().await.expect("closed");
}
