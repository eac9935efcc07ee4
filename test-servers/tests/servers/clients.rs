//! Clients of servers, with a bucket and a table of each test's own.

use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder as GetItem;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder as PutItem;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, Region, SharedHttpClient};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::delete_object::builders::DeleteObjectFluentBuilder as DeleteObject;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder as GetObject;
use aws_sdk_s3::operation::head_object::builders::HeadObjectFluentBuilder as HeadObject;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder as ListObjects;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder as PutObject;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder;
use recstore_test_servers::Servers;
use recstore_test_servers::proxy::Proxy;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// S3, with an empty bucket.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) client: aws_sdk_s3::Client,
    pub(crate) bucket: String,
}

/// DynamoDB, with an empty table of items with the keys `pk` and `sk`.
#[derive(Clone)]
pub(crate) struct Items {
    pub(crate) client: aws_sdk_dynamodb::Client,
    pub(crate) table: String,
}

/// The servers of the environment, `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL_DYNAMODB`, or a test's own behind a proxy without
/// rules, which must not be noticed.
pub(crate) struct Setting {
    pub(crate) s3: Objects,
    pub(crate) dynamodb: Items,
    pub(crate) s3_endpoint: String,
    _own: Option<(Servers, Proxy)>,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let given = variable("AWS_ENDPOINT_URL_S3").zip(variable("AWS_ENDPOINT_URL_DYNAMODB"));
        let (s3_endpoint, dynamodb_endpoint, own) = match given {
            Some((s3, dynamodb)) => (s3, dynamodb, None),
            None => {
                let servers = Servers::start().await.unwrap();
                let (s3, dynamodb) = (loopback(servers.ports().s3), loopback(servers.ports().dynamodb));
                let proxy = Proxy::start(s3, dynamodb).await.unwrap();
                (url(proxy.s3()), url(proxy.dynamodb()), Some((servers, proxy)))
            }
        };
        let name = format!("servers-{:016x}", RandomState::new().hash_one(0));
        let s3 = Objects {
            client: s3_client(&s3_endpoint, "test", RetryConfig::disabled()),
            bucket: name.clone(),
        };
        let dynamodb = Items { client: dynamodb_client(&dynamodb_endpoint), table: name };
        s3.client.create_bucket().bucket(&s3.bucket).send().await.unwrap();
        dynamodb.create_table().await;
        Self { s3, dynamodb, s3_endpoint, _own: own }
    }
}

/// Servers of a test's own, and clients that go through a proxy before them. They try once.
pub(crate) struct Faulty {
    pub(crate) s3: Objects,
    pub(crate) dynamodb: Items,
    /// The same bucket without the proxy between.
    pub(crate) direct_s3: Objects,
    /// The same table without the proxy between.
    pub(crate) direct_dynamodb: Items,
    pub(crate) proxy: Proxy,
    pub(crate) servers: Servers,
}

