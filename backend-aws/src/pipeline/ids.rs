//! Ids as numbers, so that many rows of few ids are small and are compared without looking at texts. No I/O.

use std::hash::{BuildHasher, RandomState};

/// No id.
const FREE: u32 = u32::MAX;

/// Distinct ids, numbered from 0 in the order in which they came.
///
/// A hash table of numbers beside one text of all ids: hash maps with a string for each id take several times the
/// memory, and miss the cache twice for each look-up.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    text: String,
    /// Where each id ends in the text.
    ends: Vec<usize>,
    /// Of each place some bits of the hash, and the number or [`FREE`]; a power of two of them, at most half of them
    /// taken.
    places: Vec<(u32, u32)>,
    hasher: RandomState,
    last: Option<u32>,
}

impl Ids {
    /// The number of an id, which is taken in if it is new; `None` if there are too many.
    pub(crate) fn number(&mut self, id: &str) -> Option<u32> {
        // Rows often come in runs of one id.
        if let Some(last) = self.last
            && self.get(last) == id
        {
            return Some(last);
        }
        if self.places.len() < 2 * (self.ends.len() + 1) {
            self.grow();
        }
        let (mut at, bits) = self.place(id);
        while self.places[at].1 != FREE {
            let (found, number) = self.places[at];
            if found == bits && self.get(number) == id {
                self.last = Some(number);
                return self.last;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
        let number = u32::try_from(self.ends.len()).ok().filter(|number| *number != FREE)?;
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.places[at] = (bits, number);
        self.last = Some(number);
        self.last
    }

    /// Where to look for an id first, and the bits of its hash that are kept.
    fn place(&self, id: &str) -> (usize, u32) {
        let hash = self.hasher.hash_one(id);
        (hash as usize & (self.places.len() - 1), (hash >> 32) as u32)
    }

    fn grow(&mut self) {
        self.places = vec![(0, FREE); (4 * self.ends.len()).next_power_of_two().max(16)];
        for number in 0..self.ends.len() as u32 {
            let (mut at, bits) = self.place(self.get(number));
            while self.places[at].1 != FREE {
                at = (at + 1) & (self.places.len() - 1);
            }
            self.places[at] = (bits, number);
        }
    }

    /// The id of a number that [`number`](Self::number) gave.
    pub(crate) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let begin = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.text[begin..self.ends[number]]
    }

    /// The same ids in their order, and the rank of each by its number.
    pub(crate) fn ranked(self) -> (RankedIds, Vec<u32>) {
        let mut numbers: Vec<u32> = (0..self.ends.len() as u32).collect();
        numbers.sort_unstable_by(|left, right| self.get(*left).cmp(self.get(*right)));
        let mut ranks = vec![0; numbers.len()];
        for (rank, number) in (0..).zip(&numbers) {
            ranks[*number as usize] = rank;
        }
        (RankedIds { ids: Ids { places: Vec::new(), ..self }, numbers }, ranks)
    }
}

/// Distinct ids, in the order of their bytes.
#[derive(Debug)]
pub(crate) struct RankedIds {
    ids: Ids,
    numbers: Vec<u32>,
}

impl RankedIds {
    /// The id of a rank.
    pub(crate) fn get(&self, rank: u32) -> &str {
        self.ids.get(self.numbers[rank as usize])
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.numbers.iter().map(|number| self.ids.get(*number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;
    use recstore_testkit::hostile::HostileTexts;

    use super::*;

    proptest! {
        #[test]
        fn equal_ids_have_one_number_and_ranks_are_the_order_of_the_bytes(
            seed in any::<u64>(), picks in prop::collection::vec(0..200_usize, 0..1000),
        ) {
            let mut texts = HostileTexts::new(seed);
            let pool: Vec<String> = (0..200).map(|_| texts.id()).collect();
            let (mut ids, mut known) = (Ids::default(), HashMap::new());
            for pick in &picks {
                let (id, next) = (pool[*pick].as_str(), known.len() as u32);
                let number = *known.entry(id).or_insert(next);
                prop_assert_eq!(ids.number(id), Some(number));
                prop_assert_eq!(ids.get(number), id);
            }
            let (ranked, ranks) = ids.ranked();
            let sorted: BTreeSet<&str> = known.keys().copied().collect();
            prop_assert!(ranked.iter().eq(sorted.iter().copied()));
            for (id, number) in known {
                prop_assert_eq!(ranked.get(ranks[number as usize]), id);
            }
        }
    }
}
