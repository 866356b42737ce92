//! socket.io 3 and 4 over Engine.IO 3.

use super::*;
use crate::socketio::Generation::Two;
use crate::socketio::Layer::SocketIo;
use crate::socketio::Transport::{Polling, WebSocket};

#[test]
fn the_main_namespace_comes_by_itself() {
    let mut server = Server::new(Two, SocketIo, WebSocket, settings());
    assert_eq!(server.seen, ["connect /"]);
    assert_eq!(server.sent(), [hello(""), "40".into(), "42[\"auth\",{}]".into()]);
    let mut server = Server::new(Two, SocketIo, Polling, settings());
    let hello = hello("\"websocket\"");
    assert_eq!(server.get(), Some(format!("{}:{hello}2:4013:42[\"auth\",{{}}]", hello.len())));
}

#[test]
fn other_namespaces_are_asked_for_with_a_query() {
    let mut server = Server::new(Two, SocketIo, WebSocket, settings());
    server.sent();
    server.says("40/custom?token=a%20b,");
    assert_eq!(server.seen[1], "connect /custom {\"token\":\"a b\"}");
    assert_eq!(server.sent(), ["40/custom", "42/custom,[\"auth\",{\"token\":\"a b\"}]"]);
    server.says("40/random");
    assert_eq!(server.sent(), ["44/random,\"Invalid namespace\""]);
    assert_eq!(server.closing(), None);
}

#[test]
fn events_attachments_and_acknowledgements_are_carried() {
    let mut server = Server::new(Two, SocketIo, WebSocket, settings());
    server.sent();
    server.says("4212[\"message-with-ack\",1]");
    server.says("451-[\"message\",{\"_placeholder\":true,\"num\":0}]");
    server.says_bytes(&[4, 1, 2]);
    let head = "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]";
    assert_eq!(server.sent(), ["4312[1]", head, "[4, 1, 2]"]);
}

#[test]
fn asking_for_what_it_has_and_speaking_too_early_is_ignored() {
    let mut server = Server::new(Two, SocketIo, WebSocket, settings());
    server.sent();
    for text in ["40", "42/nothing,[\"a\"]", "41/nothing"] {
        server.says(text);
    }
    assert_eq!((server.seen.len(), server.sent().len(), server.closing()), (1, 0, None));
}

#[test]
fn it_need_not_ask_for_a_namespace_in_time_and_is_not_recovered() {
    let mut server =
        Server::new(Two, SocketIo, WebSocket, Settings { ping_interval: Duration::from_secs(9), ..recoverable() });
    server.pass(5_000);
    assert_eq!(server.closing(), None);
    assert_eq!(server.connection.lose_transport(Cause::ClientGone, server.now), Outlook::Lost);
    assert_eq!(server.closing(), Some(Cause::ClientGone));
}

#[test]
fn an_end_that_is_meant_names_every_namespace() {
    let mut server = Server::new(Two, SocketIo, Polling, settings());
    server.get();
    server.connection.close(Cause::Complete, server.now);
    assert_eq!((server.get().as_deref(), server.get().as_deref()), (Some("2:41"), Some("1:1")));
}
