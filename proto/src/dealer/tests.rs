//! A dealer and a ROUTER in memory.

use alloc::vec;
use alloc::vec::Vec;

use super::*;

const SID: Sid = Sid(*b"0123456789abcdef");
const OTHER: Sid = Sid(*b"fedcba9876543210");

fn now() -> Instant {
    Instant::from_millis(1)
}

/// A message as text: session, type, body.
type Line = (Vec<u8>, String, Vec<u8>);

fn line(sid: &[u8], kind: &str, body: &[u8]) -> Line {
    (sid.to_vec(), kind.to_string(), body.to_vec())
}

struct Pair {
    server: zmtp::Connection,
    node: Dealer,
    events: Vec<Event>,
    /// What the server heard since it was last asked.
    heard: Vec<Line>,
}

impl Pair {
    fn new(capabilities: &str) -> Self {
        Self::with(capabilities, |_| {})
    }

    fn with(capabilities: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let capabilities = Capabilities::parse(capabilities.as_bytes()).unwrap().unwrap_or_default();
        let mut settings = Settings::new("FOO".into(), capabilities, &Limits::DEFAULT);
        change(&mut settings);
        let link = zmtp::Settings::new(zmtp::Role::Router, &Limits::DEFAULT);
        let server = zmtp::Connection::new(Arc::new(link), now());
        let mut pair = Self { server, node: Dealer::new(settings, now()), events: vec![], heard: vec![] };
        pair.talk();
        pair
    }

    fn talk(&mut self) {
        loop {
            let (from_node, from_server) = (self.node.outbound().take(), self.server.outbound().take());
            if from_node.is_empty() && from_server.is_empty() {
                return;
            }
            let mut rest = &from_server[..];
            loop {
                rest = &rest[self.node.receive(rest, now())..];
                let Some(event) = self.node.poll_event() else { break };
                self.events.push(event);
            }
            assert_eq!(rest, b"");
            let mut rest = &from_node[..];
            loop {
                rest = &rest[self.server.receive(rest, now())..];
                match self.server.poll_event() {
                    Some(zmtp::Event::Peer { identity, .. }) => {
                        assert_eq!(identity, "FOO");
                        self.server.accept(now()).unwrap();
                    }
                    Some(zmtp::Event::Message(message)) => {
                        let frames: Vec<_> = message.frames().collect();
                        let [sid, kind, body] = frames[..] else { panic!("{message:?}") };
                        self.heard.push(line(sid, core::str::from_utf8(kind).unwrap(), body));
                    }
                    Some(zmtp::Event::Hello(_)) => panic!("nobody asked"),
                    None => break,
                }
            }
        }
    }

    fn tell(&mut self, frames: &[&[u8]]) -> Vec<Event> {
        self.server.send(frames).unwrap();
        self.talk();
        core::mem::take(&mut self.events)
    }

    fn begin(&mut self, sid: Sid, credit: &str) {
        self.tell(&[&sid.0, b"uwsgi", b"request"]);
        self.tell(&[&sid.0, b"credit", credit.as_bytes()]);
    }

    fn send(&mut self, kind: Kind, body: &str) {
        self.node.send(SID, kind, body.to_string().into()).unwrap();
    }

    /// The types and bodies that the server heard.
    fn hears(&mut self) -> Vec<(String, String)> {
        self.talk();
        let text = |(_, kind, body): Line| (kind, String::from_utf8(body).unwrap());
        self.heard.drain(..).map(text).collect()
    }
}

fn heard(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(kind, body)| (kind.to_string(), body.to_string())).collect()
}

#[test]
fn a_node_says_that_it_lives_when_it_connects_and_when_it_is_asked() {
    let mut pair = Pair::new("quiet capacity=4");
    assert_eq!(pair.events, [Event::Up]);
    let pong = line(b"", "pong", b"quiet capacity=4");
    assert_eq!(pair.heard, core::slice::from_ref(&pong));
    pair.events.clear();
    assert_eq!(pair.tell(&[b"", b"ping", b""]), [], "a ping is no event");
    assert_eq!(pair.heard, [pong.clone(), pong]);
}

