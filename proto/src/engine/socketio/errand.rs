//! Errands: requests that the engine answers itself, for a client of socket.io or without one.

use bytes::Bytes;

use super::{Engine, Errand, ErrandKind, Rest, Told};
use crate::config::matches_pattern;
use crate::engine::carrier::Carrier;
use crate::engine::session::{Part, Server, Session};
use crate::error::Cause;
use crate::http::{Event, Framing, Request, Response, ResponseBuilder};
use crate::message::Sid;
use crate::socketio::request::Refusal;
use crate::socketio::{self, Encoding, Generation, Probe};
use crate::time::Instant;
use crate::websocket::Message;

/// How long browsers may remember what they were told about requests from other origins.
const PREFLIGHT_SECONDS: &str = "3600";

const TEXT: &str = "text/plain; charset=UTF-8";
const SCRIPT: &str = "text/javascript; charset=UTF-8";

impl Engine {
    fn errand(&self, slot: usize) -> Option<Errand> {
        match self.sessions.at(slot)?.part {
            Part::Errand(errand) => Some(errand),
            Part::Stranger | Part::Client(_) => None,
        }
    }

    /// Whether pages of this origin may use socket.io here.
    pub(super) fn is_welcome(&self, host: usize, request: &Request) -> bool {
        let origins = &self.config.hosts[host].websocket_origins;
        let Some(origin) = request.fields.find("origin").filter(|_| !origins.is_empty()) else { return true };
        self.may_use(host, origin)
    }

    /// Whether a page may load an answer as a script here. Browsers do that for any page, with the visitor's cookies and
    /// without an Origin: where the host names origins, the page has to show itself by its Referer.
    pub(super) fn may_load(&self, host: usize, request: &Request) -> bool {
        if self.config.hosts[host].websocket_origins.is_empty() || request.fields.find("origin").is_some() {
            return true;
        }
        let referer = request.fields.find("referer").unwrap_or_default();
        let behind_scheme = referer.windows(3).position(|mark| mark == b"://").map_or(referer.len(), |at| at + 3);
        let end = referer[behind_scheme..].iter().position(|byte| *byte == b'/');
        self.may_use(host, &referer[..end.map_or(referer.len(), |end| behind_scheme + end)])
    }

    fn may_use(&self, host: usize, origin: &[u8]) -> bool {
        let origin = origin.to_ascii_lowercase();
        let origins = &self.config.hosts[host].websocket_origins;
        origins.iter().any(|allowed| matches_pattern(allowed.as_bytes(), &origin))
    }

    /// Adds what lets pages of other origins read an answer (Fetch, 3.2): all of them, but without credentials, where
    /// the host names none.
    fn share(&self, host: usize, request: &Request, head: ResponseBuilder) -> ResponseBuilder {
        let Some(origin) = request.fields.find("origin") else { return head };
        if self.config.hosts[host].websocket_origins.is_empty() {
            return head.field("Access-Control-Allow-Origin", "*");
        }
        let head = head.field("Vary", "Origin");
        match core::str::from_utf8(origin) {
            Ok(origin) if self.is_welcome(host, request) => {
                head.field("Access-Control-Allow-Origin", origin).field("Access-Control-Allow-Credentials", "true")
            }
            Ok(_) | Err(_) => head,
        }
    }

    /// Answers an errand; its session is over.
    fn answer_errand(&mut self, slot: usize, status: u16, fields: &[(&str, &str)], body: Bytes, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        let head = Response::builder(status);
        let head = match status {
            204 => head,
            _ => head.framing(Framing::Length(body.len() as u64)),
        };
        let head = fields.iter().fold(head, |head, (name, value)| head.field(name, value));
        let Ok(head) = self.share(session.host, &session.request, head).build() else {
            // An origin that is no field value was no field of a request.
            debug_assert!(false, "these fields are constants, or came in a request");
            return self.fail(slot, Cause::ResponseMalformed, now);
        };
        self.on_response(slot, head, now);
        if !body.is_empty() {
            self.deliver(slot, Event::Body(body), now);
        } else if self.sessions.at(slot).is_some() {
            self.deliver(slot, Event::End, now);
        }
    }

    /// Answers a poll.
    pub(super) fn answer_with_packets(&mut self, slot: usize, payload: Bytes, encoding: Encoding, now: Instant) {
        let Some(errand) = self.errand(slot) else { return };
        let (kind, body) = match (errand.jsonp, encoding) {
            (Some(number), _) => {
                (SCRIPT, socketio::wrap(errand.generation, number, &String::from_utf8_lossy(&payload)))
            }
            (None, Encoding::Text) => (TEXT, payload),
            (None, Encoding::Binary) => ("application/octet-stream", payload),
        };
        self.answer_errand(slot, 200, &[("Content-Type", kind), ("Cache-Control", "no-store")], body, now);
    }

