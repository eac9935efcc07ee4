//! Many keys at once.

use std::collections::HashMap;
use std::time::Duration;

use recstore_aws::metered;
use recstore_aws::online::batch::Answer;
use recstore_aws::online::calls::{Fault, Write};
use recstore_aws::online::item::{Fields, RawItem};
use recstore_aws::online::keys::ItemKey;
use recstore_aws::online::tables::TableName;
use recstore_core::{Deadline, ErrorKind};
use tokio::time::Instant;

use crate::fake::{Fake, Random, Weather, run, schedules};

const TABLE: TableName = TableName::UserFeatures;

fn key(number: usize) -> ItemKey {
    ItemKey::new(format!("ns#{number}"), "user_ratings").unwrap()
}

fn item(number: usize) -> RawItem {
    Fields::new().with_integer("n", number as i128).seal(TABLE, &key(number)).unwrap()
}

/// A store with the even ones of so many items.
fn evens(fake: &Fake, count: usize) {
    (0..count).step_by(2).for_each(|number| fake.insert(TABLE, item(number)));
}

/// What another attempt would have got over.
fn is_passing(kind: ErrorKind) -> bool {
    [ErrorKind::Busy, ErrorKind::Unavailable].contains(&kind)
}

fn in_time(seconds: u64) -> Option<Deadline> {
    Some(Deadline::at((Instant::now() + Duration::from_secs(seconds)).into_std()))
}

#[test]
fn every_key_has_its_own_answer_whatever_order_they_come_in_and_whatever_is_left_unprocessed() {
    let (seed, count) = schedules(300);
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let fake = Fake::new(random.bits(), Weather::FOUL);
        evens(&fake, 300);
        let asked: Vec<usize> = (0..1 + random.below(400)).map(|_| random.below(300)).collect();
        run(async {
            let mut answers = fake.online(number).get_many(TABLE, asked.iter().map(|&n| key(n)), None).await;
            let distinct: std::collections::BTreeSet<_> = asked.iter().copied().collect();
            assert_eq!(answers.len(), distinct.len());
            for of in distinct {
                // Nothing here lasts for ever: a schedule that ends a budget of 12 is told by its error.
                match answers.take(&key(of)) {
                    Ok(found) => assert_eq!(found, (of % 2 == 0).then(|| item(of)), "schedule {number}"),
                    Err(error) => assert!(is_passing(error.kind()), "schedule {number}: {error}"),
                }
            }
        });
    }
}

#[test]
fn a_key_that_is_throttled_for_ever_fails_alone_and_is_never_missing() {
    run(async {
        let fake = Fake::new(1, Weather::default());
        evens(&fake, 250);
        [4, 5].into_iter().for_each(|hot| fake.set_hot(key(hot)));
        let begun = Instant::now();
        let (mut answers, cost) = metered(fake.online(1).get_many(TABLE, (0..250).map(key), None)).await;
        for of in [4, 5] {
            let Some(Answer::Failed(failure)) = answers.get(&key(of)) else { panic!("not failed") };
            assert_eq!((failure.fault, failure.kind), (Fault::Throttled, ErrorKind::Busy));
            let error = answers.take(&key(of)).unwrap_err();
            assert_eq!(error.object(), Some(format!("user_features \"ns#{of}\" \"user_ratings\"").as_str()));
        }
        for of in (0..250).filter(|of| ![4, 5].contains(of)) {
            assert_eq!(answers.take(&key(of)).unwrap(), (of % 2 == 0).then(|| item(of)));
        }
        // Chunks of 100, 100 and 50; the first is asked again for what is left, 11 times in vain.
        let sizes: Vec<usize> = fake.requests().into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes.iter().filter(|&&size| size > 2).count(), 3);
        assert_eq!(sizes.len() as u64, cost.tables.requests());
        assert!(sizes.len() <= 3 + 12, "{} requests", sizes.len());
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    });
}

#[test]
fn answers_over_16_mb_are_asked_for_in_as_many_requests_as_it_takes() {
    run(async {
        let fake = Fake::new(2, Weather::default());
        let large = |number: usize| {
            Fields::new().with_bytes("b", vec![number as u8; 350_000]).seal(TABLE, &key(number)).unwrap()
        };
        (0..100).for_each(|number| fake.insert(TABLE, large(number)));
        let (mut answers, cost) = metered(fake.online(2).get_many(TABLE, (0..100).map(key), None)).await;
        assert!((0..100).all(|number| answers.take(&key(number)).unwrap() == Some(large(number))));
        assert_eq!(cost.tables.requests(), 3);
        assert_eq!(
            cost.tables.bytes_read,
            (0..100).map(|n| recstore_aws::online::item::item_bytes(&large(n)) as u64).sum::<u64>()
        );
    });
}

