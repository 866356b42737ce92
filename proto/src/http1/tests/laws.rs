//! What holds for every input, however it is cut and whatever it is.

use super::*;
use crate::entropy::{Entropy, SeededEntropy};

/// All that can be seen of a conversation: events with their bodies joined, bytes out, and the end.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    out: Vec<u8>,
    closing: Option<Cause>,
    violation: Option<Violation>,
}

/// Plays `input` to a server in pieces of `step`, answering each request when it is complete.
fn play(input: &[u8], step: usize) -> Seen {
    let mut server =
        server_with(Limits { head_bytes: 600, target_bytes: 100, fields: 8, body_bytes: 40, ..Limits::DEFAULT });
    let mut seen = Seen { events: Vec::new(), out: Vec::new(), closing: None, violation: None };
    let mut kept = Vec::new();
    for piece in input.chunks(step.min(input.len()).max(1)) {
        kept.extend_from_slice(piece);
        converse(&mut server, &mut kept, &mut seen);
    }
    seen.out = server.outbound().take();
    seen.closing = server.is_closing();
    seen.violation = server.violation();
    seen
}

fn converse(server: &mut Connection, kept: &mut Vec<u8>, seen: &mut Seen) {
    loop {
        let used = server.receive(kept, NOW);
        kept.drain(..used);
        let mut events = 0;
        while let Some(event) = server.poll_event() {
            events += 1;
            if event == Event::End {
                server.send(response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
                server.send(body("hello"), NOW).unwrap();
                server.send(Event::End, NOW).unwrap();
            }
            match (seen.events.last_mut(), event) {
                (Some(Event::Body(before)), Event::Body(piece)) => *before = [&before[..], &piece[..]].concat().into(),
                (_, event) => seen.events.push(event),
            }
        }
        let deadline = server.poll_timeout();
        server.handle_timeout(NOW);
        assert_eq!(server.poll_timeout(), deadline);
        if server.is_closing().is_some() {
            assert_eq!(server.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOW), 27);
            assert_eq!(server.poll_event(), None);
        }
        if used == 0 && events == 0 {
            return;
        }
    }
}

const VECTORS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /3",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 41\r\n\r\nx",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n012345678901234567890123456789\r\na\r\n0123456789\r\n1\r\nx",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "\r\n\r\n\r\n\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01",
];

fn check(input: &[u8]) {
    let whole = play(input, usize::MAX);
    for step in [1, 2, 7] {
        assert_eq!(play(input, step), whole, "{} by {step}", input.escape_ascii());
    }
    if whole.violation.is_some() {
        assert!(whole.closing.is_some(), "{}", input.escape_ascii());
    }
}

#[test]
fn any_chunking_gives_the_same_events_and_bytes() {
    for vector in VECTORS {
        check(vector.as_bytes());
        check(&[vector.as_bytes(), b"trailing"].concat());
        check(&[vector.as_bytes(), vector.as_bytes()].concat());
    }
    let long = alloc::format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(700));
    check(long.as_bytes());
    check(alloc::format!("GET /{}", "y".repeat(700)).as_bytes());
}

#[test]
fn mutated_input_neither_panics_nor_breaks_a_law() {
    let mut entropy = SeededEntropy::from_number(9112);
    for round in 0..1500_usize {
        let mut input = VECTORS[round % VECTORS.len()].as_bytes().to_vec();
        for _ in 0..=entropy.below(4) {
            let at = entropy.below(input.len() as u64 + 1) as usize;
            let byte = b"\r\n\0 :;,0aG/\t\x80\xff"[entropy.below(14) as usize];
            match entropy.below(4) {
                0 => input.insert(at, byte),
                1 if at < input.len() => input[at] = byte,
                2 if at < input.len() => drop(input.remove(at)),
                _ => input.extend_from_within(at..),
            }
        }
        check(&input);
    }
}

#[test]
fn an_idle_connection_is_small_and_owns_no_buffer() {
    assert!(size_of::<Connection>() <= 448, "{}", size_of::<Connection>());
    let mut server = asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.send(response("HTTP/1.1 204 No Content\r\n\r\n"), NOW).unwrap();
    let n = server.outbound().len();
    server.outbound().advance(n);
    assert!(server.is_idle() && server.event.is_none());
}
