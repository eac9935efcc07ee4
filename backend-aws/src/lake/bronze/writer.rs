//! Group commit: joins the batches of many callers into objects, and answers when their object is stored.
//!
//! ```text
//! callers ── lines ──▶ queue (bounded) ──▶ group ──▶ epoch claimed ──▶ sealed ──▶ one put in flight ──▶ answers
//! ```
//!
//! Until its group is sealed a batch can be taken back, by a deadline or by a caller that leaves; nothing of it is
//! stored then. Sealing fixes the name, the day and the bytes; every attempt sends the same. After a put that did not
//! succeed the writer goes on in a new epoch, so that nothing stored later lies behind a gap, and nobody deletes
//! anything.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use recstore_core::{Clock, Deadline, Error, ErrorKind, Namespace, ObjectCost, Rating, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::IngestConfig;
use crate::lake::bronze::epoch::Claims;
use crate::lake::bronze::line::{Line, SHARE_BYTES};
use crate::lake::bronze::object::{ClaimId, MAX_OBJECT_BYTES, SealedObject};
use crate::lake::calendar::Day;
use crate::lake::keys::{BronzeKey, EpochKey, WriterId};
use crate::lake::offload::offload;
use crate::lake::store::{Created, LakeStore, NewObject, instant};
use crate::metering::{metered, so_far};

/// From so many events on, lines are made away from the executor.
const MANY_EVENTS: usize = 2_000;
/// From so many bytes on, lines are compressed away from the executor.
const MANY_BYTES: usize = 256 << 10;

/// What a writer is made of.
#[derive(Debug, Clone)]
pub struct BronzeWriterParts {
    /// Where objects go.
    pub store: LakeStore,
    /// Whose events.
    pub namespace: Namespace,
    /// The writer's name.
    pub writer: WriterId,
    /// Random bits of this one writer, so that another process with its name is told from it.
    pub claim: ClaimId,
    /// How batches are joined.
    pub ingest: IngestConfig,
    /// Says on which day objects are sealed.
    pub clock: Arc<dyn Clock>,
}

/// Where a batch is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BronzeReceipt {
    /// The object that holds the whole batch.
    pub key: BronzeKey,
    /// The number, within the epoch, of the batch's first event.
    pub first: u64,
    /// How many events the batch has.
    pub events: u64,
    /// The batch's part, by its bytes, of what storing its object took: the put, repeated ones, and the claim of an epoch
    /// where one was needed. The parts of all batches of an object add up to it.
    pub cost: ObjectCost,
}

/// What a writer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Events stored.
    pub events: u64,
    /// Batches stored.
    pub batches: u64,
    /// Objects stored.
    pub objects: u64,
    /// Objects whose put did not succeed, or whose outcome is not known.
    pub failed_objects: u64,
    /// Epochs claimed.
    pub epochs: u64,
    /// Bytes of the lines stored, before compression.
    pub line_bytes: u64,
    /// Bytes of the objects stored.
    pub object_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    events: AtomicU64,
    batches: AtomicU64,
    objects: AtomicU64,
    failed_objects: AtomicU64,
    epochs: AtomicU64,
    line_bytes: AtomicU64,
    object_bytes: AtomicU64,
}

/// Appends batches of events of one topic in one namespace to bronze; `L` is what its lines say. Cheap to clone;
/// clones share one writer.
pub struct BronzeWriter<L = Rating> {
    queue: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    /// All of the room.
    most_room: usize,
    ended: watch::Receiver<()>,
    counters: Arc<Counters>,
    lines: PhantomData<fn(L)>,
}

impl<L> Clone for BronzeWriter<L> {
    fn clone(&self) -> BronzeWriter<L> {
        BronzeWriter {
            queue: self.queue.clone(),
            room: self.room.clone(),
            most_room: self.most_room,
            ended: self.ended.clone(),
            counters: self.counters.clone(),
            lines: PhantomData,
        }
    }
}

impl<L> fmt::Debug for BronzeWriter<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BronzeWriter").field("room", &self.room.available_permits()).finish_non_exhaustive()
    }
}

enum Command {
    Append(Batch),
    Close,
}

/// One caller's batch, on its way.
struct Batch {
    lines: Vec<u8>,
    /// Bytes of the lines, which are taken from here when the object is sealed.
    bytes: usize,
    events: u64,
    submitted: Instant,
    ticket: Arc<Ticket>,
    answer: oneshot::Sender<Result<BronzeReceipt>>,
    /// Its share of the queue, given back with the batch.
    _room: OwnedSemaphorePermit,
}

/// Whether a batch can still be taken back: who is first, the caller that leaves or the writer that seals.
#[derive(Debug, Default)]
struct Ticket(AtomicU8);

