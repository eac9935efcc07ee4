//! The import itself: a few batches in flight to the store, counts of what became of every row.
//!
//! However the import ends (bad row, interrupt, failure of the store), batches that were handed to the
//! store are waited for, so that the counts say what is stored. Running it again finishes it: events that
//! are stored already are duplicates.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use futures::{FutureExt, StreamExt, future, stream};
use recstore::{Clock, Cost, IngestLimits, Outcome, PutOptions, PutReceipt, Storage};
use serde::Serialize;
use tokio::sync::Notify;

use super::reader::{self, Batch, Ended, Input, Options};
use super::report::Report;
use super::row::Rejection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Batches at the store at one time.
const IN_FLIGHT: usize = 4;

/// What a bad row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// End the import; rows before the bad one are stored
    Stop,
    /// Write it to the report and go on
    Skip,
}

/// What an import did, with the names that scripts rely on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Rows that were dealt with: the sum of all that follow, up to `seconds`, and `erased` and `accepted`.
    pub read: u64,
    /// Rows that are current ratings now.
    pub applied: u64,
    /// Rows that are older than what is stored.
    pub stale: u64,
    /// Rows that are stored already.
    pub duplicate: u64,
    /// Rows that are no events; they are in the report.
    pub rejected: u64,
    /// How long it took.
    pub seconds: f64,
    /// Rows of erased users or items.
    pub erased: u64,
    /// Rows that are stored, and ordered later.
    pub accepted: u64,
    /// Rows whose event id is known with another content; they are counted above as well.
    pub conflicts: u64,
    /// The report of bad rows, if there were any.
    pub report: Option<PathBuf>,
    /// What storing the rows took of services that charge for it; none on this machine.
    pub cost: Option<Cost>,
}

impl Summary {
    fn count(&mut self, rejected: usize, receipt: &PutReceipt) {
        self.read += (rejected + receipt.outcomes.len()) as u64;
        self.rejected += rejected as u64;
        self.applied += receipt.count(Outcome::Applied) as u64;
        self.stale += receipt.count(Outcome::Stale) as u64;
        self.duplicate += receipt.count(Outcome::Duplicate) as u64;
        self.erased += receipt.count(Outcome::Erased) as u64;
        self.accepted += receipt.count(Outcome::Accepted) as u64;
        self.conflicts += receipt.conflicts.len() as u64;
        if !receipt.cost.is_nothing() {
            *self.cost.get_or_insert_default() += receipt.cost;
        }
    }
}

/// How an import ended: what was done is told in any case.
#[derive(Debug)]
pub struct Imported {
    /// What was done.
    pub summary: Summary,
    /// Why it ended early, if it did.
    pub failure: Option<Failure>,
}

/// An import that can be run.
#[derive(Debug)]
pub struct Import {
    /// Where the rows go.
    pub storage: Arc<dyn Storage>,
    /// How rows are read.
    pub options: Options,
    /// What the store asks of events.
    pub limits: IngestLimits,
    /// Says what is now.
    pub clock: Arc<dyn Clock>,
    /// Where bad rows are written.
    pub report: PathBuf,
}

impl Import {
    /// Runs the import until the input ends, or `interrupted` does.
    pub async fn run(self, input: Input, output: &Output, interrupted: impl Future<Output = ()>) -> Imported {
        let started = Instant::now();
        let name = input.name.clone();
        let progress = Progress::bytes(output, &format!("importing {name}"), input.bytes);
        let batches = reader::start(input, self.options, self.limits, self.clock);

        let failed = Notify::new();
        let was_interrupted = std::cell::Cell::new(false);
        let end_early = future::select(
            Box::pin(interrupted.map(|()| was_interrupted.set(true))),
            Box::pin(failed.notified()),
        );
        let storage = &self.storage;
        let done =
            stream::unfold(batches, async |mut batches| batches.recv().await.map(|batch| (batch, batches)))
                .take_until(end_early)
                .map(|batch| store(storage, batch))
                .buffered(IN_FLIGHT);
        let mut done = std::pin::pin!(done);

        let mut ledger =
            Ledger { summary: Summary::default(), report: Report::new(self.report), failure: None };
        while let Some(stored) = done.next().await {
            progress.set(stored.batch.position);
            ledger.enter(stored, &name);
            if ledger.failure.is_some() {
                failed.notify_one();
            }
        }
        drop(progress);
        if was_interrupted.get() && ledger.failure.is_none() {
            let failure = Failure::interrupted("interrupted; what is counted here is stored")
                .hint("run the same import again to finish it: nothing is stored twice");
            ledger.failure = Some(failure);
        }
        ledger.close(started.elapsed())
    }
}

/// A batch, and what the store said to its events.
struct Stored {
    batch: Batch,
    receipt: recstore::Result<PutReceipt>,
}

async fn store(storage: &Arc<dyn Storage>, mut batch: Batch) -> Stored {
    let events = std::mem::take(&mut batch.events);
    let receipt = storage.put_ratings(events, PutOptions::default()).await;
    Stored { batch, receipt }
}

/// Keeps the counts, the report and the first failure.
struct Ledger {
    summary: Summary,
    report: Report,
    failure: Option<Failure>,
}

impl Ledger {
    fn enter(&mut self, stored: Stored, name: &str) {
        let Stored { batch, receipt } = stored;
        match receipt {
            Ok(receipt) => self.summary.count(batch.rejections.len(), &receipt),
            // The rows of this batch are not stored, so its bad rows will come again too.
            Err(error) => return self.fail(Failure::from(error)),
        }
        if let Some(failure) = batch.ended.and_then(|ended| failure_of(ended, batch.rejections.last(), name))
        {
            self.fail(failure);
        }
        if let Err(failure) = self.report.add(&batch.rejections) {
            self.fail(failure);
        }
    }

    /// Keeps the first failure; later ones are its consequences.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    fn close(mut self, took: Duration) -> Imported {
        self.summary.seconds = took.as_secs_f64();
        self.summary.report = self.report.written().map(PathBuf::from);
        Imported { summary: self.summary, failure: self.failure }
    }
}

fn failure_of(ended: Ended, last: Option<&Rejection>, name: &str) -> Option<Failure> {
    match ended {
        Ended::BadRow => last.map(|bad| {
            Failure::new(Exit::Data, format!("{name}, {bad}")).hint(
                "rows before it are stored; correct it and run the import again, \
                 or pass over bad rows with --on-error skip",
            )
        }),
        Ended::NoRows(problem) => Some(Failure::new(Exit::Data, format!("{name}: {problem}"))),
        Ended::Unreadable(cause) => Some(
            Failure::new(Exit::Io, format!("cannot read {name} to its end"))
                .because(cause)
                .hint("rows before are stored; run the import again to finish it"),
        ),
    }
}
