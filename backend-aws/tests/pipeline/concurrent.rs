//! Several runs at once, crashes among them, with writers going on and readers at all times.
//!
//! Every batch gives all pairs of a grid the same value at the same time. Whoever reads two values in one answer reads a
//! mixture of generations.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use recstore_aws::AwsStorage;
use recstore_aws::pipeline::{RunOptions, RunOutcome};
use recstore_core::{
    ErrorKind, FeatureRequest, FeatureStore, GetOptions, HistoryOptions, ItemId, Lookup, MemoryStorage,
    Namespace, PutOptions, Rating, RatingStore, RatingValue, ScanOptions, Storage, Timestamp, UserId,
};

use crate::fake::{Random, Weather, run};
use crate::faulty::Fault;
use crate::stage::{Bug, Gate, Stage, When, schedules};
use crate::story::failed;
use crate::support::NOON;

const USERS: u64 = 3;
const ITEMS: u64 = 2;
const RUNNERS: u64 = 3;
const BATCHES: u64 = 6;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOON + millis).unwrap()
}

fn batch(number: u64) -> Vec<Rating> {
    let value = RatingValue::new(0.5 + (number % 10) as f64 / 2.0).unwrap();
    let at = at(number as i64);
    let pairs = (0..USERS).flat_map(|user| (0..ITEMS).map(move |item| (user, item)));
    pairs.map(|(user, item)| Rating::from_parts(user.into(), item.into(), Some(value), at, None)).collect()
}

/// The one batch of all these times.
fn one_of(times: impl IntoIterator<Item = Timestamp>, rows: usize, what: &str) -> Option<i64> {
    let times: Vec<Timestamp> = times.into_iter().collect();
    let distinct: BTreeSet<Timestamp> = times.iter().copied().collect();
    assert!(distinct.len() <= 1, "{what}: a mixture of generations: {distinct:?}");
    assert!(times.is_empty() || times.len() == rows, "{what}: {} of {rows} rows", times.len());
    times.first().map(|at| at.as_millis() - NOON)
}

/// What a reader saw last; it never goes back.
#[derive(Default)]
struct Last {
    lake: Option<i64>,
    tables: Option<i64>,
    as_of: Option<Timestamp>,
}

fn forward<T: PartialOrd + std::fmt::Debug + Copy>(last: &mut Option<T>, now: Option<T>, what: &str) {
    assert!(*last <= now, "{what}: went back from {last:?} to {now:?}");
    *last = now;
}

/// Reads everything once, each answer by itself.
async fn look(reader: &AwsStorage, last: &mut Last, what: &str) -> recstore_core::Result<()> {
    let all: Vec<(UserId, ItemId)> =
        (0..USERS).flat_map(|user| (0..ITEMS).map(move |item| (user.into(), item.into()))).collect();
    let (mut times, mut as_of) = (Vec::new(), None);
    for found in reader.get_ratings(&all, GetOptions::default()).await? {
        match found {
            Lookup::Found(found) => {
                times.push(found.value.rating.rated_at());
                as_of = Some(found.as_of);
            }
            Lookup::Missing => {}
            Lookup::Failed(error) => return Err(error),
        }
    }
    forward(&mut last.tables, one_of(times, all.len(), what), what);
    if as_of.is_some() {
        forward(&mut last.as_of, as_of, what);
    }
    for user in 0..USERS {
        let page = reader.user_history(&user.into(), HistoryOptions::default()).await?;
        let times = page.rows.iter().map(|row| row.rating.rated_at());
        forward(&mut last.tables, one_of(times, ITEMS as usize, what), what);
    }
    for item in 0..ITEMS {
        let page = reader.item_history(&item.into(), HistoryOptions::default()).await?;
        let times = page.rows.iter().map(|row| row.rating.rated_at());
        forward(&mut last.tables, one_of(times, USERS as usize, what), what);
    }
    let features = reader.get_features(FeatureRequest::of_users((0..USERS).map(Into::into))).await?;
    if let Some(error) = features.status.iter().find_map(failed) {
        return Err(error);
    }
    for column in &features.columns {
        for row in 1..USERS as usize {
            assert_eq!(column.value(row), column.value(0), "{what}: a mixture in {}", column.name);
        }
    }
    let rows = reader.scan_ratings(ScanOptions::default()).try_collect::<Vec<_>>().await?.concat();
    let times = rows.iter().map(|row| row.rating.rated_at());
    forward(&mut last.lake, one_of(times, all.len(), what), what);
    Ok(())
}

