//! Releases by several processes, through lost answers and crashes.

use std::time::Duration;

use recstore_aws::AwsStorage;
use recstore_aws::online::keys;
use recstore_aws::online::tables::TableName;
use recstore_core::{
    EntityKind, ErrorKind, GetOptions, ItemId, Lookup, Namespace, NeighbourRequest, PruneOptions, PutOptions,
    ReleaseId, ReleaseInfo, ReleaseState, Result, SimilarityStore,
};
use tokio::time::timeout;

use crate::fake::{Random, Weather, run};
use crate::support::{World, key, list, popular, schedules, spec};

const ITEM: EntityKind = EntityKind::Item;

/// The neighbours of an item in the current release.
async fn neighbours(store: &AwsStorage, id: &str) -> Result<Option<Vec<String>>> {
    let mut answer = store.get_neighbours(NeighbourRequest::new(ITEM, vec![key(id)])).await?;
    let list = answer.lists.remove(0).into_result()?;
    Ok(list.map(|list| list.iter().map(|neighbour| neighbour.id.to_string()).collect()))
}

async fn popular_ids(store: &AwsStorage) -> Vec<String> {
    let popular = store.get_popular(ITEM, 10, GetOptions::default()).await.unwrap();
    popular.into_iter().map(|popular| popular.id.to_string()).collect()
}

/// A release that says its number.
async fn filled(store: &AwsStorage, number: usize) -> ReleaseId {
    let release = store.begin_release(spec()).await.unwrap();
    let to = number.to_string();
    let lists = vec![list("a", &[to.as_str(), "x"]), list("b", &["a", to.as_str()]), list("lonely", &[])];
    store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    release
}

async fn promoted(store: &AwsStorage, number: usize) -> ReleaseId {
    let release = filled(store, number).await;
    let to = number.to_string();
    store.seal_release(&release, popular(&[to.as_str(), "a"])).await.unwrap();
    store.promote_release(&release).await.unwrap();
    release
}

async fn current(store: &AwsStorage) -> ReleaseInfo {
    let releases = store.releases(ITEM).await.unwrap();
    releases.into_iter().find(|info| info.state == ReleaseState::Current).unwrap()
}

/// The same call again until it says that it is done.
async fn until_done<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    for _ in 0..200 {
        if let Ok(answer) = call().await {
            return answer;
        }
    }
    panic!("it never was done");
}

#[test]
fn a_rollback_or_promotion_repeated_until_it_is_done_is_done_once() {
    let (seed, schedules) = schedules(250);
    let mut crashes = 0;
    for number in 0..schedules {
        run(async {
            let world = World::new(Random::of_case(seed, number).bits());
            let (store, other) = (world.process(1), world.process(2));
            let mut releases = Vec::new();
            for number in 0..4 {
                releases.push(promoted(&store, number).await);
            }
            world.storm();
            let back = until_done(async || store.rollback_release(ITEM).await).await;
            assert_eq!((back.id, back.promotion), (releases[2].clone(), Some(3)), "schedule {number}");
            // A crash: whoever goes on looks at what readers get first.
            let crash = Duration::from_millis(Random::of_case(seed, number).below(400) as u64);
            let crashed = timeout(crash, store.rollback_release(ITEM)).await.is_err();
            world.calm().await;
            if neighbours(&other, "a").await.unwrap().unwrap() == ["2", "x"] {
                world.storm();
                let back = until_done(async || other.rollback_release(ITEM).await).await;
                assert_eq!((back.id, back.promotion), (releases[1].clone(), Some(2)), "schedule {number}");
            }
            if crashed {
                crashes += 1;
            }
            world.storm();
            let forth = until_done(async || other.promote_release(&releases[3]).await).await;
            assert_eq!(forth.promotion, Some(3), "schedule {number}");
            let again = until_done(async || store.promote_release(&releases[3]).await).await;
            assert_eq!(again, forth, "schedule {number}");
            world.calm().await;
            assert_eq!(current(&store).await, forth, "schedule {number}");
            for store in [&store, &other] {
                assert_eq!(neighbours(store, "a").await.unwrap().unwrap(), ["3", "x"], "schedule {number}");
                assert_eq!(popular_ids(store).await, ["3", "a"], "schedule {number}");
            }
            let promotions: Vec<_> =
                store.releases(ITEM).await.unwrap().into_iter().map(|info| info.promotion).collect();
            assert_eq!(promotions, [Some(3), None, Some(2), Some(1)], "schedule {number}");
        });
    }
    println!("{crashes} crashes");
}

