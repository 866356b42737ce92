//! What an operator can set, as plain data.
//!
//! [`Config::parse`] reads an ini file and names all that is wrong with it; what it returns is checked, and the engine
//! takes it as it is. A [`Config`]'s `Display` is such a file again.
//!
//! # Keys
//!
//! Sections are `[blastbeat]` and `[blastbeat:HOST]` or `[blastbeat:HOST:PORT]`, where `*` stands for all other hosts and
//! `*.NAME` for those with one label before a name; sections of other names are ignored. Sizes are bytes, or take `k`,
//! `m` or `g`; times are seconds, with decimals. Keys marked + may be repeated, those marked H stand in the section
//! of a virtual host too, or only there (HH).
//!
//! | key | | value | default |
//! |---|---|---|---|
//! | `bind` | H+ | `ADDRESS:PORT [PRIORITY] [proxy] [h2c] [spdy=2,3,3.1]` or `unix:PATH …`; a host with one is reached by no shared one | |
//! | `bind-ssl` | H+ | the same, by TLS, with `http1` (no HTTP/2) for `h2c`; SPDY is negotiated by ALPN; each host that is reached by one needs a certificate | |
//! | `zmq` | H+ | `tcp://ADDRESS:PORT` or `ipc://PATH`; one of a host admits only that host's nodes | |
//! | `zmq-connect` | H+ | the same, to connect to | |
//! | `node` | HH+ | identity of a node, a pattern (`web-*`), or `app:welcome` for the built-in app | |
//! | `alias` | HH+ | a further name of the host | |
//! | `node-password` | H+ | `NAME PASSWORD`: nodes of these links need PLAIN; `NAME` may be a pattern | |
//! | `node-capacity` | H | unanswered requests at one node; 0: no bound | 0 |
//! | `node-timeout` | H | from a request's end to its answer | 60 |
//! | `redispatch` | H | `all`, `safe` or `none`: which requests go to another node when theirs is lost | `safe` |
//! | `node-loss` | H | `close` or `move`: what happens to WebSockets whose node is lost | `close` |
//! | `sessions` | H | open sessions | 10,000 |
//! | `timeout` | H | inactivity of a session | 1800 |
//! | `max-body` | H | a request body | 1g |
//! | `connections` | | open client connections | twice `sessions` |
//! | `max-hops` | | how often nodes may pass a request on | 10 |
//! | `retry-buffer` | | body bytes kept for another node | 1m |
//! | `queue`, `queue-timeout` | | requests of a host that wait for a node, and how long | 1024, 10 |
//! | `writequeue-buffer`, `writequeue-high` | | bytes queued for a client: at most (for all streams of a connection: four times as much), and when its source pauses | 8m, 256k |
//! | `slow-client` | H | past `writequeue-buffer`: `disconnect`, or `drop-oldest` of a WebSocket's waiting messages | `disconnect` |
//! | `write-stall` | | a peer that takes nothing is cut after this | 60 |
//! | `memory` | | bytes queued in all, in MB; numbers above 1,048,576 are bytes | 2048 |
//! | `max-headers`, `max-head`, `max-target` | | fields of a head, its bytes, bytes of its target | 64, 64k, 16k |
//! | `max-chunk-line`, `max-trailers` | | bytes of a chunk-size line, of a trailer section | 1k, 8k |
//! | `pipeline-buffer` | | unread bytes of pipelined requests | 64k |
//! | `head-timeout`, `body-timeout`, `keep-alive-timeout` | | for a head, between pieces of a body, between requests | 20, 30, 75 |
//! | `linger-buffer`, `linger-timeout` | | input thrown away behind a farewell | 256k, 2 |
//! | `credit` | | bytes a node with flow control may send ahead | 256k |
//! | `websocket-max-message`, `websocket-max-frames` | | a WebSocket message, decompressed; its frames | 16m, 131072 |
//! | `websocket-ping` | | a silent client is pinged after this, and cut after as long again; 0: never | 30 |
//! | `websocket-close-timeout` | | from our close frame to the client's | 5 |
//! | `websocket-deflate` | H | `on`, `off`, or `context`: compress across messages, for 300 KiB a client | `off` |
//! | `websocket-origin` | HH+ | `SCHEME://HOST[:PORT]`, where `*` is any run of characters, or `null`: whose pages may open WebSockets and socket.io; without it all may | |
//! | `websocket-protocol` | HH+ | sub-protocols that are spoken; a client gets the first it offers of them | |
//! | `websocket-farewell-delay` | | a client that breaks the protocol may get answers to its last message for this long; 0: not at all | 0.1 |
//! | `socketio` | H+ | `PATH GENERATION...`, of 5 (clients 3.x and 4.x), 2 (1.x and 2.x) and 1 (0.9), or `off`; lines of a host replace the server's | `/socket.io/ 5 2 1` |
//! | `engineio` | H+ | `PATH VERSION...`, of 4 and 3, or `off`: Engine.IO without socket.io; to nodes its clients are WebSockets | `off` |
//! | `socketio-max-payload` | | bytes of a POST's body, and of a message of socket.io's WebSocket | 1000000 |
//! | `socketio-max-packets`, `socketio-max-attachments` | | packets of such a body, attachments of a packet | 10000, 100 |
//! | `socketio-max-depth`, `socketio-max-namespaces` | | JSON within JSON, at most 1024; namespaces of a client | 100, 100 |
//! | `socketio-ping-interval`, `socketio-ping-timeout` | | between heartbeats, and for the answer to one | 25, 20 |
//! | `socketio-connect-timeout`, `socketio-upgrade-timeout` | | from the handshake to the first namespace, from a WebSocket to its taking over | 45, 10 |
//! | `socketio-recovery`, `socketio-recovery-buffer` | | how long a client whose connection broke may take up where it was, 0: not at all; bytes kept for it | 0, 64k |
//! | `h2-streams` | | requests under way on one HTTP/2 or SPDY connection | 100 |
//! | `h2-stream-window`, `h2-connection-window` | | body bytes on their way to nodes, of one request and of a connection's; at least 64k by SPDY | 256k, 1m |
//! | `h2-stream-queue` | | bytes of one response that wait for the client's window | 256k |
//! | `h2-resets`, `h2-errors` | | HTTP/2 or SPDY requests taken back, and streams broken by the client, in 30 s | 1000, 200 |
//! | `h2-continuations` | | CONTINUATION frames of one head | 5 |
//! | `h2-settings`, `h2-pings`, `h2-empty-frames` | | such frames in 30 s | 100, 600, 500 |
//! | `h2-window-updates`, `h2-priorities` | | such frames in 30 s, beyond two for each DATA frame or request | 2000, 500 |
//! | `max-groups` | | groups that one session may be in | 1000 |
//! | `max-deliveries` | | deliveries of messages to groups before others have their turn | 16384 |
//! | `max-message`, `max-frames` | | a ZeroMQ message; follows a larger `websocket-max-message` | 17m, 1024 |
//! | `handshake-timeout`, `heartbeat` | | of ZeroMQ links | 10, 10 |
//! | `node-queue-buffer`, `node-queue-high` | | bytes queued for a node: at most, and when its clients pause | 8m, 1m |
//! | `max-nodes` | | node links | 4096 |
//! | `ping-freq`, `stats-freq` | | silence before a ping; between statistics, 0: never | 3, 60 |
//! | `drain-timeout` | | to finish what is under way at the end | 10 |
//! | `certificate`, `key` | H | `PATH`: PEM files of the certificate with those that vouch for it, and of its key; the server's are for hosts without | |
//! | `ocsp` | HH | `PATH`: answer of the certificate's OCSP server, in DER, to be stapled | |
//! | `client-ca` | HH | `PATH`: PEM file of certificates that vouch for clients | |
//! | `client-auth` | HH | `off`, `optional` or `required`: whether clients show a certificate | `required` with `client-ca` |
//! | `https-redirect` | HH | `on` (308), `off`, 301, 302, 307 or 308: requests in clear text are sent to TLS | `off` |
//! | `hsts` | HH | `off`, or `SECONDS [includeSubDomains] [preload]`: what browsers are told over TLS | `off` |
//! | `sni-strict` | | `on`: clients that ask by TLS for a name that no host has are refused, instead of shown `*` or the first host | `off` |
//! | `tls-tickets`, `tls-sessions` | | `on`, `off`: clients take up sessions again by tickets; sessions remembered for others | `on`, 1024 |
//! | `half-close` | | `on`: serve a client on that has ended its sending | `off` |
//! | `trusted-proxy` | + | `ADDRESS/LENGTH`: networks whose X-Forwarded-* fields are believed | |
//! | `error-page` | + | `STATUS PATH` | |
//! | `uid`, `gid` | | user and group to become, by name or number | `nobody`, its group |
//! | `access-log`, `log-format`, `log-level` | | `on`, `off`; `human`, `json`; `debug`, `info`, `warn`, `error` | `on`, `human`, `info` |

