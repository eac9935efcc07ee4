//! The rating store: events to bronze, reads from DynamoDB at the committed generation, scans from silver.

use std::collections::HashMap;

use async_trait::async_trait;
use futures::stream::BoxStream;
use recstore_core::ratings::{batch_conflicts, check_batch_size};
use recstore_core::{
    Cost, Durability, EntityKey, EntityKind, Error, ErrorKind, Found, GetOptions, HistoryOptions,
    HistoryPage, ItemId, Lookup, Origin, Outcome, PutOptions, PutReceipt, Rating, RatingCounts, RatingRow,
    RatingStore, Result, ScanOptions, UserId,
};

use crate::backend::AwsStorage;
use crate::online::pin::Pin;
use crate::scan;

#[async_trait]
impl RatingStore for AwsStorage {
    async fn put_ratings(&self, events: Vec<Rating>, options: PutOptions) -> Result<PutReceipt> {
        self.admit(options.deadline)?;
        check_batch_size(&events)?;
        self.shared.context.limits.check_all(&events, self.shared.context.clock.now())?;
        let conflicts = batch_conflicts(&events);
        let outcomes = vec![Outcome::Accepted; events.len()];
        let receipt = self.writer().await?.append(events, options.deadline).await?;
        let objects = receipt.map(|receipt| receipt.cost).unwrap_or_default();
        let cost = Cost { objects, ..Cost::default() };
        Ok(PutReceipt { outcomes, conflicts, durability: Durability::ObjectStore, cost })
    }

    async fn get_ratings(
        &self,
        pairs: &[(UserId, ItemId)],
        options: GetOptions,
    ) -> Result<Vec<Lookup<RatingRow>>> {
        self.admit(options.deadline)?;
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<(EntityKey, EntityKey)> =
            pairs.iter().map(|(user, item)| (user.clone().into(), item.clone().into())).collect();
        let read = self.read_pinned(options.deadline, |pin| {
            self.shared.online.get_pairs(&self.space.namespace, &asked, pin, options.deadline)
        });
        let (mut rows, pin) = read.await?;
        Ok(lookups(asked, &mut rows, pin))
    }

    async fn user_history(&self, user: &UserId, options: HistoryOptions) -> Result<HistoryPage> {
        self.history(EntityKind::User, user.as_str(), options).await
    }

    async fn item_history(&self, item: &ItemId, options: HistoryOptions) -> Result<HistoryPage> {
        self.history(EntityKind::Item, item.as_str(), options).await
    }

    fn scan_ratings(&self, options: ScanOptions) -> BoxStream<'_, Result<Vec<RatingRow>>> {
        scan::ratings(self, options)
    }

    async fn count_ratings(&self, options: GetOptions) -> Result<RatingCounts> {
        let snapshot = self.committed(options.deadline).await?;
        let table = &snapshot.state.commit.ratings;
        Ok(RatingCounts { ratings: table.live(), withdrawn: table.rows() - table.live() })
    }
}

impl AwsStorage {
    async fn history(&self, of: EntityKind, owner: &str, options: HistoryOptions) -> Result<HistoryPage> {
        self.admit(options.deadline)?;
        let read = self.read_pinned(options.deadline, |pin| {
            self.shared.online.history(&self.space.namespace, of, owner, &options, pin)
        });
        Ok(read.await?.0)
    }
}

/// The answers in the order asked; a repeated pair is answered each time.
fn lookups(
    asked: Vec<(EntityKey, EntityKey)>,
    rows: &mut HashMap<(EntityKey, EntityKey), Result<Option<RatingRow>>>,
    pin: Pin,
) -> Vec<Lookup<RatingRow>> {
    let answer = |pair: &(EntityKey, EntityKey)| match rows.get(pair) {
        Some(Ok(Some(row))) => {
            Lookup::Found(Found { value: row.clone(), as_of: pin.as_of, origin: Origin::Published })
        }
        Some(Ok(None)) => Lookup::Missing,
        Some(Err(error)) => Lookup::Failed(same(error)),
        None => Lookup::Failed(Error::new(ErrorKind::Internal, "a key that was asked has no answer")),
    };
    asked.iter().map(answer).collect()
}

/// A failure again, for another key that it is about as well.
pub(crate) fn same(error: &Error) -> Error {
    let again = match error.field() {
        Some(field) => Error::invalid(field, error.message()),
        None => Error::new(error.kind(), error.message()),
    };
    match error.object() {
        Some(object) => again.on(object),
        None => again,
    }
}
