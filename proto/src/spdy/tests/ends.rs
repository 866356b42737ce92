//! How streams and connections end.

use super::*;

#[test]
fn a_drained_connection_serves_what_it_has_and_refuses_the_rest() {
    for version in Version::ALL {
        let (mut server, mut peer) = asked(version);
        server.close_after_responses(NOW);
        server.close_after_responses(NOW);
        let frames = written(&mut server);
        assert_eq!((frames.len(), farewell(&frames).0), (1, 1));
        assert_eq!(feed(&mut server, &peer.get(3, "/")), []);
        assert_eq!(feed(&mut server, &data(3, FIN, b"x")), []);
        assert_eq!(resets(&written(&mut server)), [(3, StatusCode::REFUSED_STREAM)]);
        assert_eq!(server.is_closing(), None);
        answer(&mut server, 1);
        assert_eq!((server.is_closing(), server.violation()), (Some(Cause::Complete), None));
        assert_eq!(data_of(&written(&mut server), 1).0, b"Hello, world!");
    }
    let (mut idle, _) = server(Version::V3);
    idle.close_after_responses(NOW);
    assert_eq!((idle.is_closing(), farewell(&written(&mut idle))), (Some(Cause::Complete), (0, Some(0))));
}

#[test]
fn a_connection_closed_at_once_says_what_was_looked_at() {
    let (mut server, mut peer) = asked(Version::V31);
    feed(&mut server, &peer.get(7, "/"));
    server.close_now(Cause::Stopping, NOW);
    server.close_now(Cause::Stopping, NOW);
    assert_eq!((server.is_closing(), server.violation(), server.streams()), (Some(Cause::Stopping), None, 0));
    let frames = written(&mut server);
    assert_eq!((frames.len(), farewell(&frames)), (1, (7, Some(0))));
    assert_eq!(server.receive(b"anything", NOW), 8);
    assert_eq!(server.send(StreamId(1), body("x"), NOW), Err(SendError::OutOfOrder));
}

#[test]
fn a_client_that_goes_is_served_what_it_has_asked_for() {
    for version in Version::ALL {
        let go_away = |last: u32| {
            if version == Version::V2 {
                numbers(version, GOAWAY, &[last])
            } else {
                numbers(version, GOAWAY, &[last, 0])
            }
        };
        let (mut server, _) = asked(version);
        assert_eq!(feed(&mut server, &go_away(0)), []);
        assert_eq!(server.is_closing(), None);
        answer(&mut server, 1);
        assert_eq!(server.is_closing(), Some(Cause::Complete));
        let (mut idle, _) = super::server(version);
        feed(&mut idle, &go_away(0));
        assert_eq!(idle.is_closing(), Some(Cause::Complete));
    }
    // Some say why in SPDY/2 too.
    let (mut server, _) = asked(Version::V2);
    feed(&mut server, &numbers(Version::V2, GOAWAY, &[0, 0]));
    assert_eq!((server.is_closing(), server.streams()), (None, 1));
}

#[test]
fn an_end_of_input_is_the_clients_end() {
    let (mut server, _) = asked(Version::V3);
    server.receive_eof(NOW);
    assert_eq!(server.is_closing(), Some(Cause::ClientGone));
    let (mut server, _) = super::server(Version::V3);
    server.receive_eof(NOW);
    assert_eq!(server.is_closing(), Some(Cause::Complete));
    assert!(server.poll_timeout().is_none() && !server.has_outbound());
}

#[test]
fn an_upload_goes_on_for_a_while_when_it_is_answered_early() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        feed(&mut server, &[peer.post(1, &[]), data(1, 0, b"abc")].concat());
        answer(&mut server, 1);
        let frames = written(&mut server);
        assert_eq!((data_of(&frames, 1).1, resets(&frames)), (true, Vec::new()));
        assert_eq!(feed(&mut server, &data(1, 0, &[0; 50_000])), []);
        assert_eq!((server.streams(), server.is_receiving(StreamId(1))), (1, true));
        assert_eq!(feed(&mut server, &data(1, FIN, b"")), []);
        assert_eq!((server.streams(), of_kind(&written(&mut server), RST_STREAM).len()), (0, 0));
    }
}

