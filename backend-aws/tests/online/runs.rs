//! Runs that publish generations one after the other, several at once, some asleep for generations, with readers
//! that hold on to what is committed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use recstore_aws::metered;
use recstore_aws::online::Online;
use recstore_aws::online::item::{Fields, OpenItem};
use recstore_aws::online::keys::ItemKey;
use recstore_aws::online::pin::{Pin, Pins};
use recstore_aws::online::publish::Change;
use recstore_aws::online::tables::TableName;
use recstore_aws::online::versioned::{Generation, Pinned, Row, Versioned};
use recstore_core::{Deadline, ErrorKind, Namespace, Result, Timestamp};
use tokio::time::Instant;

use crate::fake::{Fake, Random, Weather, run, schedules};

const TABLE: TableName = TableName::ItemFeatures;
const KEYS: usize = 6;

/// A row that is a number.
#[derive(Debug, Clone, PartialEq)]
struct Number(u64);

impl Row for Number {
    fn to_fields(&self) -> Fields {
        Fields::new().with_integer("n", self.0)
    }

    fn from_fields(fields: &mut OpenItem) -> Result<Number> {
        let number = fields.number("n")?;
        Ok(Number(fields.required("n", number)?))
    }
}

fn key(number: usize) -> ItemKey {
    ItemKey::new(format!("ns#{number}"), "g").unwrap()
}

fn pin(generation: u64) -> Pin {
    Pin { generation: Generation(generation), as_of: Timestamp::from_millis(generation as i64).unwrap() }
}

/// The rows of all keys, by generation.
type World = Vec<BTreeMap<usize, u64>>;

/// What the generations leave; every one changes some rows and deletes some.
fn world(random: &mut Random, generations: usize) -> World {
    let mut world = vec![BTreeMap::new()];
    for _ in 0..generations {
        let mut rows = world[world.len() - 1].clone();
        for number in 0..KEYS {
            match random.below(4) {
                0 => drop(rows.remove(&number)),
                1 => drop(rows.insert(number, random.below(3) as u64)),
                _ => {}
            }
        }
        world.push(rows);
    }
    world
}

/// The rows that a generation changed.
fn changes(world: &World, generation: usize) -> Vec<Change<Number>> {
    let row = |of: usize, number| world[of].get(&number).copied();
    (0..KEYS)
        .filter(|&number| row(generation, number) != row(generation - 1, number))
        .map(|number| (key(number), row(generation, number).map(Number)))
        .collect()
}

/// A run, again from its begin whenever it fails.
async fn publish(online: &Online, world: &World, generation: usize) {
    loop {
        let repaired = online.advance_pin(&Namespace::default(), pin(generation as u64 - 1), None).await;
        if generation > 1 && repaired.is_err() {
            continue;
        }
        match online.publish(TABLE, Generation(generation as u64), changes(world, generation), None).await {
            Ok(_) => return,
            Err(error) => assert!(
                [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown, ErrorKind::Busy].contains(&error.kind()),
                "{error}"
            ),
        }
    }
}

async fn runs(fake: &Fake, world: &World, random: &mut Random, seed: u64, done: &Cell<bool>) {
    let mut asleep = Vec::new();
    for generation in 1..world.len() {
        let online = fake.online(seed ^ ((generation as u64) << 40));
        // A twin does the same work, or crashes on its way, or sleeps and goes on generations later.
        let (twin_online, twin_world) = (fake.online(random.bits()), world.clone());
        let fate = random.below(3);
        let nap = Duration::from_millis(random.below(3_000) as u64);
        let twin = tokio::spawn(async move {
            if fate == 2 {
                tokio::time::sleep(nap).await;
            }
            publish(&twin_online, &twin_world, generation).await;
        });
        if fate == 1 {
            tokio::time::sleep(nap / 10).await;
            twin.abort();
        }
        publish(&online, world, generation).await;
        // The commit; its record follows.
        loop {
            let moved = online.advance_pin(&Namespace::default(), pin(generation as u64), None).await;
            if moved.is_ok() {
                break;
            }
        }
        asleep.push(twin);
    }
    for twin in asleep {
        match twin.await {
            Ok(()) => {}
            Err(error) => assert!(error.is_cancelled(), "a twin failed: {error}"),
        }
    }
    done.set(true);
}

