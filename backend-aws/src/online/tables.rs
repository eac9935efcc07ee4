//! The tables: their names and schema, how they are made, checked and removed.
//!
//! Every table has a partition key `pk` and a sort key `sk`, both text, no index, and is billed by request.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use recstore_core::{Deadline, Error, ErrorKind, Result};

use super::calls::{CallError, Fault};
use crate::retry::{Attempt, RetryPolicy, Verdict, with_retries};

/// A table, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// Feature rows of users.
    UserFeatures,
    /// Feature rows of items.
    ItemFeatures,
    /// Ratings by user: pairs and histories.
    RatingsByUser,
    /// Ratings by item: histories.
    RatingsByItem,
    /// Neighbour lists of releases.
    Neighbours,
    /// What is committed and what is current.
    Control,
}

impl TableName {
    /// Every table.
    pub const ALL: [TableName; 6] = [
        TableName::UserFeatures,
        TableName::ItemFeatures,
        TableName::RatingsByUser,
        TableName::RatingsByItem,
        TableName::Neighbours,
        TableName::Control,
    ];

    /// The name without the prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            TableName::UserFeatures => "user_features",
            TableName::ItemFeatures => "item_features",
            TableName::RatingsByUser => "ratings_by_user",
            TableName::RatingsByItem => "ratings_by_item",
            TableName::Neighbours => "neighbours",
            TableName::Control => "control",
        }
    }

    /// The version of the form of its items.
    pub fn item_format(self) -> u32 {
        1
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The names of the tables under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames([String; 6]);

impl TableNames {
    /// The longest name that DynamoDB takes.
    pub const MAX_BYTES: usize = 255;

    /// The tables whose names begin with `prefix`, which may be empty.
    ///
    /// # Errors
    /// `Invalid` (field `table_prefix`) if it has other characters than `a-z A-Z 0-9 _ . -` or is too long.
    pub fn new(prefix: &str) -> Result<TableNames> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let names = TableName::ALL.map(|table| format!("{prefix}{table}"));
        if !prefix.bytes().all(plain) {
            let text = format!("{prefix:?} has other characters than a-z, A-Z, 0-9, '_', '.' and '-'");
            return Err(Error::invalid("table_prefix", text));
        }
        if names.iter().any(|name| name.len() > TableNames::MAX_BYTES) {
            let text = format!("names of tables would be over {} bytes", TableNames::MAX_BYTES);
            return Err(Error::invalid("table_prefix", text));
        }
        Ok(TableNames(names))
    }

    /// The name of a table.
    pub fn of(&self, table: TableName) -> &str {
        &self.0[table as usize]
    }
}

/// Whether a table can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableStatus {
    /// It can.
    Active,
    /// It is being made or changed.
    Changing,
    /// It is being removed.
    Deleting,
}

/// What is known of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Whether it can be used.
    pub status: TableStatus,
    /// Name, role (`HASH`, `RANGE`) and type (`S`, `N`, `B`) of each key attribute, the partition key first.
    pub keys: Vec<(String, String, String)>,
    /// The items it had some hours ago, as the service counts them.
    pub items: u64,
    /// Its size some hours ago.
    pub bytes: u64,
}

impl TableInfo {
    /// Whether the keys are those that are used here.
    pub fn has_our_keys(&self) -> bool {
        let ours = [(super::item::PARTITION, "HASH"), (super::item::SORT, "RANGE")];
        let theirs =
            self.keys.iter().map(|(name, role, kind)| ((name.as_str(), role.as_str()), kind.as_str()));
        self.keys.len() == ours.len() && theirs.zip(ours).all(|(found, ours)| found == (ours, "S"))
    }
}

/// Calls about tables, for set-up and teardown.
#[async_trait]
pub trait TableCalls: fmt::Debug + Send + Sync {
    /// Looks at a table; `None` if there is none.
    async fn describe(&self, table: &str) -> Result<Option<TableInfo>, CallError>;
    /// Begins to make a table; `Refused` if one of that name was there.
    async fn create(&self, table: &str) -> Result<super::calls::Conditional, CallError>;
    /// Begins to remove a table; `Refused` if there is none.
    async fn remove(&self, table: &str) -> Result<super::calls::Conditional, CallError>;
    /// Whether point-in-time recovery is on; `None` where the service has none.
    async fn recovery(&self, table: &str) -> Result<Option<bool>, CallError>;
    /// Turns point-in-time recovery on; `Some(false)` where it is too early after the table was made, `None` where the
    /// service has none.
    async fn enable_recovery(&self, table: &str) -> Result<Option<bool>, CallError>;
}

