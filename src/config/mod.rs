//! The configuration: plain data, read from a YAML file, the environment and flags, later ones over earlier.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | `keys` | the table of keys, and the nearest name for one that is not in it |
//! | `text` | values from and to the text a human writes |
//! | `yaml` | a file to (key, text, position) |
//! | `env` | environment variables to (key, text) |
//! | `secret` | a text that never prints |
//! | `aws` | the settings of the `aws` mode |
//!
//! Whatever the source, a value arrives as text and is read as the type of its key: `namespace: 09` is the
//! namespace `09`, not the number 9.

mod aws;
mod env;
mod keys;
mod secret;
mod text;
mod yaml;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use recstore_core::{
    BayesianPrior, Clock, ErasureKey, Error, ErrorKind, IngestLimits, Namespace, Result, SimilarityOptions,
    StoreContext,
};

pub use aws::{
    AwsConfig, AwsDynamoDbConfig, AwsIngestConfig, AwsPipelineConfig, AwsRetentionConfig, AwsRetryConfig,
    AwsS3Config, AwsSilverRetention,
};
pub use secret::Secret;

/// Where the data lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageMode {
    /// In this process's memory: gone when it ends. For tests and demonstrations.
    Memory,
    /// In one SQLite file on the local disk.
    #[default]
    Sqlite,
    /// In S3 and DynamoDB.
    Aws,
    /// In SQLite first, shipped to S3.
    Hybrid,
}

impl StorageMode {
    /// Every mode, in this build or not.
    pub const ALL: [StorageMode; 4] =
        [StorageMode::Memory, StorageMode::Sqlite, StorageMode::Aws, StorageMode::Hybrid];

    /// `memory`, `sqlite`, `aws` or `hybrid`.
    pub fn as_str(self) -> &'static str {
        match self {
            StorageMode::Memory => "memory",
            StorageMode::Sqlite => "sqlite",
            StorageMode::Aws => "aws",
            StorageMode::Hybrid => "hybrid",
        }
    }
}

impl fmt::Display for StorageMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StorageMode {
    type Err = Error;

    fn from_str(name: &str) -> Result<StorageMode> {
        let modes = StorageMode::ALL;
        modes.into_iter().find(|mode| mode.as_str() == name).ok_or_else(|| {
            let names = modes.map(StorageMode::as_str);
            Error::invalid("storage_mode", format!("{name:?} is no mode{}", keys::hint(name, &names)))
        })
    }
}

/// Everything that can be configured. [`Config::template`] is the same as a commented file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Config {
    /// Where the data lives; `sqlite` by default.
    pub storage_mode: StorageMode,
    /// Which tenant or catalogue is read and written; `default` by default.
    pub namespace: Namespace,
    /// The file of the `sqlite` mode.
    pub database: DatabaseConfig,
    /// The bucket and the tables of the `aws` mode.
    pub aws: AwsConfig,
    /// What events must keep to.
    pub ingest: IngestConfig,
    /// Parameters of the built-in features.
    pub features: FeaturesConfig,
    /// How neighbour lists are computed where a build is not told otherwise.
    pub similarity: SimilarityOptions,
    /// The secret that keys the hashes of erased ids; without one, whoever guesses an id can see in the store
    /// that it was erased. A store remembers which one it was made with and refuses another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasure_key: Option<Secret>,
}

/// The file of the `sqlite` mode, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseConfig {
    /// The file; `recstore.db` by default. Relative paths in a configuration file are relative to that file.
    pub path: PathBuf,
    /// Whether a missing file is created; `true` by default.
    pub create: bool,
    /// Whether the file is opened for reading only; `false` by default.
    pub read_only: bool,
    /// Connections that read, 1 to 64; `None` (`auto`, the default) for one per core, 2 to 16.
    #[serde(serialize_with = "text::serialize_or_auto")]
    pub readers: Option<usize>,
    /// Page cache of each connection, in bytes; 32 MiB by default.
    #[serde(serialize_with = "text::serialize_size")]
    pub cache: u64,
    /// How long to wait for another process that holds the file's lock; 5 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub busy_timeout: Duration,
    /// The most events that concurrent writes are joined into for one commit; 10,000 by default.
    pub max_group_events: usize,
    /// The most events that wait for the writer, further calls wait for room; 400,000 by default.
    pub max_queued_events: usize,
    /// Users and items whose statistics the writer keeps in memory; 200,000 by default, about 60 MB.
    pub entity_cache: usize,
    /// The size of the write-ahead log, in bytes, at which it is folded into the file; 64 MiB by default.
    #[serde(serialize_with = "text::serialize_size")]
    pub wal_size: u64,
    /// Files up to this size, in bytes, are checked whole when they are opened; 2 MiB by default, 0 for never.
    #[serde(serialize_with = "text::serialize_size")]
    pub verify_size: u64,
}

