//! The rating store: current events of pairs, histories and scans.

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use recstore_core::ratings::{batch_conflicts, check_batch_size};
use recstore_core::{
    Cost, Durability, EntityKey, EntityKind, ErasureKey, Error, EventId, Found, GetOptions, HistoryOptions,
    HistoryPage, ItemId, Lookup, Namespace, Origin, Outcome, PageToken, PutOptions, PutReceipt, Rating,
    RatingCounts, RatingRow, RatingStore, RatingValue, Result, ScanOptions, Timestamp, UserId,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::SqliteStorage;
use crate::bugs::{Bug, seeded};
use crate::checksum::{self, checksum_sql};
use crate::entities::{Asked, Entities, Identity, Slot, identity_sql, number_sql};
use crate::error::{SqlResult, damaged};
use crate::scan::{ScanCursor, scan_batch};
use crate::writer::Session;

/// New pairs are by far the most common: they are inserted without looking first.
const INSERT: &str =
    "INSERT INTO ratings (ns, user, item, value, rated_at, first_rated_at, event_id, checksum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
const CURRENT: &str =
    "SELECT value, rated_at, first_rated_at, event_id, ns, user, item, checksum FROM ratings
    WHERE ns = ?1 AND user = ?2 AND item = ?3";
const REPLACE: &str =
    "UPDATE ratings SET value = ?4, rated_at = ?5, first_rated_at = ?6, event_id = ?7, checksum = ?8
    WHERE ns = ?1 AND user = ?2 AND item = ?3";

/// Ids are looked up in rows of `entities`, not only in their index: rows have checksums.
pub(crate) const GET: &str = concat!(
    "SELECT r.value, r.rated_at, r.first_rated_at, r.event_id, r.ns, r.user, r.item, r.checksum, ",
    number_sql!("u"),
    ", ",
    number_sql!("i"),
    " FROM entities u CROSS JOIN entities i CROSS JOIN ratings r
     WHERE u.ns = ?1 AND u.kind = 0 AND u.key = ?2 AND i.ns = ?1 AND i.kind = 1 AND i.key = ?3
       AND r.ns = ?1 AND r.user = u.id AND r.item = i.id"
);

/// Rows of one event time are sorted by event id and key; the index gives the rest of the order, so a page
/// costs its own length whatever the length of the history.
macro_rules! history {
    ($own:literal, $other:literal, $index:literal) => {
        concat!(
            "SELECT r.value, r.rated_at, r.first_rated_at, r.event_id, r.ns, r.user, r.item, r.checksum, ",
            identity_sql!("e"),
            " FROM ratings r INDEXED BY ",
            $index,
            " CROSS JOIN entities e ON e.id = r.",
            $other,
            " WHERE r.ns = ?1 AND r.",
            $own,
            " = ?2
               AND r.rated_at >= ?3 AND r.rated_at <= ?4
               AND (r.rated_at < ?4 OR (r.event_id, e.key) < (?5, ?6))
               AND (?7 OR r.value IS NOT NULL)
             ORDER BY r.rated_at DESC, r.event_id DESC, e.key DESC LIMIT ?8"
        )
    };
}
const USER_HISTORY: &str = history!("user", "item", "ratings_by_user_time");
const ITEM_HISTORY: &str = history!("item", "user", "ratings_by_item_time");

#[async_trait]
impl RatingStore for SqliteStorage {
    async fn put_ratings(&self, events: Vec<Rating>, options: PutOptions) -> Result<PutReceipt> {
        self.admit(options.deadline)?;
        check_batch_size(&events)?;
        self.context().limits.check_all(&events, self.context().clock.now())?;
        let durability = Durability::LocalDisk;
        if events.is_empty() {
            return Ok(PutReceipt {
                outcomes: Vec::new(),
                conflicts: Vec::new(),
                durability,
                cost: Cost::default(),
            });
        }
        let in_batch = if events.len() > 1 { batch_conflicts(&events) } else { Vec::new() };
        let (namespace, erasure_key) = (self.namespace_name().clone(), self.context().erasure_key.clone());
        let (outcomes, with_stored) = self
            .write(events.len(), options.deadline, move |session| {
                put(session, &namespace, &erasure_key, &events)
            })
            .await?;
        let mut conflicts = [in_batch, with_stored].concat();
        conflicts.sort_unstable();
        conflicts.dedup();
        Ok(PutReceipt { outcomes, conflicts, durability, cost: Cost::default() })
    }

    async fn get_ratings(
        &self,
        pairs: &[(UserId, ItemId)],
        options: GetOptions,
    ) -> Result<Vec<Lookup<RatingRow>>> {
        let pairs = pairs.to_vec();
        let now = self.context().clock.now();
        self.read_rows(pairs.len(), options.deadline, move |connection, ns| {
            let Some(ns) = ns else {
                return Ok(pairs.iter().map(|_| Lookup::Missing).collect());
            };
            let mut select = connection.prepare_cached(GET).sql()?;
            pairs.iter().map(|(user, item)| get(&mut select, ns, user, item, now)).collect()
        })
        .await
    }

    async fn user_history(&self, user: &UserId, options: HistoryOptions) -> Result<HistoryPage> {
        self.history(EntityKind::User, user.clone().into(), options).await
    }

    async fn item_history(&self, item: &ItemId, options: HistoryOptions) -> Result<HistoryPage> {
        self.history(EntityKind::Item, item.clone().into(), options).await
    }

    fn scan_ratings(&self, options: ScanOptions) -> BoxStream<'_, Result<Vec<RatingRow>>> {
        let options = options.with_batch_rows(options.batch_rows);
        // The state: where the next batch begins, `None` once the last was given.
        stream::try_unfold(Some(None), move |begin: Option<Option<ScanCursor>>| async move {
            let Some(cursor) = begin else { return Ok(None) };
            let (rows, next) = self
                .read_rows(options.batch_rows, None, move |connection, ns| match ns {
                    Some(ns) => scan_batch(connection, ns, options, cursor),
                    None => Ok((Vec::new(), None)),
                })
                .await?;
            Ok((!rows.is_empty()).then(|| (rows, next.map(Some))))
        })
        .boxed()
    }

    async fn count_ratings(&self, options: GetOptions) -> Result<RatingCounts> {
        self.read(options.deadline, |connection, ns| {
            ns.map_or(Ok(RatingCounts::default()), |ns| count(connection, ns))
        })
        .await
    }
}

