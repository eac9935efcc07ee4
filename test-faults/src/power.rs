//! Power cuts of recorded workloads: is what is left one of the contents that it may be?
//!
//! A *recording* is a random workload on a watched disk, from the creation of the store on. Its *images* are cuts
//! at random moments. Each recording and each image has a seed of its own, made of the run's seed and its number,
//! so an image can be made again alone, and the result does not depend on how many threads make them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use recstore_core::{Error, GetOptions};

use crate::{Backend, Cut, Disk, Image, Log, Random, Replay, Synchronous, Trust, Workload, memory_folder};

/// Steps of one recording, about.
const STEPS: usize = 150;
/// Images of one recording.
const IMAGES: u64 = 500;
/// One image in so many is of the store's creation, which is short.
const CREATION: usize = 20;

/// A workload and what it did to the disk.
#[derive(Debug)]
pub struct Recording {
    /// What was done.
    pub workload: Workload,
    /// What came of it.
    pub log: Log,
}

/// What a power cut did to a store.
#[derive(Debug, PartialEq, Eq)]
pub enum Harm {
    /// It does not open, or something in it cannot be read.
    Damaged(String),
    /// Its content is none of those that it may have.
    Lost {
        /// The step whose content must be there at least.
        acknowledged: usize,
        /// The step whose content was found, if any's.
        found: Option<usize>,
    },
    /// So many built-in features are not those of the ratings.
    Drifted(u64),
}

/// How many images of random workloads to make, and of which.
#[derive(Debug, Clone, Copy)]
pub struct PowerCuts {
    /// Where randomness begins.
    pub seed: u64,
    /// How many images.
    pub images: u64,
    /// Only the image of this number.
    pub only: Option<u64>,
}

/// What was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Images made.
    pub images: u64,
    /// Recordings made.
    pub recordings: u64,
    /// Entries of their logs.
    pub entries: usize,
    /// How many cuts came while what was being done: `open`, `close`, `none`, or the name of a step.
    pub phases: BTreeMap<&'static str, u64>,
}

impl Recording {
    /// Runs a random workload, closing and opening the store now and then.
    ///
    /// # Panics
    /// If a call fails.
    pub async fn make(
        backend: &impl Backend,
        synchronous: Option<Synchronous>,
        random: &mut Random,
    ) -> Recording {
        let workload = Workload::random(random, STEPS).await.expect("a workload").with_rebuilds(random, 20);
        let folder = memory_folder();
        let disk = Disk::watch(folder.path());
        disk.record();
        if let Some(synchronous) = synchronous {
            disk.weaken(synchronous);
        }
        disk.phase("open");
        let mut store = backend.open(folder.path()).await.expect("the store opens");
        for (index, step) in workload.steps.iter().enumerate() {
            disk.phase(step.name());
            disk.begun(index + 1);
            step.apply(&*store).await.expect("the step goes well");
            disk.acknowledged(index + 1);
            if random.one_in(20) {
                disk.phase("close");
                store.close().await.expect("the store closes");
                disk.phase("open");
                store = backend.open(folder.path()).await.expect("the store opens again");
            }
        }
        disk.phase("close");
        store.close().await.expect("the store closes");
        disk.phase("none");
        Recording { workload, log: disk.log() }
    }

    /// A random moment.
    pub fn cut(&self, random: &mut Random) -> Cut {
        let end = if random.one_in(CREATION) { self.log.creation() } else { self.log.len() };
        self.log.cut(random.below(end + 1))
    }
}

/// Opens what is left, and holds it against the contents after the steps `acknowledged..=begun`.
///
/// # Errors
/// What the cut did to the store.
///
/// # Panics
/// If the files cannot be written.
pub async fn inspect(
    backend: &impl Backend,
    image: &Image,
    workload: &Workload,
    cut: Cut,
) -> Result<(), Harm> {
    let folder = memory_folder();
    image.write_to(folder.path()).expect("the folder takes files");
    let damaged = |error: Error| Harm::Damaged(format!("{error:?}"));
    let store = backend.open(folder.path()).await.map_err(damaged)?;
    let found = store.fingerprint(GetOptions::default()).await.map_err(damaged)?;
    let problems = backend.problems(folder.path());
    if !problems.is_empty() {
        return Err(Harm::Damaged(problems.join("; ")));
    }
    if !workload.states[cut.acknowledged..=cut.begun].contains(&found) {
        let found = workload.states.iter().rposition(|state| *state == found);
        return Err(Harm::Lost { acknowledged: cut.acknowledged, found });
    }
    let changed = store.rebuild_features().await.map_err(damaged)?.changed;
    store.close().await.map_err(damaged)?;
    if changed == 0 { Ok(()) } else { Err(Harm::Drifted(changed)) }
}

impl PowerCuts {
    /// Makes the images, on all cores.
    ///
    /// # Errors
    /// The harm of an image, with its number.
    ///
    /// # Panics
    /// If a recording fails.
    pub fn run(&self, backend: &impl Backend) -> Result<Survey, String> {
        let next = AtomicU64::new(0);
        let recordings = self.images.div_ceil(IMAGES);
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let mut survey = Survey::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= recordings {
                    return Ok(survey);
                }
                if let Err(text) = runtime.block_on(self.recording(backend, number, &mut survey)) {
                    next.store(recordings, Ordering::Relaxed);
                    return Err(text);
                }
            }
        };
        let threads = available_parallelism().map_or(1, usize::from);
        scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let surveys = workers.into_iter().map(|worker| worker.join().expect("a worker panicked"));
            surveys.reduce(|one, other| Ok(one?.and(other?))).unwrap_or_else(|| Ok(Survey::default()))
        })
    }

    /// Makes the images of one recording, in the order of its log.
    async fn recording(
        &self,
        backend: &impl Backend,
        number: u64,
        survey: &mut Survey,
    ) -> Result<(), String> {
        let images = number * IMAGES..((number + 1) * IMAGES).min(self.images);
        if self.only.is_some_and(|only| !images.contains(&only)) {
            return Ok(());
        }
        // Recordings and images must not share seeds.
        let recording = Recording::make(backend, None, &mut Random::of_case(!self.seed, number)).await;
        let mut cuts: Vec<(Cut, u64, Random)> = images
            .filter(|image| self.only.is_none_or(|only| only == *image))
            .map(|image| {
                let mut random = Random::of_case(self.seed, image);
                (recording.cut(&mut random), image, random)
            })
            .collect();
        cuts.sort_by_key(|(cut, ..)| *cut);
        survey.recordings += 1;
        survey.entries += recording.log.len();
        let mut replay = Replay::new(&recording.log);
        for (cut, image, mut random) in cuts {
            let left = replay.image(cut, Trust::All, &mut random);
            inspect(backend, &left, &recording.workload, cut)
                .await
                .map_err(|harm| format!("image {image} from seed {}: {harm:?} by {cut:?}", self.seed))?;
            survey.images += 1;
            *survey.phases.entry(cut.phase).or_default() += 1;
        }
        Ok(())
    }
}

impl Survey {
    fn and(mut self, other: Survey) -> Survey {
        self.images += other.images;
        self.recordings += other.recordings;
        self.entries += other.entries;
        other.phases.into_iter().for_each(|(phase, images)| *self.phases.entry(phase).or_default() += images);
        self
    }
}
