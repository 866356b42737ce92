//! Requests, as they come and as they show themselves.

use super::*;

#[test]
fn the_greetings_are_exact() {
    let mut server = Connection::server(Settings::with_limits(Limits::DEFAULT), NOW);
    let greeting = server.outbound().take();
    assert_eq!(greeting, GREETING, "{}", greeting.escape_ascii());
    // The connection's window is made as large as the limits say; the client's SETTINGS are acknowledged.
    feed(&mut server, PREFACE);
    let update = server.outbound().take();
    assert_eq!(update, b"\0\0\x04\x08\0\0\0\0\0\0\x0f\0\x01", "{}", update.escape_ascii());
    feed(&mut server, b"\0\0\0\x04\0\0\0\0\0");
    let answer = server.outbound().take();
    assert_eq!(answer, b"\0\0\0\x04\x01\0\0\0\0", "{}", answer.escape_ascii());
}

#[test]
fn a_request_shows_itself_as_one_of_http1() {
    let mut server = server();
    let fields = [
        ("cookie", "a=1"),
        ("accept", "text/html"),
        ("x-list", "1"),
        ("cookie", "b=2"),
        ("x-list", "2"),
        ("te", "trailers"),
    ];
    let events = feed(&mut server, &frame(HEADERS, WHOLE, 1, &head("GET", "/a%20b?c=d", &fields)));
    let request = request(&events);
    assert_eq!(
        request.text(),
        "GET /a%20b?c=d HTTP/1.1\r\nhost: example.com\r\ncookie: a=1; b=2\r\naccept: text/html\r\n\
         x-list: 1, 2\r\nte: trailers\r\n\r\n"
            .as_bytes()
    );
    assert_eq!((request.version, request.body, request.keep_alive), (Version::Http2, BodySize::None, true));
    assert_eq!((request.path(), request.query(), request.host()), (&b"/a%20b"[..], &b"c=d"[..], &b"example.com"[..]));
    assert_eq!(events[1..], [(1, part(http::Event::End))]);
}

#[test]
fn a_host_field_stands_for_a_missing_authority() {
    let mut server = server();
    let fields = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), ("host", "a:81")];
    let events = feed(&mut server, &frame(HEADERS, WHOLE, 1, &block(&fields)));
    assert_eq!((request(&events).host(), request(&events).path()), (&b"a:81"[..], &b"*"[..]));
}

#[test]
fn a_body_comes_in_pieces_and_small_ones_together() {
    let mut server = server();
    let large = alloc::vec![b'x'; 4096];
    let input = [
        frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[("content-length", "4102")])),
        frame(DATA, 0, 1, b"ab"),
        frame(DATA, 8, 1, b"\x03cd\0\0\0"),
        frame(DATA, 0, 1, &large),
        frame(DATA, 0, 1, b""),
        frame(DATA, END_STREAM, 1, b"ef"),
    ];
    let events = feed(&mut server, &input.concat());
    assert_eq!(request(&events).body, BodySize::Length(4102));
    let expected = [
        (1, part(body("abcd"))),
        (1, part(http::Event::Body(large.into()))),
        (1, part(body("ef"))),
        (1, part(http::Event::End)),
    ];
    assert_eq!(events[1..], expected);
}

#[test]
fn a_body_of_unknown_length_ends_with_its_stream_and_trailers_are_dropped() {
    let mut server = server();
    let input = [
        frame(HEADERS, END_HEADERS, 1, &head("PUT", "/", &[])),
        frame(DATA, 0, 1, b"ab"),
        frame(HEADERS, WHOLE, 1, &block(&[("x-sum", "1")])),
    ];
    let events = feed(&mut server, &input[..2].concat());
    assert_eq!((request(&events).body, server.is_receiving(StreamId(1))), (BodySize::Chunked, true));
    assert_eq!(events[1..], [(1, part(body("ab")))]);
    assert_eq!(feed(&mut server, &input[2]), [(1, part(http::Event::End))]);
    assert!(!server.is_receiving(StreamId(1)) && server.streams() == 1);
    let tally = server.take_tally();
    assert_eq!((tally.requests, tally.trailers_dropped), (1, 1));
    assert_eq!(server.take_tally(), Tally::default());
}

