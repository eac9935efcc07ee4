//! Why a command did not do what it was asked: the exit code, the chain of causes, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use recstore::{Error, ErrorKind};

use crate::exit::Exit;

type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// The result of a command.
pub type Done<T = ()> = Result<T, Failure>;

/// A command that ended early.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    /// `None` where there is nothing to say: the reader of stdout went away.
    error: Option<Cause>,
    hint: Option<String>,
}

impl Failure {
    /// A failure that says `message` (short, lower-case, no full stop).
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, error: Some(Box::new(Message { text: message.into(), cause: None })), hint: None }
    }

    /// A file that could not be used: what was tried, on which file, and the system's reason.
    pub fn file(exit: Exit, action: &str, path: &Path, cause: io::Error) -> Failure {
        let exit = if cause.kind() == io::ErrorKind::StorageFull { Exit::CannotCreate } else { exit };
        Failure::new(exit, format!("cannot {action} {}", path.display())).because(cause)
    }

    /// A failure to write to stdout. A pipe that nobody reads any more is the end, not an error.
    pub fn stdout(cause: io::Error) -> Failure {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Failure { exit: Exit::Done, error: None, hint: None },
            io::ErrorKind::StorageFull => {
                Failure::new(Exit::CannotCreate, "cannot write to stdout").because(cause)
            }
            _ => Failure::new(Exit::Io, "cannot write to stdout").because(cause),
        }
    }

    /// The user stopped the command; `message` says what stands.
    pub fn interrupted(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Interrupted, message)
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Failure {
        let text = self.error.take().map(|error| error.to_string()).unwrap_or_default();
        self.error = Some(Box::new(Message { text, cause: Some(cause.into()) }));
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the process with another code.
    #[must_use]
    pub fn exiting(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The text for stderr, one line for each link of the chain; empty if there is nothing to say.
    pub fn report(&self) -> String {
        let Some(error) = &self.error else { return String::new() };
        let mut text = format!("error: {error}\n");
        let mut last = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let line = error.to_string();
            // Wrappers often repeat what they wrap.
            if !last.contains(&line) {
                text.push_str(&format!("caused by: {line}\n"));
            }
            last = line;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let hint = hint_for(error.kind()).map(str::to_owned);
        Failure { exit: Exit::of(error.kind()), error: Some(Box::new(error)), hint }
    }
}

/// What helps against each kind, where the message itself cannot know it.
fn hint_for(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Busy => Some("others are using the store; try again a little later"),
        ErrorKind::Full => Some("free some space and run the same command again"),
        ErrorKind::OutcomeUnknown | ErrorKind::DeadlineExceeded => {
            Some("run the same command again: what is stored already is not stored twice")
        }
        ErrorKind::SchemaVersion => {
            Some("upgrade this program; of an SQLite store `recstore schema info` tells more")
        }
        ErrorKind::Corrupt => {
            Some("restore it from a copy; if it is no recstore store, name another in the configuration")
        }
        ErrorKind::ReadOnly => Some(
            "check the permissions of the file, its folder and the disk; on AWS, those of the role: \
             `recstore setup aws --policy ROLE` prints what it needs",
        ),
        _ => None,
    }
}

#[derive(Debug)]
struct Message {
    text: String,
    cause: Option<Cause>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Message {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_printed_once_with_the_hint_last() {
        let cause = io::Error::other("the cable is out");
        let error = Error::new(ErrorKind::Busy, "the database is locked").on("a.db").because(cause);
        let failure = Failure::from(error);
        assert_eq!(
            failure.report(),
            "error: the database is locked (a.db)\ncaused by: the cable is out\n\
             hint: others are using the store; try again a little later\n"
        );
        assert_eq!(failure.exit(), Exit::Unavailable);
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let failure = Failure::stdout(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.report()), (Exit::Done, String::new()));
    }
}
