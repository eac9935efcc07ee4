//! The names of silver's tables, data files and log entries: the one place that writes and reads them.
//!
//! ```text
//! <prefix>/silver/v1/<ns>/<table>/bucket=<b>/<generation>-<16 hex digits of the digest>.parquet
//! <prefix>/silver/v1/<ns>/<table>/_delta_log/<version>.json
//! <prefix>/silver/v1/<ns>/<table>/_delta_log/<version>.checkpoint.parquet
//! ```
//!
//! As with the other keys every part needs no escapes, and a name reads back as exactly what it was made of. The bucket
//! is written as tools write a partition's value, without leading zeros.

use std::fmt;
use std::str::FromStr;

use recstore_core::{EntityKind, Error, FeatureName, Namespace, Result};

use crate::lake::keys::{SEQUENCE_DIGITS, digits};
use crate::lake::silver::buckets::Buckets;

const GROUP_PREFIX: &str = "features_";
const FILE_SUFFIX: &str = ".parquet";
const LOG_SUFFIX: &str = ".json";
const CHECKPOINT_SUFFIX: &str = ".checkpoint.parquet";
const LOG_FOLDER: &str = "_delta_log";
const DIGEST_DIGITS: usize = 16;

/// The folder of all tables of a namespace.
pub fn silver_folder(namespace: &Namespace) -> String {
    format!("silver/v1/{namespace}")
}

/// A table of silver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SilverTable {
    /// `ratings`: the row of each pair, by user.
    Ratings,
    /// `ratings_by_item`: the same rows, by item.
    RatingsByItem,
    /// `user_features`: statistics of users.
    UserFeatures,
    /// `item_features`: statistics of items.
    ItemFeatures,
    /// `features_<group>`: rows of a custom group.
    Custom(FeatureName),
}

impl SilverTable {
    /// The table of the statistics of users or items.
    pub fn features_of(kind: EntityKind) -> SilverTable {
        match kind {
            EntityKind::User => SilverTable::UserFeatures,
            EntityKind::Item => SilverTable::ItemFeatures,
        }
    }
}

impl fmt::Display for SilverTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SilverTable::Ratings => "ratings",
            SilverTable::RatingsByItem => "ratings_by_item",
            SilverTable::UserFeatures => "user_features",
            SilverTable::ItemFeatures => "item_features",
            SilverTable::Custom(group) => return write!(f, "{GROUP_PREFIX}{group}"),
        })
    }
}

impl FromStr for SilverTable {
    type Err = Error;

    fn from_str(name: &str) -> Result<SilverTable> {
        Ok(match name {
            "ratings" => SilverTable::Ratings,
            "ratings_by_item" => SilverTable::RatingsByItem,
            "user_features" => SilverTable::UserFeatures,
            "item_features" => SilverTable::ItemFeatures,
            _ => {
                let group = name.strip_prefix(GROUP_PREFIX).and_then(|group| FeatureName::new(group).ok());
                return group
                    .map(SilverTable::Custom)
                    .ok_or_else(|| Error::invalid("table", format!("{name:?} is no table of silver")));
            }
        })
    }
}

/// A table of a namespace; prints as its folder within the lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// Whose table.
    pub namespace: Namespace,
    /// Which one.
    pub table: SilverTable,
}

impl TableKey {
    /// What is left of the name of something within the table's folder.
    pub fn strip<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&self.to_string())?.strip_prefix('/')
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", silver_folder(&self.namespace), self.table)
    }
}

impl FromStr for TableKey {
    type Err = Error;

    fn from_str(name: &str) -> Result<TableKey> {
        let parse = || {
            let (namespace, table) = name.strip_prefix("silver/v1/")?.split_once('/')?;
            Some(TableKey { namespace: namespace.parse().ok()?, table: table.parse().ok()? })
        };
        parse().ok_or_else(|| Error::invalid("key", "is not the folder of a table of silver").on(name))
    }
}

