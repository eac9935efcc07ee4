//! An item that keeps its last two versions, each with the generation that wrote it, deletions included.
//!
//! A reader that holds on to generation g takes the newest version not above g. While g + 1 is being published
//! it thus sees g, whole, though some items are of g + 1 already. Generations are committed one after the other, so
//! two versions are enough for readers whose pin is the committed generation; one that fell behind is told so.
//!
//! The next state is computed from the item as it was read and written on condition that its newest generation
//! is still the one that was read. A generation's rows are a function of its manifest, so two runners write the
//! same, and a run of an older generation finds a newer one and leaves it. A row that did not change is not
//! written, and nothing is ever removed: a removed item could be brought back by a run that had been asleep.

use recstore_core::{EntityKind, Error, ErrorKind, Result};

use super::calls::Condition;
use super::item::{Fields, OpenItem, RawItem};
use super::keys::ItemKey;
use super::tables::TableName;

/// The number of a committed, or claimed, state of the lake; the first is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What one generation said of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version<R> {
    /// The generation that said it.
    pub generation: Generation,
    /// The row; `None` if it was deleted.
    pub row: Option<R>,
}

/// The newest version and the one before; without one there was no row before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<R> {
    /// What was said last.
    pub newest: Version<R>,
    /// What was said before that, by an older generation.
    pub previous: Option<Version<R>>,
}

/// What there is to do to publish a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<R> {
    /// Write this, if the item's newest generation is still the one that was read.
    Write(Versioned<R>),
    /// Nothing: the newest version says the same.
    Unchanged,
    /// Nothing: a newer generation was published, this run is late.
    Superseded,
    /// The same generation says something else, which no run of one manifest does.
    Contradicts,
}

/// What a reader sees of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned<T> {
    /// The row of the pinned generation; `None` if there was none.
    At(T),
    /// Both versions are newer than the pin: refresh it and read again.
    TooOld,
}

impl<R: Clone + PartialEq> Versioned<R> {
    /// What publishing `row` in `generation` does to the item as it was read.
    pub fn publish(stored: Option<&Versioned<R>>, generation: Generation, row: Option<&R>) -> Step<R> {
        let version = || Version { generation, row: row.cloned() };
        let Some(stored) = stored else {
            return match row {
                Some(_) => Step::Write(Versioned { newest: version(), previous: None }),
                None => Step::Unchanged,
            };
        };
        let same = stored.newest.row.as_ref() == row;
        if stored.newest.generation > generation {
            Step::Superseded
        } else if same {
            Step::Unchanged
        } else if stored.newest.generation == generation {
            Step::Contradicts
        } else {
            Step::Write(Versioned { newest: version(), previous: Some(stored.newest.clone()) })
        }
    }
}

impl<R> Versioned<R> {
    /// The row at a generation.
    pub fn at(self, pin: Generation) -> Pinned<Option<R>> {
        if self.newest.generation <= pin {
            return Pinned::At(self.newest.row);
        }
        match self.previous {
            Some(previous) if previous.generation <= pin => Pinned::At(previous.row),
            Some(_) => Pinned::TooOld,
            None => Pinned::At(None),
        }
    }
}

/// A row with attributes of its own.
pub trait Row: Clone + PartialEq + Send + Sync {
    /// The row's attributes.
    fn to_fields(&self) -> Fields;

    /// Reads the attributes; whatever is not taken out of `fields` is damage.
    ///
    /// # Errors
    /// `Corrupt` if they are no row.
    fn from_fields(fields: &mut OpenItem) -> Result<Self>;
}

const NEWEST_GENERATION: &str = "g";
const NEWEST_ROW: &str = "r";
const PREVIOUS_GENERATION: &str = "pg";
const PREVIOUS_ROW: &str = "pr";

