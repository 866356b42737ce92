//! What goes to the peer.

use alloc::format;

use bytes::Bytes;

use super::recovery::{OWN_OFFSETS, keep};
use super::sockets::{Place, State};
use super::{Connection, Fanned, Prepared, channel, packet};
use crate::error::Cause;
use crate::socketio::payload::{Frame, FrameKind, encode_attachment, encode_message};
use crate::socketio::{Generation, Id, Packet, PacketKind, SendError, Transport, legacy};
use crate::time::Instant;
use crate::websocket::{Kind, Message};

/// What stands between the packets of a payload of generation Five, which nothing can hide.
const PACKET_END: u8 = 0x1e;

/// What clients of generation One are told when their connection ends though nobody wants them to stay away: they are
/// not known here, and may begin again.
const BEGIN_AGAIN: &str = "7:::1+0";

/// What they are told if they are to stay away.
const STAY_AWAY: &str = "0::";

impl Connection {
    pub(super) fn send_message(&mut self, message: Message) -> Result<(), SendError> {
        let is_cut = self.channel.generation == Generation::Five
            && self.channel.transport == Transport::Polling
            && message.kind == Kind::Text
            && message.payload.contains(&PACKET_END);
        if is_cut {
            return Err(SendError::Unfit);
        }
        if !self.channel.outbox.has_room(message.payload.len(), self.settings.queue_bytes) {
            return Err(SendError::Full);
        }
        let is_binary = message.kind == Kind::Binary;
        let frame = Frame { kind: FrameKind::Message, data: message.payload, is_binary };
        self.channel.outbox.push(encode_message(self.channel.generation, &frame));
        Ok(())
    }

    pub(super) fn send_packet(&mut self, packet: &Packet, now: Instant) -> Result<(), SendError> {
        if self.channel.is_client {
            return self.send_as_client(packet);
        }
        let place = self.sockets.find(packet.namespace()).ok_or_else(|| match packet.kind() {
            PacketKind::Connect => SendError::Unfit,
            PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack | PacketKind::Refuse => {
                SendError::NotConnected
            }
        })?;
        let state = self.sockets.at(place).state;
        match (packet.kind(), state) {
            (PacketKind::Connect, _) => Err(SendError::Unfit),
            (PacketKind::Event, State::Connected | State::Away | State::Returning) => {
                self.send_event(packet, place, state)
            }
            (PacketKind::Ack, State::Connected) => {
                self.check_room(packet)?;
                self.push_packet(packet);
                Ok(())
            }
            (PacketKind::Ack, State::Away | State::Returning) => {
                self.dropped += 1;
                Ok(())
            }
            (PacketKind::Disconnect, State::Connected) => {
                self.push_disconnect(packet.namespace());
                self.forget(packet.namespace());
                Ok(())
            }
            (PacketKind::Disconnect, State::Away) => {
                self.forget(packet.namespace());
                Ok(())
            }
            (PacketKind::Refuse | PacketKind::Disconnect, State::Returning) | (PacketKind::Refuse, State::Asked) => {
                self.send_refusal(packet, now);
                Ok(())
            }
            (PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack, State::Asked)
            | (PacketKind::Refuse, State::Connected | State::Away)
            | (PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack | PacketKind::Refuse, State::Left) => {
                Err(SendError::NotConnected)
            }
        }
    }

    fn send_event(&mut self, packet: &Packet, place: Place, state: State) -> Result<(), SendError> {
        let is_sent = state == State::Connected;
        if is_sent {
            self.check_room(packet)?;
        }
        if !self.is_recoverable() {
            self.push_packet(packet);
            return Ok(());
        }
        let offset = packet.id().is_none().then(|| self.next_offset());
        let is_kept = offset.is_some() || !is_sent;
        let generation = self.channel.generation;
        let mut is_head = true;
        let attachments = packet.attachments().iter().map(|bytes| encode_attachment(generation, bytes));
        for message in core::iter::once(packet.encode_message(generation, offset)).chain(attachments) {
            if is_kept {
                keep(&mut self.recovery, &message, place, offset, is_head, false);
            }
            if is_sent {
                self.channel.outbox.push(message);
            }
            is_head = false;
        }
        self.shrink_recovery();
        Ok(())
    }

