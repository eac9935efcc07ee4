//! A small lake of several generations, and what the library says of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use recstore_aws::AwsStorage;
use recstore_aws::lake::bronze::object::ClaimId;
use recstore_aws::lake::commit::CommitDocument;
use recstore_aws::lake::head::Heads;
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::retry::RetryPolicy;
use recstore_core::{
    ColumnType, EntityKey, EntityKind, FeatureName, FeatureRequest, FeatureRow, FeatureStore, FeatureValue,
    GroupSchema, Namespace, Neighbour, NeighbourList, NeighbourRequest, Popular, PutOptions, Rating,
    RatingRow, RatingStore, ReleaseSpec, SimilarityOptions, SimilarityStore, Storage, Timestamp,
};
use recstore_testkit::hostile::HostileTexts;
use serde_json::{Map, Value, json};

use crate::support::{NOON, World, rows};

const GROUP: &str = "profile";

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

fn key(id: &str) -> EntityKey {
    EntityKey::new(id).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOON - 1_000_000 + millis).unwrap()
}

fn micros(time: Timestamp) -> i64 {
    time.as_millis() * 1000
}

/// Ids that other tools may stumble over.
fn ids() -> Vec<String> {
    let mut texts = HostileTexts::new(4);
    let plain =
        ["1", "01", "1.0", "1e3", "null", "None", "NaN", "true", "a,b\"c\\d", "2024-01-15", "é", "🎬"];
    let mut ids: Vec<String> = plain.map(str::to_owned).to_vec();
    ids.extend((0..8).map(|_| texts.id()));
    ids.sort();
    ids.dedup();
    ids
}

fn columns(group: GroupSchema) -> GroupSchema {
    // A name that the partition has: the table calls it `_bucket`.
    group
        .with_column(name("bucket"), ColumnType::Integer)
        .with_column(name("score"), ColumnType::Float)
        .with_column(name("member"), ColumnType::Bool)
        .with_column(name("city"), ColumnType::Text)
        .with_column(name("seen"), ColumnType::Timestamp)
        .with_column(name("taste"), ColumnType::Vector(3))
        .with_column(name("tags"), ColumnType::TextList)
}

fn first_schema() -> GroupSchema {
    columns(GroupSchema::new(name(GROUP), EntityKind::User))
}

/// With a column more.
fn second_schema() -> GroupSchema {
    first_schema().with_column(name("level"), ColumnType::Integer)
}

fn full_row(number: usize, id: &str) -> FeatureRow {
    let float = [0.1 + 0.2, -0.0, 5e-324, f64::MAX][number % 4];
    let row = FeatureRow::new(key(id), at(number as i64))
        .with(name("bucket"), FeatureValue::Integer([i64::MAX, i64::MIN, 7][number % 3]))
        .with(name("score"), FeatureValue::Float(float))
        .with(name("member"), FeatureValue::Bool(number.is_multiple_of(2)))
        .with(name("taste"), FeatureValue::Vector(vec![0.1, -1.5, number as f32 / 3.0]));
    if number.is_multiple_of(3) {
        return row;
    }
    let tags = (0..number % 3).map(|tag| format!("{id}\u{7f}{tag}").replace('\u{7f}', "/")).collect();
    row.with(name("city"), FeatureValue::Text(format!("{id}'s \"city\"")))
        .with(name("seen"), FeatureValue::Timestamp(at(number as i64 * 1001)))
        .with(name("tags"), FeatureValue::TextList(tags))
}

/// What was put, and what is expected of each version of each table.
struct Script {
    store: AwsStorage,
    heads: Heads,
    silver: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    events: Vec<Value>,
    lines: Vec<Value>,
    /// The newest row that was put of each entity: its time, and whether it is a deletion.
    newest: BTreeMap<String, (Timestamp, bool)>,
}

fn rating(row: &RatingRow) -> Value {
    let (rating, value) = (&row.rating, row.rating.value());
    json!({
        "user": rating.user().as_str(),
        "item": rating.item().as_str(),
        "value": value.map(|value| value.as_f64()),
        "value_micros": value.map(|value| value.micros()),
        "rated_at": micros(rating.rated_at()),
        "first_rated_at": micros(row.first_rated_at),
        "event_id": rating.event_id().to_string(),
    })
}

