//! What holds for every input, however it is cut and whatever it is.

use super::*;
use crate::entropy::Entropy;
use crate::error::Violation;

/// All that can be seen of a conversation.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    out: Vec<u8>,
    closing: Option<Cause>,
    violation: Option<Violation>,
}

fn small() -> Settings {
    Settings { message_bytes: 300, frames: 4, ..settings() }
}

/// Plays `input` to a connection in pieces whose sizes `next_size` says.
fn play(mut connection: Connection, input: &[u8], mut next_size: impl FnMut() -> usize) -> Seen {
    let mut events = Vec::new();
    let mut kept = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(next_size().clamp(1, rest.len()));
        rest = behind;
        kept.extend_from_slice(piece);
        let (more, left) = offer(&mut connection, &kept);
        let left = left.len();
        kept.drain(..kept.len() - left);
        assert!(left < 14 + 125, "{left} bytes left");
        events.extend(more);
        let deadline = connection.poll_timeout();
        connection.handle_timeout(NOW);
        assert_eq!(connection.poll_timeout(), deadline, "a spurious timeout changes nothing");
    }
    if let Some(violation) = connection.violation() {
        assert_eq!(connection.is_closing(), Some(violation.what));
        assert_eq!(feed(&mut connection, &masked(0x89, b"late")), []);
        assert_eq!(connection.held(), 0);
    }
    let (closing, violation) = (connection.is_closing(), connection.violation());
    Seen { events, out: written(&mut connection), closing, violation }
}

/// Plays `input` whole, a byte at a time, and in random pieces, to a server.
fn check(input: &[u8], deflate: Option<Deflate>, entropy: &mut SeededEntropy) -> Seen {
    let machine = || server_with(small(), deflate);
    let whole = play(machine(), input, || usize::MAX);
    assert_eq!(play(machine(), input, || 1), whole, "{} a byte at a time", input.escape_ascii());
    for most in [4, 40] {
        let random = play(machine(), input, || 1 + entropy.below(most) as usize);
        assert_eq!(random, whole, "{} in random pieces", input.escape_ascii());
    }
    whole
}

fn vectors() -> Vec<Vec<u8>> {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let zeros = crate::websocket::deflate::Encoder::new(15).encode(&[0; 280]);
    let text = crate::websocket::deflate::Encoder::new(15).encode("κόσμε ".repeat(12).as_bytes());
    vec![
        join(&[masked(0x81, "Hello κόσμε".as_bytes()), masked(0x82, b""), masked(0x89, b"ping"), masked(0x8a, b"")]),
        join(&[masked(0x01, b"a\xe2"), masked(0x89, b"x"), masked(0x00, b"\x82"), masked(0x80, b"\xac.")]),
        join(&[masked(0x82, &[7; 300]), masked(0x02, &[7; 200]), masked(0x80, &[8; 100])]),
        join(&[masked(0x82, &[7; 126]), masked(0x82, &[7; 301])]),
        join(&[masked(0x81, b"ok"), masked(0x81, b"not \xff ok")]),
        join(&[masked(0x02, b""), masked(0x00, b""), masked(0x00, b""), masked(0x00, b""), masked(0x80, b"")]),
        join(&[masked(0x88, b"\x03\xe8bye"), masked(0x81, b"late")]),
        join(&[masked(0xc1, &hello), masked(0xc1, &hello), masked(0x41, &hello[..2]), masked(0x80, &hello[2..])]),
        join(&[masked(0xc1, &hello), masked(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]), masked(0x89, b"")]),
        join(&[masked(0x42, &zeros[..3]), masked(0x89, b"."), masked(0x80, &zeros[3..]), masked(0xc1, &text)]),
        join(&[masked(0xc1, &text), masked(0xc2, &text), masked(0xc2, &[0xff; 9])]),
        join(&[masked(0xc2, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), masked(0xc2, &zeros)]),
    ]
}

const AGREEMENTS: [Option<Deflate>; 3] = [
    None,
    Some(Deflate {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
    }),
    Some(Deflate {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: Some(9),
        client_max_window_bits: Some(9),
    }),
];

#[test]
fn any_chunking_gives_the_same_events_and_bytes() {
    let mut entropy = SeededEntropy::from_number(6455);
    let (mut events, mut violations) = (0, 0);
    for deflate in AGREEMENTS {
        for vector in vectors() {
            for input in [vector.clone(), [&vector[..], b"trailing"].concat(), [&vector[..], &vector].concat()] {
                let seen = check(&input, deflate, &mut entropy);
                events += seen.events.len();
                violations += usize::from(seen.violation.is_some());
            }
        }
    }
    assert!(events > 100 && violations > 20, "{events} events, {violations} violations");
}

