//! Tests of all tables together: round trips, equal bytes, damage, and what others read.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use recstore_core::features::encode_row;
use recstore_core::{
    BayesianPrior, ColumnType, EntityKey, EntityKind, ErrorKind, EventId, FeatureName, FeatureValue,
    GroupSchema, ItemId, Rating, RatingRow, RatingStats, RatingValue, Result, RowContent, Timestamp, UserId,
};
use recstore_testkit::hostile::HostileTexts;

use crate::lake::silver::custom::{CustomDecoder, CustomEncoder, CustomRow, custom_columns};
use crate::lake::silver::features::{FeatureDecoder, FeatureEncoder, feature_columns};
use crate::lake::silver::file::{DataFile, EncodedFile};
use crate::lake::silver::ratings::{PairRow, RatingDecoder, RatingEncoder, RatingOrder, rating_columns};

const NAME: &str = "silver/v1/shop/some/file.parquet";
const ORDERS: [RatingOrder; 2] = [RatingOrder::ByUser, RatingOrder::ByItem];

/// A stream of numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 32)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn time(&mut self) -> Timestamp {
        let millis = match self.below(4) {
            0 => Timestamp::MIN.as_millis(),
            1 => Timestamp::MAX.as_millis(),
            _ => self.below(Timestamp::MAX.as_millis() as u64) as i64,
        };
        Timestamp::from_millis(millis).unwrap()
    }

    fn value(&mut self) -> RatingValue {
        let largest = RatingValue::MAX_MICROS;
        let micros = match self.below(4) {
            0 => largest,
            1 => -largest,
            2 => (self.below(10) as i64 + 1) * 500_000,
            _ => self.below(2 * largest as u64) as i64 - largest,
        };
        RatingValue::from_micros(micros).unwrap()
    }
}

/// Distinct ids that careless code confuses, in their order.
fn ids(seed: u64, count: usize) -> Vec<EntityKey> {
    let mut texts = HostileTexts::new(seed);
    let mut ids: Vec<EntityKey> = (0..count).map(|_| EntityKey::new(texts.id()).unwrap()).collect();
    ids.extend(["1", "a", "\u{10ffff}", &"x".repeat(512)].map(|id| EntityKey::new(id).unwrap()));
    ids.sort();
    ids.dedup();
    ids
}

fn rating_rows(seed: u64, users: usize, items: usize, order: RatingOrder) -> Vec<RatingRow> {
    let mut numbers = Numbers(seed);
    let (users, items) = (ids(seed, users), ids(!seed, items));
    let mut rows = Vec::new();
    for user in &users {
        for item in &items {
            let (one, other) = (numbers.time(), numbers.time());
            let value = (numbers.below(4) > 0).then(|| numbers.value());
            let id = EventId::from_u128(u128::from(numbers.next()) << 64 | u128::from(numbers.next()));
            let id = (numbers.below(2) > 0).then_some(id);
            let (user, item) = (UserId::from(user.clone()), ItemId::from(item.clone()));
            rows.push(RatingRow {
                rating: Rating::from_parts(user, item, value, one.max(other), id),
                first_rated_at: one.min(other),
            });
        }
    }
    sort(&mut rows, order);
    rows
}

fn sort(rows: &mut [RatingRow], order: RatingOrder) {
    rows.sort_unstable_by(|left, right| {
        let (left, right) = (&left.rating, &right.rating);
        match order {
            RatingOrder::ByUser => (left.user(), left.item()).cmp(&(right.user(), right.item())),
            RatingOrder::ByItem => (left.item(), left.user()).cmp(&(right.item(), right.user())),
        }
    });
}

/// Encodes rows in pieces of `piece`.
pub(super) fn encode_ratings(rows: &[RatingRow], order: RatingOrder, piece: usize) -> EncodedFile {
    let mut encoder = RatingEncoder::new(order).unwrap();
    rows.chunks(piece).for_each(|rows| encoder.extend(rows.iter().map(PairRow::from)).unwrap());
    encoder.finish().unwrap()
}