fn value(value: Option<FeatureValue>) -> Value {
    match value {
        None => Value::Null,
        Some(FeatureValue::Integer(value)) => json!(value),
        Some(FeatureValue::Float(value)) => json!(value),
        Some(FeatureValue::Bool(value)) => json!(value),
        Some(FeatureValue::Text(value)) => json!(value),
        Some(FeatureValue::Timestamp(value)) => json!(micros(value)),
        Some(FeatureValue::Vector(values)) => json!(values.into_iter().map(f64::from).collect::<Vec<_>>()),
        Some(FeatureValue::TextList(values)) => json!(values),
    }
}

impl Script {
    async fn rate(&mut self, ratings: Vec<Rating>) {
        self.events.extend(ratings.iter().map(|rating| {
            json!({
                "user": rating.user().as_str(),
                "item": rating.item().as_str(),
                "value": rating.value().map(|value| value.as_f64()),
                "event_id": rating.event_id().to_string(),
            })
        }));
        self.store.put_ratings(ratings, PutOptions::default()).await.unwrap();
    }

    async fn put_rows(&mut self, rows: Vec<FeatureRow>) {
        for row in &rows {
            let deleted = row.content == recstore_core::RowContent::Deleted;
            self.lines.push(json!({ "group": GROUP, "id": row.id.as_str() }));
            let newest = self.newest.entry(row.id.to_string()).or_insert((row.event_time, deleted));
            if newest.0 < row.event_time {
                *newest = (row.event_time, deleted);
            }
        }
        self.store.put_features(&name(GROUP), rows, PutOptions::default()).await.unwrap();
    }

    /// A row for each id: what the library gives, null where it gives nothing.
    async fn features(&self, group: FeatureName, ids: &[&str]) -> Vec<Map<String, Value>> {
        let request = FeatureRequest::new(group, ids.iter().map(|id| key(id)).collect());
        let batch = self.store.get_features(request).await.unwrap();
        let row = |at: usize| {
            let mut row = Map::from_iter([("id".to_owned(), json!(ids[at]))]);
            for column in &batch.columns {
                let of_table = match column.name.as_str() {
                    "bucket" => "_bucket".to_owned(),
                    other => other.to_owned(),
                };
                row.insert(of_table, value(column.value(at)));
            }
            row
        };
        (0..ids.len()).map(row).collect()
    }

    fn expect(&mut self, table: &str, versions: u64, rows: Vec<Value>) {
        let version = (versions - 1).to_string();
        self.silver.entry(table.to_owned()).or_default().insert(version, rows);
    }

    /// Makes a generation, and remembers what the library says then.
    async fn run(&mut self) {
        let before = self.commit().await;
        // Readers know of it at once, too.
        self.store.refresh().await.unwrap();
        let commit = self.commit().await;
        let ratings = rows(&self.store).await;
        let values: Vec<Value> = ratings.iter().map(rating).collect();
        self.expect("ratings", commit.ratings.versions, values.clone());
        self.expect("ratings_by_item", commit.ratings_by_item.versions, values);
        for (kind, group) in
            [(EntityKind::User, FeatureName::USER_RATINGS), (EntityKind::Item, FeatureName::ITEM_RATINGS)]
        {
            let of = |row: &RatingRow| match kind {
                EntityKind::User => row.rating.user().to_string(),
                EntityKind::Item => row.rating.item().to_string(),
            };
            let mut ids: Vec<String> = ratings.iter().map(of).collect();
            ids.sort();
            ids.dedup();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let rows = self.features(group, &ids).await.into_iter().map(Value::Object).collect();
            self.expect(&format!("{kind}_features"), commit.feature_table(kind).versions, rows);
        }
        let versions = |commit: &CommitDocument| commit.custom.get(&name(GROUP)).map(|table| table.versions);
        let Some(now) = versions(&commit).filter(|_| versions(&commit) != versions(&before)) else { return };
        let newest = self.newest.clone();
        let ids: Vec<&str> = newest.keys().map(String::as_str).collect();
        let mut rows = self.features(name(GROUP), &ids).await;
        for (row, (time, deleted)) in rows.iter_mut().zip(newest.values()) {
            row.insert("event_time".to_owned(), json!(micros(*time)));
            row.insert("deleted".to_owned(), json!(deleted));
        }
        self.expect(&format!("features_{GROUP}"), now, rows.into_iter().map(Value::Object).collect());
    }

    async fn commit(&self) -> Arc<CommitDocument> {
        self.heads.read(None).await.unwrap().state.commit
    }

