//! Exact neighbour lists from a matrix, on many threads, in blocks of entities.
//!
//! For one entity, every rater of it is visited in order and the whole row of that rater is added into one
//! accumulator per entity (Gustavson's sparse product, row by row). Each list is made by one thread, and the
//! sums of a pair in the order of its raters, so no number of threads changes a bit.
//!
//! Memory beside the matrix: per thread one accumulator for each entity (4 bytes for Jaccard, 8 for cosine,
//! 24 for Pearson, 32 for adjusted cosine; up to four times that for values of a wide range), 12 bytes for
//! each entity, and the lists of one block.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::matrix::{Cells, RatingMatrix, Sparse};
use super::measure::{AdjustedCosine, Cosine, Formula, Jaccard, Pearson, Sum, Value, settled};
use crate::{EntityKey, Error, ErrorKind, Measure, Neighbour, NeighbourList, Result, SimilarityOptions};

/// The most lists in one block.
const BLOCK_LISTS: usize = 1024;
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
}

impl<'a> NeighbourBuilder<'a> {
    /// A builder of the lists of every entity of `matrix`.
    ///
    /// # Errors
    /// `Invalid` for options out of range.
    pub fn new(matrix: &'a RatingMatrix, options: SimilarityOptions) -> Result<NeighbourBuilder<'a>> {
        options.validate()?;
        Ok(NeighbourBuilder { matrix, options, threads: 0 })
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
        let kernel = Kernel { cells, formula, ids: self.matrix.ids(), options: self.options };
        let pool = self.pool()?;
        let workspaces: Vec<Mutex<Workspace<F::Sums>>> = (0..pool.current_num_threads())
            .map(|_| Mutex::new(Workspace::new(self.matrix.ids().len(), self.options.k)))
            .collect();
        let additions: Vec<u64> = pool.install(|| kernel.additions());
        let block_lists = (BLOCK_NEIGHBOURS / self.options.k).clamp(1, BLOCK_LISTS);
        for block in blocks(&additions, block_lists) {
            let lists = pool.install(|| {
                let list = |entity: usize| {
                    let thread = rayon::current_thread_index().unwrap_or_default();
                    let mut workspace = workspaces[thread].lock().unwrap_or_else(PoisonError::into_inner);
                    kernel.list(entity, additions[entity], &mut workspace)
                };
                // One entity may take a thousand times as long as the next.
                block.into_par_iter().with_max_len(1).map(list).collect()
            });
            take(lists)?;
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
    let rows = 0..cells.by_entity.len();
    let values = rows.clone().flat_map(|row| cells.by_entity.row(row).1);
    let largest = values.map(|value| u64::from(value.unsigned_abs())).max().unwrap_or_default();
    let raters = rows.map(|row| cells.by_entity.row_len(row)).max().unwrap_or_default();
    (largest * largest).saturating_mul(raters as u64) < 1 << 31
}

/// Ranges of entities that make one block each: at most `lists` entities and about [`BLOCK_ADDITIONS`].
fn blocks(additions: &[u64], lists: usize) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut work) = (0, 0);
    for (entity, &cost) in additions.iter().enumerate() {
        work += cost;
        if work >= BLOCK_ADDITIONS || entity + 1 - start == lists || entity + 1 == additions.len() {
            blocks.push(start..entity + 1);
            (start, work) = (entity + 1, 0);
        }
    }
    blocks
}

/// What all threads read.
struct Kernel<'a, V, F> {
    cells: &'a Sparse<V>,
    formula: F,
    ids: &'a [EntityKey],
    options: SimilarityOptions,
}

/// What one thread writes.
struct Workspace<S> {
    sums: Vec<S>,
    touched: Vec<u32>,
    best: Best,
}

impl<S: Copy + Default> Workspace<S> {
    fn new(entities: usize, k: usize) -> Workspace<S> {
        Workspace { sums: vec![S::default(); entities], touched: Vec::new(), best: Best::new(k) }
    }
}

