//! A small writer: one object for each batch, one call at a time. It is right, and can be given a bug.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use recstore_aws::lake::bronze::line::encode_line;
use recstore_aws::lake::bronze::object::SealedObject;
use recstore_aws::lake::bronze::writer::{BronzeReceipt, BronzeWriterParts};
use recstore_aws::lake::calendar::Day;
use recstore_aws::lake::keys::{BronzeKey, EpochKey, Topic};
use recstore_core::{Deadline, Error, ErrorKind, ObjectCost, Rating, Result};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::faulty::FaultyStore;

/// What can be wrong with a writer, or with who reads after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// An attempt after the first has another name.
    NewKeyOnRetry,
    /// An object under the name is taken for another writer's.
    ExistsIsFailure,
    /// An object under the name is taken for one's own.
    ExistsIsSuccess,
    /// The answer is given before the put.
    AckOnEnqueue,
    /// After an unknown outcome the object is deleted.
    CleanUpAfterUnknown,
    /// A batch is put as two objects.
    SplitsBatches,
    /// After an unknown outcome the writer goes on in its epoch.
    KeepsEpochAfterUnknown,
    /// As that, and the reader takes in what lies behind the gap.
    CursorPassesOverGap,
    /// An epoch is taken without a claim.
    NoClaim,
}

const ATTEMPTS: u32 = 3;

#[derive(Clone)]
pub(crate) struct NaiveWriter {
    inner: Arc<Inner>,
    /// Closed when the process has died.
    alive: watch::Receiver<()>,
}

struct Inner {
    parts: BronzeWriterParts,
    store: FaultyStore,
    bug: Option<Bug>,
    life: Mutex<Option<Life>>,
}

struct Life {
    key: EpochKey,
    next: u64,
    day: Day,
}

/// What became of an object.
enum Put {
    Stored,
    Foreign,
    Unknown,
}

impl NaiveWriter {
    pub(crate) fn new(
        parts: BronzeWriterParts,
        store: FaultyStore,
        bug: Option<Bug>,
    ) -> (NaiveWriter, impl Future<Output = ()> + Send) {
        let (life, alive) = watch::channel(());
        let run = async move {
            pending::<()>().await;
            drop(life);
        };
        let inner = Inner { parts, store, bug, life: Mutex::new(None) };
        (NaiveWriter { inner: Arc::new(inner), alive }, run)
    }

    pub(crate) async fn append(
        &self,
        events: Vec<Rating>,
        deadline: Option<Deadline>,
    ) -> Result<Option<BronzeReceipt>> {
        let mut alive = self.alive.clone();
        let deadline = deadline.map(|deadline| Instant::from_std(deadline.instant()));
        let unknown = || Error::new(ErrorKind::OutcomeUnknown, "no answer");
        let (inner, died) = (self.inner.clone(), self.alive.clone());
        let work = async move { inner.append(&events, died).await };
        tokio::select! {
            biased;
            _ = alive.changed() => Err(unknown()),
            answer = timeout_at(deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(1000)), work) => {
                answer.unwrap_or_else(|_| Err(unknown()))
            }
        }
    }
}

