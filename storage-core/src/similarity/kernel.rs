//! Exact neighbour lists from a matrix, on many threads, in blocks of entities.
//!
//! For one entity, every rater of it is visited in order and what follows the entity in the row of that rater
//! is added into one accumulator per entity (Gustavson's sparse product, row by row). Each pair is thus
//! computed once, by one thread, in the order of its raters, and offered to the lists of both; the best k of
//! a list do not depend on the order of the offers. So no number of threads changes a bit.
//!
//! A list is complete once its own entity and all before it were visited: lists leave in order, block by
//! block, while later ones are still being made. Entities whose lists would not fit in memory together are
//! taken in bands; pairs of two bands are computed once for each.
//!
//! Memory beside the matrix: per thread one accumulator for each entity (4 bytes for Jaccard, 8 for cosine,
//! 24 for Pearson, 32 for adjusted cosine; up to four times that for values of a wide range), about 50 bytes
//! for each entity, and [`BAND_CANDIDATES`] for the lists in the making.

use std::cmp::Ordering;
use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::matrix::{Cells, RatingMatrix, Sparse};
use super::measure::{AdjustedCosine, Cosine, Formula, Jaccard, Pearson, Sum, Value};
use crate::{EntityKey, Error, ErrorKind, Measure, Neighbour, NeighbourList, Result, SimilarityOptions};

/// How many rows of raters are fetched ahead. The profile of the plain loop was two thirds waiting: rows are
/// a kilobyte or two each at random places of a matrix larger than the caches, and one after the other every
/// row began with a miss. Touching a handful of rows before any is added lets the misses overlap, for a third
/// off the whole run of 20 M ratings. The handful fits the first two levels of cache.
const AHEAD: usize = 16;
/// The most lists in one block.
const BLOCK_LISTS: usize = 1024;
/// The most candidates of lists in the making, of 16 bytes each: 256 MiB.
const BAND_CANDIDATES: usize = 1 << 24;
/// The most neighbours in one block, so that long lists come in smaller blocks.
const BLOCK_NEIGHBOURS: usize = 1 << 18;
/// About how many additions one block takes: a fraction of a second, so that a run can be stopped soon.
const BLOCK_ADDITIONS: u64 = 1 << 28;

/// Computes the neighbour lists of every entity of a [`RatingMatrix`].
///
/// ```
/// use recstore_core::{EntityKind, NeighbourBuilder, Rating, RatingMatrix, RatingRow, Result};
/// use recstore_core::{SimilarityOptions, Timestamp};
///
/// # fn main() -> Result<()> {
/// let rated_at = Timestamp::from_seconds(1_260_759_144)?;
/// let row = |user: u64, item: u64, stars: f64| -> Result<RatingRow> {
///     let rating = Rating::new(user.into(), item.into(), stars, rated_at)?;
///     Ok(RatingRow { rating, first_rated_at: rated_at })
/// };
/// let rows = [row(1, 10, 4.0)?, row(1, 20, 5.0)?, row(2, 10, 3.0)?];
/// let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows)?;
/// let lists = NeighbourBuilder::new(&matrix, SimilarityOptions::default())?.lists()?;
/// assert_eq!(lists[0].id.as_str(), "10");
/// assert_eq!(lists[0].neighbours[0].similarity, 0.8);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct NeighbourBuilder<'a> {
    matrix: &'a RatingMatrix,
    options: SimilarityOptions,
    threads: usize,
    band_lists: usize,
}

impl<'a> NeighbourBuilder<'a> {
    /// A builder of the lists of every entity of `matrix`.
    ///
    /// # Errors
    /// `Invalid` for options out of range.
    pub fn new(matrix: &'a RatingMatrix, options: SimilarityOptions) -> Result<NeighbourBuilder<'a>> {
        options.validate()?;
        let band_lists = BAND_CANDIDATES / (2 * options.k);
        Ok(NeighbourBuilder { matrix, options, threads: 0, band_lists })
    }

    /// Sets how many threads compute; 0, the default, for as many as the machine runs at once.
    pub fn with_threads(mut self, threads: usize) -> NeighbourBuilder<'a> {
        self.threads = threads;
        self
    }