    /// Queues an event for many, or lends what of it is to be sent at once. Other packets are no faster for many.
    pub(super) fn fan<'a>(&mut self, prepared: &'a mut Prepared, now: Instant) -> Result<Fanned<'a>, SendError> {
        let event = prepared.packet();
        if self.channel.is_client || event.kind() != PacketKind::Event {
            return self.send_packet(event, now).map(|()| Fanned::Queued);
        }
        let place = self.sockets.find(event.namespace()).ok_or(SendError::NotConnected)?;
        let is_sent = match self.sockets.at(place).state {
            State::Connected => true,
            State::Away | State::Returning => false,
            State::Asked | State::Left => return Err(SendError::NotConnected),
        };
        if is_sent {
            self.check_room(event)?;
        }
        let is_recoverable = self.is_recoverable();
        let is_kept = is_recoverable && (!is_sent || prepared.offset().is_some());
        let offset = prepared.offset();
        let frames = prepared.frames(self.channel.generation, is_recoverable);
        if is_kept {
            for (index, frame) in frames.iter().enumerate() {
                keep(&mut self.recovery, &frame.message(), place, offset, index == 0, true);
            }
            self.shrink_recovery();
        }
        let goes_at_once = self.channel.transport == Transport::WebSocket && self.channel.outbox.is_empty();
        if is_sent && goes_at_once {
            return Ok(Fanned::Frames(frames));
        }
        if is_sent {
            frames.iter().for_each(|frame| self.channel.outbox.push_shared(frame.message()));
        }
        Ok(Fanned::Queued)
    }

    fn send_as_client(&mut self, packet: &Packet) -> Result<(), SendError> {
        let state = self.sockets.state(packet.namespace());
        match (packet.kind(), state) {
            (PacketKind::Connect, Some(State::Left) | None) => {
                self.check_room(packet)?;
                let place = self.sockets.ask(packet.namespace(), self.settings.namespaces);
                place.ok_or(SendError::Full)?;
            }
            (PacketKind::Connect, Some(_)) | (PacketKind::Refuse, _) => return Err(SendError::Unfit),
            (PacketKind::Disconnect, Some(State::Connected)) => {
                self.push_disconnect(packet.namespace());
                self.forget(packet.namespace());
                return Ok(());
            }
            (PacketKind::Event | PacketKind::Ack, Some(State::Connected)) => self.check_room(packet)?,
            (PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack, _) => return Err(SendError::NotConnected),
        }
        self.push_packet(packet);
        Ok(())
    }

    pub(super) fn send_accept(&mut self, namespace: &str, socket: Id) -> Result<(), SendError> {
        let place = self.sockets.find(namespace).ok_or(SendError::NotConnected)?;
        match self.sockets.at(place).state {
            State::Asked => {}
            // It does not take up where it was after all.
            State::Returning => {
                self.forget(namespace);
                self.sockets.at_mut(place).dropped = None;
            }
            State::Connected | State::Away | State::Left => return Err(SendError::NotConnected),
        }
        self.sockets.at_mut(place).id = socket;
        self.push_accept(place);
        Ok(())
    }

    pub(super) fn push_accept(&mut self, place: Place) {
        let is_recoverable = self.is_recoverable();
        let socket = self.sockets.at_mut(place);
        socket.state = State::Connected;
        let namespace = match socket.name() {
            "/" => "",
            name => name,
        };
        let comma = if namespace.is_empty() { "" } else { "," };
        let (id, private) = (socket.id, self.private);
        let text = match self.channel.generation {
            Generation::Five if is_recoverable => {
                format!("40{namespace}{comma}{{\"sid\":\"{id}\",\"pid\":\"{private}\"}}")
            }
            Generation::Five => format!("40{namespace}{comma}{{\"sid\":\"{id}\"}}"),
            Generation::Two => format!("40{namespace}"),
            Generation::One => format!("1::{namespace}"),
        };
        self.channel.outbox.push(Message { kind: Kind::Text, payload: text.into() });
    }

    fn send_refusal(&mut self, refusal: &Packet, now: Instant) {
        self.forget(refusal.namespace());
        match refusal.kind() {
            PacketKind::Refuse => self.push_packet(refusal),
            PacketKind::Connect | PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack => {
                self.push_disconnect(refusal.namespace());
            }
        }
        // A client that has nothing has as long as one that has just come.
        if self.channel.generation == Generation::Five && self.sockets.is_idle() {
            self.deadline = Some(now + self.settings.connect_timeout);
        }
    }

    /// Queues the heartbeat that is due.
    pub(super) fn send_heartbeat(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.note_ping();
        }
        if self.may_add_control() {
            self.channel.push_heartbeat();
        }
    }

    /// Queues a packet of Engine.IO.
    pub(super) fn send_control(&mut self, kind: FrameKind, data: Bytes) {
        if self.may_add_control() {
            self.channel.push_frame(kind, data);
        }
    }

    /// Queues the acknowledgement of an event whose sender wants no more than that.
    pub(super) fn send_acknowledgement(&mut self, namespace: &str, id: u64) {
        if self.may_add_control() {
            self.channel.outbox.push(legacy::encode_acknowledgement(namespace, id));
        }
    }

    /// What we say by ourselves finds room, or the peer does not take what it makes us say.
    fn may_add_control(&mut self) -> bool {
        let has_room = self.channel.outbox.has_room(0, self.settings.queue_bytes);
        if !has_room {
            self.say_farewell(Cause::SlowClient);
        }
        has_room
    }

    /// Closes; the last words are queued.
    pub(super) fn say_farewell(&mut self, cause: Cause) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(cause);
        self.partial = None;
        self.recovery = None;
        self.channel.end_probe();
        if cause == Cause::ClientClosed {
            return self.channel.fall_silent();
        }
        if self.is_parked {
            return;
        }
        let is_last_word = cause == Cause::Complete || self.channel.is_client;
        match self.channel.generation {
            Generation::Five | Generation::Two => {
                if is_last_word {
                    self.sockets.names(State::Connected).iter().for_each(|name| self.push_disconnect(name));
                }
                if self.channel.transport == Transport::Polling {
                    self.channel.push_frame(FrameKind::Close, Bytes::new());
                }
            }
            Generation::One if is_last_word => self.channel.outbox.push(channel::text(STAY_AWAY)),
            Generation::One => self.channel.outbox.push(channel::text(BEGIN_AGAIN)),
        }
    }

    /// Queues a packet and its attachments.
    fn push_packet(&mut self, packet: &Packet) {
        let generation = self.channel.generation;
        match generation {
            Generation::Five | Generation::Two => {
                self.channel.outbox.push(packet.encode_message(generation, None));
                for attachment in packet.attachments() {
                    self.channel.outbox.push(encode_attachment(generation, attachment));
                }
            }
            Generation::One => self.channel.outbox.push(legacy::encode(packet)),
        }
    }

    fn push_disconnect(&mut self, namespace: &str) {
        if let Some(packet) = packet(PacketKind::Disconnect, namespace, b"", &self.settings) {
            self.push_packet(&packet);
        }
    }

    fn check_room(&self, packet: &Packet) -> Result<(), SendError> {
        let has_room = self.channel.outbox.has_room(packet.held(), self.settings.queue_bytes);
        if has_room { Ok(()) } else { Err(SendError::Full) }
    }

    /// Whether events are kept for the client.
    pub(super) fn is_recoverable(&self) -> bool {
        self.channel.generation == Generation::Five && !self.channel.is_client && !self.settings.recovery.is_zero()
    }

    fn next_offset(&mut self) -> u64 {
        self.own_offset += 1;
        OWN_OFFSETS + self.own_offset
    }

    fn shrink_recovery(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.shrink(self.settings.recovery_bytes, &mut self.sockets);
        }
    }
}
