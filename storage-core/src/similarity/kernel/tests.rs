//! The kernel against a naive computation of each pair from its definition.

use std::collections::BTreeMap;

use super::*;
use crate::similarity::testing::{Random, row, withdrawn};
use crate::{EntityKind, RatingRow};

type Ratings = BTreeMap<String, f64>;
/// Id, similarity and common raters.
type NaiveNeighbour = (String, f64, u32);

/// Ratings by entity and by rater, as maps.
struct Naive {
    by_entity: BTreeMap<String, Ratings>,
    by_rater: BTreeMap<String, Ratings>,
}

impl Naive {
    fn new(kind: EntityKind, rows: &[RatingRow]) -> Naive {
        let mut naive = Naive { by_entity: BTreeMap::new(), by_rater: BTreeMap::new() };
        for row in rows {
            let Some(value) = row.rating.value() else { continue };
            let (user, item) = (row.rating.user().to_string(), row.rating.item().to_string());
            let (entity, rater) = if kind == EntityKind::Item { (item, user) } else { (user, item) };
            naive.by_entity.entry(entity.clone()).or_default().insert(rater.clone(), value.as_f64());
            naive.by_rater.entry(rater).or_default().insert(entity, value.as_f64());
        }
        naive
    }

    fn similarity(&self, measure: Measure, own: &Ratings, other: &Ratings) -> (f64, u32) {
        let common: Vec<(&String, f64, f64)> =
            own.iter().filter_map(|(rater, &x)| Some((rater, x, *other.get(rater)?))).collect();
        let n = common.len() as f64;
        let mean = |values: &mut dyn Iterator<Item = f64>, count: f64| values.sum::<f64>() / count;
        let cosine = |pairs: &[(f64, f64)]| {
            let sum = |term: fn(&(f64, f64)) -> f64| pairs.iter().map(term).sum::<f64>();
            sum(|(x, y)| x * y) / (sum(|(x, _)| x * x).sqrt() * sum(|(_, y)| y * y).sqrt())
        };
        let similarity = match measure {
            Measure::Cosine => {
                let norm = |ratings: &Ratings| ratings.values().map(|x| x * x).sum::<f64>().sqrt();
                common.iter().map(|(_, x, y)| x * y).sum::<f64>() / (norm(own) * norm(other))
            }
            Measure::AdjustedCosine => {
                let centred = |&(rater, x, y): &(&String, f64, f64)| {
                    let ratings = &self.by_rater[rater];
                    let mean = mean(&mut ratings.values().copied(), ratings.len() as f64);
                    (x - mean, y - mean)
                };
                cosine(&common.iter().map(centred).collect::<Vec<_>>())
            }
            Measure::Pearson => {
                let x_mean = mean(&mut common.iter().map(|pair| pair.1), n);
                let y_mean = mean(&mut common.iter().map(|pair| pair.2), n);
                cosine(&common.iter().map(|(_, x, y)| (x - x_mean, y - y_mean)).collect::<Vec<_>>())
            }
            Measure::Jaccard => n / (own.len() as f64 + other.len() as f64 - n),
        };
        (similarity, common.len() as u32)
    }

    /// Every entity with its neighbours. Roundings are cut off before comparing, as in the kernel.
    fn lists(&self, options: SimilarityOptions) -> Vec<(String, Vec<NaiveNeighbour>)> {
        let list = |(id, own): (&String, &Ratings)| {
            let mut neighbours: Vec<NaiveNeighbour> = Vec::new();
            for (other_id, other) in self.by_entity.iter().filter(|(other_id, _)| *other_id != id) {
                let (similarity, common) = self.similarity(options.measure, own, other);
                let shrunk = similarity * f64::from(common) / (f64::from(common) + options.shrinkage);
                let rounded = (shrunk * 1e12).round() / 1e12;
                if common >= options.min_common && rounded > 0.0 {
                    neighbours.push((other_id.clone(), rounded, common));
                }
            }
            neighbours.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
            neighbours.truncate(options.k);
            (id.clone(), neighbours)
        };
        self.by_entity.iter().map(list).collect()
    }
}

/// `count` ratings of 40 users and 30 items, the first ones the more popular.
fn random_rows(seed: u64, count: usize, value: fn(&mut Random) -> f64) -> Vec<RatingRow> {
    let mut random = Random(seed);
    let mut rated = BTreeMap::new();
    for _ in 0..count {
        let user = random.below(40).min(random.below(40));
        let item = random.below(30).min(random.below(30));
        rated.insert((user, item), value(&mut random));
    }
    rated.into_iter().map(|((user, item), value)| row(&user.to_string(), &item.to_string(), value)).collect()
}

