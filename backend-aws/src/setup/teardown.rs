//! Removing what set-up made: the tables, and a bucket in which nothing is.

use recstore_core::{Deadline, Error, Result};
use serde::Serialize;

use super::Setup;

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Whether the bucket was; false if there was none.
    pub bucket: bool,
    /// The full names of the tables that were.
    pub tables: Vec<String>,
}

impl Setup {
    /// Removes the bucket, if it is empty, and the tables **with all their items**. Idempotent. It asks nothing, and so
    /// it has to be told the name of the bucket once more.
    ///
    /// Nothing is removed where anything is not as set-up makes it. The bucket goes first: S3 itself refuses if
    /// something was put into it in the meantime, and then the tables stay.
    ///
    /// # Errors
    /// `Invalid` (field `bucket`) if it is not this name; `Conflict` if there is any object in the bucket, or the bucket
    /// or a table is not ours; `DeadlineExceeded`, then some tables may be left, which the same call removes; what the
    /// services fail with.
    pub async fn teardown(&self, bucket: &str, deadline: Deadline) -> Result<Removed> {
        if bucket != self.bucket.name {
            let text = format!("{bucket:?} is not the bucket of this configuration");
            return Err(Error::invalid("bucket", text));
        }
        self.plan(deadline).await?.check()?;
        let there = self.bucket.exists(deadline).await?;
        if there && self.bucket.holds_objects(deadline).await? {
            return Err(self.bucket.not_empty());
        }
        let bucket = there && self.bucket.remove(deadline).await?;
        let tables = self.tables().remove_all(deadline).await?;
        Ok(Removed { bucket, tables })
    }
}
