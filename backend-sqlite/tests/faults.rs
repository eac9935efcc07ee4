//! The disk is full or fails at every single change, one after another: each call gives a typed error, what
//! was acknowledged is there, a full disk that is freed goes on as before, and after a failed sync the store
//! takes no more writes until it is opened again.
//!
//! A fixed workload, opening and closing included, runs once for each change that it makes to the disk, which
//! then fails: the first run at the first change, and so on until a run ends before its change comes. A step
//! that failed is repeated, as a caller would. At the end the content is that of the memory oracle. The same is done
//! with every read, every opening and deletion of a file, every lock and every mapping of the log's index.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::join_all;
use recstore_core::{
    Error, ErrorKind, FeatureStore, Fingerprints, GetOptions, ItemId, Namespace, PutOptions, Rating,
    RatingStore, Result, Storage, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, validate};
use recstore_test_faults::{
    Disk, Failure, Fault, Random, Synchronous, Target, Trust, Workload, context, memory_folder,
};

const FILE: &str = "ratings.db";
const STEPS: usize = 16;

async fn open_with(folder: &Path, wal_bytes: u64) -> Result<SqliteStorage> {
    let config =
        SqliteConfig { readers: 1, wal_bytes, cache_bytes: 64 << 10, ..SqliteConfig::new(folder.join(FILE)) };
    SqliteStorage::open(config, Namespace::default(), context(), Parameters::Keep).await
}

async fn open(folder: &Path) -> Result<SqliteStorage> {
    // The smallest log, so that checkpoints fail too.
    open_with(folder, 64 << 10).await
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    target: Target,
    failure: Failure,
    lasting: bool,
}

impl Class {
    const fn of(target: Target, failure: Failure, lasting: bool) -> Class {
        Class { target, failure, lasting }
    }
}

/// One run of the workload, in which the disk fails once.
struct Run<'a> {
    class: Class,
    workload: &'a Workload,
    folder: &'a Path,
    disk: &'a Disk,
    store: Option<SqliteStorage>,
    /// Steps that were acknowledged.
    done: usize,
    /// The errors that calls gave.
    kinds: BTreeMap<&'static str, u64>,
}

