//! The writer thread: joins concurrent calls into one transaction, so that many writers share one sync.
//!
//! A call is done when its transaction is committed, and only then answered. Calls of one group are applied
//! in the order they came. If a group fails for a reason of the medium, each of its calls is tried again
//! alone, so that one call cannot take its neighbours with it; not if the lock was not got, which is the same
//! for all and was waited for already. A failed sync poisons the writer: pages may
//! be marked clean that never reached the disk, so nothing more is acknowledged until the file is reopened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use recstore_core::{Deadline, Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::SqliteConfig;
use crate::bugs::{Bug, seeded};
use crate::entities::Entities;
use crate::error::{SqlResult, located};

/// What a call works with: the connection, inside a transaction, and the entities it shares with its group.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) entities: Entities,
}

/// How long commits wait at most for readers, so that the WAL can begin anew.
const LONGEST_WAIT_FOR_READERS: Duration = Duration::from_secs(1);

/// Figures of the writer since the file was opened.
#[derive(Debug, Default)]
pub(crate) struct WriterFigures {
    /// Committed transactions; each syncs the WAL once.
    pub(crate) commits: AtomicU64,
    /// Calls that were acknowledged.
    pub(crate) calls: AtomicU64,
}

/// A handle on the writer thread.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Mutex<Option<Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
    room: Arc<Semaphore>,
    max_queued: usize,
    path: String,
    pub(crate) figures: Arc<WriterFigures>,
}

enum Message {
    Call(Box<dyn Job>),
    Close,
}

/// A call in the queue.
trait Job: Send {
    /// How many events it has, at least 1.
    fn weight(&self) -> usize;
    /// Takes the call up, unless its caller has gone or its deadline has passed.
    fn claim(&mut self) -> bool;
    /// Does the work; repeatable, for a group that was rolled back.
    fn run(&mut self, session: &mut Session) -> Result<()>;
    /// Answers the caller.
    fn answer(self: Box<Self>, result: Result<()>);
}

struct Call<T, F> {
    work: F,
    value: Option<T>,
    weight: usize,
    claim: Option<Arc<Claim>>,
    reply: oneshot::Sender<Result<T>>,
    _room: OwnedSemaphorePermit,
}

/// Who is first: the writer that begins the call, or the caller whose deadline passes.
struct Claim {
    deadline: Deadline,
    state: AtomicU8,
}

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Claim {
    fn take(&self, state: u8) -> bool {
        self.state.compare_exchange(WAITING, state, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Session) -> Result<T> + Send,
{
    fn weight(&self) -> usize {
        self.weight
    }

    fn claim(&mut self) -> bool {
        match &self.claim {
            Some(claim) => !claim.deadline.has_passed() && claim.take(BEGUN),
            None => !self.reply.is_closed(),
        }
    }

    fn run(&mut self, session: &mut Session) -> Result<()> {
        self.value = Some((self.work)(session)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<()>) {
        let Call { value, reply, .. } = *self;
        let missing = || Error::new(ErrorKind::Internal, "a committed call has no value");
        // A caller that has gone does not need the answer.
        let _ = reply.send(result.and_then(|()| value.ok_or_else(missing)));
    }
}

impl Writer {
    /// Starts the thread on a connection that nothing else writes with.
    pub(crate) fn start(connection: Connection, config: &SqliteConfig) -> Result<Writer> {
        let (queue, calls) = unbounded();
        let figures = Arc::new(WriterFigures::default());
        let wal_excess = config.wal_excess();
        let mut thread = WriterThread {
            session: Session { connection, entities: Entities::new(config.entity_cache) },
            calls,
            max_group: config.max_group_events,
            path: config.path.display().to_string(),
            figures: Arc::clone(&figures),
            poisoned: false,
            busy_timeout: config.busy_timeout,
            wal: config.wal(),
            wal_excess,
            wal_limit: wal_excess,
        };
        let thread = std::thread::Builder::new()
            .name("recstore-writer".to_owned())
            .spawn(move || thread.run())
            .map_err(|cause| {
                Error::new(ErrorKind::Unavailable, "the writer thread cannot be started").because(cause)
            })?;
        Ok(Writer {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            room: Arc::new(Semaphore::new(config.max_queued_events)),
            max_queued: config.max_queued_events,
            path: config.path.display().to_string(),
            figures,
        })
    }

    /// Runs `work` in a transaction of its own or of a group, and answers when it is committed.
    ///
    /// `work` checks first and writes then: errors of kind `Invalid`, `NotFound` and `Conflict` are answers to
    /// this call, and it has written nothing before them. It may be run twice.
    pub(crate) async fn call<T, F>(&self, weight: usize, deadline: Option<Deadline>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        let weight = weight.clamp(1, self.max_queued);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = within(deadline, Arc::clone(&self.room).acquire_many_owned(permits))
            .await
            .ok_or_else(|| self.late(ErrorKind::DeadlineExceeded))?
            .map_err(|_| self.closed())?;
        let (reply, answer) = oneshot::channel();
        let claim = deadline.map(|deadline| Arc::new(Claim { deadline, state: AtomicU8::new(WAITING) }));
        let call = Call { work, value: None, weight, claim: claim.clone(), reply, _room: room };
        self.send(Message::Call(Box::new(call)))?;
        let answered = within(deadline, answer).await;
        // Without a claim a call is dropped without an answer only if the thread has died.
        let never_begun = || claim.as_ref().is_some_and(|claim| claim.take(GIVEN_UP));
        match answered {
            Some(Ok(answer)) => answer.map_err(|error| located(error, &self.path)),
            None | Some(Err(_)) if never_begun() => Err(self.late(ErrorKind::DeadlineExceeded)),
            None | Some(Err(_)) => Err(self.late(ErrorKind::OutcomeUnknown)),
        }
    }

    /// Lets queued calls finish, checkpoints and closes the connection. Blocks; a second call waits for the first.
    pub(crate) fn close(&self) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(queue) = queue {
            // If the thread has died already, joining it tells.
            let _ = queue.send(Message::Close);
        }
        self.room.close();
        // Held while the thread ends: nobody is told before that everything is stored.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result.map_err(|error| located(error, &self.path)),
            Some(Err(_)) => Err(Error::new(ErrorKind::Internal, "the writer thread panicked").on(&self.path)),
        }
    }

    fn send(&self, message: Message) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(|| self.closed())?;
        queue.send(message).map_err(|_| self.died())
    }

    /// Nobody closed the store, but there is no thread that takes the call.
    fn died(&self) -> Error {
        let text = "the writer thread has died, open the store again; nothing of this write was stored";
        Error::new(ErrorKind::Unavailable, text).on(&self.path)
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::Closed, "the store is closed").on(&self.path)
    }

    fn late(&self, kind: ErrorKind) -> Error {
        let text = match kind {
            ErrorKind::DeadlineExceeded => "the deadline passed before the write began, nothing was stored",
            _ => "the write had begun and its end was not seen, repeat it with the same input",
        };
        Error::new(kind, text).on(&self.path)
    }
}

