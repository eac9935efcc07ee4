//! Objects that are uploaded in parts: nothing is seen of them before they are complete.

use super::conditions::WriteCondition;
use super::digest::{Received, etag_of_parts};
use super::state::{Description, Object, Part, State, Upload, length, now};
use bytes::{Bytes, BytesMut};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Checksum, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    ETag, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput,
    MultipartUpload, Part as PartOutput, UploadPartOutput,
};
use s3s::{S3Result, s3_error};

/// The least size of a part that is not the last, in bytes.
const LEAST_PART: usize = 5 << 20;
/// The greatest number of a part.
const LAST_PART: i32 = 10_000;

pub(super) fn create(
    state: &mut State,
    input: CreateMultipartUploadInput,
) -> S3Result<CreateMultipartUploadOutput> {
    state.bucket(&input.bucket)?;
    state.begun += 1;
    let id = format!("upload-{:08}", state.begun);
    let description = Description {
        content_type: input.content_type,
        content_encoding: input.content_encoding,
        cache_control: input.cache_control,
        metadata: input.metadata,
    };
    let upload = Upload {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        description,
        begun: now(),
        parts: Default::default(),
    };
    state.uploads.insert(id.clone(), upload);
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        ..CreateMultipartUploadOutput::default()
    })
}

/// Keeps a part. The same number again replaces it.
pub(super) fn put_part(upload: &mut Upload, number: i32, received: Received) -> S3Result<UploadPartOutput> {
    if !(1..=LAST_PART).contains(&number) {
        return Err(s3_error!(InvalidArgument, "part numbers are 1 to {LAST_PART}"));
    }
    let Received { body, etag, checksum } = received;
    upload.parts.insert(number, Part { body, etag: etag.clone(), modified: now() });
    Ok(UploadPartOutput {
        e_tag: Some(ETag::Strong(etag)),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        ..UploadPartOutput::default()
    })
}

pub(super) fn complete(
    state: &mut State,
    input: CompleteMultipartUploadInput,
) -> S3Result<CompleteMultipartUploadOutput> {
    let upload = state.upload(&input.upload_id, &input.bucket, &input.key)?;
    let listed = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let bodies = bodies(upload, &listed)?;
    let object = Object {
        etag: etag_of_parts(bodies.iter()),
        body: joined(&bodies),
        description: upload.description.clone(),
        checksum: Checksum::default(),
        modified: now(),
    };
    let objects = &mut state.bucket_mut(&input.bucket)?.objects;
    let condition = WriteCondition { if_match: input.if_match, if_none_match: input.if_none_match };
    condition.check(objects.get(&input.key))?;
    let etag = object.etag();
    objects.insert(input.key.clone(), object);
    state.uploads.remove(&input.upload_id);
    Ok(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(etag),
        ..CompleteMultipartUploadOutput::default()
    })
}

/// The bodies of the listed parts, which must be those that were uploaded, in ascending order.
fn bodies(upload: &Upload, listed: &[CompletedPart]) -> S3Result<Vec<Bytes>> {
    if listed.is_empty() {
        return Err(s3_error!(MalformedXML, "no part is listed"));
    }
    let numbers: Vec<i32> = listed.iter().map(|part| part.part_number.unwrap_or(0)).collect();
    if !numbers.is_sorted_by(|left, right| left < right) {
        return Err(s3_error!(InvalidPartOrder));
    }
    let body = |(number, part): (&i32, &CompletedPart)| {
        let kept = upload.parts.get(number);
        let kept = kept.filter(|kept| part.e_tag.as_ref().is_some_and(|etag| etag.value() == kept.etag));
        kept.map(|kept| kept.body.clone()).ok_or_else(|| s3_error!(InvalidPart))
    };
    let bodies = numbers.iter().zip(listed).map(body).collect::<S3Result<Vec<Bytes>>>()?;
    let (_, but_the_last) = bodies.split_last().ok_or_else(|| s3_error!(InvalidPart))?;
    if but_the_last.iter().any(|body| body.len() < LEAST_PART) {
        return Err(s3_error!(EntityTooSmall));
    }
    Ok(bodies)
}

fn joined(bodies: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(bodies.iter().map(Bytes::len).sum());
    for body in bodies {
        whole.extend_from_slice(body);
    }
    whole.freeze()
}

pub(super) fn abort(
    state: &mut State,
    input: &AbortMultipartUploadInput,
) -> S3Result<AbortMultipartUploadOutput> {
    state.upload(&input.upload_id, &input.bucket, &input.key)?;
    state.uploads.remove(&input.upload_id);
    Ok(AbortMultipartUploadOutput::default())
}

/// All uploads that are not complete, in one page.
pub(super) fn list_uploads(
    state: &State,
    input: ListMultipartUploadsInput,
) -> S3Result<ListMultipartUploadsOutput> {
    state.bucket(&input.bucket)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let listed =
        |(_, upload): &(&String, &Upload)| upload.bucket == input.bucket && upload.key.starts_with(&prefix);
    let shown = |(id, upload): (&String, &Upload)| MultipartUpload {
        key: Some(upload.key.clone()),
        upload_id: Some(id.clone()),
        initiated: Some(upload.begun.into()),
        ..MultipartUpload::default()
    };
    let mut uploads: Vec<_> = state.uploads.iter().filter(listed).map(shown).collect();
    uploads.sort_by(|left, right| (&left.key, &left.upload_id).cmp(&(&right.key, &right.upload_id)));
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads),
        prefix: input.prefix,
        is_truncated: Some(false),
        bucket: Some(input.bucket),
        ..ListMultipartUploadsOutput::default()
    })
}

/// All parts of an upload, in one page.
pub(super) fn list_parts(state: &mut State, input: ListPartsInput) -> S3Result<ListPartsOutput> {
    let upload = state.upload(&input.upload_id, &input.bucket, &input.key)?;
    let shown = |(number, part): (&i32, &Part)| PartOutput {
        part_number: Some(*number),
        e_tag: Some(ETag::Strong(part.etag.clone())),
        size: Some(length(&part.body)),
        last_modified: Some(part.modified.into()),
        ..PartOutput::default()
    };
    Ok(ListPartsOutput {
        parts: Some(upload.parts.iter().map(shown).collect()),
        is_truncated: Some(false),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    })
}
