//! How long a peer may be silent, and how long it may take to answer a close frame.

use bytes::Bytes;

use super::{Connection, Settings};
use crate::error::Cause;
use crate::time::{Duration, Instant};

/// What is waited for, and since when the peer is silent.
///
/// Hearing of the peer only notes the time: the deadline stays, and moves when it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    heard: Instant,
    /// When the last message came.
    message: Option<Instant>,
    deadline: Option<Instant>,
    waits_for: Wait,
    /// The caller does not read: silence says nothing.
    paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Any sign of life.
    Life,
    /// A sign of life since the ping at this time.
    Pong { pinged: Instant },
    /// What may still be sent to a peer that broke the protocol.
    Answers,
    /// The answer to the close frame; this much was queued when the wait began.
    Close { queued: usize },
}

impl Clock {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        let deadline = (!settings.ping.is_zero()).then(|| now + settings.ping);
        Self { heard: now, message: None, deadline, waits_for: Wait::Life, paused: false }
    }

    #[inline]
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    #[inline]
    pub(super) fn note_message(&mut self, now: Instant) {
        self.message = Some(now);
    }

    /// Starts to wait for answers to the last message, unless it came too long ago.
    pub(super) fn wait_for_answers(&mut self, delay: Duration, now: Instant) -> bool {
        let until = self.message.map(|message| message + delay).filter(|until| now < *until);
        if until.is_some() {
            self.waits_for = Wait::Answers;
            self.deadline = until;
        }
        until.is_some()
    }

    /// There is nothing to wait for any more.
    pub(super) fn stop(&mut self) {
        self.deadline = None;
    }

    /// The close frame was queued.
    pub(super) fn wait_for_close(&mut self, timeout: Duration, queued: usize, now: Instant) {
        self.waits_for = Wait::Close { queued };
        self.deadline = Some(now + timeout);
    }
}

impl Connection {
    /// Whether the caller reads: while it does not, for reasons of its own, it says `false`, and the peer's silence is
    /// not held against it.
    pub fn set_reading(&mut self, reading: bool, now: Instant) {
        if reading && self.clock.paused {
            self.clock.hear(now);
        }
        self.clock.paused = !reading;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clock.deadline
    }

    /// Deadlines that have come take effect; earlier calls change nothing.
    ///
    /// While bytes wait to be written the peer's silence rests: whoever writes watches over that.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.clock.deadline.is_none_or(|at| now < at) {
            return;
        }
        let ping = self.settings.ping;
        let resting = self.clock.paused || self.queued() > 0;
        match self.clock.waits_for {
            Wait::Answers => {
                if let Some(cause) = self.violated {
                    self.end_violated(cause, now);
                }
            }
            Wait::Close { queued } => self.end_wait_for_close(queued, now),
            Wait::Pong { pinged } if self.clock.heard < pinged => {
                if resting {
                    self.clock.deadline = Some(now + ping);
                } else {
                    self.say_farewell(Cause::PingTimeout, now);
                    self.close(Cause::PingTimeout);
                }
            }
            Wait::Life | Wait::Pong { .. } => {
                self.clock.waits_for = Wait::Life;
                let quiet_until = self.clock.heard + ping;
                if resting || now < quiet_until {
                    self.clock.deadline = Some(if resting { now + ping } else { quiet_until });
                } else {
                    self.put_ping(Bytes::new());
                    self.clock.waits_for = Wait::Pong { pinged: now };
                    self.clock.deadline = Some(now + ping);
                }
            }
        }
    }

    /// The close timeout has passed. What was queued before the close frame may take longer to write: it lasts as long
    /// as the peer takes some of it each time.
    fn end_wait_for_close(&mut self, before: usize, now: Instant) {
        let queued = self.queued();
        if queued > 0 && queued < before {
            self.clock.wait_for_close(self.settings.close_timeout, queued, now);
        } else {
            self.close(Cause::CloseTimeout);
        }
    }
}
