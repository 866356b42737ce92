//! Everything around the engine: a driver in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use blastbeat_proto::address::PeerAddr;
use blastbeat_proto::config::{Listener, Serves, Stores};
use blastbeat_proto::engine::{AppId, Control, Engine, Input, LinkId, ListenerId, Output, Report, Shut, Welcome};
use blastbeat_proto::entropy::SeededEntropy;
use blastbeat_proto::error::Cause;
use blastbeat_proto::message::Sid;
use blastbeat_proto::proxy;
use blastbeat_proto::spdy::Version;
use blastbeat_proto::tape::{Recorder, replay};
use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::tls::WallClock;

use super::client::Client;
use super::guest::Guests;
use super::node::Node;
use super::script::Script;
use super::setup::{CONFIGS, Stream};
use super::tunnel::Tunnel;
use crate::tls::NOW;

/// A driver reads at most this much at once.
const READ_MAX: usize = 64 * 1024;

/// Rounds of reading and writing after an operation.
const ROUNDS: usize = 40;

/// One end of a link, and how fast it is.
pub struct Wire {
    pub link: LinkId,
    pub to_send: Vec<u8>,
    /// Bytes that are sent at once; all if 0.
    chunk: usize,
    /// Bytes that are read after an operation.
    appetite: usize,
    /// It has ended its direction, and its end was told.
    is_ended: bool,
    /// The server has ended its direction.
    is_shut: bool,
    pub tunnel: Option<Box<Tunnel>>,
}

impl Wire {
    fn new(link: LinkId) -> Self {
        Self {
            link,
            to_send: Vec::new(),
            chunk: 0,
            appetite: usize::MAX,
            is_ended: false,
            is_shut: false,
            tunnel: None,
        }
    }

    /// Changes how fast it sends and reads.
    pub fn pace(&mut self, script: &mut Script<'_>) {
        self.chunk = script.pick(&[0, 1, 7, 100]);
        self.appetite = script.pick(&[usize::MAX, 0, 1, 50, 1000]);
    }
}

/// What is recorded.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record(engine: &mut Engine, seed: u64) -> Tape {
    let tape = Tape::default();
    let config = Arc::clone(engine.config());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let recorder = Recorder::new(Box::new(tape.clone()), u64::MAX, bytes, &config, Instant::ZERO);
    engine.record(recorder.expect("memory takes all that is written"));
    tape
}

fn add_apps(engine: &mut Engine) {
    engine.add_app(Welcome::NAME, Box::new(Welcome::new()));
    engine.add_app("stream", Box::new(Stream::default()));
}

#[derive(Clone, Copy)]
enum Peer {
    Client(usize),
    Node(usize),
    Dialing,
}

pub struct World {
    engine: Engine,
    now: Instant,
    clients: Vec<Client>,
    nodes: Vec<Node>,
    /// Links that the engine has not ended.
    links: BTreeMap<LinkId, Peer>,
    /// Links to be written to.
    attended: BTreeSet<LinkId>,
    held: BTreeSet<ListenerId>,
    sids: Vec<Sid>,
    guests: Guests,
    wants_password: bool,
    is_finished: bool,
    /// What is recorded where connections are of TLS.
    tape: Option<Tape>,
}

impl World {
    pub fn new(setup: u8) -> Self {
        let configs = &*CONFIGS;
        let config = Arc::clone(&configs[usize::from(setup) % configs.len()]);
        let wants_password = !config.passwords.is_empty();
        let entropy = Box::new(SeededEntropy::from_number(setup.into()));
        let mut engine = Engine::new(config, entropy, Instant::ZERO);
        let is_tls = engine.config().listeners.iter().any(Listener::is_tls);
        let tape = is_tls.then(|| record(&mut engine, setup.into()));
        add_apps(&mut engine);
        let mut world = Self {
            engine,
            now: Instant::ZERO,
            clients: Vec::new(),
            nodes: Vec::new(),
            links: BTreeMap::new(),
            attended: BTreeSet::new(),
            held: BTreeSet::new(),
            sids: Vec::new(),
            guests: Guests::default(),
            wants_password,
            is_finished: false,
            tape,
        };
        world.engine.check_invariants();
        world.drain();
        if is_tls {
            let stores = Stores::new(world.engine.config(), &WallClock::new(NOW)).expect("good certificates");
            world.control(Control::Certificates(stores));
        }
        world
    }

