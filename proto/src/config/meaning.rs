//! What a configuration means: who is reached by what, who may call himself a node, and what an operator should know.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::{Config, Dial, Host, Identity, Listener, NodeName, Password, Serves, Spdy};
use crate::address::{Address, BindAddr};

impl Config {
    /// What the program serves without a configuration: on 127.0.0.1, port 8080, the built-in app for every host,
    /// until a node called `hello` connects to port 5000.
    pub fn builtin() -> Self {
        let local = |port| BindAddr::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listener = |address, serves| Listener { address, serves, hosts: Vec::new(), priority: 1 };
        let mut host = Host::new("*");
        host.nodes = vec![NodeName::App("welcome".to_owned()), NodeName::Exact("hello".to_owned())];
        Self {
            listeners: vec![
                listener(local(8080), Serves::Http { proxy: false, tls: false, http2: false, spdy: Spdy::NONE }),
                listener(local(5000), Serves::Zmq),
            ],
            hosts: vec![host],
            ..Self::default()
        }
    }

    /// The same with each password replaced by as many `*`, and without the contents of keys: for logs, recordings and people.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut config = self.clone();
        let hosts = config.hosts.iter_mut().flat_map(|host| &mut host.passwords);
        for Password { password, .. } in config.passwords.iter_mut().chain(hosts) {
            *password = "*".repeat(password.len());
        }
        let identities = config.hosts.iter_mut().filter_map(|host| host.identity.as_mut());
        for Identity { key, .. } in identities.chain(&mut config.identity) {
            key.body = Bytes::new();
        }
        config
    }

    /// Virtual hosts (places in [`hosts`](Self::hosts)) that `listener` leads to: clients to hosts, or nodes to the
    /// hosts that they may serve.
    pub fn reached_by(&self, listener: &Listener) -> Vec<usize> {
        if !listener.hosts.is_empty() {
            return listener.hosts.clone();
        }
        match listener.serves {
            Serves::Http { .. } => {
                self.without_own(|host| self.listeners_of(host).any(|own| matches!(own.serves, Serves::Http { .. })))
            }
            Serves::Zmq => self.without_own(|host| self.has_node_ways(host)),
        }
    }

    /// Virtual hosts whose nodes may be at the other end of `dial`.
    pub fn carried_by(&self, dial: &Dial) -> Vec<usize> {
        if dial.hosts.is_empty() { self.without_own(|host| self.has_node_ways(host)) } else { dial.hosts.clone() }
    }

    /// Passwords that hold on a link of nodes, by the `hosts` of its [`Listener`] or [`Dial`]. Where there are any, the
    /// link wants one.
    pub fn passwords_of(&self, hosts: &[usize]) -> impl Iterator<Item = &Password> {
        let shared = if hosts.is_empty() { &self.passwords[..] } else { &[] };
        let own = hosts.iter().filter_map(|host| self.hosts.get(*host)).flat_map(|host| &host.passwords);
        shared.iter().chain(own)
    }

    /// What an operator should know before the server starts: each a sentence that names the risk and its cure.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for listener in &self.listeners {
            let (Serves::Zmq, BindAddr::Tcp(address)) = (listener.serves, &listener.address) else { continue };
            if address.ip().to_canonical().is_loopback() || self.passwords_of(&listener.hosts).next().is_some() {
                continue;
            }
            warnings.push(format!(
                "zmq = tcp://{address} is open to other machines and asks for no password: whoever knows the name of a \
                 node can take its requests; add node-password = NAME PASSWORD, or listen on 127.0.0.1 or ipc://"
            ));
        }
        let ways = self.listeners.iter().filter(|listener| matches!(listener.serves, Serves::Zmq));
        let ways = ways.map(|listener| (&listener.hosts, self.reached_by(listener)));
        let mut locked_out = Vec::new();
        for (hosts, reached) in ways {
            let passwords: Vec<_> = self.passwords_of(hosts).collect();
            let nodes = reached.iter().filter_map(|host| self.hosts.get(*host)).flat_map(|host| &host.nodes);
            for node in nodes.filter(|_| !passwords.is_empty()) {
                let has_one = passwords.iter().any(|password| node.allows_password_of(&password.node));
                let is_app = matches!(node, NodeName::App(_));
                if !has_one && !is_app && !locked_out.contains(&node) {
                    locked_out.push(node);
                }
            }
        }
        for node in locked_out {
            warnings.push(format!(
                "node = {node} has no password while others have, so it cannot connect; add node-password = {node} PASSWORD"
            ));
        }
        let origins = self.hosts.iter().flat_map(|host| &host.websocket_origins);
        for origin in origins.filter(|origin| super::origin::is_too_wide(origin)) {
            warnings.push(format!(
                "websocket-origin = {origin} also means sites of strangers, since anybody can have a name of that form; \
                 put the * before a dot and a name of your own, such as https://*.example.org"
            ));
        }
        self.warn_of_tls(&mut warnings);
        warnings
    }

    fn without_own(&self, has_own: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| !has_own(*host)).collect()
    }

    fn listeners_of(&self, host: usize) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(move |listener| listener.hosts.contains(&host))
    }

    /// Whether nodes of this host have listeners or dialled endpoints of their own.
    fn has_node_ways(&self, host: usize) -> bool {
        self.listeners_of(host).any(|own| matches!(own.serves, Serves::Zmq))
            || self.dials.iter().any(|dial| dial.hosts.contains(&host))
    }
}

