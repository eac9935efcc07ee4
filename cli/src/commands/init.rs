//! `recstore init`: writes a commented configuration.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use recstore::Config;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Done, Failure};
use crate::output::{Answer, Page};
use crate::session::{DEFAULT_CONFIG, Session};

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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    let written = made
        .and_then(|()| options.open(path))
        .and_then(|mut file| file.write_all(Config::template().as_bytes()));
    written.map_err(|cause| {
        let exists = !args.force && path.exists();
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
        let config = match self.config.as_os_str() == DEFAULT_CONFIG {
            true => String::new(),
            false => format!(" --config {}", self.config.display()),
        };
        page.line(format_args!("next: recstore{config} import ratings.csv"));
    }
}
