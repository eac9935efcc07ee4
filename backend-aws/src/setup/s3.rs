//! An SDK client for the bucket itself, and what its failures mean. Objects go by `object_store`, as everywhere.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use object_store::client::HttpErrorKind;
use recstore_core::Result;

use crate::clients::AwsEnvironment;
use crate::config::AwsConfig;
use crate::error::Failure;
use crate::online::sdk::was_not_connected;

/// A client by these settings, with every timeout set and retries off. Nothing is sent.
///
/// # Errors
/// `Invalid` that names the setting; `region` where neither the settings nor the chain name one.
pub(super) fn client(environment: &AwsEnvironment, config: &AwsConfig) -> Result<Client> {
    let (region, endpoint) = environment.s3_place(config)?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.s3.connect_timeout)
        .read_timeout(config.s3.request_timeout)
        .operation_attempt_timeout(config.s3.request_timeout)
        .operation_timeout(config.s3.request_timeout)
        .build();
    let mut builder = Builder::from(environment.sdk())
        .region(Region::new(region))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // Older servers do not know the newer checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint).force_path_style(true);
    }
    Ok(Client::from_conf(builder.build()))
}

/// What a failed request means, by the one mapping of [`crate::error`].
pub(super) fn failure<E: ProvideErrorMetadata + StdError + 'static>(
    error: &SdkError<E, HttpResponse>,
) -> Failure {
    match error {
        SdkError::ServiceError(context) => {
            Failure::of_answer(context.raw().status().as_u16(), context.err().code().unwrap_or_default())
        }
        _ if without_credentials(error) => Failure::without_credentials(),
        _ if was_not_connected(error) => Failure::of_transport(Some(HttpErrorKind::Connect)),
        SdkError::TimeoutError(_) => Failure::of_transport(Some(HttpErrorKind::Timeout)),
        SdkError::DispatchFailure(_) => Failure::of_transport(Some(HttpErrorKind::Interrupted)),
        SdkError::ResponseError(_) => Failure::of_transport(Some(HttpErrorKind::Decode)),
        _ => Failure::of_transport(None),
    }
}

/// Whether the chain of credentials is among the causes.
fn without_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<CredentialsError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
