//! The short words that behaviours are written in: ids, events, lists, and what a store must make of them.

use std::collections::{BTreeMap, BTreeSet};

use recstore_core::{
    BayesianPrior, EntityKey, EntityKind, EventId, FeatureBatch, FeatureName, FeatureValue, HistoryOptions,
    ItemId, Lookup, Neighbour, NeighbourList, Popular, Rating, RatingRow, RatingStats, RatingValue,
    ReleaseSpec, SimilarityOptions, Timestamp, UserId,
};

/// Where the suite's clock begins: 2024-01-01T00:00:00Z.
pub(super) fn now() -> Timestamp {
    Timestamp::from_seconds(1_704_067_200).unwrap()
}

/// An event time this many seconds after a day well in the past (2023-11-14).
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds).unwrap()
}

/// A time this many milliseconds after the suite's clock began.
pub(super) fn after_now(millis: i64) -> Timestamp {
    Timestamp::from_millis(now().as_millis() + millis).unwrap()
}

pub(super) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(super) fn item(id: &str) -> ItemId {
    ItemId::new(id).unwrap()
}

pub(super) fn key(id: &str) -> EntityKey {
    EntityKey::new(id).unwrap()
}

pub(super) fn keys(ids: &[&str]) -> Vec<EntityKey> {
    ids.iter().map(|id| key(id)).collect()
}

pub(super) fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

pub(super) fn value(number: f64) -> RatingValue {
    RatingValue::new(number).unwrap()
}

/// A rating with a derived event id.
pub(super) fn rating(of: &str, what: &str, stars: f64, rated_at: Timestamp) -> Rating {
    Rating::new(user(of), item(what), stars, rated_at).unwrap()
}

/// A rating with this event id.
pub(super) fn rating_with_id(of: &str, what: &str, stars: f64, rated_at: Timestamp, id: u128) -> Rating {
    rating(of, what, stars, rated_at).with_event_id(EventId::from_u128(id))
}

/// A withdrawal with a derived event id.
pub(super) fn withdrawal(of: &str, what: &str, rated_at: Timestamp) -> Rating {
    Rating::withdrawal(user(of), item(what), rated_at)
}

/// A withdrawal with this event id.
pub(super) fn withdrawal_with_id(of: &str, what: &str, rated_at: Timestamp, id: u128) -> Rating {
    withdrawal(of, what, rated_at).with_event_id(EventId::from_u128(id))
}

pub(super) fn neighbour(id: &str, similarity: f64, common: u32) -> Neighbour {
    Neighbour { id: key(id), similarity, common }
}

pub(super) fn list(id: &str, neighbours: &[(&str, f64)]) -> NeighbourList {
    let neighbours = neighbours.iter().map(|&(id, similarity)| neighbour(id, similarity, 3)).collect();
    NeighbourList { id: key(id), neighbours }
}

pub(super) fn popular(list: &[(&str, u64)]) -> Vec<Popular> {
    list.iter().map(|&(id, ratings)| Popular { id: key(id), ratings }).collect()
}

pub(super) fn spec(kind: EntityKind) -> ReleaseSpec {
    ReleaseSpec { kind, options: SimilarityOptions::default() }
}

/// What a store must hold after these events, by the rule of the contract, in (user, item) order.
pub(super) fn fold<'a>(events: impl IntoIterator<Item = &'a Rating>) -> Vec<RatingRow> {
    let mut rows: BTreeMap<(UserId, ItemId), RatingRow> = BTreeMap::new();
    for event in events {
        let pair = (event.user().clone(), event.item().clone());
        let first = RatingRow { rating: event.clone(), first_rated_at: event.rated_at() };
        let row = rows.entry(pair).or_insert(first);
        row.first_rated_at = row.first_rated_at.min(event.rated_at());
        if event.order() > row.rating.order() {
            row.rating = event.clone();
        }
    }
    rows.into_values().collect()
}