/// What set-up found or did about one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// Its full name.
    pub name: String,
    /// Whether it was made now.
    pub created: bool,
    /// Whether it has point-in-time recovery; false where the service offers none.
    pub recovery: bool,
}

/// Makes and removes tables.
#[derive(Debug)]
pub struct Tables<'a> {
    calls: &'a dyn TableCalls,
    names: &'a TableNames,
    policy: &'a RetryPolicy,
}

impl<'a> Tables<'a> {
    /// How often a table that is changing is looked at.
    const POLL: Duration = Duration::from_millis(500);

    /// The tables of `names`, reached by `calls`, which are repeated by `policy`.
    pub fn new(calls: &'a dyn TableCalls, names: &'a TableNames, policy: &'a RetryPolicy) -> Self {
        Tables { calls, names, policy }
    }

    /// Which tables are there, in the order of [`TableName::ALL`].
    ///
    /// # Errors
    /// `Conflict` if a table of that name has other keys; what the service fails with.
    pub async fn look(&self, deadline: Deadline) -> Result<Vec<(TableName, Option<TableInfo>)>> {
        let mut found = Vec::with_capacity(TableName::ALL.len());
        for table in TableName::ALL {
            found.push((table, self.describe(table, deadline).await?));
        }
        Ok(found)
    }

    /// Makes the tables that are missing, waits until all can be used, and turns recovery on. Idempotent; two at
    /// once do no harm.
    ///
    /// # Errors
    /// `Conflict` if a table of that name has other keys, then none is made; `DeadlineExceeded`, then some may be
    /// being made; what the service fails with.
    pub async fn create_missing(&self, deadline: Deadline) -> Result<Vec<TableReport>> {
        self.create(&TableName::ALL, deadline).await
    }

    /// The same for some of the tables.
    ///
    /// # Errors
    /// As [`create_missing`](Self::create_missing).
    pub async fn create(&self, tables: &[TableName], deadline: Deadline) -> Result<Vec<TableReport>> {
        let mut before = Vec::with_capacity(tables.len());
        for table in tables {
            before.push((*table, self.describe(*table, deadline).await?));
        }
        for (table, found) in &before {
            if found.is_none() {
                self.retried(*table, deadline, || self.calls.create(self.names.of(*table))).await?;
            }
        }
        let mut reports = Vec::with_capacity(before.len());
        for (table, found) in before {
            self.wait_until_active(table, deadline).await?;
            let recovery = self.enable_recovery(table, deadline).await?;
            let name = self.names.of(table).to_owned();
            reports.push(TableReport { name, created: found.is_none(), recovery });
        }
        Ok(reports)
    }

    /// Whether point-in-time recovery of a table is on; `None` where the service has none.
    ///
    /// # Errors
    /// `NotFound`; what the service fails with.
    pub async fn recovery(&self, table: TableName, deadline: Deadline) -> Result<Option<bool>> {
        self.retried(table, deadline, || self.calls.recovery(self.names.of(table))).await
    }

    /// Turns point-in-time recovery of a table on, as soon as the service lets it be; false where it has none.
    /// Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `DeadlineExceeded`; what the service fails with.
    pub async fn enable_recovery(&self, table: TableName, deadline: Deadline) -> Result<bool> {
        loop {
            let enable = || self.calls.enable_recovery(self.names.of(table));
            match self.retried(table, deadline, enable).await? {
                Some(true) => return Ok(true),
                Some(false) => self.pause(table, deadline).await?,
                None => return Ok(false),
            }
        }
    }

