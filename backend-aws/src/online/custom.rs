//! Rows of custom groups: one item for each, which only a newer row replaces.
//!
//! The order is that of every backend, (event time, content hash), and the service itself compares: each put is on
//! condition that what is stored is older. Puts of many writers thus end the same in whatever order they come, and one
//! that comes late is refused. Nothing is ever removed: a deletion is a row, and an erasure leaves a row without
//! content, of the last barred time, that beats every row it bars.
//!
//! | attribute | |
//! | --- | --- |
//! | `t` | the event time, in milliseconds |
//! | `h` | the content hash; of an erased row, which has no content, the greatest |
//! | `r` | the encoded row, by core's codec; an erased row has none |

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::stream::{self, StreamExt};
use recstore_core::features::ContentHash;
use recstore_core::{
    Deadline, EntityKey, EntityKind, Error, ErrorKind, FeatureName, Namespace, Outcome, Result, Timestamp,
};

use super::Online;
use super::calls::Condition;
use super::conditional::PutOutcome;
use super::item::{Fields, OpenItem, RawItem, place};
use super::keys::{self, ItemKey};
use super::tables::TableName;
use super::versioned::feature_table;

const TIME: &str = "t";
const HASH: &str = "h";
const ROW: &str = "r";
/// No row of the time of an erased one is after it.
const LAST_HASH: ContentHash = ContentHash([u8::MAX; 16]);

/// A row of a custom group, or the deletion of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRow {
    /// When it was true.
    pub event_time: Timestamp,
    /// The hash of `encoded`.
    pub hash: ContentHash,
    /// What it says, as [`encode_row`](recstore_core::features::encode_row) writes it.
    pub encoded: Vec<u8>,
}

/// What decides between rows: the greater wins.
pub type RowOrder = (Timestamp, ContentHash);

impl CustomRow {
    /// A row of what [`encode_row`](recstore_core::features::encode_row) made.
    pub fn new(event_time: Timestamp, encoded: Vec<u8>) -> CustomRow {
        CustomRow { event_time, hash: ContentHash::of(&encoded), encoded }
    }

    /// Its place among the rows of its entity.
    pub fn order(&self) -> RowOrder {
        (self.event_time, self.hash)
    }
}

/// What is stored under a key.
enum Stored {
    Row(CustomRow),
    /// The entity was erased, and rows up to this time are barred.
    Erased(Timestamp),
}

impl Stored {
    fn order(&self) -> RowOrder {
        match self {
            Stored::Row(row) => row.order(),
            Stored::Erased(barred_until) => (*barred_until, LAST_HASH),
        }
    }

    fn to_item(&self, table: TableName, key: &ItemKey) -> Result<RawItem> {
        let (time, hash) = self.order();
        let fields = Fields::new().with_integer(TIME, time.as_millis()).with_bytes(HASH, hash.0);
        match self {
            Stored::Row(row) => fields.with_bytes(ROW, row.encoded.as_slice()),
            Stored::Erased(_) => fields,
        }
        .seal(table, key)
    }

    fn from_item(table: TableName, item: RawItem) -> Result<Stored> {
        let mut open = OpenItem::open(table, item)?;
        let time = open.number(TIME)?;
        let event_time = Timestamp::from_millis(open.required(TIME, time)?)
            .map_err(|error| open.damaged(error.to_string()))?;
        let hash = open.bytes(HASH)?;
        let hash = open.required(HASH, hash)?;
        let hash = hash.try_into().map_err(|_| open.damaged("the content hash has not 16 bytes"))?;
        let encoded = open.bytes(ROW)?;
        open.finish()?;
        Ok(match encoded {
            Some(encoded) => Stored::Row(CustomRow { event_time, hash: ContentHash(hash), encoded }),
            None => Stored::Erased(event_time),
        })
    }

    /// The condition that what is stored is older.
    fn newer(&self) -> Condition {
        let (time, hash) = self.order();
        Condition::Below([
            (TIME, AttributeValue::N(time.as_millis().to_string())),
            (HASH, AttributeValue::B(Blob::new(hash.0))),
        ])
    }

