//! A vacuum among everything else that happens: nothing that is needed is gone, and what is not needed goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use recstore_aws::AwsStorage;
use recstore_aws::config::{RetentionConfig, RetryConfig, SilverRetention};
use recstore_aws::lake::bronze::object::ClaimId;
use recstore_aws::lake::commit::CommitDocument;
use recstore_aws::lake::head::{Heads, State};
use recstore_aws::lake::keys::LakePrefix;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::pipeline::{Layer, Reason, RunOptions, VacuumOptions, VacuumReport};
use recstore_aws::retry::RetryPolicy;
use recstore_core::{
    Clock, Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, GetOptions, HistoryOptions, ManualClock,
    MemoryStorage, Namespace, Neighbour, NeighbourList, PruneOptions, PutOptions, RatingStore, ReleaseSpec,
    SimilarityOptions, SimilarityStore, Storage, Timestamp,
};

use crate::fake::{Random, run, schedules};
use crate::gate::Gate;
use crate::support::{World, event, rows};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock long after everything that the store in memory says of its objects' age: nothing is spared for being young.
fn late_world(retention: RetentionConfig) -> World {
    let world = World { retention, max_entity_drop: 1.0, ..World::new(Arc::new(InMemory::new())) };
    world.clock.set(Timestamp::parse("2090-01-01T00:00:00Z").unwrap());
    world
}

fn pass(clock: &ManualClock, time: Duration) {
    clock.set(clock.now().saturating_add(time));
}

fn retention(generations: u64, age: Duration) -> RetentionConfig {
    let silver = SilverRetention { generations, age };
    RetentionConfig { silver, ..RetentionConfig::default() }
}

async fn names(world: &World) -> BTreeSet<String> {
    let objects: Vec<_> = world.objects.list(None).try_collect().await.unwrap();
    objects.into_iter().map(|object| object.location.to_string()).collect()
}

fn heads(world: &World) -> Heads {
    let policy = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(10), 9);
    let lake = LakeStore::new(world.objects.clone(), LakePrefix::new("lake").unwrap(), Arc::new(policy));
    Heads::new(lake, Namespace::default(), ClaimId::from_random(9))
}

async fn state(world: &World) -> State {
    heads(world).read(None).await.unwrap().state
}

/// Every file of a generation is what was stored.
async fn is_whole(world: &World, commit: &CommitDocument) {
    let tables = [&commit.ratings, &commit.ratings_by_item, &commit.user_features, &commit.item_features];
    for file in tables.into_iter().chain(commit.custom.values()).flat_map(|table| table.buckets.values()) {
        let path = Path::from(format!("lake/{}", file.object.name));
        let body = world.objects.get(&path).await.unwrap().bytes().await.unwrap();
        file.object.check(&body).unwrap();
    }
}

async fn vacuum(store: &AwsStorage, dry_run: bool) -> VacuumReport {
    let report = store.pipeline().vacuum(VacuumOptions { dry_run }).await.unwrap();
    let deleted = if dry_run { 0 } else { report.objects() };
    assert_eq!(report.cost.objects.deletes, deleted, "{report:?}");
    report
}

fn found(report: &VacuumReport) -> BTreeSet<String> {
    report.found.iter().flat_map(|found| &found.names).map(|name| format!("lake/{name}")).collect()
}

/// Both stores, and the generations that were committed.
struct Pair {
    world: World,
    oracle: MemoryStorage,
    store: AwsStorage,
    commits: BTreeMap<u64, Arc<CommitDocument>>,
}

impl Pair {
    fn both(&self) -> [&dyn Storage; 2] {
        [&self.oracle, &self.store]
    }

