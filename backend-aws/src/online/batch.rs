//! Many keys at once: chunks that the service takes, several under way, and a true answer for each key.
//!
//! Duplicates are folded. What a batch leaves unprocessed (throttled, or beyond the 16 MB of one answer) is asked
//! again within the budget, then reported as failed: it is never missing. Answers are found by key, never by
//! position.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt};
use recstore_core::{Deadline, Error, ErrorKind, Result};
use tokio::time::{Instant, timeout_at};

use super::Online;
use super::calls::{CallError, Fault, MAX_BATCH_WRITES, MAX_GET_KEYS, Write};
use super::item::{self, RawItem, place};
use super::keys::ItemKey;
use super::tables::TableName;
use crate::retry::{Attempts, GaveUp};

/// The answer for one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The item, not yet looked at.
    Found(RawItem),
    /// There is none.
    Missing,
    /// It could not be told.
    Failed(CallError),
}

/// The answers of a batch read.
#[derive(Debug, Default)]
pub struct Answers {
    table: Option<TableName>,
    by_key: HashMap<ItemKey, Answer>,
}

impl Answers {
    /// Takes the answer for a key out: the item, or `None` if there is none.
    ///
    /// # Errors
    /// Why it could not be told; `Internal` for a key that was not asked, or whose answer was taken.
    pub fn take(&mut self, key: &ItemKey) -> Result<Option<RawItem>> {
        let object = || self.table.map_or_else(|| key.to_string(), |table| place(table, key));
        match self.by_key.remove(key) {
            Some(Answer::Found(item)) => Ok(Some(item)),
            Some(Answer::Missing) => Ok(None),
            Some(Answer::Failed(failure)) => Err(failure.into_error(object())),
            None => Err(Error::new(ErrorKind::Internal, "there is no answer for a key").on(object())),
        }
    }

    /// The answer for a key.
    pub fn get(&self, key: &ItemKey) -> Option<&Answer> {
        self.by_key.get(key)
    }

    /// Every key with its answer, in no order.
    pub fn into_results(self) -> impl Iterator<Item = (ItemKey, Result<Option<RawItem>>)> {
        let table = self.table;
        self.by_key.into_iter().map(move |(key, answer)| {
            let result = match answer {
                Answer::Found(item) => Ok(Some(item)),
                Answer::Missing => Ok(None),
                Answer::Failed(failure) => {
                    let object = table.map_or_else(|| key.to_string(), |table| place(table, &key));
                    Err(failure.into_error(object))
                }
            };
            (key, result)
        })
    }

    /// The number of distinct keys.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// The outcomes of a batch of writes, by key.
#[derive(Debug, Default)]
pub struct Written {
    /// What failed; every other key is written. `OutcomeUnknown` is a write that may have been done, every other
    /// kind one that was not.
    pub failed: HashMap<ItemKey, CallError>,
}

impl Written {
    /// `Ok` if everything was written.
    ///
    /// # Errors
    /// The failure of the least key that failed; `OutcomeUnknown` comes before others.
    pub fn into_result(self, table: TableName) -> Result<()> {
        let first = self.failed.into_iter().min_by(|(left, a), (right, b)| {
            let known = |failure: &CallError| failure.kind != ErrorKind::OutcomeUnknown;
            (known(a), left).cmp(&(known(b), right))
        });
        match first {
            None => Ok(()),
            Some((key, failure)) => Err(failure.into_error(place(table, &key))),
        }
    }
}

impl Online {
    pub(super) fn attempts(&self, deadline: Option<Deadline>) -> Attempts<'_> {
        self.policy.attempts(deadline.map(|deadline| Instant::from_std(deadline.instant())))
    }

    /// Sends one request when there is room for it.
    pub(super) async fn send<T>(
        &self,
        attempts: &Attempts<'_>,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let end = attempts.begin().map_err(CallError::not_sent)?;
        let Ok(_permit) = timeout_at(end, self.permits.acquire()).await else {
            return Err(CallError::not_sent(attempts.begin().err().unwrap_or(GaveUp::Budget)));
        };
        let end = attempts.begin().map_err(CallError::not_sent)?;
        timeout_at(end, call).await.unwrap_or_else(|_| Err(CallError::timeout()))
    }

    /// Whether a failed request is worth another; waits for it.
    ///
    /// # Errors
    /// What all attempts end with.
    pub(super) async fn again(attempts: &mut Attempts<'_>, failure: CallError) -> Result<(), CallError> {
        if failure.fault == Fault::Rejected {
            return Err(failure);
        }
        attempts.wait().await.map_err(|reason| failure.ended(reason))
    }

    /// Reads many keys of a table, strongly consistent.
    pub async fn get_many(
        &self,
        table: TableName,
        keys: impl IntoIterator<Item = ItemKey>,
        deadline: Option<Deadline>,
    ) -> Answers {
        let mut distinct: Vec<ItemKey> = keys.into_iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut answers = Answers { table: Some(table), by_key: HashMap::with_capacity(distinct.len()) };
        let mut distinct = distinct.into_iter();
        let chunks = std::iter::from_fn(|| {
            let chunk: Vec<ItemKey> = distinct.by_ref().take(MAX_GET_KEYS).collect();
            (!chunk.is_empty()).then_some(chunk)
        });
        let mut read = stream::iter(chunks)
            .map(|chunk| self.get_chunk(table, chunk, deadline))
            .buffer_unordered(self.options.concurrency.max(1));
        while let Some(found) = read.next().await {
            answers.by_key.extend(found);
        }
        answers
    }

