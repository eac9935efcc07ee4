//! SQLite's failures as kinds of the shared error.

use recstore_core::{Error, ErrorKind, Result};
use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_CONSTRAINT_DATATYPE, SQLITE_IOERR_SHORT_READ, SQLITE_READONLY_DIRECTORY};

/// Turns SQLite's results into the shared ones.
pub(crate) trait SqlResult<T> {
    /// Maps the failure onto a kind and keeps it as the source.
    fn sql(self) -> Result<T>;
}

impl<T> SqlResult<T> for rusqlite::Result<T> {
    fn sql(self) -> Result<T> {
        self.map_err(from_sqlite)
    }
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// The one mapping of SQLite's result codes (<https://www.sqlite.org/rescode.html>).
pub(crate) fn from_sqlite(error: rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error_code() {
        // "the database file could not be written (or in some cases read) because of concurrent activity"
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Busy, "another process holds the database's lock")
        }
        // "a problem with the file locking protocol": many others have begun to read just now
        Some(ErrorCode::FileLockingProtocolFailed) => {
            (ErrorKind::Busy, "too many others lock the database at once")
        }
        // "a write could not complete because the disk is full"
        Some(ErrorCode::DiskFull) => (ErrorKind::Full, "the disk is full, free space and retry"),
        // "the current user lacks write permission on the directory in which the database resides"
        Some(ErrorCode::ReadOnly) if extended_code(&error) == Some(SQLITE_READONLY_DIRECTORY) => {
            (ErrorKind::ReadOnly, "the database's folder cannot be written, which reading needs too")
        }
        // "an attempt is made to alter some data for which the current connection does not have permission"
        Some(ErrorCode::ReadOnly) => (ErrorKind::ReadOnly, "the database cannot be written"),
        // "the database file has been corrupted"
        Some(ErrorCode::DatabaseCorrupt) => {
            (ErrorKind::Corrupt, "the database is damaged, restore it from a backup")
        }
        // "the file being opened does not appear to be an SQLite database file"
        Some(ErrorCode::NotADatabase) => (ErrorKind::Corrupt, "the file is not a recstore database"),
        // "SQLite was unable to open a file"
        Some(ErrorCode::CannotOpen) => (ErrorKind::Unavailable, "the database cannot be opened"),
        // "a read attempt in the VFS layer was unable to obtain as many bytes as was requested"
        Some(ErrorCode::SystemIoFailure) if extended_code(&error) == Some(SQLITE_IOERR_SHORT_READ) => {
            (ErrorKind::Corrupt, "the database is cut off, restore it from a backup")
        }
        // "the operating system reported an I/O error"
        Some(ErrorCode::SystemIoFailure) => (ErrorKind::Unavailable, "the disk reported an I/O error"),
        // "an operation was interrupted": by the look at the deadline, nothing else does
        Some(ErrorCode::OperationInterrupted) => {
            (ErrorKind::DeadlineExceeded, "the deadline passed before the read ended")
        }
        Some(ErrorCode::OutOfMemory) => (ErrorKind::Unavailable, "out of memory"),
        // "an attempt to store a value of the wrong type in a STRICT table": of this program's own none is, but a
        // damaged row may hold one, and is written back with it
        Some(ErrorCode::ConstraintViolation) if extended_code(&error) == Some(SQLITE_CONSTRAINT_DATATYPE) => {
            (ErrorKind::Corrupt, "a stored value is damaged")
        }
        None if is_damage(&error) => (ErrorKind::Corrupt, "a stored value is damaged"),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (ErrorKind::ReadOnly, "no permission for the database")
        }
        _ => (ErrorKind::Internal, "unexpected answer of the database engine"),
    };
    Error::new(kind, message).because(error)
}

/// Rows that are missing and values of another type than this program writes.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// A stored value that is not what this program writes.
pub(crate) fn damaged(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

/// Names the file in an error that names no object yet.
pub(crate) fn located(error: Error, file: impl Into<String>) -> Error {
    if error.object().is_some() { error } else { error.on(file) }
}
