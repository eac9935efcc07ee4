//! The same random script on two processes and on the memory backend, erasures included; damage to what is stored.
//!
//! `RECSTORE_SEED` is where scripts begin, `RECSTORE_GOLD_SCHEDULES` how many there are.

#[path = "../../tests/online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "../../tests/bronze/faulty.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod faulty;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use recstore_core::memory::MemoryStorage;
use recstore_core::{
    Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, FingerprintBuilder, GetOptions, ItemId,
    ManualClock, Measure, Namespace, Neighbour, NeighbourList, NeighbourRequest, Popular, PruneOptions,
    PutOptions, ReleaseId, ReleaseSpec, Result, SimilarityOptions, SimilarityStore, Storage, StoreContext,
    Timestamp,
};

use self::fake::{Fake, Random, Weather, from_env, run};
use self::faulty::FaultyStore;
use super::publish::with_releases;
use super::purge::Purged;
use crate::config::{AwsConfig, RetryConfig};
use crate::lake::gold::erased::ErasedOne;
use crate::lake::head::{Snapshot, State, Tombstone, TombstoneKey};
use crate::lake::keys::LakePrefix;
use crate::lake::store::LakeStore;
use crate::online::tables::TableName;
use crate::retry::RetryPolicy;
use crate::{AwsParts, AwsStorage};

const START: i64 = 1_705_320_000_000;
const KINDS: [EntityKind; 2] = [EntityKind::User, EntityKind::Item];

struct World {
    objects: FaultyStore,
    tables: Fake,
    clock: Arc<ManualClock>,
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis).unwrap()
}

impl World {
    fn new(seed: u64) -> World {
        let clock = Arc::new(ManualClock::new(time(0)));
        World { objects: FaultyStore::new(seed, 0), tables: Fake::new(seed, Weather::default()), clock }
    }

    fn context(&self) -> StoreContext {
        StoreContext { clock: self.clock.clone(), ..StoreContext::default() }
    }

    fn process(&self, claim: u64) -> AwsStorage {
        let policy = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(10), claim);
        let prefix = LakePrefix::new("lake").unwrap();
        let parts = AwsParts {
            lake: LakeStore::new(Arc::new(self.objects.clone()), prefix, Arc::new(policy)),
            online: self.tables.online(claim),
            config: AwsConfig::default(),
            context: self.context(),
            claim: u128::from(claim),
        };
        AwsStorage::new(parts, Namespace::default()).unwrap()
    }
}

fn key(id: &str) -> EntityKey {
    EntityKey::new(id).unwrap()
}

fn spec(kind: EntityKind) -> ReleaseSpec {
    ReleaseSpec { kind, options: SimilarityOptions::default() }
}

fn list(id: &str, neighbours: &[(&str, f64)]) -> NeighbourList {
    let neighbour = |&(id, similarity): &(&str, f64)| Neighbour { id: key(id), similarity, common: 3 };
    NeighbourList { id: key(id), neighbours: neighbours.iter().map(neighbour).collect() }
}

fn popular(ids: &[&str]) -> Vec<Popular> {
    ids.iter().map(|id| Popular { id: key(id), ratings: 7 }).collect()
}

/// An entity as one that goes on with its erasure knows it.
fn erased(store: &AwsStorage, entity: &Entity) -> ErasedOne {
    let key = store.shared.context.erasure_key.clone();
    ErasedOne { kind: entity.kind, hash: TombstoneKey(key.tombstone(entity)), key }
}

