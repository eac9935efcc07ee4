//! Rating rows as versioned items: one for the pair, one at its place in each of two histories.
//!
//! When a pair is rated anew its place moves: the row is deleted at the old place and appears at the new one, in
//! the same generation, so a history at any generation shows each pair once.

use std::collections::HashMap;

use recstore_core::{
    Deadline, EntityKey, EntityKind, Error, EventId, Namespace, Rating, RatingRow, RatingValue, Result,
    Timestamp,
};

use super::Online;
use super::item::{Fields, OpenItem};
use super::keys::{self, ItemKey, RatingSort};
use super::publish::{Change, Published};
use super::tables::TableName;
use super::versioned::{Generation, Pinned, Row};

const VALUE: &str = "value";
const RATED_AT: &str = "rated_at";
const FIRST_RATED_AT: &str = "first";
const EVENT_ID: &str = "event";

/// What an item keeps of a rating; user and item stand in its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRating {
    /// The value in micro-units; `None` if withdrawn.
    pub value: Option<RatingValue>,
    /// Event time.
    pub rated_at: Timestamp,
    /// The earliest event time of the pair.
    pub first_rated_at: Timestamp,
    /// The event's identity.
    pub event_id: EventId,
}

impl StoredRating {
    fn of(row: &RatingRow) -> StoredRating {
        StoredRating {
            value: row.rating.value(),
            rated_at: row.rating.rated_at(),
            first_rated_at: row.first_rated_at,
            event_id: row.rating.event_id(),
        }
    }

    /// The row of this user and item.
    pub fn into_row(self, user: EntityKey, item: EntityKey) -> RatingRow {
        let id = Some(self.event_id);
        let rating = Rating::from_parts(user.into(), item.into(), self.value, self.rated_at, id);
        RatingRow { rating, first_rated_at: self.first_rated_at }
    }
}

impl Row for StoredRating {
    fn to_fields(&self) -> Fields {
        let fields = Fields::new()
            .with_integer(RATED_AT, self.rated_at.as_millis())
            .with_integer(FIRST_RATED_AT, self.first_rated_at.as_millis())
            .with_bytes(EVENT_ID, self.event_id.as_u128().to_be_bytes());
        match self.value {
            Some(value) => fields.with_integer(VALUE, value.micros()),
            None => fields,
        }
    }

    fn from_fields(fields: &mut OpenItem) -> Result<StoredRating> {
        let value = fields.number(VALUE)?.map(RatingValue::from_micros).transpose();
        let event_id = fields.bytes(EVENT_ID)?.and_then(|bytes| bytes.try_into().ok());
        Ok(StoredRating {
            value: value.map_err(|error| fields.damaged(error.to_string()))?,
            rated_at: time(fields, RATED_AT)?,
            first_rated_at: time(fields, FIRST_RATED_AT)?,
            event_id: EventId::from_u128(u128::from_be_bytes(fields.required(EVENT_ID, event_id)?)),
        })
    }
}

fn time(fields: &mut OpenItem, name: &str) -> Result<Timestamp> {
    let millis = fields.number(name)?;
    Timestamp::from_millis(fields.required(name, millis)?).map_err(|error| fields.damaged(error.to_string()))
}

/// How the row of one pair differs between a generation and the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatingChange {
    /// The row before; `None` for a new pair.
    pub old: Option<RatingRow>,
    /// The row now; `None` if it was erased.
    pub new: Option<RatingRow>,
}

/// The items to publish for changed pairs, by table.
#[derive(Debug, Default)]
struct RatingItems {
    by_user: Vec<Change<StoredRating>>,
    by_item: Vec<Change<StoredRating>>,
}

