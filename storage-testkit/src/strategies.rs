//! Property-test strategies: random scripts of operations on a store.
//!
//! Ids, times, values and event ids come from small pools, so that collisions, ties and replays are frequent;
//! the pools hold ids that a careless store confuses.

use proptest::bool;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use recstore_core::{
    ColumnType, EntityKey, EntityKind, EventId, FeatureName, FeatureRow, FeatureValue, GroupSchema, ItemId,
    Neighbour, NeighbourList, Popular, Rating, RatingValue, Timestamp, UserId,
};

use crate::hostile::HostileTexts;

/// Where the clock of every script begins: 2024-01-01T00:00:00Z.
const START: i64 = 1_704_067_200_000;
const HOUR: i64 = 3_600_000;

/// The users of scripts.
pub const USERS: [&str; 5] = ["u", "u ", "é", "e\u{301}", "1"];
/// The items of scripts; `1` is a user too.
pub const ITEMS: [&str; 5] = ["i", "i/1", "%", "1", "01"];
/// The custom groups of scripts: one of users, one of items, one that is never declared.
pub const GROUPS: [&str; 3] = ["profile", "article", "undeclared"];
/// The number of namespaces that a script works in.
pub const NAMESPACES: usize = 2;

/// One operation of a script.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Operation {
    /// Puts a batch of events.
    Put(Vec<Rating>),
    /// Declares a custom group with its first columns.
    Register {
        /// Which group.
        group: &'static str,
        /// How many of its columns.
        columns: usize,
        /// Whether the first of them has another type than usual.
        retyped: bool,
    },
    /// Puts rows of a custom group.
    PutFeatures {
        /// Which group.
        group: &'static str,
        /// The rows.
        rows: Vec<FeatureRow>,
    },
    /// Begins a release, fills it, seals it and promotes it.
    Release {
        /// Of which kind.
        kind: EntityKind,
        /// Its lists.
        lists: Vec<NeighbourList>,
        /// Its popularity list.
        popular: Vec<Popular>,
    },
    /// Begins a release.
    Begin(EntityKind),
    /// Puts lists into a release.
    PutLists {
        /// Which of the releases begun so far, modulo their number.
        release: usize,
        /// The lists.
        lists: Vec<NeighbourList>,
    },
    /// Seals a release.
    Seal {
        /// Which of the releases begun so far, modulo their number.
        release: usize,
        /// Its popularity list.
        popular: Vec<Popular>,
    },
    /// Promotes a release: which of those begun so far, modulo their number.
    Promote(usize),
    /// Rolls back.
    Rollback(EntityKind),
    /// Prunes.
    Prune {
        /// Of which kind.
        kind: EntityKind,
        /// How many sealed ones to keep.
        keep: usize,
    },
    /// Hides items.
    Hide(Vec<ItemId>),
    /// Shows items again.
    Unhide(Vec<ItemId>),
    /// Erases a user or an item.
    Erase {
        /// Which of the two.
        kind: EntityKind,
        /// Its id.
        id: EntityKey,
        /// Whether only to count.
        dry_run: bool,
    },
    /// Computes the built-in features anew.
    Rebuild,
    /// Moves the clock forward by milliseconds.
    MoveClock(i64),
}

/// An operation in one of the namespaces of a script.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which namespace, below [`NAMESPACES`].
    pub namespace: usize,
    /// What to do there.
    pub operation: Operation,
}

