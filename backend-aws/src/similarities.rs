//! The similarity store: releases of neighbour lists.
//!
//! What is committed stands in the head of the namespace, and lists lie in the lake's gold. Readers are served from
//! the tables: the lists of a release stand there before it is committed as sealed, under a name that only this
//! content has, and a record that follows the head tells which releases, hidden items and tombstones hold. A change
//! is acknowledged when readers have been told.
//!
//! A rollback is of what readers get: two at once take back one release, and one that is repeated after its outcome
//! was not known takes back no second one. Only after a crash of the caller's process it is for him to look first.

pub(crate) mod publish;
mod purge;
pub(crate) mod readers;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use recstore_core::{
    Deadline, EntityKey, EntityKind, Error, ErrorKind, Found, GetOptions, ItemId, Lookup, Neighbour,
    NeighbourAnswer, NeighbourList, NeighbourRequest, Origin, Popular, PruneOptions, PutOptions, ReleaseId,
    ReleaseInfo, ReleaseSpec, Result, SimilarityStore,
};

use crate::AwsStorage;
use crate::lake::documents::DocumentRef;
use crate::lake::gold::catalogue::{Catalogue, Content, Publication, Release, Sealed};
use crate::lake::gold::contents::{Lists, ReleaseObjects, count, encode_all, merge};
use crate::lake::gold::erased::{Erased, newest_erasure};
use crate::lake::gold::lists::{Counts, sort};
use crate::lake::head::{Snapshot, State};
use crate::lake::store::instant;
use publish::with_releases;
use readers::View;

/// How often work is done anew because others changed meanwhile what it was made from.
const MAX_ROUNDS: usize = 16;

#[async_trait]
impl SimilarityStore for AwsStorage {
    async fn begin_release(&self, spec: ReleaseSpec) -> Result<ReleaseId> {
        self.admit(None)?;
        spec.options.validate()?;
        let created_at = self.shared.context.clock.now();
        let begin = async |before: Snapshot| {
            let mut releases = Catalogue::clone(&before.state.releases);
            let id = releases.free_id(spec.kind, created_at);
            let begun = before.head.revision + 1;
            let content = Content::Building { parts: Vec::new() };
            let release = Release { spec, created_at, begun, promotion: None, content };
            releases.releases.insert(id.clone(), release);
            Ok((Some(with_releases(&before.state, releases)), id))
        };
        Ok(self.space.heads.change(None, begin).await?.1)
    }

    async fn put_neighbours(
        &self,
        release: &ReleaseId,
        lists: Vec<NeighbourList>,
        options: PutOptions,
    ) -> Result<()> {
        self.admit(options.deadline)?;
        for (index, list) in lists.iter().enumerate() {
            list.validate().map_err(|error| error.in_field(format_args!("lists[{index}]")))?;
        }
        let deadline = instant(options.deadline);
        let mut before = self.space.heads.read(deadline).await?;
        for _ in 0..MAX_ROUNDS {
            let (begun, _) = building(find(&before.state, release)?, release)?;
            let kept = self.kept(&before.state, find(&before.state, release)?, &lists);
            if kept.is_empty() {
                return Ok(());
            }
            let objects = self.objects_of(release, find(&before.state, release)?);
            let part = objects.store_part(kept).await?;
            let tombstones = &before.state.tombstones;
            let add = async |now: Snapshot| {
                let (same, parts) = building(find(&now.state, release)?, release)?;
                if same != begun || now.state.tombstones != *tombstones {
                    return Ok((None, false));
                }
                // The same call again, after its outcome was not known.
                if parts.last() == Some(&part) {
                    return Ok((None, true));
                }
                let parts = parts.iter().chain([&part]).cloned().collect();
                let releases = replaced(&now.state, release, Content::Building { parts })?;
                Ok((Some(with_releases(&now.state, releases)), true))
            };
            let (now, added) = self.space.heads.change(deadline, add).await?;
            if added {
                return Ok(());
            }
            before = now;
        }
        Err(outrun(release))
    }

