//! The network: connections whose bytes take their time, arrive in other pieces than they were sent in, wait in buffers
//! of limited size, and stop for a while when the network is partitioned.
//!
//! Data that is under way arrives before the end that follows it, unless the server closed with input unread: then what
//! has not arrived is lost, as systems do it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use blastbeat_proto::engine::LinkId;
use blastbeat_proto::time::{Duration, Instant};

use super::dice::Dice;
use super::model::{Model, Who};

/// A connection's place in the network.
pub type ConnId = usize;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The client in this place.
    Client(usize),
    /// The node in this place.
    Node(usize),
}

/// What happens when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A connection reaches the server.
    Accept(ConnId),
    /// Bytes, or an end, may have reached the server.
    ToServer(ConnId),
    /// Bytes, or an end, may have reached the peer.
    ToPeer(ConnId),
    /// Somebody has something to do.
    Wake(Peer),
    /// The outcome of the oldest attempt to dial.
    Dialed,
    /// Something goes wrong.
    Trouble,
    /// The server is asked to stop.
    Ending,
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    flying: VecDeque<(Instant, Vec<u8>)>,
    arrived: VecDeque<u8>,
    /// Bytes flying and arrived.
    load: usize,
    end: Option<(Instant, End)>,
    /// Nothing arrives before this was there.
    last: Instant,
}

impl Pipe {
    fn arrive(&mut self, now: Instant) {
        while self.flying.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, bytes)) = self.flying.pop_front() {
                self.arrived.extend(&bytes);
            }
        }
    }

    fn take(&mut self, max: usize) -> Vec<u8> {
        let n = max.min(self.arrived.len());
        self.load -= n;
        let (first, second) = self.arrived.as_slices();
        let mut bytes = first[..n.min(first.len())].to_vec();
        bytes.extend_from_slice(&second[..n - bytes.len()]);
        self.arrived.drain(..n);
        bytes
    }

    fn lose(&mut self) {
        self.flying.clear();
        self.arrived.clear();
        self.load = 0;
    }

    fn delay_until(&mut self, until: Instant) {
        for (at, _) in &mut self.flying {
            *at = (*at).max(until);
        }
        self.last = self.last.max(until);
        if let Some((at, _)) = &mut self.end {
            *at = (*at).max(until);
        }
    }
}

/// One connection.
pub struct Conn {
    pub peer: Peer,
    /// The engine's name for it, from the accept to its end.
    pub link: Option<LinkId>,
    /// The driver reads from it, as it was told.
    pub reads: bool,
    /// The engine knows of the peer's end.
    pub told: bool,
    capacity: usize,
    delay: (usize, usize),
    to_server: Pipe,
    to_peer: Pipe,
    /// The server has given the peer up: what it had sent may still arrive, late.
    pub is_lost: bool,
    /// The peer takes nothing any more.
    is_deaf: bool,
    /// Nothing will ever arrive any more.
    is_severed: bool,
}

/// All connections, and the order of what happens.
pub struct Net {
    pub now: Instant,
    pub dice: Dice,
    pub conns: Vec<Conn>,
    /// Whether the server has a listener for each kind of peer: clients, nodes.
    pub is_open: [bool; 2],
    queue: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    count: u64,
    /// When each peer wakes up next.
    wakes: BTreeMap<Peer, Instant>,
    /// Arrivals happen at multiples of this, so that some happen together.
    grain: u64,
}

impl Net {
    pub fn new(mut dice: Dice) -> Self {
        let grain = dice.pick(&[1, 100, 5000]);
        Self {
            now: Instant::ZERO,
            dice,
            conns: Vec::new(),
            is_open: [true; 2],
            queue: BinaryHeap::new(),
            count: 0,
            wakes: BTreeMap::new(),
            grain,
        }
    }

    // ---- what happens when ----

    pub fn at(&mut self, when: Instant, what: Happening) {
        self.count += 1;
        self.queue.push(Reverse((when, self.count, what)));
    }

    pub fn after(&mut self, wait: Duration, what: Happening) {
        self.at(self.now + wait, what);
    }

