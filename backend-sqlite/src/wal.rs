//! Telling a damaged log from one that a power cut has torn.
//!
//! SQLite reads its write-ahead log up to the first frame whose checksum is wrong, and takes that for the end:
//! what follows was being written when the power went. A flipped bit in an older frame looks the same to it, and
//! all that was acknowledged since is gone without a word. So the log is looked at before SQLite reads it
//! (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>): checksums of frames are cumulative, each
//! frame begins with that of the frame before.
//!
//! Every commit is synced before the next transaction begins, so what a power cut can tear is one transaction,
//! the last. Where a transaction ended at the broken frame or behind it, and the next one continues its
//! checksum, more than that is broken: the log is damaged. So it is where frames continue a header that is broken,
//! for the header is synced before them. As they should be, on the other hand, are frames of older generations
//! beyond the end (they have other salts), and the rest of a longer transaction that was torn earlier.
//!
//! Damage to the last transaction cannot be told from a tear: it ends the log before that transaction. Nor can it
//! be told that a log was cut off, or is an earlier copy of itself.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use recstore_core::{Error, ErrorKind, Result};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The last bit of the magic says in which byte order the words of a checksum are.
const MAGIC: u32 = 0x377f_0682;
const PAGE_SIZES: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
/// Disks write whole sectors of at least this many bytes.
const SECTOR: u64 = 512;

/// Another process may be writing the log, or begin it anew, while it is read: damage stays as it is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Refuses a log that is damaged before its last transaction. Changes nothing.
///
/// # Errors
/// `Corrupt` that names the log, `Unavailable` if it cannot be read.
pub(crate) fn check(path: &Path) -> Result<()> {
    let Some(damage) = look(path)? else { return Ok(()) };
    std::thread::sleep(BETWEEN_LOOKS);
    if look(path)? != Some(damage) {
        return Ok(());
    }
    let text = format!(
        "the database's log is damaged at frame {}, and transactions follow that: restore the database and its \
         log from a backup; or move the log away, to go on without what is only in the log",
        damage.frame
    );
    Err(Error::new(ErrorKind::Corrupt, text).on(path.display().to_string()))
}

/// Where a log is damaged, and what it begins with: that changes when the log is begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Damage {
    header: [u8; HEADER],
    /// From 1; 0 is the header.
    frame: u64,
}