/// A data file; prints as its name within the lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// The file of which table.
    pub table: TableKey,
    /// The rows of which bucket, below [`Buckets::MAX`].
    pub bucket: u32,
    /// The generation that wrote it.
    pub generation: u64,
    /// The first 64 bits of the digest of its bytes.
    pub digest: u64,
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileKey { table, bucket, generation, digest } = self;
        write!(
            f,
            "{table}/bucket={bucket}/{generation:0SEQUENCE_DIGITS$}-{digest:0DIGEST_DIGITS$x}{FILE_SUFFIX}"
        )
    }
}

impl FromStr for FileKey {
    type Err = Error;

    fn from_str(name: &str) -> Result<FileKey> {
        let parse = || {
            let (folder, file) = name.rsplit_once('/')?;
            let (table, bucket) = folder.rsplit_once("/bucket=")?;
            let (generation, digest) = file.strip_suffix(FILE_SUFFIX)?.split_once('-')?;
            Some(FileKey {
                table: table.parse().ok()?,
                bucket: bucket_number(bucket)?,
                generation: digits(generation, SEQUENCE_DIGITS)?,
                digest: hexadecimal(digest)?,
            })
        };
        parse().ok_or_else(|| Error::invalid("key", "is not the name of a data file of silver").on(name))
    }
}

/// An entry of a table's log; prints as its name within the lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The log of which table.
    pub table: TableKey,
    /// The version of the table that it makes, from 0.
    pub version: u64,
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogKey { table, version } = self;
        write!(f, "{table}/{LOG_FOLDER}/{version:0SEQUENCE_DIGITS$}{LOG_SUFFIX}")
    }
}

impl FromStr for LogKey {
    type Err = Error;

    fn from_str(name: &str) -> Result<LogKey> {
        let found = in_log(name, LOG_SUFFIX).map(|(table, version)| LogKey { table, version });
        found.ok_or_else(|| Error::invalid("key", "is not the name of a log entry of silver").on(name))
    }
}

/// A table's whole state at one version, from which other tools go on; prints as its name within the lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointKey {
    /// Of which table.
    pub table: TableKey,
    /// The version of the table.
    pub version: u64,
}

impl fmt::Display for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckpointKey { table, version } = self;
        write!(f, "{table}/{LOG_FOLDER}/{version:0SEQUENCE_DIGITS$}{CHECKPOINT_SUFFIX}")
    }
}

impl FromStr for CheckpointKey {
    type Err = Error;

    fn from_str(name: &str) -> Result<CheckpointKey> {
        let found = in_log(name, CHECKPOINT_SUFFIX);
        let found = found.map(|(table, version)| CheckpointKey { table, version });
        found.ok_or_else(|| Error::invalid("key", "is not the name of a checkpoint of silver").on(name))
    }
}

fn in_log(name: &str, suffix: &str) -> Option<(TableKey, u64)> {
    let (folder, file) = name.rsplit_once('/')?;
    let table = folder.strip_suffix(LOG_FOLDER)?.strip_suffix('/')?.parse().ok()?;
    Some((table, digits(file.strip_suffix(suffix)?, SEQUENCE_DIGITS)?))
}

/// The number of a bucket in its one way of writing.
fn bucket_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number < Buckets::MAX && number.to_string() == text).then_some(number)
}