    /// Wakes a peer then, or sooner.
    pub fn wake(&mut self, peer: Peer, when: Instant) {
        if self.wakes.get(&peer).is_none_or(|at| when < *at) {
            self.wakes.insert(peer, when);
            self.at(when, Happening::Wake(peer));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes what is due.
    pub fn pop_due(&mut self) -> Option<Happening> {
        self.next().filter(|at| *at <= self.now)?;
        let Reverse((_, _, what)) = self.queue.pop()?;
        if let Happening::Wake(peer) = what
            && self.wakes.get(&peer).is_some_and(|at| *at <= self.now)
        {
            self.wakes.remove(&peer);
        }
        Some(what)
    }

    // ---- the peers' side ----

    /// Opens a connection to the server.
    pub fn connect(&mut self, peer: Peer) -> ConnId {
        let conn = self.add(peer);
        let wait = self.delay(conn);
        self.after(wait, Happening::Accept(conn));
        conn
    }

    /// A connection that the server has opened, or will accept.
    pub fn add(&mut self, peer: Peer) -> ConnId {
        // At least a megabyte in a second, so that only troubles are slow.
        let (capacity, delay) =
            self.dice.pick(&[(1500, (0, 1)), (9000, (0, 3)), (70_000, (1, 40)), (200_000, (5, 60)), (300_000, (0, 0))]);
        self.conns.push(Conn {
            peer,
            link: None,
            reads: true,
            told: false,
            capacity,
            delay,
            to_server: Pipe::default(),
            to_peer: Pipe::default(),
            is_lost: false,
            is_deaf: false,
            is_severed: false,
        });
        self.conns.len() - 1
    }

    /// Sends as much of this as there is room for.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let room = self.conns[conn].capacity.saturating_sub(self.conns[conn].to_server.load);
        let n = bytes.len().min(room);
        if n > 0 {
            self.fly(conn, bytes[..n].to_vec(), true);
        }
        n
    }

    /// What has arrived for the peer, `max` bytes at most.
    pub fn read(&mut self, conn: ConnId, max: usize) -> Vec<u8> {
        self.conns[conn].to_peer.take(max)
    }

    /// How the server has ended its direction, once everything before that is read.
    pub fn ended(&self, conn: ConnId) -> Option<End> {
        let pipe = &self.conns[conn].to_peer;
        let (at, end) = pipe.end?;
        (at <= self.now && pipe.load == 0).then_some(end)
    }

    /// The peer ends its direction and goes on reading.
    pub fn half_close(&mut self, conn: ConnId) {
        self.end(conn, End::Eof, true);
    }

    /// The peer closes.
    pub fn close(&mut self, conn: ConnId, how: End) {
        self.end(conn, how, true);
        self.conns[conn].is_deaf = true;
        self.conns[conn].to_peer.lose();
    }

    // ---- troubles ----

    /// Nothing arrives on either side until then.
    pub fn partition(&mut self, conn: ConnId, until: Instant) {
        let wire = &mut self.conns[conn];
        wire.to_server.delay_until(until);
        wire.to_peer.delay_until(until);
        self.at(until, Happening::ToServer(conn));
        self.at(until, Happening::ToPeer(conn));
    }

    /// The peer's machine has gone, and nobody tells the server.
    pub fn sever(&mut self, conn: ConnId) {
        let wire = &mut self.conns[conn];
        wire.is_severed = true;
        wire.is_deaf = true;
        wire.to_server.flying.clear();
        wire.to_server.end = None;
    }

    /// Notes that time or a network stood still for somebody.
    pub fn disturb(&self, model: &mut Model, who: Who, long: Duration) {
        model.disturb(who, self.now, self.now + long);
    }

    // ---- the server's side ----

    pub fn arrive(&mut self, conn: ConnId) {
        let now = self.now;
        let wire = &mut self.conns[conn];
        wire.to_server.arrive(now);
        wire.to_peer.arrive(now);
        if wire.is_severed {
            wire.to_server.arrived.clear();
            return;
        }
        if wire.is_deaf && !wire.to_peer.arrived.is_empty() {
            wire.to_peer.lose();
            // Bytes for a socket that is gone are answered with a reset.
            if wire.link.is_some() && !matches!(wire.to_server.end, Some((_, End::Reset))) {
                wire.to_server.end = None;
                self.end(conn, End::Reset, true);
            }
        }
        // Nobody reads at the server any more.
        if self.conns[conn].link.is_none() && self.conns[conn].to_peer.end.is_some() {
            self.conns[conn].to_server.lose();
        }
    }

    /// What has arrived for the server; now and then only a part of it.
    pub fn take_for_server(&mut self, conn: ConnId) -> Vec<u8> {
        let waiting = self.conns[conn].to_server.arrived.len();
        let n = match waiting {
            0 | 1 => waiting,
            _ if self.dice.chance(60) => waiting.min(65_536),
            _ => self.dice.between(1, waiting),
        };
        let was_full = self.conns[conn].to_server.load >= self.conns[conn].capacity;
        let bytes = self.conns[conn].to_server.take(n);
        if was_full && n > 0 {
            let peer = self.conns[conn].peer;
            self.wake(peer, self.now);
        }
        bytes
    }

    /// Whether there is something to read for the server.
    pub fn waits_for_server(&self, conn: ConnId) -> bool {
        let pipe = &self.conns[conn].to_server;
        !pipe.arrived.is_empty() || pipe.end.is_some_and(|(at, _)| at <= self.now)
    }

    /// How the peer has ended: a reset at once, an end in good order when everything before it is read.
    pub fn ended_for_server(&self, conn: ConnId) -> Option<End> {
        let pipe = &self.conns[conn].to_server;
        let (at, end) = pipe.end?;
        (at <= self.now && (end == End::Reset || pipe.load == 0)).then_some(end)
    }

    /// Bytes that the server can write.
    pub fn room(&self, conn: ConnId) -> usize {
        self.conns[conn].capacity.saturating_sub(self.conns[conn].to_peer.load)
    }

    /// The server has written.
    pub fn send_to_peer(&mut self, conn: ConnId, bytes: Vec<u8>) {
        assert!(self.conns[conn].to_peer.end.is_none(), "bytes after the end of {conn}");
        self.fly(conn, bytes, false);
    }

    /// The server has shut its sending direction.
    pub fn end_to_peer(&mut self, conn: ConnId, how: End) {
        if how == End::Reset {
            let pipe = &mut self.conns[conn].to_peer;
            pipe.load -= pipe.flying.drain(..).map(|(_, bytes)| bytes.len()).sum::<usize>();
            pipe.end = None;
        }
        self.end(conn, how, false);
    }

    /// The server has closed: with a reset if input was unread.
    pub fn close_to_peer(&mut self, conn: ConnId, abort: bool) {
        let unread = !self.conns[conn].to_server.arrived.is_empty();
        self.end_to_peer(conn, if abort || unread { End::Reset } else { End::Eof });
        self.conns[conn].link = None;
        self.conns[conn].to_server.lose();
    }

    // ---- helpers ----

    fn delay(&mut self, conn: ConnId) -> Duration {
        let (low, high) = self.conns[conn].delay;
        self.dice.millis(low, high)
    }

    fn arrival(&mut self, conn: ConnId, last: Instant) -> Instant {
        let at = (self.now + self.delay(conn)).max(last);
        let micros = at.since_epoch().as_micros() as u64;
        Instant::from_micros(micros.div_ceil(self.grain) * self.grain)
    }

    fn fly(&mut self, conn: ConnId, bytes: Vec<u8>, to_server: bool) {
        let wire = &self.conns[conn];
        let last = if to_server { wire.to_server.last } else { wire.to_peer.last };
        let at = self.arrival(conn, last);
        let is_lost = self.conns[conn].is_severed;
        let wire = &mut self.conns[conn];
        let pipe = if to_server { &mut wire.to_server } else { &mut wire.to_peer };
        pipe.load += bytes.len();
        if is_lost {
            return; // It fills the sender's buffer, for nobody acknowledges it.
        }
        pipe.last = at;
        pipe.flying.push_back((at, bytes));
        self.at(at, if to_server { Happening::ToServer(conn) } else { Happening::ToPeer(conn) });
    }

    fn end(&mut self, conn: ConnId, how: End, to_server: bool) {
        let wire = &self.conns[conn];
        let pipe = if to_server { &wire.to_server } else { &wire.to_peer };
        let (has_ended, last) = (pipe.end, pipe.last);
        let upgrades = how == End::Reset && !matches!(has_ended, Some((_, End::Reset)));
        if wire.is_severed || (has_ended.is_some() && !upgrades) {
            return;
        }
        let at = self.arrival(conn, last);
        let wire = &mut self.conns[conn];
        let pipe = if to_server { &mut wire.to_server } else { &mut wire.to_peer };
        pipe.last = at;
        pipe.end = Some((at, how));
        self.at(at, if to_server { Happening::ToServer(conn) } else { Happening::ToPeer(conn) });
    }
}
