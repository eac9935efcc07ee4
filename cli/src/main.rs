//! The `recstore` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    recstore_cli::run(std::env::args_os()).into()
}
