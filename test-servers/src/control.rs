//! The port at which tests open proxies and give their orders: HTTP with JSON.
//!
//! | request | what it does | answer |
//! | --- | --- | --- |
//! | `POST /credentials` `{"access_key", "secret_key"}` | S3 accepts them from now on | |
//! | `POST /proxies` | opens a proxy | `{"id", "s3", "dynamodb"}`, ports |
//! | `DELETE /proxies/1` | closes it and its connections | |
//! | `POST /proxies/1/rules`, a rule | adds it | its number |
//! | `GET /proxies/1/rules` | | all of them, with how often they acted |
//! | `DELETE /proxies/1/rules/2` | removes one and lets go what it holds | |
//! | `DELETE /proxies/1/rules` | removes all | |
//! | `GET /proxies/1/counts` | | the counts |
//! | `DELETE /proxies/1/counts` | counts from nothing again | |
//!
//! Rules and counts are the types of `recstore-test-cloud`.

use crate::listener::{self, Listener};
use crate::proxy::Proxy;
use crate::s3::Keys;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use recstore_test_cloud::{Credentials, ProxyPorts, Rule};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Starts the control port of these two servers.
///
/// # Errors
///
/// Where no port can be had.
pub async fn start(keys: Keys, s3: SocketAddr, dynamodb: SocketAddr) -> io::Result<Listener> {
    let control = Arc::new(Control { keys, s3, dynamodb, proxies: Mutex::default() });
    listener::serve(move |stream, _| {
        let control = control.clone();
        let service = service_fn(move |request| answer(control.clone(), request));
        async move { listener::http1().serve_connection(stream, service).await.ok() }
    })
    .await
}

struct Control {
    keys: Keys,
    s3: SocketAddr,
    dynamodb: SocketAddr,
    proxies: Mutex<Proxies>,
}

#[derive(Default)]
struct Proxies {
    opened: u64,
    open: BTreeMap<u64, Proxy>,
}

/// Why a request was not carried out.
enum Refusal {
    NotFound,
    Malformed(serde_json::Error),
    Failed(io::Error),
}

async fn answer(control: Arc<Control>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let (status, body) = match control.carry_out(&head.method, head.uri.path(), &body).await {
        Ok(value) => (StatusCode::OK, value),
        Err(Refusal::NotFound) => (StatusCode::NOT_FOUND, json!("there is no such thing")),
        Err(Refusal::Malformed(error)) => (StatusCode::BAD_REQUEST, json!(error.to_string())),
        Err(Refusal::Failed(error)) => (StatusCode::INTERNAL_SERVER_ERROR, json!(error.to_string())),
    };
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    Ok(response)
}

impl Control {
    fn proxies(&self) -> MutexGuard<'_, Proxies> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(&self, method: &Method, path: &str, body: &[u8]) -> Result<Value, Refusal> {
        let path: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), path.as_slice()) {
            ("POST", ["credentials"]) => self.accept(body),
            ("POST", ["proxies"]) => self.open().await,
            ("DELETE", ["proxies", id]) => self.close(number(id)?).await,
            (method, ["proxies", id, path @ ..]) => {
                let proxies = self.proxies();
                let proxy = proxies.open.get(&number(id)?).ok_or(Refusal::NotFound)?;
                ask(proxy, method, path, body)
            }
            _ => Err(Refusal::NotFound),
        }
    }

    fn accept(&self, body: &[u8]) -> Result<Value, Refusal> {
        let credentials: Credentials = serde_json::from_slice(body).map_err(Refusal::Malformed)?;
        self.keys.accept(credentials.access_key, credentials.secret_key);
        Ok(Value::Null)
    }

    async fn open(&self) -> Result<Value, Refusal> {
        let proxy = Proxy::start(self.s3, self.dynamodb).await.map_err(Refusal::Failed)?;
        let (s3, dynamodb) = (proxy.s3().port(), proxy.dynamodb().port());
        let mut proxies = self.proxies();
        proxies.opened += 1;
        let id = proxies.opened;
        proxies.open.insert(id, proxy);
        Ok(json!(ProxyPorts { id, s3, dynamodb }))
    }

    async fn close(&self, id: u64) -> Result<Value, Refusal> {
        let proxy = self.proxies().open.remove(&id);
        proxy.ok_or(Refusal::NotFound)?.close().await;
        Ok(Value::Null)
    }
}

/// What is asked of one proxy.
fn ask(proxy: &Proxy, method: &str, path: &[&str], body: &[u8]) -> Result<Value, Refusal> {
    match (method, path) {
        ("POST", ["rules"]) => {
            let rule: Rule = serde_json::from_slice(body).map_err(Refusal::Malformed)?;
            Ok(json!(proxy.add(rule)))
        }
        ("GET", ["rules"]) => Ok(json!(proxy.rules())),
        ("DELETE", ["rules"]) => {
            proxy.clear();
            Ok(Value::Null)
        }
        ("DELETE", ["rules", id]) if proxy.remove(number(id)?) => Ok(Value::Null),
        ("GET", ["counts"]) => Ok(json!(proxy.counts())),
        ("DELETE", ["counts"]) => {
            proxy.reset_counts();
            Ok(Value::Null)
        }
        _ => Err(Refusal::NotFound),
    }
}

fn number(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::NotFound)
}
