//! Rows of one group, put by many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use recstore_aws::online::Online;
use recstore_aws::online::custom::{CustomRow, RowOrder};
use recstore_aws::online::keys;
use recstore_aws::online::tables::TableName;
use recstore_core::features::encode_row;
use recstore_core::{
    ColumnType, EntityKey, EntityKind, Error, ErrorKind, FeatureName, FeatureRow, FeatureValue, GroupSchema,
    Namespace, Outcome, Result, Timestamp,
};

use crate::fake::{Fake, Random, Weather, run, schedules};

const KIND: EntityKind = EntityKind::User;

pub(crate) fn group() -> FeatureName {
    FeatureName::new("profile").unwrap()
}

pub(crate) fn schema() -> GroupSchema {
    let name = |name| FeatureName::new(name).unwrap();
    GroupSchema::new(group(), KIND)
        .with_column(name("age"), ColumnType::Integer)
        .with_column(name("city"), ColumnType::Text)
}

pub(crate) fn id(number: usize) -> EntityKey {
    EntityKey::new(number.to_string()).unwrap()
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// A row that says an age, or the deletion of one.
pub(crate) fn row(of: usize, millis: i64, age: Option<i64>) -> (EntityKey, CustomRow) {
    let row = match age {
        Some(age) => FeatureRow::new(id(of), at(millis))
            .with(FeatureName::new("age").unwrap(), FeatureValue::Integer(age)),
        None => FeatureRow::deleted(id(of), at(millis)),
    };
    (row.id, CustomRow::new(row.event_time, encode_row(&schema(), &row.content).unwrap()))
}

pub(crate) async fn put(online: &Online, rows: Vec<(EntityKey, CustomRow)>) -> Vec<Result<Outcome>> {
    online.put_custom(&Namespace::default(), KIND, &group(), rows, None).await.unwrap()
}

pub(crate) async fn put_all(online: &Online, rows: Vec<(EntityKey, CustomRow)>) -> Vec<Outcome> {
    put(online, rows).await.into_iter().map(Result::unwrap).collect()
}

pub(crate) async fn get(online: &Online, of: usize) -> Result<Option<CustomRow>> {
    let ids = [id(of)];
    let found = online.get_custom(&Namespace::default(), KIND, &group(), &ids, None).await;
    found.unwrap().remove(&ids[0]).unwrap()
}

pub(crate) async fn erase(online: &Online, of: usize, barred_until: i64) -> Result<bool> {
    let (namespace, group, id) = (Namespace::default(), group(), id(of));
    online.mark_erased(&namespace, KIND, &group, &id, at(barred_until), None).await
}

#[test]
fn what_became_of_each_row_is_told_in_the_order_given() {
    use Outcome::{Applied, Duplicate, Stale};
    run(async {
        let online = Fake::new(1, Weather::default()).online(1);
        let rows = vec![
            row(1, 2, Some(2)),
            row(2, 1, Some(1)),
            row(1, 1, Some(1)),
            row(1, 2, Some(2)),
            row(1, 3, Some(3)),
        ];
        assert_eq!(put_all(&online, rows).await, [Applied, Applied, Stale, Duplicate, Applied]);
        assert_eq!(get(&online, 1).await.unwrap(), Some(row(1, 3, Some(3)).1));
        let rows = vec![row(1, 3, Some(3)), row(1, 1, None), row(2, 1, Some(1)), row(3, 1, None)];
        assert_eq!(put_all(&online, rows).await, [Duplicate, Stale, Duplicate, Applied]);
        // Rising rows of an entity, of which the first are older than what is stored.
        let rows = vec![row(1, 2, None), row(1, 3, Some(3)), row(1, 4, None), row(1, 5, Some(1))];
        assert_eq!(put_all(&online, rows).await, [Stale, Duplicate, Applied, Applied]);
        let rows = vec![row(1, 2, None), row(1, 3, None)];
        assert_eq!(put_all(&online, rows).await, [Stale, Stale]);
        let rows = vec![row(1, 5, Some(1)), row(1, 6, None), row(1, 5, Some(1)), row(1, 6, None)];
        assert_eq!(put_all(&online, rows).await, [Duplicate, Applied, Stale, Duplicate]);
        assert_eq!(get(&online, 3).await.unwrap(), Some(row(3, 1, None).1), "a deletion is a row");
        assert_eq!(get(&online, 4).await.unwrap(), None);
        assert_eq!(put_all(&online, Vec::new()).await, []);
    });
}

#[test]
fn a_row_alone_is_put_by_one_request() {
    run(async {
        let fake = Fake::new(2, Weather::default());
        let online = fake.online(2);
        put_all(&online, (0..30).map(|of| row(of, 5, Some(1))).collect()).await;
        assert_eq!(fake.requests(), vec![("put", 1); 30]);
    });
}

#[test]
fn a_row_whose_answer_was_lost_is_applied_and_again_it_is_a_duplicate() {
    run(async {
        let fake = Fake::new(3, Weather::default());
        let online = fake.online(3);
        for lost in 1..4 {
            fake.lose_answers(lost);
            let rows = || vec![row(lost, 5, Some(1))];
            assert_eq!(put_all(&online, rows()).await, [Outcome::Applied]);
            assert_eq!(put_all(&online, rows()).await, [Outcome::Duplicate]);
        }
    });
}

#[test]
fn a_key_that_is_never_served_fails_alone() {
    run(async {
        let fake = Fake::new(4, Weather::default());
        let online = fake.online(4);
        fake.set_hot(keys::feature(&Namespace::default(), "7", &group()).unwrap());
        let rows = (0..20).chain([7]).map(|of| row(of, 5, Some(1))).collect();
        for (position, outcome) in put(&online, rows).await.into_iter().enumerate() {
            match outcome {
                Ok(outcome) => assert_eq!(outcome, Outcome::Applied, "{position}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy);
                    assert!(matches!(position, 7 | 20) && error.object().unwrap().contains('7'));
                }
            }
        }
        assert_eq!(get(&online, 7).await.unwrap_err().kind(), ErrorKind::Busy, "not missing");
        assert!(get(&online, 8).await.unwrap().is_some());
    });
}

#[test]
fn an_erased_row_beats_every_row_that_it_bars_and_no_other() {
    run(async {
        let fake = Fake::new(5, Weather::default());
        let online = fake.online(5);
        put_all(&online, vec![row(1, 10, Some(1)), row(2, 30, Some(2))]).await;
        assert!(erase(&online, 1, 20).await.unwrap());
        assert!(erase(&online, 1, 20).await.unwrap(), "again");
        assert!(erase(&online, 1, 15).await.unwrap(), "an older bar stands behind the newer one");
        assert!(erase(&online, 3, 20).await.unwrap(), "one that is not there");
        assert!(!erase(&online, 2, 20).await.unwrap(), "a later row stays");
        assert_eq!(get(&online, 1).await.unwrap(), None);
        assert_eq!(get(&online, 2).await.unwrap(), Some(row(2, 30, Some(2)).1));
        let stored = format!("{:?}", fake.items(TableName::UserFeatures));
        assert!(!stored.contains(&format!("{:?}", row(1, 10, Some(1)).1.encoded)), "nothing of it is left");
        let late: Vec<_> = (0..40).map(|age| row(1, 20 - age % 2, Some(age))).collect();
        for late in late {
            assert_eq!(put_all(&online, vec![late]).await, [Outcome::Erased]);
        }
        let rows = vec![row(1, 20, None), row(1, 21, Some(9)), row(3, 19, Some(1))];
        assert_eq!(put_all(&online, rows).await, [Outcome::Erased, Outcome::Applied, Outcome::Erased]);
        assert_eq!(get(&online, 1).await.unwrap(), Some(row(1, 21, Some(9)).1));
    });
}

#[test]
fn a_damaged_row_is_told_and_a_newer_one_mends_it() {
    run(async {
        let fake = Fake::new(6, Weather::default());
        let online = fake.online(6);
        put_all(&online, vec![row(1, 10, Some(1))]).await;
        let mut item = fake.items(TableName::UserFeatures).remove(0);
        item.insert("r".to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(true));
        fake.insert(TableName::UserFeatures, item);
        assert_eq!(get(&online, 1).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let older = put(&online, vec![row(1, 9, Some(1))]).await.remove(0);
        assert_eq!(older.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(put_all(&online, vec![row(1, 11, Some(2))]).await, [Outcome::Applied]);
        assert_eq!(get(&online, 1).await.unwrap(), Some(row(1, 11, Some(2)).1));
    });
}

/// What writers did with the rows of entities.
#[derive(Default)]
struct Seen {
    put: BTreeMap<usize, Vec<RowOrder>>,
    /// The greatest row of each that was acknowledged.
    acknowledged: BTreeMap<usize, RowOrder>,
    /// Rows that were told to be applied.
    applied: usize,
}

const ENTITIES: usize = 3;
const WRITERS: usize = 3;

/// Writers with few entities, times and values among them, some of which leave, and readers; in foul weather.
async fn schedule(seed: u64, number: u64) -> Seen {
    let mut random = Random::of_case(seed, number);
    let fake = Fake::new(random.bits(), Weather::FOUL);
    let seen = Arc::<Mutex<Seen>>::default();
    let writers = (0..WRITERS).map(|_| {
        let (online, seen, mut random) =
            (fake.online(random.bits()), seen.clone(), Random::new(random.bits()));
        tokio::spawn(async move {
            for _ in 0..3 {
                let of_row = |random: &mut Random| {
                    let of = random.below(ENTITIES);
                    let age = random.chance(80).then(|| random.below(3) as i64);
                    (of, row(of, random.below(6) as i64, age))
                };
                let rows: Vec<_> = (0..1 + random.below(4)).map(|_| of_row(&mut random)).collect();
                for (of, (_, row)) in &rows {
                    seen.lock().unwrap().put.entry(*of).or_default().push(row.order());
                }
                let call = put(&online, rows.iter().map(|(_, row)| row.clone()).collect());
                let patience = Duration::from_millis(if random.chance(30) { 60 } else { 600_000 });
                let Ok(outcomes) = tokio::time::timeout(patience, call).await else { continue };
                let mut seen = seen.lock().unwrap();
                for ((of, (_, row)), outcome) in rows.iter().zip(outcomes) {
                    let Ok(outcome) = outcome else { continue };
                    let greatest = seen.acknowledged.entry(*of).or_insert(row.order());
                    *greatest = row.order().max(*greatest);
                    seen.applied += usize::from(outcome == Outcome::Applied);
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let reader = {
        let online = fake.online(random.bits());
        tokio::spawn(async move {
            let mut newest: BTreeMap<usize, RowOrder> = BTreeMap::new();
            for step in 0..30 {
                let of = step % ENTITIES;
                if let Ok(Some(row)) = get(&online, of).await {
                    let before = newest.insert(of, row.order());
                    assert!(before <= Some(row.order()), "case {number}: a row went back");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    for task in writers.into_iter().chain([reader]) {
        task.await.unwrap();
    }
    // What is under way arrives.
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.set_weather(Weather::default());
    let online = fake.online(1);
    let seen = Arc::into_inner(seen).unwrap().into_inner().unwrap();
    for (of, orders) in &seen.put {
        let stored = get(&online, *of).await.unwrap().map(|row| row.order());
        assert!(stored.is_none_or(|stored| orders.contains(&stored)), "case {number}: a row that nobody put");
        assert!(stored >= seen.acknowledged.get(of).copied(), "case {number}: an acknowledged row is lost");
    }
    seen
}

#[test]
fn in_any_schedule_of_writers_and_faults_the_newest_acknowledged_row_is_there() {
    let (seed, count) = schedules(1_000);
    let (mut rows, mut applied) = (0, 0);
    for number in 0..count {
        let seen = run(schedule(seed, number));
        rows += seen.put.values().map(Vec::len).sum::<usize>();
        applied += seen.applied;
    }
    println!("{rows} rows put, {applied} of them told to be applied");
    assert!(applied * 10 > rows, "{applied} of {rows} rows were applied");
}

#[test]
fn the_outcome_of_a_row_that_cannot_be_found_out_is_told_as_unknown() {
    run(async {
        let fake = Fake::new(8, Weather::default());
        let online = fake.online(8);
        fake.set_weather(Weather { stalled: 100, ..Weather::default() });
        let error: Error = put(&online, vec![row(1, 5, Some(1))]).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        tokio::time::sleep(Duration::from_secs(60)).await;
        fake.set_weather(Weather::default());
        assert_eq!(
            put_all(&online, vec![row(1, 5, Some(1))]).await,
            [Outcome::Duplicate],
            "the same again tells"
        );
    });
}
