//! The formulas: what is summed over the common raters of a pair, and the similarity that the sums make.
//!
//! Sums are integers for cosine, Pearson and Jaccard, so they do not depend on an order at all; adjusted
//! cosine sums in `f64`, in the order of the raters. Every formula is symmetric bit by bit: the similarity of
//! (i, j) is that of (j, i).

use std::marker::PhantomData;

use super::matrix::{Rows, Sparse};

/// A rating value as the matrix keeps it.
pub(super) trait Value: Copy + Default + Send + Sync {
    /// The value of a multiple that is known to fit.
    fn from_multiple(multiple: i64) -> Self;
    /// The value as a number.
    fn as_f64(self) -> f64;
    /// The value as an integer.
    fn as_i128(self) -> i128;
}

impl Value for i16 {
    fn from_multiple(multiple: i64) -> i16 {
        multiple as i16
    }
    fn as_f64(self) -> f64 {
        self.into()
    }
    fn as_i128(self) -> i128 {
        self.into()
    }
}

impl Value for i64 {
    fn from_multiple(multiple: i64) -> i64 {
        multiple
    }
    fn as_f64(self) -> f64 {
        self as f64
    }
    fn as_i128(self) -> i128 {
        self.into()
    }
}

/// An integer that holds sums of products of two values `V` over all common raters of a pair.
///
/// | sum | values | bound |
/// | --- | --- | --- |
/// | `i32` | `i16` | where value² × raters is below 2^31, which the caller checks |
/// | `i64` | `i16` | 2^30 × 2^32 raters |
/// | `i128` | `i64` up to 10^12 | 10^24 × 2^32 raters |
///
/// Additions wrap by name and never in fact: an overflow check costs a third of the kernel's time.
pub(super) trait Sum<V>: Copy + Default + Send {
    /// Adds a value.
    fn add(&mut self, value: V);
    /// Adds the product of two values.
    fn add_product(&mut self, one: V, other: V);
    /// The sum as a number.
    fn as_f64(self) -> f64;
    /// n·Σxy − Σx·Σy, from n and these three sums: n² times the covariance.
    fn deviation(count: u32, products: Self, left: Self, right: Self) -> f64;
}

macro_rules! exact_sum {
    ($sum:ty, $value:ty, $deviation:expr) => {
        impl Sum<$value> for $sum {
            #[inline]
            fn add(&mut self, value: $value) {
                *self = self.wrapping_add(value as $sum);
            }
            #[inline]
            fn add_product(&mut self, one: $value, other: $value) {
                *self = self.wrapping_add((one as $sum).wrapping_mul(other as $sum));
            }
            #[inline]
            fn as_f64(self) -> f64 {
                self as f64
            }
            #[inline]
            fn deviation(count: u32, products: $sum, left: $sum, right: $sum) -> f64 {
                $deviation(count, products, left, right)
            }
        }
    };
}

exact_sum!(i32, i16, |count: u32, products: i32, left: i32, right: i32| {
    (i64::from(count) * i64::from(products) - i64::from(left) * i64::from(right)) as f64
});
exact_sum!(i64, i16, |count: u32, products: i64, left: i64, right: i64| {
    (i128::from(count) * i128::from(products) - i128::from(left) * i128::from(right)) as f64
});
exact_sum!(i128, i64, wide_deviation);

/// n·Σxy − Σx·Σy where the products pass 128 bits: with q, r = divmod of each sum by n it is
/// n·(Σxy − qx·Σy − qy·rx) − rx·ry, the bracket exact and rx·ry below n².
fn wide_deviation(count: u32, products: i128, left: i128, right: i128) -> f64 {
    let n = i128::from(count);
    let (left_quotient, left_rest) = (left.div_euclid(n), left.rem_euclid(n));
    let (right_quotient, right_rest) = (right.div_euclid(n), right.rem_euclid(n));
    let bracket = products - left_quotient * right - right_quotient * left_rest;
    bracket as f64 * n as f64 - (left_rest * right_rest) as f64
}

