//! What comes in on a link: bytes for its machine, room in its queue, the end of its stream.

use super::Engine;
use super::carrier::Carrier;
use super::contract::Shut;
use super::link::{Protocol, Stage, Then};
use super::report::Report;
use super::sniff::Spoken;
use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http::{StreamEvent, StreamId};
use crate::proxy;
use crate::time::Instant;
use crate::zmtp;

impl Engine {
    pub(super) fn on_received(&mut self, slot: usize, bytes: &[u8], now: Instant) {
        self.stats.bytes_in += bytes.len() as u64;
        let Some(link) = self.links.at(slot) else { return };
        if link.is_tls() {
            self.receive_tls(slot, bytes, now);
        } else {
            self.take_in(slot, bytes, now);
            // What came in one piece with the header of the PROXY protocol is the first of the handshake.
            if let Some(link) = self.links.at_mut(slot)
                && link.is_tls()
            {
                let rest = core::mem::take(&mut link.inbox);
                self.receive_tls(slot, rest.unread(), now);
            }
        }
        // Last, so that what these bytes brought about for others is written first.
        self.touch(slot);
    }

    fn receive_tls(&mut self, slot: usize, bytes: &[u8], now: Instant) {
        if self.hears(slot, bytes.len()) && !bytes.is_empty() {
            self.decrypt(slot, bytes, now);
        }
    }

    /// Whether somebody listens to the `n` bytes that have come.
    fn hears(&mut self, slot: usize, n: usize) -> bool {
        let Some(link) = self.links.at_mut(slot) else { return false };
        match &mut link.stage {
            Stage::Open => true,
            Stage::Draining { left, .. } => {
                *left = left.saturating_sub(n);
                if *left == 0 {
                    self.remove_and_shut(slot, Shut::Close);
                }
                false
            }
            Stage::Dialing | Stage::Held { .. } | Stage::Flushing { .. } => false,
        }
    }

    /// Takes bytes for the machine of a link.
    pub(super) fn take_in(&mut self, slot: usize, bytes: &[u8], now: Instant) {
        if !self.hears(slot, bytes.len()) {
            return;
        }
        let Some(link) = self.links.at_mut(slot) else { return };
        if link.inbox.is_empty() {
            let used = self.offer(slot, bytes, now);
            if let Some(link) = self.links.at_mut(slot)
                && used < bytes.len()
                && link.stage == Stage::Open
            {
                link.inbox.extend(&bytes[used..]);
            }
        } else {
            link.inbox.extend(bytes);
            self.offer_inbox(slot, now);
        }
    }

    /// Offers unread bytes to the link's machine again.
    pub(super) fn offer_inbox(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let mut inbox = core::mem::take(&mut link.inbox);
        let used = self.offer(slot, inbox.unread(), now);
        if let Some(link) = self.links.at_mut(slot)
            && link.stage == Stage::Open
        {
            inbox.advance(used);
            link.inbox = inbox;
        }
    }

