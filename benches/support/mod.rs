//! What the benchmarks share: generated ratings, and ratios of what was measured in one run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use recstore_core::Rating;
use recstore_testkit::synthetic::SyntheticOptions;

/// Generated ratings; `RECSTORE_BENCH_EVENTS` sets how many.
pub(crate) fn events(users: u64, items: u64, default: u64) -> Vec<Rating> {
    let asked = std::env::var("RECSTORE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let options = SyntheticOptions { users, items, ratings: asked.unwrap_or(default), seed: 7 };
    options.ratings().expect("valid options").collect()
}

/// How long `run` takes.
pub(crate) fn timed(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

/// Measures by criterion, and keeps the median rate of each benchmark for ratios.
///
/// Machines are noisy: only rates of one run are compared.
pub(crate) struct Bench {
    criterion: Criterion,
    group: &'static str,
    samples: usize,
    rates: HashMap<&'static str, Vec<f64>>,
}

impl Bench {
    pub(crate) fn new(group: &'static str, samples: usize) -> Bench {
        Bench { criterion: Criterion::default().configure_from_args(), group, samples, rates: HashMap::new() }
    }

    /// Measures `run`, which does `count` things and says how long they took.
    pub(crate) fn measure(&mut self, name: &'static str, count: usize, mut run: impl FnMut() -> Duration) {
        let rates = self.rates.entry(name).or_default();
        let mut group = self.criterion.benchmark_group(self.group);
        group.sample_size(self.samples).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let taken = run();
                    rates.push(count as f64 / taken.as_secs_f64());
                    total += taken;
                }
                total
            });
        });
        group.finish();
    }

    /// The median rate of a benchmark, in things a second; NaN if it was filtered out.
    pub(crate) fn rate(&self, name: &str) -> f64 {
        let mut rates = self.rates.get(name).cloned().unwrap_or_default();
        rates.sort_unstable_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
    }
}
