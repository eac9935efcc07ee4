//! The folder of the store: whether it can be written, what lies below it, and how much room there is.

use std::path::Path;

use super::{Findings, Level};
use crate::exit::Exit;

/// Less free space than this is not enough to work with.
const LOW_BYTES: u64 = 64 << 20;
/// Less free space than this is worth a word.
const SCARCE_BYTES: u64 = 1 << 30;

pub(super) fn examine(folder: &Path, findings: &mut Findings) {
    writable(folder, findings);
    #[cfg(unix)]
    unix::examine(folder, findings);
}

/// Tries it, because permissions alone do not tell (a disk can be mounted for reading only).
fn writable(folder: &Path, findings: &mut Findings) {
    let shown = folder.display();
    match tempfile::NamedTempFile::new_in(folder) {
        Ok(_) => findings.add("folder", Level::Ok, format!("{shown} can be written"), ""),
        Err(cause) => {
            let detail = format!("{shown} cannot be written: {cause}");
            findings.add(
                "folder",
                Level::Fail(Exit::ReadOnly),
                detail,
                "the store needs files beside its own",
            );
        }
    }
}

fn space_level(free: u64) -> Level {
    if free < LOW_BYTES {
        Level::Fail(Exit::CannotCreate)
    } else if free < SCARCE_BYTES {
        Level::Warn
    } else {
        Level::Ok
    }
}

#[cfg(unix)]
mod unix {
    use super::*;

    pub(super) fn examine(folder: &Path, findings: &mut Findings) {
        if let Ok(stat) = rustix::fs::statvfs(folder) {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free", free >> 20);
            findings.add(
                "disk space",
                space_level(free),
                detail,
                "free some space: a full disk takes no writes",
            );
        }
        #[cfg(target_os = "linux")]
        file_system(folder, findings);
    }

    /// Locks and shared memory of SQLite's write-ahead log do not work across machines.
    #[cfg(target_os = "linux")]
    fn file_system(folder: &Path, findings: &mut Findings) {
        const NETWORK: [(u32, &str); 4] =
            [(0x6969, "NFS"), (0xfe53_4d42, "SMB"), (0xff53_4d42, "CIFS"), (0x5346_414f, "AFS")];
        const MEMORY: u32 = 0x0102_1994;
        let Ok(stat) = rustix::fs::statfs(folder) else { return };
        // The kernel's type is 32 bits in a field whose width differs between machines.
        let kind = stat.f_type as u32;
        if let Some((_, name)) = NETWORK.iter().find(|(number, _)| *number == kind) {
            let detail = format!("{name}, a network file system");
            findings.add("file system", Level::Warn, detail, "put the store on a local disk");
        } else if kind == MEMORY {
            let detail = "tmpfs, in memory".to_owned();
            findings.add("file system", Level::Warn, detail, "it is gone at the next start of the machine");
        } else {
            findings.add("file system", Level::Ok, "local".to_owned(), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_told_before_there_is_none() {
        assert_eq!(space_level(u64::MAX), Level::Ok);
        assert_eq!(space_level(SCARCE_BYTES - 1), Level::Warn);
        assert_eq!(space_level(0), Level::Fail(Exit::CannotCreate));
    }
}
