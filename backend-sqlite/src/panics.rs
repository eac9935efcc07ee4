//! Panics on the worker threads: whoever waits gets an answer, what was answered is true, and nothing is
//! half done.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests, in which a failure is a panic")]

use std::sync::mpsc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use recstore_core::{
    Deadline, ErrorKind, FeatureStore, GetOptions, Namespace, PutOptions, Rating, RatingStore,
    RatingStoreExt, Result, Storage, StoreContext, Timestamp, UserId,
};
use recstore_test_faults::memory_folder;

use crate::error::SqlResult;
use crate::writer::Session;
use crate::{Parameters, SqliteConfig, SqliteStorage};

/// Nobody waits longer than this for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn open(folder: &tempfile::TempDir) -> SqliteStorage {
    let config = SqliteConfig { readers: 1, ..SqliteConfig::new(folder.path().join("panics.db")) };
    let opened =
        SqliteStorage::open(config, Namespace::default(), StoreContext::default(), Parameters::Keep).await;
    opened.expect("the store opens")
}

fn rating(user: u64) -> Rating {
    let time = Timestamp::from_seconds(1_700_000_000).expect("a time");
    Rating::new(user.into(), 1.into(), 3.0, time).expect("a rating")
}

/// Writes a row that no store call makes, without looking at what is there.
fn mark(session: &Session, number: i64) -> Result<i64> {
    session.connection.execute("INSERT INTO marks VALUES (?1)", [number]).sql()?;
    Ok(number)
}

async fn marks(store: &SqliteStorage) -> Vec<i64> {
    let read = store.read(None, |connection, _| {
        let mut select = connection.prepare("SELECT number FROM marks ORDER BY rowid").sql()?;
        select.query_map([], |row| row.get(0)).sql()?.collect::<rusqlite::Result<_>>().sql()
    });
    read.await.expect("the marks")
}

/// A store with a table for marks.
pub(crate) async fn marked(folder: &tempfile::TempDir) -> SqliteStorage {
    let store = open(folder).await;
    let create = |session: &mut Session| {
        session.connection.execute_batch("CREATE TABLE marks (number INTEGER NOT NULL)").sql()
    };
    store.write(1, None, create).await.expect("a table");
    store
}

/// The marks of a closed file, which are taken away: a store refuses tables that are not its own.
fn take_marks(folder: &tempfile::TempDir) -> Vec<i64> {
    let connection = rusqlite::Connection::open(folder.path().join("panics.db")).expect("a connection");
    let mut select = connection.prepare("SELECT number FROM marks ORDER BY rowid").expect("marks");
    let marks = select.query_map([], |row| row.get(0)).expect("marks").collect::<rusqlite::Result<_>>();
    drop(select);
    connection.execute_batch("DROP TABLE marks").expect("marks go");
    marks.expect("marks")
}

type Pending<'a> = BoxFuture<'a, Result<i64>>;

/// Sends calls while the writer is held up, so that they are one group, and waits for all answers.
async fn as_one_group(store: &SqliteStorage, calls: Vec<Pending<'_>>) -> Vec<Result<i64>> {
    let (open, gate) = mpsc::channel::<()>();
    let hold = store.write(1, None, move |_| {
        // Answers too if the other end has gone.
        let _ = gate.recv();
        Ok(0)
    });
    let release = async move {
        drop(open);
        Ok(0)
    };
    // In this order: the writer takes the first alone, and is let go when the others are in the queue.
    let mut all: Vec<Pending<'_>> = vec![Box::pin(hold)];
    all.extend(calls);
    all.push(Box::pin(release));
    let mut answers = tokio::time::timeout(PATIENCE, join_all(all)).await.expect("every caller is answered");
    answers.pop();
    answers.remove(0).expect("the call that held the writer up");
    answers
}

fn well(store: &SqliteStorage, number: i64) -> Pending<'_> {
    Box::pin(store.write(1, None, move |session| mark(session, number)))
}

