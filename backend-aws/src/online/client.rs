//! An SDK client for DynamoDB: credentials from the standard chain and nowhere else, every timeout set, TLS by
//! rustls with ring, no retries: one layer retries, and that is above.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use recstore_core::{Error, Result};

/// Where the service is and how long it may take. No secret is part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// The region; by default that of the environment or the profile.
    pub region: Option<String>,
    /// The address of a DynamoDB-compatible server; by default the service's own.
    pub endpoint_url: Option<String>,
    /// The longest that connecting may take; 1 second by default.
    pub connect_timeout: Duration,
    /// The longest until the first byte of an answer; 2 seconds by default.
    pub read_timeout: Duration,
    /// The longest that a whole request may take; 5 seconds by default.
    pub request_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            region: None,
            endpoint_url: None,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// A client by these options; nothing is sent yet.
///
/// # Errors
/// `Invalid` (field `aws.region`) if no region is given and neither environment nor profile has one.
pub async fn connect(options: &ClientOptions) -> Result<Client> {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .operation_attempt_timeout(options.request_timeout)
        .operation_timeout(options.request_timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let mut config = loader.load().await;
    if config.region().is_none() {
        return Err(Error::invalid(
            "aws.region",
            "no region is configured, nor set in AWS_REGION or the profile",
        ));
    }
    if let Some(endpoint) = &options.endpoint_url {
        config = config.into_builder().endpoint_url(endpoint).build();
    }
    Ok(Client::new(&config))
}
