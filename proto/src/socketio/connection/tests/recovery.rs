//! Clients that come back and take up where they were.

use super::*;
use crate::socketio::Generation::Five;
use crate::socketio::Layer::SocketIo;
use crate::socketio::Transport::{Polling, WebSocket};

/// The first offset that a client is told of an event for it alone.
const FIRST: u64 = 1_125_899_906_842_625;

fn numbered(name: &str, number: u64) -> String {
    format!("42[\"{name}\",\"{}\"]", FIRST + number)
}

fn accepted(number: u8) -> String {
    format!("40{{\"sid\":\"{}\",\"pid\":\"{PRIVATE}\"}}", socket(number))
}

fn connected() -> Server {
    let mut server = Server::new(Five, SocketIo, WebSocket, recoverable());
    server.answers = false;
    server.says("40");
    let id = server.next_socket();
    server.connection.accept("/", id, server.now).unwrap();
    assert_eq!(server.sent(), [hello(""), accepted(1)]);
    server.seen.clear();
    server
}

fn parked() -> Server {
    let mut server = connected();
    server.emit("/", None, b"[\"a\"]", Vec::new());
    server.emit("/", None, b"[\"b\"]", Vec::new());
    assert_eq!(server.sent(), [numbered("a", 0), numbered("b", 1)]);
    assert_eq!(server.connection.lose_transport(Cause::ClientGone, server.now), Outlook::Parked);
    assert!(server.connection.is_parked() && server.closing().is_none() && server.seen.is_empty());
    server
}

/// The same client comes again by a WebSocket, and says this.
fn newcomer(server: &Server, text: &str) -> Server {
    let mut newcomer = Server::newcomer(WebSocket, server.now);
    newcomer.says(text);
    newcomer
}

fn asks(namespace: &str, offset: u64) -> String {
    let comma = if namespace.is_empty() { "" } else { "," };
    format!("40{namespace}{comma}{{\"pid\":\"{PRIVATE}\",\"offset\":\"{offset}\",\"token\":1}}")
}

/// Lets the newcomer's transport be the server's.
fn adopt(server: &mut Server, newcomer: Server) {
    server.connection.adopt(newcomer.connection, server.now);
    server.serve();
}

#[test]
fn a_client_takes_up_where_it_was() {
    let mut server = parked();
    server.emit("/", None, b"[\"c\"]", Vec::new());
    let newcomer = newcomer(&server, &asks("", FIRST));
    assert_eq!(newcomer.seen, [format!("recover {PRIVATE} \"{FIRST}\" connect / {{\"token\":1}}")]);
    assert!(server.connection.can_recover("/", &FIRST.to_string()));
    adopt(&mut server, newcomer);
    assert!(!server.connection.is_parked() && server.connection.transport() == WebSocket);
    server.connection.recover("/", &FIRST.to_string(), server.now);
    assert_eq!(server.sent(), [hello(""), accepted(1), numbered("b", 1), numbered("c", 2)]);
    server.says("42[\"hello\"]");
    assert_eq!(server.seen, ["event / [\"hello\"]"]);
    server.emit("/", None, b"[\"d\"]", Vec::new());
    assert_eq!(server.sent(), [numbered("d", 3)]);
}

#[test]
fn a_client_that_has_seen_nothing_gets_all() {
    let mut server = parked();
    let newcomer = newcomer(&server, &format!("40{{\"pid\":\"{PRIVATE}\"}}"));
    assert_eq!(newcomer.seen, [format!("recover {PRIVATE} \"\" connect /")]);
    assert!(server.connection.can_recover("/", ""));
    adopt(&mut server, newcomer);
    server.connection.recover("/", "", server.now);
    assert_eq!(server.sent()[1..], [accepted(1), numbered("a", 0), numbered("b", 1)]);
}

