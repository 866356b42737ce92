//! Nothing grows without a bound, and what is idle is small.

use core::mem::size_of;

use super::*;
use crate::socketio::Generation::{Five, One, Two};
use crate::socketio::Layer::{Plain, SocketIo};
use crate::socketio::Transport::{Polling, WebSocket};

#[test]
fn an_idle_client_is_small() {
    let mut server = Server::connected(recoverable());
    server.pass(300);
    server.says("3");
    server.sent();
    let bytes = size_of::<Connection>() + server.connection.held();
    assert!(bytes <= 512, "{bytes} bytes, {} of them inline", size_of::<Connection>());
}

#[test]
fn what_waits_is_bounded() {
    let settings = Settings { queue_bytes: 4096, ..settings() };
    for generation in [Five, Two, One] {
        let mut server = Server::new(generation, SocketIo, Polling, settings.clone());
        if generation == Five {
            server.post("40").unwrap();
        }
        server.connection.set_polling(true, server.now);
        server.payload();
        let mut queued = 0;
        let refused = loop {
            match server.connection.send(server.event("[\"a\",\"bcdefghijklmnopqrstuvwxyz\"]"), server.now) {
                Ok(()) => queued += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, SendError::Full);
        assert!((10..200).contains(&queued) && server.connection.held() < 8192, "{queued}");
        server.connection.set_polling(true, server.now);
        server.payload();
        server.connection.send(server.event("[\"a\"]"), server.now).unwrap();
    }
}

#[test]
fn one_packet_waits_whatever_its_size() {
    let settings = Settings { queue_bytes: 10, ..settings() };
    let mut server = Server::new(Five, SocketIo, WebSocket, settings);
    server.answers = false;
    server.says("40");
    server.connection.accept("/", socket(1), server.now).unwrap();
    server.sent();
    server.emit("/", None, b"[\"longer than the queue may be\"]", Vec::new());
    assert_eq!(server.connection.send(server.event("[\"a\"]"), server.now), Err(SendError::Full));
}

#[test]
fn who_makes_us_speak_and_does_not_listen_is_closed() {
    let settings = Settings { queue_bytes: 4096, ..settings() };
    let mut server = Server::with_base64(Two, Plain, Polling, settings.clone(), true);
    let flood: String = core::iter::repeat_n("1:2", 1000).collect();
    server.post(&flood).unwrap();
    assert_eq!(server.closing(), Some(Cause::SlowClient));
    assert!(server.connection.held() < 8192);
    let mut server = Server::new(One, SocketIo, WebSocket, settings);
    for _ in 0..1000 {
        server.says("5:1::{\"name\":\"a\"}");
    }
    assert_eq!(server.closing(), Some(Cause::SlowClient));
}

#[test]
fn packets_of_a_payload_are_bounded() {
    let settings = Settings { packets: 10, ..settings() };
    let flood = |packet: &'static str, count| core::iter::repeat_n(packet, count).collect::<Vec<_>>();
    for (generation, ten, eleven) in [
        (Five, flood("4a", 10).join("\x1e"), flood("4a", 11).join("\x1e")),
        (Two, flood("2:4a", 10).concat(), flood("2:4a", 11).concat()),
    ] {
        let mut server = Server::new(generation, Plain, Polling, settings.clone());
        server.post(&ten).unwrap();
        assert_eq!(server.seen.len(), 10);
        assert_eq!(server.post(&eleven), Err(Cause::PacketsTooMany));
    }
}

#[test]
fn attachments_are_bounded() {
    let mut server = Server::connected(Settings { attachments: 2, ..settings() });
    server.says("453-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":2}]");
    assert_eq!(server.closing(), Some(Cause::AttachmentsWrong));
    let mut server = Server::connected(Settings { payload_bytes: 100, ..settings() });
    let places = (0..20).map(|n| format!("{{\"_placeholder\":true,\"num\":{n}}}")).collect::<Vec<_>>().join(",");
    server.says(&format!("4520-[\"a\",{places}]"));
    for _ in 0..10 {
        server.says_bytes(&[0; 100]);
    }
    assert_eq!(server.closing(), None);
    server.says_bytes(&[0]);
    assert_eq!((server.closing(), server.connection.held() < 4096), (Some(Cause::MessageTooLarge), true));
}

#[test]
fn namespaces_are_bounded_and_their_places_are_used_again() {
    let mut server = Server::new(Five, SocketIo, WebSocket, Settings { namespaces: 3, ..recoverable() });
    server.answers = false;
    for n in 0..3 {
        server.says(&format!("40/{n}"));
        server.connection.accept(&format!("/{n}"), socket(n), server.now).unwrap();
        server.emit(&format!("/{n}"), None, b"[\"a\"]", Vec::new());
    }
    server.says("41/1");
    for n in 0..20 {
        server.says(&format!("40/again{n}"));
        server.connection.accept(&format!("/again{n}"), socket(n), server.now).unwrap();
        server.says(&format!("41/again{n}"));
    }
    assert_eq!(server.closing(), None);
    assert!(server.connection.is_connected("/0") && server.connection.is_connected("/2"));
    assert!(server.connection.can_recover("/0", "") && server.connection.can_recover("/2", ""));
    server.says("40/again0");
    server.says("40/one too many");
    assert_eq!(server.closing(), Some(Cause::NamespacesMax));
}

#[test]
fn json_is_bounded() {
    let mut server = Server::connected(Settings { depth: 4, ..settings() });
    server.says("42[\"a\",[[[1]]]]");
    assert_eq!(server.closing(), None);
    server.says("42[\"a\",[[[[1]]]]]");
    assert_eq!(server.closing(), Some(Cause::JsonTooDeep));
}

#[test]
fn a_payload_is_cut_at_packets() {
    let mut server = Server::new(Five, Plain, Polling, settings());
    server.get();
    for _ in 0..10 {
        server.connection.send(Event::Message(message(&"x".repeat(100))), server.now).unwrap();
    }
    let mut sizes = Vec::new();
    while server.connection.queued() > 0 {
        server.connection.set_polling(true, server.now);
        sizes.push(server.connection.take_payload(350, server.now).0.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 10 * 101 + 10 - sizes.len());
    assert!(sizes.iter().all(|size| *size <= 350) && sizes.len() <= 5, "{sizes:?}");
    server.connection.send(Event::Message(message(&"x".repeat(1000))), server.now).unwrap();
    server.connection.set_polling(true, server.now);
    assert_eq!(server.connection.take_payload(350, server.now).0.len(), 1001);
}
