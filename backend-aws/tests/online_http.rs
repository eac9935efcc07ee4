//! The tables over HTTP: the same layer on a DynamoDB server, with faults on the way to it.
//!
//! Runs on the servers of `test-cloud`, or on those that `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL_DYNAMODB` give.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, KeysAndAttributes, ReturnConsumedCapacity,
    ScalarAttributeType,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use futures::{StreamExt, TryStreamExt, stream};
use recstore_aws::config::{AwsConfig, RetryConfig};
use recstore_aws::metered;
use recstore_aws::online::calls::Write;
use recstore_aws::online::client::client;
use recstore_aws::online::item::{Fields, MAX_ITEM_BYTES, OpenItem, item_bytes, key_attributes};
use recstore_aws::online::keys::{self, ItemKey};
use recstore_aws::online::pin::Pin;
use recstore_aws::online::ratings::RatingChange;
use recstore_aws::online::sdk::SdkCalls;
use recstore_aws::online::tables::{TableName, TableNames, Tables};
use recstore_aws::online::versioned::{Generation, Pinned};
use recstore_aws::online::{Online, OnlineOptions};
use recstore_aws::retry::RetryPolicy;
use recstore_core::{
    Deadline, EntityKey, EntityKind, ErrorKind, FeatureName, HistoryOptions, ItemId, Namespace, Neighbour,
    NeighbourList, Rating, RatingRow, RatingStats, RatingValue, ReleaseId, Retry, Timestamp,
};
use recstore_test_cloud::{Action, Cloud, Keep, Proxy, Rule, Side, Stage};

const TABLE: TableName = TableName::UserFeatures;
const TIMEOUT: Duration = Duration::from_millis(500);

/// Tables of a test's own.
struct Setting {
    client: Client,
    online: Online,
}

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

impl Setting {
    /// Tables with names of their own, made on the server itself and used through this endpoint.
    async fn new(endpoint: &str) -> Setting {
        let cloud = Cloud::get().unwrap();
        let names = TableNames::new(&format!("{}.", cloud.unique_name("online"))).unwrap();
        let direct = SdkCalls::new(sdk(cloud.dynamodb_endpoint()).await);
        Tables::new(&direct, &names, &policy()).create_missing(soon()).await.unwrap();
        let client = sdk(endpoint).await;
        let calls = SdkCalls::new(client.clone());
        let retry =
            RetryConfig { max_attempts: 5, first_delay: Duration::from_millis(5), ..RetryConfig::default() };
        let options = OnlineOptions { request_timeout: TIMEOUT, retry, ..OnlineOptions::default() };
        Setting { client, online: Online::new(Arc::new(calls), names, options) }
    }

    async fn direct() -> Setting {
        Setting::new(Cloud::get().unwrap().dynamodb_endpoint()).await
    }

