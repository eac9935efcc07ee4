//! Recommendations for one user: what is like the items the user rated, weighed by the ratings.
//!
//! Item-based collaborative filtering on the current release of item neighbours. Everything is read at the
//! call, so a rating put a moment ago counts, and hidden and erased items are out at once.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::features::ColumnData;
use crate::ratings::MAX_PAGE_ROWS;
use crate::{
    Cell, Deadline, EntityKind, Error, ErrorKind, FeatureName, FeatureRequest, FeatureStore, GetOptions,
    HistoryOptions, HistoryPage, ItemId, NeighbourRequest, RatingRow, RatingStore, RatingValue, Result,
    RowStatus, SimilarityStore, UserId,
};

/// The most recommendations of one call.
pub const MAX_RECOMMENDATIONS: usize = 1000;
/// The fewest candidates that are looked up at once, where not all ratings of the user are known.
const LOOKUP: usize = 64;

/// Options of [`recommend`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct RecommendOptions {
    /// How many items, 1 to 1,000; 10 by default.
    pub k: usize,
    /// How many ratings of the user are used, the newest, 1 to 10,000; 200 by default.
    pub history: usize,
    /// What holds scores back that rest on little, 0 to 10^9; 1 by default.
    pub damping: f64,
    /// When the call must have ended; none by default.
    pub deadline: Option<Deadline>,
}

impl Default for RecommendOptions {
    fn default() -> RecommendOptions {
        RecommendOptions { k: 10, history: 200, damping: 1.0, deadline: None }
    }
}

impl RecommendOptions {
    /// Sets how many items.
    pub fn with_k(mut self, k: usize) -> RecommendOptions {
        self.k = k;
        self
    }

    /// Sets how many ratings of the user are used.
    pub fn with_history(mut self, history: usize) -> RecommendOptions {
        self.history = history;
        self
    }

