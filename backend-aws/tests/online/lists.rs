//! Neighbour lists and statistics.

use std::collections::HashMap;

use recstore_aws::metered;
use recstore_aws::online::item::item_bytes;
use recstore_aws::online::tables::TableName;
use recstore_aws::online::versioned::{Generation, Pinned};
use recstore_core::{
    EntityKey, EntityKind, ErrorKind, Namespace, Neighbour, NeighbourList, RatingStats, RatingValue,
    ReleaseId, Timestamp,
};

use crate::fake::{Fake, Random, Weather, run, schedules};

const KIND: EntityKind = EntityKind::Item;

fn id(number: usize) -> EntityKey {
    EntityKey::from(recstore_core::ItemId::from(number as u64))
}

fn release(name: &str) -> ReleaseId {
    ReleaseId::from_text(name)
}

/// A list of so many neighbours with long ids, the most similar first, ties by id.
fn list(of: usize, count: usize, id_bytes: usize) -> NeighbourList {
    let neighbour = |number: usize| Neighbour {
        id: EntityKey::new(format!("{:0id_bytes$}", 1_000_000 + number)).unwrap(),
        similarity: 1.0 / (1 + number / 3) as f64,
        common: number as u32,
    };
    NeighbourList { id: id(of), neighbours: (0..count).map(neighbour).collect() }
}

#[test]
fn lists_over_400_kb_are_split_and_come_back_whole_in_order() {
    run(async {
        let (fake, namespace) =
            (Fake::new(1, Weather { unprocessed: 20, ..Weather::default() }), Namespace::default());
        let (online, a) = (fake.online(1), release("a"));
        let lists = vec![list(1, 10_000, 512), list(2, 0, 7), list(3, 50, 7), list(4, 800, 500)];
        let mut shuffled = lists.clone();
        shuffled.iter_mut().for_each(|list| list.neighbours.reverse());
        online.put_lists(&namespace, KIND, &a, shuffled, None).await.unwrap();
        // 5.26 MB in items of at most 400 KB.
        let parts = fake.items(TableName::Neighbours);
        assert_eq!(parts.len(), 13 + 1 + 1 + 2);
        assert!(parts.iter().all(|item| item_bytes(item) <= 400 * 1024));
        let ids = [1, 2, 3, 4, 5, 3].map(id);
        let (found, cost) = metered(online.get_lists(&namespace, KIND, &a, &ids, None)).await;
        let mut found = found.unwrap();
        for list in lists {
            assert_eq!(found.remove(&list.id).unwrap().unwrap(), Some(list.neighbours));
        }
        assert_eq!(found.remove(&id(5)).unwrap().unwrap(), None);
        assert!(found.is_empty() && cost.tables.bytes_read > 5_000_000);
        // Nothing of it is seen by another release, kind or namespace.
        let other = Namespace::new("other").unwrap();
        for (namespace, kind, release) in [
            (&namespace, KIND, release("b")),
            (&namespace, EntityKind::User, a.clone()),
            (&other, KIND, a.clone()),
        ] {
            let found = online.get_lists(namespace, kind, &release, &ids, None).await.unwrap();
            assert!(found.into_values().all(|list| list.unwrap().is_none()));
        }
    });
}

#[test]
fn wrong_lists_and_names_are_refused_before_anything_is_sent() {
    run(async {
        let (fake, namespace) = (Fake::new(2, Weather::default()), Namespace::default());
        let online = fake.online(2);
        let put = |name: String, list| {
            let (online, namespace) = (online.clone(), namespace.clone());
            async move { online.put_lists(&namespace, KIND, &release(&name), vec![list], None).await.unwrap_err() }
        };
        let mut own = list(1, 1, 7);
        own.neighbours[0].id = id(1);
        assert_eq!(put("a".to_owned(), own).await.field(), Some("lists[0].neighbours[0].id"));
        assert_eq!(put("r".repeat(1_100), list(1, 1, 7)).await.field(), Some("lists[0].key"));
        assert!(fake.requests().is_empty());
    });
}

#[test]
fn of_two_lists_of_one_id_in_a_call_the_last_counts_however_long_they_are() {
    run(async {
        let (fake, namespace) = (Fake::new(7, Weather::default()), Namespace::default());
        let online = fake.online(7);
        let (short, long) = (list(1, 3, 7), list(1, 1_000, 512));
        for (name, lists) in [("a", [&short, &long]), ("b", [&long, &short]), ("c", [&long, &long])] {
            let (release, expected) = (release(name), lists[1].neighbours.clone());
            let lists = lists.into_iter().cloned().collect();
            online.put_lists(&namespace, KIND, &release, lists, None).await.unwrap();
            let mut found = online.get_lists(&namespace, KIND, &release, &[id(1)], None).await.unwrap();
            assert_eq!(found.remove(&id(1)).unwrap().unwrap(), Some(expected), "{name}");
        }
    });
}

#[test]
fn a_list_that_is_half_written_is_not_there_and_parts_of_two_lists_are_never_joined() {
    run(async {
        let (fake, namespace) = (Fake::new(3, Weather::default()), Namespace::default());
        let (online, a) = (fake.online(3), release("a"));
        online.put_lists(&namespace, KIND, &a, vec![list(1, 1_600, 500)], None).await.unwrap();
        let old = fake.items(TableName::Neighbours);
        assert_eq!(old.len(), 3);
        let fresh = Fake::new(4, Weather::default());
        for part in &old[1..] {
            fresh.insert(TableName::Neighbours, part.clone());
        }
        let found = fresh.online(4).get_lists(&namespace, KIND, &a, &[id(1)], None).await.unwrap();
        assert!(matches!(found[&id(1)], Ok(None)));
        // Another list of the same length, of which one part is the old one's.
        let mut changed = list(1, 1_600, 500);
        changed.neighbours[1_599].common = 7;
        online.put_lists(&namespace, KIND, &a, vec![changed], None).await.unwrap();
        fake.insert(TableName::Neighbours, old[2].clone());
        let mut found = online.get_lists(&namespace, KIND, &a, &[id(1)], None).await.unwrap();
        let error = found.remove(&id(1)).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.object().unwrap().contains("item#a#0000"), "{error}");
    });
}

