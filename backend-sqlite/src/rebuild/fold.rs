//! Statistics while the ratings go by, and their comparison with what is stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use recstore_core::extractor::MAX_DISTINCT_VALUES;
use recstore_core::{BayesianPrior, RatingStats, RatingValue, Result, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use crate::checksum::{self, checksum_sql};
use crate::entities::{decode_stats, stored_stats};
use crate::error::{SqlResult, damaged};
use crate::numbers::{NumberMap, mixed};
use crate::ratings::stored;
use crate::scan::StoredRating;

/// Users of a range, by their rows: the index by key has them in another order.
pub(super) const USERS: &str =
    "SELECT id, rating_count, rating_stats, stats_checksum FROM entities NOT INDEXED
    WHERE id BETWEEN ?2 AND ?3 AND ns = ?1 AND kind = 0 ORDER BY id";
pub(super) const STATS: &str =
    "SELECT rating_count, rating_stats, stats_checksum FROM entities WHERE id = ?1";
/// Ratings of a range of users, in the order of the table.
pub(super) const RATINGS: &str =
    "SELECT user, item, value, rated_at, first_rated_at, event_id, checksum FROM ratings
    WHERE ns = ?1 AND user BETWEEN ?2 AND ?3 ORDER BY user, item";
const VALUE_COUNTS: &str = concat!(
    "SELECT value, count, checksum = ",
    checksum_sql!(value_counts),
    " FROM value_counts WHERE entity = ?1 ORDER BY value"
);
const VALUES_OF_ITEM: &str = "SELECT value, count(*) FROM ratings INDEXED BY ratings_by_item_time
    WHERE ns = ?1 AND item = ?2 AND value IS NOT NULL GROUP BY value";

/// The values of a usual scale, in the order they came.
///
/// The profile of keeping [`RatingStats`] rating by rating was half spent in them: their sums follow from how
/// often each value came, and to count a value whose number is known is one addition.
#[derive(Clone, Default)]
struct Scale {
    values: Vec<RatingValue>,
    /// By the lowest bits of a mix of the value: the number that such a value had last.
    guesses: Vec<u8>,
}

const GUESSES: usize = 256;

impl Scale {
    /// The number of a value; `None` if there are too many already.
    #[inline]
    fn number(&mut self, value: RatingValue) -> Option<usize> {
        let guess = (mixed(value.micros()) >> 56) as usize % GUESSES;
        match self.guesses.get(guess).map(|&number| usize::from(number)) {
            Some(number) if self.values.get(number) == Some(&value) => Some(number),
            _ => self.find(value, guess),
        }
    }

    fn find(&mut self, value: RatingValue, guess: usize) -> Option<usize> {
        self.guesses.resize(GUESSES, 0);
        let number = match self.values.iter().position(|known| *known == value) {
            Some(number) => number,
            None if self.values.len() < MAX_DISTINCT_VALUES => {
                self.values.push(value);
                self.values.len() - 1
            }
            None => return None,
        };
        // There are at most 64.
        self.guesses[guess] = number as u8;
        Some(number)
    }
}

/// How often each value of the scale came, and when: of ten values or less in one line of the cache.
#[derive(Clone)]
#[repr(C, align(64))]
struct Tally {
    times: Option<(Timestamp, Timestamp)>,
    /// A rater has one rating of an item, and there are less than 2^32 raters and items in a file.
    counts: [u32; MAX_DISTINCT_VALUES],
}

impl Tally {
    const EMPTY: Tally = Tally { times: None, counts: [0; MAX_DISTINCT_VALUES] };

    #[inline]
    fn observe(&mut self, row: &StoredRating) {
        self.times = Some(match self.times {
            Some((first, last)) => (first.min(row.first_rated_at), last.max(row.rated_at)),
            None => (row.first_rated_at, row.rated_at),
        });
    }

    /// The statistics, with these values beside those of the scale.
    fn finish(&self, scale: &Scale, others: impl Iterator<Item = (RatingValue, u64)>) -> RatingStats {
        let mut stats = RatingStats::default();
        for (value, count) in self.values(scale).chain(others) {
            // The counts are at hand.
            let _known = stats.add(value, count);
        }
        if let Some((first, last)) = self.times {
            stats.observe(first, last);
        }
        stats
    }

    fn values<'a>(&'a self, scale: &'a Scale) -> impl Iterator<Item = (RatingValue, u64)> + 'a {
        let values = scale.values.iter().zip(&self.counts).map(|(&value, &count)| (value, u64::from(count)));
        values.filter(|&(_, count)| count > 0)
    }
}

/// The statistics of one entity, and the counts of its values where they are too many for the statistics.
pub(super) struct Fold {
    stats: RatingStats,
    counts: BTreeMap<RatingValue, u64>,
}

/// The ratings of one user.
pub(super) struct User {
    scale: Scale,
    tally: Tally,
    others: BTreeMap<RatingValue, u64>,
}

impl User {
    fn new() -> User {
        User { scale: Scale::default(), tally: Tally::EMPTY, others: BTreeMap::new() }
    }

    #[inline]
    pub(super) fn add(&mut self, row: &StoredRating) {
        self.tally.observe(row);
        let Some(value) = row.value else { return };
        match self.scale.number(value) {
            Some(number) => self.tally.counts[number] += 1,
            None => *self.others.entry(value).or_default() += 1,
        }
    }

    /// The statistics; the ratings that come next are of another user.
    pub(super) fn take(&mut self) -> Fold {
        let others = std::mem::take(&mut self.others);
        let tally = std::mem::replace(&mut self.tally, Tally::EMPTY);
        let stats = tally.finish(&self.scale, others.iter().map(|(&value, &count)| (value, count)));
        let mut counts = others;
        if stats.is_overflowed() {
            counts.extend(tally.values(&self.scale));
        } else {
            counts.clear();
        }
        Fold { stats, counts }
    }
}

/// How many ratings are added at once. The profile of adding each as it was read was two fifths waiting for the
/// memory of its item; the waits for a handful that are added together overlap.
const GATHERED: usize = 128;

/// The ratings of items, side by side.
#[derive(Clone)]
pub(super) struct Items {
    ids: Arc<[i64]>,
    places: Arc<NumberMap<u32>>,
    scale: Scale,
    tallies: Vec<Tally>,
    /// Values beside the scale, by the item's place. They are not counted one by one, there may be as many as
    /// ratings.
    others: HashMap<u32, RatingStats>,
    gathered: Vec<StoredRating>,
    rows: u64,
}

impl Items {
    /// Without ratings yet.
    pub(super) fn new(ids: &[i64]) -> Items {
        // There are at most 2^20, see `BAND`.
        let places = ids.iter().enumerate().map(|(place, &id)| (id, place as u32)).collect();
        Items {
            ids: ids.into(),
            places: Arc::new(places),
            scale: Scale::default(),
            tallies: vec![Tally::EMPTY; ids.len()],
            others: HashMap::new(),
            gathered: Vec::new(),
            rows: 0,
        }
    }

    /// Takes a rating in, to be added with others.
    #[inline]
    pub(super) fn gather(&mut self, row: StoredRating) {
        self.gathered.push(row);
        if self.gathered.len() == GATHERED {
            self.add_gathered();
        }
    }

    /// Adds what was gathered; must be called at the end.
    pub(super) fn add_gathered(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        gathered.iter().for_each(|row| self.add(row));
        self.gathered = gathered;
        self.gathered.clear();
    }

    /// Adds a rating, if it is of one of these items.
    #[inline]
    fn add(&mut self, row: &StoredRating) {
        let Some(&place) = self.places.get(&row.item) else { return };
        self.rows += 1;
        let tally = &mut self.tallies[place as usize];
        tally.observe(row);
        let Some(value) = row.value else { return };
        match self.scale.number(value) {
            Some(number) => tally.counts[number] += 1,
            None => {
                // Where the values are too many they are counted later.
                let _counted_later = self.others.entry(place).or_default().add(value, 1);
            }
        }
    }

    /// The statistics of every item, of what some threads have folded of the same items.
    pub(super) fn merged(parts: &[Items]) -> impl Iterator<Item = (i64, RatingStats)> {
        let ids = parts.first().map_or(&[][..], |part| &part.ids);
        ids.iter().zip(0..).map(move |(&id, place)| {
            let mut stats = RatingStats::default();
            for part in parts {
                stats.merge(&part.tallies[place as usize].finish(&part.scale, std::iter::empty()));
                if let Some(others) = part.others.get(&place) {
                    stats.merge(others);
                }
            }
            (id, stats)
        })
    }

    /// How many ratings were of these items.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

/// What is stored of the statistics of an entity.
pub(super) struct Stored<'a> {
    count: i64,
    stats: ValueRef<'a>,
    checksum: i64,
}

impl Stored<'_> {
    /// Whether just this is stored.
    fn is(&self, entity: i64, count: i64, stats: Option<&[u8]>) -> bool {
        self.count == count
            && self.stats.as_blob_or_null().is_ok_and(|stored| stored == stats)
            && self.checksum == checksum::of_stats(entity, count, stats)
    }

    /// The statistics, if they are not damaged.
    fn decode(&self, entity: i64) -> Option<RatingStats> {
        let bytes = self.stats.as_blob_or_null().ok()?;
        let is_intact = self.checksum == checksum::of_stats(entity, self.count, bytes);
        is_intact.then(|| decode_stats(self.stats).ok()).flatten()
    }
}

