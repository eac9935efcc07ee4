//! Opening a file safely: what it is, and the pragmas that durability hangs on, read back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use recstore_core::{Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{SqlResult, located};
use crate::{SqliteConfig, checksum, schema, wal};

/// Older engines can lose commits when two connections checkpoint (the WAL-reset bug, fixed in 3.51.3).
const OLDEST_ENGINE: i32 = 3_051_003;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The magic and the page size.
const HEADER: usize = MAGIC.len() + 2;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    Read,
}

/// Creates an empty file for the owner only, if there is none and the settings allow.
///
/// # Errors
/// `NotFound` without file or folder, `Corrupt` for what is no SQLite database, `ReadOnly` without permission.
pub(crate) fn prepare_file(config: &SqliteConfig) -> Result<()> {
    let path = &config.path;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(Error::invalid("database.path", "is a folder, not a file")),
        Ok(metadata) if metadata.len() == 0 => refuse_log_alone(config),
        Ok(_) => check_file(path).and_then(|()| wal::check(&config.wal())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && config.create && !config.read_only => {
            refuse_log_alone(config).and_then(|()| create_file(path))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::NotFound, "there is no database file").because(cause))
        }
        Err(cause) => {
            Err(Error::new(ErrorKind::Unavailable, "the database file cannot be looked at").because(cause))
        }
    }
    .map_err(|error| located(error, path.display().to_string()))
}

/// SQLite would take the log away: a database has a header before it has a log.
fn refuse_log_alone(config: &SqliteConfig) -> Result<()> {
    let is_alone = || std::fs::metadata(&config.path).map_or(0, |file| file.len()) == 0;
    // Another process may have made both since the first look.
    if length_beside(&config.path, "-wal") == 0 || !is_alone() {
        return Ok(());
    }
    let text = "the database is missing or empty but its log is not: restore both from a backup, or move the log away";
    Err(Error::new(ErrorKind::Corrupt, text))
}

fn create_file(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was first.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::NotFound, "the database's folder does not exist, create it")
                .because(cause))
        }
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(Error::new(ErrorKind::ReadOnly, "the database file cannot be created here").because(cause))
        }
        Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {
            Err(Error::new(ErrorKind::Full, "the disk is full, free space and retry").because(cause))
        }
        Err(cause) => {
            Err(Error::new(ErrorKind::Unavailable, "the database file cannot be created").because(cause))
        }
    }
}

/// An empty file is a database to be; anything else must begin like one and be whole.
fn check_file(path: &Path) -> Result<()> {
    let unreadable = |cause: io::Error| {
        let kind = match cause.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::ReadOnly,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, "the database file cannot be read").because(cause)
    };
    // The log first: a process that brings it into the file deletes it after that.
    let has_log = ["-wal", "-journal"].iter().any(|suffix| length_beside(path, suffix) > 0);
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut header = Vec::with_capacity(HEADER);
    file.take(HEADER as u64).read_to_end(&mut header).map_err(unreadable)?;
    if header.is_empty() || (header.starts_with(MAGIC) && (has_log || is_whole(&header, length))) {
        return Ok(());
    }
    let text = if header.starts_with(MAGIC) {
        "the database is cut off"
    } else {
        "the file is not a recstore database"
    };
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// Whether the file ends with a page: SQLite takes what is missing of the last one for zeros. What a log
/// completes may be cut off.
fn is_whole(header: &[u8], length: u64) -> bool {
    let page_size = match header.get(MAGIC.len()..HEADER) {
        // 65,536 does not fit.
        Some(&[0, 1]) => 65_536,
        Some(&[high, low]) => u64::from(u16::from_be_bytes([high, low])),
        _ => return false,
    };
    // A page size that is none is told by SQLite.
    page_size == 0 || length.is_multiple_of(page_size)
}

/// The length of a file that SQLite keeps beside the database; 0 if there is none.
pub(crate) fn length_beside(path: &Path, suffix: &str) -> u64 {
    let mut beside = path.to_owned().into_os_string();
    beside.push(suffix);
    std::fs::metadata(beside).map_or(0, |metadata| metadata.len())
}

/// Opens a connection with the pragmas set and read back.
///
/// # Errors
/// `Unsupported` for an engine that is too old, `ReadOnly` if writes are wanted and not possible, `Corrupt`.
pub(crate) fn connect(config: &SqliteConfig, access: Access) -> Result<Connection> {
    open(config, access).map_err(|error| located(error, config.path.display().to_string()))
}

