//! Numbers of users and items back to their ids, kept by each reader thread from call to call.
//!
//! A recommendation names thousands of items, whose rows lie all over the file: looking them up was most of its
//! time. What is kept holds until the count of renamings in the file differs, whichever process made it so; new
//! ratings do not touch it.

use std::cell::{RefCell, RefMut};

use recstore_core::{EntityKey, EntityKind, Neighbour, Result};
use rusqlite::CachedStatement;

use crate::entities::{Identity, identity_sql};
use crate::error::SqlResult;
use crate::numbers::NumberMap;
use crate::parameters::renamings;
use crate::readers::Reader;
use crate::similarities::{NEIGHBOUR_BYTES, decode_neighbour, entity_of};

const IDENTITY: &str = concat!("SELECT ", identity_sql!("e"), " FROM entities e WHERE id = ?1");

/// The most ids that are kept, about 5 MB of short ones; beyond, all are forgotten.
const MOST_KNOWN: usize = 1 << 16;

/// What a reader thread knows.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The count of renamings that all this was read at.
    renamings: i64,
    /// The id, and whether it is hidden.
    keys: NumberMap<(EntityKey, bool)>,
}

/// Numbers to ids, and who is hidden, for one call.
pub(crate) struct Keys<'a> {
    select: CachedStatement<'a>,
    kind: EntityKind,
    known: RefMut<'a, Known>,
}

impl<'a> Keys<'a> {
    /// Within the transaction of the call. One at a time.
    ///
    /// # Errors
    /// `Corrupt`, and what SQLite fails with.
    pub(crate) fn new(reader: &'a Reader, kind: EntityKind) -> Result<Keys<'a>> {
        let mut known = reader.keys.0.borrow_mut();
        let renamings = renamings(reader)?;
        if known.renamings != renamings {
            known.keys.clear();
            known.renamings = renamings;
        }
        Ok(Keys { select: reader.prepare_cached(IDENTITY).sql()?, kind, known })
    }

    /// The neighbours of a stored list, hidden ones included.
    pub(crate) fn all(&mut self, list: &[u8]) -> Result<Vec<Neighbour>> {
        let entries = list.chunks_exact(NEIGHBOUR_BYTES);
        entries.map(|entry| Ok(decode_neighbour(entry, self.key(entity_of(entry))?.0))).collect()
    }

    /// The neighbours of a stored list but for hidden items, at most `limit`.
    pub(crate) fn visible(&mut self, list: &[u8], limit: Option<usize>) -> Result<Vec<Neighbour>> {
        let limit = limit.unwrap_or(usize::MAX);
        let mut neighbours = Vec::with_capacity(limit.min(list.len() / NEIGHBOUR_BYTES));
        for entry in list.chunks_exact(NEIGHBOUR_BYTES) {
            if neighbours.len() == limit {
                break;
            }
            let (id, hidden) = self.key(entity_of(entry))?;
            if !hidden {
                neighbours.push(decode_neighbour(entry, id));
            }
        }
        Ok(neighbours)
    }

    /// The id of an entity, and whether it is a hidden item.
    pub(crate) fn key(&mut self, id: i64) -> Result<(EntityKey, bool)> {
        let of_kind =
            |(key, hidden): &(EntityKey, bool)| (key.clone(), *hidden && self.kind == EntityKind::Item);
        if let Some(known) = self.known.keys.get(&id) {
            return Ok(of_kind(known));
        }
        let Identity { key, hidden, .. } =
            self.select.query_row([id], |row| Ok(Identity::of(row, 0))).sql()??;
        let found = (key, hidden);
        let answer = of_kind(&found);
        if self.known.keys.len() == MOST_KNOWN {
            self.known.keys.clear();
        }
        self.known.keys.insert(id, found);
        Ok(answer)
    }
}
