//! Where the pipeline of a namespace stands: what is committed, what readers are told, what waits. Only reads.

use recstore_core::{Result, Timestamp};
use serde::Serialize;

use super::manifest::{Manifest, Purpose};
use crate::backend::AwsStorage;
use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::bronze::feature_line::FeatureLine;
use crate::lake::bronze::line::Line;
use crate::lake::bronze::reader::{BronzeList, BronzeReader, Gap};
use crate::lake::commit::{CommitDocument, TableFiles};
use crate::lake::silver::keys::SilverTable;

/// Where the pipeline stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PipelineStatus {
    /// The committed generation; 0 before the first.
    pub generation: u64,
    /// Every event acknowledged before this time is in it; `None` before the first generation.
    pub as_of: Option<Timestamp>,
    /// How long ago that was, in seconds.
    pub age_seconds: Option<u64>,
    /// The generation that readers of the tables are told of; one less while a run publishes.
    pub served: u64,
    /// A generation that was claimed and is not committed: its run is under way, or was cut off and the next run
    /// finishes it.
    pub claimed: Option<u64>,
    /// Rating events that no generation has yet.
    pub waiting: Waiting,
    /// Rows of custom groups that no generation has yet.
    pub waiting_features: Waiting,
    /// Holes in the numbers of events: what lies behind them is not read.
    pub gaps: Vec<Gap>,
    /// Names in the folders of events that are no objects of events, the first hundred of each topic.
    pub foreign: Vec<String>,
    /// How the committed generation came about.
    pub last: Option<LastRun>,
    /// What it consists of.
    pub tables: Vec<TableFigures>,
}

/// Objects that wait for the next run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// How many.
    pub objects: u64,
    /// The events or rows in them.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Waiting {
    fn of(list: &BronzeList) -> Waiting {
        Waiting { objects: list.objects.len() as u64, events: list.events(), bytes: list.bytes() }
    }
}

/// What the manifest of a generation says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRun {
    /// When it was claimed, by the clock of the one that claimed it.
    pub created_at: Timestamp,
    /// Why it was made: `events`, `rebuild` or `erasure`.
    pub purpose: &'static str,
    /// Objects that were read.
    pub objects: u64,
    /// Rating events in them.
    pub events: u64,
    /// Rows of custom groups in them.
    pub feature_rows: u64,
    /// Lines that were no events.
    pub rejected: u64,
    /// Where these are, with reasons.
    pub quarantine: Option<String>,
    /// Holes in the numbers of events, as it found them.
    pub gaps: u64,
}

impl LastRun {
    fn of(manifest: Manifest) -> LastRun {
        let rows = manifest.feature_inputs.iter().map(|object| object.key.events()).sum();
        LastRun {
            created_at: manifest.created_at,
            purpose: match manifest.purpose {
                Purpose::Events => "events",
                Purpose::Rebuild => "rebuild",
                Purpose::Erasure { .. } => "erasure",
            },
            objects: (manifest.inputs.len() + manifest.feature_inputs.len()) as u64,
            events: manifest.events(),
            feature_rows: rows,
            rejected: manifest.rejected,
            gaps: manifest.gaps.len() as u64,
            quarantine: manifest.quarantine.map(|document| document.name),
        }
    }
}

/// A table of silver in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableFigures {
    /// Its name, as in the lake.
    pub table: String,
    /// Its files, one for each bucket that has rows.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Those of them that stand.
    pub live: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl TableFigures {
    fn of(table: &SilverTable, files: &TableFiles) -> TableFigures {
        TableFigures {
            table: table.to_string(),
            files: files.buckets.len() as u64,
            rows: files.rows(),
            live: files.live(),
            bytes: files.bytes(),
        }
    }
}

fn figures(commit: &CommitDocument) -> Vec<TableFigures> {
    let built_in = [
        (SilverTable::Ratings, &commit.ratings),
        (SilverTable::RatingsByItem, &commit.ratings_by_item),
        (SilverTable::UserFeatures, &commit.user_features),
        (SilverTable::ItemFeatures, &commit.item_features),
    ];
    let custom = commit.custom.iter().map(|(group, files)| (SilverTable::Custom(group.clone()), files));
    built_in.into_iter().chain(custom).map(|(table, files)| TableFigures::of(&table, files)).collect()
}

impl AwsStorage {
    /// Where the pipeline of this namespace stands. Reads the head, one item, the names of new events and two
    /// manifests; changes nothing.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of both services.
    pub async fn pipeline_status(&self) -> Result<PipelineStatus> {
        let state = self.snapshot(None).await?.state;
        let commit = &state.commit;
        let pin = self.shared.online.read_pin(&self.space.namespace, None).await;
        let ratings = self.new_objects::<recstore_core::Rating>(&commit.cursors).await?;
        let features = self.new_objects::<FeatureLine>(&commit.feature_cursors).await?;
        let now = self.shared.context.clock.now();
        let claimed = self.manifest(state.generation + 1).await?;
        Ok(PipelineStatus {
            generation: state.generation,
            as_of: state.as_of,
            age_seconds: state.as_of.map(|as_of| now.since(as_of).as_secs()),
            served: pin?.generation.0,
            claimed: claimed.map(|manifest| manifest.generation),
            waiting: Waiting::of(&ratings),
            waiting_features: Waiting::of(&features),
            gaps: [ratings.gaps, features.gaps].concat(),
            foreign: [ratings.foreign, features.foreign].concat(),
            last: self.manifest(state.generation).await?.map(LastRun::of),
            tables: figures(commit),
        })
    }

    /// What of a topic no generation has yet.
    pub(super) async fn new_objects<L: Line>(&self, cursors: &BronzeCursors) -> Result<BronzeList> {
        let (store, namespace) = (self.shared.lake.clone(), self.space.namespace.clone());
        BronzeReader::<L>::of_topic(store, namespace).list(cursors, None).await
    }

    /// The manifest of a generation; `None` if it was not claimed.
    pub(super) async fn manifest(&self, generation: u64) -> Result<Option<Manifest>> {
        match generation {
            0 => Ok(None),
            _ => Manifest::read(&self.shared.lake, &self.space.namespace, generation).await,
        }
    }
}
