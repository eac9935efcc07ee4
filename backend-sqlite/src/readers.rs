//! The reader threads: each owns a connection, all take from one queue.
//!
//! A thread that finds several calls waiting answers them in one read transaction, which spares taking and
//! dropping the WAL's lock for each. A call that reads much is answered alone: what is short must not wait
//! behind it while other threads are free.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use recstore_core::{Deadline, Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::SqliteConfig;
use crate::connection::{Access, connect};
use crate::error::located;
use crate::keys::KnownKeys;
use crate::writer::within;

/// The most calls that one thread answers in one transaction. Measured with 64 concurrent readers on two
/// cores: switching between threads costs more than the reads, so taking 32 at once gives 1.4 times the rate of 8.
const MAX_TOGETHER: usize = 32;

/// A call that reads more rows than this is answered alone.
const SHORT_ROWS: usize = 256;

type Work = Box<dyn FnOnce(&Reader) + Send>;

/// The connection of a reader thread, and what it keeps from call to call.
pub(crate) struct Reader {
    connection: Connection,
    pub(crate) keys: KnownKeys,
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// A call in the queue.
struct Call {
    work: Work,
    deadline: Option<Deadline>,
    alone: bool,
}

/// A handle on the reader threads.
#[derive(Debug)]
pub(crate) struct Readers {
    queue: Mutex<Option<Sender<Call>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    path: String,
}

impl Readers {
    /// Opens the connections and starts the threads.
    pub(crate) fn start(config: &SqliteConfig) -> Result<Readers> {
        let (queue, calls) = unbounded();
        let readers = Readers {
            queue: Mutex::new(Some(queue)),
            threads: Mutex::new(Vec::new()),
            path: config.path.display().to_string(),
        };
        for number in 0..config.readers {
            let connection = connect(config, Access::Read)?;
            let calls = calls.clone();
            let thread = std::thread::Builder::new()
                .name(format!("recstore-reader-{number}"))
                .spawn(move || serve(connection, &calls))
                .map_err(|cause| {
                    Error::new(ErrorKind::Unavailable, "a reader thread cannot be started").because(cause)
                })?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Runs `work`, which reads about so many rows, on a reader's connection, within one read transaction: all
    /// its statements see one state.
    pub(crate) async fn call<T, F>(&self, rows: usize, deadline: Option<Deadline>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T> + Send + 'static,
    {
        let late = || Error::new(ErrorKind::DeadlineExceeded, "the deadline passed before the read ended");
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |reader| {
            // A caller that has gone does not need the answer.
            if !reply.is_closed() {
                let _ = reply.send(work(reader));
            }
        });
        self.send(Call { work, deadline, alone: rows > SHORT_ROWS })?;
        match within(deadline, answer).await {
            Some(Ok(answer)) => answer.map_err(|error| located(error, &self.path)),
            Some(Err(_)) => Err(Error::new(ErrorKind::Internal, "a read panicked").on(&self.path)),
            None => Err(late().on(&self.path)),
        }
    }

    /// Lets queued calls finish and closes the connections. Blocks; repeatable.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A reader's panic was told to its caller already.
            let _ = thread.join();
        }
    }

    fn send(&self, call: Call) -> Result<()> {
        let closed = || Error::new(ErrorKind::Closed, "the store is closed").on(&self.path);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().ok_or_else(closed)?.send(call).map_err(|_| closed())
    }
}

/// The deadline of the call that a thread is at. SQLite asks for it every so often and gives up when it has
/// passed: nobody waits for that answer any more.
type Running = Arc<Mutex<Option<Deadline>>>;

/// How many steps of SQLite's machine lie between two looks at the deadline: far below a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

fn serve(mut connection: Connection, calls: &Receiver<Call>) {
    let running = Running::default();
    let looked_at = Arc::clone(&running);
    let late =
        move || looked_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(Deadline::has_passed);
    if let Err(error) = connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(late)) {
        tracing::warn!(%error, "reads that are late will not be given up");
    }
    let reader = Reader { connection, keys: KnownKeys::default() };
    let mut together: Vec<Call> = Vec::with_capacity(MAX_TOGETHER);
    let mut next = None;
    while let Some(first) = next.take().or_else(|| calls.recv().ok()) {
        let mut alone = first.alone;
        // Taken before the transaction reads anything: none of these calls can see a state that is older
        // than itself.
        together.push(first);
        while !alone && together.len() < MAX_TOGETHER {
            let Ok(call) = calls.try_recv() else { break };
            alone = call.alone;
            if alone {
                next = Some(call);
            } else {
                together.push(call);
            }
        }
        answer(&reader, &running, together.drain(..));
    }
}

/// Does the work of calls in one read transaction.
fn answer(reader: &Reader, running: &Running, together: impl Iterator<Item = Call>) {
    let set = |deadline| *running.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    for call in together {
        set(call.deadline);
        // Some failures of a call end the transaction, and the next one must not see several states.
        if reader.is_autocommit() && !execute(reader, "BEGIN") {
            // Its caller sees that it was not answered.
            continue;
        }
        run(call.work, reader);
    }
    set(None);
    if !reader.is_autocommit() {
        // Nothing was written; ending a read transaction cannot lose anything.
        execute(reader, "COMMIT");
    }
}

fn execute(connection: &Connection, sql: &str) -> bool {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).is_ok()
}

/// A panic ends one call, not the thread: the caller sees its channel close.
fn run(work: Work, reader: &Reader) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(reader)));
}
