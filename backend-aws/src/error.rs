//! The object store's failures as kinds of the shared error, and what each says about a write and about retries.
//!
//! | what came back | kind | repeat | a write may have happened |
//! | --- | --- | --- | --- |
//! | no connection | `Unavailable` | yes | no |
//! | connection lost or timed out after sending, or an answer that cannot be read | `Unavailable` | yes | yes |
//! | no credentials, or the chain fails | `Unavailable` | no, yes | no |
//! | 404 `NoSuchKey` | `NotFound` | no | no |
//! | 404 `NoSuchBucket` | `NotFound` | no | no |
//! | 412, 304 | `Conflict` | no | no |
//! | 409 `ConditionalRequestConflict`, `OperationAborted` | `Conflict` | yes | no |
//! | `ExpiredToken`, `TokenRefreshRequired` | `Unavailable` | no | no |
//! | `RequestTimeTooSkewed` | `Unavailable` | no | no |
//! | other 401, 403 | `ReadOnly` | no | no |
//! | 301, 307, `AuthorizationHeaderMalformed` | `Invalid` (field `region`) | no | no |
//! | 400 `RequestTimeout`, 408 | `Unavailable` | yes | no |
//! | 503 `SlowDown`, 429 | `Busy` | yes | no |
//! | 501, 405 | `Unsupported` | no | no |
//! | other 4xx | `Internal` | no | no |
//! | other 5xx | `Unavailable` | yes | yes |
//!
//! The service's answer is not kept as it is: it can repeat what was signed, session tokens included. Only its status
//! and its code are.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use object_store::client::{HttpError, HttpErrorKind};
use recstore_core::{Error, ErrorKind};

use crate::retry::{Attempt, Exhausted, GaveUp, Verdict};

/// How `object_store` 0.13 begins the text of a status that is no success; its type is not public.
const STATUS_TEXT: &str = "Server returned non-2xx status code: ";
const REDIRECT_TEXT: &str = "Received redirect without LOCATION";

/// What one failed request means.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) verdict: Verdict,
    /// Whether a write may have happened, or may still.
    pub(crate) applied: Applied,
    message: &'static str,
    field: Option<&'static str>,
    cause: Cause,
}

/// Whether a write that failed may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    No,
    Perhaps,
}

/// What is kept of the cause: nothing that could hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    status: Option<u16>,
    detail: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "status {status} {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl StdError for Cause {}

impl Failure {
    fn new(
        kind: ErrorKind,
        verdict: Verdict,
        applied: Applied,
        message: &'static str,
        cause: Cause,
    ) -> Failure {
        Failure { kind, verdict, applied, message, field: None, cause }
    }

    /// What an answer of this status and code means, for clients other than `object_store`.
    pub(crate) fn of_answer(status: u16, code: &str) -> Failure {
        let code = known(code);
        of_status(status, code, Cause { status: Some(status), detail: code.to_owned() })
    }

    /// A failure below HTTP, or one that says nothing of itself: a write may have happened.
    pub(crate) fn of_transport(kind: Option<HttpErrorKind>) -> Failure {
        let (applied, message, detail) = match kind {
            Some(HttpErrorKind::Connect) => {
                (Applied::No, "the object store cannot be reached", "no connection")
            }
            Some(HttpErrorKind::Timeout) => {
                (Applied::Perhaps, "the object store does not answer in time", "timeout")
            }
            Some(HttpErrorKind::Interrupted | HttpErrorKind::Request) => {
                (Applied::Perhaps, "the connection to the object store was lost", "connection lost")
            }
            Some(HttpErrorKind::Decode) => {
                (Applied::Perhaps, "the answer of the object store cannot be read", "cut or damaged answer")
            }
            _ => (Applied::Perhaps, "the request to the object store failed", "no answer"),
        };
        let cause = Cause { status: None, detail: detail.to_owned() };
        Failure::new(ErrorKind::Unavailable, Verdict::Retry, applied, message, cause)
    }

    /// The chain of credentials did not answer, so that nothing was sent.
    pub(crate) fn without_credentials() -> Failure {
        let cause = Cause { status: None, detail: "the credential chain failed".to_owned() };
        Failure::new(ErrorKind::Unavailable, Verdict::Retry, Applied::No, CHAIN_AWAY, cause)
    }

    /// Whether the service answered at all.
    pub(crate) fn was_answered(&self) -> bool {
        self.cause.status.is_some()
    }

