//! Damage to a database and to its log: every byte flipped, cut off at every length, pages swapped and blank, the
//! log of another. Each gives a typed error or the right answers; what is refused stays as it was.
//!
//! The store is small and has pages of 512 bytes, so that nearly every byte means something. What a file of this
//! size gets, and larger ones do not by default, is a check of the whole at opening; what is left without it, the
//! checksums of rows, is tested apart: every row that is answered is the right one, and what damage to the pages
//! and indexes above the rows makes of it is an error or a row that is missing, which is counted.
//!
//! What cannot be told: damage to the last transaction in a log, which looks as if the power had gone while it was
//! written (to the last two, where a whole block is lost that hides where the last begins), a log that was cut off,
//! and what is an earlier version of itself, the store as a whole or one page.
//!
//! `RECSTORE_FLIP_MASKS` sets with how many masks each byte is flipped (1 to 255; 1 flips one bit, another one at each
//! byte), `RECSTORE_FLIP_STEP` of how many bytes one is flipped without the check at opening.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use recstore_core::{
    ColumnType, Entity, EntityKey, EntityKind, ErrorKind, FeatureName, FeatureRequest, FeatureRow,
    FeatureStore, FeatureValue, Fingerprints, GetOptions, GroupSchema, HistoryOptions, ItemId, Lookup,
    Namespace, Neighbour, NeighbourList, NeighbourRequest, PutOptions, Rating, RatingRow, RatingStore,
    Result, RowStatus, ScanOptions, SimilarityStore, Storage, Timestamp, UserId,
};
use recstore_sqlite::{Parameters, SqliteConfig, SqliteStorage, validate};
use recstore_test_faults::{Step, context, from_env, memory_folder};
use rusqlite::Connection;
use tempfile::TempDir;

const FILE: &str = "ratings.db";
const WAL: &str = "ratings.db-wal";
const PAGE: usize = 512;
const USERS: u64 = 5;
const ITEMS: u64 = 6;

/// Whether the whole file is checked when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Verified,
    Unverified,
}

fn config(path: &Path, opening: Opening) -> SqliteConfig {
    let config =
        SqliteConfig { readers: 1, busy_timeout: Duration::from_millis(200), ..SqliteConfig::new(path) };
    match opening {
        Opening::Verified => config,
        Opening::Unverified => SqliteConfig { verify_bytes: 0, ..config },
    }
}

async fn open(path: &Path, opening: Opening) -> Result<SqliteStorage> {
    SqliteStorage::open(config(path, opening), Namespace::default(), context(), Parameters::Keep).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn user(number: u64) -> UserId {
    UserId::new(format!("u{number}")).unwrap()
}

fn item(number: u64) -> ItemId {
    ItemId::new(format!("i{number}")).unwrap()
}

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds).unwrap()
}

fn event(number: u64) -> Rating {
    let (user, item, time) = (user(number % USERS), item(number % ITEMS), time(number as i64 * 1000));
    if number % 7 == 3 {
        return Rating::withdrawal(user, item, time);
    }
    Rating::new(user, item, (1 + number % 10) as f64 / 2.0, time).unwrap()
}

fn lists(shift: u64) -> Vec<NeighbourList> {
    let neighbours = |of: u64| {
        let neighbour = |step: u64| Neighbour {
            id: item((of + step) % ITEMS).into(),
            similarity: 1.0 / (step + shift) as f64,
            common: 2,
        };
        (1..4).map(neighbour).collect()
    };
    (0..4).map(|of| NeighbourList { id: item(of).into(), neighbours: neighbours(of) }).collect()
}

/// Steps that fill every table but that of counts of values, which takes 65 ratings of one user.
fn steps() -> Vec<Step> {
    let profile = GroupSchema::new(name("profile"), EntityKind::User)
        .with_column(name("plan"), ColumnType::Text)
        .with_column(name("taste"), ColumnType::Vector(3));
    let row = |of: u64| {
        FeatureRow::new(user(of).into(), time(0))
            .with(name("plan"), FeatureValue::Text(format!("plan of {of}")))
            .with(name("taste"), FeatureValue::Vector(vec![of as f32, 1.0, 2.5]))
    };
    vec![
        Step::Group(profile),
        Step::Ratings((0..14).map(event).collect()),
        Step::Features((0..3).map(row).collect()),
        Step::Release(lists(1)),
        Step::Release(lists(2)),
        Step::Hidden(item(1), true),
        Step::Erase(Entity { kind: EntityKind::User, key: user(4).into() }),
        Step::Ratings((15..19).map(event).collect()),
    ]
}