fn decode_ratings(bytes: Bytes, order: RatingOrder) -> Result<Vec<RatingRow>> {
    let batches: Vec<_> = RatingDecoder::open(NAME, bytes, order)?.collect::<Result<_>>()?;
    Ok(batches.concat())
}

fn statistics(seed: u64, count: usize) -> Vec<(EntityKey, RatingStats)> {
    let mut numbers = Numbers(seed);
    let mut statistics = Vec::new();
    for id in ids(seed, count) {
        let mut stats = RatingStats::default();
        // None, some, and more distinct values than are counted one by one.
        for _ in 0..[0, 1, 5, 200][numbers.below(4) as usize] {
            let _ = stats.apply(None, Some(numbers.value()));
        }
        if numbers.below(4) > 0 {
            let (one, other) = (numbers.time(), numbers.time());
            stats.observe(one.min(other), one.max(other));
        }
        if numbers.below(4) == 0 {
            stats.set_extremes(None);
        }
        statistics.push((id, stats));
    }
    statistics
}

fn encode_statistics(rows: &[(EntityKey, RatingStats)], kind: EntityKind) -> EncodedFile {
    let mut encoder = FeatureEncoder::new(kind, BayesianPrior::default()).unwrap();
    rows.iter().for_each(|(id, stats)| encoder.push(id, stats).unwrap());
    encoder.finish().unwrap()
}

fn decode_statistics(bytes: Bytes) -> Result<Vec<(EntityKey, RatingStats)>> {
    let batches: Vec<_> = FeatureDecoder::open(NAME, bytes)?.collect::<Result<_>>()?;
    Ok(batches.concat())
}

fn name(text: &str) -> FeatureName {
    FeatureName::new(text).unwrap()
}

/// A group with a column of every type, some called like columns of the table.
pub(super) fn group() -> GroupSchema {
    GroupSchema::new(name("profile"), EntityKind::User)
        .with_column(name("id"), ColumnType::Integer)
        .with_column(name("row"), ColumnType::Float)
        .with_column(name("bucket"), ColumnType::Bool)
        .with_column(name("about"), ColumnType::Text)
        .with_column(name("seen_at"), ColumnType::Timestamp)
        .with_column(name("embedding"), ColumnType::Vector(3))
        .with_column(name("tags"), ColumnType::TextList)
}

pub(super) fn custom_rows(seed: u64, count: usize) -> Vec<CustomRow> {
    let (group, mut numbers, mut texts) = (group(), Numbers(seed), HostileTexts::new(seed));
    let mut rows = Vec::new();
    for id in ids(seed, count) {
        let mut values = vec![
            (name("id"), FeatureValue::Integer(numbers.next() as i64)),
            (name("row"), FeatureValue::Float(numbers.value().as_f64())),
            (name("bucket"), FeatureValue::Bool(numbers.below(2) == 0)),
            (name("about"), FeatureValue::Text(texts.id())),
            (name("seen_at"), FeatureValue::Timestamp(numbers.time())),
            (name("embedding"), FeatureValue::Vector(vec![numbers.below(9) as f32, -0.5, 0.0])),
            (name("tags"), FeatureValue::TextList((0..numbers.below(4)).map(|_| texts.id()).collect())),
        ];
        values.retain(|_| numbers.below(3) > 0);
        let content = match numbers.below(5) {
            0 => RowContent::Deleted,
            _ => RowContent::Values(values),
        };
        let row = encode_row(&group, &content).unwrap();
        rows.push(CustomRow { id, event_time: numbers.time(), row });
    }
    rows
}

pub(super) fn encode_custom(rows: &[CustomRow], group: &GroupSchema) -> EncodedFile {
    let mut encoder = CustomEncoder::new(group).unwrap();
    rows.iter().for_each(|row| encoder.push(row).unwrap());
    encoder.finish().unwrap()
}

