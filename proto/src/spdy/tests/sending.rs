//! Responses, and whose turn it is.

use super::*;
use crate::http::AddedField;
use alloc::sync::Arc;

/// The frames of one answer, the fields of its head, and what sending gave at last.
fn sent(version: Version, method: &str, events: Vec<http::Event>) -> (Vec<Frame>, Vec<(String, String)>) {
    let (mut server, mut peer) = server(version);
    let fields = head(version, method, "/", &[]);
    feed(&mut server, &peer.syn(1, FIN, &fields));
    for event in events {
        server.send(StreamId(1), event, NOW).unwrap();
    }
    let frames = written(&mut server);
    let fields = peer.fields(of_kind(&frames, SYN_REPLY)[0]);
    (frames, fields)
}

#[test]
fn a_head_loses_the_fields_of_one_hop_and_joins_the_others() {
    for version in Version::ALL {
        let head = "HTTP/1.1 404 Whatever\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nSet-Cookie: a=1\r\n\
            Transfer-Encoding: chunked\r\nUpgrade: x\r\nServer: s\r\nset-cookie: b=2\r\nX-Empty:\r\nSET-COOKIE:\r\n\r\n";
        let (frames, fields) = sent(version, "GET", alloc::vec![response(head), body("x"), http::Event::End]);
        let names = if version == Version::V2 { ["status", "version"] } else { [":status", ":version"] };
        let mut expected = alloc::vec![
            (names[0], "404 Not Found"),
            (names[1], "HTTP/1.1"),
            ("set-cookie", "a=1\0b=2"),
            ("server", "s"),
            ("x-empty", ""),
        ];
        expected.truncate(if version == Version::V2 { 4 } else { 5 });
        let expected: Vec<(String, String)> =
            expected.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(fields, expected);
        assert_eq!((frames[0].flags, data_of(&frames, 1)), (0, (b"x".to_vec(), true)));
    }
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    for (method, head, fields) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 3),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 2),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 3),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 3),
        ("GET", "HTTP/1.1 799 Strange\r\nContent-Length: 0\r\n\r\n", 3),
    ] {
        let (frames, found) = sent(Version::V3, method, alloc::vec![response(head), http::Event::End]);
        assert_eq!((frames.len(), frames[0].flags, found.len()), (1, FIN, fields), "{head}");
    }
}