impl SqliteStorage {
    async fn history(
        &self,
        of: EntityKind,
        owner: EntityKey,
        options: HistoryOptions,
    ) -> Result<HistoryPage> {
        self.admit(options.deadline)?;
        options.validate()?;
        if let Some(token) = &options.token {
            token.position(of, owner.as_str())?;
        }
        self.read_rows(options.limit, options.deadline, move |connection, ns| match ns {
            Some(ns) => history_page(connection, ns, of, &owner, &options),
            None => Ok(HistoryPage { rows: Vec::new(), next: None }),
        })
        .await
    }
}

/// The two counts of a namespace.
pub(crate) fn count(connection: &Connection, ns: i64) -> Result<RatingCounts> {
    let select = concat!(
        "SELECT checksum = ",
        checksum_sql!(namespaces),
        ", ratings, withdrawn FROM namespaces WHERE id = ?1"
    );
    let (intact, ratings, withdrawn): (bool, i64, i64) = connection
        .prepare_cached(select)
        .and_then(|mut select| select.query_row([ns], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
        .sql()?;
    checksum::hold(intact, "the counts of a namespace")?;
    let unsigned = |number: i64| u64::try_from(number).map_err(|_| damaged("a count is negative"));
    Ok(RatingCounts { ratings: unsigned(ratings)?, withdrawn: unsigned(withdrawn)? })
}

/// The statements of a batch, looked up once.
struct Statements<'a> {
    insert: CachedStatement<'a>,
    current: CachedStatement<'a>,
    replace: CachedStatement<'a>,
}

/// Applies events in the order given; returns outcomes and the positions of conflicts with stored events.
fn put(
    session: &mut Session,
    namespace: &Namespace,
    erasure_key: &ErasureKey,
    events: &[Rating],
) -> Result<(Vec<Outcome>, Vec<usize>)> {
    let Session { connection, entities } = session;
    let connection: &Connection = connection;
    let ns = entities.namespace(connection, namespace)?;
    let mut statements = Statements {
        insert: connection.prepare_cached(INSERT).sql()?,
        current: connection.prepare_cached(CURRENT).sql()?,
        replace: connection.prepare_cached(REPLACE).sql()?,
    };
    let mut outcomes = Vec::with_capacity(events.len());
    let mut conflicts = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let user =
            entities.load(connection, erasure_key, ns, EntityKind::User, event.user().clone().into())?;
        let item =
            entities.load(connection, erasure_key, ns, EntityKind::Item, event.item().clone().into())?;
        let time = event.rated_at();
        if entities.is_barred(user, time) || entities.is_barred(item, time) {
            outcomes.push(Outcome::Erased);
            continue;
        }
        let pair = Pair { ns, user, item };
        let change = change_pair(&mut statements, entities, pair, event)?;
        if change.conflict {
            conflicts.push(index);
        }
        outcomes.push(change.outcome);
        if change.outcome != Outcome::Duplicate {
            for slot in [user, item] {
                entities.replace(connection, slot, change.old, change.new)?;
                entities.observe(slot, time);
            }
        }
    }
    Ok((outcomes, conflicts))
}

