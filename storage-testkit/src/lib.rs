//! What a backend of Recstore is held against, and data to try it with.
//!
//! The **conformance suite** has a test for every sentence of the contracts in `recstore_core`'s traits. To run
//! it on a backend of one's own takes a few lines in an integration test; each behaviour becomes a test with
//! its own name:
//!
//! ```
//! # #[cfg(feature = "suite")]
//! mod my_backend {
//!     use std::sync::Arc;
//!
//!     use recstore_core::{MemoryStorage, Namespace, Storage, StoreContext};
//!
//!     /// An empty store, and what must live as long as it: a temporary folder, say.
//!     async fn open(context: StoreContext) -> (Arc<dyn Storage>, ()) {
//!         (Arc::new(MemoryStorage::new(Namespace::default(), context)), ())
//!     }
//!
//!     recstore_testkit::conformance!(open);
//! }
//! # fn main() {}
//! ```
//!
//! A durable backend also says how to open the same medium again, `conformance!(open, reopen: reopen)` with
//! `async fn reopen(context: StoreContext, guard: Arc<TempDir>) -> Arc<dyn Storage>`; without it those tests
//! show as ignored. Wrappers around a store run the suite in the same way.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`suite`] | the behaviours, and how they become tests |
//! | [`model`] | random scripts, compared with the memory backend (`RECSTORE_PROPTEST_CASES`, `…_SEED`) |
//! | [`hostile`] | ids and namespaces that careless keys confuse |
//! | [`strategies`] | the scripts' [proptest](https://docs.rs/proptest) strategies |
//! | [`synthetic`] | deterministic rating data of any size |
//!
//! Without the default feature `suite` only [`hostile`] and [`synthetic`] are there, and no test library is compiled.

// The table above links to modules that are not there without the feature.
#![cfg_attr(not(feature = "suite"), allow(rustdoc::broken_intra_doc_links))]

pub mod hostile;
#[cfg(feature = "suite")]
pub mod model;
#[cfg(feature = "suite")]
pub mod strategies;
#[cfg(feature = "suite")]
pub mod suite;
pub mod synthetic;
