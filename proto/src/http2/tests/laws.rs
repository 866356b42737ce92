//! What holds for every input, however it is cut and whatever it is.

use super::*;
use crate::entropy::{Entropy, SeededEntropy};

/// All that can be seen of a conversation, but for the order in which streams take turns.
#[derive(Debug, PartialEq, Default)]
struct Seen {
    /// By stream: its events, with bodies joined.
    events: Vec<(u32, Vec<Event>)>,
    /// By stream: the DATA that was sent.
    answers: Vec<(u32, Vec<u8>)>,
    resets: Vec<(u32, ErrorCode)>,
    closing: Option<Cause>,
    violation: Option<Violation>,
}

/// Plays `input` to a server in pieces of `step`, answering each request when it is complete.
fn play(input: &[u8], step: usize) -> Seen {
    let limits = Limits {
        head_bytes: 600,
        target_bytes: 100,
        fields: 8,
        body_bytes: 40,
        h2_streams: 4,
        h2_pings: 5,
        h2_resets: 5,
        ..Limits::DEFAULT
    };
    let mut server = Connection::server(Settings::with_limits(limits), NOW);
    let mut seen = Seen::default();
    let mut out = server.outbound().take();
    let mut kept = Vec::new();
    for piece in input.chunks(step.min(input.len()).max(1)) {
        kept.extend_from_slice(piece);
        converse(&mut server, &mut kept, &mut seen, &mut out);
    }
    assert!(server.held() < 100_000);
    let frames = frames(&out);
    // A request that is taken back may be shown before, or not.
    seen.events.retain(|(_, events)| !events.contains(&Event::Cut(Cause::StreamReset)));
    for (stream, _) in &seen.events {
        seen.answers.push((*stream, data(&frames, *stream).0));
    }
    seen.resets = resets(&frames);
    seen.resets.sort_unstable();
    (seen.closing, seen.violation) = (server.is_closing(), server.violation());
    if seen.violation.is_some() {
        assert_eq!(frames.last().unwrap().kind, GOAWAY);
        // What the peer had sent rightly before depends on how much of it came with the rest.
        (seen.events, seen.answers, seen.resets) = Default::default();
    }
    seen
}

