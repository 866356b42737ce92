//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), both roles, without a socket.

pub mod handshake;

use bytes::Bytes;

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
