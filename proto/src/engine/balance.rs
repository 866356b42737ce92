//! Who answers a session: the choice of a node, the queue for nodes that are full, and second chances.

use alloc::boxed::Box;

use super::Engine;
use super::carrier::Carrier;
use super::https::{Variables, fingerprint_of};
use super::link::{Link, Links};
use super::push::Push;
use super::report::Access;
use super::session::{Server, Session, Sessions};
use crate::config::{NodeLoss, Redispatch};
use crate::error::Cause;
use crate::message::Kind;
use crate::time::Instant;
use crate::tls;
use crate::uwsgi;

/// Where a session can go.
pub(super) enum Choice {
    To(Server),
    /// Nodes that could take it are full.
    Wait,
    Nobody(Cause),
}

impl Engine {
    /// Least sessions first, then the order of the file; the connection's last node before all others, apps after
    /// all nodes.
    pub(super) fn choose(&self, host_place: usize, refused: &[Server], last: Option<usize>) -> Choice {
        let host = &self.hosts.list[host_place];
        let (mut best, mut full) = (None, false);
        for &place in &host.nodes {
            let node = &self.nodes.list[place];
            if !node.available || !node.hosts.contains(&host_place) {
                continue;
            }
            if refused.contains(&Server::Node(place)) {
                continue;
            }
            let capacity = node.capabilities.capacity.into_iter().chain(host.node_capacity).min();
            // A WebSocket that is open is no request that waits for its answer.
            let is_busy = capacity.is_some_and(|capacity| node.load - node.open >= capacity as usize);
            // One large message fills a queue for as long as it takes to write it: that is no reason to refuse anybody.
            if is_busy || self.node_queue(place) >= self.config.limits.node_queue_bytes {
                full = true;
                continue;
            }
            if last == Some(place) {
                return Choice::To(Server::Node(place));
            }
            if best.is_none_or(|(load, _)| node.load < load) {
                best = Some((node.load, place));
            }
        }
        match (best, host.app(refused)) {
            (Some((_, node)), _) => Choice::To(Server::Node(node)),
            (None, _) if full => Choice::Wait,
            (None, Some(app)) => Choice::To(Server::App(app)),
            (None, None) => Choice::Nobody(Cause::NodeMissing),
        }
    }

    /// Finds somebody for a session that has nobody.
    pub(super) fn assign(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        let last = self.links.at(session.carrier.link).and_then(Link::last_node);
        let host = session.host;
        match self.choose(host, &session.refused, last) {
            Choice::To(server) => self.hand_over(slot, server, now),
            // Its client need not notice.
            Choice::Nobody(_) | Choice::Wait if self.is_socketio(slot) => self.put_to_sleep(slot),
            Choice::Nobody(cause) => self.fail(slot, cause, now),
            Choice::Wait if self.hosts.list[host].waiting.len() >= self.config.limits.queue => {
                self.fail(slot, Cause::QueueFull, now);
            }
            Choice::Wait => {
                if session.is_open() {
                    let carrier = session.carrier;
                    self.pause(carrier, now);
                }
                self.hosts.list[host].waiting.push_back(slot);
                let deadline = now + self.config.limits.queue_timeout;
                if let Some(session) = self.sessions.at_mut(slot) {
                    session.deadline = Some(deadline);
                }
                self.arm_session(slot);
            }
        }
    }

    /// Lets the oldest waiting sessions of a host in, as far as there is room.
    pub(super) fn pump(&mut self, host: usize, now: Instant) {
        let mut place = 0;
        while let Some(&slot) = self.hosts.list[host].waiting.get(place) {
            let Some(session) = self.sessions.at(slot) else {
                self.hosts.list[host].waiting.remove(place);
                continue;
            };
            // One that no node has refused may go to any: if it has to wait, so has everybody behind it.
            let is_picky = !session.refused.is_empty();
            match self.choose(host, &session.refused, None) {
                Choice::Wait if is_picky => place += 1,
                Choice::Wait => return,
                Choice::To(server) => {
                    self.hosts.list[host].waiting.remove(place);
                    self.hand_over(slot, server, now);
                }
                Choice::Nobody(cause) => {
                    self.hosts.list[host].waiting.remove(place);
                    self.fail(slot, cause, now);
                }
            }
        }
        while let Some(slot) = self.sleeper(host) {
            let Choice::To(server) = self.choose(host, &[], None) else { return };
            self.hosts.list[host].asleep.pop_front();
            self.hand_over(slot, server, now);
        }
    }

    /// Gives a session, with all of its body that has come, to a node or an app.
    fn hand_over(&mut self, slot: usize, server: Server, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.server = Some(server);
        session.handed_over = now;
        session.deadline = None;
        let carrier = session.carrier;
        self.resume(carrier, now);
        match server {
            Server::Node(node) => self.hand_to_node(slot, node, now),
            Server::App(app) => self.hand_to_app(slot, app, now),
            Server::Front => debug_assert!(false, "what the engine answers itself is not handed over"),
        }
        if self.is_socketio(slot) {
            self.wake(slot, now);
        }
    }

