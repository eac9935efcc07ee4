//! Whether a whole file is as it was written: its pages and indexes, every row, every reference between rows.

use recstore_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, ffi};

use crate::SqliteConfig;
use crate::checksum::SEALED;
use crate::connection::{connect_to_look, connect_without_log, length_beside};
use crate::error::{SqlResult, from_sqlite, located};
use crate::parameters;
use crate::schema::{self, Found, SUPPORTED};

/// How many checks [`problems`] makes.
pub(crate) const CHECKS: usize = SEALED.len() + REFERENCES.len() + 2;

/// Everything that is wrong with a file, one sentence each, as of one moment. Changes nothing.
///
/// # Errors
/// `SchemaVersion`, and what keeps the file from being read at all.
pub(crate) fn problems(connection: &Connection) -> Result<Vec<String>> {
    let connection = connection.unchecked_transaction().sql()?;
    let mut problems = Vec::new();
    match schema::check(&connection) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Corrupt => problems.push(error.to_string()),
        Err(error) => return Err(error),
    }
    problems.extend(structure(&connection)?);
    // Rows and references can only be followed in tables that are as they should be.
    if problems.is_empty() {
        problems.extend(rows(&connection)?);
    }
    if problems.is_empty() {
        problems.extend(references(&connection)?);
    }
    Ok(problems)
}

/// Refuses a file beside the log of another, and one that is damaged, if it is not larger than the settings say, before
/// anything is written to it.
///
/// # Errors
/// `Corrupt` that says what is wrong, and what keeps the file from being read.
pub(crate) fn verify(config: &SqliteConfig) -> Result<()> {
    verify_unlocated(config).map_err(|error| located(error, config.path.display().to_string()))
}

fn verify_unlocated(config: &SqliteConfig) -> Result<()> {
    let has_log = length_beside(&config.path, "-wal") > 0;
    if config.verify_bytes == 0 && !has_log {
        return Ok(());
    }
    let connection = connect_to_look(config)?;
    // A file of another version is migrated or refused by what comes after this.
    if schema::inspect_at_once(&connection)? != Found::Version(SUPPORTED) {
        return Ok(());
    }
    if has_log {
        refuse_log_of_another(&connection, config)?;
    }
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).sql();
    let bytes = pragma("page_count")?.saturating_mul(pragma("page_size")?);
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > config.verify_bytes) {
        return Ok(());
    }
    let problems = problems(&connection)?;
    match problems.first() {
        None => Ok(()),
        Some(first) => {
            let text = format!(
                "the database is damaged, restore it from a backup; {} problems, the first: {first}",
                problems.len()
            );
            Err(Error::new(ErrorKind::Corrupt, text))
        }
    }
}

/// SQLite does not link a log to its database: put beside another one, it hides that or mixes with it. Which store
/// it is stands in the file, and in the log if that holds the same page: it is among the first that are written
/// after opening, but not in a log that began anew since. That is told by what does not fit, if the file is verified.
fn refuse_log_of_another(connection: &Connection, config: &SqliteConfig) -> Result<()> {
    // A new file may have everything in the log still.
    let file = connect_without_log(config).and_then(|file| parameters::store_id(&file));
    let Ok(Some(of_file)) = file else { return Ok(()) };
    if parameters::store_id(connection)? == Some(of_file) {
        return Ok(());
    }
    let text = "the log beside the database is that of another database: restore both from a backup, or move the log away";
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// Rows that are not what was stored.
fn rows(connection: &Connection) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for sealed in SEALED {
        let (table, column, checksum) = (sealed.table, sealed.column, sealed.checksum);
        let sql = format!("SELECT count(*) FROM {table} NOT INDEXED WHERE {column} IS NOT {checksum}");
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).sql()?;
        if count > 0 {
            problems.push(format!("{count} rows of {table} are not what was stored ({column})"));
        }
    }
    Ok(problems)
}

/// References to what there is not.
fn references(connection: &Connection) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (problem, sql) in REFERENCES {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0)).sql()?;
        if count > 0 {
            problems.push(format!("{count} {problem}"));
        }
    }
    Ok(problems)
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
        "feature groups whose columns are not all there",
        "SELECT count(*) FROM feature_groups g WHERE columns <>
         (SELECT count(*) FROM feature_columns c WHERE c.grp = g.id)",
    ),
    (
        "namespaces whose releases are not all there",
        "SELECT count(*) FROM namespaces n WHERE releases <> (SELECT count(*) FROM releases r WHERE r.ns = n.id)",
    ),
    (
        "releases whose lists are not all there",
        "SELECT count(*) FROM releases r WHERE lists <>
         (SELECT count(*) FROM neighbour_lists l WHERE l.release = r.id)",
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

/// Pages and indexes.
///
/// # Errors
/// `Unavailable` if the disk failed meanwhile: that says nothing of the file.
fn structure(connection: &Connection) -> Result<Vec<String>> {
    let mut check = connection.prepare("PRAGMA integrity_check(20)").sql()?;
    let lines = check.query_map([], |row| row.get::<_, String>(0)).sql()?;
    let lines: Vec<String> = match lines.collect::<rusqlite::Result<_>>().sql() {
        Ok(lines) => lines,
        // Some damage makes the check itself fail.
        Err(error) if error.kind() == ErrorKind::Corrupt => vec![error.to_string()],
        Err(error) => return Err(error),
    };
    if let Some(code) = lines.iter().flat_map(|lines| lines.lines()).find_map(code_of_unread_page) {
        return Err(from_sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)));
    }
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// The check reports a page that cannot be read, with the code of the failure; `None` if the failure is damage.
fn code_of_unread_page(line: &str) -> Option<i32> {
    let (_, code) = line.rsplit_once("unable to get the page. error code=")?;
    let code: i32 = code.trim().parse().ok()?;
    let is_damage = matches!(code & 0xff, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB);
    (!is_damage && code != ffi::SQLITE_IOERR_SHORT_READ).then_some(code)
}
