//! Settings of the AWS backend: plain data, checked before anything is opened. No secret is among them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use recstore_core::ratings::MAX_BATCH_EVENTS;
use recstore_core::{Error, Result};
use url::{Host, Url};

use crate::lake::keys::{LakePrefix, WriterId};

/// Where AWS is, and how its services are used.
///
/// Credentials are no setting: they come from the standard chain (environment, profile, web identity, container
/// or instance role) and from nowhere else.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AwsConfig {
    /// The region; by default the one that the standard chain names.
    pub region: Option<String>,
    /// The endpoint of both services, for compatible servers; by default AWS's own, or what
    /// `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_DYNAMODB` or the profile name.
    pub endpoint_url: Option<String>,
    /// Allow `http://` endpoints that are not loopback; default `false`.
    pub allow_http: bool,
    /// The object store.
    pub s3: S3Config,
    /// The tables.
    pub dynamodb: DynamoDbConfig,
    /// How events are gathered into objects.
    pub ingest: IngestConfig,
    /// How the pipeline works.
    pub pipeline: PipelineConfig,
    /// How often, and for how long, a request is repeated.
    pub retry: RetryConfig,
}

/// The bucket and the requests to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket; there is no default.
    pub bucket: String,
    /// What every object's key begins with, without a slash at its ends; empty by default.
    pub prefix: String,
    /// The endpoint of S3 alone; by default [`AwsConfig::endpoint_url`].
    pub endpoint_url: Option<String>,
    /// The most that connecting may take; default 3 s.
    pub connect_timeout: Duration,
    /// The most that one request may take, credentials, connecting and the body included; default 30 s.
    pub request_timeout: Duration,
}

impl Default for S3Config {
    fn default() -> S3Config {
        S3Config {
            bucket: String::new(),
            prefix: String::new(),
            endpoint_url: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// The tables and the requests to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamoDbConfig {
    /// What the name of every table begins with; default `recstore_`.
    pub table_prefix: String,
    /// The endpoint of DynamoDB alone; by default [`AwsConfig::endpoint_url`].
    pub endpoint_url: Option<String>,
    /// The most that connecting may take; default 1 s.
    pub connect_timeout: Duration,
    /// The most that waiting for the first byte of an answer may take; default 2 s.
    pub read_timeout: Duration,
    /// The most that one request may take; default 5 s.
    pub request_timeout: Duration,
    /// How old the committed generation that readers hold on to may be before it is looked up again; default 1 s.
    pub pin_max_age: Duration,
}

impl Default for DynamoDbConfig {
    fn default() -> DynamoDbConfig {
        DynamoDbConfig {
            table_prefix: "recstore_".to_owned(),
            endpoint_url: None,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            pin_max_age: Duration::from_secs(1),
        }
    }
}

/// How events are gathered into objects of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestConfig {
    /// The writer's name in object keys, `[a-z0-9-]{1,64}`; by default a random one for each process.
    pub writer: Option<String>,
    /// The most events that are gathered into one object; default 100,000. A larger batch of one caller is an
    /// object of its own.
    pub max_batch_events: usize,
    /// The most bytes, before compression, that are gathered into one object; default 16 MiB.
    pub max_batch_bytes: usize,
    /// How long the first batch of an object waits for others; default 100 ms.
    pub linger: Duration,
    /// The most events waiting to be stored; more calls wait for room. Default 400,000, at about 150 bytes each.
    pub max_queued_events: usize,
}

impl Default for IngestConfig {
    fn default() -> IngestConfig {
        IngestConfig {
            writer: None,
            max_batch_events: 100_000,
            max_batch_bytes: 16 << 20,
            linger: Duration::from_millis(100),
            max_queued_events: 400_000,
        }
    }
}

/// How the pipeline works.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineConfig {
    /// How many buckets the silver tables of a new namespace have, a power of two up to 4,096; default 16. One for
    /// each million ratings keeps memory at some hundred megabytes.
    pub buckets: u32,
    /// How many buckets are merged at once; default 2. Each is held in memory.
    pub parallel: usize,
    /// The most bytes of new events that are held in memory; more go to temporary files. Default 256 MiB.
    pub memory_bytes: usize,
    /// The largest share of users, or of items, that may lose their last rating in one run before it refuses to
    /// publish; default 0.2. Fewer than 100 of them are not guarded: a few withdrawals are a large share there.
    pub max_entity_drop: f64,
    /// What `pipeline vacuum` keeps.
    pub retention: RetentionConfig,
}

