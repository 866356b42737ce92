//! A node: a DEALER that answers, misbehaves, or talks nonsense.

use std::collections::BTreeMap;
use std::sync::Arc;

use blastbeat_proto::limits::Limits;
use blastbeat_proto::message::{Kind, Sid};
use blastbeat_proto::time::Instant;
use blastbeat_proto::uwsgi;
use blastbeat_proto::zmtp::{self, Credentials, Event, Mechanism, Role};
use bytes::Bytes;

use super::client::ECHO;
use super::script::Script;
use super::talk::{self, Heard};
use super::world::Wire;

pub struct Node {
    pub wire: Wire,
    pub identity: &'static str,
    conn: zmtp::Connection,
    unread: Vec<u8>,
    /// Sessions of this link, oldest first.
    pub sids: Vec<Sid>,
    pub book: BTreeMap<Sid, Entry>,
    /// It has waived the `end` of complete responses at some time.
    pub is_quiet: bool,
    /// The server has given it up, or its link has gone.
    pub is_lost: bool,
    /// Both sides speak the same mechanism.
    is_matched: bool,
    number: usize,
    /// Messages that it has said, as one that tells the truth.
    said: u32,
    name: char,
}

/// What a node knows of a session.
#[derive(Default)]
pub struct Entry {
    path: Vec<u8>,
    is_ended: bool,
    /// The node has passed it on, or it may have done so.
    pub is_retried: bool,
    /// The client's WebSocket has closed.
    is_closed: bool,
    heard: Heard,
}

impl Entry {
    /// Whether the node has the session.
    pub fn is_open(&self) -> bool {
        !self.is_ended && !self.is_retried
    }
}

const HEADS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n",
    "HTTP/1.1 100 Continue\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 300\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 5\r\n",
    "HTTP/1.1 500 No\r\nContent-Length: 0\r\nTrailer: a\r\n",
];

/// One byte too many for the name of a group.
const LONG: &str = "a234567890123456789012345678901234567890123456789012345678901234.";

const PIECES: &[&str] = &[
    "",
    "Hello",
    "5\r\nHello\r\n",
    "5\r\nHel",
    "0\r\n\r\n",
    "5\r\nHello\r\n0\r\n\r\n",
    "0\r\n\r\nmore",
    "zz\r\n",
    "HTTP/",
];

impl Node {
    pub fn new(wire: Wire, number: usize, script: &mut Script<'_>, wants_password: bool, now: Instant) -> Self {
        let identity = script.pick(&["one", "two", "three", "", "o", "twenty"]);
        let credentials = |password| {
            let credentials = Credentials {
                username: Bytes::from_static(identity.as_bytes()),
                password: Bytes::from_static(password),
            };
            Mechanism::PlainClient(credentials)
        };
        let choice = script.byte();
        let mechanism = match (wants_password != (choice % 8 == 7), identity) {
            (false, _) => Mechanism::Null,
            (true, "one") if choice % 4 != 3 => credentials(b"secret"),
            (true, _) => credentials(b"open"),
        };
        let settings = zmtp::Settings {
            identity: Bytes::from_static(identity.as_bytes()),
            mechanism: mechanism.clone(),
            heartbeat: None,
            ..zmtp::Settings::new(Role::Dealer, &Limits::DEFAULT)
        };
        Self {
            wire,
            identity,
            conn: zmtp::Connection::new(Arc::new(settings), now),
            unread: Vec::new(),
            sids: Vec::new(),
            book: BTreeMap::new(),
            is_quiet: false,
            is_lost: false,
            number,
            said: 0,
            name: 'n',
            is_matched: wants_password != (mechanism == Mechanism::Null),
        }
    }

    /// The server has given up the node of this name: if it is this one, and not one that waits to be let in, its
    /// sessions are others'.
    pub fn lose(&mut self) {
        self.is_lost |= self.conn.is_up();
    }

