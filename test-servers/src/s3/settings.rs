//! What can be set for a bucket. Kept and given back; nothing of it is carried out.

use s3s::dto::{
    GetBucketEncryptionOutput, GetBucketLifecycleConfigurationOutput, GetBucketPolicyOutput,
    GetPublicAccessBlockOutput, LifecycleRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

/// The settings of one bucket.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) encryption: Option<ServerSideEncryptionConfiguration>,
    pub(super) lifecycle: Option<Vec<LifecycleRule>>,
    pub(super) policy: Option<String>,
    pub(super) public_access_block: Option<PublicAccessBlockConfiguration>,
}

impl Settings {
    /// What was set, or S3's own default: every object is encrypted with keys of S3.
    pub(super) fn encryption(&self) -> GetBucketEncryptionOutput {
        let by_s3 = || {
            let algorithm = ServerSideEncryption::from_static(ServerSideEncryption::AES256);
            let by_default =
                ServerSideEncryptionByDefault { sse_algorithm: algorithm, kms_master_key_id: None };
            let rule = ServerSideEncryptionRule {
                apply_server_side_encryption_by_default: Some(by_default),
                ..ServerSideEncryptionRule::default()
            };
            ServerSideEncryptionConfiguration { rules: vec![rule] }
        };
        let configuration = self.encryption.clone().unwrap_or_else(by_s3);
        GetBucketEncryptionOutput { server_side_encryption_configuration: Some(configuration) }
    }

    pub(super) fn lifecycle(&self) -> S3Result<GetBucketLifecycleConfigurationOutput> {
        let rules = self.lifecycle.clone().ok_or_else(|| s3_error!(NoSuchLifecycleConfiguration))?;
        Ok(GetBucketLifecycleConfigurationOutput {
            rules: Some(rules),
            ..GetBucketLifecycleConfigurationOutput::default()
        })
    }

    pub(super) fn policy(&self) -> S3Result<GetBucketPolicyOutput> {
        let policy = self.policy.clone().ok_or_else(|| s3_error!(NoSuchBucketPolicy))?;
        Ok(GetBucketPolicyOutput { policy: Some(policy) })
    }

    /// What was set. A new bucket has none here, unlike one of S3's own: so that a test sees who sets it.
    pub(super) fn public_access_block(&self) -> S3Result<GetPublicAccessBlockOutput> {
        let configuration = self.public_access_block.clone().ok_or_else(no_public_access_block)?;
        Ok(GetPublicAccessBlockOutput { public_access_block_configuration: Some(configuration) })
    }
}

/// The protocol crate does not know this code.
fn no_public_access_block() -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into()));
    error.set_status_code(hyper::StatusCode::NOT_FOUND);
    error
}
