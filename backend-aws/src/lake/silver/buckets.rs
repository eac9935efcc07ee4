//! Which part of a table an id belongs to.

use std::ops::RangeInclusive;

use recstore_core::model::stable_hash;
use recstore_core::{Error, Result, ShardRange};
use serde::{Deserialize, Serialize};

/// The number of buckets of a table: a power of two from 1 to 4,096.
///
/// Buckets are equal ranges of [`stable_hash`] of the id, in order: bucket b of n is shard b of n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Buckets(u32);

impl Buckets {
    /// The most buckets of a table.
    pub const MAX: u32 = 4096;

    /// Checks `count`.
    ///
    /// # Errors
    /// `Invalid` (field `buckets`) if it is no power of two from 1 to 4,096.
    pub fn new(count: u32) -> Result<Buckets> {
        if count.is_power_of_two() && count <= Buckets::MAX {
            return Ok(Buckets(count));
        }
        Err(Error::invalid("buckets", format!("{count} is no power of two from 1 to {}", Buckets::MAX)))
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0
    }

    /// The bucket of an id.
    pub fn of(self, id: &str) -> u32 {
        self.of_hash(stable_hash(id))
    }

    /// The bucket of an id by its [`stable_hash`]: the topmost bits.
    pub fn of_hash(self, hash: u64) -> u32 {
        ((u128::from(hash) * u128::from(self.0)) >> 64) as u32
    }

    /// The buckets that have ids of `shard`. Those at both ends may have ids of other shards too.
    pub fn touched(self, shard: ShardRange) -> RangeInclusive<u32> {
        let hashes = shard.hashes();
        self.of_hash(*hashes.start())..=self.of_hash(*hashes.end())
    }
}

impl TryFrom<u32> for Buckets {
    type Error = Error;

    fn try_from(count: u32) -> Result<Buckets> {
        Buckets::new(count)
    }
}

impl From<Buckets> for u32 {
    fn from(buckets: Buckets) -> u32 {
        buckets.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recstore_testkit::hostile::HostileTexts;

    use super::*;

    fn all() -> impl Iterator<Item = Buckets> {
        (0..=12).map(|power| Buckets::new(1 << power).unwrap())
    }

    #[test]
    fn counts_that_are_no_power_of_two_up_to_4096_are_refused() {
        for count in [0, 3, 6, 4095, 4097, 8192, u32::MAX] {
            assert_eq!(Buckets::new(count).unwrap_err().field(), Some("buckets"), "{count}");
            assert!(serde_json::from_str::<Buckets>(&count.to_string()).is_err());
        }
        for buckets in all() {
            let json = serde_json::to_string(&buckets).unwrap();
            assert_eq!(json, buckets.count().to_string());
            assert_eq!(serde_json::from_str::<Buckets>(&json).unwrap(), buckets);
        }
    }

    /// Golden values: files lie where this says.
    #[test]
    fn the_bucket_of_an_id_is_fixed_for_ever() {
        // Their hashes begin with 0x498a and 0x0eb5.
        let of = |count| ["1", "🎬"].map(|id| Buckets::new(count).unwrap().of(id));
        assert_eq!((of(1), of(2), of(16), of(4096)), ([0, 0], [0, 0], [4, 0], [0x498, 0x0eb]));
        for buckets in all() {
            assert_eq!((buckets.of_hash(0), buckets.of_hash(u64::MAX)), (0, buckets.count() - 1));
        }
    }

    proptest! {
        #[test]
        fn bucket_b_of_n_is_shard_b_of_n(seed in any::<u64>()) {
            let id = HostileTexts::new(seed).id();
            for buckets in all() {
                let bucket = buckets.of(&id);
                let shard = ShardRange::new(bucket, buckets.count()).unwrap();
                prop_assert!(shard.contains(&id));
                prop_assert_eq!(buckets.touched(shard), bucket..=bucket);
            }
        }

        #[test]
        fn a_shard_touches_the_buckets_of_its_ids_and_no_other(
            count in 1..5000_u32, index in any::<prop::sample::Index>(), power in 0..=12_u32, seed in any::<u64>(),
        ) {
            let shard = ShardRange::new(index.index(count as usize) as u32, count).unwrap();
            let buckets = Buckets::new(1 << power).unwrap();
            let touched = buckets.touched(shard);
            let id = HostileTexts::new(seed).id();
            if shard.contains(&id) {
                prop_assert!(touched.contains(&buckets.of(&id)));
            }
            for bucket in 0..buckets.count() {
                let own = ShardRange::new(bucket, buckets.count()).unwrap().hashes();
                let hashes = shard.hashes();
                let meets = own.start() <= hashes.end() && hashes.start() <= own.end();
                prop_assert_eq!(touched.contains(&bucket), meets);
            }
        }
    }

    #[test]
    fn all_users_touch_all_buckets() {
        for buckets in all() {
            assert_eq!(buckets.touched(ShardRange::ALL), 0..=buckets.count() - 1);
        }
    }
}
