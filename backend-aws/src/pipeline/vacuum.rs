//! Deleting what nothing names any more, and nothing ever will.
//!
//! There is no lock, and none is needed: an object is deleted only when its *name* says that it is too late to name it.
//!
//! - Data files, commit documents and quarantines carry the generation they were made for. A run that is still computing
//!   works for the generation after the committed one, and one that has claimed is not committed yet: their files carry a
//!   greater number than any that is looked at. Of a committed generation the manifest, created once and never deleted,
//!   says which files count; a run that comes too late for it is refused the claim, and begins again.
//! - Documents of the head carry the revision that was to name them. A head of that revision or a later one stands, so
//!   the compare-and-swap that would have named them can never succeed.
//! - Objects of a release are deleted when it is sealed, which is final but for revisions with greater numbers, or when
//!   the catalogue has no release of that name; it has one before the first object of it is stored.
//! - Events are deleted only before the last object that every generation that is kept has taken in. That object stays,
//!   and so do claims: no epoch vanishes, and none comes again.
//!
//! So a vacuum may be cut off, come late, or run twice at once. Whoever still reads what is older than what is kept, a run
//! that slept that long included, is told that an object is gone (`Corrupt`), and goes on from the present head when it
//! begins again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use recstore_core::{Cost, EntityKind, ReleaseId, Result};
use serde::Serialize;

use super::retained::{Listed, Retained, by_folder, listed, tables};
use super::run::Pipeline;
use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::documents::document_number;
use crate::lake::gold::catalogue::Release;
use crate::lake::keys::{
    BronzeKey, Topic, gold_folder, quarantine_folder, release_folder, state_folder, topic_folder,
};
use crate::lake::silver::keys::{CheckpointKey, FileKey, LogKey, TableKey, silver_folder};
use crate::metering::{metered, so_far};

/// Deletions under way at a time.
const DELETIONS: usize = 8;
/// The most names that a report has of each sort.
const MOST_NAMES: usize = 1000;
/// For how long documents of the head that were replaced stay: readers of the old head may be on their way to them.
const DOCUMENT_AGE: Duration = Duration::from_secs(24 * 3600);

/// What a vacuum may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct VacuumOptions {
    /// Whether it only says what it would delete; it does by default.
    pub dry_run: bool,
}

impl Default for VacuumOptions {
    fn default() -> VacuumOptions {
        VacuumOptions { dry_run: true }
    }
}

/// A part of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Events as they came.
    Bronze,
    /// Tables.
    Silver,
    /// Similarity releases.
    Gold,
    /// Lines that were no events.
    Quarantine,
    /// Documents of the head.
    State,
}

/// Why an object is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is older than what is kept.
    Expired,
    /// Something newer stands in its place.
    Replaced,
    /// It was never named: whoever wrote it was not first.
    Orphan,
}

/// Objects of one layer that are not needed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VacuumedObjects {
    /// The layer.
    pub layer: Layer,
    /// Why they are not needed.
    pub reason: Reason,
    /// How many there are.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their names within the lake, the first thousand.
    pub names: Vec<String>,
}

/// What a vacuum deleted, or would delete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VacuumReport {
    /// Whether nothing was deleted.
    pub dry_run: bool,
    /// The committed generation.
    pub generation: u64,
    /// The oldest generation that is kept.
    pub oldest_kept: u64,
    /// What is not needed, by layer and reason.
    pub found: Vec<VacuumedObjects>,
    /// What it took of S3.
    pub cost: Cost,
}

impl VacuumReport {
    /// How many objects are not needed.
    pub fn objects(&self) -> u64 {
        self.found.iter().map(|found| found.objects).sum()
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.found.iter().map(|found| found.bytes).sum()
    }
}

/// An object that is not needed.
struct Unneeded {
    layer: Layer,
    reason: Reason,
    object: Listed,
}

impl Pipeline {
    /// Deletes what is not needed and older than the configured retention, or says what that would be.
    ///
    /// Runs, readers and other vacuums may go on meanwhile. Cut off anywhere it has deleted less. Memory: the names of
    /// the lake's objects.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of the object store: some may be deleted then.
    pub async fn vacuum(&self, options: VacuumOptions) -> Result<VacuumReport> {
        metered(self.clear_out(options)).await.0
    }

    async fn clear_out(&self, options: VacuumOptions) -> Result<VacuumReport> {
        let vacuum = Vacuum {
            pipeline: self,
            now: self.context().clock.now().as_millis(),
            retained: self.retained().await?,
        };
        let mut unneeded = vacuum.silver().await?;
        unneeded.extend(vacuum.state());
        unneeded.extend(vacuum.quarantine().await?);
        unneeded.extend(vacuum.gold().await?);
        unneeded.extend(vacuum.bronze().await?);
        if !options.dry_run {
            let lake = self.heads().store();
            let deletions = stream::iter(&unneeded).map(|unneeded| lake.delete(&unneeded.object.name));
            deletions.buffer_unordered(DELETIONS).try_collect::<()>().await?;
        }
        Ok(vacuum.report(&unneeded, options))
    }

