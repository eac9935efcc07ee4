//! The statistics of a bucket that nothing can stop but damaged ratings.

use recstore_core::{EntityKind, ErrorKind, Result};

use super::merge::Gathered;
use super::tables::{SilverTables, Statistics};
use crate::lake::commit::CommitDocument;
use crate::lake::offload::offload;
use crate::lake::silver::ratings::RatingDecoder;

/// Reads the statistics of a bucket; where their file is damaged or gone, computes them of its ratings.
///
/// Runs and rebuilds replace such files, so a damaged one must not stop what heals it. A claimed generation could
/// otherwise never be finished, nor any after it.
///
/// # Errors
/// `Corrupt` if the ratings are damaged as well; those of the object store.
pub(crate) async fn statistics_of(
    tables: &SilverTables,
    kind: EntityKind,
    commit: &CommitDocument,
    bucket: u32,
) -> Result<Statistics> {
    match tables.features_of(commit.feature_table(kind), bucket).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%error, "statistics are damaged, computing them of the ratings; rebuild to replace the file");
            let rows = tables.open_ratings_of(kind, commit.rating_table(kind), bucket).await?;
            offload(true, move || statistics_from(kind, rows)).await?
        }
        read => read,
    }
}

/// The statistics that the ratings of a bucket give; `rows` is their file and how many there are.
///
/// # Errors
/// `Corrupt` if the ratings are damaged; `Full` for more than a bucket can have.
pub(crate) fn statistics_from(kind: EntityKind, rows: Option<(RatingDecoder, u64)>) -> Result<Statistics> {
    let gathered = Gathered::of_file(kind, rows, 0)?;
    Ok(gathered.sorted().merged(|_| Ok(()), |_| Ok(()))?.statistics)
}
