//! Where a scenario plays: peers that speak for themselves, on any host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use blastbeat_proto::config::{Config, Serves};
use blastbeat_proto::engine::{Access, Control, Report, Snapshot};
use blastbeat_proto::error::Cause;

use crate::frames::{self, Frame};
use crate::host::{Ended, Finish, Host, PATIENCE, Peer, PeerId};
use crate::node_link::NodeLink;
use crate::secure::{Site, Tunnel, Version};
use crate::{packet, recording};

/// A client on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(PeerId);

/// A node on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// A message that a node got.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The session, empty for messages about the node itself.
    pub sid: Vec<u8>,
    /// The type.
    pub kind: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A request that a node got.
#[derive(Clone, Debug)]
pub struct Request {
    /// The session.
    pub sid: Vec<u8>,
    /// The packet's variables, in order.
    pub variables: Vec<(String, Vec<u8>)>,
}

/// How a node comes to the stage.
#[derive(Clone, Debug, Default)]
pub struct Casting<'a> {
    /// Its identity.
    pub name: &'a str,
    /// What its pongs ask for.
    pub capabilities: &'a str,
    /// Its password, if it speaks PLAIN.
    pub password: Option<&'a str>,
    /// Its place among the listeners for nodes.
    pub listener: usize,
    /// It says nothing by itself: no pong at connect and none to a ping.
    pub silent: bool,
    /// It speaks ZMTP 3.0.
    pub old: bool,
}

struct Seat {
    name: String,
    capabilities: String,
    silent: bool,
    greeted: bool,
    peer: PeerId,
    link: NodeLink,
    messages: VecDeque<Message>,
    heard_anything: bool,
    /// Sessions that are this node's, as far as it knows.
    sessions: BTreeSet<Vec<u8>>,
    /// Sessions that were, and of which it must hear nothing more.
    past: BTreeSet<Vec<u8>>,
    /// Sessions that it passed on itself; pieces of their bodies may still have been under way.
    refused: BTreeSet<Vec<u8>>,
    pings: usize,
}

/// A host, its peers, and what they have heard.
pub struct Stage {
    host: Box<dyn Host>,
    config: Config,
    seats: Vec<Seat>,
    clients: Vec<PeerId>,
    /// Times each name was told to spawn.
    spawned: BTreeMap<String, usize>,
    /// Peers whose unread bytes do not matter at the end.
    forgiven: BTreeSet<PeerId>,
    /// The certificates of the server.
    site: Option<Site>,
    /// The TLS of those clients that speak it.
    tunnels: BTreeMap<PeerId, Tunnel>,
}

impl Stage {
    /// An empty stage.
    pub fn new(host: Box<dyn Host>) -> Self {
        Self {
            host,
            config: Config::default(),
            seats: Vec::new(),
            clients: Vec::new(),
            spawned: BTreeMap::new(),
            forgiven: BTreeSet::new(),
            site: None,
            tunnels: BTreeMap::new(),
        }
    }

    /// The host.
    pub fn host(&mut self) -> &mut dyn Host {
        &mut *self.host
    }

    /// Whether time only passes by [`advance`](Self::advance).
    pub fn is_virtual(&self) -> bool {
        self.host.is_virtual()
    }

    /// Starts the server.
    pub fn start(&mut self, ini: &str) {
        self.start_with(crate::config(ini));
    }

    /// Starts the server with a configuration that an ini file alone cannot give: one whose files are filled in.
    pub fn start_with(&mut self, config: Config) {
        self.config = config.clone();
        self.host.start(config);
    }

    /// Starts the server with certificates of its own.
    pub fn start_secure(&mut self, ini: &str) {
        let mut config = crate::config(ini);
        self.site = Some(Site::new(&mut config));
        self.start_with(config);
        self.show_certificates();
    }

    /// Gives the server other certificates.
    pub fn renew_certificates(&mut self) {
        if let Some(site) = &mut self.site {
            site.renew();
        }
        self.show_certificates();
    }

    fn show_certificates(&mut self) {
        if let Some(site) = &self.site {
            self.host.control(Control::Certificates(site.stores().clone()));
        }
        self.host.settle();
    }

    // --- clients ---

    /// A new client that speaks TLS on the first listener for clients, and asks for `name`. What it sends and gets is
    /// meant in clear from now on.
    pub fn secure_client(&mut self, name: &str, version: Version) -> Client {
        let client = self.client();
        self.secure(client, name, version, &[]);
        client
    }

