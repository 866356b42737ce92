//! Everything that a peer can make grow, and how far.

use core::time::Duration;

/// Bounds and deadlines of the machines and the engine. Sizes are bytes.
///
/// The defaults suit a public server; each says why it is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    // --- HTTP/1 ---
    /// A message head, request line included. The uwsgi packet that carries it to a node ends at 64 KiB anyway.
    pub head_bytes: usize,
    /// A request target. Longer ones are mistakes or probes; browsers and crawlers stay below 8 KiB.
    pub target_bytes: usize,
    /// Fields in a head (`max-headers`). Browsers send about 20; 64 is what the original server allowed.
    pub fields: usize,
    /// A chunk-size line with its extensions, which nobody uses (RFC 9112, 7.1.1 asks for a bound).
    pub chunk_line_bytes: usize,
    /// The trailer section of a chunked body.
    pub trailer_bytes: usize,
    /// A request body (`max-body`). Bodies stream through, so this bounds time, not memory.
    pub body_bytes: u64,
    /// Unread bytes kept of a connection whose request is still being answered: pipelined requests wait here.
    pub pipeline_bytes: usize,
    /// From the first byte of a head, or the start of the connection, to the head's end.
    pub head_timeout: Duration,
    /// Between two pieces of a request body.
    pub body_timeout: Duration,
    /// Between a response and the next request.
    pub keep_alive_timeout: Duration,
    /// Unread input that is thrown away after a farewell, so that a reset does not eat it.
    pub drain_bytes: usize,
    /// How long that takes at most.
    pub drain_timeout: Duration,

    // --- connections ---
    /// Open client connections. Twice the sessions: a kept connection between two requests has no session.
    pub connections: usize,
    /// Bytes queued towards a client before its session is cut (`writequeue-buffer`).
    pub write_queue_bytes: usize,
    /// Bytes queued towards a client at which its source is asked to pause, where it can be asked.
    pub write_queue_high: usize,
    /// A peer that takes nothing of what is queued for it is cut after this.
    pub write_stall: Duration,
    /// Bytes queued in the whole server (`memory`).
    pub memory_bytes: usize,

    // --- sessions ---
    /// Open sessions (`sessions`).
    pub sessions: usize,
    /// A session in which nothing moves is ended after this (`timeout`).
    pub session_timeout: Duration,
    /// From the end of a request to the head of its answer (`node-timeout`).
    pub node_timeout: Duration,
    /// How often a request is passed on by `retry` (`max-hops`).
    pub hops: u32,
    /// Bytes of a request body that are kept for another node (`retry-buffer`).
    pub retry_bytes: usize,
    /// Requests of one virtual host that wait for a node with room (`queue`).
    pub queue: usize,
    /// How long they wait (`queue-timeout`).
    pub queue_timeout: Duration,
    /// Credit that a node with flow control has towards one client.
    pub credit_bytes: usize,

    // --- WebSocket ---
    /// A message, decompressed. As much as the most used servers take without being told.
    pub websocket_message_bytes: usize,
    /// Frames of one message. A message of 4 MiB in frames of 64 bytes has 65,536.
    pub websocket_frames: usize,
    /// Silence after which a client is pinged, and after as much again cut; zero: never. NATs forget connections after
    /// a minute or more.
    pub websocket_ping: Duration,
    /// From our close frame to the peer's.
    pub websocket_close_timeout: Duration,
    /// From a message to the farewell of a client that broke the protocol behind it: so long it may still get what
    /// its node answers. Nodes answer within a few milliseconds.
    pub websocket_farewell_delay: Duration,

    // --- socket.io ---
    /// The body of a request that carries packets, or a message of the WebSocket. What socket.io's own server takes, and
    /// tells its clients.
    pub socketio_payload_bytes: usize,
    /// Packets in one payload. A client that was away sends what it has gathered at once.
    pub socketio_packets: usize,
    /// Attachments of one packet.
    pub socketio_attachments: usize,
    /// Arrays and objects of JSON within each other: what parsers of nodes take without harm.
    pub socketio_depth: usize,
    /// Namespaces of one client.
    pub socketio_namespaces: usize,
    /// From one heartbeat to the next.
    pub socketio_ping_interval: Duration,
    /// From a heartbeat to its answer.
    pub socketio_ping_timeout: Duration,
    /// From the start to the first namespace.
    pub socketio_connect_timeout: Duration,
    /// From a WebSocket that is to take over from polling to the moment when it does.
    pub socketio_upgrade_timeout: Duration,
    /// How long a client may be away and take up where it was; zero: not at all.
    pub socketio_recovery: Duration,
    /// What is kept of the events for a client that may come back.
    pub socketio_recovery_bytes: usize,

    // --- HTTP/2 and SPDY ---
    /// Requests under way at a time on one connection. What RFC 9113, 6.5.2 recommends as the least; browsers ask for
    /// no more.
    pub h2_streams: usize,
    /// Body bytes of one request that may be on their way to its node: the window of a stream. SPDY has no smaller one than
    /// 64 KiB, and SPDY/2 none.
    pub h2_stream_window: usize,
    /// The same for all requests of a connection together. Where SPDY has no window for them its input waits.
    pub h2_connection_window: usize,
    /// Bytes of one response that wait for their client's window before its source is asked to pause.
    pub h2_stream_queue: usize,
    /// Requests that a client resets in half a minute. A page left while it loads resets a few hundred at most.
    pub h2_resets: usize,
    /// Streams in half a minute that have to be reset for what the client did. Clients that work have none.
    pub h2_errors: usize,
    /// CONTINUATION frames of one head. One of 64 KiB needs three.
    pub h2_continuations: usize,
    /// SETTINGS frames in half a minute; each asks for an answer. Clients send one or two in all.
    pub h2_settings: usize,
    /// PING frames in half a minute; each asks for an answer. Those that measure bandwidth send some a second.
    pub h2_pings: usize,
    /// Frames in half a minute that carry nothing: DATA without bytes, unknown types, GOAWAY; NOOP and HEADERS of SPDY.
    pub h2_empty_frames: usize,
    /// WINDOW_UPDATE frames in half a minute, beyond two for each DATA frame sent.
    pub h2_window_updates: usize,
    /// PRIORITY frames in half a minute, beyond two for each request. Old browsers send a handful.
    pub h2_priorities: usize,

    // --- groups ---
    /// Groups that one session may be in.
    pub groups: usize,
    /// Deliveries of messages to groups that one input brings about before others have their turn.
    pub deliveries: usize,

    // --- ZMTP ---
    /// A message, all frames and their headers. A little more than the largest WebSocket message that passes through.
    pub message_bytes: usize,
    /// Frames of one message.
    pub frames: usize,
    /// From the start of a link to the end of its handshake.
    pub handshake_timeout: Duration,
    /// Silence after which a ZMTP PING is sent; a link silent for three times as long has broken.
    pub heartbeat: Duration,
    /// Bytes queued towards a node at which its clients are paused.
    pub node_queue_high: usize,
    /// Bytes queued towards a node at which new requests are refused.
    pub node_queue_bytes: usize,
    /// Connected node links, refused ones included while they are held.
    pub node_links: usize,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        head_bytes: 64 * 1024,
        target_bytes: 16 * 1024,
        fields: 64,
        chunk_line_bytes: 1024,
        trailer_bytes: 8 * 1024,
        body_bytes: 1024 * 1024 * 1024,
        pipeline_bytes: 64 * 1024,
        head_timeout: Duration::from_secs(20),
        body_timeout: Duration::from_secs(30),
        keep_alive_timeout: Duration::from_secs(75),
        drain_bytes: 256 * 1024,
        drain_timeout: Duration::from_secs(2),
        connections: 20_000,
        write_queue_bytes: 8 * 1024 * 1024,
        write_queue_high: 256 * 1024,
        write_stall: Duration::from_secs(60),
        memory_bytes: 2048 * 1024 * 1024,
        sessions: 10_000,
        session_timeout: Duration::from_secs(1800),
        node_timeout: Duration::from_secs(60),
        hops: 10,
        retry_bytes: 1024 * 1024,
        queue: 1024,
        queue_timeout: Duration::from_secs(10),
        credit_bytes: 256 * 1024,
        websocket_message_bytes: 16 * 1024 * 1024,
        websocket_frames: 128 * 1024,
        websocket_ping: Duration::from_secs(30),
        websocket_close_timeout: Duration::from_secs(5),
        websocket_farewell_delay: Duration::from_millis(100),
        socketio_payload_bytes: 1_000_000,
        socketio_packets: 10_000,
        socketio_attachments: 100,
        socketio_depth: 100,
        socketio_namespaces: 100,
        socketio_ping_interval: Duration::from_secs(25),
        socketio_ping_timeout: Duration::from_secs(20),
        socketio_connect_timeout: Duration::from_secs(45),
        socketio_upgrade_timeout: Duration::from_secs(10),
        socketio_recovery: Duration::ZERO,
        socketio_recovery_bytes: 64 * 1024,
        h2_streams: 100,
        h2_stream_window: 256 * 1024,
        h2_connection_window: 1024 * 1024,
        h2_stream_queue: 256 * 1024,
        h2_resets: 1000,
        h2_errors: 200,
        h2_continuations: 5,
        h2_settings: 100,
        h2_pings: 600,
        h2_empty_frames: 500,
        h2_window_updates: 2000,
        h2_priorities: 500,
        groups: 1000,
        deliveries: 16 * 1024,
        message_bytes: 17 * 1024 * 1024,
        frames: 1024,
        handshake_timeout: Duration::from_secs(10),
        heartbeat: Duration::from_secs(10),
        node_queue_high: 1024 * 1024,
        node_queue_bytes: 8 * 1024 * 1024,
        node_links: 4096,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
