//! The job that reads ratings from a store and leaves a checked, promoted release in it.
//!
//! The store is spoken to by the caller's task alone. The computing is done by threads of its own, which hand
//! over blocks through bounded channels: the executor is never held up, and when the task is dropped the
//! channels close and the threads end.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use futures::channel::{mpsc, oneshot};
use futures::executor::{block_on, block_on_stream};
use futures::stream::select_all;
use futures::{SinkExt, StreamExt};
use serde::Serialize;

use super::check::{CheckOptions, CheckReport, ReleaseChecker};
use super::{NeighbourBuilder, RatingMatrix, RatingMatrixBuilder};
use crate::{
    EntityKind, Error, ErrorKind, GetOptions, NeighbourList, Popular, PutOptions, RatingRow, RatingStore,
    ReleaseId, ReleaseSpec, Result, ScanOptions, ShardRange, SimilarityOptions, SimilarityStore,
};

/// How many batches or blocks may wait between the store and the threads.
const WAITING: usize = 2;
/// Rows in a batch: stores look up items once for each, and most items come up again and again.
const BATCH_ROWS: usize = 1 << 16;
/// The most shards read at once; more would only wait for the thread that makes the matrix.
const MOST_SHARDS: u32 = 8;

/// How a release is built.
#[derive(Clone)]
#[must_use]
pub struct BuildOptions {
    /// Neighbours among users or among items; items by default.
    pub kind: EntityKind,
    /// How the lists are computed.
    pub similarity: SimilarityOptions,
    /// How many threads compute; 0, the default, for as many as the machine runs at once.
    pub threads: usize,
    /// What the release must pass to be promoted.
    pub checks: CheckOptions,
    /// Whether to promote a release that passed; yes by default.
    pub promote: bool,
    /// The length of the popularity list; 1,000 by default.
    pub popular: usize,
    /// Told of the progress, on the caller's task, after every batch; must be quick. Nobody by default.
    pub progress: Option<Arc<dyn Fn(BuildProgress) + Send + Sync>>,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions {
            kind: EntityKind::Item,
            similarity: SimilarityOptions::default(),
            threads: 0,
            checks: CheckOptions::default(),
            promote: true,
            popular: 1000,
            progress: None,
        }
    }
}

impl BuildOptions {
    /// Builds neighbours among entities of this kind.
    pub fn with_kind(mut self, kind: EntityKind) -> BuildOptions {
        self.kind = kind;
        self
    }

    /// Sets how the lists are computed.
    pub fn with_similarity(mut self, similarity: SimilarityOptions) -> BuildOptions {
        self.similarity = similarity;
        self
    }

    /// Sets how many threads compute, 0 for as many as the machine runs at once.
    pub fn with_threads(mut self, threads: usize) -> BuildOptions {
        self.threads = threads;
        self
    }

    /// Sets what the release must pass.
    pub fn with_checks(mut self, checks: CheckOptions) -> BuildOptions {
        self.checks = checks;
        self
    }

    /// Sets whether a release that passed is promoted.
    pub fn with_promote(mut self, promote: bool) -> BuildOptions {
        self.promote = promote;
        self
    }

    /// Sets the length of the popularity list.
    pub fn with_popular(mut self, popular: usize) -> BuildOptions {
        self.popular = popular;
        self
    }

    /// Sets who is told of the progress.
    pub fn with_progress(mut self, progress: impl Fn(BuildProgress) + Send + Sync + 'static) -> BuildOptions {
        self.progress = Some(Arc::new(progress));
        self
    }

    fn spec(&self) -> ReleaseSpec {
        ReleaseSpec { kind: self.kind, options: self.similarity }
    }

    fn tell(&self, phase: BuildPhase, done: u64, total: u64) {
        if let Some(progress) = &self.progress {
            progress(BuildProgress { phase, done, total });
        }
    }
}

impl fmt::Debug for BuildOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildOptions")
            .field("kind", &self.kind)
            .field("similarity", &self.similarity)
            .field("threads", &self.threads)
            .field("checks", &self.checks)
            .field("promote", &self.promote)
            .field("popular", &self.popular)
            .finish_non_exhaustive()
    }
}

