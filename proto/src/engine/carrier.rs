//! Carriers: what moves the bytes of a session.
//!
//! A connection of HTTP/1, or of a WebSocket that began there, carries one session at a time; a stream of HTTP/2 or SPDY
//! carries one for as long as it lives. Sessions see no difference. A client of socket.io that polls is carried nowhere:
//! each of its requests is a session of its own.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Engine;
use super::contract::Shut;
use super::link::{Link, Protocol, WebSocketLink};
use crate::error::Cause;
use crate::http::{Event, Response, StreamId};
use crate::http1::{Progress, SendError};
use crate::time::Instant;
use crate::websocket;

/// What all streams of a connection may have queued together: as much as so many clients.
const SHARES_MAX: usize = 4;

/// What moves the bytes of a session: a link, or one of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    pub link: usize,
    pub stream: Option<StreamId>,
}

impl Carrier {
    /// No link at all: what is done with it does nothing.
    pub const NOWHERE: Self = Self { link: usize::MAX, stream: None };

    /// A link as a whole.
    pub fn link(link: usize) -> Self {
        Self { link, stream: None }
    }

    pub fn stream(link: usize, stream: StreamId) -> Self {
        Self { link, stream: Some(stream) }
    }
}

impl Link {
    /// The session that this link, or a stream of it, serves now.
    pub fn session(&self, stream: Option<StreamId>) -> Option<usize> {
        match (&self.protocol, stream) {
            (Protocol::Http(http), _) => http.session,
            (Protocol::WebSocket(websocket), _) => websocket.session,
            (Protocol::Mux(mux), Some(stream)) => mux.stream(stream)?.session,
            (Protocol::Mux(_), None) | (Protocol::Proxy(_) | Protocol::Node(_), _) => None,
        }
    }

    /// Bytes that wait for a client.
    fn queued_for(&self, stream: Option<StreamId>) -> usize {
        match (&self.protocol, stream) {
            (Protocol::Mux(mux), Some(stream)) => mux.queued_for(stream),
            _ => self.queued(),
        }
    }

