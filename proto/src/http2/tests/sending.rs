//! Responses, as they leave.

use super::*;

/// What a client reads of the HEADERS frames: the fields, by a decoder that is not ours.
fn heads(server: &mut Connection) -> Vec<(u32, u8)> {
    written(server).iter().filter(|frame| frame.kind == HEADERS).map(|frame| (frame.stream, frame.flags)).collect()
}

#[test]
fn a_response_leaves_as_few_frames_as_it_can() {
    let mut server = asked();
    answer(&mut server, 1);
    let frames = written(&mut server);
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[0].kind, frames[0].flags), (HEADERS, END_HEADERS));
    assert_eq!((frames[1].kind, frames[1].flags, &frames[1].payload[..]), (DATA, END_STREAM, &b"Hello, world!"[..]));

    let mut server = asked();
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(StreamId(1), body("all"), NOW).unwrap();
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Ok(Progress::Complete));
    let frames = written(&mut server);
    assert_eq!((frames.len(), data(&frames, 1)), (2, (b"all".to_vec(), true)));
}

#[test]
fn a_response_without_a_body_is_complete_with_its_head() {
    for text in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut server = asked();
        assert_eq!(server.send(StreamId(1), response(text), NOW), Ok(Progress::Complete), "{text}");
        assert_eq!(heads(&mut server), [(1, WHOLE)]);
        assert!(server.is_idle());
    }
    let mut server = server();
    feed(&mut server, &frame(HEADERS, WHOLE, 1, &head("HEAD", "/", &[])));
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(server.send(StreamId(1), head, NOW), Ok(Progress::Complete));
    assert_eq!(heads(&mut server), [(1, WHOLE)]);
}

#[test]
fn the_announced_length_is_kept() {
    let mut server = asked();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    server.send(StreamId(1), response(head), NOW).unwrap();
    assert_eq!(server.send(StreamId(1), body("12345"), NOW), Err(SendError::TooLong));
    assert_eq!(data(&written(&mut server), 1), (b"123".to_vec(), true));

    let mut server = asked();
    server.send(StreamId(1), response(head), NOW).unwrap();
    server.send(StreamId(1), body("12"), NOW).unwrap();
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Err(SendError::TooShort));
    assert_eq!(resets(&written(&mut server)), [(1, ErrorCode::INTERNAL_ERROR)]);
    assert_eq!(server.is_closing(), None);
}

#[test]
fn parts_out_of_order_are_not_sent() {
    let mut server = asked();
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(server.send(StreamId(1), body("x"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(StreamId(3), response(head), NOW), Err(SendError::OutOfOrder));
    let upgrade = response("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert_eq!(server.send(StreamId(1), upgrade, NOW), Err(SendError::Unsupported));
    assert!(!server.response_begun(StreamId(1)));
    assert_eq!(server.send(StreamId(1), response(head), NOW), Ok(Progress::Open));
    assert_eq!(server.send(StreamId(1), response(head), NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Ok(Progress::Complete));
    assert_eq!(server.send(StreamId(1), body("x"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Ok(Progress::Complete));
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[("expect", "100-continue")])));
    server.send_continue(StreamId(1), NOW);
    server.send_continue(StreamId(1), NOW);
    let hints = response("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
    assert_eq!(server.send(StreamId(1), hints, NOW), Ok(Progress::Open));
    assert_eq!(heads(&mut server), [(1, END_HEADERS), (1, END_HEADERS)]);
    feed(&mut server, &frame(DATA, END_STREAM, 1, b"x"));
    answer(&mut server, 1);
    assert_eq!(heads(&mut server), [(1, END_HEADERS)]);
}

#[test]
fn an_early_answer_tells_the_client_to_stop() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    answer(&mut server, 1);
    let frames = written(&mut server);
    assert_eq!(data(&frames, 1), (b"Hello, world!".to_vec(), true));
    assert_eq!(resets(&frames), [(1, ErrorCode::NO_ERROR)]);
    // What was on its way is ignored.
    assert_eq!(feed(&mut server, &frame(DATA, 0, 1, b"late")), []);
    assert_eq!((written(&mut server), server.is_closing()), (Vec::new(), None));
}

#[test]
fn what_comes_after_the_answer_is_thrown_away() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    greet(&mut server, &[0, 4, 0, 0, 0, 0]);
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    answer(&mut server, 1);
    written(&mut server);
    // More than the window, so it must have been given back.
    for _ in 0..100 {
        assert_eq!(feed(&mut server, &frame(DATA, 0, 1, &[0; 16_384])), []);
        written(&mut server);
    }
    assert_eq!((server.is_closing(), server.streams()), (None, 1));
    feed(&mut server, &frame(DATA, END_STREAM, 1, b"x"));
    feed(&mut server, &frame(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes()));
    assert_eq!(data(&written(&mut server), 1), (b"Hello, world!".to_vec(), true));
    assert!(server.is_idle());
}

#[test]
fn failing_is_a_page_or_a_reset() {
    let mut server = asked();
    assert!(server.fail(StreamId(1), Cause::NodeTimeout, NOW));
    let frames = written(&mut server);
    assert!(data(&frames, 1).0.starts_with(b"504 Gateway Timeout\nnode-timeout: "));
    assert!(server.is_idle());

    let mut server = asked();
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    assert!(!server.fail(StreamId(1), Cause::NodeLost, NOW));
    assert_eq!(resets(&written(&mut server)), [(1, ErrorCode::INTERNAL_ERROR)]);
    assert!(!server.fail(StreamId(1), Cause::NodeLost, NOW));
}

#[test]
fn a_push_is_a_stream_of_its_own_where_the_client_takes_it() {
    let mut server = asked();
    let promised = Request::builder("GET", "/style.css", "example.com").field("X-A", "b").build().unwrap();
    let pushed = server.push(StreamId(1), &promised, true, NOW).unwrap();
    assert_eq!(pushed, StreamId(2));
    assert_eq!(server.push(pushed, &promised, true, NOW), Err(SendError::OutOfOrder));
    answer(&mut server, 2);
    answer(&mut server, 1);
    let frames = written(&mut server);
    assert_eq!((frames[0].kind, frames[0].stream, &frames[0].payload[..4]), (PUSH_PROMISE, 1, &[0, 0, 0, 2][..]));
    assert_eq!((data(&frames, 1).1, data(&frames, 2).1, server.take_tally().pushes), (true, true, 1));
    assert!(server.is_idle());

    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    greet(&mut server, &[0, 2, 0, 0, 0, 0]);
    feed(&mut server, &get(1, "/"));
    assert_eq!(server.push(StreamId(1), &promised, true, NOW), Err(SendError::Unsupported));
    answer(&mut server, 1);
    assert_eq!(data(&written(&mut server), 1).0, b"Hello, world!");
}