#[test]
fn a_client_may_come_back_before_its_transport_is_found_broken_and_by_polling() {
    let mut server = connected();
    server.emit("/", None, b"[\"a\"]", Vec::new());
    let mut newcomer = Server::newcomer(Polling, server.now);
    assert_eq!(newcomer.get(), Some(hello("\"websocket\"")));
    newcomer.post(&format!("40{{\"pid\":\"{PRIVATE}\"}}")).unwrap();
    assert!(server.connection.can_recover("/", ""));
    adopt(&mut server, newcomer);
    server.connection.recover("/", "", server.now);
    assert_eq!(server.get(), Some(format!("{}\x1e{}", accepted(1), numbered("a", 0))));
}

#[test]
fn what_the_newcomer_has_received_already_is_received() {
    let mut server = parked();
    let mut newcomer = Server::newcomer(Polling, server.now);
    let body = format!("{}\x1e40/other", asks("", FIRST + 1));
    newcomer.connection.receive_payload(Bytes::from(body), Encoding::Text, newcomer.now).unwrap();
    assert!(matches!(newcomer.connection.poll_event(), Some(Event::Recover { .. })));
    adopt(&mut server, newcomer);
    server.connection.recover("/", &(FIRST + 1).to_string(), server.now);
    assert_eq!(server.seen, ["connect /other"]);
    server.connection.accept("/other", socket(2), server.now).unwrap();
    let other = format!("40/other,{{\"sid\":\"{}\",\"pid\":\"{PRIVATE}\"}}", socket(2));
    assert_eq!(server.get(), Some(format!("{}\x1e{}\x1e{other}", hello("\"websocket\""), accepted(1))));
}

#[test]
fn namespaces_may_be_asked_for_again_all_at_once() {
    let mut server = connected();
    for (number, name) in ["/a", "/b"].into_iter().enumerate() {
        server.says(&format!("40{name}"));
        server.connection.accept(name, socket(number as u8 + 2), server.now).unwrap();
    }
    server.connection.lose_transport(Cause::ClientGone, server.now);
    server.seen.clear();
    let mut newcomer = Server::newcomer(Polling, server.now);
    let body = format!("{}\x1e{}\x1e40/b", asks("", 0), format_args!("40/a,{{\"pid\":\"{PRIVATE}\"}}"));
    newcomer.connection.receive_payload(Bytes::from(body), Encoding::Text, newcomer.now).unwrap();
    assert!(matches!(newcomer.connection.poll_event(), Some(Event::Recover { .. })));
    adopt(&mut server, newcomer);
    let recover = format!("recover {PRIVATE} \"\" connect /a");
    assert_eq!(server.seen, [&*recover, "disconnect /b \"transport close\"", "connect /b"]);
    server.connection.recover("/", "", server.now);
    server.connection.recover("/a", "", server.now);
    assert!(server.connection.is_connected("/a") && !server.connection.is_connected("/b"));
}

#[test]
fn it_has_a_time_to_come_back() {
    let mut server = parked();
    server.pass(59_999);
    assert!(server.connection.is_parked() && server.closing().is_none());
    server.pass(1);
    assert_eq!(server.closing(), Some(Cause::RecoveryTimeout));
    assert!(!server.connection.can_recover("/", "") && server.sent().is_empty());
}

#[test]
fn a_ping_that_is_not_answered_parks() {
    let mut server = connected();
    server.pass(500);
    assert!(server.connection.is_parked() && server.closing().is_none());
    server.says("42[\"too late\"]");
    assert!(server.seen.is_empty(), "its transport is given up");
    server.pass(60_000);
    assert_eq!(server.closing(), Some(Cause::RecoveryTimeout));
}

#[test]
fn who_says_goodbye_or_has_nothing_is_not_waited_for() {
    let mut server = connected();
    server.says("1");
    assert_eq!(server.connection.lose_transport(Cause::ClientGone, server.now), Outlook::Lost);
    let mut server = connected();
    assert_eq!(server.connection.lose_transport(Cause::ClientClosed, server.now), Outlook::Lost);
    let mut server = connected();
    server.says("41");
    assert_eq!(server.connection.lose_transport(Cause::ClientGone, server.now), Outlook::Lost);
    let mut server = Server::new(Five, SocketIo, WebSocket, recoverable());
    assert_eq!(server.connection.lose_transport(Cause::ClientGone, server.now), Outlook::Lost);
    let mut server = Server::connected(settings());
    assert_eq!(server.connection.lose_transport(Cause::ClientGone, server.now), Outlook::Lost);
    assert_eq!(server.closing(), Some(Cause::ClientGone));
}

