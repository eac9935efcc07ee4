//! Users and items as one thing, for what is kept of both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{EntityKey, Error, ItemId, Result, UserId};

/// Whether something is about users or about items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityKind {
    /// Who rates.
    User,
    /// What is rated.
    Item,
}

impl EntityKind {
    /// `user` or `item`.
    pub fn as_str(self) -> &'static str {
        match self {
            EntityKind::User => "user",
            EntityKind::Item => "item",
        }
    }

    /// The other kind: the raters of items are users, what users rate are items.
    #[must_use]
    pub fn other(self) -> EntityKind {
        match self {
            EntityKind::User => EntityKind::Item,
            EntityKind::Item => EntityKind::User,
        }
    }
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EntityKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<EntityKind> {
        match text {
            "user" => Ok(EntityKind::User),
            "item" => Ok(EntityKind::Item),
            _ => Err(Error::invalid("kind", format!("{text:?} is neither \"user\" nor \"item\""))),
        }
    }
}

/// One user or one item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// Which of the two it is.
    pub kind: EntityKind,
    /// Its id.
    pub key: EntityKey,
}

impl Entity {
    /// The entity of this kind and id.
    pub fn new(kind: EntityKind, key: EntityKey) -> Entity {
        Entity { kind, key }
    }
}

impl From<UserId> for Entity {
    fn from(user: UserId) -> Entity {
        Entity::new(EntityKind::User, user.into())
    }
}

impl From<ItemId> for Entity {
    fn from(item: ItemId) -> Entity {
        Entity::new(EntityKind::Item, item.into())
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}
