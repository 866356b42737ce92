//! Clients that come back.

use alloc::boxed::Box;

use super::{Engine, Part, SocketIo};
use crate::engine::carrier::Carrier;
use crate::error::Cause;
use crate::socketio::{Event, Generation, Id, Layer};
use crate::time::Instant;

impl Engine {
    /// Whether clients of a host can take up where they were.
    pub(super) fn may_come_back(&self, host: usize, generation: Generation, layer: Layer) -> bool {
        (generation, layer) == (Generation::Five, Layer::SocketIo) && !self.hosts.list[host].socketio.recovery.is_zero()
    }

    /// The first words of a client say whether it is new: then it gets somebody to serve it, if there is anybody.
    pub(super) fn decide(&mut self, slot: usize, event: Event, now: Instant) {
        if let Event::Recover { packet, private, offset } = &event
            && self.come_back(slot, *private, packet.namespace(), offset, now)
        {
            return;
        }
        if let Some(client) = self.socketio_of(slot) {
            client.unheard = Some(Box::new(event));
        }
        // From here on it is heard when somebody serves it.
        self.assign(slot, now);
    }

    /// Whether a client that is new has turned out to be one that was away.
    fn come_back(&mut self, newcomer: usize, private: Id, namespace: &str, offset: &str, now: Instant) -> bool {
        let Some(&slot) = self.socketio.privates.get(&private) else { return false };
        let hosts = [slot, newcomer].map(|slot| self.sessions.at(slot).map(|session| session.host));
        if hosts[0] != hosts[1] || slot == newcomer {
            return false;
        }
        let Some(client) = self.socketio_of(slot) else { return false };
        if !client.conn.can_recover(namespace, offset) {
            // Its client begins anew, and nobody else will ask for it.
            self.end_socketio(slot, Cause::RecoveryBufferFull, now);
            return false;
        }
        let Some(session) = self.sessions.at_mut(newcomer) else { return false };
        let carrier = core::mem::replace(&mut session.carrier, Carrier::NOWHERE);
        let Part::Client(arrived) = core::mem::replace(&mut session.part, Part::Stranger) else { return false };
        let SocketIo { conn, id, private: unused, poll, post, probe, charged, .. } = *arrived;
        self.memory -= charged;
        self.socketio.privates.remove(&unused);
        // It may have come before its old connection was found broken.
        if let Some(client) = self.socketio_of(slot) {
            let _ = client.conn.lose_transport(Cause::ClientGone, now);
        }
        self.park(slot, now);
        self.socketio.ids.insert(id, slot);
        let Some(session) = self.sessions.at_mut(slot) else { return false };
        session.moved = now;
        let sid = session.sid;
        let Some(client) = session.socketio_mut() else { return false };
        let old = core::mem::replace(&mut client.id, id);
        (client.poll, client.post, client.probe) = (poll, post, probe);
        client.conn.adopt(conn, now);
        client.conn.recover(namespace, offset, now);
        self.socketio.ids.remove(&old);
        for errand in [poll, post, probe].into_iter().flatten() {
            if let Some(Part::Errand(errand)) = self.sessions.at_mut(errand).map(|session| &mut session.part) {
                errand.of = Some(sid);
            }
        }
        self.carry(slot, carrier);
        self.finish(newcomer, Cause::Complete, now);
        self.stats.recovered += 1;
        self.settle_socketio(slot, now);
        true
    }

    /// A packet asks for a namespace of before on a connection that has come back already, or never left.
    pub(super) fn recover_namespace(&mut self, slot: usize, event: &Event, now: Instant) -> bool {
        let Event::Recover { packet, private, offset } = event else { return false };
        let Some(client) = self.socketio_of(slot) else { return false };
        let is_own = client.private == *private && client.conn.can_recover(packet.namespace(), offset);
        if is_own {
            client.conn.recover(packet.namespace(), offset, now);
        }
        is_own
    }
}
