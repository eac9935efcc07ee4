//! SQLite backend of Recstore: ratings, features and similarities in one file on the local disk.
//!
//! WAL and `synchronous=FULL`: an acknowledged write survives kill and power loss. One writer thread joins
//! concurrent calls into one transaction (group commit), a pool of reader threads answers reads, so no
//! blocking work runs on the async executor. Ratings and features change in one transaction.
//!
//! | file | what it is responsible for |
//! | --- | --- |
//! | `config` | settings |
//! | `backend` | [`SqliteStorage`]: the handle, open, close |
//! | `ratings`, `features`, `similarities` | one trait each |
//! | `scan` | reading all rows of a shard, in batches |
//! | `erase`, `rebuild`, `fingerprint` | the work behind calls that concern everything |
//! | `connection`, `schema`, `parameters` | opening a file safely, migrations, what a file was computed with |
//! | `writer`, `readers` | the threads that own the connections |
//! | `checksum` | checksums of rows |
//! | `integrity` | whether a whole file is as it was written |
//! | `wal` | telling a damaged log from one that a power cut has torn |
//! | `entities` | text ids to small integers, statistics between load and flush |
//! | `keys` | these integers back to ids, kept from read to read |
//! | `numbers` | fast maps by these integers |
//! | `maintenance` | what works on a file without opening it as a store |
//! | `bugs` | what tests do wrong on purpose, to see that it is caught |
//! | `error` | SQLite's failures as kinds |

mod backend;
#[cfg(test)]
mod bites;
mod bugs;
mod checksum;
mod config;
mod connection;
mod entities;
mod erase;
mod error;
mod features;
mod fingerprint;
mod integrity;
mod keys;
mod maintenance;
mod numbers;
#[cfg(test)]
mod panics;
mod parameters;
mod ratings;
mod readers;
mod rebuild;
mod scan;
mod schema;
mod similarities;
mod wal;
mod writer;

pub use backend::SqliteStorage;
pub use config::{Parameters, SqliteConfig};
pub use maintenance::{SchemaInfo, Validation, migrate, schema_info, validate};
