//! The same over real HTTP: against the servers of the tests, or any that `AWS_ENDPOINT_URL_S3` names; faults by the
//! proxy before them.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use recstore_aws::clients::AwsEnvironment;
use recstore_aws::config::{AwsConfig, RetryConfig, S3Config};
use recstore_aws::lake::bronze::reader::BronzeReader;
use recstore_aws::lake::bronze::writer::BronzeWriter;
use recstore_aws::lake::store::LakeStore;
use recstore_aws::setup::roles::Role;
use recstore_core::{Deadline, Error, ErrorKind, Rating, SystemClock};
use recstore_test_cloud::{Action, Cloud, Proxy, Rule, Side, Stage, When};

use crate::support::{events, parts, read, read_all, reader};

const SECRET_KEY: &str = "not-to-be-seen-anywhere";

/// A bucket of its own and the lake in it, by way of a proxy or straight.
struct Bucket {
    name: String,
    endpoint: String,
    proxy: Option<Proxy>,
    lake: LakeStore,
}

fn sdk(secret: Option<&str>) -> SdkConfig {
    let keys = Cloud::get().unwrap().credentials();
    let secret = secret.unwrap_or(&keys.secret_key);
    let credentials = Credentials::new(keys.access_key, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .build()
}

fn lake(bucket: &str, endpoint: &str, secret: Option<&str>) -> LakeStore {
    let config = AwsConfig {
        s3: S3Config {
            bucket: bucket.to_owned(),
            prefix: "lake/one".to_owned(),
            endpoint_url: Some(endpoint.to_owned()),
            connect_timeout: Duration::from_millis(500),
            request_timeout: Duration::from_millis(800),
        },
        retry: RetryConfig { max_elapsed: Duration::from_secs(4), ..RetryConfig::default() },
        ..AwsConfig::default()
    };
    AwsEnvironment::from_sdk(sdk(secret), Arc::new(SystemClock)).lake(&config, 1).unwrap()
}

impl Bucket {
    async fn new(with_proxy: bool) -> Bucket {
        let cloud = Cloud::get().unwrap();
        let name = cloud.unique_name("bronze");
        let config = aws_sdk_s3::config::Builder::from(&sdk(None))
            .endpoint_url(cloud.s3_endpoint())
            .force_path_style(true)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(&name).send().await.unwrap();
        let proxy = with_proxy.then(|| cloud.proxy().unwrap());
        let endpoint = proxy.as_ref().map_or(cloud.s3_endpoint(), Proxy::s3_endpoint).to_owned();
        let lake = lake(&name, &endpoint, None);
        Bucket { name, endpoint, proxy, lake }
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    fn writer(&self) -> BronzeWriter {
        BronzeWriter::spawn(parts(&self.lake, "w", 1, Arc::new(SystemClock))).unwrap()
    }

    /// A writer in an epoch, with the first ten events stored; what is put from here on is objects of events.
    async fn warm_writer(&self) -> BronzeWriter {
        let writer = self.writer();
        append(&writer, events(0, 10)).await.unwrap();
        self.proxy().reset_counts().unwrap();
        writer
    }

    fn requests(&self, operation: &str) -> u64 {
        self.proxy().counts().unwrap().side(Side::S3).operation(operation).requests()
    }
}

async fn append(writer: &BronzeWriter, events: Vec<Rating>) -> Result<(), Error> {
    writer.append(events, None).await.map(|receipt| assert!(receipt.is_some()))
}

/// The proxy's control calls block.
async fn with_rule<T>(bucket: &Bucket, rule: Rule, call: impl Future<Output = T>) -> T {
    let rule = bucket.proxy().add(&rule).unwrap();
    let answer = call.await;
    assert!(bucket.proxy().fired(rule).unwrap() > 0, "the fault happened");
    bucket.proxy().remove(rule).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_back_over_http() {
    let bucket = Bucket::new(false).await;
    let writer = bucket.writer();
    let calls = (0..20).map(|call| append(&writer, events(call * 100, 100)));
    futures::future::try_join_all(calls).await.unwrap();
    let first = reader(&bucket.lake).list(&Default::default(), None).await.unwrap();
    assert_eq!((first.objects.len(), first.events()), (1, 2_000));
    append(&writer, events(2_000, 5_000)).await.unwrap();
    let second = reader(&bucket.lake).list(&first.cursors, None).await.unwrap();
    assert_eq!((second.objects.len(), second.events(), second.gaps.len()), (1, 5_000, 0));
    let found = read_all(&bucket.lake).await;
    assert_eq!(found.len(), 7_000);
    assert_eq!(found[2_000..], events(2_000, 5_000));
    writer.close().await;
}

/// The actions of the operations that came.
fn actions_sent(bucket: &Bucket) -> BTreeSet<&'static str> {
    let counts = bucket.proxy().counts().unwrap().0;
    let action = |operation: &str| match operation {
        "PutObject" => "s3:PutObject",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "ListObjectsV2" => "s3:ListBucket",
        other => panic!("no role may {other}"),
    };
    counts.iter().map(|count| action(&count.operation)).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn writers_and_readers_send_nothing_but_what_the_policies_of_their_roles_permit() {
    let bucket = Bucket::new(true).await;
    let permitted = |role: Role| -> BTreeSet<&'static str> {
        role.calls().map(|call| call.action).filter(|action| action.starts_with("s3:")).collect()
    };
    let writer = bucket.warm_writer().await;
    let lost = Rule::s3(Action::LoseAnswer).operation("PutObject").first(1);
    with_rule(&bucket, lost, append(&writer, events(10, 10))).await.unwrap();
    writer.close().await;
    append(&bucket.writer(), events(20, 10)).await.unwrap();
    assert!(actions_sent(&bucket).is_subset(&permitted(Role::Ingest)));
    bucket.proxy().reset_counts().unwrap();
    assert_eq!(read_all(&bucket.lake).await.len(), 30);
    assert!(actions_sent(&bucket).is_subset(&permitted(Role::Pipeline)));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_one_name_have_epochs_of_their_own_over_http() {
    let bucket = Bucket::new(false).await;
    let writers = (1..=4)
        .map(|claim| BronzeWriter::spawn(parts(&bucket.lake, "w", claim, Arc::new(SystemClock))).unwrap());
    let writers: Vec<_> = writers.collect();
    let calls = writers.iter().enumerate().map(|(at, writer)| writer.append(events(at as u64, 1), None));
    let receipts = futures::future::try_join_all(calls).await.unwrap();
    let epochs: std::collections::BTreeSet<u32> =
        receipts.into_iter().map(|receipt| receipt.unwrap().key.epoch.epoch).collect();
    assert_eq!(epochs.len(), 4);
    assert_eq!(read_all(&bucket.lake).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_page_is_listed_over_http() {
    let bucket = Bucket::new(false).await;
    let mut parts = parts(&bucket.lake, "w", 1, Arc::new(SystemClock));
    parts.ingest.max_batch_events = 1;
    let writer = BronzeWriter::spawn(parts).unwrap();
    let calls = (0..1_050).map(|number| append(&writer, events(number, 1)));
    futures::future::try_join_all(calls).await.unwrap();
    let before = bucket.lake.requests();
    let list = reader(&bucket.lake).list(&Default::default(), None).await.unwrap();
    assert_eq!((list.objects.len(), list.gaps.len()), (1_050, 0));
    assert_eq!(bucket.lake.requests().lists - before.lists, 4, "writers, epochs and two pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_named() {
    let endpoint = Cloud::get().unwrap().s3_endpoint().to_owned();
    let missing = lake("no-such-bucket-here", &endpoint, None);
    let writer = BronzeWriter::spawn(parts(&missing, "w", 1, Arc::new(SystemClock))).unwrap();
    let error = append(&writer, events(0, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "the bucket does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable_and_known_to_have_stored_nothing() {
    let gone = lake("some-bucket", "http://127.0.0.1:9", None);
    let writer = BronzeWriter::spawn(parts(&gone, "w", 1, Arc::new(SystemClock))).unwrap();
    assert_eq!(append(&writer, events(0, 1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_lost_answer_costs_one_more_put_and_one_look() {
    let bucket = Bucket::new(true).await;
    let writer = bucket.warm_writer().await;
    let rule = Rule::s3(Action::LoseAnswer).operation("PutObject").first(1);
    with_rule(&bucket, rule, append(&writer, events(10, 10))).await.unwrap();
    assert_eq!((bucket.requests("PutObject"), bucket.requests("HeadObject")), (2, 1));
    assert_eq!((read_all(&bucket.lake).await, writer.stats().epochs), (events(0, 20), 1));
}

/// What one fault on a put comes to: the answer, and how many puts were sent.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn every_status_has_its_kind_and_its_number_of_attempts() {
    use ErrorKind::{Busy, Invalid, NotFound, OutcomeUnknown, ReadOnly, Unavailable, Unsupported};
    for (action, times, expected, puts) in [
        (Action::slow_down(), 1, None, 2),
        (Action::slow_down(), 6, Some(Busy), 6),
        (Action::internal_error(), 1, None, 2),
        (Action::internal_error().after_forward(), 1, None, 2),
        (Action::internal_error(), 6, Some(OutcomeUnknown), 6),
        (Action::conditional_request_conflict(), 1, None, 2),
        (Action::answer(412, "PreconditionFailed"), 1, None, 2),
        (Action::answer(400, "RequestTimeout"), 1, None, 2),
        (Action::answer(429, "TooManyRequests"), 1, None, 2),
        (Action::answer(403, "AccessDenied"), 1, Some(ReadOnly), 1),
        (Action::answer(403, "InvalidAccessKeyId"), 1, Some(ReadOnly), 1),
        (Action::answer(403, "RequestTimeTooSkewed"), 1, Some(Unavailable), 1),
        (Action::expired_token(), 1, Some(Unavailable), 1),
        (Action::answer(404, "NoSuchBucket"), 1, Some(NotFound), 1),
        (Action::answer(301, "PermanentRedirect"), 1, Some(Invalid), 1),
        (Action::answer(307, "TemporaryRedirect"), 1, Some(Invalid), 1),
        (Action::answer(501, "NotImplemented"), 1, Some(Unsupported), 1),
        (Action::Reset, 1, None, 2),
        (Action::Twice, 1, None, 1),
    ] {
        let bucket = Bucket::new(true).await;
        let writer = bucket.warm_writer().await;
        let rule = Rule::s3(action.clone()).operation("PutObject").first(times);
        let answer = with_rule(&bucket, rule, append(&writer, events(10, 10))).await;
        assert_eq!(answer.as_ref().err().map(Error::kind), expected, "{action:?}: {answer:?}");
        assert_eq!(bucket.requests("PutObject"), puts, "{action:?}");
        let stored = if expected.is_none() { 20 } else { 10 };
        assert_eq!(read_all(&bucket.lake).await, events(0, stored), "{action:?}");
        append(&writer, events(100, 1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_storm_of_slow_downs_loses_nothing_and_stays_within_the_budget() {
    let bucket = Bucket::new(true).await;
    let when = When::Chance { probability: 0.75, seed: 7 };
    let rule = bucket.proxy().add(&Rule::s3(Action::slow_down()).when(when)).unwrap();
    let writer = bucket.writer();
    let mut stored = Vec::new();
    for call in 0..12 {
        match append(&writer, events(call * 10, 10)).await {
            Ok(()) => stored.extend(events(call * 10, 10)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}"),
        }
    }
    let (fired, requests) = (bucket.proxy().fired(rule).unwrap(), bucket.lake.requests());
    let sent = requests.requests();
    assert!(fired > 0 && sent <= 6 * 12 * 4, "{sent} requests");
    assert_eq!(
        sent,
        bucket.proxy().counts().unwrap().side(Side::S3).requests(),
        "what is counted is what is sent"
    );
    bucket.proxy().clear().unwrap();
    let mut found = read_all(&bucket.lake).await;
    found.sort_by_key(|event| event.rated_at());
    assert_eq!(found, stored, "exactly what was acknowledged");
}

/// The longest that a call takes whose request stands still at a stage.
async fn stalled(stage: Stage, patience: Duration) -> Duration {
    let bucket = Bucket::new(true).await;
    let writer = bucket.warm_writer().await;
    let listed = reader(&bucket.lake).list(&Default::default(), None).await.unwrap();
    bucket.proxy().add(&Rule::s3(Action::stall(stage))).unwrap();
    let begin = Instant::now();
    let answer = writer.append(events(10, 10), Some(Deadline::after(patience))).await;
    let append = begin.elapsed();
    // The answer to a put has no body in whose middle to stand.
    if stage != Stage::MidBody {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
    let begin = Instant::now();
    let answer = reader(&bucket.lake).list(&Default::default(), Some(Deadline::after(patience))).await;
    let listing = begin.elapsed();
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let begin = Instant::now();
    let mut batches = reader(&bucket.lake).read(listed.objects, 100, Some(Deadline::after(patience)));
    let answer = futures::StreamExt::next(&mut batches).await.unwrap();
    let read = begin.elapsed();
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    bucket.proxy().clear().unwrap();
    writer.close().await;
    append.max(listing).max(read)
}

/// A call that stands still anywhere ends by its deadline, and a tenth. A machine that is busy may be late by itself, but
/// not each time.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn stalls_at_every_stage_end_by_the_deadline() {
    const PATIENCE: Duration = Duration::from_millis(1500);
    const TRIES: usize = 4;
    for stage in [Stage::BeforeRequest, Stage::BeforeHeaders, Stage::MidBody] {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|longest| *longest > PATIENCE.mul_f64(1.1)) {
            assert!(seen.len() < TRIES, "{stage:?}: {seen:?}");
            seen.push(stalled(stage, PATIENCE).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn an_outcome_that_stays_unknown_strands_nothing() {
    let bucket = Bucket::new(true).await;
    let writer = bucket.warm_writer().await;
    let rule = Rule::s3(Action::stall(Stage::BeforeHeaders)).operation("PutObject");
    let begin = Instant::now();
    let error = with_rule(&bucket, rule, append(&writer, events(10, 10))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(begin.elapsed() <= Duration::from_millis(4_400), "{:?}", begin.elapsed());
    append(&writer, events(10, 10)).await.unwrap();
    append(&writer, events(20, 10)).await.unwrap();
    assert_eq!(writer.stats().epochs, 2);
    let ids =
        read_all(&bucket.lake).await.iter().map(Rating::event_id).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids, events(0, 30).iter().map(Rating::event_id).collect());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn cut_bodies_are_read_again_and_never_taken_for_whole() {
    let bucket = Bucket::new(true).await;
    let writer = bucket.warm_writer().await;
    drop(writer);
    let reader: BronzeReader = reader(&bucket.lake);
    let list = reader.list(&Default::default(), None).await.unwrap();
    for bytes in [0, 1, 100, u64::MAX] {
        let rule = Rule::s3(Action::Cut { bytes }).operation("GetObject").first(1);
        let batches = with_rule(&bucket, rule, read(&reader, &list)).await.unwrap();
        assert_eq!(batches[0].events, events(0, 10), "{bytes}");
        let rule = Rule::s3(Action::Cut { bytes }).operation("GetObject");
        let error = with_rule(&bucket, rule, read(&reader, &list)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_and_in_no_error() {
    let bucket = Bucket::new(false).await;
    let wrong = lake(&bucket.name, &bucket.endpoint, Some(SECRET_KEY));
    let writer = BronzeWriter::spawn(parts(&wrong, "w", 1, Arc::new(SystemClock))).unwrap();
    let error = append(&writer, events(0, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    assert!(!format!("{error} {error:?} {wrong:?} {writer:?}").contains(SECRET_KEY));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run with --release --ignored --nocapture"]
async fn events_in_a_second_over_http() {
    let bucket = Bucket::new(false).await;
    for (callers, size, calls) in [(64, 1, 20_000_u64), (64, 100, 10_000), (8, 10_000, 100)] {
        let mut parts = parts(&bucket.lake, &format!("w{size}"), 1, Arc::new(SystemClock));
        parts.ingest.linger = Duration::from_millis(100);
        let writer = BronzeWriter::spawn(parts).unwrap();
        let (begin, before) = (Instant::now(), bucket.lake.requests());
        let tasks = (0..callers).map(|caller| {
            let writer = writer.clone();
            tokio::spawn(async move {
                for call in (caller..calls).step_by(callers as usize) {
                    append(&writer, events(call * size, size)).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let (stats, requests) = (writer.stats(), bucket.lake.requests());
        let sent = requests.requests() - before.requests();
        println!(
            "{callers} callers of {size} over HTTP: {:.0} events/s, {sent} requests, {:.1} per million events",
            stats.events as f64 / begin.elapsed().as_secs_f64(),
            sent as f64 * 1e6 / stats.events as f64,
        );
    }
}
