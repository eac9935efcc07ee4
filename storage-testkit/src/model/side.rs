//! One of the two stores that are compared: what it answers, as text that is the same on both.
//!
//! Release names are a store's own business as long as they sort by age, so texts show them by the order in
//! which they were begun.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use recstore_core::{
    Entity, EntityKey, EntityKind, EraseOptions, ErrorKind, FeatureBatch, FeatureName, FeatureRequest,
    GetOptions, GroupSchema, HistoryOptions, HistoryPage, ItemId, Lookup, Namespace, NeighbourList,
    NeighbourRequest, Origin, Popular, PruneOptions, PutOptions, PutReceipt, RatingRow, ReleaseId,
    ReleaseInfo, ReleaseSpec, Result, RowStatus, ScanOptions, ShardRange, SimilarityOptions, Storage,
    TimeRange, Timestamp, UserId,
};

use crate::strategies::{GROUPS, ITEMS, Operation, Step, USERS, schema};

/// What was read: the name of each read, and the answer.
pub(super) type Reads = Vec<(String, String)>;

/// The parts that everything is read in: ratings, histories, features, similarities.
pub(super) const PARTS: usize = 4;

/// A namespace of a store, and the releases begun in it.
pub(super) struct Side {
    storage: Arc<dyn Storage>,
    releases: Vec<(ReleaseId, EntityKind)>,
    /// Whether answers are compared with how fresh they are: both stores show writes at once.
    fresh: bool,
}

impl Side {
    pub(super) fn new(storage: &dyn Storage, namespace: Namespace, fresh: bool) -> Side {
        Side { storage: storage.with_namespace(namespace), releases: Vec::new(), fresh }
    }

    /// Whether the answer to an operation is decided later on this backend.
    pub(super) fn defers(&self, operation: &Operation) -> bool {
        let ordered = matches!(operation, Operation::Put(_) | Operation::PutFeatures { .. });
        ordered && !self.storage.capabilities().ordered_at_put
    }

    /// Does one step, and tells what it came to.
    pub(super) async fn perform(&mut self, step: &Step) -> String {
        let answer = self.answer(&step.operation).await;
        if !self.storage.capabilities().fresh_reads
            && let Err(error) = self.storage.refresh().await
        {
            return format!("refresh failed: {error}");
        }
        answer
    }

    async fn answer(&mut self, operation: &Operation) -> String {
        let storage = &self.storage;
        let options = PutOptions::default();
        match operation.clone() {
            Operation::Put(events) => text(storage.put_ratings(events, options).await.map(receipt)),
            Operation::Register { group, columns, retyped } => match schema(group, columns, retyped) {
                Some(schema) => text(storage.register_group(schema).await),
                None => String::new(),
            },
            Operation::PutFeatures { group, rows } => match FeatureName::new(group) {
                Ok(group) => text(storage.put_features(&group, rows, options).await.map(receipt)),
                Err(error) => error.to_string(),
            },
            Operation::Release { kind, lists, popular } => {
                text(self.release_whole(kind, lists, popular).await)
            }
            Operation::Begin(kind) => text(self.begin(kind).await.map(drop)),
            Operation::PutLists { release, lists } => {
                text(storage.put_neighbours(&self.release(release), lists, options).await)
            }
            Operation::Seal { release, popular } => {
                let sealed = storage.seal_release(&self.release(release), popular).await;
                text(sealed.map(|info| self.info(&info)))
            }
            Operation::Promote(release) => {
                let promoted = storage.promote_release(&self.release(release)).await;
                text(promoted.map(|info| self.info(&info)))
            }
            Operation::Rollback(kind) => {
                text(storage.rollback_release(kind).await.map(|info| self.info(&info)))
            }
            Operation::Prune { kind, keep } => {
                let options = PruneOptions { keep, ..PruneOptions::default() };
                let removed = storage.prune_releases(kind, options).await;
                text(removed.map(|ids| ids.iter().map(|id| self.number(id)).collect::<Vec<_>>()))
            }
            Operation::Hide(items) => text(storage.hide_items(items).await),
            Operation::Unhide(items) => text(storage.unhide_items(items).await),
            Operation::Erase { kind, id, dry_run } => {
                let options = EraseOptions { dry_run, ..EraseOptions::default() };
                text(storage.erase(&Entity::new(kind, id), options).await)
            }
            // How many were computed is told by both; that none was wrong is what matters.
            Operation::Rebuild => text(storage.rebuild_features().await),
            Operation::MoveClock(_) => String::new(),
        }
    }

    async fn begin(&mut self, kind: EntityKind) -> Result<ReleaseId> {
        let spec = ReleaseSpec { kind, options: SimilarityOptions::default() };
        let release = self.storage.begin_release(spec).await?;
        self.releases.push((release.clone(), kind));
        Ok(release)
    }

