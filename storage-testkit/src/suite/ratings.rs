//! Putting and getting ratings: idempotence, order, ties, conflicts, limits, hostile ids.

use recstore_core::ratings::MAX_BATCH_EVENTS;
use recstore_core::{
    Durability, EventId, GetOptions, ItemId, Lookup, Origin, Outcome, PutOptions, Rating, RatingValue,
    Timestamp, UserId,
};

use super::harness::Harness;
use super::words::{
    after_now, at, fold, hostile_ids, item, now, permutations, rating, rating_with_id, user, value, values,
    withdrawal, withdrawal_with_id,
};
use Outcome::{Applied, Duplicate, Stale};

pub(super) async fn the_same_events_again_change_nothing(h: &Harness) {
    let space = h.space();
    let events = [
        rating("u1", "i1", 4.0, at(10)),
        rating("u1", "i2", 3.5, at(20)),
        withdrawal("u2", "i1", at(30)),
        rating("u1", "i1", 2.0, at(5)),
    ];
    space.put_expecting(events.clone(), &[Applied, Applied, Applied, Stale]).await;
    let (rows, prints) = (space.rows().await, space.prints().await);
    for _ in 0..3 {
        space.put_expecting(events.clone(), &[Duplicate, Duplicate, Duplicate, Stale]).await;
        assert_eq!(space.rows().await, rows);
        assert_eq!(space.prints().await, prints);
    }
    space.assert_rows(&fold(&events), h.context().prior).await;
}

pub(super) async fn the_newest_event_wins_and_an_older_one_is_stale(h: &Harness) {
    let space = h.space();
    space.put_expecting([rating("u", "i", 3.0, at(100))], &[Applied]).await;
    space.put_expecting([rating("u", "i", 5.0, at(99))], &[Stale]).await;
    assert_eq!(space.row("u", "i").await.unwrap().rating.value(), Some(value(3.0)));
    space.put_expecting([rating("u", "i", 1.0, at(101))], &[Applied]).await;
    assert_eq!(space.row("u", "i").await.unwrap().rating, rating("u", "i", 1.0, at(101)));
    space.put_expecting([rating("u", "i", 3.0, at(100))], &[Stale]).await;
    assert_eq!(space.row("u", "i").await.unwrap().rating, rating("u", "i", 1.0, at(101)));
}

pub(super) async fn of_equal_times_the_greater_event_id_wins(h: &Harness) {
    let space = h.space();
    // Ids around the borders of signed and unsigned 64-bit halves: they are ordered as one big number.
    let ids = [0, 1, u128::from(u64::MAX), 1 << 64, 1 << 127, u128::MAX];
    for (index, pair) in ids.windows(2).enumerate() {
        let what = index.to_string();
        let low = rating_with_id("u", &what, 5.0, at(1), pair[0]);
        let high = rating_with_id("u", &what, 1.0, at(1), pair[1]);
        space.put_expecting([high.clone(), low.clone()], &[Applied, Stale]).await;
        space.put_expecting([low, high.clone()], &[Stale, Duplicate]).await;
        assert_eq!(space.row("u", &what).await.unwrap().rating, high);
    }
}

pub(super) async fn of_equal_times_and_ids_a_withdrawal_wins_then_the_greater_value(h: &Harness) {
    let space = h.space();
    let low = rating_with_id("u", "i", -2.0, at(1), 7);
    let high = rating_with_id("u", "i", 1.0, at(1), 7);
    let withdrawn = withdrawal_with_id("u", "i", at(1), 7);
    space.put_expecting([low.clone()], &[Applied]).await;
    space.put_expecting([high.clone()], &[Applied]).await;
    space.put_expecting([low.clone()], &[Stale]).await;
    space.put_expecting([withdrawn.clone()], &[Applied]).await;
    space.put_expecting([high], &[Stale]).await;
    assert_eq!(space.row("u", "i").await.unwrap().rating, withdrawn);
}

/// Six events of one pair: two times, ties on time, on id, on both, and withdrawals.
fn rivals(of: &str, what: &str) -> Vec<Rating> {
    vec![
        rating_with_id(of, what, 4.0, at(10), 5),
        rating_with_id(of, what, 2.0, at(20), 3),
        withdrawal_with_id(of, what, at(20), 3),
        rating_with_id(of, what, 3.0, at(20), 2),
        rating_with_id(of, what, 5.0, at(20), 3),
        rating_with_id(of, what, 1.0, at(5), 9),
    ]
}

