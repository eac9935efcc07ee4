//! Whatever core makes of an id (keys, tokens, hashes, encoded rows) keeps distinct ids distinct and gives
//! the id back exactly.
//!
//! `RECSTORE_HOSTILE_PAIRS` sets the number of pairs (50,000,000 is the long tier), `RECSTORE_HOSTILE_SEED`
//! repeats a run.

#![allow(clippy::expect_used, reason = "helpers of tests, in which a failure is a panic")]

use std::hash::{BuildHasher, RandomState};

use recstore_core::features::{ValueRef, decode_row, encode_row};
use recstore_core::model::stable_hash;
use recstore_core::{
    ColumnType, EntityKey, EntityKind, ErasureKey, ErrorKind, EventId, FeatureName, FeatureValue,
    FingerprintBuilder, GroupSchema, ItemId, Namespace, PageToken, Rating, RatingRow, RowContent, Timestamp,
    UserId,
};
use recstore_testkit::hostile::HostileTexts;

fn number(variable: &str, default: impl FnOnce() -> u64) -> u64 {
    std::env::var(variable).map_or_else(|_| default(), |text| text.parse().expect("a number"))
}

/// Pairs, and the seed, which is printed.
fn run() -> (u64, u64) {
    let seed = number("RECSTORE_HOSTILE_SEED", || RandomState::new().hash_one(0) >> 1);
    let pairs = number("RECSTORE_HOSTILE_PAIRS", || 1_000_000);
    println!("RECSTORE_HOSTILE_SEED={seed} RECSTORE_HOSTILE_PAIRS={pairs}");
    (pairs, seed)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).expect("a time")
}

/// An event with an id of its own, which is not made of the ids.
fn rating(user: &EntityKey, item: &EntityKey) -> Rating {
    let id = Some(EventId::from_u128(1));
    Rating::from_parts(user.clone().into(), item.clone().into(), None, at(1_700_000_000_000), id)
}

fn derived(user: &EntityKey, item: &EntityKey) -> u128 {
    EventId::derive(&user.clone().into(), &item.clone().into(), None, at(1)).as_u128()
}

/// What a row of the pair adds to the fingerprint of ratings.
fn row(user: &EntityKey, item: &EntityKey) -> u128 {
    let mut print = FingerprintBuilder::new();
    let rating = rating(user, item);
    print.rating(&RatingRow { first_rated_at: rating.rated_at(), rating });
    print.finish().ratings.as_u128()
}

/// Everything that is made of one id and must tell it from any other. The encodings of lists and features
/// within fingerprints are those of ratings.
fn keys(id: &EntityKey, fixed: &EntityKey, schema: &GroupSchema) -> Vec<(&'static str, Vec<u8>)> {
    let key = ErasureKey::default();
    let content = RowContent::Values(vec![(
        FeatureName::new("texts").expect("a name"),
        FeatureValue::TextList(vec![id.to_string(), fixed.to_string()]),
    )]);
    let token =
        |owner, other| PageToken::after(&rating(owner, other), EntityKind::User).as_str().as_bytes().to_vec();
    vec![
        ("tombstone of a user", key.tombstone_of(EntityKind::User, id.as_str()).to_vec()),
        ("tombstone of an item", key.tombstone_of(EntityKind::Item, id.as_str()).to_vec()),
        ("stable hash", stable_hash(id.as_str()).to_be_bytes().to_vec()),
        ("event id from a name", EventId::from_name(id.as_str()).as_u128().to_be_bytes().to_vec()),
        ("event id of a user", derived(id, fixed).to_be_bytes().to_vec()),
        ("event id of an item", derived(fixed, id).to_be_bytes().to_vec()),
        ("token of an owner", token(id, fixed)),
        ("token of another id", token(fixed, id)),
        ("fingerprint of a user's row", row(id, fixed).to_be_bytes().to_vec()),
        ("fingerprint of an item's row", row(fixed, id).to_be_bytes().to_vec()),
        ("encoded row", encode_row(schema, &content).expect("a row")),
    ]
}

