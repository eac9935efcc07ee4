//! Figures of MovieLens `ml-latest-small`, computed independently of this library.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use recstore_core::{
    BayesianPrior, EntityKind, Measure, NeighbourBuilder, Rating, RatingFeatures, RatingMatrix, RatingRow,
    RatingStats, SimilarityOptions, Timestamp,
};

fn rows() -> Vec<RatingRow> {
    let path = option_env!("RECSTORE_MOVIELENS").unwrap_or_default();
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(row).collect()
}

/// The row of `userId,movieId,rating,timestamp`.
fn row(line: &str) -> RatingRow {
    let mut cells = line.split(',');
    let mut cell = || cells.next().unwrap();
    let (user, item) = (cell().parse().unwrap(), cell().parse().unwrap());
    let value = cell().parse().unwrap();
    let rated_at = Timestamp::from_seconds(cell().parse().unwrap()).unwrap();
    let rating = Rating::new(user, item, value, rated_at).unwrap();
    RatingRow { rating, first_rated_at: rated_at }
}

fn features_by(rows: &[RatingRow], id: fn(&Rating) -> &str) -> BTreeMap<String, RatingFeatures> {
    let mut stats: BTreeMap<String, RatingStats> = BTreeMap::new();
    for RatingRow { rating, .. } in rows {
        let stats = stats.entry(id(rating).to_owned()).or_default();
        let _ = stats.apply(None, rating.value());
        stats.observe(rating.rated_at(), rating.rated_at());
    }
    let finished = |(id, stats): (String, RatingStats)| (id, stats.finish(BayesianPrior::default()).unwrap());
    stats.into_iter().map(finished).collect()
}

fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn features_are_the_known_figures() {
    let rows = rows();
    let users = features_by(&rows, |rating| rating.user().as_str());
    let items = features_by(&rows, |rating| rating.item().as_str());
    assert_eq!((rows.len(), users.len(), items.len()), (100_004, 671, 9_066));

    let user = users["1"];
    assert_eq!((user.count, user.mean, user.extremes), (20, 2.55, Some((1.0, 4.0))));
    assert_close(user.std, 0.864_581, 5e-7);
    assert_eq!(user.first_rated_at.as_millis(), 1_260_759_108_000);
    assert_eq!(user.last_rated_at.as_millis(), 1_260_759_205_000);
    let item = items["1"];
    assert_eq!(item.count, 247);
    assert_close(item.mean, 3.872_47, 5e-6);
    assert_close(item.std, 0.957_038, 5e-7);

    for (features, means, stds) in
        [(users, 2_454.240_805_342, 624.635_520_428), (items, 29_845.763_853_219, 4_659.800_438_959)]
    {
        assert_close(features.values().map(|features| features.mean).sum(), means, 1e-8);
        assert_close(features.values().map(|features| features.std).sum(), stds, 1e-8);
    }
}

type Known = (&'static str, f64, u32);

fn assert_neighbours_of_item_1(measure: Measure, min_common: u32, known: [Known; 5]) {
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows()).unwrap();
    assert_eq!((matrix.ids().len(), matrix.raters(), matrix.ratings()), (9_066, 671, 100_004));
    let options = SimilarityOptions { measure, k: 5, min_common, shrinkage: 0.0 };
    let lists = NeighbourBuilder::new(&matrix, options).unwrap().lists().unwrap();
    assert_eq!(lists.len(), 9_066);
    let list = lists.iter().find(|list| list.id.as_str() == "1").unwrap();
    assert_eq!(list.neighbours.len(), 5);
    for (found, (id, similarity, common)) in list.neighbours.iter().zip(known) {
        assert_eq!((found.id.as_str(), found.common), (id, common));
        assert_close(found.similarity, similarity, 1e-9);
    }
}

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn cosine_neighbours_are_the_known_ones() {
    assert_neighbours_of_item_1(
        Measure::Cosine,
        1,
        [
            ("3114", 0.594_709_812, 101),
            ("260", 0.576_187_846, 164),
            ("356", 0.564_533_861, 176),
            ("780", 0.562_945_600, 141),
            ("1265", 0.548_023_021, 113),
        ],
    );
}

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn adjusted_cosine_neighbours_are_the_known_ones() {
    assert_neighbours_of_item_1(
        Measure::AdjustedCosine,
        20,
        [
            ("78499", 0.796_668_376, 37),
            ("3114", 0.700_353_940, 101),
            ("80463", 0.693_157_579, 25),
            ("3034", 0.646_852_922, 24),
            ("471", 0.609_477_980, 35),
        ],
    );
}

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn pearson_neighbours_are_the_known_ones() {
    assert_neighbours_of_item_1(
        Measure::Pearson,
        20,
        [
            ("4734", 0.770_134_874, 21),
            ("78499", 0.756_369_235, 37),
            ("3114", 0.743_352_388, 101),
            ("3034", 0.707_703_152, 24),
            ("80463", 0.707_304_274, 25),
        ],
    );
}

#[test]
#[cfg_attr(not(movielens), ignore = "needs ../shared/data/ml-latest-small")]
fn jaccard_neighbours_are_the_known_ones() {
    assert_neighbours_of_item_1(
        Measure::Jaccard,
        1,
        [
            ("260", 0.438_502_674, 164),
            ("780", 0.435_185_185, 141),
            ("356", 0.427_184_466, 176),
            ("1270", 0.395_280_236, 134),
            ("480", 0.393_048_128, 147),
        ],
    );
}
