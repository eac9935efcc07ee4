//! Random scripts on a backend under test and on the memory oracle: every answer must be the same.
//!
//! After each step what the calls answered is compared, at intervals fingerprints, figures and, in turn, one
//! of four parts of what can be read, at the end everything. A script that fails is made smaller before it
//! is shown, together with the seed that makes it again.
//!
//! Environment: `RECSTORE_PROPTEST_CASES` (scripts), `RECSTORE_PROPTEST_STEPS` (the random steps of each),
//! `RECSTORE_PROPTEST_SEED` (a number that a failure printed; random by default).

mod shrink;
mod side;
mod threads;

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use recstore_core::{ManualClock, MemoryStorage, Namespace, Storage, StoreContext, Timestamp};

use crate::strategies::{NAMESPACES, Operation, Step, script};
use side::{Reads, Side};
pub use threads::run_on_threads;

/// The summary and a part of what can be read are compared after so many steps, everything at the end.
const STEPS_BETWEEN_READS: usize = 10;
/// The most tries at making a failing script smaller.
const MAX_SHRINKS: usize = 400;

/// How many scripts of what length, from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelOptions {
    /// Scripts.
    pub cases: u64,
    /// The random steps of a script.
    pub steps: usize,
    /// The seed of the first script; the next ones count up from it.
    pub seed: u64,
}

impl ModelOptions {
    /// The options that the environment asks for; unless it does, so many scripts of 100 steps.
    ///
    /// # Errors
    /// The variable that is not a number.
    pub fn from_env(cases: u64) -> Result<ModelOptions, String> {
        let cases = number("RECSTORE_PROPTEST_CASES")?.unwrap_or(cases);
        let steps = number("RECSTORE_PROPTEST_STEPS")?.unwrap_or(100);
        let seed = number("RECSTORE_PROPTEST_SEED")?.unwrap_or_else(|| RandomState::new().hash_one(0) >> 1);
        Ok(ModelOptions { cases, steps: usize::try_from(steps).unwrap_or(usize::MAX).max(1), seed })
    }
}

fn number(variable: &str) -> Result<Option<u64>, String> {
    match env::var(variable) {
        Ok(text) => text.parse().map(Some).map_err(|_| format!("{variable}: {text:?} is not a number")),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{variable} is not text")),
    }
}

/// A backend under test, and what it is compared with.
#[derive(Debug)]
pub struct Model {
    storage: Arc<dyn Storage>,
    context: StoreContext,
    clock: Arc<ManualClock>,
    start: Timestamp,
    runs: usize,
}

impl Model {
    /// Compares `storage`, which was opened with `context`, whose clock is `clock` and stands at its start.
    pub fn new(storage: Arc<dyn Storage>, context: StoreContext, clock: Arc<ManualClock>) -> Model {
        let start = context.clock.now();
        Model { storage, context, clock, start, runs: 0 }
    }

    /// Runs random scripts until one fails or all are done.
    ///
    /// # Errors
    /// What differed, with the smallest script found that shows it and the seed that makes it again.
    pub async fn run(&mut self, options: ModelOptions) -> Result<(), String> {
        for case in 0..options.cases {
            let seed = options.seed.wrapping_add(case);
            let steps = random_script(seed, options.steps)?;
            if let Err(difference) = self.run_script(&steps).await {
                let (steps, difference) = self.smallest(steps, difference).await;
                let lines: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
                let replay = format!("RECSTORE_PROPTEST_SEED={seed} RECSTORE_PROPTEST_CASES=1");
                let steps = format!("RECSTORE_PROPTEST_STEPS={}", options.steps);
                return Err(format!(
                    "{difference}\nafter\n{}\nagain with {replay} {steps}",
                    lines.join("\n")
                ));
            }
        }
        Ok(())
    }

    /// Leaves out of a failing script what it fails without, tried in a fixed order.
    async fn smallest(&mut self, mut steps: Vec<Step>, mut difference: String) -> (Vec<Step>, String) {
        let mut tries = MAX_SHRINKS;
        let mut again = true;
        while std::mem::take(&mut again) {
            let mut smaller = shrink::Smaller::new(steps.len());
            while let Some(candidate) = smaller.next(&steps) {
                if tries == 0 {
                    return (steps, difference);
                }
                tries -= 1;
                if let Err(text) = self.run_script(&candidate).await {
                    (steps, difference) = (candidate, text);
                    smaller.taken();
                    again = true;
                }
            }
        }
        (steps, difference)
    }

    /// Runs one script in new namespaces.
    ///
    /// # Errors
    /// What differed first.
    pub async fn run_script(&mut self, script: &[Step]) -> Result<(), String> {
        self.runs += 1;
        self.clock.set(self.start);
        let outcome = AssertUnwindSafe(self.compare(script)).catch_unwind().await;
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Err(format!("a call panicked: {text}"))
        })
    }

    async fn compare(&self, script: &[Step]) -> Result<(), String> {
        let oracle: Arc<dyn Storage> =
            Arc::new(MemoryStorage::new(Namespace::default(), self.context.clone()));
        let fresh = self.storage.capabilities().fresh_reads;
        let mut sides = Vec::new();
        for namespace in 0..NAMESPACES {
            // Each is the beginning of the next.
            let name = format!("model-{}{}", self.runs, "-".repeat(namespace));
            let name = Namespace::new(name).map_err(|e| e.to_string())?;
            sides.push((Side::new(&*self.storage, name.clone(), fresh), Side::new(&*oracle, name, fresh)));
        }
        for (index, step) in script.iter().enumerate() {
            let (side, oracle) = &mut sides[step.namespace % NAMESPACES];
            if let Operation::MoveClock(millis) = step.operation {
                self.move_clock(millis);
            }
            let (found, expected) = (side.perform(step).await, oracle.perform(step).await);
            if found != expected && !side.defers(&step.operation) {
                return Err(differs(&format!("step {index}, {step:?}"), &found, &expected));
            }
            if index % STEPS_BETWEEN_READS == STEPS_BETWEEN_READS - 1 {
                let part = index / STEPS_BETWEEN_READS;
                let (found, expected) = (side.read_some(part).await, oracle.read_some(part).await);
                compare_reads(step.namespace, found, expected)
                    .map_err(|text| format!("after step {index}: {text}"))?;
            }
        }
        for (namespace, (side, oracle)) in sides.iter().enumerate() {
            let (found, expected) = (side.read_all().await, oracle.read_all().await);
            compare_reads(namespace, found, expected).map_err(|text| format!("at the end: {text}"))?;
        }
        Ok(())
    }

    fn move_clock(&self, millis: i64) {
        let duration = std::time::Duration::from_millis(millis.unsigned_abs());
        self.clock.set(self.context.clock.now().saturating_add(duration));
    }
}

fn compare_reads(namespace: usize, found: Reads, expected: Reads) -> Result<(), String> {
    for ((read, found), (_, expected)) in found.into_iter().zip(expected) {
        if found != expected {
            return Err(differs(&format!("{read} of namespace {namespace}"), &found, &expected));
        }
    }
    Ok(())
}

fn differs(what: &str, found: &str, expected: &str) -> String {
    format!("{what} differs from the oracle\n   found {found}\nexpected {expected}")
}

fn random_script(seed: u64, steps: usize) -> Result<Vec<Step>, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // Failures are reported with their seed; nothing is kept in files.
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tree = script(steps).new_tree(&mut runner).map_err(|reason| reason.to_string())?;
    Ok(tree.current())
}
