//! Each fault does what it says: to the client, and to what the server has afterwards.

use crate::clients::{Faulty, Objects, code, item, key, s3_client, unanswered, url};
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder as PutItem;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_s3::primitives::ByteStream;
use recstore_test_cloud::{Action, Rule, Side, Stage, When};
use std::time::{Duration, Instant};

/// Longer than anything takes that is not held, and short enough to be waited for.
const A_WHILE: Duration = Duration::from_millis(300);

async fn create(client: &Objects, key: &str) -> Result<(), String> {
    let put = client.write(key).if_none_match("*");
    let result = put.body(ByteStream::from_static(b"body")).send().await;
    result
        .map(drop)
        .map_err(|error| error.code().map_or_else(|| DisplayErrorContext(&error).to_string(), str::to_owned))
}

async fn exists(faulty: &Faulty, key: &str) -> bool {
    faulty.direct_s3.head(key).send().await.is_ok()
}

fn put_item(faulty: &Faulty, sort: &str) -> PutItem {
    faulty.dynamodb.put(item("p", sort, "1"))
}

#[tokio::test]
async fn s3_errors_have_their_codes_and_nothing_is_written() {
    let faulty = Faulty::new().await;
    for (action, expected) in [
        (Action::slow_down(), "SlowDown"),
        (Action::internal_error(), "InternalError"),
        (Action::expired_token(), "ExpiredToken"),
        (Action::conditional_request_conflict(), "ConditionalRequestConflict"),
        (Action::answer(403, "AccessDenied"), "AccessDenied"),
    ] {
        let rule = faulty.proxy.add(Rule::s3(action));
        assert_eq!(create(&faulty.s3, "a").await, Err(expected.to_owned()));
        assert!(faulty.proxy.remove(rule));
        assert!(!exists(&faulty, "a").await, "{expected}");
    }
    assert_eq!(create(&faulty.s3, "a").await, Ok(()));
    let counts = faulty.proxy.counts().operation("PutObject");
    assert_eq!((counts.requests(), counts.forwarded(), counts.faults()), (6, 1, 5));
}

#[tokio::test]
async fn dynamodb_errors_have_their_codes_and_nothing_is_written() {
    let faulty = Faulty::new().await;
    for (action, expected) in [
        (Action::throttling(), "ThrottlingException"),
        (Action::throughput_exceeded(), "ProvisionedThroughputExceededException"),
        (Action::internal_server_error(), "InternalServerError"),
        (Action::expired_token_exception(), "ExpiredTokenException"),
    ] {
        let rule = faulty.proxy.add(Rule::dynamodb(action));
        assert_eq!(code(put_item(&faulty, "a").send().await), expected);
        faulty.proxy.remove(rule);
    }
    assert!(faulty.direct_dynamodb.stored("p").await.is_empty());
}

#[tokio::test]
async fn an_error_can_come_in_an_answer_of_status_200() {
    let faulty = Faulty::new().await;
    faulty.s3.put("a", b"body").await;
    faulty.proxy.add(Rule::s3(Action::error_with_200()).operation("CopyObject"));
    let copy = faulty
        .s3
        .client
        .copy_object()
        .bucket(&faulty.s3.bucket)
        .key("b")
        .copy_source("bucket/a")
        .send()
        .await;
    assert_eq!(code(copy), "InternalError");
    assert!(!exists(&faulty, "b").await);
}

#[tokio::test]
async fn an_error_can_come_after_the_write_was_done() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::internal_error().after_forward()).first(1));
    assert_eq!(create(&faulty.s3, "a").await, Err("InternalError".to_owned()));
    assert!(exists(&faulty, "a").await);
    assert_eq!(create(&faulty.s3, "a").await, Err("PreconditionFailed".to_owned()));
}