/// Waits for `future`, until the deadline if there is one; `None` if it passed.
pub(crate) async fn within<F: Future>(deadline: Option<Deadline>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout_at(deadline.instant().into(), future).await.ok(),
    }
}

struct WriterThread {
    session: Session,
    calls: Receiver<Message>,
    max_group: usize,
    path: String,
    figures: Arc<WriterFigures>,
    poisoned: bool,
    busy_timeout: Duration,
    wal: PathBuf,
    /// The size of the WAL that is too much, and at which it is looked after next.
    wal_excess: u64,
    wal_limit: u64,
}

impl WriterThread {
    fn run(&mut self) -> Result<()> {
        let mut open = true;
        while open {
            let Ok(Message::Call(first)) = self.calls.recv() else { break };
            let (group, more) = self.gather(first);
            open = more;
            self.run_group(group);
            if seeded(Bug::AnswersBeforeTheCommit) {
                let _ = self.commit();
            }
            self.bound_wal();
        }
        self.checkpoint().map(drop)
    }

    /// The calls that are waiting, up to the limit of a group; `false` if the queue was closed.
    fn gather(&self, first: Box<dyn Job>) -> (Vec<Box<dyn Job>>, bool) {
        let mut events = first.weight();
        let mut group = vec![first];
        while events < self.max_group {
            match self.calls.try_recv() {
                Ok(Message::Call(call)) => {
                    events += call.weight();
                    group.push(call);
                }
                Ok(Message::Close) => return (group, false),
                Err(_) => break,
            }
        }
        (group, true)
    }

    fn run_group(&mut self, calls: Vec<Box<dyn Job>>) {
        let mut group: Vec<Box<dyn Job>> =
            calls.into_iter().filter_map(|mut call| call.claim().then_some(call)).collect();
        match self.try_group(&mut group) {
            Ok(results) => answer_all(group, results),
            Err(failure) if group.len() > 1 && !self.poisoned && may_succeed_alone(failure.kind()) => {
                tracing::debug!(calls = group.len(), error = %failure, "a group failed, its calls are tried alone");
                for mut call in group {
                    let result = self.try_group(std::slice::from_mut(&mut call));
                    call.answer(result.and_then(|results| results.into_iter().next().unwrap_or(Ok(()))));
                }
            }
            Err(failure) => {
                for call in group {
                    call.answer(Err(copy_of(&failure)));
                }
            }
        }
    }

