//! Keys of the lake's objects: the one place that writes and reads them.
//!
//! ```text
//! <prefix>/bronze/v1/ns=<ns>/ratings/writer=<id>/epoch=<n>/dt=<day sealed>/<first>-<last>.jsonl.zst
//! <prefix>/bronze/v1/ns=<ns>/claims/writer=<id>/epoch=<n>.json
//! <prefix>/bronze/v1/ns=<ns>/features/writer=<id>/…, <prefix>/bronze/v1/ns=<ns>/feature_claims/writer=<id>/…: the same
//! <prefix>/state/v1/ns=<ns>/runs/generation=<g>.json
//! <prefix>/quarantine/v1/ns=<ns>/<generation>-<digest>.json.zst
//! <prefix>/state/v1/ns=<ns>/head.json
//! <prefix>/state/v1/ns=<ns>/commit/<generation>-<digest>.json.zst
//! <prefix>/state/v1/ns=<ns>/<section>/<revision of the head>-<digest>.json.zst
//! <prefix>/gold/v1/ns=<ns>/<kind>/release=<id>/part-<digest>.parquet
//! <prefix>/gold/v1/ns=<ns>/<kind>/release=<id>/lists-r<revision>-<digest>.parquet
//! <prefix>/gold/v1/ns=<ns>/<kind>/release=<id>/popular-r<revision>-<digest>.json.zst
//! ```
//!
//! Those of silver's objects are in `silver::keys`.
//!
//! Every part is of a set of characters that needs no escapes, and numbers have a fixed width, so that text order is
//! number order and a key reads back as exactly what it was made of. Ids of users and items are in no key.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;
use recstore_core::{EntityKind, Error, Namespace, ReleaseId, Result};
use serde::{Deserialize, Serialize};

use crate::lake::calendar::Day;

/// The name of a namespace's head.
pub fn head_name(namespace: &Namespace) -> String {
    format!("{}/head.json", state_folder(namespace))
}

/// The name of the manifest that claims a generation.
pub fn run_name(namespace: &Namespace, generation: u64) -> String {
    format!("{}/generation={generation:0SEQUENCE_DIGITS$}.json", runs_folder(namespace))
}

/// The folder of the manifests of all generations.
pub fn runs_folder(namespace: &Namespace) -> String {
    format!("{}/runs", state_folder(namespace))
}

/// The folder of lines that were no events.
pub fn quarantine_folder(namespace: &Namespace) -> String {
    format!("quarantine/v1/ns={namespace}")
}

/// The folder of the documents that a namespace's head names.
pub fn state_folder(namespace: &Namespace) -> String {
    format!("state/v1/ns={namespace}")
}

/// The folder of all releases.
pub fn gold_folder(namespace: &Namespace) -> String {
    format!("gold/v1/ns={namespace}")
}

/// The folder of the objects of a release, whose name is one that this program gave.
pub fn release_folder(namespace: &Namespace, kind: EntityKind, release: &ReleaseId) -> String {
    format!("{}/{kind}/release={release}", gold_folder(namespace))
}

const EPOCH_DIGITS: usize = 10;
pub(crate) const SEQUENCE_DIGITS: usize = 20;
const OBJECT_SUFFIX: &str = ".jsonl.zst";
const CLAIM_SUFFIX: &str = ".json";

/// What every key of a lake begins with: nothing, or names between slashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LakePrefix(String);

impl LakePrefix {
    /// The longest prefix, in bytes: with it no key is near the 1,024 bytes that S3 allows.
    pub const MAX_BYTES: usize = 256;

    /// Checks `prefix`: up to 256 bytes, names of `[A-Za-z0-9._=-]` with single slashes between them, neither `.`
    /// nor `..`.
    ///
    /// # Errors
    /// `Invalid` (field `prefix`).
    pub fn new(prefix: impl Into<String>) -> Result<LakePrefix> {
        let prefix = prefix.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._=-".contains(&byte);
        let name = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(plain);
        if prefix.len() <= LakePrefix::MAX_BYTES && (prefix.is_empty() || prefix.split('/').all(name)) {
            return Ok(LakePrefix(prefix));
        }
        Err(Error::invalid(
            "prefix",
            format!(
                "{prefix:?} is not up to 256 bytes of names of a-z, A-Z, 0-9, '.', '_', '=' and '-', with '/' between them"
            ),
        ))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every key of the lake begins with, up to and with the slash.
    pub(crate) fn begins_keys(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("{}/", self.0) }
    }