    fn hand_to_node(&mut self, slot: usize, node: usize, now: Instant) {
        self.nodes.list[node].load += 1;
        let capabilities = self.nodes.list[node].capabilities;
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.capabilities = capabilities;
        session.credit = Default::default();
        self.nodes.list[node].open += usize::from(session.is_open());
        let Some(session) = self.sessions.at(slot) else { return };
        let host = &self.hosts.list[session.host];
        let facts = facts_of(&self.links, &self.sessions, slot);
        let fingerprint = facts.and_then(fingerprint_of);
        let variables = Variables::new(facts, host.asks_certificates, fingerprint.as_deref());
        let context = uwsgi::Context {
            section: &host.name,
            port: session.port,
            remote: session.client,
            request_id: session.request_id,
            https: session.https,
            redispatched: session.redispatched,
            variables: variables.list(),
        };
        let mut packet = core::mem::take(&mut self.scratch);
        packet.clear();
        let encoded = uwsgi::encode_request(&mut packet, &session.request, &context);
        let (sid, carrier) = (session.sid, session.carrier);
        let uploaded = session.uploaded;
        let kept = self.sessions.at_mut(slot).map(|session| session.kept.pieces()).unwrap_or_default();
        if encoded.is_ok() {
            self.tell(node, Some(sid), Kind::Uwsgi, &packet);
        }
        self.scratch = packet;
        if let Err(cause) = encoded {
            // The node was not told of it: it is none of its sessions.
            self.nodes.list[node].load -= 1;
            if let Some(session) = self.sessions.at_mut(slot) {
                self.nodes.list[node].open -= usize::from(session.is_open());
                session.server = None;
            }
            return self.fail(slot, cause, now);
        }
        self.stats.handed_over += 1;
        if capabilities.credit {
            self.watch_room(carrier);
            self.grant(slot);
        }
        for piece in kept {
            self.tell_bytes(node, sid, Kind::Body, piece);
        }
        if uploaded {
            self.upload_complete(slot, now);
        }
        self.welcome_upload(slot, now);
        let session = self.sessions.at(slot);
        if session.is_some_and(|session| session.is_websocket && !session.is_answered() && !capabilities.handshake) {
            self.open_websocket(slot, None, now);
        }
    }

    fn hand_to_app(&mut self, slot: usize, app: usize, now: Instant) {
        self.apps[app].load += 1;
        self.stats.handed_over += 1;
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.capabilities = Default::default();
        let (sid, kept, uploaded) = (session.sid, session.kept.pieces(), session.uploaded);
        let Some(session) = self.sessions.at(slot) else { return };
        if let Some(mut called) = self.apps[app].app.take() {
            let input = super::app::AppInput::Request {
                sid,
                request: &session.request,
                client: session.client,
                https: session.https,
                tls: facts_of(&self.links, &self.sessions, slot),
                socketio: session.socketio().map(|client| client.conn.generation()),
            };
            called.handle(input, &mut self.replies, now);
            self.stats.messages_out += 1;
            self.apps[app].app = Some(called);
        }
        for bytes in kept {
            self.call_app(app, super::app::AppInput::Body { sid, bytes }, now);
        }
        if uploaded {
            self.upload_complete(slot, now);
        }
        self.welcome_upload(slot, now);
    }

    /// Tells a client that waits for it to send its body (RFC 9110, 10.1.1).
    pub(super) fn welcome_upload(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        if session.uploaded || !session.request.expect_continue {
            return;
        }
        self.send_continue(session.carrier, now);
    }

    /// The node passed a request on.
    pub(super) fn retry(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let Some(server) = session.server.take() else { return };
        session.refused.push(server);
        session.hops += 1;
        let (hops, lost) = (session.hops, session.kept.lost);
        self.stats.count(Cause::NodeRetry);
        self.unload(slot, server, now);
        if hops > self.config.limits.hops {
            return self.fail(slot, Cause::HopsMax, now);
        }
        if lost {
            return self.fail(slot, Cause::RetryBufferFull, now);
        }
        self.assign(slot, now);
    }

