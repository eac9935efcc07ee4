//! The handle: what it is made of, namespaces, health, figures, erasure, closing.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use recstore_core::{
    Capabilities, Deadline, Entity, EraseOptions, EraseReport, Error, ErrorKind, Fingerprints, GetOptions,
    Health, HealthCheck, Namespace, RebuildReport, Result, Stats, Storage, StoreContext,
};
use tokio::time::Instant;

use crate::clients::AwsEnvironment;
use crate::config::AwsConfig;
use crate::features::FeatureSpace;
use crate::fingerprint::fingerprint;
use crate::lake::bronze::object::{ClaimId, corrupt};
use crate::lake::bronze::writer::{BronzeWriter, BronzeWriterParts};
use crate::lake::head::{Heads, Snapshot};
use crate::lake::keys::{WriterId, head_name};
use crate::lake::store::{LakeStore, instant};
use crate::metering::{describe, figures};
use crate::online::client::client;
use crate::online::pin::{Pin, Pins};
use crate::online::sdk::SdkCalls;
use crate::online::tables::TableNames;
use crate::online::versioned::{Generation, Pinned};
use crate::online::{Online, OnlineOptions};
use crate::pipeline::run::{Pipeline, RunOptions};
use crate::pipeline::tables::SilverTables;
use crate::similarities::Rollbacks;
use crate::similarities::readers::ReaderCache;

/// What a handle is made of.
pub struct AwsParts {
    /// The bucket.
    pub lake: LakeStore,
    /// The tables.
    pub online: Online,
    /// Settings.
    pub config: AwsConfig,
    /// Clock, limits and parameters.
    pub context: StoreContext,
    /// Random bits of this process, which tell its writes from those of others.
    pub claim: u128,
}

/// The `aws` mode: events and tables in S3, reads from DynamoDB.
///
/// Cheap to clone; clones and [namespaces](Storage::with_namespace) share connections. Writes are acknowledged once S3
/// has stored them; reads see the generation that the last pipeline run committed, and
/// [`refresh`](Storage::refresh) is such a run.
#[derive(Clone)]
pub struct AwsStorage {
    pub(crate) shared: Arc<Shared>,
    pub(crate) space: Arc<Space>,
}

/// The first generation: the one of which readers may not know though nothing is wrong.
const FIRST: u64 = 1;

/// What all namespaces share.
pub(crate) struct Shared {
    pub(crate) lake: LakeStore,
    pub(crate) online: Online,
    pub(crate) config: AwsConfig,
    pub(crate) context: StoreContext,
    pub(crate) claim: ClaimId,
    writer: WriterId,
    spaces: Mutex<HashMap<Namespace, Arc<Space>>>,
    closed: AtomicBool,
}

/// What is kept of one namespace.
pub(crate) struct Space {
    pub(crate) namespace: Namespace,
    pub(crate) heads: Heads,
    pub(crate) pins: Pins,
    /// When the lake was last seen to have no generation that the tables could have lost.
    nothing_lost: tokio::sync::Mutex<Option<Instant>>,
    writer: tokio::sync::OnceCell<BronzeWriter>,
    pub(crate) releases: ReaderCache,
    pub(crate) features: FeatureSpace,
    pub(crate) rollbacks: Rollbacks,
}

impl fmt::Debug for AwsStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsStorage").field("namespace", &self.space.namespace).finish_non_exhaustive()
    }
}

impl AwsStorage {
    /// A handle on `namespace` by these settings; credentials come from the standard chain. `claim` are random bits, new
    /// for each process, which tell its writes from those of others.
    ///
    /// Looks whether the tables belong to the lake: reads one object and one item.
    ///
    /// # Errors
    /// `Invalid` that names the setting; `Conflict` if the tables are empty though the lake is not; those of both
    /// services.
    pub async fn open(
        config: AwsConfig,
        namespace: Namespace,
        context: StoreContext,
        claim: u128,
    ) -> Result<AwsStorage> {
        let storage = AwsStorage::connect(config, namespace, context, claim).await?;
        storage.hold_tables_against_lake().await?;
        Ok(storage)
    }

