//! Both services fail often: what was acknowledged is there, what was refused is not, and the end is that of memory.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use recstore_aws::lake::bronze::cursor::BronzeCursors;
use recstore_aws::lake::bronze::reader::BronzeReader;
use recstore_aws::pipeline::{RunOptions, RunOutcome};
use recstore_core::{
    ErrorKind, EventId, GetOptions, MemoryStorage, Namespace, PutOptions, Rating, RatingStore, Storage,
};

use crate::fake::{Random, Weather, run};
use crate::stage::{Gate, Stage, schedules};
use crate::story::{EACH, See, Told, tell};
use crate::support::event;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Acknowledged,
    Refused,
    Unknown,
}

/// A batch whose events have ids of their own.
fn batch(random: &mut Random, number: u64) -> Vec<Rating> {
    let events = 1 + random.below(8) as u64;
    let mut with_id = |at: u64| {
        let event = event(random, EACH, EACH);
        let id = EventId::from_u128(u128::from(number * 100 + at + 1));
        event.with_event_id(id)
    };
    (0..events).map(&mut with_id).collect()
}

/// The events that the lake has, each as often as it is stored.
async fn stored(stage: &Stage) -> Vec<EventId> {
    let reader = BronzeReader::new(stage.lake(9), Namespace::default());
    let list = reader.list(&BronzeCursors::default(), None).await.unwrap();
    assert!(list.gaps.is_empty());
    let batches: Vec<_> = reader.read(list.objects, 100, None).try_collect().await.unwrap();
    let events = batches.iter().flat_map(|batch| &batch.events);
    events.map(|event| event.event_id()).collect()
}

#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    failed_runs: u64,
    runs: u64,
}

async fn schedule(seed: u64, number: u64, counts: &mut Counts) {
    let what = format!("schedule {number}");
    let mut random = Random::of_case(seed, number);
    let stage = Stage { buckets: 1 << random.below(3), ..Stage::new(random.bits()) };
    // 5 to 30 of 100.
    let percent = 5 + random.below(26) as u32;
    stage.objects.set_share(percent * 256 / 100);
    let part = |share: u32| (percent * share / 10).max(1);
    stage.tables.set_weather(Weather {
        throttled: part(3),
        lost_before: part(2),
        lost_after: part(3),
        stalled: part(1),
        unprocessed: percent,
        latency: 40,
    });
    let mut batches = Vec::new();
    for number in 0..3 + random.below(5) as u64 {
        let store = stage.process(1 + random.below(2) as u64 + 2 * number);
        let events = batch(&mut random, number);
        let answer = match store.put_ratings(events.clone(), PutOptions::default()).await {
            Ok(_) => Answer::Acknowledged,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Answer::Unknown,
            Err(_) => Answer::Refused,
        };
        batches.push((events, answer));
        if random.chance(70) {
            let (one, two) = (stage.process(100 + 2 * number), stage.process(101 + 2 * number));
            let (one, two) = (one.pipeline(), two.pipeline());
            let ran = match random.chance(40) {
                true => tokio::join!(one.run(RunOptions::default()), two.run(RunOptions::default())),
                false => (one.run(RunOptions::default()).await, two.run(RunOptions::default()).await),
            };
            counts.runs += 2;
            counts.failed_runs += u64::from(ran.0.is_err()) + u64::from(ran.1.is_err());
        }
    }
    stage.calm().await;
    let stored = stored(&stage).await;
    let set: BTreeSet<&EventId> = stored.iter().collect();
    assert_eq!(set.len(), stored.len(), "{what}: an event is stored twice");
    let oracle = MemoryStorage::new(Namespace::default(), stage.context());
    tell(&oracle, &Told::Group).await;
    for (events, answer) in batches {
        let found = events.iter().filter(|event| set.contains(&event.event_id())).count();
        let whole = found == events.len();
        match answer {
            Answer::Acknowledged => assert!(whole, "{what}: acknowledged events are lost"),
            Answer::Refused => assert_eq!(found, 0, "{what}: refused events are stored"),
            Answer::Unknown => assert!(whole || found == 0, "{what}: a part of a batch is stored"),
        }
        match answer {
            Answer::Acknowledged => counts.acknowledged += 1,
            Answer::Refused => counts.refused += 1,
            Answer::Unknown => counts.unknown += 1,
        }
        if whole {
            oracle.put_ratings(events, PutOptions::default()).await.unwrap();
        }
    }
    let store = stage.process(900);
    tell(&store, &Told::Group).await;
    let report = store.pipeline().run(RunOptions::default()).await.unwrap();
    assert_eq!(report.gaps, 0, "{what}");
    assert_eq!(See::of(&stage.process(901)).await, See::of(&oracle).await, "{what}");
    let fingerprints = (
        store.fingerprint(GetOptions::default()).await.unwrap(),
        oracle.fingerprint(GetOptions::default()).await.unwrap(),
    );
    assert_eq!(fingerprints.0, fingerprints.1, "{what}: other fingerprints");
    let gate = Gate::open();
    let again = stage.gated(902, &gate, stage.context()).pipeline().run(RunOptions::default()).await.unwrap();
    assert_eq!((again.outcome, gate.writes()), (RunOutcome::NothingNew, 0), "{what}");
}

#[test]
fn what_was_acknowledged_is_there_and_what_was_refused_is_not_in_any_weather() {
    let (seed, count) = schedules(250);
    let mut counts = Counts::default();
    for number in 0..count {
        run(schedule(seed, number, &mut counts));
    }
    println!("{counts:?}");
}
