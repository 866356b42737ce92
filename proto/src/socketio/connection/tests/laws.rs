//! What holds for every machine.

use super::*;
use crate::entropy::{Entropy, SeededEntropy};
use crate::socketio::Generation::{Five, One, Two};
use crate::socketio::Layer::{Plain, SocketIo};
use crate::socketio::Transport::{Polling, WebSocket};

const TEXTS: [&str; 22] = [
    "40",
    "40/custom,{\"a\":1}",
    "40/random",
    "41",
    "41/custom",
    "42[\"message\",1]",
    "42/custom,7[\"message-with-ack\",1]",
    "437[]",
    "451-[\"message\",{\"_placeholder\":true,\"num\":0}]",
    "2",
    "3",
    "2probe",
    "5",
    "1",
    "6",
    "4",
    "0{}",
    "5:1::{\"name\":\"a\"}",
    "3:::text",
    "2::",
    "0::",
    "1::/custom",
];

fn servers() -> Vec<Server> {
    let mut servers = Vec::new();
    for settings in [settings(), recoverable()] {
        for transport in [Polling, WebSocket] {
            servers.push(Server::new(Five, SocketIo, transport, settings.clone()));
            servers.push(Server::new(Two, SocketIo, transport, settings.clone()));
            servers.push(Server::new(One, SocketIo, transport, settings.clone()));
            servers.push(Server::new(Five, Plain, transport, settings.clone()));
            servers.push(Server::new(Two, Plain, transport, settings.clone()));
        }
    }
    servers
}

/// All that comes out of a server, by whatever way.
fn drain(server: &mut Server) -> Vec<String> {
    let mut out = server.sent();
    out.extend(server.payload().map(|(body, _)| body.escape_ascii().to_string()));
    out
}

/// One thing happens to a server, which depends on the numbers alone.
fn act(server: &mut Server, entropy: &mut dyn Entropy) {
    let text = TEXTS[pick(entropy, TEXTS.len())];
    let mut bytes = text.as_bytes().to_vec();
    if pick(entropy, 3) == 0 && !bytes.is_empty() {
        let at = pick(entropy, bytes.len());
        bytes[at] = pick(entropy, 256) as u8;
    }
    let mangled = core::str::from_utf8(&bytes).unwrap_or(text);
    match pick(entropy, 12) {
        0..=4 => server.says(mangled),
        5 => server.says_bytes(&bytes),
        6 | 7 => drop(server.post(mangled)),
        8 => drop(server.post_bytes(&bytes, Encoding::Binary)),
        9 => server.connection.set_polling(true, server.now),
        10 => {
            server.connection.begin_probe(server.now);
            drop(server.connection.receive_probe(message(mangled), server.now));
        }
        _ => server.pass(pick(entropy, 200) as u64),
    }
}

fn pick(entropy: &mut dyn Entropy, below: usize) -> usize {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % below
}

#[test]
fn timeouts_that_are_not_due_change_nothing() {
    for seed in 0..20 {
        for (mut plain, mut nudged) in servers().into_iter().zip(servers()) {
            let (mut one, mut other) = (SeededEntropy::from_number(seed), SeededEntropy::from_number(seed));
            for _ in 0..30 {
                act(&mut plain, &mut one);
                act(&mut nudged, &mut other);
                if nudged.connection.poll_timeout().is_none_or(|deadline| deadline > nudged.now) {
                    nudged.connection.handle_timeout(nudged.now);
                }
                assert_eq!(drain(&mut plain), drain(&mut nudged), "seed {seed}");
                assert_eq!((&plain.seen, plain.closing()), (&nudged.seen, nudged.closing()), "seed {seed}");
                assert_eq!(plain.connection.poll_timeout(), nudged.connection.poll_timeout());
            }
        }
    }
}

#[test]
fn after_the_end_there_is_nothing_but_the_farewell() {
    for seed in 0..40 {
        for mut server in servers() {
            let mut entropy = SeededEntropy::from_number(seed);
            for _ in 0..60 {
                let was_closing = server.closing();
                let (seen, violation) = (server.seen.len(), server.connection.violation());
                act(&mut server, &mut entropy);
                if was_closing.is_some() {
                    assert_eq!((server.closing(), server.seen.len()), (was_closing, seen));
                    assert_eq!(server.connection.violation(), violation);
                    assert_eq!((server.connection.queued(), server.connection.poll_timeout()), (0, None));
                } else {
                    drain(&mut server);
                    if server.closing().is_some() {
                        // The farewell goes alone, behind what waited.
                        for _ in 0..2 {
                            server.connection.set_polling(true, server.now);
                            drain(&mut server);
                        }
                        // What nobody has come to fetch: a closing machine says it no more than once.
                        server.sent();
                    }
                }
                assert!(server.connection.held() < 64 * 1024);
            }
        }
    }
}

#[test]
fn what_waits_is_counted() {
    for seed in 0..40 {
        for mut server in servers() {
            let mut entropy = SeededEntropy::from_number(seed);
            for _ in 0..40 {
                act(&mut server, &mut entropy);
                assert!(server.connection.held() >= server.connection.queued(), "nothing of it is shared");
            }
            let queued = server.connection.queued();
            let sent: usize = core::iter::from_fn(|| server.connection.poll_message()).map(|m| m.payload.len()).sum();
            if sent > 0 {
                assert_eq!((queued, server.connection.queued()), (sent, 0));
            }
        }
    }
}
