//! What a power cut leaves of the files.

use std::ops::Range;
use std::path::Path;
use std::{fs, io};

use crate::log::{Entry, apply, concerns};
use crate::{Cut, Log, Random};

/// Whose syncs a power cut believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// All of them: the disk is honest.
    All,
    /// None: a disk that answers before it has written.
    Nothing,
}

/// The files as they are found after a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// What becomes of a file's changes after its last sync.
#[derive(Debug, Clone, Copy)]
enum Tail {
    Lost,
    Kept,
    Mixed,
}

/// Disks write whole sectors of this many bytes.
const SECTOR: usize = 512;

/// Makes [images](Image) of one log. Cuts in the order of the log are cheap: what was synced before is kept from
/// image to image.
#[derive(Debug)]
pub struct Replay<'a> {
    log: &'a Log,
    files: Vec<Durable>,
    has_failed_syncs: bool,
}

/// A file as it is after so many entries, all of them on the disk.
#[derive(Debug, Clone)]
struct Durable {
    at: usize,
    content: Option<Vec<u8>>,
}

impl Replay<'_> {
    /// At the begin of the log.
    pub fn new(log: &Log) -> Replay<'_> {
        let begin = |file: usize| Durable { at: 0, content: log.files[file].before.clone() };
        let has_failed_syncs = log.entries.iter().any(|entry| matches!(entry, Entry::FailedSync { .. }));
        Replay { log, files: (0..log.files.len()).map(begin).collect(), has_failed_syncs }
    }

    /// What the cut leaves: of each file everything before its last sync, and of the rest nothing, everything
    /// or a random part, where one write in eight is torn at a sector. Half the time writes before a sync that
    /// failed are lost for good.
    pub fn image(&mut self, cut: Cut, trust: Trust, random: &mut Random) -> Image {
        let files = (0..self.files.len())
            .filter_map(|file| {
                let content = self.content(file, cut.at, trust, random)?;
                Some((self.log.files[file].name.clone(), content))
            })
            .collect();
        Image { files }
    }

    fn content(&mut self, file: usize, at: usize, trust: Trust, random: &mut Random) -> Option<Vec<u8>> {
        let durable = match trust {
            Trust::All => self.log.durable(file, at),
            Trust::Nothing => 0,
        };
        let drops = random.one_in(2) && self.has_failed_syncs;
        let content = if drops { self.without_dropped(file, durable) } else { self.advance(file, durable) };
        self.add_tail(file, durable..at, content, random)
    }

    /// The file after so many entries.
    fn advance(&mut self, file: usize, to: usize) -> Option<Vec<u8>> {
        let Durable { at, content } = &mut self.files[file];
        if *at > to {
            *at = 0;
            content.clone_from(&self.log.files[file].before);
        }
        self.log.entries[*at..to].iter().for_each(|entry| apply(entry, file, content, None));
        *at = to;
        content.clone()
    }

    /// The file after so many entries, without the writes that failed syncs may have dropped.
    fn without_dropped(&self, file: usize, to: usize) -> Option<Vec<u8>> {
        let dropped = self.log.dropped(file, to);
        let mut content = self.log.files[file].before.clone();
        for (index, entry) in self.log.entries[..to].iter().enumerate() {
            let is_write = matches!(entry, Entry::Write { .. });
            if !(is_write && dropped.iter().any(|range| range.contains(&index))) {
                apply(entry, file, &mut content, None);
            }
        }
        content
    }

    /// Adds what becomes of the entries that are not surely on the disk.
    fn add_tail(
        &self,
        file: usize,
        entries: Range<usize>,
        mut content: Option<Vec<u8>>,
        random: &mut Random,
    ) -> Option<Vec<u8>> {
        let tail = match random.below(3) {
            0 => Tail::Lost,
            1 => Tail::Kept,
            _ => Tail::Mixed,
        };
        for entry in self.log.entries[entries].iter().filter(|entry| concerns(entry, file)) {
            let keeps = match tail {
                Tail::Lost => return content,
                Tail::Kept => true,
                Tail::Mixed => random.one_in(2),
            };
            match entry {
                // What follows was written to a new file that has no name without the deletion.
                Entry::Delete { .. } if !keeps => return content,
                Entry::Write { bytes, .. } if keeps => {
                    let tears = matches!(tail, Tail::Mixed) && random.one_in(8);
                    let sectors = bytes.len().div_ceil(SECTOR);
                    let limit = tears.then(|| random.below(sectors.max(1)) * SECTOR);
                    apply(entry, file, &mut content, limit);
                }
                _ if keeps => apply(entry, file, &mut content, None),
                _ => {}
            }
        }
        content
    }
}

impl Image {
    /// Writes the files into a folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.files.iter().try_for_each(|(name, content)| fs::write(folder.join(name), content))
    }
}
