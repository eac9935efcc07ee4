//! The head of a namespace: the one object that says what is committed, changed by compare-and-swap.
//!
//! It names immutable documents, by content: whoever holds a head holds one state, whole, for as long as he likes.
//! A change is a function of the state; where another writer was first it is computed anew from the state that he
//! left. Every write carries a name of its own, and the head remembers the last ones, so that a write whose answer
//! was lost is found out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::UpdateVersion;
use recstore_core::{
    EntityKind, ErasureKey, Error, ErrorKind, FeatureName, GroupSchema, ItemId, Namespace, Rating, Result,
    Timestamp,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Failure;
use crate::lake::bronze::object::ClaimId;
use crate::lake::commit::CommitDocument;
use crate::lake::documents::{DocumentRef, open_json, read_document, seal_json, store_document};
use crate::lake::gold::catalogue::Catalogue;
use crate::lake::keys::{head_name, state_folder};
use crate::lake::store::{LakeStore, Replaced};

/// The version of the stored form.
const FORMAT: u32 = 1;
/// The most bytes of a head; it names documents and holds none.
const MAX_HEAD_BYTES: u64 = 64 << 10;
/// How many of the last writes are remembered.
const REMEMBERED: usize = 64;
/// How often a change is computed anew because others were first.
const MOST_ROUNDS: usize = 64;

/// What is left of an erased entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The last erasure.
    pub erased_at: Timestamp,
    /// Events up to this time stay out.
    pub barred_until: Timestamp,
}

/// Tombstones by keyed hash of the id, as 32 hexadecimal digits.
pub type Tombstones = BTreeMap<TombstoneKey, Tombstone>;

/// The keyed hash of an erased id; prints as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TombstoneKey(pub [u8; 16]);

impl fmt::Debug for TombstoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl TryFrom<String> for TombstoneKey {
    type Error = Error;

    fn try_from(text: String) -> Result<TombstoneKey> {
        let id: recstore_core::EventId =
            text.parse().map_err(|_| Error::invalid("tombstone", "is not 32 hexadecimal digits"))?;
        Ok(TombstoneKey(id.as_u128().to_be_bytes()))
    }
}

impl From<TombstoneKey> for String {
    fn from(key: TombstoneKey) -> String {
        format!("{:032x}", u128::from_be_bytes(key.0))
    }
}

/// Whether an erasure bars an event.
pub(crate) fn is_barred(tombstones: &Tombstones, key: &ErasureKey, event: &Rating) -> bool {
    if tombstones.is_empty() {
        return false;
    }
    let barred = |kind, id: &str| {
        let tombstone = tombstones.get(&TombstoneKey(key.tombstone_of(kind, id)));
        tombstone.is_some_and(|tombstone| event.rated_at() <= tombstone.barred_until)
    };
    barred(EntityKind::User, event.user().as_str()) || barred(EntityKind::Item, event.item().as_str())
}

/// What is committed of a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The committed generation; 0 before the first.
    pub generation: u64,
    /// Every event acknowledged before this time is in it.
    pub as_of: Option<Timestamp>,
    /// The silver tables of the generation.
    pub commit: Arc<CommitDocument>,
    /// What is left of erased entities.
    pub tombstones: Arc<Tombstones>,
    /// Custom feature groups.
    pub groups: Arc<BTreeMap<FeatureName, GroupSchema>>,
    /// Similarity releases.
    pub releases: Arc<Catalogue>,
    /// Items that no read of neighbours or popular items shows.
    pub hidden: Arc<BTreeSet<ItemId>>,
}

/// The stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    format: u32,
    /// One more with every change.
    pub revision: u64,
    /// The last writes: revision and name.
    writes: VecDeque<(u64, String)>,
    /// The committed generation; 0 before the first.
    pub generation: u64,
    /// Every event acknowledged before this time is in it.
    pub as_of: Option<Timestamp>,
    /// The silver tables of the generation.
    pub commit: Option<DocumentRef>,
    pub(crate) tombstones: Option<DocumentRef>,
    groups: Option<DocumentRef>,
    pub(crate) releases: Option<DocumentRef>,
    pub(crate) hidden: Option<DocumentRef>,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            format: FORMAT,
            revision: 0,
            writes: VecDeque::new(),
            generation: 0,
            as_of: None,
            commit: None,
            tombstones: None,
            groups: None,
            releases: None,
            hidden: None,
        }
    }
}

impl Head {
    /// The documents that are changed with the head, by the folder that those of their kind are in.
    pub(crate) fn sections(&self) -> [(&'static str, Option<&DocumentRef>); 4] {
        [
            ("tombstones", self.tombstones.as_ref()),
            ("groups", self.groups.as_ref()),
            ("releases", self.releases.as_ref()),
            ("hidden", self.hidden.as_ref()),
        ]
    }

    /// Every document that the head names.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &DocumentRef> {
        self.commit.iter().chain(self.sections().into_iter().filter_map(|(_, document)| document))
    }

