//! What a reader promises.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{Attribute, Attributes};
use recstore_aws::lake::bronze::cursor::BronzeCursors;
use recstore_aws::lake::bronze::line::{BadLine, encode_line};
use recstore_aws::lake::bronze::object::{ClaimId, SealedObject};
use recstore_aws::lake::bronze::reader::BronzeList;
use recstore_aws::lake::bronze::writer::BronzeWriter;
use recstore_aws::lake::keys::{BronzeKey, WriterId};
use recstore_aws::lake::store::LakeStore;
use recstore_core::{ErrorKind, Namespace, Result, Timestamp};

use crate::faulty::{Fault, FaultyStore};
use crate::support::{after, clock, event, events, lake, parts, read, read_all, reader};

fn key(epoch: u32, first: u64, last: u64) -> BronzeKey {
    format!(
        "bronze/v1/ns=default/ratings/writer=w/epoch={epoch:010}/dt=2024-01-15/{first:020}-{last:020}.jsonl.zst"
    )
    .parse()
    .unwrap()
}

/// Puts an object with these lines there.
fn insert(store: &FaultyStore, key: BronzeKey, lines: &[u8]) -> String {
    let sealed = SealedObject::seal(key, ClaimId::from_random(1), lines).unwrap();
    let name = format!("lake/{}", sealed.key());
    store.insert(&name, sealed.body().clone(), sealed.attributes().clone());
    name
}

fn insert_events(store: &FaultyStore, epoch: u32, first: u64, count: u64) -> String {
    let mut lines = Vec::new();
    for number in first..first + count {
        encode_line(&event(number), &mut lines);
    }
    insert(store, key(epoch, first, first + count - 1), &lines)
}

fn new() -> (FaultyStore, LakeStore) {
    let store = FaultyStore::scripted([]);
    (store.clone(), lake(Arc::new(store)))
}

async fn list(lake: &LakeStore) -> Result<BronzeList> {
    reader(lake).list(&Default::default(), None).await
}

#[tokio::test(start_paused = true)]
async fn bad_lines_are_quarantined_with_their_numbers_and_reasons() {
    let (store, lake) = new();
    let mut lines = Vec::new();
    encode_line(&event(0), &mut lines);
    lines.extend(b"{\"user\":\"1\",\"user\":\"2\"}\n\n\xef\xbb\xbf{}\n\xff\xfe\n");
    lines.extend([b"[".repeat(300), b"\n".to_vec()].concat());
    encode_line(&event(1), &mut lines);
    insert(&store, key(1, 10, 16), &lines);
    insert_events(&store, 1, 0, 10);
    let reader = reader(&lake);
    let batches = read(&reader, &list(&lake).await.unwrap()).await.unwrap();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[1].events, events(0, 2));
    let rejected: Vec<(u64, String)> =
        batches[1].rejected.iter().map(|line| (line.number, line.reason.to_string())).collect();
    let expected = [
        (11, "user: stands twice"),
        (12, "is empty"),
        (13, "begins with a byte order mark"),
        (14, "is not UTF-8 at byte 0"),
        (15, "expected an object at byte 0"),
    ];
    assert_eq!(rejected, expected.map(|(number, reason)| (number, reason.to_owned())));
    assert_eq!(batches[1].rejected[4].text.len(), 200);
    let report = serde_json::to_string(&batches[1].rejected[1]).unwrap();
    assert_eq!(report, r#"{"number":12,"reason":"empty","text":""}"#);
    assert_eq!(batches[1].rejected[3].reason, BadLine::NotUtf8 { at: 0 });
}

#[tokio::test(start_paused = true)]
async fn batches_are_no_larger_than_asked_for_and_in_order() {
    let (store, lake) = new();
    insert_events(&store, 1, 0, 25);
    insert_events(&store, 2, 0, 5);
    let reader = reader(&lake);
    let objects = list(&lake).await.unwrap().objects;
    let batches: Vec<_> = futures::TryStreamExt::try_collect(reader.read(objects, 10, None)).await.unwrap();
    let sizes: Vec<usize> = batches
        .iter()
        .map(|batch: &recstore_aws::lake::bronze::reader::BronzeBatch| batch.events.len())
        .collect();
    assert_eq!(sizes, [10, 10, 5, 5]);
    assert_eq!(batches[1].events, events(10, 10));
}

