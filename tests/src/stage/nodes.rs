//! What nodes do on the stage, and what they may expect.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use blastbeat_proto::config::Serves;
use blastbeat_proto::engine::Report;

use super::{Casting, Client, Message, Node, Request, Seat, Stage, show};
use crate::host::PeerId;
use crate::node_link::NodeLink;
use crate::packet;

impl Stage {
    /// A node that is up and available.
    pub fn node(&mut self, name: &str) -> Node {
        self.node_with(name, "")
    }

    /// A node with capabilities that is up and available.
    pub fn node_with(&mut self, name: &str, capabilities: &str) -> Node {
        let node = self.cast(Casting { name, capabilities, ..Casting::default() });
        self.available(name);
        node
    }

    /// A node on its way to the stage.
    pub fn cast(&mut self, casting: Casting<'_>) -> Node {
        let listener = self.listener(casting.listener, |serves| serves == Serves::Zmq);
        let peer = self.host.connect(listener);
        self.seat(casting, peer)
    }

    /// Waits until the server has dialled the endpoint of this node.
    pub fn cast_dialed(&mut self, casting: Casting<'_>) -> Node {
        let peer = self.until("the server dials".to_owned(), |stage| stage.host.dialed());
        self.seat(casting, peer)
    }

    fn seat(&mut self, casting: Casting<'_>, peer: PeerId) -> Node {
        let link = NodeLink::new(casting.name, casting.password);
        self.seats.push(Seat {
            name: casting.name.to_owned(),
            capabilities: casting.capabilities.to_owned(),
            silent: casting.silent,
            greeted: false,
            peer,
            link: if casting.old { link.of_zmtp_3_0() } else { link },
            messages: VecDeque::new(),
            heard_anything: false,
            sessions: BTreeSet::new(),
            past: BTreeSet::new(),
            refused: BTreeSet::new(),
            pings: 0,
        });
        Node(self.seats.len() - 1)
    }

    /// Waits until the server says that this node gets requests.
    pub fn available(&mut self, name: &str) {
        self.report(&format!("node {name} available"), |report| {
            matches!(report, Report::NodeAvailable { node } if node == name).then_some(())
        });
    }

    /// Waits until the node's handshake is complete.
    pub fn up(&mut self, node: Node) {
        self.until(format!("{} is up", self.seats[node.0].name), |stage| {
            stage.seats[node.0].link.is_up().then_some(())
        });
    }

    /// Sends a message of a node.
    pub fn tell(&mut self, node: Node, sid: &[u8], kind: impl AsRef<[u8]>, body: impl AsRef<[u8]>) {
        let kind = kind.as_ref();
        self.up(node);
        if kind == b"retry" {
            let seat = &mut self.seats[node.0];
            seat.sessions.remove(sid);
            seat.past.insert(sid.to_vec());
            seat.refused.insert(sid.to_vec());
        }
        self.seats[node.0].link.send(&[sid, kind, body.as_ref()]);
        self.flush_nodes();
    }

    /// Sends a multipart message of any shape.
    pub fn tell_raw(&mut self, node: Node, frames: &[&[u8]]) {
        self.up(node);
        self.seats[node.0].link.send(frames);
        self.flush_nodes();
    }

    /// Sends any bytes on a node's link.
    pub fn tell_bytes(&mut self, node: Node, bytes: &[u8]) {
        self.seats[node.0].link.outgoing.extend_from_slice(bytes);
        self.flush_nodes();
    }