#[test]
fn a_head_may_come_in_continuations() {
    let mut server = server();
    let block = head("GET", "/long", &[("x-a", "b")]);
    let input = [
        frame(HEADERS, END_STREAM, 1, &block[..10]),
        frame(CONTINUATION, 0, 1, &block[10..11]),
        frame(CONTINUATION, END_HEADERS, 1, &block[11..]),
    ];
    let events = feed(&mut server, &input.concat());
    assert_eq!(request(&events).path(), b"/long");
    assert_eq!(events.len(), 2);
}

#[test]
fn a_hundred_streams_run_side_by_side_and_the_next_is_refused() {
    let mut server = server();
    let mut input: Vec<u8> = (0..100).flat_map(|n| get(2 * n + 1, "/")).collect();
    input.extend_from_slice(&get(201, "/"));
    let events = feed(&mut server, &input);
    let requests = events.iter().filter(|(_, event)| matches!(event, Event::Part(http::Event::Request(_)))).count();
    assert_eq!((requests, server.streams()), (100, 100));
    let refused = Event::Refused(Violation { status: 503, what: Cause::StreamsMax });
    assert_eq!(events.last(), Some(&(201, refused)));
    for n in (0..100).rev() {
        answer(&mut server, 2 * n + 1);
    }
    let frames = written(&mut server);
    assert_eq!(resets(&frames), [(201, ErrorCode::REFUSED_STREAM)]);
    for n in 0..100 {
        assert_eq!(data(&frames, 2 * n + 1), (b"Hello, world!".to_vec(), true), "{n}");
    }
    assert!(server.is_idle());
    feed(&mut server, &get(203, "/again"));
    assert_eq!(server.streams(), 1);
}

/// What is wrong with a request alone is answered on its stream; the connection lives on.
#[test]
fn unsound_requests_are_answered_with_their_status() {
    let many: Vec<_> = (0..70).map(|n| (alloc::format!("x-{n}"), "y")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (&name[..], *value)).collect();
    let long = "x".repeat(70_000);
    let wider = "x".repeat(66_000);
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Cause);
    let cases: &[Case<'_>] = &[
        ("GET", "*", &[], Cause::TargetMalformed),
        ("GET", "/", &[("host", "other")], Cause::HostMalformed),
        ("FROBNICATE", "/", &[], Cause::MethodUnsupported),
        ("GET", "/", &[("expect", "miracles")], Cause::ExpectationUnknown),
        ("GET", "/", &many, Cause::FieldsTooMany),
        ("GET", &alloc::format!("/{}", &long[..17_000]), &[], Cause::TargetTooLong),
        ("GET", "/", &[("x-long", &wider)], Cause::HeadTooLarge),
        ("GET", "/", &[("x-long", &long)], Cause::HeadTooLarge),
    ];
    for (method, path, fields, cause) in cases {
        let mut server = server();
        let block = head(method, path, fields);
        let mut input = Vec::new();
        for (n, piece) in block.chunks(16_384).enumerate() {
            let (kind, end) = (if n == 0 { HEADERS } else { CONTINUATION }, (n + 1) * 16_384 >= block.len());
            let flags = if n == 0 { END_STREAM } else { 0 } | if end { END_HEADERS } else { 0 };
            input.extend_from_slice(&frame(kind, flags, 1, piece));
        }
        let events = feed(&mut server, &input);
        assert_eq!(events, [(1, Event::Refused((*cause).into()))], "{cause}");
        let frames = written(&mut server);
        let head = frames.iter().find(|frame| frame.kind == HEADERS).unwrap();
        let status = alloc::format!("{}", cause.status());
        // Statuses beside a few are literal, in Huffman's code or not; the page names them.
        let (page, _) = data(&frames, 1);
        assert!(page.starts_with(status.as_bytes()) || head.flags & END_STREAM != 0, "{cause}: {frames:?}");
        assert_eq!((server.is_closing(), server.streams()), (None, 0), "{cause}");
        assert_eq!(feed(&mut server, &get(3, "/next")).len(), 2, "{cause}");
    }
}

