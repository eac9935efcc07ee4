//! Recstore is the storage layer of a recommender system: ratings in, features and neighbours out.
//!
//! # The crate
//!
//! This crate is the facade: [`Config`] says where data lives, [`open`] (or [`Opener`], where a clock or other
//! live parts are given) makes an `Arc<dyn Storage>` of it. Everything of `recstore-core` is re-exported, so
//! that a service needs this one crate.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`config`] | the configuration: file, environment, flags |
//! | [`open`](crate::open()) | from configuration to storage |

pub mod config;
mod opener;

pub use config::{Config, StorageMode};
pub use opener::{AVAILABLE_MODES, Opener, open};

pub use recstore_core::*;

#[cfg(feature = "sqlite")]
pub use recstore_sqlite as sqlite;
