//! Stored things to JSON.

use recstore::{FeatureBatch, FeatureValue, Neighbour, Outcome, PutReceipt, ReleaseId, RowStatus};
use serde_json::{Map, Value, json};

/// What became of a batch.
pub(crate) fn receipt(receipt: &PutReceipt) -> Value {
    json!({
        "applied": receipt.count(Outcome::Applied),
        "stale": receipt.count(Outcome::Stale),
        "duplicate": receipt.count(Outcome::Duplicate),
        "erased": receipt.count(Outcome::Erased),
        "conflicts": receipt.conflicts,
    })
}

/// A found row: its values by column, null where there is none.
pub(crate) fn features(batch: &FeatureBatch, row: usize) -> Value {
    let as_of = match batch.status[row] {
        RowStatus::Found { as_of, .. } => Value::from(as_of.as_millis()),
        _ => Value::Null,
    };
    let columns: Map<String, Value> = batch
        .columns
        .iter()
        .map(|column| (column.name.to_string(), column.value(row).map_or(Value::Null, value)))
        .collect();
    json!({ "id": batch.ids[row], "as_of": as_of, "columns": columns })
}

fn value(value: FeatureValue) -> Value {
    match value {
        FeatureValue::Integer(value) => value.into(),
        FeatureValue::Float(value) => value.into(),
        FeatureValue::Bool(value) => value.into(),
        FeatureValue::Text(value) => value.into(),
        FeatureValue::Timestamp(value) => value.as_millis().into(),
        FeatureValue::Vector(values) => values.into(),
        FeatureValue::TextList(values) => values.into(),
    }
}

/// The neighbours of an item.
pub(crate) fn neighbours(item: &str, release: Option<&ReleaseId>, neighbours: &[Neighbour]) -> Value {
    json!({ "id": item, "release": release, "neighbours": neighbours })
}
