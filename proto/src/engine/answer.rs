//! Answers: from a node's or an app's message to bytes for the client.

use bytes::Bytes;

use super::Engine;
use super::app::{AppInput, Replies, Reply};
use super::session::{Answer, Found, Server, Session};
use super::websocket::{close_of, message_of};
use crate::error::Cause;
use crate::http::{Event, Framing, Response};
use crate::http1::{ChunkDecoder, Piece, Progress, SendError};
use crate::message::{Kind, Sid};
use crate::time::Instant;
use crate::websocket::{self, Close};
use crate::{uwsgi, zmtp};

impl Engine {
    /// A message of a node.
    pub(super) fn on_node_message(&mut self, node: usize, message: zmtp::Message, now: Instant) {
        self.stats.messages_in += 1;
        let mut frames = message.frames();
        let (Some(sid), Some(name), 3) = (frames.next(), frames.next(), message.frame_count()) else {
            return self.drop_message(node, Cause::PartsWrong, message.frame_count().to_string().as_bytes());
        };
        let kind = match Kind::from_frame(name) {
            Some(Kind::Ping | Kind::Spawn | Kind::Error | Kind::Credit) => return self.on_unknown(node, sid, name),
            Some(kind) => kind,
            None => {
                let [sid, name] = [0, 1].map(|frame| message.frame_bytes(frame).unwrap_or_default());
                return self.on_routed(node, &sid, &name, message.into_last(), now);
            }
        };
        if kind == Kind::Pong {
            return self.on_pong(node, message.frames().nth(2).unwrap_or_default(), now);
        }
        let slot = match Sid::from_frame(sid).map_or(Found::Unknown, |sid| self.sessions.find(sid)) {
            Found::Here(slot) if self.sessions.at(slot).and_then(|s| s.node()) == Some(node) => slot,
            Found::Here(_) => {
                self.complain(node, sid, name, Cause::SessionForeign);
                return self.drop_message(node, Cause::SessionForeign, name);
            }
            // Nothing is wrong with it: it crossed our `end`.
            Found::Ended => {
                self.stats.count(Cause::SessionStale);
                return self.on_alive(node, now);
            }
            Found::Unknown => {
                self.complain(node, sid, name, Cause::SessionUnknown);
                return self.drop_message(node, Cause::SessionUnknown, name);
            }
        };
        self.on_alive(node, now);
        let body = message.into_last();
        if self.spend(slot, kind, body.len()) {
            self.obey(slot, kind, body, now);
            // What made no bytes for the client (interim heads, the framing of chunks) is credited at once.
            if self.sessions.at(slot).is_some_and(|session| session.capabilities.credit) {
                self.grant(slot);
            }
        } else {
            self.fail(slot, Cause::CreditExceeded, now);
        }
    }

    fn on_unknown(&mut self, node: usize, sid: &[u8], name: &[u8]) {
        self.complain(node, sid, name, Cause::TypeUnknown);
        self.drop_message(node, Cause::TypeUnknown, name);
    }

    /// Books a message of a node with flow control; false if it had no credit for it.
    fn spend(&mut self, slot: usize, kind: Kind, len: usize) -> bool {
        let Some(session) = self.sessions.at_mut(slot) else { return true };
        let whole = matches!(
            kind,
            Kind::Headers
                | Kind::Uwsgi
                | Kind::Push
                | Kind::WebSocket
                | Kind::WebSocketText
                | Kind::WebSocketBinary
                | Kind::SocketIoEvent
                | Kind::SocketIoAck
                | Kind::SocketIoMsg
                | Kind::SocketIoJson
        );
        let counts = whole || matches!(kind, Kind::Body | Kind::Chunk | Kind::Push);
        // What has no bytes costs nothing: after a head that was larger than the credit left, an end mark still may come.
        if !session.capabilities.credit || !counts || len == 0 {
            return true;
        }
        // A head or a message goes out whole as long as any credit is left.
        let last = session.credit.used < session.credit.granted && whole;
        session.credit.used += len as u64;
        last || session.credit.used <= session.credit.granted
    }

