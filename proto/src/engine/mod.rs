//! The engine: all state of one shard, without sockets.
//!
//! # What the caller does
//!
//! Make one with [`Engine::new`], add apps, then, for each wake-up of a driver:
//!
//! 1. read the clock once;
//! 2. for each link that is readable and whose [`interest`](Engine::interest) is to read: read a bounded share and
//!    [`handle`](Engine::handle) it as [`Input::Received`];
//! 3. after *each* input call [`poll_output`](Engine::poll_output) until it returns `None`, and collect the links of
//!    [`Output::Attend`];
//! 4. for each collected link: [`outbound`](Engine::outbound), one vectored write, [`Input::Sent`];
//! 5. if [`poll_timeout`](Engine::poll_timeout) is due: [`Input::Timeout`]; then sleep until it, or readiness.
//!
//! Collecting before writing is what lets many requests share one write to a node.
//!
//! # What it promises
//!
//! `handle` never fails and never panics on what a peer sent: a peer's fault is an output. Everything a peer can make
//! grow is bounded by [`Limits`](crate::limits::Limits). The same inputs at the same times, with the same entropy,
//! give the same outputs.

mod answer;
mod app;
mod balance;
mod carrier;
mod client;
mod contract;
mod group;
mod host;
mod https;
mod intake;
mod invariants;
mod lifecycle;
mod link;
mod mux;
mod node;
mod operate;
mod pipe;
mod push;
mod report;
mod route;
mod session;
mod settle;
mod sniff;
mod socketio;
mod stats;
mod transport;
mod websocket;
mod welcome;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io::IoSlice;

pub use crate::address::{Address, BindAddr, PeerAddr};
pub use app::{App, AppInput, Replies, Routed};
pub use contract::{AppId, Control, Input, Interest, LinkId, ListenerId, Output, Shut, Wake};
pub use report::{Access, Level, Report, Value};
pub use stats::{Snapshot, Stats};
pub(crate) use transport::{Recorded, Step};
pub use welcome::{NODE_EXAMPLE, Welcome};

use crate::config::{Config, NodeName, Serves, Stores};
use crate::entropy::Entropy;
use crate::http;
use crate::time::{Duration, Instant};
use crate::timers::Timers;
use crate::tls;
use crate::zmtp;
use app::AppSlot;
use group::Groups;
use host::Hosts;
use link::{Links, Protocol, Stage};
use node::Nodes;
use route::FanOut;
use session::Sessions;

/// All state of one shard: links, virtual hosts, nodes, sessions, timers.
pub struct Engine {
    config: Arc<Config>,
    http: Arc<http::Settings>,
    zmtp: [Arc<zmtp::Settings>; 2],
    entropy: Box<dyn Entropy + Send>,
    links: Links,
    sessions: Sessions,
    hosts: Hosts,
    groups: Groups,
    nodes: Nodes,
    apps: Vec<AppSlot>,
    listeners: Vec<ListenerState>,
    dials: Vec<DialState>,
    link_timers: Timers,
    session_timers: Timers,
    node_timers: Timers,
    dial_timers: Timers,
    next_stats: Option<Instant>,
    outputs: VecDeque<Output>,
    /// Clients of socket.io by their ids.
    socketio: socketio::Index,
    /// Links to settle before the current call returns.
    touched: Vec<usize>,
    /// Hosts whose queue may move.
    pumped: Vec<usize>,
    /// Dialled links that have ended.
    redial: Vec<usize>,
    /// Messages to groups that are not through, in the order in which they came.
    fan_outs: VecDeque<FanOut>,
    /// Deliveries that may still be made before the next turn.
    deliveries_left: usize,
    /// The time of the last call.
    now: Instant,
    replies: Replies,
    scratch: Vec<u8>,
    stats: Stats,
    /// Bytes queued in and out, and kept for other nodes, without those in `shared`.
    memory: usize,
    /// Bytes that wait for many clients at once.
    shared: Arc<AtomicUsize>,
    /// Open client connections.
    clients: usize,
    /// What listeners of TLS show.
    certificates: Option<Stores>,
    phase: Phase,
    recorder: Option<Box<crate::tape::Recorder>>,
    replay: Option<transport::Replay>,
}

