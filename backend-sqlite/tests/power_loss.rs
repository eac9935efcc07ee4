//! The power goes at random moments: nothing that was acknowledged is lost, nothing is half there.
//!
//! Random workloads run on recorded disks: batches with replaced and withdrawn ratings, custom features, releases,
//! hidden items, erasures, rebuilds; the store is created, closed and opened between. Each power cut takes a random
//! moment of the record, and leaves of each file what was synced before, and of the rest nothing, everything or a
//! random part with torn writes. The store that opens on what is left must have the content after the last
//! acknowledged step or after the one that had begun, by the fingerprints of the memory oracle: ratings, features,
//! releases, tombstones; stock SQLite's `integrity_check` must find nothing, and a rebuild no feature that differs.
//! That the check bites is shown by weaker settings of SQLite, by acknowledging too early and by a disk that does
//! not keep its syncs, all of which must fail it.
//!
//! `RECSTORE_POWER_CUTS` sets how many cuts are tried, `RECSTORE_SEED` where randomness begins. A failure names the
//! number of its image, and `RECSTORE_POWER_IMAGE` makes that one alone, with the same seed and number of cuts. What
//! is not modelled stands in `recstore-test-faults`: this tests the settings, transactions and acknowledgements of
//! this crate, neither SQLite nor disks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod sqlite;

use std::time::{Duration, Instant};

use futures::future::join_all;
use recstore_core::{
    FeatureStore, GetOptions, Namespace, PutOptions, Rating, RatingStore, RatingStoreExt, Storage, Timestamp,
    UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage};
use recstore_test_faults::{
    Backend, Disk, Harm, Log, PowerCuts, Random, Recording, Synchronous, Trust, context, from_env, inspect,
    memory_folder,
};
use sqlite::{FILE, Sqlite};

/// The smallest log makes for many checkpoints.
const BACKEND: Sqlite = Sqlite { wal_bytes: 64 << 10 };
/// Cuts for each weakness.
const CUTS: usize = 50;

fn seed() -> u64 {
    from_env("RECSTORE_SEED", 20_260)
}

fn images() -> u64 {
    from_env("RECSTORE_POWER_CUTS", 50_000)
}

/// What cuts of one workload did.
#[derive(Debug, Default)]
struct Toll {
    damaged: u64,
    lost: u64,
    drifted: u64,
}

/// Makes cuts of one workload on a disk with these weaknesses.
async fn toll(
    synchronous: Option<Synchronous>,
    trust: Trust,
    is_acknowledged_early: bool,
    random: &mut Random,
) -> Toll {
    let recording = Recording::make(&BACKEND, synchronous, random).await;
    let mut toll = Toll::default();
    for _ in 0..CUTS {
        let mut cut = recording.cut(random);
        if is_acknowledged_early {
            cut.acknowledged = cut.begun;
        }
        let image = recording.log.image(cut, trust, random);
        match inspect(&BACKEND, &image, &recording.workload, cut).await {
            Ok(()) => {}
            Err(Harm::Damaged(_)) => toll.damaged += 1,
            Err(Harm::Lost { .. }) => toll.lost += 1,
            Err(Harm::Drifted(_)) => toll.drifted += 1,
        }
    }
    toll
}

/// Batches of callers that write side by side: the pairs of a batch are its own, the items are shared.
fn batches() -> Vec<Vec<Rating>> {
    let time = Timestamp::from_seconds(1_700_000_000).unwrap();
    let event = |batch: usize, number: u64| {
        let user = UserId::new(format!("user-{}-{batch}", batch % 8)).unwrap();
        Rating::new(user, number.into(), (batch % 10) as f64 / 2.0, time).unwrap()
    };
    (0..160).map(|batch| (0..3).map(|number| event(batch, number)).collect()).collect()
}

/// Eight callers put their batches, one after another each, all at once.
async fn record_side_by_side(batches: &[Vec<Rating>]) -> Log {
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    disk.record();
    let store = BACKEND.open_in(folder.path()).await.unwrap();
    let (disk_of, store_of) = (&disk, &store);
    let caller = |number: usize| async move {
        for (index, batch) in batches.iter().enumerate().filter(|(index, _)| index % 8 == number) {
            store_of.put_ratings(batch.clone(), PutOptions::default()).await.unwrap();
            disk_of.acknowledged(index);
        }
    };
    join_all((0..8).map(caller)).await;
    store.close().await.unwrap();
    disk.log()
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let only = std::env::var("RECSTORE_POWER_IMAGE").is_ok().then(|| from_env("RECSTORE_POWER_IMAGE", 0));
    let begin = Instant::now();
    let survey = match (PowerCuts { seed: seed(), images: images(), only }).run(&BACKEND) {
        Ok(survey) => survey,
        Err(harm) => panic!("RECSTORE_POWER_IMAGE makes it again: {harm}"),
    };
    println!("seed {}, {:.1} s, no harm: {survey:?}", seed(), begin.elapsed().as_secs_f64());
    let wanted = only.map_or(images(), |image| {
        assert!(image < images(), "there is no image {image}, RECSTORE_POWER_CUTS is {}", images());
        1
    });
    assert_eq!(survey.images, wanted);
    if survey.images >= 10_000 {
        for phase in ["open", "close", "ratings", "features", "release", "erase", "rebuild"] {
            assert!(survey.phases.get(phase).is_some_and(|&images| images >= 50), "few cuts during {phase}");
        }
    }
}

