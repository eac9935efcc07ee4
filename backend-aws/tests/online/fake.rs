//! A store in memory that answers as DynamoDB may on a bad day.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use recstore_aws::config::RetryConfig;
use recstore_aws::online::calls::{
    CallError, Condition, Conditional, DynamoCalls, Fault, GotBatch, MAX_BATCH_WRITES, MAX_GET_KEYS, Query,
    QueryPage, Write, WroteBatch,
};
use recstore_aws::online::item::{RawItem, item_bytes, key_of};
use recstore_aws::online::keys::ItemKey;
use recstore_aws::online::tables::{TableName, TableNames};
use recstore_aws::online::{Online, OnlineOptions};
use recstore_core::ErrorKind;

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The generator of one case among many.
    pub(crate) fn of_case(seed: u64, number: u64) -> Random {
        Random(Random(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).bits())
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// True in `percent` of 100.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent as usize
    }
}

/// A number that may be set by an environment variable.
pub(crate) fn from_env(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// The seed and the number of schedules, printed.
pub(crate) fn schedules(default: u64) -> (u64, u64) {
    let (seed, count) = (from_env("RECSTORE_SEED", 1), from_env("RECSTORE_ONLINE_SCHEDULES", default));
    println!("RECSTORE_SEED={seed} RECSTORE_ONLINE_SCHEDULES={count}");
    (seed, count)
}

/// Waits, without the millisecond that a timer takes for no wait at all.
async fn pause(wait: Duration) {
    if wait.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(wait).await;
    }
}

/// How often, in percent, what happens to a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// It is refused by throttling.
    pub throttled: u32,
    /// The connection breaks before it arrives.
    pub lost_before: u32,
    /// It is done and the answer is lost.
    pub lost_after: u32,
    /// It arrives long after its sender gave up, and is done then.
    pub stalled: u32,
    /// A key of a batch is left unprocessed.
    pub unprocessed: u32,
    /// The longest that a request takes each way, in milliseconds.
    pub latency: u64,
}

impl Weather {
    pub(crate) const FOUL: Weather =
        Weather { throttled: 8, lost_before: 5, lost_after: 8, stalled: 3, unprocessed: 15, latency: 40 };
}

/// A name of a table with a key.
pub(crate) type Place = (String, ItemKey);

#[derive(Debug)]
struct State {
    items: BTreeMap<Place, RawItem>,
    random: Random,
    weather: Weather,
    /// Keys whose partition always has too much to do.
    hot: BTreeSet<ItemKey>,
    /// Sizes of requests, by the name of the call.
    requests: Vec<(&'static str, usize)>,
    /// Operations whose next answers are lost, after being done.
    lose_answers: usize,
    /// The most bytes of one answer to a batch read, and of one page.
    answer_bytes: usize,
    page_bytes: usize,
}

/// The store; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

enum Fate {
    Done,
    LostAfter,
    Stalled,
}

impl Fake {
    pub(crate) fn new(seed: u64, weather: Weather) -> Fake {
        Fake(Arc::new(Mutex::new(State {
            items: BTreeMap::new(),
            random: Random::new(seed),
            weather,
            hot: BTreeSet::new(),
            requests: Vec::new(),
            lose_answers: 0,
            answer_bytes: 16 << 20,
            page_bytes: 1 << 20,
        })))
    }

    /// A handle whose requests time out after a second.
    pub(crate) fn online(&self, seed: u64) -> Online {
        let max_elapsed = Duration::from_secs(120);
        let retry = RetryConfig { max_attempts: 12, max_elapsed, ..RetryConfig::default() };
        let request_timeout = Duration::from_secs(1);
        let options = OnlineOptions { concurrency: 4, request_timeout, retry, seed };
        Online::new(Arc::new(self.clone()), TableNames::new("t.").unwrap(), options)
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.0.lock().unwrap().weather = weather;
    }

    pub(crate) fn set_hot(&self, key: ItemKey) {
        self.0.lock().unwrap().hot.insert(key);
    }

    pub(crate) fn cool(&self, key: &ItemKey) {
        self.0.lock().unwrap().hot.remove(key);
    }

    pub(crate) fn set_sizes(&self, answer_bytes: usize, page_bytes: usize) {
        let mut state = self.0.lock().unwrap();
        (state.answer_bytes, state.page_bytes) = (answer_bytes, page_bytes);
    }

    /// The answers of the next writes are lost after they are done.
    pub(crate) fn lose_answers(&self, count: usize) {
        self.0.lock().unwrap().lose_answers = count;
    }