    /// What is kept now.
    pub(super) async fn retained(&self) -> Result<Retained> {
        let silver = &self.config().retention.silver;
        Retained::read(self.heads(), silver, self.context().clock.now()).await
    }
}

/// One vacuum.
struct Vacuum<'a> {
    pipeline: &'a Pipeline,
    now: i64,
    retained: Retained,
}

impl Vacuum<'_> {
    /// Whether this was so long ago.
    fn is_past(&self, millis: i64, age: Duration) -> bool {
        u128::try_from(self.now.saturating_sub(millis)).is_ok_and(|since| since > age.as_millis())
    }

    fn is_named(&self, object: &Listed) -> bool {
        self.retained.names.contains(&object.name)
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        listed(self.pipeline.heads().store(), folder).await
    }

    /// Data files and log entries.
    async fn silver(&self) -> Result<Vec<Unneeded>> {
        let namespace = self.pipeline.heads().namespace();
        let objects = self.list(&silver_folder(namespace)).await?;
        let checkpoints = self.checkpoints(&objects);
        let reason = |object: &Listed| {
            if let Ok(FileKey { generation, .. }) = object.name.parse() {
                let unneeded = generation <= self.retained.newest() && !self.is_named(object);
                return unneeded.then(|| self.too_old_or_orphan(generation));
            }
            let (table, version) = match object.name.parse::<LogKey>() {
                Ok(entry) => (entry.table, entry.version),
                Err(_) => {
                    object.name.parse().map(|CheckpointKey { table, version }| (table, version)).ok()?
                }
            };
            checkpoints.get(&table).is_some_and(|base| version < *base).then_some(Reason::Expired)
        };
        Ok(chosen(Layer::Silver, objects, reason))
    }

    /// For each table the last checkpoint from which all versions that are kept can be read.
    fn checkpoints(&self, objects: &[Listed]) -> BTreeMap<TableKey, u64> {
        let namespace = self.pipeline.heads().namespace();
        let oldest = tables(&self.retained.oldest_commit, namespace);
        let mut bases = BTreeMap::new();
        for object in objects {
            let Ok(CheckpointKey { table, version }) = object.name.parse() else { continue };
            if oldest.get(&table).is_some_and(|files| version < files.versions) {
                let base = bases.entry(table).or_insert(version);
                *base = version.max(*base);
            }
        }
        bases
    }

    /// Why something of a committed generation that nothing names is not needed.
    fn too_old_or_orphan(&self, generation: u64) -> Reason {
        if generation < self.retained.oldest { Reason::Expired } else { Reason::Orphan }
    }

    /// Documents of the head, and commit documents.
    fn state(&self) -> Vec<Unneeded> {
        let state = state_folder(self.pipeline.heads().namespace());
        let mut unneeded = Vec::new();
        let folders = by_folder(&self.retained.documents);
        let of =
            |section: &str| folders.get(format!("{state}/{section}").as_str()).cloned().unwrap_or_default();
        let mut add = |reason, object: &Listed| {
            unneeded.push(Unneeded { layer: Layer::State, reason, object: object.clone() });
        };
        let is_old = |object: &Listed| self.is_past(object.stored_at, DOCUMENT_AGE);
        for document in of("commit") {
            let Some(generation) = document_number(&document.name) else { continue };
            if generation <= self.retained.newest() && !self.is_named(document) && is_old(document) {
                add(self.too_old_or_orphan(generation), document);
            }
        }
        let head = &self.retained.snapshot.head;
        for (section, _) in head.sections() {
            let documents = of(section);
            for (document, next) in documents.iter().zip(documents.iter().skip(1)) {
                let number = document_number(&document.name);
                let too_late = number.is_some_and(|number| number <= head.revision);
                // The next one came in its place at about the time when it was stored.
                if too_late && !self.is_named(document) && is_old(document) && is_old(next) {
                    add(Reason::Replaced, document);
                }
            }
        }
        unneeded
    }

    async fn quarantine(&self) -> Result<Vec<Unneeded>> {
        let objects = self.list(&quarantine_folder(self.pipeline.heads().namespace())).await?;
        let age = self.pipeline.config().retention.quarantine;
        let reason = |object: &Listed| {
            let committed = document_number(&object.name)? <= self.retained.newest();
            (committed && self.is_past(object.stored_at, age)).then_some(Reason::Expired)
        };
        Ok(chosen(Layer::Quarantine, objects, reason))
    }

    /// Objects of releases that the catalogue does not name.
    async fn gold(&self) -> Result<Vec<Unneeded>> {
        let namespace = self.pipeline.heads().namespace();
        let objects = self.list(&gold_folder(namespace)).await?;
        let releases = &self.retained.snapshot.state.releases.releases;
        let folders: BTreeMap<String, &Release> = releases
            .iter()
            .map(|(id, release)| (release_folder(namespace, release.spec.kind, id), release))
            .collect();
        let age = self.pipeline.config().retention.gold;
        let mut unneeded = Vec::new();
        for (folder, objects) in by_folder(&objects) {
            let reason = match folders.get(folder) {
                Some(release) => {
                    // Readers of what was replaced by the last revision may be on their way to it.
                    let mut named = objects.iter().filter(|object| self.is_named(object));
                    let settled = named.all(|object| self.is_past(object.stored_at, age));
                    if release.is_building() || !settled {
                        continue;
                    }
                    Reason::Replaced
                }
                None if begun_at(folder).is_some_and(|begun| self.is_past(begun, age)) => Reason::Orphan,
                None => continue,
            };
            let revision =
                folders.get(folder).and_then(|release| release.sealed()).map(|sealed| sealed.revision);
            for object in objects {
                let in_flight =
                    revision.is_some_and(|last| revision_of(&object.name).is_some_and(|of| of > last));
                if !in_flight && !self.is_named(object) && self.is_past(object.stored_at, age) {
                    unneeded.push(Unneeded { layer: Layer::Gold, reason, object: object.clone() });
                }
            }
        }
        Ok(unneeded)
    }

    /// Events that were taken in long ago.
    async fn bronze(&self) -> Result<Vec<Unneeded>> {
        let Some(age) = self.pipeline.config().retention.bronze else { return Ok(Vec::new()) };
        let mut unneeded = Vec::new();
        for topic in Topic::ALL {
            let cursors = match topic {
                Topic::Ratings => &self.retained.oldest_commit.cursors,
                Topic::Features => &self.retained.oldest_commit.feature_cursors,
            };
            let objects = self.list(&topic_folder(self.pipeline.heads().namespace(), topic)).await?;
            let reason = |object: &Listed| {
                let passed = is_passed(cursors, &object.name.parse().ok()?);
                (passed && self.is_past(object.stored_at, age)).then_some(Reason::Expired)
            };
            unneeded.extend(chosen(Layer::Bronze, objects, reason));
        }
        Ok(unneeded)
    }

    fn report(&self, unneeded: &[Unneeded], options: VacuumOptions) -> VacuumReport {
        let mut sorts: BTreeMap<(Layer, Reason), VacuumedObjects> = BTreeMap::new();
        for Unneeded { layer, reason, object } in unneeded {
            let (layer, reason) = (*layer, *reason);
            let empty = || VacuumedObjects { layer, reason, objects: 0, bytes: 0, names: Vec::new() };
            let sort = sorts.entry((layer, reason)).or_insert_with(empty);
            sort.objects += 1;
            sort.bytes += object.bytes;
            if sort.names.len() < MOST_NAMES {
                sort.names.push(object.name.clone());
            }
        }
        VacuumReport {
            dry_run: options.dry_run,
            generation: self.retained.newest(),
            oldest_kept: self.retained.oldest,
            found: sorts.into_values().collect(),
            cost: so_far(),
        }
    }
}

