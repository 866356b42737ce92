//! Windows, both ways, and what stands in for them where there are none.

use super::*;

fn update(stream: u32, by: u32) -> Vec<u8> {
    numbers(Version::V3, WINDOW_UPDATE, &[stream, by])
}

/// Settings of a peer: its streams' initial window.
fn initial_window(by: u32) -> Vec<u8> {
    numbers(Version::V3, SETTINGS, &[1, 7, by])
}

#[test]
fn no_more_leaves_than_the_streams_window_lets() {
    for version in [Version::V3, Version::V31] {
        let (mut server, _) = answering(version);
        let room = server.stream_room(StreamId(1));
        assert_eq!(room, 256 * 1024);
        server.send(StreamId(1), zeros(100_000), NOW).unwrap();
        assert_eq!(data_of(&written(&mut server), 1).0.len(), WINDOW);
        assert_eq!(server.stream_queued(StreamId(1)), 100_000 - WINDOW);
        assert_eq!(server.stream_room(StreamId(1)), room - (100_000 - WINDOW));
        assert!(!server.has_outbound());
        if version == Version::V31 {
            assert_eq!(feed(&mut server, &update(1, 1000)), []);
            assert!(!server.has_outbound(), "the connection's window is shut");
            feed(&mut server, &update(0, 1000));
        } else {
            assert_eq!(feed(&mut server, &[update(0, 1000), update(1, 1000)].concat()), []);
        }
        assert_eq!(data_of(&written(&mut server), 1).0.len(), 1000);
        assert_eq!(server.poll_event(), Some((StreamId(1), Event::Freed(1000))));
        server.send(StreamId(1), http::Event::End, NOW).unwrap();
        feed(&mut server, &[update(0, 100_000), update(1, 100_000)].concat());
        assert_eq!(data_of(&written(&mut server), 1), (alloc::vec![b'x'; 100_000 - WINDOW - 1000], true));
        assert!(server.is_idle() && server.queued() == 0);
    }
}

#[test]
fn without_windows_everything_leaves() {
    let (mut server, _) = answering(Version::V2);
    feed(&mut server, &numbers(Version::V2, WINDOW_UPDATE, &[1, 0]));
    feed(&mut server, &control(Version::V2, SETTINGS, 0, b"\0\0\0\x01\x07\0\0\0\0\0\0\0"));
    server.send(StreamId(1), zeros(1_000_000), NOW).unwrap();
    assert_eq!(data_of(&written(&mut server), 1).0.len(), 1_000_000);
}

#[test]
fn the_initial_window_moves_the_windows_of_all_streams() {
    for version in [Version::V3, Version::V31] {
        let (mut server, _) = answering(version);
        server.send(StreamId(1), zeros(60_000), NOW).unwrap();
        assert_eq!(data_of(&written(&mut server), 1).0.len(), 60_000);
        // Below zero: it has to come back first.
        feed(&mut server, &initial_window(10_000));
        server.send(StreamId(1), zeros(5_000), NOW).unwrap();
        feed(&mut server, &update(1, 50_000));
        assert_eq!(data_of(&written(&mut server), 1).0.len(), 0);
        feed(&mut server, &update(1, 1));
        assert_eq!(data_of(&written(&mut server), 1).0.len(), 1);
        feed(&mut server, &initial_window(20_000));
        assert_eq!(data_of(&written(&mut server), 1).0.len(), 4_999);
    }
}

