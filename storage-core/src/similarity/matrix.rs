//! The ratings as a sparse matrix in memory: what the kernel computes on.
//!
//! Both orientations are kept as compressed rows: by rater with the values, and by entity with the places in
//! the rows of its raters. Values are whole multiples of their greatest common divisor, so that stars are
//! small integers and sums of products are exact.
//!
//! Memory for each rating: 14 bytes where the multiples fit 16 bits, as they do on every usual scale; 20
//! bytes otherwise. While it is built, 18 or 24 bytes. To that come about 100 bytes for each user and item,
//! twice that while building.

use std::collections::HashMap;

use super::measure::Value;
use crate::{EntityKey, EntityKind, Error, ErrorKind, Popular, RatingRow, Result};

/// The current ratings, entities against raters.
///
/// Entities and raters are numbered in the byte order of their ids, so the number decides ties by id, and
/// the numbering does not depend on the order in which the ratings came.
#[derive(Debug)]
pub struct RatingMatrix {
    kind: EntityKind,
    ids: Vec<EntityKey>,
    cells: Cells,
}

/// The cells in the width that their values need.
#[derive(Debug)]
pub(super) enum Cells {
    /// Multiples of the step fit 16 bits.
    Narrow(Sparse<i16>),
    /// Values in micro-units, or multiples that are large.
    Wide(Sparse<i64>),
}

/// Both orientations of the same cells.
#[derive(Debug)]
pub(super) struct Sparse<V> {
    /// Of each rater its entities and the values of the ratings.
    pub(super) by_rater: Rows<V>,
    /// Of each entity its raters, and where in the row of that rater the entity stands.
    pub(super) by_entity: Rows<u32>,
}

/// Compressed sparse rows; columns ascend within a row.
#[derive(Debug)]
pub(super) struct Rows<V> {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<V>,
}

impl RatingMatrix {
    /// The matrix of these rows; for more rows than one slice holds there is [`RatingMatrixBuilder`].
    ///
    /// # Errors
    /// As [`RatingMatrixBuilder::push`].
    pub fn from_rows(kind: EntityKind, rows: &[RatingRow]) -> Result<RatingMatrix> {
        let mut builder = RatingMatrixBuilder::new(kind);
        builder.push(rows)?;
        Ok(builder.finish())
    }

    /// What the entities are; the raters are of the other kind.
    pub fn kind(&self) -> EntityKind {
        self.kind
    }

    /// The ids of all entities with a rating, ascending.
    pub fn ids(&self) -> &[EntityKey] {
        &self.ids
    }

    /// How many raters there are.
    pub fn raters(&self) -> usize {
        match &self.cells {
            Cells::Narrow(cells) => cells.by_rater.len(),
            Cells::Wide(cells) => cells.by_rater.len(),
        }
    }

    /// How many ratings there are.
    pub fn ratings(&self) -> u64 {
        (0..self.ids.len()).map(|entity| self.ratings_of(entity)).sum()
    }

    /// How many ratings entity number `entity` has.
    fn ratings_of(&self, entity: usize) -> u64 {
        let count = match &self.cells {
            Cells::Narrow(cells) => cells.by_entity.row_len(entity),
            Cells::Wide(cells) => cells.by_entity.row_len(entity),
        };
        count as u64
    }

    /// The `limit` entities with the most ratings, the most first, ties by id.
    pub fn popular(&self, limit: usize) -> Vec<Popular> {
        let mut order: Vec<(std::cmp::Reverse<u64>, usize)> =
            (0..self.ids.len()).map(|entity| (std::cmp::Reverse(self.ratings_of(entity)), entity)).collect();
        if limit < order.len() {
            order.select_nth_unstable(limit);
            order.truncate(limit);
        }
        order.sort_unstable();
        let popular = |(ratings, entity): (std::cmp::Reverse<u64>, usize)| Popular {
            id: self.ids[entity].clone(),
            ratings: ratings.0,
        };
        order.into_iter().map(popular).collect()
    }

    pub(super) fn cells(&self) -> &Cells {
        &self.cells
    }
}

