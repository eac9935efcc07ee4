//! Settings of the SQLite backend: plain data.

use std::path::PathBuf;
use std::time::Duration;

use recstore_core::{Error, Result};

/// The WAL is too large at this multiple of its size in the settings.
const WAL_EXCESS: u64 = 4;

/// Where the file lies and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteConfig {
    /// The database file. Its folder must exist. Beside it SQLite keeps `-wal` and `-shm` while it is open.
    pub path: PathBuf,
    /// Create the file if it is missing; default `true`.
    pub create: bool,
    /// Open for reading only; default `false`.
    pub read_only: bool,
    /// Reader threads, each with a connection; default the machine's cores, at least 2 and at most 16.
    pub readers: usize,
    /// Page cache of each connection, in bytes; default 32 MiB.
    pub cache_bytes: u64,
    /// How long to wait for another process's lock; default 5 s.
    pub busy_timeout: Duration,
    /// The most events that one transaction takes from concurrent calls; default 10,000.
    pub max_group_events: usize,
    /// The most events waiting for the writer; more calls wait for room. Default 400,000.
    pub max_queued_events: usize,
    /// Users and items whose id and statistics the writer keeps in memory; default 200,000.
    /// About 400 bytes each, more with long ids or many distinct values.
    pub entity_cache: usize,
    /// Size of the WAL after which it is checkpointed, in bytes; default 64 MiB. Small writes touch the same
    /// pages again and again, a larger WAL copies each of them back less often. Reads that take long can make
    /// it grow to about four times this, and beyond while a single one lasts; once that has ended, the next writes
    /// give the space back.
    pub wal_bytes: u64,
    /// Files up to this size, in bytes, are checked whole when they are opened, as by
    /// [`validate`](crate::validate); 0 for never. Default 2 MiB, which takes less than
    /// 0.1 s; 100,004 ratings in 11 MiB take about 1 s.
    ///
    /// Rows carry checksums, which every read checks, whatever the size. What they cannot tell is that a row has
    /// gone: damage to the pages and indexes that lead to it.
    pub verify_bytes: u64,
}

impl SqliteConfig {
    /// The defaults for this file.
    pub fn new(path: impl Into<PathBuf>) -> SqliteConfig {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        SqliteConfig {
            path: path.into(),
            create: true,
            read_only: false,
            readers: cores.clamp(2, 16),
            cache_bytes: 32 << 20,
            busy_timeout: Duration::from_secs(5),
            max_group_events: 10_000,
            max_queued_events: 400_000,
            entity_cache: 200_000,
            wal_bytes: 64 << 20,
            verify_bytes: 2 << 20,
        }
    }

    /// As it is, but for a path that is a symbolic link: SQLite follows it and keeps the log beside the file that it
    /// leads to, where everything that looks at the log must look for it.
    pub(crate) fn resolved(mut self) -> SqliteConfig {
        if self.path.is_symlink()
            && let Ok(path) = self.path.canonicalize()
        {
            self.path = path;
        }
        self
    }

    /// The WAL's file.
    pub(crate) fn wal(&self) -> PathBuf {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        wal.into()
    }

    /// The size from which on the WAL is too large.
    pub(crate) fn wal_excess(&self) -> u64 {
        self.wal_bytes.saturating_mul(WAL_EXCESS)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid` that names the setting.
    pub fn validate(&self) -> Result<()> {
        let within = |field: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(field, format!("{value} is not {low} to {high}")))
        };
        within("readers", self.readers as u64, 1, 1024)?;
        within("cache_bytes", self.cache_bytes, 64 << 10, 1 << 40)?;
        within(
            "busy_timeout",
            u64::try_from(self.busy_timeout.as_millis()).unwrap_or(u64::MAX),
            0,
            3_600_000,
        )?;
        within("max_group_events", self.max_group_events as u64, 1, 1_000_000)?;
        within("max_queued_events", self.max_queued_events as u64, 100_000, 100_000_000)?;
        within("entity_cache", self.entity_cache as u64, 1000, 100_000_000)?;
        within("wal_bytes", self.wal_bytes, 64 << 10, 1 << 40)?;
        within("verify_bytes", self.verify_bytes, 0, 1 << 40)
    }
}

/// What to do if the file was computed with other parameters (the Bayesian prior) than those of the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parameters {
    /// Refuse to open: the numbers would silently change.
    #[default]
    Keep,
    /// Open with the new ones, to take them over by
    /// [`rebuild_features`](recstore_core::FeatureStore::rebuild_features).
    Adopt,
}
