//! What must hold between two calls, for tests, simulators and fuzzers.

use super::Engine;
use super::carrier::Carrier;
use super::link::Protocol;
use super::session::{Part, Server, Session};

impl Engine {
    /// Checks the engine's books against each other. Costs time in proportion to everything that is open.
    ///
    /// # Panics
    /// If something does not add up: a bug in the engine.
    pub fn check_invariants(&self) {
        assert!(self.touched.is_empty() && self.pumped.is_empty(), "work is left over");
        self.check_sessions();
        self.check_links();
        self.check_nodes();
        self.check_groups();
    }

    fn check_groups(&self) {
        let mut memberships = 0;
        for (host, name, place, members) in self.groups.iter() {
            assert_eq!(self.groups.find(host, name), Some(place), "a group is found by its name");
            let mut last = None;
            for (join, session) in members {
                assert!(last < Some(join), "members stand in the order of their joins");
                last = Some(join);
                let session = self.sessions.at(session).expect("a member is a session");
                assert_eq!(session.host, host, "a member is of the group's virtual host");
                assert_eq!(session.membership(place).map(|membership| membership.join), Some(join));
                memberships += 1;
            }
            assert!(last.is_some(), "a group has a member");
        }
        let known = |bonds: &super::session::Bonds| bonds.memberships.len();
        let known: usize = self.sessions.iter().filter_map(|(_, session)| session.bonds.as_deref()).map(known).sum();
        assert_eq!(memberships, known, "a membership is of a group");
    }

    fn check_sessions(&self) {
        let mut by_host = alloc::vec![0; self.hosts.list.len()];
        let mut errands = 0;
        for (slot, session) in self.sessions.iter() {
            let is_errand = matches!(session.part, Part::Errand(_));
            by_host[session.host] += usize::from(!is_errand);
            errands += usize::from(is_errand);
            self.check_socketio(slot, session);
            let waiting = self.hosts.list[session.host].waiting.iter().filter(|waiting| **waiting == slot).count();
            let waits = session.server.is_none() && session.socketio().is_none();
            assert_eq!(waiting, usize::from(waits), "a session has a server or waits for one, once");
            assert!(self.session_timers.deadline(slot).is_some(), "a session has a deadline");
            if let Some(node) = session.node() {
                assert!(self.nodes.list[node].link.is_some(), "a session's node is connected");
            }
            let carrier = session.carrier;
            if carrier == Carrier::NOWHERE {
                assert!(session.socketio().is_some(), "only clients of socket.io are carried nowhere");
                continue;
            }
            let link = self.links.at(carrier.link).expect("a session's link is open");
            assert!(link.is_client(), "a session's link is a client's");
            assert_eq!(self.session_on(carrier), Some(slot), "a carrier knows its session");
            assert_eq!(session.is_open(), link.has_websocket(carrier.stream), "frames flow once it is open");
        }
        for (host, count) in self.hosts.list.iter().zip(by_host) {
            assert_eq!(host.sessions, count, "a host counts its sessions");
            assert!(host.waiting.len() <= self.config.limits.queue, "the queue is bounded");
        }
        assert_eq!(self.socketio.errands(), errands, "errands are counted");
        assert!(self.sessions.len() - errands <= self.config.limits.sessions, "sessions are bounded");
    }

    fn check_links(&self) {
        let mut clients = 0;
        let own = |session: &Session| session.kept.len + session.socketio().map_or(0, |client| client.charged);
        let mut memory = self.sessions.iter().map(|(_, session)| own(session)).sum::<usize>();
        for (slot, link) in self.links.iter() {
            clients += usize::from(link.is_client());
            memory += link.charged;
            assert_eq!(link.charged, link.held(), "the ledger knows link {slot}");
            assert!(!link.touched, "link {slot} is settled");
            link.check_transport();
            let wants = self.interest(self.links.id_of(slot));
            assert!(!wants.write || link.told.write || link.attended, "somebody writes for link {slot}");
            if link.paused {
                assert!(link.session(None).is_some(), "link {slot} flows");
            }
            let fan_outs = self.fan_outs.iter().filter(|fan_out| fan_out.comes_from(self.links.id_of(slot))).count();
            assert_eq!(link.blocked as usize, fan_outs, "link {slot} waits for what it has sent");
            let carried = |session: usize| self.sessions.at(session).map(|session| session.carrier);
            if let Some(session) = link.session(None) {
                assert_eq!(carried(session), Some(Carrier::link(slot)));
            }
            if let Protocol::Mux(mux) = &link.protocol {
                for (stream, session) in mux.sessions() {
                    assert_eq!(carried(session), Some(Carrier::stream(slot, stream)));
                }
                mux.check_invariants();
            }
        }
        assert_eq!(clients, self.clients, "clients are counted");
        assert_eq!(memory, self.memory, "the memory ledger adds up");
    }

    fn check_nodes(&self) {
        for (place, node) in self.nodes.list.iter().enumerate() {
            let sessions = self.sessions.iter().filter(|(_, s)| s.server == Some(Server::Node(place))).count();
            assert_eq!(node.load, sessions, "node {} counts its sessions", node.name);
            let open =
                self.sessions.iter().filter(|(_, s)| s.server == Some(Server::Node(place)) && s.is_open()).count();
            assert_eq!(node.open, open, "node {} counts its WebSockets", node.name);
            assert!(!node.available || node.link.is_some(), "an available node is connected");
            if let Some(slot) = node.link {
                let link = self.links.at(slot).expect("a node's link is open");
                let Protocol::Node(link) = &link.protocol else { panic!("a node's link is a node's") };
                assert_eq!(link.node, Some(place), "a link knows its node");
            }
        }
    }
}