impl Ticket {
    const WAITING: u8 = 0;
    const SEALED: u8 = 1;
    const LEFT: u8 = 2;

    fn become_if_waiting(&self, state: u8) -> bool {
        self.0.compare_exchange(Ticket::WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn has_left(&self) -> bool {
        self.0.load(Ordering::Acquire) == Ticket::LEFT
    }
}

/// Takes the batch back when the caller's future is dropped.
struct Waiting(Arc<Ticket>);

impl Waiting {
    /// Takes the batch back, if it is not sealed.
    fn leave(&self) -> bool {
        self.0.become_if_waiting(Ticket::LEFT)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

impl BronzeWriter {
    /// A writer and what drives it, which must be polled until it ends: after [`close`](Self::close), or when the last
    /// clone is dropped. Nothing is sent before the first batch.
    ///
    /// # Errors
    /// `Invalid` (fields of [`IngestConfig`]).
    pub fn new(
        parts: BronzeWriterParts,
    ) -> Result<(BronzeWriter, impl Future<Output = ()> + Send + 'static)> {
        BronzeWriter::of_topic(parts)
    }

    /// As [`new`](Self::new), driven by a task of the present Tokio runtime.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn spawn(parts: BronzeWriterParts) -> Result<BronzeWriter> {
        BronzeWriter::spawn_of_topic(parts)
    }
}

impl<L: Line> BronzeWriter<L> {
    /// As [`new`](BronzeWriter::new), of any topic.
    ///
    /// # Errors
    /// As [`new`](BronzeWriter::new).
    pub fn of_topic(
        parts: BronzeWriterParts,
    ) -> Result<(BronzeWriter<L>, impl Future<Output = ()> + Send + 'static)> {
        parts.ingest.validate()?;
        let (queue, commands) = mpsc::unbounded_channel();
        let (alive, ended) = watch::channel(());
        let room = parts.ingest.max_queued_events.min(Semaphore::MAX_PERMITS);
        let counters = Arc::<Counters>::default();
        let BronzeWriterParts { store, namespace, writer, claim, ingest, clock } = parts;
        let claims = Claims { store, namespace, topic: L::TOPIC, writer, claim };
        let driver = Driver {
            commands,
            held: None,
            claims,
            ingest,
            clock,
            life: Life::Before(None),
            counters: counters.clone(),
        };
        let run = async move {
            driver.run().await;
            drop(alive);
        };
        let (most_room, room) = (room, Arc::new(Semaphore::new(room)));
        Ok((BronzeWriter { queue, room, most_room, ended, counters, lines: PhantomData }, run))
    }

    /// As [`spawn`](BronzeWriter::spawn), of any topic.
    ///
    /// # Errors
    /// As [`new`](BronzeWriter::new).
    pub fn spawn_of_topic(parts: BronzeWriterParts) -> Result<BronzeWriter<L>> {
        let (writer, run) = BronzeWriter::of_topic(parts)?;
        tokio::spawn(run);
        Ok(writer)
    }

    /// Stores a batch, whole, in one object; returns when that is stored. An empty batch is stored nowhere.
    ///
    /// Dropping the future takes the batch back if it is not sealed yet; if it is, it may be stored. Others whose
    /// batches are in the same object do not notice.
    ///
    /// # Errors
    /// - `Invalid` for more than [`MAX_BATCH_EVENTS`](recstore_core::ratings::MAX_BATCH_EVENTS) (field `events`), or
    ///   [`MAX_BATCH_ROWS`](recstore_core::features::MAX_BATCH_ROWS) (field `rows`), or for lines of more bytes together
    ///   than an object holds, which are [`MAX_OBJECT_BYTES`];
    /// - nothing is stored: `DeadlineExceeded` before the batch was sealed, `Busy`, `Unavailable`, `ReadOnly`, `NotFound`
    ///   as the object store answered, `Conflict` if another process writes under this writer's name and epoch (the next
    ///   call goes on in a new one), `Closed`;
    /// - `OutcomeUnknown` if the batch may be stored, or may be yet: the deadline passed, or the budget of retries was
    ///   spent, after it was sealed. The same events again do no harm.
    pub async fn append(&self, events: Vec<L>, deadline: Option<Deadline>) -> Result<Option<BronzeReceipt>> {
        L::check_batch(&events)?;
        if events.is_empty() {
            return Ok(None);
        }
        let deadline = instant(deadline);
        let submitted = Instant::now();
        // A deadline that has passed is told before anything is done, even if there is room.
        if deadline.is_some_and(|deadline| deadline <= submitted) {
            return Err(too_late());
        }
        let waiting = Waiting(Arc::default());
        let (answer, answered) = oneshot::channel();
        let enqueue = self.enqueue(events, submitted, &waiting, answer);
        by(deadline, enqueue).await.ok_or_else(too_late)??;
        match by(deadline, answered).await {
            Some(Ok(answer)) => answer.map(Some),
            // The writer ended without an answer.
            Some(Err(_)) if waiting.leave() => Err(closed()),
            Some(Err(_)) => Err(unknown("the writer ended before the object store answered")),
            None if waiting.leave() => Err(too_late()),
            None => Err(unknown("the deadline passed before the object store answered")),
        }
    }

    async fn enqueue(
        &self,
        events: Vec<L>,
        submitted: Instant,
        waiting: &Waiting,
        answer: oneshot::Sender<Result<BronzeReceipt>>,
    ) -> Result<()> {
        let count = events.len();
        // A batch has at most 100,000 events, and the queue room for them; one of large rows has all of it for itself.
        let share: usize = events.iter().map(Line::share).sum();
        let permits = share.min(self.most_room).min(u32::MAX as usize) as u32;
        let room = self.room.clone().acquire_many_owned(permits).await.map_err(|_| closed())?;
        let lines = offload(share >= MANY_EVENTS, move || lines_of(&events)).await?;
        if lines.len() as u64 > MAX_OBJECT_BYTES {
            let text = format!("{} bytes as lines, one batch has at most {MAX_OBJECT_BYTES}", lines.len());
            return Err(Error::invalid(L::BATCH, text));
        }
        let ticket = waiting.0.clone();
        let (events, bytes) = (count as u64, lines.len());
        let batch = Batch { lines, bytes, events, submitted, ticket, answer, _room: room };
        self.queue.send(Command::Append(batch)).map_err(|_| closed())
    }

    /// Takes no more batches, stores those that wait and returns when the last of them is answered. Calls that wait for
    /// room fail with `Closed`.
    pub async fn close(&self) {
        self.room.close();
        // A writer that has ended needs no word.
        let _ = self.queue.send(Command::Close);
        // Its end is told by dropping the other side.
        let _ = self.ended.clone().changed().await;
    }

    /// What was done so far.
    pub fn stats(&self) -> WriterStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriterStats {
            events: count(&self.counters.events),
            batches: count(&self.counters.batches),
            objects: count(&self.counters.objects),
            failed_objects: count(&self.counters.failed_objects),
            epochs: count(&self.counters.epochs),
            line_bytes: count(&self.counters.line_bytes),
            object_bytes: count(&self.counters.object_bytes),
        }
    }
}

fn lines_of<L: Line>(events: &[L]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(events.len() * SHARE_BYTES);
    for event in events {
        event.encode(&mut lines);
    }
    lines
}

/// What `future` gives, or `None` at the deadline.
async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the deadline passed before the events were sent")
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the writer was closed")
}

fn unknown(message: &str) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, message)
}

