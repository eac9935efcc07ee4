//! `recstore cost`: what a load costs on AWS, from a price list, with every quantity derived.

mod amount;
mod bill;
mod designs;
mod first;
mod load;
mod money;
mod prices;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Count, Page, Table};
use crate::session::Session;
use bill::Bill;
use first::Check;
use load::{Assumption, Load};
use money::Micros;
use prices::{AT_FIRST, CURRENT, PriceList, too_large};

/// What no bill here has in it.
const NOT_COUNTED: [&str; 8] = [
    "computing: the machines of the service and of the pipeline",
    "traffic out of the region, and between its zones",
    "free tiers and discounts, which make it less; taxes, which make it more",
    "the lower prices of S3 from 50 TB on",
    "requests that are repeated",
    "the few reads of the pointer to the current generation",
    "what a process takes when it begins to write: a claim, a listing; and what a vacuum lists",
    "logs, alarms and encryption keys of one's own",
];

const EXAMPLES: &str = "\
Examples:
  recstore cost --users 100000 --ratings 10000000 --calls 1000000
  recstore cost --users 5000000 --ratings 2000000000 --calls 300000000 --flush-seconds 5
  recstore cost --reads-per-call 20 --runs 720 --assumptions
  recstore cost --print-prices > prices.yaml
  recstore cost --prices prices.yaml --json";

/// What is to be priced, and by which list.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CostArgs {
    #[command(flatten)]
    load: Load,
    /// The price list [default: AWS, us-east-1]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Print the built-in price list, to begin your own with
    #[arg(long, conflicts_with_all = ["prices", "assumptions"])]
    print_prices: bool,
    /// Print everything that is assumed, and what is not counted
    #[arg(long)]
    assumptions: bool,
}

/// Runs the command. It needs neither configuration nor store, and asks nobody.
///
/// # Errors
/// If the price list cannot be read or is none, or the load is too large.
pub fn run(args: CostArgs, session: &Session) -> Done {
    if args.print_prices {
        if session.output.is_json() {
            return Err(Failure::new(Exit::Usage, "--json answers on stdout, where the price list would go")
                .hint("the prices stand in the answer of `recstore cost --json` too"));
        }
        return session.output.raw(CURRENT);
    }
    let current = PriceList::load(args.prices.as_deref())?;
    session.output.answer(&Cost::of(args.load, current, args.assumptions)?)
}

/// The bills, and all that they rest on.
#[derive(Serialize)]
struct Cost {
    currency: String,
    load: Load,
    prices: PriceList,
    prices_at_first: PriceList,
    bills: Vec<Bill>,
    checks: Vec<Check>,
    totals: Totals,
    assumptions: Vec<Assumption>,
    derived: Vec<Assumption>,
    not_counted: [&'static str; 8],
    #[serde(skip)]
    explains: bool,
}

/// What the designs cost, in millionths.
#[derive(Serialize)]
struct Totals {
    #[serde(rename = "one_object_per_rating_micros")]
    simple: Micros,
    #[serde(rename = "recstore_same_micros")]
    same: Micros,
    #[serde(rename = "recstore_micros")]
    recstore: Micros,
    #[serde(rename = "load_one_object_per_rating_micros")]
    load_simple: Micros,
    #[serde(rename = "load_recstore_same_micros")]
    load_same: Micros,
    #[serde(rename = "load_recstore_micros")]
    load_recstore: Micros,
}

impl Cost {
    fn of(load: Load, prices: PriceList, explains: bool) -> Done<Cost> {
        let load = load.resolved();
        let at_first = PriceList::parse(AT_FIRST, "built-in prices")?;
        let first = first::estimate(load.users, load.ratings, load.calls, &at_first)?;
        let simple = designs::one_object_per_rating(&load, &prices)?;
        let same = designs::recstore_same(&load, &prices)?;
        let more = designs::recstore_more(&load, &prices)?;
        let load_simple = designs::load_one_object_per_rating(&load, &prices)?;
        let load_same = designs::load_recstore_same(&load, &prices)?;
        let load_more = designs::load_recstore_more(&load, &prices)?;
        let both = |one: &Bill, other: &Bill| Micros::sum([one.total, other.total]).ok_or_else(too_large);
        Ok(Cost {
            currency: prices.currency.clone(),
            checks: first::checks(&at_first, &prices)?,
            totals: Totals {
                simple: simple.total,
                same: same.total,
                recstore: both(&same, &more)?,
                load_simple: load_simple.total,
                load_same: load_same.total,
                load_recstore: both(&load_same, &load_more)?,
            },
            bills: vec![first, simple, same, more, load_simple, load_same, load_more],
            assumptions: load.assumptions(),
            derived: load.derived()?,
            not_counted: NOT_COUNTED,
            load,
            prices,
            prices_at_first: at_first,
            explains,
        })
    }