#[derive(Clone, Copy)]
struct Pair {
    ns: i64,
    user: Slot,
    item: Slot,
}

/// What an event did to its pair.
struct Change {
    outcome: Outcome,
    conflict: bool,
    old: Option<RatingValue>,
    new: Option<RatingValue>,
}

fn change_pair(
    statements: &mut Statements<'_>,
    entities: &mut Entities,
    pair: Pair,
    event: &Rating,
) -> Result<Change> {
    let (user, item) = (entities.id(pair.user), entities.id(pair.item));
    let (value, time) = (event.value().map(RatingValue::micros), event.rated_at().as_millis());
    let event_id = event.event_id().as_u128().to_be_bytes();
    let checksum = checksum::of_rating(pair.ns, user, item, value, time, time, &event_id);
    let inserted = statements
        .insert
        .execute(params![pair.ns, user, item, value, time, &event_id[..], checksum])
        .sql()?;
    let mut change = Change { outcome: Outcome::Applied, conflict: false, old: None, new: event.value() };
    if inserted == 1 {
        count_change(entities, pair.ns, None, Some(event));
        return Ok(change);
    }
    let current = statements
        .current
        .query_row(params![pair.ns, user, item], |row| {
            Ok(verified_row(row, event.user().clone(), event.item().clone()))
        })
        .sql()??;
    change.conflict = current.rating.event_id() == event.event_id() && current.rating != *event;
    if current.rating == *event {
        change.outcome = Outcome::Duplicate;
        return Ok(change);
    }
    let first = current.first_rated_at.min(event.rated_at());
    if event.order() > current.rating.order() {
        replace(&mut statements.replace, (pair.ns, user, item), event, first)?;
        change.old = current.rating.value();
        count_change(entities, pair.ns, Some(&current.rating), Some(event));
        return Ok(change);
    }
    if first < current.first_rated_at {
        replace(&mut statements.replace, (pair.ns, user, item), &current.rating, first)?;
    }
    let value = current.rating.value();
    Ok(Change { outcome: Outcome::Stale, old: value, new: value, ..change })
}

/// Writes another event over that of a pair.
fn replace(
    statement: &mut CachedStatement<'_>,
    (ns, user, item): (i64, i64, i64),
    event: &Rating,
    first_rated_at: Timestamp,
) -> Result<()> {
    let (value, time) = (event.value().map(RatingValue::micros), event.rated_at().as_millis());
    let (first, event_id) = (first_rated_at.as_millis(), event.event_id().as_u128().to_be_bytes());
    let checksum = checksum::of_rating(ns, user, item, value, time, first, &event_id);
    let checksum = if seeded(Bug::SealsNoReplacement) { 0 } else { checksum };
    statement.execute(params![ns, user, item, value, time, first, &event_id[..], checksum]).sql()?;
    Ok(())
}

fn count_change(entities: &mut Entities, ns: i64, old: Option<&Rating>, new: Option<&Rating>) {
    let counts = |rating: Option<&Rating>| match rating {
        None => (0, 0),
        Some(rating) if rating.is_withdrawn() => (0, 1),
        Some(_) => (1, 0),
    };
    let (before, after) = (counts(old), counts(new));
    if before != after {
        entities.count(ns, after.0 - before.0, after.1 - before.1);
    }
}

/// A row of `value, rated_at, first_rated_at, event_id`.
pub(crate) fn row_of(row: &Row<'_>, user: UserId, item: ItemId) -> Result<RatingRow> {
    let value: Option<i64> = row.get(0).sql()?;
    let event_id: [u8; 16] = row.get(3).sql()?;
    let rating = Rating::from_parts(
        user,
        item,
        value.map(RatingValue::from_micros).transpose().map_err(stored)?,
        Timestamp::from_millis(row.get(1).sql()?).map_err(stored)?,
        Some(EventId::from_u128(u128::from_be_bytes(event_id))),
    );
    let first_rated_at = Timestamp::from_millis(row.get(2).sql()?).map_err(stored)?;
    Ok(RatingRow { rating, first_rated_at })
}

