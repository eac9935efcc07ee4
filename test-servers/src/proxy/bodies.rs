//! Bodies of answers: whole, cut, or standing still half-way.

use super::script::Hold;
use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use std::io;

/// The body of any answer.
pub(super) type Body = BoxBody<Bytes, io::Error>;

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// The first `length` bytes, but at least one fewer than all; then the connection breaks.
pub(super) fn cut(whole: &Bytes, length: usize) -> Body {
    let first = whole.slice(..length.min(whole.len().saturating_sub(1)));
    in_two_steps(first, async { Err(io::Error::from(io::ErrorKind::ConnectionReset)) })
}

/// Half of the body, and the other half when the hold ends.
pub(super) fn held(whole: &Bytes, hold: Hold, millis: Option<u64>) -> Body {
    let (first, second) = (whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..));
    in_two_steps(first, async move {
        hold.wait(millis).await;
        Ok(second)
    })
}

/// The first piece is on its way before the second is asked for.
fn in_two_steps(
    first: Bytes,
    second: impl Future<Output = io::Result<Bytes>> + Send + Sync + 'static,
) -> Body {
    let first = stream::once(async move { Ok(Frame::data(first)) });
    let second = stream::once(async move {
        // The connection sends what it has when the body has nothing ready.
        tokio::task::yield_now().await;
        second.await.map(Frame::data)
    });
    BodyExt::boxed(StreamBody::new(stream::StreamExt::chain(first, second)))
}
