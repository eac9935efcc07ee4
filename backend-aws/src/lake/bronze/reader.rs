//! What is new since a cursor, as a frozen list, and the events of it.
//!
//! A list is made once and then read as often as wanted: it names objects, and objects never change. Within an epoch
//! it has every object up to the first that is missing, so that cursors made from it pass over nothing.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use recstore_core::{Deadline, Error, ErrorKind, Namespace, Rating, Result, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use crate::lake::bronze::cursor::BronzeCursors;
use crate::lake::bronze::line::{BadLine, Line};
use crate::lake::bronze::object::{MAX_COMPRESSED_BYTES, corrupt, open_object};
use crate::lake::keys::{BronzeKey, EpochKey, WriterId, topic_folder};
use crate::lake::offload::offload;
use crate::lake::store::{LakeStore, instant};

/// Listings under way at a time.
const LISTINGS: usize = 8;
/// Objects read ahead of the one whose events are taken.
const READ_AHEAD: usize = 2;
/// From so many bytes on, an object is opened away from the executor.
const MANY_BYTES: u64 = 32 << 10;
/// What is shown of a bad line, in bytes.
const SHOWN_BYTES: usize = 200;
/// The most foreign names that a list repeats.
const MOST_FOREIGN: usize = 100;

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BronzeObject {
    /// Its key, as the name within the lake.
    #[serde(serialize_with = "key_to_text", deserialize_with = "key_from_text")]
    pub key: BronzeKey,
    /// Its size in bytes when it was listed.
    pub bytes: u64,
}

fn key_to_text<S: Serializer>(key: &BronzeKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

fn key_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BronzeKey, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// An epoch with a hole: an object is missing, though a later one is there.
///
/// No writer leaves one behind; an object was deleted, or is hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The number of the first event that is missing.
    pub missing: u64,
    /// The object that comes after the hole.
    #[serde(serialize_with = "key_to_text", deserialize_with = "key_from_text")]
    pub next: BronzeKey,
}

/// What was new when it was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BronzeList {
    /// The objects, by writer, epoch and number.
    pub objects: Vec<BronzeObject>,
    /// The cursors after all of them.
    pub cursors: BronzeCursors,
    /// Epochs that could not be listed to their end. What lies behind the holes is not in the list.
    pub gaps: Vec<Gap>,
    /// Names in the folders of events that are no objects of events, the first hundred.
    pub foreign: Vec<String>,
}

impl BronzeList {
    /// How many events the objects hold.
    pub fn events(&self) -> u64 {
        self.objects.iter().map(|object| object.key.events()).sum()
    }

    /// How many bytes the objects have.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).sum()
    }
}

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// The number, within its epoch, that the event would have.
    pub number: u64,
    /// Why it is none.
    #[serde(flatten)]
    pub reason: BadLine,
    /// How the line begins, with replacement characters for what is not UTF-8.
    pub text: String,
}

/// Some events of one object, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BronzeBatch<L = Rating> {
    /// The object.
    pub key: Arc<BronzeKey>,
    /// The events.
    pub events: Vec<L>,
    /// The lines between them that are none.
    pub rejected: Vec<RejectedLine>,
}

/// Reads the events of one topic in one namespace; `L` is what its lines say.
#[derive(Debug, Clone)]
pub struct BronzeReader<L = Rating> {
    store: LakeStore,
    namespace: Namespace,
    lines: PhantomData<fn() -> L>,
}

impl BronzeReader {
    /// A reader of this namespace's rating events.
    pub fn new(store: LakeStore, namespace: Namespace) -> BronzeReader {
        BronzeReader::of_topic(store, namespace)
    }
}

impl<L: Line> BronzeReader<L> {
    /// A reader of this namespace's events of any topic.
    pub fn of_topic(store: LakeStore, namespace: Namespace) -> BronzeReader<L> {
        BronzeReader { store, namespace, lines: PhantomData }
    }

    /// Lists what is new after `cursors`: one request for the writers, one for each writer and one for each epoch, and
    /// one more for each further thousand of names.
    ///
    /// Everything that was acknowledged before the call is in the list, unless it is behind a [`Gap`].
    ///
    /// # Errors
    /// `Corrupt` for an epoch that a cursor is in and that is gone, or whose objects overlap; those of the object store;
    /// `DeadlineExceeded`.
    pub async fn list(&self, cursors: &BronzeCursors, deadline: Option<Deadline>) -> Result<BronzeList> {
        self.list_until(cursors, None, deadline).await
    }

