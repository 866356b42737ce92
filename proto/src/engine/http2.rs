//! HTTP/2: a connection whose streams carry a session each.
//!
//! ```text
//!  events ──▶ a request: a session ─┬─▶ pieces of its body ──▶ its node; released to the client once they are there
//!             (each stream's own)   └─▶ a WebSocket: frames ──▶ its machine ──▶ messages
//!  answers ──▶ the stream's queue ──▶ as the client's windows let
//! ```

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Engine;
use super::carrier::Carrier;
use super::link::{Inbox, Protocol};
use super::report::Report;
use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http::{self, StreamId};
use crate::http2::{self, ErrorCode};
use crate::time::{Instant, earliest};
use crate::websocket;

/// A client's connection that speaks HTTP/2.
pub(super) struct Http2Link {
    pub conn: http2::Connection,
    pub listener: usize,
    /// The client, behind a PROXY protocol header if there was one.
    pub client: PeerAddr,
    streams: BTreeMap<StreamId, Stream>,
    /// Streams to settle.
    ready: Vec<StreamId>,
    /// Streams whose sessions are to hear that bytes have left.
    served: Vec<StreamId>,
    /// Streams that have room themselves, but not on the connection.
    crowded_out: Vec<StreamId>,
    /// Not later than the earliest deadline of a WebSocket.
    deadline: Option<Instant>,
    /// Bytes held by the machines of WebSockets.
    held: usize,
}

/// A stream as long as it has a session, or close frames under way.
#[derive(Default)]
pub(super) struct Stream {
    pub session: Option<usize>,
    tunnel: Option<Box<Tunnel>>,
    /// Its input is not released to the client until its node has room.
    is_paused: bool,
    /// Bytes given on that the client is not to replace yet.
    owed: usize,
    is_listed: bool,
    /// Its session wants to hear when bytes have left.
    watches_room: bool,
}

/// A WebSocket within a stream (RFC 8441).
#[derive(Default)]
struct Tunnel {
    /// Present once it is open.
    conn: Option<websocket::Connection>,
    /// Bytes received that the machine has not taken; they hold the client's window.
    inbox: Inbox,
    /// The client's side has ended.
    eof: bool,
    /// Its end was seen, and told.
    is_over: bool,
    /// Bytes that the ledger knows of.
    held: usize,
}

impl Stream {
    pub fn websocket(&mut self) -> Option<&mut websocket::Connection> {
        self.tunnel.as_mut()?.conn.as_mut()
    }
}

impl Http2Link {
    pub fn new(conn: http2::Connection, listener: usize, client: PeerAddr) -> Self {
        let (ready, served, crowded_out) = Default::default();
        Self { conn, listener, client, streams: BTreeMap::new(), ready, served, crowded_out, deadline: None, held: 0 }
    }

    pub fn stream(&self, stream: StreamId) -> Option<&Stream> {
        self.streams.get(&stream)
    }