    /// As [`open`](Self::open), whether the tables belong to the lake or not: for filling them, and for runs, which look
    /// themselves. Nothing is sent.
    ///
    /// # Errors
    /// `Invalid` that names the setting.
    pub async fn connect(
        config: AwsConfig,
        namespace: Namespace,
        context: StoreContext,
        claim: u128,
    ) -> Result<AwsStorage> {
        config.validate()?;
        let environment = AwsEnvironment::load(&config, context.clock.clone()).await;
        // Jitter need not be unpredictable, only another one in each process.
        let seed = claim as u64;
        let lake = environment.lake(&config, seed)?;
        let calls = Arc::new(SdkCalls::new(client(environment.sdk(), &config)?));
        let options = OnlineOptions {
            request_timeout: config.dynamodb.request_timeout,
            retry: config.retry,
            seed,
            ..OnlineOptions::default()
        };
        let online = Online::new(calls, TableNames::new(&config.dynamodb.table_prefix)?, options);
        AwsStorage::new(AwsParts { lake, online, config, context, claim }, namespace)
    }

    /// Refuses tables that have nothing of what is committed.
    async fn hold_tables_against_lake(&self) -> Result<()> {
        let mut unknown = self.unknown_to_readers(None).await?;
        // A run that has just committed the first generation is about to tell readers.
        if unknown == Some(FIRST) {
            tokio::time::sleep(self.shared.config.dynamodb.pin_max_age).await;
            unknown = self.unknown_to_readers(None).await?;
        }
        unknown.map_or(Ok(()), |committed| Err(empty_online(committed).on(self.space.namespace.as_str())))
    }

    /// The committed generation, if the tables have no record of any.
    async fn unknown_to_readers(&self, deadline: Option<Deadline>) -> Result<Option<u64>> {
        let committed = self.space.heads.read(instant(deadline)).await?.state.generation;
        let is_unknown = committed > 0 && !self.readers_know_any(deadline).await?;
        Ok(is_unknown.then_some(committed))
    }

    /// Whether the tables have the record of any generation.
    pub(crate) async fn readers_know_any(&self, deadline: Option<Deadline>) -> Result<bool> {
        let pin = self.shared.online.read_pin(&self.space.namespace, deadline).await?;
        Ok(pin.generation.0 > 0)
    }

    /// Reads at the pin, as [`Pins::read`]. Where there is none, lost tables are refused.
    pub(crate) async fn read_pinned<T, F>(
        &self,
        deadline: Option<Deadline>,
        read: impl Fn(Generation) -> F,
    ) -> Result<(T, Pin)>
    where
        F: Future<Output = Result<Pinned<T>>>,
    {
        loop {
            let (answer, pin) = self.space.pins.read(deadline, &read).await?;
            if pin != Pin::NOTHING || !self.were_filled(deadline).await? {
                return Ok((answer, pin));
            }
        }
    }

    /// For a read that found something missing in tables without a record of a generation: whether they were filled
    /// meanwhile, so that it is to be read again. If not, it is missing indeed: nothing that is lost is taken for what
    /// never was. One caller at a time asks the lake, and once in the time that a pin is held.
    ///
    /// # Errors
    /// `Conflict` if the tables are empty though the lake is not; those of both services; `DeadlineExceeded`.
    pub(crate) async fn were_filled(&self, deadline: Option<Deadline>) -> Result<bool> {
        let Space { pins, nothing_lost, namespace, heads, .. } = &*self.space;
        let mut seen = self.shared.online.hold(nothing_lost, namespace, deadline).await?;
        if seen.is_some_and(|at| at.elapsed() <= self.shared.config.dynamodb.pin_max_age) {
            return Ok(false);
        }
        let begun = Instant::now();
        let committed = heads.read(instant(deadline)).await?.state.generation;
        if committed > 0 && pins.look_again(deadline).await? != Pin::NOTHING {
            return Ok(true);
        }
        // Of the first generation readers may not have been told yet.
        if committed > FIRST {
            return Err(empty_online(committed).on(namespace.as_str()));
        }
        *seen = Some(begun);
        Ok(false)
    }