    /// Feeds a machine and acts on its events until it takes no more; returns how many bytes it took.
    fn offer(&mut self, slot: usize, bytes: &[u8], now: Instant) -> usize {
        let id = self.links.id_of(slot);
        let mut used = 0;
        loop {
            let Some(link) = self.links.at_mut(slot) else { return used };
            if link.stage != Stage::Open || link.blocked > 0 {
                return used;
            }
            let rest = &bytes[used..];
            if let Protocol::Http(http) = &link.protocol
                && http.is_unclear
            {
                match Spoken::of(rest, self.config.listeners[http.listener].serves) {
                    Spoken::Http1 => {}
                    Spoken::Unclear => return used,
                    spoken @ (Spoken::Http2 | Spoken::Spdy(_) | Spoken::Spdy3Or31) => {
                        self.on_spoken(slot, spoken, now);
                        continue;
                    }
                }
            }
            let (took, event) = match &mut link.protocol {
                Protocol::Proxy(waiting) => {
                    let took = waiting.header.receive(rest, now);
                    let refused = waiting.header.violation().map(|violation| Event::Unproxied(violation.what));
                    (took, waiting.header.poll_event().map(Event::Proxied).or(refused))
                }
                // Answers that nobody reads must not pile up.
                Protocol::Http(http) if http.conn.queued() > self.config.limits.write_queue_high => return used,
                Protocol::Http(http) => {
                    let took = http.conn.receive(rest, now);
                    http.is_unclear &= took == 0;
                    (took, http.conn.poll_event().map(Event::Client))
                }
                Protocol::Mux(mux) => {
                    let took = mux.conn.receive(rest, now);
                    (took, mux.conn.poll_event().map(|(stream, event)| Event::Stream(stream, event)))
                }
                Protocol::WebSocket(_) if link.paused => return used,
                Protocol::WebSocket(websocket) if websocket.conn.queued() > self.config.limits.write_queue_high => {
                    return used;
                }
                Protocol::WebSocket(websocket) => {
                    let took = websocket.conn.receive(rest, now);
                    (took, websocket.conn.poll_event().map(Event::WebSocket))
                }
                Protocol::Node(node) => {
                    let took = node.conn.receive(rest, now);
                    (took, node.conn.poll_event().map(Event::Node))
                }
            };
            used += took;
            match event {
                Some(Event::Client(event)) => self.on_client_event(slot, event, now),
                Some(Event::Stream(stream, event)) => {
                    self.on_stream_event(slot, stream, event, now);
                    self.obey_replies(now);
                }
                Some(Event::WebSocket(event)) => {
                    self.on_websocket_event(Carrier::link(slot), event, now);
                    // At once: what an app does with this message may be why the next has to wait.
                    self.obey_replies(now);
                }
                Some(Event::Node(event)) => self.on_node_event(slot, event, now),
                Some(Event::Proxied(event)) => {
                    self.on_proxied(slot, event, now);
                    // What follows is not for its machine as it is.
                    if self.links.at(slot).is_none_or(|link| link.is_tls()) {
                        return used;
                    }
                }
                Some(Event::Unproxied(cause)) => self.on_unproxied(slot, cause, now),
                None if took == 0 || used == bytes.len() => {
                    self.refuse_hoarder(Carrier::link(slot), now);
                    return used;
                }
                None => {}
            }
            if self.links.slot_of(id).is_none() {
                return used;
            }
        }
    }

    /// A client's first bytes have told what it speaks.
    fn on_spoken(&mut self, slot: usize, spoken: Spoken, now: Instant) {
        let Some((listener, client)) = self.links.at(slot).and_then(|link| link.client()) else { return };
        let protocol = match spoken {
            Spoken::Http2 => self.http2_protocol(listener, client, now),
            Spoken::Spdy(version) => self.spdy_protocol(Some(version), listener, client, now),
            Spoken::Spdy3Or31 => self.spdy_protocol(None, listener, client, now),
            Spoken::Http1 | Spoken::Unclear => return,
        };
        if let Some(link) = self.links.at_mut(slot) {
            link.protocol = protocol;
        }
    }

    /// Where the memory is used up, whoever sends more of a message that is large and not complete is closed.
    pub(super) fn refuse_hoarder(&mut self, carrier: Carrier, now: Instant) {
        if !self.is_full_of_bytes() {
            return;
        }
        let high = self.config.limits.write_queue_high;
        let Some(session) = self.session_on(carrier) else { return };
        if self.websocket_of(session).is_some_and(|(_, conn)| conn.assembled() > high) {
            self.fail(session, Cause::MemoryMax, now);
        }
    }

