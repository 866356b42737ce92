//! Peers that mean no good, or speak something else.

use rustls::AlertDescription;
use rustls::Error::AlertReceived;

use super::peer::*;
use crate::error::Cause;
use crate::time::Instant;
use crate::tls::{Connection, Event};

fn alert(number: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, number]
}

/// Gives `bytes` to a new server, whole, cut and byte by byte; returns its alert's number.
fn assert_refuses(bytes: &[u8], cause: Cause) -> Option<u8> {
    let (certificates, client) = simple();
    let farewells = [usize::MAX, 7, 1].map(|step| {
        let mut pair = Pair::new(&certificates, client.clone(), "a.test").in_steps_of(step.min(1 << 20));
        pair.give(bytes);
        pair.assert_refused(cause);
        assert_eq!(pair.server.violation().map(|violation| violation.what), Some(cause));
        assert!(pair.server.failure().is_some());
        let farewell = pair.server.outbound().take();
        pair.give(bytes);
        pair.give_eof();
        pair.server.handle_timeout(Instant::from_millis(1 << 40));
        pair.assert_refused(cause);
        assert!(pair.server.outbound().is_empty(), "nothing but the farewell");
        farewell
    });
    assert_eq!(farewells[0], farewells[1]);
    assert_eq!(farewells[0], farewells[2]);
    match farewells[0][..] {
        [21, 3, 3, 0, 2, 2, number] => Some(number),
        _ => panic!("{:?}", farewells[0]),
    }
}

#[test]
fn other_protocols_get_an_alert() {
    const DECODE_ERROR: Option<u8> = Some(50);
    assert_eq!(assert_refuses(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Cause::NotTls), DECODE_ERROR);
    assert_eq!(assert_refuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Cause::NotTls), DECODE_ERROR);
    assert_eq!(assert_refuses(b"SSH-2.0-OpenSSH_9.2\r\n", Cause::NotTls), DECODE_ERROR);
    assert_eq!(assert_refuses(&[0; 100], Cause::NotTls), DECODE_ERROR);
    assert_eq!(assert_refuses(&[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10], Cause::NotTls), DECODE_ERROR, "SSL 2");
    assert_eq!(assert_refuses(&[22, 2, 0, 0, 1, 1], Cause::NotTls), DECODE_ERROR);
}

#[test]
fn malformed_hellos_get_an_alert() {
    assert_refuses(&[22, 3, 1, 0, 0], Cause::TlsMalformed);
    assert_refuses(&[22, 3, 1, 0xff, 0xff], Cause::TlsMalformed);
    assert_refuses(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0], Cause::TlsMalformed);
    assert_refuses(&[22, 3, 1, 0, 4, 2, 0, 0, 0], Cause::TlsMalformed);
    assert_refuses(&[23, 3, 3, 0, 1, 0], Cause::TlsMalformed);
    assert_refuses(&[20, 3, 3, 0, 1, 1], Cause::TlsMalformed);
    assert_refuses(&alert(0), Cause::TlsMalformed);
    assert_refuses(&[22, 3, 1, 0, 6, 1, 1, 0, 0, 0, 0], Cause::TlsMalformed);
}

