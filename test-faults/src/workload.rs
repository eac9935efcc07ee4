//! Calls of a store, one atomic step each, with the content that each must leave behind.

use std::sync::Arc;

use recstore_core::{
    ColumnType, Entity, EntityKey, EntityKind, EraseOptions, FeatureName, FeatureRow, FeatureValue,
    Fingerprints, GetOptions, GroupSchema, ItemId, ManualClock, MemoryStorage, Namespace, Neighbour,
    NeighbourList, Popular, PutOptions, Rating, ReleaseSpec, Result, SimilarityOptions, Storage,
    StoreContext, Timestamp, UserId,
};
use tempfile::TempDir;

use crate::Random;

/// 2024-01-01T00:00:00Z, where the clock of these tests stands.
const NOW: i64 = 1_704_067_200;
const USERS: usize = 12;
const ITEMS: usize = 15;

/// One call, or several that change the content at the last of them only.
#[derive(Debug, Clone)]
pub enum Step {
    /// Puts a batch of events.
    Ratings(Vec<Rating>),
    /// Declares a custom group.
    Group(GroupSchema),
    /// Puts rows of the custom group.
    Features(Vec<FeatureRow>),
    /// Builds and promotes a release of these lists.
    Release(Vec<NeighbourList>),
    /// Hides an item, or shows it again.
    Hidden(ItemId, bool),
    /// Erases a user or an item.
    Erase(Entity),
    /// Computes the features anew, which changes nothing.
    Rebuild,
}

/// Steps, and the content after each by the oracle.
#[derive(Debug)]
pub struct Workload {
    /// The steps in order.
    pub steps: Vec<Step>,
    /// What the store must hold after so many steps; the first is the content of an empty store.
    pub states: Vec<Fingerprints>,
}

/// The context of these tests: a clock that stands.
///
/// # Panics
/// Never: the time is valid.
pub fn context() -> StoreContext {
    let clock = ManualClock::new(Timestamp::from_seconds(NOW).expect("a valid time"));
    StoreContext { clock: Arc::new(clock), ..StoreContext::default() }
}

/// A folder that goes away, in memory where the system has such.
///
/// # Panics
/// If it cannot be made.
pub fn memory_folder() -> TempDir {
    let shared = std::path::Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.expect("a folder")
}

impl Workload {
    /// This many random steps: batches with replaced and withdrawn ratings, custom features, releases, hidden
    /// items, erasures.
    ///
    /// # Errors
    /// Those of the oracle.
    pub async fn random(random: &mut Random, steps: usize) -> Result<Workload> {
        let mut all = vec![Step::Group(group())];
        all.extend((1..steps).map(|_| step(random)));
        Workload::of(all).await
    }

    /// The same with features computed anew after about one step in so many.
    #[must_use]
    pub fn with_rebuilds(self, random: &mut Random, one_in: usize) -> Workload {
        let mut all = Workload { steps: Vec::new(), states: self.states[..1].to_vec() };
        for (step, state) in self.steps.into_iter().zip(&self.states[1..]) {
            all.steps.push(step);
            all.states.push(*state);
            if random.one_in(one_in) {
                all.steps.push(Step::Rebuild);
                all.states.push(*state);
            }
        }
        all
    }

    /// These steps.
    ///
    /// # Errors
    /// Those of the oracle.
    pub async fn of(steps: Vec<Step>) -> Result<Workload> {
        let oracle = MemoryStorage::new(Namespace::default(), context());
        let mut states = vec![oracle.fingerprint(GetOptions::default()).await?];
        for step in &steps {
            step.apply(&oracle).await?;
            states.push(oracle.fingerprint(GetOptions::default()).await?);
        }
        Ok(Workload { steps, states })
    }
}

