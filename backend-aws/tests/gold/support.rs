//! Parts that these tests use.

use std::sync::Arc;
use std::time::Duration;

use recstore_aws::config::{AwsConfig, RetryConfig};
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::retry::RetryPolicy;
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::{
    EntityKey, EntityKind, ManualClock, Namespace, Neighbour, NeighbourList, Popular, ReleaseSpec,
    SimilarityOptions, StoreContext, Timestamp,
};

use crate::fake::{Fake, Weather, from_env};
use crate::faulty::FaultyStore;

/// The seed and the number of schedules, printed.
pub(crate) fn schedules(default: u64) -> (u64, u64) {
    let (seed, count) = (from_env("RECSTORE_SEED", 1), from_env("RECSTORE_GOLD_SCHEDULES", default));
    println!("RECSTORE_SEED={seed} RECSTORE_GOLD_SCHEDULES={count}");
    (seed, count)
}

pub(crate) fn lake(objects: &FaultyStore, seed: u64) -> LakeStore {
    let config =
        RetryConfig { max_attempts: 12, max_elapsed: Duration::from_secs(120), ..RetryConfig::default() };
    let policy = RetryPolicy::new(config, Duration::from_secs(10), seed);
    LakeStore::new(Arc::new(objects.clone()), LakePrefix::new("lake").unwrap(), Arc::new(policy))
}

/// The services that several processes share.
pub(crate) struct World {
    pub(crate) objects: FaultyStore,
    pub(crate) tables: Fake,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_705_320_000_000).unwrap()));
        World { objects: FaultyStore::new(seed, 0), tables: Fake::new(seed, Weather::default()), clock }
    }

    /// A process of its own.
    pub(crate) fn process(&self, claim: u64) -> AwsStorage {
        let context = StoreContext { clock: self.clock.clone(), ..StoreContext::default() };
        let parts = AwsParts {
            lake: lake(&self.objects, claim),
            online: self.tables.online(claim),
            config: AwsConfig::default(),
            context,
            claim: u128::from(claim),
        };
        AwsStorage::new(parts, Namespace::default()).unwrap()
    }

    /// From now on both services fail often.
    pub(crate) fn storm(&self) {
        self.objects.set_share(60);
        self.tables.set_weather(Weather::FOUL);
    }

    /// Both services do well, and what was under way has arrived.
    pub(crate) async fn calm(&self) {
        self.tables.set_weather(Weather::default());
        self.objects.heal();
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

pub(crate) fn spec() -> ReleaseSpec {
    ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() }
}

pub(crate) fn key(id: &str) -> EntityKey {
    EntityKey::new(id).unwrap()
}

pub(crate) fn list(id: &str, neighbours: &[&str]) -> NeighbourList {
    let neighbour =
        |(at, id): (usize, &&str)| Neighbour { id: key(id), similarity: 1.0 / (at + 1) as f64, common: 3 };
    NeighbourList { id: key(id), neighbours: neighbours.iter().enumerate().map(neighbour).collect() }
}

pub(crate) fn popular(ids: &[&str]) -> Vec<Popular> {
    ids.iter().map(|id| Popular { id: key(id), ratings: 1 }).collect()
}
