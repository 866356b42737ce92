use super::*;

const CONTEXT: Context<'_> = Context {
    section: "example.com",
    port: 8080,
    remote: REMOTE,
    https: false,
    request_id: 0x1f,
    redispatched: false,
    variables: &[],
};

const REMOTE: PeerAddr =
    PeerAddr::Ip(core::net::SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 200, 1)), 54321));

fn request(head: &str) -> Request {
    Request::parse(head.as_bytes(), &Limits::DEFAULT).unwrap()
}

/// The pairs of a packet as lines `NAME=value`.
fn lines(packet: &[u8]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    pairs(packet).map(|pair| pair.map(|(name, value)| format!("{}={}", text(name), text(value))).unwrap()).collect()
}

fn encode(request: &Request, context: &Context<'_>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    encode_request(&mut out, request, context).unwrap();
    assert_eq!(&out[..6], b"before", "a packet is appended");
    out.split_off(6)
}

fn packet_of(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_pairs(&mut out, pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))).unwrap();
    out
}

#[test]
fn a_request_becomes_its_variables_in_order() {
    let head = "POST /a%20b/c?d=e&f HTTP/1.1\r\nHost: example.com\r\nContent-Type: text/plain\r\nX-Two: 1\r\n\
                Content-Length: 5\r\nx-two: 2\r\nX-Empty:\r\n\r\n";
    assert_eq!(
        lines(&encode(&request(head), &CONTEXT)),
        [
            "REQUEST_METHOD=POST",
            "SCRIPT_NAME=",
            "PATH_INFO=/a%20b/c",
            "QUERY_STRING=d=e&f",
            "CONTENT_TYPE=text/plain",
            "CONTENT_LENGTH=5",
            "SERVER_NAME=example.com",
            "SERVER_PORT=8080",
            "SERVER_PROTOCOL=HTTP/1.1",
            "REMOTE_ADDR=10.0.200.1",
            "REMOTE_PORT=54321",
            "HTTP_HOST=example.com",
            "HTTP_CONTENT_TYPE=text/plain",
            "HTTP_X_TWO=1",
            "HTTP_CONTENT_LENGTH=5",
            "HTTP_X_TWO=2",
            "HTTP_X_EMPTY=",
            "REQUEST_URI=/a%20b/c?d=e&f",
            "REQUEST_SCHEME=http",
            "REQUEST_ID=000000000000001f",
        ]
    );
}

#[test]
fn what_came_by_tls_and_for_the_second_time_says_so_at_the_end() {
    let context = Context { https: true, redispatched: true, variables: &[("SSL_PROTOCOL", "TLSv1.3")], ..CONTEXT };
    let lines = lines(&encode(&request("GET / HTTP/1.0\r\n\r\n"), &context));
    assert!(lines.contains(&"SERVER_PROTOCOL=HTTP/1.0".to_owned()));
    assert_eq!(
        lines[lines.len() - 5..],
        ["REQUEST_SCHEME=https", "REQUEST_ID=000000000000001f", "HTTPS=on", "REDISPATCHED=1", "SSL_PROTOCOL=TLSv1.3"]
    );
}

#[test]
fn the_protocol_is_told_where_it_is_not_http1() {
    let told = [
        (Version::Http2, "HTTP2=on"),
        (Version::Spdy2, "SPDY_VERSION=2"),
        (Version::Spdy3, "SPDY_VERSION=3"),
        (Version::Spdy31, "SPDY_VERSION=3.1"),
    ];
    for (version, expected) in told {
        let mut request = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        request.version = version;
        let lines = lines(&encode(&request, &CONTEXT));
        assert!(lines.contains(&"SERVER_PROTOCOL=HTTP/1.1".to_owned()), "{version}");
        assert_eq!(lines.last().map(String::as_str), Some(expected));
        let schemes = ["HTTP_SCHEME=http", "SERVER_SCHEME=http"];
        let is_spdy = expected.starts_with("SPDY");
        assert!(schemes.iter().all(|scheme| lines.iter().any(|line| line == scheme) == is_spdy), "{lines:?}");
    }
}

