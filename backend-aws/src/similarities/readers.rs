//! What readers go by: a record in the tables that follows the head. One read of it says which documents hold, and
//! these are kept.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use recstore_core::{Deadline, EntityKind, Error, ErrorKind, ItemId, Popular, Result, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::AwsStorage;
use crate::lake::documents::{DocumentRef, read_document};
use crate::lake::gold::catalogue::{Catalogue, Release};
use crate::lake::gold::erased::{Erased, newest_erasure};
use crate::lake::head::{Head, Snapshot, Tombstones};
use crate::lake::store::{LakeStore, instant};
use crate::online::mirror::Mirror;

/// The documents that hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    releases: Option<DocumentRef>,
    hidden: Option<DocumentRef>,
    tombstones: Option<DocumentRef>,
}

impl Sections {
    fn of(head: &Head) -> Sections {
        Sections {
            releases: head.releases.clone(),
            hidden: head.hidden.clone(),
            tombstones: head.tombstones.clone(),
        }
    }
}

/// What readers were told.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) releases: Arc<Catalogue>,
    hidden: Arc<BTreeSet<ItemId>>,
    tombstones: Arc<TombstonesRead>,
}

impl View {
    /// Whether reads of neighbours and popular entities leave this one out.
    pub(crate) fn is_hidden(&self, kind: EntityKind, id: &recstore_core::EntityKey) -> bool {
        kind == EntityKind::Item && !self.hidden.is_empty() && self.hidden.contains(&ItemId::from(id.clone()))
    }
}

/// Tombstones, and when the last erasure was.
#[derive(Debug, Default)]
struct TombstonesRead {
    all: Arc<Tombstones>,
    newest: Option<Timestamp>,
}

/// The document that was read last.
#[derive(Debug)]
struct Kept<T>(Mutex<Option<(DocumentRef, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Mutex::new(None))
    }
}

impl<T: Default> Kept<T> {
    async fn get<D: DeserializeOwned>(
        &self,
        store: &LakeStore,
        document: Option<&DocumentRef>,
        deadline: Option<Deadline>,
        make: impl FnOnce(D) -> T,
    ) -> Result<Arc<T>> {
        let Some(document) = document else { return Ok(Arc::default()) };
        if let Some((known, content)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && known == document
        {
            return Ok(Arc::clone(content));
        }
        let content = Arc::new(make(read_document(store, document, instant(deadline)).await?));
        let kept = Some((document.clone(), Arc::clone(&content)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(content)
    }
}

/// The documents that the readers of one namespace share.
#[derive(Debug, Default)]
pub(crate) struct ReaderCache {
    releases: Kept<Catalogue>,
    hidden: Kept<BTreeSet<ItemId>>,
    tombstones: Kept<TombstonesRead>,
    popular_users: Kept<Vec<Popular>>,
    popular_items: Kept<Vec<Popular>>,
}

impl AwsStorage {
    /// What readers were told last; nothing, if they never were.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; what the services fail with; `DeadlineExceeded`.
    pub(crate) async fn view(&self, deadline: Option<Deadline>) -> Result<View> {
        let (lake, cache) = (&self.shared.lake, &self.space.releases);
        let read = || self.shared.online.read_mirror(&self.space.namespace, deadline);
        let mut mirror = read().await?;
        if mirror.is_none() && self.were_filled(deadline).await? {
            mirror = read().await?;
        }
        let sections = match mirror {
            None => Sections::default(),
            Some(mirror) => serde_json::from_str(&mirror.content).map_err(|cause| {
                let text = "readers were told by a form that this program does not know";
                Error::new(ErrorKind::SchemaVersion, text).on(self.space.namespace.as_str()).because(cause)
            })?,
        };
        let tombstones = |all| TombstonesRead { newest: newest_erasure(&all), all: Arc::new(all) };
        Ok(View {
            releases: cache.releases.get(lake, sections.releases.as_ref(), deadline, |all| all).await?,
            hidden: cache.hidden.get(lake, sections.hidden.as_ref(), deadline, |all| all).await?,
            tombstones: cache
                .tombstones
                .get(lake, sections.tombstones.as_ref(), deadline, tombstones)
                .await?,
        })
    }

    /// Those whom readers of a release leave out, whether it has been rid of them yet or not.
    pub(crate) fn erased_of_view(&self, view: &View, release: &Release) -> Erased {
        let (key, TombstonesRead { all, newest }) = (&self.shared.context.erasure_key, &*view.tombstones);
        Erased::since(release.created_at, release.spec.kind, key, all, *newest)
    }

    /// The popularity list of a release.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub(crate) async fn popular_of(
        &self,
        kind: EntityKind,
        popular: &DocumentRef,
        deadline: Option<Deadline>,
    ) -> Result<Arc<Vec<Popular>>> {
        let cache = &self.space.releases;
        let kept = if kind == EntityKind::User { &cache.popular_users } else { &cache.popular_items };
        kept.get(&self.shared.lake, Some(popular), deadline, |popular| popular).await
    }

    /// Tells readers what is committed, unless they were told this or something newer. To follow every change of
    /// releases, hidden items and tombstones.
    ///
    /// # Errors
    /// `OutcomeUnknown` if they could not be told: the change is committed, and the same call again tells them.
    pub(crate) async fn tell_readers(&self, committed: &Snapshot) -> Result<()> {
        let namespace = &self.space.namespace;
        if committed.head.revision == 0 {
            return Ok(());
        }
        let untold = |cause: Error| {
            let text = "the change is committed, but readers could not be told of it; \
                        the same call again tells them";
            Error::new(ErrorKind::OutcomeUnknown, text).on(namespace.as_str()).because(cause)
        };
        let content = serde_json::to_string(&Sections::of(&committed.head)).map_err(|cause| {
            untold(Error::new(ErrorKind::Internal, "the record cannot be written").because(cause))
        })?;
        let mirror = Mirror { revision: committed.head.revision, content };
        let told = self.shared.online.advance_mirror(namespace, &mirror, None).await;
        told.map(drop).map_err(untold)
    }
}
