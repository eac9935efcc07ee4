//! The process is killed while it writes: nothing that was acknowledged is lost, no batch is half there, and
//! repeating everything that was not acknowledged counts nothing twice.
//!
//! The test runs itself once more as the process to be killed. This child puts batches from four callers at
//! once, and prints when each begins and when it is acknowledged; the parent kills it at a random moment,
//! opens the file, looks which batches are there, and holds the content against the memory oracle with these
//! batches: ratings, withdrawals and features. Then it repeats what was not acknowledged and compares again.
//! A child that prints too early shows that the check bites.
//!
//! A killed process leaves what it wrote with the operating system, so this says nothing about syncs; that is
//! what `power_loss.rs` is for. `RECSTORE_KILLS` sets how many times, `RECSTORE_SEED` where randomness begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use recstore_core::{
    GetOptions, ItemId, Lookup, MemoryStorage, Namespace, PutOptions, Rating, RatingStore, Storage,
    Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, validate};
use recstore_test_faults::{Process, Random, context, from_env, memory_folder};
use tempfile::TempDir;

const FILE: &str = "ratings.db";
const CALLERS: usize = 4;
/// Events of a batch whose pairs no other batch has: by them one sees whether it is there.
const OWN: u64 = 3;
/// Events of a batch on pairs that all batches share: ratings replaced and withdrawn.
const SHARED: usize = 10;
/// Tells the child where the file lies and with which batch to begin.
const CHILD: &str = "RECSTORE_KILL_CHILD";

fn batch(number: usize) -> Vec<Rating> {
    let mut random = Random::new(number as u64);
    let owner = UserId::new(format!("batch-{number}")).unwrap();
    let own = (0..OWN).map(|item| (owner.clone(), ItemId::from(item)));
    let shared: Vec<_> = (0..SHARED)
        .map(|_| (UserId::from(random.below(20) as u64), ItemId::from(random.below(20) as u64)))
        .collect();
    own.chain(shared)
        .enumerate()
        .map(|(position, (user, item))| {
            let time = Timestamp::from_millis(1_700_000_000_000 + random.below(1_000_000) as i64).unwrap();
            match position as u64 >= OWN && random.one_in(5) {
                true => Rating::withdrawal(user, item, time),
                false => Rating::new(user, item, random.below(11) as f64 / 2.0, time).unwrap(),
            }
        })
        .collect()
}

async fn open(folder: &Path) -> SqliteStorage {
    let config = SqliteConfig { readers: 1, wal_bytes: 256 << 10, ..SqliteConfig::new(folder.join(FILE)) };
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await.unwrap()
}

/// Puts batches until it is killed.
#[tokio::main(flavor = "current_thread")]
async fn be_killed(instruction: &str) {
    let (begin, acknowledges_early, folder) = {
        let mut parts = instruction.splitn(3, ' ');
        let mut part = || parts.next().unwrap();
        (part().parse::<usize>().unwrap(), part() == "early", part())
    };
    let store = &open(Path::new(folder)).await;
    println!("\nready");
    let caller = |caller: usize| async move {
        for number in (begin + caller..).step_by(CALLERS) {
            println!("begin {number}");
            if acknowledges_early {
                println!("ack {number}");
            }
            store.put_ratings(batch(number), PutOptions::default()).await.unwrap();
            if !acknowledges_early {
                println!("ack {number}");
            }
        }
    };
    join_all((0..CALLERS).map(caller)).await;
}

/// A file that children write, and what it should hold.
struct Kills {
    test: &'static str,
    folder: TempDir,
    oracle: MemoryStorage,
    random: Random,
    next: usize,
    acknowledged: usize,
    unacknowledged: usize,
}

impl Kills {
    fn new(test: &'static str) -> Kills {
        Kills {
            test,
            folder: memory_folder(),
            oracle: MemoryStorage::new(Namespace::default(), context()),
            random: Random::new(from_env("RECSTORE_SEED", 20_260)),
            next: 0,
            acknowledged: 0,
            unacknowledged: 0,
        }
    }

