//! Very many scripts: on several threads, each with stores of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use recstore_core::{ManualClock, Storage, StoreContext, Timestamp};

use super::{Model, ModelOptions};

/// A store takes so many scripts before it is closed and a new one is opened, so that each script meets files
/// of every size up to that of so many namespaces.
const SCRIPTS_PER_STORE: u64 = 100;

/// Runs scripts on threads. `open` makes an empty store, and what must live as long as it.
///
/// Which seeds are run does not depend on the number of threads.
///
/// # Errors
/// What differed in the first script found to fail, see [`Model::run`].
pub fn run_on_threads<O, F, G>(options: ModelOptions, threads: usize, open: O) -> Result<(), String>
where
    O: Fn(StoreContext) -> F + Sync,
    F: Future<Output = (Arc<dyn Storage>, G)>,
{
    let (begun, failure) = (AtomicU64::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                if let Err(difference) = work(options, &begun, &open) {
                    begun.store(options.cases, Ordering::SeqCst);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(difference);
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Takes scripts until none is left.
fn work<O, F, G>(options: ModelOptions, begun: &AtomicU64, open: &O) -> Result<(), String>
where
    O: Fn(StoreContext) -> F,
    F: Future<Output = (Arc<dyn Storage>, G)>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        loop {
            let first = begun.fetch_add(SCRIPTS_PER_STORE, Ordering::SeqCst);
            if first >= options.cases {
                return Ok(());
            }
            let cases = SCRIPTS_PER_STORE.min(options.cases - first);
            let clock = Arc::new(ManualClock::new(start()?));
            let context =
                StoreContext { clock: Arc::<ManualClock>::clone(&clock), ..StoreContext::default() };
            let (storage, _guard) = open(context.clone()).await;
            let mut model = Model::new(Arc::clone(&storage), context, clock);
            model.run(ModelOptions { cases, seed: options.seed.wrapping_add(first), ..options }).await?;
            storage.close().await.map_err(|error| error.to_string())?;
        }
    })
}

fn start() -> Result<Timestamp, String> {
    Timestamp::from_seconds(1_704_067_200).map_err(|error| error.to_string())
}
