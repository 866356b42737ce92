//! The node vocabulary: session ids, message types and capabilities.
//!
//! A message between the server and a node is three ZeroMQ frames, `[session id, type, body]`.

use core::fmt;

use bytes::Bytes;

/// The id of a session: opaque 16 bytes for everybody but the server that gave it out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(pub [u8; Sid::LEN]);

impl Sid {
    /// Bytes in an id.
    pub const LEN: usize = 16;

    /// Reads an id from a frame; `None` unless it has the right length.
    pub fn from_frame(frame: &[u8]) -> Option<Self> {
        frame.try_into().ok().map(Self)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! kinds {
    ($( $(#[$doc:meta])+ $variant:ident $name:literal, )+) => {
        /// A message type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind { $( $(#[$doc])+ $variant, )+ }

        impl Kind {
            /// Every type.
            pub const ALL: &'static [Kind] = &[ $( Kind::$variant, )+ ];

            /// The type frame.
            pub const fn name(self) -> &'static str {
                match self { $( Kind::$variant => $name, )+ }
            }

            /// Reads a type frame that carries no route.
            pub fn from_frame(frame: &[u8]) -> Option<Self> {
                $( if frame == $name.as_bytes() { return Some(Kind::$variant); } )+
                None
            }
        }
    };
}

kinds! {
    /// Raw response bytes, or a piece of the request body.
    Body "body",
    /// A raw HTTP response head.
    Headers "headers",
    /// A request, or a response, as a uwsgi packet.
    Uwsgi "uwsgi",
    /// The session is over.
    End "end",
    /// One chunk of a response.
    Chunk "chunk",
    /// Are you alive?
    Ping "ping",
    /// I am, with these capabilities.
    Pong "pong",
    /// The node is new to this server.
    Spawn "spawn",
    /// Not me: ask another node.
    Retry "retry",
    /// What a node should know of a message it sent.
    Error "error",
    /// More of the response may be sent.
    Credit "credit",
    /// A WebSocket message; from a node: text if it is UTF-8, else binary.
    WebSocket "websocket",
    /// A WebSocket text message.
    WebSocketText "websocket/text",
    /// A WebSocket binary message.
    WebSocketBinary "websocket/binary",
    /// The end of a WebSocket: a code of two bytes and a reason.
    WebSocketClose "websocket/close",
    /// A client of socket.io asks for a namespace; from a node: it has it.
    SocketIoConnect "socket.io/connect",
    /// A client of socket.io does not get the namespace.
    SocketIoRefuse "socket.io/refuse",
    /// An event of socket.io.
    SocketIoEvent "socket.io/event",
    /// The answer to an event of socket.io.
    SocketIoAck "socket.io/ack",
    /// A client of socket.io, or its node, leaves a namespace.
    SocketIoDisconnect "socket.io/disconnect",
    /// Text by socket.io.
    SocketIoMsg "socket.io/msg",
    /// JSON by socket.io.
    SocketIoJson "socket.io/json",
    /// The end of a session of socket.io.
    SocketIoEnd "socket.io/end",
    /// A message from another session, for the node.
    Msg "msg",
    /// Enter a group.
    Join "join",
    /// Leave a group.
    Leave "leave",
    /// Let the session have its own messages to a group.
    Echo "echo",
    /// Keep the session's own messages to a group from it.
    NoEcho "noecho",
    /// Send what comes from the client straight to others.
    Pipe "pipe",
    /// Undo `pipe`.
    Unpipe "unpipe",
    /// The head of an answer to a request that the client has not made.
    Push "push",
    /// Let the client's connection end when what is under way is answered.
    GoAway "goaway",
}

impl Kind {
    /// Whether a node may put a route before this type.
    pub const fn is_routable(self) -> bool {
        match self {
            Self::WebSocket
            | Self::WebSocketText
            | Self::WebSocketBinary
            | Self::WebSocketClose
            | Self::Body
            | Self::Chunk
            | Self::SocketIoEvent
            | Self::SocketIoAck
            | Self::SocketIoDisconnect
            | Self::SocketIoMsg
            | Self::SocketIoJson
            | Self::SocketIoEnd
            | Self::Msg
            | Self::End => true,
            Self::Headers
            | Self::Uwsgi
            | Self::Ping
            | Self::Pong
            | Self::Spawn
            | Self::Retry
            | Self::Error
            | Self::Credit
            | Self::SocketIoConnect
            | Self::SocketIoRefuse
            | Self::Join
            | Self::Leave
            | Self::Echo
            | Self::NoEcho
            | Self::Pipe
            | Self::Unpipe
            | Self::Push
            | Self::GoAway => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom a routed message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Every session of this group.
    Group(&'a [u8]),
    /// One session.
    Session(Sid),
}

impl<'a> Route<'a> {
    /// Splits a type frame at its last colon into the route and the type's name; `None` if there is no colon, so no
    /// route.
    pub fn split(frame: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let colon = frame.iter().rposition(|byte| *byte == b':')?;
        Some((&frame[..colon], &frame[colon + 1..]))
    }

    /// Reads what stands before the colon: `@` and a session id, or the name of a group. `None` if it is neither.
    pub fn parse(route: &'a [u8]) -> Option<Self> {
        match route.strip_prefix(b"@") {
            Some(sid) => Sid::from_frame(sid).map(Self::Session),
            None => is_group_name(route).then_some(Self::Group(route)),
        }
    }

    /// Writes the type frame of a message that goes this way, as [`split`](Self::split) and [`parse`](Self::parse) read
    /// it; `None` if the type takes no route, or no group may be called so.
    pub fn type_frame(self, kind: Kind) -> Option<TypeFrame> {
        let mut frame = TypeFrame { bytes: [0; TypeFrame::LEN_MAX], len: 0 };
        match self {
            Self::Group(name) if is_group_name(name) => frame.push(name),
            Self::Group(_) => return None,
            Self::Session(sid) => {
                frame.push(b"@");
                frame.push(&sid.0);
            }
        }
        frame.push(b":");
        frame.push(kind.name().as_bytes());
        kind.is_routable().then_some(frame)
    }
}

/// A type frame with a route, which needs no memory of its own.
#[derive(Clone, Copy, Debug)]
pub struct TypeFrame {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl TypeFrame {
    /// The longest name of a group, a colon, and the longest name of a type.
    const LEN_MAX: usize = GROUP_NAME_MAX + 1 + longest_name();

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl core::ops::Deref for TypeFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const fn longest_name() -> usize {
    let (mut at, mut longest) = (0, 0);
    while at < Kind::ALL.len() {
        let len = Kind::ALL[at].name().len();
        longest = if len > longest { len } else { longest };
        at += 1;
    }
    longest
}

/// Bytes in the longest name of a group.
pub const GROUP_NAME_MAX: usize = 64;

/// Whether a group may be called so: 1 to 64 bytes, the first of them no `@`.
pub fn is_group_name(name: &[u8]) -> bool {
    (1..=GROUP_NAME_MAX).contains(&name.len()) && name[0] != b'@'
}

/// A message as the two ends see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The session, or `None` for messages about the node itself (`ping`, `pong`, `spawn`).
    pub sid: Option<Sid>,
    /// The type.
    pub kind: Kind,
    /// The body.
    pub body: Bytes,
}

/// Extensions that a node turned on with its `pong`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// An empty `body` ends every upload.
    pub body_end: bool,
    /// `end` carries the cause's name.
    pub end_reason: bool,
    /// The node wants `error` messages.
    pub errors: bool,
    /// No `end` after a response that was complete.
    pub quiet: bool,
    /// Flow control of responses and of WebSocket messages.
    pub credit: bool,
    /// `websocket/text` and `websocket/binary` in place of `websocket`.
    pub binary: bool,
    /// `websocket/close`, both ways.
    pub close: bool,
    /// The node answers requests for a WebSocket itself.
    pub handshake: bool,
    /// Packets of socket.io as clients have sent them, with namespaces, acknowledgements and attachments.
    pub socketio: bool,
    /// At most this many unanswered requests at a time.
    pub capacity: Option<u32>,
}

impl Capabilities {
    /// Reads the body of a `pong`: space-separated names. `None` if a word is unknown (the body is then ignored
    /// whole) or there is no word at all (nothing changes).
    pub fn parse(body: &[u8]) -> Result<Option<Self>, UnknownCapability> {
        let Ok(text) = core::str::from_utf8(body) else { return Err(UnknownCapability) };
        let mut capabilities = Self::default();
        let mut words = 0;
        for word in text.split_ascii_whitespace() {
            words += 1;
            match word {
                "body-end" => capabilities.body_end = true,
                "end-reason" => capabilities.end_reason = true,
                "errors" => capabilities.errors = true,
                "quiet" => capabilities.quiet = true,
                "credit" => capabilities.credit = true,
                "binary" => capabilities.binary = true,
                "close" => capabilities.close = true,
                "handshake" => capabilities.handshake = true,
                "socket.io" => capabilities.socketio = true,
                _ => match word.strip_prefix("capacity=").map(str::parse) {
                    Some(Ok(count)) if count > 0 => capabilities.capacity = Some(count),
                    _ => return Err(UnknownCapability),
                },
            }
        }
        Ok((words > 0).then_some(capabilities))
    }
}

impl fmt::Display for Capabilities {
    /// Writes the body of a `pong` that asks for these.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.body_end, "body-end"),
            (self.end_reason, "end-reason"),
            (self.errors, "errors"),
            (self.quiet, "quiet"),
            (self.credit, "credit"),
            (self.binary, "binary"),
            (self.close, "close"),
            (self.handshake, "handshake"),
            (self.socketio, "socket.io"),
        ];
        let mut space = "";
        for (_, name) in flags.iter().filter(|(on, _)| *on) {
            write!(f, "{space}{name}")?;
            space = " ";
        }
        match self.capacity {
            Some(count) => write!(f, "{space}capacity={count}"),
            None => Ok(()),
        }
    }
}

/// The body of a `pong` has a word that names no capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCapability;

impl fmt::Display for UnknownCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown capability")
    }
}

impl core::error::Error for UnknownCapability {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn types_round_trip_through_their_frames() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_frame(kind.name().as_bytes()), Some(*kind));
        }
        assert_eq!(Kind::from_frame(b"Body"), None);
        assert_eq!(Kind::from_frame(b""), None);
    }

    #[test]
    fn a_route_ends_at_the_last_colon() {
        let sid = *b":0123456789abcd:";
        let frame = [b"@", &sid[..], b":websocket"].concat();
        let (route, kind) = Route::split(&frame).unwrap();
        assert_eq!((Route::parse(route), kind), (Some(Route::Session(Sid(sid))), &b"websocket"[..]));
        assert_eq!(Route::split(b"a:b:chunk"), Some((&b"a:b"[..], &b"chunk"[..])));
        assert_eq!(Route::parse(b"a:b"), Some(Route::Group(b"a:b")));
        assert_eq!(Route::split(b"chunk"), None);
        assert_eq!(Route::parse(b""), None);
        assert_eq!(Route::parse(b"@short"), None);
        assert_eq!(Route::parse(&[b'g'; GROUP_NAME_MAX]), Some(Route::Group(&[b'g'; GROUP_NAME_MAX])));
        assert_eq!(Route::parse(&[b'g'; GROUP_NAME_MAX + 1]), None);
    }

    #[test]
    fn routes_round_trip_through_type_frames() {
        let long = [b'g'; GROUP_NAME_MAX];
        let routes = [
            Route::Group(b"chat"),
            Route::Group(b"a:b:"),
            Route::Group(&long),
            Route::Session(Sid(*b":@23456789abcde:")),
        ];
        for route in routes {
            for kind in Kind::ALL {
                let frame = route.type_frame(*kind);
                assert_eq!(frame.is_some(), kind.is_routable(), "{kind}");
                let Some(frame) = frame else { continue };
                let (before, name) = Route::split(&frame).unwrap();
                assert_eq!((Route::parse(before), Kind::from_frame(name)), (Some(route), Some(*kind)));
            }
        }
        for name in [&b""[..], b"@chat", &[b'g'; GROUP_NAME_MAX + 1]] {
            assert!(Route::Group(name).type_frame(Kind::WebSocket).is_none(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn capabilities_round_trip() {
        let text = "body-end end-reason errors quiet credit binary close handshake socket.io capacity=4";
        let parsed = Capabilities::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn an_unknown_word_spoils_the_whole_body_and_an_empty_one_changes_nothing() {
        assert_eq!(Capabilities::parse(b"quiet frobnicate"), Err(UnknownCapability));
        assert_eq!(Capabilities::parse(b"capacity=0"), Err(UnknownCapability));
        assert_eq!(Capabilities::parse(b"\xff"), Err(UnknownCapability));
        assert_eq!(Capabilities::parse(b""), Ok(None));
        assert_eq!(Capabilities::parse(b"  "), Ok(None));
    }
}
