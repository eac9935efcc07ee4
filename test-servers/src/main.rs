//! Starts the servers, prints their ports as one line of JSON, and ends when its standard input does: with the
//! process that started it, however that ended.

use recstore_test_servers::Servers;
use std::io::{self, Write};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> io::Result<()> {
    let servers = Servers::start().await?;
    let ports = serde_json::to_string(&servers.ports())?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{ports}")?;
    stdout.flush()?;
    wait_for_the_parent_to_end().await;
    // At once: a thread that still reads the standard input would hold the runtime's end up.
    std::process::exit(0)
}

async fn wait_for_the_parent_to_end() {
    let (mut stdin, mut bytes) = (tokio::io::stdin(), [0; 64]);
    while stdin.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}