    fn compare(&self, page: &mut Page) {
        page.gap();
        page.heading("In short");
        let mut table = Table::new([
            "design".to_owned(),
            format!(">{} a month", self.currency),
            format!(">{} once, to load", self.currency),
        ]);
        let totals = &self.totals;
        for (design, month, once) in [
            ("mode sqlite, on a machine of your own", Micros(0), Micros(0)),
            ("one object for each rating, every row rewritten", totals.simple, totals.load_simple),
            ("Recstore, for the same", totals.same, totals.load_same),
            ("Recstore, with ratings, neighbours and recovery", totals.recstore, totals.load_recstore),
        ] {
            table.row([design.to_owned(), month.column(), once.column()]);
        }
        page.table(table);
        page.gap();
        page.line("exact: requests, as the code sends them for these objects, buckets and runs");
        page.line("estimate: rests on sizes and shares that are assumed, too; --assumptions shows them");
    }

    fn check(&self, page: &mut Page) {
        page.gap();
        page.heading(
            "The first estimate by its own figures: 100,000 users, 10,000,000 ratings, 1,000,000 calls",
        );
        let mut table = Table::new(["figure", ">stated", ">comes to", "holds", "why"]);
        for check in &self.checks {
            let holds = if check.holds { "yes" } else { "no" };
            table.row([
                check.claim.clone(),
                check.stated.column(),
                check.right.column(),
                holds.to_owned(),
                check.why.clone(),
            ]);
        }
        page.table(table);
    }

    fn explain(&self, page: &mut Page) {
        for (heading, rows) in [("Assumed", &self.assumptions), ("From that follows", &self.derived)] {
            page.gap();
            page.heading(heading);
            let mut table = Table::new(["name", ">value", "why"]);
            for row in rows {
                table.row([row.name.to_owned(), Count(row.value).to_string(), row.why.clone()]);
            }
            page.table(table);
        }
        page.gap();
        page.heading("Not counted");
        self.not_counted.iter().for_each(|what| page.line(what));
    }
}

impl Answer for Cost {
    fn page(&self, page: &mut Page) {
        let load = &self.load;
        page.line(format_args!(
            "{} users, {} items, {} ratings and {} more a month, {} calls a month",
            Count(load.users),
            Count(load.items),
            Count(load.ratings),
            Count(load.new_ratings()),
            Count(load.calls)
        ));
        let Some((first, designs)) = self.bills.split_first() else { return };
        priced_by(&self.prices_at_first, page);
        first.page(page, &self.prices_at_first.currency);
        self.check(page);
        priced_by(&self.prices, page);
        designs.iter().for_each(|bill| bill.page(page, &self.currency));
        self.compare(page);
        if self.explains {
            self.explain(page);
        }
    }
}

fn priced_by(list: &PriceList, page: &mut Page) {
    page.gap();
    page.line(format_args!("Prices: {}; {}, as of {}", list.name, list.region, list.as_of));
}
