//! Live clients from settings. Credentials come from the standard chain and from nowhere else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use aws_types::service_config::ServiceConfigKey;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig};
use recstore_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{AwsConfig, check_endpoint};
use crate::error::{CredentialsUnavailable, has_no_credentials};
use crate::lake::keys::LakePrefix;
use crate::lake::store::LakeStore;
use crate::retry::RetryPolicy;

/// Credentials are renewed so long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// Credentials that name no end are asked for again after this time: a file may have changed.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// What an endpoint other than AWS's own is signed for where no region is named.
const ANY_REGION: &str = "us-east-1";

/// What the standard chain gave: region, credential provider, endpoints of the environment and the profile.
#[derive(Clone)]
pub struct AwsEnvironment {
    sdk: SdkConfig,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsEnvironment").field("region", &self.sdk.region()).finish_non_exhaustive()
    }
}

impl AwsEnvironment {
    /// Looks through the environment and the profile; asks the instance for the region only where neither these nor
    /// `config` name one. Credentials are asked for with the first request. `clock` says when they expire.
    pub async fn load(config: &AwsConfig, clock: Arc<dyn Clock>) -> AwsEnvironment {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.s3.connect_timeout)
            .operation_timeout(config.s3.request_timeout)
            .build();
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts);
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        AwsEnvironment::from_sdk(loader.load().await, clock)
    }

    /// What a program has loaded itself, to share it with its other clients.
    pub fn from_sdk(sdk: SdkConfig, clock: Arc<dyn Clock>) -> AwsEnvironment {
        AwsEnvironment { sdk, clock }
    }

    /// What SDK clients of other services are made from.
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// The endpoint of S3: the settings', else that of the environment or the profile, else AWS's own.
    fn s3_endpoint(&self, config: &AwsConfig) -> Result<Option<String>> {
        if let Some(endpoint) = config.s3.endpoint_url.as_ref().or(config.endpoint_url.as_ref()) {
            return Ok(Some(endpoint.clone()));
        }
        let key = ServiceConfigKey::builder()
            .service_id("s3")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .map_err(|cause| {
                Error::new(ErrorKind::Internal, "no key of a service's settings").because(cause)
            })?;
        let of_service = self.sdk.service_config().and_then(|environment| environment.load_config(key));
        let endpoint = of_service.or_else(|| self.sdk.endpoint_url().map(str::to_owned));
        if let Some(endpoint) = &endpoint {
            check_endpoint("endpoint_url", endpoint, config.allow_http)?;
        }
        Ok(endpoint)
    }

    /// The clock that says when credentials expire.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The region and, where it is not AWS's own, the endpoint of S3.
    pub(crate) fn s3_place(&self, config: &AwsConfig) -> Result<(String, Option<String>)> {
        config.validate()?;
        let endpoint = self.s3_endpoint(config)?;
        let region = match (self.sdk.region(), &endpoint) {
            (Some(region), _) => region.to_string(),
            (None, Some(_)) => ANY_REGION.to_owned(),
            (None, None) => {
                return Err(Error::invalid("region", "is missing, and the standard chain names none"));
            }
        };
        Ok((region, endpoint))
    }

    /// The bucket of `config`. Nothing is sent.
    ///
    /// Requests have the timeouts of the settings and are not repeated: that is [`retry`](crate::retry)'s work.
    ///
    /// # Errors
    /// `Invalid` that names the setting; `region` where neither the settings nor the chain name one.
    pub fn bucket(&self, config: &AwsConfig) -> Result<Arc<dyn ObjectStore>> {
        let (region, endpoint) = self.s3_place(config)?;
        let provider = self.sdk.credentials_provider();
        let provider = provider.ok_or_else(|| Error::new(ErrorKind::Internal, "no chain of credentials"))?;
        let no_retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let timeouts = ClientOptions::new()
            .with_connect_timeout(config.s3.connect_timeout)
            .with_timeout(config.s3.request_timeout)
            .with_allow_http(true);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.s3.bucket)
            .with_region(region)
            .with_credentials(Arc::new(ChainCredentials::new(provider, self.clock.clone())))
            .with_client_options(timeouts)
            .with_retry(no_retries);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|cause| {
            Error::new(ErrorKind::Internal, "the object store's client cannot be made").because(cause)
        })?;
        Ok(Arc::new(store))
    }

    /// The lake of `config`; `jitter_seed` decides the waits between attempts.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn lake(&self, config: &AwsConfig, jitter_seed: u64) -> Result<LakeStore> {
        let bucket = self.bucket(config)?;
        let prefix = LakePrefix::new(&config.s3.prefix).map_err(|error| error.in_field("s3"))?;
        let policy = RetryPolicy::new(config.retry, config.s3.request_timeout, jitter_seed);
        Ok(LakeStore::new(bucket, prefix, Arc::new(policy)))
    }
}

