//! S3 in memory. The protocol (routes, signatures, XML, chunked bodies) is that of the `s3s` crate; here is what the
//! calls do.
//!
//! | file | what it is responsible for |
//! | --- | --- |
//! | `state` | buckets, objects and uploads, behind one lock |
//! | `service` | which call is answered by which function |
//! | `objects` | put, get, head, delete, copy |
//! | `listing` | ListObjectsV2, page by page |
//! | `multipart` | objects that are uploaded in parts |
//! | `settings` | what can be set for a bucket |
//! | `conditions` | If-Match and If-None-Match |
//! | `digest` | ETags and checksums |
//! | `keys` | which access keys there are |

mod conditions;
mod digest;
mod keys;
mod listing;
mod multipart;
mod objects;
mod service;
mod settings;
mod state;

use crate::listener::{self, Listener};
pub use keys::Keys;
use s3s::service::S3ServiceBuilder;
use std::io;

/// Starts an empty store on a free port of loopback, open to the given keys.
///
/// # Errors
///
/// Where no port can be had.
pub async fn start(keys: Keys) -> io::Result<Listener> {
    let mut builder = S3ServiceBuilder::new(service::Memory::default());
    builder.set_auth(keys);
    let service = builder.build();
    listener::serve(move |stream, _| {
        let service = service.clone();
        async move { listener::http1().serve_connection(stream, service).await.ok() }
    })
    .await
}
