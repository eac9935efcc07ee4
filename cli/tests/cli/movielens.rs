//! Figures of MovieLens ml-latest-small, computed independently.

use crate::support::Sandbox;

/// The data set, or nothing where it is not there and the tests are ignored.
fn ratings_file() -> &'static str {
    option_env!("RECSTORE_MOVIELENS").unwrap_or_default()
}

fn close(found: &serde_json::Value, expected: f64, tolerance: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn features_of_movielens_are_exact() {
    let sandbox = Sandbox::new();
    let summary = sandbox.json(["import", ratings_file()]);
    assert_eq!((&summary["applied"], &summary["rejected"]), (&100_004.into(), &0.into()));
    let again = sandbox.json(["import", ratings_file()]);
    assert_eq!((&again["applied"], &again["duplicate"]), (&0.into(), &100_004.into()));
    let stats = sandbox.json(["stats"]);
    assert_eq!((&stats["users"], &stats["items"]), (&671.into(), &9066.into()));

    let user = &sandbox.json(["features", "show", "user", "1"])[0]["columns"];
    assert_eq!(user["rating_count"], 20);
    assert_eq!(user["rating_mean"], 2.55);
    close(&user["rating_std"], 0.864581, 5e-7);
    assert_eq!((&user["rating_min"], &user["rating_max"]), (&1.0.into(), &4.0.into()));
    assert_eq!(user["first_rated_at"], 1_260_759_108_000_i64);
    assert_eq!(user["last_rated_at"], 1_260_759_205_000_i64);
    let item = &sandbox.json(["features", "show", "item", "1"])[0]["columns"];
    assert_eq!(item["rating_count"], 247);
    close(&item["rating_mean"], 3.87247, 5e-6);
    close(&item["rating_std"], 0.957038, 5e-7);
}