    // ---- operations ----

    pub fn accept_client(&mut self, script: &mut Script<'_>) {
        let address = script.pick(&[[10, 0, 0, 1], [192, 0, 2, 1]]);
        let Some((listener, proxied)) = self.listener(script, true) else { return };
        let is_tls = self.engine.config().listeners[listener.0 as usize].is_tls();
        let versions = self.versions(listener);
        let Some(link) = self.accept(listener, PeerAddr::Ip(SocketAddr::from((address, 4000)))) else { return };
        let mut client = Client::new(Wire::new(link), self.clients.len());
        client.versions = versions;
        if proxied {
            let version = script.pick(&[proxy::Version::V1, proxy::Version::V2]);
            let ends = script
                .pick(&[None, Some(address)])
                .map(|_| (SocketAddr::from(([10, 2, 3, 4], 5)), SocketAddr::from(([10, 2, 3, 5], 80))));
            let mut header = Vec::new();
            proxy::encode(version, ends, &mut header);
            client.wire.to_send = header;
        }
        if is_tls && script.byte().is_multiple_of(8) {
            client.does_not_care();
        } else if is_tls {
            let header = std::mem::take(&mut client.wire.to_send);
            client.wire.tunnel = Some(Box::new(Tunnel::new(header, script)));
        }
        self.links.insert(link, Peer::Client(self.clients.len()));
        self.clients.push(client);
        self.drain();
    }

    pub fn accept_node(&mut self, script: &mut Script<'_>) {
        let Some((listener, _)) = self.listener(script, false) else { return };
        let Some(link) = self.accept(listener, PeerAddr::Unix) else { return };
        self.add_node(link, script);
        self.drain();
    }

    fn add_node(&mut self, link: LinkId, script: &mut Script<'_>) {
        let node = Node::new(Wire::new(link), self.nodes.len(), script, self.wants_password, self.now);
        self.links.insert(link, Peer::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    fn accept(&mut self, listener: ListenerId, peer: PeerAddr) -> Option<LinkId> {
        let link = self.engine.accept(listener, peer, self.now);
        self.engine.check_invariants();
        if link.is_none() {
            self.drain();
        }
        assert!(link.is_none() || !self.is_finished, "nobody comes in after the end");
        link
    }

    /// A listener that is not held, and whether it wants a PROXY header.
    fn listener(&self, script: &mut Script<'_>, for_clients: bool) -> Option<(ListenerId, bool)> {
        let serves = |serves: Serves| match serves {
            Serves::Http { proxy, tls: _, http2: _, spdy: _ } => (true, proxy),
            Serves::Zmq => (false, false),
        };
        let listeners: Vec<_> = self.engine.config().listeners.iter().map(|listener| serves(listener.serves)).collect();
        let fitting: Vec<usize> = (0..listeners.len()).filter(|index| listeners[*index].0 == for_clients).collect();
        let index = fitting[script.place(fitting.len())?];
        let id = ListenerId(index as u32);
        (!self.held.contains(&id)).then_some((id, listeners[index].1))
    }

    /// The versions of SPDY that a listener speaks in clear text.
    fn versions(&self, listener: ListenerId) -> Vec<Version> {
        let Serves::Http { tls: false, spdy, .. } = self.engine.config().listeners[listener.0 as usize].serves else {
            return Vec::new();
        };
        let allowed = [spdy.v2, spdy.v3, spdy.v31];
        Version::ALL
            .into_iter()
            .zip(allowed)
            .filter(|(_, is_allowed)| *is_allowed)
            .map(|(version, _)| version)
            .collect()
    }

    pub fn with_client(&mut self, script: &mut Script<'_>, act: impl Fn(&mut Client, &mut Script<'_>, &[Sid])) {
        if let Some(place) = script.place(self.clients.len()) {
            act(&mut self.clients[place], script, &self.sids);
        }
    }

    /// A client speaks for one of socket.io; a new one if there is none, or the input wants one.
    pub fn visit(&mut self, script: &mut Script<'_>) {
        let place = usize::from(script.byte());
        if self.clients.is_empty() || place >= 192 {
            self.accept_client(&mut Script::new(&[place as u8]));
        }
        let count = self.clients.len();
        if count > 0 {
            let place = if place >= 192 { count - 1 } else { place % count };
            self.clients[place].visit(&self.guests, script);
        }
    }

    pub fn with_node(&mut self, script: &mut Script<'_>, act: impl Fn(&mut Node, &mut Script<'_>, &[Sid])) {
        if let Some(place) = script.place(self.nodes.len()) {
            act(&mut self.nodes[place], script, &self.sids);
            self.nodes[place].flush();
        }
    }

