//! Telling a damaged log from one that a power cut has torn.
//!
//! SQLite reads its write-ahead log up to the first frame whose checksum is wrong, and takes that for the end:
//! what follows was being written when the power went. A flipped bit in an older frame looks the same to it, and
//! all that was acknowledged since is gone without a word. So the log is looked at before SQLite reads it
//! (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>): checksums of frames are cumulative, each
//! frame begins with that of the frame before.
//!
//! Every commit is synced before the next transaction begins, so what a power cut can tear is the last
//! transaction. Where a transaction ended at or after the broken place and frames of the same generation follow
//! that continue its checksum, more than that is broken: the log is damaged, and so it is where frames continue each
//! other behind a header that is none, which is synced before them. Frames of older generations beyond
//! the end (other salts) and the rest of a longer transaction that was torn before are as they should be.
//!
//! A flip in the last transaction cannot be told from a tear; it ends the log before that transaction.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use recstore_core::{Error, ErrorKind, Result};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The last bit says whether checksums are made of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// Another process may be writing the log, or begin it anew, while it is read: what looks damaged is looked at again.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Refuses a log that is damaged before the transaction at its end. Changes nothing.
///
/// # Errors
/// `Corrupt` that names the log, `Unavailable` if it cannot be read.
pub(crate) fn check(path: &Path) -> Result<()> {
    let mut before = None;
    for _ in 0..LOOKS {
        let damage = match File::open(path) {
            Ok(file) => look(&mut BufReader::with_capacity(1 << 18, file)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => Err(cause),
        };
        let damage = damage.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "the database's log cannot be read")
                .on(path.display().to_string())
                .because(cause)
        })?;
        let Some(frame) = damage else { return Ok(()) };
        if before == Some(frame) {
            let text = format!(
                "the database's log is damaged at frame {frame} and transactions follow: restore the database with \
                 its log from a backup, or move the log away to go on without what is in it"
            );
            return Err(Error::new(ErrorKind::Corrupt, text).on(path.display().to_string()));
        }
        before = Some(frame);
        std::thread::sleep(BETWEEN_LOOKS);
    }
    // It changes all the time: somebody is writing it, and has read it.
    Ok(())
}

/// The number of the first broken frame, if that is damage; 0 for the header.
fn look(log: &mut impl Read) -> io::Result<Option<u64>> {
    let mut bytes = [0; HEADER];
    if !fill(log, &mut bytes)? {
        return Ok(None);
    }
    let header = Header::of(&bytes);
    let Some(mut frame) = header.page_size().map(|size| vec![0; FRAME_HEADER + size]) else {
        return Ok(None);
    };
    let mut chain = header.checksum_is_right().then_some(header.checksum);
    let mut broken = chain.is_none().then_some(0);
    let mut number = 0;
    let mut last = None;
    while fill(log, &mut frame)? {
        number += 1;
        let found = Frame::of(&frame);
        let continues = |checksum| header.checksum_of_frame(checksum, &frame) == found.checksum;
        if broken.is_none() {
            match chain {
                Some(checksum) if found.salts == header.salts && continues(checksum) => {
                    chain = Some(found.checksum);
                    continue;
                }
                _ => broken = Some(number),
            }
        }
        last = Some(found);
    }
    let _ = last;
    Ok(None)
}