    pub fn stream_mut(&mut self, stream: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&stream)
    }

    /// The sessions of all streams.
    pub fn sessions(&self) -> impl Iterator<Item = (StreamId, usize)> {
        self.streams.iter().filter_map(|(id, stream)| Some((*id, stream.session?)))
    }

    pub fn has_websocket(&self, stream: StreamId) -> bool {
        let tunnel = self.streams.get(&stream).and_then(|stream| stream.tunnel.as_ref());
        tunnel.is_some_and(|tunnel| tunnel.conn.is_some())
    }

    /// Checks the books of the streams.
    pub fn check_invariants(&self) {
        assert!(self.ready.is_empty() && self.served.is_empty(), "all streams are settled");
        assert!(self.crowded_out.is_empty() || !self.conn.has_room(), "whoever has room is written");
        assert!(self.conn.is_settled(), "nobody is asked to write what is not there");
        let held: usize = self.streams.values().filter_map(|stream| Some(stream.tunnel.as_ref()?.held)).sum();
        assert_eq!(held, self.held, "the machines of WebSockets are on the ledger");
        for (id, stream) in &self.streams {
            let frames = stream.tunnel.as_ref().is_some_and(|tunnel| tunnel.conn.is_some());
            assert!(stream.session.is_some() || frames, "stream {id} has somebody");
            assert!(!stream.is_paused || stream.session.is_some(), "stream {id} flows");
        }
    }

    /// Bytes that wait in a stream, also those that its machine has not framed.
    pub fn queued_for(&self, stream: StreamId) -> usize {
        let tunnel = self.streams.get(&stream).and_then(|stream| stream.tunnel.as_ref());
        let framed = tunnel.and_then(|tunnel| tunnel.conn.as_ref()).map_or(0, websocket::Connection::queued);
        self.conn.stream_queued(stream) + framed
    }

    /// Memory held for this connection, the machines of its WebSockets included.
    pub fn held(&self) -> usize {
        self.conn.held() + self.held
    }

    /// When its machines want to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.conn.poll_timeout(), self.deadline)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.conn.handle_timeout(now);
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.deadline = None;
        for (id, stream) in &mut self.streams {
            let Some(conn) = stream.websocket() else { continue };
            conn.handle_timeout(now);
            if !core::mem::replace(&mut stream.is_listed, true) {
                self.ready.push(*id);
            }
        }
    }

    /// Notes that a stream is to be settled.
    pub fn list(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream)
            && (state.tunnel.is_some() || state.watches_room)
            && !core::mem::replace(&mut state.is_listed, true)
        {
            self.ready.push(stream);
        }
    }

    /// Notes that all WebSockets are to be settled that have something to read.
    pub fn list_unread(&mut self) {
        for (id, stream) in &mut self.streams {
            let tunnel = stream.tunnel.as_ref();
            let is_unread = tunnel.is_some_and(|tunnel| tunnel.eof || !tunnel.inbox.is_empty());
            if is_unread && !core::mem::replace(&mut stream.is_listed, true) {
                self.ready.push(*id);
            }
        }
    }

    pub fn watch_room(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.watches_room = true;
        }
        self.list(stream);
    }

    /// Gives a stream to a session.
    pub fn attach(&mut self, stream: StreamId, session: usize, is_websocket: bool) {
        let tunnel = is_websocket.then(Box::default);
        self.streams.insert(stream, Stream { session: Some(session), tunnel, ..Stream::default() });
    }

    /// The session of a stream is over. A WebSocket stays until its close frames are through.
    pub fn detach(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        state.session = None;
        if state.websocket().is_none() {
            self.forget(stream);
        }
    }

    pub fn forget(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.remove(&stream) {
            self.held -= state.tunnel.map_or(0, |tunnel| tunnel.held);
        }
    }

    /// The connection is over, and with it all streams.
    pub fn clear(&mut self) {
        self.streams = BTreeMap::new();
        (self.ready, self.served, self.crowded_out) = Default::default();
        (self.deadline, self.held) = (None, 0);
    }

    /// Lets frames flow on a stream whose answer has said so.
    pub fn open(&mut self, stream: StreamId, conn: websocket::Connection) {
        if let Some(tunnel) = self.streams.get_mut(&stream).and_then(|stream| stream.tunnel.as_mut()) {
            tunnel.conn = Some(conn);
        }
    }

    /// Lets a stream wait; returns whether it flowed.
    pub fn pause(&mut self, stream: StreamId, now: Instant) -> bool {
        let Some(state) = self.streams.get_mut(&stream) else { return false };
        if let Some(conn) = state.websocket() {
            conn.set_reading(false, now);
        }
        !core::mem::replace(&mut state.is_paused, true)
    }

    /// Lets a stream flow again; returns whether it was paused.
    pub fn resume(&mut self, stream: StreamId, now: Instant) -> bool {
        let Some(state) = self.streams.get_mut(&stream) else { return false };
        if !core::mem::replace(&mut state.is_paused, false) {
            return false;
        }
        let owed = core::mem::take(&mut state.owed);
        if let Some(conn) = state.websocket() {
            conn.set_reading(true, now);
        }
        self.conn.release(stream, owed, now);
        true
    }

    /// Gives up a stream's session; returns the bytes of the error page.
    pub fn fail(&mut self, stream: StreamId, cause: Cause, status: u16, now: Instant) -> usize {
        if let Some(conn) = self.streams.get_mut(&stream).and_then(Stream::websocket) {
            conn.fail(cause, now);
            return 0;
        }
        let before = self.conn.queued();
        self.conn.fail_with(stream, cause, status, now);
        self.conn.queued().saturating_sub(before)
    }
}

impl Engine {
    pub(super) fn http2_protocol(&self, listener: usize, client: PeerAddr, now: Instant) -> Protocol {
        let conn = http2::Connection::server(alloc::sync::Arc::clone(&self.http), now);
        Protocol::Http2(Box::new(Http2Link::new(conn, listener, client)))
    }

