//! `recstore ratings`: what users rated and how items were rated.

use clap::{Args, Subcommand};
use recstore::{HistoryOptions, HistoryPage, ItemId, PageToken, RatingRow, TimeRange, Timestamp, UserId};
use serde::Serialize;

use crate::commands::withdraw::time;
use crate::failure::Done;
use crate::output::{Answer, Page, Table};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore ratings show --user 1
  recstore ratings show --item 31 --limit 5 --json
  recstore ratings show --user 1 --from 2024-01-01T00:00:00Z --withdrawn";

/// Show ratings.
#[derive(Debug, Subcommand)]
pub enum RatingsCommand {
    /// Show the ratings of a user or of an item, newest first
    #[command(after_help = EXAMPLES)]
    Show(ShowArgs),
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    whose: Whose,
    /// The most ratings, 1 to 10,000
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
    /// Show withdrawn ratings too
    #[arg(long)]
    withdrawn: bool,
    /// Only ratings from this time on: RFC 3339, or UTC milliseconds
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Only ratings before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Go on where another page ended (its `next`)
    #[arg(long)]
    token: Option<String>,
}

/// Whose ratings: exactly one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The ratings of this user
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// The ratings of this item
    #[arg(long, value_name = "ID")]
    item: Option<ItemId>,
}

/// Runs the command.
///
/// # Errors
/// If the store fails.
pub async fn run(command: RatingsCommand, session: &Session) -> Done {
    let RatingsCommand::Show(args) = command;
    let options = HistoryOptions::default()
        .with_limit(args.limit)
        .with_time(TimeRange { from: args.from, to: args.to })
        .with_withdrawn(args.withdrawn)
        .with_token(args.token.map(PageToken::from_text));
    let storage = session.storage().await?;
    let page = match args.whose {
        Whose { user: Some(user), .. } => storage.user_history(&user, options).await?,
        Whose { item: Some(item), .. } => storage.item_history(&item, options).await?,
        // Parsing asks for one of the two.
        Whose { user: None, item: None } => HistoryPage { rows: Vec::new(), next: None },
    };
    session.output.answer(&Ratings {
        ratings: page.rows.iter().map(Row::of).collect(),
        next: page.next.as_ref().map(PageToken::as_str),
    })
}

#[derive(Serialize)]
struct Ratings<'a> {
    ratings: Vec<Row<'a>>,
    next: Option<&'a str>,
}

/// A rating; without a value it was withdrawn.
#[derive(Serialize)]
struct Row<'a> {
    user: &'a UserId,
    item: &'a ItemId,
    value: Option<f64>,
    rated_at: Timestamp,
    first_rated_at: Timestamp,
    event_id: String,
}

impl Row<'_> {
    fn of(row: &RatingRow) -> Row<'_> {
        Row {
            user: row.rating.user(),
            item: row.rating.item(),
            value: row.rating.value().map(|value| value.as_f64()),
            rated_at: row.rating.rated_at(),
            first_rated_at: row.first_rated_at,
            event_id: row.rating.event_id().to_string(),
        }
    }
}

impl Answer for Ratings<'_> {
    fn page(&self, page: &mut Page) {
        if self.ratings.is_empty() {
            page.line("no ratings");
            return;
        }
        let mut table = Table::new(["user", "item", ">value", "rated at", "event id"]);
        for row in &self.ratings {
            table.row([
                row.user.to_string(),
                row.item.to_string(),
                row.value.map_or("withdrawn".into(), |value| value.to_string()),
                row.rated_at.to_string(),
                row.event_id.clone(),
            ]);
        }
        page.table(table);
        if let Some(next) = self.next {
            page.line(format_args!("more: --token {next:?}"));
        }
    }
}