    /// Computes all lists and hands them over in blocks, in the order of the ids. Every entity has a list,
    /// which may be empty. An error from `take` stops the run; a block is a fraction of a second of work.
    ///
    /// # Errors
    /// What `take` returned; `Unavailable` if threads cannot be started.
    pub fn run(&self, take: impl FnMut(Vec<NeighbourList>) -> Result<()>) -> Result<()> {
        match self.matrix.cells() {
            Cells::Narrow(cells) if fits_32_bits(cells) => self.run_with::<i16, i32>(cells, take),
            Cells::Narrow(cells) => self.run_with::<i16, i64>(cells, take),
            Cells::Wide(cells) => self.run_with::<i64, i128>(cells, take),
        }
    }

    /// All lists at once, for matrices whose lists fit in memory.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn lists(&self) -> Result<Vec<NeighbourList>> {
        let mut all = Vec::with_capacity(self.matrix.ids().len());
        self.run(|mut lists| {
            all.append(&mut lists);
            Ok(())
        })?;
        Ok(all)
    }

    fn run_with<V: Value, S: Sum<V>>(
        &self,
        cells: &Sparse<V>,
        take: impl FnMut(Vec<NeighbourList>) -> Result<()>,
    ) -> Result<()> {
        match self.options.measure {
            Measure::Cosine => self.run_formula(cells, Cosine::<S>::new(cells), take),
            Measure::AdjustedCosine => self.run_formula(cells, AdjustedCosine::new(&cells.by_rater), take),
            Measure::Pearson => self.run_formula(cells, Pearson::<S>::new(), take),
            Measure::Jaccard => self.run_formula(cells, Jaccard::new(cells), take),
        }
    }

    fn run_formula<V: Value, F: Formula<V>>(
        &self,
        cells: &Sparse<V>,
        formula: F,
        mut take: impl FnMut(Vec<NeighbourList>) -> Result<()>,
    ) -> Result<()> {
        let entities = self.matrix.ids().len();
        let kernel = Kernel { cells, formula, ids: self.matrix.ids(), options: self.options };
        let pool = self.pool()?;
        let workspaces: Vec<Mutex<Workspace<F::Sums>>> =
            (0..pool.current_num_threads()).map(|_| Mutex::new(Workspace::new(entities))).collect();
        let block_lists = (BLOCK_NEIGHBOURS / self.options.k).clamp(1, BLOCK_LISTS);
        for band in bands(entities, self.band_lists) {
            let tops = Tops::new(band.clone(), self.options.k);
            let additions = pool.install(|| kernel.additions(&band));
            for block in blocks(band.start, &additions, block_lists) {
                let visit = |entity: usize| {
                    let thread = rayon::current_thread_index().unwrap_or_default();
                    kernel.visit(
                        entity,
                        additions[entity - band.start],
                        &tops,
                        &mut lock(&workspaces[thread]),
                    );
                };
                let lists = pool.install(|| {
                    // One entity may take a thousand times as long as the next.
                    block.clone().into_par_iter().with_max_len(1).for_each(visit);
                    block.into_par_iter().map(|entity| kernel.list(entity, tops.take(entity))).collect()
                });
                take(lists)?;
            }
        }
        Ok(())
    }

    fn pool(&self) -> Result<ThreadPool> {
        ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|index| format!("recstore-similarity-{index}"))
            .build()
            .map_err(|cause| Error::new(ErrorKind::Unavailable, "cannot start threads").because(cause))
    }
}

/// Whether sums of products over any raters are below 2^31.
fn fits_32_bits(cells: &Sparse<i16>) -> bool {
    let rows = |row| cells.by_rater.row(row).1.iter().map(|value| u64::from(value.unsigned_abs()));
    let largest = (0..cells.by_rater.len()).flat_map(rows).max().unwrap_or_default();
    let raters = (0..cells.by_entity.len()).map(|entity| cells.by_entity.row_len(entity)).max();
    (largest * largest).saturating_mul(raters.unwrap_or_default() as u64) < 1 << 31
}

/// Ranges of at most `lists` entities whose lists are made together.
fn bands(entities: usize, lists: usize) -> impl Iterator<Item = Range<usize>> {
    (0..entities).step_by(lists).map(move |start| start..entities.min(start + lists))
}

/// Ranges of entities, from `first` on, that make one block each: at most `lists` entities and about
/// [`BLOCK_ADDITIONS`].
fn blocks(first: usize, additions: &[u64], lists: usize) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut work) = (0, 0);
    for (entity, &cost) in additions.iter().enumerate() {
        work += cost;
        if work >= BLOCK_ADDITIONS || entity + 1 - start == lists || entity + 1 == additions.len() {
            blocks.push(first + start..first + entity + 1);
            (start, work) = (entity + 1, 0);
        }
    }
    blocks
}

