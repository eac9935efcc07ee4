//! Exit codes: one number for each thing that a script can act on, in the spirit of `sysexits.h`.

use recstore::ErrorKind;

/// The table of exit codes, as `--help` shows it.
pub const EXIT_CODES: &str = "\
Exit codes:
   0  done; unknown ids are answered as missing
   1  a defect in this program
   2  the command line is wrong
  10  a pipeline run found nothing new; only with --fail-on-nothing-new
  65  the input data, or a value given, is refused; a release failed its checks
  66  the input file, or the thing named, does not exist or cannot be read
  69  the store is busy or does not answer
  73  a file cannot be created, or the disk is full
  74  reading or writing failed
  75  the outcome is not known, or time ran out: run the same command again
  76  the store is damaged, of a newer version, or no store at all
  77  no permission to read or write the store's files
  78  the configuration is wrong, or this build cannot do it
 130  interrupted; what was acknowledged is stored";

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// A defect in this program.
    Internal = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A pipeline run found nothing new, and was asked to tell.
    NothingNew = 10,
    /// The input data, or a value given, is refused; a release failed its checks.
    Data = 65,
    /// The input file, or the thing named, does not exist or cannot be read.
    NoInput = 66,
    /// The store is busy or does not answer.
    Unavailable = 69,
    /// A file cannot be created, or the disk is full.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// The outcome is not known, or time ran out: the same command again resolves it.
    TryAgain = 75,
    /// The store is damaged, of a newer version, or no store at all.
    BadStore = 76,
    /// No permission to read or write the store's files.
    ReadOnly = 77,
    /// The configuration is wrong, or this build cannot do it.
    Config = 78,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The code for what a store call failed with.
    pub fn of(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Invalid | ErrorKind::Conflict => Exit::Data,
            ErrorKind::NotFound => Exit::NoInput,
            ErrorKind::Unsupported => Exit::Config,
            ErrorKind::SchemaVersion | ErrorKind::Corrupt => Exit::BadStore,
            ErrorKind::ReadOnly => Exit::ReadOnly,
            ErrorKind::Full => Exit::CannotCreate,
            ErrorKind::Busy | ErrorKind::Unavailable => Exit::Unavailable,
            ErrorKind::DeadlineExceeded | ErrorKind::OutcomeUnknown => Exit::TryAgain,
            // `Closed` cannot be reached by a command, and a kind that is not known here is a defect too.
            _ => Exit::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        for (kind, code) in [
            (ErrorKind::Invalid, 65),
            (ErrorKind::NotFound, 66),
            (ErrorKind::Conflict, 65),
            (ErrorKind::Unsupported, 78),
            (ErrorKind::SchemaVersion, 76),
            (ErrorKind::ReadOnly, 77),
            (ErrorKind::Full, 73),
            (ErrorKind::Busy, 69),
            (ErrorKind::Unavailable, 69),
            (ErrorKind::DeadlineExceeded, 75),
            (ErrorKind::OutcomeUnknown, 75),
            (ErrorKind::Corrupt, 76),
            (ErrorKind::Closed, 1),
            (ErrorKind::Internal, 1),
        ] {
            assert_eq!(Exit::of(kind).code(), code, "{kind}");
        }
    }

    #[test]
    fn the_help_names_every_code() {
        use Exit::*;
        for exit in [
            Done,
            Internal,
            Usage,
            NothingNew,
            Data,
            NoInput,
            Unavailable,
            CannotCreate,
            Io,
            TryAgain,
            BadStore,
            ReadOnly,
            Config,
            Interrupted,
        ] {
            let row = format!("\n{:>4}  ", exit.code());
            assert!(EXIT_CODES.contains(&row), "{exit:?}");
        }
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../README.md");
        for row in EXIT_CODES.lines().skip(1) {
            let (code, meaning) = row.trim().split_once("  ").unwrap();
            assert!(readme.contains(&format!("| {code} | {meaning} |")), "{row}");
        }
    }
}