/// What a build is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildPhase {
    /// Reading ratings.
    Reading,
    /// Computing and storing neighbour lists.
    Computing,
}

/// How far a build has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildProgress {
    /// What it is busy with.
    pub phase: BuildPhase,
    /// Ratings read, or lists stored.
    pub done: u64,
    /// Of how many; ratings that come in meanwhile are not counted.
    pub total: u64,
}

/// Seconds spent in each phase of a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct BuildSeconds {
    /// Reading ratings and making the matrix.
    pub read: f64,
    /// Computing, checking and storing lists.
    pub neighbours: f64,
    /// Sealing and promoting.
    pub publish: f64,
}

/// What a build did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[must_use = "a release that failed its checks is not promoted"]
pub struct BuildReport {
    /// The release.
    pub release: ReleaseId,
    /// What it was begun with.
    pub spec: ReleaseSpec,
    /// Entities with a rating; each has a list, which may be empty.
    pub entities: u64,
    /// Raters of these.
    pub raters: u64,
    /// Current ratings.
    pub ratings: u64,
    /// Neighbours in all lists.
    pub neighbours: u64,
    /// What the checks found.
    pub checks: CheckReport,
    /// Whether the release is the current one now.
    pub promoted: bool,
    /// Where the time went.
    pub seconds: BuildSeconds,
}

/// Builds a release of neighbour lists from the current ratings of a store, checks it and promotes it.
///
/// The release is begun before the first rating is read, so that every rating acknowledged before its
/// `created_at` is in it, and what is erased during the build is left out. A release that fails a check is
/// sealed, so that it can be looked at, and not promoted: the report says so, and
/// [`CheckReport::require`] makes an error of it. After an error the release stays unsealed, invisible, until
/// [`prune_releases`](SimilarityStore::prune_releases) removes it.
///
/// Memory: the [`RatingMatrix`] and what [`NeighbourBuilder`] needs, whatever the number of lists. Dropping
/// the future stops the work within a fraction of a second.
///
/// # Errors
/// `Invalid` for options out of range; what reading and writing the store fails with; `Unavailable` if
/// threads cannot be started.
pub async fn build_release<S>(store: &S, options: &BuildOptions) -> Result<BuildReport>
where
    S: RatingStore + SimilarityStore + ?Sized,
{
    options.similarity.validate()?;
    let spec = options.spec();
    let mut checker = ReleaseChecker::new(store, spec, options.checks).await?;
    let release = store.begin_release(spec).await?;

    let started = Instant::now();
    let (matrix, popular) = read_matrix(store, options).await?;
    let read = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let neighbours = store_lists(store, options, &release, &matrix, &mut checker).await?;
    let neighbours_seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    store.seal_release(&release, popular).await?;
    let checks = checker.finish();
    let promoted = options.promote && checks.ok;
    if promoted {
        store.promote_release(&release).await?;
    }
    let publish = started.elapsed().as_secs_f64();

    Ok(BuildReport {
        release,
        spec,
        entities: matrix.ids().len() as u64,
        raters: matrix.raters() as u64,
        ratings: matrix.ratings(),
        neighbours,
        checks,
        promoted,
        seconds: BuildSeconds { read, neighbours: neighbours_seconds, publish },
    })
}

