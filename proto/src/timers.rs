//! Deadlines of many things, one per slot, cheap to move.
//!
//! A connection's deadline moves with nearly every message and hardly ever fires, so moving one must cost next to
//! nothing: [`Timers::set`] writes a field. Only a deadline *earlier* than the slot's entry in the queue needs a new
//! entry; an entry that comes up early looks at the field and goes back into the queue. Entries belong to slots, not
//! to their tenants: a slot that is used again inherits the entry, so the queue stays as long as the table is,
//! whatever the churn.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::time::Instant;

#[derive(Clone, Copy, Default)]
struct Slot {
    deadline: Option<Instant>,
    /// Time of the slot's earliest entry in the queue; later entries of the slot are stale and dropped when they surface.
    queued: Option<Instant>,
}

/// One optional deadline for each slot of a table.
///
/// Call [`poll_timeout`](Self::poll_timeout) to learn when to come back (never later than the earliest deadline,
/// sometimes earlier), then [`pop_due`](Self::pop_due) until it returns `None`.
#[derive(Default)]
pub struct Timers {
    slots: Vec<Slot>,
    queue: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Timers {
    /// No deadlines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets or clears the deadline of `slot`.
    pub fn set(&mut self, slot: usize, deadline: Option<Instant>) {
        if self.slots.len() <= slot {
            if deadline.is_none() {
                return;
            }
            self.slots.resize(slot + 1, Slot::default());
        }
        let entry = &mut self.slots[slot];
        entry.deadline = deadline;
        let Some(at) = deadline else { return };
        if entry.queued.is_none_or(|queued| at < queued) {
            entry.queued = Some(at);
            self.queue.push(Reverse((at, slot as u32)));
        }
    }

    /// The deadline of `slot`.
    pub fn deadline(&self, slot: usize) -> Option<Instant> {
        self.slots.get(slot).and_then(|entry| entry.deadline)
    }

    /// When to call [`pop_due`](Self::pop_due) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one slot whose deadline has come; its deadline is cleared.
    #[must_use]
    pub fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(&Reverse((at, slot))) = self.queue.peek() {
            if at > now {
                return None;
            }
            self.queue.pop();
            let entry = &mut self.slots[slot as usize];
            if entry.queued != Some(at) {
                continue;
            }
            entry.queued = None;
            match entry.deadline {
                Some(deadline) if deadline <= now => {
                    entry.deadline = None;
                    return Some(slot as usize);
                }
                Some(deadline) => {
                    entry.queued = Some(deadline);
                    self.queue.push(Reverse((deadline, slot)));
                }
                None => {}
            }
        }
        None
    }

    /// Entries in the queue, stale ones included; for tests and statistics.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_deadline_fires_once_at_its_time() {
        let mut timers = Timers::new();
        timers.set(3, Some(at(10)));
        assert_eq!(timers.poll_timeout(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(10)), Some(3));
        assert_eq!(timers.pop_due(at(1000)), None);
        assert_eq!(timers.deadline(3), None);
    }

    #[test]
    fn a_deadline_that_moved_later_fires_at_the_later_time_only() {
        let mut timers = Timers::new();
        timers.set(0, Some(at(10)));
        timers.set(0, Some(at(50)));
        assert_eq!(timers.pop_due(at(20)), None);
        assert_eq!(timers.poll_timeout(), Some(at(50)));
        assert_eq!(timers.pop_due(at(50)), Some(0));
    }

    #[test]
    fn a_deadline_that_moved_earlier_fires_at_the_earlier_time_only() {
        let mut timers = Timers::new();
        timers.set(0, Some(at(50)));
        timers.set(0, Some(at(10)));
        assert_eq!(timers.pop_due(at(10)), Some(0));
        assert_eq!(timers.pop_due(at(100)), None);
    }

    #[test]
    fn a_cleared_deadline_does_not_fire() {
        let mut timers = Timers::new();
        timers.set(1, Some(at(10)));
        timers.set(1, None);
        assert_eq!(timers.pop_due(at(10)), None);
        timers.set(1, Some(at(30)));
        assert_eq!(timers.pop_due(at(30)), Some(1));
    }

    #[test]
    fn reuse_of_slots_does_not_grow_the_queue() {
        let mut timers = Timers::new();
        for round in 0..1000 {
            timers.set(7, Some(at(1000 + round)));
            timers.set(7, None);
        }
        assert_eq!(timers.queued(), 1);
    }
}