/// What is kept of each layer beyond what is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Generations that were replaced.
    pub silver: SilverRetention,
    /// For how long events that were taken in are kept; by default for ever. Without them, tables of silver that are
    /// lost cannot be made anew.
    pub bronze: Option<Duration>,
    /// For how long objects of releases that the catalogue does not name any more are kept; default 1 day.
    pub gold: Duration,
    /// For how long lines that were no events are kept; default 30 days.
    pub quarantine: Duration,
}

/// Which generations are kept beside the committed one: those that are among the last, or were replaced only lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilverRetention {
    /// How many of the last, the committed one included; default 10.
    pub generations: u64,
    /// How long after they were replaced; default 7 days.
    pub age: Duration,
}

impl Default for SilverRetention {
    fn default() -> SilverRetention {
        SilverRetention { generations: 10, age: 7 * DAY }
    }
}

impl Default for RetentionConfig {
    fn default() -> RetentionConfig {
        let silver = SilverRetention::default();
        RetentionConfig { silver, bronze: None, gold: DAY, quarantine: 30 * DAY }
    }
}

impl RetentionConfig {
    fn validate(&self) -> Result<()> {
        let century = 36_525 * DAY;
        check_range("silver.generations", self.silver.generations, 1, 1_000_000)?;
        check_duration("silver.age", self.silver.age, Duration::ZERO, century)?;
        if let Some(age) = self.bronze {
            check_duration("bronze", age, DAY, century)?;
        }
        check_duration("gold", self.gold, HOUR, century)?;
        check_duration("quarantine", self.quarantine, Duration::ZERO, century)
    }
}

impl Default for PipelineConfig {
    fn default() -> PipelineConfig {
        PipelineConfig {
            buckets: 16,
            parallel: 2,
            memory_bytes: 256 << 20,
            max_entity_drop: 0.2,
            retention: RetentionConfig::default(),
        }
    }
}

impl PipelineConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// `Invalid` that names the setting.
    pub fn validate(&self) -> Result<()> {
        if !(self.buckets.is_power_of_two() && self.buckets <= 4096) {
            let text = format!("{} is not a power of two up to 4,096", self.buckets);
            return Err(Error::invalid("buckets", text));
        }
        check_range("parallel", self.parallel, 1, 256)?;
        check_range("memory_bytes", self.memory_bytes, 1 << 20, 1 << 40)?;
        check_range("max_entity_drop", self.max_entity_drop, 0.0, 1.0)?;
        self.retention.validate().map_err(|error| error.in_field("retention"))
    }
}

/// The budget of the one layer that repeats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// The most attempts, the first included; default 6.
    pub max_attempts: u32,
    /// The most that all attempts and waits of one request may take together; default 30 s. An attempt that runs
    /// at its end is given up.
    pub max_elapsed: Duration,
    /// The longest first wait, doubled with every attempt; default 50 ms. Each wait is drawn from zero up to it.
    pub first_delay: Duration,
    /// Where doubling ends; default 5 s.
    pub max_delay: Duration,
}

impl Default for RetryConfig {
    fn default() -> RetryConfig {
        RetryConfig {
            max_attempts: 6,
            max_elapsed: Duration::from_secs(30),
            first_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(5),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

impl AwsConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// `Invalid` that names the setting, such as `s3.bucket`.
    pub fn validate(&self) -> Result<()> {
        if let Some(region) = &self.region {
            check_region(region)?;
        }
        for (field, endpoint) in [
            ("endpoint_url", &self.endpoint_url),
            ("s3.endpoint_url", &self.s3.endpoint_url),
            ("dynamodb.endpoint_url", &self.dynamodb.endpoint_url),
        ] {
            if let Some(endpoint) = endpoint {
                check_endpoint(field, endpoint, self.allow_http)?;
            }
        }
        self.s3.validate().map_err(|error| error.in_field("s3"))?;
        self.dynamodb.validate().map_err(|error| error.in_field("dynamodb"))?;
        self.ingest.validate().map_err(|error| error.in_field("ingest"))?;
        self.pipeline.validate().map_err(|error| error.in_field("pipeline"))?;
        self.retry.validate().map_err(|error| error.in_field("retry"))
    }
}

impl S3Config {
    fn validate(&self) -> Result<()> {
        check_bucket(&self.bucket)?;
        LakePrefix::new(&self.prefix)?;
        check_duration("connect_timeout", self.connect_timeout, MILLISECOND, HOUR)?;
        check_duration("request_timeout", self.request_timeout, MILLISECOND, HOUR)
    }
}

impl DynamoDbConfig {
    fn validate(&self) -> Result<()> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if self.table_prefix.len() > 128 || !self.table_prefix.bytes().all(allowed) {
            let text = format!("{:?} is not up to 128 of a-z, A-Z, 0-9, '_', '.' and '-'", self.table_prefix);
            return Err(Error::invalid("table_prefix", text));
        }
        check_duration("connect_timeout", self.connect_timeout, MILLISECOND, HOUR)?;
        check_duration("read_timeout", self.read_timeout, MILLISECOND, HOUR)?;
        check_duration("request_timeout", self.request_timeout, MILLISECOND, HOUR)?;
        check_duration("pin_max_age", self.pin_max_age, Duration::ZERO, HOUR)
    }
}

impl IngestConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// `Invalid` that names the setting.
    pub fn validate(&self) -> Result<()> {
        if let Some(writer) = &self.writer {
            WriterId::new(writer)?;
        }
        check_range("max_batch_events", self.max_batch_events, 1, 1_000_000)?;
        check_range("max_batch_bytes", self.max_batch_bytes, 1, 64 << 20)?;
        check_duration("linger", self.linger, Duration::ZERO, Duration::from_secs(60))?;
        check_range("max_queued_events", self.max_queued_events, MAX_BATCH_EVENTS, 100_000_000)
    }
}

