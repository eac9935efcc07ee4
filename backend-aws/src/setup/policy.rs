//! Least-privilege policies for each role, made from the table of calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

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

impl Scope {
    /// The policy of a role, as IAM takes it: what the calls of the role need and nothing else.
    ///
    /// Whoever reads the lake may list the bucket as a whole, without a condition on the prefix: S3 answers that an object
    /// is absent only to those, and tells all others that the read is denied. The code relies on that answer: a
    /// namespace without a head is a new one, a generation without a manifest is free to be claimed. In a bucket
    /// that has other things besides the lake, their names can be listed; their content cannot be read.
    ///
    /// A bucket whose objects are encrypted with a key of KMS wants `kms:Decrypt` and, of those who write,
    /// `kms:GenerateDataKey` for that key besides.
    pub fn policy(&self, role: Role) -> Value {
        let mut actions: BTreeMap<Resource, BTreeSet<&str>> = BTreeMap::new();
        for call in role.calls() {
            actions.entry(call.resource).or_default().insert(call.action);
        }
        let statements: Vec<Value> =
            actions.iter().map(|(resource, actions)| self.statement(*resource, actions)).collect();
        json!({ "Version": "2012-10-17", "Statement": statements })
    }

    fn statement(&self, resource: Resource, actions: &BTreeSet<&str>) -> Value {
        let bucket = bucket_arn(&self.region, &self.bucket);
        let resources = match (resource, resource.folder()) {
            (_, Some(folder)) => vec![format!("{bucket}/{}/*", self.prefix.full(folder))],
            (Resource::Tables, None) => TableName::ALL.map(|table| self.table_arn(table)).to_vec(),
            (_, None) => vec![bucket],
        };
        json!({
            "Sid": format!("Recstore{resource:?}"),
            "Effect": "Allow",
            "Action": actions,
            "Resource": resources,
        })
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

    /// The statements of a role's policy that are not about the tables.
    fn of_bucket(prefix: &str, role: Role) -> Vec<Value> {
        let policy = scope(prefix).policy(role);
        let statements = policy["Statement"].as_array().unwrap().iter();
        statements.filter(|statement| statement["Sid"] != "RecstoreTables").cloned().collect()
    }

    fn statement(name: &str, actions: &[&str], within: &str) -> Value {
        json!({
            "Sid": format!("Recstore{name}"),
            "Effect": "Allow",
            "Action": actions,
            "Resource": [format!("arn:aws:s3:::my-bucket{within}")],
        })
    }

    #[test]
    fn the_policy_of_ingest_is_events_and_reads_of_the_head() {
        let expected = [
            statement("Bucket", &["s3:ListBucket"], ""),
            statement("Bronze", &["s3:GetObject", "s3:PutObject"], "/lake/one/bronze/v1/*"),
            statement("State", &["s3:GetObject"], "/lake/one/state/v1/*"),
        ];
        assert_eq!(of_bucket("lake/one", Role::Ingest), expected);
        assert_eq!(of_bucket("", Role::Ingest)[1]["Resource"], json!(["arn:aws:s3:::my-bucket/bronze/v1/*"]));
        let policy = scope("").policy(Role::Ingest);
        let tables = policy["Statement"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(tables["Action"], json!(["dynamodb:BatchGetItem", "dynamodb:PutItem"]));
    }

    #[test]
    fn serving_may_read_the_six_tables_state_and_gold_and_nothing_else() {
        let expected = [
            statement("Bucket", &["s3:ListBucket"], ""),
            statement("Gold", &["s3:GetObject"], "/gold/v1/*"),
            statement("State", &["s3:GetObject"], "/state/v1/*"),
        ];
        assert_eq!(of_bucket("", Role::Serving), expected);
        let policy = scope("").policy(Role::Serving);
        let tables = policy["Statement"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(tables["Action"], json!(["dynamodb:BatchGetItem", "dynamodb:Query"]));
        let resources = tables["Resource"].as_array().unwrap();
        assert_eq!(resources.len(), 6);
        assert_eq!(resources[0], "arn:aws:dynamodb:eu-central-1:123456789012:table/shop_user_features");
    }

    #[test]
    fn maintenance_deletes_in_the_lake_and_puts_nothing() {
        let expected = [
            statement("Bucket", &["s3:ListBucket"], ""),
            statement("Bronze", &["s3:DeleteObject"], "/bronze/v1/*"),
            statement("Silver", &["s3:DeleteObject"], "/silver/v1/*"),
            statement("Gold", &["s3:DeleteObject"], "/gold/v1/*"),
            statement("State", &["s3:DeleteObject", "s3:GetObject"], "/state/v1/*"),
            statement("Quarantine", &["s3:DeleteObject"], "/quarantine/v1/*"),
        ];
        assert_eq!(of_bucket("", Role::Maintenance), expected);
    }

    #[test]
    fn no_policy_has_a_wildcard_for_actions_or_for_everything() {
        for role in Role::ALL {
            let policy = scope("lake").policy(role);
            for statement in policy["Statement"].as_array().unwrap() {
                let of = |field: &str| statement[field].as_array().unwrap().clone();
                assert!(of("Action").iter().all(|action| !action.as_str().unwrap().contains('*')), "{role}");
                assert!(of("Resource").iter().all(|resource| resource != "*"), "{role}");
            }
        }
    }

    #[test]
    fn migration_may_what_ingest_pipeline_and_serving_may_and_nothing_else() {
        let actions = |role: Role| -> BTreeSet<(String, String)> {
            let policy = scope("").policy(role);
            let statements = policy["Statement"].as_array().unwrap().iter();
            let of_one = |statement: &Value| {
                let sid = statement["Sid"].as_str().unwrap().to_owned();
                let actions = statement["Action"].as_array().unwrap().clone();
                actions.into_iter().map(move |action| (sid.clone(), action.as_str().unwrap().to_owned()))
            };
            statements.flat_map(of_one).collect()
        };
        let expected = [Role::Ingest, Role::Pipeline, Role::Serving].into_iter().flat_map(actions).collect();
        assert_eq!(actions(Role::Migration), expected);
    }
}
