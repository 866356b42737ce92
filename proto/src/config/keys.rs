//! The keys of our sections: which there are, what they take, and which one a mistyped one was meant to be.

use core::time::Duration;

use super::parse::NUMBER_MAX;
use crate::limits::Limits;

/// A key that sets one field of [`Limits`]; in the global section.
pub(super) struct LimitKey {
    pub(super) name: &'static str,
    /// The least value that makes sense.
    pub(super) min: u64,
    /// The largest.
    pub(super) max: u64,
    pub(super) field: for<'a> fn(&'a mut Limits) -> Field<'a>,
}

/// A field of [`Limits`], and how it is written.
pub(super) enum Field<'a> {
    /// Bytes.
    Size(&'a mut usize),
    /// Bytes that do not have to fit into memory.
    LongSize(&'a mut u64),
    /// Bytes, written in MiB.
    Memory(&'a mut usize),
    /// A number of things.
    Count(&'a mut usize),
    /// A smaller number of things.
    ShortCount(&'a mut u32),
    /// Seconds.
    Time(&'a mut Duration),
    /// Seconds, or 0 for never.
    TimeOrNever(&'a mut Duration),
}

const fn limit(name: &'static str, min: u64, field: for<'a> fn(&'a mut Limits) -> Field<'a>) -> LimitKey {
    LimitKey { name, min, max: NUMBER_MAX, field }
}

/// The deepest JSON that is looked at, whatever the limit says.
const DEPTH_MAX: u64 = 1024;

/// Every field of [`Limits`] has its key here, in the order of the fields.
pub(super) const LIMITS: &[LimitKey] = &[
    limit("max-head", 256, |limits| Field::Size(&mut limits.head_bytes)),
    limit("max-target", 1, |limits| Field::Size(&mut limits.target_bytes)),
    limit("max-headers", 1, |limits| Field::Count(&mut limits.fields)),
    limit("max-chunk-line", 16, |limits| Field::Size(&mut limits.chunk_line_bytes)),
    limit("max-trailers", 2, |limits| Field::Size(&mut limits.trailer_bytes)),
    limit("max-body", 0, |limits| Field::LongSize(&mut limits.body_bytes)),
    limit("pipeline-buffer", 1, |limits| Field::Size(&mut limits.pipeline_bytes)),
    limit("head-timeout", 0, |limits| Field::Time(&mut limits.head_timeout)),
    limit("body-timeout", 0, |limits| Field::Time(&mut limits.body_timeout)),
    limit("keep-alive-timeout", 0, |limits| Field::Time(&mut limits.keep_alive_timeout)),
    limit("linger-buffer", 0, |limits| Field::Size(&mut limits.drain_bytes)),
    limit("linger-timeout", 0, |limits| Field::Time(&mut limits.drain_timeout)),
    limit("connections", 1, |limits| Field::Count(&mut limits.connections)),
    limit("writequeue-buffer", 1, |limits| Field::Size(&mut limits.write_queue_bytes)),
    limit("writequeue-high", 1, |limits| Field::Size(&mut limits.write_queue_high)),
    limit("write-stall", 0, |limits| Field::Time(&mut limits.write_stall)),
    limit("memory", 1, |limits| Field::Memory(&mut limits.memory_bytes)),
    limit("sessions", 1, |limits| Field::Count(&mut limits.sessions)),
    limit("timeout", 0, |limits| Field::Time(&mut limits.session_timeout)),
    limit("node-timeout", 0, |limits| Field::Time(&mut limits.node_timeout)),
    limit("max-hops", 0, |limits| Field::ShortCount(&mut limits.hops)),
    limit("retry-buffer", 0, |limits| Field::Size(&mut limits.retry_bytes)),
    limit("queue", 0, |limits| Field::Count(&mut limits.queue)),
    limit("queue-timeout", 0, |limits| Field::Time(&mut limits.queue_timeout)),
    limit("credit", 1, |limits| Field::Size(&mut limits.credit_bytes)),
    limit("websocket-max-message", 1, |limits| Field::Size(&mut limits.websocket_message_bytes)),
    limit("websocket-max-frames", 1, |limits| Field::Count(&mut limits.websocket_frames)),
    limit("websocket-ping", 0, |limits| Field::TimeOrNever(&mut limits.websocket_ping)),
    limit("websocket-close-timeout", 0, |limits| Field::Time(&mut limits.websocket_close_timeout)),
    limit("websocket-farewell-delay", 0, |limits| Field::TimeOrNever(&mut limits.websocket_farewell_delay)),
    limit("socketio-max-payload", 256, |limits| Field::Size(&mut limits.socketio_payload_bytes)),
    limit("socketio-max-packets", 1, |limits| Field::Count(&mut limits.socketio_packets)),
    limit("socketio-max-attachments", 0, |limits| Field::Count(&mut limits.socketio_attachments)),
    LimitKey { max: DEPTH_MAX, ..limit("socketio-max-depth", 1, |limits| Field::Count(&mut limits.socketio_depth)) },
    limit("socketio-max-namespaces", 1, |limits| Field::Count(&mut limits.socketio_namespaces)),
    limit("socketio-ping-interval", 0, |limits| Field::Time(&mut limits.socketio_ping_interval)),
    limit("socketio-ping-timeout", 0, |limits| Field::Time(&mut limits.socketio_ping_timeout)),
    limit("socketio-connect-timeout", 0, |limits| Field::Time(&mut limits.socketio_connect_timeout)),
    limit("socketio-upgrade-timeout", 0, |limits| Field::Time(&mut limits.socketio_upgrade_timeout)),
    limit("socketio-recovery", 0, |limits| Field::TimeOrNever(&mut limits.socketio_recovery)),
    limit("socketio-recovery-buffer", 1, |limits| Field::Size(&mut limits.socketio_recovery_bytes)),
    limit("h2-streams", 1, |limits| Field::Count(&mut limits.h2_streams)),
    limit("h2-stream-window", 16384, |limits| Field::Size(&mut limits.h2_stream_window)),
    limit("h2-connection-window", 65535, |limits| Field::Size(&mut limits.h2_connection_window)),
    limit("h2-stream-queue", 1, |limits| Field::Size(&mut limits.h2_stream_queue)),
    limit("h2-resets", 1, |limits| Field::Count(&mut limits.h2_resets)),
    limit("h2-errors", 1, |limits| Field::Count(&mut limits.h2_errors)),
    limit("h2-continuations", 0, |limits| Field::Count(&mut limits.h2_continuations)),
    limit("h2-settings", 1, |limits| Field::Count(&mut limits.h2_settings)),
    limit("h2-pings", 1, |limits| Field::Count(&mut limits.h2_pings)),
    limit("h2-empty-frames", 1, |limits| Field::Count(&mut limits.h2_empty_frames)),
    limit("h2-window-updates", 1, |limits| Field::Count(&mut limits.h2_window_updates)),
    limit("h2-priorities", 1, |limits| Field::Count(&mut limits.h2_priorities)),
    limit("max-groups", 1, |limits| Field::Count(&mut limits.groups)),
    limit("max-deliveries", 1, |limits| Field::Count(&mut limits.deliveries)),
    limit("max-message", 256, |limits| Field::Size(&mut limits.message_bytes)),
    limit("max-frames", 3, |limits| Field::Count(&mut limits.frames)),
    limit("handshake-timeout", 0, |limits| Field::Time(&mut limits.handshake_timeout)),
    limit("heartbeat", 0, |limits| Field::Time(&mut limits.heartbeat)),
    limit("node-queue-high", 1, |limits| Field::Size(&mut limits.node_queue_high)),
    limit("node-queue-buffer", 1, |limits| Field::Size(&mut limits.node_queue_bytes)),
    limit("max-nodes", 1, |limits| Field::Count(&mut limits.node_links)),
];

macro_rules! keys {
    ($(#[$doc:meta])* $kind:ident { $( $variant:ident $name:literal $repeatable:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $kind { $( $variant, )+ }

        impl $kind {
            const NAMES: &'static [&'static str] = &[ $( $name, )+ ];

            pub(super) fn from_name(name: &str) -> Option<Self> {
                $( if name == $name { return Some(Self::$variant); } )+
                None
            }

            /// Whether each line adds something, instead of replacing the line before.
            pub(super) const fn is_repeatable(self) -> bool {
                match self { $( Self::$variant => $repeatable, )+ }
            }
        }
    };
}

keys! {
    /// Keys of the global section, beside those of [`LIMITS`].
    GlobalKey {
        Bind "bind" true,
        BindSsl "bind-ssl" true,
        Zmq "zmq" true,
        ZmqConnect "zmq-connect" true,
        NodePassword "node-password" true,
        NodeCapacity "node-capacity" false,
        Redispatch "redispatch" false,
        SlowClient "slow-client" false,
        NodeLoss "node-loss" false,
        WebSocketDeflate "websocket-deflate" false,
        SocketIo "socketio" true,
        EngineIo "engineio" true,
        Certificate "certificate" false,
        Key "key" false,
        SniStrict "sni-strict" false,
        TlsTickets "tls-tickets" false,
        TlsSessions "tls-sessions" false,
        PingFreq "ping-freq" false,
        StatsFreq "stats-freq" false,
        DrainTimeout "drain-timeout" false,
        HalfClose "half-close" false,
        TrustedProxy "trusted-proxy" true,
        ErrorPage "error-page" true,
        Uid "uid" false,
        Gid "gid" false,
        AccessLog "access-log" false,
        LogFormat "log-format" false,
        LogLevel "log-level" false,
    }
}

keys! {
    /// Keys of a virtual host's section.
    HostKey {
        Node "node" true,
        Alias "alias" true,
        Bind "bind" true,
        BindSsl "bind-ssl" true,
        Zmq "zmq" true,
        ZmqConnect "zmq-connect" true,
        NodePassword "node-password" true,
        NodeCapacity "node-capacity" false,
        NodeTimeout "node-timeout" false,
        Sessions "sessions" false,
        Timeout "timeout" false,
        MaxBody "max-body" false,
        Redispatch "redispatch" false,
        SlowClient "slow-client" false,
        NodeLoss "node-loss" false,
        WebSocketDeflate "websocket-deflate" false,
        WebSocketOrigin "websocket-origin" true,
        WebSocketProtocol "websocket-protocol" true,
        SocketIo "socketio" true,
        EngineIo "engineio" true,
        Certificate "certificate" false,
        Key "key" false,
        Ocsp "ocsp" false,
        ClientCa "client-ca" false,
        ClientAuth "client-auth" false,
        HttpsRedirect "https-redirect" false,
        Hsts "hsts" false,
    }
}

/// Keys of the original server and of this project that this version does not serve, in any section.
const UNSERVED: &[&str] = &["cache", "bandwidth", "workers", "node-key"];

/// What a name means in the global section.
pub(super) enum Global {
    Limit(&'static LimitKey),
    Key(GlobalKey),
}

impl Global {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let limit = LIMITS.iter().find(|key| key.name == name).map(Self::Limit);
        limit.or_else(|| GlobalKey::from_name(name).map(Self::Key))
    }
}

/// Whether `name` is known, and nothing that this version can do.
pub(super) fn is_unserved(name: &str) -> bool {
    UNSERVED.contains(&name)
}

/// Whether `name` is a key of the other kind of section.
pub(super) fn belongs_elsewhere(name: &str, in_host: bool) -> bool {
    if in_host { Global::from_name(name).is_some() } else { HostKey::from_name(name).is_some() }
}

/// The key of this kind of section that `name` was probably meant to be.
pub(super) fn nearest(name: &str, in_host: bool) -> Option<&'static str> {
    let limits: &[LimitKey] = if in_host { &[] } else { LIMITS };
    let names = if in_host { HostKey::NAMES } else { GlobalKey::NAMES };
    let all = limits.iter().map(|key| key.name).chain(names.iter().copied());
    let (distance, nearest) = all.map(|key| (distance(name, key), key)).min_by_key(|(distance, _)| *distance)?;
    // One letter may be wrong, and a quarter of the rest; past that the guess would be a riddle.
    (distance <= 1 + nearest.len() / 4).then_some(nearest)
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour to make `b` of `a`, whatever
/// their case and whether words are joined by `-` or `_`.
fn distance(a: &str, b: &str) -> usize {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let a: Vec<u8> = a.bytes().take(64).map(fold).collect();
    let b: Vec<u8> = b.bytes().map(fold).collect();
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(x != y);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = core::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_find_their_key() {
        for (slip, key) in [
            ("max-heders", "max-headers"),
            ("max_headers", "max-headers"),
            ("Bind", "bind"),
            ("bnid", "bind"),
            ("session", "sessions"),
            ("zmqconnect", "zmq-connect"),
            ("websocket-max-mesage", "websocket-max-message"),
            ("slow-clients", "slow-client"),
            ("nodeloss", "node-loss"),
            ("socket-io", "socketio"),
            ("socketio-max-payloads", "socketio-max-payload"),
        ] {
            assert_eq!(nearest(slip, false), Some(key), "{slip}");
        }
        assert_eq!(nearest("nodes", true), Some("node"));
        assert_eq!(nearest("websocket-origins", true), Some("websocket-origin"));
        assert_eq!(nearest("websocket_protocol", true), Some("websocket-protocol"));
        assert_eq!(nearest("websocket-deflat", true), Some("websocket-deflate"));
        assert_eq!(nearest("frobnicate", false), None);
        assert_eq!(nearest("", true), None);
    }

    #[test]
    fn every_key_stands_in_the_table_of_the_documentation() {
        let table = include_str!("mod.rs");
        for name in LIMITS.iter().map(|key| key.name).chain(GlobalKey::NAMES.iter().chain(HostKey::NAMES).copied()) {
            let row = |line: &str| line.starts_with("//! |") && line.contains(&format!("`{name}`"));
            assert!(table.lines().any(row), "{name}");
        }
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let documented = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! "));
        let rows: Vec<_> = documented.filter(|line| line.starts_with("| `")).collect();
        let readme = include_str!("../../../README.md");
        let keys = readme.split("\n## Keys\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        assert_eq!(keys.lines().filter(|line| line.starts_with("| `")).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<_> = LIMITS.iter().map(|key| key.name).chain(GlobalKey::NAMES.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(!names.iter().chain(HostKey::NAMES).any(|name| is_unserved(name)));
    }
}
