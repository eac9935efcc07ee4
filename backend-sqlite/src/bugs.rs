//! Bugs that the tests of this crate switch on, to see that a named test catches each.
//!
//! Each stands where it would be made, as a condition that is the constant `false` in all other builds. In test
//! builds a bug is switched on for a thread by a call that runs on it: for the writer of one store, that is, and
//! for no other.

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Calls are answered before their transaction is committed.
    AnswersBeforeTheCommit,
    /// The calls of a group that failed are not tried alone.
    FailsWholeGroups,
    /// Users and items that a transaction loaded stay as they are when it is rolled back.
    KeepsWhatWasRolledBack,
    /// Users and items stay as they were when another handle has written.
    OverlooksOtherWriters,
    /// A transaction takes the lock when it writes first, not when it begins.
    BeginsDeferred,
    /// Writes go on after a commit whose outcome is unknown.
    GoesOnAfterAFailedCommit,
    /// The statistics of users and items that have a row already are not written.
    KeepsStatisticsBack,
    /// Items that are hidden, shown and erased are not told to readers.
    CountsNoRenamings,
    /// A rating that is replaced gets no checksum.
    SealsNoReplacement,
}

/// Whether this thread shall do it wrong.
#[cfg(not(test))]
pub(crate) const fn seeded(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switch::{seed, seeded};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches a bug on for this thread.
    pub(crate) fn seed(bug: Bug) {
        SEEDED.set(Some(bug));
    }

    /// Whether this thread shall do it wrong.
    pub(crate) fn seeded(bug: Bug) -> bool {
        SEEDED.get() == Some(bug)
    }
}
