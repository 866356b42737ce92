//! socket.io 5, case by case as the protocol's own suite has them, and namespaces beyond it.

use super::*;
use crate::socketio::Generation::Five;
use crate::socketio::Layer::SocketIo;
use crate::socketio::Transport::{Polling, WebSocket};

fn opened() -> Server {
    let mut server = Server::new(Five, SocketIo, WebSocket, settings());
    assert_eq!(server.sent(), [hello("")]);
    server
}

fn connected() -> Server {
    Server::connected(settings())
}

#[test]
fn the_main_namespace_is_given() {
    let mut server = opened();
    server.says("40");
    assert_eq!(server.sent(), [format!("40{{\"sid\":\"{}\"}}", socket(1)), "42[\"auth\",{}]".into()]);
    assert_eq!(server.seen, ["connect /"]);
}

#[test]
fn the_main_namespace_is_given_for_a_payload() {
    let mut server = opened();
    server.says("40{\"token\":\"123\"}");
    assert_eq!(server.sent()[1], "42[\"auth\",{\"token\":\"123\"}]");
}

#[test]
fn a_custom_namespace_is_given() {
    for (asks, auth) in
        [("40/custom,", "{}"), ("40/custom", "{}"), ("40/custom,{\"token\":\"abc\"}", "{\"token\":\"abc\"}")]
    {
        let mut server = opened();
        server.says(asks);
        let answer = format!("40/custom,{{\"sid\":\"{}\"}}", socket(1));
        assert_eq!(server.sent(), [answer, format!("42/custom,[\"auth\",{auth}]")]);
    }
}

#[test]
fn an_unknown_namespace_is_refused() {
    let mut server = opened();
    server.says("40/random");
    assert_eq!(server.sent(), ["44/random,{\"message\":\"Invalid namespace\"}"]);
    server.pass(449);
    assert_eq!((server.sent(), server.closing()), (["2".to_string()].into(), None));
    server.says("3");
    server.pass(1);
    assert_eq!(server.closing(), Some(Cause::ConnectTimeout), "that gave it nothing");
}

#[test]
fn whatever_is_no_packet_closes() {
    let packets = [
        "4abc",
        "42{}",
        "42abc[\"message-with-ack\",1,\"2\",{\"3\":[false]}]",
        "42[]",
        "42[{}]",
        "43[]",
        "4",
        "40[]",
        "47",
    ];
    for text in packets {
        let mut server = connected();
        server.says(text);
        assert!(server.connection.violation().is_some(), "{text}");
    }
    let mut server = opened();
    server.says("4abc");
    assert_eq!(server.closing(), Some(Cause::PacketMalformed));
}

#[test]
fn a_client_that_asks_for_nothing_is_closed() {
    let mut server =
        Server::new(Five, SocketIo, WebSocket, Settings { ping_interval: Duration::from_secs(9), ..settings() });
    server.pass(449);
    assert_eq!(server.closing(), None);
    server.pass(1);
    assert_eq!(server.closing(), Some(Cause::ConnectTimeout));
    assert!(server.connection.violation().is_none());
}

#[test]
fn the_main_namespace_is_left() {
    let mut server = connected();
    server.says("41");
    assert_eq!(server.seen, ["disconnect / \"client namespace disconnect\""]);
    assert!(!server.connection.is_connected("/"));
    server.pass(300);
    assert_eq!(server.sent(), ["2"]);
}

#[test]
fn a_custom_namespace_is_left() {
    let mut server = connected();
    server.says("40/custom");
    server.sent();
    server.says("41/custom");
    server.says("42[\"message\",\"message to main namespace\"]");
    assert_eq!(server.sent(), ["42[\"message-back\",\"message to main namespace\"]"]);
}

#[test]
fn events_are_carried_both_ways() {
    let mut server = connected();
    server.says("42[\"message\",1,\"2\",{\"3\":[true]}]");
    assert_eq!(server.sent(), ["42[\"message-back\",1,\"2\",{\"3\":[true]}]"]);
}

#[test]
fn attachments_are_carried_both_ways() {
    let mut server = connected();
    server.says("452-[\"message\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]");
    server.says_bytes(&[1, 2, 3]);
    assert!(server.seen.is_empty(), "one is missing");
    server.says_bytes(&[4, 5, 6]);
    let head = "452-[\"message-back\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    assert_eq!(server.sent(), [head, "[1, 2, 3]", "[4, 5, 6]"]);
}

#[test]
fn events_are_acknowledged() {
    let mut server = connected();
    server.says("42456[\"message-with-ack\",1,\"2\",{\"3\":[false]}]");
    assert_eq!(server.sent(), ["43456[1,\"2\",{\"3\":[false]}]"]);
    server.says("452-789[\"message-with-ack\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]");
    server.says_bytes(&[1, 2, 3]);
    server.says_bytes(&[4, 5, 6]);
    let head = "462-789[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    assert_eq!(server.sent(), [head, "[1, 2, 3]", "[4, 5, 6]"]);
}