impl Step {
    /// What it is, for counts.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Ratings(_) => "ratings",
            Step::Group(_) => "group",
            Step::Features(_) => "features",
            Step::Release(_) => "release",
            Step::Hidden(..) => "hidden",
            Step::Erase(_) => "erase",
            Step::Rebuild => "rebuild",
        }
    }

    /// Does it; repeatable.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn apply(&self, store: &dyn Storage) -> Result<()> {
        match self {
            Step::Ratings(events) => {
                store.put_ratings(events.clone(), PutOptions::default()).await?;
            }
            Step::Group(schema) => {
                store.register_group(schema.clone()).await?;
            }
            Step::Features(rows) => {
                store.put_features(&group().name, rows.clone(), PutOptions::default()).await?;
            }
            Step::Release(lists) => {
                let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
                let release = store.begin_release(spec).await?;
                store.put_neighbours(&release, lists.clone(), PutOptions::default()).await?;
                let popular = lists.iter().map(|list| Popular { id: list.id.clone(), ratings: 1 }).collect();
                store.seal_release(&release, popular).await?;
                store.promote_release(&release).await?;
            }
            Step::Hidden(item, true) => store.hide_items(vec![item.clone()]).await?,
            Step::Hidden(item, false) => store.unhide_items(vec![item.clone()]).await?,
            Step::Rebuild => {
                store.rebuild_features().await?;
            }
            Step::Erase(entity) => {
                store.erase(entity, EraseOptions::default()).await?;
            }
        }
        Ok(())
    }
}

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).expect("a valid name")
}

fn group() -> GroupSchema {
    GroupSchema::new(name("profile"), EntityKind::User)
        .with_column(name("plan"), ColumnType::Text)
        .with_column(name("taste"), ColumnType::Vector(16))
}

fn time(random: &mut Random) -> Timestamp {
    // Within 11 days, and seldom twice the same.
    Timestamp::from_millis((NOW - 2_000_000) * 1000 + random.below(1_000_000_000) as i64)
        .expect("a valid time")
}

fn user(random: &mut Random) -> UserId {
    UserId::new(format!("user-{}", random.below(USERS))).expect("a valid id")
}

fn item(random: &mut Random) -> ItemId {
    ItemId::new(format!("item-{}", random.below(ITEMS))).expect("a valid id")
}

fn step(random: &mut Random) -> Step {
    match random.below(40) {
        0..=26 => Step::Ratings((0..=random.below(12)).map(|_| event(random)).collect()),
        27..=33 => Step::Features((0..=random.below(4)).map(|_| row(random)).collect()),
        34..=35 => Step::Release((0..ITEMS).map(|number| list(number, random)).collect()),
        36..=37 => Step::Hidden(item(random), random.one_in(2)),
        38 => Step::Erase(Entity { kind: EntityKind::User, key: user(random).into() }),
        _ => Step::Erase(Entity { kind: EntityKind::Item, key: item(random).into() }),
    }
}

fn event(random: &mut Random) -> Rating {
    let (user, item, time) = (user(random), item(random), time(random));
    if random.one_in(6) {
        return Rating::withdrawal(user, item, time);
    }
    let stars = (1 + random.below(10)) as f64 / 2.0;
    Rating::new(user, item, stars, time).expect("a valid value")
}

fn row(random: &mut Random) -> FeatureRow {
    let (key, time): (EntityKey, _) = (user(random).into(), time(random));
    if random.one_in(8) {
        return FeatureRow::deleted(key, time);
    }
    let taste = (0..16).map(|_| random.below(1000) as f32).collect();
    FeatureRow::new(key, time)
        .with(name("plan"), FeatureValue::Text("x".repeat(random.below(3000))))
        .with(name("taste"), FeatureValue::Vector(taste))
}

fn list(number: usize, random: &mut Random) -> NeighbourList {
    let key = |number: usize| EntityKey::new(format!("item-{number}")).expect("a valid id");
    let mut neighbours = Vec::new();
    for step in 1..ITEMS {
        if random.one_in(3) {
            let similarity = (1 + random.below(1000)) as f64 / 1000.0;
            neighbours.push(Neighbour { id: key((number + step) % ITEMS), similarity, common: 1 });
        }
    }
    NeighbourList { id: key(number), neighbours }
}
