//! Clients of socket.io: sessions that outlive the requests that move their packets, and the nodes that serve them.
//!
//! ```text
//!  handshake ──▶ a session, at its node ◀── packets ──▶ polls and posts: errands, sessions of a request each, which the
//!                  │            ▲                       engine answers
//!                  │            └──────────────────────▶ a WebSocket: first an errand that probes, then the session's carrier
//!                  ├─ its node is lost, and there is no other: asleep, until one comes or its client has something to say
//!                  └─ its transport breaks: parked, if it may come back
//! ```

mod errand;
mod packets;
mod recovery;
mod request;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Engine;
use super::carrier::Carrier;
use super::session::{Found, Server, Session};
use crate::error::Cause;
use crate::message::Sid;
use crate::socketio::{Connection, Event, Generation, Id, Outlook, Packet, Transport};
use crate::time::{Duration, Instant};
use crate::websocket::{Close, Message};

/// What a session is to socket.io.
pub(in crate::engine) enum Part {
    /// Nothing.
    Stranger,
    /// A client of it.
    Client(Box<SocketIo>),
    /// A request that moves packets of a client.
    Errand(Errand),
}

/// A client of socket.io.
pub(in crate::engine) struct SocketIo {
    pub conn: Connection,
    /// What its requests call it.
    pub id: Id,
    /// What it shows when it comes back.
    pub private: Id,
    /// The GET that waits for packets.
    pub poll: Option<usize>,
    /// The POST that brings packets, or is not answered because they have nowhere to go.
    pub post: Option<usize>,
    /// The WebSocket that may become its carrier.
    pub probe: Option<usize>,
    pub rest: Rest,
    /// What it has said and nobody has heard.
    pub unheard: Option<Box<Event>>,
    /// Namespaces that it asks for, and has no answer: if its node is lost, the next one is asked.
    pub asked: Vec<Packet>,
    /// It has ended, and has still to be told.
    pub lingers: bool,
    /// How much of it a poll has brought.
    pub told: Told,
    /// The answer to its handshake leaves alone: who looks for the first message only once its WebSocket has opened would
    /// miss one that comes with it.
    pub opens: bool,
    /// Bytes that the ledger knows of.
    pub charged: usize,
}

/// What a client has heard of the end of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Told {
    Nothing,
    /// Something waits still.
    Part,
    All,
}

/// How long a client that has closed may take to poll for the last time.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Why nobody serves a client of socket.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Rest {
    /// Somebody does.
    None,
    /// It has not said yet whether it is new, or comes back.
    Undecided,
    /// There is no node for it.
    Asleep,
}

/// What a request does for a client of socket.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Errand {
    pub of: Option<Sid>,
    pub kind: ErrandKind,
    /// The number of the function that takes the answer as a script.
    pub jsonp: Option<u32>,
    pub generation: crate::socketio::Generation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum ErrandKind {
    Poll,
    Post,
    Probe,
    /// It is answered at once.
    Answer,
}

/// Clients by what they are called, and what all have in common.
#[derive(Default)]
pub(in crate::engine) struct Index {
    ids: BTreeMap<Id, usize>,
    /// Those that may come back, by what they show then.
    privates: BTreeMap<Id, usize>,
    /// Requests under way that move packets: they are no sessions of their own to anybody else.
    errands: usize,
    /// Events so far, for clients that come back.
    events: u64,
}

impl Index {
    pub fn find(&self, id: Id) -> Option<usize> {
        self.ids.get(&id).copied()
    }

    pub fn errands(&self) -> usize {
        self.errands
    }
}

impl SocketIo {
    /// Whether it has said something that nobody has heard.
    fn has_event(&self) -> bool {
        self.unheard.is_some() || self.conn.has_event()
    }

    /// Bytes of memory that it holds.
    fn held(&self) -> usize {
        self.conn.held() + self.asked.iter().map(Packet::held).sum::<usize>()
    }

    /// It has its answer, or wants none any more.
    fn forget_asked(&mut self, namespace: &str) {
        self.asked.retain(|packet| packet.namespace() != namespace);
    }
}

impl Engine {
    fn draw_id(&mut self) -> Id {
        let mut bytes = [0; 16];
        for half in bytes.chunks_exact_mut(8) {
            half.copy_from_slice(&self.entropy.next_u64().to_le_bytes());
        }
        Id(bytes)
    }

