//! socket.io 0.9.

use super::*;
use crate::socketio::Generation::One;
use crate::socketio::Layer::SocketIo;
use crate::socketio::Transport::{Polling, WebSocket};

fn opened() -> Server {
    let mut server = Server::new(One, SocketIo, Polling, settings());
    assert!(server.connection.begin_probe(server.now), "its WebSocket is the transport at once");
    assert_eq!((server.connection.transport(), server.sent()), (WebSocket, ["1::".to_string()].into()));
    server
}

#[test]
fn the_main_namespace_comes_by_itself() {
    let mut server = Server::new(One, SocketIo, Polling, settings());
    assert_eq!(server.seen, ["connect /"]);
    assert_eq!(server.get().as_deref(), Some("1::"));
    assert_eq!(server.get(), None);
    opened();
}

#[test]
fn events_messages_and_json_are_carried() {
    let mut server = opened();
    server.says("5:::{\"name\":\"message\",\"args\":[1,{\"a\":2}]}");
    server.says("3:::hello");
    server.says("4:::{\"a\":[1]}");
    assert_eq!(
        server.seen[1..],
        ["event / [\"message\",1,{\"a\":2}]", "event / [\"message\",\"hello\"]", "event / [\"message\",{\"a\":[1]}]"]
    );
    let back = "5:::{\"name\":\"message-back\",\"args\":[1,{\"a\":2}]}";
    assert_eq!(server.sent()[0], back);
}

#[test]
fn acknowledgements_are_data_or_by_itself() {
    let mut server = opened();
    server.says("5:7+::{\"name\":\"message-with-ack\",\"args\":[1]}");
    assert_eq!(server.sent(), ["6:::7+[1]"]);
    server.says("5:8::{\"name\":\"other\",\"args\":[1]}");
    assert_eq!(server.sent(), ["6:::8"]);
    server.emit("/", Some(3), b"[\"question\",1]", Vec::new());
    assert_eq!(server.sent(), ["5:3+::{\"name\":\"question\",\"args\":[1]}"]);
    server.says("6:::3+[\"answer\"]");
    assert_eq!(server.seen.last().unwrap(), "ack / #3 [\"answer\"]");
}

#[test]
fn several_packets_come_framed() {
    let mut server = Server::new(One, SocketIo, Polling, settings());
    server.get();
    let framed = "\u{fffd}7\u{fffd}3:::one\u{fffd}7\u{fffd}3:::two";
    server.post(framed).unwrap();
    assert_eq!(server.seen.len(), 3);
    server.says(framed);
    assert_eq!(server.seen.len(), 5);
    let answers = server.get().unwrap();
    assert!(answers.starts_with('\u{fffd}') && answers.matches("message-back").count() == 4, "{answers}");
}

#[test]
fn endpoints_are_asked_for_given_refused_and_left() {
    let mut server = opened();
    server.says("1::/custom?token=a");
    assert_eq!(server.seen[1], "connect /custom {\"token\":\"a\"}");
    assert_eq!(server.sent(), ["1::/custom"]);
    server.says("5::/custom:{\"name\":\"message\",\"args\":[1]}");
    assert_eq!(server.sent(), ["5::/custom:{\"name\":\"message-back\",\"args\":[1]}"]);
    server.says("1::/random");
    let refusal = server.sent();
    assert!(refusal.len() == 1 && refusal[0].starts_with("7::/random:"), "{refusal:?}");
    server.says("0::/custom");
    assert_eq!(server.seen.last().unwrap(), "disconnect /custom \"client namespace disconnect\"");
    server.says("5::/custom:{\"name\":\"message\",\"args\":[1]}");
    assert_eq!((server.sent().len(), server.closing()), (0, None));
}

#[test]
fn heartbeats_are_sent_and_silence_closes() {
    let mut server = opened();
    for _ in 0..3 {
        server.pass(300);
        assert_eq!(server.sent(), ["2::"]);
        server.says("2::");
    }
    server.pass(499);
    assert_eq!((server.sent(), server.closing()), (["2::".to_string()].into(), None));
    server.pass(1);
    assert_eq!((server.sent(), server.closing()), (["7:::1+0".to_string()].into(), Some(Cause::PingTimeout)));
}

#[test]
fn polls_are_life() {
    let mut server = Server::new(One, SocketIo, Polling, settings());
    server.get();
    for _ in 0..5 {
        assert_eq!(server.get(), None);
        server.pass(300);
        assert_eq!(server.answer_to_get().as_deref(), Some("2::"));
    }
    assert_eq!(server.closing(), None);
}

#[test]
fn a_client_closes_and_its_poll_ends() {
    let mut server = Server::new(One, SocketIo, Polling, settings());
    server.get();
    server.get();
    server.post("0::").unwrap();
    assert_eq!((server.closing(), server.answer_to_get().as_deref()), (Some(Cause::ClientClosed), Some("8::")));
    // `?disconnect`
    let mut server = Server::new(One, SocketIo, Polling, settings());
    server.get();
    server.get();
    server.connection.close(Cause::ClientClosed, server.now);
    assert_eq!(server.answer_to_get().as_deref(), Some("8::"));
}

#[test]
fn the_owner_closes_with_and_without_a_way_back() {
    for (cause, words) in [(Cause::Complete, "0::"), (Cause::Stopping, "7:::1+0")] {
        let mut server = opened();
        server.connection.close(cause, server.now);
        assert_eq!((server.sent(), server.closing()), ([words.to_string()].into(), Some(cause)));
    }
}

#[test]
fn a_client_may_fall_back_to_polling_and_come_back() {
    let mut server = Server::new(One, SocketIo, Polling, settings());
    assert!(server.connection.begin_probe(server.now));
    assert_eq!(server.get().as_deref(), Some("1::"), "its WebSocket has brought nothing");
    assert_eq!(server.connection.transport(), Polling);
    assert!(server.connection.begin_probe(server.now));
    assert_eq!(server.connection.transport(), WebSocket);
}

#[test]
fn whatever_is_no_packet_closes() {
    for text in ["", "9::", "5", "5:::{", "abc", "5:x::{\"name\":\"a\"}"] {
        let mut server = opened();
        server.says(text);
        assert!(server.connection.violation().is_some(), "{text:?}");
        assert_eq!(server.sent(), ["7:::1+0"]);
    }
    let mut server = opened();
    server.says_bytes(b"3:::binary");
    assert_eq!(server.closing(), Some(Cause::PacketMalformed));
}
