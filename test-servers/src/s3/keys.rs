//! Which access keys there are. A request signed otherwise is refused, as S3 refuses it.

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Access keys with their secrets. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Mutex<BTreeMap<String, String>>>);

impl Default for Keys {
    /// The key `test` with the secret `test`.
    fn default() -> Self {
        let keys = Self(Arc::default());
        keys.accept("test".to_owned(), "test".to_owned());
        keys
    }
}

impl Keys {
    /// Accepts one more key, or another secret for one that is known.
    pub fn accept(&self, access_key: String, secret_key: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(access_key, secret_key);
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = keys.get(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(SecretKey::from(secret.as_str()))
    }
}
