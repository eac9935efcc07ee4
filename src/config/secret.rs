//! A text that never prints.

use std::fmt;

use serde::{Serialize, Serializer};

/// A secret: `Debug` and `Serialize` show `<secret>` in its place, there is no `Display`.
///
/// ```compile_fail
/// let secret = recstore::config::Secret::new("hunter2");
/// println!("{secret}");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

const SHOWN: &str = "<secret>";

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself, to be handed to what needs it and to nothing else.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SHOWN)
    }
}
