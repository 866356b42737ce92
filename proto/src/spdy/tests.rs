//! The machine as its users see it; one file for each concern.

mod doubt;
mod ends;
mod floods;
mod flow;
mod golden;
mod laws;
mod pairs;
mod pushes;
mod receiving;
mod sending;
mod timing;
mod version2;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::block::BlockWriter;
use super::dictionary::dictionary;
use super::frame::{
    CREDENTIAL, FIN, GOAWAY, HEADER, HEADERS, NOOP, PING, RST_STREAM, SETTINGS, SYN_REPLY, SYN_STREAM, UNIDIRECTIONAL,
    WINDOW, WINDOW_UPDATE,
};
use super::{Connection, Event, Priority, Progress, SendError, StatusCode, Tally, Version};
use crate::error::{Cause, Violation};
use crate::http::{self, BodySize, Request, Response, Settings, StreamId};
use crate::limits::Limits;
use crate::time::{Duration, Instant};

const NOW: Instant = Instant::from_millis(1000);

/// A frame; of a control frame its type stands for the stream, which is in the payload.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Frame {
    is_control: bool,
    kind: u32,
    flags: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(*self.payload[at..].first_chunk().unwrap())
    }
}

fn control(version: Version, kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = version.first_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.push(flags);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(payload);
    bytes
}

fn numbers(version: Version, kind: u16, numbers: &[u32]) -> Vec<u8> {
    let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    control(version, kind, 0, &payload)
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = stream.to_be_bytes().to_vec();
    bytes.push(flags);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes bytes apart that end with a whole frame.
fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
        let is_control = bytes[0] & 0x80 != 0;
        let kind = u32::from_be_bytes(*bytes.first_chunk().unwrap());
        let kind = if is_control { kind & 0xffff } else { kind };
        found.push(Frame { is_control, kind, flags: bytes[4], payload: bytes[HEADER..HEADER + len].to_vec() });
        bytes = &bytes[HEADER + len..];
    }
    found
}

/// The other side, with the usual compressor.
struct Peer {
    version: Version,
    compress: Compress,
    decompress: Decompress,
}

impl Peer {
    fn new(version: Version) -> Self {
        let mut compress = Compress::new_with_window_bits(Compression::fast(), true, 11);
        compress.set_dictionary(dictionary(version).0).unwrap();
        Self { version, compress, decompress: Decompress::new(true) }
    }

    fn compress(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() + 100);
        self.compress.compress_vec(block, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        let mut writer = BlockWriter::new(&mut block, self.version);
        for (name, value) in fields {
            writer.field(name.as_bytes(), value.as_bytes());
        }
        writer.finish();
        self.compress(&block)
    }

    /// A SYN_STREAM frame; priority and slot are its last two fixed bytes.
    fn syn_with(&mut self, stream: u32, flags: u8, last: [u8; 2], fields: &[(&str, &str)]) -> Vec<u8> {
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(&last);
        payload.append(&mut self.block(fields));
        control(self.version, SYN_STREAM, flags, &payload)
    }

    fn syn(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        self.syn_with(stream, flags, [0; 2], fields)
    }

    fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut payload = stream.to_be_bytes().to_vec();
        payload.resize(self.version.reply_fixed(), 0);
        payload.append(&mut self.block(fields));
        control(self.version, HEADERS, flags, &payload)
    }

    /// A request without a body.
    fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = head(self.version, "GET", path, &[]);
        self.syn(stream, FIN, &fields)
    }

    /// A request whose body follows.
    fn post(&mut self, stream: u32, more: &[(&'static str, &'static str)]) -> Vec<u8> {
        let fields = head(self.version, "POST", "/", more);
        self.syn(stream, 0, &fields)
    }

    /// The fields of a frame with a header block.
    fn fields(&mut self, frame: &Frame) -> Vec<(String, String)> {
        let fixed = if frame.kind == u32::from(SYN_STREAM) { 10 } else { self.version.reply_fixed() };
        let mut block = Vec::with_capacity(100_000);
        let mut input = &frame.payload[fixed..];
        loop {
            let before = self.decompress.total_in();
            let result = self.decompress.decompress_vec(input, &mut block, FlushDecompress::Sync);
            input = &input[(self.decompress.total_in() - before) as usize..];
            match result {
                Ok(_) => break,
                Err(error) => {
                    assert_eq!(error.needs_dictionary(), Some(dictionary(self.version).1));
                    self.decompress.set_dictionary(dictionary(self.version).0).unwrap();
                }
            }
        }
        assert!(input.is_empty());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pairs = super::block::read(&block, self.version, 200).unwrap();
        pairs.iter().map(|pair| (text(pair.name), text(pair.value))).collect()
    }
}

/// The fields of a request.
fn head<'a>(version: Version, method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let names = match version {
        Version::V2 => ["method", "url", "version", "host", "scheme"],
        Version::V3 | Version::V31 => [":method", ":path", ":version", ":host", ":scheme"],
    };
    let values = [method, path, "HTTP/1.1", "example.com", "https"];
    let mut fields: Vec<_> = names.into_iter().zip(values).collect();
    fields.extend_from_slice(more);
    fields
}