impl Run<'_> {
    fn note(&mut self, error: &Error) {
        *self.kinds.entry(error.kind().as_str()).or_default() += 1;
    }

    /// Opens the store; if that fails, once more on a healthy disk. What is there must be whole.
    async fn open(&mut self) -> &SqliteStorage {
        let opened = match open(self.folder).await {
            Ok(store) => store,
            Err(error) => {
                self.note(&error);
                self.disk.heal();
                open(self.folder).await.expect("it opens on a healthy disk")
            }
        };
        let (opened, found) = self.content(opened).await;
        let next = (self.done + 1).min(STEPS);
        assert!(self.workload.states[self.done..=next].contains(&found), "not the content of {}", self.done);
        self.store.insert(opened)
    }

    /// Reads everything. If that fails, it goes well on a healthy disk; where damage was told, in a store that is
    /// opened again, since pages that were read stay in memory.
    async fn content(&mut self, mut store: SqliteStorage) -> (SqliteStorage, Fingerprints) {
        let error = match store.fingerprint(GetOptions::default()).await {
            Ok(found) => return (store, found),
            Err(error) => error,
        };
        self.note(&error);
        self.disk.heal();
        if error.kind() == ErrorKind::Corrupt {
            store = self.again(store).await;
        }
        let found = store.fingerprint(GetOptions::default()).await;
        (store, found.expect("it is read from a healthy disk"))
    }

    /// Does the next step; on an error heals the disk and does what the error asks for.
    async fn advance(&mut self) {
        let step = &self.workload.steps[self.done];
        let store = self.store.take().expect("it is open");
        if let Err(error) = step.apply(&store).await {
            self.note(&error);
            if self.class.target == Target::Changes {
                // Reads go on while writes fail.
                store.count_ratings(GetOptions::default()).await.unwrap();
            }
            self.disk.heal();
            if error.kind() == ErrorKind::OutcomeUnknown {
                let again = step.apply(&store).await.map_err(|error| error.kind());
                assert_eq!(again, Err(ErrorKind::Unavailable), "it must be opened again");
                store.count_ratings(GetOptions::default()).await.unwrap();
                self.close(store).await;
                self.open().await;
            } else {
                let store = if error.kind() == ErrorKind::Corrupt { self.again(store).await } else { store };
                let found = store.fingerprint(GetOptions::default()).await.unwrap();
                assert_eq!(found, self.workload.states[self.done], "{error} stored something");
                self.store = Some(store);
            }
            step.apply(self.store.as_ref().unwrap()).await.expect("the step goes well when it is repeated");
        } else {
            self.store = Some(store);
        }
        self.done += 1;
    }

    async fn again(&mut self, store: SqliteStorage) -> SqliteStorage {
        self.close(store).await;
        open(self.folder).await.expect("it opens on a healthy disk")
    }

    async fn close(&mut self, store: SqliteStorage) {
        if let Err(error) = store.close().await {
            self.note(&error);
        }
    }

    /// Everything, and a power cut before the end.
    async fn all(&mut self) {
        self.open().await;
        while self.done < STEPS {
            self.advance().await;
        }
        self.cut_power().await;
        let store = self.store.take().unwrap();
        self.close(store).await;
    }

    /// What was acknowledged after a failed sync must not hang on what that sync did not write.
    async fn cut_power(&self) {
        let folder = memory_folder();
        let log = self.disk.log();
        let image = log.image(log.cut(log.len()), Trust::All, &mut Random::new(log.len() as u64));
        image.write_to(folder.path()).unwrap();
        let store = open(folder.path()).await.unwrap();
        let found = store.fingerprint(GetOptions::default()).await.unwrap();
        assert_eq!(
            found,
            *self.workload.states.last().unwrap(),
            "lost by a power cut after {:?}",
            self.kinds
        );
    }
}

/// Runs the workload with a failure after `after` changes; `None` if it made fewer.
async fn run(workload: &Workload, class: Class, after: u64) -> Option<BTreeMap<&'static str, u64>> {
    let Class { target, failure, lasting } = class;
    let fault = Fault { after, failure, lasting };
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    disk.record();
    let mut run = Run {
        class,
        workload,
        folder: folder.path(),
        disk: &disk,
        store: None,
        done: 0,
        kinds: BTreeMap::new(),
    };
    disk.fail_at(target, fault);
    run.all().await;
    // A close may have met it last, and does not heal it.
    let failed = disk.heal();
    let untouched = run.kinds.is_empty() && failed == 0;
    let store = run.open().await;
    assert_eq!(store.rebuild_features().await.unwrap().changed, 0);
    assert_eq!(
        store.fingerprint(GetOptions::default()).await.unwrap(),
        *workload.states.last().unwrap(),
        "{class:?} after {after}"
    );
    let validation = validate(&folder.path().join(FILE)).unwrap();
    assert!(validation.ok, "{class:?} after {after}: {:?}", validation.problems);
    (!untouched).then_some(run.kinds)
}

/// Lets every operation fail, one run each; how often calls gave which error.
async fn every(class: Class, at_least: u64) -> BTreeMap<&'static str, u64> {
    let workload = Workload::random(&mut Random::new(7), STEPS).await.unwrap();
    let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut runs = 0;
    while let Some(found) = run(&workload, class, runs).await {
        found.into_iter().for_each(|(kind, times)| *kinds.entry(kind).or_default() += times);
        runs += 1;
    }
    println!("{class:?}: {runs} runs, {kinds:?}");
    assert!(runs >= at_least, "the workload has only {runs} such operations");
    kinds
}

