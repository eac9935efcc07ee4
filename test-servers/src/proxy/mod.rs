//! A proxy before the two servers, which does to requests what a test orders, and counts them. Each test has one of
//! its own, so that tests which run side by side do not disturb each other.
//!
//! | file | what it is responsible for |
//! | --- | --- |
//! | `seen` | what a request is: its operation and its bucket or table |
//! | `script` | the rules: which of them acts on a request |
//! | `tally` | the counts |
//! | `exchange` | one request: the rule's action, and the server's answer |
//! | `upstream` | requests to the server |
//! | `answers` | errors that the proxy answers itself |
//! | `batch` | batches that are carried out in part |
//! | `bodies` | bodies that are cut or stand still |

mod answers;
mod batch;
mod bodies;
mod exchange;
mod script;
mod seen;
mod tally;
mod upstream;

use crate::listener::{self, Listener};
use exchange::Front;
use hyper::service::service_fn;
use recstore_test_cloud::{Counts, Rule, RuleState, Side};
use script::Script;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tally::Tally;
use upstream::Upstream;

/// A port before each of the two servers, with rules and counts in common. Dropping it closes the ports.
pub struct Proxy {
    s3: Listener,
    dynamodb: Listener,
    script: Arc<Script>,
    tally: Arc<Tally>,
}

impl Proxy {
    /// Opens the ports. Without a rule everything passes.
    ///
    /// # Errors
    ///
    /// Where no port can be had.
    pub async fn start(s3: SocketAddr, dynamodb: SocketAddr) -> io::Result<Self> {
        let (script, tally) = (Arc::<Script>::default(), Arc::<Tally>::default());
        let front = |side, server| Front { side, server, script: script.clone(), tally: tally.clone() };
        Ok(Self {
            s3: open(front(Side::S3, s3)).await?,
            dynamodb: open(front(Side::DynamoDb, dynamodb)).await?,
            script,
            tally,
        })
    }

    /// Closes both ports and their connections, and comes back when they are closed.
    pub async fn close(self) {
        self.s3.close().await;
        self.dynamodb.close().await;
    }

    /// Where S3 is reached through it.
    pub fn s3(&self) -> SocketAddr {
        self.s3.address()
    }

    /// Where DynamoDB is reached through it.
    pub fn dynamodb(&self) -> SocketAddr {
        self.dynamodb.address()
    }

    /// Adds a rule behind those that are there, and gives its number.
    pub fn add(&self, rule: Rule) -> u64 {
        self.script.add(rule)
    }

    /// Removes a rule and lets go what it holds; whether there was one.
    pub fn remove(&self, id: u64) -> bool {
        self.script.remove(id)
    }

    /// Removes all rules and lets go what they hold.
    pub fn clear(&self) {
        self.script.clear();
    }

    /// The rules in their order, with what came of them.
    pub fn rules(&self) -> Vec<RuleState> {
        self.script.states()
    }

    /// What was counted since the last reset.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// Counts from nothing again.
    pub fn reset_counts(&self) {
        self.tally.reset();
    }
}

async fn open(front: Front) -> io::Result<Listener> {
    let front = Arc::new(front);
    listener::serve(move |stream, connection| {
        let front = front.clone();
        let upstream = Arc::new(Upstream::to(front.server));
        let service = service_fn(move |request| {
            exchange::exchange(front.clone(), upstream.clone(), connection.clone(), request)
        });
        async move { listener::http1().serve_connection(stream, service).await.ok() }
    })
    .await
}
