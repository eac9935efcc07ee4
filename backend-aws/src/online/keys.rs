//! Ids to item keys and back.
//!
//! | table | partition key | sort key |
//! | --- | --- | --- |
//! | `user_features`, `item_features` | `<ns>#<id>` | the group's name |
//! | `ratings_by_user` | `<ns>#<user>` | `p#<item>` the pair; `t#<rated_at>#<event_id>#<item>` the history |
//! | `ratings_by_item` | `<ns>#<item>` | `t#<rated_at>#<event_id>#<user>` the history |
//! | `neighbours` | `<ns>#<id>` | `<kind>#<release>#<part>` |
//! | `control` | `<ns>#control` | a name |
//!
//! A namespace has no `#` and an id stands last, so every key has one reading and no id needs escaping. Times
//! are 15 decimal digits, event ids 32 hexadecimal ones, parts 4 decimal ones: the order of keys, which DynamoDB
//! keeps by bytes, is that of (rated_at, event_id, other id), and a query from the end gives the newest first.
//!
//! Limits of the service are checked when a key is made: a partition key has at most 2,048 bytes, a sort key
//! at most 1,024. Ids have at most 512, so only names that come from elsewhere can be too long.

use std::fmt;

use recstore_core::{
    EntityKey, EntityKind, Error, EventId, FeatureName, Namespace, Rating, ReleaseId, Result, TimeRange,
    Timestamp,
};

/// The longest partition key, in bytes.
pub const MAX_PARTITION_BYTES: usize = 2048;
/// The longest sort key, in bytes.
pub const MAX_SORT_BYTES: usize = 1024;
/// The most parts that one list is split into.
pub const MAX_PARTS: usize = 10_000;

const PAIR: &str = "p#";
const HISTORY: &str = "t#";
const CONTROL: &str = "control";

/// The key of an item: both parts are text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey {
    partition: String,
    sort: String,
}

impl ItemKey {
    /// A key of these texts.
    ///
    /// # Errors
    /// `Invalid` (field `key`) if a part is empty or longer than DynamoDB takes.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Result<ItemKey> {
        let (partition, sort) = (partition.into(), sort.into());
        for (part, text, limit) in
            [("partition", &partition, MAX_PARTITION_BYTES), ("sort", &sort, MAX_SORT_BYTES)]
        {
            if !(1..=limit).contains(&text.len()) {
                let text = format!("the {part} key has {} bytes, DynamoDB takes 1 to {limit}", text.len());
                return Err(Error::invalid("key", text));
            }
        }
        Ok(ItemKey { partition, sort })
    }

    /// The partition key.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The sort key.
    pub fn sort(&self) -> &str {
        &self.sort
    }

    /// Both parts, the partition key first.
    pub fn into_parts(self) -> (String, String) {
        (self.partition, self.sort)
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.partition, self.sort)
    }
}

/// The partition key of an entity.
pub fn partition(namespace: &Namespace, id: &str) -> String {
    format!("{namespace}#{id}")
}

/// The namespace and id of a partition key; `None` if it is none of ours.
pub fn parse_partition(text: &str) -> Option<(Namespace, EntityKey)> {
    let (namespace, id) = text.split_once('#')?;
    Some((Namespace::new(namespace).ok()?, EntityKey::new(id).ok()?))
}

/// The key of an entity's row in a feature group.
///
/// # Errors
/// As [`ItemKey::new`]; no valid id or name is too long.
pub fn feature(namespace: &Namespace, id: &str, group: &FeatureName) -> Result<ItemKey> {
    ItemKey::new(partition(namespace, id), group.as_str())
}

/// The key of a pair in `ratings_by_user`.
///
/// # Errors
/// As [`ItemKey::new`]; no valid id is too long.
pub fn pair(namespace: &Namespace, user: &str, item: &str) -> Result<ItemKey> {
    ItemKey::new(partition(namespace, user), format!("{PAIR}{item}"))
}

/// What the sort key of a rating says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RatingSort {
    /// The pair's row, by the other id.
    Pair(EntityKey),
    /// A place in a history.
    History(Timestamp, EventId, EntityKey),
}

/// The key of a rating's place in the history of its user, or of its item.
///
/// # Errors
/// As [`ItemKey::new`]; no valid id is too long.
pub fn history(namespace: &Namespace, of: EntityKind, rating: &Rating) -> Result<ItemKey> {
    let (user, item) = (rating.user().as_str(), rating.item().as_str());
    let (owner, other) = if of == EntityKind::User { (user, item) } else { (item, user) };
    let sort = history_sort(rating.rated_at().as_millis(), rating.event_id(), other);
    ItemKey::new(partition(namespace, owner), sort)
}

/// The sort key of a place in a history; the time is in milliseconds.
pub fn history_sort(millis: i64, event_id: EventId, other: &str) -> String {
    format!("{HISTORY}{millis:015}#{event_id}#{other}")
}

