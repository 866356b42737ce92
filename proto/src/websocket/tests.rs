//! The machine as its users see it; one file for each concern.

mod closing;
mod compression;
mod framing;
mod handshake;

mod laws;
mod oracle;
mod pair;
mod queue;
mod timing;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Close, Connection, Deflate, DeflatePolicy, Event, Kind, Message, Prepared, Queued, SendError, Settings};
use crate::entropy::SeededEntropy;
use crate::error::Cause;
use crate::limits::Limits;
use crate::time::{Duration, Instant};

const NOW: Instant = Instant::from_millis(1000);

fn settings() -> Settings {
    Settings { farewell_delay: Duration::ZERO, ..Settings::new(&Limits::DEFAULT) }
}

fn server_with(settings: Settings, deflate: Option<Deflate>) -> Connection {
    Connection::server(Arc::new(settings), deflate, NOW)
}

fn client_with(settings: Settings, deflate: Option<Deflate>) -> Connection {
    Connection::client(Arc::new(settings), deflate, Box::new(SeededEntropy::from_number(1)), NOW)
}

fn server() -> Connection {
    server_with(settings(), None)
}

fn client() -> Connection {
    client_with(settings(), None)
}

/// Offers `data` as the documentation of `Connection` asks for; returns the events and what the machine left.
fn offer<'d>(connection: &mut Connection, mut data: &'d [u8]) -> (Vec<Event>, &'d [u8]) {
    let mut events = Vec::new();
    loop {
        let used = connection.receive(data, NOW);
        data = &data[used..];
        let before = events.len();
        while let Some(event) = connection.poll_event() {
            events.push(event);
        }
        if used == 0 && events.len() == before {
            return (events, data);
        }
    }
}

/// Offers `data`, all of which the machine has to take.
fn feed(connection: &mut Connection, data: &[u8]) -> Vec<Event> {
    let (events, rest) = offer(connection, data);
    assert!(rest.is_empty(), "left: {}", rest.escape_ascii());
    events
}

/// All that a connection has to say, its backlog included.
fn written(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.queued() > 0 {
        bytes.extend(connection.outbound().take());
    }
    bytes
}

fn text(payload: &str) -> Event {
    Event::Message(Message { kind: Kind::Text, payload: Bytes::copy_from_slice(payload.as_bytes()) })
}

fn binary(payload: &[u8]) -> Event {
    Event::Message(Message { kind: Kind::Binary, payload: Bytes::copy_from_slice(payload) })
}

fn close(code: u16, reason: &str) -> Event {
    Event::Close(Close { code: Some(code), reason: Bytes::copy_from_slice(reason.as_bytes()) })
}

/// A frame as a client sends it: `first` is the first byte, with FIN, RSV and the opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = unmasked(first, payload);
    frame[1] |= 0x80;
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let start = frame.len() - payload.len();
    for (i, byte) in frame[start..].iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
    frame.splice(start..start, key);
    frame
}

/// A frame as a server sends it.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        middle @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The close frame that a server sends for `cause`.
fn farewell(cause: Cause) -> Vec<u8> {
    unmasked(0x88, &[&cause.close_code().to_be_bytes(), cause.name().as_bytes()].concat())
}

/// Feeds a server bytes that break the protocol; what came before has to be `events`.
#[track_caller]
fn refused(server: &mut Connection, data: &[u8], events: &[Event], cause: Cause) {
    assert_eq!(feed(server, data), events, "{}", data.escape_ascii());
    assert_eq!(server.violation(), Some(cause.into()), "{}", data.escape_ascii());
    assert_eq!(server.is_closing(), Some(cause));
    assert_eq!(written(server).escape_ascii().to_string(), farewell(cause).escape_ascii().to_string());
    assert_eq!(feed(server, &masked(0x81, b"late")), []);
    assert!(written(server).is_empty());
    assert_eq!(server.send(text("late"), NOW), Err(SendError::Closed));
    assert_eq!(server.poll_timeout(), None);
}

#[track_caller]
fn is_refused(data: &[u8], cause: Cause) {
    refused(&mut server(), data, &[], cause);
}

/// Chained frames.
fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}