    async fn step(&self, random: &mut Random) {
        match random.below(12) {
            0..=5 => {
                let batch: Vec<_> = (0..1 + random.below(12)).map(|_| event(random, 6, 6)).collect();
                for store in self.both() {
                    store.put_ratings(batch.clone(), PutOptions::default()).await.unwrap();
                }
            }
            6 => {
                let kind = if random.chance(50) { EntityKind::User } else { EntityKind::Item };
                let key = EntityKey::new(random.below(6).to_string()).unwrap();
                for store in self.both() {
                    store.erase(&Entity { kind, key: key.clone() }, EraseOptions::default()).await.unwrap();
                }
            }
            7 => {
                let item = (random.below(4) as u64).into();
                let hide = random.chance(50);
                for store in self.both() {
                    let items = vec![recstore_core::ItemId::clone(&item)];
                    if hide {
                        store.hide_items(items).await.unwrap()
                    } else {
                        store.unhide_items(items).await.unwrap()
                    }
                }
            }
            8..=9 => {
                let kind = EntityKind::Item;
                let lists = random.below(5);
                let seal = random.chance(80);
                for store in self.both() {
                    release(store, kind, lists, seal).await;
                }
            }
            10 => {
                let options = PruneOptions { keep: random.below(2), ..PruneOptions::default() };
                for store in self.both() {
                    store.prune_releases(EntityKind::Item, options).await.unwrap();
                }
            }
            _ => pass(&self.world.clock, DAY * random.below(3) as u32),
        }
    }

    async fn agree(&self, what: &str) {
        self.store.refresh().await.unwrap();
        let (expected, fresh) = (&self.oracle, self.world.process(7));
        for store in [&self.store, &fresh] {
            assert_eq!(rows(store).await, rows(expected).await, "{what}");
            let (left, right) = (
                store.fingerprint(GetOptions::default()).await.unwrap(),
                expected.fingerprint(GetOptions::default()).await.unwrap(),
            );
            assert_eq!(left, right, "{what}");
            for id in 0..6_u64 {
                let options = || HistoryOptions::default().with_withdrawn(true);
                assert_eq!(
                    store.user_history(&id.into(), options()).await.unwrap(),
                    expected.user_history(&id.into(), options()).await.unwrap(),
                    "{what}"
                );
            }
            assert_eq!(store.hidden_items().await.unwrap(), expected.hidden_items().await.unwrap(), "{what}");
        }
    }
}

async fn release(store: &dyn Storage, kind: EntityKind, lists: usize, seal: bool) {
    let spec = ReleaseSpec { kind, options: SimilarityOptions::default() };
    let release = store.begin_release(spec).await.unwrap();
    let key = |id: usize| EntityKey::new(id.to_string()).unwrap();
    for id in 0..lists {
        let neighbour = Neighbour { id: key((id + 1) % 6), similarity: 0.5, common: 2 };
        let list = NeighbourList { id: key(id), neighbours: vec![neighbour] };
        store.put_neighbours(&release, vec![list], PutOptions::default()).await.unwrap();
    }
    if seal {
        store.seal_release(&release, Vec::new()).await.unwrap();
        store.promote_release(&release).await.unwrap();
    }
}

async fn script(seed: u64, number: u64) {
    let mut random = Random::of_case(seed, number);
    let mut retention = retention(1 + random.below(3) as u64, DAY * random.below(3) as u32);
    retention.bronze = random.chance(50).then_some(DAY);
    let world = late_world(retention);
    let (oracle, store) = (MemoryStorage::new(Namespace::default(), world.context()), world.process(1));
    let mut pair = Pair { world, oracle, store, commits: BTreeMap::new() };
    for round in 0..2 + random.below(5) {
        for _ in 0..1 + random.below(6) {
            pair.step(&mut random).await;
        }
        let what = format!("RECSTORE_SEED={seed}, script {number}, round {round}");
        pair.agree(&what).await;
        let state = state(&pair.world).await;
        pair.commits.insert(state.generation, state.commit);
        let (before, cleaner) = (names(&pair.world).await, pair.world.process(3));
        let told = vacuum(&cleaner, true).await;
        assert_eq!(names(&pair.world).await, before, "{what}: a dry run deletes nothing");
        if random.chance(40) {
            // Cut off anywhere.
            for name in found(&told).into_iter().filter(|_| random.chance(50)) {
                pair.world.objects.delete(&Path::from(name)).await.unwrap();
            }
            pair.agree(&format!("{what}, cut off")).await;
        }
        if random.chance(70) {
            let before = names(&pair.world).await;
            let done = vacuum(&cleaner, false).await;
            let expected: BTreeSet<String> = before.difference(&found(&done)).cloned().collect();
            assert_eq!(names(&pair.world).await, expected, "{what}");
            assert_eq!(vacuum(&cleaner, false).await.objects(), 0, "{what}: once is enough");
            for commit in pair.commits.range(done.oldest_kept..).map(|(_, commit)| commit) {
                is_whole(&pair.world, commit).await;
            }
        }
        pair.agree(&format!("{what}, vacuumed")).await;
    }
}

