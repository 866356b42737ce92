//! Pushed responses.

use super::*;

fn promise(path: &str) -> Request {
    Request::builder("GET", path, "example.com").build().unwrap()
}

#[test]
fn a_pushed_response_is_told_with_what_it_answers() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let fields = head(version, "GET", "/", &[]);
        feed(&mut server, &peer.syn_with(1, FIN, [1 << version.priority_shift(), 0], &fields));
        let pushed = server.push(StreamId(1), &promise("/style.css"), true, NOW).unwrap();
        assert_eq!((pushed, server.associated(pushed)), (StreamId(2), Some(StreamId(1))));
        assert_eq!(written(&mut server), [], "it waits for its answer");
        let head = response("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 2\r\n\r\n");
        server.send(pushed, head, NOW).unwrap();
        server.send(pushed, body("{}"), NOW).unwrap();
        answer(&mut server, 1);
        let frames = written(&mut server);
        assert_eq!((frames[0].kind, frames[0].flags), (SYN_STREAM.into(), UNIDIRECTIONAL));
        assert_eq!((frames[0].number(0), frames[0].number(4)), (2, 1));
        assert_eq!(frames[0].payload[8], 1 << version.priority_shift());
        let names = match version {
            Version::V2 => ["method", "url", "host", "scheme", "status", "version"],
            Version::V3 | Version::V31 => [":method", ":path", ":host", ":scheme", ":status", ":version"],
        };
        let url = if version == Version::V2 { "https://example.com/style.css" } else { "/style.css" };
        let values = ["GET", url, "example.com", "https", "200 OK", "HTTP/1.1"];
        let mut expected: Vec<_> = names.into_iter().zip(values).collect();
        expected.extend_from_slice(&[("content-type", "text/css"), ("content-length", "2")]);
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(peer.fields(&frames[0]), expected);
        assert_eq!(data_of(&frames, 2), (b"{}".to_vec(), true));
        assert!(server.is_idle());
        assert_eq!(server.take_tally().pushes, 1);
    }
}

#[test]
fn numbers_grow_though_later_pushes_are_answered_first() {
    let (mut server, mut peer) = asked(Version::V3);
    let first = server.push(StreamId(1), &promise("/1"), false, NOW).unwrap();
    let second = server.push(StreamId(1), &promise("/2"), false, NOW).unwrap();
    for pushed in [second, first] {
        server.send(pushed, response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), NOW).unwrap();
    }
    let frames = written(&mut server);
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind as u16, frame.number(0), frame.flags)).collect();
    assert_eq!(kinds, [(SYN_STREAM, 2, 2), (SYN_STREAM, 4, FIN | 2), (HEADERS, 2, FIN)]);
    assert!(!peer.fields(&frames[0]).iter().any(|(name, _)| name == ":status"));
    peer.fields(&frames[1]);
    assert_eq!(peer.fields(&frames[2])[0], (":status".into(), "200 OK".into()));
}

#[test]
fn a_push_is_told_before_the_stream_that_it_belongs_to_ends() {
    for (head, pieces) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 0),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", 1),
        ("HTTP/1.1 200 OK\r\n\r\n", 1),
    ] {
        let (mut server, _) = asked(Version::V31);
        server.push(StreamId(1), &promise("/late"), false, NOW).unwrap();
        server.send(StreamId(1), response(head), NOW).unwrap();
        for _ in 0..pieces {
            server.send(StreamId(1), body("x"), NOW).unwrap();
        }
        server.send(StreamId(1), http::Event::End, NOW).unwrap();
        let frames = written(&mut server);
        let told = frames.iter().position(|frame| frame.is_control && frame.kind == u32::from(SYN_STREAM)).unwrap();
        let of_stream = |frame: &Frame| frame.kind == 1 || frame.kind == u32::from(SYN_REPLY);
        let ended = frames.iter().position(|frame| of_stream(frame) && frame.flags & FIN != 0).unwrap();
        assert!(told < ended, "{frames:?}");
        assert_eq!(server.streams(), 1, "its answer is to come");
    }
}

#[test]
fn a_push_that_nobody_was_told_of_is_taken_back_in_silence() {
    let (mut server, _) = asked(Version::V3);
    let pushed = server.push(StreamId(1), &promise("/"), false, NOW).unwrap();
    server.reset(pushed, StatusCode::CANCEL, NOW);
    assert_eq!((written(&mut server), server.has(pushed)), (Vec::new(), false));
    // The next number is not that one.
    assert_eq!(server.push(StreamId(1), &promise("/"), false, NOW), Ok(StreamId(4)));
}

