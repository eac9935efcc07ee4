//! What every backend is opened with, beyond where its data lies.

use std::fmt;
use std::sync::Arc;

use crate::{BayesianPrior, Clock, Entity, EntityKind, IngestLimits, SystemClock};

/// The clock, limits and parameters that all backends share.
#[derive(Debug, Clone)]
pub struct StoreContext {
    /// Says what is now.
    pub clock: Arc<dyn Clock>,
    /// What events must keep to at ingest.
    pub limits: IngestLimits,
    /// The prior of `bayesian_mean`; recorded in the store.
    pub prior: BayesianPrior,
    /// The key of tombstones; a check of it is recorded in the store.
    pub erasure_key: ErasureKey,
}

impl Default for StoreContext {
    /// The machine's clock and the default of each parameter.
    fn default() -> StoreContext {
        StoreContext {
            clock: Arc::new(SystemClock),
            limits: IngestLimits::default(),
            prior: BayesianPrior::default(),
            erasure_key: ErasureKey::default(),
        }
    }
}

/// The secret that keys the hashes of erased ids.
///
/// Without a secret of one's own the hash of an id can be recomputed by anyone who guesses the id.
#[derive(Clone, PartialEq, Eq)]
pub struct ErasureKey([u8; 32]);

impl ErasureKey {
    /// A key from a secret of any length.
    pub fn from_secret(secret: &[u8]) -> ErasureKey {
        ErasureKey(blake3::derive_key("recstore 2026 erasure key v1", secret))
    }

    /// The tombstone of an entity: 16 bytes of keyed BLAKE3 of the kind (`user` or `item`), a zero byte and
    /// the id. The namespace is not part of it, a tombstone lies within one.
    pub fn tombstone(&self, entity: &Entity) -> [u8; 16] {
        self.tombstone_of(entity.kind, entity.key.as_str())
    }

    /// As [`tombstone`](Self::tombstone), of a borrowed id.
    pub fn tombstone_of(&self, kind: EntityKind, id: &str) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(kind.as_str().as_bytes()).update(&[0]).update(id.as_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    /// A value that tells whether two keys are the same without telling the key. For backends, to record.
    pub fn check_value(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        blake3::Hasher::new_derive_key("recstore 2026 erasure key check v1")
            .update(&self.0)
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }
}

impl Default for ErasureKey {
    /// The key of the empty secret.
    fn default() -> ErasureKey {
        ErasureKey::from_secret(b"")
    }
}

impl fmt::Debug for ErasureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErasureKey(<secret>)")
    }
}
