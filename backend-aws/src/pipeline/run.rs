//! A run: plan, compute, guard, claim, finish. Any number of them at once, of any age, do no harm.

use std::sync::Arc;
use std::time::Instant;

use recstore_core::{Cost, Entity, EntityKind, Error, ErrorKind, Namespace, Result, StoreContext, Timestamp};
use serde::Serialize;

use super::compute::{Compute, ComputeReport, Computed, Groups, Inputs, QuarantinedLine, Readers};
use super::manifest::{Manifest, Purpose};
use super::publish::{PublishReport, Publisher};
use super::tables::SilverTables;
use crate::backend::{AwsStorage, empty_online, head_gone};
use crate::config::PipelineConfig;
use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::bronze::reader::{BronzeList, BronzeReader, Gap};
use crate::lake::commit::CommitDocument;
use crate::lake::documents::{DocumentRef, store_document};
use crate::lake::gold::erased::ErasedOne;
use crate::lake::head::{Heads, Snapshot, State, Tombstone, TombstoneKey};
use crate::lake::keys::{quarantine_folder, state_folder};
use crate::metering::{metered, so_far};
use crate::online::pin::Pin;
use crate::online::versioned::Generation;

/// With fewer entities a share says nothing.
const GUARDED_FROM: u64 = 100;
/// The most generations of others that one run finishes before it gives up.
const MOST_ROUNDS: usize = 64;

/// What a run may do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[must_use]
pub struct RunOptions {
    /// Whether entities may fall away by more than the configured share.
    pub guard: GuardOptions,
    /// Take in only what was stored before this time, by the clock of the object store; `None` for all there is. The
    /// generation is then as of this time, by that clock, and never as of an earlier one than the generation before. What
    /// another run had claimed already is finished as it was claimed.
    pub until: Option<Timestamp>,
}

/// Whether entities may fall away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GuardOptions {
    /// Up to the configured share.
    #[default]
    Configured,
    /// All of them.
    Off,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// A generation was committed: a new one, or one that another run had claimed and not finished.
    Committed,
    /// There was nothing new; no generation was committed.
    NothingNew,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// What it came to.
    pub outcome: RunOutcome,
    /// The committed generation.
    pub generation: u64,
    /// Every event acknowledged before this time is in it, by the clock of the run, or of the object store where it was to
    /// end at a time; `None` before the first generation.
    pub as_of: Option<Timestamp>,
    /// Generations that others had claimed and this run finished.
    pub finished: u64,
    /// Objects of events that were read.
    pub objects: u64,
    /// Holes in the numbers of events; what lies behind them is not read.
    pub gaps: u64,
    /// What was computed.
    pub computed: ComputeReport,
    /// What was published.
    pub published: PublishReport,
    /// Where bad lines are, with reasons.
    pub quarantine: Option<String>,
    /// Users with a rating.
    pub users: u64,
    /// Items with a rating.
    pub items: u64,
    /// Ratings that stand.
    pub ratings: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds of these that reading, merging and storing took, up to the claim.
    pub compute_seconds: f64,
    /// What it took of both services, generations of others that it finished included.
    pub cost: Cost,
}

/// The pipeline of one namespace.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(super) storage: AwsStorage,
    pub(super) readers: Readers,
    tables: SilverTables,
}

/// What is to be made a generation.
struct Plan {
    base: Snapshot,
    created_at: Timestamp,
    /// Every event acknowledged before this time is in it.
    as_of: Timestamp,
    purpose: Purpose,
    list: Lists,
    computed: Computed,
}

/// What is new in both topics.
struct Lists {
    ratings: BronzeList,
    features: BronzeList,
}

impl Lists {
    /// A list of nothing new.
    fn nothing(commit: &CommitDocument) -> Lists {
        let nothing = |cursors: &BronzeCursors| BronzeList {
            objects: Vec::new(),
            cursors: cursors.clone(),
            gaps: Vec::new(),
            foreign: Vec::new(),
        };
        Lists { ratings: nothing(&commit.cursors), features: nothing(&commit.feature_cursors) }
    }