impl<R: Row> Versioned<R> {
    /// The item of these versions: `g` and `pg` are the generations, `r` and `pr` the rows, which a deletion
    /// has not.
    ///
    /// # Errors
    /// `Invalid` if it is too large.
    pub fn to_item(&self, table: TableName, key: &ItemKey) -> Result<RawItem> {
        let with_version = |fields: Fields, generation, row, version: &Version<R>| {
            let fields = fields.with_integer(generation, version.generation.0);
            match &version.row {
                Some(content) => fields.with_row(row, content.to_fields()),
                None => fields,
            }
        };
        let mut fields = with_version(Fields::new(), NEWEST_GENERATION, NEWEST_ROW, &self.newest);
        if let Some(previous) = &self.previous {
            fields = with_version(fields, PREVIOUS_GENERATION, PREVIOUS_ROW, previous);
        }
        fields.seal(table, key)
    }

    /// Reads an item.
    ///
    /// # Errors
    /// As [`OpenItem::open`]; `Corrupt` if it has no two versions in order.
    pub fn from_item(table: TableName, item: RawItem) -> Result<(ItemKey, Versioned<R>)> {
        let mut open = OpenItem::open(table, item)?;
        let newest_generation = open.number(NEWEST_GENERATION)?.map(Generation);
        let newest_generation = open.required(NEWEST_GENERATION, newest_generation)?;
        let newest = Version { generation: newest_generation, row: take_row(&mut open, NEWEST_ROW)? };
        let previous = match open.number(PREVIOUS_GENERATION)?.map(Generation) {
            Some(generation) => Some(Version { generation, row: take_row(&mut open, PREVIOUS_ROW)? }),
            None => None,
        };
        if previous.as_ref().is_some_and(|previous| previous.generation >= newest.generation) {
            return Err(open.damaged("the versions of the item are not in order"));
        }
        Ok((open.finish()?, Versioned { newest, previous }))
    }
}

fn take_row<R: Row>(open: &mut OpenItem, name: &str) -> Result<Option<R>> {
    let Some(mut fields) = open.row(name)? else { return Ok(None) };
    let row = R::from_fields(&mut fields)?;
    fields.finish()?;
    Ok(Some(row))
}

/// The condition that the item is still the one that was read.
pub(super) fn unchanged<R>(stored: Option<&Versioned<R>>) -> Condition {
    match stored {
        None => Condition::Absent,
        Some(stored) => Condition::Equals(
            NEWEST_GENERATION,
            aws_sdk_dynamodb::types::AttributeValue::N(stored.newest.generation.0.to_string()),
        ),
    }
}

/// Two runs of one generation said different things of a row.
pub(super) fn contradiction(generation: Generation, place: String) -> Error {
    let text =
        format!("generation {} was published with another row; a run is not deterministic", generation.0);
    Error::new(ErrorKind::Conflict, text).on(place)
}