#[tokio::test]
async fn no_power_cut_loses_or_halves_a_batch_of_a_joined_commit() {
    let cuts = images() / 50;
    let mut random = Random::new(seed());
    let batches = batches();
    let log = record_side_by_side(&batches).await;
    let pairs: Vec<_> =
        batches.iter().flatten().map(|event| (event.user().clone(), event.item().clone())).collect();
    for number in 0..cuts {
        let cut = log.cut(random.below(log.len() + 1));
        let folder = memory_folder();
        log.image(cut, Trust::All, &mut random).write_to(folder.path()).unwrap();
        let store = BACKEND.open_in(folder.path()).await.unwrap();
        let found = store.get_ratings(&pairs, GetOptions::default()).await.unwrap();
        let acknowledged = log.acknowledged(cut);
        for (index, rows) in found.chunks(3).enumerate() {
            let there = rows.iter().filter(|row| row.found().is_some()).count();
            let text = format!("batch {index}, cut {number} from seed {}: {cut:?}", seed());
            assert!(there == 3 || there == 0, "half of {text}");
            assert!(there == 3 || !acknowledged.contains(&index), "lost {text}");
        }
        assert!(BACKEND.problems(folder.path()).is_empty());
        assert_eq!(store.rebuild_features().await.unwrap().changed, 0);
    }
}

/// A killed process may leave a commit that no sync followed, and the caller repeats it: the answer is that it
/// is known, nothing is written, and it must hold all the same.
#[tokio::test]
async fn what_is_repeated_after_a_kill_survives_a_power_cut() {
    let mut random = Random::new(seed());
    let Recording { workload, log } = Recording::make(&BACKEND, None, &mut random).await;
    for number in 0..images() / 50 {
        let killed = log.cut(random.below(log.len() + 1));
        let folder = memory_folder();
        let disk = Disk::after_kill(folder.path(), log.until(killed));
        let store = BACKEND.open_in(folder.path()).await.unwrap();
        if killed.begun > 0 {
            workload.steps[killed.begun - 1].apply(&store).await.unwrap();
        }
        disk.acknowledged(killed.begun);
        let log = disk.log();
        let cut = log.cut(log.len());
        let image = log.image(cut, Trust::All, &mut random);
        let harm = inspect(&BACKEND, &image, &workload, cut).await;
        assert_eq!(harm, Ok(()), "kill {number} from seed {}: {killed:?}", seed());
    }
}

#[tokio::test]
async fn the_check_finds_what_weaker_promises_lose() {
    let mut random = Random::new(seed());
    let normal = toll(Some(Synchronous::Normal), Trust::All, false, &mut random).await;
    let off = toll(Some(Synchronous::Off), Trust::All, false, &mut random).await;
    let lying = toll(None, Trust::Nothing, false, &mut random).await;
    let early = toll(None, Trust::All, true, &mut random).await;
    println!("{CUTS} cuts each, seed {}\nsynchronous=NORMAL: {normal:?}", seed());
    println!(
        "synchronous=OFF: {off:?}\na disk without syncs: {lying:?}\nacknowledged at the begin: {early:?}"
    );
    // SQLite promises that a file stays whole with NORMAL, and that the last commits may be lost.
    assert!(normal.lost > 0 && normal.damaged == 0, "{normal:?}");
    assert!(off.damaged > 0, "{off:?}");
    assert!(lying.damaged > 0, "{lying:?}");
    assert!(early.lost > 0 && early.damaged == 0, "{early:?}");
}

#[tokio::test]
async fn the_log_is_synced_before_each_acknowledgement() {
    let mut random = Random::new(seed());
    let wal = format!("{FILE}-wal");
    let log = Recording::make(&BACKEND, None, &mut random).await.log;
    assert_eq!(log.acknowledged_before_sync(&wal), None);
    let weaker = Recording::make(&BACKEND, Some(Synchronous::Normal), &mut random).await.log;
    assert!(weaker.acknowledged_before_sync(&wal).is_some(), "the check does not see a missing sync");
}

fn single(caller: u64, number: u64) -> Rating {
    let time = Timestamp::from_millis(1_700_000_000_000 + number as i64).unwrap();
    Rating::new(caller.into(), number.into(), 3.5, time).unwrap()
}

#[tokio::test]
async fn single_writes_are_synced_one_by_one() {
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    let store = BACKEND.open_in(folder.path()).await.unwrap();
    let before = disk.figures().wal_syncs;
    for number in 0..200 {
        store.put_rating(single(1, number)).await.unwrap();
    }
    let syncs = disk.figures().wal_syncs - before;
    assert!(syncs >= 200, "{syncs} syncs for 200 acknowledged writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_many_callers_share_syncs() {
    const CALLERS: u64 = 256;
    const EACH: u64 = 20;
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    let config = SqliteConfig { readers: 1, ..SqliteConfig::new(folder.path().join(FILE)) };
    let store = SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await.unwrap();
    // As a good SSD; on memory there would be no time to wait for each other in.
    disk.slow_down(Duration::from_millis(2));
    let before = disk.figures().wal_syncs;
    let callers = (0..CALLERS).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                store.put_rating(single(caller, number)).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let syncs = disk.figures().wal_syncs - before;
    let events = CALLERS * EACH;
    println!("{events} single writes of {CALLERS} callers: {syncs} syncs of the log");
    assert!(syncs * 50 <= events, "{syncs} syncs for {events} events");
    assert_eq!(store.count_ratings(GetOptions::default()).await.unwrap().ratings, events);
}