    /// [`list`](Self::list), of each epoch up to the last object that was stored before `until`, by the clock of the
    /// object store (in S3, whole seconds). A writer stores the objects of an epoch one after the other; where one was
    /// put back later, it comes with those behind it.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_until(
        &self,
        cursors: &BronzeCursors,
        until: Option<Timestamp>,
        deadline: Option<Deadline>,
    ) -> Result<BronzeList> {
        let deadline = instant(deadline);
        let epochs = self.epochs(cursors, deadline).await?;
        let list_epoch = |epoch| self.list_epoch(epoch, cursors, until, deadline);
        let listed = stream::iter(epochs.into_iter().map(list_epoch));
        let listed: Vec<NewOfEpoch> = listed.buffered(LISTINGS).try_collect().await?;
        let empty = Vec::new();
        let mut list =
            BronzeList { objects: Vec::new(), cursors: cursors.clone(), gaps: Vec::new(), foreign: empty };
        for new in listed {
            list.take_in(new)?;
        }
        Ok(list)
    }

    /// Every epoch there is, in order.
    async fn epochs(&self, cursors: &BronzeCursors, deadline: Option<Instant>) -> Result<BTreeSet<EpochKey>> {
        let folder = topic_folder(&self.namespace, L::TOPIC);
        let writers = self.store.folders(&folder, deadline).await?;
        let writers = writers.iter().filter_map(|name| WriterId::new(name.strip_prefix("writer=")?).ok());
        let writers: Vec<WriterId> = writers.collect();
        let of_writers = stream::iter(writers.into_iter().map(|writer| {
            let folder = format!("{folder}/writer={writer}");
            async move {
                let names = self.store.folders(&folder, deadline).await?;
                Ok::<_, Error>(names.into_iter().map(|name| format!("{folder}/{name}")).collect::<Vec<_>>())
            }
        }));
        let folders: Vec<Vec<String>> = of_writers.buffered(LISTINGS).try_collect().await?;
        let found: BTreeSet<EpochKey> =
            folders.iter().flatten().filter_map(|name| name.parse().ok()).collect();
        if let Some(gone) = cursors.epochs(&self.namespace, L::TOPIC).find(|epoch| !found.contains(epoch)) {
            return Err(corrupt("the objects of an epoch that was read from are gone").on(gone.to_string()));
        }
        Ok(found)
    }

    async fn list_epoch(
        &self,
        epoch: EpochKey,
        cursors: &BronzeCursors,
        until: Option<Timestamp>,
        deadline: Option<Instant>,
    ) -> Result<NewOfEpoch> {
        let after = cursors.last_key(&epoch).map(|key| key.to_string());
        let entries = self.store.list(&epoch.to_string(), after.as_deref(), deadline).await?;
        let in_time = |entry: &ObjectMeta| {
            until.is_none_or(|until| entry.last_modified.timestamp_millis() < until.as_millis())
        };
        let (mut new, mut end) = (NewOfEpoch::default(), 0);
        for entry in &entries {
            let name = self.store.name(entry).unwrap_or_default();
            match name.parse() {
                Ok(key) => {
                    new.objects.push(BronzeObject { key, bytes: entry.size });
                    end = if in_time(entry) { new.objects.len() } else { end };
                }
                Err(_) => new.foreign.push(name.to_owned()),
            }
        }
        // A cursor passes over nothing: what stands before an object that was stored in time comes with it.
        new.objects.truncate(end);
        Ok(new)
    }

    /// What `work` makes of the lines of one object, away from the executor if they are many.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_object<T: Send + 'static>(
        &self,
        object: BronzeObject,
        deadline: Option<Deadline>,
        work: impl FnOnce(BronzeLines<L>) -> T + Send + 'static,
    ) -> Result<T> {
        fetched(self.store.clone(), object, instant(deadline), work).await
    }

    /// The events of these objects, in their order, in batches of at most `batch_events` lines, none of them empty.
    ///
    /// Memory is bounded by the few objects that are read ahead. The stream ends after its first error: `Corrupt`, which
    /// names the object, if it is gone or is not what was stored; those of the object store; `DeadlineExceeded`.
    pub fn read(
        &self,
        objects: Vec<BronzeObject>,
        batch_events: usize,
        deadline: Option<Deadline>,
    ) -> BoxStream<'static, Result<BronzeBatch<L>>> {
        let (store, deadline) = (self.store.clone(), instant(deadline));
        let opened =
            stream::iter(objects).map(move |object| fetched(store.clone(), object, deadline, |lines| lines));
        let mut failed = false;
        opened
            .buffered(READ_AHEAD)
            .map_ok(move |lines| stream::iter(lines.into_batches(batch_events.max(1))).map(Ok))
            .try_flatten()
            .take_while(move |batch| {
                let go_on = !failed;
                failed |= batch.is_err();
                std::future::ready(go_on)
            })
            .boxed()
    }
}