/// The feature table of a kind.
pub(crate) fn feature_table(kind: EntityKind) -> TableName {
    match kind {
        EntityKind::User => TableName::UserFeatures,
        EntityKind::Item => TableName::ItemFeatures,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::online::seeds::{self, Random};

    /// What each generation changed of one row.
    type Changes = BTreeMap<u64, Option<u8>>;

    fn row_at(changes: &Changes, generation: u64) -> Option<u8> {
        changes.range(..=generation).next_back().and_then(|(_, row)| *row)
    }

    /// A run of one generation: what it read last, if it is between reading and writing.
    struct Runner {
        generation: u64,
        read: Option<Option<Versioned<u8>>>,
    }

    impl Runner {
        /// Reads, or writes what follows from what was read; a write is done only if the condition holds.
        fn step(&mut self, item: &mut Option<Versioned<u8>>, changes: &Changes) {
            let Some(read) = self.read.take() else {
                self.read = Some(item.clone());
                return;
            };
            let row = row_at(changes, self.generation);
            match Versioned::publish(read.as_ref(), Generation(self.generation), row.as_ref()) {
                Step::Write(next) => {
                    let seen = read.as_ref().map(|read| read.newest.generation);
                    if item.as_ref().map(|item| item.newest.generation) == seen {
                        *item = Some(next);
                    }
                }
                Step::Unchanged | Step::Superseded => {}
                Step::Contradicts => panic!("a deterministic run contradicts itself"),
            }
        }
    }

    /// Generations one after the other, each by runners that crash between any two steps and some of which
    /// wake up generations later; readers look at every pin after each step.
    fn schedule(random: &mut Random) -> u64 {
        let (mut item, mut changes, mut runners) = (None, Changes::new(), Vec::new());
        let mut reads = 0;
        for generation in 1..=6 + random.below(4) {
            if random.below(3) > 0 {
                let row = (random.below(3) > 0).then(|| random.below(3) as u8);
                changes.insert(generation, row);
            }
            runners.push(Runner { generation, read: None });
            runners.push(Runner { generation, read: None });
            let live = runners.len() - 1;
            for _ in 0..random.below(8) {
                let runner = random.below(runners.len() as u64) as usize;
                runners[runner].step(&mut item, &changes);
                reads += look(&item, &changes, generation - 1, generation);
            }
            // One runner gets to the end; the others sleep wherever they are.
            runners[live].read = None;
            loop {
                runners[live].step(&mut item, &changes);
                runners[live].step(&mut item, &changes);
                if random.below(2) == 0 {
                    let zombie = random.below(runners.len() as u64) as usize;
                    runners[zombie].step(&mut item, &changes);
                }
                let newest = item.as_ref().and_then(|item| item.newest.row);
                if newest == row_at(&changes, generation) {
                    break;
                }
            }
            reads += look(&item, &changes, generation, generation);
        }
        reads
    }

    /// Every pin is answered rightly or told to be too old; the committed one is answered always.
    fn look(item: &Option<Versioned<u8>>, changes: &Changes, committed: u64, begun: u64) -> u64 {
        for pin in 0..=committed {
            let seen = match item {
                Some(item) => item.clone().at(Generation(pin)),
                None => Pinned::At(None),
            };
            match seen {
                Pinned::At(row) => assert_eq!(row, row_at(changes, pin), "pin {pin} of {begun}: {item:?}"),
                Pinned::TooOld => assert!(pin < committed, "pin {pin}, committed {committed}: {item:?}"),
            }
        }
        committed + 1
    }

    #[test]
    fn readers_see_the_row_of_their_generation_whatever_runners_zombies_and_crashes_do() {
        let seed = seeds::from_env("RECSTORE_SEED", 1);
        let schedules = seeds::from_env("RECSTORE_ONLINE_VERSIONS", 200_000);
        println!("RECSTORE_SEED={seed} RECSTORE_ONLINE_VERSIONS={schedules}");
        let mut random = Random::new(seed);
        let reads: u64 = (0..schedules).map(|_| schedule(&mut random)).sum();
        assert!(reads > schedules);
    }

    #[test]
    fn publishing_again_changes_nothing_and_an_older_generation_is_left_out() {
        let publish = |stored: &Versioned<u8>, generation, row: Option<u8>| {
            Versioned::publish(Some(stored), Generation(generation), row.as_ref())
        };
        let Step::Write(first) = Versioned::publish(None, Generation(3), Some(&7)) else {
            panic!("no write")
        };
        assert_eq!(publish(&first, 3, Some(7)), Step::Unchanged);
        assert_eq!(publish(&first, 2, Some(6)), Step::Superseded);
        assert_eq!(publish(&first, 3, Some(8)), Step::Contradicts);
        assert_eq!(publish(&first, 3, None), Step::Contradicts);
        assert_eq!(publish(&first, 4, Some(7)), Step::Unchanged);
        let Step::Write(second) = publish(&first, 5, None) else { panic!("no write") };
        assert_eq!(second.previous.as_ref(), Some(&first.newest));
        assert_eq!(publish(&second, 5, None), Step::Unchanged);
        assert_eq!(Versioned::<u8>::publish(None, Generation(5), None), Step::Unchanged);
        let Step::Write(third) = publish(&second, 9, Some(1)) else { panic!("no write") };
        let seen = [0, 4, 5, 8, 9].map(|pin| third.clone().at(Generation(pin)));
        let (gone, there) = (Pinned::At(None), Pinned::At(Some(1)));
        assert_eq!(seen, [Pinned::TooOld, Pinned::TooOld, gone.clone(), gone, there]);
        assert_eq!(first.at(Generation(2)), Pinned::At(None));
    }
}