    /// Answers the handshake of generation One.
    pub(super) fn answer_with_line(&mut self, slot: usize, line: String, now: Instant) {
        let Some(errand) = self.errand(slot) else { return };
        let (kind, body) = match errand.jsonp {
            Some(number) => (SCRIPT, socketio::wrap(errand.generation, number, &line)),
            None => (TEXT, line.into()),
        };
        self.answer_errand(slot, 200, &[("Content-Type", kind), ("Cache-Control", "no-store")], body, now);
    }

    /// Answers a request that gets no further, in the protocol's own words.
    pub(super) fn answer_refused(&mut self, slot: usize, refusal: Refusal, now: Instant) {
        self.stats.count(refusal.cause);
        let status = if refusal == Refusal::FORBIDDEN { 403 } else { 400 };
        let fields = [("Content-Type", "application/json"), ("Cache-Control", "no-store")];
        if let Some(session) = self.sessions.at(slot) {
            let peer = session.client;
            self.report(crate::engine::Report::ClientRefused { peer, cause: refusal.cause, why: None });
        }
        self.answer_errand(slot, status, &fields, refusal.body().into(), now);
    }

    /// Tells a browser whether it may send a request for a page of another origin.
    pub(super) fn answer_preflight(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        let wanted = session.request.fields.find("access-control-request-headers");
        let wanted = wanted.and_then(|fields| core::str::from_utf8(fields).ok()).unwrap_or("Content-Type").to_string();
        let fields = [
            ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
            ("Access-Control-Allow-Headers", wanted.as_str()),
            ("Access-Control-Max-Age", PREFLIGHT_SECONDS),
        ];
        self.answer_errand(slot, 204, &fields, Bytes::new(), now);
    }

    /// The body of an errand is complete.
    pub(in crate::engine) fn on_errand_uploaded(&mut self, slot: usize, now: Instant) {
        let Some(errand) = self.errand(slot).filter(|errand| errand.kind == ErrandKind::Post) else { return };
        let Some(client) = self.employer(&errand) else {
            return self.answer_refused(slot, Refusal::SESSION_UNKNOWN, now);
        };
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let before = session.kept.len;
        let pieces = session.kept.pieces();
        session.kept.lose();
        self.memory -= before;
        let body = match <[Bytes; 1]>::try_from(pieces) {
            Ok([piece]) => piece,
            Err(pieces) => pieces.concat().into(),
        };
        let kind = session.request.fields.find("content-type").unwrap_or_default();
        let encoding = match kind.starts_with(b"application/octet-stream") {
            true => Encoding::Binary,
            false => Encoding::Text,
        };
        let body = match errand.jsonp {
            Some(_) => socketio::unwrap_form(errand.generation, &body),
            None => Ok(body),
        };
        let Some(employer) = self.socketio_of(client) else { return };
        match body {
            // What is wrong is noticed when the client is settled.
            // Whoever has heard of the end may say so; what else it says, nobody hears.
            Ok(_) if employer.lingers && employer.told == Told::Part => employer.told = Told::All,
            Ok(_) if employer.lingers => {}
            Ok(body) => drop(employer.conn.receive_payload(body, encoding, now)),
            Err(cause) => employer.conn.close(cause, now),
        }
        if let Some(session) = self.sessions.at_mut(client) {
            session.bytes_in += before as u64;
            session.moved = now;
        }
        self.settle_socketio(client, now);
        self.check_hoard(client, now);
    }

    /// Tells a client that its packets are taken, once they are at its node: before that it sends no more.
    pub(super) fn answer_post(&mut self, client: usize, now: Instant) {
        let Some(session) = self.sessions.at(client) else { return };
        let Some(state) = session.socketio().filter(|state| state.rest == Rest::None || !state.has_event()) else {
            return;
        };
        let node = session.node();
        let Some(post) = state.post else { return };
        let Some(errand) = self.errand(post) else { return };
        let Some(session) = self.sessions.at(post).filter(|session| session.uploaded) else { return };
        if let Some(node) = node.filter(|node| self.node_queue(*node) > self.config.limits.node_queue_high) {
            let carrier = session.carrier;
            return self.pause_for(node, carrier, now);
        }
        if let Some(state) = self.socketio_of(client) {
            state.post = None;
        }
        let (kind, body) = match errand.generation {
            Generation::Five | Generation::Two => ("text/html", "ok"),
            Generation::One => ("text/plain", "1"),
        };
        self.answer_errand(post, 200, &[("Content-Type", kind)], Bytes::from_static(body.as_bytes()), now);
    }

