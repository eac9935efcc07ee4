//! A bucket and tables of a test's own, and clients that look at them from outside.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use recstore_aws::clients::AwsEnvironment;
use recstore_aws::config::{AwsConfig, DynamoDbConfig, RetryConfig, S3Config};
use recstore_aws::setup::{Confirmation, Setup};
use recstore_core::{Clock, Deadline, SystemClock};
use recstore_test_cloud::{Action, Answer, Cloud, Proxy};

/// What set-up is asked to make, and where.
pub(crate) struct Place {
    pub(crate) config: AwsConfig,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

pub(crate) fn proxy() -> Proxy {
    Cloud::get().unwrap().proxy().unwrap()
}

/// An answer of the proxy's own that has a header.
pub(crate) fn answer_with(status: u16, header: &str, value: &str) -> Action {
    let headers = [(header.to_owned(), value.to_owned())].into();
    Action::Answer(Answer {
        status,
        code: String::new(),
        message: String::new(),
        headers,
        after_forward: false,
    })
}

pub(crate) async fn environment(secret: Option<&str>, clock: Arc<dyn Clock>) -> AwsEnvironment {
    AwsEnvironment::from_sdk(sdk(secret).await, clock)
}

async fn sdk(secret: Option<&str>) -> SdkConfig {
    let keys = Cloud::get().unwrap().credentials();
    let token = secret.map(str::to_owned);
    let secret = secret.unwrap_or(&keys.secret_key).to_owned();
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new(keys.access_key, secret, token, None, "test"))
        .http_client(http.build_https())
        .load()
        .await
}

impl Place {
    /// Names that nothing else has, straight at the servers.
    pub(crate) async fn new() -> Place {
        let cloud = Cloud::get().unwrap();
        let sdk = sdk(None).await;
        let name = cloud.unique_name("setup");
        let config = AwsConfig {
            s3: S3Config {
                bucket: name.clone(),
                prefix: "lake/one".to_owned(),
                endpoint_url: Some(cloud.s3_endpoint().to_owned()),
                connect_timeout: Duration::from_millis(500),
                request_timeout: Duration::from_secs(2),
            },
            dynamodb: DynamoDbConfig {
                table_prefix: format!("{name}."),
                endpoint_url: Some(cloud.dynamodb_endpoint().to_owned()),
                ..DynamoDbConfig::default()
            },
            retry: RetryConfig { first_delay: Duration::from_millis(5), ..RetryConfig::default() },
            ..AwsConfig::default()
        };
        let s3 = aws_sdk_s3::config::Builder::from(&sdk).endpoint_url(cloud.s3_endpoint());
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&sdk).endpoint_url(cloud.dynamodb_endpoint());
        Place {
            config,
            s3: aws_sdk_s3::Client::from_conf(s3.force_path_style(true).build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
        }
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.config.s3.bucket
    }

    pub(crate) fn confirmation(&self) -> Confirmation<'_> {
        Confirmation { bucket: self.bucket(), table_prefix: &self.config.dynamodb.table_prefix }
    }

    pub(crate) fn table(&self, table: &str) -> String {
        format!("{}{table}", self.config.dynamodb.table_prefix)
    }

    pub(crate) async fn setup(&self) -> Setup {
        Setup::new(&environment(None, Arc::new(SystemClock)).await, &self.config, 1).unwrap()
    }

    /// The same place by way of a proxy.
    pub(crate) async fn setup_behind(&self, proxy: &Proxy) -> Setup {
        let mut config = self.config.clone();
        config.s3.endpoint_url = Some(proxy.s3_endpoint().to_owned());
        config.dynamodb.endpoint_url = Some(proxy.dynamodb_endpoint().to_owned());
        Setup::new(&environment(None, Arc::new(SystemClock)).await, &config, 1).unwrap()
    }

    /// Makes everything.
    pub(crate) async fn made(&self) -> Setup {
        let setup = self.setup().await;
        setup.apply(&setup.plan(soon()).await.unwrap(), 1, soon()).await.unwrap();
        setup
    }

    pub(crate) async fn create_bucket(&self) {
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuCentral1)
            .build();
        let create = self.s3.create_bucket().bucket(self.bucket());
        create.create_bucket_configuration(place).send().await.unwrap();
    }

    pub(crate) async fn put_object(&self, key: &str) {
        let body = aws_sdk_s3::primitives::ByteStream::from_static(b"x");
        self.s3.put_object().bucket(self.bucket()).key(key).body(body).send().await.unwrap();
    }

    /// A table of this name whose sort key is a number.
    pub(crate) async fn create_foreign_table(&self, table: &str) {
        let attribute =
            |name: &str, kind| AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
        let element = |name: &str, role| KeySchemaElement::builder().attribute_name(name).key_type(role);
        self.dynamodb
            .create_table()
            .table_name(self.table(table))
            .attribute_definitions(attribute("pk", ScalarAttributeType::S).build().unwrap())
            .attribute_definitions(attribute("sk", ScalarAttributeType::N).build().unwrap())
            .key_schema(element("pk", KeyType::Hash).build().unwrap())
            .key_schema(element("sk", KeyType::Range).build().unwrap())
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn tables(&self) -> usize {
        let mut found = 0;
        for table in
            ["user_features", "item_features", "ratings_by_user", "ratings_by_item", "neighbours", "control"]
        {
            found += usize::from(
                self.dynamodb.describe_table().table_name(self.table(table)).send().await.is_ok(),
            );
        }
        found
    }

    pub(crate) async fn objects(&self) -> usize {
        let page = self.s3.list_objects_v2().bucket(self.bucket()).send().await.unwrap();
        page.contents().len()
    }
}
