//! Other tools read the lake as it is, with the values that the library gives: deltalake, Polars, DuckDB and pandas, on
//! a server of S3 and in a local folder, by the code of `docs/open-data.md`.
//!
//! Needs Python 3 and PyPI: `RECSTORE_OPEN_DATA=1 cargo test -p recstore-aws --test open_data`.
//! `RECSTORE_OPEN_DATA_PYTHON` names a Python that has the packages already.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "online/fake.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;
#[path = "open_data/lake.rs"]
mod lake;
#[path = "pipeline/support.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};
use recstore_test_cloud::Cloud;
use serde_json::{Value, json};

const PACKAGES: [&str; 5] = ["deltalake", "polars", "duckdb", "pandas", "pyarrow"];

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// A Python that has the packages.
fn python(folder: &Path) -> PathBuf {
    if let Some(python) = std::env::var_os("RECSTORE_OPEN_DATA_PYTHON") {
        return python.into();
    }
    let environment = folder.join("venv");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    let python = environment.join("bin/python");
    succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES));
    python
}

/// A bucket of the test's own: its name, and the store that it is.
async fn bucket() -> (String, Arc<dyn ObjectStore>) {
    let cloud = Cloud::get().unwrap();
    let (name, keys) = (cloud.unique_name("open"), cloud.credentials());
    let credentials =
        aws_sdk_s3::config::Credentials::new(&keys.access_key, &keys.secret_key, None, None, "test");
    let config = aws_sdk_s3::config::Builder::new()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .credentials_provider(credentials)
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(cloud.s3_endpoint())
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(&name).send().await.unwrap();
    let store = AmazonS3Builder::new()
        .with_bucket_name(&name)
        .with_region("us-east-1")
        .with_endpoint(cloud.s3_endpoint().trim_end_matches('/'))
        .with_allow_http(true)
        .with_access_key_id(keys.access_key)
        .with_secret_access_key(keys.secret_key)
        .build()
        .unwrap();
    (name, Arc::new(store))
}

/// Copies every object, as a download of the bucket does.
async fn download(from: &dyn ObjectStore, to: &Path) {
    let to = LocalFileSystem::new_with_prefix(to).unwrap();
    let objects: Vec<_> = from.list(None).try_collect().await.unwrap();
    for object in objects {
        let body = from.get(&object.location).await.unwrap().bytes().await.unwrap();
        to.put(&object.location, body.into()).await.unwrap();
    }
}

/// Where the lake in the bucket is, as the tools want it.
fn in_bucket(bucket: &str) -> Value {
    let (cloud, region) = (Cloud::get().unwrap(), "us-east-1");
    let (keys, endpoint) = (cloud.credentials(), cloud.s3_endpoint().trim_end_matches('/'));
    json!({
        "lake": format!("s3://{bucket}/lake"),
        "root": format!("{bucket}/lake"),
        "options": {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": region,
            "AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        },
        "s3": {
            "endpoint_override": endpoint.split_once("://").unwrap().1, "scheme": "http", "region": region,
            "access_key": keys.access_key, "secret_key": keys.secret_key,
        },
    })
}

fn in_folder(folder: &Path) -> Value {
    let lake = folder.join("lake").display().to_string();
    json!({ "lake": lake, "root": lake, "options": null, "s3": null })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(open_data), ignore = "installs packages from PyPI: set RECSTORE_OPEN_DATA=1")]
async fn other_tools_read_every_table_and_version_with_the_values_of_the_library() {
    let (name, store) = bucket().await;
    let expected = lake::build(store.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    download(&*store, folder.path()).await;
    let python = python(folder.path());
    let file = |name: &str, content: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path
    };
    let expected = file("expected.json", &expected);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [file("bucket.json", &in_bucket(&name)), file("folder.json", &in_folder(folder.path()))];
    for place in places {
        let check = here.join("tests/open_data/check.py");
        let page = here.join("../docs/open-data.md");
        succeed(Command::new(&python).arg(check).arg(page).arg(&expected).arg(place));
    }
}