    pub fn end_client(&mut self, script: &mut Script<'_>) {
        if let Some(place) = script.place(self.clients.len()) {
            let how = script.byte();
            let link = self.clients[place].wire.link;
            self.end(link, how);
        }
    }

    pub fn end_node(&mut self, script: &mut Script<'_>) {
        if let Some(place) = script.place(self.nodes.len()) {
            let how = script.byte();
            let link = self.nodes[place].wire.link;
            self.end(link, how);
        }
    }

    /// The peer ends its direction, if the server looks, or breaks the link.
    fn end(&mut self, link: LinkId, how: u8) {
        let Some(peer) = self.links.get(&link).copied() else { return };
        if how.is_multiple_of(2) {
            let reads = self.engine.interest(link).read;
            let Some(wire) = self.wire(peer) else { return };
            let is_silent = wire.tunnel.as_ref().is_none_or(|tunnel| tunnel.to_send.is_empty());
            if reads && wire.to_send.is_empty() && is_silent && !wire.is_ended {
                wire.is_ended = true;
                self.input(Input::Eof { link });
            }
        } else {
            self.fail(link);
        }
    }

    fn fail(&mut self, link: LinkId) {
        if self.forget(link) {
            self.input(Input::Failed { link, why: ErrorKind::ConnectionReset });
        }
    }

    pub fn pass(&mut self, script: &mut Script<'_>) {
        let step = match script.pick(&[0, 1, 90, 1000, 3000, 10_000, 31_000, 61_000, 2_000_000, u64::MAX]) {
            u64::MAX => self.engine.poll_timeout().map_or(Duration::ZERO, |wake| wake.at.since(self.now)),
            millis => Duration::from_millis(millis),
        };
        self.skip(step);
    }

    /// Lets time pass.
    pub fn skip(&mut self, step: Duration) {
        self.now += step;
        for _ in 0..3 {
            self.input(Input::Timeout);
        }
        while self.fans_out() {
            self.input(Input::Timeout);
        }
        let next = self.engine.poll_timeout();
        assert!(self.is_finished || next.is_none_or(|wake| wake.at > self.now), "{next:?} is over at {}", self.now);
    }

    /// Whether messages to groups wait for their next turn.
    fn fans_out(&self) -> bool {
        self.engine.poll_timeout().is_some_and(|wake| wake.why == "messages to groups")
    }

    /// Clients that ask for WebSockets.
    pub fn crowd(&mut self, script: &mut Script<'_>) {
        for _ in 0..script.byte() % 12 {
            let known = self.clients.len();
            self.accept_client(&mut Script::new(&[]));
            if let Some(client) = self.clients.get_mut(known) {
                client.shake_hands(&mut Script::new(&[0, 0, 0, 0, 1]));
            }
        }
    }

    pub fn control(&mut self, control: Control) {
        self.input(Input::Control(control));
    }

    pub fn dialed(&mut self, script: &mut Script<'_>) {
        let dialing: Vec<LinkId> =
            self.links.iter().filter(|(_, peer)| matches!(peer, Peer::Dialing)).map(|(link, _)| *link).collect();
        let Some(place) = script.place(dialing.len()) else { return };
        let link = dialing[place];
        if script.byte().is_multiple_of(4) {
            self.forget(link);
            self.input(Input::Dialed { link, result: Err(ErrorKind::ConnectionRefused) });
        } else {
            self.add_node(link, script);
            self.input(Input::Dialed { link, result: Ok(()) });
        }
    }