fn stars(random: &mut Random) -> f64 {
    (random.below(10) + 1) as f64 / 2.0
}

fn any_sign_and_size(random: &mut Random) -> f64 {
    (random.below(2_000_001) as f64 - 1_000_000.0) + random.below(1_000_000) as f64 / 1e6
}

fn lists_of(matrix: &RatingMatrix, options: SimilarityOptions, threads: usize) -> Vec<NeighbourList> {
    NeighbourBuilder::new(matrix, options).unwrap().with_threads(threads).lists().unwrap()
}

fn assert_as_defined(kind: EntityKind, rows: &[RatingRow], options: SimilarityOptions) {
    let matrix = RatingMatrix::from_rows(kind, rows).unwrap();
    let found = lists_of(&matrix, options, 2);
    let expected = Naive::new(kind, rows).lists(options);
    assert_eq!(found.len(), expected.len());
    for (found, (id, neighbours)) in found.iter().zip(&expected) {
        assert_eq!(found.id.as_str(), id);
        let ids: Vec<&str> = found.neighbours.iter().map(|neighbour| neighbour.id.as_str()).collect();
        let expected_ids: Vec<&str> = neighbours.iter().map(|neighbour| neighbour.0.as_str()).collect();
        assert_eq!(ids, expected_ids, "{options:?}, neighbours of {kind} {id}");
        for (found, (_, similarity, common)) in found.neighbours.iter().zip(neighbours) {
            assert!((found.similarity - similarity).abs() < 2e-12, "{options:?}: {found:?} {similarity}");
            assert_eq!(found.common, *common);
        }
    }
}

#[test]
fn every_measure_is_as_defined_for_stars_of_items_and_of_users() {
    for measure in Measure::ALL {
        for kind in [EntityKind::Item, EntityKind::User] {
            for (seed, count, k) in [(1, 30, 7), (2, 150, 1), (3, 600, 7), (3, 600, 100)] {
                let options = SimilarityOptions { measure, k, ..SimilarityOptions::default() };
                assert_as_defined(kind, &random_rows(seed, count, stars), options);
            }
        }
    }
}

#[test]
fn every_measure_is_as_defined_for_values_of_any_sign_and_size() {
    for measure in Measure::ALL {
        let options = SimilarityOptions { measure, k: 1000, ..SimilarityOptions::default() };
        let rows = random_rows(4, 400, any_sign_and_size);
        assert!(matches!(RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap().cells(), Cells::Wide(_)));
        assert_as_defined(EntityKind::Item, &rows, options);
    }
}

#[test]
fn every_measure_is_as_defined_for_values_whose_sums_need_64_bits() {
    for measure in Measure::ALL {
        let rows = random_rows(5, 400, |random| random.below(32_000) as f64 + 1.0);
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        assert!(matches!(matrix.cells(), Cells::Narrow(cells) if !fits_32_bits(cells)));
        let options = SimilarityOptions { measure, k: 5, ..SimilarityOptions::default() };
        assert_as_defined(EntityKind::Item, &rows, options);
    }
}

#[test]
fn fewest_common_raters_and_shrinkage_are_as_defined() {
    for measure in Measure::ALL {
        let options = SimilarityOptions { measure, k: 9, min_common: 3, shrinkage: 12.5 };
        assert_as_defined(EntityKind::Item, &random_rows(6, 300, stars), options);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let rows = random_rows(7, 700, any_sign_and_size);
    for measure in Measure::ALL {
        let options = SimilarityOptions { measure, k: 10, ..SimilarityOptions::default() };
        let bits = |threads| {
            let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
            let neighbours = |list: NeighbourList| {
                list.neighbours
                    .into_iter()
                    .map(|neighbour| (neighbour.id, neighbour.similarity.to_bits(), neighbour.common))
                    .collect::<Vec<_>>()
            };
            lists_of(&matrix, options, threads).into_iter().map(neighbours).collect::<Vec<_>>()
        };
        let one = bits(1);
        assert_eq!(one, bits(2));
        assert_eq!(one, bits(5));
    }
}

#[test]
fn taking_the_entities_in_bands_changes_no_bit() {
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &random_rows(9, 500, stars)).unwrap();
    for measure in Measure::ALL {
        let options = SimilarityOptions { measure, k: 6, ..SimilarityOptions::default() };
        let at_once = lists_of(&matrix, options, 2);
        for band_lists in [1, 4, 29] {
            let builder = NeighbourBuilder::new(&matrix, options).unwrap();
            let in_bands = NeighbourBuilder { band_lists, ..builder }.lists().unwrap();
            assert_eq!(in_bands, at_once, "{measure} in bands of {band_lists}");
        }
    }
}

