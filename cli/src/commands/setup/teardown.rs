//! `recstore setup teardown`: removes what set-up made, once both names were typed.

use std::io;

use clap::Args;
use recstore::aws::setup::{Confirmation, Removed};
use serde::Serialize;

use super::{Patience, of_config};
use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Page};
use crate::session::Session;

pub(super) const EXAMPLES: &str = "\
Examples:
  recstore setup teardown
  recstore setup teardown --confirm-bucket my-test-bucket --confirm-table-prefix test_";

/// What is to be removed, said once more.
#[derive(Debug, Args)]
pub struct TeardownArgs {
    /// The bucket's name, for programs: nobody is asked
    #[arg(long, value_name = "NAME", requires = "confirm_table_prefix")]
    confirm_bucket: Option<String>,
    /// What the names of the tables begin with, for programs: nobody is asked
    #[arg(long, value_name = "PREFIX", requires = "confirm_bucket")]
    confirm_table_prefix: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(args: TeardownArgs, session: &Session) -> Done {
    let config = session.aws_config()?;
    let setup = of_config(&config, session).await?;
    let (bucket, prefix) = (&config.aws.s3.bucket, &config.aws.dynamodb.table_prefix);
    let mut answers = io::stdin().lines();
    let (said_bucket, said_prefix) = match (args.confirm_bucket, args.confirm_table_prefix) {
        (Some(bucket), Some(prefix)) => (bucket, prefix),
        _ => {
            ask(&format!(
                "this removes the tables {prefix}* with everything in them, and the bucket {bucket} if it is empty"
            ));
            let said = typed(&mut answers, "type the name of the bucket", bucket)?;
            (said, typed(&mut answers, "type what the names of the tables begin with", prefix)?)
        }
    };
    let confirmed = Confirmation { bucket: &said_bucket, table_prefix: &said_prefix };
    let removed = setup.teardown(confirmed, args.patience.deadline()).await?;
    session.output.answer(&TornDown(removed))
}

/// A question is no talk: it is asked whatever `--quiet` says.
fn ask(question: &str) {
    // Where stderr is closed nobody sees it, and nobody types the names.
    let _ = io::Write::write_all(&mut io::stderr().lock(), format!("{question}\n").as_bytes());
}

/// What was typed, if it is what was asked for.
fn typed(
    answers: &mut impl Iterator<Item = io::Result<String>>,
    question: &str,
    meant: &str,
) -> Done<String> {
    ask(question);
    let line = answers.next().transpose();
    let line = line.map_err(|cause| Failure::new(Exit::Io, "cannot read what was typed").because(cause))?;
    match line {
        Some(line) if line == meant => Ok(line),
        Some(_) => Err(Failure::new(Exit::Data, format!("that is not {meant:?}; nothing was removed"))),
        None => Err(Failure::new(Exit::Data, "nothing was typed, so nothing was removed")
            .hint("programs say --confirm-bucket and --confirm-table-prefix")),
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct TornDown(Removed);

impl Answer for TornDown {
    fn page(&self, page: &mut Page) {
        if self.0.bucket {
            page.line("removed the bucket");
        }
        self.0.tables.iter().for_each(|table| page.line(format_args!("removed table {table}")));
        if !self.0.bucket && self.0.tables.is_empty() {
            page.line("there was nothing to remove");
        }
    }
}
