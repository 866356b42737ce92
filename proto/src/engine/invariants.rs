//! What must hold between two calls, for tests, simulators and fuzzers.

use super::Engine;
use super::link::Protocol;
use super::session::Server;

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
    }

    fn check_sessions(&self) {
        let mut by_host = alloc::vec![0; self.hosts.list.len()];
        for (slot, session) in self.sessions.iter() {
            by_host[session.host] += 1;
            let link = self.links.at(session.link).expect("a session's link is open");
            let Protocol::Http(http) = &link.protocol else { panic!("a session's link is a client's") };
            assert_eq!(http.session, Some(slot), "a link knows its session");
            let waiting = self.hosts.list[session.host].waiting.iter().filter(|waiting| **waiting == slot).count();
            assert_eq!(waiting, usize::from(session.server.is_none()), "a session has a server or waits for one, once");
            assert!(self.session_timers.deadline(slot).is_some(), "a session has a deadline");
            if let Some(node) = session.node() {
                assert!(self.nodes.list[node].link.is_some(), "a session's node is connected");
            }
        }
        for (host, count) in self.hosts.list.iter().zip(by_host) {
            assert_eq!(host.sessions, count, "a host counts its sessions");
            assert!(host.waiting.len() <= self.config.limits.queue, "the queue is bounded");
        }
        assert!(self.sessions.len() <= self.config.limits.sessions, "sessions are bounded");
    }

    fn check_links(&self) {
        let mut clients = 0;
        let mut memory = self.sessions.iter().map(|(_, session)| session.kept.len).sum::<usize>();
        for (slot, link) in self.links.iter() {
            clients += usize::from(link.is_client());
            memory += link.charged;
            assert_eq!(link.charged, link.held(), "the ledger knows link {slot}");
            assert!(!link.touched, "link {slot} is settled");
            let wants = self.interest(self.links.id_of(slot));
            assert!(!wants.write || link.told.write || link.attended, "somebody writes for link {slot}");
            if link.paused {
                assert!(matches!(&link.protocol, Protocol::Http(http) if http.session.is_some()), "link {slot} flows");
            }
            if let Protocol::Http(http) = &link.protocol
                && let Some(session) = http.session
            {
                assert_eq!(self.sessions.at(session).map(|session| session.link), Some(slot));
            }
        }
        assert_eq!(clients, self.clients, "clients are counted");
        assert_eq!(memory, self.memory, "the memory ledger adds up");
    }

    fn check_nodes(&self) {
        for (place, node) in self.nodes.list.iter().enumerate() {
            let sessions = self.sessions.iter().filter(|(_, s)| s.server == Some(Server::Node(place))).count();
            assert_eq!(node.load, sessions, "node {} counts its sessions", node.name);
            assert!(!node.available || node.link.is_some(), "an available node is connected");
            if let Some(slot) = node.link {
                let link = self.links.at(slot).expect("a node's link is open");
                let Protocol::Node(link) = &link.protocol else { panic!("a node's link is a node's") };
                assert_eq!(link.node, Some(place), "a link knows its node");
            }
        }
    }
}
