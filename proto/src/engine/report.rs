//! What the engine tells the operator: data, printed by the runtime.

use core::fmt;
use core::time::Duration;

use super::stats::Snapshot;
use crate::address::{BindAddr, PeerAddr};
use crate::error::Cause;
use crate::http::Version;
use crate::message::Sid;
use crate::tls;

/// How much a report matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details of single connections, for debugging.
    Debug,
    /// The normal course of things.
    Info,
    /// Something was refused, dropped or lost.
    Warn,
    /// The server cannot do part of its work.
    Error,
}

impl Level {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The value of a report's field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes from a peer: escape them before they reach a terminal.
    Bytes(&'a [u8]),
    /// A count or a size.
    Number(u64),
    /// Seconds, printed with microseconds.
    Seconds(Duration),
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A listener is open.
    Listening {
        /// What it serves: `http` or `zmq`.
        serves: &'static str,
        /// Where.
        address: BindAddr,
    },
    /// A listener could not be opened.
    ListenFailed {
        /// What it should have served.
        serves: &'static str,
        /// Where.
        address: BindAddr,
        /// The system's word for it.
        why: String,
    },
    /// Connections cannot be accepted for a while.
    AcceptPaused {
        /// Where.
        address: BindAddr,
        /// Why.
        why: String,
    },
    /// A node's link is up, and the node may get requests once it answers.
    NodeConnected {
        /// Its identity.
        node: String,
        /// Where it comes from.
        peer: PeerAddr,
    },
    /// A node answers: it gets requests.
    NodeAvailable {
        /// Its identity.
        node: String,
    },
    /// A node has been silent for three ping periods: it gets no new requests.
    NodeSilent {
        /// Its identity.
        node: String,
    },
    /// A node's link is gone.
    NodeLost {
        /// Its identity.
        node: String,
        /// Why.
        cause: Cause,
        /// Sessions it had.
        sessions: usize,
    },
    /// A link from or to a node was refused.
    NodeRefused {
        /// The identity it gave, if it came so far.
        identity: Vec<u8>,
        /// Where it comes from.
        peer: PeerAddr,
        /// Why.
        cause: Cause,
    },
    /// A dialled endpoint could not be reached; it is tried again.
    DialFailed {
        /// The endpoint.
        endpoint: String,
        /// The system's word for it.
        why: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// A message of a node was dropped.
    MessageDropped {
        /// The node.
        node: String,
        /// Why.
        cause: Cause,
        /// The message's type or other detail.
        detail: Vec<u8>,
    },
    /// A client's connection was ended by us for a reason that is not the normal course of things.
    ClientRefused {
        /// Where it comes from.
        peer: PeerAddr,
        /// Why.
        cause: Cause,
        /// More about it, for a person: what exactly was wrong with its TLS.
        why: Option<Box<str>>,
    },
    /// A request has been answered, or given up.
    Access(Box<Access>),
    /// The figures of the server.
    Stats(Box<Snapshot>),
    /// Nothing more is recorded; the server goes on.
    RecordingEnded {
        /// The tape is full, or the system's word for what keeps it from growing.
        why: String,
    },
    /// The server finishes what is under way.
    Draining {
        /// Sessions open.
        sessions: usize,
        /// Deadline, from now.
        within: Duration,
    },
    /// The server has stopped.
    Stopped,
}

/// One request, for the access log.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Session id.
    pub sid: Option<Sid>,
    /// REQUEST_ID.
    pub request_id: u64,
    /// The client.
    pub client: PeerAddr,
    /// The protocol of the request.
    pub protocol: Version,
    /// The version of TLS that it came by.
    pub tls: Option<tls::Version>,
    /// Virtual host, as its section is named.
    pub host: String,
    /// Method as sent.
    pub method: Vec<u8>,
    /// Target as sent.
    pub target: Vec<u8>,
    /// Status sent, 0 if none.
    pub status: u16,
    /// Payload bytes of the request.
    pub bytes_in: u64,
    /// Bytes queued for the client in answer.
    pub bytes_out: u64,
    /// The node that answered, if any.
    pub node: Option<String>,
    /// Times it was passed on.
    pub hops: u32,
    /// From the request's head to its hand-over to a node (waiting for room).
    pub waited: Duration,
    /// From the hand-over to the answer's head.
    pub node_took: Duration,
    /// From the request's head to the end of the exchange.
    pub took: Duration,
    /// How it ended.
    pub cause: Cause,
}

impl Report {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Self::Listening { .. }
            | Self::NodeConnected { .. }
            | Self::NodeAvailable { .. }
            | Self::Access(_)
            | Self::Stats(_)
            | Self::ClientRefused { .. }
            | Self::Draining { .. }
            | Self::Stopped => Level::Info,
            Self::NodeSilent { .. }
            | Self::NodeLost { .. }
            | Self::NodeRefused { .. }
            | Self::DialFailed { .. }
            | Self::MessageDropped { .. }
            | Self::RecordingEnded { .. }
            | Self::AcceptPaused { .. } => Level::Warn,
            Self::ListenFailed { .. } => Level::Error,
        }
    }

    /// The event's name in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Listening { .. } => "listening",
            Self::ListenFailed { .. } => "listen-failed",
            Self::AcceptPaused { .. } => "accept-paused",
            Self::NodeConnected { .. } => "node-connected",
            Self::NodeAvailable { .. } => "node-available",
            Self::NodeSilent { .. } => "node-silent",
            Self::NodeLost { .. } => "node-lost",
            Self::NodeRefused { .. } => "node-refused",
            Self::DialFailed { .. } => "dial-failed",
            Self::MessageDropped { .. } => "message-dropped",
            Self::ClientRefused { .. } => "client-refused",
            Self::Access(_) => "access",
            Self::Stats(_) => "stats",
            Self::RecordingEnded { .. } => "recording-ended",
            Self::Draining { .. } => "draining",
            Self::Stopped => "stopped",
        }
    }

    /// Calls `each` with the name and value of every field, in a fixed order.
    pub fn fields(&self, each: &mut dyn FnMut(&'static str, Value<'_>)) {
        use Value::{Bytes, Number, Seconds, Text};
        match self {
            Self::Listening { serves, address } => {
                each("serves", Text(serves));
                each("address", Text(&address.to_string()));
            }
            Self::ListenFailed { serves, address, why } => {
                each("serves", Text(serves));
                each("address", Text(&address.to_string()));
                each("why", Text(why));
            }
            Self::AcceptPaused { address, why } => {
                each("address", Text(&address.to_string()));
                each("why", Text(why));
            }
            Self::NodeConnected { node, peer } => {
                each("node", Text(node));
                each("peer", Text(&peer.to_string()));
            }
            Self::NodeAvailable { node } | Self::NodeSilent { node } => each("node", Text(node)),
            Self::NodeLost { node, cause, sessions } => {
                each("node", Text(node));
                each("cause", Text(cause.name()));
                each("sessions", Number(*sessions as u64));
            }
            Self::NodeRefused { identity, peer, cause } => {
                each("identity", Bytes(identity));
                each("peer", Text(&peer.to_string()));
                each("cause", Text(cause.name()));
            }
            Self::DialFailed { endpoint, why, retry_in } => {
                each("endpoint", Text(endpoint));
                each("why", Text(why));
                each("retry-in", Seconds(*retry_in));
            }
            Self::MessageDropped { node, cause, detail } => {
                each("node", Text(node));
                each("cause", Text(cause.name()));
                each("detail", Bytes(detail));
            }
            Self::ClientRefused { peer, cause, why } => {
                each("peer", Text(&peer.to_string()));
                each("cause", Text(cause.name()));
                if let Some(why) = why {
                    each("why", Bytes(why.as_bytes()));
                }
            }
            Self::Access(access) => access.fields(each),
            Self::Stats(snapshot) => snapshot.fields(each),
            Self::RecordingEnded { why } => each("why", Text(why)),
            Self::Draining { sessions, within } => {
                each("sessions", Number(*sessions as u64));
                each("within", Seconds(*within));
            }
            Self::Stopped => {}
        }
    }
}

