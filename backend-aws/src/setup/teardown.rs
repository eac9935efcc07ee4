//! Removing what set-up made: the tables, and a bucket in which nothing is.

use recstore_core::{Deadline, Error, Result};
use serde::Serialize;

use super::Setup;

/// What is to be removed, said once more by whoever asks for it: both are compared with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// What the names of the tables begin with; it may be empty.
    pub table_prefix: &'a str,
}

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
    /// it has to be told once more what goes.
    ///
    /// Nothing is removed where anything is not as set-up makes it. The bucket goes first: S3 itself refuses if
    /// something was put into it in the meantime, and then the tables stay.
    ///
    /// # Errors
    /// `Invalid` (field `bucket` or `table_prefix`) if it is not that of the configuration; `Conflict` if there is any
    /// object in the bucket, or the bucket or a table is not ours; `Unavailable` while a table is being removed
    /// already; `DeadlineExceeded`, then some tables may be left, which the same call removes; what the services fail
    /// with.
    pub async fn teardown(&self, confirmed: Confirmation<'_>, deadline: Deadline) -> Result<Removed> {
        for (field, said, meant) in [
            ("bucket", confirmed.bucket, &self.bucket.name),
            ("table_prefix", confirmed.table_prefix, &self.table_prefix),
        ] {
            if said != meant {
                return Err(Error::invalid(field, format!("{said:?} is not that of this configuration")));
            }
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
