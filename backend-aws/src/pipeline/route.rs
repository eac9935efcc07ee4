//! Records to buckets, in bounded memory: what does not fit goes to a temporary file.
//!
//! Many threads route at once: each gathers [`Parts`] of its own, which are joined now and then.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use recstore_core::{EntityKey, Error, ErrorKind, Result, Timestamp};

use super::custom;
use crate::online::custom::CustomRow;

/// Bytes that are gathered before they are joined with the others.
const PART_BYTES: usize = 1 << 20;

/// What can be written to a temporary file.
pub(crate) trait Record {
    /// Appends it to `out`.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Records by bucket.
#[derive(Debug)]
pub(crate) struct Routed {
    buckets: Vec<Bucket>,
    /// What was not held in memory, of all buckets: a process may have fewer files open than a table has buckets.
    spilled: Option<Spilled>,
    /// Bytes in memory.
    held: usize,
    /// The most of them.
    budget: usize,
}

/// A temporary file that only grows.
#[derive(Debug)]
struct Spilled {
    file: Arc<Mutex<File>>,
    end: u64,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Records that are held in memory.
    bytes: Vec<u8>,
    /// Where those that were there before them lie in the file: the first byte and how many, each time whole records.
    written: Vec<(u64, usize)>,
    records: u64,
}

impl Routed {
    /// No records of so many buckets, of which at most about `budget` bytes are held in memory.
    pub(crate) fn new(buckets: u32, budget: usize) -> Routed {
        Routed { buckets: (0..buckets).map(|_| Bucket::default()).collect(), spilled: None, held: 0, budget }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// `Full`, `Unavailable` if a temporary file cannot be written.
    pub(crate) fn push(&mut self, bucket: u32, record: &impl Record) -> Result<()> {
        let slot = &mut self.buckets[bucket as usize];
        let before = slot.bytes.len();
        record.encode(&mut slot.bytes);
        slot.records += 1;
        self.held += slot.bytes.len() - before;
        if self.held > self.budget { self.spill() } else { Ok(()) }
    }

    /// Adds what was gathered, and leaves nothing of it there.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) fn append(&mut self, parts: &mut Parts) -> Result<()> {
        for (slot, (bytes, records)) in self.buckets.iter_mut().zip(&mut parts.buckets) {
            slot.bytes.extend_from_slice(bytes);
            slot.records += *records;
            bytes.clear();
            bytes.shrink_to(parts.kept);
            *records = 0;
        }
        self.held += std::mem::take(&mut parts.held);
        if self.held > self.budget { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let kept = self.budget / self.buckets.len().max(1);
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let file = tempfile::tempfile().map_err(failed)?;
                none.insert(Spilled { file: Arc::new(Mutex::new(file)), end: 0 })
            }
        };
        let mut file = spilled.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(spilled.end)).map_err(failed)?;
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.bytes.is_empty()) {
            file.write_all(&bucket.bytes).map_err(failed)?;
            bucket.written.push((spilled.end, bucket.bytes.len()));
            spilled.end += bucket.bytes.len() as u64;
            // Events may come bucket by bucket, and each would keep the room of all; without any, allocating it anew
            // again and again left 300 MB of holes.
            bucket.bytes.clear();
            bucket.bytes.shrink_to(kept);
        }
        self.held = 0;
        Ok(())
    }

    /// The buckets that have records.
    pub(crate) fn touched(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.buckets).filter(|(_, bucket)| bucket.records > 0).map(|(at, _)| at)
    }

    /// Takes the records of a bucket out.
    pub(crate) fn take(&mut self, bucket: u32) -> RoutedBucket {
        let bucket = std::mem::take(&mut self.buckets[bucket as usize]);
        self.held -= bucket.bytes.len();
        RoutedBucket { bucket, file: self.spilled.as_ref().map(|spilled| spilled.file.clone()) }
    }
}

/// Records by bucket that one thread gathers for a [`Routed`].
#[derive(Debug)]
pub(crate) struct Parts {
    buckets: Vec<(Vec<u8>, u64)>,
    held: usize,
    /// The room that each bucket keeps when they are joined.
    kept: usize,
}

impl Parts {
    /// No records of so many buckets.
    pub(crate) fn new(buckets: u32) -> Parts {
        Parts {
            buckets: (0..buckets).map(|_| (Vec::new(), 0)).collect(),
            held: 0,
            kept: PART_BYTES / buckets.max(1) as usize,
        }
    }

    /// Adds a record; whether it is time to join them with the others.
    #[must_use]
    pub(crate) fn push(&mut self, bucket: u32, record: &impl Record) -> bool {
        let (bytes, records) = &mut self.buckets[bucket as usize];
        let before = bytes.len();
        record.encode(bytes);
        *records += 1;
        self.held += bytes.len() - before;
        self.held >= PART_BYTES
    }
}

/// The records of one bucket.
#[derive(Debug, Default)]
pub(crate) struct RoutedBucket {
    bucket: Bucket,
    file: Option<Arc<Mutex<File>>>,
}

impl RoutedBucket {
    /// How many there are.
    pub(crate) fn records(&self) -> u64 {
        self.bucket.records
    }