    pub(crate) fn requests(&self) -> Vec<(&'static str, usize)> {
        self.0.lock().unwrap().requests.clone()
    }

    pub(crate) fn insert(&self, table: TableName, item: RawItem) {
        let place = (format!("t.{table}"), key_of(&item).unwrap());
        self.0.lock().unwrap().items.insert(place, item);
    }

    /// All tables are lost, and made again.
    pub(crate) fn lose_everything(&self) {
        self.0.lock().unwrap().items.clear();
    }

    pub(crate) fn items(&self, table: TableName) -> Vec<RawItem> {
        let name = format!("t.{table}");
        let state = self.0.lock().unwrap();
        state.items.iter().filter(|((of, _), _)| *of == name).map(|(_, item)| item.clone()).collect()
    }

    /// Takes time and trouble before a request is done; `writes` can have their answers lost.
    async fn arrive(&self, call: &'static str, size: usize, writes: bool) -> Result<Fate, CallError> {
        let (wait, fate) = {
            let mut state = self.0.lock().unwrap();
            state.requests.push((call, size));
            let weather = state.weather;
            let wait = state.random.below(weather.latency as usize + 1) as u64;
            let mut roll = state.random.below(100) as u32;
            let mut falls = |percent: u32| {
                let falls = roll < percent;
                roll = roll.saturating_sub(percent);
                falls && percent > 0
            };
            let fate = if falls(weather.throttled) {
                Err(throttled())
            } else if falls(weather.lost_before) || falls(weather.lost_after / 4 * u32::from(!writes)) {
                Err(CallError::new(Fault::Unknown, ErrorKind::Unavailable, "the connection broke"))
            } else if writes && falls(weather.lost_after) {
                Ok(Fate::LostAfter)
            } else if falls(weather.stalled) {
                Ok(Fate::Stalled)
            } else if writes && state.lose_answers > 0 {
                state.lose_answers -= 1;
                Ok(Fate::LostAfter)
            } else {
                Ok(Fate::Done)
            };
            (wait, fate)
        };
        pause(Duration::from_millis(wait)).await;
        fate
    }

    /// Does a request now, or long after its sender gave up.
    async fn apply<T: Send + 'static>(
        &self,
        fate: Fate,
        apply: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let back = {
            let mut state = self.0.lock().unwrap();
            let latency = state.weather.latency as usize;
            Duration::from_millis(state.random.below(latency + 1) as u64)
        };
        match fate {
            Fate::Done => {
                let answer = apply(&mut self.0.lock().unwrap());
                pause(back).await;
                Ok(answer)
            }
            Fate::LostAfter => {
                apply(&mut self.0.lock().unwrap());
                pause(back).await;
                Err(CallError::new(Fault::Unknown, ErrorKind::Unavailable, "the connection broke"))
            }
            Fate::Stalled => {
                // The sender drops this future when it gives up; the request is under way all the same.
                let store = self.clone();
                let late = Duration::from_millis(500 + 100 * store.0.lock().unwrap().random.below(30) as u64);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    apply(&mut store.0.lock().unwrap());
                });
                std::future::pending().await
            }
        }
    }
}

fn throttled() -> CallError {
    CallError::new(Fault::Throttled, ErrorKind::Busy, "throttled")
}

fn holds(stored: Option<&RawItem>, condition: &Condition) -> bool {
    match condition {
        Condition::Absent => stored.is_none(),
        Condition::Equals(attribute, value) => stored.and_then(|item| item.get(*attribute)) == Some(value),
        Condition::Below([first, second]) => stored.is_none_or(|item| {
            let order = |(attribute, value): &(&'static str, AttributeValue)| {
                item.get(*attribute).and_then(|stored| compare(stored, value))
            };
            match order(first) {
                Some(Ordering::Equal) => order(second) == Some(Ordering::Less),
                first => first == Some(Ordering::Less),
            }
        }),
    }
}

/// The order that the service has among values of one type; values of two types have none.
fn compare(left: &AttributeValue, right: &AttributeValue) -> Option<Ordering> {
    match (left, right) {
        (AttributeValue::N(left), AttributeValue::N(right)) => {
            Some(left.parse::<i128>().unwrap().cmp(&right.parse::<i128>().unwrap()))
        }
        (AttributeValue::B(left), AttributeValue::B(right)) => Some(left.as_ref().cmp(right.as_ref())),
        _ => None,
    }
}