/// The standard chain's credentials, kept until shortly before they expire; one request renews them for all.
struct ChainCredentials {
    chain: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    credential: Arc<AwsCredential>,
    asked: Instant,
    expires: Option<Timestamp>,
}

impl ChainCredentials {
    fn new(chain: SharedCredentialsProvider, clock: Arc<dyn Clock>) -> ChainCredentials {
        ChainCredentials { chain, clock, kept: Mutex::new(None) }
    }
}

impl Kept {
    fn of(credentials: &Credentials) -> Kept {
        let credential = AwsCredential {
            key_id: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().to_owned(),
            token: credentials.session_token().map(str::to_owned),
        };
        let expires = credentials.expiry().map(|expiry| {
            let since = expiry.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp::MIN.saturating_add(since)
        });
        Kept { credential: Arc::new(credential), asked: Instant::now(), expires }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        match self.expires {
            Some(expires) => now.saturating_add(RENEW_BEFORE) < expires,
            None => self.asked.elapsed() < ASK_AGAIN,
        }
    }

    /// Whether the service still takes them, as far as it is known.
    fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl fmt::Debug for ChainCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainCredentials(<secret>)")
    }
}

#[async_trait]
impl CredentialProvider for ChainCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.now();
        if let Some(fresh) = kept.as_ref().filter(|kept| kept.is_fresh(now)) {
            return Ok(fresh.credential.clone());
        }
        let failure = match self.chain.provide_credentials().await {
            Ok(credentials) => {
                let renewed = kept.insert(Kept::of(&credentials));
                return Ok(renewed.credential.clone());
            }
            Err(failure) => failure,
        };
        // The chain may be away for a moment, and what is kept still be good.
        if let Some(valid) = kept.as_ref().filter(|kept| kept.is_valid(now)) {
            return Ok(valid.credential.clone());
        }
        // The cause is not kept: it may quote what a credential process or a file said.
        let source = Box::new(CredentialsUnavailable);
        Err(match has_no_credentials(&failure) {
            true => object_store::Error::Unauthenticated { path: String::new(), source },
            false => object_store::Error::Generic { store: "credentials", source },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::UNIX_EPOCH;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future::ProvideCredentials as Provided;
    use recstore_core::ManualClock;

    use super::*;
    use crate::config::S3Config;

    const SECRET: &str = "wJalrXUtnFEMI-secret";

    /// A chain whose answers count up; some of them fail.
    #[derive(Debug, Default)]
    struct Chain {
        asked: AtomicU32,
        fails: bool,
        lasts: Option<Duration>,
    }

    impl ProvideCredentials for Chain {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            let expires = self.lasts.map(|lasts| UNIX_EPOCH + lasts * (number + 1));
            Provided::ready(if self.fails && number > 0 {
                Err(CredentialsError::provider_error("the metadata service is away"))
            } else {
                Ok(Credentials::new(format!("key-{number}"), SECRET, Some(SECRET.into()), expires, "test"))
            })
        }
    }

    fn chain(chain: Chain) -> (ChainCredentials, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::MIN));
        (ChainCredentials::new(SharedCredentialsProvider::new(chain), clock.clone()), clock)
    }

    async fn key(credentials: &ChainCredentials) -> String {
        credentials.get_credential().await.unwrap().key_id.clone()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_kept_until_a_minute_before_they_expire() {
        let (credentials, clock) =
            chain(Chain { lasts: Some(Duration::from_secs(3600)), ..Chain::default() });
        for (seconds, expected) in
            [(0, "key-0"), (3539, "key-0"), (3540, "key-1"), (7000, "key-1"), (7140, "key-2")]
        {
            clock.set(at(seconds));
            assert_eq!(key(&credentials).await, expected, "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_without_an_end_are_asked_for_again_after_a_minute() {
        let (credentials, _) = chain(Chain::default());
        assert_eq!((key(&credentials).await, key(&credentials).await), ("key-0".into(), "key-0".into()));
        tokio::time::sleep(ASK_AGAIN).await;
        assert_eq!(key(&credentials).await, "key-1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_is_away_is_no_failure_while_the_kept_credentials_are_valid() {
        let lasts = Some(Duration::from_secs(3600));
        let (credentials, clock) = chain(Chain { fails: true, lasts, ..Chain::default() });
        assert_eq!(key(&credentials).await, "key-0");
        clock.set(at(3599));
        assert_eq!(key(&credentials).await, "key-0");
        clock.set(at(3600));
        let failure = credentials.get_credential().await.unwrap_err();
        let error = crate::error::diagnose(&failure).into_error("x");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "the standard chain gives no credentials for AWS");
    }

    fn environment(region: Option<&'static str>) -> AwsEnvironment {
        let chain = SharedCredentialsProvider::new(Chain::default());
        let sdk =
            SdkConfig::builder().credentials_provider(chain).region(region.map(Region::from_static)).build();
        AwsEnvironment::from_sdk(sdk, Arc::new(ManualClock::new(Timestamp::MIN)))
    }

    fn config() -> AwsConfig {
        let s3 = S3Config { bucket: "my-bucket".into(), ..S3Config::default() };
        AwsConfig { s3, ..AwsConfig::default() }
    }

    #[tokio::test]
    async fn no_secret_is_in_any_debug_output() {
        let environment = environment(Some("eu-central-1"));
        let provider = environment.sdk.credentials_provider().unwrap();
        let credentials = ChainCredentials::new(provider, environment.clock.clone());
        credentials.get_credential().await.unwrap();
        let (bucket, lake) =
            (environment.bucket(&config()).unwrap(), environment.lake(&config(), 1).unwrap());
        let shown = format!("{environment:?} {credentials:?} {bucket:?} {bucket} {lake:?} {:?}", config());
        assert!(!shown.contains(SECRET), "{shown}");
    }

    #[tokio::test]
    async fn a_region_is_asked_for_unless_an_endpoint_is_named() {
        let error = environment(None).bucket(&config()).unwrap_err();
        assert_eq!(error.field(), Some("region"));
        let endpoint_url = Some("http://127.0.0.1:9000".to_owned());
        assert!(environment(None).bucket(&AwsConfig { endpoint_url, ..config() }).is_ok());
        assert!(environment(Some("eu-central-1")).bucket(&config()).is_ok());
    }

    #[tokio::test]
    async fn an_endpoint_of_the_environment_keeps_to_the_rule_about_plain_http() {
        let sdk = environment(None).sdk.into_builder().endpoint_url("http://s3.example.com").build();
        let environment = AwsEnvironment::from_sdk(sdk, Arc::new(ManualClock::new(Timestamp::MIN)));
        assert_eq!(environment.bucket(&config()).unwrap_err().field(), Some("endpoint_url"));
        assert!(environment.bucket(&AwsConfig { allow_http: true, ..config() }).is_ok());
    }
}
