//! Which item a user takes: popular ones and those of the user's taste more often, none twice.
//!
//! All items lie end to end on a ring, each as long as its weight. The ring of a user with n ratings is cut
//! into n equal arcs from a random start, and each rating takes an item that *begins* within its own arc; so
//! no item is taken twice, without remembering what was taken. It needs items no longer than an arc: weights
//! are capped, the more the more the user rates, so there are rings for few and for many ratings. That
//! those who rate most reach furthest into the tail is what rating logs show too.

use rand_chacha::ChaCha8Rng;

use super::{TASTES, below, shuffle, zipf_mandelbrot};

/// How much likelier an item of the own taste is.
const OWN_TASTE: u64 = 6;
/// Arcs of the least capped ring, and how many times more the next one has.
const FIRST_ARCS: u64 = 64;
const ARCS_FACTOR: u64 = 4;

/// The rings of every taste and number of arcs.
#[derive(Debug)]
pub(super) struct Rings {
    tastes: Vec<u8>,
    /// For each level of capping, a ring for each taste.
    levels: Vec<Vec<Ring>>,
}

/// Where a user stands on the ring.
#[derive(Debug)]
pub(super) struct Draw {
    start: u64,
    arc: u64,
    stride: u64,
}

#[derive(Debug)]
struct Ring {
    /// Where each item ends; items lie in the order of their numbers.
    ends: Vec<u64>,
    /// For each bucket of 2^`shift` positions, the item at its beginning.
    guide: Vec<u32>,
    shift: u32,
}

impl Rings {
    /// Rings of `items` for users with up to `most` ratings.
    pub(super) fn new(items: u64, most: u64, rng: &mut ChaCha8Rng) -> Rings {
        let tastes: Vec<u8> = (0..items).map(|_| below(rng, TASTES) as u8).collect();
        let mut weights: Vec<u64> = (0..items).map(|rank| zipf_mandelbrot(rank, items / 500)).collect();
        shuffle(&mut weights, rng);
        let mut levels = Vec::new();
        let mut arcs = FIRST_ARCS;
        loop {
            let ring = |taste| Ring::new(&weights, &tastes, taste, arcs.min(items));
            levels.push((0..TASTES).map(ring).collect());
            if arcs >= most {
                break;
            }
            arcs *= ARCS_FACTOR;
        }
        Rings { tastes, levels }
    }

    /// The taste that an item belongs to.
    pub(super) fn taste(&self, item: usize) -> u64 {
        u64::from(self.tastes[item])
    }

    /// Where a user of this taste with this many ratings begins.
    pub(super) fn begin(&self, taste: u64, ratings: u64, rng: &mut ChaCha8Rng) -> Draw {
        let length = self.ring(taste, ratings).map_or(0, Ring::length);
        let (start, arc) = (below(rng, length), below(rng, ratings));
        let mut stride = 1 + below(rng, ratings);
        while ratings > 0 && greatest_common_divisor(stride, ratings) != 1 {
            stride = stride % ratings + 1;
        }
        Draw { start, arc, stride }
    }

    /// The user's next item; to be called at most `ratings` times.
    pub(super) fn take(&self, taste: u64, ratings: u64, draw: &mut Draw, rng: &mut ChaCha8Rng) -> usize {
        // Stride and ratings have no common divisor, so every arc has its turn once.
        draw.arc = (draw.arc + draw.stride) % ratings;
        self.ring(taste, ratings).map_or(0, |ring| ring.item_in_arc(draw.start, draw.arc, ratings, rng))
    }

    fn ring(&self, taste: u64, ratings: u64) -> Option<&Ring> {
        let mut arcs = FIRST_ARCS;
        let fits = |_: &&Vec<Ring>| {
            let fits = ratings <= arcs;
            arcs *= ARCS_FACTOR;
            fits
        };
        self.levels.iter().find(fits).map(|tastes| &tastes[taste as usize])
    }
}

impl Ring {
    fn new(weights: &[u64], tastes: &[u8], taste: u64, arcs: u64) -> Ring {
        let factor = |item: usize| if u64::from(tastes[item]) == taste { OWN_TASTE } else { 1 };
        let mut weights: Vec<u64> =
            weights.iter().enumerate().map(|(item, &weight)| weight * factor(item)).collect();
        cap(&mut weights, arcs);
        let ends: Vec<u64> = weights
            .iter()
            .scan(0, |end, &weight| {
                *end += weight;
                Some(*end)
            })
            .collect();
        let length = ends.last().copied().unwrap_or(0);
        let bucket = length / ends.len().max(1) as u64;
        let shift = bucket.max(1).ilog2();
        let guide = (0..=length >> shift)
            .map(|bucket| ends.partition_point(|&end| end <= bucket << shift) as u32)
            .collect();
        Ring { ends, guide, shift }
    }

    fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// An item that begins in this arc; there is one, as no item is longer than an arc.
    fn item_in_arc(&self, start: u64, arc: u64, arcs: u64, rng: &mut ChaCha8Rng) -> usize {
        let (whole, rest) = (self.length() / arcs, self.length() % arcs);
        let arc_start = arc * whole + arc * rest / arcs;
        let arc_length = whole + (arc + 1) * rest / arcs - arc * rest / arcs;
        let into_arc = below(rng, arc_length);
        let position = (start + arc_start + into_arc) % self.length();
        let item = self.item_at(position);
        let into_item = position - if item == 0 { 0 } else { self.ends[item - 1] };
        if into_item <= into_arc { item } else { (item + 1) % self.ends.len() }
    }

    fn item_at(&self, position: u64) -> usize {
        let mut item = self.guide[(position >> self.shift) as usize] as usize;
        while self.ends[item] <= position {
            item += 1;
        }
        item
    }
}

/// Cuts weights down to the greatest length that still lets `arcs` equal arcs be as long.
fn cap(weights: &mut [u64], arcs: u64) {
    let mut cap = u64::MAX;
    loop {
        let total: u64 = weights.iter().map(|&weight| weight.min(cap)).sum();
        let arc = total / arcs.max(1);
        if arc >= cap || weights.iter().all(|&weight| weight <= arc) {
            break;
        }
        cap = arc;
    }
    weights.iter_mut().for_each(|weight| *weight = (*weight).min(cap));
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capped_weights_are_no_longer_than_an_arc() {
        for arcs in [1, 2, 50, 100] {
            let mut weights: Vec<u64> = (0..100).map(|rank| zipf_mandelbrot(rank, 0)).collect();
            cap(&mut weights, arcs);
            let total: u64 = weights.iter().sum();
            assert!(weights.iter().all(|&weight| weight >= 1 && weight <= total / arcs), "{arcs} arcs");
        }
    }
}
