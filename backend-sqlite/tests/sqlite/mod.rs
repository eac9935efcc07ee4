//! SQLite, for the harnesses of `recstore-test-faults`.

use std::path::Path;
use std::sync::Arc;

use recstore_core::{Namespace, Result, Storage};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::{Backend, context};
use rusqlite::Connection;

pub(crate) const FILE: &str = "ratings.db";

/// A store with one reader and a log of this size.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pub(crate) wal_bytes: u64,
}

impl Sqlite {
    pub(crate) async fn open_in(&self, folder: &Path) -> Result<SqliteStorage> {
        let wal_bytes = self.wal_bytes;
        let config = SqliteConfig { readers: 1, wal_bytes, ..SqliteConfig::new(folder.join(FILE)) };
        SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await
    }
}

impl Backend for Sqlite {
    async fn open(&self, folder: &Path) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.open_in(folder).await?))
    }

    /// By a connection that nothing was set on: what stock SQLite says.
    fn problems(&self, folder: &Path) -> Vec<String> {
        let check = || -> rusqlite::Result<Vec<String>> {
            let connection = Connection::open(folder.join(FILE))?;
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.filter(|row| row.as_ref().map_or(true, |text| text != "ok")).collect()
        };
        check().unwrap_or_else(|error| vec![error.to_string()])
    }
}
