//! S3 and DynamoDB for the tests of this workspace, with faults between them and a client. Never published.
//!
//! [`Cloud::get`] gives the servers that all tests of a process share: it builds and starts the program in
//! `test-servers` when the first test asks, and that program ends with the process. Where `AWS_ENDPOINT_URL_S3` and
//! `AWS_ENDPOINT_URL_DYNAMODB` are set it gives those instead, so that the same tests run on any server.
//!
//! [`Cloud::proxy`] gives a test a way of its own to both servers, which counts requests and does to them what
//! [`Rule`]s order: delays, errors, resets, lost answers, batches done in part.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use recstore_test_cloud::{Action, Cloud, Rule, Side};
//!
//! let proxy = Cloud::get()?.proxy()?;
//! let lost = proxy.add(&Rule::s3(Action::LoseAnswer).operation("PutObject").first(1))?;
//! // A client that speaks to `proxy.s3_endpoint()` puts an object here.
//! assert_eq!(proxy.fired(lost)?, 1);
//! assert_eq!(proxy.counts()?.side(Side::S3).operation("PutObject").requests(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it is responsible for |
//! | --- | --- |
//! | `cloud` | [`Cloud`]: the servers of a process |
//! | `launch` | the program: built, started, ended |
//! | `proxy` | [`Proxy`]: a test's own way to the servers |
//! | `rule` | [`Rule`]: what is done to which requests |
//! | `counts` | [`Counts`]: how many requests were made |
//! | `http` | requests to the program's control port |

mod cloud;
mod counts;
mod http;
mod launch;
mod proxy;
mod rule;

pub use cloud::{Cloud, Credentials};
pub use counts::{Count, Counts};
pub use launch::Ports;
pub use proxy::{Proxy, ProxyPorts, RuleId};
pub use rule::{Action, Answer, Keep, Rule, RuleState, Side, Stage, When};
