//! The estimate that this architecture began with, and what does not hold in it.
//!
//! It says: 100,000 users, 10 million ratings and 1 million API calls a month cost about $10, in five rows, and not
//! how the rows come about. They are reproduced here by the one reading that gives them all.

use serde::Serialize;

use super::amount::{Amount, gigabytes};
use super::bill::{Bill, Ledger, Period};
use super::load::{DAYS, WRITE_BYTES, read_units, write_units};
use super::money::Micros;
use super::prices::{GB, Item, PriceList, too_large};
use crate::failure::Done;
use crate::output::Count;

/// The load that it was made for.
const USERS: u64 = 100_000;
const RATINGS: u64 = 10_000_000;
const CALLS: u64 = 1_000_000;
/// Its rows, in millionths of a dollar, and the total that it gives.
const ROWS: [(&str, u64); 5] = [
    ("S3 storage, 10 GB", 230_000),
    ("S3 requests, 1 million writes and 1 million reads", 5_400_000),
    ("DynamoDB writes, 100,000 a day", 3_750_000),
    ("DynamoDB reads, 1 million a month", 250_000),
    ("DynamoDB storage, 1 GB", 250_000),
];
const TOTAL: u64 = 10_000_000;
/// From this many calls a second on it advises AWS.
const ADVISED_CALLS_PER_SECOND: u64 = 1000;

/// The five rows for a load, requests to S3 in two lines.
///
/// # Errors
/// If the load is too large.
pub(super) fn estimate(users: u64, ratings: u64, calls: u64, prices: &PriceList) -> Done<Bill> {
    let mut ledger = Ledger::new(prices);
    let calls = |what: &str| Amount::of(calls, "calls").times(1, what);
    let stored = Amount::of(ratings, "ratings").times(GB, "bytes (1 GB)").over(1_000_000, "ratings");
    ledger.estimate(Item::S3Storage, "S3 storage", &stored)?;
    ledger.estimate(Item::S3Put, "S3 writes", &calls("object written"))?;
    ledger.estimate(Item::S3Get, "S3 reads", &calls("object read"))?;
    let written = Amount::of(users, "users").times(DAYS, "days").times(1, "unit");
    ledger.estimate(Item::DynamodbWrite, "DynamoDB writes", &written)?;
    ledger.estimate(Item::DynamodbRead, "DynamoDB reads", &calls("unit"))?;
    let online = Amount::of(users, "users").times(GB, "bytes (1 GB)").over(100_000, "users");
    ledger.estimate(Item::DynamodbStorage, "DynamoDB storage", &online)?;
    ledger.close("first_estimate", "The first estimate", Period::Month)
}

/// A figure of the first estimate beside what it comes to.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) claim: String,
    #[serde(rename = "stated_micros")]
    pub(super) stated: Micros,
    #[serde(rename = "right_micros")]
    pub(super) right: Micros,
    pub(super) holds: bool,
    pub(super) why: String,
}

impl Check {
    fn new(claim: impl Into<String>, stated: u64, right: Micros, why: impl Into<String>) -> Check {
        let stated = Micros(stated);
        Check { claim: claim.into(), stated, right, holds: stated == right, why: why.into() }
    }

    /// A figure that is stated in whole dollars.
    fn about(claim: impl Into<String>, stated: u64, right: Micros, why: impl Into<String>) -> Check {
        let holds = right.whole() == Micros(stated).whole();
        Check { holds, ..Check::new(claim, stated, right, why) }
    }
}