/// The steps that go into the log.
fn steps_of_log() -> Vec<Step> {
    vec![
        Step::Ratings((20..22).map(event).collect()),
        Step::Hidden(item(2), true),
        Step::Ratings(vec![event(25)]),
        Step::Ratings((26..28).map(event).collect()),
    ]
}

/// The same content in small pages.
fn make_pages_small(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA journal_mode = delete", [], |_| Ok(())).unwrap();
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE}; VACUUM")).unwrap();
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
}

/// A closed store with [`steps`] in it, as bytes.
async fn fixture() -> Vec<u8> {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    let store = open(&path, Opening::Verified).await.unwrap();
    for step in steps() {
        step.apply(&store).await.unwrap();
    }
    store.close().await.unwrap();
    make_pages_small(&path);
    fs::read(path).unwrap()
}

/// A store as a killed process leaves it: the file, and a log that is not brought into it yet.
struct Live {
    main: Vec<u8>,
    wal: Vec<u8>,
    /// The content after so many steps of the log, and how long the log is then.
    states: Vec<(Fingerprints, usize)>,
}

async fn live() -> Live {
    let folder = memory_folder();
    let path = folder.path().join(FILE);
    fs::write(&path, fixture().await).unwrap();
    let store = open(&path, Opening::Verified).await.unwrap();
    let mut states = vec![(fingerprint(&store).await, 0)];
    for step in steps_of_log() {
        step.apply(&store).await.unwrap();
        let length = fs::metadata(folder.path().join(WAL)).unwrap().len() as usize;
        states.push((fingerprint(&store).await, length));
    }
    Live { main: fs::read(&path).unwrap(), wal: fs::read(folder.path().join(WAL)).unwrap(), states }
}

async fn fingerprint(store: &SqliteStorage) -> Fingerprints {
    store.fingerprint(GetOptions::default()).await.unwrap()
}

/// A folder in which one damaged store after the other is put.
struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = memory_folder();
        let path = folder.path().join(FILE);
        Place { folder, path }
    }

    fn put(&self, main: &[u8], wal: Option<&[u8]>) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::write(&self.path, main).unwrap();
        if let Some(wal) = wal {
            fs::write(self.folder.path().join(WAL), wal).unwrap();
        }
    }

    fn assert_unchanged(&self, main: &[u8], wal: Option<&[u8]>) {
        assert!(fs::read(&self.path).unwrap() == main, "a file that was refused was changed");
        if let Some(wal) = wal {
            let found = fs::read(self.folder.path().join(WAL)).unwrap();
            assert!(found == wal, "the log of a file that was refused was changed");
        }
    }
}

/// What a store says to a question.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Value(String),
    Missing,
    Failed(ErrorKind),
}

type Answers = BTreeMap<String, Answer>;

/// Keeps an answer, or each of several.
fn keep<T: std::fmt::Debug>(answers: &mut Answers, question: String, answer: Result<Vec<(String, T)>>) {
    match answer {
        Ok(rows) => {
            for (row, value) in rows {
                answers.insert(format!("{question}: {row}"), Answer::Value(format!("{value:?}")));
            }
        }
        Err(error) => {
            answers.insert(question, Answer::Failed(error.kind()));
        }
    }
}

fn of_lookup<T: std::fmt::Debug>(lookup: Lookup<T>) -> Answer {
    match lookup {
        Lookup::Found(found) => Answer::Value(format!("{found:?}")),
        Lookup::Missing => Answer::Missing,
        Lookup::Failed(error) => Answer::Failed(error.kind()),
    }
}

