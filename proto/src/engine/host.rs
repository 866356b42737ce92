//! Virtual hosts: who is asked for, and who may serve it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::session::Server;
use crate::config::{
    ClientAuth, Config, Hsts, NodeLoss, NodeName, Redispatch, SlowClient, SocketIoPath, WebSocketDeflate,
};
use crate::http::AddedField;
use crate::message::Sid;
use crate::socketio::{self, Generation, Layer, request::Mount};
use crate::time::Duration;
use crate::websocket::{self, handshake::DeflatePolicy};

/// Longest name that is looked up; DNS names end at 253 bytes, a port adds 6.
const NAME_MAX: usize = 260;

/// A virtual host while the server runs.
pub(super) struct Host {
    pub name: String,
    /// Nodes known so far that may serve it: in the order of the file, then those that a pattern admitted.
    pub nodes: Vec<usize>,
    /// Apps that serve it when no node can.
    pub apps: Vec<usize>,
    /// Sessions that wait for a node with room, oldest first.
    pub waiting: VecDeque<usize>,
    pub sessions: usize,
    pub sessions_max: usize,
    pub session_timeout: Duration,
    pub node_timeout: Duration,
    pub node_capacity: Option<u32>,
    pub body_bytes: u64,
    pub redispatch: Redispatch,
    pub node_loss: NodeLoss,
    /// Clients of socket.io that had nobody when they were put here: the next node with room gets those that are still so.
    pub asleep: VecDeque<Sid>,
    pub websocket: Arc<websocket::Settings>,
    /// Where socket.io is spoken.
    pub socketio_mounts: Vec<Mount>,
    pub socketio: Arc<socketio::Settings>,
    /// Of WebSockets that carry it: it has heartbeats of its own.
    pub socketio_websocket: Arc<websocket::Settings>,
    pub deflate: DeflatePolicy,
    /// With which status requests in clear text are sent to TLS.
    pub https_redirect: Option<u16>,
    /// The listener there.
    pub https_listener: Option<usize>,
    /// What browsers are told over TLS.
    pub hsts: Option<Arc<AddedField>>,
    /// Clients are asked for certificates.
    pub asks_certificates: bool,
}

/// All virtual hosts.
pub(super) struct Hosts {
    pub list: Vec<Host>,
    names: BTreeMap<Vec<u8>, usize>,
    /// By listener: the hosts that are reached through it.
    reached: Vec<Vec<usize>>,
}

impl Hosts {
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let mut names = BTreeMap::new();
        let mut list = Vec::new();
        for (index, host) in config.hosts.iter().enumerate() {
            for name in core::iter::once(&host.name).chain(&host.aliases) {
                names.entry(name.to_ascii_lowercase().into_bytes()).or_insert(index);
            }
            let slow_client = host.slow_client.unwrap_or(config.slow_client);
            let websocket = websocket::Settings {
                drop_oldest: slow_client == SlowClient::DropOldest,
                ..websocket::Settings::new(limits)
            };
            list.push(Host {
                name: host.name.clone(),
                nodes: Vec::new(),
                apps: Vec::new(),
                waiting: VecDeque::new(),
                sessions: 0,
                sessions_max: host.sessions.unwrap_or(usize::MAX),
                session_timeout: host.session_timeout.unwrap_or(limits.session_timeout),
                node_timeout: host.node_timeout.unwrap_or(limits.node_timeout),
                node_capacity: host.node_capacity,
                body_bytes: host.body_bytes.unwrap_or(limits.body_bytes),
                redispatch: host.redispatch.unwrap_or(config.redispatch),
                node_loss: host.node_loss.unwrap_or(config.node_loss),
                asleep: VecDeque::new(),
                socketio_mounts: host.socketio.as_ref().unwrap_or(&config.socketio).iter().map(mount).collect(),
                socketio: Arc::new(socketio::Settings::new(limits)),
                socketio_websocket: Arc::new(websocket::Settings {
                    message_bytes: limits.socketio_payload_bytes,
                    ping: Duration::ZERO,
                    ..websocket.clone()
                }),
                websocket: Arc::new(websocket),
                deflate: match host.websocket_deflate.unwrap_or(config.websocket_deflate) {
                    WebSocketDeflate::Off => DeflatePolicy::Off,
                    WebSocketDeflate::On => DeflatePolicy::PerMessage,
                    WebSocketDeflate::Context => DeflatePolicy::Context,
                },
                https_redirect: host.https_redirect,
                https_listener: config.https_listener(index),
                hsts: host.hsts.map(|hsts| Arc::new(hsts_field(hsts))),
                asks_certificates: host.client_auth != ClientAuth::Off,
            });
        }
        let reached = config.listeners.iter().map(|listener| config.reached_by(listener)).collect();
        Self { list, names, reached }
    }

    /// The virtual host for the authority `name` (a host, with or without a port) on a listener: the exact name, the
    /// name without its port, both with `*` for their first label, then `*`.
    pub fn find(&self, listener: usize, name: &[u8]) -> Option<usize> {
        let mut lower = [0; NAME_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let bare = without_port(lower).len();
        let reached = &self.reached[listener];
        let of = |name: &[u8]| self.names.get(name).copied().filter(|host| reached.contains(host));
        if let Some(host) = of(lower).or_else(|| of(&lower[..bare])) {
            return Some(host);
        }
        if let Some(dot @ 1..) = lower[..bare].iter().position(|byte| *byte == b'.') {
            // The label has a byte at least, which makes room for the star.
            lower[dot - 1] = b'*';
            if let Some(host) = of(&lower[dot - 1..]).or_else(|| of(&lower[dot - 1..bare])) {
                return Some(host);
            }
        }
        of(b"*")
    }

    /// The hosts that are reached through a listener, in the order of its certificates.
    pub fn reached_by(&self, listener: usize) -> &[usize] {
        &self.reached[listener]
    }

    /// Those of `hosts` that a node of this identity may serve.
    pub fn served_by(config: &Config, identity: &[u8], mut hosts: Vec<usize>) -> Vec<usize> {
        let exact = |name: &NodeName| matches!(name, NodeName::Exact(_)) && name.matches(identity);
        let written_out = config.hosts.iter().any(|host| host.nodes.iter().any(exact));
        hosts.retain(|host| {
            let nodes = &config.hosts[*host].nodes;
            if written_out { nodes.iter().any(exact) } else { nodes.iter().any(|name| name.matches(identity)) }
        });
        hosts
    }
}