/// The part of an erasure that is about similarities; returns what was counted.
async fn erase(store: &AwsStorage, entity: &Entity, dry_run: bool) -> Result<(u64, u64)> {
    let before = store.space.heads.read(None).await?.state;
    let Purged { releases, neighbour_lists, neighbour_entries } =
        store.purge_releases(&before, &erased(store, entity), dry_run, None).await?;
    if dry_run {
        assert_eq!(releases, before.releases);
        return Ok((neighbour_lists, neighbour_entries));
    }
    let now = store.shared.context.clock.now();
    let building = before.releases.releases.values().filter(|release| release.sealed().is_none());
    let erased_at = building.map(|release| release.created_at).fold(now, Timestamp::max);
    let hash = TombstoneKey(store.shared.context.erasure_key.tombstone(entity));
    let commit = async |now: Snapshot| {
        assert_eq!(now.state.releases, before.releases, "nobody else changes anything");
        let mut tombstones = (*now.state.tombstones).clone();
        let old = tombstones.get(&hash).map_or(erased_at, |old| old.erased_at);
        tombstones.insert(hash, Tombstone { erased_at: old.max(erased_at), barred_until: erased_at });
        let mut hidden = (*now.state.hidden).clone();
        if entity.kind == EntityKind::Item {
            hidden.remove(&ItemId::from(entity.key.clone()));
        }
        let state = with_releases(&now.state, (*releases).clone());
        Ok((Some(State { tombstones: tombstones.into(), hidden: hidden.into(), ..state }), ()))
    };
    let (committed, ()) = store.space.heads.change(None, commit).await?;
    store.tell_readers(&committed).await?;
    store.clear_retired(&committed).await?;
    Ok((neighbour_lists, neighbour_entries))
}

/// One step of a script.
#[derive(Debug, Clone)]
enum Step {
    Clock(i64),
    Begin(ReleaseSpec),
    Put(ReleaseId, Vec<NeighbourList>),
    Seal(ReleaseId, Vec<Popular>),
    Promote(ReleaseId),
    RollBack(EntityKind),
    Prune(EntityKind, PruneOptions),
    Hide(Vec<ItemId>),
    Unhide(Vec<ItemId>),
    Erase(Entity, bool),
    Neighbours(NeighbourRequest),
    Popular(EntityKind, usize),
}

const IDS: [&str; 9] = ["a", "b", "c", "d", "e#0", "é", "10", "9", "A"];

struct Script {
    random: Random,
    known: Vec<ReleaseId>,
}

impl Script {
    fn id(&mut self) -> EntityKey {
        key(IDS[self.random.below(IDS.len())])
    }

    fn kind(&mut self) -> EntityKind {
        KINDS[usize::from(self.random.chance(75))]
    }

    fn release(&mut self) -> ReleaseId {
        if self.known.is_empty() || self.random.chance(4) {
            return ReleaseId::from_text("item-unknown");
        }
        // The newest ones most of the time.
        let back = self.random.below(self.known.len()).min(self.random.below(6));
        self.known[self.known.len() - 1 - back].clone()
    }

    fn list(&mut self) -> NeighbourList {
        let mut ids: Vec<EntityKey> = IDS.map(key).to_vec();
        ids.retain(|_| self.random.chance(45));
        let id = self.id();
        // Now and then a list that is refused.
        ids.retain(|other| *other != id || self.random.chance(3));
        let similarity = |random: &mut Random| [0.25, 0.5, 1.0 / 3.0, 1e-300, 7.5][random.below(5)];
        let neighbour = |id| Neighbour {
            id,
            similarity: similarity(&mut self.random),
            common: self.random.bits() as u32,
        };
        let mut neighbours: Vec<Neighbour> = ids.into_iter().map(neighbour).collect();
        let turn = self.random.below(neighbours.len() + 1);
        neighbours.rotate_left(turn);
        NeighbourList { id, neighbours }
    }

    fn popular(&mut self) -> Vec<Popular> {
        let mut ids = IDS.to_vec();
        ids.retain(|_| self.random.chance(50));
        popular(&ids)
    }

    fn items(&mut self) -> Vec<ItemId> {
        (0..self.random.below(3)).map(|_| ItemId::from(self.id())).collect()
    }

