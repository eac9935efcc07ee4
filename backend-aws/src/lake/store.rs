//! The lake's objects: create once, read, list. Every request is repeated here and nowhere else, and is counted.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    Attributes, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};
use recstore_core::{Deadline, Error, ErrorKind, ObjectCost, Result};
use tokio::time::{Instant, timeout_at};

use crate::error::{Applied, Failure, diagnose, exhausted, names_no_bucket};
use crate::lake::bronze::object::{ClaimId, Identity, corrupt};
use crate::lake::keys::LakePrefix;
use crate::metering::{Figure, Meter};
use crate::retry::{Attempts, Exhausted, RetryPolicy, Verdict, with_retries};

/// The most keys that S3 lists in one answer.
const PAGE: usize = 1000;

/// A bucket, the part of it that is the lake, and how its requests are repeated. Cheap to clone.
#[derive(Clone)]
pub struct LakeStore {
    objects: Arc<dyn ObjectStore>,
    prefix: LakePrefix,
    retry: Arc<RetryPolicy>,
    meter: Arc<Meter>,
}

impl fmt::Debug for LakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeStore")
            .field("objects", &self.objects.to_string())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// What became of an object that was to be created.
#[derive(Debug)]
pub(crate) enum Created {
    /// It is stored, by this or an earlier attempt of ours.
    Ours,
    /// Another object has its key.
    Foreign,
    /// It is not stored, and will not be.
    NotStored(Error),
    /// It may be stored, or may be yet.
    Unknown(Error),
}

/// An object to be created: the same name and bytes with every attempt.
#[derive(Debug)]
pub(crate) struct NewObject<'a> {
    pub(crate) name: &'a str,
    pub(crate) body: &'a Bytes,
    pub(crate) attributes: &'a Attributes,
    pub(crate) identity: &'a Identity,
}

/// What became of one attempt to replace an object.
#[derive(Debug)]
pub(crate) enum Replaced {
    /// It is replaced.
    Done,
    /// Another writer was first, or an earlier attempt of ours whose answer was lost.
    Refused,
    /// It may be replaced, or may be yet.
    Unknown(Failure),
    /// It is not replaced, and will not be by this attempt.
    Failed(Failure),
}

/// When a call must have ended, on the clock that waits use.
pub(crate) fn instant(deadline: Option<Deadline>) -> Option<Instant> {
    deadline.map(|deadline| Instant::from_std(deadline.instant()))
}

