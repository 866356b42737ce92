//! Requests: how they show themselves, and what is refused.

use super::*;

/// What becomes of one request with these fields on stream 1.
fn asked_with(version: Version, fields: &[(&str, &str)]) -> (Vec<(u32, Event)>, Vec<Frame>) {
    let (mut server, mut peer) = server(version);
    let events = feed(&mut server, &peer.syn(1, FIN, fields));
    assert_eq!(server.is_closing(), None);
    (events, written(&mut server))
}

/// The cause of a request that is answered with a page of this status.
fn page(version: Version, fields: &[(&str, &str)], status: u16) -> Cause {
    let (events, frames) = asked_with(version, fields);
    let [(1, Event::Refused(Violation { status: found, what }))] = events[..] else { panic!("{events:?}") };
    assert_eq!(found, status);
    let fields = Peer::new(version).fields(&frames[0]);
    assert!(fields[0].1.starts_with(&alloc::format!("{status} ")), "{fields:?}");
    assert!(data_of(&frames, 1).1);
    what
}

#[test]
fn a_request_shows_itself_as_http1_would_write_it() {
    for version in Version::ALL {
        let more = [("cookie", "a=1\0b=2"), ("accept", "text/html\0*/*"), ("x-empty", ""), ("te", "trailers")];
        let (events, _) = asked_with(version, &head(version, "GET", "/p?q", &more));
        let expected =
            "GET /p?q HTTP/1.1\r\nhost: example.com\r\ncookie: a=1; b=2\r\naccept: text/html, */*\r\nx-empty: \r\n\r\n";
        let request = request(&events);
        assert_eq!(request.text(), expected.as_bytes());
        assert_eq!((request.version, request.body), (version.into(), BodySize::None));
        assert_eq!(request.host(), b"example.com");
    }
}

#[test]
fn a_body_comes_in_pieces_and_ends_once() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let input = [
            peer.post(1, &[("expect", "100-continue")]),
            data(1, 0, b"abc"),
            data(1, 0, b""),
            data(1, 0, b"de"),
            data(1, FIN, b""),
        ];
        let events = feed(&mut server, &input.concat());
        assert_eq!((request(&events).body, request(&events).expect_continue), (BodySize::Chunked, false));
        assert_eq!(events[1..], [(1, part(body("abcde"))), (1, part(http::Event::End))]);
        assert!(!server.is_receiving(StreamId(1)));
    }
}

#[test]
fn an_end_without_data_ends_a_body_that_its_length_announced() {
    let (mut server, mut peer) = server(Version::V31);
    let input = [peer.post(1, &[("content-length", "2")]), data(1, 0, b"ab"), data(1, FIN, b"")];
    let events = feed(&mut server, &input.concat());
    assert_eq!(request(&events).body, BodySize::Length(2));
    assert_eq!(events[1..], [(1, part(body("ab"))), (1, part(http::Event::End))]);
    // One that is empty from the start.
    let input = [peer.post(3, &[("content-length", "0")]), data(3, FIN, b"")];
    assert_eq!(feed(&mut server, &input.concat())[1..], [(3, part(http::Event::End))]);
}

#[test]
fn large_pieces_of_a_body_are_handed_on_as_they_come() {
    let (mut server, mut peer) = server(Version::V3);
    feed(&mut server, &peer.post(1, &[]));
    let input = data(1, FIN, &[7; 60_000]);
    let mut got = 0;
    for chunk in input.chunks(5000) {
        for (_, event) in feed(&mut server, chunk) {
            if let Event::Part(http::Event::Body(piece)) = event {
                got += piece.len();
                server.release(StreamId(1), piece.len(), NOW);
            } else {
                assert_eq!((event, got), (part(http::Event::End), 60_000));
            }
        }
    }
    assert_eq!(got, 60_000);
}

#[test]
fn a_body_of_another_length_than_announced_is_answered_with_400() {
    for version in Version::ALL {
        assert_eq!(page(version, &head(version, "POST", "/", &[("content-length", "2")]), 400), Cause::LengthWrong);
        assert_eq!(asked_with(version, &head(version, "POST", "/", &[("content-length", "0")])).0.len(), 2);
        for input in [[data(1, 0, b"abc"), data(1, 0, b"d")], [data(1, 0, b"a"), data(1, FIN, b"")]] {
            let (mut server, mut peer) = server(version);
            feed(&mut server, &peer.post(1, &[("content-length", "2")]));
            let events = feed(&mut server, &input.concat());
            assert_eq!(events.last(), Some(&(1, cut(Cause::LengthWrong))), "{events:?}");
            let frames = written(&mut server);
            assert_eq!(peer.fields(of_kind(&frames, SYN_REPLY)[0])[0].1, "400 Bad Request");
            assert_eq!(server.is_closing(), None);
        }
    }
}

