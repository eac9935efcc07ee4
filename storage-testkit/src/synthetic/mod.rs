//! Deterministic synthetic ratings: the same bytes on every machine and in every version.
//!
//! Who rates how much, what is popular and what is liked follow the shapes seen in rating logs: users and
//! items are long-tailed (Zipf–Mandelbrot), both belong to a few tastes, users mostly pick items of their own
//! taste and rate them higher. So items of one taste really are similar.
//!
//! - `ring`: which item a user takes; no user takes an item twice.
//! - `schedule`: whose turn it is.
//!
//! Everything is integer arithmetic on `ChaCha8`, whose output is fixed, so that no rounding of a platform
//! shows. Memory is proportional to users and items, never to ratings.

mod ring;
mod schedule;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use recstore_core::{Error, EventId, Rating, RatingValue, Result, Timestamp};

use ring::Rings;
use schedule::Schedule;

/// The number of tastes.
const TASTES: u64 = 8;
/// 2020-01-01T00:00:00Z, the first second of the data.
const FIRST_SECOND: u64 = 1_577_836_800;
/// 2024-01-01T00:00:00Z, the first second after it.
const END_SECOND: u64 = 1_704_067_200;
/// The most users and the most items.
const MAX_ENTITIES: u64 = 1 << 30;

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct SyntheticOptions {
    /// Users; those at the end of the tail may have no rating if there are few ratings.
    pub users: u64,
    /// Items; those at the end of the tail may have no rating.
    pub items: u64,
    /// Events, each of another (user, item).
    pub ratings: u64,
    /// Another seed makes other data of the same shape.
    pub seed: u64,
}

impl Default for SyntheticOptions {
    /// 10,000 users, 50,000 items, 500,000 ratings, seed 7.
    fn default() -> SyntheticOptions {
        SyntheticOptions { users: 10_000, items: 50_000, ratings: 500_000, seed: 7 }
    }
}

impl SyntheticOptions {
    /// The events in order of event time, from 2020 up to the end of 2023.
    ///
    /// Exactly [`ratings`](Self::ratings) events, all of different (user, item) pairs; ids are the numbers
    /// from 1, values half stars from 0.5 to 5, times whole seconds.
    ///
    /// # Errors
    /// `Invalid` that names the option: more ratings than pairs, or more than 2^30 users or items.
    pub fn events(self) -> Result<SyntheticEvents> {
        SyntheticEvents::new(self)
    }

    /// The events as [`Rating`]s, with derived event ids.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub fn ratings(self) -> Result<impl ExactSizeIterator<Item = Rating>> {
        Ok(self.events()?.map(Rating::from))
    }

    fn validate(self) -> Result<()> {
        for (field, count) in [("users", self.users), ("items", self.items)] {
            if count > MAX_ENTITIES {
                return Err(Error::invalid(field, format!("{count} is more than {MAX_ENTITIES}")));
            }
        }
        let pairs = self.users * self.items;
        if self.ratings > pairs {
            let text = format!("{} ratings of different pairs, there are only {pairs} pairs", self.ratings);
            return Err(Error::invalid("ratings", text));
        }
        Ok(())
    }
}

/// One generated event, as plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticEvent {
    /// Who, from 1.
    pub user: u64,
    /// What, from 1.
    pub item: u64,
    /// Half stars, 1 to 10.
    pub half_stars: u8,
    /// Event time in seconds since 1970, UTC.
    pub seconds: u64,
}

impl SyntheticEvent {
    /// The value in stars, 0.5 to 5.
    pub fn stars(self) -> f64 {
        f64::from(self.half_stars) / 2.0
    }
}

impl From<SyntheticEvent> for Rating {
    fn from(event: SyntheticEvent) -> Rating {
        let value = RatingValue::from_micros(i64::from(event.half_stars) * RatingValue::MICROS_PER_UNIT / 2);
        // Generated times lie within the range of timestamps, values within that of values.
        let rated_at = Timestamp::MIN.saturating_add(std::time::Duration::from_secs(event.seconds));
        Rating::from_parts(event.user.into(), event.item.into(), value.ok(), rated_at, None::<EventId>)
    }
}

/// The generated events; see [`SyntheticOptions::events`].
#[derive(Debug)]
pub struct SyntheticEvents {
    rng: ChaCha8Rng,
    schedule: Schedule,
    rings: Rings,
    users: Vec<UserState>,
    /// How much better or worse than others each item is, in half stars.
    quality: Vec<i8>,
    given: u64,
    total: u64,
}

#[derive(Debug)]
struct UserState {
    ratings: u64,
    taste: u64,
    /// How much higher or lower than others the user rates, in half stars.
    mood: i8,
    draw: ring::Draw,
}

impl SyntheticEvents {
    fn new(options: SyntheticOptions) -> Result<SyntheticEvents> {
        options.validate()?;
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let shares = schedule::ratings_per_user(&options, &mut rng);
        let most = shares.iter().copied().max().unwrap_or(0);
        let rings = Rings::new(options.items, most, &mut rng);
        let quality = (0..options.items).map(|_| spread(&mut rng, 2)).collect();
        let users = shares.iter().map(|&ratings| UserState::new(ratings, &rings, &mut rng)).collect();
        let schedule = Schedule::new(&shares);
        Ok(SyntheticEvents { rng, schedule, rings, users, quality, given: 0, total: options.ratings })
    }

    /// A second within the event's equal share of the years, so that times never go back.
    fn next_second(&mut self) -> u64 {
        let span = u128::from(END_SECOND - FIRST_SECOND);
        let within = u128::from(below(&mut self.rng, END_SECOND - FIRST_SECOND));
        let offset = (u128::from(self.given) * span + within) / u128::from(self.total);
        FIRST_SECOND + offset as u64
    }
}