    /// Makes a client speak TLS from now on.
    ///
    /// # Panics
    /// If the server was not [started](Self::start_secure) with certificates.
    pub fn secure(&mut self, client: Client, name: &str, version: Version, protocols: &[&[u8]]) {
        let site = self.site.as_ref().expect("the server has certificates");
        self.tunnels.insert(client.0, site.client(name, version, protocols));
        self.flush_tunnels();
    }

    /// The TLS of a client that speaks it.
    ///
    /// # Panics
    /// If it does not.
    pub fn tunnel(&mut self, client: Client) -> &mut Tunnel {
        self.tunnels.get_mut(&client.0).expect("it speaks TLS")
    }

    /// Waits until the handshake of a client is complete.
    pub fn secured(&mut self, client: Client) {
        self.until(format!("the handshake of {client:?}"), |stage| stage.tunnel(client).is_established().then_some(()));
    }

    /// Waits for the server's goodbye and its end of the connection; nothing else may come before it.
    pub fn expect_goodbye(&mut self, client: Client) {
        self.expect_closed(client);
        assert!(self.tunnel(client).has_heard_goodbye, "{client:?} should hear goodbye");
    }

    /// A new client on the first listener for clients.
    pub fn client(&mut self) -> Client {
        self.client_on(0)
    }

    /// A new client on the listener for clients with this number.
    pub fn client_on(&mut self, nth: usize) -> Client {
        let listener = self.listener(nth, |serves| matches!(serves, Serves::Http { .. }));
        let client = Client(self.host.connect(listener));
        self.clients.push(client.0);
        client
    }

    /// A peer on a listener for nodes that says exactly what it is told.
    pub fn raw_node(&mut self) -> Client {
        let listener = self.listener(0, |serves| serves == Serves::Zmq);
        let client = Client(self.host.connect(listener));
        self.clients.push(client.0);
        client
    }

    /// Sends bytes.
    pub fn send(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        match self.tunnels.get_mut(&client.0) {
            Some(tunnel) => tunnel.send(bytes.as_ref()),
            None => return self.host.peer(client.0).outgoing.extend_from_slice(bytes.as_ref()),
        }
        self.flush_tunnels();
    }

    /// What has come for a client and was not looked at.
    fn incoming(&mut self, client: Client) -> &mut Vec<u8> {
        match self.tunnels.get_mut(&client.0) {
            Some(tunnel) => &mut tunnel.incoming,
            None => &mut self.host.peer(client.0).incoming,
        }
    }

    /// A new client that sends this at once.
    pub fn client_sends(&mut self, bytes: impl AsRef<[u8]>) -> Client {
        let client = self.client();
        self.send(client, bytes);
        client
    }

    /// Waits for exactly these bytes.
    pub fn expect(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let matching = |got: &[u8]| got.iter().zip(expected).take_while(|(a, b)| a == b).count();
        self.until(format!("{client:?} gets {}", show(expected)), |stage| {
            let ended = stage.host.peer(client.0).ended;
            let incoming = stage.incoming(client);
            let same = matching(incoming);
            if same == expected.len() {
                incoming.drain(..same);
                return Some(());
            }
            assert!(
                same == incoming.len() && ended.is_none(),
                "{client:?} should get {}\n but after {} bytes it gets {} {ended:?}",
                show(expected),
                same,
                show(&incoming[same..]),
            );
            None
        });
    }

    /// Waits until `needle` has come and takes all bytes up to its end.
    pub fn read_until(&mut self, client: Client, needle: impl AsRef<[u8]>) -> Vec<u8> {
        let needle = needle.as_ref();
        self.until(format!("{client:?} gets {}", show(needle)), |stage| {
            let incoming = stage.incoming(client);
            let at = incoming.windows(needle.len()).position(|window| window == needle)?;
            Some(incoming.drain(..at + needle.len()).collect())
        })
    }

    /// Waits for `count` bytes and takes them.
    pub fn read(&mut self, client: Client, count: usize) -> Vec<u8> {
        self.until(format!("{client:?} gets {count} bytes"), |stage| {
            let incoming = stage.incoming(client);
            (incoming.len() >= count).then(|| incoming.drain(..count).collect())
        })
    }

