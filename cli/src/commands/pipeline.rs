//! `recstore pipeline`: new events into the tables of the aws mode, and how that stands.

mod explain;
mod quarantine;
mod rebuild;
mod run;
mod status;
mod vacuum;

use clap::Subcommand;

use crate::failure::Done;
use crate::session::Session;

pub(super) use status::freshness;

/// Take new events in, and look at how that stands.
#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// Take in everything that was acknowledged before, publish it, commit it
    ///
    /// Any number of runs at once, and runs that are cut off anywhere, do no harm: the next one goes on.
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Show what is committed, how old it is, and what waits; changes nothing
    #[command(after_help = status::EXAMPLES)]
    Status,
    /// Show where what is said of a user or an item comes from; changes nothing
    ///
    /// Which bronze objects have events of it and rows of custom groups, in which silver files its rows are, which DynamoDB items serve it and
    /// from which generation.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// List the lines that were no events, with reasons; changes nothing
    ///
    /// As the runs wrote them down, the newest first, for as long as aws.pipeline.retention.quarantine says.
    #[command(after_help = quarantine::EXAMPLES)]
    Quarantine(quarantine::QuarantineArgs),
    /// Fill empty DynamoDB tables from the lake
    ///
    /// For tables that were lost, or made anew. Rows that are there already are left as they are.
    #[command(after_help = rebuild::EXAMPLES)]
    RebuildOnline,
    /// Delete what no kept generation needs and is old enough; without `--delete` only say what
    ///
    /// Safe while runs and readers go on: what a run may yet name is never deleted.
    #[command(after_help = vacuum::EXAMPLES)]
    Vacuum(vacuum::VacuumArgs),
    /// Write checkpoints of the tables' logs, so that other tools open them faster
    #[command(after_help = vacuum::COMPACT_EXAMPLES)]
    Compact,
}

/// Runs the command.
///
/// # Errors
/// If another mode than aws is configured, and what the services fail with.
pub async fn run(command: PipelineCommand, session: &Session) -> Done {
    match command {
        PipelineCommand::Run(args) => run::run(args, session).await,
        PipelineCommand::Status => status::run(session).await,
        PipelineCommand::Explain(args) => explain::run(args, session).await,
        PipelineCommand::Quarantine(args) => quarantine::run(args, session).await,
        PipelineCommand::RebuildOnline => rebuild::run(session).await,
        PipelineCommand::Vacuum(args) => vacuum::run(args, session).await,
        PipelineCommand::Compact => vacuum::compact(session).await,
    }
}