    /// Answers a request with a length and a body.
    pub fn answer(&mut self, node: Node, sid: &[u8], body: &str) {
        self.tell(node, sid, "headers", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        if !body.is_empty() {
            self.tell(node, sid, "body", body);
        }
    }

    /// What a client gets of [`answer`](Self::answer).
    pub fn answered(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Waits for the node's next message.
    pub fn message(&mut self, node: Node) -> Message {
        self.until(format!("a message for {}", self.seats[node.0].name), |stage| {
            stage.seats[node.0].messages.pop_front()
        })
    }

    /// Takes the node's next message, if one has come.
    pub fn next_message(&mut self, node: Node) -> Option<Message> {
        self.seats[node.0].messages.pop_front()
    }

    /// Takes the messages that have come.
    pub fn take_messages(&mut self, node: Node) -> VecDeque<Message> {
        std::mem::take(&mut self.seats[node.0].messages)
    }

    /// Waits for exactly this message.
    pub fn expect_message(&mut self, node: Node, sid: &[u8], kind: &str, body: impl AsRef<[u8]>) {
        let expected = Message { sid: sid.to_vec(), kind: kind.to_owned(), body: body.as_ref().to_vec() };
        let got = self.message(node);
        assert_eq!(got, expected, "at {}", self.seats[node.0].name);
    }

    /// Waits for `end` of this session, with an empty body.
    pub fn expect_end(&mut self, node: Node, sid: &[u8]) {
        self.expect_message(node, sid, "end", "");
    }

    /// Waits for a request.
    pub fn request(&mut self, node: Node) -> Request {
        let message = self.message(node);
        assert_eq!(message.kind, "uwsgi", "{message:?}");
        Request { variables: packet::variables(&message.body), sid: message.sid }
    }

    /// Waits for pieces of a body until they are these bytes.
    pub fn expect_body(&mut self, node: Node, sid: &[u8], body: impl AsRef<[u8]>) {
        let mut rest = body.as_ref();
        while !rest.is_empty() {
            let message = self.message(node);
            assert_eq!((&message.sid[..], &message.kind[..]), (sid, "body"), "{message:?}");
            assert!(!message.body.is_empty(), "an empty body before {}", show(rest));
            rest = rest.strip_prefix(&message.body[..]).unwrap_or_else(|| {
                panic!("{} should get {} but gets {}", self.seats[node.0].name, show(rest), show(&message.body))
            });
        }
    }

    /// Checks that the node has got nothing more, once the server has dealt with everything.
    pub fn expect_no_message(&mut self, node: Node) {
        self.settle();
        let seat = &self.seats[node.0];
        assert!(seat.messages.is_empty(), "{} should get nothing but gets {:?}", seat.name, seat.messages);
    }

    /// Waits until the server has closed the node's link.
    pub fn expect_link_closed(&mut self, node: Node) {
        let peer = self.seats[node.0].peer;
        self.until(format!("the end of {}", self.seats[node.0].name), |stage| stage.host.peer(peer).ended);
    }

    /// Whether the node's link is still open and its handshake complete.
    pub fn is_up(&mut self, node: Node) -> bool {
        let seat = &self.seats[node.0];
        seat.link.is_up() && self.host.peer(seat.peer).ended.is_none()
    }

    /// Whether the server has ended the node's link.
    pub fn has_ended(&mut self, node: Node) -> bool {
        let peer = self.seats[node.0].peer;
        self.host.peer(peer).ended.is_some()
    }

    /// The reason of a ZMTP ERROR that the node got.
    pub fn refused(&self, node: Node) -> Option<&[u8]> {
        self.seats[node.0].link.refused.as_deref()
    }

    /// Pings that the node got so far.
    pub fn pings(&self, node: Node) -> usize {
        self.seats[node.0].pings
    }

    /// Times that a node of this name was told to spawn.
    pub fn spawned(&self, name: &str) -> usize {
        self.spawned.get(name).copied().unwrap_or(0)
    }

    /// ZMTP heartbeats that the node got so far.
    pub fn heartbeats(&self, node: Node) -> usize {
        self.seats[node.0].link.heartbeats
    }

    /// Makes the node answer pings, or not.
    pub fn silence(&mut self, node: Node, silent: bool) {
        self.seats[node.0].silent = silent;
    }

    /// The node's own end of the connection, for clients' verbs (close, reset, pause).
    pub fn as_client(&self, node: Node) -> Client {
        Client(self.seats[node.0].peer)
    }
}

impl Seat {
    /// Checks a message against what every node may rely on, and keeps it unless it is the link's own business.
    pub(super) fn hear(&mut self, frames: Vec<Vec<u8>>, spawned: &mut BTreeMap<String, usize>) {
        let Ok([sid, kind, body]) = <[Vec<u8>; 3]>::try_from(frames) else { panic!("{}: not three frames", self.name) };
        let kind = String::from_utf8(kind).expect("an ASCII type");
        let message = Message { sid, kind, body };
        assert!(self.heard_anything || message.kind == "ping", "{} should hear ping first: {message:?}", self.name);
        self.heard_anything = true;
        match &message.kind[..] {
            "ping" => {
                assert!(message.sid.is_empty() && message.body.is_empty(), "{message:?}");
                self.pings += 1;
                if !self.silent {
                    self.link.send(&[b"", b"pong", self.capabilities.as_bytes()]);
                }
                return;
            }
            "spawn" => {
                assert!(message.sid.is_empty() && message.body.is_empty(), "{message:?}");
                let times = spawned.entry(self.name.clone()).or_default();
                *times += 1;
                assert_eq!(*times, 1, "{} was told to spawn again", self.name);
                return;
            }
            "uwsgi" => {
                assert_eq!(message.sid.len(), 16, "{message:?}");
                let known = !self.past.contains(&message.sid) && self.sessions.insert(message.sid.clone());
                assert!(known, "{} gets a request twice: {message:?}", self.name);
            }
            "end" => {
                let known = self.sessions.remove(&message.sid);
                assert!(known, "{} gets an end out of place: {message:?}", self.name);
                self.past.insert(message.sid.clone());
            }
            "error" => {}
            "body" | "credit" if self.refused.contains(&message.sid) => return,
            _ => assert!(self.sessions.contains(&message.sid), "{} has no such session: {message:?}", self.name),
        }
        self.messages.push_back(message);
    }
}
