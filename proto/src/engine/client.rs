//! Clients: from an event of their connection to a session with a node.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::Engine;
use super::app::AppInput;
use super::carrier::Carrier;
use super::https::Refusal;
use super::link::{Link, Protocol};
use super::report::{Access, Report};
use super::route::Parcel;
use super::session::{Answer, Kept, Part, Server, Session};
use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http::{BodySize, Event, Request};
use crate::message::Kind;
use crate::time::{Duration, Instant, earliest};
use crate::websocket::handshake;

/// A request as it has come, for a virtual host.
#[derive(Clone)]
pub(super) struct Arrival {
    pub carrier: Carrier,
    pub listener: usize,
    pub host: usize,
    /// The client, behind proxies that are trusted.
    pub origin: PeerAddr,
    pub https: bool,
    /// The largest body that is taken.
    pub body_bytes: u64,
}

impl Engine {
    /// An event of a client's connection.
    pub(super) fn on_client_event(&mut self, slot: usize, event: Event, now: Instant) {
        let carrier = Carrier::link(slot);
        match event {
            Event::Request(request) => self.on_request(carrier, request, now),
            Event::Body(bytes) => self.on_upload(carrier, bytes, now),
            Event::End => self.on_upload_end(carrier, now),
            Event::Response(_) => debug_assert!(false, "a server's connection yields no responses"),
        }
    }

    pub(super) fn on_request(&mut self, carrier: Carrier, request: Request, now: Instant) {
        self.stats.requests += 1;
        let Some((listener, client)) = self.links.at(carrier.link).and_then(|link| link.client()) else { return };
        let Some(host) = self.hosts.find(listener, request.host()) else {
            let cause = if request.host().is_empty() { Cause::HostMissing } else { Cause::HostUnknown };
            let refusal = self.refusal_on(carrier, cause);
            return self.refuse_request(carrier, &request, refusal, now);
        };
        let is_tls = self.links.at(carrier.link).is_some_and(|link| link.is_tls());
        let (origin, is_forwarded_tls) = self.origin_of(client, &request);
        let https = is_tls || is_forwarded_tls;
        if let Err(refusal) = self.guard_https(carrier, listener, host, https, &request) {
            return self.refuse_request(carrier, &request, refusal, now);
        }
        let is_websocket = handshake::is_requested(&request);
        let body_bytes = self.hosts.list[host].body_bytes;
        let arrival = Arrival { carrier, listener, host, origin, https, body_bytes };
        if let Some(asked) = self.asks_socketio(host, &request, is_websocket) {
            return self.on_socketio_request(arrival, request, is_websocket, asked, now);
        }
        if is_websocket && let Err(cause) = self.check_handshake(host, &request) {
            return self.refuse_request(carrier, &request, cause.into(), now);
        }
        if is_websocket && self.is_draining() {
            return self.refuse_request(carrier, &request, Cause::Stopping.into(), now);
        }
        if let Err(cause) = self.has_room(host) {
            return self.refuse_request(carrier, &request, cause.into(), now);
        }
        let Some(index) = self.begin_session(arrival, request, is_websocket, now) else { return };
        self.assign(index, now);
        self.arm_session(index);
    }

