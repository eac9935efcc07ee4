use futures::TryStreamExt;

use super::*;
use crate::{
    ErrorKind, GetOptions, HistoryOptions, PageToken, RatingStoreExt, ScanOptions, ShardRange, TimeRange,
};

#[tokio::test]
async fn a_stale_event_changes_only_the_earliest_time() {
    let store = store();
    put_one(&store, rating(1, 2, 5.0, 20)).await;
    assert_eq!(put_one(&store, rating(1, 2, 1.0, 10)).await, Outcome::Stale);
    let row = store.get_rating(&1.into(), &2.into()).await.unwrap().unwrap();
    assert_eq!((row.rating, row.first_rated_at), (rating(1, 2, 5.0, 20), at(10)));
    assert_eq!(put_one(&store, rating(1, 2, 4.0, 30)).await, Outcome::Applied);
    let row = store.get_rating(&1.into(), &2.into()).await.unwrap().unwrap();
    assert_eq!((row.rating, row.first_rated_at), (rating(1, 2, 4.0, 30), at(10)));
}

#[tokio::test]
async fn every_order_of_the_same_events_gives_the_same_rows() {
    let events = [rating(1, 2, 5.0, 20), rating(1, 2, 1.0, 10), withdrawal(1, 2, 20), rating(1, 2, 2.0, 20)];
    let mut rows = Vec::new();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let store = store();
        put(&store, order.map(|index: usize| events[index].clone()).to_vec()).await;
        rows.push(store.get_rating(&1.into(), &2.into()).await.unwrap().unwrap());
    }
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
}

#[tokio::test]
async fn a_reused_event_id_is_reported_and_the_total_order_decides() {
    let store = store();
    assert_eq!(put_one(&store, with_id(rating(1, 2, 3.0, 10), 7)).await, Outcome::Applied);
    let other_pair = with_id(rating(1, 3, 4.0, 10), 7);
    let lower = with_id(rating(1, 2, 2.0, 10), 7);
    let higher = with_id(rating(1, 2, 4.0, 10), 7);
    let receipt = put(&store, vec![other_pair, lower.clone()]).await;
    assert_eq!((receipt.outcomes, receipt.conflicts), (vec![Outcome::Applied, Outcome::Stale], vec![1]));
    let receipt = put(&store, vec![higher.clone(), higher.clone(), lower]).await;
    assert_eq!(receipt.outcomes, [Outcome::Applied, Outcome::Duplicate, Outcome::Stale]);
    // All three are in conflict within the batch.
    assert_eq!(receipt.conflicts, [0, 1, 2]);
    assert_eq!(store.get_rating(&1.into(), &2.into()).await.unwrap().unwrap().rating, higher);
}

#[tokio::test]
async fn one_event_too_far_ahead_refuses_the_whole_batch() {
    let (store, _) = store_at(0);
    let events = vec![rating(1, 1, 3.0, 0), rating(1, 2, 3.0, DAY + 1)];
    let error = store.put_ratings(events, PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("events[1].rated_at")));
    assert_eq!(store.count_ratings(GetOptions::default()).await.unwrap().ratings, 0);
    assert_eq!(put_one(&store, rating(1, 2, 3.0, DAY)).await, Outcome::Applied);
}

