//! The handful of calls that are used, as a trait, so that scripted stores can stand in for the service.

use std::fmt;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use recstore_core::{Error, ErrorKind};

use super::item::RawItem;
use super::keys::ItemKey;
use crate::retry::GaveUp;

/// The most keys in one batch read.
pub const MAX_GET_KEYS: usize = 100;
/// The most writes in one batch.
pub const MAX_BATCH_WRITES: usize = 25;

/// What is known of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The service has too much to do; nothing was done, later it may be.
    Throttled,
    /// Nothing was done, and nothing will be: the same request fails again.
    Rejected,
    /// Nothing was done; trying again may help.
    NotDone,
    /// It may have been done.
    Unknown,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// What is known of it.
    pub fault: Fault,
    /// What it is to the caller, if trying again does not help.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
}

impl CallError {
    /// A failure of this kind.
    pub fn new(fault: Fault, kind: ErrorKind, message: impl Into<String>) -> CallError {
        CallError { fault, kind, message: message.into() }
    }

    pub(crate) fn throttled() -> CallError {
        CallError::new(Fault::Throttled, ErrorKind::Busy, "throttled by the service, retry later")
    }

    pub(crate) fn timeout() -> CallError {
        CallError::new(Fault::Unknown, ErrorKind::Unavailable, "the service did not answer in time")
    }

    /// There was no time to send it.
    pub(crate) fn not_sent(reason: GaveUp) -> CallError {
        match reason {
            GaveUp::Deadline => {
                CallError::new(Fault::NotDone, ErrorKind::DeadlineExceeded, "the deadline passed")
            }
            _ => CallError::new(Fault::NotDone, ErrorKind::Busy, "too many requests are waiting"),
        }
    }

    /// The failure that all attempts end with, for this reason.
    pub(crate) fn ended(mut self, reason: GaveUp) -> CallError {
        if reason == GaveUp::Deadline && self.kind != ErrorKind::DeadlineExceeded {
            self.kind = ErrorKind::DeadlineExceeded;
            self.message = format!("the deadline leaves no time for another attempt: {}", self.message);
        }
        self
    }

    /// The same failure of a write that may have been done.
    pub(crate) fn unknown(mut self) -> CallError {
        self.fault = Fault::Unknown;
        self.kind = ErrorKind::OutcomeUnknown;
        self
    }

    /// The error of a store call about `object`.
    pub fn into_error(self, object: impl Into<String>) -> Error {
        Error::new(self.kind, self.message).on(object)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

/// What an item must be for a write to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// There is none.
    Absent,
    /// This attribute has this value.
    Equals(&'static str, AttributeValue),
    /// There is none, or these two attributes together are below these values, the first before the second.
    Below([(&'static str, AttributeValue); 2]),
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Puts an item, whatever was there.
    Put(RawItem),
    /// Deletes an item, if there is one.
    Delete(ItemKey),
}

/// The answer to a batch read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GotBatch {
    /// Items that were found, in any order.
    pub items: Vec<RawItem>,
    /// Keys that were not looked at.
    pub unprocessed: Vec<ItemKey>,
    /// Capacity that it took.
    pub read_units: f64,
}

/// The answer to a batch of writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WroteBatch {
    /// Keys whose write was not done.
    pub unprocessed: Vec<ItemKey>,
    /// Capacity that it took.
    pub write_units: f64,
}

/// The answer to a write by condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conditional {
    /// It was done and took this capacity.
    Done(f64),
    /// The condition did not hold; nothing was done.
    Refused,
}

/// Items of one partition, between two sort keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The partition key.
    pub partition: String,
    /// The least sort key.
    pub from: String,
    /// The greatest sort key; not below `from`.
    pub to: String,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// The most items on a page, at least 1.
    pub limit: u32,
    /// The key that the page comes after.
    pub after: Option<ItemKey>,
}

/// A page of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryPage {
    /// Items in order; there may be none although there are more pages.
    pub items: Vec<RawItem>,
    /// The key that the next page comes after; `None` after the last.
    pub next: Option<ItemKey>,
    /// Capacity that it took.
    pub read_units: f64,
}

/// The calls. Each is one request: nothing is repeated, nothing chunked. Reads are strongly consistent.
#[async_trait]
pub trait DynamoCalls: fmt::Debug + Send + Sync {
    /// Reads up to [`MAX_GET_KEYS`] distinct keys.
    async fn get_batch(&self, table: &str, keys: &[ItemKey]) -> Result<GotBatch, CallError>;
    /// Does up to [`MAX_BATCH_WRITES`] writes of distinct keys.
    async fn write_batch(&self, table: &str, writes: &[Write]) -> Result<WroteBatch, CallError>;
    /// Puts one item if the condition holds.
    async fn put(&self, table: &str, item: &RawItem, condition: &Condition)
    -> Result<Conditional, CallError>;
    /// Reads a page.
    async fn query(&self, table: &str, query: &Query) -> Result<QueryPage, CallError>;
}