#[test]
fn the_client_acknowledges() {
    let mut server = connected();
    server.emit("/", Some(7), b"[\"question\"]", Vec::new());
    assert_eq!(server.sent(), ["427[\"question\"]"]);
    server.says("437[\"answer\"]");
    assert_eq!(server.seen, ["ack / #7 [\"answer\"]"]);
}

#[test]
fn polling_carries_attachments() {
    let mut server = Server::new(Five, SocketIo, Polling, settings());
    server.get();
    server.post("40").unwrap();
    server.get();
    server.post("451-[\"message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==").unwrap();
    let expected = "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==";
    assert_eq!(server.get().as_deref(), Some(expected));
}

#[test]
fn a_packet_between_attachments_closes() {
    for between in ["42[\"message\"]", "451-[\"a\",{\"_placeholder\":true,\"num\":0}]", "41"] {
        let mut server = connected();
        server.says("452-[\"message\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]");
        server.says_bytes(&[1]);
        server.says(between);
        assert_eq!((server.closing(), server.seen.len()), (Some(Cause::PacketMalformed), 0));
    }
}

#[test]
fn an_attachment_of_nothing_closes() {
    let mut server = connected();
    server.says_bytes(&[1]);
    assert_eq!(server.closing(), Some(Cause::PacketMalformed));
}

#[test]
fn heartbeats_may_come_between_attachments() {
    let mut server = connected();
    server.says("451-[\"message\",{\"_placeholder\":true,\"num\":0}]");
    server.pass(300);
    server.says("3");
    server.says_bytes(&[1]);
    assert_eq!((server.closing(), server.seen.len()), (None, 1));
}

#[test]
fn nothing_comes_before_a_namespace_is_asked_for() {
    for early in ["42[\"message\"]", "41", "430[]"] {
        let mut server = opened();
        server.says(early);
        assert_eq!(server.closing(), Some(Cause::PacketMalformed), "{early}");
    }
    let mut server = connected();
    server.says("42/other,[\"message\"]");
    assert_eq!(server.closing(), Some(Cause::PacketMalformed));
}

#[test]
fn a_namespace_is_asked_for_once() {
    let mut server = opened();
    server.answers = false;
    server.says("40");
    server.says("40");
    assert_eq!((server.seen.len(), server.closing()), (1, None), "nobody has answered yet");
    server.connection.accept("/", socket(1), server.now).unwrap();
    server.says("40");
    assert_eq!(server.closing(), Some(Cause::PacketMalformed));
}

#[test]
fn what_comes_for_a_namespace_that_was_taken_away_is_dropped() {
    let mut server = connected();
    let gone = server.packet(PacketKind::Disconnect, "/", b"\"reason of a node\"");
    server.connection.send(Event::Packet(gone.clone()), server.now).unwrap();
    assert_eq!(server.sent(), ["41"]);
    server.says("42[\"message\"]");
    server.says("41");
    assert_eq!((server.seen.len(), server.closing()), (0, None));
    assert_eq!(server.connection.send(Event::Packet(gone), server.now), Err(SendError::NotConnected));
    assert_eq!(server.connection.send(server.event("[\"a\"]"), server.now), Err(SendError::NotConnected));
    server.says("40");
    assert_eq!(server.sent().len(), 2, "it may ask again");
}

#[test]
fn namespaces_are_told_apart() {
    let mut server = connected();
    server.says("40/custom");
    server.sent();
    server.emit("/custom", None, b"[\"a\"]", Vec::new());
    server.emit("/", None, b"[\"b\"]", Vec::new());
    assert_eq!(server.sent(), ["42/custom,[\"a\"]", "42[\"b\"]"]);
    let other = Event::Packet(server.packet(PacketKind::Event, "/other", b"[\"c\"]"));
    assert_eq!(server.connection.send(other, server.now), Err(SendError::NotConnected));
}

#[test]
fn an_end_that_is_meant_names_every_namespace() {
    let mut server = connected();
    server.says("40/custom");
    server.sent();
    server.connection.close(Cause::Complete, server.now);
    assert_eq!(server.sent(), ["41", "41/custom,"]);
    let mut server = connected();
    server.connection.close(Cause::Stopping, server.now);
    assert!(server.sent().is_empty(), "its client is to come back");
}

#[test]
fn what_a_server_cannot_send_is_unfit() {
    let mut server = connected();
    let connect = Event::Packet(server.packet(PacketKind::Connect, "/", b""));
    assert_eq!(server.connection.send(connect, server.now), Err(SendError::Unfit));
    assert_eq!(server.connection.send(Event::Message(message("a")), server.now), Err(SendError::Unfit));
    let refuse = Event::Packet(server.packet(PacketKind::Refuse, "/", b"{\"message\":\"\"}"));
    assert_eq!(server.connection.send(refuse, server.now), Err(SendError::NotConnected));
    assert_eq!(server.connection.accept("/", socket(9), server.now), Err(SendError::NotConnected));
    assert_eq!(server.connection.accept("/other", socket(9), server.now), Err(SendError::NotConnected));
}
