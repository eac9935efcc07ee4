//! The rating store.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use super::MemoryStorage;
use super::state::State;
use crate::ratings::{batch_conflicts, check_batch_size};
use crate::{
    Cost, Durability, EntityKind, ErasureKey, Error, EventId, Found, GetOptions, HistoryOptions, HistoryPage,
    ItemId, Lookup, Origin, Outcome, PageToken, PutOptions, PutReceipt, Rating, RatingCounts, RatingRow,
    RatingStore, Result, ScanOptions, UserId,
};

#[async_trait]
impl RatingStore for MemoryStorage {
    async fn put_ratings(&self, events: Vec<Rating>, options: PutOptions) -> Result<PutReceipt> {
        self.write(options.deadline, |state| {
            check_batch_size(&events)?;
            self.context.limits.check_all(&events, self.now())?;
            let mut conflicts: BTreeSet<usize> = batch_conflicts(&events).into_iter().collect();
            let mut outcomes = Vec::with_capacity(events.len());
            for (index, event) in events.into_iter().enumerate() {
                if is_barred(state, &self.context.erasure_key, &event) {
                    outcomes.push(Outcome::Erased);
                    continue;
                }
                if conflicts_with_stored(state, &event) {
                    conflicts.insert(index);
                }
                outcomes.push(apply(state, event));
            }
            let conflicts = conflicts.into_iter().collect();
            Ok(PutReceipt { outcomes, conflicts, durability: Durability::Memory, cost: Cost::default() })
        })
    }

    async fn get_ratings(
        &self,
        pairs: &[(UserId, ItemId)],
        options: GetOptions,
    ) -> Result<Vec<Lookup<RatingRow>>> {
        self.read(options.deadline, |state| {
            let as_of = self.now();
            let lookup = |(user, item): &(UserId, ItemId)| match row(state, user, item) {
                Some(row) => Lookup::Found(Found { value: row.clone(), as_of, origin: Origin::Live }),
                None => Lookup::Missing,
            };
            Ok(pairs.iter().map(lookup).collect())
        })
    }

    async fn user_history(&self, user: &UserId, options: HistoryOptions) -> Result<HistoryPage> {
        self.read(options.deadline, |state| {
            page(state.rows_of_user(user), EntityKind::User, user.as_str(), &options)
        })
    }

    async fn item_history(&self, item: &ItemId, options: HistoryOptions) -> Result<HistoryPage> {
        self.read(options.deadline, |state| {
            page(state.rows_of_item(item), EntityKind::Item, item.as_str(), &options)
        })
    }

    fn scan_ratings(&self, options: ScanOptions) -> BoxStream<'_, Result<Vec<RatingRow>>> {
        stream::try_unfold(None, move |last: Option<RatingRow>| async move {
            let batch = self.read(None, |state| Ok(batch_after(state, last.as_ref(), options)))?;
            let next = batch.last().cloned();
            Ok::<_, Error>(next.map(|next| (batch, Some(next))))
        })
        .boxed()
    }

    async fn count_ratings(&self, options: GetOptions) -> Result<RatingCounts> {
        self.read(options.deadline, |state| Ok(counts(state)))
    }
}

pub(super) fn counts(state: &State) -> RatingCounts {
    let withdrawn = state.all_rows().filter(|row| row.rating.is_withdrawn()).count() as u64;
    RatingCounts { ratings: state.all_rows().count() as u64 - withdrawn, withdrawn }
}

fn row<'a>(state: &'a State, user: &UserId, item: &ItemId) -> Option<&'a RatingRow> {
    state.rows.get(user)?.get(item)
}

fn is_barred(state: &State, key: &ErasureKey, event: &Rating) -> bool {
    let time = event.rated_at();
    state.is_barred(key, EntityKind::User, event.user().as_str(), time)
        || state.is_barred(key, EntityKind::Item, event.item().as_str(), time)
}

fn conflicts_with_stored(state: &State, event: &Rating) -> bool {
    row(state, event.user(), event.item())
        .is_some_and(|row| row.rating.event_id() == event.event_id() && row.rating != *event)
}

/// The last-writer-wins rule: the greater event stays, the earliest time of both is kept.
fn apply(state: &mut State, event: Rating) -> Outcome {
    let (user, item) = (event.user().clone(), event.item().clone());
    let items = state.rows.entry(user.clone()).or_default();
    let Some(row) = items.get_mut(&item) else {
        let first_rated_at = event.rated_at();
        items.insert(item.clone(), RatingRow { rating: event, first_rated_at });
        state.raters.entry(item).or_default().insert(user);
        return Outcome::Applied;
    };
    row.first_rated_at = row.first_rated_at.min(event.rated_at());
    match event.order().cmp(&row.rating.order()) {
        Ordering::Less => Outcome::Stale,
        Ordering::Equal => Outcome::Duplicate,
        Ordering::Greater => {
            row.rating = event;
            Outcome::Applied
        }
    }
}

/// What a history is sorted by, and a page token stands for.
fn position(row: &RatingRow, of: EntityKind) -> (i64, EventId, &str) {
    let other = match of {
        EntityKind::User => row.rating.item().as_str(),
        EntityKind::Item => row.rating.user().as_str(),
    };
    (row.rating.rated_at().as_millis(), row.rating.event_id(), other)
}

/// A page of `rows`, which are the history of `owner`.
fn page<'a>(
    rows: impl Iterator<Item = &'a RatingRow>,
    of: EntityKind,
    owner: &str,
    options: &HistoryOptions,
) -> Result<HistoryPage> {
    options.validate()?;
    let before = options.token.as_ref().map(|token| token.position(of, owner)).transpose()?;
    let mut rows: Vec<&RatingRow> = rows
        .filter(|row| options.time.contains(row.rating.rated_at()))
        .filter(|row| options.withdrawn || !row.rating.is_withdrawn())
        .filter(|row| before.is_none_or(|before| position(row, of) < before))
        .collect();
    rows.sort_by(|left, right| position(right, of).cmp(&position(left, of)));
    let has_more = rows.len() > options.limit;
    rows.truncate(options.limit);
    let last = rows.last().filter(|_| has_more);
    let next = last.map(|row| PageToken::after(&row.rating, of));
    Ok(HistoryPage { rows: rows.into_iter().cloned().collect(), next })
}

fn pair(row: &RatingRow) -> (&UserId, &ItemId) {
    (row.rating.user(), row.rating.item())
}

/// The next batch of a scan, of rows after `last` in (user, item) order.
fn batch_after(state: &State, last: Option<&RatingRow>, options: ScanOptions) -> Vec<RatingRow> {
    let last = last.map(pair);
    let from = last.map_or(Bound::Unbounded, |(user, _)| Bound::Included(user));
    state
        .rows
        .range::<UserId, _>((from, Bound::Unbounded))
        .filter(|(user, _)| options.shard.contains(user.as_str()))
        .flat_map(|(_, items)| items.values())
        .filter(|row| last.is_none_or(|last| pair(row) > last))
        .filter(|row| options.time.contains(row.rating.rated_at()))
        .filter(|row| options.withdrawn || !row.rating.is_withdrawn())
        .take(options.batch_rows.max(1))
        .cloned()
        .collect()
}
