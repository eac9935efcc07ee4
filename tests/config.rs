//! The configuration: what is read, what is refused and what the refusal says.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use recstore::config::Secret;
use recstore::{Config, Error, ErrorKind, Measure, StorageMode};

fn yaml(text: &str) -> Result<Config, Error> {
    Config::from_yaml(text, "/etc/recstore")
}

fn refusal(text: &str) -> String {
    yaml(text).unwrap_err().to_string()
}

#[test]
fn the_template_says_what_the_defaults_say() {
    let template = Config::from_yaml(Config::template(), "").unwrap();
    assert_eq!(template, Config::default());
}

#[test]
fn the_template_shows_every_key() {
    for key in Config::keys() {
        let name = key.rsplit('.').next().unwrap();
        assert!(Config::template().contains(&format!("{name}:")), "{key}");
    }
}

#[test]
fn the_readme_shows_every_key() {
    for key in Config::keys() {
        assert!(include_str!("../README.md").contains(&format!("| `{key}` |")), "{key}");
    }
}

#[test]
fn every_key_of_the_file_is_taken_over() {
    let config = yaml(
        "storage_mode: memory\nnamespace: shop-eu\ndatabase:\n  path: data/x.db\n  create: true\n  readers: 3\n  \
         cache: 8MiB\n  busy_timeout: 250ms\n  max_group_events: 5\n  max_queued_events: 100000\n  \
         entity_cache: 1000\n  wal_size: 1MiB\ningest:\n  max_future_skew: 1h 30m\nfeatures:\n  prior_mean: 3.5\n  \
         prior_weight: 7\nsimilarity:\n  measure: adjusted-cosine\n  k: 20\n  min_common: 4\n  shrinkage: 2.5\n\
         erasure_key: hunter2\n",
    )
    .unwrap();
    assert_eq!(config.storage_mode, StorageMode::Memory);
    assert_eq!(config.namespace.as_str(), "shop-eu");
    assert_eq!(config.database.path, Path::new("/etc/recstore/data/x.db"));
    assert_eq!(config.database.readers, Some(3));
    assert_eq!(config.database.cache, 8 << 20);
    assert_eq!(config.database.busy_timeout, Duration::from_millis(250));
    assert_eq!(config.database.max_group_events, 5);
    assert_eq!(config.database.max_queued_events, 100_000);
    assert_eq!(config.database.entity_cache, 1000);
    assert_eq!(config.database.wal_size, 1 << 20);
    assert_eq!(config.ingest.max_future_skew, Duration::from_secs(5400));
    assert_eq!((config.features.prior_mean, config.features.prior_weight), (3.5, 7));
    assert_eq!(config.similarity.measure, Measure::AdjustedCosine);
    assert_eq!((config.similarity.k, config.similarity.min_common), (20, 4));
    assert_eq!(config.similarity.shrinkage, 2.5);
    assert_eq!(config.erasure_key, Some(Secret::new("hunter2")));
}

#[test]
fn an_empty_file_and_empty_sections_are_the_defaults() {
    for text in ["", "# nothing\n", "---\n", "database:\n", "database:\n  # path: x\nsimilarity: ~\n", "{}"] {
        let config = Config::from_yaml(text, "").unwrap();
        assert_eq!(config, Config::default(), "{text:?}");
    }
}

#[test]
fn values_are_of_the_type_of_their_key_whatever_they_look_like() {
    for (written, namespace) in [
        ("09", "09"),
        ("1e3", "1e3"),
        ("true", "true"),
        ("0x10", "0x10"),
        ("'no'", "no"),
        ("2024-01-01", "2024-01-01"),
    ] {
        let config = yaml(&format!("namespace: {written}")).unwrap();
        assert_eq!(config.namespace.as_str(), namespace);
    }
    assert_eq!(yaml("similarity: {k: '7'}").unwrap().similarity.k, 7);
}

#[test]
fn relative_paths_are_relative_to_the_file_and_absolute_ones_stay() {
    let path = |text: &str| yaml(text).unwrap().database.path;
    assert_eq!(path("database: {path: a/b.db}"), Path::new("/etc/recstore/a/b.db"));
    assert_eq!(path("database: {path: /var/b.db}"), Path::new("/var/b.db"));
    assert_eq!(path("namespace: x"), Path::new("/etc/recstore/recstore.db"));
}