/// What one epoch has after the cursor.
#[derive(Debug, Default)]
struct NewOfEpoch {
    objects: Vec<BronzeObject>,
    foreign: Vec<String>,
}

impl BronzeList {
    fn take_in(&mut self, new: NewOfEpoch) -> Result<()> {
        for object in new.objects {
            let EpochKey { writer, epoch, .. } = &object.key.epoch;
            let expected = self.cursors.next(writer, *epoch);
            if object.key.first < expected {
                return Err(corrupt("two objects have the same numbers of events").on(object.key.to_string()));
            }
            if !self.cursors.advance(&object.key) {
                self.gaps.push(Gap { missing: expected, next: object.key });
                break;
            }
            self.objects.push(object);
        }
        let room = MOST_FOREIGN.saturating_sub(self.foreign.len());
        self.foreign.extend(new.foreign.into_iter().take(room));
        Ok(())
    }
}

/// What `work` makes of the lines of an object, away from the executor if they are many.
async fn fetched<L: Line, T: Send + 'static>(
    store: LakeStore,
    object: BronzeObject,
    deadline: Option<Instant>,
    work: impl FnOnce(BronzeLines<L>) -> T + Send + 'static,
) -> Result<T> {
    let BronzeObject { key, bytes } = object;
    let name = key.to_string();
    let read = store.read(&name, MAX_COMPRESSED_BYTES, deadline).await;
    let (attributes, body) = read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => corrupt("an object that was listed is gone").on(name.clone()).because(error),
        _ => error,
    })?;
    if body.len() as u64 != bytes {
        return Err(corrupt("the object has another size than when it was listed").on(name));
    }
    let worked = offload(bytes >= MANY_BYTES, move || {
        let text = open_object(&key, &attributes, &body)?;
        drop(body);
        let number = key.first;
        Ok(work(BronzeLines { key: Arc::new(key), text, at: 0, number, lines: PhantomData }))
    });
    worked.await?
}

/// The checked lines of one object: each decoded when it is asked for, in order.
#[derive(Debug)]
pub struct BronzeLines<L = Rating> {
    key: Arc<BronzeKey>,
    text: Vec<u8>,
    /// Where the next line begins.
    at: usize,
    /// Its number.
    number: u64,
    lines: PhantomData<fn() -> L>,
}

impl<L: Line> BronzeLines<L> {
    /// The object.
    pub fn key(&self) -> &BronzeKey {
        &self.key
    }

    fn into_batches(mut self, size: usize) -> impl Iterator<Item = BronzeBatch<L>> {
        std::iter::from_fn(move || {
            let mut batch = BronzeBatch { key: self.key.clone(), events: Vec::new(), rejected: Vec::new() };
            for line in self.by_ref().take(size) {
                match line {
                    Ok(event) => batch.events.push(event),
                    Err(rejected) => batch.rejected.push(rejected),
                }
            }
            let is_empty = batch.events.is_empty() && batch.rejected.is_empty();
            (!is_empty).then_some(batch)
        })
    }
}

impl<L: Line> Iterator for BronzeLines<L> {
    type Item = Result<L, RejectedLine>;

    fn next(&mut self) -> Option<Result<L, RejectedLine>> {
        // Every line has its end, which was checked when the object was opened.
        let line = self.text[self.at..].split_inclusive(|byte| *byte == b'\n').next()?;
        let number = self.number;
        (self.at, self.number) = (self.at + line.len(), number + 1);
        let decoded = L::decode(&line[..line.len() - 1]);
        Some(decoded.map_err(|reason| RejectedLine { number, reason, text: shown(line) }))
    }
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).trim_end_matches('\n').to_owned()
}
