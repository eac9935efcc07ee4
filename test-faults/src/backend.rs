//! What a backend gives so that the harnesses of this crate can try it.

use std::path::Path;
use std::sync::Arc;

use recstore_core::{Result, Storage};

/// A backend whose data lie in a folder, at least those that a crash must not lose.
pub trait Backend: Sync {
    /// Opens the store in this folder and creates it if there is none, with [`context`](crate::context).
    fn open(&self, folder: &Path) -> impl Future<Output = Result<Arc<dyn Storage>>> + Send;

    /// What is wrong with the files of a folder, while a store is open on them or not, by means that do not
    /// depend on the backend's own code.
    fn problems(&self, folder: &Path) -> Vec<String>;
}
