//! Nodes: who is connected, who is alive, and the messages to them.
//!
//! ```text
//!  link: greeting, credentials ──▶ identity ──▶ known? ──▶ free? ──▶ connected: ping, spawn ──▶ pong: available
//!                                      │           no        no
//!                                      │           ▼         ▼
//!                                      │          held   challenge: the old link answers in time ──▶ held
//!                                      ▼                          it does not ──▶ the newcomer takes over
//!                                 wrong credentials: ERROR
//! ```
//!
//! A refusal that may heal is not answered: the link is held for a moment and closed, because a libzmq DEALER never
//! comes back after an ERROR.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Engine;
use super::carrier::Carrier;
use super::host::Hosts;
use super::link::{Origin, Stage};
use super::report::Report;
use super::session::Server;
use crate::config::{NodeName, Password, matches_pattern};
use crate::error::Cause;
use crate::message::{Capabilities, Kind, Sid};
use crate::time::{Duration, Instant};
use crate::zmtp;

/// A node that is connected, was connected, or is written out in the configuration.
pub(super) struct Node {
    pub identity: Vec<u8>,
    /// The identity, printable.
    pub name: String,
    /// Written out in the configuration: never forgotten.
    pub configured: bool,
    /// Its link, once the handshake is complete.
    pub link: Option<usize>,
    /// It answers: it gets requests.
    pub available: bool,
    /// When it last said something.
    pub heard: Instant,
    /// When it was last asked whether it is alive.
    pub pinged: Instant,
    /// How often it was asked since it last said something.
    pub unanswered: u32,
    pub capabilities: Capabilities,
    /// Sessions that it has.
    pub load: usize,
    /// Those of them that are WebSockets and open.
    pub open: usize,
    /// Virtual hosts that it serves, by its present link.
    pub hosts: Vec<usize>,
    /// It has been told to fill its caches.
    pub spawned: bool,
    /// It was reported for asking for something unknown, on its present link.
    pub misasked: bool,
    /// Messages of it that were dropped and reported one by one since the last statistics.
    pub reported: u32,
    /// A newcomer with the same identity that waits for this one's sign of life.
    pub challenger: Option<Challenger>,
    /// Clients whose input waits until this node takes more.
    pub paused: Vec<Carrier>,
}

#[derive(Clone, Copy)]
pub(super) struct Challenger {
    pub link: usize,
    pub since: Instant,
    pub until: Instant,
}

/// All nodes.
pub(super) struct Nodes {
    pub list: Vec<Node>,
    by_identity: BTreeMap<Vec<u8>, usize>,
}

impl Nodes {
    /// The nodes that are written out in the configuration.
    pub fn new(engine_hosts: &mut Hosts, config: &crate::config::Config, now: Instant) -> Self {
        let mut nodes = Self { list: Vec::new(), by_identity: BTreeMap::new() };
        for (index, host) in config.hosts.iter().enumerate() {
            for name in &host.nodes {
                let NodeName::Exact(name) = name else { continue };
                let node = nodes.intern(name.as_bytes(), true, now);
                let known = &mut engine_hosts.list[index].nodes;
                if !known.contains(&node) {
                    known.push(node);
                }
            }
        }
        nodes
    }

    pub fn find(&self, identity: &[u8]) -> Option<usize> {
        self.by_identity.get(identity).copied()
    }

    /// The place of a node of this identity, made if needed.
    pub fn intern(&mut self, identity: &[u8], configured: bool, now: Instant) -> usize {
        if let Some(node) = self.find(identity) {
            return node;
        }
        let node = Node {
            identity: identity.into(),
            name: String::from_utf8_lossy(identity).into_owned(),
            configured,
            link: None,
            available: false,
            heard: now,
            pinged: now,
            unanswered: 0,
            capabilities: Capabilities::default(),
            load: 0,
            open: 0,
            hosts: Vec::new(),
            spawned: false,
            misasked: false,
            reported: 0,
            challenger: None,
            paused: Vec::new(),
        };
        self.list.push(node);
        self.by_identity.insert(identity.into(), self.list.len() - 1);
        self.list.len() - 1
    }

