//! From configuration to storage.

use std::sync::Arc;

use recstore_core::{Clock, Error, ErrorKind, MemoryStorage, Result, Storage, SystemClock};

use crate::{Config, StorageMode};

/// The modes of this build.
pub const AVAILABLE_MODES: &[StorageMode] = &[StorageMode::Memory];

/// Opens the storage that `config` names, with the machine's clock.
///
/// # Errors
/// As [`Opener::open`].
pub async fn open(config: &Config) -> Result<Arc<dyn Storage>> {
    Opener::new(config).open().await
}

/// Opens storage with live parts that are no configuration: a clock, a decision.
///
/// A builder whose setters never fail; [`open`](Self::open) does, once.
#[derive(Debug, Clone)]
#[must_use]
pub struct Opener {
    config: Config,
    clock: Arc<dyn Clock>,
    adopt_parameters: bool,
}

impl Opener {
    /// Opens what `config` names, with the machine's clock.
    pub fn new(config: &Config) -> Opener {
        Opener { config: config.clone(), clock: Arc::new(SystemClock), adopt_parameters: false }
    }

    /// Takes the time from this clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Opener {
        self.clock = clock;
        self
    }

    /// Opens a store whose recorded parameters (the Bayesian prior) differ from the configured ones, in order
    /// to take these over by [`rebuild_features`](recstore_core::FeatureStore::rebuild_features). Without it
    /// such a store is refused: its numbers would silently change.
    pub fn adopt_parameters(mut self) -> Opener {
        self.adopt_parameters = true;
        self
    }

    /// Opens the storage.
    ///
    /// # Errors
    /// `Invalid` for a configuration that does not [validate](Config::validate); `Unsupported` (field
    /// `storage_mode`) for a mode that is not in this build; else what the backend says.
    pub async fn open(self) -> Result<Arc<dyn Storage>> {
        self.config.validate()?;
        let context = self.config.context(self.clock)?;
        match self.config.storage_mode {
            StorageMode::Memory => Ok(Arc::new(MemoryStorage::new(self.config.namespace, context))),
            mode => Err(not_in_this_build(mode)),
        }
    }
}

fn not_in_this_build(mode: StorageMode) -> Error {
    let available: Vec<_> = AVAILABLE_MODES.iter().map(|mode| mode.as_str()).collect();
    let text = format!(
        "this build has no `{mode}` mode: it needs the cargo feature `{mode}`, available here: {}",
        available.join(", ")
    );
    Error::new(ErrorKind::Unsupported, text).in_field("storage_mode")
}