/// Every question that is answered row by row, one answer for each row. Scans, fingerprints and counts are about all
/// rows at once: see [`totals`].
async fn ask(store: &SqliteStorage) -> Answers {
    let mut answers = Answers::new();
    let of_pair = |row: RatingRow| (format!("{} {}", row.rating.user(), row.rating.item()), row);
    let pairs: Vec<_> =
        (0..USERS).flat_map(|of| (0..ITEMS).map(move |item_of| (user(of), item(item_of)))).collect();
    match store.get_ratings(&pairs, GetOptions::default()).await {
        Err(error) => drop(answers.insert("ratings".to_owned(), Answer::Failed(error.kind()))),
        Ok(found) => {
            for ((user, item), lookup) in pairs.iter().zip(found) {
                answers.insert(format!("rating {user} {item}"), of_lookup(lookup));
            }
        }
    }
    let all = || HistoryOptions::default().with_withdrawn(true);
    for of in 0..USERS {
        let page = store.user_history(&user(of), all()).await;
        let rows = page.map(|page| page.rows.into_iter().map(of_pair).collect());
        keep(&mut answers, format!("history of u{of}"), rows);
    }
    for of in 0..ITEMS {
        let page = store.item_history(&item(of), all()).await;
        let rows = page.map(|page| page.rows.into_iter().map(of_pair).collect());
        keep(&mut answers, format!("history of i{of}"), rows);
        ask_neighbours(store, of, &mut answers).await;
    }
    for of in 0..USERS.max(ITEMS) {
        for (group, key) in [
            (FeatureName::USER_RATINGS, EntityKey::from(user(of))),
            (FeatureName::ITEM_RATINGS, item(of).into()),
            (name("profile"), user(of).into()),
        ] {
            ask_features(store, group, key, &mut answers).await;
        }
    }
    let groups = store.groups().await;
    let groups =
        groups.map(|groups| groups.into_iter().map(|group| (group.name.to_string(), group)).collect());
    keep(&mut answers, "group".to_owned(), groups);
    let hidden = store
        .hidden_items()
        .await
        .map(|items| items.into_iter().map(|item| (item.to_string(), ())).collect());
    keep(&mut answers, "hidden".to_owned(), hidden);
    let popular = store.get_popular(EntityKind::Item, 10, GetOptions::default()).await;
    let popular =
        popular.map(|list| list.into_iter().map(|entry| (entry.id.to_string(), entry.ratings)).collect());
    keep(&mut answers, "popular".to_owned(), popular);
    let releases = store.releases(EntityKind::Item).await;
    let releases =
        releases.map(|list| list.into_iter().map(|release| (release.id.to_string(), release)).collect());
    keep(&mut answers, "release".to_owned(), releases);
    answers
}

async fn ask_neighbours(store: &SqliteStorage, of: u64, answers: &mut Answers) {
    let question = format!("neighbours of i{of}");
    let answer = match store.get_neighbours(NeighbourRequest::of_items([item(of)])).await {
        Err(error) => Answer::Failed(error.kind()),
        Ok(mut answer) => of_lookup(answer.lists.remove(0)),
    };
    answers.insert(question, answer);
}

async fn ask_features(store: &SqliteStorage, group: FeatureName, key: EntityKey, answers: &mut Answers) {
    let question = format!("{group} of {key}");
    let answer = match store.get_features(FeatureRequest::new(group, vec![key])).await {
        Err(error) => Answer::Failed(error.kind()),
        Ok(batch) => match &batch.status[0] {
            RowStatus::Missing => Answer::Missing,
            RowStatus::Failed { kind, .. } => Answer::Failed(*kind),
            found => Answer::Value(format!("{found:?} {:?}", batch.columns)),
        },
    };
    answers.insert(question, answer);
}

/// What is about all rows at once.
async fn totals(store: &SqliteStorage) -> Result<(Fingerprints, Vec<RatingRow>, String)> {
    let options = ScanOptions::default().with_withdrawn(true);
    let rows: Vec<Vec<RatingRow>> = store.scan_ratings(options).try_collect().await?;
    let mut stats = store.stats(GetOptions::default()).await?;
    stats.backend.clear();
    Ok((store.fingerprint(GetOptions::default()).await?, rows.concat(), format!("{stats:?}")))
}

/// Everything, of a store that is whole.
struct Right {
    answers: Answers,
    totals: (Fingerprints, Vec<RatingRow>, String),
}

