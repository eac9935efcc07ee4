//! Rows of a bucket after new events, and the statistics of them. No I/O.
//!
//! A bucket has millions of rows of few users and items. Their ids are numbers here, so that a row is of fixed size and
//! bringing rows together is a sort of integers: of texts it took a third of the time of a run.

use std::cmp::Ordering;

use recstore_core::{EntityKey, EntityKind, Error, ErrorKind, RatingRow, RatingStats, Result};

use super::entry::{Entry, PairChange};
use super::ids::{Ids, RankedIds};
use crate::lake::silver::ratings::{PairRow, PairState, RatingDecoder};

/// What is known of the pairs of a bucket, in any order.
#[derive(Debug)]
pub(crate) struct Gathered {
    of: EntityKind,
    owners: Ids,
    others: Ids,
    records: Vec<Record>,
    states: Vec<PairState>,
}

/// Something that is known of a pair. Ordered by pair, then by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    /// The numbers of owner and other; their ranks once all are known.
    pair: u64,
    role: Role,
    /// The position of the state.
    state: u32,
}

/// In the order in which they are applied: a deletion is about the row before, not about the events that came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Old,
    Delete,
    Row,
    Event,
}

impl Gathered {
    /// Nothing of a bucket of users or items, with room for so many rows and entries.
    pub(crate) fn new(of: EntityKind, room: u64) -> Gathered {
        let room = usize::try_from(room).unwrap_or(0);
        let (records, states) = (Vec::with_capacity(room), Vec::with_capacity(room));
        Gathered { of, owners: Ids::default(), others: Ids::default(), records, states }
    }

    /// What a bucket's file has, which is given with its number of rows; with room for `more` entries.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged; `Full` for more rows than a bucket can have.
    pub(crate) fn of_file(of: EntityKind, file: Option<(RatingDecoder, u64)>, more: u64) -> Result<Gathered> {
        let Some((file, rows)) = file else { return Ok(Gathered::new(of, more)) };
        let mut gathered = Gathered::new(of, rows + more);
        file.each(|row| gathered.old(row))?;
        Ok(gathered)
    }

    /// Takes in a row of the bucket's file, each pair once.
    ///
    /// # Errors
    /// `Full` for more rows than a bucket can have.
    pub(crate) fn old(&mut self, row: &PairRow<'_>) -> Result<()> {
        self.push(row.user, row.item, Role::Old, Some(row.state))
    }

    /// Takes in an entry. A row of a pair stands for all that is known of it, and comes alone.
    ///
    /// # Errors
    /// `Full` for more rows than a bucket can have.
    pub(crate) fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        let (role, state) = match entry.change {
            PairChange::Event(state) => (Role::Event, Some(state)),
            PairChange::Row(state) => (Role::Row, Some(state)),
            PairChange::Delete => (Role::Delete, None),
        };
        self.push(entry.user, entry.item, role, state)
    }

    fn push(&mut self, user: &str, item: &str, role: Role, state: Option<PairState>) -> Result<()> {
        let (owner, other) = match self.of {
            EntityKind::User => (user, item),
            EntityKind::Item => (item, user),
        };
        let (owner, other) = (self.owners.number(owner), self.others.number(other));
        let (Some(owner), Some(other), Ok(at)) = (owner, other, u32::try_from(self.states.len())) else {
            let text =
                "a bucket has more rows than are merged at once, a namespace of so many needs more buckets";
            return Err(Error::new(ErrorKind::Full, text));
        };
        self.states.extend(state);
        self.records.push(Record { pair: pair(owner, other), role, state: at });
        Ok(())
    }

    /// The same in the order of the bucket's file.
    pub(crate) fn sorted(self) -> Sorted {
        let Gathered { of, owners, others, mut records, states } = self;
        let ((owners, owner_ranks), (others, other_ranks)) = (owners.ranked(), others.ranked());
        for record in &mut records {
            let (owner, other) = numbers(record.pair);
            record.pair = pair(owner_ranks[owner as usize], other_ranks[other as usize]);
        }
        // Equal records are one event that came twice, or deletions: their order is no matter.
        records.sort_unstable();
        Sorted { of, owners, others, records, states }
    }
}

