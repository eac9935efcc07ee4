//! The lines that were no events, as the runs that met them wrote them down. Only reads.

use recstore_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::compute::QuarantinedLine;
use super::manifest::Manifest;
use super::retained::listed;
use crate::backend::AwsStorage;
use crate::lake::bronze::object::corrupt;
use crate::lake::documents::{DocumentRef, document_number, read_document};
use crate::lake::keys::{BronzeKey, quarantine_folder, run_name};

/// The number of a line whose place in its object is not known: it read well, and was no row of its group.
pub(crate) const UNNUMBERED: u64 = u64::MAX;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct QuarantineOptions {
    /// Those of this generation only; of all that are kept by default.
    pub generation: Option<u64>,
    /// The most lines, the newest generations first; 100 by default.
    pub limit: usize,
}

impl Default for QuarantineOptions {
    fn default() -> QuarantineOptions {
        QuarantineOptions { generation: None, limit: 100 }
    }
}

/// A line that was no event, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedLine {
    /// The generation whose run met it.
    pub generation: u64,
    /// The object it is in, as its name within the lake.
    pub object: String,
    /// Its number in the object, from 1; `None` for a line that reads well and is no row of its group.
    pub line: Option<u64>,
    /// Why it is no event.
    pub reason: String,
    /// How it begins; of a row of a custom group, which one.
    pub text: String,
}

/// What was found in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QuarantineReport {
    /// The lines, the newest generations first, in the order of the objects within one.
    pub lines: Vec<RefusedLine>,
    /// How many lines the runs of these generations refused. They write down the first ten thousand each.
    pub refused: u64,
    /// Whether lines are left out that are written down.
    pub more: bool,
}

impl AwsStorage {
    /// The lines that the runs of this namespace refused, as far as they are kept (`aws.pipeline.retention.quarantine`).
    /// Reads the head, the names of the quarantine, and of each generation that has one its manifest and its lines.
    ///
    /// # Errors
    /// `NotFound` if the generation that is asked for is not committed; `Corrupt`, `SchemaVersion`; those of the object
    /// store.
    pub async fn quarantine(&self, options: QuarantineOptions) -> Result<QuarantineReport> {
        let committed = self.snapshot(None).await?.state.generation;
        if let Some(generation) = options.generation.filter(|asked| !(1..=committed).contains(asked)) {
            let text = format!("generation {generation} is not committed, {committed} is the newest");
            return Err(Error::new(ErrorKind::NotFound, text).on(self.space.namespace.as_str()));
        }
        let is_wanted = |number: &u64| match options.generation {
            Some(generation) => *number == generation,
            None => *number <= committed,
        };
        let folder = quarantine_folder(&self.space.namespace);
        let names: Vec<String> =
            listed(&self.shared.lake, &folder).await?.into_iter().map(|object| object.name).collect();
        let mut generations: Vec<u64> =
            names.iter().filter_map(|name| document_number(name)).filter(is_wanted).collect();
        generations.dedup();
        let mut report = QuarantineReport::default();
        for generation in generations.into_iter().rev() {
            let manifest = self.manifest(generation).await?.ok_or_else(|| {
                let name = run_name(&self.space.namespace, generation);
                corrupt("the manifest of a committed generation is gone").on(name)
            })?;
            // A runner that came too late may have left lines that no manifest names.
            let kept = |document: &DocumentRef| names.contains(&document.name);
            let Some(document) = manifest.quarantine.clone().filter(kept) else { continue };
            if report.lines.len() >= options.limit {
                report.more = true;
                break;
            }
            self.add_refused(&manifest, &document, options.limit, &mut report).await?;
        }
        Ok(report)
    }

    /// Adds the lines of a generation.
    async fn add_refused(
        &self,
        manifest: &Manifest,
        document: &DocumentRef,
        limit: usize,
        report: &mut QuarantineReport,
    ) -> Result<()> {
        let lines: Vec<QuarantinedLine> = read_document(&self.shared.lake, document, None).await?;
        report.refused += manifest.rejected;
        let room = limit - report.lines.len();
        report.more |= lines.len() > room;
        for line in lines.into_iter().take(room) {
            let QuarantinedLine { object, number, reason, text } = line;
            let first = object.parse::<BronzeKey>().map(|key| key.first).unwrap_or_default();
            let line = (number != UNNUMBERED).then(|| number.saturating_sub(first) + 1);
            let generation = manifest.generation;
            report.lines.push(RefusedLine { generation, object, line, reason, text });
        }
        Ok(())
    }
}
