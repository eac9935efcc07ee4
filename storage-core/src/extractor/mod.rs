//! The feature extractor: exact rating statistics of one user or item, kept event by event or in a batch.
//!
//! Incremental and batch are two schedules of one type, [`RatingStats`]: `apply` replaces an old value by a
//! new one, `merge` joins two halves, `finish` derives the columns. All sums are integers, so the result does
//! not depend on order, batching or threads. No I/O.

mod features;
mod stats;
mod stored;

pub use features::{BayesianPrior, RatingFeatures};
pub use stats::{MAX_DISTINCT_VALUES, Overflow, RatingStats};
