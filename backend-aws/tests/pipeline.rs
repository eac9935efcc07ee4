//! The pipeline: events to silver and to the tables, whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "online/fake.rs"]
mod fake;
#[path = "bronze/faulty.rs"]
mod faulty;
#[path = "pipeline/gate.rs"]
mod gate;
#[path = "pipeline/parity.rs"]
mod parity;
#[path = "pipeline/support.rs"]
mod support;
#[path = "pipeline/vacuum.rs"]
mod vacuum;