    /// Obeys a message for a session.
    fn obey(&mut self, slot: usize, kind: Kind, body: Bytes, now: Instant) {
        match kind {
            Kind::Push => {
                let pushed = self.on_push(slot, &body, now);
                self.or_complain(slot, kind, pushed);
            }
            Kind::Headers | Kind::Uwsgi | Kind::Body | Kind::Chunk | Kind::End if self.is_pushing(slot) => {
                let pushed = self.on_pushed(slot, kind, body, now);
                self.or_complain(slot, kind, pushed);
            }
            Kind::Headers => self.on_head(slot, body, now),
            Kind::Uwsgi => match uwsgi::decode_response(&body, &self.config.limits) {
                Ok(response) => self.on_response(slot, response, now),
                Err(cause) => self.fail(slot, cause, now),
            },
            Kind::Body => self.on_body(slot, body, now),
            Kind::Chunk => self.on_chunk(slot, body, now),
            Kind::End => self.on_end(slot, now),
            Kind::Retry => self.on_retry(slot, now),
            Kind::GoAway => self.on_goaway(slot, now),
            Kind::WebSocket | Kind::WebSocketText | Kind::WebSocketBinary => {
                let sent = message_of(kind, body).and_then(|message| self.on_message(slot, message, now));
                self.or_complain(slot, kind, sent);
            }
            Kind::WebSocketClose => {
                let closed = close_of(&body).and_then(|close| match self.is_websocket(slot) {
                    true => self.close_websocket(slot, close, now),
                    false => Err(Cause::MessageUnfit),
                });
                self.or_complain(slot, kind, closed);
            }
            Kind::SocketIoConnect
            | Kind::SocketIoRefuse
            | Kind::SocketIoEvent
            | Kind::SocketIoAck
            | Kind::SocketIoDisconnect
            | Kind::SocketIoMsg
            | Kind::SocketIoJson
            | Kind::SocketIoEnd => {
                let sent = self.on_socketio_kind(slot, kind, body, now);
                self.or_complain(slot, kind, sent);
            }
            Kind::Join => self.obey_bond(slot, kind, |engine| engine.on_join(slot, &body)),
            Kind::Leave => self.obey_bond(slot, kind, |engine| engine.on_leave(slot, &body)),
            Kind::Echo => self.obey_bond(slot, kind, |engine| engine.on_echo(slot, &body, true)),
            Kind::NoEcho => self.obey_bond(slot, kind, |engine| engine.on_echo(slot, &body, false)),
            Kind::Pipe => self.obey_bond(slot, kind, |engine| engine.on_pipe(slot, &body)),
            Kind::Unpipe => self.obey_bond(slot, kind, |engine| engine.on_unpipe(slot, &body)),
            Kind::Msg => self.or_complain(slot, kind, Err(Cause::RouteMalformed)),
            Kind::Ping | Kind::Pong | Kind::Spawn | Kind::Error | Kind::Credit => {
                debug_assert!(false, "{kind} is no message for a session");
            }
        }
    }

    fn obey_bond(&mut self, slot: usize, kind: Kind, obey: impl FnOnce(&mut Self) -> Result<(), Cause>) {
        let outcome = obey(self);
        self.or_complain(slot, kind, outcome);
    }

    /// A message that cannot be obeyed is dropped; the session lives on.
    fn or_complain(&mut self, slot: usize, kind: Kind, outcome: Result<(), Cause>) {
        let Err(cause) = outcome else { return };
        let Some(session) = self.sessions.at(slot) else { return };
        let (sid, node) = (session.sid, session.node());
        match node {
            Some(node) => {
                self.complain(node, &sid.0, kind.name().as_bytes(), cause);
                self.drop_message(node, cause, kind.name().as_bytes());
            }
            None => self.stats.count(cause),
        }
    }

    fn is_websocket(&self, slot: usize) -> bool {
        self.sessions.at(slot).is_some_and(|session| matches!(session.answer, Answer::WebSocket))
    }

    /// A WebSocket message for the session's own client.
    fn on_message(&mut self, slot: usize, message: websocket::Message, now: Instant) -> Result<(), Cause> {
        if self.is_socketio(slot) {
            return self.send_plain(slot, message, now);
        }
        if !self.is_websocket(slot) {
            return Err(Cause::MessageUnfit);
        }
        self.send_message(slot, message, now);
        Ok(())
    }

