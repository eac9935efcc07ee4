//! The bundle of the three stores, and what concerns all of them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::{
    Deadline, Entity, FeatureStore, Fingerprints, GetOptions, Namespace, RatingCounts, RatingStore, Result,
    SimilarityStore, Timestamp,
};

/// What a backend can do, where backends differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// The mode's name: `memory`, `sqlite`, `aws`, `hybrid`.
    pub mode: &'static str,
    /// Whether acknowledged data survives the end of the process.
    pub durable: bool,
    /// Whether `Applied | Stale | Duplicate` is told at once; if not, events are `Accepted`.
    pub ordered_at_put: bool,
    /// Whether a read sees every write acknowledged before; if not, `refresh()` makes it so.
    pub fresh_reads: bool,
}

impl Capabilities {
    /// A backend on one machine: ordered at put, fresh reads. For backends.
    pub fn local(mode: &'static str, durable: bool) -> Capabilities {
        Capabilities { mode, durable, ordered_at_put: true, fresh_reads: true }
    }

    /// A durable backend that decides between events, and shows them, in batches. For backends.
    pub fn deferred(mode: &'static str) -> Capabilities {
        Capabilities { mode, durable: true, ordered_at_put: false, fresh_reads: false }
    }
}

/// One thing that [`Storage::health`] looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// What was looked at: `read`, `write`, `integrity`, …
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was seen, or what is wrong and what to do about it.
    pub detail: String,
}

/// The answer of [`Storage::health`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether everything is well.
    pub ok: bool,
    /// What was looked at.
    pub checks: Vec<HealthCheck>,
}

impl Health {
    /// The health that these checks make.
    pub fn of(checks: Vec<HealthCheck>) -> Health {
        Health { ok: checks.iter().all(|check| check.ok), checks }
    }
}

/// How much a namespace holds, and what the backend tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Rows of the rating store.
    pub ratings: RatingCounts,
    /// Users with a current rating.
    pub users: u64,
    /// Items with a current rating.
    pub items: u64,
    /// Rows of custom groups, deletions left out.
    pub feature_rows: u64,
    /// Releases of both kinds, those being built included.
    pub releases: u64,
    /// Hidden items.
    pub hidden_items: u64,
    /// Tombstones of erased users and items.
    pub tombstones: u64,
    /// The backend's own figures by name (bytes, commits, …), in a fixed order.
    pub backend: Vec<(&'static str, u64)>,
}

/// Options of an erasure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct EraseOptions {
    /// Only counts what would be erased.
    pub dry_run: bool,
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl EraseOptions {
    /// Counts, and erases nothing.
    pub fn dry_run() -> EraseOptions {
        EraseOptions { dry_run: true, deadline: None }
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> EraseOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// What an erasure took away (or would).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EraseReport {
    /// Rating rows, withdrawn ones included.
    pub ratings: u64,
    /// Rows of custom groups, deletions included.
    pub feature_rows: u64,
    /// The entity's own neighbour lists, in all releases.
    pub neighbour_lists: u64,
    /// Its entries in the neighbour lists of others, in all releases. Popularity lists are not counted.
    pub neighbour_entries: u64,
    /// Events of the entity with an event time up to this are barred from now on.
    pub barred_until: Timestamp,
}

/// Ratings, features and similarities of one namespace.
///
/// Get one from `recstore::open`, share it as `Arc<dyn Storage>`. Every call is safe to cancel: dropping the
/// future leaves a write either done or not done, whole; repeating it with the same input finds out. So a call
/// that takes no deadline is bounded by dropping it, with `tokio::time::timeout` for instance.
#[async_trait]
pub trait Storage: RatingStore + FeatureStore + SimilarityStore + fmt::Debug {
    /// The namespace that this handle reads and writes.
    fn namespace(&self) -> &Namespace;

    /// A handle on another namespace, sharing connections with this one. Nothing of one namespace can be
    /// seen or changed through another.
    fn with_namespace(&self, namespace: Namespace) -> Arc<dyn Storage>;

    /// What this backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Looks whether reads and writes work, and at the state of the medium.
    ///
    /// # Errors
    /// `Closed`. What is unwell is told in the answer, not by an error.
    async fn health(&self) -> Result<Health>;

    /// Counts what the namespace holds.
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`, `Corrupt`, `Closed`.
    async fn stats(&self, options: GetOptions) -> Result<Stats>;

    /// Content hashes of the namespace, one for each store, from one consistent state.
    ///
    /// Equal content, in stores of any mode, gives equal fingerprints; any single change gives others. Reads
    /// everything once. What is hashed stands at [`Fingerprints`].
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    async fn fingerprint(&self, options: GetOptions) -> Result<Fingerprints>;

    /// Erases one user or item from all stores and releases, those being built included, atomically, and
    /// leaves a tombstone. An item's hidden flag goes too.
    ///
    /// The tombstone is a keyed hash of the id. It bars events with a time up to the erasure plus the
    /// allowed future skew, so that a replay does not bring the entity back. Statistics of the others are as
    /// if its ratings had never been. Erasing an unknown entity leaves the tombstone all the same;
    /// idempotent.
    ///
    /// # Errors
    /// As [`put_ratings`](RatingStore::put_ratings).
    async fn erase(&self, entity: &Entity, options: EraseOptions) -> Result<EraseReport>;

    /// Makes every write acknowledged before this call, by any process, visible to reads. Instant where
    /// [`Capabilities::fresh_reads`].
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`, `Closed`.
    async fn refresh(&self) -> Result<()>;

    /// Ends pending writes and lets the medium go. Every handle on it is closed then; closing twice is `Ok`.
    ///
    /// # Errors
    /// What the last writes failed with.
    async fn close(&self) -> Result<()>;
}
