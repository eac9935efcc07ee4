use proptest::prelude::*;
use recstore_core::features::{MAX_ROW_BYTES, encode_row};
use recstore_core::{ColumnType, EntityKind, GroupSchema};
use recstore_testkit::hostile::HostileTexts;

use super::*;

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![0..1000_i64, 0..=Timestamp::MAX.as_millis()]
        .prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x1f\"\\\\]{0,9}",
        any::<u64>().prop_map(|seed| HostileTexts::new(seed).id())
    ]
}

fn any_value() -> impl Strategy<Value = FeatureValue> {
    let finite =
        |bits: u64| Some(f64::from_bits(bits)).filter(|value| value.is_finite()).unwrap_or(0.5) + 0.0;
    let narrow =
        |bits: u32| Some(f32::from_bits(bits)).filter(|value| value.is_finite()).unwrap_or(0.1) + 0.0;
    let float = prop_oneof![
        any::<u64>().prop_map(finite),
        (-1000..1000_i64).prop_map(|whole| whole as f64),
        prop::sample::select(vec![f64::MAX, f64::MIN, 5e-324, 1e16, 1e21, 0.1 + 0.2]),
    ];
    let single = prop_oneof![
        any::<u32>().prop_map(narrow),
        prop::sample::select(vec![0.1_f32, f32::MAX, f32::MIN_POSITIVE, 1e-45, 1.0]),
    ];
    prop_oneof![
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(0)].prop_map(FeatureValue::Integer),
        float.prop_map(FeatureValue::Float),
        any::<bool>().prop_map(FeatureValue::Bool),
        any_text().prop_map(FeatureValue::Text),
        any_time().prop_map(FeatureValue::Timestamp),
        prop::collection::vec(single, 1..6).prop_map(FeatureValue::Vector),
        prop::collection::vec(any_text(), 0..4).prop_map(FeatureValue::TextList),
    ]
}

fn any_line() -> impl Strategy<Value = FeatureLine> {
    let values = prop::collection::btree_map("[a-z][a-z0-9_]{0,5}", any_value(), 0..8);
    let content = prop_oneof![
        1 => Just(RowContent::Deleted),
        5 => values.prop_map(|values| {
            RowContent::Values(values.into_iter().map(|(column, value)| (name(&column), value)).collect())
        }),
    ];
    ("[a-z][a-z0-9_]{0,63}", any::<u64>(), any_time(), content).prop_map(
        |(group, seed, event_time, content)| {
            let id = EntityKey::new(HostileTexts::new(seed).id()).unwrap();
            FeatureLine { group: name(&group), row: FeatureRow { id, event_time, content } }
        },
    )
}

fn encoded(line: &FeatureLine) -> String {
    let mut text = Vec::new();
    line.encode(&mut text);
    assert_eq!(text.pop(), Some(b'\n'));
    String::from_utf8(text).unwrap()
}

fn decoded(line: &str) -> Result<FeatureLine, BadLine> {
    FeatureLine::decode(line.as_bytes())
}