    /// Raw heads: any number of 1xx, then one that is final; what follows it is body.
    fn on_head(&mut self, slot: usize, mut text: Bytes, now: Instant) {
        loop {
            let (response, rest) = match Response::parse(text, &self.config.limits) {
                Ok(parsed) => parsed,
                Err(cause) => return self.fail(slot, cause, now),
            };
            let interim = response.is_interim();
            self.on_response(slot, response, now);
            if rest.is_empty() || self.sessions.at(slot).is_none() {
                return;
            }
            if !interim {
                return self.on_body(slot, rest, now);
            }
            text = rest;
        }
    }

    pub(super) fn on_response(&mut self, slot: usize, response: Response, now: Instant) {
        if self.is_socketio(slot) {
            return self.or_complain(slot, Kind::Headers, Err(Cause::MessageUnfit));
        }
        let Some(session) = self.sessions.at_mut(slot) else { return };
        if session.is_open() {
            // The next node of a WebSocket whose node was lost may say that it takes it, with nothing left to shape, or
            // that it does not: then the client may ask anew.
            return match session.redispatched && session.capabilities.handshake {
                true if response.status == 101 => {}
                true => self.fail(slot, Cause::NodeLost, now),
                false => self.or_complain(slot, Kind::Headers, Err(Cause::MessageUnfit)),
            };
        }
        if response.status == 101 && session.is_websocket && !session.is_answered() {
            return self.open_websocket(slot, Some(&response), now);
        }
        // Whoever asks on a stream takes any success for a WebSocket that is open (RFC 8441, 5).
        let would_open = session.is_websocket && session.carrier.stream.is_some() && response.status / 100 == 2;
        if session.is_answered() || response.status == 101 || would_open {
            return self.fail(slot, Cause::ResponseOutOfOrder, now);
        }
        if response.is_interim() {
            // 100 is the server's own business (RFC 9110, 10.1.1).
            if response.status != 100 {
                self.deliver(slot, Event::Response(response), now);
            }
            return;
        }
        session.status = response.status;
        session.answered = now;
        // From here on no other node can have it.
        self.memory -= session.kept.len;
        session.kept.lose();
        session.deadline = None;
        session.answer = match response.framing {
            Framing::Chunked => Answer::Chunked,
            framing @ (Framing::Length(_) | Framing::Unframed) => Answer::Begun { framing },
        };
        self.deliver(slot, Event::Response(response), now);
    }

    fn on_body(&mut self, slot: usize, body: Bytes, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        match &mut session.answer {
            Answer::None if body.starts_with(b"HTTP/") => self.on_head(slot, body, now),
            Answer::None => self.fail(slot, Cause::ResponseOutOfOrder, now),
            // Where a message ends with its stream, this is how a node says so.
            Answer::Begun { .. } if body.is_empty() && session.carrier.stream.is_some() => {
                self.deliver(slot, Event::End, now);
            }
            Answer::Begun { .. } if body.is_empty() => {}
            Answer::Begun { .. } => self.deliver(slot, Event::Body(body), now),
            Answer::Chunked if body.is_empty() => {}
            Answer::Chunked => {
                session.answer = Answer::Framed(ChunkDecoder::new(&self.config.limits));
                self.on_framed(slot, body, now);
            }
            Answer::Framed(_) => self.on_framed(slot, body, now),
            Answer::WebSocket | Answer::SocketIo => self.or_complain(slot, Kind::Body, Err(Cause::MessageUnfit)),
        }
    }

    /// Bytes that the node has framed as chunks itself.
    fn on_framed(&mut self, slot: usize, mut bytes: Bytes, now: Instant) {
        while !bytes.is_empty() {
            let Some(session) = self.sessions.at_mut(slot) else { return };
            let Answer::Framed(decoder) = &mut session.answer else { return };
            match decoder.decode(&bytes) {
                Err(_) => return self.fail(slot, Cause::ResponseMalformed, now),
                Ok(decoded) => {
                    let mut rest = bytes.split_off(decoded.used);
                    core::mem::swap(&mut rest, &mut bytes);
                    let (taken, mut done) = (rest, false);
                    match decoded.piece {
                        Some(Piece::Data(range)) => self.deliver(slot, Event::Body(taken.slice(range)), now),
                        Some(Piece::End) => done = true,
                        None if decoded.used == 0 => return,
                        None => {}
                    }
                    if done {
                        // What follows the last chunk belongs to nothing; the session is over when this returns.
                        if !bytes.is_empty() {
                            self.stats.count(Cause::ResponseTooLong);
                        }
                        return self.deliver(slot, Event::End, now);
                    }
                }
            }
        }
    }