/// Reads all ratings, one shard for each thread; a thread makes the matrix and the popularity list of them.
/// The matrix does not depend on the order in which the shards come.
async fn read_matrix<S>(store: &S, options: &BuildOptions) -> Result<(Arc<RatingMatrix>, Vec<Popular>)>
where
    S: RatingStore + ?Sized,
{
    let total = match options.progress {
        Some(_) => store.count_ratings(GetOptions::default()).await?.ratings,
        None => 0,
    };
    let (mut sender, batches) = mpsc::channel(WAITING);
    let (answer, matrix) = oneshot::channel();
    let (kind, popular) = (options.kind, options.popular);
    start("recstore-matrix", move || {
        if let Some(made) = make_matrix(kind, popular, batches).transpose() {
            // Nobody waits any more if the build was dropped.
            let _dropped = answer.send(made);
        }
    })?;
    let scan =
        |shard| store.scan_ratings(ScanOptions::default().with_shard(shard).with_batch_rows(BATCH_ROWS));
    let mut scan = select_all(ShardRange::split(shards(options.threads))?.into_iter().map(scan));
    let mut rows = 0;
    while let Some(batch) = scan.next().await {
        let batch = batch?;
        rows += batch.len() as u64;
        options.tell(BuildPhase::Reading, rows, total);
        if sender.send(Some(batch)).await.is_err() {
            // The thread has ended; its answer says why.
            break;
        }
    }
    let _ended = sender.send(None).await;
    matrix.await.map_err(|_| ended_early("recstore-matrix"))?
}

/// How many shards to read at once.
fn shards(threads: usize) -> u32 {
    let threads = if threads > 0 { threads } else { thread::available_parallelism().map_or(1, usize::from) };
    u32::try_from(threads).unwrap_or(MOST_SHARDS).min(MOST_SHARDS)
}

/// Makes the matrix of batches up to a `None`. Without one the scan broke off, and there is nothing to make.
fn make_matrix(
    kind: EntityKind,
    popular: usize,
    batches: mpsc::Receiver<Option<Vec<RatingRow>>>,
) -> Result<Option<(Arc<RatingMatrix>, Vec<Popular>)>> {
    let mut builder = RatingMatrixBuilder::new(kind);
    for batch in block_on_stream(batches) {
        let Some(rows) = batch else {
            let matrix = builder.finish();
            let popular = matrix.popular(popular);
            return Ok(Some((Arc::new(matrix), popular)));
        };
        builder.push(&rows)?;
    }
    Ok(None)
}

/// Stores the lists block by block as they are computed; returns how many neighbours they have.
async fn store_lists<S>(
    store: &S,
    options: &BuildOptions,
    release: &ReleaseId,
    matrix: &Arc<RatingMatrix>,
    checker: &mut ReleaseChecker<'_, S>,
) -> Result<u64>
where
    S: SimilarityStore + ?Sized,
{
    let (sender, mut blocks) = mpsc::channel(WAITING);
    let (similarity, threads) = (options.similarity, options.threads);
    let shared = Arc::clone(matrix);
    start("recstore-neighbours", move || compute_lists(&shared, similarity, threads, sender))?;
    let total = matrix.ids().len() as u64;
    let (mut stored, mut neighbours) = (0, 0);
    while let Some(lists) = blocks.next().await {
        let lists = lists?;
        checker.observe(&lists).await?;
        stored += lists.len() as u64;
        neighbours += lists.iter().map(|list| list.neighbours.len() as u64).sum::<u64>();
        store.put_neighbours(release, lists, PutOptions::default()).await?;
        options.tell(BuildPhase::Computing, stored, total);
    }
    if stored < total { Err(ended_early("recstore-neighbours")) } else { Ok(neighbours) }
}

/// Sends every block of lists, or the error that there was.
fn compute_lists(
    matrix: &RatingMatrix,
    similarity: SimilarityOptions,
    threads: usize,
    mut blocks: mpsc::Sender<Result<Vec<NeighbourList>>>,
) {
    let mut send = |block| {
        let sent = block_on(blocks.send(block));
        sent.map_err(|cause| Error::new(ErrorKind::Closed, "the build was dropped").because(cause))
    };
    let done = NeighbourBuilder::new(matrix, similarity)
        .and_then(|builder| builder.with_threads(threads).run(|lists| send(Ok(lists))));
    if let Err(error) = done {
        // Fails if the build was dropped, and then nobody wants to know.
        let _dropped = send(Err(error));
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread
        .map(drop)
        .map_err(|cause| Error::new(ErrorKind::Unavailable, "cannot start a thread").on(name).because(cause))
}

fn ended_early(thread: &str) -> Error {
    Error::new(ErrorKind::Internal, "a thread ended without an answer").on(thread)
}

#[cfg(test)]
mod tests;
