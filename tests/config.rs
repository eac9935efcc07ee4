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
        (
            "aws:\n  bucket: x",
            "aws: is no key, there are: storage_mode, namespace, database, ingest, features, similarity, \
             erasure_key (1:1)",
        ),
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
