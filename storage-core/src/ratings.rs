//! The rating store: who rated what, when.

use std::collections::HashMap;
use std::ops::Range;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::model::stable_hash;
use crate::{
    Cost, Deadline, EntityKey, EntityKind, Error, EventId, ItemId, Lookup, Rating, RatingRow, Result,
    ShardRange, Timestamp, UserId,
};

/// The largest number of events in one [`RatingStore::put_ratings`] call.
pub const MAX_BATCH_EVENTS: usize = 100_000;
/// The largest page of a history.
pub const MAX_PAGE_ROWS: usize = 10_000;

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is the pair's current rating now.
    Applied,
    /// A greater event was there; only the pair's earliest time can have changed.
    Stale,
    /// It is the pair's current event already; nothing changed.
    Duplicate,
    /// It is barred by an erasure; nothing was stored.
    Erased,
    /// It is stored, and which event wins is decided later (a capability of `aws`).
    Accepted,
}

/// How an acknowledged write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// In this process's memory only (the memory backend).
    Memory,
    /// Synced to the local disk: survives kill and power loss.
    LocalDisk,
    /// Stored by an object store, which keeps it in several places.
    ObjectStore,
}

/// The answer to a batch of events that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct PutReceipt {
    /// What became of each event, in the order given.
    pub outcomes: Vec<Outcome>,
    /// Positions, ascending, of events whose id is known for their pair with another payload: in this batch
    /// (then all of them are listed), or as the pair's current event when this one is applied. Events with
    /// the outcome `Erased` are not applied. A report of a producer's defect; it never decides state.
    pub conflicts: Vec<usize>,
    /// How the batch is kept.
    pub durability: Durability,
    /// What it took of services that charge for requests; nothing on this machine. Where batches of several callers are
    /// stored together each has its part, by its bytes, and a request that cannot be divided falls to one of them: the
    /// receipts of all add up to what was spent.
    pub cost: Cost,
}

impl PutReceipt {
    /// How many events had this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|&&found| found == outcome).count()
    }
}

