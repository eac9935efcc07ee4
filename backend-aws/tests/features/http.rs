//! Rows on a DynamoDB server, with faults on the way to it: the condition is the server's own.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use recstore_aws::config::{AwsConfig, RetryConfig};
use recstore_aws::online::client::client;
use recstore_aws::online::sdk::SdkCalls;
use recstore_aws::online::tables::{TableNames, Tables};
use recstore_aws::online::{Online, OnlineOptions};
use recstore_aws::retry::RetryPolicy;
use recstore_core::features::MAX_ROW_BYTES;
use recstore_core::{Deadline, ErrorKind, Outcome, Timestamp};
use recstore_test_cloud::{Action, Cloud, Keep, Rule, Stage};

use crate::rows::{at, erase, get, id, put, put_all, row};

async fn sdk(endpoint: &str) -> Client {
    let keys = Cloud::get().unwrap().credentials();
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let environment = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new(keys.access_key, keys.secret_key, None, None, "test"))
        .http_client(http.build_https())
        .load()
        .await;
    let config = AwsConfig { endpoint_url: Some(endpoint.to_owned()), ..AwsConfig::default() };
    client(&environment, &config).unwrap()
}

/// Tables of a test's own, used through this endpoint.
async fn online(endpoint: &str) -> Online {
    let cloud = Cloud::get().unwrap();
    let names = TableNames::new(&format!("{}.", cloud.unique_name("custom"))).unwrap();
    let direct = SdkCalls::new(sdk(cloud.dynamodb_endpoint()).await);
    let policy = RetryPolicy::new(RetryConfig::default(), Duration::from_secs(5), 1);
    let soon = Deadline::after(Duration::from_secs(60));
    Tables::new(&direct, &names, &policy).create_missing(soon).await.unwrap();
    let calls = SdkCalls::new(sdk(endpoint).await);
    let retry =
        RetryConfig { max_attempts: 5, first_delay: Duration::from_millis(5), ..RetryConfig::default() };
    let request_timeout = Duration::from_millis(500);
    Online::new(Arc::new(calls), names, OnlineOptions { request_timeout, retry, ..OnlineOptions::default() })
}

#[tokio::test]
async fn the_server_itself_keeps_the_newer_row() {
    use Outcome::{Applied, Duplicate, Erased, Stale};
    let online = online(Cloud::get().unwrap().dynamodb_endpoint()).await;
    let one = |millis, age| vec![row(1, millis, age)];
    // Of one time the greater hash wins; numbers are compared as numbers, and not as text.
    let mut rivals: Vec<_> = (0..12).map(|age| row(1, 10, Some(age))).collect();
    for rival in &rivals {
        let stored = get(&online, 1).await.unwrap().map(|row| row.order());
        let expected = if stored < Some(rival.1.order()) { Applied } else { Stale };
        assert_eq!(put_all(&online, vec![rival.clone()]).await, [expected]);
    }
    rivals.sort_by_key(|(_, row)| row.order());
    assert_eq!(get(&online, 1).await.unwrap().as_ref(), rivals.last().map(|(_, row)| row));
    assert_eq!(put_all(&online, one(9, Some(1))).await, [Stale]);
    assert_eq!(put_all(&online, one(100, None)).await, [Applied]);
    assert_eq!(put_all(&online, one(100, None)).await, [Duplicate]);
    assert_eq!(put_all(&online, one(99, Some(1))).await, [Stale]);
    assert!(erase(&online, 1, 1_000).await.unwrap());
    assert_eq!(put_all(&online, one(1_000, Some(3))).await, [Erased]);
    assert_eq!(put_all(&online, one(1_001, Some(3))).await, [Applied]);
    assert!(!erase(&online, 1, 1_000).await.unwrap());
}