    /// Makes a session of a request; `None` if its body is too large, or nobody waits for an answer.
    pub(super) fn begin_session(
        &mut self,
        arrival: Arrival,
        request: Request,
        is_websocket: bool,
        now: Instant,
    ) -> Option<usize> {
        let Arrival { carrier, listener, host, origin, https, body_bytes } = arrival;
        let draining = self.is_draining();
        match (self.links.at_mut(carrier.link).map(|link| &mut link.protocol), carrier.stream) {
            (Some(Protocol::Http(http)), _) => {
                if http.conn.limit_body(body_bytes, now).is_err() {
                    // The page is queued; the end of the connection counts the cause.
                    let client = http.client;
                    self.report_refused(carrier, client, &request, Cause::BodyTooLarge.into());
                    return None;
                }
                if draining {
                    http.conn.close_after_response(now);
                }
            }
            (Some(Protocol::Mux(mux)), Some(stream)) if !is_websocket => {
                let is_announced = matches!(request.body, BodySize::Length(length) if length > body_bytes);
                if is_announced {
                    mux.conn.fail_with(stream, Cause::BodyTooLarge, Cause::BodyTooLarge.status(), now);
                }
                if is_announced || mux.conn.limit_body(stream, body_bytes, now).is_err() {
                    let client = mux.client;
                    self.stats.count(Cause::BodyTooLarge);
                    self.report_refused(carrier, client, &request, Cause::BodyTooLarge.into());
                    return None;
                }
            }
            (Some(Protocol::Mux(_)), _) => {}
            // A client of socket.io that polls.
            (None, _) if carrier == Carrier::NOWHERE => {}
            (Some(Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_)) | None, _) => return None,
        }
        let session = Session {
            sid: self.sessions.next_sid(&mut *self.entropy),
            carrier,
            host,
            server: None,
            capabilities: Default::default(),
            request_id: self.entropy.next_u64(),
            client: origin,
            https,
            tls: self.links.at(carrier.link).and_then(Link::facts).map(|facts| facts.version),
            port: self.listeners[listener].port(),
            // The body of an extended CONNECT is the WebSocket.
            uploaded: request.body == BodySize::None || is_websocket,
            request,
            is_websocket,
            kept: Kept::default(),
            hops: 0,
            refused: alloc::vec::Vec::new(),
            redispatched: false,
            answer: Answer::None,
            status: 0,
            credit: Default::default(),
            crowded: false,
            part: Part::Stranger,
            bonds: None,
            bytes_in: 0,
            bytes_out: 0,
            began: now,
            handed_over: now,
            answered: now,
            patience: self.hosts.list[host].session_timeout,
            moved: now,
            deadline: None,
        };
        let index = self.sessions.insert(session);
        self.hosts.list[host].sessions += 1;
        match (self.links.at_mut(carrier.link).map(|link| &mut link.protocol), carrier.stream) {
            (Some(Protocol::Http(http)), _) => http.session = Some(index),
            (Some(Protocol::Mux(mux)), Some(stream)) => mux.attach(stream, index, is_websocket),
            (Some(Protocol::Mux(_)), None) => {}
            (Some(Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_)) | None, _) => {}
        }
        Some(index)
    }

    /// Answers a request that gets no session.
    pub(super) fn refuse_request(&mut self, carrier: Carrier, request: &Request, refusal: Refusal, now: Instant) {
        let Refusal { cause, status } = refusal;
        self.fail_on_with(carrier, cause, status, now);
        let Some(link) = self.links.at(carrier.link) else { return };
        let Some((_, client)) = link.client() else { return };
        // Where it ends the connection, it is counted then.
        let ends_connection = matches!(&link.protocol, Protocol::Http(http) if http.conn.is_closing() == Some(cause));
        if !ends_connection {
            self.stats.count(cause);
        }
        self.report_refused(carrier, client, request, refusal);
    }

    fn report_refused(&mut self, carrier: Carrier, client: PeerAddr, request: &Request, refusal: Refusal) {
        let Refusal { cause, status } = refusal;
        if !self.config.access_log {
            return;
        }
        self.report(Report::Access(Box::new(Access {
            sid: None,
            request_id: 0,
            client,
            protocol: request.version,
            tls: self.links.at(carrier.link).and_then(Link::facts).map(|facts| facts.version),
            host: String::from_utf8_lossy(request.host()).into_owned(),
            method: request.method().into(),
            target: request.target().into(),
            status,
            bytes_in: 0,
            bytes_out: 0,
            node: None,
            hops: 0,
            waited: Duration::ZERO,
            node_took: Duration::ZERO,
            took: Duration::ZERO,
            cause,
        })));
    }

    pub(super) fn has_room(&self, host: usize) -> Result<(), Cause> {
        if self.open_sessions() >= self.config.limits.sessions {
            return Err(Cause::SessionsMax);
        }
        if self.hosts.list[host].sessions >= self.hosts.list[host].sessions_max {
            return Err(Cause::HostSessionsMax);
        }
        if self.is_full_of_bytes() {
            return Err(Cause::MemoryMax);
        }
        Ok(())
    }

    /// The client behind proxies that are trusted, and whether it spoke TLS to them: the last address of
    /// X-Forwarded-For that is not a trusted proxy's.
    fn origin_of(&self, peer: PeerAddr, request: &Request) -> (PeerAddr, bool) {
        let trusted = |address: IpAddr| self.config.trusted_proxies.iter().any(|net| net.contains(address));
        let believed = match peer {
            PeerAddr::Ip(address) => trusted(address.ip()),
            PeerAddr::Unix => !self.config.trusted_proxies.is_empty(),
        };
        if !believed {
            return (peer, false);
        }
        let https = request.fields.find("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
        let mut client = peer;
        let lines: alloc::vec::Vec<&[u8]> = request.fields.all("x-forwarded-for").collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            let Some(address) = forwarded_address(entry.trim_ascii()) else { break };
            client = PeerAddr::Ip(address);
            if !trusted(address.ip()) {
                break;
            }
        }
        (client, https)
    }

    pub(super) fn on_upload(&mut self, carrier: Carrier, bytes: Bytes, now: Instant) {
        let Some(slot) = self.session_on(carrier) else { return };
        let retry_bytes = self.config.limits.retry_bytes;
        let is_full = self.is_full_of_bytes();
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.bytes_in += bytes.len() as u64;
        session.moved = now;
        if session.bonds.is_some() {
            let to = self.pipes_of(slot, |pipe| pipe.body);
            if !to.is_empty() {
                return self.pipe(slot, &to, |_| Parcel::Body(bytes.clone()), now);
            }
        }
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let before = session.kept.len;
        let max = match session.server {
            // While nobody has it, everything is kept: the link pauses at the bound. What is for the engine has a bound of
            // its own.
            None | Some(Server::Front) => usize::MAX,
            // A second chance is what can be done without.
            Some(_) if is_full => 0,
            Some(_) => retry_bytes,
        };
        session.kept.push(&bytes, max);
        self.memory = self.memory + session.kept.len - before;
        let sid = session.sid;
        match session.server {
            None if session.kept.len >= retry_bytes => {
                self.pause(carrier, now);
            }
            None | Some(Server::Front) => {}
            Some(Server::Node(node)) => {
                self.tell_bytes(node, sid, Kind::Body, bytes);
                self.pause_for(node, carrier, now);
            }
            Some(Server::App(app)) => self.call_app(app, AppInput::Body { sid, bytes }, now),
        }
    }

    pub(super) fn on_upload_end(&mut self, carrier: Carrier, now: Instant) {
        let Some(slot) = self.session_on(carrier) else { return };
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.moved = now;
        let first = !core::mem::replace(&mut session.uploaded, true);
        if session.server.is_some() && first {
            self.upload_complete(slot, now);
        }
    }

    /// The whole request is at its node: tells it so where it wants that, and starts the time it has to answer.
    pub(super) fn upload_complete(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        if session.server == Some(Server::Front) {
            return self.on_errand_uploaded(slot, now);
        }
        if !session.is_answered() {
            session.deadline = Some(now + self.hosts.list[session.host].node_timeout);
        }
        let (sid, server) = (session.sid, session.server);
        let had_body = session.request.body != BodySize::None;
        let marks_end = session.capabilities.body_end;
        self.arm_session(slot);
        match server {
            Some(Server::Node(node)) if had_body && marks_end => self.tell(node, Some(sid), Kind::Body, b""),
            Some(Server::App(app)) if had_body => self.call_app(app, AppInput::BodyEnd { sid }, now),
            Some(_) | None => {}
        }
    }

    /// Stops reading from a client whose node has enough to take.
    pub(super) fn pause_for(&mut self, node: usize, client: Carrier, now: Instant) {
        // A stream is not silent at once: what its window lets through comes still.
        if self.node_queue(node) > self.config.limits.node_queue_high && self.pause(client, now) {
            self.nodes.list[node].paused.push(client);
        }
    }

    /// Lets the clients flow again whose input waits for this node. Whose place on the list has another by now, or who
    /// waits for another node, waits on.
    pub(super) fn resume_clients_of(&mut self, node: usize, now: Instant) {
        for client in core::mem::take(&mut self.nodes.list[node].paused) {
            let Some(slot) = self.session_on(client) else { continue };
            if self.node_behind(slot) == Some(node) {
                self.resume(client, now);
                self.on_errand_resumed(slot, now);
            }
        }
    }

    /// Bytes have left for a client: its node may send more, its app may go on.
    pub(super) fn on_client_room(&mut self, slot: usize, now: Instant) {
        self.on_opened(slot, now);
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.moved = now;
        if session.capabilities.credit {
            self.grant(slot);
            return;
        }
        let Some(Server::App(app)) = session.server else { return };
        let (sid, crowded) = (session.sid, session.crowded);
        let queued = self.queued_of(slot);
        if crowded && queued <= self.config.limits.write_queue_high / 2 {
            if let Some(session) = self.sessions.at_mut(slot) {
                session.crowded = false;
            }
            self.call_app(app, AppInput::Room { sid }, now);
        }
    }

    /// Grants a node what the client's queue has room for, in steps that are worth a message.
    pub(super) fn grant(&mut self, slot: usize) {
        let Some(session) = self.sessions.at(slot) else { return };
        let Some(Server::Node(node)) = session.server else { return };
        let window = self.config.limits.credit_bytes.min(self.config.limits.write_queue_bytes / 2).max(1) as u64;
        let queued = self.queued_of(slot) as u64;
        let total = session.credit.used + window.saturating_sub(queued);
        let more = total.saturating_sub(session.credit.granted);
        if more < (window / 4).max(1) {
            return;
        }
        let sid = session.sid;
        if let Some(session) = self.sessions.at_mut(slot) {
            session.credit.granted = total;
        }
        self.tell(node, Some(sid), Kind::Credit, more.to_string().as_bytes());
    }

    /// Sets a session's next deadline.
    pub(super) fn arm_session(&mut self, slot: usize) {
        let Some(session) = self.sessions.at(slot) else { return };
        let machine = session.socketio().and_then(|client| client.conn.poll_timeout());
        let at = match session.socketio() {
            Some(client) if client.lingers => session.deadline,
            Some(_) | None => earliest(earliest(session.deadline, machine), Some(session.moved + session.patience)),
        };
        self.session_timers.set(slot, at);
    }

    /// A session's deadline has come.
    pub(super) fn on_session_deadline(&mut self, slot: usize, now: Instant) {
        if self.is_socketio(slot) && !self.on_socketio_deadline(slot, now) {
            return;
        }
        let Some(session) = self.sessions.at(slot) else { return };
        if session.deadline.is_some_and(|deadline| deadline <= now) {
            let cause = if session.server.is_some() { Cause::NodeTimeout } else { Cause::QueueTimeout };
            return self.fail(slot, cause, now);
        }
        if session.moved + session.patience <= now {
            return self.fail(slot, Cause::Inactivity, now);
        }
        self.arm_session(slot);
    }
}

/// An entry of X-Forwarded-For: an address, with or without a port.
fn forwarded_address(entry: &[u8]) -> Option<SocketAddr> {
    let text = core::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)).or_else(|_| text.parse()).ok()
}