struct ListenerState {
    /// Where it listens; with the port that the system chose, once it is open.
    address: BindAddr,
    open: bool,
    /// Held, and until when; `None` in it means until there is room.
    held: Option<Option<Instant>>,
    /// What connections of TLS begin with, once there are certificates.
    tls: Option<Arc<tls::Settings>>,
}

impl ListenerState {
    fn port(&self) -> u16 {
        match &self.address {
            BindAddr::Tcp(address) => address.port(),
            BindAddr::Unix(_) => 0,
        }
    }
}

struct DialState {
    attempts: u32,
    link: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining {
        /// When requests that are under way are given up.
        until: Instant,
        /// When clients are cut that have not taken their last answers.
        clients_until: Option<Instant>,
        /// When nodes are, once all clients have gone.
        nodes_until: Option<Instant>,
    },
    Finished,
}

impl Engine {
    /// An engine that wants to listen and dial as `config` says: its first outputs.
    ///
    /// Apps that the configuration names must be added with [`add_app`](Self::add_app) before the first input.
    pub fn new(config: Arc<Config>, entropy: Box<dyn Entropy + Send>, now: Instant) -> Self {
        let limits = &config.limits;
        let pages = config.error_pages.iter().map(|(status, page)| (*status, page.body.clone())).collect();
        let null = zmtp::Settings::new(zmtp::Role::Router, limits);
        let plain = zmtp::Settings { mechanism: zmtp::Mechanism::PlainServer, ..null.clone() };
        let mut hosts = Hosts::new(&config);
        let nodes = Nodes::new(&mut hosts, &config, now);
        let mut engine = Self {
            http: Arc::new(http::Settings { limits: limits.clone(), pages: http::Pages::new(pages) }),
            zmtp: [Arc::new(null), Arc::new(plain)],
            entropy,
            links: Links::default(),
            sessions: Sessions::default(),
            groups: Groups::new(hosts.list.len()),
            hosts,
            nodes,
            apps: Vec::new(),
            listeners: Vec::new(),
            dials: Vec::new(),
            link_timers: Timers::new(),
            session_timers: Timers::new(),
            node_timers: Timers::new(),
            dial_timers: Timers::new(),
            next_stats: (!config.stats_freq.is_zero()).then(|| now + config.stats_freq),
            outputs: VecDeque::new(),
            socketio: socketio::Index::default(),
            touched: Vec::new(),
            pumped: Vec::new(),
            redial: Vec::new(),
            fan_outs: VecDeque::new(),
            deliveries_left: limits.deliveries,
            now,
            replies: Replies::default(),
            scratch: Vec::new(),
            stats: Stats::default(),
            memory: 0,
            shared: Arc::default(),
            clients: 0,
            certificates: None,
            phase: Phase::Running,
            recorder: None,
            replay: None,
            config,
        };
        for (index, listener) in engine.config.listeners.iter().enumerate() {
            let address = listener.address.clone();
            engine.listeners.push(ListenerState { address, open: false, held: None, tls: None });
            engine.outputs.push_back(Output::Listen(ListenerId(index as u32), listener.address.clone()));
        }
        for dial in 0..engine.config.dials.len() {
            engine.dials.push(DialState { attempts: 0, link: None });
            engine.dial(dial, now);
        }
        engine
    }

    /// Adds the app that virtual hosts name as `app:NAME`.
    pub fn add_app(&mut self, name: &'static str, app: Box<dyn App + Send>) -> AppId {
        let place = self.apps.len();
        self.apps.push(AppSlot { name, app: Some(app), load: 0 });
        for (index, host) in self.config.hosts.iter().enumerate() {
            if host.nodes.iter().any(|node| matches!(node, NodeName::App(named) if named == name)) {
                self.hosts.list[index].apps.push(place);
            }
        }
        AppId(place as u32)
    }

