//! A bucket and tables of their own on the servers of the tests, or on those that `AWS_ENDPOINT_URL_S3` and
//! `AWS_ENDPOINT_URL_DYNAMODB` name, and processes that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use recstore_aws::clients::AwsEnvironment;
use recstore_aws::config::{AwsConfig, DynamoDbConfig, IngestConfig, PipelineConfig, S3Config};
use recstore_aws::online::client::client;
use recstore_aws::online::sdk::SdkCalls;
use recstore_aws::online::tables::TableNames;
use recstore_aws::online::{Online, OnlineOptions};
use recstore_aws::setup::Setup;
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::{Deadline, Namespace, StoreContext};
use recstore_test_cloud::Cloud;

/// Each process has random bits of its own; here a number does.
static PROCESSES: AtomicU64 = AtomicU64::new(1);

async fn sdk() -> SdkConfig {
    let keys = Cloud::get().unwrap().credentials();
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new(keys.access_key, keys.secret_key, None, None, "test"))
        .http_client(http.build_https())
        .load()
        .await
}

fn config(name: &str, pipeline: PipelineConfig) -> AwsConfig {
    let cloud = Cloud::get().unwrap();
    let s3 = S3Config {
        bucket: name.to_owned(),
        endpoint_url: Some(cloud.s3_endpoint().to_owned()),
        ..S3Config::default()
    };
    let dynamodb = DynamoDbConfig {
        table_prefix: format!("{name}."),
        endpoint_url: Some(cloud.dynamodb_endpoint().to_owned()),
        pin_max_age: Duration::ZERO,
        ..DynamoDbConfig::default()
    };
    let ingest = IngestConfig { linger: Duration::ZERO, ..IngestConfig::default() };
    AwsConfig { s3, dynamodb, ingest, pipeline, ..AwsConfig::default() }
}

/// A process on a bucket and tables that are there.
pub(crate) async fn process(config: &AwsConfig, context: StoreContext) -> AwsStorage {
    let sdk = sdk().await;
    let number = PROCESSES.fetch_add(1, Ordering::Relaxed);
    let environment = AwsEnvironment::from_sdk(sdk.clone(), context.clock.clone());
    let lake = environment.lake(config, number).unwrap();
    let names = TableNames::new(&config.dynamodb.table_prefix).unwrap();
    let calls = Arc::new(SdkCalls::new(client(&sdk, config).unwrap()));
    let online = Online::new(calls, names, OnlineOptions::default());
    let claim = u128::from(number);
    let parts = AwsParts { lake, online, config: config.clone(), context, claim };
    AwsStorage::new(parts, Namespace::default()).unwrap()
}

/// Makes a bucket and tables; what to reach them by.
pub(crate) async fn made(context: &StoreContext, pipeline: PipelineConfig) -> AwsConfig {
    let config = config(&Cloud::get().unwrap().unique_name("suite"), pipeline);
    let environment = AwsEnvironment::from_sdk(sdk().await, context.clock.clone());
    let setup = Setup::new(&environment, &config, 1).unwrap();
    let soon = || Deadline::after(Duration::from_secs(60));
    setup.apply(&setup.plan(soon()).await.unwrap(), 1, soon()).await.unwrap();
    config
}
