//! Ids, keys, tokens and the stored forms of rows and statistics. The first byte says which of them the others
//! are.

use std::str::FromStr;

use recstore::features::{ValueRef, decode_row, encode_row};
use recstore::model::stable_hash;
use recstore::{
    BayesianPrior, ColumnType, EntityKey, EntityKind, Error, ErrorKind, EventId, FeatureName, FeatureValue,
    GroupSchema, ItemId, Measure, Namespace, PageToken, Rating, RatingStats, RatingValue, RowContent,
    ShardRange, Timestamp, UserId,
};

use crate::Answer;

/// Whose history page tokens are of.
const OWNER: &str = "u";

/// Bytes as one of the things that core reads.
pub fn codec(data: &[u8]) -> Answer {
    let Some((&kind, data)) = data.split_first() else { return Answer::Refused };
    match kind % 8 {
        0 => text(data, id),
        1 => text(data, |text| round_trip::<Namespace>(text).map(|same| assert!(same))),
        2 => text(data, |text| round_trip::<EventId>(text).map(drop)),
        3 => text(data, page_token),
        4 => answer(feature_row(data), ErrorKind::Corrupt),
        5 => answer(stats(data), ErrorKind::Corrupt),
        6 => text(data, time),
        _ => text(data, names),
    }
}

fn text(data: &[u8], read: impl FnOnce(&str) -> Result<(), Error>) -> Answer {
    match std::str::from_utf8(data) {
        Ok(text) => answer(read(text), ErrorKind::Invalid),
        Err(_) => Answer::Refused,
    }
}

/// The error must be of this kind, or say that a newer program is needed.
fn answer(outcome: Result<(), Error>, kind: ErrorKind) -> Answer {
    match outcome {
        Ok(()) => Answer::Taken,
        Err(error) => {
            assert!(error.kind() == kind || error.kind() == ErrorKind::SchemaVersion, "{error:?}");
            Answer::Refused
        }
    }
}

/// Whether what was read shows itself as it was written; it must be read back as it is.
fn round_trip<T: FromStr<Err = Error> + ToString + PartialEq>(text: &str) -> Result<bool, Error> {
    let value: T = text.parse()?;
    let shown = value.to_string();
    assert!(shown.parse::<T>()? == value, "{shown:?}");
    Ok(shown == text)
}

fn id(text: &str) -> Result<(), Error> {
    let same = [round_trip::<UserId>(text)?, round_trip::<ItemId>(text)?, round_trip::<EntityKey>(text)?];
    assert_eq!(same, [true; 3], "an id is never changed");
    let json = serde_json::to_string(text).expect("a text can be written");
    assert_eq!(serde_json::from_str::<UserId>(&json).expect("a valid id").as_str(), text);
    let shards = ShardRange::split(7)?;
    let of = |shard: &&ShardRange| shard.contains(text);
    assert_eq!(shards.iter().filter(of).count(), 1, "hash {}", stable_hash(text));
    Ok(())
}

/// A token is taken only as it was made.
fn page_token(text: &str) -> Result<(), Error> {
    let token = PageToken::from_text(text);
    let (millis, event_id, other) = token.position(EntityKind::User, OWNER)?;
    let (user, item) = (UserId::new(OWNER)?, ItemId::new(other).expect("an id"));
    let time = Timestamp::from_millis(millis).expect("a time");
    let rating = Rating::withdrawal(user, item, time).with_event_id(event_id);
    assert_eq!(PageToken::after(&rating, EntityKind::User), token);
    Ok(())
}

/// A group with a column of each type.
fn schema() -> GroupSchema {
    let types = [
        ColumnType::Integer,
        ColumnType::Float,
        ColumnType::Bool,
        ColumnType::Text,
        ColumnType::Timestamp,
        ColumnType::Vector(2),
        ColumnType::TextList,
    ];
    let name = |text: &str| FeatureName::new(text).expect("a valid name");
    types
        .into_iter()
        .enumerate()
        .fold(GroupSchema::new(name("group"), EntityKind::User), |schema, (number, column_type)| {
            schema.with_column(name(&format!("column_{number}")), column_type)
        })
}

fn feature_row(data: &[u8]) -> Result<(), Error> {
    let schema = schema();
    let mut values = Vec::new();
    let has_values = decode_row(&schema, data, |position, value| {
        values.push((schema.columns[position].name.clone(), owned(value)));
    })?;
    let content = if has_values { RowContent::Values(values) } else { RowContent::Deleted };
    let encoded = encode_row(&schema, &content).expect("what was decoded is a row");
    assert_eq!(encoded, data, "there is one form of a row");
    Ok(())
}

fn owned(value: ValueRef<'_>) -> FeatureValue {
    match value {
        ValueRef::Integer(value) => FeatureValue::Integer(value),
        ValueRef::Float(value) => FeatureValue::Float(value),
        ValueRef::Bool(value) => FeatureValue::Bool(value),
        ValueRef::Text(value) => FeatureValue::Text(value.to_owned()),
        ValueRef::Timestamp(value) => FeatureValue::Timestamp(value),
        ValueRef::Vector(values) => FeatureValue::Vector(values.iter().collect()),
        ValueRef::TextList(texts) => FeatureValue::TextList(texts.iter().map(str::to_owned).collect()),
    }
}

/// Whatever statistics are read can be worked with.
fn stats(data: &[u8]) -> Result<(), Error> {
    let mut stats = RatingStats::decode(data)?;
    let mut encoded = Vec::new();
    stats.encode(&mut encoded);
    assert_eq!(RatingStats::decode(&encoded)?, stats);
    assert!(encoded.len() <= data.len(), "the written form is the shortest");

    let values = [-1_000_000.0, -0.5, 0.0, 1_000_000.0].map(RatingValue::new);
    let other = stats.clone();
    for value in values {
        let value = value?;
        let _ = stats.apply(None, Some(value));
        let _ = stats.apply(Some(value), RatingValue::new(3.0).ok());
    }
    stats.merge(&other);
    for stats in [other, stats] {
        let _ = stats.extremes();
        if let Some(features) = stats.finish(BayesianPrior::default()) {
            for number in [features.mean, features.std, features.bayesian_mean] {
                assert!(number.is_finite(), "{features:?}");
            }
        }
    }
    Ok(())
}

fn time(text: &str) -> Result<(), Error> {
    let time = Timestamp::parse(text)?;
    assert_eq!(Timestamp::parse(&time.to_string())?, time);
    assert_eq!(Timestamp::from_millis(time.as_millis())?, time);
    Ok(())
}

fn names(text: &str) -> Result<(), Error> {
    assert!(round_trip::<EntityKind>(text).unwrap_or(true));
    assert!(round_trip::<Measure>(text).unwrap_or(true));
    round_trip::<FeatureName>(text).map(|same| assert!(same))
}
