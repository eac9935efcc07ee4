//! Set-up over real HTTP, on the servers of `test-cloud` or on those that `AWS_ENDPOINT_URL_S3` and
//! `AWS_ENDPOINT_URL_DYNAMODB` give; and the probe on object stores that break their word.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | `support` | parts that all tests use |
//! | `plans` | what is missing is found and made, what others have set is left |
//! | `probing` | stores that ignore conditions are refused |
//! | `doctoring` | what the doctor finds |
//! | `permissions` | what is sent is what the policies permit |
//! | `removing` | teardown |
//! | `secrets` | none is shown |

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "setup/doctoring.rs"]
mod doctoring;
#[path = "setup/permissions.rs"]
mod permissions;
#[path = "setup/plans.rs"]
mod plans;
#[path = "setup/probing.rs"]
mod probing;
#[path = "setup/removing.rs"]
mod removing;
#[path = "setup/secrets.rs"]
mod secrets;
#[path = "setup/support.rs"]
mod support;
