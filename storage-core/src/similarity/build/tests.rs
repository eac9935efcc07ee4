//! The job on the memory backend.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::similarity::testing::{Random, row, withdrawn};
use crate::{
    ItemId, ManualClock, Measure, MemoryStorage, Namespace, NeighbourAnswer, NeighbourRequest, Rating,
    ReleaseState, Storage, StoreContext, Timestamp, UserId,
};

fn store() -> MemoryStorage {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000).unwrap()));
    MemoryStorage::new(Namespace::default(), StoreContext { clock, ..StoreContext::default() })
}

async fn put(store: &MemoryStorage, rows: Vec<RatingRow>) {
    let ratings = rows.into_iter().map(|row| row.rating).collect();
    store.put_ratings(ratings, PutOptions::default()).await.unwrap();
}

fn random_rows(users: u64, items: u64, count: usize) -> Vec<RatingRow> {
    let mut random = Random(11);
    let mut random_row = || {
        let (user, item) = (random.below(users).to_string(), random.below(items).to_string());
        row(&user, &item, random.below(10) as f64 / 2.0)
    };
    (0..count).map(|_| random_row()).collect()
}

async fn rows_of(store: &MemoryStorage) -> Vec<RatingRow> {
    let batches: Vec<_> = store.scan_ratings(ScanOptions::default()).collect().await;
    batches.into_iter().flat_map(|batch| batch.unwrap()).collect()
}

async fn neighbours_of(store: &MemoryStorage, kind: EntityKind, lists: &[NeighbourList]) -> NeighbourAnswer {
    let ids = lists.iter().map(|list| list.id.clone()).collect();
    store.get_neighbours(NeighbourRequest::new(kind, ids)).await.unwrap()
}

#[tokio::test]
async fn a_promoted_release_serves_the_lists_of_the_current_ratings() {
    for kind in [EntityKind::Item, EntityKind::User] {
        let store = store();
        put(&store, random_rows(60, 3_000, 9_000)).await;
        put(&store, vec![withdrawn("900", "900"), row("1", "900", 3.0)]).await;
        let similarity = SimilarityOptions { measure: Measure::Pearson, k: 20, ..Default::default() };
        let options = BuildOptions::default().with_kind(kind).with_similarity(similarity).with_threads(2);
        let report = build_release(&store, &options).await.unwrap();
        assert!(report.promoted, "{report:?}");

        let matrix = RatingMatrix::from_rows(kind, &rows_of(&store).await).unwrap();
        let lists = NeighbourBuilder::new(&matrix, similarity).unwrap().lists().unwrap();
        let answer = neighbours_of(&store, kind, &lists).await;
        assert_eq!(answer.release, Some(report.release.clone()));
        for (list, stored) in lists.iter().zip(answer.lists) {
            assert_eq!(stored.found(), Some(&list.neighbours));
        }
        let neighbours: usize = lists.iter().map(|list| list.neighbours.len()).sum();
        assert_eq!(report.neighbours, neighbours as u64);
        assert!(neighbours > 1_000);
        assert_eq!(
            (report.entities, report.raters, report.ratings),
            (lists.len() as u64, matrix.raters() as u64, matrix.ratings())
        );
        let popular = store.get_popular(kind, 5, GetOptions::default()).await.unwrap();
        assert_eq!(popular, matrix.popular(5));
    }
}

#[tokio::test]
async fn a_release_that_fails_a_check_is_sealed_and_not_promoted() {
    let store = store();
    put(&store, random_rows(20, 40, 200)).await;
    let first = build_release(&store, &BuildOptions::default()).await.unwrap();
    let rows = rows_of(&store).await.into_iter().map(|row| row.rating);
    let lost = rows.filter(|rating| rating.item().as_str() > "2");
    let later = Timestamp::from_seconds(1).unwrap();
    let withdraw = |rating: Rating| Rating::withdrawal(rating.user().clone(), rating.item().clone(), later);
    store.put_ratings(lost.map(withdraw).collect(), PutOptions::default()).await.unwrap();
    let report = build_release(&store, &BuildOptions::default()).await.unwrap();
    assert!(!report.promoted);
    assert!(report.checks.require().unwrap_err().message().contains("entities"));
    let releases = store.releases(EntityKind::Item).await.unwrap();
    let states: Vec<_> = releases.iter().map(|release| (&release.id, release.state)).collect();
    assert_eq!(states, [(&report.release, ReleaseState::Sealed), (&first.release, ReleaseState::Current)]);
}