#[test]
fn two_processes_that_fill_seal_and_promote_one_release_at_once_do_it_once() {
    let (seed, schedules) = schedules(200);
    for number in 0..schedules {
        run(async {
            let world = World::new(Random::of_case(seed, number).bits());
            let stores = [world.process(1), world.process(2)];
            promoted(&stores[0], 0).await;
            let release = stores[0].begin_release(spec()).await.unwrap();
            world.storm();
            let work = async |at: usize| {
                let store = &stores[at];
                let own = format!("own-{at}");
                let mut put = Vec::new();
                for step in 0..3 {
                    let id = format!("{own}-{step}");
                    let lists = vec![list(&id, &["x"]), list("both", &[own.as_str()])];
                    loop {
                        match store.put_neighbours(&release, lists.clone(), PutOptions::default()).await {
                            Ok(()) => break put.push(id),
                            Err(error) if error.kind() == ErrorKind::Conflict => return put,
                            Err(_) => {}
                        }
                    }
                }
                until_done(async || store.seal_release(&release, popular(&[own.as_str()])).await).await;
                until_done(async || store.promote_release(&release).await).await;
                put
            };
            let (one, two) = tokio::join!(work(0), work(1));
            world.calm().await;
            let info = current(&stores[0]).await;
            assert_eq!((&info.id, info.promotion), (&release, Some(2)), "schedule {number}");
            let fresh = world.process(3);
            let seen = [&stores[0], &stores[1], &fresh];
            for store in seen {
                for id in one.iter().chain(&two) {
                    let found = neighbours(store, id).await.unwrap();
                    assert_eq!(found, Some(vec!["x".to_owned()]), "schedule {number}: {id} was acknowledged");
                }
            }
            let both = neighbours(&fresh, "both").await.unwrap();
            let ranks = popular_ids(&fresh).await;
            for store in seen {
                assert_eq!(
                    (neighbours(store, "both").await.unwrap(), popular_ids(store).await),
                    (both.clone(), ranks.clone())
                );
            }
            assert_eq!(ranks.len(), 1, "one popularity list or the other");
        });
    }
}