impl Host {
    /// Takes a session out of the queue of those that wait.
    pub fn forget_waiting(&mut self, session: usize) {
        self.waiting.retain(|waiting| *waiting != session);
    }

    /// Whether somebody wants a node.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.asleep.is_empty()
    }

    /// The app that has not passed this request on.
    pub fn app(&self, refused: &[Server]) -> Option<usize> {
        self.apps.iter().copied().find(|app| !refused.contains(&Server::App(*app)))
    }
}

fn mount(path: &SocketIoPath) -> Mount {
    let spoken = [(path.five, Generation::Five), (path.two, Generation::Two), (path.one, Generation::One)];
    Mount {
        path: path.path.clone(),
        layer: if path.is_plain { Layer::Plain } else { Layer::SocketIo },
        generations: spoken.iter().filter(|(is_on, _)| *is_on).map(|(_, generation)| *generation).collect(),
    }
}

fn hsts_field(hsts: Hsts) -> AddedField {
    AddedField::new("Strict-Transport-Security", hsts.field_value().as_bytes())
        .expect("a number and two words make a field")
}

fn without_port(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| !byte.is_ascii_digit()) {
        Some(colon) if name[colon] == b':' && (!name[..colon].contains(&b':') || name[..colon].ends_with(b"]")) => {
            &name[..colon]
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_meant() {
        let names = ["www.a.example", "*.a.example", "*.a.example:81", "*", "b.example:81"];
        let mut config = Config::default();
        config.hosts = names.map(crate::config::Host::new).into();
        let mut hosts = Hosts::new(&config);
        hosts.reached = vec![vec![0, 1, 2, 3, 4], vec![0, 4]];
        let find = |listener, name: &str| hosts.find(listener, name.as_bytes()).map(|host| names[host]);
        for (name, expected) in [
            ("WWW.a.example:81", "www.a.example"),
            ("v.A.example", "*.a.example"),
            ("v.a.example:80", "*.a.example"),
            ("v.a.example:81", "*.a.example:81"),
            ("u.v.a.example", "*"),
            ("a.example", "*"),
            (".a.example", "*"),
            ("*.a.example", "*.a.example"),
            ("b.example:81", "b.example:81"),
            ("b.example", "*"),
            ("[::1]:81", "*"),
            ("", "*"),
        ] {
            assert_eq!(find(0, name), Some(expected), "{name}");
        }
        assert_eq!((find(1, "v.a.example"), find(1, "www.a.example")), (None, Some("www.a.example")));
    }

    #[test]
    fn ports_are_split_off_names_and_bracketed_addresses_only() {
        assert_eq!(without_port(b"example.org:81"), b"example.org");
        assert_eq!(without_port(b"[::1]:81"), b"[::1]");
        assert_eq!(without_port(b"[::1]"), b"[::1]");
        assert_eq!(without_port(b"10.0.0.1"), b"10.0.0.1");
        assert_eq!(without_port(b"80"), b"80");
    }
}
