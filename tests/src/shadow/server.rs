//! The driver: carries the engine's bytes and outputs, as the programs do, and looks over its shoulder.
//!
//! Like a program it asks for a link's interest when it is told to attend, and relies on the answer until it is told
//! again. That the answer still holds is checked after every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;

use blastbeat_proto::address::PeerAddr;
use blastbeat_proto::engine::{Control, Engine, Input, LinkId, ListenerId, Output, Shut};
use blastbeat_proto::time::{Duration, Instant};

use super::model::Model;
use super::net::{ConnId, End, Happening, Net, Peer};

/// The engine, and what its driver knows.
pub struct Server {
    pub engine: Engine,
    links: BTreeMap<LinkId, ConnId>,
    attended: BTreeSet<LinkId>,
    held: [bool; 2],
    backlog: VecDeque<ConnId>,
    pub dialing: VecDeque<LinkId>,
    pub is_finished: bool,
    pub steps: u64,
}

impl Server {
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            links: BTreeMap::new(),
            attended: BTreeSet::new(),
            held: [false; 2],
            backlog: VecDeque::new(),
            dialing: VecDeque::new(),
            is_finished: false,
            steps: 0,
        }
    }

    pub fn input(&mut self, input: Input<'_>, net: &mut Net, model: &mut Model) {
        if self.is_finished {
            return;
        }
        self.engine.handle(input, net.now);
        self.drain(net, model);
    }

    pub fn control(&mut self, control: Control, net: &mut Net, model: &mut Model) {
        if control != Control::Stats {
            model.stopping.get_or_insert(net.now);
        }
        self.input(Input::Control(control), net, model);
    }

    /// Says that a deadline has come, if one has.
    pub fn timeout(&mut self, net: &mut Net, model: &mut Model) {
        self.input(Input::Timeout, net, model);
        let next = self.next();
        assert!(next.is_none_or(|at| at > net.now), "a deadline stays: {:?}", self.engine.poll_timeout());
    }

    pub fn next(&self) -> Option<Instant> {
        if self.is_finished { None } else { self.engine.poll_timeout().map(|wake| wake.at) }
    }

    /// Carries out all outputs but the writing.
    pub fn drain(&mut self, net: &mut Net, model: &mut Model) {
        self.steps += 1;
        self.engine.check_invariants();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Attend(link) => {
                    let interest = self.engine.interest(link);
                    if let Some(&conn) = self.links.get(&link) {
                        self.attended.insert(link);
                        if interest.read && !net.conns[conn].reads {
                            net.after(Duration::ZERO, Happening::ToServer(conn));
                        }
                        net.conns[conn].reads = interest.read;
                    }
                }
                Output::Shut(link, how) => self.shut(link, how, net, model),
                Output::Dial(link, _) => {
                    self.dialing.push_back(link);
                    let wait = net.dice.millis(0, 30);
                    net.after(wait, Happening::Dialed);
                }
                Output::Listen(id, address) => {
                    self.engine.handle(Input::Listening { id, result: Ok(address) }, net.now);
                }
                Output::Unlisten(id) => {
                    net.is_open[id.0 as usize] = false;
                    for conn in std::mem::take(&mut self.backlog) {
                        net.close_to_peer(conn, true);
                    }
                }
                Output::Hold(id, is_held) => {
                    self.held[id.0 as usize] = is_held;
                    for conn in std::mem::take(&mut self.backlog) {
                        net.after(Duration::ZERO, Happening::Accept(conn));
                    }
                }
                Output::Report(report) => model.on_report(&report, net.now),
                Output::Finished => {
                    assert!(self.links.is_empty(), "links are left: {:?}", self.links);
                    self.is_finished = true;
                }
            }
        }
        self.engine.check_invariants();
        for (&link, &conn) in &self.links {
            let interest = self.engine.interest(link);
            assert!(!interest.write || self.attended.contains(&link), "{link} has bytes to write, and nobody attends");
            assert_eq!(interest.read, net.conns[conn].reads, "{link} was not told that its reading changed");
        }
    }

    fn shut(&mut self, link: LinkId, how: Shut, net: &mut Net, model: &Model) {
        let Some(&conn) = self.links.get(&link) else {
            // An attempt to dial that is not over, and of no use any more.
            return self.dialing.retain(|other| *other != link);
        };
        // A server that stops has told its nodes everything before it closes.
        let is_told = model.stopping.is_some() && self.engine.snapshot().sessions == 0 && !model.is_shaken(net.now);
        net.conns[conn].is_lost |= how != Shut::Write && !is_told;
        match how {
            Shut::Write => return net.end_to_peer(conn, End::Eof),
            Shut::Close => net.close_to_peer(conn, false),
            Shut::Abort => net.close_to_peer(conn, true),
        }
        self.forget(link);
    }

    fn forget(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.attended.remove(&link);
    }

    /// A connection has reached the server.
    pub fn accept(&mut self, conn: ConnId, net: &mut Net, model: &mut Model) {
        let listener = match net.conns[conn].peer {
            Peer::Client(_) => 0,
            Peer::Node(_) => 1,
        };
        if !net.is_open[listener] || self.is_finished {
            return net.close_to_peer(conn, true);
        }
        if self.held[listener] {
            return self.backlog.push_back(conn);
        }
        let peer = PeerAddr::Ip(SocketAddr::from(([10, 0, 0, 1], 1024 + (conn % 60_000) as u16)));
        match self.engine.accept(ListenerId(listener as u32), peer, net.now) {
            Some(link) => self.open(link, conn, net),
            None => net.close_to_peer(conn, false),
        }
        self.drain(net, model);
        net.after(Duration::ZERO, Happening::ToServer(conn));
    }

    /// A link has a connection from now on.
    pub fn open(&mut self, link: LinkId, conn: ConnId, net: &mut Net) {
        net.conns[conn].link = Some(link);
        self.links.insert(link, conn);
    }

    /// Reads what has arrived on a connection, a few pieces at most.
    pub fn read(&mut self, conn: ConnId, net: &mut Net, model: &mut Model) {
        for _ in 0..4 {
            let wire = &net.conns[conn];
            let (Some(link), reads) = (wire.link, wire.reads) else { return };
            if net.ended_for_server(conn) == Some(End::Reset) && (reads || self.attended.contains(&link)) {
                self.forget(link);
                net.conns[conn].link = None;
                return self.input(Input::Failed { link, why: ErrorKind::ConnectionReset }, net, model);
            }
            if !reads {
                return;
            }
            let bytes = net.take_for_server(conn);
            if !bytes.is_empty() {
                self.input(Input::Received { link, bytes: &bytes }, net, model);
                continue;
            }
            if net.ended_for_server(conn) == Some(End::Eof) && !net.conns[conn].told {
                net.conns[conn].told = true;
                self.input(Input::Eof { link }, net, model);
            }
            return;
        }
        if net.waits_for_server(conn) {
            net.after(Duration::ZERO, Happening::ToServer(conn));
        }
    }

    /// Writes to every link that was to be attended, as far as there is room.
    pub fn write(&mut self, net: &mut Net, model: &mut Model) {
        for link in self.attended.iter().copied().collect::<Vec<_>>() {
            let Some(&conn) = self.links.get(&link) else { continue };
            if net.ended_for_server(conn) == Some(End::Reset) {
                self.read(conn, net, model);
                continue;
            }
            while self.links.contains_key(&link) {
                let mut slices = [IoSlice::new(&[]); 16];
                let count = self.engine.outbound(link, &mut slices, net.now);
                if count == 0 {
                    self.attended.remove(&link);
                    break;
                }
                let room = net.room(conn);
                let total: usize = slices[..count].iter().map(|slice| slice.len()).sum();
                assert!(total > 0, "{link} lends nothing");
                let n = match room.min(total) {
                    0 => break,
                    n if net.dice.chance(20) => net.dice.between(1, n),
                    n => n,
                };
                let mut bytes = Vec::with_capacity(n);
                for slice in &slices[..count] {
                    bytes.extend_from_slice(&slice[..slice.len().min(n - bytes.len())]);
                }
                net.send_to_peer(conn, bytes);
                self.input(Input::Sent { link, n }, net, model);
            }
        }
    }
}