    /// The full key of what is called `name` within the lake.
    pub fn full(&self, name: impl fmt::Display) -> Path {
        // Every part was checked to need no escapes.
        if self.0.is_empty() {
            Path::from(name.to_string())
        } else {
            Path::from(format!("{}/{name}", self.0))
        }
    }

    /// What is left of a full key of this lake.
    pub fn strip<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.0.is_empty() { Some(key) } else { key.strip_prefix(self.0.as_str())?.strip_prefix('/') }
    }
}

/// The name of a writer: `[a-z0-9-]{1,64}`. Writers with distinct names never meet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WriterId(String);

impl WriterId {
    /// Checks `name`.
    ///
    /// # Errors
    /// `Invalid` (field `writer`).
    pub fn new(name: impl Into<String>) -> Result<WriterId> {
        let name = name.into();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
            return Ok(WriterId(name));
        }
        Err(Error::invalid("writer", format!("{name:?} is not 1 to 64 of a-z, 0-9 and '-'")))
    }

    /// A name made of random bits: 32 hexadecimal digits.
    pub fn from_random(bits: u128) -> WriterId {
        WriterId(format!("{bits:032x}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WriterId {
    type Error = Error;

    fn try_from(name: String) -> Result<WriterId> {
        WriterId::new(name)
    }
}

impl From<WriterId> for String {
    fn from(writer: WriterId) -> String {
        writer.0
    }
}

/// What the lines of an object are. Each topic has its own objects, claims and cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Rating events.
    Ratings,
    /// Rows of custom feature groups.
    Features,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 2] = [Topic::Ratings, Topic::Features];

    /// The folder of its objects.
    fn as_str(self) -> &'static str {
        match self {
            Topic::Ratings => "ratings",
            Topic::Features => "features",
        }
    }

    /// The folder of its claims.
    fn claims(self) -> &'static str {
        match self {
            Topic::Ratings => "claims",
            Topic::Features => "feature_claims",
        }
    }

    fn of_objects(folder: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.as_str() == folder)
    }

    fn of_claims(folder: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.claims() == folder)
    }
}

/// One life of a writer in a namespace. It owns the numbers of its events: 0, 1, 2, … without gaps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochKey {
    /// Whose events.
    pub namespace: Namespace,
    /// What kind of events.
    pub topic: Topic,
    /// Who writes.
    pub writer: WriterId,
    /// Which life, from 1.
    pub epoch: u32,
}

impl EpochKey {
    /// The name, within the lake, of the object that claims this epoch.
    pub fn claim_name(&self) -> String {
        let EpochKey { namespace, topic, writer, epoch } = self;
        format!("{}/epoch={epoch:0EPOCH_DIGITS$}{CLAIM_SUFFIX}", claims_of_writer(namespace, *topic, writer))
    }

    /// Reads the name of a claim; `None` if it is none.
    pub fn parse_claim(name: &str) -> Option<EpochKey> {
        let (namespace, rest) = split_namespace(name)?;
        let (folder, rest) = rest.split_once('/')?;
        let (writer, rest) = rest.strip_prefix("writer=")?.split_once('/')?;
        let epoch = rest.strip_prefix("epoch=")?.strip_suffix(CLAIM_SUFFIX)?;
        epoch_key(namespace, Topic::of_claims(folder)?, writer, epoch)
    }
}

impl fmt::Display for EpochKey {
    /// The folder of the epoch's objects, within the lake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EpochKey { namespace, topic, writer, epoch } = self;
        write!(f, "{}/writer={writer}/epoch={epoch:0EPOCH_DIGITS$}", topic_folder(namespace, *topic))
    }
}

impl FromStr for EpochKey {
    type Err = Error;