#[cfg(feature = "__tls")]
mod certificates;
mod draft;
mod files;
mod ini;
mod keys;
mod meaning;
mod origin;
mod parse;
mod problem;
mod show;
mod socketio;
mod spdy;
#[cfg(test)]
mod tests;
mod tls;
mod value;

#[cfg(feature = "__tls")]
pub use certificates::{CertificateProblem, Stores};
pub use files::{File, FileUse};
pub use meaning::matches_pattern;
pub use problem::{Mode, Problem};
pub use socketio::SocketIoPath;
pub use spdy::Spdy;
pub use tls::{ClientAuth, Hsts, Identity};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::{Address, BindAddr, Cidr};
use crate::limits::Limits;

/// The configuration of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Sockets to listen on; a listener's number is its place here.
    pub listeners: Vec<Listener>,
    /// Endpoints of nodes to connect to (`zmq-connect`).
    pub dials: Vec<Dial>,
    /// Virtual hosts, in the order of their sections.
    pub hosts: Vec<Host>,
    /// Passwords of nodes on links that are not a virtual host's own (`node-password`).
    pub passwords: Vec<Password>,
    /// Bounds and deadlines.
    pub limits: Limits,
    /// Silence after which a node is pinged (`ping-freq`).
    pub ping_freq: Duration,
    /// Time between two reports of the statistics (`stats-freq`); zero: never.
    pub stats_freq: Duration,
    /// Time to finish what is under way when the server is asked to stop (`drain-timeout`).
    pub drain_timeout: Duration,
    /// Which requests go to another node when theirs is lost (`redispatch`).
    pub redispatch: Redispatch,
    /// What happens to clients that take their messages too slowly (`slow-client`).
    pub slow_client: SlowClient,
    /// What happens to the WebSockets of a node that is lost (`node-loss`).
    pub node_loss: NodeLoss,
    /// Compression of WebSocket messages (`websocket-deflate`).
    pub websocket_deflate: WebSocketDeflate,
    /// Where socket.io and Engine.IO are spoken (`socketio`, `engineio`).
    pub socketio: Vec<SocketIoPath>,
    /// The certificate of hosts that have none of their own (`certificate`, `key`).
    pub identity: Option<Identity>,
    /// Clients that ask by TLS for a name that no host has, or for none, are refused (`sni-strict`).
    pub sni_strict: bool,
    /// Clients get tickets by which they take up their TLS sessions again (`tls-tickets`).
    pub tls_tickets: bool,
    /// TLS sessions that the server remembers for clients without tickets (`tls-sessions`).
    pub tls_sessions: usize,
    /// Serve a client on that has ended its sending direction (`half-close`).
    pub half_close: bool,
    /// Networks whose X-Forwarded-* fields are believed (`trusted-proxy`).
    pub trusted_proxies: Vec<Cidr>,
    /// The operator's error pages by status (`error-page`).
    pub error_pages: BTreeMap<u16, File>,
    /// User and group to become when started as root.
    pub privileges: Privileges,
    /// Whether each request is reported (`access-log`).
    pub access_log: bool,
    /// How and how much is logged.
    pub log: Log,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where.
    pub address: BindAddr,
    /// For whom.
    pub serves: Serves,
    /// Virtual hosts (places in [`Config::hosts`]) that are reached through it; empty: all that have no listener of
    /// this kind of their own.
    pub hosts: Vec<usize>,
    /// The priority on the bind's line, shown and not used.
    pub priority: u32,
}

