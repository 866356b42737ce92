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
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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
    /// Flow control of responses.
    pub credit: bool,
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
    fn capabilities_round_trip() {
        let text = "body-end end-reason errors quiet credit capacity=4";
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