    async fn seal_release(&self, release: &ReleaseId, popular: Vec<Popular>) -> Result<ReleaseInfo> {
        self.admit(None)?;
        let mut before = self.space.heads.read(None).await?;
        for _ in 0..MAX_ROUNDS {
            let found = find(&before.state, release)?;
            let Content::Building { parts } = &found.content else {
                self.tell_readers(&before).await?;
                return self.info(&before.state, release, found).await;
            };
            let erased = self.erased_since(&before.state, found);
            let sealed = self.sealed(release, found, parts, &erased, &popular).await?;
            let seal = async |now: Snapshot| {
                // Also what it was sealed with meanwhile, if it was: the next round looks.
                let same_parts = find(&now.state, release)? == found;
                if !same_parts || now.state.tombstones != before.state.tombstones {
                    return Ok((None, ()));
                }
                let releases = replaced(&now.state, release, Content::Sealed(sealed.clone()))?;
                Ok((Some(with_releases(&now.state, releases)), ()))
            };
            before = self.space.heads.change(None, seal).await?.0;
        }
        Err(outrun(release))
    }

    async fn promote_release(&self, release: &ReleaseId) -> Result<ReleaseInfo> {
        self.admit(None)?;
        let promote = async |before: Snapshot| {
            let found = find(&before.state, release)?;
            if found.sealed().is_none() {
                let text = "the release is still being built, seal it first";
                return Err(Error::new(ErrorKind::Conflict, text).on(format!("release {release}")));
            }
            let current = before.state.releases.current(found.spec.kind);
            if current.is_some_and(|(id, _)| id == release) {
                return Ok((None, ()));
            }
            let greatest = current.and_then(|(_, current)| current.promotion).unwrap_or(0);
            let releases = promoted(&before.state, release, Some(greatest + 1))?;
            Ok((Some(with_releases(&before.state, releases)), ()))
        };
        let (committed, ()) = self.space.heads.change(None, promote).await?;
        self.tell_readers(&committed).await?;
        self.info(&committed.state, release, find(&committed.state, release)?).await
    }

    async fn rollback_release(&self, kind: EntityKind) -> Result<ReleaseInfo> {
        self.admit(None)?;
        let unresolved = self.space.rollbacks.take(kind);
        let tried = Mutex::new(unresolved);
        let done = self.roll_back(kind, &tried).await;
        // Whoever is told that the outcome is unknown calls again, and must not take back one release more.
        if let Err(error) = &done
            && error.kind() == ErrorKind::OutcomeUnknown
        {
            self.space.rollbacks.keep(kind, lock(&tried).take());
        }
        done
    }

    async fn prune_releases(&self, kind: EntityKind, options: PruneOptions) -> Result<Vec<ReleaseId>> {
        self.admit(None)?;
        let now = self.shared.context.clock.now();
        let prune = async |before: Snapshot| {
            let mut releases = Catalogue::clone(&before.state.releases);
            let current = releases.current(kind).map(|(id, _)| id.clone());
            let (sealed, building): (Vec<_>, Vec<_>) = releases
                .of(kind)
                .filter(|&(id, _)| Some(id) != current.as_ref())
                .partition(|(_, release)| release.sealed().is_some());
            let old = sealed.into_iter().skip(options.keep);
            let abandoned = building
                .into_iter()
                .filter(|(_, release)| now.since(release.created_at) > options.abandoned_after);
            let mut removed: Vec<ReleaseId> = old.chain(abandoned).map(|(id, _)| id.clone()).collect();
            removed.sort_by(|left, right| right.cmp(left));
            for id in &removed {
                let release = releases.releases.remove(id);
                releases.retired.extend(release.and_then(|release| release.published(id)));
            }
            let next = (!removed.is_empty()).then(|| with_releases(&before.state, releases));
            Ok((next, removed))
        };
        let (committed, removed) = self.space.heads.change(None, prune).await?;
        self.tell_readers(&committed).await?;
        self.try_to_clear_retired(&committed).await;
        Ok(removed)
    }

    /// Of a release that is being built, its parts are read to tell how much it holds.
    async fn releases(&self, kind: EntityKind) -> Result<Vec<ReleaseInfo>> {
        self.admit(None)?;
        let state = self.space.heads.read(None).await?.state;
        let mut infos = Vec::new();
        for (id, release) in state.releases.of(kind) {
            infos.push(self.info(&state, id, release).await?);
        }
        Ok(infos)
    }

