//! Rows of a bucket after new events, and the statistics of them. No I/O.

use std::cmp::Ordering;

use recstore_core::{EntityKey, EntityKind, Rating, RatingRow, RatingStats};

/// Something to be done to the rows of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// An event came in.
    Event(Rating),
    /// The pair's row is this now.
    Row(RatingRow),
    /// The pair has no row any more.
    Delete(EntityKey, EntityKey),
}

impl Entry {
    /// The user and the item.
    pub(crate) fn pair(&self) -> (&str, &str) {
        match self {
            Entry::Event(event) => (event.user().as_str(), event.item().as_str()),
            Entry::Row(row) => (row.rating.user().as_str(), row.rating.item().as_str()),
            Entry::Delete(user, item) => (user.as_str(), item.as_str()),
        }
    }
}

/// The user and the item of a row.
fn pair(row: &RatingRow) -> (&str, &str) {
    (row.rating.user().as_str(), row.rating.item().as_str())
}

/// What rows of a table are sorted by: the owner, then the other.
fn sorted_by<'a>(of: EntityKind, (user, item): (&'a str, &'a str)) -> (&'a str, &'a str) {
    match of {
        EntityKind::User => (user, item),
        EntityKind::Item => (item, user),
    }
}

/// Compares rows of a table of `of`.
pub(crate) fn compare(of: EntityKind, left: &RatingRow, right: &RatingRow) -> Ordering {
    sorted_by(of, pair(left)).cmp(&sorted_by(of, pair(right)))
}

/// The rows after `entries`, which may be in any order; a row of a pair stands for all that is known of it, and comes
/// alone.
///
/// The greatest event of a pair wins and its earliest time is kept, so that neither order nor repetition matters. A
/// deletion takes away what there was before this merge, and not the events that came with it.
pub(crate) fn merge(of: EntityKind, old: Vec<RatingRow>, mut entries: Vec<Entry>) -> Vec<RatingRow> {
    // Deletions first: they are about the rows before.
    let rank = |entry: &Entry| u8::from(!matches!(entry, Entry::Delete(..)));
    entries.sort_by(|left, right| {
        let places = (sorted_by(of, left.pair()), sorted_by(of, right.pair()));
        places.0.cmp(&places.1).then_with(|| rank(left).cmp(&rank(right)))
    });
    let mut rows = Vec::with_capacity(old.len() + entries.len());
    let mut old = old.into_iter().peekable();
    let mut entries = entries.into_iter().peekable();
    while let Some(first) = entries.next() {
        let place =
            |found: (&str, &str)| -> Ordering { sorted_by(of, found).cmp(&sorted_by(of, first.pair())) };
        while let Some(row) = old.next_if(|row| place(pair(row)) == Ordering::Less) {
            rows.push(row);
        }
        let mut row = old.next_if(|row| place(pair(row)) == Ordering::Equal);
        let mut same = Vec::new();
        while let Some(entry) = entries.next_if(|entry| place(entry.pair()) == Ordering::Equal) {
            same.push(entry);
        }
        row = apply(row, first);
        for entry in same {
            row = apply(row, entry);
        }
        rows.extend(row);
    }
    rows.extend(old);
    rows
}

