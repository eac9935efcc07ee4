//! The load to be priced, and what is assumed of it.

use clap::Args;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use serde::Serialize;

use super::amount::Amount;
use crate::failure::Done;

/// Days of a month, here as in the first estimate.
pub(super) const DAYS: u64 = 30;
/// Keys that one LIST answers with.
pub(super) const LISTED_KEYS: u64 = 1000;
/// Bytes that DynamoDB bills on top of each row's own.
pub(super) const ROW_OVERHEAD: u64 = 100;
/// Rows that a rating takes in DynamoDB: the pair, and its places in the histories of user and item.
pub(super) const RATING_ROWS: u64 = 3;
/// Silver tables that a run brings up to date: ratings by user and by item, features of users and of items.
pub(super) const SILVER_TABLES: u64 = 4;
/// Releases of neighbours that are kept: the current one, and the one before to go back to.
pub(super) const RELEASES_KEPT: u64 = 2;
/// Bytes of an entry of a neighbour list: id with its length, similarity, common raters.
const NEIGHBOUR_BYTES: u64 = 20;
/// Bytes of a neighbour list beside its entries.
const LIST_BYTES: u64 = 100;
const SECONDS: u64 = DAYS * 24 * 3600;
/// DynamoDB counts writes by the KB and reads by four.
pub(super) const WRITE_BYTES: u64 = 1024;
const READ_BYTES: u64 = 4096;

/// Any count that could be one.
fn count() -> impl TypedValueParser<Value = u64> {
    RangedU64ValueParser::<u64>::new().range(0..=1_000_000_000_000)
}

/// A count of which there is at least one.
fn some() -> impl TypedValueParser<Value = u64> {
    RangedU64ValueParser::<u64>::new().range(1..=1_000_000)
}

fn percent() -> impl TypedValueParser<Value = u64> {
    RangedU64ValueParser::<u64>::new().range(0..=100)
}

/// The load, and what is assumed of it.
#[derive(Debug, Clone, Serialize, Args)]
pub(super) struct Load {
    /// Users
    #[arg(long, default_value_t = 100_000, value_parser = count(), help_heading = "Load")]
    pub(super) users: u64,
    /// Items
    #[arg(long, default_value_t = 50_000, value_parser = count(), help_heading = "Load")]
    pub(super) items: u64,
    /// Ratings that are stored
    #[arg(long, default_value_t = 10_000_000, value_parser = count(), help_heading = "Load")]
    pub(super) ratings: u64,
    /// Calls of the service in a month; each reads from DynamoDB
    #[arg(long, default_value_t = 1_000_000, value_parser = count(), help_heading = "Load")]
    pub(super) calls: u64,
    /// Ratings that arrive in a month [default: a tenth of --ratings]
    #[arg(long, value_parser = count(), help_heading = "Load")]
    ratings_per_month: Option<u64>,
    /// Rows that a call reads: one for a feature row, some 20 to recommend from the neighbours of what was rated
    #[arg(long, default_value_t = 1, value_parser = some(), help_heading = "Assumptions")]
    pub(super) reads_per_call: u64,
    /// Seconds from one batch of ratings that is stored to the next; 1 where up to one a second is stored by itself
    #[arg(long, default_value_t = 60, value_parser = some(), help_heading = "Assumptions")]
    flush_seconds: u64,
    /// The most ratings in a bronze object
    #[arg(long, default_value_t = 100_000, value_parser = some(), help_heading = "Assumptions")]
    events_per_object: u64,
    /// Bytes of a rating as a line of JSON
    #[arg(long, default_value_t = 127, value_parser = some(), help_heading = "Assumptions")]
    pub(super) bytes_per_rating: u64,
    /// What zstd leaves of these lines, in percent
    #[arg(long, default_value_t = 30, value_parser = percent(), help_heading = "Assumptions")]
    pub(super) compressed_percent: u64,
    /// Bytes of a rating in silver, by user and by item together
    #[arg(long, default_value_t = 80, value_parser = some(), help_heading = "Assumptions")]
    pub(super) silver_bytes_per_rating: u64,
    /// Generations of silver that are kept before they are vacuumed
    #[arg(long, default_value_t = 8, value_parser = some(), help_heading = "Assumptions")]
    pub(super) silver_generations: u64,
    /// Buckets of each silver table, all of them rewritten by a run
    #[arg(long, default_value_t = 16, value_parser = some(), help_heading = "Assumptions")]
    pub(super) buckets: u64,
    /// Runs of the pipeline in a month
    #[arg(long, default_value_t = 30, value_parser = some(), help_heading = "Assumptions")]
    pub(super) runs: u64,
    /// The largest share of users, and of items, whose features a run changes, in percent
    #[arg(long, default_value_t = 100, value_parser = percent(), help_heading = "Assumptions")]
    changed_percent: u64,
    /// Bytes of a row of features in DynamoDB, in its two versions
    #[arg(long, default_value_t = 600, value_parser = some(), help_heading = "Assumptions")]
    pub(super) feature_row_bytes: u64,
    /// Bytes of a row of a rating in DynamoDB
    #[arg(long, default_value_t = 250, value_parser = some(), help_heading = "Assumptions")]
    pub(super) rating_row_bytes: u64,
    /// Releases of neighbours built in a month
    #[arg(long, default_value_t = 4, value_parser = count(), help_heading = "Assumptions")]
    pub(super) releases: u64,
    /// Neighbours of each item
    #[arg(long, default_value_t = 50, value_parser = some(), help_heading = "Assumptions")]
    pub(super) neighbours: u64,
}

/// Something assumed, or computed from it, with the reason.
#[derive(Debug, Serialize)]
pub(super) struct Assumption {
    pub(super) name: &'static str,
    pub(super) value: u64,
    pub(super) why: String,
}