    async fn behind(proxy: &Proxy) -> Setting {
        Setting::new(proxy.dynamodb_endpoint()).await
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new(RetryConfig::default(), Duration::from_secs(5), 1)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn proxy() -> Proxy {
    Cloud::get().unwrap().proxy().unwrap()
}

fn key(number: usize) -> ItemKey {
    ItemKey::new(format!("ns#{number}"), "user_ratings").unwrap()
}

fn id(number: usize) -> EntityKey {
    ItemId::from(number as u64).into()
}

fn put(number: usize) -> Write {
    Write::Put(Fields::new().with_integer("n", number as i128).seal(TABLE, &key(number)).unwrap())
}

fn stats(of: usize) -> RatingStats {
    let mut stats = RatingStats::default();
    for value in 0..1 + of % 10 {
        let _ = stats.apply(None, RatingValue::new(value as f64 / 2.0).ok());
    }
    stats.observe(Timestamp::MIN, Timestamp::from_millis(of as i64).unwrap());
    stats
}

#[tokio::test]
async fn tables_are_made_once_checked_and_removed_and_foreign_ones_are_left_alone() {
    let cloud = Cloud::get().unwrap();
    let client = sdk(cloud.dynamodb_endpoint()).await;
    let (calls, policy) = (SdkCalls::new(client.clone()), policy());
    let names = TableNames::new(&format!("{}.", cloud.unique_name("setup"))).unwrap();
    let tables = Tables::new(&calls, &names, &policy);
    assert_eq!(tables.verify(soon()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let made = tables.create_missing(soon()).await.unwrap();
    assert!(made.len() == 6 && made.iter().all(|table| table.created));
    assert!(tables.create_missing(soon()).await.unwrap().iter().all(|table| !table.created));
    tables.verify(soon()).await.unwrap();
    assert_eq!(tables.remove_all(soon()).await.unwrap().len(), 6);
    assert_eq!(tables.verify(soon()).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A table of that name whose sort key is a number.
    let attribute =
        |name: &str, kind| AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
    let element = |name: &str, role| KeySchemaElement::builder().attribute_name(name).key_type(role);
    client
        .create_table()
        .table_name(names.of(TableName::Neighbours))
        .attribute_definitions(attribute("pk", ScalarAttributeType::S).build().unwrap())
        .attribute_definitions(attribute("sk", ScalarAttributeType::N).build().unwrap())
        .key_schema(element("pk", KeyType::Hash).build().unwrap())
        .key_schema(element("sk", KeyType::Range).build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
    let error = tables.create_missing(soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(names.of(TableName::Neighbours))));
    assert_eq!(tables.remove_all(soon()).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn numbers_bytes_and_an_item_of_exactly_400_kb_come_back_bit_for_bit() {
    let setting = Setting::direct().await;
    let large = |bytes: usize| {
        Fields::new()
            .with_integer("most", 10_i128.pow(38) - 1)
            .with_integer("least", -(10_i128.pow(38) - 1))
            .with_integer("hundred", 100)
            .with_integer("beyond", i128::MIN)
            .with_float("tiny", 5e-324)
            .unwrap()
            .with_row("row", Fields::new().with_flag("flag", true).with_text("text", "🎬"))
            .with_bytes("bytes", vec![7; bytes])
            .seal(TABLE, &key(1))
    };
    let rest = item_bytes(&large(0).unwrap());
    let item = large(MAX_ITEM_BYTES - rest).unwrap();
    let written = setting.online.write_many(TABLE, vec![Write::Put(item.clone())], None).await.unwrap();
    assert_eq!(written.failed, HashMap::new());
    let (found, cost) = metered(setting.online.get_one(TABLE, &key(1), None)).await;
    assert_eq!(found.unwrap().as_ref(), Some(&item));
    assert_eq!((cost.tables.requests(), cost.tables.bytes_read), (1, MAX_ITEM_BYTES as u64));
    OpenItem::open(TABLE, item).unwrap();
    assert_eq!(large(MAX_ITEM_BYTES - rest + 1).unwrap_err().field(), Some("bytes"));
}

#[tokio::test]
async fn reads_and_writes_tell_the_capacity_that_the_service_says_they_took() {
    let setting = Setting::direct().await;
    // With its names between 1 and 2 KB: two units to write, one to read.
    let item = Fields::new().with_bytes("bytes", vec![7; 1_500]).seal(TABLE, &key(1)).unwrap();
    let (written, cost) = metered(setting.online.write_many(TABLE, vec![Write::Put(item)], None)).await;
    assert_eq!((written.unwrap().failed.len(), cost.tables.write_units), (0, 2.0));
    let (found, cost) = metered(setting.online.get_one(TABLE, &key(1), None)).await;
    assert!(found.unwrap().is_some() && cost.tables.read_units == 1.0, "{cost:?}");
}

#[tokio::test]
async fn rows_lists_and_histories_are_read_at_their_generation() {
    let (setting, namespace) = (Setting::direct().await, Namespace::default());
    let online = &setting.online;
    let row = |item: u64, generation: u64| {
        let value = generation as f64;
        let at = Timestamp::from_millis((item * 10 + generation) as i64).unwrap();
        RatingRow { rating: Rating::new(1.into(), item.into(), value, at).unwrap(), first_rated_at: at }
    };
    for generation in 1..=2 {
        let (old, now) = (generation - 1, generation);
        let changes: Vec<RatingChange> = (0..60)
            .map(|item| RatingChange { old: (old > 0).then(|| row(item, old)), new: Some(row(item, now)) })
            .collect();
        let first = online.publish_ratings(&namespace, Generation(now), &changes, None).await.unwrap();
        assert_eq!(first.written, if now == 1 { 180 } else { 300 });
        let again = online.publish_ratings(&namespace, Generation(now), &changes, None);
        let (again, cost) = metered(again).await;
        assert_eq!((again.unwrap().written, cost.tables.write_units), (0, 0.0));
        let pin = Pin { generation: Generation(now), as_of: Timestamp::MIN };
        assert!(online.advance_pin(&namespace, pin, None).await.unwrap());
        assert_eq!(online.read_pin(&namespace, None).await.unwrap(), pin);
    }
    for generation in 1..=2 {
        let mut options = HistoryOptions::default().with_limit(25);
        let mut rows = Vec::new();
        loop {
            let of = EntityKind::User;
            let page = online.history(&namespace, of, "1", &options, Generation(generation)).await;
            let Pinned::At(page) = page.unwrap() else { panic!("too old") };
            rows.extend(page.rows);
            options.token = page.next;
            if options.token.is_none() {
                break;
            }
        }
        let expected: Vec<RatingRow> = (0..60).rev().map(|item| row(item, generation)).collect();
        assert_eq!(rows, expected);
        let pair = (id(1), id(7));
        let found =
            online.get_pairs(&namespace, std::slice::from_ref(&pair), Generation(generation), None).await;
        let Pinned::At(mut found) = found.unwrap() else { panic!("too old") };
        assert_eq!(found.remove(&pair).unwrap().unwrap(), Some(row(7, generation)));
    }
    let neighbours = (0..1_600).map(|number| Neighbour {
        id: EntityKey::new(format!("{number:0500}")).unwrap(),
        similarity: 1.0 / f64::from(number + 1),
        common: number,
    });
    let list = NeighbourList { id: id(1), neighbours: neighbours.collect() };
    let release = ReleaseId::from_text("r");
    let lists = vec![list.clone()];
    online.put_lists(&namespace, EntityKind::Item, &release, lists, None).await.unwrap();
    let ids = [id(1), id(2)];
    let found = online.get_lists(&namespace, EntityKind::Item, &release, &ids, None).await.unwrap();
    assert_eq!(found[&id(1)].as_ref().unwrap().as_ref(), Some(&list.neighbours));
    assert!(matches!(found[&id(2)], Ok(None)));
    online.delete_lists(&namespace, EntityKind::Item, &release, &ids, None).await.unwrap();
    let found = online.get_lists(&namespace, EntityKind::Item, &release, &ids, None).await.unwrap();
    assert!(matches!(found[&id(1)], Ok(None)));
}

#[tokio::test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_DYNAMODB")]
async fn batches_done_in_part_are_finished_and_a_key_that_is_never_served_fails_alone() {
    let proxy = proxy();
    let setting = Setting::behind(&proxy).await;
    let partial = proxy.add(&Rule::dynamodb(Action::Partial(Keep::First(10)))).unwrap();
    let write = setting.online.write_many(TABLE, (0..250).map(put).collect(), None);
    let (written, writing) = metered(write).await;
    assert_eq!(written.unwrap().failed, HashMap::new());
    let (mut answers, reading) = metered(setting.online.get_many(TABLE, (0..300).map(key), None)).await;
    for number in 0..300 {
        assert_eq!(answers.take(&key(number)).unwrap().is_some(), number < 250);
    }
    assert!(proxy.fired(partial).unwrap() > 20);
    let counted = proxy.counts().unwrap().side(Side::DynamoDb).requests();
    assert_eq!(counted, writing.tables.requests() + reading.tables.requests());
    assert_eq!(counted, setting.online.cost().requests(), "what is counted is what is sent");
    proxy.clear().unwrap();
    let hot = Action::Partial(Keep::Without("ns#77\"".to_owned()));
    proxy.add(&Rule::dynamodb(hot)).unwrap();
    let mut answers = setting.online.get_many(TABLE, (0..300).map(key), None).await;
    for number in 0..300 {
        match answers.take(&key(number)) {
            Ok(found) => assert_eq!(found.is_some(), number < 250),
            Err(error) => assert_eq!((number, error.kind()), (77, ErrorKind::Busy)),
        }
    }
    let written = setting.online.write_many(TABLE, (70..80).map(put).collect(), None).await.unwrap();
    assert_eq!(written.failed.keys().collect::<Vec<_>>(), [&key(77)]);
}

#[tokio::test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_DYNAMODB")]
async fn a_put_whose_answer_is_lost_in_any_way_is_found_done() {
    let (proxy, namespace) = (proxy(), Namespace::default());
    let setting = Setting::behind(&proxy).await;
    let mut seen = None;
    for (step, action) in [
        Action::LoseAnswer,
        Action::Twice,
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
        let (to, writer) = (ReleaseId::from_text(step.to_string()), format!("w{step}"));
        let kind = EntityKind::Item;
        let moved = setting.online.move_pointer(&namespace, kind, seen.as_ref(), &to, &writer, None);
        let moved = moved.await.unwrap_or_else(|error| panic!("{action:?}: {error}"));
        assert_eq!(moved.sequence, step as u64 + 1);
        assert_eq!(proxy.fired(rule).unwrap(), 1, "{action:?}");
        seen = Some(moved);
        proxy.clear().unwrap();
        assert_eq!(setting.online.read_pointer(&namespace, kind, None).await.unwrap(), seen);
    }
}

#[tokio::test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_DYNAMODB")]
async fn every_failure_of_the_service_has_its_kind_and_says_whether_a_write_may_have_happened() {
    use ErrorKind::{Busy, Full, Internal, NotFound, OutcomeUnknown, ReadOnly, Unavailable, Unsupported};
    let (proxy, namespace) = (proxy(), Namespace::default());
    let setting = Setting::behind(&proxy).await;
    for (action, read, write, attempts) in [
        (Action::throttling(), Busy, Busy, 5),
        (Action::throughput_exceeded(), Busy, Busy, 5),
        (Action::internal_server_error(), Unavailable, OutcomeUnknown, 5),
        (Action::answer(503, "ServiceUnavailable"), Unavailable, OutcomeUnknown, 5),
        (Action::answer(400, "AccessDeniedException"), ReadOnly, ReadOnly, 1),
        (Action::answer(400, "UnrecognizedClientException"), ReadOnly, ReadOnly, 1),
        (Action::expired_token_exception(), Unavailable, Unavailable, 1),
        (Action::answer(400, "ResourceNotFoundException"), NotFound, NotFound, 1),
        (Action::answer(400, "ItemCollectionSizeLimitExceededException"), Full, Full, 1),
        (Action::answer(400, "ValidationException"), Internal, Internal, 1),
        (Action::answer(400, "UnknownOperationException"), Unsupported, Unsupported, 1),
        (Action::Reset, Unavailable, OutcomeUnknown, 5),
        (Action::stall(Stage::BeforeRequest), Unavailable, OutcomeUnknown, 5),
    ] {
        proxy.clear().unwrap();
        proxy.add(&Rule::dynamodb(action.clone())).unwrap();
        let (pin, cost) = metered(setting.online.read_pin(&namespace, None)).await;
        let error = pin.unwrap_err();
        assert_eq!((error.kind(), cost.tables.requests()), (read, attempts), "{action:?}: {error}");
        let (release, kind) = (ReleaseId::from_text("r"), EntityKind::Item);
        let moved = setting.online.move_pointer(&namespace, kind, None, &release, "w", None).await;
        let error = moved.unwrap_err();
        assert_eq!(error.kind(), write, "{action:?}: {error}");
        assert!(!format!("{error:?}").contains("Credential="), "{error:?}");
    }
    // Nobody listens there: nothing was sent.
    let closed = Setting::direct().await;
    let calls = SdkCalls::new(sdk("http://127.0.0.1:9").await);
    let options = OnlineOptions { request_timeout: TIMEOUT, ..OnlineOptions::default() };
    let nobody = Online::new(Arc::new(calls), closed.online.names().clone(), options);
    let release = ReleaseId::from_text("r");
    let moved = nobody.move_pointer(&namespace, EntityKind::Item, None, &release, "w", None).await;
    assert_eq!(moved.unwrap_err().kind(), Unavailable);
}

#[tokio::test]
async fn a_name_that_is_nobodys_and_a_connection_that_is_never_made_are_told_in_time() {
    // It takes connections and says nothing: the handshake never ends.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("https://{}", silent.local_addr().unwrap());
    for endpoint in ["https://dynamodb.invalid", &silent] {
        let calls = SdkCalls::new(sdk(endpoint).await);
        let retry = RetryConfig { max_attempts: 2, ..RetryConfig::default() };
        let options = OnlineOptions { request_timeout: TIMEOUT, retry, ..OnlineOptions::default() };
        let online = Online::new(Arc::new(calls), TableNames::new("t.").unwrap(), options);
        let begun = Instant::now();
        let read = online.read_pin(&Namespace::default(), None).await.unwrap_err();
        assert_eq!(read.kind(), ErrorKind::Unavailable, "{endpoint}: {read}");
        let deadline = Some(Deadline::after(Duration::from_millis(200)));
        let written = online.write_many(TABLE, vec![put(1)], deadline).await.unwrap();
        let kind = written.failed[&key(1)].kind;
        assert_ne!(kind.retry(), Retry::Never, "{endpoint}: {kind:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{endpoint}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_DYNAMODB")]
async fn a_call_that_stands_still_ends_at_its_deadline() {
    let proxy = proxy();
    let setting = Setting::behind(&proxy).await;
    proxy.add(&Rule::dynamodb(Action::stall(Stage::BeforeHeaders))).unwrap();
    let begun = Instant::now();
    let deadline = Some(Deadline::after(Duration::from_millis(800)));
    let mut answers = setting.online.get_many(TABLE, (0..150).map(key), deadline).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!((0..150).all(|n| answers.take(&key(n)).unwrap_err().kind() == ErrorKind::DeadlineExceeded));
    let deadline = Some(Deadline::after(Duration::from_millis(300)));
    let written = setting.online.write_many(TABLE, vec![put(1)], deadline).await.unwrap();
    assert_eq!(written.failed[&key(1)].kind, ErrorKind::OutcomeUnknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twin_runs_and_late_ones_at_once_leave_the_newest_generation() {
    let (setting, namespace) = (Setting::direct().await, Namespace::default());
    let rows =
        |generation: usize| (0..120).map(|of| (id(of), Some(stats(of + generation)))).collect::<Vec<_>>();
    for generation in 1..=4_usize {
        // Two of this generation, and one of each before that wakes up.
        let runs = (1..=generation).chain([generation]).map(|of| {
            let (online, namespace, rows) = (setting.online.clone(), namespace.clone(), rows(of));
            let of = Generation(of as u64);
            tokio::spawn(
                async move { online.publish_stats(&namespace, EntityKind::Item, of, rows, None).await },
            )
        });
        let mut written = 0;
        for run in futures::future::join_all(runs).await {
            written += run.unwrap().unwrap().written;
        }
        // A twin whose put was refused because of the same row is told that it is stored.
        assert!((120..=240).contains(&written), "{written} rows written in generation {generation}");
        let ids: Vec<EntityKey> = (0..120).map(id).collect();
        let pin = Generation(generation as u64);
        let found = setting.online.get_stats(&namespace, EntityKind::Item, &ids, pin, None).await;
        let Pinned::At(found) = found.unwrap() else { panic!("too old") };
        for of in 0..120 {
            assert_eq!(found[&id(of)].as_ref().unwrap().as_ref(), Some(&stats(of + generation)));
        }
    }
}

/// A measurement, as a ratio to the bare SDK sending the same requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run alone, on a quiet machine, in release mode"]
async fn a_batch_read_of_1000_rows_costs_little_more_than_the_requests_themselves() {
    let (setting, namespace, kind) = (Setting::direct().await, Namespace::default(), EntityKind::Item);
    let rows = (0..1_000).map(|of| (id(of), Some(stats(of)))).collect();
    setting.online.publish_stats(&namespace, kind, Generation(1), rows, None).await.unwrap();
    let ids: Vec<EntityKey> = (0..1_000).map(id).collect();
    let table = setting.online.names().of(TableName::ItemFeatures).to_owned();
    let keys: Vec<ItemKey> = ids
        .iter()
        .map(|id| keys::feature(&namespace, id.as_str(), &FeatureName::ITEM_RATINGS).unwrap())
        .collect();
    let bare = || async {
        let chunks = keys.chunks(100).map(|chunk| {
            let wanted = KeysAndAttributes::builder().consistent_read(true);
            let wanted = wanted.set_keys(Some(chunk.iter().map(key_attributes).collect())).build().unwrap();
            let request = setting.client.batch_get_item().request_items(&table, wanted);
            request.return_consumed_capacity(ReturnConsumedCapacity::Total).send()
        });
        let answers = futures::future::try_join_all(chunks).await.unwrap();
        let found: usize = answers.iter().map(|answer| answer.responses().unwrap()[&table].len()).sum();
        assert_eq!(found, 1_000);
    };
    let ours = || async {
        let read = setting.online.get_stats(&namespace, kind, &ids, Generation(1), None);
        let (found, cost) = metered(read).await;
        let Pinned::At(found) = found.unwrap() else { panic!("too old") };
        assert_eq!(
            (found.values().filter(|row| matches!(row, Ok(Some(_)))).count(), cost.tables.requests()),
            (1_000, 10)
        );
    };
    let (mut bare_times, mut our_times) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let begun = Instant::now();
        bare().await;
        bare_times.push(begun.elapsed());
        let begun = Instant::now();
        ours().await;
        our_times.push(begun.elapsed());
    }
    // Each round is a pair, so that a machine that is busy for a while is so for both.
    let mut ratios: Vec<f64> = bare_times
        .iter()
        .zip(&our_times)
        .map(|(bare, ours)| ours.as_secs_f64() / bare.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    bare_times.sort_unstable();
    our_times.sort_unstable();
    let (bare, ours, ratio) = (bare_times[30], our_times[30], ratios[30]);
    println!("medians of 60: bare SDK {bare:?}, with keys, checks and statistics {ours:?}, ratio {ratio:.2}");
    assert!(ratio <= 1.2, "ratio {ratio:.2}");
}

/// A measurement: what a publication takes beside the bare SDK putting as many items, as many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run alone, on a quiet machine, in release mode"]
async fn a_publication_of_new_rows_costs_little_more_than_the_puts_themselves() {
    const ROWS: usize = 5_000;
    let (setting, namespace, kind) = (Setting::direct().await, Namespace::default(), EntityKind::Item);
    let table = setting.online.names().of(TableName::ItemFeatures).to_owned();
    let concurrency = OnlineOptions::default().concurrency;
    let mut ratios = Vec::new();
    for round in 0..7 {
        let ids: Vec<EntityKey> = (round * ROWS..(round + 1) * ROWS).map(id).collect();
        let rows = ids.iter().enumerate().map(|(at, id)| (id.clone(), Some(stats(at)))).collect();
        let begun = Instant::now();
        let published =
            setting.online.publish_stats(&namespace, kind, Generation(1), rows, None).await.unwrap();
        let ours = begun.elapsed();
        assert_eq!(published.written, ROWS as u64);
        let group = &FeatureName::ITEM_RATINGS;
        let keys: Vec<ItemKey> =
            ids.iter().map(|id| keys::feature(&namespace, id.as_str(), group).unwrap()).collect();
        let mut stored = setting.online.get_many(TableName::ItemFeatures, keys.iter().cloned(), None).await;
        let items: Vec<_> = keys.iter().map(|key| stored.take(key).unwrap().unwrap()).collect();
        let begun = Instant::now();
        let puts = items.into_iter().map(|item| {
            let put = setting.client.put_item().table_name(&table).set_item(Some(item));
            put.return_consumed_capacity(ReturnConsumedCapacity::Total).send()
        });
        let puts: Vec<_> = stream::iter(puts).buffer_unordered(concurrency).try_collect().await.unwrap();
        assert_eq!(puts.len(), ROWS);
        let bare = begun.elapsed();
        ratios.push(ours.as_secs_f64() / bare.as_secs_f64());
        println!("{ROWS} rows: bare puts {bare:?}, published {ours:?}");
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of {}: {:.2}", ratios.len(), ratios[ratios.len() / 2]);
}
