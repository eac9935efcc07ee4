//! Puts by condition. When an answer is lost, the repeated put meets its own first write and is refused: the
//! item is read back before anybody is told of a conflict.

use recstore_core::{Deadline, Result};

use super::Online;
use super::calls::{Condition, Conditional, Fault};
use super::item::{RawItem, key_of, place};
use super::keys::ItemKey;
use super::tables::TableName;

/// What became of a put by condition.
#[derive(Debug, Clone, PartialEq)]
pub enum PutOutcome {
    /// The item is stored, by this call.
    Stored,
    /// It is not, and will not be: the condition does not hold. What is there instead.
    Refused(Option<RawItem>),
}

impl Online {
    /// Reads one item, strongly consistent.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn get_one(
        &self,
        table: TableName,
        key: &ItemKey,
        deadline: Option<Deadline>,
    ) -> Result<Option<RawItem>> {
        self.get_many(table, [key.clone()], deadline).await.take(key)
    }

    /// Puts an item if the condition holds; `is_mine` tells whether a stored item is the one that this call puts.
    ///
    /// Items have to tell their writer (by an id, or because whoever writes that generation writes the same),
    /// and the condition must not hold for the item itself: then a put that was done cannot be done again.
    ///
    /// # Errors
    /// `OutcomeUnknown` if a request had no answer and reading back did not tell: the same call finds out;
    /// otherwise nothing was stored.
    pub async fn put_if(
        &self,
        table: TableName,
        item: &RawItem,
        condition: &Condition,
        is_mine: impl Fn(&RawItem) -> bool,
        deadline: Option<Deadline>,
    ) -> Result<PutOutcome> {
        self.put_telling(table, item, condition, |stored, _| is_mine(stored), deadline).await
    }

    /// As [`put_if`](Self::put_if); `is_mine` is also told whether a request of this call had no answer. Where none had,
    /// an equal item is another's.
    pub(super) async fn put_telling(
        &self,
        table: TableName,
        item: &RawItem,
        condition: &Condition,
        is_mine: impl Fn(&RawItem, bool) -> bool,
        deadline: Option<Deadline>,
    ) -> Result<PutOutcome> {
        let Some(key) = key_of(item) else {
            return Err(recstore_core::Error::invalid("item", "has no key").on(table.as_str()));
        };
        let mut attempts = self.attempts(deadline);
        let mut unknown = false;
        let failure = loop {
            let call = self.calls.put(self.names.of(table), item, condition);
            let failure = match self.send(&attempts, call).await {
                Ok(Conditional::Done(_)) => return Ok(PutOutcome::Stored),
                Ok(Conditional::Refused) => {
                    return match self.get_one(table, &key, deadline).await {
                        Ok(Some(stored)) if is_mine(&stored, unknown) => Ok(PutOutcome::Stored),
                        Ok(stored) => Ok(PutOutcome::Refused(stored)),
                        Err(error) if unknown => Err(outcome_unknown(table, &key, error)),
                        Err(error) => Err(error),
                    };
                }
                Err(failure) => failure,
            };
            unknown |= failure.fault == Fault::Unknown;
            if let Err(failure) = Online::again(&mut attempts, failure).await {
                break failure;
            }
        };
        if !unknown {
            return Err(failure.into_error(place(table, &key)));
        }
        match self.get_one(table, &key, deadline).await {
            Ok(Some(stored)) if is_mine(&stored, true) => Ok(PutOutcome::Stored),
            // It is not there yet, but a request without an answer may still arrive.
            _ => Err(failure.unknown().into_error(place(table, &key))),
        }
    }
}

fn outcome_unknown(table: TableName, key: &ItemKey, cause: recstore_core::Error) -> recstore_core::Error {
    let text = "a put had no answer and its item could not be read back";
    let error = recstore_core::Error::new(recstore_core::ErrorKind::OutcomeUnknown, text);
    error.on(place(table, key)).because(cause)
}
