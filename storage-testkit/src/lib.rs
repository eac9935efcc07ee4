//! Conformance suite, strategies and synthetic data for backends of the Recstore storage layer.

pub mod synthetic;