/// What was made of an id gives it back.
fn round_trips(id: &EntityKey, other: &EntityKey, schema: &GroupSchema) {
    for (of, owner, follows) in [(EntityKind::User, id, other), (EntityKind::Item, other, id)] {
        let event = rating(id, other);
        let token = PageToken::from_text(PageToken::after(&event, of).as_str());
        let position = token.position(of, owner.as_str()).expect("its own token");
        assert_eq!(position, (event.rated_at().as_millis(), event.event_id(), follows.as_str()));
        // A token of the other side's history, or of another owner, is refused.
        assert!(token.position(of.other(), owner.as_str()).is_err());
        if id != other {
            let refused = token.position(of, follows.as_str()).expect_err("a foreign token");
            assert_eq!((refused.kind(), refused.field()), (ErrorKind::Invalid, Some("token")));
        }
    }
    let texts = vec![id.to_string(), other.to_string()];
    let name = FeatureName::new("texts").expect("a name");
    let encoded =
        encode_row(schema, &RowContent::Values(vec![(name, FeatureValue::TextList(texts.clone()))]));
    let mut decoded = Vec::new();
    decode_row(schema, &encoded.expect("a row"), |_, value| {
        if let ValueRef::TextList(list) = value {
            decoded.extend(list.iter().map(str::to_owned));
        }
    })
    .expect("a row");
    assert_eq!(decoded, texts);
    let user = UserId::from(id.clone());
    assert_eq!((user.as_str(), EntityKey::from(user.clone())), (id.as_str(), id.clone()));
    assert_eq!(ItemId::new(id.as_str()).expect("an id").as_str(), id.as_str());
}

#[test]
fn distinct_ids_stay_distinct_and_come_back_exactly() {
    let (pairs, seed) = run();
    let mut texts = HostileTexts::new(seed);
    let schema = GroupSchema::new(FeatureName::new("group").expect("a name"), EntityKind::User)
        .with_column(FeatureName::new("texts").expect("a name"), ColumnType::TextList);
    let fixed = EntityKey::new("a/").expect("an id");
    let mut equal = 0;
    for pair in 0..pairs {
        let (left, right) = texts.pair();
        let left = EntityKey::new(&left).expect("a valid id");
        let right = EntityKey::new(&right).expect("a valid id");
        equal += u64::from(left == right);
        for ((key, one), (_, other)) in
            keys(&left, &fixed, &schema).into_iter().zip(keys(&right, &fixed, &schema))
        {
            assert_eq!(one == other, left == right, "{key} of {left:?} and {right:?}, pair {pair}");
        }
        assert_eq!(left.cmp(&right), left.as_str().as_bytes().cmp(right.as_str().as_bytes()));
        round_trips(&left, &right, &schema);
        moved_border(&left, &right);
    }
    assert!(equal < pairs / 2 && equal * 100 > pairs, "{equal} of {pairs} pairs are equal");
}

/// User and item together: the same bytes with the border elsewhere, and the two exchanged, are others.
fn moved_border(user: &EntityKey, item: &EntityKey) {
    let mut letters = item.as_str().chars();
    let Some(first) = letters.next() else { return };
    let moved = EntityKey::new(format!("{user}{first}"))
        .and_then(|user| Ok((user, EntityKey::new(letters.as_str())?)));
    let exchanged = Ok((item.clone(), user.clone()));
    for (other_user, other_item) in [moved, exchanged].into_iter().flatten() {
        let same = (user, item) == (&other_user, &other_item);
        let prints = (row(user, item), row(&other_user, &other_item));
        assert_eq!(prints.0 == prints.1, same, "rows of {user:?} {item:?}, {other_user:?} {other_item:?}");
        let events = (derived(user, item), derived(&other_user, &other_item));
        assert_eq!(events.0 == events.1, same, "ids of {user:?} {item:?}, {other_user:?} {other_item:?}");
    }
}

#[test]
fn what_is_no_id_or_namespace_is_refused_by_an_error_that_names_the_field() {
    let (pairs, seed) = run();
    let mut texts = HostileTexts::new(seed);
    for _ in 0..pairs / 10 {
        let text = texts.refused();
        let errors = [
            ("user", UserId::new(&text).expect_err("no id")),
            ("item", ItemId::new(&text).expect_err("no id")),
            ("id", EntityKey::new(&text).expect_err("no id")),
            ("namespace", Namespace::new(texts.refused_namespace()).expect_err("no namespace")),
        ];
        for (field, error) in errors {
            assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)), "{text:?}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
        let namespace = texts.namespace();
        assert_eq!(Namespace::new(namespace.as_str()).expect("a namespace"), namespace);
    }
}
