//! How far a reader has come: for each epoch the last object it has taken in. Plain data, sorted, small.

use std::collections::BTreeMap;

use recstore_core::{Error, Namespace, Result};
use serde::{Deserialize, Serialize};

use crate::lake::calendar::Day;
use crate::lake::keys::{BronzeKey, EpochKey, Topic, WriterId};

/// The last object taken in of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(Day, u64, u64)", try_from = "(Day, u64, u64)")]
pub struct Position {
    /// The day it was sealed.
    pub day: Day,
    /// The number of its first event.
    pub first: u64,
    /// The number of its last one.
    pub last: u64,
}

impl TryFrom<(Day, u64, u64)> for Position {
    type Error = Error;

    /// Takes only numbers that a key can have: whoever reads on after them must not begin again at 0.
    fn try_from((day, first, last): (Day, u64, u64)) -> Result<Position> {
        if first > last || last == u64::MAX {
            return Err(Error::invalid(
                "position",
                format!("{first} to {last} are the numbers of no object"),
            ));
        }
        Ok(Position { day, first, last })
    }
}

impl From<Position> for (Day, u64, u64) {
    fn from(position: Position) -> (Day, u64, u64) {
        (position.day, position.first, position.last)
    }
}

/// The positions of all epochs of one topic in one namespace that were read from.
///
/// As JSON: `{"writer":{"3":["2024-01-15",0,99]}}`, writers and epochs in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BronzeCursors(BTreeMap<WriterId, BTreeMap<u32, Position>>);

impl BronzeCursors {
    /// Before everything.
    pub fn new() -> BronzeCursors {
        BronzeCursors::default()
    }

    /// The position within an epoch; `None` before its first object.
    pub fn position(&self, writer: &WriterId, epoch: u32) -> Option<Position> {
        self.0.get(writer)?.get(&epoch).copied()
    }

    /// The number of the next event of an epoch.
    pub fn next(&self, writer: &WriterId, epoch: u32) -> u64 {
        self.position(writer, epoch).map_or(0, |position| position.last + 1)
    }

    /// Takes an object in, if it is the next one of its epoch: positions never pass over a gap and never go back.
    /// Whether it was.
    #[must_use]
    pub fn advance(&mut self, key: &BronzeKey) -> bool {
        let EpochKey { writer, epoch, .. } = &key.epoch;
        if key.first != self.next(writer, *epoch) {
            return false;
        }
        let position = Position { day: key.day, first: key.first, last: key.last };
        self.0.entry(writer.clone()).or_default().insert(*epoch, position);
        true
    }

    /// The key of the last object taken in of an epoch.
    pub(crate) fn last_key(&self, epoch: &EpochKey) -> Option<BronzeKey> {
        let Position { day, first, last } = self.position(&epoch.writer, epoch.epoch)?;
        Some(BronzeKey { epoch: epoch.clone(), day, first, last })
    }

    /// Every epoch with a position, in order.
    pub(crate) fn epochs<'a>(
        &'a self,
        namespace: &'a Namespace,
        topic: Topic,
    ) -> impl Iterator<Item = EpochKey> + 'a {
        self.0.iter().flat_map(move |(writer, epochs)| {
            let key = move |epoch: &u32| EpochKey {
                namespace: namespace.clone(),
                topic,
                writer: writer.clone(),
                epoch: *epoch,
            };
            epochs.keys().map(key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(writer: &str, epoch: u32, first: u64, last: u64) -> BronzeKey {
        let epoch = EpochKey {
            namespace: Namespace::default(),
            topic: Topic::Ratings,
            writer: WriterId::new(writer).unwrap(),
            epoch,
        };
        BronzeKey { epoch, day: "2024-01-15".parse().unwrap(), first, last }
    }

    #[test]
    fn a_position_passes_over_no_gap_and_never_goes_back() {
        let mut cursors = BronzeCursors::new();
        assert!(!cursors.advance(&key("w", 1, 1, 5)), "the first object is missing");
        assert!(cursors.advance(&key("w", 1, 0, 4)));
        assert!(!cursors.advance(&key("w", 1, 0, 4)), "again");
        assert!(!cursors.advance(&key("w", 1, 6, 9)), "a gap");
        assert!(cursors.advance(&key("w", 1, 5, 9)));
        assert!(cursors.advance(&key("w", 2, 0, 0)), "another epoch");
        assert_eq!(cursors.next(&WriterId::new("w").unwrap(), 1), 10);
    }

    #[test]
    fn it_is_small_sorted_json_and_reads_back() {
        let mut cursors = BronzeCursors::new();
        for key in [key("w", 10, 0, 4), key("w", 9, 0, 4), key("a", 1, 0, 0)] {
            assert!(cursors.advance(&key));
        }
        let text = serde_json::to_string(&cursors).unwrap();
        let day = "2024-01-15";
        let expected =
            format!(r#"{{"a":{{"1":["{day}",0,0]}},"w":{{"9":["{day}",0,4],"10":["{day}",0,4]}}}}"#);
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<BronzeCursors>(&text).unwrap(), cursors);
        assert!(serde_json::from_str::<BronzeCursors>(r#"{"W":{}}"#).is_err());
    }
}
