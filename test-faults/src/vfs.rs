//! The C side: a VFS that asks a disk before it passes a call on to the real one.
//!
//! A file of this VFS is SQLite's `sqlite3_file` with a pointer behind it, and behind that the file of the
//! real VFS, in the one block of memory that SQLite allocates for it (<https://www.sqlite.org/vfs.html>).
#![allow(unsafe_code, reason = "SQLite's interface for files is a table of C functions")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, OnceLock};

use rusqlite::ffi;

use crate::disk::{Operation, Role, Shared, Synchronous, find};
use crate::log::Entry;

const NAME: &CStr = c"recstore-test-faults";

/// The VFS that was the default before; it lives as long as the process.
struct Real(*mut ffi::sqlite3_vfs);

// SAFETY: the pointer is to a VFS that SQLite keeps for ever and calls from every thread itself.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();

/// A file as SQLite holds it; the real file follows it in memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Null for files that are not watched.
    watched: *mut Watched,
}

/// A file on a watched disk.
struct Watched {
    disk: Arc<Shared>,
    role: Role,
    /// Its number in the log.
    file: usize,
    /// It may have been created by this open: SQLite syncs the folder with its first sync.
    is_new: bool,
}

/// Registers the VFS as the process's default, once.
pub(crate) fn install() {
    REAL.get_or_init(|| {
        // SAFETY: initialising is allowed at any time and repeatable, and needed before VFSes are asked for.
        // A null name asks for the default VFS, which lives as long as the process.
        let real = unsafe {
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            ffi::sqlite3_vfs_find(ptr::null())
        };
        assert!(!real.is_null(), "SQLite has no VFS");
        // SAFETY: the real VFS is valid, and plain data that may be copied. All functions that are not
        // replaced here take the copy for the original: they use no more of it than `pAppData`.
        let mut shim = unsafe { *real };
        shim.zName = NAME.as_ptr();
        shim.pNext = ptr::null_mut();
        shim.szOsFile += c_int::try_from(size_of::<File>()).expect("a small number");
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        let shim = Box::leak(Box::new(shim));
        // SAFETY: the VFS is leaked, so it lives as long as the process.
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(shim, 1) }, ffi::SQLITE_OK);
        Real(real)
    });
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    // SQLite calls only what was registered, which `install` did while it set this; the lock there waits.
    REAL.wait().0
}

/// # Safety
/// `name` is null or ends with a zero byte.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    Some(Path::new(OsStr::from_bytes(bytes)).to_owned())
}

fn role_of(flags: c_int) -> Option<Role> {
    [
        (ffi::SQLITE_OPEN_MAIN_DB, Role::Main),
        (ffi::SQLITE_OPEN_WAL, Role::Wal),
        (ffi::SQLITE_OPEN_MAIN_JOURNAL, Role::Journal),
    ]
    .into_iter()
    .find_map(|(flag, role)| (flags & flag != 0).then_some(role))
}

