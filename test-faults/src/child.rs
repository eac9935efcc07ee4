//! A test in a process of its own, which can be killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A process that runs one test of the same program, and what it prints.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    /// Runs the test `name` of this program once more, with this environment variable to tell it that it is
    /// the child.
    ///
    /// # Panics
    /// If the process cannot be started.
    pub fn run(name: &str, variable: &str, value: impl AsRef<OsStr>) -> Process {
        let program = std::env::current_exe().expect("the program's own path");
        let mut child = Command::new(program)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(variable, value)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        Process { child, lines }
    }

    /// Waits until it prints this line.
    ///
    /// # Panics
    /// If it ends before.
    pub fn wait_for(&mut self, line: &str) {
        let mut found = String::new();
        while found.trim() != line {
            found.clear();
            let length = self.lines.read_line(&mut found).expect("lines of text");
            assert!(length > 0, "the process ended before it printed {line:?}");
        }
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// If it cannot be asked.
    pub fn terminate(&self) {
        let asked = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        assert!(asked.expect("there is a shell").success(), "the process has ended");
    }

    /// Kills it (SIGKILL), and returns the lines that it had printed since.
    ///
    /// # Panics
    /// If it had ended by itself.
    pub fn kill(mut self) -> Vec<String> {
        assert!(self.child.try_wait().expect("its state").is_none(), "the process ended by itself");
        self.child.kill().expect("it can be killed");
        self.end().1
    }

    /// Waits for its end; whether its test passed, and the lines that it had printed since.
    ///
    /// # Panics
    /// If its output is no text.
    pub fn end(mut self) -> (bool, Vec<String>) {
        let lines = self.lines.lines().collect::<Result<_, _>>().expect("lines of text");
        (self.child.wait().expect("it can be waited for").success(), lines)
    }
}
