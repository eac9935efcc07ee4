//! Processes that are killed while they write: nothing acknowledged is lost, nothing is half there, and what is
//! sent again counts once.
//!
//! The child puts batches from several callers at once, and prints when each begins and when it is acknowledged.
//! After the kill the parent opens the store, looks which batches are there, and holds the content against the
//! memory oracle with these batches: ratings, withdrawals and features. Then it sends again what was not
//! acknowledged, or everything, and compares again.
//!
//! Moments of kills are those of the machine: a seed says what is written and how long is waited, not where the
//! process stands then.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use recstore_core::{
    GetOptions, ItemId, Lookup, MemoryStorage, Namespace, PutOptions, Rating, Storage, Timestamp, UserId,
};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Backend, Process, Random, context, memory_folder};

const CALLERS: usize = 4;
/// Events of a batch whose pairs no other batch has: by them one sees whether it is there.
const OWN: u64 = 3;
/// Events of a batch on pairs that all batches share: ratings replaced and withdrawn.
const SHARED: usize = 10;
/// Kills of one store; comparing costs more with every batch.
const KILLS: u64 = 10;
/// Tells the child where the store lies and with which batch to begin.
const CHILD: &str = "RECSTORE_KILL_CHILD";

/// When the child says that a batch is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// When the store has said so.
    Honest,
    /// Before: a mistake that the check must find.
    Early,
}

/// How the child ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By SIGKILL.
    Kill,
    /// By SIGTERM, upon which it closes the store, and by SIGKILL soon after.
    TermThenKill,
}

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// Every batch that was begun and not acknowledged.
    Unacknowledged,
    /// Every batch that was begun.
    Everything,
}

/// A series of kills, on a new store now and then.
#[derive(Debug)]
pub struct Kills<'a, B> {
    backend: &'a B,
    test: &'a str,
    client: Client,
    ending: Ending,
    repetition: Repetition,
    random: Random,
    series: Series,
    /// Kills so far.
    pub kills: u64,
    /// Batches that were acknowledged and found.
    pub acknowledged: u64,
    /// Batches that were found though their acknowledgement was not seen.
    pub unacknowledged: u64,
}

/// One store, and what it should hold.
#[derive(Debug)]
struct Series {
    folder: TempDir,
    oracle: MemoryStorage,
    next: usize,
}

impl Series {
    fn new() -> Series {
        Series {
            folder: memory_folder(),
            oracle: MemoryStorage::new(Namespace::default(), context()),
            next: 0,
        }
    }
}

impl<'a, B: Backend> Kills<'a, B> {
    /// Kills of children of the test `test`, which must call [`be_killed`](Self::be_killed) first.
    pub fn new(
        backend: &'a B,
        test: &'a str,
        client: Client,
        ending: Ending,
        repetition: Repetition,
        random: Random,
    ) -> Self {
        let (series, kills, acknowledged, unacknowledged) = (Series::new(), 0, 0, 0);
        Kills {
            backend,
            test,
            client,
            ending,
            repetition,
            random,
            series,
            kills,
            acknowledged,
            unacknowledged,
        }
    }

    /// If this process is a child, writes until it is killed. Else returns.
    ///
    /// # Panics
    /// If a call fails.
    pub fn be_killed(backend: &B) {
        let Ok(instruction) = std::env::var(CHILD) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(write(backend, &instruction));
    }

    /// One child, one kill.
    ///
    /// # Errors
    /// What is wrong afterwards.
    ///
    /// # Panics
    /// If the child cannot be run, or the oracle fails.
    pub async fn cycle(&mut self) -> Result<(), String> {
        if self.kills.is_multiple_of(KILLS) {
            self.series = Series::new();
        }
        self.kills += 1;
        let (begun, acknowledged) = self.kill_one();
        let folder = self.series.folder.path();
        let store = self.backend.open(folder).await.map_err(|error| format!("damaged: {error:?}"))?;
        let problems = self.backend.problems(folder);
        if !problems.is_empty() {
            return Err(format!("damaged: {problems:?}"));
        }
        let there = self.take_stock(&*store, &begun).await?;
        if let Some(lost) = acknowledged.difference(&there).next() {
            return Err(format!("batch {lost} was acknowledged and is lost"));
        }
        self.acknowledged += acknowledged.len() as u64;
        self.unacknowledged += there.difference(&acknowledged).count() as u64;
        self.compare(&*store, "what is there").await?;
        for &number in &begun {
            if self.repetition == Repetition::Everything || !acknowledged.contains(&number) {
                put(&*store, number).await;
            }
            put(&self.series.oracle, number).await;
        }
        self.compare(&*store, "what was sent again").await?;
        let changed = store.rebuild_features().await.map_err(|error| error.to_string())?.changed;
        if changed > 0 {
            return Err(format!("{changed} features are not those of the ratings"));
        }
        store.close().await.map_err(|error| error.to_string())
    }