#[test]
fn events_are_kept_acknowledgements_are_not_and_questions_once() {
    let mut server = parked();
    server.emit("/", Some(5), b"[\"question\"]", Vec::new());
    let ack = Packet::new(PacketKind::Ack, "/", Some(1), b"[1]", Vec::new(), &server.settings).unwrap();
    server.connection.send(Event::Packet(ack), server.now).unwrap();
    server.emit("/", None, b"[\"c\",{\"_placeholder\":true,\"num\":0}]", [Bytes::from_static(b"\x01")].into());
    for _ in 0..2 {
        let newcomer = newcomer(&server, &asks("", FIRST + 1));
        adopt(&mut server, newcomer);
        server.connection.recover("/", &(FIRST + 1).to_string(), server.now);
        let with_attachment = format!("451-[\"c\",{{\"_placeholder\":true,\"num\":0}},\"{}\"]", FIRST + 2);
        let missed = server.sent();
        let question = missed.iter().position(|text| text == "425[\"question\"]");
        assert_eq!(missed[missed.len() - 2..], [with_attachment, "[1]".to_string()]);
        assert_eq!(question, (missed.len() == 5).then_some(2), "{missed:?}");
        server.connection.lose_transport(Cause::ClientGone, server.now);
    }
    let newcomer = newcomer(&server, &asks("", FIRST + 2));
    adopt(&mut server, newcomer);
    server.connection.recover("/", &(FIRST + 2).to_string(), server.now);
    assert_eq!(server.sent().len(), 2, "it has seen the attachment with its event");
}

#[test]
fn what_was_seen_before_a_pong_is_no_longer_kept() {
    let mut server = connected();
    let idle = server.connection.held();
    server.emit("/", None, b"[\"a\"]", Vec::new());
    server.sent();
    server.pass(300);
    server.emit("/", None, b"[\"b\"]", Vec::new());
    assert_eq!(server.sent(), ["2".to_string(), numbered("b", 1)]);
    server.says("3");
    assert!(server.connection.can_recover("/", &FIRST.to_string()), "b is all that it can have missed");
    assert!(!server.connection.can_recover("/", ""));
    server.pass(300);
    server.says("3");
    server.sent();
    assert_eq!(server.connection.held(), idle);
    assert!(server.connection.can_recover("/", &(FIRST + 1).to_string()));
    assert!(!server.connection.can_recover("/", &FIRST.to_string()));
    assert!(!server.connection.can_recover("/", &(FIRST + 2).to_string()), "no such event was sent");
}

#[test]
fn of_what_is_kept_the_oldest_goes() {
    let settings = Settings { recovery_bytes: 600, ..recoverable() };
    let mut server = Server::connected(settings);
    server.emit("/", None, b"[\"first\"]", Vec::new());
    for _ in 0..20 {
        server.emit("/", None, b"[\"more of them\"]", Vec::new());
        assert!(server.connection.held() < 4096, "{}", server.connection.held());
    }
    assert!(!server.connection.can_recover("/", ""), "the first is lost");
    assert!(server.connection.can_recover("/", &(FIRST + 20).to_string()));
    let kept = (0..30).filter(|n| server.connection.can_recover("/", &(FIRST + n).to_string())).count();
    assert!((2..12).contains(&kept), "{kept}");
}

