//! Smaller scripts than one that fails.

use crate::strategies::{Operation, Step};

/// What is left out next: first runs of steps, long ones before short ones, then single events of batches.
#[derive(Debug)]
pub(super) struct Smaller {
    length: usize,
    first: usize,
    given: usize,
    event: usize,
}

impl Smaller {
    /// Of a script of so many steps.
    pub(super) fn new(steps: usize) -> Smaller {
        Smaller { length: steps.div_ceil(2), first: 0, given: 0, event: 0 }
    }

    /// The next script that is smaller than `steps`; `None` when all were given.
    pub(super) fn next(&mut self, steps: &[Step]) -> Option<Vec<Step>> {
        while self.length > 0 {
            while self.first < steps.len() {
                let end = (self.first + self.length).min(steps.len());
                let without = [&steps[..self.first], &steps[end..]].concat();
                (self.given, self.first) = (self.first, end);
                // What fails without any step shows nothing.
                if !without.is_empty() {
                    return Some(without);
                }
            }
            (self.length, self.first) = (if self.length == 1 { 0 } else { self.length.div_ceil(2) }, 0);
        }
        self.without_event(steps)
    }

    /// To be called when the script given last fails too, and is the one to make smaller now.
    pub(super) fn taken(&mut self) {
        // What came after it has moved up to its place.
        match self.length {
            0 => self.event = self.event.saturating_sub(1),
            _ => self.first = self.given,
        }
    }

    /// The script without the event of this number, counted over all its batches.
    fn without_event(&mut self, steps: &[Step]) -> Option<Vec<Step>> {
        let mut left = self.event;
        for (index, step) in steps.iter().enumerate() {
            let Operation::Put(events) = &step.operation else { continue };
            if left < events.len() {
                let mut events = events.clone();
                events.remove(left);
                let mut smaller = steps.to_vec();
                smaller[index].operation = Operation::Put(events);
                self.event += 1;
                return Some(smaller);
            }
            left -= events.len();
        }
        None
    }
}