/// A row of `value, rated_at, first_rated_at, event_id, ns, user, item, checksum` that is the one stored.
///
/// # Errors
/// `Corrupt` that names the pair.
pub(crate) fn verified_row(row: &Row<'_>, user: UserId, item: ItemId) -> Result<RatingRow> {
    if is_intact(row).sql()? {
        return row_of(row, user, item);
    }
    Err(damaged("a stored rating is damaged").on(format!("rating of user {user} for item {item}")))
}

fn is_intact(row: &Row<'_>) -> rusqlite::Result<bool> {
    let event_id: [u8; 16] = row.get(3)?;
    let checksum = checksum::of_rating(
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        &event_id,
    );
    Ok(checksum == row.get::<_, i64>(7)?)
}

/// A stored value that breaks the rules of input is damage, not bad input.
pub(crate) fn stored(error: Error) -> Error {
    damaged("a stored rating is damaged").because(error)
}

fn get(
    select: &mut CachedStatement<'_>,
    ns: i64,
    user: &UserId,
    item: &ItemId,
    now: Timestamp,
) -> Result<Lookup<RatingRow>> {
    Ok(match find(select, ns, user, item)? {
        None => Lookup::Missing,
        Some(Ok(value)) => Lookup::Found(Found { value, as_of: now, origin: Origin::Live }),
        Some(Err(error)) => Lookup::Failed(error),
    })
}

/// The row of a pair, if there is one, or what is wrong with it.
pub(crate) fn find(
    select: &mut CachedStatement<'_>,
    ns: i64,
    user: &UserId,
    item: &ItemId,
) -> Result<Option<Result<RatingRow>>> {
    select
        .query_row(params![ns, user.as_str(), item.as_str()], |row| {
            Ok(Asked::new(ns, EntityKind::User, user.as_str())
                .number(row, 8)
                .and_then(|_| Asked::new(ns, EntityKind::Item, item.as_str()).number(row, 12))
                .and_then(|_| verified_row(row, user.clone(), item.clone())))
        })
        .optional()
        .sql()
}

fn history_page(
    connection: &Connection,
    ns: i64,
    of: EntityKind,
    owner: &EntityKey,
    options: &HistoryOptions,
) -> Result<HistoryPage> {
    let time = options.time.millis();
    // The newest event time on the page: the end of the range, or that of the last row of the page before.
    let (mut newest, mut event_id, mut after) = (time.end.saturating_sub(1), None, "");
    if let Some(token) = &options.token {
        let (millis, token_id, other) = token.position(of, owner.as_str())?;
        if millis <= newest {
            (newest, event_id, after) = (millis, Some(token_id.as_u128().to_be_bytes()), other);
        }
    }
    let Some(owner_id) = Asked::new(ns, of, owner.as_str()).find(connection)? else {
        return Ok(HistoryPage { rows: Vec::new(), next: None });
    };
    let sql = if of == EntityKind::User { USER_HISTORY } else { ITEM_HISTORY };
    let mut select = connection.prepare_cached(sql).sql()?;
    // Without a token every event id of the newest time is on the page: 17 bytes are above all of 16.
    let event_id = event_id.map_or(vec![0xff; 17], |bytes| bytes.to_vec());
    let limit = options.limit as i64 + 1;
    let mut found = select
        .query(params![ns, owner_id, time.start, newest, event_id, after, options.withdrawn, limit])
        .sql()?;
    let mut rows = Vec::with_capacity(options.limit);
    let mut next = None;
    while let Some(row) = found.next().sql()? {
        if rows.len() == options.limit {
            next = rows.last().map(|last: &RatingRow| PageToken::after(&last.rating, of));
            break;
        }
        rows.push(row_of_pair(row, of, owner)?);
    }
    Ok(HistoryPage { rows, next })
}

/// A row that ends with the identity of the other side; `owner` is the side `of`.
fn row_of_pair(row: &Row<'_>, of: EntityKind, owner: &EntityKey) -> Result<RatingRow> {
    let (owner, other) = (owner.clone(), Identity::of(row, 8)?.key);
    let (user, item) = if of == EntityKind::User { (owner, other) } else { (other, owner) };
    verified_row(row, user.into(), item.into())
}