#[test]
fn the_server_s_messages_are_typed() {
    let mut pair = Pair::new("");
    pair.events.clear();
    let message = |sid, kind, body: &'static str| Event::Message(Message { sid, kind, body: body.into() });
    assert_eq!(pair.tell(&[b"", b"spawn", b""]), [Event::Spawn]);
    assert_eq!(pair.tell(&[&SID.0, b"uwsgi", b"packet"]), [message(Some(SID), Kind::Uwsgi, "packet")]);
    assert_eq!(pair.tell(&[&SID.0, b"body", b"bytes"]), [message(Some(SID), Kind::Body, "bytes")]);
    assert_eq!(pair.tell(&[&SID.0, b"end", b""]), [message(Some(SID), Kind::End, "")]);
    assert_eq!(pair.tell(&[b"", b"error", b"x: y"]), [message(None, Kind::Error, "x: y")]);
    assert_eq!(pair.node.dropped(), 0);
}

#[test]
fn messages_outside_the_node_protocol_are_dropped_and_counted() {
    let mut pair = Pair::new("credit");
    pair.events.clear();
    let wrong: [&[&[u8]]; 8] = [
        &[b"one"],
        &[&SID.0, b"body"],
        &[&SID.0, b"body", b"", b""],
        &[b"short", b"body", b""],
        &[&SID.0, b"frobnicate", b""],
        &[b"", b"body", b""],
        &[&SID.0, b"credit", b"-1"],
        &[&SID.0, b"credit", b"\xff"],
    ];
    for (count, frames) in wrong.into_iter().enumerate() {
        assert_eq!(pair.tell(frames), []);
        assert_eq!(pair.node.dropped(), 1 + count as u64);
    }
}

#[test]
fn without_credit_messages_leave_as_they_are_and_no_session_is_kept() {
    let mut pair = Pair::new("");
    pair.heard.clear();
    pair.tell(&[&SID.0, b"uwsgi", b""]);
    assert_eq!(pair.node.session_count(), 0);
    pair.send(Kind::Headers, "head");
    pair.send(Kind::Body, &"x".repeat(1_000_000));
    pair.send(Kind::End, "");
    pair.send(Kind::Body, "late, but that is for the server to say");
    let heard: Vec<_> = pair.hears().into_iter().map(|(kind, body)| (kind, body.len())).collect();
    let lines = [("headers", 4), ("body", 1_000_000), ("end", 0), ("body", 39)];
    assert_eq!(heard, lines.map(|(kind, len)| (kind.to_string(), len)));
}

#[test]
fn bytes_beyond_the_credit_wait_in_order_and_are_split() {
    let mut pair = Pair::new("credit");
    pair.heard.clear();
    pair.begin(SID, "10");
    pair.send(Kind::Headers, "head");
    pair.send(Kind::Body, "0123456789");
    pair.send(Kind::Chunk, "abcdef");
    pair.send(Kind::Chunk, "");
    pair.send(Kind::End, "");
    assert_eq!(pair.hears(), heard(&[("headers", "head"), ("body", "012345")]));
    pair.tell(&[&SID.0, b"credit", b"3"]);
    assert_eq!(pair.hears(), heard(&[("body", "678")]));
    pair.tell(&[&SID.0, b"credit", b"5"]);
    assert_eq!(pair.hears(), heard(&[("body", "9"), ("chunk", "abcd")]));
    assert_eq!(pair.node.session_count(), 1);
    pair.tell(&[&SID.0, b"credit", b"2"]);
    assert_eq!(pair.hears(), heard(&[("chunk", "ef"), ("chunk", ""), ("end", "")]));
    assert_eq!((pair.node.session_count(), pair.node.queued), (0, 0));
}

#[test]
fn a_head_leaves_whole_and_may_overdraw_the_credit() {
    let mut pair = Pair::new("credit");
    pair.heard.clear();
    pair.begin(SID, "0");
    pair.send(Kind::Headers, "0123456789");
    pair.send(Kind::Body, "ab");
    assert_eq!(pair.hears(), heard(&[]));
    pair.tell(&[&SID.0, b"credit", b"1"]);
    assert_eq!(pair.hears(), heard(&[("headers", "0123456789")]));
    pair.tell(&[&SID.0, b"credit", b"9"]);
    assert_eq!(pair.hears(), heard(&[]));
    pair.tell(&[&SID.0, b"credit", b"18446744073709551615"]);
    assert_eq!(pair.hears(), heard(&[("body", "ab")]));
}

#[test]
fn messages_that_are_no_response_bytes_need_no_credit() {
    let mut pair = Pair::new("credit");
    pair.heard.clear();
    pair.begin(SID, "0");
    pair.send(Kind::Retry, "");
    assert_eq!(pair.hears(), heard(&[("retry", "")]));
}

