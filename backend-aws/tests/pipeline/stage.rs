//! A bucket and tables that fail on demand, and processes on them that stop at any request: for ever, as one that
//! crashed, or until they are let go on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use recstore_aws::config::{AwsConfig, IngestConfig, PipelineConfig, RetryConfig, S3Config};
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::online::calls::{
    CallError, Condition, Conditional, DynamoCalls, GotBatch, Query, QueryPage, Write, WroteBatch,
};
use recstore_aws::online::item::RawItem;
use recstore_aws::online::keys::ItemKey;
use recstore_aws::online::tables::{TableName, TableNames};
use recstore_aws::online::{Online, OnlineOptions};
use recstore_aws::retry::RetryPolicy;
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::{ManualClock, Namespace, StoreContext, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fake::{Fake, Weather, from_env};
use crate::faulty::FaultyStore;
use crate::support::NOON;

/// The seed and the number of schedules of each sort, printed.
pub(crate) fn schedules(default: u64) -> (u64, u64) {
    let (seed, count) = (from_env("RECSTORE_SEED", 1), from_env("RECSTORE_PIPELINE_SCHEDULES", default));
    println!("RECSTORE_SEED={seed} RECSTORE_PIPELINE_SCHEDULES={count}");
    (seed, count)
}

/// A rule that a process does not keep to, to see that a test catches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The head is committed before the rows of its generation are published.
    CommitsBeforePublishing,
    /// Readers are not told of the generation before, ahead of the first write of the next.
    PublishesWithoutPinning,
    /// A claim replaces another's claim of the same generation.
    ClaimsByOverwriting,
    /// A claim is a lock with a timeout: one that is old is nobody's any more, and whoever comes next takes it.
    LocksWithATimeout,
    /// The head is replaced whatever is there.
    ReplacesTheHeadBlindly,
    /// Rows are put whatever is there.
    PutsRowsPlainly,
    /// What was stored is deleted when the answer to the head's write is lost.
    CleansUpAfterUnknown,
}

/// After so long a lock is taken to be one of a process that died.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// Where a process stops, before the request is done or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// What all requests of one process go through; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    requests: AtomicU64,
    writes: AtomicU64,
    stop: Mutex<Option<(u64, When)>>,
    closed: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn open() -> Gate {
        Gate(Arc::new(GateState {
            requests: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            stop: Mutex::new(None),
            closed: watch::Sender::new(false),
        }))
    }

    /// A gate that closes at a request.
    pub(crate) fn stopping(at: u64, when: When) -> Gate {
        let gate = Gate::open();
        *gate.0.stop.lock().unwrap() = Some((at, when));
        gate
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Requests so far that change something.
    pub(crate) fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// The process goes on.
    pub(crate) fn release(&self) {
        *self.0.stop.lock().unwrap() = None;
        self.0.closed.send_replace(false);
    }

    /// Waits until the process is stopped.
    pub(crate) async fn closed(&self) {
        let _ = self.0.closed.subscribe().wait_for(|closed| *closed).await;
    }

    async fn pass(&self) {
        let _ = self.0.closed.subscribe().wait_for(|closed| !*closed).await;
    }

    /// Before a request; whether the process stops after it.
    async fn enter(&self, writes: bool) -> bool {
        self.pass().await;
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let stop = *self.0.stop.lock().unwrap();
        let stop = stop.filter(|(at, _)| *at == number).map(|(_, when)| when);
        if stop == Some(When::Before) {
            self.0.closed.send_replace(true);
            self.pass().await;
        }
        self.0.writes.fetch_add(u64::from(writes), Ordering::Relaxed);
        stop == Some(When::After)
    }

    async fn leave(&self, stops: bool) {
        if stops {
            self.0.closed.send_replace(true);
        }
        self.pass().await;
    }
}

/// What a process with a bug keeps.
#[derive(Debug, Default)]
struct Kept {
    /// Rows that are held back.
    rows: Vec<(String, RawItem, Condition)>,
    /// The generation whose head this process wrote last.
    committed: Option<u64>,
    /// The files that this process stored.
    files: Vec<String>,
}

/// The services as one process sees them.
#[derive(Debug, Clone)]
struct Gated {
    objects: FaultyStore,
    tables: Fake,
    gate: Gate,
    bug: Option<Bug>,
    kept: Arc<Mutex<Kept>>,
    locks: Locks,
}

/// When each claim was stored.
pub(crate) type Locks = Arc<Mutex<BTreeMap<String, Instant>>>;