#[test]
fn nothing_is_told_of_an_upgrade_to_http2() {
    for (fields, expected) in [
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n", &[][..]),
        (
            "HTTP2-Settings: AAM\r\nupgrade: H2C\r\nconnection: keep-alive,upgrade, x\r\n",
            &["HTTP_CONNECTION=keep-alive, x"],
        ),
        ("Upgrade: h2c\r\nX: y\r\n", &["HTTP_X=y"]),
        ("Upgrade: TLS/1.0\r\nConnection: upgrade\r\n", &["HTTP_UPGRADE=TLS/1.0", "HTTP_CONNECTION=upgrade"]),
        (
            "Upgrade: websocket, h2c\r\nConnection: upgrade\r\n",
            &["HTTP_UPGRADE=websocket, h2c", "HTTP_CONNECTION=upgrade"],
        ),
    ] {
        let lines = lines(&encode(&request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")), &CONTEXT));
        let http: Vec<_> = lines.iter().filter(|line| line.starts_with("HTTP_") && *line != "HTTP_HOST=a").collect();
        assert_eq!(http, expected, "{fields}");
    }
}

#[test]
fn fields_that_could_pose_as_others_are_left_out() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nProxy: evil:80\r\nX_Forwarded_For: 1\r\nPROXY: b\r\nProxys: c\r\n\r\n";
    let lines = lines(&encode(&request(head), &CONTEXT));
    let http: Vec<_> = lines.iter().filter(|line| line.starts_with("HTTP_")).collect();
    assert_eq!(http, ["HTTP_HOST=a", "HTTP_PROXYS=c"]);
}

#[test]
fn the_authority_of_an_absolute_target_replaces_host() {
    let lines_of = |head: &str| lines(&encode(&request(head), &CONTEXT));
    let lines = lines_of("GET http://real.example:81/x?y HTTP/1.1\r\nA: b\r\nHost: other\r\n\r\n");
    for line in ["PATH_INFO=/x", "QUERY_STRING=y", "HTTP_HOST=real.example:81", "REQUEST_URI=/x?y"] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("other")), "{lines:?}");

    let lines = lines_of("GET http://real.example HTTP/1.0\r\n\r\n");
    for line in ["PATH_INFO=/", "QUERY_STRING=", "HTTP_HOST=real.example", "REQUEST_URI=/"] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    assert!(lines_of("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").contains(&"REQUEST_URI=*".to_owned()));
    assert!(lines_of("GET /a? HTTP/1.1\r\nHost: a\r\n\r\n").contains(&"REQUEST_URI=/a?".to_owned()));
}

#[test]
fn the_server_is_the_section_or_what_the_client_asked_for() {
    for (section, name, port) in [
        ("example.com", "example.com", "8080"),
        ("example.com:81", "example.com", "81"),
        ("[::1]:81", "[::1]", "81"),
        ("[::1]", "[::1]", "8080"),
        ("*", "asked.example", "8080"),
    ] {
        let head = "GET / HTTP/1.1\r\nHost: asked.example:9\r\n\r\n";
        let lines = lines(&encode(&request(head), &Context { section, ..CONTEXT }));
        assert_eq!(lines[4..6], [format!("SERVER_NAME={name}"), format!("SERVER_PORT={port}")]);
    }
    let lines = lines(&encode(&request("GET / HTTP/1.0\r\n\r\n"), &Context { section: "*", ..CONTEXT }));
    assert_eq!(lines[4], "SERVER_NAME=*");
}

#[test]
fn every_kind_of_remote_address_is_told() {
    for (remote, address, port) in [
        (PeerAddr::Ip("255.0.10.9:1".parse().unwrap()), "255.0.10.9", "1"),
        (PeerAddr::Ip("[2001:db8::1]:65535".parse().unwrap()), "2001:db8::1", "65535"),
        (PeerAddr::Ip("[::ffff:1.2.3.4]:5".parse().unwrap()), "1.2.3.4", "5"),
        (PeerAddr::Unix, "unix:", "0"),
    ] {
        let lines = lines(&encode(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &Context { remote, ..CONTEXT }));
        assert!(lines.contains(&format!("REMOTE_ADDR={address}")), "{lines:?}");
        assert!(lines.contains(&format!("REMOTE_PORT={port}")), "{lines:?}");
    }
}

#[test]
fn a_packet_ends_at_its_bound_and_leaves_nothing_behind_past_it() {
    let with_value = |length: usize| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "v".repeat(length));
        Request::parse(head.as_bytes(), &Limits { head_bytes: 1 << 20, ..Limits::DEFAULT }).unwrap()
    };
    let rest = encode(&with_value(0), &CONTEXT).len() - HEADER;
    let packet = encode(&with_value(PACKET_MAX - rest), &CONTEXT);
    assert_eq!(packet[..4], [0, 0xff, 0xff, 0]);
    assert!(lines(&packet).iter().any(|line| line.len() > 60_000));
    for length in [PACKET_MAX - rest + 1, 65_535, 65_536, 65_537, 500_000] {
        let mut out = b"kept".to_vec();
        assert_eq!(encode_request(&mut out, &with_value(length), &CONTEXT), Err(Cause::PacketTooLarge));
        assert_eq!(out, b"kept");
    }
    let mut out = Vec::new();
    let long = vec![b'x'; 65_536];
    assert_eq!(encode_pairs(&mut out, [(&b"A"[..], &long[..])]), Err(Cause::PacketTooLarge));
    assert!(out.is_empty());
}

