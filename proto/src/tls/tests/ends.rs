//! How connections end.

use super::peer::*;
use crate::error::Cause;
use crate::time::Instant;
use crate::tls::Event;

fn pair() -> Pair {
    let (certificates, client) = simple();
    Pair::established(&certificates, client)
}

fn client_was_told(pair: &mut Pair) -> bool {
    pair.client.process_new_packets().unwrap().peer_has_closed()
}

#[test]
fn a_client_that_says_goodbye_may_still_be_answered() {
    for step in [1, 1 << 20] {
        let mut pair = pair().in_steps_of(step);
        std::io::Write::write_all(&mut pair.client.writer(), b"question").unwrap();
        pair.client.send_close_notify();
        let mut bytes = pair.client_bytes();
        bytes.extend_from_slice(b"and more that nobody hears");
        pair.give(&bytes);
        assert_eq!(pair.received, b"question");
        assert_eq!(pair.events, [Event::Ended { is_clean: true }]);
        pair.give_eof();
        assert_eq!(pair.events.len(), 1, "it is told once");
        assert!(pair.server.is_established());
        pair.server.send_plain(b"answer").unwrap();
        pair.server.close(Instant::ZERO);
        pair.answer();
        assert_eq!(pair.client_received, b"answer");
        assert!(client_was_told(&mut pair));
    }
}

#[test]
fn the_end_is_told_after_the_last_plaintext() {
    let mut pair = pair();
    std::io::Write::write_all(&mut pair.client.writer(), b"question").unwrap();
    pair.client.send_close_notify();
    let bytes = pair.client_bytes();
    assert_eq!(pair.server.receive(&bytes, Instant::ZERO), bytes.len());
    assert_eq!(pair.server.poll_event(), None);
    pair.server.consume_plain(3);
    assert_eq!(pair.server.poll_event(), None);
    assert_eq!(pair.server.plain(), b"stion");
    pair.server.consume_plain(5);
    assert_eq!(pair.server.poll_event(), Some(Event::Ended { is_clean: true }));
    assert_eq!(pair.server.poll_event(), None);
}

#[test]
fn an_end_without_goodbye_is_told_as_such() {
    let mut pair = pair();
    std::io::Write::write_all(&mut pair.client.writer(), b"question").unwrap();
    let bytes = pair.client_bytes();
    pair.give(&bytes[..bytes.len() - 1]);
    pair.give_eof();
    assert_eq!(pair.received, b"", "half a record is none");
    assert_eq!(pair.events, [Event::Ended { is_clean: false }]);
    assert_eq!(pair.server.violation(), None);
    assert!(pair.server.is_established());
    pair.server.send_plain(b"answer").unwrap();
}

#[test]
fn we_say_goodbye_behind_what_was_sent() {
    let mut pair = pair();
    pair.server.send_plain(b"last words").unwrap();
    pair.server.close(Instant::ZERO);
    assert_eq!(pair.server.is_closing(), Some(Cause::Complete));
    assert!(pair.server.send_plain(b"more").is_err());
    let before = pair.server.outbound().len();
    pair.server.close(Instant::ZERO);
    assert_eq!(pair.server.outbound().len(), before, "goodbye is said once");
    pair.answer();
    assert_eq!(pair.client_received, b"last words");
    assert!(client_was_told(&mut pair));
    std::io::Write::write_all(&mut pair.client.writer(), b"but").unwrap();
    let bytes = pair.client_bytes();
    pair.give(&bytes);
    assert_eq!((pair.received.len(), pair.events.len()), (0, 0));
}

#[test]
fn a_connection_can_be_closed_at_any_time() {
    let (certificates, client) = simple();
    for sent in [0, 10, usize::MAX] {
        let mut pair = Pair::new(&certificates, client.clone(), "a.test");
        let hello = pair.client_bytes();
        pair.give(&hello[..sent.min(hello.len())]);
        assert!(pair.server.send_plain(b"x").is_err(), "nothing is sent before the handshake is done");
        pair.server.close(Instant::ZERO);
        pair.assert_refused(Cause::Complete);
        assert_eq!(pair.server.violation(), None);
        pair.give(&hello);
        assert_eq!(pair.events, []);
    }
}
