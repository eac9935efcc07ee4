//! What is missing, as data, and doing exactly that.
//!
//! A plan only looks. Applying it does its steps and no other; a step whose work was done in the meantime does
//! nothing, and one that would now overwrite what somebody else has set is refused. S3 has no conditions for settings
//! of buckets: somebody who sets the same at the same instant may still be overwritten.

use std::fmt;

use recstore_core::{Deadline, Error, ErrorKind, Result};
use serde::Serialize;

use super::Setup;
use super::settings::{BucketSetting, Standing};
use crate::online::tables::{TableName, TableStatus};

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// There is no such bucket.
    CreateBucket {
        /// Its name.
        bucket: String,
        /// Where it is made.
        region: String,
    },
    /// A setting of the bucket is not made.
    SetBucket {
        /// The bucket.
        bucket: String,
        /// The setting.
        setting: BucketSetting,
    },
    /// There is no such table. It gets point-in-time recovery, where that is offered.
    CreateTable {
        /// Its full name.
        table: String,
    },
    /// A table has no point-in-time recovery.
    EnableRecovery {
        /// Its full name.
        table: String,
    },
}

impl Step {
    fn is_of_bucket(&self) -> bool {
        matches!(self, Step::CreateBucket { .. } | Step::SetBucket { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CreateBucket { bucket, region } => write!(f, "create bucket {bucket} in {region}"),
            Step::SetBucket { bucket, setting } => write!(f, "set bucket {bucket}: {setting}"),
            Step::CreateTable { table } => {
                write!(f, "create table {table}, on demand, with point-in-time recovery where it is offered")
            }
            Step::EnableRecovery { table } => write!(f, "set table {table}: point-in-time recovery"),
        }
    }
}

/// Something that was set by somebody else and is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The bucket or table.
    pub object: String,
    /// What it is, and what to do about it.
    pub found: String,
}

/// Something that the server cannot do and that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotOffered {
    /// The bucket or table.
    pub object: String,
    /// What it cannot be set to.
    pub wanted: String,
}

/// What is missing. `Display` has one line for each thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetupPlan {
    /// What is to be done, in order.
    pub steps: Vec<Step>,
    /// What is in the way; while there is any, nothing is done.
    pub conflicts: Vec<Conflict>,
    /// What is left out.
    pub not_offered: Vec<NotOffered>,
}

impl SetupPlan {
    /// Whether everything is as it should be.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.conflicts.is_empty()
    }

    /// Nothing where nothing is in the way.
    ///
    /// # Errors
    /// `Conflict` that says what is in the way, all of it.
    pub fn check(&self) -> Result<()> {
        let Some(first) = self.conflicts.first() else { return Ok(()) };
        let texts: Vec<String> = self
            .conflicts
            .iter()
            .map(|conflict| format!("{}: {}", conflict.object, conflict.found))
            .collect();
        let text = format!("what others have set is not overwritten: {}", texts.join("; "));
        Err(Error::new(ErrorKind::Conflict, text).on(&first.object))
    }
}

impl fmt::Display for SetupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "nothing is missing")?;
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for conflict in &self.conflicts {
            writeln!(f, "in the way, {}: {}", conflict.object, conflict.found)?;
        }
        for left in &self.not_offered {
            writeln!(f, "not offered here, {}: {}", left.object, left.wanted)?;
        }
        Ok(())
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It had been done already.
    WasSo,
    /// The server cannot do it.
    NotOffered,
}

/// A step of a plan and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The step.
    pub step: Step,
    /// What became of it.
    pub outcome: Outcome,
}

/// What point-in-time recovery is called where it is not offered.
const RECOVERY: &str = "point-in-time recovery";

impl Setup {
    /// Looks at what there is and says what is missing. Changes nothing.
    ///
    /// # Errors
    /// `Unavailable` while a table is being removed; what the services fail with.
    pub async fn plan(&self, deadline: Deadline) -> Result<SetupPlan> {
        let mut plan = SetupPlan { steps: Vec::new(), conflicts: Vec::new(), not_offered: Vec::new() };
        self.plan_bucket(&mut plan, deadline).await?;
        for table in TableName::ALL {
            self.plan_table(table, &mut plan, deadline).await?;
        }
        Ok(plan)
    }

    async fn plan_bucket(&self, plan: &mut SetupPlan, deadline: Deadline) -> Result<()> {
        let bucket = &self.bucket.name;
        let there = self.bucket.exists(deadline).await?;
        if !there {
            plan.steps
                .push(Step::CreateBucket { bucket: bucket.clone(), region: self.bucket.region.clone() });
        }
        for setting in BucketSetting::ALL {
            let standing = match there {
                true => self.bucket.standing(setting, deadline).await?,
                false => self.bucket.standing_when_new(setting),
            };
            match standing {
                Standing::AsWanted => {}
                Standing::Unset => plan.steps.push(Step::SetBucket { bucket: bucket.clone(), setting }),
                Standing::NotOffered => {
                    plan.not_offered.push(NotOffered { object: bucket.clone(), wanted: setting.to_string() });
                }
                Standing::Conflicts(found) => {
                    plan.conflicts.push(Conflict { object: bucket.clone(), found });
                }
            }
        }
        Ok(())
    }