/// One measure over values `V`: what to sum, and what the sums mean.
pub(super) trait Formula<V>: Sync {
    /// What is summed for a pair. Its default is that of a pair without common raters.
    type Sums: Copy + Default + Send;
    /// What a rating enters the sums as.
    type Operand: Copy;

    /// What a rater's ratings are taken relative to.
    fn origin(&self, rater: usize) -> f64;
    /// What a rating enters the sums as, given its rater's origin.
    fn operand(value: V, origin: f64) -> Self::Operand;
    /// Adds a common rater's two ratings.
    fn add(sums: &mut Self::Sums, own: Self::Operand, other: Self::Operand);
    /// How many common raters were added.
    fn common(sums: &Self::Sums) -> u32;
    /// The similarity of two entities.
    fn ratio(&self, own: usize, other: usize, sums: &Self::Sums) -> Ratio;
}

/// Similarities are kept to twelve decimals.
const DECIMALS: f64 = 1e12;

/// A similarity that is not computed yet: numerator / √square. None if it is not finite or not above zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ratio {
    pub(super) numerator: f64,
    pub(super) square: f64,
}

impl Ratio {
    /// Times n/(n+λ).
    #[inline]
    pub(super) fn shrunk(self, common: u32, shrinkage: f64) -> Ratio {
        if shrinkage == 0.0 {
            return self;
        }
        let common = f64::from(common);
        Ratio { numerator: self.numerator * (common / (common + shrinkage)), ..self }
    }

    /// Whether it may settle to `threshold` or above: `false` is certain. Most pairs end here, without a root
    /// or a division.
    #[inline]
    pub(super) fn may_reach(self, threshold: f64) -> bool {
        // Settling adds at most half of a decimal; the rest is room for the roundings here.
        let bar = (threshold - 1.0 / DECIMALS).max(0.0);
        self.numerator > 0.0 && self.numerator * self.numerator >= bar * bar * self.square
    }

    /// The similarity that is kept, `None` if there is none: at most 1, to twelve decimals.
    ///
    /// Pairs whose similarities are equal in exact arithmetic may differ by a few roundings of `f64`, which
    /// would then decide their order in place of the ids, and products that cancel out may leave a rest of a
    /// rounding or two where there is no likeness. To twelve decimals they are equal, and the rest is zero.
    #[inline]
    pub(super) fn settled(self) -> Option<f64> {
        let similarity = self.numerator / self.square.sqrt();
        if !similarity.is_finite() {
            return None;
        }
        // Rounds; `f64::round` would be a call of a function on plain x86-64.
        let units = (similarity.clamp(0.0, 1.0) * DECIMALS + 0.5) as i64;
        (units > 0).then(|| units as f64 / DECIMALS)
    }
}

/// Σxy / √(Σx²·Σy²), the squares over all raters of each.
pub(super) struct Cosine<S> {
    squares: Vec<f64>,
    sum: PhantomData<fn() -> S>,
}

impl<S> Cosine<S> {
    pub(super) fn new<V: Value>(cells: &Sparse<V>) -> Cosine<S> {
        let mut squares = vec![0_i128; cells.by_entity.len()];
        for rater in 0..cells.by_rater.len() {
            let (entities, values) = cells.by_rater.row(rater);
            for (&entity, value) in entities.iter().zip(values) {
                squares[entity as usize] += value.as_i128() * value.as_i128();
            }
        }
        Cosine { squares: squares.into_iter().map(|square| square as f64).collect(), sum: PhantomData }
    }
}

/// Common raters and the sum of products.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dot<S> {
    common: u32,
    products: S,
}

impl<V: Value, S: Sum<V>> Formula<V> for Cosine<S> {
    type Sums = Dot<S>;
    type Operand = V;

