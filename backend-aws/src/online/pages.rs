//! Histories, page by page: queries from the newest place on, each row at the pinned generation.
//!
//! One page of the caller may be several of the service, which end at 1 MB, hold deleted places and count their
//! limit before anything is left out.

use recstore_core::{
    Deadline, EntityKind, HistoryOptions, HistoryPage, Namespace, PageToken, RatingRow, Result,
};

use super::Online;
use super::calls::{Query, QueryPage};
use super::item::place;
use super::keys::{self, ItemKey};
use super::ratings::{StoredRating, history_table, row_at};
use super::tables::TableName;
use super::versioned::{Generation, Pinned, Versioned};

/// The most items asked for in one request: about 1 MB of rating items with two versions.
const MAX_ITEMS_ASKED: usize = 2_000;

impl Online {
    /// One page of the history of a user or an item at a generation, as
    /// [`user_history`](recstore_core::RatingStore::user_history) has it.
    ///
    /// `TooOld` if any row of it is no longer known at that generation.
    ///
    /// # Errors
    /// `Invalid` (field `limit` or `token`); `Corrupt`, `SchemaVersion`; what the service fails with.
    pub async fn history(
        &self,
        namespace: &Namespace,
        of: EntityKind,
        owner: &str,
        options: &HistoryOptions,
        pin: Generation,
    ) -> Result<Pinned<HistoryPage>> {
        options.validate()?;
        let empty = HistoryPage { rows: Vec::new(), next: None };
        let before = options.token.as_ref().map(|token| token.position(of, owner)).transpose()?;
        let Some((from, mut to)) = keys::history_range(options.time) else {
            return Ok(Pinned::At(empty));
        };
        let before = before.map(|(millis, event_id, other)| keys::history_sort(millis, event_id, other));
        if let Some(before) = before.as_ref().filter(|before| **before < to) {
            to.clone_from(before);
        }
        if to < from {
            return Ok(Pinned::At(empty));
        }
        let table = history_table(of);
        // One more tells whether there is a next page; another is the place that the page comes after.
        let wanted = options.limit + 1;
        let limit = (wanted + usize::from(before.is_some())).min(MAX_ITEMS_ASKED) as u32;
        let partition = keys::partition(namespace, owner);
        let mut query = Query { partition, from, to, descending: true, limit, after: None };
        let mut rows: Vec<RatingRow> = Vec::new();
        loop {
            let page = self.query_page(table, &query, options.deadline).await?;
            for item in page.items {
                let (key, versions) = Versioned::<StoredRating>::from_item(table, item)?;
                if before.as_deref() == Some(key.sort()) {
                    continue;
                }
                let stored = match versions.at(pin) {
                    Pinned::At(Some(stored)) => stored,
                    Pinned::At(None) => continue,
                    Pinned::TooOld => return Ok(Pinned::TooOld),
                };
                if stored.value.is_none() && !options.withdrawn {
                    continue;
                }
                rows.push(row_at(of, owner, &key, stored)?);
                if rows.len() == wanted {
                    rows.truncate(options.limit);
                    let next = rows.last().map(|row| PageToken::after(&row.rating, of));
                    return Ok(Pinned::At(HistoryPage { rows, next }));
                }
            }
            query.after = page.next;
            if query.after.is_none() {
                return Ok(Pinned::At(HistoryPage { rows, next: None }));
            }
        }
    }

    /// One page of a query, tried again within the budget.
    ///
    /// # Errors
    /// What the service fails with.
    pub async fn query_page(
        &self,
        table: TableName,
        query: &Query,
        deadline: Option<Deadline>,
    ) -> Result<QueryPage> {
        let mut attempts = self.attempts(deadline);
        loop {
            let call = self.calls.query(self.names.of(table), query);
            let failure = match self.send(&attempts, call).await {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            if let Err(failure) = Online::again(&mut attempts, failure).await {
                let key = ItemKey::new(query.partition.as_str(), query.from.as_str())?;
                return Err(failure.into_error(place(table, &key)));
            }
        }
    }
}
