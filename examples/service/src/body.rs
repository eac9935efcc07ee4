//! The JSON of an event, and its way to a [`Rating`].

use recstore::{Error, EventId, ItemId, Rating, RatingValue, Result, Timestamp, UserId};
use serde::{Deserialize, Deserializer};

/// One event as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    user: Id,
    item: Id,
    /// A number; null to withdraw the rating. It must be there: a forgotten value shall withdraw nothing.
    #[serde(deserialize_with = "required")]
    value: Option<f64>,
    /// Milliseconds or RFC 3339; the time of arrival if it is missing. A client that repeats requests sends
    /// it, or an event id, so that the repetition is the same event.
    rated_at: Option<Time>,
    /// A UUID or 32 hexadecimal digits.
    event_id: Option<String>,
}

/// Text, or an integer that stands for its digits.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an id is text or an integer")]
enum Id {
    Text(String),
    Natural(u64),
    Negative(i64),
}

impl Id {
    fn into_text(self) -> String {
        match self {
            Id::Text(text) => text,
            Id::Natural(number) => number.to_string(),
            Id::Negative(number) => number.to_string(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a time is RFC 3339, or whole milliseconds since 1970")]
enum Time {
    Millis(i64),
    Text(String),
}

/// Makes serde ask for the key even though its value may be null.
fn required<'de, D: Deserializer<'de>>(json: D) -> std::result::Result<Option<f64>, D::Error> {
    Option::deserialize(json)
}

/// The events of a body: one object, or an array of them.
///
/// # Errors
/// `Invalid`, with the field `events[i]…` where one event is at fault.
pub(crate) fn events(body: &[u8], now: Timestamp) -> Result<Vec<Rating>> {
    let many = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let events: Vec<Event> = match many {
        true => serde_json::from_slice(body),
        false => serde_json::from_slice(body).map(|event| vec![event]),
    }
    .map_err(|cause| Error::invalid("body", cause.to_string()))?;
    let rating = |(index, event): (usize, Event)| {
        event.into_rating(now).map_err(|error| error.in_field(format_args!("events[{index}]")))
    };
    events.into_iter().enumerate().map(rating).collect()
}

impl Event {
    fn into_rating(self, now: Timestamp) -> Result<Rating> {
        let user = UserId::new(self.user.into_text())?;
        let item = ItemId::new(self.item.into_text())?;
        let value = self.value.map(RatingValue::new).transpose()?;
        let rated_at = match self.rated_at {
            None => Ok(now),
            Some(Time::Millis(millis)) => Timestamp::from_millis(millis),
            Some(Time::Text(text)) => Timestamp::parse(&text),
        }
        .map_err(|error| Error::invalid("rated_at", error.message()))?;
        let event_id = self.event_id.map(|text| text.parse::<EventId>()).transpose()?;
        Ok(Rating::from_parts(user, item, value, rated_at, event_id))
    }
}
