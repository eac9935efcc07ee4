//! What can be typed. Parsing does no I/O: it makes values of texts, and refuses what no command could mean.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use recstore::{EntityKind, Namespace};

use crate::commands;
use crate::exit::EXIT_CODES;

/// Ratings in, features and neighbours out.
#[derive(Debug, Parser)]
#[command(name = "recstore", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The configuration [default: ./recstore.yaml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RECSTORE_CONFIG",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// The tenant or catalogue, instead of the configured one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub namespace: Option<Namespace>,
    /// Print one JSON document on stdout; times in it are UTC milliseconds
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Say nothing on stderr but warnings and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Log to stderr; -vv and -vvv say more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything on generated data, in a temporary folder
    ///
    /// Imports, shows features, neighbours and recommendations, and tells how long each takes. Needs nothing
    /// and leaves nothing behind.
    Demo(commands::demo::DemoArgs),
    /// Write a commented configuration
    ///
    /// To ./recstore.yaml, or where --config says; a missing folder is made.
    Init(commands::init::InitArgs),
    /// Store the ratings of a file
    Import(commands::import::ImportArgs),
    /// Make up ratings, the same for the same seed
    ///
    /// Users and items are long-tailed. Writes MovieLens CSV, or stores the ratings straight away.
    Generate(commands::generate::GenerateArgs),
    /// Show or rebuild features of users and items
    #[command(subcommand)]
    Features(commands::features::FeaturesCommand),
    /// Build, show and manage neighbours
    #[command(subcommand)]
    Similar(commands::similar::SimilarCommand),
    /// Recommend items to a user
    ///
    /// Items that the user has not rated: like those rated well, or popular ones for a user without ratings.
    /// Needs a release of items (`recstore similar build`).
    Recommend(commands::recommend::RecommendArgs),
    /// Show ratings
    #[command(subcommand)]
    Ratings(commands::ratings::RatingsCommand),
    /// Take a rating back
    ///
    /// A withdrawal is an event: it holds from its time on, and a newer rating replaces it.
    Withdraw(commands::withdraw::WithdrawArgs),
    /// Erase a user or an item from all that is read
    ///
    /// Shows what would go unless --yes is said. Ratings, features and entries of neighbour lists go, of every
    /// release. Events of the erased id up to now plus the allowed clock skew are barred, so that a replay
    /// does not bring it back. In the aws mode the id stays in bronze, and in older files until a vacuum.
    Erase(commands::erase::EraseArgs),
    /// Count what is stored
    Stats(commands::stats::StatsArgs),
    /// Hash the content, to compare stores
    ///
    /// Two stores with equal hashes hold the same, whatever their mode and however it came in.
    Fingerprint(commands::fingerprint::FingerprintArgs),
    /// Look at, bring up to date or check the stored form
    #[command(subcommand)]
    Schema(commands::schema::SchemaCommand),
    /// Take new events into the tables of the aws mode, and look at how that stands
    ///
    /// In the aws mode events are stored at once and take effect with the next run. Run it every few minutes, or
    /// once a day: a run takes in whatever was acknowledged before it, so none has to know which date it is for.
    #[cfg(feature = "aws")]
    #[command(subcommand)]
    Pipeline(commands::pipeline::PipelineCommand),
    /// Make or remove the bucket and the tables of the aws mode
    #[cfg(feature = "aws")]
    #[command(subcommand)]
    Setup(commands::setup::SetupCommand),
    /// Say what a load costs on AWS
    ///
    /// Reads no store and asks nobody: quantities follow from the load and from what is assumed, prices stand in
    /// a list that you can replace. Reproduces the estimate that this architecture began with, says what does not
    /// hold in it, and puts its design, an object for each rating, beside Recstore.
    Cost(commands::cost::CostArgs),
    /// Check configuration, store and surroundings
    ///
    /// Says of everything that is not well what to do about it. Changes nothing.
    Doctor(commands::doctor::DoctorArgs),
}

/// A user or an item, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Who rates
    User,
    /// What is rated
    Item,
}

impl From<Kind> for EntityKind {
    fn from(kind: Kind) -> EntityKind {
        match kind {
            Kind::User => EntityKind::User,
            Kind::Item => EntityKind::Item,
        }
    }
}

/// Whose neighbours, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    /// Neighbours among items
    Items,
    /// Neighbours among users
    Users,
}

impl From<Kinds> for EntityKind {
    fn from(kinds: Kinds) -> EntityKind {
        match kinds {
            Kinds::Items => EntityKind::Item,
            Kinds::Users => EntityKind::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn check(command: &clap::Command) {
            let leaves = command.get_subcommands().count() == 0;
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaves || help.contains("recstore "), "{} has no example", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