    /// Waits for a response with a Content-Length and takes it: its head and its body.
    pub fn response(&mut self, client: Client) -> (String, Vec<u8>) {
        let head = String::from_utf8(self.read_until(client, "\r\n\r\n")).expect("an ASCII head");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.unwrap_or_else(|| panic!("no Content-Length in {head}")).parse().expect("a length");
        (head, self.read(client, length))
    }

    /// Waits for the server's own page about `cause`, which has to have the cause's status; returns its head.
    pub fn expect_page(&mut self, client: Client, cause: Cause) -> String {
        let (head, body) = self.response(client);
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", cause.status())), "{cause} should be told by {head}");
        let body = String::from_utf8(body).expect("a page of text");
        assert!(body.contains(cause.name()), "the page does not name {cause}: {body}");
        head
    }

    /// Waits for the server's end of the connection; nothing else may come before it.
    pub fn expect_closed(&mut self, client: Client) {
        assert_eq!(self.read_end(client), Ended::Eof, "{client:?} should be closed in good order");
    }

    /// Waits for the end of the connection; nothing else may come before it.
    pub fn read_end(&mut self, client: Client) -> Ended {
        let ended = self.end_of(client);
        let incoming = self.incoming(client);
        assert!(incoming.is_empty(), "{client:?} gets before its end {}", show(incoming));
        ended
    }

    /// Takes what has come.
    pub fn take_incoming(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(self.incoming(client))
    }

    /// Waits for the end of the connection, of whatever kind, and takes the bytes before it.
    pub fn read_to_end(&mut self, client: Client) -> Vec<u8> {
        self.end_of(client);
        std::mem::take(self.incoming(client))
    }

    fn end_of(&mut self, client: Client) -> Ended {
        self.until(format!("the end of {client:?}"), |stage| stage.host.peer(client.0).ended)
    }

    /// Checks that nothing has come, not even an end, once the server has dealt with everything.
    pub fn expect_nothing(&mut self, client: Client) {
        self.settle();
        let incoming = self.incoming(client);
        assert!(incoming.is_empty(), "{client:?} should get nothing but gets {}", show(incoming));
        assert_eq!(self.host.peer(client.0).ended, None, "{client:?} should stay open");
    }

    /// Ends the client's sending direction after what it has to send.
    pub fn half_close(&mut self, client: Client) {
        self.host.peer(client.0).finish = Finish::HalfClose;
    }

    /// Closes the client's connection after what it has to send.
    pub fn close(&mut self, client: Client) {
        self.host.peer(client.0).finish = Finish::Close;
        self.forgiven.insert(client.0);
    }

    /// Resets the client's connection.
    pub fn reset(&mut self, client: Client) {
        self.host.peer(client.0).finish = Finish::Reset;
        self.forgiven.insert(client.0);
    }

    /// Makes the client stop reading, or go on.
    pub fn pause(&mut self, client: Client, paused: bool) {
        self.host.peer(client.0).paused = paused;
    }

    /// Bytes that the client could not send yet.
    pub fn unsent(&mut self, client: Client) -> usize {
        self.host.peer(client.0).outgoing.len()
    }

    /// What this peer gets from now on does not matter at the end.
    pub fn forgive(&mut self, client: Client) {
        self.forgiven.insert(client.0);
    }

    // --- WebSockets ---

    /// A new client that asks for a WebSocket.
    pub fn opens(&mut self, target: &str) -> Client {
        self.client_sends(frames::request(target, ""))
    }

    /// A client with an open WebSocket whose session `node` has got: the client and the session.
    pub fn websocket(&mut self, node: Node, target: &str) -> (Client, Vec<u8>) {
        let client = self.opens(target);
        let request = self.request(node);
        assert_eq!(request.get("HTTP_UPGRADE"), Some("websocket"), "{request:?}");
        self.expect(client, frames::SWITCHING);
        (client, request.sid)
    }

    /// Sends a frame, masked.
    pub fn send_frame(&mut self, client: Client, frame: &Frame) {
        self.send(client, frame.masked());
    }

    /// Waits for exactly this frame.
    pub fn expect_frame(&mut self, client: Client, frame: &Frame) {
        self.expect(client, frame.unmasked());
    }

    /// Waits for the next frame.
    pub fn frame(&mut self, client: Client) -> Frame {
        self.until(format!("a frame for {client:?}"), |stage| {
            let incoming = stage.incoming(client);
            let (frame, used) = Frame::read(incoming)?;
            incoming.drain(..used);
            Some(frame)
        })
    }

