//! A client of socket.io on a stage.

use std::collections::VecDeque;

use blastbeat_proto::engine::Report;
use blastbeat_proto::error::Cause;

use crate::frames::{self, BINARY, CLOSE, Frame, TEXT};
use crate::http2_stage::Browser;
use crate::secure::Version;
use crate::socketio::{Packet, Speaks};
use crate::stage::{Client, Node, Stage, show};

/// What a guest's requests go by.
pub enum Road {
    /// HTTP/1: one connection to poll, one to post.
    Lines {
        /// For GET.
        get: Client,
        /// For POST.
        post: Client,
        /// For WebSockets, and everything new: by TLS.
        secure: bool,
    },
    /// Streams of one connection of HTTP/2.
    Streams(Box<Browser>),
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
enum Ticket {
    Line(Client),
    Stream(u32),
}

/// A client of socket.io on a stage.
pub struct Guest {
    /// What it speaks.
    pub speaks: Speaks,
    /// Where: `/socket.io/`, or another path.
    pub path: &'static str,
    /// What its requests call it.
    pub id: String,
    /// What its requests go by.
    pub road: Road,
    /// It answers pings, or sends its own where the server waits for them.
    pub is_alive: bool,
    poll: Option<Ticket>,
    post: Option<Ticket>,
    socket: Option<Ticket>,
    probe: Option<Ticket>,
    inbox: VecDeque<Packet>,
}

/// An answer: its status, its head and its body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, its names in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, which is text.
    ///
    /// # Panics
    /// If it is not.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

impl Road {
    /// Two connections of HTTP/1.
    pub fn plain(stage: &mut Stage) -> Self {
        Self::Lines { get: stage.client(), post: stage.client(), secure: false }
    }

    /// The same by TLS.
    pub fn secure(stage: &mut Stage) -> Self {
        let [get, post] = [0; 2].map(|_| stage.secure_client("a", Version::Tls13));
        Self::Lines { get, post, secure: true }
    }

    /// A connection of HTTP/2.
    pub fn streams(stage: &mut Stage) -> Self {
        Self::Streams(Box::new(Browser::new(stage)))
    }
}

impl Guest {
    fn new(speaks: Speaks, path: &'static str, road: Road) -> Self {
        Self {
            speaks,
            path,
            id: String::new(),
            road,
            is_alive: true,
            poll: None,
            post: None,
            socket: None,
            probe: None,
            inbox: VecDeque::new(),
        }
    }

    /// One that polls, after its handshake.
    pub fn polling(stage: &mut Stage, speaks: Speaks) -> Self {
        let road = Road::plain(stage);
        Self::polling_on(stage, speaks, "/socket.io/", road)
    }

    /// The same somewhere else, by other connections.
    pub fn polling_on(stage: &mut Stage, speaks: Speaks, path: &'static str, road: Road) -> Self {
        let mut guest = Self::new(speaks, path, road);
        guest.shake_hands(stage);
        guest
    }

    fn shake_hands(&mut self, stage: &mut Stage) {
        let target = match self.speaks {
            Speaks::OneScripts => format!("{}1/?t=1&jsonp=0", self.path),
            Speaks::One => format!("{}1/?t=1", self.path),
            Speaks::Five | Speaks::Two | Speaks::TwoBinary | Speaks::TwoScripts => self.target("polling"),
        };
        let ticket = self.ask_get(stage, &target);
        let answer = self.answer(stage, ticket);
        assert_eq!(answer.status, 200, "{answer:?}");
        if self.speaks.is_one() {
            let line = match self.speaks.is_by_scripts() {
                true => answer.text().trim_start_matches("io.j[0](\"").to_owned(),
                false => answer.text().to_owned(),
            };
            self.id = line.split(':').next().expect("an id").to_owned();
            return;
        }
        let packets = self.speaks.packets(&answer.body, answer.is_binary());
        self.inbox.extend(packets);
        self.greet();
    }

    /// One with a WebSocket from the start.
    pub fn websocket(stage: &mut Stage, speaks: Speaks) -> Self {
        let road = Road::plain(stage);
        Self::websocket_on(stage, speaks, "/socket.io/", road)
    }