/// Options of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct PutOptions {
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl PutOptions {
    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> PutOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// Options of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct GetOptions {
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl GetOptions {
    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> GetOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// Which events to keep by event time: `from` included, `to` excluded, either may be open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The earliest event time kept.
    pub from: Option<Timestamp>,
    /// The first event time no longer kept.
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// Every time.
    pub const ALL: TimeRange = TimeRange { from: None, to: None };

    /// Whether `time` is kept.
    pub fn contains(self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }

    /// The range in milliseconds, open ends closed by the limits of [`Timestamp`].
    pub fn millis(self) -> Range<i64> {
        let from = self.from.unwrap_or(Timestamp::MIN).as_millis();
        let to = self.to.map_or(Timestamp::MAX.as_millis() + 1, Timestamp::as_millis);
        from..to
    }
}

/// Where the next page of a history begins; opaque, valid for the same entity and options.
///
/// A keyset token: it stays valid while events come in, and no row is seen twice or skipped unless its
/// event time changed between the pages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageToken(String);

impl PageToken {
    /// Makes the token that continues after `rating` in the history of its user or of its item. For backends.
    pub fn after(rating: &Rating, of: EntityKind) -> PageToken {
        let (user, item) = (rating.user().as_str(), rating.item().as_str());
        let (owner, other) = if of == EntityKind::User { (user, item) } else { (item, user) };
        PageToken::at(of, owner, (rating.rated_at().as_millis(), rating.event_id(), other))
    }

    fn at(of: EntityKind, owner: &str, (millis, event_id, other): (i64, EventId, &str)) -> PageToken {
        PageToken(format!("{}.{millis}.{event_id}.{other}", history_tag(of, owner)))
    }

    /// The (rated_at in ms, event id, other id) that the page continues after, in the history of `owner`.
    /// For backends.
    ///
    /// # Errors
    /// `Invalid` (field `token`) if the text was not made by [`PageToken::after`] for this history.
    pub fn position(&self, of: EntityKind, owner: &str) -> Result<(i64, EventId, &str)> {
        let wrong = || Error::invalid("token", "is not a page token of this history");
        let (_, rest) = self.0.split_once('.').ok_or_else(wrong)?;
        let (millis, rest) = rest.split_once('.').ok_or_else(wrong)?;
        let (event_id, other) = rest.split_once('.').ok_or_else(wrong)?;
        let position = (millis.parse().map_err(|_| wrong())?, event_id.parse().map_err(|_| wrong())?, other);
        // The history is another's, or a number is written as no token is.
        let other_text = *self != PageToken::at(of, owner, position);
        if other_text || Timestamp::from_millis(position.0).is_err() || EntityKey::new(other).is_err() {
            return Err(wrong());
        }
        Ok(position)
    }

    /// A token that was kept as text.
    pub fn from_text(text: impl Into<String>) -> PageToken {
        PageToken(text.into())
    }

    /// The token as text, to keep or hand on.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells histories apart, so that a token of one is not taken for a place in another.
fn history_tag(of: EntityKind, owner: &str) -> String {
    format!("{of}-{:016x}", stable_hash(owner))
}

/// Options of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct HistoryOptions {
    /// Rows on a page, 1 to 10,000; 100 by default.
    pub limit: usize,
    /// Which event times to keep; all by default.
    pub time: TimeRange,
    /// Whether withdrawn rows are shown; not by default.
    pub withdrawn: bool,
    /// Where to begin; at the newest by default.
    pub token: Option<PageToken>,
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl Default for HistoryOptions {
    fn default() -> HistoryOptions {
        HistoryOptions { limit: 100, time: TimeRange::ALL, withdrawn: false, token: None, deadline: None }
    }
}

impl HistoryOptions {
    /// Sets the number of rows on a page.
    pub fn with_limit(mut self, limit: usize) -> HistoryOptions {
        self.limit = limit;
        self
    }

    /// Keeps only these event times.
    pub fn with_time(mut self, time: TimeRange) -> HistoryOptions {
        self.time = time;
        self
    }

    /// Shows withdrawn rows too.
    pub fn with_withdrawn(mut self, withdrawn: bool) -> HistoryOptions {
        self.withdrawn = withdrawn;
        self
    }

    /// Begins where another page ended.
    pub fn with_token(mut self, token: Option<PageToken>) -> HistoryOptions {
        self.token = token;
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> HistoryOptions {
        self.deadline = Some(deadline);
        self
    }

    /// Checks the limit. For backends.
    ///
    /// # Errors
    /// `Invalid` (field `limit`) if it is not 1 to 10,000.
    pub fn validate(&self) -> Result<()> {
        if (1..=MAX_PAGE_ROWS).contains(&self.limit) {
            return Ok(());
        }
        Err(Error::invalid("limit", format!("{} is not 1 to {MAX_PAGE_ROWS}", self.limit)))
    }
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Rows, newest first.
    pub rows: Vec<RatingRow>,
    /// Where the next page begins; `None` if this was the last.
    pub next: Option<PageToken>,
}

/// Options of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct ScanOptions {
    /// Which users; all by default.
    pub shard: ShardRange,
    /// Which event times to keep; all by default.
    pub time: TimeRange,
    /// Whether withdrawn rows are shown; not by default.
    pub withdrawn: bool,
    /// The most rows in one batch of the stream, at least 1; 4,096 by default.
    pub batch_rows: usize,
}

impl Default for ScanOptions {
    fn default() -> ScanOptions {
        ScanOptions { shard: ShardRange::ALL, time: TimeRange::ALL, withdrawn: false, batch_rows: 4096 }
    }
}

impl ScanOptions {
    /// Scans only this shard.
    pub fn with_shard(mut self, shard: ShardRange) -> ScanOptions {
        self.shard = shard;
        self
    }

    /// Keeps only these event times.
    pub fn with_time(mut self, time: TimeRange) -> ScanOptions {
        self.time = time;
        self
    }

    /// Shows withdrawn rows too.
    pub fn with_withdrawn(mut self, withdrawn: bool) -> ScanOptions {
        self.withdrawn = withdrawn;
        self
    }

    /// Sets the most rows in one batch.
    pub fn with_batch_rows(mut self, rows: usize) -> ScanOptions {
        self.batch_rows = rows.max(1);
        self
    }
}

/// How many rows a rating store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RatingCounts {
    /// Pairs with a current rating.
    pub ratings: u64,
    /// Pairs whose rating was withdrawn.
    pub withdrawn: u64,
}

/// Ratings: a last-writer-wins map of (user, item) to the greatest event.
///
/// The current event of a pair is the one with the greatest `(rated_at, event_id, withdrawn, value)`, so
/// replays, duplicates and every order of the same events give the same state.
#[async_trait]
pub trait RatingStore: Send + Sync {
    /// Stores a batch of events.
    ///
    /// - **Atomic**: after `Ok` every event is stored and durable as the receipt says; after an error none is,
    ///   except for `OutcomeUnknown`. Readers see the whole batch or nothing of it, features included.
    /// - **Idempotent**: the same events again change nothing.
    /// - **Order**: events of a batch are applied in the order given; the state does not depend on it.
    /// - **Empty input** is `Ok` with an empty receipt.
    /// - **Limits**: at most [`MAX_BATCH_EVENTS`] events; the store divides work as its medium needs.
    /// - **Erased** users and items: events with a time up to the erasure's bar, the bar included, have the
    ///   outcome `Erased`.
    ///
    /// # Errors
    /// `Invalid` (field `events[i].rated_at`) for an event too far ahead of the clock, also if it would be
    /// `Erased`, or (field `events`) for too many; `Full`, `ReadOnly`, `Busy`, `DeadlineExceeded`,
    /// `OutcomeUnknown`, `Closed`.
    async fn put_ratings(&self, events: Vec<Rating>, options: PutOptions) -> Result<PutReceipt>;

    /// The current row of each (user, item), in the order asked; a repeated pair is answered each time.
    ///
    /// A withdrawn pair is found, with a rating that [is withdrawn](Rating::is_withdrawn). Unknown pairs are
    /// `Missing`. Empty input gives an empty answer.
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`, `Corrupt`, `Closed`.
    async fn get_ratings(
        &self,
        pairs: &[(UserId, ItemId)],
        options: GetOptions,
    ) -> Result<Vec<Lookup<RatingRow>>>;

    /// One user's rows, newest first by (rated_at, event_id, item), in pages.
    ///
    /// An unknown user has an empty page. `next` is given only if there are more rows of these options.
    ///
    /// # Errors
    /// `Invalid` (field `limit` or `token`) for a limit out of range or a foreign token; as [`get_ratings`](Self::get_ratings).
    async fn user_history(&self, user: &UserId, options: HistoryOptions) -> Result<HistoryPage>;

    /// One item's rows, newest first by (rated_at, event_id, user), in pages.
    ///
    /// An unknown item has an empty page.
    ///
    /// # Errors
    /// As [`user_history`](Self::user_history).
    async fn item_history(&self, item: &ItemId, options: HistoryOptions) -> Result<HistoryPage>;

    /// Every row of a shard in (user, item) order, as a stream of batches, none of them empty.
    ///
    /// A row that does not change during the scan is seen exactly once; rows that change may be seen before
    /// or after. Shards of one count are disjoint and complete. Memory is bounded by one batch and one
    /// user's history. The stream ends after its first error.
    fn scan_ratings(&self, options: ScanOptions) -> BoxStream<'_, Result<Vec<RatingRow>>>;

    /// How many rows there are.
    ///
    /// # Errors
    /// As [`get_ratings`](Self::get_ratings).
    async fn count_ratings(&self, options: GetOptions) -> Result<RatingCounts>;
}

/// Finds the events of a batch whose id stands for two payloads of one (user, item) within the batch.
///
/// Every such event is listed, positions ascending. For backends, which add conflicts with stored events.
pub fn batch_conflicts(events: &[Rating]) -> Vec<usize> {
    let mut by_id: HashMap<u128, Vec<usize>> = HashMap::new();
    let mut first: HashMap<u128, usize> = HashMap::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        // Conflicts need an id twice, which is rare: only then is anything collected.
        if let Some(&earlier) = first.get(&event.event_id().as_u128()) {
            by_id.entry(event.event_id().as_u128()).or_insert_with(|| vec![earlier]).push(index);
        } else {
            first.insert(event.event_id().as_u128(), index);
        }
    }
    let mut conflicts: Vec<usize> = Vec::new();
    for same_id in by_id.into_values() {
        let mut pairs: HashMap<(&UserId, &ItemId), Vec<usize>> = HashMap::new();
        for index in same_id {
            pairs.entry((events[index].user(), events[index].item())).or_default().push(index);
        }
        for pair in pairs.into_values() {
            if pair.iter().any(|&index| events[index] != events[pair[0]]) {
                conflicts.extend(pair);
            }
        }
    }
    conflicts.sort_unstable();
    conflicts
}

/// Checks the size of a batch of events. For backends.
///
/// # Errors
/// `Invalid` (field `events`) beyond [`MAX_BATCH_EVENTS`].
pub fn check_batch_size(events: &[Rating]) -> Result<()> {
    if events.len() <= MAX_BATCH_EVENTS {
        return Ok(());
    }
    Err(Error::invalid("events", format!("{} events in one batch, at most {MAX_BATCH_EVENTS}", events.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: u64, item: u64, value: f64, id: u128) -> Rating {
        let at = Timestamp::from_seconds(1).unwrap();
        Rating::new(user.into(), item.into(), value, at).unwrap().with_event_id(EventId::from_u128(id))
    }

    #[test]
    fn only_other_payloads_of_the_same_pair_and_id_conflict() {
        let same_twice = [event(1, 1, 5.0, 7), event(1, 1, 5.0, 7)];
        assert!(batch_conflicts(&same_twice).is_empty());
        let other_pair = [event(1, 1, 5.0, 7), event(1, 2, 4.0, 7)];
        assert!(batch_conflicts(&other_pair).is_empty());
        let conflict = [event(1, 1, 5.0, 7), event(2, 2, 1.0, 8), event(1, 1, 4.0, 7), event(1, 1, 5.0, 7)];
        assert_eq!(batch_conflicts(&conflict), [0, 2, 3]);
    }

    #[test]
    fn a_receipt_counts_its_outcomes() {
        let outcomes = vec![Outcome::Applied, Outcome::Stale, Outcome::Applied];
        let receipt = PutReceipt {
            outcomes,
            conflicts: Vec::new(),
            durability: Durability::Memory,
            cost: Cost::default(),
        };
        let counts = [Outcome::Applied, Outcome::Stale, Outcome::Duplicate].map(|of| receipt.count(of));
        assert_eq!(counts, [2, 1, 0]);
    }

    #[test]
    fn an_open_range_in_milliseconds_holds_the_first_and_the_last_time() {
        let range = TimeRange::ALL.millis();
        assert_eq!(range, Timestamp::MIN.as_millis()..Timestamp::MAX.as_millis() + 1);
        let at = |seconds| Timestamp::from_seconds(seconds).ok();
        assert_eq!(TimeRange { from: at(1), to: at(2) }.millis(), 1000..2000);
    }

    #[test]
    fn a_token_keeps_ids_with_dots() {
        let rating = event(1, 1, 5.0, 7);
        let dotted = ItemId::new("a.b.c").unwrap();
        let rating = Rating::from_parts(1.into(), dotted, None, rating.rated_at(), Some(rating.event_id()));
        let token = PageToken::after(&rating, EntityKind::User);
        assert_eq!(token.position(EntityKind::User, "1").unwrap(), (1000, EventId::from_u128(7), "a.b.c"));
        for (of, owner) in [(EntityKind::User, "2"), (EntityKind::Item, "1"), (EntityKind::Item, "a.b.c")] {
            assert_eq!(token.position(of, owner).unwrap_err().field(), Some("token"));
        }
    }

    #[test]
    fn a_token_that_was_never_made_is_refused() {
        let token = PageToken::after(&event(1, 2, 5.0, 7), EntityKind::User);
        let parts: Vec<&str> = token.as_str().split('.').collect();
        let [history, millis, event_id, other] = parts[..] else { panic!("four parts: {token:?}") };
        for wrong in [
            format!("{history}.+{millis}.{event_id}.{other}"),
            format!("{history}.0{millis}.{event_id}.{other}"),
            format!("{history}.-1.{event_id}.{other}"),
            format!("{history}.{}.{event_id}.{other}", i64::MAX),
            format!("{history}.{millis}.00000000-0000-0000-0000-000000000007.{other}"),
            format!("{history}.{millis}.{event_id}."),
            format!("{history}.{millis}.{event_id}.\n"),
            format!("{history}.{millis}.{event_id}"),
        ] {
            let error = PageToken::from_text(&wrong).position(EntityKind::User, "1").unwrap_err();
            assert_eq!(error.field(), Some("token"), "{wrong:?}");
        }
        assert!(token.position(EntityKind::User, "1").is_ok());
    }
}
