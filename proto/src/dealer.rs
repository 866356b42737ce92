//! The node's side of a link: what a node kit needs besides a socket.

use alloc::sync::Arc;

use bytes::Bytes;

use crate::error::{Cause, Misuse};
use crate::message::{Capabilities, Kind, Message, Sid};
use crate::rope::Rope;
use crate::time::Instant;
use crate::zmtp;

/// What a node wants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The link; its role must be DEALER.
    pub link: Arc<zmtp::Settings>,
    /// What every `pong` asks for.
    pub capabilities: Capabilities,
    /// Bytes queued for one session before [`Dealer::send`] refuses more.
    pub session_bytes: usize,
    /// Bytes queued in all.
    pub queue_bytes: usize,
}

/// What a dealer tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The link is up and the server knows that the node is alive.
    Up,
    /// The server has not seen this node before: fill the caches.
    Spawn,
    /// A message of a session, or an `error` about the node itself.
    Message(Message),
}

/// One link of a node to a server.
pub struct Dealer {
    link: zmtp::Connection,
    settings: Settings,
    event: Option<Event>,
}

impl Dealer {
    /// Starts a link.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self { link: zmtp::Connection::new(settings.link.clone(), now), settings, event: None }
    }

    /// Takes bytes from the server and returns how many were consumed.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.link.receive(bytes, now)
    }

    /// Takes note that the server will send no more.
    pub fn receive_eof(&mut self, now: Instant) {
        self.link.receive_eof(now);
    }

    /// Takes the next event. Drain to `None` after each input.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Sends a message of a session.
    pub fn send(&mut self, _sid: Sid, _kind: Kind, _body: Bytes) -> Result<(), Misuse> {
        Ok(())
    }

    /// Bytes that can be sent to this session now.
    pub fn writable(&self, _sid: Sid) -> usize {
        self.room()
    }

    /// Bytes that can be queued in all.
    pub fn room(&self) -> usize {
        self.settings.queue_bytes
    }

    /// Drops what is known of a session once its queue has left.
    pub fn forget(&mut self, _sid: Sid) {}

    /// Bytes to be written.
    pub fn outbound(&mut self) -> &mut Rope {
        self.link.outbound()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    /// Does what is due. Early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
    }

    /// Why the link is over, if it is.
    pub fn is_closing(&self) -> Option<Cause> {
        self.link.is_closing()
    }
}