#[test]
fn deleted_lists_are_gone_and_those_of_a_release_with_a_longer_name_stay() {
    run(async {
        let (fake, namespace) = (Fake::new(5, Weather::default()), Namespace::default());
        let online = fake.online(5);
        for name in ["a", "a#0001", "b"] {
            online
                .put_lists(&namespace, KIND, &release(name), vec![list(1, 1_600, 500), list(2, 3, 7)], None)
                .await
                .unwrap();
        }
        let ids = [1, 2, 3].map(id);
        online.delete_lists(&namespace, KIND, &release("a"), &ids, None).await.unwrap();
        for (name, there) in [("a", false), ("a#0001", true), ("b", true)] {
            let found = online.get_lists(&namespace, KIND, &release(name), &ids, None).await.unwrap();
            for number in [1, 2] {
                assert_eq!(found[&id(number)].as_ref().unwrap().is_some(), there, "{name}");
            }
        }
        assert_eq!(fake.items(TableName::Neighbours).len(), 2 * 4);
    });
}

#[test]
fn readers_of_the_pointer_see_one_whole_release_while_the_next_is_written_and_promoted() {
    let (seed, count) = schedules(200);
    for number in 0..count {
        let mut random = Random::of_case(seed, number);
        let fake = Fake::new(random.bits(), Weather::FOUL);
        let done = std::cell::Cell::new(false);
        let of_release =
            |step: usize| -> Vec<NeighbourList> { (0..30).map(|of| list(of, 1 + step, 7)).collect() };
        run(async {
            let build = async {
                let (online, namespace) = (fake.online(random.bits()), Namespace::default());
                let mut seen = None;
                for step in 0..4 {
                    let id = release(&step.to_string());
                    while online.put_lists(&namespace, KIND, &id, of_release(step), None).await.is_err() {}
                    loop {
                        let writer = format!("w{step}");
                        let moved = online.move_pointer(&namespace, KIND, seen.as_ref(), &id, &writer, None);
                        match moved.await {
                            Ok(pointer) => break seen = Some(pointer),
                            Err(error) => assert_ne!(error.kind(), ErrorKind::Conflict, "schedule {number}"),
                        }
                    }
                }
                done.set(true);
            };
            let read = async {
                let (online, namespace) = (fake.online(number), Namespace::default());
                let ids: Vec<EntityKey> = (0..30).map(id).collect();
                while !done.get() {
                    let Ok(Some(pointer)) = online.read_pointer(&namespace, KIND, None).await else {
                        continue;
                    };
                    let step: usize = pointer.release.as_str().parse().unwrap();
                    let lists = online.get_lists(&namespace, KIND, &pointer.release, &ids, None).await;
                    for (of, neighbours) in lists.unwrap() {
                        if let Ok(neighbours) = neighbours {
                            assert_eq!(
                                neighbours.map(|list| list.len()),
                                Some(1 + step),
                                "schedule {number}, {of}"
                            );
                        }
                    }
                }
            };
            futures::join!(build, read);
        });
    }
}

#[test]
fn statistics_come_back_bit_for_bit_at_their_generation() {
    run(async {
        let (fake, namespace) = (Fake::new(6, Weather::default()), Namespace::default());
        let online = fake.online(6);
        let stats = |of: u64, generation: u64| {
            let mut stats = RatingStats::default();
            for value in 0..(of % 80) + generation {
                let _ = stats.apply(None, RatingValue::new(value as f64 / 4.0).ok());
            }
            stats.observe(Timestamp::MIN, Timestamp::from_millis(of as i64).unwrap());
            stats
        };
        for kind in [EntityKind::User, EntityKind::Item] {
            for generation in 1..=2 {
                let changes = (0..300).map(|of| (id(of), Some(stats(of as u64, generation)))).collect();
                online.publish_stats(&namespace, kind, Generation(generation), changes, None).await.unwrap();
            }
            let ids: Vec<EntityKey> = (0..301).map(id).collect();
            for generation in [1, 2] {
                let pin = Generation(generation);
                let (found, cost) = metered(online.get_stats(&namespace, kind, &ids, pin, None)).await;
                let Pinned::At(mut found) = found.unwrap() else { panic!("{generation} is too old") };
                assert_eq!((found.len(), cost.tables.requests()), (301, 4));
                for of in 0..301 {
                    let expected = (of < 300).then(|| stats(of as u64, generation));
                    assert_eq!(found.remove(&id(of)).unwrap().unwrap(), expected);
                }
            }
        }
        let old = Generation(0);
        let found = online.get_stats(&namespace, EntityKind::User, &[id(1)], old, None).await.unwrap();
        assert!(matches!(found, Pinned::TooOld));
        let stored: HashMap<_, _> = fake.items(TableName::UserFeatures).remove(7);
        let mut damaged = stored.clone();
        damaged.remove("pr");
        fake.insert(TableName::UserFeatures, damaged);
        let pin = Generation(2);
        let all: Vec<EntityKey> = (0..300).map(id).collect();
        let found = online.get_stats(&namespace, EntityKind::User, &all, pin, None).await.unwrap();
        let Pinned::At(found) = found else { panic!("too old") };
        let failed: Vec<_> = found.into_values().filter_map(Result::err).collect();
        assert_eq!((failed.len(), failed[0].kind()), (1, ErrorKind::Corrupt));
    });
}