#[test]
fn unknown_keys_are_refused_with_line_column_and_the_nearest_name() {
    for (text, refused) in [
        ("storagemode: sqlite", "storagemode: is no key, did you mean \"storage_mode\"? (1:1)"),
        (
            "namespace: a\ndatabase:\n  pth: x.db\n",
            "database.pth: is no key, did you mean \"database.path\"? (3:3)",
        ),
        (
            "database:\n  busytimeout: 3s",
            "database.busytimeout: is no key, did you mean \"database.busy_timeout\"? (2:3)",
        ),
        ("path: x.db", "path: is no key, did you mean \"database.path\"? (1:1)"),
        ("databse:\n  path: x.db", "databse: is no key, did you mean \"database\"? (1:1)"),
        ("aws:\n  bucket: x", "aws.bucket: is no key, did you mean \"aws.s3.bucket\"? (2:3)"),
        (
            "aws:\n  pipeline:\n    retention:\n      silvr: 3d",
            "aws.pipeline.retention.silvr: is no key, did you mean \"aws.pipeline.retention.silver\"? (4:7)",
        ),
        (
            "aws:\n  pipeline:\n    retention: 30d",
            "aws.pipeline.retention: is a section, keys stand under it (3:16)",
        ),
        ("aws:\n  s3:\n    buket: x", "aws.s3.buket: is no key, did you mean \"aws.s3.bucket\"? (3:5)"),
        (
            "aws:\n  colour: red",
            "aws.colour: is no key, there are: region, endpoint_url, allow_http, s3, dynamodb, ingest, pipeline, \
             retry (2:3)",
        ),
        (
            "postgres:\n  host: x",
            "postgres: is no key, there are: storage_mode, namespace, database, aws, ingest, features, similarity, \
             erasure_key (1:1)",
        ),
        ("database.path: x.db", "database.path: has a dot, write a section with the key under it (1:1)"),
        ("features:\n  colour: red", "features.colour: is no key, there are: prior_mean, prior_weight (2:3)"),
    ] {
        assert_eq!(refusal(text), refused);
    }
}

#[test]
fn unknown_modes_are_refused_with_the_nearest() {
    assert_eq!(
        refusal("storage_mode: sqllite"),
        "storage_mode: \"sqllite\" is no mode, did you mean \"sqlite\"? (1:15)"
    );
    assert_eq!(
        refusal("storage_mode: postgres"),
        "storage_mode: \"postgres\" is no mode, there are: memory, sqlite, aws, hybrid (1:15)"
    );
}

