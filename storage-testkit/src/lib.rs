//! Conformance suite for backends.