impl Right {
    async fn of(main: &[u8]) -> Right {
        let place = Place::new();
        place.put(main, None);
        let store = open(&place.path, Opening::Verified).await.unwrap();
        let right = Right { answers: ask(&store).await, totals: totals(&store).await.unwrap() };
        let failed = right.answers.values().find(|answer| matches!(answer, Answer::Failed(_)));
        assert_eq!(failed, None);
        assert!(right.answers.values().filter(|answer| matches!(answer, Answer::Value(_))).count() > 60);
        right
    }
}

/// What came of damaged stores.
#[derive(Debug, Default)]
struct Tally {
    looks: usize,
    /// All answers were right.
    right: usize,
    /// Refused at opening, by kind.
    refused: BTreeMap<&'static str, usize>,
    /// Some answers were errors, the others right.
    failed: usize,
    /// Some rows were missing, the others right.
    missing: usize,
    /// Wrong answers.
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.looks += other.looks;
        self.right += other.right;
        self.failed += other.failed;
        self.missing += other.missing;
        self.wrong.extend(other.wrong);
        for (kind, count) in other.refused {
            *self.refused.entry(kind).or_default() += count;
        }
    }

    /// What must hold of every damage.
    fn assert_nothing_wrong(&self) {
        assert!(
            self.wrong.is_empty(),
            "{} wrong answers: {:#?}",
            self.wrong.len(),
            &self.wrong[..self.wrong.len().min(9)]
        );
        // Flips in the header make a file of another version, or of a version of SQLite that may only be read.
        let kinds = ["corrupt", "schema_version", "read_only"];
        assert!(self.refused.keys().all(|kind| kinds.contains(kind)), "{:?}", self.refused);
    }

    async fn look(&mut self, place: &Place, what: &str, opening: Opening, right: &Right) {
        self.looks += 1;
        let before = fs::read(&place.path).unwrap();
        let look = async {
            match open(&place.path, opening).await {
                Err(error) => {
                    *self.refused.entry(error.kind().as_str()).or_default() += 1;
                    if opening == Opening::Verified {
                        place.assert_unchanged(&before, None);
                    }
                }
                Ok(store) => self.compare(&store, what, opening, right).await,
            }
        };
        tokio::time::timeout(Duration::from_secs(20), look).await.expect("no call hangs");
    }

    async fn compare(&mut self, store: &SqliteStorage, what: &str, opening: Opening, right: &Right) {
        // What was verified answers as a whole each time, and row by row every fourth time.
        let answers = if opening == Opening::Unverified || self.looks.is_multiple_of(4) {
            ask(store).await
        } else {
            right.answers.clone()
        };
        let (mut failed, mut missing) = (false, false);
        for (question, answer) in &answers {
            match (answer, right.answers.get(question)) {
                (Answer::Failed(kind), _) => {
                    failed = true;
                    if !matches!(kind, ErrorKind::Corrupt | ErrorKind::NotFound) {
                        self.wrong.push(format!("{what}: {question}: an error of kind {kind:?}"));
                    }
                }
                (answer, Some(right)) if answer == right => {}
                (Answer::Missing, _) => missing = true,
                (found, right) => self.wrong.push(format!("{what}: {question}: {found:?}, not {right:?}")),
            }
        }
        missing |=
            right.answers.iter().any(|(question, answer)| {
                matches!(answer, Answer::Value(_)) && !answers.contains_key(question)
            }) && !failed;
        if opening == Opening::Verified {
            match totals(store).await {
                Ok(found) if found == right.totals => {}
                Ok(_) => self.wrong.push(format!("{what}: another content as a whole")),
                Err(_) => failed = true,
            }
            if missing {
                let rows = right.answers.keys().filter(|question| !answers.contains_key(*question));
                self.wrong.push(format!("{what}: missing are {:?}", rows.collect::<Vec<_>>()));
            }
        }
        match (missing, failed) {
            (true, _) => self.missing += 1,
            (false, true) => self.failed += 1,
            (false, false) => self.right += 1,
        }
    }
}

