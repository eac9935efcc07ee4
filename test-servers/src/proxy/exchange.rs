//! One request: which rule acts on it, what the server is asked, and what the client gets.

use super::bodies::{self, Body, full};
use super::script::{Order, Script};
use super::seen::Seen;
use super::tally::Tally;
use super::upstream::{Answered, Upstream, Whole};
use super::{answers, batch};
use crate::listener::Connection;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response};
use recstore_test_cloud::{Action, Answer, Keep, Side, Stage};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One of the two ports of a proxy.
pub(super) struct Front {
    pub(super) side: Side,
    pub(super) server: SocketAddr,
    pub(super) script: Arc<Script>,
    pub(super) tally: Arc<Tally>,
}

/// Answers one request. An error closes the connection without an answer.
pub(super) async fn exchange(
    front: Arc<Front>,
    upstream: Arc<Upstream>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = Seen::of(front.side, &head, &body);
    front.tally.came(&seen, body.len());
    let order = front.script.order(&seen, &body);
    let request = Arc::new(Exchange { front, seen, upstream, connection, request: Whole { head, body } });
    match order {
        None => request.pass().await,
        Some(order) => {
            request.front.tally.acted_on(&request.seen);
            request.carry_out(order).await
        }
    }
}

struct Exchange {
    front: Arc<Front>,
    seen: Seen,
    upstream: Arc<Upstream>,
    connection: Arc<Connection>,
    request: Whole,
}

impl Exchange {
    async fn carry_out(self: Arc<Self>, order: Order) -> io::Result<Response<Body>> {
        match order.action {
            Action::Delay { millis } => self.late(millis).await,
            Action::Answer(answer) => self.answer_itself(&answer).await,
            Action::Reset => Err(self.reset()),
            Action::LoseAnswer => {
                self.forward().await?;
                Err(self.reset())
            }
            Action::Twice => {
                self.forward().await?;
                self.pass().await
            }
            Action::Stall { stage: Stage::BeforeRequest, millis } => {
                order.hold.wait(millis).await;
                self.pass().await
            }
            Action::Stall { stage: Stage::BeforeHeaders, millis } => {
                let answered = self.forward().await?;
                order.hold.wait(millis).await;
                Ok(self.response(answered))
            }
            Action::Stall { stage: Stage::MidBody, millis } => {
                let answered = self.forward().await?;
                let body = bodies::held(&answered.body, order.hold, millis);
                Ok(self.response_with(answered, body))
            }
            Action::Cut { bytes } => {
                let answered = self.forward().await?;
                let body = bodies::cut(&answered.body, usize::try_from(bytes).unwrap_or(usize::MAX));
                Ok(self.response_with(answered, body))
            }
            Action::Partial(keep) => self.in_part(&keep, order.firing).await,
        }
    }

    /// Nothing is done to it.
    async fn pass(&self) -> io::Result<Response<Body>> {
        Ok(self.response(self.forward().await?))
    }

    /// In a task of its own, as it goes on where the client does not wait.
    async fn late(self: Arc<Self>, millis: u64) -> io::Result<Response<Body>> {
        let passing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            self.pass().await
        });
        passing.await.map_err(io::Error::other)?
    }

    async fn answer_itself(&self, answer: &Answer) -> io::Result<Response<Body>> {
        if answer.after_forward {
            self.forward().await?;
        }
        answers::error(self.front.side, answer)
    }

    async fn in_part(&self, keep: &Keep, firing: u64) -> io::Result<Response<Body>> {
        let Some(parted) = batch::part(&self.request.body, keep, firing) else { return self.pass().await };
        let Some(kept) = parted.kept.clone() else {
            return answers::error(self.front.side, &nothing_processed());
        };
        let mut request = Whole { head: self.request.head.clone(), body: kept };
        request.head.headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        let mut answered = self.send(request).await?;
        if answered.head.status.is_success()
            && let Some(body) = parted.answer(&answered.body)
        {
            answered.body = body;
            // The checksum of what the server answered.
            answered.head.headers.remove("x-amz-crc32");
        }
        Ok(self.response(answered))
    }

    async fn forward(&self) -> io::Result<Answered> {
        self.send(self.request.clone()).await
    }

    async fn send(&self, request: Whole) -> io::Result<Answered> {
        let (tally, seen) = (&self.front.tally, &self.seen);
        tally.forwarded(seen);
        let answered = self.upstream.send(request).await?;
        tally.answered(seen, answered.body.len());
        Ok(answered)
    }

    fn reset(&self) -> io::Error {
        self.connection.reset_when_closed();
        io::ErrorKind::ConnectionReset.into()
    }

    fn response(&self, answered: Answered) -> Response<Body> {
        let body = full(answered.body.clone());
        self.response_with(answered, body)
    }

    /// The answer's head with another body, and the length that the whole body has.
    fn response_with(&self, answered: Answered, body: Body) -> Response<Body> {
        let Answered { mut head, body: whole } = answered;
        // The answer to HEAD names a length and has no body; nor has one to which a body is not allowed.
        if self.request.head.method != Method::HEAD && !whole.is_empty() {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
        }
        Response::from_parts(head, body)
    }
}

/// What DynamoDB answers where it can do no entry of a batch.
fn nothing_processed() -> Answer {
    Answer {
        status: 400,
        code: "ProvisionedThroughputExceededException".to_owned(),
        message: "no entry of the batch was processed, by order of a test".to_owned(),
        headers: Default::default(),
        after_forward: false,
    }
}
