//! The machine as its users see it; one file for each concern.

mod ends;
mod floods;
mod flow;
mod foreign;
mod laws;
mod receiving;
mod sending;
mod timing;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADER, HEADERS, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::{Connection, ErrorCode, Event, Progress, SendError, Tally};
use crate::error::{Cause, Violation};
use crate::http::{self, BodySize, Request, Response, Settings, StreamId, Version};
use crate::limits::Limits;
use crate::time::{Duration, Instant};

const NOW: Instant = Instant::from_millis(1000);

/// END_STREAM and END_HEADERS: a whole request without a body.
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// What the server says first: its SETTINGS (streams, stream window, header list, extended CONNECT).
const GREETING: &[u8] = b"\0\0\x18\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x04\0\0\0\x06\0\x01\x08\0\0\x08\0\0\0\x01";

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes bytes apart that end with a whole frame.
fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let stream = u32::from_be_bytes(*bytes[5..].first_chunk().unwrap());
        let payload = bytes[HEADER..HEADER + len].to_vec();
        found.push(Frame { kind: bytes[3], flags: bytes[4], stream, payload });
        bytes = &bytes[HEADER + len..];
    }
    found
}

/// A header block without a table: each field literal, never indexed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // RFC 7541, 5.1, with a prefix of seven bits.
            if text.len() < 127 {
                block.push(text.len() as u8);
            } else {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        alloc::vec![(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path)];
    fields.extend_from_slice(more);
    block(&fields)
}

/// A request without a body.
fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &head("GET", path, &[]))
}

/// A server that has been greeted, and whose own greeting was written.
fn server() -> Connection {
    server_with(Limits::DEFAULT)
}

fn server_with(limits: Limits) -> Connection {
    let mut server = Connection::server(Settings::with_limits(limits), NOW);
    assert_eq!(frames(&server.outbound().take()).len(), 1);
    greet(&mut server, &[]);
    server
}

fn greet(server: &mut Connection, settings: &[u8]) {
    feed(server, &[PREFACE, &frame(SETTINGS, 0, 0, settings)[..], &frame(SETTINGS, 1, 0, b"")].concat());
    let answer = written(server);
    assert!(answer.contains(&Frame { kind: SETTINGS, flags: 1, stream: 0, payload: Vec::new() }), "{answer:?}");
}

/// Offers `data` as the documentation of `Connection` asks for, and writes what comes; returns the events.
fn feed(server: &mut Connection, data: &[u8]) -> Vec<(u32, Event)> {
    feed_at(server, data, NOW)
}

fn feed_at(server: &mut Connection, mut data: &[u8], now: Instant) -> Vec<(u32, Event)> {
    let mut events = Vec::new();
    loop {
        let used = server.receive(data, now);
        data = &data[used..];
        let before = events.len();
        while let Some((stream, event)) = server.poll_event() {
            events.push((stream.0, event));
        }
        if used == 0 && events.len() == before {
            assert!(data.is_empty(), "left: {}", data.escape_ascii());
            return events;
        }
    }
}

/// Everything that the server has to write.
fn written(server: &mut Connection) -> Vec<Frame> {
    let mut bytes = Vec::new();
    while server.has_outbound() {
        bytes.append(&mut server.outbound().take());
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

fn part(event: http::Event) -> Event {
    Event::Part(event)
}

/// The request of the first event.
fn request(events: &[(u32, Event)]) -> &Request {
    let Some((_, Event::Part(http::Event::Request(request)))) = events.first() else { panic!("{events:?}") };
    request
}

/// A server that was asked for `GET /` on stream 1.
fn asked() -> Connection {
    let mut server = server();
    let events = feed(&mut server, &get(1, "/"));
    assert_eq!(request(&events).target(), b"/");
    server
}

/// Answers a stream with 13 bytes.
fn answer(server: &mut Connection, stream: u32) {
    let stream = StreamId(stream);
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n");
    assert_eq!(server.send(stream, head, NOW), Ok(Progress::Open));
    assert_eq!(server.send(stream, body("Hello, world!"), NOW), Ok(Progress::Complete));
}

/// The DATA frames of a stream, joined, and whether the last one ends it.
fn data(frames: &[Frame], stream: u32) -> (Vec<u8>, bool) {
    let of_stream: Vec<_> = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream).collect();
    let ended = of_stream.last().is_some_and(|frame| frame.flags & END_STREAM != 0);
    (of_stream.iter().flat_map(|frame| frame.payload.clone()).collect(), ended)
}

/// The codes of the RST_STREAM frames, by stream.
fn resets(frames: &[Frame]) -> Vec<(u32, ErrorCode)> {
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    resets.map(|frame| (frame.stream, ErrorCode(u32::from_be_bytes(*frame.payload.first_chunk().unwrap())))).collect()
}

/// The code and the words of the GOAWAY frame that comes last.
fn farewell(frames: &[Frame]) -> (ErrorCode, String) {
    let frame = frames.last().unwrap();
    assert_eq!(frame.kind, GOAWAY, "{frames:?}");
    let code = ErrorCode(u32::from_be_bytes(*frame.payload[4..].first_chunk().unwrap()));
    (code, String::from_utf8(frame.payload[8..].to_vec()).unwrap())
}
