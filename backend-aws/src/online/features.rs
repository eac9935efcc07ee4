//! Rating statistics of users and items as versioned items: the state, from which the columns are computed at
//! read by the one function of the core.

use std::collections::HashMap;

use recstore_core::{Deadline, EntityKey, EntityKind, FeatureName, Namespace, RatingStats, Result};

use super::Online;
use super::item::{Fields, OpenItem};
use super::keys::{self, ItemKey};
use super::publish::Published;
use super::versioned::{Generation, Pinned, Row, feature_table};

const STATE: &str = "s";

impl Row for RatingStats {
    fn to_fields(&self) -> Fields {
        let mut state = Vec::with_capacity(64);
        self.encode(&mut state);
        Fields::new().with_bytes(STATE, state)
    }

    fn from_fields(fields: &mut OpenItem) -> Result<RatingStats> {
        let state = fields.bytes(STATE)?;
        let state = fields.required(STATE, state)?;
        RatingStats::decode(&state).map_err(|error| fields.name_in(error))
    }
}

/// The built-in group of a kind.
fn built_in(kind: EntityKind) -> FeatureName {
    match kind {
        EntityKind::User => FeatureName::USER_RATINGS,
        EntityKind::Item => FeatureName::ITEM_RATINGS,
    }
}

/// The statistics of an entity in a generation; `None` if it has none any more.
pub type StatsChange = (EntityKey, Option<RatingStats>);

impl Online {
    /// Publishes statistics of a generation.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_stats(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        generation: Generation,
        changes: Vec<StatsChange>,
        deadline: Option<Deadline>,
    ) -> Result<Published> {
        let group = built_in(kind);
        let mut rows = Vec::with_capacity(changes.len());
        for (id, stats) in changes {
            rows.push((keys::feature(namespace, id.as_str(), &group)?, stats));
        }
        self.publish(feature_table(kind), generation, rows, deadline).await
    }

    /// The statistics of many entities at a generation, by id; `None` where there are none. A
    /// failure is that of one entity, and never none.
    ///
    /// # Errors
    /// As [`keys::feature`].
    pub async fn get_stats(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        ids: &[EntityKey],
        pin: Generation,
        deadline: Option<Deadline>,
    ) -> Result<Pinned<HashMap<EntityKey, Result<Option<RatingStats>>>>> {
        let group = built_in(kind);
        let key = |id: &EntityKey| keys::feature(namespace, id.as_str(), &group);
        let asked: Vec<ItemKey> = ids.iter().map(key).collect::<Result<_>>()?;
        let rows = self.get_rows::<RatingStats>(feature_table(kind), asked.iter().cloned(), pin, deadline);
        let Pinned::At(mut rows) = rows.await else { return Ok(Pinned::TooOld) };
        let of_id = |(key, id): (&ItemKey, &EntityKey)| Some((id.clone(), rows.remove(key)?));
        Ok(Pinned::At(asked.iter().zip(ids).filter_map(of_id).collect()))
    }
}
