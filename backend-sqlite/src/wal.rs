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
//! Damage to the last transaction cannot be told from a tear: it ends the log before that transaction. So does a
//! broken sector or block that hides where the last transaction begins: it ends the log before the last two.
//! Nor can it be told that a log was cut off, or is an earlier copy of itself.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
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
    let place = match damage.frame {
        0 => "in its header, and frames follow that".to_owned(),
        frame => format!("at frame {frame}, and transactions follow that"),
    };
    let text = format!(
        "the database's log is damaged {place}: restore the database and its log from a backup; or move the log \
         away, to go on without what is only in the log"
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

fn damage(log: &mut (impl Read + Seek)) -> io::Result<Option<Damage>> {
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

/// Whether frames were written behind a header that is none (any more). More than the header may be broken, so any
/// frame counts that continues the one before; of what size pages are, only a whole header could say.
fn is_continued(header: &[u8; HEADER], log: &mut (impl Read + Seek)) -> io::Result<bool> {
    for page_size in PAGE_SIZES {
        log.seek(SeekFrom::Start(HEADER as u64))?;
        let mut frame = vec![0; FRAME_HEADER + page_size];
        // What is broken may be the checksum or what it is of.
        let of_header = |order: Order| order.checksum((0, 0), &header[..24]);
        let mut seeds = vec![checksum_at(header, 24), of_header(Order::Big), of_header(Order::Little)];
        while fill(log, &mut frame)? {
            let checksum = checksum_at(&frame, 16);
            let continues = |seed: &Checksum| {
                [Order::Big, Order::Little].iter().any(|order| order.of_frame(*seed, &frame) == checksum)
            };
            if seeds.iter().any(continues) {
                return Ok(true);
            }
            seeds = vec![checksum];
        }
    }
    Ok(false)
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
        let mut number = broken;
        while fill(log, &mut frame)? {
            number += 1;
            let intact = self.continues(&seeds, &frame);
            if ended && intact {
                return Ok(Some(broken));
            }
            // Of a frame behind a broken one the checksum says nothing, but that another frame continues it: then it
            // is one of this generation, and with the mark of a commit it was synced before that other one.
            let is_one = intact || (checksum_at(&frame, 8) == self.salts && self.is_in_one_sector(number));
            ended = is_one && number_at(&frame, 4) != 0;
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

    /// Whether a tear leaves both the mark of a commit and the checksum of a frame, or none of them: where a sector
    /// ends between them, one may be from an older frame.
    fn is_in_one_sector(&self, number: u64) -> bool {
        let at = HEADER as u64 + (number - 1) * (FRAME_HEADER + self.page_size) as u64;
        (at + 4) / SECTOR == (at + FRAME_HEADER as u64 - 1) / SECTOR
    }

    /// Whether the broken frame has the mark of a commit, or would be whole with one.
    fn broken_ends_transaction(&self, number: u64, frame: &mut [u8]) -> bool {
        if !self.is_in_one_sector(number) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]

    use std::io::Cursor;

    use recstore_test_faults::{Random, from_env, memory_folder};
    use rusqlite::Connection;

    use super::*;

    /// What of a log may be on the disk when the power goes: any mixture, sector by sector, of its states since the
    /// last sync.
    struct Unsynced(Vec<Vec<u8>>);

    impl Unsynced {
        /// The header is synced before the frames behind it are written.
        fn push(&mut self, state: Vec<u8>) {
            let last = self.0.last().unwrap();
            if state.len() >= HEADER && last.get(..HEADER) != state.get(..HEADER) {
                let mut synced = last.clone();
                synced.resize(synced.len().max(HEADER), 0);
                synced[..HEADER].copy_from_slice(&state[..HEADER]);
                self.0 = vec![synced];
            }
            self.0.push(state);
        }

        fn image(&self, random: &mut Random) -> Vec<u8> {
            let states = &self.0[..1 + random.below(self.0.len())];
            let newest = states.len() - 1;
            // One of them with a few sectors of others, or all mixed.
            let (usual, others) = match random.below(4) {
                0 => (newest, 0),
                1 => (newest, 6),
                2 => (0, 6),
                _ => (newest, 1),
            };
            let mut image = vec![0; states[random.below(states.len())].len()];
            for (number, sector) in image.chunks_mut(SECTOR as usize).enumerate() {
                let other = others > 0 && random.one_in(others);
                let from = &states[if other { random.below(states.len()) } else { usual }];
                let from = from.get(number * SECTOR as usize..).unwrap_or_default();
                let length = sector.len().min(from.len());
                sector[..length].copy_from_slice(&from[..length]);
            }
            image
        }
    }

    /// A database with small pages whose connections have hardly any cache, so that transactions spill frames.
    fn connect(path: &Path, page_size: usize) -> Connection {
        let connection = Connection::open(path).unwrap();
        let pragmas = format!(
            "PRAGMA page_size = {page_size}; PRAGMA journal_mode = wal; PRAGMA synchronous = full;
             PRAGMA cache_size = 5; PRAGMA cache_spill = 1; PRAGMA wal_autocheckpoint = 0"
        );
        connection.execute_batch(&pragmas).unwrap();
        connection
    }

    /// One transaction of a few statements, some of them undone, or all.
    fn transact(connection: &Connection, random: &mut Random, mut state: impl FnMut()) -> bool {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..=random.below(5) {
            let most = if random.one_in(3) { 200 } else { 5 };
            let from = random.below(300);
            let undone = random.one_in(4);
            connection.execute_batch(if undone { "SAVEPOINT some" } else { "" }).unwrap();
            let update = "UPDATE t SET b = randomblob(100) WHERE a BETWEEN ?1 AND ?2";
            let to = from + 1 + random.below(most);
            connection.execute(update, [from as i64, to as i64]).unwrap();
            connection.execute_batch(if undone { "ROLLBACK TO some" } else { "" }).unwrap();
            state();
        }
        let committed = !random.one_in(3);
        connection.execute_batch(if committed { "COMMIT" } else { "ROLLBACK" }).unwrap();
        state();
        committed
    }

    /// Logs with spilled, rolled back and overwritten frames of two connections, checkpointed and begun anew.
    #[test]
    fn nothing_that_a_power_cut_leaves_of_a_log_is_damage() {
        let (logs, seed) = (from_env("RECSTORE_LOGS", 12), from_env("RECSTORE_SEED", 1));
        let mut spilled = 0;
        for log in seed..seed + logs {
            let mut random = Random::new(log);
            let folder = memory_folder();
            let (path, wal) = (folder.path().join("t.db"), folder.path().join("t.db-wal"));
            let page_size = [512, 1024, 4096][random.below(3)];
            let connections = [connect(&path, page_size), connect(&path, page_size)];
            let fill = "CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB);
                INSERT INTO t WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300)
                SELECT x, randomblob(100) FROM n";
            connections[0].execute_batch(fill).unwrap();
            let read = || std::fs::read(&wal).unwrap();
            let mut unsynced = Unsynced(vec![read()]);
            for _ in 0..30 {
                let connection = &connections[random.below(2)];
                if random.one_in(6) {
                    let mode = ["RESTART", "PASSIVE"][random.below(2)];
                    let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
                    connection.query_row(&checkpoint, [], |_| Ok(())).unwrap();
                }
                let before = read().len();
                let committed = transact(connection, &mut random, || unsynced.push(read()));
                spilled += usize::from(!committed && read().len() > before);
                for image in 0..40 {
                    let found = damage(&mut Cursor::new(unsynced.image(&mut random))).unwrap();
                    assert_eq!(found, None, "image {image} of log {log}: RECSTORE_SEED={log} makes it again");
                }
                if committed {
                    unsynced = Unsynced(vec![read()]);
                }
            }
        }
        assert!(spilled > 0, "no transaction has written frames that were not committed");
    }
}