    /// Runs calls in one transaction; the inner results are answers, the outer error rolled all back.
    fn try_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<Vec<Result<()>>> {
        if self.poisoned {
            let text = "a sync to the disk failed earlier, open the store again";
            return Err(Error::new(ErrorKind::Unavailable, text).on(&self.path));
        }
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let done = catch_unwind(AssertUnwindSafe(|| self.transact(group)));
        let result = done
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a write panicked and was rolled back")));
        if result.is_err() {
            if !seeded(Bug::KeepsWhatWasRolledBack) {
                self.session.entities.clear();
            }
            if !self.session.connection.is_autocommit()
                && self.session.connection.execute_batch("ROLLBACK").is_err()
            {
                self.poisoned = true;
            }
        }
        result
    }

    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> Result<Vec<Result<()>>> {
        let begin = if seeded(Bug::BeginsDeferred) { "BEGIN" } else { "BEGIN IMMEDIATE" };
        self.session.connection.execute_batch(begin).sql()?;
        self.session.entities.begin(&self.session.connection)?;
        let mut results = Vec::with_capacity(group.len());
        for call in group.iter_mut() {
            match call.run(&mut self.session) {
                Ok(()) => results.push(Ok(())),
                Err(error) if is_answer(error.kind()) => results.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        self.session.entities.flush(&self.session.connection)?;
        if !seeded(Bug::AnswersBeforeTheCommit) {
            self.commit()?;
        }
        self.session.entities.end();
        self.figures.calls.fetch_add(results.len() as u64, Ordering::Relaxed);
        Ok(results)
    }

    /// The commit point. If it fails for another reason than a lock or a full disk, nobody knows whether
    /// the WAL reached the disk.
    fn commit(&mut self) -> Result<()> {
        match self.session.connection.execute_batch("COMMIT") {
            Ok(()) => {
                self.figures.commits.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)
                ) =>
            {
                Err(error).sql()
            }
            Err(error) => {
                self.poisoned = !seeded(Bug::GoesOnAfterAFailedCommit);
                tracing::error!(path = self.path, %error, "a commit failed, the store takes no more writes");
                let text =
                    "the commit failed and its outcome is unknown: open the store again and repeat the write";
                Err(Error::new(ErrorKind::OutcomeUnknown, text).on(&self.path).because(error))
            }
        }
    }

    /// SQLite checkpoints at commits, as far as readers allow, but begins the WAL anew only at a moment
    /// without readers of it: readers that overlap without end would let it grow without end. Where it has
    /// grown far beyond its limit, commits wait a while for the readers there are; new ones do not count, they
    /// need the WAL no longer. Where a reader takes longer than that, it is tried again at twice the size.
    fn bound_wal(&mut self) {
        let size = std::fs::metadata(&self.wal).map_or(0, |metadata| metadata.len());
        if size < self.wal_excess {
            self.wal_limit = self.wal_excess;
        }
        if self.poisoned || size < self.wal_limit {
            return;
        }
        let checkpointed = self.waiting(self.busy_timeout.min(LONGEST_WAIT_FOR_READERS)).and_then(|()| {
            let checkpointed = self.checkpoint();
            self.waiting(self.busy_timeout).and(checkpointed)
        });
        if let Err(error) = &checkpointed {
            tracing::warn!(path = self.path, %error, "the WAL could not be checkpointed");
        }
        self.wal_limit = match checkpointed {
            Ok(true) => self.wal_excess,
            _ => size.saturating_mul(2),
        };
    }

    /// Sets how long statements wait for locks.
    fn waiting(&self, timeout: Duration) -> Result<()> {
        self.session.connection.busy_timeout(timeout).sql()
    }

    /// Writes the WAL back into the database and empties it; `false` if readers are in the way, which loses
    /// nothing: the data is safe in the WAL.
    fn checkpoint(&self) -> Result<bool> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        match self.session.connection.query_row(checkpoint, [], |row| row.get::<_, i64>(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
            busy => Ok(busy.sql()? == 0),
        }
    }
}

/// Whether the failure of a group may be that of one of its calls only.
fn may_succeed_alone(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::OutcomeUnknown | ErrorKind::Busy) && !seeded(Bug::FailsWholeGroups)
}

/// Whether an error is the answer to one call, which has written nothing.
fn is_answer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict)
}

fn answer_all(group: Vec<Box<dyn Job>>, results: Vec<Result<()>>) {
    for (call, result) in group.into_iter().zip(results) {
        call.answer(result);
    }
}

/// The same error for another caller; the cause goes along as text.
fn copy_of(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message());
    if let Some(object) = error.object() {
        copy = copy.on(object);
    }
    match std::error::Error::source(error) {
        Some(cause) => copy.because(cause.to_string()),
        None => copy,
    }
}
