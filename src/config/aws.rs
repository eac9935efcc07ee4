//! The settings of the `aws` mode. Their ranges are the backend's to check: a build without it cannot use them.

use std::time::Duration;

use serde::Serialize;

use recstore_core::Result;

use super::{MIB, text};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The bucket and the tables of the `aws` mode, and how they are used.
///
/// Credentials are no setting: they come from the standard chain (environment, profile, web identity, container or
/// instance role) and from nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AwsConfig {
    /// The region; by default the one that the standard chain names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The endpoint of both services, for compatible servers; by default AWS's own, or what `AWS_ENDPOINT_URL`,
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_DYNAMODB` or the profile name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// Whether `http://` endpoints that are not loopback are allowed; `false` by default.
    pub allow_http: bool,
    /// The object store.
    pub s3: AwsS3Config,
    /// The tables.
    pub dynamodb: AwsDynamoDbConfig,
    /// How events are gathered into objects.
    pub ingest: AwsIngestConfig,
    /// How the pipeline works.
    pub pipeline: AwsPipelineConfig,
    /// How often, and for how long, a request is repeated.
    pub retry: AwsRetryConfig,
}

/// The bucket and the requests to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsS3Config {
    /// The bucket; there is no default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// What every object's key begins with, without a slash at its ends; empty by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The endpoint of S3 alone; by default [`AwsConfig::endpoint_url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The most that connecting may take; 3 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub connect_timeout: Duration,
    /// The most that one request may take, connecting and the body included; 30 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub request_timeout: Duration,
}