/// Units to write a row.
pub(super) fn write_units(row_bytes: u64) -> u64 {
    row_bytes.div_ceil(WRITE_BYTES)
}

/// Units to read a row; that there is none costs one.
pub(super) fn read_units(row_bytes: u64) -> u64 {
    row_bytes.div_ceil(READ_BYTES).max(1)
}

impl Load {
    /// With the number of new ratings said, where it was not.
    pub(super) fn resolved(self) -> Load {
        Load { ratings_per_month: Some(self.new_ratings()), ..self }
    }

    /// Ratings that arrive in a month.
    pub(super) fn new_ratings(&self) -> u64 {
        self.ratings_per_month.unwrap_or(self.ratings / 10)
    }

    /// A row of features for each user and each item.
    pub(super) fn feature_rows(&self) -> Amount {
        Amount::of(self.users, "users").plus(Amount::of(self.items, "items"))
    }

    /// Ratings that a run finds.
    fn ratings_per_run(&self) -> Amount {
        Amount::of(self.new_ratings(), "ratings a month").over(self.runs, "runs")
    }

    /// Rows of one kind that a run changes: no more than there are ratings.
    fn changed(&self, rows: u64, what: &str) -> Amount {
        Amount::of(rows, what).percent(self.changed_percent).at_most(self.ratings_per_run())
    }

    /// Users whose features a run changes.
    pub(super) fn changed_users(&self) -> Amount {
        self.changed(self.users, "users")
    }

    /// Items whose features a run changes.
    pub(super) fn changed_items(&self) -> Amount {
        self.changed(self.items, "items")
    }

    /// Bronze objects of a month: one a flush, more where they are full.
    pub(super) fn objects(&self) -> Amount {
        let flushes = Amount::of(SECONDS, "seconds").over(self.flush_seconds, "seconds a flush");
        let ratings = || Amount::of(self.new_ratings(), "ratings a month");
        ratings().at_most(flushes).at_least(ratings().over(self.events_per_object, "ratings an object"))
    }

    /// Bronze objects of everything that is stored, loaded in full batches.
    pub(super) fn loaded_objects(&self) -> Amount {
        Amount::of(self.ratings, "ratings").over(self.events_per_object, "ratings an object")
    }

    /// Bytes of an item's neighbours.
    pub(super) fn list_bytes(&self) -> u64 {
        LIST_BYTES + self.neighbours * NEIGHBOUR_BYTES
    }

    /// Bytes of an item's neighbours in gold.
    pub(super) fn gold_bytes(&self) -> u64 {
        self.neighbours * NEIGHBOUR_BYTES
    }

    /// Everything that is assumed, in the order of the flags, and what follows from it.
    pub(super) fn assumptions(&self) -> Vec<Assumption> {
        let given = |name, value, why: &str| Assumption { name, value, why: why.to_owned() };
        vec![
            given("days", DAYS, "a month, as in the first estimate"),
            given("ratings_per_month", self.new_ratings(), "a tenth of what is stored, unless given"),
            given("reads_per_call", self.reads_per_call, "rows; one, as in the first estimate"),
            given(
                "flush_seconds",
                self.flush_seconds,
                "one writer stores what came in since the last time, batches of its caller; single ratings that \
                 come further apart than it waits (100 ms unless configured) are an object each: for up to one a \
                 second, say 1",
            ),
            given("events_per_object", self.events_per_object, "the writer's bound: a larger batch is cut"),
            given(
                "bytes_per_rating",
                self.bytes_per_rating,
                "measured: ids of five digits, with the line's end",
            ),
            given(
                "compressed_percent",
                self.compressed_percent,
                "measured: 30 % of 23 lines, 27 % of 23,000; event ids do not compress",
            ),
            given("silver_bytes_per_rating", self.silver_bytes_per_rating, "an estimate, both tables"),
            given(
                "silver_generations",
                self.silver_generations,
                "seven days of daily runs and the current one",
            ),
            given("buckets", self.buckets, "ratings of all users come every day, so every bucket is touched"),
            given("runs", self.runs, "one a day"),
            given("changed_percent", self.changed_percent, "no more than there are new ratings in any case"),
            given("feature_row_bytes", self.feature_row_bytes, "an estimate: eight columns in two versions"),
            given("rating_row_bytes", self.rating_row_bytes, "an estimate: key, value, times and event id"),
            given("releases", self.releases, "one a week"),
            given("neighbours", self.neighbours, "of each item"),
            given("rating_rows", RATING_ROWS, "a pair, and its place in the histories of user and item"),
            given("releases_kept", RELEASES_KEPT, "the current one and the one before"),
            given("row_overhead_bytes", ROW_OVERHEAD, "billed for each row in DynamoDB"),
            given("write_unit_bytes", WRITE_BYTES, "a row is written in whole units"),
            given("read_unit_bytes", READ_BYTES, "a row is read in whole units, strongly consistent"),
        ]
    }

    /// What follows from the assumptions and is used more than once.
    ///
    /// # Errors
    /// If the load is too large.
    pub(super) fn derived(&self) -> Done<Vec<Assumption>> {
        let derive = |name, amount: Amount| -> Done<Assumption> {
            Ok(Assumption { name, value: amount.count()?, why: amount.how().to_owned() })
        };
        Ok(vec![
            derive("objects", self.objects())?,
            derive("loaded_objects", self.loaded_objects())?,
            derive("changed_users", self.changed_users())?,
            derive("changed_items", self.changed_items())?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_whole_and_a_missing_row_costs_a_read() {
        assert_eq!([1, 1024, 1025, 10_737].map(write_units), [1, 1, 2, 11]);
        assert_eq!([0, 4096, 4097, 10_737].map(read_units), [1, 1, 2, 3]);
    }
}