impl LakeStore {
    /// The lake under `prefix` in the bucket that `objects` is.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: LakePrefix, retry: Arc<RetryPolicy>) -> LakeStore {
        LakeStore { objects, prefix, retry, meter: Arc::default() }
    }

    /// What was sent so far by this store and its clones, repeated requests included.
    pub fn requests(&self) -> ObjectCost {
        self.meter.cost().objects
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Creates an object unless its key is taken, until the outcome is known or the budget is spent.
    ///
    /// An answer that its key is taken is looked into: it may be our own, from an attempt whose answer was lost. That
    /// the key is free says nothing after a lost answer, because the put may still be under way: only the next
    /// put tells.
    pub(crate) async fn create(&self, object: &NewObject<'_>) -> Created {
        // Whether an attempt so far may have stored the object, or may do so yet.
        let unresolved = AtomicBool::new(false);
        let attempt = || self.create_once(object, &unresolved);
        match with_retries(&self.retry, None, |failure: &Failure| failure.verdict, attempt).await {
            Ok(true) => Created::Ours,
            Ok(false) => Created::Foreign,
            Err(failed) if unresolved.load(Ordering::Relaxed) => {
                Created::Unknown(exhausted(failed, object.name))
            }
            Err(failed) => Created::NotStored(exhausted(failed, object.name)),
        }
    }

    /// One request that stores the object unless its key is taken.
    async fn put_new(&self, object: &NewObject<'_>) -> object_store::Result<()> {
        let path = self.prefix.full(object.name);
        let attributes = object.attributes.clone();
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        self.meter.count(Figure::ObjectPuts, 1);
        self.meter.count(Figure::ObjectBytesPut, object.body.len() as u64);
        self.objects.put_opts(&path, object.body.clone().into(), options).await.map(drop)
    }

    /// One attempt: whether the object under the key is ours.
    async fn create_once(&self, object: &NewObject<'_>, unresolved: &AtomicBool) -> Result<bool, Failure> {
        // From here on the attempt may be cut off at any time.
        let before = unresolved.swap(true, Ordering::Relaxed);
        let taken = match self.put_new(object).await {
            Ok(()) => false,
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => true,
            Err(error) => {
                let failure = diagnose(&error);
                unresolved.store(before || failure.applied == Applied::Perhaps, Ordering::Relaxed);
                return Err(failure);
            }
        };
        if !taken {
            return Ok(true);
        }
        self.meter.count(Figure::ObjectHeads, 1);
        let path = self.prefix.full(object.name);
        match self.objects.get_opts(&path, GetOptions { head: true, ..GetOptions::default() }).await {
            Ok(found) => Ok(Identity::of(&found.attributes).as_ref() == Some(object.identity)),
            Err(object_store::Error::NotFound { .. }) => {
                unresolved.store(before, Ordering::Relaxed);
                Err(Failure::raced())
            }
            Err(error) => Err(diagnose(&error)),
        }
    }

    /// Whether an object that is there cannot be created again, as it must be: a server that takes the condition and
    /// ignores it would let writers overwrite each other. The body is the same, so that nothing is lost by asking.
    ///
    /// # Errors
    /// Those of the mapping.
    pub(crate) async fn refuses_again(&self, object: &NewObject<'_>) -> Result<bool> {
        let attempt = || async {
            match self.put_new(object).await {
                Ok(()) => Ok(false),
                // That another request was under way says nothing of the condition.
                Err(error) => match diagnose(&error) {
                    failure if failure.kind == ErrorKind::Conflict && failure.verdict == Verdict::Stop => {
                        Ok(true)
                    }
                    failure => Err(failure),
                },
            }
        };
        self.retried(None, attempt).await.map_err(|failed| exhausted(failed, object.name))
    }

    /// One attempt to replace an object, if it still is the version that was read; to create it, if there was none.
    ///
    /// Not repeated here: after a lost answer only its content tells whose write it was.
    pub(crate) async fn replace_once(
        &self,
        name: &str,
        body: &Bytes,
        read: Option<&UpdateVersion>,
        attempts: &Attempts<'_>,
    ) -> Replaced {
        let path = self.prefix.full(name);
        let mode = read.map_or(PutMode::Create, |version| PutMode::Update(version.clone()));
        let options = PutOptions { mode, ..PutOptions::default() };
        let Ok(end) = attempts.begin() else { return Replaced::Failed(Failure::timed_out()) };
        self.meter.count(Figure::ObjectPuts, 1);
        self.meter.count(Figure::ObjectBytesPut, body.len() as u64);
        match timeout_at(end, self.objects.put_opts(&path, body.clone().into(), options)).await {
            Ok(Ok(_)) => Replaced::Done,
            Ok(Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            )) => Replaced::Refused,
            Ok(Err(error)) => {
                let failure = diagnose(&error);
                match failure.applied {
                    Applied::No => Replaced::Failed(failure),
                    Applied::Perhaps => Replaced::Unknown(failure),
                }
            }
            Err(_) => Replaced::Unknown(Failure::timed_out()),
        }
    }

    /// The attempts at something that takes more than one request.
    pub(crate) fn attempts(&self, deadline: Option<Instant>) -> Attempts<'_> {
        self.retry.attempts(deadline)
    }

    /// Reads a whole object that changes, and which version it was; `None` if there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) async fn read_version(
        &self,
        name: &str,
        most: u64,
        deadline: Option<Instant>,
    ) -> Result<Option<(Bytes, UpdateVersion)>> {
        let path = self.prefix.full(name);
        let attempt = || async {
            self.meter.count(Figure::ObjectGets, 1);
            let found = match self.objects.get(&path).await {
                Ok(found) => found,
                // Where there is no bucket nothing is known of the object.
                Err(error @ object_store::Error::NotFound { .. }) if !names_no_bucket(&error) => {
                    return Ok(Ok(None));
                }
                Err(error) => return Err(diagnose(&error)),
            };
            if found.meta.size > most {
                return Ok(Err(()));
            }
            let version =
                UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            let body = found.bytes().await.map_err(|error| diagnose(&error))?;
            self.meter.count(Figure::ObjectBytesGot, body.len() as u64);
            Ok(Ok(Some((body, version))))
        };
        let found = self.retried(deadline, attempt).await.map_err(|failed| exhausted(failed, name))?;
        found.map_err(|()| corrupt("the object is larger than any that is stored").on(name))
    }

    /// Stores an object whose name says its content: whoever else stores it, stores the same.
    ///
    /// # Errors
    /// `Corrupt` if something else has its name; those of the mapping; `OutcomeUnknown`.
    pub(crate) async fn store_content(
        &self,
        name: &str,
        body: &Bytes,
        content_type: &'static str,
    ) -> Result<()> {
        let identity = Identity::new(ClaimId::from_random(0), body);
        let mut attributes: Attributes = identity.metadata().collect();
        attributes.insert(object_store::Attribute::ContentType, content_type.into());
        let object = NewObject { name, body, attributes: &attributes, identity: &identity };
        match self.create(&object).await {
            Created::Ours => Ok(()),
            Created::Foreign => Err(corrupt("another object has the name of this content").on(name)),
            Created::NotStored(error) => Err(error),
            Created::Unknown(error) => {
                Err(Error::new(ErrorKind::OutcomeUnknown, "the object may be stored, or may be yet")
                    .on(name)
                    .because(error))
            }
        }
    }

    /// Deletes an object; one that is not there is deleted already.
    ///
    /// # Errors
    /// Those of the mapping.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let path = self.prefix.full(name);
        let attempt = || async {
            self.meter.count(Figure::ObjectDeletes, 1);
            match self.objects.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(diagnose(&error)),
            }
        };
        self.retried(None, attempt).await.map_err(|failed| exhausted(failed, name))
    }

    /// Reads a whole object of at most `most` bytes.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it is larger; those of the mapping; `DeadlineExceeded`.
    pub(crate) async fn read(
        &self,
        name: &str,
        most: u64,
        deadline: Option<Instant>,
    ) -> Result<(Attributes, Bytes)> {
        let path = self.prefix.full(name);
        let attempt = || async {
            self.meter.count(Figure::ObjectGets, 1);
            let found = self.objects.get(&path).await.map_err(|error| diagnose(&error))?;
            if found.meta.size > most {
                return Ok(None);
            }
            let attributes = found.attributes.clone();
            let body = found.bytes().await.map_err(|error| diagnose(&error))?;
            self.meter.count(Figure::ObjectBytesGot, body.len() as u64);
            Ok(Some((attributes, body)))
        };
        let found = self.retried(deadline, attempt).await.map_err(|failed| exhausted(failed, name))?;
        found.ok_or_else(|| corrupt("the object is larger than any that is stored").on(name))
    }

    /// The objects of a folder and below, in the order of their names, after the one named.
    ///
    /// # Errors
    /// Those of the mapping; `DeadlineExceeded`.
    pub(crate) async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
        deadline: Option<Instant>,
    ) -> Result<Vec<ObjectMeta>> {
        let path = self.prefix.full(folder);
        let mut found: Vec<ObjectMeta> = Vec::new();
        let mut after = after.map(|name| self.prefix.full(name));
        loop {
            let attempt = || async {
                self.meter.count(Figure::ObjectLists, 1);
                let entries = match &after {
                    Some(after) => self.objects.list_with_offset(Some(&path), after),
                    None => self.objects.list(Some(&path)),
                };
                let page = futures::StreamExt::take(entries, PAGE).try_collect::<Vec<_>>().await;
                page.map_err(|error| diagnose(&error))
            };
            let page = self.retried(deadline, attempt).await.map_err(|failed| exhausted(failed, folder))?;
            let last = page.len() < PAGE;
            found.extend(page);
            match found.last() {
                Some(entry) if !last => after = Some(entry.location.clone()),
                _ => break,
            }
        }
        // Servers list in this order; nothing here depends on their doing so.
        found.sort_unstable_by(|left, right| left.location.cmp(&right.location));
        Ok(found)
    }

    /// The names of the folders directly within a folder.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(crate) async fn folders(&self, folder: &str, deadline: Option<Instant>) -> Result<Vec<String>> {
        let path = self.prefix.full(folder);
        let attempt = || async {
            self.meter.count(Figure::ObjectLists, 1);
            self.objects.list_with_delimiter(Some(&path)).await.map_err(|error| diagnose(&error))
        };
        let found = self.retried(deadline, attempt).await.map_err(|failed| exhausted(failed, folder))?;
        let name = |path: &object_store::path::Path| path.filename().map(str::to_owned);
        let mut names: Vec<String> = found.common_prefixes.iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The bucket itself, for libraries that send requests of their own; these are neither repeated nor counted.
    pub(crate) fn bucket(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    /// The full key of what is called `name` within the lake.
    pub(crate) fn full(&self, name: impl fmt::Display) -> object_store::path::Path {
        self.prefix.full(name)
    }

    /// The name within the lake of a listed object.
    pub(crate) fn name<'m>(&self, entry: &'m ObjectMeta) -> Option<&'m str> {
        self.prefix.strip(entry.location.as_ref())
    }

    async fn retried<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        deadline: Option<Instant>,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Exhausted<Failure>> {
        with_retries(&self.retry, deadline, |failure: &Failure| failure.verdict, attempt).await
    }
}
