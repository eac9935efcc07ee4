//! Work that takes long goes away from the executor; work that does not stays, where a thread would cost more.

use recstore_core::{Error, ErrorKind, Result};

/// What `work` gives, on a thread for blocking work if it is `large`.
///
/// # Errors
/// `Internal` if the work panicked or the runtime is shutting down.
pub(crate) async fn offload<T: Send + 'static>(
    large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if !large {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::new(ErrorKind::Internal, "work on events did not end").because(cause))
}
