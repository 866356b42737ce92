//! How long a server waits: for a head, for the next piece of a body, for the next request. A client waits for ever.

use super::{Connection, Reading};
use crate::error::Cause;
use crate::time::{Duration, Instant};

impl Connection {
    /// Whether the caller reads: while it does not, for reasons of its own, it says `false`, and the deadline of the
    /// request's body rests.
    pub fn set_reading(&mut self, reading: bool, now: Instant) {
        if self.paused != reading {
            return;
        }
        self.paused = !reading;
        if self.is_server && self.discarding.is_none() && self.in_body() {
            self.arm_body(now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Deadlines that have come take effect; earlier calls change nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        self.deadline = None;
        match self.reading {
            // The last response is still on its way: the client is slow, not idle.
            Reading::Idle { .. } if !self.outbound.is_empty() => {
                self.arm(self.settings.limits.keep_alive_timeout, now);
            }
            Reading::Idle { .. } => self.close(if self.kept { Cause::KeepAliveTimeout } else { Cause::HeadTimeout }),
            Reading::Head(_) => self.violate(Cause::HeadTimeout.into(), now),
            Reading::Length(_) | Reading::Chunked(_) if self.discarding.is_some() => self.close(Cause::Complete),
            Reading::Length(_) | Reading::Chunked(_) => self.violate(Cause::BodyTimeout.into(), now),
            Reading::UntilEof | Reading::Complete | Reading::Closed => {}
        }
    }

    /// Sets the deadline of what the server waits for.
    pub(super) fn arm(&mut self, after: Duration, now: Instant) {
        self.deadline = self.is_server.then(|| now + after);
    }

    /// Sets the deadline of the next body byte, unless it is not the client that is awaited.
    pub(super) fn arm_body(&mut self, now: Instant) {
        if self.paused || self.exchange.waits_for_continue {
            self.deadline = None;
        } else {
            self.arm(self.settings.limits.body_timeout, now);
        }
    }

    fn in_body(&self) -> bool {
        matches!(self.reading, Reading::Length(_) | Reading::Chunked(_))
    }
}