/// The row of a pair after one more entry of it.
fn apply(row: Option<RatingRow>, entry: Entry) -> Option<RatingRow> {
    let event = match entry {
        Entry::Delete(..) => return None,
        Entry::Row(row) => return Some(row),
        Entry::Event(event) => event,
    };
    let Some(mut row) = row else {
        return Some(RatingRow { first_rated_at: event.rated_at(), rating: event });
    };
    row.first_rated_at = row.first_rated_at.min(event.rated_at());
    if event.order() > row.rating.order() {
        row.rating = event;
    }
    Some(row)
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

/// The statistics of every owner of sorted rows, in order.
pub(crate) fn statistics(of: EntityKind, rows: &[RatingRow]) -> Vec<(EntityKey, RatingStats)> {
    let owner = |row: &RatingRow| -> EntityKey {
        match of {
            EntityKind::User => row.rating.user().clone().into(),
            EntityKind::Item => row.rating.item().clone().into(),
        }
    };
    let same = |left: &RatingRow, right: &RatingRow| match of {
        EntityKind::User => left.rating.user() == right.rating.user(),
        EntityKind::Item => left.rating.item() == right.rating.item(),
    };
    rows.chunk_by(same)
        .map(|rows| {
            let mut stats = RatingStats::default();
            for row in rows {
                // Values are only added here, never taken away: the extremes stay known without help.
                let _known = stats.apply(None, row.rating.value());
                stats.observe(row.first_rated_at, row.rating.rated_at());
            }
            (owner(&rows[0]), stats)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recstore_core::{EventId, RatingValue, Timestamp};

    use super::*;

    fn event(user: u8, item: u8, value: Option<i64>, seconds: i64, id: u8) -> Rating {
        let value = value.map(|value| RatingValue::from_micros(value).unwrap());
        let at = Timestamp::from_seconds(seconds).unwrap();
        let id = Some(EventId::from_u128(id.into()));
        Rating::from_parts(u64::from(user).into(), u64::from(item).into(), value, at, id)
    }

    fn any_event() -> impl Strategy<Value = Rating> {
        (0..3_u8, 0..3_u8, prop::option::of(0..3_i64), 0..4_i64, 0..3_u8)
            .prop_map(|(user, item, value, seconds, id)| event(user, item, value, seconds, id))
    }

    fn events(events: &[Rating]) -> Vec<Entry> {
        events.iter().cloned().map(Entry::Event).collect()
    }

    proptest! {
        #[test]
        fn neither_order_nor_batches_nor_repetition_matter(
            all in prop::collection::vec(any_event(), 0..20), cut in any::<prop::sample::Index>(),
            shuffled in any::<u64>(),
        ) {
            let cut = if all.is_empty() { 0 } else { cut.index(all.len()) };
            for of in [EntityKind::User, EntityKind::Item] {
                let at_once = merge(of, Vec::new(), events(&all));
                let first = merge(of, Vec::new(), events(&all[..cut]));
                prop_assert_eq!(&merge(of, first.clone(), events(&all[cut..])), &at_once);
                prop_assert_eq!(&merge(of, at_once.clone(), events(&all)), &at_once);
                let mut other = all.clone();
                let steps = usize::try_from(shuffled % 20).unwrap().min(other.len());
                other.rotate_left(steps);
                prop_assert_eq!(&merge(of, Vec::new(), events(&other)), &at_once);
                prop_assert!(at_once.windows(2).all(|pair| compare(of, &pair[0], &pair[1]).is_lt()));

                // What a table by item is told of the changes gives the table of the events.
                let by_item = |rows| merge(EntityKind::Item, Vec::new(), rows);
                let told = |old, new| {
                    let changes = changes(of, old, new);
                    changes.filter_map(|(_, new)| new.cloned().map(Entry::Row)).collect::<Vec<_>>()
                };
                let base = by_item(told(&[], &first));
                let after = merge(EntityKind::Item, base, told(&first, &at_once));
                prop_assert_eq!(&after, &merge(EntityKind::Item, Vec::new(), events(&all)));
            }
        }
    }

    #[test]
    fn a_deletion_takes_the_row_before_and_not_the_events_that_came_with_it() {
        let old = merge(
            EntityKind::User,
            Vec::new(),
            events(&[event(1, 1, Some(5), 9, 1), event(1, 2, Some(5), 9, 1)]),
        );
        let delete = |item: u64| Entry::Delete(EntityKey::from(1), EntityKey::from(item));
        let after = event(1, 1, Some(3), 2, 1);
        let entries = vec![Entry::Event(after.clone()), delete(1), delete(2), delete(3)];
        let rows = merge(EntityKind::User, old, entries);
        assert_eq!(rows, [RatingRow { first_rated_at: after.rated_at(), rating: after }]);
    }

    #[test]
    fn statistics_are_those_of_each_owner() {
        let rows = merge(
            EntityKind::Item,
            Vec::new(),
            events(&[event(1, 1, Some(5), 9, 1), event(2, 1, Some(7), 3, 1), event(2, 2, None, 4, 1)]),
        );
        let stats = statistics(EntityKind::Item, &rows);
        let counts: Vec<_> = stats.iter().map(|(id, stats)| (id.as_str(), stats.count())).collect();
        assert_eq!(counts, [("1", 2), ("2", 0)]);
    }
}
