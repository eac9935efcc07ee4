//! An empty folder to run the binary in, and what came out of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any command takes on a loaded machine; a test that hangs fails.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Five ratings of three users.
pub(crate) const RATINGS: &str = "userId,movieId,rating,timestamp\n\
    1,10,4.0,1000000001\n1,20,2.0,1000000002\n2,10,5.0,1000000003\n2,20,1.0,1000000004\n3,10,3.0,1000000005\n";

/// A folder of its own.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// An empty folder.
    pub(crate) fn empty() -> Sandbox {
        Sandbox { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with the default configuration.
    pub(crate) fn new() -> Sandbox {
        let sandbox = Sandbox::empty();
        sandbox.run(["init"]).expect(0);
        sandbox
    }

    /// A folder with a store of [`RATINGS`].
    pub(crate) fn filled() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("ratings.csv", RATINGS);
        sandbox.run(["import", "ratings.csv"]).expect(0);
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The lines of a report of bad rows.
    pub(crate) fn report(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs the binary with this on stdin.
    pub(crate) fn run_with<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        stdin: impl AsRef<[u8]>,
    ) -> Ran {
        let mut command = Command::from_std(binary(self.folder.path()));
        let output = command.args(arguments).write_stdin(stdin.as_ref()).timeout(TIMEOUT).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs with `--json` and gives the document, which is all there is on stdout.
    pub(crate) fn json<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Value {
        let ran = self.run(arguments.into_iter().chain(["--json"]));
        ran.expect(0).document()
    }

    /// How many ratings are stored.
    pub(crate) fn count(&self) -> u64 {
        self.json(["stats"])["ratings"].as_u64().unwrap()
    }
}

/// The binary in a folder, free of what the caller's environment says.
pub(crate) fn binary(folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_recstore"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RECSTORE_") {
            command.env_remove(name);
        }
    }
    command
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Ran {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asks for this text on stderr.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Ran {
        assert!(self.stderr.contains(text), "{text:?} is not in stderr: {}", self.stderr);
        self
    }

    /// Asks for this text on stdout.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) -> &Ran {
        assert!(self.stdout.contains(text), "{text:?} is not in stdout: {}", self.stdout);
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}
