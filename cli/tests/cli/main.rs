//! The real binary in empty folders: exit code, stdout and stderr of every command.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[cfg(feature = "aws")]
mod aws;
mod cost;
mod data;
mod files;
mod hostile;
mod import;
mod interrupt;
mod movielens;
mod neighbours;
#[cfg(feature = "aws")]
mod schedulers;
mod support;
