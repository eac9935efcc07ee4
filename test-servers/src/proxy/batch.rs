//! Batches that are carried out in part: which entries reach the server, and how the others come back.

use super::script::happens;
use bytes::Bytes;
use recstore_test_cloud::Keep;
use serde_json::{Map, Value};

/// A batch request, parted.
pub(super) struct Parted {
    /// The request with the entries that are kept; none where no entry is.
    pub(super) kept: Option<Bytes>,
    /// The other entries, by table, in the form of the answer's field.
    left: Map<String, Value>,
    /// `UnprocessedItems` or `UnprocessedKeys`.
    field: &'static str,
}

/// Parts a BatchWriteItem or BatchGetItem. `firing` is how often the rule acted, so that chance is another each time.
/// None where the body is not that of a batch.
pub(super) fn part(body: &[u8], keep: &Keep, firing: u64) -> Option<Parted> {
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let tables = request.get_mut("RequestItems")?.as_object_mut()?;
    let (mut left, mut number, mut field) = (Map::new(), 0, "UnprocessedItems");
    for (table, kept) in tables.iter_mut() {
        let mut rest = kept.clone();
        if kept.get("Keys").is_some() {
            field = "UnprocessedKeys";
        }
        let (kept, rest_entries) = (entries(kept)?, entries(&mut rest)?);
        rest_entries.clear();
        for entry in std::mem::take(kept) {
            number += 1;
            let side = if is_kept(keep, &entry, number, firing) { &mut *kept } else { &mut *rest_entries };
            side.push(entry);
        }
        if !rest_entries.is_empty() {
            left.insert(table.clone(), rest);
        }
    }
    tables.retain(|_, table| entries(table).is_some_and(|entries| !entries.is_empty()));
    let kept = (!tables.is_empty()).then(|| request.to_string().into());
    Some(Parted { kept, left, field })
}

/// The entries of one table: writes stand in a list, reads in a list beside what is to be read of them.
fn entries(table: &mut Value) -> Option<&mut Vec<Value>> {
    match table {
        Value::Array(writes) => Some(writes),
        reads => reads.get_mut("Keys")?.as_array_mut(),
    }
}

fn is_kept(keep: &Keep, entry: &Value, number: u64, firing: u64) -> bool {
    match keep {
        Keep::First(count) => number <= *count,
        Keep::Share { probability, seed } => happens(*probability, *seed, firing << 32 | number),
        Keep::Without(text) => !entry.to_string().contains(text),
    }
}

impl Parted {
    /// The server's answer with the entries that it did not get. None where it is no JSON object.
    pub(super) fn answer(&self, answer: &[u8]) -> Option<Bytes> {
        let mut answer: Value = serde_json::from_slice(answer).ok()?;
        let fields = answer.as_object_mut()?;
        let field = fields.entry(self.field).or_insert_with(|| Value::Object(Map::new()));
        let unprocessed = field.as_object_mut()?;
        for (table, rest) in &self.left {
            match unprocessed.get_mut(table).and_then(entries) {
                // The server left some undone itself.
                Some(own) => own.append(entries(&mut rest.clone())?),
                None => drop(unprocessed.insert(table.clone(), rest.clone())),
            }
        }
        Some(answer.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parted(request: &Value, keep: &Keep) -> (Value, Value) {
        let parted = part(request.to_string().as_bytes(), keep, 1).unwrap();
        let kept = parted.kept.as_ref().map_or(Value::Null, |kept| serde_json::from_slice(kept).unwrap());
        let answer = parted.answer(br#"{"UnprocessedItems":{}}"#).unwrap();
        (kept, serde_json::from_slice(&answer).unwrap())
    }

    #[test]
    fn writes_over_the_first_so_many_come_back_by_table() {
        let request = json!({"RequestItems": {"a": [1, 2], "b": [3, 4]}, "ReturnConsumedCapacity": "TOTAL"});
        let (kept, answer) = parted(&request, &Keep::First(3));
        let expected = json!({"RequestItems": {"a": [1, 2], "b": [3]}, "ReturnConsumedCapacity": "TOTAL"});
        assert_eq!(kept, expected);
        assert_eq!(answer, json!({"UnprocessedItems": {"b": [4]}}));
    }

    #[test]
    fn keys_come_back_with_what_was_to_be_read_of_them() {
        let request = json!({"RequestItems": {"a": {"Keys": ["k1", "k2"], "ConsistentRead": true}}});
        let (kept, answer) = parted(&request, &Keep::Without("k2".to_owned()));
        assert_eq!(kept, json!({"RequestItems": {"a": {"Keys": ["k1"], "ConsistentRead": true}}}));
        assert_eq!(answer["UnprocessedKeys"], json!({"a": {"Keys": ["k2"], "ConsistentRead": true}}));
    }

    #[test]
    fn a_table_of_which_nothing_is_kept_is_not_asked() {
        let request = json!({"RequestItems": {"a": [1], "b": [2]}});
        assert_eq!(parted(&request, &Keep::First(1)).0, json!({"RequestItems": {"a": [1]}}));
        assert_eq!(parted(&request, &Keep::First(0)).0, Value::Null);
    }

    #[test]
    fn what_the_server_left_undone_itself_is_kept() {
        let request = json!({"RequestItems": {"a": [1, 2, 3]}});
        let parted = part(request.to_string().as_bytes(), &Keep::First(2), 1).unwrap();
        let answer = parted.answer(br#"{"UnprocessedItems":{"a":[2]}}"#).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer, json!({"UnprocessedItems": {"a": [2, 3]}}));
    }

    #[test]
    fn a_share_is_another_each_time_and_repeats_with_its_seed() {
        let request = json!({"RequestItems": {"a": (0..100).collect::<Vec<_>>()}}).to_string();
        let keep = Keep::Share { probability: 0.5, seed: 3 };
        let kept = |firing| part(request.as_bytes(), &keep, firing).unwrap().kept;
        assert_eq!(kept(1), kept(1));
        assert_ne!(kept(1), kept(2));
    }
}