    fn is_empty(&self) -> bool {
        self.ratings.objects.is_empty() && self.features.objects.is_empty()
    }

    fn inputs(&self) -> Inputs {
        Inputs { ratings: self.ratings.objects.clone(), features: self.features.objects.clone() }
    }
}

impl Pipeline {
    /// The pipeline of the handle's namespace.
    pub(crate) fn new(storage: AwsStorage) -> Pipeline {
        let (store, namespace) = (storage.shared.lake.clone(), storage.space.namespace.clone());
        let ratings = BronzeReader::new(store.clone(), namespace.clone());
        let features = BronzeReader::of_topic(store, namespace);
        let tables = storage.tables();
        Pipeline { storage, readers: Readers { ratings, features }, tables }
    }

    pub(super) fn heads(&self) -> &Heads {
        &self.storage.space.heads
    }

    pub(super) fn context(&self) -> &StoreContext {
        &self.storage.shared.context
    }

    pub(super) fn config(&self) -> &PipelineConfig {
        &self.storage.shared.config.pipeline
    }

    /// Takes in everything that was acknowledged before the call, or before [`RunOptions::until`], and publishes it.
    ///
    /// # Errors
    /// `Conflict` (field-less, it says so) if more entities fall away than is allowed; `Corrupt`, `SchemaVersion`; those
    /// of both services; `OutcomeUnknown` where a claim or the commit had no answer. Whatever it is, the next run
    /// goes on.
    pub async fn run(&self, options: RunOptions) -> Result<RunReport> {
        metered(self.take_in(options)).await.0
    }

    async fn take_in(&self, options: RunOptions) -> Result<RunReport> {
        let begun = Instant::now();
        let mut finished = 0;
        for _ in 0..MOST_ROUNDS {
            let base = self.settle(&mut finished).await?;
            let created_at = self.context().clock.now();
            let as_of = created_at.min(options.until.unwrap_or(created_at)).max(taken_in(&base));
            let list = self.list(&base.state.commit, options.until).await?;
            if list.is_empty() {
                return Ok(self.report(&base, finished, begun, None));
            }
            // Groups are declared before their first line is stored: those read now know every line of the list.
            let groups = self.heads().read(None).await?.state.groups;
            let (state, inputs) = (&base.state, list.inputs());
            let computed = self.compute(&base).events(inputs, &state.tombstones, &groups).await?;
            if options.guard == GuardOptions::Configured {
                self.guard(&base.state.commit, &computed.commit)?;
            }
            let compute_seconds = begun.elapsed().as_secs_f64();
            let plan = Plan { base, created_at, as_of, purpose: Purpose::Events, list, computed };
            if let Some(done) = self.claim_and_finish(plan).await? {
                let report = self.report(&done.after, finished, begun, Some(&done));
                return Ok(RunReport { compute_seconds, ..report });
            }
        }
        Err(others_first(self.heads().namespace()))
    }