    /// The same somewhere else, by other connections.
    pub fn websocket_on(stage: &mut Stage, speaks: Speaks, path: &'static str, road: Road) -> Self {
        let mut guest = Self::new(speaks, path, road);
        if speaks.is_one() {
            guest.shake_hands(stage);
        }
        let ticket = guest.opens(stage);
        guest.opened(stage, ticket);
        guest.socket = Some(ticket);
        if !speaks.is_one() {
            let opening = guest.hear(stage);
            guest.inbox.push_front(opening);
            guest.greet();
        }
        guest
    }

    /// Takes the server's first word.
    fn greet(&mut self) {
        let Some(Packet::Text(opening)) = self.inbox.pop_front() else { panic!("the first packet is text") };
        assert!(opening.starts_with("0{\"sid\":\""), "{opening}");
        self.id = opening.split('"').nth(3).expect("an id").to_owned();
    }

    /// One with the main namespace of a node, which knows packets or does not; and its session.
    pub fn with(stage: &mut Stage, node: Node, speaks: Speaks, is_websocket: bool, knows: bool) -> (Self, Vec<u8>) {
        let mut guest = match is_websocket {
            true => Self::websocket(stage, speaks),
            false => Self::polling(stage, speaks),
        };
        let sid = guest.settle(stage, node, knows);
        (guest, sid)
    }

    /// Gets the main namespace of a node.
    pub fn settle(&mut self, stage: &mut Stage, node: Node, knows: bool) -> Vec<u8> {
        let sid = stage.request(node).sid;
        self.enter(stage, node, &sid, knows);
        sid
    }

    /// Gets the main namespace of a node that has its session.
    pub fn enter(&mut self, stage: &mut Stage, node: Node, sid: &[u8], knows: bool) {
        if self.speaks == Speaks::Five {
            self.say(stage, "40");
        }
        if knows {
            stage.expect_message(node, sid, "socket.io/connect", "");
            stage.tell(node, sid, "socket.io/connect", "");
        }
        let accepted = self.hear_text(stage);
        match self.speaks {
            Speaks::Five => assert!(accepted.starts_with("40{\"sid\":\""), "{accepted}"),
            Speaks::Two | Speaks::TwoBinary | Speaks::TwoScripts => assert_eq!(accepted, "40"),
            Speaks::One | Speaks::OneScripts => assert_eq!(accepted, "1::"),
        }
    }

    // --- requests ---

    /// The target of its requests by a transport.
    pub fn target(&self, transport: &str) -> String {
        let (path, id) = (self.path, &self.id);
        let sid = if id.is_empty() { String::new() } else { format!("&sid={id}") };
        match (self.speaks, transport) {
            (Speaks::Five, _) => format!("{path}?EIO=4&transport={transport}{sid}"),
            (Speaks::Two, _) => format!("{path}?EIO=3&transport={transport}&b64=1{sid}"),
            (Speaks::TwoBinary, _) => format!("{path}?EIO=3&transport={transport}{sid}"),
            (Speaks::TwoScripts, "polling") => format!("{path}?EIO=3&transport={transport}&j=0{sid}"),
            (Speaks::TwoScripts, _) => format!("{path}?EIO=3&transport={transport}{sid}"),
            (Speaks::One, "polling") => format!("{path}1/xhr-polling/{id}?t=2"),
            (Speaks::OneScripts, "polling") => format!("{path}1/jsonp-polling/{id}?t=2&i=0"),
            (Speaks::One | Speaks::OneScripts, _) => format!("{path}1/{transport}/{id}"),
        }
    }