    /// A promoted release; its rows as the table has them.
    async fn release(&self, ids: &[String]) -> Vec<Value> {
        let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
        let release = self.store.begin_release(spec).await.unwrap();
        let neighbours = |of: usize| {
            let others = ids.iter().enumerate().filter(move |(other, _)| *other != of).take(of % 5);
            others.map(move |(other, id)| Neighbour {
                id: key(id),
                similarity: 1.0 / (other + 3) as f64,
                common: other as u32 + 1,
            })
        };
        let list = |of: usize| NeighbourList { id: key(&ids[of]), neighbours: neighbours(of).collect() };
        let lists: Vec<NeighbourList> = (0..ids.len()).map(list).collect();
        let (first, second) = lists.split_at(5);
        for part in [first, second] {
            self.store.put_neighbours(&release, part.to_vec(), PutOptions::default()).await.unwrap();
        }
        let popular = vec![Popular { id: key(&ids[0]), ratings: 1 }];
        self.store.seal_release(&release, popular).await.unwrap();
        self.store.promote_release(&release).await.unwrap();
        let asked: Vec<EntityKey> = ids.iter().map(|id| key(id)).collect();
        let answer = self.store.get_neighbours(NeighbourRequest::new(EntityKind::Item, asked)).await.unwrap();
        let mut rows = Vec::new();
        for (id, list) in ids.iter().zip(answer.lists) {
            let list = list.into_result().unwrap().unwrap();
            let row = |rank: usize, neighbour: Option<&Neighbour>| {
                json!({
                    "id": id,
                    "rank": rank,
                    "neighbour": neighbour.map(|neighbour| neighbour.id.as_str()),
                    "similarity": neighbour.map(|neighbour| neighbour.similarity),
                    "common": neighbour.map(|neighbour| neighbour.common),
                })
            };
            if list.is_empty() {
                rows.push(row(0, None));
            }
            rows.extend(list.iter().enumerate().map(|(at, neighbour)| row(at + 1, Some(neighbour))));
        }
        rows
    }
}

/// Makes the lake in `lake/` of the store; says what is in it.
pub(crate) async fn build(objects: Arc<dyn ObjectStore>) -> Value {
    let world = World::new(objects.clone());
    let store = world.process(1);
    let policy = RetryPolicy::new(Default::default(), std::time::Duration::from_secs(10), 1);
    let lake = LakeStore::new(objects, LakePrefix::new("lake").unwrap(), Arc::new(policy));
    let heads = Heads::new(lake, Namespace::default(), ClaimId::from_random(7));
    let mut script = Script {
        store,
        heads,
        silver: BTreeMap::new(),
        events: Vec::new(),
        lines: Vec::new(),
        newest: BTreeMap::new(),
    };
    let ids = ids();
    let rate = |user: usize, item: usize, millis: i64| {
        let (user, item) = (ids[user % ids.len()].parse().unwrap(), ids[item % ids.len()].parse().unwrap());
        Rating::new(user, item, (millis % 11) as f64 / 3.0, at(millis)).unwrap()
    };
    let withdraw = |user: usize, item: usize, millis: i64| {
        let rating = rate(user, item, millis);
        Rating::from_parts(rating.user().clone(), rating.item().clone(), None, at(millis), None)
    };
    script.store.register_group(first_schema()).await.unwrap();
    script.rate((0..60).map(|n| rate(n * 7, n * 3, n as i64 * 17)).collect()).await;
    script.put_rows(ids.iter().take(12).enumerate().map(|(n, id)| full_row(n, id)).collect()).await;
    script.run().await;
    // Some again, some withdrawn, one user of nothing but a withdrawal.
    let mut later: Vec<Rating> = (0..9).map(|n| rate(n * 7, n * 3, 5_000 + n as i64)).collect();
    later.extend((9..14).map(|n| withdraw(n * 7, n * 3, 6_000 + n as i64)));
    script.rate(later).await;
    script.run().await;
    script.store.register_group(second_schema()).await.unwrap();
    let mut rows = vec![FeatureRow::deleted(key(&ids[2]), at(9_000))];
    let levelled = full_row(4, &ids[3]).with(name("level"), FeatureValue::Integer(3));
    rows.push(FeatureRow { event_time: at(9_001), ..levelled });
    script.put_rows(rows).await;
    script.rate(vec![rate(3, 5, 9_500)]).await;
    script.run().await;
    let gold = script.release(&ids).await;
    // Read with checkpoints, where others must do without; what they say is the same.
    let compacted = script.store.pipeline().compact().await.unwrap();
    assert!(!compacted.checkpoints.is_empty());
    let generation = script.heads.read(None).await.unwrap().state.generation;
    json!({
        "generation": generation,
        "silver": script.silver,
        "gold": gold,
        "bronze": { "ratings": script.events, "features": script.lines },
    })
}
