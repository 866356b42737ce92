//! Packets between clients of socket.io and the nodes and apps that serve them.

use alloc::sync::Arc;

use bytes::Bytes;

use super::{Engine, Rest};
use crate::engine::app::AppInput;
use crate::engine::carrier::Carrier;
use crate::engine::route::Parcel;
use crate::engine::session::{Answer, Server};
use crate::error::Cause;
use crate::message::Kind;
use crate::socketio::{Content, Event, Fanned, Layer, Packet, PacketKind, Prepared, SendError};
use crate::time::Instant;
use crate::websocket::Message;

/// What a client is told of a namespace that nobody gives it: the words of socket.io's own server.
const NAMESPACE_UNKNOWN: &[u8] = br#"{"message":"Invalid namespace"}"#;

impl Engine {
    /// Gives what a client has said to whoever serves it.
    pub(super) fn take_packets(&mut self, slot: usize, now: Instant) {
        loop {
            let Some(session) = self.sessions.at_mut(slot) else { return };
            let carrier = session.carrier;
            let Some(client) = session.socketio_mut() else { return };
            if client.lingers {
                return;
            }
            if client.rest == Rest::Asleep {
                if client.has_event() {
                    self.stir(slot, now);
                }
                return;
            }
            let is_undecided = client.rest == Rest::Undecided;
            let unheard = client.unheard.take().map(|event| *event);
            let Some(event) = unheard.or_else(|| client.conn.poll_event()) else { return };
            if is_undecided {
                self.decide(slot, event, now);
                continue;
            }
            if self.recover_namespace(slot, &event, now) {
                continue;
            }
            let Some(server) = self.sessions.at(slot).and_then(|session| session.server) else { continue };
            match event {
                // Engine.IO alone is a WebSocket to whoever serves it.
                Event::Message(message) => self.give_message(carrier, slot, message, now),
                Event::Packet(packet) | Event::Recover { packet, .. } => self.tell_packet(slot, packet, now),
            }
            if let Server::Node(node) = server
                && carrier != Carrier::NOWHERE
            {
                self.pause_for(node, carrier, now);
            }
        }
    }

    /// Gives a packet of a client to whoever serves it. The caller settles the client afterwards.
    pub(super) fn tell_packet(&mut self, slot: usize, packet: Packet, now: Instant) {
        let Some(session) = self.sessions.at_mut(slot) else { return };
        let (sid, server, knows) = (session.sid, session.server, session.capabilities.socketio);
        let Some(client) = session.socketio_mut() else { return };
        match packet.kind() {
            PacketKind::Connect => client.asked.push(packet.clone()),
            PacketKind::Disconnect => client.forget_asked(packet.namespace()),
            PacketKind::Event | PacketKind::Ack | PacketKind::Refuse => {}
        }
        match server {
            Some(Server::App(app)) => self.call_app(app, AppInput::SocketIo { sid, packet }, now),
            Some(Server::Node(node)) if knows => {
                self.tell_bytes(node, sid, kind_of(packet.kind()), packet.to_node());
            }
            Some(Server::Node(node)) => self.tell_plain_node(slot, node, packet, now),
            Some(Server::Front) | None => debug_assert!(false, "clients are served by nodes and apps"),
        }
    }

    /// A client that nobody serves has something to say: it waits for somebody, but not for ever, and says no more
    /// meanwhile.
    fn stir(&mut self, slot: usize, now: Instant) {
        let deadline = now + self.config.limits.queue_timeout;
        let Some(session) = self.sessions.at_mut(slot) else { return };
        session.deadline.get_or_insert(deadline);
        let carrier = session.carrier;
        self.pause(carrier, now);
        self.arm_session(slot);
    }

