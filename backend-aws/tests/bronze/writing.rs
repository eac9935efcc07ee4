//! What a writer promises, one sentence at a time.

use std::sync::Arc;
use std::time::Duration;

use recstore_aws::lake::bronze::reader::BronzeReader;
use recstore_aws::lake::bronze::writer::{BronzeReceipt, BronzeWriter, BronzeWriterParts};
use recstore_aws::lake::store::LakeStore;
use recstore_core::{Error, ErrorKind, ObjectCost, Rating};
use tokio::time::{Instant, sleep};

use crate::faulty::{Fault, FaultyStore, SeenPut};
use crate::support::{NOON, after, clock, event, events, lake, parts, read_all, reader, time};

const SECOND: Duration = Duration::from_secs(1);

/// The faults of the puts of events; the claim before them succeeds, and is refused a second time.
fn store(faults: &[Fault]) -> (FaultyStore, LakeStore) {
    let store = FaultyStore::scripted([Fault::None; 2].into_iter().chain(faults.iter().copied()));
    (store.clone(), lake(Arc::new(store)))
}

fn writer_of(lake: &LakeStore, change: impl FnOnce(&mut BronzeWriterParts)) -> BronzeWriter {
    let mut parts = parts(lake, "w", 1, clock());
    change(&mut parts);
    BronzeWriter::spawn(parts).unwrap()
}

fn writer(lake: &LakeStore) -> BronzeWriter {
    writer_of(lake, |_| {})
}

/// The puts of events among all.
fn puts(store: &FaultyStore) -> Vec<SeenPut> {
    store.seen().into_iter().filter(|put| put.key.contains("/ratings/")).collect()
}

async fn append(writer: &BronzeWriter, events: Vec<Rating>) -> Result<BronzeReceipt, Error> {
    writer.append(events, None).await.map(Option::unwrap)
}