    pub fn disturb(&mut self, script: &mut Script<'_>) {
        match script.byte() % 4 {
            app @ 0..3 => self.input(Input::WakeApp(AppId(app.into()))),
            _ => {
                let on = ListenerId(u32::from(script.byte() % 4));
                if !self.held.contains(&on) {
                    self.input(Input::AcceptFailed { on, why: ErrorKind::Other });
                }
            }
        }
    }

    // ---- the driver ----

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(input, self.now);
        self.engine.check_invariants();
        self.drain();
    }

    /// Carries out all outputs but the writing.
    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Attend(link) => {
                    // A link may have ended since.
                    if self.links.contains_key(&link) {
                        self.attended.insert(link);
                    }
                }
                Output::Shut(link, Shut::Write) => {
                    assert!(self.links.contains_key(&link), "{link} is shut after its end");
                    assert!(!self.engine.interest(link).write, "nothing waits behind the end");
                    if let Some(wire) = self.links.get(&link).copied().and_then(|peer| self.wire(peer)) {
                        assert!(!std::mem::replace(&mut wire.is_shut, true), "{link} is shut twice");
                    }
                }
                Output::Shut(link, Shut::Close | Shut::Abort) => {
                    // Whoever does not read may be left behind without a word.
                    if let Some(Peer::Node(place)) = self.links.get(&link).copied() {
                        self.nodes[place].is_lost |= self.nodes[place].wire.appetite != usize::MAX;
                    }
                    assert!(self.forget(link), "{link} ends twice");
                }
                Output::Dial(link, _) => {
                    assert!(self.links.insert(link, Peer::Dialing).is_none());
                }
                Output::Listen(id, address) => {
                    self.engine.handle(Input::Listening { id, result: Ok(address) }, self.now)
                }
                Output::Unlisten(_) => {}
                Output::Hold(id, true) => assert!(self.held.insert(id), "{id:?} is held already"),
                Output::Hold(id, false) => assert!(self.held.remove(&id), "{id:?} is not held"),
                Output::Report(report) => {
                    if let Report::NodeLost { node: name, cause, .. } = &report
                        && *cause != Cause::Stopping
                    {
                        self.nodes.iter_mut().filter(|node| node.identity == name).for_each(Node::lose);
                    }
                    let line = report.to_string();
                    assert!(!line.contains(char::is_control), "{line:?}");
                }
                Output::Finished => {
                    assert!(self.links.is_empty() && !self.is_finished);
                    self.is_finished = true;
                }
            }
        }
        self.engine.check_invariants();
    }

    fn forget(&mut self, link: LinkId) -> bool {
        self.attended.remove(&link);
        self.links.remove(&link).is_some()
    }

    fn wire(&mut self, peer: Peer) -> Option<&mut Wire> {
        match peer {
            Peer::Client(place) => Some(&mut self.clients[place].wire),
            Peer::Node(place) => Some(&mut self.nodes[place].wire),
            Peer::Dialing => None,
        }
    }

    /// Reads and writes until everybody rests, or has had enough.
    pub fn settle(&mut self) {
        let mut eaten = BTreeMap::new();
        for round in 0.. {
            let mut is_moved = self.fans_out();
            if is_moved {
                self.input(Input::Timeout);
            } else if round >= ROUNDS {
                return;
            }
            for link in self.attended.iter().copied().collect::<Vec<_>>() {
                is_moved |= self.write(link, eaten.entry(link).or_insert(0));
            }
            for (link, peer) in self.links.clone() {
                is_moved |= self.read(link, peer, round);
            }
            if !is_moved {
                return;
            }
        }
    }

    /// Writes what the engine has for a link, and has the peer read it.
    fn write(&mut self, link: LinkId, eaten: &mut usize) -> bool {
        let Some(peer) = self.links.get(&link).copied() else { return false };
        let room = self.wire(peer).map_or(0, |wire| wire.appetite.saturating_sub(*eaten));
        let mut slices = [IoSlice::new(&[]); 8];
        let count = self.engine.outbound(link, &mut slices, self.now);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(room).collect();
        if count == 0 {
            self.attended.remove(&link);
        }
        if bytes.is_empty() {
            return false;
        }
        *eaten += bytes.len();
        match peer {
            Peer::Client(place) => self.clients[place].receive(&bytes, &mut self.guests),
            Peer::Node(place) => {
                for sid in self.nodes[place].receive(&bytes, self.now) {
                    self.sids.push(sid);
                    let others = self.nodes.iter().enumerate().filter(|(other, node)| *other != place && !node.is_lost);
                    for (_, node) in others {
                        assert!(!node.book.get(&sid).is_some_and(|entry| entry.is_open()), "{sid} is at two nodes");
                    }
                }
            }
            Peer::Dialing => panic!("nothing is written before the link is open"),
        }
        self.input(Input::Sent { link, n: bytes.len() });
        true
    }

    /// Reads what the peer sends, if the engine wants it.
    fn read(&mut self, link: LinkId, peer: Peer, round: usize) -> bool {
        if !self.links.contains_key(&link) || !self.engine.interest(link).read {
            return false;
        }
        let Some(wire) = self.wire(peer) else { return false };
        if wire.is_ended || (wire.chunk > 0 && round > 0) {
            return false;
        }
        let n = if wire.chunk == 0 { READ_MAX } else { wire.chunk };
        let bytes = match peer {
            Peer::Client(place) => self.clients[place].take(n),
            Peer::Node(place) => self.nodes[place].take(n),
            Peer::Dialing => return false,
        };
        if bytes.is_empty() {
            return false;
        }
        self.input(Input::Received { link, bytes: &bytes });
        true
    }

    /// What was recorded yields the same when it is replayed.
    pub fn check_tape(&self) {
        let Some(tape) = &self.tape else { return };
        let tape = tape.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = replay(&mut &tape[..], add_apps, &mut |_, _| {}).expect("it is a tape");
        assert!(verdict.difference.is_none() && !verdict.cut, "{verdict}");
    }

    // ---- the end ----

    pub fn everybody_reads(&mut self) {
        let clients = self.clients.iter_mut().map(|client| &mut client.wire);
        for wire in clients.chain(self.nodes.iter_mut().map(|node| &mut node.wire)) {
            wire.appetite = usize::MAX;
            wire.chunk = 0;
        }
    }

    pub fn lose_clients(&mut self) {
        for place in 0..self.clients.len() {
            self.fail(self.clients[place].wire.link);
        }
        // What the clients' ends freed or queued is read before anybody looks.
        self.settle();
        // Those of socket.io are missed only in time.
        for _ in 0..1000 {
            if self.engine.snapshot().sessions == 0 {
                return;
            }
            let wake = self.engine.poll_timeout().expect("a session without a client has a deadline");
            self.skip(wake.at.since(self.now));
            self.settle();
        }
        panic!("{} sessions have no client, and do not end", self.engine.snapshot().sessions);
    }

    pub fn lose_nodes(&mut self) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.fail(link);
        }
    }

    /// Nodes that are still there, or were until the stop, know of the end of every session.
    pub fn check_ends(&self) {
        for node in self.nodes.iter().filter(|node| !node.is_lost && !node.is_quiet) {
            for (sid, entry) in &node.book {
                assert!(!entry.is_open(), "{sid} has no end");
            }
        }
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self, control: Control) {
        self.control(control);
        for _ in 0..300 {
            self.settle();
            if self.is_finished {
                break;
            }
            let wake = self.engine.poll_timeout().expect("a server that stops has a deadline");
            self.skip(wake.at.since(self.now));
        }
        assert!(self.is_finished, "a stop comes to its end");
        self.check_ends();
    }

    pub fn check_empty(&self) {
        let snapshot = self.engine.snapshot();
        assert_eq!((snapshot.memory, snapshot.sessions, snapshot.connections), (0, 0, 0));
        assert_eq!((snapshot.nodes, snapshot.groups), (0, 0));
    }
}
