//! Attacks, by their scripts: each ends with ENHANCE_YOUR_CALM and its cause, and memory stays flat until then.

use super::*;

/// More than this a connection that is flooded never holds.
const HELD_MAX: usize = 400 * 1024;

/// Sends what `attack` gives, by its number, until the connection closes; returns why and after how many.
fn attack(mut server: Connection, mut attack: impl FnMut(u32) -> Vec<u8>) -> (Cause, u32) {
    for n in 0..20_000 {
        for (stream, event) in feed(&mut server, &attack(n)) {
            if let Event::Part(http::Event::Body(piece)) = event {
                server.release(StreamId(stream), piece.len(), NOW);
            }
        }
        assert!(server.held() < HELD_MAX, "{} after {n}", server.held());
        let frames = written(&mut server);
        if let Some(cause) = server.is_closing() {
            assert_eq!(server.violation(), Some(cause.into()));
            assert_eq!(farewell(&frames).0, ErrorCode::ENHANCE_YOUR_CALM, "{cause}");
            return (cause, n);
        }
    }
    panic!("20,000 were borne");
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

#[test]
fn requests_taken_back_again_and_again() {
    let script = |n| [get(stream(n), "/"), frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat();
    assert_eq!(attack(server(), script), (Cause::RapidReset, 1000));
    // The same with the requests shown before they are taken back.
    let mut shown = server();
    let mut n = 0;
    while shown.is_closing().is_none() {
        feed(&mut shown, &get(stream(n), "/"));
        feed(&mut shown, &frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes()));
        assert!(shown.streams() <= 1 && shown.held() < HELD_MAX);
        n += 1;
    }
    assert_eq!((shown.is_closing(), n), (Some(Cause::RapidReset), 1001));
}

#[test]
fn a_visitor_who_leaves_pages_while_they_load_is_no_attacker() {
    let mut server = server();
    let mut n = 0;
    for minute in 0..20 {
        for _ in 0..900 {
            let now = NOW + Duration::from_secs(60 * minute);
            let input = [get(stream(n), "/"), frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat();
            feed_at(&mut server, &input, now);
            n += 1;
        }
    }
    assert_eq!((server.is_closing(), server.take_tally().taken_back), (None, 18_000));
}

#[test]
fn streams_that_the_server_is_made_to_reset() {
    // A window made too large, a body longer than announced, a malformed head.
    let overflow = |n| {
        let update = frame(WINDOW_UPDATE, 0, stream(n), &[0x7f, 0xff, 0xff, 0xff]);
        [get(stream(n), "/"), update].concat()
    };
    assert_eq!(attack(server(), overflow), (Cause::StreamErrors, 200));
    let too_long = |n| {
        let head = frame(HEADERS, END_HEADERS, stream(n), &head("POST", "/", &[("content-length", "1")]));
        [head, frame(DATA, 0, stream(n), b"xy")].concat()
    };
    assert_eq!(attack(server(), too_long), (Cause::StreamErrors, 200));
    let malformed = |n| frame(HEADERS, WHOLE, stream(n), &head("GET", "/", &[("connection", "close")]));
    assert_eq!(attack(server(), malformed), (Cause::StreamErrors, 200));
}

#[test]
fn more_requests_than_allowed_again_and_again() {
    let script = |n| if n < 100 { get(stream(n), "/") } else { get(stream(n), "/refused") };
    assert_eq!(attack(server(), script), (Cause::StreamErrors, 300));
}

#[test]
fn heads_without_end() {
    let script = |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &head("GET", "/", &[])),
        _ => frame(CONTINUATION, 0, 1, &block(&[("x-more", "y")])),
    };
    assert_eq!(attack(server(), script), (Cause::ContinuationFlood, 6));
    let empty = |n| if n == 0 { frame(HEADERS, END_STREAM, 1, b"") } else { frame(CONTINUATION, 0, 1, b"") };
    assert_eq!(attack(server(), empty), (Cause::ContinuationFlood, 6));
}

#[test]
fn small_heads_that_decompress_to_huge_ones() {
    // An entry of 4,000 bytes goes into the table; then each byte of a head stands for it.
    let mut entry = head("GET", "/", &[]);
    entry.extend_from_slice(b"\x40\x01x\x7f\xa1\x1e");
    entry.extend_from_slice(&[b'y'; 4000]);
    let mut bomb = head("GET", "/", &[]);
    bomb.extend_from_slice(&[0x80 | 62; 16_000]);
    let script = |n| if n == 0 { frame(HEADERS, WHOLE, 1, &entry) } else { frame(HEADERS, WHOLE, 3, &bomb) };
    assert_eq!(attack(server(), script), (Cause::HeaderBomb, 1));

    // One that is too large, but not absurd, is answered with 431.
    let mut server = server();
    feed(&mut server, &frame(HEADERS, WHOLE, 1, &entry));
    let mut large = head("GET", "/", &[]);
    large.extend_from_slice(&[0x80 | 62; 30]);
    let events = feed(&mut server, &frame(HEADERS, WHOLE, 3, &large));
    assert_eq!(events, [(3, Event::Refused(Violation { status: 431, what: Cause::HeadTooLarge }))]);
    assert_eq!(server.is_closing(), None);
}