#[test]
fn mutated_input_neither_panics_nor_breaks_a_law() {
    let mut entropy = SeededEntropy::from_number(1007);
    let vectors = vectors();
    for round in 0..3000_usize {
        let mut input = vectors[round % vectors.len()].clone();
        for _ in 0..=entropy.below(3) {
            let at = entropy.below(input.len() as u64 + 1) as usize;
            let byte = b"\x00\x01\x7e\x7f\x80\x81\x82\x88\x89\x8a\xc1\xc2\xfe\xff"[entropy.below(14) as usize];
            match entropy.below(5) {
                0 => input.insert(at, byte),
                1 if at < input.len() => input[at] = byte,
                2 if at < input.len() => drop(input.remove(at)),
                3 if at < input.len() => input[at] ^= 1 << entropy.below(8),
                _ => input.extend_from_within(at..),
            }
        }
        check(&input, AGREEMENTS[round % 3], &mut entropy);
    }
}

/// Random commands on both sides, in random pieces, under random agreements: each side hears what the other said.
#[test]
fn commands_of_one_side_are_the_events_of_the_other() {
    for seed in 0..24 {
        let mut entropy = SeededEntropy::from_number(seed);
        let bits = |entropy: &mut SeededEntropy| entropy.below(2).eq(&0).then(|| 9 + entropy.below(7) as u8);
        let deflate = (seed % 3 > 0).then(|| Deflate {
            server_no_context_takeover: entropy.below(2) == 0,
            client_no_context_takeover: entropy.below(2) == 0,
            server_max_window_bits: bits(&mut entropy),
            client_max_window_bits: bits(&mut entropy),
        });
        let (mut server, mut client) = (server_with(settings(), deflate), client_with(settings(), deflate));
        converse(&mut server, &mut client, &mut entropy, seed);
        converse(&mut client, &mut server, &mut entropy, seed);
    }
}

/// `from` sends random events, and `to` receives them in random pieces.
fn converse(from: &mut Connection, to: &mut Connection, entropy: &mut SeededEntropy, seed: u64) {
    let (mut sent, mut heard, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..30 {
        let event = random_event(entropy);
        match &event {
            Event::Message(message) if entropy.below(2) == 0 => {
                from.send_prepared(&mut Prepared::new(message), NOW).unwrap()
            }
            Event::Message(_) | Event::Ping(_) | Event::Pong(_) | Event::Close(_) => {
                from.send(event.clone(), NOW).unwrap()
            }
        };
        sent.push(event);
        // Now and then much is queued at once.
        while from.queued() > 0 && entropy.below(4) > 0 {
            let rope = from.outbound();
            let n = (1 + entropy.below(3000) as usize).min(rope.len());
            kept.extend(rope.iter().flatten().take(n));
            rope.advance(n);
            let (events, left) = offer(to, &kept);
            let left = left.len();
            kept.drain(..kept.len() - left);
            heard.extend(events);
        }
    }
    kept.extend(written(from));
    heard.extend(feed(to, &kept));
    let split = |events: Vec<Event>| events.into_iter().partition::<Vec<_>, _>(|e| matches!(e, Event::Message(_)));
    // Control frames overtake messages that wait, but neither kind changes its order.
    assert_eq!(split(heard), split(sent), "seed {seed}");
    // What was answered to the pings is no part of the next conversation.
    feed(from, &written(to));
}

fn random_event(entropy: &mut SeededEntropy) -> Event {
    let length = [0, 5, 63, 64, 125, 126, 700, 5000, 70_000][entropy.below(9) as usize];
    let mut payload = vec![0; length];
    entropy.fill(&mut payload);
    match entropy.below(5) {
        0 => binary(&payload),
        1 => Event::Ping(Bytes::from(payload).slice(..length.min(125))),
        2 => Event::Pong(Bytes::from(payload).slice(..length.min(125))),
        _ => {
            payload.iter_mut().for_each(|byte| *byte = b'a' + *byte % 4);
            text(core::str::from_utf8(&payload).unwrap())
        }
    }
}

#[test]
fn an_idle_connection_is_small_and_owns_no_buffer() {
    assert!(size_of::<Connection>() <= 350, "{}", size_of::<Connection>());
    let mut server = server_with(settings(), AGREEMENTS[2]);
    feed(&mut server, &join(&[masked(0x01, b"a"), masked(0x80, &[b'b'; 70_000]), masked(0x89, b"c")]));
    for _ in 0..3 {
        server.send(text(&"d".repeat(70_000)), NOW).unwrap();
    }
    written(&mut server);
    assert_eq!((server.held(), server.queued()), (0, 0));
    assert!(server.backlog.is_none() && server.event.is_none() && server.codec.is_none());
}
