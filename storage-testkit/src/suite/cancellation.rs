//! Callers that leave: every call, dropped after every number of polls, is done whole or not at all, and the
//! same call again leaves what it was made for.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::{BoxFuture, join_all, poll_fn};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use recstore_core::{
    ColumnType, Entity, EntityKind, EraseOptions, FeatureRequest, GetOptions, HistoryOptions,
    NeighbourRequest, Outcome, PruneOptions, PutOptions, Rating, ReleaseId, Result, ScanOptions, Storage,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{at, fold, item, list, name, popular, rating, spec, user, withdrawal};
use EntityKind::Item;

/// A call that needs more polls than this is not finished by waiting for it.
pub(super) const MOST_POLLS: usize = 1_000;
/// How long a caller that leaves has looked on after its last poll: the work may be anywhere by then.
pub(super) const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_micros(30), Duration::from_micros(100), Duration::from_micros(400)];

/// What calls are tried on: a release that is being built, one that is sealed, and one that was current.
struct Prepared {
    building: ReleaseId,
    sealed: ReleaseId,
}

async fn prepare(space: &Space) -> Prepared {
    let events = (0..10).map(|index| rating("u", &format!("i{index}"), f64::from(index), at(index.into())));
    space.put(events.chain([withdrawal("v", "i1", at(1)), rating("w", "i1", 2.0, at(2))])).await;
    space.register(&profile()).await;
    space.put_rows("profile", vec![aged("u", at(1), 30), aged("w", at(1), 40)]).await;
    space.promoted(Item, &[list("i1", &[("i2", 0.5)])], popular(&[("i2", 1)])).await;
    space.promoted(Item, &[list("i1", &[("i3", 0.5)])], popular(&[("i3", 1)])).await;
    space.hide_items(vec![item("i9")]).await.unwrap();
    let sealed = space.sealed(Item, &[list("i1", &[("i4", 0.5)])], Vec::new()).await;
    let building = space.begin(Item, &[list("i1", &[("i5", 0.5)])]).await;
    Prepared { building, sealed }
}

/// Everything about a namespace that a call may change, but for the names of releases.
async fn state(space: &Space) -> String {
    let releases = space.releases(Item).await.unwrap();
    let releases: Vec<_> =
        releases.iter().map(|info| (info.state, info.promotion, info.lists, info.neighbours)).collect();
    let stats = space.stats(GetOptions::default()).await.unwrap();
    let groups = space.groups().await.unwrap();
    let hidden = space.hidden_items().await.unwrap();
    let figures = (stats.ratings, stats.users, stats.items, stats.feature_rows, stats.tombstones);
    format!("{:?} {releases:?} {figures:?} {groups:?} {hidden:?}", space.prints().await)
}

/// The state, told by two looks that agree: the work of a caller that has left may end between two reads.
async fn settled(space: &Space) -> String {
    let mut before = state(space).await;
    loop {
        let now = state(space).await;
        if now == before {
            return now;
        }
        before = now;
    }
}

type Call = for<'a> fn(&'a dyn Storage, &'a Prepared) -> BoxFuture<'a, Result<()>>;

/// A call of the traits.
struct Named {
    name: &'static str,
    call: Call,
}

impl Named {
    /// Whether the call made twice leaves what it leaves made once.
    fn is_idempotent(&self) -> bool {
        !matches!(self.name, "begin_release" | "rollback_release")
    }
}

fn named(name: &'static str, call: Call) -> Named {
    Named { name, call }
}

