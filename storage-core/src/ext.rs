//! Convenience for single keys, on top of the batch calls of any store.

use async_trait::async_trait;

use crate::{
    EntityKey, EntityKind, Error, ErrorKind, FeatureBatch, FeatureName, FeatureRequest, FeatureRow,
    FeatureStore, GetOptions, ItemId, Lookup, Neighbour, NeighbourRequest, Outcome, Popular, PutOptions,
    Rating, RatingRow, RatingStore, Result, SimilarityStore, Timestamp, UserId,
};

/// Single ratings.
#[async_trait]
pub trait RatingStoreExt: RatingStore {
    /// Stores one event.
    ///
    /// # Errors
    /// As [`RatingStore::put_ratings`].
    async fn put_rating(&self, rating: Rating) -> Result<Outcome> {
        let receipt = self.put_ratings(vec![rating], PutOptions::default()).await?;
        receipt.outcomes.first().copied().ok_or_else(no_answer)
    }

    /// Takes a rating back as of `at`. Like every event it loses (`Stale`) against a rating that is newer.
    ///
    /// # Errors
    /// As [`RatingStore::put_ratings`].
    async fn withdraw(&self, user: &UserId, item: &ItemId, at: Timestamp) -> Result<Outcome> {
        self.put_rating(Rating::withdrawal(user.clone(), item.clone(), at)).await
    }

    /// The current row of one pair; `None` if there is none. A withdrawn rating is a row.
    ///
    /// # Errors
    /// As [`RatingStore::get_ratings`], and the reason if the store could not tell.
    async fn get_rating(&self, user: &UserId, item: &ItemId) -> Result<Option<RatingRow>> {
        let pairs = [(user.clone(), item.clone())];
        only(self.get_ratings(&pairs, GetOptions::default()).await?)?.into_result()
    }
}

impl<S: RatingStore + ?Sized> RatingStoreExt for S {}

/// Features of single entities.
#[async_trait]
pub trait FeatureStoreExt: FeatureStore {
    /// All columns of one entity: a batch of one row.
    ///
    /// # Errors
    /// As [`FeatureStore::get_features`].
    async fn features_of(&self, group: FeatureName, id: EntityKey) -> Result<FeatureBatch> {
        self.get_features(FeatureRequest::new(group, vec![id])).await
    }

    /// The rating statistics of one user (`user_ratings`): a batch of one row.
    ///
    /// # Errors
    /// As [`FeatureStore::get_features`].
    async fn user_features(&self, user: &UserId) -> Result<FeatureBatch> {
        self.get_features(FeatureRequest::of_users([user.clone()])).await
    }

    /// The rating statistics of one item (`item_ratings`): a batch of one row.
    ///
    /// # Errors
    /// As [`FeatureStore::get_features`].
    async fn item_features(&self, item: &ItemId) -> Result<FeatureBatch> {
        self.get_features(FeatureRequest::of_items([item.clone()])).await
    }

    /// Stores one whole row of a custom group.
    ///
    /// # Errors
    /// As [`FeatureStore::put_features`].
    async fn put_feature_row(&self, group: &FeatureName, row: FeatureRow) -> Result<Outcome> {
        let receipt = self.put_features(group, vec![row], PutOptions::default()).await?;
        receipt.outcomes.first().copied().ok_or_else(no_answer)
    }
}

impl<S: FeatureStore + ?Sized> FeatureStoreExt for S {}

/// Neighbours of single items.
#[async_trait]
pub trait SimilarityStoreExt: SimilarityStore {
    /// The neighbours of one item in the current release; `None` if it has no list.
    ///
    /// # Errors
    /// As [`SimilarityStore::get_neighbours`], and the reason if the store could not tell.
    async fn neighbours_of(&self, item: &ItemId, limit: usize) -> Result<Option<Vec<Neighbour>>> {
        let request = NeighbourRequest::of_items([item.clone()]).with_limit(limit);
        only(self.get_neighbours(request).await?.lists)?.into_result()
    }

    /// The most popular items of the current release.
    ///
    /// # Errors
    /// As [`SimilarityStore::get_popular`].
    async fn popular_items(&self, limit: usize) -> Result<Vec<Popular>> {
        self.get_popular(EntityKind::Item, limit, GetOptions::default()).await
    }
}

impl<S: SimilarityStore + ?Sized> SimilarityStoreExt for S {}

fn only<T>(answers: Vec<Lookup<T>>) -> Result<Lookup<T>> {
    answers.into_iter().next().ok_or_else(no_answer)
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the store gave no answer for a key that was asked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeatureValue, MemoryStorage, Namespace, StoreContext};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[tokio::test]
    async fn a_withdrawal_takes_back_what_is_older_and_leaves_what_is_newer() {
        let store = MemoryStorage::new(Namespace::default(), StoreContext::default());
        let (user, item) = (UserId::from(1), ItemId::from(2));
        store.put_rating(Rating::new(1.into(), 2.into(), 4.0, at(10)).unwrap()).await.unwrap();
        assert_eq!(store.withdraw(&user, &item, at(9)).await.unwrap(), Outcome::Stale);
        let mean = store.item_features(&item).await.unwrap().value(0, "rating_mean");
        assert_eq!(mean, Some(FeatureValue::Float(4.0)));
        assert_eq!(store.withdraw(&user, &item, at(11)).await.unwrap(), Outcome::Applied);
        assert!(store.get_rating(&user, &item).await.unwrap().unwrap().rating.is_withdrawn());
        assert!(!store.user_features(&user).await.unwrap().status[0].is_found());
    }
}