/// What a listener's connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Clients.
    Http {
        /// Each connection starts with a PROXY protocol header.
        proxy: bool,
        /// By TLS, instead of in clear text.
        tls: bool,
        /// HTTP/2 is spoken too: where the client chooses it by ALPN, or in clear text begins with it.
        http2: bool,
        /// SPDY is spoken too: where the client chooses it by ALPN, or in clear text begins with it.
        spdy: Spdy,
    },
    /// Nodes, by ZMTP.
    Zmq,
}

/// An endpoint of a node that the server connects to.
#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    /// Where.
    pub address: Address,
    /// The virtual hosts whose nodes it may carry, as for a [`Listener`].
    pub hosts: Vec<usize>,
}

/// A node's name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The node's name, which is also the PLAIN user name.
    pub node: String,
    /// Its password.
    pub password: String,
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The section's name: a host name, with or without a port, or `*`.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// Nodes that may serve it.
    pub nodes: Vec<NodeName>,
    /// Passwords of nodes on links of its own; where there are any, those links want PLAIN.
    pub passwords: Vec<Password>,
    /// Open sessions (`sessions`), if fewer than the server's.
    pub sessions: Option<usize>,
    /// Inactivity timeout (`timeout`), if not the server's.
    pub session_timeout: Option<Duration>,
    /// Largest request body (`max-body`), if not the server's.
    pub body_bytes: Option<u64>,
    /// Time for a node to answer (`node-timeout`), if not the server's.
    pub node_timeout: Option<Duration>,
    /// Unanswered requests at one node (`node-capacity`).
    pub node_capacity: Option<u32>,
    /// As [`Config::redispatch`], if set for this host.
    pub redispatch: Option<Redispatch>,
    /// As [`Config::slow_client`], if set for this host.
    pub slow_client: Option<SlowClient>,
    /// As [`Config::node_loss`], if set for this host.
    pub node_loss: Option<NodeLoss>,
    /// As [`Config::websocket_deflate`], if set for this host.
    pub websocket_deflate: Option<WebSocketDeflate>,
    /// Origins whose pages may open WebSockets, in lower case and without a default port, as browsers write them; `*` in
    /// one stands for any run of characters ([`matches_pattern`]). Empty: all (`websocket-origin`).
    pub websocket_origins: Vec<String>,
    /// Sub-protocols of WebSockets that the host speaks (`websocket-protocol`). Of those that a client offers it gets
    /// the first that is among them.
    pub websocket_protocols: Vec<String>,
    /// As [`Config::socketio`], if set for this host.
    pub socketio: Option<Vec<SocketIoPath>>,
    /// Its certificate, if not the server's (`certificate`, `key`).
    pub identity: Option<Identity>,
    /// The answer of the certificate's OCSP server, in DER, to be stapled to it (`ocsp`).
    pub ocsp: Option<File>,
    /// Certificates that vouch for clients, as PEM (`client-ca`).
    pub client_ca: Option<File>,
    /// Whether clients show a certificate (`client-auth`); where they do there is a [`client_ca`](Self::client_ca).
    pub client_auth: ClientAuth,
    /// The status with which requests in clear text are sent to the same place by TLS (`https-redirect`).
    pub https_redirect: Option<u16>,
    /// What browsers are told over TLS (`hsts`).
    pub hsts: Option<Hsts>,
}

