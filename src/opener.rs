//! From configuration to storage.

use std::sync::Arc;

#[cfg(any(feature = "sqlite", feature = "aws"))]
use recstore_core::StoreContext;
use recstore_core::{Clock, Error, ErrorKind, MemoryStorage, Result, Storage, SystemClock};

use crate::{Config, StorageMode};

/// The modes of this build.
pub const AVAILABLE_MODES: &[StorageMode] = &[
    StorageMode::Memory,
    #[cfg(feature = "sqlite")]
    StorageMode::Sqlite,
    #[cfg(feature = "aws")]
    StorageMode::Aws,
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
            #[cfg(feature = "aws")]
            StorageMode::Aws => Ok(Arc::new(open_aws(&self.config, context).await?)),
            mode => Err(not_in_this_build(mode)),
        }
    }

    /// Opens the `aws` mode as itself, for what [`Storage`] does not say: its pipeline.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Invalid` (field `storage_mode`) if the configuration names another mode.
    #[cfg(feature = "aws")]
    pub async fn open_aws(self) -> Result<recstore_aws::AwsStorage> {
        self.config.validate()?;
        if self.config.storage_mode != StorageMode::Aws {
            let text = format!("is {}, and this needs aws", self.config.storage_mode);
            return Err(Error::invalid("storage_mode", text));
        }
        let context = self.config.context(self.clock)?;
        open_aws(&self.config, context).await
    }

    /// As [`open_aws`](Self::open_aws), whether the tables have what is committed or not: for filling them by
    /// [`rebuild_online`](recstore_aws::pipeline::run::Pipeline::rebuild_online). Nothing is sent.
    ///
    /// # Errors
    /// As [`open_aws`](Self::open_aws).
    #[cfg(feature = "aws")]
    pub async fn connect_aws(self) -> Result<recstore_aws::AwsStorage> {
        self.config.validate()?;
        let context = self.config.context(self.clock)?;
        let Config { aws, namespace, .. } = self.config;
        let connected =
            recstore_aws::AwsStorage::connect(aws.to_backend()?, namespace, context, random_bits()?);
        connected.await.map_err(of_key)
    }

    /// The bucket and the tables of the `aws` mode, to be made, looked at or removed. Nothing is sent.
    ///
    /// # Errors
    /// As [`open_aws`](Self::open_aws).
    #[cfg(feature = "aws")]
    pub async fn aws_setup(self) -> Result<recstore_aws::setup::Setup> {
        use recstore_aws::clients::AwsEnvironment;

        self.config.validate()?;
        let settings = self.config.aws.to_backend()?;
        let environment = AwsEnvironment::load(&settings, self.clock).await;
        // Jitter need not be unpredictable, only another one in each process.
        recstore_aws::setup::Setup::new(&environment, &settings, random_bits()? as u64).map_err(of_key)
    }
}

/// Random bits that no other process has: what tells the writes of this one from those of others.
///
/// # Errors
/// `Unavailable` if the system gives none.
#[cfg(feature = "aws")]
pub fn random_bits() -> Result<u128> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "the system gives no random bits").because(cause)
    })?;
    Ok(u128::from_ne_bytes(bits))
}

#[cfg(feature = "aws")]
async fn open_aws(config: &Config, context: StoreContext) -> Result<recstore_aws::AwsStorage> {
    let settings = config.aws.to_backend()?;
    let opened = recstore_aws::AwsStorage::open(settings, config.namespace.clone(), context, random_bits()?);
    opened.await.map_err(of_key)
}

/// What the backend says of a setting, said of the key.
#[cfg(feature = "aws")]
fn of_key(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Invalid if error.field().is_some() => error.in_field("aws"),
        _ => error,
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
