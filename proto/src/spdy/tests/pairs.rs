//! A client and a server talk in memory: what one is told to send the other tells of.

use super::*;
use alloc::collections::BTreeMap;

struct Pair {
    client: Connection,
    server: Connection,
    now: Instant,
    /// Bytes that go over at a time.
    step: usize,
    /// Bytes that were written and not read.
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

/// What one side was told, by stream, bodies joined.
type Told = BTreeMap<u32, Vec<Event>>;

impl Pair {
    fn new(version: Version, limits: Limits, step: usize) -> Self {
        let settings = Settings::with_limits(limits);
        Self {
            client: Connection::client(version, settings.clone(), NOW),
            server: Connection::server(version, settings, NOW),
            now: NOW,
            step,
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// Lets both read and write until nothing moves. Bodies are released as they come.
    fn settle(&mut self) -> [Told; 2] {
        let mut told = [Told::new(), Told::new()];
        loop {
            let mut moves = false;
            for (n, (side, way)) in [(&mut self.server, &mut self.to_server), (&mut self.client, &mut self.to_client)]
                .into_iter()
                .enumerate()
            {
                let mut at = 0;
                while at < way.len() {
                    let end = way.len().min(at + self.step);
                    let used = side.receive(&way[at..end], self.now);
                    if used == 0 && side.poll_event().is_none() && end == way.len() {
                        break;
                    }
                    at += used;
                    // What is not enough alone is offered with more behind it.
                    let all = if used == 0 { side.receive(&way[at..], self.now) } else { 0 };
                    at += all;
                    moves |= used + all > 0;
                    tell(side, &mut told[n], self.now);
                    if used + all == 0 {
                        break;
                    }
                }
                way.drain(..at);
                tell(side, &mut told[n], self.now);
            }
            for (side, way) in [(&mut self.client, &mut self.to_server), (&mut self.server, &mut self.to_client)] {
                while side.has_outbound() {
                    moves = true;
                    way.append(&mut side.outbound().take());
                }
            }
            if !moves {
                return told;
            }
        }
    }
}

fn tell(side: &mut Connection, told: &mut Told, now: Instant) {
    while let Some((stream, event)) = side.poll_event() {
        let events = told.entry(stream.0).or_default();
        match (events.last_mut(), event) {
            (_, Event::Freed(_)) => {}
            (Some(Event::Part(http::Event::Body(before))), Event::Part(http::Event::Body(piece))) => {
                side.release(stream, piece.len(), now);
                *before = [&before[..], &piece[..]].concat().into();
            }
            (_, Event::Part(http::Event::Body(piece))) => {
                side.release(stream, piece.len(), now);
                events.push(part(http::Event::Body(piece)));
            }
            (_, event) => events.push(event),
        }
    }
}

fn upload(path: &str, body: BodySize) -> Request {
    Request::builder("POST", path, "example.com")
        .field("Cookie", "a=1")
        .field("Cookie", "b=2")
        .body(body)
        .build()
        .unwrap()
}

#[test]
fn requests_and_answers_come_over_as_they_were_sent() {
    for version in Version::ALL {
        for step in [usize::MAX, 1000, 7, 1] {
            let mut pair = Pair::new(version, Limits::DEFAULT, step);
            let get = Request::builder("GET", "/", "example.com").build().unwrap();
            let first = pair.client.open(&get, true, Priority(0), NOW).unwrap();
            let second = pair.client.open(&upload("/up", BodySize::Length(5)), true, Priority(3), NOW).unwrap();
            let third = pair.client.open(&upload("/up", BodySize::Chunked), true, Priority(7), NOW).unwrap();
            assert_eq!((first, second, third), (StreamId(1), StreamId(3), StreamId(5)));
            assert_eq!(pair.client.send(second, body("12345"), NOW), Ok(Progress::Complete));
            assert_eq!(pair.client.send(third, body("abc"), NOW), Ok(Progress::Open));
            assert_eq!(pair.client.send(third, http::Event::End, NOW), Ok(Progress::Complete));
            let [told, none] = pair.settle();
            assert!(none.is_empty());
            let texts = [
                "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n",
                "POST /up HTTP/1.1\r\nhost: example.com\r\ncookie: a=1; b=2\r\ncontent-length: 5\r\n\r\n",
                "POST /up HTTP/1.1\r\nhost: example.com\r\ncookie: a=1; b=2\r\n\r\n",
            ];
            for ((stream, text), sent) in [1, 3, 5].into_iter().zip(texts).zip([None, Some("12345"), Some("abc")]) {
                let events = &told[&stream];
                let Event::Part(http::Event::Request(request)) = &events[0] else { panic!("{events:?}") };
                assert_eq!(request.text(), text.as_bytes());
                let rest: Vec<_> =
                    sent.map(|sent| part(body(sent))).into_iter().chain([part(http::Event::End)]).collect();
                assert_eq!(events[1..], rest, "{version} by {step}");
                answer(&mut pair.server, stream);
            }
            let [none, told] = pair.settle();
            assert!(none.is_empty(), "{none:?}");
            for stream in [1, 3, 5] {
                let events = &told[&stream];
                let Event::Part(http::Event::Response(response)) = &events[0] else { panic!("{events:?}") };
                assert_eq!(response.text(), &b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n"[..]);
                assert_eq!(events[1..], [part(body("Hello, world!")), part(http::Event::End)]);
            }
            assert!(pair.client.is_idle() && pair.server.is_idle());
        }
    }
}

#[test]
fn large_bodies_flow_both_ways_at_once() {
    for version in Version::ALL {
        let mut pair = Pair::new(version, Limits::DEFAULT, 5000);
        let streams: Vec<_> = (0..4)
            .map(|_| pair.client.open(&upload("/", BodySize::Length(300_000)), false, Priority(1), NOW).unwrap())
            .collect();
        for stream in &streams {
            pair.client.send(*stream, zeros(300_000), NOW).unwrap();
        }
        let mut got: BTreeMap<u32, usize> = BTreeMap::new();
        let mut told = pair.settle();
        for (stream, events) in &told[0] {
            assert_eq!(events.last(), Some(&part(http::Event::End)), "{version}");
            server_answers(&mut pair.server, *stream);
        }
        assert_eq!(told[0].len(), 4);
        told = pair.settle();
        for (stream, events) in &told[1] {
            for event in events {
                if let Event::Part(http::Event::Body(piece)) = event {
                    *got.entry(*stream).or_default() += piece.len();
                }
            }
            assert_eq!(events.last(), Some(&part(http::Event::End)));
        }
        assert_eq!(got.values().copied().collect::<Vec<_>>(), [400_000; 4], "{version}");
        assert_eq!((pair.client.queued(), pair.server.queued()), (0, 0));
    }
}

fn server_answers(server: &mut Connection, stream: u32) {
    server.send(StreamId(stream), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    server.send(StreamId(stream), zeros(400_000), NOW).unwrap();
    server.send(StreamId(stream), http::Event::End, NOW).unwrap();
}

#[test]
fn pushed_responses_show_what_they_answer() {
    for version in Version::ALL {
        let mut pair = Pair::new(version, Limits::DEFAULT, 100);
        let get = Request::builder("GET", "/", "example.com").build().unwrap();
        let stream = pair.client.open(&get, true, Priority(2), NOW).unwrap();
        pair.settle();
        let promise = Request::builder("GET", "/style.css", "example.com").build().unwrap();
        let pushed = pair.server.push(stream, &promise, true, NOW).unwrap();
        let later = pair.server.push(stream, &promise, true, NOW).unwrap();
        for pushed in [later, pushed] {
            pair.server.send(pushed, response("HTTP/1.1 200 OK\r\nX: y\r\n\r\n"), NOW).unwrap();
            pair.server.send(pushed, body("pushed"), NOW).unwrap();
            pair.server.send(pushed, http::Event::End, NOW).unwrap();
        }
        answer(&mut pair.server, 1);
        let [_, told] = pair.settle();
        for pushed in [2, 4] {
            let events = &told[&pushed];
            let [Event::Part(http::Event::Request(request)), Event::Part(http::Event::Response(response)), rest @ ..] =
                &events[..]
            else {
                panic!("{version}: {events:?}");
            };
            assert_eq!(request.text(), &b"GET /style.css HTTP/1.1\r\nhost: example.com\r\n\r\n"[..]);
            assert_eq!(response.text(), &b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n"[..]);
            assert_eq!(*rest, [part(body("pushed")), part(http::Event::End)]);
        }
        assert!(pair.client.is_idle() && pair.server.is_idle());
        assert_eq!(pair.client.take_tally().pushes, 2);
    }
}

#[test]
fn a_client_is_told_of_resets_refusals_and_farewells() {
    for version in Version::ALL {
        let mut pair = Pair::new(version, Limits { h2_streams: 3, ..Limits::DEFAULT }, usize::MAX);
        let get = Request::builder("GET", "/", "example.com").build().unwrap();
        let open = |pair: &mut Pair| pair.client.open(&get, false, Priority(0), NOW);
        // Before the server has said how many it takes.
        for _ in 0..4 {
            open(&mut pair).unwrap();
        }
        let [server_told, told] = pair.settle();
        assert_eq!(server_told[&7], [refused(Cause::StreamsMax)]);
        assert_eq!(told[&7], [cut(Cause::StreamRefused)]);
        assert_eq!(open(&mut pair), Err(SendError::Unsupported));
        pair.server.reset(StreamId(1), StatusCode::INTERNAL_ERROR, NOW);
        assert_eq!(pair.settle()[1][&1], [cut(Cause::StreamReset)]);
        assert_eq!(open(&mut pair), Ok(StreamId(9)));
        pair.server.close_after_responses(NOW);
        let [_, told] = pair.settle();
        assert_eq!(told[&9], [cut(Cause::StreamRefused)]);
        assert_eq!(open(&mut pair), Err(SendError::OutOfOrder));
        answer(&mut pair.server, 3);
        answer(&mut pair.server, 5);
        let [_, told] = pair.settle();
        assert_eq!((told[&3].len(), told[&5].len()), (3, 3));
        assert_eq!(
            (pair.client.is_closing(), pair.server.is_closing()),
            (Some(Cause::Complete), Some(Cause::Complete))
        );
    }
}

#[test]
fn a_client_refuses_answers_that_break_the_rules() {
    for version in Version::ALL {
        let names = if version == Version::V2 { ["status", "version"] } else { [":status", ":version"] };
        let (good, about) = ((names[0], "200 OK"), (names[1], "HTTP/1.1"));
        for fields in [
            &[about][..],
            &[good],
            &[(names[0], "20"), about],
            &[(names[0], "abc"), about],
            &[(names[0], "200OK"), about],
            &[(names[0], "100"), about],
            &[good, about, ("transfer-encoding", "chunked")],
            &[good, about, ("content-length", "x")],
            &[good, about, ("a", "\0")],
        ] {
            let mut client = Connection::client(version, Settings::with_limits(Limits::DEFAULT), NOW);
            let get = Request::builder("GET", "/", "example.com").build().unwrap();
            let stream = client.open(&get, false, Priority(0), NOW).unwrap();
            written(&mut client);
            let mut peer = Peer::new(version);
            let reply = peer.headers(1, FIN, fields);
            let events = feed(&mut client, &control(version, SYN_REPLY, FIN, &reply[HEADER..]));
            let [(1, Event::Cut(Cause::ResponseMalformed | Cause::BlockMalformed))] = events[..] else {
                panic!("{fields:?}: {events:?}");
            };
            assert_eq!(resets(&written(&mut client)), [(1, StatusCode::PROTOCOL_ERROR)]);
            assert!(!client.has(stream));
        }
        // Data before the head; a head twice.
        let mut client = Connection::client(version, Settings::with_limits(Limits::DEFAULT), NOW);
        let mut peer = Peer::new(version);
        let get = Request::builder("GET", "/", "example.com").build().unwrap();
        for _ in 0..2 {
            client.open(&get, false, Priority(0), NOW).unwrap();
        }
        feed(&mut client, &numbers(version, SETTINGS, &[0]));
        assert_eq!(feed(&mut client, &data(1, 0, b"x")), [(1, cut(Cause::FramingMalformed))]);
        let reply = peer.headers(3, 0, &[good, about]);
        feed(&mut client, &control(version, SYN_REPLY, 0, &reply[HEADER..]));
        let again = peer.headers(3, 0, &[good, about]);
        let events = feed(&mut client, &control(version, SYN_REPLY, 0, &again[HEADER..]));
        assert_eq!(events, [(3, cut(Cause::FramingMalformed))]);
        let expected = if version == Version::V2 { StatusCode::PROTOCOL_ERROR } else { StatusCode::STREAM_IN_USE };
        assert_eq!(resets(&written(&mut client))[1], (3, expected));
        // A response to nothing that was asked.
        let push = peer.syn(2, 0, &head(version, "GET", "/", &[good]));
        assert_eq!(violation(&mut client, &push), Cause::FramingMalformed);
    }
}

#[test]
fn a_push_for_a_stream_that_is_over_is_refused() {
    let mut client = Connection::client(Version::V3, Settings::with_limits(Limits::DEFAULT), NOW);
    let mut peer = Peer::new(Version::V3);
    let mut push = peer.syn(2, UNIDIRECTIONAL, &head(Version::V3, "GET", "/", &[(":status", "200")]));
    push[HEADER + 7] = 1;
    assert_eq!(feed(&mut client, &push), []);
    assert_eq!(resets(&written(&mut client)), [(2, StatusCode::INVALID_STREAM)]);
}

#[test]
fn what_a_client_cannot_say_is_refused() {
    let mut client = Connection::client(Version::V2, Settings::with_limits(Limits::DEFAULT), NOW);
    let absolute = Request::builder("GET", "http://a/", "a").build().unwrap();
    assert_eq!(client.open(&absolute, false, Priority(0), NOW), Err(SendError::Unsupported));
    let long = Request::builder("GET", "/", "a").field("X", "x".repeat(65_536)).build().unwrap();
    assert_eq!(client.open(&long, false, Priority(0), NOW), Err(SendError::Unsupported));
    let get = Request::builder("GET", "/", "a").build().unwrap();
    assert_eq!(server(Version::V2).0.open(&get, false, Priority(0), NOW), Err(SendError::OutOfOrder));
    let stream = client.open(&get, false, Priority(255), NOW).unwrap();
    assert_eq!(client.send(stream, body("x"), NOW), Err(SendError::OutOfOrder));
    assert_eq!(client.send(stream, http::Event::Request(get), NOW), Err(SendError::OutOfOrder));
    let frames = written(&mut client);
    assert_eq!((frames[1].kind, frames[1].payload[8]), (SYN_STREAM.into(), 0xc0));
}