impl Gated {
    async fn put_object(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let key = path.as_ref();
        let is_head = key.ends_with("/head.json");
        if self.bug == Some(Bug::ClaimsByOverwriting) && key.contains("/runs/") && self.has(key) {
            self.objects.remove(key);
        }
        self.take_old_lock(key);
        if self.bug == Some(Bug::ReplacesTheHeadBlindly) && is_head && self.has(key) {
            let found = self.objects.get_opts(path, GetOptions::default()).await?;
            let version = object_store::UpdateVersion { e_tag: found.meta.e_tag, version: None };
            options.mode = PutMode::Update(version);
        }
        let generation = is_head.then(|| head_generation(&payload));
        let put = self.objects.put_opts(path, payload, options).await;
        match (&put, self.bug) {
            (Ok(_), _) if is_head => self.head_is_written(generation.flatten()).await,
            (Ok(_), _) => {
                self.kept.lock().unwrap().files.push(key.to_owned());
                self.locks.lock().unwrap().insert(key.to_owned(), Instant::now());
            }
            (Err(object_store::Error::Generic { .. }), Some(Bug::CleansUpAfterUnknown)) if is_head => {
                let files = std::mem::take(&mut self.kept.lock().unwrap().files);
                let files = files.iter().filter(|file| file.contains("/commit/") && self.has(file));
                files.for_each(|file| self.objects.remove(file));
            }
            _ => {}
        }
        put
    }

    /// A claim that is old, and not committed, is nobody's any more.
    fn take_old_lock(&self, key: &str) {
        let Some((state, claimed)) = key.split_once("/runs/") else { return };
        let is_old = self.locks.lock().unwrap().get(key).is_some_and(|at| at.elapsed() >= LOCK_TIMEOUT);
        if self.bug != Some(Bug::LocksWithATimeout) || !is_old || !self.has(key) {
            return;
        }
        let head = format!("{state}/head.json");
        let committed = self.has(&head).then(|| head_generation(&self.objects.get(&head).0.into()));
        let claimed = claimed.trim_matches(|character: char| !character.is_ascii_digit()).parse().ok();
        if committed.flatten() < claimed {
            self.objects.remove(key);
        }
    }

    fn has(&self, key: &str) -> bool {
        self.objects.keys().iter().any(|known| known == key)
    }

    async fn head_is_written(&self, generation: Option<u64>) {
        let rows = {
            let mut kept = self.kept.lock().unwrap();
            kept.committed = generation;
            std::mem::take(&mut kept.rows)
        };
        for (table, item, condition) in rows {
            // One by one, and each a request: what a publication after the commit is.
            let stops = self.gate.enter(true).await;
            let _ = self.tables.put(&table, &item, &condition).await;
            self.gate.leave(stops).await;
        }
    }

    async fn put_row(
        &self,
        table: &str,
        item: &RawItem,
        condition: &Condition,
    ) -> Result<Conditional, CallError> {
        let is_control = table.ends_with(TableName::Control.as_str());
        let pin = if is_control { pinned(item) } else { None };
        match self.bug {
            Some(Bug::CommitsBeforePublishing) if !is_control => {
                self.kept.lock().unwrap().rows.push((table.to_owned(), item.clone(), condition.clone()));
                Ok(Conditional::Done(1.0))
            }
            Some(Bug::PublishesWithoutPinning)
                if pin.is_some() && pin != self.kept.lock().unwrap().committed =>
            {
                Ok(Conditional::Done(1.0))
            }
            Some(Bug::PutsRowsPlainly) if !is_control => {
                let answer = self.tables.write_batch(table, &[Write::Put(item.clone())]).await?;
                Ok(Conditional::Done(answer.write_units))
            }
            _ => self.tables.put(table, item, condition).await,
        }
    }
}

fn head_generation(payload: &PutPayload) -> Option<u64> {
    let bytes: bytes::Bytes = payload.clone().into();
    let head: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    head["content"]["generation"].as_u64()
}

/// The generation that a readers' record says.
fn pinned(item: &RawItem) -> Option<u64> {
    item.get("as_of")?;
    item.get("g")?.as_n().ok()?.parse().ok()
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}

#[async_trait]
impl ObjectStore for Gated {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let stops = self.gate.enter(true).await;
        let answer = self.put_object(path, payload, options).await;
        self.gate.leave(stops).await;
        answer
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("no object is put in parts")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let stops = self.gate.enter(false).await;
        self.take_old_lock(path.as_ref());
        let answer = self.objects.get_opts(path, options).await;
        self.gate.leave(stops).await;
        answer
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let gate = self.gate.clone();
        let deleted = self.objects.delete_stream(paths);
        stream::once(async move {
            gate.enter(true).await;
            deleted
        })
        .flatten()
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_with_offset(prefix, &Path::default())
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix, offset) = (self.clone(), prefix.cloned(), offset.clone());
        let entries = async move {
            let stops = this.gate.enter(false).await;
            let entries: Vec<_> = this.objects.list_with_offset(prefix.as_ref(), &offset).collect().await;
            this.gate.leave(stops).await;
            stream::iter(entries)
        };
        stream::once(entries).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let stops = self.gate.enter(false).await;
        let answer = self.objects.list_with_delimiter(prefix).await;
        self.gate.leave(stops).await;
        answer
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("no object is copied")
    }
}

