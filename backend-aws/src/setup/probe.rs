//! Whether a store honours the conditions of writes. Some S3-compatible servers take them and ignore them, silently:
//! two writers would overwrite each other there, and neither would know.
//!
//! Every refusal is believed only after what is stored was read back. ETags are of the content: the bodies differ, so
//! that each has its own.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use recstore_core::{Deadline, Error, ErrorKind, Result};

use crate::error::{Failure, diagnose, exhausted};
use crate::lake::keys::LakePrefix;
use crate::lake::store::instant;
use crate::retry::{RetryPolicy, Verdict, with_retries};

/// The folder, within the lake, of what is tried; nothing else lies there.
pub const FOLDER: &str = "probe";

const CREATE: &str = "If-None-Match: *";
const MATCH: &str = "If-Match";

/// Creates an object of its own, tries to overwrite it as a writer that came too late, and removes it. `nonce` is part
/// of its key, which nothing else may have.
///
/// # Errors
/// `Unsupported` that names the condition which is ignored, or refused although it holds; `Conflict` if the key is
/// taken; what the store fails with. An object that could not be removed is named, and can be removed by hand.
pub async fn conditional_writes(
    store: &dyn ObjectStore,
    prefix: &LakePrefix,
    policy: &RetryPolicy,
    nonce: u128,
    deadline: Deadline,
) -> Result<()> {
    let object = Probe { store, path: prefix.full(format!("{FOLDER}/{nonce:032x}")), policy, deadline };
    let body = |number: u8| Bytes::from(format!("recstore probe {nonce:032x}, body {number}\n"));
    if !object.put(&body(1), PutMode::Create).await? && object.read().await?.0 != body(1) {
        // Not ours, so it is not removed.
        let text = "the key of the probe is taken, use another nonce";
        return Err(Error::new(ErrorKind::Conflict, text).on(object.path.as_ref()));
    }
    let tried = object.try_late_writers(body).await;
    let removed = object.remove().await;
    tried.and(removed)
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    path: Path,
    policy: &'a RetryPolicy,
    deadline: Deadline,
}

impl Probe<'_> {
    /// The first body is stored; no late writer may replace it, and the one that knows it may.
    async fn try_late_writers(&self, body: impl Fn(u8) -> Bytes) -> Result<()> {
        let (_, first) = self.read().await?;
        self.refused(CREATE, &body(2), PutMode::Create, &body(1)).await?;
        let wrong = Some("\"00000000000000000000000000000000\"".to_owned());
        self.refused(MATCH, &body(3), update(wrong), &body(1)).await?;
        if first.is_none() {
            return Err(self.unsupported("gives no ETag, so that nothing can be replaced by condition"));
        }
        let replaced = self.put(&body(4), update(first.clone())).await?;
        // A refusal may be of the second attempt, after an answer that was lost.
        if !replaced && self.read().await?.0 != body(4) {
            return Err(self.unsupported("refuses If-Match although it holds"));
        }
        self.refused(MATCH, &body(5), update(first), &body(4)).await
    }

    /// A put that must be refused and leave `kept` as it is.
    async fn refused(&self, condition: &str, body: &Bytes, mode: PutMode, kept: &Bytes) -> Result<()> {
        let accepted = self.put(body, mode).await?;
        if accepted || self.read().await?.0 != *kept {
            let text =
                format!("ignores the condition {condition} of a put: writers would overwrite each other");
            return Err(self.unsupported(&text));
        }
        Ok(())
    }

    fn unsupported(&self, what: &str) -> Error {
        let text = format!("the store {what}; use one that has conditional writes");
        Error::new(ErrorKind::Unsupported, text).on(self.path.as_ref())
    }

    /// Whether it was accepted.
    async fn put(&self, body: &Bytes, mode: PutMode) -> Result<bool> {
        self.retried(|| async {
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            let answer = self.store.put_opts(&self.path, body.clone().into(), options).await;
            match answer.map_err(|error| diagnose(&error)) {
                Ok(_) => Ok(true),
                // That another request is under way, which is to be repeated, is no refusal.
                Err(failure) if failure.kind == ErrorKind::Conflict && failure.verdict == Verdict::Stop => {
                    Ok(false)
                }
                Err(failure) => Err(failure),
            }
        })
        .await
    }

    /// What is stored, and its ETag.
    async fn read(&self) -> Result<(Bytes, Option<String>)> {
        self.retried(|| async {
            let found = self.store.get(&self.path).await.map_err(|error| diagnose(&error))?;
            let etag = found.meta.e_tag.clone();
            Ok((found.bytes().await.map_err(|error| diagnose(&error))?, etag))
        })
        .await
    }

    async fn remove(&self) -> Result<()> {
        self.retried(|| async {
            match self.store.delete(&self.path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(diagnose(&error)),
            }
        })
        .await
    }

    async fn retried<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let verdict = |failure: &Failure| failure.verdict;
        let answer = with_retries(self.policy, instant(Some(self.deadline)), verdict, attempt).await;
        answer.map_err(|failed| exhausted(failed, self.path.as_ref()))
    }
}

fn update(e_tag: Option<String>) -> PutMode {
    PutMode::Update(UpdateVersion { e_tag, version: None })
}