#[tokio::test]
async fn a_write_that_panics_in_a_group_takes_no_neighbour_with_it() {
    let folder = memory_folder();
    assert_no_neighbour_goes_with_a_panic(&marked(&folder).await).await;
}

/// Of a store without ratings.
pub(crate) async fn assert_no_neighbour_goes_with_a_panic(store: &SqliteStorage) {
    let bad = store.write(1, None, |session| {
        mark(session, 99)?;
        session.entities.namespace(&session.connection, &Namespace::new("rolled-back")?)?;
        panic!("seeded")
    });
    let calls = vec![well(store, 1), well(store, 2), Box::pin(bad), well(store, 3), well(store, 4)];
    let answers = as_one_group(store, calls).await;
    assert_eq!(answers[2].as_ref().err().map(|error| error.kind()), Some(ErrorKind::Internal));
    let well: Vec<i64> = answers.into_iter().flatten().collect();
    assert_eq!(well, [1, 2, 3, 4]);
    assert_eq!(marks(store).await, [1, 2, 3, 4]);
    // What the panic left in memory of a namespace that is not in the file is forgotten.
    let namespace = store.with_namespace(Namespace::new("rolled-back").expect("a namespace"));
    namespace.put_ratings(vec![rating(1)], PutOptions::default()).await.expect("the store goes on");
    assert_eq!(namespace.count_ratings(GetOptions::default()).await.expect("counts").ratings, 1);
    assert_eq!(namespace.rebuild_features().await.expect("a rebuild").changed, 0);
}

#[tokio::test]
async fn ratings_beside_a_write_that_panics_are_counted_once() {
    let folder = memory_folder();
    assert_ratings_beside_a_panic_count_once(&open(&folder).await).await;
}

/// Of a store without ratings.
pub(crate) async fn assert_ratings_beside_a_panic_count_once(store: &SqliteStorage) {
    let put =
        |user| -> Pending<'_> { Box::pin(async move { store.put_rating(rating(user)).await.map(|_| 0) }) };
    let bad = store.write(1, None, |_| panic!("seeded"));
    // The item and its namespace are known before.
    store.put_rating(rating(1)).await.expect("a rating");
    let answers = as_one_group(store, vec![put(2), put(3), Box::pin(bad), put(4)]).await;
    let well: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(well, [true, true, false, true]);
    assert_eq!(store.count_ratings(GetOptions::default()).await.expect("counts").ratings, 4);
    assert_eq!(store.rebuild_features().await.expect("a rebuild").changed, 0);
}

#[tokio::test]
async fn a_write_that_panics_when_it_is_repeated_leaves_nothing_of_its_first_run() {
    let folder = memory_folder();
    let store = marked(&folder).await;
    let bad = store.write(1, None, |_| panic!("seeded"));
    let mut runs = 0;
    let worse = store.write(1, None, move |session| {
        runs += 1;
        let number = mark(session, 50)?;
        assert!(runs < 2, "seeded");
        Ok(number)
    });
    let calls = vec![well(&store, 1), Box::pin(worse), Box::pin(bad), well(&store, 2)];
    let answers = as_one_group(&store, calls).await;
    let kinds: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Internal), Some(ErrorKind::Internal), None]);
    assert_eq!(marks(&store).await, [1, 2]);
}

/// Panics when the writer lets go of the call, after it was answered: outside of what is caught.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("seeded");
    }
}