impl NodeName {
    /// Whether a node that calls itself `identity` is meant. Mind that a pattern gives way to a name that is written
    /// out for any virtual host, and that apps have no identity.
    pub fn matches(&self, identity: &[u8]) -> bool {
        match self {
            Self::Exact(name) => name.as_bytes() == identity,
            Self::Pattern(pattern) => matches_pattern(pattern.as_bytes(), identity),
            Self::App(_) => false,
        }
    }

    /// Whether a `node-password` for `name` is of use to this node: it is the name itself, or one that a pattern admits.
    pub(super) fn allows_password_of(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => own == name || (name.contains('*') && matches_pattern(name.as_bytes(), own.as_bytes())),
            Self::Pattern(pattern) => pattern == name || matches_pattern(pattern.as_bytes(), name.as_bytes()),
            Self::App(_) => false,
        }
    }
}

impl Password {
    /// The password that a node must show: the one for exactly its name, else the first for a pattern that matches.
    pub fn of<'a>(passwords: impl Iterator<Item = &'a Self>, identity: &[u8]) -> Option<&'a Self> {
        let mut by_pattern = None;
        for password in passwords {
            let name = password.node.as_bytes();
            if name == identity {
                return Some(password);
            }
            if by_pattern.is_none() && name.contains(&b'*') && matches_pattern(name, identity) {
                by_pattern = Some(password);
            }
        }
        by_pattern
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of bytes, also an empty one. Takes at most as many
/// steps as the product of both lengths.
pub fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // Where to go on if what follows the last star does not fit: one byte further in the text.
    let mut star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, in_text));
                at += 1;
            }
            Some(byte) if *byte == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            Some(_) | None => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, in_text) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl Listener {
    /// The endpoint as the configuration writes it.
    pub fn endpoint(&self) -> String {
        match self.serves {
            Serves::Http { .. } => self.address.to_string(),
            Serves::Zmq => super::value::show_zmq_endpoint(&self.address),
        }
    }
}

impl Dial {
    /// The endpoint as the configuration writes it.
    pub fn endpoint(&self) -> String {
        let address: &Address = &self.address;
        super::value::show_dial_endpoint(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text, expected) in [
            ("web-*", "web-1", true),
            ("web-*", "web-", true),
            ("web-*", "web", false),
            ("*", "", true),
            ("*-db", "a-db-db", true),
            ("*-db", "a-db-d", false),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("**a**", "bab", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_exact_password_goes_before_a_pattern() {
        let password = |node: &str, password: &str| Password { node: node.into(), password: password.into() };
        let all = [password("web-*", "pool"), password("web-1", "one"), password("*", "any")];
        let shown = |identity: &[u8]| Password::of(all.iter(), identity).map(|found| found.password.as_str());
        assert_eq!(shown(b"web-1"), Some("one"));
        assert_eq!(shown(b"web-2"), Some("pool"));
        assert_eq!(shown(b"db"), Some("any"));
        assert_eq!(Password::of(all[..2].iter(), b"db"), None);
    }
}