pub(super) async fn every_order_of_the_same_events_in_single_puts_gives_the_same_state(h: &Harness) {
    let space = h.space();
    for count in 1..=6 {
        let orders = permutations(count);
        // One pair for each order; batch k holds the k-th event of every order.
        let id = |order: usize| format!("{count}-{order}");
        for step in 0..count {
            let events = orders
                .iter()
                .enumerate()
                .map(|(index, order)| rivals(&id(index), &id(index)).swap_remove(order[step]));
            space.put(events).await;
        }
    }
    let all = (1..=6).flat_map(|count| {
        (0..permutations(count).len()).flat_map(move |order| {
            let id = format!("{count}-{order}");
            rivals(&id, &id).into_iter().take(count)
        })
    });
    let all: Vec<Rating> = all.collect();
    space.assert_rows(&fold(&all), h.context().prior).await;
}

pub(super) async fn every_order_of_the_same_events_in_one_batch_gives_the_same_state(h: &Harness) {
    let space = h.space();
    let mut all = Vec::new();
    for (index, order) in permutations(6).into_iter().enumerate() {
        let id = index.to_string();
        let events = rivals(&id, &id);
        all.extend(order.into_iter().map(|position| events[position].clone()));
    }
    space.put(all.clone()).await;
    space.assert_rows(&fold(&all), h.context().prior).await;
}

pub(super) async fn the_earliest_time_of_a_pair_is_kept_whatever_wins(h: &Harness) {
    let space = h.space();
    let first = async || space.row("u", "i").await.unwrap().first_rated_at;
    space.put([rating("u", "i", 3.0, at(50))]).await;
    assert_eq!(first().await, at(50));
    space.put([rating("u", "i", 4.0, at(60))]).await;
    assert_eq!(first().await, at(50));
    space.put([rating("u", "i", 4.0, at(40))]).await;
    assert_eq!(first().await, at(40));
    space.put([withdrawal("u", "i", at(30)), withdrawal("u", "i", at(70))]).await;
    assert_eq!(first().await, at(30));
    assert_eq!(space.row("u", "i").await.unwrap().rating, withdrawal("u", "i", at(70)));
}

pub(super) async fn a_reused_event_id_in_a_batch_is_reported_and_never_decides_state(h: &Harness) {
    let space = h.space();
    let batch = [
        rating_with_id("u", "i", 5.0, at(10), 7),
        rating_with_id("v", "i", 5.0, at(10), 8),
        rating_with_id("u", "i", 1.0, at(20), 7),
        rating_with_id("u", "i", 5.0, at(10), 7),
    ];
    let receipt = space.put(batch.clone()).await;
    if space.capabilities().ordered_at_put {
        assert_eq!(receipt.conflicts, [0, 2, 3]);
        assert_eq!(receipt.outcomes, [Applied, Applied, Applied, Stale]);
    }
    assert_eq!(space.rows().await, fold(&batch));
}

pub(super) async fn a_reused_event_id_of_the_current_row_is_reported_and_never_decides_state(h: &Harness) {
    let space = h.space();
    let current = rating_with_id("u", "i", 5.0, at(10), 7);
    assert!(space.put([current.clone()]).await.conflicts.is_empty());
    assert!(space.put([current.clone()]).await.conflicts.is_empty(), "a replay is no conflict");
    let others = [
        (rating_with_id("u", "i", 4.0, at(10), 7), Stale, 5.0),
        (rating_with_id("u", "i", 5.0, at(9), 7), Stale, 5.0),
        (rating_with_id("u", "i", 2.0, at(11), 7), Applied, 2.0),
    ];
    for (other, outcome, stays) in others {
        let bystander = rating("v", "i", 1.0, at(1));
        let receipt = space.put([bystander, other]).await;
        if space.capabilities().ordered_at_put {
            assert_eq!((receipt.conflicts, receipt.outcomes[1]), (vec![1], outcome));
        }
        assert_eq!(space.row("u", "i").await.unwrap().rating.value(), Some(value(stays)));
    }
}

