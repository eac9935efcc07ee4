//! The feature store on an object store and tables in memory, against the memory backend.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use recstore_aws::config::{AwsConfig, RetryConfig};
use recstore_aws::lake::bronze::feature_line::FeatureLine;
use recstore_aws::lake::bronze::reader::BronzeReader;
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::online::pin::Pin;
use recstore_aws::online::versioned::Generation;
use recstore_aws::retry::RetryPolicy;
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::memory::MemoryStorage;
use recstore_core::{
    ColumnType, Deadline, Durability, EntityKind, ErrorKind, FeatureBatch, FeatureName, FeatureRequest,
    FeatureRow, FeatureStore, FeatureValue, GroupSchema, ManualClock, Namespace, Origin, Outcome, PutOptions,
    RatingStats, RatingValue, Result, RowStatus, StoreContext, Timestamp,
};

use crate::fake::{Fake, Random, Weather, run, schedules};
use crate::rows::{at, group, id, put_all, schema};

/// 2024-01-15T12:00:00Z.
const NOON: i64 = 1_705_320_000_000;

/// Stores that several handles share.
struct World {
    objects: Arc<InMemory>,
    fake: Fake,
    context: StoreContext,
    clock: Arc<ManualClock>,
}

impl World {
    fn new(seed: u64) -> World {
        let clock = Arc::new(ManualClock::new(at(NOON)));
        let context = StoreContext { clock: clock.clone(), ..StoreContext::default() };
        World { objects: Arc::default(), fake: Fake::new(seed, Weather::default()), context, clock }
    }

    fn lake(&self) -> LakeStore {
        let policy = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(10), 7);
        LakeStore::new(self.objects.clone(), LakePrefix::default(), Arc::new(policy))
    }

    /// A handle of a process of its own.
    fn storage(&self, process: u64) -> AwsStorage {
        let parts = AwsParts {
            lake: self.lake(),
            online: self.fake.online(process),
            config: AwsConfig::default(),
            context: self.context.clone(),
            claim: u128::from(process),
        };
        AwsStorage::new(parts, Namespace::default()).unwrap()
    }

    fn oracle(&self) -> MemoryStorage {
        MemoryStorage::new(Namespace::default(), self.context.clone())
    }

    /// Every line of the topic, in the order of its objects.
    async fn lines(&self) -> Vec<FeatureLine> {
        let reader = BronzeReader::<FeatureLine>::of_topic(self.lake(), Namespace::default());
        let list = reader.list(&Default::default(), None).await.unwrap();
        assert_eq!((list.gaps.len(), list.foreign.len()), (0, 0));
        let batches: Vec<_> = reader.read(list.objects, 100, None).try_collect().await.unwrap();
        assert!(batches.iter().all(|batch| batch.rejected.is_empty()));
        batches.into_iter().flat_map(|batch| batch.events).collect()
    }
}

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn aged(of: usize, time: Timestamp, age: i64) -> FeatureRow {
    FeatureRow::new(id(of), time).with(name("age"), FeatureValue::Integer(age))
}

async fn put(store: &dyn FeatureStore, rows: Vec<FeatureRow>) -> Result<Vec<Outcome>> {
    Ok(store.put_features(&group(), rows, PutOptions::default()).await?.outcomes)
}

async fn read(store: &dyn FeatureStore, ids: impl IntoIterator<Item = usize>) -> FeatureBatch {
    let ids = ids.into_iter().map(id).collect();
    store.get_features(FeatureRequest::new(group(), ids)).await.unwrap()
}