#[tokio::test]
async fn a_history_is_newest_first_by_time_event_and_item() {
    let store = store();
    let events = vec![
        with_id(rating(1, 1, 1.0, 10), 5),
        with_id(rating(1, 9, 2.0, 10), 5),
        with_id(rating(1, 10, 3.0, 10), 5),
        with_id(rating(1, 4, 4.0, 10), 6),
        with_id(rating(1, 5, 5.0, 9), 9),
        withdrawal(1, 6, 11),
    ];
    put(&store, events).await;
    let items = |rows: &[crate::RatingRow]| -> Vec<String> {
        rows.iter().map(|row| row.rating.item().to_string()).collect()
    };
    let page = store.user_history(&1.into(), HistoryOptions::default()).await.unwrap();
    // Among equals the greater text is newer: "9" > "10" > "1".
    assert_eq!(items(&page.rows), ["4", "9", "10", "1", "5"]);
    assert_eq!(page.next, None);
    let all = HistoryOptions::default().with_withdrawn(true);
    assert_eq!(items(&store.user_history(&1.into(), all).await.unwrap().rows)[0], "6");
    let time = TimeRange { from: Some(at(9)), to: Some(at(10)) };
    let early = HistoryOptions::default().with_time(time);
    assert_eq!(items(&store.user_history(&1.into(), early).await.unwrap().rows), ["5"]);
}

#[tokio::test]
async fn pages_of_every_size_join_to_the_whole_history_and_the_last_has_no_token() {
    let store = store();
    put(&store, (0..12).map(|user| with_id(rating(user, 7, 3.0, 5), 1)).collect()).await;
    let whole = store.item_history(&7.into(), HistoryOptions::default()).await.unwrap().rows;
    assert_eq!(whole.len(), 12);
    for limit in 1..=13 {
        let (mut rows, mut token, mut pages) = (Vec::new(), None, 0);
        loop {
            let options = HistoryOptions::default().with_limit(limit).with_token(token);
            let page = store.item_history(&7.into(), options).await.unwrap();
            rows.extend(page.rows);
            pages += 1;
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!((rows, pages), (whole.clone(), 12_usize.div_ceil(limit)));
    }
}

#[tokio::test]
async fn a_limit_out_of_range_or_a_foreign_token_is_refused_even_for_unknown_users() {
    let store = store();
    let limit = HistoryOptions::default().with_limit(0);
    assert_eq!(store.user_history(&1.into(), limit).await.unwrap_err().field(), Some("limit"));
    let token = HistoryOptions::default().with_token(Some(PageToken::from_text("page 2")));
    assert_eq!(store.user_history(&1.into(), token).await.unwrap_err().field(), Some("token"));
}

#[tokio::test]
async fn scans_are_in_order_of_the_ids_bytes_in_full_batches_and_shards_are_complete() {
    let store = store();
    let events = (0..10).flat_map(|user| (0..7).map(move |item| rating(user, item, 3.0, 5)));
    put(&store, events.chain([withdrawal(3, 99, 6), rating(10, 1, 2.0, 7)]).collect()).await;
    let batches: Vec<_> =
        store.scan_ratings(ScanOptions::default().with_batch_rows(4)).try_collect().await.unwrap();
    let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.len()), (71, 18));
    let rows = batches.concat();
    assert!(rows.is_sorted_by_key(|row| (row.rating.user().clone(), row.rating.item().clone())));
    let mut sharded = Vec::new();
    for shard in ShardRange::split(3).unwrap() {
        let options = ScanOptions::default().with_shard(shard).with_withdrawn(true);
        sharded.extend(store.scan_ratings(options).try_concat().await.unwrap());
    }
    assert_eq!(sharded.len(), 72);
    let late = ScanOptions::default().with_time(TimeRange { from: Some(at(7)), to: None });
    // Users in order of their text: 0, 1, 10, 2, …
    assert_eq!(store.scan_ratings(late).try_concat().await.unwrap(), rows[14..15]);
}

#[tokio::test]
async fn a_scan_of_a_store_that_is_closed_meanwhile_ends_with_an_error() {
    let store = store();
    put(&store, vec![rating(1, 1, 3.0, 1), rating(1, 2, 3.0, 1)]).await;
    let mut scan = store.scan_ratings(ScanOptions::default().with_batch_rows(1));
    assert_eq!(scan.try_next().await.unwrap().unwrap().len(), 1);
    crate::Storage::close(&store).await.unwrap();
    assert_eq!(scan.try_next().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(scan.try_next().await.unwrap().is_none());
}
