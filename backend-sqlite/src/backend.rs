//! The handle: open, namespaces, health, figures, close.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use recstore_core::{
    Capabilities, Deadline, Entity, EraseOptions, EraseReport, Error, ErrorKind, Fingerprints, GetOptions,
    Health, HealthCheck, Namespace, Result, Stats, Storage, StoreContext,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::connection::{Access, connect, prepare_file, settle};
use crate::entities::namespace_number;
use crate::error::{SqlResult, damaged, located};
use crate::readers::{Reader, Readers};
use crate::writer::{Session, Writer};
use crate::{Parameters, SqliteConfig, erase, fingerprint, integrity, parameters, ratings, schema};

/// The `sqlite` mode: one file on the local disk.
///
/// Cheap to clone; clones and [namespaces](Storage::with_namespace) share the file's connections. When the
/// last handle goes, pending writes are finished and the file is let go.
///
/// # When the disk or another process fails
/// An error never leaves half a call behind. What the store does after it:
///
/// | what failed | error of the call | afterwards |
/// | --- | --- | --- |
/// | no room on the disk | `Full`, nothing stored | goes on once there is room |
/// | a write to the disk, before the commit | `Unavailable`, nothing stored | goes on |
/// | a write or sync of the commit itself | `OutcomeUnknown` | reads go on; writes are `Unavailable` until it is opened again, then the call is to be repeated |
/// | a read, a lock, the log's index | `Unavailable` (`OutcomeUnknown` within a commit, as above) | goes on |
/// | a read past a file that was cut off | `Corrupt` | pages stay in memory: open it again |
/// | opening or deleting a file | `Unavailable` by `open` or `close` | goes on when it is opened again |
/// | another process holds the lock longer than `busy_timeout` | `Busy`, nothing stored | goes on |
/// | the writer thread, by a panic outside of a call | `OutcomeUnknown` | reads go on; writes are `Unavailable` until it is opened again, then the call is to be repeated |
/// | a checkpoint | none, the log has everything | tried again with later writes |
/// | a reader that takes long | none, the log grows: `wal_bytes` of the [figures](Storage::stats) | the space is given back after it |
///
/// ```
/// use recstore_core::{Namespace, Rating, RatingStoreExt, StoreContext, Timestamp};
/// use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let config = SqliteConfig::new(folder.path().join("ratings.db"));
/// let store =
///     SqliteStorage::open(config, Namespace::default(), StoreContext::default(), Parameters::Keep).await?;
/// let event = Rating::new(1.into(), 31.into(), 2.5, Timestamp::from_seconds(1_260_759_144)?)?;
/// store.put_rating(event.clone()).await?;
/// let row = store.get_rating(event.user(), event.item()).await?;
/// assert_eq!(row.map(|row| row.rating), Some(event));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteStorage {
    shared: Arc<Shared>,
    namespace: Namespace,
    /// The namespace's number once it is known, 0 before; numbers never change.
    ns: Arc<AtomicI64>,
}

struct Shared {
    config: SqliteConfig,
    context: StoreContext,
    readers: Readers,
    /// `None` if opened for reading only.
    writer: Option<Writer>,
    closed: AtomicBool,
}

impl SqliteStorage {
    /// Opens the file, creates or migrates it where the settings allow, and starts the threads.
    ///
    /// A file up to [`SqliteConfig::verify_bytes`] is checked whole before anything is written to it.
    ///
    /// # Errors
    /// `Invalid` for settings out of range and parameters that differ from the file's, `NotFound` without
    /// file or folder, `Corrupt` for damaged and foreign files, `SchemaVersion` for newer ones, `ReadOnly`,
    /// `Full`, `Busy`.
    pub async fn open(
        config: SqliteConfig,
        namespace: Namespace,
        context: StoreContext,
        parameters: Parameters,
    ) -> Result<SqliteStorage> {
        let shared = blocking("recstore-open", move || open(config, context, parameters)).await??;
        Ok(SqliteStorage { shared: Arc::new(shared), namespace, ns: Arc::default() })
    }

    pub(crate) fn context(&self) -> &StoreContext {
        &self.shared.context
    }

    pub(crate) fn config(&self) -> &SqliteConfig {
        &self.shared.config
    }

