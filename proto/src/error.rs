//! What can go wrong, and whose fault it is.
//!
//! [`Misuse`] is a bug of the program that uses a machine. [`Violation`] is a peer's fault: the machine has already
//! queued its farewell. Each close, drop and refusal has one [`Cause`], which can explain itself.

use core::fmt;

macro_rules! causes {
    ($( $(#[doc = $doc:literal])+ $variant:ident $name:literal, )+) => {
        /// Why something was closed, refused or dropped.
        ///
        /// [`name`](Self::name) is what statistics, logs and the node protocol show; [`explain`](Self::explain) is a
        /// sentence for a person.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Cause { $( $(#[doc = $doc])+ $variant, )+ }

        impl Cause {
            /// Every cause, in the order of their numbers.
            pub const ALL: &'static [Cause] = &[ $( Cause::$variant, )+ ];

            /// The stable short name, in kebab case.
            pub const fn name(self) -> &'static str {
                match self { $( Cause::$variant => $name, )+ }
            }

            /// A sentence for a person.
            pub fn explain(self) -> &'static str {
                match self { $( Cause::$variant => concat!($($doc),+), )+ }.trim_start()
            }
        }
    };
}

causes! {
    /// The exchange was complete.
    Complete "complete",

    // HTTP heads (RFC 9112, RFC 9110)
    /// The message head does not follow the grammar of HTTP/1.
    HeadMalformed "head-malformed",
    /// A CR without LF, or a LF without CR, stands in a message head.
    BareLineBreak "bare-line-break",
    /// A header line begins with white space (obsolete line folding).
    LineFolding "line-folding",
    /// A NUL byte stands in a message head.
    NulByte "nul-byte",
    /// The message head is larger than allowed.
    HeadTooLarge "head-too-large",
    /// The message head has more fields than allowed.
    FieldsTooMany "fields-too-many",
    /// The request target is longer than allowed.
    TargetTooLong "target-too-long",
    /// The request target has none of the four forms of RFC 9112.
    TargetMalformed "target-malformed",
    /// The request has no Host field.
    HostMissing "host-missing",
    /// The Host field is not a host with an optional port, or there are several.
    HostMalformed "host-malformed",
    /// No virtual host has this name.
    HostUnknown "host-unknown",
    /// The virtual host is reached by https alone.
    HttpsNeeded "https-needed",
    /// The virtual host asks for certificates, and the connection was made for another one.
    HostMisdirected "host-misdirected",
    /// The method is not one that this server passes on.
    MethodUnsupported "method-unsupported",
    /// The protocol version is not one that this server speaks.
    VersionUnsupported "version-unsupported",
    /// The Expect field asks for something other than 100-continue.
    ExpectationUnknown "expectation-unknown",

    // HTTP bodies
    /// Content-Length is not a number.
    LengthMalformed "length-malformed",
    /// Several Content-Length values differ.
    LengthConflict "length-conflict",
    /// Content-Length and Transfer-Encoding stand in one head.
    LengthWithEncoding "length-with-encoding",
    /// The Transfer-Encoding is not exactly `chunked`, or not allowed here.
    EncodingUnsupported "encoding-unsupported",
    /// A chunk size, chunk end or trailer is malformed.
    ChunkMalformed "chunk-malformed",
    /// The body is larger than allowed.
    BodyTooLarge "body-too-large",
    /// The peer ended the connection inside a message.
    MessageCut "message-cut",

    // WebSocket (RFC 6455, RFC 7692)
    /// A WebSocket is asked for by another method than GET.
    WebSocketMethod "websocket-method",
    /// The WebSocket version is not 13.
    WebSocketVersion "websocket-version",
    /// Sec-WebSocket-Key is missing, repeated, or not 16 bytes in base64.
    WebSocketKey "websocket-key",
    /// The request for a WebSocket is not one of HTTP/1.1 without a body, or its fields are malformed.
    WebSocketHandshake "websocket-handshake",
    /// Pages of this origin may not open WebSockets here.
    OriginRefused "origin-refused",
    /// A frame is masked and should not be, or should be and is not.
    MaskWrong "mask-wrong",
    /// A frame continues no message, or begins one inside another.
    FragmentUnexpected "fragment-unexpected",
    /// A control frame is fragmented or longer than 125 bytes.
    ControlFrameMalformed "control-frame-malformed",
    /// A close frame has half a code, a code that must not be sent, or a reason that is not UTF-8.
    CloseMalformed "close-malformed",
    /// Text is not valid UTF-8.
    Utf8Invalid "text-malformed",
    /// Compressed data cannot be decompressed.
    DeflateMalformed "deflate-malformed",
    /// The client closed its WebSocket.
    ClientClosed "client-closed",
    /// The peer did not answer a close frame in time.
    CloseTimeout "close-timeout",
    /// The peer answered no ping.
    PingTimeout "ping-timeout",
    /// A message was dropped because the client takes messages too slowly.
    OldestDropped "oldest-dropped",

    // HTTP/2 (RFC 9113)
    /// The connection does not begin with the preface of HTTP/2.
    PrefaceMalformed "preface-malformed",
    /// A frame of HTTP/2 or SPDY is malformed or out of order.
    FramingMalformed "framing-malformed",
    /// A head in HTTP/2 or SPDY cannot be decompressed.
    CompressionMalformed "compression-malformed",
    /// The peer sent more than its window allows, or made a window too large.
    WindowExceeded "window-exceeded",
    /// A frame of HTTP/2 or SPDY is longer than allowed, or of a length that its type does not have.
    FrameSizeWrong "frame-size-wrong",
    /// As many requests as allowed are under way on this connection.
    StreamsMax "streams-max",
    /// The trailers of a request were dropped: nodes have no place for them.
    TrailersDropped "trailers-dropped",
    /// The client took its request back.
    StreamReset "stream-reset",
    /// The client's window for a response stayed shut.
    WindowStall "window-stall",
    /// The extended CONNECT asks for another protocol than WebSocket.
    ProtocolUnsupported "protocol-unsupported",
    /// The client opens requests and takes them back at once, again and again.
    RapidReset "rapid-reset",
    /// The client makes the server reset streams, again and again.
    StreamErrors "stream-errors",
    /// A head comes in more CONTINUATION frames than allowed.
    ContinuationFlood "continuation-flood",
    /// A small head decompresses to a huge one.
    HeaderBomb "header-bomb",
    /// The client sends SETTINGS again and again.
    SettingsFlood "settings-flood",
    /// The client sends PING again and again.
    PingFlood "ping-flood",
    /// The client sends frames that carry nothing, again and again.
    EmptyFrameFlood "empty-frame-flood",
    /// The client sends more WINDOW_UPDATE frames than the data that it takes explains.
    WindowUpdateFlood "window-update-flood",
    /// The client sends more PRIORITY frames than its requests explain.
    PriorityFlood "priority-flood",

    // SPDY (drafts 2, 3 and 3.1)
    /// A header block of SPDY is malformed: it has a name twice, a name in capitals, or a value that joins nothing.
    BlockMalformed "block-malformed",
    /// The head has a field that is only of use to a connection of HTTP/1.
    FieldForbidden "field-forbidden",
    /// The body is not as long as its Content-Length.
    LengthWrong "length-wrong",
    /// The client offers certificates within SPDY, where nobody looks at them.
    CredentialUnsupported "credential-unsupported",
    /// The server did not look at the request: it may be sent again.
    StreamRefused "stream-refused",

    // socket.io and Engine.IO
    /// The transport that a client of socket.io asks for is unknown, or switched off.
    TransportUnknown "transport-unknown",
    /// A client of socket.io begins with another method than GET.
    HandshakeMethod "handshake-method",
    /// A request of a client of socket.io does not fit what it is part of.
    RequestMalformed "request-malformed",
    /// The version of Engine.IO that a client asks for is unknown, or switched off.
    GenerationUnsupported "generation-unsupported",
    /// A packet of socket.io or Engine.IO is malformed or out of order.
    PacketMalformed "packet-malformed",
    /// A payload has more packets than allowed.
    PacketsTooMany "packets-too-many",
    /// Text that should be JSON is not, or is not what the packet needs.
    JsonMalformed "json-malformed",
    /// Arrays and objects stand within each other deeper than allowed.
    JsonTooDeep "json-too-deep",
    /// The attachments of a packet are not those that its placeholders name, or more than allowed.
    AttachmentsWrong "attachments-wrong",
    /// A client polls while it polls, or posts while it posts.
    RequestOverlap "request-overlap",
    /// The client of socket.io asked for no namespace in time.
    ConnectTimeout "connect-timeout",
    /// A WebSocket that was to take over from polling did not do so in time.
    UpgradeTimeout "upgrade-timeout",
    /// The client has, or asks for, more namespaces than allowed.
    NamespacesMax "namespaces-max",
    /// Nobody gives clients this namespace.
    NamespaceUnknown "namespace-unknown",
    /// A packet was for a namespace that the client does not have, or the answer to one of a client that is away.
    NamespaceStale "namespace-stale",
    /// The client did not come back in time to take up where it was.
    RecoveryTimeout "recovery-timeout",
    /// More was kept for a client that may come back than allowed.
    RecoveryBufferFull "recovery-buffer-full",

    // Clients and their connections
    /// The head did not arrive in time.
    HeadTimeout "head-timeout",
    /// The body stopped arriving.
    BodyTimeout "body-timeout",
    /// No further request came on a kept connection.
    KeepAliveTimeout "keep-alive-timeout",
    /// Nothing moved in the session for its inactivity timeout.
    Inactivity "inactivity",
    /// The peer took nothing of what was queued for it.
    WriteStall "write-stall",
    /// More was queued for the client than its write queue may hold.
    SlowClient "slow-client",
    /// The client ended its connection.
    ClientGone "client-gone",
    /// The connection broke.
    ConnectionFailed "connection-failed",
    /// The node ended its link.
    LinkClosed "link-closed",
    /// The PROXY protocol header is malformed or missing.
    ProxyMalformed "proxy-malformed",
    /// Bytes came that belong to no message.
    BytesUnexpected "bytes-unexpected",

    // TLS (RFC 8446, RFC 5246)
    /// The client does not speak TLS.
    NotTls "not-tls",
    /// A TLS record or message is malformed, too large, out of order, or cannot be decrypted.
    TlsMalformed "tls-malformed",
    /// The client has no TLS version, cipher suite, signature or protocol in common with this server.
    TlsNegotiation "tls-negotiation",
    /// No certificate is meant for the name that the client asks for.
    TlsNameUnknown "tls-name-unknown",
    /// The client shows no certificate where one is needed.
    TlsCertificateMissing "tls-certificate-missing",
    /// The client's certificate is not valid, or of nobody who is trusted here.
    TlsCertificateRefused "tls-certificate-refused",
    /// The peer gave TLS up with an alert.
    TlsAlert "tls-alert",
    /// The peer sends TLS records that carry next to nothing.
    TlsFlood "tls-flood",
    /// The TLS library failed on our side.
    TlsFailed "tls-failed",

    // Capacity
    /// As many connections as allowed are open.
    ConnectionsMax "connections-max",
    /// As many sessions as allowed are open.
    SessionsMax "sessions-max",
    /// As many sessions as this virtual host allows are open.
    HostSessionsMax "host-sessions-max",
    /// The memory for queued bytes is used up.
    MemoryMax "memory-max",
    /// As many requests as allowed wait for a node.
    QueueFull "queue-full",
    /// The request waited too long for a node.
    QueueTimeout "queue-timeout",

    // Nodes and their answers
    /// No node of this virtual host is available.
    NodeMissing "node-missing",
    /// The node did not answer in time.
    NodeTimeout "node-timeout",
    /// The link to the node broke.
    NodeLost "node-lost",
    /// The node ended the session before its answer was complete.
    NodeEnded "node-ended",
    /// The node does not read what is queued for it.
    NodeStalled "node-stalled",
    /// The node passed the request on.
    NodeRetry "node-retry",
    /// The request was passed on by as many nodes as allowed.
    HopsMax "hops-max",
    /// The request body is larger than what is kept for another node.
    RetryBufferFull "retry-buffer-full",
    /// The node sent more than its credit allows.
    CreditExceeded "credit-exceeded",
    /// The response head of the node is malformed or its framing is unsound.
    ResponseMalformed "response-malformed",
    /// The node sent more than its Content-Length announces.
    ResponseTooLong "response-too-long",
    /// The node sent a message that does not fit the state of its response.
    ResponseOutOfOrder "response-out-of-order",
    /// The request does not fit into a uwsgi packet.
    PacketTooLarge "packet-too-large",
    /// The session of this message has ended already.
    SessionStale "session-stale",
    /// The session of this message belongs to another node.
    SessionForeign "session-foreign",
    /// No session has this id.
    SessionUnknown "session-unknown",
    /// The message type is unknown.
    TypeUnknown "type-unknown",
    /// The message type cannot be routed.
    RouteUnsupported "route-unsupported",
    /// The route is neither a group's name nor `@` and a session id.
    RouteMalformed "route-malformed",
    /// No session has the id that the route names.
    RouteUnknown "route-unknown",
    /// The session that the route names belongs to another virtual host.
    RouteForeign "route-foreign",
    /// The message does not fit what the session is.
    MessageUnfit "message-unfit",
    /// A group's name has 1 to 64 bytes and does not begin with `@`.
    GroupMalformed "group-malformed",
    /// The session is in as many groups as allowed.
    GroupsMax "groups-max",
    /// A pipe is written as a destination, a colon, and the types `websocket` or `body`.
    PipeMalformed "pipe-malformed",
    /// A pipe would lead back to its own session.
    PipeLoop "pipe-loop",
    /// The session has as many pipes as allowed.
    PipesMax "pipes-max",
    /// The session has no such pipe.
    PipeUnknown "pipe-unknown",
    /// A push is the head of a final response with the `Url` that it answers.
    PushMalformed "push-malformed",
    /// The URL of a push is not one of the virtual host whose request is being answered.
    PushForeign "push-foreign",
    /// The session has as many pushes under way as allowed.
    PushesMax "pushes-max",
    /// The node asked for an unknown capability.
    CapabilityUnknown "capability-unknown",
    /// The multipart message does not have three parts.
    PartsWrong "parts-wrong",

    // ZMTP links (RFC 37)
    /// The ZMTP greeting is malformed.
    GreetingMalformed "greeting-malformed",
    /// The peer speaks a version of ZMTP before 3.0.
    GreetingVersion "greeting-version",
    /// The peer's security mechanism is not the configured one.
    MechanismMismatch "mechanism-mismatch",
    /// The peer's credentials are wrong.
    CredentialsRefused "credentials-refused",
    /// The handshake was not complete in time.
    HandshakeTimeout "handshake-timeout",
    /// A command came out of order or is malformed.
    CommandMalformed "command-malformed",
    /// The peer refused us with an ERROR command.
    PeerRefused "peer-refused",
    /// The socket types do not fit.
    SocketTypeMismatch "socket-type-mismatch",
    /// A message is larger than allowed.
    MessageTooLarge "message-too-large",
    /// A message has more frames than allowed.
    FramesTooMany "frames-too-many",
    /// A frame has reserved flags, an unknown type, or a length in more bytes than it needs.
    FrameMalformed "frame-malformed",
    /// The peer did not answer a heartbeat.
    HeartbeatTimeout "heartbeat-timeout",
    /// No configured node has this identity.
    IdentityUnknown "identity-unknown",
    /// A node with this identity is connected and alive.
    IdentityDuplicate "identity-duplicate",
    /// A new link of the same node took over.
    IdentityTakenOver "identity-taken-over",
    /// As many nodes as allowed are connected.
    NodesMax "nodes-max",
    /// The outgoing connection could not be opened.
    DialFailed "dial-failed",

    // The server
    /// The address could not be bound.
    ListenFailed "listen-failed",
    /// The server is stopping.
    Stopping "stopping",
}