pub(super) async fn the_same_event_id_in_another_pair_is_no_conflict(h: &Harness) {
    let space = h.space();
    let events = [
        rating_with_id("u", "i", 5.0, at(1), 7),
        rating_with_id("u", "j", 4.0, at(2), 7),
        rating_with_id("v", "i", 3.0, at(3), 7),
    ];
    let receipt = space.put(events.clone()).await;
    assert!(receipt.conflicts.is_empty());
    assert!(space.put(events.clone()).await.conflicts.is_empty());
    assert_eq!(space.rows().await, fold(&events));
}

pub(super) async fn outcomes_are_told_in_the_order_given(h: &Harness) {
    let space = h.space();
    let (old, new) = (rating("u", "i", 1.0, at(1)), rating("u", "i", 2.0, at(2)));
    let batch = [new.clone(), old.clone(), new.clone(), rating("u", "j", 1.0, at(1)), old.clone()];
    space.put_expecting(batch, &[Applied, Stale, Duplicate, Applied, Stale]).await;
    space.put_expecting([old, new], &[Stale, Duplicate]).await;
}

pub(super) async fn one_bad_event_refuses_the_whole_batch(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 3.0, at(1))]).await;
    let (rows, prints) = (space.rows().await, space.prints().await);
    let late = after_now(24 * 3_600_000 + 1);
    for bad in 0..3 {
        let mut batch =
            vec![rating("u", "i", 5.0, at(9)), rating("v", "i", 4.0, at(8)), withdrawal("u", "j", at(7))];
        batch.insert(bad, rating("w", "k", 1.0, late));
        let error = space.put_ratings(batch, PutOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), recstore_core::ErrorKind::Invalid);
        assert_eq!(error.field(), Some(format!("events[{bad}].rated_at").as_str()));
        assert_eq!(space.rows().await, rows);
        assert_eq!(space.prints().await, prints);
    }
}

pub(super) async fn events_too_far_ahead_are_refused_until_the_clock_has_moved(h: &Harness) {
    let space = h.space();
    let skew = h.context().limits.max_future_skew;
    let limit = now().saturating_add(skew);
    space.put_expecting([rating("u", "i", 1.0, limit)], &[Applied]).await;
    let ahead = rating("u", "i", 2.0, Timestamp::from_millis(limit.as_millis() + 1).unwrap());
    let error = space.put_ratings(vec![ahead.clone()], PutOptions::default()).await.unwrap_err();
    assert_eq!(error.field(), Some("events[0].rated_at"));
    h.move_clock(1);
    space.put_expecting([ahead.clone()], &[Applied]).await;
    assert_eq!(space.row("u", "i").await.unwrap().rating, ahead);
    h.move_clock(-1000);
    assert_eq!(space.row("u", "i").await.unwrap().rating, ahead, "only ingest looks at the clock");
}

pub(super) async fn a_batch_over_the_limit_is_refused_and_nothing_is_stored(h: &Harness) {
    let space = h.space();
    let event = |id| rating("u", "i", 1.0, at(1)).with_event_id(EventId::from_u128(id));
    let batch: Vec<Rating> = (0..=MAX_BATCH_EVENTS as u128).map(event).collect();
    let error = space.put_ratings(batch, PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (recstore_core::ErrorKind::Invalid, Some("events")));
    assert!(space.rows().await.is_empty());
}

pub(super) async fn a_large_batch_is_divided_by_the_store_and_stored_whole(h: &Harness) {
    let space = h.space();
    let event = |number: u64| {
        let at = Timestamp::from_millis(at(0).as_millis() + number as i64).unwrap();
        Rating::new((number % 211).into(), (number % 1009).into(), (number % 11) as f64, at).unwrap()
    };
    let batch: Vec<Rating> = (0..6_000).map(event).collect();
    let receipt = space.put(batch.clone()).await;
    assert!(receipt.conflicts.is_empty());
    space.assert_rows(&fold(&batch), h.context().prior).await;
}

