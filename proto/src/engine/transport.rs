//! TLS under links: what comes in is decrypted for their machines, what these have to say is encrypted as it is written.
//!
//! ```text
//! handshake ── established ──▶ bytes both ways ── goodbye said ──▶ over
//!     └──────────── failed, late ───────┴──────────────────────────▲
//! ```
//!
//! All ciphertext of an input is taken; what a machine does not take of it waits as plaintext. Plaintext is encrypted
//! when it is about to be written, so that little ciphertext waits and a queue is still one of messages.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::Engine;
use super::contract::LinkId;
use super::link::{Link, Stage, Then};
use super::report::Report;
use crate::error::Cause;
use crate::rope::Rope;
use crate::spdy;
use crate::tape::digest;
use crate::time::Instant;
use crate::tls::{Connection, Event, Facts, IDLE_BYTES, SEND_MAX};

/// More is encrypted where less ciphertext than this waits: then one write has enough to do, and at most this much and
/// [`SEND_MAX`] waits.
const CIPHERTEXT_LOW: usize = 16 * 1024;

/// What lies between a link's bytes and its machine.
pub(super) enum Transport {
    Plain,
    Tls(Box<TlsLink>),
}

/// The TLS of one link.
pub(super) struct TlsLink {
    layer: Layer,
    /// What the handshake has agreed on, once it is complete.
    facts: Option<Box<Facts>>,
    /// When the handshake is late.
    deadline: Instant,
    /// Ciphertext that waits to be written.
    pending: usize,
    /// Nothing more is encrypted or decrypted.
    is_over: bool,
}

/// Who does the work.
enum Layer {
    Live(Box<Connection>),
    /// A tape has what TLS did; the plaintext that waits.
    Replayed(Vec<u8>),
    /// Taken out while it works for the engine.
    Lent,
}

/// What comes of ciphertext.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Established(Box<Facts>),
    /// So much plaintext waits in the layer.
    Plain(usize),
    Ended,
    Failed {
        cause: Cause,
        why: Box<str>,
    },
    /// Nothing but something to say to the peer.
    Answered,
}

/// What TLS did on a link, as a tape has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub link: LinkId,
    pub step: Step,
    /// The plaintext that waits.
    pub plain: Vec<u8>,
    /// Bytes that wait for the peer.
    pub pending: usize,
}

/// What TLS will do in the input at hand, read ahead from a tape.
#[derive(Default)]
pub(super) struct Replay(VecDeque<Recorded>);

impl Replay {
    /// What TLS does next, if that is on this link and can be.
    fn next(&mut self, link: LinkId, is_established: bool) -> Option<Recorded> {
        let next = self.0.front()?;
        let can_be = match &next.step {
            Step::Established(_) => !is_established,
            Step::Plain(_) | Step::Ended => is_established,
            Step::Failed { .. } | Step::Answered => true,
        };
        if next.link == link && can_be { self.0.pop_front() } else { None }
    }
}

impl TlsLink {
    fn new(layer: Layer, deadline: Instant) -> Self {
        Self { layer, facts: None, deadline, pending: 0, is_over: false }
    }

    fn is_established(&self) -> bool {
        self.facts.is_some() && !self.is_over
    }

    /// When a handshake that is not complete is given up.
    pub fn handshake_until(&self) -> Option<Instant> {
        self.facts.is_none().then_some(self.deadline)
    }
}

impl Transport {
    /// Bytes held beneath the machine.
    pub fn held(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Tls(tls) if tls.facts.is_some() => tls.pending + IDLE_BYTES,
            Self::Tls(tls) => tls.pending,
        }
    }

    /// When a handshake that is not complete is given up.
    pub fn handshake_until(&self) -> Option<Instant> {
        match self {
            Self::Plain => None,
            Self::Tls(tls) => tls.handshake_until(),
        }
    }
}

impl Link {
    /// What the handshake of TLS has agreed on; `None` before that, and on links without.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => tls.facts.as_deref(),
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Whether no machine has a say yet, since the handshake of TLS is not complete.
    pub fn is_handshaking(&self) -> bool {
        self.transport.handshake_until().is_some()
    }