#[test]
fn after_any_script_with_vacuums_the_store_answers_as_memory_and_what_is_kept_is_whole() {
    let (seed, count) = schedules(30);
    for number in 0..count {
        run(script(seed, number));
    }
}

/// Puts an event, and makes a generation of it.
async fn generation(pair: &Pair, random: &mut Random) {
    let batch = vec![event(random, 6, 6)];
    for store in pair.both() {
        store.put_ratings(batch.clone(), PutOptions::default()).await.unwrap();
    }
    let _report = pair.store.pipeline().run(RunOptions::default()).await.unwrap();
}

async fn zombie(closed_for: &'static str, seed: u64) {
    let mut random = Random::new(seed);
    let world = late_world(retention(1, Duration::ZERO));
    let (oracle, store) = (MemoryStorage::new(Namespace::default(), world.context()), world.process(1));
    let pair = Pair { world, oracle, store, commits: BTreeMap::new() };
    for _ in 0..3 {
        generation(&pair, &mut random).await;
    }
    let gate = Gate::new(pair.world.objects.clone(), closed_for);
    let asleep = World { objects: Arc::new(gate.clone()), ..late_world(retention(1, Duration::ZERO)) };
    let asleep = World { tables: pair.world.tables.clone(), clock: pair.world.clock.clone(), ..asleep };
    let batch: Vec<_> = (0..9).map(|_| event(&mut random, 6, 6)).collect();
    for store in pair.both() {
        store.put_ratings(batch.clone(), PutOptions::default()).await.unwrap();
    }
    let sleeper = asleep.process(5);
    let slept = async { sleeper.pipeline().run(RunOptions::default()).await };
    let others = async {
        drop(gate.came.acquire().await.unwrap());
        for _ in 0..4 {
            generation(&pair, &mut random).await;
            pass(&pair.world.clock, DAY * 2);
            vacuum(&pair.world.process(6), false).await;
        }
        gate.opened.add_permits(1000);
    };
    let (slept, ()) = tokio::join!(slept, others);
    if let Err(error) = slept {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    sleeper.pipeline().run(RunOptions::default()).await.unwrap();
    pair.agree(closed_for).await;
    vacuum(&sleeper, false).await;
    pair.agree(closed_for).await;
}

/// Before its claim, before the first log entry, before the commit.
#[test]
fn a_run_that_slept_through_vacuums_does_no_harm_and_goes_on_when_it_begins_again() {
    for seed in 0..4 {
        for closed_for in ["/runs/", "/commit/", "_delta_log", "head.json", ".parquet"] {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(zombie(closed_for, seed));
        }
    }
}

#[test]
fn generations_are_kept_by_number_and_by_age_and_the_rest_is_told_with_its_reasons() {
    run(async {
        let world = late_world(retention(3, 10 * DAY));
        let (oracle, store) = (MemoryStorage::new(Namespace::default(), world.context()), world.process(1));
        let mut random = Random::new(1);
        let pair = Pair { world, oracle, store, commits: BTreeMap::new() };
        for _ in 0..8 {
            generation(&pair, &mut random).await;
            pass(&pair.world.clock, 2 * DAY);
        }
        // Generation g was replaced 2·(8 − g) days ago, by the one after it.
        let report = vacuum(&pair.store, true).await;
        assert_eq!((report.generation, report.oldest_kept, report.dry_run), (8, 4, true));
        pass(&pair.world.clock, 100 * DAY);
        let report = vacuum(&pair.store, false).await;
        assert_eq!(report.oldest_kept, 6, "the last three, whatever their age");
        let sorts: Vec<_> = report.found.iter().map(|found| (found.layer, found.reason)).collect();
        assert_eq!(sorts, [(Layer::Silver, Reason::Expired), (Layer::State, Reason::Expired)]);
        assert_eq!(report.found[1].objects, 5, "a commit document for each of the first five");
        assert_eq!(report.objects(), report.found.iter().map(|found| found.names.len() as u64).sum::<u64>());
        assert!(report.bytes() > 0);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["found"][0]["layer"], &json["found"][0]["reason"]),
            (&"silver".into(), &"expired".into())
        );
        pair.agree("vacuumed").await;
        // More are to be kept than there are.
        let world = World { retention: retention(7, DAY), ..pair.world };
        assert_eq!(vacuum(&world.process(4), false).await.oldest_kept, 6);
    });
}

