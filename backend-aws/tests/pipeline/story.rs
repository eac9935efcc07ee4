//! What happens in a namespace, told to the lake and to the memory backend, and what readers see of both.

use futures::TryStreamExt;
use recstore_aws::AwsStorage;
use recstore_aws::pipeline::{RunOptions, RunOutcome};
use recstore_core::{
    BayesianPrior, ColumnType, Entity, EntityKey, EntityKind, EraseOptions, Error, FeatureName,
    FeatureRequest, FeatureRow, FeatureValue, GetOptions, GroupSchema, HistoryOptions, HistoryPage,
    MemoryStorage, Namespace, PutOptions, Rating, RatingRow, Result, RowStatus, ScanOptions, Storage,
    StoreContext, Timestamp, UserId,
};

use crate::fake::{Random, Weather};
use crate::stage::{Gate, Stage};
use crate::support::{NOON, event};

/// Users and items.
pub(crate) const EACH: usize = 3;

/// What is done at once, as one step that may be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The first run.
    First,
    /// A run after another.
    Incremental,
    /// A run that finds rows of a custom group that are not in the tables yet.
    Custom,
    /// An erasure.
    Erasure,
    /// The statistics computed anew, with another prior.
    Rebuild,
}

pub(crate) const STEPS: [Step; 5] =
    [Step::First, Step::Incremental, Step::Custom, Step::Erasure, Step::Rebuild];

/// What was told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Group,
    Ratings(Vec<Rating>),
    Rows(Vec<FeatureRow>),
    Erased,
}

fn group() -> FeatureName {
    FeatureName::new("profile").unwrap()
}

fn erased() -> Entity {
    UserId::from(1).into()
}

pub(crate) async fn tell(store: &dyn Storage, told: &Told) {
    match told.clone() {
        Told::Group => {
            let age = FeatureName::new("age").unwrap();
            let schema = GroupSchema::new(group(), EntityKind::User).with_column(age, ColumnType::Integer);
            store.register_group(schema).await.unwrap();
        }
        Told::Ratings(events) => {
            store.put_ratings(events, PutOptions::default()).await.unwrap();
        }
        Told::Rows(rows) => {
            store.put_features(&group(), rows, PutOptions::default()).await.unwrap();
        }
        Told::Erased => {
            store.erase(&erased(), EraseOptions::default()).await.unwrap();
        }
    }
}

pub(crate) fn ratings(random: &mut Random) -> Told {
    Told::Ratings((0..6 + random.below(8)).map(|_| event(random, EACH, EACH)).collect())
}

fn feature_rows(random: &mut Random) -> Told {
    let row = |random: &mut Random| {
        let id = EntityKey::from(UserId::from(random.below(EACH) as u64));
        let at = Timestamp::from_millis(NOON - 500 + random.below(20) as i64).unwrap();
        let age = FeatureValue::Integer(random.below(90) as i64);
        FeatureRow::new(id, at).with(FeatureName::new("age").unwrap(), age)
    };
    Told::Rows((0..1 + random.below(4)).map(|_| row(random)).collect())
}

/// A namespace before a step, and what was told of it.
pub(crate) struct Story {
    pub(crate) step: Step,
    pub(crate) stage: Stage,
    pub(crate) told: Vec<Told>,
}

impl Story {
    /// Everything up to the step.
    pub(crate) async fn before(step: Step, seed: u64) -> Story {
        let mut random = Random::of_case(seed, step as u64);
        let stage = Stage::new(seed);
        let store = stage.process(1);
        let mut told = vec![Told::Group, ratings(&mut random)];
        for told in &told {
            tell(&store, told).await;
        }
        if step != Step::First {
            let rows = feature_rows(&mut random);
            tell(&store, &rows).await;
            told.push(rows);
            store.pipeline().run(RunOptions::default()).await.unwrap();
            let more = ratings(&mut random);
            tell(&store, &more).await;
            told.push(more);
        }
        if step == Step::Custom {
            // They are stored in the lake, and none of them comes to the tables.
            stage.tables.set_weather(Weather { throttled: 100, ..Weather::default() });
            let rows = feature_rows(&mut random);
            tell(&store, &rows).await;
            told.push(rows);
            stage.tables.set_weather(Weather::default());
        }
        if matches!(step, Step::Erasure | Step::Rebuild) {
            store.pipeline().run(RunOptions::default()).await.unwrap();
        }
        Story { step, stage, told }
    }

    /// With the parameters of the step.
    pub(crate) fn context(&self, stage: &Stage) -> StoreContext {
        let prior = match self.step {
            Step::Rebuild => BayesianPrior::new(1.5, 9).unwrap(),
            _ => BayesianPrior::default(),
        };
        StoreContext { prior, ..stage.context() }
    }

