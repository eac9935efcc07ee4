//! Neighbour lists of releases, and the pointer to the current release.
//!
//! A list that is larger than an item lies in several, numbered from 0. The later parts are written first: a list
//! is there once its part 0 is, which says how many there are and what they hash to together. Lists stand under
//! the name of their release, so that writing them again, by whomever, writes the same; readers get to a
//! release through the pointer, which is moved by condition.
//!
//! An entry is the length of the id (u16, big-endian), the id, the similarity (f64) and the common raters (u32).

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;
use recstore_core::{
    Deadline, EntityKey, EntityKind, Error, ErrorKind, Namespace, Neighbour, NeighbourList, ReleaseId, Result,
};

use super::Online;
use super::calls::{Condition, Query, Write};
use super::conditional::PutOutcome;
use super::item::{Fields, MAX_ITEM_BYTES, OpenItem, RawItem, place};
use super::keys::{self, ItemKey, MAX_PARTITION_BYTES, MAX_PARTS, MAX_SORT_BYTES};
use super::tables::TableName;

const TABLE: TableName = TableName::Neighbours;
const PARTS: &str = "n";
const DIGEST: &str = "d";
const ENTRIES: &str = "l";
const DIGEST_CONTEXT: &str = "recstore 2026 neighbour list v1";

/// The most bytes of entries in one item: what names, the longest key and the small attributes leave.
const MAX_PART_BYTES: usize = MAX_ITEM_BYTES - MAX_PARTITION_BYTES - MAX_SORT_BYTES - 256;

/// One item of a list.
struct Part {
    parts: usize,
    digest: [u8; 8],
    entries: Vec<u8>,
}

impl Part {
    fn into_item(self, key: &ItemKey) -> Result<RawItem> {
        Fields::new()
            .with_integer(PARTS, self.parts as i128)
            .with_bytes(DIGEST, self.digest)
            .with_bytes(ENTRIES, self.entries)
            .seal(TABLE, key)
    }

    fn from_item(item: RawItem) -> Result<Part> {
        let mut open = OpenItem::open(TABLE, item)?;
        let parts = open.number::<usize>(PARTS)?.filter(|parts| (1..=MAX_PARTS).contains(parts));
        let digest = open.bytes(DIGEST)?.and_then(|digest| digest.try_into().ok());
        let entries = open.bytes(ENTRIES)?;
        let part = Part {
            parts: open.required(PARTS, parts)?,
            digest: open.required(DIGEST, digest)?,
            entries: open.required(ENTRIES, entries)?,
        };
        open.finish()?;
        Ok(part)
    }
}