impl Default for DatabaseConfig {
    fn default() -> DatabaseConfig {
        DatabaseConfig {
            path: PathBuf::from("recstore.db"),
            create: true,
            read_only: false,
            readers: None,
            cache: 32 * MIB,
            busy_timeout: Duration::from_secs(5),
            max_group_events: 10_000,
            max_queued_events: 400_000,
            entity_cache: 200_000,
            wal_size: 64 * MIB,
            verify_size: 2 * MIB,
        }
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// The largest configuration file.
const MAX_BYTES: u64 = MIB;

/// What events must keep to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IngestConfig {
    /// How far ahead of the clock an event time may be; 24 h by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub max_future_skew: Duration,
}

impl Default for IngestConfig {
    fn default() -> IngestConfig {
        IngestConfig { max_future_skew: IngestLimits::default().max_future_skew }
    }
}

/// Parameters of the built-in features. They are recorded in the store: changing them asks for a rebuild.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeaturesConfig {
    /// The mean that `bayesian_mean` is damped towards; 3 by default.
    pub prior_mean: f64,
    /// How many ratings the prior stands for; 10 by default.
    pub prior_weight: u32,
}

impl Default for FeaturesConfig {
    fn default() -> FeaturesConfig {
        let prior = BayesianPrior::default();
        FeaturesConfig { prior_mean: prior.mean(), prior_weight: prior.weight() }
    }
}

impl Config {
    /// The configuration of a file, with the process's environment over it.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `Invalid` with the key (field) and the position or the variable
    /// (object).
    pub fn load(path: impl AsRef<Path>) -> Result<Config> {
        let mut config = Config::from_file(path)?;
        config.apply_process_env()?;
        Ok(config)
    }