    /// A create-only put that met another request for the same key, which left nothing behind.
    pub(crate) fn raced() -> Failure {
        let cause = Cause { status: None, detail: "the object exists and does not".to_owned() };
        Failure::new(
            ErrorKind::Conflict,
            Verdict::Retry,
            Applied::No,
            "another request for the same object was under way",
            cause,
        )
    }

    /// No answer within the time of one attempt.
    pub(crate) fn timed_out() -> Failure {
        let cause = Cause { status: None, detail: "no answer in time".to_owned() };
        let text = "the object store does not answer in time";
        Failure::new(ErrorKind::Unavailable, Verdict::Retry, Applied::Perhaps, text, cause)
    }

    /// As the shared error about `object`.
    pub(crate) fn into_error(self, object: &str) -> Error {
        let error = match self.field {
            Some(field) => Error::invalid(field, self.message),
            None => Error::new(self.kind, self.message),
        };
        error.on(object).because(self.cause)
    }
}

/// The error of a read, or of a write that did not happen, whose attempts ended.
pub(crate) fn exhausted(failed: Exhausted<Failure>, object: &str) -> Error {
    match (failed.reason, failed.last) {
        (GaveUp::Deadline, _) => {
            Error::new(ErrorKind::DeadlineExceeded, "the deadline passed before the object store answered")
                .on(object)
        }
        (_, Some(Attempt::Failed(failure))) => failure.into_error(object),
        (_, Some(Attempt::TimedOut) | None) => {
            Error::new(ErrorKind::Unavailable, "the object store does not answer in time").on(object)
        }
    }
}

/// The one mapping of `object_store`'s errors; the table is this module's.
pub(crate) fn diagnose(error: &object_store::Error) -> Failure {
    use Applied::No;
    use Verdict::Stop;
    let (status, code) = answer(error);
    let cause = |detail: &str| Cause { status, detail: detail.to_owned() };
    match error {
        _ if status.is_some() => of_status(status.unwrap_or_default(), code, cause(code)),
        object_store::Error::NotFound { .. } => {
            Failure::new(ErrorKind::NotFound, Stop, No, "the object does not exist", cause("not found"))
        }
        object_store::Error::AlreadyExists { .. }
        | object_store::Error::Precondition { .. }
        | object_store::Error::NotModified { .. } => Failure::new(
            ErrorKind::Conflict,
            Stop,
            No,
            "another writer was first",
            cause("precondition failed"),
        ),
        object_store::Error::PermissionDenied { .. } => denied(cause("permission denied")),
        object_store::Error::Unauthenticated { .. } => missing_credentials(cause("no credentials")),
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
            Failure::new(
                ErrorKind::Unsupported,
                Stop,
                No,
                "the object store cannot do that",
                cause("not supported"),
            )
        }
        object_store::Error::InvalidPath { .. } | object_store::Error::UnknownConfigurationKey { .. } => {
            Failure::new(
                ErrorKind::Internal,
                Stop,
                No,
                "a request that cannot be sent",
                cause("no valid request"),
            )
        }
        _ if redirected(error) => other_region(cause("redirect")),
        _ => of_transport(error),
    }
}

/// Whether what is not found is the bucket itself.
pub(crate) fn names_no_bucket(error: &object_store::Error) -> bool {
    matches!(answer(error), (Some(_), "NoSuchBucket"))
}

/// A failure below HTTP.
fn of_transport(error: &object_store::Error) -> Failure {
    if chain(error).any(|error| error.is::<CredentialsUnavailable>()) {
        return Failure::without_credentials();
    }
    let http = chain(error).find_map(|error| error.downcast_ref::<HttpError>());
    Failure::of_transport(http.map(HttpError::kind))
}

fn of_status(status: u16, code: &str, cause: Cause) -> Failure {
    use Applied::{No, Perhaps};
    use ErrorKind::{Busy, Conflict, Internal, NotFound, Unavailable, Unsupported};
    use Verdict::{Retry, Stop};
    let failure =
        |kind, verdict, applied, message| Failure::new(kind, verdict, applied, message, cause.clone());
    match (status, code) {
        // "The bucket you are attempting to access must be addressed using the specified endpoint"
        (301 | 307, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => other_region(cause),
        (404, "NoSuchBucket") => failure(NotFound, Stop, No, "the bucket does not exist"),
        (404, _) => failure(NotFound, Stop, No, "the object does not exist"),
        (304 | 412, _) => failure(Conflict, Stop, No, "another writer was first"),
        // "a conflicting operation occurs during the upload … clients should retry"
        (409, _) => failure(Conflict, Retry, No, "another request for the same object was under way"),
        // "The provided token has expired"
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
            failure(Unavailable, Stop, No, "the credentials have expired, renew them")
        }
        // "The difference between the request time and the server's time is too large"
        (_, "RequestTimeTooSkewed") => {
            failure(Unavailable, Stop, No, "this machine's clock is wrong, set it")
        }
        // "Your socket connection to the server was not read from or written to within the timeout period"
        (408, _) | (_, "RequestTimeout") => {
            failure(Unavailable, Retry, No, "the object store did not get the request in time")
        }
        // "Reduce your request rate"
        (429, _) | (_, "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            failure(Busy, Retry, No, "the object store asks to slow down")
        }
        (401 | 403, _) => denied(cause),
        (405 | 501, _) => failure(Unsupported, Stop, No, "the object store cannot do that"),
        (400..=499, _) => failure(Internal, Stop, No, "the object store refuses the request"),
        // "We encountered an internal error. Please try again": it does not say how far the write had come
        _ => failure(Unavailable, Retry, Perhaps, "the object store failed"),
    }
}

