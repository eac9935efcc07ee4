//! One namespace of the store under test.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use futures::TryStreamExt;
use recstore_core::{
    BayesianPrior, Entity, EntityKey, EntityKind, EraseOptions, EraseReport, FeatureBatch, FeatureName,
    FeatureRequest, FeatureRow, FeatureValue, Fingerprints, GetOptions, GroupSchema, ItemId, Neighbour,
    NeighbourAnswer, NeighbourList, NeighbourRequest, Outcome, Popular, PutOptions, PutReceipt, Rating,
    RatingRow, ReleaseId, ScanOptions, Storage, UserId,
};

use super::words::{built_in_row, entity_of, everything, item, keys, name, row_values, spec, user, values};

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
    pub(super) async fn settle(&self) {
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
            // What is decided later is not told; what is told is right.
            let fits = |(&found, &expected)| found == Outcome::Accepted || found == expected;
            let all = receipt.outcomes.iter().zip(outcomes).all(fits);
            assert!(all, "{:?}, expected {outcomes:?}", receipt.outcomes);
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
