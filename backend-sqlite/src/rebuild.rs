//! Computing the built-in features anew from the ratings.
//!
//! The ratings are read once, in the order of their key, (user, item): the profile of a pass for each side
//! was three quarters looking up the rows of the items' index, at random places of the file. The ratings of a
//! user come together and are folded one user after the other; those of items are folded side by side, in
//! statistics that are kept for all items. Threads with connections of their own take disjoint ranges of
//! users, and their statistics of items are merged, in integers, so that no number of threads changes a bit.
//!
//! The threads read the committed state while the writer holds the lock, which is the writer's own state as
//! long as nothing was changed in its transaction: a rebuild is the only call of its group.
//!
//! Memory is bounded: one user at a time, and for each thread at most [`BAND`] items of about 350 bytes. More
//! items than that are taken in as many passes as they need.

mod fold;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use recstore_core::{BayesianPrior, Error, ErrorKind, Namespace, RebuildReport, Result};
use rusqlite::{Connection, params};

use self::fold::{Change, Folder, Items, stored_of};
use crate::SqliteConfig;
use crate::checksum::{self, checksum_sql};
use crate::connection::{Access, connect};
use crate::entities::{add_value, store_stats};
use crate::error::{SqlResult, damaged};
use crate::scan::read_rating;
use crate::writer::Session;

/// The most items folded in one pass.
const BAND: usize = 1 << 20;
/// Pieces of the users for each thread: some users have more ratings than others.
const PIECES: u64 = 32;
/// The most changed users that wait for being written.
const WAITING: usize = 1024;

/// Folds all ratings of a namespace, and writes the statistics that are not as they are stored.
///
/// Nothing may have been changed in the session's transaction before.
pub(crate) fn rebuild(
    session: &mut Session,
    config: &SqliteConfig,
    namespace: &Namespace,
    prior: BayesianPrior,
) -> Result<RebuildReport> {
    let Session { connection, entities } = session;
    if !entities.is_clean() {
        return Err(Error::new(ErrorKind::Internal, "a rebuild was joined with other writes"));
    }
    let ns = entities.namespace(connection, namespace)?;
    let mut report = RebuildReport::default();
    let items = all_items(connection, ns)?;
    let (mut rows, mut rows_of_items) = (0, 0);
    let mut bands = items.chunks(BAND);
    // Users are folded in the first pass, also where there is no item.
    let mut band = bands.next().or(Some(&[]));
    let mut with_users = true;
    while let Some(items) = band {
        let pass = Pass { config, ns, prior, with_users, pieces: Pieces::of(connection, config)? };
        let done = pass.run(connection, items, &mut report)?;
        if with_users {
            set_counts(connection, ns, &done)?;
            rows = done.rows;
        }
        rows_of_items += done.rows_of_items;
        (band, with_users) = (bands.next(), false);
    }
    if rows_of_items != rows {
        return Err(damaged("a rating is of an item that does not exist"));
    }
    entities.clear();
    Ok(report)
}

fn all_items(connection: &Connection, ns: i64) -> Result<Vec<i64>> {
    let mut select =
        connection.prepare("SELECT id FROM entities WHERE ns = ?1 AND kind = 1 ORDER BY id").sql()?;
    let items = select.query_map([ns], |row| row.get(0)).sql()?;
    items.collect::<rusqlite::Result<_>>().sql()
}

fn set_counts(connection: &Connection, ns: i64, folded: &Totals) -> Result<()> {
    let update = concat!(
        "UPDATE namespaces SET ratings = ?2, withdrawn = ?3 WHERE id = ?1 AND checksum = ",
        checksum_sql!(namespaces)
    );
    // Counts are far below 2^63.
    let (ratings, withdrawn) = ((folded.rows - folded.withdrawn) as i64, folded.withdrawn as i64);
    let updated = connection.execute(update, params![ns, ratings, withdrawn]).sql()?;
    checksum::hold(updated == 1, "the row of a namespace")?;
    let seal = concat!("UPDATE namespaces SET checksum = ", checksum_sql!(namespaces), " WHERE id = ?1");
    connection.execute(seal, [ns]).map(drop).sql()
}

/// Ranges of users that threads take, one after the other.
struct Pieces {
    first: i64,
    length: u64,
    count: u64,
    taken: AtomicU64,
    threads: usize,
}

impl Pieces {
    fn of(connection: &Connection, config: &SqliteConfig) -> Result<Pieces> {
        let select = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM entities";
        let (first, last): (i64, i64) =
            connection.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?))).sql()?;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(config.readers);
        let count = PIECES * threads as u64;
        Ok(Pieces {
            first,
            length: last.abs_diff(first) / count + 1,
            count,
            taken: AtomicU64::new(0),
            threads,
        })
    }

    /// The first and last user of the next piece. The outermost are open, so that no rating is overlooked.
    fn take(&self) -> Option<(i64, i64)> {
        let piece = self.taken.fetch_add(1, Ordering::Relaxed);
        let begin = |piece: u64| self.first.saturating_add_unsigned(piece.saturating_mul(self.length));
        (piece < self.count).then(|| {
            let first = if piece == 0 { i64::MIN } else { begin(piece) };
            let last = if piece + 1 == self.count { i64::MAX } else { begin(piece + 1) - 1 };
            (first, last)
        })
    }
}

/// What a thread has folded.
struct Folded {
    totals: Totals,
    items: Items,
}

/// What a pass has seen.
#[derive(Default)]
struct Totals {
    rows: u64,
    withdrawn: u64,
    users: u64,
    rows_of_items: u64,
}