#[test]
fn a_body_larger_than_allowed_is_answered_with_413_or_cut() {
    let limits = Limits { body_bytes: 10, ..Limits::DEFAULT };
    let (mut server, mut peer) = server_with(Version::V3, limits);
    feed(&mut server, &peer.post(1, &[]));
    assert_eq!(feed(&mut server, &data(1, 0, b"0123456789")).len(), 1);
    assert_eq!(feed(&mut server, &data(1, 0, b"x")), [(1, cut(Cause::BodyTooLarge))]);
    assert_eq!(peer.fields(&written(&mut server)[0])[0].1, "413 Content Too Large");
    // What is still on its way is nobody's, and does no harm.
    assert_eq!(feed(&mut server, &[data(1, 0, b"more"), data(1, FIN, b"")].concat()), []);
    assert_eq!(server.streams(), 0);

    let events = feed(&mut server, &peer.post(3, &[("content-length", "11")]));
    assert_eq!(events, [(3, refused(Cause::BodyTooLarge))]);

    feed(&mut server, &peer.post(5, &[]));
    server.send(StreamId(5), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    written(&mut server);
    assert_eq!(feed(&mut server, &data(5, 0, &[0; 11])), [(5, cut(Cause::BodyTooLarge))]);
    assert_eq!(resets(&written(&mut server)), [(5, StatusCode::CANCEL)]);

    feed(&mut server, &[peer.post(7, &[]), data(7, 0, b"abc")].concat());
    assert!(server.limit_body(StreamId(7), 2, NOW).is_err());
    feed(&mut server, &peer.post(9, &[]));
    assert!(server.limit_body(StreamId(9), 4, NOW).is_ok());
    assert_eq!(feed(&mut server, &data(9, 0, b"abcde")), [(9, cut(Cause::BodyTooLarge))]);
}

#[test]
fn a_frame_that_has_begun_counts_in_full_against_a_bound_that_comes_later() {
    for version in Version::ALL {
        for (max, is_within) in [(999, false), (1000, true)] {
            let (mut server, mut peer) = server(version);
            let frame = data(1, 0, &[0; 1000]);
            server.receive(&[&peer.post(1, &[])[..], &frame[..HEADER + 1]].concat(), NOW);
            assert!(matches!(server.poll_event(), Some((_, Event::Part(http::Event::Request(_))))));
            assert_eq!(server.limit_body(StreamId(1), max, NOW).is_ok(), is_within);
            let events = feed(&mut server, &frame[HEADER + 1..]);
            assert_eq!(events.is_empty(), !is_within);
            let frames = written(&mut server);
            assert_eq!(data_of(&frames, 1).1, !is_within);
            // Not one byte more.
            let more = if is_within { alloc::vec![(1, cut(Cause::BodyTooLarge))] } else { Vec::new() };
            assert_eq!(feed(&mut server, &data(1, 0, b"x")), more);
        }
    }
}

#[test]
fn a_head_that_lacks_something_is_answered_with_400() {
    for version in Version::ALL {
        let whole = head(version, "GET", "/", &[]);
        for missing in 0..whole.len() {
            let mut fields = whole.clone();
            let (name, _) = fields.remove(missing);
            let expected = if name.ends_with("host") { Cause::HostMissing } else { Cause::HeadMalformed };
            assert_eq!(page(version, &fields, 400), expected, "{name}");
        }
    }
}

#[test]
fn heads_that_http1_would_refuse_are_refused() {
    for version in Version::ALL {
        let with = |method, path, more: &[(&'static str, &'static str)], status| {
            page(version, &head(version, method, path, more), status)
        };
        assert_eq!(with("GET", "ftp://other/", &[], 400), Cause::TargetMalformed);
        assert_eq!(with("GET", "/ HTTP/1.1", &[], 400), Cause::TargetMalformed);
        assert_eq!(with("GET /x", "/", &[], 400), Cause::TargetMalformed);
        assert_eq!(with("GET", "", &[], 400), Cause::TargetMalformed);
        assert_eq!(with("CONNECT", "/", &[], 501), Cause::MethodUnsupported);
        assert_eq!(with("GET", "/", &[("content-length", "x")], 400), Cause::LengthMalformed);
        assert_eq!(with("GET", "/", &[("content-length", "1\x002")], 400), Cause::LengthMalformed);
        // In SPDY/2 most of them are ignored.
        let forbidden = ["transfer-encoding", "connection", "keep-alive", "proxy-connection"];
        for name in &forbidden[..if version == Version::V2 { 1 } else { 4 }] {
            assert_eq!(with("GET", "/", &[(name, "x")], 400), Cause::FieldForbidden, "{name}");
        }
        let mut fields = head(version, "GET", "/", &[]);
        fields[2].1 = "HTTP/2.0";
        assert_eq!(page(version, &fields, 505), Cause::VersionUnsupported);
        let mut fields = head(version, "GET", "/", &[]);
        fields[3].1 = "a b";
        assert_eq!(page(version, &fields, 400), Cause::HostMalformed);
        let mut fields = head(version, "GET", "/", &[]);
        fields[4].1 = "ftp";
        assert_eq!(page(version, &fields, 400), Cause::TargetMalformed);
    }
    assert_eq!(page(Version::V3, &head(Version::V3, "GET", "http://other/", &[]), 400), Cause::TargetMalformed);
    assert_eq!(page(Version::V3, &head(Version::V3, "GET", "/", &[("host", "x")]), 400), Cause::FieldForbidden);
    assert_eq!(page(Version::V3, &head(Version::V3, "GET", "/", &[(":x", "x")]), 400), Cause::HeadMalformed);
}

#[test]
fn heads_larger_than_allowed_are_answered_with_431() {
    let long = "x".repeat(70_000);
    let events = asked_with(Version::V3, &head(Version::V3, "GET", "/", &[("x-long", &long)])).0;
    assert_eq!(events, [(1, Event::Refused(Violation { status: 431, what: Cause::HeadTooLarge }))]);
    let names: Vec<String> = (0..70).map(|n| alloc::format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "y")).collect();
    let events = asked_with(Version::V3, &head(Version::V3, "GET", "/", &many)).0;
    assert_eq!(events, [(1, Event::Refused(Violation { status: 431, what: Cause::FieldsTooMany }))]);
    let path = alloc::format!("/{}", "x".repeat(17_000));
    assert_eq!(page(Version::V2, &head(Version::V2, "GET", &path, &[]), 414), Cause::TargetTooLong);
}

