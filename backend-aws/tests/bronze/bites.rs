//! The schedules bite: the small writer passes them as it is, and each bug is caught, by the check that is named.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::naive::Bug;
use crate::schedules::{System, run, runtime};

/// So many schedules are tried for each bug; most are caught within a hundred.
const SCHEDULES: u64 = 3_000;

/// What the first schedule that fails says.
fn caught(bug: Bug) -> String {
    for seed in 0..SCHEDULES {
        let schedule = AssertUnwindSafe(|| run(&runtime(), System::Naive(Some(bug)), seed));
        if let Err(panic) = catch_unwind(schedule) {
            let text = panic.downcast_ref::<String>().cloned();
            return text.unwrap_or_else(|| "a panic without text".to_owned());
        }
    }
    panic!("{bug:?} is not caught in {SCHEDULES} schedules");
}

#[track_caller]
fn assert_caught(bug: Bug, by: &[&str]) {
    let text = caught(bug);
    assert!(by.iter().any(|by| text.contains(by)), "{bug:?} was caught otherwise: {text}");
}

#[test]
fn the_small_writer_without_a_bug_passes() {
    for seed in 0..1_000 {
        run(&runtime(), System::Naive(None), seed);
    }
}

#[test]
fn a_new_key_on_retry_is_caught() {
    assert_caught(Bug::NewKeyOnRetry, &["stored in more than one object", "is not listed", "lost after"]);
}

#[test]
fn exists_taken_for_failure_is_caught() {
    assert_caught(Bug::ExistsIsFailure, &["stored, though the caller heard conflict"]);
}

#[test]
fn exists_taken_for_success_without_looking_is_caught() {
    assert_caught(Bug::ExistsIsSuccess, &["lost after", "is not listed"]);
}

#[test]
fn an_answer_before_the_put_is_caught() {
    assert_caught(Bug::AckOnEnqueue, &["lost after", "is not listed", "events are lost"]);
}

#[test]
fn deleting_after_an_unknown_outcome_is_caught() {
    assert_caught(Bug::CleanUpAfterUnknown, &["reading on is not reading everything"]);
}

#[test]
fn a_batch_split_over_two_objects_is_caught() {
    assert_caught(Bug::SplitsBatches, &["a batch is not whole"]);
}

#[test]
fn going_on_in_an_epoch_with_an_unresolved_gap_is_caught() {
    assert_caught(Bug::KeepsEpochAfterUnknown, &["is not listed", "gaps"]);
}

#[test]
fn a_cursor_that_passes_over_an_unresolved_gap_is_caught() {
    assert_caught(Bug::CursorPassesOverGap, &["reading on is not reading everything", "gaps"]);
}

#[test]
fn an_epoch_without_a_claim_is_caught() {
    assert_caught(Bug::NoClaim, &["two objects have the same numbers", "is not listed"]);
}
