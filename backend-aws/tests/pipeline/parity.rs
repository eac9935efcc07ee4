//! The same events in memory and in the lake.

use object_store::memory::InMemory;
use recstore_core::{HistoryOptions, MemoryStorage, Namespace, PutOptions, RatingStore};
use std::sync::Arc;

use crate::fake::{Random, run, schedules};
use crate::support::{World, event, rows};
use recstore_aws::pipeline::{RunOptions, RunOutcome};

async fn script(seed: u64, number: u64) {
    let mut random = Random::of_case(seed, number);
    let mut world = World::new(Arc::new(InMemory::new()));
    world.buckets = 1 << random.below(4);
    let oracle = MemoryStorage::new(Namespace::default(), world.context());
    let store = world.process(1);
    for round in 0..1 + random.below(4) {
        for _ in 0..random.below(4) {
            let batch: Vec<_> = (0..1 + random.below(30)).map(|_| event(&mut random, 6, 6)).collect();
            oracle.put_ratings(batch.clone(), PutOptions::default()).await.unwrap();
            store.put_ratings(batch, PutOptions::default()).await.unwrap();
        }
        let report = store.pipeline().run(RunOptions::default()).await.unwrap();
        println!("{round}: {report:?}");
        assert_eq!(rows(&store).await, rows(&oracle).await, "script {number}, round {round}");
        let again = store.pipeline().run(RunOptions::default()).await.unwrap();
        assert_eq!((again.outcome, again.generation), (RunOutcome::NothingNew, report.generation));
        let reader = world.process(2);
        for id in 0..6_u64 {
            let options = || HistoryOptions::default().with_withdrawn(true);
            assert_eq!(
                reader.user_history(&id.into(), options()).await.unwrap(),
                oracle.user_history(&id.into(), options()).await.unwrap(),
                "script {number}, round {round}, user {id}"
            );
            assert_eq!(
                reader.item_history(&id.into(), options()).await.unwrap(),
                oracle.item_history(&id.into(), options()).await.unwrap(),
                "script {number}, round {round}, item {id}"
            );
        }
    }
}

#[test]
fn rows_and_histories_are_those_of_memory_after_every_run() {
    let (seed, count) = schedules(300);
    for number in 0..count {
        run(script(seed, number));
    }
}
