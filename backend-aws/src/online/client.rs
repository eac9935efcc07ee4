//! An SDK client for DynamoDB: credentials from the standard chain and nowhere else, every timeout set, TLS by
//! rustls with ring, no retries: one layer retries, and that is above.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_types::service_config::ServiceConfigKey;
use recstore_core::{Error, ErrorKind, Result};

use crate::config::{AwsConfig, check_endpoint};

/// What a server other than AWS's own is signed for where no region is named.
const ANY_REGION: &str = "us-east-1";

/// A client by these settings, over what the standard chain gave
/// ([`AwsEnvironment::sdk`](crate::clients::AwsEnvironment::sdk)). Nothing is sent.
///
/// # Errors
/// `Invalid` that names the setting; `region` where neither the settings nor the chain name one.
pub fn client(environment: &SdkConfig, config: &AwsConfig) -> Result<Client> {
    let endpoint = endpoint(environment, config)?;
    let settings = &config.dynamodb;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .operation_attempt_timeout(settings.request_timeout)
        .operation_timeout(settings.request_timeout)
        .build();
    let mut builder =
        Builder::from(environment).retry_config(RetryConfig::disabled()).timeout_config(timeouts);
    match (environment.region(), endpoint) {
        (Some(_), None) => {}
        (None, None) => {
            return Err(Error::invalid("region", "is missing, and the standard chain names none"));
        }
        (region, Some(endpoint)) => {
            if region.is_none() {
                builder = builder.region(Region::new(ANY_REGION));
            }
            builder = builder.endpoint_url(endpoint);
        }
    }
    Ok(Client::from_conf(builder.build()))
}

/// The endpoint of DynamoDB: the settings', else that of the environment or the profile, else AWS's own.
fn endpoint(environment: &SdkConfig, config: &AwsConfig) -> Result<Option<String>> {
    let (field, endpoint) = match (&config.dynamodb.endpoint_url, &config.endpoint_url) {
        (Some(endpoint), _) => ("dynamodb.endpoint_url", Some(endpoint.clone())),
        (None, Some(endpoint)) => ("endpoint_url", Some(endpoint.clone())),
        (None, None) => {
            let key = ServiceConfigKey::builder()
                .service_id("dynamodb")
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url")
                .build()
                .map_err(|cause| {
                    Error::new(ErrorKind::Internal, "no key of a service's settings").because(cause)
                })?;
            let of_service = environment.service_config().and_then(|service| service.load_config(key));
            ("endpoint_url", of_service.or_else(|| environment.endpoint_url().map(str::to_owned)))
        }
    };
    if let Some(endpoint) = &endpoint {
        check_endpoint(field, endpoint, config.allow_http)?;
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";

    fn environment(region: Option<&'static str>) -> SdkConfig {
        let credentials = Credentials::new("AKID", SECRET, Some("session".to_owned()), None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.map(Region::new))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    fn with_endpoint(endpoint: &str) -> AwsConfig {
        AwsConfig { endpoint_url: Some(endpoint.to_owned()), ..AwsConfig::default() }
    }

    #[test]
    fn retries_are_off_and_every_timeout_is_set() {
        let client = client(&environment(Some("eu-central-1")), &AwsConfig::default()).unwrap();
        let config = client.config();
        assert!(!config.retry_config().unwrap().has_retry());
        let timeouts = config.timeout_config().unwrap();
        assert!(timeouts.connect_timeout().is_some() && timeouts.read_timeout().is_some());
        assert!(timeouts.operation_timeout().is_some() && timeouts.operation_attempt_timeout().is_some());
    }

    #[test]
    fn a_region_is_needed_but_for_other_servers_and_plain_http_is_for_loopback() {
        let config = AwsConfig::default();
        assert_eq!(client(&environment(None), &config).unwrap_err().field(), Some("region"));
        let local = client(&environment(None), &with_endpoint("http://127.0.0.1:8000")).unwrap();
        assert_eq!(local.config().region().map(AsRef::as_ref), Some(ANY_REGION));
        let refused = client(&environment(None), &with_endpoint("http://10.0.0.1:8000"));
        assert_eq!(refused.unwrap_err().field(), Some("endpoint_url"));
    }

    #[test]
    fn no_secret_is_printed() {
        let client = client(&environment(Some("eu-central-1")), &AwsConfig::default()).unwrap();
        let printed = format!("{:?} {:?}", crate::online::sdk::SdkCalls::new(client.clone()), client);
        assert!(!printed.contains(SECRET) && !printed.contains("session"), "{printed}");
    }
}
