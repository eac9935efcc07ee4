//! From configuration to storage.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use recstore::{
    AVAILABLE_MODES, Config, ErrorKind, FeatureStoreExt, ManualClock, Opener, Outcome, Rating,
    RatingStoreExt, StorageMode, Timestamp,
};

fn config(mode: StorageMode) -> Config {
    Config { storage_mode: mode, ..Config::default() }
}

#[tokio::test]
async fn a_mode_that_is_not_built_in_names_the_feature_and_what_there_is() {
    let available = AVAILABLE_MODES.iter().map(|mode| mode.as_str()).collect::<Vec<_>>().join(", ");
    for mode in StorageMode::ALL.into_iter().filter(|mode| !AVAILABLE_MODES.contains(mode)) {
        let error = recstore::open(&config(mode)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            format!(
                "storage_mode: this build has no `{mode}` mode: it needs the cargo feature `{mode}`, available here: \
                 {available}"
            )
        );
    }
    assert!(!AVAILABLE_MODES.contains(&StorageMode::Hybrid));
}

#[test]
fn each_build_has_the_modes_of_its_features() {
    let features =
        [(StorageMode::Sqlite, cfg!(feature = "sqlite")), (StorageMode::Aws, cfg!(feature = "aws"))];
    let built = |mode: &StorageMode| *mode == StorageMode::Memory || features.contains(&(*mode, true));
    let expected: Vec<_> = StorageMode::ALL.into_iter().filter(built).collect();
    assert_eq!(AVAILABLE_MODES, expected);
}

#[tokio::test]
async fn a_configuration_that_does_not_validate_opens_nothing() {
    let mut config = config(StorageMode::Memory);
    config.similarity.k = 0;
    let error = recstore::open(&config).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("similarity.k")));
}

#[tokio::test]
async fn namespace_clock_limits_and_prior_reach_the_store() {
    let mut config = config(StorageMode::Memory);
    for (key, value) in [
        ("namespace", "shop"),
        ("ingest.max_future_skew", "1h"),
        ("features.prior_mean", "5"),
        ("features.prior_weight", "1"),
    ] {
        config.set(key, value).unwrap();
    }
    let now = Timestamp::from_seconds(1_700_000_000).unwrap();
    let storage = Opener::new(&config).clock(Arc::new(ManualClock::new(now))).open().await.unwrap();
    assert_eq!(storage.namespace().as_str(), "shop");

    let rating = |seconds: i64| {
        let at = Timestamp::from_seconds(1_700_000_000 + seconds).unwrap();
        Rating::new(1.into(), 2.into(), 3.0, at).unwrap()
    };
    assert_eq!(storage.put_rating(rating(3600)).await.unwrap(), Outcome::Applied);
    assert_eq!(storage.put_rating(rating(3601)).await.unwrap_err().kind(), ErrorKind::Invalid);
    let features = storage.item_features(&2.into()).await.unwrap();
    assert_eq!(features.value(0, "bayesian_mean"), Some(recstore::FeatureValue::Float(4.0)));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    fn config(folder: &tempfile::TempDir) -> Config {
        Config::from_yaml("database:\n  path: x.db\n  readers: 2\n", folder.path()).unwrap()
    }

    /// The facade's defaults are literals, so that they are known in builds without the backend too.
    #[test]
    fn the_defaults_are_those_of_the_backend() {
        let (facade, backend) =
            (Config::default().database, recstore::sqlite::SqliteConfig::new("recstore.db"));
        assert_eq!(facade.path, backend.path);
        assert_eq!((facade.create, facade.read_only), (backend.create, backend.read_only));
        assert_eq!((facade.cache, facade.wal_size), (backend.cache_bytes, backend.wal_bytes));
        assert_eq!(facade.busy_timeout, backend.busy_timeout);
        assert_eq!(facade.max_group_events, backend.max_group_events);
        assert_eq!(facade.max_queued_events, backend.max_queued_events);
        assert_eq!(facade.entity_cache, backend.entity_cache);
    }

    #[tokio::test]
    async fn what_was_stored_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let rating = Rating::new(1.into(), 2.into(), 3.0, Timestamp::from_seconds(1).unwrap()).unwrap();
        let storage = recstore::open(&config(&folder)).await.unwrap();
        assert_eq!(storage.put_rating(rating.clone()).await.unwrap(), Outcome::Applied);
        storage.close().await.unwrap();

        let mut read_only = config(&folder);
        read_only.set("database.read_only", "true").unwrap();
        let storage = recstore::open(&read_only).await.unwrap();
        assert_eq!(storage.get_rating(&1.into(), &2.into()).await.unwrap().unwrap().rating, rating);
        assert_eq!(storage.put_rating(rating).await.unwrap_err().kind(), ErrorKind::ReadOnly);
        storage.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_file_is_not_created_where_that_is_switched_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        config.set("database.create", "false").unwrap();
        assert_eq!(recstore::open(&config).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!config.database.path.exists());
    }

    #[tokio::test]
    async fn another_prior_is_refused_until_it_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        let rating = Rating::new(1.into(), 2.into(), 3.0, Timestamp::from_seconds(1).unwrap()).unwrap();
        let storage = recstore::open(&config).await.unwrap();
        storage.put_rating(rating).await.unwrap();
        storage.close().await.unwrap();

        config.set("features.prior_mean", "5").unwrap();
        config.set("features.prior_weight", "1").unwrap();
        assert_eq!(recstore::open(&config).await.unwrap_err().kind(), ErrorKind::Invalid);
        let storage = Opener::new(&config).adopt_parameters().open().await.unwrap();
        storage.rebuild_features().await.unwrap();
        storage.close().await.unwrap();

        let storage = recstore::open(&config).await.unwrap();
        let features = storage.item_features(&2.into()).await.unwrap();
        assert_eq!(features.value(0, "bayesian_mean"), Some(recstore::FeatureValue::Float(4.0)));
        storage.close().await.unwrap();
    }
}