/// Every call that changes something.
fn writes() -> Vec<Named> {
    vec![
        named("put_ratings", |store, _| {
            let events = (0..25).map(|index| rating("u", &format!("i{index}"), 1.0, at(50))).collect();
            Box::pin(async move { store.put_ratings(events, PutOptions::default()).await.map(drop) })
        }),
        named("put_features", |store, _| {
            let rows = vec![aged("u", at(9), 1), aged("v", at(9), 2), aged("w", at(9), 3)];
            Box::pin(async move {
                store.put_features(&name("profile"), rows, PutOptions::default()).await.map(drop)
            })
        }),
        named("register_group", |store, _| {
            let schema = profile().with_column(name("height"), ColumnType::Float);
            Box::pin(async move { store.register_group(schema).await.map(drop) })
        }),
        named("rebuild_features", |store, _| {
            Box::pin(async move { store.rebuild_features().await.map(drop) })
        }),
        named("begin_release", |store, _| {
            Box::pin(async move { store.begin_release(spec(Item)).await.map(drop) })
        }),
        named("put_neighbours", |store, prepared| {
            let lists = vec![list("i1", &[("i6", 0.5), ("i7", 0.25)]), list("i2", &[("i1", 0.5)])];
            Box::pin(store.put_neighbours(&prepared.building, lists, PutOptions::default()))
        }),
        named("seal_release", |store, prepared| {
            Box::pin(
                async move { store.seal_release(&prepared.building, popular(&[("i1", 1)])).await.map(drop) },
            )
        }),
        named("promote_release", |store, prepared| {
            Box::pin(async move { store.promote_release(&prepared.sealed).await.map(drop) })
        }),
        named("rollback_release", |store, _| {
            Box::pin(async move { store.rollback_release(Item).await.map(drop) })
        }),
        named("prune_releases", |store, _| {
            let options = PruneOptions { keep: 0, ..PruneOptions::default() };
            Box::pin(async move { store.prune_releases(Item, options).await.map(drop) })
        }),
        named("hide_items", |store, _| store.hide_items(vec![item("i3"), item("i4")])),
        named("unhide_items", |store, _| store.unhide_items(vec![item("i9"), item("i8")])),
        named("erase a user", |store, _| {
            Box::pin(
                async move { store.erase(&Entity::from(user("u")), EraseOptions::default()).await.map(drop) },
            )
        }),
        named("erase an item", |store, _| {
            Box::pin(async move {
                store.erase(&Entity::from(item("i3")), EraseOptions::default()).await.map(drop)
            })
        }),
        named("refresh", |store, _| store.refresh()),
        named("health", |store, _| Box::pin(async move { store.health().await.map(drop) })),
    ]
}

/// Every call that only reads.
fn reads() -> Vec<Named> {
    vec![
        named("get_ratings", |store, _| {
            Box::pin(async move {
                store.get_ratings(&[(user("u"), item("i1"))], GetOptions::default()).await.map(drop)
            })
        }),
        named("user_history", |store, _| {
            Box::pin(async move { store.user_history(&user("u"), HistoryOptions::default()).await.map(drop) })
        }),
        named("item_history", |store, _| {
            Box::pin(
                async move { store.item_history(&item("i1"), HistoryOptions::default()).await.map(drop) },
            )
        }),
        named("scan_ratings", |store, _| {
            let scan = store.scan_ratings(ScanOptions::default().with_batch_rows(3));
            Box::pin(async move { scan.try_collect::<Vec<_>>().await.map(drop) })
        }),
        named("count_ratings", |store, _| {
            Box::pin(async move { store.count_ratings(GetOptions::default()).await.map(drop) })
        }),
        named("groups", |store, _| Box::pin(async move { store.groups().await.map(drop) })),
        named("get_features", |store, _| {
            Box::pin(async move { store.get_features(FeatureRequest::of_users([user("u")])).await.map(drop) })
        }),
        named("releases", |store, _| Box::pin(async move { store.releases(Item).await.map(drop) })),
        named("get_neighbours", |store, _| {
            Box::pin(
                async move { store.get_neighbours(NeighbourRequest::of_items([item("i1")])).await.map(drop) },
            )
        }),
        named("get_popular", |store, _| {
            Box::pin(async move { store.get_popular(Item, 9, GetOptions::default()).await.map(drop) })
        }),
        named("hidden_items", |store, _| Box::pin(async move { store.hidden_items().await.map(drop) })),
        named("stats", |store, _| {
            Box::pin(async move { store.stats(GetOptions::default()).await.map(drop) })
        }),
        named("fingerprint", |store, _| {
            Box::pin(async move { store.fingerprint(GetOptions::default()).await.map(drop) })
        }),
        named("a dry run of an erasure", |store, _| {
            Box::pin(
                async move { store.erase(&Entity::from(user("u")), EraseOptions::dry_run()).await.map(drop) },
            )
        }),
    ]
}

/// Polls a call at most so many times, each time it is woken, then looks on for a while and drops it; what it
/// came to if it ended.
pub(super) async fn left_after<T>(polls: usize, pause: Duration, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut left = polls;
    let ended = poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if ended.is_none() && polls > 0 {
        std::thread::sleep(pause);
    }
    ended
}

/// What a call leaves in namespaces of its own: before it, after it, and after it was made twice.
async fn expected(h: &Harness, kind: &str, number: usize, call: &Named) -> [String; 3] {
    let space = h.other(&format!("{kind}-{number}-expected"));
    let prepared = prepare(&space).await;
    let before = state(&space).await;
    (call.call)(&*space, &prepared).await.unwrap();
    space.refresh().await.unwrap();
    let once = state(&space).await;
    let _refused = (call.call)(&*space, &prepared).await;
    space.refresh().await.unwrap();
    [before, once, state(&space).await]
}