    fn origin(&self, _rater: usize) -> f64 {
        0.0
    }
    #[inline]
    fn operand(value: V, _origin: f64) -> V {
        value
    }
    #[inline]
    fn add(sums: &mut Dot<S>, own: V, other: V) {
        sums.common = sums.common.wrapping_add(1);
        sums.products.add_product(own, other);
    }
    #[inline]
    fn common(sums: &Dot<S>) -> u32 {
        sums.common
    }
    #[inline]
    fn ratio(&self, own: usize, other: usize, sums: &Dot<S>) -> Ratio {
        Ratio { numerator: sums.products.as_f64(), square: self.squares[own] * self.squares[other] }
    }
}

/// n / (a + b − n): the common raters over all raters of either.
pub(super) struct Jaccard {
    raters: Vec<f64>,
}

impl Jaccard {
    pub(super) fn new<V: Value>(cells: &Sparse<V>) -> Jaccard {
        let raters = |row| cells.by_entity.row_len(row) as f64;
        Jaccard { raters: (0..cells.by_entity.len()).map(raters).collect() }
    }
}

impl<V: Value> Formula<V> for Jaccard {
    type Sums = u32;
    type Operand = ();

    fn origin(&self, _rater: usize) -> f64 {
        0.0
    }
    #[inline]
    fn operand(_value: V, _origin: f64) {}
    #[inline]
    fn add(common: &mut u32, (): (), (): ()) {
        *common = common.wrapping_add(1);
    }
    #[inline]
    fn common(common: &u32) -> u32 {
        *common
    }
    #[inline]
    fn ratio(&self, own: usize, other: usize, common: &u32) -> Ratio {
        let common = f64::from(*common);
        let either = self.raters[own] + self.raters[other] - common;
        Ratio { numerator: common, square: either * either }
    }
}

/// cov(x, y) / √(var(x)·var(y)) over the common raters, with the means over these.
pub(super) struct Pearson<S>(PhantomData<fn() -> S>);

impl<S> Pearson<S> {
    pub(super) fn new() -> Pearson<S> {
        Pearson(PhantomData)
    }
}

/// Sums of two variables, their squares and their product.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments<S> {
    common: u32,
    own: S,
    other: S,
    own_squares: S,
    other_squares: S,
    products: S,
}

impl<V: Value, S: Sum<V>> Formula<V> for Pearson<S> {
    type Sums = Moments<S>;
    type Operand = V;

    fn origin(&self, _rater: usize) -> f64 {
        0.0
    }
    #[inline]
    fn operand(value: V, _origin: f64) -> V {
        value
    }
    #[inline]
    fn add(sums: &mut Moments<S>, own: V, other: V) {
        sums.common = sums.common.wrapping_add(1);
        sums.own.add(own);
        sums.other.add(other);
        sums.own_squares.add_product(own, own);
        sums.other_squares.add_product(other, other);
        sums.products.add_product(own, other);
    }
    #[inline]
    fn common(sums: &Moments<S>) -> u32 {
        sums.common
    }
    #[inline]
    fn ratio(&self, _own: usize, _other: usize, sums: &Moments<S>) -> Ratio {
        let Moments { common, own, other, own_squares, other_squares, products } = *sums;
        let own_variance = S::deviation(common, own_squares, own, own);
        let other_variance = S::deviation(common, other_squares, other, other);
        let numerator = S::deviation(common, products, own, other);
        Ratio { numerator, square: own_variance * other_variance }
    }
}

/// Σxy / √(Σx²·Σy²) over the common raters, of ratings minus their rater's mean over all it rated.
pub(super) struct AdjustedCosine {
    means: Vec<f64>,
}

impl AdjustedCosine {
    pub(super) fn new<V: Value>(by_rater: &Rows<V>) -> AdjustedCosine {
        let mean = |rater| {
            let (_, values) = by_rater.row(rater);
            values.iter().map(|&value| value.as_i128()).sum::<i128>() as f64 / values.len() as f64
        };
        AdjustedCosine { means: (0..by_rater.len()).map(mean).collect() }
    }
}

