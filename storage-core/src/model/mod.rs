//! The words of the field as types: ids, namespaces, time, values, events.
//!
//! Every type is valid by construction, so a store never sees an id, a value or a time that breaks a rule.

mod entity;
mod event_id;
mod id;
mod lookup;
mod namespace;
mod rating;
mod shard;
mod time;
mod value;

pub use entity::{Entity, EntityKind};
pub use event_id::EventId;
pub use id::{EntityKey, ItemId, MAX_ID_BYTES, UserId};
pub use lookup::{Found, Lookup, Origin};
pub use namespace::Namespace;
pub use rating::{IngestLimits, Rating, RatingRow};
pub use shard::{ShardRange, stable_hash};
pub use time::{Clock, Deadline, ManualClock, SystemClock, Timestamp};
pub use value::RatingValue;
