//! A store around another one that passes every call on, or does one thing wrong on purpose.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use recstore_core::features::ColumnData;
use recstore_core::{
    Capabilities, Entity, EntityKey, EntityKind, EraseOptions, EraseReport, Error, ErrorKind, EventId,
    FeatureBatch, FeatureName, FeatureRequest, FeatureRow, FeatureStore, Fingerprints, GetOptions,
    GroupSchema, Health, HistoryOptions, HistoryPage, ItemId, Lookup, MemoryStorage, Namespace,
    NeighbourAnswer, NeighbourList, NeighbourRequest, Outcome, Popular, PruneOptions, PutOptions, PutReceipt,
    Rating, RatingCounts, RatingRow, RatingStore, RatingValue, RebuildReport, ReleaseId, ReleaseInfo,
    ReleaseSpec, Result, ScanOptions, ShardRange, SimilarityStore, Stats, Storage, StoreContext, UserId,
};

/// What a [`Faulty`] store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test crate that takes this module in names some of them")]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The last event of a batch is not stored, and told as stored.
    DropsAnEvent,
    /// Pairs are answered in order of their ids.
    AnswersInAnotherOrder,
    /// What comes last wins, whatever its time.
    KeepsTheStaleEvent,
    /// Rows give the time of the event that won as their earliest.
    ForgetsTheFirstTime,
    /// Withdrawals are dropped.
    SwallowsWithdrawals,
    /// Conflicts are not reported.
    HidesConflicts,
    /// Events before a bad one are stored.
    StoresHalfOfABadBatch,
    /// A batch is stored in two steps.
    TearsBatches,
    /// Values are rounded to three decimals.
    RoundsValues,
    /// Spaces around ids are cut.
    TrimsIds,
    /// The first row of every page but the first is skipped.
    SkipsARowBetweenPages,
    /// Scans do not look at the shard.
    IgnoresShards,
    /// Hidden items are listed, and shown all the same.
    ShowsHiddenItems,
    /// Erased users come back under another id.
    LetsErasedUsersBack,
    /// Erasures only count.
    ErasesNothing,
    /// All namespaces are one.
    LosesTheNamespace,
    /// Old feature rows are given, whatever the age asked.
    IgnoresMaxAge,
    /// A rollback answers and does nothing.
    RollsBackNothing,
    /// The ids of one request are answered one after the other.
    MixesReleases,
    /// Deadlines are not looked at.
    IgnoresDeadlines,
    /// All fingerprints of ratings are equal.
    HashesNothing,
    /// Closing leaves the store open.
    StaysOpen,
    /// A batch is stored in two steps, between which the caller may leave.
    TearsWhenDropped,
    /// Of equal times the event that comes last wins.
    BreaksTiesByArrival,
    /// An event given twice in a batch fails it.
    RefusesADuplicateInABatch,
    /// What changed nothing is told as applied.
    TellsDuplicatesAsApplied,
    /// A batch is answered first, and stored when the next one comes.
    AcknowledgesEarly,
    /// Users that differ by case are one.
    FoldsCase,
    /// Users are told apart by their first 64 bytes.
    CutsLongIds,
    /// Namespaces that differ by what a key separates with are one.
    MergesNamespaces,
    /// The counts of built-in features are one too high.
    CountsOneTooMany,
}

/// A store around another one, with a fault.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    inner: Arc<dyn Storage>,
    namespace: Namespace,
    fault: Fault,
    /// Items hidden here only, and users erased here.
    marks: Arc<Mutex<BTreeSet<EntityKey>>>,
    /// Events that were answered and not stored.
    waiting: Arc<Mutex<Vec<Rating>>>,
}

