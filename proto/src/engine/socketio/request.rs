//! Requests of clients of socket.io: handshakes, polls, posts and WebSockets.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::errand;
use super::{Errand, ErrandKind, Rest, SocketIo, Told};
use crate::engine::Engine;
use crate::engine::balance::Choice;
use crate::engine::carrier::Carrier;
use crate::engine::client::Arrival;
use crate::engine::session::{Answer, Part, Session};
use crate::error::Cause;
use crate::http::Request;
use crate::socketio::Generation::{Five, One};
use crate::socketio::request::{Asked, Refusal, handshake_line, read};
use crate::socketio::{Connection, Id, Transport};
use crate::time::Instant;

impl Engine {
    /// What a request asks of socket.io, if it does at all.
    pub(in crate::engine) fn asks_socketio(
        &self,
        host: usize,
        request: &Request,
        is_websocket: bool,
    ) -> Option<Result<Asked, Refusal>> {
        let mounts = &self.hosts.list[host].socketio_mounts;
        if mounts.is_empty() {
            return None;
        }
        read(request.target(), request.method(), is_websocket, mounts)
    }

    /// A request of socket.io has come.
    pub(in crate::engine) fn on_socketio_request(
        &mut self,
        arrival: Arrival,
        request: Request,
        is_websocket: bool,
        asked: Result<Asked, Refusal>,
        now: Instant,
    ) {
        let host = arrival.host;
        if is_websocket
            && self.is_welcome(host, &request)
            && let Err(cause) = self.check_handshake(host, &request)
        {
            return self.refuse_request(arrival.carrier, &request, cause.into(), now);
        }
        let payload_bytes = self.config.limits.socketio_payload_bytes as u64;
        let arrival = Arrival { body_bytes: payload_bytes, ..arrival };
        let is_preflight = request.method() == b"OPTIONS";
        let refusal = match self.judge(host, &request, asked) {
            _ if is_preflight => None,
            Ok((asked, None)) => return self.on_handshake(arrival, request, asked, now),
            Ok((asked, Some(client))) => return self.on_client_request(arrival, request, asked, client, now),
            Err(refusal) => Some(refusal),
        };
        let Some(slot) = self.begin_session(arrival, request, false, now) else { return };
        self.make_errand(slot, Errand { of: None, kind: ErrandKind::Answer, jsonp: None, generation: Five }, now);
        match refusal {
            Some(refusal) => self.answer_refused(slot, refusal, now),
            None => self.answer_preflight(slot, now),
        }
    }

    /// What a request asks for, and of which client that is known, or why it gets no further.
    fn judge(
        &self,
        host: usize,
        request: &Request,
        asked: Result<Asked, Refusal>,
    ) -> Result<(Asked, Option<usize>), Refusal> {
        if !self.is_welcome(host, request) {
            return Err(Refusal::FORBIDDEN);
        }
        let asked = asked?;
        if asked.jsonp.is_some() && !self.may_load(host, request) {
            return Err(Refusal::FORBIDDEN);
        }
        let client = asked.id.map(|id| self.client_of(host, &asked, id)).transpose()?;
        Ok((asked, client))
    }

    fn client_of(&self, host: usize, asked: &Asked, id: Id) -> Result<usize, Refusal> {
        let slot = self.socketio.find(id).ok_or(Refusal::SESSION_UNKNOWN)?;
        let session = self.sessions.at(slot).filter(|session| session.host == host);
        // One that is away comes back as another.
        let client = session.and_then(Session::socketio).filter(|client| !client.conn.is_parked());
        let client = client.ok_or(Refusal::SESSION_UNKNOWN)?;
        // Which version it speaks was said at its handshake, and need not be said again.
        let are_first = [client.conn.generation(), asked.generation].map(|generation| generation == One);
        let fits = are_first[0] == are_first[1] && client.conn.layer() == asked.layer;
        if fits { Ok(slot) } else { Err(Refusal::BAD_REQUEST) }
    }

    fn make_errand(&mut self, slot: usize, errand: Errand, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        errand::make(session, errand);
        self.hosts.list[session.host].sessions -= 1;
        self.socketio.errands += 1;
        self.arm_session(slot);
        if errand.kind == ErrandKind::Post {
            self.welcome_upload(slot, now);
        }
    }

