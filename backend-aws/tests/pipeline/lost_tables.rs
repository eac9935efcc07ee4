//! Tables that are lost while the lake has everything: no reader takes what they had for what never was.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use recstore_aws::metered;
use recstore_aws::pipeline::RunOptions;
use recstore_core::{
    ColumnType, Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, FeatureName, FeatureRequest,
    FeatureRow, FeatureStore, FeatureValue, GetOptions, GroupSchema, HistoryOptions, ItemId, Lookup,
    Namespace, NeighbourRequest, PutOptions, RatingStore, Result, RowStatus, Storage, Timestamp, UserId,
};

use crate::fake::{Random, run};
use crate::stage::{Gate, Stage, When};
use crate::support::{NOON, World, event};

const OTHER: &str = "other";

fn group() -> FeatureName {
    FeatureName::new("profile").unwrap()
}

fn user(id: u64) -> UserId {
    id.into()
}

/// Two generations with a custom row, and one that no run has taken in.
async fn fill(store: &dyn Storage) {
    let age = FeatureName::new("age").unwrap();
    let schema = GroupSchema::new(group(), EntityKind::User).with_column(age.clone(), ColumnType::Integer);
    store.register_group(schema).await.unwrap();
    let now = Timestamp::from_millis(NOON).unwrap();
    let put = async |id| {
        let row = FeatureRow::new(EntityKey::from(user(id)), now).with(age.clone(), FeatureValue::Integer(7));
        store.put_features(&group(), vec![row], PutOptions::default()).await.unwrap();
    };
    put(0).await;
    let mut random = Random::new(1);
    for _ in 0..2 {
        let batch: Vec<_> = (0..9).map(|_| event(&mut random, 3, 3)).collect();
        store.put_ratings(batch, PutOptions::default()).await.unwrap();
        store.refresh().await.unwrap();
    }
    put(1).await;
}

/// Every read of the tables.
const READS: [&str; 5] = ["ratings", "a history", "built-in features", "custom features", "neighbours"];

/// Whether a read finds what `fill` has stored.
async fn read(store: &dyn Storage, what: &str) -> Result<bool> {
    let are_found = |statuses: &[RowStatus]| statuses.iter().all(RowStatus::is_found);
    match what {
        "ratings" => {
            let pairs: Vec<(UserId, ItemId)> =
                (0..3_u64).flat_map(|user| (0..3_u64).map(move |item| (user.into(), item.into()))).collect();
            let found = store.get_ratings(&pairs, GetOptions::default()).await?;
            Ok(found.iter().any(|found| matches!(found, Lookup::Found(_))))
        }
        "a history" => Ok(!store.user_history(&user(0), HistoryOptions::default()).await?.rows.is_empty()),
        "built-in features" => {
            let users = FeatureRequest::of_users((0..3_u64).map(UserId::from));
            Ok(are_found(&store.get_features(users).await?.status))
        }
        "custom features" => {
            let profiles = FeatureRequest::new(group(), vec![user(0).into(), user(1).into()]);
            Ok(are_found(&store.get_features(profiles).await?.status))
        }
        _ => {
            let neighbours = NeighbourRequest::new(EntityKind::Item, vec![ItemId::from(0_u64).into()]);
            store.get_neighbours(neighbours).await.map(|_| true)
        }
    }
}

