//! Ids are text: 1 to 512 bytes of UTF-8 without control characters, never normalised, ordered by bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use smol_str::{SmolStr, ToSmolStr};

use crate::{Error, Result};

/// The longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 512;

/// Checks the rules of every id; `field` names the value in the error.
fn validated(text: SmolStr, field: &'static str) -> Result<SmolStr> {
    if text.is_empty() {
        return Err(Error::invalid(field, "is empty, ids have 1 to 512 bytes"));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(Error::invalid(field, format!("has {} bytes, ids have 1 to 512", text.len())));
    }
    if let Some((at, character)) = text.char_indices().find(|(_, character)| character.is_control()) {
        let code = character as u32;
        return Err(Error::invalid(field, format!("has a control character (U+{code:04X}) at byte {at}")));
    }
    Ok(text)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 512 bytes of UTF-8 without control characters. Compared and ordered by bytes, never
        /// normalised: `é` and `e` + accent are two ids. An integer stands for its decimal digits.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks `text` and makes an id of it.
            ///
            /// # Errors
            /// `Invalid` if it is empty, longer than 512 bytes or has a control character.
            pub fn new(text: impl AsRef<str>) -> Result<$name> {
                validated(SmolStr::new(text.as_ref()), $field).map($name)
            }

            /// The id as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> $name {
                $name(number.to_smolstr())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                $name::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<$name, D::Error> {
                let text = deserializer.deserialize_any(IdVisitor)?;
                validated(text, $field).map($name).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Accepts text and integers, which stand for their decimal digits.
struct IdVisitor;

impl serde::de::Visitor<'_> for IdVisitor {
    type Value = SmolStr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: text or an integer")
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<SmolStr, E> {
        Ok(SmolStr::new(text))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<SmolStr, E> {
        Ok(number.to_smolstr())
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<SmolStr, E> {
        Ok(number.to_smolstr())
    }
}

text_id!(
    /// Who rated.
    UserId,
    "user"
);
text_id!(
    /// What was rated.
    ItemId,
    "item"
);
text_id!(
    /// A user or an item, where the kind is said beside it (feature rows, neighbour lists).
    EntityKey,
    "id"
);

impl From<UserId> for EntityKey {
    fn from(user: UserId) -> EntityKey {
        EntityKey(user.0)
    }
}

impl From<ItemId> for EntityKey {
    fn from(item: ItemId) -> EntityKey {
        EntityKey(item.0)
    }
}

impl From<EntityKey> for UserId {
    fn from(key: EntityKey) -> UserId {
        UserId(key.0)
    }
}

impl From<EntityKey> for ItemId {
    fn from(key: EntityKey) -> ItemId {
        ItemId(key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_but_valid_ids_are_kept_as_given() {
        for text in [" ", "a b", "/", "a/../b", "#", "%2F", "🎬", "'; DROP TABLE", &"x".repeat(512)] {
            assert_eq!(UserId::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn invalid_ids_name_the_field() {
        for text in ["", "a\0b", "line\nbreak", "\u{85}", &"x".repeat(513)] {
            assert_eq!(ItemId::new(text).unwrap_err().field(), Some("item"), "{text:?}");
        }
    }

    #[test]
    fn integers_stand_for_their_digits() {
        assert_eq!(UserId::from(42).as_str(), "42");
        assert_eq!(serde_json::from_str::<UserId>("42").unwrap(), UserId::new("42").unwrap());
        assert!(serde_json::from_str::<UserId>("4.2").is_err());
    }

    #[test]
    fn order_is_that_of_the_bytes() {
        assert!(ItemId::from(1265) < ItemId::from(260));
    }
}
