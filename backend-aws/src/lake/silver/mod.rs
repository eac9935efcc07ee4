//! Silver: the stored form of the tables that the pipeline keeps. No I/O, no pipeline.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`keys`] | the names of tables, data files and log entries |
//! | [`buckets`] | which part of a table an id belongs to |
//! | [`mod@file`] | what is known of a data file, and the check of its bytes |
//! | `parquet_io` | Parquet out and in, the same bytes for the same rows |
//! | [`ratings`] | rows of `ratings` and `ratings_by_item` |
//! | [`features`] | rows of `user_features` and `item_features` |
//! | [`custom`] | rows of `features_<group>` |
//! | [`delta`] | the log by which other tools read the tables |
//!
//! A data file holds the rows of one bucket, sorted by id. Readers of this crate take files by the commit document and
//! check their digest; columns that are there for other tools are not read. The bytes are a function of the rows: no
//! clock, no randomness, and no matter in which pieces the rows were given.

pub mod buckets;
pub mod custom;
pub mod delta;
pub mod features;
pub mod file;
pub mod keys;
mod parquet_io;
pub mod ratings;

#[cfg(test)]
mod tests;
