//! What a release must pass before it is promoted.
//!
//! The checker sees every list once, block by block, and keeps only counts. Lists of the release before are
//! read from the store, a block at a time.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    EntityKey, EntityKind, Error, ErrorKind, Neighbour, NeighbourList, NeighbourRequest, ReleaseInfo,
    ReleaseSpec, ReleaseState, Result, SimilarityStore,
};

/// How many neighbours at the top of a list are compared for the churn.
const CHURN_TOP: usize = 10;

/// The limits of the checks that depend on the data. The others have no limit to set: similarities are finite
/// and above zero, no entity is its own neighbour, lists have at most k neighbours and are in order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckOptions {
    /// The least share of entities with a neighbour, 0 to 1; 0 by default, as sparse data may have none.
    pub min_coverage: f64,
    /// The greatest share, 0 to 1, of the first 10 neighbours in the current release that may be gone from
    /// the first 10 of the same entity; 1 by default, which is off.
    pub max_churn: f64,
    /// The greatest share, 0 to 1, by which the entities may be fewer than those of the current release; 0.5
    /// by default. Half of a catalogue does not go in a day: the input was cut.
    pub max_entity_drop: f64,
}

impl Default for CheckOptions {
    fn default() -> CheckOptions {
        CheckOptions { min_coverage: 0.0, max_churn: 1.0, max_entity_drop: 0.5 }
    }
}

