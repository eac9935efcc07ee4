//! Whose turn it is: users come in random order, each exactly as often as its share of the ratings.

use rand_chacha::ChaCha8Rng;

use super::{SyntheticOptions, shuffle, zipf_mandelbrot};

/// How many ratings each user gives: long-tailed, in random order of users, at most one for each item.
pub(super) fn ratings_per_user(options: &SyntheticOptions, rng: &mut ChaCha8Rng) -> Vec<u64> {
    let weights: Vec<u64> =
        (0..options.users).map(|rank| zipf_mandelbrot(rank, options.users / 100)).collect();
    let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let mut weight_before: u128 = 0;
    let mut left = options.ratings;
    let mut shares: Vec<u64> = Vec::with_capacity(weights.len());
    for weight in weights {
        // Differences of rounded running totals add up to the whole.
        let rounded = |weight: u128| (u128::from(options.ratings) * weight / total) as u64;
        let share = rounded(weight_before + u128::from(weight)) - rounded(weight_before);
        weight_before += u128::from(weight);
        shares.push(share.min(options.items));
        left -= share.min(options.items);
    }
    // What the greatest users could not take goes to the next ones.
    for share in &mut shares {
        let more = left.min(options.items - *share);
        *share += more;
        left -= more;
    }
    shuffle(&mut shares, rng);
    shares
}

/// Draws users without replacement from their shares: a Fenwick tree of what is left.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Position i (from 1) holds the sum of the last `i & -i` users up to i.
    tree: Vec<u64>,
    top: usize,
}

impl Schedule {
    pub(super) fn new(shares: &[u64]) -> Schedule {
        let mut tree = vec![0; shares.len() + 1];
        tree[1..].copy_from_slice(shares);
        for position in 1..tree.len() {
            let parent = position + (position & position.wrapping_neg());
            if parent < tree.len() {
                tree[parent] += tree[position];
            }
        }
        let top = tree.len().next_power_of_two() / 2;
        Schedule { tree, top }
    }

    /// Takes one rating off the user to whom turn `turn` (below the sum of what is left) belongs.
    pub(super) fn take(&mut self, mut turn: u64) -> usize {
        let mut position = 0;
        let mut step = self.top;
        while step > 0 {
            let next = position + step;
            if next < self.tree.len() {
                if self.tree[next] <= turn {
                    turn -= self.tree[next];
                    position = next;
                } else {
                    // The user lies below `next`, whose sum loses one.
                    self.tree[next] -= 1;
                }
            }
            step /= 2;
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_comes_exactly_as_often_as_its_share() {
        for shares in [vec![1], vec![3, 0, 2], vec![0, 5, 1, 1, 0, 7, 2], vec![2; 8]] {
            let total: u64 = shares.iter().sum();
            let mut schedule = Schedule::new(&shares);
            let mut counts = vec![0; shares.len()];
            for left in (1..=total).rev() {
                counts[schedule.take(left * 7919 % left.max(1))] += 1;
            }
            assert_eq!(counts, shares);
        }
    }
}