    async fn get_neighbours(&self, request: NeighbourRequest) -> Result<NeighbourAnswer> {
        self.admit(request.deadline)?;
        let mut view = self.view(request.deadline).await?;
        for _ in 0..MAX_ROUNDS {
            let Some((id, release, publication)) = release_to_read(&view, &request)? else {
                let lists = request.ids.iter().map(|_| Lookup::Missing).collect();
                return Ok(NeighbourAnswer { release: None, lists });
            };
            let lists = self.lookups(&view, &request, release, &publication).await?;
            let told = |lookup: &Lookup<_>| matches!(lookup, Lookup::Found(_));
            // Lists are taken away once readers were told of others: what is not there is looked at twice.
            if !lists.iter().all(told) {
                let now = self.view(request.deadline).await?;
                let same =
                    matches!(release_to_read(&now, &request)?, Some((_, _, now)) if now == publication);
                if !same {
                    view = now;
                    continue;
                }
            }
            return Ok(NeighbourAnswer { release: Some(id.clone()), lists });
        }
        let text = "releases were replaced each time, retry later";
        Err(Error::new(ErrorKind::Busy, text).on(format!("releases of {} neighbours", request.kind)))
    }

    async fn get_popular(&self, kind: EntityKind, limit: usize, options: GetOptions) -> Result<Vec<Popular>> {
        self.admit(options.deadline)?;
        let view = self.view(options.deadline).await?;
        let current = view.releases.current(kind);
        let Some((release, sealed)) = current.and_then(|(_, release)| Some((release, release.sealed()?)))
        else {
            return Ok(Vec::new());
        };
        let erased = self.erased_of_view(&view, release);
        let popular = self.popular_of(kind, &sealed.popular, options.deadline).await?;
        let shown = |popular: &&Popular| !view.is_hidden(kind, &popular.id) && !erased.contains(&popular.id);
        Ok(popular.iter().filter(shown).take(limit).cloned().collect())
    }

    async fn hide_items(&self, items: Vec<ItemId>) -> Result<()> {
        self.set_hidden(items, true).await
    }

    async fn unhide_items(&self, items: Vec<ItemId>) -> Result<()> {
        self.set_hidden(items, false).await
    }

    async fn hidden_items(&self) -> Result<Vec<ItemId>> {
        self.admit(None)?;
        Ok(self.space.heads.read(None).await?.state.hidden.iter().cloned().collect())
    }
}

impl AwsStorage {
    /// Those who must not be in a release as far as is committed.
    fn erased_since(&self, state: &State, release: &Release) -> Erased {
        let (key, tombstones) = (&self.shared.context.erasure_key, &state.tombstones);
        Erased::since(release.created_at, release.spec.kind, key, tombstones, newest_erasure(tombstones))
    }

    fn objects_of(&self, id: &ReleaseId, release: &Release) -> ReleaseObjects {
        ReleaseObjects::new(&self.shared.lake, &self.space.namespace, release.spec.kind, id)
    }

    /// The lists to keep, sorted; the last of an id is the one that counts.
    fn kept(&self, state: &State, release: &Release, lists: &[NeighbourList]) -> Lists {
        let erased = self.erased_since(state, release);
        let kept = lists.iter().cloned().filter_map(|list| erased.filter(list));
        let sorted = kept.map(|NeighbourList { id, mut neighbours }| {
            sort(&mut neighbours);
            (id, neighbours)
        });
        sorted.collect()
    }

    /// The first revision of a release, stored and published.
    async fn sealed(
        &self,
        id: &ReleaseId,
        release: &Release,
        parts: &[DocumentRef],
        erased: &Erased,
        popular: &[Popular],
    ) -> Result<Sealed> {
        let lists = merge(&self.shared.lake, parts, erased, None).await?;
        let (file, counts) = encode_all(lists).await?;
        let popular = erased.filter_popular(popular.to_vec());
        self.store_sealed(id, release, 0, file, counts, &popular).await
    }

    /// What is told of a release.
    async fn info(&self, state: &State, id: &ReleaseId, release: &Release) -> Result<ReleaseInfo> {
        let counts = match &release.content {
            Content::Sealed(sealed) => sealed.counts(),
            Content::Building { parts } if parts.is_empty() => Counts::default(),
            Content::Building { parts } => {
                count(&merge(&self.shared.lake, parts, &self.erased_since(state, release), None).await?)
            }
        };
        Ok(state.releases.info(id, release, counts))
    }

