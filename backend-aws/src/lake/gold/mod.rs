//! Gold: similarity releases, immutable, and the catalogue of them.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`catalogue`] | which releases there are, where they stand, and which objects they consist of |

pub mod catalogue;
