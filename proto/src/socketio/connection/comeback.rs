//! Clients whose transport breaks, and that come back by another one.
//!
//! ```text
//! its transport breaks ──> parked ── a newcomer shows the private id ──> adopted ── asks for a namespace ──> recovered
//!                            │                                              │
//!                            └── too long ──> closing                       └── does not, in time ──> it is left
//! ```

use alloc::boxed::Box;

use super::sockets::State;
use super::{Connection, Event, packet};
use crate::error::Cause;
use crate::socketio::{Generation, Id, Packet, PacketKind, json};
use crate::time::Instant;

/// Why a client has left a namespace, as JSON: it did not ask for it again when it came back, or had not got it when its
/// transport broke.
const TRANSPORT_CLOSE: &[u8] = b"\"transport close\"";

impl Connection {
    /// Waits for the client to come back, if it may.
    pub(super) fn park(&mut self, cause: Cause, now: Instant) -> bool {
        if self.is_parked {
            return true;
        }
        let may = self.channel.generation == Generation::Five
            && !self.channel.is_client
            && !self.settings.recovery.is_zero()
            && cause != Cause::ClientClosed
            && self.closing.is_none()
            && (self.sockets.has(State::Connected)
                || self.sockets.has(State::Away)
                || self.sockets.has(State::Returning));
        if !may {
            return false;
        }
        self.channel.shut();
        self.partial = None;
        if let Some(recovery) = &mut self.recovery {
            recovery.forget_ping();
        }
        // Those that nobody has answered yet have nothing to be given back.
        for namespace in self.sockets.names(State::Asked) {
            self.sockets.set(&namespace, State::Left);
            self.tell_left(&namespace, TRANSPORT_CLOSE);
        }
        self.sockets.send_away();
        self.is_parked = true;
        self.deadline = Some(now + self.settings.recovery);
        true
    }

    /// Whether nothing that a client has missed since an event is lost.
    pub(super) fn has_all_since(&self, namespace: &str, offset: &str) -> bool {
        if self.closing.is_some() || self.settings.recovery.is_zero() {
            return false;
        }
        let Some(place) = self.sockets.find(namespace) else { return false };
        let socket = self.sockets.at(place);
        let was_connected = match socket.state {
            State::Connected | State::Away | State::Returning => true,
            State::Asked | State::Left => false,
        };
        let is_kept = |offset| self.recovery.as_ref().is_some_and(|recovery| recovery.contains(place, offset));
        was_connected
            && match (offset, offset.parse::<u64>()) {
                ("", _) => socket.dropped.is_none(),
                (_, Ok(offset)) => socket.dropped == Some(offset) || is_kept(offset),
                (_, Err(_)) => false,
            }
    }

    /// Takes the transport of a newcomer, and what it has received: it is heard as if it came by the new transport now.
    pub(super) fn take_over(&mut self, newcomer: Self, now: Instant) {
        let Self { channel, mut events, partial, closing, violated, .. } = newcomer;
        self.channel = channel;
        self.partial = partial;
        self.closing = closing;
        self.violated = violated;
        while let Some(event) = events.pop() {
            match event {
                Event::Packet(packet) | Event::Recover { packet, .. } if packet.kind() == PacketKind::Connect => {
                    if let Err(cause) = self.hear_connect(packet) {
                        self.violate(cause);
                    }
                }
                Event::Packet(_) | Event::Recover { .. } | Event::Message(_) => self.events.push(event),
            }
        }
        let waits_for = self.settings.connect_timeout;
        self.deadline = self.sockets.has(State::Away).then(|| now + waits_for);
    }

    /// A client asks again for a namespace that it had.
    pub(super) fn hear_return(&mut self, packet: Packet) -> Result<(), Cause> {
        let past = self.past(&packet);
        match past {
            Some((private, offset)) if private == self.private && self.can_recover(packet.namespace(), &offset) => {
                self.sockets.set(packet.namespace(), State::Returning);
                let packet = self.without_past(packet);
                self.events.push(Event::Recover { packet, private, offset });
                Ok(())
            }
            Some(_) | None => {
                self.forget(packet.namespace());
                self.tell_left(packet.namespace(), TRANSPORT_CLOSE);
                self.hear_ask(packet, None)
            }
        }
    }

    /// Gives a namespace back.
    pub(super) fn send_recovered(&mut self, namespace: &str, offset: &str) {
        let Some(place) = self.sockets.find(namespace) else { return };
        match self.sockets.at(place).state {
            State::Away | State::Returning if !self.is_parked && self.closing.is_none() => {}
            State::Asked | State::Connected | State::Away | State::Returning | State::Left => return,
        }
        self.push_accept(place);
        if let Some(recovery) = &self.recovery {
            for (message, is_shared) in recovery.missed(place, offset.parse().ok()) {
                if is_shared { self.channel.outbox.push_shared(message) } else { self.channel.outbox.push(message) }
            }
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.forget_nameless(place);
        }
        if !self.sockets.has(State::Away) {
            self.deadline = None;
        }
    }

    /// Those namespaces that the client had, and has not asked for again, are no longer its own.
    pub(super) fn leave_away(&mut self) {
        let names = self.sockets.names(State::Away);
        for namespace in &names {
            self.forget(namespace);
            self.tell_left(namespace, TRANSPORT_CLOSE);
        }
    }

    /// What a client shows that was here before: its private id, and the last event that it has seen.
    pub(super) fn past(&self, packet: &Packet) -> Option<(Id, Box<str>)> {
        if self.channel.generation != Generation::Five || self.settings.recovery.is_zero() {
            return None;
        }
        let auth = packet.json();
        let private = json::member(&auth, "pid").and_then(json::string)?;
        let private = Id::from_text(private.as_bytes())?;
        let offset = json::member(&auth, "offset").and_then(json::string).unwrap_or_default();
        Some((private, offset.into()))
    }

    /// The packet, as a client that was never here would send it.
    pub(super) fn without_past(&self, asked: Packet) -> Packet {
        let auth = json::without(&asked.json(), &["pid", "offset"]);
        let auth = if auth == b"{}" { &b""[..] } else { &auth };
        packet(PacketKind::Connect, asked.namespace(), auth, &self.settings).unwrap_or(asked)
    }
}
