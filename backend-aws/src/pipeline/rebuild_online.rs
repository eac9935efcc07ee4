//! Fills lost tables: what is committed from silver, and rows of custom groups that no run has taken in yet from bronze.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use recstore_core::{FeatureName, Outcome, Result};

use super::custom::{Entry, fit};
use super::manifest::Manifest;
use super::publish::PublishReport;
use super::run::Pipeline;
use crate::features::is_barred;
use crate::lake::bronze::feature_line::FeatureLine;
use crate::lake::bronze::object::corrupt;
use crate::lake::commit::CommitDocument;
use crate::lake::head::{Snapshot, State};
use crate::lake::keys::run_name;

/// Rows put at a time.
const ROWS_AT_ONCE: usize = 1000;

impl Pipeline {
    /// Publishes everything that is committed, and every row of a custom group that is acknowledged, to tables that have
    /// nothing, or not all, of it. Once there were two generations, readers refuse the tables until all is there. The same
    /// call again changes nothing.
    ///
    /// # Errors
    /// Those of both services; `Conflict` if the tables hold other rows of the committed generation.
    pub async fn rebuild_online(&self) -> Result<PublishReport> {
        let base = self.committed().await?;
        let published = self.refill(&base).await?;
        // Readers go on when they know of the generation: of releases, hidden items and tombstones before that.
        self.storage.tell_readers(&base).await?;
        self.tell_readers(&base).await?;
        Ok(published)
    }

    /// Publishes all that the tables had, and tells nobody.
    pub(super) async fn refill(&self, base: &Snapshot) -> Result<PublishReport> {
        let mut published = match base.state.generation {
            0 => PublishReport::default(),
            _ => self.fill(base).await?,
        };
        published.custom_items += self.show_waiting(base).await?;
        Ok(published)
    }

    /// Publishes all of a committed generation.
    async fn fill(&self, base: &Snapshot) -> Result<PublishReport> {
        let state = &base.state;
        let (store, namespace) = (self.heads().store(), self.heads().namespace());
        let manifest = Manifest::read(store, namespace, state.generation).await?.ok_or_else(|| {
            let name = run_name(namespace, state.generation);
            corrupt("the manifest of the committed generation is gone").on(name)
        })?;
        let publisher = self.publisher(&state.groups);
        let published = publisher.rows(&CommitDocument::default(), &state.commit, &manifest).await?;
        self.storage.publish_releases(state).await?;
        Ok(published)
    }

    /// Puts the rows of custom groups that readers were shown when they were put, and that no run has taken in yet; says
    /// how many were missing.
    async fn show_waiting(&self, base: &Snapshot) -> Result<u64> {
        let reader = &self.readers.features;
        let list = reader.list(&base.state.commit.feature_cursors, None).await?;
        // Groups are declared before their first line is stored: those read now know every line of the list.
        let state = self.heads().read(None).await?.state;
        let mut batches = reader.read(list.objects, ROWS_AT_ONCE, None);
        let mut shown = 0;
        while let Some(batch) = batches.try_next().await? {
            for (group, rows) in self.rows_of(&state, batch.events) {
                shown += self.show(&state, &group, rows).await?;
            }
        }
        Ok(shown)
    }

    /// The rows of these lines by group, without those that are barred or fit no group: the next run tells of these.
    fn rows_of(&self, state: &State, lines: Vec<FeatureLine>) -> BTreeMap<FeatureName, Vec<Entry>> {
        let mut rows: BTreeMap<FeatureName, Vec<Entry>> = BTreeMap::new();
        for line in lines {
            let Some(group) = state.groups.get(&line.group) else { continue };
            if is_barred(&state.tombstones, self.context(), group.entity, &line.row) {
                continue;
            }
            if let Ok((_, entry)) = fit(&state.groups, line) {
                rows.entry(group.name.clone()).or_default().push(entry);
            }
        }
        rows
    }

    async fn show(&self, state: &State, group: &FeatureName, rows: Vec<Entry>) -> Result<u64> {
        let Some(schema) = state.groups.get(group) else { return Ok(0) };
        let (online, namespace) = (&self.storage.shared.online, self.heads().namespace());
        let outcomes = online.put_custom(namespace, schema.entity, group, rows, None).await?;
        outcomes.into_iter().try_fold(0, |shown, outcome| Ok(shown + u64::from(outcome? == Outcome::Applied)))
    }
}
