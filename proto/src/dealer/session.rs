//! What waits for a session's credit.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::message::Kind;

/// What a queued message is charged besides its body, so that empty ones are bounded too.
const MESSAGE_COST: usize = 32;

/// A session of a node with flow control.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Response bytes that may leave now; below zero after a head that was larger than what was left.
    credit: i64,
    queue: VecDeque<(Kind, Bytes)>,
    queued: usize,
    is_over: bool,
}

impl Session {
    /// Whether nothing more is taken: its `end` has been queued, or nobody wants to know of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What the queue is charged.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn room(&self, max: usize) -> usize {
        max.saturating_sub(self.queued)
    }

    /// Whether the queue takes `body`: it fits, or nothing is in its way.
    pub(super) fn takes(&self, body: &Bytes, max: usize) -> bool {
        self.is_empty() || body.len() <= self.room(max)
    }

    /// Queues a message and returns what it is charged.
    pub(super) fn push(&mut self, kind: Kind, body: Bytes) -> usize {
        self.is_over |= kind == Kind::End;
        let cost = MESSAGE_COST + body.len();
        self.queued += cost;
        self.queue.push_back((kind, body));
        cost
    }

    pub(super) fn finish(&mut self) {
        self.is_over = true;
    }

    pub(super) fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Takes the next message, or as much of it as the credit allows, and what the queue is charged less.
    pub(super) fn pop(&mut self) -> Option<(Kind, Bytes, usize)> {
        let (kind, body) = self.queue.front_mut()?;
        let kind = *kind;
        let counts = matches!(kind, Kind::Headers | Kind::Uwsgi | Kind::Body | Kind::Chunk);
        if counts && !body.is_empty() {
            if self.credit <= 0 {
                return None;
            }
            // A head is of no use in halves.
            let splits = matches!(kind, Kind::Body | Kind::Chunk);
            if splits
                && let Ok(credit) = usize::try_from(self.credit)
                && credit < body.len()
            {
                self.credit = 0;
                self.queued -= credit;
                return Some((kind, body.split_to(credit), credit));
            }
            self.credit -= body.len() as i64;
        }
        let (_, body) = self.queue.pop_front()?;
        let cost = MESSAGE_COST + body.len();
        self.queued -= cost;
        Some((kind, body, cost))
    }
}
