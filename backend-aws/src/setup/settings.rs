//! What a bucket should be set to, and how what is set stands to it. No request is made here.
//!
//! What somebody else has set is left as it is: where it does what is wanted, in whatever words, it is as good as ours,
//! and where it does not, it is a conflict for a person to resolve.

use std::fmt;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule,
    LifecycleRuleFilter, PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, TransitionStorageClass,
};
use serde::Serialize;
use serde_json::{Value, json};

/// Uploads that nobody completed are removed after so many days.
pub const INCOMPLETE_UPLOAD_DAYS: i32 = 7;

/// A setting of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketSetting {
    /// Nothing in it can be made public.
    PublicAccessBlock,
    /// Objects are encrypted at rest.
    Encryption,
    /// Requests without TLS are denied.
    TlsOnly,
    /// Parts of uploads that were never completed are removed.
    IncompleteUploads,
}

impl BucketSetting {
    /// Every setting, in the order in which they are made.
    pub const ALL: [BucketSetting; 4] = [
        BucketSetting::PublicAccessBlock,
        BucketSetting::Encryption,
        BucketSetting::TlsOnly,
        BucketSetting::IncompleteUploads,
    ];
}

impl fmt::Display for BucketSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BucketSetting::PublicAccessBlock => f.write_str("block public access"),
            BucketSetting::Encryption => f.write_str("encrypt objects at rest"),
            BucketSetting::TlsOnly => f.write_str("deny requests without TLS"),
            BucketSetting::IncompleteUploads => {
                write!(f, "remove incomplete uploads after {INCOMPLETE_UPLOAD_DAYS} days")
            }
        }
    }
}

/// How a bucket stands to a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is as wanted.
    AsWanted,
    /// Nothing is set.
    Unset,
    /// The server has no such setting.
    NotOffered,
    /// What is set says otherwise, as this text tells.
    Conflicts(String),
}

/// A block of all four ways in which something can become public.
pub(super) fn wanted_public_access() -> PublicAccessBlockConfiguration {
    PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build()
}

pub(super) fn of_public_access(found: Option<&PublicAccessBlockConfiguration>) -> Standing {
    let Some(found) = found else { return Standing::Unset };
    let open: Vec<&str> = [
        ("BlockPublicAcls", found.block_public_acls),
        ("IgnorePublicAcls", found.ignore_public_acls),
        ("BlockPublicPolicy", found.block_public_policy),
        ("RestrictPublicBuckets", found.restrict_public_buckets),
    ]
    .into_iter()
    .filter(|(_, blocked)| *blocked != Some(true))
    .map(|(name, _)| name)
    .collect();
    if open.is_empty() {
        return Standing::AsWanted;
    }
    Standing::Conflicts(format!("its public access block has {} off; turn it on", open.join(", ")))
}

/// Keys of S3's own: no further permission is needed, and no further cost.
pub(super) fn wanted_encryption() -> Result<ServerSideEncryptionConfiguration, BuildError> {
    let by_default =
        ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256).build()?;
    let rule =
        ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(by_default).build();
    ServerSideEncryptionConfiguration::builder().rules(rule).build()
}

/// Any encryption is as good, keys of KMS included; these want permissions of their own, see
/// [`Scope::policy`](super::policy::Scope::policy).
pub(super) fn of_encryption(found: Option<&ServerSideEncryptionConfiguration>) -> Standing {
    let rules = found.map_or(&[][..], ServerSideEncryptionConfiguration::rules);
    if rules.iter().any(|rule| rule.apply_server_side_encryption_by_default().is_some()) {
        return Standing::AsWanted;
    }
    Standing::Unset
}

/// The resource names of a bucket in a region's partition (`aws`, `aws-cn`, …).
pub(super) fn bucket_arn(region: &str, bucket: &str) -> String {
    format!("arn:{}:s3:::{bucket}", partition(region))
}

/// The partition of a region
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).
pub(super) fn partition(region: &str) -> &'static str {
    [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ]
    .into_iter()
    .find(|(prefix, _)| region.starts_with(prefix))
    .map_or("aws", |(_, partition)| partition)
}