impl Default for AwsS3Config {
    fn default() -> AwsS3Config {
        AwsS3Config {
            bucket: String::new(),
            prefix: String::new(),
            endpoint_url: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// The tables and the requests to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsDynamoDbConfig {
    /// What the name of every table begins with; `recstore_` by default.
    pub table_prefix: String,
    /// The endpoint of DynamoDB alone; by default [`AwsConfig::endpoint_url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The most that connecting may take; 1 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub connect_timeout: Duration,
    /// The most that waiting for the first byte of an answer may take; 2 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub read_timeout: Duration,
    /// The most that one request may take; 5 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub request_timeout: Duration,
    /// How long readers may hold on to a committed generation before they look for a newer one; 1 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub pin_max_age: Duration,
}

impl Default for AwsDynamoDbConfig {
    fn default() -> AwsDynamoDbConfig {
        AwsDynamoDbConfig {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsIngestConfig {
    /// The writer's name in object keys, `[a-z0-9-]{1,64}`; by default a random one for each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// The most events that are gathered into one object; 100,000 by default.
    pub max_batch_events: usize,
    /// The most bytes, before compression, that are gathered into one object; 16 MiB by default.
    #[serde(serialize_with = "text::serialize_size")]
    pub max_batch_bytes: u64,
    /// How long the first batch of an object waits for others; 100 ms by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub linger: Duration,
    /// The most events that wait to be stored, further calls wait for room; 400,000 by default.
    pub max_queued_events: usize,
}

impl Default for AwsIngestConfig {
    fn default() -> AwsIngestConfig {
        AwsIngestConfig {
            writer: None,
            max_batch_events: 100_000,
            max_batch_bytes: 16 * MIB,
            linger: Duration::from_millis(100),
            max_queued_events: 400_000,
        }
    }
}

/// How the pipeline works.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AwsPipelineConfig {
    /// How many buckets the tables of a new namespace have, a power of two up to 4,096; 16 by default.
    pub buckets: u32,
    /// How many buckets are merged at once, each held in memory; 2 by default.
    pub parallel: usize,
    /// The most bytes of new events that are held in memory, more go to temporary files; 256 MiB by default.
    #[serde(serialize_with = "text::serialize_size")]
    pub memory_bytes: u64,
    /// The largest share of users, or of items, that may lose their last rating in one run before it is refused; 0.2
    /// by default. Fewer than 100 of them are not guarded.
    pub max_entity_drop: f64,
    /// What `recstore pipeline vacuum` keeps.
    pub retention: AwsRetentionConfig,
}

impl Default for AwsPipelineConfig {
    fn default() -> AwsPipelineConfig {
        AwsPipelineConfig {
            buckets: 16,
            parallel: 2,
            memory_bytes: 256 * MIB,
            max_entity_drop: 0.2,
            retention: AwsRetentionConfig::default(),
        }
    }
}

/// What is kept of each layer of the lake beyond what is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsRetentionConfig {
    /// Generations of the tables that were replaced.
    pub silver: AwsSilverRetention,
    /// For how long events that were taken in are kept; for ever (`None`) by default. Without them, tables of silver that
    /// are lost cannot be made anew.
    #[serde(serialize_with = "text::serialize_or_forever")]
    pub bronze: Option<Duration>,
    /// For how long objects of similarity releases that the catalogue does not name any more are kept; 1 day by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub gold: Duration,
    /// For how long lines that were no events are kept; 30 days by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub quarantine: Duration,
}

/// Which generations are kept beside the committed one: those that are among the last, or were replaced only lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsSilverRetention {
    /// How many of the last, the committed one included; 10 by default.
    pub generations: u64,
    /// How long after they were replaced; 7 days by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub age: Duration,
}

impl Default for AwsRetentionConfig {
    fn default() -> AwsRetentionConfig {
        AwsRetentionConfig {
            silver: AwsSilverRetention { generations: 10, age: 7 * DAY },
            bronze: None,
            gold: DAY,
            quarantine: 30 * DAY,
        }
    }
}

/// How often, and for how long, a request is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsRetryConfig {
    /// The most attempts, the first included; 6 by default.
    pub max_attempts: u32,
    /// The most that all attempts and waits of one request may take together; 30 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub max_elapsed: Duration,
    /// The longest first wait, doubled with every attempt; 50 ms by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub first_delay: Duration,
    /// Where doubling ends; 5 s by default.
    #[serde(serialize_with = "text::serialize_duration")]
    pub max_delay: Duration,
}

impl Default for AwsRetryConfig {
    fn default() -> AwsRetryConfig {
        AwsRetryConfig {
            max_attempts: 6,
            max_elapsed: Duration::from_secs(30),
            first_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(5),
        }
    }
}

#[cfg(feature = "aws")]
impl AwsConfig {
    /// The settings as the backend takes them.
    ///
    /// # Errors
    /// `Invalid` (field) for sizes that this machine cannot address.
    pub(crate) fn to_backend(&self) -> Result<recstore_aws::config::AwsConfig> {
        use recstore_aws::config;

        let AwsConfig { region, endpoint_url, allow_http, s3, dynamodb, ingest, pipeline, retry } =
            self.clone();
        Ok(config::AwsConfig {
            region,
            endpoint_url,
            allow_http,
            s3: config::S3Config {
                bucket: s3.bucket,
                prefix: s3.prefix,
                endpoint_url: s3.endpoint_url,
                connect_timeout: s3.connect_timeout,
                request_timeout: s3.request_timeout,
            },
            dynamodb: config::DynamoDbConfig {
                table_prefix: dynamodb.table_prefix,
                endpoint_url: dynamodb.endpoint_url,
                connect_timeout: dynamodb.connect_timeout,
                read_timeout: dynamodb.read_timeout,
                request_timeout: dynamodb.request_timeout,
                pin_max_age: dynamodb.pin_max_age,
            },
            ingest: config::IngestConfig {
                writer: ingest.writer,
                max_batch_events: ingest.max_batch_events,
                max_batch_bytes: addressable("ingest.max_batch_bytes", ingest.max_batch_bytes)?,
                linger: ingest.linger,
                max_queued_events: ingest.max_queued_events,
            },
            pipeline: config::PipelineConfig {
                buckets: pipeline.buckets,
                parallel: pipeline.parallel,
                memory_bytes: addressable("pipeline.memory_bytes", pipeline.memory_bytes)?,
                max_entity_drop: pipeline.max_entity_drop,
                retention: config::RetentionConfig {
                    silver: config::SilverRetention {
                        generations: pipeline.retention.silver.generations,
                        age: pipeline.retention.silver.age,
                    },
                    bronze: pipeline.retention.bronze,
                    gold: pipeline.retention.gold,
                    quarantine: pipeline.retention.quarantine,
                },
            },
            retry: config::RetryConfig {
                max_attempts: retry.max_attempts,
                max_elapsed: retry.max_elapsed,
                first_delay: retry.first_delay,
                max_delay: retry.max_delay,
            },
        })
    }

    /// Checks each value by itself: what it needs beside it may yet come, from the next line or the environment.
    pub(super) fn check_values(&self) -> Result<()> {
        let mut settings = self.to_backend()?;
        settings.allow_http = true;
        settings.retry.max_delay = settings.retry.max_delay.max(settings.retry.first_delay);
        if settings.s3.bucket.is_empty() {
            settings.s3.bucket = "not-named-yet".to_owned();
        }
        settings.validate()
    }

    /// Checks that everything is there and fits together.
    pub(super) fn check_whole(&self) -> Result<()> {
        self.to_backend()?.validate()
    }
}

#[cfg(feature = "aws")]
fn addressable(field: &str, bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| {
        recstore_core::Error::invalid(field, format!("{bytes} is more than this machine addresses"))
    })
}

/// Without the backend nothing can be opened, and so nothing is checked.
#[cfg(not(feature = "aws"))]
impl AwsConfig {
    pub(super) fn check_values(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn check_whole(&self) -> Result<()> {
        Ok(())
    }
}
