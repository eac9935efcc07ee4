//! Ctrl-C in an import: what was counted is stored, and running it again finishes it.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Sandbox, binary};

const ROWS: u64 = 5_000;
const BATCH: u64 = 100;

fn rows(range: std::ops::Range<u64>) -> String {
    range.map(|row| format!("{},{},3.5,{}\n", row % 50, row, 1_000_000_000 + row)).collect()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill {name} {}", child.id())]).status().unwrap();
    assert!(status.success());
}

/// Starts an import from stdin, hands it half of the rows and waits until some of them are stored.
fn half_done(sandbox: &Sandbox) -> Child {
    let mut child = binary(&sandbox.path(""))
        .args(["import", "-", "--json", "--batch", &BATCH.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("userId,movieId,rating,timestamp\n{}", rows(0..ROWS / 2));
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    stdin.flush().unwrap();
    let started = Instant::now();
    while !sandbox.path("recstore.db").exists() || sandbox.count() < BATCH {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing was stored");
    }
    child
}

fn finish(sandbox: &Sandbox, stored: u64) {
    let text = format!("userId,movieId,rating,timestamp\n{}", rows(0..ROWS));
    sandbox.write("all.csv", text);
    let summary = sandbox.json(["import", "all.csv"]);
    assert_eq!(summary["duplicate"], stored);
    assert_eq!(summary["applied"], ROWS - stored);
    assert_eq!(sandbox.count(), ROWS);
    assert_eq!(sandbox.json(["features", "rebuild"])["changed"], 0);
    sandbox.run(["schema", "validate"]).expect(0);
}

#[test]
fn an_interrupted_import_tells_what_is_stored_and_is_finished_by_running_it_again() {
    let sandbox = Sandbox::new();
    let mut child = half_done(&sandbox);
    // Kept open: the interrupt must not wait for more input.
    let stdin = child.stdin.take();
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("hint: run the same import again"), "{stderr}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["applied"], sandbox.count());
    finish(&sandbox, sandbox.count());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let sandbox = Sandbox::empty();
    let mut child = binary(&sandbox.path(""))
        .args(["demo", "--ratings", "400000"])
        .env("TMPDIR", sandbox.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let entries = || std::fs::read_dir(sandbox.path("")).unwrap().count();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(stderr.next().unwrap().unwrap(), "generating 400,000 ratings");
    assert_eq!(stderr.next().unwrap().unwrap(), "importing them");
    assert_eq!(entries(), 1);
    signal(&child, "-INT");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(stderr.next().unwrap().unwrap(), "error: interrupted; nothing is left behind");
    assert_eq!(entries(), 0);
}

#[test]
fn a_killed_import_is_finished_by_running_it_again() {
    let sandbox = Sandbox::new();
    let child = half_done(&sandbox);
    signal(&child, "-KILL");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), None);
    finish(&sandbox, sandbox.count());
}
