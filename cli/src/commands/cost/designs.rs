//! The two designs that are compared: an object for each rating with every row rewritten, and Recstore.

use super::amount::Amount;
use super::bill::{Bill, Ledger, Period};
use super::load::{
    LISTED_KEYS, Load, RATING_ROWS, RELEASES_KEPT, ROW_OVERHEAD, SILVER_TABLES, read_units, write_units,
};
use super::prices::{Item, PriceList};
use crate::failure::Done;

/// PUTs of a run beside its tables: the commit document, before the claim and with the commit, the manifest that claims
/// it, and the head that commits it.
const PUTS_OF_A_RUN: u64 = 4;
/// GETs of a run for each bucket that there was before: the ratings by user and by item to merge; before and after, to
/// publish what differs, the ratings by user and the features of both.
const GETS_OF_A_BUCKET: u64 = 8;
/// GETs of the first run for each bucket: the new ratings by user and the features of both, to publish them.
const FIRST_GETS_OF_A_BUCKET: u64 = 3;
/// GETs of a run beside tables and events: heads, manifests, documents.
const GETS_OF_A_RUN: u64 = 8;
/// The same of the first run, where there is less to look up and more to look for.
const FIRST_GETS_OF_A_RUN: u64 = 8;
/// LISTs of a run beside pages of objects: the writers of both topics and the epochs of one writer.
const LISTS_OF_A_RUN: u64 = 3;
/// PUTs of a release: the file, and the pointer.
const PUTS_OF_A_RELEASE: u64 = 2;
/// Tables of features, users and items: a Parquet file of each is what the simple design writes in a run.
const FEATURE_TABLES: u64 = 2;

/// What both designs pay for features that are read.
fn serve_features(ledger: &mut Ledger<'_>, load: &Load) -> Done {
    let row = load.feature_row_bytes;
    let reads = Amount::of(load.calls, "calls")
        .times(load.reads_per_call, if load.reads_per_call == 1 { "row" } else { "rows" });
    ledger.estimate(Item::DynamodbRead, "read by calls", &reads.units(read_units(row)))?;
    let rows = load.feature_rows();
    ledger.estimate(Item::DynamodbStorage, "features online", &rows.times(row + ROW_OVERHEAD, "bytes"))
}

/// An object for each rating; each run writes the features of all users and items.
///
/// # Errors
/// If the load is too large.
pub(super) fn one_object_per_rating(load: &Load, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let arriving = || Amount::of(load.new_ratings(), "ratings a month");
    let stored = Amount::of(load.ratings, "ratings").times(load.bytes_per_rating, "bytes");
    ledger.estimate(Item::S3Storage, "bronze", &stored)?;
    let features = load.feature_rows().times(load.feature_row_bytes, "bytes");
    ledger.estimate(Item::S3Storage, "silver", &features)?;
    ledger.exact(Item::S3Put, "bronze PUT", &arriving().times(1, "object"))?;
    let files = Amount::of(load.runs, "runs").times(FEATURE_TABLES, "files");
    ledger.exact(Item::S3Put, "silver PUT", &files)?;
    ledger.exact(Item::S3Get, "bronze GET", &arriving().times(1, "object, read once"))?;
    ledger.exact(Item::S3List, "bronze LIST", &arriving().over(LISTED_KEYS, "keys"))?;
    let written = load.feature_rows().times(load.runs, "runs");
    let written = written.units(write_units(load.feature_row_bytes));
    ledger.estimate(Item::DynamodbWrite, "features, every row", &written)?;
    serve_features(&mut ledger, load)?;
    ledger.close("one_object_per_rating", "One object for each rating, every row rewritten", Period::Month)
}

/// What Recstore needs to do what the simple design does.
///
/// # Errors
/// If the load is too large.
pub(super) fn recstore_same(load: &Load, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let objects = load.objects().count()?;
    let objects = || Amount::of(objects, "objects");
    let runs = || Amount::of(load.runs, "runs");
    let lines = Amount::of(load.ratings, "ratings").times(load.bytes_per_rating, "bytes");
    ledger.estimate(Item::S3Storage, "bronze", &lines.percent(load.compressed_percent))?;
    let ratings = Amount::of(load.ratings, "ratings").times(load.silver_bytes_per_rating, "bytes");
    let features = load.feature_rows().times(load.feature_row_bytes, "bytes");
    let silver = ratings.plus(features).times(load.silver_generations, "generations");
    ledger.estimate(Item::S3Storage, "silver", &silver)?;
    ledger.exact(Item::S3Put, "bronze PUT", &objects())?;
    // A table's new files and the entry of its log.
    let tables = runs().times(SILVER_TABLES, "tables").times(load.buckets + 1, "files");
    let rest = runs().times(PUTS_OF_A_RUN, "objects");
    ledger.exact(Item::S3Put, "silver PUT", &tables.plus(rest))?;
    ledger.exact(Item::S3Get, "bronze GET", &objects().times(1, "GET"))?;
    let of_buckets = runs().times(load.buckets, "buckets").times(GETS_OF_A_BUCKET, "GETs");
    let gets = of_buckets.plus(runs().times(GETS_OF_A_RUN, "GETs"));
    ledger.exact(Item::S3Get, "silver GET", &gets)?;
    // The last page of each run is not full, and each epoch that a writer has begun is a page more.
    let lists = runs().times(LISTS_OF_A_RUN + 1, "LISTs").plus(objects().over(LISTED_KEYS, "keys"));
    ledger.estimate(Item::S3List, "LIST", &lists)?;
    let users = Amount::of(load.changed_users().count()?, "changed users");
    let items = Amount::of(load.changed_items().count()?, "changed items");
    let changed = users.plus(items).times(load.runs, "runs");
    let row = load.feature_row_bytes;
    let written = changed.clone().units(write_units(row));
    ledger.estimate(Item::DynamodbWrite, "features, changed rows", &written)?;
    let looked_at = changed.units(read_units(row));
    ledger.estimate(Item::DynamodbRead, "read before writing", &looked_at)?;
    serve_features(&mut ledger, load)?;
    ledger.close("recstore_same", "Recstore, for the same", Period::Month)
}

