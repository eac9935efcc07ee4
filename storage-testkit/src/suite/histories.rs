//! Histories and scans: order, pages, tokens, shards, batches, filters.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use recstore_core::{
    ErrorKind, HistoryOptions, HistoryPage, PageToken, Rating, RatingRow, ScanOptions, ShardRange, TimeRange,
};

use super::harness::Harness;
use super::space::Space;
use super::words::{
    at, everything, fold, hostile_ids, item, rating, rating_with_id, user, withdrawal, withdrawal_with_id,
};

/// One user and one item with ties on time, on time and event id, a withdrawal, and ids with dots.
fn tied() -> Vec<Rating> {
    let others = ["a", "b", "a.b", "9", "10", "ä", "1.2.3", "z"];
    let mut events = Vec::new();
    for (index, other) in others.iter().enumerate() {
        let (seconds, id) = (index as i64 / 3, index as u128 / 2);
        events.push(rating_with_id("u", other, 1.0, at(seconds), id));
        events.push(rating_with_id(other, "i", 1.0, at(seconds), id));
    }
    events.push(withdrawal_with_id("u", "w", at(1), 1));
    events.push(withdrawal_with_id("w", "i", at(1), 1));
    events.push(rating("someone", "else", 1.0, at(1)));
    events
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    User,
    Item,
}

/// What the history of user `u` or item `i` must be, by the rule of the contract.
fn expected(of: Of, rows: Vec<RatingRow>) -> Vec<RatingRow> {
    let belongs = |row: &RatingRow| match of {
        Of::User => row.rating.user().as_str() == "u",
        Of::Item => row.rating.item().as_str() == "i",
    };
    let mut rows: Vec<RatingRow> = rows.into_iter().filter(belongs).collect();
    rows.sort_by_key(|row| {
        let other = match of {
            Of::User => row.rating.item().as_str().to_owned(),
            Of::Item => row.rating.user().as_str().to_owned(),
        };
        std::cmp::Reverse((row.rating.rated_at(), row.rating.event_id(), other))
    });
    rows
}

async fn page(space: &Space, of: Of, options: HistoryOptions) -> HistoryPage {
    match of {
        Of::User => space.user_history(&user("u"), options).await.unwrap(),
        Of::Item => space.item_history(&item("i"), options).await.unwrap(),
    }
}

/// Every page in turn.
async fn pages(space: &Space, of: Of, options: HistoryOptions) -> Vec<Vec<RatingRow>> {
    let mut pages = Vec::new();
    let mut token = None;
    loop {
        let page = page(space, of, options.clone().with_token(token)).await;
        pages.push(page.rows);
        token = page.next;
        if token.is_none() {
            return pages;
        }
        assert!(pages.len() < 1_000, "the pages never end");
    }
}

pub(super) async fn a_history_is_newest_first_by_time_event_id_and_other_id(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for of in [Of::User, Of::Item] {
        let page = page(&space, of, everything()).await;
        assert_eq!(page.rows, expected(of, fold(&tied())), "{of:?}");
        assert_eq!(page.next, None);
    }
}

pub(super) async fn pages_of_every_size_join_to_the_whole_history(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for of in [Of::User, Of::Item] {
        let whole = expected(of, fold(&tied()));
        for limit in 1..=whole.len() + 1 {
            let pages = pages(&space, of, everything().with_limit(limit)).await;
            assert_eq!(pages.concat(), whole, "{of:?} by {limit}");
            let full = pages.iter().rev().skip(1).all(|rows| rows.len() == limit);
            assert!(full && pages.len() == whole.len().div_ceil(limit), "{of:?} by {limit}: {pages:?}");
        }
    }
}

pub(super) async fn pages_join_among_hostile_ids_of_equal_time(h: &Harness) {
    let space = h.space();
    let ids = hostile_ids();
    let events: Vec<Rating> = ids
        .iter()
        .flat_map(|id| [rating_with_id("u", id, 1.0, at(1), 7), rating_with_id(id, "i", 1.0, at(1), 7)])
        .collect();
    space.put(events.clone()).await;
    for of in [Of::User, Of::Item] {
        let pages = pages(&space, of, everything().with_limit(3)).await;
        assert_eq!(pages.concat(), expected(of, fold(&events)), "{of:?}");
    }
}

pub(super) async fn a_token_kept_as_text_goes_on_where_the_page_ended(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    let first = page(&space, Of::User, everything().with_limit(4)).await;
    let kept = first.next.unwrap().as_str().to_owned();
    let rest = page(&space, Of::User, everything().with_token(Some(PageToken::from_text(kept)))).await;
    assert_eq!([first.rows, rest.rows].concat(), expected(Of::User, fold(&tied())));
}