impl Iterator for SyntheticEvents {
    type Item = SyntheticEvent;

    fn next(&mut self) -> Option<SyntheticEvent> {
        if self.given == self.total {
            return None;
        }
        let turn = below(&mut self.rng, self.total - self.given);
        let user = self.schedule.take(turn);
        let state = &mut self.users[user];
        let item = self.rings.take(state.taste, state.ratings, &mut state.draw, &mut self.rng);
        let liking = if self.rings.taste(item) == state.taste { 2 } else { -1 };
        let noise = spread(&mut self.rng, 2);
        let half_stars = (7 + liking + state.mood + self.quality[item] + noise).clamp(1, 10);
        let seconds = self.next_second();
        self.given += 1;
        Some(SyntheticEvent {
            user: user as u64 + 1,
            item: item as u64 + 1,
            half_stars: half_stars as u8,
            seconds,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.total - self.given).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for SyntheticEvents {}

impl UserState {
    fn new(ratings: u64, rings: &Rings, rng: &mut ChaCha8Rng) -> UserState {
        let taste = below(rng, TASTES);
        let mood = spread(rng, 1);
        let draw = rings.begin(taste, ratings, rng);
        UserState { ratings, taste, mood, draw }
    }
}

/// A number below `bound` (0 if that is 0); its bias of at most 2^-34 for bounds in use is part of the format.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// A number from −`reach` to `reach`, those in the middle more often.
fn spread(rng: &mut ChaCha8Rng, reach: u64) -> i8 {
    let sum = below(rng, reach + 1) + below(rng, reach + 1);
    sum as i8 - reach as i8
}

/// The weight of the entity at `rank`: 1 / (rank + 1 + flattening), as a fixed-point number above zero.
fn zipf_mandelbrot(rank: u64, flattening: u64) -> u64 {
    (1 << 40) / (rank + 1 + flattening)
}

/// Shuffles (Fisher–Yates).
fn shuffle<T>(values: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..values.len()).rev() {
        let other = below(rng, last as u64 + 1) as usize;
        values.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn options(users: u64, items: u64, ratings: u64) -> SyntheticOptions {
        SyntheticOptions { users, items, ratings, seed: 7 }
    }

    fn all(options: SyntheticOptions) -> Vec<SyntheticEvent> {
        options.events().unwrap().collect()
    }

    #[test]
    fn exactly_as_many_events_as_asked_all_of_different_pairs_in_order_of_time() {
        for (users, items, ratings) in [
            (1, 1, 1),
            (1, 1, 0),
            (0, 0, 0),
            (3, 4, 12),
            (7, 1000, 5000),
            (1000, 7, 5000),
            (500, 2000, 40_000),
        ] {
            let events = all(options(users, items, ratings));
            assert_eq!(events.len() as u64, ratings);
            let pairs: HashSet<(u64, u64)> = events.iter().map(|event| (event.user, event.item)).collect();
            assert_eq!(pairs.len() as u64, ratings);
            assert!(events.is_sorted_by_key(|event| event.seconds));
            for event in &events {
                assert!((1..=users).contains(&event.user) && (1..=items).contains(&event.item), "{event:?}");
                assert!((1..=10).contains(&event.half_stars), "{event:?}");
                assert!((FIRST_SECOND..END_SECOND).contains(&event.seconds), "{event:?}");
            }
        }
    }

    #[test]
    fn more_ratings_than_pairs_are_refused() {
        assert_eq!(options(3, 4, 13).events().unwrap_err().field(), Some("ratings"));
        assert_eq!(options(MAX_ENTITIES + 1, 4, 13).events().unwrap_err().field(), Some("users"));
    }

    #[test]
    fn users_and_items_are_long_tailed() {
        let events = all(options(1000, 5000, 50_000));
        for id in [|event: &SyntheticEvent| event.user, |event: &SyntheticEvent| event.item] {
            let mut counts: HashMap<u64, u64> = HashMap::new();
            events.iter().for_each(|event| *counts.entry(id(event)).or_default() += 1);
            let mut counts: Vec<u64> = counts.into_values().collect();
            counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
            let head: u64 = counts[..counts.len() / 10].iter().sum();
            assert!((20_000..40_000).contains(&head), "a tenth of the entities has {head} of 50,000");
        }
    }

    #[test]
    fn users_rate_their_own_taste_more_often_and_higher() {
        let mut events = options(1000, 5000, 50_000).events().unwrap();
        let mut own = (0, 0.0);
        let mut other = (0, 0.0);
        while let Some(event) = events.next() {
            let user = &events.users[event.user as usize - 1];
            let side =
                if events.rings.taste(event.item as usize - 1) == user.taste { &mut own } else { &mut other };
            side.0 += 1;
            side.1 += event.stars();
        }
        assert!(own.0 * 3 > other.0, "{own:?} {other:?}");
        assert!(own.1 / f64::from(own.0) > other.1 / f64::from(other.0) + 1.0, "{own:?} {other:?}");
    }

    #[test]
    fn another_seed_gives_other_data() {
        let base = options(100, 100, 100);
        assert_ne!(all(base), all(SyntheticOptions { seed: 8, ..base }));
    }

    /// FNV-1a over the numbers of the first 100,000 events of the default data set. Figures are quoted for
    /// data made from a seed, so this value never changes.
    #[test]
    fn the_bytes_are_fixed_for_ever() {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let events = SyntheticOptions::default().events().unwrap();
        for event in events.take(100_000) {
            for number in [event.user, event.item, u64::from(event.half_stars), event.seconds] {
                for byte in number.to_le_bytes() {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        assert_eq!(hash, 5_035_386_646_270_883_233);
    }
}
