//! `recstore init`: writes a commented configuration.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;
use recstore::Config;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Page};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  recstore init
  recstore --config shop/recstore.yaml init";

/// How to write it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// If the file is there already or cannot be written.
pub fn run(args: InitArgs, session: &Session) -> Done {
    let path = session.config_file();
    let mut options = OpenOptions::new();
    // Creating and looking whether it is there is one step, so nothing is ever overwritten by accident.
    if args.force {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(Config::template().as_bytes()));
    written.map_err(|cause| {
        let exists = cause.kind() == ErrorKind::AlreadyExists;
        let failure = Failure::file(Exit::CannotCreate, "create", path, cause);
        if exists { failure.hint("--force replaces it") } else { failure }
    })?;
    session.output.answer(&Initialised { config: path.to_owned() })
}

#[derive(Serialize)]
struct Initialised {
    config: PathBuf,
}

impl Answer for Initialised {
    fn page(&self, page: &mut Page) {
        page.line(format_args!("wrote {}", self.config.display()));
        page.line("next: recstore import ratings.csv");
    }
}
