//! Random schedules: several processes, some of one name, callers with and without patience, crashes at any poll,
//! restarts, a clock that jumps and a store that fails. At the end everything that was not acknowledged is sent again.
//!
//! `RECSTORE_BRONZE_SCHEDULES` says how many (2,000), `RECSTORE_BRONZE_SEED` where to begin (random); a failure prints
//! the seed that makes it again.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use recstore_aws::lake::bronze::cursor::BronzeCursors;
use recstore_aws::lake::bronze::reader::{BronzeObject, BronzeReader};
use recstore_aws::lake::bronze::writer::{BronzeReceipt, BronzeWriter, BronzeWriterParts};
use recstore_aws::lake::keys::BronzeKey;
use recstore_aws::lake::store::LakeStore;
use recstore_core::{Deadline, ErrorKind, EventId, ManualClock, Rating, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use crate::faulty::FaultyStore;
use crate::naive::{Bug, NaiveWriter};
use crate::support::{NOON, event, lake, parts, read, reader, time};

/// What is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// The crate's own.
    Real,
    /// The small one of these tests.
    Naive(Option<Bug>),
}

#[derive(Clone)]
enum Writer {
    Real(BronzeWriter),
    Naive(NaiveWriter),
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Writer {
    fn start(system: System, parts: BronzeWriterParts, store: &FaultyStore) -> (Writer, Driver) {
        match system {
            System::Real => {
                let (writer, driver) = BronzeWriter::new(parts).unwrap();
                (Writer::Real(writer), Box::pin(driver))
            }
            System::Naive(bug) => {
                let (writer, driver) = NaiveWriter::new(parts, store.clone(), bug);
                (Writer::Naive(writer), Box::pin(driver))
            }
        }
    }

    async fn append(&self, events: Vec<Rating>, deadline: Option<Deadline>) -> Result<Option<BronzeReceipt>> {
        match self {
            Writer::Real(writer) => writer.append(events, deadline).await,
            Writer::Naive(writer) => writer.append(events, deadline).await,
        }
    }
}

/// Drops what it drives at a poll: a process that dies.
struct Mortal {
    driver: Option<Driver>,
    polls_left: u32,
}

impl Future for Mortal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(left) = self.polls_left.checked_sub(1) else {
            self.driver = None;
            return Poll::Ready(());
        };
        self.polls_left = left;
        match &mut self.driver {
            Some(driver) => driver.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}

/// What a caller knows of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Stored(BronzeReceipt),
    NotStored(ErrorKind),
    Unknown,
    /// It did not wait for the answer.
    Left,
}

#[derive(Debug, Clone)]
struct Sent {
    events: Vec<Rating>,
    heard: Heard,
}

struct World {
    seed: u64,
    system: System,
    random: ChaCha8Rng,
    store: FaultyStore,
    lake: LakeStore,
    clock: Arc<ManualClock>,
    /// A process for each; some have one name.
    names: Vec<&'static str>,
    processes: Vec<Writer>,
    claims: u128,
    /// The batches that were answered or left, by their number.
    sent: Arc<Mutex<BTreeMap<u64, Sent>>>,
    next_batch: u64,
    next_event: u64,
    /// The incremental reader.
    cursors: BronzeCursors,
    taken: Vec<BronzeObject>,
}

impl World {
    fn new(system: System, seed: u64) -> World {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let share = [0, 20, 60, 130][random.next_u32() as usize % 4];
        let store = FaultyStore::new(seed, share);
        let count = 1 + random.next_u32() as usize % 3;
        let names = (0..count).map(|_| ["w", "w", "w-2"][random.next_u32() as usize % 3]).collect();
        World {
            seed,
            system,
            random,
            lake: lake(Arc::new(store.clone())),
            store,
            clock: Arc::new(ManualClock::new(time(NOON))),
            names,
            processes: Vec::new(),
            claims: 0,
            sent: Arc::default(),
            next_batch: 0,
            next_event: 0,
            cursors: BronzeCursors::new(),
            taken: Vec::new(),
        }
    }

    fn below(&mut self, end: u32) -> u32 {
        self.random.next_u32() % end
    }

    /// Starts a process; it dies after some polls, or never.
    fn start(&mut self, name: &'static str, mortal: bool) -> Writer {
        self.claims += 1;
        let mut parts = parts(&self.lake, name, self.claims, self.clock.clone());
        parts.ingest.max_batch_events = [2, 8, 100_000][self.below(3) as usize];
        parts.ingest.linger = Duration::from_millis([0, 1, 20][self.below(3) as usize]);
        let (writer, driver) = Writer::start(self.system, parts, &self.store);
        let polls_left = if mortal { 1 + self.below(40) } else { u32::MAX };
        tokio::spawn(Mortal { driver: Some(driver), polls_left });
        writer
    }