#[tokio::test]
async fn a_release_is_promoted_only_if_asked() {
    let store = store();
    put(&store, random_rows(20, 40, 200)).await;
    let report = build_release(&store, &BuildOptions::default().with_promote(false)).await.unwrap();
    assert!(report.checks.ok && !report.promoted);
    assert_eq!(store.get_popular(EntityKind::Item, 5, GetOptions::default()).await.unwrap(), []);
}

#[tokio::test]
async fn a_store_without_ratings_gets_an_empty_release() {
    let store = store();
    let report = build_release(&store, &BuildOptions::default()).await.unwrap();
    assert_eq!((report.promoted, report.entities, report.neighbours), (true, 0, 0));
}

#[tokio::test]
async fn options_out_of_range_begin_no_release() {
    let store = store();
    let similarity = SimilarityOptions { k: 0, ..Default::default() };
    let checks = CheckOptions { min_coverage: 2.0, ..Default::default() };
    for (options, field) in [
        (BuildOptions::default().with_similarity(similarity), "k"),
        (BuildOptions::default().with_checks(checks), "min_coverage"),
    ] {
        assert_eq!(build_release(&store, &options).await.unwrap_err().field(), Some(field));
    }
    assert_eq!(store.releases(EntityKind::Item).await.unwrap(), []);
}

#[tokio::test]
async fn progress_is_told_up_to_the_end_of_both_phases() {
    let store = store();
    put(&store, random_rows(20, 40, 200)).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&told);
    let options = BuildOptions::default().with_progress(move |progress| ear.lock().unwrap().push(progress));
    let report = build_release(&store, &options).await.unwrap();
    let told = told.lock().unwrap();
    for (phase, all) in [(BuildPhase::Reading, report.ratings), (BuildPhase::Computing, report.entities)] {
        let last = told.iter().rev().find(|progress| progress.phase == phase).unwrap();
        assert_eq!((last.done, last.total), (all, all));
    }
}

#[tokio::test]
async fn an_error_of_the_store_ends_the_build() {
    let store = store();
    put(&store, random_rows(20, 40, 200)).await;
    let closing = store.clone();
    let options = BuildOptions::default().with_progress(move |progress| {
        if progress.phase == BuildPhase::Reading {
            block_on(closing.close()).unwrap();
        }
    });
    // The memory backend is closed from within the build, on a thread that runs no executor of futures.
    let build = thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async { build_release(&store, &options).await.unwrap_err().kind() })
    });
    assert_eq!(build.join().unwrap(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_dropped_build_ends_its_threads() {
    let store = store();
    put(&store, random_rows(300, 3_000, 20_000)).await;
    let matrix = Arc::new(RatingMatrix::from_rows(EntityKind::Item, &rows_of(&store).await).unwrap());
    let (sender, blocks) = mpsc::channel(0);
    let shared = Arc::clone(&matrix);
    start("test", move || compute_lists(&shared, SimilarityOptions::default(), 1, sender)).unwrap();
    drop(blocks);
    // The thread holds the matrix for as long as it computes.
    for _ in 0..1_000 {
        if Arc::strong_count(&matrix) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the thread goes on after the build was dropped");
}

#[test]
fn a_scan_that_broke_off_makes_no_matrix() {
    let (mut sender, batches) = mpsc::channel(1);
    sender.try_send(Some(random_rows(5, 5, 10))).unwrap();
    drop(sender);
    assert!(make_matrix(EntityKind::Item, 10, batches).unwrap().is_none());
}

#[tokio::test]
async fn a_build_runs_as_a_task_on_any_storage() {
    let store = store();
    let rating = Rating::new(UserId::from(1), ItemId::from(2), 3.0, Timestamp::MIN).unwrap();
    store.put_ratings(vec![rating], PutOptions::default()).await.unwrap();
    let storage: Arc<dyn Storage> = Arc::new(store);
    let build = async move { build_release(storage.as_ref(), &BuildOptions::default()).await };
    assert_eq!(tokio::spawn(build).await.unwrap().unwrap().entities, 1);
}