/// Who may serve a virtual host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeName {
    /// The node with exactly this ZeroMQ identity.
    Exact(String),
    /// Every identity that matches: `*` stands for any run of bytes. It never matches a name that is written out
    /// for any virtual host.
    Pattern(String),
    /// The app of this name that is built into the program.
    App(String),
}

/// Which requests go to another node when theirs is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Redispatch {
    /// Every one.
    All,
    /// Those whose method may be repeated (RFC 9110, 9.2.2).
    #[default]
    Safe,
    /// None.
    None,
}

/// What happens to a client for which more is queued than its write queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SlowClient {
    /// It is disconnected.
    #[default]
    Disconnect,
    /// A WebSocket loses the oldest messages that wait for it; any other client is disconnected.
    DropOldest,
}

/// What happens to the WebSockets of a node that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NodeLoss {
    /// They are closed with code 1012.
    #[default]
    Close,
    /// Another node gets them.
    Move,
}

/// Compression of WebSocket messages (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WebSocketDeflate {
    /// None.
    #[default]
    Off,
    /// Each message by itself: no memory is held between two messages, and one that goes to many is compressed once.
    On,
    /// With what came before, which takes about 300 KiB for every connection that is used.
    Context,
}

/// User and group, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// `uid`; `None` is the default user, `nobody`.
    pub user: Option<String>,
    /// `gid`; `None` is the user's own group.
    pub group: Option<String>,
}