    /// Rolls back what readers get, unless what was `tried` before turns out to be done.
    async fn roll_back(&self, kind: EntityKind, tried: &Mutex<Option<Rollback>>) -> Result<ReleaseInfo> {
        for _ in 0..MAX_ROUNDS {
            let view = self.view(None).await?;
            let shown = view.releases.current(kind).map(Promotion::of);
            let change = async |before: Snapshot| {
                let releases = &before.state.releases;
                if lock(tried).as_ref().is_some_and(|tried| tried.is_done(kind, releases)) {
                    return Ok((None, true));
                }
                match step_back(releases, kind, shown.as_ref())? {
                    StepBack::Take(rollback) => {
                        let next = promoted(&before.state, &rollback.from.id, None)?;
                        *lock(tried) = Some(rollback);
                        Ok((Some(with_releases(&before.state, next)), true))
                    }
                    StepBack::Taken(rollback) => {
                        *lock(tried) = Some(rollback);
                        Ok((None, true))
                    }
                    StepBack::TellFirst => Ok((None, false)),
                }
            };
            let (committed, done) = self.space.heads.change(None, change).await?;
            self.tell_readers(&committed).await?;
            if done {
                let (id, release) = committed.state.releases.current(kind).ok_or_else(|| no_earlier(kind))?;
                return self.info(&committed.state, id, release).await;
            }
        }
        let text = "others promoted and rolled back each time, retry later";
        Err(Error::new(ErrorKind::Busy, text).on(format!("releases of {kind} neighbours")))
    }

    async fn set_hidden(&self, items: Vec<ItemId>, hide: bool) -> Result<()> {
        self.admit(None)?;
        let change = async |before: Snapshot| {
            let mut hidden = (*before.state.hidden).clone();
            let mut changed = false;
            for item in &items {
                changed |= if hide { hidden.insert(item.clone()) } else { hidden.remove(item) };
            }
            Ok((changed.then(|| State { hidden: hidden.into(), ..before.state.clone() }), ()))
        };
        let (committed, ()) = self.space.heads.change(None, change).await?;
        self.tell_readers(&committed).await
    }

    /// The answers for the ids of a request, from one release.
    async fn lookups(
        &self,
        view: &View,
        request: &NeighbourRequest,
        release: &Release,
        publication: &Publication,
    ) -> Result<Vec<Lookup<Vec<Neighbour>>>> {
        let Publication { kind, name, .. } = publication;
        let (erased, limit) = (self.erased_of_view(view, release), request.limit.unwrap_or(usize::MAX));
        let stored = self.lists(*kind, name, &request.ids, request.deadline).await?;
        let shown =
            |neighbour: &&Neighbour| !view.is_hidden(*kind, &neighbour.id) && !erased.contains(&neighbour.id);
        let lookup = |id: &EntityKey| match stored.get(id) {
            _ if erased.contains(id) => Lookup::Missing,
            Some(Ok(Some(list))) => Lookup::Found(Found {
                value: list.iter().filter(shown).take(limit).cloned().collect(),
                as_of: release.created_at,
                origin: Origin::Stored,
            }),
            Some(Ok(None)) => Lookup::Missing,
            Some(Err(error)) => Lookup::Failed(again(error)),
            None => Lookup::Failed(Error::new(ErrorKind::Internal, "there is no answer for an id")),
        };
        Ok(request.ids.iter().map(lookup).collect())
    }

    async fn lists(
        &self,
        kind: EntityKind,
        name: &ReleaseId,
        ids: &[EntityKey],
        deadline: Option<Deadline>,
    ) -> Result<std::collections::HashMap<EntityKey, Result<Option<Vec<Neighbour>>>>> {
        let (online, namespace) = (&self.shared.online, &self.space.namespace);
        online.get_lists(namespace, kind, name, ids, deadline).await
    }
}

/// The same error once more, for an id that was asked twice.
fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message());
    match error.object() {
        Some(object) => copy.on(object),
        None => copy,
    }
}

/// One promotion of one release: names can come again after pruning, numbers after a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Promotion {
    id: ReleaseId,
    begun: u64,
    number: Option<u64>,
}

impl Promotion {
    fn of((id, release): (&ReleaseId, &Release)) -> Promotion {
        Promotion { id: id.clone(), begun: release.begun, number: release.promotion }
    }

    /// Whether the release is there and promoted.
    fn stands(&self, releases: &Catalogue) -> bool {
        let found = releases.releases.get(&self.id).filter(|release| release.begun == self.begun);
        found.is_some_and(|release| release.promotion.is_some())
    }
}

/// A rollback that was tried.
#[derive(Debug, Clone)]
struct Rollback {
    from: Promotion,
    to: Promotion,
}

