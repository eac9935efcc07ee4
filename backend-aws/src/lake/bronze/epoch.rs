//! Claiming the numbers that a writer gives to its events.
//!
//! Each (namespace, writer, epoch) is claimed by creating an object that nobody creates twice. Two processes with one
//! writer's name thus never share an epoch, and each may write on in its own for as long as it likes: there is no lock
//! and nothing that runs out.

use bytes::Bytes;
use object_store::{Attribute, Attributes};
use recstore_core::{Error, ErrorKind, Namespace, Result};

use crate::lake::bronze::object::{ClaimId, Identity};
use crate::lake::keys::{EpochKey, Topic, WriterId, claims_of_writer, topic_folder};
use crate::lake::store::{Created, LakeStore, NewObject};

/// So many claims of others in a row are no race any more.
const MOST_TAKEN: u32 = 1000;

/// Claims epochs for one writer of one topic in one namespace.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) store: LakeStore,
    pub(crate) namespace: Namespace,
    pub(crate) topic: Topic,
    pub(crate) writer: WriterId,
    pub(crate) claim: ClaimId,
}

impl Claims {
    /// Claims the first free epoch after `after`.
    ///
    /// # Errors
    /// Those of the mapping; whatever it is, no event was stored, and a claim that may have been made is found to be ours
    /// the next time.
    pub(crate) async fn next(&self, after: u32) -> Result<EpochKey> {
        for step in 1..=MOST_TAKEN {
            let epoch = after.checked_add(step).ok_or_else(|| self.no_epoch_left())?;
            let (namespace, writer) = (self.namespace.clone(), self.writer.clone());
            let key = EpochKey { namespace, topic: self.topic, writer, epoch };
            if self.claim(&key).await? {
                tracing::info!(writer = %self.writer, namespace = %self.namespace, epoch, "claimed an epoch");
                return Ok(key);
            }
        }
        Err(self.no_epoch_left())
    }

    fn no_epoch_left(&self) -> Error {
        let text =
            format!("no free epoch for writer {}, give this process another writer's name", self.writer);
        Error::new(ErrorKind::Busy, text)
    }

    /// Whether the epoch is ours now, on a store where that means something.
    async fn claim(&self, key: &EpochKey) -> Result<bool> {
        let name = key.claim_name();
        let body = Bytes::from(format!("{{\"format\":1,\"claim\":\"{}\"}}\n", self.claim));
        let identity = Identity::new(self.claim, &body);
        let mut attributes: Attributes = identity.metadata().collect();
        attributes.insert(Attribute::ContentType, "application/json".into());
        let object = NewObject { name: &name, body: &body, attributes: &attributes, identity: &identity };
        match self.store.create(&object).await {
            Created::Ours if self.store.refuses_again(&object).await? => Ok(true),
            Created::Ours => {
                let text = "the store ignores the condition If-None-Match: * of a put: writers would overwrite each \
                            other; use one that has conditional writes";
                Err(Error::new(ErrorKind::Unsupported, text).on(name))
            }
            Created::Foreign => Ok(false),
            Created::NotStored(error) => Err(error),
            // Of events nothing was stored; nobody but this writer can use the claim.
            Created::Unknown(error) => {
                let text = format!("no epoch could be claimed: {}", error.message());
                Err(Error::new(ErrorKind::Unavailable, text).on(name).because(error))
            }
        }
    }

    /// The greatest epoch that was claimed or has events; 0 if there is none. Events count too, so that claims that
    /// were deleted by mistake bring no epoch back.
    ///
    /// # Errors
    /// Those of the mapping.
    pub(crate) async fn latest(&self) -> Result<u32> {
        let claims = claims_of_writer(&self.namespace, self.topic, &self.writer);
        let claims = self.store.list(&claims, None, None).await?;
        let claimed = claims.iter().filter_map(|entry| EpochKey::parse_claim(self.store.name(entry)?));
        let folder = format!("{}/writer={}", topic_folder(&self.namespace, self.topic), self.writer);
        let written = self.store.folders(&folder, None).await?;
        let written = written.iter().filter_map(|name| format!("{folder}/{name}").parse::<EpochKey>().ok());
        Ok(claimed.map(|key| key.epoch).chain(written.map(|key| key.epoch)).max().unwrap_or(0))
    }
}