#[test]
fn frames_that_ask_for_answers() {
    assert_eq!(attack(server(), |_| frame(PING, 0, 0, &[0; 8])), (Cause::PingFlood, 600));
    // The greeting had two, one of them an acknowledgement.
    assert_eq!(attack(server(), |_| frame(SETTINGS, 0, 0, b"")), (Cause::SettingsFlood, 98));
}

#[test]
fn frames_that_carry_nothing() {
    let open = frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[]));
    let script = |empty: Vec<u8>| {
        let open = open.clone();
        move |n| if n == 0 { open.clone() } else { empty.clone() }
    };
    assert_eq!(attack(server(), script(frame(DATA, 0, 1, b""))), (Cause::EmptyFrameFlood, 501));
    assert_eq!(attack(server(), script(frame(DATA, 8, 1, b"\x02\0\0"))), (Cause::EmptyFrameFlood, 101));
    assert_eq!(attack(server(), script(frame(0x63, 0, 0, b"what"))), (Cause::EmptyFrameFlood, 501));
}

#[test]
fn empty_data_now_and_then_is_borne_for_ever() {
    let mut server = server();
    let mut input = frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[]));
    for second in 0..1000 {
        input.extend_from_slice(&frame(DATA, 0, 1, b""));
        feed_at(&mut server, &input, NOW + Duration::from_secs(second));
        input.clear();
    }
    assert_eq!(server.is_closing(), None);
    let now = NOW + Duration::from_secs(1000);
    let events = feed_at(&mut server, &frame(DATA, END_STREAM, 1, b"x"), now);
    assert_eq!(events, [(1, part(body("x"))), (1, part(http::Event::End))]);
}

#[test]
fn windows_and_priorities_without_end() {
    let update = |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    assert_eq!(attack(server(), update), (Cause::WindowUpdateFlood, 2000));
    assert_eq!(attack(server(), |_| frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])), (Cause::PriorityFlood, 500));
    // Explained by what is sent, there may be any number.
    let mut server = asked();
    server.send(StreamId(1), response("HTTP/1.1 200 OK\r\n\r\n"), NOW).unwrap();
    for _ in 0..5000 {
        server.send(StreamId(1), body("x"), NOW).unwrap();
        assert_eq!(data(&written(&mut server), 1).0, b"x");
        let update = |stream| frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes());
        feed(&mut server, &[update(0), update(1)].concat());
    }
    assert_eq!(server.is_closing(), None);
}

#[test]
fn a_client_that_does_not_read_is_not_read() {
    let mut server = server();
    let flood = frame(PING, 0, 0, &[0; 8]).repeat(400);
    let mut offered = 0;
    for n in 0..1000 {
        // Ten in a second are no flood.
        let now = NOW + Duration::from_secs(40 * n);
        offered += server.receive(&flood, now);
        assert!(server.poll_event().is_none());
        assert!(server.held() < HELD_MAX && server.outbound().len() < 100_000);
    }
    assert!(offered < 200_000, "{offered}");
    assert_eq!((server.room(), server.is_closing()), (0, None));
}

#[test]
fn two_thousand_refused_uploads_harm_nobody() {
    let mut server = server();
    for n in 0..2000 {
        let head = frame(HEADERS, END_HEADERS, stream(n), &head("POST", "/", &[]));
        assert_eq!(feed(&mut server, &head).len(), 1);
        assert!(server.fail(StreamId(stream(n)), Cause::NodeMissing, NOW));
        let frames = written(&mut server);
        assert_eq!(resets(&frames), [(stream(n), ErrorCode::NO_ERROR)]);
        // What the client had sent before it learnt of it, of this upload and of the one before.
        let late = |n| frame(DATA, 0, stream(n), &[0; 1000]);
        let update = frame(WINDOW_UPDATE, 0, 0, &200_u32.to_be_bytes());
        let late = [late(n), late(n.saturating_sub(1)), late(n), update].concat();
        assert_eq!(feed(&mut server, &late), []);
        written(&mut server);
    }
    assert_eq!((server.is_closing(), server.streams()), (None, 0));
    feed(&mut server, &get(stream(2000), "/"));
    answer(&mut server, stream(2000));
    assert_eq!(data(&written(&mut server), stream(2000)).0, b"Hello, world!");
}