/// Nothing is missing, and everything says what to do.
async fn all_refuse(store: &dyn Storage, who: &str) {
    for what in READS {
        let error = read(store, what).await.map(|found| panic!("{who}: {what}, found: {found}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{who}: {what}: {error:?}");
        assert!(error.to_string().contains("recstore pipeline rebuild-online"), "{who}: {what}: {error}");
    }
}

async fn all_but_neighbours_find(store: &dyn Storage, who: &str) {
    for what in READS.into_iter().filter(|what| *what != "neighbours") {
        assert!(read(store, what).await.unwrap(), "{who}: {what}");
    }
}

#[test]
fn readers_of_any_namespace_refuse_lost_tables_until_they_are_filled() {
    run(async {
        let world = World::new(Arc::new(InMemory::new()));
        let other = Namespace::new(OTHER).unwrap();
        let old = world.process(1);
        fill(&old).await;
        fill(&*old.with_namespace(other.clone())).await;
        all_but_neighbours_find(&old, "before").await;
        world.tables.lose_everything();
        let new = world.process(2);
        all_refuse(&new, "a new process").await;
        all_refuse(&*new.with_namespace(other.clone()), "another namespace").await;
        // One that ran before holds on to what it was told, for as long as it may.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        all_refuse(&old, "a process that was there before").await;

        assert_eq!(new.pipeline().rebuild_online().await.unwrap().custom_items, 2);
        assert_eq!(new.pipeline().rebuild_online().await.unwrap().custom_items, 0);
        all_but_neighbours_find(&new, "a new process, filled").await;
        all_but_neighbours_find(&old, "the old process, filled").await;
        all_refuse(&*new.with_namespace(other), "another namespace, not filled").await;
    });
}

#[test]
fn a_read_that_meets_the_filling_at_any_request_finds_everything_or_is_refused() {
    run(async {
        let stage = Stage::new(1);
        fill(&stage.process(1)).await;
        let (mut found, mut refused) = (0, 0);
        for what in READS.into_iter().filter(|what| *what != "neighbours") {
            for (number, when) in (1_u64..).flat_map(|number| [(number, When::Before), (number, When::After)])
            {
                stage.tables.lose_everything();
                let gate = Gate::stopping(number, when);
                let reader = stage.gated(2, &gate, stage.context());
                let mut reading = Box::pin(read(&reader, what));
                let ended = tokio::select! {
                    biased;
                    () = gate.closed() => false,
                    _ = &mut reading => true,
                };
                if ended {
                    break;
                }
                stage.process(3).pipeline().rebuild_online().await.unwrap();
                gate.release();
                match reading.await {
                    Ok(is_found) => {
                        assert!(is_found, "{what}, met {when:?} request {number}");
                        found += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {error:?}");
                        refused += 1;
                    }
                }
            }
        }
        println!("{found} found, {refused} refused");
        assert!(found > 0);
    });
}

#[test]
fn rows_of_the_erased_stay_away_and_rows_from_before_the_first_run_come_back() {
    run(async {
        let world = World::new(Arc::new(InMemory::new()));
        let store = world.process(1);
        fill(&store).await;
        store.erase(&Entity::from(user(1)), EraseOptions::default()).await.unwrap();
        let first = store.with_namespace(Namespace::new("first").unwrap());
        let age = FeatureName::new("age").unwrap();
        let schema = GroupSchema::new(group(), EntityKind::User).with_column(age, ColumnType::Integer);
        first.register_group(schema).await.unwrap();
        let row = FeatureRow::new(EntityKey::from(user(0)), Timestamp::from_millis(NOON).unwrap());
        first.put_features(&group(), vec![row], PutOptions::default()).await.unwrap();
        world.tables.lose_everything();
        let profiles = || FeatureRequest::new(group(), vec![user(0).into(), user(1).into()]);
        for namespace in ["default", "first"] {
            let store = world.process_of(2, world.context(), Namespace::new(namespace).unwrap());
            assert_eq!(store.pipeline().rebuild_online().await.unwrap().custom_items, 1);
            let found = store.get_features(profiles()).await.unwrap().status;
            assert!(found[0].is_found() && !found[1].is_found(), "{namespace}: {found:?}");
        }
    });
}

#[test]
fn what_never_was_is_missing_and_the_lake_is_not_asked_for_it_at_each_read() {
    run(async {
        let world = World::new(Arc::new(InMemory::new()));
        let store = world.process(1);
        let ids = || (0..3_u64).map(UserId::from);
        for expected in [1, 0, 0] {
            let (found, cost) = metered(store.get_features(FeatureRequest::of_users(ids()))).await;
            assert!(found.unwrap().status.iter().all(|status| !status.is_found()));
            assert_eq!(cost.objects.gets, expected);
        }
        // Nor where the first generation is committed and readers are told of it while nobody looks.
        let mut random = Random::new(1);
        let batch: Vec<_> = (0..20).map(|_| event(&mut random, 3, 3)).collect();
        store.put_ratings(batch, PutOptions::default()).await.unwrap();
        for _ in 0..2 {
            let batch: Vec<_> = (0..3).map(|_| event(&mut random, 3, 3)).collect();
            store.put_ratings(batch, PutOptions::default()).await.unwrap();
            world.process(2).pipeline().run(RunOptions::default()).await.unwrap();
        }
        // For a while it may hold on to what it was told, and refuses nothing.
        store.get_features(FeatureRequest::of_users(ids())).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let found = store.get_features(FeatureRequest::of_users(ids())).await.unwrap();
        assert!(found.status.iter().all(RowStatus::is_found));
    });
}