#[test]
fn similarity_is_symmetric_bit_by_bit() {
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &random_rows(8, 500, any_sign_and_size)).unwrap();
    for measure in Measure::ALL {
        let options = SimilarityOptions { measure, k: 100, ..SimilarityOptions::default() };
        let mut pairs = BTreeMap::new();
        for list in lists_of(&matrix, options, 2) {
            for neighbour in list.neighbours {
                pairs.insert((list.id.clone(), neighbour.id), neighbour.similarity.to_bits());
            }
        }
        assert!(pairs.len() > 100);
        for ((own, other), bits) in &pairs {
            assert_eq!(pairs.get(&(other.clone(), own.clone())), Some(bits), "{measure}: {own} {other}");
        }
    }
}

#[test]
fn ties_are_ordered_by_the_bytes_of_the_ids() {
    let items = ["a", "100", "20", "3", "B"];
    let rows: Vec<RatingRow> = items.iter().map(|item| row("u", item, 3.5)).collect();
    for (measure, k) in [(Measure::Cosine, 3), (Measure::Jaccard, 1), (Measure::Cosine, 9)] {
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        let lists = lists_of(&matrix, SimilarityOptions { measure, k, ..SimilarityOptions::default() }, 1);
        let own = lists.iter().find(|list| list.id.as_str() == "3").unwrap();
        let ids: Vec<&str> = own.neighbours.iter().map(|neighbour| neighbour.id.as_str()).collect();
        assert_eq!(ids, ["100", "20", "B", "a"][..k.min(4)]);
    }
}

#[test]
fn zero_norms_withdrawn_ratings_and_lone_entities_make_no_neighbours() {
    let rows = [row("u", "1", 0.0), row("u", "2", 4.0), withdrawn("u", "3"), row("v", "3", 4.0)];
    for measure in [Measure::Cosine, Measure::Pearson] {
        let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
        let lists = lists_of(&matrix, SimilarityOptions { measure, ..SimilarityOptions::default() }, 1);
        assert_eq!(lists.len(), 3);
        assert!(lists.iter().all(|list| list.neighbours.is_empty()), "{measure}: {lists:?}");
    }
}

#[test]
fn an_empty_matrix_has_no_lists() {
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &[]).unwrap();
    assert_eq!(lists_of(&matrix, SimilarityOptions::default(), 1), []);
}

#[test]
fn an_error_of_the_taker_stops_the_run() {
    let rows: Vec<RatingRow> = (0..100).map(|item| row("u", &item.to_string(), 1.0)).collect();
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &rows).unwrap();
    let options = SimilarityOptions { k: 10_000, ..SimilarityOptions::default() };
    let mut blocks = 0;
    let stopped = NeighbourBuilder::new(&matrix, options).unwrap().run(|_| {
        blocks += 1;
        Err(Error::new(ErrorKind::Closed, "enough"))
    });
    assert_eq!((stopped.unwrap_err().message(), blocks), ("enough", 1));
}

#[test]
fn blocks_are_in_order_complete_and_bounded() {
    let additions = [1, BLOCK_ADDITIONS, 5, 5, 5, 5, BLOCK_ADDITIONS / 2, BLOCK_ADDITIONS / 2, 1];
    assert_eq!(blocks(100, &additions, 3), [100..102, 102..105, 105..108, 108..109]);
    assert_eq!(blocks(0, &[], 3), []);
    assert_eq!(bands(7, 3).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
    assert_eq!(bands(0, 3).count(), 0);
}

#[test]
fn options_out_of_range_are_named() {
    let matrix = RatingMatrix::from_rows(EntityKind::Item, &[]).unwrap();
    let options = SimilarityOptions { k: 0, ..SimilarityOptions::default() };
    assert_eq!(NeighbourBuilder::new(&matrix, options).unwrap_err().field(), Some("k"));
}