    /// Queues a part of a response.
    fn send(&mut self, stream: Option<StreamId>, event: Event, now: Instant) -> Option<Result<Progress, SendError>> {
        match (&mut self.protocol, stream) {
            (Protocol::Http(http), _) => Some(http.conn.send(event, now)),
            // Of its end an event tells, which waits behind what is done now.
            (Protocol::Mux(mux), Some(stream)) if !mux.conn.has(stream) => None,
            (Protocol::Mux(mux), Some(stream)) => Some(mux.conn.send(stream, event, now)),
            (Protocol::Mux(_), None) => None,
            (Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => None,
        }
    }

    /// Answers the request for a WebSocket and gives what follows to `conn`; returns the status that its client sees.
    /// `None` if an answer has begun.
    pub fn upgrade(
        &mut self,
        stream: Option<StreamId>,
        response: Response,
        mut conn: websocket::Connection,
        session: usize,
        now: Instant,
    ) -> Option<u16> {
        match (&mut self.protocol, stream) {
            (Protocol::Http(http), _) => {
                conn.begin_with(http.conn.upgrade(&response).ok()?);
                self.protocol = Protocol::WebSocket(Box::new(WebSocketLink { conn, session: Some(session) }));
                Some(response.status)
            }
            (Protocol::Mux(mux), Some(stream)) => {
                mux.conn.send(stream, Event::Response(response), now).ok()?;
                mux.open(stream, conn);
                Some(200)
            }
            (Protocol::Mux(_), None) => None,
            (Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => None,
        }
    }

    /// Whether a stream is over, and an event that waits will tell.
    pub fn has_lost(&self, stream: Option<StreamId>) -> bool {
        match (&self.protocol, stream) {
            (Protocol::Mux(mux), Some(stream)) => !mux.conn.has(stream),
            (Protocol::Mux(_), None) => false,
            (Protocol::Http(_) | Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => false,
        }
    }

    /// Whether frames of a WebSocket flow.
    pub fn has_websocket(&self, stream: Option<StreamId>) -> bool {
        match (&self.protocol, stream) {
            (Protocol::WebSocket(_), _) => true,
            (Protocol::Mux(mux), Some(stream)) => mux.has_websocket(stream),
            (Protocol::Http(_) | Protocol::Mux(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => false,
        }
    }

    /// The machine of a WebSocket.
    fn websocket_on(&mut self, stream: Option<StreamId>) -> Option<&mut websocket::Connection> {
        match (&mut self.protocol, stream) {
            (Protocol::WebSocket(websocket), _) => Some(&mut websocket.conn),
            (Protocol::Mux(mux), Some(stream)) => mux.stream_mut(stream)?.websocket(),
            (Protocol::Mux(_), None) => None,
            (Protocol::Http(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => None,
        }
    }
}

impl Engine {
    /// The session of a carrier.
    pub(super) fn session_on(&self, carrier: Carrier) -> Option<usize> {
        self.links.at(carrier.link)?.session(carrier.stream)
    }

    /// The carrier of a session, and the machine of its WebSocket.
    pub(super) fn websocket_of(&mut self, slot: usize) -> Option<(Carrier, &mut websocket::Connection)> {
        let carrier = self.sessions.at(slot)?.carrier;
        Some((carrier, self.links.at_mut(carrier.link)?.websocket_on(carrier.stream)?))
    }

    /// Bytes that wait for a client.
    pub(super) fn queued_for(&self, carrier: Carrier) -> usize {
        self.links.at(carrier.link).map_or(0, |link| link.queued_for(carrier.stream))
    }

    /// Bytes that wait for the client of a session, whether they can be written now or with the answer to a poll.
    pub(super) fn queued_of(&self, slot: usize) -> usize {
        let Some(session) = self.sessions.at(slot) else { return 0 };
        self.queued_for(session.carrier) + session.socketio().map_or(0, |client| client.conn.queued())
    }

    /// Whether more waits for a client than may, of which `queued` bytes are this carrier's: its own share is used up,
    /// or that of all streams is and it has more than little of it.
    pub(super) fn is_overdrawn(&self, carrier: Carrier, queued: usize) -> bool {
        let limits = &self.config.limits;
        let of_all = || self.links.at(carrier.link).map_or(0, Link::queued);
        let is_crowd = carrier.stream.is_some() && queued > limits.write_queue_high;
        queued > limits.write_queue_bytes || is_crowd && of_all() > SHARES_MAX.saturating_mul(limits.write_queue_bytes)
    }

    /// Why a client that has `queued` bytes waiting on a carrier is cut off, if it is.
    pub(super) fn excess_on(&self, carrier: Carrier, queued: usize) -> Option<Cause> {
        // Whoever reads stays below high water, and is served on.
        if self.is_full_of_bytes() && queued > self.config.limits.write_queue_high {
            return Some(Cause::MemoryMax);
        }
        self.is_overdrawn(carrier, queued).then_some(Cause::SlowClient)
    }

    /// Queues a part of a response for a client.
    pub(super) fn send_to(
        &mut self,
        carrier: Carrier,
        event: Event,
        now: Instant,
    ) -> Option<Result<Progress, SendError>> {
        self.links.at_mut(carrier.link)?.send(carrier.stream, event, now)
    }

    /// Asks a client that holds its body back to send it (RFC 9110, 10.1.1).
    pub(super) fn send_continue(&mut self, carrier: Carrier, now: Instant) {
        let Some(link) = self.links.at_mut(carrier.link) else { return };
        match (&mut link.protocol, carrier.stream) {
            (Protocol::Http(http), _) => http.conn.send_continue(now),
            (Protocol::Mux(mux), Some(stream)) => mux.conn.send_continue(stream, now),
            (Protocol::Mux(_), None) => {}
            (Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => {}
        }
        self.touch_carrier(carrier);
    }

    /// Notes that a session wants to hear when bytes have left for its client: see
    /// [`on_client_room`](Self::on_client_room). Connections that carry one session tell it of all.
    pub(super) fn watch_room(&mut self, carrier: Carrier) {
        if let Some(stream) = carrier.stream
            && let Some(mux) = self.links.at_mut(carrier.link).and_then(|link| link.mux())
        {
            mux.watch_room(stream);
            self.touch(carrier.link);
        }
    }

    /// Puts a carrier on the list of those to settle.
    pub(super) fn touch_carrier(&mut self, carrier: Carrier) {
        if let Some(stream) = carrier.stream
            && let Some(mux) = self.links.at_mut(carrier.link).and_then(|link| link.mux())
        {
            mux.list(stream);
        }
        self.touch(carrier.link);
    }

    /// Stops reading from a client whose bytes have nowhere to go; returns whether it was read from until now.
    pub(super) fn pause(&mut self, carrier: Carrier, now: Instant) -> bool {
        let Some(link) = self.links.at_mut(carrier.link) else { return false };
        match (&mut link.protocol, carrier.stream) {
            (Protocol::Http(http), _) => {
                http.conn.set_reading(false, now);
                !core::mem::replace(&mut link.paused, true)
            }
            (Protocol::WebSocket(websocket), _) => {
                websocket.conn.set_reading(false, now);
                !core::mem::replace(&mut link.paused, true)
            }
            (Protocol::Mux(mux), Some(stream)) => mux.pause(stream, now),
            (Protocol::Mux(_), None) | (Protocol::Proxy(_) | Protocol::Node(_), _) => false,
        }
    }

    /// Lets a client's input flow again.
    pub(super) fn resume(&mut self, carrier: Carrier, now: Instant) {
        let Some(link) = self.links.at_mut(carrier.link) else { return };
        match (&mut link.protocol, carrier.stream) {
            (Protocol::Http(http), _) if link.paused => http.conn.set_reading(true, now),
            (Protocol::WebSocket(websocket), _) if link.paused => websocket.conn.set_reading(true, now),
            (Protocol::Mux(mux), Some(stream)) => {
                if !mux.resume(stream, now) {
                    return;
                }
            }
            (Protocol::Http(_) | Protocol::WebSocket(_) | Protocol::Mux(_), _) => return,
            (Protocol::Proxy(_) | Protocol::Node(_), _) => return,
        }
        link.paused = false;
        self.touch_carrier(carrier);
    }

    /// Tells a client's machine that its session is given up; returns the bytes of the error page.
    pub(super) fn fail_on(&mut self, carrier: Carrier, cause: Cause, now: Instant) -> usize {
        self.fail_on_with(carrier, cause, cause.status(), now)
    }

    /// As [`fail_on`](Self::fail_on), with a status other than the cause's own.
    pub(super) fn fail_on_with(&mut self, carrier: Carrier, cause: Cause, status: u16, now: Instant) -> usize {
        let Some(link) = self.links.at_mut(carrier.link) else { return 0 };
        let before = link.queued();
        match (&mut link.protocol, carrier.stream) {
            (Protocol::Http(http), _) => {
                http.conn.fail_with(cause, status, now);
                link.queued() - before
            }
            (Protocol::WebSocket(websocket), _) => {
                websocket.conn.fail(cause, now);
                0
            }
            (Protocol::Mux(mux), Some(stream)) => mux.fail(stream, cause, status, now),
            (Protocol::Mux(_), None) | (Protocol::Proxy(_) | Protocol::Node(_), _) => 0,
        }
    }

    /// Sends a session's client away: a WebSocket closes, any other connection does when what is under way is answered.
    pub(super) fn on_goaway(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        if session.socketio().is_some() {
            return self.fail(slot, Cause::Stopping, now);
        }
        if session.is_open() {
            let close = websocket::Close { code: Some(Cause::Stopping.close_code()), reason: Bytes::new() };
            let closed = self.close_websocket(slot, close, now);
            debug_assert!(closed.is_ok(), "1001 may be sent");
            return;
        }
        let link = session.carrier.link;
        match self.links.at_mut(link).map(|link| &mut link.protocol) {
            Some(Protocol::Http(http)) => http.conn.close_after_response(now),
            Some(Protocol::Mux(mux)) => mux.conn.close_after_responses(now),
            Some(Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_)) | None => {}
        }
        self.touch(link);
    }

    /// Cuts a client off that takes too much, or too little: its connection, or its stream alone.
    pub(super) fn cut(&mut self, carrier: Carrier, cause: Cause, now: Instant) {
        let Some(stream) = carrier.stream else {
            return self.close_link(carrier.link, cause, Shut::Abort, now);
        };
        let session = self.session_on(carrier);
        if let Some(mux) = self.links.at_mut(carrier.link).and_then(|link| link.mux()) {
            mux.conn.cancel(stream, now);
            mux.forget(stream);
        }
        self.touch(carrier.link);
        if let Some(session) = session {
            self.lose(session, cause, now);
        }
    }

    /// Gives a WebSocket that carries one session to another.
    pub(super) fn hand_carrier(&mut self, carrier: Carrier, to: usize) {
        let Some(link) = self.links.at_mut(carrier.link) else { return };
        match (&mut link.protocol, carrier.stream) {
            (Protocol::WebSocket(websocket), _) => websocket.session = Some(to),
            (Protocol::Mux(mux), Some(stream)) => {
                if let Some(stream) = mux.stream_mut(stream) {
                    stream.session = Some(to);
                }
            }
            (Protocol::Mux(_), None) => {}
            (Protocol::Http(_) | Protocol::Proxy(_) | Protocol::Node(_), _) => {}
        }
    }

    /// Takes a session off its carrier, which can carry another, or ends when its last bytes are out.
    pub(super) fn detach(&mut self, carrier: Carrier, node: Option<usize>) {
        if let Some(link) = self.links.at_mut(carrier.link) {
            match (&mut link.protocol, carrier.stream) {
                (Protocol::Http(http), _) => {
                    http.session = None;
                    http.node = node;
                }
                (Protocol::WebSocket(websocket), _) => websocket.session = None,
                (Protocol::Mux(mux), Some(stream)) => mux.detach(stream),
                (Protocol::Mux(_), None) | (Protocol::Proxy(_) | Protocol::Node(_), _) => {}
            }
        }
        self.touch_carrier(carrier);
    }
}
