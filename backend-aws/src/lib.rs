//! AWS backend of Recstore: a medallion lake in S3, DynamoDB for fast reads.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | `backend` | the handle: open, namespaces, health, figures, closing |
//! | `ratings`, `features`, `similarities` | one trait each |
//! | `scan`, `fingerprint`, `erase` | what goes through everything |
//! | [`config`] | settings: plain data |
//! | [`clients`] | live clients from settings, credentials by the standard chain |
//! | [`retry`] | the one layer that repeats requests |
//! | `metering` | counts what both services charge for: [`metered`], figures, metrics |
//! | [`lake`] | what lies in S3: bronze events, silver tables, gold releases, the head that commits |
//! | [`online`] | what DynamoDB serves |
//! | [`pipeline`] | new events into the tables: runs, status, upkeep |
//! | [`setup`] | making, checking and removing the bucket and the tables; who may do what |

#[cfg(test)]
extern crate self as recstore_aws;

mod backend;
pub mod clients;
pub mod config;
mod erase;
mod error;
mod features;
mod fingerprint;
pub mod lake;
mod metering;
pub mod online;
pub mod pipeline;
mod ratings;
pub mod retry;
mod scan;
pub mod setup;
mod similarities;

pub use backend::{AwsParts, AwsStorage};
pub use metering::metered;