fn only(kinds: &BTreeMap<&'static str, u64>, allowed: &[&str]) {
    assert!(kinds.keys().all(|kind| allowed.contains(kind)), "{kinds:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_at_every_change_and_goes_on_once_there_is_room() {
    let kinds = every(Class::of(Target::Changes, Failure::NoSpace, true), 100).await;
    assert!(kinds.keys().eq(["full"].iter()), "{kinds:?}");
}

#[tokio::test]
async fn an_io_error_at_any_change_is_typed_and_loses_nothing() {
    let kinds = every(Class::of(Target::Changes, Failure::Io, false), 100).await;
    only(&kinds, &["outcome_unknown", "unavailable"]);
    assert!(kinds["outcome_unknown"] > 20, "{kinds:?}");
}

#[tokio::test]
async fn a_broken_disk_is_typed_and_loses_nothing_until_it_is_replaced() {
    let kinds = every(Class::of(Target::Changes, Failure::Io, true), 100).await;
    only(&kinds, &["outcome_unknown", "unavailable"]);
}

#[tokio::test]
async fn an_io_error_at_any_read_is_typed_and_the_store_goes_on_after_it() {
    let kinds = every(Class::of(Target::Reads, Failure::Io, false), 60).await;
    only(&kinds, &["outcome_unknown", "unavailable"]);
}

#[tokio::test]
async fn a_read_past_a_file_that_was_cut_off_is_told_as_damage_and_nothing_is_lost_with_it() {
    let kinds = every(Class::of(Target::Reads, Failure::Short, false), 60).await;
    only(&kinds, &["corrupt", "outcome_unknown", "unavailable"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_and_can_be_later() {
    for lasting in [false, true] {
        let kinds = every(Class::of(Target::Opens, Failure::Io, lasting), 4).await;
        only(&kinds, &["outcome_unknown", "unavailable"]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_deleted_harms_nothing() {
    for lasting in [false, true] {
        let kinds = every(Class::of(Target::Deletions, Failure::Io, lasting), 1).await;
        only(&kinds, &["outcome_unknown", "unavailable"]);
    }
}

#[tokio::test]
async fn a_lock_that_fails_is_typed_and_nothing_is_half_done() {
    let kinds = every(Class::of(Target::Locks, Failure::Io, false), 50).await;
    only(&kinds, &["outcome_unknown", "unavailable"]);
    let kinds = every(Class::of(Target::Locks, Failure::Busy, false), 50).await;
    // One that is held for a moment is waited for.
    only(&kinds, &[]);
}

#[tokio::test]
async fn an_index_of_the_log_that_cannot_be_mapped_is_told() {
    for lasting in [false, true] {
        let kinds = every(Class::of(Target::SharedMemory, Failure::Io, lasting), 2).await;
        only(&kinds, &["outcome_unknown", "unavailable"]);
    }
}

/// Every connection reads its settings back: none writes with less durability than was asked for.
#[tokio::test]
async fn a_file_on_which_full_syncs_cannot_be_set_is_refused() {
    for synchronous in [Synchronous::Normal, Synchronous::Off] {
        let folder = memory_folder();
        let disk = Disk::watch(folder.path());
        let store = open(folder.path()).await.unwrap();
        store.close().await.unwrap();
        disk.weaken_openly(synchronous);
        let error = open(folder.path()).await.expect_err("it must not open");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("synchronous"), "{error}");
    }
}

#[tokio::test]
async fn every_failure_while_a_file_is_created_is_told() {
    // SQLite does not tell failures of the checkpoints that it makes by itself: the log has everything.
    const NO_CHECKPOINT: u64 = 64 << 20;
    let changes = {
        let folder = memory_folder();
        let disk = Disk::watch(folder.path());
        let _store = open_with(folder.path(), NO_CHECKPOINT).await.unwrap();
        disk.figures().changes
    };
    assert!(changes > 30, "a new file takes only {changes} changes");
    for failure in [Failure::NoSpace, Failure::Io] {
        for after in 0..changes {
            let folder = memory_folder();
            let disk = Disk::watch(folder.path());
            disk.fail(Fault { after, failure, lasting: false });
            let error = open_with(folder.path(), NO_CHECKPOINT).await.err().map(|error| error.kind());
            let told = matches!(error, Some(ErrorKind::Full | ErrorKind::Unavailable));
            // A full disk still syncs.
            assert_eq!(told, disk.heal() > 0, "{failure:?} after {after} changes: {error:?}");
        }
    }
}

/// A batch on pairs of its own.
fn batch(number: usize) -> Vec<Rating> {
    let time = Timestamp::from_seconds(1_700_000_000).unwrap();
    let user = UserId::new(format!("user-{number}")).unwrap();
    (0..3).map(|item| Rating::new(user.clone(), item.into(), 4.0, time).unwrap()).collect()
}

/// Which of the batches are stored; none is half.
async fn stored(store: &SqliteStorage, batches: usize) -> Vec<bool> {
    let mut stored = Vec::new();
    for number in 0..batches {
        let events = batch(number);
        let pairs: Vec<(UserId, ItemId)> =
            events.iter().map(|event| (event.user().clone(), event.item().clone())).collect();
        let rows = store.get_ratings(&pairs, GetOptions::default()).await.unwrap();
        let there = rows.iter().filter(|row| row.found().is_some()).count();
        assert!(there == 0 || there == 3, "{there} of 3 events of batch {number}");
        stored.push(there == 3);
    }
    stored
}

#[tokio::test]
async fn callers_of_a_joined_commit_each_get_an_answer_that_is_true() {
    const CALLERS: usize = 6;
    for (failure, lasting) in [(Failure::NoSpace, false), (Failure::NoSpace, true), (Failure::Io, false)] {
        let mut failed = 1;
        let mut after = 0;
        while failed > 0 {
            let folder = memory_folder();
            let disk = Disk::watch(folder.path());
            let store = open(folder.path()).await.unwrap();
            disk.fail(Fault { after, failure, lasting });
            let puts = (0..CALLERS).map(|number| store.put_ratings(batch(number), PutOptions::default()));
            let answers = join_all(puts).await;
            failed = disk.heal();
            after += 1;
            // What comes after a failed sync is only known once the store is opened again.
            store.close().await.unwrap();
            let stored = stored(&open(folder.path()).await.unwrap(), CALLERS).await;
            for (answer, stored) in answers.into_iter().zip(stored) {
                match answer.map_err(|error| error.kind()) {
                    Ok(_) => assert!(stored, "acknowledged and lost: {failure:?} after {after}"),
                    Err(ErrorKind::OutcomeUnknown) => assert_eq!(failure, Failure::Io),
                    Err(ErrorKind::Full | ErrorKind::Unavailable) => assert!(!stored, "stored all the same"),
                    Err(kind) => panic!("{kind} after {after} changes, {failure:?}"),
                }
            }
        }
        assert!(after > 5, "the callers make only {after} changes");
    }
}

/// Nothing is written before the file was looked at, and what cannot be read is not damaged.
#[tokio::test]
async fn a_read_that_fails_while_a_store_is_opened_is_no_damage() {
    let folder = memory_folder();
    let workload = Workload::random(&mut Random::new(7), 30).await.unwrap();
    let store = open(folder.path()).await.unwrap();
    for step in &workload.steps {
        step.apply(&store).await.unwrap();
    }
    store.close().await.unwrap();
    let disk = Disk::watch(folder.path());
    let mut told = 0;
    for after in 0.. {
        disk.fail_at(Target::Reads, Fault { after, failure: Failure::Io, lasting: false });
        let opened = open(folder.path()).await;
        if disk.heal() == 0 {
            break;
        }
        match opened {
            Ok(store) => store.close().await.unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "read {after}: {error:?}");
                told += 1;
            }
        }
        open(folder.path()).await.unwrap().close().await.unwrap();
    }
    assert!(told > 20, "{told}");
}