/// What Recstore serves beside: ratings, neighbours, and online tables that can be restored to any second.
///
/// # Errors
/// If the load is too large.
pub(super) fn recstore_more(load: &Load, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let row = load.rating_row_bytes;
    let rows = Amount::of(load.new_ratings(), "ratings a month").times(RATING_ROWS, "rows");
    ledger.estimate(Item::DynamodbWrite, "ratings", &rows.clone().units(write_units(row)))?;
    ledger.estimate(Item::DynamodbRead, "read before writing", &rows.units(read_units(row)))?;
    let ratings = Amount::of(load.ratings, "ratings").times(RATING_ROWS, "rows");
    let ratings = ratings.times(row + ROW_OVERHEAD, "bytes");
    ledger.estimate(Item::DynamodbStorage, "ratings online", &ratings)?;
    let gold = Amount::of(load.items, "items").times(load.gold_bytes(), "bytes");
    ledger.estimate(Item::S3Storage, "gold", &gold.times(RELEASES_KEPT, "releases"))?;
    let files = Amount::of(load.releases, "releases").times(PUTS_OF_A_RELEASE, "objects");
    ledger.estimate(Item::S3Put, "gold PUT", &files)?;
    let lists = Amount::of(load.items, "items").times(load.releases, "releases");
    let lists = lists.units(write_units(load.list_bytes()));
    ledger.estimate(Item::DynamodbWrite, "neighbours", &lists)?;
    let online = Amount::of(load.items, "items").times(RELEASES_KEPT, "releases");
    let online = online.times(load.list_bytes() + ROW_OVERHEAD, "bytes");
    ledger.estimate(Item::DynamodbStorage, "neighbours online", &online)?;
    let features = load.feature_rows().times(load.feature_row_bytes + ROW_OVERHEAD, "bytes");
    let everything = features.plus(ratings).plus(online);
    ledger.estimate(Item::DynamodbBackup, "point-in-time recovery", &everything)?;
    ledger.close("recstore_more", "Recstore, for what it serves beside", Period::Month)
}

/// Loading the stored ratings, an object for each.
///
/// # Errors
/// If the load is too large.
pub(super) fn load_one_object_per_rating(load: &Load, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let ratings = || Amount::of(load.ratings, "ratings");
    ledger.exact(Item::S3Put, "bronze PUT", &ratings().times(1, "object"))?;
    ledger.exact(Item::S3Get, "bronze GET", &ratings().times(1, "object, read once"))?;
    ledger.exact(Item::S3List, "bronze LIST", &ratings().over(LISTED_KEYS, "keys"))?;
    let rows = load.feature_rows().units(write_units(load.feature_row_bytes));
    ledger.estimate(Item::DynamodbWrite, "features", &rows)?;
    let title = "Loading the ratings, one object for each";
    ledger.close("load_one_object_per_rating", title, Period::Once)
}

/// Loading the stored ratings with Recstore, as far as the simple design does it.
///
/// # Errors
/// If the load is too large.
pub(super) fn load_recstore_same(load: &Load, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let objects = load.loaded_objects();
    let count = objects.count()?;
    ledger.exact(Item::S3Put, "bronze PUT", &objects)?;
    ledger.exact(Item::S3Get, "bronze GET", &Amount::of(count, "objects").times(1, "GET"))?;
    let pages = Amount::of(count, "objects").over(LISTED_KEYS, "keys");
    ledger.exact(Item::S3List, "LIST", &pages.plus(Amount::of(LISTS_OF_A_RUN, "LISTs")))?;
    let silver = Amount::of(SILVER_TABLES, "tables").times(load.buckets + 1, "files");
    ledger.exact(Item::S3Put, "silver PUT", &silver.plus(Amount::of(PUTS_OF_A_RUN, "objects")))?;
    let gets = Amount::of(load.buckets, "buckets").times(FIRST_GETS_OF_A_BUCKET, "GETs");
    ledger.exact(Item::S3Get, "silver GET", &gets.plus(Amount::of(FIRST_GETS_OF_A_RUN, "GETs")))?;
    let row = load.feature_row_bytes;
    let written = load.feature_rows().units(write_units(row));
    ledger.estimate(Item::DynamodbWrite, "features", &written)?;
    // There is no row yet, and looking costs one unit.
    ledger.estimate(Item::DynamodbRead, "read before writing", &load.feature_rows().units(read_units(0)))?;
    ledger.close("load_recstore_same", "Loading the ratings with Recstore, for the same", Period::Once)
}

/// Loading what Recstore serves beside.
///
/// # Errors
/// If the load is too large.
pub(super) fn load_recstore_more(load: &Load, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let rows = Amount::of(load.ratings, "ratings").times(RATING_ROWS, "rows");
    let written = rows.clone().units(write_units(load.rating_row_bytes));
    ledger.estimate(Item::DynamodbWrite, "ratings", &written)?;
    ledger.estimate(Item::DynamodbRead, "read before writing", &rows.units(read_units(0)))?;
    let title = "Loading the ratings with Recstore, for what it serves beside";
    ledger.close("load_recstore_more", title, Period::Once)
}
