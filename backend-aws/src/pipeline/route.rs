//! Entries to buckets, in bounded memory: what does not fit goes to temporary files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;

use recstore_core::{
    EntityKey, Error, ErrorKind, EventId, Rating, RatingRow, RatingValue, Result, Timestamp,
};

use super::merge::Entry;
use crate::online::custom::CustomRow;

const EVENT: u8 = 0;
const ROW: u8 = 1;
const DELETE: u8 = 2;
const WITHDRAWN: u8 = 4;

/// What can be written to a temporary file and read back.
pub(crate) trait Record: Sized {
    /// Appends it to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one off the front of `rest`; `None` if there is none.
    fn decode(rest: &mut &[u8]) -> Option<Self>;
}

/// Records by bucket.
#[derive(Debug)]
pub(crate) struct Routed<R> {
    records: PhantomData<fn() -> R>,
    buckets: Vec<Bucket>,
    /// Bytes in memory.
    held: usize,
    /// The most of them.
    budget: usize,
}

#[derive(Debug, Default)]
struct Bucket {
    bytes: Vec<u8>,
    file: Option<File>,
    entries: u64,
}

impl<R: Record> Routed<R> {
    /// No entries of so many buckets, of which at most about `budget` bytes are held in memory.
    pub(crate) fn new(buckets: u32, budget: usize) -> Routed<R> {
        let buckets = (0..buckets).map(|_| Bucket::default()).collect();
        Routed { records: PhantomData, buckets, held: 0, budget }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `Full`, `Unavailable` if a temporary file cannot be written.
    pub(crate) fn push(&mut self, bucket: u32, record: &R) -> Result<()> {
        let slot = &mut self.buckets[bucket as usize];
        let before = slot.bytes.len();
        record.encode(&mut slot.bytes);
        slot.entries += 1;
        self.held += slot.bytes.len() - before;
        if self.held > self.budget {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.bytes.is_empty()) {
            if bucket.file.is_none() {
                bucket.file = Some(tempfile::tempfile().map_err(failed)?);
            }
            if let Some(file) = &mut bucket.file {
                file.write_all(&bucket.bytes).map_err(failed)?;
            }
            bucket.bytes.clear();
        }
        self.held = 0;
        Ok(())
    }

    /// The buckets that have entries, with their number.
    pub(crate) fn touched(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..)
            .zip(&self.buckets)
            .filter(|(_, bucket)| bucket.entries > 0)
            .map(|(at, bucket)| (at, bucket.entries))
    }

    /// Takes the entries of a bucket out.
    ///
    /// # Errors
    /// `Unavailable` if a temporary file cannot be read.
    pub(crate) fn take(&mut self, bucket: u32) -> Result<RoutedBucket<R>> {
        let bucket = std::mem::take(&mut self.buckets[bucket as usize]);
        self.held -= bucket.bytes.len();
        Ok(RoutedBucket { records: PhantomData, bucket })
    }
}

/// The entries of one bucket.
#[derive(Debug)]
pub(crate) struct RoutedBucket<R> {
    records: PhantomData<fn() -> R>,
    bucket: Bucket,
}

