//! How links begin and end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;
use std::io;

use super::contract::{LinkId, ListenerId, Output, Shut};
use super::link::{HttpLink, Link, NodeLink, Origin, Protocol, ProxyLink, Stage, Then};
use super::report::Report;
use super::{Engine, REDIAL_MAX, REDIAL_MIN, sniff};
use crate::address::{Address, PeerAddr};
use crate::config::Serves;
use crate::error::Cause;
use crate::http1;
use crate::proxy;
use crate::time::{Duration, Instant};
use crate::zmtp;

impl Engine {
    pub(super) fn admit(&mut self, on: ListenerId, peer: PeerAddr, now: Instant) -> Option<LinkId> {
        let listener = on.0 as usize;
        let serves = self.config.listeners.get(listener)?.serves;
        if self.is_draining() {
            self.stats.count(Cause::Stopping);
            return None;
        }
        let protocol = match serves {
            // Clear text would be less than was asked for.
            Serves::Http { tls: true, .. } if !self.can_encrypt(listener) => return None,
            Serves::Http { proxy, .. } => {
                if self.clients >= self.config.limits.connections {
                    self.stats.count(Cause::ConnectionsMax);
                    return None;
                }
                self.clients += 1;
                self.stats.accepted += 1;
                if proxy {
                    let until = now + self.config.limits.head_timeout;
                    Protocol::Proxy(Box::new(ProxyLink { header: proxy::Header::new(), listener, until }))
                } else {
                    self.http_protocol(listener, peer, now)
                }
            }
            Serves::Zmq => {
                if self.node_links() >= self.config.limits.node_links {
                    self.stats.count(Cause::NodesMax);
                    return None;
                }
                self.node_protocol(Origin::Listener(listener), now)
            }
        };
        let mut link = Link::new(peer, Stage::Open, protocol);
        if matches!(link.protocol, Protocol::Http(_)) {
            link.transport = self.transport_of(listener, now)?;
        }
        let id = self.links.insert(link);
        self.touch(id.slot());
        self.hold_full();
        Some(id)
    }

    fn node_links(&self) -> usize {
        self.links.len() - self.clients
    }

    /// Whether a listener's kind of link is at its cap.
    pub(super) fn is_full(&self, listener: usize) -> bool {
        if self.serves_http(listener) {
            self.clients >= self.config.limits.connections
        } else {
            self.node_links() >= self.config.limits.node_links
        }
    }

    pub(super) fn http_protocol(&self, listener: usize, client: PeerAddr, now: Instant) -> Protocol {
        let conn = http1::Connection::server(Arc::clone(&self.http), now);
        // By TLS the client has said before which it is.
        let is_unclear = sniff::is_needed(self.config.listeners[listener].serves);
        Protocol::Http(Box::new(HttpLink { conn, listener, client, is_unclear, session: None, node: None }))
    }

    fn node_protocol(&self, origin: Origin, now: Instant) -> Protocol {
        let plain = usize::from(self.wants_password(origin));
        let conn = zmtp::Connection::new(Arc::clone(&self.zmtp[plain]), now);
        Protocol::Node(Box::new(NodeLink { conn, origin, user: None, node: None }))
    }

    /// Stops accepting where the cap is reached: who comes waits in the system's queue.
    fn hold_full(&mut self) {
        for listener in 0..self.listeners.len() {
            if self.is_full(listener) && self.listeners[listener].held.is_none() {
                self.listeners[listener].held = Some(None);
                self.outputs.push_back(Output::Hold(ListenerId(listener as u32), true));
                let cause = if self.serves_http(listener) { Cause::ConnectionsMax } else { Cause::NodesMax };
                let address = self.listeners[listener].address.clone();
                self.report(Report::AcceptPaused { address, why: cause.name().into() });
            }
        }
    }

    /// Accepts again where there is room, but for listeners that wait for descriptors.
    fn release_held(&mut self) {
        // Some room, so that the listeners do not flap with every connection.
        let slack = self.config.limits.connections / 64;
        let clients = self.clients + slack < self.config.limits.connections;
        for listener in 0..self.listeners.len() {
            let has_room = if self.serves_http(listener) { clients } else { !self.is_full(listener) };
            if has_room && self.listeners[listener].held == Some(None) {
                self.listeners[listener].held = None;
                self.outputs.push_back(Output::Hold(ListenerId(listener as u32), false));
            }
        }
    }

    // ---- outgoing links ----

    pub(super) fn dial(&mut self, dial: usize, now: Instant) {
        let address = self.config.dials[dial].address.clone();
        let protocol = self.node_protocol(Origin::Dial(dial), now);
        let id = self.links.insert(Link::new(PeerAddr::Unix, Stage::Dialing, protocol));
        self.dials[dial].link = Some(id.slot());
        self.outputs.push_back(Output::Dial(id, address));
    }

