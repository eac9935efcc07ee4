//! The process is killed while it writes: nothing that was acknowledged is lost, no batch is half there, and
//! sending again what was not acknowledged, or everything, counts nothing twice.
//!
//! The test runs itself once more as the process to be killed; how, stands in `recstore-test-faults`. A child that
//! prints too early shows that the check bites.
//!
//! A killed process leaves what it wrote with the operating system, so this says nothing about syncs; that is
//! what `power_loss.rs` is for. `RECSTORE_KILLS` sets how many times, `RECSTORE_SEED` where randomness begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod sqlite;

use std::time::Instant;

use recstore_test_faults::{Client, Ending, Kills, Random, Repetition, from_env};
use sqlite::Sqlite;

const BACKEND: Sqlite = Sqlite { wal_bytes: 256 << 10 };

/// This many kills of children of this test, of which none does harm.
fn kill(test: &str, share: u64, ending: Ending, repetition: Repetition) {
    Kills::be_killed(&BACKEND);
    let (seed, begin) = (from_env("RECSTORE_SEED", 20_260), Instant::now());
    let mut kills = Kills::new(&BACKEND, test, Client::Honest, ending, repetition, Random::new(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for kill in 0..(from_env("RECSTORE_KILLS", 300) / share).max(1) {
        let result = runtime.block_on(kills.cycle());
        assert_eq!(result, Ok(()), "kill {kill} from seed {seed}");
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{} kills, {seconds:.1} s: {} batches acknowledged, none lost;",
        kills.kills, kills.acknowledged
    );
    println!("{} were stored before their acknowledgement was seen", kills.unacknowledged);
    assert!(kills.acknowledged > 0);
}

#[test]
fn a_kill_loses_nothing_acknowledged_and_repetition_doubles_nothing() {
    let name = "a_kill_loses_nothing_acknowledged_and_repetition_doubles_nothing";
    kill(name, 1, Ending::Kill, Repetition::Unacknowledged);
}

#[test]
fn a_kill_after_which_everything_is_sent_again_doubles_nothing() {
    let name = "a_kill_after_which_everything_is_sent_again_doubles_nothing";
    kill(name, 6, Ending::Kill, Repetition::Everything);
}

#[test]
fn a_kill_while_the_store_closes_loses_nothing_acknowledged() {
    let name = "a_kill_while_the_store_closes_loses_nothing_acknowledged";
    kill(name, 6, Ending::TermThenKill, Repetition::Unacknowledged);
}

#[test]
fn the_check_finds_acknowledgements_that_come_too_early() {
    Kills::be_killed(&BACKEND);
    let name = "the_check_finds_acknowledgements_that_come_too_early";
    let random = Random::new(from_env("RECSTORE_SEED", 20_260));
    let repetition = Repetition::Unacknowledged;
    let mut kills = Kills::new(&BACKEND, name, Client::Early, Ending::Kill, repetition, random);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = (0..50).find_map(|_| runtime.block_on(kills.cycle()).err());
    assert!(found.is_some_and(|text| text.ends_with("is lost")));
}
