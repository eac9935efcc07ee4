//! The rules of one proxy: which of them acts on a request, and how often they did.

use super::seen::Seen;
use recstore_test_cloud::{Action, Rule, RuleState, When};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The rules, in the order in which they were added.
#[derive(Default)]
pub(super) struct Script(Mutex<Rules>);

#[derive(Default)]
struct Rules {
    added: u64,
    active: Vec<Active>,
}

struct Active {
    state: RuleState,
    /// Dropped with the rule, which is what the requests that it holds wait for.
    holding: watch::Sender<()>,
}

/// What is to be done to one request.
pub(super) struct Order {
    pub(super) action: Action,
    /// How often the rule acted, with this time.
    pub(super) firing: u64,
    pub(super) hold: Hold,
}

/// Ends when the rule is removed.
#[derive(Clone)]
pub(super) struct Hold(watch::Receiver<()>);

impl Hold {
    /// Waits until the rule is removed, or no longer than `millis`.
    pub(super) async fn wait(mut self, millis: Option<u64>) {
        // Nothing is ever sent: it ends when the sender is gone.
        let removed = async move { while self.0.changed().await.is_ok() {} };
        match millis {
            None => removed.await,
            // Whichever comes first, there is nothing to tell.
            Some(millis) => drop(tokio::time::timeout(Duration::from_millis(millis), removed).await),
        }
    }
}

impl Script {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, rule: Rule) -> u64 {
        let mut rules = self.rules();
        rules.added += 1;
        let id = rules.added;
        let state = RuleState { id, rule, matched: 0, fired: 0 };
        rules.active.push(Active { state, holding: watch::channel(()).0 });
        id
    }

    pub(super) fn remove(&self, id: u64) -> bool {
        let mut rules = self.rules();
        let before = rules.active.len();
        rules.active.retain(|active| active.state.id != id);
        rules.active.len() < before
    }

    pub(super) fn clear(&self) {
        self.rules().active.clear();
    }

    pub(super) fn states(&self) -> Vec<RuleState> {
        self.rules().active.iter().map(|active| active.state.clone()).collect()
    }

    /// The order of the first rule that is about this request and due.
    pub(super) fn order(&self, seen: &Seen, body: &[u8]) -> Option<Order> {
        let mut rules = self.rules();
        for active in &mut rules.active {
            let state = &mut active.state;
            if !seen.is_meant_by(&state.rule, body) {
                continue;
            }
            state.matched += 1;
            if is_due(state.rule.when, state.matched) {
                state.fired += 1;
                return Some(Order {
                    action: state.rule.action.clone(),
                    firing: state.fired,
                    hold: Hold(active.holding.subscribe()),
                });
            }
        }
        None
    }
}

/// Whether the request of this number, counted from 1, is one of those that are meant.
fn is_due(when: When, number: u64) -> bool {
    match when {
        When::Always => true,
        When::First(count) => number <= count,
        When::Nth(nth) => number == nth,
        When::After(count) => number > count,
        When::Chance { probability, seed } => happens(probability, seed, number),
    }
}

/// Chance that depends on its arguments alone.
pub(super) fn happens(probability: f64, seed: u64, number: u64) -> bool {
    // The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
    let mut bits = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // 53 bits are what an f64 holds.
    let drawn = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    drawn < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(when: When) -> Vec<u64> {
        (1..=6).filter(|&number| is_due(when, number)).collect()
    }

    #[test]
    fn requests_are_counted_from_one() {
        assert_eq!(due(When::First(2)), [1, 2]);
        assert_eq!(due(When::Nth(3)), [3]);
        assert_eq!(due(When::After(4)), [5, 6]);
        assert_eq!(due(When::Always), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn chance_keeps_its_share_and_repeats_with_its_seed() {
        let hits = |probability, seed| (1..=10_000).filter(|&n| happens(probability, seed, n)).count();
        assert_eq!((hits(0.0, 1), hits(1.0, 1)), (0, 10_000));
        assert!((7_300..7_700).contains(&hits(0.75, 1)), "{}", hits(0.75, 1));
        let drawn = |seed| (1..=64).map(|n| happens(0.5, seed, n)).collect::<Vec<_>>();
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }
}