/// The first and last sort key that a range of times can have, both included; `None` if it has none.
pub fn history_range(time: TimeRange) -> Option<(String, String)> {
    let millis = time.millis();
    // Each key of a time goes on behind it: no key equals the second bound, and those of `end` come after it.
    let bound = |millis: i64| format!("{HISTORY}{millis:015}");
    (millis.start < millis.end).then(|| (bound(millis.start), bound(millis.end)))
}

/// What a sort key of `ratings_by_user` or `ratings_by_item` says; `None` if it is none of ours.
pub fn parse_rating_sort(text: &str) -> Option<RatingSort> {
    if let Some(other) = text.strip_prefix(PAIR) {
        return Some(RatingSort::Pair(EntityKey::new(other).ok()?));
    }
    let (millis, rest) = text.strip_prefix(HISTORY)?.split_once('#')?;
    let (event_id, other) = rest.split_once('#')?;
    let sort = RatingSort::History(
        Timestamp::from_millis(millis.parse().ok()?).ok()?,
        event_id.parse().ok()?,
        EntityKey::new(other).ok()?,
    );
    // Numbers can be written in several ways, keys in one.
    (sort.text() == text).then_some(sort)
}

impl RatingSort {
    /// The sort key.
    pub fn text(&self) -> String {
        match self {
            RatingSort::Pair(other) => format!("{PAIR}{other}"),
            RatingSort::History(time, event_id, other) => {
                history_sort(time.as_millis(), *event_id, other.as_str())
            }
        }
    }
}

/// The key of one part of a neighbour list.
///
/// # Errors
/// `Invalid` (field `key`) if the release's name is too long, or (field `part`) beyond [`MAX_PARTS`].
pub fn neighbours(
    namespace: &Namespace,
    kind: EntityKind,
    id: &str,
    release: &ReleaseId,
    part: usize,
) -> Result<ItemKey> {
    if part >= MAX_PARTS {
        return Err(Error::invalid("part", format!("{part} is not below {MAX_PARTS}")));
    }
    ItemKey::new(partition(namespace, id), format!("{}{part:04}", neighbours_prefix(kind, release)))
}

/// What the sort keys of all parts of a list begin with.
pub fn neighbours_prefix(kind: EntityKind, release: &ReleaseId) -> String {
    format!("{kind}#{release}#")
}

/// The kind, release and part of a sort key of `neighbours`; `None` if it is none of ours.
pub fn parse_neighbours_sort(text: &str) -> Option<(EntityKind, ReleaseId, usize)> {
    let (kind, rest) = text.split_once('#')?;
    // The part is of fixed form and last, a release may have a `#` of its own.
    let (release, part) = rest.rsplit_once('#')?;
    let digits = part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = part.parse().ok().filter(|_| digits)?;
    Some((kind.parse().ok()?, ReleaseId::from_text(release), part))
}