#[tokio::test(start_paused = true)]
async fn the_batches_of_many_callers_are_joined_into_one_object() {
    let (store, lake) = store(&[]);
    let writer = writer(&lake);
    let calls = (0..50).map(|call| append(&writer, events(call * 10, 1 + call % 3)));
    let receipts = futures::future::try_join_all(calls).await.unwrap();
    assert_eq!(puts(&store).len(), 1);
    let stored = read_all(&lake).await;
    for (call, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt.key, receipts[0].key);
        let first = receipt.first as usize;
        let call = call as u64;
        assert_eq!(stored[first..first + receipt.events as usize], events(call * 10, 1 + call % 3));
    }
    let stats = writer.stats();
    assert_eq!((stats.batches, stats.objects, stats.epochs, stats.failed_objects), (50, 1, 1, 0));
    assert_eq!(stats.events, stored.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn the_costs_of_all_receipts_are_what_was_spent_repeated_puts_included() {
    let (_, lake) = store(&[Fault::None, Fault::LostAnswer, Fault::SlowDown]);
    let writer = writer(&lake);
    let mut spent = ObjectCost::default();
    for round in 0..3 {
        let calls = (0..7).map(|call| append(&writer, events(round * 1000 + call * 10, 1 + call % 3)));
        let receipts = futures::future::try_join_all(calls).await.unwrap();
        assert!(receipts.iter().all(|receipt| receipt.key == receipts[0].key), "one object");
        receipts.iter().for_each(|receipt| spent += receipt.cost);
        assert_eq!(spent, lake.requests(), "round {round}");
        let bytes: Vec<u64> = receipts[..3].iter().map(|receipt| receipt.cost.bytes_put).collect();
        assert!(bytes[0] < bytes[1] && bytes[1] < bytes[2], "a part by its bytes: {bytes:?}");
    }
    // The claim of the epoch, twice; an object; one whose answer was lost, with its read; one that was throttled.
    assert_eq!((spent.puts, spent.heads), (2 + 1 + 2 + 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lone_batch_waits_no_longer_than_the_linger() {
    let (_, lake) = store(&[]);
    let writer = writer(&lake);
    let begin = Instant::now();
    append(&writer, events(0, 1)).await.unwrap();
    assert!(begin.elapsed() <= Duration::from_millis(21), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_never_split_and_a_large_one_is_an_object_of_its_own() {
    let (store, lake) = store(&[]);
    let writer = writer_of(&lake, |parts| parts.ingest.max_batch_events = 10);
    let calls = [6, 6, 25, 3, 3].map(|count| append(&writer, events(1000 * count, count)));
    let receipts = futures::future::try_join_all(calls).await.unwrap();
    for receipt in &receipts {
        assert!(receipt.first >= receipt.key.first && receipt.first + receipt.events <= receipt.key.last + 1);
    }
    let sizes: Vec<u64> = reader(&lake)
        .list(&Default::default(), None)
        .await
        .unwrap()
        .objects
        .iter()
        .map(|object| object.key.events())
        .collect();
    assert_eq!(sizes, [6, 6, 25, 6]);
    assert_eq!(puts(&store).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_group_ends_at_its_bytes() {
    let (_, lake) = store(&[]);
    let writer = writer_of(&lake, |parts| parts.ingest.max_batch_bytes = 1000);
    let calls = (0..20).map(|call| append(&writer, events(call, 1)));
    futures::future::try_join_all(calls).await.unwrap();
    let list = reader(&lake).list(&Default::default(), None).await.unwrap();
    assert!(
        list.objects.len() >= 3 && list.objects.iter().all(|object| object.key.events() <= 8),
        "{list:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_resolved_by_reading_back() {
    for fault in [Fault::LostAnswer, Fault::ErrorAfter, Fault::StallAfter, Fault::CutBody] {
        let (store, lake) = store(&[fault]);
        let writer = writer(&lake);
        append(&writer, events(0, 5)).await.unwrap();
        assert_eq!((puts(&store).len(), read_all(&lake).await), (2, events(0, 5)), "{fault:?}");
        assert_eq!(writer.stats().epochs, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_sends_the_same_name_bytes_and_metadata() {
    let (store, lake) =
        store(&[Fault::SlowDown, Fault::LostAnswer, Fault::Conflict, Fault::StallBefore, Fault::ErrorBefore]);
    let clock = clock();
    let writer = writer_of(&lake, |parts| parts.clock = clock.clone());
    let call = tokio::spawn({
        let writer = writer.clone();
        async move { append(&writer, events(0, 5)).await }
    });
    // Days pass between the attempts.
    for day in 0..20 {
        clock.set(time(NOON + day * 86_400_000));
        sleep(SECOND).await;
    }
    call.await.unwrap().unwrap();
    let seen = puts(&store);
    assert_eq!(seen.len(), 3, "the lost answer is found out by the third");
    assert!(seen.iter().all(|put| {
        (&put.key, &put.body, &put.attributes) == (&seen[0].key, &seen[0].body, &seen[0].attributes)
    }));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_requests_is_no_object_of_another() {
    let (store, lake) = store(&[Fault::Conflict]);
    let writer = writer(&lake);
    append(&writer, events(0, 5)).await.unwrap();
    assert_eq!((puts(&store).len(), read_all(&lake).await), (2, events(0, 5)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_an_unknown_outcome_and_the_next_batch_is_in_a_new_epoch() {
    let (store, lake) = store(&[Fault::None, Fault::StallBefore, Fault::StallBefore, Fault::StallBefore]);
    let writer = writer(&lake);
    assert_eq!(append(&writer, events(0, 2)).await.unwrap().key.epoch.epoch, 1);
    let begin = Instant::now();
    let error = append(&writer, events(2, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.object().unwrap().contains("epoch=0000000001"), "{error}");
    assert!(begin.elapsed() <= 31 * SECOND, "{:?}", begin.elapsed());
    let receipt = append(&writer, events(4, 2)).await.unwrap();
    assert_eq!((receipt.key.epoch.epoch, receipt.first), (2, 0));
    assert_eq!((writer.stats().epochs, writer.stats().failed_objects), (2, 1));
    // The put that was under way arrives after all: a reader takes it in, behind nothing.
    let late = puts(&store)[1].clone();
    let before = reader(&lake).list(&Default::default(), None).await.unwrap();
    store.insert(&late.key, late.body, late.attributes);
    let list = reader(&lake).list(&before.cursors, None).await.unwrap();
    assert_eq!((list.objects.len(), list.gaps.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_after_an_unknown_outcome() {
    let (store, lake) = store(&[Fault::StallAfter, Fault::StallBefore, Fault::StallBefore]);
    store.script_reads([Fault::None, Fault::None]);
    let writer = writer(&lake);
    let error = append(&writer, events(0, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(read_all(&lake).await, events(0, 2));
    // The same events again, as the error asks for.
    append(&writer, events(0, 2)).await.unwrap();
    let ids = read_all(&lake).await.iter().map(Rating::event_id).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_typed_and_nothing_is_stored() {
    let (store, lake) = store(&[Fault::Denied]);
    let writer = writer(&lake);
    let error = append(&writer, events(0, 2)).await.unwrap_err();
    assert_eq!((error.kind(), puts(&store).len()), (ErrorKind::ReadOnly, 1));
    assert!(read_all(&lake).await.is_empty());
    assert!(append(&writer, events(0, 2)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_attempt_that_may_still_arrive_is_an_unknown_outcome() {
    for between in [Fault::SlowDown, Fault::Conflict, Fault::Refused] {
        let (store, lake) = store(&[Fault::Late(60 * SECOND), between, Fault::Denied]);
        let writer = writer(&lake);
        let error = append(&writer, events(0, 2)).await.unwrap_err();
        assert_eq!((error.kind(), puts(&store).len()), (ErrorKind::OutcomeUnknown, 3), "{between:?}");
        sleep(61 * SECOND).await;
        assert_eq!(read_all(&lake).await, events(0, 2), "it arrived");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_slow_downs_ends_with_the_budget_and_is_known_to_have_stored_nothing() {
    let (store, lake) = store(&[Fault::SlowDown; 6]);
    let writer = writer(&lake);
    let error = append(&writer, events(0, 2)).await.unwrap_err();
    assert_eq!((error.kind(), puts(&store).len()), (ErrorKind::Busy, 6));
    assert!(read_all(&lake).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_is_known_to_have_stored_nothing() {
    let (_, lake) = store(&[Fault::Refused; 6]);
    let error = append(&writer(&lake), events(0, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn another_writer_under_the_same_name_and_epoch_is_told_and_left_for_a_new_epoch() {
    let (store, lake) = store(&[]);
    let first = writer(&lake);
    let receipt = append(&first, events(0, 2)).await.unwrap();
    // Somebody writes on in the epoch, as a copy of the process would.
    let (body, attributes) = store.get(&format!("lake/{}", receipt.key));
    let next = receipt.key.to_string().replace("000-", "002-").replace("001.jsonl", "003.jsonl");
    store.insert(&format!("lake/{next}"), body, attributes);
    let error = append(&first, events(2, 2)).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(next.as_str())));
    assert_eq!(append(&first, events(2, 2)).await.unwrap().key.epoch.epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_name_never_share_an_epoch() {
    let (_, lake) = store(&[]);
    let processes: Vec<BronzeWriter> =
        (1..=5).map(|claim| BronzeWriter::spawn(parts(&lake, "w", claim, clock())).unwrap()).collect();
    let calls = processes.iter().enumerate().map(|(at, writer)| append(writer, events(10 * at as u64, 1)));
    let receipts = futures::future::try_join_all(calls).await.unwrap();
    let epochs: std::collections::BTreeSet<u32> =
        receipts.iter().map(|receipt| receipt.key.epoch.epoch).collect();
    assert_eq!(epochs.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_claim_wastes_no_epoch() {
    let store = FaultyStore::scripted([Fault::LostAnswer]);
    let lake = lake(Arc::new(store));
    assert_eq!(append(&writer(&lake), events(0, 1)).await.unwrap().key.epoch.epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_fails_stores_nothing_and_the_next_call_claims_again() {
    let store = FaultyStore::scripted([Fault::StallAfter, Fault::StallBefore, Fault::StallBefore]);
    store.script_reads([Fault::None; 2]);
    let lake = lake(Arc::new(store.clone()));
    let writer = writer(&lake);
    assert_eq!(append(&writer, events(0, 1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(puts(&store).is_empty());
    assert_eq!(
        append(&writer, events(0, 1)).await.unwrap().key.epoch.epoch,
        1,
        "the claim is found to be ours"
    );
}

#[tokio::test(start_paused = true)]
async fn claims_that_were_deleted_bring_no_epoch_back() {
    let (store, lake) = store(&[]);
    append(&writer(&lake), events(0, 1)).await.unwrap();
    for key in store.keys().iter().filter(|key| key.contains("/claims/")) {
        store.remove(key);
    }
    assert_eq!(append(&writer(&lake), events(1, 1)).await.unwrap().key.epoch.epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_sealing_stores_nothing() {
    let (store, lake) = store(&[]);
    let writer = writer_of(&lake, |parts| parts.ingest.linger = SECOND);
    let begin = Instant::now();
    let error = writer.append(events(0, 1), after(SECOND / 10)).await.unwrap_err();
    assert_eq!((error.kind(), begin.elapsed()), (ErrorKind::DeadlineExceeded, SECOND / 10));
    let passed = writer.append(events(1, 1), after(Duration::ZERO)).await.unwrap_err();
    assert_eq!(passed.kind(), ErrorKind::DeadlineExceeded);
    writer.close().await;
    assert!(puts(&store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_while_an_epoch_is_claimed_stores_nothing() {
    let store = FaultyStore::scripted([Fault::StallBefore]);
    let lake = lake(Arc::new(store.clone()));
    let writer = writer(&lake);
    let error = writer.append(events(0, 1), after(SECOND)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    writer.close().await;
    assert!(puts(&store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_after_sealing_is_an_unknown_outcome_for_that_caller_only() {
    let (_, lake) = store(&[Fault::StallBefore]);
    let writer = writer(&lake);
    let begin = Instant::now();
    let hurried = async {
        let error = writer.append(events(0, 1), after(SECOND)).await.unwrap_err();
        (error.kind(), begin.elapsed())
    };
    let (hurried, patient) = tokio::join!(hurried, append(&writer, events(1, 1)));
    assert_eq!(hurried, (ErrorKind::OutcomeUnknown, SECOND));
    patient.unwrap();
    assert_eq!(read_all(&lake).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_do_not_disturb_the_others() {
    let (_, lake) = store(&[]);
    let writer = writer(&lake);
    let left = tokio::time::timeout(SECOND / 100, writer.append(events(0, 3), None));
    let (left, stays) = tokio::join!(left, append(&writer, events(3, 2)));
    assert!(left.is_err());
    assert_eq!(
        (stays.unwrap().first, read_all(&lake).await),
        (0, events(3, 2)),
        "what was taken back is not stored"
    );
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_calls_wait_for_room_until_their_deadline() {
    let (store, lake) = store(&[]);
    store.set_latency(SECOND);
    let writer = writer_of(&lake, |parts| {
        parts.ingest.max_queued_events = 100_000;
        parts.ingest.max_batch_events = 1;
    });
    let large = vec![event(0); 60_000];
    let (first, second, hurried) = tokio::join!(
        append(&writer, large.clone()),
        append(&writer, large.clone()),
        writer.append(large.clone(), after(SECOND)),
    );
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(hurried.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(puts(&store).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_put_is_in_flight_at_a_time() {
    let (store, lake) = store(&[]);
    store.set_latency(SECOND);
    let writer = writer_of(&lake, |parts| parts.ingest.max_batch_events = 2);
    let calls = (0..10).map(|call| append(&writer, events(call * 2, 2)));
    futures::future::try_join_all(calls).await.unwrap();
    assert_eq!((puts(&store).len(), store.most_under_way()), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn the_day_of_objects_never_goes_back_within_an_epoch() {
    let (_, lake) = store(&[]);
    let clock = clock();
    let writer = writer_of(&lake, |parts| parts.clock = clock.clone());
    let mut days = Vec::new();
    for (number, hours) in [0, 30, -50, 10, 60].into_iter().enumerate() {
        clock.set(time(NOON + hours * 3_600_000));
        days.push(append(&writer, events(number as u64, 1)).await.unwrap().key.day.to_string());
    }
    assert_eq!(days, ["2024-01-15", "2024-01-16", "2024-01-16", "2024-01-16", "2024-01-18"]);
    assert_eq!(read_all(&lake).await, events(0, 5));
}

#[tokio::test(start_paused = true)]
async fn closing_stores_what_waits_and_takes_no_more() {
    let (_, lake) = store(&[]);
    let writer = writer_of(&lake, |parts| parts.ingest.linger = 60 * SECOND);
    let (call, ()) = tokio::join!(append(&writer, events(0, 3)), async {
        tokio::task::yield_now().await;
        writer.close().await;
        assert_eq!(writer.stats().events, 3, "it returns when all is stored");
    });
    call.unwrap();
    assert_eq!(append(&writer, events(3, 1)).await.unwrap_err().kind(), ErrorKind::Closed);
    writer.close().await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_room_end_when_the_writer_is_closed() {
    let (store, lake) = store(&[]);
    store.set_latency(SECOND);
    let writer = writer_of(&lake, |parts| parts.ingest.max_queued_events = 100_000);
    let large = vec![event(0); 100_000];
    let (first, waiting, ()) =
        tokio::join!(append(&writer, large.clone()), append(&writer, large.clone()), async {
            sleep(SECOND / 10).await;
            writer.close().await;
        });
    assert!(first.is_ok());
    assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn no_event_is_taken_by_a_store_that_ignores_the_condition_of_a_put() {
    let store = FaultyStore::scripted([Fault::IgnoresCondition; 4]);
    let lake = lake(Arc::new(store.clone()));
    let writer = writer(&lake);
    for _ in 0..2 {
        let error = append(&writer, events(0, 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.object().is_some_and(|object| object.contains("claim")), "{error}");
    }
    assert!(puts(&store).is_empty(), "{:?}", puts(&store));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_leaves_nobody_waiting() {
    let (store, lake) = store(&[Fault::StallBefore]);
    let (writer, driver) = BronzeWriter::new(parts(&lake, "w", 1, clock())).unwrap();
    let driver = tokio::spawn(driver);
    let call = tokio::spawn({
        let writer = writer.clone();
        async move { append(&writer, events(0, 1)).await }
    });
    sleep(SECOND).await;
    assert_eq!(puts(&store).len(), 1);
    driver.abort();
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(append(&writer, events(0, 1)).await.unwrap_err().kind(), ErrorKind::Closed);
    writer.close().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stores_what_was_left_waiting_for_nobody() {
    let (store, lake) = store(&[]);
    let (writer, driver) = BronzeWriter::new(parts(&lake, "w", 1, clock())).unwrap();
    drop(writer);
    driver.await;
    assert!(store.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_is_stored_nowhere_and_one_too_large_is_refused() {
    let (store, lake) = store(&[]);
    let writer = writer(&lake);
    assert_eq!(writer.append(Vec::new(), None).await.unwrap(), None);
    let error = append(&writer, vec![event(0); 100_001]).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("events")));
    assert!(store.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_largest_batch_of_the_longest_ids_is_one_object() {
    use recstore_core::{ItemId, UserId};

    let (_, lake) = store(&[]);
    let writer = writer(&lake);
    let (user, item) = (UserId::new("\"".repeat(512)).unwrap(), ItemId::new("\\".repeat(512)).unwrap());
    let events = vec![Rating::withdrawal(user, item, time(NOON)); 100_000];
    let receipt = append(&writer, events.clone()).await.unwrap();
    assert_eq!(receipt.key.events(), 100_000);
    let reader: BronzeReader = reader(&lake);
    let list = reader.list(&Default::default(), None).await.unwrap();
    let batches = crate::support::read(&reader, &list).await.unwrap();
    assert!(batches.iter().all(|batch| batch.events.iter().all(|event| *event == events[0])));
}
