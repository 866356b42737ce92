//! Deadlines.

use super::*;

fn secs(secs: u64) -> Instant {
    NOW + Duration::from_secs(secs)
}

#[test]
fn the_greeting_has_to_come_in_time() {
    for input in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04"] {
        let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
        server.receive(input, secs(19));
        assert_eq!(server.poll_timeout(), Some(secs(20)));
        server.handle_timeout(secs(20));
        assert_eq!(server.violation(), Some(Cause::HeadTimeout.into()));
        assert_eq!(farewell(&written(&mut server)).0, ErrorCode::ENHANCE_YOUR_CALM);
    }
}

#[test]
fn a_head_has_to_come_in_time() {
    let whole = get(1, "/");
    let cases = [whole[..12].to_vec(), frame(HEADERS, END_STREAM, 1, &whole[HEADER..])];
    for input in cases {
        let mut server = server();
        feed_at(&mut server, &input, secs(1));
        server.handle_timeout(secs(20));
        assert_eq!((server.is_closing(), server.poll_timeout()), (None, Some(secs(21))));
        server.handle_timeout(secs(21));
        assert_eq!(server.is_closing(), Some(Cause::HeadTimeout));
    }
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let mut server = server();
    assert_eq!(server.poll_timeout(), Some(secs(75)));
    feed_at(&mut server, &get(1, "/"), secs(70));
    assert_eq!(server.poll_timeout(), None);
    answer(&mut server, 1);
    feed_at(&mut server, &frame(PING, 0, 0, &[0; 8]), secs(80));
    assert_eq!(server.poll_timeout(), Some(secs(155)));
    // Bytes that are on their way out are waited for.
    server.handle_timeout(secs(155));
    assert_eq!((server.is_closing(), server.poll_timeout()), (None, Some(secs(230))));
    written(&mut server);
    server.handle_timeout(secs(230));
    assert_eq!((server.is_closing(), server.violation()), (Some(Cause::KeepAliveTimeout), None));
    assert_eq!(farewell(&written(&mut server)), (ErrorCode::NO_ERROR, "".into()));
}

#[test]
fn a_body_that_stops_is_answered_with_408() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    feed_at(&mut server, &frame(DATA, 0, 1, b"ab"), secs(20));
    // The bytes are with us: it is not the client that is awaited.
    server.handle_timeout(secs(60));
    assert_eq!(server.poll_event(), None);
    server.release(StreamId(1), 2, secs(60));
    assert_eq!(server.poll_timeout(), Some(secs(90)));
    server.handle_timeout(secs(90));
    assert_eq!(server.poll_event(), Some((StreamId(1), Event::Cut(Cause::BodyTimeout))));
    let frames = written(&mut server);
    assert!(data(&frames, 1).0.starts_with(b"408 "));
    assert_eq!((server.streams(), server.is_closing()), (0, None));
}

#[test]
fn a_client_that_waits_to_be_asked_is_not_late() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[("expect", "100-continue")])));
    assert_eq!(server.poll_timeout(), None);
    server.send_continue(StreamId(1), secs(100));
    assert_eq!(server.poll_timeout(), Some(secs(130)));
}

#[test]
fn windows_that_stay_shut_cut_their_streams() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    greet(&mut server, &[0, 4, 0, 0, 0, 0]);
    let input: Vec<u8> = (0..100).flat_map(|n| get(2 * n + 1, "/")).collect();
    feed(&mut server, &input);
    for n in 0..100 {
        server.send(StreamId(2 * n + 1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        server.send(StreamId(2 * n + 1), http::Event::Body(alloc::vec![0; 10_000].into()), NOW).unwrap();
    }
    // One was sent whole, as far as its caller is concerned.
    server.send(StreamId(1), http::Event::End, NOW).unwrap();
    written(&mut server);
    assert_eq!(server.queued(), 1_000_000);
    // One gets on.
    assert_eq!(feed_at(&mut server, &frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1]), secs(30)), [(5, Event::Freed(1))]);
    written(&mut server);
    server.handle_timeout(secs(59));
    assert_eq!(server.poll_event(), None);
    server.handle_timeout(secs(60));
    let mut cut = 0;
    while let Some((stream, event)) = server.poll_event() {
        assert_eq!(event, Event::Cut(Cause::WindowStall), "{stream}");
        cut += 1;
    }
    assert_eq!((cut, server.streams(), server.queued()), (99, 1, 9_999));
    let resets = resets(&written(&mut server));
    assert_eq!((resets.len(), resets[0]), (99, (1, ErrorCode::CANCEL)));
    assert_eq!(server.poll_timeout(), Some(secs(90)));
}

#[test]
fn a_slow_socket_is_not_a_shut_window() {
    let mut server = asked();
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(StreamId(1), http::Event::Body(alloc::vec![0; 100_000].into()), NOW).unwrap();
    assert!(!server.outbound().is_empty());
    server.handle_timeout(secs(60));
    assert_eq!((server.poll_event(), server.poll_timeout()), (None, Some(secs(120))));
}

#[test]
fn a_drain_does_not_wait_for_a_client_that_does_not_answer() {
    let mut server = server();
    server.close_after_responses(NOW);
    written(&mut server);
    server.handle_timeout(secs(1));
    assert_eq!(server.is_closing(), None);
    server.handle_timeout(secs(2));
    assert_eq!(server.is_closing(), Some(Cause::Complete));
    assert_eq!(farewell(&written(&mut server)).0, ErrorCode::NO_ERROR);
}

#[test]
fn what_is_not_read_is_not_late() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    let field = alloc::format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(10_000));
    for stream in (3..49).step_by(2) {
        feed(&mut server, &get(stream, "/"));
    }
    // A head that has begun, and whose rest is not there yet.
    let late = get(51, "/late");
    let (begun, rest) = late[HEADER..].split_at(20);
    feed(&mut server, &frame(HEADERS, END_STREAM, 51, begun));
    for stream in (3..49).step_by(2) {
        server.send(StreamId(stream), response(&field), NOW).unwrap();
    }
    let rest = frame(CONTINUATION, END_HEADERS, 51, rest);
    assert!(!server.outbound().is_empty());
    assert_eq!((server.room(), server.receive(&rest, NOW)), (0, 0), "it does not take what it is sent");
    let mut now = NOW;
    for _ in 0..3 {
        now += Limits::DEFAULT.body_timeout;
        server.handle_timeout(now);
        server.handle_timeout(now);
        assert_eq!((server.is_closing(), server.poll_event()), (None, None));
    }
    written(&mut server);
    assert_eq!(request(&feed_at(&mut server, &rest, now)).target(), b"/late");
    // The body has its time from here.
    let deadline = server.poll_timeout().unwrap();
    server.handle_timeout(deadline);
    assert_eq!(server.poll_event(), Some((StreamId(1), Event::Cut(Cause::BodyTimeout))));
}
