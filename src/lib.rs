//! The Recstore facade.
pub use recstore_core::*;
