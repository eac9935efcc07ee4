//! Where what is said of an entity comes from, and what was refused on the way.

use std::sync::Arc;

use object_store::PutOptions as ObjectOptions;
use object_store::memory::InMemory;
use recstore_aws::AwsStorage;
use recstore_aws::lake::bronze::feature_line::FeatureLine;
use recstore_aws::lake::bronze::line::{Line, encode_line};
use recstore_aws::lake::bronze::object::{ClaimId, SealedObject};
use recstore_aws::lake::keys::BronzeKey;
use recstore_aws::pipeline::explain::BronzePlace;
use recstore_aws::pipeline::{ExplainOptions, QuarantineOptions, RunOptions};
use recstore_core::{
    ColumnType, Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, FeatureName, FeatureRow,
    FeatureStore, FeatureValue, GroupSchema, PutOptions, Storage, Timestamp, UserId,
};

use crate::fake::Random;
use crate::support::{NOON, World, event};

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn row(id: u64, millis: i64) -> FeatureRow {
    let at = Timestamp::from_millis(NOON + millis).unwrap();
    FeatureRow::new(EntityKey::from(UserId::from(id)), at).with(name("age"), FeatureValue::Integer(30))
}

async fn declare(store: &AwsStorage, group: &str, kind: EntityKind) {
    let schema = GroupSchema::new(name(group), kind).with_column(name("age"), ColumnType::Integer);
    store.register_group(schema).await.unwrap();
}

async fn put(store: &AwsStorage, group: &str, rows: Vec<FeatureRow>) {
    store.put_features(&name(group), rows, PutOptions::default()).await.unwrap();
}

async fn run(store: &AwsStorage) -> u64 {
    store.pipeline().run(RunOptions::default()).await.unwrap().generation
}

/// Puts an object with these lines into bronze, as another program may.
async fn insert(world: &World, topic: &str, (first, last): (u64, u64), lines: &[u8]) -> String {
    let key = format!(
        "bronze/v1/ns=default/{topic}/writer=other/epoch=0000000001/dt=2024-01-15/{first:020}-{last:020}.jsonl.zst"
    );
    let sealed =
        SealedObject::seal(key.parse::<BronzeKey>().unwrap(), ClaimId::from_random(1), lines).unwrap();
    let options = ObjectOptions { attributes: sealed.attributes().clone(), ..ObjectOptions::default() };
    let path = format!("lake/{key}").into();
    world.objects.put_opts(&path, sealed.body().clone().into(), options).await.unwrap();
    key
}

fn world() -> World {
    World::new(Arc::new(InMemory::new()))
}

