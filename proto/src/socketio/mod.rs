//! socket.io of every generation in use, and the Engine.IO under it, both roles, without a socket.
//!
//! A [`Connection`] is one client of socket.io, whatever moves its packets: HTTP requests that poll, a WebSocket, or first
//! the one and then the other. It takes the bodies of requests and the messages of the WebSocket, and yields [`Event`]s;
//! the same events, sent, become bodies of responses and messages of the WebSocket. [`request`] reads what a request
//! asks for.
//!
//! | generation | clients | packets | transports |
//! |---|---|---|---|
//! | [`Five`](Generation::Five) | 3.x, 4.x | socket.io 5 over Engine.IO 4 | polling, WebSocket, from one to the other |
//! | [`Two`](Generation::Two) | 1.x, 2.x | socket.io 3 and 4 over Engine.IO 3 | the same, and JSONP |
//! | [`One`](Generation::One) | 0.9 | socket.io 1 | polling, JSONP, WebSocket |
//!
//! With [`Layer::Plain`] there is no socket.io in it: the messages of Engine.IO are what is received and sent.

mod connection;
mod json;
mod jsonp;
mod legacy;
mod namespace;
mod packet;
mod payload;
mod prepared;
mod query;
pub mod request;

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use connection::{Connection, Fanned, Outlook, Probe};
pub use json::string as json_string;
pub use jsonp::{unwrap_form, wrap};
pub use packet::{Content, Packet, PacketKind};
pub use prepared::Prepared;

use crate::limits::Limits;
use crate::time::Duration;
use crate::websocket;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// socket.io 5 over Engine.IO 4.
    Five,
    /// socket.io 3 and 4 over Engine.IO 3.
    Two,
    /// socket.io 1, of the clients 0.9.
    One,
}

/// What the messages of Engine.IO carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Packets of socket.io.
    SocketIo,
    /// Messages of the application.
    Plain,
}

/// What moves the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Requests: a GET waits for packets to the client, a POST brings packets of it.
    Polling,
    /// One WebSocket.
    WebSocket,
}

/// How the bytes of a request or response carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Text in UTF-8, binary packets in base64.
    Text,
    /// The binary form of Engine.IO 3.
    Binary,
}

/// An id that clients are told: of a connection, of a socket, or the private one that a client shows when it comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

/// Something received, and what can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet of socket.io.
    Packet(Packet),
    /// A client asks for a namespace again that it had before its connection broke: a packet of the kind
    /// [`Connect`](PacketKind::Connect) with what it shows for it. Never sent.
    Recover {
        /// The packet, as a client without a past would send it.
        packet: Packet,
        /// The private id that it was given.
        private: Id,
        /// The last event that it has seen; empty if there was none.
        offset: Box<str>,
    },
    /// A message of Engine.IO, where there is no socket.io in it ([`Layer::Plain`]).
    Message(websocket::Message),
}

/// What all connections of a virtual host share. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The body of a request, and a message of the WebSocket.
    pub payload_bytes: usize,
    /// Packets in one payload.
    pub packets: usize,
    /// Attachments of one packet.
    pub attachments: usize,
    /// Arrays and objects of JSON within each other.
    pub depth: usize,
    /// Namespaces of one connection.
    pub namespaces: usize,
    /// From one ping to the next.
    pub ping_interval: Duration,
    /// From a ping to its pong.
    pub ping_timeout: Duration,
    /// From the start to the first packet of the kind [`Connect`](PacketKind::Connect).
    pub connect_timeout: Duration,
    /// From a WebSocket that wants to take over to the packet that says so.
    pub upgrade_timeout: Duration,
    /// How long a client may be away and take up where it was; zero: not at all.
    pub recovery: Duration,
    /// What is kept for a client that may come back.
    pub recovery_bytes: usize,
    /// What may wait for a client between two polls.
    pub queue_bytes: usize,
}

impl Settings {
    /// Settings with these limits.
    pub fn new(limits: &Limits) -> Self {
        Self {
            payload_bytes: limits.socketio_payload_bytes,
            packets: limits.socketio_packets,
            attachments: limits.socketio_attachments,
            depth: limits.socketio_depth,
            namespaces: limits.socketio_namespaces,
            ping_interval: limits.socketio_ping_interval,
            ping_timeout: limits.socketio_ping_timeout,
            connect_timeout: limits.socketio_connect_timeout,
            upgrade_timeout: limits.socketio_upgrade_timeout,
            recovery: limits.socketio_recovery,
            recovery_bytes: limits.socketio_recovery_bytes,
            queue_bytes: limits.write_queue_bytes,
        }
    }
}

/// Why an event was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closing.
    Closed,
    /// More waits than [`Settings::queue_bytes`] allows.
    Full,
    /// The client is not connected to the namespace.
    NotConnected,
    /// The event does not fit this generation, layer or role.
    Unfit,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closing",
            Self::Full => "too much is queued",
            Self::NotConnected => "the client is not connected to the namespace",
            Self::Unfit => "not an event that can be sent here",
        })
    }
}

impl core::error::Error for SendError {}

impl Id {
    /// Characters of its text, which is base64 for URLs.
    pub const TEXT_LEN: usize = 22;

    /// Reads its text.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 18];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        bytes[..len].try_into().ok().map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::TEXT_LEN];
        let len = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(core::str::from_utf8(&text[..len]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ids_round_trip_through_their_text() {
        for id in [Id([0; 16]), Id([255; 16]), Id(*b"0123456789abcdef")] {
            let text = id.to_string();
            assert_eq!((text.len(), Id::from_text(text.as_bytes())), (Id::TEXT_LEN, Some(id)));
        }
        for text in ["", "short", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "!AAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(Id::from_text(text.as_bytes()), None, "{text}");
        }
    }
}
