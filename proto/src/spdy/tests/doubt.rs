//! SPDY/3 or SPDY/3.1: the server finds out.

use super::*;

fn update(stream: u32, by: u32) -> Vec<u8> {
    numbers(Version::V3, WINDOW_UPDATE, &[stream, by])
}

/// A server in doubt whose answer to stream 1 has used up the window, and the PING that it has sent behind that.
fn waiting(limits: Limits) -> (Connection, Peer, Vec<u8>) {
    let mut server = Connection::server_in_doubt(Settings::with_limits(limits), NOW);
    let mut peer = Peer::new(Version::V3);
    written(&mut server);
    feed(&mut server, &peer.get(1, "/"));
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    feed(&mut server, &update(1, 100_000));
    server.send(StreamId(1), zeros(100_000), NOW).unwrap();
    let frames = written(&mut server);
    assert_eq!(data_of(&frames, 1).0.len(), WINDOW);
    let asked =
        frames.last().filter(|frame| frame.is_control && frame.kind == u32::from(PING)).expect("a PING is last");
    let echo = control(Version::V3, PING, 0, &asked.payload);
    (server, peer, echo)
}

#[test]
fn a_peer_that_has_taken_all_and_opens_no_window_speaks_3() {
    let (mut server, mut peer, echo) = waiting(Limits::DEFAULT);
    assert_eq!(server.version(), Version::V31);
    assert!(feed(&mut server, &numbers(Version::V3, PING, &[8])).is_empty(), "another PING says nothing");
    assert_eq!(server.version(), Version::V31);
    feed(&mut server, &echo);
    let frames = written(&mut server);
    assert_eq!((server.version(), data_of(&frames, 1).0.len()), (Version::V31, 0), "it is asked once more");
    feed(&mut server, &control(Version::V3, PING, 0, &of_kind(&frames, PING)[0].payload));
    assert_eq!(server.version(), Version::V3);
    assert_eq!(data_of(&written(&mut server), 1).0.len(), 100_000 - WINDOW);
    while server.poll_event().is_some() {}
    assert_eq!(request(&feed(&mut server, &peer.get(3, "/"))).version, http::Version::Spdy3);
}

#[test]
fn a_peer_that_opens_the_window_speaks_31() {
    let (mut server, _, echo) = waiting(Limits::DEFAULT);
    feed(&mut server, &[update(0, 1000), echo.clone()].concat());
    assert_eq!(server.version(), Version::V31);
    let frames = written(&mut server);
    assert_eq!(data_of(&frames, 1).0.len(), 1000);
    assert!(of_kind(&frames, PING).is_empty(), "it is not asked again");
    feed(&mut server, &echo);
    assert_eq!((server.version(), server.has_outbound()), (Version::V31, false));
}

#[test]
fn a_peer_may_answer_before_it_opens_the_window() {
    let (mut server, _, echo) = waiting(Limits::DEFAULT);
    feed(&mut server, &[echo, update(1, 100_000), update(0, 100_000)].concat());
    assert_eq!(server.version(), Version::V31);
    assert_eq!(data_of(&written(&mut server), 1).0.len(), 100_000 - WINDOW);
}

#[test]
fn a_wrong_guess_is_taken_back_with_the_books_in_order() {
    let (mut server, mut peer, echo) = waiting(Limits::DEFAULT);
    feed(&mut server, &echo);
    let again = of_kind(&written(&mut server), PING)[0].payload.clone();
    feed(&mut server, &control(Version::V3, PING, 0, &again));
    assert_eq!(server.version(), Version::V3);
    let sent = data_of(&written(&mut server), 1).0.len();
    while server.poll_event().is_some() {}
    // More than it allowed is under way: it has to open its window by more than that.
    feed(&mut server, &update(0, sent as u32));
    assert_eq!(server.version(), Version::V31);
    feed(&mut server, &update(1, 1000));
    server.send(StreamId(1), zeros(1000), NOW).unwrap();
    assert_eq!(data_of(&written(&mut server), 1).0.len(), 0);
    feed(&mut server, &update(0, 1000));
    assert_eq!(data_of(&written(&mut server), 1).0.len(), 1000);
    // And it was told of ours all the time.
    feed(&mut server, &peer.post(3, &[]));
    let most = Limits::DEFAULT.h2_connection_window;
    for _ in 0..most / 10_000 {
        feed(&mut server, &data(3, 0, &[0; 10_000]));
        server.release(StreamId(3), 10_000, NOW);
    }
    assert!(written(&mut server).iter().any(|frame| frame.is_control && frame.payload.starts_with(&[0; 4])));
}

