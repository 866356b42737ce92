//! The closing handshake (RFC 6455, 5.5.1 and 7), by section.

use super::*;

/// 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a
/// Close frame in response", with the code that it received.
#[test]
fn section_5_5_1_a_close_frame_is_answered_with_its_code() {
    for (payload, answer) in [(&b""[..], &b""[..]), (b"\x03\xe8", b"\x03\xe8"), (b"\x0f\xa0bye", b"\x0f\xa0")] {
        let mut server = server();
        let events = feed(&mut server, &masked(0x88, payload));
        let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
        let reason = Bytes::copy_from_slice(payload.get(2..).unwrap_or_default());
        assert_eq!(events, [Event::Close(Close { code, reason })]);
        assert_eq!(written(&mut server), unmasked(0x88, answer));
        assert_eq!(server.is_closing(), Some(Cause::ClientClosed));
        assert!(server.violation().is_none() && server.has_sent_close());
        assert_eq!(server.poll_timeout(), None);
    }
}

/// 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame." 1.4: nor after receiving.
#[test]
fn section_5_5_1_nothing_is_sent_after_a_close_frame() {
    let (mut closing, mut closed) = (server(), server());
    closing.send(close(1000, ""), NOW).unwrap();
    feed(&mut closed, &masked(0x88, b""));
    for server in [&mut closing, &mut closed] {
        for event in [text("late"), Event::Ping(Bytes::new()), close(1000, "again")] {
            assert_eq!(server.send(event, NOW), Err(SendError::Closed));
        }
        let message = Message { kind: Kind::Binary, payload: Bytes::from_static(b"late") };
        assert_eq!(server.send_prepared(&mut Prepared::new(&message), NOW), Err(SendError::Closed));
    }
    assert_eq!(written(&mut closing), unmasked(0x88, b"\x03\xe8"));
    assert_eq!(written(&mut closed), unmasked(0x88, b""));
    // A ping then is too late to be answered.
    feed(&mut closing, &masked(0x89, b"there?"));
    assert!(written(&mut closing).is_empty());
}

/// 7.4 and the registry of IANA: what may stand in a close frame.
#[test]
fn section_7_4_codes_that_must_not_be_sent_are_refused() {
    for code in (0..=1020).chain([1100, 1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535]) {
        let frame = masked(0x88, &u16::to_be_bytes(code));
        let event = close(code, "");
        if matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            assert_eq!(feed(&mut server(), &frame), std::slice::from_ref(&event));
            assert_eq!(server().send(event, NOW), Ok(Queued::default()));
        } else {
            is_refused(&frame, Cause::CloseMalformed);
            assert_eq!(server().send(event, NOW), Err(SendError::Invalid));
        }
    }
}

/// 5.5.1: a body begins with a code of two bytes; the reason is UTF-8.
#[test]
fn section_5_5_1_half_a_code_and_a_reason_that_is_not_utf_8_are_refused() {
    is_refused(&masked(0x88, b"\x03"), Cause::CloseMalformed);
    is_refused(&masked(0x88, b"\x03\xe8\xff"), Cause::CloseMalformed);
    is_refused(&masked(0x88, b"\x03\xe8\xe2\x82"), Cause::CloseMalformed);
    let long = [b"\x03\xe8", &[b'x'; 123][..]].concat();
    assert_eq!(feed(&mut server(), &masked(0x88, &long)), [close(1000, &"x".repeat(123))]);
}

#[test]
fn a_close_that_cannot_be_sent_is_an_error() {
    let reason = |reason: &[u8]| Bytes::copy_from_slice(reason);
    for close in [
        Close { code: None, reason: reason(b"why") },
        Close { code: Some(1005), reason: Bytes::new() },
        Close { code: Some(1000), reason: reason(&[b'x'; 124]) },
        Close { code: Some(1000), reason: reason(b"\xff") },
    ] {
        let mut server = server();
        assert_eq!(server.send(Event::Close(close), NOW), Err(SendError::Invalid));
        assert!(!server.has_sent_close() && server.queued() == 0);
    }
}

