//! `recstore similar show`: the neighbours of items or users.

use clap::Args;
use recstore::{EntityKey, Lookup, Neighbour, NeighbourAnswer, NeighbourRequest, ReleaseId};
use serde::Serialize;

use super::ForArgs;
use crate::failure::Done;
use crate::output::{Answer, Page, Table};
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore similar show 1 2
  recstore similar show 1 -k 5 --json
  recstore similar show 7 --for users";

/// Whose neighbours to show.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The items (or users)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EntityKey>,
    #[command(flatten)]
    whose: ForArgs,
    /// The most neighbours of each [default: all]
    #[arg(short, long = "k", value_name = "K")]
    k: Option<usize>,
    /// Another release than the current one
    #[arg(long)]
    release: Option<String>,
}

pub(super) async fn run(args: ShowArgs, session: &Session) -> Done {
    let mut request = NeighbourRequest::new(args.whose.kinds.into(), args.ids.clone());
    request.limit = args.k;
    request.release = args.release.map(ReleaseId::from_text);
    let answer = session.storage().await?.get_neighbours(request).await?;
    if answer.release.is_none() {
        session.output.talk("no release is promoted yet; `recstore similar build` makes one");
    }
    session.output.answer(&Lists::new(args.ids, answer))
}

/// Neighbour lists, in the order asked.
#[derive(Serialize)]
#[serde(transparent)]
pub(in crate::commands) struct Lists(Vec<List>);

#[derive(Serialize)]
struct List {
    id: EntityKey,
    status: &'static str,
    release: Option<ReleaseId>,
    neighbours: Vec<Neighbour>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Lists {
    pub(in crate::commands) fn new(ids: Vec<EntityKey>, answer: NeighbourAnswer) -> Lists {
        let NeighbourAnswer { release, lists } = answer;
        let list = |(id, list): (EntityKey, Lookup<Vec<Neighbour>>)| {
            let (status, neighbours, reason) = match list {
                Lookup::Found(found) => ("found", found.value, None),
                Lookup::Missing => ("missing", Vec::new(), None),
                Lookup::Failed(error) => ("failed", Vec::new(), Some(error.to_string())),
            };
            List { id, status, release: release.clone(), neighbours, reason }
        };
        Lists(ids.into_iter().zip(lists).map(list).collect())
    }
}

impl Answer for Lists {
    fn page(&self, page: &mut Page) {
        for list in &self.0 {
            page.gap();
            match (&list.reason, list.status) {
                (Some(reason), _) => page.line(format_args!("{}: failed: {reason}", list.id)),
                (None, "found") if list.neighbours.is_empty() => {
                    page.line(format_args!("{}: no neighbours", list.id));
                }
                (None, "found") => {
                    page.heading(format_args!("neighbours of {}", list.id));
                    page.table(table(&list.neighbours));
                }
                (None, status) => page.line(format_args!("{}: {status}", list.id)),
            }
        }
    }
}

fn table(neighbours: &[Neighbour]) -> Table {
    let mut table = Table::new(["id", ">similarity", ">common"]);
    for neighbour in neighbours {
        table.row([
            neighbour.id.to_string(),
            format!("{:.6}", neighbour.similarity),
            neighbour.common.to_string(),
        ]);
    }
    table
}