/// A server whose own greeting was written, and its client.
fn server(version: Version) -> (Connection, Peer) {
    server_with(version, Limits::DEFAULT)
}

fn server_with(version: Version, limits: Limits) -> (Connection, Peer) {
    let mut server = Connection::server(version, Settings::with_limits(limits), NOW);
    let greeting = frames(&server.outbound().take());
    assert_eq!(greeting[0].kind, u32::from(SETTINGS));
    (server, Peer::new(version))
}

/// Offers `data` as the documentation of `Connection` asks for, and writes what comes; returns the events.
fn feed(connection: &mut Connection, data: &[u8]) -> Vec<(u32, Event)> {
    feed_at(connection, data, NOW)
}

fn feed_at(connection: &mut Connection, mut data: &[u8], now: Instant) -> Vec<(u32, Event)> {
    let mut events = Vec::new();
    loop {
        let used = connection.receive(data, now);
        data = &data[used..];
        let before = events.len();
        while let Some((stream, event)) = connection.poll_event() {
            events.push((stream.0, event));
        }
        if used == 0 && events.len() == before {
            assert!(data.is_empty() || connection.room() == 0, "left: {}", data.escape_ascii());
            return events;
        }
    }
}

/// Everything that a connection has to write.
fn written(connection: &mut Connection) -> Vec<Frame> {
    let mut bytes = Vec::new();
    while connection.has_outbound() {
        bytes.append(&mut connection.outbound().take());
    }
    frames(&bytes)
}

fn response(text: &str) -> http::Event {
    let (response, rest) = Response::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::DEFAULT).unwrap();
    assert!(rest.is_empty());
    http::Event::Response(response)
}

fn body(text: &str) -> http::Event {
    http::Event::Body(Bytes::copy_from_slice(text.as_bytes()))
}

fn zeros(len: usize) -> http::Event {
    http::Event::Body(alloc::vec![b'x'; len].into())
}

fn part(event: http::Event) -> Event {
    Event::Part(event)
}

fn cut(cause: Cause) -> Event {
    Event::Cut(cause)
}

fn refused(cause: Cause) -> Event {
    Event::Refused(cause.into())
}

/// The request of the first event.
fn request(events: &[(u32, Event)]) -> &Request {
    let Some((_, Event::Part(http::Event::Request(request)))) = events.first() else { panic!("{events:?}") };
    request
}

/// A server that was asked for `GET /` on stream 1.
fn asked(version: Version) -> (Connection, Peer) {
    let (mut server, mut peer) = server(version);
    let events = feed(&mut server, &peer.get(1, "/"));
    assert_eq!(request(&events).target(), b"/");
    (server, peer)
}

/// A server whose answer to stream 1 has begun, without a length.
fn answering(version: Version) -> (Connection, Peer) {
    let (mut server, peer) = asked(version);
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    written(&mut server);
    (server, peer)
}

/// Answers a stream with 13 bytes.
fn answer(server: &mut Connection, stream: u32) {
    let stream = StreamId(stream);
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n");
    assert_eq!(server.send(stream, head, NOW), Ok(Progress::Open));
    assert_eq!(server.send(stream, body("Hello, world!"), NOW), Ok(Progress::Complete));
}

/// The DATA of a stream, joined, and whether the last frame ends it.
fn data_of(frames: &[Frame], stream: u32) -> (Vec<u8>, bool) {
    let of_stream: Vec<_> = frames.iter().filter(|frame| !frame.is_control && frame.kind == stream).collect();
    let ended = of_stream.last().is_some_and(|frame| frame.flags & FIN != 0);
    (of_stream.iter().flat_map(|frame| frame.payload.clone()).collect(), ended)
}

/// The control frames of a type.
fn of_kind(frames: &[Frame], kind: u16) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.is_control && frame.kind == u32::from(kind)).collect()
}

/// The codes of the RST_STREAM frames, by stream.
fn resets(frames: &[Frame]) -> Vec<(u32, StatusCode)> {
    of_kind(frames, RST_STREAM).iter().map(|frame| (frame.number(0), StatusCode(frame.number(4)))).collect()
}

/// The last good stream of the GOAWAY frame that comes last, and its code where the version has one.
fn farewell(frames: &[Frame]) -> (u32, Option<u32>) {
    let frame = frames.last().unwrap();
    assert!(frame.is_control && frame.kind == u32::from(GOAWAY), "{frames:?}");
    (frame.number(0), (frame.payload.len() == 8).then(|| frame.number(4)))
}

/// Feeds what breaks the protocol, and returns why the connection closes.
fn violation(server: &mut Connection, data: &[u8]) -> Cause {
    assert_eq!(feed(server, data), []);
    let cause = server.is_closing().unwrap();
    assert_eq!(server.violation(), Some(cause.into()));
    let (_, code) = farewell(&written(server));
    assert!(code.is_none_or(|code| code == 1), "{code:?}");
    assert!(server.poll_timeout().is_none() && server.streams() == 0);
    cause
}