impl<V: Copy> Rows<V> {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many cells a row has.
    pub(super) fn row_len(&self, row: usize) -> usize {
        self.starts[row + 1] - self.starts[row]
    }

    /// The columns and values of a row.
    pub(super) fn row(&self, row: usize) -> (&[u32], &[V]) {
        let cells = self.starts[row]..self.starts[row + 1];
        (&self.columns[cells.clone()], &self.values[cells])
    }

    /// The rows that the columns make: of each column the rows that have it, and where in the row. A counting
    /// sort, so rows ascend.
    fn places_by_column(&self, columns: usize) -> Rows<u32> {
        let mut starts = vec![0; columns + 1];
        for &column in &self.columns {
            starts[column as usize + 1] += 1;
        }
        for column in 0..columns {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let cells = self.columns.len();
        let mut places = Rows { starts, columns: vec![0; cells], values: vec![0; cells] };
        for row in 0..self.len() {
            for (place, &column) in self.row(row).0.iter().enumerate() {
                let at = next[column as usize];
                next[column as usize] += 1;
                // There are less than 2^32 rows and columns, see `Interner`.
                places.columns[at] = row as u32;
                places.values[at] = place as u32;
            }
        }
        places
    }

    /// The cells with columns made rows and rows made columns.
    fn transposed(&self, columns: usize) -> Rows<V> {
        let places = self.places_by_column(columns);
        let value = |(&row, &place): (&u32, &u32)| self.row(row as usize).1[place as usize];
        let values = places.columns.iter().zip(&places.values).map(value).collect();
        Rows { starts: places.starts, columns: places.columns, values }
    }
}

/// Takes rating rows in any order and makes a [`RatingMatrix`] of them.
///
/// Cheapest in the order of a scan, the rows of a user together. Withdrawn rows are left out. A pair that is
/// given again replaces the first.
#[derive(Debug)]
pub struct RatingMatrixBuilder {
    kind: EntityKind,
    users: Interner,
    items: Interner,
    runs: Vec<Run>,
    cell_items: Vec<u32>,
    cell_micros: Vec<i64>,
    step: i64,
    largest: i64,
}

/// Rows of one user that came one after the other.
#[derive(Debug, Clone, Copy)]
struct Run {
    user: u32,
    start: usize,
}

impl RatingMatrixBuilder {
    /// A builder for neighbours among entities of `kind`.
    pub fn new(kind: EntityKind) -> RatingMatrixBuilder {
        RatingMatrixBuilder {
            kind,
            users: Interner::default(),
            items: Interner::default(),
            runs: Vec::new(),
            cell_items: Vec::new(),
            cell_micros: Vec::new(),
            step: 0,
            largest: 0,
        }
    }

    /// Takes rows in.
    ///
    /// # Errors
    /// `Unsupported` beyond 2^32 − 1 users or items.
    pub fn push(&mut self, rows: &[RatingRow]) -> Result<()> {
        // In a scan the user stays the same for many rows, and is looked up once for them.
        for same_user in rows.chunk_by(|left, right| left.rating.user() == right.rating.user()) {
            let mut rated =
                same_user.iter().filter_map(|row| Some((&row.rating, row.rating.value()?))).peekable();
            let Some((first, _)) = rated.peek() else { continue };
            let user = self.users.number(first.user().clone().into())?;
            if self.runs.last().is_none_or(|run| run.user != user) {
                self.runs.push(Run { user, start: self.cell_items.len() });
            }
            for (rating, value) in rated {
                self.cell_items.push(self.items.number(rating.item().clone().into())?);
                self.cell_micros.push(value.micros());
                self.step = common_divisor(self.step, value.micros());
                self.largest = self.largest.max(value.micros().abs());
            }
        }
        Ok(())
    }

    /// How many rows were taken in, pairs given twice counted twice.
    pub fn rows(&self) -> u64 {
        self.cell_items.len() as u64
    }

