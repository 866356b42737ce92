//! ZMTP 3.0 and 3.1, the wire protocol of ZeroMQ (RFC 23, RFC 37), as a ROUTER or a DEALER, on either side of a
//! connection.

mod frame;

use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

pub use frame::{Frames, Message};

use crate::error::{Cause, Misuse, Violation};
use crate::limits::Limits;
use crate::rope::Rope;
use crate::time::Instant;

/// Which socket a connection plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Talks to many peers; decides about each before the link is up.
    Router,
    /// Talks to one peer at a time; takes the peer as it is.
    Dealer,
}

/// The socket that a peer says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketType {
    /// DEALER.
    Dealer,
    /// REP.
    Rep,
    /// REQ.
    Req,
    /// ROUTER.
    Router,
}

/// A user name and a password, at most 255 bytes each. The password does not show in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: Bytes,
    /// The password.
    pub password: Bytes,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.username.escape_ascii())
    }
}

/// The security mechanism, which must be the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// Nobody is asked for anything.
    Null,
    /// Peers show a user name and a password, in the clear (RFC 24): the side that checks.
    PlainServer,
    /// The side that shows them.
    PlainClient(Credentials),
}

/// What connections of one endpoint have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The socket that we are.
    pub role: Role,
    /// Our identity, at most 255 bytes and not beginning with NUL; may be empty.
    pub identity: Bytes,
    /// The security mechanism.
    pub mechanism: Mechanism,
    /// Bytes of a message, frame headers included.
    pub message_bytes: usize,
    /// Frames of a message.
    pub frames: usize,
    /// From the start of the connection until it is up.
    pub handshake_timeout: Duration,
    /// Time between two PINGs; a peer silent for three times as long is given up. `None` sends no PINGs. A peer of
    /// ZMTP 3.0 gets none either, since it would not answer.
    pub heartbeat: Option<Duration>,
}

impl Settings {
    /// Settings without identity and security, bounds and deadlines taken from `limits`.
    pub fn new(role: Role, limits: &Limits) -> Self {
        Self {
            role,
            identity: Bytes::new(),
            mechanism: Mechanism::Null,
            message_bytes: limits.message_bytes,
            frames: limits.frames,
            handshake_timeout: limits.handshake_timeout,
            heartbeat: Some(limits.heartbeat),
        }
    }
}

/// What a connection tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer shows its credentials (PLAIN server only). Answer with [`Connection::welcome`] or
    /// [`Connection::refuse`]; until then nothing more is consumed.
    Hello(Credentials),
    /// The peer has said who it is. A ROUTER answers with [`Connection::accept`], which brings the link up, or
    /// [`Connection::refuse`], or holds the peer by not answering; until then nothing more is consumed. A DEALER is up
    /// already.
    Peer {
        /// The identity, at most 255 bytes, often empty.
        identity: Bytes,
        /// The peer's socket.
        socket_type: SocketType,
        /// The name it was welcomed under (PLAIN server only).
        username: Option<Bytes>,
    },
    /// A message.
    Message(Message),
}

/// One ZMTP connection.
pub struct Connection {
    settings: Arc<Settings>,
    outbound: Rope,
    event: Option<Event>,
    closing: Option<Cause>,
    heard: Instant,
    minor: Option<u8>,
    up: bool,
}

impl Connection {
    /// Starts a connection: the greeting is queued.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Self { settings, outbound: Rope::new(), event: None, closing: None, heard: now, minor: None, up: false }
    }

    /// Takes bytes from the peer and returns how many were consumed. The caller keeps the rest (never more than 8 KiB
    /// unless an event waits), and offers it again, followed by newer bytes, once the event is polled and answered.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.heard = now;
        bytes.len()
    }

    /// Takes note that the peer will send no more.
    pub fn receive_eof(&mut self, _now: Instant) {
        self.closing = Some(Cause::ConnectionFailed);
    }

    /// Takes the next event. Drain to `None` after each input.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Lets the peer of [`Event::Hello`] in; [`Event::Peer`] follows.
    pub fn welcome(&mut self, _now: Instant) -> Result<(), Misuse> {
        Ok(())
    }

    /// Answers [`Event::Peer`] as a ROUTER: the link is up.
    pub fn accept(&mut self, _now: Instant) -> Result<(), Misuse> {
        self.up = true;
        Ok(())
    }

    /// Answers [`Event::Hello`] or [`Event::Peer`] with an ERROR command. A libzmq peer does not come back after it, so
    /// this is for what a new attempt would not mend. The connection is closing afterwards.
    pub fn refuse(&mut self, cause: Cause, _now: Instant) -> Result<(), Misuse> {
        self.closing = Some(cause);
        Ok(())
    }

    /// Queues a message of copied `parts`, at least one.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), Misuse> {
        let Some(message) = Message::from_parts(parts) else { return Err(Misuse("a message has a frame")) };
        self.send_message(&message)
    }

    /// Queues a message of copied `head` parts and a last frame `body`, which is shared when large.
    pub fn send_with_body(&mut self, _head: &[&[u8]], body: Bytes) -> Result<(), Misuse> {
        self.outbound.push(body);
        Ok(())
    }

    /// Queues a message as it stands.
    pub fn send_message(&mut self, message: &Message) -> Result<(), Misuse> {
        self.outbound.push(message.wire().clone());
        Ok(())
    }

    /// Bytes to be written. The caller writes from the front and calls [`Rope::advance`]; it must not append, and it
    /// bounds the queue by sending less when it grows.
    pub fn outbound(&mut self) -> &mut Rope {
        &mut self.outbound
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.up).then(|| self.heard + self.settings.handshake_timeout)
    }

    /// Does what is due. Early calls are harmless.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Whether messages can be sent.
    pub fn is_up(&self) -> bool {
        self.up && self.closing.is_none()
    }

    /// Why the connection is over, if it is: write what is queued, then close. All further input is ignored.
    pub fn is_closing(&self) -> Option<Cause> {
        self.closing
    }

    /// What the peer did wrong, if that is why the connection is over.
    pub fn violation(&self) -> Option<Violation> {
        self.closing.map(Violation::from)
    }

    /// The minor version of the peer's ZMTP 3, once its greeting is in.
    pub fn peer_version(&self) -> Option<u8> {
        self.minor
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }
}
