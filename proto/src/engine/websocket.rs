//! WebSockets: from the handshake to the end of the session.
//!
//! ```text
//!  request ──▶ checked ──▶ at its node ─┬─ the node knows no handshake: 101 at once ───▶ open ──▶ end of the session
//!                 │                     └─ it answers: 101 ────────────────────────────▶ open      (close frames follow)
//!                 ▼                                    anything else: a plain answer
//!       400, 403, 405, 426
//! ```
//!
//! The session is over when one side says so; the link lives on until both close frames are through.

use bytes::Bytes;

use super::Engine;
use super::app::AppInput;
use super::carrier::Carrier;
use super::route::Parcel;
use super::session::{Answer, Part, Server};
use crate::config::{NodeLoss, matches_pattern};
use crate::error::Cause;
use crate::http::{Request, Response};
use crate::message::Kind;
use crate::time::Instant;
use crate::websocket::{self, Close, Event, Message, Prepared, Queued, SendError, handshake};

/// A message as a node gave it, as `websocket/text` or `websocket/binary`, or as `websocket`: text if it can be.
pub(super) fn message_of(kind: Kind, payload: Bytes) -> Result<Message, Cause> {
    let is_text = kind != Kind::WebSocketBinary && simdutf8::basic::from_utf8(&payload).is_ok();
    if kind == Kind::WebSocketText && !is_text {
        return Err(Cause::Utf8Invalid);
    }
    Ok(Message { kind: if is_text { websocket::Kind::Text } else { websocket::Kind::Binary }, payload })
}

/// A close as a node gave it, if it can be sent: nothing, or two bytes of code and a reason.
pub(super) fn close_of(body: &Bytes) -> Result<Close, Cause> {
    let close = match body[..] {
        [] => Close { code: None, reason: Bytes::new() },
        [high, low, ..] => Close { code: Some(u16::from_be_bytes([high, low])), reason: body.slice(2..) },
        [_] => return Err(Cause::CloseMalformed),
    };
    if close.may_be_sent() { Ok(close) } else { Err(Cause::CloseMalformed) }
}

impl Engine {
    /// Checks a request for a WebSocket before it gets a session.
    pub(super) fn check_handshake(&self, host: usize, request: &Request) -> Result<(), Cause> {
        let offer = handshake::read(request)?;
        let origins = &self.config.hosts[host].websocket_origins;
        // Only browsers tell where a page is from, and only they can be made to act for somebody else (RFC 6455, 10.2).
        let Some(origin) = offer.origin().filter(|_| !origins.is_empty()) else { return Ok(()) };
        let origin = origin.to_ascii_lowercase();
        if origins.iter().any(|allowed| matches_pattern(allowed.as_bytes(), &origin)) {
            Ok(())
        } else {
            Err(Cause::OriginRefused)
        }
    }

    /// Answers the request for a WebSocket with a 101, `shaped` by whoever serves it, and lets frames flow.
    pub(super) fn open_websocket(&mut self, slot: usize, shaped: Option<&Response>, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let host = &self.hosts.list[session.host];
        let opened = handshake::read(&session.request).and_then(|offer| {
            let deflate = offer.deflate(host.deflate);
            let protocols = &self.config.hosts[session.host].websocket_protocols;
            let protocol = offer.choose_protocol(protocols).map(str::as_bytes);
            Ok((handshake::accept(&offer, protocol, deflate, shaped)?, deflate))
        });
        let (response, deflate) = match opened {
            Ok(opened) => opened,
            Err(cause) => return self.fail(slot, cause, now),
        };
        let carrier = session.carrier;
        let settings = match session.part {
            Part::Stranger => &host.websocket,
            Part::Client(_) | Part::Errand(_) => &host.socketio_websocket,
        };
        let conn = websocket::Connection::server(alloc::sync::Arc::clone(settings), deflate, now);
        let Some(link) = self.links.at_mut(carrier.link).filter(|link| !link.has_lost(carrier.stream)) else { return };
        let Some(status) = link.upgrade(carrier.stream, response, conn, slot, now) else {
            return self.fail(slot, Cause::ResponseOutOfOrder, now);
        };
        let is_client = session.socketio().is_some();
        if !is_client {
            session.answer = Answer::WebSocket;
        }
        session.status = status;
        session.answered = now;
        session.moved = now;
        session.deadline = None;
        self.memory -= session.kept.len;
        session.kept.lose();
        if host.node_loss == NodeLoss::Close && !is_client {
            // Nobody asks for its fields again, and it may be idle for long.
            session.request = session.request.line_alone();
        }
        if let Some(node) = session.node() {
            self.nodes.list[node].open += 1;
            self.pump_hosts_of(node);
        }
        self.stats.websockets += 1;
        self.arm_session(slot);
        self.touch_carrier(carrier);
        if self.is_draining() {
            self.fail(slot, Cause::Stopping, now);
        }
    }