    /// A handle on `namespace`. Nothing is sent.
    ///
    /// # Errors
    /// `Invalid` that names the setting.
    pub fn new(parts: AwsParts, namespace: Namespace) -> Result<AwsStorage> {
        let AwsParts { lake, online, config, context, claim } = parts;
        let writer = match &config.ingest.writer {
            Some(name) => WriterId::new(name)?,
            None => WriterId::from_random(claim),
        };
        describe();
        let shared = Arc::new(Shared {
            lake,
            online,
            config,
            context,
            claim: ClaimId::from_random(claim),
            writer,
            spaces: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let space = shared.space(namespace);
        Ok(AwsStorage { shared, space })
    }

    /// The first thing of every call: is the store open, is there time left.
    pub(crate) fn admit(&self, deadline: Option<Deadline>) -> Result<()> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        if deadline.is_some_and(Deadline::has_passed) {
            let text = "the deadline had passed before the call began";
            return Err(Error::new(ErrorKind::DeadlineExceeded, text));
        }
        Ok(())
    }

    /// What is committed.
    pub(crate) async fn snapshot(&self, deadline: Option<Deadline>) -> Result<Snapshot> {
        self.admit(deadline)?;
        self.space.heads.read(instant(deadline)).await
    }

    /// What is committed, held against the readers' record where it is nothing.
    ///
    /// # Errors
    /// Besides those of both services `Corrupt`, which names the head, if it is gone: a lake that lost it looks like one
    /// that is new.
    pub(crate) async fn committed(&self, deadline: Option<Deadline>) -> Result<Snapshot> {
        let snapshot = self.snapshot(deadline).await?;
        if snapshot.state.generation > 0 {
            return Ok(snapshot);
        }
        let pin = self.shared.online.read_pin(&self.space.namespace, deadline).await?;
        if pin.generation.0 == 0 {
            return Ok(snapshot);
        }
        // The first generation may have been committed since the head was read.
        let again = self.snapshot(deadline).await?;
        if again.state.generation > 0 { Ok(again) } else { Err(head_gone(&self.space.namespace)) }
    }

    /// The writer of the namespace's rating events, begun when it is first asked for.
    pub(crate) async fn writer(&self) -> Result<&BronzeWriter> {
        let begin = || async { BronzeWriter::spawn(self.writer_parts()) };
        self.space.writer.get_or_try_init(begin).await
    }

    /// What a writer of the namespace is made of.
    pub(crate) fn writer_parts(&self) -> BronzeWriterParts {
        BronzeWriterParts {
            store: self.shared.lake.clone(),
            namespace: self.space.namespace.clone(),
            writer: self.shared.writer.clone(),
            claim: self.shared.claim,
            ingest: self.shared.config.ingest.clone(),
            clock: self.shared.context.clock.clone(),
        }
    }

    /// Computes the built-in features anew from the ratings, as a generation of their own.
    pub(crate) async fn rebuild_built_in(&self) -> Result<RebuildReport> {
        self.admit(None)?;
        let pipeline = self.pipeline();
        let _report = pipeline.run(RunOptions::default()).await?;
        let report = pipeline.rebuild().await?;
        self.space.pins.forget().await;
        let commit = self.space.heads.read(None).await?.state.commit;
        let (users, items) = (commit.user_features.rows(), commit.item_features.rows());
        Ok(RebuildReport { users, items, changed: report.computed.changed_features })
    }

    /// The silver tables of the namespace.
    pub(crate) fn tables(&self) -> SilverTables {
        SilverTables::new(self.shared.lake.clone(), self.space.namespace.clone())
    }

    /// The pipeline of the namespace.
    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.clone())
    }
}

impl Shared {
    /// What is kept of `namespace`, made when it is first asked for.
    fn space(&self, namespace: Namespace) -> Arc<Space> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let heads = Heads::new(self.lake.clone(), namespace.clone(), self.claim);
            let pins = Pins::new(self.online.clone(), namespace.clone(), self.config.dynamodb.pin_max_age);
            let writer = tokio::sync::OnceCell::new();
            let releases = ReaderCache::default();
            let features = FeatureSpace::new(self.config.dynamodb.pin_max_age);
            let rollbacks = Rollbacks::default();
            let namespace = namespace.clone();
            let nothing_lost = tokio::sync::Mutex::default();
            Arc::new(Space { namespace, heads, pins, nothing_lost, releases, rollbacks, features, writer })
        };
        spaces.entry(namespace.clone()).or_insert_with(made).clone()
    }

    /// The backend's own figures.
    fn figures(&self) -> Vec<(&'static str, u64)> {
        figures(&[self.lake.meter(), self.online.meter()])
    }
}