#[test]
fn whatever_step_of_sealing_and_promoting_ends_in_a_crash_another_process_finishes() {
    let mut ended = false;
    let mut crashes = 0;
    while !ended {
        let patience = Duration::from_millis(crashes);
        crashes += 1;
        ended = run(async {
            let world = World::new(7);
            world.objects.set_latency(Duration::from_millis(1));
            world.tables.set_weather(Weather { latency: 3, ..Weather::default() });
            let (store, other) = (world.process(1), world.process(2));
            promoted(&store, 0).await;
            let release = filled(&store, 1).await;
            let work = async {
                store.seal_release(&release, popular(&["1", "a"])).await.unwrap();
                store.promote_release(&release).await.unwrap();
                store
                    .prune_releases(ITEM, PruneOptions { keep: 0, ..PruneOptions::default() })
                    .await
                    .unwrap();
            };
            let ended = timeout(patience, work).await.is_ok();
            // Readers have one release or the other.
            let seen = neighbours(&other, "a").await.unwrap().unwrap();
            assert!(seen == ["0", "x"] || seen == ["1", "x"], "after {patience:?}: {seen:?}");
            let sealed = other.seal_release(&release, popular(&["1", "a"])).await.unwrap();
            assert_eq!((sealed.lists, sealed.neighbours), (3, 4));
            let promoted = other.promote_release(&release).await.unwrap();
            assert_eq!(promoted.promotion, Some(2), "after {patience:?}");
            for store in [&store, &other] {
                assert_eq!(neighbours(store, "a").await.unwrap().unwrap(), ["1", "x"], "after {patience:?}");
                assert_eq!(neighbours(store, "lonely").await.unwrap(), Some(Vec::new()));
                assert_eq!(popular_ids(store).await, ["1", "a"]);
            }
            other.prune_releases(ITEM, PruneOptions { keep: 0, ..PruneOptions::default() }).await.unwrap();
            assert_eq!(
                world.tables.items(TableName::Neighbours).len(),
                3,
                "after {patience:?}: only what is current"
            );
            assert_eq!(neighbours(&store, "a").await.unwrap().unwrap(), ["1", "x"]);
            ended
        });
    }
    println!("{crashes} moments");
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn a_rollback_that_ends_in_a_crash_at_any_step_and_is_repeated_is_done_once() {
    // It is done well before the last of these moments.
    for moment in 0..60 {
        let patience = Duration::from_millis(moment);
        run(async {
            let world = World::new(8);
            world.objects.set_latency(Duration::from_millis(1));
            world.tables.set_weather(Weather { latency: 3, ..Weather::default() });
            let (store, other) = (world.process(1), world.process(2));
            let mut releases = Vec::new();
            for number in 0..3 {
                releases.push(promoted(&store, number).await);
            }
            match timeout(patience, store.rollback_release(ITEM)).await {
                Ok(back) => assert_eq!(back.unwrap().id, releases[1]),
                Err(_) => {
                    // Unless readers were told, the same call again does what is left of it.
                    if neighbours(&other, "a").await.unwrap().unwrap() == ["2", "x"] {
                        assert_eq!(
                            other.rollback_release(ITEM).await.unwrap().id,
                            releases[1],
                            "after {patience:?}"
                        );
                    }
                }
            }
            assert_eq!(neighbours(&other, "a").await.unwrap().unwrap(), ["1", "x"], "after {patience:?}");
            assert_eq!(current(&other).await.promotion, Some(2));
        });
    }
}

#[test]
fn readers_get_one_whole_release_or_another_while_they_are_replaced_and_pruned() {
    let (seed, schedules) = schedules(40);
    for number in 0..schedules {
        run(async {
            let world = World::new(Random::of_case(seed, number).bits());
            let (store, reader) = (world.process(1), world.process(2));
            promoted(&store, 0).await;
            world.tables.set_weather(Weather { latency: 25, unprocessed: 10, ..Weather::default() });
            world.objects.set_latency(Duration::from_millis(4));
            let write = async {
                for number in 1..12 {
                    promoted(&store, number).await;
                    store
                        .prune_releases(ITEM, PruneOptions { keep: 0, ..PruneOptions::default() })
                        .await
                        .unwrap();
                }
            };
            let read = async {
                let mut last = 0;
                loop {
                    let request = NeighbourRequest::new(ITEM, vec![key("a"), key("b"), key("nobody")]);
                    let answer = reader.get_neighbours(request).await.unwrap();
                    let [Lookup::Found(a), Lookup::Found(b), Lookup::Missing] = &answer.lists[..] else {
                        panic!("schedule {number}: {answer:?}");
                    };
                    assert_eq!(a.value[0].id, b.value[1].id, "schedule {number}: of one release");
                    let shown: usize = a.value[0].id.as_str().parse().unwrap();
                    assert!(shown >= last, "schedule {number}: never back");
                    last = shown;
                    if last == 11 {
                        return;
                    }
                }
            };
            tokio::join!(write, read);
        });
    }
}

#[test]
fn a_change_that_readers_could_not_be_told_of_is_told_by_the_same_call() {
    run(async {
        let world = World::new(3);
        let (store, reader) = (world.process(1), world.process(2));
        promoted(&store, 0).await;
        let release = filled(&store, 1).await;
        store.seal_release(&release, Vec::new()).await.unwrap();
        let control = keys::control(&Namespace::default(), "similarities").unwrap();
        world.tables.set_hot(control.clone());
        let item = || ItemId::new("x").unwrap();
        let promote = store.promote_release(&release).await.unwrap_err();
        let hide = store.hide_items(vec![item()]).await.unwrap_err();
        for error in [promote, hide] {
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        }
        assert_eq!(store.releases(ITEM).await.unwrap()[0].state, ReleaseState::Current, "it is committed");
        // Readers who cannot know what holds do not say that there is nothing.
        let asked = neighbours(&reader, "a").await.unwrap_err();
        assert_eq!(asked.kind(), ErrorKind::Busy, "{asked}");
        world.tables.cool(&control);
        assert_eq!(neighbours(&reader, "a").await.unwrap().unwrap(), ["0", "x"]);
        store.hide_items(vec![item()]).await.unwrap();
        assert_eq!(neighbours(&reader, "a").await.unwrap().unwrap(), ["1"]);
        assert_eq!(store.promote_release(&release).await.unwrap().promotion, Some(2));
    });
}

#[test]
fn a_rollback_told_as_unknown_and_repeated_takes_back_one_release_though_readers_were_told_meanwhile() {
    run(async {
        let world = World::new(6);
        let (store, other) = (world.process(1), world.process(2));
        for number in 0..4 {
            promoted(&store, number).await;
        }
        // The record is written, its answer lost, and after that neither written nor read.
        let control = keys::control(&Namespace::default(), "similarities").unwrap();
        let record = || world.tables.items(TableName::Control);
        let before = record();
        world.tables.set_weather(Weather { latency: 50, ..Weather::default() });
        world.tables.lose_answers(1);
        let cut_off = async {
            while record() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            world.tables.set_hot(control.clone());
        };
        let (rolled, ()) = tokio::join!(store.rollback_release(ITEM), cut_off);
        let error = rolled.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        world.tables.cool(&control);
        assert_eq!(neighbours(&other, "a").await.unwrap().unwrap(), ["2", "x"], "readers were told");
        assert_eq!(store.rollback_release(ITEM).await.unwrap().promotion, Some(3), "the same call again");
        assert_eq!(store.rollback_release(ITEM).await.unwrap().promotion, Some(2), "another one");
        assert_eq!(neighbours(&other, "a").await.unwrap().unwrap(), ["1", "x"]);
    });
}

#[test]
fn a_list_that_cannot_be_read_fails_alone_and_is_not_missing() {
    run(async {
        let world = World::new(4);
        let (store, namespace) = (world.process(1), Namespace::default());
        promoted(&store, 0).await;
        let items = world.tables.items(TableName::Neighbours);
        let of_a = keys::partition(&namespace, "a");
        let mut found = items.iter().filter_map(recstore_aws::online::item::key_of);
        world.tables.set_hot(found.find(|key| key.partition() == of_a).unwrap());
        let ids = ["a", "b", "nobody", "a"].map(key).to_vec();
        let answer = store.get_neighbours(NeighbourRequest::new(ITEM, ids)).await.unwrap();
        let [Lookup::Failed(error), Lookup::Found(_), Lookup::Missing, Lookup::Failed(again)] =
            &answer.lists[..]
        else {
            panic!("{answer:?}");
        };
        assert_eq!((error.kind(), again.kind()), (ErrorKind::Busy, ErrorKind::Busy));
    });
}

#[test]
fn every_byte_of_a_part_counts() {
    run(async {
        let world = World::new(5);
        let store = world.process(1);
        let release = filled(&store, 0).await;
        let keys = world.objects.keys();
        let name = keys.iter().find(|name| name.contains("/part-")).unwrap();
        let (body, attributes) = world.objects.get(name);
        println!("{} bytes", body.len());
        for at in 0..body.len() {
            let mut damaged = body.to_vec();
            damaged[at] ^= 1 << (at % 8);
            world.objects.insert(name, damaged.into(), attributes.clone());
            let error = store.seal_release(&release, Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
            assert!(name.ends_with(error.object().unwrap()), "byte {at}");
        }
        world.objects.insert(name, body, attributes);
        store.seal_release(&release, Vec::new()).await.unwrap();
    });
}
