//! Errors to status and JSON.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use recstore::{Error, ErrorKind, Retry};
use serde_json::json;

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    error: Error,
}

impl Failure {
    /// A failure with a status of its own.
    pub(crate) fn new(status: StatusCode, error: Error) -> Failure {
        Failure { status, error }
    }

    /// There is no such thing.
    pub(crate) fn not_found(what: &str) -> Failure {
        Error::new(ErrorKind::NotFound, what).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { status: status_of(error.kind()), error }
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::ReadOnly => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Closed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure { status, error } = self;
        let body = Json(json!({ "error": {
            "kind": error.kind().as_str(),
            "field": error.field(),
            "message": error.message(),
        }}));
        let retry = error.retry();
        if status.is_server_error() {
            // The client gets the message, the log the causes too.
            eprintln!("{status}: {:#}", anyhow::Error::new(error));
        }
        match retry {
            Retry::Never => (status, body).into_response(),
            // Events count once, so repeating a request does no harm.
            Retry::Later | Retry::SameEvents => (status, [(header::RETRY_AFTER, "1")], body).into_response(),
        }
    }
}
