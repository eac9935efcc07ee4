//! The memory backend: everything in maps behind one lock, nothing on disk.
//!
//! It is the oracle that other backends are compared with, so it computes anew wherever that is simpler than
//! keeping up to date. For tests, demonstrations and whoever wants a store for as long as the process lives.
//!
//! - `state`: the maps of one namespace, and the questions that more than one store asks them.
//! - `ratings`, `features`, `similarities`: one trait each.
//! - `backend`: the bundle: erasure, fingerprints, figures.

mod backend;
mod features;
mod ratings;
mod similarities;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::{Deadline, Error, ErrorKind, Namespace, Result, StoreContext, Timestamp};
use state::State;

/// Ratings, features and similarities in the memory of this process.
///
/// Clones and handles of other namespaces share one state; it ends with the last of them, or with
/// [`close`](crate::Storage::close). Calls wait for one lock and hold it only while they work, so a deadline
/// is looked at once, before a call begins.
///
/// ```
/// use recstore_core::{
///     FeatureStoreExt, FeatureValue, MemoryStorage, Namespace, Outcome, Rating, RatingStoreExt, StoreContext,
///     Timestamp,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> recstore_core::Result<()> {
/// let store = MemoryStorage::new(Namespace::default(), StoreContext::default());
/// let (user, item) = (1.into(), 31.into());
///
/// let rating = Rating::new(1.into(), 31.into(), 2.5, Timestamp::from_seconds(1_260_759_144)?)?;
/// assert_eq!(store.put_rating(rating.clone()).await?, Outcome::Applied);
/// assert_eq!(store.put_rating(rating.clone()).await?, Outcome::Duplicate);
///
/// let row = store.get_rating(&user, &item).await?;
/// assert_eq!(row.map(|row| row.rating), Some(rating));
///
/// let features = store.user_features(&user).await?;
/// assert_eq!(features.value(0, "rating_count"), Some(FeatureValue::Integer(1)));
/// assert_eq!(features.value(0, "rating_mean"), Some(FeatureValue::Float(2.5)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStorage {
    namespace: Namespace,
    context: StoreContext,
    /// The state of every namespace; `None` once the store was closed.
    shared: Arc<RwLock<Option<BTreeMap<Namespace, State>>>>,
}

impl MemoryStorage {
    /// An empty store, and a handle on `namespace` of it.
    pub fn new(namespace: Namespace, context: StoreContext) -> MemoryStorage {
        MemoryStorage { namespace, context, shared: Arc::new(RwLock::new(Some(BTreeMap::new()))) }
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Answers `call` from the state of the namespace.
    fn read<T>(&self, deadline: Option<Deadline>, call: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        let shared = self.shared.read().map_err(poisoned)?;
        let namespaces = shared.as_ref().ok_or_else(closed)?;
        check(deadline)?;
        match namespaces.get(&self.namespace) {
            Some(state) => call(state),
            None => call(&State::default()),
        }
    }

    /// Lets `call` change the state of the namespace. A call that fails must not have changed anything.
    fn write<T>(&self, deadline: Option<Deadline>, call: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut shared = self.shared.write().map_err(poisoned)?;
        let namespaces = shared.as_mut().ok_or_else(closed)?;
        check(deadline)?;
        call(namespaces.entry(self.namespace.clone()).or_default())
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn check(deadline: Option<Deadline>) -> Result<()> {
    if deadline.is_some_and(Deadline::has_passed) {
        return Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline passed before the call began"));
    }
    Ok(())
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed")
}

/// A call that panicked may have done half of its work: nothing is read from that state.
fn poisoned<T>(_: PoisonError<T>) -> Error {
    Error::new(ErrorKind::Internal, "an earlier call panicked within the store")
}

#[cfg(test)]
mod tests;