pub(super) async fn answers_come_in_the_order_asked_and_a_repeated_pair_each_time(h: &Harness) {
    let space = h.space();
    let ids = ["c", "a", "b", "10", "9"];
    space.put(ids.iter().map(|id| rating("u", id, 1.0, at(1)))).await;
    let asked = ["b", "10", "nobody", "a", "b", "9", "b", "c", "nobody"];
    let pairs: Vec<(UserId, ItemId)> = asked.iter().map(|id| (user("u"), item(id))).collect();
    let rows = values(space.get_ratings(&pairs, GetOptions::default()).await.unwrap());
    let found: Vec<Option<&str>> =
        rows.iter().map(|row| row.as_ref().map(|row| row.rating.item().as_str())).collect();
    let expected = asked.map(|id| (id != "nobody").then_some(id));
    assert_eq!(found, expected);
}

pub(super) async fn many_pairs_are_answered_in_one_call(h: &Harness) {
    let space = h.space();
    let events: Vec<Rating> = (0..2_500_u64)
        .map(|number| Rating::new((number % 7).into(), number.into(), 1.0, at(number as i64)).unwrap())
        .collect();
    space.put(events.clone()).await;
    let pairs: Vec<(UserId, ItemId)> =
        (0..3_000_u64).rev().map(|number| ((number % 7).into(), number.into())).collect();
    let rows = values(space.get_ratings(&pairs, GetOptions::default()).await.unwrap());
    assert_eq!(rows.len(), 3_000);
    for (index, row) in rows.into_iter().enumerate() {
        let number = 2_999 - index;
        assert_eq!(row.map(|row| row.rating), events.get(number).cloned(), "pair {number}");
    }
}

pub(super) async fn unknown_pairs_are_missing(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 1.0, at(1)), rating("v", "j", 2.0, at(1))]).await;
    for (of, what) in [("u", "j"), ("v", "i"), ("w", "i"), ("u", "k"), ("i", "u")] {
        let pairs = [(user(of), item(what))];
        let answers = space.get_ratings(&pairs, GetOptions::default()).await.unwrap();
        assert!(matches!(answers[..], [Lookup::Missing]), "{of} {what}: {answers:?}");
    }
}

pub(super) async fn empty_input_gives_an_empty_answer(h: &Harness) {
    let space = h.space();
    let prints = space.prints().await;
    let receipt = space.put([]).await;
    assert!(receipt.outcomes.is_empty() && receipt.conflicts.is_empty());
    assert!(space.get_ratings(&[], GetOptions::default()).await.unwrap().is_empty());
    assert_eq!(space.prints().await, prints);
}

pub(super) async fn a_withdrawn_pair_is_found_as_withdrawn(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 4.0, at(1))]).await;
    let withdrawn = withdrawal("u", "i", at(2));
    space.put_expecting([withdrawn], &[Applied]).await;
    let row = space.row("u", "i").await.unwrap();
    assert!(row.rating.is_withdrawn());
    assert_eq!((row.rating.rated_at(), row.first_rated_at), (at(2), at(1)));
    space.put_expecting([rating("u", "i", 5.0, at(1))], &[Stale]).await;
    assert!(space.row("u", "i").await.unwrap().rating.is_withdrawn());
    space.put_expecting([rating("u", "i", 5.0, at(3))], &[Applied]).await;
    assert_eq!(space.row("u", "i").await.unwrap().rating.value(), Some(value(5.0)));
}

pub(super) async fn a_withdrawal_of_what_was_never_rated_is_a_row(h: &Harness) {
    let space = h.space();
    space.put_expecting([withdrawal("u", "i", at(9))], &[Applied]).await;
    assert!(space.row("u", "i").await.unwrap().rating.is_withdrawn());
    space.put_expecting([rating("u", "i", 5.0, at(8))], &[Stale]).await;
    assert!(space.row("u", "i").await.unwrap().rating.is_withdrawn());
    assert_eq!(space.row("u", "i").await.unwrap().first_rated_at, at(8));
}

pub(super) async fn values_are_kept_to_six_decimals(h: &Harness) {
    let space = h.space();
    let micros = [
        0,
        1,
        -1,
        100_000,
        2_550_000,
        3_333_333,
        -999_999,
        999_999_999_999,
        -999_999_999_999,
        RatingValue::MAX_MICROS,
        -RatingValue::MAX_MICROS,
    ];
    let events = micros.iter().enumerate().map(|(index, &micros)| {
        let value = RatingValue::from_micros(micros).unwrap();
        Rating::from_parts(user("u"), ItemId::from(index as u64), Some(value), at(1), None)
    });
    space.put(events).await;
    for (index, &micros) in micros.iter().enumerate() {
        let row = space.row("u", &index.to_string()).await.unwrap();
        assert_eq!(row.rating.value().map(RatingValue::micros), Some(micros));
    }
    space.assert_features_fit(h.context().prior).await;
}