#[test]
fn a_client_refuses_a_push_or_all_of_a_request() {
    for version in Version::ALL {
        let (mut server, _) = asked(version);
        let pushed: Vec<_> = (0..3).map(|_| server.push(StreamId(1), &promise("/"), false, NOW).unwrap()).collect();
        for pushed in &pushed {
            server.send(*pushed, response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        }
        written(&mut server);
        let reset = |stream: u32| numbers(version, RST_STREAM, &[stream, 5]);
        assert_eq!(feed(&mut server, &reset(2)), [(2, cut(Cause::StreamReset))]);
        assert_eq!(server.send(pushed[0], body("x"), NOW), Err(SendError::OutOfOrder));
        let events = feed(&mut server, &reset(1));
        assert_eq!(events, [1, 4, 6].map(|stream| (stream, cut(Cause::StreamReset))));
        assert!(server.is_idle());
    }
}

#[test]
fn pushes_need_a_stream_that_takes_them() {
    let (mut server, mut peer) = asked(Version::V3);
    assert_eq!(server.push(StreamId(3), &promise("/"), false, NOW), Err(SendError::OutOfOrder));
    let pushed = server.push(StreamId(1), &promise("/"), false, NOW).unwrap();
    assert_eq!(server.push(pushed, &promise("/"), false, NOW), Err(SendError::OutOfOrder));
    let absolute = Request::builder("GET", "http://a/", "a").build().unwrap();
    assert_eq!(server.push(StreamId(1), &absolute, false, NOW), Err(SendError::Unsupported));
    feed(&mut server, &numbers(Version::V3, SETTINGS, &[1, 4, 1]));
    assert_eq!(server.push(StreamId(1), &promise("/"), false, NOW), Err(SendError::Unsupported));
    answer(&mut server, 1);
    assert_eq!(server.push(StreamId(1), &promise("/"), false, NOW), Err(SendError::OutOfOrder));
    feed(&mut server, &peer.get(3, "/"));
    feed(&mut server, &numbers(Version::V3, SETTINGS, &[1, 4, 100]));
    feed(&mut server, &numbers(Version::V3, GOAWAY, &[0, 0]));
    assert_eq!(server.push(StreamId(3), &promise("/"), false, NOW), Err(SendError::Unsupported));
}

#[test]
fn of_a_push_that_nobody_was_told_of_no_reset_tells() {
    for version in Version::ALL {
        let (mut server, _) = asked(version);
        let pushed = server.push(StreamId(1), &promise("/"), false, NOW).unwrap();
        let events = feed(&mut server, &numbers(version, RST_STREAM, &[1, 5]));
        assert_eq!(events, [1, pushed.0].map(|stream| (stream, cut(Cause::StreamReset))));
        assert_eq!(written(&mut server), []);
    }
}

#[test]
fn a_push_is_told_before_the_stream_that_it_belongs_to_is_cut() {
    let (mut server, _) = answering(Version::V3);
    server.send(StreamId(1), zeros(WINDOW + 1), NOW).unwrap();
    written(&mut server);
    let pushed = server.push(StreamId(1), &promise("/"), false, NOW).unwrap();
    let deadline = server.poll_timeout().unwrap();
    server.handle_timeout(deadline);
    assert_eq!(server.poll_event(), Some((StreamId(1), cut(Cause::WindowStall))));
    let frames = written(&mut server);
    assert_eq!(frames.iter().map(|frame| frame.kind as u16).collect::<Vec<_>>(), [SYN_STREAM, RST_STREAM]);
    assert_eq!((frames[0].number(0), resets(&frames)), (pushed.0, alloc::vec![(1, StatusCode::CANCEL)]));
    assert!(server.has(pushed));
}

#[test]
fn whoever_takes_back_a_request_whose_answer_has_left_wants_no_pushes_either() {
    for version in Version::ALL {
        let (mut server, _) = asked(version);
        let pushed = server.push(StreamId(1), &promise("/"), false, NOW).unwrap();
        server.send(pushed, response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
        answer(&mut server, 1);
        written(&mut server);
        // It crosses the end of the answer.
        let events = feed(&mut server, &numbers(version, RST_STREAM, &[1, 5]));
        assert_eq!(events, [(pushed.0, cut(Cause::StreamReset))], "{version}");
        assert_eq!(resets(&written(&mut server)), [(pushed.0, StatusCode::CANCEL)]);
        assert!(server.is_idle());
    }
}
