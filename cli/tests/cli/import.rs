//! `import`: forms, counts, bad rows, repeats.

use serde_json::json;

use crate::support::{RATINGS, Sandbox};

#[test]
fn the_summary_has_the_names_that_scripts_rely_on() {
    let sandbox = Sandbox::new();
    sandbox.write("ratings.csv", RATINGS);
    let mut summary = sandbox.json(["import", "ratings.csv"]);
    assert!(summary["seconds"].take().as_f64().is_some_and(|seconds| seconds >= 0.0));
    let expected = json!({
        "read": 5, "applied": 5, "stale": 0, "duplicate": 0, "rejected": 0, "seconds": null,
        "erased": 0, "accepted": 0, "conflicts": 0, "report": null, "cost": null
    });
    assert_eq!(summary, expected);
}

#[test]
fn importing_again_finds_only_duplicates() {
    let sandbox = Sandbox::filled();
    let summary = sandbox.json(["import", "ratings.csv"]);
    assert_eq!((&summary["applied"], &summary["duplicate"]), (&json!(0), &json!(5)));
    assert_eq!(sandbox.count(), 5);
    sandbox.run(["import", "ratings.csv"]).expect(0).shows("duplicate  5");
}

#[test]
fn quotes_line_ends_and_byte_order_marks_do_not_matter() {
    let plain = Sandbox::filled().run(["fingerprint", "--json"]).stdout;
    let quoted: String = RATINGS
        .lines()
        .map(|line| {
            line.split(',').map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(",") + "\r\n"
        })
        .collect();
    for text in
        [RATINGS.replace('\n', "\r\n"), quoted, format!("\u{feff}{RATINGS}"), RATINGS.trim_end().into()]
    {
        let sandbox = Sandbox::new();
        sandbox.write("ratings.csv", &text);
        sandbox.run(["import", "ratings.csv"]).expect(0);
        assert_eq!(sandbox.run(["fingerprint", "--json"]).stdout, plain, "{text:?}");
    }
}

#[test]
fn the_same_events_in_every_form_give_the_same_content() {
    let plain = Sandbox::filled().run(["fingerprint", "--json"]).stdout;
    let jsonl: String = RATINGS
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let [user, item, value, time] = fields[..] else { panic!("{line}") };
            format!("{{\"user\":{user},\"item\":\"{item}\",\"value\":{value},\"rated_at\":{time}000}}\n")
        })
        .collect();
    let csv = RATINGS.replace("userId,movieId,rating,timestamp", "who,what,stars,when").replace(',', "\t");
    let sandbox = Sandbox::new();
    sandbox.run_with(["import", "-"], &jsonl).expect(0);
    assert_eq!(sandbox.run(["fingerprint", "--json"]).stdout, plain);
    let names =
        ["--user-column", "who", "--item-column", "what", "--time-column", "when", "--time-unit", "s"];
    sandbox.run_with(["import", "-"].into_iter().chain(names), &csv).expect(0).shows("duplicate  5");
}

#[test]
fn a_null_value_withdraws() {
    let sandbox = Sandbox::filled();
    let line = r#"{"user":1,"item":10,"value":null,"rated_at":"2024-01-01T00:00:00Z"}"#;
    sandbox.run_with(["import", "-"], line).expect(0).shows("applied    1");
    assert_eq!(sandbox.count(), 4);
}

#[test]
fn older_events_are_stale_and_conflicting_ones_are_told() {
    let sandbox = Sandbox::new();
    let line = |value: u32, second: u32| {
        format!(
            "{{\"user\":1,\"item\":1,\"value\":{value},\"rated_at\":{second},\"event_id\":\"a/0/{second}\"}}\n"
        )
    };
    sandbox.run_with(["import", "-"], line(3, 20)).expect(0);
    let ran = sandbox.run_with(["import", "-", "--json"], line(3, 10) + &line(4, 20));
    let summary = ran.expect(0).says("known with another content").document();
    assert_eq!((&summary["stale"], &summary["conflicts"]), (&json!(1), &json!(1)));
}

