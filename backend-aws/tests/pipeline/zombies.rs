//! A process that stands still at any request while others go on for some generations, and then goes on itself.

use std::time::Duration;

use recstore_aws::pipeline::{RunOptions, RunOutcome};

use crate::fake::{Random, run};
use crate::stage::{Gate, When, schedules};
use crate::story::{STEPS, See, Step, Story, Told, ratings, tell};

/// The generations that others make meanwhile.
const GENERATIONS: usize = 3;

/// A step stands still at a request; others go on; it wakes up, on time or with all its requests timed out.
pub(crate) async fn schedule(story: &Story, more: &[Told], at: u64, when: When, late: bool) -> bool {
    let what = format!("{:?} that slept {when:?} request {at}, late: {late}", story.step);
    let stage = story.stage.fork(at);
    let gate = Gate::stopping(at, when);
    let store = story.process(&stage, 10, &gate);
    let mut zombie = Box::pin(story.act(&store));
    tokio::select! {
        biased;
        () = gate.closed() => {}
        done = &mut zombie => {
            done.unwrap();
            return false;
        }
    }
    for (number, told) in (20..).zip(more) {
        let other = story.process(&stage, number, &Gate::open());
        tell(&other, told).await;
        other.pipeline().run(RunOptions::default()).await.unwrap();
    }
    let before = See::of(&story.process(&stage, 30, &Gate::open())).await;
    if late {
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    gate.release();
    // Whatever it comes to, it may say so.
    let woken = zombie.await;
    let after = See::of(&story.process(&stage, 31, &Gate::open())).await;
    let oracle = story.oracle(more).await;
    let done = See::of(&oracle).await;
    if story.step != Step::Erasure {
        assert_eq!(before, done, "{what}: the others' generations are not there");
    }
    assert!(after == before || after == done, "{what}: what it did is wrong, {woken:?}");
    let next = story.process(&stage, 32, &Gate::open());
    story.act(&next).await.unwrap();
    story.assert_settled(&stage, 33, &oracle, &what).await;
    true
}

#[test]
fn a_process_that_wakes_up_after_generations_of_others_does_no_harm() {
    let (seed, count) = schedules(250);
    let mut slept = 0;
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        slept += run(async {
            let story = Story::before(STEPS[random.below(STEPS.len())], random.bits()).await;
            let more: Vec<Told> = (0..GENERATIONS).map(|_| ratings(&mut random)).collect();
            let when = if random.chance(50) { When::Before } else { When::After };
            let (at, late) = (1 + random.below(110) as u64, random.chance(50));
            u64::from(schedule(&story, &more, at, when, late).await)
        });
    }
    println!("{slept} of {count} slept");
}

#[test]
fn a_run_that_finishes_what_another_has_claimed_says_that_it_was_committed() {
    run(async {
        let story = Story::before(Step::Incremental, 1).await;
        let mut finished = 0;
        for at in 1.. {
            let stage = story.stage.fork(at);
            let gate = Gate::stopping(at, When::After);
            let store = story.process(&stage, 10, &gate);
            let crashed = tokio::select! {
                biased;
                () = gate.closed() => true,
                done = story.act(&store) => done.is_err(),
            };
            let next = story.process(&stage, 11, &Gate::open());
            let report = next.pipeline().run(RunOptions::default()).await.unwrap();
            if report.finished > 0 {
                assert_eq!((report.finished, report.outcome), (1, RunOutcome::Committed));
                finished += 1;
            }
            let again = next.pipeline().run(RunOptions::default()).await.unwrap();
            let nothing = (0, RunOutcome::NothingNew, report.generation);
            assert_eq!((again.finished, again.outcome, again.generation), nothing);
            if !crashed {
                break;
            }
        }
        assert!(finished > 0, "no crash was between claim and commit");
    });
}
