//! How streams and connections end before their time.

use super::*;

#[test]
fn a_request_that_is_taken_back_is_cut() {
    let mut server = asked();
    let events = feed(&mut server, &frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    assert_eq!(events, [(1, Event::Cut(Cause::StreamReset))]);
    let head = response("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(server.send(StreamId(1), head, NOW), Err(SendError::OutOfOrder));
    assert_eq!((written(&mut server), server.streams()), (Vec::new(), 0));
}

#[test]
fn a_request_that_is_taken_back_at_once_is_never_shown() {
    let mut server = server();
    let events = feed(&mut server, &[get(1, "/"), frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()), get(3, "/")].concat());
    assert!(events.iter().all(|(stream, _)| *stream == 3), "{events:?}");
    let tally = server.take_tally();
    assert_eq!((tally.requests, tally.taken_back), (2, 1));
}

#[test]
fn an_upload_that_is_taken_back_is_cut_after_its_bytes() {
    let mut server = server();
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    let events = feed(&mut server, &[frame(DATA, 0, 1, b"ab"), frame(RST_STREAM, 0, 1, &[0; 4])].concat());
    assert_eq!(events, [(1, part(body("ab"))), (1, Event::Cut(Cause::StreamReset))]);
}

#[test]
fn an_answer_under_way_is_dropped_when_its_stream_is_reset() {
    let mut server = asked();
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(StreamId(1), http::Event::Body(alloc::vec![0; 100_000].into()), NOW).unwrap();
    written(&mut server);
    assert_eq!(server.queued(), 100_000 - 65_535);
    let events = feed(&mut server, &frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    assert_eq!((events, server.queued()), (alloc::vec![(1, Event::Cut(Cause::StreamReset))], 0));
}

#[test]
fn our_own_reset_needs_no_event() {
    let mut server = asked();
    server.reset(StreamId(1), ErrorCode::CANCEL, NOW);
    assert_eq!(resets(&written(&mut server)), [(1, ErrorCode::CANCEL)]);
    assert_eq!((server.poll_event(), server.streams()), (None, 0));
}

#[test]
fn a_drain_serves_what_is_under_way_and_ends() {
    let mut server = asked();
    server.close_after_responses(NOW);
    let frames = written(&mut server);
    assert_eq!((frames[0].kind, &frames[0].payload[..]), (GOAWAY, &b"\x7f\xff\xff\xff\0\0\0\0"[..]));
    let ping = frames[1].clone();
    assert_eq!((ping.kind, frames.len()), (PING, 2));
    // A request that crossed the GOAWAY is served.
    assert_eq!(feed(&mut server, &get(3, "/late")).len(), 2);
    assert_eq!(feed(&mut server, &frame(PING, 1, 0, &ping.payload)), []);
    let frames = written(&mut server);
    assert_eq!((frames[0].kind, &frames[0].payload[..]), (GOAWAY, &b"\0\0\0\x03\0\0\0\0"[..]));
    // One that comes after the client has learnt of it is not.
    assert_eq!(feed(&mut server, &get(5, "/too-late")), []);
    answer(&mut server, 1);
    answer(&mut server, 3);
    assert!(data(&written(&mut server), 3).1);
    assert_eq!((server.is_closing(), server.violation()), (Some(Cause::Complete), None));
}

#[test]
fn a_drain_before_the_greeting_is_not_forgotten() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    server.close_after_responses(NOW);
    server.outbound().take();
    feed(&mut server, &[&PREFACE[..], &frame(SETTINGS, 0, 0, b"")].concat());
    assert!(written(&mut server).iter().any(|frame| frame.kind == GOAWAY));
}

#[test]
fn closing_now_names_the_last_request_looked_at() {
    let mut server = asked();
    server.close_now(Cause::Stopping, NOW);
    let frames = written(&mut server);
    assert_eq!(frames.last().map(|frame| &frame.payload[..]), Some(&b"\0\0\0\x01\0\0\0\0"[..]));
    assert_eq!((server.is_closing(), server.streams()), (Some(Cause::Stopping), 0));
}

#[test]
fn the_end_of_input_ends_everything() {
    let mut server = asked();
    server.receive_eof(NOW);
    assert_eq!((server.is_closing(), server.streams()), (Some(Cause::ClientGone), 0));
    let mut server = super::server();
    server.receive_eof(NOW);
    assert_eq!((server.is_closing(), server.violation()), (Some(Cause::Complete), None));
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    server.receive(b"PRI", NOW);
    server.receive_eof(NOW);
    assert_eq!(server.is_closing(), Some(Cause::Complete));
}

/// After each of these nothing comes out but the farewell, and all input is ignored.
#[test]
fn violations_end_the_connection_with_their_code() {
    let get = get(1, "/");
    let cases: &[(&[u8], Cause, ErrorCode)] = &[
        (&frame(DATA, 0, 0, b"x"), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
        (&frame(DATA, 0, 7, b"x"), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
        (&frame(HEADERS, WHOLE, 2, &get[HEADER..]), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
        (&frame(CONTINUATION, 4, 1, b""), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
        (&frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02"), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
        (&frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
        (&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Cause::WindowExceeded, ErrorCode::FLOW_CONTROL_ERROR),
        (&frame(DATA, 0, 1, &[0; 16_385]), Cause::FrameSizeWrong, ErrorCode::FRAME_SIZE_ERROR),
        (&[frame(HEADERS, 0, 1, b"\x82"), get.clone()].concat(), Cause::FramingMalformed, ErrorCode::PROTOCOL_ERROR),
    ];
    for (input, cause, code) in cases {
        let mut server = server();
        feed(&mut server, input);
        assert_eq!(server.violation(), Some((*cause).into()), "{}", input.escape_ascii());
        assert_eq!(server.is_closing(), Some(*cause));
        assert_eq!(farewell(&written(&mut server)).0, *code, "{}", input.escape_ascii());
        assert_eq!(feed(&mut server, &[get.clone(), b"junk".to_vec()].concat()), []);
        server.handle_timeout(NOW + Duration::from_secs(3600));
        assert_eq!((server.has_outbound(), server.poll_timeout(), server.streams()), (false, None, 0));
    }
}

#[test]
fn another_preface_than_that_of_http2_is_told_so() {
    for input in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"\x16\x03\x01"] {
        let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
        feed(&mut server, input);
        assert_eq!(server.violation(), Some(Cause::PrefaceMalformed.into()));
        assert_eq!(farewell(&written(&mut server)), (ErrorCode::PROTOCOL_ERROR, "preface-malformed".into()));
    }
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    feed(&mut server, &[&PREFACE[..], &frame(PING, 0, 0, &[0; 8])].concat());
    assert_eq!(server.violation(), Some(Cause::PrefaceMalformed.into()));
}