fn decode_custom(bytes: Bytes, group: &GroupSchema) -> Result<Vec<CustomRow>> {
    let batches: Vec<_> = CustomDecoder::open(NAME, bytes, group)?.collect::<Result<_>>()?;
    Ok(batches.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rating_rows_come_back_in_any_pieces_from_the_same_bytes(
        seed in any::<u64>(), users in 0..20_usize, items in 0..20_usize, piece in 1..100_usize,
    ) {
        for order in ORDERS {
            let rows = rating_rows(seed, users, items, order);
            let file = encode_ratings(&rows, order, piece);
            prop_assert_eq!(file.rows, rows.len() as u64);
            let live = rows.iter().filter(|row| !row.rating.is_withdrawn()).count();
            prop_assert_eq!(file.live, live as u64);
            prop_assert_eq!(&encode_ratings(&rows, order, rows.len()), &file);
            prop_assert_eq!(decode_ratings(file.bytes, order).unwrap(), rows);
        }
    }

    #[test]
    fn statistics_come_back_as_they_were(seed in any::<u64>(), count in 0..100_usize) {
        let rows = statistics(seed, count);
        for kind in [EntityKind::User, EntityKind::Item] {
            let file = encode_statistics(&rows, kind);
            prop_assert_eq!(&encode_statistics(&rows, kind), &file);
            let prior = BayesianPrior::default();
            let live = rows.iter().filter(|(_, stats)| stats.finish(prior).is_some()).count();
            prop_assert_eq!((file.rows, file.live), (rows.len() as u64, live as u64));
            prop_assert_eq!(&decode_statistics(file.bytes).unwrap(), &rows);
        }
    }

    #[test]
    fn custom_rows_come_back_as_they_were(seed in any::<u64>(), count in 0..100_usize) {
        let rows = custom_rows(seed, count);
        let file = encode_custom(&rows, &group());
        prop_assert_eq!(&encode_custom(&rows, &group()), &file);
        prop_assert_eq!(file.rows, rows.len() as u64);
        prop_assert_eq!(&decode_custom(file.bytes.clone(), &group()).unwrap(), &rows);
        // A group that has got columns since reads them too.
        let evolved = group().with_column(name("more"), ColumnType::Text);
        prop_assert_eq!(&decode_custom(file.bytes, &evolved).unwrap(), &rows);
    }
}

/// A file of a kind, and how it is read.
struct Kind {
    file: EncodedFile,
    decode: Box<dyn Fn(Bytes) -> Result<usize>>,
}

fn small_files() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for order in ORDERS {
        let file = encode_ratings(&rating_rows(7, 3, 3, order), order, 10);
        kinds.push(Kind { file, decode: Box::new(move |bytes| Ok(decode_ratings(bytes, order)?.len())) });
    }
    let file = encode_statistics(&statistics(7, 10), EntityKind::Item);
    kinds.push(Kind { file, decode: Box::new(|bytes| Ok(decode_statistics(bytes)?.len())) });
    let file = encode_custom(&custom_rows(7, 10), &group());
    kinds.push(Kind { file, decode: Box::new(|bytes| Ok(decode_custom(bytes, &group())?.len())) });
    kinds
}

/// What the check would have stopped must at least not bring the process down; whether there were rows.
fn decoding_is_survived(kind: &Kind, body: Vec<u8>) -> bool {
    match (kind.decode)(Bytes::from(body)) {
        Ok(_) => true,
        Err(error) => {
            let known = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::SchemaVersion);
            assert!(known && error.object() == Some(NAME), "{error}");
            false
        }
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused_and_decoding_it_is_an_error_or_rows() {
    let table = "silver/v1/shop/ratings".parse().unwrap();
    for kind in small_files() {
        let good = kind.file.bytes.to_vec();
        let file = DataFile::new(&table, 0, 1, &kind.file);
        assert_eq!((kind.decode)(kind.file.bytes.clone()).unwrap() as u64, file.rows);
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut body = good.clone();
                body[at] ^= flip;
                assert!(file.check(&Bytes::from(body.clone())).is_err());
                decoding_is_survived(&kind, body);
            }
            assert!(file.check(&kind.file.bytes.slice(..at)).is_err());
            assert!(!decoding_is_survived(&kind, good[..at].to_vec()), "cut at {at}");
        }
    }
}

