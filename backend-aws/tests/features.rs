//! Custom feature groups: rows online over a scripted store, the feature store against the memory backend, and both
//! over HTTP.
//!
//! Time stands still but for waits, and every schedule comes again from its seed: `RECSTORE_SEED` is where they
//! begin, `RECSTORE_ONLINE_SCHEDULES` how many there are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "shared with the tests of the tables")]
#[path = "online/fake.rs"]
mod fake;
#[path = "features/http.rs"]
mod http;
#[path = "features/rows.rs"]
mod rows;
#[path = "features/store.rs"]
mod store;
#[path = "features/topic.rs"]
mod topic;