/// The policy that denies every request without TLS, to the bucket and what is in it.
pub(super) fn wanted_policy(arn: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "RecstoreTlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, format!("{arn}/*")],
            "Condition": { "Bool": { "aws:SecureTransport": "false" } },
        }],
    })
    .to_string()
}

pub(super) fn of_policy(found: Option<&str>, arn: &str) -> Standing {
    let Some(found) = found.filter(|text| !text.is_empty()) else { return Standing::Unset };
    let policy: Value = serde_json::from_str(found).unwrap_or_default();
    if one_or_more(&policy["Statement"]).iter().any(|statement| denies_plain_http(statement, arn)) {
        return Standing::AsWanted;
    }
    let text =
        "it has another bucket policy, without a statement that denies every request without TLS; add one";
    Standing::Conflicts(text.to_owned())
}

fn denies_plain_http(statement: &Value, arn: &str) -> bool {
    let names = |value: &Value, wanted: &[&str]| {
        one_or_more(value).iter().any(|one| one.as_str().is_some_and(|one| wanted.contains(&one)))
    };
    let objects = format!("{arn}/*");
    let principal = &statement["Principal"];
    let resource = &statement["Resource"];
    let everyone = principal == "*" || names(&principal["AWS"], &["*"]);
    let everything = names(resource, &["*"]) || (names(resource, &[arn]) && names(resource, &[&objects]));
    // A further condition would let some requests through.
    let conditions = statement["Condition"].as_object().filter(|all| all.len() == 1);
    let of_bool = conditions.and_then(|all| all.get("Bool")?.as_object()).filter(|all| all.len() == 1);
    let secure = of_bool.and_then(|all| all.get("aws:SecureTransport"));
    let without_tls = secure.is_some_and(|value| *value == false || names(value, &["false"]));
    statement["Effect"] == "Deny"
        && everyone
        && names(&statement["Action"], &["s3:*", "*"])
        && everything
        && without_tls
}

/// What a policy may write as one value or as a list.
fn one_or_more(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    }
}

/// One rule, over the whole bucket, that touches no object.
pub(super) fn wanted_lifecycle() -> Result<BucketLifecycleConfiguration, BuildError> {
    let abort =
        AbortIncompleteMultipartUpload::builder().days_after_initiation(INCOMPLETE_UPLOAD_DAYS).build();
    let rule = LifecycleRule::builder()
        .id("recstore-incomplete-uploads")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .abort_incomplete_multipart_upload(abort)
        .build()?;
    BucketLifecycleConfiguration::builder().rules(rule).build()
}

/// `lake` is what the keys of the lake begin with, up to and with the slash.
pub(super) fn of_lifecycle(rules: &[LifecycleRule], lake: &str) -> Standing {
    let enabled: Vec<&LifecycleRule> =
        rules.iter().filter(|rule| rule.status() == &ExpirationStatus::Enabled).collect();
    if let Some(rule) = enabled.iter().find(|rule| takes_objects(rule) && may_touch(rule, lake)) {
        let name = rule.id().unwrap_or("without a name");
        let text = format!("its lifecycle rule {name:?} expires or archives objects of the lake; remove it");
        return Standing::Conflicts(text);
    }
    let aborts =
        |rule: &&&LifecycleRule| rule.abort_incomplete_multipart_upload().is_some() && covers(rule, lake);
    if enabled.iter().any(|rule| aborts(&rule)) {
        return Standing::AsWanted;
    }
    if rules.is_empty() {
        return Standing::Unset;
    }
    // A put replaces all rules, those that were added in the meantime included.
    let text =
        "it has lifecycle rules of its own, none of which removes incomplete uploads of the lake; add one";
    Standing::Conflicts(text.to_owned())
}

/// Whether a rule removes objects, or moves them to where they cannot be read at once.
fn takes_objects(rule: &LifecycleRule) -> bool {
    let archive = |class: Option<&TransitionStorageClass>| {
        matches!(class, Some(TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive))
    };
    rule.expiration().is_some_and(|end| end.days().is_some() || end.date().is_some())
        || rule.transitions().iter().any(|transition| archive(transition.storage_class()))
}

/// What a rule's keys begin with, in any of the three places where it may stand.
fn rule_prefix(rule: &LifecycleRule) -> &str {
    #[expect(deprecated, reason = "older rules have their prefix here")]
    let old = rule.prefix();
    let filter = rule.filter();
    let new = filter.and_then(|filter| filter.prefix());
    let and = filter.and_then(|filter| filter.and()?.prefix());
    new.or(and).or(old).unwrap_or_default()
}

fn has_tags(rule: &LifecycleRule) -> bool {
    rule.filter().is_some_and(|filter| {
        filter.tag().is_some() || filter.and().is_some_and(|and| !and.tags().is_empty())
    })
}

/// Whether a rule can be about an object of the lake; these have no tags.
fn may_touch(rule: &LifecycleRule, lake: &str) -> bool {
    let prefix = rule_prefix(rule);
    !has_tags(rule) && (prefix.starts_with(lake) || lake.starts_with(prefix))
}

/// Whether a rule is about everything in the lake.
fn covers(rule: &LifecycleRule, lake: &str) -> bool {
    !has_tags(rule) && lake.starts_with(rule_prefix(rule))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{LifecycleExpiration, Tag, Transition};

    use super::*;

    const ARN: &str = "arn:aws:s3:::my-bucket";

    fn policy(change: impl FnOnce(&mut Value)) -> String {
        let mut policy: Value = serde_json::from_str(&wanted_policy(ARN)).unwrap();
        change(&mut policy["Statement"][0]);
        policy.to_string()
    }

    #[test]
    fn a_policy_that_denies_plain_http_in_other_words_is_as_wanted() {
        let kept = |found: &str| of_policy(Some(found), ARN) == Standing::AsWanted;
        assert!(kept(&wanted_policy(ARN)));
        assert!(kept(&policy(|statement| statement["Sid"] = json!("Other"))));
        assert!(kept(&policy(|statement| statement["Principal"] = json!({ "AWS": ["*"] }))));
        assert!(kept(&policy(|statement| statement["Action"] = json!(["s3:*"]))));
        assert!(kept(&policy(|statement| {
            statement["Condition"]["Bool"]["aws:SecureTransport"] = json!(["false"]);
        })));
        let mut beside: Value = serde_json::from_str(&wanted_policy(ARN)).unwrap();
        let other = json!({ "Effect": "Allow", "Principal": { "AWS": "1" }, "Action": "s3:GetObject" });
        beside["Statement"].as_array_mut().unwrap().insert(0, other);
        assert!(kept(&beside.to_string()));
    }

    #[test]
    fn a_policy_that_lets_some_plain_http_through_is_a_conflict() {
        let conflicts = |found: &str| matches!(of_policy(Some(found), ARN), Standing::Conflicts(_));
        assert!(conflicts("not json") && conflicts("{}"));
        assert!(conflicts(&wanted_policy("arn:aws:s3:::other-bucket")));
        for (field, value) in [
            ("Effect", json!("Allow")),
            ("Principal", json!({ "AWS": "arn:aws:iam::1:root" })),
            ("Action", json!("s3:GetObject")),
            ("Resource", json!([ARN])),
            ("Condition", json!({ "Bool": { "aws:SecureTransport": "true" } })),
            ("Condition", json!({ "Bool": { "aws:SecureTransport": "false", "aws:ViaAWSService": "true" } })),
            ("Condition", json!({})),
        ] {
            assert!(conflicts(&policy(|statement| statement[field] = value.clone())), "{field} {value}");
        }
        assert_eq!(of_policy(None, ARN), Standing::Unset);
    }

    #[test]
    fn a_block_that_is_not_whole_is_a_conflict_that_names_what_is_open() {
        assert_eq!(of_public_access(Some(&wanted_public_access())), Standing::AsWanted);
        assert_eq!(of_public_access(None), Standing::Unset);
        let mut open = wanted_public_access();
        open.block_public_policy = Some(false);
        open.ignore_public_acls = None;
        let Standing::Conflicts(text) = of_public_access(Some(&open)) else { panic!("no conflict") };
        assert!(text.contains("IgnorePublicAcls, BlockPublicPolicy off"), "{text}");
    }

    #[test]
    fn keys_of_kms_are_as_wanted() {
        let mut found = wanted_encryption().unwrap();
        assert_eq!(of_encryption(Some(&found)), Standing::AsWanted);
        let kms = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::AwsKms);
        found.rules[0].apply_server_side_encryption_by_default = Some(kms.build().unwrap());
        assert_eq!(of_encryption(Some(&found)), Standing::AsWanted);
        assert_eq!(of_encryption(None), Standing::Unset);
    }

    fn rule(prefix: &str) -> LifecycleRule {
        let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
        let rule = LifecycleRule::builder().id("theirs").status(ExpirationStatus::Enabled).filter(filter);
        rule.build().unwrap()
    }

    /// The same rule, changed.
    fn with(mut rule: LifecycleRule, change: impl FnOnce(&mut LifecycleRule)) -> LifecycleRule {
        change(&mut rule);
        rule
    }

    fn expiring(prefix: &str) -> LifecycleRule {
        let end = LifecycleExpiration::builder().days(30).build();
        with(rule(prefix), |rule| rule.expiration = Some(end))
    }

    #[test]
    fn rules_of_others_are_kept_where_they_do_what_is_wanted_and_conflict_where_they_do_not() {
        let ours = wanted_lifecycle().unwrap().rules;
        let beside = |rule: LifecycleRule| of_lifecycle(&[ours[0].clone(), rule], "lake/one/");
        let conflicts = |standing: Standing| matches!(standing, Standing::Conflicts(_));
        assert_eq!(of_lifecycle(&ours, "lake/one/"), Standing::AsWanted);
        assert_eq!(of_lifecycle(&[], "lake/one/"), Standing::Unset);
        assert!(conflicts(of_lifecycle(&[rule("")], "lake/one/")), "no rule removes incomplete uploads");
        let abort = ours[0].abort_incomplete_multipart_upload.clone();
        let aborting = |prefix: &str| {
            with(rule(prefix), |rule| rule.abort_incomplete_multipart_upload.clone_from(&abort))
        };
        let elsewhere = aborting("logs/");
        assert!(conflicts(of_lifecycle(&[elsewhere], "lake/one/")), "not over the lake");
        assert_eq!(of_lifecycle(&[aborting("lake/one/")], "lake/one/"), Standing::AsWanted);
        for prefix in ["", "lake", "lake/one/", "lake/one/bronze"] {
            assert!(conflicts(beside(expiring(prefix))), "{prefix:?} takes objects of the lake");
        }
        for prefix in ["logs/", "lake/one-more/", "lake/two"] {
            assert_eq!(beside(expiring(prefix)), Standing::AsWanted, "{prefix:?} is beside the lake");
        }
        let off = with(expiring(""), |rule| rule.status = ExpirationStatus::Disabled);
        assert_eq!(beside(off), Standing::AsWanted);
        let tag = Tag::builder().key("k").value("v").build().unwrap();
        let tagged = LifecycleRuleFilter::builder().tag(tag).build();
        let tagged = with(expiring(""), |rule| rule.filter = Some(tagged));
        assert_eq!(beside(tagged), Standing::AsWanted, "objects of the lake have no tags");
        let archive = Transition::builder().days(1).storage_class(TransitionStorageClass::Glacier).build();
        assert!(conflicts(beside(with(rule(""), |rule| rule.transitions = Some(vec![archive])))));
    }

    #[test]
    fn each_region_is_in_its_partition() {
        for (region, partition) in [
            ("eu-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
        ] {
            assert_eq!(bucket_arn(region, "b"), format!("arn:{partition}:s3:::b"));
        }
    }
}