/// Does the work of each number below `count`, on two threads.
fn on_two_threads(
    count: usize,
    work: impl Fn(&tokio::runtime::Runtime, &Place, &mut Tally, usize) + Sync,
) -> Tally {
    let half = |begin: usize| {
        let (runtime, place, mut tally) = (runtime(), Place::new(), Tally::default());
        (begin..count).step_by(2).for_each(|number| work(&runtime, &place, &mut tally, number));
        tally
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| half(0));
        let mut tally = half(1);
        tally.add(one.join().unwrap());
        tally
    })
}

/// The masks with which a byte is flipped.
fn masks(at: usize, count: u64) -> impl Iterator<Item = u8> {
    // The first eight are single bits, each byte begins with another one.
    (0..count.min(255)).map(move |number| match number {
        0..8 => 1 << ((at as u64 * 7 + number) % 8),
        8 => 0xff,
        _ => (number as u8).wrapping_mul(167) | 3,
    })
}

fn flip_every_byte(bytes: &[u8], step: usize, opening: Opening, right: &Right) -> Tally {
    let count = from_env("RECSTORE_FLIP_MASKS", 1);
    on_two_threads(bytes.len().div_ceil(step), |runtime, place, tally, number| {
        // Another byte of each step.
        let at = number * step + number * 31 % step;
        if at >= bytes.len() {
            return;
        }
        for mask in masks(at, count) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= mask;
            place.put(&flipped, None);
            runtime.block_on(tally.look(place, &format!("byte {at} by {mask:#x}"), opening, right));
        }
    })
}

#[test]
fn every_flipped_byte_of_a_file_gives_an_error_or_the_right_answers() {
    let begin = Instant::now();
    let bytes = runtime().block_on(fixture());
    let right = runtime().block_on(Right::of(&bytes));
    let tally = flip_every_byte(&bytes, 1, Opening::Verified, &right);
    println!("{} bytes, {:.1} s: {tally:?}", bytes.len(), begin.elapsed().as_secs_f64());
    tally.assert_nothing_wrong();
    assert!(tally.refused["corrupt"] > tally.looks / 3);
}

#[test]
fn without_the_check_at_opening_every_row_that_is_answered_is_right() {
    let begin = Instant::now();
    let bytes = runtime().block_on(fixture());
    let right = runtime().block_on(Right::of(&bytes));
    let step = from_env("RECSTORE_FLIP_STEP", 5) as usize;
    let tally = flip_every_byte(&bytes, step, Opening::Unverified, &right);
    println!("{} bytes, {:.1} s: {tally:?}", bytes.len(), begin.elapsed().as_secs_f64());
    tally.assert_nothing_wrong();
    assert!(tally.failed > 0, "{tally:?}");
}

#[test]
fn a_file_that_is_cut_off_at_any_length_is_refused() {
    let bytes = runtime().block_on(fixture());
    let tally = on_two_threads(bytes.len() - 1, |runtime, place, tally, number| {
        let cut = &bytes[..number + 1];
        place.put(cut, None);
        let kind = runtime.block_on(open(&place.path, Opening::Verified)).unwrap_err().kind();
        *tally.refused.entry(kind.as_str()).or_default() += 1;
        place.assert_unchanged(cut, None);
    });
    println!("{} lengths: {tally:?}", bytes.len() - 1);
    assert_eq!(tally.refused, BTreeMap::from([("corrupt", bytes.len() - 1)]));
}

#[test]
fn swapped_blank_and_repeated_pages_give_an_error_or_the_right_answers() {
    let bytes = runtime().block_on(fixture());
    let right = runtime().block_on(Right::of(&bytes));
    let pages = bytes.len() / PAGE;
    let page = |number: usize| number * PAGE..(number + 1) * PAGE;
    let tally = on_two_threads(pages * pages, |runtime, place, tally, number| {
        let (one, other) = (number / pages, number % pages);
        let mut damaged = bytes.clone();
        match one.cmp(&other) {
            std::cmp::Ordering::Equal => damaged[page(one)].fill(0),
            // Every eighth pair, that is pages at every distance.
            _ if (one + other * 3) % 8 != 0 => return,
            std::cmp::Ordering::Less => {
                damaged[page(one)].copy_from_slice(&bytes[page(other)]);
                damaged[page(other)].copy_from_slice(&bytes[page(one)]);
            }
            std::cmp::Ordering::Greater => damaged[page(one)].copy_from_slice(&bytes[page(other)]),
        }
        place.put(&damaged, None);
        runtime.block_on(tally.look(place, &format!("pages {one} and {other}"), Opening::Verified, &right));
    });
    println!("{pages} pages: {tally:?}");
    tally.assert_nothing_wrong();
}