    /// Whether something is still to be written: what the machine [has to say](Self::has_outbound), or what TLS has made
    /// of it.
    pub fn has_unwritten(&self) -> bool {
        match &self.transport {
            Transport::Plain => self.has_outbound(),
            Transport::Tls(tls) if tls.is_established() => {
                tls.pending > 0 || self.has_outbound() || self.owes_goodbye()
            }
            Transport::Tls(tls) => tls.pending > 0,
        }
    }

    /// Whether the peer is to be told that nothing follows. One that is cut off must see that it was.
    fn owes_goodbye(&self) -> bool {
        let Transport::Tls(tls) = &self.transport else { return false };
        let is_orderly = matches!(self.stage, Stage::Flushing { then: Then::Close | Then::Drain });
        is_orderly && tls.is_established()
    }

    /// The queue of bytes as the peer gets them.
    pub fn wire(&mut self) -> Option<&mut Rope> {
        if !self.is_tls() {
            return self.outbound();
        }
        match &mut self.tls()?.layer {
            Layer::Live(connection) => Some(connection.outbound()),
            Layer::Replayed(_) | Layer::Lent => None,
        }
    }

    /// Drops the first `n` bytes that [`wire`](Self::wire) has: they were written.
    pub fn wrote(&mut self, n: usize) {
        if let Some(wire) = self.wire() {
            wire.advance(n);
        }
        if let Transport::Tls(tls) = &mut self.transport {
            tls.pending -= n;
        }
    }

    /// Checks what must hold between two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_transport(&self) {
        let Transport::Tls(tls) = &self.transport else { return };
        assert!(self.is_client(), "nodes speak no TLS");
        assert!(tls.pending <= 2 * SEND_MAX, "little ciphertext waits");
        assert!(!tls.is_over || self.stage != Stage::Open, "who said goodbye closes");
        if tls.facts.is_none() {
            assert_eq!(
                (self.queued(), self.inbox.len(), self.session(None)),
                (0, 0, None),
                "the handshake comes first"
            );
        }
        match &tls.layer {
            Layer::Live(connection) => {
                assert_eq!(connection.queued(), tls.pending, "the ciphertext that waits is known");
                let is_closing = connection.is_closing().is_some();
                assert!(!is_closing || tls.is_over || self.stage != Stage::Open, "who has failed closes");
            }
            Layer::Replayed(plain) => assert!(plain.is_empty(), "plaintext goes on at once"),
            Layer::Lent => panic!("what was lent is given back"),
        }
    }

    fn tls(&mut self) -> Option<&mut TlsLink> {
        match &mut self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
        }
    }
}

impl Layer {
    /// The next thing that comes of `ciphertext`, from whose front the layer takes what it needs, or of what it took
    /// before; and the bytes that wait for the peer then, which were `pending` before.
    fn next(&mut self, ciphertext: &mut &[u8], pending: usize, now: Instant) -> Option<(Step, usize)> {
        let Self::Live(connection) = self else { return None };
        loop {
            let step = if let Some(event) = connection.poll_event() {
                Some(match event {
                    Event::Established(facts) => Step::Established(facts),
                    Event::Ended { .. } => Step::Ended,
                })
            } else if let plain @ 1.. = connection.plain().len() {
                Some(Step::Plain(plain))
            } else {
                let why = || connection.failure().unwrap_or_default().into();
                connection.is_closing().map(|cause| Step::Failed { cause, why: why() })
            };
            if let Some(step) = step {
                return Some((step, connection.queued()));
            }
            let used = connection.receive(ciphertext, now);
            *ciphertext = &ciphertext[used..];
            if used == 0 {
                let queued = connection.queued();
                return (queued != pending).then_some((Step::Answered, queued));
            }
        }
    }

    fn plain(&mut self) -> &[u8] {
        match self {
            Self::Live(connection) => connection.plain(),
            Self::Replayed(plain) => plain,
            Self::Lent => &[],
        }
    }

    fn consume_plain(&mut self, n: usize) {
        match self {
            Self::Live(connection) => connection.consume_plain(n),
            Self::Replayed(plain) => plain.clear(),
            Self::Lent => {}
        }
    }
}

impl Engine {
    /// Whether a listener of TLS has something to show.
    pub(super) fn can_encrypt(&self, listener: usize) -> bool {
        let is_replayed = self.replay.is_some() && self.certificates.is_some();
        is_replayed || self.listeners[listener].tls.is_some()
    }

