//! Histories and pairs at a generation, against the memory backend.

use std::collections::BTreeSet;

use recstore_aws::metered;
use recstore_aws::online::Online;
use recstore_aws::online::ratings::RatingChange;
use recstore_aws::online::tables::TableName;
use recstore_aws::online::versioned::{Generation, Pinned};
use recstore_core::{
    EntityKey, EntityKind, ErrorKind, EventId, GetOptions, HistoryOptions, HistoryPage, ItemId,
    MemoryStorage, Namespace, PageToken, PutOptions, Rating, RatingRow, RatingStore, RatingValue,
    StoreContext, TimeRange, Timestamp, UserId,
};
use recstore_testkit::strategies::{ITEMS, USERS};

use crate::fake::{Fake, Random, Weather, run, schedules};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn event(random: &mut Random) -> Rating {
    let user = UserId::new(USERS[random.below(USERS.len())]).unwrap();
    let item = ItemId::new(ITEMS[random.below(ITEMS.len())]).unwrap();
    let value = [None, RatingValue::new(0.5).ok(), RatingValue::new(-3.25).ok()][random.below(3)];
    // Ties on time, and on time and id, are frequent.
    let id = random.chance(50).then(|| EventId::from_u128(random.below(4) as u128 * (u128::MAX / 3)));
    Rating::from_parts(user, item, value, at(1_000 * random.below(5) as i64), id)
}

/// The state before and after a generation.
struct Oracle {
    before: MemoryStorage,
    after: MemoryStorage,
}

fn memory() -> MemoryStorage {
    MemoryStorage::new(Namespace::default(), StoreContext::default())
}

async fn row(store: &MemoryStorage, pair: &(UserId, ItemId)) -> Option<RatingRow> {
    let mut answers = store.get_ratings(std::slice::from_ref(pair), GetOptions::default()).await.unwrap();
    answers.remove(0).into_result().unwrap()
}

impl Oracle {
    /// Puts events into the state after, and says what they changed.
    async fn put(&self, events: &[Rating]) -> Vec<RatingChange> {
        self.after.put_ratings(events.to_vec(), PutOptions::default()).await.unwrap();
        let pairs: BTreeSet<_> =
            events.iter().map(|event| (event.user().clone(), event.item().clone())).collect();
        let mut changes = Vec::new();
        for pair in pairs {
            let (old, new) = (row(&self.before, &pair).await, row(&self.after, &pair).await);
            if old != new {
                changes.push(RatingChange { old, new });
            }
        }
        changes
    }
}

async fn expected(
    store: &MemoryStorage,
    of: EntityKind,
    owner: &str,
    options: &HistoryOptions,
) -> HistoryPage {
    match of {
        EntityKind::User => store.user_history(&UserId::new(owner).unwrap(), options.clone()).await.unwrap(),
        EntityKind::Item => store.item_history(&ItemId::new(owner).unwrap(), options.clone()).await.unwrap(),
    }
}

fn options(random: &mut Random) -> HistoryOptions {
    let mut bound = || random.chance(30).then(|| at(1_000 * random.below(6) as i64));
    let time = TimeRange { from: bound(), to: bound() };
    let options = HistoryOptions::default().with_limit(1 + random.below(4)).with_time(time);
    options.with_withdrawn(random.chance(50))
}

/// All pages of some histories are those of the oracle at this generation.
async fn compare(online: &Online, store: &MemoryStorage, generation: u64, random: &mut Random) {
    let namespace = Namespace::default();
    for _ in 0..3 {
        let of = if random.chance(50) { EntityKind::User } else { EntityKind::Item };
        let owners = if of == EntityKind::User { USERS } else { ITEMS };
        let owner = owners[random.below(owners.len())];
        let mut options = options(random);
        loop {
            let page = online.history(&namespace, of, owner, &options, Generation(generation)).await;
            let Ok(Pinned::At(page)) = page else { panic!("{page:?}") };
            let expected = expected(store, of, owner, &options).await;
            assert_eq!(page, expected, "{of} {owner:?} {options:?}");
            if page.next.is_none() {
                break;
            }
            options.token = page.next;
        }
    }
    let pairs: Vec<(EntityKey, EntityKey)> = (0..5)
        .map(|_| (USERS[random.below(USERS.len())], ITEMS[random.below(ITEMS.len())]))
        .map(|(user, item)| (EntityKey::new(user).unwrap(), EntityKey::new(item).unwrap()))
        .collect();
    let rows = online.get_pairs(&namespace, &pairs, Generation(generation), None).await.unwrap();
    let Pinned::At(mut rows) = rows else { panic!("too old") };
    for pair in pairs {
        let truth = row(store, &(pair.0.clone().into(), pair.1.clone().into())).await;
        if let Some(found) = rows.remove(&pair) {
            assert_eq!(found.unwrap(), truth, "{pair:?}");
        }
    }
}

#[test]
fn pages_and_pairs_are_those_of_the_memory_backend_also_while_the_next_generation_is_published() {
    let (seed, count) = schedules(250);
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let fake = Fake::new(random.bits(), Weather { latency: 5, unprocessed: 10, ..Weather::default() });
        // Pages of the service end after one to five items.
        fake.set_sizes(1_000, 100 + random.below(800));
        let oracle = Oracle { before: memory(), after: memory() };
        run(async {
            let (online, namespace) = (fake.online(number), Namespace::default());
            for generation in 1..=4 {
                let events: Vec<Rating> = (0..random.below(25)).map(|_| event(&mut random)).collect();
                let changes = oracle.put(&events).await;
                let half = &changes[..random.below(changes.len() + 1)];
                online.publish_ratings(&namespace, Generation(generation), half, None).await.unwrap();
                compare(&online, &oracle.before, generation - 1, &mut random).await;
                online.publish_ratings(&namespace, Generation(generation), &changes, None).await.unwrap();
                compare(&online, &oracle.after, generation, &mut random).await;
                oracle.before.put_ratings(events, PutOptions::default()).await.unwrap();
            }
        });
    }
}

