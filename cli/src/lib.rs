//! The `recstore` command line as a library: `main` is one call of [`run`].
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`args`] | what can be typed; parsing does no I/O |
//! | [`commands`] | a file for each command: from what was typed to an answer |
//! | [`session`] | configuration, the open store and the clock that a command works with |
//! | [`import`] | rows of files into the store |
//! | [`output`], [`progress`] | data on stdout, talk on stderr |
//! | [`failure`], [`exit`] | errors and exit codes |
//!
//! To add a command: a variant in `args`, a file in `commands` with its `run`, and a line in
//! `commands::run`.

pub mod args;
pub mod commands;
pub mod exit;
pub mod failure;
pub mod import;
pub mod output;
pub mod progress;
pub mod session;
pub mod spent;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use args::Cli;
use exit::Exit;
use failure::{Done, Failure};
use session::Session;

/// How long work on other threads is waited for once the answer is out.
const SHUTDOWN: Duration = Duration::from_millis(200);

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Runs the command line and says how it ended. Errors are printed on stderr, once.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => return usage(&answer),
    };
    start_logs(cli.global.verbose);
    match run_command(cli) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            // Nothing can be done, or said, where stderr is closed.
            let _ = io::stderr().lock().write_all(failure.report().as_bytes());
            failure.exit()
        }
    }
}

/// Help and version go to stdout and are no error; what is wrong goes to stderr.
fn usage(answer: &clap::Error) -> Exit {
    // A pipe that nobody reads is the end of it.
    let _ = answer.print();
    if answer.use_stderr() { Exit::Usage } else { Exit::Done }
}

fn run_command(cli: Cli) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::new(Exit::Internal, "cannot start the runtime").because(cause))?;
    let outcome = runtime.block_on(async {
        let session = Session::new(&cli.global);
        let outcome = commands::run(cli.command, &session).await;
        let closed = session.close().await;
        outcome.and(closed)
    });
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

/// Logs on stderr: none, or more with each `-v`; `RECSTORE_LOG` overrides both. What a command failed with is
/// its error and needs no log.
fn start_logs(verbose: u8) {
    use tracing_subscriber::EnvFilter;

    let level = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("RECSTORE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colour = output::colour_on(&io::stderr());
    // Fails only if there are logs already, as in tests.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .try_init();
}
