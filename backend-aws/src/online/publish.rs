//! Rows of a generation into versioned items: read, decide, put by condition; whoever else was faster is looked at
//! again. Any number of runs at once, of this generation or older ones, do no harm.

use std::collections::HashMap;

use futures::stream::{self, StreamExt};
use recstore_core::{Deadline, Error, ErrorKind, Result};

use super::Online;
use super::conditional::PutOutcome;
use super::item::{RawItem, place};
use super::keys::ItemKey;
use super::tables::TableName;
use super::versioned::{Generation, Pinned, Row, Step, Versioned, contradiction, unchanged};

/// How often an item that others change meanwhile is looked at again.
const MAX_ROUNDS: usize = 16;
/// The most rows that are held and under way at once.
const ROWS_AT_ONCE: usize = 1000;

/// A row to publish; `None` deletes it.
pub type Change<R> = (ItemKey, Option<R>);

/// What a publication did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Published {
    /// Rows that were written.
    pub written: u64,
    /// Rows that said the same already.
    pub unchanged: u64,
    /// Rows that a newer generation had written: this run is late, and its generation is committed.
    pub superseded: u64,
}

enum Done {
    Written,
    Unchanged,
    Superseded,
}

impl Online {
    /// Publishes the rows of a generation. Idempotent: after an error the same call goes on.
    ///
    /// # Errors
    /// `Invalid` (field `rows`) if a key is given two different rows; `Conflict` if the generation was published
    /// with another row; `Corrupt` or `SchemaVersion` for an item that cannot be read; what the service
    /// fails with. Some rows may be written then; no reader sees them before the generation is committed.
    pub async fn publish<R: Row>(
        &self,
        table: TableName,
        generation: Generation,
        rows: Vec<Change<R>>,
        deadline: Option<Deadline>,
    ) -> Result<Published> {
        let mut published = Published::default();
        let mut rows = fold(table, rows)?.into_iter().peekable();
        while rows.peek().is_some() {
            let part: Vec<Change<R>> = rows.by_ref().take(ROWS_AT_ONCE).collect();
            let keys = part.iter().map(|(key, _)| key.clone());
            let mut answers = self.get_many(table, keys, deadline).await;
            let mut work = Vec::with_capacity(part.len());
            for (key, row) in part {
                let stored = answers.take(&key)?;
                work.push(((key, row), stored));
            }
            let mut results = stream::iter(work)
                .map(|(change, stored)| self.publish_one(table, generation, change, stored, deadline))
                .buffer_unordered(self.options.concurrency.max(1));
            while let Some(done) = results.next().await {
                match done? {
                    Done::Written => published.written += 1,
                    Done::Unchanged => published.unchanged += 1,
                    Done::Superseded => published.superseded += 1,
                }
            }
        }
        Ok(published)
    }

    async fn publish_one<R: Row>(
        &self,
        table: TableName,
        generation: Generation,
        (key, row): Change<R>,
        mut stored: Option<RawItem>,
        deadline: Option<Deadline>,
    ) -> Result<Done> {
        for _ in 0..MAX_ROUNDS {
            let read = stored.take().map(|item| Versioned::<R>::from_item(table, item)).transpose()?;
            let read = read.map(|(_, versions)| versions);
            let next = match Versioned::publish(read.as_ref(), generation, row.as_ref()) {
                Step::Write(next) => next,
                Step::Unchanged => return Ok(Done::Unchanged),
                Step::Superseded => return Ok(Done::Superseded),
                Step::Contradicts => return Err(contradiction(generation, place(table, &key))),
            };
            let item = next.to_item(table, &key)?;
            let condition = unchanged(read.as_ref());
            // A twin's write of this generation is as good as ours.
            let is_mine = |stored: &RawItem| *stored == item;
            match self.put_if(table, &item, &condition, is_mine, deadline).await? {
                PutOutcome::Stored => return Ok(Done::Written),
                PutOutcome::Refused(now) => stored = now,
            }
        }
        let text = "the item was changed by others each time it was to be written, retry later";
        Err(Error::new(ErrorKind::Busy, text).on(place(table, &key)))
    }

    /// Reads rows at a pinned generation, each by its key; a row is `None` if there was none.
    ///
    /// `TooOld` if any of them is no longer known at that generation: all are read again at a newer one, for an
    /// answer is of one generation.
    pub async fn get_rows<R: Row>(
        &self,
        table: TableName,
        keys: impl IntoIterator<Item = ItemKey>,
        pin: Generation,
        deadline: Option<Deadline>,
    ) -> Pinned<HashMap<ItemKey, Result<Option<R>>>> {
        let answers = self.get_many(table, keys, deadline).await;
        let mut rows = HashMap::with_capacity(answers.len());
        for (key, answer) in answers.into_results() {
            let row = match answer {
                Ok(Some(item)) => match Versioned::from_item(table, item) {
                    Ok((_, versions)) => match versions.at(pin) {
                        Pinned::At(row) => Ok(row),
                        Pinned::TooOld => return Pinned::TooOld,
                    },
                    Err(error) => Err(error),
                },
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            rows.insert(key, row);
        }
        Pinned::At(rows)
    }
}

/// Each key once, in the order given.
fn fold<R: Row>(table: TableName, rows: Vec<Change<R>>) -> Result<Vec<Change<R>>> {
    let mut at: HashMap<ItemKey, usize> = HashMap::with_capacity(rows.len());
    let mut folded: Vec<Change<R>> = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        match at.get(&key) {
            None => {
                at.insert(key.clone(), folded.len());
                folded.push((key, row));
            }
            Some(&first) if folded[first].1 == row => {}
            Some(_) => {
                let text = "one key is given two different rows";
                return Err(Error::invalid("rows", text).on(place(table, &key)));
            }
        }
    }
    Ok(folded)
}
