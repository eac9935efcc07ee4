//! What is committed in the lake, as far as readers of the tables need it: a record that follows the head of the
//! namespace, and only forward.

use aws_sdk_dynamodb::types::AttributeValue;
use recstore_core::{Deadline, Error, ErrorKind, Namespace, Result};

use super::Online;
use super::calls::Condition;
use super::conditional::PutOutcome;
use super::item::{Fields, OpenItem, RawItem, place};
use super::keys::{self, ItemKey};
use super::tables::TableName;

const TABLE: TableName = TableName::Control;
const NAME: &str = "similarities";
const REVISION: &str = "revision";
const CONTENT: &str = "content";
/// How often a record that others move meanwhile is looked at again.
const MAX_ROUNDS: usize = 16;

/// What was committed with a revision of the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The revision.
    pub revision: u64,
    /// What readers need of it, in the words of its writer; the same for whoever writes this revision.
    pub content: String,
}

impl Mirror {
    fn to_item(&self, key: &ItemKey) -> Result<RawItem> {
        let fields = Fields::new().with_integer(REVISION, self.revision);
        fields.with_text(CONTENT, self.content.as_str()).seal(TABLE, key)
    }

    fn from_item(item: RawItem) -> Result<Mirror> {
        let mut open = OpenItem::open(TABLE, item)?;
        let (revision, content) = (open.number(REVISION)?, open.text(CONTENT)?);
        let mirror = Mirror {
            revision: open.required(REVISION, revision)?,
            content: open.required(CONTENT, content)?,
        };
        open.finish()?;
        Ok(mirror)
    }
}

impl Online {
    /// What readers are told; `None` if they never were.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; what the service fails with.
    pub async fn read_mirror(
        &self,
        namespace: &Namespace,
        deadline: Option<Deadline>,
    ) -> Result<Option<Mirror>> {
        let key = keys::control(namespace, NAME)?;
        let item = self.get_one(TABLE, &key, deadline).await?;
        item.map(Mirror::from_item).transpose()
    }

    /// Tells readers what is committed, unless they were told this or something newer; says whether they were not.
    ///
    /// # Errors
    /// `Conflict` if they were told something else of the same revision; `Corrupt`, `SchemaVersion`; what the
    /// service fails with.
    pub async fn advance_mirror(
        &self,
        namespace: &Namespace,
        mirror: &Mirror,
        deadline: Option<Deadline>,
    ) -> Result<bool> {
        let key = keys::control(namespace, NAME)?;
        let item = mirror.to_item(&key)?;
        let mut stored = self.get_one(TABLE, &key, deadline).await?;
        for _ in 0..MAX_ROUNDS {
            let condition = match stored.take().map(Mirror::from_item).transpose()? {
                None => Condition::Absent,
                Some(found) if found == *mirror || found.revision > mirror.revision => return Ok(false),
                Some(found) if found.revision == mirror.revision => {
                    let text = format!("revision {} is recorded with other content", mirror.revision);
                    return Err(Error::new(ErrorKind::Conflict, text).on(place(TABLE, &key)));
                }
                Some(found) => Condition::Equals(REVISION, AttributeValue::N(found.revision.to_string())),
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
