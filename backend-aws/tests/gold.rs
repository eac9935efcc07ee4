//! The head of a namespace and similarity releases, over stores that fail as S3 and DynamoDB do on a bad day.
//!
//! Time stands still but for waits, and every schedule comes again from its seed: `RECSTORE_SEED` is where they
//! begin, `RECSTORE_GOLD_SCHEDULES` how many there are of each sort.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "bronze/faulty.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod faulty;
#[path = "gold/heads.rs"]
mod heads;
#[path = "gold/http.rs"]
mod http;
#[path = "gold/mirror.rs"]
mod mirror;
#[path = "gold/releases.rs"]
mod releases;
#[path = "gold/support.rs"]
mod support;
