//! The real program: started with a configuration file, asked, and ended by a signal.

mod client;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn it_reads_the_configuration_answers_and_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("recstore.yaml");
    std::fs::write(&config, "namespace: shop\ndatabase:\n  path: shop.db\n").unwrap();
    let mut service = Command::new(env!("CARGO_BIN_EXE_recstore-service"))
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
    let address = address.parse().unwrap();

    let rating = r#"{"user": "ann", "item": 7, "value": 4.5}"#;
    assert_eq!(client::ask(address, "POST", "/ratings", rating).0, 200);
    let (status, features) = client::ask(address, "GET", "/users/ann/features", "");
    assert_eq!((status, features["columns"]["rating_mean"].as_f64()), (200, Some(4.5)));

    // The shell's own `kill`: not every machine has the program.
    let kill = format!("kill -TERM {}", service.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert!(service.wait().unwrap().success());
    assert!(folder.path().join("shop.db").exists());
}

#[test]
fn a_wrong_configuration_is_told_and_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("recstore.yaml");
    std::fs::write(&config, "storage_mode: sqllite\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_recstore-service"))
        .arg("--config")
        .arg(&config)
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("did you mean \"sqlite\"?"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "a user needs no backtrace: {stderr}");
}

#[test]
fn help_is_no_error_and_an_unknown_flag_is_one() {
    let service = |flag| Command::new(env!("CARGO_BIN_EXE_recstore-service")).arg(flag).output().unwrap();
    let help = service("--help");
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--listen 127.0.0.1:8080"));
    let unknown = service("--port");
    assert!(!unknown.status.success() && unknown.stdout.is_empty());
    assert!(String::from_utf8_lossy(&unknown.stderr).starts_with("error: --port is no flag; usage: "));
}
