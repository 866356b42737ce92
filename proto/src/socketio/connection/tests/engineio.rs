//! Engine.IO 4 and 3, case by case as the protocol's own suite has them.

use super::*;
use crate::socketio::Generation::{Five, Two};
use crate::socketio::Layer::Plain;
use crate::socketio::Transport::{Polling, WebSocket};

fn polling(generation: Generation) -> Server {
    let mut server = Server::with_base64(generation, Plain, Polling, settings(), true);
    assert!(server.get().is_some());
    server
}

fn websocket(generation: Generation) -> Server {
    let mut server = Server::new(generation, Plain, WebSocket, settings());
    assert_eq!(server.sent().len(), 1);
    server
}

#[test]
fn a_polling_session_opens() {
    assert_eq!(Server::new(Five, Plain, Polling, settings()).get(), Some(hello("\"websocket\"")));
    let hello = hello("\"websocket\"");
    let mut server = Server::with_base64(Two, Plain, Polling, settings(), true);
    assert_eq!(server.get(), Some(format!("{}:{hello}", hello.len())));
    let mut server = Server::with_base64(Two, Plain, Polling, settings(), false);
    assert_eq!(server.get(), Some(format!("{}:{hello}", hello.len())), "text alone needs no binary payload");
}

#[test]
fn a_websocket_session_opens() {
    for generation in [Five, Two] {
        assert_eq!(Server::new(generation, Plain, WebSocket, settings()).sent(), [hello("")]);
    }
}

#[test]
fn polling_carries_one_text_packet() {
    for (generation, body) in [(Five, "4hello"), (Two, "6:4hello")] {
        let mut server = polling(generation);
        server.post(body).unwrap();
        assert_eq!(server.get().as_deref(), Some(body));
    }
}

#[test]
fn polling_carries_several_text_packets() {
    for (generation, body) in [(Five, "4test1\x1e4test2\x1e4test3"), (Two, "6:4test16:4test26:4test3")] {
        let mut server = polling(generation);
        server.post(body).unwrap();
        assert_eq!(server.seen, ["test1", "test2", "test3"]);
        assert_eq!(server.get().as_deref(), Some(body));
    }
}

#[test]
fn polling_carries_text_and_binary_packets() {
    for (generation, body) in [(Five, "4hello\x1ebAQIDBA=="), (Two, "6:4hello10:b4AQIDBA==")] {
        let mut server = polling(generation);
        server.post(body).unwrap();
        assert_eq!(server.seen, ["hello", "[1, 2, 3, 4]"]);
        assert_eq!(server.get().as_deref(), Some(body));
    }
}

#[test]
fn polling_of_version_3_carries_binary_packets_as_they_are() {
    let mut server = Server::with_base64(Two, Plain, Polling, settings(), false);
    server.get();
    server.post("6:4hello10:b4AQIDBA==").unwrap();
    let bytes = [0, 6, 255, 52, 104, 101, 108, 108, 111, 1, 5, 255, 4, 1, 2, 3, 4];
    server.connection.set_polling(true, server.now);
    assert_eq!(server.payload(), Some((Bytes::copy_from_slice(&bytes), Encoding::Binary)));
    server.post_bytes(&bytes, Encoding::Binary).unwrap();
    assert_eq!(server.seen, ["hello", "[1, 2, 3, 4]", "hello", "[1, 2, 3, 4]"]);
}

#[test]
fn an_invalid_packet_closes_a_polling_session() {
    for (generation, body) in [(Five, "abc"), (Five, ""), (Two, "3:abc"), (Two, "abc"), (Two, "6:4hell")] {
        let mut server = polling(generation);
        server.post(body).unwrap_err();
        assert!(server.closing().is_some() && server.connection.violation().is_some(), "{body}");
        assert_eq!(server.get().as_deref(), Some(if generation == Five { "1" } else { "1:1" }));
        assert_eq!(server.get(), None);
    }
}

#[test]
fn a_poll_on_top_of_a_poll_closes_the_session() {
    for (generation, farewell) in [(Five, "1"), (Two, "1:1")] {
        let mut server = polling(generation);
        assert_eq!(server.get(), None);
        server.connection.set_polling(true, server.now);
        assert_eq!(server.closing(), Some(Cause::RequestOverlap));
        assert_eq!(server.connection.violation().map(|violation| violation.what), Some(Cause::RequestOverlap));
        assert_eq!(server.answer_to_get().as_deref(), Some(farewell));
    }
}

#[test]
fn a_websocket_carries_text_and_binary_packets() {
    let mut server = websocket(Five);
    server.says("4hello");
    server.says_bytes(&[1, 2, 3, 4]);
    assert_eq!(server.sent(), ["4hello", "[1, 2, 3, 4]"]);
    let mut server = websocket(Two);
    server.says("4hello");
    server.says_bytes(&[4, 1, 2, 3, 4]);
    assert_eq!(server.sent(), ["4hello", "[4, 1, 2, 3, 4]"]);
    assert_eq!(server.seen, ["hello", "[1, 2, 3, 4]"]);
}

