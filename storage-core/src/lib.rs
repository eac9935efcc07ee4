//! Core of Recstore, the storage layer of recommender systems: the model, the traits of the three stores,
//! the feature extractor, the similarity builder and a memory backend. It knows no backend and does no I/O.
//!
//! Services use the facade crate `recstore`; authors of backends implement the traits here and run the
//! suite of `recstore-testkit`.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`model`] | ids, namespaces, time, values, events |
//! | [`ratings`], [`features`], [`similarity`] | one trait each, with its requests and answers |
//! | [`storage`] | the bundle of the three |
//! | [`extractor`] | exact statistics, incremental and in batches |
//! | [`recommend`](mod@recommend) | items for one user, from ratings and neighbours |
//! | [`fingerprint`] | content hashes |
//! | [`memory`] | the memory backend, the oracle of every other |

pub mod context;
pub mod cost;
pub mod error;
pub mod ext;
pub mod extractor;
pub mod features;
pub mod fingerprint;
pub mod memory;
pub mod model;
pub mod ratings;
pub mod recommend;
pub mod similarity;
pub mod storage;

pub use context::{ErasureKey, StoreContext};
pub use cost::{Cost, ObjectCost, TableCost};
pub use error::{Error, ErrorKind, Result, Retry};
pub use ext::{FeatureStoreExt, RatingStoreExt, SimilarityStoreExt};
pub use extractor::{BayesianPrior, RatingFeatures, RatingStats};
pub use features::{
    BatchBuilder, Cell, ColumnData, ColumnSpec, ColumnType, FeatureBatch, FeatureColumn, FeatureName,
    FeatureRequest, FeatureRow, FeatureStore, FeatureValue, GroupSchema, RebuildReport, RowContent,
    RowStatus,
};
pub use fingerprint::{Fingerprint, FingerprintBuilder, Fingerprints};
pub use memory::MemoryStorage;
pub use model::{
    Clock, Deadline, Entity, EntityKey, EntityKind, EventId, Found, IngestLimits, ItemId, Lookup,
    ManualClock, Namespace, Origin, Rating, RatingRow, RatingValue, ShardRange, SystemClock, Timestamp,
    UserId,
};
pub use ratings::{
    Durability, GetOptions, HistoryOptions, HistoryPage, Outcome, PageToken, PutOptions, PutReceipt,
    RatingCounts, RatingStore, ScanOptions, TimeRange,
};
pub use recommend::{RecommendOptions, Recommendation, RecommendationOrigin, recommend};
pub use similarity::{
    BuildOptions, BuildPhase, BuildProgress, BuildReport, BuildSeconds, Check, CheckOptions, CheckReport,
    Measure, Neighbour, NeighbourAnswer, NeighbourBuilder, NeighbourList, NeighbourRequest, Popular,
    PruneOptions, RatingMatrix, RatingMatrixBuilder, ReleaseChecker, ReleaseId, ReleaseInfo, ReleaseSpec,
    ReleaseState, SimilarityOptions, SimilarityStore, build_release,
};
pub use storage::{Capabilities, EraseOptions, EraseReport, Health, HealthCheck, Stats, Storage};