    async fn release_whole(
        &mut self,
        kind: EntityKind,
        lists: Vec<NeighbourList>,
        popular: Vec<Popular>,
    ) -> Result<String> {
        let release = self.begin(kind).await?;
        self.storage.put_neighbours(&release, lists, PutOptions::default()).await?;
        self.storage.seal_release(&release, popular).await?;
        Ok(self.info(&self.storage.promote_release(&release).await?))
    }

    /// The release that a script means by a number.
    fn release(&self, number: usize) -> ReleaseId {
        let place = number.checked_rem(self.releases.len());
        place.map_or_else(|| ReleaseId::from_text("none"), |place| self.releases[place].0.clone())
    }

    /// The number of a release in order of beginning.
    fn number(&self, id: &ReleaseId) -> Option<usize> {
        self.releases.iter().position(|(release, _)| release == id)
    }

    fn info(&self, info: &ReleaseInfo) -> String {
        let number = self.number(&info.id);
        let ReleaseInfo { spec, state, created_at, promotion, lists, neighbours, .. } = info;
        format!("{number:?} {spec:?} {state:?} {created_at} {promotion:?} {lists} {neighbours}")
    }

    /// Everything that can be read, each with its name.
    pub(super) async fn read_all(&self) -> Reads {
        let mut reads = self.read_summary().await;
        for part in 0..PARTS {
            self.read_part(part, &mut reads).await;
        }
        reads
    }

    /// The summary, which a difference in what is current shows in, and one of the [`PARTS`] of what can be
    /// read, each with its name.
    pub(super) async fn read_some(&self, part: usize) -> Reads {
        let mut reads = self.read_summary().await;
        self.read_part(part, &mut reads).await;
        reads
    }

    async fn read_part(&self, part: usize, reads: &mut Reads) {
        match part % PARTS {
            0 => self.read_ratings(reads).await,
            1 => self.read_histories(reads).await,
            2 => self.read_features(reads).await,
            _ => self.read_similarities(reads).await,
        }
    }

    async fn read_summary(&self) -> Reads {
        let fingerprint = self.storage.fingerprint(GetOptions::default()).await;
        vec![("fingerprints".to_owned(), text(fingerprint))]
    }

    async fn rows(&self, options: ScanOptions) -> Result<Vec<RatingRow>> {
        Ok(self.storage.scan_ratings(options).try_collect::<Vec<_>>().await?.concat())
    }

    async fn read_ratings(&self, reads: &mut Reads) {
        let all = ScanOptions::default().with_withdrawn(true);
        reads.push(("all rows".to_owned(), text(self.rows(all.with_batch_rows(7)).await)));
        for shard in ShardRange::split(3).unwrap_or_default() {
            let rows = self.rows(ScanOptions::default().with_shard(shard).with_time(window())).await;
            reads.push((format!("rows of {shard:?} in a time window"), text(rows)));
        }
        let ids = USERS.iter().flat_map(|user| ITEMS.iter().map(move |item| (user, item)));
        let pairs: Vec<(UserId, ItemId)> =
            ids.filter_map(|(user, item)| Some((UserId::new(user).ok()?, ItemId::new(item).ok()?))).collect();
        let options = GetOptions::default();
        let by_pair = self.storage.get_ratings(&pairs, options).await;
        reads.push((
            "rows by pair".to_owned(),
            if self.fresh { text(by_pair) } else { text(by_pair.map(without_age)) },
        ));
        reads.push(("counts".to_owned(), text(self.storage.count_ratings(options).await)));
        let stats = self.storage.stats(options).await.map(|stats| {
            let figures = (stats.ratings, stats.users, stats.items, stats.feature_rows);
            (figures, stats.releases, stats.hidden_items, stats.tombstones)
        });
        reads.push(("stats".to_owned(), text(stats)));
    }

    async fn read_histories(&self, reads: &mut Reads) {
        let base = HistoryOptions::default().with_limit(2);
        let variants = [base.clone().with_withdrawn(true), base.with_time(window())];
        for options in variants {
            for user in USERS.iter().filter_map(|user| UserId::new(user).ok()) {
                let pages = pages(&options, |options| self.storage.user_history(&user, options)).await;
                reads.push((format!("history of user {user:?}"), text(pages)));
            }
            for item in ITEMS.iter().filter_map(|item| ItemId::new(item).ok()) {
                let pages = pages(&options, |options| self.storage.item_history(&item, options)).await;
                reads.push((format!("history of item {item:?}"), text(pages)));
            }
        }
    }

