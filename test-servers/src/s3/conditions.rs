//! Conditions of writes and reads. Called under the lock, with what is stored at that instant.

use super::state::Object;
use s3s::dto::ETagCondition;
use s3s::{S3Result, s3_error};

/// What a write asks for before it happens.
pub(super) struct WriteCondition {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl WriteCondition {
    /// Whether the write may replace `current`. Of `If-None-Match` S3 knows `*` alone for writes.
    pub(super) fn check(&self, current: Option<&Object>) -> S3Result {
        match (&self.if_none_match, current) {
            (Some(ETagCondition::ETag(_)), _) => {
                return Err(s3_error!(NotImplemented, "If-None-Match of a write can only be *"));
            }
            (Some(ETagCondition::Any), Some(_)) => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        match (&self.if_match, current) {
            (None | Some(ETagCondition::Any), Some(_)) | (None, None) => Ok(()),
            (Some(_), None) => Err(s3_error!(NoSuchKey)),
            (Some(ETagCondition::ETag(etag)), Some(object)) if etag.value() == object.etag => Ok(()),
            (Some(ETagCondition::ETag(_)), Some(_)) => Err(s3_error!(PreconditionFailed)),
        }
    }
}

/// Whether `object` may be read under these conditions; `NotModified` where the reader has it already.
pub(super) fn check_read(
    object: &Object,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}