    /// Takes the next bytes to send, `n` at most.
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        self.flush();
        self.wire.to_send.drain(..n.min(self.wire.to_send.len())).collect()
    }

    /// Moves what the connection wants to say to what will be sent.
    pub fn flush(&mut self) {
        self.wire.to_send.extend(self.conn.outbound().take());
    }

    /// Reads what the server sent; returns the sessions that have come.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Vec<Sid> {
        self.unread.extend_from_slice(bytes);
        let mut begun = Vec::new();
        loop {
            let used = self.conn.receive(&self.unread, now);
            self.unread.drain(..used);
            match self.conn.poll_event() {
                Some(Event::Message(message)) => begun.extend(self.hear(&message)),
                Some(Event::Peer { .. }) => {}
                Some(Event::Hello(_)) => panic!("a router shows no credentials"),
                None if used == 0 || self.unread.is_empty() => break,
                None => {}
            }
        }
        assert!(self.conn.violation().is_none() || !self.is_matched, "the server keeps to the protocol");
        begun
    }

    fn hear(&mut self, message: &zmtp::Message) -> Option<Sid> {
        let frames: Vec<&[u8]> = message.frames().collect();
        let [sid, kind, body] = frames[..] else { panic!("messages have three frames") };
        let kind = Kind::from_frame(kind).expect("types are known");
        let entry = Sid::from_frame(sid).map(|sid| (sid, self.book.get_mut(&sid)));
        match (kind, entry) {
            (Kind::Ping | Kind::Spawn, None) => assert!(body.is_empty()),
            (Kind::Error, _) => assert!(!body.is_empty()),
            (Kind::Uwsgi, Some((sid, None))) => {
                let pairs: Vec<_> = uwsgi::pairs(body).map(|pair| pair.expect("packets are sound")).collect();
                let path = pairs.iter().find(|(name, _)| *name == b"PATH_INFO").expect("a path is told").1.to_vec();
                self.book.insert(sid, Entry { path, ..Entry::default() });
                self.sids.push(sid);
                return Some(sid);
            }
            (Kind::Body, Some((_, Some(entry)))) => assert!(!entry.is_ended, "nothing comes after the end"),
            (Kind::WebSocket | Kind::WebSocketText | Kind::WebSocketBinary | Kind::Msg, Some((_, Some(entry)))) => {
                assert!(!entry.is_ended, "nothing comes after the end");
                assert!(!entry.is_closed || kind == Kind::Msg, "no message comes after the close");
                entry.heard.hear(body, true);
            }
            (
                Kind::SocketIoConnect
                | Kind::SocketIoEvent
                | Kind::SocketIoAck
                | Kind::SocketIoDisconnect
                | Kind::SocketIoMsg
                | Kind::SocketIoJson,
                Some((_, Some(entry))),
            ) => {
                assert!(!entry.is_ended, "nothing comes after the end");
                let begins = body.first().copied().unwrap_or(b'[');
                let is_sound = kind == Kind::SocketIoMsg || matches!(begins, b'[' | b'{' | b'/' | b'"' | b'0'..=b'9');
                let is_json = kind == Kind::SocketIoJson;
                assert!(is_sound || is_json, "{kind} says {}", body.escape_ascii());
            }
            (Kind::WebSocketClose, Some((_, Some(entry)))) => {
                assert!(!entry.is_ended, "nothing comes after the end");
                assert!(!std::mem::replace(&mut entry.is_closed, true), "a WebSocket closes once");
            }
            (Kind::Credit, Some((_, Some(entry)))) => {
                assert!(!entry.is_ended, "no credit after the end");
                assert_ne!(body, b"0", "credit is worth a message");
            }
            (Kind::End, Some((_, Some(entry)))) => {
                assert!(!entry.is_ended, "a session ends once");
                entry.is_ended = true;
            }
            (kind, _) => panic!("{kind} for {sid:?} is out of order"),
        }
        None
    }

    /// A session's id, most often one of its own.
    fn choose(&self, which: u8, script: &mut Script<'_>, others: &[Sid]) -> Vec<u8> {
        let own = script.place(self.sids.len()).map(|place| self.sids[place]);
        match which {
            0..11 => own.map(|sid| sid.0.to_vec()).unwrap_or_default(),
            11 => others.last().map(|sid| sid.0.to_vec()).unwrap_or_default(),
            12 => others.first().map(|sid| sid.0.to_vec()).unwrap_or_default(),
            13 => vec![0; 16],
            14 => Vec::new(),
            _ => vec![7; 15],
        }
    }

    /// Says something about WebSockets, groups or pipes, for itself or for any session, maybe to others.
    pub fn talk(&mut self, script: &mut Script<'_>, others: &[Sid]) {
        let choice = script.byte();
        let sid = self.choose(choice / 16, script, others);
        let mut name = match choice % 16 {
            0..11 => Vec::new(),
            11 | 12 => b"a:".to_vec(),
            13 => b"b:".to_vec(),
            14 => {
                let which = script.byte() / 16;
                [b"@", &self.choose(which, script, others)[..], b":"].concat()
            }
            _ => [script.pick(&["", "@short", "b:c", LONG]).as_bytes(), b":"].concat(),
        };
        let (kind, body) = match script.byte() % 32 {
            0..4 => ("websocket", self.message(script)),
            4 | 5 => ("websocket/text", self.message(script)),
            6 | 7 => ("websocket/binary", self.message(script)),
            8 => ("websocket/text", vec![0xff; 30]),
            9 | 10 => {
                let body = script.pick(&[&b""[..], b"\x03\xe8bye", b"\x0f\xa0", b"\x03", b"\x03\xed", b"\x03\xe8\xff"]);
                ("websocket/close", body.to_vec())
            }
            11 => ("websocket/close", [&b"\x03\xe8"[..], &[b'.'; 124]].concat()),
            12 => ("end", Vec::new()),
            13 => ("body", self.message(script)),
            14 => ("chunk", script.pick(&["", "Hello"]).into()),
            15 | 16 => ("msg", self.message(script)),
            17 => (script.pick(&["retry", "headers", "credit", "nonsense"]), Vec::new()),
            18..23 => ("join", script.pick(&["a", "b", "a", "", "@a", LONG]).into()),
            23 => ("leave", script.pick(&["a", "b", "c", ""]).into()),
            24 => ("echo", script.pick(&["a", "", "c", "@"]).into()),
            25 => ("noecho", script.pick(&["a", "", "b", "@"]).into()),
            26 => ("unpipe", script.pick(&["", "a:websocket", "b", "a:websocket,body"]).into()),
            27 => {
                let to = self.choose(script.byte() / 16, script, others);
                ("pipe", [b"@", &to[..], b":websocket"].concat())
            }
            _ => {
                ("pipe", script.pick(&["a:websocket", "a:websocket,body", "b:websocket", "b:body", "a", "a:x"]).into())
            }
        };
        if kind == "retry" {
            self.note_retry(&sid);
        }
        name.extend_from_slice(kind.as_bytes());
        self.send(&[&sid, &name, &body]);
    }

    fn message(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        talk::message(self.name, self.number, &mut self.said, script)
    }

    /// Puts all of its sessions into a group.
    pub fn gather(&mut self, script: &mut Script<'_>) {
        let group = script.pick(&["a", "b"]);
        for sid in self.sids.clone() {
            self.send(&[&sid.0, b"join", group.as_bytes()]);
        }
    }

    /// Sends many messages to a group at once.
    pub fn burst(&mut self, script: &mut Script<'_>, others: &[Sid]) {
        let sid = self.choose(script.byte() / 16, script, others);
        let name = script.pick(&["a:websocket", "b:websocket/binary", "a:msg"]);
        for _ in 0..script.byte() % 64 {
            let body = self.message(script);
            self.send(&[&sid, name.as_bytes(), &body]);
        }
    }

    /// Lets all of its clients of socket.io have what they may have asked for.
    pub fn welcome(&mut self, script: &mut Script<'_>) {
        let namespace = script.pick(&["", "/chat"]);
        for sid in self.sids.clone() {
            self.send(&[&sid.0, b"socket.io/connect", namespace.as_bytes()]);
        }
    }

    /// Says something to clients of socket.io, or pushes.
    pub fn pack(&mut self, script: &mut Script<'_>, others: &[Sid]) {
        let choice = script.byte();
        let sid = self.choose(choice / 16, script, others);
        let mut name = match choice % 8 {
            0..5 => Vec::new(),
            5 | 6 => b"a:".to_vec(),
            _ => {
                let which = script.byte() / 16;
                [b"@", &self.choose(which, script, others)[..], b":"].concat()
            }
        };
        let large = format!("[\"l\",\"{}\"]", "x".repeat(usize::from(choice) * 30));
        let (kind, body): (&str, &[u8]) = script.pick(&[
            ("socket.io/event", &b"[\"x\",1]"[..]),
            ("socket.io/event", b"[\"x\",1]"),
            ("socket.io/event", b"[\"x\",1]"),
            ("socket.io/event", b"{\"name\":\"x\",\"args\":[2]}"),
            ("socket.io/event", b"/chat,[\"x\"]"),
            ("socket.io/event", b"7[\"x\"]"),
            ("socket.io/event", b"2-[\"b\",{\"_placeholder\":true,\"num\":0}]\x01\x02"),
            ("socket.io/event", b"1-/chat,[\"b\",{\"_placeholder\":true,\"num\":0}]\xff"),
            ("socket.io/event", b"9999-[\"b\"]"),
            ("socket.io/event", b"garbage"),
            ("socket.io/event", b""),
            ("socket.io/event", large.as_bytes()),
            ("socket.io/event", large.as_bytes()),
            ("socket.io/ack", b"7[1]"),
            ("socket.io/ack", b"/chat,1[]"),
            ("socket.io/ack", b"[1]"),
            ("socket.io/connect", b""),
            ("socket.io/connect", b"/chat"),
            ("socket.io/connect", b"/nope,"),
            ("socket.io/refuse", b"{\"message\":\"no\"}"),
            ("socket.io/refuse", b"/chat,\"no\""),
            ("socket.io/disconnect", b""),
            ("socket.io/disconnect", b"/chat,"),
            ("socket.io/msg", b"a \"text\""),
            ("socket.io/msg", b"\xff"),
            ("socket.io/json", b"{\"a\":1}"),
            ("socket.io/json", b"{"),
            ("socket.io/end", b""),
            ("end", b""),
            ("retry", b""),
            ("goaway", b""),
            ("timeout", b"1"),
            ("websocket", b"plain"),
            ("websocket/binary", b"\0\xff"),
            ("push", b"HTTP/1.1 200 OK\r\nUrl: /pushed\r\n\r\n"),
            ("push", b"HTTP/1.1 200 OK\r\n:path: /pushed\r\nContent-Length: 5\r\n\r\nHel"),
            ("push", b"HTTP/1.1 200 OK\r\nUrl: /pushed\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("body", b"lo"),
            ("body", b"5\r\nHello\r\n0\r\n\r\n"),
            ("chunk", large.as_bytes()),
        ]);
        if kind == "retry" {
            self.note_retry(&sid);
        }
        name.extend_from_slice(kind.as_bytes());
        self.send(&[&sid, &name, body]);
    }

    /// Answers the newest handshake.
    pub fn shake_hands(&mut self, script: &mut Script<'_>) {
        let Some(sid) = self.sids.iter().rev().find(|sid| self.book[sid].is_open()).copied() else { return };
        let head = script.pick(&[
            "HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: a=b\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: a\r\n\r\nHello",
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
        ]);
        self.send(&[&sid.0, b"headers", head.as_bytes()]);
    }

    /// With the word that it passes a session on, the session is not its own.
    fn note_retry(&mut self, sid: &[u8]) {
        if let Some(entry) = Sid::from_frame(sid).and_then(|sid| self.book.get_mut(&sid)) {
            entry.is_retried = true;
        }
    }

    /// Sends a message of any kind to any session.
    pub fn say(&mut self, script: &mut Script<'_>, others: &[Sid]) {
        let kind = script.byte();
        let sid = self.choose(kind / 16, script, others);
        let path = Sid::from_frame(&sid)
            .and_then(|sid| self.book.get(&sid))
            .map(|entry| entry.path.clone())
            .unwrap_or_default();
        let head = |script: &mut Script<'_>| {
            let mut head = script.pick(HEADS).as_bytes().to_vec();
            head.extend_from_slice(ECHO.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(&path);
            head.extend_from_slice(b"\r\n\r\n");
            head
        };
        let (name, body): (&str, Vec<u8>) = match kind % 16 {
            0 | 1 => ("headers", head(script)),
            2 => ("headers", [head(script), script.pick(PIECES).into()].concat()),
            3 => ("body", head(script)),
            4 | 5 => ("body", script.pick(PIECES).into()),
            6 => ("chunk", script.pick(PIECES).into()),
            7 => ("end", Vec::new()),
            8 => ("retry", Vec::new()),
            9 => ("body", vec![b'x'; usize::from(script.byte()) * 8]),
            10 => ("chunk", vec![b'y'; usize::from(script.byte()) * 8]),
            11 => ("headers", script.bytes().to_vec()),
            12 => {
                let mut packet = Vec::new();
                let pairs = [("STATUS", "200 OK"), ("Content-Length", "5"), (ECHO, "?")];
                let value = |name: &'static str, value: &'static str| match name {
                    ECHO => (name.as_bytes(), path.clone()),
                    name => (name.as_bytes(), value.as_bytes().to_vec()),
                };
                let pairs: Vec<_> = pairs.iter().map(|(name, text)| value(name, text)).collect();
                let fits = uwsgi::encode_pairs(&mut packet, pairs.iter().map(|(name, value)| (*name, &value[..])));
                assert!(fits.is_ok());
                ("uwsgi", packet)
            }
            13 => ("uwsgi", script.bytes().to_vec()),
            14 => (
                script.pick(&["ping", "spawn", "error", "credit", "pong", "a:body", "a:b", ""]),
                script.bytes().to_vec(),
            ),
            _ => {
                let parts: [&[u8]; 4] = [&sid, b"body", b"a", b"b"];
                return self.send(&parts[..usize::from(script.byte()) % 4 + 1]);
            }
        };
        // A raw head that claims to answer a request proves nothing about the order.
        if matches!(kind % 16, 11 | 13) && contains(&body, b"X-Ans") {
            return;
        }
        if name == "retry" {
            self.note_retry(&sid);
        }
        self.send(&[&sid, name.as_bytes(), &body]);
    }

    /// Answers the newest session that is open, fully.
    pub fn answer(&mut self, script: &mut Script<'_>) {
        let Some(sid) = self.sids.iter().rev().find(|sid| self.book[sid].is_open()).copied() else { return };
        let path = String::from_utf8_lossy(&self.book[&sid].path).into_owned();
        let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}{ECHO}: {path}\r\n\r\n").into_bytes();
        match script.byte() % 4 {
            0 => {
                self.send(&[&sid.0, b"headers", &head("Content-Length: 5\r\n")]);
                self.send(&[&sid.0, b"body", b"Hello"]);
            }
            1 => {
                self.send(&[&sid.0, b"body", &head("")]);
                self.send(&[&sid.0, b"body", &[b'x'; 3000]]);
                self.send(&[&sid.0, b"end", b""]);
            }
            2 => {
                self.send(&[&sid.0, b"headers", &head("Transfer-Encoding: chunked\r\n")]);
                self.send(&[&sid.0, b"chunk", b"Hello"]);
                self.send(&[&sid.0, b"chunk", b""]);
            }
            _ => {
                self.send(&[&sid.0, b"headers", &head("Transfer-Encoding: chunked\r\n")]);
                self.send(&[&sid.0, b"body", b"5\r\nHello\r\n0\r\n\r\n"]);
            }
        }
    }

    /// Says that it is alive, and what it can do.
    pub fn pong(&mut self, script: &mut Script<'_>) {
        let body = script.pick(&[
            "",
            "body-end",
            "credit body-end end-reason errors",
            "quiet",
            "errors capacity=1",
            "nonsense",
            "credit",
            "errors end-reason",
            "binary close",
            "handshake errors",
            "binary credit handshake",
            "close quiet capacity=1",
            "socket.io",
            "socket.io end-reason errors",
            "socket.io credit binary",
            "socket.io capacity=2",
        ]);
        self.is_quiet |= body.contains("quiet");
        self.send(&[b"", b"pong", body.as_bytes()]);
    }

    /// Sends anything.
    pub fn mumble(&mut self, script: &mut Script<'_>) {
        self.flush();
        self.wire.to_send.extend_from_slice(script.bytes());
        // What follows may be read as anything.
        self.name = 'x';
        self.is_quiet = true;
        for entry in self.book.values_mut() {
            entry.is_retried = true;
        }
    }

    fn send(&mut self, parts: &[&[u8]]) {
        if self.conn.is_up() {
            self.conn.send(parts).expect("the link is up");
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}