#[tokio::test(start_paused = true)]
async fn an_empty_lake_lists_nothing() {
    let (_, lake) = new();
    let list = list(&lake).await.unwrap();
    assert!(list.objects.is_empty() && list.gaps.is_empty() && list.foreign.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_many_pages_is_whole_and_sorted() {
    let (store, lake) = new();
    for number in (0..2_500).rev() {
        insert_events(&store, 1, number, 1);
    }
    let list = list(&lake).await.unwrap();
    assert_eq!((list.objects.len(), list.events(), list.gaps.len()), (2_500, 2_500, 0));
    assert!(list.objects.is_sorted_by(|left, right| left.key.first < right.key.first));
    let text = serde_json::to_string(&list).unwrap();
    assert_eq!(serde_json::from_str::<BronzeList>(&text).unwrap(), list);
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_a_gap_that_nothing_behind_it_passes() {
    let (store, lake) = new();
    let middle = insert_events(&store, 1, 10, 10);
    for (epoch, first) in [(1, 0), (1, 20), (2, 0)] {
        insert_events(&store, epoch, first, 10);
    }
    let (body, attributes) = store.get(&middle);
    store.remove(&middle);
    let first = list(&lake).await.unwrap();
    assert_eq!(first.objects.len(), 2);
    assert_eq!((first.gaps.len(), first.gaps[0].missing, first.gaps[0].next.first), (1, 10, 20));
    // When it is back, what is behind it is read too, once.
    store.insert(&middle, body, attributes);
    let second = reader(&lake).list(&first.cursors, None).await.unwrap();
    let firsts: Vec<u64> = second.objects.iter().map(|object| object.key.first).collect();
    assert_eq!((firsts, second.gaps.len()), (vec![10, 20], 0));
}

#[tokio::test(start_paused = true)]
async fn a_list_until_a_time_ends_each_epoch_after_the_last_object_that_was_stored_before() {
    let (store, lake) = new();
    // The second object of the first epoch was put back later.
    for (at, epoch, first) in [(1, 1, 0), (9, 1, 10), (2, 1, 20), (3, 1, 30), (2, 2, 0), (3, 3, 0)] {
        store.set_now(Duration::from_secs(at));
        insert_events(&store, epoch, first, 10);
    }
    let foreign = "lake/bronze/v1/ns=default/ratings/writer=w/epoch=0000000001/_marker";
    store.insert(foreign, Bytes::new(), Attributes::new());
    let until = Some(Timestamp::from_seconds(3).unwrap());
    let before = reader(&lake).list_until(&Default::default(), until, None).await.unwrap();
    let named = |list: &BronzeList| -> Vec<(u32, u64)> {
        list.objects.iter().map(|object| (object.key.epoch.epoch, object.key.first)).collect()
    };
    assert_eq!((named(&before), before.gaps.len()), (vec![(1, 0), (1, 10), (1, 20), (2, 0)], 0));
    assert_eq!(before.foreign.len(), 1);
    let rest = reader(&lake).list(&before.cursors, None).await.unwrap();
    assert_eq!((named(&rest), rest.gaps.len()), (vec![(1, 30), (3, 0)], 0));
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_was_read_from_and_is_gone_is_told() {
    let (store, lake) = new();
    let name = insert_events(&store, 1, 0, 10);
    let cursors = list(&lake).await.unwrap().cursors;
    store.remove(&name);
    let error = reader(&lake).list(&cursors, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn stored_positions_that_no_object_has_are_refused_and_never_begin_again_at_0() {
    let stored = |first: u64, last: u64| {
        let text = format!(r#"{{"w":{{"1":["2024-01-15",{first},{last}]}}}}"#);
        serde_json::from_str::<BronzeCursors>(&text)
    };
    assert!(stored(0, u64::MAX).is_err() && stored(8, 7).is_err());
    let cursors = stored(7, u64::MAX - 1).unwrap();
    assert_eq!(cursors.next(&WriterId::new("w").unwrap(), 1), u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn objects_with_the_same_numbers_are_told() {
    let (store, lake) = new();
    insert_events(&store, 1, 0, 10);
    insert_events(&store, 1, 5, 10);
    let error = list(&lake).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.object().unwrap().contains("005-"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn foreign_names_are_named_and_passed_over() {
    let (store, lake) = new();
    let name = insert_events(&store, 1, 0, 10);
    for foreign in [
        name.replace(".zst", ".gz"),
        name.replace("00000000000000000000-", "0-"),
        "lake/bronze/v1/ns=default/ratings/writer=W/epoch=1/x".to_owned(),
        "lake/bronze/v1/ns=default/ratings/_SUCCESS".to_owned(),
        "lake/bronze/v1/ns=default-2/ratings/writer=w/epoch=0000000001/x".to_owned(),
        "elsewhere".to_owned(),
    ] {
        store.insert(&foreign, Bytes::new(), Attributes::new());
    }
    let list = list(&lake).await.unwrap();
    assert_eq!((list.objects.len(), list.foreign.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn namespaces_and_writers_whose_names_begin_alike_do_not_meet() {
    let (_, lake) = new();
    let names = ["w", "w-1", "w1", "wriggle"];
    let namespaces = ["a", "a-b", "ab", "a_"].map(|name| Namespace::new(name).unwrap());
    for (at, namespace) in namespaces.iter().enumerate() {
        for (other, name) in names.iter().enumerate() {
            let mut parts = parts(&lake, name, 1, clock());
            parts.namespace = namespace.clone();
            let number = (at * 10 + other) as u64;
            BronzeWriter::spawn(parts).unwrap().append(events(number, 1), None).await.unwrap();
        }
    }
    for (at, namespace) in namespaces.iter().enumerate() {
        let reader = recstore_aws::lake::bronze::reader::BronzeReader::new(lake.clone(), namespace.clone());
        let list = reader.list(&Default::default(), None).await.unwrap();
        let found: Vec<_> =
            read(&reader, &list).await.unwrap().into_iter().flat_map(|batch| batch.events).collect();
        assert_eq!(found, events(at as u64 * 10, 4));
    }
}

#[tokio::test(start_paused = true)]
async fn every_damaged_object_is_named_and_ends_the_stream() {
    let (store, lake) = new();
    let first = insert_events(&store, 1, 0, 10);
    let second = insert_events(&store, 1, 10, 10);
    let listed = list(&lake).await.unwrap();
    let (body, attributes) = store.get(&first);
    let (other, other_attributes) = store.get(&second);
    let mut flipped = body.to_vec();
    flipped[20] ^= 1;
    let mut of_other_version = attributes.clone();
    of_other_version.insert(Attribute::Metadata("recstore-format".into()), "2".into());
    for (body, attributes, kind) in [
        (flipped.into(), attributes.clone(), ErrorKind::Corrupt),
        (body.slice(..body.len() - 1), attributes.clone(), ErrorKind::Corrupt),
        (body.clone(), Attributes::new(), ErrorKind::Corrupt),
        (other, other_attributes, ErrorKind::Corrupt),
        (body.clone(), of_other_version, ErrorKind::SchemaVersion),
    ] {
        store.insert(&first, body, attributes);
        let mut stream = reader(&lake).read(listed.objects.clone(), 100, None);
        let error = futures::StreamExt::next(&mut stream).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.object()), (kind, first.strip_prefix("lake/")));
        assert!(futures::StreamExt::next(&mut stream).await.is_none());
    }
    store.insert(&first, body, attributes);
    store.remove(&second);
    assert_eq!(read(&reader(&lake), &listed).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_and_end_by_their_deadline() {
    let (store, lake) = new();
    insert_events(&store, 1, 0, 10);
    let faults = [Fault::SlowDown, Fault::CutBody, Fault::StallBefore, Fault::ErrorBefore, Fault::Refused];
    for fault in faults {
        store.script_reads([fault]);
        assert_eq!(read_all(&lake).await, events(0, 10), "{fault:?}");
    }
    let listed = list(&lake).await.unwrap();
    store.script_reads([Fault::CutBody]);
    assert_eq!(read(&reader(&lake), &listed).await.unwrap()[0].events, events(0, 10));
    let second = std::time::Duration::from_secs(1);
    store.script_reads([Fault::StallBefore; 10]);
    let begin = tokio::time::Instant::now();
    let error = reader(&lake).list(&Default::default(), after(second)).await.unwrap_err();
    assert_eq!((error.kind(), begin.elapsed()), (ErrorKind::DeadlineExceeded, second));
    let mut stream = reader(&lake).read(listed.objects, 100, after(second));
    let error = futures::StreamExt::next(&mut stream).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), begin.elapsed()), (ErrorKind::DeadlineExceeded, 2 * second));
    store.script_reads([Fault::Denied]);
    assert_eq!(list(&lake).await.unwrap_err().kind(), ErrorKind::ReadOnly);
}
