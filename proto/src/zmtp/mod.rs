//! ZMTP 3.0 and 3.1, the wire protocol of ZeroMQ (RFC 23, RFC 37), as a ROUTER or a DEALER, on either side of a
//! connection.
//!
//! A [`Connection`] is one link over one stream. Hand it what was read, drain its events, write what is in its
//! outbound queue, and call it again when its deadline has come. Two of them talk in memory:
//!
//! ```
//! use std::sync::Arc;
//! use blastbeat_proto::{limits::Limits, time::Instant, zmtp::{Connection, Event, Role, Settings}};
//!
//! fn pass(from: &mut Connection, to: &mut Connection, now: Instant) -> Option<Event> {
//!     let bytes = from.outbound().take();
//!     let used = to.receive(&bytes, now);
//!     assert_eq!(used, bytes.len());
//!     to.poll_event()
//! }
//!
//! let now = Instant::ZERO;
//! let new = |role| Connection::new(Arc::new(Settings::new(role, &Limits::DEFAULT)), now);
//! let (mut router, mut dealer) = (new(Role::Router), new(Role::Dealer));
//! pass(&mut router, &mut dealer, now); // the greetings
//! let Some(Event::Peer { .. }) = pass(&mut dealer, &mut router, now) else { panic!("the dealer says who it is") };
//! router.accept(now).unwrap();
//! pass(&mut router, &mut dealer, now);
//! dealer.send(&[b"hello", b"world"]).unwrap();
//! let Some(Event::Message(message)) = pass(&mut dealer, &mut router, now) else { panic!("and then talks") };
//! assert!(message.frames().eq([b"hello", b"world"]));
//! ```

mod command;
mod connection;
mod frame;
mod greeting;
mod liveness;
mod mechanism;
mod scrub;
#[cfg(test)]
mod tests;

use core::fmt;
use core::time::Duration;

use bytes::Bytes;

pub use connection::Connection;
pub use frame::{Frames, Message};
pub use scrub::Scrubber;

use crate::limits::Limits;

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