#[test]
fn an_invalid_packet_closes_a_websocket_session() {
    for generation in [Five, Two] {
        let mut server = websocket(generation);
        server.says("abc");
        assert_eq!(server.closing(), Some(Cause::PacketMalformed));
        assert_eq!(server.sent(), [""; 0], "the WebSocket itself has words for it");
    }
}

#[test]
fn the_server_of_version_4_pings() {
    let mut server = polling(Five);
    for _ in 0..3 {
        assert_eq!(server.get(), None);
        server.pass(300);
        assert_eq!(server.answer_to_get().as_deref(), Some("2"));
        server.pass(199);
        server.post("3").unwrap();
    }
    let mut server = websocket(Five);
    for _ in 0..3 {
        server.pass(300);
        assert_eq!(server.sent(), ["2"]);
        server.says("3");
    }
    assert_eq!(server.closing(), None);
}

#[test]
fn the_client_of_version_3_pings() {
    let mut server = polling(Two);
    for _ in 0..3 {
        server.pass(400);
        server.post("1:2").unwrap();
        assert_eq!(server.get().as_deref(), Some("1:3"));
    }
    let mut server = websocket(Two);
    for _ in 0..3 {
        server.pass(400);
        server.says("2again");
        assert_eq!(server.sent(), ["3again"]);
    }
    assert_eq!(server.closing(), None);
}

#[test]
fn silence_closes() {
    for generation in [Five, Two] {
        for mut server in [polling(generation), websocket(generation)] {
            server.pass(499);
            assert_eq!(server.closing(), None);
            server.pass(1);
            assert_eq!(server.closing(), Some(Cause::PingTimeout));
            assert_eq!((server.connection.violation(), server.connection.poll_timeout()), (None, None));
        }
    }
}

#[test]
fn messages_are_life_for_version_3_and_none_for_version_4() {
    for (generation, closes) in [(Five, Some(Cause::PingTimeout)), (Two, None)] {
        let mut server = websocket(generation);
        for _ in 0..10 {
            server.pass(100);
            server.says("4still here");
        }
        assert_eq!(server.closing(), closes);
    }
}

#[test]
fn heartbeats_go_one_way() {
    for (generation, wrong) in [(Five, "2"), (Two, "3")] {
        let mut server = websocket(generation);
        server.says(wrong);
        assert_eq!(server.closing(), Some(Cause::PacketMalformed));
    }
}

#[test]
fn packets_that_make_no_sense_here_are_ignored() {
    for generation in [Five, Two] {
        let mut server = websocket(generation);
        for text in ["0{}", "5", "6", "6x"] {
            server.says(text);
        }
        assert_eq!((server.sent(), server.closing()), (Vec::new(), None));
    }
}

#[test]
fn a_client_closes_by_polling() {
    for (generation, close, noop) in [(Five, "1", "6"), (Two, "1:1", "1:6")] {
        let mut server = polling(generation);
        assert_eq!(server.get(), None);
        server.post(close).unwrap();
        assert_eq!((server.closing(), server.connection.violation()), (Some(Cause::ClientClosed), None));
        assert_eq!(server.answer_to_get().as_deref(), Some(noop));
        assert_eq!(server.get(), None);
    }
}

#[test]
fn a_client_closes_by_websocket() {
    for generation in [Five, Two] {
        let mut server = websocket(generation);
        server.says("1");
        server.says("4ignored");
        assert_eq!((server.closing(), server.seen.len()), (Some(Cause::ClientClosed), 0));
    }
}

#[test]
fn the_owner_closes() {
    for (generation, last, close) in [(Five, "4last", "1"), (Two, "5:4last", "1:1")] {
        let mut server = polling(generation);
        server.connection.send(Event::Message(message("last")), server.now).unwrap();
        server.connection.close(Cause::Stopping, server.now);
        assert_eq!((server.get().as_deref(), server.get().as_deref()), (Some(last), Some(close)), "it goes alone");
        assert_eq!(server.connection.send(Event::Message(message("no")), server.now), Err(SendError::Closed));
    }
    let mut server = websocket(Five);
    server.connection.send(Event::Message(message("last")), server.now).unwrap();
    server.connection.close(Cause::Stopping, server.now);
    assert_eq!((server.sent(), server.closing()), (["4last".to_string()].into(), Some(Cause::Stopping)));
}

#[test]
fn no_text_ends_a_packet_before_its_end() {
    let cut = || Event::Message(message("a\u{1e}1"));
    let mut server = polling(Five);
    assert_eq!(server.connection.send(cut(), server.now), Err(SendError::Unfit));
    let mut server = polling(Two);
    server.connection.send(cut(), server.now).unwrap();
    assert_eq!(server.get().as_deref(), Some("4:4a\u{1e}1"));
    let mut server = websocket(Five);
    server.connection.send(cut(), server.now).unwrap();
    assert_eq!(server.sent(), ["4a\u{1e}1"]);
}
