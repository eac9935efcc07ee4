//! An answer cannot lie: found, missing or failed, for each key.

use serde::Serialize;

use crate::{Error, Timestamp};

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// Kept with the ratings themselves: as fresh as they are.
    Live,
    /// Written by the caller (custom features) or built at a moment (releases).
    Stored,
    /// Published by a pipeline run.
    Published,
}

/// A value that was found, and how fresh it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Every event acknowledged before this time is in the value.
    pub as_of: Timestamp,
    /// Where it comes from.
    pub origin: Origin,
}

/// The answer for one key.
#[derive(Debug)]
pub enum Lookup<T> {
    /// It is there.
    Found(Found<T>),
    /// It is not there.
    Missing,
    /// The store could not tell; this is never the same as missing.
    Failed(Error),
}

impl<T> Lookup<T> {
    /// The value, `None` if missing.
    ///
    /// # Errors
    /// The reason, if the store could not tell.
    pub fn into_result(self) -> crate::Result<Option<T>> {
        match self {
            Lookup::Found(found) => Ok(Some(found.value)),
            Lookup::Missing => Ok(None),
            Lookup::Failed(error) => Err(error),
        }
    }

    /// The value if it was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Lookup::Found(found) => Some(&found.value),
            Lookup::Missing | Lookup::Failed(_) => None,
        }
    }
}