    /// Gives the place of a node that a pattern admitted and that has gone to another identity, when there are too
    /// many to remember: the one unheard of for longest.
    pub fn make_room(&mut self, max: usize) -> Option<usize> {
        if self.list.len() < max {
            return None;
        }
        let gone = |node: &Node| !node.configured && node.link.is_none() && node.load == 0 && node.challenger.is_none();
        let (place, _) = self.list.iter().enumerate().filter(|(_, n)| gone(n)).min_by_key(|(_, n)| n.heard)?;
        Some(place)
    }

    /// Renames a place that [`make_room`](Self::make_room) found.
    pub fn reuse(&mut self, place: usize, identity: &[u8], now: Instant) {
        let node = &mut self.list[place];
        self.by_identity.remove(&node.identity);
        self.by_identity.insert(identity.into(), place);
        node.identity = identity.into();
        node.name = String::from_utf8_lossy(identity).into_owned();
        node.spawned = false;
        node.heard = now;
        node.capabilities = Capabilities::default();
    }

    pub fn connected(&self) -> usize {
        self.list.iter().filter(|node| node.link.is_some()).count()
    }
}

impl Engine {
    /// An event of a node's ZMTP link.
    pub(super) fn on_node_event(&mut self, slot: usize, event: zmtp::Event, now: Instant) {
        match event {
            zmtp::Event::Hello(shown) => self.on_credentials(slot, &shown.username, &shown.password, now),
            zmtp::Event::Peer { identity, .. } => self.on_identity(slot, identity, now),
            zmtp::Event::Message(message) => {
                let node = self.links.at_mut(slot).and_then(|link| link.node()).and_then(|link| link.node);
                if let Some(node) = node {
                    self.on_node_message(node, message, now);
                }
            }
        }
    }

    fn on_credentials(&mut self, slot: usize, username: &[u8], password: &[u8], now: Instant) {
        let Some(origin) = self.links.at_mut(slot).and_then(|link| link.node()).map(|link| link.origin) else { return };
        let known =
            self.password(origin, username).is_some_and(|known| same_secret(known.password.as_bytes(), password));
        let Some(link) = self.links.at_mut(slot) else { return };
        let peer = link.peer;
        let Some(node) = link.node() else { return };
        if known {
            node.user = Some(username.into());
            let welcomed = node.conn.welcome(now);
            debug_assert!(welcomed.is_ok(), "it has just said hello");
            return;
        }
        let refused = node.conn.refuse(Cause::CredentialsRefused, now);
        debug_assert!(refused.is_ok(), "it has just said hello");
        self.stats.count(Cause::CredentialsRefused);
        self.report(Report::NodeRefused { identity: username.into(), peer, cause: Cause::CredentialsRefused });
    }

    /// The password that a user must show on links from `origin`.
    pub(super) fn password(&self, origin: Origin, user: &[u8]) -> Option<&Password> {
        Password::of(self.config.passwords_of(self.own_hosts(origin)), user)
    }

    /// Whether nodes must show passwords on links from `origin`.
    pub(super) fn wants_password(&self, origin: Origin) -> bool {
        self.config.passwords_of(self.own_hosts(origin)).next().is_some()
    }

    fn own_hosts(&self, origin: Origin) -> &[usize] {
        match origin {
            Origin::Listener(listener) => &self.config.listeners[listener].hosts,
            Origin::Dial(dial) => &self.config.dials[dial].hosts,
        }
    }

    /// The hosts that a node of this identity may serve when it comes from `origin`.
    fn hosts_for(&self, origin: Origin, identity: &[u8]) -> Vec<usize> {
        let carried = match origin {
            Origin::Listener(listener) => self.config.reached_by(&self.config.listeners[listener]),
            Origin::Dial(dial) => self.config.carried_by(&self.config.dials[dial]),
        };
        Hosts::served_by(&self.config, identity, carried)
    }