#[test]
fn duplicates_are_asked_for_once_and_nothing_is_asked_for_nothing() {
    run(async {
        let fake = Fake::new(3, Weather::default());
        evens(&fake, 10);
        let keys = (0..500).map(|number| key(number % 10));
        let (answers, cost) = metered(fake.online(3).get_many(TABLE, keys, None)).await;
        assert_eq!((answers.len(), cost.tables.requests()), (10, 1));
        assert_eq!(fake.requests(), [("get_batch", 10)]);
        assert!(fake.online(3).get_many(TABLE, [], None).await.is_empty());
        assert_eq!(cost.tables.read_units, 10.0);
    });
}

#[test]
fn a_read_ends_at_its_deadline_with_what_it_has() {
    run(async {
        let fake = Fake::new(4, Weather { stalled: 100, ..Weather::default() });
        let begun = Instant::now();
        let mut answers = fake.online(4).get_many(TABLE, (0..150).map(key), in_time(3)).await;
        assert!(begun.elapsed() <= Duration::from_millis(3_010), "{:?}", begun.elapsed());
        assert!((0..150).all(|n| answers.take(&key(n)).unwrap_err().kind() == ErrorKind::DeadlineExceeded));
        // Nothing is sent once the deadline has passed.
        let sent = fake.requests().len();
        let (mut late, cost) = metered(fake.online(4).get_many(TABLE, [key(1)], in_time(0))).await;
        assert_eq!(late.take(&key(1)).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        assert_eq!((fake.requests().len(), cost.tables.requests()), (sent, 0));
    });
}

#[test]
fn writes_are_done_or_reported_by_key_whatever_is_left_unprocessed() {
    let (seed, count) = schedules(300);
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let fake = Fake::new(random.bits(), Weather::FOUL);
        evens(&fake, 100);
        let hot = random.below(100);
        fake.set_hot(key(hot));
        let writes = |number: usize| match number % 3 {
            0 => Write::Delete(key(number)),
            _ => Write::Put(item(number)),
        };
        run(async {
            let asked = (0..100).chain(0..10).map(writes).collect();
            let written = fake.online(number).write_many(TABLE, asked, None).await.unwrap();
            assert!(written.failed.contains_key(&key(hot)));
            fake.set_weather(Weather::default());
            // Requests that are under way still arrive.
            tokio::time::sleep(Duration::from_secs(10)).await;
            let stored: HashMap<ItemKey, RawItem> = fake
                .items(TABLE)
                .into_iter()
                .map(|item| (recstore_aws::online::item::key_of(&item).unwrap(), item))
                .collect();
            for of in 0..100 {
                let done = (of % 3 != 0).then(|| item(of));
                let before = (of % 2 == 0).then(|| item(of));
                let now = stored.get(&key(of)).cloned();
                match written.failed.get(&key(of)) {
                    None => assert_eq!(now, done, "schedule {number}, key {of}"),
                    Some(failure) if failure.kind == ErrorKind::OutcomeUnknown => {
                        assert!(now == done || now == before, "schedule {number}, key {of}");
                    }
                    Some(_) => assert_eq!(now, before, "schedule {number}, key {of}"),
                }
            }
        });
    }
}

#[test]
fn one_key_with_two_writes_is_refused_and_nothing_is_written() {
    run(async {
        let fake = Fake::new(5, Weather::default());
        let online = fake.online(5);
        let error = online.write_many(TABLE, vec![Write::Put(item(1)), Write::Delete(key(1))], None).await;
        assert_eq!(error.unwrap_err().field(), Some("writes"));
        assert!(fake.requests().is_empty());
        let (written, cost) = metered(online.write_many(TABLE, vec![Write::Put(item(1)); 3], None)).await;
        assert_eq!((written.unwrap().failed.len(), cost.tables.requests()), (0, 1));
    });
}

#[test]
fn at_most_so_many_requests_are_under_way_as_the_options_say() {
    run(async {
        let fake = Fake::new(6, Weather { latency: 1_000, ..Weather::default() });
        let online = fake.online(6);
        let reads = (0..20).map(|part| {
            let online = online.clone();
            async move { online.get_many(TABLE, (part * 300..part * 300 + 300).map(key), None).await }
        });
        let all = futures::future::join_all(reads);
        let watch = async {
            // Before the first can have answered, no more than 4 were sent.
            tokio::task::yield_now().await;
            fake.requests().len()
        };
        let (answers, sent) = futures::join!(all, watch);
        assert!(sent <= 4, "{sent} requests at once");
        assert!(answers.iter().all(|answers| answers.len() == 300));
    });
}