/// 7.1.1, 7.1.2: after our close frame the peer's further messages do not matter, its answer does.
#[test]
fn section_7_1_2_what_comes_after_our_close_frame_is_dropped_until_the_answer() {
    let mut server = server();
    feed(&mut server, &masked(0x01, b"begun"));
    server.fail(Cause::NodeEnded, NOW);
    assert_eq!(server.held(), 0);
    assert_eq!(written(&mut server), farewell(Cause::NodeEnded));
    let large = masked(0x80, &[0xff; 100_000]);
    let (start, end) = large.split_at(40_000);
    assert_eq!(feed(&mut server, start), []);
    assert_eq!(server.held(), 0);
    assert_eq!(feed(&mut server, end), []);
    let rest = join(&[masked(0x81, b"\xff"), masked(0x8a, b""), masked(0x02, b"x"), masked(0x88, b"\x03\xe8ok")]);
    assert_eq!(feed(&mut server, &rest), [close(1000, "ok")]);
    assert_eq!(server.is_closing(), Some(Cause::NodeEnded));
    assert!(server.violation().is_none() && written(&mut server).is_empty());
}

#[test]
fn section_7_1_2_a_violation_after_our_close_frame_ends_the_connection_without_another() {
    let mut server = server();
    server.fail(Cause::Stopping, NOW);
    written(&mut server);
    feed(&mut server, &masked(0x83, b""));
    assert_eq!(server.violation(), Some(Cause::FrameMalformed.into()));
    assert!(written(&mut server).is_empty());
}

#[test]
fn the_first_cause_to_fail_is_the_one_that_counts() {
    let mut server = server();
    server.fail(Cause::Inactivity, NOW);
    server.fail(Cause::NodeLost, NOW);
    assert_eq!(written(&mut server), farewell(Cause::Inactivity));
    feed(&mut server, &masked(0x88, b""));
    assert_eq!(server.is_closing(), Some(Cause::Inactivity));
}

#[test]
fn an_end_without_a_close_frame_is_noticed() {
    let mut gone = server();
    feed(&mut gone, &masked(0x01, b"cut"));
    gone.receive_eof(NOW);
    assert_eq!(gone.is_closing(), Some(Cause::ClientGone));
    assert_eq!((gone.held(), gone.queued(), gone.poll_timeout()), (0, 0, None));
    let mut ended = server();
    ended.fail(Cause::Stopping, NOW);
    ended.receive_eof(NOW);
    assert_eq!(ended.is_closing(), Some(Cause::Stopping));
    let mut closed = server();
    feed(&mut closed, &masked(0x88, b""));
    closed.receive_eof(NOW);
    assert_eq!(closed.is_closing(), Some(Cause::ClientClosed));
}

#[test]
fn a_close_frame_goes_out_behind_all_that_is_queued() {
    let mut server = server();
    let large = binary(&[7; 50_000]);
    for _ in 0..4 {
        server.send(large.clone(), NOW).unwrap();
    }
    server.send(close(1001, "later"), NOW).unwrap();
    assert!(server.queued() > 200_000);
    let mut client = client();
    let events = feed(&mut client, &written(&mut server));
    assert_eq!(events.len(), 5);
    assert_eq!(events[4], close(1001, "later"));
    assert!(events[..4].iter().all(|event| *event == large));
}

#[test]
fn every_cause_makes_a_close_frame_that_a_peer_takes() {
    for cause in Cause::ALL {
        let (mut server, mut client) = (server(), client());
        server.fail(*cause, NOW);
        let events = feed(&mut client, &written(&mut server));
        assert_eq!(events, [close(cause.close_code(), cause.name())], "{cause}");
        assert_eq!(feed(&mut server, &written(&mut client)), [close(cause.close_code(), "")]);
        assert_eq!(server.is_closing(), Some(*cause));
    }
}
