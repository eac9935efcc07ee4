//! The servers that the tests of a process share.

use crate::Proxy;
use crate::http::Control;
use crate::launch::Program;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// An S3 and a DynamoDB, empty when they start unless they are others' servers.
///
/// Tests of one process share them, so each makes buckets and tables of its own: see [`unique_name`](Self::unique_name).
#[derive(Debug)]
pub struct Cloud {
    s3_endpoint: String,
    dynamodb_endpoint: String,
    program: Option<Program>,
}

/// A key that may sign requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
}

impl Cloud {
    /// The servers of this process, started when this is called first. They end with the process.
    ///
    /// Blocks while the program is built, which takes minutes the first time on a machine.
    ///
    /// # Errors
    ///
    /// Where the program cannot be built or started, or only one of the two endpoints is given. Another call tries
    /// again.
    pub fn get() -> io::Result<&'static Self> {
        static CLOUD: OnceLock<Cloud> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cloud) = CLOUD.get() {
            return Ok(cloud);
        }
        let cloud = Self::of_the_environment()?;
        Ok(CLOUD.get_or_init(|| cloud))
    }

    fn of_the_environment() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("AWS_ENDPOINT_URL_S3"), variable("AWS_ENDPOINT_URL_DYNAMODB")) {
            (Some(s3_endpoint), Some(dynamodb_endpoint)) => {
                Ok(Self { s3_endpoint, dynamodb_endpoint, program: None })
            }
            (None, None) => Self::start(),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "set both AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_DYNAMODB, or neither",
            )),
        }
    }

    /// Servers of one's own, which end when this is dropped, whatever the environment says.
    ///
    /// # Errors
    ///
    /// Where the program cannot be built or started.
    pub fn start() -> io::Result<Self> {
        let program = Program::start()?;
        Ok(Self {
            s3_endpoint: endpoint(program.ports.s3),
            dynamodb_endpoint: endpoint(program.ports.dynamodb),
            program: Some(program),
        })
    }

    /// The URL of S3, with buckets in the path.
    pub fn s3_endpoint(&self) -> &str {
        &self.s3_endpoint
    }

    /// The URL of DynamoDB.
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.dynamodb_endpoint
    }

    /// What requests are signed with: those of the environment for servers that it gives, otherwise `test` and `test`.
    pub fn credentials(&self) -> Credentials {
        let variable = |name| std::env::var(name).ok().filter(|_| self.program.is_none());
        Credentials {
            access_key: variable("AWS_ACCESS_KEY_ID").unwrap_or_else(|| "test".to_owned()),
            secret_key: variable("AWS_SECRET_ACCESS_KEY").unwrap_or_else(|| "test".to_owned()),
        }
    }

    /// Whether proxies can be had. Not with servers that the environment gives.
    pub fn has_faults(&self) -> bool {
        self.program.is_some()
    }

    /// A way to both servers of the caller's own, with its own rules and counts. Closed when dropped.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the servers are those of the environment.
    pub fn proxy(&self) -> io::Result<Proxy> {
        Proxy::open(self.control()?)
    }

    /// Lets S3 accept these credentials too, such as a secret that a test looks for in logs. (DynamoDB accepts any.)
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the servers are those of the environment.
    pub fn accept(&self, credentials: &Credentials) -> io::Result<()> {
        self.control()?.call("POST", "/credentials", credentials)
    }

    fn control(&self) -> io::Result<Control> {
        let unsupported = || {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "no faults and no counts: the servers are those of AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_DYNAMODB",
            )
        };
        let program = self.program.as_ref().ok_or_else(unsupported)?;
        Ok(Control { port: program.ports.control })
    }

    /// A name for a bucket or a prefix of tables that no other test has, here or on servers that are kept for long:
    /// lower case, digits and hyphens, at most 22 longer than `prefix`.
    pub fn unique_name(&self, prefix: &str) -> String {
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        static PROCESS: OnceLock<u32> = OnceLock::new();
        // Random for each process, as the names of two that run at once must differ.
        let process = PROCESS.get_or_init(|| (RandomState::new().hash_one(0_u8) >> 32) as u32);
        format!("{prefix}-{process:08x}-{}", GIVEN.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