#[test]
fn the_queue_of_a_session_is_bounded_but_takes_one_large_body() {
    let mut pair = Pair::with("credit", |settings| settings.session_bytes = 1000);
    pair.begin(SID, "0");
    assert_eq!(pair.node.writable(SID), 1000);
    pair.send(Kind::Body, &"x".repeat(5000));
    assert_eq!(pair.node.writable(SID), 0);
    let body = Bytes::from_static(b"more");
    assert_eq!(pair.node.send(SID, Kind::Body, body.clone()), Err(SendError::Full(body.clone())));
    pair.tell(&[&SID.0, b"credit", b"4500"]);
    assert_eq!(pair.node.writable(SID), 1000 - 500 - 64);
    assert_eq!(pair.node.send(SID, Kind::Body, body), Ok(()));
}

#[test]
fn what_all_sessions_queue_is_bounded() {
    let mut pair = Pair::with("credit", |settings| settings.queue_bytes = 1000);
    pair.begin(SID, "0");
    pair.begin(OTHER, "0");
    pair.send(Kind::Body, &"x".repeat(900));
    let body = Bytes::from(vec![b'y'; 100]);
    assert_eq!(pair.node.room(), 1000 - 964);
    assert_eq!(pair.node.send(OTHER, Kind::Body, body.clone()), Err(SendError::Full(body.clone())));
    pair.tell(&[&SID.0, b"end", b""]);
    assert_eq!(pair.node.room(), 1000);
    assert_eq!(pair.node.send(OTHER, Kind::Body, body), Ok(()));
}

#[test]
fn a_server_that_does_not_read_bounds_what_is_sent_without_credit() {
    let mut pair = Pair::with("", |settings| settings.queue_bytes = 1000);
    let body = Bytes::from(vec![b'y'; 600]);
    assert_eq!(pair.node.send(SID, Kind::Body, body.clone()), Ok(()));
    assert_eq!(pair.node.send(SID, Kind::Body, body.clone()), Err(SendError::Full(body.clone())));
    pair.talk();
    assert_eq!(pair.node.send(SID, Kind::Body, body), Ok(()));
}

#[test]
fn a_websocket_message_leaves_whole_while_any_credit_is_left() {
    for (text, binary) in [(Kind::WebSocket, Kind::WebSocket), (Kind::WebSocketText, Kind::WebSocketBinary)] {
        let mut pair = Pair::new("credit binary close");
        pair.heard.clear();
        pair.begin(SID, "1");
        pair.send(text, "0123456789");
        pair.send(binary, "");
        pair.send(binary, "abc");
        pair.send(text, "");
        pair.send(Kind::WebSocketClose, "\u{3}bye");
        let (text, binary) = (text.name(), binary.name());
        assert_eq!(pair.hears(), heard(&[(text, "0123456789"), (binary, "")]));
        pair.tell(&[&SID.0, b"credit", b"9"]);
        assert_eq!(pair.hears(), heard(&[]), "what was overdrawn comes first");
        pair.tell(&[&SID.0, b"credit", b"1"]);
        let rest = [(binary, "abc"), (text, ""), ("websocket/close", "\u{3}bye")];
        assert_eq!(pair.hears(), heard(&rest), "a close needs no credit");
        assert_eq!(pair.node.session_count(), 1, "the server says when it is over");
        pair.tell(&[&SID.0, b"end", b""]);
        assert_eq!(pair.node.session_count(), 0);
    }
}

#[test]
fn what_is_said_about_a_session_stays_in_its_place_and_needs_no_credit() {
    let mut pair = Pair::new("credit");
    pair.heard.clear();
    pair.begin(SID, "0");
    pair.send(Kind::Join, "chat");
    pair.send(Kind::NoEcho, "chat");
    pair.send(Kind::WebSocket, "history");
    pair.send(Kind::Join, "news");
    pair.send(Kind::Pipe, "chat:websocket");
    pair.send(Kind::Unpipe, "");
    pair.send(Kind::Echo, "");
    pair.send(Kind::Leave, "chat");
    assert_eq!(pair.hears(), heard(&[("join", "chat"), ("noecho", "chat")]));
    pair.tell(&[&SID.0, b"credit", b"1"]);
    let behind = [
        ("websocket", "history"),
        ("join", "news"),
        ("pipe", "chat:websocket"),
        ("unpipe", ""),
        ("echo", ""),
        ("leave", "chat"),
    ];
    assert_eq!(pair.hears(), heard(&behind));
    assert_eq!(pair.node.queued, 0);
}

