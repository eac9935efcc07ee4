//! The similarity store.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStorage;
use super::state::{Release, State};
use crate::{
    EntityKind, Error, ErrorKind, Found, GetOptions, ItemId, Lookup, Neighbour, NeighbourAnswer,
    NeighbourList, NeighbourRequest, Origin, Popular, PruneOptions, PutOptions, ReleaseId, ReleaseInfo,
    ReleaseSpec, Result, SimilarityStore, Timestamp,
};

#[async_trait]
impl SimilarityStore for MemoryStorage {
    async fn begin_release(&self, spec: ReleaseSpec) -> Result<ReleaseId> {
        self.write(None, |state| {
            spec.options.validate()?;
            let created_at = self.now();
            let id = free_id(state, spec.kind, created_at);
            let release = Release {
                spec,
                created_at,
                sealed: false,
                promotion: None,
                lists: BTreeMap::new(),
                popular: Vec::new(),
            };
            state.releases.insert(id.clone(), release);
            Ok(id)
        })
    }

    async fn put_neighbours(
        &self,
        release: &ReleaseId,
        lists: Vec<NeighbourList>,
        options: PutOptions,
    ) -> Result<()> {
        self.write(options.deadline, |state| {
            for (index, list) in lists.iter().enumerate() {
                list.validate().map_err(|error| error.in_field(format_args!("lists[{index}]")))?;
            }
            let found = find(state, release)?;
            if found.sealed {
                let text = "the release is sealed and takes no lists, begin another";
                return Err(Error::new(ErrorKind::Conflict, text).on(format!("release {release}")));
            }
            let (kind, created_at) = (found.spec.kind, found.created_at);
            let erased = |id: &_| state.erased_since(&self.context.erasure_key, kind, id, created_at);
            let kept: Vec<NeighbourList> = lists
                .into_iter()
                .filter(|list| !erased(&list.id))
                .map(|mut list| {
                    list.neighbours.retain(|neighbour| !erased(&neighbour.id));
                    sort(&mut list.neighbours);
                    list
                })
                .collect();
            let lists = kept.into_iter().map(|list| (list.id, list.neighbours));
            find_mut(state, release)?.lists.extend(lists);
            Ok(())
        })
    }

    async fn seal_release(&self, release: &ReleaseId, popular: Vec<Popular>) -> Result<ReleaseInfo> {
        self.write(None, |state| {
            let found = find(state, release)?;
            if !found.sealed {
                let (kind, created_at) = (found.spec.kind, found.created_at);
                let erased = |id: &_| state.erased_since(&self.context.erasure_key, kind, id, created_at);
                let popular = popular.into_iter().filter(|popular| !erased(&popular.id)).collect();
                let found = find_mut(state, release)?;
                found.popular = popular;
                found.sealed = true;
            }
            info(state, release)
        })
    }

    async fn promote_release(&self, release: &ReleaseId) -> Result<ReleaseInfo> {
        self.write(None, |state| {
            let found = find(state, release)?;
            if !found.sealed {
                let text = "the release is still being built, seal it first";
                return Err(Error::new(ErrorKind::Conflict, text).on(format!("release {release}")));
            }
            let current = state.current(found.spec.kind);
            let is_current = current.is_some_and(|(id, _)| id == release);
            let greatest = current.and_then(|(_, current)| current.promotion).unwrap_or(0);
            if !is_current {
                find_mut(state, release)?.promotion = Some(greatest + 1);
            }
            info(state, release)
        })
    }

    async fn rollback_release(&self, kind: EntityKind) -> Result<ReleaseInfo> {
        self.write(None, |state| {
            let promoted = state.releases_of(kind).filter(|(_, release)| release.promotion.is_some()).count();
            let current = state.current(kind).map(|(id, _)| id.clone());
            let (Some(current), 2..) = (current, promoted) else {
                let text = format!("no earlier promoted release of {kind} neighbours");
                return Err(Error::new(ErrorKind::NotFound, text));
            };
            find_mut(state, &current)?.promotion = None;
            let earlier = state.current(kind).map(|(id, release)| state.info(id, release));
            earlier.ok_or_else(|| unknown(&current))
        })
    }