    pub(crate) fn namespace_name(&self) -> &Namespace {
        &self.namespace
    }

    /// The first thing of every call: is the store open, is there time left.
    pub(crate) fn admit(&self, deadline: Option<Deadline>) -> Result<()> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(self.error(ErrorKind::Closed, "the store is closed"));
        }
        if deadline.is_some_and(Deadline::has_passed) {
            return Err(
                self.error(ErrorKind::DeadlineExceeded, "the deadline had passed before the call began")
            );
        }
        Ok(())
    }

    fn error(&self, kind: ErrorKind, text: &str) -> Error {
        Error::new(kind, text).on(self.shared.config.path.display().to_string())
    }

    /// Runs `work`, which reads a few rows, on a reader thread with the namespace's number, `None` while
    /// nothing was stored in it.
    pub(crate) async fn read<T, F>(&self, deadline: Option<Deadline>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Reader, Option<i64>) -> Result<T> + Send + 'static,
    {
        self.read_rows(1, deadline, work).await
    }

    /// As [`read`](Self::read), of everything there is.
    pub(crate) async fn read_all<T, F>(&self, deadline: Option<Deadline>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Reader, Option<i64>) -> Result<T> + Send + 'static,
    {
        self.read_rows(usize::MAX, deadline, work).await
    }

    /// As [`read`](Self::read), of about so many rows.
    pub(crate) async fn read_rows<T, F>(&self, rows: usize, deadline: Option<Deadline>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Reader, Option<i64>) -> Result<T> + Send + 'static,
    {
        self.admit(deadline)?;
        let readers = &self.shared.readers;
        let known = self.ns.load(Ordering::Relaxed);
        if known != 0 {
            return readers.call(rows, deadline, move |reader| work(reader, Some(known))).await;
        }
        let (namespace, number) = (self.namespace.clone(), Arc::clone(&self.ns));
        let look_up = move |reader: &Reader| {
            let found = namespace_number(reader, &namespace)?;
            number.store(found.unwrap_or(0), Ordering::Relaxed);
            work(reader, found)
        };
        readers.call(rows, deadline, look_up).await
    }

    /// Runs `work` on the writer thread, within a transaction. See [`Writer::call`].
    pub(crate) async fn write<T, F>(&self, weight: usize, deadline: Option<Deadline>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        self.admit(deadline)?;
        let Some(writer) = &self.shared.writer else {
            return Err(self.error(ErrorKind::ReadOnly, "the store was opened for reading only"));
        };
        writer.call(weight, deadline, work).await
    }
}

fn open(config: SqliteConfig, context: StoreContext, adopt: Parameters) -> Result<Shared> {
    config.validate()?;
    let config = config.resolved();
    prepare_file(&config)?;
    integrity::verify(&config)?;
    let located = |error: Error| located(error, config.path.display().to_string());
    let mut connection = connect(&config, if config.read_only { Access::Read } else { Access::Write })?;
    if !config.read_only {
        settle(&connection).map_err(located)?;
        schema::migrate(&mut connection).map_err(located)?;
    }
    check_schema(&connection).map_err(located)?;
    parameters::check(&connection, &config, &context, adopt).map_err(located)?;
    let readers = Readers::start(&config)?;
    let writer = if config.read_only { None } else { Some(Writer::start(connection, &config)?) };
    Ok(Shared { config, context, readers, writer, closed: AtomicBool::new(false) })
}

fn check_schema(connection: &Connection) -> Result<()> {
    schema::check(&*connection.unchecked_transaction().sql()?)
}

