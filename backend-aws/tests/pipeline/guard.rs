//! What keeps a run from publishing that too many users or items lost their last rating.

use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use recstore_aws::AwsStorage;
use recstore_aws::online::tables::TableName;
use recstore_aws::pipeline::{GuardOptions, RunOptions, RunReport};
use recstore_core::{EntityKind, ErrorKind, PutOptions, Rating, RatingStore, RatingValue, Result, Timestamp};

use crate::fake::run;
use crate::support::{NOON, World, rows};

/// Whether the guard lets `before` fall to `after` at this share.
struct Case {
    share: f64,
    before: u64,
    after: u64,
    passes: bool,
}

const fn case(share: f64, before: u64, after: u64, passes: bool) -> Case {
    Case { share, before, after, passes }
}

const CASES: [Case; 20] = [
    // Fewer than a hundred are not guarded.
    case(0.2, 99, 0, true),
    case(0.0, 99, 98, true),
    // At the share, and one beyond it.
    case(0.2, 100, 80, true),
    case(0.2, 100, 79, false),
    case(0.2, 101, 81, true),
    case(0.2, 101, 80, false),
    case(0.5, 100, 50, true),
    case(0.5, 100, 49, false),
    case(0.25, 200, 150, true),
    case(0.25, 200, 149, false),
    // A share that no binary fraction is.
    case(0.29, 100, 71, true),
    case(0.29, 100, 70, false),
    case(0.0, 100, 100, true),
    case(0.0, 100, 99, false),
    case(1.0, 100, 0, true),
    // To half, to one, to zero.
    case(0.2, 100, 50, false),
    case(0.2, 100, 1, false),
    case(0.2, 100, 0, false),
    case(0.99, 100, 1, true),
    case(0.99, 100, 0, false),
];

/// An event of each of the entities from `begin` on, all with the same other one.
fn events(kind: EntityKind, begin: u64, end: u64, value: Option<f64>, millis: i64) -> Vec<Rating> {
    let value = value.map(|value| RatingValue::new(value).unwrap());
    let at = Timestamp::from_millis(NOON - 1000 + millis).unwrap();
    let pair = |id: u64| match kind {
        EntityKind::User => (id, 0),
        EntityKind::Item => (0, id),
    };
    let event = |(user, item): (u64, u64)| Rating::from_parts(user.into(), item.into(), value, at, None);
    (begin..end).map(pair).map(event).collect()
}

async fn take_in(store: &AwsStorage, events: Vec<Rating>, guard: GuardOptions) -> Result<RunReport> {
    store.put_ratings(events, PutOptions::default()).await.unwrap();
    store.pipeline().run(RunOptions { guard, ..RunOptions::default() }).await
}

fn number(kind: EntityKind, report: &RunReport) -> u64 {
    match kind {
        EntityKind::User => report.users,
        EntityKind::Item => report.items,
    }
}

/// The head, and everything in the tables.
async fn published(world: &World) -> (Vec<u8>, String) {
    let head = world.objects.get(&Path::from("lake/state/v1/ns=default/head.json")).await.unwrap();
    let tables = TableName::ALL.map(|table| world.tables.items(table));
    (head.bytes().await.unwrap().to_vec(), format!("{tables:?}"))
}

async fn holds(kind: EntityKind, case: &Case) {
    let Case { share, before, after, passes } = *case;
    let what = format!("{kind}s from {before} to {after} at {share}");
    let world = World { max_entity_drop: share, buckets: 2, ..World::new(Arc::new(InMemory::new())) };
    let store = world.process(1);
    let first = take_in(&store, events(kind, 0, before, Some(3.0), 0), GuardOptions::Configured).await;
    assert_eq!(number(kind, &first.unwrap()), before, "{what}");
    let stood = (published(&world).await, rows(&store).await);
    // One that stays is rated anew, so that there is something new where none falls away.
    let mut news = events(kind, after, before, None, 1);
    news.extend(events(kind, 0, after.min(1), Some(4.0), 1));
    let second = take_in(&store, news, GuardOptions::Configured).await;
    if passes {
        let second = second.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((second.generation, number(kind, &second)), (2, after), "{what}");
        return;
    }
    let told = format!("{kind}s with a rating would fall from {before} to {after}, by more than");
    // Neither does it pass when it is tried again, by another.
    let again = world.process(2).pipeline().run(RunOptions::default()).await;
    for refused in [second, again] {
        let Err(error) = refused else { panic!("{what}: it was published") };
        assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {error}");
        assert!(error.message().starts_with(&told), "{what}: {error}");
    }
    assert!(
        (published(&world).await, rows(&world.process(3)).await) == stood,
        "{what}: something was published"
    );
    let off = RunOptions { guard: GuardOptions::Off, ..RunOptions::default() };
    let forced = store.pipeline().run(off).await.unwrap();
    assert_eq!((forced.generation, number(kind, &forced)), (2, after), "{what}");
}

#[test]
fn users_fall_away_up_to_the_configured_share_and_no_further() {
    for case in &CASES {
        run(holds(EntityKind::User, case));
    }
}

#[test]
fn items_fall_away_up_to_the_configured_share_and_no_further() {
    for case in &CASES {
        run(holds(EntityKind::Item, case));
    }
}
