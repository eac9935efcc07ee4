//! `recstore pipeline explain`: where what is said of a user or an item comes from.

use clap::Args;
use recstore::aws::pipeline::explain::{BronzeTrace, ServedItem, SilverPlace};
use recstore::aws::pipeline::{ExplainOptions, Explanation};
use recstore::{Entity, EntityKey, EntityKind};
use serde::Serialize;

use crate::failure::Done;
use crate::output::{Answer, Count, Page, Table};
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore pipeline explain user:1
  recstore pipeline explain item:31 --objects 1000 --json";

/// Whom to explain, and how far back.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// user:ID or item:ID
    #[arg(value_name = "ENTITY", value_parser = entity)]
    entity: Entity,
    /// The most objects of events that are read for it, the newest first
    #[arg(long, value_name = "N", default_value_t = ExplainOptions::default().max_objects)]
    objects: usize,
    /// The most generations that are looked back
    #[arg(long, value_name = "N", default_value_t = ExplainOptions::default().max_generations)]
    generations: u64,
}

fn entity(text: &str) -> Result<Entity, String> {
    let wrong = || format!("{text:?} is not user:ID or item:ID");
    let (kind, id) = text.split_once(':').ok_or_else(wrong)?;
    let kind = match kind {
        "user" => EntityKind::User,
        "item" => EntityKind::Item,
        _ => return Err(wrong()),
    };
    Ok(Entity::new(kind, EntityKey::new(id).map_err(|error| error.to_string())?))
}

pub(super) async fn run(args: ExplainArgs, session: &Session) -> Done {
    let options = ExplainOptions { max_objects: args.objects, max_generations: args.generations };
    let explanation = session.aws().await?.explain(&args.entity, options).await?;
    session.output.answer(&Explained(explanation))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Explained(Explanation);

impl Answer for Explained {
    fn page(&self, page: &mut Page) {
        let Explanation { kind, id, generation, as_of, erased, bronze, bronze_features, silver, online } =
            &self.0;
        let as_of = as_of.map_or_else(String::new, |as_of| format!(", as of {as_of}"));
        page.line(format_args!("{kind} {id} in generation {generation}{as_of}"));
        if let Some(tombstone) = erased {
            let (at, until) = (tombstone.erased_at, tombstone.barred_until);
            page.line(format_args!("erased at {at}; events up to {until} are barred"));
        }
        of_bronze("events", bronze, page);
        if bronze_features.searched > 0 {
            of_bronze("rows of custom groups", bronze_features, page);
        }
        of_silver(silver, page);
        of_online(online, page);
    }
}

fn of_bronze(heading: &str, trace: &BronzeTrace, page: &mut Page) {
    page.gap();
    page.heading(heading);
    if trace.objects.is_empty() {
        page.line("none found");
    } else {
        let of_groups = trace.objects.iter().any(|place| place.group.is_some());
        let group = of_groups.then_some("group");
        let columns = ["generation"].into_iter().chain(group).chain([">lines", "first", "last", "object"]);
        let mut table = Table::new(columns);
        for place in &trace.objects {
            let generation =
                place.generation.map_or("waiting".to_owned(), |generation| generation.to_string());
            let (lines, object) = (Count(place.events).to_string(), place.object.clone());
            let group = place.group.iter().map(ToString::to_string);
            let rest = [lines, place.first.to_string(), place.last.to_string(), object];
            table.row([generation].into_iter().chain(group).chain(rest));
        }
        page.table(table);
    }
    let searched = Count(trace.searched);
    match (trace.complete, trace.back_to) {
        (true, _) => page.line(format_args!("objects searched: {searched}, all there are")),
        (false, Some(back_to)) => page.line(format_args!(
            "objects searched: {searched}, back to generation {back_to}; --objects and --generations search further"
        )),
        (false, None) => page.line(format_args!("objects searched: {searched}; --objects searches further")),
    }
}

fn of_silver(places: &[SilverPlace], page: &mut Page) {
    page.gap();
    page.heading("silver");
    let mut table = Table::new(["table", ">bucket", ">rows", ">written by", "file"]);
    for place in places {
        table.row([
            place.table.clone(),
            place.bucket.to_string(),
            place.rows.map_or("?".to_owned(), |rows| Count(rows).to_string()),
            place.generation.map_or("-".to_owned(), |generation| generation.to_string()),
            place.file.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    match places.is_empty() {
        true => page.line("nothing is committed yet"),
        false => page.table(table),
    }
}

fn of_online(items: &[ServedItem], page: &mut Page) {
    page.gap();
    page.heading("DynamoDB");
    let columns = ["table", "partition", "sort", ">written by", ">before", ">ratings", "event time"];
    let mut table = Table::new(columns);
    for item in items {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        table.row([
            item.table.clone(),
            item.partition.clone(),
            item.sort.clone(),
            if item.found && item.generation.is_none() {
                "a put".to_owned()
            } else {
                number(item.generation)
            },
            number(item.previous),
            number(item.ratings),
            item.event_time.map_or("-".to_owned(), |time| time.to_string()),
        ]);
    }
    page.table(table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_its_kind_and_its_id() {
        let parsed = entity("user:a:b").unwrap();
        assert_eq!((parsed.kind, parsed.key.as_str()), (EntityKind::User, "a:b"));
        assert_eq!(entity("item:31").unwrap().kind, EntityKind::Item);
        for wrong in ["31", "user:", "tag:1", ":1"] {
            assert!(entity(wrong).is_err(), "{wrong}");
        }
    }
}
