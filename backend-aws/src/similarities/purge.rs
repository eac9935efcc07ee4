//! One entity out of every release: the part of an erasure that is about similarities.

use std::sync::Arc;

use bytes::Bytes;
use recstore_core::{EntityKey, EntityKind, NeighbourList, Popular, ReleaseId, Result};
use tokio::time::Instant;

use crate::AwsStorage;
use crate::lake::documents::DocumentRef;
use crate::lake::gold::catalogue::{Catalogue, Content, Release, Sealed};
use crate::lake::gold::contents::{fold_lists, merge, read_lists, read_popular};
use crate::lake::gold::erased::ErasedOne;
use crate::lake::gold::lists::{Counts, ListsReader, ListsWriter};
use crate::lake::head::State;

/// Releases without an entity.
#[derive(Debug, Clone)]
pub(crate) struct Purged {
    /// The releases to commit; those that were read if nothing has to change.
    pub(crate) releases: Arc<Catalogue>,
    /// How many releases have a list of the entity, those being built included.
    pub(crate) neighbour_lists: u64,
    /// In how many lists of others it is a neighbour, of the same releases.
    pub(crate) neighbour_entries: u64,
}

/// How often an entity is in a release.
#[derive(Debug, Clone, Copy, Default)]
struct Occurrences {
    lists: u64,
    entries: u64,
}

impl Occurrences {
    fn observe(&mut self, erased: &ErasedOne, id: &EntityKey, neighbours: &[recstore_core::Neighbour]) {
        self.lists += u64::from(erased.is(id.as_str()));
        self.entries += neighbours.iter().filter(|neighbour| erased.is(neighbour.id.as_str())).count() as u64;
    }
}

impl AwsStorage {
    /// Makes and publishes a new revision of every sealed release that an entity is in, and counts it in all. The
    /// caller commits the releases with a tombstone that is not before the begin of any release being built
    /// (their parts stay as they are, and sealing leaves the entity out), tells readers, and then
    /// [clears](Self::clear_retired) what is retired. On a dry run nothing is written and the releases stay as
    /// they are.
    ///
    /// Repeated from the same state it writes the same. Memory: a release in its compressed form, and of those
    /// being built all lists.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; what the services fail with: readers see nothing of it then.
    pub(crate) async fn purge_releases(
        &self,
        state: &State,
        erased: &ErasedOne,
        dry_run: bool,
        deadline: Option<Instant>,
    ) -> Result<Purged> {
        let mut releases = Catalogue::clone(&state.releases);
        let mut total = Occurrences::default();
        for (id, release) in state.releases.of(erased.kind) {
            let (found, next) = match &release.content {
                Content::Building { parts } => {
                    (self.count_in_parts(state, release, parts, erased, deadline).await?, None)
                }
                Content::Sealed(sealed) => {
                    self.purge_sealed(id, release, sealed, erased, dry_run, deadline).await?
                }
            };
            total.lists += found.lists;
            total.entries += found.entries;
            if let Some(next) = next {
                releases.retired.extend(release.published(id));
                let content = Content::Sealed(next);
                releases.releases.insert(id.clone(), Release { content, ..release.clone() });
            }
        }
        let releases =
            if releases == *state.releases { Arc::clone(&state.releases) } else { Arc::new(releases) };
        Ok(Purged { releases, neighbour_lists: total.lists, neighbour_entries: total.entries })
    }

    async fn count_in_parts(
        &self,
        state: &State,
        release: &Release,
        parts: &[DocumentRef],
        erased: &ErasedOne,
        deadline: Option<Instant>,
    ) -> Result<Occurrences> {
        let lists = merge(&self.shared.lake, parts, &self.erased_since(state, release), deadline).await?;
        let mut found = Occurrences::default();
        lists.iter().for_each(|(id, neighbours)| found.observe(erased, id, neighbours));
        Ok(found)
    }

    async fn purge_sealed(
        &self,
        id: &ReleaseId,
        release: &Release,
        sealed: &Sealed,
        erased: &ErasedOne,
        dry_run: bool,
        deadline: Option<Instant>,
    ) -> Result<(Occurrences, Option<Sealed>)> {
        let lake = &self.shared.lake;
        let counted = erased.clone();
        let count = move |found: &mut Occurrences, list: NeighbourList| {
            found.observe(&counted, &list.id, &list.neighbours);
            Ok(())
        };
        let found = fold_lists(lake, &sealed.lists, deadline, Occurrences::default(), count).await?;
        let popular = read_popular(lake, &sealed.popular, deadline).await?;
        let in_lists = found.lists > 0 || found.entries > 0;
        if dry_run || !(in_lists || popular.iter().any(|popular| erased.is(popular.id.as_str()))) {
            return Ok((found, None));
        }
        let (file, counts) = self.lists_without(sealed, erased, deadline).await?;
        let popular =
            popular.into_iter().filter(|popular| !erased.is(popular.id.as_str())).collect::<Vec<_>>();
        let next = self.store_sealed(id, release, sealed.revision + 1, file, counts, &popular).await?;
        Ok((found, Some(next)))
    }

    async fn lists_without(
        &self,
        sealed: &Sealed,
        erased: &ErasedOne,
        deadline: Option<Instant>,
    ) -> Result<(Bytes, Counts)> {
        let erased = erased.clone();
        let take = move |writer: &mut ListsWriter, mut list: NeighbourList| {
            if erased.is(list.id.as_str()) {
                return Ok(());
            }
            list.neighbours.retain(|neighbour| !erased.is(neighbour.id.as_str()));
            writer.push(&list.id, &list.neighbours)
        };
        fold_lists(&self.shared.lake, &sealed.lists, deadline, ListsWriter::new()?, take).await?.finish()
    }

    /// Stores and publishes a revision of a release, to be committed.
    ///
    /// # Errors
    /// What the services fail with; the same call goes on.
    pub(crate) async fn store_sealed(
        &self,
        id: &ReleaseId,
        release: &Release,
        revision: u32,
        file: Bytes,
        counts: Counts,
        popular: &[Popular],
    ) -> Result<Sealed> {
        let objects = self.objects_of(id, release);
        let lists = objects.store_lists(revision, &file).await?;
        let popular = objects.store_popular(revision, popular).await?;
        let publication = release.publication(id, revision, &lists);
        self.publish_lists(&publication, ListsReader::new(file, &lists.name)?).await?;
        let Counts { lists: list_count, neighbours: neighbour_count } = counts;
        Ok(Sealed { revision, lists, popular, list_count, neighbour_count })
    }

    /// The lists of the current release, in order of id, as committed with `state`; `None` if none was promoted.
    /// For fingerprints.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of the object store; each list may fail in turn.
    pub(crate) async fn current_lists(
        &self,
        state: &State,
        kind: EntityKind,
        deadline: Option<Instant>,
    ) -> Result<Option<ListsReader>> {
        let Some(sealed) = state.releases.current(kind).and_then(|(_, release)| release.sealed()) else {
            return Ok(None);
        };
        read_lists(&self.shared.lake, &sealed.lists, deadline).await.map(Some)
    }
}