impl<V: Value, F: Formula<V>> Kernel<'_, V, F> {
    /// For each entity, how many additions its list takes: the cells of all its raters.
    fn additions(&self) -> Vec<u64> {
        let additions = |entity| {
            let (raters, _) = self.cells.by_entity.row(entity);
            raters.iter().map(|&rater| self.cells.by_rater.row_len(rater as usize) as u64).sum()
        };
        (0..self.ids.len()).into_par_iter().map(additions).collect()
    }

    /// The list of one entity.
    fn list(&self, entity: usize, additions: u64, workspace: &mut Workspace<F::Sums>) -> NeighbourList {
        let Workspace { sums, touched, best } = workspace;
        // Keeping a list of what was touched costs a branch in the innermost loop, looking through all
        // accumulators costs a pass over them: the cheaper is taken.
        if additions < self.ids.len() as u64 {
            self.accumulate::<true>(entity, sums, touched);
            for &other in touched.iter() {
                self.offer(entity, other, &mut sums[other as usize], best);
            }
            touched.clear();
        } else {
            self.accumulate::<false>(entity, sums, touched);
            for (other, sums) in sums.iter_mut().enumerate() {
                // Entities are numbered by u32.
                self.offer(entity, other as u32, sums, best);
            }
        }
        let neighbour = |candidate: &Candidate| Neighbour {
            id: self.ids[candidate.entity as usize].clone(),
            similarity: candidate.similarity,
            common: candidate.common,
        };
        let neighbours = best.sorted().iter().map(neighbour).collect();
        best.clear();
        NeighbourList { id: self.ids[entity].clone(), neighbours }
    }

    /// Adds up what the entity has in common with every other, and with itself.
    fn accumulate<const TOUCH: bool>(&self, entity: usize, sums: &mut [F::Sums], touched: &mut Vec<u32>) {
        let (raters, values) = self.cells.by_entity.row(entity);
        for (&rater, &value) in raters.iter().zip(values) {
            let origin = self.formula.origin(rater as usize);
            let own = F::operand(value, origin);
            let (others, values) = self.cells.by_rater.row(rater as usize);
            for (&other, &value) in others.iter().zip(values) {
                let sums = &mut sums[other as usize];
                if TOUCH && F::common(sums) == 0 {
                    touched.push(other);
                }
                F::add(sums, own, F::operand(value, origin));
            }
        }
    }

    /// Takes the sums of a pair, leaving none, and offers the pair as a neighbour.
    #[inline]
    fn offer(&self, entity: usize, other: u32, sums: &mut F::Sums, best: &mut Best) {
        let common = F::common(sums);
        if common == 0 {
            return;
        }
        let sums = std::mem::take(sums);
        if common < self.options.min_common || other as usize == entity {
            return;
        }
        let similarity = self.formula.similarity(entity, other as usize, &sums);
        if let Some(similarity) = settled(similarity, common, self.options.shrinkage) {
            best.offer(Candidate { similarity, entity: other, common });
        }
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

/// Keeps the best k candidates, whatever order they come in.
///
/// Candidates that reach the k-th best are collected until there are 2k, then the lesser half is dropped:
/// constant time for each on average, and most fall at one comparison.
struct Best {
    k: usize,
    threshold: f64,
    candidates: Vec<Candidate>,
}

impl Best {
    fn new(k: usize) -> Best {
        Best { k, threshold: 0.0, candidates: Vec::new() }
    }

    #[inline]
    fn offer(&mut self, candidate: Candidate) {
        if candidate.similarity < self.threshold {
            return;
        }
        self.candidates.push(candidate);
        if self.candidates.len() >= 2 * self.k {
            self.drop_lesser();
        }
    }

    fn drop_lesser(&mut self) {
        if self.candidates.len() > self.k {
            let (_, last, _) = self.candidates.select_nth_unstable_by(self.k - 1, Candidate::order);
            self.threshold = last.similarity;
            self.candidates.truncate(self.k);
        }
    }

    /// The best k in order; [`clear`](Self::clear) makes room for the next entity's.
    fn sorted(&mut self) -> &[Candidate] {
        self.drop_lesser();
        self.candidates.sort_unstable_by(Candidate::order);
        &self.candidates
    }

    fn clear(&mut self) {
        self.threshold = 0.0;
        self.candidates.clear();
    }
}

#[cfg(test)]
mod tests;