pub(super) async fn a_token_stays_valid_while_events_come_in(h: &Harness) {
    let space = h.space();
    let old: Vec<Rating> =
        (0..9).map(|index| rating("u", &format!("old{index}"), 1.0, at(100 + index))).collect();
    space.put(old.clone()).await;
    let first = page(&space, Of::User, everything().with_limit(4)).await;
    // Newer ones, one in the part not yet read, and one row that is read already changes its time.
    space.put((0..5).map(|index| rating("u", &format!("new{index}"), 1.0, at(200 + index)))).await;
    space.put([rating("u", "between", 1.0, at(101))]).await;
    space.put([rating("u", "old8", 5.0, at(300))]).await;
    let mut rows = first.rows;
    let mut token = first.next;
    while token.is_some() {
        let page = page(&space, Of::User, everything().with_limit(2).with_token(token)).await;
        rows.extend(page.rows);
        token = page.next;
    }
    let mut seen = HashSet::new();
    assert!(rows.iter().all(|row| seen.insert(row.rating.item().clone())), "seen twice: {rows:?}");
    assert!(old.iter().all(|event| seen.contains(event.item())), "skipped: {rows:?}");
}

pub(super) async fn a_foreign_token_is_refused(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for text in ["", ".", "nonsense", "1.2", "1.2.3", "x.00000000000000000000000000000007.a", "OFFSET 10"] {
        let options = HistoryOptions::default().with_token(Some(PageToken::from_text(text)));
        for error in [
            space.user_history(&user("u"), options.clone()).await.unwrap_err(),
            space.item_history(&item("i"), options).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("token")), "{text:?}");
        }
    }
}

pub(super) async fn a_token_of_another_history_is_refused(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    let page = space.user_history(&user("u"), HistoryOptions::default().with_limit(1)).await.unwrap();
    let options = HistoryOptions::default().with_token(Some(page.next.unwrap()));
    for error in [
        space.user_history(&user("another"), options.clone()).await.unwrap_err(),
        space.item_history(&item("u"), options.clone()).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("token")));
    }
    assert!(space.user_history(&user("u"), options).await.is_ok());
}

pub(super) async fn a_page_size_out_of_range_is_refused(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for limit in [0, 10_001, usize::MAX] {
        let options = HistoryOptions::default().with_limit(limit);
        for error in [
            space.user_history(&user("u"), options.clone()).await.unwrap_err(),
            space.item_history(&item("nobody"), options).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("limit")), "{limit}");
        }
    }
}

pub(super) async fn a_page_has_a_hundred_rows_unless_told(h: &Harness) {
    let space = h.space();
    space.put((0..101).map(|index| rating("u", &index.to_string(), 1.0, at(index)))).await;
    let page = page(&space, Of::User, HistoryOptions::default()).await;
    assert_eq!(page.rows.len(), 100);
    assert!(page.next.is_some());
}

pub(super) async fn an_unknown_user_or_item_has_an_empty_page(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 1.0, at(1))]).await;
    for page in [
        space.user_history(&user("i"), everything()).await.unwrap(),
        space.item_history(&item("u"), everything()).await.unwrap(),
    ] {
        assert_eq!(page, HistoryPage { rows: Vec::new(), next: None });
    }
}

pub(super) async fn a_history_filter_by_time_includes_its_start_and_excludes_its_end(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for of in [Of::User, Of::Item] {
        for time in time_ranges() {
            let mut rows = expected(of, fold(&tied()));
            rows.retain(|row| time.contains(row.rating.rated_at()));
            let pages = pages(&space, of, everything().with_time(time).with_limit(2)).await;
            assert_eq!(pages.concat(), rows, "{of:?} {time:?}");
        }
    }
}

/// Open and closed ranges around the times of [`tied`], an empty and a backward one.
fn time_ranges() -> Vec<TimeRange> {
    let ends = [None, Some(at(0)), Some(at(1)), Some(at(2)), Some(at(3))];
    ends.iter().flat_map(|&from| ends.iter().map(move |&to| TimeRange { from, to })).collect()
}

pub(super) async fn withdrawn_rows_are_shown_on_demand_only(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for of in [Of::User, Of::Item] {
        let whole = expected(of, fold(&tied()));
        let mut standing = whole.clone();
        standing.retain(|row| !row.rating.is_withdrawn());
        assert_eq!(standing.len() + 1, whole.len());
        for limit in [1, 2, 100] {
            let options = HistoryOptions::default().with_limit(limit);
            assert_eq!(pages(&space, of, options.clone()).await.concat(), standing);
            assert_eq!(pages(&space, of, options.with_withdrawn(true)).await.concat(), whole);
        }
    }
    assert_eq!(space.scan(ScanOptions::default()).await.len() + 2, space.rows().await.len());
}

