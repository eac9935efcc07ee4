//! What is to be done to a pair, as it is kept between reading and merging. No I/O.

use recstore_core::{EventId, Rating, RatingValue, Timestamp};

use super::route::{Record, array, put_text, text};
use crate::lake::silver::ratings::PairState;

const EVENT: u8 = 0;
const ROW: u8 = 1;
const DELETE: u8 = 2;
const WITHDRAWN: u8 = 4;

/// Something to be done to the rows of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) user: &'a str,
    pub(crate) item: &'a str,
    pub(crate) change: PairChange,
}

/// What is to be done to the row of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairChange {
    /// An event came in: the state if nothing else were known of the pair.
    Event(PairState),
    /// The row is this now.
    Row(PairState),
    /// There is no row any more.
    Delete,
}

impl<'a> Entry<'a> {
    /// An event.
    pub(crate) fn event(event: &'a Rating) -> Entry<'a> {
        let change = PairChange::Event(PairState {
            value: event.value(),
            rated_at: event.rated_at(),
            first_rated_at: event.rated_at(),
            event_id: event.event_id(),
        });
        Entry { user: event.user().as_str(), item: event.item().as_str(), change }
    }

    /// Takes an entry off the front of `rest`; `None` if there is none.
    pub(crate) fn decode(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
        let [tag] = array(rest)?;
        let (user, item) = (text(rest)?, text(rest)?);
        let change = match tag & !WITHDRAWN {
            DELETE if tag == DELETE => PairChange::Delete,
            EVENT => PairChange::Event(state(tag, rest)?),
            ROW => {
                let state = state(tag, rest)?;
                PairChange::Row(PairState { first_rated_at: time(rest)?, ..state })
            }
            _ => return None,
        };
        Some(Entry { user, item, change })
    }
}

impl Record for Entry<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let withdrawn = |state: &PairState| if state.value.is_none() { WITHDRAWN } else { 0 };
        out.push(match &self.change {
            PairChange::Event(state) => EVENT | withdrawn(state),
            PairChange::Row(state) => ROW | withdrawn(state),
            PairChange::Delete => DELETE,
        });
        put_text(self.user, out);
        put_text(self.item, out);
        match &self.change {
            PairChange::Event(state) => put_state(state, out),
            PairChange::Row(state) => {
                put_state(state, out);
                out.extend_from_slice(&state.first_rated_at.as_millis().to_le_bytes());
            }
            PairChange::Delete => {}
        }
    }
}

/// All but the earliest time, which is that of the event unless more follows.
fn put_state(state: &PairState, out: &mut Vec<u8>) {
    out.extend_from_slice(&state.value.map_or(0, RatingValue::micros).to_le_bytes());
    out.extend_from_slice(&state.rated_at.as_millis().to_le_bytes());
    out.extend_from_slice(&state.event_id.as_u128().to_le_bytes());
}

fn state(tag: u8, rest: &mut &[u8]) -> Option<PairState> {
    let micros = i64::from_le_bytes(array(rest)?);
    let value = if tag & WITHDRAWN == 0 { Some(RatingValue::from_micros(micros).ok()?) } else { None };
    let rated_at = time(rest)?;
    let event_id = EventId::from_u128(u128::from_le_bytes(array(rest)?));
    Some(PairState { value, rated_at, first_rated_at: rated_at, event_id })
}

fn time(rest: &mut &[u8]) -> Option<Timestamp> {
    Timestamp::from_millis(i64::from_le_bytes(array(rest)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_comes_back_and_a_cut_one_is_told() {
        let (long, at) = ("ü".repeat(256), |millis| Timestamp::from_millis(millis).unwrap());
        let event_id = EventId::from_u128(u128::MAX - 7);
        let value = RatingValue::from_micros(-RatingValue::MAX_MICROS).unwrap();
        let rated = PairState { value: Some(value), rated_at: at(9), first_rated_at: at(9), event_id };
        let withdrawn = PairState { value: None, ..rated };
        let earlier = |state: PairState| PairState { first_rated_at: at(3), ..state };
        for change in [
            PairChange::Event(rated),
            PairChange::Event(withdrawn),
            PairChange::Row(earlier(rated)),
            PairChange::Row(earlier(withdrawn)),
            PairChange::Delete,
        ] {
            let entry = Entry { user: "1", item: &long, change };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            let mut rest = bytes.as_slice();
            assert_eq!((Entry::decode(&mut rest), rest), (Some(entry), &b""[..]));
            for length in 0..bytes.len() {
                assert_eq!(Entry::decode(&mut &bytes[..length]), None, "{length} bytes of {entry:?}");
            }
        }
        assert_eq!(Entry::decode(&mut &[3, 0, 0, 0, 0][..]), None);
        assert_eq!(Entry::decode(&mut &[DELETE | WITHDRAWN, 0, 0, 0, 0][..]), None);
    }
}