impl RatingItems {
    fn add(&mut self, namespace: &Namespace, change: &RatingChange) -> Result<()> {
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        let Some(present) = new.or(old) else { return Ok(()) };
        let (user, item) = (present.rating.user(), present.rating.item());
        if old.is_some_and(|old| old.rating.user() != user || old.rating.item() != item) {
            return Err(Error::invalid("changes", "old and new row are of different pairs"));
        }
        let stored = new.map(StoredRating::of);
        self.by_user.push((keys::pair(namespace, user.as_str(), item.as_str())?, stored.clone()));
        for (kind, items) in [(EntityKind::User, &mut self.by_user), (EntityKind::Item, &mut self.by_item)] {
            let place = |row: &RatingRow| keys::history(namespace, kind, &row.rating);
            let new_place = new.map(place).transpose()?;
            let old_place = old.map(place).transpose()?.filter(|old| new_place.as_ref() != Some(old));
            items.extend(old_place.map(|key| (key, None)));
            items.extend(new_place.map(|key| (key, stored.clone())));
        }
        Ok(())
    }
}

/// The history table of a kind.
pub(super) fn history_table(of: EntityKind) -> TableName {
    match of {
        EntityKind::User => TableName::RatingsByUser,
        EntityKind::Item => TableName::RatingsByItem,
    }
}

/// The row at a place in a history.
pub(super) fn row_at(of: EntityKind, owner: &str, key: &ItemKey, stored: StoredRating) -> Result<RatingRow> {
    let damaged = |text: &str| {
        Error::new(recstore_core::ErrorKind::Corrupt, text).on(super::item::place(history_table(of), key))
    };
    let Some(RatingSort::History(rated_at, event_id, other)) = keys::parse_rating_sort(key.sort()) else {
        return Err(damaged("the key is no place in a history"));
    };
    if (rated_at, event_id) != (stored.rated_at, stored.event_id) {
        return Err(damaged("the row is of another place than its key"));
    }
    let owner = EntityKey::new(owner)?;
    Ok(match of {
        EntityKind::User => stored.into_row(owner, other),
        EntityKind::Item => stored.into_row(other, owner),
    })
}

impl Online {
    /// Publishes changed rating rows of a generation: pairs and both histories.
    ///
    /// # Errors
    /// `Invalid` (field `changes`) for old and new rows of different pairs; as [`publish`](Self::publish).
    pub async fn publish_ratings(
        &self,
        namespace: &Namespace,
        generation: Generation,
        changes: &[RatingChange],
        deadline: Option<Deadline>,
    ) -> Result<Published> {
        let mut items = RatingItems::default();
        for change in changes {
            items.add(namespace, change)?;
        }
        let by_user = self.publish(TableName::RatingsByUser, generation, items.by_user, deadline).await?;
        let by_item = self.publish(TableName::RatingsByItem, generation, items.by_item, deadline).await?;
        Ok(Published {
            written: by_user.written + by_item.written,
            unchanged: by_user.unchanged + by_item.unchanged,
            superseded: by_user.superseded + by_item.superseded,
        })
    }

    /// The rows of many (user, item) pairs at a generation, by pair; `None` where there is none. A failure is that
    /// of one pair, and never none.
    ///
    /// # Errors
    /// As [`keys::pair`].
    pub async fn get_pairs(
        &self,
        namespace: &Namespace,
        pairs: &[(EntityKey, EntityKey)],
        pin: Generation,
        deadline: Option<Deadline>,
    ) -> Result<Pinned<HashMap<(EntityKey, EntityKey), Result<Option<RatingRow>>>>> {
        let key = |(user, item): &(EntityKey, EntityKey)| keys::pair(namespace, user.as_str(), item.as_str());
        let asked: Vec<ItemKey> = pairs.iter().map(key).collect::<Result<_>>()?;
        let table = TableName::RatingsByUser;
        let rows = self.get_rows::<StoredRating>(table, asked.iter().cloned(), pin, deadline);
        let Pinned::At(mut rows) = rows.await else { return Ok(Pinned::TooOld) };
        let of_pair = |(key, pair): (&ItemKey, &(EntityKey, EntityKey))| {
            let row = rows.remove(key)?;
            let of = |row: StoredRating| row.into_row(pair.0.clone(), pair.1.clone());
            Some((pair.clone(), row.map(|row| row.map(of))))
        };
        Ok(Pinned::At(asked.iter().zip(pairs).filter_map(of_pair).collect()))
    }
}
