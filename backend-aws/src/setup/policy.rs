//! Least-privilege policies for each role, made from the table of calls.

use std::collections::{BTreeMap, BTreeSet};

use recstore_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::probe;
use super::roles::{Resource, Role};
use super::settings::{bucket_arn, partition};
use crate::lake::keys::LakePrefix;
use crate::online::tables::{TableName, TableNames};

/// What the policies are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub(super) bucket: String,
    pub(super) prefix: LakePrefix,
    pub(super) tables: TableNames,
    pub(super) region: String,
    pub(super) account: String,
}

/// The folder of bronze within the lake.
pub(super) const BRONZE: &str = "bronze/v1";

impl Scope {
    /// The policy of a role, as IAM takes it: what the calls of the role need and nothing else. What the role will
    /// need later, [`Role::not_yet`], is not in it.
    ///
    /// S3 tells what is absent from what is denied only to those who may list the whole bucket: under these policies a
    /// read of an object that is not there is denied. A bucket whose objects are encrypted with a key of KMS wants
    /// `kms:Decrypt` and, of those who write, `kms:GenerateDataKey` for that key besides.
    ///
    /// # Errors
    /// `Unsupported` for a role that makes no call so far.
    pub fn policy(&self, role: Role) -> Result<Value> {
        let mut actions: BTreeMap<Resource, BTreeSet<&str>> = BTreeMap::new();
        for call in role.calls() {
            actions.entry(call.resource).or_default().insert(call.action);
        }
        if actions.is_empty() {
            let text = format!("the role {role} makes no call so far, there is nothing to permit");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let statements: Vec<Value> =
            actions.iter().map(|(resource, actions)| self.statement(*resource, actions)).collect();
        Ok(json!({ "Version": "2012-10-17", "Statement": statements }))
    }

    fn statement(&self, resource: Resource, actions: &BTreeSet<&str>) -> Value {
        let bucket = bucket_arn(&self.region, &self.bucket);
        let within = |folder: &str| format!("{}/*", self.prefix.full(folder));
        let objects = |folder: &str| vec![format!("{bucket}/{}", within(folder))];
        let (name, resources) = match resource {
            Resource::Bucket => ("Bucket", vec![bucket]),
            Resource::BronzeList => ("BronzeList", vec![bucket]),
            Resource::Bronze => ("Bronze", objects(BRONZE)),
            Resource::Probe => ("Probe", objects(probe::FOLDER)),
            Resource::Tables => ("Tables", TableName::ALL.map(|table| self.table_arn(table)).to_vec()),
        };
        let mut statement = json!({
            "Sid": format!("Recstore{name}"),
            "Effect": "Allow",
            "Action": actions,
            "Resource": resources,
        });
        if resource == Resource::BronzeList {
            statement["Condition"] = json!({ "StringLike": { "s3:prefix": [within(BRONZE)] } });
        }
        statement
    }

    fn table_arn(&self, table: TableName) -> String {
        let Scope { region, account, .. } = self;
        format!("arn:{}:dynamodb:{region}:{account}:table/{}", partition(region), self.tables.of(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(prefix: &str) -> Scope {
        Scope {
            bucket: "my-bucket".to_owned(),
            prefix: LakePrefix::new(prefix).unwrap(),
            tables: TableNames::new("shop_").unwrap(),
            region: "eu-central-1".to_owned(),
            account: "123456789012".to_owned(),
        }
    }

    #[test]
    fn the_policy_of_ingest_is_its_calls_on_bronze_alone() {
        let expected = json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "RecstoreBronzeList",
                    "Effect": "Allow",
                    "Action": ["s3:ListBucket"],
                    "Resource": ["arn:aws:s3:::my-bucket"],
                    "Condition": { "StringLike": { "s3:prefix": ["lake/one/bronze/v1/*"] } },
                },
                {
                    "Sid": "RecstoreBronze",
                    "Effect": "Allow",
                    "Action": ["s3:GetObject", "s3:PutObject"],
                    "Resource": ["arn:aws:s3:::my-bucket/lake/one/bronze/v1/*"],
                },
            ],
        });
        assert_eq!(scope("lake/one").policy(Role::Ingest).unwrap(), expected);
        let text = scope("").policy(Role::Ingest).unwrap().to_string();
        assert!(text.contains("my-bucket/bronze/v1/*") && text.contains("[\"bronze/v1/*\"]"), "{text}");
    }

    #[test]
    fn serving_may_read_the_six_tables_and_nothing_else() {
        let policy = scope("").policy(Role::Serving).unwrap();
        let [statement] = &policy["Statement"].as_array().unwrap()[..] else { panic!("{policy}") };
        assert_eq!(statement["Action"], json!(["dynamodb:BatchGetItem", "dynamodb:Query"]));
        let resources = statement["Resource"].as_array().unwrap();
        assert_eq!(resources.len(), 6);
        assert_eq!(resources[0], "arn:aws:dynamodb:eu-central-1:123456789012:table/shop_user_features");
    }

    #[test]
    fn no_policy_has_a_wildcard_for_actions_or_for_everything() {
        for role in Role::ALL.into_iter().filter(|role| *role != Role::Migration) {
            let policy = scope("lake").policy(role).unwrap();
            for statement in policy["Statement"].as_array().unwrap() {
                let of = |field: &str| statement[field].as_array().unwrap().clone();
                assert!(of("Action").iter().all(|action| !action.as_str().unwrap().contains('*')), "{role}");
                assert!(of("Resource").iter().all(|resource| resource != "*"), "{role}");
            }
        }
    }

    #[test]
    fn a_role_without_calls_has_no_policy() {
        let error = scope("").policy(Role::Migration).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
