//! What is missing is found and made, what others have set is left as it is.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    PublicAccessBlockConfiguration,
};
use recstore_aws::setup::plan::{Outcome, SetupPlan, Step};
use recstore_aws::setup::settings::BucketSetting;
use recstore_core::ErrorKind;
use recstore_test_cloud::{Action, Rule};

use crate::support::{Place, answer_with, proxy, soon};

const FOREIGN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::x/*"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_set_up_makes_everything_and_the_second_plan_is_empty() {
    let place = Place::new().await;
    let setup = place.setup().await;
    let plan = setup.plan(soon()).await.unwrap();
    assert_eq!((plan.steps.len(), plan.conflicts.len()), (11, 0), "bucket, four settings, six tables");
    assert_eq!(plan.to_string().lines().count(), 11, "{plan}");
    assert!(plan.to_string().starts_with(&format!("create bucket {} in eu-central-1\n", place.bucket())));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["steps"][1]["setting"], "public_access_block");
    assert_eq!((place.tables().await, plan.is_empty()), (0, false), "a plan only looks");

    let applied = setup.apply(&plan, 1, soon()).await.unwrap();
    let steps: Vec<&Step> = applied.iter().map(|applied| &applied.step).collect();
    assert_eq!(steps, plan.steps.iter().collect::<Vec<_>>());
    // A new bucket of S3 is encrypted already.
    let encrypts = |step: &Step| matches!(step, Step::SetBucket { setting: BucketSetting::Encryption, .. });
    for applied in &applied {
        assert!(applied.outcome == Outcome::Done || encrypts(&applied.step), "{applied:?}");
    }

    let again = setup.plan(soon()).await.unwrap();
    assert!(again.is_empty(), "{again}");
    assert!(again.to_string().starts_with("nothing is missing\n"));
    assert!(setup.apply(&again, 2, soon()).await.unwrap().is_empty());
    // A plan that was applied already does nothing.
    let late = setup.apply(&plan, 1, soon()).await.unwrap();
    assert!(late.iter().all(|applied| applied.outcome == Outcome::WasSo), "{late:?}");

    let policy = place.s3.get_bucket_policy().bucket(place.bucket()).send().await.unwrap();
    assert!(policy.policy().unwrap().contains("aws:SecureTransport"));
    let block = place.s3.get_public_access_block().bucket(place.bucket()).send().await.unwrap();
    assert_eq!(block.public_access_block_configuration().unwrap().restrict_public_buckets(), Some(true));
    let rules = place.s3.get_bucket_lifecycle_configuration().bucket(place.bucket()).send().await.unwrap();
    let abort = rules.rules()[0].abort_incomplete_multipart_upload().unwrap();
    assert_eq!(abort.days_after_initiation(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_that_is_missing_is_found_and_repaired_alone() {
    let settings =
        [BucketSetting::PublicAccessBlock, BucketSetting::TlsOnly, BucketSetting::IncompleteUploads];
    for missing in settings {
        let place = Place::new().await;
        let setup = place.setup().await;
        let mut plan = setup.plan(soon()).await.unwrap();
        let is_missing = |step: &Step| matches!(step, Step::SetBucket { setting, .. } if *setting == missing);
        plan.steps.retain(|step| !is_missing(step));
        setup.apply(&plan, 1, soon()).await.unwrap();
        repairs_one(&setup, is_missing).await;
    }
    let place = Place::new().await;
    let setup = place.made().await;
    let table = place.table("control");
    place.dynamodb.delete_table().table_name(&table).send().await.unwrap();
    repairs_one(&setup, |step| *step == Step::CreateTable { table: table.clone() }).await;
}

async fn repairs_one(setup: &recstore_aws::setup::Setup, is_missing: impl Fn(&Step) -> bool) {
    let plan = setup.plan(soon()).await.unwrap();
    assert!(plan.steps.len() == 1 && is_missing(&plan.steps[0]), "{plan}");
    assert_eq!(setup.apply(&plan, 1, soon()).await.unwrap()[0].outcome, Outcome::Done);
    assert!(setup.plan(soon()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_set_is_a_conflict_that_is_named_and_nothing_is_done() {
    let place = Place::new().await;
    place.create_bucket().await;
    place.s3.put_bucket_policy().bucket(place.bucket()).policy(FOREIGN).send().await.unwrap();
    let open = PublicAccessBlockConfiguration::builder().block_public_acls(true).build();
    let put = place.s3.put_public_access_block().bucket(place.bucket());
    put.public_access_block_configuration(open).send().await.unwrap();
    let rule = LifecycleRule::builder()
        .id("clean-up")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("lake/").build())
        .expiration(LifecycleExpiration::builder().days(30).build())
        .build()
        .unwrap();
    let rules = BucketLifecycleConfiguration::builder().rules(rule).build().unwrap();
    let put = place.s3.put_bucket_lifecycle_configuration().bucket(place.bucket());
    put.lifecycle_configuration(rules).send().await.unwrap();
    place.create_foreign_table("neighbours").await;

    let setup = place.setup().await;
    let plan = setup.plan(soon()).await.unwrap();
    let objects: Vec<&str> = plan.conflicts.iter().map(|conflict| conflict.object.as_str()).collect();
    let neighbours = place.table("neighbours");
    assert_eq!(objects, [place.bucket(), place.bucket(), place.bucket(), neighbours.as_str()]);
    let error = setup.apply(&plan, 1, soon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    for part in ["IgnorePublicAcls", "another bucket policy", "\"clean-up\"", neighbours.as_str()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(place.tables().await, 1, "nothing was made");
    let policy = place.s3.get_bucket_policy().bucket(place.bucket()).send().await.unwrap();
    assert_eq!(policy.policy(), Some(FOREIGN));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_set_after_the_plan_is_not_overwritten() {
    let place = Place::new().await;
    let setup = place.setup().await;
    let plan = setup.plan(soon()).await.unwrap();
    place.create_bucket().await;
    place.s3.put_bucket_policy().bucket(place.bucket()).policy(FOREIGN).send().await.unwrap();
    let error = setup.apply(&plan, 1, soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(place.bucket())));
    let policy = place.s3.get_bucket_policy().bucket(place.bucket()).send().await.unwrap();
    assert_eq!(policy.policy(), Some(FOREIGN));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn no_table_is_made_for_a_store_that_ignores_conditions() {
    let (place, proxy) = (Place::new().await, proxy());
    let setup = place.setup_behind(&proxy).await;
    let plan = setup.plan(soon()).await.unwrap();
    // A late create that is answered as if it had been done.
    let rule = proxy.add(&Rule::s3(answer_with(200, "etag", "\"1\"")).operation("PutObject").nth(2)).unwrap();
    let error = setup.apply(&plan, 1, soon()).await.unwrap_err();
    assert_eq!(proxy.fired(rule).unwrap(), 1);
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("If-None-Match"), "{error}");
    assert_eq!((place.tables().await, place.objects().await), (0, 0));
    let done = setup.apply(&setup.plan(soon()).await.unwrap(), 2, soon()).await.unwrap();
    assert_eq!((done.len(), place.tables().await), (6, 6), "the tables alone were missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_over_a_network_is_not_denied_where_it_was_allowed() {
    let mut place = Place::new().await;
    place.config.allow_http = true;
    let setup = place.setup().await;
    let denies = |step: &Step| matches!(step, Step::SetBucket { setting: BucketSetting::TlsOnly, .. });
    let plan = setup.plan(soon()).await.unwrap();
    setup.apply(&plan, 1, soon()).await.unwrap();
    let again = setup.plan(soon()).await.unwrap();
    for plan in [&plan, &again] {
        assert!(!plan.steps.iter().any(denies) && plan.conflicts.is_empty(), "{plan}");
        assert_eq!(plan.not_offered[0].wanted, "deny requests without TLS");
    }
    assert!(again.is_empty(), "{again}");
    assert!(place.s3.get_bucket_policy().bucket(place.bucket()).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_another_set_up_is_refused() {
    let (one, other) = (Place::new().await, Place::new().await);
    let plan = other.setup().await.plan(soon()).await.unwrap();
    let error = one.setup().await.apply(&plan, 1, soon()).await.unwrap_err();
    assert_eq!(error.field(), Some("plan"));
    let tables = SetupPlan { steps: plan.steps[5..].to_vec(), ..plan };
    assert_eq!(one.setup().await.apply(&tables, 1, soon()).await.unwrap_err().field(), Some("plan"));
    assert_eq!((one.tables().await, other.tables().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn lost_answers_and_slow_downs_leave_nothing_missing() {
    for operation in
        ["CreateBucket", "PutPublicAccessBlock", "PutBucketPolicy", "PutBucketLifecycleConfiguration"]
    {
        let (place, proxy) = (Place::new().await, proxy());
        let setup = place.setup_behind(&proxy).await;
        let rules = [
            Rule::s3(Action::LoseAnswer).operation(operation).first(1),
            Rule::dynamodb(Action::LoseAnswer).operation("CreateTable").first(2),
            Rule::s3(Action::slow_down()).operation("HeadBucket").first(1),
        ];
        let rules = rules.map(|rule| proxy.add(&rule).unwrap());
        let plan = setup.plan(soon()).await.unwrap();
        setup.apply(&plan, 1, soon()).await.unwrap();
        assert_eq!(rules.map(|rule| proxy.fired(rule).unwrap()), [1, 2, 1], "{operation}");
        assert!(setup.plan(soon()).await.unwrap().is_empty(), "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_server_without_a_setting_is_told_of_and_the_rest_is_made() {
    let (place, proxy) = (Place::new().await, proxy());
    let setup = place.setup_behind(&proxy).await;
    proxy.add(&Rule::s3(Action::answer(501, "NotImplemented")).operation("PutBucketPolicy")).unwrap();
    let applied = setup.apply(&setup.plan(soon()).await.unwrap(), 1, soon()).await.unwrap();
    let left: Vec<_> = applied.iter().filter(|applied| applied.outcome == Outcome::NotOffered).collect();
    assert_eq!(left.len(), 1);
    let step = Step::SetBucket { bucket: place.bucket().to_owned(), setting: BucketSetting::TlsOnly };
    assert_eq!((&left[0].step, place.tables().await), (&step, 6));
    proxy.add(&Rule::s3(Action::answer(501, "NotImplemented")).operation("GetBucketPolicy")).unwrap();
    let plan = setup.plan(soon()).await.unwrap();
    assert!(plan.is_empty() && plan.to_string().contains("not offered here"), "{plan}");
    let wanted: Vec<&str> = plan.not_offered.iter().map(|left| left.wanted.as_str()).collect();
    assert!(wanted.contains(&"deny requests without TLS"), "{wanted:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn the_bucket_of_another_account_is_said_to_be_one() {
    let (place, proxy) = (Place::new().await, proxy());
    let setup = place.setup_behind(&proxy).await;
    let plan = setup.plan(soon()).await.unwrap();
    let taken = Action::answer(409, "BucketAlreadyExists");
    proxy.add(&Rule::s3(taken).operation("CreateBucket")).unwrap();
    let error = setup.apply(&plan, 1, soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Conflict, Some(place.bucket())));
    assert_eq!(place.tables().await, 0, "the steps after it were not done");
    proxy.add(&Rule::s3(Action::answer(403, "AccessDenied")).operation("HeadBucket")).unwrap();
    assert_eq!(setup.plan(soon()).await.unwrap_err().kind(), ErrorKind::ReadOnly);
}
