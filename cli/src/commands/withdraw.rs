//! `recstore withdraw`: takes a rating back, by an event like any other.

use clap::Args;
use recstore::{EventId, ItemId, Outcome, Rating, RatingStoreExt, Timestamp, UserId};
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Page};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore withdraw 1 31
  recstore withdraw 1 31 --at 2024-01-15T10:30:00Z --json";

/// Which rating to take back.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WithdrawArgs {
    /// Who rated
    user: UserId,
    /// What was rated
    item: ItemId,
    /// When it was taken back: RFC 3339, or UTC milliseconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// The identity of the event: a UUID, 32 hexadecimal digits [default: a hash of what it says]
    #[arg(long, value_name = "ID")]
    event_id: Option<EventId>,
}

/// A time as it is typed.
pub(super) fn time(text: &str) -> recstore::Result<Timestamp> {
    match text.parse() {
        Ok(millis) => Timestamp::from_millis(millis),
        Err(_) => Timestamp::parse(text),
    }
}

/// Runs the command.
///
/// # Errors
/// If the time is too far ahead, or the store fails.
pub async fn run(args: WithdrawArgs, session: &Session) -> Done {
    let at = args.at.unwrap_or_else(|| session.clock.now());
    let event = Rating::from_parts(args.user, args.item, None, at, args.event_id);
    let outcome = session.storage_or_new().await?.put_rating(event.clone()).await?;
    session.output.answer(&Withdrawn {
        user: event.user().clone(),
        item: event.item().clone(),
        outcome: name(outcome),
        rated_at: at,
        event_id: event.event_id(),
    })
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Stale => "stale",
        Outcome::Duplicate => "duplicate",
        Outcome::Erased => "erased",
        Outcome::Accepted => "accepted",
    }
}

#[derive(Serialize)]
struct Withdrawn {
    user: UserId,
    item: ItemId,
    outcome: &'static str,
    rated_at: Timestamp,
    event_id: EventId,
}

impl Answer for Withdrawn {
    fn page(&self, page: &mut Page) {
        let meaning = match self.outcome {
            "applied" => "the rating is withdrawn",
            "stale" => "a newer event stands, nothing changed",
            "duplicate" => "this withdrawal is stored already",
            "erased" => "the user or the item was erased, nothing is stored",
            _ => "it is stored, and takes effect with the next `recstore pipeline run`",
        };
        page.line(format_args!("{}: {meaning}", self.outcome));
        page.pairs([
            ("user", self.user.to_string()),
            ("item", self.item.to_string()),
            ("at", self.rated_at.to_string()),
        ]);
    }
}
