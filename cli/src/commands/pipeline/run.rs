//! `recstore pipeline run`: one run, told so that a scheduler can act on it.

use clap::Args;
use recstore::aws::lake::calendar::Day;
use recstore::aws::pipeline::{GuardOptions, RunOptions, RunOutcome, RunReport};
use recstore::{Error, ErrorKind, Timestamp};
use serde::Serialize;

use crate::commands::withdraw::time;
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Count, Output, Page};
use crate::progress::Progress;
use crate::session::Session;
use crate::spent;

pub(super) const EXAMPLES: &str = "\
Ends with 0 if a generation was committed or there was nothing new, with 75 where the same command
again, a little later, may do it, and with another code where somebody has to look.

Examples:
  recstore pipeline run
  recstore pipeline run --json --fail-on-nothing-new
  recstore pipeline run --date 2026-01-31
  recstore pipeline run --allow-drop";

/// How to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Take in only what had arrived in the bucket by the end of this day, in UTC; earlier days included. By the clock
    /// of the bucket. What an earlier run claimed and did not finish is finished whole
    #[arg(long, value_name = "DAY")]
    date: Option<Day>,
    /// Take in only what had arrived before this time: RFC 3339, or UTC milliseconds [default: all there is]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "date")]
    until: Option<Timestamp>,
    /// Publish though more users or items lose their last rating than aws.pipeline.max_entity_drop allows
    #[arg(long)]
    allow_drop: bool,
    /// End with code 10, not 0, if there was nothing new
    #[arg(long)]
    fail_on_nothing_new: bool,
}

pub(super) async fn run(args: RunArgs, session: &Session) -> Done {
    let storage = session.connected_aws().await.map_err(in_time)?;
    let guard = if args.allow_drop { GuardOptions::Off } else { GuardOptions::Configured };
    let until = args.until.or(args.date.map(Day::end));
    let progress = Progress::spinner(&session.output, "taking new events in");
    let ran = storage.pipeline().run(RunOptions { guard, until }).await;
    drop(progress);
    let report = ran.map_err(|error| in_time(refused(error)))?;
    let nothing_new = report.outcome == RunOutcome::NothingNew;
    warn(&report, &session.output);
    session.output.answer(&Ran(report))?;
    match nothing_new && args.fail_on_nothing_new {
        true => Err(Failure::new(Exit::NothingNew, "there was nothing new")),
        false => Ok(()),
    }
}

/// What is well enough to be committed and still should be looked at.
fn warn(report: &RunReport, output: &Output) {
    if report.gaps > 0 {
        output.warn(format_args!(
            "holes in the numbers of events: {}; what lies behind them is not read, see `recstore pipeline status`",
            Count(report.gaps)
        ));
    }
    if let Some(quarantine) = &report.quarantine {
        let lines = Count(report.computed.rejected);
        output.warn(format_args!("lines that are no events: {lines}; they are listed in {quarantine}, see `recstore pipeline quarantine`"));
    }
}

fn refused(error: Error) -> Failure {
    let conflict = error.kind() == ErrorKind::Conflict;
    let failure = Failure::from(error);
    match conflict {
        true => failure
            .hint("if too much would fall away, and that is right, `recstore pipeline run --allow-drop` publishes it"),
        false => failure,
    }
}

/// A scheduler has one code for what it should try again.
fn in_time(failure: Failure) -> Failure {
    match failure.exit() {
        Exit::Unavailable | Exit::TryAgain => failure
            .exiting(Exit::TryAgain)
            .hint("run it again a little later: it goes on where this one ended"),
        _ => failure,
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Ran(RunReport);

impl Answer for Ran {
    fn page(&self, page: &mut Page) {
        let report = &self.0;
        let as_of = report.as_of.map_or_else(String::new, |as_of| format!(", as of {as_of}"));
        match (report.outcome, report.generation) {
            (RunOutcome::NothingNew, 0) => page.line("nothing new, and nothing is committed yet"),
            (RunOutcome::NothingNew, standing) => {
                page.line(format_args!("nothing new; generation {standing} stands{as_of}"));
            }
            (RunOutcome::Committed, committed) => {
                page.line(format_args!("generation {committed} is committed{as_of}"));
            }
        }
        if report.finished > 0 {
            page.line(format_args!("generations of others that it finished: {}", report.finished));
        }
        let count = |count: u64| Count(count).to_string();
        let (computed, mut pairs) = (&report.computed, Vec::new());
        if report.outcome == RunOutcome::Committed {
            pairs.extend([
                ("objects read", count(report.objects)),
                ("events", count(computed.events)),
                ("pairs that changed", count(computed.changed_pairs)),
                ("features that changed", count(computed.changed_features)),
            ]);
            let seldom =
                [("lines in quarantine", computed.rejected), ("barred by erasures", computed.barred)];
            pairs.extend(
                seldom.into_iter().filter(|(_, some)| *some > 0).map(|(name, some)| (name, count(some))),
            );
        }
        pairs.extend([
            ("ratings", count(report.ratings)),
            ("users", count(report.users)),
            ("items", count(report.items)),
            ("seconds", format!("{:.2}", report.seconds)),
        ]);
        pairs.extend(spent::pairs(&report.cost));
        page.pairs(pairs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_same_command_again_may_do_ends_with_one_code() {
        for (kind, code) in [
            (ErrorKind::Busy, 75),
            (ErrorKind::Unavailable, 75),
            (ErrorKind::DeadlineExceeded, 75),
            (ErrorKind::OutcomeUnknown, 75),
            (ErrorKind::Conflict, 65),
            (ErrorKind::NotFound, 66),
            (ErrorKind::ReadOnly, 77),
            (ErrorKind::Corrupt, 76),
            (ErrorKind::SchemaVersion, 76),
        ] {
            assert_eq!(in_time(refused(Error::new(kind, "x"))).exit().code(), code, "{kind}");
        }
    }
}