    fn on_identity(&mut self, slot: usize, identity: Bytes, now: Instant) {
        let Some(link) = self.links.at_mut(slot).and_then(|link| link.node()) else { return };
        let origin = link.origin;
        if let Some(user) = &link.user
            && !matches_pattern(user, &identity)
        {
            return self.refuse_node(slot, &identity, Cause::IdentityUnknown, now);
        }
        let hosts = self.hosts_for(origin, &identity);
        if hosts.is_empty() {
            return self.refuse_node(slot, &identity, Cause::IdentityUnknown, now);
        }
        let node = match self.nodes.find(&identity) {
            Some(node) => node,
            None => match self.nodes.make_room(self.config.limits.node_links) {
                Some(place) => {
                    self.nodes.reuse(place, &identity, now);
                    self.hosts.list.iter_mut().for_each(|host| host.nodes.retain(|node| *node != place));
                    place
                }
                None if self.nodes.list.len() >= self.config.limits.node_links => {
                    return self.refuse_node(slot, &identity, Cause::NodesMax, now);
                }
                None => self.nodes.intern(&identity, false, now),
            },
        };
        match self.nodes.list[node].link {
            None => self.connect_node(node, slot, hosts, now),
            Some(old) => self.challenge(node, old, slot, &identity, now),
        }
    }

    /// Asks the old link of a node whether it is alive, while the newcomer waits.
    fn challenge(&mut self, node: usize, old: usize, newcomer: usize, identity: &[u8], now: Instant) {
        if self.nodes.list[node].challenger.is_some() {
            return self.refuse_node(newcomer, identity, Cause::IdentityDuplicate, now);
        }
        // Past the end of its handshake there would be nobody to take over.
        let until = now + self.config.ping_freq.min(self.config.limits.handshake_timeout / 2);
        self.nodes.list[node].challenger = Some(Challenger { link: newcomer, since: now, until });
        if let Some(link) = self.links.at_mut(newcomer).and_then(|link| link.node()) {
            link.node = None;
        }
        if let Some(link) = self.links.at_mut(old).and_then(|link| link.node()) {
            link.conn.ping();
        }
        self.ping(node, now);
        self.arm_node(node);
    }

    /// The old link of a node has been heard: a newcomer that waits for its silence is refused.
    pub(super) fn defend(&mut self, node: usize, now: Instant) {
        let Some(challenger) = self.nodes.list[node].challenger.take() else { return };
        let identity = self.nodes.list[node].identity.clone();
        self.refuse_node(challenger.link, &identity, Cause::IdentityDuplicate, now);
    }

    /// Keeps a link that may not come in waiting, unanswered, and closes it later.
    pub(super) fn refuse_node(&mut self, slot: usize, identity: &[u8], cause: Cause, now: Instant) {
        let wait = Duration::from_millis(1000 + self.entropy.below(4000));
        let Some(link) = self.links.at_mut(slot) else { return };
        link.stage = Stage::Held { until: now + wait };
        link.cause = cause;
        let peer = link.peer;
        self.stats.count(cause);
        self.report(Report::NodeRefused { identity: identity.into(), peer, cause });
        self.touch(slot);
    }

    fn connect_node(&mut self, node: usize, slot: usize, hosts: Vec<usize>, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let peer = link.peer;
        let Some(node_link) = link.node() else { return };
        node_link.node = Some(node);
        let accepted = node_link.conn.accept(now);
        debug_assert!(accepted.is_ok(), "it has said who it is, and waits");
        let origin = node_link.origin;
        if let Origin::Dial(dial) = origin {
            self.dials[dial].attempts = 0;
        }
        for host in &hosts {
            let known = &mut self.hosts.list[*host].nodes;
            if !known.contains(&node) {
                known.push(node);
            }
        }
        let entry = &mut self.nodes.list[node];
        entry.link = Some(slot);
        entry.available = false;
        entry.misasked = false;
        (entry.heard, entry.unanswered) = (now, 0);
        entry.hosts = hosts;
        entry.capabilities = Capabilities::default();
        let name = entry.name.clone();
        let spawned = core::mem::replace(&mut entry.spawned, true);
        self.report(Report::NodeConnected { node: name, peer });
        self.ping(node, now);
        if !spawned {
            self.tell(node, None, Kind::Spawn, b"");
        }
        self.arm_node(node);
    }

