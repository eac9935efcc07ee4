//! Settings of buckets: those that set-up makes are kept and given back.

use crate::clients::{Setting, code};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule,
    LifecycleRuleFilter, PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};

#[tokio::test]
async fn the_public_access_block_is_kept() {
    let setting = Setting::new().await;
    let unset = setting.s3.client.get_public_access_block().bucket(&setting.s3.bucket).send().await;
    assert_eq!(code(unset), "NoSuchPublicAccessBlockConfiguration");
    let block = PublicAccessBlockConfiguration::builder().block_public_acls(true).block_public_policy(true);
    let block = block.ignore_public_acls(true).restrict_public_buckets(false).build();
    let put = setting.s3.client.put_public_access_block().bucket(&setting.s3.bucket);
    put.public_access_block_configuration(block.clone()).send().await.unwrap();
    let got = setting.s3.client.get_public_access_block().bucket(&setting.s3.bucket).send().await.unwrap();
    assert_eq!(got.public_access_block_configuration(), Some(&block));
}

#[tokio::test]
async fn encryption_is_by_s3_until_it_is_set() {
    let setting = Setting::new().await;
    let algorithm = async || {
        let got = setting.s3.client.get_bucket_encryption().bucket(&setting.s3.bucket).send().await.unwrap();
        let rule = got.server_side_encryption_configuration().unwrap().rules()[0].clone();
        rule.apply_server_side_encryption_by_default().unwrap().sse_algorithm().clone()
    };
    assert_eq!(algorithm().await, ServerSideEncryption::Aes256);
    let by_default = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::AwsKms);
    let rule = ServerSideEncryptionRule::builder();
    let rule = rule.apply_server_side_encryption_by_default(by_default.build().unwrap()).build();
    let configuration = ServerSideEncryptionConfiguration::builder().rules(rule).build().unwrap();
    let put = setting.s3.client.put_bucket_encryption().bucket(&setting.s3.bucket);
    put.server_side_encryption_configuration(configuration).send().await.unwrap();
    assert_eq!(algorithm().await, ServerSideEncryption::AwsKms);
}

#[tokio::test]
async fn the_policy_is_kept() {
    let setting = Setting::new().await;
    assert_eq!(
        code(setting.s3.client.get_bucket_policy().bucket(&setting.s3.bucket).send().await),
        "NoSuchBucketPolicy"
    );
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    setting.s3.client.put_bucket_policy().bucket(&setting.s3.bucket).policy(policy).send().await.unwrap();
    let got = setting.s3.client.get_bucket_policy().bucket(&setting.s3.bucket).send().await.unwrap();
    assert_eq!(got.policy(), Some(policy));
}

#[tokio::test]
async fn the_lifecycle_is_kept() {
    let setting = Setting::new().await;
    let unset =
        setting.s3.client.get_bucket_lifecycle_configuration().bucket(&setting.s3.bucket).send().await;
    assert_eq!(code(unset), "NoSuchLifecycleConfiguration");
    let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(7).build();
    let rule = LifecycleRule::builder().id("uploads").status(ExpirationStatus::Enabled);
    let rule = rule.filter(LifecycleRuleFilter::builder().prefix("").build());
    let rule = rule.abort_incomplete_multipart_upload(abort).build().unwrap();
    let configuration = BucketLifecycleConfiguration::builder().rules(rule.clone()).build().unwrap();
    let put = setting.s3.client.put_bucket_lifecycle_configuration().bucket(&setting.s3.bucket);
    put.lifecycle_configuration(configuration).send().await.unwrap();
    let got = setting
        .s3
        .client
        .get_bucket_lifecycle_configuration()
        .bucket(&setting.s3.bucket)
        .send()
        .await
        .unwrap();
    assert_eq!(got.rules(), [rule]);
}
