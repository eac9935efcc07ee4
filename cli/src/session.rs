//! What a command works with: its output, the clock, and the store that the configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recstore::{Clock, Config, ErrorKind, Namespace, Opener, Storage, StorageMode, SystemClock};
use tokio::sync::OnceCell;

use crate::args::GlobalArgs;
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::Output;

/// Where the configuration is looked for if none is named.
pub const DEFAULT_CONFIG: &str = "recstore.yaml";
/// What helps where there is no store yet.
pub const NO_STORE_YET: &str = "`recstore import FILE` makes one and fills it";

/// What helps where there is no bucket, or there are no tables.
pub const NO_BUCKET_YET: &str = "`recstore setup aws` makes the bucket and the tables";

/// What becomes of a store that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Created,
    Refused,
}

/// What helps where the store is not there; nothing where the message says it all.
fn missing_store_hint(config: &Config, missing: Missing) -> Option<&'static str> {
    if config.storage_mode == StorageMode::Aws {
        return Some(NO_BUCKET_YET);
    }
    let database = &config.database;
    if database.read_only {
        Some("database.read_only is true, so it is not made")
    } else if !database.create {
        Some("database.create is false, so it is not made")
    } else {
        (missing == Missing::Refused).then_some(NO_STORE_YET)
    }
}

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    /// Where answers and talk go.
    pub output: Output,
    /// Says what is now.
    pub clock: Arc<dyn Clock>,
    config_file: PathBuf,
    namespace: Option<Namespace>,
    storage: OnceCell<Arc<dyn Storage>>,
    /// The same store, where it is one of the aws mode.
    #[cfg(feature = "aws")]
    aws: OnceCell<recstore::aws::AwsStorage>,
}

impl Session {
    /// A session as the global options say; nothing is read yet.
    pub fn new(args: &GlobalArgs) -> Session {
        Session {
            output: Output::new(args.json, args.quiet),
            clock: Arc::new(SystemClock),
            config_file: args.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG)),
            namespace: args.namespace.clone(),
            storage: OnceCell::new(),
            #[cfg(feature = "aws")]
            aws: OnceCell::new(),
        }
    }

    /// The configuration file, whether there is one or not.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Reads the configuration, with the environment and the flags over it.
    ///
    /// # Errors
    /// If there is none, or it is wrong.
    pub fn config(&self) -> Done<Config> {
        let mut config = Config::load(&self.config_file).map_err(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let failure = Failure::from(error).exiting(Exit::Config);
            if missing {
                failure.hint("`recstore init` writes one, --config names another")
            } else {
                failure.hint("`recstore --config example.yaml init` writes a file that shows every key")
            }
        })?;
        if let Some(namespace) = &self.namespace {
            config.namespace = namespace.clone();
        }
        Ok(config)
    }

    /// The store that the configuration names, opened at the first call. It must be there: a wrong name must
    /// not be answered with an empty store.
    ///
    /// # Errors
    /// If the configuration is wrong, or the store does not exist or cannot be opened.
    pub async fn storage(&self) -> Done<Arc<dyn Storage>> {
        self.open(Missing::Refused, |opener| opener).await
    }

    /// As [`storage`](Self::storage), making the store if it is not there, for commands that put into it.
    ///
    /// # Errors
    /// As [`storage`](Self::storage), and if the store cannot be made.
    pub async fn storage_or_new(&self) -> Done<Arc<dyn Storage>> {
        self.open(Missing::Created, |opener| opener).await
    }

    /// As [`storage`](Self::storage), accepting parameters other than those the store has recorded.
    ///
    /// # Errors
    /// As [`storage`](Self::storage).
    pub async fn storage_adopting_parameters(&self) -> Done<Arc<dyn Storage>> {
        self.open(Missing::Refused, Opener::adopt_parameters).await
    }

    async fn open(&self, missing: Missing, options: impl FnOnce(Opener) -> Opener) -> Done<Arc<dyn Storage>> {
        let open = async || {
            let mut config = self.config()?;
            let hint = missing_store_hint(&config, missing);
            match config.storage_mode {
                StorageMode::Memory => {
                    self.output.talk("mode memory: begins empty, and is gone when this command ends");
                }
                _ => config.database.create &= missing == Missing::Created,
            }
            self.start(&config, options).await.map_err(|failure| match (failure.exit(), hint) {
                (Exit::NoInput, Some(hint)) => failure.hint(hint),
                _ => failure,
            })
        };
        self.storage.get_or_try_init(open).await.cloned()
    }

    /// Opens the store of any configuration; closing it is up to the caller.
    ///
    /// # Errors
    /// As [`storage`](Self::storage).
    pub async fn open_other(&self, config: &Config) -> Done<Arc<dyn Storage>> {
        self.start(config, |opener| opener).await
    }

    /// The store as one of the aws mode, for what only this mode has.
    ///
    /// # Errors
    /// As [`storage`](Self::storage), and if another mode is configured.
    #[cfg(feature = "aws")]
    pub async fn aws(&self) -> Done<recstore::aws::AwsStorage> {
        self.aws_config()?;
        self.storage().await?;
        self.aws.get().cloned().ok_or_else(|| Failure::new(Exit::Internal, "the store is of another mode"))
    }

    /// The configuration, if it is one of the aws mode.
    ///
    /// # Errors
    /// As [`config`](Self::config), and if another mode is configured.
    #[cfg(feature = "aws")]
    pub fn aws_config(&self) -> Done<Config> {
        let config = self.config()?;
        if config.storage_mode == StorageMode::Aws {
            return Ok(config);
        }
        let text = format!("this command is about the aws mode, and storage_mode is {}", config.storage_mode);
        Err(Failure::new(Exit::Config, text).hint("name a configuration with storage_mode: aws"))
    }

    /// A store of the aws mode that is not held against its tables, for what fills them.
    #[cfg(feature = "aws")]
    pub async fn connected_aws(&self) -> Done<recstore::aws::AwsStorage> {
        let opener = Opener::new(&self.aws_config()?).clock(self.clock.clone());
        opener.connect_aws().await.map_err(not_opened)
    }

    /// The store if it is one of the aws mode and open.
    #[cfg(feature = "aws")]
    pub fn opened_aws(&self) -> Option<&recstore::aws::AwsStorage> {
        self.aws.get()
    }

    async fn start(&self, config: &Config, options: impl FnOnce(Opener) -> Opener) -> Done<Arc<dyn Storage>> {
        let opener = options(Opener::new(config).clock(self.clock.clone()));
        #[cfg(feature = "aws")]
        if config.storage_mode == StorageMode::Aws {
            let open = async || opener.open_aws().await.map_err(not_opened);
            let storage = self.aws.get_or_try_init(open).await?;
            return Ok(Arc::new(storage.clone()));
        }
        opener.open().await.map_err(not_opened)
    }

    /// Closes the store, if it was opened.
    ///
    /// # Errors
    /// What the last writes failed with.
    pub async fn close(&self) -> Done {
        match self.storage.get() {
            Some(storage) => Ok(storage.close().await?),
            None => Ok(()),
        }
    }
}

/// What a store could not be opened for; a value that is refused is one of the configuration.
pub(crate) fn not_opened(error: recstore::Error) -> Failure {
    match error.kind() {
        ErrorKind::Invalid => Failure::from(error).exiting(Exit::Config),
        _ => Failure::from(error),
    }
}
