//! Environment variables to keys: `RECSTORE_DATABASE__PATH` is `database.path`.

use recstore_core::{Error, Result};

use super::keys;

const PREFIX: &str = "RECSTORE_";

/// The key that a variable stands for; `None` for variables that are none of the configuration's.
///
/// Not every `RECSTORE_…` is a key: programs and tests have variables of their own, and Kubernetes makes
/// `RECSTORE_PORT` and others for a service of that name. Refused is what looks like a key: with a double
/// underscore, or a few typing errors away from one.
pub(super) fn key_of(variable: &str) -> Result<Option<String>> {
    let Some(name) = variable.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let path = name.to_ascii_lowercase().replace("__", ".");
    if keys::find(&path).is_ok() {
        return Ok(Some(path));
    }
    match keys::nearest_key(&path) {
        Some(near) if keys::is_section(near) => Err(keys::unknown(&path)),
        Some(near) => Err(Error::invalid(path, format!("is no key, did you mean {}?", variable_of(near)))),
        None if path.contains('.') => Err(keys::unknown(&path)),
        None => Ok(None),
    }
}

/// The variable of a key.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The process's variables that begin with the prefix.
pub(super) fn of_process() -> Result<Vec<(String, String)>> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        name.starts_with(PREFIX).then_some((name, value))
    });
    let text = |(name, value): (String, std::ffi::OsString)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Error::invalid("environment", "the value is not UTF-8").on(name)),
    };
    ours.map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable() {
        for key in keys::KEYS {
            assert_eq!(key_of(&variable_of(key.path)).unwrap().as_deref(), Some(key.path));
        }
    }

    #[test]
    fn variables_of_others_are_let_be() {
        for variable in [
            "PATH",
            "RECSTORE_CONFIG",
            "RECSTORE_LOG",
            "RECSTORE_TEST_DATA",
            "RECSTORE_PROPTEST_CASES",
            "RECSTORE_PORT",
            "RECSTORE_PORT_8080_TCP_ADDR",
            "RECSTORE_SERVICE_HOST",
        ] {
            assert_eq!(key_of(variable).unwrap(), None, "{variable}");
        }
    }

    #[test]
    fn variables_that_look_like_keys_are_refused_with_the_nearest() {
        for (variable, text) in [
            ("RECSTORE_DATABASE_PATH", "database_path: is no key, did you mean RECSTORE_DATABASE__PATH?"),
            ("RECSTORE_STORAGEMODE", "storagemode: is no key, did you mean RECSTORE_STORAGE_MODE?"),
            ("RECSTORE_NAMESPCE", "namespce: is no key, did you mean RECSTORE_NAMESPACE?"),
            ("RECSTORE_INGEST", "ingest: is a section, its keys are: max_future_skew"),
        ] {
            assert_eq!(key_of(variable).unwrap_err().to_string(), text);
        }
        assert!(key_of("RECSTORE_AWS__BUCKET").unwrap_err().to_string().starts_with("aws.bucket: is no key"));
    }
}
