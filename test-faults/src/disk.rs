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
    fault: Option<(Target, Fault)>,
    /// Operations that the fault could have hit since it was ordered.
    met: u64,
    failed: u64,
    synchronous: Option<Synchronous>,
    /// Whether the weaker setting is admitted.
    is_admitted: bool,
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

/// Which operations of SQLite on a disk a [`Fault`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Writes, truncations and syncs.
    Changes,
    /// Reads.
    Reads,
    /// Opening a file.
    Opens,
    /// Deleting a file.
    Deletions,
    /// Taking a lock, of the main file or of the log's index. Locks are always let go.
    Locks,
    /// Mapping the log's index into memory.
    SharedMemory,
}

/// What a call is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Write,
    Truncate,
    Sync,
    Read,
    Open,
    Delete,
    Lock,
    LockIndex,
    MapIndex,
}

impl Operation {
    fn target(self) -> Target {
        match self {
            Operation::Write | Operation::Truncate | Operation::Sync => Target::Changes,
            Operation::Read => Target::Reads,
            Operation::Open => Target::Opens,
            Operation::Delete => Target::Deletions,
            Operation::Lock | Operation::LockIndex => Target::Locks,
            Operation::MapIndex => Target::SharedMemory,
        }
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// ENOSPC: there is no room. Of a write, the first sector still finds some. Syncs and truncations go well.
    NoSpace,
    /// EIO: the medium fails.
    Io,
    /// A read finds the end of the file, as if it had been cut off; zeros are read instead.
    Short,
    /// A lock is held by another.
    Busy,
}

/// An order to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// How many operations go well before.
    pub after: u64,
    /// How it fails.
    pub failure: Failure,
    /// Whether every later one fails too, until the disk is healed; else only one does.
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

    /// Marks in the log what is being done from now on.
    pub fn phase(&self, name: &'static str) {
        self.0.log(Entry::Phase(name));
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
        self.fail_at(Target::Changes, fault);
    }

    /// Orders operations of this sort to fail, counted from now.
    pub fn fail_at(&self, target: Target, fault: Fault) {
        let mut state = lock(&self.0.state);
        state.fault = Some((target, fault));
        state.met = 0;
        state.failed = 0;
    }

    /// Takes the order back; how many operations failed.
    pub fn heal(&self) -> u64 {
        let mut state = lock(&self.0.state);
        state.fault = None;
        state.failed
    }

    /// Connections that are opened from now on have this setting, and answer that they have the store's.
    pub fn weaken(&self, synchronous: Synchronous) {
        lock(&self.0.state).synchronous = Some(synchronous);
    }

    /// Connections that are opened from now on have this setting, and say so.
    pub fn weaken_openly(&self, synchronous: Synchronous) {
        let mut state = lock(&self.0.state);
        state.synchronous = Some(synchronous);
        state.is_admitted = true;
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

    /// Counts an operation that is about to happen, and says whether it may.
    pub(crate) fn ask(&self, role: Role, operation: Operation) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        let target = operation.target();
        state.figures.changes += u64::from(target == Target::Changes);
        match (operation, role) {
            (Operation::Sync, Role::Wal) => state.figures.wal_syncs += 1,
            (Operation::Sync, Role::Main) => state.figures.main_syncs += 1,
            (Operation::Write, Role::Wal | Role::Main) => state.figures.writes += 1,
            (Operation::Read, _) => state.figures.reads += 1,
            _ => {}
        }
        let Some((_, fault)) = state.fault.filter(|(of, _)| *of == target) else { return Ok(()) };
        let number = state.met;
        state.met += 1;
        if number < fault.after || (number > fault.after && !fault.lasting) {
            return Ok(());
        }
        let refusal = refusal(fault.failure, operation);
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

    pub(crate) fn is_admitted(&self) -> bool {
        lock(&self.state).is_admitted
    }
}

/// The codes are those that SQLite's own VFS answers for the errors of the operating system.
fn refusal(failure: Failure, operation: Operation) -> Result<(), Refusal> {
    let (code, partial) = match (failure, operation) {
        (Failure::NoSpace, Operation::Write) => (ffi::SQLITE_FULL, 512),
        (Failure::Io, Operation::Write) => (ffi::SQLITE_IOERR_WRITE, 0),
        (Failure::Io, Operation::Truncate) => (ffi::SQLITE_IOERR_TRUNCATE, 0),
        (Failure::Io, Operation::Sync) => (ffi::SQLITE_IOERR_FSYNC, 0),
        (Failure::Io, Operation::Read) => (ffi::SQLITE_IOERR_READ, 0),
        (Failure::Short, Operation::Read) => (ffi::SQLITE_IOERR_SHORT_READ, 0),
        (Failure::Io, Operation::Open) => (ffi::SQLITE_CANTOPEN, 0),
        (Failure::Io, Operation::Delete) => (ffi::SQLITE_IOERR_DELETE, 0),
        (Failure::Io, Operation::Lock) => (ffi::SQLITE_IOERR_LOCK, 0),
        (Failure::Io, Operation::LockIndex) => (ffi::SQLITE_IOERR_SHMLOCK, 0),
        (Failure::Io, Operation::MapIndex) => (ffi::SQLITE_IOERR_SHMMAP, 0),
        (Failure::Busy, Operation::Lock | Operation::LockIndex) => (ffi::SQLITE_BUSY, 0),
        (Failure::NoSpace | Failure::Short | Failure::Busy, _) => return Ok(()),
    };
    Err(Refusal { code, partial })
}
