//! Recstore is the storage layer of a recommender system: ratings in, features and neighbours out.
//!
//! This crate is the facade: [`Config`] says where data lives, [`open()`] (or [`Opener`], where a clock or other
//! live parts are given) makes an `Arc<dyn Storage>` of it. Everything of `recstore-core` is re-exported, so a
//! service needs this one crate. What is guaranteed, and what is not, stands in the README; the contract of each
//! call stands at the traits [`RatingStore`], [`FeatureStore`], [`SimilarityStore`] and [`Storage`].
//!
//! ```
//! use recstore::{Config, FeatureStoreExt, Rating, RatingStoreExt, Timestamp};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> recstore::Result<()> {
//! let config = Config::from_yaml("storage_mode: memory", "")?;
//! let storage = recstore::open(&config).await?;
//!
//! let rated_at = Timestamp::parse("2026-01-15T10:30:00Z")?;
//! storage.put_rating(Rating::new("ann".parse()?, "heat".parse()?, 4.5, rated_at)?).await?;
//!
//! let features = storage.user_features(&"ann".parse()?).await?;
//! assert_eq!(features.value(0, "rating_mean"), Some(recstore::FeatureValue::Float(4.5)));
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`config`] | the configuration: file, environment, flags |
//! | `opener` | from configuration to storage |

pub mod config;
mod opener;

pub use config::{Config, StorageMode};
pub use opener::{AVAILABLE_MODES, Opener, open};

pub use recstore_core::*;

#[cfg(feature = "aws")]
pub use opener::random_bits;
#[cfg(feature = "aws")]
pub use recstore_aws as aws;
#[cfg(feature = "sqlite")]
pub use recstore_sqlite as sqlite;

/// The README's code, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
