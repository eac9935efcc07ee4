//! What a release is made of.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{EntityKey, EntityKind, Error, Result, Timestamp};

/// How alike two items (or users) are, from the ratings they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Cosine of the rating vectors over all raters, a missing rating being 0.
    Cosine,
    /// Cosine of ratings minus their user's mean, norms over the common raters (Sarwar et al. 2001,
    /// "Item-based collaborative filtering recommendation algorithms").
    AdjustedCosine,
    /// Pearson correlation over the common raters, with the means over these.
    Pearson,
    /// Common raters over all raters of either, values left aside.
    Jaccard,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Measure; 4] =
        [Measure::Cosine, Measure::AdjustedCosine, Measure::Pearson, Measure::Jaccard];

    /// `cosine`, `adjusted-cosine`, `pearson` or `jaccard`.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Cosine => "cosine",
            Measure::AdjustedCosine => "adjusted-cosine",
            Measure::Pearson => "pearson",
            Measure::Jaccard => "jaccard",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Measure> {
        Measure::ALL.into_iter().find(|measure| measure.as_str() == text).ok_or_else(|| {
            let names = Measure::ALL.map(Measure::as_str).join(", ");
            Error::invalid("measure", format!("{text:?} is no measure, there are: {names}"))
        })
    }
}

/// How neighbour lists are computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SimilarityOptions {
    /// The measure.
    pub measure: Measure,
    /// The most neighbours of each entity, 1 to 10,000.
    pub k: usize,
    /// The fewest common raters of a neighbour, at least 1.
    pub min_common: u32,
    /// λ of the shrinkage n/(n+λ), n being the common raters (Bell and Koren 2007, "Scalable collaborative
    /// filtering with jointly derived neighborhood interpolation weights"); 0 for none.
    pub shrinkage: f64,
}

impl Default for SimilarityOptions {
    /// Cosine, 50 neighbours, at least 1 common rater, no shrinkage.
    fn default() -> SimilarityOptions {
        SimilarityOptions { measure: Measure::Cosine, k: 50, min_common: 1, shrinkage: 0.0 }
    }
}

impl SimilarityOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid` that names the option.
    pub fn validate(&self) -> Result<()> {
        if !(1..=10_000).contains(&self.k) {
            return Err(Error::invalid("k", format!("{} is not 1 to 10,000", self.k)));
        }
        if self.min_common == 0 {
            return Err(Error::invalid("min_common", "0 common raters make no neighbour, at least 1"));
        }
        if !(self.shrinkage.is_finite() && (0.0..=1e9).contains(&self.shrinkage)) {
            return Err(Error::invalid("shrinkage", format!("{} is not 0 to 10^9", self.shrinkage)));
        }
        Ok(())
    }
}

/// The name of a release; newer releases of a kind sort after older ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(SmolStr);

impl ReleaseId {
    /// `<kind>-<15 digits of milliseconds>-<ordinal>`, the ordinal (4 digits) telling releases of one
    /// millisecond apart. For backends.
    pub fn new(kind: EntityKind, created_at: Timestamp, ordinal: u32) -> ReleaseId {
        ReleaseId(smol_str::format_smolstr!("{kind}-{:015}-{ordinal:04}", created_at.as_millis()))
    }

    /// A name as it was printed. Whether there is such a release is for the store to say.
    pub fn from_text(text: impl AsRef<str>) -> ReleaseId {
        ReleaseId(SmolStr::new(text.as_ref()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a release is begun with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// Neighbours among users or among items.
    pub kind: EntityKind,
    /// How the lists are computed.
    pub options: SimilarityOptions,
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseState {
    /// It takes lists and cannot be read.
    Building,
    /// It is immutable and can be read by name.
    Sealed,
    /// It is sealed and what readers get.
    Current,
}

/// A release, without its lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Its name.
    pub id: ReleaseId,
    /// What it was begun with.
    pub spec: ReleaseSpec,
    /// Where it stands.
    pub state: ReleaseState,
    /// When it was begun; ratings put later need not be in it.
    pub created_at: Timestamp,
    /// `None` if it was never promoted or was rolled back. A promotion sets one more than the greatest of the
    /// kind at that time, from 1; the release with the greatest is the current one.
    pub promotion: Option<u64>,
    /// How many entities have a list.
    pub lists: u64,
    /// How many neighbours the lists have together.
    pub neighbours: u64,
}

/// One entry of a neighbour list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Who it is.
    pub id: EntityKey,
    /// How alike, after shrinkage; finite and above zero.
    pub similarity: f64,
    /// How many raters the two have in common.
    pub common: u32,
}

/// The neighbours of one entity, the most similar first, ties by id.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighbourList {
    /// Whose neighbours.
    pub id: EntityKey,
    /// The neighbours.
    pub neighbours: Vec<Neighbour>,
}

impl NeighbourList {
    /// Checks what every stored list must keep to. For backends.
    ///
    /// # Errors
    /// `Invalid` for a similarity that is not finite or not above zero, for the entity itself and for a
    /// neighbour given twice.
    pub fn validate(&self) -> Result<()> {
        let mut seen = HashSet::with_capacity(self.neighbours.len());
        for (index, neighbour) in self.neighbours.iter().enumerate() {
            let field = |name: &str| format!("neighbours[{index}].{name}");
            if !(neighbour.similarity.is_finite() && neighbour.similarity > 0.0) {
                let text = format!("{} is not finite and above zero", neighbour.similarity);
                return Err(
                    Error::invalid(field("similarity"), text).on(format!("neighbours of {}", self.id))
                );
            }
            if neighbour.id == self.id {
                let text = "an entity is never its own neighbour";
                return Err(Error::invalid(field("id"), text).on(format!("neighbours of {}", self.id)));
            }
            if !seen.insert(&neighbour.id) {
                let text = format!("{} is given twice in one list", neighbour.id);
                return Err(Error::invalid(field("id"), text).on(format!("neighbours of {}", self.id)));
            }
        }
        Ok(())
    }
}

/// One entry of a popularity list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Popular {
    /// Who it is.
    pub id: EntityKey,
    /// How many current ratings it has.
    pub ratings: u64,
}