/// An empty memory store with this fault.
pub(crate) fn open(fault: Fault, context: StoreContext) -> Arc<dyn Storage> {
    let inner: Arc<dyn Storage> = Arc::new(MemoryStorage::new(Namespace::default(), context));
    Arc::new(Faulty {
        inner,
        namespace: Namespace::default(),
        fault,
        marks: Arc::default(),
        waiting: Arc::default(),
    })
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn mark(&self, id: EntityKey) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn unmark(&self, id: &EntityKey) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn marked(&self) -> BTreeSet<EntityKey> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn user(&self, user: &UserId) -> UserId {
        let text = user.as_str();
        let other = match self.fault {
            Fault::TrimsIds => text.trim().to_owned(),
            Fault::FoldsCase => text.to_lowercase(),
            Fault::CutsLongIds => text[..text.floor_char_boundary(64)].to_owned(),
            _ => return user.clone(),
        };
        UserId::new(other).unwrap_or_else(|_| user.clone())
    }

    fn event(&self, event: Rating) -> Rating {
        let rounded = |value: RatingValue| RatingValue::from_micros(value.micros() / 1_000 * 1_000).ok();
        let value = match event.value() {
            Some(value) if self.has(Fault::RoundsValues) => rounded(value),
            value => value,
        };
        let back = self.has(Fault::LetsErasedUsersBack)
            && self.marked().contains(&EntityKey::from(event.user().clone()));
        let alias = UserId::new(format!("{}'", event.user()));
        let user =
            if back { alias.unwrap_or_else(|_| self.user(event.user())) } else { self.user(event.user()) };
        Rating::from_parts(user, event.item().clone(), value, event.rated_at(), Some(event.event_id()))
    }

    fn row(&self, row: RatingRow) -> RatingRow {
        let first_rated_at =
            if self.has(Fault::ForgetsTheFirstTime) { row.rating.rated_at() } else { row.first_rated_at };
        RatingRow { first_rated_at, ..row }
    }

    fn page(&self, mut page: HistoryPage, later: bool) -> HistoryPage {
        if later && self.has(Fault::SkipsARowBetweenPages) && !page.rows.is_empty() {
            page.rows.remove(0);
        }
        page.rows = page.rows.into_iter().map(|row| self.row(row)).collect();
        page
    }

    fn put_options(&self, options: PutOptions) -> PutOptions {
        if self.has(Fault::IgnoresDeadlines) { PutOptions::default() } else { options }
    }

    /// Puts again what was stale only by its event id, with the greatest one.
    async fn put_ties_again(&self, events: &[Rating], receipt: &PutReceipt) -> Result<()> {
        let stale = |outcome: &&Outcome| **outcome == Outcome::Stale;
        for event in events.iter().zip(&receipt.outcomes).filter(|(_, o)| stale(o)).map(|(event, _)| event) {
            let pair = [(event.user().clone(), event.item().clone())];
            let rows = self.inner.get_ratings(&pair, GetOptions::default()).await?;
            let current = rows.first().and_then(Lookup::found).map(|row| row.rating.rated_at());
            if current == Some(event.rated_at()) {
                let event = event.clone().with_event_id(EventId::from_u128(u128::MAX));
                self.inner.put_ratings(vec![event], PutOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Keeps these events for later, and gives those that were kept before.
    fn put_off(&self, events: Vec<Rating>) -> Vec<Rating> {
        std::mem::replace(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner), events)
    }

    /// Puts again what was stale, as if it were newer.
    async fn put_stale_again(&self, events: &[Rating], receipt: &PutReceipt) -> Result<()> {
        for (event, _) in
            events.iter().zip(&receipt.outcomes).filter(|(_, outcome)| **outcome == Outcome::Stale)
        {
            let pair = [(event.user().clone(), event.item().clone())];
            let rows = self.inner.get_ratings(&pair, GetOptions::default()).await?;
            if let Some(row) = rows.first().and_then(Lookup::found) {
                let time = row.rating.rated_at().saturating_add(Duration::from_millis(1));
                let event = Rating::from_parts(
                    event.user().clone(),
                    event.item().clone(),
                    event.value(),
                    time,
                    Some(event.event_id()),
                );
                self.inner.put_ratings(vec![event], PutOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Puts each part in turn, and makes one receipt of all.
    async fn put_parts(&self, parts: Vec<Vec<Rating>>, options: PutOptions) -> Result<PutReceipt> {
        let mut whole = self.inner.put_ratings(Vec::new(), options).await?;
        for part in parts {
            let receipt = self.inner.put_ratings(part, options).await?;
            whole.outcomes.extend(receipt.outcomes);
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(whole)
    }
}

#[async_trait]
impl RatingStore for Faulty {
    async fn put_ratings(&self, events: Vec<Rating>, options: PutOptions) -> Result<PutReceipt> {
        let options = self.put_options(options);
        let mut events: Vec<Rating> = events.into_iter().map(|event| self.event(event)).collect();
        let given = events.len();
        match self.fault {
            Fault::DropsAnEvent if given > 1 => drop(events.pop()),
            Fault::SwallowsWithdrawals => events.retain(|event| !event.is_withdrawn()),
            Fault::StoresHalfOfABadBatch => {
                return self.put_parts(events.into_iter().map(|event| vec![event]).collect(), options).await;
            }
            Fault::TearsBatches => {
                let rest = events.split_off(given / 2);
                return self.put_parts(vec![events, rest], options).await;
            }
            Fault::TearsWhenDropped => {
                let rest = events.split_off(given / 2);
                let mut receipt = self.inner.put_ratings(events, options).await?;
                tokio::task::yield_now().await;
                let second = self.inner.put_ratings(rest, options).await?;
                receipt.outcomes.extend(second.outcomes);
                return Ok(receipt);
            }
            Fault::RefusesADuplicateInABatch
                if (1..given).any(|index| events[..index].contains(&events[index])) =>
            {
                return Err(Error::new(ErrorKind::Conflict, "a duplicate in one batch"));
            }
            Fault::AcknowledgesEarly => events = self.put_off(events),
            _ => {}
        }
        let mut receipt = self.inner.put_ratings(events.clone(), options).await?;
        if self.has(Fault::KeepsTheStaleEvent) {
            self.put_stale_again(&events, &receipt).await?;
        }
        if self.has(Fault::BreaksTiesByArrival) {
            self.put_ties_again(&events, &receipt).await?;
        }
        if self.has(Fault::TellsDuplicatesAsApplied) {
            let told = receipt.outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Duplicate);
            told.for_each(|outcome| *outcome = Outcome::Applied);
        }
        if self.has(Fault::HidesConflicts) {
            receipt.conflicts.clear();
        }
        receipt.outcomes.resize(given, Outcome::Applied);
        Ok(receipt)
    }

    async fn get_ratings(
        &self,
        pairs: &[(UserId, ItemId)],
        options: GetOptions,
    ) -> Result<Vec<Lookup<RatingRow>>> {
        let mut pairs: Vec<(UserId, ItemId)> =
            pairs.iter().map(|(user, item)| (self.user(user), item.clone())).collect();
        if self.has(Fault::AnswersInAnotherOrder) {
            pairs.sort();
        }
        let mut answers = self.inner.get_ratings(&pairs, options).await?;
        for answer in &mut answers {
            if let Lookup::Found(found) = answer {
                found.value = self.row(found.value.clone());
            }
        }
        Ok(answers)
    }

    async fn user_history(&self, user: &UserId, options: HistoryOptions) -> Result<HistoryPage> {
        let later = options.token.is_some();
        Ok(self.page(self.inner.user_history(&self.user(user), options).await?, later))
    }

    async fn item_history(&self, item: &ItemId, options: HistoryOptions) -> Result<HistoryPage> {
        let later = options.token.is_some();
        Ok(self.page(self.inner.item_history(item, options).await?, later))
    }

    fn scan_ratings(&self, options: ScanOptions) -> BoxStream<'_, Result<Vec<RatingRow>>> {
        let shard = if self.has(Fault::IgnoresShards) { ShardRange::ALL } else { options.shard };
        let rows = self.inner.scan_ratings(options.with_shard(shard));
        rows.map(|batch| Ok(batch?.into_iter().map(|row| self.row(row)).collect())).boxed()
    }

    async fn count_ratings(&self, options: GetOptions) -> Result<RatingCounts> {
        self.inner.count_ratings(options).await
    }
}

#[async_trait]
impl FeatureStore for Faulty {
    async fn register_group(&self, schema: GroupSchema) -> Result<GroupSchema> {
        self.inner.register_group(schema).await
    }

    async fn groups(&self) -> Result<Vec<GroupSchema>> {
        self.inner.groups().await
    }

    async fn put_features(
        &self,
        group: &FeatureName,
        rows: Vec<FeatureRow>,
        options: PutOptions,
    ) -> Result<PutReceipt> {
        self.inner.put_features(group, rows, self.put_options(options)).await
    }

    async fn get_features(&self, mut request: FeatureRequest) -> Result<FeatureBatch> {
        if self.has(Fault::IgnoresMaxAge) {
            request.max_age = None;
        }
        let mut batch = self.inner.get_features(request).await?;
        if self.has(Fault::CountsOneTooMany) {
            let counts = batch.columns.iter_mut().filter(|column| column.name.as_str() == "rating_count");
            for column in counts {
                if let ColumnData::Integer(counts) = &mut column.data {
                    counts.iter_mut().for_each(|count| *count += 1);
                }
            }
        }
        Ok(batch)
    }

    async fn rebuild_features(&self) -> Result<RebuildReport> {
        self.inner.rebuild_features().await
    }
}

#[async_trait]
impl SimilarityStore for Faulty {
    async fn begin_release(&self, spec: ReleaseSpec) -> Result<ReleaseId> {
        self.inner.begin_release(spec).await
    }

    async fn put_neighbours(
        &self,
        release: &ReleaseId,
        lists: Vec<NeighbourList>,
        options: PutOptions,
    ) -> Result<()> {
        self.inner.put_neighbours(release, lists, self.put_options(options)).await
    }

    async fn seal_release(&self, release: &ReleaseId, popular: Vec<Popular>) -> Result<ReleaseInfo> {
        self.inner.seal_release(release, popular).await
    }

    async fn promote_release(&self, release: &ReleaseId) -> Result<ReleaseInfo> {
        self.inner.promote_release(release).await
    }

    async fn rollback_release(&self, kind: EntityKind) -> Result<ReleaseInfo> {
        let before = self.inner.releases(kind).await?;
        let rolled_back = self.inner.rollback_release(kind).await?;
        if self.has(Fault::RollsBackNothing)
            && let Some(current) = before.iter().max_by_key(|info| info.promotion)
        {
            self.inner.promote_release(&current.id).await?;
        }
        Ok(rolled_back)
    }

    async fn prune_releases(&self, kind: EntityKind, options: PruneOptions) -> Result<Vec<ReleaseId>> {
        self.inner.prune_releases(kind, options).await
    }

    async fn releases(&self, kind: EntityKind) -> Result<Vec<ReleaseInfo>> {
        self.inner.releases(kind).await
    }

    async fn get_neighbours(&self, request: NeighbourRequest) -> Result<NeighbourAnswer> {
        if !self.has(Fault::MixesReleases) {
            return self.inner.get_neighbours(request).await;
        }
        let mut whole =
            self.inner.get_neighbours(NeighbourRequest { ids: Vec::new(), ..request.clone() }).await?;
        for id in &request.ids {
            let one = NeighbourRequest { ids: vec![id.clone()], ..request.clone() };
            whole.lists.extend(self.inner.get_neighbours(one).await?.lists);
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(whole)
    }

    async fn get_popular(&self, kind: EntityKind, limit: usize, options: GetOptions) -> Result<Vec<Popular>> {
        self.inner.get_popular(kind, limit, options).await
    }

    async fn hide_items(&self, items: Vec<ItemId>) -> Result<()> {
        if !self.has(Fault::ShowsHiddenItems) {
            return self.inner.hide_items(items).await;
        }
        items.into_iter().for_each(|item| self.mark(item.into()));
        Ok(())
    }

    async fn unhide_items(&self, items: Vec<ItemId>) -> Result<()> {
        items.iter().for_each(|item| self.unmark(&item.clone().into()));
        self.inner.unhide_items(items).await
    }

    async fn hidden_items(&self) -> Result<Vec<ItemId>> {
        if !self.has(Fault::ShowsHiddenItems) {
            return self.inner.hidden_items().await;
        }
        Ok(self.marked().into_iter().map(ItemId::from).collect())
    }
}

#[async_trait]
impl Storage for Faulty {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Arc<dyn Storage> {
        let inner = match self.fault {
            Fault::LosesTheNamespace => Arc::clone(&self.inner),
            Fault::MergesNamespaces => {
                let plain = namespace.as_str().replace(['-', '_'], "");
                self.inner.with_namespace(Namespace::new(plain).unwrap_or_default())
            }
            _ => self.inner.with_namespace(namespace.clone()),
        };
        Arc::new(Faulty {
            inner,
            namespace,
            fault: self.fault,
            marks: Arc::default(),
            waiting: Arc::default(),
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }

    async fn stats(&self, options: GetOptions) -> Result<Stats> {
        self.inner.stats(options).await
    }

    async fn fingerprint(&self, options: GetOptions) -> Result<Fingerprints> {
        let prints = self.inner.fingerprint(options).await?;
        let nothing = Fingerprints { ratings: Fingerprints::default().ratings, ..prints };
        Ok(if self.has(Fault::HashesNothing) { nothing } else { prints })
    }

    async fn erase(&self, entity: &Entity, options: EraseOptions) -> Result<EraseReport> {
        let options = match self.fault {
            Fault::ErasesNothing => EraseOptions { dry_run: true, ..options },
            Fault::IgnoresDeadlines => EraseOptions { deadline: None, ..options },
            _ => options,
        };
        let report = self.inner.erase(entity, options).await?;
        if self.has(Fault::LetsErasedUsersBack) && !options.dry_run && entity.kind == EntityKind::User {
            self.mark(entity.key.clone());
        }
        Ok(report)
    }

    async fn refresh(&self) -> Result<()> {
        self.inner.refresh().await
    }

    async fn close(&self) -> Result<()> {
        if self.has(Fault::StaysOpen) {
            // Only whether it was closed before is looked at.
            return match self.inner.health().await {
                Err(error) if error.kind() == ErrorKind::Closed => Err(error),
                _ => Ok(()),
            };
        }
        self.inner.close().await
    }
}
