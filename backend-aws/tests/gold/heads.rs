//! Changes of the head by several processes at once: what is acknowledged is there exactly once, what failed is
//! not there, and only what may be there is told as unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use recstore_aws::lake::bronze::object::ClaimId;
use recstore_aws::lake::head::{Heads, Snapshot, State};
use recstore_core::{ErrorKind, ItemId, Namespace, Result};

use crate::fake::{Random, run};
use crate::faulty::{Fault, FaultyStore};
use crate::support::{lake, schedules};

/// What a caller knows of his change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Done,
    NotDone,
    Unknown,
}

/// Adds an item, and counts: done twice it would show.
async fn add(heads: &Heads, item: ItemId) -> Result<()> {
    let change = async |before: Snapshot| {
        let mut hidden = (*before.state.hidden).clone();
        hidden.insert(item.clone());
        let generation = before.state.generation + 1;
        Ok((Some(State { hidden: hidden.into(), generation, ..before.state.clone() }), ()))
    };
    heads.change(None, change).await.map(drop)
}

/// One schedule; says what became of the changes.
async fn schedule(seed: u64, number: u64, faults: Option<&'static [Fault]>) -> BTreeMap<ItemId, Known> {
    let mut random = Random::of_case(seed, number);
    let objects = FaultyStore::new(random.bits(), 20 + random.below(120) as u32);
    if let Some(faults) = faults {
        objects.set_faults(faults);
    }
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    let mut callers = tokio::task::JoinSet::new();
    for process in 0..1 + random.below(3) {
        let heads = Heads::new(
            lake(&objects, random.bits()),
            Namespace::default(),
            ClaimId::from_random(process as u128),
        );
        for caller in 0..1 + random.below(2) {
            let (heads, outcomes, mut random) =
                (heads.clone(), Arc::clone(&outcomes), Random::new(random.bits()));
            let patient = faults.is_some();
            callers.spawn(async move {
                for change in 0..1 + random.below(4) {
                    let item = ItemId::new(format!("{process}-{caller}-{change}")).unwrap();
                    let patience = if patient || random.chance(80) { 100_000 } else { random.below(3_000) };
                    let patience = Duration::from_millis(patience as u64 * 10);
                    let known = match tokio::time::timeout(patience, add(&heads, item.clone())).await {
                        Ok(Ok(())) => Known::Done,
                        Ok(Err(error)) if error.kind() == ErrorKind::OutcomeUnknown => Known::Unknown,
                        Ok(Err(_)) => Known::NotDone,
                        Err(_) => Known::Unknown,
                    };
                    outcomes.lock().unwrap().insert(item, known);
                }
            });
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    objects.heal();
    let reader = Heads::new(lake(&objects, 1), Namespace::default(), ClaimId::from_random(99));
    let found = reader.read(None).await.unwrap();
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    check(&found, &outcomes, number);
    outcomes
}

fn check(found: &Snapshot, outcomes: &BTreeMap<ItemId, Known>, number: u64) {
    let there: &BTreeSet<ItemId> = &found.state.hidden;
    for (item, known) in outcomes {
        match known {
            Known::Done => {
                assert!(there.contains(item), "schedule {number}: {item} was acknowledged and is lost")
            }
            Known::NotDone => assert!(!there.contains(item), "schedule {number}: {item} failed and is there"),
            Known::Unknown => {}
        }
    }
    assert!(there.iter().all(|item| outcomes.contains_key(item)), "schedule {number}");
    let changes = there.len() as u64;
    assert_eq!(
        (found.state.generation, found.head.revision),
        (changes, changes),
        "schedule {number}: once each"
    );
}

fn count(outcomes: &BTreeMap<ItemId, Known>, known: Known) -> u64 {
    outcomes.values().filter(|outcome| **outcome == known).count() as u64
}

#[test]
fn every_acknowledged_change_is_there_exactly_once_and_no_failed_one() {
    let (seed, schedules) = schedules(3_000);
    let mut counts = [0; 3];
    for number in 0..schedules {
        let outcomes = run(schedule(seed, number, None));
        for (total, known) in counts.iter_mut().zip([Known::Done, Known::NotDone, Known::Unknown]) {
            *total += count(&outcomes, known);
        }
    }
    println!("done, not done, unknown: {counts:?}");
    assert!(schedules < 1_000 || counts.iter().all(|&count| count > 50), "all outcomes come up: {counts:?}");
}

#[test]
fn where_answers_say_what_was_done_no_outcome_is_unknown() {
    let (seed, schedules) = schedules(500);
    for number in 0..schedules {
        let clear = &[Fault::SlowDown, Fault::Refused, Fault::Conflict];
        let outcomes = run(schedule(seed, number, Some(clear)));
        assert_eq!(count(&outcomes, Known::Unknown), 0, "schedule {number}: {outcomes:?}");
    }
}

#[test]
fn a_lost_answer_is_found_out_by_reading() {
    run(async {
        for fault in
            [Fault::LostAnswer, Fault::ErrorAfter, Fault::StallAfter, Fault::ErrorBefore, Fault::StallBefore]
        {
            let objects = FaultyStore::new(1, 0);
            let heads = Heads::new(lake(&objects, 1), Namespace::default(), ClaimId::from_random(1));
            add(&heads, ItemId::new("first").unwrap()).await.unwrap();
            // The document goes well, the head does not.
            objects.script_puts([Fault::None, fault]);
            add(&heads, ItemId::new("second").unwrap()).await.unwrap();
            let found = heads.read(None).await.unwrap();
            assert_eq!((found.head.revision, found.state.hidden.len()), (2, 2), "{fault:?}");
        }
    });
}

#[test]
fn a_lost_answer_is_found_out_also_after_others_have_changed_the_head_since() {
    run(async {
        let objects = FaultyStore::new(1, 0);
        let heads = |claim| Heads::new(lake(&objects, 1), Namespace::default(), ClaimId::from_random(claim));
        let (ours, others) = (heads(1), heads(2));
        add(&others, ItemId::new("first").unwrap()).await.unwrap();
        objects.set_latency(Duration::from_millis(10));
        // Ours is done at once and answered never; meanwhile others go on.
        objects.script_puts([Fault::None, Fault::StallAfter]);
        let go_on = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            for number in 0..20 {
                add(&others, ItemId::new(format!("other-{number}")).unwrap()).await.unwrap();
            }
        };
        let (done, ()) = tokio::join!(add(&ours, ItemId::new("ours").unwrap()), go_on);
        done.unwrap();
        let found = ours.read(None).await.unwrap();
        assert_eq!((found.head.revision, found.state.generation), (22, 22));
    });
}

#[test]
fn an_outcome_that_cannot_be_read_back_is_unknown_and_nothing_else() {
    run(async {
        let objects = FaultyStore::new(1, 0);
        let heads = Heads::new(lake(&objects, 1), Namespace::default(), ClaimId::from_random(1));
        // The answer is lost, and nothing can be read afterwards.
        objects.script_puts([Fault::None, Fault::LostAnswer]);
        objects.script_reads([Fault::None].into_iter().chain([Fault::SlowDown; 100]));
        let error = add(&heads, ItemId::new("a").unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        // Nothing was sent before the head could not be read: that is known.
        objects.script_reads([Fault::SlowDown; 100]);
        let error = add(&heads, ItemId::new("b").unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        objects.heal();
        let found = heads.read(None).await.unwrap();
        assert_eq!((found.head.revision, found.state.hidden.len()), (1, 1));
    });
}
