//! The schedules bite: each rule that a process does not keep to is caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::concurrent;
use crate::fake::{Random, run};
use crate::stage::{Bug, When};
use crate::story::{Step, Story, Told, ratings};
use crate::zombies;

/// So many schedules are tried for each bug; most are caught within some.
const SCHEDULES: u64 = 300;

/// What the first of some schedules that fails says.
fn first_failure(schedules: u64, schedule: impl Fn(u64)) -> Option<String> {
    (0..schedules).find_map(|number| {
        let panic = catch_unwind(AssertUnwindSafe(|| schedule(number))).err()?;
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        Some(format!("schedule {number}: {text}"))
    })
}

#[track_caller]
fn assert_caught(bug: Bug, caught: Option<String>, by: &[&str]) {
    let Some(text) = caught else { panic!("{bug:?} is not caught") };
    assert!(by.iter().any(|by| text.contains(by)), "{bug:?} was caught otherwise: {text}");
    println!("{bug:?}, {text}");
}

/// Several runs at once, crashes, readers.
#[track_caller]
fn assert_caught_at_once(bug: Bug, by: &[&str]) {
    let schedule = |number| run(concurrent::schedule(7, number, Some(bug)));
    assert_caught(bug, first_failure(SCHEDULES, schedule), by);
}

/// A run that sleeps before a request while others go on.
#[track_caller]
fn assert_caught_asleep(bug: Bug, by: &[&str]) {
    let schedule = |number| {
        run(async {
            let mut story = Story::before(Step::Incremental, 7).await;
            story.stage.bug = Some(bug);
            let mut random = Random::of_case(7, number);
            let more: Vec<Told> = (0..3).map(|_| ratings(&mut random)).collect();
            zombies::schedule(&story, &more, number + 1, When::Before, false).await;
        });
    };
    assert_caught(bug, first_failure(SCHEDULES, schedule), by);
}

#[test]
fn a_commit_before_the_publication_is_caught() {
    assert_caught_at_once(
        Bug::CommitsBeforePublishing,
        &["a mixture", "of 6 rows", "of 2 rows", "of 3 rows", "lost"],
    );
}

#[test]
fn a_publication_without_the_readers_record_is_caught() {
    assert_caught_at_once(
        Bug::PublishesWithoutPinning,
        &[
            "the reader never read",
            "never came to an end",
            "events are lost",
            "the tables are ahead of the committed generation",
        ],
    );
}

#[test]
fn a_claim_that_replaces_another_is_caught() {
    assert_caught_at_once(Bug::ClaimsByOverwriting, &["a mixture", "never came to an end", "Conflict"]);
}

#[test]
fn a_lock_with_a_timeout_is_caught() {
    assert_caught_at_once(Bug::LocksWithATimeout, &["a mixture", "never came to an end"]);
}

#[test]
fn a_head_that_is_replaced_blindly_is_caught() {
    assert_caught_asleep(Bug::ReplacesTheHeadBlindly, &["what it did is wrong"]);
}

#[test]
fn rows_that_are_put_plainly_are_caught() {
    assert_caught_asleep(Bug::PutsRowsPlainly, &["what it did is wrong"]);
}

#[test]
fn deleting_after_an_unknown_outcome_is_caught() {
    assert_caught_at_once(Bug::CleansUpAfterUnknown, &["Corrupt", "is gone", "never came to an end"]);
}