    /// Runs a child and kills it; the batches that it began and those that it said are stored.
    fn kill_one(&mut self, kind: &str) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let instruction = format!("{} {kind} {}", self.next, self.folder.path().display());
        let mut child = Process::run(self.test, CHILD, instruction);
        child.wait_for("ready");
        let time = Duration::from_millis(5) + Duration::from_micros(self.random.below(40_000) as u64);
        std::thread::sleep(time);
        let lines = child.kill();
        let numbers = |word: &str| {
            let numbers = lines.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
            numbers.collect::<BTreeSet<usize>>()
        };
        let (begun, acknowledged) = (numbers("begin "), numbers("ack "));
        self.next = begun.last().map_or(self.next, |last| last + 1);
        (begun, acknowledged)
    }

    /// One child, one kill; what is wrong afterwards.
    async fn cycle(&mut self, kind: &str) -> Result<(), String> {
        let (begun, acknowledged) = self.kill_one(kind);
        let store = open(self.folder.path()).await;
        let validation = validate(&self.folder.path().join(FILE)).unwrap();
        if !validation.ok {
            return Err(format!("damaged: {:?}", validation.problems));
        }
        let mut repeated = Vec::new();
        for &number in &begun {
            let own = &batch(number)[..OWN as usize];
            let pairs: Vec<_> =
                own.iter().map(|event| (event.user().clone(), event.item().clone())).collect();
            let found = store.get_ratings(&pairs, GetOptions::default()).await.unwrap();
            let there = found.iter().filter(|row| matches!(row, Lookup::Found(_))).count();
            match (there, acknowledged.contains(&number)) {
                (0, true) => return Err(format!("batch {number} was acknowledged and is lost")),
                (0, false) => repeated.push(number),
                (3, is_acknowledged) => {
                    self.put(&self.oracle, number).await;
                    if is_acknowledged {
                        self.acknowledged += 1;
                    } else {
                        self.unacknowledged += 1;
                        repeated.push(number);
                    }
                }
                _ => return Err(format!("{there} of {OWN} events of batch {number}")),
            }
        }
        self.compare(&store, "what is there").await?;
        for number in repeated {
            self.put(&store, number).await;
            self.put(&self.oracle, number).await;
        }
        self.compare(&store, "what was repeated").await?;
        store.close().await.map_err(|error| error.to_string())
    }

    async fn put(&self, store: &dyn Storage, number: usize) {
        store.put_ratings(batch(number), PutOptions::default()).await.unwrap();
    }

    async fn compare(&self, store: &SqliteStorage, what: &str) -> Result<(), String> {
        let found = store.fingerprint(GetOptions::default()).await.unwrap();
        let expected = self.oracle.fingerprint(GetOptions::default()).await.unwrap();
        if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
    }
}

#[test]
fn a_kill_loses_nothing_acknowledged_and_repetition_doubles_nothing() {
    if let Ok(instruction) = std::env::var(CHILD) {
        return be_killed(&instruction);
    }
    let mut kills = Kills::new("a_kill_loses_nothing_acknowledged_and_repetition_doubles_nothing");
    let (cycles, begin) = (from_env("RECSTORE_KILLS", 40), Instant::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for cycle in 0..cycles {
        let result = runtime.block_on(kills.cycle("honest"));
        assert_eq!(result, Ok(()), "kill {cycle}");
    }
    let seconds = begin.elapsed().as_secs_f64();
    let Kills { acknowledged, unacknowledged, .. } = kills;
    println!("{cycles} kills, {seconds:.1} s: {acknowledged} batches acknowledged, none lost;");
    println!("{unacknowledged} were stored before their acknowledgement was seen");
    assert!(acknowledged > 0);
}

#[test]
fn the_check_finds_acknowledgements_that_come_too_early() {
    if let Ok(instruction) = std::env::var(CHILD) {
        return be_killed(&instruction);
    }
    let mut kills = Kills::new("the_check_finds_acknowledgements_that_come_too_early");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = (0..50).find_map(|_| runtime.block_on(kills.cycle("early")).err());
    assert!(found.is_some_and(|text| text.ends_with("is lost")));
}