/// What is deleted is a log or a journal.
fn role_of_name(path: &Path) -> Role {
    if path.as_os_str().as_bytes().ends_with(b"-wal") { Role::Wal } else { Role::Journal }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over a name that is null or ends with a zero byte.
    let path = unsafe { path_of(name) };
    let watched = path.zip(role_of(flags)).and_then(|(path, role)| {
        let disk = find(&path)?;
        let is_new = role != Role::Main && flags & ffi::SQLITE_OPEN_CREATE != 0;
        Some(Watched { file: disk.file(&path), disk, role, is_new })
    });
    if let Some(watched) = &watched
        && let Err(refusal) = watched.disk.ask(watched.role, Operation::Open)
    {
        // SAFETY: `file` points to a `File`, see `szOsFile`; without methods SQLite does not close it.
        unsafe { (*file).pMethods = ptr::null() };
        return refusal.code;
    }
    let real = real_vfs();
    // SAFETY: the real VFS has an `xOpen`; `file` has room for both files, as `szOsFile` says, and is zeroed.
    let (code, opened) = unsafe {
        let code = (*real).xOpen.expect("every VFS can open")(real, name, real_file(file), flags, out_flags);
        (code, !(*real_file(file)).pMethods.is_null())
    };
    let shim = file.cast::<File>();
    // SAFETY: `file` points to a `File`, see `szOsFile`; SQLite closes it if, and only if, methods are set.
    unsafe {
        (*shim).base.pMethods = if opened { &raw const METHODS } else { ptr::null() };
        (*shim).watched = match watched {
            Some(watched) if opened => Box::into_raw(Box::new(watched)),
            _ => ptr::null_mut(),
        };
    }
    code
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite hands over a name that ends with a zero byte.
    let path = unsafe { path_of(name) };
    let watched = path.and_then(|path| Some((find(&path)?, path)));
    if let Some((disk, path)) = &watched
        && let Err(refusal) = disk.ask(role_of_name(path), Operation::Delete)
    {
        return refusal.code;
    }
    let real = real_vfs();
    // SAFETY: the arguments are SQLite's own.
    let code = unsafe { (*real).xDelete.expect("every VFS can delete")(real, name, sync_folder) };
    if code == ffi::SQLITE_OK
        && let Some((disk, path)) = watched
    {
        let file = disk.file(&path);
        disk.log(Entry::Delete { file });
        if sync_folder != 0 {
            disk.log(Entry::FolderSync);
        }
    }
    code
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2: with shared memory, without memory-mapped reads.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The real file behind ours.
///
/// # Safety
/// `file` was allocated by SQLite for this VFS.
unsafe fn real_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: the block is `szOsFile` bytes long: ours first, whose size is a multiple of a pointer's.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// What is known of a file that is watched.
///
/// # Safety
/// `file` was opened by this VFS and is not closed.
unsafe fn watched<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a mut Watched> {
    // SAFETY: the pointer is null or of a box that `close` takes back; SQLite calls the methods of one file
    // from one thread at a time.
    unsafe { (*file.cast::<File>()).watched.as_mut() }
}

/// Calls a method of the real file with these arguments.
///
/// Must be within `unsafe`: the file was opened by this VFS and is not closed, the arguments are SQLite's own.
macro_rules! pass_on {
    ($file:ident . $method:ident ( $($argument:expr),* )) => {{
        let real = real_file($file);
        (*(*real).pMethods).$method.expect("the real VFS has every method")(real $(, $argument)*)
    }};
}

/// Methods that are passed on as they are.
macro_rules! passed_on {
    ($($name:ident => $method:ident ( $($argument:ident : $type:ty),* ) $(-> $result:ty)?;)*) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: SQLite calls it with an open file of this VFS and arguments of its own.
            unsafe { pass_on!(file.$method($($argument),*)) }
        })*
    };
}

