//! From configuration to storage.

use std::sync::Arc;

#[cfg(feature = "sqlite")]
use recstore_core::StoreContext;
use recstore_core::{Clock, Error, ErrorKind, MemoryStorage, Result, Storage, SystemClock};

use crate::{Config, StorageMode};

/// The modes of this build.
pub const AVAILABLE_MODES: &[StorageMode] = &[
    StorageMode::Memory,
    #[cfg(feature = "sqlite")]
    StorageMode::Sqlite,
];

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
            #[cfg(feature = "sqlite")]
            StorageMode::Sqlite => {
                Ok(Arc::new(open_sqlite(self.config, context, self.adopt_parameters).await?))
            }
            mode => Err(not_in_this_build(mode)),
        }
    }
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(
    config: Config,
    context: StoreContext,
    adopt_parameters: bool,
) -> Result<recstore_sqlite::SqliteStorage> {
    use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};

    let database = config.database;
    let defaults = SqliteConfig::new(database.path);
    let settings = SqliteConfig {
        create: database.create,
        read_only: database.read_only,
        readers: database.readers.unwrap_or(defaults.readers),
        cache_bytes: database.cache,
        busy_timeout: database.busy_timeout,
        max_group_events: database.max_group_events,
        max_queued_events: database.max_queued_events,
        entity_cache: database.entity_cache,
        wal_bytes: database.wal_size,
        verify_bytes: database.verify_size,
        ..defaults
    };
    let parameters = if adopt_parameters { Parameters::Adopt } else { Parameters::Keep };
    SqliteStorage::open(settings, config.namespace, context, parameters).await
}

fn not_in_this_build(mode: StorageMode) -> Error {
    let available: Vec<_> = AVAILABLE_MODES.iter().map(|mode| mode.as_str()).collect();
    let text = format!(
        "this build has no `{mode}` mode: it needs the cargo feature `{mode}`, available here: {}",
        available.join(", ")
    );
    Error::new(ErrorKind::Unsupported, text).in_field("storage_mode")
}