/// 64 bits as exactly 16 lower-case digits.
fn hexadecimal(text: &str) -> Option<u64> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == DIGEST_DIGITS && text.bytes().all(plain)).then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recstore_testkit::hostile::HostileTexts;

    use super::*;
    use crate::lake::keys::LakePrefix;

    fn tables() -> impl Strategy<Value = SilverTable> {
        prop_oneof![
            Just(SilverTable::Ratings),
            Just(SilverTable::RatingsByItem),
            Just(SilverTable::UserFeatures),
            Just(SilverTable::ItemFeatures),
            "[a-z][a-z0-9_]{0,63}|ratings|features_|features_a|bucket"
                .prop_map(|group| SilverTable::Custom(FeatureName::new(group).unwrap())),
        ]
    }

    prop_compose! {
        fn key()(
            seed in any::<u64>(),
            table in tables(),
            bucket in 0..Buckets::MAX,
            generation in prop_oneof![0..100_u64, any::<u64>()],
            digest in prop_oneof![0..100_u64, any::<u64>()],
        ) -> FileKey {
            let table = TableKey { namespace: HostileTexts::new(seed).namespace(), table };
            FileKey { table, bucket, generation, digest }
        }
    }

    proptest! {
        #[test]
        fn every_name_reads_back_and_no_two_are_the_same_text(left in key(), right in key()) {
            for key in [&left, &right] {
                let name = key.to_string();
                prop_assert_eq!(&name.parse::<FileKey>().unwrap(), key);
                prop_assert_eq!(&key.table.to_string().parse::<TableKey>().unwrap(), &key.table);
                let log = LogKey { table: key.table.clone(), version: key.generation };
                prop_assert_eq!(&log.to_string().parse::<LogKey>().unwrap(), &log);
                prop_assert!(name.parse::<LogKey>().is_err() && log.to_string().parse::<FileKey>().is_err());
                prop_assert!(key.table.strip(&name).unwrap().starts_with("bucket="));
                let longest = LakePrefix::new("x".repeat(LakePrefix::MAX_BYTES)).unwrap();
                prop_assert!(longest.full(key).as_ref().len() <= 1024);
                prop_assert!(longest.full(key).as_ref().ends_with(&name));
            }
            prop_assert_eq!(left == right, left.to_string() == right.to_string());
            prop_assert_eq!(left.table == right.table, right.table.strip(&left.to_string()).is_some());
        }

        #[test]
        fn within_a_bucket_text_order_is_generation_order(left in key(), other in key()) {
            let right = FileKey { table: left.table.clone(), bucket: left.bucket, ..other };
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn no_id_and_no_damaged_name_is_taken_for_a_name(
            key in key(), seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in 0x20..0x7f_u8,
        ) {
            let id = HostileTexts::new(seed).id();
            prop_assert!(id.parse::<FileKey>().is_err() && id.parse::<LogKey>().is_err());
            let mut name = key.to_string().into_bytes();
            let at = at.index(name.len());
            name[at] = byte;
            let name = String::from_utf8(name).unwrap();
            // What still parses is another name, written in its one way.
            if let Ok(other) = name.parse::<FileKey>() {
                prop_assert_eq!(other.to_string(), name);
            }
        }
    }

    #[test]
    fn names_are_written_as_the_design_says() {
        let name = "silver/v1/shop/ratings_by_item/bucket=7/00000000000000000042-0123456789abcdef.parquet";
        let key: FileKey = name.parse().unwrap();
        assert_eq!((key.bucket, key.generation, key.digest), (7, 42, 0x0123_4567_89ab_cdef));
        assert_eq!(key.table.table, SilverTable::RatingsByItem);
        for wrong in [
            name.replace("bucket=7", "bucket=07"),
            name.replace("bucket=7", "bucket=+7"),
            name.replace("bucket=7", "bucket=4096"),
            name.replace("abcdef", "ABCDEF"),
            name.replace("00000000000000000042", "42"),
            name.replace("ratings_by_item", "ratings_by"),
            name.replace("ratings_by_item", "features_"),
            name.replace("/shop/", "//"),
            name.replace(".parquet", ""),
            format!("/{name}"),
            format!("{name}/"),
        ] {
            assert!(wrong.parse::<FileKey>().is_err(), "{wrong}");
        }
        let log = "silver/v1/shop/features_profile/_delta_log/00000000000000000003.json";
        let key: LogKey = log.parse().unwrap();
        assert_eq!((key.table.table.to_string().as_str(), key.version), ("features_profile", 3));
        assert!(log.replace("/_delta_log", "_delta_log").parse::<LogKey>().is_err());
    }
}