#[async_trait]
impl Storage for SqliteStorage {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Arc<dyn Storage> {
        Arc::new(SqliteStorage { shared: Arc::clone(&self.shared), namespace, ns: Arc::default() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::local("sqlite", true)
    }

    async fn health(&self) -> Result<Health> {
        let check = |name: &str, result: Result<String>| HealthCheck {
            name: name.to_owned(),
            ok: result.is_ok(),
            detail: result.unwrap_or_else(|error| error.to_string()),
        };
        let read = self.read(None, |connection, _| schema_line(connection)).await;
        if let Err(error) = &read
            && error.kind() == ErrorKind::Closed
        {
            return read.map(|_| Health::of(Vec::new()));
        }
        let mut checks = vec![check("read", read)];
        if self.shared.writer.is_some() {
            let written = self.write(1, None, |session| parameters::touch(&session.connection)).await;
            let written = written.map(|()| "a row was written and synced".to_owned());
            checks.push(check("write", written));
        }
        Ok(Health::of(checks))
    }

    async fn stats(&self, options: GetOptions) -> Result<Stats> {
        let mut stats = self.read_all(options.deadline, |reader, ns| count_all(reader, ns)).await?;
        if let Some(writer) = &self.shared.writer {
            stats.backend.push(("commits", writer.figures.commits.load(Ordering::Relaxed)));
            stats.backend.push(("write_calls", writer.figures.calls.load(Ordering::Relaxed)));
        }
        let wal = std::fs::metadata(self.shared.config.wal());
        stats.backend.push(("wal_bytes", wal.map_or(0, |metadata| metadata.len())));
        Ok(stats)
    }

    async fn fingerprint(&self, options: GetOptions) -> Result<Fingerprints> {
        let prior = self.context().prior;
        self.read_all(options.deadline, move |connection, ns| match ns {
            Some(ns) => fingerprint::fingerprint(connection, ns, prior),
            None => Ok(Fingerprints::default()),
        })
        .await
    }

    async fn erase(&self, entity: &Entity, options: EraseOptions) -> Result<EraseReport> {
        let erasure = erase::Erasure::new(self.context(), self.namespace.clone(), entity.clone());
        if options.dry_run {
            return self
                .read_all(options.deadline, move |connection, ns| erasure.count(connection, ns))
                .await;
        }
        self.write(1, options.deadline, move |session| erasure.run(session)).await
    }

    async fn refresh(&self) -> Result<()> {
        self.admit(None)
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        blocking("recstore-close", move || shared.close()).await?
    }
}

impl Shared {
    fn close(&self) -> Result<()> {
        let written = self.writer.as_ref().map_or(Ok(()), Writer::close);
        self.readers.close();
        written
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the store was not closed cleanly");
        }
    }
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.shared.config.path;
        f.debug_struct("SqliteStorage")
            .field("path", path)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Runs blocking work on a thread of its own, off the executor.
async fn blocking<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // A caller that has gone does not need the answer.
        let _ = reply.send(work());
    });
    thread
        .map_err(|cause| Error::new(ErrorKind::Unavailable, "a thread cannot be started").because(cause))?;
    answer.await.map_err(|_| Error::new(ErrorKind::Internal, format!("the thread {name} panicked")))
}

fn schema_line(connection: &Connection) -> Result<String> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).sql()?;
    Ok(format!("schema version {version}, SQLite {}", rusqlite::version()))
}

fn count_all(connection: &Connection, ns: Option<i64>) -> Result<Stats> {
    let number = |sql: &str| -> Result<u64> {
        let count: i64 = connection.query_row(sql, [ns], |row| row.get(0)).sql()?;
        u64::try_from(count).map_err(|_| damaged("a count is negative"))
    };
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).sql();
    let bytes = pragma("page_count")?.saturating_mul(pragma("page_size")?);
    Ok(Stats {
        ratings: ns.map_or(Ok(Default::default()), |ns| ratings::count(connection, ns))?,
        users: number("SELECT count(*) FROM entities WHERE ns = ?1 AND kind = 0 AND rating_count > 0")?,
        items: number("SELECT count(*) FROM entities WHERE ns = ?1 AND kind = 1 AND rating_count > 0")?,
        // A deletion is encoded as a single zero byte; the length is known without reading a large row.
        feature_rows: number(
            "SELECT count(*) FROM feature_rows r JOIN feature_groups g ON g.id = r.grp
             WHERE g.ns = ?1 AND (length(r.content) > 1 OR r.content <> x'00')",
        )?,
        releases: number("SELECT count(*) FROM releases WHERE ns = ?1")?,
        hidden_items: number("SELECT count(*) FROM entities WHERE ns = ?1 AND kind = 1 AND hidden = 1")?,
        tombstones: number("SELECT count(*) FROM tombstones WHERE ns = ?1")?,
        backend: vec![("file_bytes", u64::try_from(bytes).unwrap_or(0))],
    })
}