impl Cause {
    /// The HTTP status that tells a client of this cause.
    #[allow(clippy::wildcard_enum_match_arm, reason = "whatever has no status of its own is a bad request")]
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::FieldsTooMany | Self::PacketTooLarge | Self::HeaderBomb => 431,
            Self::TargetTooLong => 414,
            Self::BodyTooLarge => 413,
            Self::OriginRefused => 403,
            Self::HostUnknown => 404,
            Self::HttpsNeeded => 308,
            Self::TlsNameUnknown | Self::HostMisdirected => 421,
            Self::TlsFailed => 500,
            Self::WebSocketMethod => 405,
            Self::WebSocketVersion => 426,
            Self::MethodUnsupported | Self::EncodingUnsupported | Self::ProtocolUnsupported => 501,
            Self::VersionUnsupported => 505,
            Self::ExpectationUnknown => 417,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::NodeTimeout => 504,
            Self::NodeLost
            | Self::NodeEnded
            | Self::CreditExceeded
            | Self::ResponseMalformed
            | Self::ResponseTooLong
            | Self::ResponseOutOfOrder
            | Self::PushesMax => 502,
            Self::ConnectionsMax
            | Self::SessionsMax
            | Self::HostSessionsMax
            | Self::MemoryMax
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::NodeMissing
            | Self::NodeStalled
            | Self::HopsMax
            | Self::StreamsMax
            | Self::RetryBufferFull
            | Self::Stopping => 503,
            _ => 400,
        }
    }

    /// The code of the close frame that tells a WebSocket's peer of this cause (RFC 6455, 7.4.1).
    #[allow(clippy::wildcard_enum_match_arm, reason = "whatever has no code of its own is a matter of the server's")]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Complete | Self::ClientClosed | Self::NodeEnded => 1000,
            Self::Inactivity | Self::Stopping => 1001,
            Self::FrameMalformed
            | Self::MaskWrong
            | Self::FragmentUnexpected
            | Self::ControlFrameMalformed
            | Self::CloseMalformed => 1002,
            Self::Utf8Invalid | Self::DeflateMalformed => 1007,
            Self::RequestMalformed
            | Self::PacketMalformed
            | Self::JsonMalformed
            | Self::JsonTooDeep
            | Self::AttachmentsWrong => 1008,
            Self::FramesTooMany | Self::SlowClient => 1008,
            Self::MessageTooLarge => 1009,
            Self::NodeLost => 1012,
            Self::NodeMissing | Self::NodeStalled | Self::QueueFull | Self::QueueTimeout | Self::MemoryMax => 1013,
            _ => 1011,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A peer broke the protocol. The farewell that tells it so is in the machine's outbound queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// HTTP status that fits, also where the protocol at hand has no place for it.
    pub status: u16,
    /// What the peer did.
    pub what: Cause,
}

impl From<Cause> for Violation {
    fn from(what: Cause) -> Self {
        Self { status: what.status(), what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.status)
    }
}

impl core::error::Error for Violation {}

/// The caller used a machine in a way its documentation rules out: a bug on our side, never a peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misuse(pub &'static str);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Misuse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: alloc::vec::Vec<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Cause::ALL.len());
    }

    #[test]
    fn every_cause_explains_itself_in_a_sentence() {
        for cause in Cause::ALL {
            let sentence = cause.explain();
            assert!(sentence.ends_with('.') && !sentence.starts_with(' '), "{cause}: {sentence:?}");
        }
    }
}
