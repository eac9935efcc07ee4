//! From configuration to storage.

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
    let error = recstore::open(&config(StorageMode::Aws)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let available = AVAILABLE_MODES.iter().map(|mode| mode.as_str()).collect::<Vec<_>>().join(", ");
    assert_eq!(
        error.to_string(),
        format!(
            "storage_mode: this build has no `aws` mode: it needs the cargo feature `aws`, available here: \
             {available}"
        )
    );
    assert!(recstore::open(&config(StorageMode::Hybrid)).await.unwrap_err().to_string().contains("`hybrid`"));
}

#[test]
fn each_build_has_the_modes_of_its_features() {
    let expected: &[StorageMode] = match cfg!(feature = "sqlite") {
        true => &[StorageMode::Memory, StorageMode::Sqlite],
        false => &[StorageMode::Memory],
    };
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
