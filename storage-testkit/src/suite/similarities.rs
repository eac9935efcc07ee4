//! Releases: begun, filled, sealed, promoted, rolled back, pruned; what readers get of them.

use std::time::Duration;

use recstore_core::{
    EntityKind, ErrorKind, GetOptions, Lookup, NeighbourRequest, Origin, PruneOptions, PutOptions, ReleaseId,
    ReleaseInfo, ReleaseSpec, ReleaseState, SimilarityOptions,
};

use super::harness::Harness;
use super::space::Space;
use super::words::{after_now, hostile_ids, key, keys, list, neighbour, now, popular, spec, values};
use EntityKind::{Item, User};

async fn info(space: &Space, release: &ReleaseId) -> ReleaseInfo {
    let all = space.releases(release_kind(release)).await.unwrap();
    all.into_iter().find(|info| info.id == *release).expect("the release is listed")
}

fn release_kind(release: &ReleaseId) -> EntityKind {
    if release.as_str().starts_with("user") { User } else { Item }
}

pub(super) async fn a_release_is_invisible_until_it_is_sealed(h: &Harness) {
    let space = h.space();
    let release = space.begin(Item, &[list("a", &[("b", 0.5)])]).await;
    assert_eq!(info(&space, &release).await.state, ReleaseState::Building);
    let request = NeighbourRequest::new(Item, keys(&["a"])).with_release(release.clone());
    assert_eq!(space.get_neighbours(request).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(space.neighbour_ids(Item, "a").await, None);
    let sealed = space.seal_release(&release, Vec::new()).await.unwrap();
    assert_eq!(sealed.state, ReleaseState::Sealed);
    let answer = space.neighbours_in(Item, &release, &["a"]).await;
    assert_eq!(answer.release, Some(release));
    assert_eq!(values(answer.lists), [Some(vec![neighbour("b", 0.5, 3)])]);
    assert_eq!(space.neighbour_ids(Item, "a").await, None, "sealed is not promoted");
}

pub(super) async fn before_the_first_promotion_every_id_is_missing(h: &Harness) {
    let space = h.space();
    space.sealed(Item, &[list("a", &[("b", 0.5)])], popular(&[("a", 1)])).await;
    let answer = space.get_neighbours(NeighbourRequest::new(Item, keys(&["a", "b"]))).await.unwrap();
    assert_eq!(answer.release, None);
    assert!(matches!(answer.lists[..], [Lookup::Missing, Lookup::Missing]));
    assert!(space.popular_ids(Item).await.is_empty());
}

pub(super) async fn neighbours_come_most_similar_first_and_ties_by_id(h: &Harness) {
    let space = h.space();
    let given = [("z", 0.5), ("b", 0.9), ("10", 0.5), ("9", 0.5), ("ä", 0.5), ("A", 0.9), ("c", 1e-300)];
    space.promoted(Item, &[list("a", &given)], Vec::new()).await;
    let ids = space.neighbour_ids(Item, "a").await.unwrap();
    assert_eq!(ids, ["A", "b", "10", "9", "z", "ä", "c"]);
}

pub(super) async fn similarities_are_kept_to_the_last_bit(h: &Harness) {
    let space = h.space();
    let numbers = [f64::MAX, 1.0, 1.0 - f64::EPSILON / 2.0, 1.0 / 3.0, 0.1 + 0.2, f64::MIN_POSITIVE, 5e-324];
    let ids = ["b", "c", "d", "e", "f", "g", "h"];
    let mut given = list("a", &[]);
    given.neighbours = ids.iter().zip(numbers).map(|(id, number)| neighbour(id, number, u32::MAX)).collect();
    space.promoted(Item, &[given.clone()], Vec::new()).await;
    assert_eq!(space.neighbours(Item, &["a"]).await, [Some(given.neighbours)]);
}

pub(super) async fn a_limit_cuts_each_list(h: &Harness) {
    let space = h.space();
    let lists = [list("a", &[("b", 0.9), ("c", 0.8), ("d", 0.7)]), list("b", &[("a", 0.9)])];
    space.promoted(Item, &lists, Vec::new()).await;
    for (limit, lengths) in [(0, [0, 0]), (1, [1, 1]), (2, [2, 1]), (3, [3, 1]), (usize::MAX, [3, 1])] {
        let request = NeighbourRequest::new(Item, keys(&["a", "b"])).with_limit(limit);
        let answers = values(space.get_neighbours(request).await.unwrap().lists);
        let found = answers.iter().map(|list| list.as_ref().unwrap().len()).collect::<Vec<_>>();
        assert_eq!(found, lengths, "limit {limit}");
        assert!(
            answers[0].as_ref().unwrap().iter().zip(&lists[0].neighbours).all(|(left, right)| left == right)
        );
    }
}

pub(super) async fn lists_come_in_the_order_asked_missing_and_empty_ones_apart(h: &Harness) {
    let space = h.space();
    let lists = [list("a", &[("b", 0.9)]), list("b", &[("a", 0.8)]), list("lonely", &[])];
    space.promoted(Item, &lists, Vec::new()).await;
    let found = space.neighbours(Item, &["b", "nobody", "lonely", "a", "b"]).await;
    let of = |id, similarity| Some(vec![neighbour(id, similarity, 3)]);
    assert_eq!(found, [of("a", 0.8), None, Some(Vec::new()), of("b", 0.9), of("a", 0.8)]);
    assert!(space.neighbours(Item, &[]).await.is_empty());
}

pub(super) async fn an_answer_says_when_its_release_was_begun(h: &Harness) {
    let space = h.space();
    h.move_clock(1_000);
    let release = space.begin(Item, &[list("a", &[("b", 0.9)])]).await;
    h.move_clock(2_000);
    space.seal_release(&release, Vec::new()).await.unwrap();
    space.promote_release(&release).await.unwrap();
    let answer = space.get_neighbours(NeighbourRequest::new(Item, keys(&["a"]))).await.unwrap();
    assert_eq!(answer.release, Some(release.clone()));
    let [Lookup::Found(found)] = &answer.lists[..] else { panic!("not found") };
    assert_eq!((found.as_of, found.origin), (after_now(1_000), Origin::Stored));
    assert_eq!(info(&space, &release).await.created_at, after_now(1_000));
}

pub(super) async fn a_sealed_release_is_immutable(h: &Harness) {
    let space = h.space();
    let release = space.promoted(Item, &[list("a", &[("b", 0.9)])], popular(&[("b", 2), ("a", 1)])).await;
    let before = (info(&space, &release).await, space.prints().await);
    for lists in [vec![list("a", &[("c", 0.9)])], vec![list("z", &[])]] {
        let error = space.put_neighbours(&release, lists, PutOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    let again = space.seal_release(&release, popular(&[("z", 9)])).await.unwrap();
    assert_eq!(again, before.0, "sealing twice is fine and changes nothing");
    assert_eq!(space.popular_ids(Item).await, ["b", "a"]);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!((info(&space, &release).await, space.prints().await), before);
}

pub(super) async fn a_list_given_again_replaces_the_first(h: &Harness) {
    let space = h.space();
    let release = space.begin(Item, &[list("a", &[("b", 0.9), ("c", 0.8)]), list("b", &[("a", 0.9)])]).await;
    let put = async |lists| space.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    put(vec![list("a", &[("d", 0.7)])]).await;
    put(vec![list("a", &[("d", 0.7)])]).await;
    put(vec![list("c", &[("x", 0.1)]), list("c", &[("y", 0.2)])]).await;
    put(Vec::new()).await;
    let sealed = space.seal_release(&release, Vec::new()).await.unwrap();
    assert_eq!((sealed.lists, sealed.neighbours), (3, 3));
    let lists = values(space.neighbours_in(Item, &release, &["a", "b", "c"]).await.lists);
    let of = |id, similarity| Some(vec![neighbour(id, similarity, 3)]);
    assert_eq!(lists, [of("d", 0.7), of("a", 0.9), of("y", 0.2)]);
}

pub(super) async fn one_invalid_list_refuses_all(h: &Harness) {
    let space = h.space();
    let release = space.begin(Item, &[list("a", &[("b", 0.9)])]).await;
    let wrong = [
        ("b", f64::NAN, "similarity"),
        ("b", f64::INFINITY, "similarity"),
        ("b", 0.0, "similarity"),
        ("b", -0.0, "similarity"),
        ("b", -0.5, "similarity"),
        // Its own neighbour, and a neighbour given twice.
        ("x", 0.5, "id"),
        ("ok", 0.25, "id"),
    ];
    let unknown = ReleaseId::from_text("nope");
    for (id, similarity, field) in wrong {
        let lists = || vec![list("a", &[("c", 0.1)]), list("x", &[("ok", 0.5), (id, similarity)])];
        for release in [&release, &unknown] {
            let error = space.put_neighbours(release, lists(), PutOptions::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{id} {similarity}: whatever the release");
            assert_eq!(error.field(), Some(format!("lists[1].neighbours[1].{field}").as_str()));
        }
    }
    let sealed = space.seal_release(&release, Vec::new()).await.unwrap();
    assert_eq!((sealed.lists, sealed.neighbours), (1, 1));
    let lists = values(space.neighbours_in(Item, &release, &["a", "x"]).await.lists);
    assert_eq!(lists, [Some(vec![neighbour("b", 0.9, 3)]), None]);
}

pub(super) async fn putting_no_lists_only_looks_whether_the_release_takes_any(h: &Harness) {
    let space = h.space();
    let release = space.begin(Item, &[list("a", &[("b", 0.9)])]).await;
    let put =
        async |release: &ReleaseId| space.put_neighbours(release, Vec::new(), PutOptions::default()).await;
    put(&release).await.unwrap();
    assert_eq!(space.seal_release(&release, Vec::new()).await.unwrap().lists, 1);
    assert_eq!(put(&release).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(put(&ReleaseId::from_text("nope")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(super) async fn a_release_with_options_out_of_range_is_refused(h: &Harness) {
    let space = h.space();
    let base = SimilarityOptions::default();
    for (field, options) in [
        ("k", SimilarityOptions { k: 0, ..base }),
        ("k", SimilarityOptions { k: 10_001, ..base }),
        ("min_common", SimilarityOptions { min_common: 0, ..base }),
        ("shrinkage", SimilarityOptions { shrinkage: f64::NAN, ..base }),
        ("shrinkage", SimilarityOptions { shrinkage: -1.0, ..base }),
    ] {
        let error = space.begin_release(ReleaseSpec { kind: Item, options }).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)));
    }
    assert!(space.releases(Item).await.unwrap().is_empty());
}

pub(super) async fn an_unknown_release_is_not_found(h: &Harness) {
    let space = h.space();
    let users = space.promoted(User, &[list("a", &[("b", 0.9)])], Vec::new()).await;
    for unknown in ["nope", "", "item-000000000000000-0000", "user-%"].map(ReleaseId::from_text) {
        let put = space.put_neighbours(&unknown, vec![list("a", &[])], PutOptions::default()).await;
        let seal = space.seal_release(&unknown, Vec::new()).await;
        let promote = space.promote_release(&unknown).await;
        let request = NeighbourRequest::new(Item, keys(&["a"])).with_release(unknown.clone());
        let get = space.get_neighbours(request).await;
        let errors = [put.unwrap_err(), seal.unwrap_err(), promote.unwrap_err(), get.unwrap_err()];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::NotFound), "{errors:?}");
    }
    let other_kind = NeighbourRequest::new(Item, keys(&["a"])).with_release(users);
    assert_eq!(space.get_neighbours(other_kind).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(super) async fn only_a_sealed_release_can_be_promoted(h: &Harness) {
    let space = h.space();
    let first = space.promoted(Item, &[list("a", &[("b", 0.9)])], Vec::new()).await;
    let building = space.begin(Item, &[list("a", &[("c", 0.9)])]).await;
    assert_eq!(space.promote_release(&building).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
    assert_eq!(info(&space, &first).await.state, ReleaseState::Current);
}

pub(super) async fn promoting_replaces_the_current_release_and_again_is_ok(h: &Harness) {
    let space = h.space();
    let first = space.promoted(Item, &[list("a", &[("b", 0.9)])], popular(&[("a", 1)])).await;
    let second = space.sealed(Item, &[list("c", &[("d", 0.9)])], popular(&[("c", 1)])).await;
    let promoted = space.promote_release(&second).await.unwrap();
    assert_eq!((promoted.id.clone(), promoted.state), (second.clone(), ReleaseState::Current));
    assert_eq!(space.promote_release(&second).await.unwrap(), promoted);
    assert_eq!(info(&space, &first).await.state, ReleaseState::Sealed);
    assert!(info(&space, &first).await.promotion < promoted.promotion);
    assert_eq!(space.neighbour_ids(Item, "a").await, None);
    assert_eq!(space.neighbour_ids(Item, "c").await.unwrap(), ["d"]);
    assert_eq!(space.popular_ids(Item).await, ["c"]);
    let old = space.neighbours_in(Item, &first, &["a"]).await;
    assert_eq!(values(old.lists), [Some(vec![neighbour("b", 0.9, 3)])], "sealed ones can be read by name");
}

pub(super) async fn rolling_back_makes_the_one_before_current(h: &Harness) {
    let space = h.space();
    let none = space.rollback_release(Item).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    let lists = |to| [list("a", &[(to, 0.9)])];
    let first = space.promoted(Item, &lists("one"), popular(&[("one", 1)])).await;
    assert_eq!(space.rollback_release(Item).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["one"], "a refused rollback changes nothing");
    let second = space.promoted(Item, &lists("two"), popular(&[("two", 1)])).await;
    let never = space.sealed(Item, &lists("never"), Vec::new()).await;
    let third = space.promoted(Item, &lists("three"), popular(&[("three", 1)])).await;
    for (bad, good, to) in [(&third, &second, "two"), (&second, &first, "one")] {
        let back = space.rollback_release(Item).await.unwrap();
        assert_eq!((&back.id, back.state), (good, ReleaseState::Current));
        assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), [to]);
        assert_eq!(space.popular_ids(Item).await, [to]);
        let stays = info(&space, bad).await;
        assert_eq!((stays.state, stays.promotion), (ReleaseState::Sealed, None));
    }
    assert_eq!(space.rollback_release(Item).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(info(&space, &never).await.promotion, None);
    space.promote_release(&third).await.unwrap();
    assert_eq!(space.rollback_release(Item).await.unwrap().id, first);
}

pub(super) async fn a_release_promoted_again_rolls_back_to_what_was_current_before(h: &Harness) {
    let space = h.space();
    let lists = |to| [list("a", &[(to, 0.9)])];
    let first = space.promoted(Item, &lists("one"), Vec::new()).await;
    let second = space.promoted(Item, &lists("two"), Vec::new()).await;
    assert_eq!(space.promote_release(&first).await.unwrap().state, ReleaseState::Current);
    assert_eq!(space.rollback_release(Item).await.unwrap().id, second);
}

pub(super) async fn pruning_keeps_the_current_and_the_newest(h: &Harness) {
    let space = h.space();
    let mut ids = Vec::new();
    for index in 0..6 {
        h.move_clock(index);
        ids.push(space.sealed(Item, &[list("a", &[("b", 0.5)])], Vec::new()).await);
    }
    let users = space.sealed(User, &[list("a", &[("b", 0.5)])], Vec::new()).await;
    space.promote_release(&ids[1]).await.unwrap();
    let keep = |keep| PruneOptions { keep, ..PruneOptions::default() };
    let removed = space.prune_releases(Item, keep(2)).await.unwrap();
    assert_eq!(removed, [ids[3].clone(), ids[2].clone(), ids[0].clone()]);
    assert!(space.prune_releases(Item, keep(2)).await.unwrap().is_empty());
    let gone = NeighbourRequest::new(Item, keys(&["a"])).with_release(ids[3].clone());
    assert_eq!(space.get_neighbours(gone).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(space.prune_releases(Item, keep(0)).await.unwrap(), [ids[5].clone(), ids[4].clone()]);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"], "never the current one");
    assert_eq!(info(&space, &users).await.state, ReleaseState::Sealed, "nor one of another kind");
}

pub(super) async fn an_abandoned_release_is_pruned_once_it_is_old(h: &Harness) {
    let space = h.space();
    let old = space.begin(Item, &[list("a", &[("b", 0.5)])]).await;
    h.move_clock(1);
    let younger = space.begin(Item, &[]).await;
    let options = PruneOptions { keep: 0, abandoned_after: Duration::from_secs(60) };
    h.move_clock(60_000);
    assert!(space.prune_releases(Item, options).await.unwrap().is_empty());
    h.move_clock(60_001);
    assert_eq!(space.prune_releases(Item, options).await.unwrap(), [old]);
    assert_eq!(info(&space, &younger).await.state, ReleaseState::Building);
}

pub(super) async fn a_rollback_does_not_reach_a_pruned_release(h: &Harness) {
    let space = h.space();
    for _ in 0..2 {
        space.promoted(Item, &[list("a", &[("b", 0.5)])], Vec::new()).await;
    }
    space.prune_releases(Item, PruneOptions { keep: 0, ..PruneOptions::default() }).await.unwrap();
    assert_eq!(space.rollback_release(Item).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(space.neighbour_ids(Item, "a").await.unwrap(), ["b"]);
}

pub(super) async fn releases_are_listed_newest_first_also_of_one_millisecond(h: &Harness) {
    let space = h.space();
    let mut ids = Vec::new();
    for index in 0..12 {
        if index == 6 {
            h.move_clock(1);
        }
        ids.push(space.begin_release(spec(Item)).await.unwrap());
    }
    assert!(ids.is_sorted_by(|older, newer| older < newer), "{ids:?}");
    ids.reverse();
    let listed: Vec<ReleaseId> =
        space.releases(Item).await.unwrap().into_iter().map(|info| info.id).collect();
    assert_eq!(listed, ids);
    assert!(space.releases(User).await.unwrap().is_empty());
}

pub(super) async fn a_release_sorts_after_older_ones_also_after_pruning(h: &Harness) {
    let space = h.space();
    let first = space.sealed(Item, &[], Vec::new()).await;
    let second = space.promoted(Item, &[], Vec::new()).await;
    let removed =
        space.prune_releases(Item, PruneOptions { keep: 0, ..PruneOptions::default() }).await.unwrap();
    assert_eq!(removed, [first]);
    assert!(space.begin_release(spec(Item)).await.unwrap() > second);
}

pub(super) async fn a_release_tells_what_it_was_begun_with_and_how_much_it_holds(h: &Harness) {
    let space = h.space();
    let options = SimilarityOptions {
        measure: recstore_core::Measure::AdjustedCosine,
        k: 17,
        min_common: 5,
        shrinkage: 12.5,
    };
    let begun = ReleaseSpec { kind: User, options };
    let release = space.begin_release(begun).await.unwrap();
    let lists = vec![list("a", &[("b", 0.9), ("c", 0.8)]), list("b", &[]), list("c", &[("a", 0.8)])];
    space.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    let sealed = space.seal_release(&release, Vec::new()).await.unwrap();
    let expected = ReleaseInfo {
        id: release.clone(),
        spec: begun,
        state: ReleaseState::Sealed,
        created_at: now(),
        promotion: None,
        lists: 3,
        neighbours: 3,
    };
    assert_eq!(sealed, expected);
    assert_eq!(info(&space, &release).await, expected);
}

pub(super) async fn popular_entities_come_in_the_order_given_up_to_the_limit(h: &Harness) {
    let space = h.space();
    let given = popular(&[("z", 9), ("a", 9), ("m", 5), ("b", 1)]);
    space.promoted(Item, &[], given.clone()).await;
    for limit in [0, 1, 3, 4, usize::MAX] {
        let found = space.get_popular(Item, limit, GetOptions::default()).await.unwrap();
        assert_eq!(found, given[..limit.min(4)], "limit {limit}");
    }
    assert!(space.popular_ids(User).await.is_empty());
}

pub(super) async fn users_and_items_have_releases_of_their_own(h: &Harness) {
    let space = h.space();
    let items = space.promoted(Item, &[list("1", &[("2", 0.5)])], popular(&[("1", 1)])).await;
    let users = space.promoted(User, &[list("1", &[("3", 0.6)])], popular(&[("3", 1)])).await;
    assert_ne!(items, users);
    assert_eq!(space.neighbour_ids(Item, "1").await.unwrap(), ["2"]);
    assert_eq!(space.neighbour_ids(User, "1").await.unwrap(), ["3"]);
    assert_eq!(space.popular_ids(Item).await, ["1"]);
    assert_eq!(space.popular_ids(User).await, ["3"]);
    space.promoted(Item, &[], Vec::new()).await;
    assert_eq!(space.rollback_release(User).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(space.neighbour_ids(User, "1").await.unwrap(), ["3"]);
}

pub(super) async fn neighbours_of_hostile_ids_are_never_confused(h: &Harness) {
    let space = h.space();
    let ids = hostile_ids();
    let lists: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let next = &ids[(index + 1) % ids.len()];
            list(id, &[(next, (index + 1) as f64)])
        })
        .collect();
    space.promoted(Item, &lists, Vec::new()).await;
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (found, given) in space.neighbours(Item, &asked).await.into_iter().zip(lists) {
        assert_eq!(found, Some(given.neighbours), "{:?}", given.id);
    }
}

pub(super) async fn many_lists_are_read_in_one_call(h: &Harness) {
    let space = h.space();
    let lists: Vec<_> = (0..1_500)
        .map(|index: u32| list(&index.to_string(), &[("x", f64::from(index + 1)), ("y", 0.5)]))
        .collect();
    space.promoted(Item, &lists, Vec::new()).await;
    let ids: Vec<String> = (0..2_000).rev().map(|id: u32| id.to_string()).collect();
    let request = NeighbourRequest::new(Item, ids.iter().map(|id| key(id)).collect()).with_limit(1);
    let answers = values(space.get_neighbours(request).await.unwrap().lists);
    for (answer, id) in answers.into_iter().zip(ids) {
        let id: u32 = id.parse().unwrap();
        let expected = (id < 1_500).then(|| vec![neighbour("x", f64::from(id + 1), 3)]);
        assert_eq!(answer, expected, "{id}");
    }
}
