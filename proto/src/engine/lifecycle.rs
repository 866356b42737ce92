//! How links begin and end, what every input has in common, and how the server stops.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;
use std::io;

use super::link::{HttpLink, Link, NodeLink, Origin, Protocol, ProxyLink, Stage, Then};
use super::report::Report;
use super::{ACCEPT_PAUSE, Engine, Phase, REDIAL_MAX, REDIAL_MIN};
use crate::address::{Address, BindAddr, PeerAddr};
use crate::config::Serves;
use crate::engine::app::AppInput;
use crate::engine::contract::{Control, LinkId, ListenerId, Output, Shut};
use crate::error::Cause;
use crate::http1;
use crate::proxy;
use crate::time::{Duration, Instant, earliest};
use crate::zmtp;

impl Engine {
    pub(super) fn admit(&mut self, on: ListenerId, peer: PeerAddr, now: Instant) -> Option<LinkId> {
        let listener = on.0 as usize;
        let serves = self.config.listeners.get(listener)?.serves;
        if self.is_draining() {
            self.stats.count(Cause::Stopping);
            return None;
        }
        let protocol = match serves {
            Serves::Http { proxy } => {
                if self.clients >= self.config.limits.connections {
                    self.stats.count(Cause::ConnectionsMax);
                    return None;
                }
                self.clients += 1;
                self.stats.accepted += 1;
                if proxy {
                    let until = now + self.config.limits.head_timeout;
                    Protocol::Proxy(Box::new(ProxyLink { header: proxy::Header::new(), listener, until }))
                } else {
                    self.http_protocol(listener, peer, now)
                }
            }
            Serves::Zmq => {
                if self.links.len() - self.clients >= self.config.limits.node_links {
                    self.stats.count(Cause::NodesMax);
                    return None;
                }
                self.node_protocol(Origin::Listener(listener), now)
            }
        };
        let id = self.links.insert(Link::new(peer, Stage::Open, protocol));
        self.touch(id.slot());
        if self.clients >= self.config.limits.connections {
            self.hold_clients();
        }
        Some(id)
    }

    fn http_protocol(&self, listener: usize, client: PeerAddr, now: Instant) -> Protocol {
        let conn = http1::Connection::server(Arc::clone(&self.http), now);
        Protocol::Http(Box::new(HttpLink { conn, listener, client, session: None, node: None }))
    }

    fn node_protocol(&self, origin: Origin, now: Instant) -> Protocol {
        let plain = usize::from(self.wants_password(origin));
        let conn = zmtp::Connection::new(Arc::clone(&self.zmtp[plain]), now);
        Protocol::Node(Box::new(NodeLink { conn, origin, user: None, node: None }))
    }

    /// Stops accepting clients: at the cap they wait in the system's queue.
    fn hold_clients(&mut self) {
        for listener in 0..self.listeners.len() {
            if self.serves_http(listener) && self.listeners[listener].held.is_none() {
                self.listeners[listener].held = Some(None);
                self.outputs.push_back(Output::Hold(ListenerId(listener as u32), true));
            }
        }
    }