    /// A node that knows nothing of packets: it has the main namespace alone, and hears of events.
    fn tell_plain_node(&mut self, slot: usize, node: usize, packet: Packet, now: Instant) {
        let Some(session) = self.sessions.at(slot) else { return };
        let sid = session.sid;
        match packet.kind() {
            PacketKind::Connect => {
                let settings = Arc::clone(&self.hosts.list[session.host].socketio);
                let namespace = packet.namespace();
                let is_main = namespace == "/";
                let socket = self.draw_id();
                let refusal =
                    Packet::new(PacketKind::Refuse, namespace, None, NAMESPACE_UNKNOWN, Vec::new(), &settings);
                let Some(client) = self.socketio_of(slot) else { return };
                client.forget_asked(namespace);
                // It has asked for it; what is queued for it here leaves when whoever calls settles the client.
                match refusal {
                    _ if is_main => drop(client.conn.accept(namespace, socket, now)),
                    Ok(refusal) => drop(client.conn.send(Event::Packet(refusal), now)),
                    Err(_) => debug_assert!(false, "the words are a constant"),
                }
                if !is_main {
                    self.stats.count(Cause::NamespaceUnknown);
                }
            }
            PacketKind::Event => {
                let (kind, body) = match packet.content() {
                    Some(Content::Text) => (Kind::SocketIoMsg, packet.to_content()),
                    Some(Content::Json) => (Kind::SocketIoJson, packet.to_content()),
                    None => (Kind::SocketIoEvent, packet.to_object()),
                };
                self.tell_bytes(node, sid, kind, body);
            }
            // Nobody has asked for it.
            PacketKind::Ack => self.stats.count(Cause::MessageUnfit),
            PacketKind::Disconnect | PacketKind::Refuse => {}
        }
    }

    /// Lets a client have a namespace.
    pub(in crate::engine) fn accept_namespace(
        &mut self,
        slot: usize,
        namespace: &str,
        now: Instant,
    ) -> Result<(), Cause> {
        let socket = self.draw_id();
        let Some(client) = self.socketio_of(slot) else { return Err(Cause::MessageUnfit) };
        client.forget_asked(namespace);
        let sent = client.conn.accept(namespace, socket, now);
        self.after_packet(slot, sent, now)
    }

    /// A node's message for a client of socket.io.
    pub(in crate::engine) fn on_socketio_kind(
        &mut self,
        slot: usize,
        kind: Kind,
        body: Bytes,
        now: Instant,
    ) -> Result<(), Cause> {
        if kind == Kind::SocketIoEnd {
            let Some(session) = self.sessions.at(slot) else { return Ok(()) };
            if session.socketio().is_none() {
                return Err(Cause::MessageUnfit);
            }
            self.end_socketio(slot, Cause::Complete, now);
            return Ok(());
        }
        let Some(session) = self.sessions.at(slot) else { return Ok(()) };
        let packet = packet_of(kind, body, &self.hosts.list[session.host].socketio)?;
        self.send_packet(slot, packet, now)
    }

    /// Sends a packet to a client.
    pub(in crate::engine) fn send_packet(&mut self, slot: usize, packet: Packet, now: Instant) -> Result<(), Cause> {
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        let Some(client) = session.socketio_mut() else { return Err(Cause::MessageUnfit) };
        let sent = match packet.kind() {
            PacketKind::Connect => return self.accept_namespace(slot, packet.namespace(), now),
            PacketKind::Disconnect | PacketKind::Refuse => {
                client.forget_asked(packet.namespace());
                client.conn.send(Event::Packet(packet), now)
            }
            PacketKind::Event | PacketKind::Ack => client.conn.send(Event::Packet(packet), now),
        };
        self.after_packet(slot, sent, now)
    }

    /// Sends a message of Engine.IO to a client.
    pub(in crate::engine) fn send_plain(&mut self, slot: usize, message: Message, now: Instant) -> Result<(), Cause> {
        let Some(client) = self.socketio_of(slot) else { return Err(Cause::MessageUnfit) };
        if client.conn.layer() != Layer::Plain {
            return Err(Cause::MessageUnfit);
        }
        let sent = client.conn.send(Event::Message(message), now);
        self.after_packet(slot, sent, now)
    }

