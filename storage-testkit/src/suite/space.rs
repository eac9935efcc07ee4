//! One namespace of the store under test, with the short words in which behaviours are written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use futures::TryStreamExt;
use recstore_core::{
    BayesianPrior, Entity, EntityKey, EntityKind, EraseOptions, EraseReport, EventId, FeatureBatch,
    FeatureName, FeatureRequest, FeatureRow, FeatureValue, Fingerprints, GetOptions, GroupSchema,
    HistoryOptions, ItemId, Lookup, Neighbour, NeighbourAnswer, NeighbourList, NeighbourRequest, Outcome,
    Popular, PutOptions, PutReceipt, Rating, RatingRow, RatingStats, RatingValue, ReleaseId, ReleaseSpec,
    ScanOptions, SimilarityOptions, Storage, Timestamp, UserId,
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

/// A namespace of the store under test.
#[derive(Clone)]
pub(super) struct Space {
    storage: Arc<dyn Storage>,
}

impl Deref for Space {
    type Target = dyn Storage;

    fn deref(&self) -> &Self::Target {
        self.storage.as_ref()
    }
}

impl Space {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Space {
        Space { storage }
    }

    /// Makes writes visible where the backend needs to be asked for it.
    async fn settle(&self) {
        if !self.capabilities().fresh_reads {
            self.refresh().await.unwrap();
        }
    }

    /// Stores a batch.
    pub(super) async fn put(&self, events: impl IntoIterator<Item = Rating>) -> PutReceipt {
        let events: Vec<Rating> = events.into_iter().collect();
        let count = events.len();
        let receipt = self.put_ratings(events, PutOptions::default()).await.unwrap();
        assert_eq!(receipt.outcomes.len(), count, "an outcome for each event");
        self.settle().await;
        receipt
    }

    /// Stores a batch and holds what became of each event.
    pub(super) async fn put_expecting(
        &self,
        events: impl IntoIterator<Item = Rating>,
        outcomes: &[Outcome],
    ) -> PutReceipt {
        let receipt = self.put(events).await;
        self.assert_outcomes(&receipt, outcomes);
        receipt
    }

    fn assert_outcomes(&self, receipt: &PutReceipt, outcomes: &[Outcome]) {
        if self.capabilities().ordered_at_put {
            assert_eq!(receipt.outcomes, outcomes);
        } else {
            let deferred = |&found: &Outcome| found == Outcome::Accepted || found == Outcome::Erased;
            assert!(receipt.outcomes.iter().all(deferred), "{:?}", receipt.outcomes);
        }
    }

    /// One row.
    pub(super) async fn row(&self, of: &str, what: &str) -> Option<RatingRow> {
        let pairs = [(user(of), item(what))];
        values(self.get_ratings(&pairs, GetOptions::default()).await.unwrap()).remove(0)
    }

    /// Every row, withdrawn ones included.
    pub(super) async fn rows(&self) -> Vec<RatingRow> {
        self.scan(ScanOptions::default().with_withdrawn(true)).await
    }

    /// The rows of a scan.
    pub(super) async fn scan(&self, options: ScanOptions) -> Vec<RatingRow> {
        self.scan_ratings(options).try_collect::<Vec<_>>().await.unwrap().concat()
    }

    /// The whole history of a user, with withdrawn rows.
    pub(super) async fn user_rows(&self, of: &str) -> Vec<RatingRow> {
        self.user_history(&user(of), everything()).await.unwrap().rows
    }

    /// The whole history of an item, with withdrawn rows.
    pub(super) async fn item_rows(&self, what: &str) -> Vec<RatingRow> {
        self.item_history(&item(what), everything()).await.unwrap().rows
    }

    pub(super) async fn prints(&self) -> Fingerprints {
        self.fingerprint(GetOptions::default()).await.unwrap()
    }

    /// All columns of these ids in a group.
    pub(super) async fn features(&self, group: &str, ids: &[&str]) -> FeatureBatch {
        let batch = self.get_features(FeatureRequest::new(name(group), keys(ids))).await.unwrap();
        assert_eq!(batch.ids, keys(ids), "rows come in the order asked");
        batch
    }

    /// The values of one row; `None` if it is not there.
    pub(super) async fn feature_row(&self, group: &str, id: &str) -> Option<Vec<Option<FeatureValue>>> {
        row_values(&self.features(group, &[id]).await, 0)
    }

    /// One value of one row.
    pub(super) async fn feature(&self, group: &str, id: &str, column: &str) -> Option<FeatureValue> {
        self.features(group, &[id]).await.value(0, column)
    }

    /// Holds that ratings are these rows, by scan, by count and by pair, and that features fit to them.
    pub(super) async fn assert_rows(&self, expected: &[RatingRow], prior: BayesianPrior) {
        assert_eq!(self.rows().await, expected, "rows by scan");
        let pairs: Vec<(UserId, ItemId)> =
            expected.iter().map(|row| (row.rating.user().clone(), row.rating.item().clone())).collect();
        let by_pair = values(self.get_ratings(&pairs, GetOptions::default()).await.unwrap());
        assert_eq!(by_pair.into_iter().flatten().collect::<Vec<_>>(), expected, "rows by pair");
        let counts = self.count_ratings(GetOptions::default()).await.unwrap();
        assert_eq!((counts.ratings + counts.withdrawn) as usize, expected.len(), "counted rows");
        self.assert_features_fit(prior).await;
    }

    /// Holds that the built-in rows of every user and item are those folded from the rating rows.
    pub(super) async fn assert_features_fit(&self, prior: BayesianPrior) {
        let rows = self.rows().await;
        for kind in [EntityKind::User, EntityKind::Item] {
            let mut by_entity: BTreeMap<EntityKey, Vec<&RatingRow>> = BTreeMap::new();
            for row in &rows {
                by_entity.entry(entity_of(kind, row)).or_default().push(row);
            }
            let group = match kind {
                EntityKind::User => FeatureName::USER_RATINGS,
                EntityKind::Item => FeatureName::ITEM_RATINGS,
            };
            let ids: Vec<EntityKey> = by_entity.keys().cloned().collect();
            let batch = self.get_features(FeatureRequest::new(group, ids)).await.unwrap();
            assert_eq!(batch.len(), by_entity.len());
            for (index, (id, rows)) in by_entity.into_iter().enumerate() {
                let expected = built_in_row(kind, rows, prior);
                assert_eq!(row_values(&batch, index), expected, "features of {kind} {id}");
            }
        }
    }

    /// Declares a custom group.
    pub(super) async fn register(&self, schema: &GroupSchema) -> GroupSchema {
        self.register_group(schema.clone()).await.unwrap()
    }

    /// Stores custom rows.
    pub(super) async fn put_rows(&self, group: &str, rows: Vec<FeatureRow>) -> PutReceipt {
        let receipt = self.put_features(&name(group), rows, PutOptions::default()).await.unwrap();
        assert!(receipt.conflicts.is_empty(), "custom rows have no conflicts");
        self.settle().await;
        receipt
    }

    /// Stores custom rows and holds what became of each.
    pub(super) async fn put_rows_expecting(&self, group: &str, rows: Vec<FeatureRow>, outcomes: &[Outcome]) {
        let receipt = self.put_rows(group, rows).await;
        self.assert_outcomes(&receipt, outcomes);
    }

    /// Begins a release and puts lists into it.
    pub(super) async fn begin(&self, kind: EntityKind, lists: &[NeighbourList]) -> ReleaseId {
        let release = self.begin_release(spec(kind)).await.unwrap();
        self.put_neighbours(&release, lists.to_vec(), PutOptions::default()).await.unwrap();
        release
    }

    /// A sealed release.
    pub(super) async fn sealed(
        &self,
        kind: EntityKind,
        lists: &[NeighbourList],
        popular: Vec<Popular>,
    ) -> ReleaseId {
        let release = self.begin(kind, lists).await;
        self.seal_release(&release, popular).await.unwrap();
        release
    }

    /// A current release.
    pub(super) async fn promoted(
        &self,
        kind: EntityKind,
        lists: &[NeighbourList],
        popular: Vec<Popular>,
    ) -> ReleaseId {
        let release = self.sealed(kind, lists, popular).await;
        self.promote_release(&release).await.unwrap();
        self.settle().await;
        release
    }

    /// The neighbours of ids in the current release.
    pub(super) async fn neighbours(&self, kind: EntityKind, ids: &[&str]) -> Vec<Option<Vec<Neighbour>>> {
        let answer = self.get_neighbours(NeighbourRequest::new(kind, keys(ids))).await.unwrap();
        assert_eq!(answer.lists.len(), ids.len(), "an answer for each id");
        values(answer.lists)
    }

    /// The ids of an item's neighbours in the current release; `None` without a list.
    pub(super) async fn neighbour_ids(&self, kind: EntityKind, id: &str) -> Option<Vec<String>> {
        let list = self.neighbours(kind, &[id]).await.remove(0)?;
        Some(list.into_iter().map(|neighbour| neighbour.id.to_string()).collect())
    }

    /// The neighbours of ids in a release by name.
    pub(super) async fn neighbours_in(
        &self,
        kind: EntityKind,
        release: &ReleaseId,
        ids: &[&str],
    ) -> NeighbourAnswer {
        let request = NeighbourRequest::new(kind, keys(ids)).with_release(release.clone());
        self.get_neighbours(request).await.unwrap()
    }

    /// The ids of the current popularity list.
    pub(super) async fn popular_ids(&self, kind: EntityKind) -> Vec<String> {
        let popular = self.get_popular(kind, usize::MAX, GetOptions::default()).await.unwrap();
        popular.into_iter().map(|popular| popular.id.to_string()).collect()
    }

    pub(super) async fn erase_user(&self, id: &str) -> EraseReport {
        self.erased(Entity::from(user(id))).await
    }

    pub(super) async fn erase_item(&self, id: &str) -> EraseReport {
        self.erased(Entity::from(item(id))).await
    }

    async fn erased(&self, entity: Entity) -> EraseReport {
        let report = self.erase(&entity, EraseOptions::default()).await.unwrap();
        self.settle().await;
        report
    }
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
