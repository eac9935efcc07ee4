//! What was written and synced, and the moments at which the power can go.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::{Image, Random, Replay, Trust};

/// What happened to the files of a disk, in order.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        length: usize,
    },
    Sync {
        file: usize,
    },
    /// A sync that failed: the system may have dropped what was not written yet, and a later sync that goes
    /// well does not bring it back (Rebello et al. 2020, "Can applications recover from fsync failures?").
    FailedSync {
        file: usize,
    },
    Delete {
        file: usize,
    },
    /// The folder was synced, and with it every deletion before.
    FolderSync,
    /// What is being done from here on.
    Phase(&'static str),
    Begun(usize),
    Acknowledged(usize),
}

/// The record of a [`Disk`](crate::Disk): every change of its files and the marks of the test.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub(crate) files: Vec<FileLog>,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct FileLog {
    pub(crate) name: String,
    /// The content when the disk came to be watched.
    pub(crate) before: Option<Vec<u8>>,
}

/// A moment in a log at which the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    pub(crate) at: usize,
    /// The last step that was acknowledged before.
    pub acknowledged: usize,
    /// The last step that was begun before.
    pub begun: usize,
    /// What was being done, by the last [mark](crate::Disk::phase) before.
    pub phase: &'static str,
}

impl Log {
    pub(crate) fn file(&mut self, name: &str, before: impl FnOnce() -> Option<Vec<u8>>) -> usize {
        if let Some(file) = self.files.iter().position(|file| file.name == name) {
            return file;
        }
        self.files.push(FileLog { name: name.to_owned(), before: before() });
        self.files.len() - 1
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// How many entries come before the first step: the creation of the store.
    pub fn creation(&self) -> usize {
        self.entries.iter().position(|entry| matches!(entry, Entry::Begun(_))).unwrap_or(self.len())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing happened yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The moment before entry `at`.
    pub fn cut(&self, at: usize) -> Cut {
        let mut cut = Cut { at: at.min(self.entries.len()), acknowledged: 0, begun: 0, phase: "none" };
        for entry in &self.entries[..cut.at] {
            match *entry {
                Entry::Phase(name) => cut.phase = name,
                Entry::Begun(step) => cut.begun = step,
                Entry::Acknowledged(step) => cut.acknowledged = step,
                _ => {}
            }
        }
        cut
    }

    /// The log up to a moment, to [go on](crate::Disk::after_kill) from.
    #[must_use]
    pub fn until(&self, cut: Cut) -> Log {
        Log { files: self.files.clone(), entries: self.entries[..cut.at].to_vec() }
    }

    /// Every change, synced or not: what the operating system still has when a process is killed.
    pub(crate) fn all_changes(&self) -> Image {
        let content = |file: usize| {
            let mut content = self.files[file].before.clone();
            self.entries.iter().for_each(|entry| apply(entry, file, &mut content, None));
            Some((self.files[file].name.clone(), content?))
        };
        Image { files: (0..self.files.len()).filter_map(content).collect() }
    }

    /// Every step that was acknowledged before the cut, for steps that ran side by side.
    pub fn acknowledged(&self, cut: Cut) -> BTreeSet<usize> {
        let before = self.entries[..cut.at].iter();
        before
            .filter_map(|entry| match entry {
                Entry::Acknowledged(step) => Some(*step),
                _ => None,
            })
            .collect()
    }

    /// The first step that was acknowledged while a write to the file of this name was not synced.
    pub fn acknowledged_before_sync(&self, name: &str) -> Option<usize> {
        let file = self.files.iter().position(|file| file.name == name)?;
        let mut is_synced = true;
        for entry in &self.entries {
            match entry {
                Entry::Sync { file: of } if *of == file => is_synced = true,
                Entry::Acknowledged(step) if !is_synced => return Some(*step),
                Entry::Write { file: of, .. } if *of == file => is_synced = false,
                _ => {}
            }
        }
        None
    }

    /// What the cut leaves: see [`Replay::image`].
    pub fn image(&self, cut: Cut, trust: Trust, random: &mut Random) -> Image {
        Replay::new(self).image(cut, trust, random)
    }

    /// The entries whose writes failed syncs may have dropped.
    pub(crate) fn dropped(&self, file: usize, end: usize) -> Vec<Range<usize>> {
        let mut dropped = Vec::new();
        let mut begin = 0;
        for (index, entry) in self.entries[..end].iter().enumerate() {
            match entry {
                Entry::Sync { file: of } if *of == file => begin = index,
                Entry::FailedSync { file: of } if *of == file => dropped.push(begin..index),
                _ => {}
            }
        }
        dropped
    }

    /// The end of what is surely on the disk for a file: its last sync, or a deletion that the folder's sync
    /// followed.
    pub(crate) fn durable(&self, file: usize, at: usize) -> usize {
        let entries = &self.entries[..at];
        let last = |wanted: &dyn Fn(&Entry) -> bool, end: usize| {
            entries[..end].iter().rposition(wanted).map_or(0, |index| index + 1)
        };
        let synced = last(&|entry| matches!(entry, Entry::Sync { file: of } if *of == file), at);
        let folder = last(&|entry| matches!(entry, Entry::FolderSync), at);
        let deleted = last(&|entry| matches!(entry, Entry::Delete { file: of } if *of == file), folder);
        synced.max(deleted)
    }
}

pub(crate) fn concerns(entry: &Entry, file: usize) -> bool {
    match entry {
        Entry::Write { file: of, .. } | Entry::Truncate { file: of, .. } | Entry::Delete { file: of } => {
            *of == file
        }
        Entry::Sync { .. } | Entry::FailedSync { .. } => false,
        Entry::FolderSync | Entry::Phase(_) | Entry::Begun(_) | Entry::Acknowledged(_) => false,
    }
}

pub(crate) fn apply(entry: &Entry, file: usize, content: &mut Option<Vec<u8>>, limit: Option<usize>) {
    match entry {
        Entry::Write { file: of, offset, bytes } if *of == file => {
            let bytes = &bytes[..limit.unwrap_or(bytes.len()).min(bytes.len())];
            let content = content.get_or_insert_default();
            if bytes.is_empty() {
                return;
            }
            if content.len() < *offset {
                content.resize(*offset, 0);
            }
            // Most writes go past the end in part or whole.
            let within = bytes.len().min(content.len() - offset);
            content[*offset..offset + within].copy_from_slice(&bytes[..within]);
            content.extend_from_slice(&bytes[within..]);
        }
        Entry::Truncate { file: of, length } if *of == file => {
            content.get_or_insert_default().resize(*length, 0);
        }
        Entry::Delete { file: of } if *of == file => *content = None,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: usize, offset: usize, bytes: &[u8]) -> Entry {
        Entry::Write { file, offset, bytes: bytes.to_vec() }
    }

    fn log(entries: Vec<Entry>) -> Log {
        let mut log = Log::default();
        log.file("a", || None);
        log.file("b", || None);
        entries.into_iter().for_each(|entry| log.push(entry));
        log
    }

    /// Everything that some seed leaves of file `a` at the end.
    fn outcomes(log: &Log, trust: Trust) -> BTreeSet<Option<Vec<u8>>> {
        let cut = log.cut(log.len());
        (0..200)
            .map(|seed| {
                let image = log.image(cut, trust, &mut Random::new(seed));
                image.files.into_iter().find(|(name, _)| name == "a").map(|(_, content)| content)
            })
            .collect()
    }

    #[test]
    fn what_was_synced_is_always_there_and_the_rest_may_be() {
        let log = log(vec![write(0, 0, b"one"), Entry::Sync { file: 0 }, write(0, 3, b"two")]);
        let found = outcomes(&log, Trust::All);
        assert_eq!(found, [Some(b"one".to_vec()), Some(b"onetwo".to_vec())].into());
        assert!(outcomes(&log, Trust::Nothing).contains(&None));
    }

    #[test]
    fn a_sync_of_one_file_says_nothing_about_another() {
        let log = log(vec![write(0, 0, b"one"), Entry::Sync { file: 1 }]);
        assert!(outcomes(&log, Trust::All).contains(&None));
    }

    #[test]
    fn unsynced_writes_come_through_in_any_combination_and_torn() {
        let log = log(vec![write(0, 0, &[1; 1024]), write(0, 1024, &[2; 1024])]);
        let found = outcomes(&log, Trust::All);
        let second_alone = [vec![0; 1024], vec![2; 1024]].concat();
        assert!(found.contains(&Some(second_alone)));
        assert!(found.contains(&Some(vec![1; 512])), "a torn write");
    }

    #[test]
    fn what_a_failed_sync_dropped_stays_lost() {
        let begin = vec![write(0, 0, b"one"), Entry::Sync { file: 0 }, write(0, 3, b"two")];
        let end = vec![Entry::FailedSync { file: 0 }, write(0, 6, b"x"), Entry::Sync { file: 0 }];
        let found = outcomes(&log([begin, end].concat()), Trust::All);
        assert_eq!(found, [Some(b"one\0\0\0x".to_vec()), Some(b"onetwox".to_vec())].into());
    }

    #[test]
    fn a_deletion_is_durable_once_the_folder_is_synced() {
        let begin = vec![write(0, 0, b"one"), Entry::Sync { file: 0 }, Entry::Delete { file: 0 }];
        let pending = log(begin.clone());
        assert_eq!(outcomes(&pending, Trust::All), [None, Some(b"one".to_vec())].into());
        let synced = log([begin, vec![Entry::FolderSync]].concat());
        assert_eq!(outcomes(&synced, Trust::All), [None].into());
    }

    #[test]
    fn a_step_acknowledged_before_its_sync_is_found() {
        let late = vec![Entry::Begun(1), write(0, 0, b"x"), Entry::Acknowledged(1), Entry::Sync { file: 0 }];
        assert_eq!(log(late).acknowledged_before_sync("a"), Some(1));
        let good = vec![write(0, 0, b"x"), Entry::Sync { file: 0 }, Entry::Acknowledged(1)];
        assert_eq!(log(good).acknowledged_before_sync("a"), None);
    }

    #[test]
    fn a_cut_knows_what_was_acknowledged_before_it() {
        let log = log(vec![Entry::Begun(1), write(0, 0, b"x"), Entry::Acknowledged(1), Entry::Begun(2)]);
        let at = |at| (log.cut(at).acknowledged, log.cut(at).begun);
        assert_eq!([at(0), at(2), at(3), at(4)], [(0, 0), (0, 1), (1, 1), (1, 2)]);
    }
}
