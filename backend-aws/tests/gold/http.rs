//! Releases over real HTTP: on the servers of the tests, or any that `AWS_ENDPOINT_URL_S3` and
//! `AWS_ENDPOINT_URL_DYNAMODB` name.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use recstore_aws::clients::AwsEnvironment;
use recstore_aws::config::{AwsConfig, S3Config};
use recstore_aws::online::client::client;
use recstore_aws::online::sdk::SdkCalls;
use recstore_aws::online::tables::{TableNames, Tables};
use recstore_aws::online::{Online, OnlineOptions};
use recstore_aws::retry::RetryPolicy;
use recstore_aws::{AwsParts, AwsStorage};
use recstore_core::{
    Deadline, EntityKind, GetOptions, Namespace, NeighbourRequest, PruneOptions, PutOptions, SimilarityStore,
    StoreContext,
};
use recstore_test_cloud::Cloud;

use crate::support::{key, list, popular, spec};

const ITEM: EntityKind = EntityKind::Item;

fn sdk() -> SdkConfig {
    let keys = Cloud::get().unwrap().credentials();
    let credentials = Credentials::new(keys.access_key, keys.secret_key, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

/// Two processes on a bucket and tables of their own.
async fn processes() -> [AwsStorage; 2] {
    let cloud = Cloud::get().unwrap();
    let bucket = cloud.unique_name("gold");
    let s3 = aws_sdk_s3::config::Builder::from(&sdk())
        .endpoint_url(cloud.s3_endpoint())
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(s3).create_bucket().bucket(&bucket).send().await.unwrap();
    let names = TableNames::new(&format!("{}.", cloud.unique_name("gold"))).unwrap();
    let endpoint_url = Some(cloud.dynamodb_endpoint().to_owned());
    let dynamodb = client(&sdk(), &AwsConfig { endpoint_url, ..AwsConfig::default() }).unwrap();
    let calls = SdkCalls::new(dynamodb);
    let options = OnlineOptions::default();
    let policy = RetryPolicy::new(options.retry, options.request_timeout, 1);
    Tables::new(&calls, &names, &policy)
        .create_missing(Deadline::after(Duration::from_secs(60)))
        .await
        .unwrap();
    let s3 = S3Config { bucket, endpoint_url: Some(cloud.s3_endpoint().to_owned()), ..S3Config::default() };
    let config = AwsConfig { s3, ..AwsConfig::default() };
    let context = StoreContext::default();
    [1, 2].map(|claim| {
        let environment = AwsEnvironment::from_sdk(sdk(), context.clock.clone());
        let parts = AwsParts {
            lake: environment.lake(&config, claim).unwrap(),
            online: Online::new(Arc::new(calls.clone()), names.clone(), options),
            config: config.clone(),
            context: context.clone(),
            claim: u128::from(claim),
        };
        AwsStorage::new(parts, Namespace::default()).unwrap()
    })
}

async fn first_neighbour(store: &AwsStorage) -> String {
    let answer =
        store.get_neighbours(NeighbourRequest::new(ITEM, vec![key("a"), key("é#/ b")])).await.unwrap();
    let lists: Vec<_> = answer.lists.into_iter().map(|list| list.into_result().unwrap().unwrap()).collect();
    assert!(lists[1].is_empty());
    lists[0][0].id.to_string()
}

#[tokio::test]
async fn releases_live_over_http_as_they_do_over_the_fakes() {
    let [store, other] = processes().await;
    let mut releases = Vec::new();
    for to in ["0", "1", "2"] {
        let release = store.begin_release(spec()).await.unwrap();
        // Both at once: one of them is first, the other goes again.
        let put = async |store: &AwsStorage, id: &str| {
            let lists = vec![list(id, &[to, "x"]), list("é#/ b", &[])];
            store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
        };
        tokio::join!(put(&store, "a"), put(&other, "b"));
        let ranks = popular(&[to, "a"]);
        let (one, two) =
            tokio::join!(store.seal_release(&release, ranks.clone()), other.seal_release(&release, ranks));
        assert_eq!(one.unwrap(), two.unwrap());
        let (one, two) = tokio::join!(store.promote_release(&release), other.promote_release(&release));
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(
            (first_neighbour(&store).await, first_neighbour(&other).await),
            (to.to_owned(), to.to_owned())
        );
        releases.push(release);
    }
    assert_eq!(other.rollback_release(ITEM).await.unwrap().id, releases[1]);
    assert_eq!(
        (first_neighbour(&store).await, first_neighbour(&other).await),
        ("1".to_owned(), "1".to_owned())
    );
    store.hide_items(vec!["1".parse().unwrap()]).await.unwrap();
    assert_eq!(first_neighbour(&other).await, "x");
    assert_eq!(other.get_popular(ITEM, 1, GetOptions::default()).await.unwrap(), popular(&["a"]));
    other.unhide_items(vec!["1".parse().unwrap()]).await.unwrap();
    assert_eq!(first_neighbour(&store).await, "1");
    let removed =
        store.prune_releases(ITEM, PruneOptions { keep: 0, ..PruneOptions::default() }).await.unwrap();
    assert_eq!(removed, [releases[2].clone(), releases[0].clone()]);
    assert_eq!(first_neighbour(&other).await, "1");
}
