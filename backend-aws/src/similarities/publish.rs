//! Lists into the tables and out of them again.

use recstore_core::{NeighbourList, Result};

use crate::AwsStorage;
use crate::lake::gold::catalogue::{Catalogue, Publication};
use crate::lake::gold::contents::read_lists;
use crate::lake::gold::lists::ListsReader;
use crate::lake::head::{Snapshot, State};

/// How many lists are under way at once.
const LISTS_AT_ONCE: usize = 500;

impl AwsStorage {
    /// Puts the lists of a file into the tables. Nobody is led to them yet; whoever else does it, does the same.
    ///
    /// # Errors
    /// `Corrupt`; what the service fails with: the same call goes on.
    pub(crate) async fn publish_lists(&self, publication: &Publication, lists: ListsReader) -> Result<()> {
        let Publication { kind, name, .. } = publication;
        let mut lists = lists;
        while let Some(chunk) = chunk(&mut lists)? {
            self.shared.online.put_lists(&self.space.namespace, *kind, name, chunk, None).await?;
        }
        Ok(())
    }

    /// Takes out of the tables what no reader is led to any more. Readers must have been told of `committed`.
    ///
    /// # Errors
    /// What the services fail with: it stays to be done, by whoever prunes or erases next.
    pub(crate) async fn clear_retired(&self, committed: &Snapshot) -> Result<()> {
        let retired = &committed.state.releases.retired;
        if retired.is_empty() {
            return Ok(());
        }
        for Publication { kind, name, lists } in retired {
            let mut lists = read_lists(&self.shared.lake, lists, None).await?;
            while let Some(chunk) = chunk(&mut lists)? {
                self.shared.online.take_back_lists(&self.space.namespace, *kind, name, chunk, None).await?;
            }
        }
        let cleared = async |before: Snapshot| {
            let mut releases = Catalogue::clone(&before.state.releases);
            releases.retired.retain(|publication| !retired.contains(publication));
            let changed = releases != *before.state.releases;
            Ok((changed.then(|| with_releases(&before.state, releases)), ()))
        };
        self.space.heads.change(None, cleared).await.map(drop)
    }

    /// Publishes every sealed release again, to tables that may have lost it.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; what the services fail with.
    pub(crate) async fn publish_releases(&self, state: &State) -> Result<()> {
        for (id, release) in &state.releases.releases {
            let (Some(sealed), Some(publication)) = (release.sealed(), release.published(id)) else {
                continue;
            };
            let lists = read_lists(&self.shared.lake, &sealed.lists, None).await?;
            self.publish_lists(&publication, lists).await?;
        }
        Ok(())
    }

    /// As [`clear_retired`](Self::clear_retired), after a change that is done whether this is or not.
    pub(crate) async fn try_to_clear_retired(&self, committed: &Snapshot) {
        if let Err(error) = self.clear_retired(committed).await {
            let namespace = self.space.namespace.as_str();
            tracing::warn!(namespace, %error, "old neighbour lists stay in the tables until the next pruning");
        }
    }
}

fn chunk(lists: &mut ListsReader) -> Result<Option<Vec<NeighbourList>>> {
    let chunk: Vec<NeighbourList> = lists.take(LISTS_AT_ONCE).collect::<Result<_>>()?;
    Ok((!chunk.is_empty()).then_some(chunk))
}

/// The same state with other releases.
pub(crate) fn with_releases(state: &State, releases: Catalogue) -> State {
    State { releases: releases.into(), ..state.clone() }
}
