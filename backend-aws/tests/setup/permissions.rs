//! What is sent is what the policy of the role permits, neither more nor less.

use std::collections::BTreeSet;

use recstore_aws::setup::Setup;
use recstore_aws::setup::roles::Role;
use recstore_test_cloud::Proxy;
use serde_json::Value;

use crate::support::{Place, proxy, soon};

/// The actions of a role's policy.
fn permitted(setup: &Setup, role: Role) -> BTreeSet<String> {
    let policy = setup.scope(Some("123456789012")).unwrap().policy(role).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The actions of the operations that came, and where they were about.
fn sent(proxy: &Proxy) -> (BTreeSet<String>, BTreeSet<String>) {
    let counts = proxy.counts().unwrap().0;
    let action = |operation: &str| match operation {
        "HeadBucket" | "ListObjectsV2" => "s3:ListBucket".to_owned(),
        "HeadObject" => "s3:GetObject".to_owned(),
        "DeleteObjects" => "s3:DeleteObject".to_owned(),
        "GetPublicAccessBlock" => "s3:GetBucketPublicAccessBlock".to_owned(),
        "PutPublicAccessBlock" => "s3:PutBucketPublicAccessBlock".to_owned(),
        "GetBucketEncryption" => "s3:GetEncryptionConfiguration".to_owned(),
        "PutBucketEncryption" => "s3:PutEncryptionConfiguration".to_owned(),
        "GetBucketLifecycleConfiguration" => "s3:GetLifecycleConfiguration".to_owned(),
        "PutBucketLifecycleConfiguration" => "s3:PutLifecycleConfiguration".to_owned(),
        "GetObject" | "PutObject" | "GetBucketPolicy" | "PutBucketPolicy" | "CreateBucket"
        | "DeleteBucket" => {
            format!("s3:{operation}")
        }
        other => format!("dynamodb:{other}"),
    };
    let actions = counts.iter().map(|count| action(&count.operation)).collect();
    (actions, counts.into_iter().map(|count| count.place).collect())
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn a_set_up_from_plan_to_teardown_sends_what_its_policy_permits() {
    let (place, proxy) = (Place::new().await, proxy());
    let setup = place.setup_behind(&proxy).await;
    setup.apply(&setup.plan(soon()).await.unwrap(), 1, soon()).await.unwrap();
    assert!(setup.doctor(Role::Setup, soon()).await.ok);
    setup.teardown(place.confirmation(), soon()).await.unwrap();
    let (actions, places) = sent(&proxy);
    // A server that encrypts new buckets by itself, as S3 does, is not asked to.
    let mut expected = permitted(&setup, Role::Setup);
    expected.remove("s3:PutEncryptionConfiguration");
    assert_eq!(actions, expected);

    let scope = setup.scope(Some("123456789012")).unwrap().policy(Role::Setup).unwrap();
    let resources = |statement: &Value| statement["Resource"].as_array().unwrap().clone();
    let resources = scope["Statement"].as_array().unwrap().iter().flat_map(resources);
    let named: BTreeSet<String> = resources
        .map(|resource| {
            let resource = resource.as_str().unwrap().rsplit(':').next().unwrap().to_owned();
            let bucket = resource.split_once('/').filter(|(first, _)| *first != "table");
            match (bucket, resource.strip_prefix("table/")) {
                (Some((bucket, _)), _) => bucket.to_owned(),
                (None, Some(table)) => table.to_owned(),
                (None, None) => resource,
            }
        })
        .collect();
    assert_eq!(places, named);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(fault_proxy), ignore = "needs the fault proxy, not the servers of AWS_ENDPOINT_URL_S3")]
async fn the_doctor_of_a_role_only_reads_and_only_what_the_role_may() {
    let place = Place::new().await;
    place.made().await;
    place.put_object("lake/one/bronze/v1/any").await;
    for role in [Role::Ingest, Role::Pipeline, Role::Serving] {
        let proxy = proxy();
        let setup = place.setup_behind(&proxy).await;
        assert!(setup.doctor(role, soon()).await.ok, "{role}");
        let (mut actions, _) = sent(&proxy);
        // To see whether the services answer; a refusal tells it too.
        assert!(actions.remove("dynamodb:DescribeTable") && actions.contains("s3:ListBucket"), "{role}");
        let mut permitted = permitted(&setup, role);
        permitted.insert("s3:ListBucket".to_owned());
        let writes = ["s3:PutObject", "dynamodb:PutItem", "dynamodb:BatchWriteItem"];
        permitted.retain(|action| !writes.contains(&action.as_str()));
        assert_eq!(actions, permitted, "{role}");
    }
}
