//! The one layer that repeats requests: a budget of attempts and of time, full jitter, deadlines.
//!
//! The clients below repeat nothing (their own retries are off), so the number of requests under an outage is the
//! budget's and not a product of layers. Full jitter: each wait is drawn evenly from zero to a ceiling that doubles
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::RetryConfig;

/// Whether a failed attempt is worth another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same request may succeed.
    Retry,
    /// It will fail again.
    Stop,
}

/// How one attempt failed.
#[derive(Debug)]
pub enum Attempt<E> {
    /// The service, or the way to it, answered with an error.
    Failed(E),
    /// There was no answer within the time of one attempt, or before the budget or the deadline ended. What was
    /// asked for may still happen.
    TimedOut,
}

/// Why no further attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// The failure is permanent.
    Permanent,
    /// The attempts, or the time, of the budget are spent.
    Budget,
    /// The caller's deadline passed.
    Deadline,
}

/// A request that did not succeed.
#[derive(Debug)]
pub struct Exhausted<E> {
    /// How many attempts were begun; none if the deadline had passed before the first.
    pub attempts: u32,
    /// Why there were no more.
    pub reason: GaveUp,
    /// How the last one failed; `None` if there was none.
    pub last: Option<Attempt<E>>,
}

/// The budget, the time of one attempt and the source of jitter. Shared by all requests of one client.
#[derive(Debug)]
pub struct RetryPolicy {
    config: RetryConfig,
    attempt_timeout: Duration,
    random: AtomicU64,
}

impl RetryPolicy {
    /// A policy; `seed` decides the jitter.
    pub fn new(config: RetryConfig, attempt_timeout: Duration, seed: u64) -> RetryPolicy {
        RetryPolicy { config, attempt_timeout, random: AtomicU64::new(seed) }
    }

    /// The ceilings of the waits between attempts, one fewer than attempts.
    fn ceilings(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.config.first_delay)
            .with_max_delay(self.config.max_delay)
            .with_max_times(self.config.max_attempts.saturating_sub(1) as usize)
            .build()
    }

    /// The attempts at one thing, which begin now.
    pub(crate) fn attempts(&self, deadline: Option<Instant>) -> Attempts<'_> {
        let budget_end = Instant::now() + self.config.max_elapsed;
        let (end, out_of_time) = match deadline {
            Some(deadline) if deadline <= budget_end => (deadline, GaveUp::Deadline),
            _ => (budget_end, GaveUp::Budget),
        };
        Attempts { policy: self, ceilings: self.ceilings(), end, out_of_time }
    }

    /// A wait drawn evenly from zero to `ceiling`.
    fn jittered(&self, ceiling: Duration) -> Duration {
        // SplitMix64 (Steele, Lea, Flood 2014): its state is a counter, which callers can share.
        let mut bits = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        ceiling.mul_f64(fraction)
    }
}

/// The attempts at one thing, for work that is more than one request repeated.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    ceilings: ExponentialBackoff,
    end: Instant,
    /// Why there are no more once `end` has come.
    out_of_time: GaveUp,
}

impl Attempts<'_> {
    /// When an attempt that begins now is given up.
    ///
    /// # Errors
    /// Why there is no time for one.
    pub(crate) fn begin(&self) -> Result<Instant, GaveUp> {
        let now = Instant::now();
        if now >= self.end {
            return Err(self.out_of_time);
        }
        Ok(self.end.min(now + self.policy.attempt_timeout))
    }

    /// What `future` gives within the time that all attempts together have.
    ///
    /// # Errors
    /// Why there is no more time.
    pub(crate) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, GaveUp> {
        timeout_at(self.end, future).await.map_err(|_| self.out_of_time)
    }

    /// Begins to count anew: the last attempt got something done, though not all.
    pub(crate) fn progress(&mut self) {
        self.ceilings = self.policy.ceilings();
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn wait(&mut self) -> Result<(), GaveUp> {
        let ceiling = self.ceilings.next().ok_or(GaveUp::Budget)?;
        let wait = self.policy.jittered(ceiling);
        if Instant::now() + wait >= self.end {
            return Err(self.out_of_time);
        }
        sleep(wait).await;
        Ok(())
    }
}