/// Opens a connection that only looks at the file: neither it nor its log are changed, nor when it closes. What a
/// killed process has left half done is finished as always, a database cannot be read without that.
///
/// # Errors
/// As [`connect`].
pub(crate) fn connect_to_look(config: &SqliteConfig) -> Result<Connection> {
    let connection = open_file(config)?;
    let not_folded = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
    connection.pragma_update(None, "query_only", true).sql()?;
    if not_folded {
        return Ok(connection);
    }
    Err(Error::new(ErrorKind::Unsupported, "the database cannot be closed without folding its log in"))
}

/// Opens the file as it is without its log, which may lack what was committed last or be half checkpointed.
///
/// # Errors
/// As [`connect`].
pub(crate) fn connect_without_log(config: &SqliteConfig) -> Result<Connection> {
    let mut uri = String::from("file:");
    for byte in config.path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags).sql()?;
    prepare(&connection)?;
    Ok(connection)
}

/// Refuses an engine that is too old. The number is that of SQLite: 3.51.3 is 3,051,003.
fn check_engine(version: i32) -> Result<()> {
    if version >= OLDEST_ENGINE {
        return Ok(());
    }
    let (major, minor, patch) = (version / 1_000_000, version / 1_000 % 1_000, version % 1_000);
    let text = format!("SQLite {major}.{minor}.{patch} can lose commits, at least 3.51.3 is needed");
    Err(Error::new(ErrorKind::Unsupported, text))
}

fn open_file(config: &SqliteConfig) -> Result<Connection> {
    check_engine(rusqlite::version_number())?;
    // Readers too open for writing where they may: they keep the WAL's index, and never write rows.
    let mode =
        if config.read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(&config.path, flags).sql()?;
    connection.busy_timeout(config.busy_timeout).sql()?;
    connection.set_prepared_statement_cache_capacity(64);
    prepare(&connection)?;
    Ok(connection)
}

/// What every connection needs.
fn prepare(connection: &Connection) -> Result<()> {
    checksum::register(connection)?;
    // Plans must not depend on bound values: SQLite would prepare such statements anew at every call.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).sql()?;
    // A file from elsewhere must not run code of its own through views, triggers or defaults.
    set_and_check(connection, "trusted_schema", "off", "0")?;
    set_and_check(connection, "cell_size_check", "on", "1")
}

fn open(config: &SqliteConfig, access: Access) -> Result<Connection> {
    let connection = open_file(config)?;
    if !config.read_only {
        // The journal mode is kept in the file: what is not ours is refused before.
        schema::refuse_foreign(&connection)?;
        switch_log_on(&connection, config.busy_timeout)?;
        if connection.is_readonly("main").sql()? {
            let text = "the database file cannot be written; to only read, set database.read_only: true";
            return Err(Error::new(ErrorKind::ReadOnly, text));
        }
    }
    if config.read_only {
        // Whatever version it is: a header that is damaged is told here, pragmas would fail at it without a reason.
        schema::inspect_at_once(&connection)?;
    }
    // FULL syncs the WAL at every commit; NORMAL may lose the last commits on power loss.
    set_and_check(&connection, "synchronous", "full", "2")?;
    set_and_check(&connection, "foreign_keys", "on", "1")?;
    let cache_kib = i64::try_from(config.cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -cache_kib).sql()?;
    let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).sql()?;
    let pages = i64::try_from(config.wal_bytes).unwrap_or(i64::MAX) / page_size.max(1);
    // Only the writer checkpoints.
    connection
        .pragma_update(None, "wal_autocheckpoint", if access == Access::Write { pages } else { 0 })
        .sql()?;
    // A log that had to grow while a reader was long about it gives its space back when it begins anew.
    let most = i64::try_from(config.wal_excess()).unwrap_or(i64::MAX);
    connection.pragma_update(None, "journal_size_limit", most).sql()?;
    match access {
        // What was erased must not stay readable in the file's free space.
        Access::Write => set_and_check(&connection, "secure_delete", "on", "1")?,
        Access::Read => connection.pragma_update(None, "query_only", true).sql()?,
    }
    Ok(connection)
}

/// Brings to the disk what a killed process has left in the WAL: it may have died between the commit and its
/// sync, and a repetition of that write finds nothing to write, hence nothing to sync.
///
/// # Errors
/// `Full`, `Unavailable`, `Corrupt`. Another process that checkpoints at the same time is no error, it does
/// the same.
pub(crate) fn settle(connection: &Connection) -> Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).sql()
}

