//! Lines of both topics that nobody would write: never a panic, and what is read is written and read again as the same.

use std::cell::Cell;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use recstore_core::Rating;

use super::feature_line::FeatureLine;
use super::line::{Line, MAX_LINE_BYTES};

const CASES: u32 = 4000;
const TIME: &str = "\"2009-12-14T02:52:24.000Z\"";

/// A key and what stands behind it, as they are written.
type Member = (String, String);

/// Escapes that an id may have.
const ESCAPES: [&str; 5] = ["\\\"", "\\\\", "\\/", "\\u00e9", "\\ud83d\\ude00"];
/// Escapes that texts may have besides.
const CONTROLS: [&str; 8] = ["\\b", "\\f", "\\n", "\\r", "\\t", "\\u0000", "\\u001F", "\\u007f"];

/// An id between quotes.
fn id() -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![3 => "[a-z0-9é\u{6444}]{1,5}", 1 => select(ESCAPES.to_vec()).prop_map(str::to_owned)];
    vec(piece, 1..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A text between quotes that a column may have.
fn text() -> impl Strategy<Value = String> {
    let escapes = [ESCAPES.as_slice(), &CONTROLS].concat();
    let piece = prop_oneof![1 => "[a-z\u{e9} ]{0,5}", 1 => select(escapes).prop_map(str::to_owned)];
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A text between quotes, not always a right one.
fn any_text() -> impl Strategy<Value = String> {
    let unusual = ["\u{202e}", "\u{feff}", "\u{6444}", "e\u{301}", "\u{7f}", "\u{85}", "\u{2028}"];
    let escapes = [ESCAPES.as_slice(), &CONTROLS, &unusual].concat();
    let wrong = vec!["\\ud83d", "\\ude00\\ud83d", "\\u12", "\\x", "\\", "\u{0}", "\t"];
    let length = prop_oneof![250..270_usize, MAX_LINE_BYTES - 200..MAX_LINE_BYTES + 9];
    let piece = prop_oneof![
        4 => "[a-z0-9]{0,5}",
        2 => any::<String>().prop_map(|text| text.replace(['"', '\\'], "")),
        2 => select(escapes).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => select(wrong).prop_map(str::to_owned),
        1 => length.prop_map(|length| "x".repeat(length)),
    ];
    vec(piece, 0..3).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn any_number() -> impl Strategy<Value = String> {
    let odd = [
        "-0",
        "-0.0",
        "00",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e5",
        "1E+5",
        "1e",
        "1e-400",
        "1e400",
        "-1e400",
        "5e-324",
        "NaN",
        "Infinity",
        "0x10",
        "1_000",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "1000000.0",
        "1000000.000001",
        "0.0000001",
        "2.500000",
        "0.1",
        "16777217",
        "3.4028236e38",
    ];
    prop_oneof![
        select(odd.to_vec()).prop_map(str::to_owned),
        any::<u64>().prop_map(|bits| format!("{:?}", f64::from_bits(bits))),
        any::<f32>().prop_map(|value| format!("{:?}", f64::from(value))),
        any::<i128>().prop_map(|value| value.to_string()),
        (-20..20_i64).prop_map(|value| value.to_string()),
        (1..500_usize).prop_map(|digits| "7".repeat(digits)),
        (1..500_usize).prop_map(|digits| format!("0.{}", "3".repeat(digits))),
    ]
}

/// A value of JSON, or what looks like one.
fn any_json() -> impl Strategy<Value = String> {
    let time = prop_oneof![
        Just(TIME.to_owned()),
        "\"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z?\"",
        any::<i64>().prop_map(|millis| millis.to_string()),
    ];
    let words = vec!["null", "true", "false", "nul", "True", "", "[]", "{}", "]", "//"];
    let leaf = prop_oneof![
        3 => any_number(),
        3 => any_text(),
        1 => select(words).prop_map(str::to_owned),
        1 => time.clone(),
        1 => time.prop_map(|time| format!("{{\"time\":{time}}}")),
        1 => any::<u128>().prop_map(|bits| format!("\"{bits:032x}\"")),
        1 => any::<u128>().prop_map(|bits| format!("\"{bits:032X}\"")),
        1 => vec(any::<f32>().prop_map(f64::from), 1..5).prop_map(|values| format!("{values:?}")),
        1 => (1..20_000_usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        1 => (1..20_000_usize).prop_map(|depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            object(inner).prop_map(|(_, value)| value),
        ]
    })
}

/// A value that a column may have.
fn plain_json() -> impl Strategy<Value = String> {
    prop_oneof![
        (-99..99_i64).prop_map(|value| value.to_string()),
        (-99..99_i64).prop_map(|value| format!("{:e}", value as f64 / 7.0)),
        text(),
        Just(format!("{{ \"time\" : {TIME} }}")),
        vec(text(), 0..4).prop_map(|texts| format!("[{}]", texts.join(" , "))),
        vec(select(vec!["0.5", "-1", "2e3", "0"]), 1..4)
            .prop_map(|numbers| format!("[{}]", numbers.join(","))),
    ]
}

/// The member `values` with columns of these values.
fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = Member> {
    let name = prop_oneof![9 => "\"[a-z][a-z0-9_]{0,3}\"", 1 => any_text()];
    let member = (name, value).prop_map(|(name, value)| format!("{name}:{value}"));
    vec(member, 0..4).prop_map(|members| ("\"values\"".to_owned(), format!("{{{}}}", members.join(","))))
}

fn member(key: &str, value: impl Strategy<Value = String>) -> impl Strategy<Value = Member> {
    let key = format!("\"{key}\"");
    value.prop_map(move |value| (key.clone(), value))
}

/// What an event has.
fn of_event() -> impl Strategy<Value = Vec<Member>> {
    let value = prop_oneof![
        (-9999..9999_i64).prop_map(|cents| format!("{}", cents as f64 / 100.0)),
        Just("null".to_owned())
    ];
    let event_id = any::<u128>().prop_map(|bits| format!("\"{bits:032x}\""));
    (
        member("user", id()),
        member("item", id()),
        member("value", value),
        member("rated_at", Just(TIME.to_owned())),
        member("event_id", event_id),
    )
        .prop_map(|(user, item, value, rated_at, id)| vec![user, item, value, rated_at, id])
}

/// What a row of a custom group has.
fn of_row() -> impl Strategy<Value = Vec<Member>> {
    (
        member("group", "\"[a-z][a-z0-9_]{0,9}\""),
        member("id", id()),
        member("event_time", Just(TIME.to_owned())),
        object(prop_oneof![3 => plain_json(), 1 => any_json()]),
    )
        .prop_map(|(group, id, event_time, values)| vec![group, id, event_time, values])
}

/// Something done to the members of a line.
#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, String),
    Repeat(Index, Index),
    Drop(Index),
    Add(Index, Member),
    Swap(Index, Index),
    EscapeKey(Index),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    let key = prop_oneof![
        any_text(),
        select(vec!["\"User\"", "\"user \"", "user", "\"values\"", "7"]).prop_map(str::to_owned)
    ];
    prop_oneof![
        4 => (at(), any_json()).prop_map(|(at, value)| Edit::Replace(at, value)),
        1 => (at(), at()).prop_map(|(at, to)| Edit::Repeat(at, to)),
        1 => at().prop_map(Edit::Drop),
        1 => (at(), (key, any_json())).prop_map(|(at, member)| Edit::Add(at, member)),
        2 => (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        2 => at().prop_map(Edit::EscapeKey),
    ]
}

fn edit(members: &mut Vec<Member>, edit: Edit) {
    let length = members.len();
    if length == 0 {
        return;
    }
    match edit {
        Edit::Replace(at, value) => members[at.index(length)].1 = value,
        Edit::Repeat(at, to) => members.insert(to.index(length), members[at.index(length)].clone()),
        Edit::Drop(at) => drop(members.remove(at.index(length))),
        Edit::Add(at, member) => members.insert(at.index(length), member),
        Edit::Swap(one, other) => members.swap(one.index(length), other.index(length)),
        Edit::EscapeKey(at) => {
            let key = &mut members[at.index(length)].0;
            *key = key.replacen('e', "\\u0065", 1);
        }
    }
}

/// Something done to the bytes of a line.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..4),
        select(vec![
            &b"\xff"[..],
            b"\xc3",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\0",
            b"\n",
            b" ",
            b"\xef\xbb\xbf"
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(begin, end)| Damage::Repeat(begin, end)),
    ]
}

fn damage(line: &mut Vec<u8>, damage: Damage) {
    match damage {
        Damage::Cut(at) => line.truncate(at.index(line.len() + 1)),
        Damage::Insert(at, bytes) => {
            let at = at.index(line.len() + 1);
            line.splice(at..at, bytes);
        }
        Damage::Repeat(begin, end) => {
            let (begin, end) = (begin.index(line.len() + 1), end.index(line.len() + 1));
            let part = line[begin.min(end)..begin.max(end)].to_vec();
            line.splice(begin..begin, part);
        }
    }
}

/// Lines of these members, one in six of them as they are.
fn lines(members: impl Strategy<Value = Vec<Member>>) -> impl Strategy<Value = Vec<u8>> {
    let space = prop_oneof![5 => Just(""), 1 => select(vec![" ", "\t", "  \t ", "\n", "\u{a0}"])];
    let parts = (members, vec(any_edit(), 0..3), vec(any_damage(), 0..2), space);
    parts.prop_map(|(mut members, edits, damages, space)| {
        edits.into_iter().for_each(|change| edit(&mut members, change));
        let members = members.iter().map(|(key, value)| format!("{space}{key}{space}:{value}"));
        let mut line = format!("{{{}{space}}}", members.collect::<Vec<_>>().join(",")).into_bytes();
        damages.into_iter().for_each(|change| damage(&mut line, change));
        line
    })
}

/// Reads every line; what is read is written in its one way, and reads back. How many were read.
fn read<L: Line + Debug + PartialEq>(lines: impl Strategy<Value = Vec<u8>>) -> u32 {
    let read = Cell::new(0);
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(CASES) };
    let mut runner = TestRunner::new(config);
    let held = runner.run(&lines, |line| {
        if let Ok(event) = L::decode(&line) {
            read.set(read.get() + 1);
            let found: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert!(found.is_object());
            let mut written = Vec::new();
            event.encode(&mut written);
            prop_assert_eq!(written.pop(), Some(b'\n'));
            prop_assert!(!written.contains(&b'\n'));
            let again = L::decode(&written);
            prop_assert_eq!(again.as_ref(), Ok(&event));
        }
        Ok(())
    });
    held.unwrap();
    read.get()
}

/// That many are read, and many are not.
#[track_caller]
fn assert_both(read: u32) {
    println!("{read} of {CASES} lines were read");
    assert!(
        (CASES / 20..CASES * 3 / 4).contains(&read),
        "{read} of {CASES} lines were read: this says little"
    );
}

#[test]
fn an_event_of_any_json_is_refused_or_reads_back_as_it_was_read() {
    assert_both(read::<Rating>(lines(of_event())));
}

#[test]
fn a_row_of_any_json_is_refused_or_reads_back_as_it_was_read() {
    assert_both(read::<FeatureLine>(lines(of_row())));
}

#[test]
fn no_bytes_are_an_event_or_a_row_by_chance_or_make_a_panic() {
    let bytes = || prop_oneof![vec(any::<u8>(), 0..300), any_json().prop_map(String::into_bytes)];
    assert_eq!((read::<Rating>(bytes()), read::<FeatureLine>(bytes())), (0, 0));
}