/// Makes attempts of `op` until one succeeds, `classify` says that it is no use, or the budget or the deadline ends.
///
/// An attempt is dropped when its time is over, at the end of the budget or at the deadline, whichever is first: the
/// call returns by then, whatever `op` does. An attempt that timed out is worth another. No wait is begun that would
/// end after the deadline or the budget.
///
/// # Errors
/// [`Exhausted`], with the last failure.
pub async fn with_retries<T, E, F>(
    policy: &RetryPolicy,
    deadline: Option<Instant>,
    mut classify: impl FnMut(&E) -> Verdict,
    mut op: impl FnMut() -> F,
) -> Result<T, Exhausted<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut budget = policy.attempts(deadline);
    let (mut attempts, mut last) = (0, None);
    loop {
        let end = match budget.begin() {
            Ok(end) => end,
            Err(reason) => return Err(Exhausted { attempts, reason, last }),
        };
        attempts += 1;
        match timeout_at(end, op()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if classify(&error) == Verdict::Stop => {
                let last = Some(Attempt::Failed(error));
                return Err(Exhausted { attempts, reason: GaveUp::Permanent, last });
            }
            Ok(Err(error)) => last = Some(Attempt::Failed(error)),
            Err(_) => last = Some(Attempt::TimedOut),
        }
        if let Err(reason) = budget.wait().await {
            return Err(Exhausted { attempts, reason, last });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::{pending, ready};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(seed: u64) -> RetryPolicy {
        RetryPolicy::new(RetryConfig::default(), 10 * SECOND, seed)
    }

    fn retry(_: &&str) -> Verdict {
        Verdict::Retry
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_attempt_succeeds() {
        let calls = Cell::new(0);
        let op = || {
            calls.set(calls.get() + 1);
            ready(if calls.get() == 3 { Ok(7) } else { Err("busy") })
        };
        assert_eq!(with_retries(&policy(1), None, retry, op).await.unwrap(), 7);
        assert_eq!(calls.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_is_not_repeated() {
        let policy = policy(1);
        let exhausted = with_retries(&policy, None, |_| Verdict::Stop, || ready(Err::<(), _>("denied")));
        let exhausted = exhausted.await.unwrap_err();
        assert_eq!((exhausted.attempts, exhausted.reason), (1, GaveUp::Permanent));
        assert!(matches!(exhausted.last, Some(Attempt::Failed("denied"))));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_with_the_budget_and_waits_are_jittered_below_doubling_ceilings() {
        let mut distinct = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let times = RefCell::new(Vec::new());
            let op = || {
                times.borrow_mut().push(Instant::now());
                ready(Err::<(), _>("busy"))
            };
            let exhausted = with_retries(&policy(seed), None, retry, op).await.unwrap_err();
            assert_eq!((exhausted.attempts, exhausted.reason), (6, GaveUp::Budget));
            let times = times.into_inner();
            for (index, pair) in times.windows(2).enumerate() {
                let wait = pair[1] - pair[0];
                // The timer's grain is a millisecond.
                assert!(wait <= Duration::from_millis(50 << index) + Duration::from_millis(1), "{wait:?}");
                distinct.insert(wait);
            }
        }
        assert!(distinct.len() > 100, "{} waits differ", distinct.len());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let policy = policy(seed);
            (0..10).map(|_| policy.jittered(SECOND)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_attempt_is_given_up_and_repeated() {
        let calls = Cell::new(0);
        let op = || {
            calls.set(calls.get() + 1);
            let stalls = calls.get() == 1;
            async move {
                if stalls {
                    pending::<()>().await;
                }
                Ok::<_, &str>(())
            }
        };
        let start = Instant::now();
        with_retries(&policy(1), None, retry, op).await.unwrap();
        assert!(start.elapsed() >= 10 * SECOND && start.elapsed() < 11 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_stalls_for_ever_returns_at_its_deadline() {
        let start = Instant::now();
        let stalled = || pending::<Result<(), &str>>();
        let exhausted =
            with_retries(&policy(1), Some(start + 15 * SECOND), retry, stalled).await.unwrap_err();
        assert_eq!((exhausted.attempts, exhausted.reason), (2, GaveUp::Deadline));
        assert!(matches!(exhausted.last, Some(Attempt::TimedOut)));
        assert_eq!(start.elapsed(), 15 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_budget_ends_a_call_without_deadline() {
        let start = Instant::now();
        let stalled = || pending::<Result<(), &str>>();
        let exhausted = with_retries(&policy(1), None, retry, stalled).await.unwrap_err();
        assert_eq!(exhausted.reason, GaveUp::Budget);
        assert!(start.elapsed() <= 30 * SECOND, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_makes_no_attempt() {
        let calls = Cell::new(0);
        let op = || {
            calls.set(calls.get() + 1);
            ready(Err::<(), _>("busy"))
        };
        let exhausted = with_retries(&policy(1), Some(Instant::now()), retry, op).await.unwrap_err();
        assert_eq!((exhausted.attempts, exhausted.reason, calls.get()), (0, GaveUp::Deadline, 0));
        assert!(exhausted.last.is_none());
    }
}