/// A new file must belong to this connection alone for a moment. SQLite answers at once that it does not, since
/// two that wait for each other would wait for ever.
fn switch_log_on(connection: &Connection, busy_timeout: Duration) -> Result<()> {
    let begin = Instant::now();
    loop {
        match set_and_check(connection, "journal_mode", "wal", "wal") {
            Err(error) if error.kind() == ErrorKind::Busy && begin.elapsed() < busy_timeout => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Sets a pragma and reads it back: a connection without it would break a promise silently.
fn set_and_check(connection: &Connection, name: &str, value: &str, expected: &str) -> Result<()> {
    // To its end: `journal_mode` answers with a row, and commits what it has changed in the file after that.
    let mut statement = connection.prepare(&format!("PRAGMA {name} = {value}")).sql()?;
    let mut answer = statement.query([]).sql()?;
    while answer.next().sql()?.is_some() {}
    let found = connection
        .pragma_query_value(None, name, |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str().unwrap_or_default().to_owned(),
            })
        })
        .sql()?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the database does not take {name}={value}, it stays {found}"),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests, in which a failure is a panic")]

    use std::sync::{Arc, Barrier};

    use futures::future::join_all;
    use recstore_core::{FeatureStore, GetOptions, Namespace, RatingStore, StoreContext};
    use recstore_test_faults::{Disk, Synchronous, memory_folder};

    use super::*;
    use crate::{Parameters, SqliteStorage};

    const READERS: usize = 3;

    async fn open_in(folder: &Path) -> (SqliteConfig, SqliteStorage) {
        let config = SqliteConfig { readers: READERS, ..SqliteConfig::new(folder.join("settings.db")) };
        let opened = SqliteStorage::open(
            config.clone(),
            Namespace::default(),
            StoreContext::default(),
            Parameters::Keep,
        );
        (config, opened.await.unwrap())
    }

    /// What durability hangs on, as the connection says it, and which thread has it.
    fn settings(connection: &Connection) -> Result<(String, i64, Option<String>)> {
        let journal = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).sql()?;
        let synchronous = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).sql()?;
        Ok((journal, synchronous, std::thread::current().name().map(str::to_owned)))
    }

    #[tokio::test]
    async fn every_connection_has_the_log_on_and_full_syncs() {
        const FULL: i64 = 2;
        let folder = memory_folder();
        let (config, store) = open_in(folder.path()).await;
        let mut found = vec![store.write(1, None, |session| settings(&session.connection)).await.unwrap()];
        // Each thread waits for all the others, so that none answers twice.
        let all = Arc::new(Barrier::new(READERS));
        let ask = |_| {
            let all = Arc::clone(&all);
            store.read_all(None, move |reader, _| {
                all.wait();
                settings(reader)
            })
        };
        for answer in join_all((0..READERS).map(ask)).await {
            found.push(answer.unwrap());
        }
        let mut threads: Vec<_> = found.iter().filter_map(|(_, _, thread)| thread.clone()).collect();
        threads.sort();
        let readers = (0..READERS).map(|number| format!("recstore-reader-{number}"));
        assert_eq!(threads, readers.chain(["recstore-writer".to_owned()]).collect::<Vec<_>>());
        // As the threads of a rebuild open theirs.
        found.push(settings(&connect(&config, Access::Read).unwrap()).unwrap());
        for (journal, synchronous, thread) in found {
            assert_eq!((journal.as_str(), synchronous), ("wal", FULL), "{thread:?}");
        }
    }

    #[tokio::test]
    async fn a_rebuild_whose_connections_do_not_take_full_syncs_is_refused() {
        let folder = memory_folder();
        let disk = Disk::watch(folder.path());
        let (_, store) = open_in(folder.path()).await;
        store.rebuild_features().await.unwrap();
        disk.weaken_openly(Synchronous::Normal);
        let error = store.rebuild_features().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("synchronous"), "{error}");
        store.count_ratings(GetOptions::default()).await.unwrap();
    }

    #[test]
    fn engines_that_can_lose_commits_are_refused() {
        for version in [3_007_000, 3_050_004, 3_051_000, 3_051_002] {
            let error = check_engine(version).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{version}");
        }
        let text = check_engine(3_051_002).unwrap_err().message().to_owned();
        assert!(text.contains("SQLite 3.51.2") && text.contains("3.51.3"), "{text}");
        for version in [3_051_003, 3_052_000, 4_000_000, rusqlite::version_number()] {
            assert!(check_engine(version).is_ok(), "{version}");
        }
    }
}