#[tokio::test]
async fn a_reset_comes_before_the_server_has_the_request() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::Reset).first(1));
    faulty.proxy.add(Rule::dynamodb(Action::Reset).first(1));
    let error = create(&faulty.s3, "a").await.unwrap_err();
    assert!(error.contains("reset") || error.contains("closed"), "{error}");
    assert!(!exists(&faulty, "a").await);
    let result = put_item(&faulty, "a").send().await;
    assert!(unanswered(&result), "{result:?}");
    assert!(faulty.direct_dynamodb.stored("p").await.is_empty());
    assert_eq!(faulty.proxy.counts().operation("PutObject").forwarded(), 0);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_write_done() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::LoseAnswer).operation("PutObject").first(1));
    faulty.proxy.add(Rule::dynamodb(Action::LoseAnswer).operation("PutItem").first(1));
    assert!(create(&faulty.s3, "a").await.is_err());
    assert!(exists(&faulty, "a").await);
    let result = put_item(&faulty, "a").send().await;
    assert!(unanswered(&result), "{result:?}");
    assert_eq!(faulty.direct_dynamodb.stored("p").await, ["a"]);
}

#[tokio::test]
async fn a_client_that_retries_a_lost_conditional_write_meets_its_own() {
    let faulty = Faulty::new().await;
    let rule = faulty.proxy.add(Rule::s3(Action::LoseAnswer).first(1));
    let retrying = Objects {
        client: s3_client(&url(faulty.proxy.s3()), "test", RetryConfig::standard()),
        bucket: "bucket".to_owned(),
    };
    assert_eq!(create(&retrying, "a").await, Err("PreconditionFailed".to_owned()));
    let counts = faulty.proxy.counts().operation("PutObject");
    assert_eq!((counts.requests(), counts.forwarded()), (2, 2));
    let state = faulty.proxy.rules().into_iter().find(|state| state.id == rule).unwrap();
    assert_eq!((state.matched, state.fired), (2, 1));
}

#[tokio::test]
async fn a_doubled_request_is_carried_out_twice() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::Twice));
    assert_eq!(create(&faulty.s3, "a").await, Err("PreconditionFailed".to_owned()));
    assert!(exists(&faulty, "a").await);
    let counts = faulty.proxy.counts().operation("PutObject");
    assert_eq!((counts.requests(), counts.forwarded()), (1, 2));
}

#[tokio::test]
async fn a_delayed_request_arrives_where_its_client_has_gone() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::Delay { millis: 300 }));
    let begun = Instant::now();
    assert_eq!(create(&faulty.s3, "waited").await, Ok(()));
    assert!(begun.elapsed() >= A_WHILE);
    let gone = tokio::time::timeout(A_WHILE / 3, create(&faulty.s3, "late")).await;
    assert!(gone.is_err());
    assert!(!exists(&faulty, "late").await);
    eventually(async || exists(&faulty, "late").await).await;
}

/// Waits until it is so; a test that waits in vain ends by its client's time limit.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_request_that_stands_still_before_the_server_goes_on_when_the_rule_is_removed() {
    let faulty = Faulty::new().await;
    let rule = faulty.proxy.add(Rule::s3(Action::stall(Stage::BeforeRequest)).operation("PutObject"));
    let client = faulty.s3.clone();
    let put = tokio::spawn(async move { create(&client, "a").await });
    eventually(async || faulty.proxy.rules()[0].fired == 1).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(!exists(&faulty, "a").await && !put.is_finished());
    faulty.proxy.remove(rule);
    assert_eq!(put.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_request_that_stands_still_before_the_server_never_gets_there_when_its_client_goes() {
    let faulty = Faulty::new().await;
    let rule = faulty.proxy.add(Rule::s3(Action::stall(Stage::BeforeRequest)).operation("PutObject"));
    assert!(tokio::time::timeout(A_WHILE, create(&faulty.s3, "a")).await.is_err());
    // The proxy sees that the client is gone before it sees that the rule is.
    tokio::time::sleep(A_WHILE).await;
    faulty.proxy.remove(rule);
    tokio::time::sleep(A_WHILE).await;
    assert!(!exists(&faulty, "a").await);
}

#[tokio::test]
async fn an_answer_that_stands_still_before_its_head_leaves_the_write_done() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::stall(Stage::BeforeHeaders)).operation("PutObject"));
    assert!(tokio::time::timeout(A_WHILE, create(&faulty.s3, "a")).await.is_err());
    assert!(exists(&faulty, "a").await);
}

