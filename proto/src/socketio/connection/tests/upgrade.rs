//! From polling to a WebSocket.

use super::*;
use crate::socketio::Generation::{Five, Two};
use crate::socketio::Layer::Plain;
use crate::socketio::Transport::{Polling, WebSocket};

fn polling(generation: Generation) -> Server {
    let mut server = Server::with_base64(generation, Plain, Polling, settings(), true);
    server.get();
    server
}

fn probe(server: &mut Server, text: &str) -> Probe {
    server.connection.receive_probe(message(text), server.now)
}

fn noop(generation: Generation) -> Option<&'static str> {
    Some(if generation == Five { "6" } else { "1:6" })
}

#[test]
fn a_websocket_takes_over() {
    for generation in [Five, Two] {
        let mut server = polling(generation);
        assert!(server.connection.begin_probe(server.now) && server.connection.is_probing());
        assert_eq!(probe(&mut server, "2probe"), Probe::Answer(message("3probe")));
        assert_eq!(server.get().as_deref(), noop(generation), "a poll that comes ends at once");
        assert_eq!(probe(&mut server, "5"), Probe::Upgraded);
        assert_eq!(server.connection.transport(), WebSocket);
        server.says("4hello");
        assert_eq!((server.sent(), server.closing()), (["4hello".to_string()].into(), None));
    }
}

#[test]
fn ping_and_upgrade_may_come_at_once() {
    let mut server = polling(Five);
    assert!(server.connection.begin_probe(server.now));
    assert_eq!(probe(&mut server, "2probe"), Probe::Answer(message("3probe")));
    assert_eq!(probe(&mut server, "5"), Probe::Upgraded);
    assert!(!server.connection.begin_probe(server.now), "one WebSocket is enough");
    server.says("4hello");
    assert_eq!(server.sent(), ["4hello"]);
}

#[test]
fn a_poll_that_waits_ends_and_what_waits_goes_by_the_websocket() {
    for generation in [Five, Two] {
        let mut server = polling(generation);
        assert_eq!(server.get(), None);
        assert!(server.connection.begin_probe(server.now));
        assert_eq!(server.answer_to_get(), None, "until its ping nothing changes");
        probe(&mut server, "2probe");
        assert_eq!(server.answer_to_get().as_deref(), noop(generation));
        server.connection.send(Event::Message(message("kept")), server.now).unwrap();
        assert_eq!(server.get().as_deref(), noop(generation));
        assert_eq!(server.connection.poll_message(), None, "it is not the transport yet");
        probe(&mut server, "5");
        assert_eq!(server.sent(), ["4kept"]);
    }
}

#[test]
fn a_poll_that_waits_ends_when_the_websocket_takes_over_unannounced() {
    let mut server = polling(Five);
    assert_eq!(server.get(), None);
    assert!(server.connection.begin_probe(server.now));
    assert_eq!(probe(&mut server, "5"), Probe::Upgraded);
    assert_eq!(server.answer_to_get().as_deref(), Some("6"));
}

#[test]
fn a_websocket_that_says_something_else_is_refused() {
    for generation in [Five, Two] {
        for wrong in ["2", "2prob", "3probe", "4hello", "1", "x", ""] {
            let mut server = polling(generation);
            assert!(server.connection.begin_probe(server.now));
            assert_eq!(probe(&mut server, wrong), Probe::Refused(Cause::PacketMalformed), "{wrong:?}");
            assert!(!server.connection.is_probing());
            let late = Probe::Refused(Cause::UpgradeTimeout);
            assert_eq!(probe(&mut server, "2probe"), late, "its try is over");
            server.connection.send(Event::Message(message("polled")), server.now).unwrap();
            assert!(server.get().is_some_and(|body| body.ends_with("polled")), "the session goes on");
            assert!(server.connection.begin_probe(server.now), "another one may try");
        }
    }
}

#[test]
fn a_websocket_has_a_time_to_take_over() {
    let settings = Settings { ping_interval: Duration::from_secs(25), ..settings() };
    let mut server = Server::new(Five, Plain, Polling, settings);
    server.get();
    assert!(server.connection.begin_probe(server.now));
    probe(&mut server, "2probe");
    server.pass(9_999);
    assert!(server.connection.is_probing());
    server.pass(1);
    assert!(!server.connection.is_probing());
    assert_eq!(probe(&mut server, "5"), Probe::Refused(Cause::UpgradeTimeout));
    assert_eq!((server.get(), server.closing()), (None, None), "polls wait again");
}

#[test]
fn a_websocket_that_goes_leaves_the_session_to_its_polls() {
    let mut server = polling(Five);
    assert!(server.connection.begin_probe(server.now));
    probe(&mut server, "2probe");
    server.connection.end_probe(server.now);
    assert_eq!(server.get(), None);
    server.connection.send(Event::Message(message("polled")), server.now).unwrap();
    assert_eq!(server.answer_to_get().as_deref(), Some("4polled"));
}

#[test]
fn nothing_takes_over_from_a_session_that_closes() {
    let mut server = polling(Five);
    assert!(server.connection.begin_probe(server.now));
    server.connection.close(Cause::Stopping, server.now);
    assert_eq!(probe(&mut server, "2probe"), Probe::Refused(Cause::Stopping));
    assert!(!server.connection.begin_probe(server.now) && !server.connection.is_probing());
}

#[test]
fn a_ping_that_waits_moves_to_the_websocket() {
    let mut server = polling(Five);
    assert!(server.connection.begin_probe(server.now));
    server.pass(300);
    probe(&mut server, "2probe");
    probe(&mut server, "5");
    assert_eq!(server.sent(), ["2"]);
    server.says("3");
    server.pass(300);
    assert_eq!((server.sent(), server.closing()), (["2".to_string()].into(), None));
}