    pub(super) fn on_chunk(&mut self, slot: usize, body: Bytes, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        match session.answer {
            Answer::WebSocket | Answer::SocketIo => {
                return self.or_complain(slot, Kind::Chunk, Err(Cause::MessageUnfit));
            }
            Answer::None => return self.fail(slot, Cause::ResponseOutOfOrder, now),
            Answer::Begun { framing: Framing::Length(_) } | Answer::Framed(_) => {
                return self.or_complain(slot, Kind::Chunk, Err(Cause::ResponseOutOfOrder));
            }
            Answer::Begun { framing: Framing::Unframed | Framing::Chunked } => {}
            Answer::Chunked => session.answer = Answer::Begun { framing: Framing::Chunked },
        }
        let event = if body.is_empty() { Event::End } else { Event::Body(body) };
        self.deliver(slot, event, now);
    }

    pub(super) fn on_end(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        match session.answer {
            Answer::WebSocket => {
                let close = Close { code: Some(Cause::Complete.close_code()), reason: Bytes::new() };
                let closed = self.close_websocket(slot, close, now);
                debug_assert!(closed.is_ok(), "1000 may be sent");
            }
            Answer::SocketIo => self.end_socketio(slot, Cause::Complete, now),
            // Without framing `end` is the end; under a length the machine knows whether bytes are missing.
            Answer::Begun { framing: Framing::Unframed | Framing::Length(_) } => self.deliver(slot, Event::End, now),
            Answer::Begun { framing: Framing::Chunked } | Answer::None | Answer::Chunked | Answer::Framed(_) => {
                self.fail(slot, Cause::NodeEnded, now);
            }
        }
    }

    fn on_retry(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        if !session.is_answered() {
            return self.retry(slot, now);
        }
        self.or_complain(slot, Kind::Retry, Err(Cause::ResponseOutOfOrder));
    }

    /// Hands a piece of the response to the client's connection.
    pub(super) fn deliver(&mut self, slot: usize, event: Event, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        if let Event::Body(bytes) = &event {
            session.bytes_out += bytes.len() as u64;
        }
        session.moved = now;
        let carrier = session.carrier;
        let Some(sent) = self.send_to(carrier, event, now) else { return };
        // Whoever reads stays below high water, and is served on.
        let queued = self.queued_for(carrier);
        let is_full = self.is_full_of_bytes();
        self.touch_carrier(carrier);
        match sent {
            Ok(_) if is_full && queued > self.config.limits.write_queue_high => {
                self.cut(carrier, Cause::MemoryMax, now)
            }
            Ok(Progress::Complete) => self.finish(slot, Cause::Complete, now),
            Ok(Progress::Open) if self.is_overdrawn(carrier, queued) => {
                self.cut(carrier, Cause::SlowClient, now);
            }
            Ok(Progress::Open) => {}
            Err(SendError::TooLong) => self.fail(slot, Cause::ResponseTooLong, now),
            Err(SendError::TooShort) => self.fail(slot, Cause::NodeEnded, now),
            Err(SendError::OutOfOrder | SendError::Unsupported) => self.fail(slot, Cause::ResponseOutOfOrder, now),
        }
    }

    /// Calls an app with one input; its replies are obeyed before the engine's call returns.
    pub(super) fn call_app(&mut self, app: usize, input: AppInput<'_>, now: Instant) {
        let Some(mut called) = self.apps[app].app.take() else { return };
        called.handle(input, &mut self.replies, now);
        self.stats.messages_out += 1;
        self.apps[app].app = Some(called);
    }

    /// Obeys what apps have replied.
    pub(super) fn obey_replies(&mut self, now: Instant) {
        while !self.replies.list.is_empty() {
            let mut list = core::mem::take(&mut self.replies.list);
            for (sid, reply) in list.drain(..) {
                self.stats.messages_in += 1;
                let Found::Here(slot) = self.sessions.find(sid) else {
                    self.stats.count(Cause::SessionStale);
                    continue;
                };
                let is_served = |session: &Session| matches!(session.server, Some(Server::App(_)) | None);
                if !self.sessions.at(slot).is_some_and(is_served) {
                    self.stats.count(Cause::SessionForeign);
                    continue;
                }
                self.obey_reply(slot, reply, now);
            }
            // Keeps the list's memory for the next call, unless an app replied in the meantime.
            if self.replies.list.is_empty() {
                self.replies = Replies { list };
            }
        }
    }