    /// Whether all tables are there with the right keys and can be used.
    ///
    /// # Errors
    /// `NotFound` for the first that is missing, `Unavailable` for one that is being changed, `Conflict` for one
    /// with other keys; what the service fails with.
    pub async fn verify(&self, deadline: Deadline) -> Result<()> {
        for (table, found) in self.look(deadline).await? {
            let (kind, text) = match found.map(|info| info.status) {
                Some(TableStatus::Active) => continue,
                Some(_) => (ErrorKind::Unavailable, "the table is being made or removed"),
                None => (ErrorKind::NotFound, "there is no such table, run the set-up"),
            };
            return Err(Error::new(kind, text).on(self.names.of(table)));
        }
        Ok(())
    }

    /// Removes the tables with all their items and waits until they are gone. Idempotent. A table with other keys
    /// is not ours and stays: nothing is removed then.
    ///
    /// # Errors
    /// `Conflict` if a table of that name has other keys; `DeadlineExceeded`; what the service fails with.
    pub async fn remove_all(&self, deadline: Deadline) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for (table, found) in self.look(deadline).await? {
            if found.is_some() {
                let name = self.names.of(table);
                self.retried(table, deadline, || self.calls.remove(name)).await?;
                removed.push((table, name.to_owned()));
            }
        }
        for (table, _) in &removed {
            while self.describe(*table, deadline).await?.is_some() {
                self.pause(*table, deadline).await?;
            }
        }
        Ok(removed.into_iter().map(|(_, name)| name).collect())
    }

    /// Looks at one table; `None` if there is none.
    ///
    /// # Errors
    /// `Conflict` if a table of that name has other keys; what the service fails with.
    pub async fn describe(&self, table: TableName, deadline: Deadline) -> Result<Option<TableInfo>> {
        let name = self.names.of(table);
        let found = self.retried(table, deadline, || self.calls.describe(name)).await?;
        match found {
            Some(info) if !info.has_our_keys() => {
                let text = format!("a table of this name has other keys ({:?}); choose a prefix", info.keys);
                Err(Error::new(ErrorKind::Conflict, text).on(name))
            }
            found => Ok(found),
        }
    }

    async fn wait_until_active(&self, table: TableName, deadline: Deadline) -> Result<()> {
        loop {
            // A table that was just made may not be seen at once.
            if let Some(info) = self.describe(table, deadline).await?
                && info.status == TableStatus::Active
            {
                return Ok(());
            }
            self.pause(table, deadline).await?;
        }
    }

    async fn pause(&self, table: TableName, deadline: Deadline) -> Result<()> {
        let late = tokio::time::Instant::from_std(deadline.instant());
        let next = tokio::time::Instant::now() + Self::POLL;
        if next >= late {
            let text = "the table did not become ready in time";
            return Err(Error::new(ErrorKind::DeadlineExceeded, text).on(self.names.of(table)));
        }
        tokio::time::sleep_until(next).await;
        Ok(())
    }

    /// A call about a table, repeated as the policy says.
    pub(crate) async fn retried<T, F>(
        &self,
        table: TableName,
        deadline: Deadline,
        call: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        // Each of these calls may be repeated: what was done already is found done.
        let verdict = |failure: &CallError| match failure.fault {
            Fault::Rejected => Verdict::Stop,
            _ => Verdict::Retry,
        };
        let deadline = tokio::time::Instant::from_std(deadline.instant());
        with_retries(self.policy, Some(deadline), verdict, call).await.map_err(|exhausted| {
            let failure = match exhausted.last {
                Some(Attempt::Failed(failure)) => failure,
                Some(Attempt::TimedOut) => CallError::timeout(),
                None => CallError::not_sent(exhausted.reason),
            };
            failure.ended(exhausted.reason).into_error(self.names.of(table))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_prefix_and_keep_to_the_rules_of_the_service() {
        let names = TableNames::new("shop-1.").unwrap();
        assert_eq!(names.of(TableName::UserFeatures), "shop-1.user_features");
        assert_eq!(names.of(TableName::Control), "shop-1.control");
        for wrong in ["a/b", "é", "a b", &"x".repeat(241)] {
            assert_eq!(TableNames::new(wrong).unwrap_err().field(), Some("table_prefix"), "{wrong:?}");
        }
        assert!(TableNames::new(&"x".repeat(240)).is_ok() && TableNames::new("").is_ok());
    }
}