#[test]
fn a_malformed_request_resets_its_stream_alone() {
    let mut server = server();
    let relative = head("GET", "relative", &[]);
    let connection = head("GET", "/", &[("connection", "close")]);
    let input = [frame(HEADERS, WHOLE, 1, &relative), frame(HEADERS, WHOLE, 3, &connection), get(5, "/")];
    let events = feed(&mut server, &input.concat());
    let refused = |stream| (stream, Event::Refused(Cause::FramingMalformed.into()));
    assert!(events.contains(&refused(1)) && events.contains(&refused(3)), "{events:?}");
    assert_eq!(server.streams(), 1);
    assert_eq!(resets(&written(&mut server)), [(1, ErrorCode::PROTOCOL_ERROR), (3, ErrorCode::PROTOCOL_ERROR)]);
}

#[test]
fn a_body_larger_than_allowed_is_answered_with_413() {
    let limits = Limits { body_bytes: 10, ..Limits::DEFAULT };
    let mut server = server_with(limits.clone());
    let events = feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[("content-length", "11")])));
    assert_eq!(events, [(1, Event::Refused(Cause::BodyTooLarge.into()))]);
    let frames = written(&mut server);
    assert!(data(&frames, 1).0.starts_with(b"413 "));
    assert_eq!(resets(&frames), [(1, ErrorCode::NO_ERROR)]);

    let mut server = server_with(limits);
    feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    assert_eq!(feed(&mut server, &frame(DATA, 0, 1, b"0123456789")).len(), 1);
    assert_eq!(feed(&mut server, &frame(DATA, 0, 1, b"x")), [(1, Event::Cut(Cause::BodyTooLarge))]);
    assert!(data(&written(&mut server), 1).0.starts_with(b"413 "));
    assert_eq!(server.streams(), 0);
}

#[test]
fn an_extended_connect_is_a_get_with_an_upgrade() {
    let mut server = server();
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    let events = feed(&mut server, &frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    let request = request(&events);
    assert_eq!(
        request.text(),
        "GET /chat HTTP/1.1\r\nhost: example.com\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\n\r\n"
            .as_bytes()
    );
    assert_eq!((request.upgrade(), request.body, events.len()), (Some(&b"websocket"[..]), BodySize::Chunked, 1));
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(server.send(StreamId(1), response(accepted), NOW), Ok(Progress::Open));
    assert_eq!(server.send(StreamId(1), body("\x01\x02"), NOW), Ok(Progress::Open));
    let frames = written(&mut server);
    assert_eq!((frames[0].kind, frames[0].flags, frames[0].payload[0]), (HEADERS, END_HEADERS, 0x88));
    assert_eq!(data(&frames, 1), (b"\x01\x02".to_vec(), false));
    assert_eq!(feed(&mut server, &frame(DATA, 0, 1, b"\x03")), [(1, part(body("\x03")))]);
    assert_eq!(feed(&mut server, &frame(DATA, END_STREAM, 1, b"")), [(1, part(http::Event::End))]);
    assert_eq!(server.send(StreamId(1), http::Event::End, NOW), Ok(Progress::Complete));
    assert_eq!(data(&written(&mut server), 1), (b"".to_vec(), true));
    assert!(server.is_idle());
}

#[test]
fn other_tunnels_are_refused() {
    let mut server = server();
    let other = block(&[
        (":method", "CONNECT"),
        (":protocol", "connect-udp"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/"),
    ]);
    let plain = block(&[(":method", "CONNECT"), (":authority", "a:443")]);
    let input = [frame(HEADERS, END_HEADERS, 1, &other), frame(HEADERS, END_HEADERS, 3, &plain)];
    let events = feed(&mut server, &input.concat());
    let refused = |stream, what| (stream, Event::Refused(Violation { status: 501, what }));
    assert_eq!(events, [refused(1, Cause::ProtocolUnsupported), refused(3, Cause::MethodUnsupported)]);
}