#[test]
fn every_flipped_byte_of_a_log_gives_an_error_or_loses_the_last_transaction_at_most() {
    let begin = Instant::now();
    let Live { main, wal, states } = runtime().block_on(live());
    let count = from_env("RECSTORE_FLIP_MASKS", 1);
    let [.., (before, begin_of_last), (last, _)] = &states[..] else { panic!("no steps") };
    let tally = on_two_threads(wal.len(), |runtime, place, tally, at| {
        for mask in masks(at, count) {
            let mut flipped = wal.clone();
            flipped[at] ^= mask;
            place.put(&main, Some(&flipped));
            tally.looks += 1;
            match runtime.block_on(open(&place.path, Opening::Verified)) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error:?}");
                    *tally.refused.entry(error.kind().as_str()).or_default() += 1;
                    place.assert_unchanged(&main, Some(&flipped));
                }
                Ok(store) => match runtime.block_on(fingerprint(&store)) {
                    found if found == *last => tally.right += 1,
                    found if found == *before && at >= *begin_of_last => tally.missing += 1,
                    _ => tally.wrong.push(format!("byte {at} of {} by {mask:#x}", wal.len())),
                },
            }
        }
    });
    println!(
        "a log of {} bytes, the last transaction from {begin_of_last}, {:.1} s: {tally:?}",
        wal.len(),
        begin.elapsed().as_secs_f64()
    );
    tally.assert_nothing_wrong();
    assert!(tally.refused["corrupt"] >= begin_of_last - 32);
}

/// Blocks that a disk loses whole, of the size of its sectors and of the system's pages.
#[test]
fn every_lost_block_of_a_log_gives_an_error_or_loses_the_last_two_transactions_at_most() {
    let Live { main, wal, states } = runtime().block_on(live());
    let blocks = [32, 64, 512, 4096].into_iter();
    let damages: Vec<(usize, usize, u8)> = blocks
        .flat_map(|length| (0..wal.len()).step_by(length.max(128)).map(move |at| (at, length)))
        .flat_map(|(at, length)| [0, 0xff, 0xa5].map(|byte| (at, length, byte)))
        .collect();
    let tally = on_two_threads(damages.len(), |runtime, place, tally, number| {
        let (at, length, byte) = damages[number];
        let mut damaged = wal.clone();
        let end = (at + length).min(wal.len());
        damaged[at..end].fill(byte);
        place.put(&main, Some(&damaged));
        tally.looks += 1;
        match runtime.block_on(open(&place.path, Opening::Verified)) {
            Err(error) => *tally.refused.entry(error.kind().as_str()).or_default() += 1,
            Ok(store) => {
                let found = runtime.block_on(fingerprint(&store));
                match states.iter().rev().position(|(state, _)| *state == found) {
                    Some(0) => tally.right += 1,
                    Some(1 | 2) => tally.missing += 1,
                    lost => tally.wrong.push(format!("{length} bytes of {byte:#x} at {at}: {lost:?} lost")),
                }
            }
        }
    });
    println!("a log of {} bytes: {tally:?}", wal.len());
    tally.assert_nothing_wrong();
    assert!(tally.refused["corrupt"] > tally.looks / 2);
}

#[test]
fn a_log_that_is_cut_off_ends_with_its_last_whole_transaction() {
    let Live { main, wal, states } = runtime().block_on(live());
    on_two_threads(wal.len() + 1, |runtime, place, _, length| {
        place.put(&main, Some(&wal[..length]));
        let store = runtime.block_on(open(&place.path, Opening::Verified)).unwrap();
        let found = runtime.block_on(fingerprint(&store));
        let (expected, _) = states.iter().rfind(|(_, end)| *end <= length).unwrap();
        assert_eq!(found, *expected, "{length} of {} bytes", wal.len());
    });
}