    /// A `pong` came.
    pub(super) fn on_pong(&mut self, node: usize, body: &[u8], now: Instant) {
        match Capabilities::parse(body) {
            Ok(Some(capabilities)) => self.nodes.list[node].capabilities = capabilities,
            Ok(None) => {}
            // Old nodes may put anything there, and say it at every ping.
            Err(_) if core::mem::replace(&mut self.nodes.list[node].misasked, true) => {
                self.stats.count(Cause::CapabilityUnknown);
            }
            Err(_) => self.drop_message(node, Cause::CapabilityUnknown, body),
        }
        self.on_alive(node, now);
        // A larger capacity may let somebody in who waits.
        self.pump_hosts_of(node);
    }

    /// The node said something that was understood.
    pub(super) fn on_alive(&mut self, node: usize, now: Instant) {
        self.defend(node, now);
        let entry = &mut self.nodes.list[node];
        (entry.heard, entry.unanswered) = (now, 0);
        if !entry.available && entry.link.is_some() {
            entry.available = true;
            let name = entry.name.clone();
            self.report(Report::NodeAvailable { node: name });
            self.pump_hosts_of(node);
        }
    }

    pub(super) fn pump_hosts_of(&mut self, node: usize) {
        for host in &self.nodes.list[node].hosts {
            if self.hosts.list[*host].has_waiting() && !self.pumped.contains(host) {
                self.pumped.push(*host);
            }
        }
    }

    fn ping(&mut self, node: usize, now: Instant) {
        let entry = &mut self.nodes.list[node];
        entry.pinged = now;
        entry.unanswered += 1;
        self.tell(node, None, Kind::Ping, b"");
    }

    /// Sends a message whose body is copied.
    pub(super) fn tell(&mut self, node: usize, sid: Option<Sid>, kind: Kind, body: &[u8]) {
        let Some(slot) = self.nodes.list[node].link else { return };
        let Some(link) = self.links.at_mut(slot).and_then(|link| link.node()) else { return };
        let sid = sid.as_ref().map_or(&[][..], |sid| &sid.0);
        if link.conn.send(&[sid, kind.name().as_bytes(), body]).is_ok() {
            self.stats.messages_out += 1;
        }
        self.touch(slot);
    }

    /// Sends a message whose body is shared if it is large.
    pub(super) fn tell_bytes(&mut self, node: usize, sid: Sid, kind: Kind, body: Bytes) {
        let Some(slot) = self.nodes.list[node].link else { return };
        let Some(link) = self.links.at_mut(slot).and_then(|link| link.node()) else { return };
        if link.conn.send_with_body(&[&sid.0, kind.name().as_bytes()], body).is_ok() {
            self.stats.messages_out += 1;
        }
        self.touch(slot);
    }

    /// Counts and reports a message that was not obeyed. A node gone mad must not fill the log: past a number of
    /// reports its messages are counted only, until the next statistics.
    pub(super) fn drop_message(&mut self, node: usize, cause: Cause, detail: &[u8]) {
        self.stats.count(cause);
        let entry = &mut self.nodes.list[node];
        if entry.reported >= REPORTS_MAX {
            return;
        }
        entry.reported += 1;
        let node = entry.name.clone();
        let detail = detail[..detail.len().min(64)].into();
        self.report(Report::MessageDropped { node, cause, detail });
    }

    /// Tells a node that asked for it what was wrong with a message, as long as it reads what it is told.
    pub(super) fn complain(&mut self, node: usize, sid: &[u8], kind: &[u8], reason: Cause) {
        let reads = self.node_queue(node) <= self.config.limits.node_queue_high;
        if !self.nodes.list[node].capabilities.errors || !reads {
            return;
        }
        let mut body = kind[..kind.len().min(64)].to_vec();
        body.extend_from_slice(b": ");
        body.extend_from_slice(reason.name().as_bytes());
        self.tell(node, Sid::from_frame(sid), Kind::Error, &body);
    }