/// Reads `rating_count, rating_stats, stats_checksum`, from this column on.
pub(super) fn stored_of<'a>(row: &'a Row<'_>, column: usize) -> Result<Stored<'a>> {
    let (count, checksum) = (row.get(column).sql()?, row.get(column + 2).sql()?);
    Ok(Stored { count, stats: row.get_ref(column + 1).sql()?, checksum })
}

/// What must be written of an entity.
pub(super) struct Change {
    pub(super) entity: i64,
    pub(super) stats: RatingStats,
    pub(super) counts: BTreeMap<RatingValue, u64>,
    /// Whether the features differ, not only how their statistics are stored.
    pub(super) differs: bool,
}

/// Folds users, and finds what must be written.
pub(super) struct Folder<'a> {
    /// The user whose ratings go by.
    pub(super) user: User,
    connection: &'a Connection,
    ns: i64,
    prior: BayesianPrior,
    /// Whether values of any entity are counted in the file: of most files none are.
    any_counts: bool,
    buffer: Vec<u8>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(connection: &'a Connection, ns: i64, prior: BayesianPrior) -> Result<Folder<'a>> {
        let select = "SELECT EXISTS (SELECT 1 FROM value_counts)";
        let any_counts = connection.query_row(select, [], |row| row.get(0)).sql()?;
        Ok(Folder { user: User::new(), connection, ns, prior, any_counts, buffer: Vec::new() })
    }

    /// The statistics of an item with the counts of its values, where they are too many.
    pub(super) fn of_item(&self, item: i64, stats: RatingStats) -> Result<Fold> {
        let mut counts = BTreeMap::new();
        if stats.is_overflowed() {
            let mut select = self.connection.prepare_cached(VALUES_OF_ITEM).sql()?;
            let mut rows = select.query(params![self.ns, item]).sql()?;
            while let Some(row) = rows.next().sql()? {
                let (value, count) = value_count(row)?;
                counts.insert(value, count);
            }
            if counts.values().sum::<u64>() != stats.count() {
                return Err(damaged("the index of ratings by item does not have them all"));
            }
        }
        Ok(Fold { stats, counts })
    }

    /// What must be written, if anything: only what is not stored already.
    pub(super) fn settle(&mut self, entity: i64, before: Stored<'_>, fold: Fold) -> Result<Option<Change>> {
        let Fold { stats, counts } = fold;
        let (count, bytes) = stored_stats(&stats, &mut self.buffer);
        if before.is(entity, count, bytes) && self.are_counted(entity, &counts)? {
            return Ok(None);
        }
        // Damaged statistics are what a rebuild is for.
        let differs =
            before.decode(entity).is_none_or(|before| before.finish(self.prior) != stats.finish(self.prior));
        Ok(Some(Change { entity, stats, counts, differs }))
    }

    /// Whether just these counts of values are stored.
    fn are_counted(&self, entity: i64, counts: &BTreeMap<RatingValue, u64>) -> Result<bool> {
        if !self.any_counts {
            return Ok(counts.is_empty());
        }
        let mut select = self.connection.prepare_cached(VALUE_COUNTS).sql()?;
        let mut rows = select.query([entity]).sql()?;
        for (&value, &count) in counts {
            let Some(row) = rows.next().sql()? else { return Ok(false) };
            let is_intact: bool = row.get(2).sql()?;
            if !is_intact || !value_count(row).is_ok_and(|stored| stored == (value, count)) {
                return Ok(false);
            }
        }
        Ok(rows.next().sql()?.is_none())
    }
}

fn value_count(row: &Row<'_>) -> Result<(RatingValue, u64)> {
    let value = RatingValue::from_micros(row.get(0).sql()?).map_err(stored)?;
    let count = u64::try_from(row.get::<_, i64>(1).sql()?).map_err(|_| damaged("a count is negative"))?;
    Ok((value, count))
}
