//! The committed generation, which readers hold on to.
//!
//! The commit itself is elsewhere (one pointer of the lake); this record follows it, and only forward. A run makes
//! sure that it names the generation before its own ahead of its first write: an item then never has two versions
//! that are newer than the record.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use recstore_core::{Deadline, Error, ErrorKind, Namespace, Result, Timestamp};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Online;
use super::calls::{CallError, Condition};
use super::conditional::PutOutcome;
use super::item::{Fields, OpenItem, RawItem, place};
use super::keys::{self, ItemKey};
use super::tables::TableName;
use super::versioned::{Generation, Pinned};
use crate::retry::GaveUp;

const TABLE: TableName = TableName::Control;
const NAME: &str = "generation";
const GENERATION: &str = "g";
const AS_OF: &str = "as_of";
/// How often a record that others move meanwhile is looked at again.
const MAX_ROUNDS: usize = 16;

/// A committed generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Its number.
    pub generation: Generation,
    /// Every event acknowledged before this time is in it.
    pub as_of: Timestamp,
}

impl Pin {
    /// Before the first generation: there is nothing.
    pub const NOTHING: Pin = Pin { generation: Generation(0), as_of: Timestamp::MIN };

    fn to_item(self, key: &ItemKey) -> Result<RawItem> {
        let fields = Fields::new().with_integer(GENERATION, self.generation.0);
        fields.with_integer(AS_OF, self.as_of.as_millis()).seal(TABLE, key)
    }

    fn from_item(item: RawItem) -> Result<Pin> {
        let mut open = OpenItem::open(TABLE, item)?;
        let generation = open.number(GENERATION)?;
        let as_of = open.number(AS_OF)?;
        let pin = Pin {
            generation: Generation(open.required(GENERATION, generation)?),
            as_of: Timestamp::from_millis(open.required(AS_OF, as_of)?)
                .map_err(|error| open.damaged(error.to_string()))?,
        };
        open.finish()?;
        Ok(pin)
    }
}

impl Online {
    /// The committed generation; [`Pin::NOTHING`] if there is none yet.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; what the service fails with.
    pub async fn read_pin(&self, namespace: &Namespace, deadline: Option<Deadline>) -> Result<Pin> {
        let key = keys::control(namespace, NAME)?;
        let item = self.get_one(TABLE, &key, deadline).await?;
        item.map_or(Ok(Pin::NOTHING), Pin::from_item)
    }

    /// What the callers of a namespace share, for this one alone. Whoever has it may be looking something up for longer
    /// than this caller may wait.
    pub(crate) async fn hold<'a, T>(
        &self,
        shared: &'a Mutex<T>,
        namespace: &Namespace,
        deadline: Option<Deadline>,
    ) -> Result<MutexGuard<'a, T>> {
        let held = self.attempts(deadline).within(shared.lock()).await;
        held.map_err(|reason| CallError::not_sent(reason).into_error(namespace.as_str()))
    }

    /// Moves the record to a generation that is committed, unless it is there or further already; says whether it
    /// was moved.
    ///
    /// # Errors
    /// `Conflict` if the generation is recorded with another time; `Corrupt`, `SchemaVersion`; what the service
    /// fails with.
    pub async fn advance_pin(
        &self,
        namespace: &Namespace,
        pin: Pin,
        deadline: Option<Deadline>,
    ) -> Result<bool> {
        let key = keys::control(namespace, NAME)?;
        let item = pin.to_item(&key)?;
        let mut stored = self.get_one(TABLE, &key, deadline).await?;
        for _ in 0..MAX_ROUNDS {
            let condition = match stored.take().map(Pin::from_item).transpose()? {
                None => Condition::Absent,
                Some(found) if found == pin || found.generation > pin.generation => return Ok(false),
                Some(found) if found.generation == pin.generation => {
                    let text = format!("generation {} is recorded with another time", pin.generation.0);
                    return Err(Error::new(ErrorKind::Conflict, text).on(place(TABLE, &key)));
                }
                Some(found) => {
                    let seen = AttributeValue::N(found.generation.0.to_string());
                    Condition::Equals(GENERATION, seen)
                }
            };
            let is_mine = |stored: &RawItem| *stored == item;
            match self.put_if(TABLE, &item, &condition, is_mine, deadline).await? {
                PutOutcome::Stored => return Ok(true),
                PutOutcome::Refused(now) => stored = now,
            }
        }
        let text = "the record was moved by others each time, retry later";
        Err(Error::new(ErrorKind::Busy, text).on(place(TABLE, &key)))
    }
}