    /// The node of an errand's client, or the session's own.
    pub(in crate::engine) fn node_behind(&self, slot: usize) -> Option<usize> {
        let session = self.sessions.at(slot)?;
        match &session.part {
            Part::Errand(errand) => self.sessions.at(self.employer(errand)?)?.node(),
            Part::Stranger | Part::Client(_) => session.node(),
        }
    }

    /// The node of an errand's client takes more.
    pub(in crate::engine) fn on_errand_resumed(&mut self, slot: usize, now: Instant) {
        if let Some(client) = self.errand(slot).and_then(|errand| self.employer(&errand)) {
            self.answer_post(client, now);
        }
    }

    /// Lets an errand of a client go that has ended.
    pub(super) fn dismiss(&mut self, slot: usize, is_violated: bool, cause: Cause, now: Instant) {
        let Some(errand) = self.errand(slot) else { return };
        match errand.kind {
            ErrandKind::Probe => self.fail(slot, cause, now),
            ErrandKind::Post if self.sessions.at(slot).is_some_and(|session| !session.uploaded) => {
                self.answer_refused(slot, Refusal::SESSION_UNKNOWN, now);
            }
            // Its packets are where they were to go.
            ErrandKind::Post
                if !is_violated && matches!(cause, Cause::Complete | Cause::ClientClosed | Cause::Stopping) =>
            {
                let body = if errand.generation == Generation::One { "1" } else { "ok" };
                self.answer_errand(slot, 200, &[("Content-Type", TEXT)], body.into(), now);
            }
            // That is no fault of the client's.
            ErrandKind::Post if cause.status() >= 500 => self.fail(slot, cause, now),
            ErrandKind::Post => self.answer_refused(slot, Refusal { cause, ..Refusal::BAD_REQUEST }, now),
            ErrandKind::Poll | ErrandKind::Answer => self.answer_refused(slot, Refusal::SESSION_UNKNOWN, now),
        }
    }

    /// An errand is over, done or not: its client may send another.
    pub(super) fn on_errand_over(&mut self, errand: &Errand, slot: usize, now: Instant) {
        let Some(client) = self.employer(errand) else { return };
        let Some(state) = self.socketio_of(client) else { return };
        let place = match errand.kind {
            ErrandKind::Poll => &mut state.poll,
            ErrandKind::Post => &mut state.post,
            ErrandKind::Probe => &mut state.probe,
            ErrandKind::Answer => return,
        };
        if *place != Some(slot) {
            return;
        }
        *place = None;
        match errand.kind {
            ErrandKind::Poll => state.conn.set_polling(false, now),
            ErrandKind::Probe => state.conn.end_probe(now),
            ErrandKind::Post | ErrandKind::Answer => {}
        }
        self.settle_socketio(client, now);
    }

    /// A WebSocket speaks that is not its client's carrier yet.
    pub(in crate::engine) fn on_probe_message(&mut self, slot: usize, message: Message, now: Instant) {
        let Some(errand) = self.errand(slot) else { return };
        let Some(client) = self.employer(&errand) else { return self.fail(slot, Cause::SessionUnknown, now) };
        let Some(state) = self.socketio_of(client) else { return };
        match state.conn.receive_probe(message, now) {
            Probe::Answer(answer) => {
                self.send_message(slot, answer, now);
                self.settle_socketio(client, now);
            }
            Probe::Upgraded => self.promote(slot, client, now),
            Probe::Refused(cause) => {
                self.fail(slot, cause, now);
                self.settle_socketio(client, now);
            }
        }
    }

    /// A WebSocket becomes its client's carrier: the errand that it was is done.
    pub(super) fn promote(&mut self, slot: usize, client: usize, now: Instant) {
        let Some(carrier) = self.sessions.at(slot).map(|session| session.carrier) else { return };
        let Some(old) = self.sessions.at(client).map(|session| session.carrier) else { return };
        if old != Carrier::NOWHERE {
            if let Some((_, conn)) = self.websocket_of(client) {
                conn.fail(Cause::Complete, now);
            }
            // It may have waited for the client's node; nobody would let it flow, and its farewell be answered.
            self.resume(old, now);
            self.detach(old, None);
        }
        if let Some(state) = self.socketio_of(client) {
            state.probe = None;
        }
        if let Some(session) = self.sessions.at_mut(slot) {
            session.carrier = Carrier::NOWHERE;
        }
        self.carry(client, carrier);
        self.finish(slot, Cause::Complete, now);
        self.settle_socketio(client, now);
    }
}

/// What the sessions of errands are made with.
pub(super) fn make(session: &mut Session, errand: Errand) {
    session.part = Part::Errand(errand);
    session.server = Some(Server::Front);
    session.deadline = None;
}

/// The id of the session that an errand is for.
pub(super) fn of(sid: Sid, kind: ErrandKind, jsonp: Option<u32>, generation: Generation) -> Errand {
    Errand { of: Some(sid), kind, jsonp, generation }
}