/// Holds one call against every number of polls, until it ends before it is dropped.
async fn leave_at_every_poll(h: &Harness, kind: &str, number: usize, call: &Named) {
    let [before, once, twice] = expected(h, kind, number, call).await;
    assert!(
        !call.is_idempotent() || once == twice,
        "{} made twice leaves\n{twice}\nand once\n{once}",
        call.name
    );
    let mut ended = 0;
    for polls in 0..MOST_POLLS {
        for (round, pause) in PAUSES.into_iter().enumerate().take(if polls == 0 { 1 } else { PAUSES.len() }) {
            let space = h.other(&format!("{kind}-{number}-{polls}-{round}"));
            let prepared = prepare(&space).await;
            let outcome = left_after(polls, pause, (call.call)(&*space, &prepared)).await;
            space.refresh().await.unwrap();
            let what = format!("{} left after {polls} polls and {pause:?}", call.name);
            let seen = settled(&space).await;
            match outcome {
                Some(result) => {
                    result.unwrap();
                    assert_eq!(seen, once, "{what}, ended");
                    ended += 1;
                }
                None => {
                    assert!(seen == before || seen == once, "{what} is half done: {seen}\n{before}\n{once}")
                }
            }
            let again = (call.call)(&*space, &prepared).await;
            space.refresh().await.unwrap();
            let seen = settled(&space).await;
            if call.is_idempotent() {
                again.unwrap();
                assert_eq!(seen, once, "{what}, and made again");
            } else {
                assert!(seen == once || seen == twice, "{what}, and made again: {seen}");
            }
            space.assert_features_fit(h.context().prior).await;
        }
        if ended == PAUSES.len() {
            return;
        }
        ended = 0;
    }
    panic!("{} does not end after {MOST_POLLS} polls", call.name);
}

pub(super) async fn a_write_dropped_at_any_poll_is_done_whole_or_not_at_all_and_a_retry_resolves_it(
    h: &Harness,
) {
    for (number, call) in writes().iter().enumerate() {
        leave_at_every_poll(h, "write", number, call).await;
    }
}

pub(super) async fn a_read_dropped_at_any_poll_changes_nothing_and_holds_nothing_up(h: &Harness) {
    for (number, call) in reads().iter().enumerate() {
        leave_at_every_poll(h, "read", number, call).await;
    }
}

/// Twenty-five events of one writer of one round.
fn batch(round: usize, writer: usize) -> Vec<Rating> {
    let event = |index| rating(&format!("u{round}-{writer}"), &format!("i{index}"), f64::from(index), at(1));
    (0..25).map(event).collect()
}

pub(super) async fn writers_that_leave_do_not_disturb_their_neighbours(h: &Harness) {
    const ROUNDS: usize = 20;
    const WRITERS: usize = 24;
    let space = h.space();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for round in 0..ROUNDS {
        let writers = (0..WRITERS).map(|writer| {
            let dice = random.next_u32() as usize;
            // About every second stays to the end.
            let polls = if dice.is_multiple_of(2) { MOST_POLLS } else { dice / 2 % 3 };
            let pause = PAUSES[dice / 8 % PAUSES.len()];
            let space = space.clone();
            tokio::spawn(async move {
                let put = space.put_ratings(batch(round, writer), PutOptions::default());
                left_after(polls, pause, put).await
            })
        });
        let ended = join_all(writers.collect::<Vec<_>>()).await;
        for (writer, ended) in ended.into_iter().enumerate() {
            let id = format!("u{round}-{writer}");
            let seen = space.user_rows(&id).await.len();
            match ended.unwrap() {
                Some(receipt) => {
                    let receipt = receipt.unwrap();
                    let stored = |outcome| matches!(outcome, Outcome::Applied | Outcome::Accepted);
                    assert!(receipt.outcomes.len() == 25 && receipt.outcomes.into_iter().all(stored));
                    if space.capabilities().fresh_reads {
                        assert_eq!(seen, 25, "{id} was told that all is stored");
                    }
                }
                None => assert!(seen == 0 || seen == 25, "{seen} of 25 rows of {id}"),
            }
            space.put(batch(round, writer)).await;
        }
    }
    let all: Vec<Rating> =
        (0..ROUNDS).flat_map(|round| (0..WRITERS).flat_map(move |writer| batch(round, writer))).collect();
    space.assert_rows(&fold(&all), h.context().prior).await;
}
