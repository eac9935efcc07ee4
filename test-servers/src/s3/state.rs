//! What is stored: buckets, their objects, and uploads that are not complete. All behind one lock, which no call
//! holds while it waits, so that every call happens at one instant: conditional writes are atomic and a reader sees
//! one whole version of an object.

use super::settings::Settings;
use bytes::Bytes;
use s3s::dto::{Checksum, ETag, Metadata};
use s3s::{S3Result, s3_error};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Everything.
#[derive(Default)]
pub(super) struct State {
    pub(super) buckets: BTreeMap<String, Bucket>,
    pub(super) uploads: BTreeMap<String, Upload>,
    /// How many uploads were begun.
    pub(super) begun: u64,
}

/// One bucket.
pub(super) struct Bucket {
    pub(super) created: SystemTime,
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) settings: Settings,
}

/// What a client says about an object, kept as it was said.
#[derive(Clone, Default)]
pub(super) struct Description {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

/// One object. A clone shares the body.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) description: Description,
    pub(super) checksum: Checksum,
    pub(super) modified: SystemTime,
}

/// An object that is uploaded in parts.
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) description: Description,
    pub(super) begun: SystemTime,
    pub(super) parts: BTreeMap<i32, Part>,
}

/// One part.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
}

impl State {
    pub(super) fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets.get(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    pub(super) fn bucket_mut(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets.get_mut(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    pub(super) fn object(&self, bucket: &str, key: &str) -> S3Result<&Object> {
        self.bucket(bucket)?.objects.get(key).ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// The upload of this id, which must be one for this object.
    pub(super) fn upload(&mut self, id: &str, bucket: &str, key: &str) -> S3Result<&mut Upload> {
        let upload = self.uploads.get_mut(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}

impl Bucket {
    pub(super) fn new() -> Self {
        Self { created: now(), objects: BTreeMap::new(), settings: Settings::default() }
    }
}

impl Object {
    pub(super) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }
}

/// A length as S3 answers it.
pub(super) fn length(body: &Bytes) -> i64 {
    i64::try_from(body.len()).unwrap_or(i64::MAX)
}

/// The store's own clock, by which it tells when things were written.
#[expect(clippy::disallowed_methods, reason = "a server has no caller that could give it the time")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