#[tokio::test]
async fn many_rows_and_the_largest_come_back() {
    let online = online(Cloud::get().unwrap().dynamodb_endpoint()).await;
    let rows: Vec<_> = (0..230).map(|of| row(of, 5, Some(of as i64))).collect();
    assert_eq!(put_all(&online, rows.clone()).await, [Outcome::Applied; 230]);
    let large = recstore_aws::online::custom::CustomRow::new(Timestamp::MAX, vec![7; MAX_ROW_BYTES]);
    assert_eq!(put_all(&online, vec![(id(0), large.clone())]).await, [Outcome::Applied]);
    assert_eq!(get(&online, 0).await.unwrap(), Some(large));
    assert_eq!(get(&online, 229).await.unwrap().as_ref(), Some(&rows[229].1));
    assert_eq!(get(&online, 230).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_of_one_row_at_once_one_is_applied_and_the_newest_stays() {
    let online = online(Cloud::get().unwrap().dynamodb_endpoint()).await;
    for round in 0..20 {
        let writer = |age| {
            let online = online.clone();
            tokio::spawn(async move { put_all(&online, vec![row(round, 5, age)]).await[0] })
        };
        // Four put the same row, one another.
        let mut outcomes = Vec::new();
        for writer in [writer(Some(1)), writer(Some(1)), writer(Some(1)), writer(Some(1)), writer(None)] {
            outcomes.push(writer.await.unwrap());
        }
        let greatest = row(round, 5, Some(1)).1.order().max(row(round, 5, None).1.order());
        assert_eq!(get(&online, round).await.unwrap().unwrap().order(), greatest);
        let applied = |outcomes: &[Outcome]| outcomes.iter().filter(|&&of| of == Outcome::Applied).count();
        assert!(applied(&outcomes[..4]) <= 1, "{outcomes:?}");
        assert!((1..=2).contains(&applied(&outcomes)), "{outcomes:?}");
    }
}

#[tokio::test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_DYNAMODB")]
async fn a_row_whose_answer_is_lost_in_any_way_is_told_to_be_applied() {
    let proxy = Cloud::get().unwrap().proxy().unwrap();
    let online = online(proxy.dynamodb_endpoint()).await;
    for (step, action) in [
        Action::LoseAnswer,
        Action::Cut { bytes: 1 },
        Action::internal_server_error().after_forward(),
        Action::Stall { stage: Stage::BeforeHeaders, millis: Some(1_500) },
        Action::Reset,
        Action::Stall { stage: Stage::BeforeRequest, millis: Some(1_500) },
        Action::throttling(),
    ]
    .into_iter()
    .enumerate()
    {
        let rule = proxy.add(&Rule::dynamodb(action.clone()).operation("PutItem").first(1)).unwrap();
        let time = step as i64 + 1;
        let outcomes = put_all(&online, vec![row(1, time, Some(1))]).await;
        assert_eq!(outcomes, [Outcome::Applied], "{action:?}");
        assert_eq!(proxy.fired(rule).unwrap(), 1, "{action:?}");
        proxy.clear().unwrap();
        assert_eq!(get(&online, 1).await.unwrap().unwrap().event_time, at(time));
        assert_eq!(put_all(&online, vec![row(1, time, Some(1))]).await, [Outcome::Duplicate]);
    }
}

#[tokio::test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_DYNAMODB")]
async fn throttled_rows_are_failed_and_never_missing() {
    let proxy = Cloud::get().unwrap().proxy().unwrap();
    let online = online(proxy.dynamodb_endpoint()).await;
    put_all(&online, vec![row(1, 1, Some(1))]).await;
    proxy.add(&Rule::dynamodb(Action::throttling()).operation("PutItem")).unwrap();
    let failed = put(&online, vec![row(1, 2, Some(2)), row(2, 2, Some(2))]).await;
    for error in failed.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Busy);
    }
    assert_eq!(get(&online, 1).await.unwrap().unwrap().event_time, at(1));
    proxy.add(&Rule::dynamodb(Action::Partial(Keep::Without("default#1\"".to_owned())))).unwrap();
    assert_eq!(get(&online, 1).await.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(get(&online, 2).await.unwrap(), None);
}