#[test]
fn a_file_that_is_cut_off_beside_its_log_is_refused_or_right() {
    let Live { main, wal, states } = runtime().block_on(live());
    let (last, _) = states.last().unwrap();
    let tally = on_two_threads(main.len() / 32, |runtime, place, tally, number| {
        let cut = &main[..number * 32];
        place.put(cut, Some(&wal));
        match runtime.block_on(open(&place.path, Opening::Verified)) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{} bytes: {error:?}", cut.len());
                *tally.refused.entry(error.kind().as_str()).or_default() += 1;
                place.assert_unchanged(cut, Some(&wal));
            }
            Ok(store) => {
                assert_eq!(runtime.block_on(fingerprint(&store)), *last, "{} bytes", cut.len());
                tally.right += 1;
            }
        }
    });
    println!("{} lengths: {tally:?}", main.len() / 32);
}

#[test]
fn a_flip_while_the_store_is_open_is_told_by_the_read_that_meets_it() {
    let bytes = runtime().block_on(fixture());
    let right = runtime().block_on(Right::of(&bytes));
    // The page with most ratings, by their event ids.
    let ids: Vec<[u8; 16]> = (0..19).map(|number| event(number).event_id().as_u128().to_be_bytes()).collect();
    let ratings = |page: &[u8]| page.windows(16).filter(|window| ids.iter().any(|id| id == window)).count();
    let page = (0..bytes.len() / PAGE).max_by_key(|page| ratings(&bytes[page * PAGE..(page + 1) * PAGE]));
    let page = page.unwrap() * PAGE;
    let tally = on_two_threads(PAGE, |runtime, place, tally, offset| {
        place.put(&bytes, None);
        let store = runtime.block_on(open(&place.path, Opening::Verified)).unwrap();
        let mut flipped = bytes.clone();
        flipped[page + offset] ^= 1 << (offset % 8);
        // In place: the store has the file open.
        fs::write(&place.path, &flipped).unwrap();
        tally.looks += 1;
        let what = format!("byte {}", page + offset);
        runtime.block_on(tally.compare(&store, &what, Opening::Unverified, &right));
    });
    println!("{tally:?}");
    tally.assert_nothing_wrong();
    assert!(tally.failed > PAGE / 4, "{tally:?}");
}

#[tokio::test]
async fn validate_tells_another_value_in_any_column_of_any_table() {
    let place = Place::new();
    place.put(&fixture().await, None);
    let store = open(&place.path, Opening::Verified).await.unwrap();
    // So many different values that their counts are a table.
    let rating = |number: u64| Rating::new(user(0), number.into(), number as f64, time(0)).unwrap();
    store.put_ratings((0..70).map(rating).collect(), PutOptions::default()).await.unwrap();
    store.close().await.unwrap();
    assert!(validate(&place.path).unwrap().ok);
    let bytes = fs::read(&place.path).unwrap();
    let columns =
        "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
    let connection = Connection::open(&place.path).unwrap();
    let mut select = connection.prepare(columns).unwrap();
    let columns = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: Vec<(String, String)> = columns.map(|column| column.unwrap()).collect();
    drop(select);
    connection.close().unwrap();
    assert!(columns.len() > 70, "{columns:?}");
    for (table, column) in columns {
        place.put(&bytes, None);
        let connection = Connection::open(&place.path).unwrap();
        connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
        // The greatest of the column: no key comes to be there twice.
        let change = format!(
            "UPDATE {table} SET {column} = CASE typeof({column}) WHEN 'text' THEN {column} || 'x'
             WHEN 'blob' THEN CAST({column} || x'ff' AS BLOB) ELSE coalesce({column}, 0) + 1 END
             WHERE {column} IS (SELECT max({column}) FROM {table})"
        );
        assert!(connection.execute(&change, []).unwrap() > 0, "{table}.{column}");
        connection.close().unwrap();
        let validation = validate(&place.path).unwrap();
        let found = validation.problems.iter().any(|problem| problem.contains(&table));
        assert!(found, "{table}.{column}: {:?}", validation.problems);
    }
}
