//! `recstore stats`: how much is stored.

use clap::Args;
use recstore::{Capabilities, GetOptions, Namespace, Stats};
use serde::{Serialize, Serializer};

use crate::failure::Done;
use crate::output::{Answer, Count, Page};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore stats
  recstore stats --namespace shop --json";

/// Nothing can be chosen.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatsArgs {}

/// Runs the command.
///
/// # Errors
/// If the store fails.
pub async fn run(_: StatsArgs, session: &Session) -> Done {
    let storage = session.storage().await?;
    let stats = storage.stats(GetOptions::default()).await?;
    session.output.answer(&Counted::new(storage.namespace().clone(), storage.capabilities(), stats))
}

/// The counts, flat.
#[derive(Serialize)]
struct Counted {
    namespace: Namespace,
    mode: &'static str,
    ratings: u64,
    withdrawn: u64,
    users: u64,
    items: u64,
    feature_rows: u64,
    releases: u64,
    hidden_items: u64,
    tombstones: u64,
    #[serde(serialize_with = "as_map")]
    backend: Vec<(&'static str, u64)>,
}

fn as_map<S: Serializer>(pairs: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

impl Counted {
    fn new(namespace: Namespace, capabilities: Capabilities, stats: Stats) -> Counted {
        Counted {
            namespace,
            mode: capabilities.mode,
            ratings: stats.ratings.ratings,
            withdrawn: stats.ratings.withdrawn,
            users: stats.users,
            items: stats.items,
            feature_rows: stats.feature_rows,
            releases: stats.releases,
            hidden_items: stats.hidden_items,
            tombstones: stats.tombstones,
            backend: stats.backend,
        }
    }
}

impl Answer for Counted {
    fn page(&self, page: &mut Page) {
        page.pairs([("namespace", self.namespace.to_string()), ("mode", self.mode.to_owned())]);
        page.pairs(
            [
                ("ratings", self.ratings),
                ("withdrawn", self.withdrawn),
                ("users", self.users),
                ("items", self.items),
                ("custom feature rows", self.feature_rows),
                ("releases", self.releases),
                ("hidden items", self.hidden_items),
                ("tombstones", self.tombstones),
            ]
            .into_iter()
            .map(|(name, count)| (name, Count(count).to_string())),
        );
        if !self.backend.is_empty() {
            page.gap();
            page.heading(format_args!("{} backend", self.mode));
            page.pairs(self.backend.iter().map(|(name, count)| (*name, Count(*count).to_string())));
        }
    }
}
