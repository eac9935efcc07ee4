//! Commands that read and change what is stored: features, ratings, withdrawals, erasure, counts, hashes.

use serde_json::{Value, json};

use crate::support::{Sandbox, binary};

#[test]
fn features_are_shown_in_the_order_asked_and_unknown_ids_are_missing() {
    let sandbox = Sandbox::filled();
    let rows = sandbox.json(["features", "show", "user", "2", "nobody", "1"]);
    let columns = json!({
        "rating_count": 2, "rating_mean": 3.0, "rating_std": 1.0, "rating_min": 2.0, "rating_max": 4.0,
        "first_rated_at": 1_000_000_001_000_i64, "last_rated_at": 1_000_000_002_000_i64
    });
    assert_eq!(rows[2], json!({"id": "1", "status": "found", "columns": columns}));
    assert_eq!(rows[1], json!({"id": "nobody", "status": "missing", "columns": {}}));
    assert_eq!(rows[0]["id"], "2");
    assert_eq!(rows.as_array().unwrap().len(), 3);
}

#[test]
fn columns_keep_their_order_in_json_and_tables() {
    let sandbox = Sandbox::filled();
    let show = ["features", "show", "item", "10", "--columns", "rating_max,rating_count"];
    sandbox
        .run(show.into_iter().chain(["--json"]))
        .expect(0)
        .shows(r#"[{"id":"10","status":"found","columns":{"rating_max":5.0,"rating_count":3}}]"#);
    let table = "id  status  rating_max  rating_count\n10  found            5             3\n";
    assert_eq!(sandbox.run(show).expect(0).stdout, table);
    sandbox.run(["features", "show", "item", "10"]).expect(0).shows("2001-09-09T01:46:41Z");
    let unknown = sandbox.run(["features", "show", "item", "10", "--columns", "colour"]);
    unknown.expect(65).says("no column colour, there are: rating_count");
    sandbox.run(["features", "show", "item", "10", "--group", "none"]).expect(66);
}

#[test]
fn a_rebuild_changes_nothing_unless_the_prior_changed() {
    let sandbox = Sandbox::filled();
    let report = json!({"users": 3, "items": 2, "changed": 0});
    assert_eq!(sandbox.json(["features", "rebuild"]), report);
    let mean = |sandbox: &Sandbox| {
        sandbox.json(["features", "show", "item", "10"])[0]["columns"]["bayesian_mean"].as_f64().unwrap()
    };
    let before = mean(&sandbox);
    sandbox.write("recstore.yaml", "features:\n  prior_mean: 5\n");
    assert_ne!(sandbox.run(["stats"]).code, 0, "other parameters than the recorded ones need a rebuild");
    sandbox.run(["features", "rebuild"]).expect(0);
    assert!(mean(&sandbox) > before);
}

#[test]
fn ratings_are_shown_newest_first_in_pages() {
    let sandbox = Sandbox::filled();
    let first = sandbox.json(["ratings", "show", "--item", "10", "--limit", "2"]);
    let users = |page: &Value| -> Vec<Value> {
        page["ratings"].as_array().unwrap().iter().map(|row| row["user"].clone()).collect()
    };
    assert_eq!(users(&first), ["3", "2"]);
    assert_eq!(first["ratings"][0]["value"], 3.0);
    assert_eq!(first["ratings"][0]["rated_at"], 1_000_000_005_000_i64);
    let next = first["next"].as_str().unwrap();
    let second = sandbox.json(["ratings", "show", "--item", "10", "--token", next]);
    assert_eq!((users(&second), &second["next"]), (vec![json!("1")], &Value::Null));
    sandbox.run(["ratings", "show", "--user", "nobody"]).expect(0).shows("no ratings");
    sandbox.run(["ratings", "show"]).expect(2).says("--user");
    sandbox.run(["ratings", "show", "--user", "1", "--item", "10"]).expect(2);
    sandbox.run(["ratings", "show", "--user", "1", "--limit", "0"]).expect(65).says("limit");
    sandbox.run(["ratings", "show", "--user", "1", "--token", "x"]).expect(65).says("token");
}

#[test]
fn a_time_range_includes_its_start_and_excludes_its_end() {
    let sandbox = Sandbox::filled();
    let range = ["--from", "1000000003000", "--to", "2001-09-09T01:46:45Z"];
    let page = sandbox.json(["ratings", "show", "--item", "10"].into_iter().chain(range));
    assert_eq!(page["ratings"].as_array().unwrap().len(), 1);
    assert_eq!(page["ratings"][0]["user"], "2");
}

#[test]
fn a_withdrawal_is_an_event_like_any_other() {
    let sandbox = Sandbox::filled();
    let at = ["withdraw", "1", "10", "--at", "2010-01-01T00:00:00Z"];
    let answer = sandbox.json(at);
    assert_eq!(answer["outcome"], "applied");
    assert_eq!(answer["rated_at"], 1_262_304_000_000_i64);
    assert_eq!(sandbox.json(at)["outcome"], "duplicate");
    assert_eq!(sandbox.json(["withdraw", "1", "20", "--at", "5"])["outcome"], "stale");
    sandbox.run(["withdraw", "3", "10"]).expect(0).shows("applied: the rating is withdrawn");
    assert_eq!(sandbox.count(), 3);
    let shown = sandbox.run(["ratings", "show", "--user", "1", "--withdrawn"]);
    shown.expect(0).shows("withdrawn");
    sandbox.run(["withdraw", "1", "10", "--at", "9000-01-01T00:00:00Z"]).expect(65).says("rated_at");
    sandbox.run(["withdraw", "1", "10", "--at", "soon"]).expect(2).says("RFC 3339");
    sandbox.run(["withdraw", "", "10"]).expect(2).says("is empty");
}

#[test]
fn an_erasure_is_a_dry_run_until_it_is_confirmed() {
    let sandbox = Sandbox::filled();
    let dry = sandbox.json(["erase", "user", "1"]);
    assert_eq!((&dry["dry_run"], &dry["ratings"]), (&json!(true), &json!(2)));
    sandbox.run(["erase", "user", "1"]).expect(0).shows("would erase user 1").shows("--yes");
    assert_eq!(sandbox.count(), 5);
    let done = sandbox.json(["erase", "user", "1", "--yes"]);
    assert_eq!((&done["dry_run"], &done["ratings"]), (&json!(false), &json!(2)));
    assert_eq!(sandbox.count(), 3);
    assert_eq!(sandbox.json(["features", "show", "user", "1"])[0]["status"], "missing");
    assert_eq!(sandbox.json(["withdraw", "1", "10"])["outcome"], "erased");
    sandbox.run(["erase", "item", "10", "--yes"]).expect(0).shows("erased item 10");
    assert_eq!(sandbox.count(), 1);
    assert_eq!(sandbox.json(["erase", "item", "unknown"])["ratings"], 0);
}

#[test]
fn stats_count_what_is_stored() {
    let sandbox = Sandbox::filled();
    sandbox.run(["withdraw", "3", "10"]).expect(0);
    sandbox.run(["similar", "hide", "20"]).expect(0);
    let stats = sandbox.json(["stats"]);
    for (name, count) in
        [("ratings", 4), ("withdrawn", 1), ("users", 2), ("items", 2), ("releases", 0), ("hidden_items", 1)]
    {
        assert_eq!(stats[name], count, "{name}");
    }
    assert_eq!((&stats["namespace"], &stats["mode"]), (&json!("default"), &json!("sqlite")));
    sandbox.run(["stats"]).expect(0).shows("ratings              4\n");
}

#[test]
fn fingerprints_tell_content_apart() {
    let sandbox = Sandbox::filled();
    let before = sandbox.json(["fingerprint"]);
    for part in ["ratings", "features", "similarities"] {
        let hex = before[part].as_str().unwrap();
        assert!(hex.len() == 32 && hex.chars().all(|digit| digit.is_ascii_hexdigit()), "{hex}");
    }
    assert_eq!(Sandbox::filled().json(["fingerprint"]), before);
    sandbox.run(["withdraw", "1", "10"]).expect(0);
    let after = sandbox.json(["fingerprint"]);
    assert_ne!(after["ratings"], before["ratings"]);
    assert_ne!(after["features"], before["features"]);
    assert_eq!(after["similarities"], before["similarities"]);
}

#[test]
fn times_are_the_same_in_every_time_zone() {
    let shown = |zone: &str| {
        let sandbox = Sandbox::new();
        sandbox.write("ratings.csv", "user,item,value,rated_at\n1,2,3.5,2024-02-29T23:30:00Z\n");
        let run = |arguments: &[&str]| {
            let output = binary(sandbox.path("").as_path()).env("TZ", zone).args(arguments).output().unwrap();
            assert!(output.status.success(), "{zone}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["import", "ratings.csv"]);
        run(&["ratings", "show", "--user", "1"]) + &run(&["features", "show", "user", "1", "--json"])
    };
    let utc = shown("UTC");
    assert!(utc.contains("2024-02-29T23:30:00"), "{utc}");
    for zone in ["Pacific/Kiritimati", "America/Los_Angeles", "XXX-14"] {
        assert_eq!(shown(zone), utc, "{zone}");
    }
}
