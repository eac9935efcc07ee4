//! `recstore setup`: the bucket and the tables of the aws mode.

mod aws;
mod teardown;

use std::time::Duration;

use clap::{Args, Subcommand};
use recstore::aws::setup::Setup;
use recstore::{Config, Deadline, Opener};

use crate::failure::Done;
use crate::session::{Session, not_opened};

/// Make or remove the bucket and the tables.
#[derive(Debug, Subcommand)]
pub enum SetupCommand {
    /// Make what is missing of bucket and tables, and nothing else
    ///
    /// The bucket: no public access, encryption, TLS only, clean-up of incomplete uploads. The tables: on demand,
    /// with point-in-time recovery where it is offered. What others have set is never overwritten, and a store that
    /// ignores the conditions of writes is refused. Doing it again does nothing.
    #[command(after_help = aws::EXAMPLES)]
    Aws(aws::AwsArgs),
    /// Remove the tables with everything in them, and the bucket if it is empty
    ///
    /// Asks for the bucket's name and then for the tables' prefix, to be typed.
    #[command(after_help = teardown::EXAMPLES)]
    Teardown(teardown::TeardownArgs),
}

/// Runs the command.
///
/// # Errors
/// If another mode than aws is configured, and what the services fail with.
pub async fn run(command: SetupCommand, session: &Session) -> Done {
    match command {
        SetupCommand::Aws(args) => aws::run(args, session).await,
        SetupCommand::Teardown(args) => teardown::run(args, session).await,
    }
}

/// How long it may take.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Patience {
    /// The most seconds that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl Patience {
    fn deadline(self) -> Deadline {
        Deadline::after(Duration::from_secs(self.timeout))
    }
}

/// The bucket and the tables of a configuration.
pub(super) async fn of_config(config: &Config, session: &Session) -> Done<Setup> {
    Opener::new(config).clock(session.clock.clone()).aws_setup().await.map_err(not_opened)
}