    fn obey_reply(&mut self, slot: usize, reply: Reply, now: Instant) {
        match reply {
            Reply::Head(response) => self.on_response(slot, response, now),
            Reply::Body(bytes) => self.on_chunkless_body(slot, bytes, now),
            Reply::Push { url, head, body } => {
                let pushed = self.push_whole(slot, &url, head, body, now);
                self.or_complain(slot, Kind::Push, pushed);
            }
            Reply::End => self.on_app_end(slot, now),
            Reply::Retry => self.on_retry(slot, now),
            Reply::GoAway => self.on_goaway(slot, now),
            Reply::Open => match self.sessions.at(slot) {
                Some(session) if session.is_open() && (session.redispatched || session.socketio().is_some()) => {}
                Some(session) if session.is_websocket && !session.is_answered() => self.open_websocket(slot, None, now),
                Some(_) | None => self.fail(slot, Cause::ResponseOutOfOrder, now),
            },
            Reply::WebSocket(message) => {
                let sent = self.on_message(slot, message, now);
                self.or_complain(slot, Kind::WebSocket, sent);
            }
            Reply::Close(_) if self.is_socketio(slot) => self.end_socketio(slot, Cause::Complete, now),
            Reply::Close(close) => {
                let closed = self.close_websocket(slot, close, now);
                self.or_complain(slot, Kind::WebSocketClose, closed);
            }
            Reply::SocketIo(packet) => {
                let sent = self.send_packet(slot, packet, now);
                self.or_complain(slot, Kind::SocketIoEvent, sent);
            }
            Reply::Accept(namespace) => {
                let accepted = self.accept_namespace(slot, &namespace, now);
                self.or_complain(slot, Kind::SocketIoConnect, accepted);
            }
            Reply::Join(name) => self.obey_bond(slot, Kind::Join, |engine| engine.on_join(slot, &name)),
            Reply::Leave(name) => self.obey_bond(slot, Kind::Leave, |engine| engine.on_leave(slot, &name)),
            Reply::Echo { group, on } => {
                self.obey_bond(slot, Kind::Echo, |engine| engine.on_echo(slot, &group, on));
            }
            Reply::ToGroup(name, what) => {
                let Some(session) = self.sessions.at(slot) else { return };
                // The client that it comes from can wait, as a node would have to.
                let (host, source) = (session.host, self.links.id_at(session.carrier.link));
                let parcel = self.parcel_from_app(what);
                self.fan_out(host, &name, Some(slot), parcel, source, now);
            }
            Reply::ToSession(target, what) => {
                let Some(host) = self.sessions.at(slot).map(|session| session.host) else { return };
                let mut parcel = self.parcel_from_app(what);
                let sent = self.deliver_to(target, host..host + 1, &mut parcel, now);
                self.or_complain(slot, Kind::Msg, sent);
            }
            Reply::Room => {
                let Some(session) = self.sessions.at_mut(slot) else { return };
                session.crowded = true;
                let carrier = session.carrier;
                self.watch_room(carrier);
                self.on_client_room(slot, now);
            }
        }
    }

    /// An app's payload: never framed, also under a head that announces chunks.
    fn on_chunkless_body(&mut self, slot: usize, bytes: Bytes, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        match session.answer {
            Answer::None => self.fail(slot, Cause::ResponseOutOfOrder, now),
            Answer::Begun { .. } | Answer::Chunked | Answer::Framed(_) => self.deliver(slot, Event::Body(bytes), now),
            Answer::WebSocket | Answer::SocketIo => self.or_complain(slot, Kind::Body, Err(Cause::MessageUnfit)),
        }
    }

    fn on_app_end(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        match session.answer {
            Answer::None => self.fail(slot, Cause::NodeEnded, now),
            Answer::WebSocket | Answer::SocketIo => self.on_end(slot, now),
            Answer::Begun { .. } | Answer::Chunked | Answer::Framed(_) => self.deliver(slot, Event::End, now),
        }
    }
}