#[test]
fn a_session_s_messages_to_others_stay_in_order_and_leave_its_credit_alone() {
    let mut pair = Pair::new("credit");
    pair.heard.clear();
    pair.begin(SID, "3");
    let group = Route::Group(b"a:chat");
    let body = || Bytes::from_static(b"to all");
    assert_eq!(pair.node.send_routed(Some(SID), group, Kind::WebSocket, body()), Ok(()));
    pair.send(Kind::WebSocket, "mine");
    assert_eq!(pair.node.send_routed(Some(SID), Route::Session(OTHER), Kind::Msg, body()), Ok(()));
    pair.send(Kind::WebSocket, "waits");
    assert_eq!(pair.node.send_routed(Some(SID), group, Kind::End, body()), Ok(()), "the end of others");
    pair.send(Kind::WebSocket, "too");
    assert_eq!(pair.node.send_routed(None, group, Kind::Chunk, body()), Ok(()));
    let to_other = String::from_utf8([b"@", &OTHER.0[..], b":msg"].concat()).unwrap();
    let lines =
        [("a:chat:websocket", "to all"), ("websocket", "mine"), (&to_other, "to all"), ("a:chat:chunk", "to all")];
    assert_eq!(pair.hears(), heard(&lines), "the node's own passes what waits");
    pair.tell(&[&SID.0, b"credit", b"2"]);
    assert_eq!(pair.hears(), heard(&[("websocket", "waits"), ("a:chat:end", "to all")]));
    assert_eq!(pair.node.session_count(), 1);
    pair.tell(&[&SID.0, b"end", b""]);
    assert_eq!(pair.node.send_routed(Some(SID), group, Kind::WebSocket, body()), Err(SendError::Ended));
    assert_eq!(pair.node.queued, 0);
}

#[test]
fn routed_messages_name_their_sender() {
    let mut pair = Pair::new("");
    pair.heard.clear();
    let body = Bytes::from_static(b"hi");
    assert_eq!(pair.node.send_routed(Some(SID), Route::Group(b"g"), Kind::WebSocketText, body.clone()), Ok(()));
    assert_eq!(pair.node.send_routed(None, Route::Group(b"g"), Kind::Body, body.clone()), Ok(()));
    pair.talk();
    let lines = core::mem::take(&mut pair.heard);
    assert_eq!(lines, [line(&SID.0, "g:websocket/text", b"hi"), line(b"", "g:body", b"hi")]);
    for (route, kind) in [
        (Route::Group(b"@g"), Kind::Body),
        (Route::Group(b""), Kind::Body),
        (Route::Group(b"g"), Kind::Headers),
        (Route::Session(OTHER), Kind::Join),
    ] {
        for sid in [None, Some(SID)] {
            assert_eq!(pair.node.send_routed(sid, route, kind, body.clone()), Err(SendError::Unroutable));
        }
    }
    assert_eq!(pair.hears(), heard(&[]));
}

#[test]
fn messages_to_others_are_bounded_as_any() {
    let mut pair = Pair::with("credit", |settings| (settings.session_bytes, settings.queue_bytes) = (500, 1000));
    pair.begin(SID, "0");
    let group = Route::Group(b"g");
    let body = |len| Bytes::from(vec![b'x'; len]);
    pair.send(Kind::WebSocket, "waits");
    assert_eq!(pair.node.send_routed(Some(SID), group, Kind::WebSocket, body(400)), Ok(()));
    assert_eq!(pair.node.writable(SID), 0, "the type frame is charged too");
    let refused = pair.node.send_routed(Some(SID), group, Kind::WebSocket, body(400));
    assert_eq!(refused, Err(SendError::Full(body(400))));
    assert_eq!(pair.node.send_routed(None, group, Kind::WebSocket, body(400)), Ok(()));
    assert_eq!(pair.node.send_routed(None, group, Kind::WebSocket, body(400)), Err(SendError::Full(body(400))));
    pair.tell(&[&SID.0, b"credit", b"1"]);
    assert_eq!((pair.node.queued, pair.node.room()), (0, 1000));
}

#[test]
fn nothing_is_kept_of_a_session_that_was_passed_on() {
    let mut pair = Pair::new("credit");
    pair.begin(SID, "100");
    pair.send(Kind::Retry, "");
    assert_eq!(pair.node.session_count(), 0);
    assert_eq!(pair.node.send(SID, Kind::Body, "x".into()), Err(SendError::Ended));
    pair.begin(SID, "100");
    assert_eq!(pair.node.session_count(), 1, "it may come again");
}

