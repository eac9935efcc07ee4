//! The one error type of every store: few kinds, each of which tells the caller what to do.
//!
//! A backend maps its own failures onto a kind once, in its `error.rs`, and keeps the original as the
//! source. Texts are short and lower-case; what failed and on which object stands in the message, and the
//! names that programs need (`field`, `object`) are fields of their own.

use std::error::Error as StdError;
use std::fmt;

/// Shorthand for results of store calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong, in terms of what the caller can do about it.
///
/// | kind | was anything stored | what to do |
/// | --- | --- | --- |
/// | `Invalid` | no | correct the input; the error names the field |
/// | `NotFound` | no | name something that exists |
/// | `Conflict` | no | read the present state and decide again |
/// | `Unsupported` | no | use another mode, build or option |
/// | `SchemaVersion` | no | upgrade the program or migrate the store |
/// | `ReadOnly` | no | open the store for writing |
/// | `Full` | no | free space, then retry the same call |
/// | `Busy` | no | retry the same call later |
/// | `Unavailable` | no | retry the same call later |
/// | `DeadlineExceeded` | no | retry the same call, with more time |
/// | `OutcomeUnknown` | perhaps | retry the *same* events: they count once |
/// | `Corrupt` | no | restore the object that is named |
/// | `Closed` | no | open the store again |
/// | `Internal` | no | report it |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input breaks a documented rule.
    Invalid,
    /// The named thing (release, feature group, file) does not exist.
    NotFound,
    /// The state is not the one the call was made for, another writer was first.
    Conflict,
    /// This backend or build cannot do that.
    Unsupported,
    /// The stored form is newer (or older) than this program can use.
    SchemaVersion,
    /// The store was opened, or lies on a medium, that takes no writes.
    ReadOnly,
    /// Disk, quota or backlog is full.
    Full,
    /// Another holder of a lock did not let go in time.
    Busy,
    /// A dependency does not answer.
    Unavailable,
    /// The caller's deadline passed before the call took effect.
    DeadlineExceeded,
    /// A write may or may not have taken effect.
    OutcomeUnknown,
    /// Stored bytes are damaged or not what they should be.
    Corrupt,
    /// The store was closed.
    Closed,
    /// A defect in this library.
    Internal,
}

/// Whether, and how, repeating a failed call can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// The same call may succeed later; nothing was stored.
    Later,
    /// The call may have taken effect: repeat it with the same events to find out, which is harmless.
    SameEvents,
}

impl ErrorKind {
    /// Whether repeating the call can help.
    pub fn retry(self) -> Retry {
        match self {
            ErrorKind::Full | ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => {
                Retry::Later
            }
            ErrorKind::OutcomeUnknown => Retry::SameEvents,
            _ => Retry::Never,
        }
    }

    /// The kind's stable name, for logs and machines: `invalid`, `not_found`, …
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::SchemaVersion => "schema_version",
            ErrorKind::ReadOnly => "read_only",
            ErrorKind::Full => "full",
            ErrorKind::Busy => "busy",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::DeadlineExceeded => "deadline_exceeded",
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Closed => "closed",
            ErrorKind::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of every store call.
///
/// `Display` prints what happened and to which object; the cause, if any, is the [`source`](StdError::source).
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    field: Option<String>,
    object: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` that says `message` (short, lower-case, no full stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), field: None, object: None, source: None }))
    }

    /// Input that breaks a rule: `field` is the path of the value, such as `rated_at` or `events[3].value`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
        let mut error = Error::new(ErrorKind::Invalid, message);
        error.0.field = Some(field.into());
        error
    }

    /// Puts `prefix` before the field's path: `rated_at` becomes `events[3].rated_at`.
    #[must_use]
    pub fn in_field(mut self, prefix: impl fmt::Display) -> Error {
        self.0.field = Some(match self.0.field.take() {
            Some(field) => format!("{prefix}.{field}"),
            None => prefix.to_string(),
        });
        self
    }

    /// Names the object (file, release, table) that the call was about.
    #[must_use]
    pub fn on(mut self, object: impl Into<String>) -> Error {
        self.0.object = Some(object.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        self.0.kind.retry()
    }

    /// What happened, without the field and the object.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The path of the offending value, for [`ErrorKind::Invalid`].
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The object the call was about, where one was named.
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(field) = &inner.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(object) = &inner.object {
            write!(f, " ({object})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_field_message_and_object() {
        let error = Error::invalid("value", "is not a number").in_field("events[3]").on("ratings.csv");
        assert_eq!(error.to_string(), "events[3].value: is not a number (ratings.csv)");
        assert_eq!(error.field(), Some("events[3].value"));
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn an_unknown_outcome_asks_for_the_same_events() {
        assert_eq!(ErrorKind::OutcomeUnknown.retry(), Retry::SameEvents);
        assert_eq!(ErrorKind::Busy.retry(), Retry::Later);
    }
}