impl Rollback {
    /// Whether it is what was done last.
    fn is_done(&self, kind: EntityKind, releases: &Catalogue) -> bool {
        !self.from.stands(releases) && releases.current(kind).map(Promotion::of).as_ref() == Some(&self.to)
    }
}

/// Rollbacks of one namespace whose callers were told that the outcome is unknown.
#[derive(Debug, Default)]
pub(crate) struct Rollbacks(Mutex<[Option<Rollback>; 2]>);

impl Rollbacks {
    fn take(&self, kind: EntityKind) -> Option<Rollback> {
        lock(&self.0)[usize::from(kind == EntityKind::Item)].take()
    }

    fn keep(&self, kind: EntityKind, rollback: Option<Rollback>) {
        lock(&self.0)[usize::from(kind == EntityKind::Item)] = rollback;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a rollback has to do.
enum StepBack {
    /// Take back what is current.
    Take(Rollback),
    /// Nothing: what readers get was taken back already, by an earlier try or by another at the same time.
    Taken(Rollback),
    /// Readers have to be told of a promotion first.
    TellFirst,
}

/// What a rollback has to do where readers get `shown`.
fn step_back(releases: &Catalogue, kind: EntityKind, shown: Option<&Promotion>) -> Result<StepBack> {
    let current = releases.current(kind).map(Promotion::of).ok_or_else(|| no_earlier(kind))?;
    match shown {
        Some(shown) if *shown == current => {
            let others = releases.of(kind).filter(|&(id, _)| *id != current.id);
            let earlier = others.filter(|(_, release)| release.promotion.is_some());
            let to = earlier.max_by_key(|(_, release)| release.promotion).map(Promotion::of);
            Ok(StepBack::Take(Rollback { from: current, to: to.ok_or_else(|| no_earlier(kind))? }))
        }
        Some(shown) if !shown.stands(releases) => {
            Ok(StepBack::Taken(Rollback { from: shown.clone(), to: current }))
        }
        _ => Ok(StepBack::TellFirst),
    }
}

/// The release that a request names, or the current one, and what is published of it; `None` if none was promoted.
fn release_to_read<'a>(
    view: &'a View,
    request: &NeighbourRequest,
) -> Result<Option<(&'a ReleaseId, &'a Release, Publication)>> {
    let published = |(id, release): (&'a ReleaseId, &'a Release)| Some((id, release, release.published(id)?));
    let Some(named) = &request.release else {
        return Ok(view.releases.current(request.kind).and_then(published));
    };
    let found = view.releases.of(request.kind).find(|(id, _)| *id == named).and_then(published);
    found.map(Some).ok_or_else(|| unknown(named))
}

fn find<'a>(state: &'a State, id: &ReleaseId) -> Result<&'a Release> {
    state.releases.releases.get(id).ok_or_else(|| unknown(id))
}

/// When a release was begun and the parts of it, if it takes lists.
fn building<'a>(release: &'a Release, id: &ReleaseId) -> Result<(u64, &'a [DocumentRef])> {
    match &release.content {
        Content::Building { parts } => Ok((release.begun, parts)),
        Content::Sealed(_) => {
            let text = "the release is sealed and takes no lists, begin another";
            Err(Error::new(ErrorKind::Conflict, text).on(format!("release {id}")))
        }
    }
}

/// The releases, one of them with other content.
fn replaced(state: &State, id: &ReleaseId, content: Content) -> Result<Catalogue> {
    let release = Release { content, ..find(state, id)?.clone() };
    let mut releases = Catalogue::clone(&state.releases);
    releases.releases.insert(id.clone(), release);
    Ok(releases)
}

/// The releases, one of them with another promotion.
fn promoted(state: &State, id: &ReleaseId, promotion: Option<u64>) -> Result<Catalogue> {
    let release = Release { promotion, ..find(state, id)?.clone() };
    let mut releases = Catalogue::clone(&state.releases);
    releases.releases.insert(id.clone(), release);
    Ok(releases)
}

fn unknown(id: &ReleaseId) -> Error {
    Error::new(ErrorKind::NotFound, "no such release").on(format!("release {id}"))
}

fn no_earlier(kind: EntityKind) -> Error {
    Error::new(ErrorKind::NotFound, format!("no earlier promoted release of {kind} neighbours"))
}

fn outrun(release: &ReleaseId) -> Error {
    let text = "others changed the release or erased each time, retry later";
    Error::new(ErrorKind::Busy, text).on(format!("release {release}"))
}
