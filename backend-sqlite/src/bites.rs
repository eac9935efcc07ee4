//! The tests bite: each of the [bugs](crate::bugs), switched on in a store that is right otherwise, is caught by a
//! check that holds without it: a behaviour of the conformance suite, a test of `panics`, or one from here, of what
//! the suite cannot know: a disk that fails, and other handles on the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use recstore_core::{
    Entity, EntityKind, EraseOptions, ErrorKind, FeatureStore, ItemId, Namespace, Neighbour, NeighbourList,
    NeighbourRequest, PutOptions, Rating, RatingStoreExt, ReleaseSpec, SimilarityOptions, SimilarityStore,
    Storage, StoreContext, Timestamp,
};
use recstore_test_faults::{Disk, Failure, Fault, memory_folder};
use recstore_testkit::suite::{Backend, Behaviour};
use tempfile::TempDir;

use crate::bugs::{Bug, seed};
use crate::{Parameters, SqliteConfig, SqliteStorage, panics, parameters, validate};

/// A check holds without the bug, and fails with it.
fn bites(bug: Bug, check: impl Fn(Option<Bug>)) {
    check(None);
    let caught = catch_unwind(AssertUnwindSafe(|| check(Some(bug)))).is_err();
    assert!(caught, "{bug:?} is not seen");
}

/// The suite's behaviour of this name.
fn suite(name: &str) -> impl Fn(Option<Bug>) {
    let behaviour = Behaviour::named(name).expect("a behaviour of this name");
    move |bug| {
        let open = move |context| async move {
            let folder = memory_folder();
            let store = open_with(config(&folder), context).await;
            switch_on(&store, bug).await;
            (Arc::new(store) as Arc<dyn Storage>, folder)
        };
        behaviour.check(&Backend::new(open));
    }
}

#[test]
fn answers_before_the_commit_are_caught() {
    bites(Bug::AnswersBeforeTheCommit, what_was_told_as_stored_is_there_whatever_the_disk_did);
}

#[test]
fn writes_after_a_commit_that_failed_are_caught() {
    bites(
        Bug::GoesOnAfterAFailedCommit,
        after_a_commit_that_failed_nothing_is_stored_until_it_is_opened_again,
    );
}

#[test]
fn groups_that_fail_whole_are_caught() {
    bites(Bug::FailsWholeGroups, no_neighbour_goes_with_a_panic);
    bites(Bug::FailsWholeGroups, ratings_beside_a_panic_count_once);
}

#[test]
fn what_is_kept_of_a_rollback_is_caught() {
    bites(Bug::KeepsWhatWasRolledBack, no_neighbour_goes_with_a_panic);
    bites(Bug::KeepsWhatWasRolledBack, ratings_beside_a_panic_count_once);
}

#[test]
fn locks_that_are_taken_late_are_caught() {
    bites(Bug::BeginsDeferred, a_write_is_alone_from_its_begin_to_its_commit);
}

#[test]
fn what_is_kept_when_another_handle_has_written_is_caught() {
    bites(Bug::OverlooksOtherWriters, handles_that_write_in_turns_keep_features_exact);
}

#[test]
fn statistics_that_are_not_written_are_caught() {
    bites(Bug::KeepsStatisticsBack, suite("built_in::features_follow_replaced_and_withdrawn_ratings"));
    bites(Bug::KeepsStatisticsBack, suite("built_in::a_rebuild_changes_nothing"));
}

#[test]
fn renamings_that_are_not_counted_are_caught() {
    bites(Bug::CountsNoRenamings, items_that_another_handle_hides_are_gone_at_the_next_read);
    bites(Bug::CountsNoRenamings, the_number_of_an_erased_item_stands_for_the_next_at_the_next_read);
}

#[test]
fn replacements_without_a_checksum_are_caught() {
    bites(Bug::SealsNoReplacement, suite("ratings::the_newest_event_wins_and_an_older_one_is_stale"));
    bites(Bug::SealsNoReplacement, a_file_in_which_ratings_were_replaced_is_as_it_was_written);
}