#[test]
fn whoever_waits_when_a_guess_is_taken_back_has_a_deadline() {
    let (mut server, _, echo) = waiting(Limits::DEFAULT);
    feed(&mut server, &echo);
    let again = of_kind(&written(&mut server), PING)[0].payload.clone();
    feed(&mut server, &[update(1, 1 << 20), control(Version::V3, PING, 0, &again)].concat());
    server.send(StreamId(1), zeros(1 << 20), NOW).unwrap();
    // Its turn had come, but for the bytes that are to leave first.
    server.outbound();
    while server.poll_event().is_some() {}
    feed(&mut server, &update(0, 1));
    written(&mut server);
    assert!(server.stream_queued(StreamId(1)) > 0);
    assert_eq!(server.poll_timeout(), Some(NOW + Limits::DEFAULT.write_stall));
    server.handle_timeout(NOW + Limits::DEFAULT.write_stall);
    assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::WindowStall))));
}

#[test]
fn short_answers_use_up_the_window_too() {
    let mut server = Connection::server_in_doubt(Settings::with_limits(Limits::DEFAULT), NOW);
    let mut peer = Peer::new(Version::V3);
    written(&mut server);
    let mut echo = None;
    for stream in (1..200).step_by(2) {
        feed(&mut server, &peer.get(stream, "/"));
        server.send(StreamId(stream), response("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n"), NOW).unwrap();
        server.send(StreamId(stream), zeros(1024), NOW).unwrap();
        let pings: Vec<_> = of_kind(&written(&mut server), PING).iter().map(|frame| frame.payload.clone()).collect();
        echo = echo.or(pings.first().cloned());
        assert!(pings.is_empty() || stream == 2 * 64 - 1, "asked at 64 KiB");
    }
    feed(&mut server, &control(Version::V3, PING, 0, &echo.expect("it was asked")));
    let again = of_kind(&written(&mut server), PING)[0].payload.clone();
    feed(&mut server, &control(Version::V3, PING, 0, &again));
    assert_eq!(data_of(&written(&mut server), 199), (alloc::vec![b'x'; 1024], true));
    assert!(server.is_idle());
}

#[test]
fn uploads_are_held_to_no_window_that_the_peer_may_not_know() {
    let limits = Limits { h2_connection_window: WINDOW, h2_stream_window: WINDOW, ..Limits::DEFAULT };
    let mut server = Connection::server_in_doubt(Settings::with_limits(limits.clone()), NOW);
    let mut peer = Peer::new(Version::V3);
    feed(&mut server, &[peer.post(1, &[]), peer.post(3, &[])].concat());
    feed(&mut server, &data(1, 0, &[0; WINDOW - 10]));
    assert!(server.room() > 0);
    feed(&mut server, &data(3, 0, &[0; 20]));
    assert_eq!((server.is_closing(), server.room()), (None, 0), "more is kept out in the other way");
    server.release(StreamId(1), WINDOW - 10, NOW);
    assert!(server.room() > 0);
    // Whoever is known to have the window is held to it.
    let (mut server, mut peer) = server_with(Version::V31, limits);
    feed(&mut server, &[peer.post(1, &[]), peer.post(3, &[]), data(1, 0, &[0; WINDOW - 10])].concat());
    assert_eq!(violation(&mut server, &data(3, 0, &[0; 20])), Cause::WindowExceeded);
}