#[tokio::test(start_paused = true)]
async fn an_explanation_names_the_lines_that_made_the_rows_of_custom_groups() {
    let world = world();
    let store = world.process(1);
    declare(&store, "profile", EntityKind::User).await;
    declare(&store, "tastes", EntityKind::User).await;
    declare(&store, "facts", EntityKind::Item).await;
    put(&store, "profile", vec![row(1, -900), row(2, -900)]).await;
    put(&store, "facts", vec![row(1, -850)]).await;
    run(&store).await;
    put(&store, "profile", vec![row(1, -800), row(1, -820)]).await;
    put(&store, "tastes", vec![row(1, -700)]).await;
    run(&store).await;
    // An older row: it waits in bronze and stands nowhere.
    put(&store, "profile", vec![row(1, -950)]).await;

    let one: Entity = UserId::from(1).into();
    let found = store.explain(&one, ExplainOptions::default()).await.unwrap();
    let place = |place: &BronzePlace| {
        let millis = |time: Timestamp| time.as_millis() - NOON;
        let group = place.group.as_ref().unwrap().to_string();
        (place.generation, group, place.events, millis(place.first), millis(place.last))
    };
    let mut places: Vec<_> = found.bronze_features.objects.iter().map(place).collect();
    assert!(places.is_sorted_by_key(|place| std::cmp::Reverse(place.0.unwrap_or(u64::MAX))), "{places:?}");
    places.sort();
    let expected = [
        (None, "profile".to_owned(), 1, -950, -950),
        (Some(1), "profile".to_owned(), 1, -900, -900),
        (Some(2), "profile".to_owned(), 2, -820, -800),
        (Some(2), "tastes".to_owned(), 1, -700, -700),
    ];
    assert_eq!(places, expected);
    assert!(found.bronze_features.complete && found.bronze_features.searched == 5, "{found:?}");
    assert!(found.bronze.objects.is_empty() && found.bronze.complete);
    let served: Vec<_> = found.online[1..]
        .iter()
        .map(|item| (item.group.as_str(), item.sort.contains(item.group.as_str()), item.event_time))
        .collect();
    let at = |millis| Timestamp::from_millis(NOON + millis).ok();
    assert_eq!(served, [("profile", true, at(-800)), ("tastes", true, at(-700))]);
    assert!(found.online[1..].iter().all(|item| item.found && item.partition == "default#1"), "{found:?}");

    // No more is read than is allowed, in either topic.
    let two = ExplainOptions { max_objects: 2, ..ExplainOptions::default() };
    let bounded = store.explain(&one, two).await.unwrap().bronze_features;
    assert_eq!((bounded.searched, bounded.complete, bounded.back_to), (2, false, None));
    let last = ExplainOptions { max_generations: 1, ..ExplainOptions::default() };
    let bounded = store.explain(&one, last).await.unwrap().bronze_features;
    assert_eq!((bounded.searched, bounded.complete, bounded.back_to), (3, false, Some(2)));

    store.erase(&one, EraseOptions::default()).await.unwrap();
    let erased = store.explain(&one, ExplainOptions::default()).await.unwrap();
    assert!(erased.online.iter().all(|item| !item.found || item.ratings.is_none()), "{erased:?}");
    assert!(erased.online[1..].iter().all(|item| !item.found && item.event_time.is_none()), "{erased:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_lines_are_listed_with_object_line_and_reason_the_newest_first() {
    let world = world();
    let store = world.process(1);
    let empty = store.quarantine(QuarantineOptions::default()).await.unwrap();
    assert_eq!((empty.lines.len(), empty.refused, empty.more), (0, 0, false));
    let mut random = Random::new(3);
    let mut good = Vec::new();
    encode_line(&event(&mut random, 3, 3), &mut good);
    let first = [good.as_slice(), b"{\"user\":\"1\",\"user\":\"2\"}\n", b"nonsense\n"].concat();
    let first = insert(&world, "ratings", (0, 2), &first).await;
    assert_eq!(run(&store).await, 1);
    let second = [b"\xff\n".as_slice(), good.as_slice()].concat();
    let second = insert(&world, "ratings", (3, 4), &second).await;
    let mut unfit = Vec::new();
    FeatureLine { group: name("nobody"), row: row(7, -900) }.encode(&mut unfit);
    let third = insert(&world, "features", (0, 0), &unfit).await;
    assert_eq!(run(&store).await, 2);

    let all = store.quarantine(QuarantineOptions::default()).await.unwrap();
    let shown: Vec<_> = all
        .lines
        .iter()
        .map(|line| (line.generation, line.object.as_str(), line.line, line.reason.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (2, second.as_str(), Some(1), "is not UTF-8 at byte 0"),
            (2, third.as_str(), None, "no such feature group: nobody"),
            (1, first.as_str(), Some(2), "user: stands twice"),
            (1, first.as_str(), Some(3), "expected an object at byte 0"),
        ]
    );
    assert_eq!(all.lines[2].text, "{\"user\":\"1\",\"user\":\"2\"}");
    assert!(all.lines[1].text.starts_with("nobody of 7 at 2024-01-15"), "{:?}", all.lines[1]);
    assert_eq!((all.refused, all.more), (4, false));

    let of_first = QuarantineOptions { generation: Some(1), ..QuarantineOptions::default() };
    let of_first = store.quarantine(of_first).await.unwrap();
    assert_eq!((of_first.lines.as_slice(), of_first.refused), (&all.lines[2..], 2));
    for (limit, more) in [(0, true), (1, true), (2, true), (3, true), (4, false)] {
        let some = store.quarantine(QuarantineOptions { generation: None, limit }).await.unwrap();
        assert_eq!((some.lines.as_slice(), some.more), (&all.lines[..limit], more), "{limit}");
    }
    for unknown in [0, 3] {
        let asked = QuarantineOptions { generation: Some(unknown), ..QuarantineOptions::default() };
        assert_eq!(store.quarantine(asked).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