impl RetryConfig {
    fn validate(&self) -> Result<()> {
        check_range("max_attempts", self.max_attempts as usize, 1, 100)?;
        check_duration("max_elapsed", self.max_elapsed, MILLISECOND, HOUR)?;
        check_duration("first_delay", self.first_delay, MILLISECOND, HOUR)?;
        check_duration("max_delay", self.max_delay, self.first_delay, HOUR)
    }
}

fn check_range<T: PartialOrd + fmt::Display>(field: &str, value: T, low: T, high: T) -> Result<()> {
    if low <= value && value <= high {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{value} is not {low} to {high}")))
}

fn check_duration(field: &str, value: Duration, low: Duration, high: Duration) -> Result<()> {
    if low <= value && value <= high {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{value:?} is not {low:?} to {high:?}")))
}

fn check_region(region: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&region.len()) && region.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid("region", format!("{region:?} is no region such as eu-central-1")))
}

/// The naming rules of general purpose buckets
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn check_bucket(bucket: &str) -> Result<()> {
    let refused = |reason: &str| Err(Error::invalid("bucket", format!("{bucket:?} {reason}")));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if bucket.is_empty() {
        return Err(Error::invalid("bucket", "is missing"));
    }
    if !(3..=63).contains(&bucket.len()) {
        return refused("does not have 3 to 63 characters");
    }
    if !bucket.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'.') {
        return refused("has other characters than a-z, 0-9, '-' and '.'");
    }
    if !bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
        || !bucket.ends_with(|last: char| last.is_ascii_alphanumeric())
    {
        return refused("does not begin and end with a letter or digit");
    }
    if bucket.contains("..") || bucket.parse::<IpAddr>().is_ok() {
        return refused("looks like an address, or has two dots in a row");
    }
    if ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|reserved| bucket.starts_with(reserved))
        || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
            .iter()
            .any(|reserved| bucket.ends_with(reserved))
    {
        return refused("begins or ends with what AWS has reserved");
    }
    Ok(())
}

