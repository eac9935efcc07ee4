//! The `recstore` command.
fn main() {}