    /// A client begins.
    fn on_handshake(&mut self, arrival: Arrival, request: Request, asked: Asked, now: Instant) {
        if self.is_draining() {
            return self.refuse_request(arrival.carrier, &request, Cause::Stopping.into(), now);
        }
        if let Err(cause) = self.has_room(arrival.host) {
            return self.refuse_request(arrival.carrier, &request, cause.into(), now);
        }
        let is_websocket = asked.transport == Transport::WebSocket;
        let host = arrival.host;
        let settings = Arc::clone(&self.hosts.list[host].socketio);
        let recovers = self.may_come_back(host, asked.generation, asked.layer);
        // Who comes back may have a session that waits for a node, as it does.
        if let Choice::Nobody(cause) = self.choose(host, &[], None)
            && !recovers
        {
            return self.refuse_request(arrival.carrier, &request, cause.into(), now);
        }
        let (id, private) = (self.draw_id(), self.draw_id());
        let conn = Connection::server(
            Arc::clone(&settings),
            asked.generation,
            asked.layer,
            asked.transport,
            asked.base64,
            id,
            private,
            now,
        );
        // A WebSocket carries its client; of a request that polls, an errand is made for it.
        let (errand, arrival) = match is_websocket {
            true => (None, arrival),
            false => {
                let errand = self.begin_session(arrival.clone(), request.clone(), false, now);
                if errand.is_none() {
                    return;
                }
                (errand, Arrival { carrier: Carrier::NOWHERE, ..arrival })
            }
        };
        let Some(slot) = self.begin_session(arrival, request, is_websocket, now) else { return };
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.uploaded = true;
        session.answer = Answer::SocketIo;
        session.status = if is_websocket { 101 } else { 200 };
        let sid = session.sid;
        let client = SocketIo {
            conn,
            id,
            private,
            poll: None,
            post: None,
            probe: None,
            rest: Rest::Undecided,
            unheard: None,
            asked: alloc::vec::Vec::new(),
            lingers: false,
            told: Told::Nothing,
            opens: is_websocket,
            charged: 0,
        };
        session.part = Part::Client(Box::new(client));
        self.socketio.ids.insert(id, slot);
        if recovers {
            self.socketio.privates.insert(private, slot);
        }
        if let Some(errand) = errand {
            let kind = if asked.generation == One { ErrandKind::Answer } else { ErrandKind::Poll };
            self.make_errand(errand, errand::of(sid, kind, asked.jsonp, asked.generation), now);
            if let Some(client) = self.socketio_of(slot).filter(|_| kind == ErrandKind::Poll) {
                client.poll = Some(errand);
            }
        }
        self.stats.socketio += 1;
        self.arm_session(slot);
        if is_websocket {
            self.open_websocket(slot, None, now);
        }
        if !recovers {
            self.assign(slot, now);
        }
        if let Some(errand) = errand.filter(|_| asked.generation == One) {
            self.answer_with_line(errand, handshake_line(id, &settings), now);
        } else if let Some(client) = self.socketio_of(slot).filter(|client| client.poll.is_some()) {
            client.conn.set_polling(true, now);
        }
        self.settle_socketio(slot, now);
    }

    /// A request of a client that is known.
    fn on_client_request(&mut self, arrival: Arrival, request: Request, asked: Asked, client: usize, now: Instant) {
        let is_post = request.method() == b"POST";
        let is_websocket = asked.transport == Transport::WebSocket;
        let kind = match (is_websocket, is_post, asked.ends) {
            (_, _, true) => ErrandKind::Answer,
            (true, ..) => ErrandKind::Probe,
            (false, true, _) => ErrandKind::Post,
            (false, false, _) => ErrandKind::Poll,
        };
        let Some(session) = self.sessions.at(client) else { return };
        let (sid, generation) =
            (session.sid, session.socketio().map_or(asked.generation, |state| state.conn.generation()));
        let Some(slot) = self.begin_session(arrival, request, is_websocket && !asked.ends, now) else { return };
        let is_uploaded = self.sessions.at(slot).is_some_and(|session| session.uploaded);
        self.make_errand(slot, errand::of(sid, kind, asked.jsonp, generation), now);
        let Some(session) = self.sessions.at_mut(client) else { return };
        session.moved = now;
        let Some(state) = session.socketio_mut() else { return };
        let is_polling = state.conn.transport() == Transport::Polling;
        match kind {
            ErrandKind::Answer => {
                self.answer_with_line(slot, String::new(), now);
                if let Some(state) = self.socketio_of(client) {
                    state.conn.close(Cause::ClientClosed, now);
                }
            }
            ErrandKind::Probe => {
                if !state.conn.begin_probe(now) {
                    // As socket.io's own server does it: opened, and closed at once.
                    self.open_websocket(slot, None, now);
                    return self.fail(slot, Cause::RequestMalformed, now);
                }
                state.probe = Some(slot);
                let is_transport = state.conn.transport() == Transport::WebSocket;
                self.open_websocket(slot, None, now);
                if is_transport && self.sessions.at(slot).is_some() {
                    return self.promote(slot, client, now);
                }
            }
            ErrandKind::Post | ErrandKind::Poll if !is_polling => {
                return self.answer_refused(slot, Refusal::BAD_REQUEST, now);
            }
            ErrandKind::Post if state.post.is_some() => {
                state.conn.close(Cause::RequestOverlap, now);
                self.answer_refused(slot, Refusal { cause: Cause::RequestOverlap, ..Refusal::BAD_REQUEST }, now);
            }
            ErrandKind::Post => {
                state.post = Some(slot);
                if is_uploaded {
                    self.on_errand_uploaded(slot, now);
                }
            }
            ErrandKind::Poll => {
                let is_second = state.poll.is_some();
                state.conn.set_polling(true, now);
                if is_second {
                    self.answer_refused(slot, Refusal { cause: Cause::RequestOverlap, ..Refusal::BAD_REQUEST }, now);
                } else {
                    state.poll = Some(slot);
                }
            }
        }
        self.settle_socketio(client, now);
    }
}
