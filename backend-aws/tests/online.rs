//! The tables over a scripted store: partial batches, throttling, lost answers, stalls, runs at once.
//!
//! Time stands still but for waits, and every schedule comes again from its seed: `RECSTORE_SEED` is where they
//! begin, `RECSTORE_ONLINE_SCHEDULES` how many there are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "online/answers.rs"]
mod answers;
#[path = "online/batches.rs"]
mod batches;
#[path = "online/conditions.rs"]
mod conditions;
#[path = "online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "online/histories.rs"]
mod histories;
#[path = "online/lists.rs"]
mod lists;
#[path = "online/runs.rs"]
mod runs;
#[path = "online/set_up.rs"]
mod set_up;