/// One pass over the ratings: folds those of a band of items, and in the first pass those of users.
struct Pass<'a> {
    config: &'a SqliteConfig,
    ns: i64,
    prior: BayesianPrior,
    with_users: bool,
    pieces: Pieces,
}

impl Pass<'_> {
    fn run(&self, connection: &Connection, items: &[i64], report: &mut RebuildReport) -> Result<Totals> {
        let items = Items::new(items);
        let folded = thread::scope(|scope| {
            let (changes, changed) = bounded(WAITING);
            let mut threads = Vec::with_capacity(self.pieces.threads);
            for number in 0..self.pieces.threads {
                let (items, changes) = (items.clone(), changes.clone());
                let name = format!("recstore-rebuild-{number}");
                let thread = thread::Builder::new().name(name);
                let thread = thread.spawn_scoped(scope, move || self.fold(items, &changes));
                threads.push(thread.map_err(|cause| {
                    Error::new(ErrorKind::Unavailable, "a rebuild thread cannot be started").because(cause)
                })?);
            }
            drop(changes);
            // If a write fails the channel closes, and the threads end.
            for change in changed {
                write(connection, change, report)?;
            }
            let panicked = |_| Error::new(ErrorKind::Internal, "a rebuild thread panicked");
            let parts = threads.into_iter().map(|thread| thread.join().map_err(panicked)?);
            parts.collect::<Result<Vec<Folded>>>()
        })?;
        let mut total = Totals::default();
        let mut items = Vec::with_capacity(folded.len());
        for part in folded {
            total.add(&part.totals);
            total.rows_of_items += part.items.rows();
            items.push(part.items);
        }
        report.users += total.users;
        self.settle_items(connection, &items, report)?;
        Ok(total)
    }

    /// What one thread does: folds pieces until none is left.
    fn fold(&self, items: Items, changes: &Sender<Change>) -> Result<Folded> {
        let connection = connect(self.config, Access::Read)?;
        connection.execute_batch("BEGIN").sql()?;
        let mut folder = Folder::new(&connection, self.ns, self.prior)?;
        let mut folded = Folded { totals: Totals::default(), items };
        while let Some(piece) = self.pieces.take() {
            self.fold_piece(&connection, &mut folder, piece, &mut folded, changes)?;
        }
        Ok(folded)
    }

    /// Folds the ratings of a range of users, beside the rows of these users.
    fn fold_piece(
        &self,
        connection: &Connection,
        folder: &mut Folder<'_>,
        (first, last): (i64, i64),
        folded: &mut Folded,
        changes: &Sender<Change>,
    ) -> Result<()> {
        let mut users = connection.prepare_cached(fold::USERS).sql()?;
        let mut users = users.query(params![self.ns, first, last]).sql()?;
        let mut ratings = connection.prepare_cached(fold::RATINGS).sql()?;
        let mut ratings = ratings.query(params![self.ns, first, last]).sql()?;
        let mut rating = ratings.next().sql()?.map(|row| read_rating(row, self.ns)).transpose()?;
        while let Some(user) = users.next().sql()? {
            let id: i64 = user.get(0).sql()?;
            let rows_before = folded.totals.rows;
            while let Some(row) = rating.take_if(|row| row.user == id) {
                folded.totals.rows += 1;
                folded.totals.withdrawn += u64::from(row.value.is_none());
                if self.with_users {
                    folder.user.add(&row);
                }
                folded.items.gather(row);
                rating = ratings.next().sql()?.map(|row| read_rating(row, self.ns)).transpose()?;
            }
            if !self.with_users {
                continue;
            }
            folded.totals.users += u64::from(folded.totals.rows > rows_before);
            let fold = folder.user.take();
            if let Some(change) = folder.settle(id, stored_of(user, 1)?, fold)? {
                let ended = |_| Error::new(ErrorKind::Internal, "the rebuild was given up");
                changes.send(change).map_err(ended)?;
            }
        }
        folded.items.add_gathered();
        match rating {
            Some(_) => Err(damaged("a rating is of a user that does not exist")),
            None => Ok(()),
        }
    }

    fn settle_items(
        &self,
        connection: &Connection,
        items: &[Items],
        report: &mut RebuildReport,
    ) -> Result<()> {
        let mut folder = Folder::new(connection, self.ns, self.prior)?;
        let mut select = connection.prepare(fold::STATS).sql()?;
        for (item, stats) in Items::merged(items) {
            report.items += u64::from(stats.times().is_some());
            let fold = folder.of_item(item, stats)?;
            let mut found = select.query([item]).sql()?;
            let row = found.next().sql()?.ok_or_else(|| damaged("an item's row is not found again"))?;
            let change = folder.settle(item, stored_of(row, 0)?, fold)?;
            drop(found);
            if let Some(change) = change {
                write(connection, change, report)?;
            }
        }
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.rows += other.rows;
        self.withdrawn += other.withdrawn;
        self.users += other.users;
    }
}

fn write(connection: &Connection, change: Change, report: &mut RebuildReport) -> Result<()> {
    report.changed += u64::from(change.differs);
    store_stats(connection, change.entity, &change.stats, &mut Vec::new())?;
    let mut delete = connection.prepare_cached("DELETE FROM value_counts WHERE entity = ?1").sql()?;
    delete.execute([change.entity]).sql()?;
    for (value, count) in change.counts {
        add_value(connection, change.entity, value, count)?;
    }
    Ok(())
}
