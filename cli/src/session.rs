//! What a command works with: its output, the clock, and the store that the configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recstore::{Clock, Config, ErrorKind, Namespace, Opener, Storage, SystemClock};
use tokio::sync::OnceCell;

use crate::args::GlobalArgs;
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::Output;

/// Where the configuration is looked for if none is named.
pub const DEFAULT_CONFIG: &str = "recstore.yaml";

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
                failure.hint("`recstore init` shows every key: --config other.yaml init")
            }
        })?;
        if let Some(namespace) = &self.namespace {
            config.namespace = namespace.clone();
        }
        Ok(config)
    }

    /// The store that the configuration names, opened at the first call.
    ///
    /// # Errors
    /// If the configuration is wrong or the store cannot be opened.
    pub async fn storage(&self) -> Done<Arc<dyn Storage>> {
        self.open(|opener| opener).await
    }

    /// As [`storage`](Self::storage), accepting parameters other than those the store has recorded.
    ///
    /// # Errors
    /// As [`storage`](Self::storage).
    pub async fn storage_adopting_parameters(&self) -> Done<Arc<dyn Storage>> {
        self.open(Opener::adopt_parameters).await
    }

    async fn open(&self, options: impl FnOnce(Opener) -> Opener) -> Done<Arc<dyn Storage>> {
        let open = async || self.start(&self.config()?, options).await;
        self.storage.get_or_try_init(open).await.cloned()
    }

    /// Opens the store of any configuration; closing it is up to the caller.
    ///
    /// # Errors
    /// As [`storage`](Self::storage).
    pub async fn open_other(&self, config: &Config) -> Done<Arc<dyn Storage>> {
        self.start(config, |opener| opener).await
    }

    async fn start(&self, config: &Config, options: impl FnOnce(Opener) -> Opener) -> Done<Arc<dyn Storage>> {
        let opener = options(Opener::new(config).clock(self.clock.clone()));
        opener.open().await.map_err(|error| match error.kind() {
            ErrorKind::Invalid => Failure::from(error).exiting(Exit::Config),
            _ => Failure::from(error),
        })
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
