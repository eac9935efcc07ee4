//! The work of statements, by SQLite's own counters: the same on every machine, unlike time.
#![allow(unsafe_code, reason = "the counters can only be read through SQLite's C interface")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

static STATEMENTS: AtomicU64 = AtomicU64::new(0);
static MACHINE_STEPS: AtomicU64 = AtomicU64::new(0);
static SCAN_STEPS: AtomicU64 = AtomicU64::new(0);

/// What the statements of all connections of this process have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    /// Statements that ended.
    pub statements: u64,
    /// Instructions of SQLite's virtual machine (`SQLITE_STMTSTATUS_VM_STEP`).
    pub machine: u64,
    /// Steps forward in full scans of a table (`SQLITE_STMTSTATUS_FULLSCAN_STEP`).
    pub scan: u64,
}

impl Steps {
    /// Counts the statements of every connection that is opened from now on.
    ///
    /// # Panics
    /// If SQLite takes no extension.
    pub fn count_from_now() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the function has the signature of an extension's entry point and lives for ever.
            let code = unsafe { ffi::sqlite3_auto_extension(Some(on_connection)) };
            assert_eq!(code, ffi::SQLITE_OK);
        });
    }

    /// The counts so far.
    pub fn now() -> Steps {
        Steps {
            statements: STATEMENTS.load(Ordering::SeqCst),
            machine: MACHINE_STEPS.load(Ordering::SeqCst),
            scan: SCAN_STEPS.load(Ordering::SeqCst),
        }
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Steps) -> Steps {
        Steps {
            statements: self.statements - earlier.statements,
            machine: self.machine - earlier.machine,
            scan: self.scan - earlier.scan,
        }
    }
}

unsafe extern "C" fn on_connection(
    connection: *mut ffi::sqlite3,
    _: *mut *mut c_char,
    _: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite calls it with a new connection; the callback needs no context.
    unsafe {
        ffi::sqlite3_trace_v2(connection, ffi::SQLITE_TRACE_PROFILE, Some(on_statement_end), ptr::null_mut())
    }
}

unsafe extern "C" fn on_statement_end(
    _: c_uint,
    _: *mut c_void,
    statement: *mut c_void,
    _: *mut c_void,
) -> c_int {
    // SAFETY: for this event SQLite hands over the statement that has just ended.
    let (machine, scan) = unsafe {
        let status = |counter| ffi::sqlite3_stmt_status(statement.cast(), counter, 1);
        (status(ffi::SQLITE_STMTSTATUS_VM_STEP), status(ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP))
    };
    STATEMENTS.fetch_add(1, Ordering::SeqCst);
    MACHINE_STEPS.fetch_add(u64::try_from(machine).unwrap_or(0), Ordering::SeqCst);
    SCAN_STEPS.fetch_add(u64::try_from(scan).unwrap_or(0), Ordering::SeqCst);
    0
}
