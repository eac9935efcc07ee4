//! `recstore recommend`: items for a user.

use clap::Args;
use recstore::{RecommendOptions, Recommendation, RecommendationOrigin, UserId, recommend};
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Page, Table};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore recommend 1
  recstore recommend 1 -k 20 --json";

/// To whom, and how many.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RecommendArgs {
    /// Who gets the recommendations
    user: UserId,
    /// How many
    #[arg(short, long = "k", value_name = "K", default_value_t = RecommendOptions::default().k)]
    k: usize,
    /// How many of the user's ratings are used, the newest
    #[arg(long, value_name = "N", default_value_t = RecommendOptions::default().history)]
    history: usize,
}

/// Runs the command.
///
/// # Errors
/// If the store fails.
pub async fn run(args: RecommendArgs, session: &Session) -> Done {
    let options = RecommendOptions::default().with_k(args.k).with_history(args.history);
    let storage = session.storage().await?;
    let items = recommend(&*storage, &args.user, options).await?;
    if items.is_empty() {
        session.output.talk("nothing to recommend; is there a release? see `recstore similar releases`");
    }
    session.output.answer(&Recommended(items))
}

/// Recommendations, the best first.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Recommended(pub(super) Vec<Recommendation>);

impl Answer for Recommended {
    fn page(&self, page: &mut Page) {
        let mut table = Table::new([">", "id", ">score", "because"]);
        for (index, item) in self.0.iter().enumerate() {
            let origin = match item.origin {
                RecommendationOrigin::Popular => "popular",
                _ => "like what was rated",
            };
            table.row([
                (index + 1).to_string(),
                item.id.to_string(),
                format!("{:.4}", item.score),
                origin.to_owned(),
            ]);
        }
        page.table(table);
    }
}