    /// Sends a batch from a task of its own.
    fn send(&mut self, tasks: &mut tokio::task::JoinSet<()>) {
        let writer = self.processes[self.random.next_u32() as usize % self.processes.len()].clone();
        let count = 1 + u64::from(self.below(4));
        let events: Vec<Rating> = (self.next_event..self.next_event + count).map(event).collect();
        self.next_event += count;
        let number = self.next_batch;
        self.next_batch += 1;
        let patience = (self.below(4) == 0).then(|| Duration::from_millis(u64::from(self.below(400))));
        let leaves = (self.below(8) == 0).then(|| Duration::from_millis(u64::from(self.below(60))));
        let (sent, seed) = (self.sent.clone(), self.seed);
        tasks.spawn(async move {
            let begin = Instant::now();
            let deadline = patience.map(|patience| Deadline::at((begin + patience).into_std()));
            let call = writer.append(events.clone(), deadline);
            let answer = match leaves {
                Some(leaves) => tokio::time::timeout(leaves, call).await.ok(),
                None => Some(call.await),
            };
            if let Some(patience) = patience {
                // The timer's grain is a millisecond.
                assert!(
                    begin.elapsed() <= patience + Duration::from_millis(1),
                    "seed {seed}: late by the deadline"
                );
            }
            let heard = match answer {
                None => Heard::Left,
                Some(Ok(receipt)) => Heard::Stored(receipt.expect("a batch with events has a receipt")),
                Some(Err(error)) if error.kind() == ErrorKind::OutcomeUnknown => Heard::Unknown,
                Some(Err(error)) => Heard::NotStored(error.kind()),
            };
            sent.lock().unwrap().insert(number, Sent { events, heard });
        });
    }

    /// Lists what is new, as a pipeline would now and then; it may fail, then nothing is taken in.
    async fn look(&mut self) {
        let acknowledged: Vec<Sent> = self.sent.lock().unwrap().values().cloned().collect();
        let reader = reader(&self.lake);
        let Ok(list) = reader.list(&self.cursors, None).await else { return };
        self.taken.extend(list.objects.iter().cloned());
        // Cursors are kept as text between runs.
        let text = serde_json::to_string(&list.cursors).unwrap();
        self.cursors = serde_json::from_str(&text).unwrap();
        if self.system == System::Naive(Some(Bug::CursorPassesOverGap)) {
            self.pass_over(&list.gaps.iter().map(|gap| gap.next.clone()).collect::<Vec<_>>());
        }
        let taken: BTreeSet<&BronzeKey> = self.taken.iter().map(|object| &object.key).collect();
        for sent in acknowledged {
            if let Heard::Stored(receipt) = &sent.heard {
                let seed = self.seed;
                assert!(
                    taken.contains(&receipt.key),
                    "seed {seed}: an acknowledged object is not listed: {receipt:?}"
                );
            }
        }
    }

    /// The bug of a reader that takes in what lies behind a gap.
    fn pass_over(&mut self, next: &[BronzeKey]) {
        let mut cursors: serde_json::Value = serde_json::to_value(&self.cursors).unwrap();
        for key in next {
            let position = serde_json::json!([key.day, key.first, key.last]);
            cursors[key.epoch.writer.as_str()][key.epoch.epoch.to_string()] = position;
            self.taken.push(BronzeObject { key: key.clone(), bytes: 0 });
        }
        self.cursors = serde_json::from_value(cursors).unwrap();
    }