    fn from_str(name: &str) -> Result<EpochKey> {
        let parse = || {
            let (namespace, rest) = split_namespace(name)?;
            let (folder, rest) = rest.split_once('/')?;
            let (writer, rest) = rest.strip_prefix("writer=")?.split_once('/')?;
            epoch_key(namespace, Topic::of_objects(folder)?, writer, rest.strip_prefix("epoch=")?)
        };
        parse().ok_or_else(|| Error::invalid("key", "is not the folder of a writer's epoch").on(name))
    }
}

/// One object of events: its name, without the lake's prefix, says all of this and nothing more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BronzeKey {
    /// Whose life of which writer in which namespace.
    pub epoch: EpochKey,
    /// The day on which the object was sealed, by the writer's clock; it never goes back within an epoch.
    pub day: Day,
    /// The number of the first event within the epoch.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
}

impl BronzeKey {
    /// How many events the object holds.
    pub fn events(&self) -> u64 {
        self.last - self.first + 1
    }
}

impl fmt::Display for BronzeKey {
    /// The name within the lake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BronzeKey { epoch, day, first, last } = self;
        write!(f, "{epoch}/dt={day}/{first:0SEQUENCE_DIGITS$}-{last:0SEQUENCE_DIGITS$}{OBJECT_SUFFIX}")
    }
}

impl FromStr for BronzeKey {
    type Err = Error;

    fn from_str(name: &str) -> Result<BronzeKey> {
        let parse = || {
            let (folder, range) = name.rsplit_once('/')?;
            let (epoch, day) = folder.rsplit_once('/')?;
            let (first, last) = range.strip_suffix(OBJECT_SUFFIX)?.split_once('-')?;
            let key = BronzeKey {
                epoch: epoch.parse().ok()?,
                day: day.strip_prefix("dt=")?.parse().ok()?,
                first: digits(first, SEQUENCE_DIGITS)?,
                last: digits(last, SEQUENCE_DIGITS)?,
            };
            // The number of events, one more than the difference, must be a number too.
            (key.first <= key.last && key.last < u64::MAX).then_some(key)
        };
        parse().ok_or_else(|| Error::invalid("key", "is not the key of an object of events").on(name))
    }
}

/// The folder of all events of a topic in a namespace, within the lake.
pub fn topic_folder(namespace: &Namespace, topic: Topic) -> String {
    format!("bronze/v1/ns={namespace}/{}", topic.as_str())
}

/// The folder of the claims of one writer, within the lake.
pub fn claims_of_writer(namespace: &Namespace, topic: Topic, writer: &WriterId) -> String {
    format!("bronze/v1/ns={namespace}/{}/writer={writer}", topic.claims())
}

fn split_namespace(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("bronze/v1/ns=")?.split_once('/')
}

fn epoch_key(namespace: &str, topic: Topic, writer: &str, epoch: &str) -> Option<EpochKey> {
    Some(EpochKey {
        namespace: namespace.parse().ok()?,
        topic,
        writer: WriterId::new(writer).ok()?,
        epoch: u32::try_from(digits(epoch, EPOCH_DIGITS)?).ok()?,
    })
}

