//! Namespaces keep tenants and catalogues apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{Error, Result};

/// A tenant or catalogue: `[a-z0-9][a-z0-9_-]{0,63}`.
///
/// Part of every row and key. No id can reach from one namespace into another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(SmolStr);

impl Namespace {
    /// The longest namespace, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks `name` and makes a namespace of it.
    ///
    /// # Errors
    /// `Invalid` if it is not `[a-z0-9][a-z0-9_-]{0,63}`.
    pub fn new(name: impl AsRef<str>) -> Result<Namespace> {
        let name = name.as_ref();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = name.bytes().next().is_some_and(plain);
        let rest = name.bytes().all(|byte| plain(byte) || byte == b'_' || byte == b'-');
        if first && rest && name.len() <= Namespace::MAX_BYTES {
            return Ok(Namespace(SmolStr::new(name)));
        }
        Err(Error::invalid(
            "namespace",
            format!(
                "{name:?} is not a namespace: 1 to 64 of a-z, 0-9, '_' and '-', not starting with '_' or '-'"
            ),
        ))
    }

    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    /// The namespace `default`.
    fn default() -> Namespace {
        Namespace(SmolStr::new_static("default"))
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(name: &str) -> Result<Namespace> {
        Namespace::new(name)
    }
}

impl TryFrom<String> for Namespace {
    type Error = Error;

    fn try_from(name: String) -> Result<Namespace> {
        Namespace::new(name)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> String {
        namespace.0.into()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_held() {
        for good in ["default", "a", "0", "shop_1-eu", &"x".repeat(64)] {
            assert!(Namespace::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "-a", "_a", "A", "a/b", "a.b", "é", &"x".repeat(65)] {
            assert_eq!(Namespace::new(bad).unwrap_err().field(), Some("namespace"), "{bad:?}");
        }
    }
}