#[test]
fn a_bad_row_stops_the_import_and_rows_before_it_are_stored() {
    let sandbox = Sandbox::new();
    let text = RATINGS.replace("2,10,5.0", "2,10,five");
    sandbox.write("ratings.csv", text);
    let ran = sandbox.run(["import", "ratings.csv", "--json", "--batch", "1"]);
    ran.expect(65).says("ratings.csv, line 4: value: \"five\" is not a number").says("hint: rows before it");
    let summary = ran.document();
    assert_eq!((&summary["applied"], &summary["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(sandbox.count(), 2);
}

#[test]
fn bad_rows_can_be_passed_over_and_are_listed() {
    let sandbox = Sandbox::new();
    let text = RATINGS.replace("2,10,5.0", "2,10,five").replace("3,10,3.0", ",10,3.0");
    sandbox.write("ratings.csv", text);
    let ran = sandbox.run(["import", "ratings.csv", "--on-error", "skip", "--json"]);
    let summary = ran.expect(0).says("bad rows that were not stored: 2").document();
    assert_eq!(
        (&summary["read"], &summary["applied"], &summary["rejected"]),
        (&json!(5), &json!(3), &json!(2))
    );
    assert_eq!(summary["report"], "ratings.csv.rejected.jsonl");
    assert_eq!(
        sandbox.report("ratings.csv.rejected.jsonl"),
        [
            json!({"line": 4, "field": "value", "reason": "\"five\" is not a number", "text": "2,10,five,1000000003"}),
            json!({"line": 6, "field": "user", "reason": "is empty, ids have 1 to 512 bytes", "text": ",10,3.0,1000000005"}),
        ]
    );
}

#[test]
fn the_report_goes_where_it_is_told_and_never_over_the_input() {
    let sandbox = Sandbox::new();
    sandbox.write("ratings.csv", RATINGS.replace("5.0", "x"));
    sandbox
        .run(["import", "ratings.csv", "--report", "ratings.csv"])
        .expect(2)
        .says("would replace the input");
    sandbox.run(["import", "ratings.csv", "--report", "bad.jsonl", "--on-error", "skip"]).expect(0);
    assert_eq!(sandbox.report("bad.jsonl").len(), 1);
    let ran = sandbox.run(["import", "ratings.csv", "--report", "no/such/folder", "--on-error", "skip"]);
    ran.expect(73).says("cannot create no/such/folder");
}

#[test]
fn batches_of_any_size_store_the_same() {
    let plain = Sandbox::filled().run(["fingerprint", "--json"]).stdout;
    for batch in ["1", "2", "5", "100000"] {
        let sandbox = Sandbox::new();
        sandbox.run_with(["import", "-", "--batch", batch], RATINGS).expect(0);
        assert_eq!(sandbox.run(["fingerprint", "--json"]).stdout, plain, "{batch}");
    }
}

#[test]
fn erased_users_do_not_come_back() {
    let sandbox = Sandbox::filled();
    sandbox.run(["erase", "user", "1", "--yes"]).expect(0);
    let summary = sandbox.json(["import", "ratings.csv"]);
    assert_eq!((&summary["erased"], &summary["duplicate"]), (&json!(2), &json!(3)));
    assert_eq!(sandbox.count(), 3);
}

#[test]
fn namespaces_do_not_see_each_other() {
    let sandbox = Sandbox::filled();
    sandbox.run(["import", "ratings.csv", "--namespace", "shop"]).expect(0).shows("applied    5");
    sandbox.run(["--namespace", "shop", "erase", "user", "1", "--yes"]).expect(0);
    assert_eq!(sandbox.count(), 5);
    assert_eq!(sandbox.json(["stats", "--namespace", "shop"])["ratings"], 3);
    sandbox.run(["stats", "--namespace", "No/Name"]).expect(2).says("namespace");
}
