//! `recstore features`: what is known of users and items, and computing it anew.

use clap::{Args, Subcommand};
use recstore::{
    EntityKey, EntityKind, FeatureBatch, FeatureName, FeatureRequest, FeatureValue, Origin, RebuildReport,
    RowStatus,
};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::args::Kind;
use crate::failure::Done;
use crate::output::{Answer, Count, Page, Table};
use crate::progress::Progress;
use crate::session::Session;

const SHOW_EXAMPLES: &str = "\
Examples:
  recstore features show user 1 2 3
  recstore features show item 1 --columns rating_count,bayesian_mean --json";
const REBUILD_EXAMPLES: &str = "\
Examples:
  recstore features rebuild";

/// Show or rebuild features of users and items.
#[derive(Debug, Subcommand)]
pub enum FeaturesCommand {
    /// Show features; unknown ids are shown as missing
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Compute the built-in features anew from the ratings, with the configured parameters
    #[command(after_help = REBUILD_EXAMPLES)]
    Rebuild,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Users or items
    #[arg(value_enum)]
    kind: Kind,
    /// Whose features
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EntityKey>,
    /// The feature group [default: user_ratings or item_ratings]
    #[arg(long, value_name = "NAME")]
    group: Option<FeatureName>,
    /// Only these columns, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Option<Vec<FeatureName>>,
}

/// Runs the command.
///
/// # Errors
/// For an unknown group or column, and if the store fails.
pub async fn run(command: FeaturesCommand, session: &Session) -> Done {
    match command {
        FeaturesCommand::Show(args) => show(args, session).await,
        FeaturesCommand::Rebuild => rebuild(session).await,
    }
}

async fn show(args: ShowArgs, session: &Session) -> Done {
    let group = args.group.unwrap_or(match EntityKind::from(args.kind) {
        EntityKind::User => FeatureName::USER_RATINGS,
        EntityKind::Item => FeatureName::ITEM_RATINGS,
    });
    let mut request = FeatureRequest::new(group, args.ids);
    request.columns = args.columns;
    let batch = session.storage().await?.get_features(request).await?;
    session.output.answer(&Rows(batch))
}

async fn rebuild(session: &Session) -> Done {
    let storage = session.storage_adopting_parameters().await?;
    let progress = Progress::spinner(&session.output, "rebuilding features");
    let report = storage.rebuild_features().await?;
    drop(progress);
    session.output.answer(&report)
}

impl Answer for RebuildReport {
    fn page(&self, page: &mut Page) {
        page.pairs([
            ("users", Count(self.users).to_string()),
            ("items", Count(self.items).to_string()),
            ("changed", Count(self.changed).to_string()),
        ]);
    }
}

/// Feature rows, in the order asked.
pub(super) struct Rows(pub(super) FeatureBatch);

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.len()))?;
        for row in 0..self.0.len() {
            rows.serialize_element(&Row { batch: &self.0, row })?;
        }
        rows.end()
    }
}

struct Row<'a> {
    batch: &'a FeatureBatch,
    row: usize,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = &self.batch.status[self.row];
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.batch.ids[self.row])?;
        map.serialize_entry("status", status.as_str())?;
        map.serialize_entry("columns", &Columns { batch: self.batch, row: self.row })?;
        match status {
            // Built-in rows are as fresh as the ratings themselves.
            RowStatus::Found { as_of, origin: Origin::Stored } | RowStatus::TooOld { as_of } => {
                map.serialize_entry("as_of", as_of)?;
            }
            RowStatus::Failed { kind, reason } => {
                map.serialize_entry("kind", kind.as_str())?;
                map.serialize_entry("reason", reason)?;
            }
            _ => {}
        }
        map.end()
    }
}

/// The values of a found row by column; nothing for any other row.
struct Columns<'a> {
    batch: &'a FeatureBatch,
    row: usize,
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.batch.status[self.row].is_found() {
            for column in &self.batch.columns {
                map.serialize_entry(column.name.as_str(), &column.value(self.row).map(Value))?;
            }
        }
        map.end()
    }
}

/// A value as JSON has it, or as a table shows it.
struct Value(FeatureValue);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            FeatureValue::Integer(value) => value.serialize(serializer),
            FeatureValue::Float(value) => value.serialize(serializer),
            FeatureValue::Bool(value) => value.serialize(serializer),
            FeatureValue::Text(value) => value.serialize(serializer),
            FeatureValue::Timestamp(value) => value.serialize(serializer),
            FeatureValue::Vector(value) => value.serialize(serializer),
            FeatureValue::TextList(value) => value.serialize(serializer),
        }
    }
}

impl Value {
    fn shown(&self) -> String {
        match &self.0 {
            FeatureValue::Integer(value) => value.to_string(),
            FeatureValue::Float(value) => shown_float(*value),
            FeatureValue::Bool(value) => value.to_string(),
            FeatureValue::Text(value) => value.clone(),
            FeatureValue::Timestamp(value) => value.to_string(),
            FeatureValue::Vector(value) => format!("{value:?}"),
            FeatureValue::TextList(value) => value.join(", "),
        }
    }
}

/// Six decimals at most: `2.55`, `0.864581`.
fn shown_float(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Answer for Rows {
    fn page(&self, page: &mut Page) {
        let batch = &self.0;
        let names = batch.columns.iter().map(|column| format!(">{}", column.name));
        let mut table = Table::new(["id".to_owned(), "status".to_owned()].into_iter().chain(names));
        for (row, (id, status)) in batch.ids.iter().zip(&batch.status).enumerate() {
            let shown =
                |value: Option<FeatureValue>| value.map_or("-".to_owned(), |value| Value(value).shown());
            let values = batch.columns.iter().map(|column| shown(column.value(row)));
            table.row([id.to_string(), status.as_str().to_owned()].into_iter().chain(values));
        }
        page.table(table);
        for (id, status) in batch.ids.iter().zip(&batch.status) {
            if let RowStatus::Failed { reason, .. } = status {
                page.line(format_args!("{id}: {reason}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_six_decimals_at_most() {
        for (value, text) in [(2.55, "2.55"), (0.864_580_999, "0.864581"), (4.0, "4"), (100.0, "100")] {
            assert_eq!(shown_float(value), text);
        }
    }
}
