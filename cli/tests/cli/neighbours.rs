//! Neighbours, releases, hidden items, recommendations, and the demo that shows them all.

use serde_json::{Value, json};

use crate::support::Sandbox;

/// A store with neighbours: items 10 and 20 are rated by the same users.
fn built() -> Sandbox {
    let sandbox = Sandbox::filled();
    sandbox.run(["similar", "build"]).expect(0).shows("is current now").shows("coverage");
    sandbox
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[test]
fn neighbours_have_the_names_that_scripts_rely_on() {
    let sandbox = built();
    let release = sandbox.json(["similar", "releases"])[0]["id"].clone();
    let lists = sandbox.json(["similar", "show", "10", "nothing"]);
    // (4·2 + 5·1) / (√(16 + 25 + 9) · √(4 + 1))
    let similarity = lists[0]["neighbours"][0]["similarity"].as_f64().unwrap();
    assert!((similarity - 13.0 / (50.0_f64 * 5.0).sqrt()).abs() < 1e-9, "{similarity}");
    let neighbours = json!([{"id": "20", "similarity": similarity, "common": 2}]);
    assert_eq!(
        lists,
        json!([
            {"id": "10", "status": "found", "release": release, "neighbours": neighbours},
            {"id": "nothing", "status": "missing", "release": release, "neighbours": []}
        ])
    );
    sandbox.run(["similar", "show", "10"]).expect(0).shows("20    0.822192       2");
}

#[test]
fn users_have_neighbours_too() {
    let sandbox = Sandbox::filled();
    let report =
        sandbox.json(["similar", "build", "--for", "users", "--measure", "jaccard", "--threads", "1"]);
    assert_eq!((&report["entities"], &report["promoted"]), (&json!(3), &json!(true)));
    let lists = sandbox.json(["similar", "show", "1", "--for", "users", "-k", "1"]);
    assert_eq!(lists[0]["neighbours"], json!([{"id": "2", "similarity": 1.0, "common": 2}]));
    assert_eq!(sandbox.json(["similar", "releases"]), json!([]));
    assert_eq!(sandbox.json(["similar", "releases", "--for", "users"])[0]["measure"], "jaccard");
}

#[test]
fn releases_are_promoted_rolled_back_and_pruned() {
    let sandbox = built();
    let first = sandbox.json(["similar", "releases"])[0]["id"].as_str().unwrap().to_owned();
    let report = sandbox.json(["similar", "build", "--no-promote", "--measure", "pearson"]);
    let second = report["release"].as_str().unwrap();
    assert_eq!(report["promoted"], false);
    let states = |sandbox: &Sandbox| -> Vec<(String, String)> {
        let releases = sandbox.json(["similar", "releases"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        releases.as_array().unwrap().iter().map(|one| (text(&one["id"]), text(&one["state"]))).collect()
    };
    let expected = |second_state: &str, first_state: &str| {
        vec![(second.to_owned(), second_state.to_owned()), (first.clone(), first_state.to_owned())]
    };
    assert_eq!(states(&sandbox), expected("sealed", "current"));
    sandbox.run(["similar", "promote", second]).expect(0).shows("is current now");
    assert_eq!(states(&sandbox), expected("current", "sealed"));
    assert_eq!(sandbox.json(["similar", "rollback"])["id"], first);
    assert_eq!(states(&sandbox), expected("sealed", "current"));
    sandbox.run(["similar", "show", "10", "--release", second]).expect(0);
    assert_eq!(sandbox.json(["similar", "prune", "--keep", "0"]), json!({"removed": [second]}));
    sandbox.run(["similar", "show", "10", "--release", second]).expect(66).says(second);
    sandbox.run(["similar", "promote", second]).expect(66).says("no such release");
    sandbox.run(["similar", "rollback"]).expect(66);
}

#[test]
fn a_release_that_fails_a_check_is_not_promoted() {
    let sandbox = built();
    let ran = sandbox.run(["similar", "build", "--min-common", "3", "--min-coverage", "0.5", "--json"]);
    let report = ran.expect(65).says("did not pass its checks").says("coverage").document();
    assert_eq!((&report["promoted"], &report["checks"]["ok"]), (&json!(false), &json!(false)));
    assert_eq!(sandbox.json(["similar", "releases"])[1]["state"], "current");
    sandbox.run(["similar", "build", "-k", "0"]).expect(65).says("k: 0 is not");
    sandbox.run(["similar", "build", "--measure", "chebyshev"]).expect(2).says("adjusted-cosine");
    sandbox.run(["similar", "build", "--shrinkage", "nan"]).expect(65).says("shrinkage");
}

#[test]
fn the_configured_measure_is_used_unless_another_is_named() {
    let sandbox = Sandbox::filled();
    sandbox.write("recstore.yaml", "similarity:\n  measure: jaccard\n  k: 7\n");
    let options = |report: &Value| report["spec"]["options"].clone();
    let configured = options(&sandbox.json(["similar", "build"]));
    assert_eq!((&configured["measure"], &configured["k"]), (&json!("jaccard"), &json!(7)));
    let named = options(&sandbox.json(["similar", "build", "--measure", "cosine", "-k", "3"]));
    assert_eq!((&named["measure"], &named["k"]), (&json!("cosine"), &json!(3)));
}

#[test]
fn hidden_items_are_in_no_list_until_they_are_shown_again() {
    let sandbox = built();
    assert_eq!(sandbox.json(["similar", "hide", "20"]), json!({"hidden": ["20"]}));
    assert_eq!(sandbox.json(["similar", "show", "10"])[0]["neighbours"], json!([]));
    assert_eq!(sandbox.json(["recommend", "3"]), json!([]));
    assert_eq!(sandbox.json(["similar", "hidden"]), json!({"hidden": ["20"]}));
    assert_eq!(sandbox.json(["similar", "unhide", "20"]), json!({"hidden": []}));
    assert_eq!(ids(&sandbox.json(["similar", "show", "10"])[0]["neighbours"]), ["20"]);
}

#[test]
fn recommendations_leave_out_what_was_rated() {
    let sandbox = built();
    let recommended = sandbox.json(["recommend", "3"]);
    assert_eq!(ids(&recommended), ["20"]);
    assert!(recommended[0]["score"].is_f64());
    assert_eq!(sandbox.json(["recommend", "1"]), json!([]));
    let popular = sandbox.json(["recommend", "nobody", "-k", "1"]);
    assert_eq!((ids(&popular), &popular[0]["origin"]), (vec!["10"], &json!("popular")));
    sandbox.run(["recommend", "3"]).expect(0).shows("like what was rated");
    sandbox.run(["recommend", "3", "-k", "0"]).expect(65).says("k: ");
}

#[test]
fn without_a_release_the_way_to_one_is_told() {
    let sandbox = Sandbox::filled();
    let ran = sandbox.run(["recommend", "3", "--json"]);
    ran.expect(0).says("is there a release?");
    assert_eq!(ran.document(), json!([]));
    sandbox.run(["similar", "releases"]).expect(0).shows("recstore similar build");
}

#[test]
fn an_erased_item_leaves_the_neighbours_of_others() {
    let sandbox = built();
    let dry = sandbox.json(["erase", "item", "20"]);
    assert_eq!((&dry["neighbour_lists"], &dry["neighbour_entries"]), (&json!(1), &json!(1)));
    sandbox.run(["erase", "item", "20", "--yes"]).expect(0);
    assert_eq!(sandbox.json(["similar", "show", "10"])[0]["neighbours"], json!([]));
}

#[test]
fn the_demo_needs_nothing_and_leaves_nothing() {
    let sandbox = Sandbox::empty();
    let size = ["demo", "--users", "60", "--items", "90", "--ratings", "1500"];
    let ran = sandbox.run(size);
    ran.expect(0).shows("1,500 ratings").shows("Recommended to user").shows("recstore import ratings.csv");
    ran.says("generating 1,500 ratings").shows("neighbours of ");
    let answer = sandbox.json(size);
    assert_eq!(answer["import"]["applied"], 1500);
    assert_eq!(answer["recommendations"].as_array().unwrap().len(), 5);
    assert_eq!(std::fs::read_dir(sandbox.path("")).unwrap().count(), 0);
    sandbox.run(["demo", "--users", "1", "--items", "1", "--ratings", "2"]).expect(65).says("ratings");
}
