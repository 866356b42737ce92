//! The lower half: the transport and what belongs to it. A client that comes back brings a new one.
//!
//! ```text
//! Polling ── WebSocket opens ──> tried ── its ping ──> answered ── its upgrade packet ──> WebSocket
//!    ^            │                 │                      │
//!    └── it closes, says something else, or takes too long ┘
//! ```
//!
//! Once the ping of a WebSocket is answered, polls bring nothing more: they are answered with a packet that says
//! nothing, so that none is under way when the WebSocket takes over.

use alloc::boxed::Box;
use core::mem::size_of;

use bytes::Bytes;

use super::Probe;
use super::clock::{Clock, Pace, Tick};
use super::outbox::Outbox;
use crate::error::Cause;
use crate::socketio::payload::{Frame, FrameKind, PayloadWriter, decode_message, encode_message};
use crate::socketio::{Encoding, Generation, Layer, Settings, Transport, json, legacy};
use crate::time::Instant;
use crate::websocket::{Kind, Message};

/// What a WebSocket says that wants to take over, and what it is answered.
const PROBE: &[u8] = b"probe";

pub(super) struct Channel {
    pub(super) generation: Generation,
    pub(super) layer: Layer,
    pub(super) is_client: bool,
    pub(super) transport: Transport,
    /// The client takes no binary payloads.
    base64: bool,
    /// A GET waits.
    pub(super) waits: bool,
    /// It is to be answered with a packet that says nothing.
    ends_poll: bool,
    probe: Probing,
    probe_deadline: Option<Instant>,
    pub(super) outbox: Outbox,
    pub(super) clock: Clock,
    /// What the server has said of the connection; only clients have it.
    pub(super) hello: Option<Box<Hello>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probing {
    None,
    Tried,
    Answered,
}

/// The server's first packet.
pub(super) struct Hello {
    pub(super) sid: Box<str>,
    pace: Pace,
    payload_bytes: Option<usize>,
}

impl Channel {
    pub(super) fn new(
        generation: Generation,
        layer: Layer,
        is_client: bool,
        transport: Transport,
        base64: bool,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        Self {
            generation,
            layer,
            is_client,
            transport,
            base64,
            waits: false,
            ends_poll: false,
            probe: Probing::None,
            probe_deadline: None,
            outbox: Outbox::new(),
            clock: Clock::new(generation, is_client, settings_pace(settings), now),
            hello: None,
        }
    }

    /// Takes note of a packet; `answers`: of a heartbeat, or its answer.
    pub(super) fn hear(&mut self, answers: bool, settings: &Settings, now: Instant) {
        let pace = self.pace(settings);
        self.clock.hear(self.generation, self.is_client, answers, pace, now);
    }

    pub(super) fn tick(&mut self, settings: &Settings, now: Instant) -> Option<Tick> {
        let pace = self.pace(settings);
        self.clock.tick(self.generation, pace, now)
    }

    /// Bytes of memory that it owns beyond itself.
    pub(super) fn held(&self) -> usize {
        let hello = self.hello.as_ref().map_or(0, |hello| size_of::<Hello>() + hello.sid.len());
        self.outbox.held() + hello
    }

    fn pace(&self, settings: &Settings) -> Pace {
        self.hello.as_ref().map_or_else(|| settings_pace(settings), |hello| hello.pace)
    }

    /// Queues a packet of Engine.IO, of the generations Five and Two.
    pub(super) fn push_frame(&mut self, kind: FrameKind, data: Bytes) {
        self.outbox.push(encode_message(self.generation, &Frame { kind, data, is_binary: false }));
    }

    /// Queues a heartbeat.
    pub(super) fn push_heartbeat(&mut self) {
        match self.generation {
            Generation::Five | Generation::Two => self.push_frame(FrameKind::Ping, Bytes::new()),
            Generation::One => self.outbox.push(text(legacy::HEARTBEAT)),
        }
    }

    /// Reads the server's first packet.
    pub(super) fn receive_hello(&mut self, data: &[u8], settings: &Settings, now: Instant) -> Result<(), Cause> {
        if self.hello.is_some() {
            return Err(Cause::PacketMalformed);
        }
        json::check(data, settings.depth)?;
        let number = |name| json::member(data, name).and_then(|value| core::str::from_utf8(value).ok()?.parse().ok());
        let millis = |name| number(name).map(core::time::Duration::from_millis);
        let sid = json::member(data, "sid").and_then(json::string).ok_or(Cause::JsonMalformed)?;
        let interval = millis("pingInterval").ok_or(Cause::JsonMalformed)?;
        let timeout = millis("pingTimeout").ok_or(Cause::JsonMalformed)?;
        let pace = Pace { interval, timeout };
        let payload_bytes = number("maxPayload").and_then(|max| usize::try_from(max).ok());
        self.hello = Some(Box::new(Hello { sid: sid.into(), pace, payload_bytes }));
        self.clock = Clock::new(self.generation, self.is_client, pace, now);
        Ok(())
    }

    // The polls.

    /// Takes note that a GET waits; false if one does already.
    pub(super) fn begin_poll(&mut self) -> bool {
        let is_first = !self.waits;
        self.waits = true;
        if self.generation == Generation::One && !self.is_client {
            self.transport = Transport::Polling;
        }
        is_first
    }