fn chosen(layer: Layer, objects: Vec<Listed>, reason: impl Fn(&Listed) -> Option<Reason>) -> Vec<Unneeded> {
    let of = |object: Listed| reason(&object).map(|reason| Unneeded { layer, reason, object });
    objects.into_iter().filter_map(of).collect()
}

/// Whether an object comes before the last one that was taken in of its epoch. That one is where the next listing begins.
fn is_passed(cursors: &BronzeCursors, key: &BronzeKey) -> bool {
    let position = cursors.position(&key.epoch.writer, key.epoch.epoch);
    position.is_some_and(|position| key.last < position.first)
}

/// When the release of a folder was begun, as its name says.
fn begun_at(folder: &str) -> Option<i64> {
    let (kind, release) = folder.rsplit_once('/').and_then(|(of_kind, release)| {
        Some((of_kind.rsplit_once('/')?.1, ReleaseId::from_text(release.strip_prefix("release=")?)))
    })?;
    let kind: EntityKind = kind.parse().ok()?;
    let rest = release.as_str().strip_prefix(&format!("{kind}-"))?;
    rest.split_once('-')?.0.parse().ok()
}

/// The revision of a release that an object belongs to; parts belong to none.
fn revision_of(name: &str) -> Option<u32> {
    let file = name.rsplit_once('/')?.1;
    let rest = file.strip_prefix("lists-r").or_else(|| file.strip_prefix("popular-r"))?;
    rest.split_once('-')?.0.parse().ok()
}