    /// Records every input from now on. `seed` is what the entropy was made of. Call it before the first input.
    pub fn record(&mut self, recorder: crate::tape::Recorder) {
        self.recorder = Some(Box::new(recorder));
    }

    /// A connection has come in on a listener. `None`: hang up on it.
    #[must_use]
    pub fn accept(&mut self, on: ListenerId, peer: PeerAddr, now: Instant) -> Option<LinkId> {
        let link = self.admit(on, peer, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.accept(on, peer, link, now);
        }
        self.settle(now);
        link
    }

    /// Takes one input. Drain [`poll_output`](Self::poll_output) afterwards.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.now = now;
        // What waits for its turn goes on with the timeout that is due for it, so that nobody's input is put off.
        let is_turn = self.fan_outs.is_empty() || matches!(input, Input::Timeout);
        self.deliveries_left = if is_turn { self.config.limits.deliveries } else { 0 };
        if let Some(mut recorder) = self.recorder.take() {
            recorder.input(&input, now, self);
            match recorder.ended() {
                None => self.recorder = Some(recorder),
                Some(why) => self.report(Report::RecordingEnded { why: why.to_string() }),
            }
        }
        match input {
            Input::Received { link, bytes } => {
                if let Some(slot) = self.links.slot_of(link) {
                    self.on_received(slot, bytes, now);
                }
            }
            Input::Sent { link, n } => {
                if let Some(slot) = self.links.slot_of(link) {
                    self.on_sent(slot, n, now);
                }
            }
            Input::Eof { link } => {
                if let Some(slot) = self.links.slot_of(link) {
                    self.on_eof(slot, now);
                }
            }
            Input::Failed { link, why: _ } => {
                if let Some(slot) = self.links.slot_of(link) {
                    self.on_failed(slot, now);
                }
            }
            Input::Dialed { link, result } => {
                if let Some(slot) = self.links.slot_of(link) {
                    self.on_dialed(slot, result, now);
                }
            }
            Input::Listening { id, result } => self.on_listening(id, result, now),
            Input::AcceptFailed { on, why } => self.on_accept_failed(on, why, now),
            Input::WakeApp(app) => {
                if (app.0 as usize) < self.apps.len() {
                    self.call_app(app.0 as usize, AppInput::Wake, now);
                }
            }
            Input::Timeout => self.on_timeout(now),
            Input::Control(control) => self.on_control(control, now),
        }
        self.settle(now);
    }

    /// Takes one output. Call until it returns `None` after each input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if let Output::Attend(id) = output
            && let Some(slot) = self.links.slot_of(id)
        {
            let interest = self.interest(id);
            if let Some(link) = self.links.at_mut(slot) {
                link.attended = false;
                link.told = interest;
            }
        }
        Some(output)
    }

    /// When to say [`Input::Timeout`] next, at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Wake> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.held.flatten()).min();
        let apps = self.apps.iter().filter_map(|slot| slot.app.as_ref()?.poll_timeout()).min();
        let draining = match self.phase {
            Phase::Draining { until, clients_until, nodes_until } => nodes_until.or(clients_until).or(Some(until)),
            Phase::Running | Phase::Finished => None,
        };
        let fan_outs = (!self.fan_outs.is_empty()).then_some(self.now);
        [
            (fan_outs, "messages to groups"),
            (self.link_timers.poll_timeout(), "connection"),
            (self.session_timers.poll_timeout(), "session"),
            (self.node_timers.poll_timeout(), "node health"),
            (self.dial_timers.poll_timeout(), "dial again"),
            (self.next_stats, "statistics"),
            (listeners, "accept again"),
            (apps, "app"),
            (draining, "drain deadline"),
        ]
        .into_iter()
        .filter_map(|(at, why)| Some(Wake { at: at?, why }))
        .min_by_key(|wake| wake.at)
    }

    /// What a link waits for. Cheap; ask after each [`Output::Attend`] of it.
    pub fn interest(&self, id: LinkId) -> Interest {
        let Some(link) = self.links.slot_of(id).and_then(|slot| self.links.at(slot)) else {
            return Interest::default();
        };
        let limits = &self.config.limits;
        let read = match link.stage {
            Stage::Open => {
                !link.eof
                    && !link.paused
                    && link.blocked == 0
                    && (link.inbox.len() < limits.pipeline_bytes || link.is_hungry(limits))
            }
            Stage::Draining { .. } => !link.eof,
            Stage::Dialing | Stage::Held { .. } | Stage::Flushing { .. } => false,
        };
        let write = match link.stage {
            Stage::Open | Stage::Flushing { .. } => link.has_unwritten(),
            Stage::Dialing | Stage::Held { .. } | Stage::Draining { .. } => false,
        };
        Interest { read, write }
    }

    /// Lends the bytes queued for a link, as many slices as fit; returns how many slices were filled in. Say
    /// [`Input::Sent`] with what was written. With TLS this is where bytes are encrypted: ask when they can be written.
    pub fn outbound<'a>(&'a mut self, id: LinkId, into: &mut [IoSlice<'a>], now: Instant) -> usize {
        if !self.interest(id).write {
            return 0;
        }
        let Some(slot) = self.links.slot_of(id) else { return 0 };
        self.encrypt(slot, now);
        match self.links.at_mut(slot).and_then(|link| link.wire()) {
            Some(rope) => rope.slices(into),
            None => 0,
        }
    }

    /// Hashes the next `n` bytes for a link without TLS, for tapes. `None` if it has fewer.
    pub(crate) fn digest(&mut self, id: LinkId, n: usize) -> Option<u64> {
        match self.links.slot_of(id).and_then(|slot| self.links.at_mut(slot)?.outbound()) {
            Some(rope) => (n <= rope.len()).then(|| crate::tape::digest(rope, n)),
            None => Some(0),
        }
    }

    /// Whether a peer may be showing a password on this link.
    pub(crate) fn shows_credentials(&self, id: LinkId) -> bool {
        let Some(link) = self.links.slot_of(id).and_then(|slot| self.links.at(slot)) else { return false };
        match &link.protocol {
            Protocol::Node(node) => !node.conn.is_up() && self.wants_password(node.origin),
            Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) | Protocol::Proxy(_) => false,
        }
    }

    /// The password that a user must show on this link.
    pub(crate) fn password_of(&self, id: LinkId, user: &[u8]) -> Option<&[u8]> {
        let link = self.links.slot_of(id).and_then(|slot| self.links.at(slot))?;
        let Protocol::Node(node) = &link.protocol else { return None };
        Some(self.password(node.origin, user)?.password.as_bytes())
    }

    /// What listeners of TLS show, if that was said ([`Control::Certificates`]).
    pub fn certificates(&self) -> Option<&Stores> {
        self.certificates.as_ref()
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The figures of this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            stats: self.stats.clone(),
            connections: self.clients,
            sessions: self.open_sessions(),
            nodes: self.nodes.connected(),
            groups: self.groups.len(),
            memory: self.memory + self.shared_bytes(),
        }
    }

    /// Sessions, without the requests that only move packets of some.
    fn open_sessions(&self) -> usize {
        self.sessions.len() - self.socketio.errands()
    }

    /// The configuration it runs.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    /// Bytes that wait for many clients at once.
    fn shared_bytes(&self) -> usize {
        self.shared.load(Ordering::Relaxed)
    }

    /// Whether the memory for queued bytes is used up.
    fn is_full_of_bytes(&self) -> bool {
        self.memory + self.shared_bytes() >= self.config.limits.memory_bytes
    }

    fn is_draining(&self) -> bool {
        self.phase != Phase::Running
    }

    fn serves_http(&self, listener: usize) -> bool {
        match self.config.listeners[listener].serves {
            Serves::Http { .. } => true,
            Serves::Zmq => false,
        }
    }
}

/// First pause before a dial is tried again; doubles up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(100);
const REDIAL_MAX: Duration = Duration::from_secs(30);
/// Pause after a listener ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
