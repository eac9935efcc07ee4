//! An object store in memory that fails as services and networks do: by chance, from a seed, or by a script.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::pending;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::time::Instant;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done.
    None,
    /// It is done, whatever its condition says.
    IgnoresCondition,
    /// 503 `SlowDown`, nothing is done.
    SlowDown,
    /// 403 `AccessDenied`, nothing is done.
    Denied,
    /// 500, nothing is done.
    ErrorBefore,
    /// It is done, and answered by 500.
    ErrorAfter,
    /// No connection.
    Refused,
    /// It is done, and the connection is lost.
    LostAnswer,
    /// 409: another request for the key is under way, nothing is done. `object_store` says that the object exists.
    Conflict,
    /// Nothing is done and nothing answered, for ever.
    StallBefore,
    /// It is done, and nothing answered, for ever.
    StallAfter,
    /// The connection is lost, and the request is done so much later.
    Late(Duration),
    /// Of a read: the body is cut off. As [`LostAnswer`](Fault::LostAnswer) otherwise.
    CutBody,
}

/// A put as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenPut {
    pub key: String,
    pub body: Bytes,
    pub attributes: Attributes,
    pub fault: Fault,
}

#[derive(Debug, Clone)]
struct Stored {
    body: Bytes,
    attributes: Attributes,
    /// One more with every object stored; what its `ETag` says.
    version: u64,
    /// When it was stored, since 1970, by the store's clock.
    at: Duration,
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<Path, Stored>,
    /// Puts under way whose sender knows nothing of them.
    late: Vec<(Instant, Path, Stored, PutMode)>,
    versions: u64,
    /// The store's clock: since 1970, when it was set.
    now: (Duration, Instant),
    /// Those that requests fail with.
    faults: &'static [Fault],
    random: ChaCha8Rng,
    /// How many of 256 requests fail.
    share: u32,
    puts: VecDeque<Fault>,
    reads: VecDeque<Fault>,
    seen: Option<Vec<SeenPut>>,
    under_way: usize,
    most_under_way: usize,
    latency: Duration,
}

/// The store; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct FaultyStore(Arc<Mutex<State>>);

const FAULTS: [Fault; 16] = [
    Fault::SlowDown,
    Fault::SlowDown,
    Fault::Denied,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::ErrorAfter,
    Fault::Refused,
    Fault::LostAnswer,
    Fault::LostAnswer,
    Fault::Conflict,
    Fault::StallBefore,
    Fault::StallAfter,
    Fault::Late(Duration::from_millis(40)),
    Fault::Late(Duration::from_secs(5)),
    Fault::Late(Duration::from_secs(90)),
    Fault::CutBody,
];