    /// What becomes of a row that is put when this is stored, and is not stored for it.
    fn refuses(&self, row: RowOrder) -> Option<Outcome> {
        match self {
            _ if row > self.order() => None,
            Stored::Erased(_) => Some(Outcome::Erased),
            Stored::Row(stored) if stored.order() == row => Some(Outcome::Duplicate),
            Stored::Row(_) => Some(Outcome::Stale),
        }
    }
}

/// Rows of one entity, with their positions in the batch, in the order given.
struct OfEntity {
    key: ItemKey,
    rows: Vec<(usize, CustomRow)>,
}

impl OfEntity {
    /// The rows that are greater than all before them, which is what happens to a store without a row of the entity.
    fn rising(&self) -> usize {
        let mut greatest = None;
        let rises = |(_, row): &&(usize, CustomRow)| {
            let rises = Some(row.order()) > greatest;
            greatest = greatest.max(Some(row.order()));
            rises
        };
        self.rows.iter().filter(rises).count()
    }

    /// The row that wins among these.
    fn winner(&self) -> Option<&CustomRow> {
        self.rows.iter().map(|(_, row)| row).max_by_key(|row| row.order())
    }

    /// What becomes of each row, put one after the other when `stored` is there.
    fn outcomes(&self, stored: Option<&Stored>) -> Vec<(usize, Result<Outcome>)> {
        let mut current: Option<RowOrder> = None;
        let outcome = |(position, row): &(usize, CustomRow)| {
            let order = row.order();
            let refused = stored.and_then(|stored| stored.refuses(order));
            let outcome = match refused {
                // A row of this batch has replaced the one that it is equal to.
                Some(Outcome::Duplicate) if current.is_some() => Outcome::Stale,
                Some(outcome) => outcome,
                None if Some(order) == current => Outcome::Duplicate,
                None if Some(order) < current => Outcome::Stale,
                None => {
                    current = Some(order);
                    Outcome::Applied
                }
            };
            (*position, Ok(outcome))
        };
        self.rows.iter().map(outcome).collect()
    }
}