#[test]
fn one_reservation_is_enough_for_an_ordinary_request() {
    let head = "GET /a/rather/ordinary/path?with=a&query=string HTTP/1.1\r\nHost: www.example.com:8080\r\n\
                User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n\
                Cookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n";
    let remote = PeerAddr::Ip("[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap());
    let context = Context { section: "*", remote, https: true, redispatched: true, request_id: u64::MAX, ..CONTEXT };
    let request = request(head);
    let mut out = Vec::new();
    encode_request(&mut out, &request, &context).unwrap();
    let reserved = FIXED_PAIRS + 2 * request.target().len() + request.text().len() + 8 * request.fields.len();
    assert!(out.len() <= reserved, "{} > {reserved}", out.len());
}

#[test]
fn both_conventions_of_the_size_are_read() {
    let mut packet = packet_of(&[("A", "1"), ("B", "")]);
    assert_eq!(lines(&packet), ["A=1", "B="]);
    packet[1] += 4;
    assert_eq!(lines(&packet), ["A=1", "B="], "the original server counted the four bytes in");
    packet[1] += 1;
    assert_eq!(pairs(&packet).collect::<Vec<_>>(), [Err(Malformed)]);
    assert_eq!(pairs(&[0, 0, 0, 0]).count(), 0);
}

#[test]
fn a_packet_that_is_cut_anywhere_is_malformed_once_and_at_the_end() {
    let whole = packet_of(&[("NAME", "value"), ("OTHER", "more")]);
    for end in 0..whole.len() {
        let mut cut = whole[..end].to_vec();
        if end >= HEADER {
            cut[1] = (end - HEADER) as u8;
        }
        let read: Vec<_> = pairs(&cut).collect();
        let boundary = end == HEADER || end == HEADER + 13;
        assert_eq!(read.last().is_some_and(Result::is_err), !boundary, "cut at {end}: {read:?}");
        assert_eq!(read.iter().filter(|pair| pair.is_err()).count(), usize::from(!boundary));
    }
    for bytes in [&[1, 0, 0, 0][..], &[0, 0, 0, 1], &[0, 4, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(pairs(bytes).collect::<Vec<_>>(), [Err(Malformed)], "{bytes:?}");
    }
}

#[test]
fn a_response_is_read_as_if_it_had_been_a_head() {
    let packet = packet_of(&[("STATUS", "404 Not Found"), ("Content-Type", "text/plain"), ("Content-Length", "3")]);
    let response = decode_response(&packet, &Limits::DEFAULT).unwrap();
    assert_eq!(response.status, 404);
    assert_eq!(
        &response.text()[..],
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"
    );
    assert_eq!(response.framing, crate::http::Framing::Length(3));
    assert_eq!(decode_response(&packet_of(&[("STATUS", "200")]), &Limits::DEFAULT).unwrap().status, 200);
}

#[test]
fn a_response_that_could_say_more_than_its_pairs_is_refused() {
    let refused = |pairs: &[(&str, &str)]| {
        assert_eq!(decode_response(&packet_of(pairs), &Limits::DEFAULT), Err(Cause::ResponseMalformed), "{pairs:?}");
    };
    refused(&[]);
    refused(&[("Content-Type", "text/plain"), ("STATUS", "200 OK")]);
    for status in ["", "20", "2000", "abc", "200OK", "200 OK\r\nA: b", "200 OK\n", " 200 OK", "099 Low"] {
        refused(&[("STATUS", status)]);
    }
    for name in ["A: b\r\nC", "A:", "A b", "A\n", "\0", "A\r"] {
        refused(&[("STATUS", "200 OK"), (name, "v")]);
    }
    for value in ["a\r\nB: c", "a\n", "a\r", "a\0"] {
        refused(&[("STATUS", "200 OK"), ("A", value)]);
    }
    refused(&[("STATUS", "200 OK"), ("Content-Length", "3"), ("Transfer-Encoding", "chunked")]);
    refused(&[("STATUS", "200 OK"), ("Content-Length", "3"), ("Content-Length", "4")]);
    let mut cut = packet_of(&[("STATUS", "200 OK"), ("A", "b")]);
    cut.pop();
    assert_eq!(decode_response(&cut, &Limits::DEFAULT), Err(Cause::ResponseMalformed));
}