    pub(super) fn socketio_of(&mut self, slot: usize) -> Option<&mut SocketIo> {
        self.sessions.at_mut(slot)?.socketio_mut()
    }

    /// The client that an errand is for.
    fn employer(&self, errand: &Errand) -> Option<usize> {
        match self.sessions.find(errand.of?) {
            Found::Here(slot) => Some(slot),
            Found::Ended | Found::Unknown => None,
        }
    }

    /// Brings to rest what was done with a client: what it said goes to its node, what waits for it goes out, its end is
    /// noticed.
    pub(super) fn settle_socketio(&mut self, slot: usize, now: Instant) {
        self.take_packets(slot, now);
        self.flush_socketio(slot, now);
        self.park(slot, now);
        let Some(client) = self.socketio_of(slot) else { return };
        let held = client.held();
        let before = core::mem::replace(&mut client.charged, held);
        let closing = client.conn.is_closing();
        let dropped = client.conn.take_dropped();
        self.stats.count_many(Cause::NamespaceStale, dropped.into());
        self.memory = self.memory + held - before;
        match closing {
            Some(cause) if self.has_last_words(slot, cause) => self.linger(slot, cause, now),
            Some(cause) => self.conclude_socketio(slot, cause, now),
            None => {
                self.answer_post(slot, now);
                self.arm_session(slot);
            }
        }
    }

    /// Whether a client whose session is over is still to be told, with the answer to its next poll.
    fn has_last_words(&mut self, slot: usize, cause: Cause) -> bool {
        let is_carried = self.sessions.at(slot).is_some_and(|session| session.carrier != Carrier::NOWHERE);
        let Some(client) = self.socketio_of(slot) else { return false };
        let is_ours = matches!(cause, Cause::Complete | Cause::Stopping | Cause::NodeEnded);
        // A client that closes has a poll under way, which its last words may have overtaken.
        let overtakes = cause == Cause::ClientClosed && client.conn.generation() != Generation::One;
        !is_carried
            && client.told != Told::All
            && (is_ours && client.conn.queued() > 0 || overtakes)
            && client.conn.violation().is_none()
    }

    pub(super) fn lingers(&self, slot: usize) -> bool {
        self.sessions.at(slot).and_then(Session::socketio).is_some_and(|client| client.lingers)
    }

    /// The node of a client that lingers is lost: nobody else need hear of it.
    pub(super) fn leave_lingering(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let server = session.server.take();
        if let Some(client) = session.socketio_mut() {
            client.rest = Rest::Asleep;
        }
        if let Some(server) = server {
            self.unload(slot, server, now);
        }
    }

    fn linger(&mut self, slot: usize, cause: Cause, now: Instant) {
        let patience = if cause == Cause::ClientClosed { LAST_POLL } else { self.config.limits.socketio_ping_timeout };
        let until = now + patience;
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let Some(client) = session.socketio_mut() else { return };
        if !core::mem::replace(&mut client.lingers, true) {
            session.deadline = Some(until);
        }
        self.answer_post(slot, now);
        self.arm_session(slot);
    }

    /// A deadline of a client, or of its machine, may have come; false if it is over, or was not meant.
    pub(super) fn on_socketio_deadline(&mut self, slot: usize, now: Instant) -> bool {
        let Some(client) = self.socketio_of(slot) else { return false };
        if client.lingers {
            let cause = client.conn.is_closing().unwrap_or(Cause::Complete);
            let is_due = self.sessions.at(slot).and_then(|session| session.deadline).is_some_and(|at| at <= now);
            if is_due {
                self.conclude_socketio(slot, cause, now);
            } else {
                self.arm_session(slot);
            }
            return false;
        }
        client.conn.handle_timeout(now);
        if let Some(probe) = client.probe
            && !client.conn.is_probing()
        {
            client.probe = None;
            self.fail(probe, Cause::UpgradeTimeout, now);
        }
        self.settle_socketio(slot, now);
        self.sessions.at(slot).is_some()
    }

