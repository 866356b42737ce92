//! Deadlines of a link that is up (RFC 37, "Connection Heartbeating").
//!
//! We send a PING in every interval, not only in silence: its TTL tells the peer to hang up when it hears nothing more,
//! so having begun we have to go on. A peer is given up when it has been silent for three intervals *and* has left a
//! PING unanswered for two: after a leap of the clock (a stopped process, a suspended machine) it gets its chance.

use core::time::Duration;

use crate::time::{Instant, earliest};

/// The longest TTL that is announced, in whole tenths of a second. Libzmq multiplies the field by 100 in 16 bits, so
/// that anything longer becomes a random shorter one there.
const TTL_MAX: Duration = Duration::from_millis(65_500);

/// What has been heard, and what has to be heard until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    heard: Instant,
    /// Time between two PINGs, and when the next is due; `None` if we send none.
    ping: Option<(Duration, Instant)>,
    /// When the first PING since the peer was last heard went out.
    unanswered: Option<Instant>,
    /// The last thing heard was a PING with this TTL.
    ttl: Option<Duration>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Send a PING with this TTL.
    Ping(Duration),
    /// The peer has been silent for too long.
    GiveUp,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, ping: None, unanswered: None, ttl: None }
    }

    /// Begins to send PINGs.
    pub(super) fn start(&mut self, interval: Duration, now: Instant) {
        // An interval of nothing would have PINGs due for ever.
        let interval = interval.max(Duration::from_millis(1));
        self.ping = Some((interval, now + interval));
    }

    /// Something came.
    #[inline]
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.unanswered = None;
    }

    /// It was a PING, which may limit the silence that follows.
    pub(super) fn hear_ping(&mut self, ttl: Option<Duration>) {
        self.ttl = ttl;
    }

    /// It was something else: a TTL ends with the silence it speaks of.
    #[inline]
    pub(super) fn hear_other(&mut self) {
        self.ttl = None;
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        earliest(
            self.ping.map(|(_, next)| next),
            earliest(self.unanswered_until(), self.ttl.map(|ttl| self.heard + ttl)),
        )
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Due {
        let silent_until = earliest(self.unanswered_until(), self.ttl.map(|ttl| self.heard + ttl));
        if silent_until.is_some_and(|until| until <= now) {
            return Due::GiveUp;
        }
        match &mut self.ping {
            Some((interval, next)) if *next <= now => {
                *next = now + *interval;
                self.unanswered.get_or_insert(now);
                let ttl = *interval * 3;
                Due::Ping(if ttl <= TTL_MAX {
                    ttl
                } else if *interval < TTL_MAX {
                    TTL_MAX
                } else {
                    Duration::ZERO
                })
            }
            Some(_) | None => Due::Nothing,
        }
    }

    fn unanswered_until(&self) -> Option<Instant> {
        let ((interval, _), pinged) = (self.ping?, self.unanswered?);
        Some((self.heard + interval * 3).max(pinged + interval * 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1000 * seconds)
    }

    fn started(interval: u64) -> Liveness {
        let mut live = Liveness::new(at(0));
        live.start(SECOND * interval as u32, at(0));
        live
    }

    #[test]
    fn a_silent_peer_is_pinged_and_then_given_up_after_three_intervals() {
        let mut live = started(10);
        let mut log = Vec::new();
        for _ in 0..4 {
            let now = live.poll_timeout().unwrap();
            log.push((now, live.handle_timeout(now)));
        }
        let ping = Due::Ping(SECOND * 30);
        assert_eq!(log, [(at(10), ping), (at(20), ping), (at(30), Due::GiveUp), (at(30), Due::GiveUp)]);
    }

    #[test]
    fn a_peer_that_says_anything_is_kept_and_still_pinged() {
        let mut live = started(10);
        for seconds in 1..100 {
            live.hear(at(seconds));
            live.hear_other();
            assert!(live.handle_timeout(at(seconds)) != Due::GiveUp);
        }
        assert_eq!(live.poll_timeout(), Some(at(100)));
    }

    #[test]
    fn after_a_leap_of_the_clock_the_peer_gets_its_chance() {
        let mut live = started(10);
        assert_eq!(live.handle_timeout(at(3600)), Due::Ping(SECOND * 30));
        assert_eq!(live.handle_timeout(at(3610)), Due::Ping(SECOND * 30));
        assert_eq!(live.handle_timeout(at(3619)), Due::Nothing);
        assert_eq!(live.handle_timeout(at(3620)), Due::GiveUp);
    }

    #[test]
    fn a_ttl_counts_from_a_ping_that_nothing_followed() {
        let mut live = Liveness::new(at(0));
        assert_eq!(live.poll_timeout(), None);
        live.hear(at(5));
        live.hear_ping(Some(SECOND * 3));
        assert_eq!(live.poll_timeout(), Some(at(8)));
        assert_eq!(live.handle_timeout(at(7)), Due::Nothing);
        live.hear(at(7));
        live.hear_other();
        assert_eq!(live.handle_timeout(at(100)), Due::Nothing);
        live.hear(at(100));
        live.hear_ping(Some(SECOND * 3));
        assert_eq!(live.handle_timeout(at(103)), Due::GiveUp);
    }

    #[test]
    fn announced_ttls_survive_sixteen_bit_milliseconds() {
        for (interval, ttl) in [(10, 30_000), (21, 63_000), (22, 65_500), (60, 65_500), (66, 0), (600, 0)] {
            let mut live = started(interval);
            assert_eq!(live.handle_timeout(at(interval)), Due::Ping(Duration::from_millis(ttl)), "{interval} s");
        }
    }
}
