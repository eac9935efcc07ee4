//! Rows in bronze, beside the ratings.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use recstore_aws::config::{IngestConfig, RetryConfig};
use recstore_aws::lake::bronze::feature_line::FeatureLine;
use recstore_aws::lake::bronze::line::Line;
use recstore_aws::lake::bronze::object::ClaimId;
use recstore_aws::lake::bronze::reader::{BronzeList, BronzeReader};
use recstore_aws::lake::bronze::writer::{BronzeWriter, BronzeWriterParts};
use recstore_aws::lake::keys::{LakePrefix, Topic, WriterId};
use recstore_aws::lake::store::LakeStore;
use recstore_aws::retry::RetryPolicy;
use recstore_core::features::MAX_BATCH_ROWS;
use recstore_core::ratings::MAX_BATCH_EVENTS;
use recstore_core::{ErrorKind, FeatureName, FeatureRow, FeatureValue, ManualClock, Namespace, Rating};

use crate::fake::run;
use crate::rows::{at, group, id};

fn lake() -> LakeStore {
    let policy = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(10), 7);
    LakeStore::new(Arc::new(InMemory::new()), LakePrefix::default(), Arc::new(policy))
}

fn parts(store: &LakeStore, claim: u128) -> BronzeWriterParts {
    BronzeWriterParts {
        store: store.clone(),
        namespace: Namespace::default(),
        writer: WriterId::new("w").unwrap(),
        claim: ClaimId::from_random(claim),
        ingest: IngestConfig { max_queued_events: MAX_BATCH_EVENTS, ..IngestConfig::default() },
        clock: Arc::new(ManualClock::new(at(0))),
    }
}

fn line(of: usize, text: &str) -> FeatureLine {
    let city = FeatureValue::Text(text.to_owned());
    FeatureLine {
        group: group(),
        row: FeatureRow::new(id(of), at(1)).with(FeatureName::new("city").unwrap(), city),
    }
}

async fn read<L: Line>(store: &LakeStore, list: &BronzeList) -> Vec<L> {
    let reader = BronzeReader::<L>::of_topic(store.clone(), Namespace::default());
    let batches: Vec<_> = reader.read(list.objects.clone(), 7, None).try_collect().await.unwrap();
    batches.into_iter().flat_map(|batch| batch.events).collect()
}

#[test]
fn two_topics_of_one_writer_share_neither_objects_nor_claims_nor_cursors() {
    run(async {
        let store = lake();
        let ratings = BronzeWriter::spawn(parts(&store, 1)).unwrap();
        let rows = BronzeWriter::<FeatureLine>::spawn_of_topic(parts(&store, 2)).unwrap();
        let events: Vec<Rating> =
            (0..3).map(|of| Rating::new(of.into(), 1.into(), 2.0, at(5)).unwrap()).collect();
        let lines: Vec<FeatureLine> = (0..20).map(|of| line(of, "Bern")).collect();
        let rating_key = ratings.append(events.clone(), None).await.unwrap().unwrap().key;
        let row_key = rows.append(lines.clone(), None).await.unwrap().unwrap().key;
        assert_eq!((rating_key.epoch.topic, rating_key.epoch.epoch), (Topic::Ratings, 1));
        assert_eq!((row_key.epoch.topic, row_key.epoch.epoch), (Topic::Features, 1));
        assert_eq!(row_key.first, 0);
        let namespace = Namespace::default;
        let of_ratings = BronzeReader::new(store.clone(), namespace());
        let of_rows = BronzeReader::<FeatureLine>::of_topic(store.clone(), namespace());
        let rating_list = of_ratings.list(&Default::default(), None).await.unwrap();
        let row_list = of_rows.list(&Default::default(), None).await.unwrap();
        assert_eq!((rating_list.events(), row_list.events()), (3, 20));
        assert_eq!((rating_list.foreign.len(), row_list.foreign.len()), (0, 0));
        assert_eq!(read::<Rating>(&store, &rating_list).await, events);
        assert_eq!(read::<FeatureLine>(&store, &row_list).await, lines);
        assert!(of_rows.list(&row_list.cursors, None).await.unwrap().objects.is_empty());
        // Another process under the same name goes on in an epoch of its own, of this topic alone.
        rows.close().await;
        assert_eq!(rows.append(lines, None).await.unwrap_err().kind(), ErrorKind::Closed);
        let next = BronzeWriter::<FeatureLine>::spawn_of_topic(parts(&store, 3)).unwrap();
        let key = next.append(vec![line(1, "Bern")], None).await.unwrap().unwrap().key;
        assert_eq!((key.epoch.topic, key.epoch.epoch), (Topic::Features, 2));
        let key = ratings.append(events, None).await.unwrap().unwrap().key;
        assert_eq!((key.epoch.epoch, key.first), (1, 3));
    });
}

#[test]
fn batches_of_large_rows_take_turns_for_the_room_and_none_waits_for_ever() {
    run(async {
        let store = lake();
        let writer = BronzeWriter::<FeatureLine>::spawn_of_topic(parts(&store, 1)).unwrap();
        // The room is that of 100,000 lines of 150 bytes; each batch alone is more.
        let text = "x".repeat(340_000);
        let batch = |from: usize| (from..from + 48).map(|of| line(of, &text)).collect::<Vec<_>>();
        assert!(batch(0).iter().map(Line::share).sum::<usize>() > MAX_BATCH_EVENTS);
        let (one, other) = tokio::join!(writer.append(batch(0), None), writer.append(batch(48), None));
        let (one, other) = (one.unwrap().unwrap(), other.unwrap().unwrap());
        assert_eq!((one.events, other.events), (48, 48));
        assert_ne!(one.key, other.key);
    });
}

#[test]
fn more_rows_than_a_batch_may_have_are_refused() {
    run(async {
        let writer = BronzeWriter::<FeatureLine>::spawn_of_topic(parts(&lake(), 1)).unwrap();
        let error = writer.append(vec![line(1, ""); MAX_BATCH_ROWS + 1], None).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("rows")));
        assert_eq!(writer.append(Vec::new(), None).await.unwrap(), None);
    });
}
