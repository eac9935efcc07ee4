//! An HTTP service on Recstore: ratings in, features, neighbours and recommendations out.
//!
//! | route | what it does |
//! | --- | --- |
//! | `POST /ratings` | stores one event or an array of them, atomically |
//! | `GET /users/{id}/features`, `GET /items/{id}/features` | the built-in features |
//! | `GET /items/{id}/similar?k=10` | the neighbours in the current release |
//! | `GET /users/{id}/recommendations?k=10` | what to show next |
//! | `GET /health` | whether reads and writes work |
//!
//! Ids in paths are percent-encoded, so `/` in an id is `%2F`. Errors are JSON,
//! `{"error": {"kind", "field", "message"}}`, with the status that fits the kind.
//!
//! - `body`: the JSON of an event, and its way to a [`Rating`](recstore::Rating).
//! - `answer`: stored things to JSON.
//! - `failure`: errors to status and JSON.
//! - `routes`: one function per route.

mod answer;
mod body;
mod failure;
mod routes;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use recstore::{Clock, Storage};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use routes::router;

/// The largest body that is read.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// How long a call to the store may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests that are being answered may take once the service was told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// What every request needs.
#[derive(Debug, Clone)]
pub struct App {
    /// The store.
    pub storage: Arc<dyn Storage>,
    /// The time of events that say none.
    pub clock: Arc<dyn Clock>,
}

/// Answers requests until `stop` is done, lets those that are being answered end, and closes the store.
///
/// # Errors
/// What listening failed with, or closing the store.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        // Nobody listens if serving has failed already.
        let _ = stopping.send(());
    };
    let storage = app.storage.clone();
    let serving = axum::serve(listener, router(app)).with_graceful_shutdown(stop).into_future();
    let served = tokio::select! {
        served = serving => served,
        () = drained(stopped) => Err(io::Error::new(io::ErrorKind::TimedOut, "requests did not end in time")),
    };
    storage.close().await?;
    Ok(served?)
}

/// Waits until the time to drain is over; for ever if the service was not told to end.
async fn drained(stopped: oneshot::Receiver<()>) {
    if stopped.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}