    fn ask_get(&mut self, stage: &mut Stage, target: &str) -> Ticket {
        match &mut self.road {
            Road::Lines { get, .. } => {
                stage.send(*get, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
                Ticket::Line(*get)
            }
            Road::Streams(browser) => Ticket::Stream(browser.get(stage, target)),
        }
    }

    fn answer(&mut self, stage: &mut Stage, ticket: Ticket) -> Answer {
        match (ticket, &mut self.road) {
            (Ticket::Line(client), _) => {
                let (head, body) = stage.response(client);
                let status = head[9..12].parse().expect("a status");
                Answer { status, head: head.to_ascii_lowercase(), body }
            }
            (Ticket::Stream(stream), Road::Streams(browser)) => {
                let (head, body) = browser.answer(stage, stream);
                let lines = head.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
                Answer { status: head.status, head: lines.collect(), body }
            }
            (Ticket::Stream(_), Road::Lines { .. }) => panic!("there are no streams"),
        }
    }

    /// Begins to poll.
    pub fn poll(&mut self, stage: &mut Stage) {
        assert!(self.poll.is_none(), "it polls already");
        let target = self.target("polling");
        self.poll = Some(self.ask_get(stage, &target));
    }

    /// Whether its packets go by requests.
    pub fn is_by_requests(&self) -> bool {
        self.socket.is_none()
    }

    /// Waits for the answer to its poll.
    pub fn polled(&mut self, stage: &mut Stage) -> Answer {
        let ticket = self.poll.take().expect("it polls");
        self.answer(stage, ticket)
    }

    /// Its connection breaks while it polls; when the server knows, it goes on by another.
    pub fn lose_poll(&mut self, stage: &mut Stage) {
        let Some(Ticket::Line(client)) = self.poll.take() else { panic!("it polls by HTTP/1") };
        stage.reset(client);
        stage.report("a poll that broke", |report| {
            let Report::Access(access) = report else { return None };
            (access.cause == Cause::ClientGone).then_some(())
        });
        let Road::Lines { get, .. } = &mut self.road else { panic!("it polls by HTTP/1") };
        *get = stage.client();
    }

    /// Sends a POST.
    pub fn post(&mut self, stage: &mut Stage, packets: &[Packet]) {
        let is_binary =
            self.speaks == Speaks::TwoBinary && packets.iter().any(|packet| matches!(packet, Packet::Binary(_)));
        let payload = self.speaks.payload(packets);
        self.post_bytes(stage, &payload, is_binary);
    }

    /// Sends a POST with any bytes.
    pub fn post_bytes(&mut self, stage: &mut Stage, payload: &[u8], is_binary: bool) {
        assert!(self.post.is_none(), "one at a time");
        let kind = if is_binary { "application/octet-stream" } else { "text/plain;charset=UTF-8" };
        let target = self.target("polling");
        self.post = Some(match &mut self.road {
            Road::Lines { post, .. } => {
                let head = format!(
                    "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    payload.len()
                );
                stage.send(*post, [head.as_bytes(), payload].concat());
                Ticket::Line(*post)
            }
            Road::Streams(browser) => {
                let fields = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", &target[..]),
                    ("content-type", kind),
                ];
                let stream = browser.http.request(&fields, false);
                browser.send(stage, stream, payload, true);
                Ticket::Stream(stream)
            }
        });
    }

    /// Waits for the answer to its POST.
    pub fn posted(&mut self, stage: &mut Stage) -> Answer {
        let ticket = self.post.take().expect("it posts");
        self.answer(stage, ticket)
    }

    /// Waits for the answer to its POST, which has to be a good one.
    pub fn expect_posted(&mut self, stage: &mut Stage) {
        let answer = self.posted(stage);
        let good = if self.speaks.is_one() { "1" } else { "ok" };
        assert_eq!((answer.status, answer.text()), (200, good), "{answer:?}");
    }

    /// Asks for a WebSocket.
    fn opens(&mut self, stage: &mut Stage) -> Ticket {
        let target = self.target("websocket");
        match &mut self.road {
            Road::Lines { secure: false, .. } => Ticket::Line(stage.opens(&target)),
            Road::Lines { secure: true, .. } => {
                let client = stage.secure_client("a", Version::Tls13);
                stage.send(client, frames::request(&target, ""));
                Ticket::Line(client)
            }
            Road::Streams(browser) => Ticket::Stream(browser.opens(stage, &target)),
        }
    }

    fn opened(&mut self, stage: &mut Stage, ticket: Ticket) {
        match (ticket, &mut self.road) {
            (Ticket::Line(client), _) => stage.expect(client, frames::SWITCHING),
            (Ticket::Stream(stream), Road::Streams(browser)) => browser.opened(stage, stream),
            (Ticket::Stream(_), Road::Lines { .. }) => panic!("there are no streams"),
        }
    }

