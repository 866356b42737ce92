//! How long a server waits: for the preface, for the rest of a head, for the next request; for the next piece of a
//! body; for a window to open.

use alloc::vec::Vec;

use super::frame::ErrorCode;
use super::stream::Sending;
use super::{Connection, Event};
use crate::error::Cause;
use crate::http::StreamId;
use crate::time::{Instant, earliest};

/// What the connection as a whole is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The preface, with the client's SETTINGS.
    Preface,
    /// The rest of a head, by its number.
    Head(u64),
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
        earliest(earliest(self.phase_deadline, self.drain_deadline), self.stream_deadline)
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
        if has_come(self.drain_deadline) {
            // The client has had the time of many round trips to answer our PING.
            self.drain_deadline = None;
            if self.streams.is_empty() {
                return self.say_farewell(Cause::Complete, ErrorCode::NO_ERROR);
            }
        }
        if has_come(self.stream_deadline) {
            self.end_streams(now);
        }
    }

    fn end_phase(&mut self) {
        let limits = &self.settings.limits;
        match self.phase {
            // The rest may be there, where it is not read.
            Phase::Head(_) if self.is_held_back() => self.phase_deadline = Some(self.now + limits.head_timeout),
            Phase::Preface | Phase::Head(_) => self.violate(Cause::HeadTimeout),
            // The last response is still on its way: the client is slow, not idle.
            Phase::Idle if !self.outbound.is_empty() => {
                self.phase_deadline = Some(self.now + limits.keep_alive_timeout);
            }
            Phase::Idle => self.say_farewell(Cause::KeepAliveTimeout, ErrorCode::NO_ERROR),
            Phase::Busy => self.phase_deadline = None,
        }
    }

    /// Looks at the deadlines of all streams, ends those that are late, and finds the earliest that is left.
    fn end_streams(&mut self, now: Instant) {
        let limits = &self.settings.limits;
        // What stands between the client and us may be full of earlier bytes, and its window of other streams' bytes:
        // then it is not this stream that is late.
        let client_is_behind = !self.outbound.is_empty();
        // The next piece of a body may be there, where it is not read.
        let is_unread = self.unreleased > 0 || self.is_held_back();
        let (mut next, mut late) = (None, Vec::new());
        for stream in &mut self.streams {
            if stream.stall_deadline.is_some_and(|at| at <= now) {
                stream.stall_deadline = client_is_behind.then(|| now + limits.write_stall);
                if !client_is_behind {
                    late.push((stream.id, Cause::WindowStall));
                }
            }
            if stream.body_deadline.is_some_and(|at| at <= now) {
                stream.body_deadline = is_unread.then(|| now + limits.body_timeout);
                if !is_unread && stream.sending != Sending::Complete {
                    late.push((stream.id, Cause::BodyTimeout));
                }
            }
            next = earliest(next, earliest(stream.stall_deadline, stream.body_deadline));
        }
        self.stream_deadline = next;
        for (stream, cause) in late {
            if cause == Cause::BodyTimeout && self.find(stream).is_some() {
                self.fail(StreamId(stream), cause, now);
                self.events.push_back((StreamId(stream), Event::Cut(cause)));
            } else {
                self.cut(stream, cause, Some(ErrorCode::CANCEL));
            }
        }
    }

    /// Finds out what the connection is waiting for now.
    pub(super) fn update_phase(&mut self) {
        let phase = match self.guard.open_block() {
            _ if !self.guard.is_greeted() => Phase::Preface,
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
            Phase::Preface => self.phase_deadline,
            Phase::Head(_) => Some(self.now + limits.head_timeout),
            Phase::Idle => Some(self.now + limits.keep_alive_timeout),
            Phase::Busy => None,
        };
    }

    /// Sets the deadline of the next piece of a stream's body, unless it is not the client that is awaited.
    pub(super) fn arm_body(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        let awaited =
            stream.is_receiving() && !stream.is_tunnel && !stream.waits_for_continue && stream.unreleased == 0;
        stream.body_deadline = awaited.then(|| self.now + self.settings.limits.body_timeout);
        self.stream_deadline = earliest(self.stream_deadline, stream.body_deadline);
    }

    /// Sets the deadline of a stream that waits for the client's window.
    pub(super) fn arm_stall(&mut self, at: usize) {
        let deadline = self.now + self.settings.limits.write_stall;
        self.streams[at].stall_deadline = Some(deadline);
        self.stream_deadline = earliest(self.stream_deadline, Some(deadline));
    }
}

/// The code of the GOAWAY that tells a client of this cause.
#[allow(clippy::wildcard_enum_match_arm, reason = "whatever has no code of its own is an error of the protocol")]
pub(super) fn error_code(cause: Cause) -> ErrorCode {
    match cause {
        Cause::RapidReset
        | Cause::StreamErrors
        | Cause::ContinuationFlood
        | Cause::HeaderBomb
        | Cause::SettingsFlood
        | Cause::PingFlood
        | Cause::EmptyFrameFlood
        | Cause::WindowUpdateFlood
        | Cause::PriorityFlood
        | Cause::HeadTimeout => ErrorCode::ENHANCE_YOUR_CALM,
        Cause::CompressionMalformed => ErrorCode::COMPRESSION_ERROR,
        Cause::WindowExceeded => ErrorCode::FLOW_CONTROL_ERROR,
        Cause::FrameSizeWrong => ErrorCode::FRAME_SIZE_ERROR,
        _ => ErrorCode::PROTOCOL_ERROR,
    }
}