/// A step that both stores take: what they say to it, as text.
async fn step(store: &dyn FeatureStore, random: &mut Random, now: i64) -> String {
    let error =
        |error: recstore_core::Error| format!("{:?} {:?}", error.kind(), error.field().map(str::to_owned));
    let group = name(["profile", "other", "nope", "user_ratings"][random.below(20).saturating_sub(16)]);
    match random.below(10) {
        0 => {
            let mut wanted = GroupSchema { name: group, ..schema() };
            match random.below(4) {
                0 => wanted = wanted.with_column(name("height"), ColumnType::Float),
                1 => wanted.columns.truncate(1),
                2 => wanted.columns.swap(0, 1),
                _ => {}
            }
            format!("{:?}", store.register_group(wanted).await.map_err(error))
        }
        1 => format!("{:?}", store.groups().await.map_err(error)),
        2..6 => {
            let mut row = || {
                let time = at(if random.chance(3) { now + 100_000_000 } else { random.below(8) as i64 });
                let row = FeatureRow::new(id(random.below(6)), time);
                match random.below(24) {
                    0..4 => FeatureRow::deleted(row.id, time),
                    4 => row.with(name("height"), FeatureValue::Float(random.below(3) as f64 - 1.0)),
                    5 => row.with(name("age"), FeatureValue::Bool(true)),
                    6..9 => row,
                    _ => row.with(name("age"), FeatureValue::Integer(random.below(4) as i64)),
                }
            };
            let rows = (0..4).map(|_| row()).collect();
            let receipt = store.put_features(&group, rows, PutOptions::default()).await;
            format!("{:?}", receipt.map(|receipt| (receipt.outcomes, receipt.conflicts)).map_err(error))
        }
        _ => {
            let mut request =
                FeatureRequest::new(group.clone(), (0..8).map(|_| id(random.below(8))).collect());
            if random.chance(30) {
                request = request.with_columns(vec![name("city"), name(["age", "height"][random.below(2)])]);
            }
            if random.chance(30) {
                request = request.with_max_age(Duration::from_millis((now - 4) as u64));
            }
            let built_in = group == FeatureName::USER_RATINGS;
            let answer = store.get_features(request).await.map_err(error);
            // How fresh a built-in row is, is the one thing in which the two differ.
            format!("{:?}", answer.map(|batch| if built_in { None } else { Some(batch) }))
        }
    }
}

#[test]
fn a_thousand_scripts_say_the_same_to_this_store_and_the_memory_backend() {
    let (seed, count) = schedules(1_000);
    for number in 0..count {
        run(async {
            let world = World::new(number);
            let (stores, oracle) = ([world.storage(1), world.storage(2)], world.oracle());
            for (store, schema) in [(&stores[0] as &dyn FeatureStore, schema()), (&oracle, schema())] {
                store.register_group(schema).await.unwrap();
            }
            let mut random = Random::of_case(seed, number);
            for at in 0..12 {
                let bits = random.bits();
                // Other processes see what one of them did once their groups are looked up again.
                tokio::time::sleep(Duration::from_secs(2)).await;
                let ours = step(&stores[random.below(2)], &mut Random::new(bits), NOON).await;
                let expected = step(&oracle, &mut Random::new(bits), NOON).await;
                assert_eq!(ours, expected, "case {number}, step {at}");
            }
        });
    }
}

#[test]
fn a_batch_that_dynamodb_does_not_take_is_accepted_and_its_lines_are_kept() {
    run(async {
        let world = World::new(1);
        let store = world.storage(1);
        store.register_group(schema()).await.unwrap();
        put(&store, vec![aged(1, at(1), 1)]).await.unwrap();
        world.fake.set_weather(Weather { throttled: 100, ..Weather::default() });
        let rows = vec![aged(1, at(2), 2), aged(2, at(2), 3)];
        let receipt = store.put_features(&group(), rows.clone(), PutOptions::default()).await.unwrap();
        assert_eq!(receipt.outcomes, [Outcome::Accepted; 2]);
        assert_eq!(receipt.durability, Durability::ObjectStore);
        let batch = read(&store, [1, 2]).await;
        for status in &batch.status {
            assert!(matches!(status, RowStatus::Failed { kind: ErrorKind::Busy, .. }), "{status:?}");
        }
        assert_eq!(batch.value(0, "age"), None);
        world.fake.set_weather(Weather::default());
        assert_eq!(read(&store, [1]).await.value(0, "age"), Some(FeatureValue::Integer(1)));
        let lines: Vec<FeatureRow> = world.lines().await.into_iter().map(|line| line.row).collect();
        assert_eq!(lines[1..], rows);
        // The same rows again settle it.
        assert_eq!(put(&store, rows).await.unwrap(), [Outcome::Applied; 2]);
        assert_eq!(read(&store, [2]).await.value(0, "age"), Some(FeatureValue::Integer(3)));
    });
}

