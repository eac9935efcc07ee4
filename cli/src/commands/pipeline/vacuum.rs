//! `recstore pipeline vacuum` and `compact`: what is not needed any more, and checkpoints for other tools.

use clap::Args;
use recstore::aws::pipeline::{CompactReport, VacuumOptions, VacuumReport};
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page};
use crate::progress::Progress;
use crate::session::Session;
use crate::spent;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore pipeline vacuum             # says what would be deleted
  recstore pipeline vacuum --delete";
pub(super) const COMPACT_EXAMPLES: &str = "\
Examples:
  recstore pipeline compact --json";

/// What `vacuum` is told.
#[derive(Debug, Args)]
pub struct VacuumArgs {
    /// Delete, instead of saying what would be deleted
    #[arg(long)]
    delete: bool,
}

pub(super) async fn run(args: VacuumArgs, session: &Session) -> Done {
    let storage = session.aws().await?;
    let progress = Progress::spinner(&session.output, "looking through the lake");
    let report = storage.pipeline().vacuum(VacuumOptions { dry_run: !args.delete }).await?;
    drop(progress);
    session.output.answer(&Vacuumed(report))
}

pub(super) async fn compact(session: &Session) -> Done {
    let storage = session.aws().await?;
    let progress = Progress::spinner(&session.output, "writing checkpoints");
    let report = storage.pipeline().compact().await?;
    drop(progress);
    session.output.answer(&Compacted(report))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Vacuumed(VacuumReport);

impl Answer for Vacuumed {
    fn page(&self, page: &mut Page) {
        let report = &self.0;
        let done = if report.dry_run { "would be deleted" } else { "deleted" };
        let mut pairs = vec![
            ("committed generation", report.generation.to_string()),
            ("oldest generation kept", report.oldest_kept.to_string()),
            (done, format!("{} objects, {} bytes", Count(report.objects()), Count(report.bytes()))),
        ];
        pairs.extend(spent::pairs(&report.cost));
        page.pairs(pairs);
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Compacted(CompactReport);

impl Answer for Compacted {
    fn page(&self, page: &mut Page) {
        page.pairs([
            ("committed generation", self.0.generation.to_string()),
            ("checkpoints written", self.0.checkpoints.len().to_string()),
        ]);
    }
}