    pub(super) fn end_poll(&mut self) {
        self.waits = false;
        self.ends_poll = false;
    }

    /// Drops what waits; a GET that waits is answered with a packet that says nothing.
    pub(super) fn fall_silent(&mut self) {
        self.outbox.clear();
        self.ends_poll = self.waits;
    }

    pub(super) fn has_payload(&self) -> bool {
        match (self.is_client, self.transport) {
            (true, Transport::Polling) => !self.outbox.is_empty(),
            (true, Transport::WebSocket) => false,
            (false, _) => self.waits && (self.says_nothing() || !self.outbox.is_empty()),
        }
    }

    /// Whether polls bring nothing, even if something waits.
    fn says_nothing(&self) -> bool {
        self.ends_poll || self.probe == Probing::Answered || self.transport == Transport::WebSocket
    }

    pub(super) fn take_payload(&mut self, max: usize) -> (Bytes, Encoding) {
        let writer = PayloadWriter::new(self.generation, self.layer, self.base64);
        if self.is_client {
            let max = self.hello.as_ref().and_then(|hello| hello.payload_bytes).map_or(max, |theirs| theirs.min(max));
            return self.outbox.take_payload(writer, max);
        }
        let says_nothing = self.says_nothing() || self.outbox.is_empty();
        self.end_poll();
        if !says_nothing {
            return self.outbox.take_payload(writer, max);
        }
        let mut nothing = Outbox::new();
        nothing.push(match self.generation {
            Generation::Five | Generation::Two => frame(self.generation, FrameKind::Noop, Bytes::new()),
            Generation::One => text(legacy::NOOP),
        });
        nothing.take_payload(writer, max)
    }

    // The WebSocket that wants to take over.

    pub(super) fn is_probing(&self) -> bool {
        self.probe != Probing::None
    }

    pub(super) fn begin_probe(&mut self, settings: &Settings, now: Instant) -> bool {
        if self.generation == Generation::One {
            self.transport = Transport::WebSocket;
            return true;
        }
        let may = self.transport == Transport::Polling && self.probe == Probing::None;
        if may {
            self.probe = Probing::Tried;
            self.probe_deadline = Some(now + settings.upgrade_timeout);
        }
        may
    }

    pub(super) fn receive_probe(&mut self, message: Message) -> Probe {
        if self.probe == Probing::None {
            return Probe::Refused(Cause::UpgradeTimeout);
        }
        match (decode_message(self.generation, message), self.is_client) {
            (Ok(Frame { kind: FrameKind::Ping, data, .. }), false) if data == PROBE => {
                self.probe = Probing::Answered;
                Probe::Answer(frame_of(self.generation, FrameKind::Pong))
            }
            (Ok(Frame { kind: FrameKind::Upgrade, .. }), false) => {
                self.upgrade();
                Probe::Upgraded
            }
            (Ok(Frame { kind: FrameKind::Pong, data, .. }), true) if data == PROBE => {
                self.outbox.push_front(frame(self.generation, FrameKind::Upgrade, Bytes::new()));
                self.upgrade();
                Probe::Upgraded
            }
            (Ok(_), _) => {
                self.end_probe();
                Probe::Refused(Cause::PacketMalformed)
            }
            (Err(cause), _) => {
                self.end_probe();
                Probe::Refused(cause)
            }
        }
    }

    fn upgrade(&mut self) {
        self.end_probe();
        self.transport = Transport::WebSocket;
    }

    pub(super) fn end_probe(&mut self) {
        self.probe = Probing::None;
        self.probe_deadline = None;
    }

    /// Ends the try that has taken too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.probe_deadline.is_some_and(|deadline| deadline <= now) {
            self.end_probe();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        crate::time::earliest(self.clock.poll_timeout(), self.probe_deadline)
    }

    /// A client that has upgraded says so when its last poll has ended, and nothing before it.
    pub(super) fn poll_message(&mut self) -> Option<Message> {
        let may = self.transport == Transport::WebSocket && !(self.is_client && self.waits);
        if may { self.outbox.pop() } else { None }
    }

    /// The transport is gone, and all that waited for it.
    pub(super) fn shut(&mut self) {
        self.outbox.clear();
        self.end_poll();
        self.end_probe();
        self.clock = Clock::default();
    }
}

/// What a client says first on a WebSocket that is to take over.
pub(super) fn greeting(generation: Generation) -> Message {
    frame_of(generation, FrameKind::Ping)
}

fn frame_of(generation: Generation, kind: FrameKind) -> Message {
    frame(generation, kind, Bytes::from_static(PROBE))
}

fn frame(generation: Generation, kind: FrameKind, data: Bytes) -> Message {
    encode_message(generation, &Frame { kind, data, is_binary: false })
}

/// A text message of what is written here.
pub(super) fn text(text: &'static str) -> Message {
    Message { kind: Kind::Text, payload: Bytes::from_static(text.as_bytes()) }
}

fn settings_pace(settings: &Settings) -> Pace {
    Pace { interval: settings.ping_interval, timeout: settings.ping_timeout }
}