    fn step(&mut self) -> Step {
        match self.random.below(100) {
            0..6 => Step::Clock(self.random.below(20_000) as i64),
            6..16 => {
                let options = SimilarityOptions {
                    measure: Measure::ALL[self.random.below(4)],
                    k: self.random.below(60),
                    min_common: 2,
                    shrinkage: self.random.below(1000) as f64 / 7.0,
                };
                Step::Begin(ReleaseSpec { kind: self.kind(), options })
            }
            16..32 => {
                let lists = (0..self.random.below(5)).map(|_| self.list()).collect();
                Step::Put(self.release(), lists)
            }
            32..44 => Step::Seal(self.release(), self.popular()),
            44..54 => Step::Promote(self.release()),
            54..59 => Step::RollBack(self.kind()),
            59..63 => {
                let abandoned_after = Duration::from_millis(self.random.below(15_000) as u64);
                Step::Prune(self.kind(), PruneOptions { keep: self.random.below(4), abandoned_after })
            }
            63..66 => Step::Hide(self.items()),
            66..69 => Step::Unhide(self.items()),
            69..75 => Step::Erase(Entity::new(self.kind(), self.id()), self.random.chance(30)),
            75..95 => {
                let ids = (0..self.random.below(8)).map(|_| self.id()).collect();
                let release = self.random.chance(40).then(|| self.release());
                let limit = self.random.chance(30).then(|| self.random.below(4));
                Step::Neighbours(NeighbourRequest {
                    limit,
                    release,
                    ..NeighbourRequest::new(self.kind(), ids)
                })
            }
            _ => Step::Popular(self.kind(), self.random.below(10)),
        }
    }
}

/// What a call says: its answer, or what kind of error about which field.
fn told<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{} {:?}", error.kind().as_str(), error.field()),
    }
}

async fn calls<S: SimilarityStore>(store: &S, step: &Step) -> String {
    match step.clone() {
        Step::Clock(_) | Step::Erase(..) => String::new(),
        Step::Begin(spec) => told(store.begin_release(spec).await),
        Step::Put(release, lists) => told(store.put_neighbours(&release, lists, PutOptions::default()).await),
        Step::Seal(release, popular) => told(store.seal_release(&release, popular).await),
        Step::Promote(release) => told(store.promote_release(&release).await),
        Step::RollBack(kind) => told(store.rollback_release(kind).await),
        Step::Prune(kind, options) => told(store.prune_releases(kind, options).await),
        Step::Hide(items) => told(store.hide_items(items).await),
        Step::Unhide(items) => told(store.unhide_items(items).await),
        Step::Neighbours(request) => told(store.get_neighbours(request).await),
        Step::Popular(kind, limit) => told(store.get_popular(kind, limit, GetOptions::default()).await),
    }
}

/// Everything that can be read.
async fn everything<S: SimilarityStore>(store: &S) -> String {
    let mut all = told(store.hidden_items().await);
    for kind in KINDS {
        let releases = store.releases(kind).await.unwrap();
        let names = releases.iter().map(|info| Some(info.id.clone())).chain([None]);
        for release in names {
            let request = NeighbourRequest { release, ..NeighbourRequest::new(kind, IDS.map(key).to_vec()) };
            all += &told(store.get_neighbours(request).await);
        }
        all += &format!("{releases:?}");
        all += &told(store.get_popular(kind, usize::MAX, GetOptions::default()).await);
    }
    all
}

