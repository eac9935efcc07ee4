//! What the doctor finds.

use std::sync::Arc;
use std::time::Duration;

use recstore_aws::setup::Setup;
use recstore_aws::setup::roles::Role;
use recstore_core::{Clock, Health, ManualClock, SystemClock};
use recstore_test_cloud::{Action, Rule};

use crate::support::{Place, answer_with, environment, proxy, soon};

/// The names of the checks that are not well.
fn ill(health: &Health) -> Vec<&str> {
    health.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect()
}

fn names(health: &Health) -> Vec<&str> {
    health.checks.iter().map(|check| check.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_set_up_every_role_is_well_and_every_read_of_it_was_tried() {
    let setup = Place::new().await.made().await;
    let (batch_get, query, list) = ("may dynamodb:BatchGetItem", "may dynamodb:Query", "may s3:ListBucket");
    let [bronze, silver, gold, state, quarantine] = [
        "may s3:GetObject of bronze/v1",
        "may s3:GetObject of silver/v1",
        "may s3:GetObject of gold/v1",
        "may s3:GetObject of state/v1",
        "may s3:GetObject of quarantine/v1",
    ];
    for (role, reads) in [
        (Role::Ingest, &[batch_get, bronze, state, list][..]),
        (Role::Pipeline, &[batch_get, bronze, silver, gold, state, quarantine, list]),
        (Role::Serving, &[batch_get, query, gold, state, list]),
        (Role::Maintenance, &[batch_get, state, list]),
        (Role::Migration, &[batch_get, query, bronze, silver, gold, state, quarantine, list]),
        (Role::Setup, &["set-up"]),
    ] {
        let health = setup.doctor(role, soon()).await;
        assert!(health.ok, "{role}: {:?}", health.checks);
        let expected = [&["credentials", "region", "s3", "dynamodb"], reads, &["clock"]].concat();
        assert_eq!(names(&health), expected, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_set_up_what_is_missing_is_found_missing() {
    let setup = Place::new().await.setup().await;
    let health = setup.doctor(Role::Serving, soon()).await;
    let missing = |name: &str| {
        let check = health.checks.iter().find(|check| check.name == name).unwrap();
        assert!(!check.ok, "{check:?}");
        check.detail.clone()
    };
    assert!(missing("may s3:ListBucket").contains("the bucket does not exist"));
    assert!(missing("may dynamodb:BatchGetItem").contains("run the set-up"));
    assert!(missing("may dynamodb:Query").contains("run the set-up"));
    let health = setup.doctor(Role::Setup, soon()).await;
    assert_eq!(ill(&health), ["set-up"]);
    assert!(health.checks[4].detail.contains("create bucket"), "{:?}", health.checks[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_found_in_both_directions() {
    let place = Place::new().await;
    place.made().await;
    let now = SystemClock.now().as_millis();
    for (minutes, how) in [(2, "ahead of"), (-2, "behind")] {
        let wrong = recstore_core::Timestamp::from_millis(now + minutes * 60_000).unwrap();
        let environment = environment(None, Arc::new(ManualClock::new(wrong))).await;
        let setup = Setup::new(&environment, &place.config, 1).unwrap();
        let health = setup.doctor(Role::Ingest, soon()).await;
        assert_eq!(ill(&health), ["clock"]);
        assert!(health.checks.last().unwrap().detail.contains(how), "{:?}", health.checks.last());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_permission_that_is_denied_is_the_one_that_is_named() {
    let place = Place::new().await;
    place.made().await;
    for (operation, name) in [
        ("ListObjectsV2", "may s3:ListBucket"),
        ("BatchGetItem", "may dynamodb:BatchGetItem"),
        ("Query", "may dynamodb:Query"),
    ] {
        let proxy = proxy();
        let setup = place.setup_behind(&proxy).await;
        let of_s3 = name.contains("s3:");
        let denied = Action::answer(
            if of_s3 { 403 } else { 400 },
            if of_s3 { "AccessDenied" } else { "AccessDeniedException" },
        );
        let rule = if of_s3 { Rule::s3(denied) } else { Rule::dynamodb(denied) };
        proxy.add(&rule.operation(operation)).unwrap();
        let health = setup.doctor(Role::Serving, soon()).await;
        assert_eq!(ill(&health), [name], "{:?}", health.checks);
    }
}

/// As S3 answers those who may not read a folder, and those who may not list the bucket for what is not there.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_denied_read_is_told_with_its_folder() {
    let place = Place::new().await;
    place.made().await;
    for folder in ["bronze/v1", "silver/v1", "gold/v1", "state/v1", "quarantine/v1"] {
        let proxy = proxy();
        let path = format!("/{}/lake/one/{folder}/", place.bucket());
        let denied = Rule::s3(Action::answer(403, "AccessDenied")).operation("HeadObject").path_prefix(&path);
        proxy.add(&denied).unwrap();
        let setup = place.setup_behind(&proxy).await;
        let health = setup.doctor(Role::Pipeline, soon()).await;
        assert_eq!(ill(&health), [format!("may s3:GetObject of {folder}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn no_permission_for_the_head_of_the_bucket_or_the_table_is_no_illness() {
    let (place, proxy) = (Place::new().await, proxy());
    place.made().await;
    let setup = place.setup_behind(&proxy).await;
    proxy.add(&Rule::s3(Action::answer(403, "AccessDenied")).operation("HeadBucket")).unwrap();
    let denied = Action::answer(400, "AccessDeniedException");
    proxy.add(&Rule::dynamodb(denied).operation("DescribeTable")).unwrap();
    assert!(setup.doctor(Role::Serving, soon()).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_bucket_of_another_region_is_told_to_every_role() {
    let (place, proxy) = (Place::new().await, proxy());
    place.made().await;
    let setup = place.setup_behind(&proxy).await;
    let elsewhere = answer_with(301, "x-amz-bucket-region", "us-west-2");
    proxy.add(&Rule::s3(elsewhere).operation("HeadBucket")).unwrap();
    let health = setup.doctor(Role::Serving, soon()).await;
    assert!(health.checks[1].detail.contains("us-west-2"), "{:?}", health.checks);
    assert_eq!(ill(&health), ["region"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_away_are_told_apart() {
    let place = Place::new().await;
    place.made().await;
    let environment = environment(None, Arc::new(SystemClock)).await;
    let mut config = place.config.clone();
    config.retry.max_elapsed = Duration::from_secs(1);
    config.s3.endpoint_url = Some("http://127.0.0.1:9".to_owned());
    let health = Setup::new(&environment, &config, 1).unwrap().doctor(Role::Maintenance, soon()).await;
    assert_eq!(ill(&health), ["s3", "may s3:GetObject of state/v1", "may s3:ListBucket", "clock"]);
    config.s3.endpoint_url = place.config.s3.endpoint_url.clone();
    config.dynamodb.endpoint_url = Some("http://127.0.0.1:9".to_owned());
    let health = Setup::new(&environment, &config, 1).unwrap().doctor(Role::Serving, soon()).await;
    assert_eq!(ill(&health), ["dynamodb", "may dynamodb:BatchGetItem", "may dynamodb:Query"]);
}
