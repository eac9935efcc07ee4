//! What a request is, read off its head and body.

use bytes::Bytes;
use hyper::http::request::Parts;
use recstore_test_cloud::{Action, Rule, Side};
use serde_json::Value;
use std::collections::BTreeSet;

/// What rules look at and counts are kept by.
pub(super) struct Seen {
    pub(super) side: Side,
    pub(super) method: String,
    pub(super) path: String,
    /// As AWS names it.
    pub(super) operation: String,
    /// The names of the bucket or the tables.
    pub(super) places: Vec<String>,
}

impl Seen {
    pub(super) fn of(side: Side, head: &Parts, body: &Bytes) -> Self {
        let (operation, places) = match side {
            Side::S3 => s3(head),
            Side::DynamoDb => (dynamodb_operation(head), tables(body)),
        };
        let (method, path) = (head.method.as_str().to_owned(), head.uri.path().to_owned());
        Self { side, method, path, operation, places }
    }

    /// Whether the rule is about this request, whose body is `body`.
    pub(super) fn is_meant_by(&self, rule: &Rule, body: &[u8]) -> bool {
        let same = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
        let fits = !matches!(rule.action, Action::Partial(_)) || self.is_batch();
        rule.side == self.side
            && fits
            && same(&rule.method, &self.method)
            && same(&rule.operation, &self.operation)
            && rule.path_prefix.as_ref().is_none_or(|prefix| self.path.starts_with(prefix))
            && rule
                .place_prefix
                .as_ref()
                .is_none_or(|prefix| self.places.iter().any(|place| place.starts_with(prefix)))
            && rule.body_contains.as_ref().is_none_or(|text| contains(body, text.as_bytes()))
    }

    fn is_batch(&self) -> bool {
        ["BatchWriteItem", "BatchGetItem"].contains(&self.operation.as_str())
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

fn dynamodb_operation(head: &Parts) -> String {
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or("");
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

/// The tables of a request, in alphabetical order: of a single item, of a batch, of a transaction.
fn tables(body: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let mut names = BTreeSet::new();
    names.extend(body["TableName"].as_str());
    names.extend(body["RequestItems"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()));
    let parts = body["TransactItems"].as_array().into_iter().flatten();
    names.extend(parts.filter_map(|part| part.as_object()?.values().next()?["TableName"].as_str()));
    names.into_iter().map(str::to_owned).collect()
}

/// The operation and the bucket, for addresses with the bucket in the path.
fn s3(head: &Parts) -> (String, Vec<String>) {
    let path = head.uri.path().strip_prefix('/').unwrap_or_default();
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let query: Vec<&str> = head.uri.query().unwrap_or("").split('&').map(name_of).collect();
    let query = Query { names: &query, copies: head.headers.contains_key("x-amz-copy-source") };
    let method = head.method.as_str();
    let operation = match (bucket, key) {
        ("", _) => "ListBuckets".to_owned(),
        (_, "") => query.of_bucket(method),
        _ => query.of_object(method).to_owned(),
    };
    (operation, Some(bucket.to_owned()).filter(|bucket| !bucket.is_empty()).into_iter().collect())
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// What decides the operation beside the method.
struct Query<'a> {
    names: &'a [&'a str],
    copies: bool,
}

impl Query<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    fn of_object(&self, method: &str) -> &'static str {
        match method {
            "GET" if self.has("uploadId") => "ListParts",
            "GET" => "GetObject",
            "HEAD" => "HeadObject",
            "PUT" if self.has("uploadId") && self.copies => "UploadPartCopy",
            "PUT" if self.has("uploadId") => "UploadPart",
            "PUT" if self.copies => "CopyObject",
            "PUT" => "PutObject",
            "POST" if self.has("uploads") => "CreateMultipartUpload",
            "POST" if self.has("uploadId") => "CompleteMultipartUpload",
            "DELETE" if self.has("uploadId") => "AbortMultipartUpload",
            "DELETE" => "DeleteObject",
            _ => "Unknown",
        }
    }

    fn of_bucket(&self, method: &str) -> String {
        let settings = [
            ("encryption", "BucketEncryption"),
            ("lifecycle", "BucketLifecycleConfiguration"),
            ("location", "BucketLocation"),
            ("policy", "BucketPolicy"),
            ("publicAccessBlock", "PublicAccessBlock"),
            ("tagging", "BucketTagging"),
            ("versioning", "BucketVersioning"),
        ];
        let setting = settings.into_iter().find(|(name, _)| self.has(name)).map(|(_, setting)| setting);
        match (method, setting) {
            ("GET", Some(setting)) => format!("Get{setting}"),
            ("PUT", Some(setting)) => format!("Put{setting}"),
            ("DELETE", Some(setting)) => format!("Delete{setting}"),
            ("GET", None) if self.has("uploads") => "ListMultipartUploads".to_owned(),
            ("GET", None) if self.has("list-type") => "ListObjectsV2".to_owned(),
            ("GET", None) => "ListObjects".to_owned(),
            ("HEAD", None) => "HeadBucket".to_owned(),
            ("PUT", None) => "CreateBucket".to_owned(),
            ("DELETE", None) => "DeleteBucket".to_owned(),
            ("POST", None) if self.has("delete") => "DeleteObjects".to_owned(),
            _ => "Unknown".to_owned(),
        }
    }
}