impl Online {
    /// Puts rows of a custom group; says of each, in the order given, what became of it, as if they were put one after
    /// the other. A failure is that of one entity, and the other rows are put; the same rows again do no harm.
    ///
    /// A row whose put had no answer is `Applied` if it is found stored. If it was stored and replaced by a newer one
    /// before anybody could look, it is `Stale`.
    ///
    /// # Errors
    /// As [`keys::feature`].
    pub async fn put_custom(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        group: &FeatureName,
        rows: Vec<(EntityKey, CustomRow)>,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Result<Outcome>>> {
        let table = feature_table(kind);
        let count = rows.len();
        let mut at: HashMap<EntityKey, usize> = HashMap::with_capacity(count);
        let mut entities: Vec<OfEntity> = Vec::with_capacity(count);
        for (position, (id, row)) in rows.into_iter().enumerate() {
            let known = match at.get(&id) {
                Some(&known) => known,
                None => {
                    let key = keys::feature(namespace, id.as_str(), group)?;
                    entities.push(OfEntity { key, rows: Vec::with_capacity(1) });
                    at.insert(id, entities.len() - 1);
                    entities.len() - 1
                }
            };
            entities[known].rows.push((position, row));
        }
        let mut outcomes: Vec<Option<Result<Outcome>>> = (0..count).map(|_| None).collect();
        let mut put = stream::iter(entities)
            .map(|entity| self.put_entity(table, entity, deadline))
            .buffer_unordered(self.options.concurrency.max(1));
        while let Some(of_entity) = put.next().await {
            for (position, outcome) in of_entity {
                outcomes[position] = Some(outcome);
            }
        }
        // Each position belongs to one entity, and each entity answers for all of its own.
        Ok(outcomes.into_iter().flatten().collect())
    }

    async fn put_entity(
        &self,
        table: TableName,
        entity: OfEntity,
        deadline: Option<Deadline>,
    ) -> Vec<(usize, Result<Outcome>)> {
        match self.settle_entity(table, &entity, deadline).await {
            Ok(stored) => entity.outcomes(stored.as_ref()),
            Err(error) => {
                let cause = Arc::new(error);
                let failed = |(position, _): &(usize, CustomRow)| (*position, Err(same_error(&cause)));
                entity.rows.iter().map(failed).collect()
            }
        }
    }

    /// Puts the greatest row of an entity. What was stored before, if anything is known to have been.
    async fn settle_entity(
        &self,
        table: TableName,
        entity: &OfEntity,
        deadline: Option<Deadline>,
    ) -> Result<Option<Stored>> {
        let Some(winner) = entity.winner() else { return Ok(None) };
        let mut before = None;
        // One row needs no look at what is stored: the answer to its put tells all.
        if entity.rising() > 1 {
            let found = self.get_one(table, &entity.key, deadline).await?;
            before = found.map(|item| Stored::from_item(table, item)).transpose()?;
            if before.as_ref().is_some_and(|stored| stored.refuses(winner.order()).is_some()) {
                return Ok(before);
            }
        }
        match self.put_newer(table, &entity.key, Stored::Row(winner.clone()), deadline).await? {
            None => Ok(before),
            Some(stored) => Ok(Some(stored)),
        }
    }

    /// Stores what is newer than what is stored; what is stored instead, if it is not.
    async fn put_newer(
        &self,
        table: TableName,
        key: &ItemKey,
        row: Stored,
        deadline: Option<Deadline>,
    ) -> Result<Option<Stored>> {
        let item = row.to_item(table, key)?;
        // Whoever stores an equal row stores the same; it is ours only if an answer of ours was lost.
        let is_mine = |stored: &RawItem, in_doubt: bool| in_doubt && *stored == item;
        match self.put_telling(table, &item, &row.newer(), is_mine, deadline).await? {
            PutOutcome::Stored => Ok(None),
            PutOutcome::Refused(Some(stored)) => Stored::from_item(table, stored).map(Some),
            PutOutcome::Refused(None) => {
                let text = "the service refused a row for a newer one and has none, retry later";
                let error = Error::new(ErrorKind::Unavailable, text);
                Err(error.on(place(table, key)))
            }
        }
    }

    /// Takes the content of an erased entity's row away and bars rows of up to `barred_until`, whenever they come.
    /// `false` if a row of later than that is stored, which stays. The same call again changes nothing.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if); `Corrupt` if what is stored cannot be read.
    pub async fn mark_erased(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        group: &FeatureName,
        id: &EntityKey,
        barred_until: Timestamp,
        deadline: Option<Deadline>,
    ) -> Result<bool> {
        let key = keys::feature(namespace, id.as_str(), group)?;
        let erased = Stored::Erased(barred_until);
        let stored = self.put_newer(feature_table(kind), &key, erased, deadline).await?;
        Ok(!matches!(stored, Some(Stored::Row(_))))
    }

    /// The rows of many entities in a custom group, by id; `None` where there are none, or they were erased. Deletions
    /// are rows. A failure is that of one entity, and never none.
    ///
    /// # Errors
    /// As [`keys::feature`].
    pub async fn get_custom(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        group: &FeatureName,
        ids: &[EntityKey],
        deadline: Option<Deadline>,
    ) -> Result<HashMap<EntityKey, Result<Option<CustomRow>>>> {
        let table = feature_table(kind);
        let mut by_key: HashMap<ItemKey, &EntityKey> = HashMap::with_capacity(ids.len());
        for id in ids {
            by_key.insert(keys::feature(namespace, id.as_str(), group)?, id);
        }
        let answers = self.get_many(table, by_key.keys().cloned(), deadline).await;
        let row = |item: RawItem| match Stored::from_item(table, item)? {
            Stored::Row(row) => Ok(Some(row)),
            Stored::Erased(_) => Ok(None),
        };
        let answer = |(key, answer): (ItemKey, Result<Option<RawItem>>)| {
            let id = by_key.get(&key)?;
            Some(((*id).clone(), answer.and_then(|item| item.map_or(Ok(None), row))))
        };
        Ok(answers.into_results().filter_map(answer).collect())
    }
}

/// The error again, for another row of the same entity.
fn same_error(cause: &Arc<Error>) -> Error {
    let error = Error::new(cause.kind(), cause.message());
    let error = match cause.object() {
        Some(object) => error.on(object),
        None => error,
    };
    error.because(cause.clone())
}