#[test]
fn an_end_from_either_side_ends_the_session() {
    let mut pair = Pair::new("credit");
    pair.begin(SID, "100");
    pair.send(Kind::End, "");
    assert_eq!(pair.node.send(SID, Kind::Body, "x".into()), Err(SendError::Ended));
    pair.begin(OTHER, "0");
    pair.node.send(OTHER, Kind::Body, "never leaves".into()).unwrap();
    pair.tell(&[&OTHER.0, b"end", b""]);
    assert_eq!(pair.node.send(OTHER, Kind::Body, "x".into()), Err(SendError::Ended));
    assert_eq!((pair.node.session_count(), pair.node.queued, pair.node.writable(OTHER)), (0, 0, 0));
    pair.tell(&[&OTHER.0, b"credit", b"100"]);
    assert_eq!((pair.node.session_count(), pair.node.dropped()), (0, 0));
}

#[test]
fn the_end_of_a_session_of_socket_io_is_one() {
    let mut pair = Pair::new("credit socket.io");
    pair.begin(SID, "1");
    pair.heard.clear();
    pair.send(Kind::SocketIoConnect, "");
    pair.send(Kind::SocketIoEvent, "[1]");
    pair.send(Kind::SocketIoAck, "3[]");
    pair.send(Kind::SocketIoDisconnect, "");
    let passed = [("socket.io/connect", ""), ("socket.io/event", "[1]")];
    assert_eq!(pair.hears(), heard(&passed), "an answer waits for credit, and what is said of the session behind it");
    pair.send(Kind::SocketIoEnd, "");
    assert_eq!(pair.node.send(SID, Kind::SocketIoEvent, "[2]".into()), Err(SendError::Ended));
    pair.tell(&[&SID.0, b"credit", b"8"]);
    assert_eq!(pair.hears(), heard(&[("socket.io/ack", "3[]"), ("socket.io/disconnect", ""), ("socket.io/end", "")]));
    assert_eq!((pair.node.session_count(), pair.node.queued), (0, 0));
}

#[test]
fn a_forgotten_session_still_delivers_its_queue() {
    let mut pair = Pair::new("credit quiet");
    pair.heard.clear();
    pair.begin(SID, "1");
    pair.send(Kind::Body, "ab");
    pair.node.forget(SID);
    assert_eq!(pair.node.send(SID, Kind::Body, "x".into()), Err(SendError::Ended));
    pair.tell(&[&SID.0, b"credit", b"1"]);
    assert_eq!(pair.hears(), heard(&[("body", "a"), ("body", "b")]));
    assert_eq!(pair.node.session_count(), 0);
    pair.node.forget(SID);
}

#[test]
fn requests_beyond_the_sessions_allowed_are_passed_on() {
    let mut pair = Pair::with("credit", |settings| settings.sessions = 1);
    pair.begin(SID, "0");
    pair.heard.clear();
    assert_eq!(pair.tell(&[&OTHER.0, b"uwsgi", b""]), []);
    assert_eq!(pair.heard, [line(&OTHER.0, "retry", b"")]);
    assert_eq!(pair.node.session_count(), 1);
}

#[test]
fn a_flood_of_pings_that_is_not_read_does_not_grow_the_queue() {
    let mut pair = Pair::new("");
    pair.heard.clear();
    pair.send(Kind::Body, &"x".repeat(PONG_BACKLOG));
    let before = pair.node.outbound().len();
    for _ in 0..100 {
        pair.server.send(&[b"", b"ping", b""]).unwrap();
    }
    let bytes = pair.server.outbound().take();
    assert_eq!(pair.node.receive(&bytes, now()), bytes.len());
    assert_eq!(pair.node.outbound().len(), before);
    let kinds: Vec<_> = pair.hears().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["body", "pong"]);
}

#[test]
fn nothing_is_sent_before_the_link_is_up_or_after_it_ended() {
    let settings = Settings::new("FOO".into(), Capabilities::default(), &Limits::DEFAULT);
    let mut early = Dealer::new(settings, now());
    assert_eq!(early.send(SID, Kind::Body, Bytes::new()), Err(SendError::Down));
    let mut pair = Pair::new("");
    pair.node.receive_eof(now());
    assert_eq!(pair.node.send(SID, Kind::Body, Bytes::new()), Err(SendError::Down));
    assert_eq!(pair.node.is_closing(), Some(Cause::Complete));
}