#[test]
fn an_erased_pair_leaves_pairs_and_histories_in_its_generation() {
    run(async {
        let (fake, namespace) = (Fake::new(1, Weather::default()), Namespace::default());
        let online = fake.online(1);
        let rating = Rating::new(1.into(), 2.into(), 4.0, at(5)).unwrap();
        let row = RatingRow { rating, first_rated_at: at(1) };
        let put = RatingChange { old: None, new: Some(row.clone()) };
        let published = online.publish_ratings(&namespace, Generation(1), &[put], None).await.unwrap();
        assert_eq!(published.written, 3);
        let erased = RatingChange { old: Some(row.clone()), new: None };
        online.publish_ratings(&namespace, Generation(2), &[erased], None).await.unwrap();
        for (generation, rows) in [(1, vec![row]), (2, Vec::new())] {
            for (of, owner) in [(EntityKind::User, "1"), (EntityKind::Item, "2")] {
                let options = HistoryOptions::default();
                let pin = Generation(generation);
                let page = online.history(&namespace, of, owner, &options, pin).await.unwrap();
                assert_eq!(page, Pinned::At(HistoryPage { rows: rows.clone(), next: None }));
            }
        }
        let other =
            RatingRow { rating: Rating::withdrawal(1.into(), 3.into(), at(5)), first_rated_at: at(5) };
        let rating = Rating::withdrawal(1.into(), 2.into(), at(5));
        let mixed = RatingChange { old: Some(other), new: Some(RatingRow { rating, first_rated_at: at(5) }) };
        let error = online.publish_ratings(&namespace, Generation(3), &[mixed], None).await.unwrap_err();
        assert_eq!(error.field(), Some("changes"));
    });
}

#[test]
fn limits_and_foreign_tokens_are_refused_before_anything_is_asked() {
    run(async {
        let (fake, namespace) = (Fake::new(2, Weather::default()), Namespace::default());
        let online = fake.online(2);
        let foreign = PageToken::after(&Rating::withdrawal(9.into(), 2.into(), at(5)), EntityKind::User);
        for (options, field) in [
            (HistoryOptions::default().with_limit(0), "limit"),
            (HistoryOptions::default().with_limit(10_001), "limit"),
            (HistoryOptions::default().with_token(Some(foreign)), "token"),
        ] {
            let page = online.history(&namespace, EntityKind::User, "1", &options, Generation(1)).await;
            assert_eq!(page.unwrap_err().field(), Some(field));
        }
        assert!(fake.requests().is_empty());
    });
}

#[test]
fn a_long_history_is_read_whole_over_pages_of_1_mb() {
    run(async {
        let (fake, namespace) = (Fake::new(3, Weather::default()), Namespace::default());
        let online = fake.online(3);
        let row = |number: u64| {
            let item = ItemId::new(format!("{number:0512}")).unwrap();
            let rating = Rating::new(1.into(), item, 3.5, at(number as i64 / 2)).unwrap();
            RatingRow { first_rated_at: rating.rated_at(), rating }
        };
        let changes: Vec<_> = (0..3_000).map(|n| RatingChange { old: None, new: Some(row(n)) }).collect();
        online.publish_ratings(&namespace, Generation(1), &changes, None).await.unwrap();
        let before = fake.requests().len();
        let options = HistoryOptions::default().with_limit(10_000);
        let read = online.history(&namespace, EntityKind::User, "1", &options, Generation(1));
        let (page, cost) = metered(read).await;
        let Pinned::At(page) = page.unwrap() else { panic!("too old") };
        let place = |row: &RatingRow| (row.rating.rated_at(), row.rating.event_id());
        assert_eq!((page.rows.len(), page.next), (3_000, None));
        assert!(page.rows.is_sorted_by(|left, right| place(left) > place(right)));
        assert!(fake.requests().len() - before >= 2 && cost.tables.bytes_read > 1 << 20);
    });
}

#[test]
fn a_row_under_the_key_of_another_place_is_damage() {
    run(async {
        let (fake, namespace) = (Fake::new(4, Weather::default()), Namespace::default());
        let online = fake.online(4);
        let row = |millis| {
            let rating = Rating::new(1.into(), 2.into(), 4.0, at(millis)).unwrap();
            RatingRow { rating, first_rated_at: at(1) }
        };
        let change = RatingChange { old: None, new: Some(row(5)) };
        online.publish_ratings(&namespace, Generation(1), &[change], None).await.unwrap();
        for mut item in fake.items(TableName::RatingsByItem) {
            let moved = RatingChange { old: None, new: Some(row(6)) };
            let other = Fake::new(5, Weather::default());
            other.online(5).publish_ratings(&namespace, Generation(1), &[moved], None).await.unwrap();
            item.insert("sk".to_owned(), other.items(TableName::RatingsByItem).remove(0)["sk"].clone());
            fake.insert(TableName::RatingsByItem, item);
        }
        let options = HistoryOptions::default();
        let page = online.history(&namespace, EntityKind::Item, "2", &options, Generation(1)).await;
        assert_eq!(page.unwrap_err().kind(), ErrorKind::Corrupt);
    });
}
