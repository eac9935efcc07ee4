//! The servers by the clients that will use them: Amazon's SDK, over HTTP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod clients;
mod control;
mod dynamodb;
mod faults;
mod objects;
mod settings;
