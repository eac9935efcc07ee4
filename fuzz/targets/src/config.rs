//! YAML configuration.

use recstore::{Config, ErrorKind};

use crate::Answer;

/// Bytes as a configuration file's text.
pub fn config_yaml(data: &[u8]) -> Answer {
    let Ok(text) = std::str::from_utf8(data) else { return Answer::Refused };
    match Config::from_yaml(text, "") {
        Ok(config) => {
            config.validate().expect("what was read is valid");
            reads_back(&config);
            Answer::Taken
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
            assert!(!error.message().is_empty());
            Answer::Refused
        }
    }
}

/// JSON is YAML, so what a configuration shows of itself is a configuration file.
fn reads_back(config: &Config) {
    let mut shown = config.clone();
    // A secret is never shown.
    shown.erasure_key = None;
    let text = serde_json::to_string(&shown).expect("a configuration can be shown");
    let back = Config::from_yaml(&text, "").unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(back, shown, "{text}");
}