    /// Runs a child and ends it; the batches that it began and those that it said are stored.
    fn kill_one(&mut self) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let client = if self.client == Client::Early { "early" } else { "honest" };
        let instruction = format!("{} {client} {}", self.series.next, self.series.folder.path().display());
        let mut child = Process::run(self.test, CHILD, instruction);
        child.wait_for("ready");
        self.wait(2_000, 20_000);
        if self.ending == Ending::TermThenKill {
            child.terminate();
            self.wait(0, 6_000);
        }
        let lines = child.kill();
        let numbers = |word: &str| {
            let numbers = lines.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
            numbers.collect::<BTreeSet<usize>>()
        };
        let (begun, acknowledged) = (numbers("begin "), numbers("ack "));
        self.series.next = begun.last().map_or(self.series.next, |last| last + 1);
        (begun, acknowledged)
    }

    fn wait(&mut self, least: u64, range: usize) {
        std::thread::sleep(Duration::from_micros(least + self.random.below(range) as u64));
    }

    /// Which of the batches are there, none of them half; the oracle gets them too.
    async fn take_stock(
        &self,
        store: &dyn Storage,
        begun: &BTreeSet<usize>,
    ) -> Result<BTreeSet<usize>, String> {
        let mut there = BTreeSet::new();
        for &number in begun {
            let own = &batch(number)[..OWN as usize];
            let pairs: Vec<_> =
                own.iter().map(|event| (event.user().clone(), event.item().clone())).collect();
            let found = store.get_ratings(&pairs, GetOptions::default()).await.expect("a read");
            match found.iter().filter(|row| matches!(row, Lookup::Found(_))).count() as u64 {
                0 => {}
                OWN => {
                    put(&self.series.oracle, number).await;
                    there.insert(number);
                }
                part => return Err(format!("{part} of {OWN} events of batch {number}")),
            }
        }
        Ok(there)
    }

    async fn compare(&self, store: &dyn Storage, what: &str) -> Result<(), String> {
        let found = store.fingerprint(GetOptions::default()).await.map_err(|error| error.to_string())?;
        let expected = self.series.oracle.fingerprint(GetOptions::default()).await.expect("the oracle's");
        if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
    }
}

/// The child's work.
async fn write(backend: &impl Backend, instruction: &str) {
    let mut parts = instruction.splitn(3, ' ');
    let mut part = || parts.next().expect("an instruction has three parts");
    let (begin, is_early, folder) = (part().parse().expect("a number"), part() == "early", part());
    let store = backend.open(Path::new(folder)).await.expect("the store opens");
    let mut term = signal(SignalKind::terminate()).expect("signals can be waited for");
    println!("\nready");
    let store = &*store;
    let caller = |caller: usize| async move {
        let first: usize = begin;
        for number in (first + caller..).step_by(CALLERS) {
            println!("begin {number}");
            if is_early {
                println!("ack {number}");
            }
            // Once the store is closed, nothing is to be said any more.
            if store.put_ratings(batch(number), PutOptions::default()).await.is_err() {
                return std::future::pending().await;
            }
            if !is_early {
                println!("ack {number}");
            }
        }
    };
    let ends = async {
        term.recv().await;
        store.close().await.expect("the store closes");
        std::future::pending::<()>().await;
    };
    futures::join!(join_all((0..CALLERS).map(caller)), ends);
}

async fn put(store: &dyn Storage, number: usize) {
    store.put_ratings(batch(number), PutOptions::default()).await.expect("the batch is taken");
}

fn batch(number: usize) -> Vec<Rating> {
    let mut random = Random::new(number as u64);
    let owner = UserId::new(format!("batch-{number}")).expect("a valid id");
    let own = (0..OWN).map(|item| (owner.clone(), ItemId::from(item)));
    let shared: Vec<_> = (0..SHARED)
        .map(|_| (UserId::from(random.below(20) as u64), ItemId::from(random.below(20) as u64)))
        .collect();
    own.chain(shared)
        .enumerate()
        .map(|(position, (user, item))| {
            let time = Timestamp::from_millis(1_700_000_000_000 + random.below(1_000_000) as i64);
            let time = time.expect("a valid time");
            match position as u64 >= OWN && random.one_in(5) {
                true => Rating::withdrawal(user, item, time),
                false => Rating::new(user, item, random.below(11) as f64 / 2.0, time).expect("a valid value"),
            }
        })
        .collect()
}
