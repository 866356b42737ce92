//! Events for many.

use core::sync::atomic::AtomicUsize;

use super::*;
use crate::socketio::Generation::{Five, One, Two};
use crate::socketio::Layer::{Plain, SocketIo};
use crate::socketio::Transport::{Polling, WebSocket};

fn prepared(settings: &Settings, namespace: &str) -> Prepared {
    let json = b"[\"to all\",{\"_placeholder\":true,\"num\":0}]";
    let attachments = [Bytes::from_static(&[1, 2])].into();
    let packet = Packet::new(PacketKind::Event, namespace, None, json, attachments, settings).unwrap();
    Prepared::new(packet, 41, &Arc::new(AtomicUsize::new(0)))
}

/// What is to be sent at once, or `None` if it was queued.
fn fan(server: &mut Server, prepared: &mut Prepared) -> Result<Option<Vec<String>>, SendError> {
    Ok(match server.connection.send_prepared(prepared, server.now)? {
        Fanned::Queued => None,
        Fanned::Frames(frames) => Some(frames.iter().map(|frame| show(&frame.message())).collect()),
    })
}

const PLAIN: &str = "451-[\"to all\",{\"_placeholder\":true,\"num\":0}]";
const NUMBERED: &str = "451-[\"to all\",{\"_placeholder\":true,\"num\":0},\"41\"]";

#[test]
fn members_of_every_kind_get_what_they_understand() {
    let mut everybody = prepared(&settings(), "/");
    let mut five = Server::connected(settings());
    let mut kept = Server::connected(recoverable());
    let mut two = Server::new(Two, SocketIo, WebSocket, settings());
    two.sent();
    let mut one = Server::new(One, SocketIo, Polling, settings());
    one.connection.begin_probe(one.now);
    one.sent();
    let mut polling = Server::new(Five, SocketIo, Polling, settings());
    polling.get();
    polling.post("40").unwrap();
    polling.get();
    for _ in 0..2 {
        let both = |head: &str, bytes: &str| Ok(Some([head.to_string(), bytes.to_string()].into()));
        assert_eq!(fan(&mut five, &mut everybody), both(PLAIN, "[1, 2]"));
        assert_eq!(fan(&mut kept, &mut everybody), both(NUMBERED, "[1, 2]"));
        assert_eq!(fan(&mut two, &mut everybody), both(PLAIN, "[4, 1, 2]"));
        assert_eq!(fan(&mut polling, &mut everybody), Ok(None));
        assert_eq!(polling.get(), Some(format!("{PLAIN}\x1ebAQI=")));
        let inlined = "5:::{\"name\":\"to all\",\"args\":[{\"base64\":true,\"data\":\"AQI=\"}]}";
        assert_eq!(fan(&mut one, &mut everybody), Ok(Some([inlined.to_string()].into())));
    }
}

#[test]
fn who_does_not_have_the_namespace_gets_nothing() {
    let mut server = Server::connected(settings());
    assert_eq!(fan(&mut server, &mut prepared(&settings(), "/other")), Err(SendError::NotConnected));
    server.says("41");
    assert_eq!(fan(&mut server, &mut prepared(&settings(), "/")), Err(SendError::NotConnected));
    let mut plain = Server::new(Five, Plain, WebSocket, settings());
    assert_eq!(fan(&mut plain, &mut prepared(&settings(), "/")), Err(SendError::Unfit));
    server.connection.close(Cause::Stopping, server.now);
    assert_eq!(fan(&mut server, &mut prepared(&settings(), "/")), Err(SendError::Closed));
}

#[test]
fn namespaces_are_taken_from_many() {
    let mut server = Server::connected(settings());
    let packet = server.packet(PacketKind::Disconnect, "/", b"\"closed\"");
    let mut everybody = Prepared::new(packet, 1, &Arc::new(AtomicUsize::new(0)));
    assert_eq!(fan(&mut server, &mut everybody), Ok(None));
    assert_eq!(server.sent(), ["41"]);
    assert_eq!(fan(&mut server, &mut everybody), Err(SendError::NotConnected));
    let connect = server.packet(PacketKind::Connect, "/", b"");
    let mut everybody = Prepared::new(connect, 1, &Arc::new(AtomicUsize::new(0)));
    assert_eq!(fan(&mut server, &mut everybody), Err(SendError::Unfit));
}

#[test]
fn what_waits_already_goes_first() {
    let mut server = Server::connected(settings());
    server.emit("/", None, b"[\"first\"]", Vec::new());
    assert_eq!(fan(&mut server, &mut prepared(&settings(), "/")), Ok(None));
    assert_eq!(server.sent(), ["42[\"first\"]", PLAIN, "[1, 2]"]);
}

#[test]
fn who_is_away_gets_it_when_he_comes_back() {
    let mut server = Server::connected(recoverable());
    let mut everybody = prepared(&recoverable(), "/");
    server.connection.lose_transport(Cause::ClientGone, server.now);
    assert_eq!(fan(&mut server, &mut everybody), Ok(None));
    assert_eq!(server.connection.queued(), 0);
    let mut newcomer = Server::newcomer(WebSocket, server.now);
    newcomer.says(&format!("40{{\"pid\":\"{PRIVATE}\"}}"));
    // The greeting of the application was the first event of all.
    assert!(server.connection.can_recover("/", ""));
    server.connection.adopt(newcomer.connection, server.now);
    server.connection.recover("/", "", server.now);
    assert_eq!(server.sent()[3..], [NUMBERED, "[1, 2]"]);
    assert!(server.connection.can_recover("/", "41"));
}

#[test]
fn large_ones_are_charged_to_nobody() {
    let mut json = b"[\"".to_vec();
    json.resize(100_000, b'x');
    json.extend_from_slice(b"\"]");
    let packet = Packet::new(PacketKind::Event, "/", None, &json, Vec::new(), &settings()).unwrap();
    let mut everybody = Prepared::new(packet, 1, &Arc::new(AtomicUsize::new(0)));
    let mut server = Server::new(Five, SocketIo, Polling, settings());
    server.post("40").unwrap();
    server.get();
    let before = server.connection.held();
    assert_eq!(fan(&mut server, &mut everybody), Ok(None));
    assert!(server.connection.queued() > 100_000 && server.connection.held() < before + 1000);
    server.get();
    assert_eq!((server.connection.queued(), server.connection.held()), (0, before));
}