async fn script(seed: u64, number: u64) -> [u64; 2] {
    let mut random = Random::of_case(seed, number);
    let world = World::new(random.bits());
    let oracle = MemoryStorage::new(Namespace::default(), world.context());
    let processes = [world.process(1), world.process(2)];
    let mut script = Script { random: Random::new(random.bits()), known: Vec::new() };
    let mut counts = [0; 2];
    for at in 0..40 {
        let step = script.step();
        let store = &processes[random.below(2)];
        let (ours, expected) = match &step {
            Step::Clock(millis) => {
                world.clock.set(time(*millis));
                continue;
            }
            Step::Erase(entity, dry_run) => {
                let options = EraseOptions { dry_run: *dry_run, ..EraseOptions::default() };
                let report = oracle.erase(entity, options).await.unwrap();
                let expected = Ok((report.neighbour_lists, report.neighbour_entries));
                counts[0] += report.neighbour_lists + report.neighbour_entries;
                (told(erase(store, entity, *dry_run).await), told(expected))
            }
            step => (calls(store, step).await, calls(&oracle, step).await),
        };
        assert_eq!(ours, expected, "script {number}, step {at}: {step:?}");
        counts[1] += u64::from(!expected.starts_with(char::is_lowercase));
        if let Step::Begin(_) = step {
            let text = expected.strip_prefix("ReleaseId(\"").and_then(|text| text.strip_suffix("\")"));
            script.known.extend(text.map(ReleaseId::from_text));
        }
        if at % 8 == 7 {
            let reader = &processes[random.below(2)];
            assert_eq!(
                everything(reader).await,
                everything(&oracle).await,
                "script {number}, after step {at}: {step:?}"
            );
        }
    }
    let mut prints = FingerprintBuilder::new();
    let state = processes[0].space.heads.read(None).await.unwrap().state;
    for kind in KINDS {
        for list in processes[0].current_lists(&state, kind, None).await.unwrap().into_iter().flatten() {
            let list = list.unwrap();
            prints.neighbours(kind, &list.id, &list.neighbours);
        }
    }
    state.hidden.iter().for_each(|item| prints.hidden(item));
    let expected = oracle.fingerprint(GetOptions::default()).await.unwrap();
    assert_eq!(prints.finish().similarities, expected.similarities, "script {number}");
    counts
}

#[test]
fn two_processes_answer_every_script_as_the_memory_backend_does() {
    let (seed, scripts) = (from_env("RECSTORE_SEED", 1), from_env("RECSTORE_GOLD_SCHEDULES", 600));
    println!("RECSTORE_SEED={seed} RECSTORE_GOLD_SCHEDULES={scripts}");
    let mut counts = [0; 2];
    for number in 0..scripts {
        for (total, count) in counts.iter_mut().zip(run(script(seed, number))) {
            *total += count;
        }
    }
    println!("{} lists and entries erased, {} calls done", counts[0], counts[1]);
    assert!(scripts < 100 || (counts[0] > 100 && counts[1] > 1_000), "{counts:?}");
}

async fn promoted(store: &AwsStorage) -> ReleaseId {
    let release = store.begin_release(spec(EntityKind::Item)).await.unwrap();
    let lists = vec![list("a", &[("b", 0.5), ("c", 0.25)]), list("b", &[("a", 0.5)]), list("c", &[])];
    store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    store.seal_release(&release, popular(&["a", "b", "c"])).await.unwrap();
    store.promote_release(&release).await.unwrap();
    release
}

#[test]
fn every_byte_of_lists_and_of_a_popularity_list_counts() {
    run(async {
        let world = World::new(1);
        let store = world.process(1);
        promoted(&store).await;
        let state = store.space.heads.read(None).await.unwrap().state;
        let gone = Entity::new(EntityKind::Item, key("b"));
        for what in ["/lists-r0-", "/popular-r0-"] {
            let keys = world.objects.keys();
            let name = keys.iter().find(|name| name.contains(what)).unwrap();
            let (body, attributes) = world.objects.get(name);
            println!("{what}: {} bytes", body.len());
            for at in 0..body.len() {
                let mut damaged = body.to_vec();
                damaged[at] ^= 1 << (at % 8);
                world.objects.insert(name, damaged.into(), attributes.clone());
                let mut errors = vec![
                    store.purge_releases(&state, &erased(&store, &gone), false, None).await.unwrap_err(),
                ];
                if what.starts_with("/lists") {
                    errors.push(store.current_lists(&state, EntityKind::Item, None).await.unwrap_err());
                } else {
                    let fresh = world.process(2);
                    let read = fresh.get_popular(EntityKind::Item, 1, GetOptions::default()).await;
                    errors.push(read.unwrap_err());
                }
                for error in errors {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
                    assert!(name.ends_with(error.object().unwrap()), "byte {at}: {error}");
                }
            }
            world.objects.insert(name, body, attributes);
        }
    });
}