    /// Bytes queued for a node.
    pub(super) fn node_queue(&self, node: usize) -> usize {
        self.nodes.list[node].link.and_then(|slot| self.links.at(slot)).map_or(0, |link| link.queued())
    }

    /// Sets a node's next look: a ping, or the end of a challenge.
    pub(super) fn arm_node(&mut self, node: usize) {
        let entry = &self.nodes.list[node];
        let ping = entry.link.map(|_| entry.heard.max(entry.pinged) + self.config.ping_freq);
        let challenge = entry.challenger.map(|challenger| challenger.until);
        self.node_timers.set(node, crate::time::earliest(ping, challenge));
    }

    /// A node's deadline has come.
    pub(super) fn on_node_deadline(&mut self, node: usize, now: Instant) {
        if let Some(challenger) = self.nodes.list[node].challenger
            && challenger.until <= now
        {
            self.nodes.list[node].challenger = None;
            let heard = self.nodes.list[node].link.is_some_and(|old| {
                self.links.at_mut(old).and_then(|l| l.node()).is_some_and(|l| l.conn.last_heard() > challenger.since)
            });
            let identity = self.nodes.list[node].identity.clone();
            if heard {
                self.refuse_node(challenger.link, &identity, Cause::IdentityDuplicate, now);
            } else {
                self.take_over(node, challenger.link, &identity, now);
            }
        }
        let entry = &mut self.nodes.list[node];
        if entry.link.is_some() && now.since(entry.heard.max(entry.pinged)) >= self.config.ping_freq {
            // After two pings this is three times `ping-freq`. Silence alone does not count: when the whole server
            // stood still, nobody was asked.
            if entry.unanswered >= 2 && entry.available {
                entry.available = false;
                let name = entry.name.clone();
                self.report(Report::NodeSilent { node: name });
            }
            self.ping(node, now);
        }
        self.arm_node(node);
    }

    fn take_over(&mut self, node: usize, newcomer: usize, identity: &[u8], now: Instant) {
        let Some(link) = self.links.at_mut(newcomer).and_then(|link| link.node()) else { return };
        if !link.conn.is_held() {
            return; // Its time to shake hands is over as well.
        }
        let origin = link.origin;
        if let Some(old) = self.nodes.list[node].link {
            self.close_link(old, Cause::IdentityTakenOver, super::contract::Shut::Close, now);
        }
        let hosts = self.hosts_for(origin, identity);
        self.connect_node(node, newcomer, hosts, now);
    }

    /// The link of a node is gone: its requests go to others, or fail.
    pub(super) fn on_node_lost(&mut self, node: usize, cause: Cause, now: Instant) {
        let entry = &mut self.nodes.list[node];
        entry.link = None;
        entry.available = false;
        let sessions = entry.load;
        let name = entry.name.clone();
        self.resume_clients_of(node, now);
        self.report(Report::NodeLost { node: name, cause, sessions });
        let orphans: Vec<usize> =
            self.sessions.iter().filter(|(_, s)| s.server == Some(Server::Node(node))).map(|(slot, _)| slot).collect();
        for session in orphans {
            self.orphan(session, now);
        }
        // Who waits for room at this node must learn that nobody is left.
        for host in 0..self.hosts.list.len() {
            if self.hosts.list[host].has_waiting() && !self.pumped.contains(&host) {
                self.pumped.push(host);
            }
        }
        if let Some(challenger) = self.nodes.list[node].challenger.take() {
            let identity = self.nodes.list[node].identity.clone();
            self.take_over(node, challenger.link, &identity, now);
        }
        self.arm_node(node);
    }
}

/// Dropped messages of one node that are reported one by one between two statistics.
const REPORTS_MAX: u32 = 100;

/// Compares two secrets in time that depends on their lengths only.
fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