#[test]
fn a_caller_that_leaves_at_any_moment_leaves_all_of_its_batch_in_bronze_or_nothing_anywhere() {
    run(async {
        let (mut whole, mut none, mut partly_shown) = (0, 0, 0);
        for moment in 0..60 {
            let world = World::new(moment);
            let store = world.storage(1);
            store.register_group(schema()).await.unwrap();
            world.fake.set_weather(Weather { latency: 30, ..Weather::default() });
            let rows: Vec<FeatureRow> = (0..20).map(|of| aged(of, at(5), 1)).collect();
            let patience = Duration::from_millis(80 + 3 * moment);
            let left = tokio::time::timeout(patience, put(&store, rows.clone())).await.is_err();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let lines: Vec<FeatureRow> = world.lines().await.into_iter().map(|line| line.row).collect();
            let shown = read(&store, 0..20).await.status.iter().filter(|status| status.is_found()).count();
            match lines.len() {
                0 => none += 1,
                _ => {
                    assert_eq!(lines, rows, "moment {moment}");
                    whole += 1;
                }
            }
            assert!(shown == 0 || lines == rows, "moment {moment}: {shown} rows are shown that are nowhere");
            assert!(left || shown == 20, "moment {moment}");
            partly_shown += u32::from(shown > 0 && shown < 20);
        }
        println!("{whole} whole, {none} none, {partly_shown} shown in part");
        assert!(whole > 5 && none > 5 && partly_shown > 3, "{whole} {none} {partly_shown}");
    });
}

#[test]
fn what_another_process_declared_is_known_at_once_where_it_matters() {
    run(async {
        let world = World::new(2);
        let (one, other) = (world.storage(1), world.storage(2));
        one.register_group(schema()).await.unwrap();
        let asked = FeatureRequest::new(name("second"), vec![id(1)]);
        assert_eq!(other.get_features(asked.clone()).await.unwrap_err().kind(), ErrorKind::NotFound);
        one.register_group(GroupSchema { name: name("second"), ..schema() }).await.unwrap();
        assert_eq!(other.get_features(asked).await.unwrap().status, [RowStatus::Missing]);
        // A column that `other` has not heard of, in a row that it reads.
        let wider = schema().with_column(name("height"), ColumnType::Float);
        assert_eq!(one.register_group(wider.clone()).await.unwrap().version, 2);
        let row = aged(1, at(5), 7).with(name("height"), FeatureValue::Float(1.5));
        assert_eq!(put(&one, vec![row]).await.unwrap(), [Outcome::Applied]);
        let batch = read(&other, [1]).await;
        assert_eq!(batch.value(0, "age"), Some(FeatureValue::Integer(7)));
        assert_eq!(batch.value(0, "height"), Some(FeatureValue::Float(1.5)));
        // Two processes widen it in different ways: one is first.
        let tall = wider.clone().with_column(name("a"), ColumnType::Bool);
        let heavy = wider.with_column(name("b"), ColumnType::Bool);
        let (a, b) = tokio::join!(one.register_group(tall), other.register_group(heavy));
        let refused = [&a, &b].into_iter().find_map(|answer| answer.as_ref().err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let stored = a.or(b).unwrap();
        assert_eq!((one.groups().await.unwrap()[2].clone(), stored.version), (stored, 3));
    });
}

#[test]
fn reading_custom_rows_needs_no_request_to_the_bucket_while_the_groups_are_young() {
    run(async {
        let world = World::new(3);
        let store = world.storage(1);
        store.register_group(schema()).await.unwrap();
        put(&store, vec![aged(1, at(5), 7)]).await.unwrap();
        world.objects.delete(&Path::from("state/v1/ns=default/head.json")).await.unwrap();
        assert_eq!(read(&store, [1]).await.value(0, "age"), Some(FeatureValue::Integer(7)));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let gone = store.get_features(FeatureRequest::new(group(), vec![id(1)])).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound, "the head is asked again");
    });
}

fn stats(values: &[f64], time: i64) -> RatingStats {
    let mut stats = RatingStats::default();
    for value in values {
        let _ = stats.apply(None, RatingValue::new(*value).ok());
    }
    stats.observe(at(time), at(time));
    stats
}