    async fn plan_table(&self, table: TableName, plan: &mut SetupPlan, deadline: Deadline) -> Result<()> {
        let name = self.names.of(table).to_owned();
        let found = match self.tables().describe(table, deadline).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::Conflict => {
                plan.conflicts.push(Conflict { object: name, found: error.message().to_owned() });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match found.map(|info| info.status) {
            None => plan.steps.push(Step::CreateTable { table: name }),
            Some(TableStatus::Deleting) => {
                let text = "the table is being removed; try again when it is gone";
                return Err(Error::new(ErrorKind::Unavailable, text).on(name));
            }
            Some(TableStatus::Active | TableStatus::Changing) => {
                match self.tables().recovery(table, deadline).await? {
                    Some(true) => {}
                    Some(false) => plan.steps.push(Step::EnableRecovery { table: name }),
                    None => {
                        plan.not_offered.push(NotOffered { object: name, wanted: RECOVERY.to_owned() });
                    }
                }
            }
        }
        Ok(())
    }

    /// Does the steps of a plan of this set-up, in order, and no other. Once the bucket is there it is
    /// [probed](Self::probe), whatever the plan says, and no table is made for a store that ignores the conditions of
    /// writes. `nonce` is the probe's. Idempotent; an error leaves the steps before it done, and the next plan has the
    /// others.
    ///
    /// # Errors
    /// `Conflict` if the plan has conflicts, then nothing is done, or if somebody else has set something since;
    /// `Invalid` (field `plan`) if it is the plan of another set-up; `Unsupported` if the store does not honour
    /// conditions; `DeadlineExceeded`; what the services fail with.
    pub async fn apply(&self, plan: &SetupPlan, nonce: u128, deadline: Deadline) -> Result<Vec<Applied>> {
        plan.check()?;
        plan.steps.iter().try_for_each(|step| self.check_own(step))?;
        let of_bucket = plan.steps.iter().take_while(|step| step.is_of_bucket()).count();
        let (first, then) = plan.steps.split_at(of_bucket);
        let mut applied = Vec::with_capacity(plan.steps.len());
        for step in first {
            applied.push(self.apply_step(step, &[], deadline).await?);
        }
        self.probe(nonce, deadline).await?;
        let created = self.create_tables(plan, deadline).await?;
        for step in then {
            applied.push(self.apply_step(step, &created, deadline).await?);
        }
        Ok(applied)
    }

    /// Makes the tables that the plan says are missing, all at once: the service makes them beside each other. The
    /// names of those that were.
    async fn create_tables(&self, plan: &SetupPlan, deadline: Deadline) -> Result<Vec<String>> {
        let is_missing = |table: &TableName| {
            plan.steps.iter().any(|step| match step {
                Step::CreateTable { table: name } => self.names.of(*table) == name,
                _ => false,
            })
        };
        let missing: Vec<TableName> = TableName::ALL.into_iter().filter(is_missing).collect();
        let reports = self.tables().create(&missing, deadline).await?;
        Ok(reports.into_iter().filter(|report| report.created).map(|report| report.name).collect())
    }

    /// `created` are the tables that were just made.
    async fn apply_step(&self, step: &Step, created: &[String], deadline: Deadline) -> Result<Applied> {
        let outcome = match step {
            Step::CreateBucket { .. } => self.create_bucket(deadline).await?,
            Step::SetBucket { setting, .. } => self.set_bucket(*setting, deadline).await?,
            Step::CreateTable { table } if created.contains(table) => Outcome::Done,
            Step::CreateTable { .. } => Outcome::WasSo,
            Step::EnableRecovery { table } => self.enable_recovery(self.table(table)?, deadline).await?,
        };
        Ok(Applied { step: step.clone(), outcome })
    }

    async fn enable_recovery(&self, table: TableName, deadline: Deadline) -> Result<Outcome> {
        match self.tables().recovery(table, deadline).await? {
            Some(true) => Ok(Outcome::WasSo),
            Some(false) if self.tables().enable_recovery(table, deadline).await? => Ok(Outcome::Done),
            _ => Ok(Outcome::NotOffered),
        }
    }

    /// That a step is about our bucket or one of our tables.
    fn check_own(&self, step: &Step) -> Result<()> {
        match step {
            Step::CreateBucket { bucket, .. } | Step::SetBucket { bucket, .. } => {
                if *bucket == self.bucket.name { Ok(()) } else { Err(foreign_plan()) }
            }
            Step::CreateTable { table } | Step::EnableRecovery { table } => self.table(table).map(drop),
        }
    }

    /// The table of this full name.
    fn table(&self, name: &str) -> Result<TableName> {
        TableName::ALL.into_iter().find(|table| self.names.of(*table) == name).ok_or_else(foreign_plan)
    }

    async fn create_bucket(&self, deadline: Deadline) -> Result<Outcome> {
        if self.bucket.exists(deadline).await? {
            return Ok(Outcome::WasSo);
        }
        self.bucket.create(deadline).await?;
        Ok(Outcome::Done)
    }

    /// Looks once more before it sets.
    async fn set_bucket(&self, setting: BucketSetting, deadline: Deadline) -> Result<Outcome> {
        match self.bucket.standing(setting, deadline).await? {
            Standing::AsWanted => Ok(Outcome::WasSo),
            Standing::NotOffered => Ok(Outcome::NotOffered),
            Standing::Conflicts(found) => Err(Error::new(ErrorKind::Conflict, found).on(&self.bucket.name)),
            Standing::Unset if self.bucket.set(setting, deadline).await? => Ok(Outcome::Done),
            Standing::Unset => Ok(Outcome::NotOffered),
        }
    }
}

fn foreign_plan() -> Error {
    Error::invalid("plan", "is of another bucket or of other tables")
}