impl CheckOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid` that names the option.
    pub fn validate(&self) -> Result<()> {
        let shares = [
            ("min_coverage", self.min_coverage),
            ("max_churn", self.max_churn),
            ("max_entity_drop", self.max_entity_drop),
        ];
        match shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((name, share)) => Err(Error::invalid(name, format!("{share} is not 0 to 1"))),
            None => Ok(()),
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was checked: `similarities`, `self`, `length`, `order`, `coverage`, `churn` or `entities`.
    pub name: &'static str,
    /// Whether the release passed.
    pub ok: bool,
    /// What was found: how many violations, or a share of 0 to 1.
    pub found: f64,
    /// The most that may be found (for `coverage`, the least).
    pub limit: f64,
    /// What the figures are of.
    pub detail: String,
}

/// What the checks of one release found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Whether every check was passed.
    pub ok: bool,
    /// Every check.
    pub checks: Vec<Check>,
}

impl CheckReport {
    /// `Ok` if every check was passed.
    ///
    /// # Errors
    /// `Conflict` with the name and figures of each check that failed.
    pub fn require(&self) -> Result<()> {
        let failed = |check: &Check| format!("{} {} against {}", check.name, check.found, check.limit);
        let failed: Vec<String> = self.checks.iter().filter(|check| !check.ok).map(failed).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, format!("the release failed its checks: {}", failed.join(", "))))
    }
}

/// Checks the lists of a release as they are made, against the current release of its kind.
#[derive(Debug)]
pub struct ReleaseChecker<'a, S: ?Sized> {
    store: &'a S,
    spec: ReleaseSpec,
    options: CheckOptions,
    previous: Option<ReleaseInfo>,
    /// Reads of the release before leave these out, so the churn does as well.
    hidden: HashSet<EntityKey>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    lists: u64,
    covered: u64,
    bad_similarities: u64,
    own: u64,
    too_long: u64,
    unordered: u64,
    compared: u64,
    gone: u64,
}

impl<'a, S: SimilarityStore + ?Sized> ReleaseChecker<'a, S> {
    /// A checker of a release begun with `spec`; what is current in the store now is the release before.
    ///
    /// # Errors
    /// `Invalid` for options out of range; as [`SimilarityStore::releases`].
    pub async fn new(
        store: &'a S,
        spec: ReleaseSpec,
        options: CheckOptions,
    ) -> Result<ReleaseChecker<'a, S>> {
        options.validate()?;
        let releases = store.releases(spec.kind).await?;
        let previous = releases.into_iter().find(|release| release.state == ReleaseState::Current);
        let hidden = match (&previous, spec.kind) {
            (Some(_), EntityKind::Item) => {
                store.hidden_items().await?.into_iter().map(EntityKey::from).collect()
            }
            _ => HashSet::new(),
        };
        Ok(ReleaseChecker { store, spec, options, previous, hidden, counts: Counts::default() })
    }

    /// Takes note of lists. Each list of the release is to be shown once.
    ///
    /// # Errors
    /// As [`SimilarityStore::get_neighbours`].
    pub async fn observe(&mut self, lists: &[NeighbourList]) -> Result<()> {
        lists.iter().for_each(|list| self.counts.add(list, self.spec.options.k));
        let Some(previous) = &self.previous else { return Ok(()) };
        let ids = lists.iter().map(|list| list.id.clone()).collect();
        let request = NeighbourRequest::new(self.spec.kind, ids)
            .with_limit(CHURN_TOP)
            .with_release(previous.id.clone());
        let answer = self.store.get_neighbours(request).await?;
        for (list, before) in lists.iter().zip(answer.lists) {
            if let Some(before) = before.into_result()? {
                self.compare(&before, list);
            }
        }
        Ok(())
    }

    fn compare(&mut self, before: &[Neighbour], list: &NeighbourList) {
        let visible = list.neighbours.iter().map(|neighbour| &neighbour.id);
        let top: HashSet<&EntityKey> =
            visible.filter(|id| !self.hidden.contains(id)).take(CHURN_TOP).collect();
        let gone = before.iter().filter(|neighbour| !top.contains(&neighbour.id)).count();
        self.counts.compared += before.len() as u64;
        self.counts.gone += gone as u64;
    }

    /// The verdict on the lists shown.
    pub fn finish(self) -> CheckReport {
        let Counts { lists, covered, compared, gone, .. } = self.counts;
        let checks = vec![
            none("similarities", self.counts.bad_similarities, "similarities not finite or not above zero"),
            none("self", self.counts.own, "entities that are their own neighbour"),
            none("length", self.counts.too_long, "lists with more than k neighbours"),
            none("order", self.counts.unordered, "neighbours out of order or given twice"),
            Check {
                name: "coverage",
                ok: share_or(covered, lists, 1.0) >= self.options.min_coverage,
                found: share_or(covered, lists, 1.0),
                limit: self.options.min_coverage,
                detail: format!("{covered} of {lists} entities have a neighbour"),
            },
            at_most(
                "churn",
                share_or(gone, compared, 0.0),
                self.options.max_churn,
                format!("{gone} of {compared} first neighbours of the current release are gone"),
            ),
            self.entities(),
        ];
        CheckReport { ok: checks.iter().all(|check| check.ok), checks }
    }

    fn entities(&self) -> Check {
        let now = self.counts.lists;
        let before = self.previous.as_ref().map_or(0, |previous| previous.lists);
        at_most(
            "entities",
            share_or(before.saturating_sub(now), before, 0.0),
            self.options.max_entity_drop,
            format!("{now} entities, {before} in the current release"),
        )
    }
}

impl Counts {
    fn add(&mut self, list: &NeighbourList, k: usize) {
        let neighbours = &list.neighbours;
        let is_bad =
            |neighbour: &&Neighbour| !(neighbour.similarity.is_finite() && neighbour.similarity > 0.0);
        let in_order = |pair: &&[Neighbour]| {
            let order = pair[1].similarity.total_cmp(&pair[0].similarity);
            order.then_with(|| pair[0].id.cmp(&pair[1].id)).is_lt()
        };
        self.lists += 1;
        self.covered += u64::from(!neighbours.is_empty());
        self.bad_similarities += neighbours.iter().filter(is_bad).count() as u64;
        self.own += neighbours.iter().filter(|neighbour| neighbour.id == list.id).count() as u64;
        self.too_long += u64::from(neighbours.len() > k);
        self.unordered += neighbours.windows(2).filter(|pair| !in_order(pair)).count() as u64;
    }
}

/// `part` of `whole`, or `empty` if there is nothing.
fn share_or(part: u64, whole: u64, empty: f64) -> f64 {
    if whole == 0 { empty } else { part as f64 / whole as f64 }
}

fn at_most(name: &'static str, found: f64, limit: f64, detail: String) -> Check {
    Check { name, ok: found <= limit, found, limit, detail }
}

/// A check of which there may be no violation.
fn none(name: &'static str, violations: u64, what: &str) -> Check {
    at_most(name, violations as f64, 0.0, format!("{violations} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ItemId, MemoryStorage, Namespace, PutOptions, SimilarityOptions, StoreContext};

    const SPEC: ReleaseSpec = ReleaseSpec {
        kind: EntityKind::Item,
        options: SimilarityOptions { measure: crate::Measure::Cosine, k: 3, min_common: 1, shrinkage: 0.0 },
    };

    fn list(id: u64, neighbours: &[(u64, f64)]) -> NeighbourList {
        let key = |id: u64| EntityKey::from(ItemId::from(id));
        let neighbour = |&(id, similarity): &(u64, f64)| Neighbour { id: key(id), similarity, common: 1 };
        NeighbourList { id: key(id), neighbours: neighbours.iter().map(neighbour).collect() }
    }

    fn store() -> MemoryStorage {
        MemoryStorage::new(Namespace::default(), StoreContext::default())
    }

    async fn promoted(lists: Vec<NeighbourList>) -> MemoryStorage {
        let store = store();
        let release = store.begin_release(SPEC).await.unwrap();
        store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
        store.seal_release(&release, Vec::new()).await.unwrap();
        store.promote_release(&release).await.unwrap();
        store
    }

    async fn report(store: &MemoryStorage, options: CheckOptions, lists: &[NeighbourList]) -> CheckReport {
        let mut checker = ReleaseChecker::new(store, SPEC, options).await.unwrap();
        checker.observe(lists).await.unwrap();
        checker.finish()
    }

    fn failed(report: &CheckReport) -> Vec<&'static str> {
        report.checks.iter().filter(|check| !check.ok).map(|check| check.name).collect()
    }

    #[tokio::test]
    async fn a_first_release_of_sound_lists_passes() {
        let lists = [list(1, &[(2, 0.5), (10, 0.25), (9, 0.25)]), list(2, &[])];
        let report = report(&store(), CheckOptions::default(), &lists).await;
        assert_eq!((report.ok, failed(&report)), (true, vec![]));
        assert!(report.require().is_ok());
    }

    #[tokio::test]
    async fn each_defect_of_a_list_fails_its_check() {
        for (defect, name) in [
            (list(1, &[(2, f64::NAN)]), "similarities"),
            (list(1, &[(2, 0.0)]), "similarities"),
            (list(1, &[(1, 0.5)]), "self"),
            (list(1, &[(2, 0.5), (3, 0.4), (4, 0.3), (5, 0.2)]), "length"),
            (list(1, &[(2, 0.5), (3, 0.6)]), "order"),
            (list(1, &[(3, 0.5), (2, 0.5)]), "order"),
            (list(1, &[(2, 0.5), (2, 0.5)]), "order"),
        ] {
            let report = report(&store(), CheckOptions::default(), &[defect]).await;
            assert_eq!(failed(&report), [name]);
            assert!(report.require().unwrap_err().message().contains(name));
        }
    }

    #[tokio::test]
    async fn too_few_entities_with_neighbours_fail_the_coverage() {
        let options = CheckOptions { min_coverage: 0.5, ..CheckOptions::default() };
        let lists = [list(1, &[(2, 0.5)]), list(2, &[]), list(3, &[])];
        assert_eq!(failed(&report(&store(), options, &lists).await), ["coverage"]);
        assert_eq!(failed(&report(&store(), options, &lists[..2]).await), [""; 0]);
        assert!(report(&store(), options, &[]).await.ok);
    }

    #[tokio::test]
    async fn too_many_changed_neighbours_fail_the_churn() {
        let store = promoted(vec![list(1, &[(2, 0.5), (3, 0.4)]), list(2, &[(1, 0.5), (3, 0.4)])]).await;
        let options = CheckOptions { max_churn: 0.25, ..CheckOptions::default() };
        let one_gone = [list(1, &[(2, 0.5), (3, 0.4)]), list(2, &[(3, 0.4), (4, 0.3)])];
        let passed = report(&store, options, &one_gone).await;
        assert_eq!((failed(&passed), passed.checks[5].found), (vec![], 0.25));
        let two_gone = [list(1, &[(2, 0.5)]), list(2, &[(3, 0.4)])];
        assert_eq!(failed(&report(&store, options, &two_gone).await), ["churn"]);
    }

    #[tokio::test]
    async fn hidden_items_are_no_churn() {
        let ranked =
            |ids: std::ops::Range<u64>| -> Vec<(u64, f64)> { ids.map(|id| (id, 1.0 / id as f64)).collect() };
        let store = promoted(vec![list(1, &ranked(2..14))]).await;
        store.hide_items(vec![2.into(), 3.into()]).await.unwrap();
        let same = report(&store, CheckOptions::default(), &[list(1, &ranked(2..14))]).await;
        assert_eq!(same.checks[5].found, 0.0);
    }

    #[tokio::test]
    async fn a_much_smaller_input_fails() {
        let store = promoted((1..=4).map(|id| list(id, &[])).collect()).await;
        let halved = [list(1, &[]), list(2, &[])];
        assert!(report(&store, CheckOptions::default(), &halved).await.ok);
        let failing = report(&store, CheckOptions::default(), &halved[..1]).await;
        assert_eq!(failed(&failing), ["entities"]);
    }

    #[tokio::test]
    async fn limits_that_are_no_shares_are_named() {
        let options = CheckOptions { max_churn: f64::NAN, ..CheckOptions::default() };
        let error = ReleaseChecker::new(&store(), SPEC, options).await.unwrap_err();
        assert_eq!(error.field(), Some("max_churn"));
    }
}