    /// Reads them, in the order in which they were added: `take` takes one off the front of the bytes that it is given.
    ///
    /// # Errors
    /// `Unavailable` if a temporary file cannot be read, `Internal` if it does not hold what was written; those of
    /// `take`, which gives `None` for what is no record.
    pub(crate) fn read(self, mut take: impl FnMut(&mut &[u8]) -> Option<Result<()>>) -> Result<()> {
        let RoutedBucket { bucket: Bucket { bytes, written, records }, file } = self;
        let mut read = 0;
        let mut all = |mut rest: &[u8]| {
            while !rest.is_empty() {
                take(&mut rest).ok_or_else(damaged)??;
                read += 1;
            }
            Ok::<_, Error>(())
        };
        let mut part = Vec::new();
        for (first, length) in written {
            let file = file.as_ref().ok_or_else(damaged)?;
            part.resize(length, 0);
            {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(first)).map_err(failed)?;
                file.read_exact(&mut part).map_err(failed)?;
            }
            all(&part)?;
        }
        all(&bytes)?;
        if read == records { Ok(()) } else { Err(damaged()) }
    }
}

fn failed(cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    let text = "a temporary file cannot be used, see to the folder that TMPDIR names";
    Error::new(kind, text).because(cause)
}

fn damaged() -> Error {
    Error::new(ErrorKind::Internal, "a temporary file does not hold what was written to it")
}

pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    // Ids have at most 512 bytes.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}

pub(super) fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(u16::from_le_bytes(array(rest)?));
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

/// Whose row of a custom group, and the row.
impl Record for custom::Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        let (id, row) = self;
        put_text(id.as_str(), out);
        out.extend_from_slice(&row.event_time.as_millis().to_le_bytes());
        // A row has at most 350 KB.
        out.extend_from_slice(&(row.encoded.len() as u32).to_le_bytes());
        out.extend_from_slice(&row.encoded);
    }
}

/// Takes a row of a custom group off the front of `rest`; `None` if there is none.
pub(super) fn custom_entry(rest: &mut &[u8]) -> Option<custom::Entry> {
    let id = EntityKey::new(text(rest)?).ok()?;
    let event_time = Timestamp::from_millis(i64::from_le_bytes(array(rest)?)).ok()?;
    let length = u32::from_le_bytes(array(rest)?) as usize;
    let (encoded, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((id, CustomRow::new(event_time, encoded.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<custom::Entry> {
        let entry = |number: u64| {
            let id = EntityKey::new(format!("{number}{}", "ü".repeat(200))).unwrap();
            let time = Timestamp::from_seconds(number as i64).unwrap();
            (id, CustomRow::new(time, vec![7; number as usize % 13]))
        };
        (0..100).map(entry).collect()
    }

    fn read(bucket: RoutedBucket) -> Vec<custom::Entry> {
        let mut read = Vec::new();
        bucket
            .read(|rest| {
                read.push(custom_entry(rest)?);
                Some(Ok(()))
            })
            .unwrap();
        read
    }

    #[test]
    fn every_record_comes_back_in_its_order_whether_it_was_held_or_spilled() {
        for (budget, gathered) in
            [0, 1000, 5000, usize::MAX].map(|budget| [(budget, false), (budget, true)]).concat()
        {
            let mut routed = Routed::new(4, budget);
            let mut parts = Parts::new(4);
            for (number, entry) in entries().iter().enumerate() {
                let bucket = number as u32 % 3;
                if !gathered {
                    routed.push(bucket, entry).unwrap();
                } else if parts.push(bucket, entry) || number % 7 == 0 {
                    routed.append(&mut parts).unwrap();
                }
                assert!(routed.held <= budget);
            }
            routed.append(&mut parts).unwrap();
            assert_eq!(routed.touched().collect::<Vec<_>>(), [0, 1, 2]);
            for bucket in 0..4 {
                let expected = entries().into_iter().enumerate().filter(|(number, _)| number % 3 == bucket);
                let expected: Vec<_> = expected.map(|(_, entry)| entry).filter(|_| bucket < 3).collect();
                let taken = routed.take(bucket as u32);
                assert_eq!(taken.records(), expected.len() as u64);
                assert_eq!(read(taken), expected);
            }
            assert_eq!((routed.touched().count(), routed.held), (0, 0));
        }
    }

    #[test]
    fn no_room_is_kept_for_records_that_came_bucket_by_bucket() {
        const BUCKETS: u32 = 64;
        let (mut routed, mut parts) = (Routed::new(BUCKETS, 2 * PART_BYTES), Parts::new(BUCKETS));
        let entry = entries().swap_remove(99);
        for bucket in 0..BUCKETS {
            for _ in 0..3 * PART_BYTES / 400 {
                if parts.push(bucket, &entry) {
                    routed.append(&mut parts).unwrap();
                }
            }
            let held: usize = routed.buckets.iter().map(|bucket| bucket.bytes.capacity()).sum();
            let gathered: usize = parts.buckets.iter().map(|(bytes, _)| bytes.capacity()).sum();
            assert!(held <= 6 * PART_BYTES && gathered <= 4 * PART_BYTES, "{held} and {gathered} bytes");
        }
    }

    #[test]
    fn parts_are_joined_before_they_are_many() {
        let mut parts = Parts::new(1);
        let entry = entries().swap_remove(99);
        let pushed = (1..).find(|_| parts.push(0, &entry)).unwrap();
        assert!((PART_BYTES..PART_BYTES + 1000).contains(&parts.held), "{pushed} entries");
    }

    #[test]
    fn a_record_that_is_none_is_told() {
        let mut routed = Routed::new(1, 0);
        routed.push(0, &entries()[7]).unwrap();
        let error = routed.take(0).read(|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        let mut bytes = Vec::new();
        entries()[7].encode(&mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(custom_entry(&mut &bytes[..length]), None);
        }
    }
}
