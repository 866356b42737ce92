//! How long a connection waits: for the first frame, for the rest of a head, for the next request; for the next piece of a
//! body; for a window to open.

use alloc::vec::Vec;

use super::frame::{Farewell, StatusCode};
use super::stream::{Receiving, Sending};
use super::{Connection, Event};
use crate::error::Cause;
use crate::http::StreamId;
use crate::time::{Instant, earliest};

/// What a server as a whole is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first frame.
    Greeting,
    /// The rest of a head, by its number.
    Head(u32),
    /// The next request.
    Idle,
    /// The streams' own affairs.
    Busy,
}

impl Connection {
    /// When to call [`handle_timeout`](Self::handle_timeout) next: never later than the earliest deadline, sometimes
    /// earlier.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.phase_deadline, self.stream_deadline)
    }

    /// Deadlines that have come take effect; earlier calls change nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        self.now = self.now.max(now);
        let has_come = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if has_come(self.phase_deadline) {
            return self.end_phase();
        }
        if has_come(self.stream_deadline) {
            self.end_streams(now);
        }
        self.check_books();
    }

    fn end_phase(&mut self) {
        let limits = &self.settings.limits;
        match self.phase {
            // The rest may be there, where it is not read.
            Phase::Head(_) if self.is_held_back() => self.phase_deadline = Some(self.now + limits.head_timeout),
            Phase::Greeting | Phase::Head(_) => self.violate(Cause::HeadTimeout),
            // The last response is still on its way: the client is slow, not idle.
            Phase::Idle if !self.outbound.is_empty() => {
                self.phase_deadline = Some(self.now + limits.keep_alive_timeout);
            }
            Phase::Idle => self.say_farewell(Cause::KeepAliveTimeout, Farewell::Ok),
            Phase::Busy => self.phase_deadline = None,
        }
    }

    /// Looks at the deadlines of all streams, ends those that are late, and finds the earliest that is left.
    fn end_streams(&mut self, now: Instant) {
        let limits = &self.settings.limits;
        // What stands between the peer and us may be full of earlier bytes, its window of other streams' bytes, and what it
        // says of its windows may not have been read: then it is not this stream that is late.
        let peer_is_behind = !self.outbound.is_empty() || self.is_hoarding();
        // The next piece of a body may be there, where it is not read.
        let is_unread = self.unreleased > 0 || self.is_held_back();
        let (mut next, mut late) = (None, Vec::new());
        for stream in &mut self.streams {
            if stream.stall_deadline.is_some_and(|at| at <= now) {
                // It has a window of its own: others, more urgent ones, may have had the connection's.
                let turn = Some(self.data_written_at + limits.write_stall);
                let turn = turn.filter(|at| stream.send_window > 0 && *at > now);
                stream.stall_deadline = turn.or(peer_is_behind.then(|| now + limits.write_stall));
                if stream.stall_deadline.is_none() {
                    late.push((stream.id, Cause::WindowStall));
                }
            }
            if stream.body_deadline.is_some_and(|at| at <= now) {
                let waits = is_unread && !stream.is_discarding();
                stream.body_deadline = waits.then(|| now + limits.body_timeout);
                if !waits {
                    late.push((stream.id, Cause::BodyTimeout));
                }
            }
            next = earliest(next, earliest(stream.stall_deadline, stream.body_deadline));
        }
        self.stream_deadline = next;
        for (id, cause) in late {
            let Some(at) = self.find(id) else { continue };
            if cause == Cause::BodyTimeout && !self.streams[at].is_discarding() {
                self.fail(StreamId(id), cause, now);
                self.push_event(id, Event::Cut(cause));
            } else {
                self.cut(id, cause, Some(StatusCode::CANCEL));
            }
        }
    }

    /// Finds out what a server is waiting for now.
    pub(super) fn update_phase(&mut self) {
        if !self.is_server || self.closing.is_some() {
            return;
        }
        let phase = match self.open_block() {
            _ if !self.is_greeted => Phase::Greeting,
            Some(block) => Phase::Head(block),
            None if self.streams.is_empty() => Phase::Idle,
            None => Phase::Busy,
        };
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        let limits = &self.settings.limits;
        self.phase_deadline = match phase {
            Phase::Greeting => self.phase_deadline,
            Phase::Head(_) => Some(self.now + limits.head_timeout),
            Phase::Idle => Some(self.now + limits.keep_alive_timeout),
            Phase::Busy => None,
        };
    }

    /// Sets the deadline of the next piece of a request's body, unless it is not the client that is awaited.
    pub(super) fn arm_body(&mut self, at: usize) {
        if !self.is_server {
            return;
        }
        let stream = &mut self.streams[at];
        if stream.is_discarding() {
            return;
        }
        let is_awaited = stream.receiving == Receiving::Body && stream.unreleased == 0;
        stream.body_deadline = is_awaited.then(|| self.now + self.settings.limits.body_timeout);
        self.stream_deadline = earliest(self.stream_deadline, stream.body_deadline);
    }

    /// Sets the deadline of a request that is answered already.
    pub(super) fn arm_drain(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        debug_assert!(stream.sending == Sending::Complete, "it was answered");
        stream.body_deadline = Some(self.now + self.settings.limits.drain_timeout);
        self.stream_deadline = earliest(self.stream_deadline, stream.body_deadline);
    }

    /// Sets the deadline of a stream that waits for the peer's window.
    pub(super) fn arm_stall(&mut self, at: usize) {
        let deadline = self.now + self.settings.limits.write_stall;
        self.streams[at].stall_deadline = Some(deadline);
        self.stream_deadline = earliest(self.stream_deadline, Some(deadline));
    }
}
