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
    resets: Vec<(u32, StatusCode)>,
    closing: Option<Cause>,
    violation: Option<Violation>,
}

/// Plays `input` to a server in pieces of `step`, answering each request when it is complete.
fn play(version: Version, input: &[u8], step: usize) -> Seen {
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
    let mut server = Connection::server(version, Settings::with_limits(limits), NOW);
    let mut seen = Seen::default();
    let mut out = server.outbound().take();
    let mut kept = Vec::new();
    for piece in input.chunks(step.min(input.len()).max(1)) {
        kept.extend_from_slice(piece);
        converse(&mut server, &mut kept, &mut seen, &mut out);
    }
    assert!(server.held() < 150_000, "{}", server.held());
    let frames = frames(&out);
    // A request that is taken back may be shown before, or not.
    seen.events.retain(|(_, events)| !events.contains(&cut(Cause::StreamReset)));
    for (stream, _) in &seen.events {
        seen.answers.push((*stream, data_of(&frames, *stream).0));
    }
    seen.resets = resets(&frames);
    seen.resets.sort_unstable();
    (seen.closing, seen.violation) = (server.is_closing(), server.violation());
    if seen.violation.is_some() {
        farewell(&frames);
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
        server.receive(b"", NOW + Duration::from_secs(1));
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

fn vectors(version: Version) -> Vec<Vec<u8>> {
    let long = "y".repeat(500);
    let longer = "z".repeat(3000);
    let reset = |stream| numbers(version, RST_STREAM, &[stream, 5]);
    let with = |peer: &mut Peer, stream, more: &[(&str, &str)]| {
        let fields = head(version, "GET", "/", more);
        peer.syn(stream, FIN, &fields)
    };
    let script = |script: &dyn Fn(&mut Peer) -> Vec<Vec<u8>>| script(&mut Peer::new(version)).concat();
    alloc::vec![
        script(&|peer| alloc::vec![peer.get(1, "/")]),
        script(&|peer| alloc::vec![
            peer.get(1, "/"),
            peer.get(3, "/a"),
            peer.get(5, "/"),
            numbers(version, PING, &[7]),
            peer.get(7, "/"),
        ]),
        script(&|peer| alloc::vec![peer.post(1, &[]), data(1, 0, b"abc"), data(1, 0, b""), data(1, FIN, b"de")]),
        script(&|peer| alloc::vec![
            peer.post(1, &[]),
            data(1, 0, b"abc"),
            peer.post(3, &[("content-length", "2")]),
            data(3, FIN, b"xy"),
            data(1, FIN, b""),
        ]),
        script(&|peer| alloc::vec![peer.post(1, &[]), data(1, FIN, &[b'x'; 41]), peer.get(3, "/")]),
        script(&|peer| alloc::vec![peer.post(1, &[("content-length", "2")]), data(1, 0, b"abc"), peer.get(3, "/")]),
        script(&|peer| alloc::vec![peer.post(1, &[]), data(1, 0, b"ab"), reset(1), peer.get(3, "/")]),
        script(&|peer| alloc::vec![with(peer, 1, &[("x-a", &long)]), peer.get(3, "/")]),
        script(&|peer| alloc::vec![with(peer, 1, &[("x-a", &long), ("x-b", &long)]), peer.get(3, "/")]),
        script(&|peer| alloc::vec![with(peer, 1, &[("x-a", &longer)]), peer.get(3, "/")]),
        script(&|peer| alloc::vec![with(peer, 1, &[("", "x")]), peer.get(3, "/")]),
        script(&|peer| [1, 3, 5, 7, 9].map(|stream| peer.post(stream, &[])).to_vec()),
        script(&|_| alloc::vec![numbers(version, PING, &[1]).repeat(6)]),
        script(&|peer| alloc::vec![peer.get(1, "/"), data(9, 0, b"x"), data(0, 0, b"x")]),
        script(&|peer| alloc::vec![
            peer.get(1, "/"),
            numbers(version, GOAWAY, &[0, 0][..if version == Version::V2 { 1 } else { 2 }])
        ]),
        script(&|_| alloc::vec![numbers(version, WINDOW_UPDATE, &[0, 0x7fff_ffff])]),
        script(&|_| alloc::vec![numbers(version, SETTINGS, &[1, 7, 0x8000_0000])]),
        script(&|peer| alloc::vec![
            peer.post(1, &[]),
            peer.headers(1, FIN, &[("x", "y")]),
            control(version, 99, 0, b"abc")
        ]),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        Peer::new(version).get(1, "/")[..20].to_vec(),
    ]
}

#[test]
fn any_chunking_gives_the_same_events_and_answers() {
    for version in Version::ALL {
        for vector in vectors(version) {
            let whole = play(version, &vector, usize::MAX);
            for step in [1, 2, 7, 33] {
                assert_eq!(play(version, &vector, step), whole, "{} by {step}", vector.escape_ascii());
            }
        }
    }
}

#[test]
fn bytes_behind_a_whole_request_change_nothing_of_it() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let whole = peer.get(1, "/");
        let input = [&whole[..], &version.first_bytes(), &[0]].concat();
        assert_eq!(server.receive(&input, NOW), whole.len());
        assert_eq!(server.poll_event().map(|(stream, _)| stream), Some(StreamId(1)));
    }
}

#[test]
fn mutated_input_neither_panics_nor_breaks_a_law() {
    let mut entropy = SeededEntropy::from_number(31);
    for version in Version::ALL {
        let vectors = vectors(version);
        for round in 0..1000_usize {
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
            let whole = play(version, &input, usize::MAX);
            let pieces = play(version, &input, 1 + entropy.below(20) as usize);
            // After a client's GOAWAY the connection ends when nothing is under way: before bytes that come later. A request
            // answered early makes room for another, and its reset finds nothing.
            if pieces.closing != Some(Cause::Complete) {
                assert_eq!(pieces.violation, whole.violation, "{version}: {}", input.escape_ascii());
                assert_eq!(pieces.closing, whole.closing, "{version}: {}", input.escape_ascii());
            }
        }
    }
}

#[test]
fn a_silent_connection_owns_no_buffer_and_an_idle_one_its_compressors_alone() {
    assert!(size_of::<Connection>() <= 900, "{}", size_of::<Connection>());
    for version in Version::ALL {
        let (silent, _) = server(version);
        assert_eq!(silent.held(), 0);
        let (mut server, _) = asked(version);
        answer(&mut server, 1);
        written(&mut server);
        assert!(server.is_idle() && !server.has_outbound());
        assert_eq!((server.streams.capacity(), server.events.capacity(), server.ready.capacity()), (0, 0, 0));
        assert_eq!(server.block.capacity(), 0);
        assert!(server.held() < 60_000, "{}", server.held());
    }
}