    /// What lies under a new connection of this listener. `None` if it should be TLS and there is nothing to show.
    pub(super) fn transport_of(&self, listener: usize, now: Instant) -> Option<Transport> {
        if !self.config.listeners[listener].is_tls() {
            return Some(Transport::Plain);
        }
        let layer = match &self.listeners[listener].tls {
            _ if self.replay.is_some() => Layer::Replayed(Vec::new()),
            Some(settings) => Layer::Live(Box::new(Connection::new(Arc::clone(settings), now))),
            None => return None,
        };
        let deadline = now + self.config.limits.handshake_timeout;
        Some(Transport::Tls(Box::new(TlsLink::new(layer, deadline))))
    }

    /// Takes ciphertext, and does what comes of it.
    pub(super) fn decrypt(&mut self, slot: usize, mut ciphertext: &[u8], now: Instant) {
        let id = self.links.id_of(slot);
        let Some(mut layer) = self.lend_layer(slot) else { return };
        while let Some(link) = self.links.at_mut(slot) {
            // What comes after the end is nobody's.
            if link.stage != Stage::Open || link.eof {
                break;
            }
            let Some(tls) = link.tls() else { break };
            let next = match (&mut layer, &mut self.replay) {
                (Layer::Replayed(plain), Some(replay)) => replay.next(id, tls.facts.is_some()).map(|recorded| {
                    *plain = recorded.plain;
                    (recorded.step, recorded.pending)
                }),
                (layer, _) => layer.next(&mut ciphertext, tls.pending, now),
            };
            let Some((step, pending)) = next else { break };
            tls.pending = pending;
            if let Some(recorder) = &mut self.recorder {
                recorder.tls(id, &step, layer.plain(), pending, now);
            }
            match step {
                Step::Established(facts) => {
                    tls.facts = Some(facts);
                    self.on_established(slot, now);
                }
                Step::Plain(n) => {
                    self.take_in(slot, layer.plain(), now);
                    layer.consume_plain(n);
                }
                Step::Ended => self.on_eof(slot, now),
                Step::Failed { cause, why } => self.on_tls_failed(slot, cause, why, now),
                Step::Answered => {}
            }
            if self.links.slot_of(id).is_none() {
                return;
            }
        }
        if let Some(tls) = self.links.at_mut(slot).and_then(Link::tls) {
            tls.layer = layer;
        }
        self.touch(slot);
    }

    fn lend_layer(&mut self, slot: usize) -> Option<Layer> {
        let tls = self.links.at_mut(slot)?.tls()?;
        Some(mem::replace(&mut tls.layer, Layer::Lent))
    }

    /// The handshake is complete: the client's machine begins now, with the time that it has.
    fn on_established(&mut self, slot: usize, now: Instant) {
        let Some(http) = self.links.at_mut(slot).and_then(|link| link.http()) else { return };
        let (listener, client) = (http.listener, http.client);
        let chosen = self.links.at(slot).and_then(Link::facts).and_then(|facts| facts.protocol.as_deref());
        let protocol = match chosen.map(|name| (name, spdy::Version::from_alpn(name))) {
            Some((b"h2", _)) => self.http2_protocol(listener, client, now),
            Some((_, version @ Some(_))) => self.spdy_protocol(version, listener, client, now),
            Some((_, None)) | None => self.http_protocol(listener, client, now),
        };
        if let Some(link) = self.links.at_mut(slot) {
            link.protocol = protocol;
        }
    }

    /// TLS is broken, or never came about: its alert is all that is still written.
    fn on_tls_failed(&mut self, slot: usize, cause: Cause, why: Box<str>, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let Some(tls) = link.tls() else { return };
        tls.is_over = true;
        let then = if tls.pending > 0 { Then::Drain } else { Then::Close };
        link.stage = Stage::Flushing { then };
        link.cause = cause;
        link.inbox = Default::default();
        let (peer, sessions) = (link.peer, link.sessions());
        if sessions.is_empty() {
            self.stats.count(cause);
        }
        for session in sessions {
            self.finish(session, cause, now);
        }
        // Nobody can be told any of it.
        if let Some(rope) = self.links.at_mut(slot).and_then(Link::outbound) {
            rope.clear();
        }
        self.report(Report::ClientRefused { peer, cause, why: Some(why) });
        self.touch(slot);
    }