    async fn run(mut self) {
        let mut tasks = tokio::task::JoinSet::new();
        for name in self.names.clone() {
            let mortal = self.below(2) == 0;
            let writer = self.start(name, mortal);
            self.processes.push(writer);
        }
        for _ in 0..4 + self.below(10) {
            match self.below(16) {
                0..9 => self.send(&mut tasks),
                9 => {
                    // A process dies, if it has not, and is started again.
                    let which = self.random.next_u32() as usize % self.names.len();
                    let mortal = self.below(2) == 0;
                    self.processes[which] = self.start(self.names[which], mortal);
                }
                10 => {
                    let hours = i64::from(self.below(72)) - 36;
                    self.clock.set(time(NOON + hours * 3_600_000));
                }
                11 => self.look().await,
                _ => {
                    let pause = [1, 30, 300, 20_000][self.below(4) as usize];
                    sleep(Duration::from_millis(u64::from(self.below(pause)))).await;
                }
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        // Whatever was sent and not answered ends as it may.
        self.processes.clear();
        sleep(Duration::from_secs(200)).await;
        self.store.heal();
        self.check_what_was_heard().await;
        self.send_again().await;
        self.check_everything().await;
    }

    /// The events of each object, in order.
    async fn objects(&self) -> BTreeMap<BronzeKey, Vec<EventId>> {
        let mut objects = BTreeMap::new();
        for name in self.store.keys() {
            let Ok(key) = name.strip_prefix("lake/").unwrap().parse::<BronzeKey>() else { continue };
            let (body, attributes) = self.store.get(&name);
            let lines = recstore_aws::lake::bronze::object::open_object(&key, &attributes, &body)
                .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
            let ids = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let ids = ids.map(|line| recstore_aws::lake::bronze::line::decode_line(line).unwrap().event_id());
            objects.insert(key, ids.collect());
        }
        objects
    }

    /// What each caller heard is so.
    async fn check_what_was_heard(&self) {
        let seed = self.seed;
        let objects = self.objects().await;
        for sent in self.sent.lock().unwrap().values() {
            let ids: Vec<EventId> = sent.events.iter().map(Rating::event_id).collect();
            let with: Vec<_> =
                objects.iter().filter(|(_, found)| ids.iter().any(|id| found.contains(id))).collect();
            for (key, found) in &with {
                let whole = found.windows(ids.len()).filter(|window| *window == ids).count();
                assert_eq!(whole, 1, "seed {seed}: a batch is not whole in {key}");
            }
            match &sent.heard {
                Heard::Stored(receipt) => {
                    let begin = (receipt.first - receipt.key.first) as usize;
                    let found =
                        objects.get(&receipt.key).and_then(|found| found.get(begin..begin + ids.len()));
                    assert_eq!(found, Some(ids.as_slice()), "seed {seed}: lost after {receipt:?}");
                    assert_eq!(with.len(), 1, "seed {seed}: sent once, stored in more than one object");
                }
                Heard::NotStored(kind) => {
                    assert!(with.is_empty(), "seed {seed}: stored, though the caller heard {kind}");
                }
                Heard::Unknown | Heard::Left => {
                    assert!(with.len() <= 1, "seed {seed}: sent once, stored in more than one object");
                }
            }
        }
    }

    /// A caller repeats what was not acknowledged until it is.
    async fn send_again(&mut self) {
        let writer = self.start("w", false);
        let again: Vec<Sent> = self.sent.lock().unwrap().values().cloned().collect();
        for sent in again {
            if !matches!(sent.heard, Heard::Stored(_)) {
                let answer = writer.append(sent.events, None).await;
                assert!(answer.is_ok(), "seed {}: a healthy store: {answer:?}", self.seed);
            }
        }
    }

    /// Nothing is lost, doubled or changed, and the incremental reader has all of it.
    async fn check_everything(&mut self) {
        let seed = self.seed;
        self.look().await;
        let reader: BronzeReader = reader(&self.lake);
        let list = reader.list(&BronzeCursors::new(), None).await.unwrap();
        assert!(list.gaps.is_empty() && list.foreign.is_empty(), "seed {seed}: {list:?}");
        let at_once: BTreeSet<&BronzeKey> = list.objects.iter().map(|object| &object.key).collect();
        let bit_by_bit: BTreeSet<&BronzeKey> = self.taken.iter().map(|object| &object.key).collect();
        assert!(bit_by_bit == at_once, "seed {seed}: reading on is not reading everything");
        assert_eq!(self.taken.len(), list.objects.len(), "seed {seed}: an object was taken twice");
        let mut found = BTreeMap::new();
        for batch in read(&reader, &list).await.unwrap() {
            assert!(batch.rejected.is_empty(), "seed {seed}: {batch:?}");
            found.extend(batch.events.into_iter().map(|event| (event.event_id(), event)));
        }
        let sent = self.sent.lock().unwrap();
        let expected: BTreeMap<_, _> = sent
            .values()
            .flat_map(|sent| &sent.events)
            .map(|event| (event.event_id(), event.clone()))
            .collect();
        assert_eq!(expected.len() as u64, self.next_event);
        let lost: Vec<_> = expected.keys().filter(|id| !found.contains_key(id)).collect();
        assert!(lost.is_empty(), "seed {seed}: events are lost: {lost:?}");
        assert!(found == expected, "seed {seed}: events are not what was sent");
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Runs one schedule.
pub(crate) fn run(runtime: &Runtime, system: System, seed: u64) {
    runtime.block_on(World::new(system, seed).run());
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number")))
}

#[test]
fn no_acknowledged_event_is_lost_or_doubled_in_any_schedule() {
    let count = number("RECSTORE_BRONZE_SCHEDULES").unwrap_or(2_000);
    let first = number("RECSTORE_BRONZE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 1);
    println!("RECSTORE_BRONZE_SEED={first} RECSTORE_BRONZE_SCHEDULES={count}");
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                for seed in (first + lane..first + count).step_by(2) {
                    // A runtime for each, so that a seed alone makes a failure again.
                    run(&runtime(), System::Real, seed);
                }
            });
        }
    });
}
