//! The counts of one proxy.

use super::seen::Seen;
use recstore_test_cloud::{Count, Counts, Side};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By side, operation and place.
type Rows = BTreeMap<(Side, String, String), Row>;

/// The counts since the last reset.
#[derive(Default)]
pub(super) struct Tally(Mutex<Rows>);

#[derive(Default, Clone, Copy)]
struct Row {
    requests: u64,
    forwarded: u64,
    faults: u64,
    request_bytes: u64,
    response_bytes: u64,
}

impl Tally {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, seen: &Seen, change: impl FnOnce(&mut Row)) {
        let key = (seen.side, seen.operation.clone(), seen.places.join(","));
        change(self.rows().entry(key).or_default());
    }

    pub(super) fn came(&self, seen: &Seen, bytes: usize) {
        self.change(seen, |row| {
            row.requests += 1;
            row.request_bytes += bytes as u64;
        });
    }

    pub(super) fn acted_on(&self, seen: &Seen) {
        self.change(seen, |row| row.faults += 1);
    }

    pub(super) fn forwarded(&self, seen: &Seen) {
        self.change(seen, |row| row.forwarded += 1);
    }

    pub(super) fn answered(&self, seen: &Seen, bytes: usize) {
        self.change(seen, |row| row.response_bytes += bytes as u64);
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |((side, operation, place), row): (&(Side, String, String), &Row)| Count {
            side: *side,
            operation: operation.clone(),
            place: place.clone(),
            requests: row.requests,
            forwarded: row.forwarded,
            faults: row.faults,
            request_bytes: row.request_bytes,
            response_bytes: row.response_bytes,
        };
        Counts(self.rows().iter().map(count).collect())
    }

    pub(super) fn reset(&self) {
        self.rows().clear();
    }
}
