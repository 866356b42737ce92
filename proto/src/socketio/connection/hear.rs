//! What comes from the peer: packets of Engine.IO, and those of socket.io in them.

use alloc::boxed::Box;

use bytes::Bytes;

use super::sockets::State;
use super::{Connection, Event, packet};
use crate::error::Cause;
use crate::socketio::legacy::{self, Legacy};
use crate::socketio::payload::{Frame, FrameKind, decode_legacy_payload, decode_message, decode_payload};
use crate::socketio::{Encoding, Generation, Id, Layer, Packet, PacketKind};
use crate::time::Instant;
use crate::websocket::{Kind, Message};

/// Why a client has left a namespace, as JSON: it said so.
const CLIENT_DISCONNECT: &[u8] = b"\"client namespace disconnect\"";

/// All attachments of one packet have at most this many times [`Settings::payload_bytes`](super::Settings::payload_bytes):
/// what socket.io's own server takes in all.
const ATTACHMENT_PAYLOADS_MAX: usize = 10;

/// A packet whose attachments are under way.
pub(super) struct Partial {
    pub(super) packet: Packet,
    /// Attachments still to come; never zero.
    missing: usize,
}

impl Connection {
    pub(super) fn hear_payload(&mut self, body: Bytes, encoding: Encoding, now: Instant) -> Result<(), Cause> {
        match self.channel.generation {
            Generation::Five | Generation::Two => {
                let frames = decode_payload(self.channel.generation, encoding, body, &self.settings)?;
                frames.into_iter().try_for_each(|frame| self.hear(frame, now))
            }
            Generation::One => self.hear_legacy_payload(body, now),
        }
    }

    pub(super) fn hear_websocket(&mut self, message: Message, now: Instant) -> Result<(), Cause> {
        match (self.channel.generation, message.kind) {
            (Generation::Five | Generation::Two, _) => {
                let frame = decode_message(self.channel.generation, message)?;
                self.hear(frame, now)
            }
            (Generation::One, Kind::Text) => self.hear_legacy_payload(message.payload, now),
            (Generation::One, Kind::Binary) => Err(Cause::PacketMalformed),
        }
    }

    /// Takes a packet of Engine.IO. Those that make no sense here are ignored, as others do; but a heartbeat must go the
    /// right way.
    fn hear(&mut self, frame: Frame, now: Instant) -> Result<(), Cause> {
        if self.closing.is_some() {
            return Ok(());
        }
        let (generation, is_client) = (self.channel.generation, self.channel.is_client);
        let server_pings = generation == Generation::Five;
        match frame.kind {
            FrameKind::Ping if server_pings == is_client => {
                self.channel.hear(is_client, &self.settings, now);
                self.send_control(FrameKind::Pong, frame.data);
            }
            FrameKind::Pong if server_pings != is_client => {
                self.channel.hear(true, &self.settings, now);
                self.note_pong();
            }
            FrameKind::Ping | FrameKind::Pong => return Err(Cause::PacketMalformed),
            FrameKind::Message => {
                self.channel.hear(false, &self.settings, now);
                self.hear_message(frame)?;
            }
            FrameKind::Close => self.say_farewell(Cause::ClientClosed),
            FrameKind::Open if is_client => self.channel.receive_hello(&frame.data, &self.settings, now)?,
            FrameKind::Open | FrameKind::Upgrade | FrameKind::Noop => {
                self.channel.hear(false, &self.settings, now);
            }
        }
        Ok(())
    }

    fn hear_message(&mut self, frame: Frame) -> Result<(), Cause> {
        if self.channel.layer == Layer::Plain {
            let kind = if frame.is_binary { Kind::Binary } else { Kind::Text };
            self.events.push(Event::Message(Message { kind, payload: frame.data }));
            return Ok(());
        }
        if frame.is_binary {
            return self.hear_attachment(frame.data);
        }
        if self.partial.is_some() {
            return Err(Cause::PacketMalformed);
        }
        let (packet, missing) = Packet::decode(self.channel.generation, frame.data, &self.settings)?;
        if missing == 0 {
            return self.hear_packet(packet);
        }
        self.partial = Some(Box::new(Partial { packet, missing }));
        Ok(())
    }

    fn hear_attachment(&mut self, attachment: Bytes) -> Result<(), Cause> {
        let mut partial = self.partial.take().ok_or(Cause::PacketMalformed)?;
        let bytes = partial.packet.attachments().iter().map(Bytes::len).sum::<usize>() + attachment.len();
        if bytes > self.settings.payload_bytes.saturating_mul(ATTACHMENT_PAYLOADS_MAX) {
            return Err(Cause::MessageTooLarge);
        }
        partial.packet.attach(attachment);
        partial.missing -= 1;
        if partial.missing == 0 {
            return self.hear_packet(partial.packet);
        }
        self.partial = Some(partial);
        Ok(())
    }

    fn hear_packet(&mut self, packet: Packet) -> Result<(), Cause> {
        if self.channel.is_client {
            return self.hear_as_client(packet);
        }
        match packet.kind() {
            PacketKind::Connect => self.hear_connect(packet),
            PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack => self.hear_of_namespace(packet),
            PacketKind::Refuse => Err(Cause::PacketMalformed),
        }
    }