    /// Sends what waits for a client, with the answer to a poll or by its WebSocket.
    fn flush_socketio(&mut self, slot: usize, now: Instant) {
        let max = self.config.limits.socketio_payload_bytes;
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let Some(client) = session.socketio_mut() else { return };
        if (client.conn.has_payload() || client.lingers)
            && let Some(poll) = client.poll.take()
        {
            let (payload, encoding) = client.conn.take_payload(max, now);
            if client.conn.is_closing().is_some() {
                client.told = if client.conn.queued() == 0 { Told::All } else { Told::Part };
            }
            session.bytes_out += payload.len() as u64;
            session.moved = now;
            self.answer_with_packets(poll, payload, encoding, now);
            self.on_client_room(slot, now);
        }
        if self.is_opening(slot) {
            return;
        }
        while let Some(session) = self.sessions.at_mut(slot).filter(|session| session.carrier != Carrier::NOWHERE)
            && let Some(message) = session.socketio_mut().and_then(|client| client.conn.poll_message())
        {
            self.send_message(slot, message, now);
        }
    }

    /// Whether the answer to the handshake of a client's WebSocket has still to leave.
    fn is_opening(&mut self, slot: usize) -> bool {
        let Some(session) = self.sessions.at(slot) else { return false };
        let carrier = session.carrier;
        if !session.socketio().is_some_and(|client| client.opens) {
            return false;
        }
        // Of streams nobody is told.
        let opens = carrier.stream.is_none() && self.queued_for(carrier) > 0;
        if let Some(client) = self.socketio_of(slot) {
            client.opens = opens;
        }
        opens
    }

    /// A client's machine has ended: what is still to be said is on its way, and its requests are let go.
    fn conclude_socketio(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let carrier = session.carrier;
        let Some(client) = session.socketio_mut() else { return };
        let errands = [client.poll.take(), client.post.take(), client.probe.take()];
        let violation = client.conn.violation();
        for errand in errands.into_iter().flatten() {
            self.dismiss(errand, violation.is_some(), cause, now);
        }
        if let Some((_, conn)) = self.websocket_of(slot) {
            if matches!(cause, Cause::Complete | Cause::ClientClosed) {
                let close = Close { code: Some(cause.close_code()), reason: Default::default() };
                // Whoever is closing already needs no second word.
                let _ = conn.send(crate::websocket::Event::Close(close), now);
            } else {
                conn.fail(cause, now);
            }
        }
        self.touch_carrier(carrier);
        if let Some(violation) = violation {
            let peer = self.sessions.at(slot).map(|session| session.client);
            if let Some(peer) = peer {
                self.report(super::report::Report::ClientRefused { peer, cause: violation.what, why: None });
            }
        }
        self.finish(slot, cause, now);
    }