#[test]
fn windows_never_pass_their_largest() {
    for version in [Version::V3, Version::V31] {
        let (mut server, _) = answering(version);
        assert_eq!(feed(&mut server, &update(1, 0x7fff_ffff)), [(1, cut(Cause::WindowExceeded))]);
        assert_eq!(resets(&written(&mut server)), [(1, StatusCode::FLOW_CONTROL_ERROR)]);
        let (mut server, _) = answering(version);
        assert_eq!(feed(&mut server, &update(1, 0)), [(1, cut(Cause::FramingMalformed))]);
        let (mut server, _) = answering(version);
        feed(&mut server, &update(1, 0x7fff_0000 - 1));
        assert_eq!(violation(&mut server, &initial_window(WINDOW as u32 + 1)), Cause::WindowExceeded);
        let (mut server, _) = answering(version);
        assert_eq!(violation(&mut server, &initial_window(0x8000_0000)), Cause::WindowExceeded);
    }
    let (mut server, _) = answering(Version::V31);
    assert_eq!(violation(&mut server, &update(0, 0x7fff_ffff)), Cause::WindowExceeded);
    let (mut server, _) = answering(Version::V31);
    assert_eq!(violation(&mut server, &update(0, 0)), Cause::FramingMalformed);
}

#[test]
fn a_client_that_sends_past_its_window_is_told() {
    let limits = Limits { h2_stream_window: WINDOW, h2_connection_window: 2 * WINDOW, ..Limits::DEFAULT };
    for version in [Version::V3, Version::V31] {
        let (mut server, mut peer) = server_with(version, limits.clone());
        feed(&mut server, &[peer.post(1, &[]), data(1, 0, &[0; WINDOW])].concat());
        assert_eq!(feed(&mut server, &data(1, 0, b"x")), [(1, cut(Cause::WindowExceeded))]);
        assert_eq!(resets(&written(&mut server)), [(1, StatusCode::FLOW_CONTROL_ERROR)]);
        // What it held of the connection's window is given back with it.
        feed(&mut server, &[peer.post(3, &[]), data(3, 0, &[0; WINDOW - 1])].concat());
        assert_eq!(server.is_closing(), None);
    }
    let (mut server, mut peer) = server_with(Version::V31, limits);
    feed(&mut server, &[peer.post(1, &[]), data(1, 0, &[0; WINDOW])].concat());
    feed(&mut server, &[peer.post(3, &[]), data(3, 0, &[0; WINDOW])].concat());
    feed(&mut server, &peer.post(5, &[]));
    assert_eq!(violation(&mut server, &data(5, 0, b"x")), Cause::WindowExceeded);
}

#[test]
fn a_window_opens_when_bytes_are_released() {
    for version in [Version::V3, Version::V31] {
        let limits = Limits { h2_stream_window: WINDOW, h2_connection_window: WINDOW, ..Limits::DEFAULT };
        let (mut server, mut peer) = server_with(version, limits);
        feed(&mut server, &[peer.post(1, &[]), data(1, 0, &[0; WINDOW])].concat());
        assert_eq!(written(&mut server), []);
        server.release(StreamId(1), 1000, NOW);
        assert_eq!(written(&mut server), [], "not worth a frame");
        server.release(StreamId(1), WINDOW / 2, NOW);
        let mut updates = frames(&update(0, WINDOW as u32 / 2 + 1000));
        updates.append(&mut frames(&update(1, WINDOW as u32 / 2 + 1000)));
        if version == Version::V3 {
            updates.remove(0);
        }
        assert_eq!(written(&mut server), updates);
        // Neither more than there was, nor for a stream whose request is complete.
        server.release(StreamId(1), usize::MAX, NOW);
        written(&mut server);
        let events = feed(&mut server, &data(1, FIN, &[0; WINDOW / 2]));
        assert_eq!(events.last(), Some(&(1, part(http::Event::End))));
        server.release(StreamId(1), WINDOW / 2, NOW);
        let of_stream = written(&mut server).iter().filter(|frame| frame.number(0) == 1).count();
        assert_eq!((of_stream, server.held() < 100_000), (0, true));
    }
}