#[test]
fn a_block_that_breaks_the_rules_ends_its_stream_alone() {
    for version in Version::ALL {
        for fields in [&[("a", "x"), ("a", "y")][..], &[("", "x")], &[("a", "\0")], &[("a", "b\r\nc: d")], &[]] {
            let (mut server, mut peer) = server(version);
            let all = head(version, "GET", "/", fields);
            let input = if fields.is_empty() {
                // Something behind the last field.
                let mut block = Vec::new();
                BlockWriter::new(&mut block, version).finish();
                block.push(0);
                let fixed = b"\0\0\0\x01\0\0\0\0\0\0";
                control(version, SYN_STREAM, FIN, &[&fixed[..], &peer.compress(&block)].concat())
            } else {
                peer.syn(1, FIN, &all)
            };
            assert_eq!(feed(&mut server, &input), [(1, refused(Cause::BlockMalformed))], "{fields:?}");
            assert_eq!(resets(&written(&mut server)), [(1, StatusCode::PROTOCOL_ERROR)]);
            // The state of the compressor is whole.
            assert_eq!(feed(&mut server, &peer.get(3, "/")).len(), 2);
        }
    }
}

#[test]
fn what_cannot_be_decompressed_ends_the_connection() {
    for version in Version::ALL {
        let (mut server, _) = server(version);
        let input = control(version, SYN_STREAM, FIN, b"\0\0\0\x01\0\0\0\0\0\0\x78\xbb\0\0\0\0garbage");
        assert_eq!(violation(&mut server, &input), Cause::CompressionMalformed);
    }
}