    pub(super) fn on_dialed(&mut self, slot: usize, result: Result<(), io::ErrorKind>, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        if link.stage != Stage::Dialing {
            return;
        }
        let Some(Origin::Dial(dial)) = link.node().map(|node| node.origin) else { return };
        match result {
            Ok(()) => {
                let peer = match &self.config.dials[dial].address {
                    Address::Tcp { host, port } => {
                        host.parse::<IpAddr>().map_or(PeerAddr::Unix, |ip| PeerAddr::Ip((ip, *port).into()))
                    }
                    Address::Unix(_) => PeerAddr::Unix,
                };
                // The handshake begins now: its deadline counts from here.
                let protocol = self.node_protocol(Origin::Dial(dial), now);
                if let Some(link) = self.links.at_mut(slot) {
                    link.peer = peer;
                    link.stage = Stage::Open;
                    link.protocol = protocol;
                }
                self.touch(slot);
            }
            Err(why) => {
                self.stats.count(Cause::DialFailed);
                let retry_in = self.forget_dial(dial, now);
                let endpoint = self.config.dials[dial].endpoint();
                self.report(Report::DialFailed { endpoint, why: why.to_string(), retry_in });
                self.remove_link(slot);
            }
        }
    }

    /// A dialled link is gone: sets the time of the next attempt.
    pub(super) fn forget_dial(&mut self, dial: usize, now: Instant) -> Duration {
        let state = &mut self.dials[dial];
        state.link = None;
        let pause = (REDIAL_MIN * 2_u32.saturating_pow(state.attempts.min(16))).min(REDIAL_MAX);
        state.attempts += 1;
        let jitter = Duration::from_millis(self.entropy.below(pause.as_millis() as u64 / 2 + 1));
        let pause = pause + jitter;
        if !self.is_draining() {
            self.dial_timers.set(dial, Some(now + pause));
        }
        pause
    }