#[test]
fn a_file_of_another_table_is_told() {
    let files = small_files();
    for (at, kind) in files.iter().enumerate() {
        for (other, file) in files.iter().enumerate() {
            // The two tables of ratings differ in their order only.
            if at != other && !(at < 2 && other < 2) {
                let error = (kind.decode)(file.file.bytes.clone()).unwrap_err();
                assert_eq!((error.kind(), error.object()), (ErrorKind::Corrupt, Some(NAME)));
            }
        }
    }
    let rows = rating_rows(7, 3, 3, RatingOrder::ByUser);
    let file = encode_ratings(&rows, RatingOrder::ByUser, 9);
    let error = decode_ratings(file.bytes, RatingOrder::ByItem).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Corrupt, Some("item")));
}

#[test]
fn rows_out_of_order_are_no_file() {
    for order in ORDERS {
        let rows = rating_rows(7, 3, 3, order);
        for pair in [[&rows[1], &rows[0]], [&rows[0], &rows[0]]] {
            let mut encoder = RatingEncoder::new(order).unwrap();
            let error = encoder.extend(pair.map(PairRow::from)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
        }
    }
    let early = RatingRow {
        rating: Rating::new(1.into(), 2.into(), 3.0, Timestamp::MIN).unwrap(),
        first_rated_at: Timestamp::MAX,
    };
    let mut encoder = RatingEncoder::new(RatingOrder::ByUser).unwrap();
    assert_eq!(encoder.push(&PairRow::from(&early)).unwrap_err().kind(), ErrorKind::Internal);
    let rows = statistics(7, 5);
    let mut encoder = FeatureEncoder::new(EntityKind::User, BayesianPrior::default()).unwrap();
    encoder.push(&rows[1].0, &rows[1].1).unwrap();
    assert_eq!(encoder.push(&rows[0].0, &rows[0].1).unwrap_err().kind(), ErrorKind::Internal);
    let rows = custom_rows(7, 5);
    let mut encoder = CustomEncoder::new(&group()).unwrap();
    encoder.push(&rows[1]).unwrap();
    assert_eq!(encoder.push(&rows[1]).unwrap_err().kind(), ErrorKind::Internal);
}

/// Several batches and row groups; the pieces do not matter.
#[test]
fn a_file_of_many_row_groups_comes_back_in_order() {
    let user = UserId::from(7);
    let at = Timestamp::from_seconds(1_260_759_144).unwrap();
    let mut rows: Vec<RatingRow> = (0..300_000_u64)
        .map(|item| Rating::new(user.clone(), item.into(), (item % 10) as f64 / 2.0, at).unwrap())
        .map(|rating| RatingRow { rating, first_rated_at: at })
        .collect();
    sort(&mut rows, RatingOrder::ByUser);
    let file = encode_ratings(&rows, RatingOrder::ByUser, 1000);
    assert!(encode_ratings(&rows, RatingOrder::ByUser, 77_777) == file, "other pieces gave other bytes");
    let mut before = 0;
    for batch in RatingDecoder::open(NAME, file.bytes, RatingOrder::ByUser).unwrap() {
        let batch = batch.unwrap();
        assert!(batch.len() <= 8192);
        assert!(batch == rows[before..before + batch.len()], "rows from {before} differ");
        before += batch.len();
    }
    assert_eq!(before, rows.len());
}

/// Rows as large as they may be: a batch holds a few of them, whatever the number of rows.
#[test]
fn large_rows_are_read_a_few_at_a_time() {
    let group = GroupSchema::new(name("texts"), EntityKind::Item).with_column(name("text"), ColumnType::Text);
    let row = |number: u64| {
        let text = Numbers(number).next().to_string() + &"x".repeat(350_000);
        let content = RowContent::Values(vec![(name("text"), FeatureValue::Text(text))]);
        let id = EntityKey::new(format!("{number:05}")).unwrap();
        CustomRow { id, event_time: Timestamp::MIN, row: encode_row(&group, &content).unwrap() }
    };
    let rows: Vec<CustomRow> = (0..200).map(row).collect();
    let file = encode_custom(&rows, &group);
    let mut before = 0;
    for batch in CustomDecoder::open(NAME, file.bytes, &group).unwrap() {
        let batch = batch.unwrap();
        let bytes: usize = batch.iter().map(|row| row.row.len()).sum();
        assert!(bytes <= 41 << 20, "{bytes} bytes in a batch");
        assert!(batch == rows[before..before + batch.len()], "rows from {before} differ");
        before += batch.len();
    }
    assert_eq!(before, rows.len());
}

/// What Parquet's own reader finds in a file: the names of the columns, the rows as text, the types.
fn shown(file: EncodedFile) -> (String, Vec<String>, arrow::datatypes::SchemaRef) {
    use arrow::array::Array;
    use arrow::util::display::array_value_to_string;
    let mut reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file.bytes, 100).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let row = |row: usize| {
        let cell = |column: &Arc<dyn Array>| array_value_to_string(column, row).unwrap();
        batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")
    };
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    (names.join("|"), (0..batch.num_rows()).map(row).collect(), batch.schema())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

#[test]
fn other_tools_find_rating_values_times_and_withdrawals() {
    let id = EventId::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let rated = RatingRow {
        rating: Rating::new(1.into(), 31.into(), 2.5, at(1_260_759_144)).unwrap().with_event_id(id),
        first_rated_at: at(1_000_000_000),
    };
    let withdrawn = RatingRow {
        rating: Rating::withdrawal(1.into(), 32.into(), at(1_260_759_144)).with_event_id(id),
        first_rated_at: at(1_260_759_144),
    };
    let (names, rows, types) = shown(encode_ratings(&[rated, withdrawn], RatingOrder::ByUser, 1));
    assert_eq!(types, rating_columns(RatingOrder::ByUser));
    assert_eq!(names, "user|item|value|value_micros|rated_at|first_rated_at|event_id");
    assert_eq!(
        rows,
        [
            "1|31|2.5|2500000|2009-12-14T02:52:24Z|2001-09-09T01:46:40Z|0123456789abcdef0123456789abcdef",
            "1|32|||2009-12-14T02:52:24Z|2009-12-14T02:52:24Z|0123456789abcdef0123456789abcdef",
        ]
    );
}

#[test]
fn other_tools_find_the_columns_of_the_built_in_groups() {
    let mut stats = RatingStats::default();
    for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
        let _ = stats.apply(None, RatingValue::new(value).ok());
    }
    stats.observe(at(1), at(2));
    let mut emptied = RatingStats::default();
    emptied.observe(at(3), at(4));
    let entities: Vec<(EntityKey, RatingStats)> =
        ["a", "b"].map(|id| EntityKey::new(id).unwrap()).into_iter().zip([stats, emptied]).collect();
    let row = "a|8|5.0|2.0|2.0|9.0|1970-01-01T00:00:01Z|1970-01-01T00:00:02Z|";

    let (names, rows, types) = shown(encode_statistics(&entities, EntityKind::Item));
    let common = "id|rating_count|rating_mean|rating_std|rating_min|rating_max|first_rated_at|last_rated_at|";
    assert_eq!(types, feature_columns(EntityKind::Item));
    assert_eq!(names, format!("{common}bayesian_mean|state"));
    assert!(rows[0].starts_with(&format!("{row}{}|01", 70.0 / 18.0)), "{}", rows[0]);
    assert!(rows[1].starts_with("b|||||||||01"), "{}", rows[1]);

    let (names, rows, types) = shown(encode_statistics(&entities, EntityKind::User));
    assert_eq!(types, feature_columns(EntityKind::User));
    assert_eq!(names, format!("{common}state"));
    assert!(rows[0].starts_with(&format!("{row}01")), "{}", rows[0]);
}

