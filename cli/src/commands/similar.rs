//! `recstore similar`: neighbours, and the releases that they come in.

mod build;
mod show;

use clap::{Args, Subcommand};
use recstore::{EntityKind, ItemId, PruneOptions, ReleaseId, ReleaseInfo, ReleaseState, Timestamp};
use serde::Serialize;

use crate::args::Kinds;
use crate::failure::Done;
use crate::output::{Answer, Page, Table};
use crate::session::Session;

pub(super) use build::{Built, build as build_release};
pub(super) use show::Lists;

const RELEASES_EXAMPLES: &str = "\
Examples:
  recstore similar releases
  recstore similar releases --for users --json";
const PROMOTE_EXAMPLES: &str = "\
Examples:
  recstore similar promote item-001260759144000-0000";
const ROLLBACK_EXAMPLES: &str = "\
Examples:
  recstore similar rollback";
const PRUNE_EXAMPLES: &str = "\
Examples:
  recstore similar prune --keep 1";
const HIDE_EXAMPLES: &str = "\
Examples:
  recstore similar hide 31 1029
  recstore similar unhide 31
  recstore similar hidden";

/// Build, show and manage neighbours.
#[derive(Debug, Subcommand)]
pub enum SimilarCommand {
    /// Compute neighbours from the ratings, check them, and make them the current ones
    #[command(after_help = build::EXAMPLES)]
    Build(build::BuildArgs),
    /// Show neighbours; ids without a list are shown as missing
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// List the releases, the newest first
    #[command(after_help = RELEASES_EXAMPLES)]
    Releases(ForArgs),
    /// Make a sealed release the current one
    #[command(after_help = PROMOTE_EXAMPLES)]
    Promote(PromoteArgs),
    /// Make the release that was current before the current one again
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(ForArgs),
    /// Remove old releases, never the current one
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// Keep items out of all neighbours and recommendations, at once
    #[command(after_help = HIDE_EXAMPLES)]
    Hide(ItemsArgs),
    /// Show hidden items again
    #[command(after_help = HIDE_EXAMPLES)]
    Unhide(ItemsArgs),
    /// List the hidden items
    #[command(after_help = HIDE_EXAMPLES)]
    Hidden,
}

/// Neighbours among items or users.
#[derive(Debug, Args)]
pub struct ForArgs {
    /// Neighbours among items or among users
    #[arg(long = "for", value_enum, default_value = "items")]
    kinds: Kinds,
}

/// Which release to promote.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The release, as `similar releases` names it
    release: String,
}

/// What to prune.
#[derive(Debug, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    whose: ForArgs,
    /// How many releases to keep besides the current one, the newest
    #[arg(long, default_value_t = PruneOptions::default().keep)]
    keep: usize,
}

/// Which items.
#[derive(Debug, Args)]
pub struct ItemsArgs {
    /// The items
    #[arg(required = true, value_name = "ITEM")]
    items: Vec<ItemId>,
}

/// Runs the command.
///
/// # Errors
/// For unknown releases, and if the store fails.
pub async fn run(command: SimilarCommand, session: &Session) -> Done {
    match command {
        SimilarCommand::Build(args) => build::run(args, session).await,
        SimilarCommand::Show(args) => show::run(args, session).await,
        SimilarCommand::Releases(args) => {
            let releases = session.storage().await?.releases(args.kinds.into()).await?;
            session.output.answer(&Releases(releases.iter().map(Release::of).collect()))
        }
        SimilarCommand::Promote(args) => {
            let release = ReleaseId::from_text(args.release);
            let info = session.storage().await?.promote_release(&release).await?;
            session.output.answer(&Promoted(Release::of(&info)))
        }
        SimilarCommand::Rollback(args) => {
            let info = session.storage().await?.rollback_release(args.kinds.into()).await?;
            session.output.answer(&Promoted(Release::of(&info)))
        }
        SimilarCommand::Prune(args) => prune(args, session).await,
        SimilarCommand::Hide(args) => {
            session.storage().await?.hide_items(args.items).await?;
            hidden(session).await
        }
        SimilarCommand::Unhide(args) => {
            session.storage().await?.unhide_items(args.items).await?;
            hidden(session).await
        }
        SimilarCommand::Hidden => hidden(session).await,
    }
}

async fn prune(args: PruneArgs, session: &Session) -> Done {
    let options = PruneOptions { keep: args.keep, ..PruneOptions::default() };
    let removed = session.storage().await?.prune_releases(args.whose.kinds.into(), options).await?;
    session.output.answer(&Pruned { removed })
}

async fn hidden(session: &Session) -> Done {
    let hidden = session.storage().await?.hidden_items().await?;
    session.output.answer(&Hidden { hidden })
}

/// A release, flat.
#[derive(Debug, Serialize)]
struct Release {
    id: ReleaseId,
    #[serde(rename = "for")]
    kind: EntityKind,
    state: ReleaseState,
    created_at: Timestamp,
    measure: String,
    k: usize,
    min_common: u32,
    shrinkage: f64,
    lists: u64,
    neighbours: u64,
    promotion: Option<u64>,
}

impl Release {
    fn of(info: &ReleaseInfo) -> Release {
        let options = &info.spec.options;
        Release {
            id: info.id.clone(),
            kind: info.spec.kind,
            state: info.state,
            created_at: info.created_at,
            measure: options.measure.to_string(),
            k: options.k,
            min_common: options.min_common,
            shrinkage: options.shrinkage,
            lists: info.lists,
            neighbours: info.neighbours,
            promotion: info.promotion,
        }
    }

    fn state(&self) -> &'static str {
        match self.state {
            ReleaseState::Building => "building",
            ReleaseState::Sealed => "sealed",
            ReleaseState::Current => "current",
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Releases(Vec<Release>);

impl Answer for Releases {
    fn page(&self, page: &mut Page) {
        if self.0.is_empty() {
            page.line("no releases; `recstore similar build` makes one");
            return;
        }
        let columns = ["release", "state", "created", "measure", ">k", ">min common", ">shrinkage", ">lists"];
        let mut table = Table::new(columns.into_iter().chain([">neighbours", ">promotion"]));
        for release in &self.0 {
            table.row([
                release.id.to_string(),
                release.state().to_owned(),
                release.created_at.to_string(),
                release.measure.clone(),
                release.k.to_string(),
                release.min_common.to_string(),
                release.shrinkage.to_string(),
                release.lists.to_string(),
                release.neighbours.to_string(),
                release.promotion.map_or("-".into(), |promotion| promotion.to_string()),
            ]);
        }
        page.table(table);
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Promoted(Release);

impl Answer for Promoted {
    fn page(&self, page: &mut Page) {
        page.line(format_args!("{} is current now", self.0.id));
    }
}

#[derive(Serialize)]
struct Pruned {
    removed: Vec<ReleaseId>,
}

impl Answer for Pruned {
    fn page(&self, page: &mut Page) {
        page.line(format_args!("removed releases: {}", self.removed.len()));
        self.removed.iter().for_each(|release| page.line(release));
    }
}

#[derive(Serialize)]
struct Hidden {
    hidden: Vec<ItemId>,
}

impl Answer for Hidden {
    fn page(&self, page: &mut Page) {
        if self.hidden.is_empty() {
            page.line("no items are hidden");
            return;
        }
        page.line(format_args!("hidden items: {}", self.hidden.len()));
        self.hidden.iter().for_each(|item| page.line(item));
    }
}