    /// Sends a packet to a client that others get too.
    pub(in crate::engine) fn send_to_many(
        &mut self,
        slot: usize,
        prepared: &mut Prepared,
        now: Instant,
    ) -> Result<(), Cause> {
        if prepared.packet().kind() != PacketKind::Event {
            return self.send_packet(slot, prepared.packet().clone(), now);
        }
        let Some(client) = self.socketio_of(slot) else { return Err(Cause::MessageUnfit) };
        let sent = match client.conn.send_prepared(prepared, now) {
            Ok(Fanned::Queued) => Ok(()),
            Ok(Fanned::Frames(frames)) => {
                for frame in frames {
                    self.send_prepared(slot, frame, now);
                }
                // Nothing of the client's own has changed, but for what is kept for its return.
                if !self.config.limits.socketio_recovery.is_zero() {
                    self.settle_socketio(slot, now);
                }
                return Ok(());
            }
            Err(error) => Err(error),
        };
        self.after_packet(slot, sent, now)
    }

    fn after_packet(&mut self, slot: usize, sent: Result<(), SendError>, now: Instant) -> Result<(), Cause> {
        match sent {
            Ok(()) => {
                if let Some(session) = self.sessions.at_mut(slot) {
                    session.moved = now;
                }
                let is_full = self.is_full_of_bytes();
                let high = self.config.limits.write_queue_high;
                self.settle_socketio(slot, now);
                if is_full && self.socketio_of(slot).is_some_and(|client| client.conn.queued() > high) {
                    self.end_socketio(slot, Cause::MemoryMax, now);
                }
                Ok(())
            }
            Err(SendError::Full) => {
                self.end_socketio(slot, Cause::SlowClient, now);
                Ok(())
            }
            // Its end is on its way, and no news.
            Err(SendError::Closed) => {
                self.stats.count(Cause::SessionStale);
                Ok(())
            }
            Err(SendError::NotConnected | SendError::Unfit) => Err(Cause::MessageUnfit),
        }
    }

    /// Makes a packet of what a node sends to others.
    pub(in crate::engine) fn pack_packet(&mut self, kind: Kind, body: Bytes) -> Result<Parcel, Cause> {
        let packet = packet_of(kind, body, &crate::socketio::Settings::new(&self.config.limits))?;
        Ok(self.parcel_of(packet))
    }

    pub(in crate::engine) fn parcel_of(&mut self, packet: Packet) -> Parcel {
        self.socketio.events += 1;
        Parcel::SocketIo(alloc::boxed::Box::new(Prepared::new(packet, self.socketio.events, &Arc::clone(&self.shared))))
    }

    /// Whether a session is a client of socket.io.
    pub(in crate::engine) fn is_socketio(&self, slot: usize) -> bool {
        self.sessions.at(slot).is_some_and(|session| matches!(session.answer, Answer::SocketIo))
    }
}

fn kind_of(kind: PacketKind) -> Kind {
    match kind {
        PacketKind::Connect => Kind::SocketIoConnect,
        PacketKind::Disconnect => Kind::SocketIoDisconnect,
        PacketKind::Event => Kind::SocketIoEvent,
        PacketKind::Ack => Kind::SocketIoAck,
        PacketKind::Refuse => Kind::SocketIoRefuse,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "all other types carry no packets")]
fn packet_of(kind: Kind, body: Bytes, settings: &crate::socketio::Settings) -> Result<Packet, Cause> {
    let kind = match kind {
        Kind::SocketIoConnect => PacketKind::Connect,
        Kind::SocketIoRefuse => PacketKind::Refuse,
        Kind::SocketIoEvent => PacketKind::Event,
        Kind::SocketIoAck => PacketKind::Ack,
        Kind::SocketIoDisconnect => PacketKind::Disconnect,
        Kind::SocketIoMsg => return Packet::from_content(Content::Text, &body, settings),
        Kind::SocketIoJson => return Packet::from_content(Content::Json, &body, settings),
        _ => return Err(Cause::MessageUnfit),
    };
    Packet::from_node(kind, body, settings)
}