    /// Starts the end of a link whose machine has ended.
    pub(super) fn notice_close(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let (cause, violation) = match &link.protocol {
            Protocol::Http(http) => (http.conn.is_closing(), http.conn.violation()),
            Protocol::Mux(mux) => (mux.conn.is_closing(), mux.conn.violation()),
            Protocol::WebSocket(websocket) => (websocket.conn.is_closing(), websocket.conn.violation()),
            Protocol::Node(node) => (node.conn.is_closing(), None),
            Protocol::Proxy(_) => (None, None),
        };
        let Some(cause) = cause else { return };
        let violated = violation.is_some();
        // There is no farewell after the handshake, and requests that have not left will go to other nodes.
        if let Protocol::Node(node) = &mut link.protocol
            && node.node.is_some()
        {
            node.conn.outbound().clear();
        }
        // Where the client may still be sending, a plain close would answer with a reset and eat the farewell, or the end
        // of an answer that has left for the system already.
        let is_queued = link.has_unwritten();
        let unread = match &link.protocol {
            Protocol::Http(http) if http.conn.request_complete() && http.conn.response_begun() => {
                http.conn.peer_may_send() || (is_queued && !link.inbox.is_empty())
            }
            Protocol::Http(http) => is_queued && (violated || !link.inbox.is_empty() || !http.conn.request_complete()),
            // Requests that it has sent before it learns of our end may be under way.
            Protocol::Mux(_) => is_queued,
            Protocol::WebSocket(_) => is_queued && (violated || !link.inbox.is_empty()),
            Protocol::Node(_) => is_queued,
            Protocol::Proxy(_) => false,
        };
        let is_cut = matches!(&link.protocol, Protocol::Http(http) if http.conn.is_cut());
        let then = match unread {
            _ if is_cut => Then::Abort,
            true => Then::Drain,
            false => Then::Close,
        };
        link.inbox = Default::default();
        link.cause = cause;
        link.stage = Stage::Flushing { then };
        let (peer, is_client) = (link.peer, link.is_client());
        let is_news = match &link.protocol {
            // Why its session is over was counted then. What else can go wrong is the farewell.
            Protocol::WebSocket(_) => violated || cause == Cause::CloseTimeout,
            Protocol::Http(_) | Protocol::Mux(_) | Protocol::Node(_) | Protocol::Proxy(_) => cause != Cause::Complete,
        };
        let node = match &mut link.protocol {
            Protocol::Node(node) => node.node.take(),
            Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) | Protocol::Proxy(_) => None,
        };
        let sessions = link.sessions();
        if is_client && is_news && sessions.is_empty() {
            self.stats.count(cause);
        }
        for session in sessions {
            // Its own violation ends it, with a page where there was no answer, or the machine's end of it.
            if let (Some(violation), Some(session)) = (violation, self.sessions.at_mut(session))
                && !session.is_answered()
            {
                session.status = violation.status;
            }
            self.lose(session, cause, now);
        }
        if let Some(mux) = self.links.at_mut(slot).and_then(|link| link.mux()) {
            mux.clear();
        }
        if violated {
            self.report(Report::ClientRefused { peer, cause, why: None });
        }
        if let Some(node) = node {
            self.on_node_lost(node, cause, now);
            self.stats.count(cause);
        } else if !self.links.at(slot).is_none_or(Link::is_client) {
            self.forget_challenger(slot);
            self.refused_link(slot, cause);
        }
    }

    /// A link that never became a node's has ended by its own fault.
    fn refused_link(&mut self, slot: usize, cause: Cause) {
        let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
        if cause == Cause::CredentialsRefused {
            return; // Counted and reported with the name it gave.
        }
        self.stats.count(cause);
        self.report(Report::NodeRefused { identity: Default::default(), peer, cause });
    }

    pub(super) fn forget_challenger(&mut self, slot: usize) {
        for node in &mut self.nodes.list {
            if node.challenger.is_some_and(|challenger| challenger.link == slot) {
                node.challenger = None;
            }
        }
    }

    /// Ends a link at once, and what hangs on it.
    pub(super) fn close_link(&mut self, slot: usize, cause: Cause, how: Shut, now: Instant) {
        let Some(link) = self.links.at(slot) else { return };
        let id = self.links.id_of(slot);
        let how = match &link.protocol {
            // An answer that ends with the connection must not seem to be whole.
            Protocol::Http(http) if http.conn.is_cut_by_close() => Shut::Abort,
            Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) | Protocol::Node(_) | Protocol::Proxy(_) => {
                how
            }
        };
        self.on_link_gone(slot, cause, now);
        self.outputs.push_back(Output::Shut(id, how));
    }

    /// A link is gone, or about to be: its sessions end, its node is lost.
    pub(super) fn on_link_gone(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(link) = self.remove_link(slot) else { return };
        let is_silent = !link.has_unwritten() && !link.is_handshaking();
        match link.protocol {
            Protocol::Http(http) => {
                let cause = if cause == Cause::ConnectionFailed { Cause::ClientGone } else { cause };
                // Answers that are complete may still be queued, or a head be on its way. What befalls a farewell was
                // counted when it began, but for a client that does not take it.
                let unsettled = link.stage == Stage::Open && !(http.conn.is_idle() && is_silent);
                match http.session {
                    Some(session) => self.finish(session, cause, now),
                    None if cause == Cause::WriteStall => {
                        self.stats.count(cause);
                        self.report(Report::ClientRefused { peer: link.peer, cause, why: None });
                    }
                    None if unsettled => self.stats.count(cause),
                    None => {}
                }
            }
            Protocol::Mux(mux) => {
                let cause = if cause == Cause::ConnectionFailed { Cause::ClientGone } else { cause };
                let is_idle = mux.sessions().next().is_none();
                for (_, session) in mux.sessions() {
                    self.lose(session, cause, now);
                }
                if cause == Cause::WriteStall && is_idle {
                    self.stats.count(cause);
                    self.report(Report::ClientRefused { peer: link.peer, cause, why: None });
                } else if is_idle && link.stage == Stage::Open && mux.conn.queued() > 0 {
                    self.stats.count(cause);
                }
            }
            Protocol::WebSocket(websocket) => {
                let cause = if cause == Cause::ConnectionFailed { Cause::ClientGone } else { cause };
                match websocket.session {
                    Some(session) => self.lose(session, cause, now),
                    None if cause == Cause::WriteStall => {
                        self.stats.count(cause);
                        self.report(Report::ClientRefused { peer: link.peer, cause, why: None });
                    }
                    None => {}
                }
            }
            Protocol::Node(node) => {
                if let Origin::Dial(dial) = node.origin {
                    self.forget_dial(dial, now);
                }
                self.forget_challenger(slot);
                match node.node {
                    Some(node) => {
                        self.stats.count(cause);
                        self.on_node_lost(node, cause, now);
                    }
                    // It hung up in its handshake, as libzmq does where the mechanism is another: somebody should know.
                    None if link.stage == Stage::Open && cause != Cause::Stopping => {
                        self.stats.count(cause);
                        self.report(Report::NodeRefused { identity: Default::default(), peer: link.peer, cause });
                    }
                    None => {}
                }
            }
            Protocol::Proxy(_) => self.stats.count(cause),
        }
    }

    /// Takes a link whose farewell is out off the table.
    pub(super) fn remove_and_shut(&mut self, slot: usize, how: Shut) {
        let id = self.links.id_of(slot);
        if let Some(link) = self.remove_link(slot) {
            self.outputs.push_back(Output::Shut(id, how));
            if let Protocol::Node(node) = link.protocol
                && let Origin::Dial(dial) = node.origin
            {
                self.redial.push(dial);
            }
        }
    }

    pub(super) fn remove_link(&mut self, slot: usize) -> Option<Box<Link>> {
        let link = self.links.remove(slot)?;
        self.link_timers.set(slot, None);
        self.memory -= link.charged;
        if link.is_client() {
            self.clients -= 1;
        }
        self.release_held();
        Some(link)
    }
}
