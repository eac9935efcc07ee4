//! The similarity store: neighbours of items (or users), in immutable releases.
//!
//! A release is begun, filled with neighbour lists, sealed with its popularity list, and promoted in one
//! atomic step; readers see one whole release or another. A release that turns out to be bad is rolled back.
//!
//! - `release`: what a release is made of and the states it goes through.
//! - `matrix`, `measure`, `kernel`: the exact computation of neighbour lists, no I/O.
//! - `check`: what a release must pass before it is promoted.
//! - `build`: the job that reads ratings from a store and leaves a promoted release in it.

mod build;
mod check;
mod kernel;
mod matrix;
mod measure;
mod release;
#[cfg(test)]
mod testing;

use async_trait::async_trait;

pub use build::{BuildOptions, BuildPhase, BuildProgress, BuildReport, BuildSeconds, build_release};
pub use check::{Check, CheckOptions, CheckReport, ReleaseChecker};
pub use kernel::NeighbourBuilder;
pub use matrix::{RatingMatrix, RatingMatrixBuilder};
pub use release::{
    Measure, Neighbour, NeighbourList, Popular, ReleaseId, ReleaseInfo, ReleaseSpec, ReleaseState,
    SimilarityOptions,
};

use crate::{Deadline, EntityKey, EntityKind, GetOptions, ItemId, Lookup, PutOptions, Result};

/// What to read: neighbours of ids.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct NeighbourRequest {
    /// Neighbours among users or among items.
    pub kind: EntityKind,
    /// Whose neighbours, answered in this order; repeated ids are answered each time.
    pub ids: Vec<EntityKey>,
    /// The most neighbours of each id, counted after hidden items are left out; `None` for all.
    pub limit: Option<usize>,
    /// Which release; `None` for the current one.
    pub release: Option<ReleaseId>,
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl NeighbourRequest {
    /// All neighbours of `ids` in the current release.
    pub fn new(kind: EntityKind, ids: Vec<EntityKey>) -> NeighbourRequest {
        NeighbourRequest { kind, ids, limit: None, release: None, deadline: None }
    }

    /// All neighbours of these items in the current release.
    pub fn of_items(ids: impl IntoIterator<Item = ItemId>) -> NeighbourRequest {
        NeighbourRequest::new(EntityKind::Item, ids.into_iter().map(EntityKey::from).collect())
    }

    /// Sets the most neighbours of each id.
    pub fn with_limit(mut self, limit: usize) -> NeighbourRequest {
        self.limit = Some(limit);
        self
    }

    /// Reads this release.
    pub fn with_release(mut self, release: ReleaseId) -> NeighbourRequest {
        self.release = Some(release);
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> NeighbourRequest {
        self.deadline = Some(deadline);
        self
    }
}

/// The answer to a [`NeighbourRequest`].
#[derive(Debug)]
pub struct NeighbourAnswer {
    /// The release that was read; `None` if none was promoted yet, then every id is missing.
    pub release: Option<ReleaseId>,
    /// For each id asked, in that order, its neighbours, the most similar first, ties by id.
    pub lists: Vec<Lookup<Vec<Neighbour>>>,
}

/// Which sealed or abandoned releases [`SimilarityStore::prune_releases`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneOptions {
    /// How many sealed releases to keep besides the current one, the newest first; 2 by default.
    pub keep: usize,
    /// Releases that are still being built are removed once they are older than this; 24 h by default.
    pub abandoned_after: std::time::Duration,
}

impl Default for PruneOptions {
    fn default() -> PruneOptions {
        PruneOptions { keep: 2, abandoned_after: std::time::Duration::from_secs(24 * 60 * 60) }
    }
}

/// Similarities: immutable releases of neighbour lists, one of them current for each entity kind.
///
/// Items that were erased or hidden never come back from a read as a neighbour or a popular item, whatever
/// the release says.
#[async_trait]
pub trait SimilarityStore: Send + Sync {
    /// Begins a release; it is invisible to readers until it is sealed.
    ///
    /// # Errors
    /// `Invalid` for options out of range; as [`put_neighbours`](Self::put_neighbours).
    async fn begin_release(&self, spec: ReleaseSpec) -> Result<ReleaseId>;

