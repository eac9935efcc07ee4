//! A file for each command: its arguments, what it does, and its answer in both forms.

pub mod cost;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod features;
pub mod fingerprint;
pub mod generate;
pub mod import;
pub mod init;
#[cfg(feature = "aws")]
pub mod pipeline;
pub mod ratings;
pub mod recommend;
pub mod schema;
#[cfg(feature = "aws")]
pub mod setup;
pub mod similar;
pub mod stats;
pub mod withdraw;

use crate::args::Command;
use crate::failure::Done;
use crate::session::Session;

/// Runs a command.
///
/// # Errors
/// What the command failed with.
pub async fn run(command: Command, session: &Session) -> Done {
    match command {
        Command::Demo(args) => demo::run(args, session).await,
        Command::Init(args) => init::run(args, session),
        Command::Import(args) => import::run(args, session).await,
        Command::Generate(args) => generate::run(args, session).await,
        Command::Features(command) => features::run(command, session).await,
        Command::Similar(command) => similar::run(command, session).await,
        Command::Recommend(args) => recommend::run(args, session).await,
        Command::Ratings(command) => ratings::run(command, session).await,
        Command::Withdraw(args) => withdraw::run(args, session).await,
        Command::Erase(args) => erase::run(args, session).await,
        Command::Stats(args) => stats::run(args, session).await,
        Command::Fingerprint(args) => fingerprint::run(args, session).await,
        Command::Schema(command) => schema::run(command, session).await,
        #[cfg(feature = "aws")]
        Command::Pipeline(command) => pipeline::run(command, session).await,
        #[cfg(feature = "aws")]
        Command::Setup(command) => setup::run(command, session).await,
        Command::Cost(args) => cost::run(args, session),
        Command::Doctor(args) => doctor::run(args, session).await,
    }
}
