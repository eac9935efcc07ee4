//! Who makes which call: the one table from which policies and the doctor's questions come. A test holds it against the
//! sources, so that no call is missing and none stands here that nobody makes.

use std::fmt;

use recstore_core::{Error, Result};
use serde::Serialize;

use super::probe;

/// What somebody does with the bucket and the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Writes ratings and custom rows: to bronze, and custom rows to the tables besides.
    Ingest,
    /// Runs, scans and fingerprints; declares groups, makes releases, erases, writes checkpoints: all that changes the
    /// head, or reads silver.
    Pipeline,
    /// Answers reads: from the tables, from the head and its documents, and from popularity lists in gold.
    Serving,
    /// Vacuums: deletes from the lake what nothing names any more; puts nothing.
    Maintenance,
    /// Moves data from one store to another: puts it, runs, and reads it back, all that ingest, pipeline and serving do.
    Migration,
    /// Makes, probes and removes the bucket and the tables: a person, not a service.
    Setup,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 6] =
        [Role::Ingest, Role::Pipeline, Role::Serving, Role::Maintenance, Role::Migration, Role::Setup];

    /// The role's name: `ingest`, `pipeline`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Ingest => "ingest",
            Role::Pipeline => "pipeline",
            Role::Serving => "serving",
            Role::Maintenance => "maintenance",
            Role::Migration => "migration",
            Role::Setup => "setup",
        }
    }

    /// The calls of this role.
    pub fn calls(self) -> impl Iterator<Item = &'static Call> {
        CALLS.iter().filter(move |call| call.roles.iter().any(|role| self.includes(*role)))
    }

    /// Whether this role may whatever the other one may.
    fn includes(self, other: Role) -> bool {
        self == other || self == Migration && [Ingest, Pipeline, Serving].contains(&other)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let names = Role::ALL.map(Role::as_str).join(", ");
            Error::invalid("role", format!("{text:?} is none of {names}"))
        })
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The bucket itself.
    Bucket,
    /// Objects of bronze: ratings and custom rows as they were put.
    Bronze,
    /// Objects of silver: the tables of the lake.
    Silver,
    /// Objects of gold: releases.
    Gold,
    /// The head, its documents and the manifests of runs.
    State,
    /// Lines that were no events.
    Quarantine,
    /// Objects of the probe.
    Probe,
    /// The tables.
    Tables,
}

impl Resource {
    /// The folder within the lake of these objects; `None` where it is about no objects.
    pub fn folder(self) -> Option<&'static str> {
        match self {
            Resource::Bronze => Some("bronze/v1"),
            Resource::Silver => Some("silver/v1"),
            Resource::Gold => Some("gold/v1"),
            Resource::State => Some("state/v1"),
            Resource::Quarantine => Some("quarantine/v1"),
            Resource::Probe => Some(probe::FOLDER),
            Resource::Bucket | Resource::Tables => None,
        }
    }
}

/// A call that the code makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Call {
    /// As it stands in the sources: `objects.…` by the object store, `client.…` by an SDK.
    pub call: &'static str,
    /// What a policy calls it.
    pub action: &'static str,
    /// What it is about.
    pub resource: Resource,
    /// Who makes it.
    pub roles: &'static [Role],
}

const fn call(call: &'static str, action: &'static str, resource: Resource, roles: &'static [Role]) -> Call {
    Call { call, action, resource, roles }
}

use Resource::{Bronze, Bucket, Gold, Probe, Quarantine, Silver, State, Tables};
use Role::{Ingest, Maintenance, Migration, Pipeline, Serving, Setup};

