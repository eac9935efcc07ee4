//! Connections: accepted on a free port of loopback, each served by a task of its own.

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port that is served. Dropping it closes the port and all its connections.
pub struct Listener {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and all its connections, and comes back when they are closed.
    pub async fn close(mut self) {
        self.accepting.abort();
        // It was ended from outside, which is what the error says.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The socket of a connection, beside the one that reads and writes.
pub(crate) struct Connection(std::net::TcpStream);

impl Connection {
    /// From now on closing the connection resets it, and what was not sent yet is thrown away.
    pub(crate) fn reset_when_closed(&self) {
        // It can only fail on a socket that is closed already.
        let _ = socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }
}

/// HTTP/1.1 as all servers here speak it.
pub(crate) fn http1() -> http1::Builder {
    http1::Builder::new()
}

/// A free port of loopback.
pub(crate) async fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Serves every connection to a free port by `handle`.
pub(crate) async fn serve<H, F>(handle: H) -> io::Result<Listener>
where
    H: Fn(TokioIo<TcpStream>, Arc<Connection>) -> F + Send + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    let listener = bind().await?;
    let address = listener.local_addr()?;
    let accepting = tokio::spawn(async move {
        // The set ends with this task, and the connections with the set.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    if let Ok((stream, twin)) = doubled(stream) {
                        connections.spawn(handle(TokioIo::new(stream), Arc::new(twin)));
                    }
                }
                Some(_) = connections.join_next() => {}
                else => return,
            }
        }
    });
    Ok(Listener { address, accepting })
}

fn doubled(stream: TcpStream) -> io::Result<(TcpStream, Connection)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, Connection(twin)))
}