#[test]
fn numbers_of_streams_only_grow_and_are_odd() {
    let (mut server, mut peer) = server(Version::V3);
    feed(&mut server, &peer.get(5, "/"));
    assert_eq!(feed(&mut server, &peer.get(5, "/")), [(5, cut(Cause::FramingMalformed))]);
    assert_eq!(resets(&written(&mut server)), [(5, StatusCode::PROTOCOL_ERROR)]);
    assert_eq!(violation(&mut server, &peer.get(3, "/")), Cause::FramingMalformed);
    for stream in [0, 2] {
        let (mut server, mut peer) = asked(Version::V2);
        assert_eq!(violation(&mut server, &peer.get(stream, "/")), Cause::FramingMalformed);
        peer = Peer::new(Version::V2);
        assert_eq!(feed(&mut server, &peer.get(7, "/")), []);
    }
}

#[test]
fn frames_for_streams_that_are_not_there() {
    let (mut server, mut peer) = asked(Version::V3);
    feed(&mut server, &data(1, 0, b"behind the end"));
    feed(&mut server, &data(9, 0, b"never opened"));
    feed(&mut server, &peer.headers(9, 0, &[("a", "b")]));
    let expected =
        [(1, StatusCode::STREAM_ALREADY_CLOSED), (9, StatusCode::INVALID_STREAM), (9, StatusCode::INVALID_STREAM)];
    assert_eq!(resets(&written(&mut server)), expected);
    // What comes for one that is over was on its way.
    feed(&mut server, &[data(1, 0, b"x"), peer.headers(1, 0, &[("a", "b")])].concat());
    feed(&mut server, &numbers(Version::V3, RST_STREAM, &[1, 5]));
    feed(&mut server, &numbers(Version::V3, WINDOW_UPDATE, &[1, 5]));
    assert_eq!(written(&mut server), []);
    assert_eq!(violation(&mut server, &data(0, 0, b"x")), Cause::FramingMalformed);
    let (mut server, mut peer) = asked(Version::V2);
    feed(&mut server, &data(1, 0, b"behind the end"));
    assert_eq!(resets(&written(&mut server)), [(1, StatusCode::PROTOCOL_ERROR)]);
    let reply = peer.headers(1, 0, &[("status", "200"), ("version", "HTTP/1.1")]);
    feed(&mut server, &control(Version::V2, SYN_REPLY, 0, &reply[8..]));
    assert_eq!(resets(&written(&mut server)), []);
}

#[test]
fn trailers_are_dropped_and_counted() {
    let (mut server, mut peer) = server(Version::V31);
    feed(&mut server, &[peer.post(1, &[]), data(1, 0, b"x")].concat());
    let events = feed(&mut server, &peer.headers(1, FIN, &[("x-sum", "1")]));
    assert_eq!(events, [(1, part(http::Event::End))]);
    let tally = server.take_tally();
    assert_eq!(tally, Tally { requests: 1, trailers_dropped: 1, ..Tally::default() });
    assert_eq!(server.take_tally(), Tally::default());
    // Malformed ones end the stream.
    feed(&mut server, &peer.post(3, &[]));
    assert_eq!(feed(&mut server, &peer.headers(3, 0, &[("x", "\0")])), [(3, cut(Cause::BlockMalformed))]);
}

#[test]
fn certificates_within_spdy_are_refused() {
    let (mut server, mut peer) = server(Version::V3);
    let fields = head(Version::V3, "GET", "/", &[]);
    let events = feed(&mut server, &peer.syn_with(1, FIN, [0, 1], &fields));
    assert_eq!(events, [(1, refused(Cause::CredentialUnsupported))]);
    assert_eq!(resets(&written(&mut server)), [(1, StatusCode::INVALID_CREDENTIALS)]);
    let frame = control(Version::V3, CREDENTIAL, 0, b"\0\x01\0\0\0\0");
    assert_eq!(violation(&mut server, &frame), Cause::CredentialUnsupported);
    // The other versions have none: nobody knows the frame, and the byte says nothing.
    for version in [Version::V2, Version::V31] {
        let (mut server, mut peer) = super::server(version);
        feed(&mut server, &control(version, CREDENTIAL, 0, b"\0\x01\0\0\0\0"));
        let fields = head(version, "GET", "/", &[]);
        assert_eq!(feed(&mut server, &peer.syn_with(1, FIN, [0, 1], &fields)).len(), 2);
    }
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let (mut server, mut peer) = server_with(Version::V3, Limits { h2_streams: 2, ..Limits::DEFAULT });
    feed(&mut server, &[peer.get(1, "/"), peer.get(3, "/")].concat());
    assert_eq!(feed(&mut server, &peer.get(5, "/")), [(5, refused(Cause::StreamsMax))]);
    assert_eq!(resets(&written(&mut server)), [(5, StatusCode::REFUSED_STREAM)]);
    answer(&mut server, 1);
    assert_eq!(feed(&mut server, &peer.get(7, "/")).len(), 2);
}

