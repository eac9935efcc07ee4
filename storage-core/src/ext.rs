//! Convenience for single items, on top of the batch calls of any store.

use async_trait::async_trait;

use crate::{
    EntityKey, FeatureBatch, FeatureRequest, FeatureStore, GetOptions, ItemId, Neighbour, NeighbourRequest,
    Outcome, PutOptions, Rating, RatingRow, RatingStore, Result, SimilarityStore, UserId,
};
use crate::{Error, ErrorKind, FeatureName, Lookup};

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
}

impl<S: SimilarityStore + ?Sized> SimilarityStoreExt for S {}

fn only<T>(answers: Vec<Lookup<T>>) -> Result<Lookup<T>> {
    answers.into_iter().next().ok_or_else(no_answer)
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the store gave no answer for a key that was asked")
}
