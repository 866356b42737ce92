//! Heartbeats: who sends them when, and how long silence may last.
//!
//! | generation | the server | the client |
//! |---|---|---|
//! | Five | pings every interval, and is answered within the timeout | has a ping within interval and timeout |
//! | Two | hears something within interval and timeout | pings every interval, and is answered within the timeout |
//! | One | sends one every interval, hears something within interval and timeout | hears something within interval and timeout |

use crate::socketio::Generation;
use crate::time::{Duration, Instant, earliest};

/// How often, and how late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// The deadlines of one side.
#[derive(Default)]
pub(super) struct Clock {
    /// When the next heartbeat is to be sent.
    beat: Option<Instant>,
    /// When the silence has lasted too long.
    limit: Option<Instant>,
}

/// What a deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// A heartbeat is to be sent.
    Beat,
    /// The peer is gone.
    Silence,
}

impl Clock {
    pub(super) fn new(generation: Generation, is_client: bool, pace: Pace, now: Instant) -> Self {
        let next = Some(now + pace.interval);
        let silence = Some(now + pace.interval + pace.timeout);
        match (generation, is_client) {
            (Generation::Five, false) | (Generation::Two, true) => Self { beat: next, limit: None },
            (Generation::Five | Generation::One, true) | (Generation::Two, false) => {
                Self { beat: None, limit: silence }
            }
            (Generation::One, false) => Self { beat: next, limit: silence },
        }
    }

    /// Takes note of a packet. `answers`: it is the answer to a heartbeat, or the heartbeat that was due.
    pub(super) fn hear(&mut self, generation: Generation, is_client: bool, answers: bool, pace: Pace, now: Instant) {
        match (generation, is_client) {
            (Generation::Five, _) if !answers => {}
            (Generation::Five, false) => *self = Self { beat: Some(now + pace.interval), limit: None },
            (Generation::Two, true) if answers => *self = Self { beat: Some(now + pace.interval), limit: None },
            (Generation::Two, true) => {}
            (Generation::Five, true) | (Generation::Two, false) | (Generation::One, _) => {
                self.limit = self.limit.map(|_| now + pace.interval + pace.timeout);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.beat, self.limit)
    }

    /// What has come to pass.
    pub(super) fn tick(&mut self, generation: Generation, pace: Pace, now: Instant) -> Option<Tick> {
        if self.limit.is_some_and(|limit| limit <= now) {
            *self = Self::default();
            return Some(Tick::Silence);
        }
        if self.beat.is_none_or(|beat| now < beat) {
            return None;
        }
        match generation {
            Generation::Five | Generation::Two => *self = Self { beat: None, limit: Some(now + pace.timeout) },
            Generation::One => self.beat = Some(now + pace.interval),
        }
        Some(Tick::Beat)
    }
}