fn look(path: &Path) -> Result<Option<Damage>> {
    let found = match File::open(path) {
        Ok(file) => damage(&mut BufReader::with_capacity(1 << 17, file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    };
    found.map_err(|cause| {
        let unreadable = Error::new(ErrorKind::Unavailable, "the database's log cannot be read");
        unreadable.on(path.display().to_string()).because(cause)
    })
}

fn damage(log: &mut impl Read) -> io::Result<Option<Damage>> {
    let mut header = [0; HEADER];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    let frame = match Chain::begun_by(&header) {
        Some(chain) => chain.follow(log)?,
        None => is_continued(&header, log)?.then_some(0),
    };
    Ok(frame.map(|frame| Damage { header, frame }))
}

/// Whether a frame was written behind a header that is none (any more).
fn is_continued(header: &[u8; HEADER], log: &mut impl Read) -> io::Result<bool> {
    let mut rest = Vec::new();
    log.take((FRAME_HEADER + PAGE_SIZES[7]) as u64).read_to_end(&mut rest)?;
    let frames = PAGE_SIZES.iter().filter_map(|size| rest.get(..FRAME_HEADER + size));
    Ok(frames.into_iter().any(|frame| {
        [Order::Big, Order::Little].into_iter().any(|order| {
            // What is broken may be the checksum or what it is of.
            let seeds = [checksum_at(header, 24), order.checksum((0, 0), &header[..24])];
            seeds.into_iter().any(|seed| order.of_frame(seed, frame) == checksum_at(frame, 16))
        })
    }))
}

/// The order of the bytes in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

type Checksum = (u32, u32);

impl Order {
    /// Continues a checksum by bytes, a multiple of eight.
    fn checksum(self, seed: Checksum, bytes: &[u8]) -> Checksum {
        let word = |bytes: [u8; 4]| match self {
            Order::Big => u32::from_be_bytes(bytes),
            Order::Little => u32::from_le_bytes(bytes),
        };
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        pairs.iter().fold(seed, |(first, second), &[one, other]| {
            let first = first.wrapping_add(word(one)).wrapping_add(second);
            (first, second.wrapping_add(word(other)).wrapping_add(first))
        })
    }

    /// The checksum that a frame has if it follows one of `seed`: of its page's number, the size it commits, the page.
    fn of_frame(self, seed: Checksum, frame: &[u8]) -> Checksum {
        self.checksum(self.checksum(seed, &frame[..8]), &frame[FRAME_HEADER..])
    }
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Stored checksums are big-endian whatever the order.
fn checksum_at(bytes: &[u8], at: usize) -> Checksum {
    (number_at(bytes, at), number_at(bytes, at + 4))
}

/// The frames behind a header.
struct Chain {
    order: Order,
    page_size: usize,
    salts: (u32, u32),
    seed: Checksum,
}

impl Chain {
    /// `None` if the header is none.
    fn begun_by(header: &[u8; HEADER]) -> Option<Chain> {
        let order = if number_at(header, 0) & 1 == 1 { Order::Big } else { Order::Little };
        let (page_size, seed) = (number_at(header, 8) as usize, checksum_at(header, 24));
        let is_one = number_at(header, 0) & !1 == MAGIC
            && PAGE_SIZES.contains(&page_size)
            && order.checksum((0, 0), &header[..24]) == seed;
        is_one.then(|| Chain { order, page_size, salts: checksum_at(header, 16), seed })
    }

    /// The first broken frame, if a transaction ended there or later and another one follows.
    fn follow(mut self, log: &mut impl Read) -> io::Result<Option<u64>> {
        let mut frame = vec![0; FRAME_HEADER + self.page_size];
        let mut broken = 1;
        loop {
            if !fill(log, &mut frame)? {
                return Ok(None);
            }
            if !self.continues(&[self.seed], &frame) {
                break;
            }
            self.seed = checksum_at(&frame, 16);
            broken += 1;
        }
        // What is broken may be the checksum or what it is of.
        let mut seeds = [checksum_at(&frame, 16), self.order.of_frame(self.seed, &frame)];
        let mut ended = self.broken_ends_transaction(broken, &mut frame);
        while fill(log, &mut frame)? {
            let intact = self.continues(&seeds, &frame);
            if ended && intact {
                return Ok(Some(broken));
            }
            ended = intact && number_at(&frame, 4) != 0;
            seeds = [checksum_at(&frame, 16); 2];
        }
        Ok(None)
    }

    /// Whether a frame is of this generation and follows one with one of these checksums.
    fn continues(&self, seeds: &[Checksum], frame: &[u8]) -> bool {
        let checksum = checksum_at(frame, 16);
        checksum_at(frame, 8) == self.salts
            && seeds.iter().any(|&seed| self.order.of_frame(seed, frame) == checksum)
    }

    /// Whether the broken frame has the mark of a commit, or would be whole with one.
    fn broken_ends_transaction(&self, number: u64, frame: &mut [u8]) -> bool {
        let at = HEADER as u64 + (number - 1) * frame.len() as u64;
        // Where a sector ends between the mark and the checksum, a tear can leave one of them from an older frame.
        if (at + 4) / SECTOR != (at + FRAME_HEADER as u64 - 1) / SECTOR {
            return false;
        }
        if number_at(frame, 4) != 0 {
            return true;
        }
        let checksum = checksum_at(frame, 16);
        (4..8).any(|at| {
            let found = (1..=u8::MAX).any(|byte| {
                frame[at] = byte;
                self.order.of_frame(self.seed, frame) == checksum
            });
            frame[at] = 0;
            found
        })
    }
}

/// Reads as many bytes as there is room for; `false` if there are fewer.
fn fill(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(cause) => Err(cause),
    }
}
