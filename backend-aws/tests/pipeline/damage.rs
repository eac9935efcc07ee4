//! Every object damaged: flipped, cut, deleted, or another in its place. Whoever reads it has the right answer or an
//! error that names an object.
//!
//! The logs of the tables are for other tools; nothing here reads them, and damage to them is seen by those alone.

use recstore_aws::pipeline::RunOptions;
use recstore_core::{
    EntityKey, EntityKind, Error, ErrorKind, Fingerprints, GetOptions, Neighbour, NeighbourList, Popular,
    PutOptions, ReleaseSpec, SimilarityOptions, SimilarityStore, Storage,
};

use crate::crashes::crash;
use crate::fake::{Fake, Random, Weather, run};
use crate::stage::{Gate, Stage, When, schedules};
use crate::story::{See, Step, Story};

#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit of the byte at this share of the length.
    Flip(usize),
    Cut,
    Empty,
    Delete,
    /// Two objects in each other's places.
    Swap(usize),
}

fn damage(stage: &Stage, keys: &[String], key: &str, damage: Damage) {
    let (body, attributes) = stage.objects.get(key);
    match damage {
        Damage::Flip(at) => {
            let mut bytes = body.to_vec();
            let at = at % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (at % 8);
            }
            stage.objects.insert(key, bytes.into(), attributes);
        }
        Damage::Cut => stage.objects.insert(key, body.slice(..body.len() / 2), attributes),
        Damage::Empty => stage.objects.insert(key, bytes::Bytes::new(), attributes),
        Damage::Delete => stage.objects.remove(key),
        Damage::Swap(with) => {
            let with = &keys[with % keys.len()];
            let other = stage.objects.get(with);
            stage.objects.insert(key, other.0, other.1);
            stage.objects.insert(with, body, attributes);
        }
    }
}

/// What is right before the step and after it.
struct Right {
    see: [See; 2],
    fingerprints: [Fingerprints; 2],
}

/// Whether the error says that something is damaged, and what.
fn is_typed(error: &Error) -> bool {
    let kinds = [ErrorKind::Corrupt, ErrorKind::SchemaVersion, ErrorKind::Conflict];
    kinds.contains(&error.kind()) && error.object().is_some()
}

/// Whether an object holds nothing but what the ratings give.
fn is_derived(key: &str) -> bool {
    key.contains("/user_features/bucket=") || key.contains("/item_features/bucket=")
}

#[derive(Debug, Default)]
struct Counts {
    cases: u64,
    refused: u64,
    right: u64,
    wrong: Vec<String>,
}

impl Counts {
    fn count<T>(&mut self, answer: recstore_core::Result<T>, what: &str, right: impl FnOnce(T) -> bool) {
        match answer {
            Ok(answer) => match right(answer) {
                true => self.right += 1,
                false => self.wrong.push(format!("{what}: a wrong answer")),
            },
            Err(error) => self.refused(&error, what),
        }
    }

    fn refused(&mut self, error: &Error, what: &str) {
        match is_typed(error) {
            true => self.refused += 1,
            false => self.wrong.push(format!("{what}: {error:?}")),
        }
    }
}

async fn case(story: &Story, from: &Stage, right: &Right, key: &str, how: Damage, counts: &mut Counts) {
    let what = format!("{key} {how:?}");
    let stage = from.fork(1);
    let keys = stage.objects.keys();
    damage(&stage, &keys, key, how);
    let at = |number: u64| story.process(&stage, number, &Gate::open());
    counts.cases += 1;
    counts.count(See::of_any(&at(10)).await, &format!("{what}, read"), |see| right.see.contains(&see));
    let fingerprint = at(11).fingerprint(GetOptions::default()).await;
    counts.count(fingerprint, &format!("{what}, fingerprint"), |found| right.fingerprints.contains(&found));
    let before_the_run = stage.fork(2);
    let store = at(12);
    let ran = store.pipeline().run(RunOptions::default()).await;
    // Of events that nobody has read, what is gone leaves a hole in the numbers, or, at the end, no trace.
    let unread = matches!(how, Damage::Delete) && key.contains("/bronze/");
    // Rows of custom groups are visible as they are put, each by itself.
    let mixed = |see: &See| {
        let [before, after] = &right.see;
        [&before.rows, &after.rows].contains(&&see.rows)
            && [&before.online, &after.online].contains(&&see.online)
            && [&before.custom, &after.custom].contains(&&see.custom)
    };
    let fine = |see: &See| *see == right.see[1] || (unread && mixed(see));
    match ran {
        Ok(_) => {
            let see = See::of_any(&at(13)).await;
            counts.count(see, &format!("{what}, read after a run"), |see| fine(&see));
        }
        Err(error) => {
            counts.refused(&error, &format!("{what}, run"));
            if is_derived(key) && !matches!(how, Damage::Swap(_)) {
                counts.wrong.push(format!("{what}: a run is stopped by what it could compute, {error:?}"));
            }
            // It commits nothing: readers go on.
            let see = See::of_any(&at(14)).await;
            counts.count(see, &format!("{what}, read after no run"), |see| mixed(&see));
        }
    }
    if is_derived(key) && !matches!(how, Damage::Swap(_)) {
        let rebuilt = story.process(&before_the_run, 17, &Gate::open());
        rebuilt.pipeline().rebuild().await.unwrap();
        let healed = rebuilt.fingerprint(GetOptions::default()).await.unwrap();
        assert!(right.fingerprints.contains(&healed), "{what}: rebuilt to something else");
    }
    if key.ends_with("/head.json") && matches!(how, Damage::Delete) {
        // A lake that lost its head, and its tables as well, cannot be told from a new one.
        return;
    }
    // Tables that are lost are filled from the lake.
    let empty = Stage { tables: Fake::new(1, Weather::default()), ..before_the_run };
    let store = story.process(&empty, 15, &Gate::open());
    match store.pipeline().rebuild_online().await {
        Ok(_) => {
            let see = See::of_any(&story.process(&empty, 16, &Gate::open())).await;
            // Rows that no run has taken in are there too.
            counts.count(see, &format!("{what}, tables filled"), |see| mixed(&see));
        }
        Err(error) => {
            counts.refused(&error, &format!("{what}, tables filled"));
        }
    }
}