    /// The configuration of a file, whatever the environment says.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = read(path).map_err(|cause| {
            let (kind, message) = match cause.kind() {
                io::ErrorKind::NotFound => (ErrorKind::NotFound, "there is no such configuration file"),
                io::ErrorKind::InvalidData => (ErrorKind::Invalid, "the configuration is not UTF-8"),
                io::ErrorKind::FileTooLarge => (ErrorKind::Invalid, "the configuration is larger than 1 MiB"),
                _ => (ErrorKind::Invalid, "the configuration cannot be read"),
            };
            Error::new(kind, message).on(name.clone()).because(cause)
        })?;
        Config::parse(&text, path.parent().unwrap_or(Path::new("")), &format!("{name}:"))
    }

    /// The configuration of a YAML text. Relative paths in it are relative to `base`.
    ///
    /// # Errors
    /// `Invalid` with the key (field) and `line:column` (object).
    pub fn from_yaml(text: &str, base: impl AsRef<Path>) -> Result<Config> {
        Config::parse(text, base.as_ref(), "")
    }

    fn parse(text: &str, base: &Path, origin: &str) -> Result<Config> {
        let mut config = Config::default();
        let on = |at: yaml::Position| format!("{origin}{at}");
        for entry in yaml::entries(text).map_err(|(error, at)| error.on(on(at)))? {
            config.set(&entry.key, &entry.value).map_err(|error| error.on(on(entry.at)))?;
        }
        config.database.path = base.join(&config.database.path);
        config.check_conflicts()?;
        Ok(config)
    }

    /// Puts environment variables over what stands here: `RECSTORE_STORAGE_MODE`, `RECSTORE_NAMESPACE`,
    /// `RECSTORE_DATABASE__PATH`, …, two underscores standing for the dot.
    ///
    /// Variables that look like a key and are none are refused. Others that begin with `RECSTORE_`
    /// (`RECSTORE_CONFIG`, `RECSTORE_LOG`, those that Kubernetes makes for a service of that name) are let
    /// be. Relative paths are relative to the working directory.
    ///
    /// # Errors
    /// `Invalid` with the key (field) and the variable (object).
    pub fn apply_env<N, V>(&mut self, variables: impl IntoIterator<Item = (N, V)>) -> Result<()>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        for (variable, value) in variables {
            let variable = variable.as_ref();
            if let Some(key) = env::key_of(variable).map_err(|error| error.on(variable))? {
                self.set(&key, value.as_ref()).map_err(|error| error.on(variable))?;
            }
        }
        self.check_conflicts()
    }

    /// Puts the process's environment over what stands here, as [`apply_env`](Self::apply_env).
    ///
    /// # Errors
    /// As [`apply_env`](Self::apply_env).
    pub fn apply_process_env(&mut self) -> Result<()> {
        self.apply_env(env::of_process()?)
    }

    /// Sets one key from text, as a flag would: `set("database.path", "x.db")`. After an error nothing has
    /// changed.
    ///
    /// # Errors
    /// `Invalid` for an unknown key and for a value that is none of the key's.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let key = keys::find(key)?;
        let mut changed = self.clone();
        let outcome = (key.set)(&mut changed, value).and_then(|()| changed.check_ranges());
        outcome.map_err(|error| Error::invalid(key.path, error.message()))?;
        *self = changed;
        Ok(())
    }

    /// Checks every range, that no two values conflict, and that the mode has what it needs.
    /// [`Opener`](crate::Opener) does it too.
    ///
    /// # Errors
    /// `Invalid` with the key (field).
    pub fn validate(&self) -> Result<()> {
        self.check_ranges()?;
        self.check_conflicts()?;
        match self.storage_mode {
            StorageMode::Aws => self.aws.check_whole().map_err(|error| error.in_field("aws")),
            _ => Ok(()),
        }
    }

    /// Every key, in the order of the template.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        keys::KEYS.iter().map(|key| key.path)
    }

    /// A commented file that says what the defaults say: what `recstore init` writes.
    pub fn template() -> &'static str {
        include_str!("template.yaml")
    }

    /// The prior of `bayesian_mean`.
    ///
    /// # Errors
    /// `Invalid` (field `features.prior_mean`) if the mean is no rating value.
    pub fn prior(&self) -> Result<BayesianPrior> {
        let FeaturesConfig { prior_mean, prior_weight } = self.features;
        BayesianPrior::new(prior_mean, prior_weight)
            .map_err(|error| Error::invalid("features.prior_mean", error.message()))
    }

    /// What every backend is opened with.
    ///
    /// # Errors
    /// As [`prior`](Self::prior).
    pub fn context(&self, clock: Arc<dyn Clock>) -> Result<StoreContext> {
        let secret = self.erasure_key.as_ref();
        Ok(StoreContext {
            clock,
            limits: IngestLimits { max_future_skew: self.ingest.max_future_skew },
            prior: self.prior()?,
            erasure_key: secret
                .map_or_else(ErasureKey::default, |secret| ErasureKey::from_secret(secret.expose())),
        })
    }

    fn check_ranges(&self) -> Result<()> {
        let database = &self.database;
        let check = |key: &str, holds: bool, range: &str| {
            if holds { Ok(()) } else { Err(Error::invalid(key, format!("is not {range}"))) }
        };
        check("database.path", !database.path.as_os_str().is_empty(), "the name of a file")?;
        let readers = database.readers.is_none_or(|readers| (1..=1024).contains(&readers));
        check("database.readers", readers, "auto or 1 to 1024")?;
        check("database.cache", (64 * KIB..=TIB).contains(&database.cache), "64KiB to 1TiB")?;
        check("database.busy_timeout", database.busy_timeout <= Duration::from_secs(3600), "0s to 1h")?;
        let group = (1..=1_000_000).contains(&database.max_group_events);
        check("database.max_group_events", group, "1 to 1000000")?;
        let queue = (100_000..=100_000_000).contains(&database.max_queued_events);
        check("database.max_queued_events", queue, "100000 to 100000000")?;
        let entities = (1000..=100_000_000).contains(&database.entity_cache);
        check("database.entity_cache", entities, "1000 to 100000000")?;
        check("database.wal_size", (64 * KIB..=TIB).contains(&database.wal_size), "64KiB to 1TiB")?;
        check("database.verify_size", database.verify_size <= TIB, "0 to 1TiB")?;
        self.aws.check_values().map_err(|error| error.in_field("aws"))?;
        self.prior()?;
        self.similarity.validate().map_err(|error| error.in_field("similarity"))
    }

    fn check_conflicts(&self) -> Result<()> {
        if self.storage_mode != StorageMode::Memory {
            return Ok(());
        }
        let DatabaseConfig { read_only, create, .. } = self.database;
        for (key, value, default) in
            [("database.read_only", read_only, false), ("database.create", create, true)]
        {
            if value != default {
                let text = format!("{value} conflicts with storage_mode: memory, which always begins empty");
                return Err(Error::invalid(key, text));
            }
        }
        Ok(())
    }
}

/// The text of a file of at most [`MAX_BYTES`]; a device or a data file named by mistake must not fill the memory.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}