/// Sums of squares and products of centred ratings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Centred {
    common: u32,
    own_squares: f64,
    other_squares: f64,
    products: f64,
}

impl<V: Value> Formula<V> for AdjustedCosine {
    type Sums = Centred;
    type Operand = f64;

    #[inline]
    fn origin(&self, rater: usize) -> f64 {
        self.means[rater]
    }
    #[inline]
    fn operand(value: V, origin: f64) -> f64 {
        value.as_f64() - origin
    }
    #[inline]
    fn add(sums: &mut Centred, own: f64, other: f64) {
        sums.common = sums.common.wrapping_add(1);
        sums.own_squares += own * own;
        sums.other_squares += other * other;
        sums.products += own * other;
    }
    #[inline]
    fn common(sums: &Centred) -> u32 {
        sums.common
    }
    #[inline]
    fn ratio(&self, _own: usize, _other: usize, sums: &Centred) -> Ratio {
        Ratio { numerator: sums.products, square: sums.own_squares * sums.other_squares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: f64, denominator: f64) -> Ratio {
        Ratio { numerator, square: denominator * denominator }
    }

    #[test]
    fn what_is_not_above_zero_or_not_finite_is_no_similarity() {
        for value in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-13] {
            assert_eq!(ratio(value, 1.0).settled(), None, "{value}");
        }
        assert_eq!(ratio(1.0, 0.0).settled(), None);
        assert_eq!(ratio(3.0, 3.0).settled(), Some(1.0));
    }

    #[test]
    fn roundings_of_equal_similarities_settle_to_the_same_bits() {
        for noisy in [1.0 - f64::EPSILON, 1.0, 1.0 + f64::EPSILON] {
            assert_eq!(ratio(noisy, 1.0).settled(), Some(1.0));
        }
        let third = ratio(1.0 / 3.0, 1.0).settled();
        assert_eq!(ratio(1.0 / 3.0 + f64::EPSILON, 1.0).settled(), third);
        assert_eq!(third, Some(0.333_333_333_333));
    }

    #[test]
    fn shrinkage_weighs_by_the_common_raters() {
        assert_eq!(ratio(1.0, 2.0).shrunk(30, 10.0).settled(), Some(0.375));
        assert_eq!(ratio(1.0, 2.0).shrunk(30, 0.0).settled(), Some(0.5));
    }

    #[test]
    fn what_settles_to_a_threshold_may_reach_it() {
        for value in [1e-12, 1e-9, 0.25, 1.0 / 3.0, 0.999_999_999_999, 1.0] {
            for settling in [value - 4e-13, value, value + 4e-13] {
                let ratio = ratio(settling * 7.0, 7.0);
                assert!(ratio.settled().is_some_and(|settled| ratio.may_reach(settled)), "{settling}");
            }
            assert!(!ratio((value - 3e-12) * 7.0, 7.0).may_reach(value), "{value}");
        }
        assert!(!ratio(0.0, 1.0).may_reach(0.0));
    }

    #[test]
    fn deviations_of_large_values_are_exact() {
        let values: [i64; 3] = [1_000_000_000_000, 999_999_999_999, -1_000_000_000_000];
        let mut sums = Moments::<i128>::default();
        for value in values {
            Pearson::<i128>::add(&mut sums, value, value);
        }
        let n = 3;
        let exact = n * sums.own_squares - sums.own * sums.own;
        let found = <i128 as Sum<i64>>::deviation(3, sums.own_squares, sums.own, sums.own);
        assert!((found / exact as f64 - 1.0).abs() < 1e-15);
        let equal = <i128 as Sum<i64>>::deviation(
            3,
            3 * 999_999_999_999_i128.pow(2),
            3 * 999_999_999_999,
            3 * 999_999_999_999,
        );
        assert_eq!(equal, 0.0);
    }
}