    fn send_frame(&mut self, stage: &mut Stage, ticket: Ticket, frame: &Frame) {
        match (ticket, &mut self.road) {
            (Ticket::Line(client), _) => stage.send_frame(client, frame),
            (Ticket::Stream(stream), Road::Streams(browser)) => browser.send_frame(stage, stream, frame),
            (Ticket::Stream(_), Road::Lines { .. }) => panic!("there are no streams"),
        }
    }

    fn frame(&mut self, stage: &mut Stage, ticket: Ticket) -> Frame {
        match (ticket, &mut self.road) {
            (Ticket::Line(client), _) => stage.frame(client),
            (Ticket::Stream(stream), Road::Streams(browser)) => browser.frame(stage, stream),
            (Ticket::Stream(_), Road::Lines { .. }) => panic!("there are no streams"),
        }
    }

    // --- upgrades ---

    /// Opens a WebSocket beside its polls, and probes it if it is of a generation that does.
    pub fn probe(&mut self, stage: &mut Stage) {
        let ticket = self.opens(stage);
        self.opened(stage, ticket);
        if self.speaks.is_one() {
            self.socket = Some(ticket);
            return;
        }
        self.send_frame(stage, ticket, &Frame::new(TEXT, "2probe"));
        assert_eq!(self.frame(stage, ticket), Frame::new(TEXT, "3probe"));
        self.probe = Some(ticket);
    }

    /// Its probed WebSocket is its transport from now on; what its last poll brought is kept.
    pub fn upgrade(&mut self, stage: &mut Stage) {
        if self.poll.is_some() {
            let answer = self.polled(stage);
            let packets = self.speaks.packets(&answer.body, answer.is_binary());
            self.inbox.extend(packets);
        }
        let ticket = self.probe.take().expect("it probes");
        self.send_frame(stage, ticket, &Frame::new(TEXT, "5"));
        self.socket = Some(ticket);
    }

    /// The connection of its WebSocket on HTTP/1, or of its polls.
    pub fn line(&self) -> Client {
        match (self.socket, &self.road) {
            (Some(Ticket::Line(client)), _) => client,
            (None, Road::Lines { get, .. }) => *get,
            (_, Road::Streams(browser)) => browser.client,
            (Some(Ticket::Stream(_)), Road::Lines { .. }) => panic!("there are no streams"),
        }
    }

    /// The connection of its posts on HTTP/1.
    pub fn post_line(&self) -> Client {
        match &self.road {
            Road::Lines { post, .. } => *post,
            Road::Streams(browser) => browser.client,
        }
    }

    /// The connection of the WebSocket that it probes.
    pub fn probe_line(&self) -> Client {
        let Some(Ticket::Line(client)) = self.probe else { panic!("it probes on HTTP/1") };
        client
    }

    // --- packets ---

    /// Sends a packet that is a text.
    pub fn say(&mut self, stage: &mut Stage, text: &str) {
        self.say_all(stage, &[Packet::text(text)]);
    }

    /// Sends an event, which is an array of JSON.
    pub fn emit(&mut self, stage: &mut Stage, json: &str) {
        self.say(stage, &self.speaks.event(json));
    }

    /// Sends packets, and waits for the answer if that takes a POST.
    pub fn say_all(&mut self, stage: &mut Stage, packets: &[Packet]) {
        let Some(ticket) = self.socket else {
            self.post(stage, packets);
            return self.expect_posted(stage);
        };
        for packet in packets {
            let frame = match packet {
                Packet::Text(text) => Frame::new(TEXT, text.as_bytes()),
                Packet::Binary(bytes) if self.speaks.is_two() => Frame::new(BINARY, [&[4], &bytes[..]].concat()),
                Packet::Binary(bytes) => Frame::new(BINARY, &bytes[..]),
            };
            self.send_frame(stage, ticket, &frame);
        }
    }

