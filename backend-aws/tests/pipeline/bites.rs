//! The schedules bite: each rule that a process does not keep to is caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::concurrent;
use crate::fake::run;
use crate::stage::Bug;

/// So many schedules are tried for each bug; most are caught within some.
const SCHEDULES: u64 = 400;

#[track_caller]
fn assert_caught(bug: Bug, by: &[&str]) {
    for number in 0..SCHEDULES {
        let schedule = AssertUnwindSafe(|| run(concurrent::schedule(7, number, Some(bug))));
        let Err(panic) = catch_unwind(schedule) else { continue };
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(by.iter().any(|by| text.contains(by)), "{bug:?} was caught otherwise: {text}");
        println!("{bug:?}, schedule {number}: {text}");
        return;
    }
    panic!("{bug:?} is not caught in {SCHEDULES} schedules");
}

#[test]
fn a_commit_before_the_publication_is_caught() {
    assert_caught(
        Bug::CommitsBeforePublishing,
        &["a mixture", "of 6 rows", "of 2 rows", "of 3 rows", "lost"],
    );
}

#[test]
fn a_publication_without_the_readers_record_is_caught() {
    assert_caught(
        Bug::PublishesWithoutPinning,
        &["the reader never read", "a mixture", "never came to an end"],
    );
}

#[test]
fn a_claim_that_replaces_another_is_caught() {
    assert_caught(Bug::ClaimsByOverwriting, &["a mixture", "never came to an end", "Conflict"]);
}

#[test]
fn a_head_that_is_replaced_blindly_is_caught() {
    assert_caught(Bug::ReplacesTheHeadBlindly, &["went back", "a mixture", "never came to an end"]);
}

#[test]
fn rows_that_are_put_plainly_are_caught() {
    assert_caught(Bug::PutsRowsPlainly, &["a mixture", "went back", "never came to an end"]);
}

#[test]
fn deleting_after_an_unknown_outcome_is_caught() {
    assert_caught(Bug::CleansUpAfterUnknown, &["Corrupt", "is gone", "never came to an end"]);
}
