//! Shards: ranges of a stable hash of the user's id, the same in every process and version.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use crate::{Error, Result};

/// BLAKE3 context of the shard hash; changing it moves every user.
const SHARD_CONTEXT: &str = "recstore 2026 shard hash v1";

/// The stable hash of an id: the first 8 bytes (big-endian) of BLAKE3 `derive_key`.
pub fn stable_hash(id: &str) -> u64 {
    // Of an id as short as most are, hashing the context took as long as hashing the id.
    static CONTEXT_KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(SHARD_CONTEXT));
    let mut hasher = blake3::Hasher::new_from_context_key(&CONTEXT_KEY);
    hasher.update(id.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Shard `index` of `count`: an equal range of [`stable_hash`]. The shards of one count are disjoint and complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardRange {
    index: u32,
    count: u32,
}

impl ShardRange {
    /// All users.
    pub const ALL: ShardRange = ShardRange { index: 0, count: 1 };

    /// Shard `index` (from 0) of `count`.
    ///
    /// # Errors
    /// `Invalid` if `count` is 0 or `index` is not below it.
    pub fn new(index: u32, count: u32) -> Result<ShardRange> {
        if index < count {
            return Ok(ShardRange { index, count });
        }
        Err(Error::invalid(
            "shard",
            format!("{index} of {count} is not a shard, indices run from 0 below the count"),
        ))
    }

    /// Every shard of `count`, in order.
    ///
    /// # Errors
    /// `Invalid` if `count` is 0.
    pub fn split(count: u32) -> Result<Vec<ShardRange>> {
        ShardRange::new(0, count)?;
        Ok((0..count).map(|index| ShardRange { index, count }).collect())
    }

    /// The hashes that belong to it.
    pub fn hashes(self) -> RangeInclusive<u64> {
        let boundary = |index: u32| (u128::from(index) << 64).div_ceil(u128::from(self.count));
        let first = boundary(self.index) as u64;
        let last = (boundary(self.index + 1) - 1) as u64;
        first..=last
    }

    /// Whether `id` belongs to it.
    pub fn contains(self, id: &str) -> bool {
        self.count == 1 || self.hashes().contains(&stable_hash(id))
    }
}

impl Default for ShardRange {
    fn default() -> ShardRange {
        ShardRange::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_and_complete() {
        for count in [1, 2, 3, 7, 16, 1000] {
            let shards = ShardRange::split(count).unwrap();
            assert_eq!(*shards[0].hashes().start(), 0);
            assert_eq!(*shards[shards.len() - 1].hashes().end(), u64::MAX);
            for pair in shards.windows(2) {
                assert_eq!(pair[0].hashes().end() + 1, *pair[1].hashes().start());
            }
        }
        assert!(ShardRange::new(3, 3).is_err());
    }

    /// Golden values: data is laid out by this hash, so it never changes.
    #[test]
    fn the_hash_is_fixed_for_ever() {
        assert_eq!(stable_hash("1"), 0x498a934529c00cd0);
        assert_eq!(stable_hash("🎬"), 0x0eb51d5c24ccee39);
    }
}