#[test]
fn other_tools_find_custom_columns_with_their_types() {
    let values = vec![
        (name("id"), FeatureValue::Integer(-5)),
        (name("row"), FeatureValue::Float(0.5)),
        (name("bucket"), FeatureValue::Bool(true)),
        (name("about"), FeatureValue::Text("é".to_owned())),
        (name("seen_at"), FeatureValue::Timestamp(at(5))),
        (name("embedding"), FeatureValue::Vector(vec![1.0, -0.5, 0.0])),
        (name("tags"), FeatureValue::TextList(vec!["a".to_owned(), String::new()])),
    ];
    let contents = [RowContent::Values(values), RowContent::Values(Vec::new()), RowContent::Deleted];
    let row = |(id, content): (&str, &RowContent)| CustomRow {
        id: EntityKey::new(id).unwrap(),
        event_time: at(6),
        row: encode_row(&group(), content).unwrap(),
    };
    let custom: Vec<CustomRow> = ["a", "b", "c"].into_iter().zip(&contents).map(row).collect();
    let file = encode_custom(&custom, &group());
    assert_eq!((file.rows, file.live), (3, 2));
    let (names, rows, types) = shown(file);
    assert_eq!(types, custom_columns(&group()));
    assert_eq!(names, "id|event_time|deleted|row|_id|_row|_bucket|about|seen_at|embedding|tags");
    assert!(rows[0].starts_with("a|1970-01-01T00:00:06Z|false|01"), "{}", rows[0]);
    assert!(rows[0].ends_with("|-5|0.5|true|é|1970-01-01T00:00:05Z|[1.0, -0.5, 0.0]|[a, ]"), "{}", rows[0]);
    assert_eq!(rows[1], "b|1970-01-01T00:00:06Z|false|01|||||||");
    assert_eq!(rows[2], "c|1970-01-01T00:00:06Z|true|00|||||||");
}

