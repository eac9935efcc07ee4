//! `recstore erase`: one user or item out of everything; a dry run until confirmed.

use clap::Args;
use recstore::{Entity, EntityKey, EntityKind, EraseOptions, EraseReport};
use serde::Serialize;

use crate::args::Kind;
use crate::failure::Done;
use crate::output::{Answer, Count, Page};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore erase user 42          (shows what would go)
  recstore erase user 42 --yes
  recstore erase item 31 --yes --json";

/// What to erase.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EraseArgs {
    /// A user or an item
    #[arg(value_enum)]
    kind: Kind,
    /// Its id
    id: EntityKey,
    /// Really erase: there is no way back
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// If the store fails.
pub async fn run(args: EraseArgs, session: &Session) -> Done {
    let entity = Entity::new(args.kind.into(), args.id);
    let options = if args.yes { EraseOptions::default() } else { EraseOptions::dry_run() };
    let report = session.storage().await?.erase(&entity, options).await?;
    session.output.answer(&Erased { kind: entity.kind, id: entity.key, dry_run: options.dry_run, report })
}

#[derive(Serialize)]
struct Erased {
    kind: EntityKind,
    id: EntityKey,
    dry_run: bool,
    #[serde(flatten)]
    report: EraseReport,
}

impl Answer for Erased {
    fn page(&self, page: &mut Page) {
        let verb = if self.dry_run { "would erase" } else { "erased" };
        page.line(format_args!("{verb} {} {}", self.kind, self.id));
        let report = &self.report;
        page.pairs([
            ("ratings", Count(report.ratings).to_string()),
            ("feature rows", Count(report.feature_rows).to_string()),
            ("neighbour lists", Count(report.neighbour_lists).to_string()),
            ("entries in lists of others", Count(report.neighbour_entries).to_string()),
            ("bars events up to", report.barred_until.to_string()),
        ]);
        if self.dry_run {
            page.line("nothing was changed; --yes erases it, for good");
        }
    }
}