impl Access {
    fn fields(&self, each: &mut dyn FnMut(&'static str, Value<'_>)) {
        use Value::{Bytes, Number, Seconds, Text};
        if let Some(sid) = self.sid {
            each("sid", Text(&sid.to_string()));
        }
        each("request-id", Text(&format!("{:016x}", self.request_id)));
        each("client", Text(&self.client.to_string()));
        each("protocol", Text(self.protocol.name()));
        if let Some(tls) = self.tls {
            each("tls", Text(tls.name()));
        }
        each("host", Text(&self.host));
        each("method", Bytes(&self.method));
        each("target", Bytes(&self.target));
        each("status", Number(self.status.into()));
        each("in", Number(self.bytes_in));
        each("out", Number(self.bytes_out));
        if let Some(node) = &self.node {
            each("node", Text(node));
        }
        each("hops", Number(self.hops.into()));
        each("waited", Seconds(self.waited));
        each("node-took", Seconds(self.node_took));
        each("took", Seconds(self.took));
        each("cause", Text(self.cause.name()));
    }
}

impl fmt::Display for Report {
    /// One line: the name, then `key=value` pairs. Text that could be mistaken is quoted and escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut result = Ok(());
        self.fields(&mut |name, value| {
            if result.is_ok() {
                result = write!(f, " {name}={value}");
            }
        });
        result
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_word(f, text.as_bytes()),
            Self::Bytes(bytes) => write_word(f, bytes),
            Self::Number(number) => number.fmt(f),
            Self::Seconds(time) => write!(f, "{}.{:06}", time.as_secs(), time.subsec_micros()),
        }
    }
}

fn write_word(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.iter().try_for_each(|byte| write!(f, "{}", *byte as char));
    }
    write!(f, "\"{}\"", bytes.escape_ascii())
}