/// Checks that an endpoint is a URL of a host and nothing more, encrypted unless it cannot leave the machine.
///
/// The URL is not shown, where it has a user and password in it.
pub(crate) fn check_endpoint(field: &str, endpoint: &str, allow_http: bool) -> Result<()> {
    let url = Url::parse(endpoint)
        .map_err(|cause| Error::invalid(field, "is not a URL such as https://host:9000").because(cause))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(
            field,
            "has a user or password in it, credentials come from the standard chain",
        ));
    }
    let Some(host) = url.host() else {
        return Err(Error::invalid(field, format!("{endpoint:?} names no host")));
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        // What follows the host may be a secret.
        return Err(Error::invalid(field, format!("https://{host} is followed by more than a port")));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_http || is_loopback(&host) => Ok(()),
        "http" => Err(Error::invalid(
            field,
            format!("{endpoint:?} is not encrypted; use https, or allow it with allow_http"),
        )),
        _ => Err(Error::invalid(field, format!("{endpoint:?} is neither https nor http"))),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => *name == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> AwsConfig {
        let s3 = S3Config { bucket: "my-bucket".into(), ..S3Config::default() };
        AwsConfig { s3, ..AwsConfig::default() }
    }

    fn refused_field(change: impl FnOnce(&mut AwsConfig)) -> String {
        let mut config = valid();
        change(&mut config);
        config.validate().unwrap_err().field().unwrap().to_owned()
    }

    #[test]
    fn the_default_lacks_only_the_bucket() {
        assert!(valid().validate().is_ok());
        assert_eq!(AwsConfig::default().validate().unwrap_err().field(), Some("s3.bucket"));
    }

    #[test]
    fn every_bad_setting_is_named() {
        let zero = Duration::ZERO;
        let text = || Some(String::from("No_Such"));
        assert_eq!(refused_field(|config| config.region = text()), "region");
        assert_eq!(refused_field(|config| config.endpoint_url = text()), "endpoint_url");
        assert_eq!(refused_field(|config| config.s3.endpoint_url = text()), "s3.endpoint_url");
        assert_eq!(refused_field(|config| config.dynamodb.endpoint_url = text()), "dynamodb.endpoint_url");
        assert_eq!(refused_field(|config| config.s3.prefix = "/a".into()), "s3.prefix");
        assert_eq!(refused_field(|config| config.s3.connect_timeout = zero), "s3.connect_timeout");
        assert_eq!(refused_field(|config| config.s3.request_timeout = zero), "s3.request_timeout");
        assert_eq!(
            refused_field(|config| config.dynamodb.table_prefix = "a/".into()),
            "dynamodb.table_prefix"
        );
        assert_eq!(
            refused_field(|config| config.dynamodb.connect_timeout = zero),
            "dynamodb.connect_timeout"
        );
        assert_eq!(refused_field(|config| config.dynamodb.read_timeout = zero), "dynamodb.read_timeout");
        assert_eq!(
            refused_field(|config| config.dynamodb.request_timeout = zero),
            "dynamodb.request_timeout"
        );
        assert_eq!(refused_field(|config| config.ingest.writer = text()), "ingest.writer");
        assert_eq!(refused_field(|config| config.ingest.max_batch_events = 0), "ingest.max_batch_events");
        assert_eq!(refused_field(|config| config.ingest.max_batch_bytes = 0), "ingest.max_batch_bytes");
        assert_eq!(refused_field(|config| config.ingest.linger = HOUR), "ingest.linger");
        assert_eq!(refused_field(|config| config.ingest.max_queued_events = 9), "ingest.max_queued_events");
        let retention =
            |change: fn(&mut RetentionConfig)| refused_field(|config| change(&mut config.pipeline.retention));
        assert_eq!(retention(|of| of.silver.generations = 0), "pipeline.retention.silver.generations");
        assert_eq!(retention(|of| of.silver.age = Duration::MAX), "pipeline.retention.silver.age");
        assert_eq!(retention(|of| of.bronze = Some(HOUR)), "pipeline.retention.bronze");
        assert_eq!(retention(|of| of.gold = MILLISECOND), "pipeline.retention.gold");
        assert_eq!(retention(|of| of.quarantine = Duration::MAX), "pipeline.retention.quarantine");
        assert_eq!(refused_field(|config| config.retry.max_attempts = 0), "retry.max_attempts");
        assert_eq!(refused_field(|config| config.retry.max_elapsed = zero), "retry.max_elapsed");
        assert_eq!(refused_field(|config| config.retry.first_delay = zero), "retry.first_delay");
        assert_eq!(refused_field(|config| config.retry.max_delay = MILLISECOND), "retry.max_delay");
    }

    #[test]
    fn bucket_names_keep_to_the_rules_of_aws() {
        for bucket in ["abc", "a.b-c", "1ab", &"a".repeat(63)] {
            assert!(check_bucket(bucket).is_ok(), "{bucket}");
        }
        for bucket in [
            "",
            "ab",
            &"a".repeat(64),
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "192.168.5.4",
            "xn--abc",
            "abc-s3alias",
            "a/b",
            "a b",
        ] {
            assert_eq!(check_bucket(bucket).unwrap_err().field(), Some("bucket"), "{bucket}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_unless_said_explicitly() {
        for url in
            ["https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost/"]
        {
            assert!(check_endpoint("endpoint_url", url, false).is_ok(), "{url}");
        }
        for url in ["http://s3.example.com", "http://10.0.0.1:9000", "http://localhost.example.com"] {
            assert!(check_endpoint("endpoint_url", url, false).is_err(), "{url}");
            assert!(check_endpoint("endpoint_url", url, true).is_ok(), "{url}");
        }
        for url in
            ["ftp://host", "host:9000", "https://", "https://host/path", "https://host?x=1", "file:///x"]
        {
            assert!(check_endpoint("endpoint_url", url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_an_endpoint_is_refused_and_not_shown() {
        let error = check_endpoint("endpoint_url", "https://user:hunter2@host", false).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