/// Has the writer of this store do it wrong from now on.
async fn switch_on(store: &SqliteStorage, bug: Option<Bug>) {
    let switch = move |_: &mut _| {
        bug.into_iter().for_each(seed);
        Ok(())
    };
    store.write(1, None, switch).await.expect("the store writes");
}

fn config(folder: &TempDir) -> SqliteConfig {
    SqliteConfig { readers: 1, ..SqliteConfig::new(folder.path().join("bites.db")) }
}

async fn open_with(config: SqliteConfig, context: StoreContext) -> SqliteStorage {
    let opened = SqliteStorage::open(config, Namespace::default(), context, Parameters::Keep).await;
    opened.expect("the store opens")
}

async fn open(folder: &TempDir, bug: Option<Bug>) -> SqliteStorage {
    let store = open_with(config(folder), StoreContext::default()).await;
    switch_on(&store, bug).await;
    store
}

fn rating(user: u64, item: u64, stars: f64, seconds: i64) -> Rating {
    let time = Timestamp::from_seconds(1_700_000_000 + seconds).unwrap();
    Rating::new(user.into(), item.into(), stars, time).unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn no_neighbour_goes_with_a_panic(bug: Option<Bug>) {
    let folder = memory_folder();
    let store = panics::marked(&folder).await;
    switch_on(&store, bug).await;
    panics::assert_no_neighbour_goes_with_a_panic(&store).await;
}

#[tokio::main(flavor = "current_thread")]
async fn ratings_beside_a_panic_count_once(bug: Option<Bug>) {
    let folder = memory_folder();
    panics::assert_ratings_beside_a_panic_count_once(&open(&folder, bug).await).await;
}

/// The disk breaks before each change of a commit, one after the other, until none is left.
#[tokio::main(flavor = "current_thread")]
async fn what_was_told_as_stored_is_there_whatever_the_disk_did(bug: Option<Bug>) {
    let event = rating(1, 1, 3.0, 0);
    for after in 0.. {
        let folder = memory_folder();
        let disk = Disk::watch(folder.path());
        let store = open(&folder, bug).await;
        disk.fail(Fault { after, failure: Failure::Io, lasting: true });
        let told = store.put_rating(event.clone()).await;
        // The disk is broken: what it says does not matter.
        let _ = store.close().await;
        disk.heal();
        let store = open(&folder, None).await;
        let found = store.get_rating(event.user(), event.item()).await.unwrap();
        match told {
            Ok(_) => {
                assert!(found.is_some(), "told as stored, and lost");
                assert!(after > 0, "the disk never broke");
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutcomeUnknown),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn after_a_commit_that_failed_nothing_is_stored_until_it_is_opened_again(bug: Option<Bug>) {
    let folder = memory_folder();
    let disk = Disk::watch(folder.path());
    let store = open(&folder, bug).await;
    disk.fail(Fault { after: 0, failure: Failure::Io, lasting: false });
    let kind = async |store: &SqliteStorage| {
        store.put_rating(rating(1, 1, 3.0, 0)).await.err().map(|error| error.kind())
    };
    assert_eq!(kind(&store).await, Some(ErrorKind::OutcomeUnknown));
    assert_eq!(
        kind(&store).await,
        Some(ErrorKind::Unavailable),
        "the disk is healthy again, what it has is not known"
    );
    store.close().await.unwrap();
    assert_eq!(kind(&open(&folder, None).await).await, None);
}

/// Another handle tries to get in between, from within the write.
#[tokio::main(flavor = "current_thread")]
async fn a_write_is_alone_from_its_begin_to_its_commit(bug: Option<Bug>) {
    let folder = memory_folder();
    let impatient = SqliteConfig { busy_timeout: Duration::ZERO, ..config(&folder) };
    let store = open(&folder, bug).await;
    let other = open_with(impatient, StoreContext::default()).await;
    // Has seen what the other wrote when it opened.
    store.put_rating(rating(1, 1, 3.0, 0)).await.unwrap();
    let intruder = other.clone();
    let write = move |session: &mut crate::writer::Session| {
        let intrusion = block_on(intruder.put_rating(rating(2, 1, 4.0, 0)));
        parameters::touch(&session.connection)?;
        Ok(intrusion.err().map(|error| error.kind()))
    };
    let intrusion = store.write(1, None, write).await.expect("the write has the lock");
    assert_eq!(intrusion, Some(ErrorKind::Busy));
    other.put_rating(rating(2, 1, 4.0, 0)).await.expect("the lock is free again");
}

#[tokio::main(flavor = "current_thread")]
async fn handles_that_write_in_turns_keep_features_exact(bug: Option<Bug>) {
    let folder = memory_folder();
    let (one, other) = (open(&folder, bug).await, open(&folder, None).await);
    for turn in 0..4 {
        one.put_rating(rating(1, 1, 2.0, 2 * turn)).await.unwrap();
        other.put_rating(rating(1, 1, 5.0, 2 * turn + 1)).await.unwrap();
        other.put_rating(rating(1, 2, turn as f64, turn)).await.unwrap();
    }
    one.put_rating(rating(1, 1, 3.0, 100)).await.unwrap();
    assert_eq!(other.rebuild_features().await.unwrap().changed, 0);
}

/// Promotes a release in which item 1 has these neighbours.
async fn promote(store: &SqliteStorage, neighbours: &[u64]) {
    let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
    let release = store.begin_release(spec).await.unwrap();
    let neighbour = |&id: &u64| Neighbour { id: ItemId::from(id).into(), similarity: 0.5, common: 2 };
    let list =
        NeighbourList { id: ItemId::from(1).into(), neighbours: neighbours.iter().map(neighbour).collect() };
    store.put_neighbours(&release, vec![list], PutOptions::default()).await.unwrap();
    store.seal_release(&release, Vec::new()).await.unwrap();
    store.promote_release(&release).await.unwrap();
}

async fn neighbours(store: &SqliteStorage) -> Vec<String> {
    let mut answer = store.get_neighbours(NeighbourRequest::of_items([ItemId::from(1)])).await.unwrap();
    let list = answer.lists.remove(0).into_result().unwrap().unwrap();
    list.into_iter().map(|neighbour| neighbour.id.to_string()).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn items_that_another_handle_hides_are_gone_at_the_next_read(bug: Option<Bug>) {
    let folder = memory_folder();
    let (reader, other) = (open(&folder, None).await, open(&folder, bug).await);
    promote(&other, &[2, 3]).await;
    assert_eq!(neighbours(&reader).await, ["2", "3"]);
    other.hide_items(vec![2.into()]).await.unwrap();
    assert_eq!(neighbours(&reader).await, ["3"]);
}

#[tokio::main(flavor = "current_thread")]
async fn the_number_of_an_erased_item_stands_for_the_next_at_the_next_read(bug: Option<Bug>) {
    let folder = memory_folder();
    let (reader, other) = (open(&folder, None).await, open(&folder, bug).await);
    promote(&other, &[2, 3]).await;
    assert_eq!(neighbours(&reader).await, ["2", "3"]);
    other.erase(&Entity::from(ItemId::from(3)), EraseOptions::default()).await.unwrap();
    // Gets the number of the item that came last, and went.
    promote(&other, &[2, 4]).await;
    assert_eq!(neighbours(&reader).await, ["2", "4"]);
}

#[tokio::main(flavor = "current_thread")]
async fn a_file_in_which_ratings_were_replaced_is_as_it_was_written(bug: Option<Bug>) {
    let folder = memory_folder();
    let store = open(&folder, bug).await;
    store.put_rating(rating(1, 1, 3.0, 0)).await.unwrap();
    store.put_rating(rating(1, 1, 4.0, 1)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(validate(&config(&folder).path).unwrap().problems, Vec::<String>::new());
}
