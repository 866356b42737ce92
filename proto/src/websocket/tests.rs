//! The machine as its users see it; one file for each concern.

mod handshake;
mod pair;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Close, Connection, Deflate, Event, Kind, Message, Prepared, Queued, SendError, Settings};
use crate::entropy::SeededEntropy;
use crate::error::Cause;
use crate::limits::Limits;
use crate::time::Instant;

const NOW: Instant = Instant::from_millis(1000);

fn settings() -> Settings {
    Settings::new(&Limits::DEFAULT)
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