    fn http2_on(&mut self, slot: usize) -> Option<&mut Http2Link> {
        self.links.at_mut(slot)?.http2()
    }

    /// An event of a client's stream.
    pub(super) fn on_stream_event(&mut self, slot: usize, stream: StreamId, event: http2::Event, now: Instant) {
        let carrier = Carrier::stream(slot, stream);
        match event {
            http2::Event::Part(http::Event::Request(request)) => self.on_request(carrier, request, now),
            http2::Event::Part(http::Event::Body(bytes)) => self.on_stream_data(carrier, stream, bytes, now),
            http2::Event::Part(http::Event::End) => self.on_stream_end(carrier, stream, now),
            http2::Event::Part(http::Event::Response(_)) => {
                debug_assert!(false, "a server's connection yields no responses");
            }
            http2::Event::Freed(_) => match self.session_on(carrier) {
                Some(session) => {
                    self.touch_carrier(carrier);
                    self.on_client_room(session, now);
                }
                None => self.touch_carrier(carrier),
            },
            http2::Event::Cut(cause) => {
                let session = self.session_on(carrier);
                if let Some(http2) = self.http2_on(slot) {
                    http2.forget(stream);
                }
                let Some(session) = session else {
                    // The answer was complete; it is the client that never took it.
                    if cause == Cause::WindowStall {
                        self.stats.count(cause);
                        let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
                        self.report(Report::ClientRefused { peer, cause, why: None });
                    }
                    return;
                };
                // Its own body was answered with a page, if nothing else was.
                if matches!(cause, Cause::BodyTooLarge | Cause::BodyTimeout)
                    && let Some(session) = self.sessions.at_mut(session)
                    && !session.is_answered()
                {
                    session.status = cause.status();
                }
                self.finish(session, cause, now);
            }
            http2::Event::Refused(violation) => {
                self.stats.count(violation.what);
                let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
                self.report(Report::ClientRefused { peer, cause: violation.what, why: None });
            }
        }
    }

    fn on_stream_data(&mut self, carrier: Carrier, stream: StreamId, bytes: Bytes, now: Instant) {
        let len = bytes.len();
        let state = self.http2_on(carrier.link).and_then(|http2| http2.stream_mut(stream));
        match state {
            Some(Stream { tunnel: Some(tunnel), .. }) => {
                tunnel.inbox.extend(&bytes);
                return self.touch_carrier(carrier);
            }
            Some(_) => self.on_upload(carrier, bytes, now),
            // Nobody wants it any more.
            None => {}
        }
        let Some(http2) = self.http2_on(carrier.link) else { return };
        match http2.stream_mut(stream) {
            Some(state) if state.is_paused => state.owed += len,
            Some(_) | None => http2.conn.release(stream, len, now),
        }
    }

    fn on_stream_end(&mut self, carrier: Carrier, stream: StreamId, now: Instant) {
        let state = self.http2_on(carrier.link).and_then(|http2| http2.stream_mut(stream));
        match state {
            Some(Stream { tunnel: Some(tunnel), .. }) => {
                tunnel.eof = true;
                self.touch_carrier(carrier);
            }
            Some(_) => self.on_upload_end(carrier, now),
            None => {}
        }
    }

    /// Lets everything move that an input, or a session, has set going on a connection's streams.
    pub(super) fn settle_streams(&mut self, slot: usize, now: Instant) {
        loop {
            let Some(http2) = self.http2_on(slot) else { return };
            http2.conn.outbound();
            if let Some((stream, event)) = http2.conn.poll_event() {
                self.on_stream_event(slot, stream, event, now);
                self.obey_replies(now);
            } else if let Some(stream) = http2.ready.pop() {
                self.settle_stream(slot, stream, now);
            } else if !http2.crowded_out.is_empty() && http2.conn.has_room() {
                for stream in core::mem::take(&mut http2.crowded_out) {
                    http2.list(stream);
                }
            } else if let Some(stream) = http2.served.pop() {
                if let Some(session) = self.session_on(Carrier::stream(slot, stream)) {
                    self.on_client_room(session, now);
                    self.obey_replies(now);
                }
            } else {
                let http2::Tally { requests: _, taken_back, trailers_dropped, pushes } = http2.conn.take_tally();
                self.stats.count_many(Cause::StreamReset, taken_back);
                self.stats.count_many(Cause::TrailersDropped, trailers_dropped);
                self.stats.pushes += pushes;
                return;
            }
        }
    }