fn pair(owner: u32, other: u32) -> u64 {
    u64::from(owner) << 32 | u64::from(other)
}

fn numbers(pair: u64) -> (u32, u32) {
    ((pair >> 32) as u32, pair as u32)
}

/// What is known of the pairs of a bucket, in order.
#[derive(Debug)]
pub(crate) struct Sorted {
    of: EntityKind,
    owners: RankedIds,
    others: RankedIds,
    records: Vec<Record>,
    states: Vec<PairState>,
}

/// A pair whose row is another now.
#[derive(Debug)]
pub(crate) struct Changed<'a> {
    /// What became of it: a row, or a deletion.
    pub(crate) entry: Entry<'a>,
    /// The position, among [`Sorted::others`], of the one whose bucket it is not in.
    pub(crate) other: usize,
}

impl Sorted {
    /// Those with whom the owners of this bucket make pairs, in order.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter()
    }

    /// Merges: `row` is given each row after all entries and `tell` is told what changed, both in order.
    ///
    /// The greatest event of a pair wins and its earliest time is kept, so that neither order nor repetition matters. A
    /// deletion takes away what there was before this merge, and not the events that came with it.
    ///
    /// Every state is looked at once, because that is what takes long: they lie in the order in which they came.
    ///
    /// # Errors
    /// Those of `row` and `tell`.
    pub(crate) fn merged(
        self,
        mut row: impl FnMut(&PairRow<'_>) -> Result<()>,
        mut tell: impl FnMut(&Changed<'_>) -> Result<()>,
    ) -> Result<Merged> {
        let Sorted { of, owners, others, records, states } = self;
        let mut merged = Merged::default();
        let mut owner = Owner::default();
        let mut groups = records.chunk_by(|left, right| left.pair == right.pair).peekable();
        while let Some(group) = groups.next() {
            let first = &group[0];
            let before = (first.role == Role::Old).then(|| states[first.state as usize]);
            let after = group.iter().fold(None, |row, record| applied(row, record, &states));
            let (rank, other) = numbers(first.pair);
            let (user, item) = of_owner(of, owners.get(rank), others.get(other));
            if before != after {
                let change = after.map_or(PairChange::Delete, PairChange::Row);
                tell(&Changed { entry: Entry { user, item, change }, other: other as usize })?;
                merged.changed_pairs += 1;
            }
            if let Some(state) = after {
                row(&PairRow { user, item, state })?;
            }
            owner.take_in(before.as_ref(), after.as_ref());
            if groups.peek().is_none_or(|next| numbers(next[0].pair).0 != rank) {
                let Owner { before, after } = std::mem::take(&mut owner);
                merged.changed_features += u64::from(before != after);
                if let Some(stats) = after {
                    merged.statistics.push((EntityKey::new(owners.get(rank))?, stats));
                }
            }
        }
        Ok(merged)
    }
}

/// The row of a pair after one more of its records.
fn applied(row: Option<PairState>, record: &Record, states: &[PairState]) -> Option<PairState> {
    if record.role == Role::Delete {
        return None;
    }
    let state = states[record.state as usize];
    match row {
        Some(row) if record.role == Role::Event => {
            let winner = if state.order() > row.order() { state } else { row };
            Some(PairState { first_rated_at: row.first_rated_at.min(state.first_rated_at), ..winner })
        }
        _ => Some(state),
    }
}

/// Owner and other as user and item.
fn of_owner<'a>(of: EntityKind, owner: &'a str, other: &'a str) -> (&'a str, &'a str) {
    match of {
        EntityKind::User => (owner, other),
        EntityKind::Item => (other, owner),
    }
}