    pub(crate) fn process(&self, stage: &Stage, number: u64, gate: &Gate) -> AwsStorage {
        stage.gated(number, gate, self.context(stage))
    }

    /// The step, or the same step once more.
    pub(crate) async fn act(&self, store: &AwsStorage) -> Result<()> {
        match self.step {
            Step::First | Step::Incremental | Step::Custom => {
                store.pipeline().run(RunOptions::default()).await.map(drop)
            }
            Step::Erasure => store.erase(&erased(), EraseOptions::default()).await.map(drop),
            Step::Rebuild => recstore_core::FeatureStore::rebuild_features(store).await.map(drop),
        }
    }

    /// What the memory backend says after this and more, the step included.
    pub(crate) async fn oracle(&self, more: &[Told]) -> MemoryStorage {
        let oracle = MemoryStorage::new(Namespace::default(), self.context(&self.stage));
        for told in self.told.iter().chain(more) {
            tell(&oracle, told).await;
        }
        if self.step == Step::Erasure {
            tell(&oracle, &Told::Erased).await;
        }
        oracle
    }

    /// The step is done; another run finds nothing and writes nothing.
    pub(crate) async fn assert_settled(
        &self,
        stage: &Stage,
        number: u64,
        oracle: &MemoryStorage,
        what: &str,
    ) {
        let gate = Gate::open();
        let store = self.process(stage, number, &gate);
        let report = store.pipeline().run(RunOptions::default()).await.unwrap();
        assert_eq!((report.outcome, report.gaps), (RunOutcome::NothingNew, 0), "{what}");
        assert_eq!(gate.writes(), 0, "{what}: a run without anything new writes");
        assert_eq!(See::of(&store).await, See::of(oracle).await, "{what}");
        let all = GetOptions::default;
        let fingerprints =
            (store.fingerprint(all()).await.unwrap(), oracle.fingerprint(all()).await.unwrap());
        assert_eq!(fingerprints.0, fingerprints.1, "{what}: other fingerprints");
    }
}

/// What readers see.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct See {
    /// Of the lake.
    pub(crate) rows: Vec<RatingRow>,
    /// Of the tables, as of the generation that they serve.
    pub(crate) online: Online,
    /// Rows of the custom group, which are visible as soon as they are put.
    pub(crate) custom: Vec<Option<FeatureValue>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Online {
    pub(crate) histories: Vec<HistoryPage>,
    pub(crate) features: Vec<Vec<Option<FeatureValue>>>,
}

fn ids() -> impl Iterator<Item = u64> {
    0..EACH as u64
}

impl See {
    pub(crate) async fn of(store: &dyn Storage) -> See {
        See::of_any(store).await.unwrap()
    }

    pub(crate) async fn of_any(store: &dyn Storage) -> Result<See> {
        let options = ScanOptions::default().with_withdrawn(true).with_batch_rows(7);
        let rows = store.scan_ratings(options).try_collect::<Vec<_>>().await?.concat();
        let mut histories = Vec::new();
        for id in ids() {
            let options = || HistoryOptions::default().with_withdrawn(true);
            for page in [
                store.user_history(&id.into(), options()).await?,
                store.item_history(&id.into(), options()).await?,
            ] {
                // A page's token is a backend's own.
                histories.push(HistoryPage { next: None, ..page });
            }
        }
        let mut features = Vec::new();
        let (users, items) = (ids().map(Into::into), ids().map(Into::into));
        for request in [FeatureRequest::of_users(users), FeatureRequest::of_items(items)] {
            features.extend(values(store, request).await?);
        }
        let users = ids().map(|id| EntityKey::from(UserId::from(id))).collect();
        let custom = values(store, FeatureRequest::new(group(), users)).await?.concat();
        Ok(See { rows, online: Online { histories, features }, custom })
    }
}

/// The values of each row.
async fn values(store: &dyn Storage, request: FeatureRequest) -> Result<Vec<Vec<Option<FeatureValue>>>> {
    let batch = store.get_features(request).await?;
    if let Some(error) = batch.status.iter().find_map(failed) {
        return Err(error);
    }
    let row = |at: usize| batch.columns.iter().map(|column| column.value(at)).collect();
    Ok((0..batch.ids.len()).map(row).collect())
}

/// The error of a row, which is the read's then; its reason names the object.
pub(crate) fn failed(status: &RowStatus) -> Option<Error> {
    match status {
        RowStatus::Failed { kind, reason } => Some(Error::new(*kind, reason.clone()).on("a row")),
        _ => None,
    }
}