/// Writers, runners and readers at once; some runners crash; then all is as it must be.
pub(crate) async fn schedule(seed: u64, number: u64, bug: Option<Bug>) {
    let what = format!("schedule {number}");
    let mut random = Random::of_case(seed, number);
    let stage = Stage { bug, buckets: 1 << random.below(3), ..Stage::new(random.bits()) };
    // Answers come after a while, in any order; sometimes they are lost.
    stage.objects.set_faults(if random.chance(50) {
        &[Fault::None]
    } else {
        &[Fault::None, Fault::LostAnswer]
    });
    stage.objects.set_share(40);
    stage.objects.set_now(Duration::from_millis(NOON as u64));
    let lost_after = if random.chance(50) { 3 } else { 0 };
    stage.tables.set_weather(Weather { latency: 30, lost_after, ..Weather::default() });
    let done = Cell::new(0);
    let runners = 1 + random.below(RUNNERS as usize) as u64;
    let writer = async {
        let store = stage.process(1);
        for number in 0..BATCHES {
            // Whether it is known or not, it is put until it is stored.
            while store.put_ratings(batch(number), PutOptions::default()).await.is_err() {}
            tokio::time::sleep(Duration::from_millis(random.clone().below(400) as u64)).await;
        }
        done.set(done.get() + 1);
    };
    let runner = |runner: u64| {
        let (stage, done) = (&stage, &done);
        let mut random = Random::of_case(seed ^ 0xf00d, number * 10 + runner);
        async move {
            let mut life = 0;
            // Until the writer has ended, and once more.
            loop {
                let last = done.get() > 0;
                let when = if random.chance(50) { When::Before } else { When::After };
                let gate = match random.chance(60) && !last {
                    true => Gate::stopping(1 + random.below(150) as u64, when),
                    false => Gate::open(),
                };
                let store = stage.gated(100 * (runner + 1) + life, &gate, stage.context());
                let pipeline = store.pipeline();
                // Some take in only what had arrived by some time.
                let until = (random.chance(30) && !last).then(|| at(random.below(2_000) as i64));
                let ran = tokio::select! {
                    biased;
                    () = gate.closed() => false,
                    ran = pipeline.run(RunOptions { until, ..RunOptions::default() }) => ran.is_ok(),
                };
                life += 1;
                if last && ran {
                    break;
                }
                assert!(life < 60, "runner {runner} never came to an end");
                tokio::time::sleep(Duration::from_millis(random.below(50) as u64)).await;
            }
            done.set(done.get() + 1);
        }
    };
    let reader = |reader: u64| {
        let (stage, what, done) = (&stage, &what, &done);
        async move {
            let (store, mut last) = (stage.process(10 + reader), Last::default());
            let mut looks = 0;
            while done.get() <= runners {
                match look(&store, &mut last, what).await {
                    Ok(()) => looks += 1,
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy),
                        "{what}: {error:?}"
                    ),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(looks > 0, "{what}: the reader never read");
        }
    };
    let work =
        async { tokio::join!(writer, join_all((0..runners).map(runner)), join_all((0..2).map(reader))) };
    let end = tokio::time::timeout(Duration::from_secs(3600), work).await;
    assert!(end.is_ok(), "{what}: somebody waits for ever");
    stage.calm().await;
    let (store, oracle) = (stage.process(50), MemoryStorage::new(Namespace::default(), stage.context()));
    for number in 0..BATCHES {
        oracle.put_ratings(batch(number), PutOptions::default()).await.unwrap();
    }
    store.pipeline().run(RunOptions::default()).await.unwrap();
    let mut last = Last::default();
    look(&stage.process(51), &mut last, &what).await.unwrap();
    let all = Some(BATCHES as i64 - 1);
    assert_eq!((last.lake, last.tables), (all, all), "{what}: events are lost");
    let fingerprints = (
        store.fingerprint(GetOptions::default()).await.unwrap(),
        oracle.fingerprint(GetOptions::default()).await.unwrap(),
    );
    assert_eq!(fingerprints.0, fingerprints.1, "{what}: other fingerprints");
    let gate = Gate::open();
    let again = stage.gated(52, &gate, stage.context()).pipeline().run(RunOptions::default()).await.unwrap();
    assert_eq!((again.outcome, gate.writes()), (RunOutcome::NothingNew, 0), "{what}");
}

#[test]
fn readers_never_see_a_mixture_whatever_runs_and_crashes_at_once() {
    let (seed, count) = schedules(100);
    for number in 0..count {
        run(schedule(seed, number, None));
    }
}
