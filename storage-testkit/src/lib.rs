//! Conformance suite, strategies and synthetic data for backends of the Recstore storage layer.

#[cfg(feature = "suite")]
pub mod suite;
pub mod synthetic;
