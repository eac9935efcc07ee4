//! The kept corpus through the functions that fuzzing runs: each file that was ever a finding, or reaches
//! something that no other does, on every change and without libFuzzer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use recstore_fuzz_targets::{Answer, TARGETS, base_database, database};

/// More than any kept file takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn replay(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut taken, mut refused) = (0, 0);
    for file in &files {
        let begin = Instant::now();
        match std::panic::catch_unwind(|| run(&fs::read(file).unwrap())) {
            Ok(Answer::Taken) => taken += 1,
            Ok(Answer::Refused) => refused += 1,
            Err(_) => panic!("{} breaks a promise, see above", file.display()),
        }
        assert!(begin.elapsed() < PATIENCE, "{} takes {:?}", file.display(), begin.elapsed());
    }
    println!("{target}: {} files, {taken} taken, {refused} refused", files.len());
    // A corpus whose files are all refused tries nothing but refusals.
    assert!(taken > 0 && refused > 0, "{target}: {taken} files are taken and {refused} refused");
}

#[test]
fn every_kept_configuration_is_answered() {
    replay("config_yaml");
}

#[test]
fn every_kept_csv_file_is_answered() {
    replay("import_csv");
}

#[test]
fn every_kept_json_lines_file_is_answered() {
    replay("import_jsonl");
}

#[test]
fn every_kept_id_key_and_stored_form_is_answered() {
    replay("codec");
}

#[test]
fn every_kept_database_is_answered() {
    replay("database");
}

/// Otherwise changes to it would try nothing but refusals.
#[test]
fn the_database_that_changes_are_made_to_is_valid() {
    assert_eq!(database(base_database()), Answer::Taken);
    assert_eq!(database(&[]), Answer::Taken);
    assert!(base_database().len() < 1 << 16, "offsets have two bytes");
}