#[test]
fn interim_responses_are_left_out() {
    let early = response("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    let events = alloc::vec![early, response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
    assert_eq!(sent(Version::V31, "GET", events).0.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (mut server, mut peer) = asked(Version::V2);
    let stream = StreamId(1);
    assert_eq!(server.send(stream, body("x"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(stream, http::Event::End, NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(stream, response("HTTP/1.1 101 X\r\n\r\n"), NOW), Err(SendError::Unsupported));
    let text = alloc::format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let limits = Limits { head_bytes: 100_000, ..Limits::DEFAULT };
    let (long, _) = Response::parse(text.into(), &limits).unwrap();
    // Lengths have two bytes in SPDY/2.
    assert_eq!(server.send(stream, http::Event::Response(long), NOW), Err(SendError::Unsupported));
    server.send(stream, response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), NOW).unwrap();
    assert_eq!(server.send(stream, response("HTTP/1.1 200 OK\r\n\r\n"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(stream, body("abcd"), NOW), Err(SendError::TooLong));
    assert_eq!(data_of(&written(&mut server), 1), (b"abc".to_vec(), true));
    assert_eq!(server.send(stream, body("x"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(stream, http::Event::End, NOW), Ok(Progress::Complete));
    feed(&mut server, &peer.get(3, "/"));
    server.send(StreamId(3), response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), NOW).unwrap();
    assert_eq!(server.send(StreamId(3), http::Event::End, NOW), Err(SendError::TooShort));
    assert_eq!(resets(&written(&mut server)), [(3, StatusCode::INTERNAL_ERROR)]);
}

#[test]
fn a_failed_stream_gets_a_page_or_a_reset() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let fields = head(version, "GET", "/", &[("accept", "text/html")]);
        feed(&mut server, &peer.syn(1, FIN, &fields));
        server.add_field(StreamId(1), Arc::new(AddedField::new("X-Added", b"yes").unwrap()));
        assert!(!server.response_begun(StreamId(1)));
        assert!(server.fail(StreamId(1), Cause::NodeMissing, NOW));
        let frames = written(&mut server);
        let fields = peer.fields(&frames[0]);
        assert_eq!(fields[0].1, "503 Service Unavailable");
        assert!(fields.contains(&("x-added".into(), "yes".into())), "{fields:?}");
        assert!(data_of(&frames, 1).0.starts_with(b"<!"), "a page in HTML");
        feed(&mut server, &peer.get(3, "/"));
        server.send(StreamId(3), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        assert!(!server.fail(StreamId(3), Cause::NodeLost, NOW));
        assert_eq!(resets(&written(&mut server)), [(3, StatusCode::INTERNAL_ERROR)]);
        assert!(server.response_begun(StreamId(3)) && !server.has(StreamId(3)) && server.is_idle());
    }
}

/// The order in which streams write their data.
fn turns(frames: &[Frame]) -> Vec<u32> {
    frames.iter().filter(|frame| !frame.is_control).map(|frame| frame.kind).collect()
}

#[test]
fn the_highest_priority_writes_first_and_equals_take_turns() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let shift = version.priority_shift();
        let lowest = version.priority_max();
        // Stream 1 has the lowest priority, 3 and 5 a middle one, 7 the highest.
        for (stream, priority) in [(1, lowest), (3, 1), (5, 1), (7, 0)] {
            let fields = head(version, "GET", "/", &[]);
            feed(&mut server, &peer.syn_with(stream, FIN, [priority << shift, 0], &fields));
        }
        for stream in [1, 3, 5, 7] {
            let head = response("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n");
            server.send(StreamId(stream), head, NOW).unwrap();
        }
        written(&mut server);
        if version == Version::V31 {
            feed(&mut server, &numbers(version, WINDOW_UPDATE, &[0, 1 << 20]));
        }
        // Fills the outbound rope: what is in it is not overtaken.
        server.send(StreamId(1), zeros(40_000), NOW).unwrap();
        for stream in [3, 5, 7] {
            server.send(StreamId(stream), zeros(40_000), NOW).unwrap();
        }
        let order = turns(&written(&mut server));
        assert_eq!(order, [1, 7, 7, 7, 3, 5, 3, 5, 3, 5, 1, 1], "{version}");
    }
}

#[test]
fn what_is_written_first_leaves_room_for_what_is_more_urgent() {
    let (mut server, mut peer) = answering(Version::V2);
    server.send(StreamId(1), zeros(1 << 20), NOW).unwrap();
    let waiting = server.outbound().len();
    assert!(waiting < super::super::OUT_TARGET + 17 * 1024, "{waiting}");
    assert_eq!(server.queued(), (1 << 20) + waiting.div_ceil(16 * 1024 + HEADER) * HEADER);
    feed(&mut server, &peer.get(3, "/"));
    answer(&mut server, 3);
    let frames = written(&mut server);
    let place = frames.iter().position(|frame| frame.is_control && frame.kind == u32::from(SYN_REPLY)).unwrap();
    assert!(place <= 5, "behind what was in the rope already: {place}");
    assert_eq!(data_of(&frames, 1).0.len(), 1 << 20);
}

#[test]
fn heads_with_a_secret_tell_nothing_by_their_length() {
    for version in Version::ALL {
        let lengths = |field: &str| {
            let (mut server, mut peer) = server(version);
            [1, 3].map(|stream| {
                feed(&mut server, &peer.get(stream, "/"));
                let head = alloc::format!("HTTP/1.1 204 No Content\r\n{field}: session=0123456789\r\n\r\n");
                server.send(StreamId(stream), response(&head), NOW).unwrap();
                let frames = written(&mut server);
                peer.fields(of_kind(&frames, SYN_REPLY)[0]);
                of_kind(&frames, SYN_REPLY)[0].payload.len()
            })
        };
        let [first, again] = lengths("X-Known");
        assert!(again < first / 2, "{version}: {again} of {first}");
        let [first, again] = lengths("Set-Cookie");
        // The first has the head of the whole stream before it.
        assert_eq!(first - again, 6, "{version}");
    }
}
