//! The identity of an event: 128 bits, never random at ingest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ItemId, RatingValue, Result, Timestamp, UserId};

/// The identity of a rating event, scoped to its (namespace, user, item).
///
/// The same id, user and item any number of times, by any path, in any order, is one event. Ordered as a
/// big-endian number. Prints as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

/// BLAKE3 contexts; changing one changes every id made with it.
const NAME_CONTEXT: &str = "recstore 2026 event id from name v1";
const DERIVED_CONTEXT: &str = "recstore 2026 event id from user item value time v1";

impl EventId {
    /// An id from 128 bits of the caller's, such as a UUID's.
    pub const fn from_u128(bits: u128) -> EventId {
        EventId(bits)
    }

    /// The id of the event that the caller calls `name`, `topic/partition/offset` say.
    ///
    /// The first 16 bytes of BLAKE3 `derive_key` of the name.
    pub fn from_name(name: &str) -> EventId {
        let mut hasher = blake3::Hasher::new_derive_key(NAME_CONTEXT);
        hasher.update(name.as_bytes());
        first_16(&hasher)
    }

    /// The id of an event that was given none: a fixed hash of what it says.
    ///
    /// The first 16 bytes of BLAKE3 `derive_key` over: length of the user's bytes (u32, little-endian), the
    /// bytes; the same for the item; 1 and the micro-units (i64, little-endian), or 0 for a withdrawal; the
    /// milliseconds of `rated_at` (i64, little-endian). `None` is a withdrawal.
    pub fn derive(user: &UserId, item: &ItemId, value: Option<RatingValue>, rated_at: Timestamp) -> EventId {
        let mut hasher = blake3::Hasher::new_derive_key(DERIVED_CONTEXT);
        for text in [user.as_str(), item.as_str()] {
            // Ids have at most 512 bytes.
            hasher.update(&(text.len() as u32).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        match value {
            Some(value) => hasher.update(&[1]).update(&value.micros().to_le_bytes()),
            None => hasher.update(&[0]),
        };
        hasher.update(&rated_at.as_millis().to_le_bytes());
        first_16(&hasher)
    }

    /// The 128 bits.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

fn first_16(hasher: &blake3::Hasher) -> EventId {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    EventId(u128::from_be_bytes(bytes))
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for EventId {
    type Err = Error;

    /// Reads 32 hexadecimal digits, or a UUID with its four hyphens.
    fn from_str(text: &str) -> Result<EventId> {
        let wrong =
            || Error::invalid("event_id", format!("{text:?} is neither a UUID nor 32 hexadecimal digits"));
        let digits = match text.len() {
            32 => text.to_owned(),
            36 if [8, 13, 18, 23].iter().all(|&at| text.as_bytes()[at] == b'-') => text.replace('-', ""),
            _ => return Err(wrong()),
        };
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(&digits, 16).map(EventId).map_err(|_| wrong())
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<EventId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_and_hex_are_the_same_id() {
        let uuid: EventId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        assert_eq!(uuid, "67e5504410b1426f9247bb680e5fe0c8".parse().unwrap());
        assert_eq!(uuid.to_string(), "67e5504410b1426f9247bb680e5fe0c8");
        for wrong in ["", "67e5", "+7e5504410b1426f9247bb680e5fe0c8", "67e55044-10b1426f-9247-bb68-0e5fe0c8"]
        {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong:?}");
        }
    }

    /// Golden values: these hashes are stored by users, so they never change.
    #[test]
    fn hashes_are_fixed_for_ever() {
        let derived = EventId::derive(
            &UserId::from(1),
            &ItemId::from(31),
            RatingValue::new(2.5).ok(),
            Timestamp::from_seconds(1_260_759_144).unwrap(),
        );
        assert_eq!(derived.to_string(), "06a8a7714c9e131eaa8adf9dd07ce1c0");
        assert_eq!(EventId::from_name("ratings/0/42").to_string(), "878a65a76744cacc00028f3cca5b9083");
    }
}
