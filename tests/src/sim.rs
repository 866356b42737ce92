//! The host without sockets: one engine, links in memory, time that only passes when told.
//!
//! Between an engine and each of its peers stands a pipe as a network would have it: what the engine writes waits in
//! a buffer of limited size until the peer reads, what the peer sends waits until the engine wants to read. Reads and
//! writes take at most a chunk at a time, so that the same scenario can be played a byte at a time.
//!
//! After every input all outputs are drained and the engine's invariants are checked. When nothing moves any more, a
//! link with bytes to write and room to write them that nobody attended is a failure: on a socket they would never
//! leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use blastbeat_proto::address::{Address, BindAddr, PeerAddr};
use blastbeat_proto::config::Config;
use blastbeat_proto::engine::{Control, Engine, Input, LinkId, ListenerId, Output, Report, Shut};
use blastbeat_proto::time::Instant;

use crate::host::{Ended, Finish, Host, PATIENCE, Peer, PeerId, Remains};
use crate::recording::{self, Recording};

/// Bytes that a network holds for a peer that does not read.
const PIPE_BYTES: usize = 256 * 1024;

/// Reads from one link before the others have their turn.
const READS_PER_TURN: usize = 4;

/// Turns after which a scenario that never comes to rest is a failure.
const TURNS_MAX: usize = 5_000_000;

/// One engine and its peers, in memory.
pub struct Sim {
    chunk: usize,
    seed: u64,
    now: Instant,
    engine: Option<Engine>,
    recording: Recording,
    peers: Vec<Wire>,
    links: BTreeMap<LinkId, PeerId>,
    attended: BTreeSet<LinkId>,
    listeners: Vec<ListenerSeat>,
    endpoints: BTreeSet<u16>,
    dialed: VecDeque<PeerId>,
    reports: Vec<Report>,
    finished: bool,
}

#[derive(Default)]
struct ListenerSeat {
    open: bool,
    held: bool,
    waiting: VecDeque<PeerId>,
}

#[derive(Default)]
struct Wire {
    peer: Peer,
    link: Option<LinkId>,
    /// Written by the engine, not read by the peer.
    pipe: VecDeque<u8>,
    /// How the engine ended its sending direction.
    shut: Option<Ended>,
    /// The peer's end was told to the engine.
    told: bool,
    /// The peer no longer takes anything.
    deaf: bool,
}

impl Sim {
    /// A host whose reads and writes take whatever is there.
    pub fn new() -> Self {
        Self::in_chunks(64 * 1024)
    }

    /// A host whose reads and writes take at most `chunk` bytes at a time.
    pub fn in_chunks(chunk: usize) -> Self {
        Self {
            chunk,
            seed: 1,
            now: Instant::ZERO,
            engine: None,
            recording: Recording::default(),
            peers: Vec::new(),
            links: BTreeMap::new(),
            attended: BTreeSet::new(),
            listeners: Vec::new(),
            endpoints: BTreeSet::new(),
            dialed: VecDeque::new(),
            reports: Vec::new(),
            finished: false,
        }
    }

