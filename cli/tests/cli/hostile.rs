//! Wrong input of every kind: a typed error, a distinct exit code, and nothing stored before is lost.

use crate::support::{RATINGS, Sandbox};

/// A row, and the field and the words by which it is refused.
fn bad_rows() -> Vec<(String, &'static str, &'static str)> {
    let row = |user: &str, item: &str, value: &str, time: &str| format!("{user},{item},{value},{time}");
    let long = "x".repeat(513);
    vec![
        (row("9", "9", "NaN", "1000000000"), "value", "NaN is not a finite number"),
        (row("9", "9", "inf", "1000000000"), "value", "inf is not a finite number"),
        (row("9", "9", "-infinity", "1000000000"), "value", "-inf is not a finite number"),
        (row("9", "9", "1000001", "1000000000"), "value", "1000001 is beyond ±1,000,000"),
        (row("9", "9", "", "1000000000"), "value", "is empty"),
        (row("9", "9", "4 stars", "1000000000"), "value", "is not a number"),
        (row("", "9", "4", "1000000000"), "user", "is empty"),
        (row("9", "", "4", "1000000000"), "item", "is empty"),
        (row(&long, "9", "4", "1000000000"), "user", "has 513 bytes"),
        (row("9", &long, "4", "1000000000"), "item", "has 513 bytes"),
        (row("a\u{1}b", "9", "4", "1000000000"), "user", "control character (U+0001)"),
        (row("9", "a\0b", "4", "1000000000"), "item", "control character (U+0000)"),
        (row("9", "9", "4", ""), "rated_at", "is empty"),
        (row("9", "9", "4", "yesterday"), "rated_at", "is not a whole number"),
        (row("9", "9", "4", "-2208988800"), "rated_at", "is not between the years 1970 and 9999"),
        (row("9", "9", "4", "-1"), "rated_at", "is not between the years 1970 and 9999"),
        (row("9", "9", "4", "99999999999"), "rated_at", "is more than 24 h ahead of the clock"),
        (row("9", "9", "4", "9999999999999999999"), "rated_at", "is not a whole number"),
        ("9,9,4".into(), "line", "has 3 columns, the header has 4"),
        ("9,9,4,1000000000,5".into(), "line", "has 5 columns, the header has 4"),
        ("\"9,9,4,1000000000".into(), "line", "a quote is opened and not closed"),
        ("x".repeat(10_000_000), "line", "is longer than 1048576 bytes"),
    ]
}

