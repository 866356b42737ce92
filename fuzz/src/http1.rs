//! HTTP/1 requests and responses.

use std::sync::Arc;

use blastbeat_proto::error::{Cause, Violation};
use blastbeat_proto::http::{Event, Request, Response, Settings};
use blastbeat_proto::http1::Connection;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::time::Instant;
use bytes::Bytes;

/// A conversation may answer each byte of its input with about this much: one response.
const OUT_PER_BYTE: usize = 64;

// Invariant: cut in any way, the same bytes give the same events and the same output; after a violation nothing
// comes out but one farewell, and all input is ignored; what is queued is bounded by what came in; a head of a node
// that parses leaves a server as bytes from which a client reads the same status and body; nothing panics.
/// Runs one input: the first byte says how it is used, and how it is cut.
pub fn body(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let step = usize::from(choice >> 2) + 1;
    match choice & 3 {
        0 => response(data),
        1 => same(data, step, serve),
        2 => same(data, step, |data, step| serve(data, step.min(3))),
        _ => same(data, step, ask),
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    out: Vec<u8>,
    closing: Option<Cause>,
    violation: Option<Violation>,
}

fn same(data: &[u8], step: usize, play: impl Fn(&[u8], usize) -> Seen) {
    let whole = play(data, usize::MAX);
    assert_eq!(play(data, step), whole);
    assert_eq!(play(data, 1), whole);
}

fn settings() -> Arc<Settings> {
    let limits = Limits {
        head_bytes: 700,
        target_bytes: 100,
        fields: 10,
        body_bytes: 200,
        chunk_line_bytes: 30,
        trailer_bytes: 50,
        drain_bytes: 60,
        ..Limits::DEFAULT
    };
    Settings::with_limits(limits)
}

/// A server reads requests; it answers half of them early, before their bodies are complete.
fn serve(data: &[u8], step: usize) -> Seen {
    play(Connection::server(settings(), Instant::ZERO), data, step)
}

/// A client reads responses to a request.
fn ask(data: &[u8], step: usize) -> Seen {
    let mut client = Connection::client(settings(), Instant::ZERO);
    let method = if data.len().is_multiple_of(5) { "HEAD" } else { "GET" };
    let request = Request::builder(method, "/", "example.com").build().expect("the request is sound");
    client.send(Event::Request(request), Instant::ZERO).expect("the client is idle");
    client.outbound().clear();
    let seen = play(client, data, step);
    assert!(seen.out.is_empty(), "a client does not speak unasked");
    seen
}

fn play(mut connection: Connection, data: &[u8], step: usize) -> Seen {
    let mut seen = Seen { events: Vec::new(), out: Vec::new(), closing: None, violation: None };
    let mut kept = Vec::new();
    for piece in data.chunks(step) {
        kept.extend_from_slice(piece);
        converse(&mut connection, &mut kept, &mut seen);
    }
    connection.receive_eof(Instant::ZERO);
    converse(&mut connection, &mut kept, &mut seen);
    seen.closing = connection.is_closing();
    seen.violation = connection.violation();
    assert!(seen.closing.is_some() || !kept.is_empty() || !connection.is_idle(), "an end is the end");
    if seen.violation.is_some() {
        assert!(seen.closing.is_some());
    }
    assert!(seen.out.len() <= 1000 + data.len() * OUT_PER_BYTE, "{} bytes out", seen.out.len());
    seen
}

fn converse(connection: &mut Connection, kept: &mut Vec<u8>, seen: &mut Seen) {
    loop {
        let used = connection.receive(kept, Instant::ZERO);
        kept.drain(..used);
        let mut events = 0;
        while let Some(event) = connection.poll_event() {
            events += 1;
            note(seen, connection, event);
        }
        seen.out.extend(connection.outbound().take());
        let deadline = connection.poll_timeout();
        connection.handle_timeout(Instant::ZERO);
        assert_eq!(connection.poll_timeout(), deadline, "a spurious timeout changes nothing");
        if connection.is_closing().is_some() {
            assert_eq!(connection.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Instant::ZERO), 27);
            assert_eq!(connection.poll_event(), None);
            assert!(connection.outbound().is_empty());
        }
        if used == 0 && events == 0 {
            return;
        }
    }
}

/// Keeps an event, and answers it if it is time.
fn note(seen: &mut Seen, connection: &mut Connection, event: Event) {
    match &event {
        Event::Request(request) if request.path().len() % 4 == 3 => {
            connection.fail(Cause::NodeMissing, Instant::ZERO);
        }
        // An early answer.
        Event::Request(request) if request.path().len() % 4 == 2 => {
            let head = Response::builder(204).build().expect("the head is sound");
            connection.send(Event::Response(head), Instant::ZERO).expect("a request waits");
        }
        Event::End
            if connection.poll_timeout().is_none() && !connection.is_idle() && connection.is_closing().is_none() =>
        {
            let head = Response::builder(200).build().expect("the head is sound");
            // A client has nothing to answer.
            if connection.send(Event::Response(head), Instant::ZERO).is_ok() {
                let _ = connection.send(Event::Body(Bytes::from_static(b"hi")), Instant::ZERO);
                let _ = connection.send(Event::End, Instant::ZERO);
            }
        }
        Event::Request(_) | Event::Response(_) | Event::Body(_) | Event::End => {}
    }
    match (seen.events.last_mut(), event) {
        (Some(Event::Body(before)), Event::Body(piece)) => *before = [&before[..], &piece[..]].concat().into(),
        (_, event) => seen.events.push(event),
    }
}

/// A node's raw head goes through a server to a client.
fn response(data: &[u8]) {
    let settings = settings();
    let Ok((head, rest)) = Response::parse(Bytes::copy_from_slice(data), &settings.limits) else { return };
    assert_eq!(head.text().len() + rest.len(), data.len());
    let request = Request::builder("GET", "/", "example.com").build().expect("the request is sound");
    let mut server = Connection::server(settings.clone(), Instant::ZERO);
    let asked = server.receive(request.text(), Instant::ZERO);
    assert_eq!(asked, request.text().len());
    while server.poll_event().is_some() {}
    let (status, interim) = (head.status, head.is_interim());
    if server.send(Event::Response(head), Instant::ZERO).is_err() || interim {
        return;
    }
    let whole =
        server.send(Event::Body(rest.clone()), Instant::ZERO).is_ok() && server.send(Event::End, Instant::ZERO).is_ok();

    let roomy = Settings::with_limits(Limits { fields: 12, ..Limits::DEFAULT });
    let mut client = Connection::client(roomy, Instant::ZERO);
    client.send(Event::Request(request), Instant::ZERO).expect("the client is idle");
    let mut kept = server.outbound().take();
    let (mut got, mut statuses, mut ends) = (Vec::new(), Vec::new(), 0);
    loop {
        let used = client.receive(&kept, Instant::ZERO);
        kept.drain(..used);
        match client.poll_event() {
            Some(Event::Response(head)) => statuses.push(head.status),
            Some(Event::Body(piece)) => got.extend_from_slice(&piece),
            Some(Event::End) => ends += 1,
            Some(Event::Request(_)) => panic!("a client yields no requests"),
            None if used == 0 => break,
            None => {}
        }
    }
    assert_eq!((client.violation(), statuses), (None, vec![status]), "what leaves is sound");
    if whole {
        assert_eq!((&got[..], ends), (&rest[..], 1));
    }
}
