//! A bill: a line for each thing that costs something, and a total that is their sum.

use serde::Serialize;

use super::amount::{Amount, gigabytes};
use super::money::{Micros, Price};
use super::prices::{Item, PriceList, too_large};
use crate::failure::Done;
use crate::output::{Count, Page, Table};

/// What something costs, for a month or once.
#[derive(Debug, Serialize)]
pub(super) struct Bill {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    period: Period,
    prices_as_of: String,
    pub(super) lines: Vec<Line>,
    #[serde(rename = "total_micros")]
    pub(super) total: Micros,
}

/// How often a bill is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Period {
    /// Every month.
    Month,
    /// Once, to load what is there.
    Once,
}

/// What a quantity rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Basis {
    /// On the load and the flags alone, by what the code does: requests for so many objects, buckets and runs.
    Exact,
    /// On sizes or shares that are assumed as well.
    Estimate,
}

impl Basis {
    fn as_str(self) -> &'static str {
        match self {
            Basis::Exact => "exact",
            Basis::Estimate => "estimate",
        }
    }
}

/// One thing that costs something.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    item: Item,
    what: &'static str,
    /// Bytes where something is stored, else what is counted.
    quantity: u64,
    quantity_unit: &'static str,
    price: Price,
    per: u64,
    price_unit: &'static str,
    #[serde(rename = "cost_micros")]
    pub(super) cost: Micros,
    basis: Basis,
    how: String,
}

/// A bill that is being written.
pub(super) struct Ledger<'a> {
    prices: &'a PriceList,
    lines: Vec<Line>,
}

impl<'a> Ledger<'a> {
    /// An empty one.
    pub(super) fn new(prices: &'a PriceList) -> Ledger<'a> {
        Ledger { prices, lines: Vec::new() }
    }

    /// Adds a line whose quantity follows from the load.
    ///
    /// # Errors
    /// If it costs more than can be counted.
    pub(super) fn exact(&mut self, item: Item, what: &'static str, amount: &Amount) -> Done {
        self.add(Basis::Exact, item, what, amount)
    }

    /// Adds a line whose quantity rests on assumptions.
    ///
    /// # Errors
    /// If it costs more than can be counted.
    pub(super) fn estimate(&mut self, item: Item, what: &'static str, amount: &Amount) -> Done {
        self.add(Basis::Estimate, item, what, amount)
    }

    fn add(&mut self, basis: Basis, item: Item, what: &'static str, amount: &Amount) -> Done {
        let quantity = amount.count()?;
        let rate = self.prices.rate(item);
        self.lines.push(Line {
            item,
            what,
            quantity,
            quantity_unit: if item.is_stored() { "byte-months" } else { item.unit() },
            price: rate.price.clone(),
            per: rate.per,
            price_unit: rate.unit,
            cost: self.prices.cost(item, quantity)?,
            basis,
            how: amount.how().to_owned(),
        });
        Ok(())
    }

    /// Adds everything up.
    ///
    /// # Errors
    /// If it costs more than can be counted.
    pub(super) fn close(self, name: &'static str, title: &'static str, period: Period) -> Done<Bill> {
        let total = Micros::sum(self.lines.iter().map(|line| line.cost)).ok_or_else(too_large)?;
        Ok(Bill { name, title, period, prices_as_of: self.prices.as_of.clone(), lines: self.lines, total })
    }
}

impl Line {
    fn quantity_text(&self) -> String {
        if self.item.is_stored() {
            format!("{} GB", gigabytes(self.quantity))
        } else {
            format!("{} {}", Count(self.quantity), self.quantity_unit)
        }
    }

    fn price_text(&self) -> String {
        match self.per {
            1 => format!("{} / {}", self.price, self.price_unit),
            per => format!("{} / {} {}", self.price, Count(per), self.price_unit),
        }
    }
}

impl Bill {
    /// Writes the bill for people.
    pub(super) fn page(&self, page: &mut Page, currency: &str) {
        let often = match self.period {
            Period::Month => "a month",
            Period::Once => "once",
        };
        page.gap();
        page.heading(format_args!("{}: {} {currency} {often}", self.title, self.total));
        let mut table = Table::new([
            "item",
            ">quantity",
            ">price",
            &format!(">{currency}"),
            "basis",
            "how the quantity comes about",
        ]);
        for line in &self.lines {
            table.row([
                line.what.to_owned(),
                line.quantity_text(),
                line.price_text(),
                line.cost.column(),
                line.basis.as_str().to_owned(),
                line.how.clone(),
            ]);
        }
        let none = String::new;
        table.row(["total".to_owned(), none(), none(), self.total.column(), none(), none()]);
        page.table(table);
    }
}