fn converse(server: &mut Connection, kept: &mut Vec<u8>, seen: &mut Seen, out: &mut Vec<u8>) {
    loop {
        let used = server.receive(kept, NOW);
        kept.drain(..used);
        let mut events = 0;
        while let Some((stream, event)) = server.poll_event() {
            events += 1;
            if event == part(http::Event::End) && !server.response_begun(stream) {
                server.send(stream, response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
                server.send(stream, body("hello"), NOW).unwrap();
                server.send(stream, http::Event::End, NOW).unwrap();
            }
            let place = seen.events.partition_point(|(other, _)| *other < stream.0);
            if seen.events.get(place).is_none_or(|(other, _)| *other != stream.0) {
                seen.events.insert(place, (stream.0, Vec::new()));
            }
            let before = &mut seen.events[place].1;
            match (before.last_mut(), event) {
                (Some(Event::Part(http::Event::Body(before))), Event::Part(http::Event::Body(piece))) => {
                    server.release(stream, piece.len(), NOW);
                    *before = [&before[..], &piece[..]].concat().into();
                }
                (_, event) => before.push(event),
            }
        }
        let deadline = server.poll_timeout();
        server.handle_timeout(NOW);
        assert_eq!(server.poll_timeout(), deadline);
        while server.has_outbound() {
            out.append(&mut server.outbound().take());
        }
        if server.is_closing().is_some() {
            assert_eq!(server.receive(b"anything", NOW), 8);
            assert_eq!(server.poll_event(), None);
            assert!(!server.has_outbound());
        }
        if used == 0 && events == 0 {
            return;
        }
    }
}

fn vectors() -> Vec<Vec<u8>> {
    let greeting = [&PREFACE[..], &frame(SETTINGS, 0, 0, b""), &frame(SETTINGS, 1, 0, b"")].concat();
    let post = |stream| frame(HEADERS, END_HEADERS, stream, &head("POST", "/", &[]));
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let long = "y".repeat(500);
    let scripts: &[&[Vec<u8>]] = &[
        &[get(1, "/")],
        &[get(1, "/"), get(3, "/"), get(5, "/"), frame(PING, 0, 0, &[1; 8]), get(7, "/")],
        &[post(1), frame(DATA, 0, 1, b"abc"), frame(DATA, 0, 1, b""), frame(DATA, 8, 1, b"\x01de\0")],
        &[post(1), frame(DATA, 0, 1, b"abc"), post(3), frame(DATA, 1, 3, b"xy"), frame(DATA, 1, 1, b"")],
        &[post(1), frame(DATA, 1, 1, &[b'x'; 41]), get(3, "/")],
        &[post(1), frame(DATA, 0, 1, b"ab"), reset(1), get(3, "/")],
        &[frame(HEADERS, 1, 1, &get(1, "/")[HEADER..20]), frame(CONTINUATION, 4, 1, &get(1, "/")[20..])],
        &[frame(HEADERS, WHOLE, 1, &head("GET", "/", &[("x-a", &long)])), get(3, "/")],
        &[frame(HEADERS, WHOLE, 1, &head("GET", "/", &[("x-a", &long), ("x-b", &long)])), get(3, "/")],
        &[post(1), post(3), post(5), post(7), post(9), frame(DATA, 1, 1, b"a")],
        &[frame(PING, 0, 0, &[0; 8]).repeat(6)],
        &[frame(DATA, 0, 1, b"x")],
        &[get(1, "/"), frame(GOAWAY, 0, 0, &[0; 8])],
        &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
    ];
    let mut vectors: Vec<Vec<u8>> = scripts.iter().map(|script| [&greeting[..], &script.concat()].concat()).collect();
    vectors.push(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    vectors.push(PREFACE[..20].to_vec());
    vectors
}

#[test]
fn any_chunking_gives_the_same_events_and_answers() {
    for vector in vectors() {
        let whole = play(&vector, usize::MAX);
        for step in [1, 2, 7, 33] {
            assert_eq!(play(&vector, step), whole, "{} by {step}", vector.escape_ascii());
        }
    }
}

#[test]
fn mutated_input_neither_panics_nor_breaks_a_law() {
    let vectors = vectors();
    let mut entropy = SeededEntropy::from_number(9113);
    for round in 0..1500_usize {
        let mut input = vectors[round % vectors.len()].clone();
        for _ in 0..=entropy.below(4) {
            let at = entropy.below(input.len() as u64 + 1) as usize;
            let byte = entropy.below(256) as u8;
            match entropy.below(5) {
                0 => input.insert(at, byte),
                1 if at < input.len() => input[at] = byte,
                2 if at < input.len() => drop(input.remove(at)),
                3 if at < input.len() => input[at] ^= 1 << (byte & 7),
                _ => input.extend_from_within(at..),
            }
        }
        let whole = play(&input, usize::MAX);
        let pieces = play(&input, 1 + entropy.below(20) as usize);
        // After a client's GOAWAY the connection ends when nothing is under way: before bytes that come later.
        if pieces.closing != Some(Cause::Complete) {
            assert_eq!(pieces.violation, whole.violation, "{}", input.escape_ascii());
            assert_eq!(pieces.closing, whole.closing, "{}", input.escape_ascii());
        }
    }
}

#[test]
fn an_idle_connection_owns_no_buffer_of_ours() {
    assert!(size_of::<Connection>() <= 900, "{}", size_of::<Connection>());
    let mut server = asked();
    answer(&mut server, 1);
    written(&mut server);
    assert!(server.is_idle() && !server.has_outbound());
    assert_eq!((server.streams.capacity(), server.events.capacity()), (0, 0));
}