impl FaultyStore {
    /// A store of which `share` of 256 requests fail, chosen by `seed`.
    pub(crate) fn new(seed: u64, share: u32) -> FaultyStore {
        FaultyStore(Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            late: Vec::new(),
            versions: 0,
            now: (Duration::ZERO, Instant::now()),
            faults: &FAULTS,
            random: ChaCha8Rng::seed_from_u64(seed),
            share,
            puts: VecDeque::new(),
            reads: VecDeque::new(),
            seen: None,
            under_way: 0,
            most_under_way: 0,
            latency: Duration::ZERO,
        })))
    }

    /// A store whose next puts go as these say, and those after them well.
    pub(crate) fn scripted(puts: impl IntoIterator<Item = Fault>) -> FaultyStore {
        let store = FaultyStore::new(0, 0);
        store.script_puts(puts);
        store.state().seen = Some(Vec::new());
        store
    }

    pub(crate) fn script_puts(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().puts = faults.into_iter().collect();
    }

    pub(crate) fn script_reads(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().reads = faults.into_iter().collect();
    }

    /// From now on requests fail with these alone.
    pub(crate) fn set_faults(&self, faults: &'static [Fault]) {
        self.state().faults = faults;
    }

    /// From now on `share` of 256 requests fail.
    pub(crate) fn set_share(&self, share: u32) {
        self.state().share = share;
    }

    /// Sets the store's clock, which goes on from there.
    pub(crate) fn set_now(&self, since_1970: Duration) {
        self.state().now = (since_1970, Instant::now());
    }

    /// How long every request takes.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// From now on everything goes well; what is under way arrives.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.share = 0;
        state.puts.clear();
        state.reads.clear();
        state.arrive(None);
    }

    /// The puts that arrived, of a scripted store.
    pub(crate) fn seen(&self) -> Vec<SeenPut> {
        self.state().seen.clone().unwrap_or_default()
    }

    /// The most puts of events that were under way at a time.
    pub(crate) fn most_under_way(&self) -> usize {
        self.state().most_under_way
    }

    /// The keys there are.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut state = self.state();
        state.arrive(Some(Instant::now()));
        state.objects.keys().map(ToString::to_string).collect()
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, key: &str) {
        assert!(self.state().objects.remove(&Path::from(key)).is_some(), "{key}");
    }

    /// Puts an object there, whatever was there.
    pub(crate) fn insert(&self, key: &str, body: Bytes, attributes: Attributes) {
        self.state().store(Path::from(key), body, attributes);
    }

    /// The body and metadata of an object.
    pub(crate) fn get(&self, key: &str) -> (Bytes, Attributes) {
        let stored = &self.state().objects[&Path::from(key)];
        (stored.body.clone(), stored.attributes.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What is stored now, if the condition held.
    fn put(&self, path: &Path, stored: Stored, mode: &PutMode) -> Option<u64> {
        let mut state = self.state();
        state.arrive(Some(Instant::now()));
        state.put(path, stored, mode)
    }

    fn begin(&self, is_put: bool) -> (Fault, Duration) {
        let mut state = self.state();
        state.arrive(Some(Instant::now()));
        let fault = state.next_fault(is_put);
        // A little time passes, so that requests come in many orders.
        let jitter = if state.share > 0 {
            Duration::from_millis(u64::from(state.random.next_u32() % 20))
        } else {
            state.latency
        };
        (fault, jitter)
    }
}

impl State {
    fn next_fault(&mut self, is_put: bool) -> Fault {
        let script = if is_put { &mut self.puts } else { &mut self.reads };
        if let Some(fault) = script.pop_front() {
            return fault;
        }
        if self.share == 0 {
            return Fault::None;
        }
        let dice = self.random.next_u32();
        if dice % 256 >= self.share {
            return Fault::None;
        }
        self.faults[(dice >> 16) as usize % self.faults.len()]
    }

    fn store(&mut self, path: Path, body: Bytes, attributes: Attributes) -> u64 {
        self.versions += 1;
        let at = self.now.0 + self.now.1.elapsed();
        self.objects.insert(path, Stored { body, attributes, version: self.versions, at });
        self.versions
    }

    fn put(&mut self, path: &Path, stored: Stored, mode: &PutMode) -> Option<u64> {
        let holds = match (mode, self.objects.get(path)) {
            (PutMode::Create, found) => found.is_none(),
            (PutMode::Update(read), Some(found)) => read.e_tag == Some(found.version.to_string()),
            _ => false,
        };
        holds.then(|| self.store(path.clone(), stored.body, stored.attributes))
    }

    /// What was under way until `now`, or all of it, arrives; the first put of a key wins.
    fn arrive(&mut self, now: Option<Instant>) {
        let mut index = 0;
        while index < self.late.len() {
            if now.is_none_or(|now| self.late[index].0 <= now) {
                let (_, path, stored, mode) = self.late.remove(index);
                self.put(&path, stored, &mode);
            } else {
                index += 1;
            }
        }
    }
}

#[derive(Debug)]
struct Status(&'static str);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server returned non-2xx status code: {}", self.0)
    }
}

impl std::error::Error for Status {}

/// An answer with this status and body, as `object_store` reports it.
pub(crate) fn status(text: &'static str) -> Error {
    Error::Generic { store: "S3", source: Box::new(Status(text)) }
}

fn transport(kind: HttpErrorKind) -> Error {
    let source = Box::new(HttpError::new(kind, std::io::Error::other("faulty")));
    Error::Generic { store: "S3", source }
}

/// The error of a fault, if it has one; `Ok(false)` if the request is done after all.
async fn failure(fault: Fault, path: &Path) -> Result<()> {
    match fault {
        Fault::None | Fault::IgnoresCondition => Ok(()),
        Fault::SlowDown => Err(status("503 Service Unavailable: <Error><Code>SlowDown</Code></Error>")),
        Fault::Denied => Err(Error::PermissionDenied {
            path: path.to_string(),
            source: Box::new(Status("403 Forbidden: <Error><Code>AccessDenied</Code></Error>")),
        }),
        Fault::ErrorBefore | Fault::ErrorAfter => {
            Err(status("500 Internal Server Error: <Code>InternalError</Code>"))
        }
        Fault::Refused => Err(transport(HttpErrorKind::Connect)),
        Fault::LostAnswer | Fault::Late(_) => Err(transport(HttpErrorKind::Interrupted)),
        Fault::CutBody => Err(transport(HttpErrorKind::Decode)),
        Fault::Conflict => Err(Error::AlreadyExists {
            path: path.to_string(),
            source: Box::new(Status("409 Conflict: <Error><Code>ConditionalRequestConflict</Code></Error>")),
        }),
        Fault::StallBefore | Fault::StallAfter => pending().await,
    }
}

