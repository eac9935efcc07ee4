//! Requests to the program's control port: HTTP/1.1 with JSON, a connection for each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The control port answers at once, so that nothing waits longer for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The control port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    pub(crate) port: u16,
}

impl Control {
    /// Sends a request with this value as its body, and reads the value that it is answered with.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        value: &impl Serialize,
    ) -> io::Result<T> {
        let body = serde_json::to_string(value)?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("{method} {path} of the test servers: {body}")));
        }
        Ok(serde_json::from_str(body)?)
    }
}