pub(super) async fn times_and_event_ids_are_kept_exactly(h: &Harness) {
    let space = h.space();
    let times = [0, 1, 999, 1_000, 1_260_759_144_123, now().as_millis()];
    let ids = [0, 1, u128::from(u64::MAX), 1 << 64, 1 << 127, u128::MAX];
    let events: Vec<Rating> = times
        .iter()
        .zip(ids)
        .map(|(&millis, id)| {
            let rated_at = Timestamp::from_millis(millis).unwrap();
            rating_with_id("u", &format!("i{millis}"), 1.0, rated_at, id)
        })
        .collect();
    space.put(events.clone()).await;
    assert_eq!(space.rows().await, fold(&events));
}

pub(super) async fn ids_are_kept_as_given_and_never_confused(h: &Harness) {
    let space = h.space();
    let ids = hostile_ids();
    let mut events = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let number = index as f64;
        events.push(rating(id, "item", number, at(index as i64)));
        events.push(rating("user", id, number, at(index as i64)));
        events.push(rating(id, id, number, at(index as i64)));
    }
    space.put(events.clone()).await;
    space.assert_rows(&fold(&events), h.context().prior).await;
    for (index, id) in ids.iter().enumerate() {
        let number = Some(value(index as f64));
        assert_eq!(space.row(id, "item").await.unwrap().rating.value(), number, "user {id:?}");
        assert_eq!(space.row("user", id).await.unwrap().rating.value(), number, "item {id:?}");
        let own: Vec<Rating> = space.user_rows(id).await.into_iter().map(|row| row.rating).collect();
        assert!(own.len() == 2 && own.iter().all(|rating| rating.user().as_str() == id), "{id:?}: {own:?}");
        let own: Vec<Rating> = space.item_rows(id).await.into_iter().map(|row| row.rating).collect();
        assert!(own.len() == 2 && own.iter().all(|rating| rating.item().as_str() == id), "{id:?}: {own:?}");
    }
}

pub(super) async fn a_found_row_says_how_fresh_it_is_and_where_it_comes_from(h: &Harness) {
    let space = h.space();
    space.put([rating("u", "i", 1.0, at(1))]).await;
    h.move_clock(5_000);
    let pairs = [(user("u"), item("i"))];
    let answers = space.get_ratings(&pairs, GetOptions::default()).await.unwrap();
    let [Lookup::Found(found)] = &answers[..] else { panic!("not found: {answers:?}") };
    if space.capabilities().fresh_reads {
        assert_eq!((found.as_of, found.origin), (after_now(5_000), Origin::Live));
    } else {
        // Every event that was acknowledged before the batch was shown.
        assert_eq!((found.as_of, found.origin), (after_now(0), Origin::Published));
    }
}

pub(super) async fn a_receipt_says_how_the_batch_is_kept(h: &Harness) {
    let space = h.space();
    let receipt = space.put([rating("u", "i", 1.0, at(1))]).await;
    assert_eq!(receipt.durability != Durability::Memory, space.capabilities().durable);
}

pub(super) async fn counts_tell_ratings_and_withdrawn_rows_apart(h: &Harness) {
    let space = h.space();
    let counts = async || {
        let counts = space.count_ratings(GetOptions::default()).await.unwrap();
        (counts.ratings, counts.withdrawn)
    };
    assert_eq!(counts().await, (0, 0));
    space
        .put([rating("u", "i", 1.0, at(1)), rating("u", "j", 1.0, at(1)), withdrawal("v", "i", at(1))])
        .await;
    assert_eq!(counts().await, (2, 1));
    space
        .put([withdrawal("u", "i", at(2)), rating("v", "i", 2.0, at(2)), rating("u", "j", 3.0, at(2))])
        .await;
    assert_eq!(counts().await, (2, 1));
    space.put([withdrawal("v", "i", at(3))]).await;
    assert_eq!(counts().await, (1, 2));
}
