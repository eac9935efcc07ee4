//! The stored form: numbered migrations, forward only, counted in `user_version`.

use std::sync::OnceLock;

use recstore_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};

use crate::error::{SqlResult, damaged};

/// Marks the file as Recstore's in its header: "RECS".
const APPLICATION_ID: i64 = 0x5245_4353;

/// Every migration, in order; the version of the file is how many were applied.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_initial.sql")];

/// The version that this program writes.
pub(crate) const SUPPORTED: u32 = MIGRATIONS.len() as u32;

/// What a file is, as far as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A new, empty file.
    Empty,
    /// A Recstore file of this version.
    Version(u32),
}

/// Looks at the header, within a transaction.
///
/// # Errors
/// `Corrupt` for another program's database, a truncated file or a version without Recstore's mark.
pub(crate) fn inspect(connection: &Connection) -> Result<Found> {
    // For a header that it does not understand SQLite has no code of its own.
    let (application, version, objects) = header(connection).map_err(|error| match error.kind() {
        ErrorKind::Internal => damaged("the header of the database is damaged").because(error),
        _ => error,
    })?;
    match (application, version) {
        (0, 0) if objects == 0 && is_blank(connection) => Ok(Found::Empty),
        (0, 0) if objects == 0 => {
            Err(damaged("the first page of the database is that of an empty one, and more pages follow it"))
        }
        (APPLICATION_ID, version) if version > 0 => {
            u32::try_from(version).map(Found::Version).map_err(|_| damaged("the schema version is damaged"))
        }
        _ => Err(Error::new(ErrorKind::Corrupt, "the file is an SQLite database of another program")),
    }
}

/// Whether the file has one page at most. The number of pages in its header does not tell: where the last write of
/// the first page was lost, it is that of a file that was just made.
fn is_blank(connection: &Connection) -> bool {
    let page_size = connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0));
    let length = connection.path().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |file| file.len());
    page_size.is_ok_and(|page_size| i64::try_from(length).is_ok_and(|length| length <= page_size))
}

/// Application, version and number of objects.
fn header(connection: &Connection) -> Result<(i64, i64, i64)> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).sql();
    Ok((
        number("PRAGMA application_id")?,
        number("PRAGMA user_version")?,
        number("SELECT count(*) FROM sqlite_schema")?,
    ))
}

/// Brings the file to [`SUPPORTED`], each migration in a transaction of its own; returns how many ran.
///
/// # Errors
/// `SchemaVersion` if the file is newer, and as [`inspect`].
pub(crate) fn migrate(connection: &mut Connection) -> Result<u32> {
    // A file that is up to date is opened without waiting for a writer.
    if inspect_at_once(connection)? == Found::Version(SUPPORTED) {
        return Ok(0);
    }
    let mut applied = 0;
    loop {
        // Another process may migrate at the same time: the version is read under the write lock.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).sql()?;
        let version = match inspect(&transaction)? {
            Found::Empty => 0,
            Found::Version(version) => version,
        };
        check_supported(version)?;
        let Some(migration) = MIGRATIONS.get(version as usize) else {
            return Ok(applied);
        };
        transaction.execute_batch(migration).sql()?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).sql()?;
        transaction.pragma_update(None, "user_version", version + 1).sql()?;
        transaction.commit().sql()?;
        applied += 1;
    }
}

/// As [`inspect`], of one state of the file: another process may migrate at the same time.
///
/// # Errors
/// As [`inspect`].
pub(crate) fn inspect_at_once(connection: &Connection) -> Result<Found> {
    let transaction = connection.unchecked_transaction().sql()?;
    inspect(&transaction)
}

/// Looks at the header, and changes nothing.
///
/// # Errors
/// `Corrupt` for another program's database, `SchemaVersion` if the file is newer than this program.
pub(crate) fn refuse_foreign(connection: &Connection) -> Result<()> {
    match inspect_at_once(connection)? {
        Found::Empty => Ok(()),
        Found::Version(version) => check_supported(version),
    }
}

/// # Errors
/// `SchemaVersion` if the file is newer than this program.
pub(crate) fn check_supported(version: u32) -> Result<()> {
    if version <= SUPPORTED {
        return Ok(());
    }
    let text = format!(
        "the database has schema version {version}, this program reads up to {SUPPORTED}; upgrade it"
    );
    Err(Error::new(ErrorKind::SchemaVersion, text))
}

/// Checks that the file is at [`SUPPORTED`] and its tables and indexes are exactly those of the migrations,
/// within a transaction.
///
/// # Errors
/// `SchemaVersion` for another version, `Corrupt` that names the first object that differs.
pub(crate) fn check(connection: &Connection) -> Result<()> {
    match inspect(connection)? {
        Found::Version(SUPPORTED) => {}
        Found::Version(version) => {
            check_supported(version)?;
            let text = format!(
                "the database has schema version {version}, {SUPPORTED} is needed; run `recstore schema migrate`"
            );
            return Err(Error::new(ErrorKind::SchemaVersion, text));
        }
        Found::Empty => return Err(Error::new(ErrorKind::NotFound, "the database is empty")),
    }
    let (expected, found) = (expected_objects()?, objects(connection)?);
    let differing = expected.iter().find(|object| !found.contains(object));
    let unknown = found.iter().find(|object| !expected.contains(object));
    match differing.or(unknown) {
        None => Ok(()),
        Some((name, _)) => Err(damaged(format!("table or index {name} is not as this program makes it"))),
    }
}

/// Name and text of a table or index.
type Object = (String, String);

/// What the migrations make, looked at once.
fn expected_objects() -> Result<&'static [Object]> {
    static EXPECTED: OnceLock<Vec<Object>> = OnceLock::new();
    if let Some(expected) = EXPECTED.get() {
        return Ok(expected);
    }
    let reference = Connection::open_in_memory().sql()?;
    for migration in MIGRATIONS {
        reference.execute_batch(migration).sql()?;
    }
    let objects = objects(&reference)?;
    Ok(EXPECTED.get_or_init(|| objects))
}

/// Every object, but for SQLite's own.
fn objects(connection: &Connection) -> Result<Vec<Object>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name";
    let mut statement = connection.prepare(sql).sql()?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).sql()?;
    rows.collect::<rusqlite::Result<_>>().sql()
}