impl Faulty {
    pub(crate) async fn new() -> Self {
        let servers = Servers::start().await.unwrap();
        let (s3, dynamodb) = (loopback(servers.ports().s3), loopback(servers.ports().dynamodb));
        let proxy = Proxy::start(s3, dynamodb).await.unwrap();
        let objects = |address| {
            let client = s3_client(&url(address), "test", RetryConfig::disabled());
            Objects { client, bucket: "bucket".to_owned() }
        };
        let items = |address| Items { client: dynamodb_client(&url(address)), table: "table".to_owned() };
        let (direct_s3, direct_dynamodb) = (objects(s3), items(dynamodb));
        direct_s3.client.create_bucket().bucket("bucket").send().await.unwrap();
        direct_dynamodb.create_table().await;
        let (s3, dynamodb) = (objects(proxy.s3()), items(proxy.dynamodb()));
        Self { s3, dynamodb, direct_s3, direct_dynamodb, proxy, servers }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn http() -> SharedHttpClient {
    Builder::new().build_http()
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(Duration::from_secs(20)).build()
}

/// A client with this secret for the key `test`.
pub(crate) fn s3_client(endpoint: &str, secret: &str, retries: RetryConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .credentials_provider(Credentials::new("test", secret, None, None, "test"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .http_client(http())
        .region(Region::new("us-east-1"))
        .retry_config(retries)
        .timeout_config(timeouts());
    aws_sdk_s3::Client::from_conf(config.build())
}

fn dynamodb_client(endpoint: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(endpoint)
        .http_client(http())
        .region(Region::new("us-east-1"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

impl Objects {
    pub(crate) fn get(&self, key: &str) -> GetObject {
        self.client.get_object().bucket(&self.bucket).key(key)
    }

    pub(crate) fn head(&self, key: &str) -> HeadObject {
        self.client.head_object().bucket(&self.bucket).key(key)
    }

    pub(crate) fn write(&self, key: &str) -> PutObject {
        self.client.put_object().bucket(&self.bucket).key(key)
    }

    pub(crate) fn delete(&self, key: &str) -> DeleteObject {
        self.client.delete_object().bucket(&self.bucket).key(key)
    }

    pub(crate) fn list(&self) -> ListObjects {
        self.client.list_objects_v2().bucket(&self.bucket)
    }

    /// Puts an object, which must succeed.
    pub(crate) async fn put(&self, key: &str, body: &[u8]) {
        self.write(key).body(ByteStream::from(body.to_vec())).send().await.unwrap();
    }

    /// The body of an object that must be there.
    pub(crate) async fn read(&self, key: &str) -> Vec<u8> {
        self.get(key).send().await.unwrap().body.collect().await.unwrap().to_vec()
    }
}

impl Items {
    async fn create_table(&self) {
        let attribute = |name: &str| {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let table =
            self.client.create_table().table_name(&self.table).billing_mode(BillingMode::PayPerRequest);
        let table = table.attribute_definitions(attribute("pk")).attribute_definitions(attribute("sk"));
        let table = table.key_schema(key("pk", KeyType::Hash)).key_schema(key("sk", KeyType::Range));
        table.send().await.unwrap();
    }

    pub(crate) fn get(&self, key: Item) -> GetItem {
        self.client.get_item().table_name(&self.table).set_key(Some(key))
    }

    pub(crate) fn put(&self, item: Item) -> PutItem {
        self.client.put_item().table_name(&self.table).set_item(Some(item))
    }

    /// The sort keys of a partition's items, in the order of the answer.
    pub(crate) async fn stored(&self, partition: &str) -> Vec<String> {
        let query = self.client.query().table_name(&self.table).key_condition_expression("pk = :p");
        let query = query.expression_attribute_values(":p", AttributeValue::S(partition.to_owned()));
        let found = query.consistent_read(true).send().await.unwrap();
        found.items().iter().map(|item| item["sk"].as_s().unwrap().clone()).collect()
    }
}

/// An item of the table.
pub(crate) fn item(partition: &str, sort: &str, value: &str) -> Item {
    let mut item = key(partition, sort);
    item.insert("value".to_owned(), AttributeValue::N(value.to_owned()));
    item
}

/// The key of an item of the table.
pub(crate) fn key(partition: &str, sort: &str) -> Item {
    [("pk", partition), ("sk", sort)]
        .map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned())))
        .into()
}

/// The code of the error that a call must end with, or how it failed without one.
pub(crate) fn code<T, E>(result: Result<T, SdkError<E>>) -> String
where
    SdkError<E>: ProvideErrorMetadata + std::error::Error,
{
    let error = result.err().unwrap();
    error.code().map_or_else(|| DisplayErrorContext(&error).to_string(), str::to_owned)
}

/// Whether the call ended without an answer.
pub(crate) fn unanswered<T, E>(result: &Result<T, SdkError<E>>) -> bool {
    matches!(
        result,
        Err(SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_))
    )
}