async fn with_a_release(story: &Story) {
    let store = story.process(&story.stage, 5, &Gate::open());
    let id = |id: u64| EntityKey::from(recstore_core::ItemId::from(id));
    let spec = ReleaseSpec { kind: EntityKind::Item, options: SimilarityOptions::default() };
    let release = store.begin_release(spec).await.unwrap();
    let neighbours = vec![Neighbour { id: id(2), similarity: 0.5, common: 3 }];
    let lists = vec![NeighbourList { id: id(1), neighbours }];
    store.put_neighbours(&release, lists, PutOptions::default()).await.unwrap();
    store.seal_release(&release, vec![Popular { id: id(1), ratings: 2 }]).await.unwrap();
    store.promote_release(&release).await.unwrap();
}

/// A process that claimed the next generation and crashed.
async fn claimed(story: &Story) -> Stage {
    for at in 1.. {
        let stage = story.stage.fork(at);
        assert!(crash(story, &stage, 7, at, When::After).await);
        if stage.objects.keys().iter().any(|key| key.ends_with("/runs/generation=00000000000000000002.json"))
        {
            return stage;
        }
    }
    unreachable!()
}

async fn all(story: &Story, stage: &Stage, flips: u64, counts: &mut Counts, random: &mut Random) {
    let right = {
        let (before, after) = (stage.fork(1), stage.fork(1));
        let reader = story.process(&before, 20, &Gate::open());
        let store = story.process(&after, 20, &Gate::open());
        store.pipeline().run(RunOptions::default()).await.unwrap();
        let done = story.process(&after, 21, &Gate::open());
        let none = GetOptions::default;
        Right {
            see: [See::of(&reader).await, See::of(&done).await],
            fingerprints: [
                reader.fingerprint(none()).await.unwrap(),
                done.fingerprint(none()).await.unwrap(),
            ],
        }
    };
    assert_ne!(right.see[0], right.see[1]);
    let keys = stage.objects.keys();
    for key in &keys {
        let length = stage.objects.get(key).0.len();
        let ways = [Damage::Cut, Damage::Empty, Damage::Delete, Damage::Swap(random.below(keys.len()))];
        for how in ways {
            case(story, stage, &right, key, how, counts).await;
        }
        if flips as usize >= length {
            for at in 0..length {
                case(story, stage, &right, key, Damage::Flip(at), counts).await;
            }
        } else {
            for _ in 0..flips {
                case(story, stage, &right, key, Damage::Flip(random.below(length)), counts).await;
            }
        }
    }
    println!(
        "{} objects, {} cases, {} right, {} refused",
        keys.len(),
        counts.cases,
        counts.right,
        counts.refused
    );
}

#[test]
fn damage_to_any_object_is_named_or_does_not_matter() {
    let (seed, flips) = schedules(1);
    let mut counts = Counts::default();
    run(async {
        let mut random = Random::new(seed);
        let story = Story::before(Step::Custom, seed).await;
        with_a_release(&story).await;
        all(&story, &story.stage, flips, &mut counts, &mut random).await;
        let stage = claimed(&story).await;
        all(&story, &stage, flips, &mut counts, &mut random).await;
    });
    assert!(counts.wrong.is_empty(), "{} of {}: {:#?}", counts.wrong.len(), counts.cases, counts.wrong);
}
