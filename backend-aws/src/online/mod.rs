//! What DynamoDB serves: features, ratings and neighbours, point reads and queries, never scans.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`client`] | a configured SDK client: credentials, timeouts, TLS, no retries of its own |
//! | [`tables`] | the tables: names, schema, creation, check, removal |
//! | [`keys`] | ids to item keys and back |
//! | [`item`] | typed attributes, checksum and size of an item |
//! | [`versioned`] | an item that keeps its last two versions, each with its generation |
//! | [`calls`] | the handful of calls that are used, as a trait; the SDK behind it is in [`sdk`] |
//! | `metered` | these calls, counted |
//! | [`batch`] | many keys at once: chunks, what was left unprocessed, an answer for each key |
//! | [`conditional`] | puts by condition, whose lost answers are found out |
//! | [`publish`] | rows of a generation into versioned items |
//! | [`pin`] | the committed generation that readers hold on to |
//! | [`mirror`] | what is committed of similarity releases, as readers are told |
//! | [`ratings`], [`features`], [`neighbours`] | rows of each kind as items |
//! | [`custom`] | rows of custom groups, which the newest writer wins |
//! | [`pages`] | histories, page by page |
//!
//! Every read is strongly consistent: an answer that lags behind would be of another generation than the one
//! that is pinned, and nothing in an item would tell.

pub mod batch;
pub mod calls;
pub mod client;
pub mod conditional;
pub mod custom;
pub mod features;
pub mod item;
pub mod keys;
mod metered;
pub mod mirror;
pub mod neighbours;
pub mod pages;
pub mod pin;
pub mod publish;
pub mod ratings;
pub mod sdk;
pub mod tables;
pub mod versioned;

#[cfg(test)]
pub(crate) mod seeds;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use recstore_core::TableCost;
use tokio::sync::Semaphore;

use calls::DynamoCalls;
use metered::MeteredCalls;
use tables::TableNames;

use crate::config::RetryConfig;
use crate::metering::Meter;
use crate::retry::RetryPolicy;

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlineOptions {
    /// The most requests under way at once, over all callers; at least 1, 16 by default.
    pub concurrency: usize,
    /// When a single request has failed; 5 seconds by default.
    pub request_timeout: Duration,
    /// How often and how long a request is repeated.
    pub retry: RetryConfig,
    /// Where the random numbers of the waits between attempts begin.
    pub seed: u64,
}

impl Default for OnlineOptions {
    fn default() -> OnlineOptions {
        OnlineOptions {
            concurrency: 16,
            request_timeout: Duration::from_secs(5),
            retry: RetryConfig::default(),
            seed: 0,
        }
    }
}

/// A handle on the tables; clones share connections and limits.
#[derive(Clone)]
pub struct Online {
    calls: Arc<dyn DynamoCalls>,
    names: Arc<TableNames>,
    options: OnlineOptions,
    permits: Arc<Semaphore>,
    policy: Arc<RetryPolicy>,
    meter: Arc<Meter>,
}

impl Online {
    /// A handle that sends by `calls` to the tables of these names.
    pub fn new(calls: Arc<dyn DynamoCalls>, names: TableNames, options: OnlineOptions) -> Online {
        let permits = Arc::new(Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        let policy = Arc::new(RetryPolicy::new(options.retry, options.request_timeout, options.seed));
        let meter = Arc::<Meter>::default();
        let calls = Arc::new(MeteredCalls::new(calls, meter.clone()));
        Online { calls, names: Arc::new(names), options, permits, policy, meter }
    }

    /// What this handle and its clones have taken so far.
    pub fn cost(&self) -> TableCost {
        self.meter.cost().tables
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The names of the tables.
    pub fn names(&self) -> &TableNames {
        &self.names
    }
}

impl fmt::Debug for Online {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Online").field("names", &self.names).field("options", &self.options).finish()
    }
}