#[cfg(feature = "aws")]
mod aws {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Config {
        let mut config = config_of_mode();
        settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        config
    }

    fn config_of_mode() -> Config {
        super::config(StorageMode::Aws)
    }

    #[test]
    fn the_defaults_are_those_of_the_backend() {
        let (facade, backend) = (Config::default().aws, recstore::aws::config::AwsConfig::default());
        assert_eq!((facade.region, facade.endpoint_url), (backend.region, backend.endpoint_url));
        assert_eq!(facade.allow_http, backend.allow_http);
        let (s3, other) = (facade.s3, backend.s3);
        assert_eq!((s3.bucket, s3.prefix, s3.endpoint_url), (other.bucket, other.prefix, other.endpoint_url));
        assert_eq!((s3.connect_timeout, s3.request_timeout), (other.connect_timeout, other.request_timeout));
        let (tables, other) = (facade.dynamodb, backend.dynamodb);
        assert_eq!((tables.table_prefix, tables.endpoint_url), (other.table_prefix, other.endpoint_url));
        assert_eq!(
            (tables.connect_timeout, tables.read_timeout),
            (other.connect_timeout, other.read_timeout)
        );
        assert_eq!((tables.request_timeout, tables.pin_max_age), (other.request_timeout, other.pin_max_age));
        let (ingest, other) = (facade.ingest, backend.ingest);
        assert_eq!((ingest.writer, ingest.linger), (other.writer, other.linger));
        assert_eq!(ingest.max_batch_bytes, other.max_batch_bytes as u64);
        let events = (ingest.max_batch_events, ingest.max_queued_events);
        assert_eq!(events, (other.max_batch_events, other.max_queued_events));
        let (pipeline, other) = (facade.pipeline, backend.pipeline);
        assert_eq!((pipeline.buckets, pipeline.parallel), (other.buckets, other.parallel));
        assert_eq!(pipeline.memory_bytes, other.memory_bytes as u64);
        assert_eq!(pipeline.max_entity_drop, other.max_entity_drop);
        let (retention, other) = (pipeline.retention, other.retention);
        let (silver, of_backend) = (retention.silver, other.silver);
        assert_eq!((silver.generations, silver.age), (of_backend.generations, of_backend.age));
        assert_eq!((retention.bronze, retention.gold), (other.bronze, other.gold));
        assert_eq!(retention.quarantine, other.quarantine);
        let (retry, other) = (facade.retry, backend.retry);
        assert_eq!((retry.max_attempts, retry.max_elapsed), (other.max_attempts, other.max_elapsed));
        assert_eq!((retry.first_delay, retry.max_delay), (other.first_delay, other.max_delay));
    }

    #[tokio::test]
    async fn what_is_missing_is_named_by_its_key_before_anything_is_sent() {
        let error = recstore::open(&config_of_mode()).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("aws.s3.bucket")));
        let setup = Opener::new(&config_of_mode()).aws_setup().await.unwrap_err();
        assert_eq!(setup.field(), Some("aws.s3.bucket"));
        let other = Opener::new(&super::config(StorageMode::Memory)).open_aws().await.unwrap_err();
        assert_eq!((other.kind(), other.field()), (ErrorKind::Invalid, Some("storage_mode")));
    }

    #[tokio::test]
    async fn an_endpoint_that_nobody_listens_at_is_unavailable() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let config = config(&[
            ("aws.s3.bucket", "lake"),
            ("aws.region", "eu-central-1"),
            ("aws.endpoint_url", &endpoint),
            ("aws.retry.max_attempts", "1"),
        ]);
        assert_eq!(recstore::open(&config).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn random_bits_differ() {
        assert_ne!(recstore::random_bits().unwrap(), recstore::random_bits().unwrap());
    }
}