    /// Waits for so many frames.
    pub fn frames(&mut self, client: Client, count: usize) -> Vec<Frame> {
        let (mut frames, mut at) = (Vec::with_capacity(count), 0);
        self.until(format!("{count} frames for {client:?}"), |stage| {
            let incoming = stage.incoming(client);
            while frames.len() < count {
                let (frame, used) = Frame::read(&incoming[at..])?;
                frames.push(frame);
                at += used;
            }
            incoming.drain(..at);
            Some(())
        });
        frames
    }

    // --- nodes ---

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

    // --- the server ---

    /// Waits for a report that `wanted` likes and takes it.
    pub fn report<T>(&mut self, what: &str, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        self.until(format!("a report: {what}"), |stage| {
            let reports = stage.host.reports();
            let (at, found) = reports.iter().enumerate().find_map(|(at, report)| Some((at, wanted(report)?)))?;
            reports.remove(at);
            Some(found)
        })
    }

    /// Waits for the access line of a target.
    pub fn access(&mut self, target: &str) -> Access {
        self.report(&format!("access to {target}"), |report| {
            let Report::Access(access) = report else { return None };
            (access.target == target.as_bytes()).then(|| (**access).clone())
        })
    }

    /// Waits for a node's link to be lost, and says why it was.
    pub fn lost(&mut self, name: &str) -> Cause {
        self.report(&format!("{name} lost"), |report| {
            let Report::NodeLost { node, cause, .. } = report else { return None };
            (node == name).then_some(*cause)
        })
    }

    /// Waits for a node's message to be dropped for this cause.
    pub fn dropped(&mut self, name: &str, cause: Cause) {
        self.report(&format!("{name}: {cause}"), |report| {
            matches!(report, Report::MessageDropped { node, cause: was, .. } if node == name && *was == cause)
                .then_some(())
        });
    }

    /// Waits for a node's refusal for this cause.
    pub fn refusal(&mut self, identity: &str, cause: Cause) {
        self.report(&format!("refused {identity}: {cause}"), |report| {
            matches!(report, Report::NodeRefused { identity: was, cause: why, .. }
                if was == identity.as_bytes() && *why == cause)
            .then_some(())
        });
    }

    /// Asks for the statistics.
    pub fn snapshot(&mut self) -> Snapshot {
        self.settle();
        self.host.reports().retain(|report| !matches!(report, Report::Stats(_)));
        self.host.control(Control::Stats);
        self.report("statistics", |report| {
            let Report::Stats(snapshot) = report else { return None };
            Some((**snapshot).clone())
        })
    }

    /// Waits until the server has counted a cause so often; more is a failure.
    pub fn counted(&mut self, cause: Cause, count: u64) {
        let start = Instant::now();
        loop {
            let stats = self.snapshot().stats;
            let waits = !self.host.is_virtual() && start.elapsed() < PATIENCE;
            if waits && stats.of(cause) < count {
                continue;
            }
            let all: Vec<_> = stats.causes().map(|(cause, count)| format!("{cause} {count}")).collect();
            assert_eq!(stats.of(cause), count, "{cause}; there were {}", all.join(", "));
            return;
        }
    }

    /// What the operator wants.
    pub fn control(&mut self, control: Control) {
        self.host.control(control);
    }

    /// Lets virtual time pass. On a real host what is expected next is simply waited for.
    pub fn advance(&mut self, by: Duration) {
        self.settle();
        self.host.advance(by);
        self.settle();
    }

    /// Lets the server and the nodes deal with everything that has been sent so far.
    pub fn settle(&mut self) {
        loop {
            self.flush_nodes();
            self.host.settle();
            if !self.hear() {
                return;
            }
        }
    }

