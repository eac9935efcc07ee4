//! The rating event, the row it leaves, and the order that decides between events.

use std::time::Duration;

use serde::Serialize;

use crate::{Error, EventId, ItemId, RatingValue, Result, Timestamp, UserId};

/// An event: a user rated an item, or withdrew the rating, at a time. An immutable fact.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rating {
    user: UserId,
    item: ItemId,
    value: Option<RatingValue>,
    rated_at: Timestamp,
    event_id: EventId,
}

impl Rating {
    /// A rating whose identity is the fixed hash of what it says ([`EventId::derive`]).
    ///
    /// # Errors
    /// `Invalid` if `value` is not finite or beyond ±1,000,000.
    pub fn new(user: UserId, item: ItemId, value: f64, rated_at: Timestamp) -> Result<Rating> {
        let value = Some(RatingValue::new(value)?);
        Ok(Rating::from_parts(user, item, value, rated_at, None))
    }

    /// The event that takes a rating back. It wins or loses by time like any other event.
    pub fn withdrawal(user: UserId, item: ItemId, rated_at: Timestamp) -> Rating {
        Rating::from_parts(user, item, None, rated_at, None)
    }

    /// An event from checked parts; without a value it is a withdrawal, without an id it gets the derived one.
    pub fn from_parts(
        user: UserId,
        item: ItemId,
        value: Option<RatingValue>,
        rated_at: Timestamp,
        event_id: Option<EventId>,
    ) -> Rating {
        let event_id = event_id.unwrap_or_else(|| EventId::derive(&user, &item, value, rated_at));
        Rating { user, item, value, rated_at, event_id }
    }

    /// The same event under the caller's identity.
    #[must_use]
    pub fn with_event_id(mut self, event_id: EventId) -> Rating {
        self.event_id = event_id;
        self
    }

    /// Who rated.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// What was rated.
    pub fn item(&self) -> &ItemId {
        &self.item
    }

    /// The value; `None` if this is a withdrawal.
    pub fn value(&self) -> Option<RatingValue> {
        self.value
    }

    /// Whether this is a withdrawal.
    pub fn is_withdrawn(&self) -> bool {
        self.value.is_none()
    }

    /// Event time.
    pub fn rated_at(&self) -> Timestamp {
        self.rated_at
    }

    /// The event's identity within its (namespace, user, item).
    pub fn event_id(&self) -> EventId {
        self.event_id
    }

    /// What decides between two events of one (user, item): the greater wins, whatever came first.
    pub fn order(&self) -> (Timestamp, EventId, bool, Option<RatingValue>) {
        (self.rated_at, self.event_id, self.value.is_none(), self.value)
    }
}

/// The current rating of a (user, item), as every store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RatingRow {
    /// The event that won.
    pub rating: Rating,
    /// The earliest event time ever put for the pair, of events that lost included.
    pub first_rated_at: Timestamp,
}

/// What an event must keep to, beyond being well formed, when it is ingested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IngestLimits {
    /// How far ahead of the clock an event time may be. A wrong clock must not pin a rating for ever.
    pub max_future_skew: Duration,
}

impl Default for IngestLimits {
    /// 24 hours.
    fn default() -> IngestLimits {
        IngestLimits { max_future_skew: Duration::from_secs(24 * 60 * 60) }
    }
}

impl IngestLimits {
    /// Checks one event against the clock's `now`.
    ///
    /// # Errors
    /// `Invalid` (field `rated_at`) if it is too far ahead.
    pub fn check(&self, rating: &Rating, now: Timestamp) -> Result<()> {
        self.check_time("rated_at", rating.rated_at, now)
    }

    /// Checks an event time against the clock's `now`; `field` names it in the error.
    ///
    /// # Errors
    /// `Invalid` if it is too far ahead.
    pub fn check_time(&self, field: &str, time: Timestamp, now: Timestamp) -> Result<()> {
        if time <= now.saturating_add(self.max_future_skew) {
            return Ok(());
        }
        let hours = self.max_future_skew.as_secs_f64() / 3600.0;
        Err(Error::invalid(field, format!("{time} is more than {hours} h ahead of the clock ({now})")))
    }

    /// Checks a whole batch; the error's field is `events[i].rated_at`.
    ///
    /// # Errors
    /// `Invalid` for the first event that is too far ahead.
    pub fn check_all(&self, events: &[Rating], now: Timestamp) -> Result<()> {
        for (index, event) in events.iter().enumerate() {
            self.check(event, now).map_err(|error| error.in_field(format_args!("events[{index}]")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_withdrawal_wins_a_tie_on_time_and_id() {
        let id = EventId::from_u128(7);
        let rated = Rating::new(1.into(), 2.into(), 5.0, at(9)).unwrap().with_event_id(id);
        let withdrawn = Rating::withdrawal(1.into(), 2.into(), at(9)).with_event_id(id);
        assert!(withdrawn.order() > rated.order());
        let later = Rating::new(1.into(), 2.into(), 1.0, at(10)).unwrap();
        assert!(later.order() > withdrawn.order());
    }

    #[test]
    fn events_from_the_far_future_are_named() {
        let limits = IngestLimits::default();
        let events = [1, 86_401].map(|seconds| Rating::new(1.into(), 2.into(), 1.0, at(seconds)).unwrap());
        let error = limits.check_all(&events, at(0)).unwrap_err();
        assert_eq!(error.field(), Some("events[1].rated_at"));
        assert!(limits.check_all(&events, at(1)).is_ok());
    }
}
