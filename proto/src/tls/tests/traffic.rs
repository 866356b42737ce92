//! Plaintext on its way.

use bytes::Bytes;
use std::io::Write;

use super::peer::*;
use crate::rope::Rope;
use crate::time::Instant;
use crate::tls::SEND_MAX;

const BULK: usize = 10 * 1024 * 1024;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn pair() -> Pair {
    let (certificates, client) = simple();
    Pair::established(&certificates, client)
}

#[test]
fn any_cutting_of_the_ciphertext_gives_the_same() {
    let (certificates, client) = simple();
    let data = pattern(50_000);
    let mut facts = None;
    for step in [1, 2, 3, 7, 100, 4096, 16_406, 1 << 20] {
        let mut pair = Pair::new(&certificates, client.clone(), "a.test").in_steps_of(step);
        pair.run();
        let (cipher, version) = (pair.facts().cipher, pair.facts().version);
        assert_eq!(*facts.get_or_insert((cipher, version)), (cipher, version));
        pair.client_sends(&data);
        assert_eq!(pair.received, data, "step {step}");
        assert_eq!(pair.events.len(), 1);
        assert!(pair.server.outbound().is_empty());
    }
}

#[test]
fn much_goes_down_with_little_in_the_queue() {
    let (mut pair, data) = (pair(), pattern(BULK));
    let mut plain = Rope::new();
    plain.push(Bytes::from(data.clone()));
    while !plain.is_empty() {
        let before = plain.len();
        let sent = pair.server.send_from(&mut plain).unwrap();
        assert_eq!((sent, plain.len()), (before.min(SEND_MAX), before - sent));
        assert!(pair.server.outbound().len() <= SEND_MAX + 4 * 22);
        pair.answer();
    }
    assert_eq!(pair.client_received.len(), data.len());
    assert!(pair.client_received == data);
}

#[test]
fn much_comes_up_with_little_in_the_queue() {
    let (mut pair, data) = (pair(), pattern(BULK));
    let mut kept = Vec::new();
    for piece in data.chunks(SEND_MAX) {
        pair.client.writer().write_all(piece).unwrap();
        kept.extend(pair.client_bytes());
        loop {
            let used = pair.server.receive(&kept, Instant::ZERO);
            kept.drain(..used);
            let mut into = [0; 40_000];
            let len = pair.server.poll_plain(&mut into);
            assert!(len <= 32 * 1024);
            pair.received.extend_from_slice(&into[..len]);
            if used == 0 {
                break;
            }
        }
        assert!(kept.is_empty());
    }
    assert!(pair.received == data);
}

#[test]
fn nothing_is_consumed_while_plaintext_waits() {
    let mut pair = pair();
    pair.client.writer().write_all(b"one").unwrap();
    let one = pair.client_bytes();
    pair.client.writer().write_all(b"two").unwrap();
    let two = pair.client_bytes();
    assert_eq!(pair.server.receive(&one, Instant::ZERO), one.len());
    assert_eq!(pair.server.receive(&two, Instant::ZERO), 0);
    assert_eq!(pair.server.plain(), b"one");
    pair.server.consume_plain(2);
    assert_eq!(pair.server.receive(&two, Instant::ZERO), 0);
    pair.server.consume_plain(1);
    assert_eq!(pair.server.receive(&two, Instant::ZERO), two.len());
    assert_eq!(pair.server.plain(), b"two");
}

#[test]
fn small_pieces_share_a_record() {
    const OVERHEAD: usize = 22;
    let mut pair = pair();
    let mut plain = Rope::new();
    for piece in 0..20_u8 {
        plain.push(Bytes::from(vec![piece; 1024]));
    }
    assert_eq!(pair.server.send_from(&mut plain).unwrap(), 20 * 1024);
    assert!(plain.is_empty());
    assert_eq!(pair.server.outbound().len(), 20 * 1024 + 2 * OVERHEAD);
    pair.answer();
    assert_eq!(pair.client_received, (0..20_u8).flat_map(|piece| [piece; 1024]).collect::<Vec<_>>());
    assert_eq!(pair.server.send_from(&mut plain), Ok(0));
    assert!(pair.server.outbound().is_empty(), "nothing is not a record");
}

#[test]
fn nobody_sends_before_the_handshake() {
    let (certificates, client) = simple();
    let mut pair = Pair::new(&certificates, client, "a.test");
    let mut plain = Rope::new();
    plain.push_copy(b"early");
    assert!(pair.server.send_from(&mut plain).is_err());
    assert_eq!(plain.len(), 5);
    assert!(pair.server.outbound().is_empty());
}

#[test]
fn a_key_update_is_answered_and_the_talk_goes_on() {
    let mut pair = pair();
    for round in 0..100_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_sends(&[round; 100]);
        pair.server.send_plain(&[round; 100]).unwrap();
        pair.run();
    }
    assert_eq!((pair.received.len(), pair.client_received.len()), (10_000, 10_000));
    assert!(pair.received == pair.client_received);
}