/// The key of a record of the namespace itself.
///
/// # Errors
/// As [`ItemKey::new`].
pub fn control(namespace: &Namespace, name: &str) -> Result<ItemKey> {
    ItemKey::new(partition(namespace, CONTROL), name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use recstore_testkit::hostile::HostileTexts;

    use super::*;
    use crate::online::seeds;

    fn kind_of(bits: u64) -> EntityKind {
        if bits & 1 == 0 { EntityKind::User } else { EntityKind::Item }
    }

    /// Two places in histories that differ in little.
    fn places(texts: &mut HostileTexts, bits: u64) -> [RatingSort; 2] {
        let (left, right) = texts.pair();
        let time = |bits: u64| match bits % 5 {
            0 => Timestamp::MIN,
            1 => Timestamp::MAX,
            step => Timestamp::from_millis(10_i64.pow(12) - 3 + step as i64).unwrap(),
        };
        let event = |bits: u64| EventId::from_u128(u128::from(bits % 3) << (bits % 2 * 124));
        [(0, left), (16, right)].map(|(shift, id)| {
            let (bits, id) = (bits >> shift, EntityKey::new(id).unwrap());
            match bits % 7 {
                0 => RatingSort::Pair(id),
                _ => RatingSort::History(time(bits >> 3), event(bits >> 6), id),
            }
        })
    }

    #[test]
    fn a_million_pairs_of_hostile_ids_have_distinct_keys_that_give_them_back_in_order() {
        let seed = seeds::from_env("RECSTORE_SEED", 1);
        let pairs = seeds::from_env("RECSTORE_KEY_PAIRS", 1_000_000);
        println!("RECSTORE_SEED={seed} RECSTORE_KEY_PAIRS={pairs}");
        let (mut texts, mut random) = (HostileTexts::new(seed), seeds::Random::new(seed));
        for _ in 0..pairs {
            let [left, right] = places(&mut texts, random.bits());
            let (left_text, right_text) = (left.text(), right.text());
            assert_eq!(parse_rating_sort(&left_text).as_ref(), Some(&left));
            assert_eq!(left_text.cmp(&right_text), left.cmp(&right), "{left:?} {right:?}");
            assert!(left_text.len() <= MAX_SORT_BYTES);
        }
    }

    #[test]
    fn partitions_give_namespace_and_id_back_and_no_two_are_alike() {
        let seed = seeds::from_env("RECSTORE_SEED", 2);
        println!("RECSTORE_SEED={seed}");
        let mut texts = HostileTexts::new(seed);
        let mut seen = HashMap::new();
        for _ in 0..100_000 {
            let (namespace, (left, right)) = (texts.namespace(), texts.pair());
            for id in [left, right] {
                let text = partition(&namespace, &id);
                let (back, key) = parse_partition(&text).unwrap();
                assert_eq!((&back, key.as_str()), (&namespace, id.as_str()));
                let owner = (namespace.clone(), id);
                assert_eq!(*seen.entry(text).or_insert_with(|| owner.clone()), owner);
            }
        }
    }

    #[test]
    fn neighbour_keys_give_kind_release_and_part_back_and_releases_are_no_prefixes_of_others() {
        let seed = seeds::from_env("RECSTORE_SEED", 3);
        println!("RECSTORE_SEED={seed}");
        let (mut texts, mut random) = (HostileTexts::new(seed), seeds::Random::new(seed));
        let namespace = Namespace::default();
        for _ in 0..100_000 {
            let bits = random.bits();
            let (left, right) = texts.pair();
            let (left, right) = (ReleaseId::from_text(left), ReleaseId::from_text(right));
            let part = (bits >> 8) as usize % MAX_PARTS;
            let key = neighbours(&namespace, kind_of(bits), "1", &left, part).unwrap();
            assert_eq!(parse_neighbours_sort(key.sort()).unwrap(), (kind_of(bits), left.clone(), part));
            let other = neighbours(&namespace, kind_of(bits >> 1), "1", &right, part).unwrap();
            let same = left == right && kind_of(bits) == kind_of(bits >> 1);
            assert_eq!(key == other, same, "{left:?} {right:?}");
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_told() {
        for text in [
            "",
            "p#",
            "x#1",
            "t#1#2#3",
            "t#000000000001000#00000000000000000000000000000007",
            "t#+00000000001000#00000000000000000000000000000007#1",
            "t#000000000001000#0000000000000000000000000000000A#1",
            "t#999999999999999#00000000000000000000000000000007#1",
        ] {
            assert_eq!(parse_rating_sort(text), None, "{text:?}");
        }
        assert_eq!(parse_partition("no separator"), None);
        assert_eq!(parse_partition("Upper#1"), None);
        for text in ["item#r", "thing#r#0000", "item#r#+001", "item#r#00001"] {
            assert_eq!(parse_neighbours_sort(text), None, "{text:?}");
        }
    }

    #[test]
    fn keys_at_the_limits_are_taken_and_beyond_refused() {
        let of = |partition, sort| ItemKey::new("p".repeat(partition), "s".repeat(sort));
        assert!(of(2048, 1024).is_ok() && of(1, 1).is_ok());
        for (partition, sort) in [(2049, 1), (1, 1025), (0, 1), (1, 0)] {
            assert_eq!(of(partition, sort).unwrap_err().field(), Some("key"));
        }
        let long = ReleaseId::from_text("r".repeat(1024));
        let refused = neighbours(&Namespace::default(), EntityKind::Item, "1", &long, 0);
        assert_eq!(refused.unwrap_err().field(), Some("key"));
        let fine = ReleaseId::from_text("r");
        let refused = neighbours(&Namespace::default(), EntityKind::Item, "1", &fine, MAX_PARTS);
        assert_eq!(refused.unwrap_err().field(), Some("part"));
        let longest = Namespace::new("n".repeat(64)).unwrap();
        assert!(pair(&longest, &"u".repeat(512), &"i".repeat(512)).is_ok());
    }

    #[test]
    fn a_range_of_times_takes_its_begin_and_leaves_its_end() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let (from, to) = history_range(TimeRange { from: Some(at(5)), to: Some(at(7)) }).unwrap();
        let within = |millis| {
            [EventId::from_u128(0), EventId::from_u128(u128::MAX)].map(|event_id| {
                let key = history_sort(millis, event_id, "\u{10ffff}");
                from <= key && key <= to
            })
        };
        assert_eq!([4, 5, 6, 7].map(within), [[false; 2], [true; 2], [true; 2], [false; 2]]);
        let (from, to) = history_range(TimeRange::ALL).unwrap();
        let last = history_sort(Timestamp::MAX.as_millis(), EventId::from_u128(u128::MAX), "z");
        assert!(from < history_sort(0, EventId::from_u128(0), " ") && last < to);
        assert_eq!(history_range(TimeRange { from: Some(at(7)), to: Some(at(7)) }), None);
    }
}
