//! When a request is tried again, and for how long: a budget of attempts and time, full jitter, deadlines.

use std::time::Duration;

use recstore_core::{Deadline, ErrorKind};
use tokio::time::Instant;

use super::calls::{CallError, Fault};

/// How often and how long something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// The most attempts in a row that achieve nothing, the first included; 8 by default.
    pub attempts: u32,
    /// The longest that all attempts may take together; 30 seconds by default.
    pub total: Duration,
    /// The longest wait after the first failure, which doubles with each; 25 ms by default.
    pub base: Duration,
    /// The longest wait of all; 5 seconds by default.
    pub cap: Duration,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget {
            attempts: 8,
            total: Duration::from_secs(30),
            base: Duration::from_millis(25),
            cap: Duration::from_secs(5),
        }
    }
}

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts {
    budget: RetryBudget,
    failures: u32,
    random: u64,
    end: Instant,
    deadline: Option<Instant>,
    /// Whether there are no more attempts because of the deadline.
    out_of_time: bool,
}

impl Attempts {
    pub(crate) fn new(budget: RetryBudget, seed: u64, deadline: Option<Deadline>) -> Attempts {
        let now = Instant::now();
        Attempts {
            budget,
            failures: 0,
            random: mix(seed),
            end: now + budget.total,
            deadline: deadline.map(|deadline| Instant::from_std(deadline.instant())),
            out_of_time: false,
        }
    }

    /// Whether the caller's deadline has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Runs a request until it answers, `timeout` has gone by or the deadline comes, whose failures tell that
    /// it may have been done.
    pub(crate) async fn bounded<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if self.is_late() {
            return Err(CallError::late(Fault::NotDone));
        }
        let end = Instant::now() + timeout;
        let until = self.deadline.map_or(end, |deadline| deadline.min(end));
        match tokio::time::timeout_at(until, call).await {
            Ok(answer) => answer,
            Err(_) if self.is_late() => Err(CallError::late(Fault::Unknown)),
            Err(_) => Err(CallError::timeout()),
        }
    }

    /// The failure that all attempts end with: the deadline, if that is why there are no more.
    pub(crate) fn ended(&self, mut failure: CallError) -> CallError {
        if self.out_of_time && failure.kind != ErrorKind::DeadlineExceeded {
            failure.kind = ErrorKind::DeadlineExceeded;
            failure.message = format!("the deadline leaves no time for another attempt: {}", failure.message);
        }
        failure
    }

    /// Takes note that the last attempt achieved something.
    pub(crate) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits for the next attempt; false if there is none.
    pub(crate) async fn again(&mut self) -> bool {
        self.failures += 1;
        let ceiling = self.budget.base * 2_u32.saturating_pow(self.failures - 1).min(1 << 20);
        // Full jitter (Brooker 2015, "Exponential backoff and jitter").
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let share = (mix(self.random) >> 11) as f64 / (1_u64 << 53) as f64;
        let next = Instant::now() + ceiling.min(self.budget.cap).mul_f64(share);
        let end = self.deadline.map_or(self.end, |deadline| deadline.min(self.end));
        if self.failures >= self.budget.attempts {
            return false;
        }
        if next >= end {
            self.out_of_time = self.deadline == Some(end);
            return false;
        }
        tokio::time::sleep_until(next).await;
        true
    }
}

/// The output function of SplitMix64.
pub(crate) fn mix(bits: u64) -> u64 {
    let mut mixed = bits;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