    /// The node of a session is gone.
    pub(super) fn orphan(&mut self, slot: usize, now: Instant) {
        if self.lingers(slot) {
            // It is over; only its client has not heard so yet.
            return self.leave_lingering(slot, now);
        }
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let Some(server) = session.server.take() else { return };
        let is_open = session.is_open();
        let may = match self.hosts.list[session.host].redispatch {
            _ if session.socketio().is_some() => true,
            _ if is_open => self.hosts.list[session.host].node_loss == NodeLoss::Move,
            Redispatch::All => true,
            Redispatch::Safe => session.request.is_idempotent(),
            Redispatch::None => false,
        };
        let is_untouched = !session.is_answered() && !session.kept.lost && session.hops < self.config.limits.hops;
        let again = may && (is_open || is_untouched);
        if again {
            session.redispatched = true;
            session.hops += u32::from(!is_open);
            self.stats.redispatched += 1;
        }
        self.unload(slot, server, now);
        if again { self.assign(slot, now) } else { self.fail(slot, Cause::NodeLost, now) }
    }

    /// A session is no longer at its node: another may come.
    pub(super) fn unload(&mut self, slot: usize, server: Server, now: Instant) {
        match server {
            Server::Node(node) => {
                let is_open = self.sessions.at(slot).is_some_and(Session::is_open);
                self.nodes.list[node].load -= 1;
                self.nodes.list[node].open -= usize::from(is_open);
                self.pump_hosts_of(node);
            }
            Server::App(app) => self.apps[app].load -= 1,
            Server::Front => {}
        }
        if let Some(carrier) = self.sessions.at(slot).map(|session| session.carrier) {
            self.resume(carrier, now);
        }
    }

    /// Gives a session up: an error page if no byte of an answer is out, a cut otherwise.
    pub(super) fn fail(&mut self, slot: usize, cause: Cause, now: Instant) {
        if self.is_socketio(slot) {
            return self.end_socketio(slot, cause, now);
        }
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let carrier = session.carrier;
        if !session.is_answered() {
            session.status = cause.status();
        }
        let page = self.fail_on(carrier, cause, now) as u64;
        if let Some(session) = self.sessions.at_mut(slot) {
            session.bytes_out += page;
        }
        self.finish(slot, cause, now);
    }

    /// Ends a session: its node and the log are told, its client can ask again.
    pub(super) fn finish(&mut self, slot: usize, cause: Cause, now: Instant) {
        if let Some(server) = self.sessions.at(slot).and_then(|session| session.server) {
            self.unload(slot, server, now);
        }
        let Some(session) = self.sessions.remove(slot) else { return };
        self.session_timers.set(slot, None);
        // Its upload may have been waiting for a node.
        self.resume(session.carrier, now);
        if cause != Cause::Complete {
            self.stats.count(cause);
        }
        if let Some(bonds) = &session.bonds {
            self.leave_all(&bonds.memberships);
            let pushed = bonds.pushes.iter().filter_map(Push::stream);
            self.cut_pushes(session.carrier, pushed, now);
        }
        self.memory -= session.kept.len;
        self.forget_socketio(slot, &session, now);
        let host = &mut self.hosts.list[session.host];
        host.sessions -= 1;
        if session.server.is_none() {
            host.forget_waiting(slot);
        }
        match session.server {
            Some(Server::Node(node)) if !(session.capabilities.quiet && cause == Cause::Complete) => {
                let reason = if session.capabilities.end_reason { cause.name() } else { "" };
                self.tell(node, Some(session.sid), Kind::End, reason.as_bytes());
            }
            Some(Server::App(app)) => {
                self.call_app(app, super::app::AppInput::End { sid: session.sid, cause }, now);
            }
            Some(Server::Node(_) | Server::Front) | None => {}
        }
        self.detach(session.carrier, session.node());
        if self.config.access_log {
            self.report_access(session, cause, now);
        }
    }

    fn report_access(&mut self, session: Box<Session>, cause: Cause, now: Instant) {
        let waited = session.handed_over.since(session.began);
        let node = session.server.and_then(|server| match server {
            Server::Node(node) => Some(self.nodes.list[node].name.clone()),
            Server::App(app) => Some(format!("app:{}", self.apps[app].name)),
            Server::Front => None,
        });
        self.report(super::report::Report::Access(Box::new(Access {
            sid: Some(session.sid),
            request_id: session.request_id,
            client: session.client,
            protocol: session.request.version,
            tls: session.tls,
            host: self.hosts.list[session.host].name.clone(),
            method: session.request.method().into(),
            target: session.request.target().into(),
            status: session.status,
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            node,
            hops: session.hops,
            waited,
            node_took: session.answered.since(session.handed_over),
            took: now.since(session.began),
            cause,
        })));
    }
}

/// What the handshake of a session's client has agreed on: of its carrier, or of the request that it has begun with.
fn facts_of<'a>(links: &'a Links, sessions: &Sessions, slot: usize) -> Option<&'a tls::Facts> {
    let session = sessions.at(slot)?;
    let poll = session.socketio().and_then(|client| sessions.at(client.poll?));
    let carrier = if session.carrier == Carrier::NOWHERE { poll?.carrier } else { session.carrier };
    links.at(carrier.link)?.facts()
}
