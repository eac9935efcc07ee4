//! What a behaviour is run with: an empty store of the backend under test, on a clock that the test moves.

use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use recstore_core::{ManualClock, Namespace, Storage, StoreContext, Timestamp};

use super::space::Space;

type Open = Box<dyn Fn(StoreContext) -> BoxFuture<'static, Opened> + Send + Sync>;
type Reopen = Box<dyn Fn(StoreContext) -> BoxFuture<'static, Arc<dyn Storage>> + Send + Sync>;

/// A store, what must live as long as it, and how to open it again.
struct Opened {
    storage: Arc<dyn Storage>,
    reopen: Option<Reopen>,
    _guard: Arc<dyn Send + Sync>,
}

/// An empty store of the backend under test, and the clock it was opened with.
///
/// The clock stands at 2024-01-01T00:00:00Z until a test moves it.
pub struct Harness {
    context: StoreContext,
    clock: Arc<ManualClock>,
    opened: Opened,
}

/// How the suite opens stores of the backend under test.
pub struct Backend {
    open: Open,
}

impl Backend {
    /// `open` makes an empty store on its own medium (a new temporary folder, say). The guard is dropped when
    /// the test ends, after the store.
    pub fn new<O, F, G>(open: O) -> Backend
    where
        O: Fn(StoreContext) -> F + Send + Sync + 'static,
        F: Future<Output = (Arc<dyn Storage>, G)> + Send + 'static,
        G: Send + Sync + 'static,
    {
        Backend {
            open: Box::new(move |context| {
                let opening = open(context);
                Box::pin(async move {
                    let (storage, guard) = opening.await;
                    Opened { storage, reopen: None, _guard: Arc::new(guard) }
                })
            }),
        }
    }

    /// As [`new`](Self::new), for a backend whose data outlives the handle: `reopen` opens the medium that
    /// the guard stands for once more. The suite closes a store before it opens it again.
    pub fn durable<O, F, G, R, S>(open: O, reopen: R) -> Backend
    where
        O: Fn(StoreContext) -> F + Send + Sync + 'static,
        F: Future<Output = (Arc<dyn Storage>, G)> + Send + 'static,
        G: Send + Sync + 'static,
        R: Fn(StoreContext, Arc<G>) -> S + Clone + Send + Sync + 'static,
        S: Future<Output = Arc<dyn Storage>> + Send + 'static,
    {
        Backend {
            open: Box::new(move |context| {
                let (opening, reopen) = (open(context), reopen.clone());
                Box::pin(async move {
                    let (storage, guard) = opening.await;
                    let guard = Arc::new(guard);
                    let kept = Arc::clone(&guard);
                    let reopen: Reopen =
                        Box::new(move |context| Box::pin(reopen(context, Arc::clone(&kept))));
                    Opened { storage, reopen: Some(reopen), _guard: guard }
                })
            }),
        }
    }

    /// Opens an empty store.
    pub async fn harness(&self) -> Harness {
        let clock = Arc::new(ManualClock::new(super::words::now()));
        let context = StoreContext { clock: Arc::<ManualClock>::clone(&clock), ..StoreContext::default() };
        let opened = (self.open)(context.clone()).await;
        Harness { context, clock, opened }
    }
}

impl Harness {
    /// The store as it was opened.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.opened.storage
    }

    /// The context the store was opened with.
    pub fn context(&self) -> &StoreContext {
        &self.context
    }

    /// The store's clock.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The store's clock, shared.
    pub(super) fn shared_clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    /// Moves the clock to this many milliseconds after its first time.
    pub(super) fn move_clock(&self, millis: i64) {
        let moved = super::words::now().as_millis() + millis;
        self.clock.set(Timestamp::from_millis(moved).unwrap());
    }

    /// The store's namespace as it was opened.
    pub(super) fn space(&self) -> Space {
        Space::new(Arc::clone(&self.opened.storage))
    }

    /// Another namespace of the store.
    pub(super) fn other(&self, namespace: &str) -> Space {
        Space::new(self.opened.storage.with_namespace(Namespace::new(namespace).unwrap()))
    }

    /// Closes the store and opens it again, with `context`.
    pub(super) async fn reopen_with(&self, context: StoreContext) -> Space {
        self.opened.storage.close().await.unwrap();
        let reopen = self.opened.reopen.as_ref().expect("the backend was given without a way to reopen it");
        Space::new(reopen(context).await)
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(&self) -> Space {
        self.reopen_with(self.context.clone()).await
    }
}
