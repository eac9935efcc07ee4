//! Random scripts on a backend under test and on the memory oracle: every answer must be the same.
//!
//! After each step what the calls answered is compared, at intervals and at the end everything that can be
//! read. A script that fails is made smaller before it is shown, together with the seed that makes it again.
//!
//! Environment: `RECSTORE_PROPTEST_CASES` (scripts, 64 by default), `RECSTORE_PROPTEST_STEPS` (the most steps
//! of one, 30 by default), `RECSTORE_PROPTEST_SEED` (a number that a failure printed; random by default).

mod side;

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use recstore_core::{ManualClock, MemoryStorage, Namespace, Storage, StoreContext, Timestamp};

use crate::strategies::{NAMESPACES, Operation, Step, script};
use side::Side;

/// Everything is read and compared after so many steps, and at the end.
const STEPS_BETWEEN_READS: usize = 10;
/// The most tries at making a failing script smaller.
const MAX_SHRINKS: usize = 400;

/// How many scripts of what length, from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelOptions {
    /// Scripts.
    pub cases: u64,
    /// The most steps of a script.
    pub steps: usize,
    /// The seed of the first script; the next ones count up from it.
    pub seed: u64,
}

impl ModelOptions {
    /// The options that the environment asks for.
    ///
    /// # Errors
    /// The variable that is not a number.
    pub fn from_env() -> Result<ModelOptions, String> {
        let cases = number("RECSTORE_PROPTEST_CASES")?.unwrap_or(64);
        let steps = number("RECSTORE_PROPTEST_STEPS")?.unwrap_or(30);
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
            let strategy = script(options.steps);
            let tree = strategy.new_tree(&mut runner(seed)).map_err(|reason| reason.to_string())?;
            if let Err(difference) = self.run_script(&tree.current()).await {
                let (script, difference) = self.shrink(tree, difference).await;
                let lines: Vec<String> = script.iter().map(|step| format!("{step:?}")).collect();
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

    async fn shrink(
        &mut self,
        mut tree: impl ValueTree<Value = Vec<Step>>,
        difference: String,
    ) -> (Vec<Step>, String) {
        let mut smallest = (tree.current(), difference);
        let mut goes_on = tree.simplify();
        for _ in 0..MAX_SHRINKS {
            if !goes_on {
                break;
            }
            let script = tree.current();
            goes_on = match self.run_script(&script).await {
                Err(difference) => {
                    smallest = (script, difference);
                    tree.simplify()
                }
                Ok(()) => tree.complicate(),
            };
        }
        smallest
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
        let mut sides = Vec::new();
        for namespace in 0..NAMESPACES {
            let name =
                Namespace::new(format!("model-{}-{namespace}", self.runs)).map_err(|e| e.to_string())?;
            sides.push((Side::new(&*self.storage, name.clone()), Side::new(&*oracle, name)));
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
            if index % STEPS_BETWEEN_READS == STEPS_BETWEEN_READS - 1 || index + 1 == script.len() {
                compare_reads(&sides).await.map_err(|text| format!("after step {index}: {text}"))?;
            }
        }
        Ok(())
    }

    fn move_clock(&self, millis: i64) {
        let duration = std::time::Duration::from_millis(millis.unsigned_abs());
        self.clock.set(self.context.clock.now().saturating_add(duration));
    }
}

async fn compare_reads(sides: &[(Side, Side)]) -> Result<(), String> {
    for (namespace, (side, oracle)) in sides.iter().enumerate() {
        let (found, expected) = (side.read_all().await, oracle.read_all().await);
        for ((read, found), (_, expected)) in found.into_iter().zip(expected) {
            if found != expected {
                return Err(differs(&format!("{read} of namespace {namespace}"), &found, &expected));
            }
        }
    }
    Ok(())
}

fn differs(what: &str, found: &str, expected: &str) -> String {
    format!("{what} differs from the oracle\n   found {found}\nexpected {expected}")
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // Failures are reported with their seed; nothing is kept in files.
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