fn denied(cause: Cause) -> Failure {
    let message = "no permission for the bucket, check the credentials and the policy";
    Failure::new(ErrorKind::ReadOnly, Verdict::Stop, Applied::No, message, cause)
}

/// What is said where the chain failed, and may answer the next time.
pub(crate) const CHAIN_AWAY: &str = "the standard chain gives no credentials for AWS";
/// What is said where the chain has nothing that could give any.
pub(crate) const NO_CREDENTIALS: &str =
    "there are no credentials for AWS: set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the machine a role";

fn missing_credentials(cause: Cause) -> Failure {
    Failure::new(ErrorKind::ReadOnly, Verdict::Stop, Applied::No, NO_CREDENTIALS, cause)
}

fn other_region(cause: Cause) -> Failure {
    let message = "the bucket lies in another region or is served by another endpoint";
    let failure = Failure::new(ErrorKind::Invalid, Verdict::Stop, Applied::No, message, cause);
    Failure { field: Some("region"), ..failure }
}

/// The credential chain did not answer, as far as it may be told.
#[derive(Debug)]
pub(crate) struct CredentialsUnavailable;

impl fmt::Display for CredentialsUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the credential chain failed")
    }
}

impl StdError for CredentialsUnavailable {}

/// The error and its causes.
pub(crate) fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| (*error).source())
}

/// Whether the chain of credentials has nothing that could give any, rather than being away for a while.
pub(crate) fn has_no_credentials(failure: &CredentialsError) -> bool {
    matches!(failure, CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
}

fn redirected(error: &object_store::Error) -> bool {
    chain(error).any(|error| error.to_string().starts_with(REDIRECT_TEXT))
}

/// The status and S3's code of an answer, where there was one.
fn answer(error: &object_store::Error) -> (Option<u16>, &'static str) {
    let Some(text) = chain(error).map(ToString::to_string).find(|text| text.starts_with(STATUS_TEXT)) else {
        return (None, "");
    };
    let status = text[STATUS_TEXT.len()..].get(..3).and_then(|digits| digits.parse().ok());
    (status, known_code(&text))
}

/// The code of an answer's body, if it is a known one.
fn known_code(text: &str) -> &'static str {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or("", |(code, _)| known(code))
}

