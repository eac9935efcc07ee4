//! The handle: what it is made of, namespaces, figures, closing.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use recstore_core::{Deadline, Error, ErrorKind, Namespace, Result, StoreContext};

use crate::config::AwsConfig;
use crate::lake::bronze::object::ClaimId;
use crate::lake::head::Heads;
use crate::lake::store::LakeStore;
use crate::online::Online;
use crate::online::pin::Pins;
use crate::similarities::Rollbacks;
use crate::similarities::readers::ReaderCache;

/// What a handle is made of.
pub struct AwsParts {
    /// The bucket.
    pub lake: LakeStore,
    /// The tables.
    pub online: Online,
    /// Settings.
    pub config: AwsConfig,
    /// Clock, limits and parameters.
    pub context: StoreContext,
    /// Random bits of this process, which tell its writes from those of others.
    pub claim: u128,
}

/// The `aws` mode: events and tables in S3, reads from DynamoDB.
///
/// Cheap to clone; clones and namespaces share connections.
#[derive(Clone)]
pub struct AwsStorage {
    pub(crate) shared: Arc<Shared>,
    pub(crate) space: Arc<Space>,
}

/// What all namespaces share.
pub(crate) struct Shared {
    pub(crate) lake: LakeStore,
    pub(crate) online: Online,
    pub(crate) config: AwsConfig,
    pub(crate) context: StoreContext,
    claim: ClaimId,
    spaces: Mutex<HashMap<Namespace, Arc<Space>>>,
    closed: AtomicBool,
}

/// What is kept of one namespace.
pub(crate) struct Space {
    pub(crate) namespace: Namespace,
    pub(crate) heads: Heads,
    pub(crate) pins: Pins,
    pub(crate) releases: ReaderCache,
    pub(crate) rollbacks: Rollbacks,
}

impl fmt::Debug for AwsStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsStorage").field("namespace", &self.space.namespace).finish_non_exhaustive()
    }
}

impl AwsStorage {
    /// A handle on `namespace`. Nothing is sent.
    ///
    /// # Errors
    /// `Invalid` that names the setting.
    pub fn new(parts: AwsParts, namespace: Namespace) -> Result<AwsStorage> {
        let AwsParts { lake, online, config, context, claim } = parts;
        let shared = Arc::new(Shared {
            lake,
            online,
            config,
            context,
            claim: ClaimId::from_random(claim),
            spaces: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let space = shared.space(namespace);
        Ok(AwsStorage { shared, space })
    }

    /// The first thing of every call: is the store open, is there time left.
    pub(crate) fn admit(&self, deadline: Option<Deadline>) -> Result<()> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        if deadline.is_some_and(Deadline::has_passed) {
            let text = "the deadline had passed before the call began";
            return Err(Error::new(ErrorKind::DeadlineExceeded, text));
        }
        Ok(())
    }
}

impl Shared {
    /// What is kept of `namespace`, made when it is first asked for.
    fn space(&self, namespace: Namespace) -> Arc<Space> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let heads = Heads::new(self.lake.clone(), namespace.clone(), self.claim);
            let pins = Pins::new(self.online.clone(), namespace.clone(), self.config.dynamodb.pin_max_age);
            Arc::new(Space {
                namespace: namespace.clone(),
                heads,
                pins,
                releases: ReaderCache::default(),
                rollbacks: Rollbacks::default(),
            })
        };
        spaces.entry(namespace.clone()).or_insert_with(made).clone()
    }
}
