//! Content hashes: equal content in two stores gives equal fingerprints, whatever the mode and the order.
//!
//! Each row is encoded canonically (a tag, then each part with its length), hashed with BLAKE3 cut to 128
//! bits, and the hashes are summed mod 2^128. A sum does not depend on order, and stores of any layout can
//! compute it in one pass.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{EntityKey, EntityKind, GroupSchema, ItemId, Neighbour, RatingFeatures, RatingRow, Timestamp};

/// BLAKE3 context; it carries the version of the encoding.
const CONTEXT: &str = "recstore 2026 fingerprint v1";

/// The content hash of a set of rows: 128 bits, printed as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The 128 bits.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The fingerprint of two disjoint sets of rows together.
    #[must_use]
    pub fn combine(self, other: Fingerprint) -> Fingerprint {
        Fingerprint(self.0.wrapping_add(other.0))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The content hashes of one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Fingerprints {
    /// Rating rows with event ids, withdrawn ones included, and tombstones.
    pub ratings: Fingerprint,
    /// Built-in features as derived columns; custom schemas, and rows with their event times, deletions
    /// included.
    pub features: Fingerprint,
    /// Neighbour lists of the current releases, and hidden items. Not release ids and not times of building.
    pub similarities: Fingerprint,
}

/// Adds rows up. For backends: every row of every store goes in once, in any order.
#[derive(Debug, Default)]
pub struct FingerprintBuilder {
    sums: Fingerprints,
    buffer: Vec<u8>,
}

impl FingerprintBuilder {
    /// A builder without rows.
    pub fn new() -> FingerprintBuilder {
        FingerprintBuilder::default()
    }

    /// Adds a rating row.
    pub fn rating(&mut self, row: &RatingRow) {
        let rating = &row.rating;
        let buffer = self.begin(b"rating");
        text(buffer, rating.user().as_str());
        text(buffer, rating.item().as_str());
        match rating.value() {
            Some(value) => number(buffer, value.micros()),
            None => part(buffer, b"withdrawn"),
        }
        number(buffer, rating.rated_at().as_millis());
        part(buffer, &rating.event_id().as_u128().to_be_bytes());
        number(buffer, row.first_rated_at.as_millis());
        self.sums.ratings = self.sums.ratings.combine(self.end());
    }

    /// Adds the tombstone of an erased entity.
    pub fn tombstone(&mut self, tombstone: &[u8; 16], erased_at: Timestamp, barred_until: Timestamp) {
        let buffer = self.begin(b"tombstone");
        part(buffer, tombstone);
        number(buffer, erased_at.as_millis());
        number(buffer, barred_until.as_millis());
        self.sums.ratings = self.sums.ratings.combine(self.end());
    }

    /// Adds the built-in features of an entity that has a current rating.
    pub fn rating_features(&mut self, kind: EntityKind, id: &EntityKey, features: &RatingFeatures) {
        let buffer = self.begin(b"rating features");
        text(buffer, kind.as_str());
        text(buffer, id.as_str());
        part(buffer, &features.count.to_le_bytes());
        float(buffer, features.mean);
        float(buffer, features.std);
        match features.extremes {
            Some((min, max)) => {
                float(buffer, min);
                float(buffer, max);
            }
            None => part(buffer, b"unknown"),
        }
        number(buffer, features.first_rated_at.as_millis());
        number(buffer, features.last_rated_at.as_millis());
        if kind == EntityKind::Item {
            float(buffer, features.bayesian_mean);
        }
        self.sums.features = self.sums.features.combine(self.end());
    }

    /// Adds the schema of a custom group; its version is not content.
    pub fn group(&mut self, schema: &GroupSchema) {
        let buffer = self.begin(b"group");
        text(buffer, schema.name.as_str());
        text(buffer, schema.entity.as_str());
        for column in &schema.columns {
            text(buffer, column.name.as_str());
            text(buffer, &column.column_type.to_string());
        }
        self.sums.features = self.sums.features.combine(self.end());
    }

    /// Adds a row of a custom group, encoded by [`encode_row`](crate::features::encode_row).
    pub fn feature_row(
        &mut self,
        schema: &GroupSchema,
        id: &EntityKey,
        event_time: Timestamp,
        encoded: &[u8],
    ) {
        let buffer = self.begin(b"feature row");
        text(buffer, schema.name.as_str());
        text(buffer, id.as_str());
        number(buffer, event_time.as_millis());
        part(buffer, encoded);
        self.sums.features = self.sums.features.combine(self.end());
    }

    /// Adds a neighbour list of a current release, as it is stored (hidden items included).
    pub fn neighbours(&mut self, kind: EntityKind, id: &EntityKey, neighbours: &[Neighbour]) {
        let buffer = self.begin(b"neighbours");
        text(buffer, kind.as_str());
        text(buffer, id.as_str());
        for neighbour in neighbours {
            text(buffer, neighbour.id.as_str());
            float(buffer, neighbour.similarity);
            part(buffer, &neighbour.common.to_le_bytes());
        }
        self.sums.similarities = self.sums.similarities.combine(self.end());
    }

    /// Adds a hidden item.
    pub fn hidden(&mut self, item: &ItemId) {
        let buffer = self.begin(b"hidden");
        text(buffer, item.as_str());
        self.sums.similarities = self.sums.similarities.combine(self.end());
    }

    /// The sums of all rows.
    pub fn finish(self) -> Fingerprints {
        self.sums
    }

    fn begin(&mut self, tag: &[u8]) -> &mut Vec<u8> {
        self.buffer.clear();
        part(&mut self.buffer, tag);
        &mut self.buffer
    }

    fn end(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&self.buffer);
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Fingerprint(u128::from_le_bytes(bytes))
    }
}

/// Every part carries its length, so that no two rows have the same encoding.
fn part(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

fn text(buffer: &mut Vec<u8>, text: &str) {
    part(buffer, text.as_bytes());
}

fn number(buffer: &mut Vec<u8>, number: i64) {
    part(buffer, &number.to_le_bytes());
}

fn float(buffer: &mut Vec<u8>, number: f64) {
    // Adding 0 makes 0 of -0 and changes nothing else.
    part(buffer, &(number + 0.0).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rating;

    fn row(user: u64, value: f64, first: i64) -> RatingRow {
        let at = |seconds| Timestamp::from_seconds(seconds).unwrap();
        let rating = Rating::new(user.into(), 1.into(), value, at(9)).unwrap();
        RatingRow { rating, first_rated_at: at(first) }
    }

    fn of(rows: &[RatingRow]) -> Fingerprint {
        let mut builder = FingerprintBuilder::new();
        rows.iter().for_each(|row| builder.rating(row));
        builder.finish().ratings
    }

    #[test]
    fn order_does_not_matter_and_every_field_does() {
        let all = of(&[row(1, 5.0, 9), row(2, 4.0, 9)]);
        assert_eq!(all, of(&[row(2, 4.0, 9), row(1, 5.0, 9)]));
        assert_eq!(all, of(&[row(1, 5.0, 9)]).combine(of(&[row(2, 4.0, 9)])));
        for other in [row(3, 4.0, 9), row(2, 4.5, 9), row(2, 4.0, 8)] {
            assert_ne!(all, of(&[row(1, 5.0, 9), other]));
        }
    }

    /// A golden value: fingerprints of stores are compared across versions.
    #[test]
    fn the_encoding_is_fixed_for_ever() {
        assert_eq!(of(&[row(1, 5.0, 9)]).to_string(), "e2517cb8ee2d68ad01824ed3d14ce5cd");
    }
}