#[test]
fn every_bad_row_is_named_and_the_good_ones_are_stored() {
    let sandbox = Sandbox::new();
    let rows = bad_rows();
    let mut text = RATINGS.to_owned().into_bytes();
    for (row, _, _) in &rows {
        text.extend_from_slice(row.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(b"9,\xff\xfe,4,1000000000\n8,8,4,1000000000\n");
    sandbox.write("bad.csv", text);
    let ran = sandbox.run(["import", "bad.csv", "--on-error", "skip", "--json"]);
    let summary = ran.expect(0).document();
    assert_eq!(summary["applied"], 6);
    let report = sandbox.report("bad.csv.rejected.jsonl");
    assert_eq!(report.len(), rows.len() + 1);
    for (index, ((row, field, words), entry)) in rows.iter().zip(&report).enumerate() {
        let shown = &row[..row.len().min(60)];
        assert_eq!(entry["line"], 7 + index, "{shown:?}");
        assert_eq!(entry["field"], *field, "{shown:?}");
        assert!(entry["reason"].as_str().unwrap().contains(words), "{shown:?}: {entry}");
        assert!(entry["text"].as_str().unwrap().chars().count() <= 200, "{shown:?}");
    }
    assert_eq!(report[rows.len()]["reason"], "is not UTF-8 (byte 3)");
}

#[test]
fn every_bad_row_alone_stops_the_import_with_code_65() {
    let sandbox = Sandbox::filled();
    for (row, field, words) in bad_rows() {
        let text = format!("userId,movieId,rating,timestamp\n{row}\n");
        let ran = sandbox.run_with(["import", "-"], &text);
        let place = match field {
            "line" => "error: stdin, line 2: ".to_owned(),
            field => format!("error: stdin, line 2: {field}: "),
        };
        ran.expect(65).says(&place).says(words);
        assert!(!ran.stderr.contains("line 2: line:"), "{}", ran.stderr);
    }
    assert_eq!(sandbox.count(), 5);
}

#[test]
fn files_that_are_no_data_are_refused_with_the_reason() {
    let sandbox = Sandbox::filled();
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.write("empty.csv", "");
    sandbox.write("blank.csv", "\n\n  \n");
    sandbox.write("header.csv", "userId,movieId,rating,timestamp\n");
    sandbox.write("columns.csv", "name,age\na,5\n");
    sandbox.write("binary.csv", [0xff, 0xfe, 0x00, 0x01, b'\n', 0x80]);
    for (file, code, words) in [
        ("missing.csv", 66, "cannot open missing.csv"),
        ("folder", 66, "folder is a folder, a file is expected"),
        ("empty.csv", 65, "empty.csv: the file is empty"),
        ("blank.csv", 65, "blank.csv: the file is empty"),
        ("header.csv", 65, "header.csv: the file has a header and no rows"),
        (
            "columns.csv",
            65,
            "line 1: the header has no column for the user; name it with --user-column, there are: name, age",
        ),
        ("binary.csv", 65, "line 1: the header is not UTF-8"),
    ] {
        sandbox.run(["import", file]).expect(code).says(words);
    }
    assert_eq!(sandbox.count(), 5);
}

#[test]
fn a_missing_input_makes_no_database() {
    let sandbox = Sandbox::new();
    sandbox.run(["import", "missing.csv"]).expect(66);
    assert!(!sandbox.path("recstore.db").exists());
}

#[test]
fn a_database_that_is_none_is_refused_and_left_alone() {
    let sandbox = Sandbox::new();
    let text = "this is no database\n".repeat(500);
    sandbox.write("recstore.db", &text);
    sandbox.write("ratings.csv", RATINGS);
    for command in [&["stats"][..], &["import", "ratings.csv"], &["schema", "info"], &["schema", "migrate"]] {
        sandbox.run(command.iter().copied()).expect(76).says("recstore.db");
    }
    assert_eq!(sandbox.read("recstore.db"), text);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let sandbox = Sandbox::filled();
    let mut bytes = std::fs::read(sandbox.path("recstore.db")).unwrap();
    // SQLite keeps `user_version` in the header, big-endian.
    bytes[60..64].copy_from_slice(&4_000_u32.to_be_bytes());
    sandbox.write("recstore.db", &bytes);
    for command in
        [&["stats"][..], &["import", "ratings.csv"], &["schema", "migrate"], &["schema", "validate"]]
    {
        sandbox.run(command.iter().copied()).expect(76).says("4000");
    }
    assert_eq!(std::fs::read(sandbox.path("recstore.db")).unwrap(), bytes);
    let info = sandbox.json(["schema", "info"]);
    assert_eq!((&info["found"], &info["current"]), (&4000.into(), &false.into()));
}

#[test]
fn a_store_opened_for_reading_takes_no_writes() {
    let sandbox = Sandbox::filled();
    sandbox.write("recstore.yaml", "database:\n  path: recstore.db\n  read_only: true\n");
    assert_eq!(sandbox.count(), 5);
    sandbox.write("more.csv", RATINGS.replace("\n3,", "\n4,"));
    let ran = sandbox.run(["import", "more.csv", "--json"]);
    ran.expect(77).says("hint: ");
    assert_eq!(ran.document()["read"], 0);
    sandbox.run(["withdraw", "1", "10"]).expect(77);
    assert_eq!(sandbox.count(), 5);
}

/// A limit on the size of files stands in for a disk that takes no more.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_no_more_fails_the_import_and_keeps_what_was_stored() {
    let sandbox = Sandbox::filled();
    sandbox
        .run(["generate", "--users", "500", "--items", "500", "--ratings", "20000", "-o", "many.csv"])
        .expect(0);
    let limited = format!(
        "trap '' XFSZ; ulimit -f 600; exec {} import many.csv --batch 1000",
        env!("CARGO_BIN_EXE_recstore")
    );
    let status = std::process::Command::new("bash")
        .args(["-c", &limited])
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&status.stderr);
    // Whether the limit is met while writing or at the commit decides whether the outcome is known.
    assert!(matches!(status.status.code(), Some(69 | 73 | 75)), "{status:?}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    let before = sandbox.count();
    assert!((5..20_005).contains(&before), "{before}");
    sandbox.run(["schema", "validate"]).expect(0);
    sandbox.run(["import", "many.csv"]).expect(0);
    assert_eq!(sandbox.count(), 20_005);
}

/// The memory of a process is a file whose first page cannot be read.
#[cfg(target_os = "linux")]
#[test]
fn an_input_that_cannot_be_read_has_its_own_code() {
    let ran = Sandbox::new().run(["import", "/proc/self/mem"]);
    ran.expect(74).says("cannot read mem to its end").says("caused by: ");
}

#[test]
fn a_store_that_another_process_writes_to_is_busy() {
    let sandbox = Sandbox::filled();
    let before = sandbox.run(["fingerprint"]).stdout;
    sandbox.write("recstore.yaml", "database:\n  path: recstore.db\n  busy_timeout: 100ms\n");
    let other = rusqlite::Connection::open(sandbox.path("recstore.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    sandbox.run(["withdraw", "1", "10"]).expect(69).says("hint: others are using the store; try again");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(sandbox.run(["fingerprint"]).expect(0).stdout, before);
    sandbox.run(["withdraw", "1", "10"]).expect(0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_has_its_own_code() {
    let sandbox = Sandbox::new();
    let size = ["generate", "--users", "10", "--items", "10", "--ratings", "20"];
    sandbox.run(size.into_iter().chain(["--output", "/dev/full"])).expect(73).says("No space left");
    sandbox.write("bad.csv", RATINGS.replace("5.0", "x"));
    let ran = sandbox.run(["import", "bad.csv", "--on-error", "skip", "--report", "/dev/full"]);
    ran.expect(73).says("cannot write /dev/full");
}

#[test]
fn configurations_that_are_wrong_are_refused_with_their_place() {
    let sandbox = Sandbox::new();
    for (yaml, words) in [
        ("storage_mode: sqlight\n", "1:15"),
        ("storage_mod: sqlite\n", "storage_mode"),
        ("database:\n  path: [1, 2]\n", "2:"),
        ("storage_mode: aws\n", "aws"),
        ("namespace: A/B\n", "namespace"),
        ("\u{1}", "recstore.yaml"),
    ] {
        sandbox.write("recstore.yaml", yaml);
        sandbox.run(["stats"]).expect(78).says(words);
    }
    sandbox.run(["stats", "--config", "nowhere.yaml"]).expect(78).says("nowhere.yaml").says("recstore init");
}
