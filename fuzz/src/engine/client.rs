//! A client: sends requests or anything, and reads the answers.

use std::collections::VecDeque;

use blastbeat_proto::http::{Event, Request, Response, Settings};
use blastbeat_proto::http1::Connection;
use blastbeat_proto::limits::Limits;
use blastbeat_proto::spdy::Version;
use blastbeat_proto::time::Instant;
use bytes::Bytes;

use super::guest::{Ear, Guests};
use super::script::Script;
use super::spdy::Spdy;
use super::streams::Streams;
use super::talk::{self, Talk};
use super::world::Wire;

/// The field by which a node says which request it answers.
pub const ECHO: &str = "X-Answers-Request";

pub struct Client {
    pub wire: Wire,
    number: usize,
    requests: usize,
    /// It has sent nothing but requests, so what it gets can be read.
    is_sound: bool,
    /// Requests that are to be sent, with what has to be sent before each.
    planned: VecDeque<(usize, Asked)>,
    /// Requests that were begun and have no final response.
    begun: VecDeque<Asked>,
    reader: Connection,
    answering: Option<Asked>,
    last_method: &'static str,
    unread: Vec<u8>,
    /// Once a handshake has been accepted.
    talk: Option<Talk>,
    /// Messages that it has said, as one that tells the truth.
    said: u32,
    name: char,
    streams: Streams,
    /// The versions of SPDY that it may choose from.
    pub versions: Vec<Version>,
    /// Once it has chosen one.
    spdy: Option<Spdy>,
    ear: Ear,
}

#[derive(Clone)]
struct Asked {
    method: &'static str,
    path: String,
    /// The answer may be a 101.
    for_websocket: bool,
}

impl Client {
    pub fn new(wire: Wire, number: usize) -> Self {
        let limits = Limits { fields: 100, ..Limits::DEFAULT };
        let reader = Connection::client(Settings::with_limits(limits), Instant::ZERO);
        Self {
            wire,
            number,
            requests: 0,
            is_sound: true,
            planned: VecDeque::new(),
            begun: VecDeque::new(),
            reader,
            answering: None,
            last_method: "",
            unread: Vec::new(),
            talk: None,
            said: 0,
            name: 'c',
            streams: Streams::default(),
            versions: Vec::new(),
            spdy: None,
            ear: Ear::default(),
        }
    }

    /// Plans to send a request: a good one, or one that is refused as a whole.
    pub fn ask(&mut self, script: &mut Script<'_>) {
        let path = format!("/{}/{}", self.number, self.requests);
        self.requests += 1;
        let (method, rest) = script.pick(&[
            ("GET", " HTTP/1.1\r\nHost: example.org\r\n\r\n"),
            ("HEAD", " HTTP/1.1\r\nHost: example.org\r\n\r\n"),
            ("GET", " HTTP/1.0\r\nHost: other\r\n\r\n"),
            ("GET", " HTTP/1.0\r\nHost: example.org\r\nConnection: keep-alive\r\n\r\n"),
            ("POST", " HTTP/1.1\r\nHost: example.org\r\nContent-Length: 10\r\n\r\n!!!!!!!!!!"),
            (
                "PUT",
                " HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n!!!\r\n4\r\n!!!!\r\n0\r\n\r\n",
            ),
            ("POST", " HTTP/1.1\r\nHost: other\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n!!!!"),
            ("GET", " HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"),
            ("GET", " HTTP/1.1\r\nHost: elsewhere\r\n\r\n"),
            ("DELETE", " HTTP/1.1\r\nHost: other:80\r\nX-Forwarded-For: 1.2.3.4, 10.1.1.1\r\n\r\n"),
            ("POST", " HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n!!\r\nwrong"),
            ("GET", " HTTP/1.1\r\n\r\n"),
            ("GET", " HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
            ("PATCH", ""),
        ]);
        self.planned.push_back((self.wire.to_send.len(), Asked { method, path: path.clone(), for_websocket: false }));
        let text = match rest {
            "" => {
                let length = usize::from(script.byte()) * 16;
                let body = "!".repeat(length);
                format!("{method} {path} HTTP/1.1\r\nHost: example.org\r\nContent-Length: {length}\r\n\r\n{body}")
            }
            rest => format!("{method} {path}{rest}"),
        };
        self.wire.to_send.extend_from_slice(text.as_bytes());
    }

    /// Plans to ask for a WebSocket, rightly or not, and maybe to go on without waiting for the answer.
    pub fn shake_hands(&mut self, script: &mut Script<'_>) {
        let path = format!("/{}/{}", self.number, self.requests);
        self.requests += 1;
        let (method, version, host) = script.pick(&[
            ("GET", "1.1", "example.org"),
            ("GET", "1.1", "example.org"),
            ("GET", "1.1", "example.org"),
            ("GET", "1.1", "other"),
            ("POST", "1.1", "example.org"),
            ("GET", "1.0", "example.org"),
        ]);
        let text = format!("{method} {path} HTTP/{version}\r\nHost: {host}\r\n{}\r\n", talk::fields(script));
        let asked = Asked { method, path, for_websocket: true };
        self.planned.push_back((self.wire.to_send.len(), asked));
        self.wire.to_send.extend_from_slice(text.as_bytes());
        if script.byte().is_multiple_of(8) {
            // Where the handshake is refused this is a bad request.
            let asked = Asked { method: "GET", path: "/early".into(), for_websocket: false };
            self.planned.push_back((self.wire.to_send.len(), asked));
            let message = talk::message(self.name, self.number, &mut self.said, script);
            self.wire.to_send.extend(talk::frame(0x81, &message));
        }
    }

    /// Plans to say something on its WebSocket.
    pub fn speak(&mut self, script: &mut Script<'_>) {
        if let Some(talk) = &mut self.talk {
            let bytes = talk.speak(self.name, self.number, &mut self.said, script);
            self.wire.to_send.extend(bytes);
        }
    }

    /// Plans to send a frame of HTTP/2, or of SPDY where its listener speaks it, from its first byte on if it has sent
    /// nothing else.
    pub fn browse(&mut self, script: &mut Script<'_>) {
        if self.talk.is_some() {
            return;
        }
        self.is_sound = false;
        if !self.streams.has_begun() && self.spdy.is_none() && !self.versions.is_empty() {
            let choice = usize::from(script.byte());
            self.spdy = self.versions.get(choice % (self.versions.len() + 1)).map(|version| Spdy::new(*version));
        }
        let bytes = match &mut self.spdy {
            Some(spdy) => spdy.speak(script),
            None => self.streams.speak(script),
        };
        self.wire.to_send.extend(bytes);
    }

    /// Plans to speak for a client of socket.io: by requests, on streams if it has any, or by its WebSocket.
    pub fn visit(&mut self, guests: &Guests, script: &mut Script<'_>) {
        if self.talk.is_some() {
            return;
        }
        self.is_sound = false;
        if let Some(spdy) = &mut self.spdy {
            let ask = guests.ask(&mut self.ear, script);
            let bytes = spdy.visit(&ask);
            return self.wire.to_send.extend(bytes);
        }
        let bytes = match (self.ear.is_websocket, self.streams.has_begun()) {
            (true, _) => guests.frame(&self.ear, script),
            (false, true) if script.byte() % 4 == 3 => self.streams.frame(&guests.frame(&self.ear, script), script),
            (false, true) => {
                let ask = guests.ask(&mut self.ear, script);
                self.streams.visit(&ask)
            }
            (false, false) => guests.ask(&mut self.ear, script).bytes(),
        };
        self.wire.to_send.extend(bytes);
    }

    /// Plans to send anything.
    pub fn mumble(&mut self, script: &mut Script<'_>) {
        if let Some(tunnel) = &mut self.wire.tunnel
            && script.byte().is_multiple_of(2)
        {
            return tunnel.mumble(script);
        }
        // What the server says on a WebSocket is sound whatever it hears.
        self.is_sound &= self.talk.is_some();
        self.name = 'x';
        self.wire.to_send.extend_from_slice(script.bytes());
    }

    /// It does not look at what it gets.
    pub fn does_not_care(&mut self) {
        self.is_sound = false;
    }

    /// Takes the next bytes to send, `n` at most.
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        let plain = self.take_plain(n);
        let Some(tunnel) = &mut self.wire.tunnel else { return plain };
        if !plain.is_empty() {
            tunnel.send(&plain);
        }
        tunnel.to_send.drain(..n.min(tunnel.to_send.len())).collect()
    }

