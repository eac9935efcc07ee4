//! Very many hostile ids in hostile namespaces: everything comes back exactly, and nothing from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use recstore_core::{
    EntityKey, EntityKind, EventId, GetOptions, ItemId, Namespace, NeighbourList, PutOptions, Rating,
    RatingValue, UserId,
};

use super::custom::{aged, profile};
use super::harness::Harness;
use super::space::Space;
use super::words::{at, everything, fold, key, keys, list, rating, row_values, values};
use crate::hostile::HostileTexts;
use EntityKind::Item;

/// Ids of all namespaces together.
const IDS: usize = 600;
/// So many namespaces; each holds about half of the ids.
const NAMESPACES: usize = 12;
const SEED: u64 = 1;

/// Ids that differ by little, and namespaces that are prefixes of each other.
fn hostile() -> (Vec<String>, Vec<Namespace>) {
    let mut texts = HostileTexts::new(SEED);
    let (mut ids, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    while ids.len() < IDS {
        ids.extend(<[String; 2]>::from(texts.pair()));
    }
    namespaces.extend(["a", "a-", "a--", "a_", "0", "00"].map(|name| Namespace::new(name).unwrap()));
    while namespaces.len() < NAMESPACES {
        namespaces.insert(texts.namespace());
    }
    (ids.into_iter().collect(), namespaces.into_iter().collect())
}

/// Which ids a namespace holds.
fn held(ids: &[String], namespace: usize) -> Vec<&str> {
    let holds = |&(index, _): &(usize, &String)| (index * 31 + namespace * 17) % 100 < 50;
    ids.iter().enumerate().filter(holds).map(|(_, id)| id.as_str()).collect()
}

/// Every id rates itself and the next one, with a value that says in which namespace.
fn ratings(held: &[&str], namespace: usize) -> Vec<Rating> {
    let value = RatingValue::from_micros(1_000_000 + namespace as i64).ok();
    let next = held.iter().cycle().skip(1);
    let pairs = held.iter().zip(next).flat_map(|(id, next)| [(*id, *id), (*id, *next)]);
    let event = |(user, item): (&str, &str)| {
        let id = EventId::from_u128(namespace as u128);
        Rating::from_parts(UserId::new(user).unwrap(), ItemId::new(item).unwrap(), value, at(1), Some(id))
    };
    pairs.map(event).collect()
}

async fn fill(space: &Space, held: &[&str], namespace: usize) {
    space.put(ratings(held, namespace)).await;
    space.register(&profile()).await;
    space.put_rows("profile", held.iter().map(|id| aged(id, at(1), namespace as i64)).collect()).await;
    let lists: Vec<NeighbourList> =
        held.iter().zip(held.iter().cycle().skip(1)).map(|(id, next)| list(id, &[(next, 0.5)])).collect();
    space.promoted(Item, &lists, Vec::new()).await;
    // Hidden items leave lists: those of the last ids only, which nothing else looks at.
    space.hide_items(vec![ItemId::new(held[0]).unwrap()]).await.unwrap();
}

async fn assert_holds(space: &Space, ids: &[String], held: &[&str], namespace: usize) {
    let expected = fold(&ratings(held, namespace));
    assert_eq!(space.rows().await, expected, "rows of {}", space.namespace());
    let inside: BTreeSet<&str> = held.iter().copied().collect();
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let pairs: Vec<(UserId, ItemId)> =
        all.iter().map(|id| (UserId::new(id).unwrap(), ItemId::new(id).unwrap())).collect();
    let rows = values(space.get_ratings(&pairs, GetOptions::default()).await.unwrap());
    let lists = space.neighbours(Item, &all).await;
    let custom = space.features("profile", &all).await;
    let built_in = space.features("user_ratings", &all).await;
    let next: BTreeMap<&str, &str> = held.iter().copied().zip(held.iter().copied().cycle().skip(1)).collect();
    for (index, id) in all.iter().enumerate() {
        let here = inside.contains(id);
        assert_eq!(rows[index].as_ref().map(|row| row.rating.user().as_str()), here.then_some(*id));
        assert_eq!(row_values(&custom, index).is_some(), here, "custom row of {id:?}");
        assert_eq!(row_values(&built_in, index).is_some(), here, "features of {id:?}");
        let neighbours: Option<Vec<EntityKey>> =
            lists[index].as_ref().map(|list| list.iter().map(|neighbour| neighbour.id.clone()).collect());
        let visible = |id: &&&str| **id != held[0];
        let listed =
            next.get(id).map(|next| Some(next).filter(visible).map(|id| key(id)).into_iter().collect());
        assert_eq!(neighbours, listed, "neighbours of {id:?}");
    }
    for id in held.iter().take(25) {
        let user = space.user_history(&UserId::new(id).unwrap(), everything()).await.unwrap().rows;
        let item = space.item_history(&ItemId::new(id).unwrap(), everything()).await.unwrap().rows;
        assert!(user.len() == 2 && user.iter().all(|row| row.rating.user().as_str() == *id), "{id:?}");
        assert!(item.len() == 2 && item.iter().all(|row| row.rating.item().as_str() == *id), "{id:?}");
    }
    assert_eq!(space.hidden_items().await.unwrap(), [ItemId::new(held[0]).unwrap()]);
}

pub(super) async fn hostile_ids_in_hostile_namespaces_come_back_exactly_and_from_nowhere_else(h: &Harness) {
    let (ids, namespaces) = hostile();
    let spaces: Vec<Space> = namespaces.iter().map(|namespace| h.other(namespace.as_str())).collect();
    for (number, space) in spaces.iter().enumerate() {
        fill(space, &held(&ids, number), number).await;
    }
    for (number, space) in spaces.iter().enumerate() {
        assert_holds(space, &ids, &held(&ids, number), number).await;
        space.assert_features_fit(h.context().prior).await;
    }
}

pub(super) async fn erasing_hostile_ids_takes_only_those(h: &Harness) {
    let (ids, _) = hostile();
    let (space, other) = (h.other("a"), h.other("a-"));
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    for space in [&space, &other] {
        space.put(all.iter().map(|id| rating(id, "i", 1.0, at(1)))).await;
    }
    let erased: BTreeSet<&str> = all.iter().copied().step_by(3).collect();
    for id in &erased {
        space.erase_user(id).await;
    }
    let left: Vec<Rating> =
        all.iter().filter(|id| !erased.contains(*id)).map(|id| rating(id, "i", 1.0, at(1))).collect();
    space.assert_rows(&fold(&left), h.context().prior).await;
    assert_eq!(other.rows().await.len(), ids.len(), "the other namespace has all");
    let replay = all.iter().map(|id| rating(id, "i", 1.0, at(1))).collect();
    let receipt = space.put_ratings(replay, PutOptions::default()).await.unwrap();
    if space.capabilities().ordered_at_put {
        assert_eq!(receipt.count(recstore_core::Outcome::Erased), erased.len());
    }
    assert_eq!(space.features("user_ratings", &all).await.ids, keys(&all));
}