    /// An event of a client's WebSocket.
    pub(super) fn on_websocket_event(&mut self, carrier: Carrier, event: Event, now: Instant) {
        // After the end of the session the client's last words have nobody to go to.
        let Some(slot) = self.session_on(carrier) else { return };
        match event {
            Event::Message(message) => self.on_websocket_message(carrier, slot, message, now),
            Event::Close(close) => self.on_websocket_close(slot, close, now),
            // Answered by the machine, and no sign of use: only messages keep a session from being idle.
            Event::Ping(_) | Event::Pong(_) => {}
        }
    }

    fn on_websocket_message(&mut self, carrier: Carrier, slot: usize, message: Message, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        match session.part {
            Part::Stranger => {}
            Part::Client(_) => return self.on_socketio_message(slot, message, now),
            Part::Errand(_) => return self.on_probe_message(slot, message, now),
        }
        session.bytes_in += message.payload.len() as u64;
        session.moved = now;
        self.give_message(carrier, slot, message, now);
    }

    /// Gives a client's message to where its pipes lead, or to whoever serves it.
    pub(super) fn give_message(&mut self, carrier: Carrier, slot: usize, message: Message, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        let (sid, server, binary) = (session.sid, session.server, session.capabilities.binary);
        if session.bonds.is_some() {
            let to = self.pipes_of(slot, |pipe| pipe.websocket);
            if !to.is_empty() {
                let pack = |engine: &Self| Parcel::WebSocket(Prepared::with_ledger(&message, &engine.shared));
                return self.pipe(slot, &to, pack, now);
            }
        }
        match server {
            Some(Server::Node(node)) => {
                let kind = match message.kind {
                    _ if !binary => Kind::WebSocket,
                    websocket::Kind::Text => Kind::WebSocketText,
                    websocket::Kind::Binary => Kind::WebSocketBinary,
                };
                self.tell_bytes(node, sid, kind, message.payload);
                self.pause_for(node, carrier, now);
            }
            Some(Server::App(app)) => self.call_app(app, AppInput::WebSocket { sid, message }, now),
            Some(Server::Front) | None => debug_assert!(false, "while a WebSocket has nobody its client is paused"),
        }
    }

    /// The client said that it closes; its machine has answered, and ends the session when this returns.
    fn on_websocket_close(&mut self, slot: usize, close: Close, now: Instant) {
        let Some(session) = self.sessions.at(slot).filter(|session| session.socketio().is_none()) else { return };
        let sid = session.sid;
        match session.server {
            Some(Server::Node(node)) if session.capabilities.close => {
                let code = close.code.map(u16::to_be_bytes);
                let body = [code.as_ref().map_or(&[][..], |code| &code[..]), &close.reason].concat();
                self.tell(node, Some(sid), Kind::WebSocketClose, &body);
            }
            Some(Server::App(app)) => self.call_app(app, AppInput::Close { sid, close }, now),
            Some(Server::Node(_) | Server::Front) | None => {}
        }
    }

    /// Sends one message to a client.
    pub(super) fn send_message(&mut self, slot: usize, message: Message, now: Instant) {
        let len = message.payload.len();
        let Some((carrier, conn)) = self.websocket_of(slot) else { return };
        let sent = conn.send(Event::Message(message), now);
        self.after_send(slot, carrier, len, sent, now);
    }

    /// Sends a message that many get.
    pub(super) fn send_prepared(&mut self, slot: usize, prepared: &mut Prepared, now: Instant) {
        let len = prepared.payload_len();
        let Some((carrier, conn)) = self.websocket_of(slot) else { return };
        let sent = conn.send_prepared(prepared, now);
        self.after_send(slot, carrier, len, sent, now);
    }

    fn after_send(&mut self, slot: usize, carrier: Carrier, len: usize, sent: Result<Queued, SendError>, now: Instant) {
        let is_full = self.is_full_of_bytes();
        let high = self.config.limits.write_queue_high;
        match sent {
            Ok(Queued { dropped }) => {
                self.stats.count_many(Cause::OldestDropped, dropped as u64);
                if let Some(session) = self.sessions.at_mut(slot) {
                    session.bytes_out += len as u64;
                    session.moved = now;
                }
                self.touch_carrier(carrier);
                // Whoever reads stays below high water, and is served on.
                if is_full && self.queued_for(carrier) > high {
                    self.cut(carrier, Cause::MemoryMax, now);
                }
            }
            Err(SendError::Full) => self.cut(carrier, Cause::SlowClient, now),
            // Its end is on its way, and no news.
            Err(SendError::Closed) => self.stats.count(Cause::SessionStale),
            Err(SendError::Invalid) => debug_assert!(false, "messages are checked when they come"),
        }
    }

    /// Closes a client's WebSocket as its node wants; the session is over.
    pub(super) fn close_websocket(&mut self, slot: usize, close: Close, now: Instant) -> Result<(), Cause> {
        let Some((carrier, conn)) = self.websocket_of(slot) else { return Ok(()) };
        match conn.send(Event::Close(close), now) {
            Ok(_) | Err(SendError::Closed | SendError::Full) => {
                self.touch_carrier(carrier);
                self.finish(slot, Cause::Complete, now);
                Ok(())
            }
            Err(SendError::Invalid) => Err(Cause::CloseMalformed),
        }
    }
}
