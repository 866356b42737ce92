//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), both roles, without a socket.
//!
//! [`handshake`] reads the request and makes the answer; what follows on the connection goes through a [`Connection`],
//! which yields [`Event`]s; the same events, sent, become frames in its outbound rope.
//!
//! ```text
//! Open ── send Close, fail ──> Close sent ── peer's Close, its end, timeout ──┐
//!  ├───── peer's Close, which is answered ────────────────────────────────────┤
//!  ├───── ping timeout, peer's end ───────────────────────────────────────────┤
//!  └───── violation ──> Violated ── farewell delay, peer's end, Close, fail ──┴──> closing
//! ```

mod deflate;
mod frame;
pub mod handshake;
mod negotiate;
mod prepared;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod timing;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

pub use handshake::{Deflate, DeflatePolicy};
pub use prepared::Prepared;

use crate::entropy::Entropy;
use crate::error::{Cause, Violation};
use crate::limits::Limits;
use crate::rope::Rope;
use crate::time::{Duration, Instant};

use deflate::Codec;
use receive::Incoming;
use send::Backlog;
use timing::Clock;

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Text or binary.
    pub kind: Kind,
    /// The payload, decompressed; of a text message valid UTF-8.
    pub payload: Bytes,
}

/// Why a peer closes (RFC 6455, 5.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code; `None` where the close frame is empty.
    pub code: Option<u16>,
    /// UTF-8, at most 123 bytes; empty without a code.
    pub reason: Bytes,
}

/// What is received, and what can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message, reassembled.
    Message(Message),
    /// A ping, at most 125 bytes. The machine has answered it.
    Ping(Bytes),
    /// A pong, at most 125 bytes.
    Pong(Bytes),
    /// The peer closes; sent, the last thing that goes out.
    Close(Close),
}

/// What all connections of a virtual host share. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A received message, decompressed.
    pub message_bytes: usize,
    /// Frames of one received message.
    pub frames: usize,
    /// Silence after which the peer is pinged, and after as much again cut; zero: never.
    pub ping: Duration,
    /// From our close frame to the peer's.
    pub close_timeout: Duration,
    /// From the last message that was received to the farewell of a peer that breaks the protocol: in between answers
    /// to what it sent before can be sent; zero: it is closed at once.
    pub farewell_delay: Duration,
    /// What may wait to be written when a message is added. One message may wait whatever its size.
    pub queue_bytes: usize,
    /// Where a message finds no room: whether the oldest that wait are dropped for it, instead of an error.
    pub drop_oldest: bool,
}

impl Settings {
    /// Settings with these limits, where a message without room is an error.
    pub fn new(limits: &Limits) -> Self {
        Self {
            message_bytes: limits.websocket_message_bytes,
            frames: limits.websocket_frames,
            ping: limits.websocket_ping,
            close_timeout: limits.websocket_close_timeout,
            farewell_delay: limits.websocket_farewell_delay,
            queue_bytes: limits.write_queue_bytes,
            drop_oldest: false,
        }
    }
}

/// An event was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Queued {
    /// Older messages that were dropped for it ([`Settings::drop_oldest`]).
    pub dropped: usize,
}

/// Why an event was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// A close frame was sent or received, or the connection is closing.
    Closed,
    /// More waits than [`Settings::queue_bytes`] allows.
    Full,
    /// It cannot be sent: text that is not UTF-8, a ping or pong of more than 125 bytes, a close code that must not
    /// be sent, a reason without a code, not in UTF-8 or longer than 123 bytes.
    Invalid,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closing",
            Self::Full => "too much is queued",
            Self::Invalid => "not a message that can be sent",
        })
    }
}

impl core::error::Error for SendError {}

/// One WebSocket, after its handshake.
///
/// Give what was read to [`receive`](Self::receive), after each call drain [`poll_event`](Self::poll_event) to
/// `None`, and call it again with what it left until it takes nothing and yields nothing. Write from
/// [`outbound`](Self::outbound), and call [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says. Once [`is_closing`](Self::is_closing) names a cause, close the
/// connection when [`queued`](Self::queued) is zero.
pub struct Connection {
    settings: Arc<Settings>,
    outbound: Rope,
    /// What waits behind the outbound rope.
    backlog: Option<Box<Backlog>>,
    event: Option<Event>,
    incoming: Incoming,
    /// Bytes that were offered and not taken: they are offered again, and are no news then.
    left: usize,
    clock: Clock,
    /// Where a client gets its masks.
    masks: Option<Box<dyn Entropy + Send>>,
    deflate: Option<Deflate>,
    codec: Option<Box<Codec>>,
    /// Why the close frame was sent that was.
    close_sent: Option<Cause>,
    closing: Option<Cause>,
    /// What the peer did wrong.
    violated: Option<Cause>,
}

impl Connection {
    /// The server's side; the handshake was complete at `now`.
    pub fn server(settings: Arc<Settings>, deflate: Option<Deflate>, now: Instant) -> Self {
        Self::new(settings, deflate, None, now)
    }

    /// The client's side. `masks` must be unpredictable (RFC 6455, 5.3).
    pub fn client(
        settings: Arc<Settings>,
        deflate: Option<Deflate>,
        masks: Box<dyn Entropy + Send>,
        now: Instant,
    ) -> Self {
        Self::new(settings, deflate, Some(masks), now)
    }

