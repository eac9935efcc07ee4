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

/// (item, similarity, common raters) of the first five neighbours of item 1.
type TopFive = [(&'static str, f64, u32); 5];

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn neighbours_of_movielens_are_exact() {
    const COSINE: TopFive = [
        ("3114", 0.594709812, 101),
        ("260", 0.576187846, 164),
        ("356", 0.564533861, 176),
        ("780", 0.562945600, 141),
        ("1265", 0.548023021, 113),
    ];
    const ADJUSTED: TopFive = [
        ("78499", 0.796668376, 37),
        ("3114", 0.700353940, 101),
        ("80463", 0.693157579, 25),
        ("3034", 0.646852922, 24),
        ("471", 0.609477980, 35),
    ];
    const PEARSON: TopFive = [
        ("4734", 0.770134874, 21),
        ("78499", 0.756369235, 37),
        ("3114", 0.743352388, 101),
        ("3034", 0.707703152, 24),
        ("80463", 0.707304274, 25),
    ];
    const JACCARD: TopFive = [
        ("260", 0.438502674, 164),
        ("780", 0.435185185, 141),
        ("356", 0.427184466, 176),
        ("1270", 0.395280236, 134),
        ("480", 0.393048128, 147),
    ];
    let sandbox = Sandbox::new();
    sandbox.run(["import", ratings_file()]).expect(0);
    for (measure, min_common, expected) in [
        ("cosine", "1", COSINE),
        ("adjusted-cosine", "20", ADJUSTED),
        ("pearson", "20", PEARSON),
        ("jaccard", "1", JACCARD),
    ] {
        let options = ["--measure", measure, "--min-common", min_common, "--k", "5"];
        sandbox.run(["similar", "build"].into_iter().chain(options)).expect(0);
        let found = &sandbox.json(["similar", "show", "1"])[0]["neighbours"];
        assert_eq!(found.as_array().unwrap().len(), 5, "{measure}");
        for (found, (id, similarity, common)) in found.as_array().unwrap().iter().zip(expected) {
            assert_eq!((&found["id"], &found["common"]), (&id.into(), &common.into()), "{measure}");
            close(&found["similarity"], similarity, 1e-9);
        }
    }
    let recommended = sandbox.json(["recommend", "1", "-k", "10"]);
    assert_eq!(recommended.as_array().unwrap().len(), 10);
}