#[test]
fn built_in_rows_are_those_of_the_committed_generation_and_say_so() {
    run(async {
        let world = World::new(4);
        let (store, online, namespace) = (world.storage(1), world.fake.online(9), Namespace::default());
        let asked = FeatureRequest::new(FeatureName::USER_RATINGS, vec![id(2), id(1), id(1)]);
        let before = store.get_features(asked.clone()).await.unwrap();
        assert_eq!(before.status, [RowStatus::Missing, RowStatus::Missing, RowStatus::Missing]);
        let changes = vec![(id(1), Some(stats(&[3.0, 4.0], NOON)))];
        online.publish_stats(&namespace, EntityKind::User, Generation(1), changes, None).await.unwrap();
        let as_of = at(NOON - 5_000);
        let pin = Pin { generation: Generation(1), as_of };
        online.advance_pin(&namespace, pin, None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let batch = store.get_features(asked.clone()).await.unwrap();
        let found = RowStatus::Found { as_of, origin: Origin::Published };
        assert_eq!(batch.status, [RowStatus::Missing, found.clone(), found]);
        assert_eq!(batch.value(1, "rating_mean"), Some(FeatureValue::Float(3.5)));
        assert_eq!(batch.value(2, "rating_count"), Some(FeatureValue::Integer(2)));
        let status = |max_age| store.get_features(asked.clone().with_max_age(Duration::from_millis(max_age)));
        assert!(status(5_000).await.unwrap().status[1].is_found());
        let old = status(4_999).await.unwrap();
        assert_eq!(old.status[..2], [RowStatus::Missing, RowStatus::TooOld { as_of }]);
        assert_eq!(old.value(1, "rating_mean"), None);
        world.clock.set(at(NOON + 1));
        assert_eq!(status(5_000).await.unwrap().status[1], RowStatus::TooOld { as_of });
        let wrong = asked.clone().with_columns(vec![name("nope")]);
        assert_eq!(store.get_features(wrong).await.unwrap_err().field(), Some("columns"));
        let key = recstore_aws::online::keys::feature(&namespace, "2", &FeatureName::USER_RATINGS).unwrap();
        world.fake.set_hot(key);
        let batch = store.get_features(asked).await.unwrap();
        assert!(matches!(batch.status[0], RowStatus::Failed { kind: ErrorKind::Busy, .. }));
        assert!(batch.status[1].is_found());
    });
}

#[test]
fn calls_whose_deadline_has_passed_do_nothing() {
    run(async {
        let world = World::new(5);
        let store = world.storage(1);
        store.register_group(schema()).await.unwrap();
        let past = Deadline::after(Duration::ZERO);
        let options = PutOptions { deadline: Some(past) };
        let put = store.put_features(&group(), vec![aged(1, at(1), 1)], options).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        let asked = FeatureRequest::new(group(), vec![id(1)]).with_deadline(past);
        assert_eq!(store.get_features(asked).await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        assert_eq!(world.lines().await, []);
        assert_eq!(read(&store, [1]).await.status, [RowStatus::Missing]);
    });
}

#[test]
fn lines_of_the_topic_bring_the_rows_back_into_empty_tables() {
    run(async {
        let world = World::new(6);
        let store = world.storage(1);
        store.register_group(schema()).await.unwrap();
        let mut random = Random::new(6);
        for _ in 0..20 {
            let row = |random: &mut Random| {
                aged(random.below(5), at(random.below(9) as i64), random.below(3) as i64)
            };
            put(&store, (0..3).map(|_| row(&mut random)).collect()).await.unwrap();
        }
        let emptied = Fake::new(7, Weather::default()).online(7);
        let mut lines = world.lines().await;
        assert_eq!(lines.len(), 60);
        lines.reverse();
        for line in lines {
            let encoded = recstore_core::features::encode_row(&schema(), &line.row.content).unwrap();
            let row = recstore_aws::online::custom::CustomRow::new(line.row.event_time, encoded);
            put_all(&emptied, vec![(line.row.id, row)]).await;
        }
        for of in 0..5 {
            let found = crate::rows::get(&emptied, of).await.unwrap();
            assert_eq!(found, crate::rows::get(&world.fake.online(8), of).await.unwrap());
        }
    });
}