#[test]
fn reading_pauses_where_the_connection_has_no_window() {
    let limits = Limits { h2_connection_window: WINDOW, ..Limits::DEFAULT };
    let (mut server, mut peer) = server_with(Version::V2, limits.clone());
    let input = [peer.post(1, &[]), data(1, FIN, &[0; 1_000_000])].concat();
    let (mut at, mut got, mut most) = (0, 0, 0);
    let mut waiting = Vec::new();
    while got < 1_000_000 {
        at += server.receive(&input[at..], NOW);
        while let Some((_, event)) = server.poll_event() {
            if let Event::Part(http::Event::Body(piece)) = event {
                waiting.push(piece.len());
                got += piece.len();
            }
        }
        most = most.max(waiting.iter().sum::<usize>());
        if server.room() == 0 {
            server.release(StreamId(1), waiting.remove(0), NOW);
        }
    }
    assert!((WINDOW..WINDOW + 16 * 1024).contains(&most), "{most}");
    // With a window it is the client's business.
    let (mut server, mut peer) = server_with(Version::V31, limits);
    feed(&mut server, &[peer.post(1, &[]), data(1, 0, &[0; WINDOW])].concat());
    assert!(server.room() > 0);
}

#[test]
fn who_does_not_read_is_not_read() {
    let ping = numbers(Version::V2, PING, &[1]);
    let (mut busy, mut peer) = answering(Version::V2);
    busy.send(StreamId(1), zeros(10 << 20), NOW).unwrap();
    for stream in 1..40 {
        if busy.room() == 0 {
            break;
        }
        feed(&mut busy, &peer.get(2 * stream + 1, "/"));
        let head = alloc::format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", noise(stream));
        busy.send(StreamId(2 * stream + 1), response(&head), NOW).unwrap();
    }
    assert_eq!((busy.room(), busy.receive(&ping, NOW)), (0, 0));
    written(&mut busy);
    while busy.poll_event().is_some() {}
    assert_eq!((busy.receive(&ping, NOW), written(&mut busy)), (ping.len(), frames(&ping)));
}

/// 10,000 bytes that do not shrink much.
fn noise(seed: u32) -> String {
    let mut state = seed;
    let letters = core::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (state >> 24) as u8 % 90)
    });
    letters.take(10_000).collect()
}

#[test]
fn what_nobody_will_release_holds_nothing_back() {
    for version in [Version::V2, Version::V3] {
        let limits = Limits { h2_connection_window: 64 * 1024, h2_stream_window: 64 * 1024, ..Limits::default() };
        let (mut server, mut peer) = server_with(version, limits);
        feed(&mut server, &peer.post(1, &[]));
        feed(&mut server, &data(1, 0, &[0; 64 * 1024]));
        assert_eq!(server.room(), 0, "{version:?}");
        server.send(StreamId(1), response("HTTP/1.1 204 No Content\r\n\r\n"), NOW).unwrap();
        assert!(server.room() > 0, "{version:?}: its answer is complete, so that nobody wants it any more");
        feed(&mut server, &data(1, FIN, &[0; 1000]));
        assert!(server.is_idle(), "{version:?}");

        // Nor where the answer waits for a window that opens behind the kept input.
        feed(&mut server, &peer.post(3, &[]));
        feed(&mut server, &data(3, FIN, &[0; 64 * 1024]));
        server.send(StreamId(3), response("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"), NOW).unwrap();
        assert_eq!(server.room(), 0, "{version:?}");
        server.send(StreamId(3), zeros(70_000), NOW).unwrap();
        assert!(server.room() > 0, "{version:?}");
    }
}

#[test]
fn who_waited_for_others_is_told_when_all_of_it_has_left() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        feed(&mut server, &[peer.get(1, "/"), peer.get(3, "/")].concat());
        for stream in [1, 3] {
            server.send(StreamId(stream), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        }
        server.send(StreamId(1), zeros(10_000), NOW).unwrap();
        server.outbound();
        assert_eq!(server.poll_event(), None, "nobody was in its way");
        server.send(StreamId(1), zeros(30_000), NOW).unwrap();
        server.send(StreamId(3), zeros(20_000), NOW).unwrap();
        written(&mut server);
        let told: Vec<_> = core::iter::from_fn(|| server.poll_event()).map(|(stream, _)| stream.0).collect();
        assert_eq!((told, server.queued()), (alloc::vec![1, 3], 0), "{version}");
    }
}