    async fn get_chunk(
        &self,
        table: TableName,
        mut keys: Vec<ItemKey>,
        deadline: Option<Deadline>,
    ) -> Vec<(ItemKey, Answer)> {
        let mut attempts = self.attempts(deadline);
        let mut answers = Vec::with_capacity(keys.len());
        loop {
            let call = self.calls.get_batch(self.names.of(table), &keys);
            let failure = match self.send(&attempts, call).await {
                Ok(batch) => {
                    let asked = keys.len();
                    let mut open: HashSet<ItemKey> = keys.drain(..).collect();
                    let mut foreign = false;
                    for found in batch.items {
                        match item::key_of(&found).and_then(|key| open.take(&key)) {
                            Some(key) => answers.push((key, Answer::Found(found))),
                            None => foreign = true,
                        }
                    }
                    keys.extend(batch.unprocessed.iter().filter_map(|key| open.take(key)));
                    if foreign {
                        // Whoever answers with items that nobody asked for is not believed about the others.
                        keys.extend(open);
                        let text = "the service answered with an item that was not asked for";
                        CallError::new(Fault::Rejected, ErrorKind::Corrupt, text)
                    } else {
                        answers.extend(open.into_iter().map(|key| (key, Answer::Missing)));
                        if keys.is_empty() {
                            return answers;
                        }
                        if keys.len() < asked {
                            attempts.progress();
                        }
                        CallError::throttled()
                    }
                }
                Err(failure) => failure,
            };
            if let Err(failure) = Online::again(&mut attempts, failure).await {
                answers.extend(keys.into_iter().map(|key| (key, Answer::Failed(failure.clone()))));
                return answers;
            }
        }
    }

    /// Does many writes of a table, whatever was there before: for rows that only one content can have, and
    /// deletions of what nobody reads.
    ///
    /// # Errors
    /// `Invalid` (field `writes`) if an item has no key, or one key is given two different writes; nothing was
    /// written then. Failures of keys are in the answer.
    pub async fn write_many(
        &self,
        table: TableName,
        writes: Vec<Write>,
        deadline: Option<Deadline>,
    ) -> Result<Written> {
        let mut distinct: HashMap<ItemKey, Write> = HashMap::with_capacity(writes.len());
        let mut order = Vec::with_capacity(writes.len());
        for write in writes {
            let key = match &write {
                Write::Put(item) => item::key_of(item),
                Write::Delete(key) => Some(key.clone()),
            };
            let key = key.ok_or_else(|| Error::invalid("writes", "an item has no key").on(table.as_str()))?;
            match distinct.get(&key) {
                None => {
                    distinct.insert(key.clone(), write);
                    order.push(key);
                }
                Some(first) if *first == write => {}
                Some(_) => {
                    let text = "one key is given two different writes";
                    return Err(Error::invalid("writes", text).on(place(table, &key)));
                }
            }
        }
        // 25 items of 400 KB are below the 16 MB of one request.
        let mut chunks = Vec::with_capacity(order.len().div_ceil(MAX_BATCH_WRITES));
        for keys in order.chunks(MAX_BATCH_WRITES) {
            let of_key = |key: &ItemKey| distinct.remove(key).map(|write| (key.clone(), write));
            chunks.push(keys.iter().filter_map(of_key).collect::<Vec<_>>());
        }
        let mut written = Written::default();
        let mut done = stream::iter(chunks)
            .map(|chunk| self.write_chunk(table, chunk, deadline))
            .buffer_unordered(self.options.concurrency.max(1));
        while let Some(failed) = done.next().await {
            written.failed.extend(failed);
        }
        Ok(written)
    }

    async fn write_chunk(
        &self,
        table: TableName,
        chunk: Vec<(ItemKey, Write)>,
        deadline: Option<Deadline>,
    ) -> Vec<(ItemKey, CallError)> {
        let mut attempts = self.attempts(deadline);
        let (mut keys, mut writes): (Vec<ItemKey>, Vec<Write>) = chunk.into_iter().unzip();
        // Whether what is left may have been written by a request without an answer.
        let mut unknown = false;
        loop {
            let call = self.calls.write_batch(self.names.of(table), &writes);
            let failure = match self.send(&attempts, call).await {
                Ok(batch) => {
                    let open: HashSet<ItemKey> = batch.unprocessed.into_iter().collect();
                    let asked = keys.len();
                    let chunk = keys.into_iter().zip(writes);
                    (keys, writes) = chunk.filter(|(key, _)| open.contains(key)).unzip();
                    if keys.is_empty() {
                        return Vec::new();
                    }
                    if keys.len() < asked {
                        attempts.progress();
                    }
                    CallError::throttled()
                }
                Err(failure) => failure,
            };
            unknown |= failure.fault == Fault::Unknown;
            if let Err(failure) = Online::again(&mut attempts, failure).await {
                let failure = if unknown { failure.unknown() } else { failure };
                return keys.into_iter().map(|key| (key, failure.clone())).collect();
            }
        }
    }
}