/// Scripts of `length` steps; most begin with declared groups and a release that takes lists, which come
/// on top.
pub fn script(length: usize) -> impl Strategy<Value = Vec<Step>> {
    (bool::weighted(0.9), vec(step(), length)).prop_map(|(prepared, steps)| {
        let register = |group| Operation::Register { group, columns: 2, retyped: false };
        let begin = [register(GROUPS[0]), register(GROUPS[1]), Operation::Begin(EntityKind::Item)];
        let begin = begin.into_iter().filter(|_| prepared);
        begin.map(|operation| Step { namespace: 0, operation }).chain(steps).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    // Most happens in the first namespace; what leaks shows in the other.
    let namespace = prop_oneof![4 => Just(0), 1 => Just(1)];
    (namespace, operation()).prop_map(|(namespace, operation)| Step { namespace, operation })
}

/// Any operation.
pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => vec(event(), 0..8).prop_map(Operation::Put),
        2 => wide_batch().prop_map(Operation::Put),
        3 => (select(&GROUPS[..2]), 1..=3_usize, any::<u8>()).prop_map(|(group, columns, dice)| {
            Operation::Register { group, columns, retyped: dice % 16 == 0 }
        }),
        5 => (custom_group(), vec(feature_row(), 0..5))
            .prop_map(|(group, rows)| Operation::PutFeatures { group, rows }),
        3 => (kind(), vec(neighbour_list(), 0..4), vec(popular(), 0..5))
            .prop_map(|(kind, lists, popular)| Operation::Release { kind, lists, popular }),
        3 => kind().prop_map(Operation::Begin),
        5 => (any::<usize>(), vec(neighbour_list(), 0..4))
            .prop_map(|(release, lists)| Operation::PutLists { release, lists }),
        4 => (any::<usize>(), vec(popular(), 0..5))
            .prop_map(|(release, popular)| Operation::Seal { release, popular }),
        4 => any::<usize>().prop_map(Operation::Promote),
        2 => kind().prop_map(Operation::Rollback),
        1 => (kind(), 0..3_usize).prop_map(|(kind, keep)| Operation::Prune { kind, keep }),
        2 => vec(item(), 0..3).prop_map(Operation::Hide),
        1 => vec(item(), 0..3).prop_map(Operation::Unhide),
        2 => (entity(), any::<u8>()).prop_map(|((kind, id), dice)| {
            Operation::Erase { kind, id, dry_run: dice % 4 == 0 }
        }),
        1 => Just(Operation::Rebuild),
        2 => select(&[1, 1_000, HOUR, 25 * HOUR][..]).prop_map(Operation::MoveClock),
    ]
}

/// One of the [`USERS`].
pub fn user() -> impl Strategy<Value = UserId> {
    select(&USERS[..]).prop_filter_map("an id", |id| UserId::new(id).ok())
}

/// One of the [`ITEMS`].
pub fn item() -> impl Strategy<Value = ItemId> {
    select(&ITEMS[..]).prop_filter_map("an id", |id| ItemId::new(id).ok())
}

/// Two valid ids that a careless key confuses; see [`HostileTexts::pair`].
pub fn hostile_pair() -> impl Strategy<Value = (String, String)> {
    any::<u64>().prop_map(|seed| HostileTexts::new(seed).pair())
}

fn kind() -> impl Strategy<Value = EntityKind> {
    select(&[EntityKind::Item, EntityKind::User][..])
}

fn key() -> impl Strategy<Value = EntityKey> {
    select(&["1", "i", "%", "u", "é", "new"][..]).prop_filter_map("an id", |id| EntityKey::new(id).ok())
}

fn entity() -> impl Strategy<Value = (EntityKind, EntityKey)> {
    let user = user().prop_map(|user| (EntityKind::User, user.into()));
    let item = item().prop_map(|item| (EntityKind::Item, item.into()));
    prop_oneof![user, item, (kind(), key())]
}

/// An event time: mostly long past, some around the clock and the limits of what is accepted.
pub fn time() -> impl Strategy<Value = Timestamp> {
    let past = (0..6_i64).prop_map(|step| START - 1_000 * HOUR + step);
    let present =
        select(&[-1, 0, 1, HOUR, 24 * HOUR, 25 * HOUR, 49 * HOUR][..]).prop_map(|ahead| START + ahead);
    prop_oneof![60 => past, 6 => present, 1 => Just(START + 24 * HOUR + 1)]
        .prop_filter_map("a time", |millis| Timestamp::from_millis(millis).ok())
}

/// An event of a pair that others share, often with an id that others use.
pub fn event() -> impl Strategy<Value = Rating> {
    let values = [-3_250_000, 0, 500_000, 500_001, 4_500_000, 5_000_000];
    let value =
        select(values.to_vec()).prop_filter_map("a value", |micros| RatingValue::from_micros(micros).ok());
    let id = prop_oneof![Just(None), (0..4_u128).prop_map(|id| Some(EventId::from_u128(id)))];
    (user(), item(), option::weighted(0.8, value), time(), id)
        .prop_map(|(user, item, value, time, id)| Rating::from_parts(user, item, value, time, id))
}

