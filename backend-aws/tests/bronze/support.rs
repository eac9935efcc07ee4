//! Parts that all tests use.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use recstore_aws::config::{IngestConfig, RetryConfig};
use recstore_aws::lake::bronze::object::ClaimId;
use recstore_aws::lake::bronze::reader::{BronzeBatch, BronzeList, BronzeReader};
use recstore_aws::lake::bronze::writer::BronzeWriterParts;
use recstore_aws::lake::keys::{LakePrefix, WriterId};
use recstore_aws::lake::store::LakeStore;
use recstore_aws::retry::RetryPolicy;
use recstore_core::{Clock, Deadline, ManualClock, Namespace, Rating, Timestamp};
use tokio::time::Instant;

/// 2024-01-15T12:00:00Z.
pub(crate) const NOON: i64 = 1_705_320_000_000;
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(time(NOON)))
}

/// `count` distinct events, from this number on.
pub(crate) fn events(from: u64, count: u64) -> Vec<Rating> {
    (from..from + count).map(event).collect()
}

pub(crate) fn event(number: u64) -> Rating {
    let value = (number % 10) as f64 / 2.0;
    Rating::new((number % 97).into(), number.into(), value, time(NOON + number as i64)).unwrap()
}

/// A deadline on the clock of the test.
pub(crate) fn after(time: Duration) -> Option<Deadline> {
    Some(Deadline::at((Instant::now() + time).into_std()))
}

pub(crate) fn lake(objects: Arc<dyn ObjectStore>) -> LakeStore {
    let policy = RetryPolicy::new(RetryConfig::default(), REQUEST_TIMEOUT, 7);
    LakeStore::new(objects, LakePrefix::new("lake").unwrap(), Arc::new(policy))
}

pub(crate) fn parts(
    store: &LakeStore,
    writer: &str,
    claim: u128,
    clock: Arc<dyn Clock>,
) -> BronzeWriterParts {
    BronzeWriterParts {
        store: store.clone(),
        namespace: Namespace::default(),
        writer: WriterId::new(writer).unwrap(),
        claim: ClaimId::from_random(claim),
        ingest: IngestConfig { linger: Duration::from_millis(20), ..IngestConfig::default() },
        clock,
    }
}

pub(crate) fn reader(store: &LakeStore) -> BronzeReader {
    BronzeReader::new(store.clone(), Namespace::default())
}

/// Everything in these objects, batch by batch.
pub(crate) async fn read(
    reader: &BronzeReader,
    list: &BronzeList,
) -> recstore_core::Result<Vec<BronzeBatch>> {
    reader.read(list.objects.clone(), 1000, None).try_collect().await
}

/// All events of a lake, in the order of its objects.
pub(crate) async fn read_all(store: &LakeStore) -> Vec<Rating> {
    let reader = reader(store);
    let list = reader.list(&Default::default(), None).await.unwrap();
    assert_eq!((list.gaps.len(), list.foreign.len()), (0, 0), "{list:?}");
    let batches = read(&reader, &list).await.unwrap();
    assert!(batches.iter().all(|batch| batch.rejected.is_empty()));
    batches.into_iter().flat_map(|batch| batch.events).collect()
}