    /// Steps until `done` has an answer.
    ///
    /// # Panics
    /// If nothing more happens before that.
    pub fn until<T>(&mut self, what: String, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            self.flush_nodes();
            self.hear();
            if let Some(answer) = done(self) {
                return answer;
            }
            // Pings come in real time while nothing of the scenario moves.
            let late = !self.host.is_virtual() && start.elapsed() > PATIENCE;
            let moved = self.host.step();
            if late || !(self.hear() || moved) {
                panic!("on {}: this never came: {what}\n{}", self.host.name(), self.describe());
            }
        }
    }

    /// Ends the scenario: nothing may have come that it did not look at, and the recording has to replay.
    pub fn finish(mut self) {
        self.settle();
        for client in self.clients.clone() {
            if !self.forgiven.contains(&client) {
                let incoming = self.incoming(Client(client));
                assert!(incoming.is_empty(), "nobody expected {client:?} to get {}", show(incoming));
            }
        }
        for seat in &self.seats {
            let unseen = seat.messages.iter().filter(|_| !self.forgiven.contains(&seat.peer)).count();
            assert_eq!(unseen, 0, "nobody expected {} to get {:?}", seat.name, seat.messages);
        }
        let remains = self.host.stop();
        recording::check(&remains.tape, self.host.name());
    }

    fn listener(&self, nth: usize, wanted: impl Fn(Serves) -> bool) -> usize {
        let mut places = self.config.listeners.iter().enumerate().filter(|(_, listener)| wanted(listener.serves));
        places.nth(nth).expect("the configuration has such a listener").0
    }

    /// Moves what nodes have to say towards the host.
    fn flush_nodes(&mut self) {
        for seat in &mut self.seats {
            let peer = self.host.peer(seat.peer);
            peer.outgoing.extend_from_slice(&std::mem::take(&mut seat.link.outgoing));
        }
    }

    /// Lets nodes hear what came; says whether any of them did.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        for seat in &mut self.seats {
            let peer: &mut Peer = self.host.peer(seat.peer);
            if peer.incoming.is_empty() {
                continue;
            }
            heard = true;
            seat.link.receive(&std::mem::take(&mut peer.incoming));
            if seat.link.is_up() && !seat.greeted {
                seat.greeted = true;
                if !seat.silent {
                    seat.link.send(&[b"", b"pong", seat.capabilities.as_bytes()]);
                }
            }
            while let Some(frames) = seat.link.poll_message() {
                seat.hear(frames, &mut self.spawned);
            }
        }
        self.flush_nodes();
        for (id, tunnel) in &mut self.tunnels {
            let peer = self.host.peer(*id);
            heard |= !peer.incoming.is_empty();
            tunnel.receive(&std::mem::take(&mut peer.incoming));
        }
        self.flush_tunnels();
        heard
    }

    /// Moves what clients of TLS have to say towards the host.
    fn flush_tunnels(&mut self) {
        for (id, tunnel) in &mut self.tunnels {
            self.host.peer(*id).outgoing.extend_from_slice(&tunnel.outgoing());
        }
    }

    fn describe(&mut self) -> String {
        let mut text = String::new();
        for client in self.clients.clone() {
            let peer = self.host.peer(client);
            let (unsent, ended) = (peer.outgoing.len(), peer.ended);
            let unread = show(self.incoming(Client(client)));
            text += &format!("  client {}: {unsent} bytes to send, ended {ended:?}, unread {unread}\n", client.0);
            if let Some(error) = self.tunnels.get(&client).and_then(|tunnel| tunnel.error.as_ref()) {
                text += &format!("    {error}\n");
            }
        }
        for seat in &self.seats {
            let ended = self.host.peer(seat.peer).ended;
            text += &format!(
                "  node {}: up {}, ended {ended:?}, unseen {:?}\n",
                seat.name,
                seat.link.is_up(),
                seat.messages
            );
        }
        for report in self.host.reports() {
            text += &format!("  {report}\n");
        }
        text
    }
}

impl Client {
    /// Its end of the connection.
    pub fn id(self) -> PeerId {
        self.0
    }
}

impl Seat {
    /// Checks a message against what every node may rely on, and keeps it unless it is the link's own business.
    fn hear(&mut self, frames: Vec<Vec<u8>>, spawned: &mut BTreeMap<String, usize>) {
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

impl Request {
    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(other, _)| other == name)?;
        Some(std::str::from_utf8(value).expect("an ASCII value"))
    }

    /// Method and target.
    pub fn line(&self) -> String {
        format!("{} {}", self.get("REQUEST_METHOD").unwrap_or("-"), self.get("REQUEST_URI").unwrap_or("-"))
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sid: String = self.sid.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "[{sid} {} {}]", self.kind, show(&self.body))
    }
}

/// Bytes as text for a message, cut where they get long.
pub fn show(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=2000 => format!("\"{}\"", bytes.escape_ascii()),
        length => format!("\"{}\"... ({length} bytes)", bytes[..1500].escape_ascii()),
    }
}