passed_on! {
    file_size => xFileSize(size: *mut ffi::sqlite3_int64) -> c_int;
    unlock => xUnlock(level: c_int) -> c_int;
    check_reserved_lock => xCheckReservedLock(result: *mut c_int) -> c_int;
    sector_size => xSectorSize() -> c_int;
    device_characteristics => xDeviceCharacteristics() -> c_int;
    shm_barrier => xShmBarrier();
    shm_unmap => xShmUnmap(delete: c_int) -> c_int;
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let shim = file.cast::<File>();
    // SAFETY: SQLite closes an open file once; the box was made by `open`.
    unsafe {
        let watched = std::mem::replace(&mut (*shim).watched, ptr::null_mut());
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
        pass_on!(file.xClose())
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS and arguments of its own; `to` has room for `amount`
    // bytes.
    unsafe {
        if let Some(watched) = watched(file)
            && let Err(refusal) = watched.disk.ask(watched.role, Operation::Read)
        {
            ptr::write_bytes(to.cast::<u8>(), 0, amount as usize);
            return refusal.code;
        }
        pass_on!(file.xRead(to, amount, offset))
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS; `from` has `amount` bytes, of which no more are
    // passed on or looked at.
    unsafe {
        let Some(watched) = watched(file) else { return pass_on!(file.xWrite(from, amount, offset)) };
        let (refused, amount) = match watched.disk.ask(watched.role, Operation::Write) {
            Ok(()) => (None, amount),
            Err(refusal) => (Some(refusal.code), amount.min(refusal.partial as c_int)),
        };
        if amount > 0 {
            let code = pass_on!(file.xWrite(from, amount, offset));
            if code != ffi::SQLITE_OK {
                return code;
            }
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount as usize);
            watched.disk.log(Entry::Write {
                file: watched.file,
                offset: offset as usize,
                bytes: bytes.to_vec(),
            });
        }
        refused.unwrap_or(ffi::SQLITE_OK)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS.
    unsafe {
        let Some(watched) = watched(file) else { return pass_on!(file.xTruncate(size)) };
        if let Err(refusal) = watched.disk.ask(watched.role, Operation::Truncate) {
            return refusal.code;
        }
        let code = pass_on!(file.xTruncate(size));
        if code == ffi::SQLITE_OK {
            watched.disk.log(Entry::Truncate { file: watched.file, length: size as usize });
        }
        code
    }
}

/// The sync itself need not happen: a power cut is made from the log, and the tests' folders are thrown away.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS.
    unsafe {
        let Some(watched) = watched(file) else { return pass_on!(file.xSync(flags)) };
        if let Err(refusal) = watched.disk.ask(watched.role, Operation::Sync) {
            watched.disk.log(Entry::FailedSync { file: watched.file });
            return refusal.code;
        }
        watched.disk.take_time();
        watched.disk.log(Entry::Sync { file: watched.file });
        if std::mem::take(&mut watched.is_new) {
            watched.disk.log(Entry::FolderSync);
        }
        ffi::SQLITE_OK
    }
}

/// The code to answer instead of doing this, if that is ordered.
///
/// # Safety
/// `file` was opened by this VFS and is not closed.
unsafe fn refused(file: *mut ffi::sqlite3_file, operation: Operation) -> Option<c_int> {
    // SAFETY: the caller's promise.
    let watched = unsafe { watched(file) }?;
    watched.disk.ask(watched.role, operation).err().map(|refusal| refusal.code)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS and arguments of its own.
    unsafe { refused(file, Operation::Lock).unwrap_or_else(|| pass_on!(file.xLock(level))) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS and arguments of its own; a failure leaves no memory.
    unsafe {
        if let Some(code) = refused(file, Operation::MapIndex) {
            *memory = ptr::null_mut();
            return code;
        }
        pass_on!(file.xShmMap(page, size, extend, memory))
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS and arguments of its own.
    unsafe {
        if flags & ffi::SQLITE_SHM_LOCK != 0
            && let Some(code) = refused(file, Operation::LockIndex)
        {
            return code;
        }
        pass_on!(file.xShmLock(offset, count, flags))
    }
}

/// Weakens `PRAGMA synchronous` where that is ordered: SQLite shows each pragma to the VFS first.
unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite calls it with an open file of this VFS and an argument of its own. For a pragma this is
    // an array of three texts: the answer, which SQLite frees, the name, and the value or null, which is
    // SQLite's own copy and read by it after this call; its place takes a digit and the zero byte, since a
    // value has at least one byte.
    unsafe {
        let weaker = watched(file).and_then(|watched| watched.disk.synchronous());
        let is_admitted = watched(file).is_some_and(|watched| watched.disk.is_admitted());
        if let Some(weaker) = weaker.filter(|_| op == ffi::SQLITE_FCNTL_PRAGMA) {
            let texts = argument.cast::<*mut c_char>();
            let (answer, name, value) = (texts, *texts.add(1), *texts.add(2));
            if CStr::from_ptr(name).to_bytes().eq_ignore_ascii_case(b"synchronous") {
                if value.is_null() && is_admitted {
                    return pass_on!(file.xFileControl(op, argument));
                }
                if value.is_null() {
                    *answer = ffi::sqlite3_mprintf(c"2".as_ptr());
                    return ffi::SQLITE_OK;
                }
                let digit = match weaker {
                    Synchronous::Off => b'0',
                    Synchronous::Normal => b'1',
                };
                *value = digit as c_char;
                *value.add(1) = 0;
            }
        }
        pass_on!(file.xFileControl(op, argument))
    }
}