/// Whether another JSON reader takes a value for the same.
fn same_to_serde(found: &serde_json::Value, value: &FeatureValue) -> bool {
    match value {
        FeatureValue::Integer(value) => found.as_i64() == Some(*value),
        FeatureValue::Float(value) => found.is_f64() && found.as_f64() == Some(*value),
        FeatureValue::Bool(value) => found.as_bool() == Some(*value),
        FeatureValue::Text(text) => found.as_str() == Some(text),
        FeatureValue::Timestamp(time) => Timestamp::parse(found["time"].as_str().unwrap()).unwrap() == *time,
        FeatureValue::Vector(values) => {
            let found: Vec<f64> = found.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
            found == values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>()
        }
        FeatureValue::TextList(texts) => {
            let found: Vec<&str> =
                found.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
            found == *texts
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_row_reads_back_bit_for_bit_and_means_the_same_to_others(line in any_line()) {
        let text = encoded(&line);
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(&decoded(&text).unwrap(), &line);
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(found["id"].as_str().unwrap(), line.row.id.as_str());
        match &line.row.content {
            RowContent::Deleted => prop_assert!(found["values"].is_null()),
            RowContent::Values(values) => {
                prop_assert_eq!(found["values"].as_object().unwrap().len(), values.len());
                for (column, value) in values {
                    prop_assert!(same_to_serde(&found["values"][column.as_str()], value), "{}", text);
                }
            }
        }
    }

    #[test]
    fn a_damaged_line_is_refused_or_is_one_that_others_read_too(
        line in any_line(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        const BYTES: &[u8] = b"\"\\{}[],:.-+eE0123456789 \tntu/abcdef\xc3\xa9\x00\xff";
        let mut text = encoded(&line).into_bytes();
        for (at, which, how) in edits {
            let at = at.index(text.len());
            let byte = BYTES[which.index(BYTES.len())];
            match how % 3 {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        if let Ok(read) = FeatureLine::decode(&text) {
            let found: serde_json::Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(found["id"].as_str().unwrap(), read.row.id.as_str());
            // What was read is written in its one way, and reads back.
            prop_assert_eq!(decoded(&encoded(&read)).unwrap(), read);
        }
    }
}

#[test]
fn lines_are_written_as_the_table_says() {
    let time = Timestamp::parse("2009-12-14T02:52:24.000Z").unwrap();
    let row = FeatureRow::new(EntityKey::new("a\"b").unwrap(), time)
        .with(name("age"), FeatureValue::Integer(-31))
        .with(name("score"), FeatureValue::Float(2.0))
        .with(name("zero"), FeatureValue::Float(-0.0))
        .with(name("tiny"), FeatureValue::Float(5e-324))
        .with(name("active"), FeatureValue::Bool(true))
        .with(name("city"), FeatureValue::Text("Zürich\n\0".to_owned()))
        .with(name("since"), FeatureValue::Timestamp(Timestamp::MIN))
        .with(name("embedding"), FeatureValue::Vector(vec![0.1, -1.5]))
        .with(name("tags"), FeatureValue::TextList(vec![String::new(), "摄影".to_owned()]))
        .with(name("none"), FeatureValue::TextList(Vec::new()));
    let line = FeatureLine { group: name("profile"), row };
    let expected = concat!(
        r#"{"group":"profile","id":"a\"b","event_time":"2009-12-14T02:52:24.000Z","values":{"age":-31,"#,
        r#""score":2.0,"zero":0.0,"tiny":5e-324,"active":true,"city":"Zürich\u000a\u0000","#,
        r#""since":{"time":"1970-01-01T00:00:00.000Z"},"embedding":[0.10000000149011612,-1.5],"#,
        r#""tags":["","摄影"],"none":[]}}"#
    );
    assert_eq!(encoded(&line), expected);
    let row = FeatureRow::deleted(EntityKey::new("1").unwrap(), time);
    let deleted = r#"{"group":"g","id":"1","event_time":"2009-12-14T02:52:24.000Z","values":null}"#;
    assert_eq!(encoded(&FeatureLine { group: name("g"), row }), deleted);
    let spaced = deleted.replace(':', " :\t").replace("02 :\t52 :\t24", "02:52:24").replace(',', " , ");
    assert_eq!(decoded(&spaced).unwrap(), decoded(deleted).unwrap());
}

#[test]
fn what_is_no_row_is_refused_with_its_reason() {
    let line = |values: &str| {
        format!(r#"{{"group":"g","id":"1","event_time":"2009-12-14T02:52:24.000Z","values":{values}}}"#)
    };
    let told = |line: &str| decoded(line).unwrap_err().to_string();
    for (values, reason) in [
        (r#"{"a":null}"#, "values: a value is null, such columns are left out"),
        (r#"{"a":1,"a":2}"#, "values: column a: stands twice"),
        (r#"{"a":9223372036854775808}"#, "values: an integer is beyond 64 bits"),
        (r#"{"a":1e400}"#, "values: a number is not finite"),
        (r#"{"a":[0.1]}"#, "values: a number of a vector is not exactly one of 32 bits"),
        (r#"{"a":{}}"#, "values: a value is an object without a time"),
        (r#"{"a":{"day":"x"}}"#, "values: a value is an object of something else than one time"),
        (
            r#"{"a":{"time":"2009-13-14T02:52:24.000Z"}}"#,
            "values: is no time such as 2009-12-14T02:52:24.000Z",
        ),
        (r#"{"a":[[1.0]]}"#, "a list or an object at byte 77, events have none"),
        (r#"{"a":["x",1.0]}"#, "expected text at byte 81"),
        (r#"{"a":[1.0,"x"]}"#, "expected a number at byte 81"),
        (r#"{"a":01}"#, "expected a value at byte 76"),
        (r#"{"a":+1}"#, "expected a value at byte 76"),
        (r#"{"a":1.}"#, "expected a value at byte 76"),
        (r#"{"a":NaN}"#, "expected a value at byte 76"),
        ("1", "values: is no object and not null"),
        ("[]", "values: is no object and not null"),
    ] {
        assert_eq!(told(&line(values)), reason, "{values}");
    }
    assert!(told(&line(r#"{"A":1}"#)).starts_with("values: \"A\" is no feature name"));
    let fine = line("{}");
    assert!(decoded(&fine).is_ok());
    assert_eq!(told(&fine.replace(r#""id""#, r#""user""#)), "unknown key at byte 13");
    assert_eq!(told(&fine.replace(r#""id":"1""#, r#""id":"1","id":"1""#)), "id: stands twice");
    assert_eq!(told(&fine.replace(r#""id":"1","#, "")), "id: is missing");
    assert_eq!(told(&fine.replace(r#""id":"1""#, r#""id":1"#)), "id: is not text");
    assert_eq!(told(&(fine.clone() + "x")), format!("has more after the object, from byte {}", fine.len()));
    assert_eq!(told(""), "is empty");
    let long = line(&format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_FEATURE_LINE_BYTES)));
    assert!(matches!(decoded(&long), Err(BadLine::TooLong { .. })));
    let many: Vec<String> = (0..=MAX_COLUMNS).map(|number| format!(r#""c{number}":1"#)).collect();
    assert_eq!(told(&line(&format!("{{{}}}", many.join(",")))), "values: has more columns than a group has");
}

#[test]
fn the_longest_rows_make_lines_that_are_read() {
    let control = FeatureValue::Text("\u{1}".repeat(MAX_ROW_BYTES - 7));
    let texts = GroupSchema::new(name("g"), EntityKind::User).with_column(name("a"), ColumnType::Text);
    // Vectors of the greatest length, of numbers with the most digits.
    let longest = -f32::from_bits(0x0080_0001);
    let vector = FeatureValue::Vector(vec![longest; 16_384]);
    let columns = (0..5).map(|at| name(&format!("{}{at}", "v".repeat(63))));
    let vectors = columns.clone().fold(GroupSchema::new(name("g"), EntityKind::User), |schema, column| {
        schema.with_column(column, ColumnType::Vector(16_384))
    });
    let of_vectors = columns.map(|column| (column, vector.clone())).collect();
    for (schema, values) in [(texts, vec![(name("a"), control)]), (vectors, of_vectors)] {
        let content = RowContent::Values(values);
        let row_bytes = encode_row(&schema, &content).unwrap().len();
        assert!(row_bytes > MAX_ROW_BYTES * 9 / 10);
        let row = FeatureRow { id: EntityKey::new("1").unwrap(), event_time: Timestamp::MIN, content };
        let line = FeatureLine { group: name("g"), row };
        let text = encoded(&line);
        assert!(text.len() < MAX_FEATURE_LINE_BYTES * 2 / 3, "{} bytes", text.len());
        assert!(line.share() * SHARE_BYTES > row_bytes / 2);
        assert_eq!(decoded(&text).unwrap(), line);
    }
}
