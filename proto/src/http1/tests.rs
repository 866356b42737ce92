//! The machine as its users see it; one file for each concern.

mod laws;
mod pair;
mod receiving;
mod sending;
mod smuggling;
mod timing;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Connection, Progress, SendError};
use crate::error::{Cause, Violation};
use crate::http::{AddedField, BodySize, Event, Framing, Request, Response, Settings, Version};
use crate::limits::Limits;
use crate::time::{Duration, Instant};

const NOW: Instant = Instant::from_millis(1000);

fn server() -> Connection {
    Connection::server(Settings::with_limits(Limits::DEFAULT), NOW)
}

fn server_with(limits: Limits) -> Connection {
    Connection::server(Settings::with_limits(limits), NOW)
}

fn client() -> Connection {
    Connection::client(Settings::with_limits(Limits::DEFAULT), NOW)
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

fn written(connection: &mut Connection) -> String {
    String::from_utf8(connection.outbound().take()).unwrap()
}

fn response(text: &'static str) -> Event {
    let (response, rest) = Response::parse(Bytes::from_static(text.as_bytes()), &Limits::DEFAULT).unwrap();
    assert!(rest.is_empty());
    Event::Response(response)
}

fn body(text: &'static str) -> Event {
    Event::Body(Bytes::from_static(text.as_bytes()))
}

/// A server that has read `request`, whole, and waits for the answer.
fn asked(request: &str) -> Connection {
    let mut server = server();
    let events = feed(&mut server, request.as_bytes());
    assert!(matches!(events[0], Event::Request(_)), "{events:?}");
    server
}

/// The body of a message as one string, whatever its pieces were.
fn joined(events: &[Event]) -> Vec<u8> {
    let pieces = events.iter().filter_map(|event| match event {
        Event::Body(piece) => Some(&piece[..]),
        Event::Request(_) | Event::Response(_) | Event::End => None,
    });
    pieces.flatten().copied().collect()
}