    /// Accepts clients again, but for listeners that wait for descriptors.
    fn release_clients(&mut self) {
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].held == Some(None) {
                self.listeners[listener].held = None;
                self.outputs.push_back(Output::Hold(ListenerId(listener as u32), false));
            }
        }
    }

    // ---- outgoing links ----

    pub(super) fn dial(&mut self, dial: usize, now: Instant) {
        let address = self.config.dials[dial].address.clone();
        let protocol = self.node_protocol(Origin::Dial(dial), now);
        let id = self.links.insert(Link::new(PeerAddr::Unix, Stage::Dialing, protocol));
        self.dials[dial].link = Some(id.slot());
        self.outputs.push_back(Output::Dial(id, address));
    }

    pub(super) fn on_dialed(&mut self, slot: usize, result: Result<(), io::ErrorKind>, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        if link.stage != Stage::Dialing {
            return;
        }
        let Some(Origin::Dial(dial)) = link.node().map(|node| node.origin) else { return };
        match result {
            Ok(()) => {
                let peer = match &self.config.dials[dial].address {
                    Address::Tcp { host, port } => {
                        host.parse::<IpAddr>().map_or(PeerAddr::Unix, |ip| PeerAddr::Ip((ip, *port).into()))
                    }
                    Address::Unix(_) => PeerAddr::Unix,
                };
                // The handshake begins now: its deadline counts from here.
                let protocol = self.node_protocol(Origin::Dial(dial), now);
                if let Some(link) = self.links.at_mut(slot) {
                    link.peer = peer;
                    link.stage = Stage::Open;
                    link.protocol = protocol;
                }
                self.touch(slot);
            }
            Err(why) => {
                self.stats.count(Cause::DialFailed);
                let retry_in = self.forget_dial(dial, now);
                let endpoint = self.config.dials[dial].endpoint();
                self.report(Report::DialFailed { endpoint, why: why.to_string(), retry_in });
                self.remove_link(slot);
            }
        }
    }

    /// A dialled link is gone: sets the time of the next attempt.
    fn forget_dial(&mut self, dial: usize, now: Instant) -> Duration {
        let state = &mut self.dials[dial];
        state.link = None;
        let pause = (REDIAL_MIN * 2_u32.saturating_pow(state.attempts.min(16))).min(REDIAL_MAX);
        state.attempts += 1;
        let jitter = Duration::from_millis(self.entropy.below(pause.as_millis() as u64 / 2 + 1));
        let pause = pause + jitter;
        if !self.is_draining() {
            self.dial_timers.set(dial, Some(now + pause));
        }
        pause
    }

    // ---- input ----

    pub(super) fn on_received(&mut self, slot: usize, bytes: &[u8], now: Instant) {
        self.stats.bytes_in += bytes.len() as u64;
        self.take_in(slot, bytes, now);
        // Last, so that what these bytes brought about for others is written first.
        self.touch(slot);
    }

    fn take_in(&mut self, slot: usize, bytes: &[u8], now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        match &mut link.stage {
            Stage::Open => {}
            Stage::Draining { left, .. } => {
                *left = left.saturating_sub(bytes.len());
                if *left == 0 {
                    self.remove_and_shut(slot, Shut::Close);
                }
                return;
            }
            Stage::Dialing | Stage::Held { .. } | Stage::Flushing { .. } => return,
        }
        if link.inbox.is_empty() {
            let used = self.offer(slot, bytes, now);
            if let Some(link) = self.links.at_mut(slot)
                && used < bytes.len()
                && link.stage == Stage::Open
            {
                link.inbox.extend(&bytes[used..]);
            }
        } else {
            link.inbox.extend(bytes);
            self.offer_inbox(slot, now);
        }
    }

    /// Offers unread bytes to the link's machine again.
    fn offer_inbox(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let mut inbox = core::mem::take(&mut link.inbox);
        let used = self.offer(slot, inbox.unread(), now);
        if let Some(link) = self.links.at_mut(slot)
            && link.stage == Stage::Open
        {
            inbox.advance(used);
            link.inbox = inbox;
        }
    }

    /// Feeds a machine and acts on its events until it takes no more; returns how many bytes it took.
    fn offer(&mut self, slot: usize, bytes: &[u8], now: Instant) -> usize {
        let id = self.links.id_of(slot);
        let mut used = 0;
        loop {
            let Some(link) = self.links.at_mut(slot) else { return used };
            if link.stage != Stage::Open {
                return used;
            }
            let rest = &bytes[used..];
            let (took, event) = match &mut link.protocol {
                Protocol::Proxy(waiting) => {
                    let took = waiting.header.receive(rest, now);
                    let refused = waiting.header.violation().map(|violation| Event::Unproxied(violation.what));
                    (took, waiting.header.poll_event().map(Event::Proxied).or(refused))
                }
                // Answers that nobody reads must not pile up.
                Protocol::Http(http) if http.conn.queued() > self.config.limits.write_queue_high => return used,
                Protocol::Http(http) => {
                    let took = http.conn.receive(rest, now);
                    (took, http.conn.poll_event().map(Event::Client))
                }
                Protocol::Node(node) => {
                    let took = node.conn.receive(rest, now);
                    (took, node.conn.poll_event().map(Event::Node))
                }
            };
            used += took;
            match event {
                Some(Event::Client(event)) => self.on_client_event(slot, event, now),
                Some(Event::Node(event)) => self.on_node_event(slot, event, now),
                Some(Event::Proxied(event)) => self.on_proxied(slot, event, now),
                Some(Event::Unproxied(cause)) => self.on_unproxied(slot, cause, now),
                None if took == 0 || used == bytes.len() => return used,
                None => {}
            }
            if self.links.slot_of(id).is_none() {
                return used;
            }
        }
    }

    /// The PROXY protocol header is in: the connection begins, for the client that it names.
    fn on_proxied(&mut self, slot: usize, event: proxy::Event, now: Instant) {
        let proxy::Event::Done { source, .. } = event;
        let Some(link) = self.links.at(slot) else { return };
        let (peer, listener) = match &link.protocol {
            Protocol::Proxy(waiting) => (link.peer, waiting.listener),
            Protocol::Http(_) | Protocol::Node(_) => return,
        };
        let protocol = self.http_protocol(listener, source.map_or(peer, PeerAddr::Ip), now);
        if let Some(link) = self.links.at_mut(slot) {
            link.protocol = protocol;
        }
    }

    fn on_unproxied(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
        self.report(Report::ClientRefused { peer, cause });
        self.close_link(slot, cause, Shut::Close, now);
    }

    pub(super) fn on_sent(&mut self, slot: usize, n: usize, now: Instant) {
        self.stats.bytes_out += n as u64;
        let stall = now + self.config.limits.write_stall;
        let Some(link) = self.links.at_mut(slot) else { return };
        let Some(rope) = link.outbound() else { return };
        rope.advance(n);
        let queued = rope.len();
        link.stall = (queued > 0).then_some(stall);
        match &link.protocol {
            Protocol::Http(http) => {
                if let Some(session) = http.session {
                    self.on_client_room(session, now);
                }
            }
            Protocol::Node(node) => {
                if let Some(node) = node.node
                    && queued <= self.config.limits.node_queue_high / 2
                    && !self.nodes.list[node].paused.is_empty()
                {
                    for client in core::mem::take(&mut self.nodes.list[node].paused) {
                        self.resume(client, now);
                    }
                }
            }
            Protocol::Proxy(_) => {}
        }
        self.touch(slot);
    }

    pub(super) fn on_eof(&mut self, slot: usize, now: Instant) {
        let half_close = self.config.half_close;
        let Some(link) = self.links.at_mut(slot) else { return };
        link.eof = true;
        let stage = link.stage;
        match (&mut link.protocol, stage) {
            (_, Stage::Draining { .. }) => self.remove_and_shut(slot, Shut::Close),
            // The farewell is still going out; there is nothing to drain after it.
            (_, Stage::Flushing { .. }) => {
                if link.stage == (Stage::Flushing { then: Then::Drain }) {
                    link.stage = Stage::Flushing { then: Then::Close };
                }
                self.touch(slot);
            }
            // What it asked before is served; its machine learns of the end when it has taken everything.
            (Protocol::Http(_), _) if half_close => self.touch(slot),
            (Protocol::Http(http), _) => {
                if http.session.is_some() && http.conn.request_complete() {
                    return self.close_link(slot, Cause::ClientGone, Shut::Close, now);
                }
                http.conn.receive_eof(now);
                if let Some(session) = http.session {
                    self.finish(session, Cause::MessageCut, now);
                }
                self.touch(slot);
            }
            (Protocol::Node(_), _) => self.close_link(slot, Cause::LinkClosed, Shut::Close, now),
            (Protocol::Proxy(_), _) => self.close_link(slot, Cause::ClientGone, Shut::Close, now),
        }
    }

    // ---- settling ----

    /// Puts a link on the list of those to settle.
    pub(super) fn touch(&mut self, slot: usize) {
        if let Some(link) = self.links.at_mut(slot)
            && !link.touched
        {
            link.touched = true;
            self.touched.push(slot);
        }
    }

    /// Brings everything that an input changed to rest: replies of apps, queues of hosts, then each touched link.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            self.settle_links(now);
            for dial in core::mem::take(&mut self.redial) {
                self.forget_dial(dial, now);
            }
            if self.is_draining() {
                self.advance_drain(now);
            }
            // What a drain cuts has consequences of its own: nodes hear of it, apps reply.
            let rests = self.touched.is_empty() && self.pumped.is_empty() && self.redial.is_empty();
            if rests && self.replies.list.is_empty() {
                return;
            }
        }
    }

    fn settle_links(&mut self, now: Instant) {
        let mut next = 0;
        loop {
            self.obey_replies(now);
            if let Some(host) = self.pumped.pop() {
                self.pump(host, now);
            } else if let Some(&slot) = self.touched.get(next) {
                next += 1;
                self.settle_link(slot, now);
            } else {
                break;
            }
        }
        self.touched.clear();
    }

    fn settle_link(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        link.touched = false;
        // Lets the machine queue what it owes.
        link.outbound();
        if link.stage == Stage::Open {
            let ready = match &link.protocol {
                Protocol::Http(http) => !link.paused && http.conn.room() > 0,
                Protocol::Node(_) | Protocol::Proxy(_) => true,
            };
            if ready && !link.inbox.is_empty() {
                self.offer_inbox(slot, now);
            }
            self.conclude_eof(slot, now);
            self.notice_close(slot, now);
        }
        let Some(link) = self.links.at_mut(slot) else { return };
        if let Stage::Flushing { then } = link.stage
            && link.queued() == 0
        {
            match then {
                Then::Abort => return self.remove_and_shut(slot, Shut::Abort),
                Then::Close => return self.remove_and_shut(slot, Shut::Close),
                Then::Drain if link.eof => return self.remove_and_shut(slot, Shut::Close),
                Then::Drain => {}
            }
            let limits = &self.config.limits;
            link.stage = Stage::Draining { until: now + limits.drain_timeout, left: limits.drain_bytes };
            let id = self.links.id_of(slot);
            self.outputs.push_back(Output::Shut(id, Shut::Write));
        }
        self.book(slot, now);
    }

    /// Tells a client's machine that nothing follows what it was given.
    fn conclude_eof(&mut self, slot: usize, now: Instant) {
        let write_queue_high = self.config.limits.write_queue_high;
        let Some(link) = self.links.at_mut(slot).filter(|link| link.eof && link.stage == Stage::Open) else { return };
        if link.paused {
            return;
        }
        let is_empty = link.inbox.is_empty();
        let Some(http) = link.http() else { return };
        if http.conn.room() == 0 {
            if is_empty {
                http.conn.close_after_response(now);
            }
        } else if is_empty || http.conn.queued() <= write_queue_high {
            // A head that is cut off stays unread for ever, one that was held back does not.
            http.conn.receive_eof(now);
        }
    }

    /// Starts the end of a link whose machine has ended.
    fn notice_close(&mut self, slot: usize, now: Instant) {
        let Some(link) = self.links.at_mut(slot) else { return };
        let (cause, violated) = match &link.protocol {
            Protocol::Http(http) => (http.conn.is_closing(), http.conn.violation().is_some()),
            Protocol::Node(node) => (node.conn.is_closing(), false),
            Protocol::Proxy(_) => (None, false),
        };
        let Some(cause) = cause else { return };
        // There is no farewell after the handshake, and requests that have not left will go to other nodes.
        if let Protocol::Node(node) = &mut link.protocol
            && node.node.is_some()
        {
            node.conn.outbound().clear();
        }
        // Where the client may still be sending, a plain close would answer with a reset and eat the farewell, or the end
        // of an answer that has left for the system already.
        let is_queued = link.queued() > 0;
        let unread = match &link.protocol {
            Protocol::Http(http) if http.conn.request_complete() && http.conn.response_begun() => {
                http.conn.peer_may_send() || (is_queued && !link.inbox.is_empty())
            }
            Protocol::Http(http) => is_queued && (violated || !link.inbox.is_empty() || !http.conn.request_complete()),
            Protocol::Node(_) => is_queued,
            Protocol::Proxy(_) => false,
        };
        let then = match &link.protocol {
            Protocol::Http(http) if http.conn.is_cut() => Then::Abort,
            Protocol::Http(_) | Protocol::Node(_) | Protocol::Proxy(_) if unread => Then::Drain,
            Protocol::Http(_) | Protocol::Node(_) | Protocol::Proxy(_) => Then::Close,
        };
        link.inbox = Default::default();
        link.cause = cause;
        link.stage = Stage::Flushing { then };
        let (peer, is_client) = (link.peer, link.is_client());
        let (session, node) = match &mut link.protocol {
            Protocol::Http(http) => (http.session, None),
            Protocol::Node(node) => (None, node.node.take()),
            Protocol::Proxy(_) => (None, None),
        };
        if let Some(session) = session {
            // Its own violation ends it, or the machine's end of it.
            self.finish(session, cause, now);
        } else if is_client && cause != Cause::Complete {
            self.stats.count(cause);
        }
        if violated {
            self.report(Report::ClientRefused { peer, cause });
        }
        if let Some(node) = node {
            self.on_node_lost(node, cause, now);
            self.stats.count(cause);
        } else if !self.links.at(slot).is_none_or(Link::is_client) {
            self.forget_challenger(slot);
            self.refused_link(slot, cause);
        }
    }

    /// A link that never became a node's has ended by its own fault.
    fn refused_link(&mut self, slot: usize, cause: Cause) {
        let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
        if cause == Cause::CredentialsRefused {
            return; // Counted and reported with the name it gave.
        }
        self.stats.count(cause);
        self.report(Report::NodeRefused { identity: Default::default(), peer, cause });
    }

    fn forget_challenger(&mut self, slot: usize) {
        for node in &mut self.nodes.list {
            if node.challenger.is_some_and(|challenger| challenger.link == slot) {
                node.challenger = None;
            }
        }
    }

    /// Brings the ledger, the deadline and the driver's knowledge of a link up to date.
    fn book(&mut self, slot: usize, now: Instant) {
        let id = self.links.id_of(slot);
        let interest = self.interest(id);
        let write_stall = self.config.limits.write_stall;
        let Some(link) = self.links.at_mut(slot) else { return };
        let queued = link.queued();
        let holds = queued + link.inbox.len();
        self.memory = self.memory + holds - link.charged;
        link.charged = holds;
        if queued == 0 {
            link.stall = None;
        } else if link.stall.is_none() {
            link.stall = Some(now + write_stall);
        }
        let machine = match &link.protocol {
            Protocol::Http(http) => http.conn.poll_timeout(),
            Protocol::Node(node) => node.conn.poll_timeout(),
            Protocol::Proxy(waiting) => Some(waiting.until),
        };
        let deadline = match link.stage {
            Stage::Dialing => None,
            Stage::Open => earliest(machine, link.stall),
            Stage::Held { until } | Stage::Draining { until, .. } => Some(until),
            Stage::Flushing { .. } => link.stall,
        };
        let news = interest.write || interest.read != link.told.read;
        if news && !link.attended {
            link.attended = true;
            self.outputs.push_back(Output::Attend(id));
        }
        self.link_timers.set(slot, deadline);
    }

    // ---- the ends of links ----

    /// Ends a link at once, and what hangs on it.
    pub(super) fn close_link(&mut self, slot: usize, cause: Cause, how: Shut, now: Instant) {
        let Some(id) = self.links.at(slot).map(|_| self.links.id_of(slot)) else { return };
        self.on_link_gone(slot, cause, now);
        self.outputs.push_back(Output::Shut(id, how));
    }

    /// A link is gone, or about to be: its sessions end, its node is lost.
    pub(super) fn on_link_gone(&mut self, slot: usize, cause: Cause, now: Instant) {
        let Some(link) = self.remove_link(slot) else { return };
        match link.protocol {
            Protocol::Http(http) => {
                let cause = if cause == Cause::ConnectionFailed { Cause::ClientGone } else { cause };
                // Answers that are complete may still be queued, or a head be on its way. What befalls a farewell was
                // counted when it began, but for a client that does not take it.
                let unsettled = link.stage == Stage::Open && (!http.conn.is_idle() || http.conn.queued() > 0);
                match http.session {
                    Some(session) => self.finish(session, cause, now),
                    None if cause == Cause::WriteStall => {
                        self.stats.count(cause);
                        self.report(Report::ClientRefused { peer: link.peer, cause });
                    }
                    None if unsettled => self.stats.count(cause),
                    None => {}
                }
            }
            Protocol::Node(node) => {
                if let Origin::Dial(dial) = node.origin {
                    self.forget_dial(dial, now);
                }
                self.forget_challenger(slot);
                if let Some(node) = node.node {
                    self.stats.count(cause);
                    self.on_node_lost(node, cause, now);
                }
            }
            Protocol::Proxy(_) => self.stats.count(cause),
        }
    }

    /// Takes a link whose farewell is out off the table.
    fn remove_and_shut(&mut self, slot: usize, how: Shut) {
        let id = self.links.id_of(slot);
        if let Some(link) = self.remove_link(slot) {
            self.outputs.push_back(Output::Shut(id, how));
            if let Protocol::Node(node) = link.protocol
                && let Origin::Dial(dial) = node.origin
            {
                self.redial.push(dial);
            }
        }
    }

    fn remove_link(&mut self, slot: usize) -> Option<Box<Link>> {
        let link = self.links.remove(slot)?;
        self.link_timers.set(slot, None);
        self.memory -= link.charged;
        if link.is_client() {
            self.clients -= 1;
            // Some room, so that the listeners do not flap with every connection.
            if self.clients + self.config.limits.connections / 64 < self.config.limits.connections {
                self.release_clients();
            }
        }
        Some(link)
    }

    // ---- time ----

    pub(super) fn on_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.link_timers.pop_due(now) {
            self.on_link_deadline(slot, now);
        }
        while let Some(slot) = self.session_timers.pop_due(now) {
            self.on_session_deadline(slot, now);
        }
        while let Some(node) = self.node_timers.pop_due(now) {
            self.on_node_deadline(node, now);
        }
        while let Some(dial) = self.dial_timers.pop_due(now) {
            self.dial(dial, now);
        }
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].held.flatten().is_some_and(|until| until <= now) {
                if self.serves_http(listener) && self.clients >= self.config.limits.connections {
                    self.listeners[listener].held = Some(None);
                    continue;
                }
                self.listeners[listener].held = None;
                self.outputs.push_back(Output::Hold(ListenerId(listener as u32), false));
            }
        }
        if self.next_stats.is_some_and(|at| at <= now) {
            self.next_stats = Some(now + self.config.stats_freq);
            self.report_stats();
        }
        for app in 0..self.apps.len() {
            let due = self.apps[app].app.as_ref().and_then(|called| called.poll_timeout()).is_some_and(|at| at <= now);
            if due {
                self.call_app(app, AppInput::Timeout, now);
            }
        }
    }

    fn on_link_deadline(&mut self, slot: usize, now: Instant) {
        self.touch(slot);
        let Some(link) = self.links.at_mut(slot) else { return };
        if link.stall.is_some_and(|at| at <= now) {
            let cause = if link.is_client() { Cause::WriteStall } else { Cause::NodeStalled };
            return self.close_link(slot, cause, Shut::Abort, now);
        }
        match link.stage {
            Stage::Held { until } | Stage::Draining { until, .. } if until <= now => {
                self.remove_and_shut(slot, Shut::Close);
            }
            Stage::Open => match &mut link.protocol {
                Protocol::Http(http) => http.conn.handle_timeout(now),
                Protocol::Node(node) => node.conn.handle_timeout(now),
                Protocol::Proxy(waiting) if waiting.until <= now => {
                    self.close_link(slot, Cause::HeadTimeout, Shut::Close, now);
                }
                Protocol::Proxy(_) => {}
            },
            Stage::Dialing | Stage::Held { .. } | Stage::Flushing { .. } | Stage::Draining { .. } => {}
        }
    }

    // ---- listeners ----

    pub(super) fn on_listening(&mut self, id: ListenerId, result: Result<BindAddr, io::ErrorKind>, _now: Instant) {
        let listener = id.0 as usize;
        let Some(config) = self.config.listeners.get(listener) else { return };
        let serves = match config.serves {
            Serves::Http { .. } => "http",
            Serves::Zmq => "zmq",
        };
        match result {
            Ok(address) => {
                if let BindAddr::Tcp(address) = &address {
                    self.listeners[listener].port = address.port();
                }
                self.listeners[listener].open = true;
                self.report(Report::Listening { serves, address });
            }
            Err(why) => {
                self.stats.count(Cause::ListenFailed);
                let address = config.address.clone();
                self.report(Report::ListenFailed { serves, address, why: why.to_string() });
            }
        }
    }

    pub(super) fn on_accept_failed(&mut self, on: ListenerId, why: io::ErrorKind, now: Instant) {
        let is_draining = self.is_draining();
        let Some(state) = self.listeners.get_mut(on.0 as usize) else { return };
        if is_draining {
            return;
        }
        if state.held.is_none() {
            self.outputs.push_back(Output::Hold(on, true));
        }
        state.held = Some(Some(now + ACCEPT_PAUSE));
        let address = self.config.listeners[on.0 as usize].address.clone();
        self.report(Report::AcceptPaused { address, why: why.to_string() });
    }

    // ---- the operator ----

    pub(super) fn on_control(&mut self, control: Control, now: Instant) {
        match (control, self.phase) {
            (Control::Stats, _) => self.report_stats(),
            (Control::Drain, Phase::Running) => self.drain(now + self.config.drain_timeout, now),
            (Control::Drain, Phase::Draining { .. } | Phase::Finished) => {}
            (Control::Stop, Phase::Running) => self.drain(now, now),
            (Control::Stop, Phase::Draining { nodes_until, .. }) => {
                self.phase = Phase::Draining { until: now, nodes_until };
            }
            (Control::Stop, Phase::Finished) => {}
        }
    }

    fn report_stats(&mut self) {
        self.nodes.list.iter_mut().for_each(|node| node.reported = 0);
        let snapshot = Box::new(self.snapshot());
        self.report(Report::Stats(snapshot));
    }

    fn drain(&mut self, until: Instant, now: Instant) {
        self.phase = Phase::Draining { until, nodes_until: None };
        for listener in 0..self.listeners.len() {
            if core::mem::replace(&mut self.listeners[listener].open, false) {
                self.outputs.push_back(Output::Unlisten(ListenerId(listener as u32)));
            }
            self.listeners[listener].held = None;
        }
        for dial in 0..self.dials.len() {
            self.dial_timers.set(dial, None);
        }
        let sessions = self.sessions.len();
        self.report(Report::Draining { sessions, within: until.since(now) });
        for slot in self.slots(|_| true) {
            let Some(link) = self.links.at_mut(slot) else { continue };
            match (&mut link.protocol, link.stage) {
                (Protocol::Http(http), Stage::Open) => {
                    http.conn.close_after_response(now);
                    self.touch(slot);
                }
                (Protocol::Proxy(_), _) => self.close_link(slot, Cause::Stopping, Shut::Close, now),
                (Protocol::Node(node), _) if node.node.is_none() => {
                    self.close_link(slot, Cause::Stopping, Shut::Close, now);
                }
                (Protocol::Http(_) | Protocol::Node(_), _) => {}
            }
        }
    }

    /// While stopping: clients first, then nodes, which are told of the ends of their sessions, then the end.
    fn advance_drain(&mut self, now: Instant) {
        let Phase::Draining { until, nodes_until } = self.phase else { return };
        if until <= now {
            for slot in self.slots(Link::is_client) {
                self.close_link(slot, Cause::Stopping, Shut::Close, now);
            }
        }
        if self.clients > 0 {
            return;
        }
        // A node that reads nothing has a moment, whatever the deadline was.
        let nodes_until = nodes_until.unwrap_or(now + self.config.limits.drain_timeout);
        self.phase = Phase::Draining { until, nodes_until: Some(nodes_until) };
        for slot in self.slots(|link| link.queued() == 0 || nodes_until <= now) {
            self.close_link(slot, Cause::Stopping, Shut::Close, now);
        }
        if self.links.len() > 0 {
            return;
        }
        self.phase = Phase::Finished;
        self.report_stats();
        self.report(Report::Stopped);
        self.outputs.push_back(Output::Finished);
    }

    fn slots(&self, which: impl Fn(&Link) -> bool) -> alloc::vec::Vec<usize> {
        self.links.iter().filter(|(_, link)| which(link)).map(|(slot, _)| slot).collect()
    }
}

/// An event of one machine or the other.
enum Event {
    Client(crate::http::Event),
    Proxied(proxy::Event),
    Unproxied(Cause),
    Node(zmtp::Event),
}
