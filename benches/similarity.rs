//! The similarity build beside a plain one, in the same run.
//!
//! - `plain`: cosine by a hash map of pairs for each item in turn, one thread, no top-K: what one would write
//!   in twenty lines.
//! - `cosine`, `adjusted-cosine`, `pearson`, `jaccard`: the exact kernel, top 50, on one thread and on all.
//!
//! `RECSTORE_BENCH_EVENTS` sets the number of ratings (300,000). The build of 20 million ratings is timed by
//! the command line, see `benches/README.md`.

#![allow(clippy::expect_used, reason = "a benchmark that cannot run shall end")]
#![allow(missing_docs, reason = "a program")]

mod support;

use std::collections::HashMap;
use std::hint::black_box;

use recstore_core::{
    EntityKind, Measure, NeighbourBuilder, Rating, RatingMatrix, RatingRow, SimilarityOptions,
};
use support::{Bench, timed};

/// Every pair's cosine by hash maps.
fn plain_cosine(events: &[Rating]) -> usize {
    let mut by_user: HashMap<&str, Vec<(u32, f64)>> = HashMap::new();
    let mut by_item: Vec<Vec<(&str, f64)>> = Vec::new();
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    for event in events {
        let item = *numbers.entry(event.item().as_str()).or_insert(by_item.len() as u32);
        if item as usize == by_item.len() {
            by_item.push(Vec::new());
        }
        let value = event.value().map_or(0.0, |value| value.as_f64());
        by_user.entry(event.user().as_str()).or_default().push((item, value));
        by_item[item as usize].push((event.user().as_str(), value));
    }
    let norm = |raters: &[(&str, f64)]| raters.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
    let norms: Vec<f64> = by_item.iter().map(|raters| norm(raters)).collect();
    let mut pairs = 0;
    for (item, raters) in by_item.iter().enumerate() {
        let mut dots: HashMap<u32, f64> = HashMap::new();
        for (user, value) in raters {
            for (other, other_value) in &by_user[user] {
                *dots.entry(*other).or_default() += value * other_value;
            }
        }
        pairs += dots.len();
        black_box(dots.iter().map(|(&other, dot)| dot / (norms[item] * norms[other as usize])).sum::<f64>());
    }
    pairs
}

fn main() {
    let events = support::events(10_000, 5_000, 300_000);
    let rows: Vec<RatingRow> = events
        .iter()
        .map(|event| RatingRow { rating: event.clone(), first_rated_at: event.rated_at() })
        .collect();
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).expect("a matrix");
    let mut bench = Bench::new("similarity", 10);
    let build = |measure: Measure, threads: usize| {
        let options = SimilarityOptions { measure, ..SimilarityOptions::default() };
        let builder = NeighbourBuilder::new(&matrix, options).expect("valid options").with_threads(threads);
        timed(|| drop(black_box(builder.lists().expect("lists"))))
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    bench.measure("plain", events.len(), || {
        timed(|| {
            black_box(plain_cosine(&events));
        })
    });
    bench.measure("cosine/one thread", events.len(), || build(Measure::Cosine, 1));
    bench.measure("cosine", events.len(), || build(Measure::Cosine, cores));
    bench.measure("adjusted-cosine", events.len(), || build(Measure::AdjustedCosine, cores));
    bench.measure("pearson", events.len(), || build(Measure::Pearson, cores));
    bench.measure("jaccard", events.len(), || build(Measure::Jaccard, cores));
    let (plain, one, all) = (bench.rate("plain"), bench.rate("cosine/one thread"), bench.rate("cosine"));
    println!("cosine on one thread / plain: {:.1} of the rate", one / plain);
    println!("cosine on {cores} threads / one:  {:.2} of the rate", all / one);
}