/// So many events of one user that its distinct values are no longer counted, withdrawals among them.
fn wide_batch() -> impl Strategy<Value = Vec<Rating>> {
    (user(), 0..40_i64, 1..80_i64, time(), any::<u8>()).prop_map(|(user, first, count, time, dice)| {
        let event = |index: i64| {
            let item = ItemId::from((1_000 + index) as u64);
            let value = RatingValue::from_micros(index * 1_000_000).ok();
            let withdrawn = dice % 3 == 0 && (index == first || index + 1 == first + count || index % 5 == 0);
            Rating::from_parts(user.clone(), item, value.filter(|_| !withdrawn), time, None)
        };
        (first..first + count).map(event).collect()
    })
}

/// The schema of a custom group of scripts with its first columns.
pub fn schema(group: &'static str, columns: usize, retyped: bool) -> Option<GroupSchema> {
    let entity = if group == GROUPS[0] { EntityKind::User } else { EntityKind::Item };
    let types = [
        ("age", if retyped { ColumnType::Text } else { ColumnType::Integer }),
        ("score", ColumnType::Float),
        ("tags", ColumnType::TextList),
    ];
    let mut schema = GroupSchema::new(FeatureName::new(group).ok()?, entity);
    for (name, column_type) in types.into_iter().take(columns) {
        schema = schema.with_column(FeatureName::new(name).ok()?, column_type);
    }
    Some(schema)
}

fn custom_group() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => select(&GROUPS[..2]), 1 => Just(GROUPS[2])]
}

fn feature_row() -> impl Strategy<Value = FeatureRow> {
    let texts = vec(select(&["", "a", "ä"][..]), 0..3);
    let age = (0..3_i64).prop_map(FeatureValue::Integer);
    let score = prop_oneof![20 => select(&[0.0, -0.0, 1.5][..]), 1 => Just(f64::NAN)];
    let score = score.prop_map(FeatureValue::Float);
    let tags = texts.prop_map(|texts| FeatureValue::TextList(texts.into_iter().map(str::to_owned).collect()));
    let values = (option::of(age), option::of(score), option::weighted(0.1, tags));
    (entity(), time(), option::weighted(0.8, values)).prop_map(|((_, id), time, values)| {
        let Some((age, score, tags)) = values else { return FeatureRow::deleted(id, time) };
        let columns = [("age", age), ("score", score), ("tags", tags)];
        let named =
            columns.into_iter().filter_map(|(name, value)| Some((FeatureName::new(name).ok()?, value?)));
        named.fold(FeatureRow::new(id, time), |row, (name, value)| row.with(name, value))
    })
}

fn neighbour_list() -> impl Strategy<Value = NeighbourList> {
    let similarities = prop_oneof![
        30 => select(&[0.25, 0.5, 1.0 / 3.0, 1.0][..]),
        1 => select(&[0.0, f64::NAN][..]),
    ];
    let neighbour = (key(), similarities, 1..4_u32).prop_map(|(id, similarity, common)| Neighbour {
        id,
        similarity,
        common,
    });
    // Of an entity that is mostly not among the neighbours.
    let whose = prop_oneof![8 => Just("whose"), 1 => Just("1"), 1 => Just("i")];
    (whose, vec(neighbour, 0..4)).prop_filter_map("an id", |(id, mut neighbours)| {
        // A neighbour given twice is refused; mostly it is given once.
        neighbours.sort_by(|left, right| left.id.cmp(&right.id));
        if neighbours.len() < 3 {
            neighbours.dedup_by(|left, right| left.id == right.id);
        }
        neighbours.reverse();
        Some(NeighbourList { id: EntityKey::new(id).ok()?, neighbours })
    })
}

fn popular() -> impl Strategy<Value = Popular> {
    (key(), 0..9_u64).prop_map(|(id, ratings)| Popular { id, ratings })
}
