//! Many at once, and callers that leave: no reader sees half of a write, no write is half done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures::FutureExt;
use futures::future::{join_all, poll_fn};
use recstore_core::{
    EntityKind, ErrorKind, FeatureRow, FeatureValue, NeighbourRequest, PruneOptions, PutOptions, PutReceipt,
    Rating, Result,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{
    at, everything, fold, item, key, keys, list, name, popular, rating, rating_with_id, user, values,
    withdrawal,
};
use EntityKind::Item;

/// At least so many writes, and at most, while a reader reads.
const WRITES: std::ops::Range<i64> = 30..900;
/// So many reads must have been made while writes went on.
const READS: usize = 10;

/// Runs `read` again and again in a task of its own while `write` runs, until both had many turns.
async fn while_writing<R>(write: impl AsyncFn(i64), read: impl Fn() -> R + Send + 'static)
where
    R: Future<Output = ()> + Send,
{
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stop, count) = (Arc::clone(&done), Arc::clone(&reads));
    let reader = tokio::spawn(async move {
        while !stop.load(Ordering::SeqCst) {
            read().await;
            count.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    let mut round = 0;
    while round < WRITES.start || (reads.load(Ordering::SeqCst) < READS && round < WRITES.end) {
        write(round).await;
        tokio::task::yield_now().await;
        round += 1;
        if reader.is_finished() {
            break;
        }
    }
    done.store(true, Ordering::SeqCst);
    reader.await.unwrap();
}

pub(super) async fn readers_never_see_half_of_a_batch(h: &Harness) {
    let space = h.space();
    let reader = space.clone();
    // Every batch gives the user ten more ratings.
    let write = async |batch: i64| {
        let event = |index| rating("u", &format!("{batch}-{index}"), 1.0, at(batch));
        space.put((0..10).map(event)).await;
    };
    while_writing(write, move || {
        let reader = reader.clone();
        async move {
            let rows = reader.user_history(&user("u"), everything()).await.unwrap().rows.len();
            assert_eq!(rows % 10, 0, "half a batch in the history");
            if let Some(FeatureValue::Integer(count)) =
                reader.feature("user_ratings", "u", "rating_count").await
            {
                assert_eq!(count % 10, 0, "half a batch in the features");
            }
        }
    })
    .await;
    space.assert_features_fit(h.context().prior).await;
}

pub(super) async fn one_answer_about_many_keys_is_of_one_state(h: &Harness) {
    let space = h.space();
    let ids: Vec<String> = (0..10).map(|index| format!("k{index}")).collect();
    let reader = space.clone();
    let asked = ids.clone();
    let write = async |round: i64| {
        let value = (round % 7) as f64;
        let both = |id: &String| [rating("u", id, value, at(round)), rating(id, "i", value, at(round))];
        space.put(ids.iter().flat_map(both)).await;
    };
    while_writing(write, move || {
        let (reader, asked) = (reader.clone(), asked.clone());
        async move {
            let pairs: Vec<_> = asked.iter().map(|id| (user("u"), item(id))).collect();
            let rows = values(reader.get_ratings(&pairs, Default::default()).await.unwrap());
            let times: Vec<_> =
                rows.iter().map(|row| row.as_ref().map(|row| row.rating.rated_at())).collect();
            assert!(times.iter().all(|time| *time == times[0]), "pairs of two states: {times:?}");
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            let batch = reader.features("user_ratings", &asked).await;
            let times: Vec<_> = (0..batch.len()).map(|row| batch.value(row, "last_rated_at")).collect();
            assert!(times.iter().all(|time| *time == times[0]), "features of two states: {times:?}");
        }
    })
    .await;
}

pub(super) async fn readers_see_a_release_whole_while_another_is_promoted(h: &Harness) {
    let space = h.space();
    let ids: Vec<String> = (0..20).map(|index| format!("k{index}")).collect();
    let lists = |mark: u32| ids.iter().map(|id| list(id, &[("n", f64::from(mark + 1))])).collect::<Vec<_>>();
    space.promoted(Item, &lists(0), popular(&[("n", 0)])).await;
    let reader = space.clone();
    let asked = ids.clone();
    let write = async |round: i64| {
        let mark = round as u32 + 1;
        space.promoted(Item, &lists(mark), popular(&[("n", mark.into())])).await;
        if mark.is_multiple_of(3) {
            space.rollback_release(Item).await.unwrap();
        }
        space.prune_releases(Item, PruneOptions { keep: 3, ..PruneOptions::default() }).await.unwrap();
    };
    while_writing(write, move || {
        let (reader, asked) = (reader.clone(), asked.clone());
        async move {
            let request = NeighbourRequest::new(Item, asked.iter().map(|id| key(id)).collect());
            let answer = reader.get_neighbours(request).await.unwrap();
            assert!(answer.release.is_some());
            let lists = values(answer.lists);
            assert!(lists.iter().all(|list| list.is_some() && *list == lists[0]), "two releases: {lists:?}");
        }
    })
    .await;
}

pub(super) async fn a_fingerprint_is_of_one_state(h: &Harness) {
    let space = h.space();
    let written = Mutex::new(vec![space.prints().await]);
    let read = Arc::new(Mutex::new(Vec::new()));
    let (reader, seen) = (space.clone(), Arc::clone(&read));
    let write = async |round: i64| {
        let event = |index: u32| rating("u", &index.to_string(), (round % 9) as f64, at(round));
        space.put((0..10).map(event)).await;
        let prints = space.prints().await;
        written.lock().unwrap().push(prints);
    };
    while_writing(write, move || {
        let (reader, seen) = (reader.clone(), Arc::clone(&seen));
        async move {
            let prints = reader.prints().await;
            seen.lock().unwrap().push(prints);
        }
    })
    .await;
    let (written, read) = (written.into_inner().unwrap(), read.lock().unwrap());
    assert!(read.iter().all(|prints| written.contains(prints)), "a state that never was");
}

pub(super) async fn items_hidden_in_one_call_are_hidden_at_once(h: &Harness) {
    let space = h.space();
    let ids = ["b", "c", "d", "e"];
    space.promoted(Item, &[list("a", &ids.map(|id| (id, 0.5)))], popular(&ids.map(|id| (id, 1)))).await;
    let reader = space.clone();
    let items = || ids.map(item).to_vec();
    let write = async |round: i64| match round % 2 {
        0 => space.hide_items(items()).await.unwrap(),
        _ => space.unhide_items(items()).await.unwrap(),
    };
    while_writing(write, move || {
        let reader = reader.clone();
        async move {
            let neighbours = reader.neighbour_ids(Item, "a").await.unwrap().len();
            assert!(neighbours == 0 || neighbours == 4, "{neighbours} of 4 neighbours");
            let popular = reader.popular_ids(Item).await.len();
            assert!(popular == 0 || popular == 4, "{popular} of 4 popular items");
            let hidden = reader.hidden_items().await.unwrap().len();
            assert!(hidden == 0 || hidden == 4, "{hidden} of 4 hidden items");
        }
    })
    .await;
}

pub(super) async fn many_writers_of_the_same_pairs_leave_the_state_of_the_fold(h: &Harness) {
    let space = h.space();
    let writer = |writer: u64| {
        let events = (0..20_u64).map(move |step| {
            let mixed = (writer * 31 + step * 17) % 97;
            let (of, what) = (format!("u{}", mixed % 5), format!("i{}", mixed % 7));
            let time = at((mixed % 11) as i64);
            match mixed % 4 {
                0 => withdrawal(&of, &what, time),
                _ => rating_with_id(&of, &what, (mixed % 10) as f64, time, u128::from(writer % 8)),
            }
        });
        events.collect::<Vec<Rating>>()
    };
    let tasks = (0..64).map(|index| {
        let space = space.clone();
        tokio::spawn(async move {
            for batch in writer(index).chunks(3) {
                space.put(batch.to_vec()).await;
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
    let all: Vec<Rating> = (0..64).flat_map(writer).collect();
    space.assert_rows(&fold(&all), h.context().prior).await;
    assert_eq!(space.rebuild_features().await.unwrap().changed, 0);
}

pub(super) async fn writers_of_many_namespaces_at_once_stay_apart(h: &Harness) {
    let tasks = (0..16).map(|index: i32| {
        let space = h.other(&format!("n{index}"));
        tokio::spawn(async move {
            for step in 0..5 {
                space.put([rating("u", &step.to_string(), f64::from(index), at(1))]).await;
            }
            let expected: Vec<Rating> =
                (0..5).map(|step| rating("u", &step.to_string(), f64::from(index), at(1))).collect();
            assert_eq!(space.rows().await, fold(&expected));
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
}

/// Polls a put at most `polls` times, then drops it; what it came to if it ended before.
async fn dropped_after<T>(polls: usize, call: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    let mut call = Box::pin(call);
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(call.poll_unpin(context))).await;
        if let Poll::Ready(result) = polled {
            return Some(result);
        }
        // The other side has a moment to go on, a different one each time.
        tokio::task::yield_now().await;
    }
    None
}

fn batch(attempt: usize) -> Vec<Rating> {
    let event = |index| rating(&format!("u{attempt}"), &format!("i{index}"), f64::from(index), at(1));
    (0..25).map(event).collect()
}

pub(super) async fn a_dropped_put_is_done_whole_or_not_at_all_and_a_retry_resolves_it(h: &Harness) {
    let space = h.space();
    for attempt in 0..40 {
        let put = space.put_ratings(batch(attempt), PutOptions::default());
        let ended: Option<Result<PutReceipt>> = dropped_after(attempt % 10, put).await;
        if ended.is_some() {
            space.settle().await;
        }
        let id = format!("u{attempt}");
        let seen = space.user_rows(&id).await.len();
        assert!(seen == 0 || seen == 25, "{seen} of 25 after {attempt}");
        if let Some(result) = ended {
            assert_eq!(result.map(|receipt| receipt.outcomes.len()).unwrap(), 25);
            assert_eq!(seen, 25);
        }
        space.put(batch(attempt)).await;
        assert_eq!(space.user_rows(&id).await.len(), 25);
    }
    let all: Vec<Rating> = (0..40).flat_map(batch).collect();
    space.assert_rows(&fold(&all), h.context().prior).await;
}

pub(super) async fn a_dropped_put_of_custom_rows_is_done_whole_or_not_at_all(h: &Harness) {
    let space = h.space();
    space.register(&profile()).await;
    for attempt in 0..20_i64 {
        let ids: Vec<String> = (0..10).map(|index| format!("{attempt}-{index}")).collect();
        let rows: Vec<FeatureRow> = ids.iter().map(|id| aged(id, at(1), attempt)).collect();
        let group = name("profile");
        let put = space.put_features(&group, rows.clone(), PutOptions::default());
        dropped_after(attempt as usize % 6, put).await;
        // Where reads are not fresh, rows are shown one by one, and what a dropped call did not show, a refresh does.
        space.settle().await;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let batch = space.features("profile", &ids).await;
        let found = batch.status.iter().filter(|status| status.is_found()).count();
        assert!(found == 0 || found == 10, "{found} of 10");
        space.put_rows("profile", rows).await;
        assert!(space.features("profile", &ids).await.status.iter().all(|status| status.is_found()));
    }
}

pub(super) async fn a_dropped_put_of_lists_is_done_whole_or_not_at_all(h: &Harness) {
    let space = h.space();
    for attempt in 0..20 {
        let release = space.begin(Item, &[]).await;
        let lists = vec![list("a", &[("b", 0.5)]), list("b", &[("a", 0.5)]), list("c", &[])];
        dropped_after(attempt % 6, space.put_neighbours(&release, lists.clone(), PutOptions::default()))
            .await;
        let sealed = space.seal_release(&release, Vec::new()).await.unwrap();
        assert!(matches!((sealed.lists, sealed.neighbours), (0, 0) | (3, 2)), "{sealed:?}");
        let retried = space.put_neighbours(&release, lists, PutOptions::default()).await.unwrap_err();
        assert_eq!(retried.kind(), ErrorKind::Conflict);
    }
}

pub(super) async fn a_dropped_erasure_is_done_whole_or_not_at_all(h: &Harness) {
    let space = h.space();
    for attempt in 0..20 {
        let id = format!("u{attempt}");
        space.put(batch(attempt)).await;
        let entity = user(&id).into();
        dropped_after(attempt % 6, space.erase(&entity, Default::default())).await;
        // In this order: the erasure may still be under way, and commit between the two reads.
        let features = space.feature_row("user_ratings", &id).await;
        let rows = space.user_rows(&id).await.len();
        assert!(rows == 0 || rows == 25, "{rows} of 25");
        assert!(rows == 0 || features.is_some(), "features erased before ratings");
        space.erase_user(&id).await;
        assert!(space.user_rows(&id).await.is_empty());
    }
    assert!(space.rows().await.is_empty());
}

pub(super) async fn a_scan_that_is_left_early_holds_nothing_up(h: &Harness) {
    use futures::StreamExt;
    let space = h.space();
    space.put((0..50).map(|index| rating(&format!("u{index}"), "i", 1.0, at(1)))).await;
    for _ in 0..20 {
        let mut scan = space.scan_ratings(recstore_core::ScanOptions::default().with_batch_rows(1));
        assert_eq!(scan.next().await.unwrap().unwrap().len(), 1);
    }
    space.put([rating("new", "i", 1.0, at(1))]).await;
    assert_eq!(space.rows().await.len(), 51);
}

pub(super) async fn readers_of_many_handles_agree(h: &Harness) {
    let space: Space = h.space();
    space.put((0..20).map(|index| rating("u", &index.to_string(), 1.0, at(index)))).await;
    let whole = space.user_rows("u").await;
    let tasks = (0..32).map(|_| {
        let (space, whole) = (space.clone(), whole.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                assert_eq!(space.user_rows("u").await, whole);
                assert_eq!(space.features("user_ratings", &["u"]).await.ids, keys(&["u"]));
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
}