#[test]
fn an_upload_that_goes_on_too_long_when_it_is_answered_is_cut() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        feed(&mut server, &peer.post(1, &[]));
        answer(&mut server, 1);
        written(&mut server);
        let mut n = 0;
        while server.has(StreamId(1)) {
            assert_eq!(feed(&mut server, &data(1, 0, &[0; 10_000])), []);
            n += 1;
        }
        assert_eq!((n, resets(&written(&mut server))), (27, alloc::vec![(1, StatusCode::CANCEL)]));
        // Or too slowly.
        feed(&mut server, &peer.post(3, &[]));
        answer(&mut server, 3);
        written(&mut server);
        let deadline = server.poll_timeout().unwrap();
        assert_eq!(deadline, NOW + Limits::DEFAULT.drain_timeout);
        server.handle_timeout(deadline);
        assert_eq!(resets(&written(&mut server)), [(3, StatusCode::CANCEL)]);
        assert_eq!(server.poll_event(), None);
    }
}

#[test]
fn after_a_violation_nothing_comes_but_the_farewell() {
    for version in Version::ALL {
        let (mut server, mut peer) = asked(version);
        let input = [peer.get(3, "/"), data(0, 0, b"x"), peer.get(5, "/")].concat();
        assert_eq!(server.receive(&input, NOW), input.len());
        assert_eq!((server.poll_event(), server.violation()), (None, Some(Cause::FramingMalformed.into())));
        let frames = written(&mut server);
        assert_eq!(farewell(&frames).0, 3);
        server.release(StreamId(1), 5, NOW);
        server.ping(NOW);
        server.close_after_responses(NOW);
        server.handle_timeout(NOW + Duration::from_secs(9999));
        assert!(!server.fail(StreamId(1), Cause::NodeLost, NOW) && !server.has_outbound());
    }
}

#[test]
fn a_body_that_is_refused_by_its_last_frame_ends_its_stream() {
    let limits = Limits { body_bytes: 10, ..Limits::DEFAULT };
    for version in Version::ALL {
        for (more, sent) in [(&[][..], 11), (&[("content-length", "2")], 3), (&[("content-length", "2")], 1)] {
            let (mut server, mut peer) = server_with(version, limits.clone());
            let events = feed(&mut server, &[peer.post(1, more), data(1, FIN, &[0; 11][..sent])].concat());
            assert!(matches!(events.last(), Some((1, Event::Cut(_)))), "{events:?}");
            let frames = written(&mut server);
            assert!(data_of(&frames, 1).1 && resets(&frames).is_empty());
            assert_eq!((server.streams(), server.poll_timeout()), (0, Some(NOW + Limits::DEFAULT.keep_alive_timeout)));
        }
    }
}

#[test]
fn what_is_held_of_an_answered_request_holds_up_nobody() {
    let limits = Limits { h2_stream_window: WINDOW, h2_connection_window: WINDOW, ..Limits::DEFAULT };
    for version in [Version::V2, Version::V3] {
        let (mut server, mut peer) = server_with(version, limits.clone());
        feed(&mut server, &[peer.post(1, &[]), data(1, 0, &[0; WINDOW])].concat());
        assert_eq!(server.room(), 0);
        // Its answer is complete, but waits for the window; the caller has forgotten the stream.
        server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        server.send(StreamId(1), zeros(WINDOW + 10), NOW).unwrap();
        assert_eq!(server.room(), 0);
        server.send(StreamId(1), http::Event::End, NOW).unwrap();
        assert!(server.room() > 0);
        let mut frames = written(&mut server);
        server.release(StreamId(1), WINDOW, NOW);
        feed(&mut server, &[numbers(version, WINDOW_UPDATE, &[1, 10]), data(1, FIN, b"x")].concat());
        frames.append(&mut written(&mut server));
        assert_eq!((data_of(&frames, 1).0.len(), data_of(&frames, 1).1), (WINDOW + 10, true));
        assert!(server.is_idle() && resets(&frames).is_empty());
    }
}

#[test]
fn pieces_that_are_never_shown_do_not_count() {
    let limits = Limits { body_bytes: 3000, h2_connection_window: WINDOW, ..Limits::DEFAULT };
    for version in Version::ALL {
        let (mut server, mut peer) = server_with(version, limits.clone());
        feed(&mut server, &peer.post(1, &[]));
        let input = [data(1, 0, &[0; 1000]), data(1, 0, &[0; 2001])].concat();
        server.receive(&input, NOW);
        assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::BodyTooLarge))));
        assert_eq!(server.unreleased, 0);
        feed(&mut server, &[peer.post(3, &[]), data(3, 0, b"abc")].concat());
        feed(&mut server, &peer.post(5, &[]));
        server.receive(&data(5, 0, b"abc"), NOW);
        server.limit_body(StreamId(5), 2, NOW).unwrap_err();
        assert_eq!((server.poll_event(), server.unreleased), (None, 3));
    }
}