#[async_trait]
impl Storage for AwsStorage {
    fn namespace(&self) -> &Namespace {
        &self.space.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Arc<dyn Storage> {
        Arc::new(AwsStorage { space: self.shared.space(namespace), shared: self.shared.clone() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::deferred("aws")
    }

    async fn health(&self) -> Result<Health> {
        self.admit(None)?;
        let check = |name: &str, result: Result<String>| HealthCheck {
            name: name.to_owned(),
            ok: result.is_ok(),
            detail: result.unwrap_or_else(|error| error.to_string()),
        };
        let lake = self.space.heads.read(None).await;
        let committed = lake.as_ref().map_or(0, |snapshot| snapshot.state.generation);
        let lake = lake.map(|_| format!("generation {committed} is committed"));
        let pin = self.shared.online.read_pin(&self.space.namespace, None).await;
        let online = pin.and_then(|pin| match pin.generation.0 {
            served if served == committed => Ok(format!("generation {served} is served")),
            served if served < committed && served > 0 => {
                Ok(format!("generation {served} is served, the next run moves on to {committed}"))
            }
            served if served < committed => Err(empty_online(committed)),
            served => Ok(format!("generation {served} is served")),
        });
        Ok(Health::of(vec![check("lake", lake), check("online", online)]))
    }

    async fn stats(&self, options: GetOptions) -> Result<Stats> {
        let snapshot = self.committed(options.deadline).await?;
        let state = &snapshot.state;
        let commit = &state.commit;
        Ok(Stats {
            ratings: recstore_core::RatingCounts {
                ratings: commit.ratings.live(),
                withdrawn: commit.ratings.rows() - commit.ratings.live(),
            },
            users: commit.user_features.live(),
            items: commit.item_features.live(),
            feature_rows: commit.custom.values().map(crate::lake::commit::TableFiles::live).sum(),
            releases: state.releases.releases.len() as u64,
            hidden_items: state.hidden.len() as u64,
            tombstones: state.tombstones.len() as u64,
            backend: self.shared.figures(),
        })
    }

    async fn fingerprint(&self, options: GetOptions) -> Result<Fingerprints> {
        let snapshot = self.committed(options.deadline).await?;
        let work = fingerprint(self, &snapshot);
        match instant(options.deadline) {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| {
                let text = "the deadline passed while the lake was read";
                Err(Error::new(ErrorKind::DeadlineExceeded, text))
            }),
        }
    }

    async fn erase(&self, entity: &Entity, options: EraseOptions) -> Result<EraseReport> {
        self.admit(options.deadline)?;
        let report = self.count_for_erasure(entity).await?;
        if !options.dry_run {
            self.erase_everywhere(entity).await?;
        }
        Ok(report)
    }

    async fn refresh(&self) -> Result<()> {
        self.admit(None)?;
        let report = self.pipeline().run(RunOptions::default()).await?;
        tracing::debug!(generation = report.generation, seconds = report.seconds, "refreshed");
        self.space.pins.forget().await;
        let committed = self.space.heads.read(None).await?;
        self.tell_readers(&committed).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::SeqCst);
        let spaces: Vec<Arc<Space>> = {
            let spaces = self.shared.spaces.lock().unwrap_or_else(PoisonError::into_inner);
            spaces.values().cloned().collect()
        };
        for space in spaces {
            if let Some(writer) = space.writer.get() {
                writer.close().await;
            }
            space.features.close().await;
        }
        Ok(())
    }
}

/// Nothing is committed, though generations were.
pub(crate) fn head_gone(namespace: &Namespace) -> Error {
    corrupt("the head of the namespace is gone, though generations were committed").on(head_name(namespace))
}

/// The tables have nothing of what is committed.
pub(crate) fn empty_online(committed: u64) -> Error {
    let text = format!(
        "the tables are empty though generation {committed} is committed: \
         fill them with `recstore pipeline rebuild-online`, or name the tables that belong to this lake"
    );
    Error::new(ErrorKind::Conflict, text)
}