impl Inner {
    fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    async fn append(
        self: Arc<Self>,
        events: &[Rating],
        mut died: watch::Receiver<()>,
    ) -> Result<Option<BronzeReceipt>> {
        let mut life = self.life.lock().await;
        let mut open = match life.take() {
            Some(open) => open,
            None => self.claim().await?,
        };
        let key = self.name(&open, events.len() as u64);
        let receipt = BronzeReceipt {
            key: key.clone(),
            first: key.first,
            events: events.len() as u64,
            cost: ObjectCost::default(),
        };
        if self.is(Bug::AckOnEnqueue) {
            let (inner, events) = (self.clone(), events.to_vec());
            open.next = key.last + 1;
            *life = Some(open);
            tokio::spawn(async move {
                tokio::select! {
                    _ = died.changed() => {}
                    _ = inner.put(key, &events) => {}
                }
            });
            return Ok(Some(receipt));
        }
        let objects = if self.is(Bug::SplitsBatches) && events.len() > 1 {
            let (left, right) = events.split_at(events.len() / 2);
            let half = BronzeKey { last: key.first + left.len() as u64 - 1, ..key.clone() };
            let rest = BronzeKey { first: half.last + 1, ..key.clone() };
            vec![(half, left), (rest, right)]
        } else {
            vec![(key, events)]
        };
        for (key, events) in objects {
            let last = key.last;
            let put = self.put(key, events).await;
            if matches!(put, Put::Stored)
                || self.is(Bug::KeepsEpochAfterUnknown)
                || self.is(Bug::CursorPassesOverGap)
            {
                open.next = last + 1;
            }
            match put {
                Put::Stored => {}
                Put::Foreign => return Err(Error::new(ErrorKind::Conflict, "exists")),
                Put::Unknown => {
                    if self.is(Bug::KeepsEpochAfterUnknown) || self.is(Bug::CursorPassesOverGap) {
                        *life = Some(open);
                    }
                    return Err(Error::new(ErrorKind::OutcomeUnknown, "no answer"));
                }
            }
        }
        *life = Some(open);
        Ok(Some(receipt))
    }

    fn name(&self, open: &Life, events: u64) -> BronzeKey {
        BronzeKey { epoch: open.key.clone(), day: open.day, first: open.next, last: open.next + events - 1 }
    }

    /// Claims the first epoch that is free.
    async fn claim(&self) -> Result<Life> {
        let day = Day::of(self.parts.clock.now());
        let body = format!("{:?}", self.parts.claim);
        for epoch in 1..1000 {
            let (namespace, writer) = (self.parts.namespace.clone(), self.parts.writer.clone());
            let key = EpochKey { namespace, topic: Topic::Ratings, writer, epoch };
            let path = format!("lake/{}", key.claim_name()).into();
            let life = Life { key, next: 0, day };
            if self.is(Bug::NoClaim) {
                return Ok(life);
            }
            // A claim whose outcome is not known is left alone.
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.store.put_opts(&path, body.clone().into_bytes().into(), options);
            if let Ok(Ok(_)) = timeout(Duration::from_secs(10), put).await {
                return Ok(life);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "no epoch"))
    }

    async fn put(&self, mut key: BronzeKey, events: &[Rating]) -> Put {
        let mut lines = Vec::new();
        for event in events {
            encode_line(event, &mut lines);
        }
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(Duration::from_millis(20)).await;
                if self.is(Bug::NewKeyOnRetry) {
                    key = BronzeKey { first: key.first + key.events(), last: key.last + key.events(), ..key };
                }
            }
            let sealed = SealedObject::seal(key.clone(), self.parts.claim, &lines).unwrap();
            if let Ok(Some(put)) = timeout(Duration::from_secs(10), self.attempt(&sealed)).await {
                return put;
            }
        }
        if self.is(Bug::CleanUpAfterUnknown) {
            let _ = timeout(Duration::from_secs(10), self.store.delete(&format!("lake/{key}").into())).await;
        }
        Put::Unknown
    }

    /// One attempt; `None` if it says nothing.
    async fn attempt(&self, sealed: &SealedObject) -> Option<Put> {
        let path = format!("lake/{}", sealed.key()).into();
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: sealed.attributes().clone(),
            ..PutOptions::default()
        };
        match self.store.put_opts(&path, sealed.body().clone().into(), options).await {
            Ok(_) => Some(Put::Stored),
            Err(object_store::Error::AlreadyExists { .. }) if self.is(Bug::ExistsIsFailure) => {
                Some(Put::Foreign)
            }
            Err(object_store::Error::AlreadyExists { .. }) if self.is(Bug::ExistsIsSuccess) => {
                Some(Put::Stored)
            }
            Err(object_store::Error::AlreadyExists { .. }) => {
                let found = self
                    .store
                    .get_opts(&path, GetOptions { head: true, ..GetOptions::default() })
                    .await
                    .ok()?;
                let ours = found.attributes == *sealed.attributes();
                Some(if ours { Put::Stored } else { Put::Foreign })
            }
            Err(_) => None,
        }
    }
}
