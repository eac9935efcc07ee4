//! The program in `test-servers`: built where it is not, started, and ended with what started it.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The first line that the program prints: ports of loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// S3, without a proxy before it.
    pub s3: u16,
    /// DynamoDB, without a proxy before it.
    pub dynamodb: u16,
    /// Where proxies are opened and get their orders.
    pub control: u16,
}

/// The program while it runs.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    /// The program ends when this is closed, which the system does however this process ends.
    stdin: Option<ChildStdin>,
    pub(crate) ports: Ports,
}

impl Program {
    /// Builds the program where it is not up to date, and starts it.
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(build()?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        Ok(Self { child, stdin, ports: serde_json::from_str(&line)? })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It has ended in either case.
        let _ = self.child.wait();
    }
}

/// Builds the program in release mode, in a folder of its own below the workspace's `target`. Cargo's own lock makes
/// all but the first of those who build at the same time wait.
fn build() -> io::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or(io::ErrorKind::NotFound)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = workspace.join(target).join("test-servers");
    let manifest = workspace.join("test-servers").join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(&target).current_dir(workspace).stdin(Stdio::null());
    // They say nothing about the program, and would have it built once more where they change.
    command.env_remove("AWS_ENDPOINT_URL_S3").env_remove("AWS_ENDPOINT_URL_DYNAMODB");
    if !command.status()?.success() {
        return Err(io::Error::other("the test servers do not build; cargo says why above"));
    }
    let name = format!("recstore-test-servers{}", std::env::consts::EXE_SUFFIX);
    Ok(target.join("release").join(name))
}