/// Reads a value of every cache line, so that the lines are there when they are needed.
#[inline]
fn touch<V: Value>(entities: &[u32], values: &[V]) {
    const LINE: usize = 64;
    for entity in entities.iter().step_by(LINE / size_of::<u32>()) {
        black_box(*entity);
    }
    for value in values.iter().step_by(LINE / size_of::<V>()) {
        black_box(*value);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another thread ends the run; until then what it left is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all threads read.
struct Kernel<'a, V, F> {
    cells: &'a Sparse<V>,
    formula: F,
    ids: &'a [EntityKey],
    options: SimilarityOptions,
}

/// What a rater adds to the pairs of one entity.
struct Visit<'a, V, O> {
    entities: &'a [u32],
    values: &'a [V],
    partners: [Range<usize>; 2],
    own: O,
    origin: f64,
}

/// What one thread writes.
struct Workspace<S> {
    sums: Vec<S>,
    touched: Vec<u32>,
}

impl<S: Copy + Default> Workspace<S> {
    fn new(entities: usize) -> Workspace<S> {
        Workspace { sums: vec![S::default(); entities], touched: Vec::new() }
    }
}

impl<V: Value, F: Formula<V>> Kernel<'_, V, F> {
    /// For each entity of a band, how many additions its visit takes.
    fn additions(&self, band: &Range<usize>) -> Vec<u64> {
        let additions = |entity| {
            let pairs = |(rater, place)| self.partners(rater, place, band.start).map(|part| part.len());
            self.raters(entity).flat_map(pairs).sum::<usize>() as u64
        };
        band.clone().into_par_iter().map(additions).collect()
    }

    /// The raters of an entity, and its place in the row of each.
    fn raters(&self, entity: usize) -> impl Iterator<Item = (usize, usize)> {
        let (raters, places) = self.cells.by_entity.row(entity);
        raters.iter().zip(places).map(|(&rater, &place)| (rater as usize, place as usize))
    }

    /// The parts of a rater's row that hold the partners of the entity at `place`, in a band from `first` on:
    /// what is before the band, whose own visits do not reach into this one, and what follows the entity.
    fn partners(&self, rater: usize, place: usize, first: usize) -> [Range<usize>; 2] {
        let (entities, _) = self.cells.by_rater.row(rater);
        let before = match first {
            0 => 0,
            _ => entities[..place].partition_point(|&entity| (entity as usize) < first),
        };
        [0..before, place + 1..entities.len()]
    }

    /// Computes the pairs of one entity and offers them to the lists of both.
    fn visit(&self, entity: usize, additions: u64, tops: &Tops, workspace: &mut Workspace<F::Sums>) {
        let Workspace { sums, touched } = workspace;
        let first = tops.band.start;
        // Keeping a list of what was touched costs a branch in the innermost loop, looking through all
        // accumulators costs a pass over them: the cheaper is taken.
        if additions < self.ids.len() as u64 {
            self.accumulate::<true>(entity, first, sums, touched);
            for &other in touched.iter() {
                self.offer(entity, other as usize, &mut sums[other as usize], tops);
            }
            touched.clear();
        } else {
            self.accumulate::<false>(entity, first, sums, touched);
            for other in (0..first).chain(entity + 1..sums.len()) {
                self.offer(entity, other, &mut sums[other], tops);
            }
        }
    }

    /// Adds up what the entity has in common with each of its partners.
    fn accumulate<const TOUCH: bool>(
        &self,
        entity: usize,
        first: usize,
        sums: &mut [F::Sums],
        touched: &mut Vec<u32>,
    ) {
        let mut raters = self.raters(entity);
        let mut ahead: Vec<Visit<'_, V, F::Operand>> = Vec::with_capacity(AHEAD);
        loop {
            let handful = raters.by_ref().take(AHEAD);
            ahead.extend(handful.map(|(rater, place)| self.fetch(rater, place, first)));
            if ahead.is_empty() {
                return;
            }
            for visit in ahead.drain(..) {
                for part in visit.partners {
                    let entities = &visit.entities[part.clone()];
                    for (&other, &value) in entities.iter().zip(&visit.values[part]) {
                        let sums = &mut sums[other as usize];
                        if TOUCH && F::common(sums) == 0 {
                            touched.push(other);
                        }
                        F::add(sums, visit.own, F::operand(value, visit.origin));
                    }
                }
            }
        }
    }

    /// Finds what is to be added for one rater, and brings it near.
    fn fetch(&self, rater: usize, place: usize, first: usize) -> Visit<'_, V, F::Operand> {
        let (entities, values) = self.cells.by_rater.row(rater);
        touch(&entities[place..], &values[place..]);
        let origin = self.formula.origin(rater);
        let own = F::operand(values[place], origin);
        Visit { entities, values, partners: self.partners(rater, place, first), own, origin }
    }

    /// Takes the sums of a pair, leaving none, and offers each to the list of the other.
    #[inline]
    fn offer(&self, entity: usize, other: usize, sums: &mut F::Sums, tops: &Tops) {
        let common = F::common(sums);
        if common == 0 {
            return;
        }
        let sums = std::mem::take(sums);
        if common < self.options.min_common {
            return;
        }
        let ratio = self.formula.ratio(entity, other, &sums).shrunk(common, self.options.shrinkage);
        if !ratio.may_reach(tops.threshold(entity, other)) {
            return;
        }
        if let Some(similarity) = ratio.settled() {
            // Entities are numbered by u32.
            tops.offer(entity, Candidate { similarity, entity: other as u32, common });
            if other > entity {
                tops.offer(other, Candidate { similarity, entity: entity as u32, common });
            }
        }
    }

    fn list(&self, entity: usize, best: Vec<Candidate>) -> NeighbourList {
        let neighbour = |candidate: Candidate| Neighbour {
            id: self.ids[candidate.entity as usize].clone(),
            similarity: candidate.similarity,
            common: candidate.common,
        };
        NeighbourList { id: self.ids[entity].clone(), neighbours: best.into_iter().map(neighbour).collect() }
    }
}