#[test]
fn wrong_values_name_key_and_position() {
    for (text, key, position) in [
        ("similarity:\n  k: many", "similarity.k", "2:6"),
        ("similarity:\n  k: 0", "similarity.k", "2:6"),
        ("similarity:\n  shrinkage: -1", "similarity.shrinkage", "2:14"),
        ("similarity:\n  measure: cosin", "similarity.measure", "2:12"),
        ("database:\n  busy_timeout: 5", "database.busy_timeout", "2:17"),
        ("database:\n  cache: 1B", "database.cache", "2:10"),
        ("database:\n  readers: 0", "database.readers", "2:12"),
        ("database:\n  read_only: maybe", "database.read_only", "2:14"),
        ("database:\n  path: ''", "database.path", "2:9"),
        ("features:\n  prior_mean: .nan", "features.prior_mean", "2:15"),
        ("namespace: No Good", "namespace", "1:12"),
        ("database: x.db", "database", "1:11"),
        ("namespace: [a, b]", "namespace", "1:12"),
        ("namespace:\n", "namespace", "1:10"),
        ("erasure_key: ''", "erasure_key", "1:14"),
        ("aws:\n  allow_http: maybe", "aws.allow_http", "2:15"),
        ("aws:\n  s3:\n    request_timeout: 30", "aws.s3.request_timeout", "3:22"),
        ("aws:\n  ingest:\n    max_batch_bytes: much", "aws.ingest.max_batch_bytes", "3:22"),
        ("aws:\n  pipeline:\n    max_entity_drop: .nan", "aws.pipeline.max_entity_drop", "3:22"),
        ("aws:\n  retry:\n    max_attempts: -1", "aws.retry.max_attempts", "3:19"),
        ("aws:\n  s3: x", "aws.s3", "2:7"),
    ] {
        let error = yaml(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
        assert_eq!((error.field(), error.object()), (Some(key), Some(position)), "{text:?}: {error}");
    }
}

#[test]
fn what_is_no_yaml_is_refused_with_its_position() {
    for text in [
        "database: [",
        "a: b: c",
        "- list",
        "just text",
        "namespace: a\nnamespace: b\n",
        "namespace: !env HOME",
    ] {
        let error = yaml(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
        assert!(error.object().is_some_and(|position| position.contains(':')), "{text:?}: {error}");
    }
}

#[test]
fn what_is_no_configuration_is_told_in_the_words_of_a_user() {
    for (text, refused) in [
        ("- list", "the file is not made of keys and their values (1:1)"),
        ("namespace: a\nnamespace: b\n", "namespace: stands twice (2:1)"),
        ("database:\n  path: a\n  path: b\n", "path: stands twice (3:3)"),
        ("namespace: a\n---\nnamespace: b\n", "the file has more than one YAML document (3:1)"),
        ("database:\n\tpath: a\n", "the file is not YAML (2:2)"),
    ] {
        let error = yaml(text).unwrap_err();
        assert_eq!(error.to_string(), refused);
        let mut cause = std::error::Error::source(&error);
        while let Some(reason) = cause {
            for jargon in ["Option", "Policy", "from_str"] {
                assert!(!reason.to_string().contains(jargon), "{text:?}: {reason}");
            }
            cause = reason.source();
        }
    }
}

#[test]
fn the_environment_stands_over_the_file_and_flags_over_both() {
    let mut config = yaml("namespace: file\ndatabase:\n  path: file.db\n  readers: 2\n").unwrap();
    config
        .apply_env([
            ("RECSTORE_NAMESPACE", "env"),
            ("RECSTORE_DATABASE__PATH", "env.db"),
            ("RECSTORE_CONFIG", "recstore.yaml"),
            ("HOME", "/root"),
        ])
        .unwrap();
    config.set("namespace", "flag").unwrap();
    assert_eq!(config.namespace.as_str(), "flag");
    assert_eq!(config.database.path, Path::new("env.db"));
    assert_eq!(config.database.readers, Some(2));
}

#[test]
fn a_wrong_variable_is_named() {
    let apply = |variable, value| Config::default().apply_env([(variable, value)]).unwrap_err().to_string();
    assert_eq!(
        apply("RECSTORE_SIMILARITY__K", "ten"),
        "similarity.k: \"ten\" is not a whole number in range (RECSTORE_SIMILARITY__K)"
    );
    assert_eq!(
        apply("RECSTORE_DATABASE__PTH", "x"),
        "database.pth: is no key, did you mean RECSTORE_DATABASE__PATH? (RECSTORE_DATABASE__PTH)"
    );
}

#[test]
fn a_refused_value_changes_nothing() {
    let mut config = Config::default();
    assert!(config.set("similarity.k", "20000").is_err());
    assert!(config.set("similarity.kk", "2").is_err());
    assert_eq!(config, Config::default());
}

#[test]
fn conflicting_values_are_both_named() {
    assert_eq!(
        refusal("storage_mode: memory\ndatabase:\n  read_only: true\n"),
        "database.read_only: true conflicts with storage_mode: memory, which always begins empty"
    );
    let mut config = Config::default();
    config.database.create = false;
    assert!(config.validate().is_ok());
    config.storage_mode = StorageMode::Memory;
    assert!(config.validate().unwrap_err().to_string().contains("storage_mode: memory"));
}

#[test]
fn the_secret_never_prints() {
    let mut config = yaml("erasure_key: hunter2").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(format!("{config:#?}").contains("<secret>"));
    assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    // Nor when something near it is wrong.
    for text in
        ["erasure_key: hunter2\nnamespce: x", "erasure_key: [hunter2]", "erasure_key: hunter2\n  oops: ["]
    {
        let error = yaml(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let context = config.context(std::sync::Arc::new(recstore::SystemClock)).unwrap();
    assert!(!format!("{context:?}").contains("hunter2"));
    config.erasure_key = None;
    assert_ne!(
        config.context(std::sync::Arc::new(recstore::SystemClock)).unwrap().erasure_key,
        context.erasure_key
    );
}

#[test]
fn what_is_serialised_reads_back() {
    let mut config = Config::default();
    for (key, value) in [
        ("database.cache", "65537"),
        ("database.busy_timeout", "1500ms"),
        ("database.readers", "5"),
        ("ingest.max_future_skew", "36h"),
        ("features.prior_mean", "2.25"),
    ] {
        config.set(key, value).unwrap();
    }
    // JSON is YAML.
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(Config::from_yaml(&text, "").unwrap(), config);
}

#[test]
fn a_file_is_named_in_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recstore.yaml");
    std::fs::write(&file, "namespace: x\nsimilarity:\n  kk: 3\n").unwrap();
    let error = Config::from_file(&file).unwrap_err();
    assert_eq!(error.object(), Some(format!("{}:3:3", file.display()).as_str()));

    std::fs::write(&file, "database:\n  path: x.db\n").unwrap();
    assert_eq!(Config::from_file(&file).unwrap().database.path, folder.path().join("x.db"));

    let missing = Config::from_file(folder.path().join("none.yaml")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let folder_error = Config::from_file(folder.path()).unwrap_err();
    assert_eq!(folder_error.kind(), ErrorKind::Invalid);
    std::fs::write(&file, b"namespace: \xff\n").unwrap();
    assert!(Config::from_file(&file).unwrap_err().to_string().contains("not UTF-8"));
    std::fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(Config::from_file(&file).unwrap_err().to_string().contains("larger than 1 MiB"));
}

#[test]
fn a_file_in_the_working_directory_has_paths_of_the_working_directory() {
    assert_eq!(Config::from_yaml("", "").unwrap().database.path, PathBuf::from("recstore.db"));
}

#[test]
fn no_damaged_file_makes_it_panic() {
    let template = Config::template();
    let mut refused = 0;
    for (at, _) in template.char_indices().step_by(13) {
        refused += usize::from(yaml(&template[..at]).is_err());
        for damage in [":", "[", "\"", "&a *a", "\t", "\0", "- "] {
            refused += usize::from(yaml(&format!("{}{damage}{}", &template[..at], &template[at..])).is_err());
        }
    }
    assert!(refused > 0);
}

#[test]
fn every_key_of_the_aws_section_is_taken_over() {
    let config = yaml(
        "storage_mode: aws\naws:\n  region: eu-west-1\n  endpoint_url: https://both:1\n  allow_http: true\n  s3:\n    \
         bucket: lake\n    prefix: a/b\n    endpoint_url: https://s3:2\n    connect_timeout: 4s\n    request_timeout: 9s\n  \
         dynamodb:\n    table_prefix: shop_\n    endpoint_url: https://db:3\n    connect_timeout: 5s\n    \
         read_timeout: 6s\n    request_timeout: 7s\n    pin_max_age: 8s\n  ingest:\n    writer: w-1\n    \
         max_batch_events: 11\n    max_batch_bytes: 12KiB\n    linger: 13ms\n    max_queued_events: 140000\n  \
         pipeline:\n    buckets: 32\n    parallel: 3\n    memory_bytes: 15MiB\n    max_entity_drop: 0.5\n    retention:\n      \
         silver:\n        generations: 20\n        age: 21h\n      bronze: 22d\n      gold: 23h\n      \
         quarantine: 24d\n  retry:\n    max_attempts: 16\n    max_elapsed: 17s\n    first_delay: 18s\n    max_delay: 19s\n",
    )
    .unwrap();
    let seconds = Duration::from_secs;
    let recstore::config::AwsConfig {
        region,
        endpoint_url,
        allow_http,
        s3,
        dynamodb,
        ingest,
        pipeline,
        retry,
    } = config.aws;
    assert_eq!(config.storage_mode, StorageMode::Aws);
    assert_eq!((region.as_deref(), allow_http), (Some("eu-west-1"), true));
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("lake", "a/b"));
    let endpoints = [endpoint_url, s3.endpoint_url, dynamodb.endpoint_url].map(Option::unwrap);
    assert_eq!(endpoints, ["https://both:1", "https://s3:2", "https://db:3"]);
    assert_eq!((s3.connect_timeout, s3.request_timeout), (seconds(4), seconds(9)));
    assert_eq!(dynamodb.table_prefix, "shop_");
    assert_eq!((dynamodb.connect_timeout, dynamodb.read_timeout), (seconds(5), seconds(6)));
    assert_eq!((dynamodb.request_timeout, dynamodb.pin_max_age), (seconds(7), seconds(8)));
    assert_eq!((ingest.writer.as_deref(), ingest.max_batch_events), (Some("w-1"), 11));
    assert_eq!((ingest.max_batch_bytes, ingest.linger), (12 << 10, Duration::from_millis(13)));
    assert_eq!(ingest.max_queued_events, 140_000);
    assert_eq!((pipeline.buckets, pipeline.parallel), (32, 3));
    assert_eq!((pipeline.memory_bytes, pipeline.max_entity_drop), (15 << 20, 0.5));
    let (retention, hours) = (pipeline.retention, |hours: u64| seconds(hours * 3600));
    assert_eq!((retention.silver.generations, retention.silver.age), (20, hours(21)));
    assert_eq!((retention.bronze, retention.gold), (Some(hours(22 * 24)), hours(23)));
    assert_eq!(retention.quarantine, hours(24 * 24));
    assert_eq!((retry.max_attempts, retry.max_elapsed), (16, seconds(17)));
    assert_eq!((retry.first_delay, retry.max_delay), (seconds(18), seconds(19)));
}

#[test]
fn variables_and_flags_reach_the_aws_section() {
    let mut config = yaml("aws:\n  s3:\n    bucket: file\n    prefix: kept\n").unwrap();
    config
        .apply_env([("RECSTORE_AWS__S3__BUCKET", "env"), ("RECSTORE_AWS__RETRY__MAX_ATTEMPTS", "2")])
        .unwrap();
    config.set("aws.dynamodb.table_prefix", "flag_").unwrap();
    config.apply_env([("RECSTORE_AWS__PIPELINE__RETENTION__BRONZE", "90d")]).unwrap();
    config.set("aws.pipeline.retention.silver.generations", "3").unwrap();
    let retention = &config.aws.pipeline.retention;
    assert_eq!(retention.bronze, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!(retention.silver.generations, 3);
    assert_eq!((config.aws.s3.bucket.as_str(), config.aws.s3.prefix.as_str()), ("env", "kept"));
    assert_eq!((config.aws.retry.max_attempts, config.aws.dynamodb.table_prefix.as_str()), (2, "flag_"));
    let error = config.apply_env([("RECSTORE_AWS__BUCKET", "x")]).unwrap_err().to_string();
    assert_eq!(error, "aws.bucket: is no key, did you mean RECSTORE_AWS__S3__BUCKET? (RECSTORE_AWS__BUCKET)");
    // What is serialised reads back, with and without what has no default.
    for config in [config, Config::default()] {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(Config::from_yaml(&text, "").unwrap(), config);
    }
}

#[cfg(feature = "aws")]
mod aws {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_backend_and_name_key_and_position() {
        for (text, key, position) in [
            ("region: Frankfurt", "aws.region", "2:11"),
            ("endpoint_url: nowhere", "aws.endpoint_url", "2:17"),
            ("s3: {bucket: No}", "aws.s3.bucket", "2:16"),
            ("s3: {prefix: /a}", "aws.s3.prefix", "2:16"),
            ("dynamodb: {pin_max_age: 2h}", "aws.dynamodb.pin_max_age", "2:27"),
            ("ingest: {writer: W}", "aws.ingest.writer", "2:20"),
            ("ingest: {max_batch_bytes: 65MiB}", "aws.ingest.max_batch_bytes", "2:29"),
            ("pipeline: {buckets: 3}", "aws.pipeline.buckets", "2:23"),
            ("pipeline: {memory_bytes: 1KiB}", "aws.pipeline.memory_bytes", "2:28"),
            ("pipeline: {retention: {bronze: 1h}}", "aws.pipeline.retention.bronze", "2:34"),
            (
                "pipeline: {retention: {silver: {generations: 0}}}",
                "aws.pipeline.retention.silver.generations",
                "2:48",
            ),
            ("retry: {max_attempts: 0}", "aws.retry.max_attempts", "2:25"),
        ] {
            let error = yaml(&format!("aws:\n  {text}\n")).unwrap_err();
            assert_eq!((error.field(), error.object()), (Some(key), Some(position)), "{text:?}: {error}");
        }
    }

    /// These conditions hold between keys, whose order in a file is free.
    #[test]
    fn what_keys_need_beside_them_is_asked_for_at_the_end() {
        let text = "storage_mode: aws\naws:\n  endpoint_url: http://minio:9000\n  retry:\n    first_delay: 9s\n    \
                    max_delay: 10s\n  allow_http: true\n";
        let mut config = yaml(text).unwrap();
        assert_eq!(config.validate().unwrap_err().to_string(), "aws.s3.bucket: is missing");
        config.set("aws.s3.bucket", "lake").unwrap();
        config.validate().unwrap();
        config.set("aws.allow_http", "false").unwrap();
        assert_eq!(config.validate().unwrap_err().field(), Some("aws.endpoint_url"));
        config.set("aws.allow_http", "true").unwrap();
        config.set("aws.retry.max_delay", "1s").unwrap();
        assert_eq!(config.validate().unwrap_err().field(), Some("aws.retry.max_delay"));
        config.set("storage_mode", "sqlite").unwrap();
        config.validate().unwrap();
    }
}