#[test]
fn namespaces_come_back_one_by_one_or_are_left() {
    let mut server = connected();
    for (number, name) in ["/a", "/b", "/c"].into_iter().enumerate() {
        server.says(&format!("40{name}"));
        server.connection.accept(name, socket(number as u8 + 2), server.now).unwrap();
        server.emit(name, None, b"[\"x\"]", Vec::new());
    }
    server.sent();
    server.seen.clear();
    server.connection.lose_transport(Cause::ClientGone, server.now);
    let newcomer = newcomer(&server, &asks("", FIRST));
    adopt(&mut server, newcomer);
    server.connection.recover("/", "", server.now);
    assert_eq!(server.sent().len(), 2);
    server.says(&format!("40/a,{{\"pid\":\"{PRIVATE}\"}}"));
    assert_eq!(server.seen, [format!("recover {PRIVATE} \"\" connect /a")]);
    server.connection.recover("/a", "", server.now);
    let answer = format!("40/a,{{\"sid\":\"{}\",\"pid\":\"{PRIVATE}\"}}", socket(2));
    assert_eq!(server.sent(), [answer, format!("42/a,[\"x\",\"{FIRST}\"]")]);
    server.seen.clear();
    server.says("40/b");
    assert_eq!(server.seen, ["disconnect /b \"transport close\"", "connect /b"], "it begins anew there");
    server.connection.accept("/b", socket(9), server.now).unwrap();
    assert_eq!(server.sent().len(), 1, "without what was before");
    server.pass(450);
    assert_eq!(server.seen[2..], ["disconnect /c \"transport close\""]);
    assert!(server.closing().is_none() && !server.connection.is_connected("/c"));
}

#[test]
fn a_past_that_is_lost_is_none() {
    let mut server = connected();
    server.says("40/a");
    server.connection.accept("/a", socket(2), server.now).unwrap();
    server.connection.lose_transport(Cause::ClientGone, server.now);
    let newcomer = newcomer(&server, &asks("", 0));
    assert!(!server.connection.can_recover("/", "0") && server.connection.can_recover("/", ""));
    adopt(&mut server, newcomer);
    server.connection.recover("/", "", server.now);
    server.seen.clear();
    server.says(&asks("/a", 77));
    assert_eq!(server.seen[0], "disconnect /a \"transport close\"");
    assert!(server.seen[1].starts_with("connect /a"), "{}", server.seen[1]);
}

#[test]
fn who_has_something_already_has_no_other_past() {
    let mut server = connected();
    let other = socket(99);
    server.says(&format!("40/a,{{\"pid\":\"{other}\",\"offset\":\"1\"}}"));
    assert!(server.seen[0].starts_with("connect /a"), "{}", server.seen[0]);
    let mut plain = Server::new(Five, SocketIo, WebSocket, settings());
    plain.says(&asks("", 1));
    assert!(plain.seen[0].starts_with("connect /"), "without recovery nobody looks: {}", plain.seen[0]);
    for past in ["{\"pid\":1}", "{\"pid\":\"short\"}", "{\"offset\":\"1\"}", "{}"] {
        let mut server = Server::new(Five, SocketIo, WebSocket, recoverable());
        server.says(&format!("40{past}"));
        assert!(server.seen[0].starts_with("connect /"), "{past}: {}", server.seen[0]);
    }
}

#[test]
fn a_newcomer_whose_past_nobody_knows_is_a_client_like_any_other() {
    let server = connected();
    let mut newcomer = newcomer(&server, &asks("", 1));
    newcomer.connection.accept("/", socket(5), newcomer.now).unwrap();
    let sent = newcomer.sent();
    assert!(sent.len() == 2 && sent[1].starts_with(&format!("40{{\"sid\":\"{}\",\"pid\":", socket(5))), "{sent:?}");
    assert!(newcomer.connection.is_connected("/"));
}

#[test]
fn a_namespace_that_nobody_has_answered_is_left_with_the_transport() {
    let mut server = connected();
    server.says("40/slow");
    server.connection.lose_transport(Cause::ClientGone, server.now);
    server.serve();
    assert_eq!(server.seen, ["connect /slow", "disconnect /slow \"transport close\""]);
    assert_eq!(server.connection.accept("/slow", socket(2), server.now), Err(SendError::NotConnected));
}

#[test]
fn a_node_may_end_what_is_away() {
    let mut server = parked();
    let gone = server.packet(PacketKind::Disconnect, "/", b"");
    server.connection.send(Event::Packet(gone), server.now).unwrap();
    assert!(!server.connection.can_recover("/", "") && !server.connection.is_connected("/"));
    let mut server = parked();
    server.connection.close(Cause::Complete, server.now);
    assert!(server.closing().is_some() && server.sent().is_empty());
}