#[tokio::test]
async fn an_answer_that_stands_still_in_its_body_has_its_head_and_half() {
    let faulty = Faulty::new().await;
    faulty.s3.put("a", b"0123456789").await;
    let rule = faulty.proxy.add(Rule::s3(Action::stall(Stage::MidBody)).operation("GetObject"));
    let mut got = faulty.s3.get("a").send().await.unwrap();
    assert_eq!(got.body.next().await.unwrap().unwrap(), "01234");
    assert!(tokio::time::timeout(A_WHILE, got.body.next()).await.is_err());
    faulty.proxy.remove(rule);
    assert_eq!(got.body.next().await.unwrap().unwrap(), "56789");
    assert!(got.body.next().await.is_none());
}

#[tokio::test]
async fn a_stall_ends_by_itself_where_it_has_a_time() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::Stall { stage: Stage::BeforeHeaders, millis: Some(300) }));
    let begun = Instant::now();
    assert_eq!(create(&faulty.s3, "a").await, Ok(()));
    assert!(begun.elapsed() >= A_WHILE);
}

#[tokio::test]
async fn a_cut_body_is_an_error_when_it_is_read() {
    let faulty = Faulty::new().await;
    faulty.s3.put("a", b"0123456789").await;
    for (bytes, expected) in [(4, "0123"), (0, ""), (10, "012345678"), (99, "012345678")] {
        let rule = faulty.proxy.add(Rule::s3(Action::Cut { bytes }).operation("GetObject"));
        let mut got = faulty.s3.get("a").send().await.unwrap();
        assert_eq!(got.content_length(), Some(10));
        let mut came = Vec::new();
        let error = loop {
            match got.body.next().await {
                Some(Ok(chunk)) => came.extend_from_slice(&chunk),
                Some(Err(error)) => break error,
                None => panic!("the body ended as if it were whole after {came:?}"),
            }
        };
        assert_eq!(came, expected.as_bytes(), "{error}");
        faulty.proxy.remove(rule);
    }
    assert_eq!(faulty.s3.read("a").await, b"0123456789");
}

#[tokio::test]
async fn a_cut_answer_of_dynamodb_is_no_answer() {
    let faulty = Faulty::new().await;
    put_item(&faulty, "a").send().await.unwrap();
    faulty.proxy.add(Rule::dynamodb(Action::Cut { bytes: 10 }));
    let result = faulty.dynamodb.get(key("p", "a"));
    let result = result.send().await;
    assert!(unanswered(&result), "{result:?}");
}

#[tokio::test]
async fn a_rule_is_about_what_it_names_alone() {
    let faulty = Faulty::new().await;
    let slow = || Rule::s3(Action::slow_down());
    for (rule, hit, missed) in [
        (slow().path_prefix("/bucket/bronze/"), "bronze/a", "silver/a"),
        (slow().operation("PutObject").body_contains("nothing of it"), "", "a"),
        (slow().place_prefix("buck").path_prefix("/bucket/b"), "b", "c"),
        (slow().place_prefix("other"), "", "d"),
        (slow().method("GET"), "", "e"),
        (Rule::dynamodb(Action::throttling()), "", "f"),
    ] {
        let id = faulty.proxy.add(rule);
        if !hit.is_empty() {
            assert_eq!(create(&faulty.s3, hit).await, Err("SlowDown".to_owned()));
        }
        assert_eq!(create(&faulty.s3, missed).await, Ok(()));
        faulty.proxy.remove(id);
    }
    faulty.proxy.add(Rule::dynamodb(Action::throttling()).operation("PutItem").body_contains("\"hot\""));
    assert_eq!(code(put_item(&faulty, "hot").send().await), "ThrottlingException");
    put_item(&faulty, "cold").send().await.unwrap();
}