fn digest(entries: &[&[u8]]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    for entries in entries {
        hasher.update(entries);
    }
    let mut digest = [0; 8];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// The parts of a list, the most similar neighbour first, ties by id.
fn split(mut neighbours: Vec<Neighbour>) -> Result<Vec<Part>> {
    neighbours.sort_by(|left, right| {
        right.similarity.total_cmp(&left.similarity).then_with(|| left.id.cmp(&right.id))
    });
    let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
    for neighbour in &neighbours {
        let id = neighbour.id.as_str().as_bytes();
        let size = 2 + id.len() + 8 + 4;
        if parts.last().is_some_and(|part| part.len() + size > MAX_PART_BYTES) {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.extend_from_slice(&(id.len() as u16).to_be_bytes());
            part.extend_from_slice(id);
            part.extend_from_slice(&neighbour.similarity.to_be_bytes());
            part.extend_from_slice(&neighbour.common.to_be_bytes());
        }
    }
    if parts.len() > MAX_PARTS {
        let text = format!("the list takes {} items, at most {MAX_PARTS}", parts.len());
        return Err(Error::invalid("neighbours", text));
    }
    let digest = digest(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let count = parts.len();
    Ok(parts.into_iter().map(|entries| Part { parts: count, digest, entries }).collect())
}

fn join(parts: &[Part]) -> Option<Vec<Neighbour>> {
    let first = parts.first()?;
    let entries: Vec<&[u8]> = parts.iter().map(|part| part.entries.as_slice()).collect();
    let whole = parts.len() == first.parts
        && parts.iter().all(|part| part.parts == first.parts && part.digest == first.digest);
    if !whole || digest(&entries) != first.digest {
        return None;
    }
    let mut neighbours = Vec::new();
    for mut rest in entries {
        while !rest.is_empty() {
            neighbours.push(take_entry(&mut rest)?);
        }
    }
    Some(neighbours)
}

fn take_entry(rest: &mut &[u8]) -> Option<Neighbour> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (id, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
    let (similarity, after) = after.split_first_chunk::<8>()?;
    let (common, after) = after.split_first_chunk::<4>()?;
    *rest = after;
    let similarity = f64::from_be_bytes(*similarity);
    let id = EntityKey::new(std::str::from_utf8(id).ok()?).ok()?;
    let written = similarity.is_finite() && similarity > 0.0;
    written.then(|| Neighbour { id, similarity, common: u32::from_be_bytes(*common) })
}

const MOVER_BYTES: usize = 8;
/// So many moves are remembered.
const MAX_TRAIL: usize = 16;
const MOVER_CONTEXT: &str = "recstore 2026 mover of a pointer v1";

fn mover(writer: &str) -> [u8; MOVER_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(MOVER_CONTEXT);
    let mut hash = [0; MOVER_BYTES];
    hasher.update(writer.as_bytes()).finalize_xof().fill(&mut hash);
    hash
}

/// The release that readers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Its name.
    pub release: ReleaseId,
    /// One more with each move, from 1.
    pub sequence: u64,
    /// Hashes of who moved it, the last first: a move is found again also after others have followed it.
    trail: Vec<[u8; MOVER_BYTES]>,
}

const RELEASE: &str = "release";
const SEQUENCE: &str = "g";
const TRAIL: &str = "trail";

impl Pointer {
    fn to_item(&self, key: &ItemKey) -> Result<RawItem> {
        let fields = Fields::new().with_integer(SEQUENCE, self.sequence);
        let fields = fields.with_text(RELEASE, self.release.as_str()).with_bytes(TRAIL, self.trail.concat());
        fields.seal(TableName::Control, key)
    }

    fn from_item(item: RawItem) -> Result<Pointer> {
        let mut open = OpenItem::open(TableName::Control, item)?;
        let (release, sequence) = (open.text(RELEASE)?, open.number(SEQUENCE)?);
        let trail = open.bytes(TRAIL)?.filter(|trail| trail.len() % MOVER_BYTES == 0);
        let trail = open.required(TRAIL, trail)?;
        let movers = trail.chunks_exact(MOVER_BYTES).filter_map(|hash| hash.try_into().ok());
        let pointer = Pointer {
            release: ReleaseId::from_text(open.required(RELEASE, release)?),
            sequence: open.required(SEQUENCE, sequence)?,
            trail: movers.collect(),
        };
        open.finish()?;
        Ok(pointer)
    }

    /// The pointer after `seen`, moved by `writer`.
    fn after(seen: Option<&Pointer>, release: &ReleaseId, writer: &str) -> Pointer {
        let before = seen.map_or(&[][..], |seen| &seen.trail);
        let trail = std::iter::once(mover(writer)).chain(before.iter().copied()).take(MAX_TRAIL);
        let sequence = seen.map_or(1, |seen| seen.sequence + 1);
        Pointer { release: release.clone(), sequence, trail: trail.collect() }
    }

    /// Whether this is `earlier`, or came after it; `None` if that was too long ago.
    fn follows(&self, earlier: &Pointer) -> Option<bool> {
        let Some(moves) = self.sequence.checked_sub(earlier.sequence) else { return Some(false) };
        let at = usize::try_from(moves).ok().filter(|&at| at < MAX_TRAIL)?;
        Some(self.trail.get(at) == earlier.trail.first())
    }
}

fn pointer_key(namespace: &Namespace, kind: EntityKind) -> Result<ItemKey> {
    keys::control(namespace, &format!("neighbours#{kind}"))
}

impl Online {
    /// Writes lists of a release that no reader is led to yet. Idempotent; a list given again, in this call or
    /// another, replaces the first. A request of another call that had no answer may still arrive after this one: whoever
    /// puts different lists of one id into one release puts them into one call, or has them sealed elsewhere first.
    ///
    /// # Errors
    /// `Invalid` (field `lists[i]…`) for a wrong list, one that takes too many items, or a release whose name is too
    /// long, nothing is written then; what the service fails with, then the same call goes on.
    pub async fn put_lists(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        release: &ReleaseId,
        lists: Vec<NeighbourList>,
        deadline: Option<Deadline>,
    ) -> Result<()> {
        let (mut later, mut first) = (Vec::new(), Vec::with_capacity(lists.len()));
        let last: HashMap<EntityKey, usize> =
            lists.iter().enumerate().map(|(index, list)| (list.id.clone(), index)).collect();
        for (index, list) in lists.into_iter().enumerate() {
            let named = |error: Error| error.in_field(format_args!("lists[{index}]"));
            list.validate().map_err(named)?;
            if last.get(&list.id) != Some(&index) {
                continue;
            }
            for (number, part) in split(list.neighbours).map_err(named)?.into_iter().enumerate() {
                let key = keys::neighbours(namespace, kind, list.id.as_str(), release, number);
                let item = key.and_then(|key| part.into_item(&key)).map_err(named)?;
                if number == 0 { &mut first } else { &mut later }.push(Write::Put(item));
            }
        }
        for writes in [later, first] {
            self.write_many(TABLE, writes, deadline).await?.into_result(TABLE)?;
        }
        Ok(())
    }

    /// The lists of many ids in a release, by id; `None` for an id without a list. A failure is that of one id,
    /// and never none.
    ///
    /// # Errors
    /// As [`keys::neighbours`].
    pub async fn get_lists(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        release: &ReleaseId,
        ids: &[EntityKey],
        deadline: Option<Deadline>,
    ) -> Result<HashMap<EntityKey, Result<Option<Vec<Neighbour>>>>> {
        let key = |id: &EntityKey, part| keys::neighbours(namespace, kind, id.as_str(), release, part);
        let first: Vec<ItemKey> = ids.iter().map(|id| key(id, 0)).collect::<Result<_>>()?;
        let mut answers = self.get_many(TABLE, first, deadline).await;
        let mut lists = HashMap::with_capacity(ids.len());
        let mut found: Vec<(&EntityKey, Part)> = Vec::new();
        let (mut later, mut seen) = (Vec::new(), HashSet::with_capacity(ids.len()));
        for id in ids {
            if !seen.insert(id) {
                continue;
            }
            match answers.take(&key(id, 0)?).and_then(|item| item.map(Part::from_item).transpose()) {
                Ok(None) => {
                    lists.insert(id.clone(), Ok(None));
                }
                Err(error) => {
                    lists.insert(id.clone(), Err(error));
                }
                Ok(Some(part)) => {
                    for number in 1..part.parts {
                        later.push(key(id, number)?);
                    }
                    found.push((id, part));
                }
            }
        }
        let mut answers = self.get_many(TABLE, later, deadline).await;
        for (id, first) in found {
            let read = |number| -> Result<Part> {
                let key = key(id, number)?;
                let item = answers.take(&key)?.ok_or_else(|| {
                    Error::new(ErrorKind::Corrupt, "a part of the list is missing").on(place(TABLE, &key))
                })?;
                Part::from_item(item)
            };
            let count = first.parts;
            let parts: Result<Vec<Part>> = std::iter::once(Ok(first)).chain((1..count).map(read)).collect();
            let list = match parts {
                Ok(parts) => match join(&parts) {
                    Some(neighbours) => Ok(Some(neighbours)),
                    None => {
                        let error =
                            Error::new(ErrorKind::Corrupt, "the parts of the list are not of one list");
                        Err(error.on(place(TABLE, &key(id, 0)?)))
                    }
                },
                Err(error) => Err(error),
            };
            lists.insert(id.clone(), list);
        }
        Ok(lists)
    }

    /// Deletes all parts of the lists of these ids in a release that nobody is led to. Idempotent.
    ///
    /// # Errors
    /// What the service fails with, then the same call goes on.
    pub async fn delete_lists(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        release: &ReleaseId,
        ids: &[EntityKey],
        deadline: Option<Deadline>,
    ) -> Result<()> {
        let mut deletions = Vec::new();
        for id in ids {
            let (partition, from) = keys::neighbours(namespace, kind, id.as_str(), release, 0)?.into_parts();
            let (_, to) =
                keys::neighbours(namespace, kind, id.as_str(), release, MAX_PARTS - 1)?.into_parts();
            let mut query = Query { partition, from, to, descending: false, limit: 100, after: None };
            loop {
                let page = self.query_page(TABLE, &query, deadline).await?;
                // Between the parts of `r` stand those of a release that is called `r#0001`.
                let ours = |key: &ItemKey| {
                    let parsed = keys::parse_neighbours_sort(key.sort());
                    parsed.is_some_and(|(_, of, _)| of == *release)
                };
                let keys = page.items.iter().filter_map(super::item::key_of).filter(ours);
                deletions.extend(keys.map(Write::Delete));
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
        }
        self.write_many(TABLE, deletions, deadline).await?.into_result(TABLE)
    }

    /// Deletes lists that were put under this release's name, as they were put. Idempotent.
    ///
    /// # Errors
    /// As [`put_lists`](Self::put_lists).
    pub async fn take_back_lists(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        release: &ReleaseId,
        lists: Vec<NeighbourList>,
        deadline: Option<Deadline>,
    ) -> Result<()> {
        let (mut later, mut first) = (Vec::new(), Vec::with_capacity(lists.len()));
        for NeighbourList { id, neighbours } in lists {
            for number in 0..split(neighbours)?.len() {
                let key = keys::neighbours(namespace, kind, id.as_str(), release, number)?;
                if number == 0 { &mut first } else { &mut later }.push(Write::Delete(key));
            }
        }
        // A list without its first part is none.
        for writes in [first, later] {
            self.write_many(TABLE, writes, deadline).await?.into_result(TABLE)?;
        }
        Ok(())
    }

    /// The release that readers get; `None` if none was ever promoted.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; what the service fails with.
    pub async fn read_pointer(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        deadline: Option<Deadline>,
    ) -> Result<Option<Pointer>> {
        let key = pointer_key(namespace, kind)?;
        let item = self.get_one(TableName::Control, &key, deadline).await?;
        item.map(Pointer::from_item).transpose()
    }

    /// Leads readers to `release`, if the pointer is still `seen`. `writer` is a text that no other move has, by
    /// which a lost answer is told from a conflict; the same call again is `Ok`, also if others have moved the
    /// pointer on since.
    ///
    /// # Errors
    /// `Conflict` if another moved it instead; `OutcomeUnknown`, also if it was moved more than 15 times since; what
    /// the service fails with.
    pub async fn move_pointer(
        &self,
        namespace: &Namespace,
        kind: EntityKind,
        seen: Option<&Pointer>,
        release: &ReleaseId,
        writer: &str,
        deadline: Option<Deadline>,
    ) -> Result<Pointer> {
        let key = pointer_key(namespace, kind)?;
        let next = Pointer::after(seen, release, writer);
        let condition = match seen {
            None => Condition::Absent,
            Some(seen) => Condition::Equals(SEQUENCE, AttributeValue::N(seen.sequence.to_string())),
        };
        let item = next.to_item(&key)?;
        let is_mine = |stored: &RawItem| {
            Pointer::from_item(stored.clone()).is_ok_and(|stored| stored.follows(&next) == Some(true))
        };
        let outcome = self.put_if(TableName::Control, &item, &condition, is_mine, deadline).await?;
        let PutOutcome::Refused(stored) = outcome else { return Ok(next) };
        let (error_kind, text) = match stored.map(Pointer::from_item).transpose()? {
            Some(now) if now.follows(&next).is_none() => {
                (ErrorKind::OutcomeUnknown, "the pointer was moved too often to find out".to_owned())
            }
            Some(now) => (ErrorKind::Conflict, format!("the pointer was moved to {} meanwhile", now.release)),
            None => (ErrorKind::Conflict, "the pointer is gone".to_owned()),
        };
        Err(Error::new(error_kind, text).on(place(TableName::Control, &key)))
    }
}