/// The statistics of one owner, if there is a row: before and after.
#[derive(Debug, Default)]
struct Owner {
    before: Option<RatingStats>,
    after: Option<RatingStats>,
}

impl Owner {
    fn take_in(&mut self, before: Option<&PairState>, after: Option<&PairState>) {
        for (stats, state) in [(&mut self.before, before), (&mut self.after, after)] {
            if let Some(state) = state {
                let stats = stats.get_or_insert_default();
                // Values are only added here, never taken away: the extremes stay known without help.
                let _known = stats.apply(None, state.value);
                stats.observe(state.first_rated_at, state.rated_at);
            }
        }
    }
}

/// What a merge came to.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// The statistics of every owner, in order.
    pub(crate) statistics: Vec<(EntityKey, RatingStats)>,
    /// Pairs whose row changed.
    pub(crate) changed_pairs: u64,
    /// Owners whose statistics are others now.
    pub(crate) changed_features: u64,
}

/// The user and the item of a row.
fn ids(row: &RatingRow) -> (&str, &str) {
    (row.rating.user().as_str(), row.rating.item().as_str())
}

/// Compares rows of a table of `of`: by the owner, then by the other.
pub(crate) fn compare(of: EntityKind, left: &RatingRow, right: &RatingRow) -> Ordering {
    let (left, right) = (ids(left), ids(right));
    match of {
        EntityKind::User => left.cmp(&right),
        EntityKind::Item => (left.1, left.0).cmp(&(right.1, right.0)),
    }
}

/// What differs between two states of a bucket: rows before and after, of each pair that changed, in order.
pub(crate) fn changes<'a>(
    of: EntityKind,
    old: &'a [RatingRow],
    new: &'a [RatingRow],
) -> impl Iterator<Item = (Option<&'a RatingRow>, Option<&'a RatingRow>)> {
    joined(old, new, move |left, right| compare(of, left, right)).filter(|(old, new)| old != new)
}