#[test]
fn an_erased_entity_is_not_read_before_the_release_is_rid_of_it_and_is_in_no_table_afterwards() {
    run(async {
        let world = World::new(2);
        let store = world.process(1);
        let release = promoted(&store).await;
        let entity = Entity::new(EntityKind::Item, key("b"));
        let read = async || {
            let ids = ["a", "b", "c"].map(key).to_vec();
            let lists =
                store.get_neighbours(NeighbourRequest::new(EntityKind::Item, ids)).await.unwrap().lists;
            let ids = lists.into_iter().map(|list| list.into_result().unwrap());
            ids.map(|list| list.map(|list| list.into_iter().map(|n| n.id.to_string()).collect())).collect()
        };
        let before: Vec<Option<Vec<String>>> = read().await;
        assert_eq!(before[0].as_ref().unwrap().len(), 2);
        // A tombstone alone, as if the release were committed by one who did not know of it.
        let hash = TombstoneKey(store.shared.context.erasure_key.tombstone(&entity));
        let bury = async |now: Snapshot| {
            let mut tombstones = (*now.state.tombstones).clone();
            tombstones.insert(hash, Tombstone { erased_at: time(0), barred_until: time(0) });
            Ok((Some(State { tombstones: tombstones.into(), ..now.state.clone() }), ()))
        };
        let (committed, ()) = store.space.heads.change(None, bury).await.unwrap();
        store.tell_readers(&committed).await.unwrap();
        let after: Vec<Option<Vec<String>>> = read().await;
        assert_eq!(after, [Some(vec!["c".to_owned()]), None, Some(Vec::new())]);
        let ranks = store.get_popular(EntityKind::Item, 9, GetOptions::default()).await.unwrap();
        assert_eq!(ranks, popular(&["a", "c"]));
        assert_eq!(erase(&store, &entity, false).await.unwrap(), (1, 1));
        assert_eq!(read().await, after);
        let items = world.tables.items(TableName::Neighbours);
        assert_eq!(items.len(), 2, "the old revision is gone from the tables");
        assert!(!format!("{items:?}").contains("#b\""));
        let info = &store.releases(EntityKind::Item).await.unwrap()[0];
        assert_eq!((&info.id, info.lists, info.neighbours), (&release, 2, 1));
    });
}

#[test]
fn an_erasure_that_ends_in_a_crash_at_any_step_is_finished_by_the_next() {
    let (mut ended, mut patience) = (false, 0);
    while !ended {
        ended = run(async {
            let world = World::new(3);
            world.objects.set_latency(Duration::from_millis(1));
            world.tables.set_weather(Weather { latency: 3, ..Weather::default() });
            let (store, other) = (world.process(1), world.process(2));
            promoted(&store).await;
            let entity = Entity::new(EntityKind::Item, key("b"));
            let work = erase(&store, &entity, false);
            let ended = tokio::time::timeout(Duration::from_millis(patience), work).await.is_ok();
            // A whole list with or without it, and never none.
            let ids = ["a"].map(key).to_vec();
            let answer = other.get_neighbours(NeighbourRequest::new(EntityKind::Item, ids)).await.unwrap();
            let found = answer.lists[0].found().map(Vec::len);
            assert!(matches!(found, Some(1 | 2)), "after {patience} ms: {found:?}");
            erase(&other, &entity, false).await.unwrap();
            let items = world.tables.items(TableName::Neighbours);
            assert_eq!(items.len(), 2, "after {patience} ms");
            let state = other.space.heads.read(None).await.unwrap().state;
            assert!(state.releases.retired.is_empty(), "after {patience} ms");
            ended
        });
        patience += 1;
    }
    println!("{patience} moments");
    assert!(patience > 10);
}