    fn new(
        settings: Arc<Settings>,
        deflate: Option<Deflate>,
        masks: Option<Box<dyn Entropy + Send>>,
        now: Instant,
    ) -> Self {
        Self {
            clock: Clock::new(&settings, now),
            settings,
            outbound: Rope::new(),
            backlog: None,
            event: None,
            incoming: Incoming::default(),
            left: 0,
            masks,
            deflate,
            codec: None,
            close_sent: None,
            closing: None,
            violated: None,
        }
    }

    /// Lets `bytes` go out before anything else: the handshake's response.
    pub fn begin_with(&mut self, mut bytes: Rope) {
        bytes.append(&mut self.outbound);
        self.outbound = bytes;
    }

    /// Takes bytes that the peer sent and returns how many; the caller keeps the rest, at most a header and a control
    /// frame's payload, and offers it again, followed by newer bytes. Takes nothing while an event waits; takes and
    /// ignores everything after a violation and once the connection is closing.
    pub fn receive(&mut self, data: &[u8], now: Instant) -> usize {
        if data.len() > self.left {
            self.clock.hear(now);
        }
        let mut used = 0;
        while self.event.is_none() && !self.is_deaf() {
            match self.read_step(&data[used..]) {
                Ok(0) => break,
                Ok(n) => used += n,
                Err(cause) => self.violate(cause, now),
            }
        }
        if let Some(Event::Message(_)) = self.event {
            self.clock.note_message(now);
        }
        let used = if self.is_deaf() { data.len() } else { used };
        self.left = data.len() - used;
        used
    }

    /// Takes note that the peer will send no more; call it when everything before that was offered. The connection is
    /// closing.
    pub fn receive_eof(&mut self, _now: Instant) {
        self.close(self.violated.or(self.close_sent).unwrap_or(Cause::ClientGone));
    }

    /// What was received.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// How many bytes are welcome: zero while an event waits.
    pub fn room(&self) -> usize {
        if self.event.is_some() && !self.is_deaf() { 0 } else { usize::MAX }
    }

    /// Closes for `cause`, unless a close frame was sent already: queues one with the cause's code and name, and gives
    /// the peer [`Settings::close_timeout`] to answer it. Its further messages are dropped.
    pub fn fail(&mut self, cause: Cause, now: Instant) {
        if self.close_sent.is_none() && self.closing.is_none() {
            self.say_farewell(cause, now);
            if let Some(violated) = self.violated {
                self.close(violated);
            }
        }
    }

    /// Bytes waiting to be written, those that [`outbound`](Self::outbound) does not yet show included. Messages that
    /// will be compressed count as they are.
    pub fn queued(&self) -> usize {
        self.outbound.len() + self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// Those of the [`queued`](Self::queued) bytes that are shared with other connections: large messages that were
    /// [prepared](Prepared) for many.
    pub fn shared(&self) -> usize {
        self.outbound.shared() + self.backlog.as_ref().map_or(0, |backlog| backlog.shared())
    }

    /// Bytes of memory that an incomplete message holds, and the states of compression where there are any.
    pub fn held(&self) -> usize {
        self.incoming.held() + self.codec.as_ref().map_or(0, |codec| codec.held())
    }

    /// Bytes of memory that an incomplete message holds.
    pub fn assembled(&self) -> usize {
        self.incoming.held()
    }

    /// Why nothing more will be read, or queued: close the transport when [`queued`](Self::queued) is zero.
    ///
    /// [`Cause::ClientClosed`] where the peer closed first; after our own close frame was answered, or the peer ended
    /// instead, the cause it was sent for, which is [`Cause::Complete`] for one that was [sent](Self::send);
    /// [`Cause::ClientGone`] where the peer ended without a close frame; else a violation or a timeout.
    pub fn is_closing(&self) -> Option<Cause> {
        self.closing
    }

    /// What the peer did wrong. Nothing more of it is read; [`is_closing`](Self::is_closing) follows within
    /// [`Settings::farewell_delay`].
    pub fn violation(&self) -> Option<Violation> {
        self.violated.map(Violation::from)
    }

    /// Whether a close frame was queued: nothing more can be sent.
    pub fn has_sent_close(&self) -> bool {
        self.close_sent.is_some()
    }

    fn is_client(&self) -> bool {
        self.masks.is_some()
    }

    fn codec(&mut self) -> &mut Codec {
        self.codec.get_or_insert_default()
    }

    /// The peer broke the protocol: it is told (RFC 6455, 7.1.7), at once or when it may have its last answers.
    fn violate(&mut self, cause: Cause, now: Instant) {
        self.violated = Some(cause);
        self.incoming = Incoming::default();
        self.drop_decoder();
        if self.close_sent.is_some() {
            self.close(cause);
        } else if !self.clock.wait_for_answers(self.settings.farewell_delay, now) {
            self.end_violated(cause, now);
        }
    }

    fn end_violated(&mut self, cause: Cause, now: Instant) {
        self.say_farewell(cause, now);
        self.close(cause);
    }

    /// Whether what the peer says is of no interest any more.
    fn is_deaf(&self) -> bool {
        self.closing.is_some() || self.violated.is_some()
    }

    fn close(&mut self, cause: Cause) {
        self.closing.get_or_insert(cause);
        self.incoming = Incoming::default();
        self.drop_decoder();
        self.clock.stop();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("is_client", &self.is_client())
            .field("deflate", &self.deflate)
            .field("queued", &self.queued())
            .field("close_sent", &self.close_sent)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}