#[test]
fn other_protocols_and_versions_are_told_by_their_first_frame() {
    for version in Version::ALL {
        assert_eq!(violation(&mut server(version).0, b"GET / HTTP/1.1\r\n"), Cause::FramingMalformed);
        assert_eq!(violation(&mut server(version).0, b"\x80\x04\0\x04\0\0\0\x04"), Cause::VersionUnsupported);
    }
    assert_eq!(violation(&mut server(Version::V3).0, &Peer::new(Version::V2).get(1, "/")), Cause::VersionUnsupported);
}

#[test]
fn frames_of_a_wrong_size_end_the_connection() {
    for version in Version::ALL {
        for (kind, len) in [(SYN_STREAM, 9), (SYN_REPLY, 3), (HEADERS, 3), (RST_STREAM, 7), (RST_STREAM, 265)]
            .into_iter()
            .chain([(SETTINGS, 3), (SETTINGS, 268), (PING, 5), (GOAWAY, 3), (WINDOW_UPDATE, 4), (SYN_STREAM, 1 << 20)])
        {
            let input = control(version, kind, 0, &alloc::vec![0; len]);
            assert_eq!(violation(&mut server(version).0, &input), Cause::FrameSizeWrong, "{version}: {kind}, {len}");
        }
        // A count that is not theirs.
        let settings = control(version, SETTINGS, 0, b"\0\0\0\x02\0\0\0\x04\0\0\0\x01");
        assert_eq!(violation(&mut server(version).0, &settings), Cause::FramingMalformed);
    }
    assert_eq!(violation(&mut server(Version::V2).0, &control(Version::V2, NOOP, 0, b"x")), Cause::FrameSizeWrong);
}

#[test]
fn frames_that_nobody_knows_are_passed_over() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let input = [
            control(version, NOOP, 0, b""),
            control(version, 0xf000, 0, b"\0\0\0\x041234"),
            control(version, 77, 9, b""),
            peer.get(1, "/"),
        ];
        assert_eq!(feed(&mut server, &input.concat()).len(), 2);
        assert_eq!(written(&mut server), []);
    }
}

#[test]
fn a_request_taken_back_before_it_is_seen_is_not_shown() {
    for version in Version::ALL {
        let (mut server, mut peer) = server(version);
        let input = [peer.get(1, "/"), numbers(version, RST_STREAM, &[1, 5]), peer.get(3, "/")];
        assert_eq!(feed(&mut server, &input.concat()).iter().map(|(stream, _)| *stream).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(server.take_tally(), Tally { requests: 2, taken_back: 1, ..Tally::default() });
        assert_eq!(feed(&mut server, &numbers(version, RST_STREAM, &[3, 5])), [(3, cut(Cause::StreamReset))]);
        assert!(server.is_idle());
    }
}

#[test]
fn pings_are_answered_and_asked() {
    for version in Version::ALL {
        let (mut server, _) = server(version);
        feed(&mut server, &numbers(version, PING, &[0xffff_ffff]));
        assert_eq!(written(&mut server), frames(&numbers(version, PING, &[0xffff_ffff])));
        // An answer to nothing.
        feed(&mut server, &numbers(version, PING, &[2]));
        assert_eq!((written(&mut server), server.round_trip()), (Vec::new(), None));
        server.ping(NOW);
        server.ping(NOW);
        assert_eq!(written(&mut server), frames(&numbers(version, PING, &[2])));
        feed_at(&mut server, &numbers(version, PING, &[2]), NOW + Duration::from_millis(30));
        assert_eq!(server.round_trip(), Some(Duration::from_millis(30)));
        server.ping(NOW);
        assert_eq!(written(&mut server), frames(&numbers(version, PING, &[4])));
    }
}
