//! Every order of six events about one pair leaves the same state, however the events are divided into calls.

use std::collections::BTreeSet;

use recstore_core::{EntityKind, Rating};

use super::harness::Harness;
use super::space::Space;
use super::words::{at, built_in_row, fold, permutations, rating_with_id, withdrawal_with_id};

/// Six events of one pair: a rating, a re-rating, two of the same time of which one reuses the other's id, a
/// withdrawal and one that comes late. The withdrawal is the newest event, or it is not.
fn events(withdrawn: bool) -> Vec<Rating> {
    vec![
        rating_with_id("u", "i", 3.0, at(10), 1),
        rating_with_id("u", "i", 4.0, at(20), 2),
        rating_with_id("u", "i", 1.0, at(20), 3),
        rating_with_id("u", "i", 2.0, at(20), 3),
        withdrawal_with_id("u", "i", at(if withdrawn { 20 } else { 15 }), 3),
        rating_with_id("u", "i", 5.0, at(5), 9),
    ]
}

/// Puts every order, divided into calls of at most these sizes, into a namespace of its own.
async fn every_order_agrees(h: &Harness, sizes: &[usize]) {
    let prior = h.context().prior;
    for withdrawn in [false, true] {
        let events = events(withdrawn);
        let expected = fold(&events);
        assert_eq!(expected[0].rating.is_withdrawn(), withdrawn);
        let features = [EntityKind::User, EntityKind::Item].map(|kind| built_in_row(kind, &expected, prior));
        let mut prints = BTreeSet::new();
        let orders = permutations(events.len());
        assert_eq!(orders.len(), 720);
        for (number, order) in orders.iter().enumerate() {
            let space: Space = h.other(&format!("order-{number}-{withdrawn}"));
            let mut left: Vec<Rating> = order.iter().map(|&index| events[index].clone()).collect();
            for &size in sizes {
                let rest = left.split_off(size.min(left.len()));
                space.put(std::mem::replace(&mut left, rest)).await;
            }
            assert!(left.is_empty(), "all events are put");
            assert_eq!(space.rows().await, expected, "order {order:?}");
            let found =
                [space.feature_row("user_ratings", "u").await, space.feature_row("item_ratings", "i").await];
            assert_eq!(found, features, "order {order:?}");
            prints.insert(format!("{:?}", space.prints().await));
        }
        assert_eq!(prints.len(), 1, "one fingerprint");
    }
}

pub(super) async fn all_720_orders_of_six_events_in_single_puts_agree(h: &Harness) {
    every_order_agrees(h, &[1; 6]).await;
}

pub(super) async fn all_720_orders_of_six_events_in_one_batch_agree(h: &Harness) {
    every_order_agrees(h, &[6]).await;
}

pub(super) async fn all_720_orders_of_six_events_in_two_batches_agree(h: &Harness) {
    every_order_agrees(h, &[3, 3]).await;
}
