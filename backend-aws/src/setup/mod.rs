//! Set-up: makes the bucket and the tables, and says who may do what with them.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`plan`] | what is missing, as data, and doing exactly that |
//! | [`settings`] | what a bucket should be set to, and how what is set stands to it |
//! | `bucket` | requests about the bucket |
//! | `s3` | the SDK client for these, and what its failures mean |
//! | [`probe`] | whether a store honours the conditions of writes |
//! | [`roles`] | who makes which call: the one table |
//! | [`policy`] | least-privilege policies from that table |
//! | [`doctor`] | whether credentials, region, services, permissions and clock are well |
//! | `teardown` | removing what set-up made |
//!
//! Nothing that somebody else has set is ever overwritten.

mod bucket;
pub mod doctor;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod roles;
mod s3;
pub mod settings;
mod teardown;

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use recstore_core::{Deadline, Error, Result};

use crate::clients::AwsEnvironment;
use crate::config::AwsConfig;
use crate::lake::keys::LakePrefix;
use crate::lake::store::LakeStore;
use crate::online::client;
use crate::online::sdk::SdkCalls;
use crate::online::tables::{TableNames, Tables};
use crate::retry::RetryPolicy;
use bucket::Bucket;

pub use teardown::{Confirmation, Removed};

/// The bucket and the tables of one configuration.
#[derive(Clone)]
pub struct Setup {
    environment: AwsEnvironment,
    bucket: Bucket,
    objects: Arc<dyn ObjectStore>,
    lake: LakeStore,
    prefix: LakePrefix,
    calls: SdkCalls,
    names: TableNames,
    table_prefix: String,
    table_policy: Arc<RetryPolicy>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("bucket", &self.bucket)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Setup {
    /// The bucket and the tables of `config`; `jitter_seed` decides the waits between attempts. Nothing is sent.
    ///
    /// # Errors
    /// `Invalid` that names the setting; `region` where neither the settings nor the chain name one.
    pub fn new(environment: &AwsEnvironment, config: &AwsConfig, jitter_seed: u64) -> Result<Setup> {
        let s3 = s3::client(environment, config)?;
        let (region, endpoint) = environment.s3_place(config)?;
        let prefix = LakePrefix::new(&config.s3.prefix).map_err(|error| error.in_field("s3"))?;
        let policy = |timeout| Arc::new(RetryPolicy::new(config.retry, timeout, jitter_seed));
        let bucket = Bucket {
            client: s3,
            name: config.s3.bucket.clone(),
            region,
            lake: prefix.begins_keys(),
            plain_http: config.allow_http && endpoint.is_some_and(|url| url.starts_with("http://")),
            policy: policy(config.s3.request_timeout),
        };
        let names =
            TableNames::new(&config.dynamodb.table_prefix).map_err(|error| error.in_field("dynamodb"))?;
        Ok(Setup {
            environment: environment.clone(),
            bucket,
            objects: environment.bucket(config)?,
            lake: environment.lake(config, jitter_seed)?,
            prefix,
            calls: SdkCalls::new(client::client(environment.sdk(), config)?),
            names,
            table_prefix: config.dynamodb.table_prefix.clone(),
            table_policy: policy(config.dynamodb.request_timeout),
        })
    }

    /// Whether the store honours the conditions of writes, tried with an object of its own that is removed again;
    /// `nonce` makes its key a fresh one.
    ///
    /// # Errors
    /// As [`probe::conditional_writes`].
    pub async fn probe(&self, nonce: u128, deadline: Deadline) -> Result<()> {
        let store = self.objects.as_ref();
        probe::conditional_writes(store, &self.prefix, &self.bucket.policy, nonce, deadline).await
    }

    /// What the policies of roles are about. `account` is the number of the AWS account, if it is known: without it
    /// the policies are about tables of these names in any account.
    ///
    /// # Errors
    /// `Invalid` (field `account`) if it is no number of 12 digits.
    pub fn scope(&self, account: Option<&str>) -> Result<policy::Scope> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(account) = account.filter(|text| !is_account(text)) {
            return Err(Error::invalid("account", format!("{account:?} is no number of 12 digits")));
        }
        Ok(policy::Scope {
            bucket: self.bucket.name.clone(),
            prefix: self.prefix.clone(),
            tables: self.names.clone(),
            region: self.bucket.region.clone(),
            account: account.unwrap_or("*").to_owned(),
        })
    }

    fn tables(&self) -> Tables<'_> {
        Tables::new(&self.calls, &self.names, &self.table_policy)
    }
}
