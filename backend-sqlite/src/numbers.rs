//! Maps by the numbers of users and items, for loops over all ratings.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by number.
pub(crate) type NumberMap<V> = HashMap<i64, V, BuildHasherDefault<NumberHasher>>;

/// Hashes numbers that no caller chooses.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_i64(byte.into());
        }
    }

    fn write_i64(&mut self, number: i64) {
        // The table looks at both ends of the hash.
        self.0 = mixed(self.0 as i64 ^ number).rotate_left(32);
    }
}

/// Knuth's multiplicative hashing: the highest bits depend on all bits of the number.
#[inline]
pub(crate) fn mixed(number: i64) -> u64 {
    (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