    /// Sets what holds scores back that rest on little.
    pub fn with_damping(mut self, damping: f64) -> RecommendOptions {
        self.damping = damping;
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Deadline) -> RecommendOptions {
        self.deadline = Some(deadline);
        self
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid` that names the option.
    pub fn validate(&self) -> Result<()> {
        if !(1..=MAX_RECOMMENDATIONS).contains(&self.k) {
            return Err(Error::invalid("k", format!("{} is not 1 to {MAX_RECOMMENDATIONS}", self.k)));
        }
        if !(1..=MAX_PAGE_ROWS).contains(&self.history) {
            return Err(Error::invalid("history", format!("{} is not 1 to {MAX_PAGE_ROWS}", self.history)));
        }
        if !(0.0..=1e9).contains(&self.damping) {
            return Err(Error::invalid("damping", format!("{} is not 0 to 10^9", self.damping)));
        }
        Ok(())
    }

    fn get(&self) -> GetOptions {
        GetOptions { deadline: self.deadline }
    }
}

/// What a recommendation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecommendationOrigin {
    /// The user's ratings of similar items.
    Personal,
    /// The ratings of all users.
    Popular,
}

/// One recommended item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// The item.
    pub id: ItemId,
    /// The rating that is expected, on the scale of the ratings: of this user if `origin` is personal, of any
    /// user (the item's `bayesian_mean`) if it is popular.
    pub score: f64,
    /// What it rests on.
    pub origin: RecommendationOrigin,
}

/// Recommends items that the user has not rated.
///
/// With r the user's newest ratings, m their mean, and over the rated items i that have j as a neighbour:
///
/// score(j) = m + Σ sim(i, j)·(r(i) − m) / (damping + Σ sim(i, j))
///
/// the deviation form of item-based prediction (Sarwar et al. 2001), damped so that one faint neighbour does
/// not promise the extreme. Items come by score, then by Σ sim, then by id.
///
/// If these are fewer than k, popular items follow, the most popular first: for a user without ratings all of
/// them are. Their scores say nothing of this user, so they do not decide the order.
///
/// Items with a current rating of the user, however old, and hidden items are left out; withdrawn ratings do
/// not count. The same stored state gives the same answer.
///
/// # Errors
/// `Invalid` that names an option out of range; what reading the store fails with. An answer that the store
/// could not give for one key is an error of the call.
pub async fn recommend<S>(store: &S, user: &UserId, options: RecommendOptions) -> Result<Vec<Recommendation>>
where
    S: RatingStore + FeatureStore + SimilarityStore + ?Sized,
{
    options.validate()?;
    let mut page = HistoryOptions::default().with_limit(options.history);
    page.deadline = options.deadline;
    let rated = Rated::new(user, store.user_history(user, page).await?);
    let mut found = personal(store, &rated, &options).await?;
    if found.len() < options.k {
        fill_with_popular(store, &rated, &options, &mut found).await?;
    }
    Ok(found)
}

/// What is known of the user's ratings.
struct Rated<'a> {
    user: &'a UserId,
    /// The newest ratings, newest first.
    values: Vec<(ItemId, RatingValue)>,
    items: HashSet<ItemId>,
    /// Whether these are all.
    complete: bool,
}

impl Rated<'_> {
    fn new(user: &UserId, page: HistoryPage) -> Rated<'_> {
        let value = |row: &RatingRow| Some((row.rating.item().clone(), row.rating.value()?));
        let values: Vec<(ItemId, RatingValue)> = page.rows.iter().filter_map(value).collect();
        let items = values.iter().map(|(item, _)| item.clone()).collect();
        Rated { user, values, items, complete: page.next.is_none() }
    }

    /// The mean of the newest ratings; `None` without any.
    fn mean(&self) -> Option<f64> {
        let sum: i128 = self.values.iter().map(|(_, value)| i128::from(value.micros())).sum();
        let units = RatingValue::MICROS_PER_UNIT as f64;
        (!self.values.is_empty()).then(|| sum as f64 / self.values.len() as f64 / units)
    }

    /// Those of `items` that the user has not rated, in the order given.
    async fn unrated<S>(&self, store: &S, mut items: Vec<ItemId>, options: GetOptions) -> Result<Vec<ItemId>>
    where
        S: RatingStore + ?Sized,
    {
        items.retain(|item| !self.items.contains(item));
        if self.complete || items.is_empty() {
            return Ok(items);
        }
        let pairs: Vec<(UserId, ItemId)> = items.into_iter().map(|item| (self.user.clone(), item)).collect();
        let rows = store.get_ratings(&pairs, options).await?;
        let mut unrated = Vec::with_capacity(pairs.len());
        for ((_, item), row) in pairs.into_iter().zip(rows) {
            if row.into_result()?.is_none_or(|row| row.rating.is_withdrawn()) {
                unrated.push(item);
            }
        }
        Ok(unrated)
    }
}

/// An item that is like rated ones.
struct Candidate {
    item: ItemId,
    score: f64,
    similarity: f64,
}

/// The best k items among the neighbours of what the user rated.
async fn personal<S>(store: &S, rated: &Rated<'_>, options: &RecommendOptions) -> Result<Vec<Recommendation>>
where
    S: RatingStore + SimilarityStore + ?Sized,
{
    let candidates = candidates(store, rated, options).await?;
    let mut found = Vec::with_capacity(options.k.min(candidates.len()));
    for some in candidates.chunks(options.k.max(LOOKUP)) {
        let items = some.iter().map(|candidate| candidate.item.clone()).collect();
        let unrated: HashSet<ItemId> =
            rated.unrated(store, items, options.get()).await?.into_iter().collect();
        let unrated = some.iter().filter(|candidate| unrated.contains(&candidate.item));
        found.extend(unrated.take(options.k - found.len()).map(|candidate| Recommendation {
            id: candidate.item.clone(),
            score: candidate.score,
            origin: RecommendationOrigin::Personal,
        }));
        if found.len() == options.k {
            break;
        }
    }
    Ok(found)
}

/// All neighbours of what the user rated, the best first.
async fn candidates<S>(store: &S, rated: &Rated<'_>, options: &RecommendOptions) -> Result<Vec<Candidate>>
where
    S: SimilarityStore + ?Sized,
{
    let Some(mean) = rated.mean() else { return Ok(Vec::new()) };
    let mut request = NeighbourRequest::of_items(rated.values.iter().map(|(item, _)| item.clone()));
    request.deadline = options.deadline;
    let answer = store.get_neighbours(request).await?;
    // For each neighbour Σ sim·(r − mean) and Σ sim, summed in the order of the history.
    let mut sums: HashMap<ItemId, (f64, f64)> = HashMap::new();
    for ((_, value), list) in rated.values.iter().zip(answer.lists) {
        let deviation = value.as_f64() - mean;
        for neighbour in list.into_result()?.unwrap_or_default() {
            let (deviations, similarities) = sums.entry(neighbour.id.into()).or_default();
            *deviations += neighbour.similarity * deviation;
            *similarities += neighbour.similarity;
        }
    }
    let candidate = |(item, (deviations, similarity)): (ItemId, (f64, f64))| Candidate {
        item,
        score: mean + deviations / (options.damping + similarity),
        similarity,
    };
    let mut candidates: Vec<Candidate> =
        sums.into_iter().filter(|(item, _)| !rated.items.contains(item)).map(candidate).collect();
    candidates.sort_unstable_by(|left, right| {
        let by_score = right.score.total_cmp(&left.score);
        by_score.then(right.similarity.total_cmp(&left.similarity)).then_with(|| left.item.cmp(&right.item))
    });
    Ok(candidates)
}

/// Adds popular items that the user has not rated until there are k, or no more popular ones.
async fn fill_with_popular<S>(
    store: &S,
    rated: &Rated<'_>,
    options: &RecommendOptions,
    found: &mut Vec<Recommendation>,
) -> Result<()>
where
    S: RatingStore + FeatureStore + SimilarityStore + ?Sized,
{
    // Enough at once, unless the user has rated popular items that are not among the newest ratings.
    let mut limit = options.k + rated.items.len() + found.len();
    let mut tried: HashSet<ItemId> = found.iter().map(|recommendation| recommendation.id.clone()).collect();
    loop {
        let popular = store.get_popular(EntityKind::Item, limit, options.get()).await?;
        let is_all = popular.len() < limit;
        let items = popular.into_iter().map(|popular| ItemId::from(popular.id));
        let untried: Vec<ItemId> = items.filter(|item| tried.insert(item.clone())).collect();
        let unrated = rated.unrated(store, untried, options.get()).await?;
        let scored = expected_ratings(store, unrated, options).await?;
        found.extend(scored.into_iter().take(options.k - found.len()));
        if is_all || found.len() == options.k {
            return Ok(());
        }
        limit *= 2;
    }
}

/// The items that have a rating, with what is expected of any user.
async fn expected_ratings<S>(
    store: &S,
    items: Vec<ItemId>,
    options: &RecommendOptions,
) -> Result<Vec<Recommendation>>
where
    S: FeatureStore + ?Sized,
{
    let column = FeatureName::of_built_in("bayesian_mean");
    let mut request = FeatureRequest::of_items(items.iter().cloned()).with_columns(vec![column]);
    request.deadline = options.deadline;
    let batch = store.get_features(request).await?;
    let column = batch.columns.first().ok_or_else(unexpected)?;
    let ColumnData::Float(means) = &column.data else { return Err(unexpected()) };
    let mut expected = Vec::with_capacity(items.len());
    for (row, id) in items.into_iter().enumerate() {
        match &batch.status[row] {
            RowStatus::Found { .. } if column.cells[row] == Cell::Valid => {
                let origin = RecommendationOrigin::Popular;
                expected.push(Recommendation { id, score: means[row], origin });
            }
            RowStatus::Failed { kind, reason } => return Err(Error::new(*kind, reason.as_str())),
            // Its ratings were withdrawn since the release.
            _ => {}
        }
    }
    Ok(expected)
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "the store's bayesian_mean is no column of floats")
}

#[cfg(test)]
mod tests;