/// The built-in row of one entity, folded from all its rows; `None` where there must be no row.
pub(super) fn built_in_row<'a>(
    kind: EntityKind,
    rows: impl IntoIterator<Item = &'a RatingRow>,
    prior: BayesianPrior,
) -> Option<Vec<Option<FeatureValue>>> {
    let mut stats = RatingStats::default();
    let mut values: BTreeSet<RatingValue> = BTreeSet::new();
    for row in rows {
        // Extremes are taken from all values below, so what this cannot keep does not matter.
        let _overflow = stats.apply(None, row.rating.value());
        stats.observe(row.first_rated_at, row.rating.rated_at());
        values.extend(row.rating.value());
    }
    let features = stats.finish(prior)?;
    let extreme = |value: Option<&RatingValue>| value.map(|value| FeatureValue::Float(value.as_f64()));
    let mut row = vec![
        Some(FeatureValue::Integer(features.count as i64)),
        Some(FeatureValue::Float(features.mean)),
        Some(FeatureValue::Float(features.std)),
        extreme(values.first()),
        extreme(values.last()),
        Some(FeatureValue::Timestamp(features.first_rated_at)),
        Some(FeatureValue::Timestamp(features.last_rated_at)),
    ];
    if kind == EntityKind::Item {
        row.push(Some(FeatureValue::Float(features.bayesian_mean)));
    }
    Some(row)
}

/// Every value of a row of a batch, `None` for the whole row if it was not found.
pub(super) fn row_values(batch: &FeatureBatch, row: usize) -> Option<Vec<Option<FeatureValue>>> {
    batch.status[row].is_found().then(|| batch.columns.iter().map(|column| column.value(row)).collect())
}

/// The values of answers that must all be found or missing.
pub(super) fn values<T>(answers: Vec<Lookup<T>>) -> Vec<Option<T>> {
    answers.into_iter().map(|answer| answer.into_result().unwrap()).collect()
}

/// All rows on one page.
pub(super) fn everything() -> HistoryOptions {
    HistoryOptions::default().with_limit(10_000).with_withdrawn(true)
}

/// The user or item of a row.
pub(super) fn entity_of(kind: EntityKind, row: &RatingRow) -> EntityKey {
    match kind {
        EntityKind::User => row.rating.user().clone().into(),
        EntityKind::Item => row.rating.item().clone().into(),
    }
}

/// Every order of `0..count`, by Heap's algorithm.
pub(super) fn permutations(count: usize) -> Vec<Vec<usize>> {
    fn heap(size: usize, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if size <= 1 {
            all.push(order.clone());
            return;
        }
        for index in 0..size {
            heap(size - 1, order, all);
            let other = if size.is_multiple_of(2) { index } else { 0 };
            order.swap(other, size - 1);
        }
    }
    let mut all = Vec::new();
    heap(count, &mut (0..count).collect(), &mut all);
    all
}

/// Ids that a careless key, query, path or pattern would confuse; all different, all valid.
pub(super) fn hostile_ids() -> Vec<String> {
    let plain = [
        " ",
        "  ",
        "a",
        "A",
        "a ",
        " a",
        "a b",
        "ab",
        "a/b",
        "a/",
        "/",
        "//",
        ".",
        "..",
        "../a",
        "a.b",
        "#",
        "a#b",
        "##",
        "%",
        "%2F",
        "%23",
        "a%b",
        "_",
        "a_b",
        "__",
        "*",
        "a*",
        "?",
        "[a]",
        "[a-z]",
        "'",
        "''",
        "\"",
        "a'b",
        "'; DROP TABLE ratings; --",
        "\\",
        "\\0",
        "$",
        "${x}",
        "{}",
        "|",
        ":",
        ";",
        ",",
        "=",
        "&",
        "+",
        "-",
        "~",
        "0",
        "00",
        "1",
        "01",
        "-1",
        "1.0",
        "1e0",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "null",
        "NULL",
        "true",
        "NaN",
        // One letter, composed and decomposed; look-alikes of a Latin a; full-width; with and without joiner.
        "é",
        "e\u{301}",
        "а",
        "ａ",
        "ß",
        "ss",
        "ı",
        "i",
        "İ",
        "Å",
        "\u{212b}",
        "ﬁ",
        "fi",
        "👩\u{200d}💻",
        "👩💻",
        "🎬",
        "🎬🎬",
        "\u{10ffff}",
        "\u{feff}a",
        "\u{200b}",
        "\u{a0}",
        "日本",
        "مرحبا",
    ];
    let mut ids: Vec<String> = plain.map(str::to_owned).to_vec();
    // Prefixes of each other, up to the longest id, also in two-byte letters.
    ids.extend([255, 256, 511, 512].map(|length| "x".repeat(length)));
    ids.push("é".repeat(256));
    ids.push(format!("{}y", "x".repeat(511)));
    ids
}
