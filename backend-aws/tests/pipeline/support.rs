//! A lake and tables in memory, and handles on them.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use recstore_aws::config::{AwsConfig, IngestConfig, PipelineConfig, RetentionConfig, RetryConfig, S3Config};
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::retry::RetryPolicy;
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::{
    EventId, ManualClock, Namespace, Rating, RatingRow, RatingStore, RatingValue, ScanOptions, StoreContext,
    Timestamp,
};

use crate::fake::{Fake, Random, Weather};

/// 2024-01-15T12:00:00Z.
pub(crate) const NOON: i64 = 1_705_320_000_000;

/// What processes share: the bucket, the tables, the clock.
pub(crate) struct World {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) tables: Fake,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) buckets: u32,
    /// The share of entities that may fall away in a run.
    pub(crate) max_entity_drop: f64,
    /// What a vacuum keeps.
    pub(crate) retention: RetentionConfig,
}

impl World {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> World {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOON).unwrap()));
        let (tables, retention) = (Fake::new(1, Weather::default()), RetentionConfig::default());
        World { objects, tables, clock, buckets: 4, max_entity_drop: 0.2, retention }
    }

    pub(crate) fn context(&self) -> StoreContext {
        StoreContext { clock: self.clock.clone(), ..StoreContext::default() }
    }

    /// A process; each has a number of its own.
    pub(crate) fn process(&self, number: u128) -> AwsStorage {
        self.process_in(number, self.context())
    }

    /// A process with another clock or other parameters.
    pub(crate) fn process_in(&self, number: u128, context: StoreContext) -> AwsStorage {
        self.process_of(number, context, Namespace::default())
    }

    /// A process with another clock or other parameters, and of a namespace.
    pub(crate) fn process_of(&self, number: u128, context: StoreContext, namespace: Namespace) -> AwsStorage {
        let s3 = S3Config { bucket: "bucket".into(), ..S3Config::default() };
        let ingest = IngestConfig { linger: Duration::ZERO, ..IngestConfig::default() };
        let (buckets, max_entity_drop) = (self.buckets, self.max_entity_drop);
        let retention = self.retention.clone();
        let pipeline = PipelineConfig { buckets, max_entity_drop, retention, ..PipelineConfig::default() };
        let config = AwsConfig { s3, ingest, pipeline, ..AwsConfig::default() };
        let policy = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(10), number as u64);
        let prefix = LakePrefix::new("lake").unwrap();
        let lake = LakeStore::new(self.objects.clone(), prefix, Arc::new(policy));
        let online = self.tables.online(number as u64);
        let parts = AwsParts { lake, online, config, context, claim: number };
        AwsStorage::new(parts, namespace).unwrap()
    }
}

/// An event among few users, items, times and values.
pub(crate) fn event(random: &mut Random, users: usize, items: usize) -> Rating {
    let value = (!random.chance(10)).then(|| RatingValue::new(random.below(10) as f64 / 2.0).unwrap());
    let at = Timestamp::from_millis(NOON - 1000 + random.below(20) as i64).unwrap();
    let id = random.chance(20).then(|| EventId::from_u128(random.below(3) as u128));
    let (user, item) = (random.below(users) as u64, random.below(items) as u64);
    Rating::from_parts(user.into(), item.into(), value, at, id)
}

pub(crate) async fn rows(store: &dyn RatingStore) -> Vec<RatingRow> {
    let options = ScanOptions::default().with_withdrawn(true).with_batch_rows(7);
    store.scan_ratings(options).try_collect::<Vec<_>>().await.unwrap().concat()
}
