//! Objects as wholes: put, get, head, delete, copy.

use super::conditions::{WriteCondition, check_read};
use super::digest::Received;
use super::state::{Description, Object, State, length, now};
use s3s::dto::{
    Checksum, ChecksumMode, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectOutput,
    StreamingBlob,
};
use s3s::{S3Result, s3_error};

/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;
/// The most keys of one DeleteObjects.
const MOST_DELETED: usize = 1000;

pub(super) fn check_key(key: &str) -> S3Result {
    if key.len() > LONGEST_KEY { Err(s3_error!(KeyTooLongError)) } else { Ok(()) }
}

/// Stores a body that came whole, where the condition holds at this instant.
pub(super) fn put(
    state: &mut State,
    bucket: &str,
    key: String,
    condition: &WriteCondition,
    received: Received,
    description: Description,
) -> S3Result<PutObjectOutput> {
    let Received { body, etag, checksum } = received;
    let objects = &mut state.bucket_mut(bucket)?.objects;
    condition.check(objects.get(&key))?;
    let object = Object { body, etag, description, checksum: checksum.clone(), modified: now() };
    let etag = object.etag();
    objects.insert(key, object);
    Ok(PutObjectOutput {
        e_tag: Some(etag),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        ..PutObjectOutput::default()
    })
}

pub(super) fn get(state: &State, input: &GetObjectInput) -> S3Result<GetObjectOutput> {
    let object = state.object(&input.bucket, &input.key)?.clone();
    check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let etag = object.etag();
    let total = object.body.len() as u64;
    let (body, content_range) = match &input.range {
        None => (object.body, None),
        Some(range) => {
            let range = range.check(total)?;
            let shown = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            let (start, end) = (position(range.start), position(range.end));
            (object.body.slice(start..end), Some(shown))
        }
    };
    // A checksum is one of the whole object.
    let shown = content_range.is_none() && asks_for_checksum(input.checksum_mode.as_ref());
    let checksum = if shown { object.checksum } else { Checksum::default() };
    Ok(GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: object.description.cache_control,
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        content_encoding: object.description.content_encoding,
        content_length: Some(length(&body)),
        content_range,
        content_type: object.description.content_type,
        e_tag: Some(etag),
        last_modified: Some(object.modified.into()),
        metadata: object.description.metadata,
        body: Some(StreamingBlob::from(s3s::Body::from(body))),
        ..GetObjectOutput::default()
    })
}

pub(super) fn head(state: &State, input: &HeadObjectInput) -> S3Result<HeadObjectOutput> {
    let object = state.object(&input.bucket, &input.key)?.clone();
    check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let shown = asks_for_checksum(input.checksum_mode.as_ref());
    let etag = object.etag();
    let checksum = if shown { object.checksum } else { Checksum::default() };
    Ok(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: object.description.cache_control,
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        content_encoding: object.description.content_encoding,
        content_length: Some(length(&object.body)),
        content_type: object.description.content_type,
        e_tag: Some(etag),
        last_modified: Some(object.modified.into()),
        metadata: object.description.metadata,
        ..HeadObjectOutput::default()
    })
}

pub(super) fn delete(state: &mut State, input: DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
    let objects = &mut state.bucket_mut(&input.bucket)?.objects;
    if input.if_match.is_some() {
        let condition = WriteCondition { if_match: input.if_match, if_none_match: None };
        condition.check(objects.get(&input.key))?;
    }
    objects.remove(&input.key);
    Ok(DeleteObjectOutput::default())
}

/// A key that is not there counts as deleted, as it does with S3.
pub(super) fn delete_many(state: &mut State, input: DeleteObjectsInput) -> S3Result<DeleteObjectsOutput> {
    if input.delete.objects.len() > MOST_DELETED {
        return Err(s3_error!(MalformedXML, "more than {MOST_DELETED} keys"));
    }
    let objects = &mut state.bucket_mut(&input.bucket)?.objects;
    let deleted = |key: String| {
        objects.remove(&key);
        DeletedObject { key: Some(key), ..DeletedObject::default() }
    };
    let deleted: Vec<_> = input.delete.objects.into_iter().map(|object| object.key).map(deleted).collect();
    let quiet = input.delete.quiet == Some(true);
    Ok(DeleteObjectsOutput { deleted: (!quiet).then_some(deleted), ..DeleteObjectsOutput::default() })
}

pub(super) fn copy(state: &mut State, input: CopyObjectInput) -> S3Result<CopyObjectOutput> {
    let CopySource::Bucket { bucket, key, version_id: None } = &input.copy_source else {
        return Err(s3_error!(NotImplemented, "a copy of anything but an object of a bucket"));
    };
    let mut object = state.object(bucket, key)?.clone();
    let (if_match, if_none_match) =
        (input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref());
    // S3 answers a copy with 412, never with 304.
    check_read(&object, if_match, if_none_match).map_err(|_| s3_error!(PreconditionFailed))?;
    let replaced = |directive: &MetadataDirective| directive.as_str() == MetadataDirective::REPLACE;
    if input.metadata_directive.as_ref().is_some_and(replaced) {
        object.description = Description {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            cache_control: input.cache_control,
            metadata: input.metadata,
        };
    }
    object.modified = now();
    let result = CopyObjectResult {
        e_tag: Some(object.etag()),
        last_modified: Some(object.modified.into()),
        ..CopyObjectResult::default()
    };
    state.bucket_mut(&input.bucket)?.objects.insert(input.key, object);
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() })
}

fn asks_for_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// A position inside of a body, which is in memory.
fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