    /// Computes the statistics of all entities anew; says how many were others.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn rebuild(&self) -> Result<RunReport> {
        metered(self.compute_anew()).await.0
    }

    async fn compute_anew(&self) -> Result<RunReport> {
        let begun = Instant::now();
        let mut finished = 0;
        for _ in 0..MOST_ROUNDS {
            let base = self.settle(&mut finished).await?;
            let created_at = self.context().clock.now();
            let computed = self.compute(&base).rebuilt().await?;
            if computed.commit == *base.state.commit {
                return Ok(self.report(&base, finished, begun, None));
            }
            let list = Lists::nothing(&base.state.commit);
            let as_of = taken_in(&base);
            let plan = Plan { base, created_at, as_of, purpose: Purpose::Rebuild, list, computed };
            if let Some(done) = self.claim_and_finish(plan).await? {
                return Ok(self.report(&done.after, finished, begun, Some(&done)));
            }
        }
        Err(others_first(self.heads().namespace()))
    }

    /// Takes an entity out of all tables and releases and leaves a tombstone.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) async fn erase(
        &self,
        entity: &Entity,
        tombstone: impl Fn(&State) -> Tombstone,
    ) -> Result<Snapshot> {
        let key = TombstoneKey(self.context().erasure_key.tombstone(entity));
        let mut finished = 0;
        for _ in 0..MOST_ROUNDS {
            let base = self.settle(&mut finished).await?;
            let created_at = self.context().clock.now();
            let tombstone = tombstone(&base.state);
            let computed = self.compute(&base).without(entity, &base.state.groups).await?;
            let list = Lists::nothing(&base.state.commit);
            let purpose = Purpose::Erasure { kind: entity.kind, key, tombstone };
            let as_of = taken_in(&base);
            let plan = Plan { base, created_at, as_of, purpose, list, computed };
            if let Some(done) = self.claim_and_finish(plan).await? {
                return Ok(done.after);
            }
        }
        Err(others_first(self.heads().namespace()))
    }

    /// In how many custom groups an entity has a row.
    pub(crate) async fn count_custom(&self, snapshot: &Snapshot, entity: &Entity) -> Result<u64> {
        let state = &snapshot.state;
        self.compute(snapshot).rows_of(entity, &state.groups).await
    }

    /// How many rating rows an entity has.
    pub(crate) async fn count_rows(&self, snapshot: &Snapshot, entity: &Entity) -> Result<u64> {
        Ok(self.compute(snapshot).pairs_of(entity).await?.len() as u64)
    }

    /// The committed state, once everything that was claimed is finished and readers know of it.
    async fn settle(&self, finished: &mut u64) -> Result<Snapshot> {
        for _ in 0..MOST_ROUNDS {
            let base = self.committed().await?;
            self.hold_tables_against(&base).await?;
            let next = base.state.generation + 1;
            let claimed = Manifest::read(self.heads().store(), self.heads().namespace(), next).await?;
            let Some(manifest) = claimed else {
                self.tell_readers(&base).await?;
                return Ok(base);
            };
            tracing::info!(generation = next, namespace = %self.heads().namespace(), "finishing a claimed generation");
            self.finish(&base, &manifest).await?;
            *finished += 1;
        }
        Err(others_first(self.heads().namespace()))
    }

    /// Tables without a record of any generation: of the first one they may have all rows, from a run that died before it
    /// told readers, and get what is missing. Later ones had the record, so that these are others, or were emptied.
    async fn hold_tables_against(&self, base: &Snapshot) -> Result<()> {
        match base.state.generation {
            0 => Ok(()),
            _ if self.storage.readers_know_any(None).await? => Ok(()),
            1 => self.refill(base).await.map(drop),
            committed => Err(empty_online(committed).on(self.heads().namespace().as_str())),
        }
    }

    /// What is committed; `Corrupt` if it is nothing though later generations were claimed.
    pub(super) async fn committed(&self) -> Result<Snapshot> {
        let base = self.storage.committed(None).await?;
        let (store, namespace) = (self.heads().store(), self.heads().namespace());
        if base.state.generation == 0 && Manifest::read(store, namespace, SECOND).await?.is_some() {
            // A third runner may have committed since the head was read.
            let again = self.heads().read(None).await?;
            return if again.state.generation == 0 { Err(head_gone(namespace)) } else { Ok(again) };
        }
        Ok(base)
    }

    /// What is new after a committed generation.
    async fn list(&self, commit: &CommitDocument, until: Option<Timestamp>) -> Result<Lists> {
        let Readers { ratings, features } = &self.readers;
        Ok(Lists {
            ratings: ratings.list_until(&commit.cursors, until, None).await?,
            features: features.list_until(&commit.feature_cursors, until, None).await?,
        })
    }

    fn compute<'a>(&'a self, base: &'a Snapshot) -> Compute<'a> {
        Compute {
            base: &base.state.commit,
            readers: &self.readers,
            tables: &self.tables,
            config: self.config(),
            prior: self.context().prior,
            erasure_key: &self.context().erasure_key,
            generation: base.state.generation + 1,
        }
    }

    /// Refuses to go on if too many entities lose their last rating.
    fn guard(&self, base: &CommitDocument, next: &CommitDocument) -> Result<()> {
        for kind in [EntityKind::User, EntityKind::Item] {
            let (before, after) = (base.feature_table(kind).live(), next.feature_table(kind).live());
            let dropped = before.saturating_sub(after) as f64;
            let share = self.config().max_entity_drop;
            if before >= GUARDED_FROM && dropped / before as f64 > share {
                let text = format!(
                    "{kind}s with a rating would fall from {before} to {after}, by more than a share of {share}; look at \
                     the new events, or run once without the guard"
                );
                return Err(Error::new(ErrorKind::Conflict, text).on(self.heads().namespace().as_str()));
            }
        }
        Ok(())
    }

    /// Claims the next generation for a plan and finishes it; `None` if another's claim stands.
    async fn claim_and_finish(&self, plan: Plan) -> Result<Option<Done>> {
        let Plan { base, created_at, as_of, purpose, list, computed } = plan;
        let Computed { mut commit, rejected, report } = computed;
        let Lists { ratings, features } = list;
        (commit.cursors, commit.feature_cursors) = (ratings.cursors, features.cursors);
        let gaps: Vec<Gap> = ratings.gaps.into_iter().chain(features.gaps).collect();
        let (store, namespace) = (self.heads().store(), self.heads().namespace());
        let generation = base.state.generation + 1;
        let quarantine = self.quarantine(generation, &rejected).await?;
        let folder = format!("{}/commit", state_folder(namespace));
        let commit = store_document(store, &folder, generation, &commit).await?;
        let objects = (ratings.objects.len() + features.objects.len()) as u64;
        let gap_count = gaps.len() as u64;
        let manifest = Manifest::new(
            generation,
            (created_at, as_of),
            purpose,
            (ratings.objects, features.objects),
            gaps,
            report.rejected,
            quarantine.clone(),
            commit,
        );
        if !manifest.claim(store, namespace, self.storage.shared.claim).await? {
            return Ok(None);
        }
        let (after, published) = self.finish(&base, &manifest).await?;
        let quarantine = quarantine.map(|document| document.name);
        Ok(Some(Done { after, published, computed: report, objects, gaps: gap_count, quarantine }))
    }

    async fn quarantine(&self, generation: u64, rejected: &[QuarantinedLine]) -> Result<Option<DocumentRef>> {
        if rejected.is_empty() {
            return Ok(None);
        }
        let folder = quarantine_folder(self.heads().namespace());
        store_document(self.heads().store(), &folder, generation, &rejected).await.map(Some)
    }

    /// Does everything that a manifest asks for, up to the commit and the word to readers.
    async fn finish(&self, base: &Snapshot, manifest: &Manifest) -> Result<(Snapshot, PublishReport)> {
        let store = self.heads().store();
        let commit: CommitDocument =
            crate::lake::documents::read_document(store, &manifest.commit, None).await?;
        // Groups are declared before anything of them is claimed.
        let groups = self.heads().read(None).await?.state.groups;
        // An item has two versions: readers must be at the one before, ahead of the first write of the next.
        self.tell_readers(base).await?;
        let publisher = self.publisher(&groups);
        let published = publisher.publish(&base.state.commit, &commit, manifest).await?;
        let after = self.commit(manifest, commit).await?;
        self.tell_readers(&after).await?;
        Ok((after, published))
    }

    pub(super) fn publisher<'a>(&'a self, groups: &'a Groups) -> Publisher<'a> {
        let (online, parallel) = (&self.storage.shared.online, self.config().parallel);
        Publisher { tables: &self.tables, online, groups, parallel }
    }

    /// The commit point.
    async fn commit(&self, manifest: &Manifest, commit: CommitDocument) -> Result<Snapshot> {
        let commit = Arc::new(commit);
        let change = |snapshot: Snapshot| {
            let commit = commit.clone();
            async move {
                if snapshot.state.generation >= manifest.generation {
                    return Ok((None, ()));
                }
                let generation = manifest.generation;
                let as_of = Some(manifest.as_of);
                let mut next = State { generation, as_of, commit, ..snapshot.state };
                if let Purpose::Erasure { kind, key, tombstone } = &manifest.purpose {
                    self.erase_from(&mut next, *kind, *key, *tombstone).await?;
                }
                Ok((Some(next), ()))
            }
        };
        let (after, ()) = self.heads().change(None, change).await?;
        Ok(after)
    }

    /// Leaves a tombstone, and takes the entity out of releases and hidden items.
    async fn erase_from(
        &self,
        next: &mut State,
        kind: EntityKind,
        hash: TombstoneKey,
        tombstone: Tombstone,
    ) -> Result<()> {
        Arc::make_mut(&mut next.tombstones).insert(hash, tombstone);
        let erased = ErasedOne { kind, hash, key: self.context().erasure_key.clone() };
        next.releases = self.storage.purge_releases(next, &erased, false, None).await?.releases;
        if kind == EntityKind::Item && next.hidden.iter().any(|item| erased.is(item.as_str())) {
            Arc::make_mut(&mut next.hidden).retain(|item| !erased.is(item.as_str()));
        }
        Ok(())
    }

    /// Moves the readers' records to what is committed.
    pub(super) async fn tell_readers(&self, committed: &Snapshot) -> Result<()> {
        if let Some(as_of) = committed.state.as_of {
            let pin = Pin { generation: Generation(committed.state.generation), as_of };
            let online = &self.storage.shared.online;
            online.advance_pin(self.heads().namespace(), pin, None).await?;
        }
        self.storage.tell_readers(committed).await
    }

    fn report(&self, after: &Snapshot, finished: u64, begun: Instant, done: Option<&Done>) -> RunReport {
        let state = &after.state;
        let committed = done.is_some() || finished > 0;
        RunReport {
            outcome: if committed { RunOutcome::Committed } else { RunOutcome::NothingNew },
            generation: state.generation,
            as_of: state.as_of,
            finished,
            objects: done.map_or(0, |done| done.objects),
            gaps: done.map_or(0, |done| done.gaps),
            computed: done.map(|done| done.computed.clone()).unwrap_or_default(),
            published: done.map(|done| done.published).unwrap_or_default(),
            quarantine: done.and_then(|done| done.quarantine.clone()),
            users: state.commit.user_features.live(),
            items: state.commit.item_features.live(),
            ratings: state.commit.ratings.live(),
            seconds: begun.elapsed().as_secs_f64(),
            compute_seconds: 0.0,
            cost: so_far(),
        }
    }
}

/// What a claimed and finished generation came to.
struct Done {
    after: Snapshot,
    published: PublishReport,
    computed: ComputeReport,
    objects: u64,
    gaps: u64,
    quarantine: Option<String>,
}

/// What a generation without new events is as of: nothing was acknowledged before all time.
fn taken_in(base: &Snapshot) -> Timestamp {
    base.state.as_of.unwrap_or(Timestamp::MIN)
}

/// The generation that would say that the first was committed.
const SECOND: u64 = 2;

fn others_first(namespace: &Namespace) -> Error {
    let text = "other runs claimed each generation first, retry later";
    Error::new(ErrorKind::Busy, text).on(namespace.as_str())
}
