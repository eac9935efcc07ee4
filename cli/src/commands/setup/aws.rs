//! `recstore setup aws`: what is missing, planned and made; and what each role must be allowed.

use clap::Args;
use recstore::aws::setup::plan::{Applied, NotOffered, Outcome, SetupPlan};
use recstore::aws::setup::roles::Role;
use serde::Serialize;

use super::{Patience, of_config};
use crate::failure::Done;
use crate::output::{Answer, Page};
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Roles:
  ingest       writes events
  pipeline     takes them into the tables, builds neighbours, erases, compacts
  serving      reads features and neighbours
  maintenance  vacuums; it alone of the services may delete objects
  migration    all that ingest, pipeline and serving may, to import, run and read back
  setup        makes and removes bucket and tables

Examples:
  recstore setup aws --plan
  recstore setup aws
  recstore setup aws --policy serving --account 123456789012 > serving.json";

/// What to do.
#[derive(Debug, Args)]
pub struct AwsArgs {
    /// Only say what would be made
    #[arg(long, conflicts_with = "policy")]
    plan: bool,
    /// Only print the least that a role must be allowed, as a policy of IAM
    #[arg(long, value_name = "ROLE")]
    policy: Option<Role>,
    /// The AWS account that the policy is about, a number of 12 digits [default: any]
    #[arg(long, value_name = "NUMBER", requires = "policy")]
    account: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(args: AwsArgs, session: &Session) -> Done {
    let setup = of_config(&session.aws_config()?, session).await?;
    if let Some(role) = args.policy {
        let policy = setup.scope(args.account.as_deref())?.policy(role);
        return session.output.answer(&Policy(policy));
    }
    let deadline = args.patience.deadline();
    let plan = setup.plan(deadline).await?;
    if args.plan {
        return session.output.answer(&Planned(plan));
    }
    let steps = setup.apply(&plan, recstore::random_bits()?, deadline).await?;
    session.output.answer(&Made { steps, not_offered: plan.not_offered })
}

#[derive(Serialize)]
#[serde(transparent)]
struct Policy(serde_json::Value);

impl Answer for Policy {
    fn page(&self, page: &mut Page) {
        page.line(format_args!("{:#}", self.0));
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Planned(SetupPlan);

impl Answer for Planned {
    fn page(&self, page: &mut Page) {
        self.0.to_string().lines().for_each(|line| page.line(line));
    }
}

/// What was made.
#[derive(Serialize)]
struct Made {
    steps: Vec<Applied>,
    not_offered: Vec<NotOffered>,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        for applied in &self.steps {
            let outcome = match applied.outcome {
                Outcome::Done => "done",
                Outcome::WasSo => "was so",
                Outcome::NotOffered => "not offered here",
            };
            page.line(format_args!("{outcome}: {}", applied.step));
        }
        for left in &self.not_offered {
            page.line(format_args!("not offered here, {}: {}", left.object, left.wanted));
        }
        page.line(match self.steps.is_empty() {
            true => "everything is there, and writes are conditional",
            false => "everything is there now, and writes are conditional",
        });
    }
}
