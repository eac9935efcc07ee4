//! DynamoDB: the server of the `dynoxide-rs` crate, in memory.

use crate::listener;
use dynoxide::Database;
use std::io;
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// A DynamoDB that is served. Dropping it closes the port.
pub struct DynamoDb {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl DynamoDb {
    /// Starts one without tables on a free port of loopback. It takes requests of any signature.
    ///
    /// # Errors
    ///
    /// Where no port or no database can be had.
    pub async fn start() -> io::Result<Self> {
        let database = Database::memory().map_err(|error| io::Error::other(error.to_string()))?;
        let listener = listener::bind().await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            // It ends with an error only where the port is gone.
            let _ = dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await;
        });
        Ok(Self { address, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
