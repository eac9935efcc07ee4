//! Gold: similarity releases, immutable, and the catalogue of them.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`catalogue`] | which releases there are, where they stand, and which objects they consist of |
//! | [`lists`] | neighbour lists as a Parquet file |
//! | `contents` | the objects of a release |
//! | `erased` | who must not be in a release |

pub mod catalogue;
pub(crate) mod contents;
pub(crate) mod erased;
pub mod lists;