/// Every call. The actions are those of
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html> and
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>.
///
/// Whoever reads the lake may list the whole bucket, see [`Scope::policy`](super::policy::Scope::policy). Every handle
/// looks, when it is opened, whether the tables belong to the lake, and so every service reads the head and an item.
///
/// In every role the doctor also asks for the head of the bucket and for the description of a table, to see whether
/// the services answer and what their clock says: a refusal tells it too, so that no role needs a permission for it.
pub const CALLS: &[Call] = &[
    call("objects.put_opts", "s3:PutObject", Bronze, &[Ingest]),
    call("objects.put_opts", "s3:PutObject", Silver, &[Pipeline]),
    call("objects.put_opts", "s3:PutObject", Gold, &[Pipeline]),
    call("objects.put_opts", "s3:PutObject", State, &[Pipeline]),
    call("objects.put_opts", "s3:PutObject", Quarantine, &[Pipeline]),
    // The metadata of an object whose put was answered with "exists".
    call("objects.get_opts", "s3:GetObject", Bronze, &[Ingest]),
    call("objects.get_opts", "s3:GetObject", Silver, &[Pipeline]),
    call("objects.get_opts", "s3:GetObject", Gold, &[Pipeline]),
    call("objects.get_opts", "s3:GetObject", State, &[Pipeline]),
    call("objects.get_opts", "s3:GetObject", Quarantine, &[Pipeline]),
    call("objects.get", "s3:GetObject", Bronze, &[Pipeline]),
    call("objects.get", "s3:GetObject", Silver, &[Pipeline]),
    call("objects.get", "s3:GetObject", Gold, &[Pipeline, Serving]),
    call("objects.get", "s3:GetObject", State, &[Ingest, Pipeline, Serving, Maintenance]),
    call("objects.list", "s3:ListBucket", Bucket, &[Ingest, Pipeline, Serving, Maintenance]),
    call("objects.list_with_offset", "s3:ListBucket", Bucket, &[Ingest, Pipeline, Maintenance]),
    call("objects.list_with_delimiter", "s3:ListBucket", Bucket, &[Ingest, Pipeline, Maintenance]),
    call("objects.delete", "s3:DeleteObject", Bronze, &[Maintenance]),
    call("objects.delete", "s3:DeleteObject", Silver, &[Maintenance]),
    call("objects.delete", "s3:DeleteObject", Gold, &[Maintenance]),
    call("objects.delete", "s3:DeleteObject", State, &[Maintenance]),
    call("objects.delete", "s3:DeleteObject", Quarantine, &[Maintenance]),
    call("client.batch_get_item", "dynamodb:BatchGetItem", Tables, &[Ingest, Pipeline, Serving, Maintenance]),
    call("client.query", "dynamodb:Query", Tables, &[Serving]),
    call("client.batch_write_item", "dynamodb:BatchWriteItem", Tables, &[Pipeline]),
    call("client.put_item", "dynamodb:PutItem", Tables, &[Ingest, Pipeline]),
    call("store.put_opts", "s3:PutObject", Probe, &[Setup]),
    call("store.get", "s3:GetObject", Probe, &[Setup]),
    call("store.delete", "s3:DeleteObject", Probe, &[Setup]),
    call("client.create_bucket", "s3:CreateBucket", Bucket, &[Setup]),
    call("client.delete_bucket", "s3:DeleteBucket", Bucket, &[Setup]),
    call("client.head_bucket", "s3:ListBucket", Bucket, &[Setup]),
    call("client.list_objects_v2", "s3:ListBucket", Bucket, &[Setup]),
    call("client.get_public_access_block", "s3:GetBucketPublicAccessBlock", Bucket, &[Setup]),
    call("client.put_public_access_block", "s3:PutBucketPublicAccessBlock", Bucket, &[Setup]),
    call("client.get_bucket_encryption", "s3:GetEncryptionConfiguration", Bucket, &[Setup]),
    call("client.put_bucket_encryption", "s3:PutEncryptionConfiguration", Bucket, &[Setup]),
    call("client.get_bucket_policy", "s3:GetBucketPolicy", Bucket, &[Setup]),
    call("client.put_bucket_policy", "s3:PutBucketPolicy", Bucket, &[Setup]),
    call("client.get_bucket_lifecycle_configuration", "s3:GetLifecycleConfiguration", Bucket, &[Setup]),
    call("client.put_bucket_lifecycle_configuration", "s3:PutLifecycleConfiguration", Bucket, &[Setup]),
    call("client.describe_table", "dynamodb:DescribeTable", Tables, &[Setup]),
    call("client.create_table", "dynamodb:CreateTable", Tables, &[Setup]),
    call("client.delete_table", "dynamodb:DeleteTable", Tables, &[Setup]),
    call("client.describe_continuous_backups", "dynamodb:DescribeContinuousBackups", Tables, &[Setup]),
    call("client.update_continuous_backups", "dynamodb:UpdateContinuousBackups", Tables, &[Setup]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What `object_store` can do, of which the names are also those of collections.
    const OF_STORES: [&str; 14] = [
        "put",
        "put_opts",
        "put_multipart",
        "put_multipart_opts",
        "get",
        "get_opts",
        "get_range",
        "get_ranges",
        "head",
        "delete",
        "delete_stream",
        "list",
        "list_with_offset",
        "list_with_delimiter",
    ];
    /// Names that nothing but an object store has: whatever it is called, such a call is one.
    const OF_STORES_ALONE: [&str; 10] = [
        "put_opts",
        "put_multipart",
        "put_multipart_opts",
        "get_opts",
        "get_range",
        "get_ranges",
        "delete_stream",
        "list_with_offset",
        "list_with_delimiter",
        "copy_if_not_exists",
    ];

    /// The code of every file of the crate, without tests and comments.
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if !path.ends_with("setup/roles.rs") && !path.to_string_lossy().ends_with("_tests.rs") {
                let text = fs::read_to_string(path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.push(lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }

    /// What stands before a dot at the end of `text`, and the name at the beginning of `rest`.
    fn receiver(text: &str) -> &str {
        let text = text.trim_end();
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        &text[text.rfind(|character| !is_name(character)).map_or(0, |at| at + 1)..]
    }

    /// Every call on something that is called `client`, `objects` or `store`, and every call that only an object store
    /// has.
    fn calls_of(code: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in code.match_indices('.') {
            let of = receiver(&code[..at]);
            let rest = code[at + 1..].trim_start();
            let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let by_client = of == "client" && rest.starts_with("()") && !["clone", "config"].contains(&name);
            let by_store = ["objects", "store"].contains(&of) && OF_STORES.contains(&name);
            // `LakeStore` has a `list` of its own, and is itself a `store`.
            let by_lake = of == "store" && name == "list";
            let alone = OF_STORES_ALONE.contains(&name) && rest.starts_with('(');
            if by_client || (by_store && !by_lake && rest.starts_with('(')) || alone {
                found.insert(format!("{of}.{name}"));
            }
        }
        found
    }

    #[test]
    fn the_table_has_every_call_of_the_sources_and_no_other() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let made: BTreeSet<String> = files.iter().flat_map(|code| calls_of(code)).collect();
        let listed: BTreeSet<String> = CALLS.iter().map(|call| call.call.to_owned()).collect();
        assert_eq!(made, listed, "the calls of the sources, and those of the table");
    }

    #[test]
    fn a_call_is_seen_over_lines_and_under_any_name() {
        let code = "self\n    .client\n    .scan()\n    .send(); self.client.clone(); x.client.config();
            bucket.put_multipart(&path); self.objects.get(&path); names.get(0); self.objects.len();
            self.store\n.delete(&p); client.restore()";
        let expected =
            ["bucket.put_multipart", "client.restore", "client.scan", "objects.get", "store.delete"];
        assert_eq!(calls_of(code).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_service_can_neither_scan_nor_change_what_set_up_made_and_deletes_only_in_maintenance() {
        for role in Role::ALL.into_iter().filter(|role| *role != Role::Setup) {
            for call in role.calls() {
                let bad = ["Scan", "DeleteT", "DeleteB", "DeleteI", "Describe", "Create", "Update", "Policy"];
                assert!(!bad.iter().any(|bad| call.action.contains(bad)), "{role} {}", call.action);
            }
        }
        let those_who = |what: &str| {
            let may = |role: &Role| role.calls().any(|call| call.action.contains(what));
            Role::ALL.into_iter().filter(may).collect::<Vec<_>>()
        };
        assert_eq!(those_who(":PutObject"), [Ingest, Pipeline, Migration, Setup]);
        assert_eq!(those_who(":PutItem"), [Ingest, Pipeline, Migration]);
        assert_eq!(those_who(":BatchWrite"), [Pipeline, Migration]);
        assert_eq!(those_who(":DeleteObject"), [Maintenance, Setup]);
    }

    #[test]
    fn whoever_reads_the_lake_may_list_the_bucket() {
        for role in Role::ALL {
            let reads = role.calls().any(|call| call.action == "s3:GetObject");
            let lists = role.calls().any(|call| (call.action, call.resource) == ("s3:ListBucket", Bucket));
            assert_eq!(reads, lists, "{role}");
        }
    }

    #[test]
    fn roles_are_read_as_they_are_printed() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        assert_eq!("root".parse::<Role>().unwrap_err().field(), Some("role"));
    }
}