/// Many users with several items each, some withdrawn.
fn crowd() -> Vec<Rating> {
    let mut events = Vec::new();
    for of in 0..40 {
        for what in 0..=(of % 5) {
            let (of, what) = (format!("user{of}"), format!("{}", what * 7));
            events.push(rating(&of, &what, 1.0, at(events.len() as i64)));
        }
    }
    events.extend((0..40).step_by(4).map(|of| withdrawal(&format!("user{of}"), "0", at(1_000))));
    events
}

pub(super) async fn a_scan_gives_every_row_once_in_order_of_user_and_item(h: &Harness) {
    let space = h.space();
    assert!(space.rows().await.is_empty());
    space.put(crowd()).await;
    assert_eq!(space.rows().await, fold(&crowd()));
}

pub(super) async fn shards_are_disjoint_and_complete_and_each_in_order(h: &Harness) {
    let space = h.space();
    let mut events = crowd();
    events.extend(hostile_ids().iter().map(|id| rating(id, "i", 1.0, at(1))));
    space.put(events.clone()).await;
    for count in [1, 2, 3, 7, 64] {
        let mut all = Vec::new();
        for shard in ShardRange::split(count).unwrap() {
            let rows = space.scan(ScanOptions::default().with_shard(shard).with_withdrawn(true)).await;
            assert!(rows.iter().all(|row| shard.contains(row.rating.user().as_str())), "{shard:?}");
            let pair = |row: &RatingRow| (row.rating.user().clone(), row.rating.item().clone());
            assert!(rows.is_sorted_by_key(pair), "{shard:?}");
            all.extend(rows);
        }
        all.sort_by_key(|row| (row.rating.user().clone(), row.rating.item().clone()));
        assert_eq!(all, fold(&events), "{count} shards");
    }
}

pub(super) async fn no_batch_of_a_scan_is_empty_or_larger_than_asked(h: &Harness) {
    let space = h.space();
    let none: Vec<Vec<RatingRow>> = space.scan_ratings(ScanOptions::default()).try_collect().await.unwrap();
    assert!(none.is_empty(), "a scan of nothing has no batch");
    space.put(crowd()).await;
    for size in [1, 2, 3, 7, 1_000] {
        for shard in ShardRange::split(3).unwrap() {
            let options = ScanOptions::default().with_shard(shard).with_withdrawn(true).with_batch_rows(size);
            let batches: Vec<Vec<RatingRow>> = space.scan_ratings(options).try_collect().await.unwrap();
            assert!(batches.iter().all(|batch| (1..=size).contains(&batch.len())), "{size}: {batches:?}");
            let whole = space.scan(ScanOptions::default().with_shard(shard).with_withdrawn(true)).await;
            assert_eq!(batches.concat(), whole);
        }
    }
    // The field is public, and a batch has at least one row.
    let options = ScanOptions { batch_rows: 0, ..ScanOptions::default().with_withdrawn(true) };
    assert_eq!(space.scan(options).await, space.rows().await);
}

pub(super) async fn a_scan_filter_by_time_includes_its_start_and_excludes_its_end(h: &Harness) {
    let space = h.space();
    space.put(tied()).await;
    for time in time_ranges() {
        for withdrawn in [false, true] {
            let mut rows = fold(&tied());
            rows.retain(|row| time.contains(row.rating.rated_at()));
            rows.retain(|row| withdrawn || !row.rating.is_withdrawn());
            let options = ScanOptions::default().with_time(time).with_withdrawn(withdrawn).with_batch_rows(2);
            assert_eq!(space.scan(options).await, rows, "{time:?} {withdrawn}");
        }
    }
}

pub(super) async fn rows_that_do_not_change_during_a_scan_are_seen_exactly_once(h: &Harness) {
    let space = h.space();
    let still: Vec<Rating> =
        (0..50).map(|index| rating(&format!("s{index:02}"), "i", 1.0, at(index))).collect();
    space.put(still.clone()).await;
    let options = ScanOptions::default().with_batch_rows(4);
    let mut scan = space.scan_ratings(options);
    let mut seen: Vec<RatingRow> = Vec::new();
    let mut round = 0;
    while let Some(batch) = scan.next().await {
        seen.extend(batch.unwrap());
        // New users and items before, at and after the place that the scan has reached.
        if round < 6 {
            let new = |index: i64| rating(&format!("s{index:02}"), &format!("new{round}"), 2.0, at(index));
            space.put((0..50).map(new).chain([rating(&format!("a{round}"), "i", 1.0, at(1))])).await;
        }
        round += 1;
    }
    seen.retain(|row| row.rating.item().as_str() == "i" && row.rating.user().as_str().starts_with('s'));
    assert_eq!(seen, fold(&still));
}
