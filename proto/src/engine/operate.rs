//! Deadlines, listeners, and what the operator wants: statistics, and a graceful end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::io;

use super::app::AppInput;
use super::contract::{Control, ListenerId, Output, Shut};
use super::link::{Link, Protocol, Stage};
use super::report::Report;
use super::session::Session;
use super::{ACCEPT_PAUSE, Engine, Phase};
use crate::address::BindAddr;
use crate::config::{Serves, Stores};
use crate::error::Cause;
use crate::time::Instant;
use crate::tls;

impl Engine {
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
                if self.is_full(listener) {
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
            Stage::Open if link.is_handshaking() => self.on_handshake_deadline(slot, now),
            Stage::Open => match &mut link.protocol {
                Protocol::Http(http) => {
                    // Who has begun, and not gone on, is answered as if that had been the beginning of HTTP/1.
                    if http.is_unclear && http.conn.poll_timeout().is_some_and(|at| at <= now) {
                        http.conn.receive(link.inbox.unread(), now);
                    }
                    http.conn.handle_timeout(now);
                    // At once: what else is due now must not end a session that has its page for another cause.
                    self.notice_close(slot, now);
                }
                Protocol::Mux(mux) => {
                    mux.handle_timeout(now);
                    self.settle_streams(slot, now);
                    self.notice_close(slot, now);
                }
                Protocol::WebSocket(websocket) => {
                    websocket.conn.handle_timeout(now);
                    self.notice_close(slot, now);
                }
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
            Serves::Http { tls: false, .. } => "http",
            Serves::Http { tls: true, .. } => "https",
            Serves::Zmq => "zmq",
        };
        match result {
            Ok(address) => {
                // A tape knows no path of a Unix socket, and nobody needs it here.
                if matches!(address, BindAddr::Tcp(_)) {
                    self.listeners[listener].address = address.clone();
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
        let address = state.address.clone();
        self.report(Report::AcceptPaused { address, why: why.to_string() });
    }

    // ---- the operator ----

    pub(super) fn on_control(&mut self, control: Control, now: Instant) {
        match (control, self.phase) {
            (Control::Certificates(stores), _) => self.show(stores),
            (Control::Stats, _) => self.report_stats(),
            (Control::Drain, Phase::Running) => self.drain(now + self.config.drain_timeout, now),
            (Control::Drain, Phase::Draining { .. } | Phase::Finished) => {}
            (Control::Stop, Phase::Running) => {
                self.drain(now, now);
                self.cut_clients(now);
            }
            (Control::Stop, Phase::Draining { .. }) => self.cut_clients(now),
            (Control::Stop, Phase::Finished) => {}
        }
    }

    /// Who connects from now on is shown these certificates.
    fn show(&mut self, stores: Stores) {
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            let settings = |store: &Arc<_>| Arc::new(tls::Settings::new(Arc::clone(store), &self.config.limits));
            listener.tls = stores.certificates(number).map(settings);
        }
        self.certificates = Some(stores);
    }

    fn report_stats(&mut self) {
        self.nodes.list.iter_mut().for_each(|node| node.reported = 0);
        let snapshot = Box::new(self.snapshot());
        self.report(Report::Stats(snapshot));
    }

    fn drain(&mut self, until: Instant, now: Instant) {
        self.phase = Phase::Draining { until, clients_until: None, nodes_until: None };
        for listener in 0..self.listeners.len() {
            if core::mem::replace(&mut self.listeners[listener].open, false) {
                self.outputs.push_back(Output::Unlisten(ListenerId(listener as u32)));
            }
            self.listeners[listener].held = None;
        }
        for dial in 0..self.dials.len() {
            self.dial_timers.set(dial, None);
        }
        let sessions = self.open_sessions();
        self.report(Report::Draining { sessions, within: until.since(now) });
        // Those that poll are told with the answer to a poll.
        let clients = |session: &Session| session.socketio().is_some();
        let clients = self.sessions.iter().filter(|(_, session)| clients(session)).map(|(slot, _)| slot);
        for client in clients.collect::<alloc::vec::Vec<_>>() {
            self.fail(client, Cause::Stopping, now);
        }
        for slot in self.slots(|_| true) {
            let Some(link) = self.links.at_mut(slot) else { continue };
            if link.is_handshaking() && link.stage == Stage::Open {
                self.close_link(slot, Cause::Stopping, Shut::Close, now);
                continue;
            }
            match (&mut link.protocol, link.stage) {
                (Protocol::Http(http), Stage::Open) => {
                    http.conn.close_after_response(now);
                    self.touch(slot);
                }
                (Protocol::Mux(mux), Stage::Open) => {
                    mux.conn.close_after_responses(now);
                    for session in link.sessions() {
                        if self.sessions.at(session).is_some_and(Session::is_open) {
                            self.fail(session, Cause::Stopping, now);
                        }
                    }
                    self.touch(slot);
                }
                (Protocol::WebSocket(websocket), Stage::Open) => {
                    if let Some(session) = websocket.session {
                        self.fail(session, Cause::Stopping, now);
                    }
                }
                (Protocol::Proxy(_), _) => self.close_link(slot, Cause::Stopping, Shut::Close, now),
                (Protocol::Node(node), _) if node.node.is_none() => {
                    self.close_link(slot, Cause::Stopping, Shut::Close, now);
                }
                (Protocol::Http(_) | Protocol::Mux(_) | Protocol::WebSocket(_) | Protocol::Node(_), _) => {}
            }
        }
    }

    /// Lets a drain wait for no client any more.
    fn cut_clients(&mut self, now: Instant) {
        if let Phase::Draining { clients_until, .. } = &mut self.phase {
            *clients_until = Some(now);
        }
    }

    /// While stopping: clients first, then nodes, which are told of the ends of their sessions, then the end.
    pub(super) fn advance_drain(&mut self, now: Instant) {
        let Phase::Draining { until, mut clients_until, nodes_until } = self.phase else { return };
        // Peers that take nothing more have a moment, whatever the deadline was.
        let moment = now + self.config.limits.drain_timeout;
        if until <= now && clients_until.is_none() {
            let unanswered: alloc::vec::Vec<usize> = self.sessions.iter().map(|(slot, _)| slot).collect();
            for slot in unanswered {
                self.fail(slot, Cause::Stopping, now);
            }
            clients_until = Some(moment);
            self.phase = Phase::Draining { until, clients_until, nodes_until };
            if !self.touched.is_empty() {
                return; // Their links are settled first.
            }
        }
        if clients_until.is_some_and(|at| at <= now) {
            for slot in self.slots(Link::is_client) {
                self.close_link(slot, Cause::Stopping, Shut::Close, now);
            }
        }
        if self.clients > 0 {
            return;
        }
        // Clients of socket.io that poll: nobody is left who could hear more, or come.
        for slot in self.sessions.iter().map(|(slot, _)| slot).collect::<alloc::vec::Vec<_>>() {
            self.fail(slot, Cause::Stopping, now);
        }
        let nodes_until = nodes_until.unwrap_or(moment);
        self.phase = Phase::Draining { until, clients_until, nodes_until: Some(nodes_until) };
        for slot in self.slots(|link| !link.has_unwritten() || nodes_until <= now) {
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
