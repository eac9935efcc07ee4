//! What works on a file without opening it as a store: its version, migration, validation.

use std::path::Path;

use recstore_core::features::ContentHash;
use recstore_core::{ErrorKind, Result};
use rusqlite::Connection;
use serde::Serialize;

use crate::SqliteConfig;
use crate::connection::{Access, connect, prepare_file};
use crate::error::{SqlResult, located};
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

/// Checks a file in depth: pages and indexes, tables as the migrations make them, every reference between
/// tables, custom feature rows by the hashes of their content. Reads everything; changes nothing.
///
/// SQLite's pages have no checksums: a flipped bit in the value of a rating is another valid rating, which
/// this cannot see.
///
/// Whether features agree with ratings is for
/// [`rebuild_features`](recstore_core::FeatureStore::rebuild_features) to say, which counts what differed.
///
/// # Errors
/// As [`schema_info`]. What is wrong within the file is told in the answer.
pub fn validate(path: &Path) -> Result<Validation> {
    let connection = open(path, true)?;
    let mut problems = Vec::new();
    if let Err(error) = schema::check(&connection) {
        if error.kind() == ErrorKind::SchemaVersion {
            return Err(located(error, path.display().to_string()));
        }
        problems.push(error.to_string());
    }
    problems.extend(integrity(&connection)?);
    // References can only be followed in tables that are as they should be.
    if problems.is_empty() {
        for (problem, sql) in REFERENCES {
            let count: i64 = connection.query_row(sql, [], |row| row.get(0)).sql()?;
            if count > 0 {
                problems.push(format!("{count} {problem}"));
            }
        }
        let count = rows_of_other_content(&connection)?;
        if count > 0 {
            problems.push(format!("{count} feature rows whose content is not the one that was stored"));
        }
    }
    Ok(Validation { ok: problems.is_empty(), problems, checks: REFERENCES.len() + 3 })
}

/// Feature rows are kept with a hash of their content, pages have no checksums.
fn rows_of_other_content(connection: &Connection) -> Result<u64> {
    let mut select = connection.prepare("SELECT content, content_hash FROM feature_rows").sql()?;
    let mut rows = select.query([]).sql()?;
    let mut count = 0;
    while let Some(row) = rows.next().sql()? {
        let content = row.get_ref(0).sql()?.as_blob().map(ContentHash::of);
        let hash: rusqlite::Result<[u8; 16]> = row.get(1);
        let same = content.is_ok_and(|content| hash.is_ok_and(|hash| content.0 == hash));
        count += u64::from(!same);
    }
    Ok(count)
}

/// Rows that must not exist.
const REFERENCES: &[(&str, &str)] = &[
    (
        "ratings of unknown users",
        "SELECT count(*) FROM ratings r WHERE NOT EXISTS
         (SELECT 1 FROM entities e WHERE e.id = r.user AND e.ns = r.ns AND e.kind = 0)",
    ),
    (
        "ratings of unknown items",
        "SELECT count(*) FROM ratings r WHERE NOT EXISTS
         (SELECT 1 FROM entities e WHERE e.id = r.item AND e.ns = r.ns AND e.kind = 1)",
    ),
    (
        "users and items of unknown namespaces",
        "SELECT count(*) FROM entities e WHERE NOT EXISTS (SELECT 1 FROM namespaces n WHERE n.id = e.ns)",
    ),
    (
        "users and items whose count differs from their ratings",
        "SELECT count(*) FROM entities e WHERE rating_count <>
         (CASE kind WHEN 0 THEN (SELECT count(value) FROM ratings r WHERE r.ns = e.ns AND r.user = e.id)
                    ELSE (SELECT count(value) FROM ratings r INDEXED BY ratings_by_item_time
                          WHERE r.ns = e.ns AND r.item = e.id) END)",
    ),
    (
        "namespaces whose counts differ from their ratings",
        "SELECT count(*) FROM namespaces n WHERE
         ratings <> (SELECT count(value) FROM ratings r WHERE r.ns = n.id)
         OR withdrawn <> (SELECT count(*) - count(value) FROM ratings r WHERE r.ns = n.id)",
    ),
    (
        "feature rows of unknown groups or entities",
        "SELECT count(*) FROM feature_rows r WHERE NOT EXISTS
         (SELECT 1 FROM feature_groups g JOIN entities e ON e.ns = g.ns AND e.kind = g.kind
          WHERE g.id = r.grp AND e.id = r.entity)",
    ),
    (
        "neighbour lists of unknown releases or entities",
        "SELECT count(*) FROM neighbour_lists l WHERE NOT EXISTS
         (SELECT 1 FROM releases r JOIN entities e ON e.ns = r.ns AND e.kind = r.kind
          WHERE r.id = l.release AND e.id = l.entity)",
    ),
    (
        "popular entries of unknown releases or entities",
        "SELECT count(*) FROM popular p WHERE NOT EXISTS
         (SELECT 1 FROM releases r JOIN entities e ON e.ns = r.ns AND e.kind = r.kind
          WHERE r.id = p.release AND e.id = p.entity)",
    ),
];

fn integrity(connection: &Connection) -> Result<Vec<String>> {
    let mut check = connection.prepare("PRAGMA integrity_check(20)").sql()?;
    let lines = check.query_map([], |row| row.get::<_, String>(0)).sql()?;
    let lines: Vec<String> = match lines.collect::<rusqlite::Result<_>>() {
        Ok(lines) => lines,
        // Some damage makes the check itself fail.
        Err(error) => vec![error.to_string()],
    };
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn open(path: &Path, read_only: bool) -> Result<Connection> {
    let config = SqliteConfig { create: false, read_only, ..SqliteConfig::new(path) };
    prepare_file(&config)?;
    connect(&config, if read_only { Access::Read } else { Access::Write })
}