impl<R: Record> RoutedBucket<R> {
    /// Reads them, in the order in which they were added.
    ///
    /// # Errors
    /// `Unavailable` if a temporary file cannot be read, `Internal` if it does not hold what was written.
    pub(crate) fn read(self) -> Result<Vec<R>> {
        let Bucket { bytes, file, entries } = self.bucket;
        let mut all = Vec::new();
        if let Some(mut file) = file {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.read_to_end(&mut all).map_err(failed)?;
        }
        let mut read = Vec::with_capacity(usize::try_from(entries).unwrap_or(0));
        for bytes in [&all, &bytes] {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                read.push(R::decode(&mut rest).ok_or_else(damaged)?);
            }
        }
        if read.len() as u64 == entries { Ok(read) } else { Err(damaged()) }
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

fn put_text(text: &str, out: &mut Vec<u8>) {
    // Ids have at most 512 bytes.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_rating(rating: &Rating, out: &mut Vec<u8>) {
    out.extend_from_slice(&rating.value().map_or(0, RatingValue::micros).to_le_bytes());
    out.extend_from_slice(&rating.rated_at().as_millis().to_le_bytes());
    out.extend_from_slice(&rating.event_id().as_u128().to_le_bytes());
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}

fn key(rest: &mut &[u8]) -> Option<EntityKey> {
    let length = usize::from(u16::from_le_bytes(array(rest)?));
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    EntityKey::new(std::str::from_utf8(text).ok()?).ok()
}

fn time(rest: &mut &[u8]) -> Option<Timestamp> {
    Timestamp::from_millis(i64::from_le_bytes(array(rest)?)).ok()
}

impl Record for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        let withdrawn = |rating: &Rating| if rating.is_withdrawn() { WITHDRAWN } else { 0 };
        out.push(match self {
            Entry::Event(event) => EVENT | withdrawn(event),
            Entry::Row(row) => ROW | withdrawn(&row.rating),
            Entry::Delete(..) => DELETE,
        });
        let (user, item) = self.pair();
        put_text(user, out);
        put_text(item, out);
        match self {
            Entry::Event(event) => put_rating(event, out),
            Entry::Row(row) => {
                put_rating(&row.rating, out);
                out.extend_from_slice(&row.first_rated_at.as_millis().to_le_bytes());
            }
            Entry::Delete(..) => {}
        }
    }

    fn decode(rest: &mut &[u8]) -> Option<Entry> {
        let [tag] = array(rest)?;
        let (user, item) = (key(rest)?, key(rest)?);
        if tag == DELETE {
            return Some(Entry::Delete(user, item));
        }
        let micros = i64::from_le_bytes(array(rest)?);
        let value = if tag & WITHDRAWN == 0 { Some(RatingValue::from_micros(micros).ok()?) } else { None };
        let rated_at = time(rest)?;
        let id = EventId::from_u128(u128::from_le_bytes(array(rest)?));
        let rating = Rating::from_parts(user.into(), item.into(), value, rated_at, Some(id));
        match tag & !WITHDRAWN {
            EVENT => Some(Entry::Event(rating)),
            ROW => Some(Entry::Row(RatingRow { rating, first_rated_at: time(rest)? })),
            _ => None,
        }
    }
}

/// Whose row of a custom group, and the row.
impl Record for (EntityKey, CustomRow) {
    fn encode(&self, out: &mut Vec<u8>) {
        let (id, row) = self;
        put_text(id.as_str(), out);
        out.extend_from_slice(&row.event_time.as_millis().to_le_bytes());
        // A row has at most 350 KB.
        out.extend_from_slice(&(row.encoded.len() as u32).to_le_bytes());
        out.extend_from_slice(&row.encoded);
    }

    fn decode(rest: &mut &[u8]) -> Option<(EntityKey, CustomRow)> {
        let (id, event_time) = (key(rest)?, time(rest)?);
        let length = u32::from_le_bytes(array(rest)?) as usize;
        let (encoded, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some((id, CustomRow::new(event_time, encoded.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let at = |seconds| Timestamp::from_seconds(seconds).unwrap();
        (0..100_u64)
            .map(|number| {
                let long = EntityKey::new("ü".repeat(256)).unwrap();
                let rating =
                    Rating::new(number.into(), long.clone().into(), number as f64 - 50.0, at(9)).unwrap();
                match number % 4 {
                    0 => Entry::Event(rating),
                    1 => Entry::Event(Rating::withdrawal(number.into(), long.into(), at(7))),
                    2 => Entry::Row(RatingRow { rating, first_rated_at: at(3) }),
                    _ => Entry::Delete(number.into(), long),
                }
            })
            .collect()
    }

    #[test]
    fn every_entry_comes_back_in_its_order_whether_it_was_held_or_spilled() {
        for budget in [0, 1000, 5000, usize::MAX] {
            let mut routed = Routed::new(4, budget);
            for (number, entry) in entries().iter().enumerate() {
                routed.push(number as u32 % 3, entry).unwrap();
                assert!(routed.held <= budget);
            }
            assert_eq!(routed.touched().collect::<Vec<_>>(), [(0, 34), (1, 33), (2, 33)]);
            for bucket in 0..4 {
                let expected = entries().into_iter().enumerate().filter(|(number, _)| number % 3 == bucket);
                let expected: Vec<Entry> = expected.map(|(_, entry)| entry).filter(|_| bucket < 3).collect();
                assert_eq!(routed.take(bucket as u32).unwrap().read().unwrap(), expected);
            }
            assert_eq!(routed.touched().count(), 0);
        }
    }

    #[test]
    fn a_cut_record_is_told() {
        let mut bytes = Vec::new();
        entries()[2].encode(&mut bytes);
        for length in 1..bytes.len() {
            assert_eq!(Entry::decode(&mut &bytes[..length]), None);
        }
    }
}