/// The code itself, if it is a known one: nothing else of an answer is shown.
fn known(code: &str) -> &'static str {
    const KNOWN: [&str; 27] = [
        "AccessDenied",
        "AuthorizationHeaderMalformed",
        "BadDigest",
        "BucketNotEmpty",
        "ConditionalRequestConflict",
        "EntityTooLarge",
        "ExpiredToken",
        "ExpiredTokenException",
        "IllegalLocationConstraintException",
        "InternalError",
        "InvalidAccessKeyId",
        "InvalidLocationConstraint",
        "MalformedPolicy",
        "NoSuchBucket",
        "NoSuchKey",
        "OperationAborted",
        "PermanentRedirect",
        "RequestLimitExceeded",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "ServiceUnavailable",
        "SignatureDoesNotMatch",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TokenRefreshRequired",
        "TooManyBuckets",
    ];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as `object_store` makes it of an answer.
    #[derive(Debug)]
    struct Text(String);

    impl fmt::Display for Text {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl StdError for Text {}

    fn generic(source: impl StdError + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: Box::new(source) }
    }

    fn answered(status: u16, code: &str) -> object_store::Error {
        let body = format!("<Error><Code>{code}</Code><Message>hunter2</Message></Error>");
        generic(Text(format!("{STATUS_TEXT}{status} Reason: {body}")))
    }

    fn transport(kind: HttpErrorKind) -> object_store::Error {
        generic(HttpError::new(kind, Text("hunter2".into())))
    }

    #[test]
    fn every_row_of_the_table_is_so() {
        use Applied::{No, Perhaps};
        use ErrorKind::{Busy, Conflict, Internal, Invalid, NotFound, ReadOnly, Unavailable, Unsupported};
        use Verdict::{Retry, Stop};
        let missing = || Box::new(Text("missing".into()));
        let path = String::new;
        let cases = [
            (transport(HttpErrorKind::Connect), Unavailable, Retry, No),
            (transport(HttpErrorKind::Timeout), Unavailable, Retry, Perhaps),
            (transport(HttpErrorKind::Interrupted), Unavailable, Retry, Perhaps),
            (transport(HttpErrorKind::Request), Unavailable, Retry, Perhaps),
            (transport(HttpErrorKind::Decode), Unavailable, Retry, Perhaps),
            (transport(HttpErrorKind::Unknown), Unavailable, Retry, Perhaps),
            (generic(Text("anything".into())), Unavailable, Retry, Perhaps),
            (generic(CredentialsUnavailable), Unavailable, Retry, No),
            (
                object_store::Error::Unauthenticated {
                    path: path(),
                    source: Box::new(CredentialsUnavailable),
                },
                ReadOnly,
                Stop,
                No,
            ),
            (answered(404, "NoSuchKey"), NotFound, Stop, No),
            (answered(404, "NoSuchBucket"), NotFound, Stop, No),
            (answered(412, "PreconditionFailed"), Conflict, Stop, No),
            (answered(304, ""), Conflict, Stop, No),
            (answered(409, "ConditionalRequestConflict"), Conflict, Retry, No),
            (answered(409, "OperationAborted"), Conflict, Retry, No),
            (answered(400, "ExpiredToken"), Unavailable, Stop, No),
            (answered(400, "TokenRefreshRequired"), Unavailable, Stop, No),
            (answered(403, "RequestTimeTooSkewed"), Unavailable, Stop, No),
            (answered(403, "AccessDenied"), ReadOnly, Stop, No),
            (answered(403, "SignatureDoesNotMatch"), ReadOnly, Stop, No),
            (answered(401, ""), ReadOnly, Stop, No),
            (answered(301, "PermanentRedirect"), Invalid, Stop, No),
            (answered(307, ""), Invalid, Stop, No),
            (answered(400, "AuthorizationHeaderMalformed"), Invalid, Stop, No),
            (generic(Text(format!("{REDIRECT_TEXT}, this"))), Invalid, Stop, No),
            (answered(400, "RequestTimeout"), Unavailable, Retry, No),
            (answered(408, ""), Unavailable, Retry, No),
            (answered(503, "SlowDown"), Busy, Retry, No),
            (answered(429, ""), Busy, Retry, No),
            (answered(501, "NotImplemented"), Unsupported, Stop, No),
            (answered(405, "MethodNotAllowed"), Unsupported, Stop, No),
            (answered(400, "InvalidArgument"), Internal, Stop, No),
            (answered(500, "InternalError"), Unavailable, Retry, Perhaps),
            (answered(502, ""), Unavailable, Retry, Perhaps),
            (answered(503, "ServiceUnavailable"), Unavailable, Retry, Perhaps),
            (answered(504, ""), Unavailable, Retry, Perhaps),
            // As the store in memory answers, without a status.
            (object_store::Error::NotFound { path: path(), source: missing() }, NotFound, Stop, No),
            (object_store::Error::AlreadyExists { path: path(), source: missing() }, Conflict, Stop, No),
            (object_store::Error::Precondition { path: path(), source: missing() }, Conflict, Stop, No),
            (object_store::Error::PermissionDenied { path: path(), source: missing() }, ReadOnly, Stop, No),
            (object_store::Error::NotSupported { source: missing() }, Unsupported, Stop, No),
        ];
        for (error, kind, verdict, applied) in cases {
            let failure = diagnose(&error);
            assert_eq!(
                (failure.kind, failure.verdict, failure.applied),
                (kind, verdict, applied),
                "{error:?}"
            );
            let shared = failure.into_error("the object");
            assert_eq!((shared.kind(), shared.object()), (kind, Some("the object")));
            let shown = format!("{shared} {shared:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn only_codes_that_are_known_are_shown() {
        assert_eq!(known_code("<Code>SlowDown</Code>"), "SlowDown");
        for text in ["", "<Code>", "<Code></Code>", "<Code>hunter2</Code>", "</Code><Code>"] {
            assert_eq!(known_code(text), "", "{text}");
        }
    }
}