    async fn prune_releases(&self, kind: EntityKind, options: PruneOptions) -> Result<Vec<ReleaseId>> {
        self.write(None, |state| {
            let now = self.now();
            let current = state.current(kind).map(|(id, _)| id.clone());
            let (sealed, building): (Vec<_>, Vec<_>) = state
                .releases_of(kind)
                .filter(|&(id, _)| Some(id) != current.as_ref())
                .partition(|(_, release)| release.sealed);
            let old = sealed.into_iter().skip(options.keep);
            let abandoned = building
                .into_iter()
                .filter(|(_, release)| now.since(release.created_at) > options.abandoned_after);
            let mut removed: Vec<ReleaseId> = old.chain(abandoned).map(|(id, _)| id.clone()).collect();
            removed.sort_by(|left, right| right.cmp(left));
            removed.iter().for_each(|id| drop(state.releases.remove(id)));
            Ok(removed)
        })
    }

    async fn releases(&self, kind: EntityKind) -> Result<Vec<ReleaseInfo>> {
        self.read(None, |state| {
            Ok(state.releases_of(kind).map(|(id, release)| state.info(id, release)).collect())
        })
    }

    async fn get_neighbours(&self, request: NeighbourRequest) -> Result<NeighbourAnswer> {
        self.read(request.deadline, |state| {
            let Some((id, release)) = release_to_read(state, &request)? else {
                let lists = request.ids.iter().map(|_| Lookup::Missing).collect();
                return Ok(NeighbourAnswer { release: None, lists });
            };
            let limit = request.limit.unwrap_or(usize::MAX);
            let shown = |neighbour: &&Neighbour| !state.is_hidden(request.kind, &neighbour.id);
            let lookup = |id| match release.lists.get(id) {
                Some(list) => Lookup::Found(Found {
                    value: list.iter().filter(shown).take(limit).cloned().collect(),
                    as_of: release.created_at,
                    origin: Origin::Stored,
                }),
                None => Lookup::Missing,
            };
            let lists = request.ids.iter().map(lookup).collect();
            Ok(NeighbourAnswer { release: Some(id.clone()), lists })
        })
    }

    async fn get_popular(&self, kind: EntityKind, limit: usize, options: GetOptions) -> Result<Vec<Popular>> {
        self.read(options.deadline, |state| {
            let popular = state.current(kind).into_iter().flat_map(|(_, release)| &release.popular);
            let shown = popular.filter(|popular| !state.is_hidden(kind, &popular.id));
            Ok(shown.take(limit).cloned().collect())
        })
    }

    async fn hide_items(&self, items: Vec<ItemId>) -> Result<()> {
        self.write(None, |state| {
            state.hidden.extend(items);
            Ok(())
        })
    }

    async fn unhide_items(&self, items: Vec<ItemId>) -> Result<()> {
        self.write(None, |state| {
            items.iter().for_each(|item| drop(state.hidden.take(item)));
            Ok(())
        })
    }

    async fn hidden_items(&self) -> Result<Vec<ItemId>> {
        self.read(None, |state| Ok(state.hidden.iter().cloned().collect()))
    }
}

/// The first name after those of the same millisecond, so that newer releases sort after older ones.
fn free_id(state: &State, kind: EntityKind, created_at: Timestamp) -> ReleaseId {
    let newest = state.releases_of(kind).find(|(_, release)| release.created_at == created_at);
    let mut ordinal = 0;
    loop {
        let id = ReleaseId::new(kind, created_at, ordinal);
        if newest.is_none_or(|(newest, _)| id > *newest) {
            return id;
        }
        ordinal += 1;
    }
}

/// The order in which every list is kept: the most similar first, ties by id. Similarities are finite.
fn sort(neighbours: &mut [Neighbour]) {
    neighbours.sort_by(|left, right| {
        right.similarity.total_cmp(&left.similarity).then_with(|| left.id.cmp(&right.id))
    });
}

/// The release that a request names, or the current one; `None` if none was promoted.
fn release_to_read<'a>(
    state: &'a State,
    request: &NeighbourRequest,
) -> Result<Option<(&'a ReleaseId, &'a Release)>> {
    let Some(named) = &request.release else {
        return Ok(state.current(request.kind));
    };
    let readable = state.releases_of(request.kind).find(|(id, release)| *id == named && release.sealed);
    readable.map(Some).ok_or_else(|| unknown(named))
}

fn find<'a>(state: &'a State, id: &ReleaseId) -> Result<&'a Release> {
    state.releases.get(id).ok_or_else(|| unknown(id))
}

fn find_mut<'a>(state: &'a mut State, id: &ReleaseId) -> Result<&'a mut Release> {
    state.releases.get_mut(id).ok_or_else(|| unknown(id))
}

fn info(state: &State, id: &ReleaseId) -> Result<ReleaseInfo> {
    find(state, id).map(|release| state.info(id, release))
}

fn unknown(id: &ReleaseId) -> Error {
    Error::new(ErrorKind::NotFound, "no such release").on(format!("release {id}"))
}