    fn settle_stream(&mut self, slot: usize, stream: StreamId, now: Instant) {
        let Some(http2) = self.http2_on(slot) else { return };
        let Some(state) = http2.streams.get_mut(&stream) else { return };
        state.is_listed = false;
        let is_tunnel = state.tunnel.is_some();
        if state.watches_room {
            // When what is queued now has been looked at.
            http2.served.push(stream);
        }
        if is_tunnel {
            self.settle_tunnel(slot, stream, now);
        }
    }

    /// Moves the frames of a WebSocket between its machine and its stream, and ends it when both sides are done.
    fn settle_tunnel(&mut self, slot: usize, stream: StreamId, now: Instant) {
        let high = self.config.limits.write_queue_high;
        let own_queue = self.config.limits.h2_stream_queue;
        let is_held_back = self.receive_frames(Carrier::stream(slot, stream), stream, now);
        let Some(http2) = self.http2_on(slot) else { return };
        let Some(state) = http2.streams.get_mut(&stream) else { return };
        let Some(tunnel) = &mut state.tunnel else { return };
        let Some(conn) = &mut tunnel.conn else {
            // Whoever hangs up while the handshake is under way has gone.
            if tunnel.eof
                && let Some(session) = state.session
            {
                http2.conn.reset(stream, ErrorCode::CANCEL, now);
                http2.forget(stream);
                self.finish(session, Cause::ClientGone, now);
            }
            return;
        };
        let mut room = http2.conn.stream_room(stream);
        while room > 0 && !conn.outbound().is_empty() {
            let piece = conn.outbound().take_piece(room);
            room -= piece.len();
            // It fails for a stream that is gone, which an event tells.
            let _ = http2.conn.send(stream, http::Event::Body(piece), now);
        }
        http2.held -= tunnel.held;
        tunnel.held = conn.held() + conn.queued() - conn.shared();
        http2.held += tunnel.held;
        http2.deadline = earliest(http2.deadline, conn.poll_timeout());
        if conn.queued() > 0 && http2.conn.stream_queued(stream) < own_queue {
            http2.crowded_out.push(stream);
        }
        if is_held_back && conn.queued() <= high && !core::mem::replace(&mut state.is_listed, true) {
            http2.ready.push(stream);
        }
        let Some(cause) = conn.is_closing() else { return };
        let violation = conn.violation();
        let is_news = !core::mem::replace(&mut tunnel.is_over, true);
        let (session, is_out) = (state.session, conn.queued() == 0);
        if is_out {
            let _ = http2.conn.send(stream, http::Event::End, now);
            http2.forget(stream);
        }
        let peer = http2.client;
        match session {
            Some(session) => self.finish(session, cause, now),
            // Why its session is over was counted then. What else can go wrong is the farewell.
            None if is_news && (violation.is_some() || cause == Cause::CloseTimeout) => self.stats.count(cause),
            None => {}
        }
        if is_news && violation.is_some() {
            self.report(Report::ClientRefused { peer, cause, why: None });
        }
    }

    /// Offers the frames that have come on a stream to the machine of its WebSocket; returns whether what it has to say
    /// has to leave first.
    fn receive_frames(&mut self, carrier: Carrier, stream: StreamId, now: Instant) -> bool {
        let high = self.config.limits.write_queue_high;
        loop {
            let Some(link) = self.links.at_mut(carrier.link).filter(|link| link.blocked == 0) else { return false };
            let Some(http2) = link.http2() else { return false };
            let Some(state) = http2.streams.get_mut(&stream).filter(|state| !state.is_paused) else { return false };
            let Some(Tunnel { conn: Some(conn), inbox, eof, .. }) = state.tunnel.as_deref_mut() else { return false };
            if conn.queued() > high {
                return true;
            }
            let took = conn.receive(inbox.unread(), now);
            inbox.advance(took);
            let event = conn.poll_event();
            if event.is_none() && *eof && (took == 0 || inbox.is_empty()) {
                conn.receive_eof(now);
            }
            http2.conn.release(stream, took, now);
            match event {
                Some(event) => {
                    self.on_websocket_event(carrier, event, now);
                    // At once: what an app does with this message may be why the next has to wait.
                    self.obey_replies(now);
                }
                None if took == 0 => {
                    self.refuse_hoarder(carrier, now);
                    return false;
                }
                None => {}
            }
        }
    }
}
