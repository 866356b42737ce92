//! What a connection with streams knows of them: whose they are, and what their WebSockets hold.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::machine::Machine;
use crate::address::PeerAddr;
use crate::engine::link::Inbox;
use crate::error::Cause;
use crate::http::StreamId;
use crate::time::{Instant, earliest};
use crate::websocket;

/// A client's connection that speaks HTTP/2 or SPDY.
pub(in crate::engine) struct MuxLink {
    pub conn: Machine,
    pub listener: usize,
    /// The client, behind a PROXY protocol header if there was one.
    pub client: PeerAddr,
    pub streams: BTreeMap<StreamId, Stream>,
    /// Streams to settle.
    pub ready: Vec<StreamId>,
    /// Streams whose sessions are to hear that bytes have left.
    pub served: Vec<StreamId>,
    /// Streams that have room themselves, but not on the connection.
    pub crowded_out: Vec<StreamId>,
    /// Not later than the earliest deadline of a WebSocket.
    pub deadline: Option<Instant>,
    /// Bytes held by the machines of WebSockets.
    pub held: usize,
}

/// A stream as long as it has a session, or close frames under way.
#[derive(Default)]
pub(in crate::engine) struct Stream {
    pub session: Option<usize>,
    pub tunnel: Option<Box<Tunnel>>,
    /// Its input is not released to the client until its node has room.
    pub is_paused: bool,
    /// Bytes given on that the client is not to replace yet.
    pub owed: usize,
    pub is_listed: bool,
    /// Its session wants to hear when bytes have left.
    pub watches_room: bool,
}

/// A WebSocket within a stream (RFC 8441).
#[derive(Default)]
pub(in crate::engine) struct Tunnel {
    /// Present once it is open.
    pub conn: Option<websocket::Connection>,
    /// Bytes received that the machine has not taken; they hold the client's window.
    pub inbox: Inbox,
    /// The client's side has ended.
    pub eof: bool,
    /// Its end was seen, and told.
    pub is_over: bool,
    /// Bytes that the ledger knows of.
    pub held: usize,
}

impl Stream {
    pub fn websocket(&mut self) -> Option<&mut websocket::Connection> {
        self.tunnel.as_mut()?.conn.as_mut()
    }
}

impl MuxLink {
    pub fn new(conn: Machine, listener: usize, client: PeerAddr) -> Self {
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
