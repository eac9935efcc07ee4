//! The real binary in empty folders: exit code, stdout and stderr of every command.

mod data;
mod files;
mod hostile;
mod import;
mod interrupt;
mod movielens;
mod neighbours;
mod support;