    async fn read_features(&self, reads: &mut Reads) {
        reads.push(("groups".to_owned(), text(self.storage.groups().await)));
        let rows = self.rows(ScanOptions::default().with_withdrawn(true)).await.unwrap_or_default();
        let mut ids: BTreeSet<EntityKey> =
            USERS.iter().chain(&ITEMS).filter_map(|id| EntityKey::new(id).ok()).collect();
        ids.extend(rows.iter().map(|row| EntityKey::from(row.rating.user().clone())));
        ids.extend(rows.iter().map(|row| EntityKey::from(row.rating.item().clone())));
        let ids: Vec<EntityKey> = ids.into_iter().collect();
        let built_in = [FeatureName::USER_RATINGS, FeatureName::ITEM_RATINGS];
        let custom = GROUPS.iter().filter_map(|group| FeatureName::new(group).ok());
        for group in built_in.into_iter().chain(custom) {
            let request = FeatureRequest::new(group.clone(), ids.clone());
            if !self.fresh && GroupSchema::is_built_in(&group) {
                let batch = self.storage.get_features(request).await.map(of_no_age);
                reads.push((format!("features of {group}"), text(batch)));
                continue;
            }
            let young = request.clone().with_max_age(Duration::from_secs(3_600));
            reads.push((format!("features of {group}"), text(self.storage.get_features(request).await)));
            reads.push((format!("young features of {group}"), text(self.storage.get_features(young).await)));
        }
    }

    async fn read_similarities(&self, reads: &mut Reads) {
        let texts = ["whose", "1", "i", "%", "u", "é", "new"];
        let ids: Vec<EntityKey> = texts.iter().filter_map(|id| EntityKey::new(id).ok()).collect();
        for kind in [EntityKind::User, EntityKind::Item] {
            let releases = self.storage.releases(kind).await;
            let infos = releases.map(|infos| infos.iter().map(|info| self.info(info)).collect::<Vec<_>>());
            reads.push((format!("releases of {kind}s"), text(infos)));
            let current = NeighbourRequest::new(kind, ids.clone()).with_limit(2);
            reads.push((format!("neighbours of {kind}s"), self.neighbours(current).await));
            for (number, (release, of)) in self.releases.iter().enumerate() {
                // One of the other kind is refused; the last one stands for all.
                if *of != kind && number + 1 != self.releases.len() {
                    continue;
                }
                let request = NeighbourRequest::new(kind, ids.clone()).with_release(release.clone());
                reads.push((
                    format!("neighbours of {kind}s in release {number}"),
                    self.neighbours(request).await,
                ));
            }
            let popular = self.storage.get_popular(kind, 3, GetOptions::default()).await;
            reads.push((format!("popular {kind}s"), text(popular)));
        }
        reads.push(("hidden items".to_owned(), text(self.storage.hidden_items().await)));
    }

    async fn neighbours(&self, request: NeighbourRequest) -> String {
        let answer = self.storage.get_neighbours(request).await;
        text(answer.map(|answer| (answer.release.map(|id| self.number(&id)), answer.lists)))
    }
}

/// Answers without how fresh they are.
fn without_age(rows: Vec<Lookup<RatingRow>>) -> Vec<Result<Option<RatingRow>>> {
    rows.into_iter().map(Lookup::into_result).collect()
}

/// A batch whose rows are all equally fresh.
fn of_no_age(mut batch: FeatureBatch) -> FeatureBatch {
    for status in &mut batch.status {
        if let RowStatus::Found { as_of, origin } = status {
            (*as_of, *origin) = (Timestamp::MIN, Origin::Live);
        }
    }
    batch
}

/// A part of the event times of scripts.
fn window() -> TimeRange {
    let start = Timestamp::from_millis(1_704_067_200_000 - 1_000 * 3_600_000 + 1).ok();
    let end = start.map(|start| start.saturating_add(Duration::from_millis(3)));
    TimeRange { from: start, to: end }
}

/// Every page of a history; each is twice as long as the one before.
async fn pages<'a>(
    options: &HistoryOptions,
    read: impl Fn(HistoryOptions) -> futures::future::BoxFuture<'a, Result<HistoryPage>>,
) -> Result<Vec<Vec<RatingRow>>> {
    let mut pages = Vec::new();
    let mut options = options.clone();
    loop {
        let page = read(options.clone()).await?;
        pages.push(page.rows);
        if page.next.is_none() {
            return Ok(pages);
        }
        options = HistoryOptions { limit: options.limit * 2, ..options }.with_token(page.next);
    }
}

/// What became of each event, without how the batch is kept.
fn receipt(receipt: PutReceipt) -> String {
    format!("{:?} {:?}", receipt.outcomes, receipt.conflicts)
}

/// An answer as text. An error that leaves the caller to correct its input is only refused: which of two
/// mistakes is told first is not contract, and the behaviours hold each mistake by itself.
fn text<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict => "refused".to_owned(),
            kind => format!("error {kind}: {error}"),
        },
    }
}