    /// The same with other sids and other ties.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The engine.
    ///
    /// # Panics
    /// Before the start.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the server was started")
    }

    fn engine_mut(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the server was started")
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.now;
        self.engine_mut().handle(input, now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine_mut().poll_output() {
            match output {
                Output::Attend(link) => {
                    self.attended.insert(link);
                }
                Output::Shut(link, how) => self.shut(link, how),
                Output::Dial(link, address) => self.dial(link, &address),
                Output::Listen(id, address) => self.listen_on(id, address),
                Output::Unlisten(id) => {
                    let seat = &mut self.listeners[id.0 as usize];
                    seat.open = false;
                    for peer in std::mem::take(&mut seat.waiting) {
                        self.peers[peer.0].shut = Some(Ended::Reset);
                    }
                }
                Output::Hold(id, held) => self.listeners[id.0 as usize].held = held,
                Output::Report(report) => self.reports.push(report),
                Output::Finished => self.finish(),
            }
        }
        self.engine_mut().check_invariants();
    }

    /// The driver returns: what the engine has not written by now is lost, and all sockets are closed.
    fn finish(&mut self) {
        self.finished = true;
        for (_, peer) in std::mem::take(&mut self.links) {
            self.peers[peer.0].link = None;
            self.peers[peer.0].shut.get_or_insert(Ended::Eof);
        }
        self.attended.clear();
    }

    fn listen_on(&mut self, id: ListenerId, address: BindAddr) {
        let place = id.0 as usize;
        if self.listeners.len() <= place {
            self.listeners.resize_with(place + 1, ListenerSeat::default);
        }
        self.listeners[place].open = true;
        let bound = match address {
            BindAddr::Tcp(address) if address.port() == 0 => {
                BindAddr::Tcp(SocketAddr::new(address.ip(), 20_000 + id.0 as u16))
            }
            BindAddr::Tcp(_) | BindAddr::Unix(_) => address,
        };
        self.input(Input::Listening { id, result: Ok(bound) });
    }

    fn dial(&mut self, link: LinkId, address: &Address) {
        let known = match address {
            Address::Tcp { host, port } => host == "127.0.0.1" && self.endpoints.contains(port),
            Address::Unix(_) => false,
        };
        if !known {
            return self.input(Input::Dialed { link, result: Err(ErrorKind::ConnectionRefused) });
        }
        let peer = PeerId(self.peers.len());
        self.peers.push(Wire { link: Some(link), ..Wire::default() });
        self.links.insert(link, peer);
        self.dialed.push_back(peer);
        self.input(Input::Dialed { link, result: Ok(()) });
    }

    fn shut(&mut self, link: LinkId, how: Shut) {
        let Some(&peer) = self.links.get(&link) else { return };
        let wire = &mut self.peers[peer.0];
        assert!(wire.shut.is_none() || how != Shut::Write, "{link} is shut twice");
        match how {
            Shut::Write => {
                wire.shut = Some(Ended::Eof);
                return;
            }
            Shut::Close => {
                let unread = !wire.peer.outgoing.is_empty();
                if unread {
                    wire.pipe.clear();
                }
                wire.shut = wire.shut.or(Some(if unread { Ended::Reset } else { Ended::Eof }));
            }
            Shut::Abort => {
                wire.pipe.clear();
                wire.shut = Some(Ended::Reset);
            }
        }
        wire.link = None;
        self.links.remove(&link);
        self.attended.remove(&link);
    }

    fn accept(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.listeners.len() {
            while self.listeners[place].open && !self.listeners[place].held {
                let Some(peer) = self.listeners[place].waiting.pop_front() else { break };
                moved = true;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 30_000 + peer.0 as u16));
                let now = self.now;
                let link = self.engine_mut().accept(ListenerId(place as u32), PeerAddr::Ip(address), now);
                match link {
                    Some(link) => {
                        self.peers[peer.0].link = Some(link);
                        self.links.insert(link, peer);
                    }
                    None => self.peers[peer.0].shut = Some(Ended::Eof),
                }
                self.drain();
            }
        }
        moved
    }

    /// Lets the engine read what one peer has sent.
    fn read(&mut self, link: LinkId, peer: PeerId) -> bool {
        let mut moved = false;
        for _ in 0..READS_PER_TURN {
            if self.peers[peer.0].link != Some(link) {
                return moved;
            }
            let interest = self.engine().interest(link);
            let wire = &mut self.peers[peer.0];
            if wire.peer.finish == Finish::Reset && (interest.read || interest.write) {
                wire.link = None;
                wire.deaf = true;
                self.links.remove(&link);
                self.attended.remove(&link);
                self.input(Input::Failed { link, why: ErrorKind::ConnectionReset });
                return true;
            }
            if wire.peer.finish == Finish::Reset || !interest.read {
                return moved;
            }
            if wire.peer.outgoing.is_empty() {
                if wire.peer.finish == Finish::StayOpen || wire.told {
                    return moved;
                }
                wire.told = true;
                wire.deaf |= wire.peer.finish == Finish::Close;
                self.input(Input::Eof { link });
                return true;
            }
            let count = self.chunk.min(wire.peer.outgoing.len());
            let bytes = wire.peer.outgoing.split_to(count);
            self.input(Input::Received { link, bytes: &bytes });
            moved = true;
        }
        moved
    }

    /// Lets the engine write to one peer.
    fn write(&mut self, link: LinkId) -> bool {
        let Some(&peer) = self.links.get(&link) else { return false };
        let mut moved = false;
        loop {
            if self.peers[peer.0].link != Some(link) {
                return moved;
            }
            let room = PIPE_BYTES.saturating_sub(self.peers[peer.0].pipe.len()).min(self.chunk);
            let mut slices = [IoSlice::new(&[]); 64];
            let now = self.now;
            let engine = self.engine.as_mut().expect("the server was started");
            let count = engine.outbound(link, &mut slices, now);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter()).take(room).copied().collect();
            if count == 0 {
                self.attended.remove(&link);
                return moved;
            }
            let wire = &mut self.peers[peer.0];
            assert!(wire.shut.is_none(), "{link} has bytes to write after its end");
            if wire.deaf {
                wire.link = None;
                self.links.remove(&link);
                self.attended.remove(&link);
                self.input(Input::Failed { link, why: ErrorKind::BrokenPipe });
                return true;
            }
            if bytes.is_empty() {
                // Full: the link stays attended, as a driver keeps waiting for room.
                return moved;
            }
            wire.pipe.extend(&bytes);
            self.input(Input::Sent { link, n: bytes.len() });
            moved = true;
        }
    }

    /// Lets peers take what the network holds for them.
    fn deliver(&mut self) -> bool {
        let mut moved = false;
        for wire in &mut self.peers {
            if wire.peer.paused || wire.peer.ended.is_some() {
                continue;
            }
            moved |= !wire.pipe.is_empty() || wire.shut.is_some();
            wire.peer.incoming.extend(wire.pipe.drain(..));
            wire.peer.ended = wire.shut;
        }
        moved
    }

    /// Everything once: accepts, reads, writes, deadlines, peers.
    fn turn(&mut self) -> bool {
        if self.engine.is_none() || self.finished {
            return self.deliver();
        }
        let mut moved = self.accept();
        for (link, peer) in self.links.clone() {
            moved |= self.read(link, peer);
        }
        for link in self.attended.clone() {
            moved |= self.write(link);
        }
        if self.engine().poll_timeout().is_some_and(|wake| wake.at <= self.now) {
            self.input(Input::Timeout);
            moved = true;
        }
        moved | self.deliver()
    }

    fn run(&mut self) -> bool {
        for turns in 0..TURNS_MAX {
            if !self.turn() {
                self.check_rest();
                return turns > 0;
            }
        }
        panic!("this never comes to rest; next deadline {:?}", self.engine().poll_timeout());
    }

    fn next_wake(&self) -> Option<Instant> {
        if self.finished { None } else { self.engine().poll_timeout().map(|wake| wake.at) }
    }

    /// At rest nothing may be left that could move.
    fn check_rest(&self) {
        for (&link, peer) in &self.links {
            let interest = self.engine().interest(link);
            let room = self.peers[peer.0].pipe.len() < PIPE_BYTES;
            assert!(!(interest.write && room), "{link} has bytes to write, and nobody attends");
        }
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for Sim {
    fn name(&self) -> &'static str {
        match self.chunk {
            1 => "the simulator, a byte at a time",
            2..1024 => "the simulator, a few bytes at a time",
            _ => "the simulator",
        }
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn start(&mut self, config: Config) {
        let seed = recording::seed(self.seed);
        let mut engine = crate::engine(config, seed, self.now);
        self.recording = Recording::start(&mut engine, seed, self.now);
        self.engine = Some(engine);
        self.drain();
        self.run();
    }

    fn connect(&mut self, listener: usize) -> PeerId {
        let peer = PeerId(self.peers.len());
        let seat = &mut self.listeners[listener];
        let refused = !seat.open;
        self.peers.push(Wire { shut: refused.then_some(Ended::Reset), ..Wire::default() });
        if !refused {
            seat.waiting.push_back(peer);
        }
        peer
    }

    fn listen(&mut self) -> String {
        let port = 40_000 + self.endpoints.len() as u16;
        self.endpoints.insert(port);
        format!("tcp://127.0.0.1:{port}")
    }

    fn dialed(&mut self) -> Option<PeerId> {
        self.dialed.pop_front()
    }

    fn peer(&mut self, id: PeerId) -> &mut Peer {
        &mut self.peers[id.0].peer
    }

    fn step(&mut self) -> bool {
        self.run()
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        self.run();
        while let Some(wake) = self.next_wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.run();
        }
        self.now = until;
        self.run();
    }

    fn settle(&mut self) {
        self.run();
    }

    fn control(&mut self, control: Control) {
        if self.finished {
            return;
        }
        self.input(Input::Control(control));
    }

    fn reports(&mut self) -> &mut Vec<Report> {
        &mut self.reports
    }

    fn stop(&mut self) -> Remains {
        self.run();
        if !self.finished {
            self.input(Input::Control(Control::Stop));
            // A peer that does not read has a moment to take its farewell.
            self.advance(PATIENCE);
        }
        assert!(self.finished, "the engine does not finish");
        self.engine = None;
        Remains { tape: self.recording.take() }
    }
}
