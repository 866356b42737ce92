//! Deadlines.

use super::*;

fn expire(server: &mut Connection) -> Duration {
    let deadline = server.poll_timeout().unwrap();
    server.handle_timeout(Instant::from_epoch(deadline.since_epoch() - Duration::from_millis(1)));
    assert_eq!((server.is_closing(), server.poll_event()), (None, None));
    server.handle_timeout(deadline);
    deadline.since(NOW)
}

#[test]
fn a_client_has_to_say_something_and_to_finish_its_heads() {
    let limits = Limits::DEFAULT;
    let (mut silent, _) = server(Version::V3);
    silent.receive(b"\x80\x03\0", NOW);
    assert_eq!((expire(&mut silent), silent.is_closing()), (limits.head_timeout, Some(Cause::HeadTimeout)));
    let (mut slow, mut peer) = server(Version::V3);
    feed(&mut slow, &numbers(Version::V3, PING, &[1]));
    written(&mut slow);
    slow.receive(&peer.get(1, "/")[..30], NOW);
    assert_eq!((expire(&mut slow), slow.violation()), (limits.head_timeout, Some(Cause::HeadTimeout.into())));
    let (mut idle, _) = asked(Version::V2);
    answer(&mut idle, 1);
    written(&mut idle);
    assert_eq!((expire(&mut idle), idle.is_closing()), (limits.keep_alive_timeout, Some(Cause::KeepAliveTimeout)));
    assert_eq!((idle.violation(), farewell(&written(&mut idle)).0), (None, 1));
    let (busy, _) = asked(Version::V31);
    assert_eq!(busy.poll_timeout(), None);
}

#[test]
fn each_head_has_a_time_of_its_own() {
    let (mut server, mut peer) = server(Version::V3);
    let mut kept = Vec::new();
    // Each call ends inside a head, but never in the same as the last.
    for n in 0..10 {
        let now = NOW + Duration::from_secs(15 * u64::from(n));
        server.handle_timeout(now);
        assert_eq!(server.is_closing(), None, "{n}");
        let (rest, start) = (core::mem::take(&mut kept), peer.get(2 * n + 1, "/"));
        server.receive(&[&rest[..], &start[..20]].concat(), now);
        kept = start[20..].to_vec();
        while server.poll_event().is_some() {}
    }
    assert_eq!(server.streams(), 9);
}

#[test]
fn a_last_answer_on_its_way_is_no_idleness() {
    let (mut server, _) = asked(Version::V2);
    answer(&mut server, 1);
    let deadline = server.poll_timeout().unwrap();
    server.handle_timeout(deadline);
    assert_eq!(server.is_closing(), None);
    assert!(server.poll_timeout().unwrap() > deadline);
}

#[test]
fn a_body_that_stops_is_answered_with_408() {
    let (mut server, mut peer) = server(Version::V3);
    feed(&mut server, &[peer.post(1, &[]), data(1, 0, b"x")].concat());
    // Not as long as its node has not taken what came.
    let deadline = server.poll_timeout();
    if let Some(deadline) = deadline {
        server.handle_timeout(deadline);
    }
    assert_eq!(server.poll_event(), None);
    server.release(StreamId(1), 1, NOW);
    let deadline = NOW + Limits::DEFAULT.body_timeout;
    assert_eq!(server.poll_timeout(), Some(deadline));
    server.handle_timeout(deadline);
    assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::BodyTimeout))));
    assert_eq!(peer.fields(&written(&mut server)[0])[0].1, "408 Request Timeout");
}

#[test]
fn a_window_that_stays_shut_ends_its_stream() {
    for version in [Version::V3, Version::V31] {
        let (mut server, _) = answering(version);
        server.send(StreamId(1), zeros(WINDOW + 1), NOW).unwrap();
        // What is in the rope comes first.
        server.handle_timeout(NOW + Limits::DEFAULT.write_stall);
        written(&mut server);
        let deadline = server.poll_timeout().unwrap();
        server.handle_timeout(deadline);
        assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::WindowStall))));
        assert_eq!(resets(&written(&mut server)), [(1, StatusCode::CANCEL)]);
        // One whose answer was complete is told of all the same.
        let (mut server, _) = answering(version);
        server.send(StreamId(1), zeros(WINDOW + 1), NOW).unwrap();
        server.send(StreamId(1), http::Event::End, NOW).unwrap();
        written(&mut server);
        let deadline = server.poll_timeout().unwrap();
        server.handle_timeout(deadline);
        assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::WindowStall))));
    }
}

#[test]
fn a_window_that_opens_now_and_then_is_not_shut() {
    let (mut server, _) = answering(Version::V3);
    server.send(StreamId(1), zeros(WINDOW + 10), NOW).unwrap();
    written(&mut server);
    for n in 1..=8_u64 {
        let now = NOW + Duration::from_secs(50 * n);
        feed_at(&mut server, &numbers(Version::V3, WINDOW_UPDATE, &[1, 1]), now);
        written(&mut server);
        server.handle_timeout(now + Duration::from_secs(45));
        while let Some((_, event)) = server.poll_event() {
            assert_eq!(event, Event::Freed(1));
        }
    }
    assert_eq!(server.stream_queued(StreamId(1)), 2);
}