    /// Gives up a handshake whose time has come.
    pub(super) fn on_handshake_deadline(&mut self, slot: usize, now: Instant) {
        let Some(tls) = self.links.at_mut(slot).and_then(Link::tls) else { return };
        if tls.handshake_until().is_none_or(|until| now < until) {
            return;
        }
        match &mut tls.layer {
            Layer::Live(connection) => connection.handle_timeout(now),
            Layer::Replayed(_) | Layer::Lent => {}
        }
        self.decrypt(slot, &[], now);
    }

    /// Encrypts as much of what a machine has to say as is written next, and the goodbye behind the last of it.
    pub(super) fn encrypt(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let Some(tls) = link.tls().filter(|tls| tls.is_established()) else { return };
        let Layer::Live(mut connection) = mem::replace(&mut tls.layer, Layer::Lent) else { return };
        let id = self.links.id_of(slot);
        let Some(link) = self.links.at_mut(slot) else { return };
        let mut is_empty = true;
        while let Some(plain) = link.outbound().filter(|plain| !plain.is_empty()) {
            is_empty = connection.queued() < CIPHERTEXT_LOW;
            if !is_empty {
                break;
            }
            let digest = self.recorder.as_ref().map(|_| digest(plain, Connection::fitting(plain)));
            let Ok(n) = connection.send_from(plain) else { break };
            if let (Some(recorder), Some(digest)) = (&mut self.recorder, digest) {
                recorder.encrypted(id, n, digest, connection.queued(), now);
            }
        }
        let is_over = is_empty && link.owes_goodbye();
        if is_over {
            connection.close(now);
            if let Some(recorder) = &mut self.recorder {
                recorder.goodbye(id, connection.queued(), now);
            }
        }
        let pending = connection.queued();
        if let Some(tls) = link.tls() {
            tls.layer = Layer::Live(connection);
        }
        self.on_encrypted(slot, pending, is_over);
    }

    fn on_encrypted(&mut self, slot: usize, pending: usize, is_over: bool) {
        if let Some(tls) = self.links.at_mut(slot).and_then(Link::tls) {
            tls.pending = pending;
            tls.is_over |= is_over;
        }
        self.charge(slot);
    }

    // ---- tapes ----

    /// From now on a tape says what TLS does.
    pub(crate) fn begin_replay(&mut self) {
        self.replay = Some(Replay::default());
    }

    /// What TLS will do in the input that comes next.
    pub(crate) fn expect(&mut self, recorded: Recorded) {
        if let Some(replay) = &mut self.replay {
            replay.0.push_back(recorded);
        }
    }

    /// Forgets what TLS has done that nobody has asked for; the link where it did.
    pub(crate) fn unexpected(&mut self) -> Option<LinkId> {
        let left = mem::take(&mut self.replay.as_mut()?.0);
        left.front().map(|recorded| recorded.link)
    }

    /// The ciphertext that waits on a link; `None` if it has no TLS.
    pub(crate) fn ciphertext(&self, id: LinkId) -> Option<usize> {
        match &self.links.slot_of(id).and_then(|slot| self.links.at(slot))?.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls.pending),
        }
    }

    /// The next `n` bytes for a link, which hash to `digest`, were encrypted. False if there are none like these.
    pub(crate) fn replay_encrypted(&mut self, id: LinkId, n: usize, expected: u64, pending: usize) -> bool {
        let Some(slot) = self.links.slot_of(id) else { return false };
        let Some(link) = self.links.at_mut(slot) else { return false };
        if !link.tls().is_some_and(|tls| tls.is_established()) {
            return false;
        }
        let Some(plain) = link.outbound().filter(|plain| plain.len() >= n) else { return false };
        if digest(plain, n) != expected {
            return false;
        }
        plain.advance(n);
        self.on_encrypted(slot, pending, false);
        true
    }

    /// Goodbye was said on a link. False if there is no reason to.
    pub(crate) fn replay_goodbye(&mut self, id: LinkId, pending: usize) -> bool {
        let Some(slot) = self.links.slot_of(id) else { return false };
        let Some(link) = self.links.at_mut(slot) else { return false };
        let is_due = link.owes_goodbye() && link.outbound().is_none_or(|plain| plain.is_empty());
        if is_due {
            self.on_encrypted(slot, pending, true);
        }
        is_due
    }
}