    /// Puts lists into a release that is being built, atomically; a list given again, in this call or
    /// another, replaces the first.
    ///
    /// Idempotent. Neighbours may come in any order, they are kept the most similar first, ties by id. Lists
    /// and neighbours that were erased at or after the release's begin are left out. Without lists it only
    /// looks whether the release takes any.
    ///
    /// # Errors
    /// `Invalid` (field `lists[i].neighbours[j]…`) for a similarity that is not finite or not above zero, an
    /// entity that is its own neighbour, or a neighbour given twice in one list, whatever the release;
    /// `NotFound` for an unknown release, `Conflict` if it is sealed; `Full`, `ReadOnly`, `Busy`,
    /// `DeadlineExceeded`, `OutcomeUnknown`, `Closed`.
    async fn put_neighbours(
        &self,
        release: &ReleaseId,
        lists: Vec<NeighbourList>,
        options: PutOptions,
    ) -> Result<()>;

    /// Seals a release: from now on it is immutable and can be read and promoted. Sealing twice is `Ok` and
    /// changes nothing.
    ///
    /// `popular` is the popularity list of its kind, the most popular first, kept as given; entities that
    /// were erased at or after the release's begin are left out.
    ///
    /// # Errors
    /// As [`put_neighbours`](Self::put_neighbours).
    async fn seal_release(&self, release: &ReleaseId, popular: Vec<Popular>) -> Result<ReleaseInfo>;

    /// Makes a sealed release the current one of its kind, atomically. Promoting the current one is `Ok`.
    ///
    /// # Errors
    /// `NotFound` for an unknown release, `Conflict` if it is not sealed.
    async fn promote_release(&self, release: &ReleaseId) -> Result<ReleaseInfo>;

    /// Makes the release that was current before the current one. The one rolled back stays, unpromoted.
    ///
    /// # Errors
    /// `NotFound` if there is no earlier promoted release.
    async fn rollback_release(&self, kind: EntityKind) -> Result<ReleaseInfo>;

    /// Removes old releases of a kind, never the current one; returns those removed, newest first.
    ///
    /// Sealed releases count by their age, whether they were once promoted or not; one that was removed can
    /// no longer be rolled back to.
    ///
    /// # Errors
    /// As [`put_neighbours`](Self::put_neighbours).
    async fn prune_releases(&self, kind: EntityKind, options: PruneOptions) -> Result<Vec<ReleaseId>>;

    /// Every release of a kind, newest first.
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`, `Corrupt`, `Closed`.
    async fn releases(&self, kind: EntityKind) -> Result<Vec<ReleaseInfo>>;

    /// Neighbours of many ids, in the order asked, all from one release.
    ///
    /// An id without a list is missing; an id whose list is empty is found without neighbours. Hidden items
    /// are left out of every list; a hidden item's own list can be read. `as_of` is when the release was
    /// begun. Empty input gives an empty answer.
    ///
    /// # Errors
    /// `NotFound` if the request names an unknown or unsealed release, or one of the other kind; as [`releases`](Self::releases).
    async fn get_neighbours(&self, request: NeighbourRequest) -> Result<NeighbourAnswer>;

    /// The most popular entities of the current release, the most popular first, hidden items left out;
    /// empty if no release was promoted.
    ///
    /// # Errors
    /// As [`releases`](Self::releases).
    async fn get_popular(&self, kind: EntityKind, limit: usize, options: GetOptions) -> Result<Vec<Popular>>;

    /// Hides items from every read of neighbours and popular items, at once and until they are unhidden.
    /// Idempotent; atomic; items need not be known.
    ///
    /// # Errors
    /// As [`put_neighbours`](Self::put_neighbours).
    async fn hide_items(&self, items: Vec<ItemId>) -> Result<()>;

    /// Shows hidden items again. Idempotent; atomic.
    ///
    /// # Errors
    /// As [`put_neighbours`](Self::put_neighbours).
    async fn unhide_items(&self, items: Vec<ItemId>) -> Result<()>;

    /// Every hidden item, in order of id.
    ///
    /// # Errors
    /// As [`releases`](Self::releases).
    async fn hidden_items(&self) -> Result<Vec<ItemId>>;
}