    pub(super) fn hear_connect(&mut self, packet: Packet) -> Result<(), Cause> {
        match self.sockets.state(packet.namespace()) {
            // What a client of generation Two asks for it may have without asking, as the main namespace.
            Some(State::Connected) if self.channel.generation == Generation::Five => Err(Cause::PacketMalformed),
            Some(State::Connected | State::Asked | State::Returning) => Ok(()),
            Some(State::Away) => self.hear_return(packet),
            Some(State::Left) | None => {
                let past = if self.sockets.is_new() { self.past(&packet) } else { None };
                self.hear_ask(packet, past.filter(|(private, _)| *private != self.private))
            }
        }
    }

    /// A client asks for a namespace, and may show that it had it before.
    pub(super) fn hear_ask(&mut self, packet: Packet, past: Option<(Id, Box<str>)>) -> Result<(), Cause> {
        let place = self.sockets.ask(packet.namespace(), self.settings.namespaces).ok_or(Cause::NamespacesMax)?;
        if let Some(recovery) = &mut self.recovery {
            recovery.forget(place);
        }
        if !self.sockets.has(State::Away) {
            self.deadline = None;
        }
        let event = match past {
            Some((private, offset)) => Event::Recover { packet: self.without_past(packet), private, offset },
            None => Event::Packet(packet),
        };
        self.events.push(event);
        Ok(())
    }

    /// A packet for a namespace that the client has. What it sent before it knew that it has lost it is dropped.
    fn hear_of_namespace(&mut self, packet: Packet) -> Result<(), Cause> {
        match self.sockets.state(packet.namespace()) {
            Some(State::Connected) => {}
            Some(State::Left) => {
                self.dropped += 1;
                return Ok(());
            }
            Some(State::Asked | State::Away | State::Returning) | None
                if self.channel.generation == Generation::Five =>
            {
                return Err(Cause::PacketMalformed);
            }
            Some(State::Asked | State::Away | State::Returning) | None => {
                self.dropped += 1;
                return Ok(());
            }
        }
        match packet.kind() {
            PacketKind::Disconnect => {
                self.forget(packet.namespace());
                self.tell_left(packet.namespace(), CLIENT_DISCONNECT);
            }
            PacketKind::Connect | PacketKind::Event | PacketKind::Ack | PacketKind::Refuse => {
                self.events.push(Event::Packet(packet));
            }
        }
        Ok(())
    }

    fn hear_as_client(&mut self, packet: Packet) -> Result<(), Cause> {
        let state = self.sockets.state(packet.namespace());
        match packet.kind() {
            PacketKind::Connect => {
                // The main namespace may come without being asked for.
                let may_come = self.channel.generation != Generation::Five && packet.namespace() == "/";
                if state != Some(State::Asked) {
                    if !may_come || state == Some(State::Connected) {
                        return Ok(());
                    }
                    self.sockets.ask("/", self.settings.namespaces).ok_or(Cause::NamespacesMax)?;
                }
                self.sockets.set(packet.namespace(), State::Connected);
            }
            PacketKind::Refuse if state == Some(State::Asked) => {
                self.sockets.set(packet.namespace(), State::Left);
            }
            PacketKind::Disconnect if state == Some(State::Connected) => {
                self.sockets.set(packet.namespace(), State::Left);
            }
            PacketKind::Event | PacketKind::Ack if state == Some(State::Connected) => {}
            PacketKind::Refuse | PacketKind::Disconnect | PacketKind::Event | PacketKind::Ack => return Ok(()),
        }
        self.events.push(Event::Packet(packet));
        Ok(())
    }

    fn hear_legacy_payload(&mut self, body: Bytes, now: Instant) -> Result<(), Cause> {
        let texts = decode_legacy_payload(body, &self.settings)?;
        texts.into_iter().try_for_each(|text| self.hear_legacy(text, now))
    }

    fn hear_legacy(&mut self, text: Bytes, now: Instant) -> Result<(), Cause> {
        if self.closing.is_some() {
            return Ok(());
        }
        let heard = legacy::decode(text, &self.settings)?;
        self.channel.hear(false, &self.settings, now);
        match heard {
            Legacy::Heartbeat if self.channel.is_client => self.send_heartbeat(),
            Legacy::Heartbeat | Legacy::Noop => {}
            Legacy::Packet { packet, .. } if packet.kind() == PacketKind::Disconnect && packet.namespace() == "/" => {
                self.say_farewell(Cause::ClientClosed);
            }
            Legacy::Packet { packet, acknowledge } => {
                if let Some(id) = acknowledge.filter(|_| self.is_connected(packet.namespace())) {
                    self.send_acknowledgement(packet.namespace(), id);
                }
                self.hear_packet(packet)?;
            }
        }
        Ok(())
    }

    /// The client has the main namespace without asking for it.
    pub(super) fn ask_for_main(&mut self) {
        if self.sockets.ask("/", self.settings.namespaces.max(1)).is_some() {
            let asked = packet(PacketKind::Connect, "/", b"", &self.settings);
            self.events.extend(asked.map(Event::Packet));
        }
    }

    /// Tells the owner that the client has left a namespace.
    pub(super) fn tell_left(&mut self, namespace: &str, reason: &[u8]) {
        let left = packet(PacketKind::Disconnect, namespace, reason, &self.settings);
        self.events.extend(left.map(Event::Packet));
    }

    /// A namespace is no longer the client's.
    pub(super) fn forget(&mut self, namespace: &str) {
        let Some(place) = self.sockets.find(namespace) else { return };
        self.sockets.at_mut(place).state = State::Left;
        if let Some(recovery) = &mut self.recovery {
            recovery.forget(place);
        }
    }

    fn note_pong(&mut self) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.note_pong(&mut self.sockets);
        if recovery.is_empty() {
            self.recovery = None;
        }
    }
}
