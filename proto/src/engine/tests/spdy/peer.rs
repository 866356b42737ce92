//! A client of SPDY, by the other role of the machine.

use super::*;
use crate::http::{self, BodySize, Request, Response, Settings};
use crate::limits::Limits;
use crate::spdy::{Connection, Event, Priority, StatusCode};

/// What a client was told on one stream.
#[derive(Default)]
pub(super) struct Heard {
    pub promise: Option<Request>,
    pub response: Option<Response>,
    pub data: Vec<u8>,
    pub has_ended: bool,
    pub cut: Option<Cause>,
}

pub(super) struct Peer {
    pub link: LinkId,
    pub conn: Connection,
    pub heard: BTreeMap<StreamId, Heard>,
    /// Bytes of bodies are given back to the server as they come.
    pub takes: bool,
    /// What the server does not read yet.
    held: Vec<u8>,
    unread: Vec<u8>,
}

impl Peer {
    pub fn new(world: &mut World, version: Version) -> Self {
        let conn = Connection::client(version, Settings::with_limits(Limits::DEFAULT), world.now);
        Self { link: world.accept(0), conn, heard: BTreeMap::new(), takes: true, held: Vec::new(), unread: Vec::new() }
    }

    /// The machine of a client that takes large heads.
    pub fn wide(version: Version, now: Instant) -> Connection {
        let limits = Limits { head_bytes: 200_000, ..Limits::DEFAULT };
        Connection::client(version, Settings::with_limits(limits), now)
    }

    pub fn open(&mut self, world: &mut World, request: &Request) -> StreamId {
        let stream = self.conn.open(request, false, Priority(0), world.now).unwrap();
        self.run(world);
        stream
    }

    pub fn get(&mut self, world: &mut World, path: &str) -> StreamId {
        self.open(world, &Request::builder("GET", path, "example.org").build().unwrap())
    }

    /// Begins a request whose body follows.
    pub fn post(&mut self, world: &mut World, body: BodySize) -> StreamId {
        self.open(world, &Request::builder("POST", "/", "example.org").body(body).build().unwrap())
    }

    pub fn send(&mut self, world: &mut World, stream: StreamId, piece: &[u8]) {
        self.conn.send(stream, http::Event::Body(Bytes::copy_from_slice(piece)), world.now).unwrap();
        self.run(world);
    }

    pub fn end(&mut self, world: &mut World, stream: StreamId) {
        self.conn.send(stream, http::Event::End, world.now).unwrap();
        self.run(world);
    }

    pub fn reset(&mut self, world: &mut World, stream: StreamId) {
        self.conn.reset(stream, StatusCode::CANCEL, world.now);
        self.run(world);
    }

    /// Sends whatever bytes.
    pub fn raw(&mut self, world: &mut World, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.run(world);
    }

    /// Exchanges bytes until both sides rest; what the server does not want to read waits.
    pub fn run(&mut self, world: &mut World) {
        loop {
            while self.conn.has_outbound() {
                self.held.append(&mut self.conn.outbound().take());
            }
            let mut moves = false;
            while !self.held.is_empty() && world.engine.interest(self.link).read {
                let rest = self.held.split_off(self.held.len().min(16_384));
                let piece = core::mem::replace(&mut self.held, rest);
                world.receive(self.link, &piece);
                moves = true;
            }
            self.unread.append(&mut world.written.remove(&self.link).unwrap_or_default());
            moves |= self.hear(world);
            if !moves {
                return;
            }
        }
    }

    fn hear(&mut self, world: &mut World) -> bool {
        let mut moves = false;
        loop {
            let used = self.conn.receive(&self.unread, world.now);
            self.unread.drain(..used);
            let mut is_told = false;
            while let Some((stream, event)) = self.conn.poll_event() {
                is_told = true;
                let heard = self.heard.entry(stream).or_default();
                match event {
                    Event::Part(http::Event::Request(request)) => heard.promise = Some(request),
                    Event::Part(http::Event::Response(response)) => heard.response = Some(response),
                    Event::Part(http::Event::Body(piece)) => {
                        heard.data.extend_from_slice(&piece);
                        if self.takes {
                            self.conn.release(stream, piece.len(), world.now);
                        }
                    }
                    Event::Part(http::Event::End) => heard.has_ended = true,
                    Event::Cut(cause) => heard.cut = Some(cause),
                    Event::Freed(_) => {}
                    Event::Refused(violation) => panic!("{violation:?}"),
                }
            }
            moves |= used > 0 || is_told;
            if used == 0 && !is_told {
                return moves;
            }
        }
    }

    /// The status, the body and whether it is whole; none without a head.
    pub fn answer(&mut self, world: &mut World, stream: StreamId) -> Option<(u16, &[u8], bool)> {
        self.run(world);
        let heard = self.heard.get(&stream)?;
        Some((heard.response.as_ref()?.status, &heard.data, heard.has_ended))
    }

    pub fn cut(&self, stream: StreamId) -> Option<Cause> {
        self.heard.get(&stream)?.cut
    }

    /// A field of an answer.
    pub fn field(&self, stream: StreamId, name: &str) -> Option<String> {
        let value = self.heard.get(&stream)?.response.as_ref()?.fields.find(name)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }
}