#[test]
fn an_answer_that_waits_is_not_cut_because_its_request_stops() {
    for version in [Version::V3, Version::V31] {
        let (mut server, mut peer) = server(version);
        feed(&mut server, &peer.post(1, &[]));
        server.send(StreamId(1), response("HTTP/1.1 200 OK\r\nContent-Length: 65546\r\n\r\n"), NOW).unwrap();
        server.send(StreamId(1), zeros(WINDOW + 10), NOW).unwrap();
        written(&mut server);
        let later = NOW + Limits::DEFAULT.body_timeout;
        server.handle_timeout(later);
        assert_eq!((server.poll_event(), server.streams()), (None, 1));
        feed_at(
            &mut server,
            &[numbers(version, WINDOW_UPDATE, &[0, 9]), numbers(version, WINDOW_UPDATE, &[1, 9])].concat(),
            later,
        );
        assert_eq!(data_of(&written(&mut server), 1).0.len(), 9);
        // Its window is what it waits for.
        let deadline = server.poll_timeout().unwrap();
        server.handle_timeout(deadline);
        assert_eq!(server.poll_timeout(), Some(later + Limits::DEFAULT.write_stall));
        server.handle_timeout(later + Limits::DEFAULT.write_stall);
        assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::WindowStall))));
    }
}

#[test]
fn a_window_that_cannot_be_heard_of_is_not_shut() {
    let limits = Limits { h2_connection_window: WINDOW, ..Limits::DEFAULT };
    let (mut server, mut peer) = server_with(Version::V3, limits);
    feed(&mut server, &peer.get(1, "/"));
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(StreamId(1), zeros(WINDOW + 1), NOW).unwrap();
    written(&mut server);
    feed(&mut server, &[peer.post(3, &[]), data(3, 0, &[0; WINDOW])].concat());
    assert_eq!(server.room(), 0);
    let later = NOW + Limits::DEFAULT.write_stall;
    server.handle_timeout(later);
    assert_eq!(server.poll_event(), None);
    server.release(StreamId(3), WINDOW, later);
    feed_at(&mut server, &numbers(Version::V3, WINDOW_UPDATE, &[1, 1]), later);
    assert_eq!((data_of(&written(&mut server), 1).0.len(), server.stream_queued(StreamId(1))), (1, 0));
}

#[test]
fn whoever_waits_for_its_turn_is_not_late() {
    let (mut server, mut peer) = server(Version::V31);
    let fields = head(Version::V31, "GET", "/", &[]);
    feed(&mut server, &[peer.syn_with(1, FIN, [7 << 5, 0], &fields), peer.syn_with(3, FIN, [0; 2], &fields)].concat());
    for stream in [1, 3] {
        server.send(StreamId(stream), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    }
    server.send(StreamId(3), zeros(WINDOW + 1000), NOW).unwrap();
    server.send(StreamId(1), zeros(10), NOW).unwrap();
    written(&mut server);
    // The one that is more urgent takes what there is.
    feed(&mut server, &numbers(Version::V31, WINDOW_UPDATE, &[3, 100_000]));
    let mut now = NOW;
    for _ in 0..10 {
        now += Limits::DEFAULT.write_stall / 2;
        feed_at(&mut server, &numbers(Version::V31, WINDOW_UPDATE, &[0, 50]), now);
        assert_eq!(data_of(&written(&mut server), 3).0.len(), 50);
        server.handle_timeout(now);
        while let Some((stream, event)) = server.poll_event() {
            assert_eq!((stream, event), (StreamId(3), Event::Freed(50)));
        }
    }
    // Nobody takes anything: both are.
    server.handle_timeout(now + Limits::DEFAULT.write_stall);
    let late: Vec<_> = core::iter::from_fn(|| server.poll_event()).collect();
    assert_eq!(late, [1, 3].map(|stream| (StreamId(stream), cut(Cause::WindowStall))));
}

#[test]
fn a_window_that_moves_without_letting_anything_through_is_shut() {
    let (mut server, _) = answering(Version::V3);
    server.send(StreamId(1), zeros(WINDOW + 10), NOW).unwrap();
    written(&mut server);
    let later = NOW + Duration::from_secs(50);
    let settings = |window: usize| numbers(Version::V3, SETTINGS, &[1, 7, window as u32]);
    feed_at(&mut server, &[settings(WINDOW + 1), settings(WINDOW)].concat(), later);
    assert_eq!(written(&mut server), []);
    server.handle_timeout(NOW + Limits::DEFAULT.write_stall);
    assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::WindowStall))));
}

#[test]
fn what_is_not_read_is_not_late() {
    let (mut server, mut peer) = asked(Version::V3);
    feed(&mut server, &peer.post(3, &[]));
    // Whoever carries a secret is not compressed.
    let head = alloc::format!("HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(10_000));
    for stream in (5..50).step_by(2) {
        feed(&mut server, &peer.get(stream, "/"));
    }
    let late = peer.get(51, "/late");
    server.receive(&late[..20], NOW);
    for stream in (5..50).step_by(2) {
        server.send(StreamId(stream), response(&head), NOW).unwrap();
    }
    assert_eq!((server.room(), server.receive(&late[20..], NOW)), (0, 0), "it does not take what it is sent");
    let mut now = NOW;
    for _ in 0..3 {
        now += Limits::DEFAULT.body_timeout;
        server.handle_timeout(now);
        server.handle_timeout(now);
        assert_eq!((server.is_closing(), server.poll_event()), (None, None));
    }
    written(&mut server);
    let events = feed_at(&mut server, &late[20..], now);
    assert_eq!(request(&events).target(), b"/late");
    // The body has its time from here.
    let deadline = server.poll_timeout().unwrap();
    server.handle_timeout(deadline);
    assert_eq!(server.poll_event(), Some((StreamId(3), cut(Cause::BodyTimeout))));
}