/// A neighbour by number.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    similarity: f64,
    entity: u32,
    common: u32,
}

impl Candidate {
    /// The most similar first, ties by number, which is the order of the ids.
    fn order(&self, other: &Candidate) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.entity.cmp(&other.entity))
    }
}

/// The lists in the making of one band.
struct Tops {
    band: Range<usize>,
    k: usize,
    /// The bits of a similarity that at least k candidates of the list reach; it only grows. Most offers fall
    /// here, without taking the lock. Positive floats are ordered as their bits.
    thresholds: Vec<AtomicU64>,
    lists: Vec<Mutex<Vec<Candidate>>>,
}

impl Tops {
    fn new(band: Range<usize>, k: usize) -> Tops {
        let thresholds = band.clone().map(|_| AtomicU64::new(0)).collect();
        let lists = band.clone().map(|_| Mutex::new(Vec::new())).collect();
        Tops { band, k, thresholds, lists }
    }

    /// The similarity that a pair must reach to come into the list of either: of `entity`, which is of the
    /// band, or of `other`, if it comes after it and is of the band as well.
    #[inline]
    fn threshold(&self, entity: usize, other: usize) -> f64 {
        let own = self.thresholds[entity - self.band.start].load(Relaxed);
        let bits = match self.thresholds.get(other.wrapping_sub(self.band.start)) {
            Some(threshold) => own.min(threshold.load(Relaxed)),
            None => own,
        };
        f64::from_bits(bits)
    }

    /// Offers a candidate to the list of an entity, which is ignored if it is not of the band.
    ///
    /// Candidates that reach the threshold are collected until there are 2k, then the lesser half is dropped:
    /// constant time for each on average.
    fn offer(&self, entity: usize, candidate: Candidate) {
        let Some(threshold) = self.thresholds.get(entity.wrapping_sub(self.band.start)) else { return };
        if candidate.similarity.to_bits() >= threshold.load(Relaxed) {
            self.push(entity - self.band.start, candidate);
        }
    }

    fn push(&self, index: usize, candidate: Candidate) {
        let mut list = lock(&self.lists[index]);
        list.push(candidate);
        if list.len() >= 2 * self.k {
            let (_, last, _) = list.select_nth_unstable_by(self.k - 1, Candidate::order);
            self.thresholds[index].store(last.similarity.to_bits(), Relaxed);
            list.truncate(self.k);
        }
    }

    /// The best k of an entity's list, in order; leaves nothing.
    fn take(&self, entity: usize) -> Vec<Candidate> {
        let mut list = std::mem::take(&mut *lock(&self.lists[entity - self.band.start]));
        list.sort_unstable_by(Candidate::order);
        list.truncate(self.k);
        list
    }
}

#[cfg(test)]
mod tests;