    /// A WebSocket carries a client from now on; nowhere: it polls.
    fn carry(&mut self, slot: usize, carrier: Carrier) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.carrier = carrier;
        let has_credit = session.capabilities.credit;
        self.hand_carrier(carrier, slot);
        if has_credit {
            self.watch_room(carrier);
        }
    }

    /// Ends a client's session: it is told as far as there are words for it.
    pub(super) fn end_socketio(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(client) = self.socketio_of(slot) else { return };
        if core::mem::replace(&mut client.lingers, false) {
            return self.conclude_socketio(slot, cause, now);
        }
        client.conn.close(cause, now);
        self.settle_socketio(slot, now);
    }

    /// The transport of a session has gone, and the session with it, unless its client may come back.
    pub(super) fn lose(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        if session.socketio().is_none() {
            return self.finish(slot, cause, now);
        }
        // What it has said before is still for its node.
        self.take_packets(slot, now);
        let Some(client) = self.socketio_of(slot) else { return };
        match client.conn.lose_transport(cause, now) {
            Outlook::Lost => {
                let cause = client.conn.is_closing().unwrap_or(cause);
                self.conclude_socketio(slot, cause, now);
            }
            Outlook::Parked => self.settle_socketio(slot, now),
        }
    }

    /// The machine of a client waits for it to come back: its transport is let go.
    fn park(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let (carrier, node) = (session.carrier, session.node());
        let Some(client) = session.socketio_mut().filter(|client| client.conn.is_parked()) else { return };
        let errands = [client.poll.take(), client.post.take(), client.probe.take()];
        for errand in errands.into_iter().flatten() {
            self.dismiss(errand, false, Cause::PingTimeout, now);
        }
        if carrier == Carrier::NOWHERE {
            return;
        }
        if let Some((_, conn)) = self.websocket_of(slot) {
            conn.fail(Cause::PingTimeout, now);
        }
        if let Some(session) = self.sessions.at_mut(slot) {
            session.carrier = Carrier::NOWHERE;
        }
        self.resume(carrier, now);
        self.detach(carrier, node);
    }

    /// Bytes have left for a client: if those were the answer to its handshake, it hears more.
    pub(super) fn on_opened(&mut self, slot: usize, now: Instant) {
        if self.socketio_of(slot).is_some_and(|client| client.opens) {
            self.settle_socketio(slot, now);
        }
    }

    /// A client's session is over: nothing finds it any more.
    pub(super) fn forget_socketio(&mut self, slot: usize, session: &Session, now: Instant) {
        match &session.part {
            Part::Stranger => {}
            Part::Client(client) => {
                self.memory -= client.charged;
                self.socketio.ids.remove(&client.id);
                self.socketio.privates.remove(&client.private);
            }
            Part::Errand(errand) => {
                self.socketio.errands -= 1;
                self.hosts.list[session.host].sessions += 1;
                self.on_errand_over(errand, slot, now);
            }
        }
    }

    /// Puts a client to rest that nobody serves, until a node comes.
    pub(super) fn put_to_sleep(&mut self, slot: usize) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let (sid, host) = (session.sid, session.host);
        let Some(client) = session.socketio_mut() else { return };
        if core::mem::replace(&mut client.rest, Rest::Asleep) == Rest::Asleep {
            return;
        }
        let host = &mut self.hosts.list[host];
        // Who has gone in the meantime leaves a gap.
        if host.asleep.len() > 2 * host.sessions + 8 {
            let sessions = &self.sessions;
            host.asleep.retain(|sid| matches!(sessions.find(*sid), Found::Here(_)));
        }
        host.asleep.push_back(sid);
        self.arm_session(slot);
    }

    /// The next client of a host that sleeps, if there is one.
    pub(super) fn sleeper(&mut self, host: usize) -> Option<usize> {
        loop {
            let sid = *self.hosts.list[host].asleep.front()?;
            if let Found::Here(slot) = self.sessions.find(sid)
                && self
                    .sessions
                    .at(slot)
                    .and_then(Session::socketio)
                    .is_some_and(|client| client.rest == Rest::Asleep && !client.lingers)
            {
                return Some(slot);
            }
            self.hosts.list[host].asleep.pop_front();
        }
    }

    /// Somebody serves a client again: what it has said meanwhile goes there.
    pub(super) fn wake(&mut self, slot: usize, now: Instant) {
        let Some(client) = self.socketio_of(slot) else { return };
        client.rest = Rest::None;
        for packet in core::mem::take(&mut client.asked) {
            self.tell_packet(slot, packet, now);
        }
        self.settle_socketio(slot, now);
    }

    /// A client of socket.io speaks by its WebSocket.
    pub(super) fn on_socketio_message(&mut self, slot: usize, message: Message, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.bytes_in += message.payload.len() as u64;
        session.moved = now;
        if let Some(client) = session.socketio_mut() {
            client.conn.receive_message(message, now);
            self.settle_socketio(slot, now);
            self.check_hoard(slot, now);
        }
    }

    /// Where memory is short, a client whose attachments have no end is ended.
    fn check_hoard(&mut self, slot: usize, now: Instant) {
        let high = self.config.limits.write_queue_high;
        let is_full = self.is_full_of_bytes();
        let Some(client) = self.socketio_of(slot).filter(|_| is_full) else { return };
        if client.held().saturating_sub(client.conn.queued()) > high {
            self.end_socketio(slot, Cause::MemoryMax, now);
        }
    }

    /// Whether a session that is a client of socket.io has a WebSocket for its transport.
    pub(super) fn check_socketio(&self, slot: usize, session: &Session) {
        let Part::Client(client) = &session.part else { return };
        let is_carried = session.carrier != Carrier::NOWHERE;
        let is_websocket = client.conn.transport() == Transport::WebSocket && !client.conn.is_parked();
        let may_come_back = self.may_come_back(session.host, client.conn.generation(), client.conn.layer());
        let is_found = self.socketio.privates.get(&client.private) == Some(&slot);
        assert_eq!(is_found, may_come_back, "who may come back is found");
        assert_eq!(is_carried, is_websocket, "a client's WebSocket carries it");
        assert_eq!(self.socketio.find(client.id), Some(slot), "a client is found by its id");
        assert_eq!(client.charged, client.held(), "the ledger knows what a client holds");
        assert_eq!(session.server.is_none(), client.rest != Rest::None, "who has nobody rests");
        assert!(session.server != Some(Server::Front), "a client is served by a node or an app");
    }
}