/// How and how much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// One JSON object a line instead of words (`log-format`).
    pub json: bool,
    /// The least level that is printed (`log-level`).
    pub level: LogLevel,
}

/// The least level that is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// The normal course of things, and worse.
    #[default]
    Info,
    /// What was refused, dropped or lost, and worse.
    Warn,
    /// Only what keeps the server from working.
    Error,
}

/// Apps that are built into the program.
pub const BUILT_IN_APPS: &[&str] = &["welcome"];

// The words of keys that take one of a few.
const REDISPATCH: &[(&str, Redispatch)] =
    &[("all", Redispatch::All), ("safe", Redispatch::Safe), ("none", Redispatch::None)];
const SLOW_CLIENT: &[(&str, SlowClient)] =
    &[("disconnect", SlowClient::Disconnect), ("drop-oldest", SlowClient::DropOldest)];
const NODE_LOSS: &[(&str, NodeLoss)] = &[("close", NodeLoss::Close), ("move", NodeLoss::Move)];
const WEBSOCKET_DEFLATE: &[(&str, WebSocketDeflate)] =
    &[("on", WebSocketDeflate::On), ("off", WebSocketDeflate::Off), ("context", WebSocketDeflate::Context)];
const CLIENT_AUTH: &[(&str, ClientAuth)] =
    &[("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
const ON_OFF: &[(&str, bool)] = &[("on", true), ("off", false)];
const LOG_FORMATS: &[(&str, bool)] = &[("human", false), ("json", true)];
const LOG_LEVELS: &[(&str, LogLevel)] =
    &[("debug", LogLevel::Debug), ("info", LogLevel::Info), ("warn", LogLevel::Warn), ("error", LogLevel::Error)];

impl Default for Config {
    /// Nothing to listen on, nobody to serve, default limits.
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            dials: Vec::new(),
            hosts: Vec::new(),
            passwords: Vec::new(),
            limits: Limits::DEFAULT,
            ping_freq: Duration::from_secs(3),
            stats_freq: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            redispatch: Redispatch::Safe,
            slow_client: SlowClient::Disconnect,
            node_loss: NodeLoss::Close,
            websocket_deflate: WebSocketDeflate::Off,
            socketio: vec![SocketIoPath::default()],
            identity: None,
            sni_strict: false,
            tls_tickets: true,
            tls_sessions: 1024,
            half_close: false,
            trusted_proxies: Vec::new(),
            error_pages: BTreeMap::new(),
            privileges: Privileges { user: None, group: None },
            access_log: true,
            log: Log { json: false, level: LogLevel::Info },
        }
    }
}

impl Host {
    /// A host that nobody serves yet, with the server's limits.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            nodes: Vec::new(),
            passwords: Vec::new(),
            sessions: None,
            session_timeout: None,
            body_bytes: None,
            node_timeout: None,
            node_capacity: None,
            redispatch: None,
            slow_client: None,
            node_loss: None,
            websocket_deflate: None,
            websocket_origins: Vec::new(),
            websocket_protocols: Vec::new(),
            socketio: None,
            identity: None,
            ocsp: None,
            client_ca: None,
            client_auth: ClientAuth::Off,
            https_redirect: None,
            hsts: None,
        }
    }
}
