//! Requests to the server behind the proxy. One connection is kept for each connection of a client, as the client
//! keeps it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::{request, response};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// A request whose body came whole.
#[derive(Clone)]
pub(super) struct Whole {
    pub(super) head: request::Parts,
    pub(super) body: Bytes,
}

/// An answer whose body came whole.
pub(super) struct Answered {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
}

/// The server, with the connection to it that is kept.
pub(super) struct Upstream {
    server: SocketAddr,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Upstream {
    pub(super) fn to(server: SocketAddr) -> Self {
        Self { server, kept: Mutex::new(None) }
    }

    /// Sends the request as it is, so that its signature stays right, and waits for the whole answer.
    pub(super) async fn send(&self, request: Whole) -> io::Result<Answered> {
        let mut kept = self.kept.lock().await;
        let mut sender = match kept.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => connect(self.server).await?,
        };
        sender.ready().await.map_err(io::Error::other)?;
        let request = Request::from_parts(request.head, Full::new(request.body));
        let (mut head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        *kept = Some(sender);
        // These are about the connection to the server, and not about the answer.
        head.headers.remove(header::CONNECTION);
        head.headers.remove(header::TRANSFER_ENCODING);
        Ok(Answered { head, body })
    }
}

async fn connect(server: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}
