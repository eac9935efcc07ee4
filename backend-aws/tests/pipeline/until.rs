//! Runs that take in what had arrived by a time.

use std::time::Duration;

use recstore_aws::AwsStorage;
use recstore_aws::pipeline::{RunOptions, RunOutcome, RunReport};
use recstore_core::{MemoryStorage, Namespace, PutOptions, RatingStore, Timestamp};

use crate::fake::{Random, run};
use crate::stage::{Stage, schedules};
use crate::support::{NOON, event, rows};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(NOON).unwrap().saturating_add(Duration::from_secs(seconds))
}

/// Time goes on, for the store as for processes.
fn set_time(stage: &Stage, seconds: u64) {
    stage.clock.set(at(seconds));
    stage.objects.set_now(Duration::from_millis(at(seconds).as_millis() as u64));
}

async fn run_until(store: &AwsStorage, until: Option<Timestamp>) -> RunReport {
    store.pipeline().run(RunOptions { until, ..RunOptions::default() }).await.unwrap()
}

/// A batch every second, then runs until later and later seconds, and some until earlier ones.
async fn script(seed: u64, number: u64) {
    let mut random = Random::of_case(seed, number);
    let stage = Stage::new(random.bits());
    let (store, seconds) = (stage.process(1), 1 + random.below(6) as u64);
    let mut batches = Vec::new();
    for second in 0..seconds {
        set_time(&stage, second);
        let batch: Vec<_> = (0..1 + random.below(5)).map(|_| event(&mut random, 3, 3)).collect();
        store.put_ratings(batch.clone(), PutOptions::default()).await.unwrap();
        batches.push(batch);
    }
    set_time(&stage, seconds);
    let (oracle, mut taken) = (MemoryStorage::new(Namespace::default(), stage.context()), 0);
    while taken < seconds {
        let until = random.below(seconds as usize + 3) as u64;
        let what = format!("script {number}: until {until} after {taken} of {seconds}");
        let report = run_until(&store, Some(at(until))).await;
        let new: Vec<_> = batches.drain(..until.min(seconds).saturating_sub(taken) as usize).collect();
        match new.is_empty() {
            true => assert_eq!(report.outcome, RunOutcome::NothingNew, "{what}"),
            false => {
                assert_eq!(report.outcome, RunOutcome::Committed, "{what}");
                assert_eq!(report.as_of, Some(at(until.min(seconds))), "{what}");
            }
        }
        taken += new.len() as u64;
        for batch in new {
            oracle.put_ratings(batch, PutOptions::default()).await.unwrap();
        }
        assert_eq!(rows(&store).await, rows(&oracle).await, "{what}");
    }
    assert_eq!(run_until(&store, None).await.outcome, RunOutcome::NothingNew);
}

#[test]
fn a_run_until_a_time_takes_in_what_was_stored_before_it_and_the_next_one_goes_on() {
    let (seed, count) = schedules(100);
    for number in 0..count {
        run(script(seed, number));
    }
}

#[test]
fn what_a_run_is_as_of_never_goes_back() {
    run(async {
        let stage = Stage::new(1);
        let (store, mut random) = (stage.process(1), Random::of_case(1, 1));
        set_time(&stage, 10);
        store.put_ratings(vec![event(&mut random, 3, 3)], PutOptions::default()).await.unwrap();
        assert_eq!(run_until(&store, None).await.as_of, Some(at(10)));
        // The store's clock is behind that of the run.
        stage.objects.set_now(Duration::from_millis(at(5).as_millis() as u64));
        store.put_ratings(vec![event(&mut random, 3, 3)], PutOptions::default()).await.unwrap();
        let report = run_until(&store, Some(at(6))).await;
        assert_eq!((report.outcome, report.as_of), (RunOutcome::Committed, Some(at(10))));
    });
}
