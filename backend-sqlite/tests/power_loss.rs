//! The power goes at random moments: nothing that was acknowledged is lost, nothing is half there.
//!
//! A random workload runs on a recorded disk. Each power cut takes a random moment of the record, and leaves
//! of each file what was synced before, and of the rest nothing, everything or a random part with torn
//! writes. The store that opens on what is left must have the content after the last acknowledged step or
//! after the one that had begun, by the fingerprints of the memory oracle: ratings, features, releases,
//! tombstones. That the check bites is shown by weaker settings of SQLite, by acknowledging too early and by
//! a disk that does not keep its syncs, all of which must fail it.
//!
//! `RECSTORE_POWER_CUTS` sets how many cuts are tried, `RECSTORE_SEED` where randomness begins. What is not
//! modelled stands in `recstore-test-faults`: this tests the settings, transactions and acknowledgements of
//! this crate, neither SQLite nor disks.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use recstore_core::{
    FeatureStore, GetOptions, ItemId, Namespace, PutOptions, Rating, RatingStore, Storage, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, validate};
use recstore_test_faults::{
    Cut, Disk, Image, Log, Random, Synchronous, Trust, Workload, context, from_env, memory_folder,
};

const FILE: &str = "ratings.db";
const STEPS: usize = 150;
/// Cuts that are made of one recorded workload.
const CUTS: u64 = 100;

fn seed() -> u64 {
    from_env("RECSTORE_SEED", 20_260)
}

async fn open(folder: &Path) -> recstore_core::Result<SqliteStorage> {
    // The smallest log makes for many checkpoints.
    let config = SqliteConfig { readers: 1, wal_bytes: 64 << 10, ..SqliteConfig::new(folder.join(FILE)) };
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await
}

/// Runs the workload on a recorded disk, closing and opening the store now and then.
async fn record(workload: &Workload, synchronous: Option<Synchronous>, random: &mut Random) -> Log {
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    disk.record();
    if let Some(synchronous) = synchronous {
        disk.weaken(synchronous);
    }
    let mut store = open(folder.path()).await.unwrap();
    for (index, step) in workload.steps.iter().enumerate() {
        disk.begun(index + 1);
        step.apply(&store).await.unwrap();
        disk.acknowledged(index + 1);
        if random.one_in(20) {
            store.close().await.unwrap();
            store = open(folder.path()).await.unwrap();
        }
    }
    store.close().await.unwrap();
    disk.log()
}

/// What a power cut did to a store.
#[derive(Debug, PartialEq, Eq)]
enum Harm {
    /// It does not open, or something in it cannot be read.
    Damaged(String),
    /// Its content is none of those that it may have.
    Lost { acknowledged: usize, found: Option<usize> },
    /// Built-in features are not those of the ratings.
    Drifted(u64),
}

/// Opens what is left, and holds it against the contents after the steps `acknowledged..=begun`.
async fn inspect(image: &Image, workload: &Workload, cut: Cut) -> Result<(), Harm> {
    let folder = memory_folder();
    image.write_to(folder.path()).unwrap();
    let damaged = |error: recstore_core::Error| Harm::Damaged(format!("{error:?}"));
    let store = open(folder.path()).await.map_err(damaged)?;
    let found = store.fingerprint(GetOptions::default()).await.map_err(damaged)?;
    let validation = validate(&folder.path().join(FILE)).map_err(damaged)?;
    if !validation.ok {
        return Err(Harm::Damaged(validation.problems.join("; ")));
    }
    if !workload.states[cut.acknowledged..=cut.begun].contains(&found) {
        let found = workload.states.iter().rposition(|state| *state == found);
        return Err(Harm::Lost { acknowledged: cut.acknowledged, found });
    }
    let changed = store.rebuild_features().await.map_err(damaged)?.changed;
    store.close().await.map_err(damaged)?;
    if changed == 0 { Ok(()) } else { Err(Harm::Drifted(changed)) }
}

/// What cuts of a log did.
#[derive(Debug, Default)]
struct Toll {
    cuts: u64,
    damaged: u64,
    lost: u64,
    drifted: u64,
}

/// Makes cuts of one workload on a disk with these weaknesses.
async fn toll(
    cuts: u64,
    synchronous: Option<Synchronous>,
    trust: Trust,
    is_acknowledged_early: bool,
    random: &mut Random,
) -> Toll {
    let workload = Workload::random(random, STEPS).await.unwrap();
    let log = record(&workload, synchronous, random).await;
    let mut toll = Toll { cuts, ..Toll::default() };
    for _ in 0..cuts {
        let mut cut = log.cut(random.below(log.len() + 1));
        if is_acknowledged_early {
            cut.acknowledged = cut.begun;
        }
        let seed = random.bits();
        let image = log.image(cut, trust, &mut Random::new(seed));
        match inspect(&image, &workload, cut).await {
            Ok(()) => {}
            Err(Harm::Damaged(_)) => toll.damaged += 1,
            Err(Harm::Lost { .. }) => toll.lost += 1,
            Err(Harm::Drifted(_)) => toll.drifted += 1,
        }
    }
    toll
}

#[tokio::test]
async fn no_power_cut_loses_what_was_acknowledged() {
    let cuts = from_env("RECSTORE_POWER_CUTS", 2000);
    let mut random = Random::new(seed());
    let begin = Instant::now();
    let (mut done, mut entries) = (0, 0);
    while done < cuts {
        let workload = Workload::random(&mut random, STEPS).await.unwrap();
        let log = record(&workload, None, &mut random).await;
        entries += log.len();
        for _ in 0..CUTS.min(cuts - done) {
            let cut = log.cut(random.below(log.len() + 1));
            let image = log.image(cut, Trust::All, &mut random);
            let harm = inspect(&image, &workload, cut).await;
            assert_eq!(harm, Ok(()), "cut {done} from seed {}: {cut:?}", seed());
            done += 1;
        }
    }
    println!(
        "{done} power cuts in {entries} entries, seed {}, {:.1} s: nothing lost, nothing damaged",
        seed(),
        begin.elapsed().as_secs_f64()
    );
}

#[tokio::test]
async fn the_check_finds_what_weaker_promises_lose() {
    let mut random = Random::new(seed());
    let normal = toll(60, Some(Synchronous::Normal), Trust::All, false, &mut random).await;
    let off = toll(60, Some(Synchronous::Off), Trust::All, false, &mut random).await;
    let lying = toll(60, None, Trust::Nothing, false, &mut random).await;
    let early = toll(60, None, Trust::All, true, &mut random).await;
    println!("seed {}\nsynchronous=NORMAL: {normal:?}\nsynchronous=OFF: {off:?}", seed());
    println!("disk without syncs: {lying:?}\nacknowledged before the commit: {early:?}");
    // SQLite promises that a file stays whole with NORMAL, and that the last commits may be lost.
    assert!(normal.lost > 0 && normal.damaged == 0, "{normal:?}");
    assert!(off.damaged > 0, "{off:?}");
    assert!(lying.damaged > 0, "{lying:?}");
    assert!(early.lost > 0 && early.damaged == 0, "{early:?}");
}
