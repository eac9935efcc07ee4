//! What works on a file without opening it as a store: its version, migration, validation.

use std::path::Path;

use recstore_core::Result;
use rusqlite::Connection;
use serde::Serialize;

use crate::SqliteConfig;
use crate::connection::{Access, connect, prepare_file};
use crate::error::located;
use crate::integrity;
use crate::schema::{self, Found, SUPPORTED};

/// The versions of a file and of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SchemaInfo {
    /// The file's schema version; 0 if it is empty.
    pub found: u32,
    /// The version that this program writes.
    pub supported: u32,
    /// Whether the file can be opened as it is.
    pub current: bool,
}

/// What [`validate`] found wrong; nothing, if all lists are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// How many checks were made.
    pub checks: usize,
}

/// Reads the schema version of a file, which is not changed.
///
/// # Errors
/// `NotFound`, `Corrupt` for what is not a Recstore database, `Unavailable`.
pub fn schema_info(path: &Path) -> Result<SchemaInfo> {
    let connection = open(path, true)?;
    let found = match schema::inspect_at_once(&connection)
        .map_err(|error| located(error, path.display().to_string()))?
    {
        Found::Empty => 0,
        Found::Version(version) => version,
    };
    Ok(SchemaInfo { found, supported: SUPPORTED, current: found == SUPPORTED })
}

/// Brings a file to the version of this program; returns how many migrations ran.
///
/// Each migration is a transaction: a crash leaves the version before or after it, whole.
///
/// # Errors
/// As [`schema_info`]; `SchemaVersion` if the file is newer, `ReadOnly`, `Full`, `Busy`.
pub fn migrate(path: &Path) -> Result<u32> {
    let mut connection = open(path, false)?;
    schema::migrate(&mut connection).map_err(|error| located(error, path.display().to_string()))
}

/// Checks a file in depth: pages and indexes, tables as the migrations make them, every row by its checksum,
/// every reference between tables. Reads everything; changes nothing.
///
/// Opening does the same with files up to [`SqliteConfig::verify_bytes`]. Of what is in the file no change of a
/// value escapes it (but one in four thousand million of those that spread over more than four bytes). What no
/// check of the file can tell is that it, or a page of it, is an earlier version of itself: a disk that has lost
/// a write leaves that.
///
/// Whether features agree with ratings is for
/// [`rebuild_features`](recstore_core::FeatureStore::rebuild_features) to say, which counts what differed.
///
/// # Errors
/// As [`schema_info`]; `Corrupt` also for a damaged log beside the file. What is wrong within the file is told in
/// the answer.
pub fn validate(path: &Path) -> Result<Validation> {
    let connection = open(path, true)?;
    let problems =
        integrity::problems(&connection).map_err(|error| located(error, path.display().to_string()))?;
    Ok(Validation { ok: problems.is_empty(), problems, checks: integrity::CHECKS })
}

fn open(path: &Path, read_only: bool) -> Result<Connection> {
    let config = SqliteConfig { create: false, read_only, ..SqliteConfig::new(path) }.resolved();
    prepare_file(&config)?;
    connect(&config, if read_only { Access::Read } else { Access::Write })
}
