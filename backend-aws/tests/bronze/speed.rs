//! How many requests a million events take, held; and measurements, printed, ignored unless asked for.

use std::sync::Arc;
use std::time::Instant;

use object_store::memory::InMemory;
use recstore_aws::lake::bronze::line::{decode_line, encode_line};
use recstore_aws::lake::bronze::writer::BronzeWriter;
use recstore_aws::lake::store::LakeStore;

use crate::support::{clock, event, events, lake, parts, read_all};

const EVENTS: u64 = 1_000_000;

#[test]
#[ignore = "a measurement: run with --release --ignored --nocapture"]
fn lines_in_a_second() {
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    let mut lines = Vec::new();
    let begin = Instant::now();
    for event in &events {
        encode_line(event, &mut lines);
    }
    let encoded = begin.elapsed();
    let begin = Instant::now();
    let decoded = lines
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| decode_line(&line[..line.len() - 1]).is_ok());
    assert_eq!(decoded.count() as u64, EVENTS);
    let decoded = begin.elapsed();
    let rate = |time: std::time::Duration| EVENTS as f64 / time.as_secs_f64() / 1e6;
    println!(
        "lines: {:.2} M/s written, {:.2} M/s read, {} bytes each",
        rate(encoded),
        rate(decoded),
        lines.len() as u64 / EVENTS
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run with --release --ignored --nocapture"]
async fn events_in_a_second() {
    for (callers, size) in [(64, 1), (64, 100), (8, 10_000)] {
        let lake = lake(Arc::new(InMemory::new()));
        let writer = BronzeWriter::spawn(parts(&lake, "w", 1, clock())).unwrap();
        let begin = Instant::now();
        put(&writer, EVENTS / if size == 1 { 10 } else { 1 }, callers, size).await;
        let (elapsed, stats) = (begin.elapsed(), writer.stats());
        println!(
            "{callers} callers of {size}: {:.0} events/s, {} objects of {} bytes, {:.1} requests per million events",
            stats.events as f64 / elapsed.as_secs_f64(),
            stats.objects,
            stats.object_bytes / stats.objects,
            requests_per_million(&lake, stats.events),
        );
        let begin = Instant::now();
        assert_eq!(read_all(&lake).await.len() as u64, stats.events);
        println!("  read back at {:.0} events/s", stats.events as f64 / begin.elapsed().as_secs_f64());
    }
}

/// Puts this many events, by callers at once that each put so many in a call.
async fn put(writer: &BronzeWriter, count: u64, callers: u64, size: u64) {
    let calls = count / size;
    let tasks = (0..callers).map(|caller| {
        let writer = writer.clone();
        tokio::spawn(async move {
            for call in (caller..calls).step_by(callers as usize) {
                writer.append(events(call * size, size), None).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn requests_per_million(lake: &LakeStore, events: u64) -> f64 {
    lake.requests().requests() as f64 * 1e6 / events as f64
}

/// On a clock that stands still but for waits, so that it does not depend on how fast the machine is.
#[tokio::test(start_paused = true)]
async fn callers_with_batches_send_at_most_a_thousandth_of_a_request_for_each_event() {
    const PUT: u64 = 320_000;
    for (callers, size) in [(64, 100), (8, 10_000)] {
        let lake = lake(Arc::new(InMemory::new()));
        let writer = BronzeWriter::spawn(parts(&lake, "w", 1, clock())).unwrap();
        put(&writer, PUT, callers, size).await;
        assert_eq!(writer.stats().events, PUT);
        let requests = requests_per_million(&lake, PUT);
        assert!(requests <= 1000.0, "{callers} callers of {size}: {requests:.1} requests per million events");
        println!("{callers} callers of {size}: {requests:.1} requests per million events");
    }
}