fn meta(path: &Path, stored: &Stored) -> ObjectMeta {
    let mut meta = ObjectMeta {
        location: path.clone(),
        last_modified: Default::default(),
        size: stored.body.len() as u64,
        e_tag: Some(stored.version.to_string()),
        version: None,
    };
    meta.last_modified += stored.at;
    meta
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

/// Counts a put as under way until it is dropped.
struct UnderWay(FaultyStore);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let PutOptions { mode, attributes, .. } = options;
        assert_ne!(mode, PutMode::Overwrite, "objects of the lake are created, or replaced by condition");
        let (fault, delay) = self.begin(true);
        let stored = Stored { body: payload.into(), attributes, version: 0, at: Duration::ZERO };
        let _under_way = {
            let mut state = self.state();
            if let Some(seen) = &mut state.seen {
                let (body, attributes) = (stored.body.clone(), stored.attributes.clone());
                seen.push(SeenPut { key: path.to_string(), body, attributes, fault });
            }
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            UnderWay(self.clone())
        };
        tokio::time::sleep(delay).await;
        let arrives = match fault {
            Fault::IgnoresCondition => {
                self.state().objects.remove(path);
                true
            }
            Fault::None | Fault::ErrorAfter | Fault::LostAnswer | Fault::StallAfter | Fault::CutBody => true,
            Fault::Late(delay) => {
                self.state().late.push((Instant::now() + delay, path.clone(), stored.clone(), mode.clone()));
                false
            }
            _ => false,
        };
        let version = if arrives { self.put(path, stored, &mode) } else { None };
        failure(fault, path).await?;
        let Some(version) = version else {
            let source = Box::new(Status("412 Precondition Failed: <Code>PreconditionFailed</Code>"));
            let path = path.to_string();
            return Err(match mode {
                PutMode::Create => Error::AlreadyExists { path, source },
                _ => Error::Precondition { path, source },
            });
        };
        Ok(PutResult { e_tag: Some(version.to_string()), version: None })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("no object is put in parts")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (fault, delay) = self.begin(false);
        tokio::time::sleep(delay).await;
        if fault != Fault::CutBody {
            failure(fault, path).await?;
        }
        let state = self.state();
        let Some(stored) = state.objects.get(path) else {
            let source = Box::new(Status("404 Not Found: <Code>NoSuchKey</Code>"));
            return Err(Error::NotFound { path: path.to_string(), source });
        };
        let body = if options.head { Bytes::new() } else { stored.body.clone() };
        let chunks = if fault == Fault::CutBody {
            vec![Ok(body.slice(..body.len() / 2)), Err(transport(HttpErrorKind::Decode))]
        } else {
            vec![Ok(body)]
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(chunks).boxed()),
            meta: meta(path, stored),
            range: 0..stored.body.len() as u64,
            attributes: stored.attributes.clone(),
        })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let path = path?;
            store.state().objects.remove(&path);
            Ok(path)
        };
        paths.map(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_with_offset(prefix, &Path::default())
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (fault, delay) = self.begin(false);
        let (store, prefix, offset) = (self.clone(), prefix.cloned().unwrap_or_default(), offset.clone());
        let entries = async move {
            tokio::time::sleep(delay).await;
            if let Err(error) = failure(fault, &prefix).await {
                return vec![Err(error)];
            }
            let state = store.state();
            let from = if offset.as_ref() > prefix.as_ref() {
                Bound::Excluded(&offset)
            } else {
                Bound::Included(&prefix)
            };
            let range = state.objects.range::<Path, _>((from, Bound::Unbounded));
            let within = range.take_while(|(path, _)| path.as_ref().starts_with(prefix.as_ref()));
            let below = within
                .filter(|(path, _)| path.prefix_match(&prefix).is_some_and(|mut rest| rest.next().is_some()));
            below.map(|(path, stored)| Ok(meta(path, stored))).collect()
        };
        stream::once(entries).flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (fault, delay) = self.begin(false);
        tokio::time::sleep(delay).await;
        let prefix = prefix.cloned().unwrap_or_default();
        failure(fault, &prefix).await?;
        let state = self.state();
        let mut folders: Vec<Path> = Vec::new();
        for path in state.objects.range(prefix.clone()..).map(|(path, _)| path) {
            if !path.as_ref().starts_with(prefix.as_ref()) {
                break;
            }
            let Some(mut rest) = path.prefix_match(&prefix) else { continue };
            if let (Some(folder), Some(_)) = (rest.next(), rest.next()) {
                let folder = prefix.clone().join(folder);
                if folders.last() != Some(&folder) {
                    folders.push(folder);
                }
            }
        }
        Ok(ListResult { common_prefixes: folders, objects: Vec::new() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("no object is copied")
    }
}