/// How fast rating rows are written and read; prints, and fails only if rows are missing.
#[test]
#[ignore = "measures; run it with --release -- --ignored --nocapture"]
fn rating_rows_per_second() {
    const ROWS: u64 = 2_000_000;
    let mut numbers = Numbers(1);
    let mut rows: Vec<RatingRow> = (0..ROWS)
        .map(|number| {
            let (user, item) = (number / 144, number % 144 * 180 + numbers.below(180));
            let at = at(1_000_000_000 + numbers.below(500_000_000) as i64);
            let value = (numbers.below(10) + 1) as f64 / 2.0;
            let rating = Rating::new(user.into(), item.into(), value, at).unwrap();
            RatingRow { rating, first_rated_at: at }
        })
        .collect();
    for order in ORDERS {
        sort(&mut rows, order);
        let begin = std::time::Instant::now();
        let file = encode_ratings(&rows, order, 8192);
        let written = begin.elapsed().as_secs_f64();
        let begin = std::time::Instant::now();
        let decoder = RatingDecoder::open(NAME, file.bytes.clone(), order).unwrap();
        let read: u64 = decoder.map(|batch| batch.unwrap().len() as u64).sum();
        let reading = begin.elapsed().as_secs_f64();
        assert_eq!(read, ROWS);
        println!(
            "{order:?}: {:.1} bytes a row, encode {:.2} M rows/s, decode {:.2} M rows/s",
            file.bytes.len() as f64 / ROWS as f64,
            ROWS as f64 / written / 1e6,
            ROWS as f64 / reading / 1e6,
        );
    }
}