#[async_trait]
impl DynamoCalls for Gated {
    async fn get_batch(&self, table: &str, keys: &[ItemKey]) -> Result<GotBatch, CallError> {
        let stops = self.gate.enter(false).await;
        let answer = self.tables.get_batch(table, keys).await;
        self.gate.leave(stops).await;
        answer
    }

    async fn write_batch(&self, table: &str, writes: &[Write]) -> Result<WroteBatch, CallError> {
        let stops = self.gate.enter(true).await;
        let answer = self.tables.write_batch(table, writes).await;
        self.gate.leave(stops).await;
        answer
    }

    async fn put(
        &self,
        table: &str,
        item: &RawItem,
        condition: &Condition,
    ) -> Result<Conditional, CallError> {
        let stops = self.gate.enter(true).await;
        let answer = self.put_row(table, item, condition).await;
        self.gate.leave(stops).await;
        answer
    }

    async fn query(&self, table: &str, query: &Query) -> Result<QueryPage, CallError> {
        let stops = self.gate.enter(false).await;
        let answer = self.tables.query(table, query).await;
        self.gate.leave(stops).await;
        answer
    }
}

/// What processes share: the bucket, the tables, the clock.
pub(crate) struct Stage {
    pub(crate) objects: FaultyStore,
    pub(crate) tables: Fake,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) buckets: u32,
    pub(crate) bug: Option<Bug>,
    pub(crate) locks: Locks,
}

impl Stage {
    pub(crate) fn new(seed: u64) -> Stage {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOON).unwrap()));
        let (objects, tables) = (FaultyStore::new(seed, 0), Fake::new(seed, Weather::default()));
        Stage { objects, tables, clock, buckets: 2, bug: None, locks: Locks::default() }
    }

    /// The same objects and items, in services of their own.
    pub(crate) fn fork(&self, seed: u64) -> Stage {
        let fork = Stage { buckets: self.buckets, bug: self.bug, ..Stage::new(seed) };
        for key in self.objects.keys() {
            let (body, attributes) = self.objects.get(&key);
            fork.objects.insert(&key, body, attributes);
        }
        for table in TableName::ALL {
            self.tables.items(table).into_iter().for_each(|item| fork.tables.insert(table, item));
        }
        fork
    }

    pub(crate) fn context(&self) -> StoreContext {
        StoreContext { clock: self.clock.clone(), ..StoreContext::default() }
    }

    /// The lake as it is, for those who look into it.
    pub(crate) fn lake(&self, seed: u64) -> LakeStore {
        lake(Arc::new(self.objects.clone()), seed)
    }

    /// A process that nothing stops; each has a number of its own.
    pub(crate) fn process(&self, number: u64) -> AwsStorage {
        self.gated(number, &Gate::open(), self.context())
    }

    /// A process whose requests go through a gate.
    pub(crate) fn gated(&self, number: u64, gate: &Gate, context: StoreContext) -> AwsStorage {
        let gated = Arc::new(Gated {
            objects: self.objects.clone(),
            tables: self.tables.clone(),
            gate: gate.clone(),
            bug: self.bug,
            kept: Arc::default(),
            locks: self.locks.clone(),
        });
        let s3 = S3Config { bucket: "bucket".into(), ..S3Config::default() };
        let ingest = IngestConfig { linger: Duration::ZERO, ..IngestConfig::default() };
        let pipeline = PipelineConfig { buckets: self.buckets, ..PipelineConfig::default() };
        let config = AwsConfig { s3, ingest, pipeline, ..AwsConfig::default() };
        let options = OnlineOptions {
            concurrency: 4,
            request_timeout: Duration::from_secs(1),
            retry: retry(),
            seed: number,
        };
        let online = Online::new(gated.clone(), TableNames::new("t.").unwrap(), options);
        let parts =
            AwsParts { lake: lake(gated, number), online, config, context, claim: u128::from(number) };
        AwsStorage::new(parts, Namespace::default()).unwrap()
    }

    /// Both services do well, and what was under way has arrived.
    pub(crate) async fn calm(&self) {
        self.tables.set_weather(Weather::default());
        self.objects.heal();
        tokio::time::sleep(Duration::from_secs(600)).await;
        self.objects.heal();
    }
}

fn retry() -> RetryConfig {
    RetryConfig { max_attempts: 12, max_elapsed: Duration::from_secs(120), ..RetryConfig::default() }
}

fn lake(objects: Arc<dyn ObjectStore>, seed: u64) -> LakeStore {
    let policy = RetryPolicy::new(retry(), Duration::from_secs(10), seed);
    LakeStore::new(objects, LakePrefix::new("lake").unwrap(), Arc::new(policy))
}