/// Each row and the total as stated, then where its figures contradict each other. `prices` are those that it was
/// made with, `current` those of today.
///
/// # Errors
/// If a price of `current` is too high.
pub(super) fn checks(prices: &PriceList, current: &PriceList) -> Done<Vec<Check>> {
    let bill = estimate(USERS, RATINGS, CALLS, prices)?;
    let lines: Vec<Micros> = bill.lines.iter().map(|line| line.cost).collect();
    let &[storage, puts, gets, writes, reads, online] = lines.as_slice() else { return Err(too_large()) };
    let requests = Micros::sum([puts, gets]).ok_or_else(too_large)?;
    let mut checks: Vec<Check> = ROWS
        .into_iter()
        .zip([storage, requests, writes, reads, online])
        .map(|((row, stated), right)| Check::new(row, stated, right, "quantity × price"))
        .collect();
    checks.push(Check::about("total, about 10", TOTAL, bill.total, "the sum of its rows"));
    checks.extend(contradictions(prices)?);
    // Sums of other currencies cannot be compared.
    if current.currency == prices.currency {
        let now = estimate(USERS, RATINGS, CALLS, current)?.total;
        let claim = format!("total, at prices as of {}", current.as_of);
        checks.push(Check::about(claim, TOTAL, now, "its own quantities at the prices of the bills below"));
    }
    Ok(checks)
}

/// Where two of its figures cannot both be true.
fn contradictions(prices: &PriceList) -> Done<Vec<Check>> {
    let [_, (_, requests), (_, writes), (_, reads), (_, online)] = ROWS;
    let cost = |item, quantity| prices.cost(item, quantity);
    let gets = cost(Item::S3Get, CALLS)?.0;
    let row = GB / USERS;
    let (row_writes, row_reads) = (write_units(row), read_units(row));
    let all = [cost(Item::S3Put, RATINGS)?, cost(Item::S3Get, RATINGS)?];
    let small = USERS * WRITE_BYTES;
    let every_day = USERS * DAYS;
    let advised = ADVISED_CALLS_PER_SECOND * DAYS * 24 * 3600;
    Ok(vec![
        Check::new(
            "S3 requests for 10 million ratings",
            requests,
            Micros::sum(all).ok_or_else(too_large)?,
            format!(
                "an object for each rating is {} PUTs and, read once, as many GETs; {} pay for {} % of them",
                Count(RATINGS),
                Count(CALLS),
                CALLS * 100 / RATINGS
            ),
        ),
        Check::new(
            "S3 reads of a daily run",
            gets,
            cost(Item::S3Get, RATINGS * DAYS)?,
            format!(
                "a run reads yesterday only and overwrites features of the whole history; reading all of it each \
                 day is {} GETs",
                Count(RATINGS * DAYS)
            ),
        ),
        Check::new(
            "DynamoDB writes of rows that make 1 GB",
            writes,
            cost(Item::DynamodbWrite, every_day * row_writes)?,
            format!(
                "1 GB for {} users is {} bytes a row, {row_writes} units a write, not 1",
                Count(USERS),
                Count(row)
            ),
        ),
        Check::new(
            "DynamoDB reads of rows that make 1 GB",
            reads,
            cost(Item::DynamodbRead, CALLS * row_reads)?,
            format!("such a row is {row_reads} units a read, not 1"),
        ),
        Check::new(
            "DynamoDB storage of rows that are 1 unit",
            online,
            cost(Item::DynamodbStorage, small)?,
            format!(
                "or a write is 1 unit: then a row has at most 1 KB, and {} of them {} GB",
                Count(USERS),
                gigabytes(small)
            ),
        ),
        Check::new(
            "DynamoDB writes for 1 million ratings",
            writes,
            cost(Item::DynamodbWrite, CALLS)?,
            format!(
                "{0} ratings change at most {0} rows of users; {1} a day is every user every day, changed or not, \
                 and no item",
                Count(CALLS),
                Count(USERS)
            ),
        ),
        Check::new(
            "DynamoDB reads where AWS is advised",
            reads,
            cost(Item::DynamodbRead, advised)?,
            format!(
                "advised from {} calls a second, which make {} a month, not {}; one read a call",
                Count(ADVISED_CALLS_PER_SECOND),
                Count(advised),
                Count(CALLS)
            ),
        ),
    ])
}
