//! Measurements, printed; ignored unless asked for.

use std::sync::Arc;
use std::time::Instant;

use object_store::memory::InMemory;
use recstore_aws::lake::bronze::line::{decode_line, encode_line};
use recstore_aws::lake::bronze::writer::BronzeWriter;

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
    for (callers, size) in [(64, 1_u64), (64, 100), (8, 10_000)] {
        let lake = lake(Arc::new(InMemory::new()));
        let writer = BronzeWriter::spawn(parts(&lake, "w", 1, clock())).unwrap();
        let calls = (EVENTS / if size == 1 { 10 } else { 1 }) / size;
        let begin = Instant::now();
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
        let (elapsed, stats, requests) = (begin.elapsed(), writer.stats(), lake.requests());
        let per_million = requests.requests() as f64 * 1e6 / stats.events as f64;
        println!(
            "{callers} callers of {size}: {:.0} events/s, {} objects of {} bytes, {per_million:.1} requests per million events",
            stats.events as f64 / elapsed.as_secs_f64(),
            stats.objects,
            stats.object_bytes / stats.objects,
        );
        let begin = Instant::now();
        assert_eq!(read_all(&lake).await.len() as u64, stats.events);
        println!("  read back at {:.0} events/s", stats.events as f64 / begin.elapsed().as_secs_f64());
    }
}