    fn take_plain(&mut self, n: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.wire.to_send.drain(..n.min(self.wire.to_send.len())).collect();
        while self.planned.front().is_some_and(|(before, _)| *before < bytes.len()) {
            self.begun.extend(self.planned.pop_front().map(|(_, asked)| asked));
        }
        for (before, _) in &mut self.planned {
            *before -= bytes.len();
        }
        bytes
    }

    /// Reads what the server sent.
    pub fn receive(&mut self, bytes: &[u8], guests: &mut Guests) {
        let plain = self.wire.tunnel.as_mut().map(|tunnel| tunnel.receive(bytes));
        let bytes = plain.as_deref().unwrap_or(bytes);
        guests.hear(&mut self.ear, bytes);
        if !self.is_sound || bytes.is_empty() {
            return;
        }
        if let Some(talk) = &mut self.talk {
            return self.wire.to_send.extend(talk.receive(bytes));
        }
        self.unread.extend_from_slice(bytes);
        loop {
            if self.answering.is_none() && self.begun.front().is_some_and(|asked| asked.for_websocket) {
                let Ok((response, rest)) = Response::parse(Bytes::from(self.unread.clone()), &Limits::DEFAULT) else {
                    return;
                };
                if response.status == 101 {
                    let mut talk = Talk::new(&response, self.number);
                    self.wire.to_send.extend(talk.receive(&rest));
                    self.talk = Some(talk);
                    return;
                }
                if response.is_interim() {
                    self.unread = rest.to_vec();
                    continue;
                }
            }
            assert_eq!(self.reader.violation(), None, "responses are sound");
            if self.reader.is_closing().is_some() {
                // Of a head that does not arrive in time nobody knows that it says HEAD.
                let may_follow = self.unread.is_empty() || self.last_method == "HEAD";
                assert!(may_follow, "the last response was the last");
                return self.unread.clear();
            }
            if self.answering.is_none() && !self.unread.is_empty() {
                let asked = self.begun.pop_front().expect("a response has a request");
                let request =
                    Request::builder(asked.method, &asked.path, "example.org").build().expect("the request is sound");
                self.reader.send(Event::Request(request), Instant::ZERO).expect("the reader is idle");
                self.reader.outbound().clear();
                self.last_method = asked.method;
                self.answering = Some(asked);
            }
            let used = self.reader.receive(&self.unread, Instant::ZERO);
            self.unread.drain(..used);
            match self.reader.poll_event() {
                Some(Event::Response(response)) => {
                    let asked = self.answering.as_ref().expect("only then it reads");
                    if let Some(echo) = response.fields.find(ECHO) {
                        assert_eq!(echo, asked.path.as_bytes(), "answers come in order");
                    }
                }
                Some(Event::Body(_)) => {}
                Some(Event::End) => self.answering = None,
                Some(Event::Request(_)) => panic!("a client yields no requests"),
                None if used == 0 => break,
                None => {}
            }
        }
    }
}