async fn reader(fake: &Fake, world: &World, seed: u64, done: &Cell<bool>) -> u64 {
    let online = fake.online(seed);
    let pins = Pins::new(online.clone(), Namespace::default(), Duration::from_secs(2));
    let (mut answers, mut last) = (0, 0);
    while !done.get() {
        let read = pins.read(None, |generation| {
            let online = online.clone();
            async move { Ok(online.get_rows::<Number>(TABLE, (0..KEYS).map(key), generation, None).await) }
        });
        match read.await {
            Ok((mut rows, at)) => {
                let generation = at.generation.0 as usize;
                assert!(generation >= last, "the generation went back from {last} to {generation}");
                last = generation;
                for number in 0..KEYS {
                    // A key may fail, but what is told is of the one generation.
                    if let Ok(row) = rows.remove(&key(number)).unwrap() {
                        let truth = world[generation].get(&number).copied().map(Number);
                        assert_eq!(row, truth, "key {number} of generation {generation}");
                        answers += 1;
                    }
                }
            }
            Err(error) => {
                assert!([ErrorKind::Busy, ErrorKind::Unavailable].contains(&error.kind()), "{error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

#[test]
fn readers_see_exactly_one_generation_and_no_newer_row_is_lost_whatever_runs_do_at_once() {
    let (seed, count) = schedules(600);
    let mut answers = 0;
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let world = world(&mut random, 5);
        let fake = Fake::new(random.bits(), Weather::FOUL);
        let done = Cell::new(false);
        answers += run(async {
            let (seed, other) = (random.bits(), random.bits());
            let runs = runs(&fake, &world, &mut random, seed, &done);
            let ((), answers) = futures::join!(runs, reader(&fake, &world, other, &done));
            // What is left in the end is the last generation, whatever is still under way.
            fake.set_weather(Weather::default());
            tokio::time::sleep(Duration::from_secs(10)).await;
            let last = world.len() - 1;
            let (online, pinned) = (fake.online(0), Generation(last as u64));
            let rows = online.get_rows::<Number>(TABLE, (0..KEYS).map(key), pinned, None);
            let Pinned::At(mut rows) = rows.await else { panic!("schedule {number}: too old") };
            for of in 0..KEYS {
                let row = rows.remove(&key(of)).unwrap().unwrap();
                assert_eq!(row, world[last].get(&of).copied().map(Number), "schedule {number}, key {of}");
            }
            answers
        });
    }
    println!("{answers} answers");
    assert!(answers > count);
}

#[test]
fn a_pin_that_fell_behind_is_told_to_be_too_old_and_refreshed() {
    run(async {
        let fake = Fake::new(1, Weather::default());
        let (online, namespace) = (fake.online(1), Namespace::default());
        let pins = Pins::new(online.clone(), namespace.clone(), Duration::from_secs(3600));
        for generation in 1..=4 {
            let rows = vec![(key(1), Some(Number(generation)))];
            online.publish(TABLE, Generation(generation), rows, None).await.unwrap();
            online.advance_pin(&namespace, pin(generation), None).await.unwrap();
            if generation == 1 {
                assert_eq!(pins.current(None).await.unwrap(), pin(1));
            }
        }
        let at = |generation| {
            let online = online.clone();
            async move { Ok(online.get_rows::<Number>(TABLE, [key(1)], generation, None).await) }
        };
        // Both versions are newer than 1: missing would be a lie.
        assert!(matches!(at(Generation(1)).await, Ok(Pinned::TooOld)));
        let (mut rows, pinned) = pins.read(None, at).await.unwrap();
        assert_eq!((rows.remove(&key(1)).unwrap().unwrap(), pinned), (Some(Number(4)), pin(4)));
    });
}

#[test]
fn tables_that_stay_ahead_of_the_committed_generation_are_unavailable_within_the_budget() {
    run(async {
        let fake = Fake::new(2, Weather::default());
        let online = fake.online(2);
        for generation in 5..=6 {
            let rows = vec![(key(1), Some(Number(generation)))];
            online.publish(TABLE, Generation(generation), rows, None).await.unwrap();
        }
        let pins = Pins::new(online.clone(), Namespace::default(), Duration::ZERO);
        let read = pins.read(None, |generation| {
            let online = online.clone();
            async move { Ok(online.get_rows::<Number>(TABLE, [key(1)], generation, None).await) }
        });
        assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Unavailable);
        let soon = Some(Deadline::at(Instant::now().into_std() + Duration::from_millis(20)));
        let read = pins.read(soon, |generation| {
            let online = online.clone();
            async move { Ok(online.get_rows::<Number>(TABLE, [key(1)], generation, None).await) }
        });
        assert_eq!(read.await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    });
}

#[test]
fn a_deadline_holds_also_behind_another_callers_look_up_of_the_pin() {
    run(async {
        let fake = Fake::new(4, Weather { stalled: 100, ..Weather::default() });
        let pins = Pins::new(fake.online(4), Namespace::default(), Duration::ZERO);
        let begun = Instant::now();
        let patient = async {
            let error = pins.current(None).await.unwrap_err();
            (error.kind(), begun.elapsed())
        };
        let hurried = async {
            let soon = Deadline::at(begun.into_std() + Duration::from_millis(50));
            let error = pins.current(Some(soon)).await.unwrap_err();
            (error.kind(), begun.elapsed())
        };
        let ((patient, took), (hurried, left)) = tokio::join!(patient, hurried);
        assert_eq!((patient, hurried), (ErrorKind::Unavailable, ErrorKind::DeadlineExceeded));
        assert!(left <= Duration::from_millis(52) && took > Duration::from_secs(1), "{left:?} {took:?}");
    });
}

#[test]
fn a_late_run_writes_nothing_over_newer_rows_and_a_repeated_one_writes_nothing_at_all() {
    run(async {
        let fake = Fake::new(3, Weather::default());
        let online = fake.online(3);
        let publish = |generation, number: Option<u64>| {
            let rows = (0..2_500).map(|of| (key(of), number.map(Number))).collect();
            online.publish(TABLE, Generation(generation), rows, None)
        };
        assert_eq!(publish(2, Some(2)).await.unwrap().written, 2_500);
        let (again, cost) = metered(publish(2, Some(2))).await;
        let again = again.unwrap();
        assert_eq!((again.written, again.unchanged, cost.tables.write_units), (0, 2_500, 0.0));
        assert_eq!(publish(3, None).await.unwrap().written, 2_500);
        let late = publish(2, Some(2)).await.unwrap();
        assert_eq!((late.written, late.superseded), (0, 2_500));
        assert_eq!(publish(3, Some(9)).await.unwrap_err().kind(), ErrorKind::Conflict);
        let twice = vec![(key(1), Some(Number(1))), (key(1), None)];
        let error = online.publish(TABLE, Generation(4), twice, None).await.unwrap_err();
        assert_eq!(error.field(), Some("rows"));
        for item in fake.items(TABLE) {
            let (_, versions) = Versioned::<Number>::from_item(TABLE, item).unwrap();
            assert_eq!((versions.newest.generation, versions.newest.row), (Generation(3), None));
        }
    });
}
