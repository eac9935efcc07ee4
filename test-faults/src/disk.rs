//! A disk: the files of one folder that are watched, counted, and ordered to fail.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use crate::log::{Entry, Log};
use crate::vfs;

/// The disks that are watched now, by their folder.
static DISKS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

/// The files of one folder, as long as this lives.
#[derive(Debug)]
pub struct Disk(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recording: bool,
    log: Log,
    figures: Figures,
    fault: Option<Fault>,
    /// Changes since the fault was ordered.
    changes: u64,
    failed: u64,
    synchronous: Option<Synchronous>,
    sync_time: Duration,
}

/// How often SQLite did what on a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Syncs of the write-ahead log.
    pub wal_syncs: u64,
    /// Syncs of the main file.
    pub main_syncs: u64,
    /// Writes to either.
    pub writes: u64,
    /// Reads of either.
    pub reads: u64,
    /// Everything that a [`Fault`] can hit, journals included.
    pub changes: u64,
}

/// What a call can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Bytes of a file.
    Write,
    /// The length of a file.
    Truncate,
    /// What is on the medium.
    Sync,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// ENOSPC: there is no room. Of a write, the first sector still finds some. Syncs and truncations go well.
    NoSpace,
    /// EIO: the medium fails.
    Io,
}

/// An order to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// How many changes go well before.
    pub after: u64,
    /// How it fails.
    pub failure: Failure,
    /// Whether every later change fails too, until the disk is healed; else only one does.
    pub lasting: bool,
}

/// Settings of SQLite that are weaker than the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// No syncs at all.
    Off,
    /// Syncs at checkpoints only.
    Normal,
}

/// Which file of a database a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Main,
    Wal,
    Journal,
}

/// What a call shall do instead of its work.
pub(crate) struct Refusal {
    /// The code to answer.
    pub(crate) code: c_int,
    /// How many bytes of a write get through all the same.
    pub(crate) partial: usize,
}

impl Disk {
    /// Watches the folder's databases that are opened from now on.
    ///
    /// # Panics
    /// If there is no such folder, it is watched already, or SQLite takes no VFS.
    pub fn watch(folder: &Path) -> Disk {
        vfs::install();
        let folder = folder.canonicalize().expect("the folder exists");
        let shared = Arc::new(Shared { folder, state: Mutex::default() });
        let mut disks = lock(&DISKS);
        assert!(disks.iter().all(|disk| disk.folder != shared.folder), "the folder is watched already");
        disks.push(Arc::clone(&shared));
        Disk(shared)
    }

    /// A disk whose writer was killed at the end of `log`: the folder gets every file as the operating system
    /// has it, and the log goes on, so that what was not synced can still be lost.
    ///
    /// # Panics
    /// As [`watch`](Self::watch), and if the files cannot be written.
    pub fn after_kill(folder: &Path, log: Log) -> Disk {
        log.all_changes().write_to(folder).expect("the folder takes files");
        let disk = Disk::watch(folder);
        *lock(&disk.0.state) = State { recording: true, log, ..State::default() };
        disk
    }

    /// Keeps a [log](Self::log) from now on; to be called before a database is opened.
    pub fn record(&self) {
        lock(&self.0.state).recording = true;
    }

    /// Marks in the log that step `step` begins.
    pub fn begun(&self, step: usize) {
        self.0.log(Entry::Begun(step));
    }

    /// Marks in the log that step `step` was acknowledged.
    pub fn acknowledged(&self, step: usize) {
        self.0.log(Entry::Acknowledged(step));
    }

    /// What happened so far.
    pub fn log(&self) -> Log {
        lock(&self.0.state).log.clone()
    }

    /// How often SQLite did what, since the disk is watched.
    pub fn figures(&self) -> Figures {
        lock(&self.0.state).figures
    }

    /// Orders changes to fail, counted from now.
    pub fn fail(&self, fault: Fault) {
        let mut state = lock(&self.0.state);
        state.fault = Some(fault);
        state.changes = 0;
        state.failed = 0;
    }

    /// Takes the order back; how many changes failed.
    pub fn heal(&self) -> u64 {
        let mut state = lock(&self.0.state);
        state.fault = None;
        state.failed
    }

    /// Connections that are opened from now on have this setting, and answer that they have the store's.
    pub fn weaken(&self, synchronous: Synchronous) {
        lock(&self.0.state).synchronous = Some(synchronous);
    }

    /// Makes every sync take this long.
    pub fn slow_down(&self, sync_time: Duration) {
        lock(&self.0.state).sync_time = sync_time;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        lock(&DISKS).retain(|disk| !Arc::ptr_eq(disk, &self.0));
    }
}

/// The disk that a file lies on, if it is watched.
pub(crate) fn find(file: &Path) -> Option<Arc<Shared>> {
    let folder = file.parent()?;
    lock(&DISKS).iter().find(|disk| disk.folder == folder).cloned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn log(&self, entry: Entry) {
        let mut state = lock(&self.state);
        if state.recording {
            state.log.push(entry);
        }
    }

    /// The number of a file in the log.
    pub(crate) fn file(&self, path: &Path) -> usize {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What Rust's own code made, before SQLite opened it, is taken as durable.
        lock(&self.state).log.file(&name, || std::fs::read(path).ok())
    }

    pub(crate) fn count_read(&self) {
        lock(&self.state).figures.reads += 1;
    }

    /// Counts a change that is about to happen, and says whether it may.
    pub(crate) fn ask(&self, role: Role, change: Change) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        state.figures.changes += 1;
        match (change, role) {
            (Change::Sync, Role::Wal) => state.figures.wal_syncs += 1,
            (Change::Sync, Role::Main) => state.figures.main_syncs += 1,
            (Change::Write, Role::Wal | Role::Main) => state.figures.writes += 1,
            _ => {}
        }
        let Some(fault) = state.fault else { return Ok(()) };
        let number = state.changes;
        state.changes += 1;
        if number < fault.after || (number > fault.after && !fault.lasting) {
            return Ok(());
        }
        let refusal = refusal(fault.failure, change);
        state.failed += u64::from(refusal.is_err());
        refusal
    }

    /// Waits as long as a sync shall take.
    pub(crate) fn take_time(&self) {
        let time = lock(&self.state).sync_time;
        if !time.is_zero() {
            std::thread::sleep(time);
        }
    }

    pub(crate) fn synchronous(&self) -> Option<Synchronous> {
        lock(&self.state).synchronous
    }
}

/// The codes are those that SQLite's own VFS answers for the errors of the operating system.
fn refusal(failure: Failure, change: Change) -> Result<(), Refusal> {
    let (code, partial) = match (failure, change) {
        (Failure::NoSpace, Change::Write) => (ffi::SQLITE_FULL, 512),
        (Failure::NoSpace, Change::Truncate | Change::Sync) => return Ok(()),
        (Failure::Io, Change::Write) => (ffi::SQLITE_IOERR_WRITE, 0),
        (Failure::Io, Change::Truncate) => (ffi::SQLITE_IOERR_TRUNCATE, 0),
        (Failure::Io, Change::Sync) => (ffi::SQLITE_IOERR_FSYNC, 0),
    };
    Err(Refusal { code, partial })
}
