use proptest::prelude::*;
use recstore_core::Timestamp;
use recstore_testkit::hostile::HostileTexts;

use super::*;

const LINE: &str = r#"{"user":"1","item":"31","value":2.5,"rated_at":"2009-12-14T02:52:24.000Z","event_id":"06a8a7714c9e131eaa8adf9dd07ce1c0"}"#;

prop_compose! {
    fn event()(
        seed in any::<u64>(),
        micros in prop::option::of(prop_oneof![
            -3_000_000..3_000_000_i64,
            -RatingValue::MAX_MICROS..=RatingValue::MAX_MICROS,
            (-10..10_i64).prop_map(|stars| stars * 500_000),
        ]),
        millis in prop_oneof![0..1000_i64, 0..=Timestamp::MAX.as_millis()],
        id in any::<u128>(),
    ) -> Rating {
        let mut texts = HostileTexts::new(seed);
        let value = micros.map(|micros| RatingValue::from_micros(micros).unwrap());
        let (user, item) = (UserId::new(texts.id()).unwrap(), ItemId::new(texts.id()).unwrap());
        let time = Timestamp::from_millis(millis).unwrap();
        Rating::from_parts(user, item, value, time, Some(EventId::from_u128(id)))
    }
}

fn encoded(event: &Rating) -> String {
    let mut line = Vec::new();
    encode_line(event, &mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    String::from_utf8(line).unwrap()
}

fn decoded(line: &str) -> Result<Rating, BadLine> {
    decode_line(line.as_bytes())
}

/// What another JSON reader takes a line for.
fn parts_by_serde(line: &[u8]) -> (String, String, Option<f64>, String, String) {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap();
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    (text("user"), text("item"), value["value"].as_f64(), text("rated_at"), text("event_id"))
}

fn assert_same_to_serde(line: &[u8], event: &Rating) {
    let (user, item, value, rated_at, event_id) = parts_by_serde(line);
    assert_eq!((user.as_str(), item.as_str()), (event.user().as_str(), event.item().as_str()));
    assert_eq!(value.map(|value| RatingValue::new(value).unwrap()), event.value());
    assert_eq!(Timestamp::parse(&rated_at).unwrap(), event.rated_at());
    assert_eq!(event_id.parse::<EventId>().unwrap(), event.event_id());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_event_reads_back_and_means_the_same_to_others(event in event()) {
        let line = encoded(&event);
        prop_assert!(line.len() < MAX_LINE_BYTES / 16);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(&decoded(&line).unwrap(), &event);
        prop_assert_eq!(&scanned(line.as_bytes()).unwrap(), &event);
        prop_assert_eq!(as_written(line.as_bytes()), (!line.contains('\\')).then(|| event.clone()));
        prop_assert_eq!(encoded(&decoded(&line).unwrap()), line.clone());
        assert_same_to_serde(line.as_bytes(), &event);
    }

    #[test]
    fn whatever_is_read_of_a_damaged_line_is_what_others_read(
        event in event(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        // Bytes that mean something to a parser, so that much of what is made still parses.
        const BYTES: &[u8] = b"\"\\{}[],:.-+eE0123456789 \tntu/abcdef\xc3\xa9\x00\xff";
        let mut line = encoded(&event).into_bytes();
        for (at, which, how) in edits {
            let at = at.index(line.len());
            match how % 3 {
                0 => line[at] = BYTES[which.index(BYTES.len())],
                1 => line.insert(at, BYTES[which.index(BYTES.len())]),
                _ => { line.remove(at); }
            }
        }
        // The fast way takes nothing that the strict one does not, and never for another event.
        if let Some(event) = as_written(&line) {
            prop_assert_eq!(scanned(&line), Ok(event));
        }
        if let Ok(event) = decode_line(&line) {
            assert_same_to_serde(&line, &event);
            prop_assert_eq!(decoded(&encoded(&event)).unwrap(), event);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(line in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        let _ = decode_line(&line);
        let _ = decode_line(format!("{{\"user\":\"{text}").as_bytes());
        let _ = decode_line(text.as_bytes());
    }
}

#[test]
fn a_line_is_written_as_documented() {
    let at = Timestamp::from_seconds(1_260_759_144).unwrap();
    let event = Rating::new(1.into(), 31.into(), 2.5, at).unwrap();
    assert_eq!(encoded(&event), LINE);
    let withdrawn = Rating::withdrawal(1.into(), 31.into(), at).with_event_id(EventId::from_u128(7));
    assert_eq!(
        encoded(&withdrawn),
        r#"{"user":"1","item":"31","value":null,"rated_at":"2009-12-14T02:52:24.000Z","event_id":"00000000000000000000000000000007"}"#
    );
}

#[test]
fn values_are_exact_decimals_with_a_point() {
    for (micros, text) in [
        (0, "0.0"),
        (1, "0.000001"),
        (-1, "-0.000001"),
        (2_500_000, "2.5"),
        (-10_000_000, "-10.0"),
        (1_234_567_890_123, "1234567.890123"),
        (RatingValue::MAX_MICROS, "1000000.0"),
        (-RatingValue::MAX_MICROS, "-1000000.0"),
    ] {
        let mut out = Vec::new();
        put_decimal(micros, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
    for (text, micros) in
        [("3", 3_000_000), ("-0.0", 0), ("0.10", 100_000), ("1000000.000000", 1_000_000_000_000)]
    {
        let line = LINE.replace("2.5", text);
        assert_eq!(decoded(&line).unwrap().value().unwrap().micros(), micros, "{text}");
    }
}

#[test]
fn space_order_and_escapes_do_not_matter() {
    let line = r#" { "event_id" : "06a8a7714c9e131eaa8adf9dd07ce1c0" ,	"it\u0065m":"\u0033\u0031","rated_at":"2009-12-14T02:52:24Z","value":2.50,"user":"1"} "#;
    assert_eq!(decoded(line), decoded(LINE));
    let pair = LINE.replace(r#""31""#, r#""\ud83c\udfac\/\"\\""#);
    assert_eq!(decoded(&pair).unwrap().item().as_str(), "🎬/\"\\");
}

#[test]
fn every_bad_line_says_why() {
    use LineField::*;
    let of = |from: &str, to: &str| LINE.replacen(from, to, 1);
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "is empty"),
        ("x".repeat(MAX_LINE_BYTES + 1), "has 65537 bytes, at most 65536"),
        (format!("\u{feff}{LINE}"), "begins with a byte order mark"),
        ("[1]".into(), "expected an object at byte 0"),
        ("{}".into(), "user: is missing"),
        ("{".into(), "expected a key at byte 1"),
        (of("\"1\"", "{\"a\":1}"), "a list or an object at byte 8, events have none"),
        (of("2.5", "[[[["), "a list or an object at byte 32, events have none"),
        (of("}", ",\"x\":1}"), "unknown key at byte 120"),
        (of("}", ",\"user\":\"2\"}"), "user: stands twice"),
        (of("}", ",\"us\\u0065r\":\"2\"}"), "user: stands twice"),
        (of("\"value\":2.5,", ""), "value: is missing"),
        (of("\"user\":\"1\"", "\"user\":1"), "user: is not text"),
        (of("\"1\"", "\"\""), "user: is empty, ids have 1 to 512 bytes"),
        (of("\"31\"", "\"a\\u0000\""), "item: has a control character (U+0000) at byte 1"),
        (of("\"31\"", "\"\\ud800\""), "expected an escape at byte 20"),
        (of("\"31\"", "\"\\x\""), "expected an escape at byte 20"),
        (of("\"31\"", "\"a\tb\""), "expected the end of a text at byte 21"),
        (of("2.5", "\"2.5\""), "value: is no plain decimal number and not null"),
        (of("2.5", "NaN"), "value: is no plain decimal number and not null"),
        (of("2.5", "1e3"), "value: is no plain decimal number and not null"),
        (of("2.5", "02.5"), "value: is no plain decimal number and not null"),
        (of("2.5", "2."), "value: is no plain decimal number and not null"),
        (of("2.5", "2.5000001"), "value: has more than six decimals"),
        (of("2.5", "99999999"), "value: is beyond ±1,000,000"),
        (of("2.5", "1000000.000001"), "value: 1000000000001 micro-units is beyond ±1,000,000 units"),
        (of("14T", "14 "), "rated_at: is no time such as 2009-12-14T02:52:24.000Z"),
        (of("2009", "1969"), "rated_at: is no time such as 2009-12-14T02:52:24.000Z"),
        (of("06a8", "06A8"), "event_id: is not 32 hexadecimal digits"),
        (of("06a8", "6a8"), "event_id: is not 32 hexadecimal digits"),
        (format!("{LINE}{LINE}"), "has more after the object, from byte 120"),
        (format!("{LINE}\r"), "has more after the object, from byte 120"),
        (LINE[..LINE.len() - 1].into(), "expected ',' or '}' at byte 119"),
    ];
    for (line, reason) in cases {
        assert_eq!(decoded(&line).unwrap_err().to_string(), reason, "{}", &line[..line.len().min(200)]);
    }
    assert_eq!(decode_line(b"{\"user\":\"\xff\"}"), Err(BadLine::NotUtf8 { at: 9 }));
    for field in [User, Item, Value, RatedAt, EventId] {
        assert_eq!(LineField::of(field.as_str()), Some(field));
    }
}

#[test]
fn depth_costs_nothing() {
    let deep = "[".repeat(60_000);
    assert_eq!(decoded(&format!("{{\"user\":{deep}")), Err(BadLine::Nested { at: 8 }));
}