    /// The PROXY protocol header is in: the connection begins, for the client that it names.
    fn on_proxied(&mut self, slot: usize, event: proxy::Event, now: Instant) {
        let proxy::Event::Done { source, .. } = event;
        let Some(link) = self.links.at(slot) else { return };
        let (peer, listener) = match &link.protocol {
            Protocol::Proxy(waiting) => (link.peer, waiting.listener),
            Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) | Protocol::Node(_) => return,
        };
        let protocol = self.http_protocol(listener, source.map_or(peer, PeerAddr::Ip), now);
        let transport = self.transport_of(listener, now);
        if let (Some(link), Some(transport)) = (self.links.at_mut(slot), transport) {
            link.protocol = protocol;
            link.transport = transport;
        }
    }

    fn on_unproxied(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
        self.report(Report::ClientRefused { peer, cause, why: None });
        self.close_link(slot, cause, Shut::Close, now);
    }

    pub(super) fn on_sent(&mut self, slot: usize, n: usize, now: Instant) {
        self.stats.bytes_out += n as u64;
        let stall = now + self.config.limits.write_stall;
        let Some(link) = self.links.at_mut(slot) else { return };
        link.wrote(n);
        link.stall = link.has_unwritten().then_some(stall);
        let queued = link.queued();
        match &link.protocol {
            Protocol::Http(_) | Protocol::WebSocket(_) => {
                if let Some(session) = link.session(None) {
                    self.on_client_room(session, now);
                }
            }
            // Its streams are told one by one.
            Protocol::Mux(_) => {}
            Protocol::Node(node) => {
                let (Some(node), limits) = (node.node, &self.config.limits) else { return self.touch(slot) };
                let is_open_again = queued < limits.node_queue_bytes && queued + n >= limits.node_queue_bytes;
                if queued <= limits.node_queue_high / 2 && !self.nodes.list[node].paused.is_empty() {
                    self.resume_clients_of(node, now);
                }
                if is_open_again {
                    self.pump_hosts_of(node);
                }
            }
            Protocol::Proxy(_) => {}
        }
        self.touch(slot);
    }

    pub(super) fn on_eof(&mut self, slot: usize, now: Instant) {
        let half_close = self.config.half_close;
        let Some(link) = self.links.at_mut(slot) else { return };
        if core::mem::replace(&mut link.eof, true) && link.stage == Stage::Open {
            return; // With TLS the end is told before it comes.
        }
        let (stage, is_handshaking) = (link.stage, link.is_handshaking());
        match (&mut link.protocol, stage) {
            (_, Stage::Draining { .. }) => self.remove_and_shut(slot, Shut::Close),
            // The farewell is still going out; there is nothing to drain after it.
            (_, Stage::Flushing { .. }) => {
                if link.stage == (Stage::Flushing { then: Then::Drain }) {
                    link.stage = Stage::Flushing { then: Then::Close };
                }
                self.touch(slot);
            }
            _ if is_handshaking => self.close_link(slot, Cause::ClientGone, Shut::Close, now),
            // What it asked before is served; its machine learns of the end when it has taken everything.
            // What it sent before is taken first.
            (Protocol::WebSocket(_), _) => self.touch(slot),
            // Who has hung up takes no answers, and asks nothing more.
            (Protocol::Mux(mux), _) => {
                mux.conn.receive_eof(now);
                self.touch(slot);
            }
            (Protocol::Http(_), _) if half_close => self.touch(slot),
            (Protocol::Http(http), _) => {
                if http.session.is_some() && http.conn.request_complete() {
                    return self.close_link(slot, Cause::ClientGone, Shut::Close, now);
                }
                http.conn.receive_eof(now);
                if let Some(session) = http.session {
                    self.finish(session, Cause::MessageCut, now);
                }
                self.touch(slot);
            }
            // What it said before is obeyed, though a message to many may hold it up.
            (Protocol::Node(_), _) if link.blocked > 0 => self.touch(slot),
            (Protocol::Node(_), _) => self.close_link(slot, Cause::LinkClosed, Shut::Close, now),
            (Protocol::Proxy(_), _) => self.close_link(slot, Cause::ClientGone, Shut::Close, now),
        }
    }
}

impl Engine {
    /// A connection has broken.
    pub(super) fn on_failed(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at(slot) else { return };
        // What a node said before is obeyed, though a message to many may hold it up.
        if link.blocked > 0 && !link.is_client() {
            return self.on_eof(slot, now);
        }
        self.on_link_gone(slot, Cause::ConnectionFailed, now);
    }
}

/// An event of one machine or the other.
enum Event {
    Client(crate::http::Event),
    Stream(StreamId, StreamEvent),
    WebSocket(crate::websocket::Event),
    Proxied(proxy::Event),
    Unproxied(Cause),
    Node(zmtp::Event),
}