#[test]
fn versions_of_old_are_refused() {
    let (certificates, client) = simple();
    let mut hello = Pair::new(&certificates, client, "a.test").client_bytes();
    let versions = [0, 0x2b, 0, 3, 2, 3, 4];
    let at = hello.windows(versions.len()).position(|window| window == versions).unwrap();
    hello[at + 6] = 2;
    assert_eq!(assert_refuses(&hello, Cause::TlsNegotiation), Some(70), "protocol_version");
    // TLS 1.0 as OpenSSL says it: without the extensions that came with TLS 1.2.
    let hello = [&[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    assert_eq!(assert_refuses(&hello, Cause::TlsNegotiation), Some(70), "protocol_version");
}

#[test]
fn a_handshake_that_breaks_off_comes_to_nothing() {
    let (certificates, client) = simple();
    let hello = Pair::new(&certificates, client.clone(), "a.test").client_bytes();
    for end in 0..hello.len() {
        let mut pair = Pair::new(&certificates, client.clone(), "a.test");
        pair.give(&hello[..end]);
        assert_eq!((pair.server.is_closing(), pair.server.outbound().len()), (None, 0));
        pair.give_eof();
        pair.assert_refused(Cause::ConnectionFailed);
        assert_eq!(pair.server.violation(), None);
    }
}

#[test]
fn a_hello_in_pieces_is_put_together_but_not_without_bound() {
    let (certificates, client) = simple();
    let mut pair = Pair::new(&certificates, client, "a.test");
    let hello = pair.client_bytes();
    let fragments: Vec<u8> = hello[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    pair.give(&fragments);
    pair.run();
    pair.facts();

    let mut endless = [22, 3, 1, 0, 4, 1, 0, 0xff, 0xff].to_vec();
    endless.extend([22, 3, 1, 0, 1, 0].repeat(20_000));
    assert_refuses(&endless, Cause::TlsMalformed);
}

#[test]
fn warnings_are_not_taken_without_bound() {
    let certified = ed25519(&["a.test"]);
    let certificates = store(&[entry(&["a.test"], &certified)]);
    let mut pair = Pair::new(&certificates, trusting(&[&certified], TLS12), "a.test");
    let hello = pair.client_bytes();
    pair.give(&hello);
    pair.give(&[21, 3, 3, 0, 2, 1, 90].repeat(4));
    assert_eq!(pair.server.is_closing(), None);
    pair.give(&[21, 3, 3, 0, 2, 1, 90]);
    pair.assert_refused(Cause::TlsFlood);
}

#[test]
fn a_record_that_was_touched_ends_the_connection_but_not_what_came_before() {
    for step in [1, 100, 1 << 20] {
        let (certificates, client) = simple();
        let mut pair = Pair::established(&certificates, client).in_steps_of(step);
        std::io::Write::write_all(&mut pair.client.writer(), b"good").unwrap();
        let good = pair.client_bytes();
        std::io::Write::write_all(&mut pair.client.writer(), b"bad").unwrap();
        let mut bad = pair.client_bytes();
        *bad.last_mut().unwrap() ^= 1;
        pair.give(&[good, bad.clone(), bad].concat());
        assert_eq!(pair.received, b"good");
        assert_eq!(pair.server.is_closing(), Some(Cause::TlsMalformed));
        assert!(pair.server.send_plain(b"x").is_err());
        pair.answer();
        assert_eq!(pair.client_error, Some(AlertReceived(AlertDescription::BadRecordMac)));
        assert_eq!(pair.events, [], "such an end is no end");
    }
}

#[test]
fn what_follows_a_handshake_at_once_does_not_undo_it() {
    for step in [1, 1 << 20] {
        let (certificates, client) = simple();
        let mut pair = Pair::new(&certificates, client, "a.test").in_steps_of(step);
        let hello = pair.client_bytes();
        pair.give(&hello);
        pair.answer();
        let finished = pair.client_bytes();
        pair.give(&[&finished[..], b"GET / HTTP/1.1\r\n"].concat());
        assert!(matches!(pair.events[..], [Event::Established(_)]), "{:?}", pair.events);
        assert_eq!(pair.server.is_closing(), Some(Cause::TlsMalformed));
    }
}

#[test]
fn key_updates_are_not_taken_without_bound() {
    let (certificates, client) = simple();
    let mut pair = Pair::established(&certificates, client);
    let mut in_a_row = |count| {
        for _ in 0..count {
            pair.client.refresh_traffic_keys().unwrap();
        }
        let bytes = pair.client_bytes();
        pair.give(&bytes);
        pair.server.is_closing()
    };
    assert_eq!(in_a_row(32), None);
    assert_eq!(in_a_row(1), Some(Cause::TlsFlood));
}

#[test]
fn key_updates_between_bytes_are_not_taken_without_bound() {
    let (certificates, client) = simple();
    let mut pair = Pair::established(&certificates, client);
    let mut rounds = 0;
    while pair.server.is_closing().is_none() {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_sends(b"x");
        rounds += 1;
        assert!(rounds < 10_000);
    }
    assert!(rounds > 1000, "{rounds}");
    assert_eq!(pair.server.is_closing(), Some(Cause::TlsFlood));
    assert!(pair.server.violation().is_some());
    pair.answer();
    assert!(pair.client.process_new_packets().unwrap().peer_has_closed(), "it was told goodbye");
}

#[test]
fn tiny_records_are_not_taken_without_bound_but_small_messages_are() {
    let (certificates, client) = simple();
    let mut pair = Pair::established(&certificates, client.clone());
    let mut sent = 0;
    while pair.server.is_closing().is_none() {
        pair.client_sends(b"x");
        sent += 1;
        assert!(sent < 10_000);
    }
    assert_eq!((pair.server.is_closing(), pair.received.len() > 4000), (Some(Cause::TlsFlood), true));

    let mut pair = Pair::established(&certificates, client);
    for _ in 0..20_000 {
        pair.client_sends(b"7 bytes");
    }
    assert_eq!(pair.received.len(), 140_000);
    assert!(pair.server.is_established());
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let (certificates, client) = simple();
    let hello = Pair::new(&certificates, client.clone(), "a.test").client_bytes();
    let mut state = 1_u64;
    let mut random = move |bound: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % bound
    };
    for _ in 0..2000 {
        let mut bytes = hello.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        bytes.truncate(1 + random(2 * bytes.len()));
        let mut server = Connection::new(settings(&certificates), Instant::ZERO);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let used = server.receive(rest, Instant::ZERO);
            assert!(used > 0);
            rest = &rest[used..];
        }
        assert_eq!(server.poll_event(), None);
        assert_eq!(server.violation().is_some(), server.is_closing().is_some());
    }
}
