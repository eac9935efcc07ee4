//! Writes the seeds that are not text into the corpus: `cargo run -p recstore-fuzz-targets --example seeds`.

#![allow(clippy::unwrap_used, reason = "a tool of developers")]

use std::fs;
use std::path::{Path, PathBuf};

use recstore::{EntityKind, EventId, PageToken, Rating, RatingStats, RatingValue, Timestamp};
use recstore_fuzz_targets::base_database;

fn main() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let write = |name: &str, bytes: &[u8]| fs::write(corpus.join(name), bytes).unwrap();

    let time = Timestamp::from_seconds(1_700_000_000).unwrap();
    let rating = Rating::withdrawal("u".parse().unwrap(), "a.b".parse().unwrap(), time);
    let token = PageToken::after(&rating.with_event_id(EventId::from_u128(7)), EntityKind::User);
    write("codec/seed-page-token", &[b"\x03", token.as_str().as_bytes()].concat());
    for (name, ratings) in [("few", 5), ("many", 70)] {
        let mut stats = RatingStats::default();
        for number in 0..ratings {
            let _ = stats.apply(None, RatingValue::new(f64::from(number) / 2.0).ok());
        }
        stats.observe(time, Timestamp::MAX);
        let mut bytes = vec![5];
        stats.encode(&mut bytes);
        write(&format!("codec/seed-stats-{name}"), &bytes);
    }
    write("codec/seed-row", &row());
    write("database/seed-whole", base_database());
    write("database/seed-cut-off", &base_database()[..base_database().len() / 2]);
    write("database/seed-unchanged", &[]);
    write("database/seed-changed", &[0, 2, 255, 1, 8, 0]);
    println!("written to {}", fs::canonicalize(Path::new(&corpus)).unwrap().display());
}

/// A row with a value in each column of the target's group.
fn row() -> Vec<u8> {
    let values: [&[u8]; 7] = [
        &(-5_i64).to_le_bytes(),
        &2.5_f64.to_le_bytes(),
        &[1],
        "é".as_bytes(),
        &1_700_000_000_000_i64.to_le_bytes(),
        &[0, 0, 128, 63, 0, 0, 0, 192],
        &[1, 0, 0, 0, b'a', 0, 0, 0, 0],
    ];
    let mut bytes = vec![4, 1];
    for (position, value) in (0_u16..).zip(values) {
        bytes.extend(position.to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value);
    }
    bytes
}