#[tokio::test]
async fn the_first_rule_that_is_due_acts_and_clearing_ends_them_all() {
    let faulty = Faulty::new().await;
    faulty.proxy.add(Rule::s3(Action::slow_down()).nth(2));
    faulty.proxy.add(Rule::s3(Action::internal_error()).first(2));
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.push(create(&faulty.s3, "a").await.err().unwrap_or_default());
    }
    assert_eq!(outcomes, ["InternalError", "SlowDown", "InternalError", ""]);
    let states: Vec<_> = faulty.proxy.rules().iter().map(|state| (state.matched, state.fired)).collect();
    assert_eq!(states, [(4, 1), (3, 2)]);
    faulty.proxy.add(Rule::s3(Action::slow_down()));
    faulty.proxy.clear();
    assert_eq!(faulty.s3.read("a").await, b"body");
}

#[tokio::test]
async fn chance_strikes_its_share_of_requests() {
    let faulty = Faulty::new().await;
    let when = When::Chance { probability: 0.75, seed: 1 };
    faulty.proxy.add(Rule::s3(Action::slow_down()).when(when));
    for number in 0..200 {
        let expected = [Ok(()), Err("SlowDown".to_owned())];
        assert!(expected.contains(&create(&faulty.s3, &number.to_string()).await));
    }
    let fired = faulty.proxy.rules()[0].fired;
    assert!((130..=170).contains(&fired), "{fired}");
    assert_eq!(faulty.proxy.counts().operation("PutObject").forwarded(), 200 - fired);
}

#[tokio::test]
async fn requests_and_bytes_are_counted_by_operation_and_place() {
    let faulty = Faulty::new().await;
    faulty.s3.put("a", &[7; 1000]).await;
    for _ in 0..3 {
        assert_eq!(faulty.s3.read("a").await.len(), 1000);
    }
    faulty.s3.list().send().await.unwrap();
    put_item(&faulty, "a").send().await.unwrap();
    let counts = faulty.proxy.counts();
    let s3 = counts.side(Side::S3).within("bucket");
    let operations: Vec<_> = s3.0.iter().map(|count| (count.operation.as_str(), count.requests)).collect();
    assert_eq!(operations, [("GetObject", 3), ("ListObjectsV2", 1), ("PutObject", 1)]);
    assert_eq!(s3.operation("GetObject").response_bytes(), 3000);
    assert!(s3.operation("PutObject").request_bytes() >= 1000);
    assert_eq!(counts.operation("PutItem").0[0].place, "table");
    faulty.proxy.reset_counts();
    assert!(faulty.proxy.counts().0.is_empty());
    faulty.s3.read("a").await;
    assert_eq!(faulty.proxy.counts().requests(), 1);
    assert_eq!(faulty.proxy.counts().since(&counts).requests(), 0);
}

#[tokio::test]
async fn proxies_do_not_share_rules_or_counts() {
    let (faulty, other) = (Faulty::new().await, Faulty::new().await);
    faulty.proxy.add(Rule::s3(Action::slow_down()));
    assert_eq!(create(&other.s3, "a").await, Ok(()));
    assert_eq!(faulty.proxy.counts().requests(), 0);
}

#[tokio::test]
async fn a_closed_proxy_is_a_server_that_is_down() {
    let faulty = Faulty::new().await;
    faulty.s3.put("a", b"body").await;
    let Faulty { proxy, s3, direct_s3, servers, .. } = faulty;
    proxy.close().await;
    let result = s3.get("a").send().await;
    assert!(unanswered(&result), "{result:?}");
    assert_eq!(direct_s3.read("a").await, b"body");
    drop(servers);
}