/// The rows of two sorted lists, those of equal place together.
pub(crate) fn joined<'a, T>(
    old: &'a [T],
    new: &'a [T],
    compare: impl Fn(&T, &T) -> Ordering,
) -> impl Iterator<Item = (Option<&'a T>, Option<&'a T>)> {
    let (mut left, mut right) = (0, 0);
    std::iter::from_fn(move || {
        let order = match (old.get(left), new.get(right)) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => compare(old, new),
        };
        let old = (order != Ordering::Greater).then(|| &old[left]);
        let new = (order != Ordering::Less).then(|| &new[right]);
        left += usize::from(old.is_some());
        right += usize::from(new.is_some());
        Some((old, new))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use recstore_core::{EventId, RatingValue, Timestamp};

    use super::*;

    const KINDS: [EntityKind; 2] = [EntityKind::User, EntityKind::Item];

    /// A pair, and what is to be done to its row.
    type Step = ((String, String), PairChange);
    /// The rows by owner and other.
    type Table = BTreeMap<(String, String), PairState>;

    fn state(value: Option<i64>, rated_at: i64, first_rated_at: i64, id: u8) -> PairState {
        let at = |seconds| Timestamp::from_seconds(seconds).unwrap();
        PairState {
            value: value.map(|value| RatingValue::from_micros(value).unwrap()),
            rated_at: at(rated_at),
            first_rated_at: at(first_rated_at),
            event_id: EventId::from_u128(id.into()),
        }
    }

    fn event(user: u8, item: u8, value: Option<i64>, seconds: i64, id: u8) -> Step {
        ((user.to_string(), item.to_string()), PairChange::Event(state(value, seconds, seconds, id)))
    }

    /// Events of few pairs, values, times and ids, so that they meet; ids whose order is not that of numbers.
    fn any_event() -> impl Strategy<Value = Step> {
        (8..12_u8, 8..12_u8, prop::option::of(0..3_i64), 0..4_i64, 0..3_u8)
            .prop_map(|(user, item, value, seconds, id)| event(user, item, value, seconds, id))
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let delete = (8..12_u8, 8..12_u8)
            .prop_map(|(user, item)| ((user.to_string(), item.to_string()), PairChange::Delete));
        prop_oneof![4 => any_event(), 1 => delete]
    }

    fn key(of: EntityKind, (user, item): &(String, String)) -> (String, String) {
        let (owner, other) = of_owner(of, user, item);
        (owner.to_owned(), other.to_owned())
    }

    /// What merging means, one step at a time.
    fn plainly(of: EntityKind, old: &Table, steps: &[Step]) -> Table {
        let mut table = old.clone();
        // Deletions first: they are about the rows before.
        let (deletions, others): (Vec<_>, Vec<_>) =
            steps.iter().partition(|(_, change)| *change == PairChange::Delete);
        for (pair, change) in deletions.into_iter().chain(others) {
            let key = key(of, pair);
            match *change {
                PairChange::Delete => drop(table.remove(&key)),
                PairChange::Row(state) => drop(table.insert(key, state)),
                PairChange::Event(event) => {
                    let row = table.entry(key).or_insert(event);
                    let first_rated_at = row.first_rated_at.min(event.rated_at);
                    if event.order() > row.order() {
                        *row = event;
                    }
                    row.first_rated_at = first_rated_at;
                }
            }
        }
        table
    }

    fn statistics(table: &Table) -> BTreeMap<String, RatingStats> {
        let mut statistics: BTreeMap<String, RatingStats> = BTreeMap::new();
        for ((owner, _), state) in table {
            let stats = statistics.entry(owner.clone()).or_default();
            let _ = stats.apply(None, state.value);
            stats.observe(state.first_rated_at, state.rated_at);
        }
        statistics
    }

    fn differing<K: Ord + Clone, V: PartialEq + Clone>(
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
    ) -> BTreeMap<K, Option<V>> {
        let keys = old.keys().chain(new.keys()).filter(|key| old.get(key) != new.get(key));
        keys.map(|key| (key.clone(), new.get(key).cloned())).collect()
    }

    /// Merges, and holds everything that it says against the plain rule; gives the table and the changes.
    fn merged(of: EntityKind, old: &Table, steps: &[Step]) -> (Table, Vec<Step>) {
        let mut gathered = Gathered::new(of, 0);
        for ((owner, other), state) in old {
            let (user, item) = of_owner(of, owner, other);
            gathered.old(&PairRow { user, item, state: *state }).unwrap();
        }
        for ((user, item), change) in steps {
            gathered.entry(&Entry { user, item, change: *change }).unwrap();
        }
        let sorted = gathered.sorted();
        let others: Vec<String> = sorted.others().map(str::to_owned).collect();
        let (mut rows, mut told) = (Vec::new(), Vec::new());
        let owned = |user: &str, item: &str| (user.to_owned(), item.to_owned());
        let merged = sorted.merged(
            |PairRow { user, item, state }| {
                rows.push((key(of, &owned(user, item)), *state));
                Ok(())
            },
            |Changed { entry, other }| {
                assert_eq!(others[*other], of_owner(of, entry.user, entry.item).1);
                told.push((owned(entry.user, entry.item), entry.change));
                Ok(())
            },
        );
        let merged = merged.unwrap();
        let table: Table = rows.iter().cloned().collect();
        assert!(rows.into_iter().eq(table.clone()), "rows are not in order, or twice");

        let expected = plainly(of, old, steps);
        assert_eq!(table, expected);
        let changes = differing(old, &expected);
        assert_eq!(merged.changed_pairs, changes.len() as u64);
        let changes =
            changes.into_iter().map(|(key, state)| (key, state.map_or(PairChange::Delete, PairChange::Row)));
        assert!(told.iter().map(|(pair, change)| (key(of, pair), *change)).eq(changes));
        let stats = statistics(&expected);
        assert_eq!(merged.changed_features, differing(&statistics(old), &stats).len() as u64);
        assert!(
            merged
                .statistics
                .iter()
                .map(|(id, stats)| (id.as_str(), stats))
                .eq(stats.iter().map(|(id, stats)| (id.as_str(), stats)))
        );
        (table, told)
    }

    proptest! {
        #[test]
        fn neither_order_nor_batches_nor_repetition_matter(
            all in prop::collection::vec(any_event(), 0..40), cut in any::<prop::sample::Index>(),
            shuffled in any::<u64>(),
        ) {
            let cut = if all.is_empty() { 0 } else { cut.index(all.len()) };
            let nothing = Table::new();
            for of in KINDS {
                let (at_once, _) = merged(of, &nothing, &all);
                let (first, told_first) = merged(of, &nothing, &all[..cut]);
                let (after, told_after) = merged(of, &first, &all[cut..]);
                prop_assert_eq!(&after, &at_once);
                let (again, told) = merged(of, &at_once, &all);
                prop_assert_eq!((&again, told), (&at_once, Vec::new()));
                let mut other = all.clone();
                let steps = usize::try_from(shuffled % 20).unwrap().min(other.len());
                other.rotate_left(steps);
                prop_assert_eq!(&merged(of, &nothing, &other).0, &at_once);

                // What the other table is told of the changes gives the table of the events.
                let (base, _) = merged(of.other(), &nothing, &told_first);
                let (table, _) = merged(of.other(), &base, &told_after);
                prop_assert_eq!(table, merged(of.other(), &nothing, &all).0);
            }
        }

        #[test]
        fn deletions_are_about_the_rows_before(
            before in prop::collection::vec(any_event(), 0..20), steps in prop::collection::vec(any_step(), 0..20),
        ) {
            for of in KINDS {
                let (old, _) = merged(of, &Table::new(), &before);
                merged(of, &old, &steps);
            }
        }
    }

    #[test]
    fn a_deletion_takes_the_row_before_and_not_the_events_that_came_with_it() {
        let old = [event(1, 1, Some(5), 9, 1), event(1, 2, Some(5), 9, 1)];
        let (old, _) = merged(EntityKind::User, &Table::new(), &old);
        let delete = |item: u8| (("1".to_owned(), item.to_string()), PairChange::Delete);
        let steps = [event(1, 1, Some(3), 2, 1), delete(1), delete(2), delete(3)];
        let (rows, _) = merged(EntityKind::User, &old, &steps);
        let expected = (("1".to_owned(), "1".to_owned()), state(Some(3), 2, 2, 1));
        assert_eq!(rows, BTreeMap::from([expected]));
    }

    #[test]
    fn statistics_are_those_of_each_owner() {
        let steps = [event(1, 1, Some(5), 9, 1), event(2, 1, Some(7), 3, 1), event(2, 2, None, 4, 1)];
        let (rows, _) = merged(EntityKind::Item, &Table::new(), &steps);
        let counts: Vec<_> = statistics(&rows).into_iter().map(|(id, stats)| (id, stats.count())).collect();
        assert_eq!(counts, [("1".to_owned(), 2), ("2".to_owned(), 0)]);
    }

    #[test]
    fn rows_of_two_states_are_joined_by_their_pair() {
        let row = |user: u64, value: f64| {
            let rated_at = Timestamp::from_seconds(7).unwrap();
            let rating = recstore_core::Rating::new(user.into(), 1.into(), value, rated_at).unwrap();
            RatingRow { rating, first_rated_at: rated_at }
        };
        let (old, new) = ([row(1, 1.0), row(2, 2.0), row(3, 3.0)], [row(2, 2.0), row(3, 4.0), row(4, 4.0)]);
        let changes: Vec<_> = changes(EntityKind::User, &old, &new).collect();
        assert_eq!(changes, [(Some(&old[0]), None), (Some(&old[2]), Some(&new[1])), (None, Some(&new[2]))]);
    }
}
