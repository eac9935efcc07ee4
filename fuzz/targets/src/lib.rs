//! What fuzzing runs: a function for each target, from bytes to an [`Answer`], which panics where a promise is
//! broken. Here and not beside libFuzzer, so that `cargo test --workspace` runs the kept corpus through the
//! same functions, without it.
//!
//! | target | what is promised of any bytes |
//! | --- | --- |
//! | [`config_yaml`] | a configuration that writes out and reads back as it was, or a typed error |
//! | [`import_csv`], [`import_jsonl`] | for every row an event that writes out and reads back, or a reason with its line |
//! | [`codec`] | a value that encodes to what it was decoded from, or a typed error |
//! | [`database`] | answers or typed errors from everything that reads a file, and from what writes to it |
//!
//! No panic, no hang (libFuzzer's `-timeout`) and no memory without bound (`-rss_limit_mb`) is promised of all.

// A broken promise is a panic here, which is what libFuzzer looks for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod codec;
mod config;
mod database;
mod import;

pub use codec::codec;
pub use config::config_yaml;
pub use database::{base_database, database};
pub use import::{import_csv, import_jsonl};

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It was taken, at least in part.
    Taken,
    /// It was refused as a whole, with a reason.
    Refused,
}

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]) -> Answer);

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("config_yaml", config_yaml),
    ("import_csv", import_csv),
    ("import_jsonl", import_jsonl),
    ("codec", codec),
    ("database", database),
];
