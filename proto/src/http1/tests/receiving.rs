//! What becomes of the bytes that come.

use super::*;

fn request_of(text: &str) -> Request {
    let mut server = server();
    match feed(&mut server, text.as_bytes()).into_iter().next() {
        Some(Event::Request(request)) => request,
        other => panic!("{text:?}: {other:?}, {:?}", server.violation()),
    }
}

fn refusal_of(text: &[u8]) -> (u16, Cause) {
    let mut server = server();
    let events = feed(&mut server, text);
    assert_eq!(events, [], "{}", text.escape_ascii());
    let violation = server.violation().unwrap_or_else(|| panic!("taken: {}", text.escape_ascii()));
    assert_eq!(server.is_closing(), Some(violation.what));
    let page = written(&mut server);
    assert!(page.starts_with(&alloc::format!("HTTP/1.1 {} ", violation.status)), "{page}");
    assert!(page.contains("\r\nConnection: close\r\n") && page.contains(violation.what.name()), "{page}");
    (violation.status, violation.what)
}

#[test]
fn a_request_shows_its_parts() {
    let request =
        request_of("GET /a/b%20c?d=e?f HTTP/1.1\r\nHost: Example.com:8080\r\nX-Empty:\r\nAccept: \t*/* \r\n\r\n");
    assert_eq!(request.method(), b"GET");
    assert_eq!(request.target(), b"/a/b%20c?d=e?f");
    assert_eq!((request.path(), request.query()), (&b"/a/b%20c"[..], &b"d=e?f"[..]));
    assert_eq!((request.host(), request.hostname()), (&b"Example.com:8080"[..], &b"Example.com"[..]));
    assert_eq!((request.version, request.body), (Version::Http11, BodySize::None));
    assert!(request.keep_alive && !request.expect_continue && !request.is_head());
    assert!(request.is_safe() && request.is_idempotent());
    assert_eq!(request.accept(), Some(&b"*/*"[..]));
    assert_eq!(request.upgrade(), None);
    let fields: Vec<_> = request.fields.iter().collect();
    let expected: [(&[u8], &[u8]); 3] = [(b"Host", b"Example.com:8080"), (b"X-Empty", b""), (b"Accept", b"*/*")];
    assert_eq!(fields, expected);
    assert_eq!(request.fields.find("ACCEPT"), Some(&b"*/*"[..]));
    assert_eq!(request.fields.find("accep"), None);
}

#[test]
fn an_absolute_form_replaces_the_host() {
    let request = request_of("GET http://b.example:81?q HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(request.host(), b"b.example:81");
    assert_eq!((request.path(), request.query()), (&b"/"[..], &b"q"[..]));
    let request = request_of("GET HTTPS://[::1]/x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((request.host(), request.hostname(), request.path()), (&b"[::1]"[..], &b"[::1]"[..], &b"/x"[..]));
}

#[test]
fn requests_that_are_unusual_but_right_are_taken() {
    assert_eq!(request_of("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path(), b"*");
    assert_eq!(request_of("GET / HTTP/1.0\r\n\r\n").host(), b"");
    assert!(!request_of("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(request_of("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    assert!(!request_of("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n").keep_alive);
    assert_eq!(request_of("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").method(), b"GET");
    assert_eq!(request_of("VERSION-CONTROL / HTTP/1.1\r\nHost: a\r\n\r\n").method(), b"VERSION-CONTROL");
    let twice = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nab";
    assert_eq!(request_of(twice).body, BodySize::Length(2));
    let upgrade =
        request_of("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(upgrade.upgrade(), Some(&b"websocket"[..]));
    assert_eq!(request_of("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").upgrade(), None);
    for host in ["a.b-c_d~", "127.0.0.1", "127.0.0.1:80", "[::1]", "[fe80::1]:8080", "a:", "x%41"] {
        assert_eq!(request_of(&alloc::format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).host(), host.as_bytes());
    }
}

#[test]
fn heads_that_no_reader_should_take_are_refused_by_name() {
    use Cause::*;
    let with = |fields: &str| alloc::format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes();
    for (text, status, cause) in [
        (b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), 400, BareLineBreak),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), 400, BareLineBreak),
        (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n".to_vec(), 400, BareLineBreak),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, BareLineBreak),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, BareLineBreak),
        (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"\x16\x03\x01\x02\x00".to_vec(), 400, HeadMalformed),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET /\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(), 400, LineFolding),
        (with("X: a\r\n b"), 400, LineFolding),
        (with("X: a\r\n\tb"), 400, LineFolding),
        (with("X: a\0b"), 400, NulByte),
        (with("X\0: ab"), 400, NulByte),
        (with("X : a"), 400, HeadMalformed),
        (with("X\t: a"), 400, HeadMalformed),
        (with(": a"), 400, HeadMalformed),
        (with("X"), 400, HeadMalformed),
        (with("X Y: a"), 400, HeadMalformed),
        (with("X: a\x0bb"), 400, HeadMalformed),
        (with("X: a\x7fb"), 400, HeadMalformed),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET a.example HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, TargetMalformed),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400, HostMissing),
        (b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(), 400, HostMissing),
        (with("Host: a"), 400, HostMalformed),
        (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400, LengthWithEncoding),
        (with("Transfer-Encoding: identity\r\nContent-Length: 1"), 400, LengthWithEncoding),
        (with("Content-Length: 1\r\nContent-Length: 2"), 400, LengthConflict),
        (with("Content-Length: 1\r\nContent-Length: 01"), 400, LengthConflict),
        (with("Content-Length: 1, 1"), 400, LengthMalformed),
        (with("Content-Length:"), 400, LengthMalformed),
        (with("Content-Length: +1"), 400, LengthMalformed),
        (with("Content-Length: -1"), 400, LengthMalformed),
        (with("Content-Length: 0x1"), 400, LengthMalformed),
        (with("Content-Length: 1 2"), 400, LengthMalformed),
        (with("Content-Length: 18446744073709551616"), 400, LengthMalformed),
        (with("Transfer-Encoding: gzip, chunked"), 501, EncodingUnsupported),
        (with("Transfer-Encoding: chunked, chunked"), 501, EncodingUnsupported),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 501, EncodingUnsupported),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), 501, EncodingUnsupported),
        (with("Transfer-Encoding: xchunked"), 501, EncodingUnsupported),
        (with("Transfer-Encoding: \"chunked\""), 501, EncodingUnsupported),
        (with("Transfer-Encoding: chunked;q=1"), 501, EncodingUnsupported),
        (with("Transfer-Encoding:"), 501, EncodingUnsupported),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), 400, EncodingUnsupported),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_vec(), 501, MethodUnsupported),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 501, MethodUnsupported),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 501, MethodUnsupported),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(), 505, VersionUnsupported),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(), 505, VersionUnsupported),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505, VersionUnsupported),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, HeadMalformed),
        (with("Expect: 200-ok"), 417, ExpectationUnknown),
    ] {
        assert_eq!(refusal_of(&text), (status, cause), "{}", text.escape_ascii());
    }
}