#[test]
fn events_go_only_when_it_is_asked_for_and_the_last_object_of_an_epoch_and_claims_stay() {
    run(async {
        let kept = retention(1, Duration::ZERO);
        let world = late_world(kept.clone());
        let (oracle, store) = (MemoryStorage::new(Namespace::default(), world.context()), world.process(1));
        let mut random = Random::new(1);
        let pair = Pair { world, oracle, store, commits: BTreeMap::new() };
        for _ in 0..5 {
            generation(&pair, &mut random).await;
            pass(&pair.world.clock, DAY);
        }
        let bronze = |names: BTreeSet<String>| {
            let of = |part: &str| names.iter().filter(|name| name.contains(part)).count();
            (of("/ratings/writer="), of("/claims/"))
        };
        vacuum(&pair.store, false).await;
        assert_eq!(bronze(names(&pair.world).await), (5, 1));
        let world = World { retention: RetentionConfig { bronze: Some(DAY), ..kept }, ..pair.world };
        let report = vacuum(&world.process(2), false).await;
        assert_eq!((report.found[0].layer, report.found[0].objects), (Layer::Bronze, 4));
        assert_eq!(bronze(names(&world).await), (1, 1));
        let pair = Pair { world, ..pair };
        generation(&pair, &mut random).await;
        pair.agree("after it").await;
    });
}

/// The files of the newest version as `deltalake` sees them.
async fn seen_by_deltalake(world: &World, table: &str) -> BTreeSet<String> {
    let folder = format!("silver/v1/default/{table}");
    let within = object_store::prefix::PrefixStore::new(world.objects.clone(), format!("lake/{folder}"));
    let url = url::Url::parse("memory:///").unwrap();
    let builder = deltalake::DeltaTableBuilder::from_url(url.clone()).unwrap();
    let read = builder.with_storage_backend(Arc::new(within), url).load().await.unwrap();
    let files = read.snapshot().unwrap().log_data();
    files.iter().map(|file| format!("{folder}/{}", file.path())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_compaction_old_log_entries_go_and_other_tools_read_on() {
    let world = late_world(retention(2, Duration::ZERO));
    let (oracle, store) = (MemoryStorage::new(Namespace::default(), world.context()), world.process(1));
    let mut random = Random::new(1);
    let pair = Pair { world, oracle, store, commits: BTreeMap::new() };
    for _ in 0..12 {
        generation(&pair, &mut random).await;
        pass(&pair.world.clock, DAY);
    }
    let entries = async || {
        let names = names(&pair.world).await;
        names.into_iter().filter(|name| name.contains("/ratings/_delta_log/")).collect::<Vec<_>>()
    };
    vacuum(&pair.store, false).await;
    let before = entries().await.len();
    assert!(before > 5, "without a checkpoint no entry goes");
    let done = pair.store.pipeline().compact().await.unwrap();
    assert!(!done.checkpoints.is_empty());
    assert_eq!(pair.store.pipeline().compact().await.unwrap().checkpoints, [""; 0]);
    vacuum(&pair.store, false).await;
    assert!(entries().await.len() < 6, "{:?}", entries().await);
    for _ in 0..2 {
        let commit = state(&pair.world).await.commit;
        for (table, files) in [("ratings", &commit.ratings), ("item_features", &commit.item_features)] {
            let expected: BTreeSet<String> =
                files.buckets.values().map(|file| file.object.name.clone()).collect();
            assert_eq!(seen_by_deltalake(&pair.world, table).await, expected);
        }
        generation(&pair, &mut random).await;
    }
    pair.agree("compacted").await;
}