/// Where the writer is among its epochs.
enum Life {
    /// It has none, after this one; `None` at the start.
    Before(Option<u32>),
    /// It is in one.
    In(OpenEpoch),
}

struct OpenEpoch {
    key: EpochKey,
    /// The number of the next event.
    next: u64,
    /// The day of the last object; the next one is not before.
    day: Option<Day>,
}

/// The one that takes batches from the queue and puts objects.
struct Driver {
    commands: mpsc::UnboundedReceiver<Command>,
    /// A batch that did not fit into the group before.
    held: Option<Batch>,
    claims: Claims,
    ingest: IngestConfig,
    clock: Arc<dyn Clock>,
    life: Life,
    counters: Arc<Counters>,
}

impl Driver {
    async fn run(mut self) {
        while let Some(group) = self.gather().await {
            metered(self.commit(group)).await;
        }
    }

    /// The next batch; `None` when the queue is closed and empty.
    async fn receive(&mut self) -> Option<Batch> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        loop {
            match self.commands.recv().await? {
                Command::Append(batch) => return Some(batch),
                // What is in the queue already is still received.
                Command::Close => self.commands.close(),
            }
        }
    }

    /// Batches for one object: those that come while the first of them lingers, and fit.
    async fn gather(&mut self) -> Option<Vec<Batch>> {
        let first = self.receive().await?;
        let until = first.submitted + self.ingest.linger;
        let (mut events, mut bytes) = (first.events, first.lines.len());
        let mut group = vec![first];
        while events < self.ingest.max_batch_events as u64 && bytes < self.ingest.max_batch_bytes {
            let Ok(Some(batch)) = timeout_at(until, self.receive()).await else { break };
            if batch.ticket.has_left() {
                continue;
            }
            events += batch.events;
            bytes += batch.lines.len();
            if events > self.ingest.max_batch_events as u64 || bytes > self.ingest.max_batch_bytes {
                self.held = Some(batch);
                break;
            }
            group.push(batch);
        }
        Some(group)
    }

    /// Stores a group and answers its callers.
    async fn commit(&mut self, mut group: Vec<Batch>) {
        group.retain(|batch| !batch.ticket.has_left());
        if group.is_empty() {
            return;
        }
        if let Err(error) = self.enter_epoch().await {
            let kind = error.kind();
            return answer_error(group, kind, error);
        }
        // Claiming may have taken long: whoever left meanwhile is not stored.
        group.retain(|batch| batch.ticket.become_if_waiting(Ticket::SEALED));
        let Life::In(epoch) = &self.life else { return };
        if group.is_empty() {
            return;
        }
        let events: u64 = group.iter().map(|batch| batch.events).sum();
        let today = Day::of(self.clock.now());
        let day = epoch.day.map_or(today, |day| day.max(today));
        let key =
            BronzeKey { epoch: epoch.key.clone(), day, first: epoch.next, last: epoch.next + events - 1 };
        let claim = self.claims.claim;
        let mut lines = Vec::with_capacity(group.iter().map(|batch| batch.bytes).sum());
        for batch in &mut group {
            lines.append(&mut batch.lines);
        }
        let line_bytes = lines.len() as u64;
        let sealed = offload(lines.len() >= MANY_BYTES, move || SealedObject::seal(key, claim, &lines)).await;
        match sealed.and_then(|sealed| sealed) {
            Ok(object) => self.put(&object, line_bytes, group).await,
            // Nothing was sent, so that its numbers are free.
            Err(error) => answer_error(group, ErrorKind::Internal, error),
        }
    }

    async fn enter_epoch(&mut self) -> Result<()> {
        if let Life::Before(after) = self.life {
            let after = match after {
                Some(after) => after,
                None => self.claims.latest().await?,
            };
            // Kept, so that a claim whose answer was lost is tried again and not passed over.
            self.life = Life::Before(Some(after));
            let key = self.claims.next(after).await?;
            add(&self.counters.epochs, 1);
            self.life = Life::In(OpenEpoch { key, next: 0, day: None });
        }
        Ok(())
    }

    async fn put(&mut self, object: &SealedObject, line_bytes: u64, group: Vec<Batch>) {
        let name = object.key().to_string();
        let new = NewObject {
            name: &name,
            body: object.body(),
            attributes: object.attributes(),
            identity: object.identity(),
        };
        let created = self.claims.store.create(&new).await;
        if let Created::Ours = created {
            if let Life::In(epoch) = &mut self.life {
                epoch.next = object.key().last + 1;
                epoch.day = Some(object.key().day);
            }
            add(&self.counters.events, object.key().events());
            add(&self.counters.batches, group.len() as u64);
            add(&self.counters.objects, 1);
            add(&self.counters.line_bytes, line_bytes);
            add(&self.counters.object_bytes, object.body().len() as u64);
            return answer_stored(group, object.key(), &so_far().objects);
        }
        // Whatever happened to the object, nothing may come after it in this epoch.
        self.life = Life::Before(Some(object.key().epoch.epoch));
        add(&self.counters.failed_objects, 1);
        match created {
            Created::Ours => {}
            Created::Foreign => {
                let text =
                    "another process writes under this writer's name and epoch, give each its own name";
                answer_error(group, ErrorKind::Conflict, Error::new(ErrorKind::Conflict, text).on(name));
            }
            Created::NotStored(error) => {
                let kind = error.kind();
                answer_error(group, kind, error);
            }
            Created::Unknown(error) => answer_error(group, ErrorKind::OutcomeUnknown, error),
        }
    }
}

fn answer_stored(group: Vec<Batch>, key: &BronzeKey, cost: &ObjectCost) {
    let whole: u64 = group.iter().map(|batch| batch.bytes as u64).sum();
    let (mut first, mut begin) = (key.first, 0);
    for batch in group {
        let end = begin + batch.bytes as u64;
        let cost = cost.share(begin..end, whole);
        let receipt = BronzeReceipt { key: key.clone(), first, events: batch.events, cost };
        first += batch.events;
        begin = end;
        // Whoever has left does not hear it.
        let _ = batch.answer.send(Ok(receipt));
    }
}

/// Tells every caller of a group the same failure.
fn answer_error(group: Vec<Batch>, kind: ErrorKind, error: Error) {
    tracing::warn!(%kind, batches = group.len(), %error, "events were not stored");
    let cause = Arc::new(error);
    for batch in group {
        let mut error = Error::new(kind, cause.message());
        if let Some(object) = cause.object() {
            error = error.on(object);
        }
        let _ = batch.answer.send(Err(error.because(cause.clone())));
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