/// Writes are refused as soon as the thread is gone; while it is going, their outcome is not known.
async fn assert_refused(store: &SqliteStorage) {
    let refused = async {
        loop {
            let error = store.put_rating(rating(2)).await.expect_err("no writer");
            if error.kind() == ErrorKind::Unavailable {
                assert!(error.message().contains("open the store again"), "{error}");
                return;
            }
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("an answer");
}

#[tokio::test]
async fn a_writer_thread_that_dies_leaves_nobody_waiting_and_loses_nothing() {
    let folder = memory_folder();
    let store = marked(&folder).await;
    store.put_rating(rating(1)).await.expect("a rating");
    let fatal = PanicsWhenDropped;
    let deadly = store.write(1, None, move |session| {
        let _in_the_closure = &fatal;
        mark(session, 2)
    });
    let far = Deadline::after(Duration::from_secs(600));
    let with_deadline = store.write(1, Some(far), |session| mark(session, 4));
    let calls = vec![well(&store, 1), Box::pin(deadly), well(&store, 3), Box::pin(with_deadline)];
    let answers = as_one_group(&store, calls).await;
    assert_eq!(answers[0].as_ref().ok(), Some(&1), "told before the thread died");
    for answer in &answers[2..] {
        let kind = answer.as_ref().err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::OutcomeUnknown), "the group was committed, the caller was not told");
    }
    // Later writes are refused at once, reads go on, closing tells.
    assert_refused(&store).await;
    let user = UserId::from(1);
    let rows = store.user_history(&user, Default::default()).await.expect("reads go on").rows;
    assert_eq!(rows.len(), 1);
    let health = store.health().await.expect("it is open");
    let well: Vec<_> = health.checks.iter().map(|check| (check.name.as_str(), check.ok)).collect();
    assert_eq!(well, [("read", true), ("write", false)], "{health:?}");
    assert_eq!(store.close().await.expect_err("told").kind(), ErrorKind::Internal);
    let kind = store.put_rating(rating(2)).await.expect_err("no store").kind();
    assert_eq!(kind, ErrorKind::Closed, "now somebody closed it");
    drop(store);
    assert_eq!(take_marks(&folder), [1, 2, 3, 4], "the group was committed whole");
    let store = open(&folder).await;
    store.put_rating(rating(2)).await.expect("a reopened store goes on");
    assert_eq!(store.rebuild_features().await.expect("a rebuild").changed, 0);
}

#[tokio::test]
async fn calls_still_in_the_queue_of_a_writer_that_dies_are_answered() {
    let folder = memory_folder();
    let store = marked(&folder).await;
    let fatal = PanicsWhenDropped;
    // Heavier than a group may be: what follows waits in the queue.
    let weight = SqliteConfig::new("").max_group_events;
    let deadly = store.write(weight, None, move |session| {
        let _in_the_closure = &fatal;
        mark(session, 1)
    });
    let answers = as_one_group(&store, vec![Box::pin(deadly), well(&store, 2), well(&store, 3)]).await;
    for answer in &answers[1..] {
        let kind = answer.as_ref().err().map(|error| error.kind());
        assert!(matches!(kind, Some(ErrorKind::OutcomeUnknown | ErrorKind::Unavailable)), "{answer:?}");
    }
    assert_eq!(marks(&store).await, [1]);
}

#[tokio::test]
async fn a_read_that_panics_fails_alone_and_the_thread_goes_on() {
    let folder = memory_folder();
    let store = marked(&folder).await;
    store.write(1, None, |session| mark(session, 7)).await.expect("a mark");
    for _ in 0..3 {
        let bad = store.read(None, |connection, _| -> Result<()> {
            let mut select = connection.prepare("SELECT number FROM marks").sql()?;
            let mut rows = select.query([]).sql()?;
            rows.next().sql()?;
            panic!("seeded, in the middle of a statement")
        });
        let both = async { tokio::join!(marks(&store), bad, marks(&store)) };
        let (before, bad, after) = tokio::time::timeout(PATIENCE, both).await.expect("answers");
        assert_eq!((before, after), (vec![7], vec![7]));
        assert_eq!(bad.expect_err("a panic").kind(), ErrorKind::Internal);
        store.write(1, None, |session| mark(session, 7)).await.expect("a mark");
        store
            .write(1, None, |session| session.connection.execute_batch("DELETE FROM marks").sql())
            .await
            .expect("none");
        store.write(1, None, |session| mark(session, 7)).await.expect("a mark");
    }
    store.close().await.expect("closed");
}