    /// The matrix of the rows taken in.
    pub fn finish(self) -> RatingMatrix {
        // Without a value other than zero there is no divisor, and any step will do.
        let step = self.step.max(1);
        let fits = i16::try_from(self.largest / step).is_ok();
        if fits { self.finish_with(step, Cells::Narrow) } else { self.finish_with(step, Cells::Wide) }
    }

    fn finish_with<V: Value>(mut self, step: i64, cells: fn(Sparse<V>) -> Cells) -> RatingMatrix {
        let (users, user_ranks) = std::mem::take(&mut self.users).into_sorted();
        let (items, item_ranks) = std::mem::take(&mut self.items).into_sorted();
        let kind = self.kind;
        let by_user = self.gather(users.len(), &user_ranks, &item_ranks, step);
        let (ids, by_rater) = match kind {
            EntityKind::Item => (items, by_user),
            EntityKind::User => (users, by_user.transposed(items.len())),
        };
        let by_entity = by_rater.places_by_column(ids.len());
        RatingMatrix { kind, ids, cells: cells(Sparse { by_rater, by_entity }) }
    }

    /// Brings the runs into the order of the users and each user's cells into that of the items.
    fn gather<V: Value>(
        mut self,
        users: usize,
        user_ranks: &[u32],
        item_ranks: &[u32],
        step: i64,
    ) -> Rows<V> {
        let mut order: Vec<(u32, usize)> =
            (0..self.runs.len()).map(|run| (user_ranks[self.runs[run].user as usize], run)).collect();
        order.sort_unstable();
        // Ends the last run.
        self.runs.push(Run { user: 0, start: self.cell_items.len() });
        let cells = self.cell_items.len();
        let mut rows = Rows {
            starts: Vec::with_capacity(users + 1),
            columns: Vec::with_capacity(cells),
            values: Vec::with_capacity(cells),
        };
        rows.starts.push(0);
        let mut row: Vec<(u32, V)> = Vec::new();
        for runs in order.chunk_by(|left, right| left.0 == right.0) {
            for &(_, run) in runs {
                let cells = self.runs[run].start..self.runs[run + 1].start;
                row.extend(cells.map(|cell| {
                    let item = item_ranks[self.cell_items[cell] as usize];
                    (item, V::from_multiple(self.cell_micros[cell] / step))
                }));
            }
            // Stable: of a pair that was given twice the later stays the later.
            row.sort_by_key(|&(item, _)| item);
            for (index, &(item, value)) in row.iter().enumerate() {
                if row.get(index + 1).is_none_or(|next| next.0 != item) {
                    rows.columns.push(item);
                    rows.values.push(value);
                }
            }
            rows.starts.push(rows.columns.len());
            row.clear();
        }
        rows
    }
}

/// The greatest common divisor; 0 has every divisor.
fn common_divisor(step: i64, value: i64) -> i64 {
    let (mut larger, mut smaller) = (value.abs(), step);
    // The usual case, one division: the value is a multiple of the step already.
    while smaller != 0 {
        (larger, smaller) = (smaller, larger % smaller);
    }
    larger
}

/// Numbers ids in the order they come.
#[derive(Debug, Default)]
struct Interner(HashMap<EntityKey, u32>);

impl Interner {
    fn number(&mut self, id: EntityKey) -> Result<u32> {
        let next = u32::try_from(self.0.len())
            .ok()
            .filter(|&next| next < u32::MAX)
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "more than 2^32 - 1 users or items"))?;
        Ok(*self.0.entry(id).or_insert(next))
    }

    /// The ids, ascending by their bytes, and for each number its place among them.
    fn into_sorted(self) -> (Vec<EntityKey>, Vec<u32>) {
        let mut ids: Vec<(EntityKey, u32)> = self.0.into_iter().collect();
        ids.sort_unstable();
        let mut ranks = vec![0; ids.len()];
        for (rank, &(_, number)) in ids.iter().enumerate() {
            // There are at most u32::MAX ids.
            ranks[number as usize] = rank as u32;
        }
        (ids.into_iter().map(|(id, _)| id).collect(), ranks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::testing::{row, withdrawn};

    fn narrow(matrix: &RatingMatrix) -> &Sparse<i16> {
        match matrix.cells() {
            Cells::Narrow(cells) => cells,
            Cells::Wide(_) => panic!("values are wide"),
        }
    }

    fn ids(matrix: &RatingMatrix) -> Vec<&str> {
        matrix.ids().iter().map(EntityKey::as_str).collect()
    }

    #[test]
    fn stars_are_small_integers_over_their_common_step() {
        let rows = [row("a", "9", 3.5), row("a", "10", 0.5), row("b", "10", -1.0)];
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        assert_eq!(ids(&matrix), ["10", "9"]);
        assert_eq!((matrix.raters(), matrix.ratings()), (2, 3));
        let cells = narrow(&matrix);
        assert_eq!(cells.by_rater.row(0), (&[0, 1][..], &[1, 7][..]));
        assert_eq!(cells.by_rater.row(1), (&[0][..], &[-2][..]));
        assert_eq!(cells.by_entity.row(0), (&[0, 1][..], &[0, 0][..]));
        assert_eq!(cells.by_entity.row(1), (&[0][..], &[1][..]));
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter() {
        let sorted = [row("a", "1", 1.0), row("a", "2", 2.0), row("b", "1", 3.0), row("b", "3", 4.0)];
        let mixed = [3, 0, 2, 1].map(|index: usize| sorted[index].clone());
        for kind in [EntityKind::Item, EntityKind::User] {
            let one = RatingMatrix::from_rows(kind, &sorted).unwrap();
            let other = RatingMatrix::from_rows(kind, &mixed).unwrap();
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
    }

    #[test]
    fn users_are_rated_by_their_items() {
        let rows = [row("a", "1", 1.0), row("b", "1", 2.0)];
        let matrix = RatingMatrix::from_rows(EntityKind::User, &rows).unwrap();
        assert_eq!(ids(&matrix), ["a", "b"]);
        assert_eq!(narrow(&matrix).by_rater.row(0), (&[0, 1][..], &[1, 2][..]));
    }

    #[test]
    fn withdrawn_rows_are_left_out_and_a_pair_given_again_replaces_the_first() {
        let rows = [row("a", "1", 1.0), withdrawn("a", "2"), row("b", "1", 2.0), row("a", "1", 3.0)];
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        assert_eq!(ids(&matrix), ["1"]);
        assert_eq!(narrow(&matrix).by_rater.row(0), (&[0][..], &[3][..]));
        assert_eq!(narrow(&matrix).by_rater.row(1), (&[0][..], &[2][..]));
    }

    #[test]
    fn values_without_a_coarse_step_are_wide() {
        let rows = [row("a", "1", 0.000_001), row("a", "2", 1_000_000.0)];
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        let Cells::Wide(cells) = matrix.cells() else { panic!("values are narrow") };
        assert_eq!(cells.by_rater.row(0).1, [1, 1_000_000_000_000]);
    }

    #[test]
    fn an_empty_matrix_and_one_of_zeros_are_fine() {
        let empty = RatingMatrix::from_rows(EntityKind::Item, &[]).unwrap();
        assert_eq!((empty.ids().len(), empty.raters(), empty.ratings()), (0, 0, 0));
        let zeros = RatingMatrix::from_rows(EntityKind::Item, &[row("a", "1", 0.0)]).unwrap();
        assert_eq!(narrow(&zeros).by_rater.row(0), (&[0][..], &[0][..]));
    }

    #[test]
    fn the_most_rated_are_popular_ties_by_id() {
        let rows = [row("a", "2", 1.0), row("a", "10", 1.0), row("a", "3", 1.0), row("b", "3", 1.0)];
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        let popular = matrix.popular(2);
        let found: Vec<(&str, u64)> =
            popular.iter().map(|entry| (entry.id.as_str(), entry.ratings)).collect();
        assert_eq!(found, [("3", 2), ("10", 1)]);
        assert_eq!(matrix.popular(0), []);
        assert_eq!(matrix.popular(9).len(), 3);
    }
}