/// The pin that the readers of one namespace share.
#[derive(Debug)]
pub struct Pins {
    online: Online,
    namespace: Namespace,
    max_age: Duration,
    held: Mutex<Option<(Instant, Pin)>>,
}

impl Pins {
    /// Pins of a namespace, looked up again once they are older than `max_age`.
    pub fn new(online: Online, namespace: Namespace, max_age: Duration) -> Pins {
        Pins { online, namespace, max_age, held: Mutex::new(None) }
    }

    /// The pin to read at.
    ///
    /// # Errors
    /// As [`Online::read_pin`]; `DeadlineExceeded` or `Busy` if another caller's look-up takes longer than this one may.
    pub async fn current(&self, deadline: Option<Deadline>) -> Result<Pin> {
        // Whoever comes while one looks it up waits for the same answer.
        let mut held = self.hold(deadline).await?;
        if let Some((at, pin)) = *held
            && at.elapsed() <= self.max_age
        {
            return Ok(pin);
        }
        self.look_up(&mut held, deadline).await
    }

    /// Whether a generation is held that is not too old; asks nobody.
    pub(crate) fn knows_any(&self) -> bool {
        let is_young = |at: Instant| at.elapsed() <= self.max_age;
        self.held
            .try_lock()
            .is_ok_and(|held| held.is_some_and(|(at, pin)| is_young(at) && pin != Pin::NOTHING))
    }

    /// Looks the pin up again at the next read.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }

    /// The pin as it is now, however young the held one is.
    ///
    /// # Errors
    /// As [`current`](Self::current).
    pub(crate) async fn look_again(&self, deadline: Option<Deadline>) -> Result<Pin> {
        let mut held = self.hold(deadline).await?;
        self.look_up(&mut held, deadline).await
    }

    /// The held pin, for this caller alone.
    async fn hold(&self, deadline: Option<Deadline>) -> Result<MutexGuard<'_, Option<(Instant, Pin)>>> {
        self.online.hold(&self.held, &self.namespace, deadline).await
    }

    /// A pin that is newer than `old`, if there is one.
    async fn newer(&self, old: Pin, deadline: Option<Deadline>) -> Result<Pin> {
        let mut held = self.hold(deadline).await?;
        match *held {
            Some((_, pin)) if pin.generation > old.generation => Ok(pin),
            _ => self.look_up(&mut held, deadline).await,
        }
    }

    async fn look_up(&self, held: &mut Option<(Instant, Pin)>, deadline: Option<Deadline>) -> Result<Pin> {
        let begun = Instant::now();
        let pin = self.online.read_pin(&self.namespace, deadline).await?;
        *held = Some((begun, pin));
        Ok(pin)
    }

    /// Reads at the pin; where that is too old, the pin is looked up and everything read again, within the budget.
    ///
    /// # Errors
    /// What `read` fails with; `Unavailable`, or `DeadlineExceeded` where the deadline comes first, if the
    /// tables stay ahead of the committed generation.
    pub async fn read<T, F>(
        &self,
        deadline: Option<Deadline>,
        read: impl Fn(Generation) -> F,
    ) -> Result<(T, Pin)>
    where
        F: Future<Output = Result<Pinned<T>>>,
    {
        let mut attempts = self.online.attempts(deadline);
        let mut pin = self.current(deadline).await?;
        loop {
            match read(pin.generation).await? {
                Pinned::At(answer) => return Ok((answer, pin)),
                Pinned::TooOld => {}
            }
            let newer = self.newer(pin, deadline).await?;
            if newer.generation > pin.generation {
                attempts.progress();
            }
            if let Err(reason) = attempts.wait().await {
                let kind = match reason {
                    GaveUp::Deadline => ErrorKind::DeadlineExceeded,
                    _ => ErrorKind::Unavailable,
                };
                let text = "the tables are ahead of the committed generation, retry later";
                return Err(Error::new(kind, text).on(self.namespace.as_str()));
            }
            pin = newer;
        }
    }
}