    /// Waits for the next packet that is no heartbeat.
    pub fn hear(&mut self, stage: &mut Stage) -> Packet {
        loop {
            let packet = self.hear_any(stage);
            match &packet {
                Packet::Text(text) if text == "2" && self.speaks == Speaks::Five => {
                    if self.is_alive {
                        self.say(stage, "3");
                    }
                }
                Packet::Text(text) if text == "2::" => {
                    if self.is_alive {
                        self.say(stage, "2::");
                    }
                }
                Packet::Text(text) if text == "3" && self.speaks.is_two() => {}
                Packet::Text(text) if text == "6" || text == "8::" => {}
                Packet::Text(_) | Packet::Binary(_) => return packet,
            }
        }
    }

    /// Waits for the next packet of any kind.
    pub fn hear_any(&mut self, stage: &mut Stage) -> Packet {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return packet;
            }
            if let Some(ticket) = self.socket {
                let frame = self.frame(stage, ticket);
                assert!(frame.last && frame.reserved == 0, "{frame:?}");
                return match frame.opcode {
                    TEXT => Packet::text(String::from_utf8(frame.payload).expect("text is UTF-8")),
                    BINARY if self.speaks.is_two() => {
                        Packet::Binary(frame.payload.strip_prefix(&[4]).expect("a message").to_vec())
                    }
                    BINARY => Packet::Binary(frame.payload),
                    _ => panic!("{:?} gets {frame:?}", self.speaks),
                };
            }
            if self.poll.is_none() {
                self.poll(stage);
            }
            let answer = self.polled(stage);
            assert_eq!(answer.status, 200, "{answer:?}");
            let packets = self.speaks.packets(&answer.body, answer.is_binary());
            assert!(!packets.is_empty(), "an empty answer: {answer:?}");
            self.inbox.extend(packets);
        }
    }

    /// Waits for the next packet, which has to be a text.
    pub fn hear_text(&mut self, stage: &mut Stage) -> String {
        match self.hear(stage) {
            Packet::Text(text) => text,
            packet @ Packet::Binary(_) => panic!("{:?} gets {packet:?}", self.speaks),
        }
    }

    /// Waits for exactly this packet.
    pub fn expect(&mut self, stage: &mut Stage, text: &str) {
        assert_eq!(self.hear_text(stage), text, "{:?} {}", self.speaks, self.id);
    }

    /// Waits for exactly this event, which is an array of JSON.
    pub fn expect_event(&mut self, stage: &mut Stage, json: &str) {
        self.expect(stage, &self.speaks.event(json));
    }

    /// Waits for the words that end a session in good order, and for the end of its WebSocket.
    pub fn expect_farewell(&mut self, stage: &mut Stage) {
        if self.speaks.is_one() {
            self.expect(stage, "0::");
        } else {
            self.expect(stage, "41");
        }
        if !self.is_by_requests() {
            self.expect_close(stage, 1000);
        } else if !self.speaks.is_one() {
            self.expect(stage, "1");
        }
    }

    /// Waits for the close frame of its WebSocket.
    pub fn expect_close(&mut self, stage: &mut Stage, code: u16) {
        let ticket = self.socket.expect("a WebSocket");
        let frame = self.frame(stage, ticket);
        assert!(frame.opcode == CLOSE, "{:?} gets {frame:?}", self.speaks);
        assert_eq!(frame.payload[..2], code.to_be_bytes(), "{}", show(&frame.payload));
        stage.forgive(self.line());
    }

    /// Checks that nothing more has come, once the server has dealt with everything.
    pub fn expect_nothing(&mut self, stage: &mut Stage) {
        assert!(self.inbox.is_empty(), "{:?} gets {:?}", self.speaks, self.inbox);
        match (self.socket.or(self.poll), &mut self.road) {
            (Some(Ticket::Line(client)), _) => stage.expect_nothing(client),
            (Some(Ticket::Stream(stream)), Road::Streams(browser)) => browser.expect_nothing(stage, stream),
            (None, _) => stage.settle(),
            (Some(Ticket::Stream(_)), Road::Lines { .. }) => panic!("there are no streams"),
        }
    }
}

impl Answer {
    fn is_binary(&self) -> bool {
        self.head.contains("content-type: application/octet-stream")
    }
}