    /// Whether a write of this name made one of the last changes.
    fn remembers(&self, write: &str) -> bool {
        self.writes.iter().any(|(_, name)| name == write)
    }

    /// Whether a change that made this revision is still remembered, or the revision was never made.
    fn would_remember(&self, revision: u64) -> bool {
        self.revision < revision || self.writes.front().is_some_and(|(oldest, _)| *oldest <= revision)
    }
}

/// A head that was read, with everything it names.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The head.
    pub head: Arc<Head>,
    /// What it names.
    pub state: State,
    /// The version of the object; `None` if there was none.
    version: Option<UpdateVersion>,
}

/// Reads and changes the head of one namespace. Cheap to clone; clones share what was read last.
#[derive(Clone)]
pub struct Heads {
    store: LakeStore,
    namespace: Namespace,
    claim: ClaimId,
    writes: Arc<AtomicU64>,
    last: Arc<Mutex<Option<Snapshot>>>,
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Heads {
    /// The head of `namespace`; `claim` are random bits of this process.
    pub fn new(store: LakeStore, namespace: Namespace, claim: ClaimId) -> Heads {
        Heads { store, namespace, claim, writes: Arc::default(), last: Arc::default() }
    }

    /// Where documents and data lie.
    pub(crate) fn store(&self) -> &LakeStore {
        &self.store
    }

    /// Whose head it is.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Reads the head, and of what it names whatever is not known yet.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of the object store; `DeadlineExceeded`.
    pub async fn read(&self, deadline: Option<Instant>) -> Result<Snapshot> {
        let (mut head, mut version) = self.read_head(deadline).await?;
        let known = self.last.lock().await.clone();
        let snapshot = loop {
            if let Some(known) = &known
                && *known.head == head
            {
                return Ok(Snapshot { version, ..known.clone() });
            }
            let revision = head.revision;
            match self.load(head, version, known.as_ref(), deadline).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // What it named may be gone, if others changed the head meanwhile.
                    (head, version) = self.read_head(deadline).await?;
                    if head.revision == revision {
                        return Err(error);
                    }
                }
                loaded => break loaded?,
            }
        };
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|last| last.head.revision <= snapshot.head.revision) {
            *last = Some(snapshot.clone());
        }
        Ok(snapshot)
    }

    async fn read_head(&self, deadline: Option<Instant>) -> Result<(Head, Option<UpdateVersion>)> {
        let name = head_name(&self.namespace);
        Ok(match self.store.read_version(&name, MAX_HEAD_BYTES, deadline).await? {
            Some((body, version)) => (open_json(&body, FORMAT, &name)?, Some(version)),
            None => (Head::default(), None),
        })
    }

    async fn load(
        &self,
        head: Head,
        version: Option<UpdateVersion>,
        known: Option<&Snapshot>,
        deadline: Option<Instant>,
    ) -> Result<Snapshot> {
        let before = known.map(|known| (&*known.head, &known.state));
        let state = State {
            generation: head.generation,
            as_of: head.as_of,
            commit: self.section(&head.commit, before.map(|(h, s)| (&h.commit, &s.commit)), deadline).await?,
            tombstones: self
                .section(&head.tombstones, before.map(|(h, s)| (&h.tombstones, &s.tombstones)), deadline)
                .await?,
            groups: self.section(&head.groups, before.map(|(h, s)| (&h.groups, &s.groups)), deadline).await?,
            releases: self
                .section(&head.releases, before.map(|(h, s)| (&h.releases, &s.releases)), deadline)
                .await?,
            hidden: self.section(&head.hidden, before.map(|(h, s)| (&h.hidden, &s.hidden)), deadline).await?,
        };
        Ok(Snapshot { head: Arc::new(head), state, version })
    }

    async fn section<T: DeserializeOwned + Default>(
        &self,
        document: &Option<DocumentRef>,
        known: Option<(&Option<DocumentRef>, &Arc<T>)>,
        deadline: Option<Instant>,
    ) -> Result<Arc<T>> {
        match (document, known) {
            (_, Some((known, section))) if known == document => Ok(section.clone()),
            (None, _) => Ok(Arc::default()),
            (Some(document), _) => Ok(Arc::new(read_document(&self.store, document, deadline).await?)),
        }
    }

    /// Changes what is committed. `change` is given the present state and makes the next one, or `None` where
    /// there is nothing to change; it is asked again where another writer was first. Returns what is committed now
    /// and the answer of the `change` that decided.
    ///
    /// # Errors
    /// What `change` fails with; those of the object store, `Busy` where others were first each time: nothing was
    /// changed; `OutcomeUnknown` if it may have been, or may be yet.
    pub async fn change<A, F>(
        &self,
        deadline: Option<Instant>,
        change: impl Fn(Snapshot) -> F,
    ) -> Result<(Snapshot, A)>
    where
        F: Future<Output = Result<(Option<State>, A)>>,
    {
        let name = head_name(&self.namespace);
        for _ in 0..MOST_ROUNDS {
            let before = self.read(deadline).await?;
            let (next, answer) = change(before.clone()).await?;
            let Some(next) = next else { return Ok((before, answer)) };
            let write = self.new_write();
            let head = self.head_of(&next, &before, &write).await?;
            let body = seal_json(&head, &name)?;
            // Making the change may have taken long; the budget is that of the write.
            let mut attempts = self.store.attempts(deadline);
            // The same write again until it is known what became of it.
            let mut unknown = None;
            loop {
                let failure =
                    match self.store.replace_once(&name, &body, before.version.as_ref(), &attempts).await {
                        Replaced::Done => return Ok((self.changed(head, next).await, answer)),
                        Replaced::Refused => None,
                        Replaced::Unknown(failure) => {
                            unknown = Some(());
                            Some(failure)
                        }
                        Replaced::Failed(failure) => Some(failure),
                    };
                let found = match self.read(deadline).await {
                    Ok(found) => found,
                    Err(error) if unknown.is_some() => return Err(outcome_unknown(&name, error)),
                    Err(error) => return Err(error),
                };
                if found.head.remembers(&write) {
                    return Ok((found, answer));
                }
                if found.head.revision != before.head.revision {
                    if unknown.is_some() && !found.head.would_remember(head.revision) {
                        return Err(outcome_unknown(&name, too_many_changes()));
                    }
                    // Ours was not first and, with its condition on an older version, can never come.
                    wait_or(&mut attempts, None, &name).await?;
                    break;
                }
                let ended = wait_or(&mut attempts, failure, &name).await;
                match ended {
                    Ok(()) => {}
                    Err(error) if unknown.is_some() => return Err(outcome_unknown(&name, error)),
                    Err(error) => return Err(error),
                }
            }
        }
        let text = "the head of the namespace was changed by others each time, retry later";
        Err(Error::new(ErrorKind::Busy, text).on(name))
    }

    fn new_write(&self) -> String {
        format!("{}-{}", self.claim, self.writes.fetch_add(1, Ordering::Relaxed))
    }

    /// Stores what is new of `next` and makes the head that names it.
    async fn head_of(&self, next: &State, before: &Snapshot, write: &str) -> Result<Head> {
        let (old, known) = (&before.head, &before.state);
        let revision = old.revision + 1;
        let mut writes = old.writes.clone();
        writes.push_back((revision, write.to_owned()));
        while writes.len() > REMEMBERED {
            writes.pop_front();
        }
        Ok(Head {
            format: FORMAT,
            revision,
            writes,
            generation: next.generation,
            as_of: next.as_of,
            commit: self
                .stored(("commit", next.generation), &next.commit, &known.commit, &old.commit)
                .await?,
            tombstones: self
                .stored(("tombstones", revision), &next.tombstones, &known.tombstones, &old.tombstones)
                .await?,
            groups: self.stored(("groups", revision), &next.groups, &known.groups, &old.groups).await?,
            releases: self
                .stored(("releases", revision), &next.releases, &known.releases, &old.releases)
                .await?,
            hidden: self.stored(("hidden", revision), &next.hidden, &known.hidden, &old.hidden).await?,
        })
    }

    async fn stored<T: Serialize + PartialEq>(
        &self,
        (section, number): (&str, u64),
        next: &Arc<T>,
        known: &Arc<T>,
        document: &Option<DocumentRef>,
    ) -> Result<Option<DocumentRef>> {
        if Arc::ptr_eq(next, known) || next == known {
            return Ok(document.clone());
        }
        let folder = format!("{}/{section}", state_folder(&self.namespace));
        store_document(&self.store, &folder, number, &**next).await.map(Some)
    }

    /// What is committed after a change of ours; its version is not known, the next change reads it.
    async fn changed(&self, head: Head, state: State) -> Snapshot {
        let snapshot = Snapshot { head: Arc::new(head), state, version: None };
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|last| last.head.revision < snapshot.head.revision) {
            *last = Some(snapshot.clone());
        }
        snapshot
    }
}

async fn wait_or(
    attempts: &mut crate::retry::Attempts<'_>,
    failure: Option<Failure>,
    name: &str,
) -> Result<()> {
    if attempts.wait().await.is_ok() {
        return Ok(());
    }
    Err(match failure {
        Some(failure) => failure.into_error(name),
        None => {
            let text = "the head of the namespace was changed by others each time, retry later";
            Error::new(ErrorKind::Busy, text).on(name)
        }
    })
}

fn outcome_unknown(name: &str, cause: Error) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "a change may be committed, or may be yet").on(name).because(cause)
}

fn too_many_changes() -> Error {
    Error::new(ErrorKind::Busy, "too many other changes were made meanwhile")
}