#[async_trait]
impl DynamoCalls for Fake {
    async fn get_batch(&self, table: &str, keys: &[ItemKey]) -> Result<GotBatch, CallError> {
        assert!((1..=MAX_GET_KEYS).contains(&keys.len()), "{} keys", keys.len());
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "a key twice");
        let fate = self.arrive("get_batch", keys.len(), false).await?;
        let (table, keys) = (table.to_owned(), keys.to_vec());
        self.apply(fate, move |state| {
            let (mut answer, mut bytes) = (GotBatch::default(), 0);
            for key in keys {
                let unprocessed = state.weather.unprocessed;
                if state.hot.contains(&key) || state.random.chance(unprocessed) || bytes > state.answer_bytes
                {
                    answer.unprocessed.push(key);
                } else if let Some(item) = state.items.get(&(table.clone(), key)) {
                    bytes += item_bytes(item);
                    answer.items.push(item.clone());
                    answer.read_units += item_bytes(item).div_ceil(4096) as f64;
                } else {
                    answer.read_units += 1.0;
                }
            }
            // In any order.
            for at in (1..answer.items.len()).rev() {
                let other = state.random.below(at + 1);
                answer.items.swap(at, other);
            }
            answer
        })
        .await
    }

    async fn write_batch(&self, table: &str, writes: &[Write]) -> Result<WroteBatch, CallError> {
        assert!((1..=MAX_BATCH_WRITES).contains(&writes.len()), "{} writes", writes.len());
        let fate = self.arrive("write_batch", writes.len(), true).await?;
        let (table, writes) = (table.to_owned(), writes.to_vec());
        self.apply(fate, move |state| {
            let mut answer = WroteBatch::default();
            for write in writes {
                let key = match &write {
                    Write::Put(item) => key_of(item).unwrap(),
                    Write::Delete(key) => key.clone(),
                };
                let unprocessed = state.weather.unprocessed;
                if state.hot.contains(&key) || state.random.chance(unprocessed) {
                    answer.unprocessed.push(key);
                    continue;
                }
                answer.write_units += 1.0;
                match write {
                    Write::Put(item) => state.items.insert((table.clone(), key), item),
                    Write::Delete(_) => state.items.remove(&(table.clone(), key)),
                };
            }
            answer
        })
        .await
    }

    async fn put(
        &self,
        table: &str,
        item: &RawItem,
        condition: &Condition,
    ) -> Result<Conditional, CallError> {
        let fate = self.arrive("put", 1, true).await?;
        let (place, item, condition) =
            ((table.to_owned(), key_of(item).unwrap()), item.clone(), condition.clone());
        if self.0.lock().unwrap().hot.contains(&place.1) {
            return Err(throttled());
        }
        self.apply(fate, move |state| {
            if !holds(state.items.get(&place), &condition) {
                return Conditional::Refused;
            }
            let units = item_bytes(&item).div_ceil(1024) as f64;
            state.items.insert(place, item);
            Conditional::Done(units)
        })
        .await
    }

    async fn query(&self, table: &str, query: &Query) -> Result<QueryPage, CallError> {
        assert!(query.from <= query.to && query.limit > 0);
        let fate = self.arrive("query", query.limit as usize, false).await?;
        let (table, query) = (table.to_owned(), query.clone());
        self.apply(fate, move |state| {
            let key = |sort: &str| (table.clone(), ItemKey::new(query.partition.as_str(), sort).unwrap());
            let range = state.items.range(key(&query.from)..=key(&query.to));
            let mut items: Vec<(&ItemKey, &RawItem)> = range.map(|((_, key), item)| (key, item)).collect();
            if query.descending {
                items.reverse();
            }
            if let Some(after) = &query.after {
                let beyond = |key: &ItemKey| if query.descending { key < after } else { key > after };
                items.retain(|(key, _)| beyond(key));
            }
            let (mut page, mut bytes) = (QueryPage::default(), 0);
            for (key, item) in items {
                if page.items.len() == query.limit as usize || bytes > state.page_bytes {
                    break;
                }
                bytes += item_bytes(item);
                page.items.push(item.clone());
                page.next = Some(key.clone());
            }
            // As the service: a page that ended by itself has no next key, one at its limit has.
            if page.items.len() < query.limit as usize && bytes <= state.page_bytes {
                page.next = None;
            }
            page.read_units = bytes.div_ceil(4096) as f64;
            page
        })
        .await
    }
}

/// Runs a schedule on a clock that stands still but for waits.
pub(crate) fn run<F: Future>(schedule: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(schedule)
}