#[test]
fn malformed_hosts_are_refused() {
    for host in [
        "", "a b", "a/b", "a@b", "a:b", "a:80:80", "a:123456", "a:65536", "[::1", "::1", "[::1]x", "[v1.x]", "a%4",
        "a%zz", "a\\b", "a\"b", ":80", "a?b", "<a>",
    ] {
        let text = alloc::format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refusal_of(text.as_bytes()), (400, Cause::HostMalformed), "{host}");
    }
}

#[test]
fn limits_are_answered_as_soon_as_they_are_passed() {
    let limits = Limits { head_bytes: 300, target_bytes: 20, fields: 2, ..Limits::DEFAULT };
    let refusal = |text: &str| {
        let mut server = server_with(limits.clone());
        feed(&mut server, text.as_bytes());
        server.violation().map(|violation| (violation.status, violation.what))
    };
    let target = "x".repeat(19);
    assert_eq!(refusal(&alloc::format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")), None);
    let too_long = Some((414, Cause::TargetTooLong));
    assert_eq!(refusal(&alloc::format!("GET /{target}y HTTP/1.1\r\nHost: a\r\n\r\n")), too_long);
    assert_eq!(refusal(&alloc::format!("GET /{}", "x".repeat(100))), too_long);
    let fields = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n";
    assert_eq!(refusal(fields), Some((431, Cause::FieldsTooMany)));
    let head = alloc::format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "b".repeat(300));
    assert_eq!(refusal(&head), Some((431, Cause::HeadTooLarge)));
}

#[test]
fn bodies_come_in_pieces_and_end() {
    let mut server = server();
    let events = feed(&mut server, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(events[1..], [body("ab")]);
    assert!(!server.request_complete());
    assert_eq!(feed(&mut server, b"cde"), [body("cde"), Event::End]);
    assert!(server.request_complete());
}

#[test]
fn chunks_at_hand_come_as_one_piece() {
    let mut server = server();
    let events = feed(
        &mut server,
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n3\r\nd",
    );
    assert_eq!(events[1..], [body("abcd")]);
    assert_eq!(feed(&mut server, b"ef\r\n0\r\nTrailer: x\r\n\r\n"), [body("ef"), Event::End]);
}

#[test]
fn a_fault_in_the_framing_comes_after_what_was_right() {
    let mut server = server();
    let events = feed(&mut server, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx");
    assert_eq!(events[1..], [body("a")]);
    assert_eq!(server.violation(), Some(Cause::ChunkMalformed.into()));
    assert!(written(&mut server).starts_with("HTTP/1.1 400 "));
    assert_eq!(feed(&mut server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []);
    assert_eq!(written(&mut server), "");
}

#[test]
fn bodies_over_the_limit_are_refused() {
    let mut announced = server();
    assert!(matches!(
        offer(&mut announced, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").0[..],
        [Event::Request(_)]
    ));
    assert_eq!(announced.limit_body(4, NOW), Err(Cause::BodyTooLarge.into()));
    assert!(written(&mut announced).starts_with("HTTP/1.1 413 "));
    assert_eq!(announced.is_closing(), Some(Cause::BodyTooLarge));

    let mut chunked = server();
    offer(&mut chunked, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked.limit_body(4, NOW), Ok(()));
    assert_eq!(feed(&mut chunked, b"3\r\nabc\r\n"), [body("abc")]);
    assert_eq!(chunked.violation(), None);
    assert_eq!(feed(&mut chunked, b"2\r\n"), []);
    assert_eq!(chunked.violation(), Some(Cause::BodyTooLarge.into()));

    let mut by_default = server_with(Limits { body_bytes: 4, ..Limits::DEFAULT });
    let events = feed(&mut by_default, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(joined(&events), b"");
    assert_eq!(by_default.violation(), Some(Cause::BodyTooLarge.into()));
}

#[test]
fn pipelined_requests_wait_for_their_turn() {
    let two = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut server = server();
    let (events, rest) = offer(&mut server, two);
    assert!(matches!(&events[..], [Event::Request(first), Event::End] if first.path() == b"/1"));
    assert_eq!(rest, &two[two.len() / 2..]);
    assert_eq!(server.room(), 0);
    server.send(response("HTTP/1.1 204 No Content\r\n\r\n"), NOW).unwrap();
    assert!(server.room() > 0 && server.is_idle());
    let (events, rest) = offer(&mut server, rest);
    assert!(matches!(&events[..], [Event::Request(second), Event::End] if second.path() == b"/2"));
    assert!(rest.is_empty());
}

#[test]
fn an_end_of_the_connection_is_clean_only_between_requests() {
    let mut idle = server();
    idle.receive_eof(NOW);
    assert_eq!(idle.is_closing(), Some(Cause::Complete));

    for partial in ["GET / HT", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"] {
        let mut cut = server();
        offer(&mut cut, partial.as_bytes());
        cut.receive_eof(NOW);
        assert_eq!(cut.is_closing(), Some(Cause::MessageCut), "{partial}");
        assert_eq!(written(&mut cut), "");
    }

    let mut waiting = asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    waiting.receive_eof(NOW);
    assert_eq!(waiting.is_closing(), None);
    waiting.send(response("HTTP/1.1 204 No Content\r\n\r\n"), NOW).unwrap();
    assert_eq!(waiting.is_closing(), None);
    assert_eq!(feed(&mut waiting, b""), []);
    assert_eq!(waiting.is_closing(), Some(Cause::Complete));
}

#[test]
fn a_client_refuses_what_it_did_not_ask_for() {
    let mut client = client();
    assert_eq!(feed(&mut client, b"HTTP/1.1 200 OK\r\n\r\n"), []);
    assert_eq!(client.violation(), Some(Cause::BytesUnexpected.into()));
    assert_eq!(written(&mut client), "");
}

#[test]
fn nodes_heads_are_parsed_and_what_follows_is_returned() {
    let text = Bytes::from_static(b"HTTP/1.0 404 Not here\r\nConnection: Close\r\nContent-Length: 5\r\n\r\nhello");
    let (head, rest) = Response::parse(text, &Limits::DEFAULT).unwrap();
    assert_eq!((head.status, head.version, head.framing), (404, Version::Http10, Framing::Length(5)));
    assert!(head.close && !head.is_interim() && head.is_bodiless(b"HEAD") && !head.is_bodiless(b"GET"));
    assert_eq!(&rest[..], b"hello");
}

#[test]
fn unsound_heads_of_nodes_are_refused() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ] {
        let result = Response::parse(Bytes::from_static(text.as_bytes()), &Limits::DEFAULT);
        assert_eq!(result, Err(Cause::ResponseMalformed), "{text:?}");
    }
}

#[test]
fn builders_refuse_what_would_change_the_head() {
    assert!(Request::builder("GET", "/", "a").field("X", "a b").build().is_ok());
    assert!(Request::builder("GET", "/ HTTP/1.1\r\nX: y", "a").build().is_err());
    assert!(Request::builder("GET /x", "/", "a").build().is_err());
    assert!(Request::builder("GET", "/", "a\r\nX: y").build().is_err());
    assert!(Request::builder("GET", "/", "a").field("X", "a\r\nB: c").build().is_err());
    assert!(Request::builder("GET", "/", "a").field("X: y", "a").build().is_err());
    assert!(Request::builder("GET", "/", "a").field("X", "a\0").build().is_err());
    assert!(Request::builder("GET", "/", "a").field("Content-Length", "1").body(BodySize::Chunked).build().is_err());
    assert!(Response::builder(200).field("X", "a\nb").build().is_err());
    assert!(Response::builder(99).build().is_err());
    let response = Response::builder(200).field("X", "y").framing(Framing::Length(3)).build().unwrap();
    assert_eq!(&response.text()[..], b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\n");
}
