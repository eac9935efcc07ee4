//! The built-in groups: their schemas, and how statistics become rows.

use std::sync::LazyLock;

use super::codec::ValueRef;
use crate::{
    BatchBuilder, BayesianPrior, ColumnType, EntityKey, EntityKind, FeatureName, GroupSchema, RatingStats,
    RowStatus,
};

const COLUMNS: [(&str, ColumnType); 7] = [
    ("rating_count", ColumnType::Integer),
    ("rating_mean", ColumnType::Float),
    ("rating_std", ColumnType::Float),
    ("rating_min", ColumnType::Float),
    ("rating_max", ColumnType::Float),
    ("first_rated_at", ColumnType::Timestamp),
    ("last_rated_at", ColumnType::Timestamp),
];
const BAYESIAN_MEAN: (&str, ColumnType) = ("bayesian_mean", ColumnType::Float);

fn schema(
    name: FeatureName,
    entity: EntityKind,
    columns: impl Iterator<Item = (&'static str, ColumnType)>,
) -> GroupSchema {
    columns.fold(GroupSchema::new(name, entity), |schema, (name, column_type)| {
        schema.with_column(FeatureName::of_built_in(name), column_type)
    })
}

/// The schema of `user_ratings`: `rating_count, rating_mean, rating_std, rating_min, rating_max,
/// first_rated_at, last_rated_at`.
pub fn user_ratings_schema() -> GroupSchema {
    schema(FeatureName::USER_RATINGS, EntityKind::User, COLUMNS.into_iter())
}

/// The schema of `item_ratings`: as `user_ratings`, and `bayesian_mean`.
pub fn item_ratings_schema() -> GroupSchema {
    schema(FeatureName::ITEM_RATINGS, EntityKind::Item, COLUMNS.into_iter().chain([BAYESIAN_MEAN]))
}

/// A built-in group. For backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Whose statistics it shows.
    pub entity: EntityKind,
    /// The prior of `bayesian_mean`.
    pub prior: BayesianPrior,
}

impl BuiltIn {
    /// The built-in group of this name, if it is one.
    pub fn of(name: &FeatureName, prior: BayesianPrior) -> Option<BuiltIn> {
        let entity = match name {
            name if *name == FeatureName::USER_RATINGS => EntityKind::User,
            name if *name == FeatureName::ITEM_RATINGS => EntityKind::Item,
            _ => return None,
        };
        Some(BuiltIn { entity, prior })
    }

    /// Its schema; made once, for point reads ask for it each time.
    pub fn schema(self) -> &'static GroupSchema {
        static USERS: LazyLock<GroupSchema> = LazyLock::new(user_ratings_schema);
        static ITEMS: LazyLock<GroupSchema> = LazyLock::new(item_ratings_schema);
        match self.entity {
            EntityKind::User => &USERS,
            EntityKind::Item => &ITEMS,
        }
    }

    /// Adds the row of `id`: found with `status` if there is a current rating, missing otherwise.
    pub fn push(
        self,
        batch: &mut BatchBuilder,
        id: EntityKey,
        stats: Option<&RatingStats>,
        status: RowStatus,
    ) {
        let Some(features) = stats.and_then(|stats| stats.finish(self.prior)) else {
            batch.push_row(id, RowStatus::Missing);
            return;
        };
        let found = status.is_found();
        batch.push_row(id, status);
        if !found {
            return;
        }
        // Counts are at most 1.7 × 10^14.
        batch.set(0, ValueRef::Integer(features.count as i64));
        batch.set(1, ValueRef::Float(features.mean));
        batch.set(2, ValueRef::Float(features.std));
        match features.extremes {
            Some((min, max)) => {
                batch.set(3, ValueRef::Float(min));
                batch.set(4, ValueRef::Float(max));
            }
            None => {
                batch.set_needs_history(3);
                batch.set_needs_history(4);
            }
        }
        batch.set(5, ValueRef::Timestamp(features.first_rated_at));
        batch.set(6, ValueRef::Timestamp(features.last_rated_at));
        batch.set(7, ValueRef::Float(features.bayesian_mean));
    }
}
