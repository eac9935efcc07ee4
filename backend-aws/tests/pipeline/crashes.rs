//! A process that crashes at any request, and another one that goes on.

use recstore_aws::pipeline::RunOptions;
use recstore_core::Timestamp;

use crate::fake::run;
use crate::stage::{Gate, Stage, When, schedules};
use crate::story::{See, Step, Story};
use crate::support::NOON;

/// The step, cut off at a request: whether it was.
pub(crate) async fn crash(story: &Story, stage: &Stage, number: u64, at: u64, when: When) -> bool {
    let gate = Gate::stopping(at, when);
    let store = story.process(stage, number, &gate);
    tokio::select! {
        biased;
        () = gate.closed() => true,
        done = story.act(&store) => {
            done.unwrap();
            false
        }
    }
}

/// A crash at a request of a step; then readers read, another process goes on, and all is as it must be.
async fn schedule(story: &Story, seen: &[See; 2], at: u64, when: When) {
    let what = format!("{:?} cut off {when:?} request {at}", story.step);
    let stage = story.stage.fork(at);
    assert!(crash(story, &stage, 10, at, when).await, "{what}: it was not");
    let now = See::of(&story.process(&stage, 11, &Gate::open())).await;
    assert!(seen.iter().any(|see| see.rows == now.rows), "{what}: a scan reads a mixture");
    assert!(seen.iter().any(|see| see.online == now.online), "{what}: the tables read a mixture");
    let next = story.process(&stage, 12, &Gate::open());
    next.pipeline().run(RunOptions::default()).await.unwrap();
    story.act(&next).await.unwrap();
    story.assert_settled(&stage, 13, &story.oracle(&[]).await, &what).await;
}

/// How many requests a step takes, what is seen before it and after.
async fn measured(story: &Story) -> (u64, [See; 2]) {
    let stage = story.stage.fork(0);
    let before = See::of(&story.process(&stage, 10, &Gate::open())).await;
    let gate = Gate::open();
    story.act(&story.process(&stage, 10, &gate)).await.unwrap();
    let after = See::of(&story.process(&stage, 11, &Gate::open())).await;
    let oracle = story.oracle(&[]).await;
    assert_eq!(after, See::of(&oracle).await, "{:?}", story.step);
    story.assert_settled(&stage, 12, &oracle, "without a crash").await;
    (gate.requests(), [before, after])
}

fn every_request_of(step: Step) {
    let (seed, count) = schedules(200);
    let requests = run(async { measured(&Story::before(step, seed).await).await.0 });
    // A crash before a request and one after it find different things: whichever requests are chosen, both are tried.
    let stride = (requests * 2).div_ceil(count).max(1);
    let mut crashes = 0;
    run(async {
        let story = Story::before(step, seed).await;
        let (_, seen) = measured(&story).await;
        for at in (1 + seed % stride..=requests).step_by(stride as usize) {
            for when in [When::Before, When::After] {
                schedule(&story, &seen, at, when).await;
                crashes += 1;
            }
        }
    });
    println!("{step:?}: {crashes} crashes, at {requests} requests");
}

#[test]
fn a_first_run_that_crashes_at_any_request_is_finished_by_another() {
    every_request_of(Step::First);
}

#[test]
fn a_run_that_crashes_at_any_request_is_finished_by_another() {
    every_request_of(Step::Incremental);
}

#[test]
fn a_run_with_custom_rows_that_crashes_at_any_request_is_finished_by_another() {
    every_request_of(Step::Custom);
}

#[test]
fn an_erasure_that_crashes_at_any_request_is_done_or_can_be_done_again() {
    every_request_of(Step::Erasure);
}

#[test]
fn a_rebuild_that_crashes_at_any_request_is_done_or_can_be_done_again() {
    every_request_of(Step::Rebuild);
}

#[test]
fn a_generation_that_takes_nothing_in_is_as_of_the_one_before() {
    run(async {
        for step in [Step::Rebuild, Step::Erasure] {
            let story = Story::before(step, 1).await;
            let store = story.process(&story.stage, 10, &Gate::open());
            let before = store.pipeline().run(RunOptions::default()).await.unwrap();
            story.stage.clock.set(Timestamp::from_millis(NOON + 60_000).unwrap());
            // The step begins by taking in what is new; what comes after that is not in its own generation.
            let report = match step {
                Step::Rebuild => store.pipeline().rebuild().await.unwrap(),
                _ => {
                    story.act(&store).await.unwrap();
                    store.pipeline().run(RunOptions::default()).await.unwrap()
                }
            };
            assert_eq!(report.generation, before.generation + 1, "{step:?}");
            assert_eq!(report.as_of, before.as_of, "{step:?}");
        }
    });
}