/// A number of exactly `width` digits.
pub(crate) fn digits(text: &str, width: usize) -> Option<u64> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recstore_core::Timestamp;
    use recstore_testkit::hostile::HostileTexts;

    use super::*;

    prop_compose! {
        fn key()(
            seed in any::<u64>(),
            writer in "[a-z0-9-]{1,64}|w|w-|-",
            topic in prop::sample::select(Topic::ALL.to_vec()),
            epoch in prop_oneof![Just(1), Just(u32::MAX), 0..20_u32, any::<u32>()],
            millis in 0..=Timestamp::MAX.as_millis(),
            first in prop_oneof![0..1000_u64, any::<u64>().prop_map(|first| first / 2)],
            more in 0..2000_u64,
        ) -> BronzeKey {
            BronzeKey {
                epoch: EpochKey {
                    namespace: HostileTexts::new(seed).namespace(),
                    topic,
                    writer: WriterId::new(writer).unwrap(),
                    epoch,
                },
                day: Day::of(Timestamp::from_millis(millis).unwrap()),
                first,
                last: first + more,
            }
        }
    }

    fn prefixes() -> impl Strategy<Value = LakePrefix> {
        prop_oneof![Just(""), Just("a"), Just("a/b"), Just("bronze/v1"), Just("ns=x/ratings")]
            .prop_map(|prefix| LakePrefix::new(prefix).unwrap())
    }

    proptest! {
        #[test]
        fn every_key_reads_back_and_no_two_are_the_same_text(
            left in key(), right in key(), prefix in prefixes(),
        ) {
            for key in [&left, &right] {
                let name = key.to_string();
                prop_assert_eq!(&name.parse::<BronzeKey>().unwrap(), key);
                prop_assert_eq!(&key.epoch.to_string().parse::<EpochKey>().unwrap(), &key.epoch);
                let claim = EpochKey::parse_claim(&key.epoch.claim_name());
                prop_assert_eq!(claim.as_ref(), Some(&key.epoch));
                let full = prefix.full(key);
                prop_assert!(full.as_ref().len() <= 1024);
                prop_assert_eq!(prefix.strip(full.as_ref()), Some(name.as_str()));
            }
            prop_assert_eq!(left == right, left.to_string() == right.to_string());
            prop_assert_eq!(left.epoch == right.epoch, left.epoch.claim_name() == right.epoch.claim_name());
        }

        #[test]
        fn within_an_epoch_text_order_is_number_order(left in key(), other in key()) {
            let right = BronzeKey { epoch: left.epoch.clone(), day: left.day, ..other };
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn no_id_and_no_damaged_key_is_taken_for_a_key(
            key in key(), seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in 0x20..0x7f_u8,
        ) {
            let mut texts = HostileTexts::new(seed);
            let id = texts.id();
            prop_assert!(id.parse::<BronzeKey>().is_err());
            prop_assert!(WriterId::new(texts.id() + "/").is_err());
            let mut name = key.to_string().into_bytes();
            let at = at.index(name.len());
            name[at] = byte;
            let name = String::from_utf8(name).unwrap();
            // What still parses is another key, written in its one way.
            if let Ok(other) = name.parse::<BronzeKey>() {
                prop_assert_eq!(other.to_string(), name);
            }
        }
    }

    #[test]
    fn a_key_is_written_as_the_design_says() {
        let name = "bronze/v1/ns=shop/ratings/writer=w1/epoch=0000000003/dt=2024-01-15/\
                    00000000000000000000-00000000000000000099.jsonl.zst";
        let key: BronzeKey = name.parse().unwrap();
        assert_eq!((key.epoch.writer.as_str(), key.epoch.epoch, key.first, key.events()), ("w1", 3, 0, 100));
        assert_eq!(key.epoch.topic, Topic::Ratings);
        assert_eq!(key.epoch.claim_name(), "bronze/v1/ns=shop/claims/writer=w1/epoch=0000000003.json");
        let name_of_features = name.replace("ratings", "features");
        let of_features: BronzeKey = name_of_features.parse().unwrap();
        assert_eq!((of_features.epoch.topic, of_features.to_string()), (Topic::Features, name_of_features));
        let claim = "bronze/v1/ns=shop/feature_claims/writer=w1/epoch=0000000003.json";
        assert_eq!(of_features.epoch.claim_name(), claim);
        for wrong in [
            name.replace("0000000003", "3"),
            name.replace("0000000003", "4294967296"),
            name.replace("-00000000000000000099", "-18446744073709551615"),
            name.replace("00000000000000000000-", "00000000000000000100-"),
            name.replace("writer=w1", "writer=W1"),
            name.replace("v1", "v2"),
            name.replace("ratings", "claims"),
            name.replace("ratings", "feature_claims"),
            name.replace("ns=shop", "ns="),
            name.replace(".zst", ""),
            format!("/{name}"),
            format!("{name}/"),
            format!("a/{name}"),
        ] {
            assert!(wrong.parse::<BronzeKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_that_change_meaning_are_refused() {
        for prefix in ["/", "a/", "/a", "a//b", ".", "a/../b", "a b", "ä", "a%2Fb", "a\\b", &"a".repeat(257)]
        {
            assert_eq!(LakePrefix::new(prefix).unwrap_err().field(), Some("prefix"), "{prefix:?}");
        }
        assert_eq!(LakePrefix::new("a").unwrap().strip("ab/c"), None);
    }
}
